//! A function's state, from outside, while it runs.

use bytes::Bytes;

use super::{Name, Worker};
use crate::{
    Error, Result,
    event_log::{Row, RowChange, TableChange},
};

/// Bytes of a key.
const KEY_BYTES_MAX: usize = 4096;

impl Worker {
    /// A value, with all changes committed before; durable when it returns, its absence too.
    ///
    /// # Errors
    /// [`Error::NotFound`]: there is no such function, or no such key.
    pub async fn state(&self, name: &Name, key: &str) -> Result<Row> {
        let table = self.state_table(name)?;
        let row = self.shared.tables.get(&table, key.as_bytes()).await?;
        self.shared.tables.settled().await?;
        row.ok_or_else(|| Error::NotFound(format!("key '{key}' doesn't exist.")))
    }

    /// Sets a value; durable when it returns.
    ///
    /// # Errors
    /// [`Error::NotFound`]: there is no such function. [`Error::Invalid`]: the key is none.
    pub async fn put_state(&self, name: &Name, key: &str, value: Bytes) -> Result<()> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Error::Invalid(format!("a key has 1 to {KEY_BYTES_MAX} bytes")));
        }
        let table = self.state_table(name)?.into();
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.shared.tables.write(vec![TableChange { table, key, change: RowChange::Put(value) }]).await
    }

    /// Sources and sinks have a state, too, and are asked for it as functions are. Source of the text: `ComponentImpl.getFunctionState`.
    fn state_table(&self, name: &Name) -> Result<String> {
        if !self.shared.functions.read().contains_key(name) {
            return Err(Error::NotFound(format!("'{}' is not found", name.name)));
        }
        Ok(crate::spec::state_table(&name.to_string()))
    }
}
