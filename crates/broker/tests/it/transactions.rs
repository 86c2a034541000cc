//! Commits of functions: acknowledgements, outputs and state, all or nothing.

use crate::harness::{Connection, TestBroker, entry, new_consumer, new_producer, text, topic};
use broker::{
    Ack, Commit, Committed, Config, ConsumerHandle, Delivery, Error, Outgoing, OutputEntry, OutputHandle, TableChange,
    TableOp,
};
use journal::faults::MemoryFiles;
use model::{AccessMode, NamespaceName, Position, SubscriptionType, SubscriptionType::*};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Topics of these names are spread over the shards.
fn config() -> Config {
    Config { shards: 4, ..Config::default() }
}

async fn output(connection: &Connection, name: &str, id: u64) -> OutputHandle {
    connection.broker.open_output(&connection.peer, new_producer(name, id)).await.expect("an output")
}

fn publish(output: &OutputHandle, n: u64) -> OutputEntry {
    OutputEntry { output: output.clone(), data: entry(n, "k", &format!("m{n}")), messages: 1, sequence_id: None }
}

fn add(key: &str, delta: i64) -> TableChange {
    TableChange { table: "state".into(), op: TableOp::Add { key: key.to_owned().into(), delta } }
}

fn counter(broker: &broker::Broker, key: &str) -> i64 {
    broker.table("state").unwrap().get(key.as_bytes()).unwrap().map_or(0, |v| v.counter().expect("a counter"))
}

/// Acknowledges `deliveries`, adds one to `n` for each.
fn commit(consumer: &ConsumerHandle, deliveries: &[Delivery], outputs: Vec<OutputEntry>) -> Commit {
    Commit {
        consumer: Some(consumer.clone()),
        acks: deliveries.iter().map(|d| (d.position, Default::default())).collect(),
        outputs,
        changes: vec![add("n", deliveries.len() as i64)],
    }
}

async fn backlog(test: &TestBroker, name: &str) -> i64 {
    test.broker.topic_stats(&topic(name)).await.unwrap().subscriptions["s"].msg_backlog
}

/// What a topic has, from the first entry on.
async fn contents(test: &TestBroker, name: &str, count: usize) -> Vec<String> {
    let mut connection = test.connect();
    let request =
        broker::NewConsumer { subscription: "contents".into(), durable: false, ..new_consumer(name, Exclusive, 1) };
    let consumer = test.broker.subscribe(&connection.peer, request).await.unwrap();
    consumer.flow(100_000);
    let texts = connection.texts(1, count).await;
    connection.silent().await;
    consumer.close().await;
    texts
}

/// An input with `count` messages, all given to one consumer.
async fn input(
    test: &TestBroker,
    connection: &mut Connection,
    kind: SubscriptionType,
    count: u64,
) -> (ConsumerHandle, Vec<Delivery>) {
    let consumer = connection.consumer("in", kind, 1).await;
    let mut other = test.connect();
    let producer = other.producer("in", 1).await;
    other.publish(&producer, 0..count, &["k"]).await;
    let deliveries = connection.receive(1, count as usize).await;
    (consumer, deliveries)
}

#[tokio::test(flavor = "multi_thread")]
async fn input_outputs_and_state_are_one_commit() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let (consumer, got) = input(&test, &mut connection, Shared, 4).await;
    // Names enough to be on all shards.
    let names: Vec<String> = (0..8).map(|n| format!("out{n}")).collect();
    let mut outputs = Vec::new();
    for (n, name) in names.iter().enumerate() {
        connection.consumer(name, Exclusive, 10 + n as u64).await;
        outputs.push(output(&connection, name, 20 + n as u64).await);
    }
    let first = connection.broker.commit(commit(&consumer, &got[..2], outputs.iter().map(|o| publish(o, 1)).collect()));
    // Under way without being waited for, and in this order.
    let second =
        connection.broker.commit(commit(&consumer, &got[2..], vec![publish(&outputs[3], 2), publish(&outputs[3], 3)]));
    let Committed { positions } = second.await.unwrap();
    assert_eq!(positions[1], positions[0].next());
    let before = first.await.unwrap().positions;
    assert_eq!(before.len(), 8);
    assert_eq!(before[3].next(), positions[0]);
    for n in 0..8 {
        let expected: &[&str] = if n == 3 { &["m1", "m2", "m3"] } else { &["m1"] };
        assert_eq!(connection.texts(10 + n, expected.len()).await, expected);
    }
    let stats = test.broker.topic_stats(&topic("out3")).await.unwrap();
    assert_eq!((stats.msg_in_counter, stats.publishers.len()), (3, 1));
    assert!(stats.last_publish_time_stamp > 0);
    assert_eq!((backlog(&test, "in").await, counter(&test.broker, "n")), (0, 4));
    drop((connection, outputs, consumer, got));
    let test = test.restart().await;
    assert_eq!((backlog(&test, "in").await, counter(&test.broker, "n")), (0, 4));
    assert_eq!(contents(&test, "out3", 3).await, ["m1", "m2", "m3"]);
    assert_eq!(contents(&test, "out0", 1).await, ["m1"]);
}

/// Commits what must be refused, and checks that nothing of it happened.
#[track_caller]
fn refused(result: broker::Result<Committed>, is: impl Fn(&Error) -> bool) {
    match result {
        Err(error) if is(&error) => {}
        other => panic!("{other:?}"),
    }
}

fn conflict(error: &Error) -> bool {
    matches!(error, Error::Conflict(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_an_entry_commits_it_and_only_once() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let (first, got) = input(&test, &mut connection, Shared, 6).await;
    let out = output(&connection, "out", 5).await;
    let mut other = test.connect();
    let second = other.consumer("in", Shared, 2).await;
    let b = connection.broker.clone();
    // Another instance.
    refused(b.commit(commit(&second, &got[..1], vec![publish(&out, 9)])).await, conflict);
    // One of two is acknowledged already, by an ordinary acknowledgement.
    connection.ack(&first, &[got[1].position]).await;
    refused(b.commit(commit(&first, &got[..2], vec![publish(&out, 9)])).await, conflict);
    // Twice, the second while the first is under way.
    let (once, twice) = (
        b.commit(commit(&first, &got[..1], vec![publish(&out, 0)])),
        b.commit(commit(&first, &got[..1], vec![publish(&out, 9)])),
    );
    once.await.unwrap();
    refused(twice.await, conflict);
    // Given back: it is the second's when that gets it, and the first's no more.
    first.redeliver(vec![got[2].position], None);
    refused(b.commit(commit(&first, &got[2..3], vec![publish(&out, 9)])).await, conflict);
    let unknown = Commit {
        consumer: Some(first.clone()),
        acks: vec![(Position::new(got[0].position.ledger, 99), Default::default())],
        ..Commit::default()
    };
    refused(b.commit(unknown).await, conflict);
    // Gone with all it had.
    first.close().await;
    refused(b.commit(commit(&first, &got[3..], vec![publish(&out, 9)])).await, conflict);
    let again = other.receive(2, 4).await;
    b.commit(commit(&second, &again, vec![publish(&out, 1)])).await.unwrap();
    test.broker.unload_topic(&topic("in")).await.unwrap();
    refused(b.commit(commit(&second, &again[..1], vec![publish(&out, 9)])).await, conflict);
    let alone = Commit { acks: vec![(again[0].position, Default::default())], ..Commit::default() };
    refused(b.commit(alone).await, |e| matches!(e, Error::BadRequest(_)));
    assert_eq!((backlog(&test, "in").await, counter(&b, "n")), (0, 5));
    assert_eq!(contents(&test, "out", 2).await, ["m0", "m1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_failover_the_active_consumer_has_what_it_was_sent() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let (first, got) = input(&test, &mut connection, Failover, 6).await;
    let b = connection.broker.clone();
    b.commit(commit(&first, &got[..1], Vec::new())).await.unwrap();
    refused(b.commit(commit(&first, &got[..1], Vec::new())).await, conflict);
    // Its messages stay its own until the next one gets them.
    let mut other = test.connect();
    let second = test
        .broker
        .subscribe(&other.peer, broker::NewConsumer { priority_level: -1, ..new_consumer("in", Failover, 2) });
    let second = second.await.unwrap();
    second.flow(100);
    refused(b.commit(commit(&second, &got[1..2], Vec::new())).await, conflict);
    b.commit(commit(&first, &got[1..2], Vec::new())).await.unwrap();
    first.close().await;
    refused(b.commit(commit(&first, &got[2..3], Vec::new())).await, conflict);
    let again = other.receive(2, 4).await;
    b.commit(commit(&second, &again, Vec::new())).await.unwrap();
    assert_eq!((backlog(&test, "in").await, counter(&b, "n")), (0, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_batch_are_committed_one_by_one() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let consumer = connection.consumer("in", Shared, 1).await;
    let producer = connection.producer("in", 1).await;
    connection.send(&producer, 0, 4, entry(0, "k", "batch"));
    let got = connection.receive(1, 1).await;
    let part = |remaining: u64| Commit {
        consumer: Some(consumer.clone()),
        acks: vec![(got[0].position, [remaining].into_iter().collect())],
        changes: vec![add("n", 1)],
        ..Commit::default()
    };
    let b = connection.broker.clone();
    b.commit(part(0b1110)).await.unwrap();
    refused(b.commit(part(0b1110)).await, conflict);
    b.commit(part(0b1001)).await.unwrap();
    assert_eq!(backlog(&test, "in").await, 1);
    b.commit(part(0)).await.unwrap();
    refused(b.commit(part(0b0111)).await, conflict);
    assert_eq!((backlog(&test, "in").await, counter(&b, "n")), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_closed_refuses_the_whole_commit_and_says_why() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let (consumer, got) = input(&test, &mut connection, Shared, 10).await;
    let b = connection.broker.clone();
    let open = output(&connection, "open", 5).await;
    let closed = |out: &OutputHandle| b.commit(commit(&consumer, &got, vec![publish(&open, 9), publish(out, 9)]));

    let out = output(&connection, "terminated", 6).await;
    b.commit(commit(&consumer, &[], vec![publish(&out, 1)])).await.unwrap();
    b.terminate(&topic("terminated")).await.unwrap();
    refused(closed(&out).await, |e| matches!(e, Error::TopicTerminated));
    let again = b.open_output(&connection.peer, new_producer("terminated", 60)).await;
    assert!(matches!(again, Err(Error::TopicTerminated)));

    let out = output(&connection, "deleted", 7).await;
    b.delete_topic(&topic("deleted"), true).await.unwrap();
    refused(closed(&out).await, |e| matches!(e, Error::TopicNotFound(_)));
    let anew = output(&connection, "deleted", 70).await;
    refused(closed(&out).await, |e| matches!(e, Error::TopicNotFound(_)));
    b.commit(commit(&consumer, &[], vec![publish(&anew, 2)])).await.unwrap();

    let out = output(&connection, "fenced", 8).await;
    let other = test.connect();
    let fencing = broker::NewProducer { access_mode: AccessMode::ExclusiveWithFencing, ..new_producer("fenced", 9) };
    let exclusive = b.open_output(&other.peer, fencing).await.unwrap();
    refused(closed(&out).await, |e| matches!(e, Error::ProducerFenced(_)));
    let third = b.open_output(&connection.peer, new_producer("fenced", 80)).await;
    assert!(matches!(third, Err(Error::ProducerBusy(_))));
    b.commit(commit(&consumer, &[], vec![publish(&exclusive, 3)])).await.unwrap();
    b.disconnect(&other.peer);

    let out = output(&connection, "unloaded", 10).await;
    b.unload_topic(&topic("unloaded")).await.unwrap();
    refused(closed(&out).await, |e| matches!(e, Error::NotReady(_)));
    connection.next(|o| matches!(o, Outgoing::CloseProducer { producer_id: 10 })).await;
    let again = output(&connection, "unloaded", 10).await;
    b.commit(commit(&consumer, &[], vec![publish(&again, 4)])).await.unwrap();
    again.close().await;
    refused(closed(&again).await, |e| matches!(e, Error::NotReady(_)));
    refused(closed(&exclusive).await, |e| matches!(e, Error::NotReady(_)));

    let waiting = broker::NewProducer { access_mode: AccessMode::WaitForExclusive, ..new_producer("open", 90) };
    assert!(matches!(b.open_output(&connection.peer, waiting).await, Err(Error::NotAllowed(_))));

    // What is too long, or no counter.
    let put = |key: Vec<u8>, value: Vec<u8>| TableChange {
        table: "state".into(),
        op: TableOp::Put { key: key.into(), value: value.into() },
    };
    let bad = |e: &Error| matches!(e, Error::BadRequest(_));
    let with =
        |change| Commit { changes: vec![add("n", 1), change], ..commit(&consumer, &got, vec![publish(&open, 9)]) };
    refused(b.commit(with(put(vec![0; 65_537], Vec::new()))).await, bad);
    refused(b.commit(with(put(Vec::new(), vec![0; (4 << 20) + 1]))).await, bad);
    b.commit(Commit { changes: vec![put(b"text".to_vec(), b"x".to_vec())], ..Commit::default() }).await.unwrap();
    refused(b.commit(with(add("text", 1))).await, bad);
    let vast = (0..17).map(|n| put(vec![n], vec![0; 4 << 20])).collect();
    refused(b.commit(Commit { changes: vast, ..commit(&consumer, &got, Vec::new()) }).await, bad);
    let long = OutputEntry { data: vec![0; (5 << 20) + 1].into(), ..publish(&open, 9) };
    refused(b.commit(commit(&consumer, &got, vec![long])).await, bad);

    assert_eq!((backlog(&test, "in").await, counter(&b, "n")), (10, 0));
    assert_eq!(contents(&test, "open", 0).await, [""; 0]);
    for (name, only) in [("terminated", "m1"), ("deleted", "m2"), ("fenced", "m3"), ("unloaded", "m4")] {
        assert_eq!(contents(&test, name, 1).await, [only]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_alone_or_an_output_alone_is_a_commit_too() {
    let test = TestBroker::start_with(config()).await;
    let connection = test.connect();
    let out = output(&connection, "out", 1).await;
    let put = |key: &'static str, value: &'static str| TableChange {
        table: "t".into(),
        op: TableOp::Put { key: key.into(), value: value.into() },
    };
    let b = &test.broker;
    assert_eq!(b.commit(Commit::default()).await.unwrap().positions, []);
    b.commit(Commit { outputs: vec![publish(&out, 1)], ..Commit::default() }).await.unwrap();
    for change in
        [put("a", "1"), put("b", "2"), TableChange { table: "t".into(), op: TableOp::Delete { key: "a".into() } }]
    {
        drop(b.commit(Commit { changes: vec![change], ..Commit::default() }));
    }
    let last = Commit { changes: vec![put("c", "3")], ..Commit::default() };
    b.commit(last).await.unwrap();
    b.settled().await.unwrap();
    let rows = b.table("t").unwrap().scan(b"", None, 10).unwrap();
    let rows: Vec<_> = rows.iter().map(|(key, value)| (&key[..], &value.bytes[..])).collect();
    assert_eq!(rows, [(&b"b"[..], &b"2"[..]), (b"c", b"3")]);
    assert_eq!(b.tables("").unwrap(), ["t"]);
    b.commit(Commit { changes: vec![TableChange { table: "t".into(), op: TableOp::Clear }], ..Commit::default() })
        .await
        .unwrap();
    assert_eq!(b.tables("").unwrap(), [""; 0]);
    assert!(matches!(b.table(""), Err(Error::BadRequest(_))));
    assert_eq!(contents(&test, "out", 1).await, ["m1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deduplication_stores_an_output_once() {
    let test = TestBroker::start_with(Config { deduplication_enabled: true, ..config() }).await;
    let connection = test.connect();
    let out = output(&connection, "out", 1).await;
    let numbered = |n, id| OutputEntry { sequence_id: Some(id), ..publish(&out, n) };
    let b = &test.broker;
    let outputs = vec![numbered(0, 5), numbered(1, 5), numbered(2, 6)];
    let positions = b.commit(Commit { outputs, ..Commit::default() }).await.unwrap().positions;
    assert_eq!(positions, [positions[0], ledger::NOT_STORED, positions[0].next()]);
    b.commit(Commit { outputs: vec![numbered(3, 6)], ..Commit::default() }).await.unwrap();
    drop((out, connection));
    let test = test.restart().await;
    test.broker
        .update_policies(&"public/default".parse::<NamespaceName>().unwrap(), |p| p.deduplication_enabled = Some(true))
        .await
        .unwrap();
    let connection = test.connect();
    let out = output(&connection, "out", 1).await;
    assert_eq!(out.created().last_sequence_id, 6);
    let numbered = |n, id| OutputEntry { sequence_id: Some(id), ..publish(&out, n) };
    let outputs = vec![numbered(4, 6), numbered(5, 7)];
    test.broker.commit(Commit { outputs, ..Commit::default() }).await.unwrap();
    assert_eq!(contents(&test, "out", 3).await, ["m0", "m2", "m5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_passes_through() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let (input, out) = ("non-persistent://public/default/in", "non-persistent://public/default/out");
    let consumer = connection.consumer(input, Shared, 1).await;
    connection.consumer(out, Shared, 2).await;
    let producer = connection.producer(input, 3).await;
    let output = output(&connection, out, 4).await;
    connection.publish(&producer, 0..3, &["k"]).await;
    let got = connection.receive(1, 3).await;
    let outputs = (0..3).map(|n| publish(&output, n)).collect();
    let committed = connection.broker.commit(commit(&consumer, &got, outputs)).await.unwrap();
    assert_eq!(committed.positions, [ledger::NOT_STORED; 3]);
    assert_eq!(connection.texts(2, 3).await, ["m0", "m1", "m2"]);
    assert_eq!(counter(&test.broker, "n"), 3);
    let stats = test.broker.topic_stats(&topic(out)).await.unwrap();
    assert_eq!(stats.msg_in_counter, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_publish_buffer_gets_everything_back() {
    let test = TestBroker::start_with(Config { max_publish_buffer_bytes: 2000, ..config() }).await;
    let mut connection = test.connect();
    let (consumer, got) = input(&test, &mut connection, Shared, 8).await;
    let out = output(&connection, "out", 5).await;
    let volatile = output(&connection, "non-persistent://public/default/out", 6).await;
    let b = connection.broker.clone();
    let large = |out| OutputEntry { data: entry(0, "k", &"x".repeat(3000)), ..publish(out, 0) };
    for (n, delivery) in got.iter().enumerate() {
        let one = std::slice::from_ref(delivery);
        let mut whole = commit(&consumer, one, vec![large(&out), large(&volatile)]);
        whole
            .changes
            .push(TableChange { table: "t".into(), op: TableOp::Put { key: "k".into(), value: vec![0; 3000].into() } });
        let (done, again) = (b.commit(whole), b.commit(commit(&consumer, one, vec![large(&out)])));
        done.await.unwrap();
        refused(again.await, conflict);
        assert!(!b.publish_buffer_full(), "after {n} commits");
    }
    tokio::time::timeout(Duration::from_secs(10), b.publish_buffer_room()).await.expect("room");
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_of_many_shards_and_of_clients_are_read_in_the_order_of_the_journal() {
    const EACH: u64 = 300;
    let test = TestBroker::start_with(config()).await;
    let mut writers = Vec::new();
    for writer in 0..4u64 {
        let mut connection = test.connect();
        writers.push(tokio::spawn(async move {
            let name = format!("p{writer}");
            let entry = |n: u64| entry(n, "k", &format!("{name}:{n}"));
            if writer == 0 {
                // A client like any other.
                let producer = connection.producer("out", writer).await;
                for n in 0..EACH {
                    connection.send(&producer, n, 1, entry(n));
                    if n % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                let mut left = EACH;
                while left > 0 {
                    if let Outgoing::Receipts { count, .. } =
                        connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await
                    {
                        left -= u64::from(count);
                    }
                }
                return;
            }
            // Consumers of topics on several shards, whose shards commit for them.
            let consumer = connection.consumer(&format!("in{writer}"), Exclusive, writer).await;
            let out = output(&connection, "out", writer).await;
            let mut under_way = std::collections::VecDeque::new();
            for n in 0..EACH {
                let outputs = vec![OutputEntry { data: entry(n), ..publish(&out, n) }];
                under_way.push_back(connection.broker.commit(Commit {
                    consumer: Some(consumer.clone()),
                    outputs,
                    ..Commit::default()
                }));
                if under_way.len() > 8 {
                    under_way.pop_front().unwrap().await.unwrap();
                }
            }
            for one in under_way {
                one.await.unwrap();
            }
        }));
    }
    // One reader follows, another comes later.
    let mut follower = test.connect();
    let handle = follower.consumer("out", Exclusive, 1).await;
    handle.flow(100_000);
    let mut seen = follower.receive(1, 4 * EACH as usize).await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(seen.is_sorted_by(|a, b| a.position < b.position));
    let followed: Vec<_> = seen.drain(..).map(|d| text(&d)).collect();
    for writer in 0..4 {
        let prefix = format!("p{writer}:");
        let numbers = followed.iter().filter_map(|t| t.strip_prefix(&prefix)).map(|n| n.parse::<u64>().unwrap());
        assert!(numbers.eq(0..EACH), "writer {writer}");
    }
    assert_eq!(contents(&test, "out", 4 * EACH as usize).await, followed);
}

/// A topic is unloaded, and another one deleted, again and again while other shards append to them.
#[tokio::test(flavor = "multi_thread")]
async fn outputs_go_to_topics_that_come_and_go() {
    let test = TestBroker::start_with(config()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (b, stopped) = (test.broker.clone(), stop.clone());
    let unloader = tokio::spawn(async move {
        while !stopped.load(Relaxed) {
            let _ = b.unload_topic(&topic("out")).await;
            let _ = b.delete_topic(&topic("gone"), true).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let mut writers = Vec::new();
    for writer in 0..3u64 {
        let connection = test.connect();
        writers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            let consumer = connection.consumer(&format!("in{writer}"), Exclusive, writer).await;
            let mut n = 0;
            while done.len() < 150 {
                let open =
                    |name: &'static str, id| connection.broker.open_output(&connection.peer, new_producer(name, id));
                let (Ok(out), Ok(gone)) = (open("out", 2 * writer).await, open("gone", 2 * writer + 1).await) else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                let mut under_way = Vec::new();
                for _ in 0..4 {
                    let text = format!("{writer}:{n}");
                    n += 1;
                    let outputs =
                        vec![OutputEntry { data: entry(n, "k", &text), ..publish(&out, n) }, publish(&gone, n)];
                    let changes = vec![add("n", 1)];
                    let commit = Commit { consumer: Some(consumer.clone()), outputs, changes, ..Commit::default() };
                    under_way.push((text, connection.broker.commit(commit)));
                }
                for (text, one) in under_way {
                    match one.await {
                        Ok(_) => done.push(text),
                        Err(Error::NotReady(_) | Error::TopicNotFound(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            done
        }));
    }
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    stop.store(true, Relaxed);
    unloader.await.unwrap();
    assert_eq!(counter(&test.broker, "n"), expected.len() as i64);
    for restarted in [false, true] {
        if restarted {
            let test = test.restart().await;
            let mut found = contents(&test, "out", expected.len()).await;
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
            break;
        }
        let found = contents(&test, "out", expected.len()).await;
        for writer in 0..3 {
            let own = |all: &[String]| {
                all.iter().filter(|t| t.starts_with(&format!("{writer}:"))).cloned().collect::<Vec<_>>()
            };
            assert_eq!(own(&found), own(&expected), "writer {writer}");
        }
    }
}

/// After a termination was answered nothing more is stored, and who reads hears of the end behind the last entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_termination_is_behind_what_was_under_way() {
    for round in 0..10 {
        let test = TestBroker::start_with(config()).await;
        let mut reader = test.connect();
        let consumer = reader.consumer("out", Exclusive, 1).await;
        consumer.flow(100_000);
        let mut writers = Vec::new();
        for writer in 0..3u64 {
            let connection = test.connect();
            writers.push(tokio::spawn(async move {
                let source = connection.consumer(&format!("in{writer}"), Exclusive, writer).await;
                let Ok(out) = connection.broker.open_output(&connection.peer, new_producer("out", writer)).await else {
                    return 0;
                };
                for n in 0.. {
                    let commit =
                        Commit { consumer: Some(source.clone()), outputs: vec![publish(&out, n)], ..Commit::default() };
                    match connection.broker.commit(commit).await {
                        Ok(_) => {}
                        Err(Error::TopicTerminated) => return n,
                        Err(error) => panic!("{error}"),
                    }
                }
                0
            }));
        }
        while test.broker.topic_stats(&topic("out")).await.unwrap().msg_in_counter == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(round)).await;
        let last = test.broker.terminate(&topic("out")).await.unwrap();
        let mut count = 0;
        for writer in writers {
            count += writer.await.unwrap();
        }
        let got = reader.receive(1, count as usize).await;
        assert!(got.last().is_none_or(|d| d.position == last), "{:?} {last}", got.last().map(|d| d.position));
        assert!(
            !reader.was_told_by_now(|o| matches!(o, Outgoing::ReachedEndOfTopic { .. })),
            "not before it is acknowledged"
        );
        let positions: Vec<_> = got.iter().map(|d| d.position).collect();
        reader.ack(&consumer, &positions).await;
        reader.next(|o| matches!(o, Outgoing::ReachedEndOfTopic { .. })).await;
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

const INPUTS: u64 = 3;
const OUTPUTS: u64 = 4;

/// A small journal in memory that can lose power.
#[allow(clippy::field_reassign_with_default)] // The journal's configuration has a private part.
fn small(dir: &std::path::Path, capacity: u64) -> ledger::Config {
    let mut journal = journal::Config::default();
    journal.dir = dir.join("journal");
    journal.capacity_bytes = capacity;
    journal.file_bytes = 256 << 10;
    journal.first_file_bytes = 256 << 10;
    ledger::Config {
        dir: dir.to_owned(),
        journal,
        max_entries_per_ledger: 40,
        min_ledger_age: Duration::ZERO,
        checkpoint_bytes: 64 << 10,
        ..ledger::Config::default()
    }
}

/// An instance of a function: for each message one output and two counters, in one commit. It may forget, give back, come back, and
/// commit what is no longer its own.
async fn instance(
    broker: broker::Broker,
    connection: Connection,
    id: u64,
    mut random: Random,
    conflicts: Arc<AtomicU64>,
) {
    let mut connection = connection;
    let name = format!("in{}", id % INPUTS);
    'connect: loop {
        let subscribed = broker.subscribe(&connection.peer, new_consumer(&name, Shared, id)).await;
        let Ok(consumer) = subscribed else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if !broker.is_healthy() {
                return;
            }
            continue;
        };
        consumer.flow(4);
        let mut outputs = Vec::new();
        for n in 0..OUTPUTS {
            let request = broker::NewProducer {
                name: None,
                user_provided_name: false,
                ..new_producer(&format!("out{n}"), id * 100 + n)
            };
            match broker.open_output(&connection.peer, request).await {
                Ok(output) => outputs.push(output),
                Err(_) => continue 'connect,
            }
        }
        let mut under_way = Vec::new();
        loop {
            let delivered = tokio::time::timeout(
                Duration::from_millis(100),
                connection.next(|o| matches!(o, Outgoing::Deliver { consumer_id, .. } if *consumer_id == id)),
            );
            let entries = match delivered.await {
                Ok(Outgoing::Deliver { entries, .. }) => entries,
                _ if random.below(10) == 0 => break,
                _ => Vec::new(),
            };
            tokio::time::sleep(Duration::from_millis(1)).await;
            consumer.flow(entries.len() as u32);
            for delivery in entries {
                let what = random.below(40);
                if what == 0 {
                    consumer.redeliver(vec![delivery.position], None);
                }
                let text = text(&delivery);
                let hash = text.bytes().fold(0u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
                let data = entry(0, "k", &text);
                let outputs = vec![OutputEntry { data, ..publish(&outputs[(hash % OUTPUTS) as usize], 0) }];
                let mut commit = commit(&consumer, &[delivery], outputs);
                commit.changes.push(add(&name, 1));
                under_way.push(broker.commit(commit));
            }
            while under_way.len() > 20 || (!under_way.is_empty() && random.below(3) == 0) {
                match under_way.remove(0).await {
                    Ok(_) => {}
                    Err(Error::Conflict(_)) => drop(conflicts.fetch_add(1, Relaxed)),
                    Err(Error::NotReady(_)) => break,
                    Err(_) => return,
                }
            }
            if random.below(30) == 0 || outputs.iter().any(OutputHandle::is_closed) {
                break;
            }
        }
        // What is under way is this consumer's no more, unless it was committed by then.
        consumer.close().await;
        for output in outputs {
            output.close().await;
        }
        for one in under_way {
            match one.await {
                Ok(_) => {}
                Err(Error::Conflict(_) | Error::NotReady(_)) => drop(conflicts.fetch_add(1, Relaxed)),
                Err(_) => return,
            }
        }
    }
}

/// Under power loss at any moment, consumers that come and go and topics that are unloaded: each input counts once.
#[tokio::test(flavor = "multi_thread")]
async fn each_input_counts_exactly_once() {
    const EACH: u64 = 1000;
    let seed = std::env::var("BROKER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1u64);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let files = MemoryFiles::new(seed);
    let mut dir = tempfile::tempdir().unwrap();
    let conflicts = Arc::new(AtomicU64::new(0));
    let (mut published, mut lives) = (false, 0);
    loop {
        let (ledger, journal) = (small(dir.path(), 8 << 20), Arc::new(files.clone()));
        let test = TestBroker::open_on(config(), ledger, dir, journal).await;
        if !published {
            published = true;
            let mut client = test.connect();
            for n in 0..OUTPUTS {
                // Somebody wants what is published.
                client.consumer(&format!("out{n}"), Shared, 99).await.close().await;
            }
            for n in 0..INPUTS {
                client.consumer(&format!("in{n}"), Shared, 99).await.close().await;
                let producer = client.producer(&format!("in{n}"), n).await;
                for i in 0..EACH {
                    client.send(&producer, i, 1, entry(i, "k", &format!("{n}/{i}")));
                }
                let mut left = EACH;
                while left > 0 {
                    if let Outgoing::Receipts { count, .. } =
                        client.next(|o| matches!(o, Outgoing::Receipts { .. })).await
                    {
                        left -= u64::from(count);
                    }
                }
                producer.close().await;
            }
        }
        lives += 1;
        let mut instances = tokio::task::JoinSet::new();
        for id in 0..2 * INPUTS {
            let random = Random(random.below(u64::MAX) | 1);
            instances.spawn(instance(test.broker.clone(), test.connect(), id, random, conflicts.clone()));
        }
        let end = tokio::time::Instant::now() + Duration::from_millis(15 + random.below(60) * (1 + lives / 5));
        let mut left = i64::MAX;
        while left > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if random.below(4) == 0 {
                let name = format!("{}{}", ["in", "out"][random.below(2) as usize], random.below(3));
                let _ = test.broker.unload_topic(&topic(&name)).await;
            }
            left = 0;
            for n in 0..INPUTS {
                let stats = test.broker.topic_stats(&topic(&format!("in{n}"))).await;
                left += stats.map_or(1, |stats| stats.subscriptions["s"].msg_backlog);
            }
        }
        if left > 0 {
            files.crash();
        }
        instances.shutdown().await;
        dir = test.kill().await;
        files.restart();
        if left == 0 {
            break;
        }
    }
    let test = TestBroker::open_on(config(), small(dir.path(), 8 << 20), dir, Arc::new(files)).await;
    assert_eq!(counter(&test.broker, "n"), (INPUTS * EACH) as i64);
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0..INPUTS {
        assert_eq!(backlog(&test, &format!("in{n}")).await, 0);
        assert_eq!(counter(&test.broker, &format!("in{n}")), EACH as i64);
    }
    for n in 0..OUTPUTS {
        let name = format!("out{n}");
        let entries = test.broker.internal_stats(&topic(&name)).await.unwrap().entries_added_counter;
        for text in contents(&test, &name, entries as usize).await {
            *found.entry(text).or_default() += 1;
        }
    }
    let expected: BTreeMap<String, u32> =
        (0..INPUTS).flat_map(|n| (0..EACH).map(move |i| (format!("{n}/{i}"), 1))).collect();
    assert_eq!(found, expected);
    assert!(lives > 2, "{lives} lives");
    assert!(conflicts.load(Relaxed) > 0, "nobody tried to commit what was not its own");
}

/// A commit waits for room in a full journal whole, and a power loss meanwhile takes it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_holds_up_a_commit_and_does_not_tear_it() {
    for room in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let files = MemoryFiles::new(5);
        let ledger = small(dir.path(), 2 << 20);
        let test = TestBroker::open_on(config(), ledger, dir, Arc::new(files.clone())).await;
        let dir = test.dir.as_ref().unwrap().path().to_owned();
        let mut connection = test.connect();
        let (consumer, got) = input(&test, &mut connection, Shared, 5).await;
        let out = output(&connection, "out", 5).await;
        test.store.checkpoint().await.unwrap();
        // What fills the journal is wanted, and there is nowhere else to put it.
        connection.consumer("fill", Exclusive, 8).await.close().await;
        let segments = dir.join("segments");
        std::fs::remove_dir_all(&segments).unwrap();
        std::fs::write(&segments, "in the way").unwrap();
        let filler = connection.producer("fill", 7).await;
        let mut n = 0;
        while !test.store.journal_stats().full {
            for _ in 0..16 {
                connection.send(&filler, n, 1, entry(n, "k", &"x".repeat(8000)));
                n += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let large = OutputEntry { data: entry(0, "k", &"y".repeat(300_000)), ..publish(&out, 0) };
        let mut waiting = Box::pin(connection.broker.commit(commit(&consumer, &got, vec![large])));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "there is no room");
        test.store.checkpoint().await.unwrap();
        assert!(test.store.journal_stats().full);
        let clear = || {
            std::fs::remove_file(&segments).unwrap();
            std::fs::create_dir(&segments).unwrap();
        };
        if room {
            clear();
            tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("room").unwrap();
            files.crash();
        } else {
            files.crash();
            clear();
            drop(waiting);
        }
        drop((connection, consumer, out, filler));
        let dir = test.kill().await;
        files.restart();
        let ledger = small(dir.path(), 2 << 20);
        let test = TestBroker::open_on(config(), ledger, dir, Arc::new(files)).await;
        let stored = test.broker.internal_stats(&topic("out")).await.unwrap().entries_added_counter;
        let all = (backlog(&test, "in").await, counter(&test.broker, "n"), stored);
        assert_eq!(all, if room { (0, 5, 1) } else { (5, 0, 0) });
    }
}

/// An ordinary acknowledgement and a commit of the same entry: one of them is first.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_and_a_commit_of_one_entry_race_fairly() {
    let test = TestBroker::start_with(config()).await;
    let mut connection = test.connect();
    let (consumer, got) = input(&test, &mut connection, Shared, 100).await;
    let mut committed = 0;
    for (n, delivery) in got.into_iter().enumerate() {
        let (acker, at) = (consumer.clone(), delivery.position);
        let ack = Ack {
            cumulative: false,
            ids: [(at, Default::default())].into_iter().collect(),
            request_id: None,
            validation_error: false,
        };
        let racing = tokio::spawn(async move { acker.ack(ack) });
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let result = connection.broker.commit(commit(&consumer, &[delivery], Vec::new())).await;
        racing.await.unwrap();
        match result {
            Ok(_) => committed += 1,
            Err(Error::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    connection.ack(&consumer, &[]).await;
    assert_eq!((backlog(&test, "in").await, counter(&test.broker, "n")), (0, committed));
}
