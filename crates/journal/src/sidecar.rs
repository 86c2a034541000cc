//! The sorted index of a sealed file, in a small file beside it.
//!
//! It is what lets a start skip the file's data. It is a file of its own, not a footer, so that journal files keep one size and can
//! be recycled, and so that the index may be as large as a file of many small entries makes it. Without it, or when its checksum
//! is wrong, the data is scanned instead. A sidecar also says where the data of its file ends, which turns whatever is bad before
//! that into corruption rather than a torn tail.

use std::{io, sync::atomic::Ordering};

use crate::{
    Files, Lsn,
    block::{FileHeader, NUMBER_MAX, u32_at, u64_at},
    index::{FileEntry, Point, Span},
};

const MAGIC: &[u8; 8] = b"GemingaX";
const VERSION: u32 = 1;
const HEAD: usize = 88;
const OPEN_TAIL: u32 = 1;
const QUARANTINED: u32 = 2;

/// What a start needs to know of a sealed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    pub(crate) id: u64,
    pub(crate) first_block: u64,
    pub(crate) last_block: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) end: u64,
    pub(crate) open_tail: bool,
    pub(crate) quarantined: bool,
    pub(crate) spans: Vec<(u64, Span)>,
}

impl Sidecar {
    pub(crate) fn of(file: &FileEntry, spans: Vec<(u64, Span)>) -> Self {
        Self {
            id: file.data.header.id,
            first_block: file.first_block,
            last_block: file.last_block,
            first_lsn: file.first_lsn,
            last_lsn: file.last_lsn,
            end: file.end,
            open_tail: file.open_tail,
            quarantined: file.data.quarantined.load(Ordering::Relaxed),
            spans,
        }
    }

    pub(crate) fn encode(&mut self) -> Vec<u8> {
        self.spans.sort_unstable_by_key(|(stream, _)| *stream);
        let mut out = Vec::with_capacity(HEAD + self.spans.len() * 48);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let flags = if self.open_tail { OPEN_TAIL } else { 0 } | if self.quarantined { QUARANTINED } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        let count = self.spans.len() as u64;
        for value in [self.id, self.first_block, self.last_block, self.first_lsn, self.last_lsn, self.end, count, 0, 0]
        {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for (stream, span) in &self.spans {
            for value in [*stream, span.first.seq, span.last_seq, span.bytes] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            out.extend_from_slice(&span.first.at.to_le_bytes());
            out.extend_from_slice(&(span.more.len() as u32).to_le_bytes());
            for point in &span.more {
                out.extend_from_slice(&point.seq.to_le_bytes());
                out.extend_from_slice(&point.at.to_le_bytes());
            }
        }
        let crc = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` when it is damaged, of another version, or of another life of the file.
    pub(crate) fn decode(bytes: &[u8], file: &FileHeader) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let sound = body.len() >= HEAD
            && crc_fast::crc32_iscsi(body) == u32_at(crc, 0)
            && &body[..8] == MAGIC
            && u32_at(body, 8) == VERSION
            && u64_at(body, 16) == file.id
            && (24..56).step_by(8).all(|at| u64_at(body, at) < NUMBER_MAX);
        if !sound {
            return None;
        }
        let flags = u32_at(body, 12);
        let mut spans = Vec::new();
        let mut rest = &body[HEAD..];
        let mut take = |len: usize| {
            let (taken, left) = rest.split_at_checked(len)?;
            rest = left;
            Some(taken)
        };
        for _ in 0..u64_at(body, 64) {
            let head = take(40)?;
            let mut more = Vec::new();
            for _ in 0..u32_at(head, 36) {
                let point = take(12)?;
                more.push(Point { seq: u64_at(point, 0), at: u32_at(point, 8) });
            }
            let first = Point { seq: u64_at(head, 8), at: u32_at(head, 32) };
            let (last_seq, bytes) = (u64_at(head, 16), u64_at(head, 24));
            spans.push((u64_at(head, 0), Span { file: file.number, first, last_seq, bytes, more }));
        }
        Some(Self {
            id: file.id,
            first_block: u64_at(body, 24),
            last_block: u64_at(body, 32),
            first_lsn: u64_at(body, 40),
            last_lsn: u64_at(body, 48),
            end: u64_at(body, 56),
            open_tail: flags & OPEN_TAIL != 0,
            quarantined: flags & QUARANTINED != 0,
            spans,
        })
    }

    /// Writes it durably under its final name, so that a half-written one is never seen.
    pub(crate) fn store(mut self, files: &dyn Files, number: u64) -> io::Result<()> {
        let bytes = self.encode();
        let temporary = format!("{}.tmp", index_name(number));
        let file = files.create(&temporary)?;
        let mut done = 0;
        while done < bytes.len() {
            match file.write_at(&bytes[done..], done as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => done += written,
            }
        }
        file.sync()?;
        files.rename(&temporary, &index_name(number))?;
        files.sync_names()
    }

    /// Reads the sidecar of a file, if there is a sound one.
    pub(crate) fn load(files: &dyn Files, header: &FileHeader) -> Option<Self> {
        let file = files.open(&index_name(header.number)).ok()?;
        let mut bytes = vec![0; usize::try_from(file.bytes().ok()?).ok()?];
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], done as u64).ok()? {
                0 => return None,
                read => done += read,
            }
        }
        Self::decode(&bytes, header)
    }
}

pub(crate) fn log_name(number: u64) -> String {
    format!("{number:010}.log")
}

pub(crate) fn index_name(number: u64) -> String {
    format!("{number:010}.index")
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:010}.spare")
}

pub(crate) fn new_name(number: u64) -> String {
    format!("{number:010}.new")
}

pub(crate) fn quarantine_name(number: u64) -> String {
    format!("{number:010}.quarantined")
}
