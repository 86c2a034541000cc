//! From the queue to the disk, and from the disk to those who wait.
//!
//! Each writer thread takes what is queued, encodes it into a buffer of its own outside the sequencer lock, and writes it with one
//! durable write; several are in flight at a time. Blocks may finish in any order; `durable` moves only over a contiguous prefix.
//! While n writes are in flight another starts only when enough waits to be worth it, so a single busy producer gets groups, not
//! a write for each commit. After the first failed write `durable` never moves again.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use crate::{
    Commit, Config, Error, Failure, File, Files, Listener, Lsn, Result,
    block::{ALIGN, AlignedBuffer, BLOCK_HEADER_BYTES, BlockHeader, mark, tag},
    index::{DataFile, FileEntry, Index, Touch},
    sequencer::{Batch, Job, State},
};

/// How far the journal is, for those who wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) durable: Lsn,
    /// It will not get further.
    pub(crate) stopped: bool,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) bytes_submitted: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) write_micros: [AtomicU64; 24],
}

/// A block between its claim and the moment all before it are durable.
struct Flying {
    data: Arc<DataFile>,
    first_lsn: Lsn,
    last_lsn: Lsn,
    whole_lsn: Lsn,
    body_bytes: u64,
    end: u64,
    open_tail: bool,
    touches: Vec<Touch>,
    done: bool,
}

/// Blocks in flight in log order; the first is number `first`.
pub(crate) struct Flight {
    first: u64,
    blocks: VecDeque<Flying>,
}

/// What the threads and all handles share.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) state: Mutex<State>,
    /// For writers: there is work.
    pub(crate) work: Condvar,
    /// For the keeper: there is a chore.
    pub(crate) chores: Condvar,
    /// For callers: durable moved, the journal failed, or it is idle.
    pub(crate) moved: Condvar,
    flight: Mutex<Flight>,
    publishing: Mutex<()>,
    /// Files that were recycled but could not yet be given back; locked by whoever changes a sealed file's names.
    pub(crate) returned: Mutex<VecDeque<Arc<DataFile>>>,
    pub(crate) index: RwLock<Index>,
    pub(crate) durable: AtomicU64,
    durable_block: AtomicU64,
    pub(crate) undurable_bytes: AtomicU64,
    failed: AtomicBool,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) counters: Counters,
    pub(crate) guard: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        files: Arc<dyn Files>,
        state: State,
        index: Index,
        guard: Box<dyn Send + Sync>,
    ) -> Self {
        let (last, next_block) = (state.last, state.next_block);
        Self {
            config,
            files,
            state: Mutex::new(state),
            work: Condvar::new(),
            chores: Condvar::new(),
            moved: Condvar::new(),
            flight: Mutex::new(Flight { first: next_block, blocks: VecDeque::new() }),
            publishing: Mutex::new(()),
            returned: Mutex::new(VecDeque::new()),
            index: RwLock::new(index),
            durable: AtomicU64::new(last),
            durable_block: AtomicU64::new(next_block - 1),
            undurable_bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            progress: watch::Sender::new(Progress { durable: last, stopped: false }),
            counters: Counters::default(),
            guard: Mutex::new(Some(guard)),
        }
    }

    pub(crate) fn commit<R>(
        &self,
        listener: &Arc<dyn Listener>,
        bytes: usize,
        fill: impl FnOnce(&mut Commit) -> R,
    ) -> Result<(Lsn, R)> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone().into());
        }
        if state.closed {
            return Err(Error::Closed);
        }
        if state.is_full(bytes) {
            state.refused = state.refused.max(Some(bytes));
            return Err(Error::Full);
        }
        state.refused.take_if(|refused| *refused <= bytes);
        let (result, bytes) = state.take(fill).map_err(Error::TooLarge)?;
        let lsn = state.last;
        let Some(bytes) = bytes else {
            if self.durable.load(Ordering::Acquire) < lsn {
                state.listen(listener, lsn);
            }
            return Ok((lsn, result));
        };
        self.undurable_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes_submitted.fetch_add(bytes, Ordering::Relaxed);
        state.listen(listener, lsn);
        self.call_writers(&mut state);
        Ok((lsn, result))
    }

    /// Wakes a writer if another write is worth starting now.
    pub(crate) fn call_writers(&self, state: &mut State) {
        let active = state.active;
        if active < self.config.writes_in_flight
            && state.has_queued()
            && (active == 0 || state.queued >= active * self.config.write_step_bytes)
        {
            state.active += 1;
            state.wakes += 1;
            self.work.notify_one();
        }
    }

    /// Body of a writer thread.
    pub(crate) fn run_writer(&self) {
        let mut buffer = AlignedBuffer::default();
        let mut state = self.state.lock();
        loop {
            while state.wakes == 0 {
                if state.stopping {
                    return;
                }
                self.work.wait(&mut state);
            }
            state.wakes -= 1;
            loop {
                let step = state.active.saturating_sub(1) * self.config.write_step_bytes;
                let job = if state.queued >= step { self.claim(&mut state) } else { None };
                let Some(job) = job else { break };
                drop(state);
                let result = self.write(&job, &mut buffer);
                let batch = self.finish(job, result);
                state = self.state.lock();
                state.reuse(batch);
            }
            state.active -= 1;
            if state.active == 0 {
                self.moved.notify_all();
            }
        }
    }

    /// Takes the next block to write. Each one taken must go through [`Core::write`] and [`Core::finish`].
    pub(crate) fn claim(&self, state: &mut State) -> Option<Job> {
        let job = state.claim();
        if state.look {
            self.chores.notify_one();
        }
        let job = job?;
        let batch = &job.batch;
        let end = job.offset + batch.span() as u64;
        self.flight.lock().blocks.push_back(Flying {
            data: Arc::clone(&job.data),
            first_lsn: batch.first_lsn,
            last_lsn: batch.last_lsn,
            whole_lsn: batch.whole_lsn,
            body_bytes: batch.body_bytes,
            end,
            open_tail: batch.whole_lsn != batch.last_lsn,
            touches: Vec::new(),
            done: false,
        });
        Some(job)
    }

    /// Encodes and writes one block; the list of entries in it once it is on disk.
    pub(crate) fn write(&self, job: &Job, buffer: &mut AlignedBuffer) -> io::Result<Vec<Touch>> {
        let out = buffer.take(job.batch.span());
        let touches = encode(job, self.durable_block.load(Ordering::Acquire), out);
        let started = Instant::now();
        write_block(&*job.data.file, out, job.offset)?;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - micros.leading_zeros() as usize).min(23);
        let counters = &self.counters;
        counters.write_micros[bucket].fetch_add(1, Ordering::Relaxed);
        counters.writes.fetch_add(1, Ordering::Relaxed);
        counters.bytes_written.fetch_add(out.len() as u64, Ordering::Relaxed);
        counters.records.fetch_add(job.batch.fragments.len() as u64, Ordering::Relaxed);
        Ok(touches)
    }

    /// Takes note of a block's end, moves `durable` as far as it goes, and tells those who wait. Returns the batch for reuse.
    pub(crate) fn finish(&self, job: Job, result: io::Result<Vec<Touch>>) -> Batch {
        match result {
            Err(source) => self.fail("write a block", source),
            Ok(touches) => {
                let mut flight = self.flight.lock();
                let first = flight.first;
                if let Some(block) = flight.blocks.get_mut((job.block - first) as usize) {
                    block.touches = touches;
                    block.done = true;
                }
                drop(flight);
                self.publish();
            }
        }
        job.batch
    }

    fn publish(&self) {
        // One at a time: the index and `durable` follow log order, and no listener sees `durable` fall.
        let _one_at_a_time = self.publishing.lock();
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        let mut durable = self.durable.load(Ordering::Relaxed);
        let before = durable;
        loop {
            let mut flight = self.flight.lock();
            if !flight.blocks.front().is_some_and(|block| block.done) {
                break;
            }
            let Some(block) = flight.blocks.pop_front() else { break };
            let number = flight.first;
            flight.first += 1;
            drop(flight);
            self.show(number, &block);
            durable = durable.max(block.whole_lsn);
            self.undurable_bytes.fetch_sub(block.body_bytes, Ordering::Relaxed);
            self.durable_block.store(number, Ordering::Release);
        }
        if durable == before {
            return;
        }
        self.durable.store(durable, Ordering::Release);
        let mut waiting: Vec<Arc<dyn Listener>> = Vec::new();
        self.state.lock().listeners.retain(|(listener, wanted)| {
            waiting.push(Arc::clone(listener));
            *wanted > durable
        });
        for listener in &waiting {
            listener.advanced(durable);
        }
        self.progress.send_replace(Progress { durable, stopped: false });
        self.moved.notify_all();
    }

    /// Puts a durable block's entries into the index.
    fn show(&self, number: u64, block: &Flying) {
        let mut index = self.index.write();
        let file = block.data.header.number;
        if index.files.back().is_none_or(|last| last.number() != file) {
            if let Some(full) = index.files.back_mut().filter(|full| !full.sealed) {
                full.sealed = true;
                let full = full.number();
                let mut state = self.state.lock();
                state.to_seal.push_back(full);
                state.look = true;
                self.chores.notify_one();
            }
            index.files.push_back(FileEntry::new(Arc::clone(&block.data)));
        }
        if let Some(entry) = index.files.back_mut() {
            entry.extend(number, block.first_lsn, block.last_lsn, block.end);
            entry.open_tail = block.open_tail;
        }
        for touch in &block.touches {
            index.touch(file, touch, 0);
        }
    }

    /// Stops the journal where it is.
    pub(crate) fn fail(&self, what: &'static str, source: io::Error) {
        let _not_while_publishing = self.publishing.lock();
        if self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        let durable = self.durable.load(Ordering::Acquire);
        tracing::error!(error = %source, durable, "journal stopped: {what} failed");
        let mut state = self.state.lock();
        state.failure = Some(Failure { durable, what, source: Arc::new(source) });
        state.abandon();
        let waiting = std::mem::take(&mut state.listeners);
        drop(state);
        for (listener, _) in &waiting {
            listener.failed();
        }
        self.progress.send_replace(Progress { durable, stopped: true });
        self.moved.notify_all();
    }
}

/// Writes an aligned range durably.
pub(crate) fn write_block(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_durable(&bytes[done..], offset + done as u64) {
            // What does not end on a boundary is written again from the last one.
            Ok(written) if written >= ALIGN => done += written / ALIGN * ALIGN,
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `out`, which is as long as the block, and says where its entries are.
fn encode(job: &Job, durable: u64, out: &mut [u8]) -> Vec<Touch> {
    let (batch, header) = (&job.batch, &job.data.header);
    let block = BlockHeader {
        id: header.id,
        number: header.number,
        epoch: header.epoch,
        block: job.block,
        durable,
        first_lsn: batch.first_lsn,
        lsns: (batch.last_lsn - batch.first_lsn) as u32,
        payload: batch.payload as u32,
        fragments: batch.fragments.len() as u32,
    };
    block.encode(out);
    let (tag, last) = (tag(header.id), batch.fragments.len() - 1);
    let mut touches = Vec::new();
    let mut at = BLOCK_HEADER_BYTES;
    for (number, fragment) in batch.fragments.iter().enumerate() {
        let record = &fragment.record;
        if record.is_entry() && fragment.marks & mark::FIRST != 0 {
            let place = (job.offset + at as u64) as u32;
            Touch::add(&mut touches, record.stream, record.seq, u64::from(fragment.total), place);
        }
        at += fragment.encode(&mut out[at..], tag, batch.first_lsn, number == last);
    }
    out[at..].fill(0);
    touches
}
