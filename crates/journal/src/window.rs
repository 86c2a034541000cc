//! A file seen through one buffer that moves forward over it.

use std::{io, sync::Arc};

use bytes::Bytes;

use crate::{
    File,
    block::{ALIGN, align_up},
    pool::{BUFFER_BYTES, Buffer},
};

const GRAIN_MIN: usize = 16 << 10;
const GRAIN_MAX: usize = 1 << 20;

/// Reads little after a jump and ever more while it goes straight on.
pub(crate) struct Window {
    file: Arc<dyn File>,
    end: u64,
    start: u64,
    bytes: Bytes,
    grain: usize,
    past_cache: bool,
}

impl Window {
    /// A view of the first `end` bytes of a file.
    pub(crate) fn new(file: Arc<dyn File>, end: u64) -> Self {
        Self { file, end, start: 0, bytes: Bytes::new(), grain: GRAIN_MIN, past_cache: false }
    }

    /// The same for one who will read all of it.
    pub(crate) fn sequential(file: Arc<dyn File>, end: u64) -> Self {
        Self::new(file, end).expecting(GRAIN_MAX)
    }

    /// The same for one who will read about this much.
    pub(crate) fn expecting(self, bytes: usize) -> Self {
        Self { grain: bytes.clamp(GRAIN_MIN, GRAIN_MAX), ..self }
    }

    /// The same for one who will read a lot that nobody else is likely to want.
    pub(crate) fn past_cache(self) -> Self {
        Self { past_cache: true, ..self }
    }

    /// `len` bytes at `offset`, or `None` when that is beyond the end.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(to) = offset.checked_add(len as u64).filter(|to| *to <= self.end) else { return Ok(None) };
        let have_to = self.start + self.bytes.len() as u64;
        if offset < self.start || to > have_to {
            if self.bytes.is_empty() || (self.start..=have_to).contains(&offset) {
                self.grain = (self.grain * 2).min(GRAIN_MAX);
            } else if self.grain < GRAIN_MAX || offset < self.start {
                self.grain = GRAIN_MIN;
            }
            if !self.load(offset, len)? {
                return Ok(None);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + len]))
    }

    /// A part of what the last [`Window::get`] saw, sharing the buffer.
    pub(crate) fn slice(&self, offset: u64, len: usize) -> Bytes {
        let from = (offset - self.start) as usize;
        self.bytes.slice(from..from + len)
    }

    /// Whether the bytes are here already.
    pub(crate) fn has(&self, offset: u64, len: usize) -> bool {
        self.start <= offset && offset + len as u64 <= self.start + self.bytes.len() as u64
    }

    fn load(&mut self, offset: u64, len: usize) -> io::Result<bool> {
        let before = (offset % ALIGN as u64) as usize;
        if self.past_cache && before + len <= BUFFER_BYTES {
            return self.load_past_cache(offset, before, len);
        }
        let want = self.grain.max(len).min(usize::try_from(self.end - offset).unwrap_or(usize::MAX));
        let mut buffer = Vec::with_capacity(want);
        while buffer.len() < want {
            let at = offset + buffer.len() as u64;
            match self.file.read_into(&mut buffer, at) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // The allocator may have given more than was asked for, and so the file.
        buffer.truncate(want);
        self.start = offset;
        self.bytes = Bytes::from(buffer);
        Ok(self.bytes.len() >= len)
    }

    fn load_past_cache(&mut self, offset: u64, before: usize, len: usize) -> io::Result<bool> {
        let from = offset - before as u64;
        let mut buffer = Buffer::take();
        // Blocks, and so what is durable, end on a boundary.
        let want = align_up(usize::try_from(self.end - from).unwrap_or(usize::MAX).min(BUFFER_BYTES));
        // What begins in one piece and ends in the next is not read twice.
        let mut have = 0;
        if let Some(known) = from.checked_sub(self.start).and_then(|at| self.bytes.get(at as usize..))
            && known.len().is_multiple_of(ALIGN)
            && known.len() < want
        {
            have = known.len();
            buffer.room()[..have].copy_from_slice(known);
        }
        while have < want {
            match self.file.read_past_cache(&mut buffer.room()[have..want], from + have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.start = offset;
        self.bytes = buffer.freeze(before, have);
        Ok(self.bytes.len() >= len)
    }
}
