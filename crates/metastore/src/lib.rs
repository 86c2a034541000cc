//! Small versioned keys with compare-and-set and watch: what the cluster must agree on, never a key per topic.
//!
//! Versions are those of etcd's modification revision: one counter for the whole store, raised by every change. A store
//! that lives on one machine keeps them in a file; a cluster will keep them in etcd behind the same trait.

mod file;
mod ids;
mod memory;

pub use file::FileStore;
pub use ids::{IdBlocks, last_reserved, next_epoch};
pub use memory::MemoryStore;

use bytes::Bytes;
use std::{io, path::PathBuf};
use tokio::sync::broadcast;

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// When a value was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// What has to hold for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key is not there.
    Absent,
    /// The key was last changed then.
    Version(Version),
}

/// A key changed; `value` is `None` when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub value: Option<Bytes>,
    pub version: Version,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{key} is not as expected")]
    Conflict { key: String, found: Option<Version> },
    #[error("{path} is in use by another process")]
    Locked { path: PathBuf },
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Corrupt { path: PathBuf, offset: u64, reason: &'static str },
    #[error("{doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// An earlier write failed, so what is on disk is not known any more.
    #[error("the metadata store failed earlier and takes no more changes")]
    Failed,
    #[error("the value of {key} is none of ours: {reason}")]
    BadValue { key: String, reason: String },
}

/// See the module. A change is durable when it returns.
#[async_trait::async_trait]
pub trait Metastore: Send + Sync + 'static {
    /// A value and its version.
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>>;

    /// Sets a value.
    ///
    /// # Errors
    /// [`Error::Conflict`] when `expect` does not hold.
    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Version>;

    /// Removes a key; one that is not there is removed already.
    ///
    /// # Errors
    /// [`Error::Conflict`] when `expect` does not hold.
    async fn delete(&self, key: &str, expect: Expect) -> Result<()>;

    /// Keys that start with `prefix`, in order.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes, Version)>>;

    /// Changes from now on. A receiver that lags is told so and lists again.
    fn watch(&self) -> broadcast::Receiver<Change>;
}
