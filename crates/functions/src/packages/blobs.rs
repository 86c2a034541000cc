//! Files by what is in them: `<dir>/blobs/<sha-256>/<file name>`.
//!
//! A blob is written to a file of its own, synced, renamed to its place, and its directory synced: it is there whole, or it is not.
//! While somebody holds a [`Stored`], it is not swept, so that there is time to name it.

use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{fs, io::AsyncWriteExt};

use super::io;
use crate::{Error, Result};

/// Bytes of a file name that are kept.
const NAME_BYTES_MAX: usize = 120;

/// Which blob: its content, and the name of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct BlobId {
    /// SHA-256 in hexadecimal.
    digest: String,
    /// Made safe.
    name: String,
}

impl BlobId {
    /// The name of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the content in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.digest.get(..12).unwrap_or_default())
    }
}

/// See the module.
pub(super) struct Blobs {
    dir: PathBuf,
    max_bytes: u64,
    uploads: AtomicU64,
    pins: Arc<Pins>,
}

/// How many hold each blob.
#[derive(Default)]
struct Pins(parking_lot::Mutex<HashMap<BlobId, usize>>);

/// A blob that is on disk, and stays there while this is held.
pub struct Stored {
    id: BlobId,
    bytes: u64,
    pins: Arc<Pins>,
}

impl Stored {
    /// Which blob it is.
    #[must_use]
    pub fn id(&self) -> &BlobId {
        &self.id
    }

    /// How large it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.id);
            }
        }
    }
}

impl Blobs {
    pub(super) async fn open(dir: PathBuf, max_bytes: u64) -> Result<Self> {
        let incoming = dir.join("incoming");
        // Nobody finishes what an earlier process began.
        let _ = fs::remove_dir_all(&incoming).await;
        for dir in [dir.join("blobs"), incoming] {
            let made = dir.clone();
            let result = tokio::task::spawn_blocking(move || seams::make_dir(&made)).await;
            result.map_err(|error| Error::Closed(error.to_string()))?.map_err(io(format!("make {}", dir.display())))?;
        }
        Ok(Self { dir, max_bytes, uploads: AtomicU64::default(), pins: Arc::default() })
    }

    pub(super) fn path(&self, blob: &BlobId) -> PathBuf {
        self.dir.join("blobs").join(&blob.digest).join(&blob.name)
    }

    /// Keeps a blob from being swept; whether it is there, its file says.
    pub(super) fn hold(&self, blob: &BlobId) -> Stored {
        *self.pins.0.lock().entry(blob.clone()).or_default() += 1;
        let bytes = std::fs::metadata(self.path(blob)).map_or(0, |file| file.len());
        Stored { id: blob.clone(), bytes, pins: self.pins.clone() }
    }

    pub(super) async fn receive(&self, name: &str) -> Result<Upload> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join("incoming").join(number.to_string());
        let file = fs::File::create_new(&path).await.map_err(io(format!("make {}", path.display())))?;
        Ok(Upload {
            file,
            path,
            blobs: self.dir.join("blobs"),
            name: file_name(name),
            hash: Sha256::new(),
            bytes: 0,
            max_bytes: self.max_bytes,
            pins: self.pins.clone(),
        })
    }

    /// Removes what is neither wanted nor held.
    pub(super) async fn sweep(&self, is_wanted: impl Fn(&BlobId) -> bool) -> Result<usize> {
        let root = self.dir.join("blobs");
        let mut removed = 0;
        for digest in names(&root).await? {
            let dir = root.join(&digest);
            for name in names(&dir).await? {
                let blob = BlobId { digest: digest.clone(), name };
                // Held over the removal: who finishes the same upload meanwhile waits, and writes it again.
                let pins = self.pins.0.lock();
                if !pins.contains_key(&blob) && !is_wanted(&blob) {
                    let path = self.path(&blob);
                    match std::fs::remove_file(&path) {
                        Ok(()) => removed += 1,
                        Err(error) => tracing::warn!(%error, path = %path.display(), "a package cannot be removed"),
                    }
                    // Fails while other names are in it.
                    let _ = std::fs::remove_dir(&dir);
                }
            }
        }
        Ok(removed)
    }
}

/// Names in a directory; none when it is not there.
async fn names(dir: &Path) -> Result<Vec<String>> {
    let reading = || io(format!("read {}", dir.display()));
    let mut entries = match fs::read_dir(dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(reading()(error)),
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(reading())? {
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// A file on its way in; dropped before it is finished, it is removed.
pub struct Upload {
    file: fs::File,
    path: PathBuf,
    blobs: PathBuf,
    name: String,
    hash: Sha256,
    bytes: u64,
    max_bytes: u64,
    pins: Arc<Pins>,
}

impl Upload {
    /// Appends.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; the disk refuses.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.max_bytes {
            return Err(Error::TooLarge(format!("a package may have {} bytes, this one has more", self.max_bytes)));
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(io(format!("write {}", self.path.display())))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is empty; the disk refuses.
    pub async fn finish(mut self) -> Result<Stored> {
        if self.bytes == 0 {
            return Err(Error::Invalid("the package is empty".to_owned()));
        }
        let writing = || io(format!("write {}", self.path.display()));
        self.file.flush().await.map_err(writing())?;
        self.file.sync_all().await.map_err(writing())?;
        let digest: String = self.hash.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect();
        let id = BlobId { digest, name: std::mem::take(&mut self.name) };
        let dir = self.blobs.join(&id.digest);
        let place = dir.join(&id.name);
        let (from, blobs, pins, pinned) = (self.path.clone(), self.blobs.clone(), self.pins.clone(), id.clone());
        let placing = format!("write {}", place.display());
        let bytes = self.bytes;
        let placed = tokio::task::spawn_blocking(move || {
            // Under this lock the directory cannot be swept away between being made and being used.
            let mut pins = pins.0.lock();
            match std::fs::create_dir(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // The same content is there: what runs from it keeps its file, and what that may do.
            match std::fs::metadata(&place) {
                Ok(there) if there.len() == bytes => std::fs::remove_file(&from)?,
                _ => std::fs::rename(&from, &place)?,
            }
            *pins.entry(pinned).or_default() += 1;
            drop(pins);
            for dir in [dir, blobs] {
                std::fs::File::open(dir)?.sync_all()?;
            }
            Ok(())
        });
        placed.await.map_err(|error| Error::Closed(error.to_string()))?.map_err(io(placing))?;
        Ok(Stored { id, bytes: self.bytes, pins: self.pins.clone() })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After `finish` it is not there any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The last part of a path or URL as a name that is safe in a directory, on a command line and as a module.
fn file_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let safe: String = last.chars().map(|c| if is_good(c) { c } else { '_' }).collect();
    // The end says what it is, so a name that is too long loses its beginning.
    let safe = &safe[safe.len().saturating_sub(NAME_BYTES_MAX)..];
    // Neither hidden nor an option.
    match safe.trim_start_matches(['.', '-', '+']) {
        "" => "code".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn blobs(max_bytes: u64) -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("packages"), max_bytes).await.unwrap();
        (dir, blobs)
    }

    async fn store(blobs: &Blobs, name: &str, bytes: &[u8]) -> Stored {
        let mut upload = blobs.receive(name).await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.finish().await.unwrap()
    }

    #[test]
    fn a_file_name_is_made_safe() {
        for (given, name) in [
            ("exclamation.py", "exclamation.py"),
            ("../../etc/passwd", "passwd"),
            ("C:\\temp\\a b.jar", "a_b.jar"),
            ("..", "code"),
            (".hidden", "hidden"),
            ("-rf", "rf"),
            ("", "code"),
            ("a\0\u{1F600}.py", "a__.py"),
        ] {
            assert_eq!(file_name(given), name, "{given}");
        }
        assert_eq!(file_name(&format!("{}.py", "x".repeat(500))).len(), NAME_BYTES_MAX);
        assert!(file_name(&format!("{}.py", "x".repeat(500))).ends_with("x.py"));
    }

    #[tokio::test]
    async fn the_same_content_is_stored_once_for_each_name() {
        let (_dir, blobs) = blobs(100).await;
        let (a, b, other) =
            (store(&blobs, "a.py", b"x").await, store(&blobs, "a.py", b"x").await, store(&blobs, "b.py", b"x").await);
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), other.id());
        assert_eq!(a.id().digest(), "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
        assert_eq!(std::fs::read(blobs.path(a.id())).unwrap(), b"x");
    }

    #[tokio::test]
    async fn what_nobody_wants_is_swept_and_what_is_held_is_not() {
        let (_dir, blobs) = blobs(100).await;
        let (held, wanted, left) =
            (store(&blobs, "a", b"1").await, store(&blobs, "a", b"2").await, store(&blobs, "a", b"3").await);
        let ([held_path, wanted_path, left_path], wanted_id) =
            ([&held, &wanted, &left].map(|stored| blobs.path(stored.id())), wanted.id().clone());
        drop((wanted, left));
        assert_eq!(blobs.sweep(|id| *id == wanted_id).await.unwrap(), 1);
        assert!(held_path.exists() && wanted_path.exists() && !left_path.exists());
        assert!(!left_path.parent().unwrap().exists());
        drop(held);
        assert_eq!(blobs.sweep(|_| false).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_is_too_large_or_empty_or_given_up_leaves_nothing() {
        let (dir, blobs) = blobs(4).await;
        let mut upload = blobs.receive("a").await.unwrap();
        upload.write(b"1234").await.unwrap();
        assert!(matches!(upload.write(b"5").await, Err(Error::TooLarge(_))));
        drop(upload);
        assert!(matches!(blobs.receive("a").await.unwrap().finish().await, Err(Error::Invalid(_))));
        let left = std::fs::read_dir(dir.path().join("packages/incoming")).unwrap().count();
        assert_eq!(left, 0);
    }
}
