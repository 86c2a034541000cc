//! What can go wrong.

use std::{io, sync::Arc};

use crate::Lsn;

/// An error of the layer above, from its replay.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Result of a journal operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the journal stopped.
#[derive(Clone, Debug, thiserror::Error)]
#[error("journal stopped at commit {durable}: {what}")]
pub struct Failure {
    /// The last commit that is known to be on disk.
    pub durable: Lsn,
    /// What was being done.
    pub what: &'static str,
    /// What the disk said.
    #[source]
    pub source: Arc<io::Error>,
}

/// What can go wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write failed. Nothing is acknowledged any more: open the journal again, or exit.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// No room, and none can be made right now. The commit did not happen; try again after a recycle or when the disk has space.
    #[error("journal is full")]
    Full,
    /// The journal was closed.
    #[error("journal is closed")]
    Closed,
    /// A record is longer than [`crate::BODY_BYTES_MAX`]. The commit did not happen.
    #[error("record of {0} bytes is too large")]
    TooLarge(usize),
    /// Another process has this directory open.
    #[error("journal in {0} is in use by another process")]
    InUse(String),
    /// What was written is not what is on disk now.
    #[error("journal file {file} is corrupt at byte {offset}")]
    Corrupt {
        /// Number of the file.
        file: u64,
        /// Where in it.
        offset: u64,
    },
    /// A file was written by a newer version.
    #[error("journal file {file} has format {version}, which this version cannot read")]
    Version {
        /// Number of the file.
        file: u64,
        /// Its format version.
        version: u16,
    },
    /// The file is not the oldest sealed one.
    #[error("journal file {0} is not the oldest sealed file")]
    NotOldest(u64),
    /// No such file.
    #[error("journal has no file {0}")]
    NoFile(u64),
    /// The disk failed while the journal did `what`.
    #[error("journal: {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// The layer above refused a record during replay.
    #[error("replay commit {lsn}")]
    Visit {
        /// The commit.
        lsn: Lsn,
        /// What the layer above said.
        source: BoxError,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
