//! Entries as other producers make them: messages in chunks, batches that are damaged or say of themselves what is not so.

use broker::{NewProducer, Outgoing, PeerInfo};
use bytes::Bytes;
use functions::{
    FunctionSpec, Record,
    runtime::{Effects, StateChange},
    spec::{Guarantee, InputConfig},
};
use model::{AccessMode, SubscriptionType};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use wire::proto::{CompressionType, MessageMetadata, SingleMessageMetadata};

use crate::support::{Did, Node, Script, function, texts, topic};

/// Publishes entries as they are, each with how many messages it says it holds.
async fn publish_raw(node: &Node, entries: Vec<(u32, Bytes)>) {
    let (peer, mut told) = node.broker.connect(PeerInfo::default());
    let producer = NewProducer {
        topic: topic("in").parse().unwrap(),
        producer_id: 1,
        request_id: 1,
        name: None,
        epoch: 0,
        user_provided_name: false,
        access_mode: AccessMode::Shared,
        topic_epoch: None,
        metadata: Default::default(),
        schema: None,
        initial_subscription: None,
        encrypted: false,
    };
    let (producer, _) = node.broker.create_producer(&peer, producer).await.unwrap();
    let (mut requests, wanted) = (node.broker.requests(), entries.len());
    for (sequence, (messages, entry)) in (0..).zip(entries) {
        requests.publish(&producer, sequence, sequence, messages, false, entry);
    }
    node.broker.submit(&peer, &mut requests);
    let mut receipts = 0;
    while receipts < wanted {
        for outgoing in told.recv().await.unwrap() {
            if let Outgoing::Receipts { count, .. } = outgoing {
                receipts += count as usize;
            }
        }
    }
    node.broker.disconnect(&peer);
}

fn metadata(sequence_id: u64) -> MessageMetadata {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    MessageMetadata {
        producer_name: "p".into(),
        sequence_id,
        publish_time: now.as_millis() as u64,
        ..Default::default()
    }
}

fn one(text: &str) -> (u32, Bytes) {
    (1, wire::entry::encode_entry(&metadata(0), text.as_bytes()))
}

fn chunk(uuid: &str, chunk: i32, chunks: i32, payload: &[u8]) -> (u32, Bytes) {
    let metadata = MessageMetadata {
        uuid: Some(uuid.into()),
        chunk_id: Some(chunk),
        num_chunks_from_msg: Some(chunks),
        ..metadata(0)
    };
    (1, wire::entry::encode_entry(&metadata, payload))
}

/// A batch of these, that says `claimed` of itself where clients read it, and `announced` where the broker does.
fn batch(texts: &[&str], claimed: i32, announced: u32) -> (u32, Bytes) {
    use bytes::BufMut;
    let mut payload = Vec::new();
    for text in texts {
        let single = SingleMessageMetadata { payload_size: text.len() as i32, ..Default::default() };
        let single = prost::Message::encode_to_vec(&single);
        payload.put_u32(single.len() as u32);
        payload.extend_from_slice(&single);
        payload.extend_from_slice(text.as_bytes());
    }
    let metadata = MessageMetadata { num_messages_in_batch: Some(claimed), ..metadata(0) };
    (announced, wire::entry::encode_entry(&metadata, &payload))
}

fn upper() -> Script {
    Script::each(|text| Did::Returned(text.to_owned()))
}

fn with_queue(messages: u32) -> FunctionSpec {
    let inputs = [(topic("in"), InputConfig { receiver_queue_size: Some(messages), ..Default::default() })];
    FunctionSpec { inputs: inputs.into(), ..function("f") }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_chunks_are_whole_however_they_are_mixed_and_compressed() {
    let node = Node::start().await;
    let text = |message: usize| format!("{message}:{}", "abcdefghij".repeat(2000));
    let mut entries = Vec::new();
    let compressed: Vec<(usize, Vec<u8>)> = (0..25)
        .map(|message| (text(message).len(), client::compress(CompressionType::Lz4, text(message).as_bytes())))
        .collect();
    for chunk in 0..4 {
        for (message, (size, bytes)) in compressed.iter().enumerate() {
            let part = bytes.len().div_ceil(4);
            let part = &bytes[chunk * part..((chunk + 1) * part).min(bytes.len())];
            let metadata = MessageMetadata {
                uuid: Some(format!("p-{message}")),
                chunk_id: Some(chunk as i32),
                num_chunks_from_msg: Some(4),
                total_chunk_msg_size: Some(bytes.len() as i32),
                compression: Some(CompressionType::Lz4 as i32),
                uncompressed_size: Some(*size as u32),
                ..metadata(message as u64)
            };
            entries.push((1, wire::entry::encode_entry(&metadata, part)));
        }
    }
    publish_raw(&node, entries).await;
    // More chunks are under way than it may have messages.
    let instances = [0, 1].map(|id| node.run_as(id, with_queue(8), upper()));
    let mut out = texts(&node.read("out", 25).await);
    let mut wanted: Vec<String> = (0..25).map(text).collect();
    out.sort_unstable();
    wanted.sort_unstable();
    assert!(out == wanted, "{:?}", out.iter().map(String::len).collect::<Vec<_>>());
    node.acknowledged("in", "f").await;
    for instance in instances {
        instance.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_read_cost_no_permits() {
    let node = Node::start().await;
    let mut entries = Vec::new();
    for _ in 0..5 {
        // It ends early; nothing of it is a message.
        entries.push(batch(&[], 100, 100));
        entries.push((70, Bytes::from_static(b"no entry at all")));
        // Less is in it than it says, and more.
        entries.push(batch(&["few"], 1, 50));
        entries.push(batch(&["many", "many", "many"], 3, 1));
    }
    entries.extend((0..100).map(|n| one(&n.to_string())));
    publish_raw(&node, entries).await;
    let instance = node.run_as(0, with_queue(10), upper());
    let out = texts(&node.read("out", 5 + 15 + 100).await);
    assert_eq!(out.iter().filter(|text| *text == "many").count(), 15);
    node.acknowledged("in", "f").await;
    instance.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_chunks_whose_commit_is_refused_comes_again_whole() {
    let node = Node::start().await;
    publish_raw(&node, vec![one("seed")]).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let script = Script::each(move |text| {
        let key = || "k".to_owned();
        let changes = match text {
            "seed" => vec![StateChange::Put { key: key(), value: "no number".into() }],
            // It can never be committed; the next time the function makes something else of it.
            _ if counted.fetch_add(1, SeqCst) == 0 => vec![StateChange::Add { key: key(), amount: 1 }],
            _ => Vec::new(),
        };
        let record = Record { payload: text.to_owned().into(), ..Record::default() };
        Did::All(Ok(vec![record]), Effects { changes, ..Effects::default() })
    });
    let mut spec = function("f");
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(50)));
    let instance = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 1).await), ["seed"]);
    publish_raw(&node, (0..3).map(|n| chunk("m", n, 3, format!("part{n}").as_bytes())).collect()).await;
    assert_eq!(texts(&node.read("out", 1).await), ["part0part1part2"]);
    node.acknowledged("in", "f").await;
    assert_eq!((tries.load(SeqCst), instance.status().restarts), (2, 0));
    instance.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_order_is_kept_a_message_there_was_no_room_for_is_read_again_and_nothing_overtakes_it() {
    let node = Node::start().await;
    // Together they are more than an instance keeps; the younger one ends first.
    let part = |of: u8| vec![of; 9 << 19];
    let mut entries = Vec::new();
    for n in 0..14 {
        entries.push(chunk("a", n, 17, &part(b'a')));
        entries.push(chunk("b", n, 14, &part(b'b')));
    }
    entries.extend((0..50).map(|n| one(&n.to_string())));
    entries.extend((14..17).map(|n| chunk("a", n, 17, &part(b'a'))));
    publish_raw(&node, entries).await;
    let spec = FunctionSpec {
        subscription_type: SubscriptionType::Failover,
        guarantee: Guarantee::EffectivelyOnce,
        ..with_queue(8)
    };
    let say = |text: &str| match text.len() {
        ..10 => text.to_owned(),
        len => format!("{len} times {}", &text[..1]),
    };
    let instance = node.run(spec, Script::each(move |text| Did::Returned(say(text))));
    let found = texts(&node.read("out", 52).await);
    let small = (0..50).map(|n| n.to_string());
    let wanted: Vec<String> = [format!("{} times b", 14 * (9 << 19))].into_iter().chain(small).collect();
    assert_eq!(found[..51], wanted);
    assert_eq!(found[51], format!("{} times a", 17 * (9 << 19)));
    node.acknowledged("in", "f").await;
    assert_eq!(instance.status().restarts, 0);
    instance.stop(Duration::from_secs(10)).await;
}
