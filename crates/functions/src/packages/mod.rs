//! Code packages: stored durably by what is in them, and found by name.
//!
//! A file that is stored is called a blob: the SHA-256 of its bytes and a file name, since languages derive module names and formats
//! from the latter. Names point to blobs: [`PackageName`]s as Pulsar's package management has them (`function://tenant/ns/name@version`),
//! the paths of `functions upload`, and the functions themselves. A blob that nothing names any more is removed.
//!
//! Source: Pulsar's `PackagesManagementImpl`; `ComponentImpl.uploadFunction`.

mod blobs;
mod catalog;
mod fetch;
mod name;

pub use blobs::{BlobId, Stored, Upload};
pub use catalog::Entry;
pub use name::{PackageName, PackageType};

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{Error, Result, Tables};
use blobs::Blobs;

/// What of packages can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where they are.
    pub dir: PathBuf,
    /// The largest one, in bytes.
    pub max_bytes: u64,
}

/// All packages of this node; a cheap handle.
#[derive(Clone)]
pub struct Packages {
    shared: Arc<Shared>,
}

struct Shared {
    blobs: Blobs,
    tables: Arc<dyn Tables>,
    clock: Arc<dyn seams::Clock>,
    /// What the tables say; changed after them, while the lock of `changes` is held.
    named: parking_lot::Mutex<BTreeMap<String, Entry>>,
    /// Nothing was left out when the tables were read; else it is not known which files are used.
    is_whole: bool,
    changes: tokio::sync::Mutex<()>,
}

impl Packages {
    /// Opens the directory and reads the names. What an earlier process left half written is removed.
    ///
    /// # Errors
    /// The directory cannot be made or read; the tables cannot be read.
    pub async fn open(config: Config, tables: Arc<dyn Tables>, clock: Arc<dyn seams::Clock>) -> Result<Self> {
        let blobs = Blobs::open(config.dir, config.max_bytes).await?;
        let (named, is_whole) = catalog::read(&*tables).await?;
        let named = parking_lot::Mutex::new(named);
        let changes = tokio::sync::Mutex::default();
        Ok(Self { shared: Arc::new(Shared { blobs, tables, clock, named, is_whole, changes }) })
    }

    /// Begins to store a file; what is written to the upload counts once it is finished.
    ///
    /// `name` is the name it had where it comes from, however odd.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn receive(&self, name: &str) -> Result<Upload> {
        self.shared.blobs.receive(name).await
    }

    /// Where a blob is.
    ///
    /// # Errors
    /// [`Error::NotFound`]: it is not there any more.
    pub async fn file(&self, blob: &BlobId) -> Result<PathBuf> {
        let path = self.shared.blobs.path(blob);
        match tokio::fs::metadata(&path).await {
            Ok(_) => Ok(path),
            Err(_) => Err(Error::NotFound(format!("the code {blob} is gone from {}", path.display()))),
        }
    }

    /// Removes blobs that no name, no upload under way and no function (`is_used`) wants any more. Gives back how many.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn sweep(&self, is_used: impl Fn(&BlobId) -> bool) -> Result<usize> {
        if !self.shared.is_whole {
            return Ok(0);
        }
        let _quiet = self.shared.changes.lock().await;
        let named = |blob: &BlobId| self.shared.named.lock().values().any(|entry| entry.blob == *blob);
        self.shared.blobs.sweep(|blob| named(blob) || is_used(blob)).await
    }
}

/// An error of the file system, with what we were doing.
fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |error| Error::Io { what, why: error.to_string() }
}
