//! What is published for a function: the properties that say where a record comes from.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;

use crate::{
    message::{Message, MessageId, Record},
    runtime::{LogLine, UserException},
    spec::FunctionSpec,
};

/// Which topic an output's input was on. Source: Pulsar's `PulsarSink`, and `python_instance.py`.
pub const INPUT_TOPIC: &str = "__pfn_input_topic__";
/// Which message it was: its id as clients serialize it, in base64.
pub const INPUT_MESSAGE_ID: &str = "__pfn_input_msg_id__";

/// The id in the form in which clients store it, base64.
#[must_use]
pub fn serialized(id: &MessageId) -> String {
    let data = wire::proto::MessageIdData {
        ledger_id: id.ledger,
        entry_id: id.entry as u64,
        partition: Some(id.partition),
        batch_index: Some(id.batch_index),
        batch_size: (id.batch_size > 0).then_some(id.batch_size as i32),
        ..Default::default()
    };
    BASE64_STANDARD.encode(data.encode_to_vec())
}

/// What a function returned for `source`.
pub(super) fn outputs(records: Vec<Record>, function: &FunctionSpec, source: Option<&Message>) -> Vec<Record> {
    let Some(source) = source.filter(|_| !records.is_empty()) else { return records };
    let came_from = [(INPUT_TOPIC, source.topic.to_string()), (INPUT_MESSAGE_ID, serialized(&source.id))];
    records.into_iter().map(|record| output(record, function, source, &came_from)).collect()
}

fn output(mut record: Record, function: &FunctionSpec, source: &Message, came_from: &[(&str, String)]) -> Record {
    if function.forward_source_properties {
        let given = record.properties.len();
        for (name, value) in &source.properties {
            if !record.properties[..given].iter().any(|(own, _)| own == name) && !name.starts_with("__pfn_") {
                record.properties.push((name.clone(), value.clone()));
            }
        }
    }
    record.properties.extend(came_from.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    if record.key.is_none() {
        record.key.clone_from(&source.key);
    }
    if record.event_time_ms == 0 {
        record.event_time_ms = source.event_time_ms;
    }
    record
}

/// A message given up on. Source: Pulsar's `ConsumerImpl.getPropertiesMap`.
pub(super) fn dead_letter(message: &Message, topic: &str, exception: &UserException) -> Record {
    let mut properties = message.properties.clone();
    properties.push(("REAL_TOPIC".into(), message.topic.to_string()));
    properties.push(("ORIGIN_MESSAGE_ID".into(), message.id.to_string()));
    let last_line = exception.message.trim_end().lines().next_back().unwrap_or_default();
    properties.push(("EXCEPTION".into(), last_line.chars().take(256).collect()));
    Record { properties, ..copy(message, topic) }
}

/// An element that came after its windows.
pub(super) fn late(message: &Message, topic: &str) -> Record {
    copy(message, topic)
}

fn copy(message: &Message, topic: &str) -> Record {
    Record {
        topic: Some(topic.to_owned()),
        payload: message.payload.clone(),
        key: message.key.clone(),
        properties: message.properties.clone(),
        event_time_ms: message.event_time_ms,
        ..Record::default()
    }
}

/// A line for the log topic. Source: Pulsar's `LogAppender`.
pub(super) fn log_line(line: LogLine, topic: &str, function: &FunctionSpec, instance_id: u32, now_ms: u64) -> Record {
    Record {
        topic: Some(topic.to_owned()),
        payload: line.message.into(),
        properties: vec![
            ("loglevel".into(), line.level.as_str().into()),
            ("instance".into(), instance_id.to_string()),
            ("fqn".into(), function.fqfn()),
        ],
        event_time_ms: now_ms,
        ..Record::default()
    }
}
