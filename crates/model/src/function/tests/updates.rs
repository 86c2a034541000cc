//! What an update may change and what it leaves.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn stored<C: Component>(config: &Value) -> C {
    Draft::<C>::read(&config.to_string()).at("t", "n", "f").finish(Host::Geminga).unwrap()
}

fn updated<C: Component>(stored: &C, partial: &Value) -> Result<C, Vec<String>> {
    let partial = Draft::<C>::read(&partial.to_string()).partial().unwrap();
    stored.updated(&partial).map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
}

fn check<C: Component>(config: &Value, rules: &[(Value, &str)]) {
    let stored = stored::<C>(config);
    for (partial, message) in rules {
        assert_eq!(updated(&stored, partial).unwrap_err(), [*message], "{partial}");
    }
}

fn function() -> Value {
    json!({"className": "m.F", "py": "f.py", "inputs": ["in"], "inputSpecs": {"typed": {"schemaType": "json"}},
        "topicsPattern": "t/n/x-.*", "output": "out", "outputSchemaType": "json", "autoAck": true,
        "userConfig": {"a": 1}, "resources": {"cpu": 2.0, "ram": 33554432}, "subscriptionPosition": "Earliest"})
}

fn sink() -> Value {
    json!({"inputs": ["in"], "sinkType": "jdbc", "configs": {"a": 1}, "sourceSubscriptionPosition": "Earliest"})
}

#[test]
fn what_must_not_change_is_refused_in_pulsars_words() {
    check::<FunctionConfig>(
        &function(),
        &[
            (json!({"tenant": "other"}), "Tenants differ"),
            (json!({"namespace": "other"}), "Namespaces differ"),
            (json!({"name": "other"}), "Function Names differ"),
            (json!({"inputs": ["in", "new"]}), "Input Topics cannot be altered"),
            (json!({"topicsPattern": "t/n/y-.*"}), "Input Topics cannot be altered"),
            (
                json!({"inputSpecs": {"in": {"regexPattern": true}}}),
                "isRegexPattern for input topic in cannot be altered",
            ),
            (json!({"outputSerdeClassName": "S"}), "Output Serde mismatch"),
            (json!({"outputSchemaType": "avro"}), "Output Schema mismatch"),
            (json!({"processingGuarantees": "EFFECTIVELY_ONCE"}), "Processing Guarantees cannot be altered"),
            (json!({"retainOrdering": true}), "Retain Ordering cannot be altered"),
            (json!({"retainKeyOrdering": true}), "Retain Key Ordering cannot be altered"),
            (json!({"runtime": "GO"}), "Runtime cannot be altered"),
            (json!({"jar": "x.jar"}), "Runtime cannot be altered"),
            (json!({"autoAck": false}), "AutoAck cannot be altered"),
            (json!({"subName": "other"}), "Subscription Name cannot be altered"),
        ],
    );
    check::<SourceConfig>(
        &json!({"topicName": "o", "batchSourceConfig": {"discoveryTriggererClassName": "D"}}),
        &[
            (json!({"name": "other"}), "Function Names differ"),
            (json!({"processingGuarantees": "ATMOST_ONCE"}), "Processing Guarantees cannot be altered"),
            (
                json!({"batchSourceConfig": {"discoveryTriggererClassName": "E"}}),
                "DiscoverTriggerer class cannot be updated for batchsources",
            ),
        ],
    );
    check::<SourceConfig>(
        &json!({"topicName": "o"}),
        &[(
            json!({"batchSourceConfig": {"discoveryTriggererClassName": "E"}}),
            "Sources cannot be update between regular sources and batchsource",
        )],
    );
    check::<SinkConfig>(
        &sink(),
        &[
            (json!({"name": "other"}), "Sink Names differ"),
            (json!({"sourceSubscriptionName": "other"}), "Subscription Name cannot be altered"),
            (json!({"inputs": ["new"]}), "Input Topics cannot be altered"),
            (json!({"topicsPattern": "in"}), "isRegexPattern for input topic in cannot be altered"),
            (json!({"processingGuarantees": "MANUAL"}), "Processing Guarantees cannot be altered"),
            (json!({"retainOrdering": true}), "Retain Ordering cannot be altered"),
            (json!({"retainKeyOrdering": true}), "Retain Key Ordering cannot be altered"),
            (json!({"autoAck": false}), "AutoAck cannot be altered"),
        ],
    );
}

#[test]
fn all_refusals_of_an_update_come_at_once() {
    let stored = stored::<FunctionConfig>(&function());
    let told = updated(&stored, &json!({"inputs": ["x"], "autoAck": false, "runtime": "JAVA"})).unwrap_err();
    assert_eq!(told, ["Input Topics cannot be altered", "Runtime cannot be altered", "AutoAck cannot be altered"]);
}

#[test]
fn an_update_that_says_what_is_there_changes_nothing() {
    let function = function();
    let stored_function = stored::<FunctionConfig>(&function);
    for same in [
        json!({}),
        function.clone(),
        written(&stored_function),
        json!({"tenant": "t", "namespace": "n", "name": "f", "output": "out"}),
        json!({"inputs": ["persistent://public/default/in", "typed"], "subName": "t/n/f"}),
        json!({"resources": {"cpu": 2.0}, "subscriptionPosition": "Latest", "parallelism": 1}),
    ] {
        assert_eq!(updated(&stored_function, &same).unwrap(), stored_function, "{same}");
    }
    let stored_sink = stored::<SinkConfig>(&sink());
    for same in [json!({}), sink(), written(&stored_sink), json!({"archive": "builtin://jdbc", "timeoutMs": 0})] {
        assert_eq!(updated(&stored_sink, &same).unwrap(), stored_sink, "{same}");
    }
}

#[test]
fn an_update_takes_what_it_names_and_leaves_the_rest() {
    let stored = stored::<FunctionConfig>(&function());
    let new = updated(
        &stored,
        &json!({"className": "m.G", "py": "g.py", "parallelism": 3, "resources": {"ram": 67108864}, "userConfig": {},
            "inputSpecs": {"public/default/typed": {"schemaType": "json", "receiverQueueSize": 5}},
            "maxPendingAsyncRequests": 7, "skipToLatest": true, "logTopic": "log"}),
    );
    let new = new.unwrap();
    assert_eq!((new.class_name.as_deref(), new.py.as_deref(), new.parallelism), (Some("m.G"), Some("g.py"), Some(3)));
    let resources = Resources { cpu: Some(2.0), ram: Some(67108864), ..Resources::DEFAULT };
    assert_eq!(new.resources, Some(resources), "the cpu that is not named stays");
    assert_eq!(new.user_config, Some(Map::new()), "an empty one takes the place of the old");
    assert_eq!(new.input_specs.as_ref().unwrap()["typed"].receiver_queue_size, Some(5));
    assert_eq!(new.input_specs.as_ref().unwrap().len(), 3);
    assert_eq!((new.max_pending_async_requests, new.skip_to_latest), (Some(7), Some(true)));
    assert_eq!(new.subscription_position, Some(crate::InitialPosition::Earliest));
    assert_eq!(new.output, stored.output);
    assert!(new.validate(Host::Geminga).is_ok());
    assert_ne!(new, stored);
}

/// Configurations with any of the fields that have something to do with each other.
fn configs() -> impl Strategy<Value = Value> {
    let choices = vec![
        ("inputs", vec![json!(["in"]), json!(["in", "t/n/a"])]),
        ("topicsPattern", vec![json!("t/n/x-.*")]),
        ("inputSpecs", vec![json!({"in": {"schemaType": "json"}}), json!({"b": {"regexPattern": true}})]),
        ("processingGuarantees", vec![json!("ATMOST_ONCE"), json!("EFFECTIVELY_ONCE"), json!("MANUAL")]),
        ("retainOrdering", vec![json!(true), json!(false)]),
        ("retainKeyOrdering", vec![json!(true), json!(false)]),
        ("autoAck", vec![json!(true), json!(false)]),
        ("maxMessageRetries", vec![json!(-1), json!(0), json!(3)]),
        ("deadLetterTopic", vec![json!("dl")]),
        ("timeoutMs", vec![json!(0), json!(10)]),
        ("resources", vec![json!({"cpu": 0.5}), json!({})]),
        ("secrets", vec![json!({}), json!({"a": "b"})]),
        ("runtime", vec![json!("JAVA"), json!("WASM")]),
        ("className", vec![json!("org.X")]),
        ("windowConfig", vec![json!({"windowLengthCount": 3}), json!({"windowLengthDurationMs": 5})]),
        ("producerConfig", vec![json!({}), json!({"batchBuilder": "KEY_BASED", "maxPendingMessages": 0})]),
        ("batchBuilder", vec![json!("DEFAULT")]),
        ("subName", vec![json!("s")]),
        ("sinkType", vec![json!("jdbc")]),
        ("archive", vec![json!("a.nar")]),
        ("negativeAckRedeliveryDelayMs", vec![json!(0), json!(3)]),
        ("topicName", vec![json!("o")]),
        ("configs", vec![json!({}), json!({"a": null})]),
    ];
    let field = |(name, values): (&'static str, Vec<Value>)| {
        prop::option::of(prop::sample::select(values))
            .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let fields: Vec<_> = choices.into_iter().map(field).collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
}

/// What was accepted is normal for good: accepted again, the same again, and no update of itself.
fn stays_normal<C: Component>(config: &Value) -> Result<(), TestCaseError> {
    // Names of other components are skipped, as for a stored configuration.
    let mut config: C = serde_json::from_value(config.clone()).unwrap();
    config.place("t", "n", "f");
    config.fill_defaults();
    if config.validate(Host::Geminga).is_ok() {
        let normal = config.normalized();
        prop_assert_eq!(normal.validate(Host::Geminga), Ok(()));
        prop_assert_eq!(&normal.clone().normalized(), &normal);
        let read = Draft::<C>::read(&written(&normal).to_string()).finish(Host::Geminga);
        prop_assert_eq!(read.as_ref(), Ok(&normal));
        let updated = normal.updated(&normal);
        prop_assert_eq!(updated.as_ref(), Ok(&normal));
        prop_assert!(from_details(&normal.details().to_string()).is_ok());
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_was_accepted_stays_accepted_and_the_same(config in configs()) {
        stays_normal::<FunctionConfig>(&config)?;
        stays_normal::<SourceConfig>(&config)?;
        stays_normal::<SinkConfig>(&config)?;
    }
}
