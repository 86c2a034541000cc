//! Giving journal files back: what nobody needs any more goes with its file, what somebody still needs is sorted into a segment
//! first, and only when the journal needs the room.
//!
//! The order is what keeps it safe: decide, write segments, change the topics' states, write a checkpoint with them, then recycle.
//! A stop at any point leaves either the file, or a catalog that no longer needs it.
//!
//! Cursors may go back, and topics retain more, at any time. So what was decided is looked at again under the lock of the topic's
//! state when it takes effect; what somebody wants after all keeps its file or segment for another round.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use crate::{
    Store,
    checkpoint::{Checkpoint, to_its_end},
    error::{Error, Result},
    state::{SegmentRef, State, Unclaimed},
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
    /// What had to go of the journal could not: the disk is full, most likely.
    cramped: bool,
}

/// Bytes of the journal that are too many: of all of it, and of what holds no more than what nobody has subscribed to.
#[derive(Clone, Copy)]
struct Excess {
    all: u64,
    unclaimed: u64,
}

/// Entries of one ledger in one file or segment, and the first of them that is wanted.
struct Part {
    topic: Option<Arc<Topic>>,
    ledger: u64,
    first: u64,
    last: u64,
    bytes: u64,
    /// Bytes of an open ledger above which it is not kept when nobody has subscribed to it.
    unclaimed: u64,
    wanted: Option<u64>,
    /// Somebody has subscribed, or retention keeps it.
    claimed: bool,
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
        let mut excess = Excess {
            all: stats.disk_bytes.saturating_sub(high),
            unclaimed: stats.disk_bytes.saturating_sub(high.min(capacity / 8)),
        };
        if stats.full {
            excess = Excess { all: excess.all.max(1), unclaimed: excess.unclaimed.max(1) };
        }
        let made = self.make_ready(&mut maintenance.ready, excess, maintenance.cramped).await;
        maintenance.cramped = made.is_err();
        failed = failed.and(made);
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

    /// Adds to `ready` the oldest journal files that nobody needs, and those of the first bytes that are in `excess` once what is needed
    /// of them is in segments.
    async fn make_ready(
        self: &Arc<Self>,
        ready: &mut Vec<journal::FileInfo>,
        mut excess: Excess,
        cramped: bool,
    ) -> Result<()> {
        for file in self.journal.files() {
            // The end of a file's last commit may be in the next one and not on disk yet: its entry cannot be read before.
            if !file.sealed || file.last_lsn > self.journal.durable() {
                break;
            }
            if !ready.iter().any(|r| r.number == file.number) {
                let parts = self.parts(file.number, self.unclaimed_bytes(excess.unclaimed, cramped)).await?;
                if parts.iter().any(|p| p.wanted.is_some()) {
                    let excess = if parts.iter().any(|p| p.claimed) { excess.all } else { excess.unclaimed };
                    if excess == 0 {
                        break;
                    }
                    if !self.compact(file.number, parts).await? {
                        break;
                    }
                } else if !self.give_up(&parts) {
                    break;
                }
                ready.push(file.clone());
            }
            excess.all = excess.all.saturating_sub(file.bytes);
            excess.unclaimed = excess.unclaimed.saturating_sub(file.bytes);
        }
        Ok(())
    }

    /// How large an open ledger may be that nobody has subscribed to, when so much of the journal has to go. In the journal it costs
    /// no more than space. Written a second time it must be worth it: a producer without end would have the disk, and all of its speed.
    fn unclaimed_bytes(&self, excess: u64, cramped: bool) -> u64 {
        let capacity = self.config.journal.capacity_bytes;
        match excess {
            0 => u64::MAX,
            _ if cramped || self.segments.bytes() >= capacity / 4 => 0,
            _ => capacity / 128,
        }
    }

    /// What is in a journal file and how much of it is wanted, in order of ledger.
    async fn parts(self: &Arc<Self>, file: u64, unclaimed: u64) -> Result<Vec<Part>> {
        let inner = self.clone();
        let look = move || {
            let mut ranges = inner.journal.streams(file)?;
            ranges.sort_unstable_by_key(|r| (r.stream, r.first_seq));
            let part = |r: journal::StreamRange| inner.part(r.stream, (r.first_seq, r.last_seq), r.bytes, unclaimed);
            ranges.into_iter().map(part).collect()
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| Error::Closed)?
    }

    fn part(&self, ledger: u64, (first, last): (u64, u64), bytes: u64, unclaimed: u64) -> Result<Part> {
        let topic = self.overlay.lock().owner(&self.catalog, ledger)?;
        let mut part = Part { topic, ledger, first, last, bytes, unclaimed: 0, wanted: None, claimed: false };
        let wanted = |part: &Part| part.topic.as_ref().and_then(|t| self.wanted(&t.state.lock(), part));
        part.claimed = wanted(&part).is_some();
        part.unclaimed = unclaimed;
        part.wanted = wanted(&part);
        Ok(part)
    }

    /// The first entry of `part` that has to be kept now.
    fn wanted(&self, state: &State, part: &Part) -> Option<u64> {
        if state.deleted {
            return None;
        }
        let unclaimed = Unclaimed { age: self.config.max_ledger_age, bytes: part.unclaimed };
        let wanted = state.first_wanted(part.ledger, self.clock.now_ms(), unclaimed)?.max(part.first);
        (wanted <= part.last).then_some(wanted)
    }

    /// Drops entries nobody wants from their topics' states; `false` when somebody began to want one.
    fn give_up(&self, parts: &[Part]) -> bool {
        parts.iter().all(|part| self.settle_part(part, |_| {}))
    }

    /// Runs `change` on the state of the topic and drops what was not wanted of `part` when that was decided; `false`, and nothing
    /// is done, when somebody began to want some of it.
    fn settle_part(&self, part: &Part, change: impl FnOnce(&mut State)) -> bool {
        let Some(topic) = &part.topic else { return true };
        let mut state = topic.state.lock();
        let kept = part.wanted.unwrap_or(part.last + 1);
        if self.wanted(&state, part).is_some_and(|wanted| wanted < kept) {
            return false;
        }
        if state.deleted || state.find(part.ledger).is_none() {
            return true;
        }
        change(&mut state);
        // What is kept as a whole takes nothing with it that is before.
        if kept > part.first {
            let (gone, all) = (kept - part.first, part.last + 1 - part.first);
            state.drop_below(part.ledger, kept, (u128::from(part.bytes) * u128::from(gone) / u128::from(all)) as u64);
        }
        if state.touch(u64::MAX) {
            drop(state);
            self.dirty.lock().push(topic.clone());
        }
        true
    }

    /// Sorts what is wanted of a journal file into a segment; `false` when somebody began to want more of it.
    async fn compact(self: &Arc<Self>, file: u64, parts: Vec<Part>) -> Result<bool> {
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
        let whole = self.register_segment(id, copy.writer, &parts, None).await?;
        tracing::info!(file, segment = id, bytes = written, whole, "journal file sorted into a segment");
        Ok(whole)
    }

    /// Finishes a segment and makes it part of the topics whose entries it holds, in place of segment `instead_of`; `false` when
    /// somebody began to want more than that of a topic, which then goes without it.
    async fn register_segment(
        &self,
        id: u64,
        writer: segment::Writer,
        parts: &[Part],
        instead_of: Option<u64>,
    ) -> Result<bool> {
        let summary = writer.finish().await.map_err(|e| Error::Segment(Box::new(e)))?;
        let (mut live, mut whole) = (0, true);
        for part in parts {
            let range = summary.ledgers.binary_search_by_key(&part.ledger, |l| l.ledger).map(|at| &summary.ledgers[at]);
            whole &= self.settle_part(part, |state| {
                if let (Ok(range), Some(meta)) = (range, state.find_mut(part.ledger)) {
                    let new = SegmentRef { segment: id, first: range.first, last: range.last, bytes: range.bytes };
                    meta.segments.retain(|s| Some(s.segment) != instead_of);
                    let place = meta.segments.partition_point(|s| s.first < new.first);
                    meta.segments.insert(place, new);
                    live += new.bytes;
                }
            });
        }
        self.segments.set(id, summary.bytes, live);
        Ok(whole)
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
            let mut part = self.part(range.ledger, (range.first, range.last), range.bytes, u64::MAX)?;
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
        for part in parts.iter().filter(|part| part.topic.is_some()) {
            if part.wanted.is_some() {
                live += part.bytes;
                continue;
            }
            let forget = |state: &mut State| {
                if let Some(meta) = state.find_mut(part.ledger) {
                    meta.segments.retain(|s| s.segment != id);
                }
            };
            if !self.settle_part(part, forget) {
                return Ok(());
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
            if self.register_segment(new, copy.writer, &parts, Some(id)).await? {
                self.segments.remove(id);
                obsolete.push(id);
            }
        } else {
            self.segments.set(id, total, live);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Config, ManagedLedger, Read, Retention};
    use ::model::Position;
    use std::collections::BTreeMap;

    struct Deaf;

    impl journal::Listener for Deaf {
        fn advanced(&self, _durable: journal::Lsn) {}
        fn failed(&self) {}
    }

    /// A store with a small journal.
    struct Small {
        store: Store,
        batch: Batch,
        _dir: tempfile::TempDir,
    }

    impl Small {
        async fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let journal = journal::Config {
                dir: dir.path().join("journal"),
                file_bytes: 64 << 10,
                first_file_bytes: 64 << 10,
                write_bytes_max: 16 << 10,
                ..journal::Config::default()
            };
            let config = Config { dir: dir.path().to_owned(), journal, ..Config::default() };
            let clock = Arc::new(seams::ManualClock::new(1));
            let meta = Arc::new(metastore::MemoryStore::default());
            let (store, _) = Store::open(config, clock, meta, 1).await.unwrap();
            Self { batch: store.batch(), store, _dir: dir }
        }

        async fn commit(&mut self) -> Vec<Position> {
            let listener: Arc<dyn journal::Listener> = Arc::new(Deaf);
            let committed = self.store.commit(&mut self.batch, &listener).unwrap();
            self.store.wait(committed.lsn).await.unwrap();
            committed.positions
        }

        async fn create(&mut self, name: &str) -> ManagedLedger {
            let name = name.parse().unwrap();
            self.store.create(&mut self.batch, &name, BTreeMap::new()).unwrap();
            self.commit().await;
            let mut ledger = self.store.load(&name).unwrap();
            ledger.open_cursor(Some(&mut self.batch), "s", Position::EARLIEST, BTreeMap::new());
            ledger.trim(&mut self.batch, Retention { time: Some(Duration::ZERO), bytes: Some(0) });
            self.commit().await;
            ledger
        }

        async fn publish(&mut self, ledger: &mut ManagedLedger) {
            let data = bytes::Bytes::from(vec![1; 4096]);
            ledger.append(&mut self.batch, data.clone(), 1);
            let position = self.commit().await[0];
            ledger.appended(position, data, 1);
            ledger.confirm(position);
        }
    }

    async fn count(ledger: &mut ManagedLedger) -> usize {
        let (mut from, mut count) = (Position::EARLIEST, 0);
        loop {
            let entries = match ledger.read(from, 100, 1 << 20) {
                Read::CaughtUp => return count,
                Read::Entries(entries) => entries,
                Read::Later(request) => request.run().await.unwrap(),
            };
            from = entries.last().unwrap().position.next();
            count += entries.len();
        }
    }

    #[tokio::test]
    async fn what_a_cursor_went_back_to_while_its_file_was_sorted_stays() {
        let mut o = Small::open().await;
        let (mut back, mut other) = (o.create("back").await, o.create("other").await);
        let id = back.cursors()[0].0;
        for _ in 0..30 {
            o.publish(&mut back).await;
            o.publish(&mut other).await;
        }
        let seek = async |o: &mut Small, back: &mut ManagedLedger, to: Position| {
            back.reset_cursor(&mut o.batch, id, to);
            o.commit().await;
        };
        let last = back.last_confirmed();
        seek(&mut o, &mut back, last).await;
        let inner = o.store.inner.clone();
        let file = inner.journal.files()[0].clone();
        assert!(file.sealed);
        let parts = inner.parts(file.number, u64::MAX).await.unwrap();
        assert!(parts.iter().any(|part| part.ledger == last.ledger && part.wanted.is_none()));
        seek(&mut o, &mut back, Position::EARLIEST).await;
        assert!(!inner.give_up(&parts));
        assert!(!inner.compact(file.number, parts).await.unwrap());
        assert_eq!(back.backlog(id), 30);
        // The next time it is sorted with the rest.
        let parts = inner.parts(file.number, u64::MAX).await.unwrap();
        assert!(inner.compact(file.number, parts).await.unwrap());
        o.store.checkpoint().await.unwrap();
        inner.journal.recycle(file.number).unwrap();
        assert_eq!((count(&mut back).await, count(&mut other).await), (30, 30));
    }
}
