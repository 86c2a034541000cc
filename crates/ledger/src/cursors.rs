//! The cursors of a managed ledger, addressed by a small id.
//!
//! Positions beyond the last confirmed entry are ignored: a client can only acknowledge what it was given.

use model::Position;
use std::collections::BTreeMap;

use crate::{BatchAck, ManagedLedger, Words, batch::Batch, cursor::Cursor, delta::Delta, state::State};

/// Names one cursor of one loaded managed ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorId(u32);

impl ManagedLedger {
    /// All cursors: durable ones the topic was loaded with or that were opened since, and ephemeral ones.
    #[must_use]
    pub fn cursors(&self) -> Vec<(CursorId, String)> {
        self.with(|s| {
            let named = |(n, c): (usize, &Option<Cursor>)| c.as_ref().map(|c| (CursorId(n as u32), c.name.to_string()));
            s.cursors.iter().enumerate().filter_map(named).collect()
        })
    }

    /// Opens a cursor that has acknowledged everything up to `mark_delete`, which may lie before the first or after the last entry.
    /// With a batch it is durable; without, it goes when the topic is unloaded.
    pub fn open_cursor(
        &mut self,
        batch: Option<&mut Batch>,
        name: &str,
        mark_delete: Position,
        properties: BTreeMap<String, String>,
    ) -> CursorId {
        let (slot, next) = self.with(|s| (s.free_slot(), self.clamped(s, mark_delete)));
        match batch.filter(|_| self.topic.name.is_persistent()) {
            Some(batch) => self.change(batch, &Delta::CursorOpen { slot, name: name.to_owned(), next, properties }),
            None => {
                let mut state = self.topic.state.lock();
                state.put_cursor(slot, Cursor::new(name, false, next, properties));
                state.pass_gaps(slot);
            }
        }
        CursorId(slot)
    }

    /// The ordinal after `mark_delete`, neither before what is stored nor after what is confirmed.
    fn clamped(&self, state: &State, mark_delete: Position) -> u64 {
        state.after(mark_delete).min(state.after(self.last_confirmed())).max(state.first_ordinal())
    }

    /// Forgets a cursor.
    pub fn delete_cursor(&mut self, batch: &mut Batch, id: CursorId) {
        let delta = Delta::CursorDelete { slot: id.0 };
        if self.cursor(id, |c| c.durable) == Some(true) {
            self.change(batch, &delta);
        } else {
            self.topic.state.lock().apply(&delta);
        }
    }

    fn cursor<R>(&self, id: CursorId, look: impl FnOnce(&Cursor) -> R) -> Option<R> {
        self.with(|s| s.cursor(id.0).map(look))
    }

    /// Runs `change` on a cursor and remembers it for the next flush when it made it dirty.
    fn change_cursor<R>(&self, id: CursorId, change: impl FnOnce(&mut Cursor) -> R) -> Option<R> {
        let mut state = self.topic.state.lock();
        change_cursor(&mut state, id, change)
    }

    /// Everything up to here is acknowledged. [`Position::EARLIEST`] when there is no such cursor.
    #[must_use]
    pub fn mark_delete(&self, id: CursorId) -> Position {
        self.with(|s| s.cursor(id.0).map_or(Position::EARLIEST, |c| s.before(c.next)))
    }

    /// What was stored with the cursor.
    #[must_use]
    pub fn cursor_properties(&self, id: CursorId) -> BTreeMap<String, String> {
        self.cursor(id, |c| c.properties.clone()).unwrap_or_default()
    }

    /// Replaces a cursor's properties.
    pub fn set_cursor_properties(&mut self, batch: &mut Batch, id: CursorId, properties: BTreeMap<String, String>) {
        if self.cursor(id, |c| c.durable) == Some(true) {
            self.change(batch, &Delta::CursorProperties { slot: id.0, properties });
        } else {
            self.change_cursor(id, |c| c.properties = properties);
        }
    }

    /// Whether the entry at `position` is acknowledged, or gone.
    #[must_use]
    pub fn is_acked(&self, id: CursorId, position: Position) -> bool {
        self.with(|s| {
            let Some(cursor) = s.cursor(id.0) else { return false };
            match s.ordinal(position) {
                Some(ordinal) => cursor.is_acked(ordinal),
                None => position < s.position(s.first_ordinal()),
            }
        })
    }

    /// Acknowledges one entry; says whether it was not acknowledged before. What is not an entry, or not confirmed yet, is ignored.
    pub fn ack(&mut self, id: CursorId, position: Position) -> bool {
        if position > self.last_confirmed() {
            return false;
        }
        let mut state = self.topic.state.lock();
        let Some(ordinal) = state.ordinal(position) else { return false };
        change_cursor(&mut state, id, |c| c.ack(ordinal)).unwrap_or(false)
    }

    /// Which messages of a batch are left, one bit each as on the wire (1 is *not* acknowledged); `None` when all are, or the whole
    /// entry is acknowledged.
    #[must_use]
    pub fn ack_set(&self, id: CursorId, position: Position) -> Option<Words> {
        self.with(|s| s.cursor(id.0)?.ack_set(s.ordinal(position)?).cloned())
    }

    /// Whether parts of batches may be acknowledged: not when a cursor has megabytes of such parts already. Who asks bounds what
    /// consumers can make of it.
    #[must_use]
    pub fn has_room_for_parts(&self, id: CursorId) -> bool {
        self.cursor(id, Cursor::has_room).unwrap_or(true)
    }

    /// Acknowledges messages of a batch of at most `batch_size`: those whose bit in `remaining` is 0. Words left out are zero.
    pub fn ack_batch(&mut self, id: CursorId, position: Position, batch_size: u32, remaining: &[u64]) -> BatchAck {
        if position > self.last_confirmed() {
            return BatchAck::default();
        }
        let mut state = self.topic.state.lock();
        let Some(ordinal) = state.ordinal(position) else { return BatchAck::default() };
        change_cursor(&mut state, id, |c| c.ack_batch(ordinal, batch_size, remaining)).unwrap_or_default()
    }

    /// Acknowledges everything up to `position`; says how many entries were not acknowledged before. A position beyond the last
    /// confirmed entry is ignored.
    pub fn ack_cumulative(&mut self, id: CursorId, position: Position) -> u64 {
        if position > self.last_confirmed() {
            return 0;
        }
        let mut state = self.topic.state.lock();
        let next = state.after(position);
        change_cursor(&mut state, id, |c| c.ack_below(next)).unwrap_or(0)
    }

    /// Moves a cursor so that everything up to `mark_delete` is acknowledged and nothing beyond it.
    pub fn reset_cursor(&mut self, batch: &mut Batch, id: CursorId, mark_delete: Position) {
        let next = self.with(|s| self.clamped(s, mark_delete));
        if self.cursor(id, |c| c.durable) == Some(true) {
            self.change(batch, &Delta::CursorReset { slot: id.0, next });
        } else {
            self.change_cursor(id, |c| c.reset(next));
            self.topic.state.lock().pass_gaps(id.0);
        }
    }

    /// Puts into the batch what durable cursors acknowledged since the last flush.
    pub fn flush_acks(&mut self, batch: &mut Batch) {
        let (topic, known) = self.slot_mut();
        let mut state = topic.state.lock();
        for slot in std::mem::take(&mut state.dirty_cursors) {
            // A reset since then leaves nothing to be written, and so no commit that would end what is uncommitted.
            if let Some(cursor) = state.cursor_mut(slot).filter(|c| c.is_dirty()) {
                let delta = Delta::Acks { slot, acks: cursor.flush() };
                batch.delta(topic, known, &delta);
                state.uncommitted = true;
                state.flushed_cursors.push(slot);
            }
        }
    }

    /// Whether a flush would put something into its batch.
    #[must_use]
    pub fn acks_dirty(&self) -> bool {
        self.with(|s| !s.dirty_cursors.is_empty())
    }

    /// The next confirmed entry at or after `from` that is not acknowledged.
    #[must_use]
    pub fn first_unacked(&self, id: CursorId, from: Position) -> Option<Position> {
        self.with(|s| {
            let start = s.after(from.previous()).max(s.first_ordinal());
            let ordinal = s.cursor(id.0)?.first_unacked(start);
            (ordinal < s.after(self.last_confirmed())).then(|| s.position(ordinal))
        })
    }

    /// The last confirmed entry that is not acknowledged.
    #[must_use]
    pub fn last_unacked(&self, id: CursorId) -> Option<Position> {
        self.with(|s| {
            let ordinal = s.cursor(id.0)?.last_unacked(s.after(self.last_confirmed()))?;
            (ordinal >= s.first_ordinal()).then(|| s.position(ordinal))
        })
    }

    /// Bytes of the confirmed entries after `position` that are stored.
    #[must_use]
    pub fn bytes_after(&self, position: Position) -> u64 {
        self.with(|s| s.bytes_between(s.after(position).max(s.first_ordinal()), s.after(self.last_confirmed())))
    }

    /// Confirmed entries that are not acknowledged.
    #[must_use]
    pub fn backlog(&self, id: CursorId) -> u64 {
        self.with(|s| s.cursor(id.0).map_or(0, |c| c.backlog(s.after(self.last_confirmed()))))
    }

    /// About how many messages the confirmed entries from `from` on hold that are not acknowledged: exact where entries are alike, or none
    /// of them is acknowledged.
    #[must_use]
    pub fn unacked_messages_from(&self, id: CursorId, from: Position) -> u64 {
        self.unacked_messages(id, Some(from), None)
    }

    /// The same of those before `to`.
    #[must_use]
    pub fn unacked_messages_before(&self, id: CursorId, to: Position) -> u64 {
        self.unacked_messages(id, None, Some(to))
    }

    fn unacked_messages(&self, id: CursorId, from: Option<Position>, to: Option<Position>) -> u64 {
        let ordinal = |s: &State, position: Position| s.after(position.previous());
        self.with(|s| {
            let Some(cursor) = s.cursor(id.0) else { return 0 };
            let start = from.map_or(0, |from| ordinal(s, from)).max(cursor.next).max(s.first_ordinal());
            let confirmed = s.after(self.last_confirmed());
            let end = to.map_or(confirmed, |to| ordinal(s, to).min(confirmed));
            let Some(entries) = end.checked_sub(start).filter(|entries| *entries > 0) else { return 0 };
            let left = entries - cursor.islands().count_within(start, end).min(entries);
            let messages = s.milestones.before(end).saturating_sub(s.milestones.before(start));
            (u128::from(messages) * u128::from(left)).div_ceil(u128::from(entries)) as u64
        })
    }

    /// Bytes of the backlog, taking the entries of one ledger to be of one size.
    #[must_use]
    pub fn backlog_bytes(&self, id: CursorId) -> u64 {
        self.with(|s| {
            let Some(cursor) = s.cursor(id.0) else { return 0 };
            let total = s.after(self.last_confirmed());
            let entries = total.saturating_sub(cursor.next);
            if entries == 0 {
                return 0;
            }
            let bytes = u128::from(s.bytes_between(cursor.next, total));
            (bytes * u128::from(cursor.backlog(total)) / u128::from(entries)) as u64
        })
    }

    /// How many ranges are acknowledged beyond the mark-delete position.
    #[must_use]
    pub fn range_count(&self, id: CursorId) -> usize {
        self.cursor(id, |c| c.islands().len()).unwrap_or(0)
    }

    /// What is acknowledged beyond the mark-delete position: from (exclusive) and to (inclusive) of each range.
    #[must_use]
    pub fn ranges(&self, id: CursorId) -> Vec<(Position, Position)> {
        self.with(|s| {
            let Some(cursor) = s.cursor(id.0) else { return Vec::new() };
            cursor.islands().iter().map(|(start, end)| (s.before(start), s.position(end - 1))).collect()
        })
    }

    /// Up to where to acknowledge, so that `entries` more are; at most the last confirmed.
    #[must_use]
    pub fn skip_unacked(&self, id: CursorId, entries: u64) -> Position {
        match entries {
            0 => self.mark_delete(id),
            n => self.nth_unacked(Some(id), n).unwrap_or_else(|| self.last_confirmed()),
        }
    }

    /// The `n`th entry, from 1, that is not acknowledged; without a cursor the `n`th there is.
    #[must_use]
    pub fn nth_unacked(&self, id: Option<CursorId>, n: u64) -> Option<Position> {
        self.with(|s| {
            let (mut at, mut left) = (s.first_ordinal(), n.checked_sub(1)?);
            if let Some(id) = id {
                let cursor = s.cursor(id.0)?;
                at = at.max(cursor.next);
                for (start, end) in cursor.islands().iter() {
                    let open = start.saturating_sub(at);
                    if open > left {
                        break;
                    }
                    (at, left) = (at.max(end), left - open);
                }
            }
            let at = at.checked_add(left)?;
            (at < s.after(self.last_confirmed())).then(|| s.position(at))
        })
    }

    /// How many entries of `from..=to` (confirmed ones) are not acknowledged.
    #[must_use]
    pub fn unacked_between(&self, id: CursorId, from: Position, to: Position) -> u64 {
        self.with(|s| {
            let Some(cursor) = s.cursor(id.0) else { return 0 };
            let start = s.after(from.previous()).max(cursor.next);
            let end = s.after(to.min(self.last_confirmed()));
            end.saturating_sub(start).saturating_sub(cursor.islands().count_within(start, end))
        })
    }
}

fn change_cursor<R>(state: &mut State, id: CursorId, change: impl FnOnce(&mut Cursor) -> R) -> Option<R> {
    let cursor = state.cursor_mut(id.0)?;
    let dirty = cursor.is_dirty();
    let result = change(cursor);
    if !dirty && cursor.is_dirty() {
        state.dirty_cursors.push(id.0);
    }
    Some(result)
}
