//! The sink: each message is a line at the end of a file, and done when the file is synced.
//!
//! What a crash left of a line that was never done is cut off at the start, so that a file has whole lines only. A file that is full is
//! renamed to its name and a number, rising with time.

use futures::FutureExt;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use super::blocking;
use crate::{
    About, Ended, OpenSink, Sink,
    error::{Error, Result},
    given::Given,
    intake::{Delivery, Intake},
};

/// Lines written before one sync.
const BATCH_MAX: usize = 1000;
/// The place of an instance's number in the name of a file.
const INSTANCE: &str = "{instance}";

pub(crate) fn sink(about: &About<'_>) -> Result<OpenSink> {
    let mut given = Given::new("file", &about.function.user_config);
    let path = given.required("path");
    let bytes_max = given.whole("maxFileBytes", 1..=u64::MAX).unwrap_or(u64::MAX);
    if about.function.parallelism > 1 && !path.contains(INSTANCE) {
        given.problem("`path` must contain {instance} where `parallelism` is more than 1: a file has one writer");
    }
    let path = PathBuf::from(path.replace(INSTANCE, &about.instance_id().to_string()));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        given.problem(format!("`path`: {} is no directory", directory.display()));
    }
    given.finish()?;
    Ok(Box::new(move || {
        let opening = async move {
            let shown = path.display().to_string();
            let opened = blocking(move || Output::open(path, bytes_max)).await;
            let output = opened.map_err(|error| Error::Open(format!("open {shown}: {error}")))?;
            let sink: Sink = Box::new(|intake| run(output, intake).boxed());
            Ok(sink)
        };
        opening.boxed()
    }))
}

async fn run(mut output: Output, mut intake: Intake) -> Ended {
    while let Some(batch) = intake.next(BATCH_MAX).await {
        let began = Instant::now();
        let lines: Vec<_> = batch.iter().map(|Delivery { message, .. }| message.payload.clone()).collect();
        let shown = output.path.display().to_string();
        let written = blocking(move || output.append(&lines).map(|()| output)).await;
        // What a failed sync has done nobody knows: the next start looks what is there, and the messages come again.
        output = written.map_err(|error| format!("write to {shown}: {error}"))?;
        intake.done(batch.into_iter().map(|delivery| (delivery, Ok(()))), began).await?;
    }
    Ok(())
}

/// The file that is written to.
struct Output {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Output {
    fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(&path)?;
        let bytes = whole_lines(&mut file)?;
        if bytes < file.metadata()?.len() {
            file.set_len(bytes)?;
        }
        file.sync_all()?;
        sync_directory(&path)?;
        Ok(Self { path, file, bytes, bytes_max })
    }

    /// Returns when the lines are on disk.
    fn append(&mut self, lines: &[impl AsRef<[u8]>]) -> io::Result<()> {
        let mut buffer = Vec::new();
        for line in lines {
            let line = line.as_ref();
            let held = self.bytes + buffer.len() as u64;
            if held > 0 && held + line.len() as u64 + 1 > self.bytes_max {
                self.flush(&mut buffer)?;
                self.rotate()?;
            }
            buffer.extend_from_slice(line);
            buffer.push(b'\n');
        }
        self.flush(&mut buffer)
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        if !buffer.is_empty() {
            self.file.write_all(buffer)?;
            self.file.sync_data()?;
            self.bytes += buffer.len() as u64;
            buffer.clear();
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let full = (1..).map(|number| numbered(&self.path, number)).find(|path| !path.exists());
        fs::rename(&self.path, full.ok_or(io::ErrorKind::AlreadyExists)?)?;
        *self = Self::open(self.path.clone(), self.bytes_max)?;
        Ok(())
    }
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(STEP);
        let mut piece = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|&byte| byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// The name of a file is in its directory, and that is on disk only when it is synced too.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_torn_end_of_a_file_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let long = "x".repeat(200_000);
        for (left, kept) in [("", ""), ("a\nb", "a\n"), ("a\n", "a\n"), ("torn", ""), (&*format!("a\n{long}"), "a\n")] {
            fs::write(&path, left).unwrap();
            let mut output = Output::open(path.clone(), u64::MAX).unwrap();
            output.append(&["c"]).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}c\n"));
        }
    }

    #[test]
    fn full_files_are_numbered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut output = Output::open(path.clone(), 6).unwrap();
        output.append(&["a", "b", "c", "too long for it", "d"]).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!([read("out.1"), read("out.2"), read("out")], ["a\nb\nc\n", "too long for it\n", "d\n"]);
    }
}
