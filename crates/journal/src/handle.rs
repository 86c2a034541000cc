//! The handle.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    BoxError, Commit, Config, Error, Failure, FileInfo, Files, Listener, Lsn, Record, Recovery, Result, StreamRange,
    SyncMode, read,
    recovery::{Recovered, recover},
    sequencer::State,
    writer::{Core, Counters},
};

/// Counters since the journal was opened.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Bytes of bodies committed.
    pub bytes_submitted: u64,
    /// Bytes of blocks written.
    pub bytes_written: u64,
    /// Blocks written.
    pub writes: u64,
    /// Commits that were not empty.
    pub commits: u64,
    /// Records written, parts of large ones counted apart.
    pub records: u64,
    /// What all files, also spare ones, take on disk.
    pub disk_bytes: u64,
    /// Recycled files that wait to be used again.
    pub spares: usize,
    /// How many writes took less than 2^i microseconds but not less than half of that; the last one also has all slower ones.
    pub write_micros: [u64; 24],
    /// How writes are made durable.
    pub sync_mode: SyncMode,
    /// Commits are refused for want of space, or will be when the current file is full.
    pub full: bool,
}

/// Handle to the journal; clones share it. It is closed with [`Journal::close`], or when the last handle is dropped.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in `files` and replays it: `visit` sees each record of every whole commit behind `replay_after`, in order.
    ///
    /// Bodies are slices of large buffers: copy what is kept for long. Files whose commits are all at or before `replay_after` are
    /// not read, only their index is. Commits go on behind both the last one found and `replay_after`.
    ///
    /// # Errors
    /// [`Error::InUse`]: another process has it open. [`Error::Visit`]: `visit` failed. [`Error::Version`]: written by a newer
    /// version. [`Error::Io`]: the disk failed. Damage is no error: see [`Recovery::quarantined`].
    pub fn open(
        config: Config,
        files: Arc<dyn Files>,
        replay_after: Lsn,
        visit: &mut dyn FnMut(Lsn, &Record) -> Result<(), BoxError>,
    ) -> Result<(Self, Recovery)> {
        let (core, recovery) = Core::open(config, files, replay_after, visit)?;
        let core = Arc::new(core);
        let inner = Inner { core: Arc::clone(&core), threads: Mutex::default() };
        let spawn = |name: String, run: fn(&Core)| {
            let core = Arc::clone(&core);
            let thread = std::thread::Builder::new().name(name).spawn(move || run(&core));
            thread.map_err(Error::io("start a journal thread"))
        };
        let mut threads = vec![spawn("journal-keeper".into(), Core::run_keeper)?];
        for number in 0..core.config.writes_in_flight {
            threads.push(spawn(format!("journal-write-{number}"), Core::run_writer)?);
        }
        *inner.threads.lock() = threads;
        Ok((Self { inner: Arc::new(inner) }, recovery))
    }

    /// Makes one commit of the records that `fill` pushes; `listener` hears when it is durable.
    ///
    /// `fill` runs under the lock that orders commits, so it is where positions are assigned; it must be quick and must not call
    /// the journal. Never waits for the disk. A commit without records gets the number of the last one and writes nothing.
    ///
    /// # Errors
    /// `fill` was not called: [`Error::Failed`], [`Error::Closed`], or [`Error::Full`], which passes. `fill` was called, but its
    /// records are dropped: [`Error::TooLarge`].
    pub fn commit<R>(&self, listener: &Arc<dyn Listener>, fill: impl FnOnce(&mut Commit) -> R) -> Result<(Lsn, R)> {
        self.inner.core.commit(listener, 0, fill)
    }

    /// Like [`Journal::commit`], for one that may be longer than a single write: `bytes` are about those of its records with 48 for
    /// the head of each. There is room for all of it, or it is refused.
    ///
    /// # Errors
    /// As for [`Journal::commit`].
    pub fn commit_sized<R>(
        &self,
        listener: &Arc<dyn Listener>,
        bytes: usize,
        fill: impl FnOnce(&mut Commit) -> R,
    ) -> Result<(Lsn, R)> {
        self.inner.core.commit(listener, bytes, fill)
    }

    /// The last commit such that it and all before it are on disk.
    pub fn durable(&self) -> Lsn {
        self.inner.core.durable.load(Ordering::Acquire)
    }

    /// The last commit made.
    pub fn last(&self) -> Lsn {
        self.inner.core.state.lock().last
    }

    /// Gives the space of recycled files back, all but `keep` of them. A busy journal is spared the filling of new files by having
    /// some; who sees that it is no longer busy calls this.
    ///
    /// # Errors
    /// [`Error::Io`]: a file could not be removed; it can still be used, or removed later.
    pub fn release_spares(&self, keep: usize) -> Result<()> {
        self.inner.core.release_spares(keep)
    }

    /// Bytes of bodies that are committed but not yet durable.
    pub fn queued_bytes(&self) -> u64 {
        self.inner.core.undurable_bytes.load(Ordering::Relaxed)
    }

    /// Why the journal stopped, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.inner.core.state.lock().failure.clone()
    }

    /// Stops the journal where it is, as a write that fails does: what should have been in a commit is in none.
    pub fn fail(&self, what: &'static str, source: std::io::Error) {
        self.inner.core.fail(what, source);
    }

    /// Blocks until the commit is durable.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Closed`]: it never will be.
    pub fn wait_blocking(&self, lsn: Lsn) -> Result<()> {
        let core = &self.inner.core;
        let mut state = core.state.lock();
        loop {
            if core.durable.load(Ordering::Acquire) >= lsn {
                return Ok(());
            }
            core.check(&state)?;
            core.moved.wait(&mut state);
        }
    }

    /// Resolves when the commit is durable.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Closed`]: it never will be.
    pub async fn wait(&self, lsn: Lsn) -> Result<()> {
        let core = &self.inner.core;
        if self.durable() >= lsn {
            return Ok(());
        }
        let mut progress = core.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.durable >= lsn || progress.stopped).await;
        if reached.is_ok_and(|progress| progress.durable >= lsn) {
            return Ok(());
        }
        core.check(&core.state.lock())?;
        Err(Error::Closed)
    }

    /// Entries of `stream` from `from_seq` on, as (seq, aux, body): without a gap, at most `max_records`, and no more once they have
    /// `max_bytes`. Empty when `from_seq` is not in the journal or not yet durable. Blocks on the disk.
    ///
    /// Bodies are slices of the read buffer, which lives as long as any of them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Io`], when not even the first can be read.
    pub fn read(
        &self,
        stream: u64,
        from_seq: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, u32, Bytes)>> {
        read::read(&self.inner.core.index, stream, from_seq, max_records, max_bytes, false)
    }

    /// As [`Journal::read`], for entries that nobody is expected to read again soon: much is read past the page cache, which spares
    /// a copy and leaves the cache to others.
    ///
    /// # Errors
    /// As for [`Journal::read`].
    pub fn read_once(
        &self,
        stream: u64,
        from_seq: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, u32, Bytes)>> {
        read::read(&self.inner.core.index, stream, from_seq, max_records, max_bytes, true)
    }

    /// The first entry of `stream` at or behind `from` that can be read: where to go on when one cannot, because it is lost or
    /// damaged. Of those beside a damaged one some may be passed over.
    ///
    /// # Errors
    /// [`Error::Io`]: that is not known now.
    pub fn next_readable(&self, stream: u64, mut from: u64) -> Result<Option<u64>> {
        let index = &self.inner.core.index;
        // A damaged body leaves the next entry readable; a damaged head leaves nothing before the next point.
        let mut near = true;
        loop {
            match read::read(index, stream, from, 1, 1, false) {
                Ok(entries) if !entries.is_empty() => return Ok(Some(from)),
                Ok(_) | Err(Error::Corrupt { .. }) if near && index.read().contains(stream, from.saturating_add(1)) => {
                    from += 1
                }
                Ok(_) | Err(Error::Corrupt { .. }) => {
                    let Some(next) = index.read().next_point(stream, from) else { return Ok(None) };
                    from = next;
                }
                Err(error) => return Err(error),
            }
            near = !near;
        }
    }

    /// The oldest entry of `stream` that is here and durable.
    pub fn first_seq(&self, stream: u64) -> Option<u64> {
        self.inner.core.index.read().first_seq(stream)
    }

    /// The youngest entry of `stream` that is here and durable.
    pub fn last_seq(&self, stream: u64) -> Option<u64> {
        self.inner.core.index.read().last_seq(stream)
    }

    /// Whether [`Journal::read`] would find this entry.
    pub fn contains(&self, stream: u64, seq: u64) -> bool {
        self.inner.core.index.read().contains(stream, seq)
    }

    /// The files that hold data, oldest first.
    pub fn files(&self) -> Vec<FileInfo> {
        self.inner.core.index.read().infos()
    }

    /// What streams have in one file, forgotten ones left out, in no order.
    ///
    /// # Errors
    /// [`Error::NoFile`].
    pub fn streams(&self, file: u64) -> Result<Vec<StreamRange>> {
        let index = &self.inner.core.index;
        let streams = index.read().file(file).ok_or(Error::NoFile(file))?.streams.clone();
        let mut ranges = Vec::with_capacity(streams.len());
        // In pieces, so that a writer never waits long.
        for some in streams.chunks(1024) {
            ranges.extend(index.read().spans_in(file, some).iter().map(StreamRange::from));
        }
        Ok(ranges)
    }

    /// Gives the space of the oldest sealed file back; nothing in it can be read any more. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::NotOldest`] or [`Error::NoFile`]: nothing was done. [`Error::Io`]: the file's space comes back with the next start.
    pub fn recycle(&self, file: u64) -> Result<()> {
        self.inner.core.recycle(file)
    }

    /// Drops what is known of the entries of one stream.
    pub fn forget(&self, stream: u64) {
        self.inner.core.index.write().forget(stream);
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let core = &self.inner.core;
        let Counters { bytes_submitted, bytes_written, writes, commits, records, write_micros } = &core.counters;
        let state = core.state.lock();
        Stats {
            bytes_submitted: bytes_submitted.load(Ordering::Relaxed),
            bytes_written: bytes_written.load(Ordering::Relaxed),
            writes: writes.load(Ordering::Relaxed),
            commits: commits.load(Ordering::Relaxed),
            records: records.load(Ordering::Relaxed),
            disk_bytes: state.disk_bytes,
            spares: state.spares.len(),
            write_micros: std::array::from_fn(|bucket| write_micros[bucket].load(Ordering::Relaxed)),
            sync_mode: core.files.sync_mode(),
            full: state.is_short(),
        }
    }

    /// Refuses further commits, waits until those made are durable, and stops. Commits for which there is no space are given up,
    /// as after a failure. Reading goes on. Blocks on the disk; a second call does nothing.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        self.core.drain();
        for thread in threads {
            let _ = thread.join();
        }
        self.core.finish_closing();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Core {
    /// Everything but the threads.
    pub(crate) fn open(
        config: Config,
        files: Arc<dyn Files>,
        replay_after: Lsn,
        visit: &mut dyn FnMut(Lsn, &Record) -> Result<(), BoxError>,
    ) -> Result<(Self, Recovery)> {
        let config = config.normalized();
        let guard = files.lock().map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => Error::InUse(files.place()),
            _ => Error::Io { what: "lock the journal directory", source },
        })?;
        let Recovered { recovery, index, start } = recover(&config, &*files, replay_after, visit)?;
        let state = State::new(start, &config);
        let core = Self::new(config, files, state, index, guard);
        match core.prepare() {
            Ok(file) => {
                let mut state = core.state.lock();
                state.offset = crate::block::FILE_HEADER_BYTES;
                state.preparing = 0;
                state.current = file;
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                // What is there can be read and recycled; commits are refused until there is room.
                tracing::warn!(%error, "no space for a journal file");
                let mut state = core.state.lock();
                state.preparing = 0;
                state.blocked = true;
            }
            Err(error) => return Err(Error::Io { what: "prepare a journal file", source: error }),
        }
        Ok((core, recovery))
    }

    fn check(&self, state: &State) -> Result<()> {
        if let Some(failure) = &state.failure {
            return Err(failure.clone().into());
        }
        if state.closed && state.is_idle() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Closes to commits and waits until no write is due or under way; then tells the threads to stop.
    fn drain(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        while !state.is_idle() {
            let stuck = state.active == 0 && state.blocked && state.prepared.is_none();
            if stuck {
                drop(state);
                self.fail("make room to close", std::io::ErrorKind::StorageFull.into());
                state = self.state.lock();
                continue;
            }
            self.call_writers(&mut state);
            self.moved.wait_for(&mut state, std::time::Duration::from_millis(50));
        }
        state.stopping = true;
        self.work.notify_all();
        self.chores.notify_all();
    }

    /// Once the threads have stopped: seals the last file, so that the next start need not scan it, and lets others in.
    fn finish_closing(&self) {
        while let Some(file) = { self.state.lock().to_seal.pop_front() } {
            self.seal(file);
        }
        let open = self.index.write().files.back_mut().filter(|file| !file.sealed).map(|file| {
            file.sealed = true;
            file.number()
        });
        let failed = self.state.lock().failure.is_some();
        // After a failure nobody knows what is behind the last durable block: recovery finds out.
        if let Some(file) = open.filter(|_| !failed) {
            self.seal(file);
        }
        self.progress.send_modify(|progress| progress.stopped = true);
        self.moved.notify_all();
        self.guard.lock().take();
    }
}
