//! Who gets what of a subscription that many share: consumers of functions have no more than they work on, those that can give back what
//! they have not begun, chunks of one message stay together.

use broker::{ConsumerHandle, ProducerHandle};
use std::collections::VecDeque;

use super::*;
use crate::harness::Connection;

/// What an instance of Pulsar's says of itself.
fn of_function() -> BTreeMap<String, String> {
    let pairs = [("application", "pulsar-function"), ("id", "t/n/f"), ("instance_id", "0")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn subscribe(connection: &Connection, request: broker::NewConsumer, permits: u32) -> ConsumerHandle {
    let consumer = connection.broker.subscribe(&connection.peer, request).await.unwrap();
    consumer.flow(permits);
    consumer
}

/// What has been delivered to a consumer by now.
async fn delivered(connection: &mut Connection, consumer: u64) -> Vec<Position> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut all = Vec::new();
    let is_its = |o: &Outgoing| matches!(o, Outgoing::Deliver { consumer_id, .. } if *consumer_id == consumer);
    while connection.was_told_by_now(is_its) {
        if let Outgoing::Deliver { entries, .. } = connection.next(is_its).await {
            all.extend(entries.into_iter().map(|entry| entry.position));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_no_more_than_it_works_on_whatever_it_asks_for() {
    for kind in [Shared, KeyShared] {
        let test = TestBroker::start().await;
        let mut connection = test.connect();
        let producer = connection.producer("t", 1).await;
        subscribe(&connection, new_consumer("t", kind, 9), 0).await.close().await;
        let keys: Vec<String> = (0..50).map(|n| format!("key-{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        connection.publish(&producer, 0..1000, &keys).await;
        let request = broker::NewConsumer { metadata: of_function(), ..new_consumer("t", kind, 1) };
        let consumer = subscribe(&connection, request, 1000).await;
        let mut held: VecDeque<Position> = delivered(&mut connection, 1).await.into();
        assert!((1..=4).contains(&held.len()), "{kind:?}: {} at the beginning", held.len());
        // One after the other, 10 ms each: it never runs dry, and never has much.
        let mut most = 0;
        for _ in 0..100 {
            let Some(next) = held.pop_front() else { panic!("it has nothing to do") };
            tokio::time::sleep(Duration::from_millis(10)).await;
            connection.ack(&consumer, &[next]).await;
            let is_delivery = |o: &Outgoing| matches!(o, Outgoing::Deliver { .. });
            while connection.was_told_by_now(is_delivery) || held.is_empty() {
                if let Outgoing::Deliver { entries, .. } = connection.next(is_delivery).await {
                    held.extend(entries.into_iter().map(|entry| entry.position));
                }
            }
            most = most.max(held.len());
        }
        assert!(most <= 60, "{kind:?}: {most}");
        // Another one finds plenty to do; an ordinary consumer has what it asks for.
        let ordinary = broker::NewConsumer { consumer_id: 2, name: "c2".into(), ..new_consumer("t", kind, 2) };
        subscribe(&connection, ordinary, 500).await;
        let got = delivered(&mut connection, 2).await.len();
        assert!(got >= 200, "{kind:?}: {got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_more_than_it_works_on_is_asked_for_it_when_another_has_nothing_to_do() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let gives_back = |id| broker::NewConsumer { gives_back: true, ..new_consumer("t", Shared, id) };
    let first = subscribe(&connection, gives_back(1), 100).await;
    connection.publish(&producer, 0..10, &["k"]).await;
    let held = delivered(&mut connection, 1).await;
    assert_eq!(held.len(), 10);
    let is_asked = |o: &Outgoing| matches!(o, Outgoing::GiveBack { consumer_id: 1, positions } if positions.is_empty());
    assert!(!connection.was_told_by_now(is_asked), "nobody waits");
    subscribe(&connection, gives_back(2), 100).await;
    connection.next(is_asked).await;
    let mut requests = test.broker.requests();
    requests.give_back(&first, held[1..].to_vec());
    test.broker.submit(&connection.peer, &mut requests);
    let is_delivery = |o: &Outgoing| matches!(o, Outgoing::Deliver { .. });
    let mut counts = [0; 3];
    while counts.iter().sum::<usize>() < 9 {
        if let Outgoing::Deliver { consumer_id, entries, .. } = connection.next(is_delivery).await {
            assert!(entries.iter().all(|entry| entry.redelivery_count == 0), "no attempt was made");
            counts[consumer_id as usize] += entries.len();
        }
    }
    assert_eq!(counts[1..].iter().min(), Some(&4), "{counts:?}");
    connection.ack(&first, &held[..1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_messages_of_keys_that_move_is_asked_for_those() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let gives_back = |id| broker::NewConsumer { gives_back: true, ..new_consumer("t", KeyShared, id) };
    let first = subscribe(&connection, gives_back(1), 100).await;
    let keys: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    connection.publish(&producer, 0..40, &keys).await;
    let held = delivered(&mut connection, 1).await;
    assert_eq!(held.len(), 40);
    subscribe(&connection, gives_back(2), 100).await;
    let asked = connection.next(|o| matches!(o, Outgoing::GiveBack { consumer_id: 1, .. })).await;
    let Outgoing::GiveBack { positions, .. } = asked else { unreachable!() };
    assert!(!positions.is_empty() && positions.len() < 40, "{} of 40", positions.len());
    let mut requests = test.broker.requests();
    requests.give_back(&first, positions.clone());
    test.broker.submit(&connection.peer, &mut requests);
    let mut moved = delivered(&mut connection, 2).await;
    moved.sort_unstable();
    let mut positions = positions;
    positions.sort_unstable();
    assert_eq!(moved, positions);
}

fn chunk(sequence: u64, uuid: &str, chunk: i32, chunks: i32) -> bytes::Bytes {
    let metadata = wire::proto::MessageMetadata {
        producer_name: "p".into(),
        sequence_id: sequence,
        publish_time: 1,
        uuid: Some(uuid.into()),
        chunk_id: Some(chunk),
        num_chunks_from_msg: Some(chunks),
        ..Default::default()
    };
    wire::entry::encode_entry(&metadata, format!("{uuid}{chunk}").as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_a_message_go_to_one_consumer_also_when_it_has_to_be_another() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let first = connection.consumer("t", Shared, 1).await;
    connection.consumer("t", Shared, 2).await;
    connection.consumer("t", Shared, 3).await;
    // Messages of five chunks, mixed.
    let mut sequence = 0;
    for number in 0..5 {
        for message in 0..60 {
            connection.send(&producer, sequence, 1, chunk(sequence, &format!("m{message}-"), number, 5));
            sequence += 1;
        }
    }
    let is_delivery = |o: &Outgoing| matches!(o, Outgoing::Deliver { .. });
    let mut owners: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut count = 0;
    while count < 300 {
        let Outgoing::Deliver { consumer_id, entries, .. } = connection.next(is_delivery).await else { continue };
        for entry in entries {
            let text = text(&entry);
            owners.entry(text.split_once('-').unwrap().0.to_owned()).or_default().push(consumer_id);
            count += 1;
        }
    }
    let mut by_first = 0;
    for (message, of) in &owners {
        assert!(of.iter().all(|owner| *owner == of[0]), "{message}: {of:?}");
        by_first += usize::from(of[0] == 1);
    }
    assert!((1..60).contains(&by_first), "one has all of them");
    // What the first one has goes to the others, each message to one of them.
    first.close().await;
    let mut again: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut count = 0;
    while count < by_first * 5 {
        let Outgoing::Deliver { consumer_id, entries, .. } = connection.next(is_delivery).await else { continue };
        for entry in entries {
            let text = text(&entry);
            again.entry(text.split_once('-').unwrap().0.to_owned()).or_default().push(consumer_id);
            count += 1;
        }
    }
    for (message, of) in &again {
        assert!(of.len() == 5 && of.iter().all(|owner| *owner == of[0]), "{message}: {of:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_gets_all_chunks_of_a_message_although_it_acknowledges_none_before_the_last() {
    for kind in [Shared, KeyShared] {
        let test = TestBroker::start().await;
        let mut connection = test.connect();
        let producer = connection.producer("t", 1).await;
        let request = broker::NewConsumer { metadata: of_function(), ..new_consumer("t", kind, 1) };
        subscribe(&connection, request, 1000).await;
        for number in 0..50 {
            connection.send(&producer, 7 + number, 1, chunk(7, "m-", number as i32, 50));
        }
        connection.receive(1, 50).await;
    }
}

/// What has been delivered by now, by consumer.
async fn texts_by_now(connection: &mut Connection) -> BTreeMap<u64, Vec<String>> {
    tokio::time::sleep(Duration::from_millis(150)).await;
    let mut all: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let is_delivery = |o: &Outgoing| matches!(o, Outgoing::Deliver { .. });
    while connection.was_told_by_now(is_delivery) {
        if let Outgoing::Deliver { consumer_id, entries, .. } = connection.next(is_delivery).await {
            all.entry(consumer_id).or_default().extend(entries.iter().map(text));
        }
    }
    all
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Consumer 1 has the first two of the `of` chunks of message `m-` and no more permits; consumer 2 has many.
async fn begun(connection: &mut Connection, of: i32) -> (ProducerHandle, ConsumerHandle) {
    let producer = connection.producer("t", 1).await;
    let first = subscribe(connection, new_consumer("t", Shared, 1), 2).await;
    for number in 0..2 {
        connection.send(&producer, number, 1, chunk(number, "m-", number as i32, of));
    }
    connection.receive(1, 2).await;
    subscribe(connection, new_consumer("t", Shared, 2), 100).await;
    (producer, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_wait_for_permits_of_their_consumer_and_nothing_else_does() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let (producer, first) = begun(&mut connection, 6).await;
    for number in 2..5 {
        connection.send(&producer, number, 1, chunk(number, "m-", number as i32, 6));
        connection.send(&producer, 10 + number, 1, entry(10 + number, "k", &format!("other{number}")));
    }
    let got = texts_by_now(&mut connection).await;
    assert_eq!(got, [(2, strings(&["other2", "other3", "other4"]))].into());
    // The last chunk comes when one before it still waits.
    for next in ["m-2", "m-3"] {
        first.flow(1);
        assert_eq!(texts_by_now(&mut connection).await, [(1, strings(&[next]))].into());
    }
    connection.send(&producer, 20, 1, chunk(20, "m-", 5, 6));
    assert!(texts_by_now(&mut connection).await.is_empty());
    first.flow(10);
    assert_eq!(texts_by_now(&mut connection).await, [(1, strings(&["m-4", "m-5"]))].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_wait_go_to_another_when_their_consumer_leaves() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let (producer, first) = begun(&mut connection, 5).await;
    for number in 2..5 {
        connection.send(&producer, number, 1, chunk(number, "m-", number as i32, 5));
    }
    connection.silent().await;
    first.close().await;
    assert_eq!(connection.texts(2, 5).await, strings(&["m-0", "m-1", "m-2", "m-3", "m-4"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_holds_all_it_may_finishes_a_message_and_begins_none() {
    let config = broker::Config { max_unacked_messages_per_consumer: 3, ..broker::Config::default() };
    let test = TestBroker::start_with(config).await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    subscribe(&connection, new_consumer("t", Shared, 1), 5).await;
    for number in 0..3 {
        connection.send(&producer, number, 1, chunk(number, "m-", number as i32, 6));
    }
    connection.receive(1, 3).await;
    subscribe(&connection, new_consumer("t", Shared, 2), 2).await;
    for number in 3..6 {
        connection.send(&producer, number, 1, chunk(number, "m-", number as i32, 6));
    }
    connection.send(&producer, 6, 1, chunk(6, "n-", 0, 2));
    let got = texts_by_now(&mut connection).await;
    assert_eq!(got, [(1, strings(&["m-3", "m-4"])), (2, strings(&["n-0"]))].into(), "it has permits for two");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_read_when_many_chunks_wait() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let first = subscribe(&connection, new_consumer("t", Shared, 1), 1).await;
    connection.send(&producer, 0, 1, chunk(0, "m-", 0, 3000));
    connection.receive(1, 1).await;
    subscribe(&connection, new_consumer("t", Shared, 2), 100).await;
    for number in 1..3000 {
        connection.send(&producer, number, 1, chunk(number, "m-", number as i32, 3000));
    }
    connection.send(&producer, 3000, 1, entry(3000, "k", "other"));
    let is_last = |o: &Outgoing| matches!(o, Outgoing::Receipts { sequence_id, count, .. } if sequence_id + u64::from(*count) > 3000);
    connection.next(is_last).await;
    connection.silent().await;
    first.flow(2999);
    let rest = connection.texts(1, 2999).await;
    assert!(rest.iter().zip(1..).all(|(text, n)| *text == format!("m-{n}")), "in order");
    assert_eq!(connection.texts(2, 1).await, ["other"]);
}
