//! The one shared write-ahead log: whatever must survive is a record in a commit here first.
//!
//! A commit is numbered and put in order under one lock that never waits for the disk (`sequencer`); writer threads put blocks of
//! commits on disk, several at a time, and move `durable` over what is there without a gap (`writer`); a keeper thread has the
//! next file ready before it is needed (`keeper`). Opening finds out what a crash left (`recovery`).
//!
//! What holds: a commit is there whole or not at all; commits are there in the order they were made; what was once reported
//! durable is there after any crash, or its file is reported as damaged; a record that was never committed is never seen. After a
//! failed write nothing is reported durable any more.

mod block;
mod config;
mod error;
pub mod faults;
mod files;
mod handle;
mod index;
mod keeper;
mod pool;
mod read;
mod record;
mod recovery;
mod sequencer;
mod sidecar;
#[cfg(test)]
mod tests;
mod window;
mod writer;

use std::time::Duration;

pub use config::Config;
pub use error::{BoxError, Error, Failure, Result};
pub use files::{Directory, File, Files, SyncMode};
pub use handle::{Journal, Stats};
pub use record::{BODY_BYTES_MAX, Commit, FIRST_UNINDEXED_KIND, Listener, Record};

/// Number of a commit: dense, from 1, continued after recovery. 0 is before everything.
pub type Lsn = u64;

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The last whole commit.
    pub last: Lsn,
    /// Bytes cut off at the end: written, never acknowledged.
    pub torn_bytes: u64,
    /// Files with damage below what was known to be durable.
    pub quarantined: Vec<Quarantined>,
    /// Files before the first that is left, of which an earlier start could use nothing: they are still there, as `.quarantined`.
    pub set_aside: usize,
    /// Files read or indexed.
    pub files: usize,
    /// How long it took.
    pub duration: Duration,
}

/// A damaged file. Its readable records were replayed and stay readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Number of the file.
    pub file: u64,
    /// Where the damage was first seen.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// One file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Rising, never used twice.
    pub number: u64,
    /// Space on disk.
    pub bytes: u64,
    /// First commit with a record in it, 0 when none.
    pub first_lsn: Lsn,
    /// Last commit with a record in it, 0 when none.
    pub last_lsn: Lsn,
    /// Never written again; only then can it be recycled.
    pub sealed: bool,
}

/// The entries of one stream within one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRange {
    /// The stream.
    pub stream: u64,
    /// Its first entry in the file.
    pub first_seq: u64,
    /// Its last entry in the file.
    pub last_seq: u64,
    /// Sum of their bodies.
    pub bytes: u64,
}
