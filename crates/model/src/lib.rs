//! The nouns of the platform as pure values: topic names, positions, subscription types, policies, functions.
//!
//! Nothing here does I/O, reads a clock or knows how a value travels; every other crate may depend on this one.

pub mod function;
mod policies;
mod position;
mod subscription;
mod topic_name;

pub use policies::{
    AutoSubscriptionCreation, AutoTopicCreation, BacklogQuota, BacklogQuotaType, DelayedDeliveryPolicies,
    InactiveTopicDeleteMode, NamespacePolicies, PersistencePolicies, PublishRate, RetentionPolicies, RetentionPolicy,
    SchemaAutoUpdate, SchemaCompatibility, TopicLevelPolicies,
};
pub use position::{LedgerId, MessageId, Position};
pub use subscription::{AccessMode, InitialPosition, KeySharedMode, SubscriptionType};
pub use topic_name::{Domain, NAME_BYTES_MAX, NamespaceName, ParseError, TopicName};
