//! `FunctionDetails` as protobuf's JSON: what Pulsar's instances are told of a function by `--function_details`.
//!
//! Source: `Function.proto`, and `convert` of `FunctionConfigUtils`, `SourceConfigUtils`, `SinkConfigUtils`. Protobuf's
//! JSON leaves out what is zero, empty or false, and writes 64-bit integers as texts.

use super::{
    component::Component,
    config::{FunctionConfig, Guarantees, Runtime},
    consumer::ConsumerConfig,
    defaults::runtime_of_code,
    inputs::{self, Inputs},
    producer::{
        BatchingConfig, Compression, ConsumerCryptoFailure, CryptoConfig, ProducerConfig, ProducerCryptoFailure,
    },
    resources::Resources,
    sink::SinkConfig,
    source::SourceConfig,
};
use crate::{InitialPosition, SubscriptionType};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) const IDENTITY: &str = "org.apache.pulsar.functions.api.utils.IdentityFunction";
const WINDOW_EXECUTOR: &str = "org.apache.pulsar.functions.windowing.WindowFunctionExecutor";
pub(super) const WINDOW_CONFIG_KEY: &str = "__WINDOWCONFIGS__";
const BATCH_SOURCE_EXECUTOR: &str = "org.apache.pulsar.functions.source.batch.BatchSourceExecutor";
/// Where a batch source finds how it is triggered, as JSON text among its `configs`. Source: Pulsar's `BatchSourceConfig`.
pub const BATCH_SOURCE_CONFIG_KEY: &str = "__BATCHSOURCECONFIGS__";
/// As before: its own class, since in Pulsar another one runs it.
pub const BATCH_SOURCE_CLASS_KEY: &str = "__BATCHSOURCECLASSNAME__";
pub(super) const BUILTIN: &str = "builtin://";

/// A protobuf message as JSON.
#[derive(Default)]
struct Message(Map<String, Value>);

impl Message {
    fn put(&mut self, name: &str, value: Value) -> &mut Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    fn text(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) if !text.is_empty() => self.put(name, text.into()),
            _ => self,
        }
    }

    fn flag(&mut self, name: &str, flag: Option<bool>) -> &mut Self {
        if flag == Some(true) { self.put(name, true.into()) } else { self }
    }

    fn int(&mut self, name: &str, int: Option<i32>) -> &mut Self {
        match int {
            Some(int) if int != 0 => self.put(name, int.into()),
            _ => self,
        }
    }

    /// 64 bits travel as a text.
    fn long(&mut self, name: &str, long: Option<i64>) -> &mut Self {
        match long {
            Some(long) if long != 0 => self.put(name, long.to_string().into()),
            _ => self,
        }
    }

    fn texts(&mut self, name: &str, texts: &BTreeMap<String, String>) -> &mut Self {
        if texts.is_empty() { self } else { self.put(name, json!(texts)) }
    }

    fn message(&mut self, name: &str, message: Self) -> &mut Self {
        self.put(name, message.value())
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

pub(super) fn of_function(config: &FunctionConfig) -> Value {
    let mut details = common(config, config.log_topic.as_deref(), config.log_level.as_deref());
    let guarantees = config.processing_guarantees.unwrap_or(Guarantees::AtLeastOnce);
    let mut user_config = config.user_config.clone().unwrap_or_default();
    if let Some(window) = &config.window_config {
        user_config.insert(WINDOW_CONFIG_KEY.to_owned(), json!(window));
        details.text("className", Some(WINDOW_EXECUTOR));
        put_guarantees(&mut details, Guarantees::Manual);
    } else {
        details.text("className", config.class_name.as_deref());
        put_guarantees(&mut details, guarantees);
    }
    details.text("userConfig", map_text(Some(&user_config)).as_deref());
    details.text("secretsMap", map_text(config.secrets.as_ref()).as_deref());
    match config.runtime.or_else(|| runtime_of_code(config)) {
        // Pulsar has no name for ours, and leaves out the first, JAVA.
        Some(Runtime::Java | Runtime::Wasm | Runtime::Process) | None => {}
        Some(runtime @ (Runtime::Python | Runtime::Go)) => {
            details.text("runtime", Some(runtime.name()));
        }
    }
    details
        .flag("autoAck", Some(config.auto_ack.unwrap_or(true)))
        .flag("retainOrdering", config.retain_ordering)
        .flag("retainKeyOrdering", config.retain_key_ordering)
        .text("componentType", Some("FUNCTION"))
        .text("builtin", config.jar.as_deref().and_then(|jar| jar.strip_prefix(BUILTIN)));
    put_resources(&mut details, config.resources.as_ref());
    put_runtime_options(&mut details, config.runtime_flags.as_deref(), config.custom_runtime_options.as_deref());
    if let Some(retries) = config.max_message_retries.filter(|retries| *retries >= 0) {
        put_retries(&mut details, retries, config.dead_letter_topic.as_deref());
    }
    let mut source =
        source_of(&inputs::of_function(config).0, config.subscription_type(), config.subscription_position);
    source
        .text("typeClassName", config.input_type_class_name.as_deref())
        .text("subscriptionName", config.sub_name.as_deref())
        .flag("skipToLatest", config.skip_to_latest)
        .long("timeoutMs", config.timeout_ms)
        // A failure is told by a negative acknowledgement, so that it is as quick as a timeout.
        .long("negativeAckRedeliveryDelayMs", config.timeout_ms)
        .flag("cleanupSubscription", Some(config.cleanup_subscription.unwrap_or(true)));
    details.message("source", source);
    let schema = config.output_schema();
    let mut sink = Message::default();
    sink.text("topic", config.output.as_deref())
        .text("typeClassName", config.output_type_class_name.as_deref())
        .text("serDeClassName", config.output_serde_class_name.as_deref())
        .text("schemaType", config.output_schema_type.as_deref())
        .flag("forwardSourceMessageProperty", config.forward_source_message_property)
        .texts("schemaProperties", &schema.schema_properties)
        .texts("consumerProperties", &schema.consumer_properties);
    put_producer(&mut sink, config.producer_config.as_ref(), config.batch_builder.as_deref());
    details.message("sink", sink);
    details.value()
}

pub(super) fn of_source(config: &SourceConfig) -> Value {
    let mut details = common(config, config.log_topic.as_deref(), config.log_level.as_deref());
    details
        .text("className", Some(IDENTITY))
        .text("secretsMap", map_text(config.secrets.as_ref()).as_deref())
        .flag("autoAck", Some(true))
        .text("componentType", Some("SOURCE"));
    put_guarantees(&mut details, config.processing_guarantees.unwrap_or(Guarantees::AtLeastOnce));
    put_resources(&mut details, config.resources.as_ref());
    put_runtime_options(&mut details, config.runtime_flags.as_deref(), config.custom_runtime_options.as_deref());

    let mut configs = config.configs.clone().unwrap_or_default();
    let mut class = config.class_name.as_deref();
    if let Some(batch) = &config.batch_source_config {
        configs.insert(BATCH_SOURCE_CONFIG_KEY.to_owned(), json!(json!(batch).to_string()));
        configs.insert(BATCH_SOURCE_CLASS_KEY.to_owned(), class.unwrap_or_default().into());
        class = Some(BATCH_SOURCE_EXECUTOR);
    }
    let mut source = Message::default();
    source
        .text("className", class)
        .text("configs", Some(&Value::Object(configs).to_string()))
        .text("builtin", config.archive.as_deref().and_then(|archive| archive.strip_prefix(BUILTIN)));
    details.message("source", source);

    let mut sink = Message::default();
    sink.text("topic", config.topic_name.as_deref())
        .text("serDeClassName", config.serde_class_name.as_deref())
        .text("schemaType", config.schema_type.as_deref())
        .flag("forwardSourceMessageProperty", Some(true));
    put_producer(&mut sink, config.producer_config.as_ref(), config.batch_builder.as_deref());
    details.message("sink", sink);
    details.value()
}

pub(super) fn of_sink(config: &SinkConfig) -> Value {
    let mut details = common(config, config.log_topic.as_deref(), config.log_level.as_deref());
    let transform = config.transform_function.as_deref();
    details
        .text("className", Some(config.transform_function_class_name.as_deref().unwrap_or(IDENTITY)))
        .text("userConfig", config.transform_function_config.as_deref())
        .text("secretsMap", map_text(config.secrets.as_ref()).as_deref())
        .flag("autoAck", Some(config.auto_ack.unwrap_or(true)))
        .flag("retainOrdering", config.retain_ordering)
        .flag("retainKeyOrdering", config.retain_key_ordering)
        .text("componentType", Some("SINK"))
        .text("builtin", transform.and_then(|transform| transform.strip_prefix(BUILTIN)));
    put_guarantees(&mut details, config.processing_guarantees.unwrap_or(Guarantees::AtLeastOnce));
    put_resources(&mut details, config.resources.as_ref());
    put_runtime_options(&mut details, config.runtime_flags.as_deref(), config.custom_runtime_options.as_deref());
    if let Some(retries) = config.max_message_retries.filter(|retries| *retries > 0) {
        put_retries(&mut details, retries, config.dead_letter_topic.as_deref());
    }

    let mut source =
        source_of(&inputs::of_sink(config), config.subscription_type(), config.source_subscription_position);
    source
        .text("subscriptionName", config.source_subscription_name.as_deref())
        .long("timeoutMs", config.timeout_ms)
        .long("negativeAckRedeliveryDelayMs", config.negative_ack_redelivery_delay_ms.filter(|delay| *delay > 0))
        .flag("cleanupSubscription", Some(config.cleanup_subscription.unwrap_or(true)));
    details.message("source", source);

    let configs = config.configs.as_ref().map(|configs| json!(configs).to_string());
    let mut sink = Message::default();
    sink.text("className", config.class_name.as_deref())
        .text("configs", configs.as_deref())
        .text("builtin", config.archive.as_deref().and_then(|archive| archive.strip_prefix(BUILTIN)));
    details.message("sink", sink);
    details.value()
}

fn common(config: &impl Component, log_topic: Option<&str>, log_level: Option<&str>) -> Message {
    let mut details = Message::default();
    details
        .text("tenant", Some(config.tenant()))
        .text("namespace", Some(config.namespace()))
        .text("name", Some(config.name()))
        .text("logTopic", log_topic)
        .text("logLevel", log_level)
        .int("parallelism", i32::try_from(config.parallelism()).ok());
    details
}

fn source_of(inputs: &Inputs, subscription: SubscriptionType, position: Option<InitialPosition>) -> Message {
    let mut source = Message::default();
    let specs: Map<String, Value> = inputs.iter().map(|(topic, spec)| (topic.clone(), consumer_spec(spec))).collect();
    if !specs.is_empty() {
        source.put("inputSpecs", Value::Object(specs));
    }
    match subscription {
        SubscriptionType::Failover => source.text("subscriptionType", Some("FAILOVER")),
        SubscriptionType::KeyShared => source.text("subscriptionType", Some("KEY_SHARED")),
        // The first of the enum is left out; Exclusive there is none.
        SubscriptionType::Shared | SubscriptionType::Exclusive => &mut source,
    };
    if position == Some(InitialPosition::Earliest) {
        source.text("subscriptionPosition", Some("EARLIEST"));
    }
    source
}

/// A `ConsumerSpec` as protobuf's JSON.
pub(super) fn consumer_spec(config: &ConsumerConfig) -> Value {
    let mut spec = Message::default();
    // A schema goes before a SerDe.
    match (&config.schema_type, &config.serde_class_name) {
        (Some(schema), _) => spec.text("schemaType", Some(schema)),
        (None, serde) => spec.text("serdeClassName", serde.as_deref()),
    };
    spec.flag("isRegexPattern", Some(config.regex_pattern));
    if let Some(size) = config.receiver_queue_size {
        let mut value = Message::default();
        value.int("value", Some(size));
        spec.message("receiverQueueSize", value);
    }
    spec.texts("schemaProperties", &config.schema_properties).texts("consumerProperties", &config.consumer_properties);
    if let Some(crypto) = &config.crypto_config {
        spec.message("cryptoSpec", crypto_spec(crypto));
    }
    if let Some(processor) = &config.message_payload_processor_config {
        let mut message = Message::default();
        message.text("className", processor.class_name.as_deref());
        message.text("configs", processor.config.as_ref().map(|config| json!(config).to_string()).as_deref());
        spec.message("messagePayloadProcessorSpec", message);
    }
    spec.flag("poolMessages", Some(config.pool_messages));
    spec.value()
}

fn put_producer(sink: &mut Message, config: Option<&ProducerConfig>, batch_builder: Option<&str>) {
    let none = ProducerConfig::default();
    let config = config.unwrap_or(&none);
    let mut spec = Message::default();
    spec.int("maxPendingMessages", config.max_pending_messages)
        .int("maxPendingMessagesAcrossPartitions", config.max_pending_messages_across_partitions)
        .flag("useThreadLocalProducers", config.use_thread_local_producers)
        .text("batchBuilder", batch_builder.or(config.batch_builder.as_deref()));
    // LZ4 is the first of the enum in `Function.proto`, unlike on the wire.
    if let Some(compression) = config.compression_type.filter(|compression| *compression != Compression::Lz4) {
        spec.text("compressionType", Some(compression.name()));
    }
    if let Some(crypto) = &config.crypto_config {
        spec.message("cryptoSpec", crypto_spec(crypto));
    }
    if let Some(batching) = &config.batching_config {
        spec.message("batchingSpec", batching_spec(batching));
    }
    if !spec.0.is_empty() {
        sink.message("producerSpec", spec);
    }
}

fn crypto_spec(config: &CryptoConfig) -> Message {
    let mut spec = Message::default();
    spec.text("cryptoKeyReaderClassName", config.crypto_key_reader_class_name.as_deref());
    let reader = config.crypto_key_reader_config.as_ref().map(|config| json!(config).to_string());
    spec.text("cryptoKeyReaderConfig", reader.as_deref());
    if let Some(keys) = config.encryption_keys.as_ref().filter(|keys| !keys.is_empty()) {
        spec.put("producerEncryptionKeyName", json!(keys));
    }
    let sends = config.producer_crypto_failure_action.filter(|action| *action != ProducerCryptoFailure::Fail);
    spec.text("producerCryptoFailureAction", sends.map(ProducerCryptoFailure::name));
    let goes_on = config.consumer_crypto_failure_action.filter(|action| *action != ConsumerCryptoFailure::Fail);
    spec.text("consumerCryptoFailureAction", goes_on.map(ConsumerCryptoFailure::name));
    spec
}

/// Source: `BatchingUtils.convert`.
fn batching_spec(config: &BatchingConfig) -> Message {
    let positive = |value: Option<i32>| value.filter(|value| *value > 0);
    let mut spec = Message::default();
    spec.flag("enabled", Some(config.enabled))
        .int("batchingMaxPublishDelayMs", positive(config.batching_max_publish_delay_ms))
        .int(
            "roundRobinRouterBatchingPartitionSwitchFrequency",
            positive(config.round_robin_router_batching_partition_switch_frequency),
        )
        .int("batchingMaxMessages", positive(config.batching_max_messages))
        .int("batchingMaxBytes", positive(config.batching_max_bytes))
        .text("batchBuilder", config.batch_builder.as_deref());
    spec
}

fn put_guarantees(details: &mut Message, guarantees: Guarantees) {
    if guarantees != Guarantees::AtLeastOnce {
        details.text("processingGuarantees", Some(guarantees.name()));
    }
}

fn put_resources(details: &mut Message, resources: Option<&Resources>) {
    let resources = resources.unwrap_or(&Resources::DEFAULT).or_default();
    let mut message = Message::default();
    if let Some(cpu) = resources.cpu.filter(|cpu| *cpu != 0.0) {
        message.put("cpu", cpu.into());
    }
    message.long("ram", resources.ram).long("disk", resources.disk);
    details.message("resources", message);
}

fn put_retries(details: &mut Message, retries: i32, dead_letters: Option<&str>) {
    let mut message = Message::default();
    message.int("maxMessageRetries", Some(retries)).text("deadLetterTopic", dead_letters);
    details.message("retryDetails", message);
}

fn put_runtime_options(details: &mut Message, flags: Option<&str>, options: Option<&str>) {
    details.text("runtimeFlags", flags).text("customRuntimeOptions", options);
}

/// A map as a text within JSON; an empty one is none.
pub(super) fn map_text(map: Option<&Map<String, Value>>) -> Option<String> {
    map.filter(|map| !map.is_empty()).map(|map| json!(map).to_string())
}
