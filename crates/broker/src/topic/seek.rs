//! Moving a subscription: seek by a client, reset by an administrator, skip, expire.

use model::Position;

use super::Topic;
use crate::{
    error::Result,
    shard::{Event, Reply, Shard},
};

/// Where to move a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTarget {
    /// To this entry: it is the next to be delivered.
    Id(Position),
    /// To message `first` (from 0) of this entry, a batch of `messages`: those before it are acknowledged. Source: Pulsar's
    /// `ManagedCursorImpl.internalResetCursor`, which takes a position with an ack set.
    Within { entry: Position, first: u32, messages: u32 },
    /// After this entry.
    After(Position),
    /// To the first entry published at this time (wall clock milliseconds) or later.
    Time(u64),
    /// To the first entry still stored.
    Earliest,
    /// After the last.
    Latest,
}

impl Shard {
    /// CommandSeek from one of the subscription's consumers.
    pub(crate) fn seek_by_consumer(&mut self, topic: u64, consumer: u64, target: SeekTarget, reply: Reply<()>) {
        let found = self.at(topic).and_then(|(t, _)| t.subscription_of(consumer));
        match found {
            Ok(subscription) => self.seek(topic, subscription, target, reply),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// Disconnects all consumers of the subscription, moves it, answers when that is durable.
    pub(crate) fn seek(&mut self, topic: u64, subscription: u64, target: SeekTarget, reply: Reply<()>) {
        // Nothing is stored to move over. Source: Pulsar's `NonPersistentSubscription.resetCursor`.
        if self.topics.get(&topic).is_some_and(|t| !t.is_persistent()) {
            return reply.send(Ok(()));
        }
        let resolved = self.at(topic).and_then(|(t, cx)| {
            t.fence_subscription(cx, subscription)?;
            Ok(t.resolve(target))
        });
        match resolved {
            Err(error) => reply.send(Err(error)),
            Ok(Resolved::MarkDelete(position)) => self.finish_seek(topic, subscription, target, Ok(position), reply),
            Ok(Resolved::Later(locate)) => {
                let handle = self.cx.handle.clone();
                tokio::spawn(async move {
                    let mark_delete = Resolved::Later(locate).run().await;
                    handle.send(Event::Call(Box::new(move |shard| {
                        shard.finish_seek(topic, subscription, target, mark_delete, reply);
                    })));
                });
            }
        }
    }

    fn finish_seek(
        &mut self,
        topic: u64,
        subscription: u64,
        target: SeekTarget,
        mark_delete: Result<Position>,
        reply: Reply<()>,
    ) {
        let moved = self.at(topic).and_then(|(t, cx)| t.move_subscription(cx, subscription, target, mark_delete));
        match moved {
            Ok(()) => self.when_durable(move |shard, result| shard.answer_seek(result, reply)),
            Err(error) => self.answer_seek(Err(error), reply),
        }
    }

    /// Nothing may have to wait for the disk, and an answer is given at once: without this it would be there before the
    /// consumers hear that they are closed.
    fn answer_seek(&mut self, result: Result<()>, reply: Reply<()>) {
        self.cx.outbox.flush();
        reply.send(result);
    }
}

/// A mark-delete position that makes `next` the next entry.
pub(super) fn before(next: Position) -> Position {
    next.previous()
}

pub(crate) enum Resolved {
    MarkDelete(Position),
    Later(ledger::LocateRequest),
}

impl Topic {
    pub(crate) fn resolve(&self, target: SeekTarget) -> Resolved {
        let last = self.ledger.last_confirmed();
        match target {
            SeekTarget::Id(position) | SeekTarget::Within { entry: position, .. } => {
                Resolved::MarkDelete(before(position).min(last))
            }
            SeekTarget::After(position) => Resolved::MarkDelete(position.min(last)),
            SeekTarget::Earliest => Resolved::MarkDelete(before(self.ledger.first_position())),
            SeekTarget::Latest => Resolved::MarkDelete(last),
            SeekTarget::Time(ms) => Resolved::Later(self.ledger.locate_time(ms)),
        }
    }
}

impl Resolved {
    /// The mark-delete position, found by a read where it takes one.
    pub(crate) async fn run(self) -> Result<Position> {
        match self {
            Self::MarkDelete(position) => Ok(position),
            Self::Later(locate) => Ok(before(locate.run().await?)),
        }
    }
}
