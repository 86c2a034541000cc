//! Dispatch where several consumers share a subscription.

use broker::{Ack, Config, NewConsumer, Outgoing};
use model::{NamespaceName, NamespacePolicies, Position, SubscriptionType::*};
use std::time::{Duration, Instant};

use crate::harness::{TestBroker, new_consumer, text, topic};

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
    while let Ok(Outgoing::Deliver { consumer_id: 2, entries, .. }) =
        tokio::time::timeout(Duration::from_millis(200), connection.next(|o| matches!(o, Outgoing::Deliver { .. })))
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
    let delay = Duration::from_secs(2);
    let test = TestBroker::start_with(Config { active_consumer_failover_delay: delay, ..Config::default() }).await;
    let mut connection = test.connect();
    test.broker.create_partitioned_topic(&topic("t"), 1).await.unwrap();
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
    // One that is gone acknowledges nothing more, and one that has nothing need not be waited for.
    let before = Instant::now();
    second.close().await;
    let held: Vec<_> = connection.receive(5, 2).await.iter().map(|d| d.position).collect();
    connection.ack(&first, &held).await;
    connection.consumer("t-partition-0", Failover, 2).await;
    connection.publish(&producer, 5..6, &["k"]).await;
    assert_eq!(connection.texts(2, 1).await, ["m5"]);
    assert!(before.elapsed() < delay);
}

/// The Go client knows its consumer only some time after it was told that it is subscribed.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_failover_consumer_has_its_messages_at_once_and_hears_later_that_it_is_active() {
    let delay = Duration::from_secs(2);
    let test = TestBroker::start_with(Config { active_consumer_failover_delay: delay, ..Config::default() }).await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..2, &["k"]).await;
    let first = connection.consumer("t", Failover, 1).await;
    assert_eq!(connection.texts(1, 2).await, ["m0", "m1"]);
    let is_told = |o: &Outgoing| matches!(o, Outgoing::ActiveConsumerChange { consumer_id: 1, active: true });
    assert!(!connection.was_told(is_told));
    connection.next(is_told).await;
    // One that is known already hears at once.
    connection.consumer("t", Failover, 2).await;
    let before = Instant::now();
    first.close().await;
    connection.next(|o| matches!(o, Outgoing::ActiveConsumerChange { consumer_id: 2, active: true })).await;
    assert!(before.elapsed() < delay);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_rolls_back_gets_nothing_older() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..50, &["k"]).await; // Of 1970.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let metadata = wire::proto::MessageMetadata {
        producer_name: "p".into(),
        sequence_id: 50,
        publish_time: now,
        ..Default::default()
    };
    connection.send(&producer, 50, 1, wire::entry::encode_entry(&metadata, b"young"));
    connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
    for durable in [false, true] {
        let request = NewConsumer {
            durable,
            subscription: format!("rolls-back-{durable}"),
            start_rollback: Some(Duration::from_secs(60)),
            ..new_consumer("t", Exclusive, 9)
        };
        let reader = test.broker.subscribe(&connection.peer, request).await.unwrap();
        reader.flow(100);
        assert_eq!(text(&connection.receive(9, 1).await[0]), "young");
        reader.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_hears_that_it_is_closed_before_its_seek_is_answered() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    for n in 0..200 {
        let reader = NewConsumer { durable: false, subscription: format!("r{n}"), ..new_consumer("t", Exclusive, n) };
        let reader = test.broker.subscribe(&connection.peer, reader).await.unwrap();
        reader.seek(broker::SeekTarget::Earliest).await.unwrap();
        let closed = |o: &Outgoing| matches!(o, Outgoing::CloseConsumer { consumer_id } if *consumer_id == n);
        assert!(connection.was_told_by_now(closed), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_come_back_after_a_seek_leaves_nothing_behind() {
    let test = TestBroker::start_with(Config {
        unload_idle_after: Duration::from_millis(200),
        maintenance_interval: Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    let connection = test.connect();
    let reader = NewConsumer { durable: false, ..new_consumer("t", Exclusive, 1) };
    let reader = test.broker.subscribe(&connection.peer, reader).await.unwrap();
    reader.seek(broker::SeekTarget::Earliest).await.unwrap();
    assert_eq!(test.broker.subscriptions(&topic("t")).await.unwrap(), ["s"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(test.broker.subscriptions(&topic("t")).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_unloaded_or_deleted_sends_its_clients_back_to_lookup() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    for n in 0..20 {
        connection.consumer("t", Shared, n).await;
        let (unload, name) = (n % 2 == 0, topic("t"));
        let gone = async {
            if unload { test.broker.unload_topic(&name).await } else { test.broker.delete_topic(&name, true).await }
        };
        let back = async {
            connection.next(|o| matches!(o, Outgoing::CloseConsumer { .. })).await;
            test.broker.subscribe(&connection.peer, new_consumer("t", Shared, n)).await
        };
        let (gone, back) = tokio::join!(gone, back);
        gone.unwrap();
        assert!(matches!(back, Ok(_) | Err(broker::Error::NotReady(_) | broker::Error::TopicNotFound(_))), "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subscriptions_get_what_each_asks_for() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let mut consumers = Vec::new();
    for n in 0..20 {
        let request = NewConsumer { subscription: format!("s{n}"), ..new_consumer("t", Shared, n) };
        consumers.push(test.broker.subscribe(&connection.peer, request).await.unwrap());
    }
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..2500, &["k"]).await;
    // More than one turn takes.
    consumers[7].flow(2500);
    let got = connection.receive(7, 2500).await;
    consumers[7].redeliver(vec![got[3].position], None);
    consumers[7].flow(1);
    assert_eq!(connection.texts(7, 1).await, ["m3"]);
    for (n, consumer) in consumers.iter().enumerate().filter(|(n, _)| *n != 7) {
        consumer.flow(3);
        assert_eq!(connection.texts(n as u64, 3).await, ["m0", "m1", "m2"]);
    }
    connection.silent().await;
}

async fn bound(test: &TestBroker, unacknowledged: u32) {
    let namespace: NamespaceName = "public/default".parse().unwrap();
    let change =
        |policies: &mut NamespacePolicies| policies.max_unacked_messages_per_subscription = Some(unacknowledged);
    test.broker.update_policies(&namespace, change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_one_unacknowledged_message_lets_one_after_the_other_through() {
    let test = TestBroker::start().await;
    bound(&test, 1).await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..1, &["k"]).await;
    for n in 1..4 {
        let got = connection.receive(1, 1).await;
        connection.publish(&producer, n..n + 1, &["k"]).await;
        connection.silent().await;
        connection.ack(&consumer, &[got[0].position]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_is_taken_away_holds_nobody_any_more() {
    let test = TestBroker::start().await;
    bound(&test, 1).await;
    let mut connection = test.connect();
    connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..1, &["k"]).await;
    connection.receive(1, 1).await;
    connection.publish(&producer, 1..3, &["k"]).await;
    connection.silent().await;
    bound(&test, 0).await;
    connection.receive(1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_skipped_is_held_by_nobody() {
    let test = TestBroker::start().await;
    bound(&test, 2).await;
    let mut connection = test.connect();
    connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..2, &["k"]).await;
    connection.receive(1, 2).await;
    test.broker.skip_all(&topic("t"), "s").await.unwrap();
    connection.publish(&producer, 2..3, &["k"]).await;
    connection.receive(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_not_skipped_again() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..10, &["k"]).await;
    let got = connection.receive(1, 10).await;
    connection.ack(&consumer, &got[1..6].iter().map(|d| d.position).collect::<Vec<_>>()).await;
    test.broker.skip_messages(&topic("t"), "s", 3).await.unwrap();
    assert_eq!(test.broker.topic_stats(&topic("t")).await.unwrap().subscriptions["s"].msg_backlog, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_messages_were_skipped_goes_to_its_next_owner() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let first = test.broker.subscribe(&connection.peer, new_consumer("t", KeyShared, 1)).await.unwrap();
    first.flow(8);
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..8, &keys).await;
    connection.receive(1, 8).await;
    connection.consumer("t", KeyShared, 2).await;
    test.broker.skip_all(&topic("t"), "s").await.unwrap();
    connection.publish(&producer, 8..16, &keys).await;
    connection.next(|o| matches!(o, Outgoing::Deliver { consumer_id: 2, .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_come_one_by_one_go_to_one_consumer_after_the_other() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    connection.consumer("t", Shared, 1).await;
    connection.consumer("t", Shared, 2).await;
    let producer = connection.producer("t", 1).await;
    let mut to = Vec::new();
    for n in 0..6 {
        connection.publish(&producer, n..n + 1, &["k"]).await;
        let delivered = connection.next(|o| matches!(o, Outgoing::Deliver { .. })).await;
        let Outgoing::Deliver { consumer_id, .. } = delivered else { unreachable!() };
        to.push(consumer_id);
    }
    assert!(to.windows(2).all(|pair| pair[0] != pair[1]), "{to:?}");
}

/// A client may say of each small entry that it is a large batch.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_batches_in_part_has_a_bound() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let consumer = connection.consumer("t", Shared, 1).await;
    let positions = connection.publish(&producer, 0..2100, &["k"]).await;
    let ack = |n: usize, words: usize, request: u64| {
        let ids = [(positions[n], std::iter::repeat_n(0b10, words).collect())].into_iter().collect();
        consumer.ack(Ack { cumulative: false, ids, request_id: Some(request), validation_error: false });
    };
    let refused = async |connection: &mut crate::Connection, request: u64| {
        let answer =
            connection.next(|o| matches!(o, Outgoing::AckResponse { request_id, .. } if *request_id == request));
        matches!(answer.await, Outgoing::AckResponse { error: Some(broker::Error::TooMany(_)), .. })
    };
    let mut taken = 0;
    for n in 0..positions.len() {
        ack(n, 1024, 1000 + n as u64);
        taken += usize::from(!refused(&mut connection, 1000 + n as u64).await);
    }
    assert_eq!(taken, 2041, "16 MiB in words, at 1028 each");
    // What takes no more room is taken: less of a batch that is known, and whole entries, which make room.
    ack(0, 1, 1);
    assert!(!refused(&mut connection, 1).await);
    let known: Vec<Position> = positions[1..20].to_vec();
    connection.ack(&consumer, &known).await;
    ack(2099, 1024, 2);
    assert!(!refused(&mut connection, 2).await);
}
