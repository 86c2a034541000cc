//! What compaction leaves of a topic: the last message of each key.
//!
//! Nothing is copied. A subscription of its own, [`SUBSCRIPTION`], acknowledges each message that a later one with the same key
//! supersedes, and those without a key. What that subscription has not acknowledged is the compacted topic; it stays stored as any
//! backlog does, and whoever reads compacted passes over the rest. A message without a value supersedes those before it and itself.
//! So a compaction that ends half way has taken away nothing that it should not.
//!
//! Source: Pulsar's `AbstractTwoPhaseCompactor` and `PublishingOrderCompactor`, which copy what is left into a ledger of its own.

mod run;

pub(crate) use run::run;

use client::entries::{clear, contains};
use ledger::{Entry, Words};
use model::Position;
use rustc_hash::FxHashMap;
use std::hash::{BuildHasher, RandomState};
use wire::{batch::MESSAGES_MAX, entry::MetadataView};

use crate::error::{Error, Result};

/// The subscription that stands for the compacted topic. Source: `Compactor.COMPACTION_SUBSCRIPTION`.
pub const SUBSCRIPTION: &str = "__compaction";

/// Keys a topic may have, counting messages of which chunks are missing; each takes about 100 bytes of memory while it is compacted.
const KEYS_MAX: usize = 100_000;

/// Chunks that may be left of a topic, in all its messages.
const CHUNKS_MAX: usize = 1_000_000;

/// How far the compaction of a topic is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CompactionStatus {
    /// Not since the topic was loaded.
    #[default]
    NotRun,
    Running,
    Success,
    /// And why.
    Error(String),
}

/// A message that is no part of the compacted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superseded {
    pub(crate) position: Position,
    /// Which of how many messages of a batch; `None` is the whole entry.
    pub(crate) of_batch: Option<(u32, u32)>,
}

impl Superseded {
    fn entry(position: Position) -> Self {
        Self { position, of_batch: None }
    }

    /// Words of an ack set that says so.
    fn words(self) -> usize {
        self.of_batch.map_or(0, |(_, of)| of.div_ceil(64) as usize)
    }
}

/// What messages of one entry leave of its batch, 1 for each that stays; `None` when one of them is the whole entry.
pub(crate) fn others(of_entry: &[Superseded]) -> Option<(u32, Vec<u64>)> {
    let (_, of) = of_entry.first()?.of_batch?;
    let mut words = vec![u64::MAX; of.div_ceil(64) as usize];
    for one in of_entry {
        let (index, _) = one.of_batch?;
        clear(&mut words, index);
    }
    Some((of, words))
}

/// Two keyed hashes: nobody can make two keys collide, and none do by chance.
type Key = (u64, u64);

/// The chunks of one message that are not all there yet.
#[derive(Default)]
struct Chunks {
    positions: Vec<Position>,
    /// The chunk that comes next; the first, when one was missing. A consumer takes them in no other order.
    next: i32,
}

/// Is shown the entries of a topic in order, and says what is superseded.
#[derive(Default)]
pub(crate) struct Compactor {
    hashers: (RandomState, RandomState),
    latest: FxHashMap<Key, Superseded>,
    /// Key by key, the last message that is whole, when it came in chunks.
    chunked: FxHashMap<Key, Vec<Position>>,
    /// By key and uuid. What never becomes whole neither supersedes nor is superseded.
    parts: FxHashMap<(Key, Key), Chunks>,
    /// How many positions are in the two.
    chunks: usize,
    /// Bytes that came out of batches.
    unpacked: u64,
    superseded: Vec<Superseded>,
}

impl Compactor {
    /// Looks at the next entry, of which `left` is not acknowledged (`None`: all of it). What cannot be read is kept.
    ///
    /// # Errors
    /// The topic has too many keys, or chunks.
    pub(crate) fn look_at(&mut self, entry: &Entry, left: Option<&Words>) -> Result<()> {
        let Ok(metadata) = wire::entry::metadata(&entry.data) else { return Ok(()) };
        if metadata.marker_type.is_some() {
            self.superseded.push(Superseded::entry(entry.position));
        } else if metadata.is_batch() && !metadata.encrypted {
            self.batch(entry, &metadata, left);
        } else {
            self.single(entry, &metadata);
        }
        if self.latest.len() + self.chunked.len() + self.parts.len() > KEYS_MAX {
            return Err(Error::NotAllowed(format!("a topic of more than {KEYS_MAX} keys cannot be compacted")));
        }
        if self.chunks > CHUNKS_MAX {
            return Err(Error::NotAllowed(format!("a topic of more than {CHUNKS_MAX} chunks cannot be compacted")));
        }
        Ok(())
    }

    /// What was found to be superseded since the last time.
    pub(crate) fn take(&mut self) -> Vec<Superseded> {
        std::mem::take(&mut self.superseded)
    }

    pub(crate) fn found(&self) -> usize {
        self.superseded.len()
    }

    /// Bytes that came out of batches so far: what it took to look.
    pub(crate) fn unpacked(&self) -> u64 {
        self.unpacked
    }

    fn key(&self, key: &[u8]) -> Key {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    fn single(&mut self, entry: &Entry, metadata: &MetadataView<'_>) {
        let this = Superseded::entry(entry.position);
        let Some(key) = metadata.partition_key.filter(|_| !metadata.null_partition_key) else {
            self.superseded.push(this);
            return;
        };
        let key = self.key(key);
        if let (Some(uuid), Some(of @ 2..)) = (metadata.uuid, metadata.num_chunks_from_msg) {
            let uuid = self.key(uuid);
            return self.chunk(key, uuid, entry.position, metadata.chunk_id.unwrap_or(0), of);
        }
        let is_empty = match metadata.compression {
            0 => wire::entry::split(&entry.data).is_ok_and(|parts| parts.payload.is_empty()),
            _ => metadata.uncompressed_size == 0,
        };
        self.message(key, this, metadata.null_value || is_empty);
    }

    fn batch(&mut self, entry: &Entry, metadata: &MetadataView<'_>, left: Option<&Words>) {
        let of = metadata.messages();
        self.unpacked += u64::from(metadata.uncompressed_size);
        let Some(messages) = unpacked(entry, metadata, of) else { return };
        for (index, (single, payload)) in (0..of).zip(messages.flatten()) {
            if left.is_some_and(|words| !contains(words, index)) {
                continue;
            }
            let this = Superseded { position: entry.position, of_batch: Some((index, of)) };
            let key = single.partition_key.as_ref().filter(|_| single.null_partition_key != Some(true));
            match key {
                Some(key) if single.compacted_out != Some(true) => {
                    self.message(self.key(key.as_bytes()), this, single.null_value == Some(true) || payload.is_empty());
                }
                _ => self.superseded.push(this),
            }
        }
    }

    fn message(&mut self, key: Key, this: Superseded, is_tombstone: bool) {
        self.supersede(key);
        if is_tombstone {
            self.superseded.push(this);
        } else {
            self.latest.insert(key, this);
        }
    }

    /// The chunks of a message stay or go together, and are a message only when they are all there.
    ///
    /// Source: Pulsar's `ConsumerImpl.processMessageChunk`, for their order: the first begins anew, one that comes again changes nothing,
    /// and where one is missing none is taken.
    fn chunk(&mut self, key: Key, uuid: Key, position: Position, id: i32, of: i32) {
        let parts = self.parts.entry((key, uuid)).or_default();
        parts.positions.push(position);
        self.chunks += 1;
        if id == 0 || id == parts.next {
            parts.next = id.saturating_add(1);
        } else if id > parts.next {
            parts.next = 0;
        }
        if parts.next == of
            && let Some(whole) = self.parts.remove(&(key, uuid))
        {
            self.supersede(key);
            self.chunked.insert(key, whole.positions);
        }
    }

    fn supersede(&mut self, key: Key) {
        self.superseded.extend(self.latest.remove(&key));
        let chunks = self.chunked.remove(&key).unwrap_or_default();
        self.chunks -= chunks.len();
        self.superseded.extend(chunks.into_iter().map(Superseded::entry));
    }
}

/// The `of` messages of a batch; `None` when they cannot be read, or are not as many. What comes out of a small payload may be large:
/// it is gone over twice, and never kept.
fn unpacked(entry: &Entry, metadata: &MetadataView<'_>, of: u32) -> Option<wire::batch::Messages> {
    if of > MESSAGES_MAX {
        return None;
    }
    let payload = wire::entry::payload(&entry.data).ok()?;
    let payload = client::decompress(metadata.compression()?, &payload, metadata.uncompressed_size as usize).ok()?;
    let messages = wire::batch::messages(payload);
    let mut count = 0;
    for message in messages.clone().take(of as usize + 1) {
        message.ok()?;
        count += 1;
    }
    (count == of).then_some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::proto::{CompressionType, MessageMetadata, SingleMessageMetadata};

    fn metadata(key: Option<&str>) -> MessageMetadata {
        MessageMetadata { partition_key: key.map(str::to_owned), ..Default::default() }
    }

    /// Shows entries numbered from 0 and returns what is superseded, in order of place.
    fn compacted(entries: &[(MessageMetadata, Bytes)]) -> Vec<(i64, Option<u32>)> {
        let mut compactor = Compactor::default();
        for (n, (metadata, payload)) in (0..).zip(entries) {
            let data = wire::entry::encode_entry(metadata, payload);
            compactor.look_at(&Entry { position: Position::new(1, n), messages: 1, data }, None).unwrap();
        }
        let superseded = compactor.take().into_iter();
        let mut all: Vec<_> = superseded.map(|s| (s.position.entry, s.of_batch.map(|(index, _)| index))).collect();
        all.sort_unstable();
        all
    }

    fn one(key: Option<&str>, value: &'static str) -> (MessageMetadata, Bytes) {
        (metadata(key), Bytes::from_static(value.as_bytes()))
    }

    fn batch(messages: &[(Option<&str>, &str)], compression: CompressionType) -> (MessageMetadata, Bytes) {
        let mut builder = wire::batch::Builder::default();
        for (key, value) in messages {
            let single = SingleMessageMetadata { partition_key: key.map(str::to_owned), ..Default::default() };
            builder.push(single, value.as_bytes());
        }
        let plain = builder.take();
        let metadata = MessageMetadata {
            num_messages_in_batch: Some(messages.len() as i32),
            compression: Some(compression as i32),
            uncompressed_size: Some(plain.len() as u32),
            ..metadata(None)
        };
        (metadata, client::compress(compression, &plain).into())
    }

    #[test]
    fn the_last_message_of_a_key_stays() {
        let entries = [one(Some("a"), "1"), one(Some("b"), "1"), one(Some("a"), "2"), one(Some("a"), "3")];
        assert_eq!(compacted(&entries), [(0, None), (2, None)]);
    }

    #[test]
    fn what_has_no_key_goes_and_a_message_without_a_value_takes_its_key_with_it() {
        let entries = [one(None, "x"), one(Some("a"), "1"), one(Some("b"), "1"), one(Some("a"), "")];
        assert_eq!(compacted(&entries), [(0, None), (1, None), (3, None)]);
        let null = MessageMetadata { null_value: Some(true), ..metadata(Some("b")) };
        assert_eq!(compacted(&[one(Some("b"), "1"), (null, Bytes::new())]), [(0, None), (1, None)]);
    }

    #[test]
    fn messages_of_a_batch_are_looked_at_one_by_one() {
        for kind in [CompressionType::None, CompressionType::Lz4, CompressionType::Zstd] {
            let first = batch(&[(Some("a"), "1"), (Some("b"), "1"), (None, "x"), (Some("a"), "2")], kind);
            let entries = [first, batch(&[(Some("b"), "")], kind), one(Some("c"), "1")];
            assert_eq!(compacted(&entries), [(0, Some(0)), (0, Some(1)), (0, Some(2)), (1, Some(0))], "{kind:?}");
        }
        let one = |index| Superseded { position: Position::new(1, 1), of_batch: Some((index, 70)) };
        assert_eq!(others(&[one(65)]), Some((70, vec![u64::MAX, !0b10])));
        assert_eq!(others(&[one(0), one(64), one(65)]), Some((70, vec![!0b1, !0b11])));
        assert_eq!(others(&[one(0), Superseded::entry(Position::new(1, 1))]), None);
    }

    #[test]
    fn a_batch_that_does_not_hold_what_it_says_stays() {
        for says in [2, 4, MESSAGES_MAX as i32 + 1] {
            let (metadata, payload) = batch(&[(None, "x"), (Some("a"), "1"), (Some("a"), "2")], CompressionType::Zstd);
            let metadata = MessageMetadata { num_messages_in_batch: Some(says), ..metadata };
            assert_eq!(compacted(&[(metadata, payload)]), [], "{says}");
        }
        // A few kilobytes that are 33 million messages, all empty.
        let zeros = vec![0; 128 << 20];
        let payload: Bytes = client::compress(CompressionType::Zstd, &zeros).into();
        for says in [MESSAGES_MAX as i32, 32 << 20] {
            let metadata = MessageMetadata {
                num_messages_in_batch: Some(says),
                compression: Some(CompressionType::Zstd as i32),
                uncompressed_size: Some(zeros.len() as u32),
                ..metadata(None)
            };
            assert_eq!(compacted(&[(metadata, payload.clone())]), [], "{says}");
        }
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let (metadata, _) = batch(&[(Some("a"), "1")], CompressionType::Lz4);
        let entries = [(metadata, Bytes::from_static(b"no batch")), one(Some("a"), "2")];
        assert_eq!(compacted(&entries), []);
    }

    #[test]
    fn chunks_of_a_message_stay_or_go_together() {
        let part = |of, uuid: &str, id| {
            let metadata = MessageMetadata {
                uuid: Some(uuid.to_owned()),
                num_chunks_from_msg: Some(of),
                chunk_id: Some(id),
                ..metadata(Some("a"))
            };
            (metadata, Bytes::from_static(b"part"))
        };
        let chunk = |uuid: &str, id| part(2, uuid, id);
        let entries = [chunk("m", 0), chunk("m", 1), chunk("n", 0), chunk("n", 1)];
        assert_eq!(compacted(&entries), [(0, None), (1, None)]);
        let entries = [chunk("m", 0), chunk("m", 1), one(Some("a"), "whole")];
        assert_eq!(compacted(&entries), [(0, None), (1, None)]);
        assert_eq!(compacted(&[one(Some("a"), "whole"), chunk("m", 0), chunk("m", 1)]), [(0, None)]);
        // Until they are all there they are no message, and when they never are they take nothing away.
        assert_eq!(compacted(&[one(Some("a"), "whole"), chunk("m", 0)]), []);
        assert_eq!(compacted(&[chunk("l", 0), chunk("l", 1), chunk("m", 0), chunk("n", 1)]), []);
        assert_eq!(compacted(&[chunk("m", 0), one(Some("a"), "whole")]), []);
        let missing = [one(Some("a"), "whole"), part(3, "m", 0), part(3, "m", 2), part(3, "m", 1)];
        assert_eq!(compacted(&missing), []);
        // Of two producers: the one that ends last is the last.
        let entries = [chunk("m", 0), chunk("n", 0), chunk("n", 1), chunk("m", 1)];
        assert_eq!(compacted(&entries), [(1, None), (2, None)]);
        let entries = [chunk("m", 0), one(Some("a"), "whole"), chunk("m", 1)];
        assert_eq!(compacted(&entries), [(1, None)]);
        // Sent again after a reconnection.
        let entries = [one(Some("a"), "1"), chunk("m", 0), chunk("m", 0), chunk("m", 1), one(Some("a"), "2")];
        assert_eq!(compacted(&entries), [(0, None), (1, None), (2, None), (3, None)]);
    }

    #[test]
    fn a_topic_has_no_more_keys_than_it_may() {
        let mut compactor = Compactor::default();
        let mut look_at =
            |n: i64, data| compactor.look_at(&Entry { position: Position::new(1, n), messages: 1, data }, None);
        for n in 0..KEYS_MAX {
            look_at(n as i64, wire::entry::encode_entry(&metadata(Some(&n.to_string())), b"1")).unwrap();
        }
        look_at(-1, wire::entry::encode_entry(&metadata(Some("0")), b"2")).unwrap();
        let error = look_at(-1, wire::entry::encode_entry(&metadata(Some("more")), b"1")).unwrap_err();
        assert_eq!(error.to_string(), "a topic of more than 100000 keys cannot be compacted");
    }
}
