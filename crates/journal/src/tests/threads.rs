//! The journal as others use it, with its threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::world::config;
use crate::{
    Config, Directory, Error, Files, Journal, Listener, Lsn, Record, SyncMode,
    faults::{MemoryFiles, Plan},
};

#[derive(Default)]
struct Ear {
    durable: AtomicU64,
    failed: AtomicBool,
}

impl Listener for Ear {
    fn advanced(&self, durable: Lsn) {
        assert!(self.durable.swap(durable, Ordering::SeqCst) <= durable);
    }
    fn failed(&self) {
        assert!(!self.failed.swap(true, Ordering::SeqCst));
    }
}

fn entry(stream: u64, seq: u64, body: Bytes) -> Record {
    Record { kind: 1, flags: 0, bundle: 0, epoch: 1, stream, seq, aux: 1, body }
}

fn open(config: &Config, files: &Arc<dyn Files>, after: Lsn) -> (Journal, Vec<(Lsn, Record)>) {
    let mut seen = Vec::new();
    let (journal, recovery) = Journal::open(config.clone(), Arc::clone(files), after, &mut |lsn, record| {
        seen.push((lsn, record.clone()));
        Ok(())
    })
    .unwrap();
    assert_eq!(recovery.quarantined, []);
    (journal, seen)
}

fn many_threads_commit_and_find_everything_again(config: &Config, files: &Arc<dyn Files>) {
    let (journal, _) = open(config, files, 0);
    let threads: u64 = 4;
    let commits: u64 = 300;
    std::thread::scope(|scope| {
        for stream in 0..threads {
            let journal = journal.clone();
            scope.spawn(move || {
                let ear = Arc::new(Ear::default());
                let listener: Arc<dyn Listener> = ear.clone();
                let mut last = 0;
                for seq in 0..commits {
                    let body = Bytes::from(vec![seq as u8; (seq as usize * 7) % 900]);
                    let (lsn, ()) = journal.commit(&listener, |commit| commit.push(entry(stream, seq, body))).unwrap();
                    assert!(lsn > last);
                    last = lsn;
                    if seq % 50 == 0 {
                        journal.wait_blocking(lsn).unwrap();
                        assert!(journal.durable() >= lsn);
                        assert_eq!(journal.read(stream, seq, 1, 1).unwrap()[0].0, seq);
                    }
                }
                journal.wait_blocking(last).unwrap();
                // The listener hears it on the writer's thread, which may be a moment later.
                while ear.durable.load(Ordering::SeqCst) < last {
                    std::thread::yield_now();
                }
            });
        }
    });
    assert_eq!(journal.last(), threads * commits);
    assert_eq!(journal.queued_bytes(), 0);
    journal.close();
    journal.close();
    assert!(matches!(journal.commit(&ear(), |_| ()), Err(Error::Closed)));
    let (journal, seen) = open(config, files, 0);
    assert_eq!(seen.len() as u64, threads * commits);
    assert_eq!(seen.last().unwrap().0, journal.last());
    for stream in 0..threads {
        let mut seq = 0;
        while seq < commits {
            let got = journal.read(stream, seq, 64, 1 << 20).unwrap();
            assert!(!got.is_empty());
            for (at, aux, body) in got {
                assert_eq!((at, aux, body.len()), (seq, 1, (seq as usize * 7) % 900));
                assert!(body.iter().all(|byte| *byte == seq as u8));
                seq += 1;
            }
        }
        assert_eq!(journal.first_seq(stream), Some(0));
        assert!(journal.read(stream, commits, 1, 1).unwrap().is_empty());
    }
    journal.forget(0);
    assert!(!journal.contains(0, 0));
    // Closed in order: nothing to read but the indexes.
    drop(journal);
    let (_, seen) = open(config, files, threads * commits);
    assert_eq!(seen, []);
}

fn ear() -> Arc<dyn Listener> {
    Arc::new(Ear::default())
}

#[test]
fn threads_commit_to_memory_and_find_everything_again() {
    let files: Arc<dyn Files> = Arc::new(MemoryFiles::new(1));
    many_threads_commit_and_find_everything_again(&Config { capacity_bytes: 16 << 20, ..config() }, &files);
}

#[test]
fn threads_commit_to_a_directory_and_find_everything_again() {
    for direct in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let files: Arc<dyn Files> = Arc::new(Directory::open(dir.path().join("journal"), direct).unwrap());
        let config =
            Config { file_bytes: 1 << 20, first_file_bytes: 128 << 10, write_bytes_max: 64 << 10, ..Config::default() };
        many_threads_commit_and_find_everything_again(&config, &files);
        assert!(direct || files.sync_mode() == SyncMode::Fdatasync);
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(Directory::open(dir.path(), true).unwrap());
    let (journal, _) = open(&config(), &files, 0);
    let second: Arc<dyn Files> = Arc::new(Directory::open(dir.path(), true).unwrap());
    let refused = Journal::open(config(), Arc::clone(&second), 0, &mut |_, _| Ok(()));
    assert!(matches!(refused, Err(Error::InUse(_))));
    journal.close();
    open(&config(), &second, 0);
}

#[test]
fn a_failed_write_stops_the_journal_and_tells_everyone() {
    let files = MemoryFiles::new(1);
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    let (journal, _) = open(&config(), &shared, 0);
    let ear = Arc::new(Ear::default());
    let listener: Arc<dyn Listener> = ear.clone();
    let push = |seq| journal.commit(&listener, |commit| commit.push(entry(1, seq, Bytes::from_static(b"x"))));
    let (first, ()) = push(0).unwrap();
    journal.wait_blocking(first).unwrap();
    // Let the keeper finish the next file, so that the operation that fails is a block's.
    std::thread::sleep(Duration::from_millis(100));
    files.plan(Plan { fail_at: Some(1), ..Plan::default() });
    let (second, ()) = push(1).unwrap();
    assert!(matches!(journal.wait_blocking(second), Err(Error::Failed(failure)) if failure.durable == first));
    assert!(matches!(push(2), Err(Error::Failed(_))));
    assert!(ear.failed.load(Ordering::SeqCst));
    assert_eq!((journal.durable(), journal.failure().unwrap().durable), (first, first));
    journal.close();
    assert!(matches!(journal.wait_blocking(second), Err(Error::Failed(_))));
}

#[test]
fn a_full_disk_refuses_commits_and_takes_them_again_when_there_is_space() {
    let files = MemoryFiles::new(1);
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    files.plan(Plan { capacity: Some(300 << 10), ..Plan::default() });
    let (journal, _) = open(&config(), &shared, 0);
    let listener = ear();
    let push = |seq| journal.commit(&listener, |commit| commit.push(entry(1, seq, Bytes::from(vec![7; 3000]))));
    let mut seq = 0;
    let last = loop {
        match push(seq) {
            Ok((lsn, ())) => {
                seq += 1;
                // One that was taken before the disk said that it is full waits for space.
                let taken = std::time::Instant::now();
                while journal.durable() < lsn && (!journal.stats().full || taken.elapsed() < Duration::from_secs(1)) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Err(Error::Full) => break seq,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(last > 20 && journal.stats().full);
    let waiting = last - journal.durable();
    assert!(waiting <= 1, "{waiting} wait");
    for file in journal.files().iter().filter(|file| file.sealed).take(2) {
        journal.recycle(file.number).unwrap();
    }
    let started = std::time::Instant::now();
    let lsn = loop {
        match push(seq) {
            Ok((lsn, ())) => break lsn,
            Err(Error::Full) => assert!(started.elapsed() < Duration::from_secs(10)),
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    journal.wait_blocking(lsn).unwrap();
    assert_eq!(journal.read(1, seq, 1, 1).unwrap()[0].2.len(), 3000);
    assert!(journal.first_seq(1).unwrap() > 0);
}

#[test]
fn the_capacity_is_kept_and_recycled_files_are_used_again() {
    let shared: Arc<dyn Files> = Arc::new(MemoryFiles::new(1));
    let config = Config { capacity_bytes: 512 << 10, ..config() };
    let (journal, _) = open(&config, &shared, 0);
    let listener = ear();
    for seq in 0..2000 {
        loop {
            let body = Bytes::from(vec![seq as u8; 2000]);
            match journal.commit(&listener, |commit| commit.push(entry(1, seq, body))) {
                Ok((lsn, ())) => {
                    if seq % 8 == 0 {
                        journal.wait_blocking(lsn).unwrap();
                    }
                    break;
                }
                Err(Error::Full) => {}
                Err(error) => panic!("{error}"),
            }
            let oldest = journal.files()[0].clone();
            if oldest.sealed {
                let streams = journal.streams(oldest.number).unwrap();
                assert_eq!((streams.len(), streams[0].stream), (1, 1));
                journal.recycle(oldest.number).unwrap();
                assert!(matches!(journal.recycle(oldest.number), Err(Error::NoFile(_))));
            }
            std::thread::yield_now();
        }
    }
    assert!(journal.stats().disk_bytes <= 512 << 10);
}

#[tokio::test]
async fn an_empty_commit_is_as_durable_as_the_last_one() {
    let shared: Arc<dyn Files> = Arc::new(MemoryFiles::new(1));
    let (journal, _) = open(&config(), &shared, 0);
    let listener = ear();
    assert_eq!(journal.commit(&listener, |commit| commit.lsn()).unwrap(), (0, 1));
    let (lsn, ()) = journal.commit(&listener, |commit| commit.push(entry(1, 0, Bytes::new()))).unwrap();
    let other = Arc::new(Ear::default());
    let late: Arc<dyn Listener> = other.clone();
    assert_eq!(journal.commit(&late, |_| ()).unwrap().0, lsn);
    journal.wait(lsn).await.unwrap();
    journal.close();
    assert!(other.durable.load(Ordering::SeqCst) <= lsn);
    assert!(matches!(journal.wait(lsn + 1).await, Err(Error::Closed)));
}

#[test]
fn a_record_of_many_blocks_and_files_is_read_whole() {
    let shared: Arc<dyn Files> = Arc::new(MemoryFiles::new(1));
    let config = Config { capacity_bytes: 4 << 20, ..config() };
    let (journal, _) = open(&config, &shared, 0);
    let listener = ear();
    let body: Bytes = (0..400_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into();
    let (lsn, ()) = journal
        .commit(&listener, |commit| {
            commit.push(entry(1, 0, Bytes::from_static(b"before")));
            commit.push(entry(1, 1, body.clone()));
            commit.push(entry(1, 2, Bytes::from_static(b"after")));
        })
        .unwrap();
    journal.wait_blocking(lsn).unwrap();
    assert!(journal.files().len() > 10);
    let got = journal.read(1, 0, 10, usize::MAX).unwrap();
    assert_eq!(got.iter().map(|entry| entry.2.len()).collect::<Vec<_>>(), [6, body.len(), 5]);
    assert_eq!(got[1].2, body);
    journal.close();
    drop(journal);
    let (_, seen) = open(&config, &shared, 0);
    assert_eq!((seen.len(), &seen[1].1.body), (3, &body));
}

#[test]
fn entries_of_a_commit_whose_beginning_was_recycled_stay_readable() {
    let shared: Arc<dyn Files> = Arc::new(MemoryFiles::new(1));
    let (journal, _) = open(&config(), &shared, 0);
    let listener = ear();
    // Larger than the first file, so it goes on in the next.
    let bodies: Vec<Bytes> = (0..12_u8).map(|n| Bytes::from(vec![n; 4000])).collect();
    let fill = |commit: &mut crate::Commit| {
        bodies.iter().enumerate().for_each(|(seq, body)| commit.push(entry(1, seq as u64, body.clone())));
    };
    let (lsn, ()) = journal.commit(&listener, fill).unwrap();
    journal.wait_blocking(lsn).unwrap();
    journal.recycle(journal.files()[0].number).unwrap();
    let first = journal.first_seq(1).unwrap();
    assert!((1..12).contains(&first));
    journal.close();
    drop(journal);
    for index in shared.list().unwrap().iter().filter(|name| name.ends_with(".index")) {
        shared.remove(index).unwrap();
    }
    let (journal, seen) = open(&config(), &shared, lsn);
    assert!(seen.is_empty());
    let read = journal.read(1, first, 100, usize::MAX).unwrap();
    assert!(read.iter().map(|entry| &entry.2).eq(&bodies[first as usize..]));
}

#[test]
fn a_backlog_is_the_same_past_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { first_file_bytes: 8 << 20, file_bytes: 8 << 20, ..Config::default() };
    config.dir = dir.path().to_owned();
    let files: Arc<dyn Files> = Arc::new(Directory::open(dir.path(), true).unwrap());
    let (journal, _) = open(&config, &files, 0);
    let listener = ear();
    // From nothing to larger than a buffer, and always something of another stream in between.
    let sizes: Vec<usize> = (0..300).map(|n: usize| if n == 150 { 3 << 20 } else { n.pow(3) % 200_000 }).collect();
    for (seq, size) in sizes.iter().enumerate() {
        let commit = journal.commit(&listener, |commit| {
            commit.push(entry(1, seq as u64, vec![seq as u8; *size].into()));
            commit.push(entry(2, seq as u64, vec![7; 100].into()));
        });
        journal.wait_blocking(commit.unwrap().0).unwrap();
    }
    for max_bytes in [1 << 20, 4 << 20, usize::MAX] {
        let mut next = 0;
        while next < sizes.len() {
            let got = journal.read_once(1, next as u64, usize::MAX, max_bytes).unwrap();
            assert!(!got.is_empty());
            for (seq, _, body) in got {
                assert_eq!((seq, body.len()), (next as u64, sizes[next]));
                assert!(body.iter().all(|byte| *byte == seq as u8));
                next += 1;
            }
        }
    }
}
