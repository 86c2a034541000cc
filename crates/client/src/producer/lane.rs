//! The part of a producer that has one partition: numbers, batches, and what waits for its receipt.

use super::{Options, Publication};
use crate::{
    Connection, Error, Outgoing, ProducerEvents, Result,
    batcher::{self, Batcher, Encoded, Stamp},
    client::{Inner, random_share},
    hot,
    link::Link,
    message::Opened,
};
use bytes::{BufMut, Bytes, BytesMut};
use model::{AccessMode, MessageId, Position, TopicName};
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use wire::proto::{self, ServerError};

/// The producer of one partition.
pub(super) struct Lane {
    pub(super) client: Arc<Inner>,
    pub(super) topic: TopicName,
    pub(super) id: u64,
    options: Options,
    pub(super) state: Mutex<State>,
    /// For the driving task: the link is down, a batch was begun, or it is over.
    wake: Notify,
    /// For those who wait for room or for a flush.
    pub(super) room: Notify,
}

pub(super) struct State {
    pub(super) link: Link,
    /// The link went down after the current attempt to attach began.
    lost: bool,
    /// It failed or is to be made anew, and is still registered on this connection.
    left: Option<Arc<Connection>>,
    /// Since one was stored last: the waits of entries that were refused for now, and the one that was not waited yet.
    waits: Option<Box<dyn Iterator<Item = Duration> + Send>>,
    wait: Option<Duration>,
    /// The largest message that can be sent, as the broker said last.
    max_message_bytes: usize,
    /// Of the entries of their own numbers, the largest that was stored.
    largest_stored: usize,
    pub(super) stamp: Stamp,
    epoch: u64,
    topic_epoch: Option<u64>,
    next_sequence_id: Option<u64>,
    pub(super) last_stored: i64,
    batcher: Option<Batcher>,
    batch_waiting: Vec<oneshot::Sender<Result<MessageId>>>,
    batch_bytes: usize,
    batch_due: Option<Instant>,
    pending: VecDeque<Pending>,
    pending_messages: usize,
    pending_bytes: usize,
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
    pub(super) fn new(client: Arc<Inner>, topic: TopicName, options: Options) -> Self {
        let state = State {
            link: Link::Down,
            lost: false,
            left: None,
            waits: None,
            wait: None,
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
    pub(super) async fn attach(self: &Arc<Self>) -> Result<()> {
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
        if let Err(error) = state.link.may_rise(state.lost, &connection, "producer") {
            let is_over = state.link.is_over();
            drop(state);
            if is_over {
                // Closed while we were at it: nobody else will close what was just created.
                connection.abandon_producer(self.id);
            }
            return Err(error);
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
    pub(super) async fn drive(self: Arc<Self>) {
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

    /// Enqueues once there is room for it.
    pub(super) async fn when_room(
        &self,
        mut enqueue: impl FnMut() -> Result<Option<Publication>>,
    ) -> Result<Publication> {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if let Some(publication) = enqueue()? {
                return Ok(publication);
            }
            room.await;
        }
    }

    async fn attach_again(self: &Arc<Self>) {
        let Some(backoff) = self.client.config.reconnect else { return };
        self.make_room_for_another().await;
        let mut waits = backoff.waits(random_share());
        loop {
            if self.state.lock().link.is_over() {
                return;
            }
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
        }
    }

    /// After an entry was refused for now: ends the producer, and waits a little.
    async fn make_room_for_another(&self) {
        let (left, wait) = {
            let mut state = self.state.lock();
            (state.left.take(), state.wait.take())
        };
        if let Some(connection) = left {
            // What it had sent is decided when this is answered; without an answer the connection is about to go.
            let closed = connection.close_producer(self.id, self.client.config.request_timeout).await;
            tracing::debug!(topic = %self.topic, ?closed, ?wait, "an entry was refused; the producer is made anew");
        }
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }

    /// `Ok(None)`: there is no room now.
    pub(super) fn try_enqueue(&self, message: &Outgoing) -> Result<Option<Publication>> {
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

    /// Nothing goes after one that may be refused all by itself.
    fn has_room_for_entry(&self, state: &State, bytes: usize) -> bool {
        state.pending_messages < self.options.pending_messages_max
            && (state.pending_bytes == 0 || state.pending_bytes + bytes <= self.options.pending_bytes_max)
            && state.pending.back().is_none_or(|last| last.kind != Kind::Alone)
    }

    /// `Ok(None)`: there is no room now.
    pub(super) fn try_enqueue_entry(&self, messages: &[Outgoing], sequence_id: u64) -> Result<Option<Publication>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Link::Over(error) = &state.link {
            return Err(error.clone());
        }
        let limit = state.max_message_bytes;
        self.close_batch(state);
        let bytes = messages.iter().map(|message| message.payload.len()).sum();
        if !self.has_room_for_entry(state, bytes) {
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
        let kind = state.numbered(&encoded);
        state.next_sequence_id = Some(sequence_id + 1);
        let (stored, publication) = oneshot::channel();
        self.push(state, encoded, messages.len() > 1, bytes, kind, vec![stored]);
        Ok(Some(Publication(publication)))
    }

    /// `Ok(None)`: there is no room now.
    pub(super) fn try_enqueue_made(&self, entry: &Opened, sequence_id: Option<u64>) -> Result<Option<Publication>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Link::Over(error) = &state.link {
            return Err(error.clone());
        }
        self.close_batch(state);
        let (bytes, limit) = (entry.payload.len(), state.max_message_bytes);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        if !self.has_room_for_entry(state, bytes) {
            return Ok(None);
        }
        let number = sequence_id.unwrap_or(state.next_sequence_id.unwrap_or(0));
        let is_batch = entry.metadata.num_messages_in_batch.is_some();
        let metadata = proto::MessageMetadata {
            producer_name: state.stamp.producer_name.clone(),
            sequence_id: number,
            highest_sequence_id: is_batch.then_some(number),
            publish_time: now_ms(),
            ..entry.metadata.clone()
        };
        let messages = u32::try_from(metadata.num_messages_in_batch()).unwrap_or(1).max(1);
        let encoded = Encoded { metadata, payload: entry.payload.clone(), messages, highest_sequence_id: number };
        let kind = sequence_id.map_or(Kind::Free, |_| state.numbered(&encoded));
        state.next_sequence_id = Some(number.saturating_add(1));
        let (stored, publication) = oneshot::channel();
        self.push(state, encoded, is_batch, bytes, kind, vec![stored]);
        Ok(Some(Publication(publication)))
    }

    pub(super) fn close_batch(&self, state: &mut State) {
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

    pub(super) async fn flush(&self) -> Result<()> {
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
    pub(super) fn end(&self, error: Error) -> Option<Arc<Connection>> {
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
    /// What an entry with a number of its own means to those after it.
    fn numbered(&self, encoded: &Encoded) -> Kind {
        let is_delayed = encoded.metadata.deliver_at_time.is_some();
        if is_delayed || sent_bytes(encoded) > self.largest_stored { Kind::Alone } else { Kind::Numbered }
    }

    /// Ends the producer, unless it has: the connection it is still registered on, and who waits.
    pub(super) fn end(&mut self, error: &Error) -> (Option<Arc<Connection>>, Vec<oneshot::Sender<Result<MessageId>>>) {
        // Whoever closes it takes over what a failure left to be closed.
        let left = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Over(first) => {
                self.link = Link::Over(first);
                return (self.left.take(), Vec::new());
            }
            Link::Up(connection) => Some(connection),
            Link::Down => self.left.take(),
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
        if !self.is_first(sequence_id) {
            return None;
        }
        let entry = self.pending.pop_front()?;
        self.forget(&entry);
        Some(entry)
    }

    fn is_first(&self, sequence_id: u64) -> bool {
        let first = self.pending.front();
        first.is_some_and(|first| [first.sequence_id, first.highest_sequence_id].contains(&sequence_id))
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
            state.waits = None;
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
        // What may pass, such as a duplicate of what the broker is still storing, does for the next producer of this name, which sends all
        // of it again. Source: Pulsar's `ClientCnx.handleSendError`, which leaves the connection for that.
        if let Some(backoff) = self.client.config.reconnect.filter(|_| error.is_retryable()) {
            if !state.is_first(sequence_id) || !matches!(state.link, Link::Up(_)) {
                return;
            }
            let waits = state.waits.get_or_insert_with(|| Box::new(backoff.waits(random_share())));
            if let Some(wait) = waits.next() {
                state.wait = Some(wait);
                if let Link::Up(connection) = std::mem::replace(&mut state.link, Link::Down) {
                    state.left = Some(connection);
                }
                drop(state);
                return self.wake.notify_one();
            }
        }
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
