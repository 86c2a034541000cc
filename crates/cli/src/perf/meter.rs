//! Counts messages and times them, for one direction (published, or delivered).

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Nanoseconds since the run began, and the part of the run that is measured.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    window: (AtomicU64, AtomicU64),
}

impl Clock {
    /// A clock at 0, with nothing measured yet.
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), window: (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)) })
    }

    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Measures what is due in `from..from + length`.
    pub(super) fn measure(&self, from: u64, length: Duration) {
        self.window.1.store(from.saturating_add(length.as_nanos() as u64), Ordering::Relaxed);
        self.window.0.store(from, Ordering::Relaxed);
    }

    fn window(&self) -> (u64, u64) {
        (self.window.0.load(Ordering::Relaxed), self.window.1.load(Ordering::Relaxed))
    }
}

/// What was counted up to now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Counts and times.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) clock: Arc<Clock>,
    latency_ns: Mutex<Histogram<u64>>,
    messages: AtomicU64,
    bytes: AtomicU64,
    failure: Mutex<Option<client::Error>>,
}

/// From a microsecond to ten minutes, to three digits.
const LATENCY_NS: (u64, u64, u8) = (1_000, 600_000_000_000, 3);

impl Meter {
    pub(super) fn new(clock: Arc<Clock>) -> Arc<Self> {
        let (low, high, digits) = LATENCY_NS;
        let histogram = Histogram::new_with_bounds(low, high, digits).expect("the bounds are valid constants");
        Arc::new(Self {
            clock,
            latency_ns: Mutex::new(histogram),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failure: Mutex::new(None),
        })
    }

    /// `messages` of `bytes` altogether are done.
    pub(super) fn count(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn counted(&self) -> Count {
        Count { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Messages that were due at these times are done at `now`; those due in the window are timed.
    pub(super) fn time(&self, due: impl Iterator<Item = u64>, now: u64) {
        let (from, to) = self.clock.window();
        if now < from {
            return;
        }
        let mut histogram = self.latency_ns.lock();
        for due in due.filter(|due| (from..to).contains(due)) {
            histogram.saturating_record(now.saturating_sub(due));
        }
    }

    pub(super) fn latency_ns(&self) -> Histogram<u64> {
        self.latency_ns.lock().clone()
    }

    /// The run can't go on; only the first reason is kept.
    pub(super) fn fail(&self, error: client::Error) {
        self.failure.lock().get_or_insert(error);
    }

    pub(super) fn failure(&self) -> Option<client::Error> {
        self.failure.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_due_in_the_window_is_timed() {
        let clock = Clock::start();
        let meter = Meter::new(clock.clone());
        meter.time([5].into_iter(), 10_000);
        assert_eq!(meter.latency_ns().len(), 0, "nothing is measured yet");
        clock.measure(100_000, Duration::from_micros(100));
        meter.time([99_999, 100_000, 199_999, 200_000].into_iter(), 300_000);
        let latency = meter.latency_ns();
        assert_eq!(latency.len(), 2);
        assert!((latency.max() as i64 - 200_000).abs() < 1000, "{}", latency.max());
    }
}
