//! Every store keeps the same promises; the file store keeps them over restarts and damage.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

use bytes::Bytes;
use metastore::{Error, Expect, FileStore, IdBlocks, MemoryStore, Metastore, last_reserved, next_epoch};
use std::{fs, sync::Arc};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn conformance(store: &dyn Metastore) {
    let mut changes = store.watch();
    assert!(store.get("/a").await.unwrap().is_none());
    let first = store.put("/a", bytes("1"), Expect::Absent).await.unwrap();
    assert!(
        matches!(store.put("/a", bytes("2"), Expect::Absent).await, Err(Error::Conflict { found: Some(v), .. }) if v == first)
    );
    let second = store.put("/a", bytes("2"), Expect::Version(first)).await.unwrap();
    assert!(second > first);
    assert!(matches!(store.put("/a", bytes("3"), Expect::Version(first)).await, Err(Error::Conflict { .. })));
    assert!(matches!(store.delete("/a", Expect::Version(first)).await, Err(Error::Conflict { .. })));
    assert_eq!(store.get("/a").await.unwrap(), Some((bytes("2"), second)));
    store.put("/ab", bytes("x"), Expect::Any).await.unwrap();
    store.put("/b", bytes("y"), Expect::Any).await.unwrap();
    let keys: Vec<_> = store.list("/a").await.unwrap().into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, ["/a", "/ab"]);
    store.delete("/a", Expect::Version(second)).await.unwrap();
    store.delete("/a", Expect::Any).await.unwrap();
    assert!(store.get("/a").await.unwrap().is_none());
    let mut seen = Vec::new();
    while let Ok(change) = changes.try_recv() {
        seen.push((change.key, change.value.is_some()));
    }
    let expected = [("/a", true), ("/a", true), ("/ab", true), ("/b", true), ("/a", false)];
    assert_eq!(seen, expected.map(|(key, set)| (key.to_owned(), set)));
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    conformance(&MemoryStore::new()).await;
}

#[tokio::test]
async fn file_keeps_the_promises_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    conformance(&store).await;
    let before = store.list("").await.unwrap();
    drop(store);
    let store = FileStore::open(dir.path()).unwrap();
    assert_eq!(store.list("").await.unwrap(), before);
    let newer = store.put("/c", bytes("z"), Expect::Absent).await.unwrap();
    assert!(before.iter().all(|(.., version)| *version < newer));
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = FileStore::open(dir.path()).unwrap();
    assert!(matches!(FileStore::open(dir.path()), Err(Error::Locked { .. })));
}

#[tokio::test]
async fn a_log_cut_anywhere_opens_with_what_was_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.log");
    let mut ends = Vec::new();
    {
        let store = FileStore::open(dir.path()).unwrap();
        for n in 0..8 {
            ends.push(fs::metadata(&path).unwrap().len() as usize);
            store.put(&format!("/{n}"), bytes("value"), Expect::Absent).await.unwrap();
        }
    }
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let expected = ends[1..].iter().filter(|&&end| end <= cut).count();
        assert_eq!(store.list("").await.unwrap().len(), expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_reported_or_cuts_the_last_record_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.log");
    {
        let store = FileStore::open(dir.path()).unwrap();
        for n in 0..5 {
            store.put(&format!("/{n}"), bytes("value"), Expect::Absent).await.unwrap();
        }
    }
    let whole = fs::read(&path).unwrap();
    let last = whole.len() - (8 + 3 + 2 + 5);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        match FileStore::open(dir.path()) {
            Err(Error::Corrupt { .. }) => assert!(at < last, "byte {at}"),
            Ok(store) => {
                assert!(at >= last, "damage at byte {at} went unnoticed");
                assert_eq!(store.list("").await.unwrap().len(), 4);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_long_history_is_rewritten_and_keeps_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.log");
    let store = FileStore::open(dir.path()).unwrap();
    let kept = store.put("/kept", bytes("k"), Expect::Absent).await.unwrap();
    let value = Bytes::from(vec![7; 20_000]);
    let mut last = kept;
    for _ in 0..60 {
        last = store.put("/often", value.clone(), Expect::Any).await.unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() < 60 * 20_000 / 2);
    drop(store);
    let store = FileStore::open(dir.path()).unwrap();
    assert_eq!(store.get("/kept").await.unwrap(), Some((bytes("k"), kept)));
    assert_eq!(store.get("/often").await.unwrap(), Some((value, last)));
    assert!(store.put("/new", bytes("n"), Expect::Absent).await.unwrap() > last);
}

#[tokio::test]
async fn ids_rise_and_are_never_given_twice() {
    let store: Arc<dyn Metastore> = Arc::new(MemoryStore::new());
    let mut seen = Vec::new();
    for n in 0..3 {
        assert_eq!(last_reserved(&*store, "/ids").await.unwrap(), 30 * n);
        // A start of its own each time: what was reserved and not used is skipped.
        let ids = IdBlocks::open(store.clone(), "/ids", 10).await.unwrap();
        for _ in 0..25 {
            seen.push(ids.next().await.unwrap());
        }
    }
    assert_eq!(seen[0], 1);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert_eq!(next_epoch(&*store, "/epoch").await.unwrap(), 1);
    assert_eq!(next_epoch(&*store, "/epoch").await.unwrap(), 2);
}
