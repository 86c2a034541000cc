//! The latest entries of one topic, for consumers that follow the tail. All topics share one budget.
//!
//! Holds entries without gaps, in order of position.

use std::{
    collections::VecDeque,
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
    bytes: usize,
    budget: Arc<Budget>,
    /// Something was read since [`Tail::age`].
    used: bool,
}

impl Tail {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, budget, used: false }
    }

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
        let mut bytes = 0;
        let mut taken = Vec::with_capacity(max_entries.min(self.entries.len() - start));
        for entry in self.entries.range(start..).take(max_entries.max(1)) {
            bytes += entry.data.len();
            if entry.position > upto || (!taken.is_empty() && bytes > max_bytes) {
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
