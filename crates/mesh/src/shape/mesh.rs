//! Function Mesh's own resources, and the two of Kubernetes that they refer to.
//!
//! Source: `api/compute/v1alpha1/{function,source,sink,functionmesh,backendconfig}_types.go`, `common.go`.

use super::{Field, Record, Shape, TEXT_MAP, TEXTS, acts, keeps, kube, pod, required, wanted};
use Shape::{Any, Bool, Choice, Int, List, Long, Map, Object, Text};

const GUARANTEES: Shape = Choice(&["atleast_once", "atmost_once", "effectively_once", "manual"]);
const LEVEL: Shape = Choice(&["off", "trace", "debug", "info", "warn", "error", "fatal", "all", "panic"]);

static CRYPTO_SECRET: Record = Record {
    name: "cryptoSecrets",
    parts: &[&[
        required(keeps("secretName", Text, "")),
        required(keeps("secretKey", Text, "")),
        keeps("asVolume", Text, ""),
    ]],
};

static CRYPTO: Record = Record {
    name: "cryptoConfig",
    parts: &[&[
        acts(
            "cryptoKeyReaderClassName",
            Text,
            "`cryptoConfig.cryptoKeyReaderClassName` of the configuration; the runtime must have the class.",
        ),
        acts("cryptoKeyReaderConfig", TEXT_MAP, ""),
        acts("encryptionKeys", TEXTS, ""),
        acts("producerCryptoFailureAction", Choice(&["FAIL", "SEND"]), ""),
        acts("consumerCryptoFailureAction", Choice(&["FAIL", "DISCARD", "CONSUME"]), ""),
        keeps("cryptoSecrets", List(&Shape::Record(&CRYPTO_SECRET)), "Secrets that Kubernetes mounts."),
    ]],
};

static PAYLOAD_PROCESSOR: Record = Record {
    name: "messagePayloadProcessorConfig",
    parts: &[&[acts("className", Text, ""), acts("config", Object, "")]],
};

static CONSUMER: Record = Record {
    name: "sourceSpecs",
    parts: &[&[
        acts("schemaType", Text, "`inputSpecs.*.schemaType`."),
        acts("serdeClassname", Text, "`inputSpecs.*.serdeClassName`; the lower-case `n` is upstream's."),
        acts("isRegexPattern", Bool, "The name is a pattern."),
        acts("schemaProperties", TEXT_MAP, ""),
        acts("consumerProperties", TEXT_MAP, ""),
        acts("receiverQueueSize", Int(0), ""),
        acts("cryptoConfig", Shape::Record(&CRYPTO), ""),
        acts("messagePayloadProcessorConfig", Shape::Record(&PAYLOAD_PROCESSOR), ""),
        acts("poolMessages", Bool, ""),
    ]],
};

static INPUT: Record = Record {
    name: "input",
    parts: &[&[
        acts("typeClassName", Text, "`inputTypeClassName` of a function."),
        acts("topics", TEXTS, "`inputs`."),
        acts("topicPattern", Text, "`topicsPattern`."),
        acts("customSerdeSources", TEXT_MAP, "A SerDe class for each topic: `inputSpecs.*.serdeClassName`."),
        acts(
            "customSchemaSources",
            TEXT_MAP,
            "A schema for each topic: its type, as the operator reads it, or the JSON of `pulsar-admin`'s `customSchemaInputs`.",
        ),
        acts("sourceSpecs", Map(&Shape::Record(&CONSUMER)), "`inputSpecs`."),
    ]],
};

static BATCHING: Record = Record {
    name: "batchingConfig",
    parts: &[&[
        acts("enabled", Bool, ""),
        acts("batchingMaxPublishDelayMs", Int(0), ""),
        acts("roundRobinRouterBatchingPartitionSwitchFrequency", Int(0), ""),
        acts("batchingMaxMessages", Int(0), ""),
        acts("batchingMaxBytes", Int(0), ""),
        acts("batchBuilder", Text, ""),
    ]],
};

static PRODUCER: Record = Record {
    name: "producerConf",
    parts: &[&[
        acts("maxPendingMessages", Int(0), "`producerConfig.maxPendingMessages`, and so on."),
        acts("maxPendingMessagesAcrossPartitions", Int(0), ""),
        acts("useThreadLocalProducers", Bool, ""),
        acts("cryptoConfig", Shape::Record(&CRYPTO), ""),
        acts("batchBuilder", Text, ""),
        acts("compressionType", Choice(&["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"]), ""),
        acts("batchingConfig", Shape::Record(&BATCHING), ""),
    ]],
};

static OUTPUT: Record = Record {
    name: "output",
    parts: &[&[
        acts("typeClassName", Text, "`outputTypeClassName` of a function."),
        acts("topic", Text, "`output` of a function, `topicName` of a source."),
        acts("sinkSerdeClassName", Text, "`outputSerdeClassName`, `serdeClassName`."),
        acts("sinkSchemaType", Text, "`outputSchemaType`, `schemaType`."),
        acts("producerConf", Shape::Record(&PRODUCER), "`producerConfig`."),
        acts("customSchemaSinks", TEXT_MAP, "`customSchemaOutputs`."),
    ]],
};

static SECRET_REF: Record = Record {
    name: "secretsMap",
    parts: &[&[acts("path", Text, "Name of the Secret."), acts("key", Text, "Key within it.")]],
};

static TLS: Record = Record {
    name: "tlsConfig",
    parts: &[&[
        keeps("enabled", Bool, ""),
        keeps("allowInsecure", Bool, ""),
        keeps("hostnameVerification", Bool, ""),
        keeps("certSecretName", Text, ""),
        keeps("certSecretKey", Text, ""),
    ]],
};

static OAUTH2: Record = Record {
    name: "oauth2Config",
    parts: &[&[
        required(keeps("audience", Text, "")),
        required(keeps("issuerUrl", Text, "")),
        keeps("scope", Text, ""),
        required(keeps("keySecretName", Text, "")),
        required(keeps("keySecretKey", Text, "")),
    ]],
};

static GENERIC_AUTH: Record = Record {
    name: "genericAuth",
    parts: &[&[
        required(keeps("clientAuthenticationPlugin", Text, "")),
        required(keeps("clientAuthenticationParameters", Text, "")),
    ]],
};

static AUTH: Record = Record {
    name: "authConfig",
    parts: &[&[
        keeps("oauth2Config", Shape::Record(&OAUTH2), ""),
        keeps("genericAuth", Shape::Record(&GENERIC_AUTH), ""),
    ]],
};

static PULSAR: Record = Record {
    name: "pulsar",
    parts: &[&[
        acts(
            "pulsarConfig",
            Text,
            "A ConfigMap with `brokerServiceURL` and `webServiceURL`: looked up in the same files and shown. Messages go through Geminga itself.",
        ),
        acts(
            "authSecret",
            Text,
            "A Secret with `clientAuthenticationPlugin` and `clientAuthenticationParameters`: looked up and checked, never printed.",
        ),
        acts("tlsSecret", Text, "A Secret with what TLS needs: looked up and checked."),
        keeps("tlsConfig", Shape::Record(&TLS), "TLS to the cluster."),
        keeps("authConfig", Shape::Record(&AUTH), "OAuth2 or another plugin."),
        keeps("cleanupAuthConfig", Shape::Record(&AUTH), ""),
    ]],
};

static STATE_PROVIDER: Record =
    Record { name: "javaProvider", parts: &[&[required(keeps("className", Text, "")), keeps("config", Object, "")]] };

static STATE: Record = Record {
    name: "statefulConfig.pulsar",
    parts: &[&[
        required(keeps("serviceUrl", Text, "Where Kubernetes finds a table service. Here state needs no service.")),
        keeps("javaProvider", Shape::Record(&STATE_PROVIDER), ""),
    ]],
};

static STATEFUL: Record = Record {
    name: "statefulConfig",
    parts: &[&[keeps("pulsar", Shape::Record(&STATE), "Every function has state here.")]],
};

static LOG_CONFIG: Record =
    Record { name: "logConfig", parts: &[&[required(keeps("name", Text, "")), required(keeps("key", Text, ""))]] };

static LOG: Record = Record {
    name: "log",
    parts: &[&[
        acts("level", LEVEL, "`logLevel`: the nearest of those the runtime has."),
        keeps(
            "rotatePolicy",
            Choice(&[
                "TimedPolicyWithDaily",
                "TimedPolicyWithWeekly",
                "TimedPolicyWithMonthly",
                "SizedPolicyWith10MB",
                "SizedPolicyWith50MB",
                "SizedPolicyWith100MB",
            ]),
            "",
        ),
        keeps("format", Choice(&["json", "text"]), ""),
        keeps("logConfig", Shape::Record(&LOG_CONFIG), ""),
        keeps("javaLog4JConfigFileType", Choice(&["xml", "yaml", "ini"]), ""),
    ]],
};

static JAVA: Record = Record {
    name: "java",
    parts: &[&[
        required(acts(
            "jar",
            Text,
            "The code, where `jarLocation` gives no other place: a path on this machine, a package or a URL.",
        )),
        acts(
            "jarLocation",
            Text,
            "Where the code comes from: `function://`, `source://`, `sink://`, `http://` or `https://`.",
        ),
        acts("javaOpts", TEXTS, "Added to `runtimeFlags`."),
        acts("log", Shape::Record(&LOG), ""),
        keeps("extraDependenciesDir", Text, ""),
        keeps("instancePath", Text, ""),
        keeps("entryClass", Text, ""),
    ]],
};

static PYTHON: Record = Record {
    name: "python",
    parts: &[&[
        required(acts("py", Text, "The code: a file, a wheel or a zip.")),
        acts("pyLocation", Text, "Where the code comes from."),
        acts("log", Shape::Record(&LOG), ""),
    ]],
};

static GOLANG: Record = Record {
    name: "golang",
    parts: &[&[
        required(acts("go", Text, "The code: a binary.")),
        acts("goLocation", Text, "Where the code comes from."),
        acts("log", Shape::Record(&LOG), ""),
    ]],
};

static GENERIC: Record = Record {
    name: "genericRuntime",
    parts: &[&[
        required(acts("functionFile", Text, "The code.")),
        required(acts(
            "language",
            Choice(&["nodejs", "python", "executable", "wasm"]),
            "`nodejs` and `executable` are programs that speak the [process protocol](process-protocol.md); a Node.js file begins with `#!/usr/bin/env node`.",
        )),
        acts("functionFileLocation", Text, "Where the code comes from."),
        acts("log", Shape::Record(&LOG), ""),
    ]],
};

static LIVENESS: Record = Record {
    name: "liveness",
    parts: &[&[
        keeps("periodSeconds", Int(0), ""),
        keeps("initialDelaySeconds", Int(0), ""),
        keeps("successThreshold", Int(0), ""),
        keeps("failureThreshold", Int(0), ""),
    ]],
};

const BUILTIN_RULES: Shape = Choice(&[
    "AverageUtilizationCPUPercent80",
    "AverageUtilizationCPUPercent50",
    "AverageUtilizationCPUPercent20",
    "AverageUtilizationMemoryPercent80",
    "AverageUtilizationMemoryPercent50",
    "AverageUtilizationMemoryPercent20",
]);

static POD: Record = Record {
    name: "pod",
    parts: &[
        &[
            acts(
                "builtinAutoscaler",
                List(&BUILTIN_RULES),
                "The HPA policy with this share of the limit as its target.",
            ),
            acts("autoScalingMetrics", List(&Shape::Record(&kube::METRIC)), "The HPA policy with these metrics."),
            acts("autoScalingBehavior", Shape::Record(&kube::BEHAVIOR), "How fast the HPA policy may go."),
            acts("vpa", Shape::Record(&kube::VPA), "The VPA's recommendation. Not together with `maxReplicas`."),
            acts(
                "env",
                List(&Shape::Record(&kube::ENV)),
                "The environment of an instance's processes, or of its WASM component.",
            ),
        ],
        POD_PLACEMENT,
        &[
            keeps("volumes", List(&Shape::Core(&pod::VOLUME)), ""),
            keeps("initContainers", List(&Shape::Core(&pod::CONTAINER)), ""),
            keeps("sidecars", List(&Shape::Core(&pod::CONTAINER)), ""),
            keeps("disableDefaultAffinity", Bool, ""),
            keeps("startupProbe", Shape::Core(&pod::PROBE), ""),
        ],
    ],
};

static POD_PLACEMENT: &[Field] = &[
    keeps("labels", TEXT_MAP, ""),
    keeps("nodeSelector", TEXT_MAP, ""),
    keeps("affinity", Shape::Core(&pod::AFFINITY), ""),
    keeps("tolerations", List(&Shape::Core(&pod::TOLERATION)), ""),
    keeps("annotations", TEXT_MAP, ""),
    keeps("securityContext", Shape::Core(&pod::SECURITY), ""),
    keeps("terminationGracePeriodSeconds", Long(0), ""),
    keeps("imagePullSecrets", List(&Shape::Record(&kube::OBJECT_REFERENCE)), ""),
    keeps("serviceAccountName", Text, ""),
    keeps("liveness", Shape::Record(&LIVENESS), ""),
];

static WINDOW: Record = Record {
    name: "windowConfig",
    parts: &[&[
        wanted(acts(
            "actualWindowFunctionClassName",
            Text,
            "The user's class; becomes `className`. Kubernetes cannot do without it.",
        )),
        acts("windowLengthCount", Int(i32::MIN), "`windowConfig.windowLengthCount`, and so on."),
        acts("windowLengthDurationMs", Long(i64::MIN), ""),
        acts("slidingIntervalCount", Int(i32::MIN), ""),
        acts("slidingIntervalDurationMs", Long(i64::MIN), ""),
        acts("lateDataTopic", Text, ""),
        acts("maxLagMs", Long(i64::MIN), ""),
        acts("watermarkEmitIntervalMs", Long(i64::MIN), ""),
        acts("timestampExtractorClassName", Text, ""),
        acts("processingGuarantees", Choice(&["ATLEAST_ONCE", "ATMOST_ONCE"]), "The function's, where it gives none."),
    ]],
};

static BATCH_SOURCE: Record = Record {
    name: "batchSourceConfig",
    parts: &[&[required(acts("discoveryTriggererClassName", Text, "")), acts("discoveryTriggererConfig", Object, "")]],
};

static CONNECTOR: Record = Record {
    name: "sourceConfig, sinkConfig of a Function",
    parts: &[&[
        keeps("archive", Text, ""),
        keeps("builtin", Text, ""),
        keeps("sinkType", Text, ""),
        keeps("className", Text, ""),
        keeps("typeClassName", Text, ""),
        keeps("configs", Object, ""),
    ]],
};

/// What all three have.
static COMMON: &[Field] = &[
    acts("name", Text, "Name within Pulsar's namespace; `metadata.name` where none is given."),
    acts("tenant", Text, "`public` where none is given."),
    acts("namespace", Text, "Pulsar's namespace; `default` where none is given."),
    acts("className", Text, "`className`."),
    acts(
        "replicas",
        Int(0),
        "`parallelism`: instances to begin with; `minReplicas` where none is given, else 1. 0 without `maxReplicas`: it is off.",
    ),
    acts(
        "minReplicas",
        Int(0),
        "Never fewer; 1 where none is given. 0: an idle function has no instance, and an event wakes it; Kubernetes needs 1.",
    ),
    acts("maxReplicas", Int(1), "Never more. Makes it scale."),
    acts("resources", Shape::Record(&kube::RESOURCES), "What one instance may use."),
    acts("secretsMap", Map(&Shape::Record(&SECRET_REF)), "`secrets`. Secrets of the same files are looked up."),
    acts("processingGuarantee", GUARANTEES, "`processingGuarantees`."),
    acts("runtimeFlags", Text, "`runtimeFlags`."),
    acts("pulsar", Shape::Record(&PULSAR), "The cluster."),
    keeps(
        "pulsarPackageService",
        Shape::Record(&PULSAR),
        "Where Kubernetes finds packages; here they are the server's.",
    ),
    keeps("kafka", Object, "Topics of a Kafka cluster. Not here; told as a warning."),
    acts("pod", Shape::Record(&POD), "How it scales; the rest is Kubernetes' own."),
    acts("java", Shape::Record(&JAVA), "Code for the JVM."),
    acts("python", Shape::Record(&PYTHON), "Code for Python."),
    acts("golang", Shape::Record(&GOLANG), "A Go binary."),
    acts("genericRuntime", Shape::Record(&GENERIC), "Code in another language."),
    keeps("clusterName", Text, "Name of the cluster."),
    keeps("showPreciseParallelism", Bool, ""),
    keeps("volumeMounts", List(&Shape::Core(&pod::VOLUME_MOUNT)), ""),
    keeps("image", Text, ""),
    keeps("imagePullPolicy", Choice(&["Always", "Never", "IfNotPresent"]), ""),
    keeps("imageHasPulsarctl", Bool, ""),
    keeps("imageHasGet", Bool, ""),
    keeps("imageWithPulsarctl", Bool, ""),
    keeps("downloaderImage", Text, ""),
    keeps("cleanupImage", Text, ""),
    keeps("filebeatImage", Text, ""),
    acts("logTopic", Text, "`logTopic`."),
    keeps("logTopicAgent", Choice(&["runtime", "sidecar"]), "Here the runtime does it."),
    keeps("statefulConfig", Shape::Record(&STATEFUL), "Every function has state here."),
    keeps("volumeClaimTemplates", List(&Shape::Core(&pod::CLAIM)), ""),
    keeps("persistentVolumeClaimRetentionPolicy", Shape::Core(&pod::RETENTION), ""),
];

/// What those have that read topics.
static READER: &[Field] = &[
    acts("input", Shape::Record(&INPUT), "What it reads."),
    acts("timeout", Int(0), "`timeoutMs`, in milliseconds; 0 is none."),
    acts("autoAck", Bool, "`autoAck`; true where nothing is said."),
    acts("maxMessageRetry", Int(i32::MIN), "`maxMessageRetries`; 0 is for ever."),
    acts("retainOrdering", Bool, "`retainOrdering`."),
    acts("retainKeyOrdering", Bool, "`retainKeyOrdering`."),
    acts("deadLetterTopic", Text, "`deadLetterTopic`."),
    acts("subscriptionName", Text, "`subName`; `tenant/namespace/name` where none is given."),
    acts("cleanupSubscription", Bool, "`cleanupSubscription`; false where nothing is said, unlike in `pulsar-admin`."),
    acts("subscriptionPosition", Choice(&["latest", "earliest"]), "`subscriptionPosition`."),
];

static FUNCTION_SPEC: Record = Record {
    name: "spec of a Function",
    parts: &[
        COMMON,
        READER,
        &[
            acts("output", Shape::Record(&OUTPUT), "What it writes."),
            acts("funcConfig", Object, "`userConfig`."),
            acts("forwardSourceMessageProperty", Bool, "`forwardSourceMessageProperty`."),
            acts("maxPendingAsyncRequests", Int(0), "`maxPendingAsyncRequests`."),
            acts("skipToLatest", Bool, "`skipToLatest`."),
            acts("windowConfig", Shape::Record(&WINDOW), "`windowConfig`."),
            keeps(
                "sourceConfig",
                Shape::Record(&CONNECTOR),
                "A connector in place of the inputs. Not here; told as a warning.",
            ),
            keeps(
                "sinkConfig",
                Shape::Record(&CONNECTOR),
                "A connector in place of the output. Not here; told as a warning.",
            ),
        ],
    ],
};

static SOURCE_SPEC: Record = Record {
    name: "spec of a Source",
    parts: &[
        COMMON,
        &[
            acts("output", Shape::Record(&OUTPUT), "What it writes."),
            acts("sourceConfig", Object, "`configs`."),
            acts("sourceType", Text, "`sourceType`: a connector the server has."),
            acts("batchSourceConfig", Shape::Record(&BATCH_SOURCE), "`batchSourceConfig`."),
            keeps("forwardSourceMessageProperty", Bool, ""),
        ],
    ],
};

static SINK_SPEC: Record = Record {
    name: "spec of a Sink",
    parts: &[
        COMMON,
        READER,
        &[
            keeps("forwardSourceMessageProperty", Bool, ""),
            acts("sinkConfig", Object, "`configs`."),
            acts("sinkType", Text, "`sinkType`: a connector the server has."),
            acts("negativeAckRedeliveryDelayMs", Int(0), "`negativeAckRedeliveryDelayMs`."),
        ],
    ],
};

static FUNCTION_MESH_SPEC: Record = Record {
    name: "spec of a FunctionMesh",
    parts: &[&[
        acts("sources", List(&Shape::Record(&SOURCE_SPEC)), "Specs of sources."),
        acts("sinks", List(&Shape::Record(&SINK_SPEC)), "Specs of sinks."),
        acts("functions", List(&Shape::Record(&FUNCTION_SPEC)), "Specs of functions."),
        acts(
            "genericResources",
            List(&Shape::Record(&GENERIC_RESOURCE)),
            "Other resources; a Function, Source or Sink among them is part of the mesh.",
        ),
    ]],
};

static GENERIC_RESOURCE: Record = Record {
    name: "genericResources",
    parts: &[&[
        required(acts("apiVersion", Text, "")),
        required(acts("kind", Text, "")),
        required(acts("name", Text, "Its name, where its spec gives none.")),
        acts("spec", Object, "As of a resource of that kind."),
        keeps("specFieldName", Text, ""),
        keeps("statusFieldName", Text, ""),
        keeps("readyField", Text, ""),
        keeps("readyFields", TEXTS, ""),
    ]],
};

static BACKEND_POD: Record = Record { name: "pod of a BackendConfig", parts: &[POD_PLACEMENT] };

static BACKEND_CONFIG_SPEC: Record = Record {
    name: "spec of a BackendConfig",
    parts: &[&[
        keeps("name", Text, ""),
        keeps("env", TEXT_MAP, ""),
        keeps("pod", Shape::Record(&BACKEND_POD), ""),
        keeps("autoUpdate", Bool, ""),
    ]],
};

/// A resource with this spec.
macro_rules! resource {
    ($(#[doc = $doc:literal])* $resource:ident $name:literal, $($field:expr),+) => {
        $(#[doc = $doc])*
        pub(crate) static $resource: Record = Record {
            name: $name,
            parts: &[&[
                required(acts("apiVersion", Text, "")),
                required(acts("kind", Text, "")),
                required(acts("metadata", Shape::Record(&kube::METADATA), "")),
                $($field),+
            ]],
        };
    };
}

resource!(/// `kind: Function`.
    FUNCTION "Function", required(acts("spec", Shape::Record(&FUNCTION_SPEC), "")), keeps("status", Any, ""));
resource!(/// `kind: Source`.
    SOURCE "Source", required(acts("spec", Shape::Record(&SOURCE_SPEC), "")), keeps("status", Any, ""));
resource!(/// `kind: Sink`.
    SINK "Sink", required(acts("spec", Shape::Record(&SINK_SPEC), "")), keeps("status", Any, ""));
resource!(/// `kind: FunctionMesh`.
    FUNCTION_MESH "FunctionMesh", acts("spec", Shape::Record(&FUNCTION_MESH_SPEC), ""), keeps("status", Any, ""));
resource!(/// `kind: BackendConfig`.
    BACKEND_CONFIG "BackendConfig", keeps("spec", Shape::Record(&BACKEND_CONFIG_SPEC), ""), keeps("status", Any, ""));
resource!(/// `kind: ConfigMap`.
    CONFIG_MAP "ConfigMap", acts("data", TEXT_MAP, ""), keeps("binaryData", TEXT_MAP, ""), keeps("immutable", Bool, ""));
resource!(/// `kind: Secret`.
    SECRET "Secret", acts("data", TEXT_MAP, ""), acts("stringData", TEXT_MAP, ""), keeps("type", Text, ""), keeps("immutable", Bool, ""));

/// The spec of a resource or of a part of a mesh.
pub(crate) fn spec_of(kind: crate::Kind) -> &'static Record {
    match kind {
        crate::Kind::Function => &FUNCTION_SPEC,
        crate::Kind::Source => &SOURCE_SPEC,
        crate::Kind::Sink => &SINK_SPEC,
    }
}
