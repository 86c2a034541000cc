//! The flags of functions, sources and sinks. Source: pulsar-admin's `CmdFunctions`, `CmdSources` and `CmdSinks`, their
//! older spellings in camel case included; ours alone are `--wasm` and `--exec`.

use super::settings::{
    Flag, Flags,
    Form::{Bool, Dashed, Number, Object, OneOf, Size, Switch, Text, Topics, Whole},
    Section, flag,
};

/// Of `geminga functions create` and `update`.
#[derive(Debug)]
pub(crate) enum OfFunction {}
/// Of `geminga sources create` and `update`.
#[derive(Debug)]
pub(crate) enum OfSource {}
/// Of `geminga sinks create` and `update`.
#[derive(Debug)]
pub(crate) enum OfSink {}

const GUARANTEES: &[&str] = &["ATLEAST_ONCE", "ATMOST_ONCE", "EFFECTIVELY_ONCE", "MANUAL"];
const POSITIONS: &[&str] = &["Latest", "Earliest"];

const TENANT: Flag = flag("tenant", "tenant", Text, "Its tenant [default: public]").of("TENANT");
const NAMESPACE: Flag =
    flag("namespace", "namespace", Text, "Its namespace, without the tenant [default: default]").of("NAMESPACE");
const NAME: Flag = flag("name", "name", Text, "Its name [default: that of the file or class]").of("NAME");
const CLASS: Flag = flag("classname", "className", Text, "The class; in Python `module.Class` or `module.function`")
    .also(&["className"])
    .of("CLASS");
const RUNTIME_FLAGS: Flag = flag("runtime-flags", "runtimeFlags", Dashed, "Passed to the runtime, such as -Xmx256m");
const RUNTIME_OPTIONS: Flag =
    flag("custom-runtime-options", "customRuntimeOptions", Text, "For the runtime, whatever it makes of it");
const SECRETS: Flag = flag("secrets", "secrets", Object, "Secrets by name, each with where the provider finds it");
const PARALLELISM: Flag = flag("parallelism", "parallelism", Whole, "How many instances [default: 1]");
const CPU: Flag = flag("cpu", "resources.cpu", Number, "Cores of an instance").of("CORES");
const RAM: Flag = flag("ram", "resources.ram", Size, "Memory of an instance, such as 512M");
const DISK: Flag =
    flag("disk", "resources.disk", Size, "Disk space of an instance, such as 10G; kept and not enforced");
const LOG_TOPIC: Flag =
    flag("log-topic", "logTopic", Text, "Where its log goes, beside `logs`").also(&["logTopic"]).of("TOPIC");
const PROCESSING: Flag = flag("processing-guarantees", "processingGuarantees", OneOf(GUARANTEES), "What is promised")
    .also(&["processingGuarantees"])
    .of("GUARANTEE");
const PRODUCER: Flag = flag("producer-config", "producerConfig", Object, "How results are written");
const BATCH_BUILDER: Flag = flag("batch-builder", "batchBuilder", Text, "DEFAULT or KEY_BASED").of("BUILDER");
const INPUTS: Flag = flag("inputs", "inputs", Topics, "Topics to read").short('i');
const PATTERN: Flag = flag("topics-pattern", "topicsPattern", Text, "Read all topics that match, too or instead")
    .also(&["topicsPattern"])
    .of("REGEX");
const INPUT_SPECS: Flag = flag("input-specs", "inputSpecs", Object, "Topics to read, and how, in all detail");
const POSITION: &str = "Where a new subscription begins";
const CLEANUP: Flag =
    flag("cleanup-subscription", "cleanupSubscription", Switch, "Delete the subscription with it [default: true]");
const RETAIN: Flag =
    flag("retain-ordering", "retainOrdering", Switch, "Each partition is read by one instance, in order")
        .also(&["retainOrdering"]);
const RETAIN_KEY: Flag =
    flag("retain-key-ordering", "retainKeyOrdering", Switch, "Each key is handled by one instance, in order");
const AUTO_ACK: Flag =
    flag("auto-ack", "autoAck", Bool, "Whether messages are acknowledged for it [default: true]").also(&["autoAck"]);
const TIMEOUT: Flag =
    flag("timeout-ms", "timeoutMs", Whole, "Time until a message that is not acknowledged is delivered again")
        .also(&["timeoutMs"])
        .of("MS");
const DEAD_LETTERS: Flag =
    flag("dead-letter-topic", "deadLetterTopic", Text, "Where messages go that were given up").of("TOPIC");
const ARCHIVE: Flag =
    flag("archive", "archive", Text, "The connector: a file, a URL of the worker's or builtin://NAME")
        .short('a')
        .of("FILE|URL");

impl Flags for OfFunction {
    const SECTIONS: &'static [Section] = &[
        Section {
            heading: "The function",
            flags: &[
                NAME,
                TENANT,
                NAMESPACE,
                flag("fqfn", "fqfn", Text, "Instead of the three, `TENANT/NAMESPACE/NAME`").of("FQFN"),
                flag("py", "py", Text, "Python: a .py, .whl or .zip, or a URL of the worker's").of("FILE|URL"),
                flag("jar", "jar", Text, "Java: a .jar or .nar, or a URL of the worker's").of("FILE|URL"),
                flag("go", "go", Text, "Go: a binary, or a URL of the worker's").of("FILE|URL"),
                flag("wasm", "wasm", Text, "A WebAssembly component, or a URL of the worker's").of("FILE|URL"),
                flag("exec", "exec", Text, "A program, or a command line where the worker runs").of("FILE|URL|COMMAND"),
                flag("function-type", "functionType", Text, "A built-in function").short('t').of("NAME"),
                CLASS,
                flag("user-config", "userConfig", Object, "What the function asks its context for")
                    .also(&["userConfig"]),
                SECRETS,
                PARALLELISM,
                CPU,
                RAM,
                DISK,
                RUNTIME_FLAGS,
                RUNTIME_OPTIONS,
            ],
        },
        Section {
            heading: "What it reads",
            flags: &[
                INPUTS,
                PATTERN,
                INPUT_SPECS,
                flag("custom-serde-inputs", "customSerdeInputs", Object, "Topics to read, each with a SerDe class")
                    .also(&["customSerdeInputs"]),
                flag("custom-schema-inputs", "customSchemaInputs", Object, "Topics to read, each with its schema"),
                flag("input-type-class-name", "inputTypeClassName", Text, "Class of the input").of("CLASS"),
                flag("subs-name", "subName", Text, "The subscription [default: TENANT/NAMESPACE/NAME]").of("NAME"),
                flag("subs-position", "subscriptionPosition", OneOf(POSITIONS), POSITION).of("POSITION"),
                flag("skip-to-latest", "skipToLatest", Bool, "Skip what came while it was stopped"),
                CLEANUP,
            ],
        },
        Section {
            heading: "What it writes",
            flags: &[
                flag("output", "output", Text, "Where results go; without it, nowhere").short('o').of("TOPIC"),
                flag("schema-type", "outputSchemaType", Text, "Schema of results: string, json, avro ... or a class")
                    .of("SCHEMA"),
                flag("custom-schema-outputs", "customSchemaOutputs", Object, "The output topic with its schema"),
                flag("output-serde-classname", "outputSerdeClassName", Text, "SerDe class of results")
                    .also(&["outputSerdeClassName"])
                    .of("CLASS"),
                flag("output-type-class-name", "outputTypeClassName", Text, "Class of results").of("CLASS"),
                PRODUCER,
                BATCH_BUILDER,
                flag(
                    "forward-source-message-property",
                    "forwardSourceMessageProperty",
                    Bool,
                    "Give results the properties of their input [default: true]",
                ),
                LOG_TOPIC,
            ],
        },
        Section {
            heading: "What is promised",
            flags: &[
                PROCESSING,
                RETAIN,
                RETAIN_KEY,
                AUTO_ACK,
                TIMEOUT,
                flag(
                    "max-message-retries",
                    "maxMessageRetries",
                    Whole,
                    "Deliveries after the first until it is given up",
                ),
                DEAD_LETTERS,
            ],
        },
        Section {
            heading: "Windows",
            flags: &[
                flag("window-length-count", "windowConfig.windowLengthCount", Whole, "Messages of a window")
                    .also(&["windowLengthCount"]),
                flag("window-length-duration-ms", "windowConfig.windowLengthDurationMs", Whole, "Time of a window")
                    .also(&["windowLengthDurationMs"])
                    .of("MS"),
                flag(
                    "sliding-interval-count",
                    "windowConfig.slidingIntervalCount",
                    Whole,
                    "Messages until the next begins",
                )
                .also(&["slidingIntervalCount"]),
                flag(
                    "sliding-interval-duration-ms",
                    "windowConfig.slidingIntervalDurationMs",
                    Whole,
                    "Time until the next begins",
                )
                .also(&["slidingIntervalDurationMs"])
                .of("MS"),
            ],
        },
    ];
}

impl Flags for OfSource {
    const SECTIONS: &'static [Section] = &[
        Section {
            heading: "The source",
            flags: &[
                NAME,
                TENANT,
                NAMESPACE,
                ARCHIVE,
                flag("source-type", "sourceType", Text, "A built-in connector").short('t').of("NAME"),
                CLASS,
                flag("source-config", "configs", Object, "Handed to the connector").also(&["sourceConfig"]),
                flag("batch-source-config", "batchSourceConfig", Object, "What triggers a batch source"),
                SECRETS,
                PARALLELISM,
                CPU,
                RAM,
                DISK,
                RUNTIME_FLAGS,
                RUNTIME_OPTIONS,
            ],
        },
        Section {
            heading: "What it writes",
            flags: &[
                flag("destination-topic-name", "topicName", Text, "Where records go")
                    .short('o')
                    .also(&["destinationTopicName", "output"])
                    .of("TOPIC"),
                flag("schema-type", "schemaType", Text, "Schema of records: string, json, avro ... or a class")
                    .of("SCHEMA"),
                flag("deserialization-classname", "serdeClassName", Text, "SerDe class of records")
                    .also(&["deserializationClassName"])
                    .of("CLASS"),
                PRODUCER,
                BATCH_BUILDER,
                PROCESSING,
                LOG_TOPIC,
            ],
        },
    ];
}

impl Flags for OfSink {
    const SECTIONS: &'static [Section] = &[
        Section {
            heading: "The sink",
            flags: &[
                NAME,
                TENANT,
                NAMESPACE,
                ARCHIVE,
                flag("sink-type", "sinkType", Text, "A built-in connector").short('t').of("NAME"),
                CLASS,
                flag("sink-config", "configs", Object, "Handed to the connector").also(&["sinkConfig"]),
                flag("transform-function", "transformFunction", Text, "A function for messages on their way").of("URL"),
                flag("transform-function-classname", "transformFunctionClassName", Text, "Its class").of("CLASS"),
                flag("transform-function-config", "transformFunctionConfig", Text, "Its configuration").of("JSON"),
                SECRETS,
                PARALLELISM,
                CPU,
                RAM,
                DISK,
                RUNTIME_FLAGS,
                RUNTIME_OPTIONS,
                LOG_TOPIC,
            ],
        },
        Section {
            heading: "What it reads",
            flags: &[
                INPUTS,
                PATTERN,
                INPUT_SPECS,
                flag("custom-serde-inputs", "topicToSerdeClassName", Object, "Topics to read, each with a SerDe class")
                    .also(&["customSerdeInputs"]),
                flag("custom-schema-inputs", "topicToSchemaType", Object, "Topics to read, each with its schema"),
                flag("subs-name", "sourceSubscriptionName", Text, "The subscription [default: TENANT/NAMESPACE/NAME]")
                    .also(&["subsName"])
                    .of("NAME"),
                flag("subs-position", "sourceSubscriptionPosition", OneOf(POSITIONS), POSITION).of("POSITION"),
                CLEANUP,
            ],
        },
        Section {
            heading: "What is promised",
            flags: &[
                PROCESSING,
                RETAIN,
                RETAIN_KEY,
                AUTO_ACK,
                TIMEOUT,
                flag(
                    "max-redeliver-count",
                    "maxMessageRetries",
                    Whole,
                    "Deliveries after the first until it is given up",
                ),
                flag(
                    "negative-ack-redelivery-delay-ms",
                    "negativeAckRedeliveryDelayMs",
                    Whole,
                    "Time until a message that failed is delivered again",
                )
                .of("MS"),
                DEAD_LETTERS,
            ],
        },
    ];
}
