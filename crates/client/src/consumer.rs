//! Receiving: one [`Consumer`] over the partitions of a topic, one feed for each of them, one queue for all.
//!
//! Entries wait in the queue as they came; they are decoded when somebody receives. Permits are given back when messages
//! leave the queue, so the broker never sends more than the queue's capacity ahead (a batch may overshoot it).
//! Invariant: what is in the queue came over the link its feed has now; losing a link empties the feed's part of the queue,
//! since the broker will deliver those entries again. Source: Pulsar's `ConsumerImpl` and `MultiTopicsConsumerImpl`.

use crate::{
    Connection, ConsumerEvents, Entry, Error, Message, Permits, Result,
    acks::{Ack, Batches},
    client::{Inner, random, random_share},
    hot::{self, Delivery},
    message,
    reader::{Start, start_id},
};
use bytes::Bytes;
use model::{InitialPosition, MessageId, Position, SubscriptionType, TopicName};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;
use wire::proto::{self, BaseCommand, ServerError, base_command::Type, command_ack::AckType};

/// Prepares a [`Consumer`]; made by [`Client::consumer`](crate::Client::consumer).
#[derive(Clone)]
pub struct ConsumerBuilder {
    client: Arc<Inner>,
    topic: String,
    options: Options,
}

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) subscription: String,
    pub(crate) kind: SubscriptionType,
    pub(crate) name: Option<String>,
    pub(crate) initial: InitialPosition,
    pub(crate) queue: u32,
    pub(crate) priority: i32,
    pub(crate) batch_index_acks: bool,
    pub(crate) read_compacted: bool,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) sticky_ranges: Vec<(u16, u16)>,
    pub(crate) schema: Option<proto::Schema>,
    /// A reader's: the subscription is not durable and starts here.
    pub(crate) start: Option<Start>,
}

/// Where to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// At the first message there is.
    Earliest,
    /// After the last.
    Latest,
    /// At this message (its entry, when it is in a batch). With partitions, only its own partition moves.
    To(MessageId),
    /// At the first message published at this time or later, in milliseconds since 1970.
    Time(u64),
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Arc<Inner>, topic: &str, subscription: &str) -> Self {
        let options = Options {
            subscription: subscription.to_owned(),
            kind: SubscriptionType::Exclusive,
            name: None,
            initial: InitialPosition::Latest,
            queue: 1000,
            priority: 0,
            batch_index_acks: false,
            read_compacted: false,
            properties: Vec::new(),
            sticky_ranges: Vec::new(),
            schema: None,
            start: None,
        };
        Self { client, topic: topic.to_owned(), options }
    }

    /// How the subscription is shared.
    #[must_use]
    pub fn kind(mut self, kind: SubscriptionType) -> Self {
        self.options.kind = kind;
        self
    }

    /// The consumer's name; one is made up otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Where the subscription begins if it is new.
    #[must_use]
    pub fn initial(mut self, position: InitialPosition) -> Self {
        self.options.initial = position;
        self
    }

    /// How many messages the broker may send ahead, per partition (at least 1).
    #[must_use]
    pub fn queue(mut self, messages: u32) -> Self {
        self.options.queue = messages.max(1);
        self
    }

    /// Consumers with a lower number come first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.options.priority = priority;
        self
    }

    /// Messages of a batch are acknowledged one by one. The broker must allow it; otherwise a batch is acknowledged when
    /// all of it is.
    #[must_use]
    pub fn batch_index_acks(mut self, yes: bool) -> Self {
        self.options.batch_index_acks = yes;
        self
    }

    /// Only the latest message of each key, where the topic is compacted.
    #[must_use]
    pub fn read_compacted(mut self, yes: bool) -> Self {
        self.options.read_compacted = yes;
        self
    }

    /// A pair that the topic's stats show.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.properties.push((name.into(), value.into()));
        self
    }

    /// For Key_Shared: the hash ranges (both ends included) this consumer takes, instead of what the broker gives it.
    #[must_use]
    pub fn sticky_ranges(mut self, ranges: Vec<(u16, u16)>) -> Self {
        self.options.sticky_ranges = ranges;
        self
    }

    /// The schema it reads with.
    #[must_use]
    pub fn schema(mut self, schema: proto::Schema) -> Self {
        self.options.schema = Some(schema);
        self
    }

    pub(crate) fn start(mut self, start: Start) -> Self {
        self.options.start = Some(start);
        self
    }

    /// Subscribes on every partition of the topic.
    ///
    /// # Errors
    /// [`Error::TopicName`]; [`Error::Broker`] with `ConsumerBusy` when an exclusive subscription is taken; whatever
    /// lookup and connection say.
    pub async fn subscribe(mut self) -> Result<Consumer> {
        let topic: TopicName = self.topic.parse()?;
        self.options.name.get_or_insert_with(|| format!("{:08x}", random() as u32));
        let parts = self.client.parts(&topic).await?;
        let mut consumer = Consumer {
            feeds: Vec::with_capacity(parts.len()),
            queue: Arc::default(),
            batch_index_acks: self.options.batch_index_acks,
            is_reader: self.options.start.is_some(),
        };
        for (index, part) in parts.into_iter().enumerate() {
            let feed = Feed::new(self.client.clone(), part, index, self.options.clone(), consumer.queue.clone());
            let feed = Arc::new(feed);
            // Pushed first, so that what was subscribed is closed when a later one fails.
            consumer.feeds.push(feed.clone());
            feed.attach().await?;
            tokio::spawn(feed.drive());
        }
        Ok(consumer)
    }
}

/// Receives from one topic in one subscription. Dropping it closes it; the subscription stays.
pub struct Consumer {
    feeds: Vec<Arc<Feed>>,
    queue: Arc<Queue>,
    batch_index_acks: bool,
    is_reader: bool,
}

/// Entries of all feeds in the order they came.
#[derive(Default)]
struct Queue {
    entries: Mutex<Entries>,
    filled: Notify,
}

#[derive(Default)]
struct Entries {
    waiting: VecDeque<(usize, Delivery, Bytes)>,
    /// What was in the last entry that somebody received.
    decoded: VecDeque<(usize, Message)>,
    /// Why nothing more will come.
    over: Option<Error>,
}

impl Consumer {
    /// The next message.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Decompress`]: this entry can't be read and was skipped, going on is possible.
    /// [`Error::EndOfTopic`]; or why the consumer failed.
    pub async fn receive(&self) -> Result<Message> {
        loop {
            let decoded = self.queue.entries.lock().decoded.pop_front();
            if let Some((feed, message)) = decoded {
                if self.is_reader {
                    self.feeds[feed].state.lock().resume = Some(message.id);
                }
                return Ok(message);
            }
            let (feed, delivery, entry) = self.next_entry().await?;
            self.decode(feed, &delivery, entry)?;
        }
    }

    /// A message that is here already, if there is one.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&self) -> Result<Option<Message>> {
        let next = futures::FutureExt::now_or_never(self.receive());
        next.transpose()
    }

    /// The next entry, undecoded. Do not mix with [`receive`](Self::receive): messages decoded already are not in it.
    ///
    /// # Errors
    /// [`Error::EndOfTopic`]; or why the consumer failed.
    pub async fn receive_entry(&self) -> Result<Entry> {
        let (feed, delivery, bytes) = self.next_entry().await?;
        let messages = open_messages(&delivery, &bytes);
        let feed = &self.feeds[feed];
        feed.consumed(messages);
        Ok(Entry { topic: feed.topic.clone(), delivery, bytes })
    }

    async fn next_entry(&self) -> Result<(usize, Delivery, Bytes)> {
        loop {
            let mut filled = pin!(self.queue.filled.notified());
            filled.as_mut().enable();
            {
                let mut entries = self.queue.entries.lock();
                if let Some(entry) = entries.waiting.pop_front() {
                    if !entries.waiting.is_empty() {
                        // Somebody else may be waiting too, and a burst wakes only one.
                        self.queue.filled.notify_one();
                    }
                    return Ok(entry);
                }
                if let Some(error) = &entries.over {
                    return Err(error.clone());
                }
            }
            filled.await;
        }
    }

    fn decode(&self, index: usize, delivery: &Delivery, entry: Bytes) -> Result<()> {
        let feed = &self.feeds[index];
        feed.consumed(open_messages(delivery, &entry));
        let opened = message::open(delivery.position, entry)?;
        let mut out = Vec::new();
        if opened.metadata.num_messages_in_batch.is_none() || self.is_reader {
            message::read(&feed.topic, delivery, opened, None, &mut out)?;
        } else {
            // Read first: only a batch that can be read is worth keeping track of.
            let size = message::batch_size(&opened.metadata);
            message::read(&feed.topic, delivery, opened, None, &mut out)?;
            let open = feed.state.lock().batches.received(delivery.position, size, &delivery.ack_set);
            out.retain(|message| crate::acks::contains(&open, message.id.batch_index as u32));
        }
        if self.is_reader {
            let state = feed.state.lock();
            out.retain(|message| state.is_wanted(message.id));
        }
        self.queue.entries.lock().decoded.extend(out.into_iter().map(|message| (index, message)));
        Ok(())
    }

    /// Acknowledges one message; the broker is told, but not asked whether it knows.
    ///
    /// # Errors
    /// [`Error::UnknownMessage`] for a message of a batch that this consumer did not receive or that is acknowledged.
    pub fn ack(&self, id: MessageId) -> Result<()> {
        let feed = self.feed_of(id);
        if let Some(command) = feed.ack(id, AckType::Individual, self.batch_index_acks)? {
            feed.send_ack(command);
        }
        Ok(())
    }

    /// Acknowledges one message and returns when the broker says that this is durable.
    ///
    /// # Errors
    /// As [`ack`](Self::ack), and what the broker or the connection says.
    pub async fn ack_confirmed(&self, id: MessageId) -> Result<()> {
        let feed = self.feed_of(id);
        match feed.ack(id, AckType::Individual, self.batch_index_acks)? {
            Some(command) => feed.confirm_ack(command).await,
            None => Ok(()),
        }
    }

    /// Acknowledges several messages with one command for each partition.
    ///
    /// # Errors
    /// As [`ack`](Self::ack), for the first that fails; the others are acknowledged.
    pub fn ack_all(&self, ids: &[MessageId]) -> Result<()> {
        let mut failed = Ok(());
        for (index, feed) in self.feeds.iter().enumerate() {
            let mut together: Option<proto::CommandAck> = None;
            for id in ids.iter().filter(|id| self.index_of(**id) == index) {
                match feed.ack(*id, AckType::Individual, self.batch_index_acks) {
                    Ok(Some(command)) => match &mut together {
                        Some(together) => together.message_id.extend(command.message_id),
                        None => together = Some(command),
                    },
                    Ok(None) => {}
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            if let Some(command) = together {
                feed.send_ack(command);
            }
        }
        failed
    }

    /// Acknowledges everything up to and including this message, on its partition. The broker ignores it on Shared and
    /// Key_Shared subscriptions.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn ack_cumulative(&self, id: MessageId) -> Result<()> {
        let feed = self.feed_of(id);
        if let Some(command) = feed.ack(id, AckType::Cumulative, self.batch_index_acks)? {
            feed.send_ack(command);
        }
        Ok(())
    }

    /// As [`ack_cumulative`](Self::ack_cumulative), and returns when the broker says that this is durable.
    ///
    /// # Errors
    /// As [`ack_confirmed`](Self::ack_confirmed).
    pub async fn ack_cumulative_confirmed(&self, id: MessageId) -> Result<()> {
        let feed = self.feed_of(id);
        match feed.ack(id, AckType::Cumulative, self.batch_index_acks)? {
            Some(command) => feed.confirm_ack(command).await,
            None => Ok(()),
        }
    }

    /// Asks for this message (its whole entry) again, now. On Exclusive and Failover subscriptions the broker knows no
    /// single redelivery: everything unacknowledged comes again.
    pub fn nack(&self, id: MessageId) {
        let feed = self.feed_of(id);
        if feed.options.kind.is_single_active() {
            return self.redeliver();
        }
        feed.state.lock().batches.forget(id.position);
        feed.send(&redeliver(feed.id, vec![message_id(id.position)], None));
    }

    /// Asks for everything unacknowledged again. What waits in the queue is dropped; it comes again too.
    pub fn redeliver(&self) {
        for feed in &self.feeds {
            let epoch = feed.options.kind.is_single_active().then(|| feed.epoch.fetch_add(1, Ordering::Relaxed) + 1);
            feed.state.lock().batches.clear();
            let dropped = feed.drop_queued();
            feed.send(&redeliver(feed.id, Vec::new(), epoch));
            feed.consumed(dropped);
        }
    }

    /// Moves the subscription and returns when messages from there are on their way. What was received before may still be
    /// acknowledged, to no effect.
    ///
    /// # Errors
    /// What the broker or the connection says.
    pub async fn seek(&self, seek: Seek) -> Result<()> {
        let moved = match seek {
            Seek::To(id) => vec![self.index_of(id)],
            _ => (0..self.feeds.len()).collect(),
        };
        for index in moved {
            self.feeds[index].seek(seek).await?;
        }
        Ok(())
    }

    /// Deletes the subscription, and closes.
    ///
    /// # Errors
    /// What the broker or the connection says; it is open then.
    pub async fn unsubscribe(self) -> Result<()> {
        for feed in &self.feeds {
            let connection = feed.connection()?;
            connection
                .request("unsubscribe", Some(feed.client.config.request_timeout), |request_id| BaseCommand {
                    r#type: Type::Unsubscribe as i32,
                    unsubscribe: Some(proto::CommandUnsubscribe {
                        consumer_id: feed.id,
                        request_id,
                        ..Default::default()
                    }),
                    ..Default::default()
                })
                .await?;
            connection.remove_consumer(feed.id);
            feed.end(Error::Closed);
        }
        Ok(())
    }

    /// The last message of each partition; entry -1 where there is none. The second is where the subscription's
    /// mark-delete stands, if the broker says so.
    ///
    /// # Errors
    /// What the broker or the connection says.
    pub async fn last_message_ids(&self) -> Result<Vec<(MessageId, Option<Position>)>> {
        let mut ids = Vec::with_capacity(self.feeds.len());
        for feed in &self.feeds {
            let answer = feed
                .connection()?
                .request("ask for the last message", Some(feed.client.config.request_timeout), |request_id| {
                    BaseCommand {
                        r#type: Type::GetLastMessageId as i32,
                        get_last_message_id: Some(proto::CommandGetLastMessageId { consumer_id: feed.id, request_id }),
                        ..Default::default()
                    }
                })
                .await?
                .get_last_message_id_response
                .ok_or_else(|| Error::Protocol("GET_LAST_MESSAGE_ID was answered with another command".into()))?;
            let last = &answer.last_message_id;
            let id = MessageId {
                position: Position::new(last.ledger_id, last.entry_id as i64),
                partition: feed.partition(),
                batch_index: last.batch_index(),
            };
            let mark_delete =
                answer.consumer_mark_delete_position.as_ref().map(|at| Position::new(at.ledger_id, at.entry_id as i64));
            ids.push((id, mark_delete));
        }
        Ok(ids)
    }

    /// Whether this consumer is the active one of a Failover subscription, on any partition.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.feeds.iter().any(|feed| feed.active.load(Ordering::Relaxed))
    }

    /// Closes it; the subscription stays. Acknowledgements sent before are with the broker then.
    ///
    /// # Errors
    /// What the broker or the connection says; it is closed all the same.
    pub async fn close(self) -> Result<()> {
        for feed in &self.feeds {
            if let Some(connection) = feed.end(Error::Closed) {
                connection.close_consumer(feed.id, feed.client.config.request_timeout).await?;
            }
        }
        Ok(())
    }

    /// Of each feed: what was received last, for a reader.
    pub(crate) fn resumes(&self) -> Vec<Option<MessageId>> {
        self.feeds.iter().map(|feed| feed.state.lock().resume).collect()
    }

    /// Whether something waits on this side already.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.entries.lock().decoded.is_empty()
    }

    /// Feeds are in the order of partitions; one that is alone takes everything.
    fn index_of(&self, id: MessageId) -> usize {
        usize::try_from(id.partition).unwrap_or(0).min(self.feeds.len() - 1)
    }

    fn feed_of(&self, id: MessageId) -> &Arc<Feed> {
        &self.feeds[self.index_of(id)]
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for feed in &self.feeds {
            if let Some(connection) = feed.end(Error::Closed) {
                connection.abandon_consumer(feed.id);
            }
        }
    }
}

/// The consumer of one partition.
struct Feed {
    client: Arc<Inner>,
    topic_name: TopicName,
    topic: Arc<str>,
    index: usize,
    id: u64,
    options: Options,
    queue: Arc<Queue>,
    state: Mutex<State>,
    /// Raised by asking for redelivery; entries of an older epoch are dropped. Source: PIP-84.
    epoch: AtomicU64,
    active: AtomicBool,
    /// For the driving task: the link is down or over.
    wake: Notify,
    /// For who waits until the link is up again.
    attached: Notify,
}

struct State {
    link: Link,
    /// The link went down after the current attempt to attach began.
    lost: bool,
    permits: Permits,
    batches: Batches,
    /// A reader's last message; it goes on after it.
    resume: Option<MessageId>,
    /// A reader's first message, until it has received one.
    start: Option<Start>,
}

enum Link {
    Down,
    Up(Arc<Connection>),
    Over(Error),
}

impl State {
    /// Whether a reader has not received this message yet; entries before its place may come again.
    fn is_wanted(&self, id: MessageId) -> bool {
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
    fn new(client: Arc<Inner>, topic: TopicName, index: usize, options: Options, queue: Arc<Queue>) -> Self {
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
                permits: Permits::new(options.queue),
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

    async fn attach(self: &Arc<Self>) -> Result<()> {
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
        match &state.link {
            Link::Over(error) => {
                let error = error.clone();
                drop(state);
                connection.abandon_consumer(self.id);
                return Err(error);
            }
            _ if state.lost => {
                return Err(Error::Disconnected {
                    address: connection.address().into(),
                    why: "the consumer was closed as soon as it was created".into(),
                });
            }
            _ => {}
        }
        let permits = state.permits.restart();
        connection.flow(self.id, permits);
        state.link = Link::Up(connection);
        drop(state);
        self.attached.notify_waiters();
        Ok(())
    }

    /// Runs until the consumer is over; attaches again when the link is lost.
    async fn drive(self: Arc<Self>) {
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
            if matches!(self.state.lock().link, Link::Over(_)) {
                return;
            }
        }
    }

    async fn seek(&self, seek: Seek) -> Result<()> {
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
    fn ack(&self, id: MessageId, kind: AckType, batch_index_acks: bool) -> Result<Option<proto::CommandAck>> {
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

    fn send_ack(&self, ack: proto::CommandAck) {
        self.send(&BaseCommand { r#type: Type::Ack as i32, ack: Some(ack), ..Default::default() });
    }

    async fn confirm_ack(&self, ack: proto::CommandAck) -> Result<()> {
        self.connection()?.acknowledge(ack, self.client.config.request_timeout).await
    }

    /// What is sent while the link is down is lost with it, as it would be a moment before.
    fn send(&self, command: &BaseCommand) {
        if let Ok(connection) = self.connection() {
            connection.send(command);
        }
    }

    fn connection(&self) -> Result<Arc<Connection>> {
        match &self.state.lock().link {
            Link::Up(connection) => Ok(connection.clone()),
            Link::Over(error) => Err(error.clone()),
            Link::Down => {
                Err(Error::Disconnected { address: "the broker".into(), why: "not connected again yet".into() })
            }
        }
    }

    /// Messages left the queue; lets the broker send as many when it is worth a command.
    fn consumed(&self, messages: u32) {
        let mut state = self.state.lock();
        let Some(grant) = state.permits.consumed(messages) else { return };
        if let Link::Up(connection) = &state.link {
            connection.flow(self.id, grant);
        }
    }

    /// Empties this feed's part of the queue; says how many permits were still out for it.
    fn drop_queued(&self) -> u32 {
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
    fn end(&self, error: Error) -> Option<Arc<Connection>> {
        let link = {
            let mut state = self.state.lock();
            if matches!(state.link, Link::Over(_)) {
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

    fn partition(&self) -> i32 {
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
fn open_messages(delivery: &Delivery, entry: &[u8]) -> u32 {
    let all = hot::split_entry(entry).map_or(1, |(metadata, _)| hot::messages_in_batch(metadata));
    if delivery.ack_set.is_empty() {
        return all;
    }
    delivery.ack_set.iter().map(|word| word.count_ones()).sum::<u32>().min(all)
}

fn message_id(position: Position) -> proto::MessageIdData {
    proto::MessageIdData { ledger_id: position.ledger, entry_id: position.entry as u64, ..Default::default() }
}

fn redeliver(consumer_id: u64, message_ids: Vec<proto::MessageIdData>, consumer_epoch: Option<u64>) -> BaseCommand {
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

#[cfg(test)]
mod closed;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use smallvec::smallvec;

    fn delivery(ack_set: smallvec::SmallVec<[u64; 2]>) -> Delivery {
        Delivery {
            consumer_id: 0,
            position: Position::new(1, 2),
            partition: -1,
            redelivery_count: 0,
            ack_set,
            consumer_epoch: None,
        }
    }

    #[test]
    fn an_entry_takes_a_permit_for_each_message_that_is_open() {
        let mut frame = BytesMut::new();
        let send = hot::Send {
            producer_id: 0,
            sequence_id: 0,
            highest_sequence_id: Some(9),
            messages: 10,
            producer_name: "p",
            publish_time_ms: 1,
            is_batch: true,
        };
        send.write(&mut frame, |_| {});
        let command_size = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        let entry = &frame[8 + command_size..];
        assert_eq!(open_messages(&delivery(smallvec![]), entry), 10);
        assert_eq!(open_messages(&delivery(smallvec![0b101]), entry), 2);
        assert_eq!(open_messages(&delivery(smallvec![u64::MAX]), entry), 10, "bits beyond the batch do not count");
        assert_eq!(open_messages(&delivery(smallvec![]), b"garbage"), 1);
    }

    #[test]
    fn a_reader_goes_on_after_its_last_message() {
        let id = |entry, batch_index| MessageId { position: Position::new(1, entry), partition: -1, batch_index };
        let mut state = State {
            link: Link::Down,
            lost: false,
            permits: Permits::new(1),
            batches: Batches::default(),
            resume: None,
            start: Some(Start::After(id(4, 1))),
        };
        assert!(!state.is_wanted(id(3, -1)) && !state.is_wanted(id(4, 1)) && state.is_wanted(id(4, 2)));
        state.start = Some(Start::At(id(4, 1)));
        assert!(!state.is_wanted(id(4, 0)) && state.is_wanted(id(4, 1)));
        state.resume = Some(id(5, -1));
        assert!(!state.is_wanted(id(5, -1)) && state.is_wanted(id(6, 0)));
    }
}
