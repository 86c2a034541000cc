//! Frames made by real clients and a real broker; `../golden/README.md` says which.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use prost::Message;
use wire::entry::{self, Checksum};
use wire::proto::base_command::Type;
use wire::proto::{BaseCommand, CompressionType, MessageMetadata};
use wire::{Incoming, batch, next_frame};

use crate::schema_driven::{check_frame, check_metadata};

const GOLDEN: [(&str, &[u8]); 6] = [
    ("python client", include_bytes!("../golden/python-3.13.0-client.bin")),
    ("python broker", include_bytes!("../golden/python-3.13.0-broker.bin")),
    ("go client", include_bytes!("../golden/go-0.19.0-client.bin")),
    ("go broker", include_bytes!("../golden/go-0.19.0-broker.bin")),
    ("java client", include_bytes!("../golden/java-4.2.4-client.bin")),
    ("java broker", include_bytes!("../golden/java-4.2.4-broker.bin")),
];

fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((total, _)) = stream.split_first_chunk() {
        let (frame, rest) = stream.split_at(4 + u32::from_be_bytes(*total) as usize);
        frames.push(frame);
        stream = rest;
    }
    frames
}

/// The entry that a frame carries, if it is a SEND or MESSAGE.
fn entry_of(incoming: &Incoming) -> Option<&Bytes> {
    match incoming {
        Incoming::Send(_, entry) => Some(entry),
        Incoming::Command(command, entry) if command.r#type() == Type::Message => entry.as_ref(),
        _ => None,
    }
}

/// Counts the commands of one recording; each is decoded both ways and every entry verified.
fn check(name: &str, expected: &Expect) {
    let stream = GOLDEN.iter().find(|(golden, _)| *golden == name).unwrap().1;
    let mut counts = BTreeMap::new();
    for frame in frames(stream) {
        let command_size = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        let kind = BaseCommand::decode(&frame[8..8 + command_size]).unwrap().r#type();
        let incoming = check_frame(frame);
        let fast = !matches!(incoming, Incoming::Command(..));
        *counts.entry(format!("{}{}", kind.as_str_name(), if fast { " (fast)" } else { "" })).or_insert(0) += 1;
        if let Some(entry) = entry_of(&incoming) {
            check_entry(entry);
        }
    }
    let lines: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn check_entry(entry: &Bytes) {
    assert_eq!(entry::checksum(entry), Checksum::Valid);
    let parts = entry::split(entry).unwrap();
    check_metadata(parts.metadata);
    let view = entry::metadata(entry).unwrap();
    let metadata = MessageMetadata::decode(parts.metadata).unwrap();
    assert_eq!(entry::encode_entry(&metadata, parts.payload), entry::without_broker_metadata(entry), "re-encoded");
    if view.is_batch() && view.compression() == Some(CompressionType::None) {
        let messages = batch::messages(entry::payload(entry).unwrap()).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(messages.len(), view.messages() as usize);
    }
}

#[test]
fn python() {
    check(
        "python client",
        &expect![[r#"
        2 ACK (fast)
        1 CLOSE_CONSUMER
        2 CLOSE_PRODUCER
        1 CONNECT
        3 FLOW (fast)
        2 GET_LAST_MESSAGE_ID
        5 LOOKUP
        5 PARTITIONED_METADATA
        2 PRODUCER
        1 REDELIVER_UNACKNOWLEDGED_MESSAGES
        1 SEEK
        2 SEND (fast)
        3 SUBSCRIBE
        1 UNSUBSCRIBE"#]],
    );
    check(
        "python broker",
        &expect![[r#"
        1 CLOSE_CONSUMER
        1 CONNECTED
        2 GET_LAST_MESSAGE_ID_RESPONSE
        5 LOOKUP_RESPONSE
        7 MESSAGE
        5 PARTITIONED_METADATA_RESPONSE
        2 PRODUCER_SUCCESS
        2 SEND_RECEIPT
        8 SUCCESS"#]],
    );
}

#[test]
fn go() {
    check(
        "go client",
        &expect![[r#"
        2 ACK (fast)
        3 CLOSE_PRODUCER
        1 CONNECT
        1 FLOW (fast)
        4 LOOKUP
        5 PARTITIONED_METADATA
        3 PRODUCER
        6 SEND (fast)
        1 SUBSCRIBE
        1 UNSUBSCRIBE"#]],
    );
    check(
        "go broker",
        &expect![[r#"
        2 ACK_RESPONSE
        1 CONNECTED
        4 LOOKUP_RESPONSE
        6 MESSAGE
        5 PARTITIONED_METADATA_RESPONSE
        3 PRODUCER_SUCCESS
        6 SEND_RECEIPT
        5 SUCCESS"#]],
    );
}

#[test]
fn java() {
    check(
        "java client",
        &expect![[r#"
        1 ACK
        2 ACK (fast)
        1 CLOSE_CONSUMER
        1 CONNECT
        4 FLOW (fast)
        3 GET_LAST_MESSAGE_ID
        1 GET_TOPICS_OF_NAMESPACE
        7 LOOKUP
        5 PARTITIONED_METADATA
        2 PING
        2 PONG
        2 PRODUCER
        1 REDELIVER_UNACKNOWLEDGED_MESSAGES
        1 SEEK
        3 SEND (fast)
        4 SUBSCRIBE
        1 UNSUBSCRIBE
        2 WATCH_TOPIC_LIST"#]],
    );
    check(
        "java broker",
        &expect![[r#"
        2 ACK_RESPONSE
        1 CLOSE_CONSUMER
        1 CONNECTED
        3 GET_LAST_MESSAGE_ID_RESPONSE
        1 GET_TOPICS_OF_NAMESPACE_RESPONSE
        7 LOOKUP_RESPONSE
        10 MESSAGE
        5 PARTITIONED_METADATA_RESPONSE
        2 PING
        2 PONG
        2 PRODUCER_SUCCESS
        3 SEND_RECEIPT
        7 SUCCESS
        2 WATCH_TOPIC_LIST_SUCCESS"#]],
    );
}

/// What the broker said first, and what we would say in its place.
#[test]
fn connected_is_filled_as_pulsar_fills_it() {
    for (name, stream) in GOLDEN.iter().filter(|(name, _)| name.ends_with("broker")) {
        let Incoming::Command(command, None) = check_frame(frames(stream)[0]) else { panic!("{name}") };
        let offers = wire::handshake::Offers {
            topic_watchers: true,
            partitions_without_creation: true,
            deduplication_by_position: true,
        };
        let client = command.connected.as_ref().unwrap().protocol_version();
        let ours = wire::handshake::connected(client, "Pulsar Server4.2.4", wire::MAX_MESSAGE_SIZE, offers);
        assert_eq!(command.connected, Some(ours), "{name}");
    }
}

fn survive(bytes: &[u8]) {
    let mut buf = BytesMut::from(bytes);
    while let Ok(Some(incoming)) = next_frame(&mut buf, 1 << 20) {
        if let Some(entry) = entry_of(&incoming) {
            let _ = (entry::checksum(entry), entry::metadata(entry).map(|view| view.sticky_key().len()));
            let _ = entry::payload(entry).map(|payload| batch::messages(payload).count());
        }
    }
}

#[test]
fn every_truncation_waits_or_fails() {
    for (_, stream) in GOLDEN {
        for frame in frames(stream) {
            for end in 0..frame.len() {
                assert_eq!(next_frame(&mut BytesMut::from(&frame[..end]), 1 << 20), Ok(None));
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_every_frame_is_survived() {
    for (_, stream) in GOLDEN {
        for frame in frames(stream) {
            let mut broken = frame.to_vec();
            for bit in 0..frame.len() * 8 {
                broken[bit / 8] ^= 1 << (bit % 8);
                survive(&broken);
                broken[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}

proptest! {
    #[test]
    fn recordings_with_holes_and_noise_are_survived(
        which in 0..GOLDEN.len(), cut: prop::sample::Index, noise in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 0..20),
    ) {
        let mut stream = GOLDEN[which].1.to_vec();
        for (at, byte) in noise {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        survive(&stream[cut.index(stream.len())..]);
        survive(&stream);
    }
}
