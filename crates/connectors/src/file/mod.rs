//! `file`: lines of files as records, and records as lines of a file.

pub(crate) mod listing;
pub(crate) mod sink;
pub(crate) mod source;

use std::io;

/// What waits for a disk is done where waiting holds nothing up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
