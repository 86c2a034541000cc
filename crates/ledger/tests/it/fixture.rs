//! A store in a temporary directory that can be stopped without warning and opened again.

use ::model::{Position, TopicName};
use bytes::Bytes;
use ledger::{Batch, Config, CursorId, Entry, ManagedLedger, Read, Store};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Nobody waits by being told; tests wait by themselves.
struct Deaf;

impl journal::Listener for Deaf {
    fn advanced(&self, _durable: journal::Lsn) {}
    fn failed(&self) {}
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<seams::ManualClock>,
    pub(crate) meta: Arc<metastore::MemoryStore>,
    pub(crate) config: Config,
    pub(crate) epoch: u32,
}

impl Fixture {
    /// Ledgers of five entries and a small journal.
    #[allow(clippy::field_reassign_with_default)] // The journal's configuration has a private part.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal::Config::default();
        journal.dir = dir.path().join("journal");
        journal.capacity_bytes = 1 << 20;
        journal.file_bytes = 64 << 10;
        journal.first_file_bytes = 64 << 10;
        journal.write_bytes_max = 16 << 10;
        let config = Config {
            dir: dir.path().to_owned(),
            journal,
            cache_bytes: 4 << 10,
            max_entries_per_ledger: 5,
            min_ledger_age: Duration::ZERO,
            checkpoint_bytes: 1 << 30,
            reclaim_interval: Duration::from_secs(60),
            ..Config::default()
        };
        let clock = Arc::new(seams::ManualClock::new(1_700_000_000_000));
        Self { dir, clock, meta: Arc::new(metastore::MemoryStore::default()), config, epoch: 0 }
    }

    pub(crate) async fn open(&mut self) -> Opened {
        let files = journal::Directory::open(&self.config.journal.dir, self.config.journal.direct).unwrap();
        self.open_on(Arc::new(files)).await
    }

    pub(crate) async fn open_on(&mut self, files: Arc<dyn journal::Files>) -> Opened {
        self.epoch += 1;
        let (config, clock, meta) = (self.config.clone(), self.clock.clone(), self.meta.clone());
        let (store, recovered) = Store::open_on(config, files, clock, meta, self.epoch).await.unwrap();
        let batch = store.batch();
        Opened { store, recovered, batch, listener: Arc::new(Deaf) }
    }
}

pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) recovered: ledger::Recovered,
    pub(crate) batch: Batch,
    pub(crate) listener: Arc<dyn journal::Listener>,
}

impl Opened {
    /// Commits the batch and waits until it is durable; returns where entries went.
    pub(crate) async fn commit(&mut self) -> Vec<Position> {
        loop {
            match self.store.commit(&mut self.batch, &self.listener) {
                Ok(committed) => {
                    self.store.wait(committed.lsn).await.unwrap();
                    return committed.positions;
                }
                Err(error) if error.is_full() => {
                    self.store.maintain().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn create(&mut self, name: &str) -> ManagedLedger {
        self.store.create(&mut self.batch, &topic(name), BTreeMap::new()).unwrap();
        self.commit().await;
        self.load(name)
    }

    pub(crate) fn load(&self, name: &str) -> ManagedLedger {
        self.store.load(&topic(name)).unwrap()
    }

    /// Appends entries and confirms them.
    pub(crate) async fn publish(&mut self, ledger: &mut ManagedLedger, entries: &[Bytes]) -> Vec<Position> {
        for entry in entries {
            ledger.append(&mut self.batch, entry.clone(), 1);
        }
        let positions = self.commit().await;
        for (&position, entry) in positions.iter().zip(entries) {
            ledger.appended(position, entry.clone(), 1);
            ledger.confirm(position);
        }
        positions
    }

    pub(crate) async fn flush(&mut self, ledger: &mut ManagedLedger) {
        ledger.flush_acks(&mut self.batch);
        self.commit().await;
    }

    pub(crate) async fn subscribe(&mut self, ledger: &mut ManagedLedger, name: &str, from: Position) -> CursorId {
        let id = ledger.open_cursor(Some(&mut self.batch), name, from, BTreeMap::new());
        self.commit().await;
        id
    }
}

pub(crate) fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

pub(crate) fn entry(n: u64, bytes: usize) -> Bytes {
    let mut data = n.to_le_bytes().to_vec();
    data.resize(bytes.max(8), n as u8);
    data.into()
}

/// Everything confirmed from `from` on.
pub(crate) async fn read_all(ledger: &mut ManagedLedger, mut from: Position) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let read = match ledger.read(from, 7, 1 << 20) {
            Read::CaughtUp => return all,
            Read::Entries(entries) => entries,
            Read::Later(request) => request.run().await.unwrap(),
        };
        assert!(!read.is_empty(), "a read of {from} brought nothing");
        from = ledger.next_position(read.last().unwrap().position);
        all.extend(read);
    }
}

pub(crate) fn cursor(ledger: &ManagedLedger, name: &str) -> Option<CursorId> {
    ledger.cursors().into_iter().find(|(_, n)| n == name).map(|(id, _)| id)
}
