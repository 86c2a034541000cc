//! What one instance should have, found out as Kubernetes' VPA does, and given to instances as their rules say.
//!
//! Once a minute what each instance used goes into a [`Recommender`]. What it recommends is what instances are started with, unless the mode
//! is `Off`, and those whose requests are too far from it are replaced, one after the other, where the mode says so. Limits keep their
//! ratio to requests, where the function was declared with limits.

use autoscale::{
    Quantity,
    vpa::{Candidate, Recommendation, Recommender, Requirements, Resources, Spec, UpdateMode},
};
use std::{collections::BTreeMap, time::Duration};

use crate::{instance::Meter, runtime::Used, spec::Limits, worker::row::Row};

/// Time between two samples: the recommender's confidence counts one a minute.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// What instances are started with is changed for so much of a difference. Kubernetes has no such bound: its pods ask when they start.
const WORTH_IT: f64 = 0.1;

/// The size of one function's instances.
pub(super) struct Sizer {
    rules: Spec,
    /// Whose policy applies where a policy names a container.
    container: String,
    recommender: Recommender,
    sampled: Option<Duration>,
    /// By number and by when it was asked for: one that was replaced is another.
    known: BTreeMap<(u32, Duration), Known>,
    count: u64,
}

/// What the last sample of an instance saw.
#[derive(Clone, Copy)]
struct Known {
    id: u64,
    at: Duration,
    used: Used,
    out_of_memory_after: Option<Duration>,
}

/// What runs of a function: its number, what it was started with, and what it does.
pub(super) type Running = (u32, Limits, Meter);

/// What should be done.
pub(super) struct Advice {
    pub(super) recommendation: Recommendation,
    /// What instances should be started with from now on, where that changes.
    pub(super) size: Option<Requirements>,
    /// Who should be replaced, and why.
    pub(super) replaced: Vec<(u32, &'static str)>,
}

impl Sizer {
    /// `kind` as Function Mesh has it in the name of its container, `pulsar-function`.
    pub(super) fn new(rules: &Spec, kind: &str) -> Self {
        let container = format!("pulsar-{kind}");
        let recommender = Recommender::new(rules, &container);
        Self { rules: rules.clone(), container, recommender, sampled: None, known: BTreeMap::new(), count: 0 }
    }

    /// The rules may have changed; what was learnt stays.
    pub(super) fn set(&mut self, rules: &Spec) {
        if self.rules != *rules {
            self.recommender.set(rules, &self.container);
            self.rules = rules.clone();
        }
    }

    /// Takes a sample when it is time, of the monotonic and of the wall clock; whether it did.
    pub(super) fn sample(&mut self, now: Duration, wall: Duration, running: &[Running]) -> bool {
        if self.sampled.is_some_and(|at| now.saturating_sub(at) < SAMPLE_EVERY) {
            return false;
        }
        self.sampled = Some(now);
        let mut known = BTreeMap::new();
        for (number, requests, meter) in running {
            let asked_at = meter.read(now).asked_at;
            let Some(used) = meter.used() else { continue };
            let key = (*number, asked_at);
            let before = self.known.remove(&key).unwrap_or_else(|| {
                self.count += 1;
                Known { id: self.count, at: asked_at, used: Used::default(), out_of_memory_after: None }
            });
            let passed = now.saturating_sub(before.at).as_secs_f64();
            if passed > 0.0 {
                let cores = used.cpu.saturating_sub(before.used.cpu).as_secs_f64() / passed;
                self.recommender.add_cpu(wall, before.id, cores);
            }
            if let Some(bytes) = used.memory_bytes {
                self.recommender.add_memory(wall, before.id, bytes);
            }
            let mut out_of_memory_after = before.out_of_memory_after;
            if used.out_of_memory > before.used.out_of_memory {
                self.recommender.add_out_of_memory(wall, before.id, requests.ram_bytes.unwrap_or_default());
                // It was not longer than since the sample before, or since it was asked for.
                out_of_memory_after = Some(now.saturating_sub(before.at));
            }
            known.insert(key, Known { at: now, used, out_of_memory_after, ..before });
        }
        let gone = std::mem::replace(&mut self.known, known);
        gone.values().for_each(|one| self.recommender.forget(one.id));
        true
    }

    /// What is to be done by what is known; `None`: nothing is known, or nothing shall be recommended.
    pub(super) fn advice(&self, now: Duration, row: &Row, running: &[Running]) -> Option<Advice> {
        let recommendation = self.recommender.recommend()?;
        if self.rules.update_mode() == UpdateMode::Off {
            return Some(Advice { recommendation, size: None, replaced: Vec::new() });
        }
        let size = recommendation.applied(self.rules.controlled_values(&self.container), &row.declared());
        let replaced = if self.rules.may_replace(running.len()) { running } else { &[] };
        let why = |(number, requests, meter): &Running| {
            let asked_at = meter.read(now).asked_at;
            let known = self.known.get(&(*number, asked_at))?;
            let candidate = Candidate {
                requests: resources(requests),
                age: now.saturating_sub(asked_at),
                out_of_memory_after: known.out_of_memory_after,
            };
            Some((*number, self.rules.replaces(&recommendation, &candidate)?))
        };
        let replaced: Vec<_> = replaced.iter().filter_map(why).collect();
        // Who is replaced gets all of it.
        let is_due = !replaced.is_empty() || row.size.as_ref().is_none_or(|before| is_worth_it(before, &size));
        let size = Some(size).filter(|size| is_due && row.size.as_ref() != Some(size));
        Some(Advice { recommendation, size, replaced })
    }
}

fn resources(of: &Limits) -> Resources {
    Resources {
        cpu: of.cpu.map(|cores| Quantity::from_millis((cores * 1000.0).round() as i64)),
        memory: of.ram_bytes.map(|bytes| Quantity::from_units(i64::try_from(bytes).unwrap_or(i64::MAX))),
    }
}

fn is_worth_it(before: &Requirements, now: &Requirements) -> bool {
    let differs = |before: &Option<Quantity>, now: &Option<Quantity>| match (before, now) {
        (Some(before), Some(now)) => (now.as_f64() - before.as_f64()).abs() > before.as_f64() * WORTH_IT,
        (before, now) => before.is_some() != now.is_some(),
    };
    differs(&before.requests.cpu, &now.requests.cpu)
        || differs(&before.requests.memory, &now.requests.memory)
        || differs(&before.limits.cpu, &now.limits.cpu)
        || differs(&before.limits.memory, &now.limits.memory)
}

/// `cpu 250m, memory 300Mi`, as far as it is known.
pub(super) fn shown(resources: &Resources) -> String {
    let part = |name: &str, quantity: &Option<Quantity>| quantity.as_ref().map(|quantity| format!("{name} {quantity}"));
    let parts = [part("cpu", &resources.cpu), part("memory", &resources.memory)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
