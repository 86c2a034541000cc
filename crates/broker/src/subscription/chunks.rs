//! Which consumer of a Shared subscription has the beginning of a message in chunks: it gets the rest as well, when it has permits.
//!
//! Until then chunks wait, and what belongs to others goes on. How many messages may be known is bounded by what consumers may hold: one
//! whose first chunk nobody holds any more is forgotten when there are many.
//!
//! Source: Pulsar's `SharedConsumerAssignor` and `PersistentDispatcherMultipleConsumers.sendChunkedMessagesToConsumers`, which puts what is
//! beyond a consumer's permits into the replay queue. They acknowledge chunks whose first one they did not see, also those that waited
//! behind a last chunk that was assigned and not sent; here somebody gets them, whose client decides. A uuid is kept as its hash: two that
//! have the same one have one consumer.

use model::Position;
use rustc_hash::FxHashMap;
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};
use wire::entry::MetadataView;

/// Messages that are known before it is looked which of them nobody holds.
const MANY: usize = 10_000;
/// Chunks that may wait before reading ahead stops.
const WAITING_MAX: usize = 1000;

/// See the module.
#[derive(Default)]
pub(super) struct Chunks {
    hasher: RandomState,
    messages: FxHashMap<u64, Message>,
    look_at: usize,
    /// Chunks that wait for permits of their consumer.
    waiting: BTreeMap<Position, (Part, u64)>,
}

/// A message that has begun.
struct Message {
    consumer: u64,
    first: Position,
    waiting: u32,
}

/// A chunk.
#[derive(Clone, Copy)]
pub(super) struct Part {
    message: u64,
    is_first: bool,
    is_last: bool,
}

impl Chunks {
    /// Which chunk this is; `None`: it is none.
    pub(super) fn part(&self, metadata: &MetadataView<'_>) -> Option<Part> {
        let (uuid, chunk, chunks) = (metadata.uuid?, metadata.chunk_id?, metadata.num_chunks_from_msg?);
        (chunks > 1).then(|| Part {
            message: self.hasher.hash_one(uuid),
            is_first: chunk == 0,
            is_last: chunk >= chunks.saturating_sub(1),
        })
    }

    /// The consumer a chunk belongs to, which is `next` when it is the first of its message. `None`: nobody has its beginning. `holds` says
    /// whether a consumer has an entry.
    pub(super) fn owner(
        &mut self,
        part: Part,
        position: Position,
        next: u64,
        holds: impl Fn(u64, Position) -> bool,
    ) -> Option<u64> {
        if part.is_first && !self.messages.contains_key(&part.message) {
            if self.messages.len() >= self.look_at.max(MANY) {
                self.messages.retain(|_, message| message.waiting > 0 || holds(message.consumer, message.first));
                self.look_at = 2 * self.messages.len();
            }
            self.messages.insert(part.message, Message { consumer: next, first: position, waiting: 0 });
        }
        self.messages.get(&part.message).map(|message| message.consumer)
    }

    /// Whether an earlier chunk of its message waits.
    pub(super) fn is_behind(&self, part: Part, position: Position) -> bool {
        self.messages.get(&part.message).is_some_and(|message| message.waiting > 0)
            && self.waiting.range(..position).any(|(_, (before, _))| before.message == part.message)
    }

    /// A chunk was sent.
    pub(super) fn sent(&mut self, part: Part) {
        if part.is_last {
            self.messages.remove(&part.message);
        }
    }

    /// A chunk is to be sent when its consumer has permits.
    pub(super) fn wait(&mut self, position: Position, part: Part, consumer: u64) {
        if self.waiting.insert(position, (part, consumer)).is_none()
            && let Some(message) = self.messages.get_mut(&part.message)
        {
            message.waiting += 1;
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether so many wait that no more should be read.
    pub(super) fn are_many(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Chunks that can be sent now, in order. `permits` are what consumers have.
    pub(super) fn ready(&mut self, mut permits: FxHashMap<u64, i64>) -> Vec<Position> {
        let mut take = |consumer| permits.get_mut(&consumer).filter(|left| **left > 0).map(|left| *left -= 1).is_some();
        let ready: Vec<_> = self.waiting.iter().filter(|(_, (_, of))| take(*of)).map(|(&at, _)| at).collect();
        ready.iter().for_each(|at| self.remove(*at));
        ready
    }

    /// A chunk does not wait any more.
    pub(super) fn remove(&mut self, position: Position) {
        if let Some((part, _)) = self.waiting.remove(&position)
            && let Some(message) = self.messages.get_mut(&part.message)
        {
            message.waiting -= 1;
        }
    }

    /// All up to there are acknowledged.
    pub(super) fn remove_to(&mut self, position: Position) {
        let gone: Vec<_> = self.waiting.range(..=position).map(|(&at, _)| at).collect();
        gone.into_iter().for_each(|at| self.remove(at));
    }

    /// A consumer is gone: what it had of its messages comes again, the first chunks first. What waited for it.
    pub(super) fn forget(&mut self, consumer: u64) -> Vec<Position> {
        self.messages.retain(|_, message| message.consumer != consumer);
        self.waiting.extract_if(.., |_, (_, of)| *of == consumer).map(|(at, _)| at).collect()
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(entry: usize) -> Position {
        Position::new(1, entry as i64)
    }

    fn part(chunks: &Chunks, uuid: &[u8], chunk: i32) -> Part {
        let metadata = MetadataView {
            uuid: Some(uuid),
            chunk_id: Some(chunk),
            num_chunks_from_msg: Some(3),
            ..MetadataView::default()
        };
        chunks.part(&metadata).unwrap()
    }

    #[test]
    fn messages_that_nobody_holds_are_forgotten_when_there_are_many_and_no_others() {
        let mut chunks = Chunks::default();
        for n in 0..10 * MANY {
            // Of one in ten the first chunk is never acknowledged.
            let first = part(&chunks, format!("m{n}").as_bytes(), 0);
            assert_eq!(chunks.owner(first, at(n), 7, |_, at| at.entry % 10 == 0), Some(7));
        }
        assert!(chunks.messages.len() <= 3 * MANY, "{}", chunks.messages.len());
        for n in (0..10 * MANY).step_by(10) {
            let second = part(&chunks, format!("m{n}").as_bytes(), 1);
            assert_eq!(chunks.owner(second, at(n), 8, |_, _| false), Some(7));
        }
    }

    #[test]
    fn what_waits_is_sent_in_order_as_far_as_there_are_permits() {
        let mut chunks = Chunks::default();
        for (n, uuid, consumer) in [(0, b"a", 1), (1, b"b", 2)] {
            let first = part(&chunks, uuid, 0);
            assert_eq!(chunks.owner(first, at(n), consumer, |_, _| true), Some(consumer));
            assert!(!chunks.is_behind(first, at(n)));
        }
        for (n, uuid, chunk, consumer) in [(2, b"a", 1, 1), (3, b"b", 1, 2), (4, b"a", 2, 1), (5, b"b", 2, 2)] {
            let part = part(&chunks, uuid, chunk);
            chunks.wait(at(n), part, consumer);
            assert!(chunks.is_behind(part, at(n + 1)) && (chunks.is_behind(part, at(n)) == (n > 3)));
        }
        assert_eq!(chunks.ready([(1, 1), (2, 5), (3, 9)].into_iter().collect()), [at(2), at(3), at(5)]);
        let (a, b) = (part(&chunks, b"a", 2), part(&chunks, b"b", 2));
        assert!(chunks.is_behind(a, at(6)) && !chunks.is_behind(a, at(4)) && !chunks.is_behind(b, at(6)));
        chunks.remove_to(at(4));
        assert_eq!(chunks.waiting(), 0);
        assert!(!chunks.is_behind(a, at(6)));
        let last = part(&chunks, b"a", 2);
        chunks.wait(at(6), last, 1);
        assert_eq!(chunks.forget(1), [at(6)]);
        assert_eq!(chunks.owner(last, at(6), 2, |_, _| true), None);
    }
}
