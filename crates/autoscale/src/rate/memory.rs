//! What is remembered of a function between looks.

use super::arrivals::{Arrivals, Rate};
use crate::{Instance, Reason, Sample};
use std::{collections::VecDeque, time::Duration};

/// What was measured is worth half after so much time in which more was measured.
const HALF_LIFE_S: f64 = 30.0;
/// After so much time in which nothing was.
const IDLE_HALF_LIFE_S: f64 = 600.0;
/// What fewer messages than this say is not forgotten for what is newer, or long work would be judged by single messages.
const MESSAGES_MIN: f64 = 20.0;
/// From fewer than this the true rate is not known: the first ones may be slow because code is loaded, or lucky.
const MESSAGES_KNOWN: f64 = 5.0;
/// Recommendations kept, at most: of an hour at one a second.
const RECOMMENDATIONS_MAX: usize = 3_600;
/// How long the first instance is thought to take when none has started yet.
const STARTUP_UNKNOWN: Duration = Duration::from_secs(1);

/// Everything that is remembered of one function.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// When it was last looked at.
    seen: Option<Duration>,
    /// When it last had something to do.
    pub(super) active: Duration,
    pub(super) arrivals: Arrivals,
    /// Messages done, and the instance-seconds it took, both fading.
    done: f64,
    busy_s: f64,
    startup: Option<Duration>,
    /// What each look asked for, oldest first, without those that a later one makes pointless.
    recommended: VecDeque<(Duration, u32)>,
    /// What the last look was over, in seconds.
    pub(super) look_s: f64,
    /// When it was last decided, and why so.
    pub(super) said: Option<(Duration, Reason)>,
    /// The last decision, and when there were last more than before it.
    pub(super) decided: u32,
    pub(super) raised: Duration,
    /// When the number was last doubled to find out the true rate.
    pub(super) probed: Option<Duration>,
}

/// The true rate of one instance in messages per second, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TrueRate {
    Known(f64),
    /// From too few messages to build on; if anything, it is less.
    Guessed(f64),
    Unknown,
}

impl Memory {
    /// Takes in a look. False: it is no newer than the last.
    pub(super) fn see(&mut self, sample: &Sample, arrival_per_s: f64, backlog: u64) -> bool {
        let Some(seen) = self.seen else {
            self.seen = Some(sample.at);
            self.active = sample.at;
            self.learn(sample, Duration::ZERO);
            return true;
        };
        if sample.at <= seen {
            return false;
        }
        self.seen = Some(sample.at);
        let length = sample.at - seen;
        self.look_s = length.as_secs_f64();
        self.arrivals.add(length, finite(arrival_per_s));
        self.learn(sample, length);
        if backlog > 0 || arrival_per_s > 0.0 || sample.instances.iter().any(|i| i.processed_per_s > 0.0) {
            self.active = sample.at;
        }
        true
    }

    fn learn(&mut self, sample: &Sample, length: Duration) {
        let seconds = length.as_secs_f64();
        let working = sample.instances.iter().filter(|i| i.startup.is_some() || i.is_ready);
        let (done, busy_s) = working.fold((0.0, 0.0), |(done, busy), i| {
            (done + finite(i.processed_per_s) * seconds, busy + finite(i.busy).min(1.0) * seconds)
        });
        let half_life_s = if busy_s > 0.0 { HALF_LIFE_S } else { IDLE_HALF_LIFE_S };
        let mut kept = 0.5f64.powf(seconds / half_life_s);
        if busy_s > 0.0 && self.done * kept + done < MESSAGES_MIN {
            kept = ((MESSAGES_MIN - done) / self.done.max(f64::MIN_POSITIVE)).clamp(kept, 1.0);
        }
        self.done = self.done * kept + done;
        self.busy_s = self.busy_s * kept + busy_s;
        for startup in sample.instances.iter().filter_map(|i| i.startup) {
            // The slow ones count: it is they who are waited for.
            let known = self.startup.unwrap_or(startup);
            self.startup = Some(if startup > known { startup } else { known - (known - startup) / 64 });
        }
    }

    /// What one instance does when it has enough to do.
    pub(super) fn true_rate(&self) -> TrueRate {
        if self.busy_s <= 0.0 {
            TrueRate::Unknown
        } else if self.done >= MESSAGES_KNOWN {
            TrueRate::Known(self.done / self.busy_s)
        } else {
            // As if the message at hand were done.
            TrueRate::Guessed((self.done + 1.0) / self.busy_s)
        }
    }

    pub(super) fn arrival(&self) -> Rate {
        self.arrivals.rate()
    }

    pub(super) fn startup(&self, instances: &[Instance]) -> Duration {
        // One that still starts has already taken so long.
        let waiting =
            instances.iter().filter(|i| !i.is_ready && !i.is_draining && i.startup.is_none()).map(|i| i.age).max();
        self.startup.unwrap_or(STARTUP_UNKNOWN).max(waiting.unwrap_or_default())
    }

    /// Remembers that so many were asked for.
    pub(super) fn recommend(&mut self, at: Duration, replicas: u32) {
        // Only the largest of a window is asked for, so what is older and no larger will never matter again.
        while self.recommended.back().is_some_and(|&(_, r)| r <= replicas) {
            self.recommended.pop_back();
        }
        self.recommended.push_back((at, replicas));
        if self.recommended.len() > RECOMMENDATIONS_MAX {
            self.recommended.pop_front();
        }
    }

    /// The most that was asked for since `window` before `at`.
    pub(super) fn most_recommended(&mut self, at: Duration, window: Duration) -> u32 {
        while self.recommended.front().is_some_and(|&(asked, _)| asked + window < at) {
            self.recommended.pop_front();
        }
        self.recommended.front().map_or(0, |&(_, replicas)| replicas)
    }
}

/// A number from outside: neither negative nor endless.
pub(super) fn finite(number: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, 1e12) } else { 0.0 }
}
