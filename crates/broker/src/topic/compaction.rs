//! Compaction of one topic, as its shard sees it: begin, read, acknowledge what is superseded, end. See [`crate::compaction`].

use admin_api::stats::CompactionStats;
use ledger::CursorId;
use model::Position;
use std::collections::BTreeMap;

use super::{Topic, backlog::Extent};
use crate::{
    compaction::{self, CompactionStatus, SUBSCRIPTION, Superseded},
    error::{Error, Result},
    shard::Context,
};

/// Property of the subscription that says to where the topic was compacted.
const COMPACTED_TO: &str = "geminga.compacted-to";

/// Property of the subscription that says when compaction failed, in wall clock milliseconds, if it did the last time.
const FAILED_MS: &str = "geminga.compaction-failed-ms";

/// After a compaction that failed, policy asks for none for so long: the next would most likely fail as well.
const BACK_OFF_MS: u64 = 10 * 60 * 1000;

/// What became of compaction since the topic was loaded.
#[derive(Default)]
pub(super) struct Compaction {
    status: CompactionStatus,
    started_ms: u64,
    pub(super) stats: CompactionStats,
}

impl Topic {
    /// # Errors
    /// [`Error::Conflict`]: the subscription was deleted meanwhile.
    pub(crate) fn compacting(&self) -> Result<CursorId> {
        self.compaction_cursor.ok_or_else(|| Error::Conflict(format!("subscription {SUBSCRIPTION} was deleted")))
    }

    /// Begins a compaction, which goes on by itself.
    ///
    /// # Errors
    /// [`Error::Conflict`]: one is running.
    pub(crate) fn compact(&mut self, cx: &mut Context) -> Result<()> {
        let extent = self.begin_compaction(cx)?;
        tokio::spawn(compaction::run(cx.handle.clone(), self.name().clone(), extent, cx.compactions.clone()));
        Ok(())
    }

    /// By policy: when more than so many bytes came since the last time. What comes is kept for it from the beginning.
    ///
    /// Source: Pulsar's `PersistentTopic.checkCompaction` and `preCreateSubscriptionForCompactionIfNeeded`.
    pub(super) fn compact_by_policy(&mut self, cx: &mut Context) {
        let threshold = self.policies.compaction_threshold;
        if threshold == 0 || !self.is_persistent() {
            return;
        }
        self.open_for_compaction(cx);
        if self.compaction.status == CompactionStatus::Running {
            return;
        }
        let properties = self.compaction_properties();
        let failed_ms = properties.get(FAILED_MS).and_then(|ms| ms.parse().ok());
        let backs_off = failed_ms.is_some_and(|ms| cx.now_ms.saturating_sub(ms) < BACK_OFF_MS);
        if !backs_off && self.ledger.bytes_after(compacted_to(&properties)) > threshold {
            // Nothing else is wrong with it.
            let _ = self.compact(cx);
        }
    }

    fn compaction_properties(&self) -> BTreeMap<String, String> {
        self.compaction_cursor.map(|cursor| self.ledger.cursor_properties(cursor)).unwrap_or_default()
    }

    fn open_for_compaction(&mut self, cx: &mut Context) {
        if self.compaction_cursor.is_none() {
            let earliest = super::seek::before(self.ledger.first_position());
            self.new_cursor(cx, SUBSCRIPTION, earliest, true, BTreeMap::new());
        }
    }

    fn begin_compaction(&mut self, cx: &mut Context) -> Result<Extent> {
        if self.compaction.status == CompactionStatus::Running {
            return Err(Error::Conflict("Compaction already in progress".into()));
        }
        self.open_for_compaction(cx);
        let cursor = self.compacting()?;
        self.compaction.status = CompactionStatus::Running;
        self.compaction.started_ms = cx.now_ms;
        let from = self.ledger.next_position(self.ledger.mark_delete(cursor));
        Ok(Extent { from, to: self.ledger.last_confirmed() })
    }

    /// Takes what is superseded in order of position.
    ///
    /// # Errors
    /// As [`Topic::compacting`].
    pub(crate) fn supersede(&mut self, superseded: &[Superseded]) -> Result<()> {
        let cursor = self.compacting()?;
        for of_entry in superseded.chunk_by(|a, b| a.position == b.position) {
            let Some(position) = of_entry.first().map(|one| one.position) else { continue };
            match compaction::others(of_entry) {
                None => {
                    self.ledger.ack(cursor, position);
                }
                Some((of, others)) => {
                    self.ledger.ack_batch(cursor, position, of, &others);
                }
            }
        }
        self.compaction.stats.last_compaction_removed_event_count += superseded.len() as i64;
        Ok(())
    }

    /// How it ended. A topic that was compacted remembers to where, one that was not remembers when.
    pub(crate) fn end_compaction(&mut self, cx: &mut Context, to: Position, result: Result<()>) {
        // What an administrator attached to the subscription stays.
        let mut properties = self.compaction_properties();
        properties.remove(FAILED_MS);
        match result {
            Ok(()) => properties.insert(COMPACTED_TO.to_owned(), to.to_string()),
            Err(_) => properties.insert(FAILED_MS.to_owned(), cx.now_ms.to_string()),
        };
        if let Some(cursor) = self.compaction_cursor {
            self.ledger.set_cursor_properties(&mut cx.batch, cursor, properties);
        }
        let stats = &mut self.compaction.stats;
        stats.last_compaction_duration_time_in_mills = cx.now_ms.saturating_sub(self.compaction.started_ms) as i64;
        self.compaction.status = match result {
            Ok(()) => {
                stats.last_compaction_succeed_timestamp = cx.now_ms as i64;
                CompactionStatus::Success
            }
            Err(error) => {
                stats.last_compaction_failed_timestamp = cx.now_ms as i64;
                tracing::warn!(topic = %self.name(), %error, "compaction failed");
                CompactionStatus::Error(error.to_string())
            }
        };
    }

    pub(crate) fn compaction_status(&self) -> CompactionStatus {
        self.compaction.status.clone()
    }
}

/// The last entry that was compacted.
fn compacted_to(properties: &BTreeMap<String, String>) -> Position {
    let position = |text: &String| {
        let (ledger, entry) = text.split_once(':')?;
        Some(Position::new(ledger.parse().ok()?, entry.parse().ok()?))
    };
    properties.get(COMPACTED_TO).and_then(position).unwrap_or(Position::EARLIEST)
}
