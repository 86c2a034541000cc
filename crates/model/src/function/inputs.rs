//! All the ways to name an input, gathered into one map from topic, or pattern, to how it is read.

use super::{
    config::FunctionConfig,
    consumer::ConsumerConfig,
    problem::Problems,
    read::{Read, Reader},
    sink::SinkConfig,
};
use crate::TopicName;
use std::collections::BTreeMap;

/// From a topic or pattern, as it was written, to how it is read.
pub(super) type Inputs = BTreeMap<String, ConsumerConfig>;

/// The fields of a function and a sink that name inputs.
pub(super) const INPUT_FIELDS: [&str; 7] = [
    "inputs",
    "topicsPattern",
    "customSerdeInputs",
    "customSchemaInputs",
    "topicToSerdeClassName",
    "topicToSchemaType",
    "inputSpecs",
];

/// The inputs of a function, and what is wrong with those of `customSchemaInputs`. Where a topic is named twice, the
/// more special field wins. Source: `FunctionConfigUtils.convert`.
pub(super) fn of_function(config: &FunctionConfig) -> (Inputs, Problems) {
    let mut problems = Problems::default();
    let mut inputs = plain(config.inputs.as_deref(), config.topics_pattern.as_deref());
    inputs.extend(config.custom_serde_inputs.iter().flatten().map(|(topic, class)| (topic.clone(), serde(class))));
    for (topic, json) in config.custom_schema_inputs.iter().flatten() {
        let wrong = format!("Topic {topic} has an incorrect schema Info");
        let spec = consumer_in_text(json, &format!("customSchemaInputs.{topic}"), &wrong, &mut problems);
        inputs.insert(topic.clone(), ConsumerConfig { regex_pattern: false, ..spec });
    }
    inputs.extend(config.input_specs.clone().into_iter().flatten());
    (inputs, problems)
}

/// The inputs of a sink. Source: `SinkConfigUtils.convert`.
pub(super) fn of_sink(config: &SinkConfig) -> Inputs {
    let mut inputs = plain(config.inputs.as_deref(), config.topics_pattern.as_deref());
    let serdes = config.topic_to_serde_class_name.iter().flatten();
    inputs.extend(serdes.map(|(topic, class)| (topic.clone(), serde(class))));
    let schemas = config.topic_to_schema_type.iter().flatten();
    inputs.extend(schemas.map(|(topic, schema)| {
        (topic.clone(), ConsumerConfig { schema_type: given(schema), ..ConsumerConfig::default() })
    }));
    inputs.extend(config.input_specs.clone().into_iter().flatten());
    inputs
}

/// The complete name of a topic or pattern; what is no name stays as it is.
pub(super) fn complete(topic: &str) -> String {
    topic.parse::<TopicName>().map_or_else(|_| topic.to_owned(), |name| name.to_string())
}

/// The inputs by complete name.
pub(super) fn completed(inputs: &Inputs) -> Inputs {
    inputs.iter().map(|(topic, spec)| (complete(topic), spec.clone())).collect()
}

/// A [`ConsumerConfig`] that is a text within the configuration.
pub(super) fn consumer_in_text(json: &str, field: &str, wrong: &str, problems: &mut Problems) -> ConsumerConfig {
    let value = match serde_json::from_str(json) {
        Ok(value) => value,
        Err(error) => {
            problems.add(field, format!("{wrong}: {error}"));
            return ConsumerConfig::default();
        }
    };
    let mut reader = Reader::strict();
    let spec = ConsumerConfig::read(&value, &mut reader);
    for problem in reader.problems {
        problems.add(format!("{field}.{}", problem.field), format!("{wrong}: {problem}"));
    }
    spec.unwrap_or_default()
}

fn plain(topics: Option<&[String]>, pattern: Option<&str>) -> Inputs {
    let topics = topics.unwrap_or_default().iter().map(|topic| (topic.clone(), ConsumerConfig::default()));
    let pattern = pattern
        .map(|pattern| (pattern.to_owned(), ConsumerConfig { regex_pattern: true, ..ConsumerConfig::default() }));
    topics.chain(pattern).collect()
}

fn serde(class: &str) -> ConsumerConfig {
    ConsumerConfig { serde_class_name: given(class), ..ConsumerConfig::default() }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
