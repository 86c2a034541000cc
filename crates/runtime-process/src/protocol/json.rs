//! The same protocol as JSON lines, for scripts.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use functions::{
    Message, Record,
    message::Key,
    runtime::{
        self, Answer, Effects, Event, Invocation, LogLevel, LogLine, Outcome, Question, Request, StateChange,
        UserException,
    },
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use super::{ELEMENTS_MAX, LOG_LINE_BYTES_MAX, Said, cut, exception_text};
use crate::error::{Error, Result};

pub(super) fn hello(hello: &Value) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(tag = "type", rename = "hello")]
    struct Hello<'a> {
        #[serde(flatten)]
        hello: &'a Value,
    }
    let mut out = BytesMut::new();
    put_line(&Hello { hello }, &mut out);
    out.to_vec()
}

/// A line to the child; its type comes first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Told<'a> {
    Invoke {
        id: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Input<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<Vec<Input<'a>>>,
    },
    Answer {
        call: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value_base64: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        counter: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    Emitted {
        ids: &'a [u64],
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
}

/// A message as a child gets it.
#[derive(Serialize)]
struct Input<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    topic: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    key_is_base64: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    event_time_ms: u64,
    #[serde(skip_serializing_if = "is_zero")]
    publish_time_ms: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    producer: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    sequence_id: u64,
    #[serde(skip_serializing_if = "is_zero")]
    redelivery_count: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    schema_version_base64: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> Input<'a> {
    fn of(message: &'a Message) -> Self {
        let (payload, payload_base64) = text_or_base64(&message.payload);
        Self {
            payload,
            payload_base64,
            topic: message.topic.to_string(),
            id: message.id.to_string(),
            key: message.key.as_ref().map(|key| key.text.as_str()),
            key_is_base64: message.key.as_ref().is_some_and(|key| key.is_base64),
            properties: message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            event_time_ms: message.event_time_ms,
            publish_time_ms: message.publish_time_ms,
            producer: &message.producer,
            sequence_id: message.sequence_id,
            redelivery_count: u64::from(message.redelivery_count),
            schema_version_base64: STANDARD.encode(&message.schema_version),
        }
    }
}

pub(super) fn invocation(invocation: &Invocation, out: &mut BytesMut) {
    let (message, window) = match &invocation.input {
        runtime::Input::Message(message) => (Some(Input::of(message)), None),
        runtime::Input::Window(messages) => (None, Some(messages.iter().map(|message| Input::of(message)).collect())),
    };
    put_line(&Told::Invoke { id: invocation.id, message, window }, out);
}

pub(super) fn encode(request: &Request, out: &mut BytesMut) {
    let told = match request {
        // A script that reads line by line answers line by line, and need not know of more.
        Request::Invoke(_) | Request::Finish { .. } => return,
        Request::Emitted { ids, error } => Told::Emitted { ids, error: error.as_deref() },
        Request::Answer { call, answer } => {
            let (value, value_base64) = match answer {
                Answer::State(Some(value)) => text_or_base64(value),
                _ => (None, None),
            };
            let counter = match answer {
                Answer::Counter(counter) => Some(*counter),
                _ => None,
            };
            let error = match answer {
                Answer::Failed(why) => Some(why.as_str()),
                _ => None,
            };
            Told::Answer { call: *call, value, value_base64, counter, error }
        }
    };
    put_line(&told, out);
}

fn put_line(line: &impl Serialize, out: &mut BytesMut) {
    // Writing to memory cannot fail, and nothing here has keys that are not strings.
    let _ = serde_json::to_writer(out.writer(), line);
    out.put_u8(b'\n');
}

/// Bytes as a string, or as base64 where they are not UTF-8.
fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// What one line says; `None` for an empty one.
pub(super) fn line(line: &[u8]) -> Result<Option<Said>> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    // Twice over the line, but nothing of it is kept that has no place: a tagged enum would keep all of it until it finds the tag.
    let Kind { kind } = parse(line)?;
    let event = match kind.as_ref() {
        "ready" => return parse(line).map(|ready| Some(Said::Ready(ready))),
        "failed" => return parse::<Failed>(line).map(|failed| Some(Said::Failed(exception_text(failed.error)))),
        "done" => parse::<Done>(line)?.event()?,
        "call" => parse::<Call>(line)?.event()?,
        "emit" => {
            let Emit { id, record } = parse(line)?;
            Event::Emit { id, record: record.record()? }
        }
        "log" => parse::<Log>(line)?.event()?,
        other => return Err(Error::garbage(format!("a line of type {other:.40}"))),
    };
    Ok(Some(Said::Events(vec![event])))
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| {
        let start = String::from_utf8_lossy(line.get(..80.min(line.len())).unwrap_or_default()).into_owned();
        Error::garbage(format!("a line of its output is no message ({error}): {start}"))
    })
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Failed {
    error: String,
}

#[derive(Deserialize)]
struct Emit {
    id: u64,
    record: JsonRecord,
}

#[derive(Deserialize)]
struct Call {
    call: u64,
    invocation: Option<u64>,
    state: Option<String>,
    counter: Option<String>,
}

impl Call {
    fn event(self) -> Result<Event> {
        let question = match (self.state, self.counter) {
            (Some(key), None) => Question::State(key),
            (None, Some(key)) => Question::Counter(key),
            _ => return Err(Error::garbage("a call asks for state or for counter")),
        };
        Ok(Event::Call { call: self.call, invocation: self.invocation, question })
    }
}

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    level: String,
    message: String,
}

impl Log {
    fn event(mut self) -> Result<Event> {
        let level = match self.level.to_ascii_lowercase().as_str() {
            "trace" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "" | "info" => LogLevel::Info,
            "warn" | "warning" => LogLevel::Warn,
            "error" => LogLevel::Error,
            other => return Err(Error::garbage(format!("log level {other:.40}"))),
        };
        cut(&mut self.message, LOG_LINE_BYTES_MAX);
        Ok(Event::Log(LogLine { level, message: self.message }))
    }
}

/// A list or an object of so many elements that a short line cannot become a large value.
struct Bounded<T>(Vec<T>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {ELEMENTS_MAX} elements")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() >= ELEMENTS_MAX {
                        return Err(A::Error::invalid_length(elements.len() + 1, &self));
                    }
                    elements.push(element);
                }
                Ok(Bounded(elements))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// As [`Bounded`], of names and values.
struct Pairs<T>(Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Pairs<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {ELEMENTS_MAX} members")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    if members.len() >= ELEMENTS_MAX {
                        return Err(A::Error::invalid_length(members.len() + 1, &self));
                    }
                    members.push(member);
                }
                Ok(Pairs(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[derive(Deserialize)]
struct Done {
    id: u64,
    output: Option<String>,
    output_base64: Option<String>,
    error: Option<String>,
    #[serde(default)]
    outputs: Bounded<JsonRecord>,
    #[serde(default)]
    publishes: Bounded<JsonRecord>,
    #[serde(default)]
    changes: Bounded<JsonChange>,
    #[serde(default)]
    acks: Bounded<u64>,
    #[serde(default)]
    metrics: Pairs<f64>,
    took_ms: Option<f64>,
}

/// Stands for "the child did not say": the supervisor measures then. User code never takes so long.
pub(crate) const TOOK_UNKNOWN: Duration = Duration::MAX;

impl Done {
    fn event(self) -> Result<Event> {
        let took = self.took_ms.map_or(TOOK_UNKNOWN, |ms| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default());
        let metrics = self.metrics.0;
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
                changes: self.changes.0.into_iter().map(JsonChange::change).collect::<Result<_>>()?,
                acks: self.acks.0,
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
    properties: Pairs<String>,
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
            properties: self.properties.0,
            event_time_ms: self.event_time_ms,
            deliver_at_ms: self.deliver_at_ms,
            sequence_id: self.sequence_id,
            schema: None,
        })
    }
}

fn records(records: Bounded<JsonRecord>) -> Result<Vec<Record>> {
    records.0.into_iter().map(JsonRecord::record).collect()
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
