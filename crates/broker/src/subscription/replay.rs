//! Entries to be delivered again, or held back when their turn came: positions in order, with their data as far as it
//! is at hand.

use ledger::{Entry, ManagedLedger, Read, ReadRequest};
use model::Position;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Bytes of entries kept with their positions; the rest is read again when its turn comes.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

struct Item {
    hash: u32,
    entry: Option<Entry>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Replay {
    items: BTreeMap<Position, Item>,
    /// How many entries of a hash wait here: no later one of that hash may overtake them.
    hashes: FxHashMap<u32, u32>,
    kept_bytes: usize,
    pub(super) reading: bool,
}

impl Replay {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether an entry of this hash waits.
    pub(super) fn has_hash(&self, hash: u32) -> bool {
        self.hashes.contains_key(&hash)
    }

    /// Queues a position; `hash` 0 where there is none or it is not known yet.
    pub(super) fn add(&mut self, position: Position, hash: u32) {
        self.insert(position, Item { hash, entry: None });
    }

    /// Queues an entry that is at hand.
    pub(super) fn hold(&mut self, entry: Entry, hash: u32) {
        let position = entry.position;
        let keep = self.kept_bytes + entry.data.len() <= KEPT_BYTES;
        if keep {
            self.kept_bytes += entry.data.len();
        }
        self.insert(position, Item { hash, entry: keep.then_some(entry) });
    }

    fn insert(&mut self, position: Position, item: Item) {
        if item.hash != 0 {
            *self.hashes.entry(item.hash).or_default() += 1;
        }
        if let Some(old) = self.items.insert(position, item) {
            self.forget(&old);
        }
    }

    pub(super) fn remove(&mut self, position: Position) -> Option<Entry> {
        let item = self.items.remove(&position)?;
        self.forget(&item);
        item.entry
    }

    fn forget(&mut self, item: &Item) {
        if let Some(entry) = &item.entry {
            self.kept_bytes -= entry.data.len();
        }
        if item.hash != 0
            && let Some(n) = self.hashes.get_mut(&item.hash)
        {
            *n -= 1;
            if *n == 0 {
                self.hashes.remove(&item.hash);
            }
        }
    }

    /// What a read brought.
    pub(super) fn read(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if let Some(item) = self.items.get_mut(&entry.position)
                && item.entry.is_none()
            {
                self.kept_bytes += entry.data.len();
                item.entry = Some(entry);
            }
        }
    }

    /// Positions and hashes in order, from `from` on.
    fn from(&self, from: Position) -> impl Iterator<Item = (Position, u32)> + '_ {
        self.items.range(from..).map(|(&position, item)| (position, item.hash))
    }

    /// The first position at or after `from`, and its hash.
    pub(super) fn next_from(&self, from: Position) -> Option<(Position, u32)> {
        self.from(from).next()
    }

    /// Brings the entry at `position` to hand, from the cache or by a read that is returned.
    pub(super) fn fetch(&mut self, ledger: &mut ManagedLedger, position: Position) -> Fetch {
        match self.items.get(&position) {
            None => return Fetch::Gone,
            Some(item) if item.entry.is_some() => return Fetch::Ready,
            Some(_) => {}
        }
        if self.reading {
            return Fetch::Wait;
        }
        // Neighbours are usually wanted too.
        let run = self
            .from(position)
            .zip(0..64)
            .take_while(|((at, _), n)| *at == Position::new(position.ledger, position.entry + n))
            .count();
        match ledger.read(position, run.max(1), KEPT_BYTES) {
            Read::Entries(entries) if entries.first().is_some_and(|e| e.position == position) => {
                self.read(entries);
                Fetch::Ready
            }
            Read::Entries(_) | Read::CaughtUp => {
                // It is no longer stored.
                self.remove(position);
                Fetch::Gone
            }
            Read::Later(request) => Fetch::Read(request),
        }
    }
}

/// Where a replayed entry is.
pub(super) enum Fetch {
    /// At hand: `remove` returns it.
    Ready,
    /// No longer stored or queued.
    Gone,
    /// A read is under way.
    Wait,
    /// Run this.
    Read(ReadRequest),
}
