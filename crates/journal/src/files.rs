//! The seam to the disk: a directory of files that the journal owns.

use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::FileExt, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::{
    fs::{FallocateFlags, OFlags},
    io::ReadWriteFlags,
};

use crate::block::ALIGN;

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Direct, synchronous writes, several at a time.
    Direct,
    /// A write through the page cache, then fdatasync.
    Fdatasync,
    /// No disk at all.
    Memory,
}

/// One file. Offsets and lengths are in bytes.
pub trait File: Send + Sync {
    /// Its length.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads at most `buf.len()` bytes; 0 is the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Appends what is at `offset` to `buf`, at most as much as `buf` has room for without growing; 0 bytes are the end of the file.
    fn read_into(&self, buf: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
        let have = buf.len();
        buf.resize(buf.capacity(), 0);
        let read = self.read_at(&mut buf[have..], offset);
        buf.truncate(have + *read.as_ref().unwrap_or(&0));
        read
    }
    /// As [`File::read_at`], for a large piece that nobody else is likely to want: past the page cache where the file system does
    /// that. `buf` (address and length) and `offset` are multiples of 4096.
    fn read_past_cache(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buf, offset)
    }
    /// Writes at most `buf.len()` bytes, durable only after [`File::sync`].
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Writes at most `buf.len()` bytes; what it says it wrote is on disk when it returns. `buf` (address and length) and `offset`
    /// are multiples of 4096, and the range was written and synced before, so that it needs no new space.
    fn write_durable(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Takes the space for the first `bytes` bytes, where that is possible ahead of writing.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// The directory. Names are plain, without a path.
pub trait Files: Send + Sync {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file, in place of one of the same name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Removes a file; who has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames, in place of a file that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renames durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Keeps other processes out until the guard is dropped; `WouldBlock` when one is in.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;
    /// A number that is not drawn twice.
    fn unique(&self) -> u64;
    /// How durable writes are done.
    fn sync_mode(&self) -> SyncMode;
    /// Where this is, for messages.
    fn place(&self) -> String;
}

const UNPROVEN: u8 = 0;
const DIRECT: u8 = 1;
const PLAIN: u8 = 2;

/// The mode all files of a directory share, decided by the first durable write.
struct Mode(AtomicU8);

impl Mode {
    fn refuse(&self, place: &Path, error: &io::Error) {
        if self.0.swap(PLAIN, Ordering::Relaxed) != PLAIN {
            tracing::warn!(dir = %place.display(), %error, "no direct writes here: the journal uses fdatasync, which is slower");
        }
    }
}

/// A directory on a real file system.
pub struct Directory {
    path: PathBuf,
    mode: Arc<Mode>,
}

impl Directory {
    /// Opens `path`, making it if needed. With `direct` files are written around the page cache where that is allowed.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(path: impl Into<PathBuf>, direct: bool) -> io::Result<Self> {
        let path = path.into();
        seams::make_dir(&path)?;
        Ok(Self { path, mode: Arc::new(Mode(AtomicU8::new(if direct { UNPROVEN } else { PLAIN }))) })
    }

    fn file(&self, path: PathBuf, options: &fs::OpenOptions) -> io::Result<Arc<dyn File>> {
        let plain = options.open(&path)?;
        let direct = if self.mode.0.load(Ordering::Relaxed) == PLAIN {
            None
        } else {
            let flags = OFlags::DIRECT.bits().cast_signed();
            match fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path) {
                Ok(file) => Some(file),
                Err(error) if is_refusal(&error) => {
                    self.mode.refuse(&self.path, &error);
                    None
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Arc::new(DiskFile {
            path: self.path.clone(),
            plain,
            direct,
            mode: Arc::clone(&self.mode),
            syncing: Mutex::new(()),
            poisoned: AtomicBool::new(false),
        }))
    }
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.file(self.path.join(name), fs::OpenOptions::new().read(true).write(true).create(true).truncate(true))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.file(self.path.join(name), fs::OpenOptions::new().read(true).write(true))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn unique(&self) -> u64 {
        // A fresh RandomState is keyed from the system's randomness.
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u128(std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos()));
        hasher.finish()
    }

    fn sync_mode(&self) -> SyncMode {
        if self.mode.0.load(Ordering::Relaxed) == PLAIN { SyncMode::Fdatasync } else { SyncMode::Direct }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

struct DiskFile {
    path: PathBuf,
    plain: fs::File,
    direct: Option<fs::File>,
    mode: Arc<Mode>,
    syncing: Mutex<()>,
    poisoned: AtomicBool,
}

impl DiskFile {
    fn direct(&self) -> Option<&fs::File> {
        self.direct.as_ref().filter(|_| self.mode.0.load(Ordering::Relaxed) != PLAIN)
    }

    /// The kernel tells a write-back error once per open file, so concurrent callers must not each ask on their own: one would
    /// hear of the error, another would take its own lost pages for durable.
    fn write_then_sync(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.plain.write_at(buf, offset)?;
        let _one_at_a_time = self.syncing.lock();
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier sync of this file failed"));
        }
        self.plain.sync_data().inspect_err(|_| self.poisoned.store(true, Ordering::Relaxed))?;
        Ok(written)
    }
}

impl File for DiskFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.plain.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plain.read_at(buf, offset)
    }

    fn read_into(&self, buf: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
        // Without zeroing first what is read over at once.
        Ok(rustix::io::pread(&self.plain, rustix::buffer::spare_capacity(buf), offset)?)
    }

    fn read_past_cache(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.direct() {
            Some(direct) if is_aligned(buf, offset) => match direct.read_at(buf, offset) {
                Err(error) if is_refusal(&error) => self.plain.read_at(buf, offset),
                result => result,
            },
            _ => self.plain.read_at(buf, offset),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let aligned = is_aligned(buf, offset);
        match self.direct() {
            Some(direct) if aligned => match direct.write_at(buf, offset) {
                Err(error) if is_refusal(&error) && self.mode.0.load(Ordering::Relaxed) == UNPROVEN => {
                    self.mode.refuse(&self.path, &error);
                    self.plain.write_at(buf, offset)
                }
                result => result,
            },
            _ => self.plain.write_at(buf, offset),
        }
    }

    fn write_durable(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let Some(direct) = self.direct() else { return self.write_then_sync(buf, offset) };
        loop {
            // O_DIRECT from the file, O_DSYNC from the flag: one round trip, forced to the medium.
            match rustix::io::pwritev2(direct.as_fd(), &[io::IoSlice::new(buf)], offset, ReadWriteFlags::DSYNC) {
                Ok(written) => {
                    let _ = self.mode.0.compare_exchange(UNPROVEN, DIRECT, Ordering::Relaxed, Ordering::Relaxed);
                    return Ok(written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    let error = io::Error::from(errno);
                    if is_refusal(&error) && self.mode.0.load(Ordering::Relaxed) != DIRECT {
                        self.mode.refuse(&self.path, &error);
                        return self.write_then_sync(buf, offset);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.plain, FallocateFlags::empty(), 0, bytes) {
            Err(errno) if errno != rustix::io::Errno::OPNOTSUPP && errno != rustix::io::Errno::NOSYS => {
                Err(errno.into())
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.plain.sync_all()
    }
}

fn is_aligned(buf: &[u8], offset: u64) -> bool {
    (buf.as_ptr().addr() | buf.len() | offset as usize).is_multiple_of(ALIGN)
}

/// Whether the file system says that it does not do this kind of write, rather than that it failed.
fn is_refusal(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
