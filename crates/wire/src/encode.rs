//! Frames into a write buffer.
//!
//! [`put`] frames any command, `encode::put(buf, &CommandProducerSuccess { .. })`. What is sent per message is written
//! by hand, without an allocation beyond the buffer's own growth: [`send_receipt`], [`message_header`], [`send_header`],
//! [`ack`], [`flow`]. A header ends where the entry begins; the entry may be appended or sent from where it lies.
//!
//! Ids that Pulsar counts from -1 travel as unsigned 64-bit numbers: -1 is `u64::MAX`. Where an entry is an `i64` here,
//! that is done for the caller.

use bytes::{BufMut, BytesMut};
use prost::Message;

use crate::base::Command;
use crate::frame::TxnId;
use crate::pb::{number_len, put_number, put_size, put_varint, sized_len, varint_len};
use crate::proto::base_command::Type;
use crate::proto::{BaseCommand, CommandError, CommandPing, CommandPong, CommandSuccess, ServerError};

/// The request id of an error or a close that answers no request: -1.
pub const NO_REQUEST: u64 = u64::MAX;

/// The ledger of "nowhere", as the receipt of a duplicate gives it: -1. Its entry is -1 too.
pub const NO_LEDGER: u64 = u64::MAX;

/// Appends the frame of a command that is not in its envelope yet.
pub fn put<C: Command>(buf: &mut BytesMut, command: &C) {
    let body = command.encoded_len();
    let number = C::TYPE as u64;
    // Type, then the field whose number is the type: a key of one byte below 16, of two above.
    let len = number_len(number) + varint_len(number << 3 | 2) + varint_len(body as u64) + body;
    start(buf, len, 0);
    put_number(buf, 1, number);
    put_varint(buf, number << 3 | 2);
    put_varint(buf, body as u64);
    command.encode_raw(buf);
}

/// Appends the frame of a command.
pub fn command(buf: &mut BytesMut, command: &BaseCommand) {
    command_header(buf, command, 0);
}

/// Appends a command whose frame goes on with `entry_len` bytes, which the caller sends next.
pub fn command_header(buf: &mut BytesMut, command: &BaseCommand, entry_len: usize) {
    start(buf, command.encoded_len(), entry_len);
    command.encode_raw(buf);
}

/// PING.
pub fn ping(buf: &mut BytesMut) {
    put(buf, &CommandPing {});
}

/// PONG.
pub fn pong(buf: &mut BytesMut) {
    put(buf, &CommandPong {});
}

/// SUCCESS: the request is done.
pub fn success(buf: &mut BytesMut, request_id: u64) {
    put(buf, &CommandSuccess { request_id, ..CommandSuccess::default() });
}

/// ERROR: the request failed. [`NO_REQUEST`] when it answers none, as before the handshake is over.
pub fn error(buf: &mut BytesMut, request_id: u64, code: ServerError, message: &str) {
    put(buf, &CommandError { request_id, error: code as i32, message: message.to_owned() });
}

/// SEND_RECEIPT: everything of `producer_id` up to this sequence id is durable.
///
/// Pulsar always sets `highest_sequence_id`, 0 where the SEND had none. A duplicate is receipted with [`NO_LEDGER`] and
/// entry -1. Source: `Commands.newSendReceipt`.
#[inline]
pub fn send_receipt(
    buf: &mut BytesMut,
    producer_id: u64,
    sequence_id: u64,
    highest_sequence_id: u64,
    ledger: u64,
    entry: i64,
) {
    let entry = entry as u64;
    let id = number_len(ledger) + number_len(entry);
    let body = number_len(producer_id) + number_len(sequence_id) + sized_len(id) + number_len(highest_sequence_id);
    envelope(buf, Type::SendReceipt, body, 0);
    put_number(buf, 1, producer_id);
    put_number(buf, 2, sequence_id);
    put_size(buf, 3, id);
    put_number(buf, 1, ledger);
    put_number(buf, 2, entry);
    put_number(buf, 4, highest_sequence_id);
}

/// MESSAGE up to where its entry of `entry_len` bytes begins (with the broker's prefix, if it has one).
///
/// `partition` is -1 for a topic without partitions and always written; `redelivery_count` only when above 0, `ack_set`
/// (words of *not* acknowledged batch indexes) only when not empty; `batch_index` is for completeness, Pulsar's broker
/// sends none. Source: `Commands.newMessageCommand`.
#[inline]
pub fn message_header(
    buf: &mut BytesMut,
    consumer_id: u64,
    ledger: u64,
    entry: i64,
    partition: i32,
    batch_index: Option<i32>,
    redelivery_count: u32,
    ack_set: &[i64],
    consumer_epoch: Option<u64>,
    entry_len: usize,
) {
    let entry = entry as u64;
    // Negative 32-bit numbers are sign-extended to 64 on the wire.
    let partition = i64::from(partition) as u64;
    let batch_index = batch_index.map(|index| i64::from(index) as u64);
    let redelivery_count = Some(u64::from(redelivery_count)).filter(|&count| count > 0);

    let id = number_len(ledger) + number_len(entry) + number_len(partition) + optional_len(batch_index);
    let body = number_len(consumer_id)
        + sized_len(id)
        + optional_len(redelivery_count)
        + ack_set.iter().map(|&word| number_len(word as u64)).sum::<usize>()
        + optional_len(consumer_epoch);
    envelope(buf, Type::Message, body, entry_len);
    put_number(buf, 1, consumer_id);
    put_size(buf, 2, id);
    put_number(buf, 1, ledger);
    put_number(buf, 2, entry);
    put_number(buf, 3, partition);
    put_optional(buf, 4, batch_index);
    put_optional(buf, 3, redelivery_count);
    for &word in ack_set {
        put_number(buf, 4, word as u64);
    }
    put_optional(buf, 5, consumer_epoch);
}

/// SEND up to where its entry of `entry_len` bytes begins. `num_messages` is written when it is not 1.
#[inline]
pub fn send_header(
    buf: &mut BytesMut,
    producer_id: u64,
    sequence_id: u64,
    highest_sequence_id: Option<u64>,
    num_messages: i32,
    is_chunk: bool,
    txn: Option<TxnId>,
    entry_len: usize,
) {
    let num_messages = Some(i64::from(num_messages) as u64).filter(|&count| count != 1);
    let least = txn.map(|txn| txn.least);
    let most = txn.map(|txn| txn.most);
    let is_chunk = is_chunk.then_some(1);
    let body = number_len(producer_id)
        + number_len(sequence_id)
        + [num_messages, least, most, highest_sequence_id, is_chunk].into_iter().map(optional_len).sum::<usize>();
    envelope(buf, Type::Send, body, entry_len);
    put_number(buf, 1, producer_id);
    put_number(buf, 2, sequence_id);
    put_optional(buf, 3, num_messages);
    put_optional(buf, 4, least);
    put_optional(buf, 5, most);
    put_optional(buf, 6, highest_sequence_id);
    put_optional(buf, 7, is_chunk);
}

/// FLOW: `permits` messages more for a consumer.
#[inline]
pub fn flow(buf: &mut BytesMut, consumer_id: u64, permits: u32) {
    let permits = u64::from(permits);
    envelope(buf, Type::Flow, number_len(consumer_id) + number_len(permits), 0);
    put_number(buf, 1, consumer_id);
    put_number(buf, 2, permits);
}

/// ACK of one whole entry, or of everything up to it.
#[inline]
pub fn ack(buf: &mut BytesMut, consumer_id: u64, cumulative: bool, ledger: u64, entry: i64, request_id: Option<u64>) {
    let entry = entry as u64;
    let id = number_len(ledger) + number_len(entry);
    let body = number_len(consumer_id) + 2 + sized_len(id) + optional_len(request_id);
    envelope(buf, Type::Ack, body, 0);
    put_number(buf, 1, consumer_id);
    put_number(buf, 2, u64::from(cumulative));
    put_size(buf, 3, id);
    put_number(buf, 1, ledger);
    put_number(buf, 2, entry);
    put_optional(buf, 8, request_id);
}

#[inline]
fn optional_len(value: Option<u64>) -> usize {
    value.map_or(0, number_len)
}

#[inline]
fn put_optional(buf: &mut BytesMut, field: u8, value: Option<u64>) {
    if let Some(value) = value {
        put_number(buf, field, value);
    }
}

/// The sizes in front of a command of `command_len` bytes, and room for it.
#[inline]
fn start(buf: &mut BytesMut, command_len: usize, entry_len: usize) {
    buf.reserve(8 + command_len);
    let size = |len: usize| u32::try_from(len).expect("a frame is far below 4 GiB");
    buf.put_u32(size(4 + command_len + entry_len));
    buf.put_u32(size(command_len));
}

/// Sizes, type and the key and size of a body of `body` bytes, for types below 16.
#[inline]
fn envelope(buf: &mut BytesMut, kind: Type, body: usize, entry_len: usize) {
    start(buf, 2 + sized_len(body), entry_len);
    put_number(buf, 1, kind as u64);
    put_size(buf, kind as u8, body);
}

#[cfg(test)]
mod tests;
