//! Topics that are loaded, or changed since the last checkpoint: what the catalog does not know yet.

use model::TopicName;
use rustc_hash::FxHashMap;
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    catalog::{Catalog, Deleted},
    error::{Error, Result},
    state::State,
    topic::Topic,
};

/// The name of topic `id` as it was stored. One that is none, which an earlier version let in, costs that topic and not the start.
pub(crate) fn stored_name(id: u64, name: &str) -> Option<TopicName> {
    name.parse().inspect_err(|error| tracing::error!(topic = id, %error, "a stored topic is passed over")).ok()
}

/// See the module. Looked at before the catalog.
#[derive(Default)]
pub(crate) struct Overlay {
    /// By full name; `None` was deleted.
    pub(crate) names: BTreeMap<String, Option<Arc<Topic>>>,
    /// By topic id and by the ids of all ledgers.
    pub(crate) owners: FxHashMap<u64, Arc<Topic>>,
    /// Topics the next checkpoint forgets.
    pub(crate) deleted: FxHashMap<u64, Deleted>,
    /// Partitioned topics whose number changed; `None` was deleted.
    pub(crate) partitions: BTreeMap<String, Option<u32>>,
}

impl Overlay {
    pub(crate) fn exists(&self, catalog: &Catalog, key: &str) -> Result<bool> {
        match self.names.get(key) {
            Some(known) => Ok(known.is_some()),
            None => Ok(catalog.topic_id(key)?.is_some()),
        }
    }

    /// The topic of this name, brought here from its row where needed.
    pub(crate) fn topic(&mut self, catalog: &Catalog, key: &str) -> Result<Option<Arc<Topic>>> {
        if let Some(known) = self.names.get(key) {
            return Ok(known.clone());
        }
        match catalog.topic_id(key)? {
            Some(id) => self.bring(catalog, id),
            None => Ok(None),
        }
    }

    /// The topic a ledger (or topic) id belongs to, brought here from its row where needed.
    pub(crate) fn owner(&mut self, catalog: &Catalog, ledger: u64) -> Result<Option<Arc<Topic>>> {
        if let Some(topic) = self.owners.get(&ledger) {
            return Ok(Some(topic.clone()));
        }
        match catalog.owner(ledger)? {
            Some(id) if self.deleted.contains_key(&id) => Ok(None),
            Some(id) => self.bring(catalog, id),
            None => Ok(None),
        }
    }

    fn bring(&mut self, catalog: &Catalog, id: u64) -> Result<Option<Arc<Topic>>> {
        if let Some(topic) = self.owners.get(&id) {
            return Ok(Some(topic.clone()));
        }
        let Some(row) = catalog.row(id)? else { return Ok(None) };
        let decode = |source| Error::Decode { what: "row", whose: format!("topic {id}"), source };
        let (name, state) = State::decode(&row).map_err(decode)?;
        let Some(name) = stored_name(id, name) else { return Ok(None) };
        let topic = Arc::new(Topic::new(id, name, state));
        self.insert(&topic);
        Ok(Some(topic))
    }

    pub(crate) fn insert(&mut self, topic: &Arc<Topic>) {
        for ledger in &topic.state.lock().ledgers {
            self.owners.insert(ledger.id, topic.clone());
        }
        self.owners.insert(topic.id, topic.clone());
        self.names.insert(topic.name.to_string(), Some(topic.clone()));
    }

    /// Forgets a topic, for the next checkpoint too.
    pub(crate) fn delete(&mut self, topic: &Arc<Topic>) {
        let mut state = topic.state.lock();
        state.deleted = true;
        let mut ledgers: Vec<u64> = state.ledgers.iter().map(|l| l.id).collect();
        ledgers.extend(state.closed.iter().copied());
        for ledger in &ledgers {
            self.owners.remove(ledger);
        }
        self.owners.remove(&topic.id);
        let name = topic.name.to_string();
        // A later topic may have the name already, in replay.
        if self.names.get(&name).is_none_or(|known| known.as_ref().is_none_or(|t| t.id == topic.id)) {
            self.names.insert(name.clone(), None);
        }
        self.deleted.insert(topic.id, Deleted { name, id: topic.id, ledgers });
    }

    /// Lets go of a topic that is as its row says and that nobody holds; `held` counts the caller's references.
    pub(crate) fn evict(&mut self, topic: &Arc<Topic>, held: usize) -> bool {
        let state = topic.state.lock();
        if state.loaded || state.dirty || state.deleted || state.uncommitted {
            return false;
        }
        let mut ids: Vec<u64> = state.ledgers.iter().map(|l| l.id).collect();
        ids.push(topic.id);
        ids.sort_unstable();
        ids.dedup();
        let mine = ids.iter().filter(|id| self.owners.get(id).is_some_and(|t| Arc::ptr_eq(t, topic))).count();
        if Arc::strong_count(topic) != mine + 1 + held {
            return false;
        }
        drop(state);
        for id in ids {
            self.owners.remove(&id);
        }
        self.names.remove(&topic.name.to_string());
        true
    }
}
