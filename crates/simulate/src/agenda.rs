//! What happens next.

use crate::queue::Id;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An instance has done its message.
    Done { function: usize, instance: Id },
    /// An instance has started.
    Ready { function: usize, instance: Id },
    /// The metrics server looks.
    Scrape,
    /// The policy looks and decides.
    Tick,
    /// A point of the plot.
    Point,
    /// The warm-up is over.
    Begin,
    /// The trace is over.
    End,
}

/// What happens next. Of two events at the same time, that comes first which was entered first.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    entries: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Duration,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Agenda {
    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.entries += 1;
        self.heap.push(Reverse(Entry { at, number: self.entries, event }));
    }

    /// The next event, if it is not after this time.
    pub(crate) fn pop_until(&mut self, until: Duration) -> Option<(Duration, Event)> {
        let is_due = self.heap.peek().is_some_and(|Reverse(entry)| entry.at <= until);
        if is_due { self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event)) } else { None }
    }
}
