//! What an instance does with its time, for whoever decides how many there should be. Cheap to read, and read often.

use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

use crate::runtime::{Usage, Used};

/// A handle to what one instance has done; it lasts longer than the instance. Times are of one monotonic clock.
#[derive(Clone, Default)]
pub struct Meter {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    load: Load,
    /// Messages in hand since `at`.
    in_hand: u32,
    at: Duration,
    usage: Option<Arc<dyn Usage>>,
    /// Since when user code runs, if it does.
    began: Option<Duration>,
    /// CPU time and deaths for want of memory of runs of user code that have ended.
    before: (Duration, u32),
}

/// What an instance has done since it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// When it was asked for.
    pub asked_at: Duration,
    /// When it was ready for the first time.
    pub ready_at: Option<Duration>,
    /// It takes messages.
    pub is_ready: bool,
    /// Messages done with, however they ended.
    pub done: u64,
    /// Messages written to the function's output topic.
    pub written: u64,
    /// Time in which it had messages in hand.
    pub busy: Duration,
    /// Messages in hand times how long each was, in seconds.
    pub held_s: f64,
    /// Time in user code, of all invocations: more than passed, where it works on several at once.
    pub took: Duration,
    /// Messages user code is given to work on at a time, at most: about what it works on at once, or more where it has not been tried yet.
    pub window: u32,
    /// What it keeps needs it, although no message comes: windows that time will close.
    pub waits_for_time: bool,
    /// How long the last run of its code took that was killed for its memory.
    pub out_of_memory_after: Option<Duration>,
}

/// How an instance does, and what it has done since it last said so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) in_hand: u32,
    pub(crate) window: u32,
    pub(crate) waits_for_time: bool,
    pub(crate) done: u64,
    pub(crate) took: Duration,
}

impl Meter {
    /// Of an instance that is asked for now.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        let meter = Self::default();
        {
            let mut inner = meter.inner.lock();
            inner.load.asked_at = now;
            inner.at = now;
        }
        meter
    }

    /// What it has done until now.
    #[must_use]
    pub fn read(&self, now: Duration) -> Load {
        let mut inner = self.inner.lock();
        inner.pass(now);
        inner.load.clone()
    }

    /// CPU time since it was asked for, memory now, and how often it was killed for its memory; `None` where nobody measures it.
    #[must_use]
    pub fn used(&self) -> Option<Used> {
        let (usage, before) = {
            let inner = self.inner.lock();
            (inner.usage.clone(), inner.before)
        };
        let used = usage?.used()?;
        Some(Used { cpu: used.cpu + before.0, out_of_memory: used.out_of_memory + before.1, ..used })
    }

    /// User code runs, and is measured by this.
    pub(crate) fn ready(&self, now: Duration, usage: Option<Arc<dyn Usage>>) {
        let mut inner = self.inner.lock();
        inner.pass(now);
        inner.load.ready_at.get_or_insert(now);
        inner.load.is_ready = true;
        inner.usage = usage;
        inner.began = Some(now);
    }

    /// User code has ended.
    pub(crate) fn ended(&self, now: Duration) {
        let last = self.used();
        let mut inner = self.inner.lock();
        inner.pass(now);
        inner.in_hand = 0;
        inner.load.is_ready = false;
        inner.load.waits_for_time = false;
        inner.usage = None;
        let began = inner.began.take();
        if let Some(last) = last {
            if last.out_of_memory > inner.before.1 {
                inner.load.out_of_memory_after = began.map(|began| now.saturating_sub(began));
            }
            inner.before = (last.cpu, last.out_of_memory);
        }
    }

    /// How it does from now on, and what it has done since it last said so.
    pub(crate) fn moved(&self, now: Duration, moved: Moved) {
        let mut inner = self.inner.lock();
        inner.pass(now);
        inner.in_hand = moved.in_hand;
        inner.load.done += moved.done;
        inner.load.took += moved.took;
        inner.load.window = moved.window;
        inner.load.waits_for_time = moved.waits_for_time;
    }

    pub(crate) fn wrote(&self, messages: u64) {
        self.inner.lock().load.written += messages;
    }

    /// What code did that nothing is handed to: of the time since its last word, so much was in user code.
    pub(crate) fn reported(&self, now: Duration, done: u64, took: Duration) {
        let mut inner = self.inner.lock();
        let passed = now.saturating_sub(inner.at);
        inner.at = now;
        inner.load.done += done;
        inner.load.busy += took.min(passed);
        inner.load.held_s += took.as_secs_f64();
        inner.load.took += took;
    }
}

impl Inner {
    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if self.in_hand > 0 {
            self.load.busy += passed;
            self.load.held_s += passed.as_secs_f64() * f64::from(self.in_hand);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_with_messages_in_hand_is_busy_even_while_it_lasts() {
        let meter = Meter::new(SECOND);
        meter.ready(2 * SECOND, None);
        meter.moved(3 * SECOND, Moved { in_hand: 2, ..Moved::default() });
        assert_eq!(meter.read(5 * SECOND).busy, 2 * SECOND);
        meter.moved(6 * SECOND, Moved { done: 2, ..Moved::default() });
        let load = meter.read(9 * SECOND);
        assert_eq!((load.busy, load.held_s, load.done), (3 * SECOND, 6.0, 2));
        assert_eq!((load.asked_at, load.ready_at), (SECOND, Some(2 * SECOND)));
    }

    #[test]
    fn what_ran_before_counts_on() {
        #[derive(Debug)]
        struct Fixed(u64);
        impl Usage for Fixed {
            fn used(&self) -> Option<Used> {
                Some(Used { cpu: Duration::from_secs(self.0), memory_bytes: Some(self.0), out_of_memory: 1 })
            }
        }
        let meter = Meter::new(Duration::ZERO);
        assert_eq!(meter.used(), None);
        meter.ready(SECOND, Some(Arc::new(Fixed(5))));
        meter.ended(2 * SECOND);
        meter.ready(3 * SECOND, Some(Arc::new(Fixed(2))));
        assert_eq!(meter.used(), Some(Used { cpu: 7 * SECOND, memory_bytes: Some(2), out_of_memory: 2 }));
        let load = meter.read(3 * SECOND);
        assert_eq!((load.ready_at, load.out_of_memory_after), (Some(SECOND), Some(SECOND)));
        meter.ended(8 * SECOND);
        assert_eq!(meter.read(9 * SECOND).out_of_memory_after, Some(5 * SECOND));
    }
}
