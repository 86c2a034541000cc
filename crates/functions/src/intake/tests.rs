use super::*;
use wire::proto::{MessageMetadata, SingleMessageMetadata};

const NOW: (Duration, u64) = (Duration::from_secs(1000), 1_000_000);

fn at(entry: i64) -> Position {
    Position::new(1, entry)
}

fn intake(in_order: bool) -> Intake {
    Intake::new(0, "persistent://public/default/in".parse().unwrap(), in_order)
}

fn chunk(uuid: &str, chunk: i32, chunks: i32) -> Bytes {
    let metadata = MessageMetadata {
        producer_name: "p".into(),
        publish_time: NOW.1,
        uuid: Some(uuid.into()),
        chunk_id: Some(chunk),
        num_chunks_from_msg: Some(chunks),
        ..Default::default()
    };
    wire::entry::encode_entry(&metadata, format!("{uuid}{chunk}").as_bytes())
}

fn receive(intake: &mut Intake, entry: i64, bytes: Bytes) -> Vec<Message> {
    let delivery = Delivery {
        consumer_id: 0,
        position: at(entry),
        partition: -1,
        redelivery_count: 0,
        ack_set: Default::default(),
        consumer_epoch: None,
    };
    let mut messages = Vec::new();
    assert_eq!(intake.receive(delivery, bytes, 1, NOW, &mut messages), Received::Read);
    messages
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
}

/// What was wanted was read.
fn fetched(
    intake: &mut Intake,
    number: u64,
    entries: Vec<(Position, Bytes)>,
    messages: &mut Vec<Message>,
) -> Vec<(Position, Received)> {
    intake.fetched(number, Ok::<_, &str>(entries), NOW, messages).unwrap()
}

/// A message of three chunks.
fn received(intake: &mut Intake) -> MessageId {
    assert!(receive(intake, 1, chunk("m", 0, 3)).is_empty());
    assert!(receive(intake, 3, chunk("m", 1, 3)).is_empty());
    let whole = receive(intake, 7, chunk("m", 2, 3));
    assert_eq!(texts(&whole), ["m0m1m2"]);
    whole[0].id
}

fn acked(intake: &mut Intake, id: MessageId) -> Vec<i64> {
    let mut acked = Vec::new();
    assert!(intake.ack(id, |position, _| acked.push(position.entry)));
    acked.sort_unstable();
    acked
}

#[test]
fn all_chunks_of_a_message_come_again_when_its_commit_was_refused() {
    let mut intake = intake(false);
    let id = received(&mut intake);
    assert_eq!(acked(&mut intake, id), [1, 3, 7]);
    intake.reopen(id);
    assert!(intake.refuse(id));
    let mut again = intake.entries_of(at(7));
    again.sort_unstable();
    assert_eq!(again, [at(1), at(3), at(7)]);
    assert_eq!(received(&mut intake), id);
    assert_eq!(acked(&mut intake, id), [1, 3, 7]);
}

#[test]
fn all_chunks_are_acknowledged_with_what_is_made_of_a_refused_message_instead() {
    let mut intake = intake(false);
    let id = received(&mut intake);
    acked(&mut intake, id);
    intake.reopen(id);
    assert_eq!(acked(&mut intake, id), [1, 3, 7]);
    intake.settled(id);
    assert!(intake.acked.is_empty() && intake.earlier.is_empty());
}

#[test]
fn a_batch_is_no_chunk_whatever_it_says() {
    use bytes::BufMut;
    let mut payload = Vec::new();
    for text in ["a", "b"] {
        let single = SingleMessageMetadata { payload_size: 1, ..Default::default() };
        let single = prost::Message::encode_to_vec(&single);
        payload.put_u32(single.len() as u32);
        payload.extend_from_slice(&single);
        payload.extend_from_slice(text.as_bytes());
    }
    let metadata = MessageMetadata {
        num_messages_in_batch: Some(2),
        uuid: Some("m".into()),
        chunk_id: Some(1),
        num_chunks_from_msg: Some(2),
        ..Default::default()
    };
    let mut intake = intake(false);
    receive(&mut intake, 1, chunk("m", 0, 2));
    let batch = receive(&mut intake, 2, wire::entry::encode_entry(&metadata, &payload));
    assert_eq!(texts(&batch), ["a", "b"]);
    assert_eq!(acked(&mut intake, batch[0].id), [2]);
    assert_eq!(texts(&receive(&mut intake, 3, chunk("m", 1, 2))), ["m0m1"]);
}

/// In order, and with room for one small message: `b` has ended before `a`, and something follows it.
fn stopped() -> Intake {
    let mut intake = Intake { chunks: Chunks::with_room(5, true), ..intake(true) };
    assert_eq!(intake.permits(10), 10);
    for (entry, uuid, number) in [(1, "a", 0), (2, "b", 0), (3, "b", 1)] {
        assert!(receive(&mut intake, entry, chunk(uuid, number, 3)).is_empty());
    }
    assert_eq!(intake.permits(0), 3, "for what was no message");
    assert_eq!(intake.wanted(), None);
    assert!(receive(&mut intake, 4, chunk("b", 2, 3)).is_empty());
    for entry in 5..8 {
        let plain = MessageMetadata { publish_time: NOW.1, ..Default::default() };
        let entry_bytes = wire::entry::encode_entry(&plain, format!("plain{entry}").as_bytes());
        assert!(receive(&mut intake, entry, entry_bytes).is_empty(), "it waits");
    }
    intake
}

#[test]
fn where_all_comes_in_order_nothing_overtakes_a_message_there_was_no_room_for() {
    let mut intake = stopped();
    let wanted = intake.wanted().unwrap();
    assert_eq!(wanted, Wanted { number: 1, positions: vec![at(2), at(3)] });
    assert_eq!(intake.wanted(), None, "it is said once");
    assert_eq!(intake.permits(0), 1, "nothing more comes of what waits");
    assert_eq!(intake.next_look(), None);
    assert!(receive(&mut intake, 8, chunk("a", 1, 3)).is_empty());
    assert!(receive(&mut intake, 9, chunk("a", 2, 3)).is_empty());
    let (entries, mut messages) = (vec![(at(2), chunk("b", 0, 3)), (at(3), chunk("b", 1, 3))], Vec::new());
    assert_eq!(fetched(&mut intake, 7, entries.clone(), &mut messages), [], "of another time");
    assert!(messages.is_empty());
    assert_eq!(fetched(&mut intake, 1, entries, &mut messages), []);
    assert_eq!(texts(&messages), ["b0b1b2", "plain5", "plain6", "plain7", "a0a1a2"]);
    assert_eq!(acked(&mut intake, messages[0].id), [2, 3, 4]);
    assert_eq!(acked(&mut intake, messages[4].id), [1, 8, 9]);
    // Nine entries came, four permits were given again, five messages came.
    assert_eq!((intake.permits(0), intake.owed, intake.allowed), (0, 0, 14 - 9));
}

#[test]
fn a_message_there_was_no_room_for_is_passed_over_when_it_is_stored_no_more() {
    let mut intake = stopped();
    let mut messages = Vec::new();
    let failed = fetched(&mut intake, 1, vec![(at(3), chunk("b", 1, 3))], &mut messages);
    assert!(matches!(&failed[..], [(position, Received::Corrupt(_))] if *position == at(4)), "{failed:?}");
    assert_eq!(texts(&messages), ["plain5", "plain6", "plain7"]);
    assert_eq!(intake.past(NOW.0).lost, [at(2), at(3)]);
}

#[test]
fn a_read_that_fails_when_nobody_waits_for_it_any_more_harms_nobody() {
    let mut intake = stopped();
    let mut messages = Vec::new();
    assert_eq!(intake.fetched(7, Err("unloaded"), NOW, &mut messages), Ok(Vec::new()), "of another time");
    intake.clear();
    assert_eq!(intake.fetched(1, Err("unloaded"), NOW, &mut messages), Ok(Vec::new()), "all comes again");
    let mut intake = stopped();
    assert_eq!(intake.fetched(1, Err("unloaded"), NOW, &mut messages), Err("unloaded"));
    assert!(messages.is_empty());
}

#[test]
fn what_waited_when_all_comes_again_may_come_again() {
    let mut intake = stopped();
    intake.clear();
    assert_eq!(intake.permits(0), 3);
    let mut messages = Vec::new();
    assert_eq!(fetched(&mut intake, 1, Vec::new(), &mut messages), []);
    assert!(messages.is_empty());
    let mut intake = stopped();
    intake.lost();
    assert_eq!((intake.permits(0), intake.permits(5), intake.allowed), (0, 5, 5), "all is asked for anew");
}
