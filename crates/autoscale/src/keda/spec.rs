//! What of a ScaledObject with one `pulsar` trigger matters here, under KEDA's own names.
//!
//! Source: kedacore/keda `apis/keda/v1alpha1/scaledobject_types.go`, `pkg/scalers/pulsar_scaler.go`.

use crate::{hpa, spec::Problems};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Backlog per instance. `minReplicaCount` and `maxReplicaCount` are the function's `minReplicas` and `maxReplicas`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Messages waiting per instance. KEDA: the pulsar trigger's `msgBacklogThreshold`.
    pub msg_backlog_threshold: u64,
    /// From none to the first instance when more messages than this wait.
    pub activation_msg_backlog_threshold: u64,
    /// Between two looks while there is no instance, and for the way to none.
    #[serde(with = "humantime_serde")]
    pub polling_interval: Duration,
    /// So long after the last look with a backlog the last instance goes.
    #[serde(with = "humantime_serde")]
    pub cooldown_period: Duration,
    /// Not before so long after the function was made.
    #[serde(with = "humantime_serde")]
    pub initial_cooldown_period: Duration,
    /// `advanced.horizontalPodAutoscalerConfig.behavior`: of the HPA that KEDA makes for everything from one instance up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<hpa::Behavior>,
    /// Of the HPA: `--horizontal-pod-autoscaler-sync-period`.
    #[serde(with = "humantime_serde")]
    pub sync_period: Duration,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            msg_backlog_threshold: 10,
            activation_msg_backlog_threshold: 0,
            polling_interval: Duration::from_secs(30),
            cooldown_period: Duration::from_secs(300),
            initial_cooldown_period: Duration::ZERO,
            behavior: None,
            sync_period: Duration::from_secs(15),
        }
    }
}

impl Spec {
    pub(crate) fn check(&self, at: &str, problems: &mut Problems) {
        problems.unless(self.msg_backlog_threshold >= 1, format!("{at}.msgBacklogThreshold"), "it is at least 1");
        problems.unless(!self.polling_interval.is_zero(), format!("{at}.pollingInterval"), "it is more than 0");
        problems.unless(!self.sync_period.is_zero(), format!("{at}.syncPeriod"), "it is more than 0");
        if let Some(behavior) = &self.behavior {
            behavior.check(&format!("{at}.behavior"), problems);
        }
    }
}
