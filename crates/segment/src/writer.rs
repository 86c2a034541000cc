//! Writing a segment, one sorted entry after the other, in bounded memory.

use bytes::{BufMut, Bytes, BytesMut};
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};
use std::sync::Arc;

use crate::{
    Error, LedgerRange, Result, SegmentId, Summary,
    format::{self, Block, Ledger},
};

/// A block is closed when it has grown to this.
const BLOCK_BYTES: usize = 256 * 1024;
/// Parts on their way to the store at once; each has a few MiB.
const PARTS_IN_FLIGHT: usize = 4;

/// Dropping it without [`Writer::finish`] leaves nothing that anybody sees.
pub struct Writer {
    id: SegmentId,
    upload: WriteMultipart,
    offset: u64,
    block: BytesMut,
    block_first: u64,
    ledgers: Vec<Ledger>,
}

impl Writer {
    pub(crate) async fn new(objects: Arc<dyn ObjectStore>, path: Path, id: SegmentId) -> Result<Self> {
        let upload = objects.put_multipart(&path).await.map_err(|source| Error::Store {
            doing: "begin",
            segment: id,
            source,
        })?;
        Ok(Self {
            id,
            upload: WriteMultipart::new(upload),
            offset: 0,
            block: BytesMut::with_capacity(BLOCK_BYTES + 64 * 1024),
            block_first: 0,
            ledgers: Vec::new(),
        })
    }

    /// Adds an entry; ledgers and the entries of one must rise, gaps are allowed.
    ///
    /// # Errors
    /// [`Error::Unsorted`], [`Error::Store`].
    pub async fn add(&mut self, ledger: u64, entry: u64, messages: u32, bytes: &Bytes) -> Result<()> {
        match self.ledgers.last() {
            Some(last) if last.range.ledger > ledger || (last.range.ledger == ledger && last.range.last >= entry) => {
                return Err(Error::Unsorted { segment: self.id, ledger, entry });
            }
            Some(last) if last.range.ledger == ledger => {}
            _ => {
                self.close_block().await?;
                let range = LedgerRange { ledger, first: entry, last: entry, entries: 0, bytes: 0 };
                self.ledgers.push(Ledger { range, blocks: Vec::new() });
            }
        }
        if self.block.is_empty() {
            self.block_first = entry;
        }
        format::put_entry(&mut self.block, ledger, entry, messages, bytes);
        if let Some(Ledger { range, .. }) = self.ledgers.last_mut() {
            range.last = entry;
            range.entries += 1;
            range.bytes += bytes.len() as u64;
        }
        if self.block.len() >= BLOCK_BYTES {
            self.close_block().await?;
        }
        Ok(())
    }

    async fn close_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let crc = format::crc(&[&self.block]);
        self.block.put_u32(crc);
        let block = self.block.split().freeze();
        let place = Block { first: self.block_first, offset: self.offset, length: block.len() as u32 };
        self.offset += block.len() as u64;
        if let Some(ledger) = self.ledgers.last_mut() {
            ledger.blocks.push(place);
        }
        self.upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|source| Error::Store {
            doing: "write",
            segment: self.id,
            source,
        })?;
        self.upload.put(block);
        Ok(())
    }

    /// Makes the segment visible and durable.
    ///
    /// # Errors
    /// [`Error::Store`]: it is not there then.
    pub async fn finish(mut self) -> Result<Summary> {
        self.close_block().await?;
        let index = format::index(&self.ledgers, self.offset);
        let bytes = self.offset + index.len() as u64;
        self.upload.put(index);
        let finished = self.upload.finish().await;
        finished.map_err(|source| Error::Store { doing: "finish", segment: self.id, source })?;
        Ok(Summary { id: self.id, bytes, ledgers: self.ledgers.iter().map(|l| l.range).collect() })
    }
}
