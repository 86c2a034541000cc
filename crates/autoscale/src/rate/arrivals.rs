//! How fast messages arrive, from counts that jump about.
//!
//! A mean over a long time is quiet but late, over a short time early but noisy. Here the longest window counts whose mean the windows
//! within it do not contradict: random counts differ from their mean by their square root, so what differs by three times that is news.

use std::{collections::VecDeque, time::Duration};

/// Looks that are remembered.
const LOOKS_MAX: usize = 64;
/// Deviations that are no accident.
const NEWS: f64 = 3.0;
/// For growth, of which several stretches are tried and any is believed.
const GROWTH: f64 = 3.5;

/// A line explains at least so much of what the best step does. Of a step it explains three quarters; where it has just begun to grow a
/// little less than the step does.
const LINE: f64 = 0.85;

/// Counts of the last looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals {
    /// Length in seconds and messages, the newest first.
    looks: VecDeque<(f64, f64)>,
}

/// How it is, how it was, and where it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    /// Messages per second, a mean.
    pub(super) mean_per_s: f64,
    /// How old that is: the middle of what the mean is over.
    pub(super) lag_s: f64,
    /// How much it grows each second; 0 unless it does so twice in a row, beyond accident.
    pub(super) growth_per_s2: f64,
}

impl Rate {
    /// Messages per second in `ahead_s`, if it goes on like this. What falls is not foreseen.
    pub(super) fn ahead_per_s(&self, ahead_s: f64) -> f64 {
        self.mean_per_s + self.growth_per_s2 * (self.lag_s + ahead_s)
    }
}

impl Arrivals {
    /// `per_s` was the rate of the last `length`.
    pub(super) fn add(&mut self, length: Duration, per_s: f64) {
        let seconds = length.as_secs_f64();
        self.looks.push_front((seconds, per_s * seconds));
        self.looks.truncate(LOOKS_MAX);
    }

    pub(super) fn rate(&self) -> Rate {
        // Where it grows, an older mean says nothing.
        let (mut window, growth_per_s2) = self.growth().unwrap_or((self.looks.len(), 0.0));
        while window > 1 && growth_per_s2 == 0.0 && self.contradicts(window) {
            window = (window * 3 / 4).max(1);
        }
        let (seconds, count) = self.sum(0, window);
        if seconds <= 0.0 {
            return Rate::default();
        }
        Rate { mean_per_s: count / seconds, lag_s: seconds / 2.0, growth_per_s2 }
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

    /// The shortest stretch of looks that shows one, and its growth: two steps up in a row. A single step is no growth.
    fn growth(&self) -> Option<(usize, f64)> {
        let mut part = 1;
        while part * 3 <= self.looks.len() {
            let [new, mid, old] = [0, part, 2 * part].map(|skip| self.sum(skip, part));
            let growth = |new: (f64, f64), old: (f64, f64)| (new.1 / new.0 - old.1 / old.0) / ((new.0 + old.0) / 2.0);
            let accident = ((new.1 / (new.0 * new.0)) + (old.1 / (old.0 * old.0))).sqrt();
            let steady = growth(new, mid).min(growth(mid, old));
            if steady > 0.0 && new.1 / new.0 - old.1 / old.0 > GROWTH * accident && self.is_a_ramp(part * 3) {
                return Some((part, steady));
            }
            part *= 2;
        }
        None
    }

    /// The newest looks lie nearer to a line than to any step.
    fn is_a_ramp(&self, len: usize) -> bool {
        let n = len as f64;
        let rates = || self.looks.iter().take(len).map(|&(seconds, count)| count / seconds.max(f64::MIN_POSITIVE));
        let mean = rates().sum::<f64>() / n;
        let middle = (n - 1.0) / 2.0;
        let square: f64 = rates().map(|rate| (rate - mean).powi(2)).sum();
        let slope: f64 = rates().enumerate().map(|(i, rate)| (i as f64 - middle) * (rate - mean)).sum();
        let by_line = slope.powi(2) * 12.0 / (n * (n * n - 1.0));
        // What a step explains: the best of all places for it.
        let (mut sum, mut by_step) = (0.0, 0.0f64);
        for (i, rate) in rates().enumerate().take(len - 1) {
            sum += rate - mean;
            let (left, right) = ((i + 1) as f64, n - (i + 1) as f64);
            by_step = by_step.max(sum * sum / left + sum * sum / right);
        }
        by_line >= by_step.min(square) * LINE
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
        assert_eq!(rate, Rate { mean_per_s: 100.0, lag_s: 16.0, growth_per_s2: 0.0 });
    }

    #[test]
    fn a_step_is_seen_at_once_and_is_no_growth() {
        for (before, after_it) in [(100.0, 1000.0), (1000.0, 100.0)] {
            for looks in 1..10 {
                let rate = after([before; 31].into_iter().chain(vec![after_it; looks]));
                assert_eq!((rate.mean_per_s, rate.growth_per_s2), (after_it, 0.0), "{looks}");
            }
        }
    }

    #[test]
    fn a_message_a_minute_is_no_step() {
        let rate = after([0.0; 31].into_iter().chain([1.0]));
        assert_eq!(rate, Rate { mean_per_s: 1.0 / 32.0, lag_s: 16.0, growth_per_s2: 0.0 });
    }

    #[test]
    fn what_grows_is_expected_to_grow_on() {
        let slow = after((0..32).map(|i| 1000.0 + 5.0 * f64::from(i)));
        assert!((slow.growth_per_s2 - 5.0).abs() < 0.1, "{slow:?}");
        let crowd = after([4.0; 10].into_iter().chain([20.0, 36.0, 52.0, 68.0, 84.0]));
        assert!((crowd.ahead_per_s(1.0) - 108.0).abs() < 1.0, "{crowd:?}");
        let falling = after((0..32).map(|i| 2000.0 - 50.0 * f64::from(i)));
        assert_eq!(falling.growth_per_s2, 0.0);
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        assert_eq!(after([]), Rate::default());
    }
}
