//! What a subscription has not acknowledged, looked through.

use model::{Position, TopicName};
use std::sync::Arc;

use super::Broker;
use crate::{
    error::Result,
    topic::{
        Topic,
        backlog::{Extent, next_piece},
    },
};

/// More entries than these are not looked at. Pulsar: `subscriptionBacklogScanMaxEntries`.
const ENTRIES_MAX: u64 = 10_000;

/// What there is in a backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub entries: u64,
    pub messages: u64,
    pub first: Option<Position>,
    pub last: Option<Position>,
    /// There is more than was looked at.
    pub aborted: bool,
}

impl Broker {
    /// Looks through what a subscription has not acknowledged, from `start` on or from the beginning.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`](crate::Error::TopicNotFound), [`Error::SubscriptionNotFound`](crate::Error::SubscriptionNotFound).
    ///
    /// Source: Pulsar's `PersistentSubscription.analyzeBacklog`.
    pub async fn analyze_backlog(
        &self,
        topic: &TopicName,
        subscription: &str,
        start: Option<Position>,
    ) -> Result<Backlog> {
        let name: Arc<str> = subscription.into();
        // Looked for each time: what was a subscription's cursor may be another's by then.
        let cursor = move |topic: &Topic| topic.cursor(&name);
        let of = cursor.clone();
        let (mut from, to) = self
            .with_topic(topic, move |topic, _| {
                let (cursor, ledger) = (of(topic)?, &topic.ledger);
                let from = start.unwrap_or_else(|| ledger.next_position(ledger.mark_delete(cursor)));
                Ok((from, ledger.last_confirmed()))
            })
            .await?;
        let mut found = Backlog::default();
        while let Some(piece) = next_piece(self.shard(topic), topic, Extent { from, to }, cursor.clone()).await? {
            from = piece.next;
            for (entry, _) in piece.entries {
                if found.entries == ENTRIES_MAX {
                    return Ok(Backlog { aborted: true, ..found });
                }
                found.entries += 1;
                found.messages += u64::from(entry.messages);
                found.first.get_or_insert(entry.position);
                found.last = Some(entry.position);
            }
        }
        Ok(found)
    }
}
