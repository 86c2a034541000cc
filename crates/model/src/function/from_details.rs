//! `FunctionDetails` read back: an instance that is started with `--function_details` knows nothing else of its function.
//!
//! Source: `Function.proto`; `convertFromDetails` of `FunctionConfigUtils`, `SourceConfigUtils`, `SinkConfigUtils`;
//! `InstanceUtils.calculateSubjectType`. Protobuf's JSON leaves out what is zero, empty or false, and may write an enum as
//! its name or its number, a 64-bit integer as a text or a number.

use super::{
    CONFIG_BYTES_MAX,
    component::Component,
    config::{FunctionConfig, Guarantees, Runtime},
    consumer::{ConsumerConfig, PayloadProcessorConfig},
    details::{BATCH_SOURCE_CLASS_KEY, BATCH_SOURCE_CONFIG_KEY, BUILTIN, IDENTITY, WINDOW_CONFIG_KEY},
    problem::Problems,
    producer::{
        BatchingConfig, Compression, ConsumerCryptoFailure, CryptoConfig, ProducerConfig, ProducerCryptoFailure,
    },
    record::{lenient, record},
    resources::Resources,
    sink::SinkConfig,
    source::SourceConfig,
    window::WindowGuarantees,
};
use crate::InitialPosition;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The configuration of a component, whichever of the three it is.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyConfig {
    /// Of a function.
    Function(Box<FunctionConfig>),
    /// Of a source.
    Source(Box<SourceConfig>),
    /// Of a sink.
    Sink(Box<SinkConfig>),
}

/// The configuration that `details`, a `FunctionDetails` as protobuf's JSON, was made of, in its normal form. What it does
/// not carry, such as where the code lies, is absent.
///
/// # Errors
/// All that is no `FunctionDetails`; unknown fields, of another version, are skipped.
pub fn from_details(details: &str) -> Result<AnyConfig, Problems> {
    let mut problems = Problems::default();
    if details.len() > CONFIG_BYTES_MAX {
        problems.add("", format!("function details are longer than {CONFIG_BYTES_MAX} bytes"));
        return Err(problems);
    }
    let value: Value = match serde_json::from_str(details) {
        Ok(value) => value,
        Err(error) => {
            problems.add("", format!("function details are no JSON: {error}"));
            return Err(problems);
        }
    };
    let details: Details = lenient(&value)?;
    let config = match details.kind(&mut problems) {
        Kind::Function => AnyConfig::Function(Box::new(function(details, &mut problems).normalized())),
        Kind::Source => AnyConfig::Source(Box::new(source(details, &mut problems).normalized())),
        Kind::Sink => AnyConfig::Sink(Box::new(sink(details, &mut problems).normalized())),
    };
    problems.or(config)
}

enum Kind {
    Function,
    Source,
    Sink,
}

record! {
    /// `FunctionDetails`.
    struct Details {
        tenant: "tenant" => Option<String>,
        namespace: "namespace" => Option<String>,
        name: "name" => Option<String>,
        class_name: "className" => Option<String>,
        log_topic: "logTopic" => Option<String>,
        log_level: "logLevel" => Option<String>,
        processing_guarantees: "processingGuarantees" => Option<String>,
        user_config: "userConfig" => Option<String>,
        secrets_map: "secretsMap" => Option<String>,
        runtime: "runtime" => Option<String>,
        auto_ack: "autoAck" => bool,
        parallelism: "parallelism" => Option<i32>,
        source: "source" => SourceSpec,
        sink: "sink" => SinkSpec,
        resources: "resources" => Option<Resources>,
        retry_details: "retryDetails" => Option<RetryDetails>,
        runtime_flags: "runtimeFlags" => Option<String>,
        component_type: "componentType" => Option<String>,
        custom_runtime_options: "customRuntimeOptions" => Option<String>,
        builtin: "builtin" => Option<String>,
        retain_ordering: "retainOrdering" => bool,
        retain_key_ordering: "retainKeyOrdering" => bool,
    }
}

record! {
    /// `SourceSpec`.
    struct SourceSpec {
        class_name: "className" => Option<String>,
        configs: "configs" => Option<String>,
        type_class_name: "typeClassName" => Option<String>,
        subscription_type: "subscriptionType" => Option<String>,
        input_specs: "inputSpecs" => BTreeMap<String, ConsumerSpec>,
        timeout_ms: "timeoutMs" => Option<i64>,
        builtin: "builtin" => Option<String>,
        subscription_name: "subscriptionName" => Option<String>,
        cleanup_subscription: "cleanupSubscription" => bool,
        subscription_position: "subscriptionPosition" => Option<String>,
        negative_ack_redelivery_delay_ms: "negativeAckRedeliveryDelayMs" => Option<i64>,
        skip_to_latest: "skipToLatest" => bool,
    }
}

record! {
    /// `SinkSpec`.
    struct SinkSpec {
        class_name: "className" => Option<String>,
        configs: "configs" => Option<String>,
        type_class_name: "typeClassName" => Option<String>,
        topic: "topic" => Option<String>,
        producer_spec: "producerSpec" => Option<ProducerSpec>,
        serde_class_name: "serDeClassName" => Option<String>,
        builtin: "builtin" => Option<String>,
        schema_type: "schemaType" => Option<String>,
        forward_source_message_property: "forwardSourceMessageProperty" => bool,
        schema_properties: "schemaProperties" => BTreeMap<String, String>,
        consumer_properties: "consumerProperties" => BTreeMap<String, String>,
    }
}

record! {
    /// `ConsumerSpec`.
    struct ConsumerSpec {
        schema_type: "schemaType" => Option<String>,
        serde_class_name: "serdeClassName" => Option<String>,
        is_regex_pattern: "isRegexPattern" => bool,
        receiver_queue_size: "receiverQueueSize" => Option<QueueSize>,
        schema_properties: "schemaProperties" => BTreeMap<String, String>,
        consumer_properties: "consumerProperties" => BTreeMap<String, String>,
        crypto_spec: "cryptoSpec" => Option<CryptoSpec>,
        payload_processor: "messagePayloadProcessorSpec" => Option<PayloadProcessorSpec>,
        pool_messages: "poolMessages" => bool,
    }
}

record! {
    /// `ConsumerSpec.ReceiverQueueSize`: a message, so that 0 can be told from nothing.
    struct QueueSize {
        value: "value" => Option<i32>,
    }
}

record! {
    /// `ProducerSpec`.
    struct ProducerSpec {
        max_pending_messages: "maxPendingMessages" => Option<i32>,
        max_pending_messages_across_partitions: "maxPendingMessagesAcrossPartitions" => Option<i32>,
        use_thread_local_producers: "useThreadLocalProducers" => bool,
        crypto_spec: "cryptoSpec" => Option<CryptoSpec>,
        batch_builder: "batchBuilder" => Option<String>,
        compression_type: "compressionType" => Option<String>,
        batching_spec: "batchingSpec" => Option<BatchingSpec>,
    }
}

record! {
    /// `CryptoSpec`.
    struct CryptoSpec {
        class_name: "cryptoKeyReaderClassName" => Option<String>,
        config: "cryptoKeyReaderConfig" => Option<String>,
        keys: "producerEncryptionKeyName" => Option<Vec<String>>,
        producer_action: "producerCryptoFailureAction" => Option<String>,
        consumer_action: "consumerCryptoFailureAction" => Option<String>,
    }
}

record! {
    /// `MessagePayloadProcessorSpec`.
    struct PayloadProcessorSpec {
        class_name: "className" => Option<String>,
        configs: "configs" => Option<String>,
    }
}

record! {
    /// `BatchingSpec`.
    struct BatchingSpec {
        enabled: "enabled" => bool,
        max_publish_delay_ms: "batchingMaxPublishDelayMs" => Option<i32>,
        switch_frequency: "roundRobinRouterBatchingPartitionSwitchFrequency" => Option<i32>,
        max_messages: "batchingMaxMessages" => Option<i32>,
        max_bytes: "batchingMaxBytes" => Option<i32>,
        batch_builder: "batchBuilder" => Option<String>,
    }
}

record! {
    /// `RetryDetails`.
    struct RetryDetails {
        max_message_retries: "maxMessageRetries" => Option<i32>,
        dead_letter_topic: "deadLetterTopic" => Option<String>,
    }
}

impl Details {
    fn kind(&self, problems: &mut Problems) -> Kind {
        let names = ["UNKNOWN", "FUNCTION", "SOURCE", "SINK"].into_iter().zip(0..);
        match chosen(self.component_type.as_deref(), "componentType", names, problems) {
            "FUNCTION" => Kind::Function,
            "SOURCE" => Kind::Source,
            "SINK" => Kind::Sink,
            // From before there was the field.
            _ if self.source.input_specs.is_empty() => Kind::Source,
            _ if self.sink.builtin.is_some() || self.sink.class_name.is_some() => Kind::Sink,
            _ => Kind::Function,
        }
    }

    fn guarantees(&self, problems: &mut Problems) -> Guarantees {
        let all = [Guarantees::AtLeastOnce, Guarantees::AtMostOnce, Guarantees::EffectivelyOnce, Guarantees::Manual];
        let name = chosen(
            self.processing_guarantees.as_deref(),
            "processingGuarantees",
            all.into_iter().map(Guarantees::name).zip(0..),
            problems,
        );
        all.into_iter().find(|guarantees| guarantees.name() == name).unwrap_or(Guarantees::AtLeastOnce)
    }
}

impl SourceSpec {
    fn position(&self, problems: &mut Problems) -> InitialPosition {
        let names = ["LATEST", "EARLIEST"].into_iter().zip(0..);
        match chosen(self.subscription_position.as_deref(), "source.subscriptionPosition", names, problems) {
            "EARLIEST" => InitialPosition::Earliest,
            _ => InitialPosition::Latest,
        }
    }
}

fn function(details: Details, problems: &mut Problems) -> FunctionConfig {
    let mut guarantees = details.guarantees(problems);
    let mut user_config: Map<String, Value> = inner(details.user_config.as_deref(), "userConfig", problems);
    let window: Option<super::WindowConfig> = user_config.remove(WINDOW_CONFIG_KEY).and_then(|window| {
        let read = lenient(&window);
        read.map_err(|wrong| wrong.into_iter().for_each(|p| problems.add("userConfig", p.message))).ok()
    });
    let mut class_name = details.class_name.clone();
    if let Some(window) = &window {
        class_name.clone_from(&window.actual_window_function_class_name);
        guarantees = match (window.processing_guarantees, guarantees) {
            (Some(WindowGuarantees::AtLeastOnce), _) => Guarantees::AtLeastOnce,
            (Some(WindowGuarantees::AtMostOnce), _) => Guarantees::AtMostOnce,
            // The function below a window is MANUAL; the one guarantee of ours that a window of Pulsar's has no name for.
            (None, Guarantees::Manual) => Guarantees::EffectivelyOnce,
            (None, others) => others,
        };
    }
    let runtimes = [("JAVA", 0), ("PYTHON", 1), ("GO", 3)].into_iter();
    let runtime = match chosen(details.runtime.as_deref(), "runtime", runtimes, problems) {
        "PYTHON" => Runtime::Python,
        "GO" => Runtime::Go,
        _ => Runtime::Java,
    };
    let (failover, key_shared) = ordering(&details.source, problems);
    let SourceSpec { timeout_ms, subscription_name, cleanup_subscription, skip_to_latest, .. } = details.source.clone();
    let sink = details.sink.clone();
    let retries = details.retry_details.clone();
    FunctionConfig {
        input_specs: Some(consumers(&details.source, problems)),
        input_type_class_name: details.source.type_class_name.clone(),
        sub_name: subscription_name,
        subscription_position: Some(details.source.position(problems)),
        skip_to_latest: skip_to_latest.then_some(true),
        timeout_ms: timeout_ms.filter(|timeout| *timeout > 0),
        cleanup_subscription: Some(cleanup_subscription),
        custom_schema_outputs: output_schema(&sink),
        producer_config: producer(sink.producer_spec, problems),
        output: sink.topic,
        output_type_class_name: sink.type_class_name,
        output_serde_class_name: sink.serde_class_name,
        output_schema_type: sink.schema_type,
        forward_source_message_property: Some(sink.forward_source_message_property),
        secrets: Some(inner(details.secrets_map.as_deref(), "secretsMap", problems)),
        max_message_retries: retries.as_ref().map(|retries| retries.max_message_retries.unwrap_or(0)),
        dead_letter_topic: retries.and_then(|retries| retries.dead_letter_topic),
        tenant: details.tenant,
        namespace: details.namespace,
        name: details.name,
        class_name,
        log_topic: details.log_topic,
        log_level: details.log_level,
        processing_guarantees: Some(guarantees),
        // Details from before there were the two have the type alone, which follows from EFFECTIVELY_ONCE as well.
        retain_ordering: Some(details.retain_ordering || (failover && guarantees != Guarantees::EffectivelyOnce)),
        retain_key_ordering: Some(details.retain_key_ordering || key_shared),
        user_config: Some(user_config),
        window_config: window,
        runtime: Some(runtime),
        auto_ack: Some(details.auto_ack),
        parallelism: details.parallelism,
        resources: details.resources,
        runtime_flags: details.runtime_flags,
        custom_runtime_options: details.custom_runtime_options,
        jar: details.builtin.map(|builtin| format!("{BUILTIN}{builtin}")),
        ..FunctionConfig::default()
    }
}

fn source(details: Details, problems: &mut Problems) -> SourceConfig {
    let guarantees = details.guarantees(problems);
    let mut configs: Map<String, Value> = inner(details.source.configs.as_deref(), "source.configs", problems);
    let mut class_name = details.source.class_name;
    let batch = configs.remove(BATCH_SOURCE_CONFIG_KEY);
    let batch_class = configs.remove(BATCH_SOURCE_CLASS_KEY);
    let batch_source_config = batch.map(|batch| inner(batch.as_str(), "source.configs", problems));
    if batch_source_config.is_some() {
        class_name = batch_class.and_then(|class| class.as_str().filter(|class| !class.is_empty()).map(str::to_owned));
    }
    SourceConfig {
        tenant: details.tenant,
        namespace: details.namespace,
        name: details.name,
        class_name,
        topic_name: details.sink.topic,
        producer_config: producer(details.sink.producer_spec, problems),
        serde_class_name: details.sink.serde_class_name,
        schema_type: details.sink.schema_type,
        configs: Some(configs),
        secrets: Some(inner(details.secrets_map.as_deref(), "secretsMap", problems)),
        parallelism: details.parallelism,
        processing_guarantees: Some(guarantees),
        resources: details.resources,
        archive: details.source.builtin.map(|builtin| format!("{BUILTIN}{builtin}")),
        runtime_flags: details.runtime_flags,
        custom_runtime_options: details.custom_runtime_options,
        batch_source_config,
        log_topic: details.log_topic,
        log_level: details.log_level,
        ..SourceConfig::default()
    }
}

fn sink(details: Details, problems: &mut Problems) -> SinkConfig {
    let guarantees = details.guarantees(problems);
    let (failover, key_shared) = ordering(&details.source, problems);
    let retries = details.retry_details.clone().unwrap_or_default();
    SinkConfig {
        input_specs: Some(consumers(&details.source, problems)),
        source_subscription_position: Some(details.source.position(problems)),
        source_subscription_name: details.source.subscription_name,
        timeout_ms: details.source.timeout_ms,
        negative_ack_redelivery_delay_ms: details.source.negative_ack_redelivery_delay_ms,
        cleanup_subscription: Some(details.source.cleanup_subscription),
        retain_ordering: Some(failover),
        retain_key_ordering: Some(key_shared),
        configs: details.sink.configs.as_deref().map(|configs| inner(Some(configs), "sink.configs", problems)),
        secrets: Some(inner(details.secrets_map.as_deref(), "secretsMap", problems)),
        archive: details.sink.builtin.map(|builtin| format!("{BUILTIN}{builtin}")),
        class_name: details.sink.class_name,
        max_message_retries: retries.max_message_retries,
        dead_letter_topic: retries.dead_letter_topic,
        transform_function: details.builtin.map(|builtin| format!("{BUILTIN}{builtin}")),
        transform_function_class_name: details.class_name.filter(|class| class != IDENTITY),
        transform_function_config: details.user_config,
        tenant: details.tenant,
        namespace: details.namespace,
        name: details.name,
        parallelism: details.parallelism,
        processing_guarantees: Some(guarantees),
        resources: details.resources,
        auto_ack: Some(details.auto_ack),
        runtime_flags: details.runtime_flags,
        custom_runtime_options: details.custom_runtime_options,
        log_topic: details.log_topic,
        log_level: details.log_level,
        ..SinkConfig::default()
    }
}

/// Whether the subscription is Failover, and whether it is Key_Shared.
fn ordering(source: &SourceSpec, problems: &mut Problems) -> (bool, bool) {
    let names = ["SHARED", "FAILOVER", "KEY_SHARED"].into_iter().zip(0..);
    let found = chosen(source.subscription_type.as_deref(), "source.subscriptionType", names, problems);
    (found == "FAILOVER", found == "KEY_SHARED")
}

fn consumers(source: &SourceSpec, problems: &mut Problems) -> BTreeMap<String, ConsumerConfig> {
    let specs = source.input_specs.clone().into_iter();
    specs.map(|(topic, spec)| (topic, consumer(spec, problems))).collect()
}

fn consumer(spec: ConsumerSpec, problems: &mut Problems) -> ConsumerConfig {
    ConsumerConfig {
        schema_type: spec.schema_type,
        serde_class_name: spec.serde_class_name,
        regex_pattern: spec.is_regex_pattern,
        schema_properties: spec.schema_properties,
        consumer_properties: spec.consumer_properties,
        receiver_queue_size: spec.receiver_queue_size.map(|size| size.value.unwrap_or(0)),
        crypto_config: spec.crypto_spec.map(|crypto| crypto_config(crypto, problems)),
        message_payload_processor_config: spec.payload_processor.map(|processor| PayloadProcessorConfig {
            config: processor
                .configs
                .as_deref()
                .map(|configs| inner(Some(configs), "messagePayloadProcessorSpec", problems)),
            class_name: processor.class_name,
        }),
        pool_messages: spec.pool_messages,
    }
}

fn producer(spec: Option<ProducerSpec>, problems: &mut Problems) -> Option<ProducerConfig> {
    let spec = spec?;
    // In the order of `Function.proto`, which is not that on the wire.
    let all = [Compression::Lz4, Compression::None, Compression::Zlib, Compression::Zstd, Compression::Snappy];
    let names = all.into_iter().map(Compression::name).zip(0..);
    let compression = chosen(spec.compression_type.as_deref(), "compressionType", names, problems);
    Some(ProducerConfig {
        max_pending_messages: spec.max_pending_messages,
        max_pending_messages_across_partitions: spec.max_pending_messages_across_partitions,
        use_thread_local_producers: Some(spec.use_thread_local_producers),
        batch_builder: spec.batch_builder,
        compression_type: all.into_iter().find(|known| known.name() == compression),
        batching_config: spec.batching_spec.map(|batching| BatchingConfig {
            enabled: batching.enabled,
            batching_max_publish_delay_ms: batching.max_publish_delay_ms,
            round_robin_router_batching_partition_switch_frequency: batching.switch_frequency,
            batching_max_messages: batching.max_messages,
            batching_max_bytes: batching.max_bytes,
            batch_builder: batching.batch_builder,
        }),
        crypto_config: spec.crypto_spec.map(|crypto| crypto_config(crypto, problems)),
    })
}

fn crypto_config(spec: CryptoSpec, problems: &mut Problems) -> CryptoConfig {
    let actions = || [("FAIL", 0), ("DISCARD", 1), ("CONSUME", 2), ("SEND", 10)].into_iter();
    // The first of the enum is what is left out, so absent stays absent.
    let producer_action = spec.producer_action.as_deref().map(|action| {
        match chosen(Some(action), "producerCryptoFailureAction", actions(), problems) {
            "SEND" => ProducerCryptoFailure::Send,
            _ => ProducerCryptoFailure::Fail,
        }
    });
    let consumer_action = spec.consumer_action.as_deref().map(|action| {
        match chosen(Some(action), "consumerCryptoFailureAction", actions(), problems) {
            "DISCARD" => ConsumerCryptoFailure::Discard,
            "CONSUME" => ConsumerCryptoFailure::Consume,
            _ => ConsumerCryptoFailure::Fail,
        }
    });
    CryptoConfig {
        crypto_key_reader_class_name: spec.class_name,
        crypto_key_reader_config: spec
            .config
            .as_deref()
            .map(|config| inner(Some(config), "cryptoKeyReaderConfig", problems)),
        encryption_keys: spec.keys,
        producer_crypto_failure_action: producer_action,
        consumer_crypto_failure_action: consumer_action,
    }
}

/// `customSchemaOutputs` of the properties that came of it.
fn output_schema(sink: &SinkSpec) -> Option<BTreeMap<String, String>> {
    let topic = sink.topic.clone()?;
    if sink.schema_properties.is_empty() && sink.consumer_properties.is_empty() {
        return None;
    }
    let schema = ConsumerConfig {
        schema_properties: sink.schema_properties.clone(),
        consumer_properties: sink.consumer_properties.clone(),
        ..ConsumerConfig::default()
    };
    let json = serde_json::to_string(&schema).ok()?;
    Some(BTreeMap::from([(topic, json)]))
}

/// JSON that is a text within the details; absent, its default. Function Mesh's operator writes `null` for what there is not.
fn inner<T: DeserializeOwned + Default>(json: Option<&str>, field: &str, problems: &mut Problems) -> T {
    let Some(json) = json else { return T::default() };
    match serde_json::from_str::<Option<T>>(json) {
        Ok(value) => value.unwrap_or_default(),
        Err(error) => {
            problems.add(field, format!("{field} of the function details cannot be read: {error}"));
            T::default()
        }
    }
}

/// The name of an enum's value that is there by name or by number; absent, the first.
fn chosen(
    found: Option<&str>,
    field: &str,
    names: impl Iterator<Item = (&'static str, u32)>,
    problems: &mut Problems,
) -> &'static str {
    let names: Vec<_> = names.collect();
    let is_found =
        |(name, number): &&(&'static str, u32)| found.is_none_or(|found| found == *name || found == number.to_string());
    names.iter().find(is_found).map_or_else(
        || {
            let found = found.unwrap_or_default();
            problems.add(field, format!("{field} of the function details has no value {found:.80}"));
            ""
        },
        |(name, _)| *name,
    )
}
