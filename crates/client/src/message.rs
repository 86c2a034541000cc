//! Messages as an application sees them, and how an entry is read into them.

use crate::{
    Error, Result, acks,
    compression::{self, DECOMPRESSED_BYTES_MAX},
    hot::Delivery,
};
use bytes::{Buf, Bytes};
use model::{MessageId, Position};
use prost::Message as _;
use std::sync::Arc;
use wire::proto::{CompressionType, KeyValue, MessageMetadata, SingleMessageMetadata};

/// A message to publish. `"text".into()` and `bytes.into()` make one that has nothing but a payload.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The payload.
    pub payload: Bytes,
    /// Decides the partition, and the consumer of a Key_Shared subscription.
    pub key: Option<String>,
    /// The key is base64 of the bytes that are meant.
    pub key_is_base64: bool,
    /// Goes before `key` for Key_Shared.
    pub ordering_key: Option<Bytes>,
    /// The application's own pairs.
    pub properties: Vec<(String, String)>,
    /// When it happened, in milliseconds since 1970.
    pub event_time_ms: Option<u64>,
    /// Counted by the producer when absent. Must rise; deduplication goes by it.
    pub sequence_id: Option<u64>,
    /// Shared and Key_Shared consumers get it no sooner than this, in milliseconds since 1970.
    pub deliver_at_ms: Option<i64>,
}

impl Outgoing {
    /// A message with this payload.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with one more property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}

impl From<&str> for Outgoing {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes)
    }
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic (the partition, when it is one).
    pub topic: Arc<str>,
    /// Where it is stored.
    pub id: MessageId,
    /// The payload, decompressed.
    pub payload: Bytes,
    /// The key.
    pub key: Option<String>,
    /// The key is base64 of the bytes that are meant.
    pub key_is_base64: bool,
    /// Goes before `key` for Key_Shared.
    pub ordering_key: Option<Bytes>,
    /// The application's own pairs.
    pub properties: Vec<(String, String)>,
    /// Milliseconds since 1970, by the producer's clock.
    pub publish_time_ms: u64,
    /// Milliseconds since 1970; `None` when the producer did not say.
    pub event_time_ms: Option<u64>,
    /// Who published it.
    pub producer_name: Arc<str>,
    /// The producer's number for it.
    pub sequence_id: u64,
    /// How often it was delivered before.
    pub redelivery_count: u32,
    /// Messages in its entry.
    pub batch_size: u32,
    /// The payload is absent rather than empty: a tombstone for compaction.
    pub null_value: bool,
    /// Which version of the topic's schema it was written with.
    pub schema_version: Option<Bytes>,
}

/// An entry as it is stored: `bytes` are magic, checksum, metadata and payload, undecoded and unchecked.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The topic (the partition, when it is one).
    pub topic: Arc<str>,
    /// What the broker said with it.
    pub delivery: Delivery,
    /// How many of its messages are not acknowledged.
    pub messages: u32,
    /// The entry.
    pub bytes: Bytes,
}

/// An entry read up to its payload.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What the producer said of it.
    pub metadata: MessageMetadata,
    /// Decompressed, unless it is [as stored](open_as_stored).
    pub payload: Bytes,
}

/// Checks the checksum, reads the metadata and decompresses; but for a chunk, since only the whole message was compressed.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Decompress`].
pub fn open(at: Position, entry: Bytes) -> Result<Opened> {
    let Opened { metadata, payload } = open_as_stored(at, entry)?;
    let payload = match metadata.compression() {
        CompressionType::None => payload,
        _ if metadata.num_chunks_from_msg() > 1 => payload,
        kind => compression::decompress(kind, &payload, metadata.uncompressed_size() as usize)?,
    };
    Ok(Opened { metadata, payload })
}

/// Checks the checksum and reads the metadata; the payload stays as it is stored, compressed or not.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn open_as_stored(at: Position, mut entry: Bytes) -> Result<Opened> {
    let corrupt = |why: String| Error::Corrupt { entry: at, why: why.into() };
    let short = || corrupt("it ends early".into());
    if entry.starts_with(&[0x0e, 0x02]) {
        entry.advance(2);
        let size = entry.try_get_u32().map_err(|_| short())? as usize;
        if entry.len() < size {
            return Err(short());
        }
        entry.advance(size);
    }
    if entry.starts_with(&[0x0e, 0x01]) {
        entry.advance(2);
        let claimed = entry.try_get_u32().map_err(|_| short())?;
        let found = wire::crc32c(&entry);
        if claimed != found {
            return Err(corrupt(format!("checksum {claimed:08x} expected, {found:08x} found")));
        }
    }
    let size = entry.try_get_u32().map_err(|_| short())? as usize;
    if entry.len() < size {
        return Err(short());
    }
    let metadata = MessageMetadata::decode(entry.split_to(size)).map_err(|e| corrupt(e.to_string()))?;
    Ok(Opened { metadata, payload: entry })
}

/// Appends the messages of an entry to `out`, those that `open` (the ack tracker's set; `None`: all) still holds.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn read(
    topic: &Arc<str>,
    delivery: &Delivery,
    opened: Opened,
    open: Option<&[u64]>,
    out: &mut impl Extend<Message>,
) -> Result<()> {
    let Opened { metadata, mut payload } = opened;
    let producer_name: Arc<str> = metadata.producer_name.as_str().into();
    let message = |batch_index: i32, batch_size: u32| Message {
        topic: topic.clone(),
        id: MessageId { position: delivery.position, partition: delivery.partition, batch_index },
        payload: Bytes::new(),
        key: None,
        key_is_base64: false,
        ordering_key: None,
        properties: Vec::new(),
        publish_time_ms: metadata.publish_time,
        event_time_ms: metadata.event_time.filter(|time| *time != 0),
        producer_name: producer_name.clone(),
        sequence_id: metadata.sequence_id,
        redelivery_count: delivery.redelivery_count,
        batch_size,
        null_value: false,
        schema_version: metadata.schema_version.clone(),
    };
    if metadata.num_messages_in_batch.is_none() {
        out.extend([Message {
            key: metadata.partition_key.clone(),
            key_is_base64: metadata.partition_key_b64_encoded(),
            ordering_key: metadata.ordering_key.clone(),
            properties: pairs(&metadata.properties),
            null_value: metadata.null_value(),
            payload,
            ..message(-1, 1)
        }]);
        return Ok(());
    }
    let corrupt = |why: &str| Error::Corrupt { entry: delivery.position, why: why.into() };
    let count = batch_size(&metadata);
    for index in 0..count {
        let size = payload.try_get_u32().map_err(|_| corrupt("the batch ends early"))? as usize;
        if payload.len() < size {
            return Err(corrupt("the batch ends early"));
        }
        let single = SingleMessageMetadata::decode(payload.split_to(size))
            .map_err(|_| corrupt("metadata of a batched message"))?;
        let size = usize::try_from(single.payload_size).map_err(|_| corrupt("a negative size in the batch"))?;
        if payload.len() < size {
            return Err(corrupt("the batch ends early"));
        }
        let body = payload.split_to(size);
        if single.compacted_out() || open.is_some_and(|open| !acks::contains(open, index)) {
            continue;
        }
        out.extend([Message {
            key_is_base64: single.partition_key_b64_encoded(),
            null_value: single.null_value(),
            event_time_ms: single.event_time.filter(|time| *time != 0),
            sequence_id: single.sequence_id.unwrap_or(metadata.sequence_id + u64::from(index)),
            key: single.partition_key,
            ordering_key: single.ordering_key,
            properties: pairs(&single.properties),
            payload: body,
            ..message(index as i32, count)
        }]);
    }
    Ok(())
}

/// How many messages the batch claims to hold. Each takes four bytes at least, so the loop over them is bounded by the
/// payload; the bound here is for the sets kept of them.
pub fn batch_size(metadata: &MessageMetadata) -> u32 {
    u32::try_from(metadata.num_messages_in_batch()).unwrap_or(0).min((DECOMPRESSED_BYTES_MAX / 4) as u32)
}

pub(crate) fn pairs(properties: &[KeyValue]) -> Vec<(String, String)> {
    properties.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

pub(crate) fn key_values(properties: &[(String, String)]) -> Vec<KeyValue> {
    properties.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect()
}
