//! What is stored of one function: a row of the table `functions`, with the key `kind/tenant/namespace/name`.

use autoscale::{
    Quantity,
    vpa::{self, Requirements},
};
use futures::TryStreamExt;
use model::function::Resources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::{Config, Name, plan::Slot, scaling::Scaling};
use crate::{
    Result, Tables,
    event_log::{RowChange, TableChange, rows},
    packages::BlobId,
};

/// The table.
const TABLE: &str = "functions";

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: RowName,
    pub(super) config: Config,
    pub(super) code: CodeRef,
    /// The code of the version before, which instances may use until the last of them is replaced.
    #[serde(default)]
    pub(super) code_before: Option<CodeRef>,
    /// Another for each function, even one of the same name.
    pub(super) id: String,
    pub(super) version: u64,
    pub(super) created_ms: u64,
    /// Instances that are not to run.
    #[serde(default)]
    pub(super) stopped: BTreeSet<u32>,
    /// Instances there should be where that is not what the configuration says.
    #[serde(default)]
    pub(super) scaled_to: Option<u32>,
    /// How it scales by itself, and what a person said of that.
    #[serde(default, skip_serializing_if = "Scaling::is_nothing")]
    pub(super) scaling: Scaling,
    /// What one instance may never exceed, where that is not what it is expected to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Resources>,
    /// What instances are started with, where a VPA found out better than what is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<Requirements>,
    /// It is on its way out; a process that finds it so finishes that.
    #[serde(default)]
    pub(super) is_going: bool,
}

/// A name as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RowName(String, String, String);

/// Which code it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodeRef {
    Blob(BlobId),
    Builtin(String),
    Command(Vec<String>),
}

impl CodeRef {
    pub(super) fn blob(&self) -> Option<&BlobId> {
        match self {
            Self::Blob(blob) => Some(blob),
            Self::Builtin(_) | Self::Command(_) => None,
        }
    }
}

impl Row {
    pub(super) fn new(name: &Name, config: Config, code: CodeRef, id: String, now_ms: u64) -> Self {
        Self {
            name: RowName(name.tenant.clone(), name.namespace.clone(), name.name.clone()),
            config,
            code,
            code_before: None,
            id,
            version: 0,
            created_ms: now_ms,
            stopped: BTreeSet::new(),
            scaled_to: None,
            scaling: Scaling::default(),
            limits: None,
            size: None,
            is_going: false,
        }
    }

    pub(super) fn name(&self) -> Name {
        let RowName(tenant, namespace, name) = self.name.clone();
        Name { tenant, namespace, name }
    }

    /// How many instances there should be.
    pub(super) fn instances(&self) -> u32 {
        if let Some(pinned) = self.scaling.pinned {
            return pinned;
        }
        let instances = self.scaled_to.unwrap_or_else(|| self.config.parallelism());
        match &self.scaling.spec {
            Some(spec) => instances.max(spec.min_replicas).min(spec.max_replicas),
            None => instances,
        }
    }

    /// What one instance asks for and may have, as it is declared; where nothing says what it may have, that is what it asks for.
    pub(super) fn declared(&self) -> Requirements {
        let of = |resources: Option<&Resources>| vpa::Resources {
            cpu: resources.and_then(|of| of.cpu).map(|cores| Quantity::from_millis((cores * 1000.0).round() as i64)),
            memory: resources.and_then(|of| of.ram).map(Quantity::from_units),
        };
        let requests = self.config.resources();
        Requirements { requests: of(requests), limits: of(self.limits.as_ref().or(requests)) }
    }

    /// What is wanted of each instance, given how often restarts of each were asked for.
    pub(super) fn slots(&self, restarts: impl Fn(u32) -> u64) -> Vec<Slot> {
        let slot = |id| Slot { is_stopped: self.stopped.contains(&id), restarts: restarts(id) };
        (0..self.instances()).map(slot).collect()
    }

    fn key(&self) -> String {
        format!("{}/{}", self.config.kind(), self.name())
    }

    fn change(&self, change: RowChange) -> Vec<TableChange> {
        vec![TableChange { table: TABLE.into(), key: self.key().into(), change }]
    }

    /// What to write so that it is there.
    pub(super) fn put(&self) -> Result<Vec<TableChange>> {
        let value = serde_json::to_vec(self).map_err(|error| crate::Error::Invalid(error.to_string()))?;
        Ok(self.change(RowChange::Put(value.into())))
    }

    /// What to write so that it is gone.
    pub(super) fn deletion(&self) -> Vec<TableChange> {
        self.change(RowChange::Delete)
    }

    pub(super) async fn write(&self, tables: &dyn Tables) -> Result<()> {
        tables.write(self.put()?).await
    }
}

/// All rows, and the keys of those that cannot be read: these are reported and left alone, since the others are of use without them.
pub(super) async fn read(tables: &dyn Tables) -> Result<(Vec<Row>, BTreeSet<String>)> {
    let (mut all, mut damaged) = (Vec::new(), BTreeSet::new());
    let mut rows = rows(tables, TABLE, b"", None);
    while let Some((key, row)) = rows.try_next().await? {
        match serde_json::from_slice(&row.value) {
            Ok(row) => all.push(row),
            Err(error) => {
                let key = String::from_utf8_lossy(&key).into_owned();
                tracing::error!(key, %error, "the row of a function is damaged; no package is removed until it can be read");
                damaged.insert(key);
            }
        }
    }
    Ok((all, damaged))
}
