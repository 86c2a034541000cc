//! Producers, and what records are to them.

use client::{Batching, Client, CompressionType, Outgoing, Producer};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use wire::proto::{self, ServerError};

use super::error;
use crate::{
    error::Result,
    event_log::{Compression, OutputSpec, Schema},
    message::Record,
};

/// How long a name may be another's: whoever had it before may not know yet that it lost its input.
const NAME_PATIENCE: Duration = Duration::from_secs(20);
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Opens a producer. One with a name publishes what belongs together as one entry, and nothing else with it.
pub(super) async fn open(client: &Client, spec: OutputSpec) -> Result<Arc<Producer>> {
    let mut builder = client.producer(&spec.topic.to_string()).compression(spec.compression.into());
    match spec.producer {
        Some(name) => builder = builder.name(name),
        None => builder = builder.batching(Batching { by_key: spec.batch_by_key, ..Batching::default() }),
    }
    for (name, value) in spec.metadata {
        builder = builder.property(name, value);
    }
    if let Some(schema) = &spec.schema {
        builder = builder.schema(wire_schema(schema));
    }
    let deadline = Instant::now() + NAME_PATIENCE;
    loop {
        match builder.clone().create().await {
            Ok(producer) => return Ok(Arc::new(producer)),
            Err(busy) if busy.code() == Some(ServerError::ProducerBusy) && Instant::now() < deadline => {
                sleep(TRY_AGAIN).await;
            }
            Err(failed) => return Err(error(failed)),
        }
    }
}

fn wire_schema(schema: &Schema) -> proto::Schema {
    let pair = |(key, value): (&String, &String)| proto::KeyValue { key: key.clone(), value: value.clone() };
    proto::Schema {
        name: String::new(),
        schema_data: schema.definition.clone(),
        r#type: schema.kind,
        properties: schema.properties.iter().map(pair).collect(),
    }
}

impl From<Record> for Outgoing {
    fn from(record: Record) -> Self {
        let (key, key_is_base64) = record.key.map_or((None, false), |key| (Some(key.text), key.is_base64));
        Self {
            payload: record.payload,
            key,
            key_is_base64,
            ordering_key: None,
            properties: record.properties,
            event_time_ms: (record.event_time_ms > 0).then_some(record.event_time_ms),
            sequence_id: record.sequence_id,
            deliver_at_ms: (record.deliver_at_ms > 0).then(|| record.deliver_at_ms.min(i64::MAX as u64) as i64),
        }
    }
}

impl From<Compression> for CompressionType {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zlib => Self::Zlib,
            Compression::Zstd => Self::Zstd,
            Compression::Snappy => Self::Snappy,
        }
    }
}
