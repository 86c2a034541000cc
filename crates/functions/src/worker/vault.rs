//! Values of secrets that came with a function, kept apart from its configuration: a row of the table `function-secrets` for each
//! function that has some. What did not come with it, the node's own [`Secrets`] find.
//!
//! Only instances of the function see the values; no answer and no log has them. On disk they are as they are, like everything else.

use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};

use super::{Name, Secrets};
use crate::{
    Error, FunctionSpec, Result, Tables,
    event_log::{RowChange, TableChange},
    runtime::Secret,
};

/// The table.
const TABLE: &str = "function-secrets";
/// Rows read at once.
const PAGE: usize = 500;
/// Bytes of all secrets of one function.
const BYTES_MAX: usize = 512 * 1024;

/// Secrets of one function, by the names it uses.
pub type Values = BTreeMap<String, Secret>;

/// See the module.
pub(super) struct Vault {
    outside: Arc<dyn Secrets>,
    given: parking_lot::RwLock<BTreeMap<String, Values>>,
}

impl Vault {
    pub(super) async fn open(tables: &dyn Tables, outside: Arc<dyn Secrets>) -> Result<Self> {
        let mut given = BTreeMap::new();
        let mut after: Option<Bytes> = None;
        loop {
            let rows = tables.scan(TABLE, b"", after.as_deref(), PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (key, row) in rows {
                let key = String::from_utf8_lossy(&key).into_owned();
                match serde_json::from_slice::<BTreeMap<String, String>>(&row.value) {
                    Ok(values) => drop(given.insert(key, values.into_iter().map(|(k, v)| (k, Secret(v))).collect())),
                    // The function says so when it starts: it has no such secret.
                    Err(_) => tracing::error!(function = key, "the secrets of a function cannot be read"),
                }
            }
        }
        Ok(Self { outside, given: parking_lot::RwLock::new(given) })
    }

    /// What an instance gets.
    pub(super) fn resolve(&self, spec: &FunctionSpec) -> Result<Values, String> {
        let given = self.given.read().get(&spec.fqfn()).cloned().unwrap_or_default();
        self.resolve_with(spec, &given)
    }

    /// What it would get with these values.
    pub(super) fn resolve_with(&self, spec: &FunctionSpec, given: &Values) -> Result<Values, String> {
        let (mut found, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (name, place) in &spec.secrets {
            match given.get(name) {
                Some(value) => drop(found.insert(name.clone(), value.clone())),
                None => drop(rest.insert(name.clone(), place.clone())),
            }
        }
        found.extend(self.outside.resolve(&spec.tenant, &rest)?);
        Ok(found)
    }

    pub(super) fn of(&self, name: &Name) -> Values {
        self.given.read().get(&name.to_string()).cloned().unwrap_or_default()
    }

    /// What to write so that these are a function's values.
    pub(super) fn change(name: &Name, values: &Values) -> Result<TableChange> {
        let change = if values.is_empty() {
            RowChange::Delete
        } else {
            let plain: BTreeMap<&String, &String> = values.iter().map(|(name, Secret(value))| (name, value)).collect();
            // Texts always are JSON.
            let row = serde_json::to_vec(&plain).unwrap_or_default();
            if row.len() > BYTES_MAX {
                return Err(Error::Invalid(format!("the secrets of a function may have {BYTES_MAX} bytes")));
            }
            RowChange::Put(row.into())
        };
        Ok(TableChange { table: TABLE.into(), key: name.to_string().into(), change })
    }

    /// After it was written.
    pub(super) fn keep(&self, name: &Name, values: Values) {
        let mut given = self.given.write();
        match values.is_empty() {
            true => drop(given.remove(&name.to_string())),
            false => drop(given.insert(name.to_string(), values)),
        }
    }
}
