//! Looks at the mesh again and again, and shows it: live, or in lines.

use admin_api::mesh::{Decision, Node, Status};
use anyhow::Context;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyModifiers},
};
use std::time::{Duration, Instant};

use super::{
    compare::Load,
    story::{self, Look},
    view::{self, Shown},
};
use crate::{http::Admin, output, units};

/// As the manifest has it. The search itself takes less than a millisecond; it waits for the rest.
pub(super) const LOAD: Load = Load {
    calm_per_s: 20.0,
    peak_per_s: 240.0,
    peak: Duration::from_secs(22),
    service: Duration::from_millis(25),
    cpu_share: 0.04,
    max: 10,
};
const SCALED: &str = "public/default/prime-search";

/// When each act begins, in seconds after the source has begun.
const ACTS: [(u64, &str); 5] = [
    (0, "calm: 20 messages a second, one instance does about 40"),
    (8, "load: 240 messages a second, instances appear"),
    (30, "the load ends: what waited is done, instances go"),
    (50, "a few messages wake what sleeps"),
    (53, "and it goes to sleep again"),
];
const WHOLE: Duration = Duration::from_secs(60);
/// What a check gives a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(250);

/// Until the story is told, or a person has seen enough, which is said, too.
pub(super) async fn run(
    admin: &Admin,
    admin_url: &str,
    is_live: bool,
    is_check: bool,
) -> anyhow::Result<(Vec<Look>, bool)> {
    // A terminal that cannot be set up, as one without a keyboard, has lines.
    let live = if is_live { Live::open().ok() } else { None };
    let mut screen = live.map_or(Screen::Lines { printed: 0 }, Screen::Live);
    let mut seen = Seen::default();
    let began = Instant::now();
    loop {
        let status: Status = admin.path(["admin", "v3", "meshes", "default", "demo", "status"]).get().await?;
        seen.add(&status, Instant::now())?;
        screen.show(&seen, admin_url)?;
        let at = seen.looks.last().map_or(Duration::ZERO, |look| look.at);
        let is_told = || story::facts(&seen.looks, LOAD.calm_per_s).iter().all(|fact| fact.seen.is_ok());
        let is_over = at >= WHOLE && (!is_check || is_told()) || began.elapsed() > WHOLE + PATIENCE;
        if is_over || screen.is_left()? {
            return Ok((seen.looks, !is_over));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// All that was seen.
#[derive(Default)]
struct Seen {
    /// When the first message came.
    began: Option<Instant>,
    looks: Vec<Look>,
    /// As sentences, oldest first.
    decisions: Vec<String>,
    /// The newest of them, by function.
    newest: std::collections::HashMap<String, u64>,
}

impl Seen {
    fn add(&mut self, status: &Status, now: Instant) -> anyhow::Result<()> {
        let node = status.nodes.iter().find(|node| node.name == SCALED).context("the mesh has lost a function")?;
        let arrives_per_s = node.in_per_s.unwrap_or(0.0);
        if self.began.is_none() && arrives_per_s > 0.0 {
            self.began = Some(now);
        }
        let Some(began) = self.began else { return Ok(()) };
        let at = now - began;
        // When instances have gone, what was counted begins anew.
        let before = self.looks.last().map_or(0.0, |look| look.done_per_s);
        self.looks.push(Look {
            at,
            arrives_per_s,
            done_per_s: node.processed_per_s.unwrap_or(before),
            backlog: node.backlog.unwrap_or(0),
            oldest: Duration::from_millis(node.oldest_ms.unwrap_or(0)),
            wanted: node.wanted,
            running: node.running,
        });
        for node in &status.nodes {
            if let Some(decision) = &node.decision {
                self.decided(node, decision, at);
            }
        }
        Ok(())
    }

    fn decided(&mut self, node: &Node, decision: &Decision, at: Duration) {
        let newest = self.newest.entry(node.name.clone()).or_default();
        if decision.from != decision.to && decision.at_ms > *newest {
            *newest = decision.at_ms;
            let name = node.name.rsplit('/').next().unwrap_or(&node.name);
            let Decision { from, to, code, text, .. } = decision;
            self.decisions.push(format!("{:>3} s  {name} {from} -> {to}  {code}: {text}", at.as_secs()));
        }
    }

    fn act(&self) -> &'static str {
        let at = self.looks.last().map_or(0, |look| look.at.as_secs());
        ACTS.iter().rev().find(|(begins, _)| *begins <= at).map_or("", |(_, act)| act)
    }
}

enum Screen {
    Live(Live),
    /// How many decisions were printed.
    Lines {
        printed: usize,
    },
}

impl Screen {
    fn show(&mut self, seen: &Seen, admin_url: &str) -> anyhow::Result<()> {
        match self {
            Self::Live(live) => {
                let shown = Shown {
                    looks: &seen.looks,
                    act: seen.act(),
                    whole: WHOLE,
                    max: LOAD.max,
                    decisions: &seen.decisions,
                    admin_url,
                };
                live.terminal.draw(|frame| view::draw(frame, &shown))?;
                Ok(())
            }
            Self::Lines { printed } => {
                let mut text = String::new();
                for decision in &seen.decisions[*printed..] {
                    text += &format!("{decision}\n");
                }
                *printed = seen.decisions.len();
                if let [.., before, last] = &seen.looks[..]
                    && before.at.as_secs() < last.at.as_secs()
                {
                    text += &line(last);
                }
                output::print(&text)
            }
        }
    }

    /// Whether a person has pressed a key to leave.
    fn is_left(&mut self) -> anyhow::Result<bool> {
        if !matches!(self, Self::Live(_)) {
            return Ok(false);
        }
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn line(look: &Look) -> String {
    format!(
        "{:>3} s  arrive {:>5}/s  done {:>5}/s  backlog {:>6}  oldest {:>7}  instances {} of {}\n",
        look.at.as_secs(),
        units::rate(look.arrives_per_s),
        units::rate(look.done_per_s),
        look.backlog,
        units::age(look.oldest),
        look.running,
        look.wanted,
    )
}

/// The terminal, which is as it was when this is dropped, whatever happens.
struct Live {
    terminal: DefaultTerminal,
}

impl Live {
    fn open() -> std::io::Result<Self> {
        ratatui::try_init().map(|terminal| Self { terminal }).inspect_err(|_| drop(ratatui::try_restore()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
