//! What can go wrong between a function and the rest of the program.

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A message is no longer this instance's: another one has it. Nothing was committed.
    #[error("a message of the commit belongs to another consumer now")]
    Conflict,
    /// Whether messages are acknowledged is not known; they may come again. The rest of their commit has happened.
    #[error("it is not known whether messages are acknowledged: {0}")]
    Unsure(String),
    /// The broker refused.
    #[error("{0}")]
    Broker(String),
    /// A topic does not take a schema.
    #[error("{0}")]
    Schema(String),
    /// The connection or the storage is gone; the instance must start again.
    #[error("{0}")]
    Closed(String),
    /// What was asked for is wrong. Shown to the user, all mistakes at once.
    #[error("{0}")]
    Invalid(String),
    /// More bytes than are allowed.
    #[error("{0}")]
    TooLarge(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// There is no such function, instance, package or row.
    #[error("{0}")]
    NotFound(String),
    /// It is there already.
    #[error("{0}")]
    Exists(String),
    /// User code does not start.
    #[error(transparent)]
    Start(#[from] crate::runtime::StartError),
    /// Files could not be written or read.
    #[error("{what}: {why}")]
    Io {
        /// What we were doing.
        what: String,
        /// Why it failed.
        why: String,
    },
}
