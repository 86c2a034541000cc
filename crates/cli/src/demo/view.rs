//! The live view: what arrives and is done, what waits, how many instances there are, and why.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Sparkline},
};
use std::time::Duration;

use super::story::Look;
use crate::units::{self, rate};

/// What is shown.
pub(super) struct Shown<'a> {
    pub(super) looks: &'a [Look],
    /// Where in the story it is, as a sentence.
    pub(super) act: &'a str,
    /// How long all takes.
    pub(super) whole: Duration,
    /// Most instances there may be.
    pub(super) max: u32,
    /// The newest last.
    pub(super) decisions: &'a [String],
    /// Where it can be looked at from outside.
    pub(super) admin_url: &'a str,
}

pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown<'_>) {
    // 80x24 has all of it, if less of each.
    let (waiting_lines, decision_lines) = match frame.area().height {
        30.. => (6, 8),
        22.. => (4, 5),
        _ => (3, 3),
    };
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(4),
        Constraint::Length(waiting_lines),
        Constraint::Length(3),
        Constraint::Length(decision_lines),
        Constraint::Length(1),
    ])
    .split(frame.area());
    let last = shown.looks.last().cloned().unwrap_or_default();
    head(frame, areas[0], shown, &last);
    rates(frame, areas[1], shown, &last);
    waiting(frame, areas[2], shown, &last);
    instances(frame, areas[3], shown, &last);
    decisions(frame, areas[4], shown);
    let keys = format!(" q ends it   outside: geminga mesh status demo --admin-url {}", shown.admin_url);
    frame.render_widget(Paragraph::new(keys).style(Style::new().fg(Color::DarkGray)), areas[5]);
}

fn head(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, last: &Look) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let lines = vec![
        Line::from(vec![
            Span::styled(" numbers -> prime-search -> tally -> file", bold),
            Span::raw(format!("   {:.0} of {:.0} s", last.at.as_secs_f64(), shown.whole.as_secs_f64())),
        ]),
        Line::styled(format!(" {}", shown.act), Style::new().fg(Color::Yellow)),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn rates(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, last: &Look) {
    let line = |value: fn(&Look) -> f64| -> Vec<(f64, f64)> {
        shown.looks.iter().map(|look| (look.at.as_secs_f64(), value(look))).collect()
    };
    let (arrives, done) = (line(|look| look.arrives_per_s), line(|look| look.done_per_s));
    let top = arrives.iter().chain(&done).map(|point| point.1).fold(10.0, f64::max) * 1.1;
    // A legend would hide what it explains on a small screen.
    let title = Line::from(vec![
        Span::raw(" messages a second: "),
        Span::styled(format!("arrive {}", rate(last.arrives_per_s)), Style::new().fg(Color::Cyan)),
        Span::raw(", "),
        Span::styled(format!("done {} ", rate(last.done_per_s)), Style::new().fg(Color::Green)),
    ]);
    let series = |color, data| {
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(Style::new().fg(color)).data(data)
    };
    let chart = Chart::new(vec![series(Color::Cyan, &arrives), series(Color::Green, &done)])
        .block(Block::bordered().title(title))
        .x_axis(Axis::default().bounds([0.0, shown.whole.as_secs_f64()]))
        .y_axis(Axis::default().bounds([0.0, top]).labels(["0".to_owned(), format!("{top:.0}")]));
    frame.render_widget(chart, area);
}

fn waiting(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, last: &Look) {
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).split(area);
    let fit = |area: Rect, value: fn(&Look) -> u64| -> Vec<u64> {
        let width = usize::from(area.width.saturating_sub(2));
        shown.looks.iter().rev().take(width).rev().map(value).collect()
    };
    let spark =
        |title: String, color| Sparkline::default().block(Block::bordered().title(title)).style(Style::new().fg(color));
    let backlog = fit(halves[0], |look| look.backlog);
    let oldest = fit(halves[1], |look| u64::try_from(look.oldest.as_millis()).unwrap_or(u64::MAX));
    frame.render_widget(spark(format!(" backlog {} ", last.backlog), Color::Magenta).data(&backlog), halves[0]);
    frame.render_widget(
        spark(format!(" oldest message {} ", units::age(last.oldest)), Color::Red).data(&oldest),
        halves[1],
    );
}

fn instances(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, last: &Look) {
    let title = format!(" instances of prime-search: {} of {} wanted ", last.running, last.wanted);
    let boxes = (0..shown.max).map(|n| {
        let (text, color) = match n {
            n if n < last.running => ("[#] ", Color::Green),
            n if n < last.wanted => ("[+] ", Color::Yellow),
            _ => ("[ ] ", Color::DarkGray),
        };
        Span::styled(text, Style::new().fg(color))
    });
    frame.render_widget(Paragraph::new(Line::from_iter(boxes)).block(Block::bordered().title(title)), area);
}

fn decisions(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let room = usize::from(area.height.saturating_sub(2));
    let newest = &shown.decisions[shown.decisions.len().saturating_sub(room)..];
    let lines: Vec<Line<'_>> = newest.iter().map(|text| Line::raw(text.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" decisions, and why ")), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::{Terminal, backend::TestBackend};

    fn screen(width: u16, height: u16, looks: &[Look]) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
        let shown = Shown {
            looks,
            act: "load rises",
            whole: Duration::from_secs(60),
            max: 8,
            decisions: &["1 -> 6  BacklogHigh: 300 wait".to_owned()],
            admin_url: "http://127.0.0.1:8080",
        };
        terminal.draw(|frame| draw(frame, &shown)).expect("in memory");
        terminal.backend().to_string()
    }

    #[test]
    fn all_that_matters_is_on_the_screen() {
        let (at, oldest) = (Duration::from_secs(12), Duration::from_millis(2400));
        let look = Look { at, arrives_per_s: 200.0, done_per_s: 40.0, backlog: 321, oldest, wanted: 6, running: 2 };
        let screen = screen(100, 34, &[Look::default(), look]);
        for text in [
            "12 of 60 s",
            "load rises",
            "arrive 200, done 40.0",
            "backlog 321",
            "2.4 s",
            "2 of 6 wanted",
            "BacklogHigh: 300 wait",
        ] {
            assert!(screen.contains(text), "{text} is not in\n{screen}");
        }
        assert_eq!((screen.matches("[#]").count(), screen.matches("[+]").count()), (2, 4));
    }

    #[test]
    fn all_that_matters_is_on_a_small_screen_too() {
        for (width, height) in [(80, 24), (80, 16)] {
            let screen = screen(width, height, &[Look::default()]);
            for text in [
                "0 of 60 s",
                "arrive 0.0, done 0.0",
                "127.0.0.1:8080",
                "backlog 0",
                "0 of 0 wanted",
                "BacklogHigh: 300 wait",
                "q ends it",
            ] {
                assert!(screen.contains(text), "{text} is not in\n{screen}");
            }
        }
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_panic() {
        for (width, height) in [(1, 1), (10, 3), (40, 10)] {
            screen(width, height, &[Look::default()]);
        }
    }
}
