//! Stored topics: entries in ledgers, ledgers in managed ledgers, cursors over them; recovery, trimming, compaction.
//!
//! All topics share one [`journal`]; what each topic is, is a row of a catalog that is the journal's materialized view. A commit
//! carries the appends, acknowledgements and changes of many topics, and is durable whole or not at all.
//!
//! ```text
//! ManagedLedger --append, ack, open_cursor--> Batch --Store::commit--> journal --durable--> confirm --> read
//! ```
//!
//! What holds: positions within a ledger are dense and rise; only confirmed entries are read or acknowledged; what was durable
//! when the process died is there when it starts again, and an idle topic costs no memory.

mod appender;
mod batch;
mod cache;
mod catalog;
mod checkpoint;
mod codec;
mod compaction;
mod config;
mod cursor;
mod cursors;
mod delta;
mod error;
mod managed;
mod milestones;
mod overlay;
mod partials;
mod ranges;
mod read;
mod recovery;
mod segments;
mod state;
mod store;
mod table;
mod topic;

use bytes::Bytes;
use model::Position;

pub use appender::{Appender, UnderWay};
pub use batch::Batch;
pub use config::Config;
pub use cursor::{BatchAck, Words};
pub use cursors::CursorId;
pub use error::{Error, Result};
pub use journal::{Lsn, Stats as JournalStats};
pub use managed::{LedgerInfo, ManagedLedger, Read};
pub use read::{LocateRequest, ReadRequest};
pub use state::Retention;
pub use store::{Committed, NOT_STORED, Recovered, Store};
pub use table::{Change, KEY_BYTES_MAX, Table, VALUE_BYTES_MAX, Value};

/// One stored entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// How many messages it holds.
    pub messages: u32,
    /// The entry, byte for byte as it was sent.
    pub data: Bytes,
}
