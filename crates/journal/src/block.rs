//! The bytes on disk: a file header, then blocks, one per write, each holding fragments of records.
//!
//! A block starts at a multiple of 4096. Its header names the file it was written for (number, epoch, random id), so a block left
//! over in a recycled file is never taken for a new one; and it names the highest block known to be durable when it was written,
//! which is how recovery tells corruption from a torn tail. Each fragment has its own CRC-32C, so one record can be read without
//! the rest of its block. All integers are little-endian.

/// Everything is written at, and in, multiples of this.
pub(crate) const ALIGN: usize = 4096;
/// Where the first block of a file starts.
pub(crate) const FILE_HEADER_BYTES: u64 = ALIGN as u64;

pub(crate) fn align_up(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}
