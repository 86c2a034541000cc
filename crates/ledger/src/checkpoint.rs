//! Writing to the catalog what changed since the last time.
//!
//! A checkpoint is a journal position P together with rows that hold at least everything up to P. Rows are copied one by one while
//! commits go on, so a row may hold more; it is written only when the journal is durable as far as the row goes. A start replays
//! from P, and a record a row already holds changes nothing.
//!
//! A row never holds what no commit has: an acknowledgement is durable together with what else is in its commit, or not at all. A
//! topic whose changes sit in a batch is passed over for the moment; when they stay there, P is moved back before the first of its
//! commits that its row does not have.
//!
//! When the journal is full, a batch stays where it is until this checkpoint has made room. A row is written then without the
//! acknowledgements and sequence ids of the batch, and only what was acknowledged in a commit counts as consumed; what is not part of
//! anybody's transaction, such as a cursor that was opened, may be in it too early.
//!
//! Tables have no such problem: a row of a table changes when its commit is made, not before.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use crate::{
    Store,
    catalog::{Changes, Row},
    compaction::Maintenance,
    error::{Error, Result},
    store::Inner,
    topic::Topic,
};

/// What a checkpoint did.
pub(crate) struct Checkpoint {
    /// Every commit up to here is in the catalog.
    pub(crate) upto: journal::Lsn,
    /// Every topic that had changed is in the catalog as it is.
    pub(crate) whole: bool,
}

/// How often, a millisecond apart, a topic is looked at whose changes sit in a batch.
const LOOKS: usize = 200;
/// The same when the journal is full.
const LOOKS_FULL: usize = 5;

/// What a checkpoint writes, once the journal is durable up to `needed`.
struct Snapshot {
    whole: bool,
    changes: Changes,
    dirty: Vec<Arc<Topic>>,
    /// Ledgers that no row has any more once a whole checkpoint is written.
    dropped: Vec<u64>,
    needed: journal::Lsn,
}

/// Runs housekeeping even if the caller stops waiting for it: half a checkpoint must not be given up.
pub(crate) async fn to_its_end(work: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    tokio::spawn(work).await.map_err(|_| Error::Closed)?
}

impl Store {
    /// Writes everything that changed to the catalog, durably.
    ///
    /// # Errors
    /// The journal or the catalog failed; the changes stay in the journal.
    pub async fn checkpoint(&self) -> Result<()> {
        let inner = self.inner.clone();
        let whole = async move {
            let mut maintenance = inner.maintenance.lock().await;
            inner.checkpoint(&mut maintenance).await.map(|_| ())
        };
        to_its_end(whole).await
    }
}

impl Inner {
    /// Writes a checkpoint and returns its position. The caller holds the maintenance lock.
    pub(crate) async fn checkpoint(self: &Arc<Self>, maintenance: &mut Maintenance) -> Result<Checkpoint> {
        // What a checkpoint takes from the list of changed topics it writes or puts back. One that panicked did neither, and a later
        // one would say that the catalog is complete.
        if std::mem::replace(&mut maintenance.checkpointing, true) {
            return Err(Error::Closed);
        }
        let result = self.write_checkpoint().await;
        maintenance.checkpointing = false;
        result
    }

    async fn write_checkpoint(self: &Arc<Self>) -> Result<Checkpoint> {
        let uncheckpointed = self.uncheckpointed.load(Relaxed);
        // Read under the sequencer's lock, so every commit up to here has marked its topics.
        let checkpoint = self.journal.last();
        let inner = self.clone();
        let snapshot = tokio::task::spawn_blocking(move || inner.snapshot(checkpoint)).await;
        let Snapshot { changes, dirty, dropped, needed, whole } = snapshot.map_err(|_| Error::Closed)?;
        let changes = Arc::new(changes);
        match self.write(needed, changes.clone()).await {
            Ok(()) => {
                self.uncheckpointed.fetch_sub(uncheckpointed, Relaxed);
                self.checkpointed.store(changes.checkpoint, Relaxed);
                let upto = changes.checkpoint;
                tracing::debug!(checkpoint = upto, whole, topics = changes.rows.len(), "checkpoint");
                drop(dirty);
                self.settle(&changes);
                if whole {
                    self.segments.settle();
                    dropped.into_iter().for_each(|ledger| self.journal.forget(ledger));
                } else {
                    self.dropped.lock().extend(dropped);
                }
                Ok(Checkpoint { upto, whole })
            }
            Err(error) => {
                self.restore(&changes, dirty);
                self.dropped.lock().extend(dropped);
                Err(error)
            }
        }
    }

    async fn write(self: &Arc<Self>, needed: journal::Lsn, changes: Arc<Changes>) -> Result<()> {
        // A journal that is out of room may hold back what it has accepted: then this checkpoint is for another time.
        while tokio::time::timeout(Duration::from_secs(1), self.journal.wait(needed))
            .await
            .map_or(Ok(true), |r| r.map(|()| false))?
        {
            if self.journal.stats().full {
                return Err(Error::Journal(journal::Error::Full));
            }
        }
        let inner = self.clone();
        tokio::task::spawn_blocking(move || inner.catalog.write(&changes)).await.map_err(|_| Error::Closed)?
    }

    /// Copies every topic that changed. Each copy is whole, and not older than `checkpoint`.
    fn snapshot(&self, checkpoint: journal::Lsn) -> Snapshot {
        // Before the topics: whoever drops a ledger has changed its topic already.
        let dropped = std::mem::take(&mut *self.dropped.lock());
        let dirty = std::mem::take(&mut *self.dirty.lock());
        let mut changes = Changes { checkpoint, ..Changes::default() };
        {
            let overlay = self.overlay.lock();
            changes.deleted = overlay.deleted.values().cloned().collect();
            changes.partitions = overlay.partitions.iter().map(|(name, &n)| (name.clone(), n)).collect();
        }
        changes.tables = self.tables.changes();
        let rows = changes.tables.iter().flat_map(|table| &table.rows);
        let newest = rows.map(|row| row.1).chain(changes.tables.iter().map(|table| table.cleared)).max();
        let mut needed = checkpoint.max(newest.unwrap_or(0));
        let mut written = Vec::with_capacity(dirty.len());
        let mut waiting = dirty;
        for look in 0..=LOOKS {
            // A full journal takes no batch, and what makes room begins with this checkpoint: it must not wait for one then.
            let force = look >= LOOKS_FULL && self.journal.stats().full;
            let mut busy = Vec::new();
            for topic in waiting {
                let mut state = topic.state.lock();
                // A topic no commit has made yet has nothing to be written, and will be marked by the one that makes it.
                if state.uncommitted && state.lsn == 0 {
                    state.dirty = false;
                    continue;
                }
                if state.uncommitted && !state.deleted && !force {
                    drop(state);
                    busy.push(topic);
                    continue;
                }
                state.dirty = false;
                if !state.deleted {
                    needed = needed.max(state.lsn);
                    let name = topic.name.to_string();
                    changes.rows.push(Row {
                        id: topic.id,
                        opened: std::mem::take(&mut state.opened),
                        closed: std::mem::take(&mut state.closed),
                        state: state.encode(&name),
                        name,
                    });
                }
                drop(state);
                written.push(topic);
            }
            waiting = busy;
            if waiting.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let whole = waiting.is_empty();
        // A row that is not written may name a segment that its topic no longer needs; a start removes what the catalog does not know.
        changes.segments = Some(if whole { self.segments.all() } else { self.segments.all_and_leaving() });
        for topic in &waiting {
            changes.checkpoint = changes.checkpoint.min(topic.state.lock().dirty_since.saturating_sub(1));
        }
        self.dirty.lock().append(&mut waiting);
        // Never back: what is in the catalog stays there.
        changes.checkpoint = changes.checkpoint.max(self.checkpointed.load(Relaxed));
        Snapshot { changes, dirty: written, dropped, needed, whole }
    }

    /// Forgets what the catalog knows now.
    fn settle(&self, changes: &Changes) {
        let mut overlay = self.overlay.lock();
        for gone in &changes.deleted {
            overlay.deleted.remove(&gone.id);
        }
        // A name stays marked as deleted while a deletion of a later topic of that name is still to be written.
        if !changes.deleted.is_empty() {
            let pending: std::collections::BTreeSet<String> =
                overlay.deleted.values().map(|d| d.name.clone()).collect();
            overlay.names.retain(|name, known| known.is_some() || pending.contains(name));
        }
        for (name, n) in &changes.partitions {
            if overlay.partitions.get(name) == Some(n) {
                overlay.partitions.remove(name);
            }
        }
        drop(overlay);
        self.tables.settle(&changes.tables);
        self.evict_idle();
    }

    /// Lets go of topics that are rows and nothing else.
    pub(crate) fn evict_idle(&self) {
        let known: Vec<Arc<Topic>> = self.overlay.lock().names.values().flatten().cloned().collect();
        // Publishes may need the lock in between.
        for some in known.chunks(256) {
            let mut overlay = self.overlay.lock();
            for topic in some {
                overlay.evict(topic, 1);
            }
        }
        drop(known);
        let mut overlay = self.overlay.lock();
        if overlay.owners.capacity() > 4 * overlay.owners.len() + 1024 {
            overlay.owners.shrink_to_fit();
        }
    }

    /// Nothing was written: it is all still to be.
    fn restore(&self, changes: &Changes, dirty: Vec<Arc<Topic>>) {
        // Rows are in the order of the topics, but for those that were deleted.
        let mut rows = changes.rows.iter().peekable();
        for topic in dirty {
            let mut state = topic.state.lock();
            if let Some(row) = rows.next_if(|row| row.id == topic.id) {
                state.opened.extend_from_slice(&row.opened);
                state.closed.extend_from_slice(&row.closed);
            }
            if state.touch(0) {
                drop(state);
                self.dirty.lock().push(topic);
            }
        }
    }
}
