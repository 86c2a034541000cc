//! The keys themselves, and a store that keeps them in memory only.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::broadcast;

use crate::{Change, Error, Expect, Metastore, Result, Version};

/// Keys, values and the counter of changes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<String, (Bytes, Version)>,
    pub(crate) revision: u64,
}

impl Table {
    pub(crate) fn check(&self, key: &str, expect: Expect) -> Result<()> {
        let found = self.rows.get(key).map(|(_, version)| *version);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Version(version) => found == Some(version),
        };
        if holds { Ok(()) } else { Err(Error::Conflict { key: key.to_owned(), found }) }
    }

    pub(crate) fn apply(&mut self, key: &str, value: Option<Bytes>) -> Change {
        self.revision += 1;
        let version = Version(self.revision);
        match &value {
            Some(value) => self.rows.insert(key.to_owned(), (value.clone(), version)),
            None => self.rows.remove(key),
        };
        Change { key: key.to_owned(), value, version }
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<(String, Bytes, Version)> {
        self.rows
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (value, version))| (key.clone(), value.clone(), *version))
            .collect()
    }
}

/// For tests, and for data that may go with the process.
#[derive(Debug)]
pub struct MemoryStore {
    table: Mutex<Table>,
    changes: broadcast::Sender<Change>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { table: Mutex::default(), changes: broadcast::channel(1024).0 }
    }
}

impl MemoryStore {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn change(&self, key: &str, value: Option<Bytes>, expect: Expect) -> Result<Version> {
        let mut table = self.table.lock();
        table.check(key, expect)?;
        if value.is_none() && !table.rows.contains_key(key) {
            return Ok(Version(table.revision));
        }
        let change = table.apply(key, value);
        let version = change.version;
        let _ = self.changes.send(change); // nobody may be watching
        Ok(version)
    }
}

#[async_trait::async_trait]
impl Metastore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        Ok(self.table.lock().rows.get(key).cloned())
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Version> {
        self.change(key, Some(value), expect)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<()> {
        self.change(key, None, expect).map(drop)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Bytes, Version)>> {
        Ok(self.table.lock().list(prefix))
    }

    fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
