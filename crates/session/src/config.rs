//! What of sessions can be set. Names are Pulsar's `broker.conf` in kebab-case where it has one.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits and timeouts of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Connections open at one time; 0 is no bound. Pulsar: `brokerMaxConnections`.
    pub max_connections: usize,
    /// Connections open at one time from one address; 0 is no bound. Pulsar: `brokerMaxConnectionsPerIp`.
    pub max_connections_per_ip: usize,
    /// How long a connection may be silent before it is pinged; it is closed after two pings without an answer.
    /// Pulsar: `keepAliveIntervalSeconds`.
    #[serde(with = "humantime_serde")]
    pub keepalive: Duration,
    /// How long a new connection has for its CONNECT.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How long a frame that has begun may stay without a further byte before the connection is closed.
    #[serde(with = "humantime_serde")]
    pub half_frame_timeout: Duration,
    /// Requests of one connection that are being worked on; more are read when one of them is answered.
    pub max_pending_requests: usize,
    /// Topic list watchers of one connection.
    pub max_watchers: usize,
    /// Longest pattern, in bytes, that the broker matches topic names with; longer ones are left to the client.
    /// Pulsar: `subscriptionPatternMaxLength`.
    pub max_pattern_length: usize,
    /// Smallest buffer a connection reads into, in bytes. An idle connection has none.
    pub read_buffer_min: usize,
    /// Largest buffer a connection reads into, in bytes; a busy connection grows to it.
    pub read_buffer_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_ip: 0,
            keepalive: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            half_frame_timeout: Duration::from_secs(60),
            max_pending_requests: 1000,
            max_watchers: 100,
            max_pattern_length: 50,
            read_buffer_min: 16 * 1024,
            read_buffer_max: 1024 * 1024,
        }
    }
}
