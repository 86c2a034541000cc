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

/// What is asked of a function, and what it can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Messages per second that come when instances asked for now are ready, what functions before it will send included.
    pub(super) arrival_per_s: f64,
    /// Messages per second more than now that come because functions before it get more instances.
    pub(super) upstream_per_s: f64,
    pub(super) backlog: f64,
    pub(super) true_rate: TrueRate,
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

/// The number that keeps the age, and its cause.
pub(super) fn need(spec: &Spec, memory: &Memory, sample: &Sample, inputs: &Inputs, load: &Load) -> Need {
    let unbounded = match load.true_rate {
        TrueRate::Known(rate) => known(spec, sample, load, rate),
        TrueRate::AtMost(_) | TrueRate::Unknown => probe(spec, memory, sample, load),
    };
    let floor = u32::from(load.arrival_per_s > 0.0 || load.backlog > 0.0);
    let mut need = if unbounded.replicas < floor { Need { replicas: floor, cause: Cause::Little } } else { unbounded };
    if let Some(most) = inputs.parallelism_max.filter(|&most| need.replicas > most.max(1)) {
        need = Need { replicas: most.max(1), cause: Cause::Partitions };
    }
    let hottest = finite(inputs.hottest_key).min(1.0);
    if hottest > 0.0 && f64::from(need.replicas) > (1.0 / hottest).ceil() {
        need = Need { replicas: (1.0 / hottest).ceil() as u32, cause: Cause::KeySkew };
    }
    need
}

fn known(spec: &Spec, sample: &Sample, load: &Load, rate: f64) -> Need {
    let steady = steady(spec, sample, load.arrival_per_s, rate);
    let drain = drain(spec, sample, load, rate);
    if drain > steady {
        return Need { replicas: drain, cause: Cause::Backlog };
    }
    let alone = load.arrival_per_s - load.upstream_per_s;
    let cause = match steady {
        0 => Cause::Nothing,
        _ if load.upstream_per_s > 0.0 && self::steady(spec, sample, alone, rate) < steady => Cause::Upstream,
        _ => Cause::Arrival,
    };
    Need { replicas: steady, cause }
}

/// For what arrives, with the room that a queue needs.
fn steady(spec: &Spec, sample: &Sample, arrival_per_s: f64, rate: f64) -> u32 {
    if arrival_per_s <= 0.0 {
        return 0;
    }
    let slots = sample.concurrency_max.clamp(1, SLOTS_MAX);
    let slot_rate = rate / f64::from(slots);
    let work_s = 1.0 / slot_rate;
    // Where the work alone takes longer than the age wanted, a message waits no longer than it is worked on.
    let target_s = spec.target_age.as_secs_f64();
    let wait_s = (target_s - work_s).max(work_s.min(target_s));
    let fluid = (arrival_per_s / (rate * spec.target_utilization)).ceil().max(1.0);
    let mut replicas = if fluid < f64::from(sample.max.max(1)) { fluid as u32 } else { return sample.max.max(1) };
    while replicas < sample.max && !queue::is_enough(replicas * slots, arrival_per_s, slot_rate, wait_s) {
        replicas += 1;
    }
    replicas
}

/// For what waits: the backlog that is left when new instances are ready, worked off in the time to catch up. 0: those there are do it
/// before new ones could help.
fn drain(spec: &Spec, sample: &Sample, load: &Load, rate: f64) -> u32 {
    // What waits no longer than the age wanted, or is being worked on, is no backlog.
    let target_s = spec.target_age.as_secs_f64();
    let in_hand = f64::from(sample.concurrency_max.max(1)) * f64::from(sample.replicas);
    let fine = load.arrival_per_s * target_s / 2.0 + in_hand;
    let catch_up_s = load.catch_up.as_secs_f64().max(0.001);
    let crew = Crew::of(sample, load.startup);
    // Those there are, all of the time; fewer would do where this leaves something over.
    let horizon_s = load.startup.as_secs_f64() + catch_up_s;
    let left = load.backlog + load.arrival_per_s * horizon_s - crew.work(horizon_s) * rate - fine;
    let there = crew.ready + crew.starting_s.len() as f64;
    let replicas = if left > 0.0 {
        there + (left / (rate * catch_up_s)).ceil()
    } else {
        ((load.backlog - fine + load.arrival_per_s * catch_up_s) / (rate * catch_up_s)).ceil().min(there)
    };
    if load.backlog <= fine { 0 } else { replicas.clamp(0.0, f64::from(u32::MAX)) as u32 }
}

/// Twice as many while nothing is known and messages wait too long, at most once in the time an instance needs to show what it can do.
fn probe(spec: &Spec, memory: &Memory, sample: &Sample, load: &Load) -> Need {
    let one = Need { replicas: sample.replicas.min(1), cause: Cause::Little };
    if load.backlog <= 0.0 {
        return if load.arrival_per_s > 0.0 { one } else { Need { replicas: 0, cause: Cause::Nothing } };
    }
    let ready = sample.instances.iter().filter(|i| i.is_ready && !i.is_draining).count() as u32;
    let patience = (load.startup + spec.target_age).max(spec.period * 2);
    let is_time = memory.probed.is_none_or(|probed| probed + patience <= sample.at);
    let works = sample.instances.iter().any(|i| i.is_ready && i.busy > 0.5);
    let more = load.backlog > f64::from(ready) * f64::from(sample.concurrency_max.max(1));
    if is_time && works && more && ready >= sample.replicas {
        Need { replicas: sample.replicas.saturating_mul(2), cause: Cause::Probe }
    } else {
        Need { replicas: sample.replicas.max(1), cause: Cause::Probe }
    }
}
