//! How much a consumer of a function may have in flight: about twice what it works on at a time, whatever permits it sent.
//!
//! Pulsar's instances ask for a thousand messages each and work on them one after the other: one that joins finds nothing left. What an
//! instance works on at a time is its rate times how long a message takes there when it does not queue. That time is the shortest mean
//! seen of late; when it is old it is measured anew, with ever smaller windows until there is no queue. A window that was not used up says
//! nothing and stays. One who acknowledges nothing while it is full gets more after a while: it may wait for more, as a window of so many
//! messages does; and never has less than twice what it acknowledges at once.
//! The idea is that of BBR congestion control. Pure: the caller knows the time, in milliseconds.

/// Where it begins.
const FIRST: u32 = 4;
/// One to work on, and one that is ready.
const LEAST: u32 = 2;
/// What is shorter than this counts as this long: work for so long is not worth sharing, and a consumer acknowledges now and then only.
const SHORTEST_MS: f64 = 20.0;
/// Rounds after which the shortest time is measured anew.
const OLD: u32 = 16;

/// A full window out of which nothing comes for so long, or for four times as long as a message takes, is doubled.
const STUCK_MS: f64 = 1000.0;
/// What is acknowledged within so long is acknowledged at once.
const AT_ONCE_MS: u64 = 10;
/// It ends somewhere.
const SIZE_MAX: u32 = 1 << 20;

/// See the module.
pub(super) struct Window {
    size: u32,
    is_full: bool,
    /// The round: since when, what was acknowledged, how long all of it took together, and whether the window was used up.
    began_ms: u64,
    acked: u32,
    took_ms: u64,
    was_full: bool,
    shortest_ms: f64,
    age: u32,
    /// Smaller windows are tried, as long as messages take less time with each; so long they took before.
    probing: Option<f64>,
    /// Messages it has, and how many of them were sent when it had more: they say nothing of a window that has become smaller.
    held: i64,
    of_before: i64,
    /// When something was acknowledged, or the window doubled.
    moved_ms: u64,
    /// What is acknowledged at once: since when, how much, and the most in this round and of late.
    burst_ms: u64,
    burst: u32,
    largest: u32,
    usual: u32,
}

impl Window {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            size: FIRST,
            is_full: false,
            began_ms: now_ms,
            acked: 0,
            took_ms: 0,
            was_full: false,
            shortest_ms: f64::INFINITY,
            age: 0,
            probing: None,
            held: 0,
            of_before: 0,
            moved_ms: now_ms,
            burst_ms: now_ms,
            burst: 0,
            largest: 0,
            usual: 0,
        }
    }

    /// Whether the consumer has as much as it may.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// When it is to be doubled if nothing is acknowledged until then; `None`: there is room.
    pub(super) fn doubles_at_ms(&self) -> Option<u64> {
        let patience_ms = if self.shortest_ms.is_finite() { STUCK_MS.max(4.0 * self.shortest_ms) } else { STUCK_MS };
        self.is_full.then(|| self.moved_ms.saturating_add(patience_ms as u64))
    }

    /// Nothing came out of it for too long.
    pub(super) fn double(&mut self, now_ms: u64) {
        self.size = self.size.saturating_mul(2).min(SIZE_MAX);
        self.moved_ms = now_ms;
        self.holds(self.held);
    }

    /// It was sent something, or has given something back, and has so many messages now.
    pub(super) fn holds(&mut self, messages: i64) {
        // It is opened by a quarter at a time: who looks for what it may be sent should find more than one message.
        self.held = messages;
        let room = i64::from(self.size) - messages;
        self.is_full = room <= 0 || self.is_full && room < i64::from((self.size / 4).max(1));
        self.was_full |= self.is_full;
    }

    /// It has acknowledged messages that were sent so long ago.
    pub(super) fn acked(&mut self, messages: u32, took_ms: u32, now_ms: u64) {
        self.moved_ms = now_ms;
        if now_ms.saturating_sub(self.burst_ms) > AT_ONCE_MS {
            (self.burst_ms, self.burst) = (now_ms, 0);
        }
        self.burst = self.burst.saturating_add(messages);
        self.largest = self.largest.max(self.burst);
        if self.of_before > 0 {
            self.of_before -= i64::from(messages);
            return self.begin(now_ms);
        }
        self.acked += messages;
        self.took_ms += u64::from(messages) * u64::from(took_ms);
        let passed_ms = now_ms.saturating_sub(self.began_ms) as f64;
        if self.acked < self.size.max(FIRST) || passed_ms < SHORTEST_MS {
            return;
        }
        let mean_ms = self.took_ms as f64 / f64::from(self.acked);
        self.usual = self.largest.max(self.usual / 2);
        if self.was_full {
            self.look(f64::from(self.acked) / passed_ms, mean_ms);
        } else {
            (self.shortest_ms, self.age) = (mean_ms, 0);
        }
        self.begin(now_ms);
    }

    fn begin(&mut self, now_ms: u64) {
        (self.began_ms, self.acked, self.took_ms, self.was_full) = (now_ms, 0, 0, self.is_full);
        self.largest = 0;
    }

    fn look(&mut self, rate_per_ms: f64, mean_ms: f64) {
        self.age += 1;
        if let Some(before_ms) = self.probing {
            // With less in flight a message takes less: it queues.
            if mean_ms < 0.75 * before_ms && self.size > self.least() {
                return self.probe(mean_ms);
            }
            (self.shortest_ms, self.age, self.probing) = (mean_ms.min(before_ms), 0, None);
        } else if mean_ms <= self.shortest_ms {
            (self.shortest_ms, self.age) = (mean_ms, 0);
        } else if self.age >= OLD {
            return self.probe(mean_ms);
        }
        let wanted = 2.0 * rate_per_ms * self.shortest_ms.max(SHORTEST_MS);
        self.size = (wanted as u32).max(self.size / 2).max(self.least());
    }

    /// Who acknowledges many at once may do so only when it has so many.
    fn least(&self) -> u32 {
        self.usual.saturating_mul(2).clamp(LEAST, SIZE_MAX)
    }

    /// Tries half of the window, at which a message may take less than `mean_ms`.
    fn probe(&mut self, mean_ms: f64) {
        self.probing = Some(mean_ms);
        self.size = (self.size / 2).max(self.least());
        self.of_before = self.held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_waits_for_more_before_it_acknowledges_gets_more() {
        let mut window = Window::new(0);
        let (mut now_ms, mut held) = (0, 0);
        while held < 1000 {
            while !window.is_full() && held < 1000 {
                held += 1;
                window.holds(held);
            }
            if let Some(at) = window.doubles_at_ms() {
                assert!(at <= now_ms + 1000, "{at} at {now_ms}");
                now_ms = at;
                window.double(now_ms);
            }
        }
        assert!(now_ms <= 10_000, "{now_ms}");
    }
    use std::collections::VecDeque;

    /// A client with so many workers, each of which takes `takes_ms` (of the time it begins) for a message. It acknowledges every `acks_every_ms`.
    struct Client {
        workers: usize,
        takes_ms: fn(u64) -> u64,
        acks_every_ms: u64,
    }

    /// After a backlog without end for `ms`: what it has in flight, and the messages it did in the last half of the time.
    fn run(client: &Client, ms: u64) -> (u32, usize) {
        let mut window = Window::new(0);
        let mut waiting: VecDeque<u64> = VecDeque::new();
        let mut working: Vec<(u64, u64)> = Vec::new();
        let mut done: Vec<u64> = Vec::new();
        let (mut held, mut count) = (0, 0);
        for now in 1..=ms {
            while !window.is_full() {
                held += 1;
                waiting.push_back(now);
                window.holds(held);
            }
            working.retain(|&(ends, sent)| {
                if ends <= now {
                    done.push(sent);
                }
                ends > now
            });
            while working.len() < client.workers
                && let Some(sent) = waiting.pop_front()
            {
                working.push((now + (client.takes_ms)(now), sent));
            }
            if now % client.acks_every_ms == 0 {
                for sent in done.drain(..) {
                    held -= 1;
                    window.acked(1, (now - sent) as u32, now);
                    window.holds(held);
                    count += usize::from(now > ms / 2);
                }
            }
        }
        (u32::try_from(held).unwrap(), count)
    }

    #[test]
    fn who_works_on_one_after_the_other_has_a_few_and_never_waits() {
        let (held, done) = run(&Client { workers: 1, takes_ms: |_| 5, acks_every_ms: 1 }, 20_000);
        assert!(held <= 12, "{held} of 5 ms");
        assert!(done >= 1900, "{done} of 2000");
        let (held, done) = run(&Client { workers: 1, takes_ms: |_| 1000, acks_every_ms: 1 }, 200_000);
        assert!(held <= 6, "{held} of 1 s");
        assert!(done >= 95, "{done} of 100");
    }

    #[test]
    fn who_works_on_many_at_a_time_has_twice_as_many() {
        let (held, done) = run(&Client { workers: 100, takes_ms: |_| 1000, acks_every_ms: 1 }, 100_000);
        assert!((100..=500).contains(&held), "{held}");
        assert!(done >= 4500, "{done} of 5000");
    }

    #[test]
    fn who_acknowledges_now_and_then_has_enough_in_between() {
        let (held, done) = run(&Client { workers: 1, takes_ms: |_| 5, acks_every_ms: 100 }, 20_000);
        assert!(held <= 80, "{held}");
        assert!(done >= 1800, "{done} of 2000");
    }

    #[test]
    fn who_acknowledges_only_what_it_has_many_of_never_waits_once_that_is_known() {
        for (collects, takes_ms) in [(100, 5), (300, 1), (300, 5), (999, 1)] {
            let mut window = Window::new(0);
            let (mut waiting, mut collected): (VecDeque<u64>, Vec<u64>) = Default::default();
            let (mut held, mut done, mut free_ms) = (0, 0, 0);
            for now in 1..=120_000 {
                if window.doubles_at_ms().is_some_and(|at| at <= now) {
                    window.double(now);
                }
                while !window.is_full() && held < 1000 {
                    held += 1;
                    waiting.push_back(now);
                    window.holds(held);
                }
                if free_ms <= now
                    && let Some(sent) = waiting.pop_front()
                {
                    collected.push(sent);
                    free_ms = now + takes_ms;
                }
                if collected.len() == collects {
                    for sent in collected.drain(..) {
                        held -= 1;
                        done += u64::from(now > 30_000);
                        window.acked(1, (now - sent) as u32, now);
                        window.holds(held);
                    }
                }
            }
            let most = 90_000 / takes_ms;
            assert!(done >= most * 9 / 10, "{done} of {most} where {collects} of {takes_ms} ms are collected");
        }
    }

    #[test]
    fn who_becomes_slow_has_less() {
        let takes_ms = |now| if now < 20_000 { 1 } else { 100 };
        let (held, _) = run(&Client { workers: 1, takes_ms, acks_every_ms: 1 }, 20_000);
        assert!(held >= 20, "{held} of 1 ms");
        let (held, _) = run(&Client { workers: 1, takes_ms, acks_every_ms: 1 }, 40_000);
        assert!(held <= 6, "{held} of 100 ms");
    }

    #[test]
    fn a_window_that_is_not_used_up_stays() {
        let mut window = Window::new(0);
        window.size = 500;
        for now in 1..10_000 {
            window.holds(1);
            window.acked(1, 1, now);
        }
        assert_eq!(window.size, 500);
        assert!(!window.is_full());
    }
}
