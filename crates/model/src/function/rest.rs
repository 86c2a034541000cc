//! Small values of the REST interface around functions: state, packages, connectors, workers.

use super::record::record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One entry of a function's state, as `/state/{key}` reads and writes it. Source: Pulsar's `FunctionState`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionState {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value, where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value otherwise, in standard base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_value: Option<String>,
    /// The value of a counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_value: Option<i64>,
    /// Rises with each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

record! {
    /// How an update is carried out. Source: Pulsar's `UpdateOptionsImpl`.
    pub struct UpdateOptions {
        /// Whether the function's credentials are taken anew from the request.
        update_auth_data: "updateAuthData" => bool,
    }
}

/// What is known of one version of a package. Source: Pulsar's `PackageMetadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PackageMetadata {
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Milliseconds since 1970.
    pub create_time: i64,
    /// Milliseconds since 1970.
    pub modification_time: i64,
    /// What its owner attached to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
}

/// A connector that is there to be used by name. Source: Pulsar's `ConnectorDefinition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectorDefinition {
    /// The name, as in `builtin://name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its source; absent, it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_class: Option<String>,
    /// Its sink; absent, it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink_class: Option<String>,
    /// What describes the source's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_config_class: Option<String>,
    /// What describes the sink's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink_config_class: Option<String>,
}

/// A function that is there to be used by name. Source: Pulsar's `FunctionDefinition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionDefinition {
    /// The name, as in `builtin://name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_class: Option<String>,
}

/// A worker of the cluster. Source: Pulsar's `WorkerInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkerInfo {
    /// Unique in the cluster.
    pub worker_id: String,
    /// Where it is reached.
    pub worker_hostname: String,
    /// Its HTTP port.
    pub port: u16,
}
