//! Bodies of `multipart/form-data`: small parts, and files that are read as they are sent.

use crate::units;
use bytes::Bytes;
use futures::Stream;
use std::{
    collections::VecDeque,
    fmt::Write as _,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, Take},
};

/// The largest file that is sent: servers take a gigabyte, unless they are told otherwise.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 30;
/// Bytes of a file read at once.
const PIECE: usize = 256 * 1024;
/// A file below this many bytes is sent without a word.
const TELL_FROM: u64 = 1 << 20;
/// From one word to the next.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A form to be sent.
pub(crate) struct Form {
    boundary: String,
    pieces: VecDeque<Piece>,
    bytes: u64,
}

enum Piece {
    Bytes(Bytes),
    File(Take<File>, Progress),
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Form").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Form {
    pub(crate) fn new() -> Self {
        // 128 random bits are in no file; the standard library gets its keys from the system.
        let random = || RandomState::new().build_hasher().finish();
        Self { boundary: format!("geminga-{:016x}{:016x}", random(), random()), pieces: VecDeque::new(), bytes: 0 }
    }

    /// With a part that is text.
    #[must_use]
    pub(crate) fn text(self, name: &str, text: impl Into<String>) -> Self {
        self.part(name, None, "text/plain; charset=utf-8", text.into())
    }

    /// With a part that is JSON.
    #[must_use]
    pub(crate) fn json(self, name: &str, json: &serde_json::Value) -> Self {
        self.part(name, None, "application/json", json.to_string())
    }

    /// With a part that is a file, and is called by its name.
    ///
    /// # Errors
    /// There is no such file, it is none that can be sent, or it cannot be read.
    pub(crate) async fn file(mut self, name: &str, path: &Path) -> io::Result<Self> {
        let (file, length) = open(path)?;
        let (file, called) = (File::from_std(file), path.file_name().unwrap_or_default().to_string_lossy());
        self.head(name, Some(&called), "application/octet-stream");
        self.bytes += length;
        // Of a file that grows meanwhile no more is sent than was announced.
        self.pieces.push_back(Piece::File(file.take(length), Progress::new(called.into_owned(), length)));
        self.push("\r\n");
        Ok(self)
    }

    fn part(mut self, name: &str, called: Option<&str>, kind: &str, content: String) -> Self {
        self.head(name, called, kind);
        self.push(content);
        self.push("\r\n");
        self
    }

    fn head(&mut self, name: &str, called: Option<&str>, kind: &str) {
        let mut head = format!("--{}\r\nContent-Disposition: form-data; name=\"{}\"", self.boundary, quoted(name));
        if let Some(called) = called {
            let _ = write!(head, "; filename=\"{}\"", quoted(called));
        }
        let _ = write!(head, "\r\nContent-Type: {kind}\r\n\r\n");
        self.push(head);
    }

    fn push(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.bytes += bytes.len() as u64;
        self.pieces.push_back(Piece::Bytes(bytes));
    }

    /// Its content type, its length in bytes, and itself.
    pub(crate) fn into_body(self) -> (String, u64, reqwest::Body) {
        let (kind, bytes, pieces) = self.into_stream();
        (kind, bytes, reqwest::Body::wrap_stream(pieces))
    }

    fn into_stream(mut self) -> (String, u64, impl Stream<Item = io::Result<Bytes>> + Send + 'static) {
        self.push(format!("--{}--\r\n", self.boundary));
        let kind = format!("multipart/form-data; boundary={}", self.boundary);
        let pieces = futures::stream::try_unfold(self.pieces, |mut pieces| async move {
            loop {
                match pieces.pop_front() {
                    None => return Ok::<_, io::Error>(None),
                    Some(Piece::Bytes(bytes)) => return Ok(Some((bytes, pieces))),
                    Some(Piece::File(mut file, mut progress)) => {
                        let mut piece = vec![0; PIECE];
                        let read = file.read(&mut piece).await?;
                        progress.went_on(read as u64);
                        if read > 0 {
                            piece.truncate(read);
                            pieces.push_front(Piece::File(file, progress));
                            return Ok(Some((Bytes::from(piece), pieces)));
                        }
                    }
                }
            }
        });
        (kind, self.bytes, pieces)
    }
}

/// A file and its length. One that has no length, such as a pipe or a device, is none; it is not waited for.
///
/// # Errors
/// It cannot be read, is none, or is too large.
pub(crate) fn open(path: &Path) -> io::Result<(std::fs::File, u64)> {
    // Without this, whoever opens a pipe waits for somebody to write into it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    if about.len() > FILE_BYTES_MAX {
        let (bytes, most) = (about.len(), FILE_BYTES_MAX);
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {bytes} bytes, at most {most} can be sent"),
        ));
    }
    Ok((file, about.len()))
}

/// A name within quotes. Source: "multipart/form-data encoding algorithm" of the HTML standard.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// How far a large file has come, for whoever looks on.
struct Progress {
    what: String,
    total: u64,
    done: u64,
    told: Option<Instant>,
    is_watched: bool,
}

impl Progress {
    fn new(what: String, total: u64) -> Self {
        Self { what, total, done: 0, told: None, is_watched: total >= TELL_FROM && io::stderr().is_terminal() }
    }

    fn went_on(&mut self, bytes: u64) {
        self.done += bytes;
        let is_end = bytes == 0 || self.done >= self.total;
        if !self.is_watched || (!is_end && self.told.is_some_and(|told| told.elapsed() < TELL_EVERY)) {
            return;
        }
        self.told = Some(Instant::now());
        self.is_watched = !is_end;
        let bytes = |n: u64| units::bytes(i64::try_from(n).unwrap_or(i64::MAX));
        let percent = self.done.saturating_mul(100) / self.total.max(1);
        let end = if is_end { "\n" } else { "" };
        let what = crate::output::shown(&self.what);
        // Nobody is told that telling failed.
        let text = format!("\r\x1b[Kuploading {what}: {percent}% of {}{end}", bytes(self.total));
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    #[tokio::test]
    async fn a_form_has_the_length_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a\"b.py");
        std::fs::write(&path, vec![b'x'; PIECE + 7]).unwrap();
        let form = Form::new().json("functionConfig", &serde_json::json!({"py": "x"})).text("url", "http://x");
        let (kind, length, pieces) = form.file("data", &path).await.unwrap().into_stream();
        let pieces: Vec<Bytes> = pieces.try_collect().await.unwrap();
        let text = String::from_utf8(pieces.concat()).unwrap();
        assert_eq!(text.len() as u64, length);
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(text.matches(boundary).count(), 4);
        assert!(text.contains("name=\"data\"; filename=\"a%22b.py\"\r\n") && text.ends_with("--\r\n"));
    }
}
