//! A managed ledger is the stored log of one topic: a row of ledgers, appended to at the end, read through cursors, trimmed at the
//! front.
//!
//! One owner calls it; nothing here blocks. What changes goes into a [`Batch`] and is promised when that is durable. Only what was
//! [confirmed](ManagedLedger::confirm) can be read or acknowledged.
//! A topic that is not persistent has one too, of which nothing is stored: it numbers what passes through.
//! Source: Pulsar's `ManagedLedgerImpl`.

use bytes::Bytes;
use model::{LedgerId, Position, TopicName};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use crate::{
    Appender, Entry, LocateRequest, ReadRequest, Retention, batch::Batch, cache::Tail, delta::Delta, state::State,
    store::Inner, topic::Topic,
};

/// What a read finds.
pub enum Read {
    /// At least one entry, from memory.
    Entries(Vec<Entry>),
    /// There is nothing confirmed at or after the position.
    CaughtUp,
    /// The entries are on disk: run this.
    Later(ReadRequest),
}

/// One ledger, for statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerInfo {
    /// Its id.
    pub id: LedgerId,
    /// Entries ever appended.
    pub entries: u64,
    /// Bytes still stored.
    pub bytes: u64,
    /// When it was opened, wall clock milliseconds.
    pub opened_ms: u64,
    /// When it was closed; `None` for the one appended to.
    pub closed_ms: Option<u64>,
    /// Whether some of it was sorted into segments.
    pub compacted: bool,
}

/// See the module.
pub struct ManagedLedger {
    pub(crate) store: Arc<Inner>,
    pub(crate) topic: Arc<Topic>,
    properties: BTreeMap<String, String>,
    slot: (u64, u32),
    confirmed: Position,
    last: Position,
    tail: Tail,
    /// The current ledger, and what is in it, appends of uncommitted batches included.
    planned_ledger: u64,
    planned_entries: u64,
    planned_bytes: u64,
    opened_ms: u64,
    /// Number of entries at which to look at the ledger's age.
    check_age_at: u64,
    aged: bool,
}

/// How many entries of a full but young ledger are appended between two looks at its age.
const AGE_CHECK_EVERY: u64 = 1024;

impl ManagedLedger {
    pub(crate) fn new(store: Arc<Inner>, topic: Arc<Topic>) -> Self {
        let (properties, confirmed, last, current) = {
            let state = topic.state.lock();
            // Under the lock: what others appended after this look is known to be not durable.
            let confirmed = state.last_durable(store.journal.durable());
            (state.properties.clone(), confirmed, state.last_position(), state.current().clone())
        };
        let age_ms = store.clock.now_ms().saturating_sub(current.opened_ms);
        let aged = u128::from(age_ms) >= store.config.max_ledger_age.as_millis();
        Self {
            tail: Tail::new(store.budget.clone()),
            check_age_at: store.config.max_entries_per_ledger,
            store,
            topic,
            properties,
            slot: (0, 0),
            confirmed,
            last,
            planned_ledger: current.id,
            planned_entries: current.entries,
            planned_bytes: current.bytes,
            opened_ms: current.opened_ms,
            aged,
        }
    }

    /// The topic.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.topic.name
    }

    /// What was stored with the topic.
    #[must_use]
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// Replaces all properties.
    pub fn set_properties(&mut self, batch: &mut Batch, properties: BTreeMap<String, String>) {
        self.properties.clone_from(&properties);
        self.change(batch, &Delta::Properties(properties));
    }

    pub(crate) fn change(&mut self, batch: &mut Batch, delta: &Delta) {
        {
            let mut state = self.topic.state.lock();
            state.apply(delta);
            if !self.topic.name.is_persistent() {
                return;
            }
            state.uncommitted = true;
            // What is trimmed here must not go with its file before the catalog, or a commit, says so.
            if state.touch(u64::MAX) {
                self.store.dirty.lock().push(self.topic.clone());
            }
        }
        batch.delta(&self.topic, &mut self.slot, delta);
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.topic.state.lock())
    }

    /// Puts an entry of `messages` messages into the batch; the commit says where it went. A full ledger is closed first.
    pub fn append(&mut self, batch: &mut Batch, data: Bytes, messages: u32) {
        self.roll_when_full(batch);
        self.planned_entries += 1;
        self.planned_bytes += data.len() as u64;
        batch.append(&self.topic, &mut self.slot, data, messages);
    }

    /// A handle by which somebody else can append to this topic, whether or not it is loaded; `None` when nothing of it is stored.
    #[must_use]
    pub fn appender(&self) -> Option<Appender> {
        self.topic.name.is_persistent().then(|| Appender::new(self.topic.clone()))
    }

    fn roll_when_full(&mut self, batch: &mut Batch) {
        if self.is_full()
            && let Some(ledger) = self.store.next_id()
        {
            let now_ms = self.store.clock.now_ms();
            self.store.register(ledger, &self.topic);
            batch.roll(&self.topic, &mut self.slot, ledger, now_ms);
            self.planned_ledger = ledger;
            self.planned_entries = 0;
            self.planned_bytes = 0;
            self.opened_ms = now_ms;
            self.check_age_at = self.store.config.max_entries_per_ledger;
            self.aged = false;
        }
    }

    fn is_full(&mut self) -> bool {
        let config = &self.store.config;
        if self.planned_entries == 0 {
            return false;
        }
        if self.aged || self.planned_bytes >= config.max_ledger_bytes {
            return true;
        }
        if self.planned_entries < self.check_age_at {
            return false;
        }
        let age_ms = self.store.clock.now_ms().saturating_sub(self.opened_ms);
        self.check_age_at = self.planned_entries + AGE_CHECK_EVERY;
        u128::from(age_ms) >= config.min_ledger_age.as_millis()
    }

    /// Remembers an entry that a commit put at `position`, so that tailing reads need no disk. Call in order.
    pub fn appended(&mut self, position: Position, data: Bytes, messages: u32) {
        self.last = self.last.max(position);
        let entry = Entry { position, messages, data };
        let next = |last: Position| last.ledger == position.ledger && last.entry + 1 == position.entry;
        if self.tail.last().is_none_or(next) {
            return self.tail.push(entry);
        }
        // A ledger begins here, or what somebody else appended before this is not known yet.
        let state = self.topic.state.lock();
        self.tail.insert(entry, |a, b| state.position(state.after(a)) == b);
    }

    /// Remembers an entry that an [`Appender`] put at `position`, in any order. Closes a ledger that is full because of it.
    pub fn appended_by_other(&mut self, batch: &mut Batch, position: Position, data: Bytes, messages: u32) {
        if position.ledger == self.planned_ledger {
            self.planned_entries = self.planned_entries.max(u64::try_from(position.entry).map_or(0, |n| n + 1));
            self.planned_bytes += data.len() as u64;
            self.roll_when_full(batch);
        }
        self.appended(position, data, messages);
    }

    /// Entries up to `position` are durable: they can be read and acknowledged.
    pub fn confirm(&mut self, position: Position) {
        self.confirmed = self.confirmed.max(position);
    }

    /// Takes an entry of a topic that is not persistent: confirmed at once, and there to be read until [`ManagedLedger::discard`],
    /// if memory allows.
    pub fn pass(&mut self, data: Bytes, messages: u32) -> Position {
        let position = self.topic.state.lock().append(data.len() as u64, messages);
        self.appended(position, data, messages);
        self.confirm(position);
        position
    }

    /// Forgets every entry of a topic that is not persistent; all cursors are after the last.
    pub fn discard(&mut self) {
        self.topic.state.lock().discard();
        self.tail.evict_before(self.confirmed.next());
    }

    /// The last durable entry, or the position before the first.
    #[must_use]
    pub fn last_confirmed(&self) -> Position {
        self.confirmed
    }

    /// The last entry in a commit, durable or not, whoever appended it.
    #[must_use]
    pub fn last_position(&self) -> Position {
        self.last.max(self.confirmed).max(self.with(State::last_position))
    }

    /// Whether there is, or was, an entry at this position that is not trimmed with its ledger.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.with(|s| s.ordinal(position).is_some())
    }

    /// Whether this is an appender of this very topic, not of one that had its name.
    #[must_use]
    pub fn is_of(&self, appender: &Appender) -> bool {
        appender.is_of(&self.topic)
    }

    /// Whether others are about to append, see [`Appender::begin`].
    #[must_use]
    pub fn others_under_way(&self) -> bool {
        self.topic.others.load(SeqCst) > 0
    }

    /// The first entry still stored, or where the next one will be.
    #[must_use]
    pub fn first_position(&self) -> Position {
        self.with(|s| s.position(s.first_ordinal()))
    }

    /// The next position after `position` that is an entry or will be one.
    #[must_use]
    pub fn next_position(&self, position: Position) -> Position {
        // Within the last ledger, which is nearly always, no lock is needed.
        if position.ledger == self.confirmed.ledger && (0..self.confirmed.entry).contains(&position.entry) {
            return position.next();
        }
        self.with(|s| s.position(s.after(position).max(s.first_ordinal())))
    }

    /// The last position before `position` that is an entry, or the position before all entries.
    #[must_use]
    pub fn previous_position(&self, position: Position) -> Position {
        if position.entry > 0 && self.with(|s| s.ordinal(position)).is_some() {
            return position.previous();
        }
        self.with(|s| s.before(s.after(position.previous()).max(s.first_ordinal())))
    }

    /// Reads confirmed entries from `from` (rounded up to the next stored one) on: at most `max_entries`, and `max_bytes` unless
    /// the first alone is larger.
    pub fn read(&mut self, from: Position, max_entries: usize, max_bytes: usize) -> Read {
        if from > self.confirmed {
            return Read::CaughtUp;
        }
        if let Some(entries) = self.tail.read(from, self.confirmed, max_entries, max_bytes) {
            return Read::Entries(entries);
        }
        let from = self.with(|s| s.position(s.after(from.previous()).max(s.first_ordinal())));
        if from > self.confirmed || self.confirmed.entry < 0 {
            return Read::CaughtUp;
        }
        if let Some(entries) = self.tail.read(from, self.confirmed, max_entries, max_bytes) {
            return Read::Entries(entries);
        }
        if !self.topic.name.is_persistent() {
            // There was no memory for it, and it is nowhere else.
            return Read::CaughtUp;
        }
        Read::Later(ReadRequest::new(self, from, max_entries, max_bytes))
    }

    /// Reads the one entry at `position` from disk.
    #[must_use]
    pub fn read_one(&self, position: Position) -> ReadRequest {
        ReadRequest::new(self, position, 1, 1)
    }

    /// Finds the first entry published at `publish_time_ms` (wall clock) or later.
    #[must_use]
    pub fn locate_time(&self, publish_time_ms: u64) -> LocateRequest {
        LocateRequest::new(self, publish_time_ms)
    }

    /// Entries before `position` were read by everyone who follows the tail.
    pub fn cache_evict_before(&mut self, position: Position) {
        self.tail.evict_before(position);
    }

    /// Drops whole ledgers that every durable cursor has consumed and that `retention` does not keep; without a durable cursor
    /// only retention keeps anything. Returns the bytes freed. The ledger appended to stays; what durable cursors have consumed of it
    /// gives its space back with the journal files it is in. Also closes a ledger that is old enough with the next append.
    pub fn trim(&mut self, batch: &mut Batch, retention: Retention) -> u64 {
        if !self.topic.name.is_persistent() {
            return 0;
        }
        let now_ms = self.store.clock.now_ms();
        // What is trimmed was acknowledged in a commit before: a checkpoint may have the one without the other.
        self.flush_acks(batch);
        self.tail.age();
        self.aged = u128::from(now_ms.saturating_sub(self.opened_ms)) >= self.store.config.max_ledger_age.as_millis();
        if self.with(|s| s.retention != Some(retention)) {
            self.change(batch, &Delta::Retention(retention));
        }
        let trim = self.with(|s| {
            let count = s.trimmable(retention, now_ms);
            let freed = s.ledgers[..count].iter().map(|l| l.live_bytes()).sum();
            (count > 0).then(|| (s.ledgers[count].id, freed))
        });
        let Some((ledger, freed)) = trim else { return 0 };
        self.change(batch, &Delta::Trim { ledger });
        self.store.release(&self.topic);
        freed
    }

    /// Ledgers still stored, oldest first.
    #[must_use]
    pub fn ledgers(&self) -> Vec<LedgerInfo> {
        self.with(|s| {
            let info = |l: &crate::state::Meta| LedgerInfo {
                id: LedgerId(l.id),
                entries: l.entries,
                bytes: l.live_bytes(),
                opened_ms: l.opened_ms,
                closed_ms: (l.closed_ms > 0).then_some(l.closed_ms),
                compacted: !l.segments.is_empty(),
            };
            s.ledgers.iter().map(info).collect()
        })
    }

    /// Bytes of all entries still stored.
    #[must_use]
    pub fn storage_bytes(&self) -> u64 {
        self.with(State::storage_bytes)
    }

    /// Entries ever appended.
    #[must_use]
    pub fn entries_added(&self) -> u64 {
        self.with(State::total)
    }

    /// Messages and bytes ever appended.
    #[must_use]
    pub fn messages_and_bytes_added(&self) -> (u64, u64) {
        self.with(|s| (s.messages_added, s.bytes_added))
    }

    /// When the topic was created, wall clock milliseconds.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.with(|s| s.created_ms)
    }

    /// The highest sequence id deduplication has seen from `producer`.
    #[must_use]
    pub fn dedup_highest(&self, producer: &str) -> Option<i64> {
        self.with(|s| s.dedup.get(producer).map(|d| d.highest))
    }

    /// Remembers a sequence id, atomically with the appends of the same batch.
    pub fn dedup_set(&mut self, batch: &mut Batch, producer: &str, highest: i64) {
        let mut state = self.topic.state.lock();
        let state = &mut *state;
        state.uncommitted = true;
        match state.dedup.get_mut(producer) {
            Some(dedup) => {
                dedup.highest = highest;
                if !std::mem::replace(&mut dedup.dirty, true) {
                    state.dirty_dedup.push(producer.into());
                }
            }
            None => {
                state.dedup.insert(producer.into(), crate::state::Dedup { highest, committed: None, dirty: true });
                state.dirty_dedup.push(producer.into());
            }
        }
        batch.dedup(&self.topic, &mut self.slot);
    }

    /// Forgets a producer that has been away for long.
    pub fn dedup_remove(&mut self, batch: &mut Batch, producer: &str) {
        self.topic.state.lock().dirty_dedup.retain(|p| **p != *producer);
        self.change(batch, &Delta::DedupRemove(vec![producer.to_owned()]));
    }

    /// Producers deduplication knows, with their highest sequence ids.
    #[must_use]
    pub fn dedup_producers(&self) -> Vec<(String, i64)> {
        self.with(|s| s.dedup.iter().map(|(name, d)| (name.to_string(), d.highest)).collect())
    }

    /// How long ago the current ledger was opened.
    #[must_use]
    pub fn ledger_age(&self) -> Duration {
        Duration::from_millis(self.store.clock.now_ms().saturating_sub(self.opened_ms))
    }

    pub(crate) fn slot_mut(&mut self) -> (&Arc<Topic>, &mut (u64, u32)) {
        (&self.topic, &mut self.slot)
    }
}

impl Drop for ManagedLedger {
    fn drop(&mut self) {
        if self.topic.name.is_persistent() {
            self.store.unloaded(&self.topic);
        }
    }
}
