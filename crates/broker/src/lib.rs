//! Topics, subscriptions and dispatch: what a broker does between a socket and the disk. It opens no socket itself.
//!
//! [`Broker`] is the handle that `session` and `admin` hold. Behind it, topics are spread over a few shards; a shard
//! handles its events in order, so nothing about a topic needs a lock.

mod broker;
mod compaction;
mod config;
mod error;
mod metadata;
mod output;
mod peer;
mod publish_buffer;
mod publish_limit;
mod rate;
mod readings;
mod requests;
mod shard;
mod subscription;
mod topic;
mod transaction;
mod waiting;

pub use broker::{Addresses, Backlog, Broker, SchemaHistory, SchemaVersion, TopicChange};
pub use compaction::{CompactionStatus, SUBSCRIPTION as COMPACTION_SUBSCRIPTION};
pub use config::Config;
pub use error::{Error, Result};
pub use output::OutputHandle;
pub use peer::{Delivery, Outgoing, Peer, PeerInfo, ProducerCreated};
pub use requests::{
    Ack, ConsumerHandle, KeyShared, LastMessageId, NewConsumer, NewProducer, ProducerHandle, Requests, Schema,
};
pub use subscription::rfc3339;
pub use topic::seek::SeekTarget;
pub use transaction::{COMMIT_BYTES_MAX, Commit, Committed, OutputEntry, TableChange, TableOp};
pub use waiting::{Bell, Waiting};
