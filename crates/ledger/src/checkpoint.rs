//! Writing to the catalog what changed since the last time.
//!
//! A checkpoint is a journal position P together with rows that hold at least everything up to P. Rows are copied one by one while
//! commits go on, so a row may hold more; it is written only when the journal is durable as far as the row goes. A start replays
//! from P, and a record a row already holds changes nothing.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::{
    Store,
    catalog::{Changes, Row},
    compaction::Maintenance,
    error::{Error, Result},
    store::Inner,
    topic::Topic,
};

/// Nobody waits for a commit without records.
struct Nobody;

impl journal::Listener for Nobody {
    fn advanced(&self, _durable: journal::Lsn) {}
    fn failed(&self) {}
}

impl Store {
    /// Writes everything that changed to the catalog, durably.
    ///
    /// # Errors
    /// The journal or the catalog failed; the changes stay in the journal.
    pub async fn checkpoint(&self) -> Result<()> {
        let mut maintenance = self.inner.maintenance.lock().await;
        self.inner.checkpoint(&mut maintenance).await.map(|_| ())
    }
}

impl Inner {
    /// Writes a checkpoint and returns its position. The caller holds the maintenance lock.
    pub(crate) async fn checkpoint(self: &Arc<Self>, _one_at_a_time: &mut Maintenance) -> Result<journal::Lsn> {
        let uncheckpointed = self.uncheckpointed.load(Relaxed);
        // Under the sequencer's lock, so that every commit up to here has marked its topics.
        let nobody: Arc<dyn journal::Listener> = Arc::new(Nobody);
        let (_, checkpoint) = self.journal.commit(&nobody, |commit| commit.lsn() - 1)?;
        let dirty = std::mem::take(&mut *self.dirty.lock());
        let mut changes = Changes { checkpoint, segments: Some(self.segments.all()), ..Changes::default() };
        {
            let overlay = self.overlay.lock();
            changes.deleted = overlay.deleted.values().cloned().collect();
            changes.partitions = overlay.partitions.iter().map(|(name, &n)| (name.clone(), n)).collect();
        }
        let mut needed = checkpoint;
        for topic in &dirty {
            let mut state = topic.state.lock();
            state.dirty = false;
            if state.deleted {
                continue;
            }
            needed = needed.max(state.lsn);
            changes.rows.push(Row {
                name: topic.name.to_string(),
                id: topic.id,
                opened: std::mem::take(&mut state.opened),
                closed: std::mem::take(&mut state.closed),
                state: state.encode(&topic.name.to_string()),
            });
        }
        let inner = self.clone();
        let written = match self.journal.wait(needed).await {
            Err(error) => Err((changes, Error::from(error))),
            Ok(()) => {
                let write = move || match inner.catalog.write(&changes) {
                    Ok(()) => Ok(changes),
                    Err(error) => Err((changes, error)),
                };
                tokio::task::spawn_blocking(write).await.map_err(|_| Error::Closed)?
            }
        };
        match written {
            Ok(changes) => {
                self.uncheckpointed.fetch_sub(uncheckpointed, Relaxed);
                tracing::debug!(checkpoint, topics = changes.rows.len(), "checkpoint");
                self.settle(&changes, dirty);
                Ok(checkpoint)
            }
            Err((changes, error)) => {
                self.restore(changes, dirty);
                Err(error)
            }
        }
    }

    /// Forgets what the catalog knows now.
    fn settle(&self, changes: &Changes, dirty: Vec<Arc<Topic>>) {
        drop(dirty);
        let mut overlay = self.overlay.lock();
        for gone in &changes.deleted {
            overlay.deleted.remove(&gone.id);
        }
        // A name stays marked as deleted while a deletion of a later topic of that name is still to be written.
        let pending: std::collections::BTreeSet<String> = overlay.deleted.values().map(|d| d.name.clone()).collect();
        overlay.names.retain(|name, known| known.is_some() || pending.contains(name));
        for (name, n) in &changes.partitions {
            if overlay.partitions.get(name) == Some(n) {
                overlay.partitions.remove(name);
            }
        }
        let known: Vec<Arc<Topic>> = overlay.names.values().flatten().cloned().collect();
        for topic in &known {
            overlay.evict(topic, 1);
        }
        if overlay.owners.capacity() > 4 * overlay.owners.len() + 1024 {
            overlay.owners.shrink_to_fit();
        }
    }

    /// Nothing was written: it is all still to be.
    fn restore(&self, changes: Changes, dirty: Vec<Arc<Topic>>) {
        for topic in dirty {
            let mut state = topic.state.lock();
            if let Some(row) = changes.rows.iter().find(|r| r.id == topic.id) {
                state.opened.extend_from_slice(&row.opened);
                state.closed.extend_from_slice(&row.closed);
            }
            if !std::mem::replace(&mut state.dirty, true) {
                drop(state);
                self.dirty.lock().push(topic);
            }
        }
    }
}
