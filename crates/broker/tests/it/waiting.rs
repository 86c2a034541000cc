//! What waits on subscriptions, for those who decide how many consumers there should be, and the bells for those who sleep.

use broker::{Bell, Waiting};
use std::sync::Arc;

use super::*;
use crate::harness::Connection;

impl TestBroker {
    async fn waiting(&self, name: &str) -> Waiting {
        self.waiting_on(&[(name, "s")]).await[0]
    }

    async fn waiting_on(&self, asked: &[(&str, &str)]) -> Vec<Waiting> {
        let asked = asked.iter().map(|(name, subscription)| (topic(name), (*subscription).into())).collect();
        self.broker.waiting(asked).await.into_iter().map(Result::unwrap).collect()
    }

    async fn hang(&self, name: &str) -> Arc<Bell> {
        let bell = Bell::new();
        self.broker.hang(new_consumer(name, Shared, 0), &bell).await.unwrap();
        bell
    }
}

async fn rings(bell: &Bell) {
    tokio::time::timeout(Duration::from_secs(10), bell.rung()).await.expect("it rings");
}

async fn is_silent(bell: &Bell) {
    assert!(tokio::time::timeout(Duration::from_millis(100), bell.rung()).await.is_err(), "it rings");
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn batch(sequence: u64, published_ms: u64, messages: i32) -> bytes::Bytes {
    let metadata = wire::proto::MessageMetadata {
        producer_name: "p".into(),
        sequence_id: sequence,
        publish_time: published_ms,
        num_messages_in_batch: Some(messages),
        ..Default::default()
    };
    wire::entry::encode_entry(&metadata, b"")
}

async fn publish(
    connection: &mut Connection,
    producer: &broker::ProducerHandle,
    sequence: u64,
    messages: u32,
    ms: u64,
) {
    connection.send(producer, sequence, messages, batch(sequence, ms, messages as i32));
    connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_shard_is_asked_of_at_once_is_answered_in_order() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    test.hang("t").await;
    let producer = connection.producer("t", 1).await;
    publish(&mut connection, &producer, 0, 3, now_ms()).await;
    let names: Vec<String> = (0..1500).map(|n| if n % 500 == 7 { "t".to_owned() } else { format!("no-{n}") }).collect();
    let mut asked: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "s")).collect();
    asked.push(("t", "another"));
    let waiting = test.waiting_on(&asked).await;
    let backlogs: Vec<(usize, u64)> =
        waiting.iter().enumerate().filter(|(_, one)| one.published > 0).map(|(n, one)| (n, one.backlog)).collect();
    assert_eq!(backlogs, [(7, 3), (507, 3), (1007, 3), (1500, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_with_and_without_a_consumer() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    assert_eq!(test.waiting("t").await, Waiting::default(), "there is no topic");
    let producer = connection.producer("t", 1).await;
    connection.consumer("t", Shared, 1).await.close().await;
    for (n, messages) in (0..).zip([1, 10, 100]) {
        publish(&mut connection, &producer, n, messages, 1000 + n).await;
    }
    let Waiting { published, backlog, oldest_ms, .. } = test.waiting("t").await;
    assert_eq!((published, backlog, oldest_ms), (111, 111, Some(1000)));
    // In hand is not done.
    let consumer = connection.consumer("t", Shared, 2).await;
    let held = connection.receive(2, 3).await;
    assert_eq!(test.waiting("t").await.backlog, 111);
    connection.ack(&consumer, &[held[0].position]).await;
    let Waiting { published, backlog, oldest_ms, .. } = test.waiting("t").await;
    assert_eq!((published, backlog, oldest_ms), (111, 110, Some(1001)));
    connection.ack(&consumer, &[held[2].position]).await;
    assert_eq!(test.waiting("t").await.backlog, 10);
    connection.ack(&consumer, &[held[1].position]).await;
    let Waiting { backlog, oldest_ms, .. } = test.waiting("t").await;
    assert_eq!((backlog, oldest_ms), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_a_topic_nobody_uses_is_known_without_loading_it() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    connection.consumer("t", Shared, 1).await.close().await;
    for n in 0..3 {
        publish(&mut connection, &producer, n, 5, 1000 + n).await;
    }
    producer.close().await;
    test.waiting("t").await;
    test.broker.unload_topic(&topic("t")).await.unwrap();
    for _ in 0..3 {
        let Waiting { published, backlog, oldest_ms, .. } = test.waiting("t").await;
        assert_eq!((published, backlog, oldest_ms), (15, 15, Some(1000)));
    }
    assert!(test.broker.loaded_topic_stats().await.is_empty(), "it was loaded");
    // What comes later counts.
    let producer = connection.producer("t", 2).await;
    publish(&mut connection, &producer, 9, 5, 1009).await;
    assert_eq!(test.waiting("t").await.backlog, 20);
    producer.close().await;
    test.broker.delete_topic(&topic("t"), true).await.unwrap();
    assert_eq!(test.waiting("t").await, Waiting::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_is_seen_where_keys_have_an_order() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    connection.consumer("t", KeyShared, 1).await;
    connection.publish(&producer, 0..300, &["hot", "hot", "a", "b", "hot", "c"]).await;
    connection.receive(1, 300).await;
    let Waiting { dispatched, hottest, .. } = test.waiting("t").await;
    assert_eq!((dispatched, hottest), (300, 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_rings_with_the_first_message() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let bell = test.hang("t").await;
    is_silent(&bell).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..1, &["k"]).await;
    rings(&bell).await;
    // There is something already.
    rings(&*test.hang("t").await).await;
    // Who comes gets all of it.
    let consumer = connection.consumer("t", Shared, 1).await;
    let held = connection.receive(1, 1).await;
    connection.ack(&consumer, &[held[0].position]).await;
    consumer.close().await;
    is_silent(&*test.hang("t").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_waits_for_consumers_to_go_and_rings_for_what_they_leave() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let bell = test.hang("t").await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..1, &["k"]).await;
    connection.receive(1, 1).await;
    is_silent(&bell).await;
    consumer.close().await;
    rings(&bell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_later_rings_when_its_time_comes() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let bell = test.hang("t").await;
    let producer = connection.producer("t", 1).await;
    let later = wire::proto::MessageMetadata {
        producer_name: "p".into(),
        deliver_at_time: Some(now_ms() as i64 + 500),
        ..Default::default()
    };
    let began = std::time::Instant::now();
    connection.send(&producer, 0, 1, wire::entry::encode_entry(&later, b"later"));
    rings(&bell).await;
    assert!(began.elapsed() >= Duration::from_millis(450));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_hangs_on_while_its_topic_is_not_loaded() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let bell = test.hang("t").await;
    test.broker.unload_topic(&topic("t")).await.unwrap();
    is_silent(&bell).await;
    let producer = connection.producer("t", 1).await;
    is_silent(&bell).await;
    connection.publish(&producer, 0..1, &["k"]).await;
    rings(&bell).await;
    // Without its subscription it would never ring again.
    let bell = test.hang("u").await;
    test.broker.delete_subscription(&topic("u"), "s", true).await.unwrap();
    rings(&bell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_only_rings_too() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    connection.consumer("t", Shared, 1).await.close().await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..300, &["k"]).await;
    drop((connection, producer));
    let test = test.restart().await;
    rings(&*test.hang("t").await).await;
    let Waiting { published, backlog, oldest_ms, .. } = test.waiting("t").await;
    assert_eq!((published, backlog, oldest_ms), (300, 300, Some(1)));
}
