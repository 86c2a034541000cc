//! The ledger's tables as [`Tables`].

use async_trait::async_trait;
use bytes::Bytes;
use functions::{
    Error, Result, Tables,
    event_log::{Row, RowChange, TableChange},
};
use std::{sync::Arc, time::Duration};

/// Between two tries to write to a full disk.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Tries.
const TRIES: usize = 50;

/// The tables of a store; clones are the same.
#[derive(Clone)]
pub struct StoreTables {
    pub(crate) store: ledger::Store,
    listener: Arc<dyn journal::Listener>,
}

/// Commits are waited for by number.
struct Silent;

impl journal::Listener for Silent {
    fn advanced(&self, _durable: journal::Lsn) {}

    fn failed(&self) {}
}

#[async_trait]
impl Tables for StoreTables {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>> {
        let found = self.store.table(table).and_then(|table| table.get(key)).map_err(error)?;
        Ok(found.map(row))
    }

    async fn scan(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>> {
        let found = self.store.table(table).and_then(|table| table.scan(prefix, after, limit)).map_err(error)?;
        Ok(found.into_iter().map(|(key, value)| (key, row(value))).collect())
    }

    async fn settled(&self) -> Result<()> {
        self.store.wait(self.store.last()).await.map_err(error)
    }

    async fn write(&self, changes: Vec<TableChange>) -> Result<()> {
        let mut batch = self.store.batch();
        for TableChange { table, key, change } in changes {
            let table = self.store.table(&table).map_err(error)?;
            match change {
                RowChange::Put(value) => table.put(&mut batch, key, value),
                RowChange::Delete => table.delete(&mut batch, key),
                RowChange::Add(amount) => table.add(&mut batch, key, amount),
            }
            .map_err(error)?;
        }
        self.commit(batch).await
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        let mut batch = self.store.batch();
        self.store.delete_table(&mut batch, table).map_err(error)?;
        self.commit(batch).await
    }
}

impl StoreTables {
    /// The tables of `store`.
    #[must_use]
    pub fn new(store: ledger::Store) -> Self {
        Self { store, listener: Arc::new(Silent) }
    }

    async fn commit(&self, mut batch: ledger::Batch) -> Result<()> {
        for _ in 0..TRIES {
            match self.store.commit(&mut batch, &self.listener) {
                Ok(committed) => return self.store.wait(committed.lsn).await.map_err(error),
                Err(full) if full.is_full() => tokio::time::sleep(TRY_AGAIN).await,
                Err(other) => return Err(error(other)),
            }
        }
        Err(Error::Closed("the journal is full".into()))
    }
}

fn row(value: ledger::Value) -> Row {
    Row { value: value.bytes, version: value.version }
}

fn error(error: ledger::Error) -> Error {
    Error::Closed(format!("storage: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_read_shows_is_durable_once_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Arc::new(metastore::FileStore::open(&dir.path().join("metadata")).unwrap());
        let mut config = ledger::Config { dir: dir.path().to_owned(), ..ledger::Config::default() };
        config.journal.dir = dir.path().join("journal");
        let clock = Arc::new(seams::SystemClock::new());
        let (store, _) = ledger::Store::open(config, clock, meta, 1).await.unwrap();
        let tables = StoreTables::new(store);
        let mut seen_early = 0;
        for n in 0..100i64 {
            let change =
                TableChange { table: "t".into(), key: "k".into(), change: RowChange::Put(n.to_string().into()) };
            let mut writing = std::pin::pin!(tables.write(vec![change]));
            // Committed, and seen, but on its way to the disk.
            let _ = futures::poll!(writing.as_mut());
            let row = tables.get("t", b"k").await.unwrap().unwrap();
            assert_eq!(row.value, n.to_string());
            seen_early += usize::from(tables.store.durable() < row.version);
            tables.settled().await.unwrap();
            assert!(tables.store.durable() >= row.version);
        }
        assert!(seen_early > 0, "else this shows nothing");
    }
}
