//! What can be wrong with what is read.

/// What can be wrong with what is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A number that Kubernetes would not read.
    #[error("{0:?} is no quantity such as 500m, 2, 128Mi or 1.5G")]
    NotAQuantity(String),
    /// It is of another version, or damaged.
    #[error("no checkpoint of a recommender: {0}")]
    Checkpoint(String),
}
