//! KEDA: backlog per instance.
//!
//! KEDA has two halves. A loop looks every `polling_interval` whether anything waits: from none it makes the first instance, and when
//! nothing has waited for `cooldown_period` it takes the last ones away. Everything from one instance up is an HPA that KEDA makes, with
//! the backlog as an external metric of so much per instance, and with all that an HPA has: 15 s between decisions, a tolerance of 10 %,
//! five minutes of the largest recommendation on the way down.
//!
//! Source: kedacore/keda `pkg/scaling/executor/scale_scaledobjects.go`, `pkg/scalers/pulsar_scaler.go`, `controllers/keda/hpa.go`.

mod spec;

pub use spec::Spec;

use crate::{
    Decision, Policy, Quantity, Sample,
    hpa::{self, ExternalMetricSource, MetricIdentifier, MetricSourceType, MetricSpec, MetricTarget, MetricTargetType},
};
use std::time::Duration;

/// The policy for functions that all have the same [`Spec`].
pub struct Keda {
    spec: Spec,
    hpa: hpa::Spec,
    targets: Vec<Target>,
}

#[derive(Default)]
struct Target {
    hpa: hpa::Target,
    made: Option<Duration>,
    polled: Option<Duration>,
    active: Option<Duration>,
}

impl Keda {
    /// Nothing is known of any function.
    pub fn new(spec: Spec) -> Self {
        let threshold = i64::try_from(spec.msg_backlog_threshold).unwrap_or(i64::MAX);
        let target = MetricTarget {
            kind: MetricTargetType::AverageValue,
            value: None,
            average_value: Some(Quantity::from_units(threshold)),
            average_utilization: None,
        };
        let metric = MetricIdentifier { name: "backlog".to_owned(), selector: None };
        let backlog = MetricSpec {
            kind: MetricSourceType::External,
            resource: None,
            container_resource: None,
            pods: None,
            object: None,
            external: Some(ExternalMetricSource { metric, target }),
        };
        let hpa = hpa::Spec {
            metrics: vec![backlog],
            behavior: spec.behavior.clone(),
            sync_period: spec.sync_period,
            ..hpa::Spec::default()
        };
        Self { spec, hpa, targets: Vec::new() }
    }
}

impl Policy for Keda {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        self.targets.resize_with(samples.len(), Target::default);
        self.targets
            .iter_mut()
            .zip(samples)
            .map(|(target, sample)| target.decide(&self.spec, &self.hpa, sample))
            .collect()
    }

    fn period(&self) -> Duration {
        self.spec.sync_period.min(self.spec.polling_interval)
    }
}

impl Target {
    fn decide(&mut self, spec: &Spec, hpa: &hpa::Spec, sample: &Sample) -> Decision {
        let made = *self.made.get_or_insert(sample.at);
        if self.polled.is_none_or(|polled| sample.at >= polled + spec.polling_interval) {
            self.polled = Some(sample.at);
            if let Some(decision) = self.poll(spec, sample, made) {
                return decision;
            }
        }
        if sample.replicas == 0 && sample.min == 0 {
            let text = format!("more than {} messages wake it", spec.activation_msg_backlog_threshold);
            return Decision::keep(sample, "ScalerNotActive", text);
        }
        // The HPA knows nothing of none.
        let at_least_one = Sample { min: sample.min.max(1), ..sample.clone() };
        let decision = self.hpa.decide(hpa, &at_least_one);
        Decision { replicas: crate::decision::bounded(sample, decision.replicas), ..decision }
    }

    /// From none and to none; `None`: the HPA decides.
    fn poll(&mut self, spec: &Spec, sample: &Sample, made: Duration) -> Option<Decision> {
        let backlog = sample.inputs.as_ref()?.backlog;
        if backlog > spec.activation_msg_backlog_threshold {
            self.active = Some(sample.at);
            let first = sample.min.max(1);
            let wakes = sample.replicas == 0;
            return wakes.then(|| {
                Decision::within(
                    sample,
                    first,
                    "KEDAScaleTargetActivated",
                    format!("{backlog} wait: {first} to begin with"),
                )
            });
        }
        if sample.replicas == 0 || sample.min > 0 {
            return None;
        }
        let (since, period) = match self.active {
            Some(active) => (active, spec.cooldown_period),
            None => (made, spec.initial_cooldown_period),
        };
        let idle = sample.at.saturating_sub(since);
        let text = format!("nothing has waited for {:.0}s", idle.as_secs_f64());
        (idle >= period).then(|| Decision::within(sample, 0, "KEDAScaleTargetDeactivated", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inputs, Instance};

    struct Play {
        policy: Keda,
        replicas: u32,
        min: u32,
    }

    impl Play {
        fn new(json: &str) -> Self {
            Self { policy: Keda::new(serde_json::from_str(json).expect(json)), replicas: 0, min: 0 }
        }

        fn at(&mut self, seconds: u64, backlog: u64) -> u32 {
            let at = Duration::from_secs(seconds);
            let ready = Instance { age: at, startup: Some(Duration::ZERO), is_ready: true, ..Instance::default() };
            let sample = Sample {
                at,
                replicas: self.replicas,
                min: self.min,
                max: 20,
                instances: vec![ready; self.replicas as usize],
                inputs: Some(Inputs { backlog, ..Inputs::default() }),
                ..Sample::default()
            };
            self.replicas = self.policy.decide(&[sample])[0].replicas;
            self.replicas
        }
    }

    #[test]
    fn none_until_the_next_poll_then_one_then_by_backlog() {
        let mut play = Play::new("{}");
        assert_eq!(play.at(0, 0), 0);
        assert_eq!(play.at(15, 100), 0);
        assert_eq!(play.at(30, 100), 1);
        // ceil(100 / 10) is 10, but an HPA makes no more than four of one.
        assert_eq!(play.at(45, 100), 4);
        assert_eq!(play.at(60, 100), 8);
        assert_eq!(play.at(75, 100), 10);
        assert_eq!(play.at(90, 101), 10);
        assert_eq!(play.at(105, 111), 12);
    }

    #[test]
    fn a_backlog_at_the_activation_threshold_wakes_nobody() {
        let mut play = Play::new(r#"{"activationMsgBacklogThreshold": 5}"#);
        assert_eq!((play.at(0, 5), play.at(30, 6)), (0, 1));
    }

    #[test]
    fn all_go_at_once_when_nothing_waited_for_the_cooldown() {
        let mut play = Play::new(r#"{"cooldownPeriod": "60s"}"#);
        play.at(0, 40);
        assert_eq!(play.at(15, 40), 4);
        assert_eq!(play.at(30, 40), 4);
        assert_eq!((play.at(60, 0), play.at(89, 0)), (4, 4));
        assert_eq!(play.at(90, 0), 0);
    }

    #[test]
    fn with_a_minimum_the_hpa_goes_down_after_its_own_window() {
        let mut play = Play { min: 2, replicas: 4, ..Play::new(r#"{"cooldownPeriod": "60s"}"#) };
        assert_eq!(play.at(0, 40), 4);
        for seconds in (15..=300).step_by(15) {
            assert_eq!(play.at(seconds, 0), 4, "{seconds}");
        }
        assert_eq!(play.at(315, 0), 2);
    }
}
