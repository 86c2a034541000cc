//! A topic: its producers, its subscriptions and the managed ledger they share.
//!
//! Owned by one shard and changed only there. What is stored lives in `ledger`; what is here is gone when the topic is
//! unloaded and comes back from the ledger's row when it is loaded. A topic that is not persistent has no row: its
//! ledger only numbers what passes through, and what no consumer has permits for in the same turn is dropped.

mod admission;
pub(crate) mod backlog;
pub(crate) mod compaction;
mod consumers;
mod maintenance;
mod producers;
mod publish;
pub(crate) mod seek;
mod stats;
mod waiting;

use ledger::{CursorId, ManagedLedger};
use model::{Position, TopicName};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    collections::{VecDeque, hash_map::Entry},
    sync::Arc,
};

use crate::{
    compaction::SUBSCRIPTION, error::Result, metadata::TopicPolicies, peer::Peer, publish_limit::PublishLimit,
    rate::Rate, shard::Context, subscription::Subscription,
};
pub(crate) use admission::Admission;
pub(crate) use consumers::Reads;
pub(crate) use producers::Producer;
pub(crate) use publish::MESSAGES_MAX;

/// Property of a topic's row that says it takes no more messages.
pub(crate) const TERMINATED: &str = "geminga.terminated";

/// From this many subscriptions on, what happens on one is not looked for on all.
const MANY_SUBSCRIPTIONS: usize = 16;

/// See the module.
pub(crate) struct Topic {
    id: u64,
    pub(crate) ledger: ManagedLedger,
    producers: FxHashMap<u64, Producer>,
    /// Most topics have one, and a map has room for several.
    subscriptions: FxHashMap<u64, Box<Subscription>>,
    by_name: FxHashMap<String, u64>,
    pub(crate) policies: Arc<TopicPolicies>,
    pub(crate) publish_limit: Arc<PublishLimit>,
    /// Raised each time a producer gets exclusive access.
    epoch: Option<u64>,
    /// The producer with exclusive access.
    exclusive: Option<u64>,
    /// Producers waiting for exclusive access.
    waiting: VecDeque<producers::Waiting>,
    /// Connections that have or had something here: `Context::peers` the other way round.
    peers: FxHashSet<u64>,
    /// Producers that deduplication knows and that are not connected, and since when (wall clock milliseconds).
    inactive: FxHashMap<String, u64>,
    /// Consumers that take every schema, and some that did and are gone.
    any_schema: FxHashSet<u64>,
    /// The backlog quota is passed: producers are held or refused.
    quota_exceeded: bool,
    /// The size part of the quota, as last found.
    too_large: bool,
    /// The age part of the quota, as last found.
    too_old: bool,
    terminated: bool,
    compaction: compaction::Compaction,
    /// The cursor that has not acknowledged what compaction left, once there is one.
    compaction_cursor: Option<CursorId>,
    /// In `Context::ready` already.
    ready: bool,
    /// Any subscription may have something to send; else only those listed.
    all_ready: bool,
    ready_subscriptions: Vec<u64>,
    /// Subscriptions that somebody watches, see [`crate::Broker::waiting`].
    watched: Vec<String>,
    /// Wall clock milliseconds when the last client left.
    idle_since: u64,
    msg_in: Rate,
    bytes_in: Rate,
    /// Wall clock milliseconds of the last message since the topic was loaded, 0 when there is none.
    last_publish_ms: u64,
}

impl Topic {
    /// A topic just loaded, with the subscriptions its row knows.
    pub(crate) fn load(id: u64, ledger: ManagedLedger, cx: &mut Context) -> Result<Self> {
        let policies = cx.metadata.topic_policies(ledger.name());
        let terminated = ledger.properties().contains_key(TERMINATED);
        let mut topic = Self {
            id,
            producers: FxHashMap::default(),
            subscriptions: FxHashMap::default(),
            by_name: FxHashMap::default(),
            publish_limit: Arc::new(PublishLimit::new(policies.publish_rate)),
            policies,
            epoch: ledger.properties().get("geminga.topic-epoch").and_then(|e| e.parse().ok()),
            exclusive: None,
            waiting: VecDeque::new(),
            peers: FxHashSet::default(),
            inactive: ledger.dedup_producers().into_iter().map(|(name, _)| (name, cx.now_ms)).collect(),
            any_schema: FxHashSet::default(),
            quota_exceeded: false,
            too_large: false,
            too_old: false,
            terminated,
            compaction: compaction::Compaction::default(),
            compaction_cursor: None,
            ready: false,
            all_ready: false,
            ready_subscriptions: Vec::new(),
            watched: Vec::new(),
            idle_since: cx.now_ms,
            msg_in: Rate::default(),
            bytes_in: Rate::default(),
            last_publish_ms: 0,
            ledger,
        };
        let cursors: Vec<_> = topic.ledger.cursors().into_iter().map(|(id, name)| (id, name.to_owned())).collect();
        for (cursor, name) in cursors {
            topic.add_subscription(cx, name, cursor, true);
        }
        topic.compact_by_policy(cx);
        // The storage keeps everything until it is told what retention applies.
        topic.trim(cx);
        Ok(topic)
    }

    pub(crate) fn name(&self) -> &TopicName {
        self.ledger.name()
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.name().is_persistent()
    }

    pub(crate) fn subscription_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }

    pub(crate) fn durable_subscriptions(&self) -> Vec<String> {
        self.subscriptions.values().filter(|s| s.durable()).map(|s| s.name().to_owned()).collect()
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Asks for a dispatch at the end of this turn.
    pub(crate) fn set_ready(&mut self, cx: &mut Context) {
        self.set_ready_in(&mut cx.ready);
    }

    /// The same for one subscription: what its consumers do concerns no other.
    fn set_ready_for(&mut self, cx: &mut Context, subscription: u64) {
        if self.subscriptions.len() < MANY_SUBSCRIPTIONS || !self.is_persistent() {
            return self.set_ready(cx);
        }
        if self.ready_subscriptions.last() != Some(&subscription) {
            self.ready_subscriptions.push(subscription);
        }
        if !std::mem::replace(&mut self.ready, true) {
            cx.ready.push(self.id);
        }
    }

    pub(crate) fn set_ready_in(&mut self, ready: &mut Vec<u64>) {
        self.all_ready = true;
        if !std::mem::replace(&mut self.ready, true) {
            ready.push(self.id);
        }
    }

    /// Remembers that a connection has something here.
    fn attach(&mut self, cx: &mut Context, peer: &Peer) {
        if self.peers.insert(peer.id) {
            cx.peers.entry(peer.id).or_default().insert(self.id);
        }
    }

    /// Gives every subscription that is ready what its consumers can take.
    pub(crate) fn dispatch(&mut self, cx: &mut Context) {
        self.ready = false;
        if !std::mem::take(&mut self.all_ready) {
            return self.dispatch_some(cx);
        }
        self.ready_subscriptions.clear();
        let mut again = false;
        let mut read_by_all: Option<Position> = None;
        let bounds = (self.policies.max_unacked_per_consumer, self.policies.max_unacked_per_subscription);
        let compacted = self.compaction_cursor;
        for subscription in self.subscriptions.values_mut() {
            again |= subscription.dispatch(&mut self.ledger, cx, bounds, compacted);
            if subscription.has_consumers() {
                let at = subscription.read_position();
                read_by_all = Some(read_by_all.map_or(at, |p: Position| p.min(at)));
            }
        }
        if cx.bells.on(self.name()) {
            again |= self.ring(cx);
        }
        // What every connected subscription has read is no longer the tail that somebody follows.
        if let Some(position) = read_by_all {
            self.ledger.cache_evict_before(position);
        }
        if self.terminated {
            for subscription in self.subscriptions.values_mut() {
                subscription.notify_end(&self.ledger, cx);
            }
        }
        if again {
            self.set_ready(cx);
        } else if !self.is_persistent() {
            for subscription in self.subscriptions.values_mut() {
                subscription.drop_rest(&mut self.ledger, cx.now_ms);
            }
            self.ledger.discard();
        }
    }

    fn dispatch_some(&mut self, cx: &mut Context) {
        let bounds = (self.policies.max_unacked_per_consumer, self.policies.max_unacked_per_subscription);
        let compacted = self.compaction_cursor;
        let (subscriptions, ledger) = (&mut self.subscriptions, &mut self.ledger);
        self.ready_subscriptions
            .retain(|id| subscriptions.get_mut(id).is_some_and(|s| s.dispatch(ledger, cx, bounds, compacted)));
        if !self.ready_subscriptions.is_empty() {
            self.ready = true;
            cx.ready.push(self.id);
        }
        if cx.bells.on(self.name()) && self.ring(cx) {
            self.set_ready(cx);
        }
    }

    /// A read from disk came back.
    pub(crate) fn read_done(
        &mut self,
        cx: &mut Context,
        subscription: u64,
        generation: u64,
        replay: bool,
        result: ledger::Result<Vec<ledger::Entry>>,
    ) {
        if let Some(found) = self.subscriptions.get_mut(&subscription) {
            found.read_done(&mut self.ledger, cx, generation, replay, result);
            self.set_ready_for(cx, subscription);
        }
    }

    /// Whether any producer or consumer of this connection is here.
    pub(crate) fn has_peer(&self, peer: u64) -> bool {
        self.subscriptions.values().any(|s| s.has_peer(peer))
    }

    /// A connection is gone: closes what it had here.
    pub(crate) fn peer_gone(&mut self, cx: &mut Context, peer: u64) {
        self.peers.remove(&peer);
        let gone: Vec<_> = self.producers.iter().filter(|(_, p)| p.peer.id == peer).map(|(&key, _)| key).collect();
        for key in gone {
            self.remove_producer(cx, key);
        }
        self.waiting.retain(|w| w.peer.id != peer);
        let consumers: Vec<_> = self
            .subscriptions
            .values()
            .flat_map(|s| s.consumers().iter().filter(|c| c.peer.id == peer).map(|c| c.key))
            .collect();
        for key in consumers {
            self.close_consumer(cx, key);
        }
    }

    /// Tells every client to look up again. The ledger is the caller's to give back.
    pub(crate) fn close(&mut self, cx: &mut Context) {
        self.disconnect_producers(cx, &crate::Error::NotReady("the topic was unloaded".into()));
        // Who rests for what it published here goes on: it has to hear that it is to come again.
        self.publish_limit.set(None);
        for peer in std::mem::take(&mut self.peers) {
            if let Entry::Occupied(mut topics) = cx.peers.entry(peer) {
                topics.get_mut().remove(&self.id);
                if topics.get().is_empty() {
                    topics.remove();
                }
            }
        }
        self.ring_alarms(cx);
        for subscription in self.subscriptions.values_mut() {
            if let Some(due) = subscription.first_due() {
                cx.delayed.remove(&(due, self.id));
            }
            subscription.disconnect_all(&mut self.ledger, cx);
        }
    }

    /// Whether nobody is connected.
    pub(crate) fn is_idle(&self) -> bool {
        self.producers.is_empty() && self.waiting.is_empty() && self.subscriptions.values().all(|s| !s.has_consumers())
    }

    pub(crate) fn touch(&mut self, cx: &Context) {
        self.idle_since = cx.now_ms;
    }

    pub(crate) fn idle_for_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.idle_since)
    }

    fn add_subscription(&mut self, cx: &mut Context, name: String, cursor: CursorId, durable: bool) -> u64 {
        let id = cx.next_id();
        let mut subscription = Subscription::new((id, self.id), name.clone(), cursor, durable, &self.ledger, cx.now_ms);
        subscription.set_delays(self.policies.delayed_delivery);
        self.subscriptions.insert(id, Box::new(subscription));
        if name == SUBSCRIPTION {
            self.compaction_cursor = Some(cursor);
        }
        self.by_name.insert(name, id);
        id
    }

    fn remove_subscription(&mut self, id: u64) -> Option<Box<Subscription>> {
        let subscription = self.subscriptions.remove(&id)?;
        self.by_name.remove(subscription.name());
        self.compaction_cursor.take_if(|cursor| *cursor == subscription.cursor());
        Some(subscription)
    }

    /// The subscription of this name.
    ///
    /// # Errors
    /// [`crate::Error::SubscriptionNotFound`].
    pub(crate) fn subscription(&mut self, name: &str) -> Result<(&mut Subscription, &mut ManagedLedger)> {
        let id = self.subscription_id(name)?;
        let missing = self.no_subscription(name);
        let subscription = self.subscriptions.get_mut(&id).ok_or(missing)?;
        Ok((subscription, &mut self.ledger))
    }

    /// The cursor of the subscription of this name.
    ///
    /// # Errors
    /// [`crate::Error::SubscriptionNotFound`].
    pub(crate) fn cursor(&self, name: &str) -> Result<CursorId> {
        let id = self.subscription_id(name)?;
        self.subscriptions.get(&id).map(|subscription| subscription.cursor()).ok_or_else(|| self.no_subscription(name))
    }

    pub(crate) fn subscription_id(&self, name: &str) -> Result<u64> {
        self.by_name.get(name).copied().ok_or_else(|| self.no_subscription(name))
    }

    fn no_subscription(&self, name: &str) -> crate::Error {
        crate::Error::SubscriptionNotFound { topic: self.name().clone(), subscription: name.to_owned() }
    }
}
