//! Entries read from disk that wait for their turn, in order, and how many bytes they are.

use ledger::Entry;
use std::collections::VecDeque;

/// See the module.
#[derive(Default)]
pub(super) struct Buffer {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn extend(&mut self, entries: Vec<Entry>) {
        self.bytes += entries.iter().map(|e| e.data.len()).sum::<usize>();
        self.entries.extend(entries);
    }

    pub(super) fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.data.len();
        self.entries.push_front(entry);
    }

    /// Takes at most `max` entries from the front.
    pub(super) fn take(&mut self, max: usize) -> Vec<Entry> {
        let taken: Vec<_> = self.entries.drain(..max.min(self.entries.len())).collect();
        self.bytes -= taken.iter().map(|e| e.data.len()).sum::<usize>();
        taken
    }

    /// Drops what is at or before `position`.
    pub(super) fn drop_to(&mut self, position: model::Position) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.position <= position) {
            self.bytes -= entry.data.len();
        }
    }
}
