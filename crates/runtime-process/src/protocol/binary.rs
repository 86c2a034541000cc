//! The binary encoding: length-prefixed frames, little-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use functions::{
    Message, Record,
    event_log::Schema,
    message::Key,
    runtime::{Answer, Effects, Event, LogLevel, LogLine, Outcome, Question, Request, StateChange, UserException},
};

use std::{collections::HashMap, sync::Arc};

use super::{
    ELEMENTS_MAX, FRAME_BYTES_MAX, LOG_LINE_BYTES_MAX, Ready, SCHEMAS_BYTES_MAX, SCHEMAS_MAX, Said, cut,
    exception_text, took,
};
use crate::error::{Error, Result};

const HELLO: u8 = 0x01;
pub(super) const INVOKE: u8 = 0x02;
const ANSWER: u8 = 0x03;
const EMITTED: u8 = 0x04;
const FINISH: u8 = 0x05;
const READY: u8 = 0x81;
const FAILED: u8 = 0x82;
pub(super) const EVENTS: u8 = 0x83;

/// Fixed fields of an invocation record, after its size.
const INVOCATION_FIXED: usize = 88;

/// A frame being written: its length is filled in at the end.
pub(super) struct Frame {
    at: usize,
}

impl Frame {
    pub(super) fn begin(kind: u8, out: &mut BytesMut) -> Self {
        let at = out.len();
        out.put_u32_le(0);
        out.put_u8(kind);
        Self { at }
    }

    pub(super) fn end(self, out: &mut BytesMut) {
        fill_in_length(self.at, out);
    }
}

fn fill_in_length(at: usize, out: &mut BytesMut) {
    let length = length(out.len() - at - 4);
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_le_bytes());
    }
}

/// Of ours; what does not fit was refused before ([`super::fits`]).
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

pub(super) fn hello(hello: &serde_json::Value) -> Vec<u8> {
    let mut out = BytesMut::new();
    let frame = Frame::begin(HELLO, &mut out);
    out.put_slice(hello.to_string().as_bytes());
    frame.end(&mut out);
    out.to_vec()
}

pub(super) fn encode(request: &Request, out: &mut BytesMut) {
    match request {
        Request::Invoke(_) => {}
        Request::Finish { within } => {
            let frame = Frame::begin(FINISH, out);
            out.put_u32_le(u32::try_from(within.as_millis()).unwrap_or(u32::MAX));
            frame.end(out);
        }
        Request::Answer { call, answer } => {
            let frame = Frame::begin(ANSWER, out);
            out.put_u64_le(*call);
            match answer {
                Answer::State(None) => out.put_u8(0),
                Answer::State(Some(value)) => {
                    out.put_u8(1);
                    out.put_slice(value);
                }
                Answer::Counter(value) => {
                    out.put_u8(2);
                    out.put_i64_le(*value);
                }
                Answer::Failed(why) => {
                    out.put_u8(3);
                    out.put_slice(why.as_bytes());
                }
            }
            frame.end(out);
        }
        Request::Emitted { ids, error } => {
            let frame = Frame::begin(EMITTED, out);
            out.put_u8(u8::from(error.is_some()));
            out.put_u32_le(length(ids.len()));
            ids.iter().for_each(|id| out.put_u64_le(*id));
            out.put_slice(error.as_deref().unwrap_or_default().as_bytes());
            frame.end(out);
        }
    }
}

/// What a record of an invocation is of it.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Message = 0,
    Element = 1,
    LastElement = 2,
}

pub(super) fn invocation(id: u64, part: Part, message: &Message, out: &mut BytesMut) {
    let topic = message.topic.to_string();
    let (key, flags) = match &message.key {
        None => ("", 0),
        Some(key) => (key.text.as_str(), 1 | (u8::from(key.is_base64) << 1)),
    };
    let at = out.len();
    out.reserve(4 + INVOCATION_FIXED + message.payload.len() + topic.len() + key.len() + message.producer.len());
    out.put_u32_le(0);
    out.put_u64_le(id);
    out.put_u8(part as u8);
    out.put_u8(flags);
    out.put_u16_le(u16::try_from(message.properties.len()).unwrap_or(u16::MAX));
    for bytes in [message.payload.len(), topic.len(), key.len(), message.producer.len(), message.schema_version.len()] {
        out.put_u32_le(length(bytes));
    }
    out.put_u64_le(message.id.ledger);
    out.put_i64_le(message.id.entry);
    out.put_i32_le(message.id.partition);
    out.put_i32_le(message.id.batch_index);
    out.put_u32_le(message.id.batch_size);
    out.put_u32_le(message.redelivery_count);
    out.put_u64_le(message.event_time_ms);
    out.put_u64_le(message.publish_time_ms);
    out.put_u64_le(message.sequence_id);
    out.put_slice(&message.payload);
    out.put_slice(topic.as_bytes());
    out.put_slice(key.as_bytes());
    out.put_slice(message.producer.as_bytes());
    out.put_slice(&message.schema_version);
    for (name, value) in message.properties.iter().take(usize::from(u16::MAX)) {
        put_str(name, out);
        put_str(value, out);
    }
    fill_in_length(at, out);
}

fn put_str(text: &str, out: &mut BytesMut) {
    out.put_u32_le(length(text.len()));
    out.put_slice(text.as_bytes());
}

/// Takes the next complete frame, by its kind.
pub(super) fn frame(buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(Error::garbage(format!("a frame of {length} bytes; 1 to {FRAME_BYTES_MAX} are allowed")));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let mut frame = buffer.split_to(length).freeze();
    let kind = frame.get_u8();
    Ok(Some((kind, frame)))
}

/// What a frame other than [`EVENTS`] says.
pub(super) fn said(kind: u8, body: &[u8]) -> Result<Said> {
    let text = std::str::from_utf8(body).map_err(|_| Error::garbage(format!("frame {kind:#04x} is not UTF-8")));
    match kind {
        READY => {
            let ready: Ready =
                serde_json::from_str(text?).map_err(|error| Error::garbage(format!("READY: {error}")))?;
            Ok(Said::Ready(ready))
        }
        FAILED => Ok(Said::Failed(exception_text(text?.to_owned()))),
        _ => Err(Error::garbage(format!("a frame of kind {kind:#04x}"))),
    }
}

/// Schemas a child has told of, by the numbers it gave them.
#[derive(Default)]
pub(super) struct Schemas {
    known: HashMap<u32, Arc<Schema>>,
    bytes: usize,
}

impl Schemas {
    fn learn(&mut self, body: &mut Bytes) -> Result<()> {
        let (number, name, definition) = (take_u32(body)?, take_str(body)?, take_bytes(body)?);
        let properties = take_list(body, |body| Ok((take_str(body)?, take_str(body)?)))?;
        self.bytes += definition.len() + properties.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if self.known.len() >= SCHEMAS_MAX || self.bytes > SCHEMAS_BYTES_MAX {
            return Err(Error::garbage(format!(
                "more than {SCHEMAS_MAX} schemas, or {SCHEMAS_BYTES_MAX} bytes of their definitions"
            )));
        }
        // A copy: the definition outlives its frame.
        let definition = Bytes::copy_from_slice(&definition);
        let schema = Schema::named(&name, definition, properties.into_iter().collect())
            .ok_or_else(|| Error::garbage(format!("{name:.40} is no type of schema")))?;
        match self.known.insert(number, Arc::new(schema)) {
            None => Ok(()),
            Some(_) => Err(Error::garbage(format!("schema {number} was told twice"))),
        }
    }

    fn get(&self, number: u32) -> Result<Arc<Schema>> {
        self.known
            .get(&number)
            .cloned()
            .ok_or_else(|| Error::garbage(format!("a record of schema {number}, of which it did not tell")))
    }
}

/// Takes at most `count` events from the front of a frame's body.
pub(super) fn events(body: &mut Bytes, count: usize, schemas: &mut Schemas) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while events.len() < count && !body.is_empty() {
        events.extend(event(body, schemas)?);
    }
    Ok(events)
}

/// `None`: it only told of a schema.
fn event(body: &mut Bytes, schemas: &mut Schemas) -> Result<Option<Event>> {
    let tag = take_u8(body)?;
    Ok(Some(match tag {
        0x01 => {
            let (id, took) = (take_u64(body)?, took(take_u64(body)?));
            let record = Record { payload: take_bytes(body)?, ..Record::default() };
            Event::Done { id, outcome: Outcome { result: Ok(vec![record]), effects: Effects::default(), took } }
        }
        0x02 => {
            let (id, took) = (take_u64(body)?, took(take_u64(body)?));
            Event::Done { id, outcome: Outcome { result: Ok(Vec::new()), effects: Effects::default(), took } }
        }
        0x03 => {
            let (id, took) = (take_u64(body)?, took(take_u64(body)?));
            let result = Err(UserException { message: exception_text(take_str(body)?) });
            let effects = Effects { metrics: take_list(body, take_metric)?, ..Effects::default() };
            Event::Done { id, outcome: Outcome { result, effects, took } }
        }
        0x04 => {
            let (id, took) = (take_u64(body)?, took(take_u64(body)?));
            let result = Ok(take_list(body, |body| take_record(body, schemas))?);
            let effects = Effects {
                publishes: take_list(body, |body| take_record(body, schemas))?,
                changes: take_list(body, take_change)?,
                acks: take_list(body, take_u64)?,
                metrics: take_list(body, take_metric)?,
            };
            Event::Done { id, outcome: Outcome { result, effects, took } }
        }
        0x05 => {
            let (call, invocation) = (take_u64(body)?, take_u64(body)?);
            let invocation = (invocation != u64::MAX).then_some(invocation);
            let question = match take_u8(body)? {
                1 => Question::State(take_str(body)?),
                2 => Question::Counter(take_str(body)?),
                other => return Err(Error::garbage(format!("a question of kind {other}"))),
            };
            Event::Call { call, invocation, question }
        }
        0x06 => Event::Emit { id: take_u64(body)?, record: take_record(body, schemas)? },
        0x07 => {
            let level = match take_u8(body)? {
                0 => LogLevel::Trace,
                1 => LogLevel::Debug,
                2 => LogLevel::Info,
                3 => LogLevel::Warn,
                4 => LogLevel::Error,
                other => return Err(Error::garbage(format!("log level {other}"))),
            };
            let mut message = take_str(body)?;
            cut(&mut message, LOG_LINE_BYTES_MAX);
            Event::Log(LogLine { level, message })
        }
        0x09 => Event::Changes(take_list(body, take_change)?),
        0x08 => {
            schemas.learn(body)?;
            return Ok(None);
        }
        other => return Err(Error::garbage(format!("an event of kind {other:#04x}"))),
    }))
}

fn take_record(body: &mut Bytes, schemas: &Schemas) -> Result<Record> {
    let flags = take_u8(body)?;
    let (event_time_ms, deliver_at_ms, sequence_id) = (take_u64(body)?, take_u64(body)?, take_u64(body)?);
    let (topic, key, payload) = (take_str(body)?, take_str(body)?, take_bytes(body)?);
    let properties = take_list(body, |body| Ok((take_str(body)?, take_str(body)?)))?;
    let schema = if flags & 16 != 0 { Some(schemas.get(take_u32(body)?)?) } else { None };
    Ok(Record {
        topic: (flags & 1 != 0).then_some(topic),
        payload,
        key: (flags & 2 != 0).then_some(Key { text: key, is_base64: flags & 4 != 0 }),
        properties,
        event_time_ms,
        deliver_at_ms,
        sequence_id: (flags & 8 != 0).then_some(sequence_id),
        schema,
    })
}

fn take_change(body: &mut Bytes) -> Result<StateChange> {
    let kind = take_u8(body)?;
    let key = take_str(body)?;
    match kind {
        1 => Ok(StateChange::Put { key, value: take_bytes(body)? }),
        2 => Ok(StateChange::Delete { key }),
        3 => Ok(StateChange::Add { key, amount: take_u64(body)?.cast_signed() }),
        other => Err(Error::garbage(format!("a change of kind {other}"))),
    }
}

fn take_metric(body: &mut Bytes) -> Result<(String, f64)> {
    let name = take_str(body)?;
    Ok((name, f64::from_bits(take_u64(body)?)))
}

/// A count and so many. Nothing is reserved on the word of the count.
fn take_list<T>(body: &mut Bytes, mut take: impl FnMut(&mut Bytes) -> Result<T>) -> Result<Vec<T>> {
    let count = take_u32(body)?;
    if count as usize > ELEMENTS_MAX {
        return Err(Error::garbage(format!("a list of {count} elements; {ELEMENTS_MAX} are allowed")));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take(body)?);
    }
    Ok(list)
}

fn take_str(body: &mut Bytes) -> Result<String> {
    let bytes = take_bytes(body)?;
    String::from_utf8(bytes.into()).map_err(|_| Error::garbage("text that is not UTF-8"))
}

fn take_bytes(body: &mut Bytes) -> Result<Bytes> {
    let length = take_u32(body)? as usize;
    if length > body.len() {
        return Err(Error::garbage(format!("{length} bytes where its frame has {} left", body.len())));
    }
    Ok(body.split_to(length))
}

fn take_u8(body: &mut Bytes) -> Result<u8> {
    body.try_get_u8().map_err(|_| short())
}

fn take_u32(body: &mut Bytes) -> Result<u32> {
    body.try_get_u32_le().map_err(|_| short())
}

fn take_u64(body: &mut Bytes) -> Result<u64> {
    body.try_get_u64_le().map_err(|_| short())
}

fn short() -> Error {
    Error::garbage("a frame ends within a record")
}
