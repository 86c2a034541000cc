//! `config-autoscaler` and a revision's annotations, under Knative's own names.
//!
//! Source: knative/serving `config/core/configmaps/autoscaler.yaml`, `pkg/autoscaler/config/config.go`.

use crate::spec::Problems;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Concurrency per instance. Messages that wait count, as requests in a queue-proxy and in the activator do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Messages per instance at full use. Absent: what an instance can work on at the same time (Knative's `containerConcurrency`), and
    /// where that is unknown 100 (`container-concurrency-target-default`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// Per cent of it that is aimed at. Knative: `container-concurrency-target-percentage`.
    pub target_utilization_percentage: f64,
    /// Between two decisions: `tickInterval`.
    #[serde(with = "humantime_serde")]
    pub tick_interval: Duration,
    /// What the mean is taken over. Knative: `stable-window`.
    #[serde(with = "humantime_serde")]
    pub stable_window: Duration,
    /// The panic window, per cent of the stable one.
    pub panic_window_percentage: f64,
    /// Panic begins when the panic window alone asks for so many per cent of what is ready.
    pub panic_threshold_percentage: f64,
    /// At most so many times what is ready, in one decision.
    pub max_scale_up_rate: f64,
    /// At least what is ready divided by this, in one decision.
    pub max_scale_down_rate: f64,
    /// The largest of this window's decisions counts.
    #[serde(with = "humantime_serde")]
    pub scale_down_delay: Duration,
    /// Messages that may come at once without waiting for an instance: with less room than that, they wait in front of all instances
    /// (in Knative's activator), and the last one can go at once.
    pub target_burst_capacity: f64,
    /// How long the last instance stays at most after the decision for none.
    #[serde(with = "humantime_serde")]
    pub scale_to_zero_grace_period: Duration,
    /// How long it stays at least.
    #[serde(with = "humantime_serde")]
    pub scale_to_zero_pod_retention_period: Duration,
    /// The first number from none.
    pub activation_scale: u32,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            target: None,
            target_utilization_percentage: 70.0,
            tick_interval: Duration::from_secs(2),
            stable_window: Duration::from_secs(60),
            panic_window_percentage: 10.0,
            panic_threshold_percentage: 200.0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            scale_down_delay: Duration::ZERO,
            target_burst_capacity: 211.0,
            scale_to_zero_grace_period: Duration::from_secs(30),
            scale_to_zero_pod_retention_period: Duration::ZERO,
            activation_scale: 1,
        }
    }
}

impl Spec {
    pub(crate) fn check(&self, at: &str, problems: &mut Problems) {
        let mut within = |value: f64, low: f64, high: f64, field: &str| {
            problems.unless(
                (low..=high).contains(&value),
                format!("{at}.{field}"),
                format_args!("it is from {low} to {high}"),
            );
        };
        within(self.target.unwrap_or(1.0), 0.01, 1e6, "target");
        within(self.target_utilization_percentage, 1.0, 100.0, "targetUtilizationPercentage");
        within(self.panic_window_percentage, 1.0, 100.0, "panicWindowPercentage");
        within(self.panic_threshold_percentage, 110.0, 1000.0, "panicThresholdPercentage");
        within(self.max_scale_up_rate, 1.0 + f64::EPSILON, f64::MAX, "maxScaleUpRate");
        within(self.max_scale_down_rate, 1.0 + f64::EPSILON, f64::MAX, "maxScaleDownRate");
        within(self.target_burst_capacity, -1.0, 1e9, "targetBurstCapacity");
        let stable = self.stable_window;
        problems.unless(
            (Duration::from_secs(6)..=Duration::from_secs(3600)).contains(&stable),
            format!("{at}.stableWindow"),
            "it is from 6s to 1h",
        );
        problems.unless(!self.tick_interval.is_zero(), format!("{at}.tickInterval"), "it is more than 0");
        problems.unless(
            self.scale_down_delay <= Duration::from_secs(3600),
            format!("{at}.scaleDownDelay"),
            "it is at most 1h",
        );
        problems.unless(
            self.scale_to_zero_grace_period >= Duration::from_secs(6),
            format!("{at}.scaleToZeroGracePeriod"),
            "it is at least 6s",
        );
        problems.unless(self.activation_scale >= 1, format!("{at}.activationScale"), "it is at least 1");
    }
}
