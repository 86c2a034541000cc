//! What must hold for a configuration to make sense. All that does not is told at once.
//!
//! Where Pulsar 4.2 refuses the same thing (`FunctionConfigUtils`, `SourceConfigUtils`, `SinkConfigUtils`,
//! `WindowConfigUtils`, `ResourceConfigUtils`), its words are used; checks that need a user's classes are not here.

mod function;
mod sink;
mod source;
mod window;

pub(super) use {function::check as check_function, sink::check as check_sink, source::check as check_source};

use super::{
    config::Guarantees,
    consumer::ConsumerConfig,
    inputs::{Inputs, complete},
    problem::Problems,
    producer::{CryptoConfig, ProducerConfig},
    resources::Resources,
    words::split_words,
};
use crate::{TopicName, topic_name::is_entity};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Instances one component may have.
pub const PARALLELISM_MAX: i32 = 10_000;

/// Inputs one component may name; a pattern reads more.
const INPUTS_MAX: usize = 10_000;

/// Bytes the name of a component may have, so that it can be the name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Less memory than this, in bytes, is a number of megabytes by mistake.
const RAM_BYTES_MIN: i64 = 1 << 20;

/// Where a component will run: what is impossible depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// Here: Python has windows, retries and exactly-once too, and there are WASM and process functions.
    #[default]
    Geminga,
    /// On an Apache Pulsar cluster.
    Pulsar,
}

/// Collects what does not hold.
struct Checks {
    /// `Function`, `Source` or `Sink`, as messages begin.
    kind: &'static str,
    host: Host,
    problems: Problems,
}

impl Checks {
    fn new(kind: &'static str, host: Host) -> Self {
        Self { kind, host, problems: Problems::default() }
    }

    fn done(self) -> Result<(), Problems> {
        self.problems.or(())
    }

    fn refuse_if(&mut self, wrong: bool, field: &str, message: impl Into<String>) {
        if wrong {
            self.problems.add(field, message);
        }
    }

    /// Tenant, namespace and name: there, and fit to be parts of a path.
    fn identity(&mut self, tenant: &Option<String>, namespace: &Option<String>, name: &Option<String>) {
        let kind = self.kind;
        for (field, value) in [("tenant", tenant), ("namespace", namespace), ("name", name)] {
            match value.as_deref().unwrap_or_default() {
                "" => self.problems.add(field, format!("{kind} {field} cannot be null")),
                value => {
                    let fits = is_entity(value) && value.len() <= NAME_BYTES_MAX && value != "." && value != "..";
                    self.refuse_if(
                        !fits,
                        field,
                        format!("{kind} {field} {value:.80} is invalid: at most {NAME_BYTES_MAX} letters, digits and any of -=:._"),
                    );
                }
            }
        }
    }

    fn parallelism(&mut self, parallelism: Option<i32>) {
        let kind = self.kind;
        let Some(parallelism) = parallelism else { return };
        self.refuse_if(parallelism <= 0, "parallelism", format!("{kind} parallelism must be a positive number"));
        self.refuse_if(
            parallelism > PARALLELISM_MAX,
            "parallelism",
            format!("{kind} parallelism must be at most {PARALLELISM_MAX}"),
        );
    }

    /// A topic that is written to, if there is one. `message` is what Pulsar says of one that is no name.
    fn topic(&mut self, field: &str, topic: Option<&str>, message: impl FnOnce(&str) -> String) {
        if let Some(topic) = topic {
            self.refuse_if(topic.parse::<TopicName>().is_err(), field, message(topic));
        }
    }

    /// Inputs: topics at all, each a name, none spelled in two ways.
    fn inputs(&mut self, inputs: &Inputs, none: &str) {
        self.refuse_if(inputs.is_empty(), "inputs", none);
        if inputs.len() > INPUTS_MAX {
            let message = format!(
                "{} input topics are more than {INPUTS_MAX}; topicsPattern reads as many as there are",
                inputs.len()
            );
            self.problems.add("inputs", message);
            return;
        }
        let mut spelled: BTreeMap<String, &str> = BTreeMap::new();
        for topic in inputs.keys() {
            self.topic("inputs", Some(topic), |topic| format!("Input topic {topic} is invalid"));
            if let Some(other) = spelled.insert(complete(topic), topic) {
                self.problems.add("inputs", format!("Input topics {other} and {topic} are the same topic"));
            }
        }
    }

    /// A topic that is written to must not be read: messages would go round for ever.
    fn no_loop(&mut self, inputs: &Inputs, field: &str, what: &str, topic: Option<&str>) {
        let base = |topic: &str| topic.parse::<TopicName>().map(|name| name.partitioned()).ok();
        let Some(topic) = topic else { return };
        let Some(written) = base(topic) else { return };
        let read = inputs.keys().any(|input| base(input).as_ref() == Some(&written));
        self.refuse_if(
            read,
            field,
            format!("{what} topic {topic} is also being used as an input topic (topics must be one or the other)"),
        );
    }

    /// How one input is read; `both` is what Pulsar says where a schema and a SerDe are given.
    fn consumer(&mut self, topic: &str, spec: &ConsumerConfig, both: &str) {
        let field = |name: &str| format!("inputSpecs.{topic}.{name}");
        let has_both = spec.schema_type.is_some() && spec.serde_class_name.is_some();
        self.refuse_if(has_both, &field("schemaType"), both);
        let negative = spec.receiver_queue_size.is_some_and(|size| size < 0);
        self.refuse_if(negative, &field("receiverQueueSize"), "Receiver queue size should be >= zero");
        for (name, why) in spec.properties().err().into_iter().flatten() {
            self.problems
                .add(field(&format!("consumerProperties.{name}")), format!("consumerProperties: {name} {why}"));
        }
        if let Some(crypto) = &spec.crypto_config {
            self.key_reader(&field("cryptoConfig"), crypto);
        }
    }

    fn producer(&mut self, producer: Option<&ProducerConfig>, batch_builder: Option<&str>) {
        let builders = [
            ("batchBuilder", batch_builder),
            ("producerConfig.batchBuilder", producer.and_then(|p| p.batch_builder.as_deref())),
        ];
        for (field, builder) in builders {
            if let Some(builder) = builder {
                let known = matches!(builder, "DEFAULT" | "KEY_BASED");
                self.refuse_if(!known, field, format!("{field} must be DEFAULT or KEY_BASED, found {builder:.80}"));
            }
        }
        let Some(producer) = producer else { return };
        for (field, value) in [
            ("maxPendingMessages", producer.max_pending_messages),
            ("maxPendingMessagesAcrossPartitions", producer.max_pending_messages_across_partitions),
        ] {
            let negative = value.is_some_and(|value| value < 0);
            self.refuse_if(negative, &format!("producerConfig.{field}"), format!("{field} should be >= zero"));
        }
        if let Some(crypto) = &producer.crypto_config {
            self.key_reader("producerConfig.cryptoConfig", crypto);
            self.refuse_if(
                crypto.encryption_keys.as_ref().is_none_or(Vec::is_empty),
                "producerConfig.cryptoConfig.encryptionKeys",
                "Must provide encryption key name for crypto key reader",
            );
        }
    }

    fn key_reader(&mut self, field: &str, crypto: &CryptoConfig) {
        let class = crypto.crypto_key_reader_class_name.as_deref().unwrap_or_default();
        self.refuse_if(class.trim().is_empty(), field, "CryptoKeyReader class name required");
    }

    fn resources(&mut self, resources: Option<&Resources>) {
        let Some(resources) = resources else { return };
        let needs = |what: &str| format!("The {what} allocation for the function must be positive");
        self.refuse_if(resources.cpu.is_some_and(|cpu| cpu <= 0.0), "resources.cpu", needs("cpu"));
        self.refuse_if(resources.ram.is_some_and(|ram| ram <= 0), "resources.ram", needs("ram"));
        self.refuse_if(resources.disk.is_some_and(|disk| disk <= 0), "resources.disk", needs("disk"));
        if let Some(ram) = resources.ram.filter(|ram| (1..RAM_BYTES_MIN).contains(ram)) {
            self.problems.add(
                "resources.ram",
                format!("The ram allocation for the function is {ram} bytes, less than 1 MiB: it is counted in bytes"),
            );
        }
    }

    /// What the ordering options exclude.
    fn ordering(&mut self, retain: Option<bool>, retain_key: Option<bool>, guarantees: Option<Guarantees>) {
        let keys = retain_key == Some(true);
        self.refuse_if(
            keys && guarantees == Some(Guarantees::EffectivelyOnce),
            "retainKeyOrdering",
            "When effectively once processing guarantee is specified, retain Key ordering cannot be set",
        );
        self.refuse_if(
            keys && retain == Some(true),
            "retainKeyOrdering",
            "Only one of retain ordering or retain key ordering can be set",
        );
    }

    /// What giving up on a message excludes.
    fn retries(&mut self, retries: Option<i32>, dead_letters: Option<&str>, guarantees: Option<Guarantees>) {
        let retries = retries.filter(|retries| *retries >= 0);
        self.refuse_if(
            retries.is_some() && guarantees == Some(Guarantees::EffectivelyOnce),
            "maxMessageRetries",
            "MaxMessageRetries and Effectively once don't gel well",
        );
        self.refuse_if(
            retries.is_none() && dead_letters.is_some(),
            "deadLetterTopic",
            "Dead Letter Topic specified, however max retries is set to infinity",
        );
    }

    /// What acknowledging by hand excludes.
    fn auto_ack(&mut self, auto_ack: Option<bool>, guarantees: Option<Guarantees>) {
        let by_hand = auto_ack == Some(false);
        self.refuse_if(
            by_hand && guarantees == Some(Guarantees::AtMostOnce),
            "autoAck",
            "When Guarantees == ATMOST_ONCE, autoAck must be equal to true. This is a contradictory configuration, \
             autoAck will be removed later. Please refer to PIP: https://github.com/apache/pulsar/issues/15560",
        );
        self.refuse_if(
            by_hand && guarantees == Some(Guarantees::EffectivelyOnce) && self.host == Host::Geminga,
            "autoAck",
            "When Guarantees == EFFECTIVELY_ONCE, autoAck must be equal to true: a message is acknowledged in the \
             commit that stores its effects",
        );
    }

    /// A line that is split into words.
    fn words(&mut self, field: &str, line: Option<&str>) {
        if let Some(Err(error)) = line.map(split_words) {
            self.problems.add(field, format!("{field} cannot be split into words: {error}"));
        }
    }

    /// Keys of a map of the user's that Pulsar puts things of its own under.
    fn reserved(&mut self, field: &str, map: Option<&Map<String, Value>>, keys: &[&str]) {
        for key in keys {
            let taken = map.is_some_and(|map| map.contains_key(*key));
            self.refuse_if(taken, field, format!("{field} must not have the key {key}, which the framework uses"));
        }
    }

    fn log(&mut self, topic: Option<&str>, level: Option<&str>, levels: &[&str]) {
        self.topic("logTopic", topic, |topic| format!("LogTopic topic {topic} is invalid"));
        if let Some(level) = level {
            let known = levels.contains(&level.to_uppercase().as_str());
            self.refuse_if(!known, "logLevel", format!("LogLevel {level:.80} is invalid"));
        }
    }
}
