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

use ledger::{Entry, Words};
use model::Position;
use rustc_hash::FxHashMap;
use std::hash::{BuildHasher, RandomState};
use wire::entry::MetadataView;

use crate::error::{Error, Result};

/// The subscription that stands for the compacted topic. Source: `Compactor.COMPACTION_SUBSCRIPTION`.
pub const SUBSCRIPTION: &str = "__compaction";

/// Keys a topic may have; each takes about 70 bytes of memory while it is compacted.
const KEYS_MAX: usize = 10_000_000;

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

    /// What it leaves of its batch, 1 for each message that stays; `None` when it is the whole entry.
    pub(crate) fn others(self) -> Option<(u32, Vec<u64>)> {
        let (index, of) = self.of_batch?;
        let mut words = vec![u64::MAX; of.div_ceil(64) as usize];
        if let Some(word) = words.get_mut((index / 64) as usize) {
            *word &= !(1 << (index % 64));
        }
        Some((of, words))
    }
}

/// Two keyed hashes: nobody can make two keys collide, and none do by chance.
type Key = (u64, u64);

/// The chunks of one message.
struct Chunks {
    uuid: Key,
    positions: Vec<Position>,
}

/// Is shown the entries of a topic in order, and says what is superseded.
#[derive(Default)]
pub(crate) struct Compactor {
    hashers: (RandomState, RandomState),
    latest: FxHashMap<Key, Superseded>,
    chunked: FxHashMap<Key, Chunks>,
    superseded: Vec<Superseded>,
}

impl Compactor {
    /// Looks at the next entry, of which `left` is not acknowledged (`None`: all of it). What cannot be read is kept.
    ///
    /// # Errors
    /// The topic has too many keys.
    pub(crate) fn look_at(&mut self, entry: &Entry, left: Option<&Words>) -> Result<()> {
        let Ok(metadata) = wire::entry::metadata(&entry.data) else { return Ok(()) };
        if metadata.marker_type.is_some() {
            self.superseded.push(Superseded::entry(entry.position));
        } else if metadata.is_batch() && !metadata.encrypted {
            self.batch(entry, &metadata, left);
        } else {
            self.single(entry, &metadata);
        }
        if self.latest.len() + self.chunked.len() > KEYS_MAX {
            return Err(Error::NotAllowed(format!("the topic has more than {KEYS_MAX} keys")));
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
        if let (Some(uuid), Some(2..)) = (metadata.uuid, metadata.num_chunks_from_msg) {
            return self.chunk(key, self.key(uuid), entry.position);
        }
        let is_empty = match metadata.compression {
            0 => wire::entry::split(&entry.data).is_ok_and(|parts| parts.payload.is_empty()),
            _ => metadata.uncompressed_size == 0,
        };
        self.message(key, this, metadata.null_value || is_empty);
    }

    fn batch(&mut self, entry: &Entry, metadata: &MetadataView<'_>, left: Option<&Words>) {
        let of = metadata.messages();
        let Some(messages) = unpacked(entry, metadata) else { return };
        if u32::try_from(messages.len()) != Ok(of) {
            return;
        }
        for (index, (single, payload)) in (0..of).zip(messages) {
            let word = |words: &Words| words.get((index / 64) as usize).copied().unwrap_or(0);
            if left.is_some_and(|words| word(words) & (1 << (index % 64)) == 0) {
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

    /// The chunks of a message stay or go together.
    fn chunk(&mut self, key: Key, uuid: Key, position: Position) {
        if let Some(chunks) = self.chunked.get_mut(&key).filter(|chunks| chunks.uuid == uuid) {
            chunks.positions.push(position);
            return;
        }
        self.supersede(key);
        self.chunked.insert(key, Chunks { uuid, positions: vec![position] });
    }

    fn supersede(&mut self, key: Key) {
        self.superseded.extend(self.latest.remove(&key));
        let chunks = self.chunked.remove(&key).map(|chunks| chunks.positions).unwrap_or_default();
        self.superseded.extend(chunks.into_iter().map(Superseded::entry));
    }
}

/// The messages of a batch; `None` when they cannot be read.
fn unpacked(
    entry: &Entry,
    metadata: &MetadataView<'_>,
) -> Option<Vec<(wire::proto::SingleMessageMetadata, bytes::Bytes)>> {
    let payload = wire::entry::payload(&entry.data).ok()?;
    let payload = client::decompress(metadata.compression()?, &payload, metadata.uncompressed_size as usize).ok()?;
    wire::batch::messages(payload).collect::<std::result::Result<_, _>>().ok()
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
        let others = Superseded { position: Position::new(1, 1), of_batch: Some((65, 70)) }.others();
        assert_eq!(others, Some((70, vec![u64::MAX, !0b10])));
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let (metadata, _) = batch(&[(Some("a"), "1")], CompressionType::Lz4);
        let entries = [(metadata, Bytes::from_static(b"no batch")), one(Some("a"), "2")];
        assert_eq!(compacted(&entries), []);
    }

    #[test]
    fn chunks_of_a_message_stay_or_go_together() {
        let chunk = |uuid: &str, id| {
            let metadata = MessageMetadata {
                uuid: Some(uuid.to_owned()),
                num_chunks_from_msg: Some(2),
                chunk_id: Some(id),
                ..metadata(Some("a"))
            };
            (metadata, Bytes::from_static(b"part"))
        };
        let entries = [chunk("m", 0), chunk("m", 1), chunk("n", 0), chunk("n", 1)];
        assert_eq!(compacted(&entries), [(0, None), (1, None)]);
        let entries = [chunk("m", 0), chunk("m", 1), one(Some("a"), "whole")];
        assert_eq!(compacted(&entries), [(0, None), (1, None)]);
        assert_eq!(compacted(&[one(Some("a"), "whole"), chunk("m", 0), chunk("m", 1)]), [(0, None)]);
    }
}
