//! What can go wrong between this client and a broker.

use std::{io, sync::Arc, time::Duration};
use wire::proto::ServerError;

/// The result of a client call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a client call failed. Cloneable, because one lost connection fails every waiting call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The text is no service URL this client can use.
    #[error("'{url}' is no usable service URL: {why}")]
    ServiceUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The text is no topic name.
    #[error(transparent)]
    TopicName(#[from] model::ParseError),
    /// No connection to this address could be made.
    #[error("connect to {address}")]
    Connect {
        /// `host:port`.
        address: Arc<str>,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The peer accepted the connection and then refused the session, or is no Pulsar broker.
    #[error("handshake with {address}: {why}")]
    Handshake {
        /// `host:port`.
        address: Arc<str>,
        /// What the peer said, or what is wrong with it.
        why: String,
    },
    /// The connection was lost; what was under way may or may not have happened.
    #[error("connection to {address} lost: {why}")]
    Disconnected {
        /// `host:port`.
        address: Arc<str>,
        /// How it was noticed.
        why: Arc<str>,
    },
    /// The broker closed this producer or consumer and it is not to be opened again.
    #[error("the broker closed it: {0}")]
    ClosedByBroker(Arc<str>),
    /// The broker answered with an error.
    #[error("{doing}: {code:?}: {message}")]
    Broker {
        /// What was asked.
        doing: &'static str,
        /// Pulsar's code.
        code: ServerError,
        /// The broker's words.
        message: Arc<str>,
    },
    /// The peer sent something that the protocol does not allow.
    #[error("protocol violation by the peer: {0}")]
    Protocol(Arc<str>),
    /// No answer within the time.
    #[error("{doing}: no answer within {after:?}")]
    Timeout {
        /// What was asked.
        doing: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Lookup was sent from broker to broker too often.
    #[error("lookup of {topic} was redirected more than {limit} times")]
    Redirects {
        /// The topic looked up.
        topic: Arc<str>,
        /// The bound.
        limit: u32,
    },
    /// The message is larger than the broker takes.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The broker's limit.
        limit: usize,
    },
    /// This cannot be one entry.
    #[error("{0} cannot be one entry")]
    Mixed(&'static str),
    /// A received entry can't be read.
    #[error("entry {entry} can't be decoded: {why}")]
    Corrupt {
        /// Where it is stored.
        entry: model::Position,
        /// What is wrong.
        why: Arc<str>,
    },
    /// A payload can't be decompressed.
    #[error("decompress: {0}")]
    Decompress(Arc<str>),
    /// An index of a batch was to be acknowledged that this consumer did not receive.
    #[error("message {0:?} was not received by this consumer")]
    UnknownMessage(model::MessageId),
    /// The topic was terminated and everything was read.
    #[error("the topic was terminated and has no further message")]
    EndOfTopic,
    /// The producer, consumer or client was closed on this side.
    #[error("already closed")]
    Closed,
}

impl Error {
    /// Whether a fresh lookup and another try may help: the connection was lost, the topic moved, the broker is not
    /// ready. Source: Pulsar's `PulsarClientException.isRetriableError` and `ServerError.ServiceNotReady`.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Disconnected { .. } | Self::Timeout { .. } => true,
            Self::Broker { code, .. } => matches!(
                code,
                ServerError::ServiceNotReady
                    | ServerError::MetadataError
                    | ServerError::PersistenceError
                    | ServerError::TooManyRequests
                    | ServerError::ProducerBlockedQuotaExceededError
                    | ServerError::UnknownError
            ),
            _ => false,
        }
    }

    /// What failed, and why, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(why) = cause {
            text = format!("{text}: {why}");
            cause = why.source();
        }
        text
    }

    /// The broker's code, if it was the broker that refused.
    #[must_use]
    pub fn code(&self) -> Option<ServerError> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }
}
