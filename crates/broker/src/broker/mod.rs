//! The broker as the rest of the program holds it: a cheap handle that routes each request to the shard of its topic.

mod administration;
mod backlog;
mod compaction;
mod going;
mod schemas;
mod topics;
mod transactions;
mod waiting;

use model::{NamespaceName, Position, SubscriptionType, TopicName};
use rustc_hash::FxHasher;
use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, broadcast, mpsc};

pub use backlog::Backlog;
pub use schemas::{SchemaHistory, SchemaVersion};

use crate::{
    config::Config,
    error::{Error, Result},
    metadata::Metadata,
    peer::{Outgoing, Peer, PeerInfo, ProducerCreated},
    publish_buffer::PublishBuffer,
    readings::Readings,
    requests::{ConsumerHandle, NewConsumer, NewProducer, ProducerHandle, Requests},
    shard::{self, Shard},
    topic::seek::SeekTarget,
};

/// Where a client connects to, as lookups answer it.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// `pulsar://host:port`.
    pub broker_url: String,
    /// `http://host:port`.
    pub web_url: String,
}

/// A topic came or went; for clients that watch a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    Created(TopicName),
    Deleted(TopicName),
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
    clock: Arc<dyn seams::Clock>,
    shards: Arc<[shard::Handle]>,
    /// For producer names: cluster, this start, a count.
    start_ms: u64,
    next_name: AtomicU64,
    next_peer: AtomicU64,
    publish_buffer: Arc<PublishBuffer>,
    changes: broadcast::Sender<TopicChange>,
    going: Arc<going::Going>,
    /// When the oldest messages of subscriptions were published, while that is being read.
    oldest: Arc<Readings<(TopicName, Arc<str>, Position), Result<Option<u64>>>>,
}

impl Broker {
    /// Reads the metadata and starts the shards and the storage's own upkeep as tasks.
    ///
    /// # Errors
    /// The metastore cannot be read or holds what does not parse.
    pub async fn start(
        config: Config,
        addresses: Addresses,
        store: ledger::Store,
        meta: Arc<dyn metastore::Metastore>,
        clock: Arc<dyn seams::Clock>,
        tasks: &seams::Tasks,
        shutdown: seams::Shutdown,
    ) -> Result<Self> {
        let config = Arc::new(config);
        let metadata = Metadata::open(meta, config.clone()).await?;
        let publish_buffer = Arc::new(PublishBuffer::new(config.max_publish_buffer_bytes));
        // One topic at a time: each takes memory for its keys, and a core.
        let compactions = Arc::new(Semaphore::new(1));
        let count = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            n => n.min(usize::from(u16::MAX)),
        };
        let mut shards = Vec::with_capacity(count);
        for _ in 0..count {
            let (handle, events) = shard::Handle::new();
            let parts = shard::Parts {
                config: config.clone(),
                store: store.clone(),
                metadata: metadata.clone(),
                clock: clock.clone(),
                publish_buffer: publish_buffer.clone(),
                compactions: compactions.clone(),
            };
            let (shard, durable) = Shard::new(parts, handle.clone());
            tasks.spawn("shard", shard.run(durable, events, shutdown.clone()));
            shards.push(handle);
        }
        let upkeep = store.clone();
        let stop = shutdown.clone();
        tasks.spawn("storage upkeep", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = stop.triggered() => return,
                }
                if let Err(error) = upkeep.maintain().await {
                    tracing::error!(%error, "storage upkeep failed, trying again later");
                }
            }
        });
        let (changes, _) = broadcast::channel(1024);
        let inner = Inner {
            start_ms: clock.now_ms(),
            config,
            addresses,
            store,
            metadata,
            clock,
            shards: shards.into(),
            next_name: AtomicU64::new(0),
            next_peer: AtomicU64::new(0),
            publish_buffer,
            changes,
            going: Arc::default(),
            oldest: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Unloads every topic (clients are told to look up again) and waits until all of it is durable.
    pub async fn close(&self) {
        for shard in self.inner.shards.iter() {
            let closed = shard.call_later(|shard, reply: shard::Reply<()>| {
                for id in shard.topics.keys().copied().collect::<Vec<_>>() {
                    shard.unload(id);
                }
                shard.when_durable(move |_, result| reply.send(result));
            });
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(10), closed).await {
                tracing::warn!(%error, "a shard did not close cleanly");
            }
        }
    }

    /// The configuration it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Where clients reach it.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.inner.addresses
    }

    /// Whether it can still store messages.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inner.store.is_healthy()
    }

    /// Registers a connection: what it is told comes out of the receiver.
    #[must_use]
    pub fn connect(&self, info: PeerInfo) -> (Arc<Peer>, mpsc::UnboundedReceiver<Vec<Outgoing>>) {
        let id = self.inner.next_peer.fetch_add(1, Relaxed) + 1;
        Peer::new(id, info, self.inner.shards.clone())
    }

    /// Closes what a connection that is gone had open.
    pub fn disconnect(&self, peer: &Arc<Peer>) {
        for shard in self.inner.shards.iter() {
            shard.send(shard::Event::PeerGone(peer.id));
        }
    }

    /// No requests; a connection keeps this and uses it again.
    #[must_use]
    pub fn requests(&self) -> Requests {
        Requests::new(self.inner.shards.len())
    }

    /// Hands over what was collected in one read of a socket.
    pub fn submit(&self, peer: &Arc<Peer>, requests: &mut Requests) {
        self.inner.publish_buffer.take(requests.bytes());
        requests.submit(peer, &self.inner.shards);
    }

    /// Whether so much is published and not yet durable that connections should stop reading.
    #[must_use]
    pub fn publish_buffer_full(&self) -> bool {
        self.inner.publish_buffer.is_full()
    }

    /// Resolves when half of the publish buffer is free.
    pub async fn publish_buffer_room(&self) {
        self.inner.publish_buffer.room().await;
    }

    fn shard_index(&self, topic: &TopicName) -> usize {
        let mut hasher = FxHasher::default();
        topic.hash(&mut hasher);
        (hasher.finish() >> 32) as usize % self.inner.shards.len()
    }

    pub(crate) fn shard(&self, topic: &TopicName) -> &shard::Handle {
        &self.inner.shards[self.shard_index(topic)]
    }

    /// Which broker serves a topic; on one machine, this one. A client may ask for the address that is advertised under a
    /// listener's name; there are none.
    ///
    /// # Errors
    /// The namespace does not exist; [`Error::NotReady`] for the name of a listener.
    ///
    /// Source: Pulsar's `NamespaceService.findBrokerServiceUrl`.
    pub async fn lookup(&self, topic: &TopicName, listener: Option<&str>) -> Result<Addresses> {
        self.inner.metadata.policies(topic.namespace())?;
        if let Some(name) = listener.filter(|name| !name.trim().is_empty()) {
            return Err(Error::NotReady(format!("the broker do not have {name} listener")));
        }
        Ok(self.inner.addresses.clone())
    }

    /// Opens a producer on a topic, creating the topic when policy allows it.
    ///
    /// Whoever has its name is pinged, and makes room when it does not answer.
    /// Source: Pulsar's `AbstractTopic.tryOverwriteOldProducer`.
    ///
    /// # Errors
    /// See [`Error`]: the topic cannot be created, somebody else has exclusive access, a quota is passed.
    pub async fn create_producer(
        &self,
        peer: &Arc<Peer>,
        request: NewProducer,
    ) -> Result<(ProducerHandle, ProducerCreated)> {
        let name = request.topic.clone();
        let exclusive = request.access_mode != model::AccessMode::Shared;
        self.ensure_topic(&name, true).await?;
        let schema_version = match &request.schema {
            Some(schema) => Some(self.put_schema(&name, schema.clone()).await?),
            None => self.check_no_schema(&name).await.map(|()| None)?,
        };
        let opened = match self.try_create_producer(peer, request.clone()).await {
            Err(Error::ProducerBusy(_)) if self.namesake_is_gone(peer, &request).await => {
                self.try_create_producer(peer, request).await
            }
            other => other,
        };
        let (handle, created) = opened?;
        if exclusive {
            // Entries of outputs that had to go come before all of this one.
            self.outputs_are_done(&name).await?;
        }
        Ok((handle, ProducerCreated { schema_version, ..created }))
    }

    async fn try_create_producer(
        &self,
        peer: &Arc<Peer>,
        request: NewProducer,
    ) -> Result<(ProducerHandle, ProducerCreated)> {
        let name = request.topic.clone();
        let index = self.shard_index(&name);
        let handle = self.inner.shards[index].clone();
        let generated = {
            let inner = self.inner.clone();
            move || {
                let n = inner.next_name.fetch_add(1, Relaxed);
                format!("{}-{}-{n}", inner.config.cluster_name, inner.start_ms)
            }
        };
        let peer = peer.clone();
        let topic_name = name.clone();
        let (topic, producer, limit, created) = handle
            .call_later(move |shard, reply| {
                let opened = shard.topic(&topic_name).and_then(|id| {
                    let (topic, cx) = shard.at(id)?;
                    // Source: Pulsar's `ServerCnx.handleProducer`.
                    if let Some(subscription) = &request.initial_subscription
                        && topic.is_persistent()
                        && topic.subscription_id(subscription).is_err()
                    {
                        if !topic.policies.auto_subscription_creation {
                            let why_not = "Could not create the initial subscription due to the auto subscription creation is \
                                           not allowed.";
                            return Err(Error::NotAllowed(why_not.into()));
                        }
                        let earliest = topic.ledger.first_position().previous();
                        topic.new_cursor(cx, subscription, earliest, true, Default::default());
                    }
                    let (producer, created) = topic.add_producer(cx, &peer, request, generated)?;
                    Ok((id, producer, topic.publish_limit.clone(), created))
                });
                match opened {
                    // A raised topic epoch, a new subscription or what was stored last must not be forgotten once it
                    // was seen.
                    Ok(opened) if !shard.cx.batch.is_empty() || opened.3.last_sequence_id >= 0 => {
                        shard.when_durable(move |_, result| reply.send(result.map(|()| opened)));
                    }
                    other => reply.send(other),
                }
            })
            .await?;
        let shard = u16::try_from(index).unwrap_or(0);
        Ok((ProducerHandle { shard, topic, producer, handle, limit }, created))
    }

    /// Opens a consumer, creating topic and subscription when policy allows it.
    ///
    /// A busy exclusive subscription whose consumer's connection may be dead is tried again after that connection was
    /// pinged; so are sticky hash ranges that are taken. Source: Pulsar's `ServerCnx.checkConnectionLiveness` and
    /// `HashRangeExclusiveStickyKeyConsumerSelector`.
    ///
    /// # Errors
    /// See [`Error`]: no such topic, somebody else is connected, ranges conflict.
    pub async fn subscribe(&self, peer: &Arc<Peer>, request: NewConsumer) -> Result<ConsumerHandle> {
        let name = request.topic.clone();
        self.ensure_topic(&name, request.force_topic_creation).await?;
        if let Some(schema) = request.schema.as_ref().filter(|schema| !schema.is_any()) {
            self.fit_schema(&name, schema.clone()).await?;
        }
        if let Some(rollback) = request.start_rollback.filter(|d| !d.is_zero())
            && let Err(error) = self.roll_back(&request, rollback).await
        {
            tracing::warn!(topic = %name, %error, "a subscription could not be rolled back");
        }
        match self.try_subscribe(peer, request.clone()).await {
            Err(error) if self.may_make_room(&error, &request) => {
                if self.those_in_the_way_are_gone(peer, &request).await {
                    self.try_subscribe(peer, request).await
                } else {
                    Err(error)
                }
            }
            other => other,
        }
    }

    /// Whether it may help that consumers go that are there no more.
    fn may_make_room(&self, error: &Error, request: &NewConsumer) -> bool {
        let exclusive = request.kind == model::SubscriptionType::Exclusive;
        matches!(error, Error::ConsumerBusy(_)) && exclusive || matches!(error, Error::ConsumerAssign(_))
    }

    /// Moves a subscription back (or forward) in time before its consumer is added.
    /// Source: Pulsar's `PersistentTopic.resetSubscriptionCursor`.
    async fn roll_back(&self, request: &NewConsumer, by: Duration) -> Result<()> {
        let (request, ms) = (request.clone(), u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
        self.shard(&request.topic)
            .call_later(move |shard: &mut Shard, reply| {
                let opened = shard.topic(&request.topic).and_then(|id| {
                    let (topic, cx) = shard.at(id)?;
                    Ok((id, topic.find_or_open(cx, &request)?.0))
                });
                let since = SeekTarget::Time(shard.cx.now_ms.saturating_sub(ms));
                match opened {
                    Ok((topic, subscription)) => shard.seek(topic, subscription, since, reply),
                    Err(error) => reply.send(Err(error)),
                }
            })
            .await
    }

    async fn try_subscribe(&self, peer: &Arc<Peer>, request: NewConsumer) -> Result<ConsumerHandle> {
        let index = self.shard_index(&request.topic);
        let handle = self.inner.shards[index].clone();
        let peer = peer.clone();
        let shard::At { topic, subscription, consumer } = handle
            .call_later(move |shard, reply| {
                let opened = shard.topic(&request.topic).and_then(|id| {
                    let (topic, cx) = shard.at(id)?;
                    topic.subscribe(cx, &peer, request)
                });
                match opened {
                    Ok(opened) if !shard.cx.batch.is_empty() => {
                        shard.when_durable(move |_, result| reply.send(result.map(|()| opened)));
                    }
                    other => reply.send(other),
                }
            })
            .await?;
        let shard = u16::try_from(index).unwrap_or(0);
        Ok(ConsumerHandle { shard, topic, subscription, consumer, handle })
    }

    /// Pings the connections of the consumers in the way, and says whether all are gone: all consumers where one wants
    /// to be alone, those whose ranges overlap on a sticky Key_Shared subscription.
    async fn those_in_the_way_are_gone(&self, peer: &Peer, request: &NewConsumer) -> bool {
        let (topic, subscription) = (request.topic.clone(), request.subscription.clone());
        let key_shared = request.key_shared.as_ref().filter(|_| request.kind == SubscriptionType::KeyShared);
        let ranges = key_shared.map(|k| k.ranges.clone());
        let in_the_way = self
            .shard(&request.topic)
            .call(move |shard| {
                let id = shard.topic(&topic).ok()?;
                let (topic, _) = shard.at(id).ok()?;
                let (subscription, _) = topic.subscription(&subscription).ok()?;
                let consumers = subscription.consumers().iter().filter(|c| c.is_in_the_way(ranges.as_deref()));
                Some((id, consumers.map(|c| (c.key, c.peer.clone())).collect::<Vec<_>>()))
            })
            .await;
        let Ok(Some((topic, consumers))) = in_the_way else { return true };
        for (consumer, other) in consumers {
            if !self.is_gone(peer, &other).await {
                return false;
            }
            let closed = self.shard(&request.topic).call(move |shard| {
                if let Ok((topic, cx)) = shard.at(topic) {
                    topic.close_consumer(cx, consumer);
                }
            });
            if closed.await.is_err() {
                return false;
            }
        }
        true
    }

    /// Pings the connection that has a producer of the same name, and says whether the name is free now.
    async fn namesake_is_gone(&self, peer: &Peer, request: &NewProducer) -> bool {
        let (topic, Some(name)) = (request.topic.clone(), request.name.clone()) else { return false };
        let namesake = self
            .shard(&request.topic)
            .call(move |shard| {
                let id = shard.topic(&topic).ok()?;
                let (key, peer) = shard.at(id).ok()?.0.producer_named(&name)?;
                Some((id, key, peer))
            })
            .await;
        let Ok(Some((topic, producer, other))) = namesake else { return false };
        if !self.is_gone(peer, &other).await {
            return false;
        }
        let removed = self.shard(&request.topic).call(move |shard| {
            if let Ok((topic, cx)) = shard.at(topic) {
                topic.remove_producer(cx, producer);
            }
        });
        removed.await.is_ok()
    }

    /// Pings a connection that has what `peer` wants, and closes it when it does not answer.
    /// Source: Pulsar's `ServerCnx.checkConnectionLiveness`.
    async fn is_gone(&self, peer: &Peer, other: &Peer) -> bool {
        if other.id == peer.id && other.is_open() {
            return false;
        }
        let before = other.times_heard();
        other.send(vec![Outgoing::Ping]);
        let deadline = tokio::time::Instant::now() + self.inner.config.connection_liveness_timeout;
        while other.is_open() && tokio::time::Instant::now() < deadline {
            if other.times_heard() != before {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.send(vec![Outgoing::Close { reason: "no answer to a ping while another client waits" }]);
        true
    }

    /// Topics that come and go in a namespace, from now on.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub fn watch_topics(&self, namespace: &NamespaceName) -> Result<broadcast::Receiver<TopicChange>> {
        self.inner.metadata.policies(namespace)?;
        Ok(self.inner.changes.subscribe())
    }

    /// Tells who watches. Called in the topic's shard, so that they hear of one topic in the order of what happened.
    fn teller(&self, change: TopicChange) -> impl FnOnce() + Send + 'static {
        let changes = self.inner.changes.clone();
        move || {
            // Nobody may be watching.
            let _ = changes.send(change);
        }
    }

    /// Counters of the journal, for metrics.
    #[must_use]
    pub fn journal_stats(&self) -> ledger::JournalStats {
        self.inner.store.journal_stats()
    }
}
