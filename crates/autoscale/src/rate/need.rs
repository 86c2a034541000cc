//! How many instances one function needs.

use super::{
    Spec,
    memory::{Memory, TrueRate, finite},
    queue,
};
use crate::{Inputs, Sample};
use std::time::Duration;

/// Beyond this many slots, the work on one instance is a fluid.
const SLOTS_MAX: u32 = 16;

/// One message in a hundred may be late.
const LATE: f64 = 0.01;

/// Share of its instance's work from which the hottest key is most of it.
const HOT: f64 = 0.7;

/// What is asked of a function, and what it can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Messages per second that come when instances asked for now are ready, what functions before it will send included.
    pub(super) arrival_per_s: f64,
    /// Messages per second more than now that come because functions before it get more instances.
    pub(super) upstream_per_s: f64,
    pub(super) backlog: f64,
    pub(super) true_rate: TrueRate,
    /// This function's part of the age wanted.
    pub(super) target: Duration,
    pub(super) startup: Duration,
    pub(super) catch_up: Duration,
}

/// How many, and what for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    pub(super) replicas: u32,
    pub(super) cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing comes and nothing waits.
    Nothing,
    /// One instance, since something is to be done or was lately.
    Little,
    /// The arrival rate.
    Arrival,
    /// What functions before it will send.
    Upstream,
    /// The backlog.
    Backlog,
    /// It is not known what an instance can do.
    Probe,
    Partitions,
    KeySkew,
}

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

/// How work divides among instances.
#[derive(Debug, Clone, Copy)]
struct Split {
    /// Each goes to one instance as a whole; `None`: any instance takes any message.
    units: Option<u32>,
    /// Share of the messages that always go to the same instance.
    hottest: f64,
}

impl Split {
    fn of(inputs: &Inputs) -> Self {
        Self { units: inputs.parallelism_max.map(|units| units.max(1)), hottest: finite(inputs.hottest_key).min(1.0) }
    }

    /// Each instance has its own queue.
    fn is_ordered(&self) -> bool {
        self.units.is_some() || self.hottest > 0.0
    }

    /// The most that one of `replicas` instances gets.
    fn largest_share(&self, replicas: u32) -> f64 {
        let replicas = replicas.max(1);
        let units = self.units.map_or(0.0, |units| f64::from(units.div_ceil(replicas)) / f64::from(units));
        (self.hottest + (1.0 - self.hottest) / f64::from(replicas)).max(units)
    }

    /// More instances are of little use, and why: each would have a unit; or the hottest key is most of what its instance gets.
    fn most(&self) -> (u32, Cause) {
        let units = self.units.unwrap_or(u32::MAX);
        let others = HOT / (1.0 - HOT) * (1.0 - self.hottest) / self.hottest;
        let keys = if self.hottest > 0.0 { (others.ceil() as u32).max(1) } else { u32::MAX };
        if keys < units { (keys, Cause::KeySkew) } else { (units, Cause::Partitions) }
    }

    /// The fewest that do as much as so many that share all work evenly; `most` when none do.
    fn worth(&self, instances: f64, most: u32) -> u32 {
        let even = instances.ceil().clamp(0.0, f64::from(most)) as u32;
        if !self.is_ordered() || even == 0 {
            return even;
        }
        (even..=most).find(|&n| self.largest_share(n) * instances <= 1.0).unwrap_or(most)
    }
}

/// The number that keeps the age, and its cause.
pub(super) fn need(spec: &Spec, memory: &Memory, sample: &Sample, inputs: &Inputs, load: &Load) -> Need {
    let split = Split::of(inputs);
    let (most, bound) = split.most();
    let mut need = match load.true_rate {
        TrueRate::Known(rate) => known(spec, sample, &split, load, rate),
        TrueRate::Guessed(rate) => probe(spec, memory, sample, load, known(spec, sample, &split, load, rate).replicas),
        TrueRate::Unknown => probe(spec, memory, sample, load, 1),
    };
    if need.replicas == 0 && (load.arrival_per_s > 0.0 || load.backlog > 0.0) {
        need = Need { replicas: 1, cause: Cause::Little };
    }
    if need.replicas > most { Need { replicas: most, cause: bound } } else { need }
}

fn known(spec: &Spec, sample: &Sample, split: &Split, load: &Load, rate: f64) -> Need {
    let arriving = steady(spec, sample, split, load, load.arrival_per_s, rate);
    let drain = drain(sample, split, load, rate);
    if drain > arriving {
        return Need { replicas: drain, cause: Cause::Backlog };
    }
    let alone = load.arrival_per_s - load.upstream_per_s;
    let cause = match arriving {
        0 => Cause::Nothing,
        _ if load.upstream_per_s > 0.0 && steady(spec, sample, split, load, alone, rate) < arriving => Cause::Upstream,
        _ => Cause::Arrival,
    };
    Need { replicas: arriving, cause }
}

/// For what arrives, with the room that a queue needs.
fn steady(spec: &Spec, sample: &Sample, split: &Split, load: &Load, arrival_per_s: f64, rate: f64) -> u32 {
    if arrival_per_s <= 0.0 {
        return 0;
    }
    let slots = sample.concurrency_max.clamp(1, SLOTS_MAX);
    let slot_rate = rate / f64::from(slots);
    let work_s = 1.0 / slot_rate;
    // Where the work alone takes most of the age wanted, or more, a message waits no longer than it is worked on.
    let wait_s = (load.target.as_secs_f64() - work_s).max(work_s);
    let late = |servers: u32, arrival_per_s: f64| queue::late(servers, arrival_per_s, slot_rate, wait_s);
    let is_enough = |replicas: u32| {
        if !split.is_ordered() {
            return late(slots.saturating_mul(replicas), arrival_per_s) <= LATE;
        }
        // Each instance has its own queue: the fullest, and the others, which share the rest.
        let most = split.largest_share(replicas);
        let rest = if replicas > 1 { (1.0 - most).max(0.0) / f64::from(replicas - 1) } else { 0.0 };
        let is_idle_enough = arrival_per_s * most <= rate * spec.target_utilization;
        let late = most * late(slots, arrival_per_s * most) + (1.0 - most) * late(slots, arrival_per_s * rest);
        is_idle_enough && late <= LATE
    };
    // One more than the maximum says that it is not enough.
    let most = sample.max.saturating_add(1).min(split.most().0.saturating_add(1));
    let least = (arrival_per_s / (rate * spec.target_utilization)).ceil().clamp(1.0, f64::from(most)) as u32;
    (least..most).find(|&replicas| is_enough(replicas)).unwrap_or(most)
}

/// For what waits: the backlog that is left when new instances are ready, worked off in the time to catch up. 0: those there are do it
/// before new ones could help.
fn drain(sample: &Sample, split: &Split, load: &Load, rate: f64) -> u32 {
    // What waits no longer than the age wanted, or is being worked on, is no backlog.
    let target_s = load.target.as_secs_f64();
    let in_hand = f64::from(sample.concurrency_max.max(1)) * f64::from(sample.replicas);
    let fine = load.arrival_per_s * target_s / 2.0 + in_hand;
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
    split.worth(full, sample.max.saturating_add(1).min(split.most().0.saturating_add(1)))
}

/// Towards what is `guessed`, but no more than twice as many at once, and only when those there are had the time to show what they can
/// do.
fn probe(spec: &Spec, memory: &Memory, sample: &Sample, load: &Load, guessed: u32) -> Need {
    if load.backlog <= 0.0 {
        return Need { replicas: u32::from(load.arrival_per_s > 0.0), cause: Cause::Little };
    }
    let ready = sample.instances.iter().filter(|i| i.is_ready && !i.is_draining).count() as u32;
    let patience = (load.startup + load.target).max(spec.period * 2);
    let is_time = memory.probed.is_none_or(|probed| probed + patience <= sample.at);
    let most = if is_time && ready >= sample.replicas { sample.replicas.saturating_mul(2) } else { sample.replicas };
    Need { replicas: guessed.clamp(sample.replicas.min(most), most.max(1)), cause: Cause::Probe }
}
