use proptest::prelude::*;

use super::*;
use crate::proto::command_ack::AckType;
use crate::proto::{CommandAck, CommandFlow, CommandMessage, CommandSend, CommandSendReceipt, MessageIdData};

/// Small and huge numbers alike, so that every length of a varint comes up.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift)
}

fn id(ledger_id: u64, entry: i64) -> MessageIdData {
    MessageIdData { ledger_id, entry_id: entry as u64, ..MessageIdData::default() }
}

/// The hand-written frame must be what prost writes, byte for byte.
fn check(ours: &BytesMut, theirs: impl Into<BaseCommand>, entry_len: usize) -> Result<(), TestCaseError> {
    let mut expected = BytesMut::new();
    command_header(&mut expected, &theirs.into(), entry_len);
    prop_assert_eq!(ours, &expected);
    Ok(())
}

proptest! {
    #[test]
    fn receipts(producer_id in number(), sequence_id in number(), highest in number(), ledger in number(), entry: i64) {
        let mut buf = BytesMut::new();
        send_receipt(&mut buf, producer_id, sequence_id, highest, ledger, entry);
        check(&buf, CommandSendReceipt {
            producer_id,
            sequence_id,
            message_id: Some(id(ledger, entry)),
            highest_sequence_id: Some(highest),
        }, 0)?;
    }

    #[test]
    fn message_headers(
        consumer_id in number(), ledger in number(), entry: i64, partition: i32, batch_index: Option<i32>,
        redelivery_count: u32, ack_set: Vec<i64>, consumer_epoch in proptest::option::of(number()), len in 0..9_000_000_usize,
    ) {
        let mut buf = BytesMut::new();
        message_header(
            &mut buf, consumer_id, ledger, entry, partition, batch_index, redelivery_count, &ack_set, consumer_epoch, len,
        );
        check(&buf, CommandMessage {
            consumer_id,
            message_id: MessageIdData { partition: Some(partition), batch_index, ..id(ledger, entry) },
            redelivery_count: Some(redelivery_count).filter(|&count| count > 0),
            ack_set,
            consumer_epoch,
        }, len)?;
    }

    #[test]
    fn send_headers(
        producer_id in number(), sequence_id in number(), highest_sequence_id in proptest::option::of(number()),
        num_messages: i32, is_chunk: bool, txn in proptest::option::of((number(), number())), len in 0..9_000_000_usize,
    ) {
        let mut buf = BytesMut::new();
        let id = txn.map(|(most, least)| TxnId { most, least });
        send_header(&mut buf, producer_id, sequence_id, highest_sequence_id, num_messages, is_chunk, id, len);
        check(&buf, CommandSend {
            producer_id,
            sequence_id,
            num_messages: Some(num_messages).filter(|&count| count != 1),
            txnid_least_bits: txn.map(|txn| txn.1),
            txnid_most_bits: txn.map(|txn| txn.0),
            highest_sequence_id,
            is_chunk: is_chunk.then_some(true),
            ..CommandSend::default()
        }, len)?;
    }

    #[test]
    fn acks_and_flows(
        consumer_id in number(), permits: u32, cumulative: bool, ledger in number(), entry: i64,
        request_id in proptest::option::of(number()),
    ) {
        let mut buf = BytesMut::new();
        ack(&mut buf, consumer_id, cumulative, ledger, entry, request_id);
        let ack_type = if cumulative { AckType::Cumulative } else { AckType::Individual } as i32;
        let message_id = vec![id(ledger, entry)];
        check(&buf, CommandAck { consumer_id, ack_type, message_id, request_id, ..CommandAck::default() }, 0)?;

        let mut buf = BytesMut::new();
        flow(&mut buf, consumer_id, permits);
        check(&buf, CommandFlow { consumer_id, message_permits: permits }, 0)?;
    }
}

#[test]
fn nowhere_is_all_ones() {
    let mut buf = BytesMut::new();
    send_receipt(&mut buf, 1, 2, 0, NO_LEDGER, -1);
    let receipt = BaseCommand::decode(&buf[8..]).unwrap().send_receipt.unwrap();
    assert_eq!(receipt.message_id, Some(MessageIdData { ledger_id: u64::MAX, entry_id: u64::MAX, ..id(0, 0) }));
}

#[test]
fn short_replies() {
    let mut buf = BytesMut::new();
    ping(&mut buf);
    pong(&mut buf);
    success(&mut buf, 7);
    assert_eq!(&buf[..13], b"\0\0\0\x09\0\0\0\x05\x08\x12\x92\x01\0");
    error(&mut buf, NO_REQUEST, ServerError::NotAllowedError, "no");
    let kinds: Vec<_> = std::iter::from_fn(|| crate::next_frame(&mut buf, 1 << 20).unwrap())
        .map(|frame| match frame {
            crate::Incoming::Command(command, None) => *command,
            other => panic!("{other:?}"),
        })
        .collect();
    let not_allowed = CommandError { request_id: u64::MAX, error: 22, message: "no".to_owned() };
    assert_eq!(
        kinds,
        [
            CommandPing {}.into(),
            CommandPong {}.into(),
            CommandSuccess { request_id: 7, schema: None }.into(),
            not_allowed.into()
        ] as [BaseCommand; 4]
    );
}
