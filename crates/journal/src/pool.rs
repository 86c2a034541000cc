//! Buffers for large reads past the page cache, used again and again: memory of this size is dear to get from the system.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::block::AlignedBuffer;

/// How much one buffer holds.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// Buffers kept while nobody reads: what one reader has on its way.
const KEPT_MAX: usize = 16;

static KEPT: Mutex<Vec<AlignedBuffer>> = Mutex::new(Vec::new());

/// An aligned buffer that goes back to where it came from when its last reader is done.
pub(crate) struct Buffer {
    memory: AlignedBuffer,
    start: usize,
    len: usize,
}

impl Buffer {
    /// A buffer of any content.
    pub(crate) fn take() -> Self {
        Self { memory: KEPT.lock().pop().unwrap_or_default(), start: 0, len: 0 }
    }

    /// All of it, aligned.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.memory.take(BUFFER_BYTES)
    }

    /// The first `len` bytes, without the first `start`.
    pub(crate) fn freeze(mut self, start: usize, len: usize) -> Bytes {
        self.room();
        (self.start, self.len) = (start.min(len), len.min(BUFFER_BYTES));
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory.taken(self.len)[self.start..]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = KEPT.lock();
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.memory));
        }
    }
}
