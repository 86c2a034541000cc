//! What came with a function and is kept apart from its configuration: values of secrets, and the environment of its processes. A row of
//! the table `function-secrets` and one of `function-env` for each function that has some. Secrets that did not come with it, the node's
//! own [`Secrets`] find.
//!
//! Only instances of the function see the values; no answer and no log has them. On disk they are as they are, like everything else.

use futures::TryStreamExt;
use std::{collections::BTreeMap, sync::Arc};

use super::{Name, Secrets};
use crate::{
    Error, FunctionSpec, Result, Tables,
    event_log::{RowChange, TableChange, rows},
    runtime::Secret,
};

/// The tables.
const SECRETS: &str = "function-secrets";
const ENV: &str = "function-env";
/// Bytes of all secrets of one function, and of all its environment.
const BYTES_MAX: usize = 512 * 1024;

/// Values that nobody should see, by name.
pub type Values = BTreeMap<String, Secret>;

/// What a function is given besides its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// By the names its code uses: values of secrets.
    pub secrets: Values,
    /// What its processes find in their environment.
    pub env: Values,
}

/// See the module.
pub(super) struct Vault {
    outside: Arc<dyn Secrets>,
    given: parking_lot::RwLock<BTreeMap<String, Apart>>,
}

impl Vault {
    pub(super) async fn open(tables: &dyn Tables, outside: Arc<dyn Secrets>) -> Result<Self> {
        let mut given: BTreeMap<String, Apart> = BTreeMap::new();
        for (function, secrets) in read(tables, SECRETS).await? {
            given.entry(function).or_default().secrets = secrets;
        }
        for (function, env) in read(tables, ENV).await? {
            given.entry(function).or_default().env = env;
        }
        Ok(Self { outside, given: parking_lot::RwLock::new(given) })
    }

    /// What an instance gets.
    pub(super) fn resolve(&self, spec: &FunctionSpec) -> Result<Apart, String> {
        let given = self.given.read().get(&spec.fqfn()).cloned().unwrap_or_default();
        self.resolve_with(spec, given)
    }

    /// What it would get with these values.
    pub(super) fn resolve_with(&self, spec: &FunctionSpec, given: Apart) -> Result<Apart, String> {
        let (mut secrets, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (name, place) in &spec.secrets {
            match given.secrets.get(name) {
                Some(value) => drop(secrets.insert(name.clone(), value.clone())),
                None => drop(rest.insert(name.clone(), place.clone())),
            }
        }
        secrets.extend(self.outside.resolve(&spec.tenant, &rest)?);
        Ok(Apart { secrets, env: given.env })
    }

    pub(super) fn of(&self, name: &Name) -> Apart {
        self.given.read().get(&name.to_string()).cloned().unwrap_or_default()
    }

    /// What to write so that these are a function's values.
    pub(super) fn changes(name: &Name, apart: &Apart) -> Result<[TableChange; 2]> {
        Ok([change(SECRETS, "the secrets", name, &apart.secrets)?, change(ENV, "the environment", name, &apart.env)?])
    }

    /// After it was written.
    pub(super) fn keep(&self, name: &Name, apart: Apart) {
        let mut given = self.given.write();
        match apart == Apart::default() {
            true => drop(given.remove(&name.to_string())),
            false => drop(given.insert(name.to_string(), apart)),
        }
    }
}

async fn read(tables: &dyn Tables, table: &str) -> Result<BTreeMap<String, Values>> {
    let mut all = BTreeMap::new();
    let mut rows = rows(tables, table, b"", None);
    while let Some((key, row)) = rows.try_next().await? {
        let key = String::from_utf8_lossy(&key).into_owned();
        match serde_json::from_slice::<BTreeMap<String, String>>(&row.value) {
            Ok(values) => drop(all.insert(key, values.into_iter().map(|(k, v)| (k, Secret(v))).collect())),
            // Its secrets are then looked for where the node's own are; that its environment is missing, nothing else says.
            Err(_) => tracing::error!(function = key, table, "what is kept of a function cannot be read"),
        }
    }
    Ok(all)
}

fn change(table: &str, what: &str, name: &Name, values: &Values) -> Result<TableChange> {
    let change = if values.is_empty() {
        RowChange::Delete
    } else {
        let plain: BTreeMap<&String, &String> = values.iter().map(|(name, Secret(value))| (name, value)).collect();
        // Texts always are JSON.
        let row = serde_json::to_vec(&plain).unwrap_or_default();
        if row.len() > BYTES_MAX {
            return Err(Error::Invalid(format!("{what} of a function may have {BYTES_MAX} bytes")));
        }
        RowChange::Put(row.into())
    };
    Ok(TableChange { table: table.into(), key: name.to_string().into(), change })
}
