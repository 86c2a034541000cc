//! Schemas as values: what a definition says, whether a new version fits the old ones, and what a payload written with one
//! holds. Nothing here does I/O, and every definition and payload is hostile until it parsed.
//!
//! The rules are those of Pulsar's registry (`org.apache.pulsar.broker.service.schema`), and below them those of Avro's own
//! Java library, whose verdicts and binary encodings are kept as golden files beside the tests. Avro is done here and not
//! by the `apache-avro` crate, because the two disagree where it matters: the crate knows no `$` in names, no default that
//! does not fit its field, and no aliases; it tells an enum that lacks a symbol (fine in Java) from a union that lacks a
//! branch (not fine) with one and the same answer; and it recurses as deep as a payload asks it to.

mod avro;
mod codec;
mod compatibility;
mod error;
mod key_value;
mod kind;
mod protobuf;
mod registry;
mod validate;

#[cfg(test)]
mod tests;

pub use codec::Codec;
pub use error::{Error, Result};
pub use key_value::{KeyValue, data_from_json, data_to_json, payload_parts};
pub use kind::Kind;
pub use registry::{check, check_consumer, find_equal, find_identical};
pub use validate::validate;

use bytes::Bytes;
use std::collections::BTreeMap;

/// Longest definition in bytes. Pulsar has no bound of its own but that of a frame.
pub const DEFINITION_BYTES_MAX: usize = 1024 * 1024;

/// What a client announces, and the registry keeps: Pulsar's `SchemaData`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Which kind of schema.
    pub kind: Kind,
    /// The definition in the form that its kind has; empty for primitives.
    pub data: Bytes,
    /// What goes with it, such as the kinds of key and value.
    pub properties: BTreeMap<String, String>,
}

impl Definition {
    /// A definition without properties.
    #[must_use]
    pub fn new(kind: Kind, data: impl Into<Bytes>) -> Self {
        Self { kind, data: data.into(), properties: BTreeMap::new() }
    }
}
