//! Which consumer of a Shared subscription has the beginning of a message in chunks: it gets the rest as well.
//!
//! Source: Pulsar's `SharedConsumerAssignor`. That acknowledges chunks whose first one it did not see; here somebody gets them, whose
//! client decides.

use rustc_hash::FxHashMap;
use wire::entry::MetadataView;

/// Messages that are known at a time; beyond that, the rest of one may go to another consumer.
const MOST: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Chunks(FxHashMap<Box<[u8]>, u64>);

impl Chunks {
    /// The consumer a chunk belongs to, which is `next` when it is the first of its message. `None` for what is no chunk, or whose
    /// beginning nobody has.
    pub(super) fn owner(&mut self, metadata: &MetadataView<'_>, next: u64) -> Option<u64> {
        let (uuid, chunk, chunks) = (metadata.uuid?, metadata.chunk_id?, metadata.num_chunks_from_msg?);
        if chunk == 0 && chunks > 1 && !self.0.contains_key(uuid) {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            self.0.insert(uuid.into(), next);
        }
        self.0.get(uuid).copied()
    }

    /// A chunk was sent.
    pub(super) fn sent(&mut self, metadata: &MetadataView<'_>) {
        if let (Some(uuid), Some(chunk), Some(chunks)) =
            (metadata.uuid, metadata.chunk_id, metadata.num_chunks_from_msg)
            && chunk >= chunks.saturating_sub(1)
        {
            self.0.remove(uuid);
        }
    }

    /// A consumer is gone: what it had of its messages comes again, the first chunks first.
    pub(super) fn forget(&mut self, consumer: u64) {
        self.0.retain(|_, owner| *owner != consumer);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
