//! The commands of the hot path, read and written by hand: SEND out, SEND_RECEIPT and MESSAGE in.
//!
//! `BaseCommand` has some seventy optional members; clearing and dropping it costs more than everything else a client
//! does with a receipt. Whatever is not recognized here goes through `prost`, so nothing is lost by being strict.
//! Source: PulsarApi.proto for the field numbers; "Encoding" of the Protocol Buffers documentation.

use bytes::{BufMut, BytesMut};
use model::Position;
use smallvec::SmallVec;

/// A receipt as the broker sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which producer of this connection.
    pub producer_id: u64,
    /// The sequence id of the SEND (its first message, when it is a batch).
    pub sequence_id: u64,
    /// The sequence id of the batch's last message; 0 when the broker did not say.
    pub highest_sequence_id: u64,
    /// Where it is stored; `None` for a duplicate, which the broker answers with -1/-1.
    pub position: Option<Position>,
}

/// The command part of a delivered entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which consumer of this connection.
    pub consumer_id: u64,
    /// Where it is stored.
    pub position: Position,
    /// The topic's partition, or -1.
    pub partition: i32,
    /// How often it was delivered before.
    pub redelivery_count: u32,
    /// Messages of the batch not yet acknowledged, bit 1 each; empty: all.
    pub ack_set: SmallVec<[u64; 2]>,
    /// The consumer's epoch when it was sent, if the broker says so.
    pub consumer_epoch: Option<u64>,
}

/// A command read by hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hot {
    Receipt(Receipt),
    Message(Delivery),
    /// Decode it with `prost`.
    Other,
}

const TYPE_SEND: u64 = 6;
const TYPE_SEND_RECEIPT: u64 = 7;
const TYPE_MESSAGE: u64 = 9;

/// Reads the bytes of a `BaseCommand`.
pub(crate) fn read_command(command: &[u8]) -> Hot {
    let mut fields = Fields(command);
    let Some(Some((1, Value::Varint(kind)))) = fields.next() else { return Hot::Other };
    match (kind, fields.next()) {
        (TYPE_SEND_RECEIPT, Some(Some((7, Value::Bytes(body))))) => read_receipt(body).map_or(Hot::Other, Hot::Receipt),
        (TYPE_MESSAGE, Some(Some((9, Value::Bytes(body))))) => read_message(body).map_or(Hot::Other, Hot::Message),
        _ => Hot::Other,
    }
}

fn read_receipt(body: &[u8]) -> Option<Receipt> {
    let mut receipt = Receipt { producer_id: 0, sequence_id: 0, highest_sequence_id: 0, position: None };
    for field in Fields(body) {
        match field? {
            (1, Value::Varint(v)) => receipt.producer_id = v,
            (2, Value::Varint(v)) => receipt.sequence_id = v,
            (3, Value::Bytes(id)) => receipt.position = read_id(id)?.0.filter_stored(),
            (4, Value::Varint(v)) => receipt.highest_sequence_id = v,
            _ => {}
        }
    }
    Some(receipt)
}

fn read_message(body: &[u8]) -> Option<Delivery> {
    let mut delivery = Delivery {
        consumer_id: 0,
        position: Position::EARLIEST,
        partition: -1,
        redelivery_count: 0,
        ack_set: SmallVec::new(),
        consumer_epoch: None,
    };
    for field in Fields(body) {
        match field? {
            (1, Value::Varint(v)) => delivery.consumer_id = v,
            (2, Value::Bytes(id)) => (delivery.position, delivery.partition) = read_id(id)?,
            (3, Value::Varint(v)) => delivery.redelivery_count = v as u32,
            (4, Value::Varint(v)) => delivery.ack_set.push(v),
            // Packed: newer encoders may write repeated numbers as one field.
            (4, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    delivery.ack_set.push(read_varint(&mut packed)?);
                }
            }
            (5, Value::Varint(v)) => delivery.consumer_epoch = Some(v),
            _ => {}
        }
    }
    Some(delivery)
}

fn read_id(id: &[u8]) -> Option<(Position, i32)> {
    let (mut position, mut partition) = (Position::new(0, 0), -1);
    for field in Fields(id) {
        match field? {
            (1, Value::Varint(v)) => position.ledger = v,
            (2, Value::Varint(v)) => position.entry = v as i64,
            (3, Value::Varint(v)) => partition = v as i32,
            _ => {}
        }
    }
    Some((position, partition))
}

trait FilterStored {
    fn filter_stored(self) -> Option<Position>;
}

impl FilterStored for Position {
    /// A duplicate and a message that was not stored are at -1/-1.
    fn filter_stored(self) -> Option<Position> {
        (self.ledger != u64::MAX && self.entry >= 0).then_some(self)
    }
}

/// What a reader that does not decode needs of an entry: how many messages it holds. `metadata` is the encoded
/// `MessageMetadata`; what can't be read counts as one.
#[must_use]
pub fn messages_in_batch(metadata: &[u8]) -> u32 {
    for field in Fields(metadata) {
        match field {
            Some((11, Value::Varint(v))) => return v as u32,
            Some(_) => {}
            None => break,
        }
    }
    1
}

/// The metadata and the payload of an entry in the form `[broker entry metadata] [magic crc] size metadata payload`,
/// without checking anything but the lengths. `None`: too short.
#[must_use]
pub fn split_entry(mut entry: &[u8]) -> Option<(&[u8], &[u8])> {
    if entry.get(..2)? == [0x0e, 0x02] {
        let size = u32::from_be_bytes(entry.get(2..6)?.try_into().ok()?) as usize;
        entry = entry.get(6..)?.get(size..)?;
    }
    if entry.get(..2)? == [0x0e, 0x01] {
        entry = entry.get(6..)?;
    }
    let size = u32::from_be_bytes(entry.get(..4)?.try_into().ok()?) as usize;
    entry.get(4..)?.split_at_checked(size)
}

/// One SEND frame, written straight into the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// Which producer of this connection.
    pub producer_id: u64,
    /// Sequence id of the first message.
    pub sequence_id: u64,
    /// Sequence id of the last message, for a batch.
    pub highest_sequence_id: Option<u64>,
    /// Messages in the entry.
    pub messages: u32,
    /// As the broker named it; it goes into the metadata.
    pub producer_name: &'a str,
    /// Milliseconds since 1970.
    pub publish_time_ms: u64,
    /// Whether the payload is a batch (it may hold a single message).
    pub is_batch: bool,
}

impl Send<'_> {
    /// Appends the frame; `payload` writes the payload (uncompressed) behind the metadata.
    pub fn write(&self, out: &mut BytesMut, payload: impl FnOnce(&mut BytesMut)) {
        self.write_with(out, |out| self.put_metadata(out), payload);
    }

    /// Appends the frame; `metadata` writes the encoded `MessageMetadata`, `payload` what follows it.
    pub fn write_with(
        &self,
        out: &mut BytesMut,
        metadata: impl FnOnce(&mut BytesMut),
        payload: impl FnOnce(&mut BytesMut),
    ) {
        let start = out.len();
        out.put_u64(0); // total size and command size, known at the end
        put_number(out, 1, TYPE_SEND);
        out.put_u8(6 << 3 | 2);
        // The body is four numbers of at most eleven bytes, so its length is one byte.
        let body = out.len() + 1;
        out.put_u8(0);
        put_number(out, 1, self.producer_id);
        put_number(out, 2, self.sequence_id);
        put_number(out, 3, u64::from(self.messages));
        if let Some(highest) = self.highest_sequence_id {
            put_number(out, 6, highest);
        }
        out[body - 1] = (out.len() - body) as u8;
        let command_size = (out.len() - start - 8) as u32;

        let header = out.len();
        out.put_u16(0x0e01);
        out.put_u64(0); // checksum and metadata size
        metadata(out);
        let metadata_size = (out.len() - header - 10) as u32;
        payload(out);

        let total = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&total.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&command_size.to_be_bytes());
        out[header + 6..header + 10].copy_from_slice(&metadata_size.to_be_bytes());
        let checksum = wire::crc32c(&out[header + 6..]);
        out[header + 2..header + 6].copy_from_slice(&checksum.to_be_bytes());
    }

    fn put_metadata(&self, out: &mut BytesMut) {
        out.put_u8(1 << 3 | 2);
        put_varint(out, self.producer_name.len() as u64);
        out.put_slice(self.producer_name.as_bytes());
        put_number(out, 2, self.sequence_id);
        put_number(out, 3, self.publish_time_ms);
        if self.is_batch {
            put_number(out, 11, u64::from(self.messages));
            if let Some(highest) = self.highest_sequence_id {
                out.put_slice(&[0xc0, 0x01]); // field 24
                put_varint(out, highest);
            }
        }
    }
}

/// Appends one message of a batch: its `SingleMessageMetadata` with nothing but the size, then `payload`. Messages of
/// one size make batches of which every prefix is a batch.
pub fn put_plain_batch_message(out: &mut BytesMut, payload: &[u8]) {
    let start = out.len();
    out.put_u32(0);
    put_number(out, 3, payload.len() as u64);
    let size = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    out.put_slice(payload);
}

fn put_number(out: &mut BytesMut, field: u8, value: u64) {
    out.put_u8(field << 3);
    put_varint(out, value);
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of an encoded message; an item of `None` means that the rest can't be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = read_varint(&mut self.0)?;
        let value = match tag & 7 {
            0 => Value::Varint(read_varint(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let size = usize::try_from(read_varint(&mut self.0)?).ok()?;
                Value::Bytes(self.take(size)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use wire::proto::{self, base_command::Type};

    fn id(ledger: u64, entry: u64) -> proto::MessageIdData {
        proto::MessageIdData { ledger_id: ledger, entry_id: entry, ..Default::default() }
    }

    fn receipt(position: proto::MessageIdData) -> Vec<u8> {
        proto::BaseCommand {
            r#type: Type::SendReceipt as i32,
            send_receipt: Some(proto::CommandSendReceipt {
                producer_id: 3,
                sequence_id: 300,
                message_id: Some(position),
                highest_sequence_id: Some(310),
            }),
            ..Default::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn a_receipt_reads_as_prost_wrote_it() {
        let expected = Receipt {
            producer_id: 3,
            sequence_id: 300,
            highest_sequence_id: 310,
            position: Some(Position::new(5, 1 << 40)),
        };
        assert_eq!(read_command(&receipt(id(5, 1 << 40))), Hot::Receipt(expected));
        let duplicate = Receipt { position: None, ..expected };
        assert_eq!(read_command(&receipt(id(u64::MAX, u64::MAX))), Hot::Receipt(duplicate));
    }

    #[test]
    fn a_message_reads_as_prost_wrote_it() {
        let command = proto::BaseCommand {
            r#type: Type::Message as i32,
            message: Some(proto::CommandMessage {
                consumer_id: 9,
                message_id: proto::MessageIdData { partition: Some(2), ..id(5, 6) },
                redelivery_count: Some(4),
                ack_set: vec![-1, 5],
                consumer_epoch: Some(7),
            }),
            ..Default::default()
        };
        let expected = Delivery {
            consumer_id: 9,
            position: Position::new(5, 6),
            partition: 2,
            redelivery_count: 4,
            ack_set: SmallVec::from_slice(&[u64::MAX, 5]),
            consumer_epoch: Some(7),
        };
        assert_eq!(read_command(&command.encode_to_vec()), Hot::Message(expected));
    }

    #[test]
    fn anything_else_is_left_to_prost_and_a_cut_command_never_panics() {
        let ping =
            proto::BaseCommand { r#type: Type::Ping as i32, ping: Some(proto::CommandPing {}), ..Default::default() };
        assert_eq!(read_command(&ping.encode_to_vec()), Hot::Other);
        let whole = receipt(id(5, 6));
        for end in 0..whole.len() {
            assert_eq!(read_command(&whole[..end]), Hot::Other, "cut at {end}");
        }
        assert_eq!(read_command(&[0xff; 40]), Hot::Other);
    }

    #[test]
    fn a_frame_written_by_hand_is_read_by_prost() {
        let send = Send {
            producer_id: 1,
            sequence_id: 70_000,
            highest_sequence_id: Some(70_001),
            messages: 2,
            producer_name: "standalone-0-1",
            publish_time_ms: 1_800_000_000_000,
            is_batch: true,
        };
        let mut out = BytesMut::from(&b"before"[..]);
        send.write(&mut out, |payload| {
            put_plain_batch_message(payload, b"one");
            put_plain_batch_message(payload, b"two");
        });
        let frame = &out[6..];
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        let command_size = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        let (command, entry) = frame[8..].split_at(command_size);
        let command = proto::BaseCommand::decode(command).unwrap().send.unwrap();
        assert_eq!(
            (command.producer_id, command.sequence_id, command.num_messages, command.highest_sequence_id),
            (1, 70_000, Some(2), Some(70_001))
        );
        assert_eq!(u32::from_be_bytes(entry[2..6].try_into().unwrap()), wire::crc32c(&entry[6..]));
        let (metadata, mut payload) = split_entry(entry).unwrap();
        assert_eq!(messages_in_batch(metadata), 2);
        let metadata = proto::MessageMetadata::decode(metadata).unwrap();
        assert_eq!(metadata.producer_name, "standalone-0-1");
        assert_eq!((metadata.sequence_id, metadata.highest_sequence_id), (70_000, Some(70_001)));
        for expected in [b"one", b"two"] {
            let size = u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize;
            let single = proto::SingleMessageMetadata::decode(&payload[4..4 + size]).unwrap();
            let body = &payload[4 + size..4 + size + single.payload_size as usize];
            assert_eq!(body, expected);
            payload = &payload[4 + size + body.len()..];
        }
        assert!(payload.is_empty());
    }

    #[test]
    fn an_entry_is_split_with_and_without_its_prefixes() {
        let plain = [0, 0, 0, 2, 7, 8, 9];
        let with_checksum = [&[0x0e, 1, 0, 0, 0, 0][..], &plain].concat();
        let with_broker_metadata = [&[0x0e, 2, 0, 0, 0, 1, 42][..], &with_checksum].concat();
        for entry in [&plain[..], &with_checksum, &with_broker_metadata] {
            assert_eq!(split_entry(entry), Some((&[7, 8][..], &[9][..])));
            for end in 0..entry.len() - 1 {
                assert_eq!(split_entry(&entry[..end]), None, "cut at {end}");
            }
        }
    }
}
