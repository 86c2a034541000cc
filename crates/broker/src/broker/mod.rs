//! The broker as the rest of the program holds it: a cheap handle that routes each request to the shard of its topic.

use bytes::Bytes;
use model::{Domain, NamespaceName, NamespacePolicies, Position, TopicName};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::sync::{Notify, mpsc};

use crate::{
    config::Config,
    error::{Error, Result},
    metadata::Metadata,
    peer::{Outgoing, Peer, PeerInfo, ProducerCreated},
    requests::{ConsumerHandle, LastMessageId, NewConsumer, NewProducer, ProducerHandle, PublishBatch, Schema},
    shard,
    topic::seek::SeekTarget,
};
use admin_api::stats::{InternalStats, PartitionedTopicStats, TopicStats};

/// Where a client connects to, as lookups answer it.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// `pulsar://host:port`.
    pub broker_url: String,
    /// `http://host:port`.
    pub web_url: String,
}

/// Cheap to clone; all clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    addresses: Addresses,
    store: ledger::Store,
    metadata: Metadata,
    shards: Arc<[shard::Handle]>,
    next_peer: AtomicU64,
    publish_buffer: Arc<PublishBuffer>,
}
