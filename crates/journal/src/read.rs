//! Reading entries back.
//!
//! The index says where to start; from there fragments are walked in file order, other streams' skipped, until the index knows a
//! nearer place. Every byte that is returned was checked against its CRC in the same pass.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;

use crate::{
    Error, FIRST_UNINDEXED_KIND, Result,
    block::{ALIGN, BLOCK_HEADER_BYTES, BlockHeader, FILE_HEADER_BYTES, FRAGMENT_HEADER_BYTES, Head, mark, tag},
    index::{DataFile, Index, REACH},
    pool::BUFFER_BYTES,
    record::BODY_BYTES_MAX,
    window::Window,
};

/// Places asked of the index at a time.
const HOPS: usize = 64;

pub(crate) type Entries = Vec<(u64, u32, Bytes)>;

/// Entries of `stream` from `from` on, without a gap, at most `max_records` and about `max_bytes`, at least one if it is there.
/// With `once` they are not expected to be read again soon.
pub(crate) fn read(
    index: &RwLock<Index>,
    stream: u64,
    from: u64,
    max_records: usize,
    max_bytes: usize,
    once: bool,
) -> Result<Entries> {
    let mut out = Taken { entries: Vec::new(), bytes: 0, next: from, max_records, max_bytes };
    while !out.is_full() {
        let hops = index.read().locate(stream, out.next, HOPS);
        let before = out.entries.len();
        let mut walker: Option<Walker> = None;
        for (number, hop) in hops.iter().enumerate() {
            let next_hop = hops.get(number + 1).filter(|next| Arc::ptr_eq(&next.data, &hop.data)).map(|next| next.at);
            match &mut walker {
                Some(walker) if Arc::ptr_eq(&walker.data, &hop.data) => {
                    // Only ever forward: entries may reach beyond the next point.
                    if walker.at < hop.at {
                        walker.at = hop.at;
                        walker.at_block = false;
                    }
                }
                _ => {
                    let mut new = Walker::new(Arc::clone(&hop.data), hop.end, hop.at, false);
                    if hop.dense {
                        new.window = new.window.expecting(max_bytes);
                        if once && max_bytes >= BUFFER_BYTES {
                            new.window = new.window.past_cache();
                        }
                    }
                    walker = Some(new);
                }
            }
            let Some(walker) = &mut walker else { continue };
            loop {
                if out.is_full() {
                    return Ok(out.entries);
                }
                let passed = next_hop.is_some_and(|at| walker.at >= at);
                if passed || walker.at > hop.at + REACH || out.next > hop.last_seq {
                    break;
                }
                let head = match walker.peek() {
                    Ok(Some(head)) => head,
                    Ok(None) => break,
                    Err(error) => return out.or(error),
                };
                let ours = head.stream == stream && head.kind < FIRST_UNINDEXED_KIND && head.has(mark::FIRST);
                if !ours || head.seq < out.next {
                    walker.skip(&head);
                } else if head.seq > out.next {
                    let error = walker.corrupt();
                    return out.or(error);
                } else if once && out.bytes >= max_bytes / 4 * 3 && !walker.window.has(walker.at, head.encoded()) {
                    // Near enough: another piece would be read for little.
                    return Ok(out.entries);
                } else {
                    match walker.take(index, &head) {
                        Ok(Some(body)) => out.push(&head, body),
                        Ok(None) => return Ok(out.entries),
                        Err(error) => return out.or(error),
                    }
                }
            }
        }
        if out.entries.len() == before {
            // Either the index knows no such entry, or it is not where the index says.
            return match hops.first() {
                None => Ok(out.entries),
                Some(hop) => {
                    let error = Error::Corrupt { file: hop.data.header.number, offset: hop.at };
                    out.or(error)
                }
            };
        }
    }
    Ok(out.entries)
}

struct Taken {
    entries: Entries,
    bytes: usize,
    next: u64,
    max_records: usize,
    max_bytes: usize,
}

impl Taken {
    fn is_full(&self) -> bool {
        self.entries.len() >= self.max_records || (self.bytes >= self.max_bytes && !self.entries.is_empty())
    }

    fn push(&mut self, head: &Head, body: Bytes) {
        self.bytes += body.len();
        self.entries.push((head.seq, head.aux, body));
        self.next = head.seq.wrapping_add(1);
    }

    /// What was read before the error, or else the error.
    fn or(self, error: Error) -> Result<Entries> {
        if self.entries.is_empty() { Err(error) } else { Ok(self.entries) }
    }
}

/// A position in a file that moves from fragment to fragment.
struct Walker {
    data: Arc<DataFile>,
    end: u64,
    at: u64,
    at_block: bool,
    window: Window,
    tag: u32,
}

impl Walker {
    fn new(data: Arc<DataFile>, end: u64, at: u64, at_block: bool) -> Self {
        let window = Window::new(Arc::clone(&data.file), end);
        Self { tag: tag(data.header.id), data, end, at, at_block, window }
    }

    fn corrupt(&self) -> Error {
        Error::Corrupt { file: self.data.header.number, offset: self.at }
    }

    /// The head of the fragment here; `None` at the end of what is durable.
    fn peek(&mut self) -> Result<Option<Head>> {
        if self.at >= self.end {
            return Ok(None);
        }
        if self.at_block {
            let header = self.window.get(self.at, BLOCK_HEADER_BYTES).map_err(failed)?.and_then(BlockHeader::decode);
            if !header.is_some_and(|header| header.belongs(&self.data.header)) {
                return Err(self.corrupt());
            }
            self.at += BLOCK_HEADER_BYTES as u64;
            self.at_block = false;
        }
        let tag = self.tag;
        let head =
            self.window.get(self.at, FRAGMENT_HEADER_BYTES).map_err(failed)?.and_then(|bytes| Head::peek(bytes, tag));
        head.map(Some).ok_or_else(|| self.corrupt())
    }

    fn skip(&mut self, head: &Head) {
        self.at += head.encoded() as u64;
        if head.has(mark::CLOSE) {
            self.at = self.at.next_multiple_of(ALIGN as u64);
            self.at_block = true;
        }
    }

    /// Checks the fragment here and moves past it: its part of the body, and the (length, offset) of that part.
    fn part(&mut self, head: &Head) -> Result<(Bytes, Option<(u32, u32)>)> {
        let at = self.at;
        let verified = match self.window.get(at, head.encoded()).map_err(failed)? {
            Some(bytes) if head.verify(bytes) => Some((!head.has(mark::WHOLE)).then(|| head.part(bytes))),
            _ => None,
        };
        let part = verified.ok_or_else(|| self.corrupt())?;
        let body = self.window.slice(at + head.body_at() as u64, head.len as usize);
        self.skip(head);
        Ok((body, part))
    }

    /// The body of the record whose first fragment is here; `None` when its rest is not durable yet.
    fn take(&mut self, index: &RwLock<Index>, head: &Head) -> Result<Option<Bytes>> {
        let (body, part) = self.part(head)?;
        let Some((total, _)) = part else { return Ok(Some(body)) };
        let total = total as usize;
        if total > BODY_BYTES_MAX {
            return Err(self.corrupt());
        }
        let mut joined = BytesMut::with_capacity(total);
        joined.extend_from_slice(&body);
        while joined.len() < total {
            let Some(next) = self.peek()? else {
                let index = index.read();
                let header = self.data.header;
                let following = index.after(header.number).filter(|file| file.data.header.epoch == header.epoch);
                let Some(file) = following else { return Ok(None) };
                *self = Self::new(Arc::clone(&file.data), file.end, FILE_HEADER_BYTES, true);
                continue;
            };
            let (body, part) = self.part(&next)?;
            let fits = (next.stream, next.seq) == (head.stream, head.seq)
                && part == Some((total as u32, joined.len() as u32))
                && joined.len() + body.len() <= total;
            if !fits {
                return Err(self.corrupt());
            }
            joined.extend_from_slice(&body);
        }
        Ok(Some(joined.freeze()))
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io { what: "read entries", source }
}
