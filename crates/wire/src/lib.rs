//! The Pulsar binary protocol, sans-IO: bytes in, frames out; no socket, no clock, no task.

/// Every message of the protocol, as prost structs. Generated: see `codegen/`.
#[allow(clippy::all, clippy::unwrap_used, clippy::doc_markdown, unreachable_pub)]
#[rustfmt::skip]
pub mod proto;
