//! Dispatch where several consumers share a subscription.

use broker::{Config, Outgoing};
use model::SubscriptionType::*;
use std::time::{Duration, Instant};

use crate::harness::{TestBroker, new_consumer};

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_hash_wakes_its_next_owner() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let first = test.broker.subscribe(&connection.peer, new_consumer("t", KeyShared, 1)).await.unwrap();
    first.flow(8);
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..8, &keys).await;
    let held: Vec<_> = connection.receive(1, 8).await.iter().map(|d| d.position).collect();
    connection.consumer("t", KeyShared, 2).await;
    connection.publish(&producer, 8..16, &keys).await;
    connection.silent().await;
    // The first can take nothing itself; what it acknowledges is all the second waits for.
    connection.ack(&first, &held).await;
    connection.next(|o| matches!(o, Outgoing::Deliver { consumer_id: 2, .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_gets_what_waited_for_its_permits() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let slow = test.broker.subscribe(&connection.peer, new_consumer("t", KeyShared, 1)).await.unwrap();
    let fast = connection.consumer("t", KeyShared, 2).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..80, &keys).await;
    let mut got = 0;
    while let Ok(Outgoing::Deliver { consumer_id: 2, entries, .. }) = tokio::time::timeout(
        Duration::from_millis(200),
        connection.next(|o| matches!(o, Outgoing::Deliver { .. })),
    )
    .await
    {
        got += entries.len();
        connection.ack(&fast, &entries.iter().map(|d| d.position).collect::<Vec<_>>()).await;
    }
    assert!(got > 0 && got < 80);
    slow.flow(1);
    connection.receive(1, 1).await;
    connection.silent().await;
    slow.flow(1000);
    connection.receive(1, 79 - got).await;
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_consumer_that_takes_over_waits_for_acknowledgements() {
    let config = Config { active_consumer_failover_delay: Duration::from_millis(300), ..Config::default() };
    let test = TestBroker::start_with(config).await;
    let mut connection = test.connect();
    let first = connection.consumer("t-partition-0", Failover, 5).await;
    connection.next(|o| matches!(o, Outgoing::ActiveConsumerChange { consumer_id: 5, active: true })).await;
    let producer = connection.producer("t-partition-0", 1).await;
    connection.publish(&producer, 0..5, &["k"]).await;
    let held: Vec<_> = connection.receive(5, 5).await.iter().map(|d| d.position).collect();
    // Its name comes first.
    let second = connection.consumer("t-partition-0", Failover, 1).await;
    connection.ack(&first, &held[..3]).await;
    assert_eq!(connection.texts(1, 2).await, ["m3", "m4"]);
    connection.next(|o| matches!(o, Outgoing::ActiveConsumerChange { consumer_id: 5, active: false })).await;
    connection.next(|o| matches!(o, Outgoing::ActiveConsumerChange { consumer_id: 1, active: true })).await;
    // One that is gone acknowledges nothing more.
    let before = Instant::now();
    second.close().await;
    assert_eq!(connection.texts(5, 2).await, ["m3", "m4"]);
    assert!(before.elapsed() < Duration::from_millis(250));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_consumer_gets_what_it_gives_back() {
    let config = Config { max_unacked_messages_per_consumer: 4, ..Config::default() };
    let test = TestBroker::start_with(config).await;
    let mut connection = test.connect();
    let consumer = test.broker.subscribe(&connection.peer, new_consumer("t", Shared, 1)).await.unwrap();
    consumer.flow(4);
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..8, &["k"]).await;
    let got = connection.receive(1, 4).await;
    consumer.flow(4);
    connection.silent().await;
    consumer.redeliver(vec![got[0].position], None);
    assert_eq!(connection.texts(1, 1).await, ["m0"]);
    connection.silent().await;
}
