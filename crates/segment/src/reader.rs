//! Reading a segment: its index once, then blocks as they are asked for.

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};
use std::sync::Arc;

use crate::{
    Entry, Error, LedgerRange, Result, SegmentId,
    format::{self, Ledger, TRAILER_BYTES},
};

/// What the first read of a segment takes from its end; most indexes fit.
const TAIL_BYTES: u64 = 64 * 1024;

/// An open segment: its index is in memory.
#[derive(Clone)]
pub struct Segment {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    id: SegmentId,
    bytes: u64,
    ledgers: Arc<Vec<Ledger>>,
}

impl Segment {
    pub(crate) async fn open(objects: Arc<dyn ObjectStore>, path: Path, id: SegmentId) -> Result<Self> {
        let store = |source| Error::Store { doing: "open", segment: id, source };
        let corrupt = |reason| Error::Corrupt { segment: id, reason };
        let options = GetOptions { range: Some(GetRange::Suffix(TAIL_BYTES)), ..GetOptions::default() };
        let got = objects.get_opts(&path, options).await.map_err(store)?;
        let bytes = got.meta.size;
        let tail = got.bytes().await.map_err(store)?;
        let (offset, length, crc) = format::trailer(&tail, bytes).map_err(corrupt)?;
        let end = bytes - TRAILER_BYTES as u64;
        let in_tail = tail.len() as u64 - TRAILER_BYTES as u64;
        let footer = if u64::from(length) <= in_tail {
            tail.slice((in_tail - u64::from(length)) as usize..in_tail as usize)
        } else {
            objects.get_range(&path, offset..end).await.map_err(store)?
        };
        let ledgers = format::parse_index(&footer, offset, crc).map_err(corrupt)?;
        Ok(Self { objects, path, id, bytes, ledgers: Arc::new(ledgers) })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Size of the object.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What each ledger has in it, in order.
    pub fn ranges(&self) -> impl Iterator<Item = LedgerRange> + '_ {
        self.ledgers.iter().map(|l| l.range)
    }

    /// The first entry of a ledger behind the block that holds `entry`: where to go on when that block is damaged.
    #[must_use]
    pub fn next_block(&self, ledger: u64, entry: u64) -> Option<u64> {
        let at = self.ledgers.binary_search_by_key(&ledger, |l| l.range.ledger).ok()?;
        let blocks = &self.ledgers[at].blocks;
        blocks.get(blocks.partition_point(|b| b.first <= entry)).map(|b| b.first)
    }

    /// Entries of a ledger from `from` on, at most `max_entries` and about `max_bytes`, at least one where there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`].
    pub async fn read(&self, ledger: u64, from: u64, max_entries: usize, max_bytes: usize) -> Result<Vec<Entry>> {
        let Ok(at) = self.ledgers.binary_search_by_key(&ledger, |l| l.range.ledger) else { return Ok(Vec::new()) };
        let Ledger { range, blocks } = &self.ledgers[at];
        if from > range.last || max_entries == 0 {
            return Ok(Vec::new());
        }
        // Blocks of one ledger follow each other, so one request brings as many as are wanted.
        let first = blocks.partition_point(|b| b.first <= from).saturating_sub(1);
        let start = blocks[first].offset;
        let wanted = blocks[first..]
            .iter()
            .take_while(|b| b.offset == start || b.offset + u64::from(b.length) - start <= max_bytes as u64)
            .count();
        let chosen = &blocks[first..first + wanted];
        let end = chosen.last().map_or(start, |b| b.offset + u64::from(b.length));
        let data = self.objects.get_range(&self.path, start..end).await.map_err(|source| Error::Store {
            doing: "read",
            segment: self.id,
            source,
        })?;
        let mut entries = Vec::new();
        for block in chosen {
            let offset = (block.offset - start) as usize;
            let bytes: Option<Bytes> = (offset + block.length as usize <= data.len())
                .then(|| data.slice(offset..offset + block.length as usize));
            let corrupt = |reason| Error::Corrupt { segment: self.id, reason };
            let whole = bytes.ok_or("the object is shorter than its index says");
            match whole.and_then(|bytes| format::entries(&bytes, ledger, from, &mut entries)) {
                // What is before the damage is good; the next read begins with it.
                Err(_) if !entries.is_empty() => break,
                read => read.map_err(corrupt)?,
            }
            if entries.len() >= max_entries {
                break;
            }
        }
        let mut taken = 0;
        let fits = entries.iter().take(max_entries).take_while(|(_, _, data)| {
            let first = taken == 0;
            taken += data.len().max(1);
            first || taken <= max_bytes
        });
        let keep = fits.count();
        entries.truncate(keep);
        Ok(entries)
    }
}
