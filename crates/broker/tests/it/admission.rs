//! What policies ask of entries and of those who publish them.

use broker::{Commit, Error, NewProducer, Outgoing, OutputEntry, ProducerHandle};
use bytes::Bytes;
use model::{AutoSubscriptionCreation, DelayedDeliveryPolicies, NamespaceName, SubscriptionType::Shared};
use std::time::Duration;
use wire::proto::{EncryptionKeys, MessageMetadata};

use crate::harness::{Connection, TestBroker, new_consumer, new_producer, topic};

fn message(bytes: usize, change: impl FnOnce(&mut MessageMetadata)) -> Bytes {
    let mut metadata = MessageMetadata { producer_name: "p".into(), publish_time: 1000, ..Default::default() };
    change(&mut metadata);
    wire::entry::encode_entry(&metadata, &vec![b'x'; bytes])
}

/// `None`, or why the entry was refused.
async fn refusal(connection: &mut Connection, producer: &ProducerHandle, data: Bytes) -> Option<Error> {
    connection.send(producer, 0, 1, data);
    match connection.next(|o| matches!(o, Outgoing::Receipts { .. } | Outgoing::SendError { .. })).await {
        Outgoing::SendError { error, .. } => Some(error),
        _ => None,
    }
}

fn delays(active: bool, max_ms: i64) -> Option<DelayedDeliveryPolicies> {
    Some(DelayedDeliveryPolicies { tick_time: 1000, active, max_delivery_delay_in_millis: max_ms })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_no_larger_and_asks_for_no_more_delay_than_its_topic_says() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let output = test.broker.open_output(&connection.peer, new_producer("t", 2)).await.unwrap();
    let too_large = |error: &Error| matches!(error, Error::NotAllowed(why) if why == "Exceed maximum message size");
    let too_late = |error: &Error| matches!(error, Error::NotAllowed(why) if why == "Exceeds max allowed delivery delay of 500 milliseconds");
    let large = message(1000, |_| {});
    let late = message(1, |metadata| metadata.deliver_at_time = Some(1501));
    assert!(refusal(&mut connection, &producer, large.clone()).await.is_none());

    let limits = |policies: &mut model::TopicLevelPolicies| {
        (policies.max_message_size, policies.delayed_delivery) = (Some(900), delays(true, 500));
    };
    test.broker.update_topic_policies(&topic("t"), limits).await.unwrap();
    assert!(refusal(&mut connection, &producer, large.clone()).await.is_some_and(|e| too_large(&e)));
    let chunk = message(1000, |metadata| metadata.num_chunks_from_msg = Some(2));
    assert!(refusal(&mut connection, &producer, chunk).await.is_none());
    assert!(refusal(&mut connection, &producer, late.clone()).await.is_some_and(|e| too_late(&e)));
    let on_time = message(1, |metadata| metadata.deliver_at_time = Some(1500));
    assert!(refusal(&mut connection, &producer, on_time).await.is_none());
    // What functions publish in their commits is held to the same.
    let commit = |data: &Bytes| {
        let output = OutputEntry { output: output.clone(), data: data.clone(), messages: 1, sequence_id: None };
        test.broker.commit(Commit { outputs: vec![output], ..Commit::default() })
    };
    assert!(commit(&large).await.is_err_and(|e| too_large(&e)));
    assert!(commit(&late).await.is_err_and(|e| too_late(&e)));
    commit(&message(1, |_| {})).await.unwrap();

    test.broker.update_topic_policies(&topic("t"), |policies| *policies = Default::default()).await.unwrap();
    assert!(refusal(&mut connection, &producer, large.clone()).await.is_none());
    commit(&large).await.unwrap();
}

/// Clients expect answers in the order of what they sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_overtake_receipts() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let limit = |policies: &mut model::TopicLevelPolicies| policies.max_message_size = Some(900);
    test.broker.update_topic_policies(&topic("t"), limit).await.unwrap();
    for n in 0..40 {
        connection.send(&producer, n, 1, message(if n % 4 == 3 { 1000 } else { 1 }, |_| {}));
    }
    let mut answers = Vec::new();
    while answers.len() < 40 {
        match connection.next(|o| matches!(o, Outgoing::Receipts { .. } | Outgoing::SendError { .. })).await {
            Outgoing::Receipts { sequence_id, count, .. } => {
                answers.extend((sequence_id..sequence_id + u64::from(count)).map(|n| (n, true)));
            }
            Outgoing::SendError { sequence_id, .. } => answers.push((sequence_id, false)),
            _ => {}
        }
    }
    assert!(answers.into_iter().eq((0..40).map(|n| (n, n % 4 != 3))));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_delayed_messages_come_at_once() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let namespace: NamespaceName = "public/default".parse().unwrap();
    test.broker.update_policies(&namespace, |policies| policies.delayed_delivery = delays(false, 0)).await.unwrap();
    let producer = connection.producer("t", 1).await;
    connection.consumer("t", Shared, 1).await;
    let in_2100 = message(1, |metadata| metadata.deliver_at_time = Some(4_102_444_800_000));
    assert!(refusal(&mut connection, &producer, in_2100.clone()).await.is_none());
    connection.next(|o| matches!(o, Outgoing::Deliver { .. })).await;
    // From now on they wait again.
    test.broker.update_policies(&namespace, |policies| policies.delayed_delivery = None).await.unwrap();
    assert!(refusal(&mut connection, &producer, in_2100).await.is_none());
    assert!(refusal(&mut connection, &producer, message(1, |_| {})).await.is_none());
    let next = connection.next(|o| matches!(o, Outgoing::Deliver { .. })).await;
    assert!(matches!(next, Outgoing::Deliver { entries, .. } if entries.len() == 1 && entries[0].position.entry == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_encryption_is_required_nothing_else_is_taken() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let before = connection.producer("t", 1).await;
    let namespace: NamespaceName = "public/default".parse().unwrap();
    test.broker.update_policies(&namespace, |policies| policies.encryption_required = true).await.unwrap();
    let is = |error: &Error, text: &str| matches!(error, Error::BadRequest(why) if why == text);
    let plain = test.broker.create_producer(&connection.peer, new_producer("t", 2)).await;
    assert!(plain.is_err_and(|e| is(&e, "Encryption is required in persistent://public/default/t")));
    let refused = refusal(&mut connection, &before, message(1, |_| {})).await;
    assert!(refused.is_some_and(|e| is(&e, "Messages must be encrypted")));
    let encrypting = NewProducer { encrypted: true, ..new_producer("t", 3) };
    let (producer, _) = test.broker.create_producer(&connection.peer, encrypting).await.unwrap();
    let key = EncryptionKeys { key: "k".into(), value: Bytes::from_static(b"v"), ..Default::default() };
    let encrypted = message(1, |metadata| metadata.encryption_keys.push(key));
    assert!(refusal(&mut connection, &producer, encrypted).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_says_for_itself_whether_consumers_create_subscriptions() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let namespace: NamespaceName = "public/default".parse().unwrap();
    let may = |may| Some(AutoSubscriptionCreation { allow_auto_subscription_creation: may });
    test.broker.update_policies(&namespace, |policies| policies.auto_subscription_creation = may(false)).await.unwrap();
    test.broker.create_topic(&topic("t"), Default::default()).await.unwrap();
    let subscribe = || test.broker.subscribe(&connection.peer, new_consumer("t", Shared, 1));
    assert!(matches!(subscribe().await, Err(Error::SubscriptionNotFound { .. })));
    let own = |policies: &mut model::TopicLevelPolicies| policies.auto_subscription_creation = may(true);
    test.broker.update_topic_policies(&topic("t"), own).await.unwrap();
    subscribe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_is_told_to_rest_when_its_topic_has_had_enough() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let (one, other) = (connection.producer("t", 1).await, connection.producer("t", 2).await);
    assert_eq!(one.pace(1_000_000, 1 << 30), None);
    let rate = model::PublishRate { publish_throttling_rate_in_msg: 10, publish_throttling_rate_in_byte: -1 };
    let namespace: NamespaceName = "public/default".parse().unwrap();
    test.broker.update_policies(&namespace, |policies| policies.publish_rate = Some(rate)).await.unwrap();
    assert!(one.pace(10_000, 0).is_some_and(|rest| rest > Duration::ZERO));
    assert!(other.pace(1, 0).is_some(), "they have it together");
    // Who rests is to hear that its topic was closed.
    test.broker.unload_topic(&topic("t")).await.unwrap();
    assert_eq!(one.pace(0, 0), None);
    let one = connection.producer("t", 1).await;
    assert!(one.pace(10_000, 0).is_some());
    test.broker.update_policies(&namespace, |policies| policies.publish_rate = None).await.unwrap();
    assert_eq!(one.pace(1, 0), None);
}
