//! What can go wrong with a request to the broker. `session::reply` turns these into protocol errors, `admin::reply`
//! into HTTP statuses; the texts are what a user reads in either.

use model::{NamespaceName, TopicName};

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("Topic {0} does not exist")]
    TopicNotFound(TopicName),
    #[error("Topic {0} already exists")]
    TopicExists(TopicName),
    #[error("Namespace {0} does not exist")]
    NamespaceNotFound(NamespaceName),
    #[error("Namespace {0} already exists")]
    NamespaceExists(NamespaceName),
    #[error("Tenant {0} does not exist")]
    TenantNotFound(String),
    #[error("Tenant {0} already exists")]
    TenantExists(String),
    #[error("Cluster {0} does not exist")]
    ClusterNotFound(String),
    #[error("Subscription {subscription} not found on topic {topic}")]
    SubscriptionNotFound { topic: TopicName, subscription: String },
    #[error("Subscription {subscription} already exists on topic {topic}")]
    SubscriptionExists { topic: TopicName, subscription: String },
    /// Exclusive, and somebody is there; or the type differs from that of the connected consumers.
    #[error("{0}")]
    ConsumerBusy(String),
    #[error("{0}")]
    ConsumerAssign(String),
    #[error("Topic was already terminated")]
    TopicTerminated,
    #[error("{0}")]
    ProducerBusy(String),
    #[error("{0}")]
    ProducerFenced(String),
    #[error("Cannot create producer on topic with backlog quota exceeded")]
    ProducerBlockedQuota { exception: bool },
    /// A bound of the configuration or of a policy is reached.
    #[error("{0}")]
    TooMany(String),
    #[error("Invalid topic name: {0}")]
    InvalidTopicName(String),
    /// A request that Pulsar knows and refuses, or that this broker does not do yet.
    #[error("{0}")]
    NotAllowed(String),
    /// The resource still has something in it or somebody on it (HTTP 412, or 409 where Pulsar says so).
    #[error("{0}")]
    Precondition(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    IncompatibleSchema(String),
    /// No definition of its kind, or none that topics have.
    #[error("{0}")]
    InvalidSchema(String),
    /// Stopping, or a request met a topic that just closed: look up again and retry.
    #[error("{0}")]
    NotReady(String),
    #[error("storage: {0}")]
    Storage(String),
}

impl Error {
    /// Reason of [`Error::NotAllowed`] when a namespace takes no more topics; administrators get it with a status of its own.
    pub const NAMESPACE_FULL: &str = "Exceed maximum number of topics in namespace.";
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Self {
        if matches!(error, ledger::Error::Loaded(_) | ledger::Error::NoLedgerId) {
            // It passes: a topic on its way out, ids on their way in.
            return Self::NotReady(error.to_string());
        }
        use ledger::Error::{NotCounter, TableKey, TableName, TableValue};
        if matches!(error, NotCounter | TableKey(_) | TableName(_) | TableValue(_)) {
            return Self::BadRequest(error.to_string());
        }
        // The chain is folded into one line here because this error is cloned to every waiter.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Storage(text)
    }
}

impl From<schema::Error> for Error {
    fn from(error: schema::Error) -> Self {
        match error {
            schema::Error::Incompatible(reason) => Self::IncompatibleSchema(reason),
            other => Self::InvalidSchema(other.to_string()),
        }
    }
}

impl From<metastore::Error> for Error {
    fn from(error: metastore::Error) -> Self {
        Self::Storage(error.to_string())
    }
}
