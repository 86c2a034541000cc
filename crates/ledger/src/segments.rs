//! The segments there are, how much of each is still wanted, and the few that are open.

use parking_lot::Mutex;
use segment::{Segment, SegmentId};
use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    error::{Error, Result},
    state::SegmentRef,
};

/// Indexes kept in memory.
const OPEN_MAX: usize = 32;

fn failed(error: segment::Error) -> Error {
    Error::Segment(Box::new(error))
}

/// See the module.
pub(crate) struct Segments {
    store: segment::Store,
    /// Most recently used last.
    open: Mutex<Vec<Arc<Segment>>>,
    /// Bytes in all, and bytes wanted as far as known: what is dropped is taken off at once, what expires when it is looked for.
    known: Mutex<BTreeMap<u64, (u64, u64)>>,
    /// Those that no topic needs any more, and their bytes, while a row of the catalog may name them.
    leaving: Mutex<BTreeMap<u64, u64>>,
}

impl Segments {
    pub(crate) async fn open(dir: &Path) -> Result<Self> {
        let store = segment::Store::local(dir).map_err(failed)?;
        Ok(Self { store, open: Mutex::default(), known: Mutex::default(), leaving: Mutex::default() })
    }

    /// Those on disk, in order.
    pub(crate) async fn stored(&self) -> Result<Vec<SegmentId>> {
        self.store.list().await.map_err(failed)
    }

    /// Takes over what the catalog knows, and removes of what is `stored` the rest: a stop came between the two.
    pub(crate) async fn adopt(&self, known: Vec<(u64, (u64, u64))>, stored: Vec<SegmentId>) -> Result<()> {
        for id in stored {
            if known.binary_search_by_key(&id.0, |k| k.0).is_err() {
                tracing::info!(segment = %id, "removing a segment that was never registered");
                self.store.delete(id).await.map_err(failed)?;
            }
        }
        *self.known.lock() = known.into_iter().collect();
        Ok(())
    }

    pub(crate) fn all(&self) -> Vec<(u64, (u64, u64))> {
        self.known.lock().iter().map(|(&id, &bytes)| (id, bytes)).collect()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.known.lock().values().map(|(total, _)| total).sum()
    }

    /// With those that rows of the catalog may still name.
    pub(crate) fn all_and_leaving(&self) -> Vec<(u64, (u64, u64))> {
        let mut all = self.known.lock().clone();
        all.extend(self.leaving.lock().iter().map(|(&id, &total)| (id, (total, 0))));
        all.into_iter().collect()
    }

    pub(crate) fn set(&self, segment: u64, total: u64, live: u64) {
        self.known.lock().insert(segment, (total, live));
    }

    /// No topic needs it any more; once no row names it either it may be deleted.
    pub(crate) fn remove(&self, segment: u64) {
        let total = self.known.lock().remove(&segment).map_or(0, |(total, _)| total);
        self.leaving.lock().insert(segment, total);
    }

    /// Every row of the catalog is as its topic is.
    pub(crate) fn settle(&self) {
        self.leaving.lock().clear();
    }

    /// These parts are no longer wanted.
    pub(crate) fn release(&self, parts: &[SegmentRef]) {
        let mut known = self.known.lock();
        for part in parts {
            if let Some((_, live)) = known.get_mut(&part.segment) {
                *live = live.saturating_sub(part.bytes);
            }
        }
    }

    pub(crate) async fn writer(&self, segment: u64) -> Result<segment::Writer> {
        self.store.writer(SegmentId(segment)).await.map_err(failed)
    }

    pub(crate) async fn delete(&self, segment: u64) -> Result<()> {
        self.open.lock().retain(|s| s.id().0 != segment);
        self.store.delete(SegmentId(segment)).await.map_err(failed)
    }

    pub(crate) async fn get(&self, segment: u64) -> Result<Arc<Segment>> {
        {
            let mut open = self.open.lock();
            if let Some(at) = open.iter().position(|s| s.id().0 == segment) {
                let found = open.remove(at);
                open.push(found.clone());
                return Ok(found);
            }
        }
        let opened = Arc::new(self.store.open(SegmentId(segment)).await.map_err(failed)?);
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            open.remove(0);
        }
        open.push(opened.clone());
        Ok(opened)
    }
}
