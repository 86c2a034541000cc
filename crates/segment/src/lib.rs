//! Immutable entries of many ledgers in one object, sorted by ledger and entry, with an index at its end.
//!
//! One code and one format for a local directory and for S3: everything goes through `object_store`. An object is
//! visible only when it is whole, and what `finish` returned is durable.
//!
//! ```text
//! block*      entries: [u64 ledger][u64 entry][u32 messages][u32 length][bytes], then [u32 crc32c] of the block
//! footer      [u32 ledgers] then per ledger: id, first, last, entries, bytes, [u32 blocks] then per block: first, offset, length
//! trailer     [u64 footer offset][u32 footer length][u32 crc32c of footer and of these 12 bytes][u32 version]["GSEG"]
//! ```

mod format;
mod reader;
mod writer;

pub use reader::Segment;
pub use writer::Writer;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use std::{fmt, sync::Arc};

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One entry as it comes out: its number, how many messages it holds, its bytes.
pub type Entry = (u64, u32, Bytes);

/// Number of a segment; never used twice in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What one ledger has in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerRange {
    pub ledger: u64,
    pub first: u64,
    pub last: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// A finished segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub id: SegmentId,
    /// Size of the object.
    pub bytes: u64,
    pub ledgers: Vec<LedgerRange>,
}

/// Why a segment could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("segment {segment} is damaged: {reason}")]
    Corrupt { segment: SegmentId, reason: &'static str },
    #[error("segment {segment}: entry {ledger}:{entry} does not follow the one before it")]
    Unsorted { segment: SegmentId, ledger: u64, entry: u64 },
    #[error("{doing} segment {segment}")]
    Store { doing: &'static str, segment: SegmentId, source: object_store::Error },
    #[error("list segments")]
    List { source: object_store::Error },
    #[error("open segment directory")]
    Directory { source: object_store::Error },
}

impl Error {
    /// Whether the segment is damaged or missing, which does not pass.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Store { source: object_store::Error::NotFound { .. }, .. })
    }
}

/// Segments of one store.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Store {
    /// Segments below `prefix`. The object store must make a put durable before it answers.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, prefix: Path::from(prefix) }
    }

    /// Segments in a directory of this machine, which is created where it is missing. Files and directory are synced. What a stop
    /// left of a segment that was being written is removed.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub fn local(directory: &std::path::Path) -> Result<Self> {
        let source = |source| object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) };
        let ready = seams::make_dir(directory).and_then(|()| remove_unfinished(directory));
        ready.map_err(|e| Error::Directory { source: source(e) })?;
        let local = object_store::local::LocalFileSystem::new_with_prefix(directory)
            .map_err(|source| Error::Directory { source })?
            .with_fsync(true);
        Ok(Self::new(Arc::new(local), ""))
    }

    /// Ids of all segments, in order. Leftovers of writes that never finished are not among them.
    ///
    /// # Errors
    /// [`Error::List`].
    pub async fn list(&self) -> Result<Vec<SegmentId>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let objects: Vec<_> = self.objects.list(prefix).try_collect().await.map_err(|source| Error::List { source })?;
        let mut ids: Vec<_> = objects
            .iter()
            .filter_map(|object| object.location.filename()?.strip_suffix(".seg"))
            .filter(|name| name.len() == 16)
            .filter_map(|name| u64::from_str_radix(name, 16).ok().map(SegmentId))
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Reads and checks the index of a segment.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`].
    pub async fn open(&self, id: SegmentId) -> Result<Segment> {
        Segment::open(self.objects.clone(), self.path(id), id).await
    }

    /// Removes a segment; one that is not there is removed already.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete(&self, id: SegmentId) -> Result<()> {
        match self.objects.delete(&self.path(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(Error::Store { doing: "delete", segment: id, source }),
        }
    }

    /// Begins a segment; it is there only when [`Writer::finish`] returned.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn writer(&self, id: SegmentId) -> Result<Writer> {
        Writer::new(self.objects.clone(), self.path(id), id).await
    }

    fn path(&self, id: SegmentId) -> Path {
        self.prefix.clone().join(format!("{id}.seg"))
    }
}

/// `object_store` writes to a file named like the one to be, `#` and a number behind it, and never looks at it again after a stop.
fn remove_unfinished(directory: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.contains(".seg#")) {
            match std::fs::remove_file(entry.path()) {
                // A write that was given up removes its own.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
