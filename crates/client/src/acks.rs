//! Which messages of which received batches are still unacknowledged.
//!
//! An entry that holds a batch is acknowledged as a whole once its last message is; before that either nothing is sent or,
//! with batch-index acknowledgement, the set of messages still open. Words of a set: bit 1 is *not* acknowledged.
//! Entries that hold one message need no bookkeeping. Source: Pulsar's `BatchMessageAcker`; PIP-54.

use model::{MessageId, Position};
use std::collections::BTreeMap;

/// What to send for one acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The whole entry.
    Entry,
    /// Only some of it: these messages of `size` are open, bit 1 each.
    Open {
        /// The set to send.
        words: Vec<u64>,
        /// Messages in the batch.
        size: u32,
    },
    /// Nothing new: it was acknowledged before.
    Nothing,
    /// This consumer holds no such batch.
    Unknown,
}

/// The open batches of one consumer of one topic.
#[derive(Debug, Default)]
pub struct Batches {
    open: BTreeMap<Position, Open>,
}

#[derive(Debug)]
struct Open {
    words: Vec<u64>,
    size: u32,
}

impl Batches {
    /// A batch of `size` messages was received; `ack_set` is what the broker says is open (empty: all of it). Returns the
    /// set of open messages for the caller to deliver.
    pub fn received(&mut self, entry: Position, size: u32, ack_set: &[u64]) -> Vec<u64> {
        let mut words = full(size);
        if !ack_set.is_empty() {
            for (i, word) in words.iter_mut().enumerate() {
                *word &= ack_set.get(i).copied().unwrap_or(0);
            }
        }
        self.open.insert(entry, Open { words: words.clone(), size });
        words
    }

    /// One message is acknowledged.
    pub fn individual(&mut self, id: MessageId) -> Ack {
        let Ok(index) = u32::try_from(id.batch_index) else { return Ack::Entry };
        let Some(open) = self.open.get_mut(&id.position) else { return Ack::Unknown };
        if index >= open.size {
            return Ack::Unknown;
        }
        let (word, bit) = (&mut open.words[index as usize / 64], 1u64 << (index % 64));
        if *word & bit == 0 {
            return Ack::Nothing;
        }
        *word &= !bit;
        self.close_or_tell(id.position)
    }

    /// One message of a batch of `size` is not acknowledged after all.
    pub fn reopen(&mut self, id: MessageId, size: u32) {
        let Ok(index) = u32::try_from(id.batch_index) else { return };
        if index < size {
            let none = || Open { words: vec![0; size.div_ceil(64) as usize], size };
            let open = self.open.entry(id.position).or_insert_with(none);
            if let Some(word) = open.words.get_mut(index as usize / 64) {
                *word |= 1 << (index % 64);
            }
        }
    }

    /// Everything up to and including this message is acknowledged.
    pub(crate) fn cumulative(&mut self, id: MessageId) -> Ack {
        self.open = self.open.split_off(&id.position);
        let Ok(index) = u32::try_from(id.batch_index) else {
            self.open.remove(&id.position);
            return Ack::Entry;
        };
        let Some(open) = self.open.get_mut(&id.position) else { return Ack::Unknown };
        if index >= open.size {
            return Ack::Unknown;
        }
        for i in 0..=index {
            open.words[i as usize / 64] &= !(1 << (i % 64));
        }
        self.close_or_tell(id.position)
    }

    /// The entry is to be delivered again, so what is known of it is void.
    pub fn forget(&mut self, entry: Position) {
        self.open.remove(&entry);
    }

    /// Everything is to be delivered again.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    fn close_or_tell(&mut self, entry: Position) -> Ack {
        match self.open.get(&entry) {
            Some(open) if open.words.iter().any(|word| *word != 0) => {
                Ack::Open { words: open.words.clone(), size: open.size }
            }
            _ => {
                self.open.remove(&entry);
                Ack::Entry
            }
        }
    }
}

/// Whether message `index` is in the set.
#[must_use]
pub fn contains(words: &[u64], index: u32) -> bool {
    words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
}

/// What says that one message of a batch of `size` is acknowledged, and nothing of the others.
#[must_use]
pub fn all_but(index: u32, size: u32) -> Vec<u64> {
    let mut words = full(size);
    clear(&mut words, index);
    words
}

/// Takes a message out of a set.
pub fn clear(words: &mut [u64], index: u32) {
    if let Some(word) = words.get_mut(index as usize / 64) {
        *word &= !(1 << (index % 64));
    }
}

/// The set of all messages of a batch of `size`.
fn full(size: u32) -> Vec<u64> {
    let mut words = vec![u64::MAX; size.div_ceil(64) as usize];
    if let (Some(last), tail @ 1..) = (words.last_mut(), size % 64) {
        *last = (1 << tail) - 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Position = Position { ledger: 1, entry: 7 };

    fn id(entry: i64, batch_index: i32) -> MessageId {
        MessageId { position: Position::new(1, entry), partition: -1, batch_index }
    }

    #[test]
    fn an_acknowledgement_that_did_not_happen_is_taken_back() {
        let mut batches = Batches::default();
        batches.received(ENTRY, 2, &[]);
        batches.individual(id(7, 1));
        batches.reopen(id(7, 1), 2);
        assert_eq!(batches.individual(id(7, 0)), Ack::Open { words: vec![0b10], size: 2 });
        assert_eq!(batches.individual(id(7, 1)), Ack::Entry);
        // Also when nothing was known of the batch any more.
        batches.reopen(id(7, 1), 2);
        assert_eq!(batches.individual(id(7, 0)), Ack::Nothing);
        assert_eq!(batches.individual(id(7, 1)), Ack::Entry);
        batches.reopen(id(7, 9), 2);
        batches.reopen(id(7, -1), 0);
        assert_eq!(batches.individual(id(7, 0)), Ack::Unknown);
        assert_eq!(all_but(65, 70), [u64::MAX, 0b11_1101]);
    }

    #[test]
    fn an_entry_is_acknowledged_with_its_last_message() {
        let mut batches = Batches::default();
        assert_eq!(batches.received(ENTRY, 3, &[]), [0b111]);
        assert_eq!(batches.individual(id(7, 1)), Ack::Open { words: vec![0b101], size: 3 });
        assert_eq!(batches.individual(id(7, 1)), Ack::Nothing);
        assert_eq!(batches.individual(id(7, 0)), Ack::Open { words: vec![0b100], size: 3 });
        assert_eq!(batches.individual(id(7, 2)), Ack::Entry);
        assert_eq!(batches.individual(id(7, 2)), Ack::Unknown, "nothing is kept of a closed batch");
    }

    #[test]
    fn a_single_message_needs_no_bookkeeping() {
        assert_eq!(Batches::default().individual(id(7, -1)), Ack::Entry);
        assert_eq!(Batches::default().cumulative(id(7, -1)), Ack::Entry);
    }

    #[test]
    fn a_cumulative_ack_closes_what_is_before() {
        let mut batches = Batches::default();
        batches.received(Position::new(1, 6), 2, &[]);
        batches.received(ENTRY, 70, &[]);
        assert_eq!(batches.cumulative(id(7, 64)), Ack::Open { words: vec![0, 0b11_1110], size: 70 });
        assert_eq!(batches.individual(id(6, 0)), Ack::Unknown);
        assert_eq!(batches.cumulative(id(7, 69)), Ack::Entry);
    }

    #[test]
    fn what_the_broker_knows_as_acknowledged_stays_so() {
        let mut batches = Batches::default();
        let open = batches.received(ENTRY, 4, &[0b1010]);
        assert!(!contains(&open, 0) && contains(&open, 1) && !contains(&open, 2) && contains(&open, 3));
        assert_eq!(batches.individual(id(7, 0)), Ack::Nothing);
        assert_eq!(batches.individual(id(7, 9)), Ack::Unknown);
        batches.individual(id(7, 1));
        assert_eq!(batches.individual(id(7, 3)), Ack::Entry);
    }

    #[test]
    fn sets_end_at_the_size() {
        assert_eq!(full(64), [u64::MAX]);
        assert_eq!(full(65), [u64::MAX, 1]);
        assert_eq!(full(0), [0u64; 0]);
    }
}
