//! What waits in a batch when the store stops never happened: whatever it lets go is still there, to be read.

use crate::fixture::{Fixture, Opened, cursor, entry, read_all, topic};
use ::model::Position;
use ledger::{ManagedLedger, Retention};
use std::{collections::BTreeMap, time::Duration};

const NOTHING: Retention = Retention { time: Some(Duration::ZERO), bytes: Some(0) };
const ALL: Retention = Retention { time: None, bytes: None };

/// Topic `t` with `count` entries of `bytes` bytes and a subscription, all of it in the catalog.
async fn filled(o: &mut Opened, count: u64, bytes: usize) -> ManagedLedger {
    let mut ledger = o.create("t").await;
    ledger.trim(&mut o.batch, ALL);
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    publish(o, &mut ledger, 0..count, bytes).await;
    o.store.checkpoint().await.unwrap();
    ledger
}

async fn publish(o: &mut Opened, ledger: &mut ManagedLedger, numbers: std::ops::Range<u64>, bytes: usize) {
    for n in numbers {
        o.publish(ledger, &[entry(n, bytes)]).await;
    }
}

/// Acknowledges everything, durably.
async fn consume(o: &mut Opened, ledger: &mut ManagedLedger) {
    let id = cursor(ledger, "s").unwrap();
    ledger.ack_cumulative(id, ledger.last_confirmed());
    o.flush(ledger).await;
}

#[track_caller]
fn check(read: &[ledger::Entry], count: u64) {
    let numbers = read.iter().map(|e| u64::from_le_bytes(e.data[..8].try_into().unwrap()));
    assert_eq!(numbers.collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
}

/// Stops without the batch, and reads the topic from its beginning.
async fn read_after_stop(fixture: &mut Fixture, o: Opened, ledger: ManagedLedger) -> Vec<ledger::Entry> {
    drop((ledger, o));
    let o = fixture.open().await;
    read_all(&mut o.load("t"), Position::EARLIEST).await
}

#[tokio::test]
async fn a_trim_gives_no_journal_file_back() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = filled(&mut o, 60, 4096).await;
    consume(&mut o, &mut ledger).await;
    o.store.checkpoint().await.unwrap();
    assert!(ledger.trim(&mut o.batch, NOTHING) > 0);
    fixture.clock.advance(Duration::from_secs(61));
    o.store.maintain().await.unwrap();
    check(&read_after_stop(&mut fixture, o, ledger).await, 60);
}

#[tokio::test]
async fn a_deleted_cursor_gives_no_journal_file_back() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = filled(&mut o, 60, 4096).await;
    ledger.trim(&mut o.batch, NOTHING);
    o.commit().await;
    o.store.checkpoint().await.unwrap();
    let id = cursor(&ledger, "s").unwrap();
    ledger.delete_cursor(&mut o.batch, id);
    fixture.clock.advance(Duration::from_secs(61));
    o.store.maintain().await.unwrap();
    check(&read_after_stop(&mut fixture, o, ledger).await, 60);
}

/// The index beside a full file is all that a start looks at when the catalog has its commits.
#[tokio::test]
async fn a_trim_is_not_in_the_index_of_a_journal_file() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut other = o.create("other").await;
    let mut ledger = filled(&mut o, 7, 100).await;
    consume(&mut o, &mut ledger).await;
    o.store.checkpoint().await.unwrap();
    let mut waiting = o.store.batch();
    assert!(ledger.trim(&mut waiting, NOTHING) > 0);
    publish(&mut o, &mut other, 0..30, 4096).await;
    let index = fixture.dir.path().join("journal/0000000001.index");
    let written = async {
        while !index.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.expect("a full file has an index");
    o.store.checkpoint().await.unwrap();
    drop(other);
    check(&read_after_stop(&mut fixture, o, ledger).await, 7);
}

/// A segment of which little is wanted is written again without the rest, but rows still name the old one.
#[tokio::test]
async fn a_segment_stays_while_the_row_that_names_it_waits() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let mut gone = o.create("gone").await;
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    o.subscribe(&mut gone, "s", Position::EARLIEST).await;
    for n in 0..60 {
        publish(&mut o, &mut ledger, n..n + 1, 4096).await;
        publish(&mut o, &mut gone, n * 9..n * 9 + 9, 4096).await;
    }
    o.store.maintain().await.unwrap();
    assert!(ledger.ledgers()[0].compacted);
    drop(gone);
    o.store.delete(&mut o.batch, &topic("gone")).unwrap();
    o.commit().await;
    ledger.set_properties(&mut o.batch, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    fixture.clock.advance(Duration::from_secs(3600));
    o.store.maintain().await.unwrap();
    check(&read_after_stop(&mut fixture, o, ledger).await, 60);
}

/// Of a backlog the beginning is in segments, which stay for a while; what is consumed behind it goes with its journal file.
#[tokio::test]
async fn what_is_stored_has_no_gap() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    ledger.trim(&mut o.batch, NOTHING);
    publish(&mut o, &mut ledger, 0..600, 4096).await;
    let last = ledger.last_confirmed();
    ledger.ack_cumulative(id, Position::new(last.ledger, last.entry - 2));
    o.flush(&mut ledger).await;
    fixture.clock.advance(Duration::from_secs(61));
    o.store.maintain().await.unwrap();
    for stop in [false, true] {
        if stop {
            drop((ledger, o));
            o = fixture.open().await;
            ledger = o.load("t");
        }
        let mut expected = ledger.first_position();
        assert!(expected > Position::new(ledger.ledgers()[0].id.0, 0), "nothing was given up");
        for entry in read_all(&mut ledger, Position::EARLIEST).await {
            assert_eq!(entry.position, expected);
            expected = ledger.next_position(expected);
        }
        assert_eq!(expected, last.next());
        assert_eq!(ledger.backlog(id), 2);
    }
}
