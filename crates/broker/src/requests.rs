//! What a connection asks for, as values without protocol types, and the handles it gets back.

use bytes::{Bytes, BytesMut};
use model::{AccessMode, InitialPosition, KeySharedMode, Position, SubscriptionType, TopicName};
use smallvec::SmallVec;
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use crate::{error::Result, peer::Peer, publish_limit::PublishLimit, shard, topic::seek::SeekTarget};

/// CommandProducer.
#[derive(Debug, Clone)]
pub struct NewProducer {
    pub topic: TopicName,
    /// The connection's number for it.
    pub producer_id: u64,
    /// Answered when the producer's turn comes later.
    pub request_id: u64,
    /// `None`: the broker makes one.
    pub name: Option<String>,
    /// A reconnect of the same producer carries a higher epoch.
    pub epoch: u64,
    /// Whether the client chose the name (then a conflict is an error, not a replacement).
    pub user_provided_name: bool,
    pub access_mode: AccessMode,
    pub topic_epoch: Option<u64>,
    pub metadata: BTreeMap<String, String>,
    /// Schema announced, if any.
    pub schema: Option<Schema>,
    /// Subscription created with the topic when it is new (dead letter topics).
    pub initial_subscription: Option<String>,
    /// It says that it encrypts what it publishes.
    pub encrypted: bool,
}

/// A schema as a client announces it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Number of `Schema.Type`.
    pub kind: i32,
    pub name: String,
    pub data: Bytes,
    pub properties: BTreeMap<String, String>,
}

impl Schema {
    /// Takes messages of every schema, and is none itself.
    pub(crate) fn is_any(&self) -> bool {
        self.kind == wire::proto::schema::Type::AutoConsume as i32
    }
}

/// CommandSubscribe.
#[derive(Debug, Clone)]
pub struct NewConsumer {
    pub topic: TopicName,
    pub subscription: String,
    pub kind: SubscriptionType,
    /// The connection's number for it.
    pub consumer_id: u64,
    pub name: String,
    pub priority_level: i32,
    pub durable: bool,
    /// For readers: where to start. `batch_index` is the client's business.
    pub start_message_id: Option<Position>,
    pub start_rollback: Option<std::time::Duration>,
    pub initial_position: InitialPosition,
    pub read_compacted: bool,
    pub force_topic_creation: bool,
    pub replicate_subscription_state: bool,
    pub metadata: BTreeMap<String, String>,
    pub subscription_properties: BTreeMap<String, String>,
    pub key_shared: Option<KeyShared>,
    pub schema: Option<Schema>,
    /// Epoch of the consumer; messages carry it (protocol version 19 or later).
    pub epoch: Option<u64>,
    /// It asks for no more than it needs, and gives back what it has not begun when it hears [`crate::Outgoing::GiveBack`], and says so:
    /// [`Requests::gave_back`]. Others that say
    /// they are a function's have a window, see `subscription::window`.
    pub gives_back: bool,
}

/// KeySharedMeta.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyShared {
    pub mode: KeySharedMode,
    /// For `Sticky`: hash ranges within 0..=65535.
    pub ranges: Vec<RangeInclusive<u32>>,
    pub allow_out_of_order: bool,
}

/// One SEND, parsed as far as the broker needs it.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: u64,
    pub(crate) producer: u64,
    pub sequence_id: u64,
    pub highest_sequence_id: u64,
    pub messages: u32,
    pub is_chunk: bool,
    /// Headers and payload.
    pub data: Bytes,
}

/// A producer as the connection holds it.
#[derive(Debug, Clone)]
pub struct ProducerHandle {
    pub(crate) shard: u16,
    pub(crate) topic: u64,
    pub(crate) producer: u64,
    pub(crate) handle: shard::Handle,
    pub(crate) limit: Arc<PublishLimit>,
}

/// A consumer as the connection holds it.
#[derive(Debug, Clone)]
pub struct ConsumerHandle {
    pub(crate) shard: u16,
    pub(crate) topic: u64,
    pub(crate) subscription: u64,
    pub(crate) consumer: u64,
    pub(crate) handle: shard::Handle,
}

/// CommandAck.
#[derive(Debug)]
pub struct Ack {
    pub cumulative: bool,
    /// Entry and, for a batch acknowledged in part, the words of what is *not* acknowledged.
    pub ids: SmallVec<[(Position, SmallVec<[u64; 2]>); 4]>,
    /// With an id the answer ([`crate::Outgoing::AckResponse`]) comes when the acknowledgement is durable.
    pub request_id: Option<u64>,
    /// Why the client gave up on the message, if it says so (uncompressed size corruption and the like).
    pub validation_error: bool,
}

impl ProducerHandle {
    /// Counts what was published against the topic's rate limit. With a time, the connection should take nothing more
    /// for that long and then ask again, with nothing published.
    #[must_use]
    pub fn pace(&self, messages: u32, bytes: usize) -> Option<Duration> {
        // What a client says of itself is believed as far as it may be true.
        self.limit.publish(messages.min(wire::batch::MESSAGES_MAX), bytes)
    }

    /// Closes the producer. Answers when it is gone and all its receipts are handed to the connection.
    pub async fn close(&self) {
        let (topic, producer) = (self.topic, self.producer);
        let _ = self.handle.call_later(move |shard, reply| shard.close_producer(topic, producer, reply)).await;
    }
}

impl ConsumerHandle {
    pub(crate) fn at(&self) -> shard::At {
        shard::At { topic: self.topic, subscription: self.subscription, consumer: self.consumer }
    }

    /// As [`Requests::flow`], at once.
    pub fn flow(&self, permits: u32) {
        self.operation(What::Flow(permits));
    }

    /// As [`Requests::ack`], at once.
    pub fn ack(&self, ack: Ack) {
        self.operation(What::Ack(ack));
    }

    /// As [`Requests::redeliver`], at once.
    pub fn redeliver(&self, positions: Vec<Position>, epoch: Option<u64>) {
        self.operation(What::Redeliver { positions, epoch });
    }

    fn operation(&self, what: What) {
        let (at, weight) = (self.at(), what.weight());
        self.handle.send(shard::Event::Operations { peer: None, operations: vec![Operation { at, what }], weight });
    }

    /// CommandSeek: disconnects all consumers of the subscription, moves it, answers when that is durable.
    ///
    /// # Errors
    /// [`crate::Error::NotReady`] when another seek is under way.
    pub async fn seek(&self, target: SeekTarget) -> Result<()> {
        let (topic, consumer) = (self.topic, self.consumer);
        self.handle.call_later(move |shard, reply| shard.seek_by_consumer(topic, consumer, target, reply)).await
    }

    /// CommandUnsubscribe: closes this consumer and deletes the subscription.
    ///
    /// # Errors
    /// [`crate::Error::ConsumerBusy`] when others are connected and `force` is off.
    pub async fn unsubscribe(&self, force: bool) -> Result<()> {
        let (topic, consumer) = (self.topic, self.consumer);
        self.handle.call_later(move |shard, reply| shard.unsubscribe(topic, consumer, force, reply)).await
    }

    /// CommandGetLastMessageId: the last message, with its batch index, and the subscription's mark-delete position.
    pub async fn last_message_id(&self) -> Result<LastMessageId> {
        let (topic, consumer) = (self.topic, self.consumer);
        self.handle.call_later(move |shard, reply| shard.last_message_id(topic, consumer, reply)).await
    }

    /// CommandConsumerStats.
    pub async fn stats(&self) -> Result<admin_api::stats::ConsumerStats> {
        let (topic, consumer) = (self.topic, self.consumer);
        self.handle.call(move |shard| shard.consumer_stats(topic, consumer)).await?
    }

    /// Closes the consumer; what it did not acknowledge goes to the others.
    pub async fn close(&self) {
        let (topic, consumer) = (self.topic, self.consumer);
        let _ = self.handle.call(move |shard| shard.close_consumer(topic, consumer)).await;
    }
}

/// Answer to CommandGetLastMessageId. An empty topic is -1:-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastMessageId {
    pub position: Position,
    /// Index of the last message in its batch, -1 when the entry is a single message.
    pub batch_index: i32,
    pub partition: i32,
    pub mark_delete: Option<Position>,
}

/// Collects what one read of a socket asks for, and hands it over with one event for each shard.
#[derive(Debug)]
pub struct Requests {
    per_shard: Vec<ForShard>,
    bytes: usize,
    is_empty: bool,
}

#[derive(Debug, Default)]
struct ForShard {
    publishes: Vec<Publish>,
    operations: Vec<Operation>,
    weight: usize,
}

/// What a consumer asks for.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) at: shard::At,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Flow(u32),
    Ack(Ack),
    Redeliver { positions: Vec<Position>, epoch: Option<u64> },
    GiveBack { positions: Vec<Position> },
    GaveBack,
}

impl What {
    /// About how much memory and work it is, in words.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Flow(_) | Self::GaveBack => 1,
            Self::Ack(ack) => 1 + ack.ids.iter().map(|(_, words)| 1 + words.len()).sum::<usize>(),
            Self::Redeliver { positions, .. } | Self::GiveBack { positions } => 1 + positions.len(),
        }
    }
}

impl Requests {
    pub(crate) fn new(shards: usize) -> Self {
        Self { per_shard: (0..shards).map(|_| ForShard::default()).collect(), bytes: 0, is_empty: true }
    }

    fn of(&mut self, shard: u16) -> &mut ForShard {
        self.is_empty = false;
        &mut self.per_shard[usize::from(shard)]
    }

    /// Adds one SEND. `data` is kept byte for byte; its checksum has been verified.
    pub fn publish(
        &mut self,
        producer: &ProducerHandle,
        sequence_id: u64,
        highest: u64,
        messages: u32,
        is_chunk: bool,
        data: Bytes,
    ) {
        self.bytes += data.len();
        self.of(producer.shard).publishes.push(Publish {
            topic: producer.topic,
            producer: producer.producer,
            sequence_id,
            highest_sequence_id: highest,
            messages,
            is_chunk,
            data,
        });
    }

    fn operation(&mut self, consumer: &ConsumerHandle, what: What) {
        let of = self.of(consumer.shard);
        of.weight += what.weight();
        of.operations.push(Operation { at: consumer.at(), what });
    }

    /// CommandFlow.
    pub fn flow(&mut self, consumer: &ConsumerHandle, permits: u32) {
        self.operation(consumer, What::Flow(permits));
    }

    /// CommandAck; the answer, if one is asked for, comes as [`crate::Outgoing::AckResponse`].
    pub fn ack(&mut self, consumer: &ConsumerHandle, ack: Ack) {
        self.operation(consumer, What::Ack(ack));
    }

    /// CommandRedeliverUnacknowledgedMessages: these entries, or all when empty.
    pub fn redeliver(&mut self, consumer: &ConsumerHandle, positions: Vec<Position>, epoch: Option<u64>) {
        self.operation(consumer, What::Redeliver { positions, epoch });
    }

    /// Entries that the consumer has not begun, for others: this is no failed delivery, and is not counted as one.
    pub fn give_back(&mut self, consumer: &ConsumerHandle, positions: Vec<Position>) {
        self.operation(consumer, What::GiveBack { positions });
    }

    /// One [`crate::Outgoing::GiveBack`] is answered: by all that was given back before this.
    pub fn gave_back(&mut self, consumer: &ConsumerHandle) {
        self.operation(consumer, What::GaveBack);
    }

    /// Whether there is nothing to hand over.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Bytes of entries waiting to be handed over.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the entries a buffer of their own.
    pub fn detach(&mut self) {
        let mut own = BytesMut::with_capacity(self.bytes);
        for publish in self.per_shard.iter_mut().flat_map(|of| &mut of.publishes) {
            own.extend_from_slice(&publish.data);
            publish.data = own.split().freeze();
        }
    }

    /// Hands everything over; returns the bytes of entries.
    pub(crate) fn submit(&mut self, peer: &Arc<Peer>, shards: &[shard::Handle]) -> usize {
        for (shard, of) in shards.iter().zip(&mut self.per_shard) {
            if !of.publishes.is_empty() {
                let publishes = std::mem::take(&mut of.publishes);
                peer.add_pending_publishes(publishes.len() as i64);
                shard.send(shard::Event::Publish(peer.clone(), publishes));
            }
            if !of.operations.is_empty() {
                let (operations, weight) = (std::mem::take(&mut of.operations), std::mem::take(&mut of.weight));
                peer.add_pending_weight(weight);
                shard.send(shard::Event::Operations { peer: Some(peer.clone()), operations, weight });
            }
        }
        self.is_empty = true;
        std::mem::take(&mut self.bytes)
    }
}
