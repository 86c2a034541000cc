//! What one instance should have, found out as Kubernetes' VPA does, and given to instances as their rules say.
//!
//! Once a minute what each instance used goes into a [`Recommender`]. What it recommends is what instances are started with, unless the mode
//! is `Off`, and those whose requests are too far from it are replaced, one after the other, where the mode says so. Limits keep their
//! ratio to requests, which is 1 where the function was declared without any.

use autoscale::{
    Quantity,
    vpa::{Candidate, Checkpoint, Recommendation, Recommender, Requirements, Resources, Spec, UpdateMode},
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

    /// Goes on with what was learnt before; where that cannot be understood, anew.
    pub(super) fn with(rules: &Spec, kind: &str, learnt: &Checkpoint) -> Self {
        let new = Self::new(rules, kind);
        match Recommender::load(rules, &new.container, learnt) {
            Ok(recommender) => Self { recommender, ..new },
            Err(error) => {
                tracing::warn!(%error, "what a VPA has learnt is of no use");
                new
            }
        }
    }

    /// What was learnt, unless it is nothing.
    pub(super) fn learnt(&self) -> Option<Checkpoint> {
        Some(self.recommender.save()).filter(|learnt| learnt.total_samples_count > 0)
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
            let key = (*number, asked_at);
            let before = self.known.remove(&key);
            let Some(used) = meter.used() else {
                // It is down for a moment, and the same when it is there again.
                known.extend(before.map(|before| (key, before)));
                continue;
            };
            let before = before.unwrap_or_else(|| {
                self.count += 1;
                Known { id: self.count, at: asked_at, used: Used::default() }
            });
            let passed = now.saturating_sub(before.at).as_secs_f64();
            if passed > 0.0 {
                let cores = used.cpu.saturating_sub(before.used.cpu).as_secs_f64() / passed;
                self.recommender.add_cpu(wall, before.id, cores);
            }
            if let Some(bytes) = used.memory_bytes {
                self.recommender.add_memory(wall, before.id, bytes);
            }
            if used.out_of_memory > before.used.out_of_memory {
                self.recommender.add_out_of_memory(wall, before.id, requests.ram_bytes.unwrap_or_default());
            }
            known.insert(key, Known { at: now, used, ..before });
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
        let (controlled, declared) = (self.rules.controlled_values(&self.container), row.declared());
        let size = recommendation.applied(controlled, &declared);
        // Who has all that it can get is not replaced for more.
        let attainable = recommendation.within(controlled, &declared.limits);
        let replaced = if self.rules.may_replace(running.len()) { running } else { &[] };
        let why = |(number, requests, meter): &Running| {
            let load = meter.read(now);
            self.known.get(&(*number, load.asked_at))?;
            let candidate = Candidate {
                requests: resources(requests),
                age: now.saturating_sub(load.asked_at),
                out_of_memory_after: load.out_of_memory_after,
            };
            Some((*number, self.rules.replaces(&attainable, &candidate)?))
        };
        let replaced: Vec<_> = replaced.iter().filter_map(why).collect();
        // Who is replaced gets all of it.
        let is_due = !replaced.is_empty() || is_worth_it(row.size.as_ref().unwrap_or(&declared), &size);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Kind,
        runtime::Usage,
        worker::{
            Config,
            row::CodeRef,
            tests::{config, named},
        },
    };
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const SOON: &str = "it ran out of memory soon after its start";

    /// Half a core and 300 MiB, by this run; killed for its memory, or not yet.
    #[derive(Debug)]
    struct Run(bool);

    impl Usage for Run {
        fn used(&self) -> Option<Used> {
            let Self(is_killed) = self;
            Some(Used { cpu: 30 * SECOND, memory_bytes: Some(300 << 20), out_of_memory: u32::from(*is_killed) })
        }
    }

    fn requests() -> Limits {
        Limits { cpu: Some(0.5), ram_bytes: Some(400 << 20), ..Limits::default() }
    }

    /// A sample in each of these minutes.
    fn minutes(sizer: &mut Sizer, meter: &Meter, minutes: std::ops::RangeInclusive<u32>) {
        for minute in minutes {
            let now = MINUTE * minute;
            assert!(sizer.sample(now, now, &[(0, requests(), meter.clone())]));
        }
    }

    /// Why an instance is replaced, if it is, whose second run is killed for its memory after so long.
    fn killed_after(ran: Duration) -> Option<&'static str> {
        let rules: Spec = serde_json::from_value(serde_json::json!({"updatePolicy": {"minReplicas": 1}})).unwrap();
        let (mut sizer, meter) = (Sizer::new(&rules, "function"), Meter::new(Duration::ZERO));
        meter.ready(SECOND, Some(Arc::new(Run(false))));
        minutes(&mut sizer, &meter, 1..=20);
        let began = 20 * MINUTE + SECOND;
        meter.ended(began);
        meter.ready(began, Some(Arc::new(Run(true))));
        meter.ended(began + ran);
        meter.ready(began + ran + SECOND, Some(Arc::new(Run(false))));
        minutes(&mut sizer, &meter, 40..=40);
        let config = Config::new(Kind::Function, &named("f"), &config().to_string()).unwrap();
        let row = Row::new(&named("f"), config, CodeRef::Builtin("b".to_owned()), "id".to_owned(), 1);
        let advice = sizer.advice(40 * MINUTE, &row, &[(0, requests(), meter)]).unwrap();
        advice.replaced.first().map(|(_, why)| *why)
    }

    #[test]
    fn soon_out_of_memory_is_who_was_killed_within_ten_minutes_of_the_start_of_that_run() {
        assert_eq!(killed_after(9 * MINUTE), Some(SOON));
        assert_ne!(killed_after(11 * MINUTE), Some(SOON));
    }

    #[test]
    fn who_is_down_when_it_is_looked_at_is_the_same_afterwards() {
        let (mut sizer, meter) = (Sizer::new(&Spec::default(), "function"), Meter::new(Duration::ZERO));
        meter.ready(SECOND, Some(Arc::new(Run(true))));
        minutes(&mut sizer, &meter, 1..=2);
        meter.ended(2 * MINUTE + SECOND);
        minutes(&mut sizer, &meter, 3..=4);
        meter.ready(4 * MINUTE + SECOND, Some(Arc::new(Run(false))));
        minutes(&mut sizer, &meter, 5..=5);
        let known: Vec<_> = sizer.known.values().map(|known| (known.id, known.used.out_of_memory)).collect();
        assert_eq!((known, sizer.count), (vec![(1, 1)], 1));
        // One that is replaced is another.
        minutes(&mut sizer, &Meter::new(6 * MINUTE), 6..=6);
        assert!(sizer.known.is_empty());
    }
}
