//! Publishing: one [`Producer`] over the partitions of a topic, one lane for each of them.
//!
//! A lane numbers messages, fills batches and keeps every entry until its receipt, so that after a lost connection it can
//! send them again in order. Receipts arrive in the order of the sends. Invariant: whatever is in `pending` was written to
//! the connection in `link`, or `link` is down. Source: Pulsar's `ProducerImpl`.

use crate::{
    Batching, Connection, Error, Outgoing, ProducerEvents, Result,
    batcher::{self, Batcher, Encoded, Stamp},
    client::{Inner, random_share},
    hot,
};
use bytes::{BufMut, Bytes, BytesMut};
use model::{AccessMode, MessageId, Position, TopicName};
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use wire::proto::{self, CompressionType, ServerError};

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
        loop {
            let mut room = pin!(lane.room.notified());
            room.as_mut().enable();
            if let Some(publication) = lane.try_enqueue(&message)? {
                return Ok(publication);
            }
            room.await;
        }
    }

    /// Publishes these as one entry under one sequence id, to a topic that is not partitioned or one partition of it; returns what to
    /// wait for. Where deduplication is on, the entry is stored once, however often it is published. Waits itself only while too much is
    /// pending.
    ///
    /// Once one of these entries is refused the producer has failed: were a later one stored, the broker would take the refused one for a
    /// duplicate when it comes again. For the same reason nothing is sent after an entry that may be refused all by itself (it is larger
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
        loop {
            let mut room = pin!(lane.room.notified());
            room.as_mut().enable();
            if let Some(publication) = lane.try_enqueue_entry(messages, sequence_id)? {
                return Ok(publication);
            }
            room.await;
        }
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
            (Some(key), n) => java_hash(key) as usize % n,
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

/// `String.hashCode` without its sign, so that a key goes to the partition that a Java client chooses (Pulsar:
/// `JavaStringHash`, the default of `ProducerBuilder.hashingScheme`).
fn java_hash(key: &str) -> u32 {
    key.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit))) & 0x7fff_ffff
}

/// The producer of one partition.
struct Lane {
    client: Arc<Inner>,
    topic: TopicName,
    id: u64,
    options: Options,
    state: Mutex<State>,
    /// For the driving task: the link is down, a batch was begun, or it is over.
    wake: Notify,
    /// For those who wait for room or for a flush.
    room: Notify,
}

struct State {
    link: Link,
    /// The link went down after the current attempt to attach began.
    lost: bool,
    /// It failed, and is still registered on this connection.
    left: Option<Arc<Connection>>,
    /// The largest message that can be sent, as the broker said last.
    max_message_bytes: usize,
    /// Of the entries of their own numbers, the largest that was stored.
    largest_stored: usize,
    stamp: Stamp,
    epoch: u64,
    topic_epoch: Option<u64>,
    next_sequence_id: Option<u64>,
    last_stored: i64,
    batcher: Option<Batcher>,
    batch_waiting: Vec<oneshot::Sender<Result<MessageId>>>,
    batch_bytes: usize,
    batch_due: Option<Instant>,
    pending: VecDeque<Pending>,
    pending_messages: usize,
    pending_bytes: usize,
}

enum Link {
    Down,
    Up(Arc<Connection>),
    Over(Error),
}

/// An entry without its receipt.
struct Pending {
    sequence_id: u64,
    highest_sequence_id: u64,
    frame: Bytes,
    is_batch: bool,
    /// Of the payloads before they were compressed.
    bytes: usize,
    /// Of the payload as it is sent, and the same with its metadata.
    payload_bytes: usize,
    sent_bytes: usize,
    kind: Kind,
    waiting: Vec<oneshot::Sender<Result<MessageId>>>,
}

/// What an entry means to those after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Free,
    /// Nothing may be stored after it when it is refused.
    Numbered,
    /// Besides, it may be refused although what follows is not.
    Alone,
}

impl Lane {
    fn new(client: Arc<Inner>, topic: TopicName, options: Options) -> Self {
        let state = State {
            link: Link::Down,
            lost: false,
            left: None,
            max_message_bytes: usize::MAX,
            largest_stored: 0,
            stamp: Stamp {
                producer_name: options.name.clone().unwrap_or_default(),
                compression: options.compression,
                schema_version: None,
            },
            epoch: 0,
            topic_epoch: None,
            next_sequence_id: options.initial_sequence_id.map(|id| (id + 1).max(0) as u64),
            last_stored: options.initial_sequence_id.unwrap_or(-1),
            batcher: options.batching.map(Batcher::new),
            batch_waiting: Vec::new(),
            batch_bytes: 0,
            batch_due: None,
            pending: VecDeque::new(),
            pending_messages: 0,
            pending_bytes: 0,
        };
        Self {
            id: client.next_id(),
            client,
            topic,
            options,
            state: Mutex::new(state),
            wake: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Finds the broker, creates the producer there and sends what is pending.
    async fn attach(self: &Arc<Self>) -> Result<()> {
        let connection = self.client.connection_for(&self.topic, self.id as usize).await?;
        let command = {
            let mut state = self.state.lock();
            state.lost = false;
            state.epoch += 1;
            let name = &state.stamp.producer_name;
            proto::CommandProducer {
                topic: self.topic.to_string(),
                producer_id: self.id,
                producer_name: (!name.is_empty()).then(|| name.clone()),
                user_provided_producer_name: Some(self.options.name.is_some()),
                metadata: crate::message::key_values(&self.options.properties),
                schema: self.options.schema.clone(),
                epoch: Some(state.epoch - 1),
                topic_epoch: state.topic_epoch,
                producer_access_mode: Some(self.options.access as i32),
                ..Default::default()
            }
        };
        // Who waits for its turn may wait for days.
        let wait = (self.options.access != AccessMode::WaitForExclusive).then_some(self.client.config.request_timeout);
        let success = connection.create_producer(command, self.clone(), wait).await?;
        let mut state = self.state.lock();
        match &state.link {
            // Closed while we were at it: nobody else will close what was just created.
            Link::Over(error) => {
                let error = error.clone();
                drop(state);
                connection.abandon_producer(self.id);
                return Err(error);
            }
            _ if state.lost => {
                return Err(Error::Disconnected {
                    address: connection.address().into(),
                    why: "the producer was closed as soon as it was created".into(),
                });
            }
            _ => {}
        }
        let last_sequence_id = success.last_sequence_id();
        state.next_sequence_id.get_or_insert((last_sequence_id + 1).max(0) as u64);
        state.last_stored = state.last_stored.max(last_sequence_id);
        state.topic_epoch = success.topic_epoch;
        state.stamp.schema_version = success.schema_version.map(|version| version.to_vec()).filter(|v| !v.is_empty());
        state.stamp.producer_name = success.producer_name;
        state.max_message_bytes = connection.max_message_bytes();
        let (mut failed, mut has_room) = (None, false);
        for entry in state.take_unfit() {
            has_room = true;
            let error = Error::TooLarge { bytes: entry.payload_bytes, limit: state.max_message_bytes };
            failed = failed.or_else(|| (entry.kind != Kind::Free).then(|| error.clone()));
            fail(entry.waiting, &error);
        }
        if let Some(error) = failed {
            drop(state);
            connection.abandon_producer(self.id);
            return Err(error);
        }
        for pending in &state.pending {
            connection.write(|out| out.put_slice(&pending.frame));
        }
        state.link = Link::Up(connection);
        drop(state);
        if has_room {
            self.room.notify_waiters();
        }
        Ok(())
    }

    /// Runs until the producer is over: closes batches when they are due, attaches again when the link is lost.
    async fn drive(self: Arc<Self>) {
        loop {
            let due = {
                let mut state = self.state.lock();
                match &state.link {
                    Link::Over(_) => {
                        let left = state.left.take();
                        drop(state);
                        if let Some(connection) = left {
                            connection.abandon_producer(self.id);
                        }
                        return;
                    }
                    Link::Down => None,
                    Link::Up(_) => Some(state.batch_due),
                }
            };
            match due {
                None => self.attach_again().await,
                Some(None) => self.wake.notified().await,
                Some(Some(due)) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {
                        let mut state = self.state.lock();
                        if state.batch_due.is_some_and(|due| due <= Instant::now()) {
                            self.close_batch(&mut state);
                        }
                    }
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    async fn attach_again(self: &Arc<Self>) {
        let Some(backoff) = self.client.config.reconnect else { return };
        let mut waits = backoff.waits(random_share());
        loop {
            let error = match self.attach().await {
                Ok(()) => return tracing::debug!(topic = %self.topic, "producer attached again"),
                Err(error) => error,
            };
            // The broker may not have noticed yet that our former connection is gone.
            let may_help = error.is_retryable() || error.code() == Some(ServerError::ProducerBusy);
            let Some(wait) = waits.next().filter(|_| may_help) else {
                self.end(error);
                return;
            };
            tracing::debug!(topic = %self.topic, %error, ?wait, "producer can't be attached yet");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
            }
            if matches!(self.state.lock().link, Link::Over(_)) {
                return;
            }
        }
    }

    /// `Ok(None)`: there is no room now.
    fn try_enqueue(&self, message: &Outgoing) -> Result<Option<Publication>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Link::Over(error) = &state.link {
            return Err(error.clone());
        }
        let limit = state.max_message_bytes;
        let bytes = message.payload.len();
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        let waiting_bytes = state.pending_bytes + state.batch_bytes;
        let waiting_messages = state.pending_messages + state.batch_waiting.len();
        if waiting_messages >= self.options.pending_messages_max
            || (waiting_bytes > 0 && waiting_bytes + bytes > self.options.pending_bytes_max)
        {
            // What is being collected must leave, or nobody would ever make room.
            self.close_batch(state);
            return Ok(None);
        }
        let sequence_id = message.sequence_id.unwrap_or(state.next_sequence_id.unwrap_or(0));
        state.next_sequence_id = Some(sequence_id + 1);
        let (stored, publication) = oneshot::channel();
        match &mut state.batcher {
            // A delayed message can't share its delivery time with others.
            Some(batcher) if message.deliver_at_ms.is_none() => {
                if batcher.must_close_before(message) {
                    self.close_batch(state);
                }
                let Some(batcher) = &mut state.batcher else { unreachable!("a lane keeps its batcher") };
                let is_first = batcher.is_empty();
                let is_full = batcher.push(message, sequence_id);
                state.batch_waiting.push(stored);
                state.batch_bytes += bytes;
                if is_full {
                    self.close_batch(state);
                } else if is_first {
                    state.batch_due = Some(Instant::now() + self.options.batching.map(|b| b.delay).unwrap_or_default());
                    self.wake.notify_one();
                }
            }
            _ => {
                self.close_batch(state);
                let encoded = batcher::single(message, sequence_id, &state.stamp, now_ms());
                self.push(state, encoded, false, bytes, Kind::Free, vec![stored]);
            }
        }
        Ok(Some(Publication(publication)))
    }

    /// `Ok(None)`: there is no room now.
    fn try_enqueue_entry(&self, messages: &[Outgoing], sequence_id: u64) -> Result<Option<Publication>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Link::Over(error) = &state.link {
            return Err(error.clone());
        }
        let limit = state.max_message_bytes;
        self.close_batch(state);
        let bytes = messages.iter().map(|message| message.payload.len()).sum();
        if state.pending_messages >= self.options.pending_messages_max
            || (state.pending_bytes > 0 && state.pending_bytes + bytes > self.options.pending_bytes_max)
            || state.pending.back().is_some_and(|last| last.kind == Kind::Alone)
        {
            return Ok(None);
        }
        let Some(encoded) = batcher::entry(messages, sequence_id, &state.stamp, now_ms()) else {
            return Err(Error::Mixed("nothing"));
        };
        // What is compressed is checked as it is sent, as the broker does.
        let sent = encoded.payload.len();
        if sent > limit {
            return Err(Error::TooLarge { bytes: sent, limit });
        }
        let is_delayed = encoded.metadata.deliver_at_time.is_some();
        let kind = if is_delayed || sent_bytes(&encoded) > state.largest_stored { Kind::Alone } else { Kind::Numbered };
        state.next_sequence_id = Some(sequence_id + 1);
        let (stored, publication) = oneshot::channel();
        self.push(state, encoded, messages.len() > 1, bytes, kind, vec![stored]);
        Ok(Some(Publication(publication)))
    }

    fn close_batch(&self, state: &mut State) {
        let Some(encoded) = state.batcher.as_mut().and_then(|batcher| batcher.take(&state.stamp, now_ms())) else {
            return;
        };
        state.batch_due = None;
        let waiting = std::mem::take(&mut state.batch_waiting);
        let bytes = std::mem::take(&mut state.batch_bytes);
        self.push(state, encoded, true, bytes, Kind::Free, waiting);
    }

    fn push(
        &self,
        state: &mut State,
        encoded: Encoded,
        is_batch: bool,
        bytes: usize,
        kind: Kind,
        waiting: Vec<oneshot::Sender<Result<MessageId>>>,
    ) {
        let frame = self.frame(&encoded, is_batch);
        if let Link::Up(connection) = &state.link {
            connection.write(|out| out.put_slice(&frame));
        }
        state.pending_messages += waiting.len();
        state.pending_bytes += bytes;
        state.pending.push_back(Pending {
            sequence_id: encoded.metadata.sequence_id,
            highest_sequence_id: encoded.highest_sequence_id,
            frame,
            is_batch,
            bytes,
            payload_bytes: encoded.payload.len(),
            sent_bytes: sent_bytes(&encoded),
            kind,
            waiting,
        });
    }

    fn frame(&self, encoded: &Encoded, is_batch: bool) -> Bytes {
        let send = hot::Send {
            producer_id: self.id,
            sequence_id: encoded.metadata.sequence_id,
            highest_sequence_id: is_batch.then_some(encoded.highest_sequence_id),
            messages: encoded.messages,
            producer_name: "",
            publish_time_ms: 0,
            is_batch,
        };
        let mut frame = BytesMut::with_capacity(96 + encoded.metadata.encoded_len() + encoded.payload.len());
        send.write_with(
            &mut frame,
            |out| encoded.metadata.encode(out).expect("a BytesMut grows"),
            |out| out.put_slice(&encoded.payload),
        );
        frame.freeze()
    }

    async fn flush(&self) -> Result<()> {
        let target = {
            let mut state = self.state.lock();
            self.close_batch(&mut state);
            match state.pending.back() {
                Some(last) => last.sequence_id,
                None => return Ok(()),
            }
        };
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            {
                let state = self.state.lock();
                if let Link::Over(error) = &state.link {
                    return Err(error.clone());
                }
                if state.pending.front().is_none_or(|first| first.sequence_id > target) {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Fails everything that waits; returns the connection the producer is still registered on. Only the first reason
    /// counts.
    fn end(&self, error: Error) -> Option<Arc<Connection>> {
        let (left, waiting) = self.state.lock().end(&error);
        self.ended(waiting, &error);
        left
    }

    fn ended(&self, waiting: Vec<oneshot::Sender<Result<MessageId>>>, error: &Error) {
        fail(waiting, error);
        self.wake.notify_one();
        self.room.notify_waiters();
    }

    fn partition(&self) -> i32 {
        self.topic.partition().map_or(-1, |index| index as i32)
    }
}

impl State {
    /// Ends the producer, unless it has: the connection it is still registered on, and who waits.
    fn end(&mut self, error: &Error) -> (Option<Arc<Connection>>, Vec<oneshot::Sender<Result<MessageId>>>) {
        // Whoever closes it takes over what a failure left to be closed.
        let left = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Over(first) => {
                self.link = Link::Over(first);
                return (self.left.take(), Vec::new());
            }
            Link::Up(connection) => Some(connection),
            Link::Down => None,
        };
        self.link = Link::Over(error.clone());
        let pending = std::mem::take(&mut self.pending);
        let batch = std::mem::take(&mut self.batch_waiting);
        (self.pending_messages, self.pending_bytes, self.batch_bytes) = (0, 0, 0);
        (left, pending.into_iter().flat_map(|entry| entry.waiting).chain(batch).collect())
    }

    /// Takes the entry with this sequence id off the front. Receipts come in order, so older ones belong to entries that
    /// were sent twice and are known already. A receipt names the first message of a batch, a refusal the last one (Pulsar's
    /// `Producer.MessagePublishContext.completed`).
    fn settle(&mut self, sequence_id: u64) -> Option<Pending> {
        let first = self.pending.front()?;
        if ![first.sequence_id, first.highest_sequence_id].contains(&sequence_id) {
            return None;
        }
        let entry = self.pending.pop_front()?;
        self.forget(&entry);
        Some(entry)
    }

    fn forget(&mut self, entry: &Pending) {
        self.pending_messages -= entry.waiting.len();
        self.pending_bytes -= entry.bytes;
    }

    /// Takes what the broker would not even read: it may be another one now, with another limit.
    fn take_unfit(&mut self) -> Vec<Pending> {
        let limit = self.max_message_bytes;
        let (unfit, fit): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|entry| entry.payload_bytes > limit);
        self.pending = fit.into();
        unfit.iter().for_each(|entry| self.forget(entry));
        unfit
    }
}

impl ProducerEvents for Lane {
    fn receipt(&self, receipt: hot::Receipt) {
        let entry = {
            let mut state = self.state.lock();
            let Some(entry) = state.settle(receipt.sequence_id) else { return };
            state.last_stored = state.last_stored.max(entry.highest_sequence_id as i64);
            // A duplicate was not looked at.
            if entry.kind != Kind::Free && receipt.position.is_some_and(|position| position.entry >= 0) {
                state.largest_stored = state.largest_stored.max(entry.sent_bytes);
            }
            entry
        };
        let position = receipt.position.unwrap_or(Position::new(u64::MAX, -1));
        for (index, waiting) in entry.waiting.into_iter().enumerate() {
            let batch_index = if entry.is_batch { index as i32 } else { -1 };
            let _ = waiting.send(Ok(MessageId { position, partition: self.partition(), batch_index }));
        }
    }

    fn refused(&self, sequence_id: u64, error: Error) {
        let mut state = self.state.lock();
        let Some(entry) = state.settle(sequence_id) else { return };
        fail(entry.waiting, &error);
        if entry.kind == Kind::Free {
            drop(state);
            return self.room.notify_waiters();
        }
        // The connection cannot be told from here: the driving task closes it.
        let (left, waiting) = state.end(&error);
        state.left = left;
        drop(state);
        self.ended(waiting, &error);
    }

    fn lost(&self, error: Error) {
        if self.client.config.reconnect.is_none() {
            self.end(error);
            return;
        }
        let mut state = self.state.lock();
        state.lost = true;
        if let Link::Up(_) = state.link {
            state.link = Link::Down;
        }
        drop(state);
        self.wake.notify_one();
    }

    fn burst_end(&self) {
        self.room.notify_waiters();
    }
}

fn fail(waiting: Vec<oneshot::Sender<Result<MessageId>>>, error: &Error) {
    for waiting in waiting {
        let _ = waiting.send(Err(error.clone()));
    }
}

/// What brokers compare with the limits of a topic.
fn sent_bytes(encoded: &Encoded) -> usize {
    encoded.metadata.encoded_len() + encoded.payload.len()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests;
