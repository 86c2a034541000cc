//! Publishing: one [`Producer`] over the partitions of a topic, one lane for each of them.
//!
//! A lane numbers messages, fills batches and keeps every entry until its receipt, so that after a lost connection it can
//! send them again in order. Receipts arrive in the order of the sends. Invariant: whatever is in `pending` was written to
//! the connection in `link`, or `link` is down. Source: Pulsar's `ProducerImpl`.

mod lane;

use self::lane::Lane;
use crate::{Batching, Error, Outgoing, Result, client::Inner, message::Opened};
use model::{AccessMode, MessageId, TopicName};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;
use wire::proto::{self, CompressionType};

/// Prepares a [`Producer`]; made by [`Client::producer`](crate::Client::producer).
#[derive(Clone)]
pub struct ProducerBuilder {
    client: Arc<Inner>,
    topic: String,
    options: Options,
}

#[derive(Clone)]
struct Options {
    name: Option<String>,
    access: AccessMode,
    batching: Option<Batching>,
    compression: CompressionType,
    initial_sequence_id: Option<i64>,
    pending_messages_max: usize,
    pending_bytes_max: usize,
    properties: Vec<(String, String)>,
    schema: Option<proto::Schema>,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Arc<Inner>, topic: &str) -> Self {
        let options = Options {
            name: None,
            access: AccessMode::Shared,
            batching: None,
            compression: CompressionType::None,
            initial_sequence_id: None,
            pending_messages_max: 1000,
            pending_bytes_max: 64 << 20,
            properties: Vec::new(),
            schema: None,
        };
        Self { client, topic: topic.to_owned(), options }
    }

    /// Its name, which deduplication goes by; the broker makes one up otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Who may produce beside it.
    #[must_use]
    pub fn access(mut self, access: AccessMode) -> Self {
        self.options.access = access;
        self
    }

    /// Several messages become one entry. Without this each message is an entry of its own.
    #[must_use]
    pub fn batching(mut self, batching: Batching) -> Self {
        self.options.batching = Some(batching);
        self
    }

    /// How payloads are compressed.
    #[must_use]
    pub fn compression(mut self, compression: CompressionType) -> Self {
        self.options.compression = compression;
        self
    }

    /// The first message gets the next number; the broker's last one of this name is used otherwise.
    #[must_use]
    pub fn initial_sequence_id(mut self, id: i64) -> Self {
        self.options.initial_sequence_id = Some(id);
        self
    }

    /// How much may wait for receipts, per partition; more makes [`Producer::enqueue`] wait.
    #[must_use]
    pub fn pending(mut self, messages: usize, bytes: usize) -> Self {
        self.options.pending_messages_max = messages.max(1);
        self.options.pending_bytes_max = bytes.max(1);
        self
    }

    /// A pair that the topic's stats show.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.properties.push((name.into(), value.into()));
        self
    }

    /// The schema its messages are written with.
    #[must_use]
    pub fn schema(mut self, schema: proto::Schema) -> Self {
        self.options.schema = Some(schema);
        self
    }

    /// Creates it on every partition of the topic.
    ///
    /// # Errors
    /// [`Error::TopicName`]; [`Error::Broker`] with `ProducerBusy` or `ProducerFenced` when the access mode forbids it;
    /// whatever lookup and connection say.
    pub async fn create(self) -> Result<Producer> {
        let topic: TopicName = self.topic.parse()?;
        let parts = self.client.parts(&topic).await?;
        let mut producer = Producer { lanes: Vec::with_capacity(parts.len()), turn: AtomicU32::new(0), sticky: 1 };
        if let Some(batching) = &self.options.batching {
            producer.sticky = batching.messages.max(1);
        }
        for part in parts {
            let lane = Arc::new(Lane::new(self.client.clone(), part, self.options.clone()));
            // Pushed first, so that what was created is closed when a later one fails.
            producer.lanes.push(lane.clone());
            lane.attach().await?;
            tokio::spawn(lane.drive());
        }
        Ok(producer)
    }
}

/// Publishes to one topic. Dropping it closes it and gives up what is not stored yet; [`close`](Self::close) waits.
pub struct Producer {
    lanes: Vec<Arc<Lane>>,
    turn: AtomicU32,
    /// Messages without a key that go to one partition before it is the next one's turn: a batch.
    sticky: u32,
}

/// Resolves when the message is stored, with its id. A duplicate has position `-1:-1`, as the broker says it.
#[derive(Debug)]
pub struct Publication(oneshot::Receiver<Result<MessageId>>);

impl Future for Publication {
    type Output = Result<MessageId>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Err(Error::Closed)))
    }
}

impl Producer {
    /// Its name on the first partition, which is the same on all if it was given.
    #[must_use]
    pub fn name(&self) -> String {
        self.lanes.first().map(|lane| lane.state.lock().stamp.producer_name.clone()).unwrap_or_default()
    }

    /// The sequence id of the last message stored on any partition, -1 if there is none yet.
    #[must_use]
    pub fn last_sequence_id(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.state.lock().last_stored).max().unwrap_or(-1)
    }

    /// Publishes and waits until it is stored.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue) and [`Publication`].
    pub async fn send(&self, message: impl Into<Outgoing>) -> Result<MessageId> {
        self.enqueue(message).await?.await
    }

    /// Hands a message over and returns what to wait for; waits itself only while too much is pending.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Closed`]; or why the producer failed.
    pub async fn enqueue(&self, message: impl Into<Outgoing>) -> Result<Publication> {
        let message = message.into();
        let lane = &self.lanes[self.route(&message)];
        if let Some(publication) = lane.try_enqueue(&message)? {
            return Ok(publication);
        }
        lane.when_room(|| lane.try_enqueue(&message)).await
    }

    /// Publishes these as one entry under one sequence id, to a topic that is not partitioned or one partition of it; returns what to
    /// wait for. Where deduplication is on, the entry is stored once, however often it is published. Waits itself only while too much is
    /// pending.
    ///
    /// Once one of these entries is refused for good the producer has failed: were a later one stored, the broker would take the refused one
    /// for a duplicate when it comes again. For the same reason nothing is sent after an entry that may be refused all by itself (it is larger
    /// than any before, or delayed) until that is stored. Source: `PersistentTopic.isExceedMaximumMessageSize` and
    /// `isExceedMaximumDeliveryDelay`, which look at policies that no client is told of.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: all of them together are; [`Error::Mixed`]; [`Error::Closed`]; or why the producer failed.
    pub async fn enqueue_entry(&self, messages: &[Outgoing], sequence_id: u64) -> Result<Publication> {
        let [lane] = &self.lanes[..] else { return Err(Error::Mixed("partitions")) };
        if messages.len() > 1 && messages.iter().any(|message| message.deliver_at_ms.is_some()) {
            return Err(Error::Mixed("delayed and other messages"));
        }
        lane.when_room(|| lane.try_enqueue_entry(messages, sequence_id)).await
    }

    /// Publishes an entry that somebody else made, to one partition (by its index, 0 where there are none): as it is, but for who publishes
    /// it, when, and under which number. With a number it is as with [`enqueue_entry`](Self::enqueue_entry); without, the producer counts.
    /// The version of a schema in it must be one that this topic has.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Mixed`]: there is no such partition; [`Error::Closed`]; or why the producer failed.
    pub async fn enqueue_made(
        &self,
        partition: usize,
        entry: &Opened,
        sequence_id: Option<u64>,
    ) -> Result<Publication> {
        let lane = self.lanes.get(partition).ok_or(Error::Mixed("a partition that is not there"))?;
        lane.when_room(|| lane.try_enqueue_made(entry, sequence_id)).await
    }

    /// The topic, or its partitions in their order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &TopicName> {
        self.lanes.iter().map(|lane| &lane.topic)
    }

    /// Lets go what is being collected: nothing more will come soon.
    pub fn close_batches(&self) {
        for lane in &self.lanes {
            lane.close_batch(&mut lane.state.lock());
        }
    }

    /// Closes open batches and waits until everything handed over before is stored.
    ///
    /// # Errors
    /// Why the producer failed. Single refused messages are reported by their [`Publication`] only.
    pub async fn flush(&self) -> Result<()> {
        for lane in &self.lanes {
            lane.flush().await?;
        }
        Ok(())
    }

    /// Flushes, then closes.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); it is closed all the same.
    pub async fn close(self) -> Result<()> {
        let flushed = self.flush().await;
        for lane in &self.lanes {
            if let Some(connection) = lane.end(Error::Closed) {
                connection.close_producer(lane.id, lane.client.config.request_timeout).await?;
            }
        }
        flushed
    }

    /// The partition: by key, else round robin, a batch at a time.
    fn route(&self, message: &Outgoing) -> usize {
        match (&message.key, self.lanes.len()) {
            (_, 1) => 0,
            (Some(key), n) => partition_of(key, n),
            (None, n) => (self.turn.fetch_add(1, Ordering::Relaxed) / self.sticky) as usize % n,
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        for lane in &self.lanes {
            if let Some(connection) = lane.end(Error::Closed) {
                connection.abandon_producer(lane.id);
            }
        }
    }
}

/// The partition, of so many, that messages of this key go to where nobody says otherwise.
#[must_use]
pub fn partition_of(key: &str, partitions: usize) -> usize {
    java_hash(key) as usize % partitions.max(1)
}

/// `String.hashCode` without its sign, so that a key goes to the partition that a Java client chooses (Pulsar:
/// `JavaStringHash`, the default of `ProducerBuilder.hashingScheme`).
fn java_hash(key: &str) -> u32 {
    key.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit))) & 0x7fff_ffff
}

#[cfg(test)]
mod tests;
