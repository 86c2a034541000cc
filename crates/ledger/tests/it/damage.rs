//! What is damaged, or cannot be done, stays the only thing that is lost.

use crate::fixture::{Fixture, Opened, entry, read_all, topic};
use ::model::Position;
use journal::faults::{MemoryFiles, Plan};
use ledger::{Entry, Error, ManagedLedger, Store};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Publishes entries of 1 KiB, each in a commit of its own.
async fn publish(o: &mut Opened, ledger: &mut ManagedLedger, count: u64) {
    for n in 0..count {
        o.publish(ledger, &[entry(n, 1024)]).await;
    }
}

/// The oldest file in `dir` whose name ends so.
fn oldest(dir: &Path, end: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    files.filter(|path| path.to_str().unwrap().ends_with(end)).min().unwrap()
}

/// Overwrites 5,000 bytes in the middle of a file.
fn damage(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0x5a; 5000], middle).unwrap();
}

/// Checks that all but a few of `count` entries are there; returns how many are not.
fn check(read: &[Entry], count: u64) -> u64 {
    let numbers: Vec<u64> = read.iter().map(|e| u64::from_le_bytes(e.data[..8].try_into().unwrap())).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert!(read.iter().zip(&numbers).all(|(e, n)| e.data == entry(*n, 1024)));
    count - numbers.len() as u64
}

#[tokio::test]
async fn a_damaged_journal_file_is_read_around_and_does_not_stay_for_it() {
    for restart in [false, true] {
        let mut fixture = Fixture::new();
        fixture.config.max_entries_per_ledger = 1000;
        let mut o = fixture.open().await;
        let mut ledger = o.create("t").await;
        o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
        publish(&mut o, &mut ledger, 100).await;
        let dir = fixture.config.journal.dir.clone();
        damage(&oldest(&dir, ".log"));
        if restart {
            // Without the index the file is read, and the damage noticed.
            fs::remove_file(oldest(&dir, ".index")).unwrap();
            drop((ledger, o));
            o = fixture.open().await;
            assert_eq!(o.recovered.journal.quarantined.len(), 1);
            ledger = o.load("t");
        }
        let lost = check(&read_all(&mut ledger, Position::EARLIEST).await, 100);
        assert!((1..20).contains(&lost), "{lost} entries are lost");
        // More than the journal holds: the damaged file is sorted into a segment.
        let number = dir.join(oldest(&dir, ".log"));
        publish(&mut o, &mut ledger, 900).await;
        for _ in 0..10 {
            o.store.maintain().await.unwrap();
        }
        assert!(!number.exists());
        let read = read_all(&mut ledger, Position::EARLIEST).await;
        assert_eq!(check(&read[..(100 - lost) as usize], 100), lost);
        assert_eq!(read.len() as u64, 1000 - lost);
    }
}

#[tokio::test]
async fn a_damaged_journal_file_takes_only_its_own_changes_of_tables() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let table = o.store.table("t").unwrap();
    table.put(&mut o.batch, "written", "before").unwrap();
    table.put(&mut o.batch, [0], [0; 1024]).unwrap();
    o.commit().await;
    o.store.checkpoint().await.unwrap();
    for n in 0..100u8 {
        table.put(&mut o.batch, [n], [n + 1; 1024]).unwrap();
        table.add(&mut o.batch, "count", 1).unwrap();
        o.commit().await;
    }
    drop((table, o));
    damage(&oldest(&fixture.config.journal.dir, ".log"));
    let o = fixture.open().await;
    assert_eq!(o.recovered.journal.quarantined.len(), 1);
    let table = o.store.table("t").unwrap();
    assert_eq!(table.get(b"written").unwrap().unwrap().bytes, "before");
    let rows: Vec<_> = (0..100u8).filter_map(|n| Some((n, table.get(&[n]).unwrap()?.bytes))).collect();
    assert!((80..100).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.iter().all(|(n, row)| *row == [n + 1; 1024][..] || (*n, &row[..]) == (0, &[0; 1024])));
    // What a counter came to is in its last record.
    assert_eq!(table.get(b"count").unwrap().unwrap().counter(), Some(100));
}

#[tokio::test]
async fn a_damaged_segment_is_read_around() {
    let mut fixture = Fixture::new();
    fixture.config.max_entries_per_ledger = 1000;
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    publish(&mut o, &mut ledger, 1000).await;
    for _ in 0..10 {
        o.store.maintain().await.unwrap();
    }
    let segments = fixture.config.dir.join("segments");
    damage(&oldest(&segments, ".seg"));
    let lost = check(&read_all(&mut ledger, Position::EARLIEST).await, 1000);
    assert!((1..100).contains(&lost), "{lost} entries are lost");
    fs::remove_file(oldest(&segments, ".seg")).unwrap();
    let lost = check(&read_all(&mut ledger, Position::EARLIEST).await, 1000);
    assert!((1..100).contains(&lost), "{lost} entries are lost");
}

#[tokio::test]
async fn a_segment_that_cannot_be_written_does_not_hold_up_the_rest() {
    let mut fixture = Fixture::new();
    fixture.config.checkpoint_bytes = 1;
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    let segments = fixture.config.dir.join("segments");
    fs::remove_dir(&segments).unwrap();
    fs::write(&segments, "in the way").unwrap();
    publish(&mut o, &mut ledger, 200).await;
    o.store.maintain().await.unwrap_err();
    fs::remove_file(&segments).unwrap();
    fs::create_dir(&segments).unwrap();
    drop((ledger, o));
    o = fixture.open().await;
    assert_eq!(o.recovered.records, 0, "the checkpoint was written all the same");
    o.store.maintain().await.unwrap();
    assert_eq!(check(&read_all(&mut o.load("t"), Position::EARLIEST).await, 200), 0);
}

#[tokio::test]
async fn a_journal_file_that_could_not_be_recycled_does_not_keep_the_next_one() {
    let mut fixture = Fixture::new();
    let files = MemoryFiles::new(7);
    let mut o = fixture.open_on(Arc::new(files.clone())).await;
    let mut ledger = o.create("t").await;
    publish(&mut o, &mut ledger, 400).await;
    ledger.trim(&mut o.batch, ledger::Retention { time: Some(Duration::ZERO), bytes: Some(0) });
    o.commit().await;
    fixture.clock.advance(Duration::from_secs(3600));
    // Nothing else is written now: the first thing to fail is the recycling.
    tokio::time::sleep(Duration::from_millis(100)).await;
    files.plan(Plan { fail_at: Some(1), ..Plan::default() });
    let before = files.lengths().len();
    o.store.maintain().await.unwrap_err();
    o.store.maintain().await.unwrap();
    // Files are made ready for reuse, or removed, by a thread of their own.
    let began = std::time::Instant::now();
    while files.lengths().len() >= before / 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "{} of {before} files", files.lengths().len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop((ledger, o));
    files.restart();
    let o = fixture.open_on(Arc::new(files)).await;
    assert_eq!(o.recovered.journal.quarantined, []);
}

/// A file of which nothing can be used is lost once: the next start goes on with what is left, as the first did.
#[tokio::test]
async fn a_first_journal_file_that_was_set_aside_keeps_no_start_from_going_on() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    drop(o.create("lost").await);
    let mut ledger = o.create("t").await;
    publish(&mut o, &mut ledger, 100).await;
    drop((ledger, o));
    let file = oldest(&fixture.config.journal.dir, ".log");
    let bytes = fs::metadata(&file).unwrap().len();
    fs::write(&file, vec![0x5a; bytes as usize]).unwrap();
    for quarantined in [1, 0, 0] {
        let mut o = fixture.open().await;
        assert_eq!(o.recovered.journal.quarantined.len(), quarantined);
        assert!(!o.store.exists(&topic("lost")).unwrap());
        let mut ledger = o.create(&format!("new-{}", fixture.epoch)).await;
        publish(&mut o, &mut ledger, 3).await;
    }
    // With a checkpoint the file is of no use to anybody.
    fixture.open().await.store.checkpoint().await.unwrap();
    fs::remove_file(oldest(&fixture.config.journal.dir, ".quarantined")).unwrap();
    let o = fixture.open().await;
    assert_eq!(read_all(&mut o.load("new-2"), Position::EARLIEST).await.len(), 3);
}

/// A store that was lost must not make the others delete, or give again, what is stored.
#[tokio::test]
async fn what_contradicts_each_other_is_not_opened() {
    let mut fixture = Fixture::new();
    let mut o = fixture.open().await;
    let mut ledger = o.create("t").await;
    o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
    publish(&mut o, &mut ledger, 20).await;
    o.store.checkpoint().await.unwrap();
    drop((ledger, o));
    // Of a journal that is whole a catalog can be made again.
    let catalog = fixture.config.dir.join("catalog.redb");
    fs::remove_file(&catalog).unwrap();
    let mut o = fixture.open().await;
    let mut ledger = o.load("t");
    assert_eq!(check(&read_all(&mut ledger, Position::EARLIEST).await, 20), 0);
    publish(&mut o, &mut ledger, 1000).await;
    for _ in 0..10 {
        o.store.maintain().await.unwrap();
    }
    drop((ledger, o));
    let refused = async |fixture: &Fixture, meta: &Arc<metastore::MemoryStore>| {
        let (config, clock) = (fixture.config.clone(), fixture.clock.clone());
        let opened = Store::open(config, clock, meta.clone(), 9).await;
        assert!(matches!(opened.err(), Some(Error::Contradiction(_))));
    };
    let empty = Arc::new(metastore::MemoryStore::default());
    let kept = fixture.dir.path().join("kept.redb");
    for _ in 0..2 {
        refused(&fixture, &empty).await;
    }
    fs::rename(&catalog, &kept).unwrap();
    for _ in 0..2 {
        refused(&fixture, &fixture.meta).await;
    }
    fs::rename(&kept, &catalog).unwrap();
    let o = fixture.open().await;
    assert_eq!(read_all(&mut o.load("t"), Position::EARLIEST).await.len(), 1020);
}
