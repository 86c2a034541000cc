use bytes::BufMut;

use super::*;
use crate::encode;
use crate::proto::{CommandAck, CommandLookupTopic, CommandSend, MessageIdData};

const MAX: usize = 1024;

fn buffer(parts: &[&[u8]]) -> BytesMut {
    BytesMut::from(&parts.concat()[..])
}

fn only(mut buf: BytesMut) -> Incoming {
    let incoming = next_frame(&mut buf, MAX).unwrap().unwrap();
    assert!(buf.is_empty());
    incoming
}

#[test]
fn a_send_keeps_its_entry_byte_for_byte_and_uncopied() {
    let mut buf = BytesMut::new();
    encode::send_header(&mut buf, 3, 9, Some(12), 4, false, None, 5);
    let entry_at = buf.len();
    buf.put_slice(b"entry");
    encode::ping(&mut buf);
    let address = buf[entry_at..].as_ptr();
    let Some(Incoming::Send(header, entry)) = next_frame(&mut buf, MAX).unwrap() else { panic!("no send") };
    assert_eq!((header.producer_id, header.sequence_id, header.highest_sequence_id), (3, 9, Some(12)));
    assert_eq!((header.num_messages, header.txn, header.source), (4, None, None));
    assert_eq!((&entry[..], entry.as_ptr()), (&b"entry"[..], address));
    assert!(matches!(next_frame(&mut buf, MAX), Ok(Some(Incoming::Command(..)))));
    assert_eq!(next_frame(&mut buf, MAX), Ok(None));
}

#[test]
fn half_a_frame_waits_untouched() {
    let mut whole = BytesMut::new();
    encode::flow(&mut whole, 7, 1000);
    let mut buf = BytesMut::new();
    for (at, byte) in whole.iter().enumerate() {
        assert_eq!(next_frame(&mut buf, MAX), Ok(None));
        assert_eq!(buf.len(), at);
        buf.put_u8(*byte);
    }
    assert_eq!(only(buf), Incoming::Flow(Flow { consumer_id: 7, permits: 1000 }));
}

#[test]
fn acks_with_more_than_one_plain_id_go_to_prost() {
    let mut buf = BytesMut::new();
    encode::ack(&mut buf, 1, true, 5, -1, Some(4));
    let plain = Ack { consumer_id: 1, cumulative: true, ledger_id: 5, entry_id: u64::MAX, request_id: Some(4) };
    assert_eq!(only(buf), Incoming::Ack(plain));

    let id = MessageIdData { ledger_id: 5, entry_id: 6, ..Default::default() };
    let part = MessageIdData { ack_set: vec![3], ..id.clone() };
    for command in [
        CommandAck { message_id: vec![id.clone(), id.clone()], ..Default::default() },
        CommandAck { message_id: vec![part], ..Default::default() },
        CommandAck { message_id: vec![], ..Default::default() },
        CommandAck { message_id: vec![id.clone()], validation_error: Some(2), ..Default::default() },
        CommandAck { message_id: vec![id.clone()], txnid_most_bits: Some(2), ..Default::default() },
        CommandAck { message_id: vec![id], ack_type: 9, ..Default::default() },
    ] {
        let mut buf = BytesMut::new();
        encode::put(&mut buf, &command);
        assert_eq!(only(buf), Incoming::Command(Box::new(command.into()), None));
    }
}

#[test]
fn a_send_with_its_fields_in_another_order_is_still_a_send() {
    // The body first, the type after it; and the position that a replicator adds.
    let send = CommandSend {
        producer_id: 1,
        sequence_id: 2,
        message_id: Some(MessageIdData { ledger_id: 3, entry_id: 4, ..Default::default() }),
        ..Default::default()
    };
    let body = send.encode_to_vec();
    let command = [&[0x32, body.len() as u8][..], &body, &[0x08, 0x06]].concat();
    let sizes = [&(command.len() as u32 + 6).to_be_bytes()[..], &(command.len() as u32).to_be_bytes()].concat();
    let Incoming::Send(header, entry) = only(buffer(&[&sizes, &command, b"xy"])) else { panic!("no send") };
    assert_eq!(header, SendHeader::from(&send));
    assert_eq!((header.source, &entry[..]), (Some((3, 4)), &b"xy"[..]));
}

#[test]
fn a_flow_with_its_type_last_is_still_a_flow() {
    let flow = b"\0\0\0\x0c\0\0\0\x08\x5a\x04\x08\x01\x10\x02\x08\x0b";
    assert_eq!(only(buffer(&[flow])), Incoming::Flow(Flow { consumer_id: 1, permits: 2 }));
}

#[test]
fn what_newer_peers_send_is_skipped() {
    // Type 200 with a field 200; a FLOW with a field 99; a LOOKUP with one.
    assert_eq!(only(buffer(&[b"\0\0\0\x0b\0\0\0\x07\x08\xc8\x01\xc2\x0c\x01x"])), Incoming::Unknown(200));
    let flow = b"\0\0\0\x0f\0\0\0\x0b\x08\x0b\x5a\x07\x08\x01\x10\x02\x9a\x06\x00";
    assert_eq!(only(buffer(&[flow])), Incoming::Flow(Flow { consumer_id: 1, permits: 2 }));
    let lookup = CommandLookupTopic { topic: "t".to_owned(), request_id: 8, ..Default::default() };
    let body = [&lookup.encode_to_vec()[..], b"\x9a\x06\x00"].concat();
    let command = [&[0x08, 23, 0xba, 0x01, body.len() as u8][..], &body].concat();
    let sizes = [(command.len() as u32 + 4).to_be_bytes(), (command.len() as u32).to_be_bytes()].concat();
    assert_eq!(only(buffer(&[&sizes, &command])), Incoming::Command(Box::new(lookup.into()), None));
}

#[test]
fn nonsense_is_an_error_as_soon_as_it_shows() {
    let check = |bytes: &[u8], error| assert_eq!(next_frame(&mut buffer(&[bytes]), MAX), Err(error), "{bytes:?}");
    check(b"\xff\xff\xff\xff", FrameError::TooLarge { size: (1 << 32) + 3, max: MAX });
    check(b"\0\0\x03\xfd", FrameError::TooLarge { size: 1025, max: MAX });
    assert_eq!(next_frame(&mut buffer(&[b"\0\0\x03\xfc"]), MAX), Ok(None), "the largest frame is allowed");
    check(b"\0\0\0\x03", FrameError::CommandOverrun { command: 0, frame: 3 });
    check(b"\0\0\0\x04\0\0\0\x01", FrameError::CommandOverrun { command: 1, frame: 4 });
    check(b"\0\0\0\x04\xff\xff\xff\xff", FrameError::CommandOverrun { command: u32::MAX, frame: 4 });
    check(b"\0\0\0\x04\0\0\0\0", FrameError::NoType);
    check(b"\0\0\0\x06\0\0\0\x02\x08\x17", FrameError::NoBody(23));
    check(b"\0\0\0\x06\0\0\0\x02\x08\x80", FrameError::Malformed);
    check(b"\0\0\0\x08\0\0\0\x04\x08\x06\x32\x00", FrameError::Malformed); // SEND without producer and sequence
    check(b"\0\0\0\x08\0\0\0\x04\x08\x06\x32\x09", FrameError::Malformed);
    check(b"\0\0\0\x0e\0\0\0\x0a\x08\x0a\x52\x06\x1a\x04\x08\x01\x10\x01", FrameError::Malformed); // ACK of nobody
}

#[test]
fn pings_without_a_body_are_taken() {
    assert!(matches!(only(buffer(&[b"\0\0\0\x06\0\0\0\x02\x08\x12"])), Incoming::Command(..)));
}

#[test]
fn room_grows_with_what_was_received_not_with_what_was_announced() {
    let decoder = Decoder::default();
    let mut buf = BytesMut::new();
    buf.put_u32(5 << 20);
    decoder.reserve(&mut buf, 4096);
    assert!(buf.capacity() <= 2 * 4096, "{}", buf.capacity());
    let mut reads = 0;
    while buf.len() < (5 << 20) + 4 {
        let before = buf.capacity();
        decoder.reserve(&mut buf, 4096);
        assert!(buf.capacity() - buf.len() >= 4096);
        assert!(buf.capacity() <= before.max(2 * buf.len() + 2 * 4096), "{} for {}", buf.capacity(), buf.len());
        buf.put_bytes(0, (buf.capacity() - buf.len()).min((5 << 20) + 4 - buf.len()));
        reads += 1;
    }
    assert!(reads < 20, "{reads} reads: it should double");
}

#[test]
fn headers_stay_small() {
    assert!(size_of::<Incoming>() <= 120, "{}", size_of::<Incoming>());
}
