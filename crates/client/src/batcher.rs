//! Turns messages into entries: one message by itself, or several as a batch. Pure: no clock, no connection.
//!
//! A batch is closed by count, by bytes, or by the caller when its delay is over. Source: Pulsar's
//! `BatchMessageContainerImpl`; with `by_key`, messages of another key close the batch, so that a batch has one key, which
//! Key_Shared needs (Pulsar: `BatcherBuilder.KEY_BASED`, which keeps one batch for each key instead).

use crate::{Outgoing, compression, message::key_values};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use std::time::Duration;
use wire::proto::{CompressionType, MessageMetadata, SingleMessageMetadata};

/// When a batch is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// At this many messages.
    pub messages: u32,
    /// Before its payload would be larger than this.
    pub bytes: usize,
    /// When its first message has waited this long.
    pub delay: Duration,
    /// A batch holds messages of one key only.
    pub by_key: bool,
}

impl Default for Batching {
    /// Pulsar's own: 1,000 messages, 128 KiB, 1 ms.
    fn default() -> Self {
        Self { messages: 1000, bytes: 128 << 10, delay: Duration::from_millis(1), by_key: false }
    }
}

/// What every entry of a producer says.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Its name.
    pub producer_name: String,
    /// How its payload is compressed.
    pub compression: CompressionType,
    /// What it is written with.
    pub schema_version: Option<Vec<u8>>,
}

/// One entry, ready to be framed.
#[derive(Debug)]
pub struct Encoded {
    /// As it travels.
    pub metadata: MessageMetadata,
    /// Compressed.
    pub payload: Bytes,
    /// How many.
    pub messages: u32,
    /// Of the last message.
    pub highest_sequence_id: u64,
}

/// The batch that is being filled.
pub struct Batcher {
    limits: Batching,
    payload: BytesMut,
    messages: u32,
    sequence_ids: (u64, u64),
    key: Option<String>,
    key_is_base64: bool,
    ordering_key: Option<Bytes>,
    event_time_ms: Option<u64>,
}

impl Batcher {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Batching) -> Self {
        Self {
            limits,
            payload: BytesMut::new(),
            messages: 0,
            sequence_ids: (0, 0),
            key: None,
            key_is_base64: false,
            ordering_key: None,
            event_time_ms: None,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether the batch must be closed before this message.
    pub fn must_close_before(&self, message: &Outgoing) -> bool {
        !self.is_empty()
            && (self.payload.len() + message.payload.len() > self.limits.bytes
                || (self.limits.by_key && (self.key != message.key || self.ordering_key != message.ordering_key)))
    }

    /// Adds a message; true: the batch is full now.
    pub fn push(&mut self, message: &Outgoing, sequence_id: u64) -> bool {
        if self.is_empty() {
            self.sequence_ids.0 = sequence_id;
            self.key.clone_from(&message.key);
            self.key_is_base64 = message.key_is_base64;
            self.ordering_key.clone_from(&message.ordering_key);
            self.event_time_ms = message.event_time_ms;
        }
        self.sequence_ids.1 = sequence_id;
        self.messages += 1;
        let single = SingleMessageMetadata {
            properties: key_values(&message.properties),
            partition_key: message.key.clone(),
            partition_key_b64_encoded: message.key_is_base64.then_some(true),
            ordering_key: message.ordering_key.clone(),
            payload_size: message.payload.len() as i32,
            event_time: message.event_time_ms,
            sequence_id: Some(sequence_id),
            ..Default::default()
        };
        self.payload.put_u32(single.encoded_len() as u32);
        single.encode(&mut self.payload).expect("a BytesMut grows");
        self.payload.put_slice(&message.payload);
        self.messages >= self.limits.messages || self.payload.len() >= self.limits.bytes
    }

    /// Closes the batch.
    pub fn take(&mut self, stamp: &Stamp, now_ms: u64) -> Option<Encoded> {
        if self.is_empty() {
            return None;
        }
        let payload = self.payload.split().freeze();
        let messages = std::mem::take(&mut self.messages);
        let metadata = MessageMetadata {
            sequence_id: self.sequence_ids.0,
            highest_sequence_id: Some(self.sequence_ids.1),
            num_messages_in_batch: Some(messages as i32),
            partition_key: self.key.take(),
            partition_key_b64_encoded: self.key_is_base64.then_some(true),
            ordering_key: self.ordering_key.take(),
            event_time: self.event_time_ms,
            ..stamped(stamp, now_ms)
        };
        Some(finish(metadata, payload, messages, self.sequence_ids.1, stamp))
    }
}

/// These messages, whatever their number, size and keys, as one entry with one sequence id; `None` when there are none.
pub(crate) fn entry(messages: &[Outgoing], sequence_id: u64, stamp: &Stamp, now_ms: u64) -> Option<Encoded> {
    if let [message] = messages {
        return Some(single(message, sequence_id, stamp, now_ms));
    }
    let limits = Batching { messages: u32::MAX, bytes: usize::MAX, by_key: false, ..Batching::default() };
    let mut batcher = Batcher::new(limits);
    for message in messages {
        batcher.push(message, sequence_id);
    }
    batcher.take(stamp, now_ms)
}

/// A message as an entry of its own.
pub fn single(message: &Outgoing, sequence_id: u64, stamp: &Stamp, now_ms: u64) -> Encoded {
    let metadata = MessageMetadata {
        sequence_id,
        properties: key_values(&message.properties),
        partition_key: message.key.clone(),
        partition_key_b64_encoded: message.key_is_base64.then_some(true),
        ordering_key: message.ordering_key.clone(),
        event_time: message.event_time_ms,
        deliver_at_time: message.deliver_at_ms,
        ..stamped(stamp, now_ms)
    };
    finish(metadata, message.payload.clone(), 1, sequence_id, stamp)
}

fn stamped(stamp: &Stamp, now_ms: u64) -> MessageMetadata {
    MessageMetadata {
        producer_name: stamp.producer_name.clone(),
        publish_time: now_ms,
        schema_version: stamp.schema_version.clone().map(Into::into),
        ..Default::default()
    }
}

fn finish(mut metadata: MessageMetadata, payload: Bytes, messages: u32, highest: u64, stamp: &Stamp) -> Encoded {
    let payload = if stamp.compression == CompressionType::None {
        payload
    } else {
        metadata.compression = Some(stamp.compression as i32);
        metadata.uncompressed_size = Some(payload.len() as u32);
        compression::compress(stamp.compression, &payload).into()
    };
    Encoded { metadata, payload, messages, highest_sequence_id: highest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hot::Delivery,
        message::{self, Opened},
    };
    use model::Position;

    fn stamp(compression: CompressionType) -> Stamp {
        Stamp { producer_name: "p".into(), compression, schema_version: None }
    }

    fn limits(messages: u32, bytes: usize) -> Batching {
        Batching { messages, bytes, ..Batching::default() }
    }

    fn delivery() -> Delivery {
        Delivery {
            consumer_id: 0,
            position: Position::new(3, 4),
            partition: -1,
            redelivery_count: 0,
            ack_set: Default::default(),
            consumer_epoch: None,
        }
    }

    fn read_back(encoded: Encoded, open: Option<&[u64]>) -> Vec<crate::Message> {
        let kind = encoded.metadata.compression();
        let size = encoded.metadata.uncompressed_size() as usize;
        let payload = compression::decompress(kind, &encoded.payload, size).unwrap();
        let mut out = Vec::new();
        let opened = Opened { metadata: encoded.metadata, payload };
        message::read(&"t".into(), &delivery(), opened, open, &mut out).unwrap();
        out
    }

    #[test]
    fn a_batch_is_full_by_count_and_by_bytes() {
        let mut by_count = Batcher::new(limits(2, 1000));
        assert!(!by_count.push(&"a".into(), 0));
        assert!(by_count.push(&"b".into(), 1));
        let mut by_bytes = Batcher::new(limits(1000, 30));
        assert!(!by_bytes.must_close_before(&Outgoing::new(vec![0; 1000])), "an empty batch takes anything");
        assert!(!by_bytes.push(&"a".into(), 0));
        assert!(by_bytes.must_close_before(&Outgoing::new(vec![0; 30])));
        assert!(by_bytes.push(&Outgoing::new(vec![0; 30]), 1));
    }

    #[test]
    fn a_batch_reads_back_as_its_messages() {
        for kind in [CompressionType::None, CompressionType::Lz4, CompressionType::Zstd] {
            let mut batcher = Batcher::new(Batching::default());
            batcher.push(&Outgoing::new("one").key("k").property("a", "b"), 10);
            batcher.push(&"two".into(), 12);
            let encoded = batcher.take(&stamp(kind), 99).unwrap();
            assert_eq!((encoded.messages, encoded.highest_sequence_id), (2, 12));
            assert!(batcher.take(&stamp(kind), 99).is_none());
            let messages = read_back(encoded, None);
            let [one, two] = &messages[..] else { panic!("{messages:?}") };
            assert_eq!((&one.payload[..], one.sequence_id, one.id.batch_index), (&b"one"[..], 10, 0));
            assert_eq!(one.key.as_deref(), Some("k"));
            assert_eq!(one.properties, [("a".to_owned(), "b".to_owned())]);
            assert_eq!((&two.payload[..], two.sequence_id, two.id.batch_index), (&b"two"[..], 12, 1));
            assert_eq!((two.key.as_deref(), two.batch_size, two.publish_time_ms), (None, 2, 99));
        }
    }

    #[test]
    fn acknowledged_messages_of_a_batch_are_not_read() {
        let mut batcher = Batcher::new(Batching::default());
        for i in 0..3 {
            batcher.push(&Outgoing::new(vec![i]), u64::from(i));
        }
        let encoded = batcher.take(&stamp(CompressionType::None), 0).unwrap();
        let messages = read_back(encoded, Some(&[0b101]));
        assert_eq!(messages.iter().map(|m| m.payload[0]).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_batch_by_key_ends_where_the_key_changes() {
        let mut batcher = Batcher::new(Batching { by_key: true, ..Batching::default() });
        let keyed = |key: &str| Outgoing::new("x").key(key);
        batcher.push(&keyed("a"), 0);
        assert!(!batcher.must_close_before(&keyed("a")));
        assert!(batcher.must_close_before(&keyed("b")));
        assert!(batcher.must_close_before(&"x".into()));
    }

    #[test]
    fn a_single_message_keeps_what_it_has() {
        let message = Outgoing { deliver_at_ms: Some(7), event_time_ms: Some(8), ..Outgoing::new("x").key("k") };
        let encoded = single(&message, 5, &stamp(CompressionType::Snappy), 1);
        assert_eq!(encoded.metadata.deliver_at_time, Some(7));
        let messages = read_back(encoded, None);
        assert_eq!((messages[0].id.batch_index, messages[0].event_time_ms), (-1, Some(8)));
        assert_eq!((&messages[0].payload[..], messages[0].key.as_deref()), (&b"x"[..], Some("k")));
    }

    #[test]
    fn what_belongs_together_is_one_entry_with_one_number() {
        let stamp = stamp(CompressionType::None);
        assert!(entry(&[], 7, &stamp, 0).is_none());
        let one = entry(&["one".into()], 7, &stamp, 0).unwrap();
        assert_eq!((one.metadata.num_messages_in_batch, one.metadata.sequence_id), (None, 7));
        let many: Vec<Outgoing> = (0..2000).map(|i| Outgoing::new(vec![0; 100]).key(i.to_string())).collect();
        let all = entry(&many, 7, &stamp, 0).unwrap();
        assert_eq!((all.messages, all.metadata.sequence_id, all.highest_sequence_id), (2000, 7, 7));
        assert_eq!(read_back(all, None).len(), 2000);
    }

    #[test]
    fn a_cut_batch_is_an_error() {
        let mut batcher = Batcher::new(Batching::default());
        batcher.push(&"one".into(), 0);
        batcher.push(&"two".into(), 1);
        let encoded = batcher.take(&stamp(CompressionType::None), 0).unwrap();
        for end in 0..encoded.payload.len() {
            let opened = Opened { metadata: encoded.metadata.clone(), payload: encoded.payload.slice(..end) };
            let read = message::read(&"t".into(), &delivery(), opened, None, &mut Vec::new());
            assert!(read.is_err(), "cut at {end}");
        }
    }
}
