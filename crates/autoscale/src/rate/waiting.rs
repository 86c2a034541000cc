//! How many instances what waits needs, or what soon would.

use super::{
    need::{Load, PLANNED, Split},
    queue::VARIATION,
};
use crate::Sample;
use std::time::Duration;

/// Deviations of a random count that are provided for. More is held than needed all the time; less is held too late.
const SURPRISE: f64 = 0.9;

/// Instances by what can be counted on.
struct Crew {
    ready: f64,
    /// How long until each of those that start is ready, in seconds.
    starting_s: Vec<f64>,
}

impl Crew {
    fn of(sample: &Sample, startup: Duration) -> Self {
        let alive = || sample.instances.iter().filter(|i| !i.is_draining);
        let ready = alive().filter(|i| i.is_ready).count();
        let mut starting_s: Vec<f64> =
            alive().filter(|i| !i.is_ready).map(|i| startup.saturating_sub(i.age).as_secs_f64()).collect();
        // Asked for and not even begun.
        let wanted = (sample.replicas as usize).saturating_sub(ready);
        starting_s.resize(wanted, startup.as_secs_f64());
        Self { ready: ready as f64, starting_s }
    }

    /// Instance-seconds of work until `horizon_s`.
    fn work(&self, horizon_s: f64) -> f64 {
        self.ready * horizon_s + self.starting_s.iter().map(|s| (horizon_s - s).max(0.0)).sum::<f64>()
    }
}

/// For what waits: the backlog that is left when new instances are ready, worked off in the time to catch up. 0: those there are do it
/// before new ones could help.
pub(super) fn drain(sample: &Sample, split: &Split, load: &Load, rate: f64) -> u32 {
    // What waits as it may, or is being worked on, is no backlog.
    let target_s = load.target.as_secs_f64();
    let in_hand = f64::from(sample.concurrency_max.max(1)) * f64::from(sample.replicas);
    let fine = load.arrival_per_s * target_s * PLANNED + in_hand;
    if load.backlog <= fine {
        return 0;
    }
    let catch_up_s = load.catch_up.as_secs_f64().max(0.001);
    let crew = Crew::of(sample, load.startup);
    let there = crew.ready + crew.starting_s.len() as f64;
    let even = 1.0 / (split.largest_share(there as u32) * there.max(1.0));
    // Those there are, all of the time; fewer would do where this leaves something over.
    let horizon_s = load.startup.as_secs_f64() + catch_up_s;
    let left = load.backlog - fine + load.arrival_per_s * horizon_s - crew.work(horizon_s) * even * rate;
    let full = if left > 0.0 {
        there * even + left / (rate * catch_up_s)
    } else {
        ((load.backlog - fine + load.arrival_per_s * catch_up_s) / (rate * catch_up_s)).min(there * even)
    };
    split.worth(full, sample)
}

/// For what may come before a new decision has an effect: what waits when instances asked for now are ready, and more messages than
/// expected until the next ones could be, by a deviation. They are not to wait longer than planned.
///
/// A queue that is short now needs no room for what may come in an hour, since more can be had by then. That is why fewer instances
/// are enough than Erlang's formula says, which lets none come and go.
pub(super) fn surprise(period: Duration, sample: &Sample, split: &Split, load: &Load, rate: f64) -> u32 {
    if load.arrival_per_s <= 0.0 {
        return 0;
    }
    let (startup_s, period_s) = (load.startup.as_secs_f64(), period.as_secs_f64());
    let planned_s = load.target.as_secs_f64() * PLANNED;
    let crew = Crew::of(sample, load.startup);
    let in_hand = f64::from(sample.concurrency_max.max(1)) * crew.ready;
    let waiting = (load.backlog - in_hand).max(0.0);
    let there = crew.ready + crew.starting_s.len() as f64;
    let even = 1.0 / (split.largest_share(there as u32) * there.max(1.0));
    let then = (waiting + load.arrival_per_s * startup_s - crew.work(startup_s) * even * rate).max(0.0);
    // Messages that come at random and take a random time: as if so many more or fewer came.
    let variance = (1.0 + VARIATION * VARIATION) * load.arrival_per_s * (startup_s + period_s);
    let too_many = then + SURPRISE * variance.sqrt() - load.arrival_per_s * planned_s;
    // They are worked off in the time in which nothing else can be done; no instance does a message faster than it does.
    let within_s = planned_s.max(period_s).max(startup_s).max(1.0 / rate);
    split.worth(load.arrival_per_s / rate + too_many / (rate * within_s), sample)
}
