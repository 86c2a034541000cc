use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;
use wire::entry::{self, MetadataView};
use wire::frame::{Ack, Flow, SendHeader};
use wire::proto::{BaseCommand, MessageMetadata, command_ack::AckType};
use wire::{Incoming, encode, next_frame};

use crate::schema::{Rng, Schema, put_varint};

/// Decodes one whole frame and checks that it says what prost says; the fast paths included.
pub(crate) fn check_frame(frame: &[u8]) -> Incoming {
    let command_size = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    let expected = BaseCommand::decode(&frame[8..8 + command_size]).unwrap();
    let expected_entry = &frame[8 + command_size..];

    let mut buf = BytesMut::from(frame);
    let incoming = next_frame(&mut buf, usize::MAX).unwrap().unwrap();
    assert!(buf.is_empty());
    match &incoming {
        Incoming::Send(header, entry) => {
            assert_eq!(*header, SendHeader::from(expected.send.as_ref().unwrap()));
            assert_eq!(entry, expected_entry);
        }
        Incoming::Flow(Flow { consumer_id, permits }) => {
            let flow = expected.flow.as_ref().unwrap();
            assert_eq!((*consumer_id, *permits), (flow.consumer_id, flow.message_permits));
        }
        Incoming::Ack(fast) => {
            let ack = expected.ack.as_ref().unwrap();
            let [id] = &ack.message_id[..] else { panic!("{ack:?}") };
            assert!(id.ack_set.is_empty() && ack.properties.is_empty());
            let expected = Ack {
                consumer_id: ack.consumer_id,
                cumulative: ack.ack_type() == AckType::Cumulative,
                ledger_id: id.ledger_id,
                entry_id: id.entry_id,
                request_id: ack.request_id,
            };
            assert_eq!(*fast, expected);
        }
        Incoming::Command(command, entry) => {
            assert_eq!(**command, expected);
            assert_eq!(entry.as_deref().unwrap_or_default(), expected_entry);
            let mut again = BytesMut::new();
            encode::command_header(&mut again, command, expected_entry.len());
            again.put_slice(expected_entry);
            assert_eq!(next_frame(&mut again, usize::MAX).unwrap(), Some(incoming.clone()));
        }
        Incoming::Unknown(kind) => panic!("type {kind} is known"),
    }
    incoming
}

/// Checks the partial reader of metadata against prost, field by field.
pub(crate) fn check_metadata(encoded: &[u8]) {
    let expected = MessageMetadata::decode(encoded).unwrap();
    let view = MetadataView::parse(encoded).unwrap();
    let bytes = |value: &Option<Bytes>| value.as_ref().map(|bytes| bytes.to_vec());
    let text = |value: &Option<String>| value.as_ref().map(|text| text.clone().into_bytes());
    let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);

    assert_eq!(view.producer_name, expected.producer_name.as_bytes());
    assert_eq!(view.sequence_id, expected.sequence_id);
    assert_eq!(view.publish_time, expected.publish_time);
    assert_eq!(view.event_time, expected.event_time);
    assert_eq!(owned(view.partition_key), text(&expected.partition_key));
    assert_eq!(view.partition_key_b64_encoded, expected.partition_key_b64_encoded());
    assert_eq!(owned(view.ordering_key), bytes(&expected.ordering_key));
    assert_eq!(view.null_partition_key, expected.null_partition_key());
    assert_eq!(view.null_value, expected.null_value());
    assert_eq!(view.num_messages_in_batch, expected.num_messages_in_batch);
    assert_eq!(view.highest_sequence_id, expected.highest_sequence_id);
    assert_eq!(view.deliver_at_time, expected.deliver_at_time);
    assert_eq!(owned(view.uuid), text(&expected.uuid));
    assert_eq!(view.num_chunks_from_msg, expected.num_chunks_from_msg);
    assert_eq!(view.total_chunk_msg_size, expected.total_chunk_msg_size);
    assert_eq!(view.chunk_id, expected.chunk_id);
    assert_eq!(view.marker_type, expected.marker_type);
    assert_eq!(view.txnid_least_bits, expected.txnid_least_bits);
    assert_eq!(view.txnid_most_bits, expected.txnid_most_bits);
    assert_eq!(owned(view.replicated_from), text(&expected.replicated_from));
    assert_eq!(view.compression, expected.compression.unwrap_or(0));
    assert_eq!(view.uncompressed_size, expected.uncompressed_size());
    assert_eq!(view.encrypted, !expected.encryption_keys.is_empty());
    assert_eq!(owned(view.schema_version), bytes(&expected.schema_version));
    assert_eq!(owned(view.schema_id), bytes(&expected.schema_id));
}

/// A frame of a random command of type `kind`, with a random entry when `kind` carries one.
fn random_frame(schema: &Schema, kind: u64, rng: &mut Rng) -> Vec<u8> {
    let body = schema.random(schema.kind_of("BaseCommand", kind), rng);
    let mut command = Vec::new();
    put_varint(&mut command, 1 << 3);
    put_varint(&mut command, kind);
    put_varint(&mut command, kind << 3 | 2);
    put_varint(&mut command, body.len() as u64);
    command.extend(body);
    let entry: Vec<u8> =
        if kind == 6 || kind == 9 { (0..rng.below(99)).map(|_| rng.next() as u8).collect() } else { Vec::new() };
    let mut frame = (4 + command.len() as u32 + entry.len() as u32).to_be_bytes().to_vec();
    frame.extend((command.len() as u32).to_be_bytes());
    [frame, command, entry].concat()
}

#[test]
fn the_schema_is_read_whole() {
    let schema = Schema::load();
    assert_eq!(schema.numbers("BaseCommand.Type").len(), 58);
    assert_eq!(schema.numbers("ProtocolVersion").len(), 22);
    assert_eq!(schema.kind_of("BaseCommand", 68), "CommandTopicMigrated");
}

proptest! {
    #[test]
    fn every_command_is_read_as_prost_reads_it(seed: u64) {
        let schema = Schema::load();
        let mut rng = Rng(seed);
        for &kind in schema.numbers("BaseCommand.Type") {
            check_frame(&random_frame(&schema, kind, &mut rng));
        }
    }

    #[test]
    fn simple_acks_are_fast(consumer: u64, cumulative: bool, ledger: u64, entry: i64, request: Option<u64>) {
        let mut frame = BytesMut::new();
        encode::ack(&mut frame, consumer, cumulative, ledger, entry, request);
        prop_assert!(matches!(check_frame(&frame), Incoming::Ack(_)));
    }

    #[test]
    fn metadata_is_read_as_prost_reads_it(seed: u64) {
        let encoded = Schema::load().random("MessageMetadata", &mut Rng(seed));
        check_metadata(&encoded);
        let built = entry::encode_entry(&MessageMetadata::decode(&encoded[..]).unwrap(), b"payload");
        prop_assert_eq!(entry::checksum(&built), entry::Checksum::Valid);
        check_metadata(entry::split(&built).unwrap().metadata);
    }

    #[test]
    fn a_stream_comes_apart_wherever_it_is_cut(seed: u64, cuts: Vec<u8>) {
        let schema = Schema::load();
        let mut rng = Rng(seed);
        let kinds = schema.numbers("BaseCommand.Type");
        let frames: Vec<_> = (0..8)
            .map(|_| random_frame(&schema, kinds[rng.below(kinds.len() as u64) as usize], &mut rng))
            .collect();
        let stream = frames.concat();
        let (mut buf, mut rest, mut found) = (BytesMut::new(), &stream[..], Vec::new());
        for cut in cuts.into_iter().map(usize::from).chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            buf.put_slice(now);
            rest = later;
            while let Some(frame) = next_frame(&mut buf, usize::MAX).unwrap() {
                found.push(frame);
            }
        }
        prop_assert!(buf.is_empty());
        prop_assert_eq!(found, frames.iter().map(|frame| check_frame(frame)).collect::<Vec<_>>());
    }

    #[test]
    fn broken_frames_are_errors_at_worst(seed: u64, at: prop::sample::Index, to: u8) {
        let schema = Schema::load();
        let mut rng = Rng(seed);
        for &kind in schema.numbers("BaseCommand.Type") {
            let mut frame = random_frame(&schema, kind, &mut rng);
            let at = at.index(frame.len());
            frame[at] = to;
            let mut buf = BytesMut::from(&frame[..]);
            while let Ok(Some(_)) = next_frame(&mut buf, 1 << 20) {}
        }
    }
}
