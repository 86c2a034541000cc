//! Frames out of a read buffer.
//!
//! SEND, FLOW and the plain ACK are most of what a broker receives; they are parsed in place into small `Copy` headers.
//! Everything else, and any of these three with fields that the headers lack, becomes a prost `BaseCommand`.
//!
//! An entry is split off the read buffer without a copy, so it keeps that buffer's allocation alive: whoever stores a
//! small entry for long should copy it.
//!
//! Source: apache/pulsar `PulsarDecoder`, `FrameDecoderUtil`.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use crate::pb::{Fields, Malformed, Value};
use crate::proto::BaseCommand;
use crate::proto::base_command::Type;
use crate::proto::command_ack::AckType;

/// What one frame said.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A message or batch to publish, with its entry (empty when the peer sent none, which no checksum accepts).
    Send(SendHeader, Bytes),
    /// Permits for a consumer.
    Flow(Flow),
    /// An acknowledgement of one id with nothing unusual about it: no batch ack set, no transaction, no error.
    Ack(Ack),
    /// Any other command, never a SEND or FLOW. The field that its type names is present, except perhaps for PING and
    /// PONG; a required field within it that the peer left out reads as its default. The bytes that followed the command
    /// are there if there were any (the entry of a MESSAGE).
    Command(Box<BaseCommand>, Option<Bytes>),
    /// A command that this version does not know, by its type: to be ignored.
    Unknown(i32),
}

/// A SEND without its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendHeader {
    /// The producer, as numbered by the client.
    pub producer_id: u64,
    /// The message's sequence id; of a batch the lowest.
    pub sequence_id: u64,
    /// Of a batch, the highest sequence id.
    pub highest_sequence_id: Option<u64>,
    /// How many messages the entry holds, as the client says: 1 when it does not, and unchecked.
    pub num_messages: i32,
    /// One chunk of a larger message.
    pub is_chunk: bool,
    /// Not a message but a marker (replicated subscriptions, transactions).
    pub marker: bool,
    /// The transaction it belongs to.
    pub txn: Option<TxnId>,
    /// Where a replicator read the entry: ledger and entry at the source.
    pub source: Option<(u64, u64)>,
}

/// A transaction's id, two halves as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxnId {
    /// The coordinator's number.
    pub most: u64,
    /// The transaction's number at its coordinator.
    pub least: u64,
}

/// FLOW: the consumer takes `permits` messages more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The consumer, as numbered by the client.
    pub consumer_id: u64,
    /// Messages, not entries; the peer's word, unchecked.
    pub permits: u32,
}

/// ACK of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The consumer, as numbered by the client.
    pub consumer_id: u64,
    /// Everything up to and including this id.
    pub cumulative: bool,
    /// The ledger.
    pub ledger_id: u64,
    /// The entry; u64::MAX stands for -1.
    pub entry_id: u64,
    /// Answer with ACK_RESPONSE when the acknowledgement is durable.
    pub request_id: Option<u64>,
}

/// Why a connection cannot go on: after one of these the buffer's contents mean nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Sizes include the frame's own four-byte size.
    #[error("frame of {size} bytes, at most {max} are allowed")]
    TooLarge { size: u64, max: usize },
    #[error("command of {command} bytes in a frame of {frame}")]
    CommandOverrun { command: u32, frame: u32 },
    #[error("command without a type")]
    NoType,
    #[error("command of type {0} without its body")]
    NoBody(i32),
    #[error("command is malformed protobuf")]
    Malformed,
}

impl From<Malformed> for FrameError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Takes frames from a read buffer and says how much room the next read deserves.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    max_frame: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(crate::MAX_MESSAGE_SIZE)
    }
}

impl Decoder {
    /// For entries of at most `max_message_size` bytes; frames may be [`FRAME_SLACK`](crate::FRAME_SLACK) larger.
    #[must_use]
    pub const fn new(max_message_size: usize) -> Self {
        Self { max_frame: max_message_size.saturating_add(crate::FRAME_SLACK) }
    }

    /// See [`next_frame`].
    ///
    /// # Errors
    /// As [`next_frame`].
    #[inline]
    pub fn next(&self, buf: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        next_frame(buf, self.max_frame)
    }

    /// Makes room for the next read: what the frame at hand still lacks, but never more than `step` bytes or as much
    /// again as has been received, whichever is larger. So a peer that announces 5 MiB and sends nothing costs `step`.
    pub fn reserve(&self, buf: &mut BytesMut, step: usize) {
        let missing = match frame_size(buf) {
            Some(total) => usize::try_from(total).unwrap_or(usize::MAX).min(self.max_frame).saturating_sub(buf.len()),
            None => 0,
        };
        buf.reserve(missing.min(buf.len()).max(step));
    }
}

/// Takes one frame from the front of `buf`; `None`, and `buf` untouched, while it is incomplete.
///
/// `max_frame` counts the whole frame with its four-byte size; an oversize frame is refused as soon as its size is
/// there, before its bytes are. Nothing is reserved here (see [`Decoder::reserve`]), and asking again about a half frame
/// costs a look at four bytes.
///
/// # Errors
/// [`FrameError`]: close the connection. A command of unknown type is not an error but [`Incoming::Unknown`].
pub fn next_frame(buf: &mut BytesMut, max_frame: usize) -> Result<Option<Incoming>, FrameError> {
    let Some(total) = frame_size(buf) else { return Ok(None) };
    if total > max_frame as u64 {
        return Err(FrameError::TooLarge { size: total, max: max_frame });
    }
    let total = usize::try_from(total).map_err(|_| FrameError::Malformed)?;
    let Some(command_size) = buf.get(4..8).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes) else {
        return if total < 8 { Err(overrun(0, total)) } else { Ok(None) };
    };
    let start_of_entry = 8 + command_size as usize;
    if start_of_entry > total {
        return Err(overrun(command_size, total));
    }
    if buf.len() < total {
        return Ok(None);
    }

    let command = &buf[8..start_of_entry];
    let (kind, body) = kind_and_body(command)?;
    let parsed = match (kind, body) {
        (SEND, Some(body)) => send(body)?.map(|header| Incoming::Send(header, Bytes::new())),
        (FLOW, Some(body)) => flow(body)?.map(Incoming::Flow),
        (ACK, Some(body)) => ack(body)?.map(Incoming::Ack),
        (kind, _) if Type::try_from(kind).is_err() => Some(Incoming::Unknown(kind)),
        _ => None,
    };
    let incoming = match parsed {
        Some(Incoming::Send(header, _)) => {
            buf.advance(start_of_entry);
            return Ok(Some(Incoming::Send(header, buf.split_to(total - start_of_entry).freeze())));
        }
        Some(incoming) => incoming,
        None => {
            let mut frame = buf.split_to(total).freeze();
            frame.advance(8);
            // From `Bytes`, so that prost shares byte fields instead of copying them.
            return command_of(kind, frame.split_to(command_size as usize), frame).map(Some);
        }
    };
    buf.advance(total);
    Ok(Some(incoming))
}

const SEND: i32 = Type::Send as i32;
const FLOW: i32 = Type::Flow as i32;
const ACK: i32 = Type::Ack as i32;

/// The size of the frame at the front with its own four bytes, once they are there.
fn frame_size(buf: &BytesMut) -> Option<u64> {
    let total: [u8; 4] = buf.get(..4)?.try_into().ok()?;
    Some(u64::from(u32::from_be_bytes(total)) + 4)
}

fn overrun(command: u32, total: usize) -> FrameError {
    FrameError::CommandOverrun { command, frame: u32::try_from(total - 4).unwrap_or(u32::MAX) }
}

fn command_of(kind: i32, command: Bytes, entry: Bytes) -> Result<Incoming, FrameError> {
    let command = Box::new(BaseCommand::decode(command).map_err(|_| FrameError::Malformed)?);
    let lenient = command.r#type == Type::Ping as i32 || command.r#type == Type::Pong as i32;
    if !lenient && !command.is_complete() {
        return Err(FrameError::NoBody(kind));
    }
    // A SEND or FLOW written in an order that the fast path does not take is one all the same.
    match (command.r#type, &command.send, &command.flow) {
        (SEND, Some(send), _) => return Ok(Incoming::Send(SendHeader::from(send), entry)),
        (FLOW, _, Some(flow)) => {
            return Ok(Incoming::Flow(Flow { consumer_id: flow.consumer_id, permits: flow.message_permits }));
        }
        _ => {}
    }
    Ok(Incoming::Command(command, (!entry.is_empty()).then_some(entry)))
}

/// The command's type, and its body when the command is nothing but a type and the field of that number.
#[inline]
fn kind_and_body(command: &[u8]) -> Result<(i32, Option<&[u8]>), FrameError> {
    let mut fields = Fields::new(command);
    let mut kind = None;
    let mut body = None;
    let mut plain = true;
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Value::Varint(value)) => {
                plain &= kind.is_none();
                kind = Some(value as i32);
            }
            (1, _) => return Err(FrameError::Malformed),
            (field, Value::Bytes(bytes)) if body.is_none() && kind == i32::try_from(field).ok() => body = Some(bytes),
            _ => plain = false,
        }
    }
    Ok((kind.ok_or(FrameError::NoType)?, body.filter(|_| plain)))
}

impl From<&crate::proto::CommandSend> for SendHeader {
    fn from(send: &crate::proto::CommandSend) -> Self {
        let txn = send.txnid_most_bits.is_some() || send.txnid_least_bits.is_some();
        Self {
            producer_id: send.producer_id,
            sequence_id: send.sequence_id,
            highest_sequence_id: send.highest_sequence_id,
            num_messages: send.num_messages(),
            is_chunk: send.is_chunk(),
            marker: send.marker(),
            txn: txn.then(|| TxnId { most: send.txnid_most_bits(), least: send.txnid_least_bits() }),
            source: send.message_id.as_ref().map(|id| (id.ledger_id, id.entry_id)),
        }
    }
}

/// `None` means: leave it to prost, which knows what is unusual from what is wrong.
#[inline]
fn send(body: &[u8]) -> Result<Option<SendHeader>, FrameError> {
    let mut header = SendHeader {
        producer_id: 0,
        sequence_id: 0,
        highest_sequence_id: None,
        num_messages: 1,
        is_chunk: false,
        marker: false,
        txn: None,
        source: None,
    };
    let (mut required, mut most, mut least) = (0, None, None);
    let mut fields = Fields::new(body);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(id)) => (header.producer_id, required) = (id, required | 1),
            (2, Value::Varint(id)) => (header.sequence_id, required) = (id, required | 2),
            (3, Value::Varint(count)) => header.num_messages = count as i32,
            (4, Value::Varint(bits)) => least = Some(bits),
            (5, Value::Varint(bits)) => most = Some(bits),
            (6, Value::Varint(id)) => header.highest_sequence_id = Some(id),
            (7, Value::Varint(flag)) => header.is_chunk = flag != 0,
            (8, Value::Varint(flag)) => header.marker = flag != 0,
            (1..=9, _) => return Ok(None),
            _ => {}
        }
    }
    if most.is_some() || least.is_some() {
        header.txn = Some(TxnId { most: most.unwrap_or(0), least: least.unwrap_or(0) });
    }
    if required == 3 { Ok(Some(header)) } else { Err(FrameError::Malformed) }
}

#[inline]
fn flow(body: &[u8]) -> Result<Option<Flow>, FrameError> {
    let (mut consumer_id, mut permits) = (None, None);
    let mut fields = Fields::new(body);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(id)) => consumer_id = Some(id),
            (2, Value::Varint(count)) => permits = Some(count as u32),
            (1..=2, _) => return Ok(None),
            _ => {}
        }
    }
    match (consumer_id, permits) {
        (Some(consumer_id), Some(permits)) => Ok(Some(Flow { consumer_id, permits })),
        _ => Err(FrameError::Malformed),
    }
}

#[inline]
fn ack(body: &[u8]) -> Result<Option<Ack>, FrameError> {
    let (mut consumer_id, mut kind, mut id, mut request_id) = (None, None, None, None);
    let mut fields = Fields::new(body);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(value)) => consumer_id = Some(value),
            (2, Value::Varint(value)) => kind = Some(value as i32),
            (3, Value::Bytes(bytes)) if id.is_none() => match plain_id(bytes)? {
                Some(plain) => id = Some(plain),
                None => return Ok(None),
            },
            (8, Value::Varint(value)) => request_id = Some(value),
            (1..=8, _) => return Ok(None),
            _ => {}
        }
    }
    let (Some(consumer_id), Some(kind)) = (consumer_id, kind) else { return Err(FrameError::Malformed) };
    let Some((ledger_id, entry_id)) = id else { return Ok(None) };
    let cumulative = match AckType::try_from(kind) {
        Ok(AckType::Individual) => false,
        Ok(AckType::Cumulative) => true,
        Err(_) => return Ok(None),
    };
    Ok(Some(Ack { consumer_id, cumulative, ledger_id, entry_id, request_id }))
}

/// Ledger and entry of a `MessageIdData` that has no ack set and is no chunked message's id.
#[inline]
fn plain_id(bytes: &[u8]) -> Result<Option<(u64, u64)>, FrameError> {
    let (mut ledger, mut entry) = (None, None);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Varint(id)) => ledger = Some(id),
            (2, Value::Varint(id)) => entry = Some(id),
            // Partition and batch index: the topic is known, and an ack of a batch's part comes with an ack set.
            (3..=4, Value::Varint(_)) => {}
            (1..=7, _) => return Ok(None),
            _ => {}
        }
    }
    Ok(ledger.zip(entry))
}

#[cfg(test)]
mod tests;
