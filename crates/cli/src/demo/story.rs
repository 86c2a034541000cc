//! What was seen, look by look, and whether it is what the demo is about.

use std::{fmt, time::Duration};

/// One look at the mesh.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// Since the load began.
    pub(super) at: Duration,
    /// Messages a second that come into the scaled function, and that it has done, since the look before.
    pub(super) arrives_per_s: f64,
    pub(super) done_per_s: f64,
    /// Messages of the scaled function that are not done.
    pub(super) backlog: u64,
    /// Age of the oldest of them.
    pub(super) oldest: Duration,
    /// Instances of the scaled function: those wanted, and those that run.
    pub(super) wanted: u32,
    pub(super) running: u32,
}

/// The facts, in the order of the story.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub(super) claim: &'static str,
    /// What was seen, or why it is not so.
    pub(super) seen: Result<String, String>,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seen {
            Ok(seen) => write!(f, "ok      {}: {seen}", self.claim),
            Err(why) => write!(f, "FAILED  {}: {why}", self.claim),
        }
    }
}

/// Tells load, instances, backlog and their end from what was seen; `calm` is the rate before the load, a second.
pub(super) fn facts(looks: &[Look], calm: f64) -> Vec<Fact> {
    let peak = looks.iter().map(|look| look.arrives_per_s).fold(0.0, f64::max);
    let top = looks.iter().enumerate().max_by_key(|(n, look)| (look.running, std::cmp::Reverse(*n)));
    let most = top.map_or(0, |(_, look)| look.running);
    let before = looks.iter().take_while(|look| look.arrives_per_s <= 2.0 * calm).map(|look| look.running).max();
    let after_top = top.map_or(looks, |(n, _)| &looks[n..]);
    let fullest = looks.iter().map(|look| look.backlog).max().unwrap_or(0);
    let drained = after_top.iter().find(|look| look.backlog * 20 <= fullest);
    let gone = after_top.iter().find(|look| look.running == 0);
    let first = before.unwrap_or(0);
    vec![
        fact("the load goes up", peak >= 3.0 * calm, format!("from {calm:.0} to {peak:.0} messages a second")),
        fact(
            "instances appear",
            most > first.max(1),
            match top {
                Some((_, look)) => format!("from {first} to {most}, {:.0} s after the start", look.at.as_secs_f64()),
                None => "nothing was seen".to_owned(),
            },
        ),
        fact(
            "the backlog drains",
            fullest > 0 && drained.is_some(),
            match drained {
                Some(look) => format!("from {fullest} to {} after {:.0} s", look.backlog, look.at.as_secs_f64()),
                None => format!("it was {fullest} and is {}", looks.last().map_or(0, |look| look.backlog)),
            },
        ),
        fact(
            "instances go",
            most > 0 && gone.is_some(),
            match gone {
                Some(look) => format!("from {most} to 0 after {:.0} s", look.at.as_secs_f64()),
                None => format!("{} of {most} still run", looks.last().map_or(0, |look| look.running)),
            },
        ),
    ]
}

pub(super) fn fact(claim: &'static str, is_so: bool, text: String) -> Fact {
    Fact { claim, seen: if is_so { Ok(text) } else { Err(text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look a second: messages that arrive, backlog, instances.
    fn looks(seen: &[(f64, u64, u32)]) -> Vec<Look> {
        let look = |(n, &(arrives_per_s, backlog, running)): (usize, &(f64, u64, u32))| {
            let at = Duration::from_secs(n as u64);
            Look { at, arrives_per_s, backlog, running, wanted: running, ..Look::default() }
        };
        seen.iter().enumerate().map(look).collect()
    }

    fn failed(seen: &[(f64, u64, u32)]) -> Vec<&'static str> {
        facts(&looks(seen), 20.0).into_iter().filter(|fact| fact.seen.is_err()).map(|fact| fact.claim).collect()
    }

    #[test]
    fn the_whole_story_is_told() {
        let seen = [(20.0, 1, 1), (200.0, 150, 1), (200.0, 300, 6), (200.0, 10, 6), (0.0, 0, 6), (0.0, 0, 0)];
        assert_eq!(failed(&seen), [""; 0]);
        assert_eq!(facts(&looks(&seen), 20.0)[2].to_string(), "ok      the backlog drains: from 300 to 10 after 3 s");
    }

    #[test]
    fn each_part_that_is_missing_is_named() {
        assert_eq!(failed(&[]).len(), 4);
        assert_eq!(failed(&[(20.0, 1, 1), (20.0, 30, 2), (20.0, 1, 0)]), ["the load goes up", "instances appear"]);
        assert_eq!(failed(&[(20.0, 1, 1), (200.0, 90, 1), (0.0, 0, 0)]), ["instances appear"]);
        assert_eq!(failed(&[(20.0, 1, 1), (200.0, 90, 3), (0.0, 50, 0)]), ["the backlog drains"]);
        assert_eq!(failed(&[(20.0, 1, 1), (200.0, 90, 3), (0.0, 0, 1)]), ["instances go"]);
    }
}
