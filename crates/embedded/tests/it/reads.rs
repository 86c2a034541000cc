//! What is known of a function's inputs, and how one that sleeps is woken.

use functions::{
    EventLog, FunctionSpec,
    event_log::{InputStats, Reads},
};
use model::{InitialPosition, SubscriptionType};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

use crate::support::{Node, function, topic};

const PATIENCE: Duration = Duration::from_secs(60);

fn reads(topics: &[&str]) -> Reads {
    let function = FunctionSpec { subscription: "f".into(), ..function("f") };
    let topics = topics.iter().map(|name| (topic(name), name.contains('*'))).collect();
    Reads { topics, initial_position: InitialPosition::Latest, ..function.reads().unwrap() }
}

async fn stats(node: &Node, reads: &Reads) -> InputStats {
    node.log.input_stats(reads).await.unwrap().unwrap()
}

/// Sleeps, and is known to do so.
async fn asleep(node: &Node, reads: &Reads) -> JoinHandle<functions::Result<()>> {
    let (log, wanted) = (node.log.clone(), reads.clone());
    let sleeps = tokio::spawn(async move { EventLog::wake(&log, wanted).await });
    for (name, _) in reads.topics.iter().filter(|(_, is_pattern)| !is_pattern) {
        subscribed(node, name).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!sleeps.is_finished(), "it is awake");
    sleeps
}

/// Returns when the subscription is there, on the last partition where there are some.
async fn subscribed(node: &Node, name: &str) {
    let name = name.parse().unwrap();
    let partitions = node.broker.partitions(&name).unwrap();
    let name = partitions.map_or(name.clone(), |n| name.with_partition(n - 1));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !node.broker.subscriptions(&name).await.is_ok_and(|all| all.contains(&"f".to_owned())) {
        assert!(tokio::time::Instant::now() < deadline, "{name} is not subscribed to");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wakes(sleeps: JoinHandle<functions::Result<()>>) {
    tokio::time::timeout(PATIENCE, sleeps).await.expect("it wakes").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_backlog_and_age_are_those_of_all_inputs() {
    let node = Node::start().await;
    node.broker.create_partitioned_topic(&topic("many").parse().unwrap(), 3).await.unwrap();
    node.publish("many-partition-1", ["before"]).await;
    let reads = reads(&["in", "many"]);
    // What makes it sleep makes its subscriptions.
    let sleeps = asleep(&node, &reads).await;
    let before = stats(&node, &reads).await;
    assert_eq!((before.backlog, before.oldest, before.parallelism_max), (0, Duration::ZERO, None));
    node.publish("in", ["a", "b"]).await;
    node.publish("many-partition-1", ["c"]).await;
    wakes(sleeps).await;
    let after = stats(&node, &reads).await;
    assert_eq!((after.backlog, after.arrived_since(&before)), (3, 3));
    assert!(after.oldest < PATIENCE, "{:?}", after.oldest);
    let failover = Reads { kind: SubscriptionType::Failover, ..reads.clone() };
    assert_eq!(stats(&node, &failover).await.parallelism_max, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_asked_for_at_once_and_each_gets_its_own_answer() {
    let node = Node::start().await;
    node.broker.create_partitioned_topic(&topic("many").parse().unwrap(), 3).await.unwrap();
    let all = [reads(&["a", "many"]), reads(&["no topic\n"]), reads(&["many"]), reads(&["gone"]), reads(&["a.*"])];
    for one in [&all[0], &all[2]] {
        asleep(&node, one).await.abort();
    }
    node.publish("a", ["x", "y"]).await;
    node.publish("many-partition-2", ["z"]).await;
    let said = EventLog::input_stats_of_all(&node.log, &all.iter().collect::<Vec<_>>()).await;
    let said: Vec<_> = said.into_iter().map(|said| said.map(|stats| stats.unwrap().backlog)).collect();
    assert!(matches!(said[1], Err(functions::Error::Invalid(_))), "{said:?}");
    let known: Vec<_> = said.into_iter().filter_map(Result::ok).collect();
    assert_eq!(known, [3, 1, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_comes_into_being_and_matches_wakes_and_loses_nothing() {
    let node = Node::start().await;
    let reads = reads(&["orders-.*"]);
    let sleeps = asleep(&node, &reads).await;
    node.publish("other", ["x"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!sleeps.is_finished());
    node.publish("orders-1", ["a"]).await;
    wakes(sleeps).await;
    // What the topic began with is there, although the subscription begins at the end.
    assert_eq!(stats(&node, &reads).await.backlog, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_added_wakes_and_loses_nothing() {
    let node = Node::start().await;
    let many = topic("many").parse().unwrap();
    node.broker.create_partitioned_topic(&many, 2).await.unwrap();
    let reads = reads(&["many"]);
    let sleeps = asleep(&node, &reads).await;
    node.broker.update_partitions(&many, 3).await.unwrap();
    node.publish("many-partition-2", ["a"]).await;
    wakes(sleeps).await;
    assert_eq!(stats(&node, &reads).await.backlog, 1);
    // What sleeps from now on knows of it.
    let sleeps = tokio::spawn({
        let (log, reads) = (node.log.clone(), reads.clone());
        async move { EventLog::wake(&log, reads).await }
    });
    wakes(sleeps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sleep_and_only_the_one_that_is_meant_wakes() {
    let node = Arc::new(Node::start().await);
    let mut sleepers = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let (log, wanted) = (node.log.clone(), reads(&[&format!("in-{n}")]));
        sleepers.spawn(async move {
            EventLog::wake(&log, wanted).await.unwrap();
            n
        });
    }
    for n in 0..1000 {
        subscribed(&node, &topic(&format!("in-{n}"))).await;
    }
    for n in [7, 999, 0] {
        node.publish(&format!("in-{n}"), ["x"]).await;
        let woken = tokio::time::timeout(PATIENCE, sleepers.join_next()).await.expect("one wakes");
        assert_eq!(woken.unwrap().unwrap(), n);
    }
    assert_eq!(sleepers.len(), 997);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_refuses_does_not_keep_the_others_of_a_pattern_from_waking() {
    let node = Node::start().await;
    node.publish("orders-1", ["before"]).await;
    node.publish("orders-2", ["before"]).await;
    let _subscribed = node.reader("orders-1").await;
    let full = topic("orders-1").parse().unwrap();
    node.broker.update_topic_policies(&full, |policies| policies.max_subscriptions = Some(1)).await.unwrap();
    let sleeps = asleep(&node, &reads(&["orders-.*"])).await;
    subscribed(&node, &topic("orders-2")).await;
    node.publish("orders-2", ["a"]).await;
    wakes(sleeps).await;
    // One that is named is missed.
    let refused = EventLog::wake(&node.log, reads(&["orders-1"])).await.unwrap_err().to_string();
    assert!(refused.contains("maximum number of subscriptions"), "{refused}");
}
