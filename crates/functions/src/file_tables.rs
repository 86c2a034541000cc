//! Tables in one file: for functions that run without a broker in their process, on one machine.
//!
//! The file is a log of batches; what its rows are now is in memory. A write is there when it is on disk, whole or not at all. When most
//! of the log is of the past, it is written anew. One process has it at a time.
//!
//! ```text
//! file = "GEMSTAT1" *( head batch )          batch = the protobuf message `Batch` below
//! head = length:u32le crc32c:u32le check:u32le          the crc is the batch's; check = crc32c(offset:u64le length crc32c)
//! ```
//! A batch is on disk before the next is written, so a stop can only leave the last one half there: shorter than its head says, or with
//! zeros where it was not written. That end is cut off. Whatever else is not as it was written is damage, and the log is not opened: it
//! must not go on from what would be left.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use std::{
    collections::{BTreeMap, HashMap},
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

/// How a file begins.
const MAGIC: [u8; 8] = *b"GEMSTAT1";
/// Bytes before a batch.
const HEAD_BYTES: usize = 12;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;
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

/// All rows, and about what a log of only these takes.
#[derive(Default)]
struct Rows {
    tables: BTreeMap<String, BTreeMap<Bytes, Row>>,
    bytes: u64,
}

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

    /// Whether what was written before can be read; where nothing was, nothing is made.
    ///
    /// # Errors
    /// It is damaged, or another process has it.
    pub async fn check(&self) -> Result<()> {
        match tokio::fs::try_exists(&self.path).await.map_err(failed("look for", &self.path))? {
            true => self.is_open().await,
            false => Ok(()),
        }
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
            open.bytes += append(&mut open.file, open.bytes, &batch).map_err(failed("write", &path))?;
            rows.write().apply(batch);
            // Nobody else writes.
            let rows = rows.read();
            if open.bytes > LOG_BYTES_MIN.max(LOG_FACTOR * rows.bytes) {
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
        Ok(self.rows.read().get(table, key).cloned())
    }

    async fn scan(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>> {
        self.is_open().await?;
        let rows = self.rows.read();
        let Some(rows) = rows.tables.get(table) else { return Ok(Vec::new()) };
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
    // What the same batch has done before counts.
    let mut own: HashMap<(Arc<str>, Bytes), usize> = HashMap::new();
    for TableChange { table, key, change } in changes {
        let before = own.insert((table.clone(), key.clone()), batch.rows.len()).and_then(|at| batch.rows.get(at));
        let (value, version) = match before {
            Some(row) => (row.value.clone(), Some(row.version)),
            None => match rows.get(&table, &key) {
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

impl Rows {
    fn get(&self, table: &str, key: &[u8]) -> Option<&Row> {
        self.tables.get(table)?.get(key)
    }

    fn apply(&mut self, batch: Batch) {
        for table in batch.forgotten {
            let gone = self.tables.remove(&table).unwrap_or_default();
            self.bytes -= gone.iter().map(|(key, row)| bytes_of(&table, key, row)).sum::<u64>();
        }
        for Changed { table, key, value, version } in batch.rows {
            if let Some(value) = value {
                let row = Row { value, version };
                self.bytes += bytes_of(&table, &key, &row);
                let old = self.tables.entry(table.clone()).or_default().insert(key.clone(), row);
                self.bytes -= old.map_or(0, |old| bytes_of(&table, &key, &old));
            } else if let Some(old) = self.tables.get_mut(&table).and_then(|rows| rows.remove(&key)) {
                self.bytes -= bytes_of(&table, &key, &old);
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = (&String, &Bytes, &Row)> {
        self.tables.iter().flat_map(|(table, rows)| rows.iter().map(move |(key, row)| (table, key, row)))
    }
}

/// About what a row takes in a log.
fn bytes_of(table: &str, key: &Bytes, row: &Row) -> u64 {
    (table.len() + key.len() + row.value.len() + 16) as u64
}

/// Writes a batch at this offset; how many bytes it takes.
fn append(file: &mut File, at: u64, batch: &Batch) -> io::Result<u64> {
    let body = batch.encode_to_vec();
    if body.len() > BATCH_BYTES_MAX {
        return Err(io::Error::other(format!("{} bytes at once are too many, {BATCH_BYTES_MAX} may be", body.len())));
    }
    let head = Head { bytes: u32::try_from(body.len()).map_err(io::Error::other)?, crc: wire::crc32c(&body) };
    let record = [&head.written(at)[..], &body].concat();
    file.write_all(&record)?;
    file.sync_data()?;
    Ok(record.len() as u64)
}

/// What is before a batch.
struct Head {
    bytes: u32,
    crc: u32,
}

impl Head {
    fn written(&self, at: u64) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&self.bytes.to_le_bytes());
        head[4..8].copy_from_slice(&self.crc.to_le_bytes());
        let mut checked = [0; 16];
        checked[..8].copy_from_slice(&at.to_le_bytes());
        checked[8..].copy_from_slice(&head[..8]);
        head[8..].copy_from_slice(&wire::crc32c(&checked).to_le_bytes());
        head
    }

    /// Nothing where this is no head that was written at this offset.
    fn read(head: &[u8; HEAD_BYTES], at: u64) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, ..] = *head;
        let read = Self { bytes: u32::from_le_bytes([a, b, c, d]), crc: u32::from_le_bytes([e, f, g, h]) };
        (read.bytes > 0 && read.bytes as usize <= BATCH_BYTES_MAX && read.written(at) == *head).then_some(read)
    }

    /// The batch after it, where it is as it was written.
    fn batch(&self, body: &[u8]) -> Option<Batch> {
        (wire::crc32c(body) == self.crc).then(|| Batch::decode(body).ok()).flatten()
    }
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
    let all = begin(file, path)?;
    let mut from = BufReader::with_capacity(1 << 20, file);
    let (mut rows, mut good) = (Rows::default(), MAGIC.len() as u64);
    loop {
        let damaged = || {
            Error::Closed(format!(
                "the state in {} is damaged at byte {good} of {all} and is not used: put a copy in its place, or move it away to begin \
                 without state",
                path.display()
            ))
        };
        if all - good < HEAD_BYTES as u64 {
            return Ok((rows, good));
        }
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head).map_err(failed("read", path))?;
        let Some(known) = Head::read(&head, good) else {
            let mut rest = Vec::new();
            from.read_to_end(&mut rest).map_err(failed("read", path))?;
            return if is_unwritten(&head, good) && !has_batch(&rest, good + HEAD_BYTES as u64) {
                Ok((rows, good))
            } else {
                Err(damaged())
            };
        };
        let end = good + HEAD_BYTES as u64 + u64::from(known.bytes);
        if end > all {
            return Ok((rows, good));
        }
        let mut body = vec![0; known.bytes as usize];
        from.read_exact(&mut body).map_err(failed("read", path))?;
        match known.batch(&body) {
            Some(batch) => rows.apply(batch),
            // What of it reached the disk is not said.
            None if end == all => return Ok((rows, good)),
            None => return Err(damaged()),
        }
        good = end;
    }
}

/// Reads how the file begins, or makes it begin so; its length.
fn begin(file: &mut File, path: &Path) -> Result<u64> {
    let all = file.metadata().map_err(failed("read", path))?.len();
    file.seek(SeekFrom::Start(0)).map_err(failed("read", path))?;
    let mut start = Vec::new();
    Read::by_ref(file).take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed("read", path))?;
    if start == MAGIC {
        return Ok(all);
    }
    // A stop may come before that is written.
    if all <= MAGIC.len() as u64 && (MAGIC.starts_with(&start) || start.iter().all(|byte| *byte == 0)) {
        let begun = file.set_len(0).and_then(|()| file.write_all(&MAGIC)).and_then(|()| file.sync_all());
        begun.map_err(failed("write", path))?;
        return Ok(MAGIC.len() as u64);
    }
    Err(Error::Closed(format!("{} is no state of this program, and is left as it is", path.display())))
}

/// Whether a sector that part of this head is in was not written.
fn is_unwritten(head: &[u8], at: u64) -> bool {
    let first = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(usize::MAX).min(head.len());
    let (one, other) = head.split_at(first);
    [one, other].iter().any(|part| !part.is_empty() && part.iter().all(|byte| *byte == 0))
}

/// Whether there is a whole batch anywhere in this, which begins at this offset.
fn has_batch(bytes: &[u8], at: u64) -> bool {
    (0..bytes.len()).any(|from| {
        let Some((head, rest)) = bytes[from..].split_first_chunk::<HEAD_BYTES>() else { return false };
        let Some(head) = Head::read(head, at + from as u64) else { return false };
        rest.get(..head.bytes as usize).is_some_and(|body| head.batch(body).is_some())
    })
}

/// The log with nothing of the past in it.
fn rewrite(path: &Path, rows: &Rows) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut file = File::options().create(true).write(true).truncate(true).open(&new)?;
    file.write_all(&MAGIC)?;
    let mut bytes = MAGIC.len() as u64;
    let mut batch = Batch::default();
    let mut in_batch = 0;
    for (table, key, row) in rows.each() {
        in_batch += row.value.len();
        let (key, value) = (key.clone(), Some(row.value.clone()));
        batch.rows.push(Changed { table: table.clone(), key, value, version: row.version });
        if batch.rows.len() >= REWRITTEN_ROWS || in_batch >= REWRITTEN_BYTES {
            bytes += append(&mut file, bytes, &std::mem::take(&mut batch))?;
            in_batch = 0;
        }
    }
    if !batch.rows.is_empty() {
        bytes += append(&mut file, bytes, &batch)?;
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

    /// A log of two batches; where it and they begin, and its end.
    async fn two_batches(path: &Path) -> (Vec<u8>, [usize; 3]) {
        let tables = FileTables::new(path.to_owned());
        let end = || std::fs::metadata(path).unwrap().len() as usize;
        tables.write(vec![change("a", RowChange::Put("first".into()))]).await.unwrap();
        let first = end();
        tables.write(vec![change("a", RowChange::Put("second".into()))]).await.unwrap();
        (std::fs::read(path).unwrap(), [MAGIC.len(), first, end()])
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let (whole, [_, first, all]) = two_batches(&path).await;
        let mut torn: Vec<Vec<u8>> = (first..all).map(|end| whole[..end].to_vec()).collect();
        // Room that was not written yet.
        torn.extend([8, 12, 13, 5000].map(|zeros| [&whole[..first], &vec![0; zeros]].concat()));
        torn.push([&whole[..first + HEAD_BYTES], &vec![0; all - first - HEAD_BYTES]].concat());
        for (number, torn) in torn.into_iter().enumerate() {
            std::fs::write(&path, torn).unwrap();
            let tables = FileTables::new(path.clone());
            tables.check().await.unwrap();
            assert_eq!(value(&tables, "a").await.unwrap(), "first", "{number}");
            tables.write(vec![change("b", RowChange::Put("more".into()))]).await.unwrap();
            drop(tables);
            assert_eq!(value(&FileTables::new(path.clone()), "b").await.unwrap(), "more");
        }
        for begun in [0, 3, 8] {
            std::fs::write(&path, &whole[..begun]).unwrap();
            FileTables::new(path.clone()).check().await.unwrap();
        }
    }

    #[tokio::test]
    async fn damage_is_no_torn_end_whatever_it_says_of_lengths() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let (whole, [begin, first, _]) = two_batches(&path).await;
        let mut bent = Vec::new();
        for at in begin..first + HEAD_BYTES {
            for bit in [0, 7] {
                let mut one = whole.clone();
                one[at] ^= 1 << bit;
                bent.push((at, one));
            }
        }
        // A length that reaches beyond the end, and one that reaches exactly to it.
        for length in [u32::MAX, 1 << 20, (whole.len() - begin - HEAD_BYTES) as u32] {
            let mut one = whole.clone();
            one[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
            bent.push((begin, one));
        }
        // A sector of zeros, and what is behind it still there.
        bent.push((begin, [&whole[..begin], &vec![0; first - begin], &whole[first..]].concat()));
        for (at, bent) in bent {
            std::fs::write(&path, &bent).unwrap();
            let tables = FileTables::new(path.clone());
            let error = tables.check().await.unwrap_err().to_string();
            let from = if at < first { begin } else { first };
            assert!(error.contains(&format!("is damaged at byte {from} of")), "{at}: {error}");
            assert!(tables.get("state/f", b"a").await.is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bent, "nothing is cut off");
        }
        std::fs::write(&path, "another program's").unwrap();
        let error = FileTables::new(path.clone()).check().await.unwrap_err().to_string();
        assert!(error.contains("is no state of this program"), "{error}");
        std::fs::remove_file(&path).unwrap();
        FileTables::new(path.clone()).check().await.unwrap();
        assert!(!path.exists(), "to look makes nothing");
    }

    #[tokio::test]
    async fn what_rows_take_is_known_without_looking_at_all_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let tables = FileTables::new(dir.path().join("f"));
        let is_right = || {
            let rows = tables.rows.read();
            assert_eq!(rows.bytes, rows.each().map(|(table, key, row)| bytes_of(table, key, row)).sum::<u64>());
            rows.bytes
        };
        let other = TableChange { table: "window/f".into(), ..change("a", RowChange::Put("element".into())) };
        tables.write(vec![change("a", RowChange::Put("long, then short".into())), other]).await.unwrap();
        tables.write(vec![change("n", RowChange::Add(1)), change("n", RowChange::Add(1))]).await.unwrap();
        is_right();
        tables.write(vec![change("a", RowChange::Put("".into())), change("b", RowChange::Delete)]).await.unwrap();
        tables.write(vec![change("c", RowChange::Put("c".into())), change("c", RowChange::Delete)]).await.unwrap();
        assert!(is_right() > 0);
        tables.delete_table("state/f").await.unwrap();
        tables.delete_table("not/there").await.unwrap();
        assert!(is_right() > 0);
        tables.delete_table("window/f").await.unwrap();
        assert_eq!(is_right(), 0);
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
