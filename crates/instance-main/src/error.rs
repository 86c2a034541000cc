//! Why an instance does not start, or has ended.

use std::{io, time::Duration};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line does not fit; all that is wrong with it, one line each.
    #[error("{}", .0.join("\n"))]
    Args(Vec<String>),
    /// `--function_details` makes no sense.
    #[error("--function_details: {0}")]
    Details(String),
    /// A secret is not there.
    #[error("the secret {0:?} is not there: set the environment variable of this name")]
    Secret(String),
    /// A port cannot be listened on.
    #[error("listen on port {port}")]
    Listen {
        /// Which.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// Whoever started it is gone.
    #[error("nobody asked for the health of this instance for {0:?}")]
    Abandoned(Duration),
}
