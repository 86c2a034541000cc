//! Stand-ins for what surrounds a function, for tests: tables and topics in memory, a runtime that gives back what it gets.

mod log;
mod runtime;
mod tables;

pub use log::MemoryLog;
pub use runtime::{Echo, Refuses, Toil};
pub use tables::MemoryTables;

use bytes::Bytes;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    FunctionSpec, Kind, Language,
    message::{InputId, Message, MessageId},
    spec::{Code, InputConfig, OutputConfig, Span, WindowSpec},
};

/// tokio's clock, which a test may hold still.
#[derive(Debug)]
pub struct TokioClock(tokio::time::Instant);

impl Default for TokioClock {
    fn default() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl seams::Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.monotonic().as_millis()).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// An empty message of topic `in`: entry `entry` of ledger 1.
#[must_use]
pub fn message(input: InputId, entry: i64) -> Message {
    Message {
        input,
        topic: Arc::new("persistent://public/default/in".parse().expect("a topic")),
        id: MessageId { ledger: 1, entry, partition: -1, batch_index: -1, batch_size: 0 },
        key: None,
        properties: Vec::new(),
        event_time_ms: 0,
        publish_time_ms: 0,
        producer: "p".into(),
        sequence_id: 0,
        redelivery_count: 0,
        schema_version: Bytes::new(),
        payload: Bytes::new(),
    }
}

/// Windows by the time at which elements come.
#[must_use]
pub fn windows(length: Span, slide: Span) -> WindowSpec {
    WindowSpec {
        length,
        slide,
        timestamp_extractor: None,
        event_time: false,
        max_lag: Duration::ZERO,
        watermark_interval: Duration::from_secs(1),
        late_data_topic: None,
    }
}

/// A function `public/default/{name}` from topic `in` to topic `out`, with one instance.
#[must_use]
pub fn spec(name: &str) -> FunctionSpec {
    let topic = |local: &str| format!("persistent://public/default/{local}");
    FunctionSpec {
        id: format!("id-of-{name}"),
        language: Language::Python,
        class_name: name.to_owned(),
        inputs: BTreeMap::from([(topic("in"), InputConfig::default())]),
        output: OutputConfig { topic: Some(topic("out")), ..OutputConfig::default() },
        service_url: "pulsar://127.0.0.1:6650".to_owned(),
        admin_url: "http://127.0.0.1:8080".to_owned(),
        cluster: "standalone".to_owned(),
        ..FunctionSpec::new(Kind::Function, "public", "default", name, Code::File(PathBuf::from("/nowhere/code.py")))
    }
}
