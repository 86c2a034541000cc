//! The order of the log: commits are numbered and cut into blocks here, under one lock that never waits for the disk.
//!
//! Invariant: what the queue holds is in commit order, each batch becomes exactly one block, and a commit that fits into one block
//! is never cut.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    Commit, Failure, Listener, Lsn, Record,
    block::{
        ALIGN, BLOCK_HEADER_BYTES, FILE_HEADER_BYTES, FRAGMENT_EXTENSION_BYTES, FRAGMENT_HEADER_BYTES, Fragment,
        align_up, mark,
    },
    index::DataFile,
};

/// What becomes one block.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) fragments: Vec<Fragment>,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    /// Last commit that ends here, 0 when none does.
    pub(crate) whole_lsn: Lsn,
    /// Bytes of bodies.
    pub(crate) body_bytes: u64,
    /// Bytes of fragments with their heads.
    pub(crate) payload: usize,
}

impl Batch {
    fn encoded(&self) -> usize {
        BLOCK_HEADER_BYTES + self.payload
    }

    /// Bytes of file it takes.
    pub(crate) fn span(&self) -> usize {
        align_up(self.encoded())
    }

    fn push(&mut self, fragment: Fragment) {
        if self.fragments.is_empty() {
            self.first_lsn = fragment.lsn;
        }
        self.last_lsn = fragment.lsn;
        if fragment.marks & mark::END != 0 {
            self.whole_lsn = fragment.lsn;
        }
        self.body_bytes += fragment.record.body.len() as u64;
        self.payload += fragment.encoded();
        self.fragments.push(fragment);
    }

    fn clear(&mut self) {
        self.fragments.clear();
        *self = Self { fragments: std::mem::take(&mut self.fragments), ..Self::default() };
    }
}

/// A batch with its place in the log.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) block: u64,
    pub(crate) data: Arc<DataFile>,
    pub(crate) offset: u64,
}

/// A recycled file that waits to be used again.
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// Everything that the sequencer lock protects.
pub(crate) struct State {
    commit: Commit,
    pub(crate) last: Lsn,
    queue: VecDeque<Batch>,
    /// File space the queue will take.
    pub(crate) queued: usize,
    unused: Vec<Batch>,
    block_max: usize,
    capacity_bytes: u64,
    /// Who waits, and for what.
    pub(crate) listeners: Vec<(Arc<dyn Listener>, Lsn)>,

    /// Writers that are awake or were told to wake.
    pub(crate) active: usize,
    /// Writers told to wake that did not yet.
    pub(crate) wakes: usize,
    pub(crate) stopping: bool,
    pub(crate) closed: bool,
    pub(crate) failure: Option<Failure>,

    pub(crate) epoch: u64,
    pub(crate) epoch_block: u64,
    pub(crate) epoch_lsn: Lsn,
    pub(crate) next_block: u64,
    pub(crate) next_number: u64,
    pub(crate) current: Option<Arc<DataFile>>,
    /// Where the next block goes in the current file.
    pub(crate) offset: u64,
    pub(crate) prepared: Option<Arc<DataFile>>,
    /// Bytes of the file that the keeper is making ready.
    pub(crate) preparing: u64,
    /// Preparing another file failed, and nothing happened since that could change it.
    pub(crate) blocked: bool,
    /// Bytes of a commit that was refused for want of space, the largest of them.
    pub(crate) refused: Option<usize>,
    /// The keeper should look again.
    pub(crate) look: bool,
    pub(crate) to_seal: VecDeque<u64>,
    pub(crate) spares: Vec<Spare>,
    pub(crate) disk_bytes: u64,
    pub(crate) file_bytes_next: u64,
    /// The size that files come to.
    file_bytes: u64,
}

/// Where a journal goes on.
pub(crate) struct Start {
    pub(crate) last: Lsn,
    pub(crate) epoch: u64,
    pub(crate) block: u64,
    pub(crate) number: u64,
    pub(crate) spares: Vec<Spare>,
    pub(crate) disk_bytes: u64,
}

impl State {
    pub(crate) fn new(start: Start, config: &crate::Config) -> Self {
        Self {
            commit: Commit::default(),
            last: start.last,
            queue: VecDeque::new(),
            queued: 0,
            unused: Vec::new(),
            block_max: config.write_bytes_max,
            capacity_bytes: config.capacity_bytes,
            listeners: Vec::new(),
            active: 0,
            wakes: 0,
            stopping: false,
            closed: false,
            failure: None,
            epoch: start.epoch,
            epoch_block: start.block,
            epoch_lsn: start.last + 1,
            next_block: start.block,
            next_number: start.number,
            current: None,
            offset: 0,
            prepared: None,
            preparing: 0,
            blocked: false,
            refused: None,
            look: false,
            to_seal: VecDeque::new(),
            spares: start.spares,
            disk_bytes: start.disk_bytes,
            file_bytes_next: config.first_file_bytes,
            file_bytes: config.file_bytes,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.active == 0
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a commit of about `bytes` could wait for space that nobody knows how to make. Once taken it must become durable: what
    /// makes room begins with a checkpoint, and that waits for every commit.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        let block = self.block_max as u64;
        // What the end of a file leaves unused is less than a block.
        let usable = |bytes: u64| bytes.saturating_sub(FILE_HEADER_BYTES + block);
        // Each block but the last is at least half full.
        let wanted = (self.queued + ALIGN + 2 * bytes) as u64 + block;
        let current = self.current.as_ref().map_or(0, |file| file.bytes - self.offset);
        let mut room = current + self.prepared.as_ref().map_or(0, |file| usable(file.bytes));
        if room >= wanted {
            return false;
        }
        if self.blocked {
            return true;
        }
        // What is queued may be ahead of the keeper, but not of the files that it can still make.
        room += usable(self.preparing) + self.spares.iter().map(|spare| usable(spare.bytes)).sum::<u64>();
        let mut left = self.capacity_bytes.saturating_sub(self.disk_bytes);
        let mut next = self.file_bytes_next;
        while room < wanted && next > 0 && next <= left {
            room += usable(next);
            left -= next;
            next = (next * 4).min(self.file_bytes);
        }
        room < wanted
    }

    /// Whether commits have to wait for space.
    pub(crate) fn is_short(&self) -> bool {
        self.blocked || self.refused.is_some_and(|bytes| self.is_full(bytes))
    }

    /// Lets `fill` make a commit and queues it. The second value is the bytes of bodies queued, `None` for an empty commit.
    pub(crate) fn take<R>(&mut self, fill: impl FnOnce(&mut Commit) -> R) -> Result<(R, Option<u64>), usize> {
        // A panic in `fill` leaves records behind; `begin` forgets them.
        self.commit.begin(self.last + 1);
        let result = fill(&mut self.commit);
        let mut records = std::mem::take(&mut self.commit.records);
        if let Some(record) = records.iter().find(|record| record.body.len() > crate::BODY_BYTES_MAX) {
            return Err(record.body.len());
        }
        let bytes = (!records.is_empty()).then_some(self.commit.bytes as u64);
        if bytes.is_some() {
            self.last += 1;
            self.enqueue(&mut records);
        }
        self.commit.records = records;
        Ok((result, bytes))
    }

    fn enqueue(&mut self, records: &mut Vec<Record>) {
        let lsn = self.last;
        let payload: usize = records.iter().map(|record| FRAGMENT_HEADER_BYTES + record.body.len()).sum();
        let fits = self.queue.back().is_some_and(|batch| batch.encoded() + payload <= self.block_max);
        if !fits {
            self.open_batch();
        }
        let whole = fits || BLOCK_HEADER_BYTES + payload <= self.block_max;
        let count = records.len();
        for (number, record) in records.drain(..).enumerate() {
            let mut marks = if number == 0 { mark::BEGIN } else { 0 };
            if number + 1 == count {
                marks |= mark::END;
            }
            let total = record.body.len() as u32;
            if whole {
                self.queue_fragment(Fragment { record, lsn, total, offset: 0, marks: marks | mark::WHOLE });
            } else {
                self.split(record, lsn, marks);
            }
        }
    }

    /// Queues a record of a commit that is too large for one block, in as many parts as needed.
    fn split(&mut self, record: Record, lsn: Lsn, marks: u8) {
        const PART_MIN: usize = 1024;
        let total = record.body.len();
        let mut offset = 0;
        loop {
            let used = self.queue.back().map_or(self.block_max, Batch::encoded);
            let room = self.block_max.saturating_sub(used + FRAGMENT_HEADER_BYTES + FRAGMENT_EXTENSION_BYTES);
            let left = total - offset;
            if room < left.min(PART_MIN) || used + FRAGMENT_HEADER_BYTES + FRAGMENT_EXTENSION_BYTES > self.block_max {
                self.open_batch();
                continue;
            }
            let len = left.min(room);
            let mut part = marks & !(mark::BEGIN | mark::END);
            if offset == 0 {
                part |= mark::FIRST | (marks & mark::BEGIN);
            }
            if len == left {
                part |= mark::LAST | (marks & mark::END);
            }
            let record = Record { body: record.body.slice(offset..offset + len), ..record.clone() };
            self.queue_fragment(Fragment { record, lsn, total: total as u32, offset: offset as u32, marks: part });
            offset += len;
            if offset == total {
                return;
            }
        }
    }

    fn open_batch(&mut self) {
        self.queue.push_back(self.unused.pop().unwrap_or_default());
    }

    fn queue_fragment(&mut self, fragment: Fragment) {
        if let Some(batch) = self.queue.back_mut() {
            let before = if batch.fragments.is_empty() { 0 } else { batch.span() };
            batch.push(fragment);
            self.queued += batch.span() - before;
        }
    }

    /// The next block and its place, if there is one and there is room. Whoever gets it must write it.
    pub(crate) fn claim(&mut self) -> Option<Job> {
        if self.failure.is_some() {
            return None;
        }
        let span = self.queue.front()?.span();
        if self.current.as_ref().is_none_or(|file| self.offset + span as u64 > file.bytes) {
            self.look = true;
            self.current = Some(self.prepared.take()?);
            self.offset = FILE_HEADER_BYTES;
        }
        let data = Arc::clone(self.current.as_ref()?);
        let batch = self.queue.pop_front()?;
        let job = Job { batch, block: self.next_block, data, offset: self.offset };
        self.offset += span as u64;
        self.next_block += 1;
        self.queued -= span;
        Some(job)
    }

    /// Keeps the allocation of a written batch.
    pub(crate) fn reuse(&mut self, mut batch: Batch) {
        if self.unused.len() < 8 {
            batch.clear();
            self.unused.push(batch);
        }
    }

    /// Forgets all that waits to be written.
    pub(crate) fn abandon(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }

    /// Notes that a listener is to hear when `lsn` is durable.
    pub(crate) fn listen(&mut self, listener: &Arc<dyn Listener>, lsn: Lsn) {
        let address = Arc::as_ptr(listener).cast::<()>();
        match self.listeners.iter_mut().find(|(known, _)| Arc::as_ptr(known).cast::<()>() == address) {
            Some((_, wanted)) => *wanted = lsn,
            None => self.listeners.push((Arc::clone(listener), lsn)),
        }
    }
}
