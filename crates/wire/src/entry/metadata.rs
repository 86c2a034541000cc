//! A partial, borrowing reader of `MessageMetadata`.

use super::Error;
use crate::pb::{Fields, Value};
use crate::proto::CompressionType;

/// What a broker needs of an entry's metadata; nothing is copied, properties are skipped.
///
/// Strings are bytes here: nothing forces a producer to send UTF-8, and a broker passes them on as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataView<'a> {
    /// Who published it.
    pub producer_name: &'a [u8],
    /// Of a batch, the lowest.
    pub sequence_id: u64,
    /// Milliseconds since 1970, the producer's clock.
    pub publish_time: u64,
    /// Milliseconds since 1970, the application's.
    pub event_time: Option<u64>,
    /// The message's key; base64 when the next field says so.
    pub partition_key: Option<&'a [u8]>,
    /// `partition_key` is base64 of a key that is bytes.
    pub partition_key_b64_encoded: bool,
    /// Overrides the key for Key_Shared.
    pub ordering_key: Option<&'a [u8]>,
    /// There is no key, as opposed to an empty one.
    pub null_partition_key: bool,
    /// There is no value, as opposed to an empty one: a tombstone for compaction.
    pub null_value: bool,
    /// Messages in the batch; `None` when the entry is no batch but a single message. Unchecked.
    pub num_messages_in_batch: Option<i32>,
    /// Of a batch, the highest sequence id.
    pub highest_sequence_id: Option<u64>,
    /// Not before this time: milliseconds since 1970.
    pub deliver_at_time: Option<i64>,
    /// Names the message of which this entry is a chunk.
    pub uuid: Option<&'a [u8]>,
    /// How many chunks that message has.
    pub num_chunks_from_msg: Option<i32>,
    /// Bytes of that message.
    pub total_chunk_msg_size: Option<i32>,
    /// Which of the chunks this is, from 0.
    pub chunk_id: Option<i32>,
    /// A marker, see [`MarkerType`](crate::proto::MarkerType), never to reach a consumer.
    pub marker_type: Option<i32>,
    /// The transaction it belongs to, lower half.
    pub txnid_least_bits: Option<u64>,
    /// The transaction it belongs to, upper half.
    pub txnid_most_bits: Option<u64>,
    /// The cluster it was replicated from.
    pub replicated_from: Option<&'a [u8]>,
    /// See [`CompressionType`]; as sent, perhaps unknown.
    pub compression: i32,
    /// Bytes of the payload once decompressed; unchecked.
    pub uncompressed_size: u32,
    /// The payload is encrypted: at least one encryption key is named.
    pub encrypted: bool,
    /// The version of the topic's schema it was written with.
    pub schema_version: Option<&'a [u8]>,
    /// The id of an external schema registry's schema.
    pub schema_id: Option<&'a [u8]>,
}

impl<'a> MetadataView<'a> {
    /// Reads an encoded `MessageMetadata`.
    ///
    /// # Errors
    /// It is no protobuf, a field has another type than the protocol gives it, or a required field is missing.
    pub fn parse(metadata: &'a [u8]) -> Result<Self, Error> {
        let mut view = Self::default();
        let mut required = 0;
        let mut fields = Fields::new(metadata);
        while let Some((field, value)) = fields.next()? {
            match value {
                Value::Varint(value) => match field {
                    2 => (view.sequence_id, required) = (value, required | 2),
                    3 => (view.publish_time, required) = (value, required | 4),
                    8 => view.compression = value as i32,
                    9 => view.uncompressed_size = value as u32,
                    11 => view.num_messages_in_batch = Some(value as i32),
                    12 => view.event_time = Some(value),
                    17 => view.partition_key_b64_encoded = value != 0,
                    19 => view.deliver_at_time = Some(value as i64),
                    20 => view.marker_type = Some(value as i32),
                    22 => view.txnid_least_bits = Some(value),
                    23 => view.txnid_most_bits = Some(value),
                    24 => view.highest_sequence_id = Some(value),
                    25 => view.null_value = value != 0,
                    27 => view.num_chunks_from_msg = Some(value as i32),
                    28 => view.total_chunk_msg_size = Some(value as i32),
                    29 => view.chunk_id = Some(value as i32),
                    30 => view.null_partition_key = value != 0,
                    1 | 4..=7 | 13..=16 | 18 | 26 | 32 => return Err(Error::Malformed),
                    _ => {}
                },
                Value::Bytes(bytes) => match field {
                    1 => (view.producer_name, required) = (bytes, required | 1),
                    5 => view.replicated_from = Some(bytes),
                    6 => view.partition_key = Some(bytes),
                    13 => view.encrypted = true,
                    16 => view.schema_version = Some(bytes),
                    18 => view.ordering_key = Some(bytes),
                    26 => view.uuid = Some(bytes),
                    32 => view.schema_id = Some(bytes),
                    2..=3 | 8..=9 | 11..=12 | 17 | 19..=20 | 22..=25 | 27..=30 => return Err(Error::Malformed),
                    _ => {}
                },
                Value::Fixed => match field {
                    1..=9 | 11..=20 | 22..=32 => return Err(Error::Malformed),
                    _ => {}
                },
            }
        }
        match required {
            7 => Ok(view),
            _ if required & 1 == 0 => Err(Error::Missing("producer_name")),
            _ if required & 2 == 0 => Err(Error::Missing("sequence_id")),
            _ => Err(Error::Missing("publish_time")),
        }
    }

    /// How many messages the entry counts for: those of the batch, else one. Never less than one, whatever a producer
    /// claims.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.num_messages_in_batch.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1)
    }

    /// The payload is a batch: each message in it has a size and metadata of its own, even if it is just one.
    #[must_use]
    pub const fn is_batch(&self) -> bool {
        self.num_messages_in_batch.is_some()
    }

    /// The compression, if it is one we know the name of.
    #[must_use]
    pub fn compression(&self) -> Option<CompressionType> {
        CompressionType::try_from(self.compression).ok()
    }
}
