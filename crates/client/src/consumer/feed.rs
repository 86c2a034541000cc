//! The part of a consumer that has one partition: its link to the broker, what came over it, what is acknowledged.

use super::{Options, Queue, Seek};
use crate::{
    Connection, ConsumerEvents, Error, Permits, Result,
    acks::{Ack, Batches},
    client::{Inner, random_share},
    connection::MESSAGE_BYTES_DEFAULT,
    hot::{self, Delivery},
    link::Link,
    message,
    reader::{Start, start_id},
};
use bytes::Bytes;
use model::{MessageId, Position, SubscriptionType, TopicName};
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;
use wire::proto::{self, BaseCommand, ServerError, base_command::Type, command_ack::AckType};

/// The consumer of one partition.
pub(super) struct Feed {
    pub(super) client: Arc<Inner>,
    topic_name: TopicName,
    pub(super) topic: Arc<str>,
    index: usize,
    pub(super) id: u64,
    pub(super) options: Options,
    queue: Arc<Queue>,
    pub(super) state: Mutex<State>,
    /// Raised by asking for redelivery; entries of an older epoch are dropped. Source: PIP-84.
    pub(super) epoch: AtomicU64,
    pub(super) active: AtomicBool,
    /// For the driving task: the link is down or over.
    wake: Notify,
    /// For who waits until the link is up again.
    attached: Notify,
}

pub(super) struct State {
    pub(super) link: Link,
    /// The link went down after the current attempt to attach began.
    pub(super) lost: bool,
    pub(super) permits: Permits,
    pub(super) batches: Batches,
    /// A reader's last message; it goes on after it.
    pub(super) resume: Option<MessageId>,
    /// A reader's first message, until it has received one.
    pub(super) start: Option<Start>,
}

impl State {
    /// Whether a reader has not received this message yet; entries before its place may come again.
    pub(super) fn is_wanted(&self, id: MessageId) -> bool {
        let key = |id: MessageId| (id.position, id.batch_index);
        match (self.resume, self.start) {
            (Some(last), _) => key(id) > key(last),
            (None, Some(Start::After(first))) => key(id) > key(first),
            (None, Some(Start::At(first))) => key(id) >= key(first),
            _ => true,
        }
    }
}

impl Feed {
    pub(super) fn new(client: Arc<Inner>, topic: TopicName, index: usize, options: Options, queue: Arc<Queue>) -> Self {
        Self {
            id: client.next_id(),
            client,
            topic: topic.to_string().into(),
            topic_name: topic,
            index,
            queue,
            state: Mutex::new(State {
                link: Link::Down,
                lost: false,
                permits: match options.queue_bytes {
                    Some(bytes) => Permits::new(options.queue).within(bytes, MESSAGE_BYTES_DEFAULT),
                    None => Permits::new(options.queue),
                },
                batches: Batches::default(),
                resume: None,
                start: options.start,
            }),
            epoch: AtomicU64::new(0),
            active: AtomicBool::new(!matches!(options.kind, SubscriptionType::Failover)),
            wake: Notify::new(),
            attached: Notify::new(),
            options,
        }
    }

    pub(super) async fn attach(self: &Arc<Self>) -> Result<()> {
        let connection = self.client.connection_for(&self.topic_name, self.id as usize).await?;
        self.drop_queued();
        let start_message_id = {
            let mut state = self.state.lock();
            state.lost = false;
            match (state.resume, state.start) {
                (Some(last), _) => Some(start_id(Start::After(last))),
                (None, Some(start)) => Some(start_id(start)),
                (None, None) => None,
            }
        };
        let options = &self.options;
        let command = proto::CommandSubscribe {
            topic: self.topic.to_string(),
            subscription: options.subscription.clone(),
            sub_type: options.kind as i32,
            consumer_id: self.id,
            consumer_name: options.name.clone(),
            priority_level: Some(options.priority),
            durable: Some(options.start.is_none()),
            start_message_id,
            metadata: message::key_values(&options.properties),
            read_compacted: Some(options.read_compacted),
            schema: options.schema.clone(),
            initial_position: Some(options.initial as i32),
            key_shared_meta: (options.kind == SubscriptionType::KeyShared).then(|| proto::KeySharedMeta {
                key_shared_mode: if options.sticky_ranges.is_empty() {
                    proto::KeySharedMode::AutoSplit
                } else {
                    proto::KeySharedMode::Sticky
                } as i32,
                hash_ranges: options
                    .sticky_ranges
                    .iter()
                    .map(|(start, end)| proto::IntRange { start: i32::from(*start), end: i32::from(*end) })
                    .collect(),
                ..Default::default()
            }),
            consumer_epoch: options.kind.is_single_active().then(|| self.epoch.load(Ordering::Relaxed)),
            ..Default::default()
        };
        connection.subscribe(command, self.clone(), self.client.config.request_timeout).await?;
        let mut state = self.state.lock();
        if let Err(error) = state.link.may_rise(state.lost, &connection, "consumer") {
            let is_over = state.link.is_over();
            drop(state);
            if is_over {
                // Closed while we were at it: nobody else will close what was just created.
                connection.abandon_consumer(self.id);
            }
            return Err(error);
        }
        let permits = state.permits.restart();
        connection.flow(self.id, permits);
        state.link = Link::Up(connection);
        drop(state);
        self.attached.notify_waiters();
        Ok(())
    }

    /// Runs until the consumer is over; attaches again when the link is lost.
    pub(super) async fn drive(self: Arc<Self>) {
        loop {
            let is_down = match self.state.lock().link {
                Link::Over(_) => return,
                Link::Down => true,
                Link::Up(_) => false,
            };
            if is_down {
                self.attach_again().await;
            } else {
                self.wake.notified().await;
            }
        }
    }

    async fn attach_again(self: &Arc<Self>) {
        // A seek closes the consumer too, so one try is made even by who does not want to reconnect.
        let mut waits = self.client.config.reconnect.map(|backoff| backoff.waits(random_share()));
        loop {
            let error = match self.attach().await {
                Ok(()) => return tracing::debug!(topic = %self.topic, "consumer attached again"),
                Err(error) => error,
            };
            // The broker may not have noticed yet that our former connection is gone.
            let may_help = error.is_retryable() || error.code() == Some(ServerError::ConsumerBusy);
            let Some(wait) = waits.as_mut().and_then(Iterator::next).filter(|_| may_help) else {
                self.end(error);
                return;
            };
            tracing::debug!(topic = %self.topic, %error, ?wait, "consumer can't be attached yet");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
            }
            if self.state.lock().link.is_over() {
                return;
            }
        }
    }

    pub(super) async fn seek(&self, seek: Seek) -> Result<()> {
        let wait = self.client.config.request_timeout;
        let (message_id, message_publish_time) = match seek {
            Seek::Earliest => (Some(start_id(Start::Earliest)), None),
            Seek::Latest => (Some(start_id(Start::Latest)), None),
            Seek::To(id) => (Some(start_id(Start::At(id))), None),
            Seek::Time(ms) => (None, Some(ms)),
        };
        let connection = self.connection()?;
        // Before it is sent: the broker closes the consumer first, and a reader then subscribes from its new place.
        let before = {
            let mut state = self.state.lock();
            state.batches.clear();
            let start = state.start.map(|_| match seek {
                Seek::Earliest | Seek::Time(_) => Start::Earliest,
                Seek::Latest => Start::Latest,
                Seek::To(id) => Start::At(id),
            });
            (state.resume.take(), std::mem::replace(&mut state.start, start))
        };
        let answer = connection
            .request("seek", Some(wait), |request_id| BaseCommand {
                r#type: Type::Seek as i32,
                seek: Some(proto::CommandSeek { consumer_id: self.id, request_id, message_id, message_publish_time }),
                ..Default::default()
            })
            .await;
        if let Err(error) = answer {
            let mut state = self.state.lock();
            (state.resume, state.start) = before;
            return Err(error);
        }
        // The broker closed the consumer before it answered, so the queue is empty by now and only the new place counts. A
        // broker that did not close it sends no stale entries after its answer.
        let again = async {
            loop {
                let mut attached = pin!(self.attached.notified());
                attached.as_mut().enable();
                match &self.state.lock().link {
                    Link::Up(_) => return Ok(()),
                    Link::Over(error) => return Err(error.clone()),
                    Link::Down => {}
                }
                attached.await;
            }
        };
        tokio::time::timeout(wait, again)
            .await
            .unwrap_or(Err(Error::Timeout { doing: "resubscribe after seek", after: wait }))
    }

    /// The command for an acknowledgement, if there is something to tell.
    pub(super) fn ack(
        &self,
        id: MessageId,
        kind: AckType,
        batch_index_acks: bool,
    ) -> Result<Option<proto::CommandAck>> {
        let mut state = self.state.lock();
        let ack = match kind {
            AckType::Individual => state.batches.individual(id),
            AckType::Cumulative => state.batches.cumulative(id),
        };
        drop(state);
        let mut acked = message_id(id.position);
        match ack {
            Ack::Entry => {}
            Ack::Open { words, size } if batch_index_acks => {
                acked.ack_set = words.into_iter().map(|word| word as i64).collect();
                acked.batch_size = Some(size as i32);
            }
            // Everything before this entry is acknowledged all the same.
            Ack::Open { .. } if kind == AckType::Cumulative && id.position.entry > 0 => {
                acked = message_id(id.position.previous());
            }
            Ack::Open { .. } | Ack::Nothing => return Ok(None),
            Ack::Unknown => return Err(Error::UnknownMessage(id)),
        }
        Ok(Some(proto::CommandAck {
            consumer_id: self.id,
            ack_type: kind as i32,
            message_id: vec![acked],
            ..Default::default()
        }))
    }

    pub(super) fn send_ack(&self, ack: proto::CommandAck) {
        self.send(&BaseCommand { r#type: Type::Ack as i32, ack: Some(ack), ..Default::default() });
    }

    pub(super) async fn confirm_ack(&self, ack: proto::CommandAck) -> Result<()> {
        self.connection()?.acknowledge(ack, self.client.config.request_timeout).await
    }

    /// What is sent while the link is down is lost with it, as it would be a moment before.
    pub(super) fn send(&self, command: &BaseCommand) {
        if let Ok(connection) = self.connection() {
            connection.send(command);
        }
    }

    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        match &self.state.lock().link {
            Link::Up(connection) => Ok(connection.clone()),
            Link::Over(error) => Err(error.clone()),
            Link::Down => {
                Err(Error::Disconnected { address: "the broker".into(), why: "not connected again yet".into() })
            }
        }
    }

    /// Messages of so many bytes left the queue; lets the broker send as many when it is worth a command.
    pub(super) fn consumed(&self, messages: u32, bytes: usize) {
        let mut state = self.state.lock();
        state.permits.saw(messages, bytes);
        let Some(grant) = state.permits.consumed(messages) else { return };
        if let Link::Up(connection) = &state.link {
            connection.flow(self.id, grant);
        }
    }

    /// Empties this feed's part of the queue; says how many permits were still out for it.
    pub(super) fn drop_queued(&self) -> u32 {
        let mut dropped = 0;
        let mut entries = self.queue.entries.lock();
        entries.decoded.retain(|(index, _)| *index != self.index);
        entries.waiting.retain(|(index, delivery, entry)| {
            let is_mine = *index == self.index;
            if is_mine {
                dropped += open_messages(delivery, entry);
            }
            !is_mine
        });
        dropped
    }

    /// Ends the consumer; returns the connection it is still registered on. Only the first reason counts.
    pub(super) fn end(&self, error: Error) -> Option<Arc<Connection>> {
        let link = {
            let mut state = self.state.lock();
            if state.link.is_over() {
                return None;
            }
            std::mem::replace(&mut state.link, Link::Over(error.clone()))
        };
        self.queue.entries.lock().over.get_or_insert(error);
        self.queue.filled.notify_waiters();
        self.wake.notify_one();
        self.attached.notify_waiters();
        match link {
            Link::Up(connection) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn partition(&self) -> i32 {
        self.topic_name.partition().map_or(-1, |index| index as i32)
    }
}

impl ConsumerEvents for Feed {
    fn entry(&self, mut delivery: Delivery, entry: Bytes) {
        if delivery.consumer_epoch.is_some_and(|epoch| epoch < self.epoch.load(Ordering::Relaxed)) {
            return;
        }
        delivery.partition = self.partition();
        self.queue.entries.lock().waiting.push_back((self.index, delivery, entry));
    }

    fn lost(&self, error: Error) {
        let by_broker = matches!(error, Error::ClosedByBroker(_));
        if self.client.config.reconnect.is_none() && !by_broker {
            self.end(error);
            return;
        }
        {
            let mut state = self.state.lock();
            state.lost = true;
            if let Link::Up(_) = state.link {
                state.link = Link::Down;
            }
        }
        self.drop_queued();
        self.wake.notify_one();
    }

    fn active(&self, is_active: bool) {
        self.active.store(is_active, Ordering::Relaxed);
    }

    fn end_of_topic(&self) {
        self.queue.entries.lock().over.get_or_insert(Error::EndOfTopic);
        self.queue.filled.notify_waiters();
    }

    fn burst_end(&self) {
        self.queue.filled.notify_one();
    }
}

/// How many permits an entry took: its messages, less those the broker knows as acknowledged.
pub(super) fn open_messages(delivery: &Delivery, entry: &[u8]) -> u32 {
    let all = hot::split_entry(entry).map_or(1, |(metadata, _)| hot::messages_in_batch(metadata));
    if delivery.ack_set.is_empty() {
        return all;
    }
    delivery.ack_set.iter().map(|word| word.count_ones()).sum::<u32>().min(all)
}

pub(super) fn message_id(position: Position) -> proto::MessageIdData {
    proto::MessageIdData { ledger_id: position.ledger, entry_id: position.entry as u64, ..Default::default() }
}

pub(super) fn redeliver(
    consumer_id: u64,
    message_ids: Vec<proto::MessageIdData>,
    consumer_epoch: Option<u64>,
) -> BaseCommand {
    BaseCommand {
        r#type: Type::RedeliverUnacknowledgedMessages as i32,
        redeliver_unacknowledged_messages: Some(proto::CommandRedeliverUnacknowledgedMessages {
            consumer_id,
            message_ids,
            consumer_epoch,
        }),
        ..Default::default()
    }
}
