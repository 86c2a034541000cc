//! A spec of Function Mesh to what the worker takes.
//!
//! Which field becomes which: Function Mesh's `controllers/spec/utils.go` and `function.go`, its webhooks' defaults in
//! `pkg/webhook/function_webhook.go`, and Pulsar's `FunctionConfig`, `SourceConfig` and `SinkConfig`. Nothing is lost: what has no
//! place there is in [`Node::kept`](crate::Node::kept).

mod code;
pub(crate) mod env;
mod parts;
mod place;
mod places;
mod read;
mod replicas;
mod resources;
mod scaling;
mod sense;

use crate::{
    node::{CodeRef, Config, Kind, Node, Place, PulsarRef, SecretRef},
    problem::{At, Problems, quoted},
    shape,
    yaml::Value,
};
use code::{Code, Runtime};
use model::function::{BatchSourceConfig, Component, FunctionConfig, Host, SinkConfig, SourceConfig, WindowConfig};
pub(crate) use places::Places;
use read::{choice, flag, int, int_above_0, map, text};
use std::collections::BTreeSet;

/// What a spec is called by what is around it.
pub(crate) struct Around<'a> {
    /// The FunctionMesh it is part of.
    pub(crate) mesh: Option<&'a str>,
    /// `metadata.name`, where it stands alone.
    pub(crate) object: Option<&'a str>,
    /// Where it begins.
    pub(crate) at: At,
    /// Where what is around it has its name.
    pub(crate) name_at: At,
    /// Paths within the spec of what could not be read.
    pub(crate) misread: &'a BTreeSet<String>,
}

/// The node of a spec, mistakes included: all are told, and what could be read is there for those who look further.
pub(crate) fn node(kind: Kind, spec: &Value, around: &Around<'_>, problems: &mut Problems) -> Node {
    let code = code::code(spec, problems);
    let name = text(spec, "name").or_else(|| around.object.map(str::to_owned));
    let config = match kind {
        Kind::Function => Config::Function(function(spec, name, code.as_ref(), problems)),
        Kind::Source => Config::Source(source(spec, name, code.as_ref(), problems)),
        Kind::Sink => Config::Sink(sink(spec, name, code.as_ref(), problems)),
    };
    if code.is_none() && kind == Kind::Function && !around.misread.iter().any(|path| is_code(path)) {
        problems.error(around.at, "there is no code: one of java, python, golang and genericRuntime is required");
    }
    let config = match config {
        Config::Function(config) => Config::Function(finished(config, kind, spec, around, problems)),
        Config::Source(config) => Config::Source(finished(config, kind, spec, around, problems)),
        Config::Sink(config) => Config::Sink(finished(config, kind, spec, around, problems)),
    };
    resources::check(spec, problems);
    sense::check(spec, &config, problems);
    let replicas = replicas::read(kind, spec, problems);
    let mut node = Node {
        mesh: around.mesh.map(str::to_owned),
        object: String::new(),
        config,
        code: builtin(kind, spec).or_else(|| code.map(|code| code.at)),
        replicas: replicas.replicas,
        scaling: replicas.scaling,
        limits: parts::allowed(spec),
        env: env::read(spec, problems),
        secrets: secrets(spec),
        pulsar: pulsar(spec),
        kept: shape::kept(spec, shape::spec_of(kind)),
        origin: around.at,
    };
    node.object = match (around.object, around.mesh) {
        (Some(object), _) => object.to_owned(),
        (None, Some(mesh)) => format!("{mesh}-{}", node.local_name()),
        (None, None) => node.local_name().to_owned(),
    };
    let name_at = place::at(spec, &["name".to_owned()], around.name_at);
    sense::object_name(&node.object, around.mesh.is_some(), name_at, problems);
    node
}

/// The configuration with its defaults, checked, in its normal form.
fn finished<C: Component>(mut config: C, kind: Kind, spec: &Value, around: &Around<'_>, problems: &mut Problems) -> C {
    config.fill_defaults();
    for problem in config.validate(Host::Geminga).err().into_iter().flatten() {
        let path = place::path(kind, &problem.field, spec);
        if !place::is_excused(&path, &problem.field, spec, around) {
            let start = if path[..] == ["name"] { around.name_at } else { around.at };
            problems.error(place::at(spec, &path, start), problem.message);
        }
    }
    config.normalized()
}

fn function(spec: &Value, name: Option<String>, code: Option<&Code>, problems: &mut Problems) -> FunctionConfig {
    let inputs = parts::inputs(spec);
    let output = spec.get("output");
    let of_output = |field| output.and_then(|output| text(output, field));
    let window = spec.get("windowConfig");
    let class_name = text(spec, "className");
    // The operator runs the user's class within the executor of windows; here the function itself is a window.
    let actual = window.and_then(|window| text(window, "actualWindowFunctionClassName"));
    let mut config = FunctionConfig {
        tenant: text(spec, "tenant"),
        namespace: text(spec, "namespace"),
        name,
        class_name: actual.or(class_name),
        inputs: inputs.topics,
        topics_pattern: inputs.pattern,
        input_specs: inputs.specs,
        input_type_class_name: spec.get("input").and_then(|input| text(input, "typeClassName")),
        output: of_output("topic"),
        output_type_class_name: of_output("typeClassName"),
        output_serde_class_name: of_output("sinkSerdeClassName"),
        output_schema_type: of_output("sinkSchemaType"),
        custom_schema_outputs: output.and_then(|output| read::text_map(output, "customSchemaSinks")),
        producer_config: parts::producer(output),
        log_topic: text(spec, "logTopic"),
        log_level: code.and_then(|code| code.log_level(true)),
        processing_guarantees: parts::guarantees(spec),
        retain_ordering: flag(spec, "retainOrdering"),
        retain_key_ordering: flag(spec, "retainKeyOrdering"),
        forward_source_message_property: flag(spec, "forwardSourceMessageProperty"),
        user_config: map(spec, "funcConfig"),
        secrets: parts::secrets(spec),
        auto_ack: flag(spec, "autoAck"),
        max_message_retries: int_above_0(spec, "maxMessageRetry"),
        dead_letter_topic: text(spec, "deadLetterTopic"),
        sub_name: text(spec, "subscriptionName"),
        parallelism: replicas::parallelism(spec),
        resources: parts::resources(spec),
        window_config: window.map(window_config),
        timeout_ms: int_above_0(spec, "timeout"),
        cleanup_subscription: Some(flag(spec, "cleanupSubscription").unwrap_or(false)),
        max_pending_async_requests: int(spec, "maxPendingAsyncRequests"),
        skip_to_latest: flag(spec, "skipToLatest"),
        subscription_position: parts::position(spec).or(Some(model::InitialPosition::Latest)),
        runtime_flags: text(spec, "runtimeFlags"),
        ..FunctionConfig::default()
    };
    if config.processing_guarantees.is_none() {
        let guarantees = window.and_then(|window| text(window, "processingGuarantees"));
        config.processing_guarantees = guarantees.as_deref().and_then(choice);
    }
    for field in ["sourceConfig", "sinkConfig"] {
        if let Some(entry) = spec.entry(field).filter(|entry| !entry.value.is_null()) {
            let text = format!(
                "{field}: a function with a connector of its own is not run here; put a source or sink beside it"
            );
            problems.warning(entry.at, text);
        }
    }
    if let Some(code) = code {
        config.runtime_flags = code.runtime_flags(config.runtime_flags.take());
        let location = Some(code.location());
        match code.runtime {
            Runtime::Java => config.jar = location,
            Runtime::Python => config.py = location,
            Runtime::Go => config.go = location,
            Runtime::Wasm => config.wasm = location,
            Runtime::Executable | Runtime::Nodejs => config.exec = Some(code.command()),
        }
        if code.runtime == Runtime::Nodejs {
            let at = place::at(spec, &["genericRuntime".to_owned(), "language".to_owned()], spec.at);
            let text = "nodejs: the file is run as a program that speaks the process protocol; its first line must be \
                        #!/usr/bin/env node";
            problems.warning(at, text);
        }
    }
    config
}

fn window_config(window: &Value) -> WindowConfig {
    WindowConfig {
        window_length_count: int(window, "windowLengthCount"),
        window_length_duration_ms: int(window, "windowLengthDurationMs"),
        sliding_interval_count: int(window, "slidingIntervalCount"),
        sliding_interval_duration_ms: int(window, "slidingIntervalDurationMs"),
        late_data_topic: text(window, "lateDataTopic"),
        max_lag_ms: int(window, "maxLagMs"),
        watermark_emit_interval_ms: int(window, "watermarkEmitIntervalMs"),
        timestamp_extractor_class_name: text(window, "timestampExtractorClassName"),
        actual_window_function_class_name: text(window, "actualWindowFunctionClassName"),
        processing_guarantees: text(window, "processingGuarantees").as_deref().and_then(choice),
    }
}

fn source(spec: &Value, name: Option<String>, code: Option<&Code>, problems: &mut Problems) -> SourceConfig {
    let output = spec.get("output");
    let of_output = |field| output.and_then(|output| text(output, field));
    let source_type = connector(spec, "sourceType");
    SourceConfig {
        tenant: text(spec, "tenant"),
        namespace: text(spec, "namespace"),
        name,
        class_name: text(spec, "className"),
        topic_name: of_output("topic"),
        producer_config: parts::producer(output),
        serde_class_name: of_output("sinkSerdeClassName"),
        schema_type: of_output("sinkSchemaType"),
        configs: map(spec, "sourceConfig"),
        secrets: parts::secrets(spec),
        parallelism: replicas::parallelism(spec),
        processing_guarantees: parts::guarantees(spec),
        resources: parts::resources(spec),
        archive: archive(spec, "sourceType", code, problems),
        source_type,
        runtime_flags: flags(spec, code),
        batch_source_config: spec.get("batchSourceConfig").map(|batch| BatchSourceConfig {
            discovery_triggerer_class_name: text(batch, "discoveryTriggererClassName"),
            discovery_triggerer_config: map(batch, "discoveryTriggererConfig"),
        }),
        log_topic: text(spec, "logTopic"),
        log_level: code.and_then(|code| code.log_level(false)),
        ..SourceConfig::default()
    }
}

fn sink(spec: &Value, name: Option<String>, code: Option<&Code>, problems: &mut Problems) -> SinkConfig {
    let inputs = parts::inputs(spec);
    let sink_type = connector(spec, "sinkType");
    SinkConfig {
        tenant: text(spec, "tenant"),
        namespace: text(spec, "namespace"),
        name,
        class_name: text(spec, "className"),
        source_subscription_name: text(spec, "subscriptionName"),
        source_subscription_position: parts::position(spec).or(Some(model::InitialPosition::Latest)),
        inputs: inputs.topics,
        topics_pattern: inputs.pattern,
        input_specs: inputs.specs,
        max_message_retries: int_above_0(spec, "maxMessageRetry"),
        dead_letter_topic: text(spec, "deadLetterTopic"),
        configs: map(spec, "sinkConfig"),
        secrets: parts::secrets(spec),
        parallelism: replicas::parallelism(spec),
        processing_guarantees: parts::guarantees(spec),
        retain_ordering: flag(spec, "retainOrdering"),
        retain_key_ordering: flag(spec, "retainKeyOrdering"),
        resources: parts::resources(spec),
        auto_ack: flag(spec, "autoAck"),
        timeout_ms: int_above_0(spec, "timeout"),
        negative_ack_redelivery_delay_ms: int_above_0(spec, "negativeAckRedeliveryDelayMs"),
        archive: archive(spec, "sinkType", code, problems),
        sink_type,
        cleanup_subscription: Some(flag(spec, "cleanupSubscription").unwrap_or(false)),
        runtime_flags: flags(spec, code),
        log_topic: text(spec, "logTopic"),
        log_level: code.and_then(|code| code.log_level(false)),
        ..SinkConfig::default()
    }
}

fn flags(spec: &Value, code: Option<&Code>) -> Option<String> {
    let given = text(spec, "runtimeFlags");
    match code {
        Some(code) => code.runtime_flags(given),
        None => given,
    }
}

/// The connector's file, where it is none that the server has.
fn archive(spec: &Value, built_in: &str, code: Option<&Code>, problems: &mut Problems) -> Option<String> {
    if let Some(value) =
        spec.get(built_in).filter(|_| text(spec, built_in).is_some() && connector(spec, built_in).is_none())
    {
        let text =
            format!("{built_in} names a connector the server has; {} is a type and is passed over", value.described());
        problems.warning(value.at, text);
    }
    let code = code?;
    if let Some(name) = spec.get(built_in).filter(|_| connector(spec, built_in).is_some()) {
        if code.location() != format!("builtin://{}", name.text().unwrap_or_default()) {
            let text =
                format!("{built_in} names a connector the server has, so {} is not used", quoted(&code.at.location));
            problems.note(name.at, text);
        }
        return None;
    }
    Some(code.location())
}

/// The name of a connector the server has. In manifests of before 2021 the same field is a type, such as `[B`.
fn connector(spec: &Value, field: &str) -> Option<String> {
    text(spec, field).filter(|name| !name.contains(['.', '[']))
}

fn builtin(kind: Kind, spec: &Value) -> Option<CodeRef> {
    let field = match kind {
        Kind::Function => return None,
        Kind::Source => "sourceType",
        Kind::Sink => "sinkType",
    };
    connector(spec, field).map(|name| CodeRef { place: Place::Builtin, location: name, file: None, digest: None })
}

fn secrets(spec: &Value) -> std::collections::BTreeMap<String, SecretRef> {
    let entries = spec.get("secretsMap").map(Value::entries).unwrap_or_default();
    let place = |value: &Value| SecretRef {
        path: text(value, "path").unwrap_or_default(),
        key: text(value, "key").unwrap_or_default(),
    };
    entries.iter().map(|entry| (entry.name.clone(), place(&entry.value))).collect()
}

fn pulsar(spec: &Value) -> Option<PulsarRef> {
    let pulsar = spec.get("pulsar")?;
    Some(PulsarRef {
        config_map: text(pulsar, "pulsarConfig").unwrap_or_default(),
        auth_secret: text(pulsar, "authSecret"),
        tls_secret: text(pulsar, "tlsSecret"),
        ..PulsarRef::default()
    })
}

/// Whether this path is code's, so that code is missing because it could not be read.
fn is_code(path: &str) -> bool {
    let first = path.split('.').next().unwrap_or_default();
    matches!(first, "java" | "python" | "golang" | "genericRuntime")
}
