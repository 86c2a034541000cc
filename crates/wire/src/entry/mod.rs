//! Entries: what SEND and MESSAGE carry, and what is stored.
//!
//! `[0x0e01][crc32c u32][metadata size u32][MessageMetadata][payload]`; the checksum covers everything from the metadata
//! size on and may be absent together with its magic. A broker that is asked to may put `[0x0e02][size u32]
//! [BrokerEntryMetadata]` in front of what it dispatches. An entry is never re-encoded: what a producer sent is what is
//! stored and what a consumer gets, checksum included.
//!
//! Source: apache/pulsar `Commands.serializeMetadataAndPayload`, `Commands.skipBrokerEntryMetadataIfExist`; PIP-70.

mod metadata;
mod sticky;

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use prost::Message;

pub use metadata::MetadataView;
pub use sticky::{NONE_KEY, STICKY_HASH_SIZE, murmur3_32, sticky_hash, sticky_hash_in};

use crate::pb::Malformed;
use crate::proto::{BrokerEntryMetadata, MessageMetadata};

const MAGIC_CHECKSUM: [u8; 2] = [0x0e, 0x01];
const MAGIC_BROKER_METADATA: [u8; 2] = [0x0e, 0x02];

/// Why an entry cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("entry ends within its header")]
    Truncated,
    #[error("metadata is malformed protobuf")]
    Malformed,
    #[error("metadata lacks {0}")]
    Missing(&'static str),
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What the checksum of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// There is one, and it holds.
    Valid,
    /// There is none: allowed, old clients send none.
    Absent,
    /// There is one, and the bytes differ; or there should be one, and the entry ends before it does.
    Invalid,
}

/// The parts of an entry, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What the broker put in front, an encoded `BrokerEntryMetadata`.
    pub broker_metadata: Option<&'a [u8]>,
    /// The checksum as sent, unverified.
    pub checksum: Option<u32>,
    /// What the checksum covers: size of the metadata, metadata, payload.
    pub covered: &'a [u8],
    /// An encoded `MessageMetadata`.
    pub metadata: &'a [u8],
    /// One message, or a batch of them; compressed and encrypted as the metadata says.
    pub payload: &'a [u8],
}

/// CRC-32C (Castagnoli, also called iSCSI), as Pulsar computes it over entries.
#[inline]
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Verifies the checksum of an entry. Reads the whole entry once; looks at the metadata not at all.
#[inline]
#[must_use]
pub fn checksum(entry: &[u8]) -> Checksum {
    match header(entry) {
        Ok((_, Some(sent), covered)) if crc32c(covered) == sent => Checksum::Valid,
        Ok((_, None, _)) => Checksum::Absent,
        Ok(_) | Err(_) => Checksum::Invalid,
    }
}

/// Takes an entry apart without verifying or decoding anything.
///
/// # Errors
/// [`Error::Truncated`]: a size points beyond the end.
#[inline]
pub fn split(entry: &[u8]) -> Result<Parts<'_>, Error> {
    let (broker_metadata, checksum, covered) = header(entry)?;
    let (metadata, payload) = sized(covered)?;
    Ok(Parts { broker_metadata, checksum, covered, metadata, payload })
}

/// What a broker reads of an entry's metadata, in place and without allocating.
///
/// # Errors
/// The entry is no entry, its metadata no protobuf, or a required field is missing.
#[inline]
pub fn metadata(entry: &[u8]) -> Result<MetadataView<'_>, Error> {
    MetadataView::parse(split(entry)?.metadata)
}

/// The payload of an entry, sharing its memory.
///
/// # Errors
/// As [`split`].
pub fn payload(entry: &Bytes) -> Result<Bytes, Error> {
    Ok(entry.slice_ref(split(entry)?.payload))
}

/// The entry without what a broker put in front of it, sharing its memory: what is comparable with what was sent.
#[must_use]
pub fn without_broker_metadata(entry: &Bytes) -> Bytes {
    match entry.strip_prefix(&MAGIC_BROKER_METADATA).map(sized) {
        Some(Ok((_, rest))) => entry.slice_ref(rest),
        Some(Err(_)) | None => entry.clone(),
    }
}

/// Builds an entry, checksum included. `payload` is taken as it is: batching and compression are the caller's.
#[must_use]
pub fn encode_entry(metadata: &MessageMetadata, payload: &[u8]) -> Bytes {
    let mut buf = BytesMut::with_capacity(10 + metadata.encoded_len() + payload.len());
    put_entry(&mut buf, metadata, payload);
    buf.freeze()
}

/// Appends an entry, as [`encode_entry`] builds it.
pub fn put_entry(buf: &mut BytesMut, metadata: &MessageMetadata, payload: &[u8]) {
    let metadata_len = metadata.encoded_len();
    buf.reserve(10 + metadata_len + payload.len());
    buf.put_slice(&MAGIC_CHECKSUM);
    let checksum = buf.len();
    buf.put_u32(0);
    put_len(buf, metadata_len);
    metadata.encode_raw(buf);
    buf.put_slice(payload);
    let sum = crc32c(&buf[checksum + 4..]);
    buf[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
}

/// Appends what goes in front of an entry for a peer that accepts it (see
/// [`Accepts`](crate::handshake::Accepts::broker_entry_metadata)).
pub fn put_broker_metadata(buf: &mut BytesMut, metadata: &BrokerEntryMetadata) {
    let len = metadata.encoded_len();
    buf.reserve(6 + len);
    buf.put_slice(&MAGIC_BROKER_METADATA);
    put_len(buf, len);
    metadata.encode_raw(buf);
}

/// Lengths here are those of buffers in memory that become a frame, whose size is a u32 too.
fn put_len(buf: &mut BytesMut, len: usize) {
    buf.put_u32(u32::try_from(len).expect("a message is far below 4 GiB"));
}

type Header<'a> = (Option<&'a [u8]>, Option<u32>, &'a [u8]);

/// The broker's prefix, the checksum and what it covers.
#[inline]
fn header(entry: &[u8]) -> Result<Header<'_>, Error> {
    let (broker_metadata, entry) = match entry.strip_prefix(&MAGIC_BROKER_METADATA) {
        Some(rest) => {
            let (metadata, rest) = sized(rest)?;
            (Some(metadata), rest)
        }
        None => (None, entry),
    };
    match entry.strip_prefix(&MAGIC_CHECKSUM) {
        Some(rest) => {
            let (sum, covered) = rest.split_first_chunk().ok_or(Error::Truncated)?;
            Ok((broker_metadata, Some(u32::from_be_bytes(*sum)), covered))
        }
        None => Ok((broker_metadata, None, entry)),
    }
}

/// Splits `[size u32][that many bytes][rest]`.
#[inline]
fn sized(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (size, rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
    let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| Error::Truncated)?;
    rest.split_at_checked(size).ok_or(Error::Truncated)
}

#[cfg(test)]
mod tests;
