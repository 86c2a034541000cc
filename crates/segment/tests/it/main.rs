//! What goes in comes out, and damage is noticed.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

use bytes::Bytes;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use proptest::prelude::*;
use segment::{Error, SegmentId, Store};
use std::{collections::BTreeMap, sync::Arc};

type Model = BTreeMap<(u64, u64), (u32, Bytes)>;

fn sample() -> Model {
    let mut model = Model::new();
    for ledger in [3, 7, 8] {
        for entry in (ledger..ledger + 40).filter(|e| e % 5 != 0) {
            let bytes = Bytes::from(vec![(entry % 251) as u8; (entry * 977 % 20_000) as usize]);
            model.insert((ledger, entry), (entry as u32, bytes));
        }
    }
    model
}

async fn write(store: &Store, id: SegmentId, model: &Model) -> segment::Summary {
    let mut writer = store.writer(id).await.unwrap();
    for ((ledger, entry), (messages, bytes)) in model {
        writer.add(*ledger, *entry, *messages, bytes).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read_all(segment: &segment::Segment, max_entries: usize, max_bytes: usize) -> segment::Result<Model> {
    let mut model = Model::new();
    for range in segment.ranges().collect::<Vec<_>>() {
        let mut from = range.first;
        loop {
            let entries = segment.read(range.ledger, from, max_entries, max_bytes).await?;
            let Some((last, ..)) = entries.last() else { break };
            from = last + 1;
            model
                .extend(entries.into_iter().map(|(entry, messages, bytes)| ((range.ledger, entry), (messages, bytes))));
        }
    }
    Ok(model)
}

#[tokio::test]
async fn a_directory_keeps_segments_and_shows_only_whole_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    let model = sample();
    let summary = write(&store, SegmentId(9), &model).await;
    assert_eq!(summary.ledgers.len(), 3);
    assert_eq!(summary.ledgers.iter().map(|l| l.entries).sum::<u64>(), model.len() as u64);
    let mut unfinished = store.writer(SegmentId(10)).await.unwrap();
    unfinished.add(1, 1, 1, &Bytes::from_static(b"x")).await.unwrap();
    drop(unfinished);
    // A process that is killed while it writes leaves a file behind.
    std::fs::write(dir.path().join("000000000000000b.seg#1"), b"half").unwrap();
    let store = Store::local(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(store.list().await.unwrap(), [SegmentId(9)]);
    let segment = store.open(SegmentId(9)).await.unwrap();
    assert_eq!(segment.bytes(), summary.bytes);
    assert_eq!(read_all(&segment, 1000, 1 << 20).await.unwrap(), model);
    assert!(segment.read(4, 0, 10, 1000).await.unwrap().is_empty());
    store.delete(SegmentId(9)).await.unwrap();
    store.delete(SegmentId(9)).await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn entries_out_of_order_are_refused() {
    let store = Store::new(Arc::new(InMemory::new()), "segments");
    let mut writer = store.writer(SegmentId(1)).await.unwrap();
    let x = Bytes::from_static(b"x");
    writer.add(2, 5, 1, &x).await.unwrap();
    for (ledger, entry) in [(2, 5), (2, 4), (1, 9)] {
        assert!(matches!(writer.add(ledger, entry, 1, &x).await, Err(Error::Unsorted { .. })));
    }
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_or_harmless() {
    let objects = Arc::new(InMemory::new());
    let store = Store::new(objects.clone(), "");
    let mut model = sample();
    model.retain(|(ledger, entry), _| *ledger == 3 && *entry < 12);
    for (_, bytes) in model.values_mut() {
        bytes.truncate(40);
    }
    write(&store, SegmentId(1), &model).await;
    let path = Path::from("0000000000000001.seg");
    let whole = objects.get(&path).await.unwrap().bytes().await.unwrap();
    let mut errors = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1 << (at % 8);
        objects.put(&path, damaged.into()).await.unwrap();
        match store.open(SegmentId(1)).await {
            Err(Error::Corrupt { .. }) => errors += 1,
            Err(other) => panic!("{other}"),
            Ok(segment) => match read_all(&segment, 100, 1 << 20).await {
                Ok(read) => assert_eq!(read, model, "byte {at}"),
                Err(Error::Corrupt { .. }) => errors += 1,
                Err(other) => panic!("{other}"),
            },
        }
    }
    assert_eq!(errors, whole.len(), "every byte counts");
    for cut in 0..whole.len() {
        objects.put(&path, whole.slice(..cut).into()).await.unwrap();
        assert!(store.open(SegmentId(1)).await.is_err(), "cut at {cut}");
    }
}

#[tokio::test]
async fn what_is_before_and_behind_a_damaged_block_is_read() {
    let objects = Arc::new(InMemory::new());
    let store = Store::new(objects.clone(), "");
    let entry = |n: u64| ((1, n), (1, Bytes::from(vec![n as u8; 100 << 10])));
    let model: Model = (0..20).map(entry).collect();
    write(&store, SegmentId(1), &model).await;
    let path = Path::from("0000000000000001.seg");
    let mut bytes = objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[1 << 20] ^= 1;
    objects.put(&path, bytes.into()).await.unwrap();
    let segment = store.open(SegmentId(1)).await.unwrap();
    let before = segment.read(1, 0, 100, 10 << 20).await.unwrap();
    assert_eq!(before.len(), 9);
    assert!(segment.read(1, 9, 100, 10 << 20).await.unwrap_err().is_damage());
    assert_eq!(segment.next_block(1, 9), Some(12));
    assert_eq!(segment.read(1, 12, 100, 10 << 20).await.unwrap().len(), 8);
    assert_eq!(segment.next_block(1, 19), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_entries_come_back(
        model in proptest::collection::btree_map((0u64..4, 0u64..500), (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..3000).prop_map(Bytes::from)), 0..200),
        max_entries in 1usize..50,
        max_bytes in 1usize..400_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = Store::new(Arc::new(InMemory::new()), "a/b");
            write(&store, SegmentId(u64::MAX), &model).await;
            let segment = store.open(SegmentId(u64::MAX)).await.unwrap();
            assert_eq!(read_all(&segment, max_entries, max_bytes).await.unwrap(), model);
        });
    }
}
