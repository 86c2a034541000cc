//! What the client can do, each against topics of its own. It has no batch index acknowledgement, no ack receipts, no chunking and
//! no sequence ids of the user's choice, and does not tell how often a message was redelivered.

use crate::support::*;
use futures::{FutureExt, future::BoxFuture};
use pulsar::{
    ConsumerOptions, ProducerOptions, SubType,
    compression::{Compression, CompressionLz4, CompressionSnappy, CompressionZlib, CompressionZstd},
    consumer::{DeadLetterPolicy, InitialPosition},
    proto::{self, MessageIdData, ProducerAccessMode},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

type Body = Box<dyn FnOnce(TestBox) -> BoxFuture<'static, Outcome> + Send>;

fn boxed(body: impl FnOnce(TestBox) -> BoxFuture<'static, Outcome> + Send + 'static) -> Body {
    Box::new(body)
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { vec![$((stringify!($name), boxed(|b| $name(b).boxed()))),*] };
}

pub(crate) fn all() -> Vec<(&'static str, Body)> {
    let mut all = scenarios![produce_consume, batched];
    for (name, kind) in [
        ("compression_none", Compression::None),
        ("compression_lz4", Compression::Lz4(CompressionLz4::default())),
        ("compression_zlib", Compression::Zlib(CompressionZlib::default())),
        ("compression_zstd", Compression::Zstd(CompressionZstd::default())),
        ("compression_snappy", Compression::Snappy(CompressionSnappy::default())),
    ] {
        all.push((name, boxed(|b| compression(b, kind).boxed())));
    }
    all.extend(scenarios![
        exclusive,
        shared,
        failover,
        key_shared,
        individual_ack,
        cumulative_ack,
        nack,
        dead_letter,
        reader_earliest,
        reader_latest,
        reader_message_id,
        seek_id,
        seek_time,
        last_message_id,
        unsubscribe,
        partitioned,
        metadata,
        deduplication,
        large_message,
        delayed,
        regex,
        receive_timeout,
        producer_exclusive,
        multi_topic,
        json_schema,
        raw_bytes,
        reconnect,
    ]);
    all
}

async fn produce_consume(b: TestBox) -> Outcome {
    let (mut consumer, mut producer) = (b.exclusive().await?, b.producer().await?);
    let ids = send_all(&mut producer, &texts(20, "m")).await?;
    let got = receive(&mut consumer, 20).await?;
    equal(data(&got), texts(20, "m"), "messages")?;
    let positions: Vec<_> = got.iter().map(|m| position(m.message_id())).collect();
    equal(positions, ids.iter().map(position).collect(), "message ids")?;
    silent(&mut consumer, 700).await
}

async fn batched(b: TestBox) -> Outcome {
    let mut consumer = b.exclusive().await?;
    send_batch(&mut b.producer_with(&b.topic, batching()).await?, &texts(100, "m")).await?;
    let got = receive(&mut consumer, 100).await?;
    equal(data(&got), texts(100, "m"), "messages")?;
    let entries: BTreeSet<_> = got.iter().map(|m| position(m.message_id())).collect();
    check(entries.len() < 10, || format!("100 messages in {} entries", entries.len()))
}

async fn compression(b: TestBox, kind: Compression) -> Outcome {
    let mut consumer = b.exclusive().await?;
    let values = texts(20, &"compressible ".repeat(50));
    let plain = ProducerOptions { compression: Some(kind.clone()), ..Default::default() };
    send_all(&mut b.producer_with(&b.topic, plain).await?, &values).await?;
    let batch = ProducerOptions { compression: Some(kind), ..batching() };
    send_batch(&mut b.producer_with(&b.topic, batch).await?, &values).await?;
    equal(data(&receive(&mut consumer, 40).await?), [values.clone(), values].concat(), "messages")
}

async fn exclusive(b: TestBox) -> Outcome {
    let mut first = b.exclusive().await?;
    refused(b.exclusive().await, "ConsumerBusy", "second exclusive consumer")?;
    first.close().await?;
    b.exclusive().await?;
    Ok(())
}

async fn shared(b: TestBox) -> Outcome {
    let mut consumers = Vec::new();
    for _ in 0..2 {
        consumers.push(b.subscribing(&b.topic, SubType::Shared).with_batch_size(5).build().await?);
    }
    send_all(&mut b.producer().await?, &texts(60, "m")).await?;
    let (mut all, mut counts) = (Vec::new(), [0; 2]);
    for _ in 0..2 {
        for (consumer, count) in consumers.iter_mut().zip(&mut counts) {
            let got = data(&drain(consumer, 800).await?);
            *count += got.len();
            all.extend(got);
        }
    }
    equal(sorted(all), sorted(texts(60, "m")), "messages")?;
    check(!counts.contains(&0), || format!("one consumer did all the work: {counts:?}"))
}

async fn failover(b: TestBox) -> Outcome {
    let mut consumers = Vec::new();
    for name in ["a", "b"] {
        consumers.push(b.subscribing(&b.topic, SubType::Failover).with_consumer_name(name).build().await?);
    }
    let mut producer = b.producer().await?;
    pause(2000).await; // the broker may take a moment to settle who is active
    send_all(&mut producer, &texts(10, "m")).await?;
    let first = data(&drain(&mut consumers[0], 1500).await?);
    let second = data(&drain(&mut consumers[1], 1500).await?);
    check(first.is_empty() != second.is_empty(), || format!("one is active: {} and {}", first.len(), second.len()))?;
    let active = usize::from(first.is_empty());
    equal([first, second].concat(), texts(10, "m"), "messages")?;
    consumers[active].close().await?;
    send_all(&mut producer, &texts(10, "n")).await?;
    equal(data(&receive(&mut consumers[1 - active], 10).await?), texts(10, "n"), "after the takeover")
}

async fn key_shared(b: TestBox) -> Outcome {
    let mut consumers = [b.consumer(SubType::KeyShared).await?, b.consumer(SubType::KeyShared).await?];
    let (mut producer, keys) = (b.producer().await?, texts(20, "key-"));
    for n in 0..10 {
        for key in &keys {
            producer.create_message().with_content(n.to_string()).with_key(key).send_non_blocking().await?.await?;
        }
    }
    let mut orders: HashMap<(usize, String), Vec<String>> = HashMap::new();
    for (i, consumer) in consumers.iter_mut().enumerate() {
        let got = drain(consumer, 1500).await?;
        check(!got.is_empty(), || format!("consumer {i} has no key"))?;
        for message in got {
            orders.entry((i, message.key().unwrap_or_default())).or_default().push(text(&message));
        }
    }
    equal(orders.len(), keys.len(), "keys by consumer")?;
    for ((_, key), order) in orders {
        equal(order, texts(10, ""), &format!("order of {key}"))?;
    }
    Ok(())
}

async fn individual_ack(b: TestBox) -> Outcome {
    let mut consumer = b.consumer(SubType::Shared).await?;
    send_all(&mut b.producer().await?, &texts(10, "m")).await?;
    for message in take(&mut consumer, 10).await?.iter().step_by(2) {
        consumer.ack(message).await?;
    }
    consumer.close().await?;
    equal(
        sorted(data(&drain(&mut b.consumer(SubType::Shared).await?, 1500).await?)),
        odd(texts(10, "m")),
        "redelivered",
    )
}

async fn cumulative_ack(b: TestBox) -> Outcome {
    let mut consumer = b.exclusive().await?;
    send_all(&mut b.producer().await?, &texts(10, "m")).await?;
    let got = take(&mut consumer, 10).await?;
    consumer.cumulative_ack(&got[5]).await?;
    consumer.close().await?;
    equal(data(&drain(&mut b.exclusive().await?, 1500).await?), texts(10, "m").split_off(6), "redelivered")
}

/// This client asks for a redelivery at once.
async fn nack(b: TestBox) -> Outcome {
    let mut consumer = b.consumer(SubType::Shared).await?;
    send_all(&mut b.producer().await?, &texts(5, "m")).await?;
    for (i, message) in take(&mut consumer, 5).await?.iter().enumerate() {
        if i % 2 == 1 {
            consumer.nack(message).await?;
        } else {
            consumer.ack(message).await?;
        }
    }
    equal(sorted(data(&receive(&mut consumer, 2).await?)), odd(texts(5, "m")), "redelivered")?;
    silent(&mut consumer, 700).await
}

async fn dead_letter(b: TestBox) -> Outcome {
    let dead_topic = format!("{}-dead", b.topic);
    let mut dead: Sub = b.subscribing(&dead_topic, SubType::Exclusive).build().await?;
    let policy = DeadLetterPolicy { max_redeliver_count: 3, dead_letter_topic: dead_topic };
    let mut consumer: Sub = b.subscribing(&b.topic, SubType::Shared).with_dead_letter_policy(policy).build().await?;
    send_all(&mut b.producer().await?, &["good".to_owned(), "bad".to_owned()]).await?;
    let mut bad = 0;
    for _ in 0..4 {
        let message = take(&mut consumer, 1).await?.remove(0);
        if text(&message) == "good" {
            consumer.ack(&message).await?;
        } else {
            bad += 1;
            consumer.nack(&message).await?;
        }
    }
    equal(bad, 3, "deliveries before the dead letter")?;
    equal(data(&receive(&mut dead, 1).await?), vec!["bad".to_owned()], "dead letter")?;
    silent(&mut consumer, 700).await
}

async fn reader_earliest(b: TestBox) -> Outcome {
    send_all(&mut b.producer().await?, &texts(10, "m")).await?;
    let mut reader = b.reader(ConsumerOptions::default().with_initial_position(InitialPosition::Earliest)).await?;
    equal(read(&mut reader, 10).await?, texts(10, "m"), "messages")
}

async fn reader_latest(b: TestBox) -> Outcome {
    let mut producer = b.producer().await?;
    send_all(&mut producer, &texts(5, "m")).await?;
    let mut reader = b.reader(ConsumerOptions::default()).await?;
    send_all(&mut producer, &texts(5, "n")).await?;
    equal(read(&mut reader, 5).await?, texts(5, "n"), "messages")
}

/// A broker begins with the start id; leaving it out is the client's business, and this one does not.
async fn reader_message_id(b: TestBox) -> Outcome {
    let ids = send_all(&mut b.producer().await?, &texts(10, "m")).await?;
    let mut reader = b.reader(ConsumerOptions::default().starting_on_message(ids[3].clone())).await?;
    equal(read(&mut reader, 7).await?, texts(10, "m").split_off(3), "from the start id on")
}

/// This client's seek subscribes anew while its old consumer, which the broker disconnects, may do so too: a shared subscription
/// bears both, and what the old one still took comes again when it goes.
async fn seek_id(b: TestBox) -> Outcome {
    let ids = send_all(&mut b.producer().await?, &texts(10, "m")).await?;
    let mut consumer = b.consumer(SubType::Shared).await?;
    receive(&mut consumer, 10).await?;
    consumer.seek(None, Some(ids[4].clone()), None, b.client.clone()).await?;
    equal(sorted(data(&receive(&mut consumer, 6).await?)), texts(10, "m").split_off(4), "after seek")?;
    // Pulsar's earliest is minus one, in a field without a sign.
    let earliest = MessageIdData { ledger_id: u64::MAX, entry_id: u64::MAX, ..Default::default() };
    consumer.seek(None, Some(earliest), None, b.client.clone()).await?;
    equal(sorted(data(&receive(&mut consumer, 10).await?)), texts(10, "m"), "after seek to earliest")
}

async fn seek_time(b: TestBox) -> Outcome {
    let (mut producer, mut consumer) = (b.producer().await?, b.consumer(SubType::Shared).await?);
    send_all(&mut producer, &texts(5, "m")).await?;
    pause(100).await;
    let middle = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    pause(100).await;
    send_all(&mut producer, &texts(5, "n")).await?;
    receive(&mut consumer, 10).await?;
    consumer.seek(None, None, Some(middle), b.client.clone()).await?;
    equal(sorted(data(&receive(&mut consumer, 5).await?)), texts(5, "n"), "after seek")
}

async fn last_message_id(b: TestBox) -> Outcome {
    let mut consumer = b.exclusive().await?;
    let ids = send_all(&mut b.producer().await?, &texts(3, "m")).await?;
    equal(position(&consumer.get_last_message_id().await?[0]), position(&ids[2]), "last message id")
}

async fn unsubscribe(b: TestBox) -> Outcome {
    let mut consumer = b.exclusive().await?;
    let path = format!("/admin/v2/persistent/public/default/{}/subscriptions", b.id);
    check(b.rest("GET", &path, "").await?.contains("[\"sub\"]"), || "the subscription is not listed".to_owned())?;
    consumer.unsubscribe().await?;
    check(!b.rest("GET", &path, "").await?.contains("\"sub\""), || "the subscription is still listed".to_owned())?;
    let mut producer = b.producer().await?;
    send(&mut producer, "unseen").await?;
    let builder = b.client.consumer().with_topic(&b.topic).with_subscription("sub");
    let mut consumer: Sub = builder.with_subscription_type(SubType::Exclusive).build().await?;
    send(&mut producer, "fresh").await?;
    equal(data(&receive(&mut consumer, 1).await?), vec!["fresh".to_owned()], "a new subscription of the same name")
}

async fn partitioned(b: TestBox) -> Outcome {
    b.rest("PUT", &format!("/admin/v2/persistent/public/default/{}/partitions", b.id), "3").await?;
    equal(b.client.lookup_partitioned_topic_number(&b.topic).await?, 3, "partitions")?;
    let mut consumer = b.exclusive().await?;
    send_all(&mut b.producer().await?, &texts(30, "m")).await?;
    let got = receive(&mut consumer, 30).await?;
    equal(sorted(data(&got)), sorted(texts(30, "m")), "messages")?;
    let used: BTreeSet<_> = got.iter().map(|m| m.topic.clone()).collect();
    equal(used, (0..3).map(|i| format!("{}-partition-{i}", b.topic)).collect(), "partitions used")
}

async fn metadata(b: TestBox) -> Outcome {
    let mut consumer = b.exclusive().await?;
    let name = format!("{}-p", b.id);
    let mut producer = b.client.producer().with_topic(&b.topic).with_name(&name).build().await?;
    let message = producer.create_message().with_content("x").with_key("key").with_ordering_key("order");
    message.with_property("a", "1").event_time(1_234_567).send_non_blocking().await?.await?;
    let got = receive(&mut consumer, 1).await?.remove(0);
    let metadata = got.metadata();
    equal(metadata.partition_key.as_deref(), Some("key"), "key")?;
    equal(metadata.ordering_key.as_deref(), Some(b"order".as_slice()), "ordering key")?;
    equal(metadata.event_time, Some(1_234_567), "event time")?;
    equal(&metadata.producer_name, &name, "producer name")?;
    let properties: Vec<_> = metadata.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    equal(properties, vec![("a", "1")], "properties")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    check(metadata.publish_time.abs_diff(now) < 15_000, || format!("published at {}", metadata.publish_time))
}

/// This client begins with sequence 0 whenever it opens a producer, so a returning one repeats what the broker has.
async fn deduplication(b: TestBox) -> Outcome {
    let namespace = format!("public/{}", b.id);
    b.rest("PUT", &format!("/admin/v2/namespaces/{namespace}"), "{}").await?;
    b.rest("POST", &format!("/admin/v2/namespaces/{namespace}/deduplication"), "true").await?;
    let topic = format!("persistent://{namespace}/orders");
    let mut consumer: Sub = b.subscribing(&topic, SubType::Exclusive).build().await?;
    let producing = || b.client.producer().with_topic(&topic).with_name("p");
    let mut first = producing().build().await?;
    send_all(&mut first, &texts(10, "m")).await?;
    first.close().await?;
    send_all(&mut producing().build().await?, &texts(15, "m")).await?;
    equal(data(&drain(&mut consumer, 1500).await?), texts(15, "m"), "messages")
}

async fn large_message(b: TestBox) -> Outcome {
    let mut consumer = b.exclusive().await?;
    let payload: Vec<u8> = (0..4_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    send(&mut b.producer().await?, payload.clone()).await?;
    check(receive(&mut consumer, 1).await?[0].payload.data == payload, || "payload differs".to_owned())
}

async fn delayed(b: TestBox) -> Outcome {
    let (mut consumer, mut producer) = (b.consumer(SubType::Shared).await?, b.producer().await?);
    producer.create_message().with_content("later").delay(Duration::from_secs(3))?.send_non_blocking().await?.await?;
    send(&mut producer, "now").await?;
    equal(data(&receive(&mut consumer, 1).await?), vec!["now".to_owned()], "first")?;
    silent(&mut consumer, 1200).await?;
    equal(data(&receive(&mut consumer, 1).await?), vec!["later".to_owned()], "second")
}

async fn regex(b: TestBox) -> Outcome {
    let on = async |suffix: &str, value: &str| {
        let mut producer = b.producer_with(&format!("{}{suffix}", b.topic), ProducerOptions::default()).await?;
        send(&mut producer, value).await?;
        Outcome::Ok(producer)
    };
    let _one = on("-one", "1").await?;
    let _other = on("x", "not this").await?;
    let pattern = regex::Regex::new(&format!("{}-.*", b.topic))?;
    let builder =
        b.subscribing("", SubType::Exclusive).with_topic_regex(pattern).with_lookup_namespace("public/default");
    let mut consumer: Sub = builder.with_topic_refresh(Duration::from_secs(1)).build().await?;
    equal(data(&receive(&mut consumer, 1).await?), vec!["1".to_owned()], "existing topic")?;
    let _two = on("-two", "2").await?;
    equal(data(&receive(&mut consumer, 1).await?), vec!["2".to_owned()], "topic made later")?;
    silent(&mut consumer, 700).await
}

async fn receive_timeout(b: TestBox) -> Outcome {
    silent(&mut b.exclusive().await?, 500).await
}

async fn producer_exclusive(b: TestBox) -> Outcome {
    let mode = |mode: ProducerAccessMode| ProducerOptions { access_mode: Some(mode as i32), ..Default::default() };
    let mut first = b.producer_with(&b.topic, mode(ProducerAccessMode::Exclusive)).await?;
    let second = b.producer_with(&b.topic, mode(ProducerAccessMode::Exclusive)).await;
    refused(second, "ProducerFenced", "second exclusive producer")?;
    refused(b.producer().await, "ProducerBusy", "shared producer beside an exclusive one")?;
    let client = b.client.clone();
    let options = mode(ProducerAccessMode::WaitForExclusive);
    let waiting = client.producer().with_topic(&b.topic).with_options(options).build();
    let mut turn = tokio::spawn(waiting);
    check(tokio::time::timeout(Duration::from_secs(1), &mut turn).await.is_err(), || {
        "the waiting producer did not wait".to_owned()
    })?;
    send(&mut first, "first").await?;
    first.close().await?;
    let mut waiting = tokio::time::timeout(Duration::from_secs(15), turn).await???;
    send(&mut waiting, "second").await?;
    equal(
        data(&drain(&mut b.exclusive().await?, 1500).await?),
        vec!["first".to_owned(), "second".to_owned()],
        "messages",
    )
}

async fn multi_topic(b: TestBox) -> Outcome {
    let topics = texts(3, &format!("{}-", b.topic));
    let mut consumer: Sub = b.subscribing("", SubType::Exclusive).with_topics(&topics).build().await?;
    for topic in &topics {
        send(&mut b.producer_with(topic, ProducerOptions::default()).await?, topic.as_str()).await?;
    }
    equal(sorted(data(&receive(&mut consumer, 3).await?)), topics, "messages")
}

async fn json_schema(b: TestBox) -> Outcome {
    let definition = br#"{"type":"record","name":"Order","fields":[{"name":"name","type":"string"}]}"#.to_vec();
    let schema = proto::Schema {
        name: "Order".to_owned(),
        schema_data: definition.clone(),
        r#type: proto::schema::Type::Json as i32,
        properties: Vec::new(),
    };
    let options = ProducerOptions { schema: Some(schema.clone()), ..Default::default() };
    let mut producer = b.producer_with(&b.topic, options).await?;
    let options = ConsumerOptions::default().with_initial_position(InitialPosition::Earliest).with_schema(schema);
    let mut consumer: Sub = b.subscribing(&b.topic, SubType::Exclusive).with_options(options).build().await?;
    send(&mut producer, r#"{"name":"pen"}"#).await?;
    equal(data(&receive(&mut consumer, 1).await?), vec![r#"{"name":"pen"}"#.to_owned()], "record")?;
    let stored = consumer.get_schema(&b.topic, None).await?.ok_or_else(|| failure("the topic has no schema"))?;
    equal(stored.r#type, proto::schema::Type::Json as i32, "type of the schema")?;
    equal(stored.schema_data, definition, "definition")
}

async fn raw_bytes(b: TestBox) -> Outcome {
    let (mut consumer, mut producer) = (b.exclusive().await?, b.producer().await?);
    let values = vec![Vec::new(), (0..=255).collect(), vec![0; 1000]];
    for value in &values {
        send(&mut producer, value.clone()).await?;
    }
    equal(receive(&mut consumer, 3).await?.into_iter().map(|m| m.payload.data).collect(), values, "payloads")
}

/// Publishes and consumes through a restart of the broker; every receipted message arrives, and in order.
async fn reconnect(b: TestBox) -> Outcome {
    let (mut consumer, mut producer) = (b.exclusive().await?, b.producer().await?);
    let (receipted, restarted) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
    let publisher = tokio::spawn({
        let (receipted, restarted) = (receipted.clone(), restarted.clone());
        async move {
            let mut after = 0;
            for number in 0_u32.. {
                if after == 50 {
                    break;
                }
                match send(&mut producer, number.to_string()).await {
                    Ok(_) => {
                        receipted.lock().expect("not poisoned").insert(number);
                        after += u32::from(restarted.load(Ordering::SeqCst));
                        pause(5).await;
                    }
                    Err(error) => {
                        eprintln!("publish: {}", error.0);
                        pause(200).await;
                    }
                }
            }
        }
    });
    let mut seen: Vec<u32> = Vec::new();
    for message in receive(&mut consumer, 50).await? {
        seen.push(text(&message).parse()?);
    }
    println!("ready-for-restart");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    restarted.store(true, Ordering::SeqCst);
    let lost = |seen: &[u32]| -> Vec<u32> {
        receipted.lock().expect("not poisoned").iter().filter(|n| !seen.contains(n)).copied().collect()
    };
    let deadline = Instant::now() + Duration::from_secs(75);
    while Instant::now() < deadline && !(publisher.is_finished() && lost(&seen).is_empty()) {
        match receive_within(&mut consumer, Duration::from_millis(500)).await {
            Ok(Some(message)) => {
                let number = text(&message).parse()?;
                if !seen.contains(&number) {
                    seen.push(number);
                }
                consumer.ack(&message).await?;
            }
            Ok(None) => {}
            // This client gives a consumer up when the lookup of its reconnect falls into the restart: its user makes a new one.
            Err(error) => {
                eprintln!("receive: {}", error.0);
                pause(200).await;
                if let Ok(anew) = b.exclusive().await {
                    consumer = anew;
                }
            }
        }
    }
    check(publisher.is_finished(), || "publishing did not go on after the restart".to_owned())?;
    check(lost(&seen).is_empty(), || format!("lost receipted messages {:?}", lost(&seen)))?;
    check(seen.is_sorted(), || format!("order of first deliveries: {seen:?}"))
}
