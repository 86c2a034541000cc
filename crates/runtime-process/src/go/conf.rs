//! What an instance is told: a resolved function, said in the words of Pulsar's configuration again.

use functions::{
    event_log::Compression,
    runtime::InstanceSpec,
    spec::{FunctionSpec, Guarantee, InputConfig, Limits},
};
use model::{
    SubscriptionType,
    function::{self as pulsar, ConsumerConfig, FunctionConfig, GoInstance, Guarantees, ProducerConfig, Resources},
};
use std::ffi::OsString;

/// Messages an instance may hold. Pulsar's worker always says so many.
const MAX_BUFFERED_TUPLES: u32 = 1024;
/// Of the memory an instance may use, what Go's collector keeps to; the rest is for what it does not count.
const GO_MEMORY_PERCENT: u64 = 90;

/// The value of `-instance-conf`.
pub(super) fn conf(instance: &InstanceSpec, port: u16, metrics_port: u16) -> String {
    let function = &*instance.function;
    GoInstance {
        service_url: function.service_url.clone(),
        instance_id: instance.instance_id,
        function_id: function.id.clone(),
        function_version: function.version.to_string(),
        max_buffered_tuples: MAX_BUFFERED_TUPLES,
        port,
        metrics_port,
        cluster: function.cluster.clone(),
        // An instance of ours dies with us. Told of an interval, one that nobody could ask for a while closes its client and stays.
        expected_health_check_interval_s: 0,
        ..GoInstance::default()
    }
    .conf(&config(function))
    .to_string()
}

/// Variables that make Go keep to the limits of an instance; a control group alone would only kill it.
pub(super) fn limits(limits: &Limits) -> Vec<(OsString, OsString)> {
    let threads = limits.cpu.map(|cpu| ("GOMAXPROCS".into(), (cpu.ceil().max(1.0) as u64).to_string().into()));
    let memory = limits.ram_bytes.map(|bytes| bytes / 100 * GO_MEMORY_PERCENT);
    let memory = memory.map(|bytes| ("GOMEMLIMIT".into(), format!("{bytes}B").into()));
    threads.into_iter().chain(memory).collect()
}

fn config(function: &FunctionSpec) -> FunctionConfig {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let output = &function.output;
    FunctionConfig {
        tenant: some(&function.tenant),
        namespace: some(&function.namespace),
        name: some(&function.name),
        class_name: some(&function.class_name),
        input_specs: Some(function.inputs.iter().map(|(topic, input)| (topic.clone(), consumer(input))).collect()),
        output: output.topic.clone(),
        output_schema_type: some(&output.schema_type),
        output_serde_class_name: some(&output.serde_class),
        output_type_class_name: some(&output.type_class),
        producer_config: Some(ProducerConfig {
            batch_builder: output.batch_by_key.then(|| "KEY_BASED".to_owned()),
            compression_type: Some(match output.compression {
                Compression::None => pulsar::Compression::None,
                Compression::Lz4 => pulsar::Compression::Lz4,
                Compression::Zlib => pulsar::Compression::Zlib,
                Compression::Zstd => pulsar::Compression::Zstd,
                Compression::Snappy => pulsar::Compression::Snappy,
            }),
            ..ProducerConfig::default()
        }),
        log_topic: function.log_topic.clone(),
        processing_guarantees: Some(match function.guarantee {
            Guarantee::AtleastOnce => Guarantees::AtLeastOnce,
            Guarantee::AtmostOnce => Guarantees::AtMostOnce,
            Guarantee::EffectivelyOnce => Guarantees::EffectivelyOnce,
            Guarantee::Manual => Guarantees::Manual,
        }),
        retain_ordering: Some(function.subscription_type == SubscriptionType::Failover),
        retain_key_ordering: Some(function.subscription_type == SubscriptionType::KeyShared),
        forward_source_message_property: Some(function.forward_source_properties),
        user_config: Some(function.user_config.clone()),
        secrets: Some(function.secrets.iter().map(|(name, where_from)| (name.clone(), where_from.clone())).collect()),
        runtime: Some(pulsar::Runtime::Go),
        auto_ack: Some(function.auto_ack),
        max_message_retries: function.max_message_retries.and_then(|retries| retries.try_into().ok()),
        dead_letter_topic: function.dead_letter_topic.clone(),
        sub_name: some(&function.subscription),
        parallelism: function.parallelism.try_into().ok(),
        resources: Some(Resources {
            cpu: function.limits.cpu,
            ram: function.limits.ram_bytes.and_then(|bytes| bytes.try_into().ok()),
            disk: function.limits.disk_bytes.and_then(|bytes| bytes.try_into().ok()),
        }),
        timeout_ms: function.timeout.and_then(|timeout| timeout.as_millis().try_into().ok()),
        cleanup_subscription: Some(function.cleanup_subscription),
        custom_runtime_options: function.runtime_options.clone(),
        runtime_flags: (!function.runtime_flags.is_empty()).then(|| function.runtime_flags.join(" ")),
        skip_to_latest: Some(function.skip_to_latest),
        subscription_position: Some(function.initial_position),
        ..FunctionConfig::default()
    }
}

fn consumer(input: &InputConfig) -> ConsumerConfig {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ConsumerConfig {
        schema_type: some(&input.schema_type),
        serde_class_name: some(&input.serde_class),
        regex_pattern: input.is_pattern,
        schema_properties: input.schema_properties.clone(),
        consumer_properties: input.consumer_properties.clone(),
        receiver_queue_size: input.receiver_queue_size.and_then(|size| size.try_into().ok()),
        ..ConsumerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use functions::{spec::OutputConfig, testing};
    use model::InitialPosition;
    use serde_json::{Value, json};
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    fn least() -> FunctionSpec {
        FunctionSpec {
            id: "9a1b7d0e-0000-4000-8000-000000000001".into(),
            version: 3,
            class_name: String::new(),
            output: OutputConfig::default(),
            max_message_retries: None,
            forward_source_properties: false,
            ..testing::spec("f")
        }
    }

    fn most() -> FunctionSpec {
        let texts = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let json = |value: Value| value.as_object().unwrap().clone();
        FunctionSpec {
            tenant: "acme".into(),
            namespace: "shop".into(),
            name: "prices".into(),
            guarantee: Guarantee::AtmostOnce,
            inputs: [
                (
                    "persistent://acme/shop/in".to_owned(),
                    InputConfig {
                        schema_type: "string".into(),
                        receiver_queue_size: Some(50),
                        schema_properties: texts("a", "b"),
                        consumer_properties: texts("c", "d"),
                        ..InputConfig::default()
                    },
                ),
                (
                    "persistent://acme/shop/.*-raw".to_owned(),
                    InputConfig { is_pattern: true, serde_class: "x.Y".into(), ..InputConfig::default() },
                ),
            ]
            .into(),
            output: OutputConfig {
                topic: Some("persistent://acme/shop/out".into()),
                schema_type: "json".into(),
                batch_by_key: true,
                compression: Compression::Zstd,
                ..OutputConfig::default()
            },
            subscription: "s".into(),
            subscription_type: SubscriptionType::Failover,
            initial_position: InitialPosition::Earliest,
            skip_to_latest: true,
            cleanup_subscription: false,
            max_message_retries: Some(5),
            dead_letter_topic: Some("persistent://acme/shop/dead".into()),
            log_topic: Some("persistent://acme/shop/log".into()),
            timeout: Some(Duration::from_millis(2500)),
            forward_source_properties: true,
            parallelism: 4,
            limits: Limits { cpu: Some(0.5), ram_bytes: Some(256 << 20), disk_bytes: Some(1 << 30) },
            user_config: json(json!({"word": "hello", "n": 3, "nested": {"x": [1, true, null]}})),
            secrets: [("password".to_owned(), json!({"path": "p", "key": "k"}))].into(),
            runtime_options: Some(r#"{"o":1}"#.into()),
            runtime_flags: vec!["-x".into(), "-y".into()],
            ..least()
        }
    }

    /// Texts that are JSON are compared as JSON.
    fn unfold(value: Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('{') => unfold(serde_json::from_str(&text).unwrap()),
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, unfold(value))).collect(),
            other => other,
        }
    }

    fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut String) {
        let (Value::Object(theirs), Value::Object(ours)) = (theirs, ours) else {
            if theirs != ours {
                found.push_str(&format!("{path}: {theirs} -> {ours}\n"));
            }
            return;
        };
        let names: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for name in names {
            let of = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or(json!("absent"));
            differences(&format!("{path}/{name}"), &of(theirs), &of(ours), found);
        }
    }

    /// `golden` is what `RuntimeUtils.getGoInstanceCmd` of Apache Pulsar 4.2.4 made of the same function.
    fn check(function: FunctionSpec, golden: &str, expect: Expect) {
        let instance = InstanceSpec {
            function: Arc::new(function),
            instance_id: 2,
            secrets: Default::default(),
            env: Default::default(),
            work_dir: "/".into(),
        };
        let ours: Value = serde_json::from_str(&conf(&instance, 9093, 9094)).unwrap();
        let mut found = String::new();
        differences("", &unfold(serde_json::from_str(golden).unwrap()), &unfold(ours), &mut found);
        expect.assert_eq(&found);
    }

    #[test]
    fn an_instance_is_told_what_pulsar_tells_it() {
        // A resolved function says its subscription and its compression.
        check(
            least(),
            include_str!("golden/least.json"),
            expect![[r#"
            /functionDetails/sink/producerSpec: "absent" -> {"compressionType":"NONE"}
            /functionDetails/source/subscriptionName: "absent" -> "public/default/f"
            /subscriptionName: "" -> "public/default/f"
        "#]],
        );
        // It knows no queue of a producer. And Pulsar tells a Go function that retains an order to share its subscription.
        check(
            most(),
            include_str!("golden/most.json"),
            expect![[r#"
            /functionDetails/sink/producerSpec/maxPendingMessages: 10 -> "absent"
            /sourceSpecsTopic: "persistent://acme/shop/.*-raw" -> "persistent://acme/shop/in"
            /subscriptionType: 0 -> 1
        "#]],
        );
    }

    #[test]
    fn go_keeps_to_the_limits_of_its_instance() {
        let limits = |cpu, ram_bytes| {
            let env = limits(&Limits { cpu, ram_bytes, disk_bytes: None });
            env.into_iter().map(|(name, value)| format!("{} {}", name.display(), value.display())).collect::<Vec<_>>()
        };
        assert_eq!(limits(Some(0.1), Some(256 << 20)), ["GOMAXPROCS 1", "GOMEMLIMIT 241591860B"]);
        assert_eq!(limits(Some(1.5), None), ["GOMAXPROCS 2"]);
        assert!(limits(None, None).is_empty());
    }
}
