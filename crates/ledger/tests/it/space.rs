//! Space comes back: from what is consumed with its journal file, from what is kept by way of segments.

use crate::fixture::{Fixture, Opened, cursor, entry, read_all, topic};
use ::model::Position;
use ledger::{ManagedLedger, Retention};
use std::{path::Path, time::Duration};

const NOTHING: Retention = Retention { time: Some(Duration::ZERO), bytes: Some(0) };
const ALL: Retention = Retention { time: None, bytes: None };

fn files(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

/// Publishes `count` entries of 4 KiB, numbered from `from`.
async fn publish(o: &mut Opened, ledger: &mut ManagedLedger, from: u64, count: u64) -> Vec<Position> {
    let mut positions = Vec::new();
    for n in from..from + count {
        positions.extend(o.publish(ledger, &[entry(n, 4096)]).await);
    }
    positions
}

#[tokio::test]
async fn what_is_consumed_is_never_written_twice() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let mut oldest = 0;
    for round in 0..20 {
        let positions = publish(&mut o, &mut ledger, round * 20, 20).await;
        for position in positions {
            assert!(ledger.ack(id, position));
        }
        ledger.trim(&mut o.batch, NOTHING);
        o.flush(&mut ledger).await;
        fixture.clock.advance(Duration::from_secs(61));
        o.store.maintain().await.unwrap();
        oldest = ledger.ledgers()[0].entries;
    }
    assert!(oldest > 0);
    let stats = o.store.journal_stats();
    assert!(stats.disk_bytes <= 512 << 10, "{} bytes of journal for 1.6 MB consumed", stats.disk_bytes);
    assert_eq!(files(&fixture.dir.path().join("segments")), 0);
    assert!(ledger.storage_bytes() < 200_000, "{}", ledger.storage_bytes());
}

#[tokio::test]
async fn a_busy_journal_uses_its_files_again_and_a_quiet_one_gives_them_back() {
    const FILE: u64 = 64 << 10;
    let mut fixture = Fixture::new();
    fixture.config.journal.capacity_bytes = 64 * FILE;
    fixture.config.checkpoint_bytes = 10 * FILE;
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    for round in 0..3 {
        publish(&mut o, &mut ledger, round * 240, 240).await;
        ledger.trim(&mut o.batch, NOTHING);
        o.flush(&mut ledger).await;
        o.store.maintain().await.unwrap();
    }
    let busy = o.store.journal_stats().disk_bytes;
    assert!(busy >= 9 * FILE, "{busy}: eight files wait to be used again");
    for _ in 0..2 {
        fixture.clock.advance(Duration::from_secs(61));
        o.store.maintain().await.unwrap();
    }
    let quiet = o.store.journal_stats().disk_bytes;
    assert!(quiet <= 4 * FILE, "{quiet}");
    assert_eq!(files(&fixture.dir.path().join("journal")) / FILE, quiet / FILE);
}

#[tokio::test]
async fn a_backlog_larger_than_the_journal_moves_to_segments_and_stays_readable() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    let id = o.subscribe(&mut ledger, "slow", Position::EARLIEST).await;
    ledger.trim(&mut o.batch, NOTHING);
    let positions = publish(&mut o, &mut ledger, 0, 600).await;
    o.store.maintain().await.unwrap();
    assert!(ledger.ledgers().iter().any(|l| l.compacted));
    assert!(o.store.journal_stats().disk_bytes <= 1 << 20);
    let segments = fixture.dir.path().join("segments");
    assert!(files(&segments) > 1 << 20, "{}", files(&segments));

    for stop in [false, true] {
        if stop {
            drop((ledger, o));
            o = fixture.open().await;
            ledger = o.load("t");
        }
        let read = read_all(&mut ledger, Position::EARLIEST).await;
        assert!(read.iter().map(|e| e.data.clone()).eq((0..600).map(|n| entry(n, 4096))));
        assert!(read.iter().map(|e| e.position).eq(positions.iter().copied()));
    }

    // Consumed at last: all of it goes.
    let id = cursor(&ledger, "slow").unwrap_or(id);
    assert_eq!(ledger.ack_cumulative(id, positions[599]), 600);
    o.flush(&mut ledger).await;
    assert!(ledger.trim(&mut o.batch, NOTHING) > 2_000_000);
    o.flush(&mut ledger).await;
    fixture.clock.advance(Duration::from_secs(3600));
    o.store.maintain().await.unwrap();
    assert_eq!(files(&segments), 0);
}

#[tokio::test]
async fn what_is_retained_is_kept_though_consumed() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    ledger.trim(&mut o.batch, ALL);
    publish(&mut o, &mut ledger, 0, 400).await;
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_secs(3600));
        ledger.trim(&mut o.batch, ALL);
        o.flush(&mut ledger).await;
        o.store.maintain().await.unwrap();
    }
    assert_eq!(read_all(&mut ledger, Position::EARLIEST).await.len(), 400);
    // By size: whole ledgers of five entries, the last 100 KiB or less.
    let freed = ledger.trim(&mut o.batch, Retention { time: None, bytes: Some(100 << 10) });
    o.flush(&mut ledger).await;
    assert!(freed > 0);
    let kept = read_all(&mut ledger, Position::EARLIEST).await;
    assert!((20..=25).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap().data, entry(399, 4096));
    // By time.
    ledger.trim(&mut o.batch, Retention { time: Some(Duration::from_secs(4 * 3600)), bytes: None });
    assert_eq!(read_all(&mut ledger, Position::EARLIEST).await.len(), kept.len());
    ledger.trim(&mut o.batch, Retention { time: Some(Duration::from_secs(60)), bytes: None });
    o.flush(&mut ledger).await;
    assert!(read_all(&mut ledger, Position::EARLIEST).await.len() <= 5);
}

/// Who reads without having subscribed finds what came since the ledger was opened; how much that may be has its bounds.
#[tokio::test]
async fn what_nobody_subscribed_to_is_kept_while_its_ledger_is_open() {
    let mut fixture = Fixture::new();
    fixture.config.max_entries_per_ledger = 100_000;
    fixture.config.journal.capacity_bytes = 16 << 20;
    fixture.config.journal.file_bytes = 256 << 10;
    let segments = fixture.dir.path().join("segments");
    let mut o = fixture.open().await;
    let mut few = o.create("few").await;
    few.trim(&mut o.batch, NOTHING);
    publish(&mut o, &mut few, 0, 25).await;
    let mut hose = o.create("hose").await;
    hose.trim(&mut o.batch, NOTHING);
    // Three times what the journal may take.
    let large: Vec<_> = (0..128).map(|n| entry(n, 4096)).collect();
    for _ in 0..24 {
        for _ in 0..4 {
            o.publish(&mut hose, &large).await;
        }
        fixture.clock.advance(Duration::from_secs(61));
        o.store.maintain().await.unwrap();
        let bytes = o.store.journal_stats().disk_bytes;
        assert!(bytes <= 5 << 20, "{bytes}: an eighth of the journal, and what came since");
    }
    assert!(few.ledgers()[0].compacted && !hose.ledgers()[0].compacted);
    assert!((100 << 10..200 << 10).contains(&files(&segments)), "{}", files(&segments));
    for stop in [false, true] {
        if stop {
            drop((few, hose, o));
            o = fixture.open().await;
            (few, hose) = (o.load("few"), o.load("hose"));
        }
        let read = read_all(&mut few, Position::EARLIEST).await;
        assert!(read.iter().map(|e| e.data.clone()).eq((0..25).map(|n| entry(n, 4096))));
        let kept = read_all(&mut hose, Position::EARLIEST).await.len();
        assert!((300..1500).contains(&kept), "{kept}");
    }
    // When Pulsar would have closed the ledger it goes, though nothing more came.
    fixture.clock.advance(Duration::from_secs(5 * 3600));
    o.store.maintain().await.unwrap();
    assert_eq!(files(&segments), 0);
    assert_eq!(read_all(&mut few, Position::EARLIEST).await, []);
}

#[tokio::test]
async fn a_deleted_topic_gives_its_segments_back() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut keep = o.create("keep").await;
    let mut gone = o.create("gone").await;
    o.subscribe(&mut keep, "s", Position::EARLIEST).await;
    o.subscribe(&mut gone, "s", Position::EARLIEST).await;
    for n in 0..60 {
        publish(&mut o, &mut keep, n, 1).await;
        publish(&mut o, &mut gone, n * 9, 9).await;
    }
    o.store.maintain().await.unwrap();
    let segments = fixture.dir.path().join("segments");
    let before = files(&segments);
    assert!(before > 1 << 20, "{before}");
    drop(gone);
    o.store.delete(&mut o.batch, &topic("gone")).unwrap();
    o.commit().await;
    fixture.clock.advance(Duration::from_secs(3600));
    o.store.maintain().await.unwrap();
    assert!(files(&segments) < before / 4, "{} of {before}", files(&segments));
    for stop in [false, true] {
        if stop {
            drop((keep, o));
            o = fixture.open().await;
            keep = o.load("keep");
        }
        let read = read_all(&mut keep, Position::EARLIEST).await;
        assert!(read.iter().map(|e| e.data.clone()).eq((0..60).map(|n| entry(n, 4096))));
    }
}

/// Commits come faster than the disk takes them, until one is refused. What was taken before becomes durable without any help, so a
/// checkpoint can be written and room be made.
#[tokio::test]
async fn what_the_journal_has_taken_it_has_room_for() {
    for kib in [2, 4, 8, 16, 40] {
        let mut fixture = Fixture::new();
        let mut o = fixture.open().await;
        let mut ledger = o.create("t").await;
        o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
        let mut count = 0;
        loop {
            ledger.append(&mut o.batch, entry(count, kib << 10), 1);
            match o.store.commit(&mut o.batch, &o.listener) {
                Ok(_) => count += 1,
                Err(error) if error.is_full() => break,
                Err(error) => panic!("{error}"),
            }
        }
        let taken = tokio::time::timeout(Duration::from_secs(30), o.store.wait(o.store.last()));
        taken.await.expect("what was taken is stuck").unwrap();
        assert!(count * kib as u64 > 300, "only {count} entries of {kib} KiB");
        o.commit().await;
        assert_eq!(o.store.durable(), o.store.last());
        drop((ledger, o));
        let o = fixture.open().await;
        let read = read_all(&mut o.load("t"), Position::EARLIEST).await;
        assert!(read.iter().map(|e| e.data.clone()).eq((0..=count).map(|n| entry(n, kib << 10))));
    }
}
