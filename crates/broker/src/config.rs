//! What of the broker can be set. Names are Pulsar's `broker.conf` in kebab-case.

use model::SchemaCompatibility;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits and defaults for topics, subscriptions and connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Name of the cluster this broker is. Pulsar: `clusterName`.
    pub cluster_name: String,
    /// Shards that topics are spread over; 0 is one for each core.
    pub shards: usize,
    /// Largest message a producer may send, in bytes. Pulsar: `maxMessageSize`.
    pub max_message_size: usize,
    /// Bytes published and not yet durable, over all connections, at which the broker stops reading from producers.
    /// Pulsar: `maxMessagePublishBufferSizeInMB`.
    pub max_publish_buffer_bytes: usize,
    /// Entries one connection may have published and not yet receipted. Pulsar: `maxPendingPublishRequestsPerConnection`.
    pub max_pending_publishes_per_connection: i64,
    /// Whether a client that names a missing topic creates it. Pulsar: `allowAutoTopicCreation`.
    pub allow_auto_topic_creation: bool,
    /// Partitions of an automatically created topic; 0 makes it non-partitioned. Pulsar: `defaultNumPartitions`.
    pub auto_topic_creation_partitions: u32,
    /// Whether a consumer that names a missing subscription creates it. Pulsar: `allowAutoSubscriptionCreation`.
    pub allow_auto_subscription_creation: bool,
    /// Partitions a topic may have. Pulsar: `maxNumPartitionsPerPartitionedTopic`, 0 there means no bound.
    pub max_partitions_per_topic: u32,
    /// Unacknowledged messages one consumer may hold before dispatch to it pauses. Pulsar: `maxUnackedMessagesPerConsumer`.
    pub max_unacked_messages_per_consumer: u32,
    /// The same for a whole subscription. Pulsar: `maxUnackedMessagesPerSubscription`.
    pub max_unacked_messages_per_subscription: u32,
    /// Whether messages are deduplicated where no policy says otherwise. Pulsar: `brokerDeduplicationEnabled`.
    pub deduplication_enabled: bool,
    /// How long the sequence id of a producer that is gone is remembered.
    /// Pulsar: `brokerDeduplicationProducerInactivityTimeoutMinutes`.
    #[serde(with = "humantime_serde")]
    pub deduplication_inactivity_timeout: Duration,
    /// How long acknowledged messages stay where no policy says otherwise. Pulsar: `defaultRetentionTimeInMinutes`.
    #[serde(with = "humantime_serde")]
    pub default_retention_time: Duration,
    /// Bytes of acknowledged messages that stay where no policy says otherwise. Pulsar: `defaultRetentionSizeInMB`.
    pub default_retention_bytes: u64,
    /// After how long an unacknowledged message expires where no policy says otherwise; 0 is never.
    /// Pulsar: `ttlDurationDefaultInSeconds`.
    #[serde(with = "humantime_serde")]
    pub default_message_ttl: Duration,
    /// Bytes of backlog at which the quota of a topic acts where no policy says otherwise; 0 is no bound.
    /// Pulsar: `backlogQuotaDefaultLimitBytes`.
    pub default_backlog_quota_bytes: u64,
    /// How often loaded topics are looked at for what expired, what can be trimmed and which quota is passed.
    #[serde(with = "humantime_serde")]
    pub maintenance_interval: Duration,
    /// How long a topic with no client stays loaded.
    #[serde(with = "humantime_serde")]
    pub unload_idle_after: Duration,
    /// How long an acknowledgement that asked for no answer may wait to become durable.
    #[serde(with = "humantime_serde")]
    pub ack_flush_interval: Duration,
    /// How long a connection that may be dead has to answer before another consumer or producer takes its place.
    /// Pulsar: `connectionLivenessCheckTimeoutMillis`.
    #[serde(with = "humantime_serde")]
    pub connection_liveness_timeout: Duration,
    /// How long a Failover consumer that takes over waits for the acknowledgements of the one before, while that is still
    /// there. Pulsar: `activeConsumerFailoverDelayTimeMillis`.
    #[serde(with = "humantime_serde")]
    pub active_consumer_failover_delay: Duration,
    /// Producers one topic may have; 0 is no bound. Pulsar: `maxProducersPerTopic`.
    pub max_producers_per_topic: usize,
    /// Consumers one topic may have; 0 is no bound. Pulsar: `maxConsumersPerTopic`.
    pub max_consumers_per_topic: usize,
    /// Consumers one subscription may have; 0 is no bound. Pulsar: `maxConsumersPerSubscription`.
    pub max_consumers_per_subscription: usize,
    /// Subscriptions one topic may have; 0 is no bound. Pulsar: `maxSubscriptionsPerTopic`.
    pub max_subscriptions_per_topic: usize,
    /// How a new schema has to fit the old ones where no policy says otherwise. Pulsar: `schemaCompatibilityStrategy`.
    pub schema_compatibility_strategy: SchemaCompatibility,
    /// Whether producers register new schemas where no policy says otherwise. Pulsar: `isAllowAutoUpdateSchemaEnabled`.
    pub allow_auto_update_schema: bool,
    /// Whether a producer needs a schema on every topic that has one. Pulsar: `isSchemaValidationEnforced`.
    pub schema_validation_enforced: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_name: "standalone".to_owned(),
            shards: 0,
            max_message_size: 5 * 1024 * 1024,
            max_publish_buffer_bytes: 256 * 1024 * 1024,
            max_pending_publishes_per_connection: 1000,
            allow_auto_topic_creation: true,
            auto_topic_creation_partitions: 0,
            allow_auto_subscription_creation: true,
            max_partitions_per_topic: 10_000,
            max_unacked_messages_per_consumer: 50_000,
            max_unacked_messages_per_subscription: 200_000,
            deduplication_enabled: false,
            deduplication_inactivity_timeout: Duration::from_secs(6 * 3600),
            default_retention_time: Duration::ZERO,
            default_retention_bytes: 0,
            default_message_ttl: Duration::ZERO,
            default_backlog_quota_bytes: 0,
            maintenance_interval: Duration::from_secs(30),
            unload_idle_after: Duration::from_secs(120),
            ack_flush_interval: Duration::from_millis(100),
            connection_liveness_timeout: Duration::from_secs(5),
            active_consumer_failover_delay: Duration::from_secs(1),
            max_producers_per_topic: 0,
            max_consumers_per_topic: 0,
            max_consumers_per_subscription: 0,
            max_subscriptions_per_topic: 0,
            schema_compatibility_strategy: SchemaCompatibility::Full,
            allow_auto_update_schema: true,
            schema_validation_enforced: false,
        }
    }
}
