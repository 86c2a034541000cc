//! Giving journal files back: what nobody needs any more goes with its file, what somebody still needs is sorted into a segment
//! first, and only when the journal needs the room.
//!
//! The order is what keeps it safe: decide, write segments, change the topics' states, write a checkpoint with them, then recycle.
//! A stop at any point leaves either the file, or a catalog that no longer needs it.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use crate::{
    Store,
    checkpoint::{Checkpoint, to_its_end},
    error::{Error, Result},
    state::SegmentRef,
    store::Inner,
    topic::Topic,
};

/// What maintenance remembers between rounds.
#[derive(Default)]
pub(crate) struct Maintenance {
    /// A checkpoint began and did not end.
    pub(crate) checkpointing: bool,
    /// Journal files nobody needs once a whole checkpoint is written, oldest first.
    ready: Vec<journal::FileInfo>,
    /// Segments likewise.
    obsolete: Vec<u64>,
    looked_ms: u64,
    /// The journal's last commit then: without another one nothing more was consumed.
    looked_lsn: journal::Lsn,
    /// Bytes the journal had written then.
    looked_bytes: u64,
    swept_ms: u64,
}

/// Entries of one ledger in one file or segment, and the first of them that is wanted.
struct Part {
    topic: Option<Arc<Topic>>,
    ledger: u64,
    first: u64,
    last: u64,
    bytes: u64,
    wanted: Option<u64>,
}

const READ_ENTRIES: usize = 4096;
const READ_BYTES: usize = 1 << 20;

impl Store {
    /// One round of housekeeping: a checkpoint when one is due, and journal files and segments that are no longer needed given
    /// back. Cheap when there is nothing to do; call it every second or so.
    ///
    /// # Errors
    /// The journal, the catalog or a segment failed. What was not done is done by a later round.
    pub async fn maintain(&self) -> Result<()> {
        let inner = self.inner.clone();
        let whole = async move {
            let mut maintenance = inner.maintenance.lock().await;
            inner.maintain(&mut maintenance).await
        };
        to_its_end(whole).await
    }
}

impl Inner {
    async fn maintain(self: &Arc<Self>, maintenance: &mut Maintenance) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let due = self.uncheckpointed.load(Relaxed) >= self.config.checkpoint_bytes
            || self.dirty.lock().len() >= self.config.checkpoint_topics;
        let stats = self.journal.stats();
        let capacity = self.config.journal.capacity_bytes;
        let high = capacity / 100 * u64::from(self.config.compact_above_percent.min(100));
        let pressed = stats.full || stats.disk_bytes > high;
        let last = self.journal.last();
        let quiet = elapsed(now_ms, maintenance.looked_ms, self.config.reclaim_interval);
        let look = quiet && last != maintenance.looked_lsn;
        let sweep = elapsed(now_ms, maintenance.swept_ms, self.config.sweep_interval);
        // What fails here does not keep the rest from being done: on a full disk a segment cannot be written, and what others give
        // back is what helps.
        let mut failed = Ok(());
        let written = stats.bytes_written - maintenance.looked_bytes;
        let keep = 1 + written.div_ceil(self.config.journal.file_bytes.max(1)) as usize;
        if quiet && stats.spares > keep {
            let inner = self.clone();
            let released = tokio::task::spawn_blocking(move || inner.journal.release_spares(keep)).await;
            failed = released.map_err(|_| Error::Closed)?.map_err(Error::from);
        }
        if !(due || pressed || look || sweep) {
            return failed;
        }
        maintenance.looked_ms = now_ms;
        maintenance.looked_bytes = stats.bytes_written;
        maintenance.looked_lsn = last;
        if sweep {
            maintenance.swept_ms = now_ms;
            failed = failed.and(self.sweep(&mut maintenance.obsolete).await);
        }
        let mut excess = stats.disk_bytes.saturating_sub(high);
        if stats.full {
            excess = excess.max(1);
        }
        failed = failed.and(self.make_ready(&mut maintenance.ready, excess).await);
        if !due && maintenance.ready.is_empty() && maintenance.obsolete.is_empty() {
            self.evict_idle();
            return failed;
        }
        let Checkpoint { upto, whole } = self.checkpoint(maintenance).await?;
        if !whole {
            return failed;
        }
        while let Some(file) = maintenance.ready.first().filter(|file| file.last_lsn <= upto) {
            let (inner, number) = (self.clone(), file.number);
            let recycled = tokio::task::spawn_blocking(move || inner.journal.recycle(number)).await;
            match recycled.map_err(|_| Error::Closed)? {
                Ok(()) => tracing::info!(file = file.number, bytes = file.bytes, "journal file recycled"),
                // It was let go and its space could not be given back at once; the journal tries again with the next.
                Err(journal::Error::NoFile(_)) => {}
                Err(error) => return Err(error.into()),
            }
            maintenance.ready.remove(0);
        }
        while let Some(&segment) = maintenance.obsolete.last() {
            self.segments.delete(segment).await?;
            tracing::info!(segment, "segment removed");
            maintenance.obsolete.pop();
        }
        failed
    }

    /// Adds to `ready` the oldest journal files that nobody needs, and those of the first `excess` bytes once what is needed of them
    /// is in segments.
    async fn make_ready(self: &Arc<Self>, ready: &mut Vec<journal::FileInfo>, mut excess: u64) -> Result<()> {
        for file in self.journal.files() {
            // The end of a file's last commit may be in the next one and not on disk yet: its entry cannot be read before.
            if !file.sealed || file.last_lsn > self.journal.durable() {
                break;
            }
            if !ready.iter().any(|r| r.number == file.number) {
                let parts = self.parts(file.number).await?;
                if parts.iter().any(|p| p.wanted.is_some()) {
                    if excess == 0 {
                        break;
                    }
                    self.compact(file.number, parts).await?;
                } else if !self.give_up(&parts) {
                    break;
                }
                ready.push(file.clone());
            }
            excess = excess.saturating_sub(file.bytes);
        }
        Ok(())
    }

    /// What is in a journal file and how much of it is wanted, in order of ledger.
    async fn parts(self: &Arc<Self>, file: u64) -> Result<Vec<Part>> {
        let inner = self.clone();
        let look = move || {
            let mut ranges = inner.journal.streams(file)?;
            ranges.sort_unstable_by_key(|r| (r.stream, r.first_seq));
            ranges.into_iter().map(|r| inner.part(r.stream, r.first_seq, r.last_seq, r.bytes)).collect()
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| Error::Closed)?
    }

    fn part(&self, ledger: u64, first: u64, last: u64, bytes: u64) -> Result<Part> {
        let topic = self.overlay.lock().owner(&self.catalog, ledger)?;
        let wanted = topic.as_ref().and_then(|t| self.wanted(t, ledger, first, last));
        Ok(Part { topic, ledger, first, last, bytes, wanted })
    }

    /// The first entry of `first..=last` that has to be kept.
    fn wanted(&self, topic: &Topic, ledger: u64, first: u64, last: u64) -> Option<u64> {
        let state = topic.state.lock();
        if state.deleted {
            return None;
        }
        let wanted = state.first_wanted(ledger, self.clock.now_ms())?.max(first);
        (wanted <= last).then_some(wanted)
    }

    /// Drops entries nobody wants from their topics' states; `false` when somebody began to want one.
    fn give_up(&self, parts: &[Part]) -> bool {
        for part in parts {
            let Some(topic) = &part.topic else { continue };
            if self.wanted(topic, part.ledger, part.first, part.last).is_some() {
                return false;
            }
            self.drop_below(topic, part.ledger, part.last + 1, part.bytes);
        }
        true
    }

    fn drop_below(&self, topic: &Arc<Topic>, ledger: u64, first: u64, bytes: u64) {
        let mut state = topic.state.lock();
        if state.deleted || state.find(ledger).is_none_or(|l| l.first >= first) {
            return;
        }
        state.drop_below(ledger, first, bytes);
        if state.touch(u64::MAX) {
            drop(state);
            self.dirty.lock().push(topic.clone());
        }
    }

    /// Sorts what is wanted of a journal file into a segment.
    async fn compact(self: &Arc<Self>, file: u64, parts: Vec<Part>) -> Result<()> {
        let id = self.next_id().ok_or(Error::NoLedgerId)?;
        let mut copy = Copy { inner: self.clone(), writer: self.segments.writer(id).await?, written: 0, slept: 0 };
        for part in &parts {
            let Some(mut from) = part.wanted else { continue };
            while from <= part.last {
                let inner = self.clone();
                let ledger = part.ledger;
                let read = move || inner.journal.read_once(ledger, from, READ_ENTRIES, READ_BYTES);
                let entries = match tokio::task::spawn_blocking(read).await.map_err(|_| Error::Closed)? {
                    // What is damaged is lost here as it is for those who read it; the file must not stay for it.
                    Err(journal::Error::Corrupt { .. }) => Vec::new(),
                    read => read?,
                };
                if let Some(added) = copy.add(ledger, part.last, entries).await? {
                    from = added + 1;
                    continue;
                }
                let inner = self.clone();
                let look = move || inner.journal.next_readable(ledger, from + 1);
                let next = tokio::task::spawn_blocking(look).await.map_err(|_| Error::Closed)??;
                let next = next.unwrap_or(part.last + 1);
                tracing::error!(file, ledger, from, to = next, "entries are lost");
                from = next;
            }
        }
        let written = copy.written;
        self.register_segment(id, copy.writer, &parts, None).await?;
        tracing::info!(file, segment = id, bytes = written, "journal file sorted into a segment");
        Ok(())
    }

    /// Finishes a segment and makes it part of the topics whose entries it holds, in place of segment `instead_of`.
    async fn register_segment(
        &self,
        id: u64,
        writer: segment::Writer,
        parts: &[Part],
        instead_of: Option<u64>,
    ) -> Result<()> {
        let summary = writer.finish().await.map_err(|e| Error::Segment(Box::new(e)))?;
        let mut live = 0;
        for part in parts {
            let Some(topic) = &part.topic else { continue };
            if let Ok(at) = summary.ledgers.binary_search_by_key(&part.ledger, |l| l.ledger) {
                let range = &summary.ledgers[at];
                let new = SegmentRef { segment: id, first: range.first, last: range.last, bytes: range.bytes };
                let mut state = topic.state.lock();
                if !state.deleted
                    && let Some(meta) = state.find_mut(part.ledger)
                {
                    meta.segments.retain(|s| Some(s.segment) != instead_of);
                    let place = meta.segments.partition_point(|s| s.first < new.first);
                    meta.segments.insert(place, new);
                    live += new.bytes;
                    if state.touch(u64::MAX) {
                        self.dirty.lock().push(topic.clone());
                    }
                }
            }
            match part.wanted {
                Some(first) if first > part.first => {
                    let share = u128::from(part.bytes) * u128::from(first - part.first)
                        / u128::from(part.last - part.first + 1);
                    self.drop_below(topic, part.ledger, first, share as u64);
                }
                Some(_) => {}
                None => self.drop_below(topic, part.ledger, part.last + 1, part.bytes),
            }
        }
        self.segments.set(id, summary.bytes, live);
        Ok(())
    }

    /// Looks through all segments for what nobody wants any more; those with nothing left are `obsolete`, those with less than
    /// half are written again without the rest.
    async fn sweep(self: &Arc<Self>, obsolete: &mut Vec<u64>) -> Result<()> {
        let mut failed = Ok(());
        for (id, (total, _)) in self.segments.all() {
            // Publishes wait for journal files; segments are for later.
            if self.journal.stats().full {
                break;
            }
            let swept = self.sweep_segment(id, total, obsolete).await;
            failed = failed.and(swept);
        }
        failed
    }

    async fn sweep_segment(self: &Arc<Self>, id: u64, total: u64, obsolete: &mut Vec<u64>) -> Result<()> {
        let segment = self.segments.get(id).await?;
        let mut parts = Vec::new();
        for range in segment.ranges() {
            let mut part = self.part(range.ledger, range.first, range.last, range.bytes)?;
            let held = |t: &Arc<Topic>| {
                let state = t.state.lock();
                state.find(range.ledger).is_some_and(|l| l.segments.iter().any(|s| s.segment == id))
            };
            if !part.topic.as_ref().is_some_and(held) {
                part.topic = None;
                part.wanted = None;
            }
            parts.push(part);
        }
        let mut live = 0;
        for part in &parts {
            match (&part.topic, part.wanted) {
                (Some(_), Some(_)) => live += part.bytes,
                (Some(topic), None) => {
                    self.drop_below(topic, part.ledger, part.last + 1, part.bytes);
                    self.drop_ref(topic, part.ledger, id);
                }
                (None, _) => {}
            }
        }
        if live == 0 {
            self.segments.remove(id);
            obsolete.push(id);
        } else if live < total / 2 {
            let new = self.next_id().ok_or(Error::NoLedgerId)?;
            let writer = self.segments.writer(new).await?;
            let mut copy = Copy { inner: self.clone(), writer, written: 0, slept: 0 };
            for part in parts.iter().filter(|p| p.wanted.is_some()) {
                let mut from = part.wanted.unwrap_or(part.first);
                while from <= part.last {
                    let read = segment.read(part.ledger, from, READ_ENTRIES, READ_BYTES).await;
                    let entries = read.map_err(|e| Error::Segment(Box::new(e)))?;
                    from = copy.add(part.ledger, part.last, entries).await?.unwrap_or(part.last) + 1;
                }
            }
            parts.retain(|p| p.wanted.is_some());
            self.register_segment(new, copy.writer, &parts, Some(id)).await?;
            self.segments.remove(id);
            obsolete.push(id);
        } else {
            self.segments.set(id, total, live);
        }
        Ok(())
    }

    fn drop_ref(&self, topic: &Arc<Topic>, ledger: u64, segment: u64) {
        let mut state = topic.state.lock();
        if let Some(meta) = state.find_mut(ledger) {
            meta.segments.retain(|s| s.segment != segment);
            if state.touch(u64::MAX) {
                drop(state);
                self.dirty.lock().push(topic.clone());
            }
        }
    }
}

fn elapsed(now_ms: u64, since_ms: u64, interval: Duration) -> bool {
    u128::from(now_ms.saturating_sub(since_ms)) >= interval.as_millis()
}

/// A segment being written, no faster than it may.
struct Copy {
    inner: Arc<Inner>,
    writer: segment::Writer,
    written: u64,
    slept: u64,
}

impl Copy {
    /// Adds entries up to `last`; returns the last one added.
    async fn add(&mut self, ledger: u64, last: u64, entries: Vec<segment::Entry>) -> Result<Option<u64>> {
        let mut added = None;
        for (entry, messages, data) in entries {
            if entry > last {
                break;
            }
            self.writer.add(ledger, entry, messages, &data).await.map_err(|e| Error::Segment(Box::new(e)))?;
            self.written += data.len() as u64;
            added = Some(entry);
        }
        if self.written - self.slept >= READ_BYTES as u64 {
            let rate = self.inner.config.compact_bytes_per_s.max(1);
            let pause = Duration::from_secs_f64((self.written - self.slept) as f64 / rate as f64);
            self.slept = self.written;
            // Without room in the journal publishes wait for this: as fast as it goes.
            if !self.inner.journal.stats().full {
                tokio::time::sleep(pause.min(Duration::from_secs(1))).await;
            }
        }
        Ok(added)
    }
}
