//! The REST contract alone: what is sent and returned, in Pulsar's words. No handler, no client.

pub mod stats;

use serde::{Deserialize, Serialize};

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantInfo {
    /// Who may administer it.
    pub admin_roles: Vec<String>,
    /// Clusters its namespaces may live in.
    pub allowed_clusters: Vec<String>,
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterData {
    pub service_url: Option<String>,
    pub service_url_tls: Option<String>,
    pub broker_service_url: Option<String>,
    pub broker_service_url_tls: Option<String>,
}

/// How many partitions a topic has; 0 when it is not partitioned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionedTopicMetadata {
    pub partitions: u32,
    pub deleted: bool,
}

/// Body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub reason: String,
}

/// A message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageIdData {
    pub ledger_id: i64,
    pub entry_id: i64,
    #[serde(default = "minus_one")]
    pub partition_index: i32,
    #[serde(default = "minus_one", skip_serializing_if = "is_minus_one")]
    pub batch_index: i32,
}

const fn minus_one() -> i32 {
    -1
}

const fn is_minus_one(n: &i32) -> bool {
    *n == -1
}

/// Answer to a topic lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LookupData {
    pub broker_url: String,
    pub broker_url_tls: Option<String>,
    pub http_url: String,
    pub http_url_tls: Option<String>,
    pub native_url: String,
    pub broker_url_ssl: Option<String>,
}
