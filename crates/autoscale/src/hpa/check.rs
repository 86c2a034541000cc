//! What Kubernetes' API server refuses in metrics and behavior.
//!
//! Source: kubernetes/kubernetes `pkg/apis/autoscaling/validation/validation.go`.

use super::{Behavior, MetricSourceType, MetricSpec, MetricTarget, ScalingRules, Spec};
use crate::{Quantity, spec::Problems};

const STABILIZATION_SECONDS_MAX: i32 = 3600;
const PERIOD_SECONDS_MAX: i32 = 1800;

impl Spec {
    pub(crate) fn check(&self, at: &str, min_replicas: u32, problems: &mut Problems) {
        for (i, metric) in self.metrics.iter().enumerate() {
            metric.check(&format!("{at}.metrics[{i}]"), problems);
        }
        let can_wake =
            self.metrics.iter().any(|m| matches!(m.kind, MetricSourceType::Object | MetricSourceType::External));
        problems.unless(
            min_replicas > 0 || can_wake,
            "minReplicas",
            "an HPA goes to 0 only with an Object or External metric, for without instances there is no other",
        );
        if let Some(behavior) = &self.behavior {
            behavior.check(&format!("{at}.behavior"), problems);
        }
        problems.unless(!self.sync_period.is_zero(), format!("{at}.syncPeriod"), "it is more than 0");
        problems.unless((0.0..1.0).contains(&self.tolerance), format!("{at}.tolerance"), "it is from 0 to below 1");
    }
}

impl MetricSpec {
    fn check(&self, at: &str, problems: &mut Problems) {
        let fields = [
            (MetricSourceType::Resource, "resource", self.resource.is_some()),
            (MetricSourceType::ContainerResource, "containerResource", self.container_resource.is_some()),
            (MetricSourceType::Pods, "pods", self.pods.is_some()),
            (MetricSourceType::Object, "object", self.object.is_some()),
            (MetricSourceType::External, "external", self.external.is_some()),
        ];
        for (kind, name, is_set) in fields {
            let is_meant = kind == self.kind;
            problems.unless(
                is_set || !is_meant,
                format!("{at}.{name}"),
                format_args!("it is required where type is {kind:?}"),
            );
            let other = format_args!("it is set, but type is {:?}", self.kind).to_string();
            problems.unless(is_meant || !is_set, format!("{at}.{name}"), other);
        }
        if let Some(source) = &self.resource {
            resource_name(&source.name, &format!("{at}.resource.name"), problems);
            source.target.check(Self::PER_INSTANCE, &format!("{at}.resource.target"), problems);
        }
        if let Some(source) = &self.container_resource {
            resource_name(&source.name, &format!("{at}.containerResource.name"), problems);
            source.target.check(Self::PER_INSTANCE, &format!("{at}.containerResource.target"), problems);
        }
        if let Some(source) = &self.pods {
            source.target.check(&["averageValue"], &format!("{at}.pods.target"), problems);
        }
        if let Some(source) = &self.object {
            source.target.check(Self::TOGETHER, &format!("{at}.object.target"), problems);
        }
        if let Some(source) = &self.external {
            source.target.check(Self::TOGETHER, &format!("{at}.external.target"), problems);
        }
    }

    const PER_INSTANCE: &[&str] = &["averageUtilization", "averageValue"];
    const TOGETHER: &[&str] = &["value", "averageValue"];
}

fn resource_name(name: &str, at: &str, problems: &mut Problems) {
    problems.unless(matches!(name, "cpu" | "memory"), at, format_args!("{name:?} is not measured; cpu and memory are"));
}

impl MetricTarget {
    /// Exactly one of the `allowed` fields. Which one counts is seen from what is set, as in Kubernetes, where `type` is only said.
    fn check(&self, allowed: &[&str], at: &str, problems: &mut Problems) {
        let is_positive = |quantity: &Option<Quantity>| quantity.as_ref().map(|q| q.millis() > 0);
        let fields = [
            ("averageUtilization", self.average_utilization.map(|percent| percent > 0)),
            ("value", is_positive(&self.value)),
            ("averageValue", is_positive(&self.average_value)),
        ];
        let mut usable = 0;
        for (field, is_positive) in fields {
            let Some(is_positive) = is_positive else { continue };
            problems.unless(is_positive, format!("{at}.{field}"), "it is more than 0");
            problems.unless(
                allowed.contains(&field),
                format!("{at}.{field}"),
                format_args!("it has no meaning here; {allowed:?} have"),
            );
            usable += usize::from(allowed.contains(&field));
        }
        problems.unless(usable == 1, at, format_args!("it has one of {allowed:?}, not {usable}"));
    }
}

impl Behavior {
    pub(crate) fn check(&self, at: &str, problems: &mut Problems) {
        for (field, rules) in [("scaleUp", &self.scale_up), ("scaleDown", &self.scale_down)] {
            if let Some(rules) = rules {
                rules.check(&format!("{at}.{field}"), problems);
            }
        }
    }
}

impl ScalingRules {
    fn check(&self, at: &str, problems: &mut Problems) {
        let window = self.stabilization_window_seconds.unwrap_or(0);
        problems.unless(
            (0..=STABILIZATION_SECONDS_MAX).contains(&window),
            format!("{at}.stabilizationWindowSeconds"),
            format_args!("it is from 0 to {STABILIZATION_SECONDS_MAX}"),
        );
        let tolerance = self.tolerance.as_ref().map_or(0, Quantity::millis);
        problems.unless(tolerance >= 0, format!("{at}.tolerance"), "it is not negative");
        if let Some(policies) = &self.policies {
            problems.unless(!policies.is_empty(), format!("{at}.policies"), "there is at least one");
            for (i, policy) in policies.iter().enumerate() {
                problems.unless(policy.value > 0, format!("{at}.policies[{i}].value"), "it is more than 0");
                problems.unless(
                    (1..=PERIOD_SECONDS_MAX).contains(&policy.period_seconds),
                    format!("{at}.policies[{i}].periodSeconds"),
                    format_args!("it is from 1 to {PERIOD_SECONDS_MAX}"),
                );
            }
        }
    }
}
