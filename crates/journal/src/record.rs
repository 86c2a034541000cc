//! What a commit is made of.

use bytes::Bytes;

use crate::Lsn;

/// Kinds below this are *entries*: indexed by (stream, seq), and read back with [`crate::Journal::read`].
pub const FIRST_UNINDEXED_KIND: u8 = 0x80;

/// The longest body a record may have, in bytes.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// One thing that must survive. Its meaning belongs to the layer above; the journal reads only `kind`, `stream` and `seq`.
///
/// The `seq` of the entries of one stream rises in the order they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is; below [`FIRST_UNINDEXED_KIND`] it is an entry.
    pub kind: u8,
    /// For the layer above.
    pub flags: u8,
    /// The bundle it belongs to.
    pub bundle: u32,
    /// The epoch in which its writer owned that bundle.
    pub epoch: u32,
    /// The ledger or other sequence it belongs to.
    pub stream: u64,
    /// Its number within the stream.
    pub seq: u64,
    /// For the layer above; returned by reads (a ledger keeps the entry's message count here).
    pub aux: u32,
    /// Kept byte for byte, at most [`BODY_BYTES_MAX`] bytes.
    pub body: Bytes,
}

impl Record {
    pub(crate) fn is_entry(&self) -> bool {
        self.kind < FIRST_UNINDEXED_KIND
    }
}

/// The records of one commit while the caller's closure fills it: all of them become durable, or none does.
#[derive(Debug, Default)]
pub struct Commit {
    pub(crate) records: Vec<Record>,
    pub(crate) lsn: Lsn,
    pub(crate) bytes: usize,
}

impl Commit {
    pub(crate) fn begin(&mut self, lsn: Lsn) {
        self.records.clear();
        self.lsn = lsn;
        self.bytes = 0;
    }

    /// Adds one record behind those pushed before.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.body.len();
        self.records.push(record);
    }

    /// The number this commit gets if it holds at least one record.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Sum of the bodies pushed so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records pushed so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Told how far the journal is durable. Writer threads call it, so it must be quick and must not call the journal.
pub trait Listener: Send + Sync {
    /// Every commit up to and including `durable` is on disk. Called once per group write for a listener that had a commit
    /// waiting; `durable` never falls from call to call.
    fn advanced(&self, durable: Lsn);
    /// The journal has stopped: what is beyond [`crate::Journal::durable`] will never be acknowledged. Called at most once per
    /// listener that had a commit waiting.
    fn failed(&self);
}
