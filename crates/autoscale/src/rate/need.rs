//! How many instances one function needs.

use super::{
    Spec,
    memory::{Memory, TrueRate, finite},
    queue, waiting,
};
use crate::{Inputs, Sample};
use std::time::Duration;

/// Beyond this many slots, the work on one instance is a fluid.
const SLOTS_MAX: u32 = 16;

/// One message in a hundred may be late.
const LATE: f64 = 0.01;

/// Part of the age wanted that messages are let wait on purpose. The rest is for what nobody foresees.
pub(super) const PLANNED: f64 = 1.0 / 8.0;

/// Share of the messages that may wait longer than that, day in, day out.
const LONGER: f64 = 0.5;

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
    /// A backlog that would be there before anything can be done about it.
    Surprise,
    /// It is not known what an instance can do.
    Probe,
    Partitions,
    KeySkew,
}

/// How work divides among instances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
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
    pub(super) fn largest_share(&self, replicas: u32) -> f64 {
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

    /// The fewest that do as much as so many that share all work evenly. One more than there may be: not even all do.
    pub(super) fn worth(&self, instances: f64, sample: &Sample) -> u32 {
        let most = sample.max.min(self.most().0).saturating_add(1);
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
    let backlog = waiting::drain(sample, split, load, rate);
    let surprise = waiting::surprise(spec.period, sample, split, load, rate);
    if backlog.max(surprise) > arriving {
        let cause = if backlog >= surprise { Cause::Backlog } else { Cause::Surprise };
        return Need { replicas: backlog.max(surprise), cause };
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
    let planned_s = load.target.as_secs_f64() * PLANNED;
    let late = |servers: u32, arrival_per_s: f64| queue::late(servers, arrival_per_s, slot_rate, wait_s);
    let is_enough = |replicas: u32| {
        if !split.is_ordered() {
            let servers = slots.saturating_mul(replicas);
            let longer = queue::late(servers, arrival_per_s, slot_rate, planned_s);
            return late(servers, arrival_per_s) <= LATE && longer <= LONGER;
        }
        // Each instance has its own queue: the fullest, and the others, which share the rest.
        let most = split.largest_share(replicas);
        let rest = if replicas > 1 { (1.0 - most).max(0.0) / f64::from(replicas - 1) } else { 0.0 };
        let is_idle_enough = arrival_per_s * most <= rate * spec.target_utilization;
        let late = most * late(slots, arrival_per_s * most) + (1.0 - most) * late(slots, arrival_per_s * rest);
        is_idle_enough && late <= LATE
    };
    // One more than the maximum says that it is not enough.
    let most = sample.max.min(split.most().0).saturating_add(1);
    let least = (arrival_per_s / (rate * spec.target_utilization)).ceil().clamp(1.0, f64::from(most)) as u32;
    (least..most).find(|&replicas| is_enough(replicas)).unwrap_or(most)
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
