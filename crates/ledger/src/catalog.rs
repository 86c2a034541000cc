//! Every topic as a row of one embedded key-value store: the journal's materialized view as of one checkpoint.
//!
//! It is written only by [`Catalog::write`], in one durable transaction a checkpoint, and has no log of its own beyond that: what
//! came later is in the journal. See docs/adr/0002-catalog-store.md.

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    ops::Bound::{self, Excluded, Included, Unbounded},
    path::Path,
};

use crate::{
    error::{Error, Result},
    table::Value,
};

/// Numbers about the catalog itself.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Full topic name to topic id.
const NAMES: TableDefinition<'_, &str, u64> = TableDefinition::new("names");
/// Topic id to its encoded state.
const TOPICS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("topics");
/// Ledger id to topic id, but for the first ledger of a topic, whose id is the topic's.
const LEDGERS: TableDefinition<'_, u64, u64> = TableDefinition::new("ledgers");
/// Full name of a partitioned topic to its number of partitions.
const PARTITIONS: TableDefinition<'_, &str, u32> = TableDefinition::new("partitions");
/// Segment to its bytes, and to those of them that are still wanted as far as known.
const SEGMENTS: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("segments");

/// Rows of all tables, by [`row_key`].
const TABLES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("tables");

const CHECKPOINT: &str = "checkpoint";
/// No row of a table is newer than this commit.
const NEWEST_ROW: &str = "newest-row";

pub(crate) struct Catalog {
    open: Box<dyn Fn() -> Result<Database> + Send + Sync>,
    /// `None` when it could not be opened again.
    db: RwLock<Option<Database>>,
}

/// What one checkpoint changes.
#[derive(Default)]
pub(crate) struct Changes {
    /// Everything up to this commit is in the rows.
    pub(crate) checkpoint: u64,
    /// Topics that are gone: name and id, and all their ledgers.
    pub(crate) deleted: Vec<Deleted>,
    pub(crate) rows: Vec<Row>,
    pub(crate) partitions: Vec<(String, Option<u32>)>,
    pub(crate) tables: Vec<TableChanges>,
    /// All of them.
    pub(crate) segments: Option<Vec<(u64, (u64, u64))>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Deleted {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) ledgers: Vec<u64>,
}

/// What changed of one table.
pub(crate) struct TableChanges {
    pub(crate) name: Box<str>,
    /// Rows up to this commit are gone; 0 when none are.
    pub(crate) cleared: u64,
    /// The table's last change, by its own count.
    pub(crate) upto: u64,
    /// Key, the commit that changed it, and what is there now.
    pub(crate) rows: Vec<(Bytes, u64, Option<Value>)>,
}

/// One row of a table.
pub(crate) struct TableRow {
    pub(crate) key: Bytes,
    pub(crate) value: Value,
}

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) state: Vec<u8>,
    /// Ledgers opened and dropped since the row was last written.
    pub(crate) opened: Vec<u64>,
    pub(crate) closed: Vec<u64>,
}

impl Catalog {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let path = path.to_owned();
        Self::open_with(move || Ok(Database::builder().set_cache_size(cache_bytes).create(&path)?))
    }

    fn open_with(open: impl Fn() -> Result<Database> + Send + Sync + 'static) -> Result<Self> {
        let db = open()?;
        let mut txn = db.begin_write()?;
        txn.set_quick_repair(true);
        txn.open_table(META)?;
        txn.open_table(NAMES)?;
        txn.open_table(TOPICS)?;
        txn.open_table(LEDGERS)?;
        txn.open_table(PARTITIONS)?;
        txn.open_table(SEGMENTS)?;
        txn.open_table(TABLES)?;
        txn.commit()?;
        Ok(Self { open: Box::new(open), db: RwLock::new(Some(db)) })
    }

    /// Does `work`. After a failed read or write the store refuses everything, also when the disk has room again, until it is
    /// opened anew; then it is as of the last checkpoint.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T>) -> Result<T> {
        if let Some(db) = &*self.db.read() {
            match work(db) {
                Err(Error::Catalog(error)) if matches!(*error, redb::Error::Io(_) | redb::Error::PreviousIo) => {
                    tracing::warn!(%error, "the catalog failed and is opened again");
                }
                result => return result,
            }
        }
        let mut db = self.db.write();
        // It is locked until it is closed.
        *db = None;
        work(db.insert((self.open)()?))
    }

    /// The commit up to which the rows are complete.
    pub(crate) fn checkpoint(&self) -> Result<u64> {
        self.with(|db| {
            let value = db.begin_read()?.open_table(META)?.get(CHECKPOINT)?;
            Ok(value.map_or(0, |v| v.value()))
        })
    }

    pub(crate) fn topic_id(&self, name: &str) -> Result<Option<u64>> {
        self.with(|db| {
            let value = db.begin_read()?.open_table(NAMES)?.get(name)?;
            Ok(value.map(|v| v.value()))
        })
    }

    pub(crate) fn row(&self, id: u64) -> Result<Option<Vec<u8>>> {
        self.with(|db| {
            let value = db.begin_read()?.open_table(TOPICS)?.get(id)?;
            Ok(value.map(|v| v.value().to_vec()))
        })
    }

    /// The topic a ledger (or topic) id belongs to.
    pub(crate) fn owner(&self, ledger: u64) -> Result<Option<u64>> {
        self.with(|db| {
            let txn = db.begin_read()?;
            if txn.open_table(TOPICS)?.get(ledger)?.is_some() {
                return Ok(Some(ledger));
            }
            let owner = txn.open_table(LEDGERS)?.get(ledger)?;
            Ok(owner.map(|v| v.value()))
        })
    }

    /// The highest id of a topic or ledger; 0 when there is none.
    pub(crate) fn highest_id(&self) -> Result<u64> {
        self.with(|db| {
            let txn = db.begin_read()?;
            let topic = txn.open_table(TOPICS)?.last()?.map_or(0, |(id, _)| id.value());
            let ledger = txn.open_table(LEDGERS)?.last()?.map_or(0, |(id, _)| id.value());
            Ok(topic.max(ledger))
        })
    }

    /// Topic names that start with `prefix`, in order.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(NAMES)?;
            let mut names = Vec::new();
            for row in table.range(prefix..)? {
                let (name, _) = row?;
                if !name.value().starts_with(prefix) {
                    break;
                }
                names.push(name.value().to_owned());
            }
            Ok(names)
        })
    }

    pub(crate) fn partitions(&self, name: &str) -> Result<Option<u32>> {
        self.with(|db| {
            let value = db.begin_read()?.open_table(PARTITIONS)?.get(name)?;
            Ok(value.map(|v| v.value()))
        })
    }

    /// The same of several, in their order.
    pub(crate) fn partitions_of(&self, names: &[&str]) -> Result<Vec<Option<u32>>> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(PARTITIONS)?;
            names.iter().map(|name| Ok(table.get(*name)?.map(|value| value.value()))).collect()
        })
    }

    /// Partitioned topics whose names start with `prefix`, in order.
    pub(crate) fn partitioned(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(PARTITIONS)?;
            let mut found = Vec::new();
            for row in table.range(prefix..)? {
                let (name, partitions) = row?;
                if !name.value().starts_with(prefix) {
                    break;
                }
                found.push((name.value().to_owned(), partitions.value()));
            }
            Ok(found)
        })
    }

    pub(crate) fn segments(&self) -> Result<Vec<(u64, (u64, u64))>> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(SEGMENTS)?;
            let mut found = Vec::new();
            for row in table.iter()? {
                let (id, bytes) = row?;
                found.push((id.value(), bytes.value()));
            }
            Ok(found)
        })
    }

    /// The commit that no row of a table is newer than.
    pub(crate) fn newest_row(&self) -> Result<u64> {
        self.with(|db| {
            let value = db.begin_read()?.open_table(META)?.get(NEWEST_ROW)?;
            Ok(value.map_or(0, |v| v.value()))
        })
    }

    pub(crate) fn table_row(&self, table: &str, key: &[u8]) -> Result<Option<TableRow>> {
        self.with(|db| {
            let value = db.begin_read()?.open_table(TABLES)?.get(row_key(table, key).as_slice())?;
            value.map(|v| table_row(Bytes::copy_from_slice(key), table, v.value())).transpose()
        })
    }

    /// At most `limit` rows of a table, in order of key.
    pub(crate) fn table_rows(&self, table: &str, from: Bound<&[u8]>, limit: usize) -> Result<Vec<TableRow>> {
        let start = from.map(|key| row_key(table, key));
        let end = table_end(table);
        self.with(|db| {
            let rows = db.begin_read()?.open_table(TABLES)?;
            let range = (start.as_ref().map(Vec::as_slice), Excluded(end.as_slice()));
            let mut found = Vec::new();
            for row in rows.range::<&[u8]>(range)?.take(limit) {
                let (key, value) = row?;
                let key = Bytes::copy_from_slice(key.value().get(table.len() + 1..).unwrap_or_default());
                found.push(table_row(key, table, value.value())?);
            }
            Ok(found)
        })
    }

    /// Tables that have rows here and whose names start with `prefix`, in order.
    pub(crate) fn table_names(&self, prefix: &str) -> Result<Vec<String>> {
        self.with(|db| {
            let rows = db.begin_read()?.open_table(TABLES)?;
            let mut names: Vec<String> = Vec::new();
            let mut from = prefix.as_bytes().to_vec();
            // From table to table, not from row to row.
            while let Some(row) = rows.range::<&[u8]>((Included(from.as_slice()), Unbounded))?.next() {
                let key = row?.0;
                let name = key.value().split(|&byte| byte == END).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                if !name.starts_with(prefix) {
                    break;
                }
                from = table_end(&name);
                names.push(name);
            }
            Ok(names)
        })
    }

    /// One checkpoint, durable when this returns.
    pub(crate) fn write(&self, changes: &Changes) -> Result<()> {
        self.with(|db| write(db, changes))
    }
}

/// Ends the name of a table, which has no such byte in it.
const END: u8 = 0;

fn row_key(table: &str, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() + 1 + key.len());
    out.extend_from_slice(table.as_bytes());
    out.push(END);
    out.extend_from_slice(key);
    out
}

/// Behind all rows of a table.
fn table_end(table: &str) -> Vec<u8> {
    let mut out = table.as_bytes().to_vec();
    out.push(END + 1);
    out
}

fn table_row(key: Bytes, table: &str, row: &[u8]) -> Result<TableRow> {
    let decode = |source| Error::Decode { what: "row", whose: format!("table {table}"), source };
    Ok(TableRow { key, value: TableRow::decode(row).map_err(decode)? })
}

fn write_tables(txn: &redb::WriteTransaction, changes: &[TableChanges]) -> Result<()> {
    let mut rows = txn.open_table(TABLES)?;
    let mut newest = 0;
    for table in changes {
        if table.cleared > 0 {
            let (start, end) = (row_key(&table.name, b""), table_end(&table.name));
            // A row that cannot be read is not worth keeping.
            let stays = |_: &[u8], row: &[u8]| TableRow::decode(row).is_ok_and(|v| v.version > table.cleared);
            rows.retain_in(start.as_slice()..end.as_slice(), stays)?;
        }
        for (key, lsn, value) in &table.rows {
            let key = row_key(&table.name, key);
            newest = newest.max(*lsn);
            match value {
                Some(value) => drop(rows.insert(key.as_slice(), TableRow::encode(value).as_slice())?),
                None => drop(rows.remove(key.as_slice())?),
            }
        }
    }
    let mut meta = txn.open_table(META)?;
    let known = meta.get(NEWEST_ROW)?.map_or(0, |v| v.value());
    if newest > known {
        meta.insert(NEWEST_ROW, newest)?;
    }
    Ok(())
}

fn write(db: &Database, changes: &Changes) -> Result<()> {
    let mut txn = db.begin_write()?;
    // After a kill the store opens at once instead of reading all of itself.
    txn.set_quick_repair(true);
    write_tables(&txn, &changes.tables)?;
    {
        let mut names = txn.open_table(NAMES)?;
        let mut topics = txn.open_table(TOPICS)?;
        let mut ledgers = txn.open_table(LEDGERS)?;
        for gone in &changes.deleted {
            let named = names.get(gone.name.as_str())?.map(|v| v.value());
            if named == Some(gone.id) {
                names.remove(gone.name.as_str())?;
            }
            topics.remove(gone.id)?;
            for &ledger in &gone.ledgers {
                ledgers.remove(ledger)?;
            }
        }
        for row in &changes.rows {
            topics.insert(row.id, row.state.as_slice())?;
            for &ledger in &row.opened {
                ledgers.insert(ledger, row.id)?;
            }
            for &ledger in &row.closed {
                ledgers.remove(ledger)?;
            }
        }
        // In order of name, so that each page is touched once.
        let mut by_name: Vec<_> = changes.rows.iter().map(|r| (r.name.as_str(), r.id)).collect();
        by_name.sort_unstable();
        for (name, id) in by_name {
            let known = names.get(name)?.map(|v| v.value());
            if known != Some(id) {
                names.insert(name, id)?;
            }
        }
        let mut partitions = txn.open_table(PARTITIONS)?;
        for (name, count) in &changes.partitions {
            match count {
                Some(count) => partitions.insert(name.as_str(), count)?,
                None => partitions.remove(name.as_str())?,
            };
        }
        if let Some(all) = &changes.segments {
            let mut segments = txn.open_table(SEGMENTS)?;
            segments.retain(|id, _| all.binary_search_by_key(&id, |s| s.0).is_ok())?;
            for (id, bytes) in all {
                segments.insert(id, bytes)?;
            }
        }
        txn.open_table(META)?.insert(CHECKPOINT, changes.checkpoint)?;
    }
    txn.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{StorageBackend, backends::InMemoryBackend};
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    /// A file that outlives those who opened it, on a disk that may be full.
    #[derive(Clone, Debug)]
    struct Disk(Arc<(InMemoryBackend, AtomicBool)>);

    impl StorageBackend for Disk {
        fn len(&self) -> Result<u64, std::io::Error> {
            self.0.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
            self.0.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
            self.0.0.set_len(len)
        }

        fn sync_data(&self) -> Result<(), std::io::Error> {
            self.0.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
            if self.0.1.load(Relaxed) {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.0.write(offset, data)
        }
    }

    fn row(id: u64) -> Row {
        Row { name: format!("t{id}"), id, state: vec![1; 100], opened: Vec::new(), closed: Vec::new() }
    }

    #[test]
    fn after_a_full_disk_it_can_be_read_and_written_again() {
        let disk = Disk(Arc::new((InMemoryBackend::new(), AtomicBool::new(false))));
        let file = disk.clone();
        let catalog = Catalog::open_with(move || Ok(Database::builder().create_with_backend(file.clone())?)).unwrap();
        catalog.write(&Changes { checkpoint: 1, rows: vec![row(1)], ..Changes::default() }).unwrap();
        disk.0.1.store(true, Relaxed);
        let more = Changes { checkpoint: 2, rows: vec![row(2)], ..Changes::default() };
        catalog.write(&more).unwrap_err();
        disk.0.1.store(false, Relaxed);
        assert_eq!(catalog.checkpoint().unwrap(), 1);
        assert_eq!((catalog.topic_id("t1").unwrap(), catalog.topic_id("t2").unwrap()), (Some(1), None));
        catalog.write(&more).unwrap();
        assert_eq!((catalog.checkpoint().unwrap(), catalog.names("t").unwrap().len()), (2, 2));
    }
}
