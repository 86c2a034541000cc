//! Function Mesh's `builtinAutoscaler` rules as metrics.
//!
//! Source: streamnative/function-mesh `controllers/spec/hpa.go`.

use super::{MetricSourceType, MetricSpec, MetricTarget, MetricTargetType, ResourceMetricSource};

/// The rules, with the resource and the per cent of its **limit** they mean.
const RULES: [(&str, &str, i32); 6] = [
    ("AverageUtilizationCPUPercent80", "cpu", 80),
    ("AverageUtilizationCPUPercent50", "cpu", 50),
    ("AverageUtilizationCPUPercent20", "cpu", 20),
    ("AverageUtilizationMemoryPercent80", "memory", 80),
    ("AverageUtilizationMemoryPercent50", "memory", 50),
    ("AverageUtilizationMemoryPercent20", "memory", 20),
];

impl MetricSpec {
    /// CPU or memory at a share of what instances request, in per cent.
    pub fn utilization(resource: &str, percent: i32) -> Self {
        let target = MetricTarget {
            kind: MetricTargetType::Utilization,
            value: None,
            average_value: None,
            average_utilization: Some(percent),
        };
        Self {
            kind: MetricSourceType::Resource,
            resource: Some(ResourceMetricSource { name: resource.to_owned(), target }),
            container_resource: None,
            pods: None,
            object: None,
            external: None,
        }
    }

    /// The metric of a rule such as `AverageUtilizationCPUPercent20`; `None`: there is no such rule.
    ///
    /// `limit_per_request` says, by resource (`cpu`, `memory`), how many times the request the limit is; 1 where either is absent. An
    /// HPA measures against requests, and the rule is about limits. Of two rules for one resource, Function Mesh takes the first.
    pub fn builtin(rule: &str, limit_per_request: impl FnOnce(&str) -> f64) -> Option<Self> {
        let (_, resource, percent) = RULES.into_iter().find(|(name, ..)| *name == rule)?;
        Some(Self::utilization(resource, (f64::from(percent) * limit_per_request(resource)) as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_the_limit() {
        let target = |rule, factor| {
            let metric = MetricSpec::builtin(rule, |_| factor)?.resource?;
            Some((metric.name, metric.target.average_utilization?))
        };
        assert_eq!(target("AverageUtilizationCPUPercent20", 1.0), Some(("cpu".to_owned(), 20)));
        assert_eq!(target("AverageUtilizationCPUPercent50", 2.5), Some(("cpu".to_owned(), 125)));
        assert_eq!(target("AverageUtilizationMemoryPercent80", 4.0 / 3.0), Some(("memory".to_owned(), 106)));
        assert_eq!(target("AverageUtilizationCPUPercent30", 1.0), None);
    }
}
