//! What is refused, a rule a line: a configuration, and what is said of it. The words of the first tables are Pulsar's.

use super::*;
use serde_json::{Map, Value, json};

/// Problems of `base` with `fields` laid over it, `null` taking one away.
fn problems<C: Component>(base: &Value, fields: &Value, host: Host) -> Vec<String> {
    let mut config = base.clone();
    for (name, value) in fields.as_object().unwrap() {
        config[name] = value.clone();
    }
    let outcome = Draft::<C>::read(&config.to_string()).finish(host);
    outcome.err().into_iter().flatten().map(|problem| problem.message).collect()
}

fn check<C: Component>(base: &Value, rules: &[(Value, &str)], host: Host) {
    assert_eq!(problems::<C>(base, &json!({}), host), [""; 0], "the base is right");
    for (fields, message) in rules {
        let told = problems::<C>(base, fields, host);
        let expected: Vec<&str> = Some(*message).filter(|message| !message.is_empty()).into_iter().collect();
        assert_eq!(told, expected, "{fields}");
    }
}

fn java() -> Value {
    json!({"name": "f", "className": "org.X", "inputs": ["in"], "output": "out", "jar": "x.jar"})
}

fn python() -> Value {
    json!({"name": "f", "className": "m.F", "inputs": ["in"], "py": "f.py"})
}

fn go() -> Value {
    json!({"name": "f", "inputs": ["in"], "go": "f"})
}

fn window(fields: Value) -> Value {
    let mut window = json!({"windowLengthCount": 10});
    for (name, value) in fields.as_object().unwrap() {
        window[name] = value.clone();
    }
    json!({ "windowConfig": window })
}

#[test]
fn what_pulsar_refuses_of_a_function() {
    let once = "EFFECTIVELY_ONCE";
    check::<FunctionConfig>(
        &java(),
        &[
            (json!({"className": null}), "Function class name is not provided."),
            (json!({"className": null, "jar": "x.nar"}), ""),
            (json!({"inputs": null}), "No input topic(s) specified for the function"),
            (json!({"inputs": ["a/b"]}), "Input topic a/b is invalid"),
            (json!({"topicsPattern": "x://a/b/c"}), "Input topic x://a/b/c is invalid"),
            (json!({"output": "a/b"}), "Output topic a/b is invalid"),
            (json!({"logTopic": "a/b"}), "LogTopic topic a/b is invalid"),
            (json!({"maxMessageRetries": 1, "deadLetterTopic": "a/b"}), "DeadLetter topic a/b is invalid"),
            (json!({"logLevel": "LOUD"}), "LogLevel LOUD is invalid"),
            (json!({"logLevel": "debug"}), ""),
            (json!({"parallelism": 0}), "Function parallelism must be a positive number"),
            (
                json!({"output": "in"}),
                "Output topic in is also being used as an input topic (topics must be one or the other)",
            ),
            (json!({"resources": {"cpu": 0}}), "The cpu allocation for the function must be positive"),
            (json!({"resources": {"ram": -1}}), "The ram allocation for the function must be positive"),
            (json!({"resources": {"disk": 0}}), "The disk allocation for the function must be positive"),
            (json!({"timeoutMs": 0}), "Function timeout must be a positive number"),
            (
                json!({"timeoutMs": 9, "processingGuarantees": "MANUAL"}),
                "Message timeout can only be specified with processing guarantee is ATLEAST_ONCE",
            ),
            (
                json!({"maxMessageRetries": 0, "processingGuarantees": once}),
                "MaxMessageRetries and Effectively once don't gel well",
            ),
            (json!({"maxMessageRetries": -1, "processingGuarantees": once}), ""),
            (json!({"deadLetterTopic": "dl"}), "Dead Letter Topic specified, however max retries is set to infinity"),
            (
                json!({"retainKeyOrdering": true, "processingGuarantees": once}),
                "When effectively once processing guarantee is specified, retain Key ordering cannot be set",
            ),
            (
                json!({"retainKeyOrdering": true, "retainOrdering": true}),
                "Only one of retain ordering or retain key ordering can be set",
            ),
            (json!({"jar": "builtin://../x"}), "Invalid filename: builtin://../x"),
            (json!({"inputSpecs": {"a": {"receiverQueueSize": -1}}}), "Receiver queue size should be >= zero"),
            (
                json!({"inputSpecs": {"a": {"consumerProperties": {"negativeAckRedeliveryDelayMs": "1s"}}}}),
                "consumerProperties: negativeAckRedeliveryDelayMs must be a whole number that is not negative, found 1s",
            ),
            (json!({"inputSpecs": {"a": {"cryptoConfig": {}}}}), "CryptoKeyReader class name required"),
            (
                json!({"inputSpecs": {"a": {"schemaType": "json", "serdeClassName": "S"}}}),
                "Only one of schemaType or serdeClassName should be set in inputSpec",
            ),
            (
                json!({"outputSchemaType": "json", "outputSerdeClassName": "S"}),
                "Only one of outputSchemaType or outputSerdeClassName should be set",
            ),
            (
                json!({"producerConfig": {"cryptoConfig": {"encryptionKeys": ["k"]}}}),
                "CryptoKeyReader class name required",
            ),
            (
                json!({"producerConfig": {"cryptoConfig": {"cryptoKeyReaderClassName": "R"}}}),
                "Must provide encryption key name for crypto key reader",
            ),
            (
                json!({"autoAck": false, "processingGuarantees": "ATMOST_ONCE"}),
                "When Guarantees == ATMOST_ONCE, autoAck must be equal to true. This is a contradictory configuration, \
                 autoAck will be removed later. Please refer to PIP: https://github.com/apache/pulsar/issues/15560",
            ),
            (json!({"jar": null}), "Function language runtime is either not set or cannot be determined"),
            (
                json!({"fqfn": "only/two"}),
                "Fully qualified function names (FQFNs) must be of the form tenant/namespace/name",
            ),
            (
                json!({"fqfn": "a/b/c"}),
                "You must specify either a Fully Qualified Function Name (FQFN) or tenant, namespace, and function name",
            ),
        ],
        Host::Geminga,
    );
}

#[test]
fn without_defaults_nothing_is_there() {
    let told = FunctionConfig::default().validate(Host::Geminga).unwrap_err().to_string();
    let expected = "5 problems:
- Function tenant cannot be null
- Function namespace cannot be null
- Function name cannot be null
- Function language runtime is either not set or cannot be determined
- No input topic(s) specified for the function";
    assert_eq!(told, expected);
}

#[test]
fn what_pulsar_refuses_of_a_window() {
    let with = window;
    check::<FunctionConfig>(
        &java(),
        &[
            (with(json!({})), ""),
            (with(json!({"windowLengthCount": null})), "Window length is not specified"),
            (
                with(json!({"windowLengthDurationMs": 5})),
                "Window length for time and count are set! Please set one or the other.",
            ),
            (with(json!({"windowLengthCount": 0, "slidingIntervalCount": 1})), "Window length must be positive [0]"),
            (
                with(json!({"windowLengthCount": null, "windowLengthDurationMs": -1, "slidingIntervalCount": 1})),
                "Window length must be positive [-1]",
            ),
            (with(json!({"slidingIntervalCount": 0})), "Sliding interval must be positive [0]"),
            (with(json!({"slidingIntervalDurationMs": -2})), "Sliding interval must be positive [-2]"),
            (with(json!({"timestampExtractorClassName": "T", "maxLagMs": -1})), "Lag duration must be positive [-1]"),
            (
                with(json!({"timestampExtractorClassName": "T", "watermarkEmitIntervalMs": 0})),
                "Watermark interval must be positive [0]",
            ),
            (with(json!({"maxLagMs": -1})), ""),
            (
                with(json!({"lateDataTopic": "late"})),
                "Late data topic can be defined only when specifying a timestamp extractor class",
            ),
        ],
        Host::Geminga,
    );
    let mut by_hand: Map<String, Value> = with(json!({})).as_object().unwrap().clone();
    by_hand.insert("processingGuarantees".to_owned(), json!("MANUAL"));
    let told = problems::<FunctionConfig>(&java(), &Value::Object(by_hand), Host::Geminga);
    assert_eq!(told, ["Windows Function not support MANUAL delivery semantics."]);
    let auto = FunctionConfig { auto_ack: Some(true), ..parse_function_config(&java().to_string()).unwrap() };
    let auto = FunctionConfig { window_config: Some(WindowConfig::default()), ..auto };
    assert!(
        auto.validate(Host::Geminga).unwrap_err().to_string().contains("Cannot enable auto ack when using windowing")
    );
}

#[test]
fn what_pulsars_go_instance_cannot_do() {
    check::<FunctionConfig>(
        &go(),
        &[
            (
                json!({"processingGuarantees": "EFFECTIVELY_ONCE"}),
                "Effectively-once processing guarantees not yet supported in Go function",
            ),
            (window(json!({})), "Windowing is not supported in Go function yet"),
            (json!({"maxMessageRetries": 0}), "Message retries not yet supported in Go function"),
            (json!({"retainKeyOrdering": true}), "Retain Key Orderering not yet supported in Go function"),
            (json!({"retainOrdering": true}), ""),
        ],
        Host::Geminga,
    );
}

#[test]
fn python_can_here_what_it_cannot_on_pulsar() {
    let rules = [
        (
            json!({"processingGuarantees": "EFFECTIVELY_ONCE"}),
            "Effectively-once processing guarantees not yet supported in Python",
        ),
        (window(json!({})), "There is currently no support windowing in python"),
        (json!({"maxMessageRetries": 0}), "Message retries not yet supported in python"),
        (json!({"className": null}), "Function classname cannot be null"),
    ];
    check::<FunctionConfig>(&python(), &rules, Host::Pulsar);
    let here = rules.map(|(fields, message)| (fields, if message.contains("classname") { message } else { "" }));
    check::<FunctionConfig>(&python(), &here, Host::Geminga);

    let once: Value = [window(json!({})), json!({"processingGuarantees": "EFFECTIVELY_ONCE"})]
        .iter()
        .flat_map(|fields| fields.as_object().unwrap().clone())
        .collect();
    check::<FunctionConfig>(&python(), &[(once.clone(), "")], Host::Geminga);
    let refused = [(once, "Windows Function not support EFFECTIVELY_ONCE delivery semantics.")];
    check::<FunctionConfig>(&java(), &refused, Host::Pulsar);
}

#[test]
fn wasm_and_process_functions_are_ours() {
    for (code, named) in [("wasm", "f.wasm"), ("exec", "node f.js")] {
        let config = json!({"name": "f", "inputs": ["in"], code: named});
        check::<FunctionConfig>(&config, &[], Host::Geminga);
        let elsewhere = problems::<FunctionConfig>(&config, &json!({}), Host::Pulsar);
        assert_eq!(elsewhere, ["Function language runtime is either not set or cannot be determined"]);
    }
}

#[test]
fn what_only_we_refuse_of_a_function() {
    let same = "is also being used as an input topic (topics must be one or the other)";
    let full = format!("Output topic persistent://public/default/in {same}");
    let partition = format!("Output topic in-partition-0 {same}");
    let letters = format!("DeadLetter topic in {same}");
    let log = format!("LogTopic topic in {same}");
    check::<FunctionConfig>(
        &java(),
        &[
            (json!({"output": "persistent://public/default/in"}), &full),
            (json!({"output": "in-partition-0"}), &partition),
            (json!({"deadLetterTopic": "in", "maxMessageRetries": 1}), &letters),
            (json!({"logTopic": "in"}), &log),
            (
                json!({"inputSpecs": {"public/default/in": {}}}),
                "Input topics in and public/default/in are the same topic",
            ),
            (
                json!({"resources": {"ram": 256}}),
                "The ram allocation for the function is 256 bytes, less than 1 MiB: it is counted in bytes",
            ),
            (
                json!({"name": "../etc"}),
                "Function name ../etc is invalid: at most 255 letters, digits and any of -=:._",
            ),
            (json!({"name": ".."}), "Function name .. is invalid: at most 255 letters, digits and any of -=:._"),
            (json!({"parallelism": 2000000000}), "Function parallelism must be at most 10000"),
            (json!({"py": "f.py"}), "Only one of jar, py, go, wasm and exec can be given, found jar and py"),
            (json!({"runtime": "GO"}), "jar is the code of a JAVA function, but runtime is GO"),
            (
                json!({"userConfig": {"__WINDOWCONFIGS__": {}}}),
                "userConfig must not have the key __WINDOWCONFIGS__, which the framework uses",
            ),
            (json!({"batchBuilder": "BIG"}), "batchBuilder must be DEFAULT or KEY_BASED, found BIG"),
            (json!({"runtimeFlags": "-Dx='y"}), "runtimeFlags cannot be split into words: a quote is not closed"),
            (json!({"jar": null, "exec": " "}), "exec names no program"),
            (json!({"jar": null, "exec": "sh \""}), "exec cannot be split into words: a quote is not closed"),
            (json!({"maxPendingAsyncRequests": 0}), "maxPendingAsyncRequests must be a positive number"),
            (
                json!({"autoAck": false, "processingGuarantees": "EFFECTIVELY_ONCE"}),
                "When Guarantees == EFFECTIVELY_ONCE, autoAck must be equal to true: a message is acknowledged in the \
                 commit that stores its effects",
            ),
            (
                window(json!({"slidingIntervalCount": 1, "slidingIntervalDurationMs": 1})),
                "Sliding interval for time and count are set! Please set one or the other.",
            ),
        ],
        Host::Geminga,
    );
    let many: Vec<String> = (0..10_001).map(|number| format!("t{number}")).collect();
    let many = problems::<FunctionConfig>(&java(), &json!({"inputs": many}), Host::Geminga);
    assert_eq!(many, ["10001 input topics are more than 10000; topicsPattern reads as many as there are"]);
    let schema = problems::<FunctionConfig>(&java(), &json!({"customSchemaInputs": {"c": "avro"}}), Host::Geminga);
    assert!(schema[0].starts_with("Topic c has an incorrect schema Info: "), "{schema:?}");
    let schema =
        problems::<FunctionConfig>(&java(), &json!({"customSchemaOutputs": {"out": "{\"x\":1}"}}), Host::Geminga);
    assert!(schema[0].starts_with("Incorrect custom schema outputs,Topic out"), "{schema:?}");
}

#[test]
fn what_is_refused_of_a_source() {
    check::<SourceConfig>(
        &json!({"name": "s", "topicName": "o", "archive": "a.nar"}),
        &[
            (json!({"name": null}), "Source name cannot be null"),
            (json!({"topicName": "a/b"}), "Topic name is invalid"),
            (json!({"logTopic": "a/b"}), "LogTopic topic a/b is invalid"),
            (json!({"logLevel": "x"}), "LogLevel x is invalid"),
            (json!({"logLevel": "trace"}), ""),
            (json!({"parallelism": -1}), "Source parallelism must be a positive number"),
            (json!({"resources": {"cpu": -1}}), "The cpu allocation for the function must be positive"),
            (json!({"batchSourceConfig": {}}), "BatchSourceConfig does not specify Discovery Trigger ClassName"),
            (
                json!({"serdeClassName": "S", "schemaType": "json"}),
                "Only one of serdeClassName or schemaType should be set",
            ),
            (
                json!({"configs": {"__BATCHSOURCECONFIGS__": ""}}),
                "configs must not have the key __BATCHSOURCECONFIGS__, which the framework uses",
            ),
            (json!({"sourceType": "file"}), "Cannot specify both archive and source-type"),
            (json!({"sourceType": "file", "archive": null}), ""),
        ],
        Host::Geminga,
    );
}

#[test]
fn what_is_refused_of_a_sink() {
    let inputs = "Must specify at least one topic of input via topicToSerdeClassName, topicsPattern, topicToSchemaType or \
                  inputSpecs";
    check::<SinkConfig>(
        &json!({"name": "s", "inputs": ["i"], "sinkType": "jdbc"}),
        &[
            (json!({"name": null}), "Sink name cannot be null"),
            (json!({"inputs": []}), inputs),
            (json!({"inputs": ["a/b"]}), "Input topic a/b is invalid"),
            (json!({"parallelism": 0}), "Sink parallelism must be a positive number"),
            (json!({"timeoutMs": -1}), "Sink timeout must be a positive number"),
            (json!({"timeoutMs": 0}), ""),
            (
                json!({"inputSpecs": {"a": {"serdeClassName": "S", "schemaType": "json"}}}),
                "Only one of serdeClassName or schemaType should be set",
            ),
            (
                json!({"retainKeyOrdering": true, "processingGuarantees": "EFFECTIVELY_ONCE"}),
                "When effectively once processing guarantee is specified, retain Key ordering cannot be set",
            ),
            (
                json!({"retainKeyOrdering": true, "retainOrdering": true}),
                "Only one of retain ordering or retain key ordering can be set",
            ),
            (json!({"archive": "x.nar"}), "Cannot specify both archive and sink-type"),
            (json!({"archive": "builtin://jdbc"}), ""),
            (
                json!({"deadLetterTopic": "d", "maxMessageRetries": 0}),
                "Dead Letter Topic specified, however max retries is set to infinity",
            ),
        ],
        Host::Geminga,
    );
    let told = problems::<SinkConfig>(
        &json!({"name": "s", "inputs": ["i"]}),
        &json!({"transformFunctionConfig": "no"}),
        Host::Geminga,
    );
    assert!(told[0].starts_with("transformFunctionConfig is no JSON object"), "{told:?}");
}

#[test]
fn all_mistakes_come_in_one_answer_and_none_that_only_follows_from_another() {
    let draft = Draft::<FunctionConfig>::read(
        r#"{"clasName":"m.F","input":["in"],"py":"f.py","parallelism":0,"output":"a/b","timeoutMs":"10s",
            "retainOrdering":true,"retainKeyOrdering":true}"#,
    );
    let told = draft.at("t", "n", "f").finish(Host::Geminga).unwrap_err().to_string();
    let expected = "6 problems:
- unknown field `clasName`, did you mean `className`?
- unknown field `input`, did you mean `inputs`?
- `timeoutMs` must be a whole number, found \"10s\": it is a plain number of milliseconds, such as 10000
- Output topic a/b is invalid
- Function parallelism must be a positive number
- Only one of retain ordering or retain key ordering can be set";
    // Neither a missing class nor missing inputs: they are there, under another name.
    assert_eq!(told, expected);
}

#[test]
fn names_and_defaults_follow_from_what_is_given() {
    let finish = |json: Value| Draft::<FunctionConfig>::read(&json.to_string()).finish(Host::Geminga).unwrap();
    let config = finish(json!({"className": "org.acme.Shout", "jar": "x.jar", "inputs": ["in"]}));
    assert_eq!(config.fqfn(), "public/default/Shout");
    assert_eq!(config.subscription_name(), "public/default/Shout");
    assert_eq!(config.subscription_type(), crate::SubscriptionType::Shared);
    assert_eq!((config.parallelism, config.max_pending_async_requests), (Some(1), Some(1000)));
    assert_eq!(config.resources, Some(Resources::DEFAULT));
    assert_eq!(config.processing_guarantees, Some(Guarantees::AtLeastOnce));
    let named = finish(json!({"fqfn": "t/n/f", "go": "g", "inputs": ["in"], "subName": "s", "retainOrdering": true}));
    assert_eq!((named.fqfn(), named.subscription_name()), ("t/n/f".to_owned(), "s".to_owned()));
    assert_eq!(named.subscription_type(), crate::SubscriptionType::Failover);
    let once = finish(json!({"name": "f", "wasm": "w", "inputs": ["in"], "processingGuarantees": "EFFECTIVELY_ONCE"}));
    assert_eq!(once.subscription_type(), crate::SubscriptionType::Failover);
    let keyed = finish(json!({"name": "f", "wasm": "w", "inputs": ["in"], "retainKeyOrdering": true}));
    assert_eq!(keyed.subscription_type(), crate::SubscriptionType::KeyShared);
    let component = finish(json!({"wasm": "/lib/shout.v1.wasm", "inputs": ["in"]}));
    assert_eq!(component.name.as_deref(), Some("shout.v1"), "there is no class to be named after");
    let builtin = finish(json!({"name": "f", "functionType": "exclaim", "inputs": ["in"]}));
    assert_eq!((builtin.jar.as_deref(), builtin.runtime), (Some("builtin://exclaim"), Some(Runtime::Java)));
}

#[test]
fn the_examples_that_come_with_pulsar_are_accepted() {
    // `pulsar-functions/java-examples/src/main/resources/example-*.yaml`; the jar is given beside them.
    let package = "org.apache.pulsar.functions.api.examples";
    let common =
        json!({"tenant": "test", "namespace": "test-namespace", "autoAck": true, "parallelism": 1, "jar": "x"});
    for (fields, class) in [
        (json!({"name": "example", "inputs": ["test_src"], "output": "test_result"}), "ExclamationFunction"),
        (
            json!({"name": "stateful-example", "inputs": ["test_stateful_src"], "output": "test_stateful_result",
                "userConfig": {"PublishTopic": "test_stateful_result"}}),
            "CounterFunction",
        ),
        (
            json!({"name": "example", "inputs": ["test_src"], "output": "test_result",
                "windowConfig": {"windowLengthCount": 10, "slidingIntervalCount": 5}}),
            "AddWindowFunction",
        ),
    ] {
        let mut config = common.clone();
        config["className"] = json!(format!("{package}.{class}"));
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let stored = Draft::<FunctionConfig>::read(&config.to_string()).finish(Host::Pulsar).unwrap();
        let again = Draft::<FunctionConfig>::read(&config.to_string()).partial().unwrap();
        assert_eq!(stored.updated(&again), Ok(stored), "the same file as an update");
    }
}

#[test]
fn inputs_of_all_fields_become_one_map_of_complete_names() {
    let config = Draft::<FunctionConfig>::read(
        &json!({"name": "f", "wasm": "w", "inputs": ["a", "b"], "topicsPattern": "t/n/x-.*",
            "customSerdeInputs": {"c": "S"}, "customSchemaInputs": {"d": "{\"schemaType\":\"avro\"}"},
            "inputSpecs": {"b": {"schemaType": "json"}, "non-persistent://t/n/.*": {"isRegexPattern": true}}})
        .to_string(),
    );
    let config = config.finish(Host::Geminga).unwrap();
    let inputs = config.resolved_inputs();
    let names: Vec<&str> = inputs.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "non-persistent://t/n/.*",
            "persistent://public/default/a",
            "persistent://public/default/b",
            "persistent://public/default/c",
            "persistent://public/default/d",
            "persistent://t/n/x-.*",
        ]
    );
    assert_eq!(inputs["persistent://public/default/b"].schema_type.as_deref(), Some("json"), "the special field wins");
    assert_eq!(inputs["persistent://public/default/c"].serde_class_name.as_deref(), Some("S"));
    assert_eq!(inputs["persistent://public/default/d"].schema_type.as_deref(), Some("avro"));
    assert!(inputs["persistent://t/n/x-.*"].regex_pattern);
}
