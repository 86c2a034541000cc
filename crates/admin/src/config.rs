//! What of the web service can be set.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::functions::Deploying;

/// The REST API and metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Connections that may be open; further ones wait.
    pub max_connections: usize,
    /// How long a connection on which nothing happens stays open; longer than a request may take.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Topics that `/metrics` lists one by one; of those beyond, only sums are given.
    pub max_topics_in_metrics: usize,
    /// Instances of functions, sources and sinks that `/metrics` lists.
    pub max_functions_in_metrics: usize,
    /// Who may deploy functions, sources, sinks and packages, which is to run code here.
    pub deploying: Deploying,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            max_connections: 1024,
            idle_timeout: Duration::from_secs(90),
            max_topics_in_metrics: 10_000,
            max_functions_in_metrics: 10_000,
            deploying: Deploying::default(),
        }
    }
}
