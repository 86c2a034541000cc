//! How an element lies in its row: a key of instance and number, a value of its metadata and payload.

use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

use crate::message::{Key, Message, MessageId};

pub(super) fn make_key(instance_id: u32, number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_u32(instance_id);
    key.put_u64(number);
    key.freeze()
}

pub(super) fn split_key(key: &[u8]) -> Option<(u32, u64)> {
    let (instance, number) = key.split_at_checked(4)?;
    Some((u32::from_be_bytes(instance.try_into().ok()?), u64::from_be_bytes(number.try_into().ok()?)))
}

/// What is stored of an element besides its payload.
#[derive(serde::Serialize, serde::Deserialize)]
struct Head {
    at_ms: u64,
    topic: String,
    id: (u64, i64, i32, i32, u32),
    key: Option<(String, bool)>,
    properties: Vec<(String, String)>,
    event_time_ms: u64,
    publish_time_ms: u64,
    producer: String,
    sequence_id: u64,
    schema_version: Vec<u8>,
}

pub(super) fn encode(at_ms: u64, message: &Message) -> Bytes {
    let MessageId { ledger, entry, partition, batch_index, batch_size } = message.id;
    let head = Head {
        at_ms,
        topic: message.topic.to_string(),
        id: (ledger, entry, partition, batch_index, batch_size),
        key: message.key.as_ref().map(|key| (key.text.clone(), key.is_base64)),
        properties: message.properties.clone(),
        event_time_ms: message.event_time_ms,
        publish_time_ms: message.publish_time_ms,
        producer: message.producer.to_string(),
        sequence_id: message.sequence_id,
        schema_version: message.schema_version.to_vec(),
    };
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let mut value = BytesMut::with_capacity(4 + head.len() + message.payload.len());
    value.put_u32(head.len() as u32);
    value.put_slice(&head);
    value.put_slice(&message.payload);
    value.freeze()
}

pub(super) fn decode(value: &[u8]) -> Option<(u64, Message)> {
    let (size, rest) = value.split_at_checked(4)?;
    let (head, payload) = rest.split_at_checked(u32::from_be_bytes(size.try_into().ok()?) as usize)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let (ledger, entry, partition, batch_index, batch_size) = head.id;
    let message = Message {
        input: 0,
        topic: Arc::new(head.topic.parse().ok()?),
        id: MessageId { ledger, entry, partition, batch_index, batch_size },
        key: head.key.map(|(text, is_base64)| Key { text, is_base64 }),
        properties: head.properties,
        event_time_ms: head.event_time_ms,
        publish_time_ms: head.publish_time_ms,
        producer: head.producer.into(),
        sequence_id: head.sequence_id,
        redelivery_count: 0,
        schema_version: head.schema_version.into(),
        payload: Bytes::copy_from_slice(payload),
    };
    Some((head.at_ms, message))
}
