//! Stand-ins for what surrounds a function, for tests: tables and topics in memory, a runtime that gives back what it gets.

mod log;
mod runtime;
mod tables;

pub use log::MemoryLog;
pub use runtime::{Echo, Refuses, Toil};
pub use tables::MemoryTables;

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    FunctionSpec, Kind, Language,
    spec::{Code, InputConfig, OutputConfig},
};

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
