//! The parts that functions, sources and sinks share.
//!
//! Source: Function Mesh's `controllers/spec/utils.go` (`generateInputSpec`, `generateFunctionOutputSpec`,
//! `generateCryptoSpec`, `generateRetryDetails`) and `common.go` (`convertProcessingGuarantee`).

use super::read::{choice, flag, int, int_above_0, map, text, text_map, texts};
use crate::yaml::Value;
use autoscale::Quantity;
use model::{
    InitialPosition,
    function::{
        BatchingConfig, ConsumerConfig, CryptoConfig, Guarantees, PayloadProcessorConfig, ProducerConfig, Resources,
    },
};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// What `input` comes to.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) topics: Option<Vec<String>>,
    pub(super) pattern: Option<String>,
    pub(super) specs: Option<BTreeMap<String, ConsumerConfig>>,
}

pub(super) fn inputs(spec: &Value) -> Inputs {
    let Some(input) = spec.get("input") else { return Inputs::default() };
    let mut specs = BTreeMap::new();
    for (topic, class) in text_map(input, "customSerdeSources").unwrap_or_default() {
        specs.insert(topic, ConsumerConfig { serde_class_name: Some(class), ..ConsumerConfig::default() });
    }
    for (topic, schema) in text_map(input, "customSchemaSources").unwrap_or_default() {
        // The operator takes it for a type; people copy what `pulsar-admin` takes, which is JSON.
        let config = match serde_json::from_str::<ConsumerConfig>(&schema) {
            Ok(config) if schema.trim_start().starts_with('{') => config,
            _ => ConsumerConfig { schema_type: Some(schema), ..ConsumerConfig::default() },
        };
        specs.insert(topic, ConsumerConfig { regex_pattern: false, ..config });
    }
    for entry in input.get("sourceSpecs").map(Value::entries).unwrap_or_default() {
        specs.insert(entry.name.clone(), consumer(&entry.value));
    }
    Inputs {
        topics: texts(input, "topics").filter(|topics| !topics.is_empty()),
        pattern: text(input, "topicPattern"),
        specs: Some(specs).filter(|specs| !specs.is_empty()),
    }
}

fn consumer(spec: &Value) -> ConsumerConfig {
    let processor = spec.get("messagePayloadProcessorConfig");
    ConsumerConfig {
        schema_type: text(spec, "schemaType"),
        serde_class_name: text(spec, "serdeClassname"),
        regex_pattern: flag(spec, "isRegexPattern").unwrap_or_default(),
        schema_properties: text_map(spec, "schemaProperties").unwrap_or_default(),
        consumer_properties: text_map(spec, "consumerProperties").unwrap_or_default(),
        receiver_queue_size: int(spec, "receiverQueueSize"),
        crypto_config: spec.get("cryptoConfig").map(crypto),
        message_payload_processor_config: processor.map(|processor| PayloadProcessorConfig {
            class_name: text(processor, "className"),
            config: map(processor, "config"),
        }),
        pool_messages: flag(spec, "poolMessages").unwrap_or_default(),
    }
}

pub(super) fn producer(output: Option<&Value>) -> Option<ProducerConfig> {
    let conf = output?.get("producerConf")?;
    let default = BatchingConfig::default();
    Some(ProducerConfig {
        max_pending_messages: int_above_0(conf, "maxPendingMessages"),
        max_pending_messages_across_partitions: int_above_0(conf, "maxPendingMessagesAcrossPartitions"),
        use_thread_local_producers: flag(conf, "useThreadLocalProducers"),
        crypto_config: conf.get("cryptoConfig").map(crypto),
        batch_builder: text(conf, "batchBuilder"),
        compression_type: text(conf, "compressionType").as_deref().and_then(choice),
        batching_config: conf.get("batchingConfig").map(|batching| BatchingConfig {
            enabled: flag(batching, "enabled").unwrap_or(default.enabled),
            batching_max_publish_delay_ms: int_above_0(batching, "batchingMaxPublishDelayMs")
                .or(default.batching_max_publish_delay_ms),
            round_robin_router_batching_partition_switch_frequency: int_above_0(
                batching,
                "roundRobinRouterBatchingPartitionSwitchFrequency",
            ),
            batching_max_messages: int_above_0(batching, "batchingMaxMessages"),
            batching_max_bytes: int_above_0(batching, "batchingMaxBytes"),
            batch_builder: text(batching, "batchBuilder"),
        }),
    })
}

fn crypto(config: &Value) -> CryptoConfig {
    CryptoConfig {
        crypto_key_reader_class_name: text(config, "cryptoKeyReaderClassName"),
        crypto_key_reader_config: map(config, "cryptoKeyReaderConfig"),
        encryption_keys: texts(config, "encryptionKeys"),
        producer_crypto_failure_action: text(config, "producerCryptoFailureAction").as_deref().and_then(choice),
        consumer_crypto_failure_action: text(config, "consumerCryptoFailureAction").as_deref().and_then(choice),
    }
}

pub(super) fn guarantees(spec: &Value) -> Option<Guarantees> {
    Some(match text(spec, "processingGuarantee")?.as_str() {
        "atleast_once" => Guarantees::AtLeastOnce,
        "atmost_once" => Guarantees::AtMostOnce,
        "effectively_once" => Guarantees::EffectivelyOnce,
        "manual" => Guarantees::Manual,
        _ => return None,
    })
}

pub(super) fn position(spec: &Value) -> Option<InitialPosition> {
    match text(spec, "subscriptionPosition")?.as_str() {
        "earliest" => Some(InitialPosition::Earliest),
        "latest" => Some(InitialPosition::Latest),
        _ => None,
    }
}

/// `secrets` of the configuration: each name with its place, as the operator hands it to instances.
pub(super) fn secrets(spec: &Value) -> Option<Map<String, Json>> {
    let secrets = spec.get("secretsMap")?.entries();
    let place = |secret: &Value| json!({"path": text(secret, "path"), "key": text(secret, "key")});
    Some(secrets.iter().map(|entry| (entry.name.clone(), place(&entry.value))).collect())
}

/// `requests`, and `limits` where there is no request, as Kubernetes fills it in. A part nobody names stays absent.
pub(super) fn resources(spec: &Value) -> Option<Resources> {
    let resources = spec.get("resources")?;
    let requests = resources.get("requests").map(amounts).unwrap_or_default();
    let limits = limits(spec).unwrap_or_default();
    Some(requests.over(&limits)).filter(|resources| *resources != Resources::default())
}

/// What one instance may never exceed: `limits`; where there are none, as much memory and disk as is requested.
///
/// Source: Function Mesh's `paddingResourceLimit` (`pkg/webhook/common.go`).
pub(super) fn allowed(spec: &Value) -> Option<Resources> {
    let padded = |requests: Resources| Resources { cpu: None, ..requests };
    limits(spec).or_else(|| resources(spec).map(padded))
}

pub(super) fn limits(spec: &Value) -> Option<Resources> {
    spec.get("resources")?.get("limits").map(amounts).filter(|resources| *resources != Resources::default())
}

fn amounts(list: &Value) -> Resources {
    let amount = |name: &str| list.get(name).and_then(Value::written).and_then(|text| text.parse::<Quantity>().ok());
    let bytes = |name: &str| amount(name).map(|bytes| bytes.value());
    Resources {
        cpu: amount("cpu").map(|cores| cores.as_f64()),
        ram: bytes("memory"),
        disk: bytes("ephemeral-storage").or_else(|| bytes("storage")),
    }
}
