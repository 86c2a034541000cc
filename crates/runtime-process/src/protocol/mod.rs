//! What this process and a child say to each other; the whole of it is on one page, `docs/reference/process-protocol.md`.
//!
//! Sans-IO: bytes in, events out, and the other way round. What comes from a child is hostile: a [`Decoder`] holds at most one frame,
//! gives events a few at a time, and ends with an error at the first thing that is not as the page says.

mod binary;
mod hello;
mod json;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use functions::{
    Message,
    event_log::Schema,
    runtime::{Event, Input, Invocation, Request},
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::error::{Error, Result};
pub(crate) use hello::hello;
pub(crate) use json::TOOK_UNKNOWN;

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// The longest frame or line, either way.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Frames to a child are cut about here.
const FRAME_BYTES_USUAL: usize = 256 << 10;
/// Events are decoded so many at a time: a frame of millions of tiny events does not become millions of values at once.
const EVENTS_AT_ONCE: usize = 512;
/// Elements of a list: what is short in a frame may be long in memory.
const ELEMENTS_MAX: usize = 100_000;
/// Text of an exception that is kept.
pub(crate) const EXCEPTION_BYTES_MAX: usize = 8 << 10;
/// A line of a log that is kept.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Schemas a child may tell of, and bytes of their definitions.
const SCHEMAS_MAX: usize = 10_000;
const SCHEMAS_BYTES_MAX: usize = 16 << 20;
/// What a message may weigh besides its payload and still be given to a child.
const INVOCATION_SLACK: usize = 64 << 10;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Length-prefixed frames over two file descriptors.
    Binary,
    /// One JSON object in a line, over stdin and stdout.
    JsonLines,
}

/// What a child says.
#[derive(Debug)]
pub(crate) enum Said {
    /// User code is ready.
    Ready(Ready),
    /// User code does not start.
    Failed(String),
    /// What happened.
    Events(Vec<Event>),
}

/// What a child says of itself once it is ready.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ready {
    /// What runs user code, for the log.
    pub(crate) runtime: String,
    /// How the records of the output are written.
    pub(crate) output_schema: Option<Described>,
    /// Whether it begins invocations while others have not ended.
    pub(crate) concurrent: Option<bool>,
}

/// A schema as a child describes it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Description")]
pub(crate) struct Described(pub(crate) Schema);

#[derive(Deserialize)]
struct Description {
    r#type: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

impl TryFrom<Description> for Described {
    type Error = String;

    fn try_from(told: Description) -> Result<Self, String> {
        let unknown = || format!("{:.40} is no type of schema", told.r#type);
        Schema::named(&told.r#type, told.schema.into(), told.properties).map(Self).ok_or_else(unknown)
    }
}

impl Encoding {
    /// The first thing a child reads.
    pub(crate) fn hello(self, hello: &serde_json::Value) -> Vec<u8> {
        match self {
            Self::Binary => binary::hello(hello),
            Self::JsonLines => json::hello(hello),
        }
    }

    /// Frames of everything but invocations; those are [`Invoke`].
    pub(crate) fn encode(self, request: &Request, out: &mut BytesMut) {
        match self {
            Self::Binary => binary::encode(request, out),
            Self::JsonLines => json::encode(request, out),
        }
    }
}

/// Whether an invocation can be put into frames at all.
pub(crate) fn fits(encoding: Encoding, invocation: &Invocation) -> bool {
    let weight = |message: &Arc<Message>| {
        let properties: usize = message.properties.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        message.payload.len() + properties + INVOCATION_SLACK
    };
    match (encoding, &invocation.input) {
        (Encoding::Binary, Input::Message(message)) => weight(message) <= FRAME_BYTES_MAX,
        (Encoding::Binary, Input::Window(messages)) => {
            messages.iter().all(|message| weight(message) <= FRAME_BYTES_MAX)
        }
        // A line holds all of it, and one byte of text may become six.
        (Encoding::JsonLines, Input::Message(message)) => weight(message) <= FRAME_BYTES_MAX / 6,
        (Encoding::JsonLines, Input::Window(messages)) => {
            messages.iter().map(weight).sum::<usize>() <= FRAME_BYTES_MAX / 6
        }
    }
}

/// A batch of invocations on its way into frames, one after the other.
pub(crate) struct Invoke<'a> {
    encoding: Encoding,
    invocations: &'a [Invocation],
    /// Elements of the first window that are in frames already.
    elements: usize,
}

impl<'a> Invoke<'a> {
    pub(crate) fn new(encoding: Encoding, invocations: &'a [Invocation]) -> Self {
        Self { encoding, invocations, elements: 0 }
    }

    /// Writes the next frame of about [`FRAME_BYTES_USUAL`] to `out`; false when there is none.
    pub(crate) fn next_frame(&mut self, out: &mut BytesMut) -> bool {
        if self.invocations.is_empty() {
            return false;
        }
        let frame = match self.encoding {
            Encoding::Binary => Some(binary::Frame::begin(binary::INVOKE, out)),
            Encoding::JsonLines => None,
        };
        while let [first, rest @ ..] = self.invocations {
            if out.len() >= FRAME_BYTES_USUAL {
                break;
            }
            match (self.encoding, &first.input) {
                (Encoding::JsonLines, _) => json::invocation(first, out),
                (Encoding::Binary, Input::Message(message)) => {
                    binary::invocation(first.id, binary::Part::Message, message, out);
                }
                (Encoding::Binary, Input::Window(messages)) => {
                    let is_last = self.elements + 1 >= messages.len();
                    let part = if is_last { binary::Part::LastElement } else { binary::Part::Element };
                    if let Some(message) = messages.get(self.elements) {
                        binary::invocation(first.id, part, message, out);
                    }
                    if !is_last {
                        self.elements += 1;
                        continue;
                    }
                }
            }
            self.elements = 0;
            self.invocations = rest;
        }
        if let Some(frame) = frame {
            frame.end(out);
        }
        true
    }
}

/// Takes what a child writes apart.
pub(crate) struct Decoder {
    encoding: Encoding,
    buffer: BytesMut,
    /// What is left of a frame of events.
    events: Bytes,
    /// How far the buffer was searched for the end of a line.
    searched: usize,
    schemas: binary::Schemas,
}

impl Decoder {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            buffer: BytesMut::new(),
            events: Bytes::new(),
            searched: 0,
            schemas: binary::Schemas::default(),
        }
    }

    /// Where to read into; read at most what is spare, and only when [`Decoder::next`] had nothing.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(64 << 10);
        &mut self.buffer
    }

    /// The next thing a child said, `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Error::Garbage`]; nothing more can be read then.
    pub(crate) fn next(&mut self) -> Result<Option<Said>> {
        match self.encoding {
            Encoding::Binary => self.next_binary(),
            Encoding::JsonLines => self.next_lines(),
        }
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// It ended in the middle of a frame.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(Error::garbage(format!("it ended within a frame, {} bytes of it were there", self.buffer.len())))
        }
    }

    fn next_binary(&mut self) -> Result<Option<Said>> {
        loop {
            if !self.events.is_empty() {
                let events = binary::events(&mut self.events, EVENTS_AT_ONCE, &mut self.schemas)?;
                return Ok(Some(Said::Events(events)));
            }
            match binary::frame(&mut self.buffer)? {
                None => return Ok(None),
                Some((binary::EVENTS, body)) => self.events = body,
                Some((kind, body)) => return binary::said(kind, &body).map(Some),
            }
        }
    }

    fn next_lines(&mut self) -> Result<Option<Said>> {
        let mut events = Vec::new();
        while events.len() < EVENTS_AT_ONCE {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.buffer.len() > FRAME_BYTES_MAX {
                    return Err(Error::garbage(format!("a line of more than {FRAME_BYTES_MAX} bytes")));
                }
                break;
            };
            let line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            match json::line(&line)? {
                None => {}
                Some(Said::Events(mut more)) => events.append(&mut more),
                Some(said) if events.is_empty() => return Ok(Some(said)),
                Some(_) => return Err(Error::garbage("it said twice that it is ready")),
            }
        }
        Ok((!events.is_empty()).then_some(Said::Events(events)))
    }
}

/// Text of an exception, cut where a character ends.
fn exception_text(mut text: String) -> String {
    cut(&mut text, EXCEPTION_BYTES_MAX);
    text
}

/// Cuts text to at most `max` bytes, where a character ends.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
}

/// A time in user code as a child tells it, which may be anything.
fn took(nanos: u64) -> Duration {
    Duration::from_nanos(nanos.min(u64::MAX / 2))
}
