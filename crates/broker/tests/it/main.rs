//! What the broker promises, seen from its connections.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

mod admission;
mod compaction;
mod harness;
mod keys;
mod names;
mod partitions;
mod producers;
mod schemas;
mod sharing;
mod subscriptions;
mod transactions;
mod waiting;

use broker::{Ack, Error, KeyShared, Outgoing, SeekTarget};
use harness::{Connection, TestBroker, entry, new_consumer, new_producer, text, topic};
use model::{AccessMode, KeySharedMode, NamespaceName, Position, SubscriptionType::*};
use std::{collections::BTreeMap, time::Duration};

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!("m{n}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_receipted_in_order_and_delivered() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    connection.consumer("orders", Exclusive, 1).await;
    let producer = connection.producer("orders", 1).await;
    let positions = connection.publish(&producer, 0..500, &["k"]).await;
    assert!(positions.windows(2).all(|pair| pair[1] == pair[0].next()), "positions are dense");
    assert_eq!(connection.texts(1, 500).await, numbers(0..500));
    connection.silent().await;
}

/// Nobody had subscribed when it was published, and the journal has gone round since.
#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_late_gets_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let (capacity_bytes, file_bytes) = (8 << 20, 128 << 10);
    let journal = journal::Config {
        dir: dir.path().join("journal"),
        capacity_bytes,
        file_bytes,
        first_file_bytes: file_bytes,
        write_bytes_max: 16 << 10,
        ..journal::Config::default()
    };
    let files = journal::Directory::open(&journal.dir, journal.direct).unwrap();
    let ledger = ledger::Config { dir: dir.path().to_owned(), journal, ..ledger::Config::default() };
    let test = TestBroker::open_on(broker::Config::default(), ledger, dir, std::sync::Arc::new(files)).await;
    let mut connection = test.connect();
    let early = connection.producer("early", 1).await;
    connection.publish(&early, 0..100, &["k"]).await;
    let hose = connection.producer("hose", 2).await;
    let large = "x".repeat(64 << 10);
    for n in 0..2 * capacity_bytes / large.len() as u64 {
        connection.send(&hose, n, 1, entry(n, "k", &large));
        connection.next(|o| matches!(o, Outgoing::Receipts { producer_id: 2, .. })).await;
    }
    connection.consumer("early", Exclusive, 3).await;
    assert_eq!(connection.texts(3, 100).await, numbers(0..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_subscription_has_one_consumer() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let first = connection.consumer("t", Exclusive, 1).await;
    let second = test.broker.subscribe(&connection.peer, new_consumer("t", Exclusive, 2)).await;
    assert!(matches!(second, Err(Error::ConsumerBusy(_))), "{second:?}");
    let other_type = test.broker.subscribe(&connection.peer, new_consumer("t", Shared, 3)).await;
    assert!(matches!(other_type, Err(Error::ConsumerBusy(_))), "{other_type:?}");
    first.close().await;
    connection.consumer("t", Shared, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_shared_consumer_leaves_its_messages_to_the_others() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let first = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..10, &["k"]).await;
    let got = connection.receive(1, 10).await;
    connection.ack(&first, &got.iter().step_by(2).map(|d| d.position).collect::<Vec<_>>()).await;
    connection.consumer("t", Shared, 2).await;
    first.close().await;
    assert_eq!(connection.texts(2, 5).await, ["m1", "m3", "m5", "m7", "m9"]);
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivery_is_counted_when_the_client_asks_for_it() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..3, &["k"]).await;
    for wanted in 0..3 {
        let got = connection.receive(1, 3).await;
        assert!(got.iter().all(|d| d.redelivery_count == wanted), "{got:?}");
        consumer.redeliver(got.iter().map(|d| d.position).collect(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_acknowledged_in_part_comes_back_with_what_is_left() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.send(&producer, 0, 10, entry(0, "k", "ten"));
    let position = connection.receive(1, 1).await[0].position;
    let ack = |words: &[u64]| Ack {
        cumulative: false,
        ids: [(position, words.iter().copied().collect())].into_iter().collect(),
        request_id: Some(900),
        validation_error: false,
    };
    consumer.ack(ack(&[0b11_1111_0110])); // 0 and 3 are done
    connection.next(|o| matches!(o, Outgoing::AckResponse { request_id: 900, .. })).await;
    consumer.redeliver(vec![], None);
    let again = connection.receive(1, 1).await;
    assert_eq!(again[0].ack_set.as_slice(), [0b11_1111_0110]);
    drop((connection, consumer));
    // The same after a restart: what was acknowledged in part stays so.
    let test = test.restart().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    assert_eq!(connection.receive(1, 1).await[0].ack_set.as_slice(), [0b11_1111_0110]);
    consumer.ack(ack(&[0]));
    connection.next(|o| matches!(o, Outgoing::AckResponse { request_id: 900, .. })).await;
    consumer.redeliver(vec![], None);
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_do_not_come_back_after_a_restart() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..20, &["k"]).await;
    let got = connection.receive(1, 20).await;
    let (done, left): (Vec<_>, Vec<_>) = got.iter().partition(|d| d.position.entry % 3 == 0);
    connection.ack(&consumer, &done.iter().map(|d| d.position).collect::<Vec<_>>()).await;
    let left: Vec<_> = left.into_iter().map(text).collect();
    drop((connection, consumer, producer));
    let test = test.restart().await;
    let mut connection = test.connect();
    connection.consumer("t", Shared, 1).await;
    assert_eq!(connection.texts(1, left.len()).await, left);
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_keep_their_order_when_a_consumer_joins_and_one_leaves() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let first = connection.consumer("t", KeyShared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..80, &keys).await;
    let held = connection.receive(1, 80).await;
    // The second consumer takes over some keys, but nothing of them while the first holds messages of theirs.
    let second = connection.consumer("t", KeyShared, 2).await;
    connection.publish(&producer, 80..160, &keys).await;
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let note = |seen: &mut BTreeMap<u64, Vec<u64>>, d: &broker::Delivery| {
        let n: u64 = text(d)[1..].parse().unwrap();
        seen.entry(n % 8).or_default().push(n);
    };
    held.iter().for_each(|d| note(&mut seen, d));
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    connection.ack(&first, &held.iter().map(|d| d.position).collect::<Vec<_>>()).await;
    let mut by_consumer = [0, 0];
    for _ in 0..1000 {
        if seen.values().map(Vec::len).sum::<usize>() == 160 {
            break;
        }
        let told = connection.next(|o| matches!(o, Outgoing::Deliver { .. })).await;
        if let Outgoing::Deliver { consumer_id, entries, .. } = told {
            by_consumer[consumer_id as usize - 1] += entries.len();
            entries.iter().for_each(|d| note(&mut seen, d));
            let at: Vec<_> = entries.iter().map(|d| d.position).collect();
            connection.ack(if consumer_id == 1 { &first } else { &second }, &at).await;
        }
    }
    for (key, order) in seen {
        let expected: Vec<_> = (0..20).map(|n| n * 8 + key).collect();
        assert_eq!(order, expected, "key {key}");
    }
    assert!(by_consumer[0] > 0 && by_consumer[1] > 0, "{by_consumer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sticky_ranges_that_overlap_are_refused() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let sticky = |id, range| broker::NewConsumer {
        key_shared: Some(KeyShared { mode: KeySharedMode::Sticky, ranges: vec![range], allow_out_of_order: false }),
        ..new_consumer("t", KeyShared, id)
    };
    test.broker.subscribe(&connection.peer, sticky(1, 0..=100)).await.unwrap();
    let conflict = test.broker.subscribe(&connection.peer, sticky(2, 50..=200)).await;
    assert!(matches!(conflict, Err(Error::ConsumerAssign(_))), "{conflict:?}");
    test.broker.subscribe(&connection.peer, sticky(3, 101..=65_535)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_gets_a_receipt_in_its_place_and_is_not_stored() {
    let test = TestBroker::start().await;
    let namespace = NamespaceName::new("public", "default").unwrap();
    test.broker.update_policies(&namespace, |p| p.deduplication_enabled = Some(true)).await.unwrap();
    let mut connection = test.connect();
    connection.consumer("t", Exclusive, 1).await;
    let producer = connection.producer("t", 1).await;
    for sequence in [1, 2, 2, 1, 3] {
        connection.send(&producer, sequence, 1, entry(sequence, "k", &format!("m{sequence}")));
    }
    let mut receipts = Vec::new();
    while receipts.len() < 5 {
        if let Outgoing::Receipts { sequence_id, position, count, .. } =
            connection.next(|o| matches!(o, Outgoing::Receipts { .. })).await
        {
            receipts.extend((0..u64::from(count)).map(|n| (sequence_id + n, position.ledger == u64::MAX)));
        }
    }
    assert_eq!(receipts, [(1, false), (2, false), (2, true), (1, true), (3, false)]);
    assert_eq!(connection.texts(1, 3).await, ["m1", "m2", "m3"]);
    drop((connection, producer));
    let test = test.restart().await;
    let connection = test.connect();
    let (_, created) = test.broker.create_producer(&connection.peer, new_producer("t", 1)).await.unwrap();
    assert_eq!(created.last_sequence_id, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn exclusive_producers_wait_or_fence() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let with = |id, access_mode| broker::NewProducer { access_mode, ..new_producer("t", id) };
    let open = async |request| test.broker.create_producer(&connection.peer, request).await;
    let (first, created) = open(with(1, AccessMode::Exclusive)).await.unwrap();
    assert_eq!(created.topic_epoch, Some(0));
    assert!(matches!(open(with(2, AccessMode::Shared)).await, Err(Error::ProducerBusy(_))));
    assert!(matches!(open(with(3, AccessMode::Exclusive)).await, Err(Error::ProducerFenced(_))));
    let (_, waits) = open(with(4, AccessMode::WaitForExclusive)).await.unwrap();
    assert!(!waits.ready);
    first.close().await;
    let ready = connection.next(|o| matches!(o, Outgoing::ProducerReady { request_id: 4, .. })).await;
    assert!(matches!(ready, Outgoing::ProducerReady { created, .. } if created.topic_epoch == Some(1)));
    let fences =
        test.broker.create_producer(&connection.peer, with(5, AccessMode::ExclusiveWithFencing)).await.unwrap();
    assert_eq!(fences.1.topic_epoch, Some(2));
    connection.next(|o| matches!(o, Outgoing::CloseProducer { producer_id: 4 })).await;
    let old = broker::NewProducer { topic_epoch: Some(1), ..with(6, AccessMode::ExclusiveWithFencing) };
    let fenced = test.broker.create_producer(&connection.peer, old).await;
    assert!(matches!(fenced, Err(Error::ProducerFenced(_))), "{fenced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_moves_a_subscription_and_disconnects_its_consumers() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Exclusive, 1).await;
    let producer = connection.producer("t", 1).await;
    let positions = connection.publish(&producer, 0..10, &["k"]).await;
    connection.receive(1, 10).await;
    connection.ack(&consumer, &positions).await;
    consumer.seek(SeekTarget::Id(positions[4])).await.unwrap();
    connection.next(|o| matches!(o, Outgoing::CloseConsumer { consumer_id: 1 })).await;
    let consumer = connection.consumer("t", Exclusive, 2).await;
    assert_eq!(connection.texts(2, 6).await, numbers(4..10));
    let last = consumer.last_message_id().await.unwrap();
    assert_eq!((last.position, last.batch_index), (positions[9], -1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_to_a_message_of_a_batch_leaves_those_before_it_acknowledged() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Exclusive, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.send(&producer, 0, 5, entry(0, "k", "five"));
    let batch = connection.receive(1, 1).await[0].position;
    connection.ack(&consumer, &[batch]).await;
    consumer.seek(SeekTarget::Within { entry: batch, first: 1, messages: 5 }).await.unwrap();
    connection.next(|o| matches!(o, Outgoing::CloseConsumer { consumer_id: 1 })).await;
    let consumer = connection.consumer("t", Exclusive, 2).await;
    assert_eq!(connection.receive(2, 1).await[0].ack_set.as_slice(), [0b11110]);
    consumer.seek(SeekTarget::Within { entry: batch, first: 2, messages: 5 }).await.unwrap();
    drop((connection, consumer, producer));
    // What a seek left is durable when it is answered.
    let dir = test.kill().await;
    let test = TestBroker::open(broker::Config::default(), dir).await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Exclusive, 1).await;
    assert_eq!(connection.receive(1, 1).await[0].ack_set.as_slice(), [0b11100]);
    consumer.seek(SeekTarget::Id(batch)).await.unwrap();
    connection.next(|o| matches!(o, Outgoing::CloseConsumer { consumer_id: 1 })).await;
    connection.consumer("t", Exclusive, 2).await;
    assert!(connection.receive(2, 1).await[0].ack_set.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_starts_where_it_says_and_leaves_nothing_behind() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    connection.consumer("t", Exclusive, 1).await;
    let producer = connection.producer("t", 1).await;
    let positions = connection.publish(&producer, 0..10, &["k"]).await;
    let reader = broker::NewConsumer {
        subscription: "reader-x".into(),
        durable: false,
        start_message_id: Some(positions[7]),
        ..new_consumer("t", Exclusive, 9)
    };
    let reader = test.broker.subscribe(&connection.peer, reader).await.unwrap();
    reader.flow(100);
    assert_eq!(connection.texts(9, 3).await, numbers(7..10));
    reader.close().await;
    assert_eq!(test.broker.subscriptions(&topic("t")).await.unwrap(), ["s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_count_messages_and_bound_what_is_sent() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let consumer = test.broker.subscribe(&connection.peer, new_consumer("t", Shared, 1)).await.unwrap();
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..10, &["k"]).await;
    assert_eq!(consumer.stats().await.unwrap().last_consumed_flow_timestamp, 0);
    consumer.flow(3);
    assert_eq!(connection.texts(1, 3).await, numbers(0..3));
    assert!(consumer.stats().await.unwrap().last_consumed_flow_timestamp > 0);
    connection.silent().await;
    consumer.flow(2);
    assert_eq!(connection.texts(1, 2).await, numbers(3..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_acknowledges_nothing_is_blocked_and_unblocks_at_half() {
    let config = broker::Config { max_unacked_messages_per_consumer: 4, ..broker::Config::default() };
    let test = TestBroker::start_with(config).await;
    let mut connection = test.connect();
    let consumer = connection.consumer("t", Shared, 1).await;
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..1, &["k"]).await;
    let mut got = connection.receive(1, 1).await;
    connection.publish(&producer, 1..40, &["k"]).await;
    let mut all: Vec<Position> = got.drain(..).map(|d| d.position).collect();
    for _ in 0..100 {
        if all.len() == 40 {
            break;
        }
        let told = connection.next(|o| matches!(o, Outgoing::Deliver { .. })).await;
        if let Outgoing::Deliver { entries, .. } = told {
            assert!(entries.len() <= 4, "a blocked consumer got {}", entries.len());
            let at: Vec<_> = entries.iter().map(|d| d.position).collect();
            connection.ack(&consumer, &at).await;
            all.extend(at);
        }
    }
    assert_eq!(all.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_gone_and_one_in_use_is_not_deleted() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let name = topic("t");
    let consumer = connection.consumer("t", Exclusive, 1).await;
    assert!(matches!(test.broker.delete_topic(&name, false).await, Err(Error::Precondition(_))));
    consumer.unsubscribe(false).await.unwrap();
    let producer = connection.producer("t", 1).await;
    connection.publish(&producer, 0..5, &["k"]).await;
    assert!(matches!(test.broker.delete_topic(&name, false).await, Err(Error::Precondition(_))));
    test.broker.delete_topic(&name, true).await.unwrap();
    connection.next(|o| matches!(o, Outgoing::CloseProducer { producer_id: 1 })).await;
    assert!(!test.broker.exists(&name).await.unwrap());
    assert!(matches!(test.broker.topic_stats(&name).await, Err(Error::TopicNotFound(_))));
    // The same name is a new, empty topic.
    connection.consumer("t", Exclusive, 2).await;
    connection.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_come_and_grow_with_their_subscriptions() {
    let test = TestBroker::start().await;
    let name = topic("t");
    test.broker.create_partitioned_topic(&name, 2).await.unwrap();
    assert!(matches!(test.broker.create_topic(&name, BTreeMap::new()).await, Err(Error::TopicExists(_))));
    let first = name.with_partition(0);
    test.broker.create_subscription(&first, "s", SeekTarget::Earliest, BTreeMap::new()).await.unwrap();
    test.broker.update_partitions(&name, 4).await.unwrap();
    assert!(matches!(test.broker.update_partitions(&name, 3).await, Err(Error::Precondition(_))));
    assert_eq!(test.broker.partitioned_metadata(&name, false).await.unwrap(), 4);
    assert_eq!(test.broker.subscriptions(&name.with_partition(3)).await.unwrap(), ["s"]);
    let beyond = test.broker.subscribe(&test.connect().peer, new_consumer("t-partition-4", Shared, 1)).await;
    assert!(matches!(beyond, Err(Error::TopicNotFound(_))), "{beyond:?}");
    let of_none = test.broker.subscribe(&test.connect().peer, new_consumer("none-partition-0", Shared, 2)).await;
    assert!(matches!(of_none, Err(Error::NotAllowed(_))), "{of_none:?}");
    test.broker.delete_partitioned_topic(&name, true).await.unwrap();
    assert!(test.broker.topics(name.namespace()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_topic_takes_nothing_more_and_says_when_it_ends() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let producer = connection.producer("t", 1).await;
    let positions = connection.publish(&producer, 0..3, &["k"]).await;
    assert_eq!(test.broker.terminate(&topic("t")).await.unwrap(), positions[2]);
    let refused = test.broker.create_producer(&connection.peer, new_producer("t", 2)).await;
    assert!(refused.is_err());
    let consumer = connection.consumer("t", Exclusive, 1).await;
    assert_eq!(connection.texts(1, 3).await, numbers(0..3));
    // Not before everything is acknowledged: the C++ client cannot bear to hear it.
    let end = |o: &Outgoing| matches!(o, Outgoing::ReachedEndOfTopic { .. });
    let soon = Duration::from_millis(150);
    assert!(tokio::time::timeout(soon, connection.next(end)).await.is_err());
    connection.ack(&consumer, &positions).await;
    connection.next(|o| matches!(o, Outgoing::ReachedEndOfTopic { consumer_id: 1 })).await;
    // One that comes back because of it does not hear it at once again.
    let mut back = test.connect();
    consumer.close().await;
    back.consumer("t", Exclusive, 1).await;
    assert!(tokio::time::timeout(soon, back.next(end)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_persistent_passes_on_what_consumers_have_permits_for_and_drops_the_rest() {
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let name = "non-persistent://public/default/t";
    let producer = connection.producer(name, 1).await;
    // Nobody is there, and later nobody gets it; the receipt comes all the same.
    connection.publish(&producer, 0..5, &["k"]).await;
    let shared = connection.consumer(name, Shared, 1).await;
    let other = broker::NewConsumer { subscription: "other".into(), ..new_consumer(name, KeyShared, 2) };
    let other = test.broker.subscribe(&connection.peer, other).await.unwrap();
    other.flow(3);
    let positions = connection.publish(&producer, 5..15, &["k"]).await;
    let delivered = connection.receive(1, 10).await;
    assert_eq!(delivered.iter().map(text).collect::<Vec<_>>(), numbers(5..15));
    assert_eq!(delivered.iter().map(|d| d.position).collect::<Vec<_>>(), positions);
    assert_eq!(connection.receive(2, 3).await.len(), 3);
    connection.ack(&shared, &positions).await;
    shared.redeliver(Vec::new(), None);
    // Permits are for what comes, not for what was dropped.
    other.flow(100);
    connection.silent().await;
    connection.publish(&producer, 15..16, &["k"]).await;
    assert_eq!((connection.texts(1, 1).await, connection.texts(2, 1).await), (numbers(15..16), numbers(15..16)));
    let stats = test.broker.topic_stats(&topic(name)).await.unwrap();
    assert_eq!((stats.msg_in_counter, stats.msg_out_counter, stats.storage_size), (16, 15, 0));
    let (s, other) = (&stats.subscriptions["s"], &stats.subscriptions["other"]);
    assert_eq!((s.unacked_messages, s.msg_backlog, s.msg_drop_rate), (0, 0, Some(0.0)));
    assert!(other.msg_drop_rate > Some(0.0), "{other:?}");
    assert!(shared.last_message_id().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_persistent_is_there_while_it_is_used() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let (name, namespace) =
        (topic("non-persistent://public/default/t"), NamespaceName::new("public", "default").unwrap());
    assert!(!test.broker.exists(&name).await.unwrap());
    let exclusive = broker::NewProducer { access_mode: AccessMode::Exclusive, ..new_producer(&name.to_string(), 1) };
    let (producer, created) = test.broker.create_producer(&connection.peer, exclusive).await.unwrap();
    assert_eq!((created.topic_epoch, created.last_sequence_id), (Some(0), -1));
    let second = test.broker.create_producer(&connection.peer, new_producer(&name.to_string(), 2)).await;
    assert!(matches!(second, Err(Error::ProducerBusy(_))), "{second:?}");
    assert_eq!(test.broker.topics(&namespace).await.unwrap(), []);
    assert_eq!(test.broker.non_persistent_topics(&namespace).await.unwrap(), std::slice::from_ref(&name));
    assert!(matches!(test.broker.delete_topic(&name, false).await, Err(Error::Precondition(_))));
    producer.close().await;
    test.broker.delete_topic(&name, false).await.unwrap();
    assert!(!test.broker.exists(&name).await.unwrap());
    // Partitions come with their clients; how many there are is stored.
    let partitioned = topic("non-persistent://public/default/p");
    test.broker.create_partitioned_topic(&partitioned, 2).await.unwrap();
    let _producer = connection.producer("non-persistent://public/default/p-partition-1", 3).await;
    let beyond = new_producer("non-persistent://public/default/p-partition-2", 4);
    assert!(test.broker.create_producer(&connection.peer, beyond).await.is_err());
    assert_eq!(test.broker.non_persistent_topics(&namespace).await.unwrap(), [partitioned.with_partition(1)]);
    drop((connection, _producer));
    let test = test.restart().await;
    assert_eq!(test.broker.partitions(&partitioned).unwrap(), Some(2));
    assert_eq!(test.broker.non_persistent_topics(&namespace).await.unwrap(), []);
    test.broker.delete_partitioned_topic(&partitioned, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_properties_of_a_topic_have_a_bound() {
    let test = TestBroker::start().await;
    let name = topic("t");
    test.broker.create_topic(&name, BTreeMap::new()).await.unwrap();
    let half = |key: &str| BTreeMap::from([(key.to_owned(), Some("v".repeat(512 * 1024 - 1)))]);
    test.broker.set_topic_properties(&name, half("a")).await.unwrap();
    test.broker.set_topic_properties(&name, half("b")).await.unwrap();
    let refused = test.broker.set_topic_properties(&name, half("c")).await;
    assert!(matches!(refused, Err(Error::TooMany(_))), "{refused:?}");
    assert_eq!(test.broker.topic_properties(&name).await.unwrap().len(), 2);
}
