//! Just enough of ZIP to look into a jar. The directory is passed over as it is read and never kept: a package may have any number of files.
//!
//! Source: PKWARE's APPNOTE.TXT 4.3 and 4.5.3; the JDK's `ZipFile` for files that something was put in front of.

use flate2::read::DeflateDecoder;
use std::io::{self, BufReader, Error, ErrorKind, Read, Seek, SeekFrom};

const END: &[u8; 4] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const END_64_LOCATOR: &[u8; 4] = b"PK\x06\x07";
const END_64_LOCATOR_BYTES: u64 = 20;
const END_64: &[u8; 4] = b"PK\x06\x06";
const END_64_BYTES: usize = 56;
const OF_DIRECTORY: &[u8; 4] = b"PK\x01\x02";
const OF_DIRECTORY_BYTES: usize = 46;
const OF_FILE: &[u8; 4] = b"PK\x03\x04";
const OF_FILE_BYTES: usize = 30;
const COMMENT_BYTES_MAX: u64 = u16::MAX as u64;
/// In the place of a number that is among the extra fields instead.
const IN_EXTRA: u64 = u32::MAX as u64;
const EXTRA_64: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A ZIP file.
pub(super) struct Zip<R> {
    from: R,
    directory_at: u64,
    directory_bytes: u64,
    /// Where the offsets of its directory begin to count.
    base: u64,
}

/// A file in it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its path; where that is no UTF-8, none that anybody looks for.
    pub(super) name: String,
    method: u16,
    packed_bytes: u64,
    at: u64,
}

impl<R: Read + Seek> Zip<R> {
    /// # Errors
    /// It cannot be read; of kind [`ErrorKind::InvalidData`]: it is no ZIP file.
    pub(super) fn open(mut from: R) -> io::Result<Self> {
        let bytes = from.seek(SeekFrom::End(0))?;
        let tail_at = bytes.saturating_sub(END_BYTES as u64 + COMMENT_BYTES_MAX);
        from.seek(SeekFrom::Start(tail_at))?;
        let mut tail = Vec::new();
        from.by_ref().take(END_BYTES as u64 + COMMENT_BYTES_MAX).read_to_end(&mut tail)?;
        let is_end = |window: &[u8]| window.starts_with(END);
        let found =
            tail.windows(END_BYTES).rposition(is_end).ok_or_else(|| bad("it has no directory of a ZIP file"))?;
        let end = tail.get(found..).unwrap_or_default();
        let mut end_at = tail_at + found as u64;
        let (mut directory_bytes, mut offset) = (u64::from(u32_at(end, 12)?), u64::from(u32_at(end, 16)?));
        if let Some(at_64) = end_64(&mut from, end_at)? {
            let record = exactly(&mut from, at_64, END_64_BYTES)?;
            if record.starts_with(END_64) {
                (end_at, directory_bytes, offset) = (at_64, u64_at(&record, 40)?, u64_at(&record, 48)?);
            }
        }
        let directory_at = end_at.checked_sub(directory_bytes).ok_or_else(|| bad("its directory is cut off"))?;
        let base = directory_at.checked_sub(offset).ok_or_else(|| bad("its directory is not where it says"))?;
        Ok(Self { from, directory_at, directory_bytes, base })
    }

    /// Shows every file to `look`, until that says to stop.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn each(&mut self, mut look: impl FnMut(Entry) -> bool) -> io::Result<()> {
        self.from.seek(SeekFrom::Start(self.directory_at))?;
        let mut directory = BufReader::new(self.from.by_ref().take(self.directory_bytes));
        let mut head = [0; OF_DIRECTORY_BYTES];
        let (mut name, mut extra) = (Vec::new(), Vec::new());
        let mut left = self.directory_bytes;
        while left >= OF_DIRECTORY_BYTES as u64 {
            directory.read_exact(&mut head)?;
            if !head.starts_with(OF_DIRECTORY) {
                return Err(bad("its directory is damaged"));
            }
            let [name_bytes, extra_bytes, comment_bytes] =
                [u16_at(&head, 28)?, u16_at(&head, 30)?, u16_at(&head, 32)?].map(usize::from);
            name.resize(name_bytes, 0);
            extra.resize(extra_bytes, 0);
            directory.read_exact(&mut name)?;
            directory.read_exact(&mut extra)?;
            io::copy(&mut directory.by_ref().take(comment_bytes as u64), &mut io::sink())?;
            left = left.saturating_sub((OF_DIRECTORY_BYTES + name_bytes + extra_bytes + comment_bytes) as u64);
            let (mut packed_bytes, bytes, mut at) =
                (u64::from(u32_at(&head, 20)?), u64::from(u32_at(&head, 24)?), u64::from(u32_at(&head, 42)?));
            let mut large = large_numbers(&extra);
            if bytes == IN_EXTRA {
                large.next();
            }
            for number in [&mut packed_bytes, &mut at] {
                if *number == IN_EXTRA {
                    *number = large.next().unwrap_or(*number);
                }
            }
            let entry = Entry {
                name: String::from_utf8_lossy(&name).into_owned(),
                method: u16_at(&head, 10)?,
                packed_bytes,
                at: self.base.saturating_add(at),
            };
            if !look(entry) {
                break;
            }
        }
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// They are more than `max`, packed in a way that jars are not, or damaged.
    pub(super) fn read(&mut self, entry: &Entry, max: usize) -> io::Result<Vec<u8>> {
        let head = exactly(&mut self.from, entry.at, OF_FILE_BYTES)?;
        if !head.starts_with(OF_FILE) {
            return Err(bad("a file is not where its directory says"));
        }
        let (name_bytes, extra_bytes) = (u16_at(&head, 26)?, u16_at(&head, 28)?);
        self.from.seek(SeekFrom::Current(i64::from(name_bytes) + i64::from(extra_bytes)))?;
        let packed = BufReader::new(self.from.by_ref().take(entry.packed_bytes));
        let mut bytes = Vec::new();
        let most = max as u64 + 1;
        match entry.method {
            STORED => packed.take(most).read_to_end(&mut bytes)?,
            DEFLATED => DeflateDecoder::new(packed).take(most).read_to_end(&mut bytes)?,
            other => return Err(Error::new(ErrorKind::Unsupported, format!("packed by method {other}"))),
        };
        if bytes.len() > max {
            return Err(Error::new(ErrorKind::FileTooLarge, format!("{} has more than {max} bytes", entry.name)));
        }
        Ok(bytes)
    }
}

/// Where the end of a directory is that has too much for the usual one.
fn end_64(from: &mut (impl Read + Seek), end_at: u64) -> io::Result<Option<u64>> {
    let Some(at) = end_at.checked_sub(END_64_LOCATOR_BYTES) else { return Ok(None) };
    let locator = exactly(from, at, END_64_LOCATOR_BYTES as usize)?;
    Ok(locator.starts_with(END_64_LOCATOR).then(|| u64_at(&locator, 8)).transpose()?.filter(|at| *at < end_at))
}

/// The numbers of eight bytes among the extra fields, in their order.
fn large_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let [kind, bytes] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_le_bytes);
        let Some((body, after)) = rest.split_at_checked(bytes.into()) else { break };
        if kind == EXTRA_64 {
            found = body;
        }
        extra = after;
    }
    found.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes)
}

fn exactly(from: &mut (impl Read + Seek), at: u64, count: usize) -> io::Result<Vec<u8>> {
    from.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes.get(at..at + N).and_then(|found| found.try_into().ok());
    found.ok_or_else(|| bad("it is cut off"))
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::{Cursor, Write};

    /// A ZIP file of these; every second one deflated.
    pub(in crate::java) fn zip_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (number, (name, bytes)) in files.iter().enumerate() {
            let (method, packed) = if number % 2 == 0 {
                (STORED, bytes.clone())
            } else {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                (DEFLATED, encoder.finish().unwrap())
            };
            let at = out.len() as u32;
            let mut common = [20u16.to_le_bytes(), [0, 0], method.to_le_bytes()].concat();
            common.extend([0; 8]); // time, and a sum that nobody looks at
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((bytes.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0; 2]);
            out.extend([&OF_FILE[..], &common, name.as_bytes(), &packed].concat());
            directory
                .extend([&OF_DIRECTORY[..], &[20, 0], &common, &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat());
        }
        let at = out.len() as u32;
        let count = (files.len() as u16).to_le_bytes();
        let end =
            [&END[..], &[0; 4], &count, &count, &(directory.len() as u32).to_le_bytes(), &at.to_le_bytes(), &[0; 2]];
        [out, directory, end.concat()].concat()
    }

    fn names(bytes: Vec<u8>) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        Zip::open(Cursor::new(bytes))?.each(|entry| {
            names.push(entry.name);
            true
        })?;
        Ok(names)
    }

    fn read(bytes: Vec<u8>, name: &str, max: usize) -> io::Result<Vec<u8>> {
        let mut zip = Zip::open(Cursor::new(bytes))?;
        let mut found = None;
        zip.each(|entry| {
            found = Some(entry).filter(|entry| entry.name == name);
            found.is_none()
        })?;
        zip.read(&found.expect("it is there"), max)
    }

    fn two() -> Vec<u8> {
        zip_of(&[("a/stored", b"one".to_vec()), ("b/deflated", vec![7; 10_000])])
    }

    #[test]
    fn files_are_found_and_read_stored_and_deflated() {
        assert_eq!(names(two()).unwrap(), ["a/stored", "b/deflated"]);
        assert_eq!(read(two(), "a/stored", 3).unwrap(), b"one");
        assert_eq!(read(two(), "b/deflated", 10_000).unwrap(), vec![7; 10_000]);
        assert_eq!(read(two(), "b/deflated", 9_999).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn something_may_be_in_front_and_a_comment_behind() {
        let mut file = [b"#!/bin/sh\nexec java -jar $0\n".to_vec(), two()].concat();
        let comment = file.len() - 2;
        file[comment] = 5;
        file.extend(b"hello");
        assert_eq!(read(file, "b/deflated", 10_000).unwrap().len(), 10_000);
    }

    #[test]
    fn a_directory_of_many_files_is_found_by_its_long_end() {
        let file = two();
        let (rest, end) = file.split_at(file.len() - END_BYTES);
        let (bytes, at) = (u32_at(end, 12).unwrap(), u32_at(end, 16).unwrap());
        let mut long = [&END_64[..], &44u64.to_le_bytes(), &[0; 28], &u64::from(bytes).to_le_bytes()].concat();
        long.extend(u64::from(at).to_le_bytes());
        let locator = [&END_64_LOCATOR[..], &[0; 4], &(rest.len() as u64).to_le_bytes(), &[1, 0, 0, 0]].concat();
        let short = [&END[..], &[0; 4], &[255; 12], &[0; 2]].concat();
        let file = [rest, &long, &locator, &short].concat();
        assert_eq!(read(file, "b/deflated", 10_000).unwrap().len(), 10_000);
    }

    #[test]
    fn whatever_is_cut_off_or_bent_is_an_error_and_no_panic() {
        let whole = two();
        for end in 0..whole.len() {
            assert!(names(whole[..end].to_vec()).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[at] ^= 1 << bit;
                if let Ok(names) = names(bent.clone())
                    && names.iter().any(|name| name == "b/deflated")
                {
                    let _ = read(bent, "b/deflated", 1 << 20);
                }
            }
        }
        assert_eq!(names(b"def process(input): ...".to_vec()).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
