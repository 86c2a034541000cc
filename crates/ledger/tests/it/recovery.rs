//! Single cases of stopping, beside the random ones.

use crate::fixture::{Fixture, cursor, entry, read_all, topic};
use ::model::Position;
use bytes::Bytes;
use ledger::{Error, Read};
use std::{collections::BTreeMap, time::Duration};

#[tokio::test]
async fn a_topic_goes_on_in_the_same_ledger_with_the_next_entry() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let before = o.publish(&mut ledger, &[entry(0, 9), entry(1, 9)]).await;
    drop((ledger, o));
    let mut o = fixture.open().await;
    let mut ledger = o.load("t");
    let after = o.publish(&mut ledger, &[entry(2, 9)]).await;
    assert_eq!(after, [before[1].next()]);
    let data: Vec<_> = read_all(&mut ledger, Position::EARLIEST).await.into_iter().map(|e| e.data).collect();
    assert_eq!(data, [entry(0, 9), entry(1, 9), entry(2, 9)]);
}

#[tokio::test]
async fn only_what_is_confirmed_is_read_or_acknowledged() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    ledger.append(&mut o.batch, entry(0, 9), 1);
    let position = o.commit().await[0];
    ledger.appended(position, entry(0, 9), 1);
    assert!(matches!(ledger.read(Position::EARLIEST, 10, 1000), Read::CaughtUp));
    assert!(!ledger.ack(id, position));
    assert_eq!((ledger.backlog(id), ledger.last_position()), (0, position));
    ledger.confirm(position);
    assert!(matches!(ledger.read(Position::EARLIEST, 10, 1000), Read::Entries(e) if e.len() == 1));
    assert!(ledger.ack(id, position));
    assert_eq!(ledger.mark_delete(id), position);
}

#[tokio::test]
async fn one_commit_over_several_topics_is_there_whole() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledgers = Vec::new();
    for name in ["a", "b", "c"] {
        ledgers.push(o.create(name).await);
    }
    for round in 0..7u64 {
        for ledger in &mut ledgers {
            ledger.append(&mut o.batch, entry(round, 30), 2);
        }
    }
    let positions = o.commit().await;
    assert_eq!(positions.len(), 21);
    drop((ledgers, o));
    let o = fixture.open().await;
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        let mut ledger = o.load(name);
        let read = read_all(&mut ledger, Position::EARLIEST).await;
        let at: Vec<_> = read.iter().map(|e| e.position).collect();
        assert_eq!(at, positions.iter().skip(n).step_by(3).copied().collect::<Vec<_>>());
        assert!(read.iter().all(|e| e.messages == 2));
        assert_eq!(ledger.messages_and_bytes_added(), (14, 210));
    }
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_replay() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let positions = o.publish(&mut ledger, &[entry(0, 9), entry(1, 9), entry(2, 9)]).await;
    ledger.ack(id, positions[1]);
    o.flush(&mut ledger).await;
    drop(ledger);
    o.store.clone().close().await.unwrap();
    drop(o);
    let o = fixture.open().await;
    assert_eq!(o.recovered.records, 0);
    let mut ledger = o.load("t");
    let id = cursor(&ledger, "s").unwrap();
    assert_eq!(ledger.ranges(id), [(positions[0], positions[1])]);
    assert_eq!(ledger.backlog(id), 2);
    assert_eq!(read_all(&mut ledger, Position::EARLIEST).await.len(), 3);
}

#[tokio::test]
async fn an_entry_is_found_by_its_time() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let entries: Vec<Bytes> = (0..23u64).map(|n| message(1000 + 10 * n)).collect();
    let positions = o.publish(&mut ledger, &entries).await;
    for (time, expected) in [(0, 0), (1000, 0), (1001, 1), (1100, 10), (1105, 11), (1220, 22)] {
        assert_eq!(ledger.locate_time(time).run().await.unwrap(), positions[expected], "{time}");
    }
    assert_eq!(ledger.locate_time(1221).run().await.unwrap(), positions[22].next());
}

/// An entry without payload, published at `time`.
fn message(time: u64) -> Bytes {
    let mut metadata = vec![0x0a, 1, b'p', 0x10, 1, 0x18];
    let mut rest = time;
    while rest >= 0x80 {
        metadata.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    metadata.push(rest as u8);
    let mut entry = (metadata.len() as u32).to_be_bytes().to_vec();
    entry.extend_from_slice(&metadata);
    entry.into()
}

#[tokio::test]
async fn positions_step_over_the_ends_of_ledgers() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    assert_eq!(ledger.last_confirmed().entry, -1);
    assert_eq!(ledger.first_position(), ledger.last_confirmed().next());
    let entries: Vec<Bytes> = (0..12).map(|n| entry(n, 9)).collect();
    let p = o.publish(&mut ledger, &entries).await;
    assert_eq!(p.iter().map(|p| p.entry).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
    for pair in p.windows(2) {
        assert_eq!(ledger.next_position(pair[0]), pair[1]);
        assert_eq!(ledger.previous_position(pair[1]), pair[0]);
    }
    assert_eq!(ledger.previous_position(p[0]), p[0].previous());
    assert_eq!(ledger.next_position(p[11]), p[11].next());
    assert_eq!(ledger.next_position(Position::EARLIEST), p[0]);
    let id = o.subscribe(&mut ledger, "s", p[4]).await;
    assert_eq!((ledger.mark_delete(id), ledger.backlog(id)), (p[4], 7));
    assert_eq!(ledger.unacked_between(id, p[0], p[6]), 2);
    assert_eq!(ledger.backlog_bytes(id), 63);
    ledger.ack(id, p[5]);
    assert_eq!(ledger.mark_delete(id), p[5]);
    assert_eq!((ledger.skip_unacked(id, 0), ledger.skip_unacked(id, 5)), (p[5], p[10]));
    ledger.ack(id, p[7]);
    ledger.ack(id, p[8]);
    let skipped = [0, 1, 2, 3, 400].map(|entries| ledger.skip_unacked(id, entries));
    assert_eq!(skipped, [p[5], p[6], p[9], p[10], p[11]]);
    let unacked = [0, 1, 2, 4, 5, u64::MAX].map(|n| ledger.nth_unacked(Some(id), n));
    assert_eq!(unacked, [None, Some(p[6]), Some(p[9]), Some(p[11]), None, None]);
    assert_eq!([1, 12, 13].map(|n| ledger.nth_unacked(None, n)), [Some(p[0]), Some(p[11]), None]);
    assert_eq!(ledger.ledgers().iter().map(|l| l.entries).collect::<Vec<_>>(), [5, 5, 2]);
}

#[tokio::test]
async fn a_batch_waits_while_the_journal_is_full() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let mut published = 0u64;
    // Nobody gives files back here, so it fills up.
    let refused = loop {
        ledger.append(&mut o.batch, entry(published, 8000), 1);
        match o.store.commit(&mut o.batch, &o.listener) {
            Ok(committed) => {
                o.store.wait(committed.lsn).await.unwrap();
                ledger.confirm(committed.positions[0]);
                published += 1;
            }
            Err(error) => break error,
        }
        assert!(published < 1000, "it never fills up");
    };
    assert!(matches!(refused, Error::Journal(journal::Error::Full)), "{refused}");
    assert_eq!(ledger.entries_added(), published);
    assert!(!o.batch.is_empty());
    // Housekeeping makes room: the same batch goes through.
    let positions = o.commit().await;
    assert_eq!(positions.len(), 1);
    ledger.confirm(positions[0]);
    let read = read_all(&mut ledger, Position::EARLIEST).await;
    assert!(read.iter().map(|e| e.data.clone()).eq((0..=published).map(|n| entry(n, 8000))));
}

#[tokio::test]
async fn a_commit_of_many_blocks_is_not_taken_when_only_its_start_has_room() {
    let mut fixture = Fixture::new();
    fixture.config.compact_above_percent = 100;
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let store = o.store.clone();
    let upkeep = tokio::spawn(async move {
        loop {
            // A commit that is taken and never durable would let no checkpoint be written, and so no room be made.
            let _ = store.maintain().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for n in 0..300 {
        let entries = [entry(n, 30 << 10)];
        let published = o.publish(&mut ledger, &entries);
        tokio::time::timeout(Duration::from_secs(20), published).await.unwrap_or_else(|_| panic!("entry {n} waits"));
    }
    upkeep.abort();
    let read = read_all(&mut ledger, Position::EARLIEST).await;
    assert!(read.iter().map(|e| e.data.clone()).eq((0..300).map(|n| entry(n, 30 << 10))));
}

#[tokio::test]
async fn a_checkpoint_has_nothing_that_no_commit_has() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let entries: Vec<Bytes> = (0..12).map(|n| entry(n, 9)).collect();
    let p = o.publish(&mut ledger, &entries).await;
    ledger.ack(id, p[1]);
    ledger.dedup_set(&mut o.batch, "producer", 1);
    o.flush(&mut ledger).await;
    // Acknowledged and not flushed.
    ledger.ack_cumulative(id, p[8]);
    o.store.checkpoint().await.unwrap();
    drop((ledger, o));
    o = fixture.open().await;
    ledger = o.load("t");
    let id = cursor(&ledger, "s").unwrap();
    assert_eq!((ledger.backlog(id), ledger.is_acked(id, p[1])), (11, true));
    // Flushed into a batch that is never committed, beside a message that is not stored either.
    ledger.ack(id, p[0]);
    ledger.append(&mut o.batch, entry(12, 9), 1);
    ledger.dedup_set(&mut o.batch, "producer", 2);
    ledger.flush_acks(&mut o.batch);
    o.store.checkpoint().await.unwrap();
    drop((ledger, o));
    let o = fixture.open().await;
    let ledger = o.load("t");
    let id = cursor(&ledger, "s").unwrap();
    assert_eq!((ledger.backlog(id), ledger.is_acked(id, p[1])), (11, true));
    assert_eq!(ledger.dedup_highest("producer"), Some(1));
    assert_eq!(ledger.last_confirmed(), p[11]);
}

#[tokio::test]
async fn properties_of_a_topic_survive() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    ledger.set_properties(&mut o.batch, [("x".to_owned(), "y".to_owned())].into());
    o.commit().await;
    drop((ledger, o));
    let o = fixture.open().await;
    assert_eq!(o.load("t").properties(), &BTreeMap::from([("x".to_owned(), "y".to_owned())]));
    assert!(o.store.exists(&topic("t")).unwrap());
}

#[tokio::test]
async fn a_flush_that_writes_nothing_leaves_nothing_uncommitted() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let p = o.publish(&mut ledger, &[entry(0, 9), entry(1, 9)]).await;
    // Acknowledged, and taken back by a seek before it was flushed: the topic waited for a commit that never came, and with it
    // every checkpoint.
    ledger.ack(id, p[1]);
    ledger.reset_cursor(&mut o.batch, id, p[0].previous());
    o.commit().await;
    o.flush(&mut ledger).await;
    drop(ledger);
    o.store.checkpoint().await.unwrap();
    assert_eq!(o.store.topics_in_memory(), 0);
    drop(o);
    let o = fixture.open().await;
    assert_eq!(o.recovered.records, 0);
    let ledger = o.load("t");
    assert_eq!(ledger.backlog(cursor(&ledger, "s").unwrap()), 2);
}

#[tokio::test]
async fn many_changes_of_one_topic_in_one_commit_are_all_there() {
    let mut fixture = Fixture::new();
    fixture.config.journal.capacity_bytes = 256 << 20;
    fixture.config.journal.file_bytes = 64 << 20;
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    // More than one record takes.
    for n in 0..40 {
        let properties = BTreeMap::from([("p".to_owned(), n.to_string().repeat(1 << 19))]);
        ledger.open_cursor(Some(&mut o.batch), &n.to_string(), Position::EARLIEST, properties.clone());
        ledger.set_properties(&mut o.batch, properties);
    }
    o.commit().await;
    drop((ledger, o));
    let o = fixture.open().await;
    let ledger = o.load("t");
    assert_eq!(ledger.properties()["p"], "39".repeat(1 << 19));
    for n in 0..40 {
        let id = cursor(&ledger, &n.to_string()).unwrap();
        assert_eq!(ledger.cursor_properties(id)["p"], n.to_string().repeat(1 << 19));
    }
}

/// What it changed in memory would be built on by commits that come after it.
#[tokio::test]
async fn a_commit_that_can_never_be_made_stops_the_store() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    o.publish(&mut ledger, &[entry(0, 9)]).await;
    ledger.ack_cumulative(id, ledger.last_confirmed());
    ledger.flush_acks(&mut o.batch);
    ledger.append(&mut o.batch, vec![0; journal::BODY_BYTES_MAX + 1].into(), 1);
    let refused = o.store.commit(&mut o.batch, &o.listener);
    assert!(matches!(refused, Err(Error::Journal(journal::Error::TooLarge(_)))), "{refused:?}");
    assert!(!o.store.is_healthy());
    ledger.append(&mut o.batch, entry(1, 9), 1);
    let refused = o.store.commit(&mut o.batch, &o.listener);
    assert!(matches!(refused, Err(Error::Journal(journal::Error::Failed(_)))), "{refused:?}");
    drop((ledger, o));
    let o = fixture.open().await;
    let mut ledger = o.load("t");
    assert_eq!(ledger.backlog(id), 1);
    assert_eq!(read_all(&mut ledger, Position::EARLIEST).await.len(), 1);
}
