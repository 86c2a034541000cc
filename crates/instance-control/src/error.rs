//! What can go wrong between a worker and an instance.

use std::io;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, yet or any more.
    #[error("connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or the other side does not speak HTTP/2.
    #[error("the connection to the instance failed")]
    Connection(#[from] h2::Error),
    /// The instance answered with an error; the code is gRPC's.
    #[error("the instance answered with status {code}: {message}")]
    Status {
        /// gRPC's number for it.
        code: u32,
        /// What it says.
        message: String,
    },
    /// The answer is no answer to this.
    #[error("the instance answered with garbage: {0}")]
    Garbage(&'static str),
    /// No answer came in time.
    #[error("the instance does not answer")]
    TimedOut,
}
