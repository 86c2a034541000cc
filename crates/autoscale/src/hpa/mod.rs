//! Kubernetes' HorizontalPodAutoscaler, `autoscaling/v2`, to the letter.
//!
//! Each metric proposes a number (`replicas`), the largest counts; where some metrics are unknown, nothing goes down. What is left is
//! held back by stabilization windows and limited by policies and bounds (`limits`). A reason has Kubernetes' own code, the most telling
//! of what would be three conditions on the object: what failed, what was limited, what was held back.
//!
//! An instance here is a pod with one container. CPU and memory are the sample's latest; `Pods` metrics are looked up in
//! [`crate::Instance::metrics`], then among what every instance has (`processed_per_s`, `busy`, `concurrency`), `Object` and `External`
//! ones in [`crate::Sample::metrics`], then among what the broker says (`arrival_per_s`, `backlog`, `oldest_s`).
//!
//! One thing differs: a target of no instances whose minimum is not 0 is not scaled by Kubernetes at all. Whoever asks here wants a
//! number within the bounds, and gets the minimum.

mod builtin;
mod check;
mod limits;
mod metric;
mod replicas;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::*;

use crate::{Decision, Policy, Sample};
use limits::{History, Limited, Rules};
use metric::Failure;
use replicas::{Calculator, Tolerances};
use std::time::Duration;

/// The policy for functions that all have the same [`Spec`].
pub struct Hpa {
    spec: Spec,
    targets: Vec<Target>,
}

/// One scale target: what a HorizontalPodAutoscaler object and the controller remember of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    synced: Option<Duration>,
    history: History,
    /// What the last decision said.
    said: Option<(String, String)>,
}

impl Hpa {
    /// Nothing is known of any function.
    pub fn new(spec: Spec) -> Self {
        Self { spec, targets: Vec::new() }
    }
}

impl Policy for Hpa {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        self.targets.resize_with(samples.len(), Target::default);
        self.targets.iter_mut().zip(samples).map(|(target, sample)| target.decide(&self.spec, sample)).collect()
    }

    fn period(&self) -> Duration {
        self.spec.sync_period
    }
}

impl Target {
    /// The decision when the sync period is over; what there is until then.
    pub(crate) fn decide(&mut self, spec: &Spec, sample: &Sample) -> Decision {
        let is_due = self.synced.is_none_or(|synced| sample.at >= synced + spec.sync_period);
        match &self.said {
            Some((code, text)) if !is_due => Decision::keep(sample, code, text.as_str()),
            _ => {
                // On its grid, so that ticks that come a little late do not add up.
                let late =
                    self.synced.map(|synced| (sample.at - synced).as_nanos() % spec.sync_period.as_nanos().max(1));
                self.synced = Some(sample.at - Duration::from_nanos(late.unwrap_or(0) as u64));
                let decision = self.sync(spec, sample);
                self.said = Some((decision.reason.code.clone(), decision.reason.text.clone()));
                decision
            }
        }
    }

    fn sync(&mut self, spec: &Spec, sample: &Sample) -> Decision {
        let current = sample.replicas;
        if self.history.recommendations.is_empty() {
            self.history.recommendations.push((sample.at, current));
        }
        let decided = if current == 0 && sample.min != 0 {
            return Decision::within(sample, 0, "ScalingDisabled", "there is no instance, and the minimum is not 0");
        } else if current > sample.max {
            let text = format!("there are {current} instances and {} are allowed", sample.max);
            Decision::within(sample, sample.max, "TooManyReplicas", text)
        } else if current < sample.min {
            let text = format!("there are {current} instances and {} are the least", sample.min);
            Decision::within(sample, sample.min, "TooFewReplicas", text)
        } else {
            match self.proposed(spec, sample) {
                Ok(decision) => decision,
                Err(failure) => return Decision::keep(sample, failure.code, failure.text),
            }
        };
        if let Some(behavior) = spec.behavior.as_ref().filter(|_| decided.replicas != current) {
            let (up, down) = (Rules::up(behavior), Rules::down(behavior, spec.downscale_stabilization));
            self.history.changed(sample.at, &up, &down, current, decided.replicas);
        }
        decided
    }

    fn proposed(&mut self, spec: &Spec, sample: &Sample) -> Result<Decision, Failure> {
        let proposed = metric::largest(&spec.metrics_or_default(), &spec.calculator(), sample, spec.sync_period)?;
        let (now, current, desired) = (sample.at, sample.replicas, proposed.replicas);
        let (held, limited) = match &spec.behavior {
            None => self.history.without_behavior(
                now,
                spec.downscale_stabilization,
                current,
                desired,
                sample.min,
                sample.max,
            ),
            Some(behavior) => {
                let (up, down) = (Rules::up(behavior), Rules::down(behavior, spec.downscale_stabilization));
                self.history.with_behavior(now, &up, &down, current, desired, sample.min, sample.max)
            }
        };
        let code = match limited.reason {
            "DesiredWithinRange" if held.reason != "ReadyForNewScale" => held.reason,
            reason => reason,
        };
        let text = words(&proposed, current, &held, &limited, sample);
        Ok(Decision::within(sample, limited.replicas, code, text))
    }
}

fn words(proposed: &metric::Proposed, current: u32, held: &Limited, limited: &Limited, sample: &Sample) -> String {
    let mut text = format!("{}: {current} instances should be {}", proposed.text, proposed.replicas);
    if held.replicas != proposed.replicas {
        text.push_str(&format!(", {} by what was asked for lately", held.replicas));
    }
    match limited.reason {
        "ScaleUpLimit" | "ScaleDownLimit" => text.push_str(&format!(", {} at the speed allowed", limited.replicas)),
        "TooManyReplicas" => text.push_str(&format!(", {} are allowed", sample.max)),
        "TooFewReplicas" => text.push_str(&format!(", {} are the least", sample.min)),
        _ => {}
    }
    text
}

impl Spec {
    /// 80 % of the CPU requested, where nothing is said: `SetDefaults_HorizontalPodAutoscaler`.
    fn metrics_or_default(&self) -> std::borrow::Cow<'_, [MetricSpec]> {
        if self.metrics.is_empty() {
            vec![MetricSpec::utilization("cpu", 80)].into()
        } else {
            self.metrics.as_slice().into()
        }
    }

    fn calculator(&self) -> Calculator {
        let rules =
            |rules: Option<&ScalingRules>| rules.and_then(|r| r.tolerance.as_ref()).map(crate::Quantity::as_f64);
        let behavior = self.behavior.as_ref();
        Calculator {
            tolerances: Tolerances {
                down: rules(behavior.and_then(|b| b.scale_down.as_ref())).unwrap_or(self.tolerance),
                up: rules(behavior.and_then(|b| b.scale_up.as_ref())).unwrap_or(self.tolerance),
            },
            cpu_initialization_period: self.cpu_initialization_period,
            initial_readiness_delay: self.initial_readiness_delay,
        }
    }
}
