//! What a person writes about scaling.

use crate::{Policy, hpa, keda, knative, rate, vpa};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How one function scales: between which bounds, by which policy.
///
/// ```
/// let spec: autoscale::Spec = serde_json::from_str(
///     r#"{"minReplicas": 0, "maxReplicas": 8, "policy": {"rate": {"targetAge": "2s"}}}"#,
/// )?;
/// assert!(spec.check().is_empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// 0: it may have no instance, and an event wakes it.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// At least 1, at least `min_replicas`.
    pub max_replicas: u32,
    /// How the number is found.
    #[serde(default)]
    pub policy: PolicySpec,
    /// What its instances should request, found beside their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpa: Option<vpa::Spec>,
}

fn one() -> u32 {
    1
}

/// A policy by its name, with its parameters: `{"rate": {}}`, `{"hpa": {"metrics": [...]}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicySpec {
    /// Ours: arrival rate, backlog and age against the measured true rate, the whole chain at once.
    Rate(rate::Spec),
    /// Kubernetes' HorizontalPodAutoscaler.
    Hpa(hpa::Spec),
    /// KEDA: backlog per instance, through an HPA.
    Keda(keda::Spec),
    /// Knative's KPA: concurrency per instance, with a panic window.
    Knative(knative::Spec),
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self::Rate(rate::Spec::default())
    }
}

impl PolicySpec {
    /// As it is written: `rate`, `hpa`, `keda`, `knative`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rate(_) => "rate",
            Self::Hpa(_) => "hpa",
            Self::Keda(_) => "keda",
            Self::Knative(_) => "knative",
        }
    }
}

/// One thing that is wrong with a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text}")]
pub struct Problem {
    /// Where, such as `policy.hpa.metrics[0].resource.target`.
    pub field: String,
    /// What, as a sentence without a full stop.
    pub text: String,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { field: field.into(), text: text.into() });
    }

    /// `is_fine`, or the problem.
    pub(crate) fn unless(&mut self, is_fine: bool, field: impl Into<String>, text: impl fmt::Display) {
        if !is_fine {
            self.add(field, text.to_string());
        }
    }
}

impl Spec {
    /// A policy between two bounds.
    pub fn new(min_replicas: u32, max_replicas: u32, policy: PolicySpec) -> Self {
        Self { min_replicas, max_replicas, policy, vpa: None }
    }

    /// Everything that is wrong with it; nothing, when it can be used.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        problems.unless(self.max_replicas >= 1, "maxReplicas", "it is at least 1");
        problems.unless(
            self.max_replicas <= REPLICAS_MAX,
            "maxReplicas",
            format_args!("{} are too many, {REPLICAS_MAX} at most", self.max_replicas),
        );
        problems.unless(
            self.min_replicas <= self.max_replicas,
            "minReplicas",
            format_args!("{} is more than maxReplicas, {}", self.min_replicas, self.max_replicas),
        );
        match &self.policy {
            PolicySpec::Rate(spec) => spec.check("policy.rate", &mut problems),
            PolicySpec::Hpa(spec) => spec.check("policy.hpa", self.min_replicas, &mut problems),
            PolicySpec::Keda(spec) => spec.check("policy.keda", &mut problems),
            PolicySpec::Knative(spec) => spec.check("policy.knative", &mut problems),
        }
        if let Some(vpa) = &self.vpa {
            vpa.check("vpa", &mut problems);
        }
        problems.0
    }

    /// The policy, for the functions of one mesh that all scale like this. Where each scales its own way, a [`crate::Controller`]
    /// joins them.
    pub fn policy(&self) -> Box<dyn Policy> {
        match &self.policy {
            PolicySpec::Rate(spec) => Box::new(rate::Rate::new(spec.clone())),
            PolicySpec::Hpa(spec) => Box::new(hpa::Hpa::new(spec.clone())),
            PolicySpec::Keda(spec) => Box::new(keda::Keda::new(spec.clone())),
            PolicySpec::Knative(spec) => Box::new(knative::Knative::new(spec.clone())),
        }
    }
}

/// More instances of one function are a mistake.
const REPLICAS_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: &str) -> Vec<String> {
        let spec: Spec = serde_json::from_str(json).expect(json);
        let again: Spec =
            serde_json::from_str(&serde_json::to_string(&spec).expect("plain values")).expect("what was written");
        assert_eq!(again, spec);
        spec.check().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn what_a_manifest_carries_is_read_and_written_alike() {
        for policy in [
            r#"{"rate": {}}"#,
            r#"{"rate": {"targetAge": "500ms", "targetUtilization": 0.7, "catchUp": "5s", "coolDown": "1m", "idle": "2m", "period": "2s"}}"#,
            r#"{"hpa": {}}"#,
            r#"{"hpa": {"metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "256Mi"}}},
                {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "x", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Pods", "pods": {"metric": {"name": "received", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Topic", "name": "t", "apiVersion": "v1"}, "metric": {"name": "rate"}, "target": {"type": "Value", "value": 100}}},
                {"type": "External", "external": {"metric": {"name": "backlog"}, "target": {"type": "AverageValue", "averageValue": 30}}}
              ], "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "tolerance": "0.05",
                "policies": [{"type": "Percent", "value": 900, "periodSeconds": 60}]}, "scaleDown": {"selectPolicy": "Disabled"}}}}"#,
            r#"{"keda": {"msgBacklogThreshold": 50, "cooldownPeriod": "1m"}}"#,
            r#"{"knative": {"target": 10, "stableWindow": "2m"}}"#,
        ] {
            assert_eq!(problems(&format!(r#"{{"maxReplicas": 3, "policy": {policy}}}"#)), [""; 0], "{policy}");
        }
        let vpa = r#"{"updatePolicy": {"updateMode": "Auto"}, "resourcePolicy": {"containerPolicies": [{"containerName": "*",
            "minAllowed": {"cpu": "200m", "memory": "100Mi"}, "maxAllowed": {"cpu": 1, "memory": "1000Mi"},
            "controlledResources": ["cpu", "memory"], "controlledValues": "RequestsAndLimits"}]}}"#;
        assert_eq!(problems(&format!(r#"{{"maxReplicas": 3, "vpa": {vpa}}}"#)), [""; 0]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(
            problems(
                r#"{"minReplicas": 4, "maxReplicas": 3, "policy": {"hpa": {"metrics": [
                    {"type": "Resource", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue"}}},
                    {"type": "Resource", "resource": {"name": "disk", "target": {"type": "Utilization", "averageUtilization": 0}}}
                  ], "behavior": {"scaleDown": {"policies": []}}}}}"#
            ),
            [
                "minReplicas: 4 is more than maxReplicas, 3",
                "policy.hpa.metrics[0].resource: it is required where type is Resource",
                "policy.hpa.metrics[0].pods: it is set, but type is Resource",
                "policy.hpa.metrics[0].pods.target: it has one of [\"averageValue\"], not 0",
                "policy.hpa.metrics[1].resource.name: \"disk\" is not measured; cpu and memory are",
                "policy.hpa.metrics[1].resource.target.averageUtilization: it is more than 0",
                "policy.hpa.behavior.scaleDown.policies: there is at least one",
            ]
        );
        assert_eq!(
            problems(
                r#"{"minReplicas": 0, "maxReplicas": 0, "policy": {"rate": {"targetUtilization": 2, "period": "0s"}}}"#
            ),
            [
                "maxReplicas: it is at least 1",
                "policy.rate.targetUtilization: 2 is not from 0.05 to 1",
                "policy.rate.period: it is more than 0"
            ]
        );
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        for json in [
            r#"{"maxReplicas": 3, "replicas": 1}"#,
            r#"{"maxReplicas": 3, "policy": {"rate": {"target": "1s"}}}"#,
            r#"{"maxReplicas": 3, "policy": {"best": {}}}"#,
            r#"{"maxReplicas": 3, "policy": {"hpa": {"behavior": {"scaleSideways": {}}}}}"#,
            r#"{"maxReplicas": 3, "vpa": {"resourcePolicy": {"containerPolicies": [{"most": 1}]}}}"#,
        ] {
            assert!(serde_json::from_str::<Spec>(json).is_err(), "{json}");
        }
    }
}
