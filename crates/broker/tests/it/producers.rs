//! Who may produce, and who is told to go.

use broker::{Config, Error, NewProducer, Outgoing};
use model::{
    AccessMode::*, BacklogQuota, BacklogQuotaType, NamespaceName, RetentionPolicy::ProducerRequestHold,
    SubscriptionType::Exclusive as ExclusiveSubscription,
};
use std::time::Duration;

use crate::harness::{Connection, TestBroker, entry, new_producer, topic};

fn with(id: u64, access_mode: model::AccessMode) -> NewProducer {
    NewProducer { access_mode, ..new_producer("t", id) }
}

/// One producer with exclusive access, and one that waits for it.
async fn one_and_one_that_waits(test: &TestBroker) -> Connection {
    let connection = test.connect();
    test.broker.create_producer(&connection.peer, with(1, Exclusive)).await.unwrap();
    let (_, created) = test.broker.create_producer(&connection.peer, with(2, WaitForExclusive)).await.unwrap();
    assert!(!created.ready);
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_fences_fences_those_that_wait_too() {
    let test = TestBroker::start().await;
    let mut connection = one_and_one_that_waits(&test).await;
    let (_, created) = test.broker.create_producer(&connection.peer, with(3, ExclusiveWithFencing)).await.unwrap();
    assert!(created.ready);
    connection.next(|o| matches!(o, Outgoing::CloseProducer { producer_id: 1 })).await;
    let told = connection.next(|o| matches!(o, Outgoing::ProducerFailed { .. } | Outgoing::ProducerReady { .. })).await;
    assert!(matches!(told, Outgoing::ProducerFailed { request_id: 2, error: Error::ProducerFenced(_) }), "{told:?}");
    let stats = test.broker.topic_stats(&topic("t")).await.unwrap();
    assert_eq!(stats.publishers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unloaded_topic_promotes_nobody() {
    let test = TestBroker::start().await;
    let mut connection = one_and_one_that_waits(&test).await;
    test.broker.unload_topic(&topic("t")).await.unwrap();
    let told = connection.next(|o| matches!(o, Outgoing::ProducerFailed { .. } | Outgoing::ProducerReady { .. })).await;
    assert!(matches!(told, Outgoing::ProducerFailed { request_id: 2, error: Error::NotReady(_) }), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_epoch_that_no_client_can_have_is_refused() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let request = NewProducer { topic_epoch: Some(u64::MAX), ..with(1, Exclusive) };
    let refused = test.broker.create_producer(&connection.peer, request).await;
    assert!(matches!(refused, Err(Error::ProducerFenced(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_is_too_large_and_not_too_old_holds_producers() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    connection.consumer("t", ExclusiveSubscription, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..10, &["k"]).await;
    let namespace = NamespaceName::new("public", "default").unwrap();
    let quota = |limit_size, limit_time| BacklogQuota { limit_size, limit_time, policy: ProducerRequestHold };
    test.broker
        .update_policies(&namespace, |p| {
            p.backlog_quota_map.insert(BacklogQuotaType::DestinationStorage, quota(1, -1));
            p.backlog_quota_map.insert(BacklogQuotaType::MessageAge, quota(-1, i64::MAX / 1000));
        })
        .await
        .unwrap();
    // The age is found out by a read.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = test.broker.create_producer(&connection.peer, new_producer("t", 2)).await;
    assert!(matches!(refused, Err(Error::ProducerBlockedQuota { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_producer_whose_connection_is_dead_is_free() {
    let config = Config { connection_liveness_timeout: Duration::from_millis(100), ..Config::default() };
    let test = TestBroker::start_with(config).await;
    let (mut dead, living) = (test.connect(), test.connect());
    dead.producer("t", 1).await;
    test.broker.create_producer(&living.peer, new_producer("t", 1)).await.unwrap();
    dead.next(|o| matches!(o, Outgoing::Ping)).await;
    dead.next(|o| matches!(o, Outgoing::Close { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deduplication_forgets_a_producer_that_stays_away() {
    let test = TestBroker::start_with(Config {
        deduplication_enabled: true,
        deduplication_inactivity_timeout: Duration::from_millis(500),
        maintenance_interval: Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    let mut connection = test.connect();
    let last = async |connection: &Connection| {
        let (producer, created) = test.broker.create_producer(&connection.peer, new_producer("t", 1)).await.unwrap();
        producer.close().await;
        created.last_sequence_id
    };
    let producer = connection.producer("t", 1).await;
    connection.send(&producer, 7, 1, entry(7, "k", "m7"));
    connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
    // As long as it is there it is remembered.
    tokio::time::sleep(Duration::from_millis(700)).await;
    producer.close().await;
    assert_eq!(last(&connection).await, 7);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(last(&connection).await, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_producer_that_comes_back_behind_one_that_waits_leaves_the_topic_to_it() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let generated = |access_mode, id, epoch| NewProducer {
        name: Some("generated".into()),
        user_provided_name: false,
        epoch,
        ..with(id, access_mode)
    };
    test.broker.create_producer(&connection.peer, generated(Exclusive, 1, 0)).await.unwrap();
    let (_, created) = test.broker.create_producer(&connection.peer, with(2, WaitForExclusive)).await.unwrap();
    assert!(!created.ready);
    // It reconnects before the broker has seen its old connection end.
    let again = test.connect();
    let refused = test.broker.create_producer(&again.peer, generated(Exclusive, 1, 1)).await;
    assert!(matches!(refused, Err(Error::ProducerFenced(_))), "{refused:?}");
    connection.next(|o| matches!(o, Outgoing::ProducerReady { request_id: 2, .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_that_a_producer_asks_for_is_opened_where_consumers_might_open_it() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let with = |name: &str, id| NewProducer { initial_subscription: Some("first".into()), ..new_producer(name, id) };
    test.broker.create_producer(&connection.peer, with("t", 1)).await.unwrap();
    assert_eq!(test.broker.subscriptions(&topic("t")).await.unwrap(), ["first"]);
    let unstored = "non-persistent://public/default/t";
    let _producer = test.broker.create_producer(&connection.peer, with(unstored, 2)).await.unwrap();
    assert!(test.broker.subscriptions(&topic(unstored)).await.unwrap().is_empty());
    let namespace: NamespaceName = "public/default".parse().unwrap();
    let none = model::AutoSubscriptionCreation { allow_auto_subscription_creation: false };
    test.broker.update_policies(&namespace, |p| p.auto_subscription_creation = Some(none)).await.unwrap();
    test.broker.create_producer(&connection.peer, with("t", 3)).await.unwrap();
    let refused = test.broker.create_producer(&connection.peer, with("u", 4)).await;
    assert!(matches!(refused, Err(Error::NotAllowed(_))), "{:?}", refused.map(|_| ()));
}
