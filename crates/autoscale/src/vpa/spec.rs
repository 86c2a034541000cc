//! `pod.vpa` of Function Mesh, which is the policies of a `VerticalPodAutoscaler`, field by field.
//!
//! Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1/types.go`, streamnative/function-mesh
//! `api/compute/v1alpha1/common.go`.

use crate::{Quantity, spec::Problems};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How requests are found. How they reach running instances, `update_policy` says to whoever runs them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_policy: Option<UpdatePolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<ResourcePolicy>,
    /// Other recommenders of a Kubernetes cluster; kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recommenders: Vec<RecommenderName>,
}

/// A recommender by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommenderName {
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdatePolicy {
    /// `Recreate` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_mode: Option<UpdateMode>,
    /// So many instances must be alive for one to be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eviction_requirements: Vec<EvictionRequirement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateMode {
    Off,
    Initial,
    Recreate,
    Auto,
    InPlaceOrRecreate,
    InPlace,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvictionRequirement {
    pub resources: Vec<String>,
    pub change_requirement: EvictionChangeRequirement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvictionChangeRequirement {
    TargetHigherThanRequests,
    TargetLowerThanRequests,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcePolicy {
    /// By container; the one named `*` is for those without their own. An instance here has one container.
    pub container_policies: Vec<ContainerPolicy>,
}

/// Bounds of what is recommended for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// `Off`: nothing is recommended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ContainerScalingMode>,
    /// By resource: `cpu`, `memory`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub min_allowed: BTreeMap<String, Quantity>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_allowed: BTreeMap<String, Quantity>,
    /// Both, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controlled_resources: Option<Vec<String>>,
    /// Requests and limits, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controlled_values: Option<ControlledValues>,
    /// Instead of 1.2: how many times the memory of an instance that was killed for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_bump_up_ratio: Option<Quantity>,
    /// Instead of 100 MiB: how much more at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_min_bump_up: Option<Quantity>,
    /// Instead of a day: an instance has one peak of memory in so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_aggregation_interval_seconds: Option<i32>,
    /// So many of these Kubernetes keeps of what is gone; kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_aggregation_interval_count: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerScalingMode {
    Auto,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlledValues {
    RequestsAndLimits,
    RequestsOnly,
}

impl Spec {
    pub(crate) fn check(&self, at: &str, problems: &mut Problems) {
        let Some(policy) = &self.resource_policy else { return };
        for (i, policy) in policy.container_policies.iter().enumerate() {
            let at = format!("{at}.resourcePolicy.containerPolicies[{i}]");
            for (resource, min) in &policy.min_allowed {
                let is_below = policy.max_allowed.get(resource).is_none_or(|max| min <= max);
                problems.unless(is_below, format!("{at}.minAllowed.{resource}"), "it is more than maxAllowed");
            }
            for (field, list) in [("minAllowed", &policy.min_allowed), ("maxAllowed", &policy.max_allowed)] {
                for resource in list.keys() {
                    let is_known = matches!(resource.as_str(), "cpu" | "memory");
                    problems.unless(
                        is_known,
                        format!("{at}.{field}.{resource}"),
                        "only cpu and memory are recommended",
                    );
                }
            }
            for resource in policy.controlled_resources.iter().flatten() {
                let is_known = matches!(resource.as_str(), "cpu" | "memory");
                problems.unless(is_known, format!("{at}.controlledResources"), "only cpu and memory are recommended");
            }
        }
    }
}
