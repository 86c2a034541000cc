//! Everything known of one topic: its ledgers, its cursors, the producers it deduplicates.
//!
//! It is a row of the catalog when nobody uses the topic, and what the journal's records of the topic build up when replayed. It
//! changes by appends, roll-overs and [`Delta`]s, at run time through the same functions as in replay. Applying a run of changes
//! that ends where the state already is leaves it as it is; so a row may be newer than the journal position it is replayed from.
//!
//! Entries are numbered across ledgers by *ordinal*: `base` of the ledger plus number in the ledger.
//! Invariants: ledgers rise by id and `base`; there is at least one; the last is the one appended to.

use model::Position;
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    codec::{Decoded, Malformed, Reader, put_i64, put_map, put_option, put_str, put_u64},
    cursor::Cursor,
    delta::{Delta, Deltas, encode_dedup},
    milestones::Milestones,
};

/// How long and how much is kept of what every subscription has acknowledged. A ledger goes when either bound is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Since its ledger was closed; `None` is forever, zero not at all.
    pub time: Option<Duration>,
    /// Of the topic's latest bytes; `None` is all, zero nothing.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Whether nothing is kept beyond what subscriptions need.
    pub(crate) fn is_none(self) -> bool {
        self.time == Some(Duration::ZERO) || self.bytes == Some(0)
    }
}

/// How old and how large an open ledger that nobody has subscribed to may be, to be kept all the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unclaimed {
    pub(crate) age: Duration,
    pub(crate) bytes: u64,
}

/// Entries of one ledger within one segment, all of `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRef {
    pub(crate) segment: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

/// One ledger of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) id: u64,
    /// Ordinal of entry 0.
    pub(crate) base: u64,
    /// Entries ever appended.
    pub(crate) entries: u64,
    /// Entries below this are gone.
    pub(crate) first: u64,
    /// Of all entries ever appended.
    pub(crate) bytes: u64,
    /// Of the entries that are gone, as far as known.
    pub(crate) gone_bytes: u64,
    pub(crate) opened_ms: u64,
    /// 0 while it is appended to.
    pub(crate) closed_ms: u64,
    /// In order, not overlapping.
    pub(crate) segments: Vec<SegmentRef>,
}

impl Meta {
    /// The ordinal of the first entry that is stored, or of the one after the last.
    fn begin(&self) -> u64 {
        self.base + self.first.min(self.entries)
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + self.entries
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.gone_bytes)
    }
}

/// What deduplication knows of one producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dedup {
    pub(crate) highest: i64,
    /// What the journal has: a row with more would take a message for a duplicate that was never stored.
    pub(crate) committed: Option<i64>,
    pub(crate) dirty: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The last commit that touched the topic.
    pub(crate) lsn: u64,
    pub(crate) created_ms: u64,
    pub(crate) properties: BTreeMap<String, String>,
    /// What the broker last trimmed with; `None` keeps everything.
    pub(crate) retention: Option<Retention>,
    pub(crate) ledgers: Vec<Meta>,
    pub(crate) cursors: Vec<Option<Cursor>>,
    pub(crate) dedup: FxHashMap<Box<str>, Dedup>,
    pub(crate) messages_added: u64,
    pub(crate) bytes_added: u64,

    // What follows is not part of the row.
    pub(crate) milestones: Milestones,
    /// In the list of what the next checkpoint writes.
    pub(crate) dirty: bool,
    pub(crate) loaded: bool,
    /// Not to be written any more.
    pub(crate) deleted: bool,
    pub(crate) dirty_cursors: Vec<u32>,
    pub(crate) dirty_dedup: Vec<Box<str>>,
    /// Taken from the former for a commit that is being made.
    pub(crate) sealed_dedup: Vec<Box<str>>,
    /// Cursors with acknowledgements in a batch that is not committed yet.
    pub(crate) flushed_cursors: Vec<u32>,
    /// Commit and ordinal of entries that others than the owner appended, until they are known to be durable.
    pub(crate) by_others: VecDeque<(u64, u64)>,
    /// Changes were put into a batch that is not committed yet.
    pub(crate) uncommitted: bool,
    /// While dirty: the first commit that is not in the row.
    pub(crate) dirty_since: u64,
    /// Ledgers dropped, until the store has given back what they held.
    pub(crate) removed: Vec<Meta>,
    /// Ledgers opened, until the catalog knows whose they are.
    pub(crate) opened: Vec<u64>,
    /// Ledgers dropped, until the catalog has forgotten them.
    pub(crate) closed: Vec<u64>,
}

const CURSORS_MAX: u32 = 1 << 20;
const VERSION: u8 = 1;

impl State {
    /// A topic just created, with its first ledger open.
    pub(crate) fn new(ledger: u64, created_ms: u64, properties: BTreeMap<String, String>) -> Self {
        let first = Meta { id: ledger, opened_ms: created_ms, ..Meta::default() };
        Self { created_ms, properties, ledgers: vec![first], ..Self::default() }
    }

    fn last(&self) -> &Meta {
        self.ledgers.last().expect("a topic has a ledger")
    }

    fn last_mut(&mut self) -> &mut Meta {
        self.ledgers.last_mut().expect("a topic has a ledger")
    }

    pub(crate) fn current(&self) -> &Meta {
        self.last()
    }

    /// The ordinal the next entry gets.
    pub(crate) fn total(&self) -> u64 {
        self.last().end()
    }

    pub(crate) fn find(&self, ledger: u64) -> Option<&Meta> {
        // Nearly always the last.
        let last = self.last();
        if last.id == ledger {
            return Some(last);
        }
        let at = self.ledgers.binary_search_by_key(&ledger, |l| l.id).ok()?;
        Some(&self.ledgers[at])
    }

    pub(crate) fn find_mut(&mut self, ledger: u64) -> Option<&mut Meta> {
        let at = self.ledgers.binary_search_by_key(&ledger, |l| l.id).ok()?;
        Some(&mut self.ledgers[at])
    }

    /// The ordinal after `position`: how many entries the topic ever had up to and including it.
    pub(crate) fn after(&self, position: Position) -> u64 {
        let last = self.last();
        let meta = if position.ledger >= last.id {
            last
        } else {
            match self.ledgers.partition_point(|l| l.id <= position.ledger) {
                0 => return self.ledgers[0].base,
                n => &self.ledgers[n - 1],
            }
        };
        let entries = if meta.id == position.ledger {
            u64::try_from(position.entry.saturating_add(1)).unwrap_or(0).min(meta.entries)
        } else {
            meta.entries
        };
        meta.base + entries
    }

    /// The ordinal of the entry at `position`, if there is or was one that is not trimmed with its ledger.
    pub(crate) fn ordinal(&self, position: Position) -> Option<u64> {
        let meta = self.find(position.ledger)?;
        let entry = u64::try_from(position.entry).ok()?;
        (entry < meta.entries).then(|| meta.base + entry)
    }

    /// Where ordinal `ordinal` is, or will be when it is appended.
    pub(crate) fn position(&self, ordinal: u64) -> Position {
        let meta = match self.ledgers.partition_point(|l| l.base <= ordinal) {
            0 => &self.ledgers[0],
            n => &self.ledgers[n - 1],
        };
        Position::new(meta.id, ordinal.saturating_sub(meta.base) as i64)
    }

    /// The last entry appended, or the position before the first.
    pub(crate) fn last_position(&self) -> Position {
        match self.total() {
            total if total > self.first_ordinal() => self.position(total - 1),
            total => self.position(total).previous(),
        }
    }

    /// The first entry still stored, or the next one when there is none.
    pub(crate) fn first_ordinal(&self) -> u64 {
        let first = self.ledgers.iter().find(|l| l.first < l.entries).unwrap_or_else(|| self.last());
        first.begin()
    }

    /// The mark-delete position of a cursor whose first unacknowledged ordinal is `next`.
    pub(crate) fn before(&self, next: u64) -> Position {
        if next > self.first_ordinal() { self.position(next - 1) } else { self.position(next).previous() }
    }

    /// The first ordinal some durable cursor still needs, acknowledgements that are in no commit left aside; everything is consumed
    /// when there is no such cursor.
    pub(crate) fn consumed(&self) -> u64 {
        let needed = self.cursors.iter().flatten().filter(|c| c.durable).map(Cursor::committed_next).min();
        needed.unwrap_or_else(|| self.total())
    }

    pub(crate) fn storage_bytes(&self) -> u64 {
        self.ledgers.iter().map(Meta::live_bytes).sum()
    }

    /// Bytes of `from..to`, taking the entries of a ledger to be of one size.
    pub(crate) fn bytes_between(&self, from: u64, to: u64) -> u64 {
        let start = self.ledgers.partition_point(|l| l.end() <= from);
        self.ledgers[start..]
            .iter()
            .take_while(|l| l.base < to)
            .filter(|l| l.entries > 0)
            .map(|l| {
                let entries = to.min(l.end()).saturating_sub(from.max(l.base));
                (u128::from(l.bytes) * u128::from(entries) / u128::from(l.entries)) as u64
            })
            .sum()
    }

    pub(crate) fn cursor(&self, slot: u32) -> Option<&Cursor> {
        self.cursors.get(slot as usize)?.as_ref()
    }

    pub(crate) fn cursor_mut(&mut self, slot: u32) -> Option<&mut Cursor> {
        self.cursors.get_mut(slot as usize)?.as_mut()
    }

    /// A slot for a new cursor.
    pub(crate) fn free_slot(&self) -> u32 {
        let free = self.cursors.iter().position(Option::is_none);
        free.unwrap_or(self.cursors.len()) as u32
    }

    pub(crate) fn put_cursor(&mut self, slot: u32, cursor: Cursor) {
        if slot >= CURSORS_MAX {
            return;
        }
        if self.cursors.len() <= slot as usize {
            if self.cursors.is_empty() {
                // Most topics have one.
                self.cursors.reserve_exact(slot as usize + 1);
            }
            self.cursors.resize_with(slot as usize + 1, || None);
        }
        self.cursors[slot as usize] = Some(cursor);
    }

    /// Takes the next entry of the current ledger.
    pub(crate) fn append(&mut self, bytes: u64, messages: u32) -> Position {
        self.milestones.append(self.total(), self.messages_added, messages);
        self.messages_added += u64::from(messages);
        self.bytes_added += bytes;
        let meta = self.last_mut();
        meta.entries += 1;
        meta.bytes += bytes;
        Position::new(meta.id, meta.entries as i64 - 1)
    }

    /// Forgets every entry; all cursors are after the last.
    pub(crate) fn discard(&mut self) {
        let total = self.total();
        self.cursors.iter_mut().flatten().for_each(|cursor| cursor.reset(total));
        let meta = self.last_mut();
        meta.first = meta.entries;
        meta.gone_bytes = meta.bytes;
    }

    /// Takes an entry that somebody else than the owner appends, in commit `lsn`, with the journal durable up to `durable`. `None`
    /// when it is not to be stored: the topic is deleted, or deduplication knows the entry.
    pub(crate) fn append_for_other(
        &mut self,
        (lsn, durable): (u64, u64),
        bytes: u64,
        messages: u32,
        dedup: Option<(&str, i64)>,
    ) -> Option<Position> {
        let seen = |(producer, highest): (&str, i64)| self.dedup.get(producer).is_some_and(|d| highest <= d.highest);
        if self.deleted || dedup.is_some_and(seen) {
            return None;
        }
        if let Some((producer, highest)) = dedup {
            let known = self.dedup.entry(producer.into());
            let known = known.or_insert(Dedup { highest, committed: None, dirty: false });
            known.highest = highest;
            known.committed = Some(highest);
        }
        while self.by_others.front().is_some_and(|&(lsn, _)| lsn <= durable) {
            self.by_others.pop_front();
        }
        self.by_others.push_back((lsn, self.total()));
        Some(self.append(bytes, messages))
    }

    /// The last entry that is durable when the journal is up to `durable`; for a topic that is not loaded, so that all that its
    /// owner appended is.
    pub(crate) fn last_durable(&self, durable: u64) -> Position {
        let waiting = self.by_others.iter().find(|&&(lsn, _)| lsn > durable);
        waiting.map_or_else(|| self.last_position(), |&(_, ordinal)| self.before(ordinal))
    }

    /// Replays an append; says whether the ledger is one of this topic.
    pub(crate) fn replay_append(&mut self, ledger: u64, entry: u64, bytes: u64, messages: u32) -> bool {
        let current = self.last().id == ledger;
        let Some(meta) = self.find_mut(ledger) else { return false };
        if entry < meta.entries || !current {
            return true;
        }
        // A jump means that a damaged file took entries with it; their numbers are not given twice.
        meta.entries = entry + 1;
        meta.bytes += bytes;
        let ordinal = meta.base + entry;
        self.milestones.append(ordinal, self.messages_added, messages);
        self.messages_added += u64::from(messages);
        self.bytes_added += bytes;
        true
    }

    /// Closes the current ledger and opens another; nothing when it is open already.
    pub(crate) fn roll(&mut self, ledger: u64, now_ms: u64) {
        let last = self.last_mut();
        if last.id >= ledger {
            return;
        }
        last.closed_ms = now_ms;
        let base = last.end();
        self.opened.push(ledger);
        self.ledgers.push(Meta { id: ledger, base, opened_ms: now_ms, ..Meta::default() });
    }

    /// How many of the oldest ledgers may go: consumed by all durable cursors and beyond what is retained.
    pub(crate) fn trimmable(&self, retention: Retention, now_ms: u64) -> usize {
        let consumed = self.consumed();
        let total = self.storage_bytes();
        let mut dropped = 0;
        self.ledgers[..self.ledgers.len() - 1]
            .iter()
            .take_while(|l| {
                let expired = retention.time.is_some_and(|time| {
                    time.is_zero()
                        || now_ms.saturating_sub(l.closed_ms) > u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
                });
                let over = retention.bytes.is_some_and(|limit| total - dropped >= limit);
                let goes = l.end() <= consumed && (expired || over);
                if goes {
                    dropped += l.live_bytes();
                }
                goes
            })
            .count()
    }

    /// The first entry of `ledger` that has to be kept, or `None` when none has. Who reads a topic without ever having subscribed finds
    /// what came since its ledger was opened, as far as `unclaimed` goes. Source: Pulsar's `ManagedLedgerImpl.internalTrimLedgers`, which
    /// never takes the ledger that is written to.
    pub(crate) fn first_wanted(&self, ledger: u64, now_ms: u64, unclaimed: Unclaimed) -> Option<u64> {
        let at = self.ledgers.binary_search_by_key(&ledger, |l| l.id).ok()?;
        let meta = &self.ledgers[at];
        let Some(retention) = self.retention else { return Some(meta.first) };
        let last = at + 1 == self.ledgers.len();
        if last && (!retention.is_none() || self.is_kept_unclaimed(meta, now_ms, unclaimed)) {
            return Some(meta.first);
        }
        let consumed = self.consumed();
        if !last && !retention.is_none() && at >= self.trimmable(retention, now_ms) {
            // Retained, or needed by a cursor (which comes to the same: whole ledgers are retained).
            return Some(meta.first);
        }
        if meta.end() <= consumed && !last {
            return None;
        }
        Some(consumed.saturating_sub(meta.base).clamp(meta.first, meta.entries.max(meta.first)))
    }

    fn is_kept_unclaimed(&self, open: &Meta, now_ms: u64, Unclaimed { age, bytes }: Unclaimed) -> bool {
        let young = u128::from(now_ms.saturating_sub(open.opened_ms)) < age.as_millis();
        young && open.live_bytes() <= bytes && !self.cursors.iter().flatten().any(|c| c.durable)
    }

    /// Changes the state as `delta` says; what it names that is not there is ignored.
    pub(crate) fn apply(&mut self, delta: &Delta) {
        match delta {
            Delta::CursorOpen { slot, name, next, properties } => {
                let next = (*next).min(self.total());
                self.put_cursor(*slot, Cursor::new(name, true, next, properties.clone()));
                self.pass_gaps(*slot);
            }
            Delta::CursorDelete { slot } => {
                if let Some(cursor) = self.cursors.get_mut(*slot as usize) {
                    *cursor = None;
                }
                self.dirty_cursors.retain(|s| s != slot);
            }
            Delta::CursorReset { slot, next } => {
                let next = (*next).min(self.total());
                if let Some(cursor) = self.cursor_mut(*slot) {
                    cursor.reset(next);
                }
                self.pass_gaps(*slot);
            }
            Delta::CursorProperties { slot, properties } => {
                if let Some(cursor) = self.cursor_mut(*slot) {
                    cursor.properties = properties.clone();
                }
            }
            Delta::Acks { slot, acks } => {
                // Entries were acknowledged that a damaged file took with it. Their numbers are not given twice, or what comes next
                // would be acknowledged before it is there.
                let last = self.last_mut();
                last.entries = last.entries.max(acks.end().saturating_sub(last.base));
                if let Some(cursor) = self.cursor_mut(*slot) {
                    cursor.apply(acks);
                }
            }
            Delta::Trim { ledger } => self.trim_below(*ledger),
            Delta::Properties(properties) => self.properties = properties.clone(),
            Delta::Retention(retention) => self.retention = Some(*retention),
            Delta::Dedup(producers) => {
                for (name, highest) in producers {
                    let dedup = Dedup { highest: *highest, committed: Some(*highest), dirty: false };
                    self.dedup.insert(name.as_str().into(), dedup);
                }
            }
            Delta::DedupRemove(producers) => {
                for name in producers {
                    self.dedup.remove(name.as_str());
                }
            }
        }
    }

    /// Writes what deduplication learned since the last call, as [`Delta::Dedup`].
    pub(crate) fn encode_dirty_dedup(&mut self, out: &mut Deltas) {
        let names = std::mem::take(&mut self.dirty_dedup);
        for name in &names {
            if let Some(dedup) = self.dedup.get_mut(name) {
                dedup.dirty = false;
                encode_dedup(out.next(), [(&**name, dedup.highest)].into_iter());
            }
        }
        self.sealed_dedup.extend(names);
    }

    /// What was put into batches is in a commit now.
    pub(crate) fn committed(&mut self) {
        self.uncommitted = false;
        for slot in std::mem::take(&mut self.flushed_cursors) {
            if let Some(cursor) = self.cursor_mut(slot) {
                cursor.committed();
            }
        }
        for name in self.sealed_dedup.drain(..) {
            if let Some(dedup) = self.dedup.get_mut(&name) {
                dedup.committed = Some(dedup.highest);
            }
        }
    }

    /// Marks the topic as different from its row since commit `since`; says whether it was not before.
    pub(crate) fn touch(&mut self, since: u64) -> bool {
        if !std::mem::replace(&mut self.dirty, true) {
            self.dirty_since = since;
            return true;
        }
        self.dirty_since = self.dirty_since.min(since);
        false
    }

    fn trim_below(&mut self, ledger: u64) {
        let n = self.ledgers.partition_point(|l| l.id < ledger).min(self.ledgers.len() - 1);
        let gone = self.ledgers.drain(..n);
        self.closed.extend(gone.as_slice().iter().map(|l| l.id));
        self.removed.extend(gone);
        self.lift_cursors();
    }

    /// Cursors do not stand before what is stored, nor in a gap of it.
    pub(crate) fn lift_cursors(&mut self) {
        let (first, gaps) = (self.first_ordinal(), self.gaps());
        for cursor in self.cursors.iter_mut().flatten() {
            cursor.lift(first);
            gaps.iter().for_each(|&(start, end)| cursor.pass_over(start, end));
        }
    }

    /// What is missing in the midst of what is stored, which every cursor had consumed, is acknowledged wherever a cursor goes.
    pub(crate) fn pass_gaps(&mut self, slot: u32) {
        let gaps = self.gaps();
        if let Some(cursor) = self.cursor_mut(slot) {
            gaps.iter().for_each(|&(start, end)| cursor.pass_over(start, end));
        }
    }

    /// Ordinals of entries that are gone although earlier ones are not, half open: see [`State::drop_below`].
    fn gaps(&self) -> Vec<(u64, u64)> {
        let first = self.first_ordinal();
        let gone = self.ledgers.iter().map(|l| (l.base, l.begin()));
        gone.filter(|&(start, end)| start < end && end > first).collect()
    }

    /// The first ordinal at or after this one whose entry is stored, or is still to come.
    pub(crate) fn stored_from(&self, ordinal: u64) -> u64 {
        let at = self.ledgers.partition_point(|l| l.base <= ordinal).saturating_sub(1);
        let stored = self.ledgers[at..].iter().map(|l| (ordinal.max(l.begin()), l.end()));
        let mut stored = stored.filter(|(first, end)| first < end);
        stored.next().map_or_else(|| self.total().max(ordinal), |(first, _)| first)
    }

    /// Entries of `ledger` below `first` are gone, which were `bytes` bytes. With them goes all that came before: nobody needs it
    /// either, it is only still there, in a segment or in a file that cannot go yet. What is stored has no gap that way, unless a cursor
    /// goes back to what came before while this is being decided.
    pub(crate) fn drop_below(&mut self, ledger: u64, first: u64, bytes: u64) {
        let consumed = self.consumed();
        let Ok(at) = self.ledgers.binary_search_by_key(&ledger, |l| l.id) else { return };
        let (before, rest) = self.ledgers.split_at_mut(at);
        if let Some(meta) = rest.first_mut()
            && first > meta.first
        {
            if meta.base <= consumed {
                for earlier in before {
                    earlier.first = earlier.entries;
                    earlier.gone_bytes = earlier.bytes;
                }
            }
            meta.first = first.min(meta.entries);
            meta.gone_bytes = (meta.gone_bytes + bytes).min(meta.bytes);
            if meta.first == meta.entries {
                meta.gone_bytes = meta.bytes;
            }
            self.lift_cursors();
        }
    }

    /// The row.
    pub(crate) fn encode(&self, name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(VERSION);
        put_str(&mut out, name);
        put_u64(&mut out, self.lsn);
        put_u64(&mut out, self.created_ms);
        put_map(&mut out, &self.properties);
        encode_retention(&mut out, self.retention);
        put_u64(&mut out, self.messages_added);
        put_u64(&mut out, self.bytes_added);
        put_u64(&mut out, self.ledgers.len() as u64);
        for l in &self.ledgers {
            for n in [l.id, l.base, l.entries, l.first, l.bytes, l.gone_bytes, l.opened_ms, l.closed_ms] {
                put_u64(&mut out, n);
            }
            put_u64(&mut out, l.segments.len() as u64);
            for s in &l.segments {
                for n in [s.segment, s.first, s.last, s.bytes] {
                    put_u64(&mut out, n);
                }
            }
        }
        let durable =
            || self.cursors.iter().enumerate().filter_map(|(n, c)| Some((n, c.as_ref().filter(|c| c.durable)?)));
        put_u64(&mut out, durable().count() as u64);
        for (slot, cursor) in durable() {
            put_u64(&mut out, slot as u64);
            cursor.encode(&mut out);
        }
        let committed = || self.dedup.iter().filter_map(|(name, dedup)| Some((name, dedup.committed?)));
        put_u64(&mut out, committed().count() as u64);
        for (name, highest) in committed() {
            put_str(&mut out, name);
            put_i64(&mut out, highest);
        }
        out
    }

    /// The topic's name and state from a row.
    pub(crate) fn decode(row: &[u8]) -> Decoded<(&str, Self)> {
        let r = &mut Reader::new(row);
        if r.u8()? != VERSION {
            return Err(Malformed("version"));
        }
        let name = r.str()?;
        let mut state = Self { lsn: r.u64()?, created_ms: r.u64()?, properties: r.map()?, ..Self::default() };
        state.retention = decode_retention(r)?;
        state.messages_added = r.u64()?;
        state.bytes_added = r.u64()?;
        for _ in 0..r.count()? {
            let mut meta = Meta {
                id: r.u64()?,
                base: r.u64()?,
                entries: r.u64()?,
                first: r.u64()?,
                bytes: r.u64()?,
                gone_bytes: r.u64()?,
                opened_ms: r.u64()?,
                closed_ms: r.u64()?,
                segments: Vec::new(),
            };
            for _ in 0..r.count()? {
                let (segment, first, last, bytes) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                meta.segments.push(SegmentRef { segment, first, last, bytes });
            }
            let in_order = state.ledgers.last().is_none_or(|l| l.id < meta.id && l.end() <= meta.base);
            if !in_order || meta.base.checked_add(meta.entries).is_none() || meta.entries > i64::MAX as u64 {
                return Err(Malformed("ledger"));
            }
            state.ledgers.push(meta);
        }
        if state.ledgers.is_empty() {
            return Err(Malformed("ledger list"));
        }
        for _ in 0..r.count()? {
            let slot = r.u32()?;
            state.put_cursor(slot, Cursor::decode(r)?);
        }
        for _ in 0..r.count()? {
            let name = r.str()?;
            let highest = r.i64()?;
            state.dedup.insert(name.into(), Dedup { highest, committed: Some(highest), dirty: false });
        }
        state.milestones = Milestones::of(state.total(), state.messages_added);
        state.lift_cursors();
        Ok((name, state))
    }
}

pub(crate) fn encode_retention(out: &mut Vec<u8>, retention: Option<Retention>) {
    put_u64(out, u64::from(retention.is_some()));
    if let Some(Retention { time, bytes }) = retention {
        put_option(out, time.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX - 1)));
        put_option(out, bytes);
    }
}

pub(crate) fn decode_retention(r: &mut Reader<'_>) -> Decoded<Option<Retention>> {
    if r.u64()? == 0 {
        return Ok(None);
    }
    let time = r.option()?.map(Duration::from_millis);
    Ok(Some(Retention { time, bytes: r.option()? }))
}

#[cfg(test)]
mod tests;
