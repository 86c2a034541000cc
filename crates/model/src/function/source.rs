//! What a source is: a connector that writes what it finds outside to a topic.

use super::{config::Guarantees, producer::ProducerConfig, record::record, resources::Resources};
use serde_json::{Map, Value};

record! {
    /// How a source is configured. Source: Pulsar's `SourceConfig`.
    pub struct SourceConfig {
        /// Tenant; `public` where none is given.
        tenant: "tenant" => Option<String>,
        /// Namespace without its tenant; `default` where none is given.
        namespace: "namespace" => Option<String>,
        /// Name within the namespace.
        name: "name" => Option<String>,
        /// The connector's class; a built-in one knows its own.
        class_name: "className" => Option<String>,
        /// Topic it writes to.
        topic_name: "topicName" => Option<String>,
        /// How it writes.
        producer_config: "producerConfig" => Option<ProducerConfig>,
        /// SerDe class of what it writes.
        serde_class_name: "serdeClassName" => Option<String>,
        /// Schema of what it writes: built in, or a class.
        schema_type: "schemaType" => Option<String>,
        /// Handed to the connector.
        configs: "configs" => Option<Map<String, Value>>,
        /// Names of secrets, each with what the secrets provider needs to find it; never the secret itself.
        secrets: "secrets" => Option<Map<String, Value>>,
        /// Number of instances; 1 where nothing is said.
        parallelism: "parallelism" => Option<i32>,
        /// What is promised; `ATLEAST_ONCE` where nothing is said.
        processing_guarantees: "processingGuarantees" => Option<Guarantees>,
        /// What one instance may use.
        resources: "resources" => Option<Resources>,
        /// Name of a built-in connector.
        source_type: "sourceType" => Option<String>,
        /// Path or URL of the connector, or `builtin://name`.
        archive: "archive" => Option<String>,
        /// Passed to the runtime.
        runtime_flags: "runtimeFlags" => Option<String>,
        /// For the runtime, whatever it makes of it.
        custom_runtime_options: "customRuntimeOptions" => Option<String>,
        /// Makes it a source that is triggered to look for work.
        batch_source_config: "batchSourceConfig" => Option<BatchSourceConfig>,
        /// `DEFAULT` or `KEY_BASED`.
        batch_builder: "batchBuilder" => Option<String>,
        /// Topic the connector's log goes to.
        log_topic: "logTopic" => Option<String>,
        /// Least level that is logged. Pulsar after 4.2.
        log_level: "logLevel" => Option<String>,
    }
}

record! {
    /// What triggers a batch source. Source: Pulsar's `BatchSourceConfig`.
    pub struct BatchSourceConfig {
        /// The class that triggers.
        discovery_triggerer_class_name: "discoveryTriggererClassName" => Option<String>,
        /// Handed to it.
        discovery_triggerer_config: "discoveryTriggererConfig" => Option<Map<String, Value>>,
    }
}
