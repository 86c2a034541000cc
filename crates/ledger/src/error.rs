//! What can go wrong with stored topics.

use std::io;

use model::{Position, TopicName};

use crate::codec::Malformed;

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with stored topics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such topic.
    #[error("topic {0} is not stored")]
    NotFound(TopicName),
    /// A topic of this name is there already.
    #[error("topic {0} exists")]
    Exists(TopicName),
    /// Somebody else in this process has the topic loaded.
    #[error("topic {0} is loaded")]
    Loaded(TopicName),
    /// Ledger ids come in blocks, and the next block is on its way: try again.
    #[error("ledger ids are being fetched")]
    NoLedgerId,
    /// The journal did not take a commit, or stopped.
    #[error("journal")]
    Journal(#[from] journal::Error),
    /// What was stored of an entry is gone: its file was damaged.
    #[error("entry {0} is lost")]
    Lost(Position),
    /// A read failed.
    #[error("read entry {position}")]
    Read {
        /// From where.
        position: Position,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The catalog could not be read or written.
    #[error("catalog")]
    Catalog(#[source] Box<redb::Error>),
    /// A row of the catalog or a record of the journal does not decode.
    #[error("{what} of {whose}")]
    Decode {
        /// What was being read.
        what: &'static str,
        /// Whose.
        whose: String,
        /// What is wrong with it.
        source: Malformed,
    },
    /// A segment could not be written, read or removed.
    #[error("segment")]
    Segment(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What one of the stores has contradicts another: one was lost, or belongs to others.
    #[error("{0}")]
    Contradiction(String),
    /// Ledger ids could not be had.
    #[error("metadata store")]
    Metastore(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or directory.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// A table cannot have this name.
    #[error("{0:?} cannot be the name of a table")]
    TableName(String),
    /// The key of a row is too long.
    #[error("a key of {0} bytes is too long: at most {max} are taken", max = crate::table::KEY_BYTES_MAX)]
    TableKey(usize),
    /// The value of a row is too long.
    #[error("a value of {0} bytes is too long: at most {max} are taken", max = crate::table::VALUE_BYTES_MAX)]
    TableValue(usize),
    /// Something is to be added to a row that is not a number.
    #[error("the value is not a counter of eight bytes")]
    NotCounter,
    /// The process is stopping.
    #[error("the ledger store is closed")]
    Closed,
}

impl Error {
    /// Whether the journal has no room right now: the batch is as it was, try again later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Journal(journal::Error::Full))
    }
}

macro_rules! from_redb {
    ($($source:ty),*) => {$(
        impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::Catalog(Box::new(source.into()))
            }
        }
    )*};
}

from_redb!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);
from_redb!(redb::SetDurabilityError);
