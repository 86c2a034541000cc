//! The bytes on disk: a file header, then blocks, one per write, each holding fragments of records.
//!
//! A block starts at a multiple of 4096. Its header names the file it was written for (number, epoch, random id), so a block left
//! over in a recycled file is never taken for a new one; and it names the highest block known to be durable when it was written,
//! which is how recovery tells corruption from a torn tail. Each fragment has its own CRC-32C, so one record can be read without
//! the rest of its block, and every byte that means something is covered by exactly one checksum. The file header is there twice,
//! so no single damaged sector hides it. All integers are little-endian.

use bytes::Bytes;

use crate::{Lsn, Record};

/// Everything is written at, and in, multiples of this.
pub(crate) const ALIGN: usize = 4096;
/// Where the first block of a file starts.
pub(crate) const FILE_HEADER_BYTES: u64 = ALIGN as u64;
/// Fixed part of a block.
pub(crate) const BLOCK_HEADER_BYTES: usize = 72;
/// Fixed part of a fragment.
pub(crate) const FRAGMENT_HEADER_BYTES: usize = 48;
/// What a fragment that is not a whole record has besides.
pub(crate) const FRAGMENT_EXTENSION_BYTES: usize = 8;
/// Format written, and the newest one read.
pub(crate) const VERSION: u16 = 1;

/// Numbers of files, blocks, commits and epochs stay below this; one that does not is not ours, whatever its checksum says.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

const FILE_MAGIC: &[u8; 8] = b"GemingaJ";
const BLOCK_MAGIC: u32 = 0x4b4c_4247;
const HEADER_COPY_AT: usize = 2048;
const FILE_HEADER_LEN: usize = 60;

pub(crate) fn align_up(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

/// Who a file is, and where its epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u64,
    /// Random, new whenever a file is prepared, also from a recycled one.
    pub(crate) id: u64,
    /// Rises with every opening of the journal.
    pub(crate) epoch: u64,
    /// First block of this epoch: whatever older epochs hold from here on is void.
    pub(crate) first_block: u64,
    /// First commit of this epoch.
    pub(crate) first_lsn: Lsn,
    /// This is the first file of its epoch, so `first_block` is its first block.
    pub(crate) opens: bool,
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not ours, or damaged.
    Damaged,
    /// Ours, from a newer version.
    Version(u16),
}

impl FileHeader {
    pub(crate) fn encode(&self, out: &mut [u8]) {
        out[..ALIGN].fill(0);
        let mut copy = [0; FILE_HEADER_LEN];
        copy[..8].copy_from_slice(FILE_MAGIC);
        put(&mut copy, 8, &VERSION.to_le_bytes());
        copy[10] = u8::from(self.opens);
        for (at, value) in
            [(16, self.number), (24, self.id), (32, self.epoch), (40, self.first_block), (48, self.first_lsn)]
        {
            put(&mut copy, at, &value.to_le_bytes());
        }
        let crc = crc_fast::crc32_iscsi(&copy[..56]);
        put(&mut copy, 56, &crc.to_le_bytes());
        put(out, 0, &copy);
        put(out, HEADER_COPY_AT, &copy);
    }

    /// Reads the header from the first 4096 bytes of a file.
    pub(crate) fn decode(page: &[u8]) -> Result<Self, Bad> {
        let first = Self::decode_copy(page.get(..FILE_HEADER_LEN));
        if first.is_ok() {
            return first;
        }
        Self::decode_copy(page.get(HEADER_COPY_AT..HEADER_COPY_AT + FILE_HEADER_LEN)).or(first)
    }

    fn decode_copy(copy: Option<&[u8]>) -> Result<Self, Bad> {
        let copy = copy.ok_or(Bad::Damaged)?;
        if &copy[..8] != FILE_MAGIC || crc_fast::crc32_iscsi(&copy[..56]) != u32_at(copy, 56) {
            return Err(Bad::Damaged);
        }
        let version = u16::from_le_bytes([copy[8], copy[9]]);
        if version > VERSION {
            return Err(Bad::Version(version));
        }
        let header = Self {
            number: u64_at(copy, 16),
            id: u64_at(copy, 24),
            epoch: u64_at(copy, 32),
            first_block: u64_at(copy, 40),
            first_lsn: u64_at(copy, 48),
            opens: copy[10] == 1,
        };
        let numbers = [header.number, header.epoch, header.first_block, header.first_lsn];
        if numbers.iter().all(|&number| number < NUMBER_MAX) { Ok(header) } else { Err(Bad::Damaged) }
    }
}

/// First bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) id: u64,
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    /// Dense over all files, from 1.
    pub(crate) block: u64,
    /// All blocks up to this one were on disk when this was written.
    pub(crate) durable: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) lsns: u32,
    /// Bytes of fragments after the header.
    pub(crate) payload: u32,
    pub(crate) fragments: u32,
}

impl BlockHeader {
    /// Bytes the block takes in the file.
    pub(crate) fn span(&self) -> u64 {
        align_up(BLOCK_HEADER_BYTES + self.payload as usize) as u64
    }

    pub(crate) fn encode(&self, out: &mut [u8]) {
        put(out, 0, &BLOCK_MAGIC.to_le_bytes());
        put(out, 4, &[0; 4]);
        let fields = [self.id, self.number, self.epoch, self.block, self.durable, self.first_lsn];
        for (index, value) in fields.into_iter().enumerate() {
            put(out, 8 + 8 * index, &value.to_le_bytes());
        }
        for (at, value) in [(56, self.payload), (60, self.fragments), (64, self.lsns)] {
            put(out, at, &value.to_le_bytes());
        }
        let crc = crc_fast::crc32_iscsi(&out[..68]);
        put(out, 68, &crc.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BLOCK_HEADER_BYTES)?;
        if u32_at(bytes, 0) != BLOCK_MAGIC || crc_fast::crc32_iscsi(&bytes[..68]) != u32_at(bytes, 68) {
            return None;
        }
        let header = Self {
            id: u64_at(bytes, 8),
            number: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            block: u64_at(bytes, 32),
            durable: u64_at(bytes, 40),
            first_lsn: u64_at(bytes, 48),
            payload: u32_at(bytes, 56),
            fragments: u32_at(bytes, 60),
            lsns: u32_at(bytes, 64),
        };
        let numbers = [header.number, header.epoch, header.block, header.durable, header.first_lsn];
        numbers.iter().all(|&number| number < NUMBER_MAX).then_some(header)
    }

    /// Whether a block was begun here for the file with this header, be it sound or not.
    pub(crate) fn resembles(bytes: &[u8], file: &FileHeader) -> bool {
        bytes.len() >= BLOCK_HEADER_BYTES && (u64_at(bytes, 8) == file.id || u64_at(bytes, 16) == file.number)
    }

    /// Whether the block was written for the file with this header.
    pub(crate) fn belongs(&self, file: &FileHeader) -> bool {
        (self.id, self.number, self.epoch) == (file.id, file.number, file.epoch)
    }
}

/// What a fragment is a part of.
pub(crate) mod mark {
    /// The record's body starts here.
    pub(crate) const FIRST: u8 = 1;
    /// The record's body ends here.
    pub(crate) const LAST: u8 = 2;
    /// First fragment of its commit.
    pub(crate) const BEGIN: u8 = 4;
    /// Last fragment of its commit.
    pub(crate) const END: u8 = 8;
    /// Last fragment of its block.
    pub(crate) const CLOSE: u8 = 16;
    /// A whole record.
    pub(crate) const WHOLE: u8 = FIRST | LAST;
}

/// A part of a record, on its way to disk: `record.body` is that part alone.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) record: Record,
    pub(crate) lsn: Lsn,
    pub(crate) total: u32,
    pub(crate) offset: u32,
    pub(crate) marks: u8,
}

impl Fragment {
    pub(crate) fn encoded(&self) -> usize {
        head_bytes(self.marks) + self.record.body.len()
    }

    /// Writes the fragment to the start of `out`, which holds at least [`Fragment::encoded`] bytes; returns that number.
    pub(crate) fn encode(&self, out: &mut [u8], tag: u32, first_lsn: Lsn, close: bool) -> usize {
        let (record, body) = (&self.record, &self.record.body);
        let marks = if close { self.marks | mark::CLOSE } else { self.marks };
        let (head, len) = (head_bytes(marks), self.encoded());
        put(out, 4, &tag.to_le_bytes());
        put(out, 8, &(body.len() as u32).to_le_bytes());
        put(out, 12, &[record.kind, record.flags, marks, 0]);
        for (at, value) in
            [(16, (self.lsn - first_lsn) as u32), (20, record.aux), (24, record.bundle), (28, record.epoch)]
        {
            put(out, at, &value.to_le_bytes());
        }
        put(out, 32, &record.stream.to_le_bytes());
        put(out, 40, &record.seq.to_le_bytes());
        if head > FRAGMENT_HEADER_BYTES {
            put(out, 48, &self.total.to_le_bytes());
            put(out, 52, &self.offset.to_le_bytes());
        }
        out[head..len].copy_from_slice(body);
        let crc = crc_fast::crc32_iscsi(&out[4..len]);
        put(out, 0, &crc.to_le_bytes());
        len
    }
}

fn head_bytes(marks: u8) -> usize {
    FRAGMENT_HEADER_BYTES + if marks & mark::WHOLE == mark::WHOLE { 0 } else { FRAGMENT_EXTENSION_BYTES }
}

/// The head of a fragment as read from disk, its checksum not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    crc: u32,
    pub(crate) len: u32,
    pub(crate) kind: u8,
    flags: u8,
    pub(crate) marks: u8,
    pub(crate) lsn_delta: u32,
    pub(crate) aux: u32,
    bundle: u32,
    epoch: u32,
    pub(crate) stream: u64,
    pub(crate) seq: u64,
}

impl Head {
    /// Reads a head from the first [`FRAGMENT_HEADER_BYTES`] of `bytes`; `None` when it cannot be one of this file.
    pub(crate) fn peek(bytes: &[u8], tag: u32) -> Option<Self> {
        let bytes = bytes.get(..FRAGMENT_HEADER_BYTES)?;
        if u32_at(bytes, 4) != tag || bytes[15] != 0 {
            return None;
        }
        Some(Self {
            crc: u32_at(bytes, 0),
            len: u32_at(bytes, 8),
            kind: bytes[12],
            flags: bytes[13],
            marks: bytes[14],
            lsn_delta: u32_at(bytes, 16),
            aux: u32_at(bytes, 20),
            bundle: u32_at(bytes, 24),
            epoch: u32_at(bytes, 28),
            stream: u64_at(bytes, 32),
            seq: u64_at(bytes, 40),
        })
    }

    pub(crate) fn has(&self, mark: u8) -> bool {
        self.marks & mark == mark
    }

    pub(crate) fn body_at(&self) -> usize {
        head_bytes(self.marks)
    }

    /// Bytes of the whole fragment.
    pub(crate) fn encoded(&self) -> usize {
        self.body_at() + self.len as usize
    }

    /// Whether `bytes`, the whole fragment, are what was written.
    pub(crate) fn verify(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.encoded() && crc_fast::crc32_iscsi(&bytes[4..]) == self.crc
    }

    /// Length of the record's body and where this part of it goes; of a verified fragment that is not a whole record.
    pub(crate) fn part(&self, bytes: &[u8]) -> (u32, u32) {
        (u32_at(bytes, 48), u32_at(bytes, 52))
    }

    pub(crate) fn record(&self, body: Bytes) -> Record {
        Record {
            kind: self.kind,
            flags: self.flags,
            bundle: self.bundle,
            epoch: self.epoch,
            stream: self.stream,
            seq: self.seq,
            aux: self.aux,
            body,
        }
    }
}

/// What ties a fragment to its file.
pub(crate) fn tag(id: u64) -> u32 {
    (id ^ (id >> 32)) as u32
}

pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

/// A buffer whose content starts at a multiple of [`ALIGN`], as direct writes need.
#[derive(Default)]
pub(crate) struct AlignedBuffer(Vec<u8>);

impl AlignedBuffer {
    /// At least `len` bytes, of any content.
    pub(crate) fn take(&mut self, len: usize) -> &mut [u8] {
        if self.0.len() < len + ALIGN {
            self.0 = vec![0; len + ALIGN];
        }
        let start = self.start();
        &mut self.0[start..start + len]
    }

    /// The first `len` bytes of what was taken last.
    pub(crate) fn taken(&self, len: usize) -> &[u8] {
        let start = self.start();
        &self.0[start..start + len]
    }

    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(ALIGN).min(ALIGN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_a_file_header_hides_at_most_one_of_its_copies() {
        let header = FileHeader { number: 7, id: 99, epoch: 3, first_block: 12, first_lsn: 5, opens: true };
        let mut page = vec![0; ALIGN];
        header.encode(&mut page);
        for bit in 0..ALIGN * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&page), Ok(header));
            page[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn numbers_beyond_reason_are_damage() {
        let header = FileHeader { number: 7, id: 99, epoch: 3, first_block: 12, first_lsn: 5, opens: true };
        let mut page = vec![0; ALIGN];
        FileHeader { epoch: u64::MAX, ..header }.encode(&mut page);
        assert_eq!(FileHeader::decode(&page), Err(Bad::Damaged));
        let block = BlockHeader {
            id: 99,
            number: 7,
            epoch: 3,
            block: 12,
            durable: 0,
            first_lsn: 5,
            lsns: 0,
            payload: 0,
            fragments: 0,
        };
        block.encode(&mut page);
        assert_eq!(BlockHeader::decode(&page), Some(block));
        BlockHeader { first_lsn: u64::MAX, ..block }.encode(&mut page);
        assert_eq!(BlockHeader::decode(&page), None);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_fragment_is_seen() {
        let record = Record {
            kind: 1,
            flags: 2,
            bundle: 3,
            epoch: 4,
            stream: 5,
            seq: 6,
            aux: 7,
            body: Bytes::from_static(b"hello, world"),
        };
        for marks in [mark::WHOLE, mark::FIRST | mark::BEGIN] {
            let fragment = Fragment { record: record.clone(), lsn: 9, total: 12, offset: 0, marks };
            let mut bytes = vec![0; fragment.encoded()];
            fragment.encode(&mut bytes, 77, 8, true);
            let head = Head::peek(&bytes, 77).unwrap();
            assert!(head.verify(&bytes));
            assert_eq!(head.record(Bytes::copy_from_slice(&bytes[head.body_at()..])), record);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!Head::peek(&bytes, 77).is_some_and(|head| head.verify(&bytes)), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
