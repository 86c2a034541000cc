//! Consumers of a topic's subscriptions: subscribe, flow, acknowledge, redeliver, leave, seek.

use model::{InitialPosition, Position};
use smallvec::SmallVec;
use std::sync::Arc;

use super::{
    Topic,
    seek::{self, SeekTarget},
};
use crate::{
    error::{Error, Result},
    peer::{Outgoing, Peer},
    requests::{Ack, NewConsumer},
    shard::{After, At, Context},
    subscription::Consumer,
};

/// The cursor behind a consumer and, if it reads what compaction left, the one that has not acknowledged that.
#[derive(Clone, Copy)]
pub(crate) struct Reads {
    pub(crate) cursor: ledger::CursorId,
    pub(crate) compacted: Option<ledger::CursorId>,
}

impl Topic {
    /// Adds a consumer, opening its subscription when there is none of that name.
    ///
    /// A reader's subscription is not durable and starts where the request says: a message id steps back one entry, so
    /// that the client can filter within a batch. Source: Pulsar's `PersistentTopic.getNonDurableSubscription`.
    pub(crate) fn subscribe(&mut self, cx: &mut Context, peer: &Arc<Peer>, request: NewConsumer) -> Result<At> {
        let types = &self.policies.subscription_types;
        if !types.is_empty() && !types.contains(&request.kind) {
            let (topic, kind) = (self.name(), request.kind.name());
            return Err(Error::NotAllowed(format!("Topic[{{{topic}}}] doesn't support {kind} sub type!")));
        }
        if request.read_compacted && !request.kind.is_single_active() {
            let why_not = "readCompacted only allowed on failover or exclusive subscriptions";
            return Err(Error::NotAllowed(why_not.into()));
        }
        let max = self.policies.max_consumers;
        if max > 0 && self.subscriptions.values().map(|s| s.consumers().len()).sum::<usize>() >= max {
            return Err(Error::ConsumerBusy("Topic reached max consumers limit".into()));
        }
        let (id, opened) = self.find_or_open(cx, &request)?;
        let key = cx.next_id();
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return Err(Error::NotReady("the subscription was deleted".into()));
        };
        let consumer = Consumer::new(key, peer.clone(), &request, cx.now_ms);
        let partition = self.ledger.name().partition();
        let max = self.policies.max_consumers_per_subscription;
        let added = subscription.add_consumer(cx, &mut self.ledger, consumer, &request, partition, max);
        if let Err(error) = added {
            if opened && !request.durable {
                self.drop_subscription(cx, id);
            }
            return Err(error);
        }
        if request.schema.is_some_and(|schema| schema.is_any()) {
            self.any_schema.insert(key);
        }
        self.attach(cx, peer);
        self.touch(cx);
        self.set_ready(cx);
        Ok(At { topic: self.id, subscription: id, consumer: key })
    }

    /// Whether the schema of a consumer may become that of the topic: nobody produces, nobody consumes what has another
    /// schema or none, and nothing is stored.
    ///
    /// Source: Pulsar's `PersistentTopic` and `NonPersistentTopic.addSchemaIfIdleOrCheckCompatible`.
    pub(crate) fn may_take_schema(&self) -> bool {
        let empty = if self.is_persistent() {
            self.ledger.first_position() > self.ledger.last_position()
        } else {
            self.ledger.entries_added() == 0
        };
        let mut consumers = self.subscriptions.values().flat_map(|subscription| subscription.consumers());
        empty && self.producers.is_empty() && consumers.all(|consumer| self.any_schema.contains(&consumer.key))
    }

    /// Forgets which consumers take every schema when they are gone.
    pub(super) fn purge_any_schema(&mut self) {
        if !self.any_schema.is_empty() {
            let consumers = self.subscriptions.values().flat_map(|subscription| subscription.consumers());
            let known = std::mem::take(&mut self.any_schema);
            self.any_schema = consumers.map(|consumer| consumer.key).filter(|key| known.contains(key)).collect();
        }
    }

    /// The subscription that a consumer asks for, and whether it was opened for it.
    pub(crate) fn find_or_open(&mut self, cx: &mut Context, request: &NewConsumer) -> Result<(u64, bool)> {
        let Some(&id) = self.by_name.get(&request.subscription) else {
            return Ok((self.open_subscription(cx, request)?, true));
        };
        if self.subscriptions.get(&id).is_some_and(|s| s.durable() != request.durable) {
            return Err(Error::NotAllowed(format!(
                "Durable subscription with the same name already exists: {}",
                request.subscription
            )));
        }
        Ok((id, false))
    }

    fn open_subscription(&mut self, cx: &mut Context, request: &NewConsumer) -> Result<u64> {
        let max = self.policies.max_subscriptions;
        if max > 0 && self.subscriptions.len() >= max {
            return Err(Error::NotAllowed(format!(
                "Exceed the maximum number of subscriptions of the topic: {}",
                self.name()
            )));
        }
        if request.durable && self.is_persistent() && !self.policies.auto_subscription_creation {
            return Err(Error::SubscriptionNotFound {
                topic: self.name().clone(),
                subscription: request.subscription.clone(),
            });
        }
        let mark_delete = match (request.start_message_id, request.initial_position) {
            (Some(position), _) => seek::before(position).min(self.ledger.last_confirmed()),
            (None, InitialPosition::Latest) => self.ledger.last_confirmed(),
            (None, InitialPosition::Earliest) => seek::before(self.ledger.first_position()),
        };
        let properties = request.subscription_properties.clone();
        Ok(self.new_cursor(cx, &request.subscription, mark_delete, request.durable, properties))
    }

    /// Opens a subscription at `mark_delete`.
    pub(crate) fn new_cursor(
        &mut self,
        cx: &mut Context,
        name: &str,
        mark_delete: Position,
        durable: bool,
        properties: std::collections::BTreeMap<String, String>,
    ) -> u64 {
        let batch = durable.then_some(&mut cx.batch);
        let cursor = self.ledger.open_cursor(batch, name, mark_delete, properties);
        self.add_subscription(cx, name.to_owned(), cursor, durable)
    }

    /// The subscription a consumer belongs to.
    pub(crate) fn subscription_of(&self, consumer: u64) -> Result<u64> {
        self.subscriptions
            .iter()
            .find(|(_, s)| s.consumers().iter().any(|c| c.key == consumer))
            .map(|(&id, _)| id)
            .ok_or_else(|| Error::NotReady("the consumer is not connected".into()))
    }

    pub(crate) fn flow(&mut self, cx: &mut Context, at: At, permits: u32) {
        if self.subscriptions.get_mut(&at.subscription).is_some_and(|s| s.flow(at.consumer, permits, cx.now_ms)) {
            self.set_ready_for(cx, at.subscription);
        }
    }

    /// Acknowledges what a client asks for. Of a subscription that knows too many batches in part it takes no more of them: these come
    /// again, and who asked for an answer is told.
    pub(crate) fn ack_of_client(&mut self, cx: &mut Context, at: At, mut ack: Ack) {
        let Some(subscription) = self.subscriptions.get(&at.subscription) else { return };
        let cursor = subscription.cursor();
        if !ack.cumulative && !self.ledger.has_room_for_parts(cursor) {
            let asked = ack.ids.len();
            ack.ids.retain(|(position, set)| set.is_empty() || self.ledger.ack_set(cursor, *position).is_some());
            if ack.ids.len() < asked
                && let Some(request_id) = ack.request_id.take()
                && let Some(consumer) = subscription.consumer(at.consumer)
            {
                let why = format!("Subscription {} has too many batches acknowledged in part", subscription.name());
                let (consumer_id, error) = (consumer.consumer_id, Some(Error::TooMany(why)));
                cx.outbox.push(&consumer.peer, Outgoing::AckResponse { consumer_id, request_id, error });
            }
        }
        self.ack(cx, at, &ack);
    }

    /// Acknowledges; the answer, where one is asked for, follows the commit.
    pub(crate) fn ack(&mut self, cx: &mut Context, at: At, ack: &Ack) {
        let Some(subscription) = self.subscriptions.get_mut(&at.subscription) else { return };
        let Some(consumer) = subscription.consumer(at.consumer) else { return };
        if let Some(request_id) = ack.request_id {
            let (peer, consumer_id) = (consumer.peer.clone(), consumer.consumer_id);
            cx.after.push(After::AckResponse { peer, consumer_id, request_id });
        }
        let freed = subscription.ack(&mut self.ledger, at.consumer, ack, cx.now_ms);
        if self.ledger.acks_dirty() {
            cx.acks_dirty(self.id, ack.request_id.is_some());
        }
        if self.terminated {
            self.set_ready(cx);
        } else if freed {
            self.set_ready_for(cx, at.subscription);
        }
    }

    /// Whether this consumer has all of these entries, unacknowledged; see [`crate::Broker::commit`].
    ///
    /// # Errors
    /// [`Error::Conflict`].
    pub(crate) fn may_ack(&self, at: At, ids: &[(Position, SmallVec<[u64; 2]>)]) -> Result<()> {
        let subscription = self.subscriptions.get(&at.subscription);
        let Some(subscription) = subscription.filter(|s| s.consumer(at.consumer).is_some()) else {
            return Err(Error::Conflict("the consumer is not connected any more".into()));
        };
        match ids.iter().find(|(position, set)| !subscription.has(&self.ledger, at.consumer, *position, set)) {
            Some((position, _)) => Err(Error::Conflict(format!(
                "the consumer does not have {position} of subscription {}, topic {}",
                subscription.name(),
                self.name()
            ))),
            None => Ok(()),
        }
    }

    pub(crate) fn redeliver(&mut self, cx: &mut Context, at: At, positions: &[Position], epoch: Option<u64>) {
        if let Some(subscription) = self.subscriptions.get_mut(&at.subscription) {
            subscription.redeliver(&self.ledger, at.consumer, positions, epoch);
            self.set_ready_for(cx, at.subscription);
        }
    }

    /// Takes back what a consumer has not begun.
    pub(crate) fn give_back(&mut self, cx: &mut Context, at: At, positions: &[Position]) {
        if let Some(subscription) = self.subscriptions.get_mut(&at.subscription) {
            subscription.give_back_unbegun(&self.ledger, at.consumer, positions);
            self.set_ready_for(cx, at.subscription);
        }
    }

    /// A consumer has given back what it will of what it was asked for.
    pub(crate) fn gave_back(&mut self, cx: &mut Context, at: At) {
        if let Some(subscription) = self.subscriptions.get_mut(&at.subscription) {
            subscription.gave_back(at.consumer);
            self.set_ready_for(cx, at.subscription);
        }
    }

    /// Removes a consumer; what it did not acknowledge goes to the others.
    pub(crate) fn close_consumer(&mut self, cx: &mut Context, consumer: u64) {
        let Ok(id) = self.subscription_of(consumer) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let partition = self.ledger.name().partition();
        subscription.remove_consumer(cx, &self.ledger, consumer, partition);
        if !subscription.durable() && !subscription.has_consumers() {
            self.drop_subscription(cx, id);
        }
        self.touch(cx);
        self.set_ready(cx);
    }

    /// Removes a consumer that its client is closing by itself.
    pub(crate) fn close_consumer_quietly(&mut self, cx: &mut Context, subscription: u64, consumer: u64) {
        let partition = self.ledger.name().partition();
        if let Some(subscription) = self.subscriptions.get_mut(&subscription) {
            subscription.remove_consumer(cx, &self.ledger, consumer, partition);
        }
    }

    /// What a consumer reads.
    pub(crate) fn reads(&self, consumer: u64) -> Result<Reads> {
        let id = self.subscription_of(consumer)?;
        let subscription = self.subscriptions.get(&id).ok_or_else(|| Error::NotReady("no such consumer".into()))?;
        let compacted = self.compaction_cursor.filter(|_| subscription.reads_compacted());
        Ok(Reads { cursor: subscription.cursor(), compacted })
    }

    /// Takes no more messages; consumers hear of it when they have them all.
    pub(crate) fn set_terminated(&mut self, cx: &mut Context) {
        self.terminated = true;
        self.disconnect_producers(cx, &Error::TopicTerminated);
        self.set_ready(cx);
    }

    /// Deletes a subscription and its cursor.
    pub(crate) fn drop_subscription(&mut self, cx: &mut Context, id: u64) {
        if let Some(mut subscription) = self.remove_subscription(id) {
            subscription.disconnect_all(&mut self.ledger, cx);
            self.ledger.delete_cursor(&mut cx.batch, subscription.cursor());
            if cx.bells.on(self.name()) {
                self.set_ready(cx);
            }
        }
    }

    /// Whether a consumer may delete its subscription.
    pub(crate) fn may_unsubscribe(&self, id: u64, force: bool) -> Result<()> {
        match self.subscriptions.get(&id) {
            Some(subscription) if !force && subscription.consumers().len() > 1 => {
                Err(Error::ConsumerBusy("Subscription has active connected consumers".into()))
            }
            Some(_) => Ok(()),
            None => Err(Error::NotReady("the subscription was deleted".into())),
        }
    }

    /// Disconnects a subscription's consumers so that it can be moved.
    pub(super) fn fence_subscription(&mut self, cx: &mut Context, id: u64) -> Result<()> {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return Err(Error::NotReady("the subscription was deleted".into()));
        };
        if !subscription.fence() {
            return Err(Error::NotReady("Failed to fence subscription: another seek is under way".into()));
        }
        subscription.disconnect_all(&mut self.ledger, cx);
        Ok(())
    }

    /// Moves a fenced subscription and opens it again.
    pub(super) fn move_subscription(
        &mut self,
        cx: &mut Context,
        id: u64,
        target: SeekTarget,
        to: Result<Position>,
    ) -> Result<()> {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return Err(Error::NotReady("the subscription was deleted".into()));
        };
        subscription.unfence();
        let mark_delete = to?;
        self.ledger.reset_cursor(&mut cx.batch, subscription.cursor(), mark_delete);
        if let SeekTarget::Within { entry, first, messages } = target {
            self.ledger.ack_batch(subscription.cursor(), entry, messages, &words_from(first, messages));
            if self.ledger.acks_dirty() {
                // Who asked is answered when it is durable.
                cx.acks_dirty(self.id, true);
            }
        }
        subscription.rewind(&self.ledger);
        self.set_ready(cx);
        Ok(())
    }

    /// Tells the consumers of a subscription which of them is active. Sent only to clients that know the command.
    pub(crate) fn tell_active(cx: &mut Context, consumer: &Consumer, active: bool) {
        if consumer.peer.info.protocol_version >= 12 {
            let consumer_id = consumer.consumer_id;
            cx.outbox.push(&consumer.peer, Outgoing::ActiveConsumerChange { consumer_id, active });
        }
    }
}

/// Bits `first..end`, 64 a word.
fn words_from(first: u32, end: u32) -> Vec<u64> {
    let mut words = vec![0; end.div_ceil(64) as usize];
    for bit in first..end {
        words[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words_from;

    #[test]
    fn what_is_left_of_a_batch_from_a_message_on() {
        assert_eq!(words_from(2, 5), [0b11100]);
        assert_eq!(words_from(63, 65), [1 << 63, 1]);
        assert_eq!(words_from(64, 66), [0, 0b11]);
        assert_eq!(words_from(7, 7), [0]);
    }
}
