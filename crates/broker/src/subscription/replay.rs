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
    /// A read is under way, or failed and waits for `retry_at` (wall clock milliseconds).
    pub(super) reading: bool,
    pub(super) retry_at: Option<u64>,
    /// What was last looked for: from there to the last entry confirmed then.
    asked: Option<(Position, Position)>,
    /// Something changed that may let entries go that could not go when they were looked at (Key_Shared).
    pub(super) stirred: bool,
}

impl Replay {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether what comes next is being read.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.reading && self.retry_at.is_none()
    }

    /// Messages of the entries that are at hand.
    pub(super) fn messages(&self) -> u64 {
        self.items.values().filter_map(|item| item.entry.as_ref()).map(|entry| u64::from(entry.messages)).sum()
    }

    /// Whether an entry of this hash waits.
    pub(super) fn has_hash(&self, hash: u32) -> bool {
        self.hashes.contains_key(&hash)
    }

    /// Queues a position; `hash` 0 where there is none or it is not known yet.
    pub(super) fn add(&mut self, position: Position, hash: u32) {
        self.stirred = true;
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

    /// What a read brought, from the position asked for on. It keeps that one, others as far as there is room. What it
    /// should have brought and did not is no longer stored: forgets it, and says how much that was.
    pub(super) fn read(&mut self, entries: Vec<Entry>) -> usize {
        self.stirred = true;
        let Some((wanted, _)) = self.asked else { return 0 };
        let last = entries.last().map_or(wanted, |e| e.position).max(wanted);
        let mut came = entries.into_iter().peekable();
        let mut lost = Vec::new();
        for (&at, item) in self.items.range_mut(wanted..=last) {
            while came.next_if(|e| e.position < at).is_some() {}
            match came.next_if(|e| e.position == at) {
                _ if item.entry.is_some() => {}
                None => lost.push(at),
                Some(entry) if at == wanted || self.kept_bytes + entry.data.len() <= KEPT_BYTES => {
                    self.kept_bytes += entry.data.len();
                    item.entry = Some(entry);
                }
                Some(_) => {}
            }
        }
        for at in &lost {
            self.remove(*at);
        }
        lost.len()
    }

    /// Forgets what the last read looked for: all of it is gone.
    pub(super) fn lost(&mut self) {
        self.stirred = true;
        let Some((from, to)) = self.asked else { return };
        let gone = self.items.range(from..=to.max(from)).filter(|(_, item)| item.entry.is_none());
        for at in gone.map(|(&at, _)| at).collect::<Vec<_>>() {
            self.remove(at);
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
        self.asked = Some((position, ledger.last_confirmed()));
        // Neighbours are usually wanted too.
        let run = self
            .from(position)
            .zip(0..64)
            .take_while(|((at, _), n)| *at == Position::new(position.ledger, position.entry + n))
            .count();
        match ledger.read(position, run.max(1), KEPT_BYTES) {
            Read::Entries(entries) if entries.first().is_some_and(|e| e.position == position) => {
                let stirred = self.stirred;
                self.read(entries);
                // Whoever asks looks at them now.
                self.stirred = stirred;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64, bytes: usize) -> Entry {
        Entry { position: Position::new(1, n), messages: 1, data: vec![0; bytes].into() }
    }

    fn asked(replay: &mut Replay, from: i64, to: i64) {
        replay.asked = Some((Position::new(1, from), Position::new(1, to)));
    }

    #[test]
    fn what_a_read_does_not_bring_is_forgotten() {
        let mut replay = Replay::default();
        (0..6).for_each(|n| replay.add(Position::new(1, n), 0));
        asked(&mut replay, 1, 5);
        // 1 and 3 are lost; of what comes after the last nothing is known.
        assert_eq!(replay.read(vec![entry(2, 1), entry(4, 1)]), 2);
        assert_eq!(replay.items.keys().map(|at| at.entry).collect::<Vec<_>>(), [0, 2, 4, 5]);
        asked(&mut replay, 4, 5);
        replay.lost();
        assert_eq!(replay.items.keys().map(|at| at.entry).collect::<Vec<_>>(), [0, 2, 4]);
    }

    #[test]
    fn neighbours_are_kept_as_far_as_there_is_room() {
        let mut replay = Replay::default();
        (0..4).for_each(|n| replay.add(Position::new(1, n), 0));
        asked(&mut replay, 0, 3);
        assert_eq!(replay.read((0..4).map(|n| entry(n, KEPT_BYTES / 2)).collect()), 0);
        assert_eq!(replay.items.values().filter(|item| item.entry.is_some()).count(), 2);
        // What is asked for is kept in any case, or it could never be delivered.
        asked(&mut replay, 3, 3);
        replay.read(vec![entry(3, KEPT_BYTES / 2)]);
        assert!(replay.remove(Position::new(1, 3)).is_some());
    }
}
