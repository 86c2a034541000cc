//! One message as a function sees it, and what a function makes of it.

use bytes::Bytes;
use model::{Position, TopicName};
use std::sync::Arc;

use crate::event_log::Schema;

/// Which input of an instance a message came from: the index of the consumer in its [`crate::Session`].
pub type InputId = u32;
/// Which output of an instance: the index of the producer in its [`crate::Session`].
pub type OutputId = u32;

/// Where a message is stored; one message of a batch has an index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Ledger of the entry.
    pub ledger: u64,
    /// Number of the entry in its ledger.
    pub entry: i64,
    /// Partition of the topic, -1 when it has none.
    pub partition: i32,
    /// Index within the batch, -1 when the entry is one message.
    pub batch_index: i32,
    /// Messages in the batch, 0 when the entry is one message.
    pub batch_size: u32,
}

impl std::fmt::Display for MessageId {
    /// Pulsar's notation: `ledger:entry:partition`, and `:index` for a message of a batch.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.ledger, self.entry, self.partition)?;
        if self.batch_index >= 0 {
            write!(f, ":{}", self.batch_index)?;
        }
        Ok(())
    }
}

/// A message on its way into a function. The payload is plain: out of its batch and decompressed.
#[derive(Clone, Debug)]
pub struct Message {
    /// The consumer it came through.
    pub input: InputId,
    /// The topic it was published to, with its partition.
    pub topic: Arc<TopicName>,
    /// Where it is stored.
    pub id: MessageId,
    /// The partition key, if it has one.
    pub key: Option<Key>,
    /// What the producer said of it, in its order.
    pub properties: Vec<(String, String)>,
    /// Set by the producer, wall clock milliseconds; 0 when it was not.
    pub event_time_ms: u64,
    /// When it was published, wall clock milliseconds.
    pub publish_time_ms: u64,
    /// Who published it.
    pub producer: Arc<str>,
    /// The producer's number for it.
    pub sequence_id: u64,
    /// How often it was delivered before.
    pub redelivery_count: u32,
    /// Version of the schema it was written with, empty when it has none.
    pub schema_version: Bytes,
    /// What it says.
    pub payload: Bytes,
}

impl Message {
    /// What a client read from an entry of `topic`, which came through `input`.
    #[must_use]
    pub fn received(input: InputId, topic: &Arc<TopicName>, message: client::Message) -> Self {
        let client::Message { id, .. } = message;
        Self {
            input,
            topic: topic.clone(),
            id: MessageId {
                ledger: id.position.ledger,
                entry: id.position.entry,
                partition: id.partition,
                batch_index: id.batch_index,
                batch_size: if id.batch_index < 0 { 0 } else { message.batch_size },
            },
            key: message.key.map(|text| Key { text, is_base64: message.key_is_base64 }),
            properties: message.properties,
            event_time_ms: message.event_time_ms.unwrap_or(0),
            publish_time_ms: message.publish_time_ms,
            producer: message.producer_name,
            sequence_id: message.sequence_id,
            redelivery_count: message.redelivery_count,
            schema_version: message.schema_version.unwrap_or_default(),
            payload: message.payload,
        }
    }
}

impl MessageId {
    /// As clients know it.
    #[must_use]
    pub fn as_client(&self) -> model::MessageId {
        let position = Position { ledger: self.ledger, entry: self.entry };
        model::MessageId { position, partition: self.partition, batch_index: self.batch_index }
    }
}

/// A partition key as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Its characters; base64 when `is_base64`.
    pub text: String,
    /// The producer gave bytes.
    pub is_base64: bool,
}

/// A message a function publishes: its output, or by `context.publish`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where it goes; `None` is the function's output topic.
    pub topic: Option<String>,
    /// What it says, encoded.
    pub payload: Bytes,
    /// Its partition key; `None` for an output means that of the input where the function forwards it.
    pub key: Option<Key>,
    /// In order.
    pub properties: Vec<(String, String)>,
    /// Wall clock milliseconds; 0 for none.
    pub event_time_ms: u64,
    /// Not delivered before this moment, wall clock milliseconds; 0 for at once.
    pub deliver_at_ms: u64,
    /// Chosen by the function; the loop gives one where it is `None`.
    pub sequence_id: Option<u64>,
    /// What it is written with, where the function says so: the topic has to take it.
    pub schema: Option<Arc<Schema>>,
}

impl Record {
    /// About what it takes as an entry.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let properties: usize = self.properties.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        self.payload.len() + properties + self.key.as_ref().map_or(0, |key| key.text.len()) + 128
    }
}
