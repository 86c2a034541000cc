//! The client against a running broker, Apache Pulsar or Geminga. By hand, since it needs one:
//! `GEMINGA_TEST_URL=pulsar://127.0.0.1:6650 GEMINGA_TEST_WEB=127.0.0.1:8080 cargo test -p client --test it -- --ignored`.

#![allow(clippy::unwrap_used)]

use client::{Batching, Client, CompressionType, Consumer, Error, Message, Outgoing, Result, Seek, Start};
use model::{AccessMode, InitialPosition, SubscriptionType};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use wire::proto::ServerError;

const PATIENCE: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(500);

async fn client() -> Client {
    let url = std::env::var("GEMINGA_TEST_URL").unwrap_or_else(|_| "pulsar://127.0.0.1:6650".into());
    Client::connect(&url).await.unwrap()
}

/// A topic nobody else uses.
fn topic(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("client-it-{name}-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A request to the web service; only its success counts.
async fn admin(method: &str, path: &str, body: &str) {
    let address = std::env::var("GEMINGA_TEST_WEB").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "{method} /admin/v2/persistent/public/default/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
}

async fn subscribe(client: &Client, topic: &str, name: &str, kind: SubscriptionType) -> Result<Consumer> {
    client.consumer(topic, name).kind(kind).initial(InitialPosition::Earliest).subscribe().await
}

async fn next(consumer: &Consumer) -> Message {
    timeout(PATIENCE, consumer.receive()).await.expect("a message in time").unwrap()
}

async fn texts(consumer: &Consumer, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(text(&next(consumer).await));
    }
    texts
}

async fn is_silent(consumer: &Consumer) -> bool {
    timeout(SILENCE, consumer.receive()).await.is_err()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn every_compression_batched_and_not() {
    let (client, topic) = (client().await, topic("compression"));
    let kinds = [
        CompressionType::None,
        CompressionType::Lz4,
        CompressionType::Zlib,
        CompressionType::Zstd,
        CompressionType::Snappy,
    ];
    for kind in kinds {
        let single = client.producer(&topic).compression(kind).create().await.unwrap();
        single.send(format!("single {kind:?}")).await.unwrap();
        single.close().await.unwrap();
        let batched = client.producer(&topic).compression(kind).batching(Batching::default()).create().await.unwrap();
        let mut waiting = Vec::new();
        for i in 0..3 {
            waiting.push(
                batched
                    .enqueue(Outgoing::new(format!("batch {kind:?} {i}")).key("k").property("a", "b"))
                    .await
                    .unwrap(),
            );
        }
        batched.flush().await.unwrap();
        let mut indexes = Vec::new();
        for publication in waiting {
            indexes.push(publication.await.unwrap().batch_index);
        }
        assert_eq!(indexes, [0, 1, 2]);
    }
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    for kind in kinds {
        assert_eq!(text(&next(&consumer).await), format!("single {kind:?}"));
        for i in 0..3 {
            let message = next(&consumer).await;
            assert_eq!(text(&message), format!("batch {kind:?} {i}"));
            assert_eq!((message.key.as_deref(), message.batch_size), (Some("k"), 3));
            assert_eq!(message.properties, [("a".to_owned(), "b".to_owned())]);
        }
    }
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn an_acknowledged_message_does_not_come_again() {
    let (client, topic) = (client().await, topic("ack"));
    let producer = client.producer(&topic).create().await.unwrap();
    for kind in
        [SubscriptionType::Exclusive, SubscriptionType::Shared, SubscriptionType::Failover, SubscriptionType::KeyShared]
    {
        drop(subscribe(&client, &topic, kind.name(), kind).await.unwrap());
    }
    for i in 0..4 {
        producer.send(format!("{i}")).await.unwrap();
    }
    for kind in
        [SubscriptionType::Exclusive, SubscriptionType::Shared, SubscriptionType::Failover, SubscriptionType::KeyShared]
    {
        let consumer = subscribe(&client, &topic, kind.name(), kind).await.unwrap();
        let ids =
            [next(&consumer).await.id, next(&consumer).await.id, next(&consumer).await.id, next(&consumer).await.id];
        consumer.ack(ids[0]).unwrap();
        consumer.ack_confirmed(ids[2]).await.unwrap();
        consumer.close().await.unwrap();
        let consumer = subscribe(&client, &topic, kind.name(), kind).await.unwrap();
        let mut again = texts(&consumer, 2).await;
        again.sort();
        assert_eq!(again, ["1", "3"], "{kind:?}");
        assert!(is_silent(&consumer).await);
    }
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_cumulative_ack_takes_all_before_it() {
    let (client, topic) = (client().await, topic("cumulative"));
    let producer =
        client.producer(&topic).batching(Batching { messages: 2, ..Batching::default() }).create().await.unwrap();
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    let mut waiting = Vec::new();
    for i in 0..6 {
        waiting.push(producer.enqueue(format!("{i}")).await.unwrap());
    }
    for publication in waiting {
        publication.await.unwrap();
    }
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(next(&consumer).await.id);
    }
    // Within the second batch: what is sent is the end of the first.
    consumer.ack_cumulative_confirmed(ids[2]).await.unwrap();
    consumer.close().await.unwrap();
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    assert_eq!(texts(&consumer, 4).await, ["2", "3", "4", "5"]);
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_nacked_message_comes_again_with_its_count() {
    let (client, topic) = (client().await, topic("nack"));
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Shared).await.unwrap();
    let producer = client.producer(&topic).create().await.unwrap();
    producer.send("a").await.unwrap();
    producer.send("b").await.unwrap();
    let (a, b) = (next(&consumer).await, next(&consumer).await);
    assert_eq!((a.redelivery_count, b.redelivery_count), (0, 0));
    consumer.ack(b.id).unwrap();
    consumer.nack(a.id);
    let again = next(&consumer).await;
    assert_eq!((text(&again).as_str(), again.redelivery_count), ("a", 1));
    consumer.ack(again.id).unwrap();
    assert!(is_silent(&consumer).await);
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn redelivery_to_an_exclusive_consumer_starts_over() {
    let (client, topic) = (client().await, topic("redeliver"));
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    let producer = client.producer(&topic).create().await.unwrap();
    for i in 0..5 {
        producer.send(format!("{i}")).await.unwrap();
    }
    let first = next(&consumer).await;
    consumer.ack_confirmed(first.id).await.unwrap();
    assert_eq!(texts(&consumer, 2).await, ["1", "2"]);
    consumer.redeliver();
    assert_eq!(texts(&consumer, 4).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn seek_moves_by_id_by_time_and_to_the_ends() {
    let (client, topic) = (client().await, topic("seek"));
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    let producer = client.producer(&topic).create().await.unwrap();
    let mut ids = Vec::new();
    for i in 0..6 {
        ids.push(producer.send(format!("{i}")).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let third = {
        texts(&consumer, 3).await;
        next(&consumer).await
    };
    consumer.seek(Seek::To(ids[1])).await.unwrap();
    assert_eq!(texts(&consumer, 2).await, ["1", "2"]);
    consumer.seek(Seek::Earliest).await.unwrap();
    assert_eq!(texts(&consumer, 6).await, ["0", "1", "2", "3", "4", "5"]);
    consumer.seek(Seek::Time(third.publish_time_ms)).await.unwrap();
    assert_eq!(texts(&consumer, 3).await, ["3", "4", "5"]);
    consumer.seek(Seek::Latest).await.unwrap();
    assert!(is_silent(&consumer).await);
    producer.send("6").await.unwrap();
    assert_eq!(texts(&consumer, 1).await, ["6"]);
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_reader_starts_where_it_is_told_and_knows_the_end() {
    let (client, topic) = (client().await, topic("reader"));
    let producer =
        client.producer(&topic).batching(Batching { messages: 3, ..Batching::default() }).create().await.unwrap();
    let mut waiting = Vec::new();
    for i in 0..6 {
        waiting.push(producer.enqueue(format!("{i}")).await.unwrap());
    }
    let mut ids = Vec::new();
    for publication in waiting {
        ids.push(publication.await.unwrap());
    }
    let read_all = async |start| {
        let reader = client.reader(&topic).start(start).open().await.unwrap();
        let mut texts = Vec::new();
        while timeout(PATIENCE, reader.has_next()).await.unwrap().unwrap() {
            texts.push(text(&timeout(PATIENCE, reader.next()).await.unwrap().unwrap()));
        }
        reader.close().await.unwrap();
        texts.join("")
    };
    assert_eq!(read_all(Start::Earliest).await, "012345");
    assert_eq!(read_all(Start::At(ids[1])).await, "12345");
    assert_eq!(read_all(Start::After(ids[3])).await, "45");
    assert_eq!(read_all(Start::Latest).await, "");
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_partitioned_topic_keeps_the_order_of_each_key() {
    let (client, topic) = (client().await, topic("partitions"));
    admin("PUT", &format!("{topic}/partitions"), "3").await;
    assert_eq!(client.partitions(&topic).await.unwrap(), 3);
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Shared).await.unwrap();
    let producer = client.producer(&topic).batching(Batching::default()).create().await.unwrap();
    for i in 0..60 {
        producer.enqueue(Outgoing::new(format!("{i}")).key(format!("k{}", i % 6))).await.unwrap();
    }
    producer.flush().await.unwrap();
    let mut last = [-1i64; 6];
    let mut partitions = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let message = next(&consumer).await;
        let number: i64 = text(&message).parse().unwrap();
        let key = (number % 6) as usize;
        assert!(number > last[key], "{number} after {}", last[key]);
        last[key] = number;
        partitions.insert(message.id.partition);
        consumer.ack(message.id).unwrap();
    }
    assert!(partitions.len() > 1 && partitions.iter().all(|p| (0..3).contains(p)), "{partitions:?}");
    consumer.unsubscribe().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn producers_and_consumers_survive_a_lost_connection_and_an_unload() {
    let (client, topic) = (client().await, topic("reconnect"));
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Shared).await.unwrap();
    let producer = client.producer(&topic).batching(Batching::default()).create().await.unwrap();
    let name = producer.name();
    let mut received = std::collections::BTreeSet::new();
    for round in 0..4 {
        let mut waiting = Vec::new();
        for i in 0..200 {
            waiting.push(producer.enqueue(format!("{round}-{i}")).await.unwrap());
            if i == 100 && round % 2 == 0 {
                client.connection_for(&topic, 0).await.unwrap().close("the test wants it");
            }
            if i == 100 && round % 2 == 1 {
                admin("PUT", &format!("{topic}/unload"), "").await;
            }
        }
        for publication in waiting {
            timeout(PATIENCE, publication).await.expect("a receipt in time").unwrap();
        }
        while received.len() < (round + 1) * 200 {
            let message = next(&consumer).await;
            received.insert(text(&message));
            // Lost with the connection sometimes, and then it comes again.
            let _ = consumer.ack(message.id);
        }
    }
    assert_eq!(producer.name(), name);
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn access_modes_fence_and_busy_subscriptions_refuse() {
    let (client, topic) = (client().await, topic("access"));
    let exclusive = client.producer(&topic).access(AccessMode::Exclusive).create().await.unwrap();
    let refused = client.producer(&topic).access(AccessMode::Exclusive).create().await;
    assert_eq!(refused.err().unwrap().code(), Some(ServerError::ProducerFenced));
    let refused = client.producer(&topic).create().await;
    assert_eq!(refused.err().unwrap().code(), Some(ServerError::ProducerBusy));
    let waiting = tokio::spawn({
        let builder = client.producer(&topic).access(AccessMode::WaitForExclusive);
        async move { builder.create().await }
    });
    tokio::time::sleep(SILENCE).await;
    assert!(!waiting.is_finished());
    exclusive.close().await.unwrap();
    let turn = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    turn.send("mine").await.unwrap();
    let thief = client.producer(&topic).access(AccessMode::ExclusiveWithFencing).create().await.unwrap();
    thief.send("stolen").await.unwrap();

    let _first = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    let refused = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await;
    assert_eq!(refused.err().unwrap().code(), Some(ServerError::ConsumerBusy));
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn messages_of_all_sizes_arrive_and_one_too_large_is_refused() {
    let (client, topic) = (client().await, topic("sizes"));
    let consumer = subscribe(&client, &topic, "s", SubscriptionType::Exclusive).await.unwrap();
    let producer = client.producer(&topic).create().await.unwrap();
    for size in [0, 1, 1000, 300_000, 5_000_000] {
        producer.send(vec![7u8; size]).await.unwrap();
        assert_eq!(next(&consumer).await.payload, vec![7u8; size]);
    }
    assert!(matches!(producer.send(vec![0u8; 6 << 20]).await, Err(Error::TooLarge { .. })));
    producer.send("still alive").await.unwrap();
    assert_eq!(texts(&consumer, 1).await, ["still alive"]);
    let (last, _) = consumer.last_message_ids().await.unwrap()[0];
    assert_eq!(last.position.entry, 5);
}

/// Only where topics have this policy, as Apache Pulsar's do.
#[tokio::test]
#[ignore = "needs Apache Pulsar"]
async fn a_topic_that_takes_less_than_its_broker_refuses_batches_whole_and_entries_in_order() {
    let (client, topic) = (client().await, topic("small"));
    let batching = Batching { messages: 3, delay: PATIENCE, ..Batching::default() };
    let batches = client.producer(&topic).batching(batching).create().await.unwrap();
    admin("POST", &format!("{topic}/maxMessageSize"), "1000").await;
    // A policy reaches the topic a moment later.
    let small = client.producer(&topic).create().await.unwrap();
    let by = tokio::time::Instant::now() + PATIENCE;
    while small.send(vec![7u8; 2000]).await.is_ok() {
        assert!(tokio::time::Instant::now() < by, "the policy does not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut refused = Vec::new();
    for _ in 0..3 {
        refused.push(batches.enqueue(vec![7u8; 600]).await.unwrap());
    }
    for publication in refused {
        let refusal = timeout(PATIENCE, publication).await.expect("all of them hear").unwrap_err();
        assert_eq!(refusal.code(), Some(ServerError::NotAllowedError), "{refusal}");
    }
    let entries = client.producer(&topic).name("numbered").create().await.unwrap();
    let mut stored = Vec::new();
    for (number, bytes) in [(1, 500), (2, 300), (3, 2000), (4, 300)] {
        let entry = [Outgoing::new(vec![7u8; bytes])];
        stored.push(match timeout(PATIENCE, entries.enqueue_entry(&entry, number)).await.expect("an answer in time") {
            Ok(publication) => publication.await.is_ok(),
            Err(_) => false,
        });
    }
    assert_eq!(stored, [true, true, false, false]);
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn failover_and_key_shared_share_as_they_should() {
    let (client, topic) = (client().await, topic("sharing"));
    let failover = async |name| {
        client.consumer(&topic, "f").kind(SubscriptionType::Failover).name(name).subscribe().await.unwrap()
    };
    let (a, b) = (failover("a").await, failover("b").await);
    let keyed = [
        subscribe(&client, &topic, "k", SubscriptionType::KeyShared).await.unwrap(),
        subscribe(&client, &topic, "k", SubscriptionType::KeyShared).await.unwrap(),
    ];
    let producer = client.producer(&topic).create().await.unwrap();
    for i in 0..100 {
        producer.enqueue(Outgoing::new(format!("{i}")).key(format!("k{}", i % 10))).await.unwrap();
    }
    producer.flush().await.unwrap();
    // Which one is active is the broker's choice; it makes it a second after the last came.
    let ((first, received), other) = tokio::select! {
        received = texts(&a, 100) => ((&a, received), &b),
        received = texts(&b, 100) => ((&b, received), &a),
    };
    assert_eq!((received[0].as_str(), received[99].as_str()), ("0", "99"));
    assert!(is_silent(other).await && first.is_active() && !other.is_active());
    let (first, other) = if a.is_active() { (a, b) } else { (b, a) };
    first.close().await.unwrap();
    assert_eq!(text(&next(&other).await), "0", "what the first left unacknowledged");

    let mut owners = std::collections::BTreeMap::new();
    let mut counts = [0, 0];
    for (index, consumer) in keyed.iter().enumerate() {
        while let Ok(message) = timeout(SILENCE, consumer.receive()).await {
            let message = message.unwrap();
            counts[index] += 1;
            assert_eq!(*owners.entry(message.key.unwrap()).or_insert(index), index);
        }
    }
    assert_eq!(counts[0] + counts[1], 100);
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
}
