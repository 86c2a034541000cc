//! Partitioned topics that grow and go while clients use them.

use broker::{Config, Error, NewConsumer, SeekTarget};
use model::SubscriptionType::Exclusive;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::harness::{TestBroker, new_consumer, new_producer, topic};

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_added_has_the_subscriptions_before_anybody_can_publish_to_it() {
    let test = Arc::new(TestBroker::start().await);
    let name = topic("t");
    test.broker.create_partitioned_topic(&name, 1).await.unwrap();
    let names: Vec<_> = (0..10).map(|n| format!("s{n}")).collect();
    for name in &names {
        let first = topic("t-partition-0");
        test.broker.create_subscription(&first, name, SeekTarget::Earliest, Default::default()).await.unwrap();
    }
    // As a crash half way leaves it: the partition is there, the number is not.
    test.broker.create_topic(&topic("t-partition-1"), Default::default()).await.unwrap();
    let seen = tokio::spawn({
        let (test, name) = (test.clone(), name.clone());
        async move {
            while test.broker.partitions(&name).unwrap() != Some(3) {
                tokio::task::yield_now().await;
            }
            let mut seen = Vec::new();
            for partition in 0..3 {
                seen.push(test.broker.subscriptions(&name.with_partition(partition)).await.unwrap());
            }
            seen
        }
    });
    test.broker.update_partitions(&name, 3).await.unwrap();
    assert_eq!(seen.await.unwrap(), [names.clone(), names.clone(), names]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_change_the_number_of_partitions_at_the_same_time_none_lowers_it() {
    let test = TestBroker::start().await;
    for n in 0..20 {
        let name = topic(&format!("t{n}"));
        test.broker.create_partitioned_topic(&name, 1).await.unwrap();
        let (five, nine) =
            tokio::join!(test.broker.update_partitions(&name, 5), test.broker.update_partitions(&name, 9));
        let most = [(five, 5), (nine, 9)].into_iter().filter(|(done, _)| done.is_ok()).map(|(_, n)| n).max().unwrap();
        assert_eq!(test.broker.partitioned_metadata(&name, false).await.unwrap(), most);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_back_do_not_revive_what_is_being_deleted() {
    let config = Config { allow_auto_topic_creation: false, ..Config::default() };
    let test = Arc::new(TestBroker::start_with(config).await);
    let namespace = "public/going".parse().unwrap();
    for round in 0..10 {
        test.broker.create_namespace(&namespace, Default::default()).await.unwrap();
        let name = topic(&format!("public/going/t{round}"));
        test.broker.create_partitioned_topic(&name, 8).await.unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let client = tokio::spawn({
            let (test, over, name) = (test.clone(), over.clone(), name.clone());
            async move {
                let connection = test.connect();
                let first = name.with_partition(0).to_string();
                while !over.load(Relaxed) {
                    let _ = test.broker.create_producer(&connection.peer, new_producer(&first, 1)).await; // refused, at times
                    tokio::task::yield_now().await;
                }
            }
        });
        if round % 2 == 0 {
            test.broker.delete_partitioned_topic(&name, true).await.unwrap();
            assert_eq!(test.broker.topics(&namespace).await.unwrap(), [], "round {round}");
        }
        test.broker.delete_namespace(&namespace, true).await.unwrap();
        over.store(true, Relaxed);
        client.await.unwrap();
        assert!(matches!(test.broker.topics(&namespace).await, Err(Error::NamespaceNotFound(_))));
        test.broker.create_namespace(&namespace, Default::default()).await.unwrap();
        assert_eq!(test.broker.topics(&namespace).await.unwrap(), [], "round {round}");
        test.broker.delete_namespace(&namespace, true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_topic_that_grows_read_what_is_added() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let name = topic("t");
    test.broker.create_partitioned_topic(&name, 1).await.unwrap();
    let reader = |partition, id| NewConsumer {
        durable: false,
        ..new_consumer(&name.with_partition(partition).to_string(), Exclusive, id)
    };
    let _first = test.broker.subscribe(&connection.peer, reader(0, 1)).await.unwrap();
    test.broker.update_partitions(&name, 2).await.unwrap();
    let added = name.with_partition(1);
    assert!(test.broker.subscriptions(&added).await.unwrap().is_empty(), "nothing that would keep messages for nobody");
    let second = test.broker.subscribe(&connection.peer, reader(1, 2)).await.unwrap();
    second.flow(10);
    let producer = connection.producer(&added.to_string(), 1).await;
    connection.publish(&producer, 0..3, &["k"]).await;
    assert_eq!(connection.texts(2, 3).await, ["m0", "m1", "m2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_were_to_be_added_go_with_their_topic() {
    let test = TestBroker::start().await;
    let namespace = "public/grows".parse().unwrap();
    test.broker.create_namespace(&namespace, Default::default()).await.unwrap();
    let name = topic("public/grows/t");
    test.broker.create_partitioned_topic(&name, 2).await.unwrap();
    // As a crash half way leaves it: the partitions are there, the number is not.
    for index in [2, 11] {
        test.broker.create_topic(&name.with_partition(index), Default::default()).await.unwrap();
    }
    let others =
        ["public/grows/t-partition-x", "public/grows/t2-partition-3", "public/grows/t-partition-1-partition-7"];
    for other in others {
        test.broker.create_topic(&topic(other), Default::default()).await.unwrap();
    }
    let connection = test.connect();
    let producer = connection.producer(&name.with_partition(11).to_string(), 1).await;
    let used = test.broker.delete_partitioned_topic(&name, false).await;
    assert!(matches!(used, Err(Error::Precondition(_))), "{used:?}");
    drop((producer, connection));
    test.broker.delete_partitioned_topic(&name, true).await.unwrap();
    let mut left = others.map(topic);
    left.sort();
    assert_eq!(test.broker.topics(&namespace).await.unwrap(), left);
    for other in others {
        test.broker.delete_topic(&topic(other), true).await.unwrap();
    }
    test.broker.delete_namespace(&namespace, false).await.unwrap();
}
