//! The REST contract alone: what is sent and returned, in Pulsar's words. No handler, no client.

pub mod mesh;
pub mod scaling;
pub mod stats;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantInfo {
    /// Who may administer it.
    pub admin_roles: Vec<String>,
    /// Clusters its namespaces may live in.
    pub allowed_clusters: Vec<String>,
}

/// A cluster: where its brokers are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_url_tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_service_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_service_url_tls: Option<String>,
    pub broker_client_tls_enabled: bool,
    pub tls_allow_insecure_connection: bool,
    pub broker_client_tls_enabled_with_key_store: bool,
    pub broker_client_tls_trust_store_type: String,
    pub broker_client_tls_key_store_type: String,
    pub broker_client_ssl_factory_plugin: String,
}

impl Default for ClusterData {
    fn default() -> Self {
        Self {
            service_url: None,
            service_url_tls: None,
            broker_service_url: None,
            broker_service_url_tls: None,
            broker_client_tls_enabled: false,
            tls_allow_insecure_connection: false,
            broker_client_tls_enabled_with_key_store: false,
            broker_client_tls_trust_store_type: "JKS".to_owned(),
            broker_client_tls_key_store_type: "JKS".to_owned(),
            broker_client_ssl_factory_plugin: "org.apache.pulsar.common.util.DefaultPulsarSslFactory".to_owned(),
        }
    }
}

/// How many partitions a topic has; 0 when it is not partitioned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionedTopicMetadata {
    pub partitions: u32,
    pub deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
}

/// A bound on backlog as it is sent and returned. Pulsar has two names for the size and wants either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BacklogQuotaData {
    /// The same as `limit_size`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub limit: Option<i64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub limit_size: Option<i64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub limit_time: Option<i64>,
    /// What happens when it is passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<model::RetentionPolicy>,
}

/// A number that may be written as text, which Jackson takes for one.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(n)) => Ok(Some(n)),
        Some(Written::Text(text)) => text.trim().parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// Body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub reason: String,
}

/// A message id. "None" is -1 in both ledger and entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageIdData {
    pub ledger_id: i64,
    pub entry_id: i64,
    #[serde(default = "minus_one")]
    pub partition_index: i32,
    /// Index in the batch, -1 for a message that is an entry by itself.
    #[serde(default = "minus_one")]
    pub batch_index: i32,
    #[serde(default)]
    pub batch_size: i32,
}

const fn minus_one() -> i32 {
    -1
}

/// Answer to a topic lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LookupData {
    pub broker_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_url_tls: Option<String>,
    pub http_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_url_tls: Option<String>,
    pub native_url: String,
    pub broker_url_ssl: String,
}
