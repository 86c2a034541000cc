//! What an instance counts, and how it is shown.
//!
//! Source of the names and of the meaning of "the last minute": Pulsar's `FunctionStatsManager` and `FunctionStatus`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::runtime::Report;

/// Exceptions kept, newest last. Pulsar keeps ten.
const EXCEPTIONS_KEPT: usize = 10;
/// Log lines kept for those who look.
const LINES_KEPT: usize = 1000;
/// Names a function may make metrics of.
const USER_METRICS_MAX: usize = 1000;
const MINUTE_MS: u64 = 60_000;

/// How an instance does. Counters are since it was started, whatever happened to its code.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// User code runs.
    pub running: bool,
    /// Why not; empty when it does, or was stopped.
    pub error: String,
    /// How often user code was started again.
    pub restarts: u64,
    /// Messages received.
    pub received: u64,
    /// Invocations that ended well and whose effects are durable.
    pub processed: u64,
    /// Invocations that threw.
    pub user_exceptions: u64,
    /// The last of them.
    pub latest_user_exceptions: VecDeque<Exception>,
    /// What failed outside user code.
    pub system_exceptions: u64,
    /// The last of them.
    pub latest_system_exceptions: VecDeque<Exception>,
    /// Time in user code.
    pub latency: Latency,
    /// Wall clock milliseconds, 0 for never.
    pub last_invocation_ms: u64,
    /// Messages published.
    pub published: u64,
    /// The same over the last full minute.
    pub last_minute: Counts,
    /// `context.record_metric`.
    pub user_metrics: BTreeMap<String, UserMetric>,
    /// Messages received and not yet done with.
    pub in_hand: u64,
    /// Messages the instance wants to have in hand at most; the broker holds the rest back.
    pub window: u64,
    this_minute: Counts,
    minute_began_ms: u64,
}

/// Something that was thrown, and when (wall clock milliseconds).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    pub message: String,
    pub at_ms: u64,
}

/// What is counted each minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    pub received: u64,
    pub processed: u64,
    pub user_exceptions: u64,
    pub system_exceptions: u64,
    /// Sum over what was invoked, and how many that was.
    pub latency: (Duration, u64),
}

impl Counts {
    /// Milliseconds; `None` when nothing was invoked.
    #[must_use]
    pub fn average_latency_ms(&self) -> Option<f64> {
        average_ms(self.latency.0, self.latency.1)
    }
}

fn average_ms(sum: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| sum.as_secs_f64() * 1e3 / count as f64)
}

/// Last value and summary of a user's metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserMetric {
    pub last: f64,
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

/// Durations in buckets an eighth of a power of two wide: quantiles within 9 %, one kilobyte once there are some.
#[derive(Clone, Default)]
pub struct Latency {
    buckets: Option<Box<[u32; Self::BUCKETS]>>,
    count: u64,
    sum: Duration,
}

impl Latency {
    const BUCKETS: usize = 33 * 8;

    fn bucket(us: u64) -> usize {
        if us < 8 {
            return us as usize;
        }
        let exponent = 63 - us.leading_zeros() as usize;
        let eighth = (us >> (exponent - 3)) as usize & 7;
        ((exponent - 2) * 8 + eighth).min(Self::BUCKETS - 1)
    }

    /// The middle of a bucket, microseconds.
    fn value(bucket: usize) -> f64 {
        if bucket < 8 {
            return bucket as f64;
        }
        let (exponent, eighth) = (bucket / 8 + 2, bucket % 8);
        (8 + eighth) as f64 * 2f64.powi(exponent as i32 - 3) * (1.0 + 0.5 / (8 + eighth) as f64)
    }

    fn add(&mut self, took: Duration) {
        self.add_all(1, took);
    }

    /// So many that took so much together; how it was shared among them is not known.
    fn add_all(&mut self, count: u64, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let Some(mean_us) = us.checked_div(count) else { return };
        let bucket = &mut self.buckets.get_or_insert_with(|| Box::new([0; Self::BUCKETS]))[Self::bucket(mean_us)];
        *bucket = bucket.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        self.count += count;
        self.sum = self.sum.saturating_add(took);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Of all.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Milliseconds; `None` when there is none.
    #[must_use]
    pub fn average_ms(&self) -> Option<f64> {
        average_ms(self.sum, self.count)
    }

    /// Milliseconds below which the share `q` (0 to 1) of all was; `None` when there is none.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let buckets = self.buckets.as_deref()?;
        let total: u64 = buckets.iter().map(|&n| u64::from(n)).sum();
        let rank = ((q * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = buckets.iter().position(|&n| {
            seen += u64::from(n);
            seen >= rank
        })?;
        Some(Self::value(bucket) / 1e3)
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:?}", self.count, self.sum)
    }
}

impl Status {
    /// Ends a minute that is over.
    pub(super) fn roll(&mut self, now_ms: u64) {
        let minutes = now_ms.saturating_sub(self.minute_began_ms) / MINUTE_MS;
        if minutes > 0 {
            let ended = std::mem::take(&mut self.this_minute);
            self.last_minute = if minutes == 1 { ended } else { Counts::default() };
            self.minute_began_ms = now_ms - now_ms % MINUTE_MS;
        }
    }

    pub(super) fn received(&mut self, messages: u64) {
        self.received += messages;
        self.this_minute.received += messages;
    }

    pub(super) fn invoked(&mut self, took: Duration, now_ms: u64) {
        self.latency.add(took);
        self.this_minute.latency.0 += took;
        self.this_minute.latency.1 += 1;
        self.last_invocation_ms = now_ms;
    }

    pub(super) fn processed(&mut self, invocations: u64, published: u64) {
        self.processed += invocations;
        self.this_minute.processed += invocations;
        self.published += published;
    }

    pub(super) fn user_exception(&mut self, message: &str, at_ms: u64) {
        self.user_exceptions += 1;
        self.this_minute.user_exceptions += 1;
        keep(&mut self.latest_user_exceptions, Exception { message: message.to_owned(), at_ms }, EXCEPTIONS_KEPT);
    }

    pub(super) fn system_exception(&mut self, message: &str, at_ms: u64) {
        self.system_exceptions += 1;
        self.this_minute.system_exceptions += 1;
        keep(&mut self.latest_system_exceptions, Exception { message: message.to_owned(), at_ms }, EXCEPTIONS_KEPT);
    }

    /// What self-driven code did.
    pub(super) fn reported(&mut self, report: Report, now_ms: u64) {
        self.roll(now_ms);
        self.received(report.received);
        self.processed(report.processed, 0);
        let (took, calls) = report.took;
        self.latency.add_all(calls, took);
        self.this_minute.latency.0 = self.this_minute.latency.0.saturating_add(took);
        self.this_minute.latency.1 += calls;
        if report.received > 0 {
            self.last_invocation_ms = now_ms;
        }
        self.user_exceptions += report.user_exceptions;
        self.this_minute.user_exceptions += report.user_exceptions;
        let timed = |exception: Exception| match exception.at_ms {
            0 => Exception { at_ms: now_ms, ..exception },
            _ => exception,
        };
        for exception in report.latest_user_exceptions.into_iter().map(timed) {
            keep(&mut self.latest_user_exceptions, exception, EXCEPTIONS_KEPT);
        }
        self.system_exceptions += report.system_exceptions;
        self.this_minute.system_exceptions += report.system_exceptions;
        for exception in report.latest_system_exceptions.into_iter().map(timed) {
            keep(&mut self.latest_system_exceptions, exception, EXCEPTIONS_KEPT);
        }
        for (name, value) in report.metrics {
            self.user_metric(&name, value);
        }
    }

    pub(super) fn user_metric(&mut self, name: &str, value: f64) {
        if let Some(metric) = self.user_metrics.get_mut(name) {
            metric.last = value;
            metric.count += 1;
            metric.sum += value;
            metric.min = metric.min.min(value);
            metric.max = metric.max.max(value);
        } else if self.user_metrics.len() < USER_METRICS_MAX {
            let metric = UserMetric { last: value, count: 1, sum: value, min: value, max: value };
            self.user_metrics.insert(name.to_owned(), metric);
        }
    }
}

fn keep<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    while all.len() >= most {
        all.pop_front();
    }
    all.push_back(one);
}

/// The last lines user code logged, numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Lines {
    kept: VecDeque<Line>,
    next: u64,
}

/// One line of an instance's log.
#[derive(Debug, Clone)]
pub struct Line {
    /// Rises by one with each line of this instance.
    pub number: u64,
    /// Wall clock milliseconds.
    pub at_ms: u64,
    pub level: crate::runtime::LogLevel,
    pub message: String,
}

impl Lines {
    pub(super) fn push(&mut self, line: &crate::runtime::LogLine, at_ms: u64) {
        let line = Line { number: self.next, at_ms, level: line.level, message: line.message.clone() };
        self.next += 1;
        keep(&mut self.kept, line, LINES_KEPT);
    }

    /// Those numbered `from` and later.
    pub(super) fn since(&self, from: u64) -> Vec<Line> {
        self.kept.iter().filter(|line| line.number >= from).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_tenth() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.5), None);
        for us in 1..=100_000 {
            latency.add(Duration::from_micros(us));
        }
        for (q, ms) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = latency.quantile_ms(q).unwrap();
            assert!((found / ms - 1.0).abs() < 0.1, "{q}: {found} for {ms}");
        }
        latency.add(Duration::MAX / 2);
        assert_eq!(latency.count(), 100_001);
    }

    #[test]
    fn the_last_minute_is_the_one_before_this() {
        let mut status = Status::default();
        status.roll(600_000);
        status.received(3);
        status.roll(659_999);
        assert_eq!(status.last_minute.received, 0);
        status.roll(660_000);
        assert_eq!(status.last_minute.received, 3);
        status.received(1);
        status.roll(800_000);
        assert_eq!((status.last_minute.received, status.received), (0, 4));
    }
}
