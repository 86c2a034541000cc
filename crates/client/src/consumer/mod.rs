//! Receiving: one [`Consumer`] over the partitions of a topic, one feed for each of them, one queue for all.
//!
//! Entries wait in the queue as they came; they are decoded when somebody receives. Permits are given back when messages
//! leave the queue, so the broker never sends more than the queue's capacity ahead (a batch may overshoot it).
//! Invariant: what is in the queue came over the link its feed has now; losing a link empties the feed's part of the queue,
//! since the broker will deliver those entries again. Source: Pulsar's `ConsumerImpl` and `MultiTopicsConsumerImpl`.

mod feed;

use self::feed::{Feed, message_id, open_messages, redeliver};
use crate::{
    Entry, Error, Message, Result,
    client::{Inner, random},
    hot::Delivery,
    message,
    reader::Start,
};
use bytes::Bytes;
use model::{InitialPosition, MessageId, Position, SubscriptionType, TopicName};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::Notify;
use wire::proto::{self, BaseCommand, base_command::Type, command_ack::AckType};

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
    pub(crate) queue_bytes: Option<usize>,
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
            queue_bytes: None,
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

    /// And about how many bytes of them: fewer messages are let come while as many might be more. How large they are shows when some
    /// have come, so a large one after many small ones may bring others along.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.options.queue_bytes = Some(bytes);
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
        feed.consumed(messages, bytes.len());
        Ok(Entry { topic: feed.topic.clone(), delivery, messages, bytes })
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
        feed.consumed(open_messages(delivery, &entry), entry.len());
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
            feed.consumed(dropped, 0);
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

#[cfg(test)]
mod closed;
#[cfg(test)]
mod tests;
