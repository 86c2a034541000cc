//! Where the entries of each stream are: one point per 64 KiB of file and stream, never one per entry.
//!
//! Invariant: between two points of a stream in a file, its entries start less than [`REACH`] after the first of the two.
//! Only what is durable is in the index, and, after recovery, only what belongs to a whole commit.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
};

use rustc_hash::FxHashMap;

use crate::{File, FileInfo, Lsn, StreamRange, block::FileHeader};

/// A stream gets another point when an entry starts this far behind the last one.
const STRIDE: u32 = 64 << 10;
/// How far behind a point entries start that have no point of their own.
pub(crate) const REACH: u64 = 2 * STRIDE as u64;

/// One journal file on disk.
pub(crate) struct DataFile {
    pub(crate) header: FileHeader,
    /// Space it takes, and where its last block must end.
    pub(crate) bytes: u64,
    pub(crate) file: Arc<dyn File>,
    pub(crate) quarantined: AtomicBool,
}

/// Entries of one stream that follow each other without another stream's in between, within one stride.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) stream: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
    /// Where in the file the first one starts.
    pub(crate) at: u32,
}

impl Touch {
    /// Adds an entry to the end of a list of touches.
    pub(crate) fn add(touches: &mut Vec<Self>, stream: u64, seq: u64, bytes: u64, at: u32) {
        match touches.last_mut() {
            Some(last) if last.stream == stream && at - last.at < STRIDE && seq >= last.last_seq => {
                last.last_seq = seq;
                last.bytes += bytes;
            }
            _ => touches.push(Self { stream, first_seq: seq, last_seq: seq, bytes, at }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) seq: u64,
    pub(crate) at: u32,
}

/// The entries of one stream in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: u64,
    pub(crate) first: Point,
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
    /// Points behind the first.
    pub(crate) more: Vec<Point>,
}

impl Span {
    fn last_point(&self) -> Point {
        self.more.last().copied().unwrap_or(self.first)
    }

    /// Whether most of what lies between its first and its last point is the stream's own.
    fn is_dense(&self) -> bool {
        self.bytes >= u64::from(self.last_point().at - self.first.at) / 2
    }
}

/// What the index knows of one file.
pub(crate) struct FileEntry {
    pub(crate) data: Arc<DataFile>,
    /// Every stream with a span in this file.
    pub(crate) streams: Vec<u64>,
    pub(crate) first_block: u64,
    pub(crate) last_block: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    /// Where durable data ends.
    pub(crate) end: u64,
    pub(crate) sealed: bool,
    /// Its last commit goes on in the next file.
    pub(crate) open_tail: bool,
}

impl FileEntry {
    pub(crate) fn new(data: Arc<DataFile>) -> Self {
        Self {
            data,
            streams: Vec::new(),
            first_block: 0,
            last_block: 0,
            first_lsn: 0,
            last_lsn: 0,
            end: crate::block::FILE_HEADER_BYTES,
            sealed: false,
            open_tail: false,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.data.header.number
    }

    /// Takes note of a block that ends at `end`.
    pub(crate) fn extend(&mut self, block: u64, first_lsn: Lsn, last_lsn: Lsn, end: u64) {
        if self.first_block == 0 {
            self.first_block = block;
            self.first_lsn = first_lsn;
        }
        self.last_block = block;
        self.last_lsn = last_lsn;
        self.end = end;
    }
}

/// A place to start reading from.
#[derive(Clone)]
pub(crate) struct Hop {
    pub(crate) data: Arc<DataFile>,
    pub(crate) end: u64,
    pub(crate) at: u64,
    /// The stream's last entry in that file. One behind it belongs to a commit whose end was lost.
    pub(crate) last_seq: u64,
    /// Who reads on from here finds little else.
    pub(crate) dense: bool,
}

#[derive(Default)]
pub(crate) struct Index {
    pub(crate) files: VecDeque<FileEntry>,
    streams: FxHashMap<u64, Vec<Span>>,
}

impl Index {
    pub(crate) fn file(&self, number: u64) -> Option<&FileEntry> {
        let at = self.files.binary_search_by_key(&number, FileEntry::number).ok()?;
        self.files.get(at)
    }

    pub(crate) fn file_mut(&mut self, number: u64) -> Option<&mut FileEntry> {
        let at = self.files.binary_search_by_key(&number, FileEntry::number).ok()?;
        self.files.get_mut(at)
    }

    /// The file after this one.
    pub(crate) fn after(&self, number: u64) -> Option<&FileEntry> {
        self.files.get(self.files.partition_point(|file| file.number() <= number))
    }

    /// Adds entries to the youngest file that has any of their stream, which is `file`. No walk from a point
    /// before `hole` can reach what is behind it.
    pub(crate) fn touch(&mut self, file: u64, touch: &Touch, hole: u32) {
        let spans = self.streams.entry(touch.stream).or_default();
        let point = Point { seq: touch.first_seq, at: touch.at };
        match spans.last_mut() {
            Some(span) if span.file == file => {
                let from = span.last_point().at;
                if from < hole || touch.at.saturating_sub(from) >= STRIDE {
                    span.more.push(point);
                }
                span.last_seq = span.last_seq.max(touch.last_seq);
                span.bytes += touch.bytes;
            }
            _ => {
                let span = Span { file, first: point, last_seq: touch.last_seq, bytes: touch.bytes, more: Vec::new() };
                self.insert(touch.stream, span);
            }
        }
    }

    /// Adds the span of a younger file than all the stream has.
    pub(crate) fn insert(&mut self, stream: u64, span: Span) {
        if let Some(file) = self.file_mut(span.file) {
            file.streams.push(stream);
        }
        self.streams.entry(stream).or_default().push(span);
    }

    fn span(&self, stream: u64, seq: u64) -> Option<(&[Span], usize)> {
        let spans = self.streams.get(&stream)?;
        let at = spans.partition_point(|span| span.first.seq <= seq).checked_sub(1)?;
        (seq <= spans[at].last_seq).then_some((spans, at))
    }

    /// Where to look for an entry and those behind it, at most `max` places.
    pub(crate) fn locate(&self, stream: u64, seq: u64, max: usize) -> Vec<Hop> {
        let Some((spans, at)) = self.span(stream, seq) else { return Vec::new() };
        let mut hops = Vec::new();
        let mut skip = spans[at].more.partition_point(|point| point.seq <= seq);
        for span in &spans[at..] {
            let Some(file) = self.file(span.file) else { break };
            let points = std::iter::once(&span.first).chain(&span.more).skip(skip);
            skip = 0;
            let dense = span.is_dense();
            for point in points {
                if hops.len() == max {
                    return hops;
                }
                let (data, end, at) = (Arc::clone(&file.data), file.end, u64::from(point.at));
                hops.push(Hop { data, end, at, last_seq: span.last_seq, dense });
            }
        }
        hops
    }

    /// The first entry behind `seq` that can be found without walking over those before it.
    pub(crate) fn next_point(&self, stream: u64, seq: u64) -> Option<u64> {
        let spans = self.streams.get(&stream)?;
        let at = spans.partition_point(|span| span.last_seq <= seq);
        let points = spans[at..].iter().flat_map(|span| std::iter::once(&span.first).chain(&span.more));
        points.map(|point| point.seq).find(|&point| point > seq)
    }

    pub(crate) fn contains(&self, stream: u64, seq: u64) -> bool {
        self.span(stream, seq).is_some()
    }

    pub(crate) fn first_seq(&self, stream: u64) -> Option<u64> {
        self.streams.get(&stream)?.first().map(|span| span.first.seq)
    }

    pub(crate) fn last_seq(&self, stream: u64) -> Option<u64> {
        self.streams.get(&stream)?.last().map(|span| span.last_seq)
    }

    pub(crate) fn forget(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    /// The spans of one file for those of its streams that were not forgotten, by stream.
    pub(crate) fn spans_in(&self, number: u64, streams: &[u64]) -> Vec<(u64, Span)> {
        let find = |stream: &u64| {
            let spans = self.streams.get(stream)?;
            let at = spans.binary_search_by_key(&number, |span| span.file).ok()?;
            Some((*stream, spans[at].clone()))
        };
        streams.iter().filter_map(find).collect()
    }

    /// Removes the oldest file and all that points into it.
    pub(crate) fn pop(&mut self) -> Option<FileEntry> {
        let file = self.files.pop_front()?;
        let number = file.number();
        for stream in &file.streams {
            if let Some(spans) = self.streams.get_mut(stream) {
                spans.retain(|span| span.file != number);
                if spans.is_empty() {
                    self.streams.remove(stream);
                }
            }
        }
        Some(file)
    }

    pub(crate) fn infos(&self) -> Vec<FileInfo> {
        let info = |file: &FileEntry| FileInfo {
            number: file.number(),
            bytes: file.data.bytes,
            first_lsn: file.first_lsn,
            last_lsn: file.last_lsn,
            sealed: file.sealed,
        };
        self.files.iter().map(info).collect()
    }
}

impl From<&(u64, Span)> for StreamRange {
    fn from((stream, span): &(u64, Span)) -> Self {
        Self { stream: *stream, first_seq: span.first.seq, last_seq: span.last_seq, bytes: span.bytes }
    }
}
