//! From a configuration to a [`FunctionSpec`]: nothing is left to decide afterwards.
//!
//! Source: Pulsar's `FunctionConfigUtils.convert`, `SourceConfigUtils.convert` and `SinkConfigUtils.convert`.

use model::{
    TopicName,
    function::{
        BATCH_SOURCE_CLASS_KEY, BATCH_SOURCE_CONFIG_KEY, BatchSourceConfig, Compression as Compressed, ConsumerConfig,
        FunctionConfig, Guarantees, ProducerConfig, Resources, Runtime, SinkConfig, SourceConfig, WindowConfig,
    },
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{Config, Name, Row, Settings, outbox};
use crate::{
    Code, Error, FunctionSpec, Kind, Language, Result,
    event_log::Compression,
    spec::{Guarantee, InputConfig, Limits, OutputConfig, Span, WindowSpec},
};

/// What instances of a row are made of, with its code at hand.
pub(super) fn spec(row: &Row, code: Code, settings: &Settings) -> Result<FunctionSpec> {
    let blank = FunctionSpec {
        id: row.id.clone(),
        version: row.version,
        service_url: settings.service_url.clone(),
        admin_url: settings.admin_url.clone(),
        cluster: settings.cluster.clone(),
        ..blank(row.config.kind(), &row.name(), code)
    };
    let spec = filled(&row.config, blank)?;
    let limits = row.limits.as_ref().map_or(spec.limits, |allowed| limits(Some(allowed)));
    let (requests, limits) = match &row.size {
        Some(size) => (sized(spec.requests, &size.requests), sized(limits, &size.limits)),
        None => (spec.requests, limits),
    };
    Ok(FunctionSpec { parallelism: row.instances(), requests, limits, ..spec })
}

/// A function that was not deployed here: somebody starts an instance of it, and says all there is to know.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its configuration, in its normal form.
    pub config: Config,
    /// What its code is, whatever the configuration says.
    pub language: Language,
    /// Where its code is.
    pub code: Code,
    /// Made when it was created.
    pub id: String,
    /// Rises with each update.
    pub version: u64,
    /// Where clients of the broker connect to.
    pub service_url: String,
    /// The broker's REST address.
    pub admin_url: String,
    /// Name of the cluster.
    pub cluster: String,
}

impl Foreign {
    /// What an instance of it is made of.
    ///
    /// # Errors
    /// [`Error::Invalid`]: its name or its configuration makes no sense.
    pub fn resolve(self) -> Result<FunctionSpec> {
        let blank = FunctionSpec {
            id: self.id,
            version: self.version,
            language: self.language,
            parallelism: self.config.parallelism(),
            service_url: self.service_url,
            admin_url: self.admin_url,
            cluster: self.cluster,
            ..blank(self.config.kind(), &self.config.name()?, self.code)
        };
        let spec = filled(&self.config, blank)?;
        if let Some(there) = &spec.elsewhere {
            return Err(Error::Invalid(format!(
                "customRuntimeOptions: outputCluster {}: only a worker within a broker forwards to another cluster",
                there.cluster
            )));
        }
        Ok(spec)
    }
}

fn filled(config: &Config, blank: FunctionSpec) -> Result<FunctionSpec> {
    match config {
        Config::Function(config) => function(config, blank),
        Config::Source(config) => source(config, blank),
        Config::Sink(config) => sink(config, blank),
    }
}

/// The complete name of a topic.
pub(super) fn complete(topic: &str) -> Result<String> {
    self::topic(topic).map(|topic| topic.to_string())
}

/// A topic by its name.
pub(super) fn topic(topic: &str) -> Result<TopicName> {
    topic.parse().map_err(|error| Error::Invalid(format!("topic {topic:?}: {error}")))
}

/// What does not depend on the kind, and for the rest what a kind that has none of it has.
fn blank(kind: Kind, name: &Name, code: Code) -> FunctionSpec {
    FunctionSpec::new(kind, &name.tenant, &name.namespace, &name.name, code)
}

fn function(config: &FunctionConfig, blank: FunctionSpec) -> Result<FunctionSpec> {
    let language = match (&blank.code, config.runtime) {
        _ if blank.language != Language::Builtin => blank.language,
        (Code::Builtin(_), _) => Language::Builtin,
        (_, Some(Runtime::Java)) => Language::Java,
        (_, Some(Runtime::Python)) => Language::Python,
        (_, Some(Runtime::Go)) => Language::Go,
        (_, Some(Runtime::Wasm)) => Language::Wasm,
        (_, Some(Runtime::Process)) => Language::Process,
        (_, None) => return Err(Error::Invalid("no runtime is given, and no code of which it follows".to_owned())),
    };
    let schema = config.output_schema();
    let mut output = output(config.resolved_output(), config.producer_config.as_ref());
    output.schema_type = first(&config.output_schema_type, &schema.schema_type);
    output.serde_class = first(&config.output_serde_class_name, &schema.serde_class_name);
    output.type_class = config.output_type_class_name.clone().unwrap_or_default();
    output.schema_properties = schema.schema_properties;
    let (cluster, runtime_options) = outbox::option(config.custom_runtime_options.clone())?;
    let spec = FunctionSpec {
        language,
        class_name: config.class_name.clone().unwrap_or_default(),
        guarantee: guarantee(config.processing_guarantees),
        inputs: inputs(config.resolved_inputs(), config.input_type_class_name.as_deref(), config.timeout_ms)?,
        output,
        subscription: config.subscription_name(),
        subscription_type: config.subscription_type(),
        initial_position: config.subscription_position.unwrap_or(model::InitialPosition::Latest),
        skip_to_latest: config.skip_to_latest.unwrap_or_default(),
        cleanup_subscription: config.cleanup_subscription.unwrap_or(true),
        auto_ack: config.auto_ack.unwrap_or(true),
        max_message_retries: not_negative(config.max_message_retries),
        dead_letter_topic: optional_topic(config.dead_letter_topic.as_deref())?,
        log_topic: optional_topic(config.log_topic.as_deref())?,
        timeout: millis(config.timeout_ms),
        max_pending_async: not_negative(config.max_pending_async_requests).unwrap_or(1000),
        forward_source_properties: config.forward_source_message_property.unwrap_or(true),
        window: config.window_config.as_ref().map(window).transpose()?,
        requests: limits(config.resources.as_ref()),
        limits: limits(config.resources.as_ref()),
        user_config: config.user_config.clone().unwrap_or_default(),
        secrets: secrets(config.secrets.as_ref()),
        runtime_options,
        runtime_flags: words(config.runtime_flags.as_deref())?,
        ..blank
    };
    match cluster {
        Some(cluster) => outbox::elsewhere(cluster, spec),
        None => Ok(spec),
    }
}

fn source(config: &SourceConfig, blank: FunctionSpec) -> Result<FunctionSpec> {
    let mut output = output(config.resolved_output(), config.producer_config.as_ref());
    output.schema_type = config.schema_type.clone().unwrap_or_default();
    output.serde_class = config.serde_class_name.clone().unwrap_or_default();
    let spec = FunctionSpec {
        language: language_of(&blank)?,
        class_name: config.class_name.clone().unwrap_or_default(),
        guarantee: guarantee(config.processing_guarantees),
        output,
        log_topic: optional_topic(config.log_topic.as_deref())?,
        requests: limits(config.resources.as_ref()),
        limits: limits(config.resources.as_ref()),
        user_config: config.configs.clone().unwrap_or_default(),
        secrets: secrets(config.secrets.as_ref()),
        runtime_options: config.custom_runtime_options.clone(),
        runtime_flags: words(config.runtime_flags.as_deref())?,
        ..blank
    };
    match &config.batch_source_config {
        Some(batch) => batch_source(batch, spec),
        None => Ok(spec),
    }
}

/// Its instances share what one of them discovers: messages of a topic of its own, which is their input. One at a time, since each may be
/// a lot of work. Source: Pulsar's `SourceConfigUtils.convert` and `BatchSourceExecutor`.
fn batch_source(batch: &BatchSourceConfig, spec: FunctionSpec) -> Result<FunctionSpec> {
    if spec.language != Language::Java {
        return Err(Error::Invalid(
            "batchSourceConfig is for sources in Java: others look for work whenever they like".to_owned(),
        ));
    }
    let tasks = format!("persistent://{}-intermediate", spec.fqfn());
    let input = InputConfig { receiver_queue_size: Some(1), ..InputConfig::default() };
    let mut user_config = spec.user_config.clone();
    let text = serde_json::to_string(batch).map_err(|error| Error::Invalid(format!("batchSourceConfig: {error}")))?;
    user_config.insert(BATCH_SOURCE_CONFIG_KEY.to_owned(), text.into());
    user_config.insert(BATCH_SOURCE_CLASS_KEY.to_owned(), spec.class_name.clone().into());
    Ok(FunctionSpec {
        subscription: format!("BatchSourceExecutor-{}", spec.fqfn()),
        initial_position: model::InitialPosition::Earliest,
        inputs: [(tasks, input)].into(),
        user_config,
        ..spec
    })
}

fn sink(config: &SinkConfig, blank: FunctionSpec) -> Result<FunctionSpec> {
    if config.transform_function.is_some() {
        return Err(Error::Invalid(
            "transformFunction is not supported: put a function before the sink, with a topic between them".to_owned(),
        ));
    }
    Ok(FunctionSpec {
        language: language_of(&blank)?,
        class_name: config.class_name.clone().unwrap_or_default(),
        guarantee: guarantee(config.processing_guarantees),
        inputs: inputs(config.resolved_inputs(), None, config.negative_ack_redelivery_delay_ms)?,
        subscription: config.subscription_name(),
        subscription_type: config.subscription_type(),
        initial_position: config.source_subscription_position.unwrap_or(model::InitialPosition::Latest),
        cleanup_subscription: config.cleanup_subscription.unwrap_or(true),
        auto_ack: config.auto_ack.unwrap_or(true),
        max_message_retries: not_negative(config.max_message_retries),
        dead_letter_topic: optional_topic(config.dead_letter_topic.as_deref())?,
        log_topic: optional_topic(config.log_topic.as_deref())?,
        timeout: millis(config.timeout_ms),
        requests: limits(config.resources.as_ref()),
        limits: limits(config.resources.as_ref()),
        user_config: config.configs.clone().unwrap_or_default(),
        secrets: secrets(config.secrets.as_ref()),
        runtime_options: config.custom_runtime_options.clone(),
        runtime_flags: words(config.runtime_flags.as_deref())?,
        ..blank
    })
}

/// A connector has no field that says its language: the name of its file does.
fn language_of(blank: &FunctionSpec) -> Result<Language> {
    let path = match &blank.code {
        _ if blank.language != Language::Builtin => return Ok(blank.language),
        Code::Builtin(_) => return Ok(Language::Builtin),
        Code::Command(_) => return Ok(Language::Process),
        Code::File(path) => path,
    };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("py" | "whl" | "zip") => Ok(Language::Python),
        Some("jar" | "nar") => Ok(Language::Java),
        Some("wasm" | "cwasm") => Ok(Language::Wasm),
        None => Ok(Language::Process),
        Some(_) => Err(Error::Invalid(format!(
            "{} is no connector: .py, .whl, .zip, .jar, .nar, .wasm and programs without an extension are",
            path.file_name().map(Path::new).unwrap_or(path).display()
        ))),
    }
}

/// How inputs are read. `delay_ms` as the function or sink itself says, which wins over what an input does: of a function it is the
/// timeout. Source: `FunctionConfigUtils.convert`, `PulsarSource.createConsumeBuilder`.
fn inputs(
    configured: BTreeMap<String, ConsumerConfig>,
    type_class: Option<&str>,
    delay_ms: Option<i64>,
) -> Result<BTreeMap<String, InputConfig>> {
    let input = |topic: String, config: ConsumerConfig| {
        let properties = config.properties().map_err(|wrong| {
            let wrong: Vec<_> = wrong.iter().map(|(name, why)| format!("consumerProperties: {name} {why}")).collect();
            Error::Invalid(wrong.join("\n"))
        })?;
        let input = InputConfig {
            is_pattern: config.regex_pattern,
            schema_type: config.schema_type.unwrap_or_default(),
            serde_class: config.serde_class_name.unwrap_or_default(),
            type_class: type_class.unwrap_or_default().to_owned(),
            schema_properties: config.schema_properties,
            consumer_properties: config.consumer_properties,
            idle_properties: [properties.without_effect, properties.unknown].concat(),
            receiver_queue_size: not_negative(config.receiver_queue_size.or(properties.receiver_queue_size)),
            redelivery_delay: millis(delay_ms).or(properties.redelivery_delay),
            consumer_name: properties.consumer_name,
            initial_position: properties.initial_position,
        };
        Ok((topic, input))
    };
    configured.into_iter().map(|(topic, config)| input(topic, config)).collect()
}

fn output(topic: Option<String>, producer: Option<&ProducerConfig>) -> OutputConfig {
    let compression = producer.and_then(|producer| producer.compression_type).unwrap_or(Compressed::Lz4);
    OutputConfig {
        topic: topic.filter(|topic| !topic.is_empty()),
        batch_by_key: producer.and_then(|producer| producer.batch_builder.as_deref()) == Some("KEY_BASED"),
        compression: match compression {
            Compressed::None => Compression::None,
            Compressed::Lz4 => Compression::Lz4,
            Compressed::Zlib => Compression::Zlib,
            Compressed::Zstd => Compression::Zstd,
            Compressed::Snappy => Compression::Snappy,
        },
        ..OutputConfig::default()
    }
}

fn window(config: &WindowConfig) -> Result<WindowSpec> {
    let span = |count: Option<i32>, ms: Option<i64>| match (count, ms) {
        (Some(count), _) => u64::try_from(count).ok().map(Span::Count),
        (None, ms) => millis(ms).map(Span::Time),
    };
    let length = span(config.window_length_count, config.window_length_duration_ms)
        .ok_or_else(|| Error::Invalid("a window has a length: a count or a duration".to_owned()))?;
    Ok(WindowSpec {
        length,
        slide: span(config.sliding_interval_count, config.sliding_interval_duration_ms).unwrap_or(length),
        event_time: config.timestamp_extractor_class_name.is_some(),
        timestamp_extractor: config.timestamp_extractor_class_name.clone(),
        max_lag: millis(config.max_lag_ms).unwrap_or_default(),
        watermark_interval: millis(config.watermark_emit_interval_ms).unwrap_or(Duration::from_secs(1)),
        late_data_topic: optional_topic(config.late_data_topic.as_deref())?,
    })
}

fn guarantee(configured: Option<Guarantees>) -> Guarantee {
    match configured {
        None | Some(Guarantees::AtLeastOnce) => Guarantee::AtleastOnce,
        Some(Guarantees::AtMostOnce) => Guarantee::AtmostOnce,
        Some(Guarantees::EffectivelyOnce) => Guarantee::EffectivelyOnce,
        Some(Guarantees::Manual) => Guarantee::Manual,
    }
}

fn limits(resources: Option<&Resources>) -> Limits {
    let bytes = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
    resources.map_or_else(Limits::default, |resources| Limits {
        cpu: resources.cpu,
        ram_bytes: bytes(resources.ram),
        disk_bytes: bytes(resources.disk),
    })
}

/// With what was found out to be better.
fn sized(declared: Limits, size: &autoscale::vpa::Resources) -> Limits {
    let bytes = size.memory.as_ref().and_then(|memory| u64::try_from(memory.value()).ok());
    Limits {
        cpu: size.cpu.as_ref().map(autoscale::Quantity::as_f64).or(declared.cpu),
        ram_bytes: bytes.or(declared.ram_bytes),
        ..declared
    }
}

fn secrets(configured: Option<&Map<String, Value>>) -> BTreeMap<String, Value> {
    configured.into_iter().flatten().map(|(name, place)| (name.clone(), place.clone())).collect()
}

fn words(flags: Option<&str>) -> Result<Vec<String>> {
    model::function::split_words(flags.unwrap_or_default())
        .map_err(|error| Error::Invalid(format!("runtimeFlags: {error}")))
}

fn optional_topic(name: Option<&str>) -> Result<Option<String>> {
    name.filter(|name| !name.is_empty()).map(complete).transpose()
}

fn first(a: &Option<String>, b: &Option<String>) -> String {
    a.clone().filter(|text| !text.is_empty()).or_else(|| b.clone()).unwrap_or_default()
}

fn not_negative(number: Option<i32>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

fn millis(ms: Option<i64>) -> Option<Duration> {
    ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn batch_source(archive: &str) -> Result<FunctionSpec> {
        let batch = BatchSourceConfig {
            discovery_triggerer_class_name: Some("acme.Trigger".to_owned()),
            discovery_triggerer_config: json!({"y": 2}).as_object().cloned(),
        };
        let config = SourceConfig {
            topic_name: Some("out".to_owned()),
            configs: json!({"x": 1}).as_object().cloned(),
            batch_source_config: Some(batch),
            ..SourceConfig::default()
        };
        let name = Name { tenant: "t".to_owned(), namespace: "n".to_owned(), name: "s".to_owned() };
        source(&config, blank(Kind::Source, &name, Code::File(archive.into())))
    }

    #[test]
    fn a_batch_source_reads_its_tasks_one_at_a_time_where_pulsar_keeps_them() {
        let spec = batch_source("pages.jar").unwrap();
        let (topic, input) = spec.inputs.first_key_value().unwrap();
        assert_eq!(topic, "persistent://t/n/s-intermediate");
        assert_eq!((input.receiver_queue_size, spec.inputs.len()), (Some(1), 1));
        assert_eq!(spec.subscription, "BatchSourceExecutor-t/n/s");
        assert_eq!(spec.subscription_type, model::SubscriptionType::Shared);
        assert_eq!(spec.user_config["x"], 1);
        let batch: Value = serde_json::from_str(spec.user_config[BATCH_SOURCE_CONFIG_KEY].as_str().unwrap()).unwrap();
        assert_eq!(batch["discoveryTriggererClassName"], "acme.Trigger");
        assert_eq!(batch["discoveryTriggererConfig"], json!({"y": 2}));
    }

    #[test]
    fn a_batch_source_is_in_java() {
        for archive in ["pages.py", "pages.wasm", "pages"] {
            assert!(batch_source(archive).unwrap_err().to_string().contains("for sources in Java"), "{archive}");
        }
    }
}
