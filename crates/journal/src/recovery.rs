//! What is in the directory, and where the log goes on.
//!
//! Files are walked in order and blocks must follow each other without a gap. Where one does not, the highest watermark found in
//! anything behind it decides. Was it once known to be durable, then this is corruption: the file is quarantined, what is
//! readable in it is kept, and the walk goes on. Else it is the torn tail of a crash: the log ends here, and whatever follows,
//! even if sound, was never acknowledged. The next epoch's files name the block where they begin, so what a crash left behind is
//! judged the same way ever after. A commit is replayed only when all its parts are there.

use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::{Bytes, BytesMut};

use crate::{
    BoxError, Config, Error, Files, Lsn, Quarantined, Record, Recovery, Result,
    block::{
        ALIGN, AlignedBuffer, BLOCK_HEADER_BYTES, Bad, BlockHeader, FILE_HEADER_BYTES, FRAGMENT_HEADER_BYTES,
        FileHeader, Head, NUMBER_MAX, mark, tag,
    },
    index::{DataFile, FileEntry, Index, Touch},
    record::BODY_BYTES_MAX,
    sequencer::{Spare, Start},
    sidecar::{Sidecar, index_name, log_name, quarantine_name, spare_name},
    window::Window,
    writer::write_block,
};

type Visit<'a> = &'a mut dyn FnMut(Lsn, &Record) -> Result<(), BoxError>;

/// What recovery hands to the running journal.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) index: Index,
    pub(crate) start: Start,
}

/// Reads the directory, replays what lies behind `replay_after`, and leaves every file sealed.
pub(crate) fn recover(config: &Config, files: &dyn Files, replay_after: Lsn, visit: Visit<'_>) -> Result<Recovered> {
    let started = Instant::now();
    let mut inventory = Inventory::take(config, files)?;
    let found = std::mem::take(&mut inventory.found);
    let mut scan = Scan {
        found,
        index: Index::default(),
        replay_after,
        visit,
        expected: 0,
        block_max: 0,
        cut: None,
        last: 0,
        pending: None,
        unproven: VecDeque::new(),
        recovery: Recovery {
            quarantined: inventory.quarantined,
            set_aside: inventory.set_aside,
            ..Recovery::default()
        },
    };
    scan.run()?;
    let last = scan.last.max(replay_after);
    if scan.last < replay_after {
        tracing::warn!(last = scan.last, replay_after, "journal ends before what was already taken from it");
    }
    let block = scan.cut.unwrap_or(scan.block_max + 1).max(1);
    let Scan { found, mut index, mut recovery, unproven, .. } = scan;

    // What was read may be only in the page cache; before anything is built on it, it goes to disk. After a failed sync the
    // kernel takes pages for clean that never reached the disk, so what no watermark vouches for is written again.
    for block in unproven {
        block.write_again().map_err(Error::io("write the end of the journal again"))?;
    }
    let mut void = Vec::new();
    let mut epoch = 0;
    let mut disk_bytes = 0;
    for file in &found {
        epoch = epoch.max(file.data.header.epoch);
        let number = file.data.header.number;
        let Some(entry) = index.file_mut(number) else {
            void.push(Arc::clone(&file.data));
            continue;
        };
        entry.sealed = true;
        disk_bytes += file.data.bytes;
        recovery.files += 1;
        let quarantined = file.data.quarantined.load(Ordering::Relaxed);
        if file.side.as_ref().is_some_and(|side| side.quarantined == quarantined) {
            continue;
        }
        file.data.file.sync().map_err(Error::io("sync a recovered file"))?;
        let streams = entry.streams.clone();
        let sidecar = Sidecar::of(entry, Vec::new());
        let sidecar = Sidecar { spans: index.spans_in(number, &streams), ..sidecar };
        if let Err(error) = sidecar.store(files, number) {
            tracing::warn!(file = number, %error, "index of a recovered journal file not written");
        }
    }
    drop(found);
    let mut spares = inventory.spares;
    for data in void {
        let (number, bytes) = (data.header.number, data.bytes);
        drop(data);
        let _ = files.remove(&index_name(number));
        if spares.len() < 2 && bytes >= config.first_file_bytes {
            files.rename(&log_name(number), &spare_name(number)).map_err(Error::io("set a void file aside"))?;
            spares.push(Spare { name: spare_name(number), bytes });
        } else {
            files.remove(&log_name(number)).map_err(Error::io("remove a void file"))?;
        }
    }
    files.sync_names().map_err(Error::io("sync the journal directory"))?;
    disk_bytes += spares.iter().map(|spare| spare.bytes).sum::<u64>();
    recovery.last = last;
    recovery.duration = started.elapsed();
    let start = Start { last, epoch: epoch + 1, block, number: inventory.number_max + 1, spares, disk_bytes };
    Ok(Recovered { recovery, index, start })
}

/// A journal file before the walk.
struct Found {
    data: Arc<DataFile>,
    side: Option<Sidecar>,
}

struct Inventory {
    found: Vec<Found>,
    spares: Vec<Spare>,
    quarantined: Vec<Quarantined>,
    set_aside: usize,
    number_max: u64,
}

impl Inventory {
    fn take(config: &Config, files: &dyn Files) -> Result<Self> {
        let list = Error::io("list the journal directory");
        let mut inventory =
            Self { found: Vec::new(), spares: Vec::new(), quarantined: Vec::new(), set_aside: 0, number_max: 0 };
        let mut logs = Vec::new();
        let mut set_aside = Vec::new();
        let mut indexes = HashSet::new();
        for name in files.list().map_err(list)? {
            let Some((stem, kind)) = name.split_once('.') else { continue };
            let Some(number) = stem.parse().ok().filter(|&number| number < NUMBER_MAX) else { continue };
            let known = match kind {
                "log" => {
                    logs.push(number);
                    true
                }
                "index" => {
                    indexes.insert(number);
                    true
                }
                "spare" => {
                    inventory.spare(config, files, name)?;
                    true
                }
                "new" | "index.tmp" => {
                    files.remove(&name).map_err(Error::io("remove an unfinished file"))?;
                    true
                }
                "quarantined" => {
                    set_aside.push(number);
                    true
                }
                _ => false,
            };
            if known {
                inventory.number_max = inventory.number_max.max(number);
            }
        }
        logs.sort_unstable();
        set_aside.retain(|number| logs.first().is_none_or(|first| number < first));
        inventory.set_aside = set_aside.len();
        for number in &logs {
            inventory.log(files, *number)?;
        }
        for orphan in indexes.into_iter().filter(|number| logs.binary_search(number).is_err()) {
            files.remove(&index_name(orphan)).map_err(Error::io("remove an index without file"))?;
        }
        Ok(inventory)
    }

    fn spare(&mut self, config: &Config, files: &dyn Files, name: String) -> Result<()> {
        let bytes = files.open(&name).and_then(|file| file.bytes()).map_err(Error::io("open a spare file"))?;
        let fits = bytes >= config.first_file_bytes && bytes <= config.file_bytes && bytes % ALIGN as u64 == 0;
        if fits && self.spares.len() < 2 {
            self.spares.push(Spare { name, bytes });
            return Ok(());
        }
        files.remove(&name).map_err(Error::io("remove a spare file"))
    }

    fn log(&mut self, files: &dyn Files, number: u64) -> Result<()> {
        let open = || Error::io("open a journal file");
        let file = files.open(&log_name(number)).map_err(open())?;
        let bytes = file.bytes().map_err(open())?;
        let mut window = Window::new(Arc::clone(&file), bytes);
        let page = window.get(0, ALIGN).map_err(open())?.unwrap_or_default();
        let header = match FileHeader::decode(page) {
            Ok(header) if header.number == number => Some(header),
            Err(Bad::Version(version)) => return Err(Error::Version { file: number, version }),
            _ => None,
        };
        let damaged = header.is_none();
        let header = match header {
            Some(header) => header,
            None => {
                self.quarantined.push(Quarantined { file: number, offset: 0, reason: "file header is damaged".into() });
                let mut window = Window::sequential(Arc::clone(&file), bytes);
                // Each block also says which file it is in.
                let known = |header: &BlockHeader| header.number == number;
                match next_block(&mut window, FILE_HEADER_BYTES, bytes, known).map_err(open())? {
                    Some((_, block)) => FileHeader {
                        number,
                        id: block.id,
                        epoch: block.epoch,
                        first_block: block.block,
                        first_lsn: 0,
                        opens: false,
                    },
                    None => {
                        files
                            .rename(&log_name(number), &quarantine_name(number))
                            .map_err(Error::io("set a damaged file aside"))?;
                        return Ok(());
                    }
                }
            }
        };
        let side =
            Sidecar::load(files, &header).filter(|side| side.end <= bytes && side.end >= FILE_HEADER_BYTES && !damaged);
        let quarantined = AtomicBool::new(damaged || side.as_ref().is_some_and(|side| side.quarantined));
        self.found.push(Found { data: Arc::new(DataFile { header, bytes, file, quarantined }), side });
        Ok(())
    }
}

/// The first sound block header at or behind `from` that `wanted` accepts.
fn next_block(
    window: &mut Window,
    from: u64,
    end: u64,
    wanted: impl Fn(&BlockHeader) -> bool,
) -> io::Result<Option<(u64, BlockHeader)>> {
    let mut at = from;
    while let Some(bytes) = window.get(at, BLOCK_HEADER_BYTES)? {
        if let Some(header) = BlockHeader::decode(bytes).filter(&wanted)
            && at + header.span() <= end
        {
            return Ok(Some((at, header)));
        }
        at += ALIGN as u64;
    }
    Ok(None)
}

/// A commit whose end was not met yet.
struct Pending {
    lsn: Lsn,
    records: Vec<Record>,
    part: Option<(Record, u32, BytesMut)>,
    touches: Vec<(u64, Touch, u32)>,
}

/// A fragment of a verified block.
struct Piece {
    head: Head,
    at: u64,
    part: Option<(u32, u32)>,
    body: Bytes,
}

/// A sound block that may not have been durable when the journal stopped.
struct Unproven {
    data: Arc<DataFile>,
    block: u64,
    offset: u64,
    span: u64,
}

impl Unproven {
    fn write_again(&self) -> io::Result<()> {
        let mut window = Window::new(Arc::clone(&self.data.file), self.data.bytes);
        let mut buffer = AlignedBuffer::default();
        let out = buffer.take(self.span as usize);
        out.copy_from_slice(window.get(self.offset, self.span as usize)?.ok_or(io::ErrorKind::UnexpectedEof)?);
        write_block(&*self.data.file, out, self.offset)
    }
}

/// What one block turned out to be.
enum Seen {
    /// Whole and next in order.
    Good(BlockHeader, Vec<Piece>),
    /// Sound header in the right place, but only these fragments, from the start, are sound.
    Partly(BlockHeader, Vec<Piece>),
    /// No block that could follow.
    Nothing,
}

struct Scan<'a> {
    found: Vec<Found>,
    index: Index,
    replay_after: Lsn,
    visit: Visit<'a>,
    /// Number of the block that must come next; 0 when any may.
    expected: u64,
    /// Highest block known to have been written.
    block_max: u64,
    /// The block at which a torn tail was cut off.
    cut: Option<u64>,
    last: Lsn,
    pending: Option<Pending>,
    /// The last blocks of files without an index, behind every watermark seen.
    unproven: VecDeque<Unproven>,
    recovery: Recovery,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<()> {
        let mut epoch = 0;
        for at in 0..self.found.len() {
            let header = self.found[at].data.header;
            if header.epoch > epoch {
                self.pending = None;
                if header.opens {
                    self.expected = header.first_block;
                }
                epoch = header.epoch;
            }
            self.block_max = self.block_max.max(header.first_block.saturating_sub(1));
            self.last = self.last.max(header.first_lsn.saturating_sub(1));
            if !self.adopt(at) && !self.file(at)? {
                break;
            }
            if self.found[at].data.quarantined.load(Ordering::Relaxed) {
                // Nobody knows how many blocks were behind the last sound one.
                self.expected = 0;
            }
        }
        Ok(())
    }

    /// Takes a file from its index alone, when none of its commits is to be replayed.
    fn adopt(&mut self, at: usize) -> bool {
        let found = &mut self.found[at];
        let Some(side) = &mut found.side else { return false };
        self.block_max = self.block_max.max(side.last_block);
        self.last = self.last.max(side.last_lsn.saturating_sub(u64::from(side.open_tail)));
        // A commit that began in the file before may end in this one, and its entries are known only then.
        let continues = self.pending.is_some();
        if side.last_lsn > self.replay_after || side.open_tail || side.first_block == 0 || continues {
            return false;
        }
        let number = found.data.header.number;
        if side.quarantined {
            let reason = "damage found earlier".to_owned();
            self.recovery.quarantined.push(Quarantined { file: number, offset: 0, reason });
        } else if self.expected != 0 && side.first_block != self.expected {
            let reason = format!("blocks {} to {} before it are missing", self.expected, side.first_block - 1);
            self.recovery.quarantined.push(Quarantined { file: number, offset: FILE_HEADER_BYTES, reason });
        }
        let mut entry = FileEntry::new(Arc::clone(&found.data));
        entry.extend(side.first_block, side.first_lsn, side.last_lsn, side.end);
        entry.last_block = side.last_block;
        self.index.files.push_back(entry);
        for (stream, span) in std::mem::take(&mut side.spans) {
            self.index.insert(stream, span);
        }
        self.expected = side.last_block + 1;
        self.pending = None;
        true
    }

    /// Walks one file; false when the log ends in it.
    fn file(&mut self, at: usize) -> Result<bool> {
        let data = Arc::clone(&self.found[at].data);
        let side_end = self.found[at].side.as_ref().map(|side| side.end);
        let end = side_end.unwrap_or(data.bytes);
        let file = data.header;
        let limit = self.limit(at);
        let mut window = Window::sequential(Arc::clone(&data.file), end);
        let mut offset = FILE_HEADER_BYTES;
        let mut hole = 0;
        if data.quarantined.load(Ordering::Relaxed) {
            self.note(&data);
            self.quarantine(&data, 0, "damage found earlier");
        }
        loop {
            let part = match self.block(&mut window, &data, offset, limit)? {
                Seen::Good(header, pieces) => {
                    let span = header.span();
                    self.unproven.retain(|known| known.block > header.durable);
                    if side_end.is_none() {
                        self.unproven.push_back(Unproven {
                            data: Arc::clone(&data),
                            block: header.block,
                            offset,
                            span,
                        });
                    }
                    offset += span;
                    self.good(&data, &header, pieces, offset, hole)?;
                    continue;
                }
                Seen::Partly(header, pieces) => Some((header, pieces)),
                Seen::Nothing => None,
            };
            if side_end == Some(offset) {
                return Ok(true);
            }
            let expected = self.expected;
            if side_end.is_none() && expected != 0 && (expected >= limit || self.continues(at)?) {
                return Ok(true);
            }
            let next = |header: &BlockHeader| {
                header.belongs(&file) && header.block < limit && (expected == 0 || header.block > expected)
            };
            let from = if expected == 0 { offset + ALIGN as u64 } else { offset };
            let ahead = next_block(&mut window, from, end, next).map_err(failed)?;
            let wanted = match (expected, &ahead) {
                (0, Some((_, header))) => header.block.saturating_sub(1),
                (expected, _) => expected,
            };
            match self.proof(at, side_end.is_some(), wanted, ahead, limit)? {
                Ok(reason) => {
                    self.quarantine(&data, offset, reason);
                    self.note(&data);
                    if let Some((header, pieces)) = part {
                        self.good(&data, &header, pieces, offset + header.span(), hole)?;
                    }
                    self.pending = None;
                    let Some((found_at, header)) = ahead else { return Ok(true) };
                    self.expected = header.block;
                    offset = found_at;
                    hole = found_at as u32;
                }
                Err(discarded) => {
                    // Torn: the log ends here.
                    let being_written = match part {
                        Some((header, _)) => header.span(),
                        None => self.leftover(&mut window, &file, offset)?,
                    };
                    let torn_bytes = discarded + being_written;
                    self.recovery.torn_bytes += torn_bytes;
                    self.cut = (wanted != 0).then_some(wanted);
                    self.pending = None;
                    if torn_bytes > 0 {
                        tracing::info!(file = file.number, offset, torn_bytes, "torn tail of the journal cut off");
                    }
                    return Ok(false);
                }
            }
        }
    }

    /// Marks a file as damaged, and says so once.
    fn quarantine(&mut self, data: &DataFile, offset: u64, reason: &str) {
        let file = data.header.number;
        data.quarantined.store(true, Ordering::Relaxed);
        if self.recovery.quarantined.iter().all(|known| known.file != file) {
            tracing::error!(file, offset, reason, "journal file is corrupt: quarantined");
            self.recovery.quarantined.push(Quarantined { file, offset, reason: reason.to_owned() });
        }
    }

    /// From which block on this file is void because a later epoch began there.
    fn limit(&self, at: usize) -> u64 {
        let epoch = self.found[at].data.header.epoch;
        let later = self.found[at + 1..].iter().map(|file| file.data.header).filter(|header| header.epoch > epoch);
        later.map(|header| header.first_block).min().unwrap_or(u64::MAX)
    }

    /// Whether the next file begins with the expected block.
    fn continues(&self, at: usize) -> Result<bool> {
        let Some(next) = self.found.get(at + 1) else { return Ok(false) };
        let mut window = Window::new(Arc::clone(&next.data.file), next.data.bytes);
        let first = window.get(FILE_HEADER_BYTES, BLOCK_HEADER_BYTES).map_err(failed)?.and_then(BlockHeader::decode);
        Ok(first.is_some_and(|first| first.belongs(&next.data.header) && first.block == self.expected))
    }

    /// Why block `wanted` must have been durable, or else how many bytes of sound blocks behind it are to be discarded.
    fn proof(
        &self,
        at: usize,
        sealed: bool,
        wanted: u64,
        ahead: Option<(u64, BlockHeader)>,
        limit: u64,
    ) -> Result<Result<&'static str, u64>> {
        if sealed {
            return Ok(Ok("a block in a sealed file is bad"));
        }
        if limit != u64::MAX && wanted < limit && wanted != 0 {
            return Ok(Ok("a block that a later epoch built on is bad"));
        }
        const BELOW: &str = "a block below the durable watermark is bad";
        let mut discarded = 0;
        for (number, found) in self.found.iter().enumerate().skip(at) {
            let data = &found.data;
            let header = data.header;
            if number > at && wanted == 0 && self.has_blocks(number)? {
                return Ok(Ok("a file is empty but a later one is not"));
            }
            if found.side.as_ref().is_some_and(|side| wanted != 0 && side.last_block >= wanted) {
                return Ok(Ok(BELOW));
            }
            let mut window = Window::sequential(Arc::clone(&data.file), data.bytes);
            let ours = |block: &BlockHeader| block.belongs(&header) && (wanted == 0 || block.block > wanted);
            let mut from = match (number == at, ahead) {
                (true, Some((offset, _))) => offset,
                (true, None) => continue,
                (false, _) => FILE_HEADER_BYTES,
            };
            while let Some((offset, block)) = next_block(&mut window, from, data.bytes, ours).map_err(failed)? {
                if block.durable >= wanted && wanted != 0 {
                    return Ok(Ok(BELOW));
                }
                discarded += block.span();
                from = offset + block.span();
            }
        }
        Ok(Err(discarded))
    }

    fn has_blocks(&self, at: usize) -> Result<bool> {
        let data = &self.found[at].data;
        let mut window = Window::new(Arc::clone(&data.file), data.bytes);
        let first = window.get(FILE_HEADER_BYTES, BLOCK_HEADER_BYTES).map_err(failed)?.and_then(BlockHeader::decode);
        Ok(first.is_some_and(|first| first.belongs(&data.header)))
    }

    /// Bytes at a torn end that were being written; what an earlier life of the file left does not count.
    fn leftover(&self, window: &mut Window, file: &FileHeader, offset: u64) -> Result<u64> {
        let Some(bytes) = window.get(offset, ALIGN).map_err(failed)? else { return Ok(0) };
        Ok(if BlockHeader::resembles(bytes, file) { ALIGN as u64 } else { 0 })
    }

    /// Reads and checks the block at `offset`.
    fn block(&self, window: &mut Window, data: &DataFile, offset: u64, limit: u64) -> Result<Seen> {
        let header = window.get(offset, BLOCK_HEADER_BYTES).map_err(failed)?.and_then(BlockHeader::decode);
        let fits = |header: &BlockHeader| {
            let next = if self.expected == 0 { header.block > 0 } else { header.block == self.expected };
            header.belongs(&data.header) && next && header.block < limit && offset + header.span() <= data.bytes
        };
        let Some(header) = header.filter(fits) else { return Ok(Seen::Nothing) };
        let len = BLOCK_HEADER_BYTES + header.payload as usize;
        let Some(bytes) = window.get(offset, len).map_err(failed)? else { return Ok(Seen::Nothing) };
        let tag = tag(data.header.id);
        let mut heads = Vec::with_capacity((header.fragments as usize).min(bytes.len() / FRAGMENT_HEADER_BYTES));
        let mut at = BLOCK_HEADER_BYTES;
        while heads.len() < header.fragments as usize {
            let head = bytes.get(at..at + FRAGMENT_HEADER_BYTES).and_then(|bytes| Head::peek(bytes, tag));
            let Some(head) = head else { break };
            let Some(fragment) = bytes.get(at..at + head.encoded()) else { break };
            if head.lsn_delta > header.lsns || !head.verify(fragment) {
                break;
            }
            let part = (!head.has(mark::WHOLE)).then(|| head.part(fragment));
            heads.push((head, at, part));
            at += head.encoded();
        }
        let whole = heads.len() == header.fragments as usize && at == len;
        let piece = |(head, at, part): (Head, usize, Option<(u32, u32)>)| Piece {
            head,
            at: offset + at as u64,
            part,
            body: window.slice(offset + (at + head.body_at()) as u64, head.len as usize),
        };
        let pieces = heads.into_iter().map(piece).collect();
        Ok(if whole { Seen::Good(header, pieces) } else { Seen::Partly(header, pieces) })
    }

    /// Takes a block's fragments into commits. `end` is where the block ends; `hole` is where reading went on after damage.
    fn good(
        &mut self,
        data: &Arc<DataFile>,
        header: &BlockHeader,
        pieces: Vec<Piece>,
        end: u64,
        hole: u32,
    ) -> Result<()> {
        let number = data.header.number;
        self.note(data);
        let last_lsn = header.first_lsn + u64::from(header.lsns);
        if let Some(entry) = self.index.file_mut(number) {
            entry.extend(header.block, header.first_lsn, last_lsn, end);
        }
        self.expected = header.block + 1;
        self.block_max = self.block_max.max(header.block).max(header.durable);
        let mut open_tail = false;
        for piece in pieces {
            let lsn = header.first_lsn + u64::from(piece.head.lsn_delta);
            open_tail = !piece.head.has(mark::END);
            self.piece(number, lsn, piece, hole)?;
        }
        if let Some(entry) = self.index.file_mut(number) {
            entry.open_tail = open_tail;
        }
        Ok(())
    }

    /// Makes the index know the file.
    fn note(&mut self, data: &Arc<DataFile>) {
        if self.index.file(data.header.number).is_none() {
            self.index.files.push_back(FileEntry::new(Arc::clone(data)));
        }
    }

    fn piece(&mut self, file: u64, lsn: Lsn, piece: Piece, hole: u32) -> Result<()> {
        let Piece { head, at, part, body } = piece;
        // Of a commit that the layer above has, the beginning may be gone with a recycled file; it was whole once, and its entries
        // in this file are still wanted.
        let headless = lsn <= self.replay_after && self.pending.as_ref().is_none_or(|pending| pending.lsn != lsn);
        if head.has(mark::BEGIN) || headless {
            self.pending = Some(Pending { lsn, records: Vec::new(), part: None, touches: Vec::new() });
        }
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.lsn == lsn) else { return Ok(()) };
        let replay = lsn > self.replay_after;
        let total = part.map_or(head.len, |(total, _)| total);
        if head.has(mark::FIRST) && head.kind < crate::FIRST_UNINDEXED_KIND {
            let touch = Touch {
                stream: head.stream,
                first_seq: head.seq,
                last_seq: head.seq,
                bytes: u64::from(total),
                at: at as u32,
            };
            pending.touches.push((file, touch, hole));
        }
        let sound = match (&mut pending.part, part) {
            (None, None) => {
                if replay {
                    pending.records.push(head.record(body));
                }
                true
            }
            (None, Some((total, 0))) if head.has(mark::FIRST) && total as usize <= BODY_BYTES_MAX => {
                pending.part = Some((head.record(Bytes::new()), total, BytesMut::from(&body[..])));
                true
            }
            (Some((record, whole, joined)), Some((total, offset))) => {
                let fits = (record.stream, record.seq) == (head.stream, head.seq)
                    && *whole == total
                    && joined.len() == offset as usize
                    && joined.len() + body.len() <= total as usize;
                joined.extend_from_slice(&body);
                fits
            }
            _ => false,
        };
        if !sound {
            self.pending = None;
            return Ok(());
        }
        if head.has(mark::LAST)
            && let Some((record, total, joined)) = pending.part.take()
        {
            if joined.len() != total as usize {
                self.pending = None;
                return Ok(());
            }
            pending.records.push(Record { body: joined.freeze(), ..record });
        }
        if head.has(mark::END) {
            let Some(done) = self.pending.take() else { return Ok(()) };
            self.last = self.last.max(lsn);
            for (file, touch, hole) in &done.touches {
                self.index.touch(*file, touch, *hole);
            }
            if replay {
                for record in &done.records {
                    (self.visit)(lsn, record).map_err(|source| Error::Visit { lsn, source })?;
                }
            }
        }
        Ok(())
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io { what: "read a journal file", source }
}
