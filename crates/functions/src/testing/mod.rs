//! Stand-ins for what surrounds a function, for tests: tables and topics in memory, a runtime that gives back what it gets.

mod log;
mod runtime;
mod tables;

pub use log::MemoryLog;
pub use runtime::{Echo, Refuses};
pub use tables::MemoryTables;

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    FunctionSpec, Kind, Language,
    spec::{Code, Guarantee, InputConfig, Limits, OutputConfig},
};

/// A function `public/default/{name}` from topic `in` to topic `out`, with one instance.
#[must_use]
pub fn spec(name: &str) -> FunctionSpec {
    let topic = |local: &str| format!("persistent://public/default/{local}");
    FunctionSpec {
        kind: Kind::Function,
        id: format!("id-of-{name}"),
        version: 0,
        tenant: "public".to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        language: Language::Python,
        class_name: name.to_owned(),
        code: Code::File(PathBuf::from("/nowhere/code.py")),
        guarantee: Guarantee::AtleastOnce,
        inputs: BTreeMap::from([(topic("in"), InputConfig::default())]),
        output: OutputConfig { topic: Some(topic("out")), ..OutputConfig::default() },
        subscription: format!("public/default/{name}"),
        subscription_type: model::SubscriptionType::Shared,
        initial_position: model::InitialPosition::Latest,
        skip_to_latest: false,
        cleanup_subscription: true,
        auto_ack: true,
        max_message_retries: None,
        dead_letter_topic: None,
        log_topic: None,
        timeout: None,
        max_pending_async: 1000,
        forward_source_properties: true,
        window: None,
        parallelism: 1,
        limits: Limits::default(),
        user_config: serde_json::Map::new(),
        secrets: BTreeMap::new(),
        runtime_options: None,
        runtime_flags: Vec::new(),
        service_url: "pulsar://127.0.0.1:6650".to_owned(),
        admin_url: "http://127.0.0.1:8080".to_owned(),
        cluster: "standalone".to_owned(),
    }
}
