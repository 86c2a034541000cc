//! What can go wrong between this process and a child.

use std::io;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child does not speak the protocol; it is stopped.
    #[error("the child broke the protocol: {0}")]
    Garbage(String),
    /// The program could not be run.
    #[error("run {program}: {source}")]
    Run {
        /// What was to be run.
        program: String,
        /// Why it was not.
        source: io::Error,
    },
    /// A pipe to the child failed.
    #[error("{what}: {source}")]
    Pipe {
        /// What we were doing.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Protocol errors come from many places and are only shown.
    pub(crate) fn garbage(what: impl Into<String>) -> Self {
        Self::Garbage(what.into())
    }
}
