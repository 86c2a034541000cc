//! The latest entries of one topic, for consumers that follow the tail. All topics share one budget.
//!
//! Holds entries in order of position. Those that others than the owner append come late, so there may be gaps between them for a
//! while; a read ends before one.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use model::Position;

use crate::Entry;

/// What an entry costs besides its data.
const OVERHEAD: usize = 64;

/// Bytes all tail caches hold together, and may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}

/// See the module.
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    /// Entries that do not follow the one before them here.
    gaps: BTreeSet<Position>,
    bytes: usize,
    budget: Arc<Budget>,
    /// Something was read since [`Tail::age`].
    used: bool,
}

impl Tail {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { entries: VecDeque::new(), gaps: BTreeSet::new(), bytes: 0, budget, used: false }
    }

    /// The youngest entry here.
    pub(crate) fn last(&self) -> Option<Position> {
        self.entries.back().map(|entry| entry.position)
    }

    /// Puts an entry in its place. `follows` says whether a position is the next after another.
    pub(crate) fn insert(&mut self, entry: Entry, follows: impl Fn(Position, Position) -> bool) {
        let at = self.entries.partition_point(|known| known.position < entry.position);
        let position = entry.position;
        match (at.checked_sub(1).and_then(|before| self.entries.get(before)), self.entries.get(at)) {
            (_, Some(next)) if next.position == position => return,
            // Older than all that is wanted here.
            (None, Some(_)) => return,
            (None, None) => {}
            (Some(before), next) => {
                if !follows(before.position, position) {
                    self.gaps.insert(position);
                }
                if let Some(next) = next.map(|next| next.position) {
                    if follows(position, next) {
                        self.gaps.remove(&next);
                    }
                    let bytes = entry.data.len() + OVERHEAD;
                    self.bytes += bytes;
                    self.budget.used.fetch_add(bytes, Relaxed);
                    // What is over the budget goes with the next that is pushed.
                    return self.entries.insert(at, entry);
                }
            }
        }
        self.push(entry);
    }

    /// Adds an entry that follows the last.
    pub(crate) fn push(&mut self, entry: Entry) {
        let bytes = entry.data.len() + OVERHEAD;
        self.bytes += bytes;
        let mut used = self.budget.used.fetch_add(bytes, Relaxed) + bytes;
        self.entries.push_back(entry);
        while used > self.budget.limit
            && let Some(freed) = self.pop()
        {
            used -= freed;
        }
    }

    fn pop(&mut self) -> Option<usize> {
        let entry = self.entries.pop_front()?;
        let bytes = entry.data.len() + OVERHEAD;
        if !self.gaps.is_empty() {
            self.gaps.remove(&entry.position);
        }
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Relaxed);
        Some(bytes)
    }

    pub(crate) fn evict_before(&mut self, position: Position) {
        while self.entries.front().is_some_and(|e| e.position < position) {
            self.pop();
        }
        if self.entries.is_empty() && self.entries.capacity() > 1024 {
            self.entries = VecDeque::new();
        }
    }

    /// Forgets everything when nobody has read here since the last call.
    pub(crate) fn age(&mut self) {
        if !std::mem::replace(&mut self.used, false) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
        self.bytes = 0;
        self.entries = VecDeque::new();
        self.gaps.clear();
    }

    /// Entries from `from` to `upto`, when the first of them is here.
    pub(crate) fn read(
        &mut self,
        from: Position,
        upto: Position,
        max_entries: usize,
        max_bytes: usize,
    ) -> Option<Vec<Entry>> {
        let front = self.entries.front()?.position;
        if front > from {
            return None;
        }
        // Entries of one ledger stand side by side.
        let guess = if front.ledger == from.ledger { (from.entry - front.entry) as usize } else { usize::MAX };
        let start = match self.entries.get(guess) {
            Some(entry) if entry.position == from => guess,
            _ => self.entries.binary_search_by_key(&from, |e| e.position).ok()?,
        };
        self.used = true;
        let gap = self.gaps.range((Excluded(from), Unbounded)).next().copied();
        let mut bytes = 0;
        let mut taken = Vec::with_capacity(max_entries.min(self.entries.len() - start));
        for entry in self.entries.range(start..).take(max_entries.max(1)) {
            bytes += entry.data.len();
            if entry.position > upto
                || gap.is_some_and(|gap| entry.position >= gap)
                || (!taken.is_empty() && bytes > max_bytes)
            {
                break;
            }
            taken.push(entry.clone());
        }
        (!taken.is_empty()).then_some(taken)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(ledger: u64, n: i64) -> Entry {
        Entry { position: Position::new(ledger, n), messages: 1, data: Bytes::from_static(&[0; 100]) }
    }

    fn read(tail: &mut Tail, from: (u64, i64), upto: (u64, i64)) -> Option<Vec<i64>> {
        let read = tail.read(Position::new(from.0, from.1), Position::new(upto.0, upto.1), 100, 1 << 20);
        read.map(|entries| entries.iter().map(|e| e.position.entry).collect())
    }

    #[test]
    fn reads_over_the_end_of_a_ledger_and_not_beyond_the_last_confirmed() {
        let mut tail = Tail::new(Arc::new(Budget::new(1 << 20)));
        (3..6).for_each(|n| tail.push(entry(1, n)));
        (0..3).for_each(|n| tail.push(entry(2, n)));
        assert_eq!(read(&mut tail, (1, 2), (2, 2)), None);
        assert_eq!(read(&mut tail, (1, 4), (2, 1)), Some(vec![4, 5, 0, 1]));
        assert_eq!(read(&mut tail, (2, 0), (2, 1)), Some(vec![0, 1]));
        assert_eq!(read(&mut tail, (2, 2), (2, 1)), None);
        tail.evict_before(Position::new(2, 1));
        assert_eq!(read(&mut tail, (2, 0), (2, 2)), None);
        assert_eq!(read(&mut tail, (2, 1), (2, 2)), Some(vec![1, 2]));
    }

    #[test]
    fn a_read_ends_before_an_entry_that_is_not_here_yet() {
        let budget = Arc::new(Budget::new(1 << 20));
        let mut tail = Tail::new(budget.clone());
        // Ledger 1 ends with entry 4.
        let follows = |a: Position, b: Position| match a.ledger == b.ledger {
            true => a.entry + 1 == b.entry,
            false => (a.entry, b.entry) == (4, 0),
        };
        for (ledger, n) in [(1, 2), (1, 4), (2, 1), (2, 2)] {
            tail.insert(entry(ledger, n), follows);
        }
        assert_eq!(read(&mut tail, (1, 2), (2, 2)), Some(vec![2]));
        assert_eq!(read(&mut tail, (1, 3), (2, 2)), None);
        assert_eq!(read(&mut tail, (1, 4), (2, 2)), Some(vec![4]));
        assert_eq!(read(&mut tail, (2, 1), (2, 2)), Some(vec![1, 2]));
        tail.insert(entry(2, 0), follows);
        assert_eq!(read(&mut tail, (1, 4), (2, 2)), Some(vec![4, 0, 1, 2]));
        tail.insert(entry(1, 3), follows);
        tail.insert(entry(1, 3), follows);
        tail.insert(entry(1, 1), follows); // read by everyone
        assert_eq!(read(&mut tail, (1, 2), (2, 2)), Some(vec![2, 3, 4, 0, 1, 2]));
        tail.insert(entry(2, 4), follows);
        tail.evict_before(Position::new(2, 4));
        assert_eq!(read(&mut tail, (2, 4), (2, 9)), Some(vec![4]));
        tail.evict_before(Position::new(2, 5));
        assert!(tail.gaps.is_empty());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn over_budget_the_oldest_go_and_the_budget_gets_all_of_it_back() {
        let budget = Arc::new(Budget::new(1000));
        let mut tail = Tail::new(budget.clone());
        (0..100).for_each(|n| tail.push(entry(1, n)));
        assert!(budget.used() <= 1000, "{}", budget.used());
        assert_eq!(read(&mut tail, (1, 98), (1, 99)), Some(vec![98, 99]));
        tail.age();
        assert_eq!(tail.entries.len(), 6);
        tail.age();
        assert_eq!(budget.used(), 0);
    }
}
