//! Who may produce, and who is told to go.

use broker::{Error, NewProducer, Outgoing};
use model::{
    AccessMode::*, BacklogQuota, BacklogQuotaType, NamespaceName, RetentionPolicy::ProducerRequestHold,
    SubscriptionType::Exclusive as ExclusiveSubscription,
};

use crate::harness::{Connection, TestBroker, new_producer, topic};

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
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let refused = test.broker.create_producer(&connection.peer, new_producer("t", 2)).await;
    assert!(matches!(refused, Err(Error::ProducerBlockedQuota { .. })), "{refused:?}");
}
