//! Tables: rows and counters that change in the commits of topics.

use crate::fixture::{Fixture, Opened};
use bytes::Bytes;
use ledger::{Error, KEY_BYTES_MAX, Table, VALUE_BYTES_MAX};
use proptest::prelude::*;
use std::{collections::BTreeMap, time::Duration};

fn rows(table: &Table) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = table.scan(b"", None, usize::MAX).unwrap();
    all.iter().map(|(key, value)| (text(key), text(&value.bytes))).collect()
}

fn counter(table: &Table, key: &str) -> Option<i64> {
    table.get(key.as_bytes()).unwrap().and_then(|value| value.counter())
}

async fn stop(fixture: &mut Fixture, o: Opened) -> Opened {
    drop(o);
    fixture.open().await
}

#[tokio::test]
async fn rows_are_seen_when_they_are_committed_and_are_there_after_a_stop() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("public/default/f").unwrap();
    table.put(&mut o.batch, "b", "2").unwrap();
    table.put(&mut o.batch, "a", "1").unwrap();
    table.delete(&mut o.batch, "b").unwrap();
    table.put(&mut o.batch, "c", "").unwrap();
    assert_eq!(rows(&table), []);
    o.commit().await;
    drop(table);
    let expected = [("a".to_owned(), "1".to_owned()), ("c".to_owned(), String::new())];
    for round in 0..4 {
        let table = o.store.table("public/default/f").unwrap();
        assert_eq!(rows(&table), expected);
        assert_eq!(table.len().unwrap(), 2);
        assert_eq!(table.get(b"b").unwrap(), None);
        assert!(!table.get(b"a").unwrap().unwrap().is_counter);
        drop(table);
        if round % 2 == 0 {
            o = stop(&mut fixture, o).await;
        } else {
            o.store.checkpoint().await.unwrap();
        }
    }
    assert_eq!(o.recovered.records, 0, "a checkpoint has the rows");
}

#[tokio::test]
async fn a_version_rises_with_each_change_also_over_a_deletion() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("t").unwrap();
    let mut last = 0;
    for round in 0..6 {
        if round == 3 {
            table.delete(&mut o.batch, "k").unwrap();
            o.commit().await;
            o.store.checkpoint().await.unwrap();
        }
        table.put(&mut o.batch, "k", "same").unwrap();
        o.commit().await;
        let version = table.get(b"k").unwrap().unwrap().version;
        assert!(version > last);
        last = version;
    }
}

#[tokio::test]
async fn a_counter_is_eight_bytes_and_adds_what_is_there() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("t").unwrap();
    table.add(&mut o.batch, "n", 5).unwrap();
    table.add(&mut o.batch, "n", -7).unwrap();
    table.put(&mut o.batch, "put", 40i64.to_be_bytes()).unwrap();
    table.put(&mut o.batch, "text", "forty").unwrap();
    o.commit().await;
    assert_eq!(table.get(b"n").unwrap().unwrap().bytes, (-2i64).to_be_bytes()[..]);
    o.store.checkpoint().await.unwrap();
    // From the row, which is not in memory any more.
    table.add(&mut o.batch, "n", i64::MAX).unwrap();
    table.add(&mut o.batch, "put", 2).unwrap();
    assert!(matches!(table.add(&mut o.batch, "text", 1), Err(Error::NotCounter)));
    o.commit().await;
    drop(table);
    for _ in 0..2 {
        let table = o.store.table("t").unwrap();
        assert_eq!((counter(&table, "n"), counter(&table, "put")), (Some(i64::MAX - 2), Some(42)));
        assert!(table.get(b"put").unwrap().unwrap().is_counter);
        assert_eq!(counter(&table, "text"), None);
        drop(table);
        o = stop(&mut fixture, o).await;
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_changes_nothing() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("t").unwrap();
    let (key, value) = (vec![1; KEY_BYTES_MAX + 1], vec![1; VALUE_BYTES_MAX + 1]);
    assert!(matches!(table.put(&mut o.batch, &key, ""), Err(Error::TableKey(_))));
    assert!(matches!(table.add(&mut o.batch, &key, 1), Err(Error::TableKey(_))));
    assert!(matches!(table.delete(&mut o.batch, &key), Err(Error::TableKey(_))));
    assert!(matches!(table.put(&mut o.batch, "k", &value), Err(Error::TableValue(_))));
    assert!(o.batch.is_empty());
    for name in ["", "a\0b", "a\nb", &"x".repeat(2000)] {
        assert!(matches!(o.store.table(name), Err(Error::TableName(_))), "{name:?}");
    }
    table.put(&mut o.batch, &key[1..], "longest").unwrap();
    o.commit().await;
    o.store.checkpoint().await.unwrap();
    assert_eq!(table.get(&key[1..]).unwrap().unwrap().bytes, "longest");
}

#[tokio::test]
async fn a_scan_goes_on_where_the_last_one_ended() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("t").unwrap();
    o.store.table("s").unwrap().put(&mut o.batch, "zz", "of another table").unwrap();
    o.store.table("t2").unwrap().put(&mut o.batch, "a", "of another table").unwrap();
    for n in 0..700 {
        table.put(&mut o.batch, format!("k{n:03}"), n.to_string()).unwrap();
    }
    table.put(&mut o.batch, "l", "behind").unwrap();
    o.commit().await;
    o.store.checkpoint().await.unwrap();
    // Some rows change in memory: every third is gone, and there are new ones.
    for n in (0..700).step_by(3) {
        table.delete(&mut o.batch, format!("k{n:03}")).unwrap();
        table.put(&mut o.batch, format!("k{n:03}+"), "new").unwrap();
    }
    o.commit().await;
    let mut keys: Vec<String> = (0..700).map(|n| format!("k{n:03}{}", if n % 3 == 0 { "+" } else { "" })).collect();
    keys.sort();
    for limit in [1, 7, 300, 10_000] {
        let mut found: Vec<String> = Vec::new();
        while let page = table.scan(b"k", found.last().map(String::as_bytes), limit).unwrap()
            && !page.is_empty()
        {
            assert!(page.len() <= limit);
            found.extend(page.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()));
        }
        assert_eq!(found, keys);
    }
    assert_eq!(table.len().unwrap(), 701);
    assert_eq!(table.scan(b"", None, 0).unwrap(), []);
}

#[tokio::test]
async fn a_deleted_table_is_empty_and_its_name_free() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    for (n, checkpoint) in [false, true, true, false].into_iter().enumerate() {
        let table = o.store.table("public/default/f").unwrap();
        table.put(&mut o.batch, "old", "1").unwrap();
        table.add(&mut o.batch, "count", 1).unwrap();
        o.store.table("public/default/g").unwrap().put(&mut o.batch, "x", "y").unwrap();
        o.commit().await;
        if checkpoint {
            o.store.checkpoint().await.unwrap();
        }
        assert_eq!(o.store.tables("public/default/").unwrap(), ["public/default/f", "public/default/g"]);
        // An addition that waits in the same batch comes after.
        o.store.delete_table(&mut o.batch, "public/default/f").unwrap();
        table.add(&mut o.batch, "count", 3).unwrap();
        o.commit().await;
        assert_eq!(table.get(b"old").unwrap(), None);
        assert_eq!(counter(&table, "count"), Some(3));
        drop(table);
        if n % 2 == 1 {
            o = stop(&mut fixture, o).await;
        }
        let table = o.store.table("public/default/f").unwrap();
        assert_eq!((table.len().unwrap(), counter(&table, "count")), (1, Some(3)));
        o.store.delete_table(&mut o.batch, "public/default/f").unwrap();
        o.commit().await;
        o.store.checkpoint().await.unwrap();
        assert_eq!(o.store.tables("").unwrap(), ["public/default/g"]);
    }
}

#[tokio::test]
async fn tables_do_not_keep_journal_files() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("t").unwrap();
    // Four times what the journal holds, over few rows.
    for n in 0..1000u32 {
        table.put(&mut o.batch, format!("k{}", n % 10), vec![n as u8; 4000]).unwrap();
        table.add(&mut o.batch, "n", 1).unwrap();
        o.commit().await;
    }
    fixture.clock.advance(Duration::from_secs(61));
    o.store.maintain().await.unwrap();
    assert!(o.store.journal_stats().disk_bytes <= 1 << 20);
    drop(table);
    let o = stop(&mut fixture, o).await;
    let table = o.store.table("t").unwrap();
    assert_eq!((table.len().unwrap(), counter(&table, "n")), (11, Some(1000)));
    assert_eq!(table.get(b"k9").unwrap().unwrap().bytes, vec![999u32 as u8; 4000]);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Add(u8, i64),
    Clear,
    Commit,
    Checkpoint,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..6u8;
    let step = prop_oneof![
        6 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => key.clone().prop_map(Step::Delete),
        8 => (10..14u8, -5..50i64).prop_map(|(key, delta)| Step::Add(key, delta)),
        2 => (10..14u8).prop_map(Step::Delete),
        1 => Just(Step::Clear),
        8 => Just(Step::Commit),
        3 => Just(Step::Checkpoint),
        2 => Just(Step::Stop),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What was put into a batch and not committed at a stop never was; all else is as a map would have it.
    #[test]
    fn a_table_is_the_map_that_was_committed(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new();
            let mut o = fixture.open().await;
            let mut table = o.store.table("t").unwrap();
            let mut committed: BTreeMap<Vec<u8>, (Bytes, bool)> = BTreeMap::new();
            let mut batched = committed.clone();
            for step in steps.into_iter().chain([Step::Commit, Step::Stop]) {
                match step {
                    Step::Put(key, value) => {
                        table.put(&mut o.batch, [key], [value]).unwrap();
                        batched.insert(vec![key], (Bytes::copy_from_slice(&[value]), false));
                    }
                    Step::Delete(key) => {
                        table.delete(&mut o.batch, [key]).unwrap();
                        batched.remove(&[key][..]);
                    }
                    Step::Add(key, delta) => {
                        table.add(&mut o.batch, [key], delta).unwrap();
                        let before = batched.get(&[key][..]).map_or(0, |(b, _)| i64::from_be_bytes(b[..].try_into().unwrap()));
                        batched.insert(vec![key], (Bytes::copy_from_slice(&(before + delta).to_be_bytes()), true));
                    }
                    Step::Clear => {
                        table.clear(&mut o.batch);
                        batched.clear();
                    }
                    Step::Commit => {
                        o.commit().await;
                        committed = batched.clone();
                    }
                    Step::Checkpoint => o.store.checkpoint().await.unwrap(),
                    Step::Stop => {
                        drop((table, o));
                        o = fixture.open().await;
                        table = o.store.table("t").unwrap();
                        batched = committed.clone();
                    }
                }
                let rows = table.scan(b"", None, usize::MAX).unwrap();
                let rows: BTreeMap<_, _> = rows.into_iter().map(|(key, v)| (key.to_vec(), (v.bytes, v.is_counter))).collect();
                assert_eq!(rows, committed);
                for key in (0..6u8).chain(10..14) {
                    let value = table.get(&[key]).unwrap().map(|v| (v.bytes, v.is_counter));
                    assert_eq!(value.as_ref(), committed.get(&[key][..]));
                }
            }
        });
    }
}
