//! What waits, counted for those who decide how many consumers there should be, and looked for when there is none.

use ledger::{ManagedLedger, Read, ReadRequest};
use model::{Position, SubscriptionType};

use super::{READ_ENTRIES, Subscription, keys::Keys};
use crate::{shard::Context, waiting::Waiting};

/// When the oldest message that waits was published.
pub(crate) enum Oldest {
    /// None waits.
    None,
    /// Wall clock milliseconds.
    At(u64),
    /// Only the disk knows; what it says is told by [`Subscription::oldest_is`].
    Read(Position, ReadRequest),
}

/// Whether there is something a consumer could be sent.
pub(crate) enum Finds {
    Nothing,
    Something,
    /// Nothing so far, and more to look at than one turn should.
    NotYet,
}

impl Subscription {
    /// Counts what waits; all but the time of the oldest.
    pub(crate) fn waiting(&self, ledger: &ManagedLedger) -> Waiting {
        let (dispatched, hottest) = self.keys.as_deref().map_or((0, 0), Keys::hottest);
        let published = ledger.messages_and_bytes_added().0;
        Waiting { published, backlog: self.backlog_messages(ledger), oldest_ms: None, dispatched, hottest }
    }

    fn backlog_messages(&self, ledger: &ManagedLedger) -> u64 {
        let unread = ledger.unacked_messages_from(self.cursor, self.read_position);
        let read = ledger.unacked_messages_before(self.cursor, self.read_position);
        if self.kind.is_single_active() || self.pending.is_empty() {
            return unread + read;
        }
        // What consumers hold is counted by the message; besides, entries wait to be delivered again, or for their time.
        let held_back = (self.replay.len() + self.delayed.len() + self.chunks.waiting()) as u64;
        let entries = held_back + self.pending.len() as u64;
        unread + u64::try_from(self.unacked).unwrap_or(0) + (read * held_back).div_ceil(entries)
    }

    /// Looks for the oldest message that waits where no disk is needed.
    pub(crate) fn oldest(&self, ledger: &mut ManagedLedger) -> Oldest {
        let first = ledger.next_position(ledger.mark_delete(self.cursor));
        let Some(at) = ledger.first_unacked(self.cursor, first) else { return Oldest::None };
        if let Some((_, ms)) = self.oldest.filter(|(known, _)| *known == at) {
            return Oldest::At(ms);
        }
        if let Some(pending) = self.pending.get(&at) {
            return Oldest::At(pending.published_ms);
        }
        match ledger.read(at, 1, 1) {
            Read::Entries(entries) => entries.first().map_or(Oldest::None, |entry| Oldest::At(published_ms(entry))),
            Read::CaughtUp => Oldest::None,
            Read::Later(request) => Oldest::Read(at, request),
        }
    }

    /// When the entry at `at` was published, so that it need not be read again while it is the oldest.
    pub(crate) fn oldest_is(&mut self, at: Position, published_ms: u64) {
        self.oldest = Some((at, published_ms));
    }

    /// Nobody is connected, and a message that is known is still to fall due.
    pub(crate) fn has_alarm(&self) -> bool {
        self.consumers.is_empty() && !self.delayed.is_empty()
    }

    /// Looks, without consumers, whether there is something to send to one of type `kind`.
    pub(crate) fn find(&mut self, ledger: &mut ManagedLedger, cx: &mut Context, kind: SubscriptionType) -> Finds {
        if !self.consumers.is_empty() || self.fenced {
            return Finds::Nothing;
        }
        self.retry(cx.now_ms);
        self.due(cx);
        let mut looked = 0;
        while self.replay.len() == 0 {
            if looked >= 4 * READ_ENTRIES {
                return Finds::NotYet;
            }
            let entries = self.next_entries(ledger, cx, READ_ENTRIES);
            if entries.is_empty() {
                return Finds::Nothing;
            }
            looked += entries.len();
            // Where one consumer gets all in order, nothing is delayed.
            let found = entries.iter().any(|entry| {
                let deliver_at = || wire::entry::metadata(&entry.data).ok().and_then(|m| m.deliver_at_time);
                !ledger.is_acked(self.cursor, entry.position)
                    && (kind.is_single_active() || !self.delay(cx, entry, deliver_at()))
            });
            if found {
                break;
            }
        }
        // Whoever comes begins anew.
        self.rewind(ledger);
        Finds::Something
    }
}

/// When an entry was published, by its producer's clock.
pub(crate) fn published_ms(entry: &ledger::Entry) -> u64 {
    wire::entry::metadata(&entry.data).map_or(0, |metadata| metadata.publish_time)
}
