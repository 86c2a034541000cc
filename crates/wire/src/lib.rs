//! The Pulsar binary protocol, sans-IO: bytes in, frames out; no socket, no clock, no task.
//!
//! A frame is `[u32 total][u32 command size][BaseCommand][entry]`, integers big-endian, the entry only with SEND and
//! MESSAGE. An *entry* is `[0x0e01][crc32c][u32 metadata size][MessageMetadata][payload]` and is never changed: it is
//! stored and dispatched byte for byte as the producer sent it.
//!
//! - [`frame`] takes frames from a read buffer; SEND, FLOW and simple ACKs without building a prost struct.
//! - [`encode`] appends frames to a write buffer; receipts and message headers without allocating.
//! - [`entry`] checks, splits and builds entries, and reads of the metadata what a broker needs.
//! - [`batch`] packs several messages into the payload of one entry and unpacks them.
//! - [`handshake`] negotiates the version and fills CONNECTED.
//! - [`proto`] has every message of the protocol.
//!
//! What holds: no input makes a function here panic, recurse or allocate more than a small multiple of the bytes it was
//! handed; commands and fields that a newer peer may send are skipped, never an error.
//!
//! Source: apache/pulsar `pulsar-common/src/main/proto/PulsarApi.proto` and
//! `pulsar-common/src/main/java/org/apache/pulsar/common/protocol/` (`PulsarDecoder`, `Commands`), as of 4.2.

mod base;
pub mod batch;
pub mod encode;
pub mod entry;
pub mod frame;
pub mod handshake;
mod pb;
/// Every message of the protocol, as prost structs. Generated: see `codegen/`.
#[allow(clippy::all, clippy::unwrap_used, clippy::doc_markdown, unreachable_pub)]
#[rustfmt::skip]
pub mod proto;

pub use base::Command;
pub use entry::crc32c;
pub use frame::{Decoder, FrameError, Incoming, next_frame};
pub use handshake::{PROTOCOL_VERSION, negotiate};

/// The largest entry a broker takes unless configured otherwise: 5 MiB, told to clients in CONNECTED.
/// Source: `Commands.DEFAULT_MAX_MESSAGE_SIZE`.
pub const MAX_MESSAGE_SIZE: usize = 5 * 1024 * 1024;

/// How much larger than an entry a frame may be: room for sizes and command.
/// Source: `Commands.MESSAGE_SIZE_FRAME_PADDING`.
pub const FRAME_SLACK: usize = 10 * 1024;
