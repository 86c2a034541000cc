//! What a sink is: a connector that carries messages of topics outside.

use super::{config::Guarantees, consumer::ConsumerConfig, record::record, resources::Resources};
use crate::InitialPosition;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

record! {
    /// How a sink is configured. Source: Pulsar's `SinkConfig`.
    pub struct SinkConfig {
        /// Tenant; `public` where none is given.
        tenant: "tenant" => Option<String>,
        /// Namespace without its tenant; `default` where none is given.
        namespace: "namespace" => Option<String>,
        /// Name within the namespace.
        name: "name" => Option<String>,
        /// The connector's class; a built-in one knows its own.
        class_name: "className" => Option<String>,
        /// Subscription; `tenant/namespace/name` where none is given.
        source_subscription_name: "sourceSubscriptionName" => Option<String>,
        /// Where a new subscription starts.
        source_subscription_position: "sourceSubscriptionPosition" => Option<InitialPosition> =
            Some(InitialPosition::Latest),
        /// Topics to read.
        inputs: "inputs" => Option<Vec<String>>,
        /// Topics to read, each with the class of its SerDe.
        topic_to_serde_class_name: "topicToSerdeClassName" => Option<BTreeMap<String, String>>,
        /// A regular expression that names the topics to read.
        topics_pattern: "topicsPattern" => Option<String>,
        /// Topics to read, each with its schema: built in, or a class.
        topic_to_schema_type: "topicToSchemaType" => Option<BTreeMap<String, String>>,
        /// Kept for Pulsar's clients; Pulsar makes nothing of it.
        topic_to_schema_properties: "topicToSchemaProperties" => Option<BTreeMap<String, String>>,
        /// Topics to read, and how.
        input_specs: "inputSpecs" => Option<BTreeMap<String, ConsumerConfig>>,
        /// Redeliveries before a message is given up; absent or negative: never.
        max_message_retries: "maxMessageRetries" => Option<i32>,
        /// Topic of messages that were given up; `topic-subscription-DLQ` where none is given, slashes of the subscription as
        /// dashes.
        dead_letter_topic: "deadLetterTopic" => Option<String>,
        /// Handed to the connector.
        configs: "configs" => Option<Map<String, Value>>,
        /// Names of secrets, each with what the secrets provider needs to find it; never the secret itself.
        secrets: "secrets" => Option<Map<String, Value>>,
        /// Number of instances; 1 where nothing is said.
        parallelism: "parallelism" => Option<i32>,
        /// What is promised; `ATLEAST_ONCE` where nothing is said.
        processing_guarantees: "processingGuarantees" => Option<Guarantees>,
        /// Each partition is read by one instance, in order.
        retain_ordering: "retainOrdering" => Option<bool>,
        /// Each key is handled by one instance, in order.
        retain_key_ordering: "retainKeyOrdering" => Option<bool>,
        /// What one instance may use.
        resources: "resources" => Option<Resources>,
        /// Whether the framework acknowledges. Deprecated by Pulsar.
        auto_ack: "autoAck" => Option<bool>,
        /// Milliseconds until an unacknowledged message is delivered again.
        timeout_ms: "timeoutMs" => Option<i64>,
        /// Milliseconds until a message that failed is delivered again.
        negative_ack_redelivery_delay_ms: "negativeAckRedeliveryDelayMs" => Option<i64>,
        /// Name of a built-in connector.
        sink_type: "sinkType" => Option<String>,
        /// Path or URL of the connector, or `builtin://name`.
        archive: "archive" => Option<String>,
        /// Whether the subscription goes with the sink; it does where nothing is said.
        cleanup_subscription: "cleanupSubscription" => Option<bool>,
        /// Passed to the runtime.
        runtime_flags: "runtimeFlags" => Option<String>,
        /// For the runtime, whatever it makes of it.
        custom_runtime_options: "customRuntimeOptions" => Option<String>,
        /// Path or URL of a function that messages go through first, or `builtin://name`.
        transform_function: "transformFunction" => Option<String>,
        /// Its class.
        transform_function_class_name: "transformFunctionClassName" => Option<String>,
        /// Its user configuration, as a JSON text.
        transform_function_config: "transformFunctionConfig" => Option<String>,
        /// Topic the connector's log goes to.
        log_topic: "logTopic" => Option<String>,
        /// Least level that is logged. Pulsar after 4.2.
        log_level: "logLevel" => Option<String>,
    }
}
