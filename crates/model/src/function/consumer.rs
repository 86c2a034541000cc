//! How one input topic is read.

use super::{producer::CryptoConfig, record::record};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

record! {
    /// How one input topic, or all that match a pattern, are read. Source: Pulsar's `ConsumerConfig`.
    pub struct ConsumerConfig {
        /// Built-in schema (`string`, `json`, `avro` ...) or a schema class.
        schema_type: "schemaType" => Option<String>,
        /// SerDe class; a schema or a SerDe, not both.
        serde_class_name: "serdeClassName" => Option<String>,
        /// Whether the key of this value is a regular expression. Jackson writes `regexPattern`, Gson reads and writes
        /// `isRegexPattern`; people write either.
        regex_pattern: "regexPattern" | "isRegexPattern" => bool,
        /// Handed to the schema.
        schema_properties: "schemaProperties" => BTreeMap<String, String>,
        /// Fields of Pulsar's `ConsumerConfigurationData`; [which have an effect](#consumer-properties) is said below.
        consumer_properties: "consumerProperties" => BTreeMap<String, String>,
        /// Messages a consumer holds that nobody took yet; 1000 where nothing is said.
        receiver_queue_size: "receiverQueueSize" => Option<i32>,
        /// How messages are decrypted.
        crypto_config: "cryptoConfig" => Option<CryptoConfig>,
        /// What takes a payload apart before the schema sees it.
        message_payload_processor_config: "messagePayloadProcessorConfig" => Option<PayloadProcessorConfig>,
        /// Whether the Java client pools its messages.
        pool_messages: "poolMessages" => bool,
    }
}

record! {
    /// A class that takes payloads apart. Source: Pulsar's `MessagePayloadProcessorConfig`.
    pub struct PayloadProcessorConfig {
        /// The class.
        class_name: "className" => Option<String>,
        /// Handed to it.
        config: "config" => Option<Map<String, Value>>,
    }
}
