//! Why a definition or a payload was refused. The texts are Pulsar's where it has one, since people and scripts look for them.

use crate::Kind;

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not fit what is there: HTTP 409, `IncompatibleSchema` to clients.
    #[error("{0}")]
    Incompatible(String),
    /// It is no definition of its kind: HTTP 422, `IncompatibleSchema` to clients.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing to compare with.
    #[error("Topic does not have schema to check")]
    NoSchema,
    /// No kind that Pulsar has.
    #[error("No enum constant org.apache.pulsar.common.schema.SchemaType.{0}")]
    UnknownKind(String),
    /// A payload does not hold what its schema says.
    #[error("the payload does not fit its {kind} schema: {reason}")]
    Payload {
        /// Kind of the schema.
        kind: Kind,
        /// What is wrong.
        reason: String,
    },
    /// Payloads of this kind stay bytes here.
    #[error("payloads of {0} schemas are not decoded")]
    NotDecoded(Kind),
}
