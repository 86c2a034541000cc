//! From what is counted to a sample: what has happened between two looks.

use autoscale::{
    Inputs, Instance, PolicySpec, Sample, Spec,
    hpa::{MetricSourceType, MetricSpec},
};
use std::{collections::BTreeMap, time::Duration};

use crate::{
    FunctionSpec,
    event_log::InputStats,
    instance::{Load, Meter},
    runtime::Used,
};

/// Of two looks further apart than this, and than four periods, the earlier one says nothing any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// How often CPU and memory are read at most: it takes a system call or two for each instance.
const USAGE_EVERY: Duration = Duration::from_secs(5);
/// Code whose invocations together took so much longer than the time that passed works on several at once.
const IS_CONCURRENT: f64 = 1.5;
/// Weight of what is new in the number of messages written for each that is processed, when a hundred were.
const SELECTIVITY_WEIGHT: f64 = 0.5;

/// What is there of a function now.
pub(super) struct Facts<'a> {
    pub(super) now: Duration,
    pub(super) period: Duration,
    pub(super) function: &'a FunctionSpec,
    pub(super) rules: &'a Spec,
    pub(super) replicas: u32,
    /// Instances that start or run, and those that are going.
    pub(super) meters: (Vec<(u32, Meter)>, Vec<(u32, Meter)>),
    /// By instance that starts or runs, the last value of each of its code's own metrics; empty where no policy asks.
    pub(super) metrics: BTreeMap<u32, BTreeMap<String, f64>>,
    pub(super) inputs: Option<InputStats>,
    /// It cannot do without an instance.
    pub(super) must_run: bool,
}

/// What the last looks at one function saw.
#[derive(Default)]
pub(super) struct Seen {
    at: Option<Duration>,
    /// By when they were asked for, too: one that was replaced is another.
    loads: BTreeMap<(u32, Duration), Load>,
    usage: BTreeMap<(u32, Duration), Usage>,
    inputs: Option<InputStats>,
    /// Messages written for each that was processed.
    selectivity: Option<f64>,
    /// Its code works on several messages at once.
    is_concurrent: bool,
}

/// What one instance used until its code last ran and was asked, and what is told of it now.
#[derive(Clone, Copy, Default)]
struct Usage {
    at: Duration,
    used: Used,
    cores: Option<f64>,
    memory_bytes: Option<u64>,
    out_of_memory: bool,
}

impl Seen {
    /// Messages it writes for each it processes; one, while nobody knows.
    pub(super) fn selectivity(&self) -> f64 {
        self.selectivity.unwrap_or(1.0)
    }

    /// Nobody has looked yet.
    pub(super) fn is_new(&self) -> bool {
        self.at.is_none()
    }

    /// What waited or arrived before now says nothing about what comes next.
    pub(super) fn forget_inputs(&mut self) {
        self.inputs = None;
    }

    /// One look.
    pub(super) fn look(&mut self, facts: Facts<'_>) -> Sample {
        let Facts { now, period, function, rules, replicas, meters, mut metrics, inputs, must_run } = facts;
        let oldest = now.saturating_sub(FORGOTTEN_AFTER.max(4 * period));
        let since = self.at.filter(|at| *at >= oldest);
        if since.is_none() {
            self.loads.clear();
            self.inputs = None;
        }
        let mut waits_for_time = false;
        let (mut loads, mut usage) = (BTreeMap::new(), BTreeMap::new());
        let mut instances = Vec::with_capacity(meters.0.len() + meters.1.len());
        let (mut done, mut written) = (0, 0);
        let wants_usage = wants_usage(rules);
        for (is_draining, (id, meter)) in
            meters.0.into_iter().map(|one| (false, one)).chain(meters.1.into_iter().map(|one| (true, one)))
        {
            let load = meter.read(now);
            waits_for_time |= load.waits_for_time;
            let key = (id, load.asked_at);
            let before = self.loads.get(&key);
            done += load.done - before.map_or(0, |before| before.done.min(load.done));
            written += load.written - before.map_or(0, |before| before.written.min(load.written));
            let used = wants_usage.then(|| self.used(key, &meter, now)).flatten();
            // Where there is no look before, it has been there since it was asked for.
            let from = since.filter(|_| before.is_some()).unwrap_or(load.asked_at);
            let mut instance = instance(&load, before, now.saturating_sub(from), function, &mut self.is_concurrent);
            instance.is_draining = is_draining;
            if !is_draining {
                instance.metrics = metrics.remove(&id).unwrap_or_default();
            }
            instance.age = now.saturating_sub(load.asked_at);
            if let Some(used) = used {
                instance.cpu_cores = used.cores;
                instance.memory_bytes = used.memory_bytes;
                instance.out_of_memory = used.out_of_memory;
                usage.insert(key, used);
            }
            instances.push(instance);
            loads.insert(key, load);
        }
        self.wrote(done, written);
        let passed = since.map_or(0.0, |at| now.saturating_sub(at).as_secs_f64());
        let waiting = inputs.as_ref().map(|stats| Inputs {
            arrival_per_s: match &self.inputs {
                Some(before) if passed > 0.0 => stats.arrived_since(before) as f64 / passed,
                _ => 0.0,
            },
            backlog: stats.backlog,
            oldest: stats.oldest,
            parallelism_max: stats.parallelism_max,
            hottest_key: stats.hottest_key,
        });
        (self.at, self.loads, self.usage) = (Some(now), loads, usage);
        // A look at which the broker said nothing is no reason to forget what it said before.
        if inputs.is_some() {
            self.inputs = inputs;
        }
        let least = u32::from(must_run || waits_for_time);
        Sample {
            at: now,
            replicas,
            min: rules.min_replicas.max(least).min(rules.max_replicas),
            max: rules.max_replicas,
            instances,
            inputs: waiting,
            upstream: Vec::new(),
            cpu_request: function.requests.cpu.unwrap_or_default(),
            memory_request: function.requests.ram_bytes.unwrap_or_default(),
            concurrency_max: if self.is_concurrent { function.max_pending_async } else { 1 },
            ..Sample::default()
        }
    }

    fn used(&self, key: (u32, Duration), meter: &Meter, now: Duration) -> Option<Usage> {
        let before = self.usage.get(&key).copied();
        if let Some(before) = before.filter(|before| now.saturating_sub(before.at) < USAGE_EVERY) {
            return Some(Usage { out_of_memory: false, ..before });
        }
        let Some(used) = meter.used() else {
            // It is down for a moment, and the same when it is there again.
            return before.map(|before| Usage { at: before.at, used: before.used, ..Usage::default() });
        };
        let from = before.unwrap_or(Usage { at: key.1, ..Usage::default() });
        let passed = now.saturating_sub(from.at).as_secs_f64();
        let cpu = used.cpu.saturating_sub(from.used.cpu).as_secs_f64();
        let cores = (passed > 0.0).then(|| cpu / passed);
        let out_of_memory = used.out_of_memory > from.used.out_of_memory;
        Some(Usage { at: now, used, cores, memory_bytes: used.memory_bytes, out_of_memory })
    }

    fn wrote(&mut self, done: u64, written: u64) {
        if done == 0 {
            return;
        }
        let now = written as f64 / done as f64;
        let weight = SELECTIVITY_WEIGHT * (done as f64 / 100.0).min(1.0);
        self.selectivity = Some(self.selectivity.map_or(now, |before| before + weight * (now - before)));
    }
}

/// What one instance did since the look before.
fn instance(
    load: &Load,
    before: Option<&Load>,
    passed: Duration,
    function: &FunctionSpec,
    is_concurrent: &mut bool,
) -> Instance {
    let none = Load::default();
    let before = before.unwrap_or(&none);
    let passed_s = passed.as_secs_f64();
    let share = |of: f64| if passed_s > 0.0 { of / passed_s } else { 0.0 };
    let busy_s = load.busy.saturating_sub(before.busy).as_secs_f64();
    let took_s = load.took.saturating_sub(before.took).as_secs_f64();
    let done = load.done.saturating_sub(before.done);
    // Of all since it was asked for: a message counts when it is done, and in a short look that may be more than the look itself.
    let (took_ever_s, busy_ever_s) = (load.took.as_secs_f64(), load.busy.as_secs_f64());
    *is_concurrent |= load.done >= 4 && took_ever_s > IS_CONCURRENT * busy_ever_s.max(0.01);
    let busy = match *is_concurrent {
        // As many at once as it wants in hand, and as it may.
        true => share(took_s) / f64::from(load.window.min(function.max_pending_async).max(1)),
        false => share(busy_s),
    };
    Instance {
        startup: load.ready_at.map(|at| at.saturating_sub(load.asked_at)),
        is_ready: load.is_ready,
        processed_per_s: share(done as f64),
        busy: busy.min(1.0),
        concurrency: share(load.held_s - before.held_s).max(0.0),
        ..Instance::default()
    }
}

/// Whether a policy looks at metrics of user code.
pub(super) fn wants_metrics(rules: &Spec) -> bool {
    let is_of_code = |metric: &MetricSpec| metric.kind == MetricSourceType::Pods;
    matches!(&rules.policy, PolicySpec::Hpa(hpa) if hpa.metrics.iter().any(is_of_code))
}

/// Whether a policy looks at CPU and memory.
fn wants_usage(rules: &Spec) -> bool {
    matches!(rules.policy, PolicySpec::Hpa(_)) || rules.vpa.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_that_ends_does_not_look_like_several_at_once() {
        let function = FunctionSpec { max_pending_async: 1_000, ..crate::testing::spec("look") };
        let ms = Duration::from_millis;
        let mut is_concurrent = false;
        let mut look = |before: &Load, load: &Load| {
            let seen = instance(load, Some(before), ms(1_000), &function, &mut is_concurrent);
            (seen.busy, is_concurrent)
        };
        // 900 ms of a message were before this look, in which it ended and four short ones were done, and nothing in half of the time.
        let before = Load { done: 10, busy: ms(2_900), took: ms(2_000), window: 3, ..Load::default() };
        let load = Load { done: 15, busy: ms(3_400), took: ms(3_400), window: 3, ..Load::default() };
        assert_eq!(look(&before, &load), (0.5, false));
        // Code that waits for ten at once has more than passes by.
        let load = Load { done: 60, busy: ms(4_400), took: ms(13_400), window: 10, ..Load::default() };
        assert!(look(&before, &load).1);
    }

    /// A run of code that has used so many seconds of CPU and some memory, and was killed for that or not.
    #[derive(Debug)]
    struct Run(u64, bool);

    impl crate::runtime::Usage for Run {
        fn used(&self) -> Option<Used> {
            let Self(cpu_s, is_killed) = self;
            Some(Used {
                cpu: Duration::from_secs(*cpu_s),
                memory_bytes: Some(1 << 20),
                out_of_memory: u32::from(*is_killed),
            })
        }
    }

    #[test]
    fn who_is_down_when_it_is_looked_at_is_the_same_afterwards() {
        let rules = Spec { vpa: Some(Default::default()), ..Spec::new(1, 1, PolicySpec::default()) };
        let function = crate::testing::spec("look");
        let second = Duration::from_secs(1);
        let (mut seen, meter) = (Seen::default(), Meter::new(Duration::ZERO));
        let mut look = |at: u32| {
            let facts = Facts {
                now: second * at,
                period: second,
                function: &function,
                rules: &rules,
                replicas: 1,
                meters: (vec![(0, meter.clone())], Vec::new()),
                metrics: BTreeMap::new(),
                inputs: None,
                must_run: true,
            };
            let instance = seen.look(facts).instances.remove(0);
            (instance.cpu_cores, instance.memory_bytes, instance.out_of_memory)
        };
        assert_eq!(look(0), (None, None, false), "it does not run yet");
        meter.ready(second, Some(std::sync::Arc::new(Run(10, true))));
        assert_eq!(look(10), (Some(1.0), Some(1 << 20), true));
        meter.ended(second * 11);
        assert_eq!(look(15), (None, None, false), "it is down");
        assert_eq!(look(20), (None, None, false));
        meter.ready(second * 21, Some(std::sync::Arc::new(Run(5, false))));
        // Five seconds of CPU in the last twenty, and what it was killed for was told before.
        assert_eq!(look(30), (Some(0.25), Some(1 << 20), false));
    }
}
