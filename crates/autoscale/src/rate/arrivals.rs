//! How fast messages arrive, from counts that jump about.
//!
//! A mean over a long time is quiet but late, over a short time early but noisy. Here the longest window counts whose mean the windows
//! within it do not contradict: random counts differ from their mean by their square root, so what differs by three times that is news.

use std::{collections::VecDeque, time::Duration};

/// Looks that are remembered.
const LOOKS_MAX: usize = 32;
/// Deviations that are no accident.
const NEWS: f64 = 3.0;

/// Counts of the last looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals {
    /// Length in seconds and messages, the newest first.
    looks: VecDeque<(f64, f64)>,
}

/// Now, and where it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    /// Messages per second.
    pub(super) now_per_s: f64,
    /// How much that grows each second; 0 unless it does so beyond accident.
    pub(super) growth_per_s2: f64,
}

impl Arrivals {
    /// `per_s` was the rate of the last `length`.
    pub(super) fn add(&mut self, length: Duration, per_s: f64) {
        let seconds = length.as_secs_f64();
        self.looks.push_front((seconds, per_s * seconds));
        self.looks.truncate(LOOKS_MAX);
    }

    pub(super) fn rate(&self) -> Rate {
        let mut window = self.looks.len();
        while window > 1 && self.contradicts(window) {
            window /= 2;
        }
        let (seconds, count) = self.sum(0, window);
        if seconds <= 0.0 {
            return Rate::default();
        }
        Rate { now_per_s: count / seconds, growth_per_s2: self.growth() }
    }

    /// Some window of the newest looks within this one says something else.
    fn contradicts(&self, window: usize) -> bool {
        let (seconds, count) = self.sum(0, window);
        let mean = count / seconds;
        let mut part = window / 2;
        while part > 0 {
            let (seconds, count) = self.sum(0, part);
            // One message more than expected is never news.
            if (count - mean * seconds).abs() > NEWS * (mean * seconds).max(1.0).sqrt() {
                return true;
            }
            part /= 2;
        }
        false
    }

    /// The newest quarter of the looks against the quarter before.
    fn growth(&self) -> f64 {
        let part = self.looks.len() / 4;
        let (new_s, new) = self.sum(0, part);
        let (old_s, old) = self.sum(part, part);
        if part == 0 || new_s <= 0.0 || old_s <= 0.0 {
            return 0.0;
        }
        let growth = new / new_s - old / old_s;
        let accident = (new / (new_s * new_s) + old / (old_s * old_s)).sqrt();
        if growth.abs() > NEWS * accident { growth / ((new_s + old_s) / 2.0) } else { 0.0 }
    }

    /// Seconds and messages of `len` looks, `skip` looks ago.
    fn sum(&self, skip: usize, len: usize) -> (f64, f64) {
        let add = |(s, n): (f64, f64), &(seconds, count): &(f64, f64)| (s + seconds, n + count);
        self.looks.iter().skip(skip).take(len).fold((0.0, 0.0), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(rates: impl IntoIterator<Item = f64>) -> Rate {
        let mut arrivals = Arrivals::default();
        for rate in rates {
            arrivals.add(SECOND, rate);
        }
        arrivals.rate()
    }

    #[test]
    fn noise_is_averaged() {
        let rate = after((0..32).map(|i| if i % 2 == 0 { 90.0 } else { 110.0 }));
        assert_eq!(rate, Rate { now_per_s: 100.0, growth_per_s2: 0.0 });
    }

    #[test]
    fn a_step_is_seen_at_once() {
        assert_eq!(after([100.0; 31].into_iter().chain([1000.0])).now_per_s, 1000.0);
        assert_eq!(after([1000.0; 31].into_iter().chain([100.0])).now_per_s, 100.0);
    }

    #[test]
    fn a_message_a_minute_is_no_step() {
        let rate = after([0.0; 31].into_iter().chain([1.0]));
        assert_eq!(rate, Rate { now_per_s: 1.0 / 32.0, growth_per_s2: 0.0 });
    }

    #[test]
    fn a_ramp_goes_on() {
        let rate = after((0..32).map(|i| 1000.0 + 100.0 * f64::from(i)));
        assert!((rate.growth_per_s2 - 100.0).abs() < 1.0, "{rate:?}");
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        assert_eq!(after([]), Rate::default());
    }
}
