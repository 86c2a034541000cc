//! Messages per second over time, as straight lines between points; and the messages that follow from it.

use crate::{Error, chance::Chance};
use std::time::Duration;

/// Points of a trace read from a file, at most.
const POINTS_MAX: usize = 100_000;
/// Messages per second, at most: more is a mistake, and would take the simulation hours.
const RATE_MAX: f64 = 100_000.0;
/// Messages of one trace, at most: they are all held in memory.
pub(crate) const MESSAGES_MAX: f64 = 20_000_000.0;
/// Seconds of one trace, at most: a week.
const SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Messages per second over time: straight lines between points.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Seconds, rising (two of the same second make a step); and messages per second then.
    points: Vec<(f64, f64)>,
}

impl Rates {
    /// # Errors
    /// [`Error::Trace`]: fewer than two points, seconds that fall or do not start at 0, rates below 0, or too much of anything.
    pub fn new(points: impl Into<Vec<(f64, f64)>>) -> Result<Self, Error> {
        let points = points.into();
        let wrong = |line: usize, text: String| Error::Trace { line: line + 1, text };
        if points.len() < 2 {
            return Err(wrong(points.len(), "a trace has at least two points".into()));
        }
        if points.len() > POINTS_MAX {
            return Err(wrong(POINTS_MAX, format!("more than {POINTS_MAX} points")));
        }
        let mut before = 0.0;
        for (n, &(second, rate)) in points.iter().enumerate() {
            if !(0.0..=SECONDS_MAX).contains(&second) || second < before || (n == 0 && second != 0.0) {
                return Err(wrong(n, format!("second {second}: seconds start at 0 and rise to {SECONDS_MAX} at most")));
            }
            if !(0.0..=RATE_MAX).contains(&rate) {
                return Err(wrong(n, format!("rate {rate}: from 0 to {RATE_MAX} messages per second")));
            }
            before = second;
        }
        let rates = Self { points };
        if rates.seconds() <= 0.0 {
            return Err(wrong(1, "it has no length".into()));
        }
        if rates.total() > MESSAGES_MAX {
            return Err(wrong(0, format!("{:.0} messages, more than {MESSAGES_MAX}", rates.total())));
        }
        Ok(rates)
    }

    /// Reads `second,rate` lines, with or without a heading; `#` starts a comment.
    ///
    /// # Errors
    /// [`Error::Trace`], with the line.
    pub fn parse(csv: &str) -> Result<Self, Error> {
        let mut points = Vec::new();
        let mut lines = Vec::new();
        // Spreadsheets put a mark before the first byte.
        for (n, line) in csv.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() || (points.is_empty() && line.replace(' ', "").eq_ignore_ascii_case("second,rate")) {
                continue;
            }
            let numbers = line
                .split_once(',')
                .and_then(|(second, rate)| Some((second.trim().parse().ok()?, rate.trim().parse().ok()?)));
            let point = numbers.ok_or_else(|| Error::Trace {
                line: n + 1,
                text: format!("not `second,rate`: {:?}", line.chars().take(40).collect::<String>()),
            })?;
            if points.len() > POINTS_MAX {
                break;
            }
            points.push(point);
            lines.push(n + 1);
        }
        Self::new(points).map_err(|error| match error {
            Error::Trace { line, text } => Error::Trace { line: lines.get(line - 1).copied().unwrap_or(line), text },
            other => other,
        })
    }

    /// As a file that [`Rates::parse`] reads.
    pub fn csv(&self) -> String {
        self.points.iter().fold("second,rate\n".to_owned(), |csv, (second, rate)| csv + &format!("{second},{rate}\n"))
    }

    /// How long it is.
    pub fn seconds(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.0)
    }

    /// The highest rate.
    pub fn peak(&self) -> f64 {
        self.points.iter().map(|point| point.1).fold(0.0, f64::max)
    }

    /// Messages on average, all in all.
    pub fn total(&self) -> f64 {
        self.lines().map(|((t0, r0), (t1, r1))| (t1 - t0) * (r0 + r1) / 2.0).sum()
    }

    /// Times shortened by a factor, rates changed by another.
    ///
    /// # Errors
    /// As [`Rates::new`].
    pub fn scaled(&self, time: f64, rate: f64) -> Result<Self, Error> {
        Self::new(self.points.iter().map(|&(t, r)| (t * time, r * rate)).collect::<Vec<_>>())
    }

    fn lines(&self) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
        self.points.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// When messages come: a Poisson process whose rate is this one.
    ///
    /// The n-th message comes when the area below the rate reaches the sum of n exponential draws.
    pub(crate) fn arrivals(&self, chance: Chance) -> Vec<Duration> {
        let mut times = Vec::with_capacity((self.total() * 1.05) as usize);
        let mut draws = 0u64;
        let mut draw = || {
            draws += 1;
            chance.of(draws).exponential()
        };
        let mut due = draw();
        for ((t0, r0), (t1, r1)) in self.lines() {
            let area = (t1 - t0) * (r0 + r1) / 2.0;
            let slope = if t1 > t0 { (r1 - r0) / (t1 - t0) } else { 0.0 };
            while due < area {
                // The root of r0 x + slope x^2 / 2 = due, in the form that stays exact when the slope is 0.
                let x = 2.0 * due / (r0 + (r0 * r0 + 2.0 * slope * due).max(0.0).sqrt());
                times.push(Duration::from_secs_f64((t0 + x).clamp(t0, t1)));
                due += draw();
            }
            due -= area;
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_the_rate() {
        let rates = Rates::new([(0.0, 0.0), (100.0, 200.0), (200.0, 200.0), (200.0, 0.0), (300.0, 0.0)]).unwrap();
        let times = rates.arrivals(Chance::new(3));
        let within = |from: u64, to: u64| times.iter().filter(|t| (from..to).contains(&t.as_secs())).count() as f64;
        for (from, to, mean) in [(0, 50, 2_500.0), (50, 100, 7_500.0), (100, 200, 20_000.0), (200, 300, 0.0)] {
            let count = within(from, to);
            assert!((count - mean).abs() <= 4.0 * f64::sqrt(mean), "{count} between {from} and {to}, {mean} expected");
        }
        assert!(times.is_sorted());
        assert_eq!(rates.total(), 30_000.0);
    }

    #[test]
    fn gaps_between_messages_are_those_of_a_poisson_process() {
        let times = Rates::new([(0.0, 50.0), (1_000.0, 50.0)]).unwrap().arrivals(Chance::new(1));
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 0.02).abs() < 0.0004 && (variance.sqrt() - 0.02).abs() < 0.0006, "{mean} {variance}");
    }

    #[test]
    fn a_file_is_read_and_written() {
        assert!(Rates::parse("\u{feff}second,rate\r\n0,1\r\n10,2\r\n").is_ok(), "as a spreadsheet writes it");
        let rates = Rates::parse("# a morning\nSecond, rate\n0,1\n\n10, 2.5 # up\n").unwrap();
        assert_eq!(rates, Rates::new([(0.0, 1.0), (10.0, 2.5)]).unwrap());
        assert_eq!(Rates::parse(&rates.csv()).unwrap(), rates);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_line() {
        let check = |csv: &str, expected: &str| {
            let error = Rates::parse(csv).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("second,rate\n0,1\n\nten,2", "line 4");
        check("second,rate\n0,1\n# back\n10,1\n5,1", "line 5");
        check("0,1\n10,-1", "line 2");
        check("0,1\n10,NaN", "line 2");
        check("0,1\n10,1e9", "line 2");
        check("0,1\n1e99,1", "line 2");
        check("5,1\n10,1", "line 1");
        check("0,1", "two points");
        check("0,1\n0,1", "no length");
        check("0,90000\n90000,90000", "messages");
        check("", "two points");
    }
}
