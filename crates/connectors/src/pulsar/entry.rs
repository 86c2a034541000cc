//! What an entry is at another broker. Pure.
//!
//! It goes whole, unless its messages belong to several partitions there, or some of them are acknowledged already: then a batch is taken
//! apart, and what belongs together is a batch again.

use bytes::BytesMut;
use client::{
    compress, decompress,
    entries::{Opened, batch_size, contains},
    partition_of,
};
use std::collections::BTreeMap;
use wire::proto::{CompressionType, MessageMetadata};

/// Without what only the broker that has it understands: transactions, and where it was to be replicated.
pub(super) fn elsewhere(metadata: MessageMetadata) -> MessageMetadata {
    MessageMetadata {
        replicated_from: None,
        replicate_to: Vec::new(),
        txnid_least_bits: None,
        txnid_most_bits: None,
        ..metadata
    }
}

/// Which partition, of so many, gets what of an entry as it is stored. Messages go by their keys, all others to partition `turn`; what is not
/// `open` (bit 1 each; empty: all is) is left out. The same entry has the same parts each time.
pub(super) fn parts(opened: Opened, open: &[u64], partitions: usize, turn: usize) -> Vec<(usize, Opened)> {
    let metadata = &opened.metadata;
    let is_plain_batch = metadata.num_messages_in_batch.is_some() && metadata.encryption_keys.is_empty();
    if is_plain_batch
        && (partitions > 1 || !open.is_empty())
        && let Some(parts) = split(&opened, open, partitions, turn)
    {
        return parts;
    }
    // The chunks of a message stay together.
    let key = metadata.partition_key.as_deref().or(metadata.uuid.as_deref());
    vec![(key.map_or(turn, |key| partition_of(key, partitions)), opened)]
}

/// `None`: it is no batch after all, and for whoever reads it to complain about.
fn split(opened: &Opened, open: &[u64], partitions: usize, turn: usize) -> Option<Vec<(usize, Opened)>> {
    let metadata = &opened.metadata;
    let kind = metadata.compression();
    let payload = decompress(kind, &opened.payload, metadata.uncompressed_size() as usize).ok()?;
    let mut messages = wire::batch::messages(payload);
    let mut parts: BTreeMap<usize, (BytesMut, i32)> = BTreeMap::new();
    let count = batch_size(metadata);
    let mut is_whole = true;
    for index in 0..count {
        let before = messages.rest().clone();
        let (single, _) = messages.next()?.ok()?;
        if single.compacted_out() || !is_open(open, index) {
            is_whole = false;
            continue;
        }
        let partition = single.partition_key.as_deref().map_or(turn, |key| partition_of(key, partitions));
        let part = parts.entry(partition).or_default();
        part.0.extend_from_slice(&before[..before.len() - messages.rest().len()]);
        part.1 += 1;
    }
    if is_whole && parts.len() == 1 {
        return parts.into_keys().map(|partition| Some((partition, opened.clone()))).collect();
    }
    let part = |(partition, (plain, count)): (usize, (BytesMut, i32))| {
        let metadata = MessageMetadata {
            num_messages_in_batch: Some(count),
            uncompressed_size: metadata.uncompressed_size.and(u32::try_from(plain.len()).ok()),
            compacted_batch_indexes: Vec::new(),
            ..metadata.clone()
        };
        let payload = match kind {
            CompressionType::None => plain.freeze(),
            kind => compress(kind, &plain).into(),
        };
        (partition, Opened { metadata, payload })
    };
    Some(parts.into_iter().map(part).collect())
}

fn is_open(open: &[u64], index: u32) -> bool {
    open.is_empty() || contains(open, index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{
        Batching, Message, Outgoing,
        entries::{Batcher, Stamp, read},
        hot::Delivery,
    };
    use model::Position;
    use std::collections::BTreeSet;

    fn batch(compression: CompressionType, messages: &[(&str, Option<&str>)]) -> Opened {
        let mut batcher = Batcher::new(Batching::default());
        for (number, (payload, key)) in (10..).zip(messages) {
            let message = Outgoing { key: key.map(str::to_owned), ..Outgoing::new(payload.to_string()) };
            batcher.push(&message.property("of", *payload), number);
        }
        let stamp = Stamp { producer_name: "p".into(), compression, schema_version: Some(vec![7]) };
        let encoded = batcher.take(&stamp, 99).unwrap();
        Opened { metadata: encoded.metadata, payload: encoded.payload }
    }

    fn messages(part: Opened) -> Vec<Message> {
        let delivery = Delivery {
            consumer_id: 0,
            position: Position::new(1, 2),
            partition: -1,
            redelivery_count: 0,
            ack_set: Default::default(),
            consumer_epoch: None,
        };
        let metadata = part.metadata;
        let size = metadata.uncompressed_size() as usize;
        let payload = decompress(metadata.compression(), &part.payload, size).unwrap();
        let mut out = Vec::new();
        read(&"t".into(), &delivery, Opened { metadata, payload }, None, &mut out).unwrap();
        out
    }

    fn texts(part: Opened) -> Vec<String> {
        messages(part).into_iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
    }

    const ALL: [(&str, Option<&str>); 5] =
        [("a1", Some("a")), ("b1", Some("b")), ("-1", None), ("a2", Some("a")), ("b2", Some("b"))];

    #[test]
    fn to_one_partition_an_entry_goes_as_it_is() {
        for kind in [CompressionType::None, CompressionType::Lz4] {
            let entry = batch(kind, &ALL);
            let [(0, whole)] = &parts(entry.clone(), &[], 1, 0)[..] else { panic!("one part") };
            assert_eq!((&whole.payload, &whole.metadata), (&entry.payload, &entry.metadata));
        }
    }

    #[test]
    fn a_batch_is_split_by_keys_and_each_keeps_its_order() {
        for kind in [CompressionType::None, CompressionType::Zstd] {
            // "a" and "b" have neighbouring hashes.
            let split: BTreeMap<_, _> = parts(batch(kind, &ALL), &[], 3, 2).into_iter().collect();
            let (a, b) = (partition_of("a", 3), partition_of("b", 3));
            assert_ne!(a, b);
            let mut expected: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
            for (payload, key) in ALL {
                expected.entry(key.map_or(2, |key| partition_of(key, 3))).or_default().push(payload);
            }
            let found: BTreeMap<_, _> = split.into_iter().map(|(partition, part)| (partition, texts(part))).collect();
            assert_eq!(found.keys().collect::<BTreeSet<_>>(), expected.keys().collect::<BTreeSet<_>>());
            for (partition, payloads) in expected {
                assert_eq!(found[&partition], payloads, "{partition}");
            }
        }
    }

    #[test]
    fn what_a_message_has_it_keeps_when_its_batch_is_split() {
        let split = parts(batch(CompressionType::Snappy, &ALL), &[], 3, 2);
        let part = split.into_iter().find(|(partition, _)| *partition == partition_of("b", 3)).unwrap().1;
        assert_eq!(part.metadata.schema_version.as_deref(), Some(&[7][..]));
        let b1 = messages(part).into_iter().find(|message| &message.payload[..] == b"b1").unwrap();
        assert_eq!((b1.key.as_deref(), b1.sequence_id), (Some("b"), 11));
        assert_eq!(b1.properties, [("of".to_owned(), "b1".to_owned())]);
    }

    #[test]
    fn what_is_acknowledged_already_is_left_out() {
        let split = parts(batch(CompressionType::Lz4, &ALL), &[0b10010], 1, 0);
        let [(0, part)] = &split[..] else { panic!("one part") };
        assert_eq!(texts(part.clone()), ["b1", "b2"]);
        assert!(parts(batch(CompressionType::None, &ALL), &[0], 1, 0).is_empty(), "nothing is left of it");
    }

    #[test]
    fn messages_of_one_partition_are_not_taken_apart() {
        let entry = batch(CompressionType::None, &[("a1", Some("a")), ("a2", Some("a"))]);
        let [(partition, whole)] = &parts(entry.clone(), &[], 3, 0)[..] else { panic!("one part") };
        assert_eq!((*partition, &whole.payload), (partition_of("a", 3), &entry.payload));
    }

    #[test]
    fn what_cannot_be_read_goes_whole_and_chunks_stay_together() {
        let entry = batch(CompressionType::None, &ALL);
        for end in 0..entry.payload.len() {
            let cut = Opened { payload: entry.payload.slice(..end), ..entry.clone() };
            let [(_, whole)] = &parts(cut, &[], 3, 0)[..] else { panic!("cut at {end}") };
            assert_eq!(whole.payload.len(), end);
        }
        let chunk = |chunk_id| {
            let metadata = MessageMetadata {
                uuid: Some("p-7".into()),
                chunk_id: Some(chunk_id),
                num_chunks_from_msg: Some(3),
                ..MessageMetadata::default()
            };
            Opened { metadata, payload: "x".into() }
        };
        let places: BTreeSet<_> = (0..3).map(|n| parts(chunk(n), &[], 5, n as usize)[0].0).collect();
        assert_eq!(places.len(), 1);
    }

    #[test]
    fn an_entry_leaves_its_transaction_behind() {
        let metadata = MessageMetadata {
            txnid_least_bits: Some(1),
            txnid_most_bits: Some(2),
            replicated_from: Some("us".into()),
            replicate_to: vec!["eu".into()],
            event_time: Some(5),
            ..MessageMetadata::default()
        };
        assert_eq!(elsewhere(metadata), MessageMetadata { event_time: Some(5), ..MessageMetadata::default() });
    }
}
