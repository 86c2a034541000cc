//! Tables in one file: for functions that run without a broker in their process, on one machine.
//!
//! The file is a log of batches; what its rows are now is in memory. A write is there when it is on disk, whole or not at all. When most
//! of the log is of the past, it is written anew. One process has it at a time.
//!
//! ```text
//! file  = *( length:u32le crc32c:u32le batch )        batch = the protobuf message `Batch` below
//! ```

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    ops::Bound::{Excluded, Included, Unbounded},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

use crate::{
    Error, Result, Tables,
    event_log::{Row, RowChange, TableChange},
};

/// The largest batch that is read back.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// A log below this is not written anew.
const LOG_BYTES_MIN: u64 = 4 << 20;
/// One of so many times the size of what is in it is.
const LOG_FACTOR: u64 = 4;
/// Rows of a batch when the log is written anew.
const REWRITTEN_ROWS: usize = 1000;
/// And bytes of their values, unless one alone has more.
const REWRITTEN_BYTES: usize = 4 << 20;

/// See the module. Nothing is opened before it is used.
pub struct FileTables {
    path: PathBuf,
    rows: Arc<parking_lot::RwLock<Rows>>,
    log: Arc<Mutex<Option<Log>>>,
}

type Rows = BTreeMap<String, BTreeMap<Bytes, Row>>;

struct Log {
    file: File,
    bytes: u64,
    /// Held as long as the log is open.
    _lock: File,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<Changed>,
    /// Tables that are forgotten, before the rows.
    #[prost(string, repeated, tag = "2")]
    forgotten: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Changed {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    /// None: the row is gone.
    #[prost(bytes = "bytes", optional, tag = "3")]
    value: Option<Bytes>,
    #[prost(uint64, tag = "4")]
    version: u64,
}

impl FileTables {
    /// The tables in the file at `path`; made when something is written.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, rows: Arc::default(), log: Arc::default() }
    }

    /// Opens the log, the first time.
    async fn open(&self) -> Result<tokio::sync::OwnedMutexGuard<Option<Log>>> {
        let mut log = self.log.clone().lock_owned().await;
        if log.is_none() {
            let path = self.path.clone();
            let (opened, rows) = blocking(move || open(&path)).await?;
            *self.rows.write() = rows;
            *log = Some(opened);
        }
        Ok(log)
    }

    async fn is_open(&self) -> Result<()> {
        self.open().await.map(drop)
    }

    async fn append(&self, batch: Batch, mut log: tokio::sync::OwnedMutexGuard<Option<Log>>) -> Result<()> {
        let (rows, path) = (self.rows.clone(), self.path.clone());
        blocking(move || {
            let Some(mut open) = log.take() else { return Err(Error::Closed("the state is closed".into())) };
            // A write that failed half way is cut off when it is opened again.
            open.bytes += append(&mut open.file, &batch).map_err(failed("write", &path))?;
            let mut rows = rows.write();
            apply(&mut rows, batch);
            if open.bytes > LOG_BYTES_MIN.max(LOG_FACTOR * bytes_of(&rows)) {
                // What was to be written is; that the past takes room is no reason to say otherwise.
                match rewrite(&path, &rows) {
                    Ok((file, bytes)) => (open.file, open.bytes) = (file, bytes),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "the log of state cannot be made smaller")
                    }
                }
            }
            *log = Some(open);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Tables for FileTables {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>> {
        self.is_open().await?;
        Ok(self.rows.read().get(table).and_then(|rows| rows.get(key)).cloned())
    }

    async fn scan(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>> {
        self.is_open().await?;
        let rows = self.rows.read();
        let Some(rows) = rows.get(table) else { return Ok(Vec::new()) };
        let from = match after.filter(|after| *after > prefix) {
            Some(after) => Excluded(after),
            None => Included(prefix),
        };
        let found = rows.range::<[u8], _>((from, Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.take(limit).map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    async fn write(&self, changes: Vec<TableChange>) -> Result<()> {
        let log = self.open().await?;
        let batch = batch(&self.rows.read(), changes)?;
        self.append(batch, log).await
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        let log = self.open().await?;
        self.append(Batch { forgotten: vec![table.to_owned()], ..Batch::default() }, log).await
    }
}

/// What a function without a place for state is told.
pub struct NoTables;

impl NoTables {
    fn refused<T>() -> Result<T> {
        Err(Error::Invalid(
            "state is not kept here: say where with --state_storage_serviceurl file:///DIRECTORY".into(),
        ))
    }
}

#[async_trait]
impl Tables for NoTables {
    async fn get(&self, _: &str, _: &[u8]) -> Result<Option<Row>> {
        Self::refused()
    }

    async fn scan(&self, _: &str, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<(Bytes, Row)>> {
        Self::refused()
    }

    async fn write(&self, _: Vec<TableChange>) -> Result<()> {
        Self::refused()
    }

    async fn delete_table(&self, _: &str) -> Result<()> {
        Self::refused()
    }
}

/// What changes make of rows: a counter's sum is written, so that reading it back adds nothing.
fn batch(rows: &Rows, changes: Vec<TableChange>) -> Result<Batch> {
    let mut batch = Batch::default();
    for TableChange { table, key, change } in changes {
        // What the same batch has done before counts.
        let own = batch.rows.iter().rev().find(|row| *row.table == *table && row.key == key);
        let (value, version) = match own {
            Some(row) => (row.value.clone(), Some(row.version)),
            None => match rows.get(&*table).and_then(|rows| rows.get(&key)) {
                Some(row) => (Some(row.value.clone()), Some(row.version)),
                None => (None, None),
            },
        };
        let value = match change {
            RowChange::Put(value) => Some(value),
            RowChange::Delete => None,
            RowChange::Add(amount) => {
                let old = value.map_or(Ok(0), |value| value[..].try_into().map(i64::from_be_bytes));
                let old = old.map_err(|_| Error::Invalid("the row is no counter".into()))?;
                Some(Bytes::copy_from_slice(&old.wrapping_add(amount).to_be_bytes()))
            }
        };
        let version = version.map_or(0, |version| version + 1);
        batch.rows.push(Changed { table: table.to_string(), key, value, version });
    }
    Ok(batch)
}

fn apply(rows: &mut Rows, batch: Batch) {
    for table in batch.forgotten {
        rows.remove(&table);
    }
    for Changed { table, key, value, version } in batch.rows {
        match value {
            Some(value) => {
                rows.entry(table).or_default().insert(key, Row { value, version });
            }
            None => {
                rows.get_mut(&table).and_then(|rows| rows.remove(&key));
            }
        }
    }
}

/// About what a log of only these takes.
fn bytes_of(rows: &Rows) -> u64 {
    let table = |(name, rows): (&String, &BTreeMap<Bytes, Row>)| {
        rows.iter().map(|(key, row)| (name.len() + key.len() + row.value.len() + 16) as u64).sum::<u64>()
    };
    rows.iter().map(table).sum()
}

fn append(file: &mut File, batch: &Batch) -> io::Result<u64> {
    let body = batch.encode_to_vec();
    if body.len() > BATCH_BYTES_MAX {
        return Err(io::Error::other(format!("{} bytes at once are too many, {BATCH_BYTES_MAX} may be", body.len())));
    }
    let mut record = Vec::with_capacity(body.len() + 8);
    record.extend_from_slice(&u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes());
    record.extend_from_slice(&wire::crc32c(&body).to_le_bytes());
    record.extend_from_slice(&body);
    file.write_all(&record)?;
    file.sync_data()?;
    Ok(record.len() as u64)
}

fn open(path: &Path) -> Result<(Log, Rows)> {
    let dir = path.parent().unwrap_or(Path::new("."));
    seams::make_dir(dir).map_err(failed("make", dir))?;
    let lock = path.with_extension("lock");
    let lock = File::options().create(true).append(true).open(&lock).map_err(failed("open", &lock))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            Error::Closed(format!("the state in {} is in use by another process", path.display()))
        }
        TryLockError::Error(error) => failed("lock", path)(error),
    })?;
    let mut file = File::options().create(true).read(true).append(true).open(path).map_err(failed("open", path))?;
    let (rows, good) = read(&mut file, path)?;
    file.set_len(good).and_then(|()| file.sync_all()).map_err(failed("write", path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("open", dir))?;
    Ok((Log { file, bytes: good, _lock: lock }, rows))
}

/// All rows, and where the log ends. What a stop left half written at its end is no part of it.
fn read(file: &mut File, path: &Path) -> Result<(Rows, u64)> {
    let all = file.metadata().map_err(failed("read", path))?.len();
    file.seek(SeekFrom::Start(0)).map_err(failed("read", path))?;
    let mut from = BufReader::with_capacity(1 << 20, file);
    let (mut rows, mut good) = (Rows::new(), 0u64);
    while good < all {
        let mut head = [0; 8];
        if all - good < 8 {
            break;
        }
        from.read_exact(&mut head).map_err(failed("read", path))?;
        let [a, b, c, d, e, f, g, h] = head;
        let (size, sum) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
        let end = good + 8 + size as u64;
        if end > all {
            break;
        }
        let damaged = || Error::Closed(format!("the state in {} is damaged at byte {good}", path.display()));
        if size > BATCH_BYTES_MAX {
            return Err(damaged());
        }
        let mut body = vec![0; size];
        from.read_exact(&mut body).map_err(failed("read", path))?;
        match Batch::decode(&body[..]) {
            Ok(batch) if size > 0 && wire::crc32c(&body) == sum => apply(&mut rows, batch),
            // Blocks that were allocated and not written are zeros.
            _ if end == all || size == 0 => break,
            _ => return Err(damaged()),
        }
        good = end;
    }
    Ok((rows, good))
}

/// The log with nothing of the past in it.
fn rewrite(path: &Path, rows: &Rows) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut file = File::options().create(true).write(true).truncate(true).open(&new)?;
    let all: Vec<Changed> = rows
        .iter()
        .flat_map(|(table, rows)| {
            rows.iter().map(|(key, row)| Changed {
                table: table.clone(),
                key: key.clone(),
                value: Some(row.value.clone()),
                version: row.version,
            })
        })
        .collect();
    let mut bytes = 0;
    let mut batch = Batch::default();
    let mut in_batch = 0;
    for row in all {
        in_batch += row.value.as_ref().map_or(0, |value| value.len());
        batch.rows.push(row);
        if batch.rows.len() >= REWRITTEN_ROWS || in_batch >= REWRITTEN_BYTES {
            bytes += append(&mut file, &std::mem::take(&mut batch))?;
            in_batch = 0;
        }
    }
    if !batch.rows.is_empty() {
        bytes += append(&mut file, &batch)?;
    }
    std::fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok((file, bytes))
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |error| Error::Io { what: format!("{what} {}", path.display()), why: error.to_string() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::Closed("the state is closed".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, change: RowChange) -> TableChange {
        TableChange { table: "state/f".into(), key: Bytes::copy_from_slice(key.as_bytes()), change }
    }

    async fn value(tables: &FileTables, key: &str) -> Option<Bytes> {
        tables.get("state/f", key.as_bytes()).await.unwrap().map(|row| row.value)
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/f");
        let tables = FileTables::new(path.clone());
        assert!(!path.exists(), "nothing is made before it is used");
        for _ in 0..3 {
            tables.write(vec![change("n", RowChange::Add(2)), change("n", RowChange::Add(1))]).await.unwrap();
        }
        tables
            .write(vec![change("a", RowChange::Put("x".into())), change("b", RowChange::Put("y".into()))])
            .await
            .unwrap();
        tables.write(vec![change("b", RowChange::Delete)]).await.unwrap();
        let second = FileTables::new(path.clone());
        let error = second.get("state/f", b"n").await.unwrap_err().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        drop(tables);
        let tables = FileTables::new(path);
        assert_eq!(value(&tables, "n").await.unwrap()[..], 9i64.to_be_bytes());
        assert_eq!((value(&tables, "a").await, value(&tables, "b").await), (Some("x".into()), None));
        assert!(matches!(tables.write(vec![change("a", RowChange::Add(1))]).await, Err(Error::Invalid(_))));
        let found = tables.scan("state/f", b"", Some(b"a"), 10).await.unwrap();
        assert_eq!(found.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"n"]);
        tables.delete_table("state/f").await.unwrap();
        assert_eq!(value(&tables, "n").await, None);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_off_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let tables = FileTables::new(path.clone());
        tables.write(vec![change("a", RowChange::Put("first".into()))]).await.unwrap();
        let first = std::fs::metadata(&path).unwrap().len() as usize;
        tables.write(vec![change("a", RowChange::Put("second".into()))]).await.unwrap();
        drop(tables);
        let whole = std::fs::read(&path).unwrap();
        for end in first..whole.len() {
            let zeros = vec![0; end % 3 * 8];
            std::fs::write(&path, [&whole[..end], if end == first { &zeros[..] } else { &[] }].concat()).unwrap();
            let tables = FileTables::new(path.clone());
            assert_eq!(value(&tables, "a").await.unwrap(), "first", "cut at {end}");
            tables.write(vec![change("b", RowChange::Put("more".into()))]).await.unwrap();
            drop(tables);
            assert_eq!(value(&FileTables::new(path.clone()), "b").await.unwrap(), "more");
        }
        let mut bent = whole.clone();
        bent[10] ^= 1;
        std::fs::write(&path, bent).unwrap();
        let error = FileTables::new(path).get("state/f", b"a").await.unwrap_err().to_string();
        assert!(error.contains("damaged at byte 0"), "{error}");
    }

    #[tokio::test]
    async fn a_log_of_the_past_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let tables = FileTables::new(path.clone());
        tables.write(vec![change("keep", RowChange::Put("this".into()))]).await.unwrap();
        for n in 0..12u8 {
            tables.write(vec![change("big", RowChange::Put(vec![n; 1 << 20].into()))]).await.unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 6 << 20);
        tables.write(vec![change("after", RowChange::Put("that".into()))]).await.unwrap();
        drop(tables);
        let tables = FileTables::new(path);
        assert_eq!(
            (value(&tables, "keep").await, value(&tables, "after").await),
            (Some("this".into()), Some("that".into()))
        );
        assert_eq!(value(&tables, "big").await.unwrap()[0], 11);
    }
}
