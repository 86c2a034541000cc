//! Keys in one file on this machine: a log of changes, each synced before it is answered, rewritten as a whole when
//! most of it is out of date.
//!
//! A record is `[u32 length][u32 crc32c][kind][u16 key length][key][value]`, big-endian; the length counts what follows
//! the checksum. A torn record at the end was never answered and is cut off. A bad one before the end is damage.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
use tokio::sync::broadcast;

use crate::{Change, Error, Expect, Metastore, Result, Version, memory::Table};

const MAGIC: &[u8; 8] = b"GMGMETA1";
const HEAD: usize = 8;
/// Longest record; a length beyond it is damage, not a reason to allocate.
const RECORD_MAX: usize = 64 * 1024 * 1024;
/// Below this size the log is never rewritten.
const COMPACT_MIN: u64 = 256 * 1024;

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// The revision that the next record raises, at the start of a rewritten log.
const REVISION: u8 = 3;
/// A key of a rewritten log, with its own version before the value.
const ROW: u8 = 4;

/// See the module.
#[derive(Debug)]
pub struct FileStore {
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    path: PathBuf,
    file: File,
    bytes: u64,
    live_bytes_at_compaction: u64,
    failed: bool,
    _lock: File,
}

impl FileStore {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::Corrupt`] when the file is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("metadata.log");
        seams::make_dir(dir).map_err(io_error("create", dir))?;
        let lock_path = dir.join("metadata.lock");
        let lock = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path: dir.to_owned() }),
            Err(errno) => return Err(io_error("lock", &lock_path)(errno.into())),
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let mut data = Vec::new();
        file.read_to_end(&mut data).map_err(io_error("read", &path))?;
        let (table, good) = replay(&path, &data)?;
        if good < data.len() || data.is_empty() {
            file.set_len(good as u64).map_err(io_error("truncate", &path))?;
            if good == 0 {
                file.rewind().and_then(|()| file.write_all(MAGIC)).map_err(io_error("write", &path))?;
            }
            file.sync_all().map_err(io_error("sync", &path))?;
            sync_dir(dir)?;
        }
        let bytes = good.max(MAGIC.len()) as u64;
        file.seek(SeekFrom::Start(bytes)).map_err(io_error("seek in", &path))?;
        let inner = Inner { table, path, file, bytes, live_bytes_at_compaction: bytes, failed: false, _lock: lock };
        Ok(Self { inner: Mutex::new(inner), changes: broadcast::channel(1024).0 })
    }

    fn change(&self, key: &str, value: Option<Bytes>, expect: Expect) -> Result<Version> {
        let mut inner = self.inner.lock();
        if inner.failed {
            return Err(Error::Failed);
        }
        inner.table.check(key, expect)?;
        if value.is_none() && !inner.table.rows.contains_key(key) {
            return Ok(Version(inner.table.revision));
        }
        if key.len() > usize::from(u16::MAX) || value.as_ref().is_some_and(|v| v.len() > RECORD_MAX / 2) {
            return Err(Error::BadValue { key: key.chars().take(80).collect(), reason: "too long".into() });
        }
        let kind = if value.is_some() { PUT } else { DELETE };
        let record = encode(kind, key, value.as_deref().unwrap_or_default());
        inner.append(&record)?;
        let change = inner.table.apply(key, value);
        let version = change.version;
        let _ = self.changes.send(change); // nobody may be watching
        if inner.bytes > COMPACT_MIN && inner.bytes > 4 * inner.live_bytes_at_compaction {
            inner.compact()?;
        }
        Ok(version)
    }
}

impl Inner {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        let failed = io_error("write", &self.path);
        if let Err(source) = self.file.write_all(record) {
            // A full disk may have room again later; what it took of the record goes, so that the next one follows the last whole one.
            let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            self.failed = !full || self.cut().is_err();
            return Err(failed(source));
        }
        if let Err(source) = self.file.sync_data() {
            // Whether it is on disk is not known, and a second sync would not tell.
            self.failed = true;
            return Err(failed(source));
        }
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// Takes away what was written behind the last record that was answered.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.sync_all()
    }

    /// Writes the keys as they are now to a new file and puts it in place of the log.
    fn compact(&mut self) -> Result<()> {
        let temporary = self.path.with_extension("new");
        let mut data = MAGIC.to_vec();
        data.extend(encode(REVISION, "", &self.table.revision.to_be_bytes()));
        for (key, (value, version)) in &self.table.rows {
            let mut row = version.0.to_be_bytes().to_vec();
            row.extend_from_slice(value);
            data.extend(encode(ROW, key, &row));
        }
        let written = (|| {
            let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&temporary)?;
            file.write_all(&data)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            Ok(file)
        })();
        match written {
            Ok(file) => {
                self.file = file;
                self.bytes = data.len() as u64;
                self.live_bytes_at_compaction = self.bytes;
                sync_dir(self.path.parent().unwrap_or(Path::new("."))).inspect_err(|_| self.failed = true)
            }
            Err(source) => {
                // The log as it is still holds everything; try again when it has grown further.
                tracing::warn!(path = %self.path.display(), error = %source, "metadata log could not be rewritten");
                self.live_bytes_at_compaction = self.bytes;
                let _: io::Error = source;
                Ok(())
            }
        }
    }
}

fn encode(kind: u8, key: &str, value: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(3 + key.len() + value.len());
    body.push(kind);
    body.extend((key.len() as u16).to_be_bytes());
    body.extend(key.as_bytes());
    body.extend(value);
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend((body.len() as u32).to_be_bytes());
    record.extend(crc(&body).to_be_bytes());
    record.extend(body);
    record
}

fn crc(data: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data) as u32
}

/// The keys that a log describes, and how many of its bytes are good.
fn replay(path: &Path, data: &[u8]) -> Result<(Table, usize)> {
    let corrupt = |offset: usize, reason| Error::Corrupt { path: path.to_owned(), offset: offset as u64, reason };
    let mut table = Table::default();
    if data.len() < MAGIC.len() {
        // Not even the first write got through.
        return if MAGIC.starts_with(data) { Ok((table, 0)) } else { Err(corrupt(0, "not a metadata log")) };
    }
    if &data[..MAGIC.len()] != MAGIC {
        return Err(corrupt(0, "not a metadata log"));
    }
    let mut at = MAGIC.len();
    while at < data.len() {
        let rest = &data[at..];
        match parse(rest) {
            Ok((kind, key, value, length)) => {
                let value = Bytes::copy_from_slice(value);
                match kind {
                    PUT => drop(table.apply(key, Some(value))),
                    DELETE => drop(table.apply(key, None)),
                    REVISION if value.len() == 8 => table.revision = be64(&value),
                    ROW if value.len() >= 8 => {
                        table.rows.insert(key.to_owned(), (value.slice(8..), Version(be64(&value[..8]))));
                    }
                    _ => return Err(corrupt(at, "unknown record")),
                }
                at += length;
            }
            // Changes are synced one by one, so only the last record can be torn: nothing good may follow it.
            Err(_) if !(1..rest.len()).any(|skip| parse(&rest[skip..]).is_ok()) => break,
            Err(reason) => return Err(corrupt(at, reason)),
        }
    }
    Ok((table, at))
}

type Parsed<'a> = (u8, &'a str, &'a [u8], usize);

fn parse(data: &[u8]) -> std::result::Result<Parsed<'_>, &'static str> {
    let head = data.get(..HEAD).ok_or("torn record")?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let expected = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if !(3..=RECORD_MAX).contains(&length) {
        return Err("bad length");
    }
    let body = data.get(HEAD..HEAD + length).ok_or("torn record")?;
    if crc(body) != expected {
        return Err("bad checksum");
    }
    let key_length = usize::from(u16::from_be_bytes([body[1], body[2]]));
    let key = body.get(3..3 + key_length).ok_or("bad key length")?;
    let key = std::str::from_utf8(key).map_err(|_| "key is not text")?;
    Ok((body[0], key, &body[3 + key_length..], HEAD + length))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b))
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error("sync", dir))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

#[async_trait::async_trait]
impl Metastore for FileStore {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        Ok(self.inner.lock().table.rows.get(key).cloned())
    }

    // A change blocks for one sync; there are few, and they are short.
    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Version> {
        self.change(key, Some(value), expect)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<()> {
        self.change(key, None, expect).map(drop)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes, Version)>> {
        Ok(self.inner.lock().table.list(prefix))
    }

    fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
