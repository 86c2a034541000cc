//! How many messages somebody has at a time: enough to keep them busy, no more, so that what they cannot do soon is left to others.
//!
//! What counts is the time a message waits, beyond the time user code takes for it: it tells code that works on one after the other from
//! code that works on many at once. While messages wait long there are fewer; while they hardly wait, and all that may be there is, there
//! are twice as many. One more message than is worked on may always wait. Pure: the caller knows the time.

use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    size: u32,
    least: u32,
    most: u32,
    /// How long a message may wait, however fast the code is.
    patience: Duration,
    /// How long it may wait, in times that the code takes.
    turns: u32,
    is_used_up: bool,
    /// Messages that have left since it changed: the first ones say nothing of the change.
    left: u32,
}

impl Pace {
    pub(super) fn new(first: u32, most: u32, patience: Duration, turns: u32) -> Self {
        Self { size: first.min(most), least: 1, most, patience, turns, is_used_up: false, left: 0 }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn can_grow(&self) -> bool {
        self.size < self.most
    }

    /// Twice as many, up to `most`, although nobody knows how long messages wait: nothing leaves. `for_good`: it will not be fewer again.
    pub(super) fn grow(&mut self, most: u32, for_good: bool) {
        self.size = self.size.saturating_mul(2).min(self.most.min(most)).max(self.size);
        self.left = 0;
        if for_good {
            self.least = self.size;
        }
    }

    /// So many are there now.
    pub(super) fn has(&mut self, messages: u32) {
        self.is_used_up |= messages >= self.size / 2;
    }

    /// So many messages have left that had waited so long and taken so long, on average.
    pub(super) fn adapt(&mut self, messages: u32, waited: Duration, took: Duration) {
        self.left = self.left.saturating_add(messages);
        let patience = self.patience.max(took.saturating_mul(self.turns));
        if waited > patience {
            // In one step: at the pace seen, so much stays as is done in the time it may take.
            let scaled = f64::from(self.size) * patience.as_secs_f64() / waited.as_secs_f64();
            self.size = (scaled as u32).max(self.size / 2).max(self.least);
            self.left = 0;
        } else if waited < patience / 2 && self.is_used_up && self.left >= self.size {
            self.size = self.size.saturating_mul(2).min(self.most);
            self.left = 0;
        }
        self.is_used_up = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const PATIENCE: Duration = Duration::from_millis(20);

    /// Code with so many workers, each of which takes so many microseconds, and more to do than it can: how many messages it has in the
    /// end, and how many it did in the second half of the time.
    fn run(workers: usize, takes_us: u64, for_us: u64) -> (u32, u64) {
        let step = (takes_us / 20).max(1);
        let mut pace = Pace::new(2, 4000, PATIENCE, 1);
        let (mut waiting, mut working) = (VecDeque::new(), Vec::<(u64, u64)>::new());
        let (mut count, mut now) = (0, 0);
        while now < for_us {
            now += step;
            let ended: Vec<u64> = working.extract_if(.., |(ends, _)| *ends <= now).map(|(_, came)| came).collect();
            if !ended.is_empty() {
                let waited = ended.iter().map(|came| (now - came).saturating_sub(takes_us)).sum::<u64>();
                let waited = Duration::from_micros(waited / ended.len() as u64);
                pace.adapt(ended.len() as u32, waited, Duration::from_micros(takes_us));
                count += if now > for_us / 2 { ended.len() as u64 } else { 0 };
            }
            while (waiting.len() + working.len()) < pace.size() as usize {
                waiting.push_back(now);
            }
            pace.has((waiting.len() + working.len()) as u32);
            while working.len() < workers
                && let Some(came) = waiting.pop_front()
            {
                working.push((now + takes_us, came));
            }
        }
        (pace.size(), count)
    }

    #[test]
    fn code_that_works_on_one_after_the_other_has_what_it_does_in_its_patience() {
        let (size, done) = run(1, 1_000_000, 100_000_000);
        assert!(size <= 2, "{size} of 1 s");
        assert!(done >= 45, "{done} of 50");
        let (size, done) = run(1, 5_000, 10_000_000);
        assert!((2..=6).contains(&size), "{size} of 5 ms");
        assert!(done >= 900, "{done} of 1000");
        let (size, _) = run(1, 10, 1_000_000);
        assert!(size > 500, "{size} of 10 us");
    }

    #[test]
    fn code_that_works_on_many_at_once_has_them() {
        let (size, done) = run(100, 1_000_000, 100_000_000);
        assert!((100..=400).contains(&size), "{size}");
        assert!(done >= 4000, "{done} of 5000");
    }

    #[test]
    fn what_is_not_used_up_does_not_grow() {
        let mut pace = Pace::new(64, 4000, PATIENCE, 1);
        for _ in 0..10 {
            pace.has(3);
            pace.adapt(100, Duration::ZERO, Duration::from_millis(1));
        }
        assert_eq!(pace.size(), 64);
    }

    #[test]
    fn what_grew_for_good_stays() {
        let slow = |for_good| {
            let mut pace = Pace::new(2, 5, PATIENCE, 1);
            assert!(pace.can_grow());
            pace.grow(4, for_good);
            pace.grow(9, for_good);
            assert!(pace.size() == 5 && !pace.can_grow());
            (0..10).for_each(|_| pace.adapt(5, Duration::from_secs(9), Duration::from_millis(1)));
            pace.size()
        };
        assert_eq!((slow(true), slow(false)), (5, 1));
    }
}
