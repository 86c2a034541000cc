//! The producers and consumers of one connection, by the numbers their client gave them.
//!
//! A number is taken while its creation is under way, as in Pulsar's `ServerCnx`: a second request with it is refused
//! until the first is answered, and a CLOSE in between succeeds at once and lets the creation run into nothing.

use broker::{ConsumerHandle, ProducerCreated, ProducerHandle};
use model::{SubscriptionType, TopicName};
use rustc_hash::FxHashMap;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Tells two creations with the same number apart.
pub(super) type Token = u64;

#[derive(Debug)]
pub(super) enum Slot<T> {
    Creating(Token),
    /// Closed by the client before it was created. Kept for consumers only.
    Cancelled(Token),
    /// Closed by the broker before it was created.
    Revoked(Token),
    Open(T),
}

/// What became of a creation that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Wanted,
    /// The client closed it, and has its answer.
    Cancelled,
    /// The broker closed it: the client has to try again.
    Revoked,
}

/// Ends the creation `token` of number `id`, which is free again if the creation had it.
fn finish<T>(slots: &mut FxHashMap<u64, Slot<T>>, id: u64, token: Token) -> Outcome {
    let outcome = match slots.get(&id) {
        Some(Slot::Creating(t)) if *t == token => Outcome::Wanted,
        Some(Slot::Revoked(t)) if *t == token => Outcome::Revoked,
        Some(Slot::Cancelled(t)) if *t == token => Outcome::Cancelled,
        _ => return Outcome::Cancelled,
    };
    slots.remove(&id);
    outcome
}

/// The broker closed what is being created as `id`.
fn revoke<T>(slots: &mut FxHashMap<u64, Slot<T>>, id: u64) {
    if let Some(slot) = slots.get_mut(&id)
        && let Slot::Creating(token) = *slot
    {
        *slot = Slot::Revoked(token);
    }
}

#[derive(Debug)]
pub(super) struct Producer {
    pub(super) handle: ProducerHandle,
    pub(super) request_id: u64,
    pub(super) created: ProducerCreated,
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) handle: ConsumerHandle,
    pub(super) token: Token,
    pub(super) kind: SubscriptionType,
    pub(super) partition: i32,
    /// Topic and subscription.
    pub(super) of: Arc<(TopicName, String)>,
}

/// Producers by number, and those that were closed so lately that a SEND to them is no mistake.
#[derive(Debug, Default)]
pub(super) struct Producers {
    slots: FxHashMap<u64, Slot<Producer>>,
    recently_closed: FxHashMap<u64, Instant>,
}

impl Producers {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[inline]
    pub(super) fn open(&self, id: u64) -> Option<&Producer> {
        match self.slots.get(&id) {
            Some(Slot::Open(producer)) => Some(producer),
            _ => None,
        }
    }

    pub(super) fn slot(&self, id: u64) -> Option<&Slot<Producer>> {
        self.slots.get(&id)
    }

    pub(super) fn creating(&mut self, id: u64, token: Token) {
        self.slots.insert(id, Slot::Creating(token));
    }

    /// Ends the creation `token`. Its number is free again, until [`Producers::put`].
    pub(super) fn finish(&mut self, id: u64, token: Token) -> Outcome {
        finish(&mut self.slots, id, token)
    }

    pub(super) fn revoke(&mut self, id: u64) {
        revoke(&mut self.slots, id);
    }

    pub(super) fn put(&mut self, id: u64, producer: Producer) {
        self.recently_closed.remove(&id);
        self.slots.insert(id, Slot::Open(producer));
    }

    /// Removes whatever has this number.
    pub(super) fn remove(&mut self, id: u64, now: Instant) -> Option<Producer> {
        match self.slots.remove(&id)? {
            Slot::Open(producer) => {
                self.recently_closed.insert(id, now);
                Some(producer)
            }
            Slot::Creating(_) | Slot::Cancelled(_) | Slot::Revoked(_) => None,
        }
    }

    /// The producer that `request_id` created; it waited for exclusive access.
    pub(super) fn of_request(&mut self, request_id: u64) -> Option<(u64, &mut Producer)> {
        self.slots.iter_mut().find_map(|(&id, slot)| match slot {
            Slot::Open(producer) if producer.request_id == request_id => Some((id, producer)),
            _ => None,
        })
    }

    pub(super) fn was_recently_closed(&self, id: u64) -> bool {
        self.recently_closed.contains_key(&id)
    }

    /// Forgets what was closed longer than `age` ago.
    pub(super) fn forget(&mut self, now: Instant, age: Duration) {
        self.recently_closed.retain(|_, closed| now.duration_since(*closed) < age);
    }
}

/// Consumers by number.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    slots: FxHashMap<u64, Slot<Consumer>>,
}

impl Consumers {
    #[inline]
    pub(super) fn open(&self, id: u64) -> Option<&Consumer> {
        match self.slots.get(&id) {
            Some(Slot::Open(consumer)) => Some(consumer),
            _ => None,
        }
    }

    pub(super) fn slot(&self, id: u64) -> Option<&Slot<Consumer>> {
        self.slots.get(&id)
    }

    pub(super) fn creating(&mut self, id: u64, token: Token) {
        self.slots.insert(id, Slot::Creating(token));
    }

    /// As [`Producers::finish`]; also ends a cancelled creation.
    pub(super) fn finish(&mut self, id: u64, token: Token) -> Outcome {
        finish(&mut self.slots, id, token)
    }

    pub(super) fn revoke(&mut self, id: u64) {
        revoke(&mut self.slots, id);
    }

    pub(super) fn cancel(&mut self, id: u64) {
        if let Some(slot) = self.slots.get_mut(&id)
            && let Slot::Creating(token) = *slot
        {
            *slot = Slot::Cancelled(token);
        }
    }

    pub(super) fn put(&mut self, id: u64, consumer: Consumer) {
        self.slots.insert(id, Slot::Open(consumer));
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Consumer> {
        match self.slots.get(&id) {
            Some(Slot::Open(_)) => match self.slots.remove(&id) {
                Some(Slot::Open(consumer)) => Some(consumer),
                _ => None,
            },
            _ => None,
        }
    }

    /// Removes the consumer if it still is the one that `token` created.
    pub(super) fn remove_if(&mut self, id: u64, token: Token) {
        if self.open(id).is_some_and(|c| c.token == token) {
            self.slots.remove(&id);
        }
    }
}
