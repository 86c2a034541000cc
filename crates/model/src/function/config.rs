//! What a function is: where its code lies, what it reads and writes, and with which guarantees.

use super::{
    consumer::ConsumerConfig,
    producer::ProducerConfig,
    record::{choice, record},
    resources::Resources,
    window::WindowConfig,
};
use crate::InitialPosition;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

choice! {
    /// What is promised for each message.
    pub enum Guarantees {
        /// Acknowledged after the output is durable; a message may be seen twice.
        AtLeastOnce = "ATLEAST_ONCE",
        /// Acknowledged before the call; a message may be lost.
        AtMostOnce = "ATMOST_ONCE",
        /// The effect of each message is there once.
        EffectivelyOnce = "EFFECTIVELY_ONCE",
        /// The function acknowledges.
        Manual = "MANUAL",
    }
}

choice! {
    /// What runs the code.
    pub enum Runtime {
        /// A jar on a JVM.
        Java = "JAVA",
        /// A Python file, wheel or zip.
        Python = "PYTHON",
        /// A Go binary that speaks the instance contract.
        Go = "GO",
        /// A WebAssembly component, within this process. Ours, not Pulsar's.
        Wasm = "WASM",
        /// Any program that speaks the framed protocol. Ours, not Pulsar's.
        Process = "PROCESS",
    }
}

record! {
    /// How a function is configured. Source: Pulsar's `FunctionConfig`.
    pub struct FunctionConfig {
        /// Passed to the runtime, such as `-Xmx256m` to a JVM.
        runtime_flags: "runtimeFlags" => Option<String>,
        /// Tenant; `public` where none is given.
        tenant: "tenant" => Option<String>,
        /// Namespace without its tenant; `default` where none is given.
        namespace: "namespace" => Option<String>,
        /// Name within the namespace; the last part of the class name where none is given.
        name: "name" => Option<String>,
        /// Class, or `module.Class` or `module.function` in Python.
        class_name: "className" => Option<String>,
        /// Topics to read.
        inputs: "inputs" => Option<Vec<String>>,
        /// Topics to read, each with the class of its SerDe.
        custom_serde_inputs: "customSerdeInputs" => Option<BTreeMap<String, String>>,
        /// A regular expression that names the topics to read.
        topics_pattern: "topicsPattern" => Option<String>,
        /// Topics to read, each with a [`ConsumerConfig`] as a JSON text.
        custom_schema_inputs: "customSchemaInputs" => Option<BTreeMap<String, String>>,
        /// The output topic with a [`ConsumerConfig`] as a JSON text.
        custom_schema_outputs: "customSchemaOutputs" => Option<BTreeMap<String, String>>,
        /// Topics to read, and how.
        input_specs: "inputSpecs" => Option<BTreeMap<String, ConsumerConfig>>,
        /// Class of the input.
        input_type_class_name: "inputTypeClassName" => Option<String>,
        /// Topic results are written to; none, none are.
        output: "output" => Option<String>,
        /// How results are written.
        producer_config: "producerConfig" => Option<ProducerConfig>,
        /// Built-in schema (`string`, `json`, `avro` ...) or schema class of the output.
        output_schema_type: "outputSchemaType" => Option<String>,
        /// Class of the output.
        output_type_class_name: "outputTypeClassName" => Option<String>,
        /// SerDe class of the output.
        output_serde_class_name: "outputSerdeClassName" => Option<String>,
        /// Topic the function's log goes to.
        log_topic: "logTopic" => Option<String>,
        /// Least level that is logged: `DEBUG`, `INFO`, `WARN`, `ERROR`. Pulsar after 4.2.
        log_level: "logLevel" => Option<String>,
        /// What is promised; `ATLEAST_ONCE` where nothing is said.
        processing_guarantees: "processingGuarantees" => Option<Guarantees>,
        /// Each partition is read by one instance, in order.
        retain_ordering: "retainOrdering" => Option<bool>,
        /// Each key is handled by one instance, in order.
        retain_key_ordering: "retainKeyOrdering" => Option<bool>,
        /// How outputs are batched: `DEFAULT` or `KEY_BASED`.
        batch_builder: "batchBuilder" => Option<String>,
        /// The properties of an input are those of its output too.
        forward_source_message_property: "forwardSourceMessageProperty" => Option<bool>,
        /// What the function asks its context for.
        user_config: "userConfig" => Option<Map<String, Value>>,
        /// Names of secrets, each with what the secrets provider needs to find it; never the secret itself.
        secrets: "secrets" => Option<Map<String, Value>>,
        /// What runs the code; follows from `jar`, `py`, `go`, `wasm` or `exec`.
        runtime: "runtime" => Option<Runtime>,
        /// Whether the framework acknowledges. Deprecated by Pulsar: `MANUAL` says it.
        auto_ack: "autoAck" => Option<bool>,
        /// Redeliveries before a message is given up; absent or negative: never.
        max_message_retries: "maxMessageRetries" => Option<i32>,
        /// Topic of messages that were given up; `topic-subscription-DLQ` where none is given, slashes of the subscription as
        /// dashes.
        dead_letter_topic: "deadLetterTopic" => Option<String>,
        /// Subscription; `tenant/namespace/name` where none is given.
        sub_name: "subName" => Option<String>,
        /// Number of instances; 1 where nothing is said.
        parallelism: "parallelism" => Option<i32>,
        /// What one instance may use.
        resources: "resources" => Option<Resources>,
        /// `tenant/namespace/name`, instead of the three.
        fqfn: "fqfn" => Option<String>,
        /// Makes it a window function.
        window_config: "windowConfig" => Option<WindowConfig>,
        /// Milliseconds until an unacknowledged message is delivered again.
        timeout_ms: "timeoutMs" => Option<i64>,
        /// Path or URL of a jar.
        jar: "jar" => Option<String>,
        /// Path or URL of a Python file, wheel or zip.
        py: "py" => Option<String>,
        /// Path or URL of a Go binary.
        go: "go" => Option<String>,
        /// Path or URL of a WebAssembly component. Ours, not Pulsar's.
        wasm: "wasm" => Option<String>,
        /// Path or URL of a program, or a command line, that speaks the framed protocol. Ours, not Pulsar's.
        exec: "exec" => Option<String>,
        /// Name of a built-in function.
        function_type: "functionType" => Option<String>,
        /// Whether the subscription goes with the function; it does where nothing is said.
        cleanup_subscription: "cleanupSubscription" => Option<bool>,
        /// JSON for the runtime, whatever it makes of it; and `{"outputCluster": NAME}`: the output is on [another cluster](../how-to/run-functions.md#write-to-another-cluster).
        custom_runtime_options: "customRuntimeOptions" => Option<String>,
        /// Calls of an asynchronous function that may be pending in one instance; 1000 where nothing is said.
        max_pending_async_requests: "maxPendingAsyncRequests" => Option<i32>,
        /// Whether the context offers an admin client.
        expose_pulsar_admin_client_enabled: "exposePulsarAdminClientEnabled" => Option<bool>,
        /// Whether it skips what came while it was stopped: it starts at the end of its topics whenever the first of its instances does, but
        /// not when one dies or wakes from none.
        skip_to_latest: "skipToLatest" => Option<bool>,
        /// Where a new subscription starts.
        subscription_position: "subscriptionPosition" => Option<InitialPosition> = Some(InitialPosition::Latest),
    }
}
