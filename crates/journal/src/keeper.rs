//! The journal's own housekeeping, off the publish path: the next file is made before it is needed, full files get their index
//! written, recycled files are kept for the next use.
//!
//! New files are filled with zeros before use: writing into space the file system has only promised would make each durable write
//! wait for its metadata. It also means that a write can't run out of space; only preparing can, and that stops nobody until the
//! current file is full.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use crate::{
    Error, File, Files, Result,
    block::{ALIGN, AlignedBuffer, FILE_HEADER_BYTES, FileHeader},
    index::DataFile,
    sequencer::{Spare, State},
    sidecar::{Sidecar, index_name, log_name, new_name, quarantine_name, spare_name},
    writer::Core,
};

const FILL_BYTES: usize = 256 << 10;
/// Pause between fills while there is plenty of room: the disk belongs to those who publish.
const FILL_PAUSE: Duration = Duration::from_millis(5);
/// Pause before trying to make a file again after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// Recycled files kept for reuse: as many as become free together when a checkpoint of a busy broker is written. A quiet one gives
/// them back, see [`Core::release_spares`].
const SPARES_MAX: u64 = 8;

impl Core {
    /// Body of the keeper's thread.
    pub(crate) fn run_keeper(&self) {
        loop {
            while self.chore() {}
            let mut state = self.state.lock();
            if state.stopping {
                return;
            }
            if state.look {
                continue;
            }
            if state.blocked {
                self.chores.wait_for(&mut state, RETRY);
                state.look = true;
            } else {
                self.chores.wait(&mut state);
            }
        }
    }

    /// Does one thing that is due; false when nothing is.
    pub(crate) fn chore(&self) -> bool {
        let mut state = self.state.lock();
        state.look = false;
        if let Some(file) = state.to_seal.pop_front() {
            drop(state);
            self.seal(file);
            return true;
        }
        if state.prepared.is_some() || state.stopping || state.failure.is_some() {
            return false;
        }
        drop(state);
        match self.prepare() {
            Ok(Some(file)) => {
                let mut state = self.state.lock();
                if state.blocked {
                    tracing::info!(file = file.header.number, "journal has room again");
                }
                state.blocked = false;
                state.preparing = 0;
                state.prepared = Some(file);
                self.call_writers(&mut state);
                true
            }
            Ok(None) => self.block(None),
            Err(error) => self.block(Some(&error)),
        }
    }

    fn block(&self, error: Option<&io::Error>) -> bool {
        let mut state = self.state.lock();
        if !state.blocked && !state.stopping {
            match error {
                Some(error) => tracing::warn!(%error, "no space for the next journal file"),
                None => tracing::warn!(bytes = state.disk_bytes, "journal has reached its capacity"),
            }
        }
        state.blocked = true;
        state.preparing = 0;
        false
    }

    /// Writes the index of a sealed file. Without it the next start scans the file; nothing else is lost.
    pub(crate) fn seal(&self, number: u64) {
        let _not_while_recycling = self.returned.lock();
        let index = self.index.read();
        let Some(file) = index.file(number) else { return };
        let streams = file.streams.clone();
        let mut sidecar = Sidecar::of(file, Vec::new());
        drop(index);
        for some in streams.chunks(1024) {
            sidecar.spans.extend(self.index.read().spans_in(number, some));
        }
        if let Err(error) = sidecar.store(&*self.files, number) {
            tracing::warn!(file = number, %error, "index of a full journal file not written");
        }
    }

    /// Makes another file ready to be written; `None` when the capacity is used up.
    pub(crate) fn prepare(&self) -> io::Result<Option<Arc<DataFile>>> {
        let mut state = self.state.lock();
        let spare = state.spares.pop();
        let bytes = match &spare {
            Some(spare) => spare.bytes,
            None => state.file_bytes_next,
        };
        // The first file of an opening may exceed the capacity: without it nobody could say what to recycle.
        let first = state.current.is_none();
        if spare.is_none() && !first && state.disk_bytes + bytes > self.config.capacity_bytes {
            return Ok(None);
        }
        let header = state.header(&*self.files);
        state.preparing = bytes;
        state.next_number += 1;
        if spare.is_none() {
            state.disk_bytes += bytes;
        }
        drop(state);
        let name = spare.as_ref().map_or_else(|| new_name(header.number), |spare| spare.name.clone());
        let made = match &spare {
            Some(spare) => self.files.open(&spare.name),
            None => self.make(&name, bytes),
        };
        let made = made.and_then(|file| {
            start(&*file, &header)?;
            self.files.rename(&name, &log_name(header.number))?;
            self.files.sync_names()?;
            Ok(file)
        });
        let mut state = self.state.lock();
        match made {
            Ok(file) => {
                if spare.is_none() {
                    state.file_bytes_next = (bytes * 4).min(self.config.file_bytes);
                }
                Ok(Some(Arc::new(DataFile { header, bytes, file, quarantined: AtomicBool::new(false) })))
            }
            Err(error) => {
                state.disk_bytes -= bytes;
                drop(state);
                let _ = self.files.remove(&name);
                // It may have got its final name; without a block in it, it is void.
                let _ = self.files.remove(&log_name(header.number));
                Err(error)
            }
        }
    }

    /// A new file full of zeros, on disk.
    fn make(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let file = self.files.create(name)?;
        file.reserve(bytes)?;
        let mut buffer = AlignedBuffer::default();
        let zeros = buffer.take(FILL_BYTES.min(bytes as usize));
        zeros.fill(0);
        let mut done = 0;
        while done < bytes {
            let len = (bytes - done).min(zeros.len() as u64) as usize;
            match file.write_at(&zeros[..len], done)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => done += written as u64,
            }
            self.pace(done * 100 / bytes)?;
        }
        file.sync()?;
        Ok(file)
    }

    /// Waits a little while the current file is much emptier than the new one is ready.
    fn pace(&self, ready_percent: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.stopping {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(current) = &state.current else { return Ok(()) };
        let used_percent = state.offset * 100 / current.bytes;
        if self.config.pace && used_percent + 25 < ready_percent {
            self.chores.wait_for(&mut state, FILL_PAUSE);
        }
        Ok(())
    }

    /// Gives the oldest sealed file back.
    pub(crate) fn recycle(&self, number: u64) -> Result<()> {
        let mut returned = self.returned.lock();
        let mut index = self.index.write();
        match index.files.front() {
            Some(oldest) if oldest.number() == number && oldest.sealed => {}
            _ if index.file(number).is_none() => return Err(Error::NoFile(number)),
            _ => return Err(Error::NotOldest(number)),
        }
        returned.extend(index.pop().map(|entry| entry.data));
        drop(index);
        // Oldest first, and none before the one ahead of it is surely gone: a gap would look like a lost file.
        while let Some(data) = returned.front() {
            let spare = self.give_back(data).map_err(Error::io("recycle a journal file"))?;
            let bytes = data.bytes;
            returned.pop_front();
            let mut state = self.state.lock();
            match spare {
                Some(spare) => state.spares.push(spare),
                None => state.disk_bytes -= bytes,
            }
            state.look = true;
            self.chores.notify_one();
        }
        Ok(())
    }

    /// Gives the space of all recycled files but `keep` back to the file system.
    pub(crate) fn release_spares(&self, keep: usize) -> Result<()> {
        loop {
            let mut state = self.state.lock();
            if state.spares.len() <= keep {
                return Ok(());
            }
            let Some(spare) = state.spares.pop() else { return Ok(()) };
            drop(state);
            // Whether its removal survives a crash does not matter: a start takes it for what it is.
            let removed = self.files.remove(&spare.name);
            let mut state = self.state.lock();
            match removed {
                Ok(()) => state.disk_bytes -= spare.bytes,
                Err(source) => {
                    state.spares.push(spare);
                    return Err(Error::Io { what: "remove a recycled journal file", source });
                }
            }
        }
    }

    /// Renames or removes a file that nothing points to any more; can be tried again.
    fn give_back(&self, data: &Arc<DataFile>) -> io::Result<Option<Spare>> {
        let files = &*self.files;
        let number = data.header.number;
        let log = log_name(number);
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        gone(files.remove(&index_name(number)))?;
        let spares_max = (self.config.capacity_bytes / 8 / data.bytes).clamp(2, SPARES_MAX) as usize;
        let keep = data.bytes == self.config.file_bytes && self.state.lock().spares.len() < spares_max;
        let name = spare_name(number);
        let spare = if data.quarantined.load(Ordering::Relaxed) {
            // Someone may want to look at what is left of it.
            gone(files.rename(&log, &quarantine_name(number)))?;
            None
        } else if keep && Arc::strong_count(data) == 1 && files.rename(&log, &name).is_ok() {
            Some(Spare { name: name.clone(), bytes: data.bytes })
        } else {
            // Too small, or someone is reading it: its blocks stay as they are until the last reader is done.
            gone(files.remove(&log))?;
            None
        };
        files.sync_names().inspect_err(|_| {
            if spare.is_some() {
                let _ = files.remove(&name);
            }
        })?;
        Ok(spare)
    }
}

impl State {
    fn header(&self, files: &dyn Files) -> FileHeader {
        FileHeader {
            number: self.next_number,
            id: files.unique(),
            epoch: self.epoch,
            first_block: self.epoch_block,
            first_lsn: self.epoch_lsn,
            opens: self.current.is_none() && self.prepared.is_none(),
        }
    }
}

/// Makes the file one of this number and epoch, on disk.
fn start(file: &dyn File, header: &FileHeader) -> io::Result<()> {
    let mut buffer = AlignedBuffer::default();
    let page = buffer.take(ALIGN);
    header.encode(page);
    if file.write_durable(page, 0)? < FILE_HEADER_BYTES as usize {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}
