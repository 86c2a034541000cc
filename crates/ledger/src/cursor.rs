//! A cursor remembers how much of one managed ledger one subscription has acknowledged.
//!
//! Entries are named here by *ordinal*: their number counted over all ledgers the topic ever had, so that a mark-delete moves over
//! the end of a ledger like over any other entry. Everything below `next` is acknowledged; beyond it `acked` holds the islands
//! acknowledged out of order, and `partial` the batches of which some messages are. An acknowledgement that closes the gap moves
//! `next` over every island it now touches.
//! Invariant: `next` is not in `acked`, and nothing below it is; `partial` holds nothing that is acknowledged.
//!
//! Islands have no bound but that each costs less than the entries around it, which are stored for it. What is left of a batch can be
//! larger than the entry: see [`Cursor::has_room`].
//! Source: Pulsar's `ManagedCursorImpl`; PIP-54 for positions inside a batch.

use smallvec::SmallVec;
use std::collections::BTreeMap;

use crate::{
    codec::{Decoded, Malformed, Reader, put_map, put_str, put_u64},
    partials::Partials,
    ranges::Ranges,
};

/// One bit a message of a batch, as on the wire: 1 is *not* acknowledged.
pub type Words = SmallVec<[u64; 2]>;

/// See [`Cursor::has_room`].
const PARTIAL_WORDS_MAX: usize = 2 << 20;

/// What changed since the last flush, or since the last commit, and what it was before: until it is journaled a checkpoint must
/// not have it.
#[derive(Clone, Debug, Default)]
struct Pending {
    /// Newly acknowledged, in order of time.
    ranges: Vec<(u64, u64)>,
    /// Batches touched, with what was left of them at the last flush.
    partial: BTreeMap<u64, Option<Words>>,
}

impl Pending {
    fn acked(&mut self, start: u64, end: u64) {
        match self.ranges.last_mut() {
            Some((_, last)) if *last == start => *last = end,
            Some((first, _)) if *first == end => *first = start,
            _ => self.ranges.push((start, end)),
        }
    }

    /// Forgets what is below `next`.
    fn lift(&mut self, next: u64) {
        self.ranges.retain_mut(|(start, end)| {
            *start = (*start).max(next);
            *start < *end
        });
        self.partial = self.partial.split_off(&next);
    }
}

/// What a flush writes: the cursor as moved by these is the cursor now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acks {
    pub(crate) next: u64,
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) partial: Vec<(u64, Words)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(crate) name: Box<str>,
    pub(crate) durable: bool,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) next: u64,
    acked: Ranges,
    partial: Partials,
    pending: Pending,
    /// Flushed into a batch that is not committed.
    flushed: Pending,
}

/// What an acknowledgement of a part of a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchAck {
    /// Messages that were not acknowledged before.
    pub newly: u32,
    /// The entry is acknowledged as a whole now.
    pub whole: bool,
}

impl Cursor {
    pub(crate) fn new(name: &str, durable: bool, next: u64, properties: BTreeMap<String, String>) -> Self {
        Self {
            name: name.into(),
            durable,
            properties,
            next,
            acked: Ranges::default(),
            partial: Partials::default(),
            pending: Pending::default(),
            flushed: Pending::default(),
        }
    }

    pub(crate) fn is_acked(&self, ordinal: u64) -> bool {
        ordinal < self.next || (self.acked.count() > 0 && self.acked.contains(ordinal))
    }

    /// The first ordinal at or after `from` that is not acknowledged.
    pub(crate) fn first_unacked(&self, from: u64) -> u64 {
        self.acked.next_gap(from.max(self.next))
    }

    /// The last ordinal below `total` that is not acknowledged.
    pub(crate) fn last_unacked(&self, total: u64) -> Option<u64> {
        self.acked.previous_gap(total.checked_sub(1)?).filter(|&ordinal| ordinal >= self.next)
    }

    /// Entries below `total` that are not acknowledged.
    pub(crate) fn backlog(&self, total: u64) -> u64 {
        total.saturating_sub(self.next).saturating_sub(self.acked.count())
    }

    /// Islands beyond `next`, half open.
    pub(crate) fn islands(&self) -> &Ranges {
        &self.acked
    }

    pub(crate) fn ack_set(&self, ordinal: u64) -> Option<&Words> {
        self.partial.get(ordinal)
    }

    /// Whether what consumers say of parts of batches is still to be taken: with less than 16 MiB of it, which is 400,000 batches
    /// of 64 messages. Pulsar keeps any number, and writes `managedLedgerMaxBatchDeletedIndexToPersist` of them.
    pub(crate) fn has_room(&self) -> bool {
        self.partial.words() < PARTIAL_WORDS_MAX
    }

    /// Acknowledges one entry; says whether it was not before.
    pub(crate) fn ack(&mut self, ordinal: u64) -> bool {
        if self.is_acked(ordinal) {
            return false;
        }
        if !self.partial.is_empty()
            && let Some(words) = self.partial.remove(ordinal)
        {
            self.touched(ordinal, Some(words));
        }
        if self.durable {
            self.pending.acked(ordinal, ordinal + 1);
        }
        if ordinal == self.next {
            self.next = self.acked.advance(ordinal + 1);
        } else {
            self.acked.insert(ordinal, ordinal + 1);
        }
        true
    }

    /// Remembers what was left of a batch that changes now.
    fn touched(&mut self, ordinal: u64, before: Option<Words>) {
        if self.durable {
            self.pending.partial.entry(ordinal).or_insert(before);
        }
    }

    /// Acknowledges everything below `next`; says how many entries were not before.
    pub(crate) fn ack_below(&mut self, next: u64) -> u64 {
        if next <= self.next {
            return 0;
        }
        let (from, islands) = (self.next, self.acked.count());
        if self.durable {
            let mut at = from;
            while at < next {
                let end = self.acked.next_island(at).min(next);
                self.pending.acked(at, end);
                at = self.acked.next_gap(end);
            }
        }
        self.next = self.acked.advance(next);
        let newly = self.next - from - (islands - self.acked.count());
        if !self.partial.is_empty() {
            for (ordinal, words) in self.partial.take_below(self.next) {
                self.touched(ordinal, Some(words));
            }
        }
        newly
    }

    /// Like [`Cursor::ack_below`] for what is no longer stored: nothing to be written, now or later.
    pub(crate) fn lift(&mut self, next: u64) {
        self.pending.lift(next);
        self.flushed.lift(next);
        if next > self.next {
            let durable = std::mem::replace(&mut self.durable, false);
            self.ack_below(next);
            self.durable = durable;
        }
    }

    /// Takes a gap in what is stored as acknowledged. What was acknowledged before it is still to be written.
    pub(crate) fn pass_over(&mut self, start: u64, end: u64) {
        let start = start.max(self.next);
        if start >= end {
            return;
        }
        if start == self.next {
            self.next = self.acked.advance(end);
        } else {
            self.acked.insert(start, end);
        }
        let is_gone = |ordinal: &u64| (start..end).contains(ordinal);
        self.partial.remove_within(start, end);
        for pending in [&mut self.pending, &mut self.flushed] {
            pending.partial.retain(|ordinal, _| !is_gone(ordinal));
        }
    }

    /// Keeps of entry `ordinal`, a batch of at most `messages`, only `remaining` unacknowledged.
    pub(crate) fn ack_batch(&mut self, ordinal: u64, messages: u32, remaining: &[u64]) -> BatchAck {
        if self.is_acked(ordinal) {
            return BatchAck { newly: 0, whole: true };
        }
        let mut left = Words::new();
        let mut before = 0;
        let known = self.partial.get(ordinal);
        let words = known.map_or(messages.div_ceil(64) as usize, |w| w.len());
        for index in 0..words.max(remaining.len()) {
            let old = match known {
                Some(known) => known.get(index).copied().unwrap_or(0),
                None => first_bits(messages, index),
            };
            before += old.count_ones();
            if index < remaining.len() {
                left.push(old & remaining[index]);
            } else if known.is_none() {
                // Beyond what the client named there is nothing left; how many that were is arithmetic.
                before += messages.saturating_sub((index as u32 + 1) * 64);
                break;
            }
        }
        while left.last() == Some(&0) {
            left.pop();
        }
        let after: u32 = left.iter().map(|w| w.count_ones()).sum();
        let newly = before.saturating_sub(after);
        if left.is_empty() {
            self.ack(ordinal);
            return BatchAck { newly, whole: true };
        }
        if newly > 0 {
            let before = self.partial.insert(ordinal, left);
            self.touched(ordinal, before);
        }
        BatchAck { newly, whole: false }
    }

    /// Moves to `next`, either way, and forgets everything beyond it.
    pub(crate) fn reset(&mut self, next: u64) {
        self.next = next;
        self.acked.clear();
        self.partial = Partials::default();
        self.pending = Pending::default();
        self.flushed = Pending::default();
    }

    /// Whether a flush would write something.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.pending.ranges.is_empty() || !self.pending.partial.is_empty()
    }

    /// What changed since the last flush, which this one ends. What it puts into a batch is not of the row before
    /// [`Cursor::committed`].
    pub(crate) fn flush(&mut self) -> Acks {
        let Pending { mut ranges, partial } = std::mem::take(&mut self.pending);
        self.flushed.ranges.extend_from_slice(&ranges);
        for (&ordinal, before) in &partial {
            self.flushed.partial.entry(ordinal).or_insert_with(|| before.clone());
        }
        let next = self.next;
        ranges.retain_mut(|(start, end)| {
            *start = (*start).max(next);
            *start < *end
        });
        ranges.sort_unstable();
        ranges.dedup_by(|later, earlier| {
            let touches = later.0 <= earlier.1;
            if touches {
                earlier.1 = earlier.1.max(later.1);
            }
            touches
        });
        let partial = partial.into_keys().filter_map(|o| self.partial.get(o).map(|w| (o, w.clone()))).collect();
        Acks { next, ranges, partial }
    }

    /// Replays a flush.
    pub(crate) fn apply(&mut self, acks: &Acks) {
        self.ack_below(acks.next);
        for &(start, end) in &acks.ranges {
            let start = start.max(self.next);
            if start == self.next && start < end {
                self.next = self.acked.advance(end.max(start));
            } else {
                self.acked.insert(start, end);
            }
            if !self.partial.is_empty() {
                self.partial.remove_within(start, end);
            }
        }
        for (ordinal, words) in &acks.partial {
            if !self.is_acked(*ordinal) {
                self.partial.insert(*ordinal, words.clone());
            }
        }
        self.pending = Pending::default();
    }

    /// What was flushed is in a commit.
    pub(crate) fn committed(&mut self) {
        self.flushed.ranges.clear();
        self.flushed.partial.clear();
    }

    /// The first ordinal not acknowledged as of the last commit.
    pub(crate) fn committed_next(&self) -> u64 {
        let waiting = self.flushed.ranges.iter().chain(&self.pending.ranges);
        waiting.map(|range| range.0).fold(self.next, u64::min)
    }

    /// The cursor as of the last commit.
    fn as_committed(&self) -> Acks {
        let mut acked = self.acked.clone();
        let mut partial: BTreeMap<u64, Words> = self.partial.iter().map(|(o, words)| (o, words.clone())).collect();
        let next = self.committed_next();
        acked.insert(next, self.next);
        // Back in time.
        for waiting in [&self.pending, &self.flushed] {
            for &(start, end) in &waiting.ranges {
                acked.remove(start, end);
            }
            for (ordinal, before) in &waiting.partial {
                match before {
                    Some(words) => partial.insert(*ordinal, words.clone()),
                    None => partial.remove(ordinal),
                };
            }
        }
        Acks { next, ranges: acked.iter().collect(), partial: partial.into_iter().collect() }
    }

    /// For the row: without what is in no commit.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_str(out, &self.name);
        put_map(out, &self.properties);
        self.as_committed().encode(out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Decoded<Self> {
        let name = reader.str()?;
        let properties = reader.map()?;
        let acks = Acks::decode(reader)?;
        let mut cursor = Self::new(name, true, acks.next, properties);
        cursor.apply(&acks);
        Ok(cursor)
    }
}

/// The first `messages` bits of an infinite row of words, of which this is word `index`.
fn first_bits(messages: u32, index: usize) -> u64 {
    match u64::from(messages).saturating_sub(index as u64 * 64) {
        0 => 0,
        n @ 1..64 => (1 << n) - 1,
        _ => u64::MAX,
    }
}

impl Acks {
    /// Behind the last entry that is named here.
    pub(crate) fn end(&self) -> u64 {
        let islands = self.ranges.last().map_or(0, |range| range.1);
        let batches = self.partial.last().map_or(0, |(ordinal, _)| ordinal.saturating_add(1));
        self.next.max(islands).max(batches)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.next);
        put_u64(out, self.ranges.len() as u64);
        let mut at = self.next;
        for &(start, end) in &self.ranges {
            put_u64(out, start - at);
            put_u64(out, end - start);
            at = end;
        }
        put_u64(out, self.partial.len() as u64);
        let mut at = self.next;
        for (ordinal, words) in &self.partial {
            put_u64(out, ordinal - at);
            at = *ordinal;
            put_u64(out, words.len() as u64);
            words.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Decoded<Self> {
        let next = reader.u64()?;
        let overflow = Malformed("acknowledged range");
        let mut at = next;
        let mut ranges = Vec::new();
        for _ in 0..reader.count()? {
            let start = at.checked_add(reader.u64()?).ok_or(overflow.clone())?;
            at = start.checked_add(reader.u64()?).ok_or(overflow.clone())?;
            ranges.push((start, at));
        }
        let mut at = next;
        let mut partial = Vec::new();
        for _ in 0..reader.count()? {
            at = at.checked_add(reader.u64()?).ok_or(overflow.clone())?;
            let mut words = Words::new();
            for _ in 0..reader.count()? {
                let mut word = [0; 8];
                for byte in &mut word {
                    *byte = reader.u8()?;
                }
                words.push(u64::from_le_bytes(word));
            }
            partial.push((at, words));
        }
        Ok(Self { next, ranges, partial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cursor(next: u64) -> Cursor {
        Cursor::new("s", true, next, BTreeMap::new())
    }

    /// A cursor as text: `next | islands | partial`.
    fn shown(cursor: &Cursor) -> String {
        let islands: Vec<_> = cursor.acked.iter().map(|(s, e)| format!("{s}..{e}")).collect();
        let partial: Vec<_> = cursor.partial.iter().map(|(o, w)| format!("{o}:{:b}", w[0])).collect();
        format!("{} | {} | {}", cursor.next, islands.join(" "), partial.join(" "))
    }

    #[track_caller]
    fn check(acks: &[u64], expected: &str) {
        let mut cursor = cursor(0);
        for &ack in acks {
            cursor.ack(ack);
        }
        assert_eq!(shown(&cursor), expected);
    }

    #[test]
    fn what_is_acknowledged_before_a_gap_is_written_although_the_cursor_is_behind_it() {
        let mut cursor = cursor(0);
        cursor.ack_batch(5, 4, &[0b11]);
        cursor.pass_over(4, 6);
        for ordinal in 0..4 {
            cursor.ack(ordinal);
        }
        cursor.pass_over(4, 6);
        assert_eq!(shown(&cursor), "6 |  | ");
        assert_eq!((cursor.committed_next(), cursor.is_dirty()), (0, true));
        let mut row = Vec::new();
        cursor.encode(&mut row);
        assert_eq!(shown(&Cursor::decode(&mut Reader::new(&row)).unwrap()), "0 | 4..6 | ");
        assert_eq!(cursor.flush(), Acks { next: 6, ..Acks::default() });
    }

    #[test]
    fn individual_acknowledgements() {
        check(&[], "0 |  | ");
        check(&[0], "1 |  | ");
        check(&[1], "0 | 1..2 | ");
        check(&[1, 0], "2 |  | ");
        check(&[5, 3, 4], "0 | 3..6 | ");
        check(&[1, 2, 5, 0], "3 | 5..6 | ");
        check(&[1, 1, 0, 0], "2 |  | ");
    }

    #[test]
    fn a_batch_is_acknowledged_bit_by_bit() {
        let mut c = cursor(0);
        assert_eq!(c.ack_batch(1, 4, &[0b1110]), BatchAck { newly: 1, whole: false });
        assert_eq!(c.ack_batch(1, 4, &[0b1110]), BatchAck { newly: 0, whole: false });
        assert_eq!(c.ack_batch(1, 4, &[0b0111]), BatchAck { newly: 1, whole: false });
        assert_eq!(shown(&c), "0 |  | 1:110");
        assert_eq!(c.ack_batch(1, 4, &[0b1001]), BatchAck { newly: 2, whole: true });
        assert_eq!(shown(&c), "0 | 1..2 | ");
        assert_eq!(c.ack_batch(1, 4, &[0b1001]), BatchAck { newly: 0, whole: true });
        // Java leaves out words that are zero.
        assert_eq!(c.ack_batch(2, 130, &[u64::MAX]), BatchAck { newly: 66, whole: false });
        assert_eq!(c.ack_batch(3, 100, &[]), BatchAck { newly: 100, whole: true });
    }

    #[test]
    fn a_cumulative_acknowledgement_swallows_islands() {
        let mut c = cursor(0);
        for ack in [2, 3, 7] {
            c.ack(ack);
        }
        c.ack_batch(1, 4, &[1]);
        assert_eq!(c.ack_below(2), 2);
        assert_eq!(shown(&c), "4 | 7..8 | ");
        assert_eq!(c.ack_below(4), 0);
        assert_eq!(c.ack_below(9), 4);
        assert_eq!(shown(&c), "9 |  | ");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ack(u64),
        Below(u64),
        Batch(u64, u64),
        Lift(u64),
        Flush,
        Commit,
    }

    proptest! {
        #[test]
        fn flushes_replayed_are_the_cursor(steps in prop::collection::vec(prop_oneof![
            4 => (0u64..40).prop_map(Step::Ack),
            1 => (0u64..40).prop_map(Step::Below),
            2 => (0u64..40, 0u64..16).prop_map(|(o, w)| Step::Batch(o, w)),
            1 => (0u64..40).prop_map(Step::Lift),
            2 => Just(Step::Flush),
            1 => Just(Step::Commit),
        ], 0..60)) {
            let mut live = cursor(0);
            let mut replayed = cursor(0);
            let mut committed = cursor(0);
            for step in steps.into_iter().chain([Step::Flush, Step::Commit]) {
                match step {
                    Step::Ack(o) => { live.ack(o); }
                    Step::Below(o) => { live.ack_below(o); }
                    Step::Batch(o, w) => { live.ack_batch(o, 4, &[w]); }
                    Step::Lift(o) => [&mut live, &mut replayed, &mut committed].into_iter().for_each(|c| c.lift(o)),
                    Step::Flush => {
                        let mut bytes = Vec::new();
                        live.flush().encode(&mut bytes);
                        let acks = Acks::decode(&mut Reader::new(&bytes)).unwrap();
                        replayed.apply(&acks);
                        replayed.apply(&acks); // twice is once
                        prop_assert_eq!(shown(&replayed), shown(&live));
                    }
                    Step::Commit => {
                        live.committed();
                        committed = replayed.clone();
                    }
                }
                // A row has what is in a commit and no more.
                let mut row = Vec::new();
                live.encode(&mut row);
                prop_assert_eq!(shown(&Cursor::decode(&mut Reader::new(&row)).unwrap()), shown(&committed));
                prop_assert_eq!(live.committed_next(), committed.next);
            }
        }
    }
}
