//! What a namespace says about its topics. Names and units are those of Pulsar's REST API, so that a value parsed here
//! is the value an admin client sent.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::SubscriptionType;

/// Keep acknowledged messages this long and this much; a message goes when either bound is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicies {
    /// Minutes; 0 keeps nothing, -1 keeps forever.
    #[serde(default)]
    pub retention_time_in_minutes: i64,
    /// Mebibytes; 0 keeps nothing, -1 keeps all.
    #[serde(default, rename = "retentionSizeInMB")]
    pub retention_size_in_mb: i64,
}

/// What happens to whom when a backlog passes its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionPolicy {
    /// New producers and publishes wait: `ProducerBlockedQuotaExceededError`.
    #[default]
    ProducerRequestHold,
    /// Producers are disconnected and refused: `ProducerBlockedQuotaExceededException`.
    ProducerException,
    /// The slowest subscription loses its oldest messages.
    ConsumerBacklogEviction,
}

/// A bound on what subscriptions may leave unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BacklogQuota {
    /// Bytes; -1 is no bound.
    #[serde(default = "minus_one", alias = "limit")]
    pub limit_size: i64,
    /// Seconds; -1 is no bound.
    #[serde(default = "minus_one")]
    pub limit_time: i64,
    /// What to do.
    #[serde(default)]
    pub policy: RetentionPolicy,
}

const fn minus_one() -> i64 {
    -1
}

/// What a quota measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacklogQuotaType {
    /// Bytes of backlog.
    DestinationStorage,
    /// Age of the oldest message of the backlog.
    MessageAge,
}

/// Kept and returned for administrators; copies are what the storage engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistencePolicies {
    /// Pulsar's ensemble size.
    pub bookkeeper_ensemble: i32,
    /// Pulsar's write quorum.
    pub bookkeeper_write_quorum: i32,
    /// Pulsar's ack quorum.
    pub bookkeeper_ack_quorum: i32,
    /// Mark-deletes per second and cursor.
    pub managed_ledger_max_mark_delete_rate: f64,
}

/// Whether messages may ask to be delivered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DelayedDeliveryPolicies {
    /// Milliseconds by which they may come late. Here they come on time whatever this says.
    #[serde(default)]
    pub tick_time: i64,
    /// Whether at all; else they are delivered at once.
    #[serde(default)]
    pub active: bool,
    /// How long after its publication a message may ask to be delivered; 0 or less is no bound.
    #[serde(default)]
    pub max_delivery_delay_in_millis: i64,
}

/// How fast the producers of a topic may publish together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishRate {
    /// Messages per second; 0 or less is no bound.
    #[serde(default = "unbound")]
    pub publish_throttling_rate_in_msg: i32,
    /// Bytes per second; 0 or less is no bound.
    #[serde(default = "minus_one")]
    pub publish_throttling_rate_in_byte: i64,
}

const fn unbound() -> i32 {
    -1
}

/// When an unused topic is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InactiveTopicDeleteMode {
    /// When it has no subscription.
    #[default]
    DeleteWhenNoSubscriptions,
    /// When its subscriptions have nothing left to read.
    DeleteWhenSubscriptionsCaughtUp,
}

/// How a new schema version must relate to the old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SchemaCompatibility {
    /// The broker's default, FULL.
    #[default]
    Undefined,
    /// Every new schema is refused.
    AlwaysIncompatible,
    /// Every new schema is taken.
    AlwaysCompatible,
    /// New readers read old data.
    Backward,
    /// Old readers read new data.
    Forward,
    /// Both.
    Full,
    /// Backward over all versions.
    BackwardTransitive,
    /// Forward over all versions.
    ForwardTransitive,
    /// Both over all versions.
    FullTransitive,
}

impl SchemaCompatibility {
    /// Pulsar's name, such as `FULL_TRANSITIVE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Undefined => "UNDEFINED",
            Self::AlwaysIncompatible => "ALWAYS_INCOMPATIBLE",
            Self::AlwaysCompatible => "ALWAYS_COMPATIBLE",
            Self::Backward => "BACKWARD",
            Self::Forward => "FORWARD",
            Self::Full => "FULL",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// What Pulsar had before [`SchemaCompatibility`], and still has beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaAutoUpdate {
    /// Every new schema is refused.
    AutoUpdateDisabled,
    /// New readers read old data.
    Backward,
    /// Old readers read new data.
    Forward,
    /// Both.
    Full,
    /// Every new schema is taken.
    AlwaysCompatible,
    /// Backward over all versions.
    BackwardTransitive,
    /// Forward over all versions.
    ForwardTransitive,
    /// Both over all versions.
    FullTransitive,
}

impl SchemaAutoUpdate {
    /// The same by its newer name.
    #[must_use]
    pub fn strategy(self) -> SchemaCompatibility {
        match self {
            Self::AutoUpdateDisabled => SchemaCompatibility::AlwaysIncompatible,
            Self::Backward => SchemaCompatibility::Backward,
            Self::Forward => SchemaCompatibility::Forward,
            Self::Full => SchemaCompatibility::Full,
            Self::AlwaysCompatible => SchemaCompatibility::AlwaysCompatible,
            Self::BackwardTransitive => SchemaCompatibility::BackwardTransitive,
            Self::ForwardTransitive => SchemaCompatibility::ForwardTransitive,
            Self::FullTransitive => SchemaCompatibility::FullTransitive,
        }
    }
}

/// What a namespace says about its topics; absent means the broker's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespacePolicies {
    /// Clusters the namespace lives in.
    pub replication_clusters: Vec<String>,
    /// Number of bundles it was created with.
    pub num_bundles: Option<u32>,
    /// Messages are deduplicated by producer name and sequence id.
    #[serde(rename = "deduplicationEnabled")]
    pub deduplication_enabled: Option<bool>,
    /// Seconds until an unacknowledged message expires.
    pub message_ttl_in_seconds: Option<u32>,
    /// How long acknowledged messages stay.
    pub retention_policies: Option<RetentionPolicies>,
    /// How much may stay unacknowledged.
    pub backlog_quota_map: BTreeMap<BacklogQuotaType, BacklogQuota>,
    /// Kept for administrators.
    pub persistence: Option<PersistencePolicies>,
    /// Unacknowledged messages one consumer may hold.
    pub max_unacked_messages_per_consumer: Option<u32>,
    /// Unacknowledged messages one subscription may hold.
    pub max_unacked_messages_per_subscription: Option<u32>,
    /// How schemas may evolve.
    pub schema_compatibility_strategy: SchemaCompatibility,
    /// The same by an older name; holds where the other is undefined.
    pub schema_auto_update_compatibility_strategy: Option<SchemaAutoUpdate>,
    /// Whether producers register new schemas; `None` is the broker's default.
    pub is_allow_auto_update_schema: Option<bool>,
    /// Whether a producer needs a schema on a topic that has one.
    pub schema_validation_enforced: bool,
    /// Whether a client that names a missing topic creates it; `None` is the broker's default.
    pub auto_topic_creation: Option<AutoTopicCreation>,
    /// Whether a consumer that names a missing subscription creates it; `None` is the broker's default.
    pub auto_subscription_creation: Option<AutoSubscriptionCreation>,
    /// Producers one topic may have; 0 is no bound.
    pub max_producers_per_topic: Option<u32>,
    /// Consumers one topic may have; 0 is no bound.
    pub max_consumers_per_topic: Option<u32>,
    /// Consumers one subscription may have; 0 is no bound.
    pub max_consumers_per_subscription: Option<u32>,
    /// Subscriptions one topic may have; 0 is no bound.
    pub max_subscriptions_per_topic: Option<u32>,
    /// Topics the namespace may have, each partition counted; 0 is no bound.
    pub max_topics_per_namespace: Option<u32>,
    /// Bytes after which a topic is compacted; 0 is never.
    pub compaction_threshold: Option<u64>,
    /// Types that consumers may subscribe with; none named is all.
    pub subscription_types_enabled: Vec<SubscriptionType>,
    /// Whether messages may ask to be delivered later; `None` is that they may.
    #[serde(rename = "delayed_delivery_policies")]
    pub delayed_delivery: Option<DelayedDeliveryPolicies>,
    /// How fast the producers of each topic may publish.
    pub publish_rate: Option<PublishRate>,
    /// Whether producers have to encrypt what they publish.
    pub encryption_required: bool,
    /// What an administrator attached to it.
    pub properties: BTreeMap<String, String>,
}

/// What one topic says about itself; it goes before what its namespace says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicLevelPolicies {
    /// How long acknowledged messages stay.
    pub retention_policies: Option<RetentionPolicies>,
    /// Seconds until an unacknowledged message expires.
    pub message_ttl_in_seconds: Option<u32>,
    /// How much may stay unacknowledged.
    pub backlog_quota_map: BTreeMap<BacklogQuotaType, BacklogQuota>,
    /// Messages are deduplicated by producer name and sequence id.
    pub deduplication_enabled: Option<bool>,
    /// Kept for administrators.
    pub persistence: Option<PersistencePolicies>,
    /// Unacknowledged messages one consumer may hold.
    pub max_unacked_messages_per_consumer: Option<u32>,
    /// Unacknowledged messages one subscription may hold.
    pub max_unacked_messages_per_subscription: Option<u32>,
    /// Producers the topic may have; 0 is no bound.
    pub max_producers: Option<u32>,
    /// Consumers the topic may have; 0 is no bound.
    pub max_consumers: Option<u32>,
    /// Consumers one subscription may have; 0 is no bound.
    pub max_consumers_per_subscription: Option<u32>,
    /// Subscriptions the topic may have; 0 is no bound.
    pub max_subscriptions: Option<u32>,
    /// How its schema may evolve.
    pub schema_compatibility_strategy: Option<SchemaCompatibility>,
    /// Whether a producer needs a schema if the topic has one.
    pub schema_validation_enforced: Option<bool>,
    /// Bytes after which the topic is compacted; 0 is never.
    pub compaction_threshold: Option<u64>,
    /// Types that consumers may subscribe with; none named is what the namespace says.
    pub subscription_types_enabled: Vec<SubscriptionType>,
    /// Whether messages may ask to be delivered later.
    pub delayed_delivery: Option<DelayedDeliveryPolicies>,
    /// How fast its producers may publish.
    pub publish_rate: Option<PublishRate>,
    /// Bytes a message may have that is not sent in chunks; 0 is the broker's bound alone.
    pub max_message_size: Option<u32>,
    /// Whether a consumer that names a missing subscription creates it.
    pub auto_subscription_creation: Option<AutoSubscriptionCreation>,
}

/// Whether a consumer that names a missing subscription creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoSubscriptionCreation {
    /// Whether at all.
    pub allow_auto_subscription_creation: bool,
}

/// Whether and how a client that names a missing topic creates it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoTopicCreation {
    /// Whether at all.
    pub allow_auto_topic_creation: bool,
    /// `partitioned` or `non-partitioned`.
    #[serde(default)]
    pub topic_type: Option<String>,
    /// Partitions, for `partitioned`.
    #[serde(default)]
    pub default_num_partitions: Option<u32>,
}
