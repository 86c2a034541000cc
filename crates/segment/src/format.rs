//! The bytes of a segment: blocks, footer, trailer.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::LedgerRange;

pub(crate) const MAGIC: &[u8; 4] = b"GSEG";
pub(crate) const VERSION: u32 = 1;
pub(crate) const TRAILER_BYTES: usize = 24;
pub(crate) const ENTRY_HEADER_BYTES: usize = 24;
pub(crate) const CRC_BYTES: usize = 4;

/// Where a block is, and the first entry in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// One ledger of the index. A block holds entries of one ledger only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) range: LedgerRange,
    pub(crate) blocks: Vec<Block>,
}

pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

pub(crate) fn put_entry(buf: &mut BytesMut, ledger: u64, entry: u64, messages: u32, data: &[u8]) {
    buf.put_u64(ledger);
    buf.put_u64(entry);
    buf.put_u32(messages);
    buf.put_u32(data.len() as u32);
    buf.put_slice(data);
}

/// Footer and trailer.
pub(crate) fn index(ledgers: &[Ledger], offset: u64) -> Bytes {
    let mut buf = BytesMut::new();
    buf.put_u32(ledgers.len() as u32);
    for Ledger { range, blocks } in ledgers {
        for n in [range.ledger, range.first, range.last, range.entries, range.bytes] {
            buf.put_u64(n);
        }
        buf.put_u32(blocks.len() as u32);
        for block in blocks {
            buf.put_u64(block.first);
            buf.put_u64(block.offset);
            buf.put_u32(block.length);
        }
    }
    let length = buf.len() as u32;
    let mut place = [0; 12];
    place[..8].copy_from_slice(&offset.to_be_bytes());
    place[8..].copy_from_slice(&length.to_be_bytes());
    let crc = crc(&[&buf, &place]);
    buf.put_slice(&place);
    buf.put_u32(crc);
    buf.put_u32(VERSION);
    buf.put_slice(MAGIC);
    buf.freeze()
}

/// Offset and length of the footer of an object of `size` bytes.
pub(crate) fn trailer(tail: &[u8], size: u64) -> Result<(u64, u32, u32), &'static str> {
    let mut tail = tail.get(tail.len().saturating_sub(TRAILER_BYTES)..).unwrap_or_default();
    if tail.len() < TRAILER_BYTES {
        return Err("too short");
    }
    let (offset, length, crc) = (tail.get_u64(), tail.get_u32(), tail.get_u32());
    if tail.get_u32() != VERSION {
        return Err("unknown version");
    }
    if tail != MAGIC {
        return Err("no segment");
    }
    let end = offset.checked_add(u64::from(length)).and_then(|n| n.checked_add(TRAILER_BYTES as u64));
    if end != Some(size) {
        return Err("trailer does not fit the object");
    }
    Ok((offset, length, crc))
}

/// The index in `footer`, which `trailer` described.
pub(crate) fn parse_index(footer: &[u8], offset: u64, expected: u32) -> Result<Vec<Ledger>, &'static str> {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&offset.to_be_bytes());
    place[8..].copy_from_slice(&(footer.len() as u32).to_be_bytes());
    if crc(&[footer, &place]) != expected {
        return Err("bad checksum of the index");
    }
    let mut rest = footer;
    let count = rest.try_get_u32().map_err(|_| "index is cut off")?;
    let mut ledgers = Vec::new();
    for _ in 0..count {
        if rest.len() < 44 {
            return Err("index is cut off");
        }
        let range = LedgerRange {
            ledger: rest.get_u64(),
            first: rest.get_u64(),
            last: rest.get_u64(),
            entries: rest.get_u64(),
            bytes: rest.get_u64(),
        };
        let blocks = rest.get_u32();
        let mut ledger = Ledger { range, blocks: Vec::new() };
        for _ in 0..blocks {
            if rest.len() < 20 {
                return Err("index is cut off");
            }
            let block = Block { first: rest.get_u64(), offset: rest.get_u64(), length: rest.get_u32() };
            if block.offset.checked_add(u64::from(block.length)).is_none_or(|end| end > offset) {
                return Err("a block lies outside");
            }
            // Reading takes blocks that follow each other at once.
            let follows =
                |last: &Block| last.first < block.first && last.offset + u64::from(last.length) == block.offset;
            if !ledger.blocks.last().is_none_or(follows) {
                return Err("blocks are out of order");
            }
            ledger.blocks.push(block);
        }
        let rises = ledgers.last().is_none_or(|last: &Ledger| last.range.ledger < ledger.range.ledger);
        if ledger.blocks.is_empty() || !rises {
            return Err("ledgers are out of order");
        }
        ledgers.push(ledger);
    }
    Ok(ledgers)
}

/// Entries of a block, from `from` on, as slices of it.
pub(crate) fn entries(block: &Bytes, ledger: u64, from: u64, out: &mut Vec<crate::Entry>) -> Result<(), &'static str> {
    let Some(body) = block.len().checked_sub(CRC_BYTES) else { return Err("a block is too short") };
    if crc(&[&block[..body]]) != (&block[body..]).get_u32() {
        return Err("bad checksum of a block");
    }
    let mut at = 0;
    while at < body {
        let mut head = block
            .get(at..at + ENTRY_HEADER_BYTES)
            .filter(|_| at + ENTRY_HEADER_BYTES <= body)
            .ok_or("an entry is cut off")?;
        let (of, entry, messages, length) = (head.get_u64(), head.get_u64(), head.get_u32(), head.get_u32() as usize);
        let start = at + ENTRY_HEADER_BYTES;
        let end = start.checked_add(length).filter(|&end| end <= body).ok_or("an entry is cut off")?;
        if of != ledger {
            return Err("an entry of another ledger");
        }
        if entry >= from {
            out.push((entry, messages, block.slice(start..end)));
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ledgers: &[(u64, &[(u64, u64, u32)])]) -> Result<usize, &'static str> {
        let ledger = |&(ledger, blocks): &(u64, &[(u64, u64, u32)])| Ledger {
            range: LedgerRange { ledger, first: 0, last: 9, entries: 10, bytes: 1 },
            blocks: blocks.iter().map(|&(first, offset, length)| Block { first, offset, length }).collect(),
        };
        let ledgers: Vec<_> = ledgers.iter().map(ledger).collect();
        let bytes = index(&ledgers, 1000);
        let (offset, length, crc) = trailer(&bytes, 1000 + bytes.len() as u64)?;
        parse_index(&bytes[..length as usize], offset, crc).map(|ledgers| ledgers.len())
    }

    #[test]
    fn an_index_that_reading_could_not_rely_on_is_refused() {
        assert_eq!(check(&[(1, &[(0, 0, 10), (5, 10, 20)]), (2, &[(0, 30, 970)])]), Ok(2));
        assert_eq!(check(&[(1, &[])]), Err("ledgers are out of order"));
        assert_eq!(check(&[(2, &[(0, 0, 10)]), (1, &[(0, 10, 10)])]), Err("ledgers are out of order"));
        assert_eq!(check(&[(1, &[(0, 10, 10), (5, 0, 10)])]), Err("blocks are out of order"));
        assert_eq!(check(&[(1, &[(5, 0, 10), (0, 10, 10)])]), Err("blocks are out of order"));
        assert_eq!(check(&[(1, &[(0, 900, 101)])]), Err("a block lies outside"));
    }
}
