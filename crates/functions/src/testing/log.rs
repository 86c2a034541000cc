//! Topics in memory: what is published goes to those who are subscribed, each message to one of them until that gives it back or goes.

use async_trait::async_trait;
use futures::future::BoxFuture;
use model::TopicName;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Commit, Error, EventLog, Message, MessageId, Record, Result, Session, Tables,
    event_log::{Arrived, InputSpec, InputStats, OutputSpec, Reads, topics_matching},
    message::{InputId, OutputId},
};

/// A broker of topics without partitions. A subscription gets what is published after it was made; sessions of one subscription share.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
    tables: Arc<dyn Tables>,
}

#[derive(Default)]
struct Shared {
    topics: parking_lot::Mutex<BTreeMap<String, Topic>>,
    sessions: AtomicU64,
    /// Something was published, or given back, or asked for.
    published: Notify,
    asked: AtomicU64,
    says_nothing: AtomicBool,
    /// Of which topic it never ends to find out what waits.
    stuck: parking_lot::Mutex<Option<String>>,
    /// Which topic cannot be subscribed to.
    refused: parking_lot::Mutex<Option<String>>,
    /// Other clusters, and where they are.
    clusters: parking_lot::Mutex<BTreeMap<String, String>>,
}

#[derive(Default)]
struct Topic {
    messages: Vec<Message>,
    published_at: Vec<Instant>,
    subscriptions: BTreeMap<String, Subscription>,
}

#[derive(Default)]
struct Subscription {
    queue: VecDeque<usize>,
    /// Messages that sessions have, and which one.
    held: BTreeMap<usize, u64>,
    /// Sessions that are subscribed.
    consumers: BTreeSet<u64>,
}

impl Subscription {
    fn give_back(&mut self, wanted: impl Fn(usize, u64) -> bool) {
        let back: Vec<usize> =
            self.held.extract_if(.., |index, session| wanted(*index, *session)).map(|(at, _)| at).collect();
        back.into_iter().rev().for_each(|index| self.queue.push_front(index));
    }
}

impl MemoryLog {
    /// Empty; changes of commits go to `tables`.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>) -> Self {
        Self { shared: Arc::default(), tables }
    }

    /// Publishes a message.
    pub fn publish(&self, topic: &str, record: Record) {
        self.shared.publish(topic, record);
    }

    /// How often somebody asked what waits.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Relaxed)
    }

    /// From now on nobody learns what waits, or does again.
    pub fn says_nothing(&self, nothing: bool) {
        self.shared.says_nothing.store(nothing, Relaxed);
    }

    /// From now on it never ends to find out what waits on this topic.
    pub fn sticks_at(&self, topic: &str) {
        *self.shared.stuck.lock() = Some(topic.to_owned());
    }

    /// From now on this topic cannot be subscribed to, or all can.
    pub fn refuses(&self, topic: Option<&str>) {
        *self.shared.refused.lock() = topic.map(str::to_owned);
    }

    /// From now on there is another cluster, or it is somewhere else.
    pub fn has_cluster(&self, name: &str, url: &str) {
        self.shared.clusters.lock().insert(name.to_owned(), url.to_owned());
    }

    /// What was published to a topic.
    #[must_use]
    pub fn messages(&self, topic: &str) -> Vec<Message> {
        self.shared.topics.lock().get(topic).map(|topic| topic.messages.clone()).unwrap_or_default()
    }

    /// Subscriptions of a topic.
    #[must_use]
    pub fn subscriptions(&self, topic: &str) -> BTreeSet<String> {
        let topics = self.shared.topics.lock();
        topics.get(topic).map(|topic| topic.subscriptions.keys().cloned().collect()).unwrap_or_default()
    }
}

impl Shared {
    fn publish(&self, name: &str, record: Record) {
        let Ok(parsed) = name.parse::<TopicName>() else { return };
        let mut topics = self.topics.lock();
        let topic = topics.entry(name.to_owned()).or_default();
        let index = topic.messages.len();
        topic.messages.push(Message {
            input: 0,
            topic: Arc::new(parsed),
            id: MessageId { ledger: 1, entry: index as i64, partition: -1, batch_index: -1, batch_size: 0 },
            key: record.key,
            properties: record.properties,
            event_time_ms: record.event_time_ms,
            publish_time_ms: 1,
            producer: "p".into(),
            sequence_id: record.sequence_id.unwrap_or(index as u64),
            redelivery_count: 0,
            schema_version: bytes::Bytes::new(),
            payload: record.payload,
        });
        topic.published_at.push(Instant::now());
        for subscription in topic.subscriptions.values_mut() {
            subscription.queue.push_back(index);
        }
        drop(topics);
        self.published.notify_waiters();
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn session(&self, _name: &str) -> Result<Box<dyn Session>> {
        let (shared, tables) = (self.shared.clone(), self.tables.clone());
        let id = shared.sessions.fetch_add(1, Relaxed);
        Ok(Box::new(Open { id, shared, tables, inputs: Vec::new(), outputs: Vec::new(), passing: Vec::new() }))
    }

    async fn partitions(&self, _topic: &TopicName) -> Result<u32> {
        Ok(0)
    }

    async fn matching(&self, pattern: &str, subscription: &str) -> Result<Vec<TopicName>> {
        let wanted = topics_matching(pattern, subscription)?;
        Ok(wanted.among(self.shared.topics.lock().keys().filter_map(|topic| topic.parse().ok())))
    }

    async fn cluster(&self, name: &str) -> Result<String> {
        let url = self.shared.clusters.lock().get(name).cloned();
        url.ok_or_else(|| Error::Invalid(format!("there is no cluster {name:?}")))
    }

    async fn unsubscribe(&self, topic: &TopicName, subscription: &str) -> Result<()> {
        if let Some(topic) = self.shared.topics.lock().get_mut(&topic.to_string()) {
            topic.subscriptions.remove(subscription);
        }
        Ok(())
    }

    async fn input_stats(&self, reads: &Reads) -> Result<Option<InputStats>> {
        self.shared.asked.fetch_add(1, Relaxed);
        if self.shared.says_nothing.load(Relaxed) {
            return Err(Error::Closed("the broker is busy".to_owned()));
        }
        let stuck = self.shared.stuck.lock().clone();
        if stuck.is_some_and(|stuck| reads.topics.iter().any(|(topic, _)| *topic == stuck)) {
            std::future::pending::<()>().await;
        }
        let topics = self.shared.topics.lock();
        let mut stats = InputStats::default();
        for (name, _) in &reads.topics {
            let Some(topic) = topics.get(name) else { continue };
            let parsed = name.parse().map_err(|e| Error::Invalid(format!("topic {name:?}: {e}")))?;
            stats.published.insert(parsed, topic.messages.len() as u64);
            if let Some(Subscription { queue, held, .. }) = topic.subscriptions.get(&reads.subscription) {
                stats.backlog += (queue.len() + held.len()) as u64;
                let oldest = queue.iter().chain(held.keys()).min().and_then(|index| topic.published_at.get(*index));
                stats.oldest = stats.oldest.max(oldest.map_or(Duration::ZERO, Instant::elapsed));
            }
        }
        Ok(Some(stats))
    }

    async fn wake(&self, reads: Reads) -> Result<()> {
        {
            let mut topics = self.shared.topics.lock();
            for (name, _) in &reads.topics {
                let topic = topics.entry(name.clone()).or_default();
                topic.subscriptions.entry(reads.subscription.clone()).or_default();
            }
        }
        loop {
            let published = self.shared.published.notified();
            tokio::pin!(published);
            published.as_mut().enable();
            let waits = |(name, _): &(String, bool)| {
                let topics = self.shared.topics.lock();
                let subscription = topics.get(name).and_then(|topic| topic.subscriptions.get(&reads.subscription));
                subscription.is_none_or(|one| one.consumers.is_empty() && !one.queue.is_empty())
            };
            if reads.topics.iter().any(waits) {
                return Ok(());
            }
            published.await;
        }
    }
}

struct Open {
    id: u64,
    shared: Arc<Shared>,
    tables: Arc<dyn Tables>,
    /// Topic, subscription, permits; `None` once closed.
    inputs: Vec<Option<(String, String, u32)>>,
    outputs: Vec<String>,
    /// Topics and subscriptions that go with the session.
    passing: Vec<(String, String)>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut topics = self.shared.topics.lock();
        for (topic, subscription) in &self.passing {
            if let Some(topic) = topics.get_mut(topic) {
                topic.subscriptions.remove(subscription);
            }
        }
        for (topic, subscription, _) in self.inputs.iter().flatten() {
            if let Some(known) = topics.get_mut(topic).and_then(|topic| topic.subscriptions.get_mut(subscription)) {
                known.give_back(|_, session| session == self.id);
                known.consumers.remove(&self.id);
            }
        }
        self.shared.published.notify_waiters();
    }
}

impl Open {
    /// All of them, or none when one is not held here.
    fn acknowledge(&self, acks: &[(InputId, MessageId)]) -> bool {
        let mut topics = self.shared.topics.lock();
        let mut with_each = |mut work: Box<dyn FnMut(&mut Subscription, usize) -> bool + '_>| {
            acks.iter().all(|(input, id)| {
                let Some(Some((name, subscription, _))) = self.inputs.get(*input as usize) else { return false };
                let known = topics.get_mut(name).and_then(|topic| topic.subscriptions.get_mut(subscription));
                known.is_some_and(|known| work(known, id.entry as usize))
            })
        };
        with_each(Box::new(|known, index| known.held.get(&index) == Some(&self.id)))
            && with_each(Box::new(|known, index| known.held.remove(&index).is_some()))
    }

    fn take(&mut self) -> Option<Vec<Message>> {
        let mut topics = self.shared.topics.lock();
        for (input, open) in (0..).zip(&mut self.inputs) {
            let Some((name, subscription, permits)) = open else { continue };
            let Some(topic) = topics.get_mut(name) else { continue };
            let Some(known) = topic.subscriptions.get_mut(subscription) else { continue };
            let count = known.queue.len().min(*permits as usize);
            if count > 0 {
                *permits -= count as u32;
                let taken: Vec<usize> = known.queue.drain(..count).collect();
                known.held.extend(taken.iter().map(|index| (*index, self.id)));
                let messages = taken.into_iter().map(|index| Message { input, ..topic.messages[index].clone() });
                return Some(messages.collect());
            }
        }
        None
    }
}

#[async_trait]
impl Session for Open {
    async fn subscribe(&mut self, input: InputSpec) -> Result<InputId> {
        let topic = input.topic.to_string();
        if self.shared.refused.lock().as_ref() == Some(&topic) {
            return Err(Error::Broker("not now".to_owned()));
        }
        self.shared
            .topics
            .lock()
            .entry(topic.clone())
            .or_default()
            .subscriptions
            .entry(input.subscription.clone())
            .or_default()
            .consumers
            .insert(self.id);
        if !input.durable {
            self.passing.push((topic.clone(), input.subscription.clone()));
        }
        self.inputs.push(Some((topic, input.subscription, 0)));
        Ok((self.inputs.len() - 1) as InputId)
    }

    async fn open_output(&mut self, output: OutputSpec) -> Result<OutputId> {
        self.outputs.push(output.topic.to_string());
        Ok((self.outputs.len() - 1) as OutputId)
    }

    fn flow(&mut self, input: InputId, permits: u32) {
        if let Some(Some((.., have))) = self.inputs.get_mut(input as usize) {
            *have += permits;
            self.shared.published.notify_waiters();
        }
    }

    async fn next(&mut self) -> Result<Arrived> {
        loop {
            let shared = self.shared.clone();
            let published = shared.published.notified();
            tokio::pin!(published);
            published.as_mut().enable();
            if let Some(messages) = self.take() {
                return Ok(Arrived::Messages(messages));
            }
            published.await;
        }
    }

    fn commit(&mut self, commit: Commit) -> BoxFuture<'static, Result<()>> {
        if !self.acknowledge(&commit.acks) {
            return Box::pin(std::future::ready(Err(Error::Conflict)));
        }
        let outputs: Vec<_> = commit
            .outputs
            .into_iter()
            .map(|(output, record)| (self.outputs.get(output as usize).cloned(), record))
            .collect();
        let (shared, tables) = (self.shared.clone(), self.tables.clone());
        Box::pin(async move {
            tables.write(commit.changes).await?;
            for (topic, record) in outputs {
                let topic = topic.ok_or_else(|| Error::Closed("there is no such output".to_owned()))?;
                shared.publish(&topic, record);
            }
            Ok(())
        })
    }

    fn redeliver(&mut self, ids: &[(InputId, MessageId)]) {
        let mut topics = self.shared.topics.lock();
        for (input, id) in ids {
            if let Some(Some((name, subscription, _))) = self.inputs.get(*input as usize)
                && let Some(known) = topics.get_mut(name).and_then(|topic| topic.subscriptions.get_mut(subscription))
            {
                known.give_back(|index, session| index == id.entry as usize && session == self.id);
            }
        }
        self.shared.published.notify_waiters();
    }

    fn max_message_bytes(&self) -> usize {
        5 * 1024 * 1024
    }
}
