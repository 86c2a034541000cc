//! What a person writes about scaling.

use serde::{Deserialize, Serialize};

/// How one function scales: between which bounds, and by which policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// 0: it may have no instance, and an event wakes it.
    pub min_replicas: u32,
    /// At least 1, at least `min_replicas`.
    pub max_replicas: u32,
}
