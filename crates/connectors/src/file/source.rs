//! The source: each line of a file is a record, and the file goes when all of its lines are durable.
//!
//! Files are read one after another, so that the order in the topic is that of the lines. After a crash a file that was not finished is
//! read again from its beginning: every line arrives at least once. Whoever writes files should move them here when they are whole.

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use functions::{Record, message::Key};
use futures::FutureExt;
use std::{
    collections::{HashMap, VecDeque},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use super::{
    blocking,
    listing::{Found, Listing},
};
use crate::{
    About, Ended, OpenSource, Source,
    emitter::{Emitter, Failed, Receipt},
    error::Result,
    given::Given,
};

/// Lines and bytes of them that are read together.
const CHUNK: (usize, usize) = (256, 256 << 10);
/// Chunks on their way at which no more is read.
const CHUNKS_MAX: usize = 16;
/// How long to wait before a line is handed over again that was refused.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pulsar's pause between two looks.
const POLLING_MS: u64 = 10_000;

struct Files {
    listing: Listing,
    keep: bool,
    polling: Duration,
    line_bytes_max: usize,
    /// Which of the files are this instance's.
    share: (u32, u32),
    /// Files that are not read again unless they change: kept ones, and those that cannot be read.
    finished: HashMap<PathBuf, Found>,
}

pub(crate) fn source(about: &About<'_>) -> Result<OpenSource> {
    let mut given = Given::new("file", &about.function.user_config);
    let directory = PathBuf::from(given.required("inputDirectory"));
    let keep = given.flag("keepFile").unwrap_or(false);
    let bytes = (given.whole("minimumSize", 0..=u64::MAX), given.whole("maximumSize", 0..=u64::MAX));
    let listing = Listing {
        recurse: given.flag("recurse").unwrap_or(true),
        ignore_hidden: given.flag("ignoreHiddenFiles").unwrap_or(true),
        file_filter: given.pattern("fileFilter").or_else(|| regex::Regex::new(r"^[^.].*$").ok()),
        path_filter: given.pattern("pathFilter"),
        age: (given.millis("minimumFileAge", 0).unwrap_or_default(), age_max(&mut given)),
        bytes: (bytes.0.unwrap_or(1), bytes.1.unwrap_or(u64::MAX)),
        processed_suffix: given.text("processedFileSuffix"),
        directory,
    };
    let polling = given.millis("pollingInterval", 1).unwrap_or(Duration::from_millis(POLLING_MS));
    let line_bytes_max = given.whole("maxLineBytes", 1..=1 << 30).unwrap_or(4 << 20);
    if given.whole("numWorkers", 1..=u64::MAX).unwrap_or(1) > 1 {
        given.problem("`numWorkers` must be 1: `parallelism` divides the files among instances");
    }
    if keep && listing.processed_suffix.is_some() {
        given.problem("`processedFileSuffix` renames what `keepFile` keeps");
    }
    if !listing.directory.as_os_str().is_empty() && !listing.directory.is_dir() {
        given.problem(format!("`inputDirectory` {} is no directory", listing.directory.display()));
    }
    given.finish()?;
    let files = Files {
        listing,
        keep,
        polling,
        line_bytes_max: usize::try_from(line_bytes_max).unwrap_or(usize::MAX),
        share: (about.instance_id(), about.function.parallelism.max(1)),
        finished: HashMap::new(),
    };
    let source: Source = Box::new(|emitter| files.run(emitter).boxed());
    Ok(Box::new(|| std::future::ready(Ok(source)).boxed()))
}

fn age_max(given: &mut Given<'_>) -> Option<Duration> {
    given.whole("maximumFileAge", 0..=u64::MAX).map(Duration::from_millis)
}

/// Why a file was not finished.
enum Stop {
    /// Nobody listens any more.
    Closed,
    /// It cannot be read.
    File(io::Error),
}

impl Files {
    async fn run(mut self, emitter: Emitter) -> Ended {
        loop {
            let listing = self.listing.clone();
            let directory = self.listing.directory.display();
            let found = blocking(move || listing.look()).await.map_err(|error| format!("read {directory}: {error}"))?;
            self.finished.retain(|path, _| found.iter().any(|found| found.path == *path));
            for file in found {
                if !self.is_ours(&file.path) || self.finished.get(&file.path) == Some(&file) {
                    continue;
                }
                match self.publish(&emitter, &file).await {
                    Ok(()) => self.finish(&emitter, file).await,
                    Err(Stop::Closed) => return Ok(()),
                    Err(Stop::File(error)) => {
                        emitter.warn(format!("{} is left where it is: {error}", file.path.display())).await;
                        self.finished.insert(file.path.clone(), file);
                    }
                }
            }
            tokio::time::sleep(self.polling).await;
        }
    }

    /// Each file is one instance's, whatever others there are.
    fn is_ours(&self, path: &Path) -> bool {
        let mut hasher = DefaultHasher::new();
        path.strip_prefix(&self.listing.directory).unwrap_or(path).hash(&mut hasher);
        hasher.finish() % u64::from(self.share.1) == u64::from(self.share.0)
    }

    /// Returns when all lines are durable.
    async fn publish(&self, emitter: &Emitter, file: &Found) -> Result<(), Stop> {
        let (path, most) = (file.path.clone(), self.line_bytes_max);
        let mut lines = blocking(move || Lines::open(&path, most)).await.map_err(Stop::File)?;
        let mut on_their_way: VecDeque<(Vec<Record>, Receipt)> = VecDeque::new();
        loop {
            let (read, chunk) =
                blocking(move || lines.chunk().map(|chunk| (lines, chunk))).await.map_err(Stop::File)?;
            lines = read;
            if chunk.is_empty() {
                break;
            }
            let records: Vec<Record> = chunk.into_iter().map(|(number, line)| record(file, number, line)).collect();
            let receipt = emitter.emit(records.clone()).await.map_err(|_| Stop::Closed)?;
            on_their_way.push_back((records, receipt));
            if on_their_way.len() >= CHUNKS_MAX
                && let Some((records, receipt)) = on_their_way.pop_front()
            {
                settle(emitter, records, receipt).await?;
            }
        }
        for (records, receipt) in on_their_way {
            settle(emitter, records, receipt).await?;
        }
        Ok(())
    }

    async fn finish(&mut self, emitter: &Emitter, file: Found) {
        let (then, keep, suffix) = (file.clone(), self.keep, self.listing.processed_suffix.clone());
        let finished = blocking(move || {
            if Found::look(&then.path)? != then {
                return Ok(false);
            }
            match suffix {
                _ if keep => {}
                Some(suffix) => {
                    let mut renamed = then.path.clone().into_os_string();
                    renamed.push(suffix);
                    fs::rename(&then.path, renamed)?;
                }
                None => fs::remove_file(&then.path)?,
            }
            Ok(true)
        });
        match finished.await {
            Ok(true) if !self.keep => {}
            Ok(true) => drop(self.finished.insert(file.path.clone(), file)),
            Ok(false) => {
                emitter.warn(format!("{} has changed while it was read; it is read again", file.path.display())).await;
            }
            Err(error) => {
                // Reading it again and again would publish it again and again.
                emitter.warn(format!("{} is published, and stays: {error}", file.path.display())).await;
                self.finished.insert(file.path.clone(), file);
            }
        }
    }
}

/// Hands over again what was refused, until nothing is.
async fn settle(emitter: &Emitter, mut records: Vec<Record>, mut receipt: Receipt) -> Result<(), Stop> {
    while let Err(Failed { indexes, error }) = receipt.await.map_err(|_| Stop::Closed)? {
        emitter.warn(format!("{} lines are handed over again: {error}", indexes.len())).await;
        tokio::time::sleep(AGAIN_AFTER).await;
        records = indexes.into_iter().filter_map(|index| records.get(index).cloned()).collect();
        receipt = emitter.emit(records.clone()).await.map_err(|_| Stop::Closed)?;
    }
    Ok(())
}

/// Key and properties are Pulsar's. Source: `FileRecord`.
fn record(file: &Found, number: u64, line: Bytes) -> Record {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let path = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
    let modified = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Record {
        payload: line,
        key: Some(Key { text: format!("{name}_{number}"), is_base64: false }),
        properties: vec![
            ("file.name".to_owned(), name.into_owned()),
            ("file.path".to_owned(), path.to_string_lossy().into_owned()),
            ("file.modified.time".to_owned(), modified.to_string()),
        ],
        ..Record::default()
    }
}

/// Lines of one file, unpacked when it is gzip.
struct Lines {
    reader: Box<dyn BufRead + Send>,
    next: u64,
    bytes_max: usize,
}

impl Lines {
    fn open(path: &Path, bytes_max: usize) -> io::Result<Self> {
        let mut file = BufReader::new(fs::File::open(path)?);
        let begins = file.fill_buf()?;
        if begins.starts_with(b"PK\x03\x04") {
            return Err(io::Error::other("zip files are not supported, gzip is"));
        }
        let reader: Box<dyn BufRead + Send> = if begins.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Self { reader, next: 1, bytes_max })
    }

    /// Some lines with their numbers, from 1; none at the end.
    fn chunk(&mut self) -> io::Result<Vec<(u64, Bytes)>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < CHUNK.0 && bytes < CHUNK.1 {
            let mut line = Vec::new();
            // One byte more than allowed, and one for the end of the line.
            let most = u64::try_from(self.bytes_max).unwrap_or(u64::MAX).saturating_add(2);
            if self.reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.ends_with(b"\n") {
                line.pop();
                if line.ends_with(b"\r") {
                    line.pop();
                }
            }
            if line.len() > self.bytes_max {
                return Err(io::Error::other(format!("line {} has more than {} bytes", self.next, self.bytes_max)));
            }
            bytes += line.len();
            lines.push((self.next, line.into()));
            self.next += 1;
        }
        Ok(lines)
    }
}
