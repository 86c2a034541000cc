//! Tables in memory.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;

use crate::{
    Error, Result, Tables,
    event_log::{Row, RowChange, TableChange},
};

/// Tables that are durable as long as they live.
#[derive(Default)]
pub struct MemoryTables {
    rows: parking_lot::Mutex<BTreeMap<(String, Bytes), Row>>,
    /// How many writes are still taken; `None`: all.
    takes: parking_lot::Mutex<Option<usize>>,
}

impl MemoryTables {
    /// Names of the tables that have rows.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let mut names: Vec<String> = self.rows.lock().keys().map(|(table, _)| table.clone()).collect();
        names.dedup();
        names
    }

    /// Takes so many more writes and then none, as if the process had died there; `None`: takes all again.
    pub fn take_only(&self, writes: Option<usize>) {
        *self.takes.lock() = writes;
    }

    fn take_one(&self) -> Result<()> {
        match &mut *self.takes.lock() {
            None => Ok(()),
            Some(0) => Err(Error::Closed("no more is written".to_owned())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Tables for MemoryTables {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>> {
        Ok(self.rows.lock().get(&(table.to_owned(), Bytes::copy_from_slice(key))).cloned())
    }

    async fn scan(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>> {
        let rows = self.rows.lock();
        let of_table = rows.iter().filter(|((name, key), _)| name == table && key.starts_with(prefix));
        let rest = of_table.filter(|((_, key), _)| after.is_none_or(|after| key[..] > *after));
        Ok(rest.take(limit).map(|((_, key), row)| (key.clone(), row.clone())).collect())
    }

    async fn write(&self, changes: Vec<TableChange>) -> Result<()> {
        if !changes.is_empty() {
            self.take_one()?;
        }
        let mut rows = self.rows.lock();
        for TableChange { table, key, change } in changes {
            let place = (table.to_string(), key);
            let old = rows.get(&place);
            let version = old.map_or(0, |row| row.version + 1);
            let value = match change {
                RowChange::Put(value) => value,
                RowChange::Delete => {
                    rows.remove(&place);
                    continue;
                }
                RowChange::Add(amount) => {
                    let old = old.map_or(Ok(0), |row| row.value[..].try_into().map(i64::from_be_bytes));
                    let old = old.map_err(|_| Error::Invalid("the row is no counter".to_owned()))?;
                    Bytes::copy_from_slice(&(old + amount).to_be_bytes())
                }
            };
            rows.insert(place, Row { value, version });
        }
        Ok(())
    }

    async fn delete_table(&self, table: &str) -> Result<()> {
        self.take_one()?;
        self.rows.lock().retain(|(name, _), _| name != table);
        Ok(())
    }
}
