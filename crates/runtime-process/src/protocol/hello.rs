//! The first thing a child is told: the whole function.

use functions::{
    runtime::InstanceSpec,
    spec::{Code, InputConfig, Span},
};
use serde_json::{Value, json};

use super::{FRAME_BYTES_MAX, VERSION};

/// The object as the page has it. It holds the secrets: never log it.
pub(crate) fn hello(instance: &InstanceSpec) -> Value {
    let function = &*instance.function;
    let inputs: serde_json::Map<String, Value> =
        function.inputs.iter().map(|(topic, config)| (topic.clone(), input(config))).collect();
    let secrets: serde_json::Map<String, Value> =
        instance.secrets.iter().map(|(name, secret)| (name.clone(), Value::from(secret.0.clone()))).collect();
    let output = &function.output;
    json!({
        "protocol": VERSION,
        "kind": function.kind,
        "tenant": function.tenant,
        "namespace": function.namespace,
        "name": function.name,
        "id": function.id,
        "version": function.version,
        "instance_id": instance.instance_id,
        "parallelism": function.parallelism,
        "cluster": function.cluster,
        "language": function.language,
        "code": match &function.code {
            Code::File(path) => json!(path.to_string_lossy()),
            Code::Builtin(name) => json!(name),
            Code::Command(words) => json!(words),
        },
        "class_name": function.class_name,
        "inputs": inputs,
        "output": {
            "topic": output.topic,
            "schema_type": output.schema_type,
            "serde_class": output.serde_class,
            "type_class": output.type_class,
            "schema_properties": output.schema_properties,
        },
        "subscription": function.subscription,
        "subscription_type": function.subscription_type.name(),
        "guarantee": function.guarantee,
        "auto_ack": function.auto_ack,
        "timeout_ms": function.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        "max_pending_async": function.max_pending_async,
        "window": function.window.as_ref().map(|window| json!({
            "length_count": count(window.length), "length_ms": millis(window.length),
            "slide_count": count(window.slide), "slide_ms": millis(window.slide),
            "event_time": window.event_time, "timestamp_extractor": window.timestamp_extractor,
        })),
        "log_topic": function.log_topic,
        "forward_source_properties": function.forward_source_properties,
        "user_config": function.user_config,
        "secrets": secrets,
        "runtime_options": function.runtime_options,
        "runtime_flags": function.runtime_flags,
        "service_url": function.service_url,
        "admin_url": function.admin_url,
        "work_dir": instance.work_dir.to_string_lossy(),
        "frame_bytes_max": FRAME_BYTES_MAX,
    })
}

fn input(config: &InputConfig) -> Value {
    json!({
        "is_pattern": config.is_pattern,
        "schema_type": config.schema_type,
        "serde_class": config.serde_class,
        "type_class": config.type_class,
        "schema_properties": config.schema_properties,
        "consumer_properties": config.consumer_properties,
    })
}

fn count(span: Span) -> Option<u64> {
    match span {
        Span::Count(count) => Some(count),
        Span::Time(_) => None,
    }
}

fn millis(span: Span) -> Option<u64> {
    match span {
        Span::Count(_) => None,
        Span::Time(time) => Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}
