//! JSON as Pulsar has it. The golden texts are what Pulsar 4.2.4's own `ObjectMapperFactory` mapper writes for the same
//! values; fields come in another order there, which JSON does not mind.

mod instances;
mod reference;
mod rules;
mod updates;

use super::*;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn written<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Reading `golden` and writing it again changes nothing.
fn round_trip<T: Serialize + DeserializeOwned>(golden: Value) {
    let read: T = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!(written(&read), golden);
}

#[test]
fn empty_records_are_written_as_pulsar_writes_them() {
    assert_eq!(written(&FunctionConfig::default()), json!({"subscriptionPosition": "Latest"}));
    assert_eq!(
        written(&ConsumerConfig::default()),
        json!({"schemaProperties": {}, "consumerProperties": {}, "poolMessages": false, "regexPattern": false})
    );
    assert_eq!(written(&ProducerConfig::default()), json!({}));
    assert_eq!(written(&BatchingConfig::default()), json!({"enabled": true, "batchingMaxPublishDelayMs": 10}));
    assert_eq!(written(&WindowConfig::default()), json!({}));
    assert_eq!(written(&Resources::DEFAULT), json!({"cpu": 1.0, "ram": 1073741824, "disk": 10737418240u64}));
    assert_eq!(written(&SourceConfig::default()), json!({}));
    assert_eq!(written(&SinkConfig::default()), json!({"sourceSubscriptionPosition": "Latest"}));
    assert_eq!(written(&ConnectorDefinition::default()), json!({}));
    assert_eq!(written(&UpdateOptions::default()), json!({"updateAuthData": false}));
    assert_eq!(written(&PackageMetadata::default()), json!({"createTime": 0, "modificationTime": 0}));
    assert_eq!(written(&FunctionState::default()), json!({}));
}

#[test]
fn status_and_statistics_have_pulsars_names_and_nulls() {
    round_trip::<FunctionStatus>(json!({"numInstances":1,"numRunning":1,"instances":[{"instanceId":0,"status":{
        "running":true,"numRestarts":0,"numReceived":0,"numSuccessfullyProcessed":0,"numUserExceptions":1,
        "latestUserExceptions":[{"exceptionString":"boom","timestampMs":7}],"numSystemExceptions":0,
        "averageLatency":0.0,"lastInvocationTime":0,"workerId":"w"}}]}));
    round_trip::<SourceStatus>(json!({"numInstances":1,"numRunning":0,"instances":[{"instanceId":0,"status":{
        "running":false,"error":"x","numRestarts":0,"numReceivedFromSource":0,"numSystemExceptions":0,
        "numSourceExceptions":0,"numWritten":0,"lastReceivedTime":0}}]}));
    round_trip::<SinkStatus>(json!({"numInstances":1,"numRunning":0,"instances":[{"instanceId":0,"status":{
        "running":false,"numRestarts":0,"numReadFromPulsar":0,"numSystemExceptions":0,"numSinkExceptions":0,
        "numWrittenToSink":0,"lastReceivedTime":0}}]}));
    let zero = json!({"receivedTotal":0,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,
        "userExceptionsTotal":0,"avgProcessLatency":null});
    let mut metrics = zero.clone();
    metrics["1min"] = zero.clone();
    metrics["lastInvocation"] = Value::Null;
    let mut stats = metrics.clone();
    metrics["userMetrics"] = json!({});
    stats["instances"] = json!([{"instanceId":0,"metrics":metrics.clone()}]);
    assert_eq!(written(&FunctionStats::of(vec![FunctionInstanceStats::default()])), stats);
    round_trip::<FunctionStats>(stats);
    round_trip::<WorkerFunctionInstanceStats>(json!({"name": "t/n/f:0", "metrics": metrics}));
    round_trip::<FunctionState>(json!({"key":"k","stringValue":"v","byteValue":"AQID","numberValue":4,"version":5}));
}

#[test]
fn counts_of_a_function_are_those_of_its_instances() {
    let instance = |received_total, avg_process_latency, last_invocation| FunctionInstanceStats {
        metrics: FunctionInstanceStatsData {
            received_total,
            avg_process_latency,
            last_invocation,
            ..Default::default()
        },
        ..Default::default()
    };
    let stats = FunctionStats::of(vec![
        instance(3, Some(2.0), Some(10)),
        instance(4, None, None),
        instance(u64::MAX, Some(4.0), Some(30)),
    ]);
    assert_eq!(stats.received_total, u64::MAX);
    assert_eq!(stats.avg_process_latency, Some(3.0));
    assert_eq!(stats.last_invocation, Some(30));
}

#[test]
fn a_configuration_as_pulsar_writes_it_is_read_whole() {
    let function = golden(include_str!("../golden/function.json"));
    assert_eq!(written(&parse_function_config(&function.to_string()).unwrap()), function);
    round_trip::<FunctionConfig>(function);

    let source = golden(include_str!("../golden/source.json"));
    assert_eq!(written(&parse_source_config(&source.to_string()).unwrap()), source);

    let sink = golden(include_str!("../golden/sink.json"));
    assert_eq!(written(&parse_sink_config(&sink.to_string()).unwrap()), sink);
}

#[test]
fn null_is_absent_and_scalars_are_read_as_jackson_reads_them() {
    let read = parse_function_config(
        r#"{"tenant":null,"parallelism":"3","className":7,"autoAck":"true","inputSpecs":{"t":{"isRegexPattern":true}}}"#,
    );
    let read = read.unwrap();
    assert_eq!((read.tenant, read.parallelism, read.auto_ack), (None, Some(3), Some(true)));
    assert_eq!(read.class_name.as_deref(), Some("7"));
    assert!(read.input_specs.unwrap()["t"].regex_pattern, "Gson's and people's name of the same field");
}

#[test]
fn every_mistake_is_told_at_once_with_the_name_that_was_meant() {
    let wrong = parse_function_config(
        r#"{"clasName":"X","input":["a"],"parallelism":"many","resources":{"ram":"256m","cpu":"500m","gpu":1},
            "processingGuarantees":"at_least_once","windowConfig":{"windowLengthDurationMs":"10s"},
            "inputSpecs":{"t":{"schema_type":"json"}},"userConfig":[],"log-topic":"l","timeoutMs":1.5}"#,
    );
    let told: Vec<String> = wrong.unwrap_err().into_iter().map(|p| format!("{} | {}", p.field, p.message)).collect();
    let expected = [
        "clasName | unknown field `clasName`, did you mean `className`?",
        "input | unknown field `input`, did you mean `inputs`?",
        "inputSpecs.t.schema_type | unknown field `schema_type` in `inputSpecs.t`, did you mean `schemaType`?",
        "log-topic | unknown field `log-topic`, did you mean `logTopic`?",
        "parallelism | `parallelism` must be a whole number, found \"many\"",
        "processingGuarantees | `processingGuarantees` must be one of ATLEAST_ONCE, ATMOST_ONCE, EFFECTIVELY_ONCE, \
         MANUAL, found \"at_least_once\", did you mean ATLEAST_ONCE?",
        "resources.cpu | `resources.cpu` must be a number, found \"500m\": it is a number of cores, such as 0.5",
        "resources.gpu | unknown field `gpu` in `resources`, did you mean `cpu`?",
        "resources.ram | `resources.ram` must be a whole number, found \"256m\": it is a plain number of bytes, such as \
         268435456; in Kubernetes `m` would mean thousandths of a byte",
        "timeoutMs | `timeoutMs` must be a whole number, found 1.5",
        "userConfig | `userConfig` must be an object, found a list",
        "windowConfig.windowLengthDurationMs | `windowConfig.windowLengthDurationMs` must be a whole number, found \
         \"10s\": it is a plain number of milliseconds, such as 10000",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_stored_by_another_version_is_read_without_the_names_we_do_not_know() {
    let read: FunctionConfig = serde_json::from_str(r#"{"name":"f","fromTheFuture":1}"#).unwrap();
    assert_eq!(read.name.as_deref(), Some("f"));
    assert!(serde_json::from_str::<FunctionConfig>(r#"{"name":[]}"#).is_err());
}

#[test]
fn a_number_of_the_user_is_kept_to_its_last_bit() {
    round_trip::<FunctionConfig>(
        json!({"userConfig": {"x": -2.1671100231665982e-142}, "subscriptionPosition": "Latest"}),
    );
    let text = r#"{"userConfig":{"x":-2.1671100231665982e-142}}"#;
    assert_eq!(written(&parse_function_config(text).unwrap())["userConfig"]["x"], json!(-2.1671100231665982e-142));
}

#[test]
fn a_hostile_configuration_is_refused_in_few_words() {
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(CONFIG_BYTES_MAX));
    assert!(parse_function_config(&long).unwrap_err().to_string().contains("longer than"));
    let deep = "[".repeat(100_000);
    assert!(parse_function_config(&deep).unwrap_err().to_string().contains("no JSON"));
    let many: String = (0..5_000).map(|i| format!(r#""nothing{i}":0,"#)).collect();
    let many = parse_function_config(&format!(r#"{{{many}"x\n{}":0}}"#, "y".repeat(9_000))).unwrap_err().to_string();
    assert!(many.starts_with("5001 problems:") && many.ends_with("and 4901 more"), "{many}");
    assert!(many.len() < 10_000 && many.lines().count() == 102);
    for no_object in ["[]", "null", "7", "\"text\""] {
        assert!(parse_sink_config(no_object).unwrap_err().to_string().contains("must be an object"), "{no_object}");
    }
}

/// Values with the names of our fields in wrong places, so that readers see every type everywhere.
fn hostile() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "inputs",
        "inputSpecs",
        "resources",
        "ram",
        "windowConfig",
        "runtime",
        "parallelism",
        "userConfig",
        "autoAck",
        "producerConfig",
        "cryptoConfig",
        "batchingConfig",
        "configs",
        "x\u{0}y",
        "ünïcode",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[0-9.]{0,30}[a-zA-Z]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused(value in hostile(), text in ".{0,64}") {
        for json in [value.to_string(), text] {
            let _ = from_details(&json);
            for problems in [
                parse_function_config(&json).map(|read| written(&read)).err(),
                Draft::<FunctionConfig>::read(&json).finish(Host::Geminga).map(|read| read.details()).err(),
                Draft::<SourceConfig>::read(&json).finish(Host::Pulsar).map(|read| read.details()).err(),
                Draft::<SinkConfig>::read(&json).finish(Host::Geminga).map(|read| read.details()).err(),
            ].into_iter().flatten() {
                prop_assert!(!problems.is_empty());
                prop_assert!(!problems.to_string().contains('\0'));
            }
        }
    }

    #[test]
    fn what_was_read_is_written_so_that_it_reads_the_same(value in hostile()) {
        if let Ok(read) = serde_json::from_value::<FunctionConfig>(value) {
            let again = parse_function_config(&written(&read).to_string()).unwrap();
            prop_assert_eq!(again, read);
        }
    }
}
