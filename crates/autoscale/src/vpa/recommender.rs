//! From what instances used to what one should request.
//!
//! Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/recommender/{model/container,model/aggregate_container_state,
//! logic/recommender,logic/estimator}.go`, `pkg/utils/vpa/capping.go`.

use super::{
    ContainerPolicy, ContainerScalingMode, ControlledValues, Spec,
    histogram::{Buckets, Histogram, HistogramCheckpoint, Timestamp},
};
use crate::{Error, Quantity};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

const DAY: Duration = Duration::from_secs(86_400);
/// `--cpu-histogram-decay-half-life`, `--memory-histogram-decay-half-life`.
const HALF_LIFE: Duration = DAY;
/// `--recommendation-margin-fraction`.
const MARGIN: f64 = 0.15;
/// `--pod-recommendation-min-cpu-millicores`.
const CPU_MIN_MILLICORES: i64 = 25;
/// `--pod-recommendation-min-memory-mb`, which are MiB.
const MEMORY_MIN_BYTES: i64 = 250 << 20;
/// `--oom-bump-up-ratio`.
const OOM_RATIO: f64 = 1.2;
/// `--oom-min-bump-up-bytes`.
const OOM_MIN_BYTES: f64 = 104_857_600.0;
/// More of anything is not recommended.
const AMOUNT_MAX: f64 = 1e14;
/// Samples in a day when there is one each minute.
const SAMPLES_PER_DAY: f64 = 1440.0;
/// `SupportedCheckpointVersion`.
const CHECKPOINT_VERSION: &str = "v3";

/// What is recommended, for each of CPU and memory that is controlled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// A `RecommendedContainerResources` of `autoscaling.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// What an instance should request.
    pub target: Resources,
    /// Less than this is too little.
    pub lower_bound: Resources,
    /// More than this is a waste.
    pub upper_bound: Resources,
    /// What `target` would be without `minAllowed` and `maxAllowed`.
    pub uncapped_target: Resources,
}

/// What an instance requests and may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requirements {
    #[serde(default)]
    pub requests: Resources,
    #[serde(default)]
    pub limits: Resources,
}

/// The recommender for one function. Times are since 1970, or since anything else that stays the same.
///
/// Confidence counts samples as if there were one a minute, so there should be.
#[derive(Debug, Clone)]
pub struct Recommender {
    policy: ContainerPolicy,
    cpu: Histogram,
    memory: Histogram,
    first: Duration,
    last: Duration,
    count: u64,
    instances: HashMap<u64, Instance>,
}

/// What is remembered of one instance: the peak of its memory in the current interval.
#[derive(Debug, Clone, Copy, Default)]
struct Instance {
    cpu_at: Option<Duration>,
    memory_at: Duration,
    peak: i64,
    oom_peak: i64,
    interval_end: Option<Duration>,
}

impl Recommender {
    /// Nothing is known yet. `container` is whose policy applies, where the one for `*` does not.
    pub fn new(spec: &Spec, container: &str) -> Self {
        Self {
            policy: spec.policy_of(container),
            cpu: Histogram::new(Buckets::cpu(), HALF_LIFE),
            memory: Histogram::new(Buckets::memory(), HALF_LIFE),
            first: Duration::ZERO,
            last: Duration::ZERO,
            count: 0,
            instances: HashMap::new(),
        }
    }

    /// The rules have changed; what was learnt stays.
    pub fn set(&mut self, spec: &Spec, container: &str) {
        self.policy = spec.policy_of(container);
    }

    /// Cores that an instance used on average since its sample before; `false`: it is no number, or not newer than that.
    pub fn add_cpu(&mut self, at: Duration, instance: u64, cores: f64) -> bool {
        let known = self.instances.entry(instance).or_default();
        if !cores.is_finite() || cores < 0.0 || known.cpu_at.is_some_and(|before| at <= before) {
            return false;
        }
        known.cpu_at = Some(at);
        self.cpu.add(millicores(cores) as f64 / 1000.0, super::CPU_WEIGHT, at);
        if self.count == 0 || at < self.first {
            self.first = at;
        }
        self.last = self.last.max(at);
        self.count += 1;
        true
    }

    /// Bytes that an instance uses; `false`: it is older than its sample before.
    pub fn add_memory(&mut self, at: Duration, instance: u64, bytes: u64) -> bool {
        let known = self.instances.entry(instance).or_default();
        if at < known.memory_at {
            return false;
        }
        self.add_peak(at, instance, amount(bytes as f64), false);
        true
    }

    /// An instance was killed for its memory, of which it had requested so much; `false`: that was too long ago.
    pub fn add_out_of_memory(&mut self, at: Duration, instance: u64, requested: u64) -> bool {
        let interval = self.policy.memory_interval();
        let known = *self.instances.entry(instance).or_default();
        if known.interval_end.is_some_and(|end| at + interval < end) {
            return false;
        }
        // Without its own peaks out of memory, or each would raise the next.
        let used = amount(requested as f64).max(known.peak);
        let ratio = self.policy.oom_bump_up_ratio.as_ref().map_or(OOM_RATIO, Quantity::as_f64);
        let least = self.policy.oom_min_bump_up.as_ref().map_or(OOM_MIN_BYTES, Quantity::as_f64);
        let needed = amount(used as f64 + least).max(amount(used as f64 * ratio));
        self.add_peak(at, instance, needed, true);
        true
    }

    /// One peak for each instance and interval: a larger one takes the place of the one before.
    fn add_peak(&mut self, at: Duration, instance: u64, bytes: i64, is_oom: bool) {
        let interval = self.policy.memory_interval();
        let Some(known) = self.instances.get_mut(&instance) else { return };
        known.memory_at = at;
        let end = known.interval_end.unwrap_or(at);
        let end = if at < end && known.interval_end.is_some() {
            let before = known.peak.max(known.oom_peak);
            if before == 0 || bytes <= before {
                return;
            }
            self.memory.subtract(before as f64, 1.0, end);
            end
        } else {
            (known.peak, known.oom_peak) = (0, 0);
            let intervals = (at - end).as_nanos() / interval.as_nanos().max(1);
            end + interval * u32::try_from(intervals).unwrap_or(u32::MAX - 1) + interval
        };
        known.interval_end = Some(end);
        self.memory.add(bytes as f64, 1.0, end);
        *(if is_oom { &mut known.oom_peak } else { &mut known.peak }) = bytes;
    }

    /// An instance is gone; what it used stays in the distribution.
    pub fn forget(&mut self, instance: u64) {
        self.instances.remove(&instance);
    }

    /// What an instance should request; `None`: nothing is known yet, or nothing shall be recommended.
    pub fn recommend(&self) -> Option<Recommendation> {
        if self.count == 0 || self.policy.mode == Some(ContainerScalingMode::Off) {
            return None;
        }
        let uncapped_target = self.estimate(0.9, 1.0);
        Some(Recommendation {
            target: self.policy.capped(uncapped_target.clone()),
            lower_bound: self.policy.capped(self.estimate(0.5, (1.0 + 0.001 / self.confidence()).powi(-2))),
            upper_bound: self.policy.capped(self.estimate(0.95, 1.0 + 1.0 / self.confidence())),
            uncapped_target,
        })
    }

    /// Days of history, by time and by samples, whichever is less.
    fn confidence(&self) -> f64 {
        let days = self.last.saturating_sub(self.first).as_secs_f64() / DAY.as_secs_f64();
        days.min(self.count as f64 / SAMPLES_PER_DAY)
    }

    fn estimate(&self, percentile: f64, confidence: f64) -> Resources {
        let with = |amount: i64, least: i64| {
            let with_margin = amount + scaled(amount, MARGIN);
            scaled(with_margin, confidence).max(least)
        };
        let cpu = with(millicores(self.cpu.percentile(percentile)), CPU_MIN_MILLICORES);
        let memory = with(amount(self.memory.percentile(percentile)), MEMORY_MIN_BYTES);
        let is_controlled = |resource: &str| {
            self.policy.controlled_resources.as_ref().is_none_or(|list| list.iter().any(|name| name == resource))
        };
        Resources {
            cpu: is_controlled("cpu").then(|| Quantity::from_millis(cpu)),
            memory: is_controlled("memory").then(|| Quantity::from_units(memory)),
        }
    }

    #[cfg(test)]
    pub(super) fn memory_percentile(&self, share: f64) -> f64 {
        self.memory.percentile(share)
    }

    /// What is kept over a restart: the distributions, not the peaks of the current intervals.
    pub fn save(&self) -> Checkpoint {
        Checkpoint {
            version: CHECKPOINT_VERSION.to_owned(),
            first_sample_start: Timestamp(self.first),
            last_sample_start: Timestamp(self.last),
            total_samples_count: self.count,
            cpu_histogram: self.cpu.save(),
            memory_histogram: self.memory.save(),
        }
    }

    /// Goes on where another left off.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]: it is of another version, or damaged.
    pub fn load(spec: &Spec, container: &str, saved: &Checkpoint) -> Result<Self, Error> {
        if saved.version != CHECKPOINT_VERSION {
            return Err(Error::Checkpoint(format!("version {:?}, not {CHECKPOINT_VERSION}", saved.version)));
        }
        let mut recommender = Self::new(spec, container);
        recommender.cpu.load(&saved.cpu_histogram)?;
        recommender.memory.load(&saved.memory_histogram)?;
        recommender.first = saved.first_sample_start.0;
        recommender.last = saved.last_sample_start.0;
        recommender.count = saved.total_samples_count;
        Ok(recommender)
    }
}

/// A `VerticalPodAutoscalerCheckpointStatus` of `autoscaling.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Checkpoint {
    /// `v3`.
    pub version: String,
    pub first_sample_start: Timestamp,
    pub last_sample_start: Timestamp,
    /// Of CPU.
    pub total_samples_count: u64,
    pub cpu_histogram: HistogramCheckpoint,
    pub memory_histogram: HistogramCheckpoint,
}

impl Spec {
    /// The policy of the container's own name, or the one for all.
    pub(super) fn policy_of(&self, container: &str) -> ContainerPolicy {
        let policies = self.resource_policy.iter().flat_map(|policy| &policy.container_policies);
        let named =
            |name: &'static str| move |policy: &&ContainerPolicy| policy.container_name.as_deref() == Some(name);
        let own = policies.clone().find(|policy| policy.container_name.as_deref() == Some(container));
        own.or_else(|| policies.clone().find(named("*"))).cloned().unwrap_or_default()
    }
}

impl ContainerPolicy {
    fn memory_interval(&self) -> Duration {
        let seconds = self.memory_aggregation_interval_seconds.filter(|&seconds| seconds > 0);
        seconds.map_or(DAY, |seconds| Duration::from_secs(u64::from(seconds.unsigned_abs())))
    }

    /// Brought up to what is allowed at least, and then down to what is allowed at most.
    fn capped(&self, resources: Resources) -> Resources {
        let cap = |quantity: Option<Quantity>, resource: &str| {
            let mut quantity = quantity?;
            if let Some(least) = self.min_allowed.get(resource).filter(|least| quantity < **least) {
                quantity = least.clone();
            }
            if let Some(most) = self.max_allowed.get(resource).filter(|most| quantity > **most) {
                quantity = most.clone();
            }
            Some(quantity)
        };
        Resources { cpu: cap(resources.cpu, "cpu"), memory: cap(resources.memory, "memory") }
    }
}

impl Recommendation {
    /// What of it an instance can get: where only requests are controlled, nothing is more than the limit that stays.
    ///
    /// Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/utils/vpa/capping.go`, `capRecommendationToContainerLimit`.
    #[must_use]
    pub fn within(&self, controlled: ControlledValues, limits: &Resources) -> Self {
        if controlled == ControlledValues::RequestsAndLimits {
            return self.clone();
        }
        let cap = |amount: &Option<Quantity>, limit: &Option<Quantity>| match (amount, limit) {
            (Some(amount), Some(limit)) if amount > limit => Some(limit.clone()),
            _ => amount.clone(),
        };
        let capped =
            |of: &Resources| Resources { cpu: cap(&of.cpu, &limits.cpu), memory: cap(&of.memory, &limits.memory) };
        Self {
            target: capped(&self.target),
            lower_bound: capped(&self.lower_bound),
            upper_bound: capped(&self.upper_bound),
            uncapped_target: self.uncapped_target.clone(),
        }
    }

    /// What an instance gets, given what it was declared with. Limits keep their ratio to requests; or, where only requests are
    /// controlled, stay, and requests stay below them.
    pub fn applied(&self, controlled: ControlledValues, declared: &Requirements) -> Requirements {
        let one = |target: &Option<Quantity>, request: &Option<Quantity>, limit: &Option<Quantity>, is_cpu: bool| {
            let Some(target) = target else { return (request.clone(), limit.clone()) };
            let of = |quantity: &Quantity| if is_cpu { quantity.millis() } else { quantity.value() };
            let quantity =
                |amount: i64| if is_cpu { Quantity::from_millis(amount) } else { Quantity::from_units(amount) };
            let Some(limit) = limit else { return (Some(target.clone()), None) };
            match controlled {
                ControlledValues::RequestsOnly if target > limit => (Some(limit.clone()), Some(limit.clone())),
                ControlledValues::RequestsOnly => (Some(target.clone()), Some(limit.clone())),
                ControlledValues::RequestsAndLimits => {
                    // A limit alone is a request as well.
                    let before = request.as_ref().map_or(of(limit), of);
                    let new = match before {
                        0 => limit.clone(),
                        _ if before == of(limit) => target.clone(),
                        _ => quantity(
                            (i128::from(of(limit)) * i128::from(of(target)) / i128::from(before))
                                .min(i128::from(i64::MAX)) as i64,
                        ),
                    };
                    (Some(target.clone()), Some(new))
                }
            }
        };
        let (requests, limits) = (&declared.requests, &declared.limits);
        let (cpu, cpu_limit) = one(&self.target.cpu, &requests.cpu, &limits.cpu, true);
        let (memory, memory_limit) = one(&self.target.memory, &requests.memory, &limits.memory, false);
        Requirements { requests: Resources { cpu, memory }, limits: Resources { cpu: cpu_limit, memory: memory_limit } }
    }
}

/// Cores in thousandths, without what is less.
fn millicores(cores: f64) -> i64 {
    amount(cores * 1000.0)
}

fn amount(number: f64) -> i64 {
    // A number that is none is nothing.
    number.clamp(0.0, AMOUNT_MAX) as i64
}

fn scaled(number: i64, by: f64) -> i64 {
    amount(number as f64 * by)
}
