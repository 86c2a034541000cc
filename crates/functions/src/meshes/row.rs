//! What is stored of meshes.
//!
//! | Table | Key | What |
//! |---|---|---|
//! | `meshes` | `mesh/<mesh>` | [`Head`]: what was asked for last |
//! | `meshes` | `before/<mesh>` | the head before it that was all applied, while it is not |
//! | `meshes` | `progress/<mesh>` | [`Progress`]: how far the last apply is |
//! | `mesh-nodes` | `<mesh>/<function>` | [`Applied`]: what was done for one function, source or sink, written with what was done |
//! | `mesh-secrets` | `<mesh>/<version>` | values of the Secret documents of a version |
//!
//! An apply that was cut short is gone on with from these: a step is done when its node's row says so.

use admin_api::mesh::{File, State, Step};
use bytes::Bytes;
use futures::{TryStreamExt, future::ready};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Name;
use crate::{
    Result, Tables,
    event_log::{Row, RowChange, TableChange, rows},
    worker::{self, Leftover, Stamp},
};

const MESHES: &str = "meshes";
const NODES: &str = "mesh-nodes";
const SECRETS: &str = "mesh-secrets";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Rises with each apply, and each time one is undone.
    pub(super) version: u64,
    pub(super) created_ms: u64,
    pub(super) changed_ms: u64,
    /// The manifest, without the values of secrets.
    pub(super) files: Vec<File>,
    pub(super) code: BTreeMap<String, String>,
    /// The version whose secrets these are: an undone apply has those of the version before.
    pub(super) secrets_of: u64,
}

/// How far the last apply is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) state: State,
    #[serde(default)]
    pub(super) error: String,
    pub(super) steps: Vec<Step>,
    #[serde(default)]
    pub(super) undone: Vec<Step>,
    pub(super) rolls_back: bool,
    pub(super) timeout_ms: u64,
}

/// What was done for one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Applied {
    /// The version of the mesh that did it last.
    pub(super) at: u64,
    /// The function as it was left; `None`: it is this mesh's, and was not made yet.
    pub(super) stamp: Option<Stamp>,
    /// How it was described.
    pub(super) node: mesh::Node,
    /// Its place in the order in which nodes are made.
    pub(super) order: usize,
    /// Subscriptions it had, for who goes back to what was before; nobody needs them once nothing is left to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<Leftover>,
}

/// Values of Secret documents: by the document's name and the key.
pub(super) type SecretDocuments = BTreeMap<String, BTreeMap<String, String>>;

/// All that is stored of one mesh.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) head: Head,
    pub(super) before: Option<Head>,
    pub(super) progress: Progress,
    pub(super) nodes: BTreeMap<worker::Name, Applied>,
}

fn change<T: Serialize>(table: &str, key: String, row: Option<&T>) -> Result<TableChange> {
    let change = match row {
        Some(row) => {
            RowChange::Put(serde_json::to_vec(row).map_err(|error| crate::Error::Invalid(error.to_string()))?.into())
        }
        None => RowChange::Delete,
    };
    Ok(TableChange { table: table.into(), key: key.into(), change })
}

pub(super) fn head(name: &Name, head: Option<&Head>) -> Result<TableChange> {
    change(MESHES, format!("mesh/{name}"), head)
}

pub(super) fn before(name: &Name, head: Option<&Head>) -> Result<TableChange> {
    change(MESHES, format!("before/{name}"), head)
}

pub(super) fn progress(name: &Name, progress: Option<&Progress>) -> Result<TableChange> {
    change(MESHES, format!("progress/{name}"), progress)
}

pub(super) fn node(name: &Name, function: &worker::Name, applied: Option<&Applied>) -> Result<TableChange> {
    change(NODES, format!("{name}/{function}"), applied)
}

pub(super) fn secrets(name: &Name, version: u64, values: Option<&SecretDocuments>) -> Result<TableChange> {
    change(SECRETS, format!("{name}/{version}"), values)
}

/// Values of the Secret documents of a version.
pub(super) async fn read_secrets(tables: &dyn Tables, name: &Name, version: u64) -> Result<SecretDocuments> {
    match tables.get(SECRETS, format!("{name}/{version}").as_bytes()).await? {
        None => Ok(SecretDocuments::new()),
        Some(row) => serde_json::from_slice(&row.value)
            .map_err(|_| crate::Error::Closed(format!("the secrets of mesh {name} cannot be read"))),
    }
}

/// Versions that have secrets.
pub(super) async fn secret_versions(tables: &dyn Tables, name: &Name) -> Result<Vec<u64>> {
    let prefix = format!("{name}/");
    let version = |key: &[u8]| std::str::from_utf8(key).ok()?.parse::<u64>().ok();
    let rows = rows(tables, SECRETS, prefix.as_bytes(), None);
    rows.try_filter_map(|(key, _)| ready(Ok(version(&key[prefix.len()..])))).try_collect().await
}

/// All meshes. One that cannot be read is reported and left alone: what it owns stays its own.
pub(super) async fn read(tables: &Arc<dyn Tables>) -> Result<(BTreeMap<Name, Stored>, BTreeSet<Name>)> {
    let (mut heads, mut befores, mut progresses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut damaged = BTreeSet::new();
    for (key, value) in all(&**tables, MESHES).await? {
        let Some((what, name)) = key.split_once('/') else { continue };
        let Ok(name) = name.parse::<Name>() else { continue };
        let is_read = match what {
            "mesh" => keep(&mut heads, &name, &value),
            "before" => keep(&mut befores, &name, &value),
            "progress" => keep(&mut progresses, &name, &value),
            _ => true,
        };
        if !is_read {
            tracing::error!(mesh = %name, what, "what is stored of a mesh is damaged");
            damaged.insert(name);
        }
    }
    let mut nodes: BTreeMap<Name, BTreeMap<worker::Name, Applied>> = BTreeMap::new();
    for (key, value) in all(&**tables, NODES).await? {
        let Some((name, function)) = split(&key) else { continue };
        if !keep(nodes.entry(name.clone()).or_default(), &function, &value) {
            tracing::error!(mesh = %name, %function, "what is stored of a part of a mesh is damaged");
            damaged.insert(name);
        }
    }
    let mut meshes = BTreeMap::new();
    for (name, head) in heads {
        let (before, progress) = (befores.remove(&name), progresses.remove(&name));
        match progress {
            Some(progress) if !damaged.contains(&name) => {
                let nodes = nodes.remove(&name).unwrap_or_default();
                meshes.insert(name, Stored { head, before, progress, nodes });
            }
            _ => drop(damaged.insert(name)),
        }
    }
    Ok((meshes, damaged))
}

fn keep<K: Ord + Clone, T: DeserializeOwned>(all: &mut BTreeMap<K, T>, key: &K, value: &[u8]) -> bool {
    serde_json::from_slice(value).map(|row| all.insert(key.clone(), row)).is_ok()
}

/// `mesh namespace/mesh/tenant/namespace/function`.
fn split(key: &str) -> Option<(Name, worker::Name)> {
    let [in_namespace, mesh, tenant, namespace, function] = key.split('/').collect::<Vec<_>>()[..] else { return None };
    Some((Name::new(in_namespace, mesh).ok()?, worker::Name::new(tenant, namespace, function).ok()?))
}

async fn all(tables: &dyn Tables, table: &str) -> Result<Vec<(String, Bytes)>> {
    let text = |(key, row): (Bytes, Row)| (String::from_utf8_lossy(&key).into_owned(), row.value);
    rows(tables, table, b"", None).map_ok(text).try_collect().await
}
