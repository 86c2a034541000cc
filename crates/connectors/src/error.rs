//! Why a connector cannot be run, in words for the one who deploys it.

use functions::runtime::StartError;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The code is no connector of this program.
    #[error("there is no built-in {kind} {name:?}: {known} are")]
    Unknown {
        /// Source or sink.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// Names that are known.
        known: String,
    },
    /// All that is wrong with `configs`.
    #[error("configs of {connector}: {}", problems.join("; "))]
    Config {
        /// Name of the connector.
        connector: String,
        /// A sentence for each mistake.
        problems: Vec<String>,
    },
    /// What it needs of the machine is not to be had.
    #[error("{0}")]
    Open(String),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}
