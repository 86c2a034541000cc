//! Compacted topics: what stays, who sees it, and that it stays.

use super::{Connection, TestBroker, entry, new_consumer, text, topic};
use broker::{COMPACTION_SUBSCRIPTION, CompactionStatus, Config, ConsumerHandle, Error, NewConsumer, Outgoing};
use model::{NamespaceName, Position, SubscriptionType::*};
use std::{collections::BTreeMap, time::Duration};

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}

impl TestBroker {
    async fn compact(&self, name: &str) {
        self.broker.compact(&topic(name)).await.unwrap();
        until("compacted", async || {
            self.broker.compaction_status(&topic(name)).await.unwrap() == CompactionStatus::Success
        })
        .await;
    }
}

impl Connection {
    /// A reader from the beginning that takes what compaction left.
    async fn compacted(&self, name: &str, id: u64) -> ConsumerHandle {
        let request = NewConsumer {
            read_compacted: true,
            durable: false,
            subscription: format!("reader{id}"),
            ..new_consumer(name, Exclusive, id)
        };
        let reader = self.broker.subscribe(&self.peer, request).await.unwrap();
        reader.flow(1000);
        reader
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_compacted_gets_the_last_message_of_each_key_and_what_came_after() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let all = connection.consumer("t", Exclusive, 1).await;
    let producer = connection.producer("t", 1).await;
    assert_eq!(test.broker.compaction_status(&topic("t")).await.unwrap(), CompactionStatus::NotRun);
    let positions = connection.publish(&producer, 0..10, &["a", "b"]).await;
    connection.texts(1, 10).await;
    connection.compacted("t", 2).await;
    assert_eq!(connection.texts(2, 10).await.len(), 10, "nothing is compacted yet");
    test.compact("t").await;
    connection.compacted("t", 3).await;
    assert_eq!(connection.texts(3, 2).await, ["m8", "m9"]);
    connection.publish(&producer, 10..12, &["a", "b"]).await;
    assert_eq!(connection.texts(3, 2).await, ["m10", "m11"]);
    // Who does not read compacted misses nothing.
    assert_eq!(connection.texts(1, 2).await, ["m10", "m11"]);
    // What everybody else has acknowledged stays, over a restart and whatever time does.
    connection.ack(&all, &positions).await;
    drop((connection, all, producer));
    let test = test.restart().await;
    let mut connection = test.connect();
    connection.compacted("t", 1).await;
    assert_eq!(connection.texts(1, 4).await, ["m8", "m9", "m10", "m11"]);
    test.compact("t").await;
    connection.compacted("t", 2).await;
    assert_eq!(connection.texts(2, 2).await, ["m10", "m11"]);
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_subscription_that_reads_compacted_owes_nothing_for_what_it_passed_over() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let request = NewConsumer { read_compacted: true, ..new_consumer("t", Failover, 1) };
    let consumer = test.broker.subscribe(&connection.peer, request.clone()).await.unwrap();
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..100, &["k"]).await;
    test.compact("t").await;
    consumer.flow(1000);
    let got = connection.receive(1, 1).await;
    assert_eq!(text(&got[0]), "m99");
    connection.ack(&consumer, &[got[0].position]).await;
    let backlog = test.broker.topic_stats(&topic("t")).await.unwrap().subscriptions["s"].msg_backlog;
    assert_eq!(backlog, 0);
    let shared = NewConsumer { read_compacted: true, subscription: "x".into(), ..new_consumer("t", Shared, 2) };
    let refused = test.broker.subscribe(&connection.peer, shared).await;
    assert!(matches!(refused, Err(Error::NotAllowed(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_the_messages_that_are_left_are_named() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let mut builder = wire::batch::Builder::default();
    for (key, value) in [("a", "1"), ("b", "1"), ("c", "1"), ("b", "2"), ("d", "")] {
        let single = wire::proto::SingleMessageMetadata { partition_key: Some(key.into()), ..Default::default() };
        builder.push(single, value.as_bytes());
    }
    let metadata = wire::proto::MessageMetadata {
        producer_name: "p".into(),
        num_messages_in_batch: Some(5),
        publish_time: 1,
        ..Default::default()
    };
    connection.send(&producer, 0, 5, wire::entry::encode_entry(&metadata, &builder.take()));
    connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
    connection.publish(&producer, 5..6, &["a"]).await;
    test.compact("t").await;
    let reader = connection.compacted("t", 1).await;
    let got = connection.receive(1, 2).await;
    assert_eq!(got[0].ack_set.as_slice(), [0b01100], "of a, b, c, b and a tombstone");
    assert_eq!(text(&got[1]), "m5");
    connection.send(&producer, 6, 1, entry(6, "a", ""));
    connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
    test.compact("t").await;
    let last = reader.last_message_id().await.unwrap();
    assert_eq!((last.position, last.batch_index), (got[0].position, 3), "the last that is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_is_left_there_is_no_last_message() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let all = connection.consumer("t", Exclusive, 1).await;
    connection.publish(&producer, 0..3, &["k"]).await;
    connection.send(&producer, 3, 1, entry(3, "k", ""));
    let tombstone = connection.receive(1, 4).await[3].position;
    test.compact("t").await;
    let reader = connection.compacted("t", 2).await;
    assert_eq!(reader.last_message_id().await.unwrap().position, Position::new(u64::MAX, -1));
    assert_eq!(all.last_message_id().await.unwrap().position, tombstone);
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_compacted_by_policy_and_what_is_left_does_not_grow_old() {
    let test =
        TestBroker::start_with(Config { maintenance_interval: Duration::from_millis(50), ..Config::default() }).await;
    let namespace: NamespaceName = "public/default".parse().unwrap();
    let change = test.broker.update_policies(&namespace, |p| {
        p.compaction_threshold = Some(1000);
        p.message_ttl_in_seconds = Some(1);
    });
    change.await.unwrap();
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    assert_eq!(test.broker.subscriptions(&topic("t")).await.unwrap(), [COMPACTION_SUBSCRIPTION]);
    let mine = BTreeMap::from([("owner".to_owned(), "me".to_owned())]);
    test.broker.set_subscription_properties(&topic("t"), COMPACTION_SUBSCRIPTION, mine).await.unwrap();
    // Published long ago, says their producer: what can expire, does at once.
    connection.publish(&producer, 0..100, &["a", "b"]).await;
    let left = async || {
        let stats = test.broker.topic_stats(&topic("t")).await.unwrap();
        stats.subscriptions[COMPACTION_SUBSCRIPTION].msg_backlog
    };
    // Less than the threshold may have come since the last time.
    until("compacted by itself", async || left().await < 40).await;
    until("ended", async || {
        let properties = test.broker.subscription_properties(&topic("t"), COMPACTION_SUBSCRIPTION).await.unwrap();
        assert_eq!(properties["owner"], "me");
        properties.len() == 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    connection.compacted("t", 1).await;
    let mut got = Vec::new();
    while got.last().is_none_or(|last| last != "m99") {
        let outgoing = connection.next(|o| matches!(o, Outgoing::Deliver { .. })).await;
        let Outgoing::Deliver { entries, .. } = outgoing else { continue };
        got.extend(entries.iter().map(text));
    }
    assert!((2..40).contains(&got.len()), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_compaction_that_failed_the_threshold_waits() {
    let test =
        TestBroker::start_with(Config { maintenance_interval: Duration::from_millis(20), ..Config::default() }).await;
    let namespace: NamespaceName = "public/default".parse().unwrap();
    test.broker.update_policies(&namespace, |p| p.compaction_threshold = Some(1000)).await.unwrap();
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    for sequence in 0..2 {
        let mut builder = wire::batch::Builder::default();
        for n in 0..60_000 {
            let key = Some(format!("{sequence}-{n}"));
            builder.push(wire::proto::SingleMessageMetadata { partition_key: key, ..Default::default() }, b"v");
        }
        let metadata = wire::proto::MessageMetadata {
            producer_name: "p".into(),
            num_messages_in_batch: Some(60_000),
            publish_time: 1,
            ..Default::default()
        };
        connection.send(&producer, sequence, 60_000, wire::entry::encode_entry(&metadata, &builder.take()));
        connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
    }
    let failed = async || match test.broker.compaction_status(&topic("t")).await.unwrap() {
        CompactionStatus::Error(why) => Some(why),
        _ => None,
    };
    until("failed", async || failed().await.is_some()).await;
    assert_eq!(failed().await.unwrap(), "a topic of more than 100000 keys cannot be compacted");
    let when = async || {
        let stats = test.broker.topic_stats(&topic("t")).await.unwrap();
        stats.compaction.last_compaction_failed_timestamp
    };
    let first = when().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(when().await, first);
    // Nor is it forgotten when the topic is loaded again.
    test.broker.unload_topic(&topic("t")).await.unwrap();
    for _ in 0..10 {
        assert_eq!(test.broker.compaction_status(&topic("t")).await.unwrap(), CompactionStatus::NotRun);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Who asks for one is not kept waiting.
    test.broker.compact(&topic("t")).await.unwrap();
    until("failed again", async || when().await > first && failed().await.is_some()).await;
}
