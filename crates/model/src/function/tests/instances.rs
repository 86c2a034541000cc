//! What instances are told and what REST returns, beside what Pulsar 4.2.4 makes of the same configurations.
//!
//! `golden/pulsar-4.2.4.json` was written by its `FunctionConfigUtils`, `SourceConfigUtils`, `SinkConfigUtils` (`convert`,
//! `convertFromDetails`) and `RuntimeUtils.getGoInstanceCmd`. Where we differ on purpose, a test says so.

use super::*;
use serde_json::{Map, Value, json};

/// JSON within texts taken out of them: Gson and serde order and escape it differently.
fn unfolded(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), unfolded(value))).collect(),
        Value::Array(items) => items.iter().map(unfolded).collect(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => unfolded(&inner),
            _ => value.clone(),
        },
        Value::Number(number) => json!(number.as_f64()),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

fn entries(kind: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("../golden/pulsar-4.2.4.json")).unwrap();
    all.into_iter().filter(|entry| entry["kind"] == kind).collect()
}

fn finished<C: Component>(config: &Value) -> C {
    Draft::<C>::read(&config.to_string()).finish(Host::Geminga).unwrap()
}

fn check_details<C: Component>(kind: &str) {
    let entries = entries(kind);
    assert!(!entries.is_empty());
    for entry in entries {
        let ours = finished::<C>(&entry["config"]).details();
        assert_eq!(unfolded(&ours), unfolded(&entry["details"]), "{}", entry["config"]);
    }
}

#[test]
fn function_details_are_those_of_pulsar() {
    check_details::<FunctionConfig>("function");
    check_details::<SourceConfig>("source");
    check_details::<SinkConfig>("sink");
}

/// Everything Pulsar returns we return, except what is empty there; beyond it we keep what Pulsar forgets.
fn check_returned<C: Component>(kind: &str, kept: &[&str]) {
    for entry in entries(kind) {
        let mut ours = written(&finished::<C>(&entry["config"]));
        let mut theirs = entry["returned"].clone();
        let unsaid = |fields: &mut Map<String, Value>| fields.retain(|_, value| *value != json!(""));
        unsaid(theirs.as_object_mut().unwrap());
        theirs.get_mut("producerConfig").and_then(Value::as_object_mut).map(unsaid);
        // The default of an action that nobody chose.
        if let Some(crypto) = theirs.pointer_mut("/producerConfig/cryptoConfig").and_then(Value::as_object_mut) {
            crypto.retain(|name, _| !name.ends_with("FailureAction"));
        }
        if let Some(inputs) = theirs.get_mut("inputs").and_then(Value::as_array_mut) {
            inputs.sort_by_key(|topic| topic.to_string());
        }
        ours.as_object_mut().unwrap().retain(|name, _| !kept.contains(&name.as_str()) || !theirs[name].is_null());
        assert_eq!(unfolded(&ours), unfolded(&theirs), "{}", entry["config"]);
    }
}

#[test]
fn what_rest_returns_is_what_pulsar_returns_and_what_it_forgets() {
    let forgotten = ["maxPendingAsyncRequests", "jar", "py", "go", "skipToLatest", "customSchemaOutputs"];
    let types = ["inputTypeClassName", "outputTypeClassName", "forwardSourceMessageProperty"];
    check_returned::<FunctionConfig>("function", &[&forgotten[..], &types[..]].concat());
    check_returned::<SourceConfig>("source", &["archive"]);
    check_returned::<SinkConfig>("sink", &["archive"]);
}

/// What an instance cannot know of its details.
fn told(mut config: FunctionConfig) -> FunctionConfig {
    config.jar = config.jar.filter(|jar| jar.starts_with("builtin://"));
    (config.py, config.go, config.max_pending_async_requests) = (None, None, None);
    // Written anew of the properties that the details carry.
    if config.custom_schema_outputs.is_some() {
        let topic = config.output.clone().unwrap();
        config.custom_schema_outputs = Some([(topic, serde_json::to_string(&config.output_schema()).unwrap())].into());
    }
    config
}

#[test]
fn an_instance_finds_in_its_details_what_they_were_made_of() {
    for entry in entries("function") {
        let config = told(finished(&entry["config"]));
        let found = from_details(&entry["details"].to_string());
        assert_eq!(found, Ok(AnyConfig::Function(Box::new(config))), "{}", entry["config"]);
    }
    for entry in entries("source") {
        let mut config: SourceConfig = finished(&entry["config"]);
        config.archive = config.archive.filter(|archive| archive.starts_with("builtin://"));
        assert_eq!(from_details(&entry["details"].to_string()), Ok(AnyConfig::Source(Box::new(config))));
    }
    for entry in entries("sink") {
        let mut config: SinkConfig = finished(&entry["config"]);
        config.archive = config.archive.filter(|archive| archive.starts_with("builtin://"));
        assert_eq!(from_details(&entry["details"].to_string()), Ok(AnyConfig::Sink(Box::new(config))));
    }
}

#[test]
fn details_of_other_writers_are_read_too() {
    // Numbers for names and for texts, no component type, a type without the field it comes from.
    let found = from_details(
        r#"{"name":"f","processingGuarantees":1,"runtime":3,"source":{"inputSpecs":{"in":{}},"subscriptionType":"FAILOVER",
            "timeoutMs":5},"sink":{"topic":"out"},"resources":{"ram":"2097152"},"fromTheFuture":{}}"#,
    );
    let Ok(AnyConfig::Function(config)) = found else { panic!("{found:?}") };
    assert_eq!(config.processing_guarantees, Some(Guarantees::AtMostOnce));
    assert_eq!((config.runtime, config.retain_ordering, config.timeout_ms), (Some(Runtime::Go), Some(true), Some(5)));
    assert_eq!(config.resources.unwrap().ram, Some(2097152));
    let mesh =
        r#"{"componentType":"FUNCTION","userConfig":"null","secretsMap":"null","source":{"inputSpecs":{"in":{}}}}"#;
    assert!(from_details(mesh).is_ok(), "Function Mesh's operator writes null for no map");
    assert!(matches!(from_details("{}"), Ok(AnyConfig::Source(_))), "without inputs it is a source");
    let sink = r#"{"source":{"inputSpecs":{"in":{}}},"sink":{"className":"S"}}"#;
    assert!(matches!(from_details(sink), Ok(AnyConfig::Sink(_))));
    for (wrong, says) in [
        ("no", "function details are no JSON"),
        ("[]", "must be an object"),
        (r#"{"componentType":1,"userConfig":"no"}"#, "userConfig of the function details cannot be read"),
        (r#"{"runtime":2,"componentType":1}"#, "runtime of the function details has no value 2"),
        (r#"{"source":{"inputSpecs":[]}}"#, "`source.inputSpecs` must be an object"),
    ] {
        let told = from_details(wrong).map(|_| ()).err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(told.contains(says), "{wrong}: {told}");
    }
}

#[test]
fn a_window_that_is_once_and_ours_survives_its_details() {
    let config = json!({"name": "f", "className": "m.F", "py": "f.py", "inputs": ["in"], "userConfig": {"a": 1},
        "windowConfig": {"windowLengthCount": 3}, "processingGuarantees": "EFFECTIVELY_ONCE"});
    let config: FunctionConfig = finished(&config);
    assert_eq!(from_details(&config.details().to_string()), Ok(AnyConfig::Function(Box::new(told(config)))));
}

#[test]
fn a_go_instance_is_told_what_pulsar_tells_it() {
    let mut checked = 0;
    for entry in entries("function").iter().filter(|entry| entry["go"].is_object()) {
        let instance = GoInstance {
            service_url: "pulsar://127.0.0.1:6650".to_owned(),
            instance_id: 2,
            function_id: "fid".to_owned(),
            function_version: "fver".to_owned(),
            max_buffered_tuples: 1024,
            port: 4000,
            metrics_port: 4001,
            cluster: "standalone".to_owned(),
            ..GoInstance::default()
        };
        let ours = instance.conf(&finished::<FunctionConfig>(&entry["config"]));
        assert_eq!(unfolded(&ours), unfolded(&entry["go"]), "{}", entry["config"]);
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn a_go_function_keeps_its_order_unlike_in_pulsar() {
    let config = json!({"name": "g", "go": "g", "inputs": ["in"], "retainOrdering": true});
    let conf = GoInstance::default().conf(&finished::<FunctionConfig>(&config));
    assert_eq!(conf["subscriptionType"], 1, "FAILOVER in Function.proto; Pulsar always says 0");
}

#[test]
fn ours_have_no_runtime_in_function_details() {
    for (code, runtime) in [("wasm", "WASM"), ("exec", "PROCESS")] {
        let config: FunctionConfig = finished(&json!({"name": "f", "inputs": ["in"], code: "x"}));
        assert_eq!(config.runtime.map(Runtime::name), Some(runtime));
        assert_eq!(config.details()["runtime"], Value::Null);
    }
}
