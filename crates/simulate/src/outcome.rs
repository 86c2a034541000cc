//! What came of one run, and of several together.

use serde::Serialize;

/// What came of one run: of messages published after the warm-up, and of the time after it.
///
/// Ages go from the publish at the beginning of the chain to having been done at its end. A message that is not done when the trace
/// ends has the age that it has then.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outcome {
    /// Messages that reached the end of the chain, or are `left`.
    pub messages: f64,
    /// Median age.
    pub p50_s: f64,
    /// 99 of 100 messages were not older.
    pub p99_s: f64,
    /// The greatest age.
    pub max_s: f64,
    /// Messages older than the target.
    pub late: f64,
    /// Messages not done when the trace ended.
    pub left: f64,
    /// Seconds that instances were paid for, from being asked for until they were gone.
    pub instance_s: f64,
    /// Seconds that instances worked.
    pub busy_s: f64,
    /// Decisions that changed the number of instances.
    pub scale_events: f64,
    /// Of these, those that went the other way than the one before.
    pub direction_changes: f64,
}

impl Outcome {
    const FIELDS: [(fn(&Self) -> f64, fn(&mut Self) -> &mut f64); 10] = [
        (|o| o.messages, |o| &mut o.messages),
        (|o| o.p50_s, |o| &mut o.p50_s),
        (|o| o.p99_s, |o| &mut o.p99_s),
        (|o| o.max_s, |o| &mut o.max_s),
        (|o| o.late, |o| &mut o.late),
        (|o| o.left, |o| &mut o.left),
        (|o| o.instance_s, |o| &mut o.instance_s),
        (|o| o.busy_s, |o| &mut o.busy_s),
        (|o| o.scale_events, |o| &mut o.scale_events),
        (|o| o.direction_changes, |o| &mut o.direction_changes),
    ];

    /// The median of each number by itself.
    pub fn median(runs: &[Outcome]) -> Self {
        let mut median = Self::default();
        for (get, set) in Self::FIELDS {
            let mut values: Vec<f64> = runs.iter().map(get).collect();
            values.sort_by(f64::total_cmp);
            let middle = values.len() / 2;
            *set(&mut median) = match values.len() {
                0 => 0.0,
                n if n % 2 == 1 => values[middle],
                _ => f64::midpoint(values[middle - 1], values[middle]),
            };
        }
        median
    }

    pub(crate) fn set_ages(&mut self, mut ages: Vec<f64>, target_s: f64) {
        ages.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * ages.len() as f64).ceil() as usize;
            ages.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        self.messages = ages.len() as f64;
        self.p50_s = at(0.5);
        self.p99_s = at(0.99);
        self.max_s = at(1.0);
        self.late = ages.iter().filter(|&&age| age > target_s).count() as f64;
    }
}

/// One run over time, for plots.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Series {
    /// Seconds between two points.
    pub step_s: f64,
    /// Messages per second published, mean up to each point.
    pub rate: Vec<f64>,
    /// The functions, first to last.
    pub functions: Vec<FunctionSeries>,
}

/// One function over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FunctionSeries {
    /// Messages not done.
    pub backlog: Vec<f64>,
    /// Age of the oldest message not done.
    pub oldest_s: Vec<f64>,
    /// Instances wanted.
    pub wanted: Vec<f64>,
    /// Instances that take work.
    pub ready: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ages_that_occurred() {
        let mut outcome = Outcome::default();
        outcome.set_ages((1..=200).rev().map(f64::from).collect(), 198.0);
        assert_eq!((outcome.p50_s, outcome.p99_s, outcome.max_s, outcome.late), (100.0, 198.0, 200.0, 2.0));
        let mut none = Outcome::default();
        none.set_ages(vec![], 1.0);
        assert_eq!(none, Outcome::default());
    }

    #[test]
    fn the_median_is_that_of_each_number() {
        let run = |p50_s, late| Outcome { p50_s, late, ..Outcome::default() };
        let median = Outcome::median(&[run(1.0, 9.0), run(3.0, 7.0), run(2.0, 8.0)]);
        assert_eq!((median.p50_s, median.late), (2.0, 8.0));
        assert_eq!(Outcome::median(&[run(1.0, 0.0), run(2.0, 0.0)]).p50_s, 1.5);
    }
}
