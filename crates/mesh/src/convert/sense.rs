//! What contradicts itself or means less than it says, where the worker's own checks have nothing against it.

use crate::{
    node::{Config, Kind},
    problem::{Problems, quoted},
    shape::is_object_name,
    yaml::Value,
};
use model::function::Guarantees;

/// Characters the operator allows a resource's name. Source: `maxNameLength` in `pkg/webhook/common.go`.
const OBJECT_NAME_MAX: usize = 43;

pub(super) fn check(spec: &Value, config: &Config, problems: &mut Problems) {
    let at = |field: &str| spec.get(field).map_or(spec.at, |value| value.at);
    let (guarantees, kind) = match config {
        Config::Function(config) => (config.processing_guarantees, Kind::Function),
        Config::Source(config) => (config.processing_guarantees, Kind::Source),
        Config::Sink(config) => (config.processing_guarantees, Kind::Sink),
    };
    if guarantees == Some(Guarantees::Manual) {
        if spec.get("autoAck").and_then(Value::bool) == Some(true) {
            problems.error(
                at("autoAck"),
                "autoAck: true contradicts processingGuarantee manual, where the function acknowledges",
            );
        }
        if kind == Kind::Sink {
            problems.note(at("processingGuarantee"), "manual: the sink itself acknowledges each record");
        }
    }
    if let Some(entry) = spec.entry("kafka").filter(|entry| !entry.value.is_null()) {
        problems.warning(entry.at, "kafka: topics are Geminga's here, not a Kafka cluster's");
    }
    for field in ["funcConfig", "sourceConfig", "sinkConfig"] {
        if let Some(config) = spec.get(field) {
            twice(field, config, problems);
        }
    }
}

/// A thing chosen by its name and by its class: the code takes one of them, and nobody who reads the manifest knows which. The
/// talk's prime search has `strategy` and `strategyClassName`.
fn twice(field: &str, config: &Value, problems: &mut Problems) {
    for entry in config.entries() {
        if let Some(name) = entry.name.strip_suffix("ClassName").filter(|name| !name.is_empty())
            && config.get(name).is_some()
            && !entry.value.is_null()
        {
            let (name, class) = (quoted(name), quoted(&entry.name));
            problems.warning(
                entry.at,
                format!("{field} has both {name} and {class}: one of them is not used; keep the one that is meant"),
            );
        }
    }
}

/// A name that Kubernetes or its operator refuses. Where it stands alone its shape was told of already.
pub(super) fn object_name(object: &str, is_of_mesh: bool, at: crate::At, problems: &mut Problems) {
    if is_of_mesh && !is_object_name(object) {
        let text = format!("on Kubernetes it is called \"{}\", which is no name of a resource there", quoted(object));
        problems.warning(at, text);
    }
    let length = object.chars().count();
    if length > OBJECT_NAME_MAX {
        let text = format!(
            "{} has {length} characters; on Kubernetes the operator takes {OBJECT_NAME_MAX} at most",
            quoted(object)
        );
        problems.warning(at, text);
    }
}
