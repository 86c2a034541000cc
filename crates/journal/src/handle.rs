//! The handle that everybody else holds: opens the log, starts its threads, ends them with the last clone.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    BoxError, Commit, Config, Error, Failure, FileInfo, Files, Listener, Lsn, Record, Recovery, Result, Stats,
    StreamRange, read, recovery, sequencer::State, writer::Core,
};

/// Handle to the journal; clones share it.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Recovers what is in the directory, shows `visit` every whole commit's records behind `replay_after` in order, and
    /// goes on after the last.
    ///
    /// # Errors
    /// The directory is in use or cannot be read, or `visit` failed.
    pub fn open(
        config: Config,
        files: Arc<dyn Files>,
        replay_after: Lsn,
        visit: &mut dyn FnMut(Lsn, &Record) -> Result<(), BoxError>,
    ) -> Result<(Self, Recovery)> {
        let config = config.normalized();
        let guard = files.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Error::InUse(files.place()),
            _ => Error::io("lock the journal")(error),
        })?;
        let recovered = recovery::recover(&config, &*files, replay_after, visit)?;
        let state = State::new(recovered.start, &config);
        let writers = config.writes_in_flight.max(1);
        let core = Arc::new(Core::new(config, files, state, recovered.index, guard));
        // The first file is there before anybody commits, so that the first commit does not wait for the keeper.
        while core.chore() {}
        let mut threads = Vec::with_capacity(writers + 1);
        for n in 0..writers {
            let core = core.clone();
            threads.push(spawn(format!("journal-{n}"), move || core.run_writer())?);
        }
        let keeper = core.clone();
        threads.push(spawn("journal-keeper".to_owned(), move || keeper.run_keeper())?);
        let shared = Shared { core, threads: Mutex::new(threads) };
        Ok((Self { shared: Arc::new(shared) }, recovered.recovery))
    }

    /// Runs `fill` under the sequencer's lock and queues what it made as one commit; never waits for the disk. An empty
    /// commit is none, and returns the number of the last.
    ///
    /// # Errors
    /// [`Error::Full`]: nothing was taken, try again. [`Error::Failed`]: nothing will ever be taken.
    pub fn commit<R>(&self, listener: &Arc<dyn Listener>, fill: impl FnOnce(&mut Commit) -> R) -> Result<(Lsn, R)> {
        self.shared.core.commit(listener, fill)
    }

    /// Everything up to this commit is on disk.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.shared.core.durable.load(Ordering::Acquire)
    }

    /// The last commit taken.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.shared.core.state.lock().last
    }

    /// Bytes of bodies taken and not yet durable.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.shared.core.undurable_bytes.load(Ordering::Relaxed)
    }

    /// Why it stopped, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.shared.core.state.lock().failure.clone()
    }

    /// Waits until `lsn` is durable.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn wait_blocking(&self, lsn: Lsn) -> Result<()> {
        let core = &self.shared.core;
        let mut state = core.state.lock();
        loop {
            if core.durable.load(Ordering::Acquire) >= lsn {
                return Ok(());
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone().into());
            }
            // `moved` is signalled without the lock, so a wake-up may be missed; look again soon.
            core.moved.wait_for(&mut state, std::time::Duration::from_millis(5));
        }
    }

    /// Waits until `lsn` is durable.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn wait(&self, lsn: Lsn) -> Result<()> {
        let core = &self.shared.core;
        let mut progress = core.progress.subscribe();
        loop {
            let now = *progress.borrow_and_update();
            if now.durable >= lsn || core.durable.load(Ordering::Acquire) >= lsn {
                return Ok(());
            }
            if now.failed
                && let Some(failure) = self.failure()
            {
                return Err(failure.into());
            }
            if progress.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Entries of `stream` from `from_seq` on without a gap: number, `aux`, body. Blocks on the disk.
    ///
    /// # Errors
    /// The disk cannot be read, or what it returns is damaged.
    pub fn read(
        &self,
        stream: u64,
        from_seq: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, u32, Bytes)>> {
        read::read(&self.shared.core.index, stream, from_seq, max_records, max_bytes)
    }

    /// The first entry of `stream` that is still here.
    #[must_use]
    pub fn first_seq(&self, stream: u64) -> Option<u64> {
        self.shared.core.index.read().first_seq(stream)
    }

    /// The last durable entry of `stream` that is here.
    #[must_use]
    pub fn last_seq(&self, stream: u64) -> Option<u64> {
        self.shared.core.index.read().last_seq(stream)
    }

    /// Whether this entry is here.
    #[must_use]
    pub fn contains(&self, stream: u64, seq: u64) -> bool {
        self.shared.core.index.read().contains(stream, seq)
    }

    /// All files, oldest first.
    #[must_use]
    pub fn files(&self) -> Vec<FileInfo> {
        self.shared.core.index.read().infos()
    }

    /// What each stream has in a file.
    ///
    /// # Errors
    /// [`Error::NoFile`].
    pub fn streams(&self, file: u64) -> Result<Vec<StreamRange>> {
        let index = self.shared.core.index.read();
        let entry = index.file(file).ok_or(Error::NoFile(file))?;
        Ok(index.spans_in(file, &entry.streams).iter().map(StreamRange::from).collect())
    }

    /// Gives the oldest sealed file back; its entries can no longer be read.
    ///
    /// # Errors
    /// [`Error::NotOldest`], [`Error::NoFile`], or the directory cannot be changed.
    pub fn recycle(&self, file: u64) -> Result<()> {
        self.shared.core.recycle(file)
    }

    /// Forgets a stream that nobody will read again.
    pub fn forget(&self, stream: u64) {
        self.shared.core.index.write().forget(stream);
    }

    /// Counters since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = &self.shared.core;
        let counters = &core.counters;
        let (disk_bytes, full) = {
            let state = core.state.lock();
            (state.disk_bytes, state.is_full())
        };
        Stats {
            bytes_submitted: counters.bytes_submitted.load(Ordering::Relaxed),
            bytes_written: counters.bytes_written.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            records: counters.records.load(Ordering::Relaxed),
            disk_bytes,
            write_micros: std::array::from_fn(|n| counters.write_micros[n].load(Ordering::Relaxed)),
            sync_mode: core.files.sync_mode(),
            full,
        }
    }

    /// Takes nothing more, writes what it took, and ends its threads. Later commits get [`Error::Closed`].
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        {
            let mut state = self.core.state.lock();
            state.closed = true;
            while state.failure.is_none() && !state.is_idle() {
                self.core.moved.wait_for(&mut state, std::time::Duration::from_millis(5));
            }
            state.stopping = true;
        }
        self.core.work.notify_all();
        self.core.chores.notify_all();
        for thread in self.threads.lock().drain(..) {
            // A panic was logged by its thread; there is nobody else to tell.
            let _ = thread.join();
        }
        drop(self.core.guard.lock().take());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body).map_err(Error::io("start a journal thread"))
}
