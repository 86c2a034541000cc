//! What a function does with some of its input, as one commit: acknowledgements, outputs, state. All of it becomes durable, or none.

use bytes::Bytes;
use model::Position;
use smallvec::SmallVec;
use std::sync::Arc;

use crate::{
    OutputHandle,
    error::{Error, Result},
    requests::ConsumerHandle,
    shard,
};

/// The longest commit, in bytes of outputs and changes: the journal takes it whole, or waits until it can.
pub const COMMIT_BYTES_MAX: usize = 64 << 20;

/// See the module and [`crate::Broker::commit`].
#[derive(Debug, Default)]
pub struct Commit {
    /// Whose acknowledgements these are; `None` when nothing is acknowledged.
    pub consumer: Option<ConsumerHandle>,
    /// Entries, with the words of what is *not* acknowledged for a batch acknowledged in part, as in [`crate::Ack::ids`].
    pub acks: Vec<(Position, SmallVec<[u64; 2]>)>,
    /// Entries to publish, in order.
    pub outputs: Vec<OutputEntry>,
    /// Changes of tables, in order.
    pub changes: Vec<TableChange>,
}

/// An entry to be published.
#[derive(Debug, Clone)]
pub struct OutputEntry {
    /// By whom, and where.
    pub output: OutputHandle,
    /// Headers and payload as in a SEND, kept byte for byte.
    pub data: Bytes,
    /// How many messages it holds.
    pub messages: u32,
    /// On a topic with deduplication, an entry is stored once for each id, which must rise.
    pub sequence_id: Option<u64>,
}

/// A change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// Name of the table.
    pub table: Arc<str>,
    /// What changes.
    pub op: TableOp,
}

/// What changes of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableOp {
    /// Sets a row.
    Put {
        /// At most 64 KiB.
        key: Bytes,
        /// At most 4 MiB.
        value: Bytes,
    },
    /// Removes a row.
    Delete {
        /// Which.
        key: Bytes,
    },
    /// Adds to a row that is a counter: eight bytes, big-endian. Begins at 0, wraps around.
    Add {
        /// Which.
        key: Bytes,
        /// How much.
        delta: i64,
    },
    /// Removes all rows.
    Clear,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where each output went, in their order; [`ledger::NOT_STORED`] for one that deduplication knew, and on topics of which nothing
    /// is stored.
    pub positions: Vec<Position>,
}

/// A commit on its way to a shard: checked as far as it can be without it.
pub(crate) struct Prepared {
    pub(crate) at: Option<shard::At>,
    pub(crate) acks: Vec<(Position, SmallVec<[u64; 2]>)>,
    pub(crate) outputs: Vec<OutputEntry>,
    pub(crate) changes: Vec<ledger::Change>,
    /// Bytes of outputs and changes.
    pub(crate) bytes: usize,
}

impl Commit {
    /// Checks what does not depend on the topics, and gets ready what may need the disk.
    pub(crate) fn prepare(self, store: &ledger::Store, max_entry: usize) -> Result<Prepared> {
        let at = self.consumer.as_ref().map(ConsumerHandle::at);
        if at.is_none() && !self.acks.is_empty() {
            return Err(Error::BadRequest("acknowledgements without a consumer".into()));
        }
        if let Some(entry) = self.outputs.iter().find(|entry| entry.data.len() > max_entry) {
            let (length, topic) = (entry.data.len(), entry.output.topic());
            return Err(Error::BadRequest(format!(
                "an entry of {length} bytes for {topic} is too long: at most {max_entry} are taken"
            )));
        }
        let mut changes = Vec::with_capacity(self.changes.len());
        for TableChange { table, op } in self.changes {
            let table = store.table(&table)?;
            changes.push(match op {
                TableOp::Put { key, value } => table.putting(&key, &value)?,
                TableOp::Delete { key } => table.deleting(&key)?,
                TableOp::Add { key, delta } => table.adding(&key, delta)?,
                TableOp::Clear => table.clearing(),
            });
        }
        let bytes = self.outputs.iter().map(|entry| entry.data.len()).sum::<usize>()
            + changes.iter().map(ledger::Change::bytes).sum::<usize>();
        if bytes > COMMIT_BYTES_MAX {
            return Err(Error::BadRequest(format!(
                "a commit of {bytes} bytes is too long: at most {COMMIT_BYTES_MAX} are taken"
            )));
        }
        Ok(Prepared { at, acks: self.acks, outputs: self.outputs, changes, bytes })
    }
}
