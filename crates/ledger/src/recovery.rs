//! A start: what the journal has beyond the catalog's checkpoint, put on top of it.

use journal::{Lsn, Record};
use rustc_hash::FxHashMap;
use std::sync::Arc;

use crate::{
    batch::{KIND_CREATE, KIND_DELETE, KIND_DELTAS, KIND_ENTRY, KIND_PARTITIONS, KIND_ROLL, KIND_TABLE},
    catalog::Catalog,
    codec::{Decoded, Malformed, Reader},
    delta::Delta,
    error::{Error, Result},
    overlay::{Overlay, stored_name},
    state::State,
    table::Tables,
    topic::Topic,
};

/// See the module.
pub(crate) struct Replay {
    pub(crate) catalog: Catalog,
    pub(crate) checkpoint: Lsn,
    pub(crate) overlay: Overlay,
    pub(crate) dirty: Vec<Arc<Topic>>,
    pub(crate) tables: Tables,
    newest_row: Lsn,
    /// Ledgers dropped, whose entries are no longer wanted.
    pub(crate) forgotten: Vec<u64>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Owners of ledgers looked up before, also of those that have none.
    owners: FxHashMap<u64, Option<Arc<Topic>>>,
}

impl Replay {
    pub(crate) fn new(catalog: Catalog) -> Result<Self> {
        Ok(Self {
            checkpoint: catalog.checkpoint()?,
            newest_row: catalog.newest_row()?,
            tables: Tables::default(),
            catalog,
            overlay: Overlay::default(),
            dirty: Vec::new(),
            forgotten: Vec::new(),
            records: 0,
            bytes: 0,
            owners: FxHashMap::default(),
        })
    }

    /// Applies one record. Rows may be newer than the checkpoint, so records older than a row are passed over.
    pub(crate) fn visit(&mut self, lsn: Lsn, record: &Record) -> Result<()> {
        self.records += 1;
        self.bytes += record.body.len() as u64 + 40;
        match record.kind {
            KIND_ENTRY => {
                if let Some(topic) = self.owner(record.stream)? {
                    self.change(lsn, &topic, |state| {
                        state.replay_append(record.stream, record.seq, record.body.len() as u64, record.aux);
                        Ok(())
                    })?;
                }
            }
            KIND_DELTAS => {
                if let Some(topic) = self.owner(record.stream)? {
                    self.change(lsn, &topic, |state| {
                        let mut reader = Reader::new(&record.body);
                        while !reader.is_empty() {
                            state.apply(&Delta::decode(&mut reader)?);
                        }
                        Ok(())
                    })?;
                    for ledger in std::mem::take(&mut topic.state.lock().removed) {
                        self.forget(&topic, ledger.id);
                    }
                }
            }
            KIND_ROLL => {
                if let Some(topic) = self.owner(record.stream)? {
                    self.change(lsn, &topic, |state| {
                        state.roll(record.seq, Reader::new(&record.body).u64()?);
                        Ok(())
                    })?;
                    if topic.state.lock().find(record.seq).is_some() {
                        self.overlay.owners.insert(record.seq, topic.clone());
                        self.owners.insert(record.seq, Some(topic));
                    }
                }
            }
            KIND_CREATE => self.create(lsn, record)?,
            KIND_DELETE => {
                if let Some(topic) = self.owner(record.stream)? {
                    self.overlay.delete(&topic);
                    let ledgers: Vec<u64> = topic.state.lock().ledgers.iter().map(|l| l.id).collect();
                    for ledger in ledgers {
                        self.forget(&topic, ledger);
                    }
                    self.owners.insert(topic.id, None);
                }
            }
            KIND_PARTITIONS => {
                let decode = |body| {
                    let mut reader = Reader::new(body);
                    let name = reader.str()?.to_owned();
                    let partitions =
                        reader.option()?.map(u32::try_from).transpose().map_err(|_| Malformed("number"))?;
                    Ok((name, partitions))
                };
                let (name, partitions) = decode(&record.body).map_err(|e| malformed(lsn, e))?;
                self.overlay.partitions.insert(name, partitions);
            }
            KIND_TABLE => self.tables.replay(lsn, &record.body, &self.catalog, self.newest_row)?,
            kind => tracing::warn!(lsn, kind, "record of a kind unknown to this version is passed over"),
        }
        Ok(())
    }

    /// The highest id of a topic or ledger that is known here; 0 when there is none.
    pub(crate) fn highest_id(&self) -> Result<u64> {
        let replayed = self.owners.keys().max().copied().unwrap_or(0);
        Ok(replayed.max(self.catalog.highest_id()?))
    }

    fn create(&mut self, lsn: Lsn, record: &Record) -> Result<()> {
        let decode = |body| {
            let mut reader = Reader::new(body);
            Ok((reader.str()?.to_owned(), reader.u64()?, reader.map()?))
        };
        let (name, created_ms, properties) = decode(&record.body).map_err(|e| malformed(lsn, e))?;
        let Some(name) = stored_name(record.stream, &name) else {
            self.owners.insert(record.stream, None);
            return Ok(());
        };
        let known = self.owner(record.stream)?;
        let topic = known.unwrap_or_else(|| {
            Arc::new(Topic::new(record.stream, name, State::new(record.stream, created_ms, properties)))
        });
        // A topic of the same name may have been deleted and this one be newer.
        self.overlay.deleted.remove(&topic.id);
        self.overlay.insert(&topic);
        self.owners.insert(topic.id, Some(topic.clone()));
        self.change(lsn, &topic, |_| Ok(()))
    }

    fn owner(&mut self, ledger: u64) -> Result<Option<Arc<Topic>>> {
        if let Some(known) = self.owners.get(&ledger) {
            return Ok(known.clone());
        }
        let owner = self.overlay.owner(&self.catalog, ledger)?;
        self.owners.insert(ledger, owner.clone());
        Ok(owner)
    }

    fn forget(&mut self, topic: &Topic, ledger: u64) {
        if ledger != topic.id {
            self.overlay.owners.remove(&ledger);
            self.owners.insert(ledger, None);
        }
        self.forgotten.push(ledger);
    }

    fn change(&mut self, lsn: Lsn, topic: &Arc<Topic>, change: impl FnOnce(&mut State) -> Decoded<()>) -> Result<()> {
        let mut state = topic.state.lock();
        if lsn < state.lsn {
            return Ok(());
        }
        change(&mut state).map_err(|e| malformed(lsn, e))?;
        state.lsn = lsn;
        if state.touch(lsn) {
            self.dirty.push(topic.clone());
        }
        Ok(())
    }
}

fn malformed(lsn: Lsn, source: Malformed) -> Error {
    Error::Decode { what: "record", whose: format!("commit {lsn}"), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Changes, Row},
        codec::{put_map, put_str, put_u64},
    };
    use std::collections::BTreeMap;

    /// A slash more than a name has.
    const NO_NAME: &str = "persistent://public/default/a/b";

    fn record(kind: u8, stream: u64, body: Vec<u8>) -> Record {
        Record { kind, flags: 0, bundle: 0, epoch: 0, stream, seq: 0, aux: 1, body: body.into() }
    }

    fn create(id: u64, name: &str) -> Record {
        let mut body = Vec::new();
        put_str(&mut body, name);
        put_u64(&mut body, 1);
        put_map(&mut body, &BTreeMap::new());
        record(KIND_CREATE, id, body)
    }

    #[test]
    fn a_stored_name_that_is_none_costs_its_topic_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("catalog.redb"), 1 << 20).unwrap();
        let state = State::new(1, 1, BTreeMap::new()).encode(NO_NAME);
        let row = Row { name: NO_NAME.into(), id: 1, state, opened: Vec::new(), closed: Vec::new() };
        catalog.write(&Changes { checkpoint: 1, rows: vec![row], ..Changes::default() }).unwrap();
        let mut replay = Replay::new(catalog).unwrap();
        replay.visit(2, &create(2, NO_NAME)).unwrap();
        replay.visit(3, &create(3, "persistent://public/default/a")).unwrap();
        for ledger in [1, 2, 3] {
            replay.visit(4, &record(KIND_ENTRY, ledger, vec![7])).unwrap();
        }
        assert_eq!(replay.dirty.iter().map(|topic| topic.id).collect::<Vec<_>>(), [3]);
        assert_eq!(replay.dirty[0].state.lock().total(), 1);
    }
}
