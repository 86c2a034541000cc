//! The same protocol as JSON lines, for scripts.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use functions::{
    Message, Record,
    message::Key,
    runtime::{
        Answer, Effects, Event, Input, Invocation, LogLevel, LogLine, Outcome, Question, Request, StateChange,
        UserException,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

use super::{LOG_LINE_BYTES_MAX, Said, cut, exception_text};
use crate::error::{Error, Result};

pub(super) fn hello(hello: &Value) -> Vec<u8> {
    let mut hello = hello.clone();
    if let Value::Object(members) = &mut hello {
        members.insert("type".to_owned(), json!("hello"));
    }
    let mut line = hello.to_string().into_bytes();
    line.push(b'\n');
    line
}

pub(super) fn invocation(invocation: &Invocation, out: &mut BytesMut) {
    let line = match &invocation.input {
        Input::Message(input) => json!({"type": "invoke", "id": invocation.id, "message": message(input)}),
        Input::Window(inputs) => {
            let window: Vec<Value> = inputs.iter().map(|input| message(input)).collect();
            json!({"type": "invoke", "id": invocation.id, "window": window})
        }
    };
    put_line(&line, out);
}

pub(super) fn encode(request: &Request, out: &mut BytesMut) {
    let line = match request {
        Request::Invoke(_) => return,
        Request::Answer { call, answer } => {
            let mut line = Map::from_iter([("type".to_owned(), json!("answer")), ("call".to_owned(), json!(call))]);
            match answer {
                Answer::State(None) => {}
                Answer::State(Some(value)) => put_bytes("value", value, &mut line),
                Answer::Counter(counter) => drop(line.insert("counter".to_owned(), json!(counter))),
                Answer::Failed(why) => drop(line.insert("error".to_owned(), json!(why))),
            }
            Value::Object(line)
        }
        Request::Emitted { ids, error: None } => json!({"type": "emitted", "ids": ids}),
        Request::Emitted { ids, error: Some(error) } => json!({"type": "emitted", "ids": ids, "error": error}),
    };
    put_line(&line, out);
}

fn put_line(line: &Value, out: &mut BytesMut) {
    // Writing a value to memory cannot fail.
    let _ = serde_json::to_writer(out.writer(), line);
    out.put_u8(b'\n');
}

fn message(message: &Message) -> Value {
    let mut members = Map::new();
    put_bytes("payload", &message.payload, &mut members);
    let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    put("topic", json!(message.topic.to_string()));
    put("id", json!(message.id.to_string()));
    if let Some(key) = &message.key {
        put("key", json!(key.text));
        if key.is_base64 {
            put("key_is_base64", json!(true));
        }
    }
    if !message.properties.is_empty() {
        put("properties", message.properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect());
    }
    for (name, number) in [
        ("event_time_ms", message.event_time_ms),
        ("publish_time_ms", message.publish_time_ms),
        ("sequence_id", message.sequence_id),
        ("redelivery_count", u64::from(message.redelivery_count)),
    ] {
        if number != 0 {
            put(name, json!(number));
        }
    }
    if !message.producer.is_empty() {
        put("producer", json!(&*message.producer));
    }
    if !message.schema_version.is_empty() {
        put("schema_version_base64", json!(STANDARD.encode(&message.schema_version)));
    }
    Value::Object(members)
}

/// Bytes as a string, or as base64 under another name where they are not UTF-8.
fn put_bytes(name: &str, bytes: &[u8], members: &mut Map<String, Value>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => members.insert(name.to_owned(), json!(text)),
        Err(_) => members.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// What one line says; `None` for an empty one.
pub(super) fn line(line: &[u8]) -> Result<Option<Said>> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let start = String::from_utf8_lossy(line.get(..80.min(line.len())).unwrap_or_default()).into_owned();
        Error::garbage(format!("a line of its output is no message ({error}): {start}"))
    })?;
    Ok(Some(match line {
        Line::Ready { runtime } => Said::Ready(runtime),
        Line::Failed { error } => Said::Failed(exception_text(error)),
        Line::Done(done) => Said::Events(vec![done.event()?]),
        Line::Call { call, invocation, state, counter } => {
            let question = match (state, counter) {
                (Some(key), None) => Question::State(key),
                (None, Some(key)) => Question::Counter(key),
                _ => return Err(Error::garbage("a call asks for state or for counter")),
            };
            Said::Events(vec![Event::Call { call, invocation, question }])
        }
        Line::Emit { id, record } => Said::Events(vec![Event::Emit { id, record: record.record()? }]),
        Line::Log { level, mut message } => {
            let level = match level.to_ascii_lowercase().as_str() {
                "trace" => LogLevel::Trace,
                "debug" => LogLevel::Debug,
                "" | "info" => LogLevel::Info,
                "warn" | "warning" => LogLevel::Warn,
                "error" => LogLevel::Error,
                other => return Err(Error::garbage(format!("log level {other}"))),
            };
            cut(&mut message, LOG_LINE_BYTES_MAX);
            Said::Events(vec![Event::Log(LogLine { level, message })])
        }
    }))
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Ready {
        #[serde(default)]
        runtime: String,
    },
    Failed {
        error: String,
    },
    Done(Box<Done>),
    Call {
        call: u64,
        invocation: Option<u64>,
        state: Option<String>,
        counter: Option<String>,
    },
    Emit {
        id: u64,
        record: JsonRecord,
    },
    Log {
        #[serde(default)]
        level: String,
        message: String,
    },
}

#[derive(Deserialize)]
struct Done {
    id: u64,
    output: Option<String>,
    output_base64: Option<String>,
    error: Option<String>,
    #[serde(default)]
    outputs: Vec<JsonRecord>,
    #[serde(default)]
    publishes: Vec<JsonRecord>,
    #[serde(default)]
    changes: Vec<JsonChange>,
    #[serde(default)]
    acks: Vec<u64>,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
    took_ms: Option<f64>,
}

/// Stands for "the child did not say": the supervisor measures then. User code never takes so long.
pub(crate) const TOOK_UNKNOWN: Duration = Duration::MAX;

impl Done {
    fn event(self) -> Result<Event> {
        let took = self.took_ms.map_or(TOOK_UNKNOWN, |ms| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default());
        let metrics = self.metrics.into_iter().collect();
        let outcome = if let Some(error) = self.error {
            let effects = Effects { metrics, ..Effects::default() };
            Outcome { result: Err(UserException { message: exception_text(error) }), effects, took }
        } else {
            let mut outputs = records(self.outputs)?;
            if self.output.is_some() || self.output_base64.is_some() {
                let payload = bytes(self.output, self.output_base64)?;
                outputs.insert(0, Record { payload, ..Record::default() });
            }
            let effects = Effects {
                publishes: records(self.publishes)?,
                changes: self.changes.into_iter().map(JsonChange::change).collect::<Result<_>>()?,
                acks: self.acks,
                metrics,
            };
            Outcome { result: Ok(outputs), effects, took }
        };
        Ok(Event::Done { id: self.id, outcome })
    }
}

#[derive(Deserialize)]
struct JsonRecord {
    topic: Option<String>,
    payload: Option<String>,
    payload_base64: Option<String>,
    key: Option<String>,
    #[serde(default)]
    key_is_base64: bool,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    event_time_ms: u64,
    #[serde(default)]
    deliver_at_ms: u64,
    sequence_id: Option<u64>,
}

impl JsonRecord {
    fn record(self) -> Result<Record> {
        Ok(Record {
            topic: self.topic,
            payload: bytes(self.payload, self.payload_base64)?,
            key: self.key.map(|text| Key { text, is_base64: self.key_is_base64 }),
            properties: self.properties.into_iter().collect(),
            event_time_ms: self.event_time_ms,
            deliver_at_ms: self.deliver_at_ms,
            sequence_id: self.sequence_id,
        })
    }
}

fn records(records: Vec<JsonRecord>) -> Result<Vec<Record>> {
    records.into_iter().map(JsonRecord::record).collect()
}

#[derive(Deserialize)]
struct JsonChange {
    put: Option<String>,
    delete: Option<String>,
    add: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    amount: i64,
}

impl JsonChange {
    fn change(self) -> Result<StateChange> {
        match (self.put, self.delete, self.add) {
            (Some(key), None, None) => Ok(StateChange::Put { key, value: bytes(self.value, self.value_base64)? }),
            (None, Some(key), None) => Ok(StateChange::Delete { key }),
            (None, None, Some(key)) => Ok(StateChange::Add { key, amount: self.amount }),
            _ => Err(Error::garbage("a change has one of put, delete and add")),
        }
    }
}

fn bytes(text: Option<String>, base64: Option<String>) -> Result<Bytes> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64).map_err(|error| Error::garbage(format!("base64: {error}")))?;
            Ok(bytes.into())
        }
        (None, None) => Ok(Bytes::new()),
        (Some(_), Some(_)) => Err(Error::garbage("both text and base64")),
    }
}
