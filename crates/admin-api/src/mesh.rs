//! Meshes as resources: what is sent to `/admin/v3/meshes`, and what comes back. Geminga's own; Pulsar has none.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET /admin/v3/meshes` | [`Summary`] of each |
//! | `PUT /admin/v3/meshes/{namespace}/{name}` | takes a [`Request`], begins to apply it, answers 202 with [`Status`], without nodes |
//! | `GET .../{name}` | [`Manifest`]: what was applied, without the values of secrets |
//! | `DELETE .../{name}` | begins to delete all of it, answers likewise, or 204 when it is gone |
//! | `POST .../{name}/plan` | takes a [`Request`], changes nothing, answers [`Plan`] |
//! | `GET .../{name}/status` | [`Status`] |
//!
//! A mesh is named as Kubernetes names it, by `metadata.namespace` and `metadata.name`, not by a tenant: its functions may be in several.
//! `?nodes=false` of status leaves out how the nodes do; then it is cheap to ask for again and again. `?wait=SECONDS` of PUT, DELETE and status answers when nothing is under way any more, or when so much time has passed.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How the version of a package begins that was uploaded for meshes: its SHA-256 follows. It goes when no mesh names it any more.
pub const UPLOADED: &str = "mesh-sha256-";

/// What is to be applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The manifest: documents of YAML.
    pub files: Vec<File>,
    /// Where code is that the manifest names by a path of the client's machine: by that path, as it is written, a URL such as
    /// `function://public/default/exclaim.py@mesh-sha256-...`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub code: BTreeMap<String, String>,
    /// Only if this is the mesh's version now; 0: only if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Functions of these names that no mesh made become this mesh's.
    #[serde(default)]
    pub adopt: bool,
    /// When it fails, all is made again as it was before.
    #[serde(default)]
    pub rollback: bool,
    /// How long instances may take to come up, in milliseconds; then it has failed. 120 seconds when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A part of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// As messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One mesh among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Rises with each apply.
    pub version: u64,
    /// How it stands.
    pub state: State,
    /// Functions, sources and sinks.
    pub nodes: usize,
    /// Of these, those that run as they should.
    pub ready: usize,
    /// Wall clock, milliseconds.
    pub changed_ms: u64,
}

/// How a mesh stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Steps are being done, or instances are awaited.
    Applying,
    /// All is as the manifest says.
    Applied,
    /// A step could not be done, or instances did not come up. What was done stays; apply it again to go on.
    Failed,
    /// A step could not be done; what was done is being undone.
    RollingBack,
    /// It is as it was before the apply that failed.
    RolledBack,
    /// It goes.
    Deleting,
    /// It should be gone, but something could not be deleted; delete it again.
    DeleteFailed,
}

impl State {
    /// Whether something is under way.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Applying | Self::RollingBack | Self::Deleting)
    }

    /// Whether something went wrong.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::RollingBack | Self::RolledBack | Self::DeleteFailed)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::RollingBack => "rolling back",
            Self::RolledBack => "rolled back",
            Self::Deleting => "deleting",
            Self::DeleteFailed => "delete failed",
        })
    }
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Which.
    pub version: u64,
    /// The manifest; the values in Secret documents are empty.
    pub files: Vec<File>,
    /// As in the [`Request`].
    pub code: BTreeMap<String, String>,
}

/// What an apply would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version it is made against; 0: there is no such mesh.
    pub version: u64,
    /// In their order.
    pub steps: Vec<Step>,
    /// Functions, sources and sinks that stay as they are.
    pub unchanged: Vec<String>,
}

/// What is done to a function, source or sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It is not there.
    Create,
    /// It differs; instances are replaced one after the other.
    Update,
    /// It differs in how it scales; nothing restarts.
    Scale,
    /// It is no part of the mesh any more.
    Delete,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Scale => "scale",
            Self::Delete => "delete",
        })
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// Not begun.
    #[default]
    Waiting,
    /// Being done.
    Running,
    /// Done; instances are not all up yet.
    Starting,
    /// Done.
    Done,
    /// It went wrong.
    Failed,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Done => "done",
            Self::Failed => "failed",
        })
    }
}

/// One step of an apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// `function`, `source` or `sink`.
    pub kind: String,
    /// `tenant/namespace/name`.
    pub name: String,
    /// For an update or a scaling: what differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// How far it is.
    #[serde(default)]
    pub progress: Progress,
    /// What went wrong, or what it waits for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// A path within the configuration such as `userConfig.strategy`, or `code`, `secrets`, `replicas`, `scaling`, or `byHand`: somebody
    /// else changed the function.
    pub field: String,
    /// What there is; absent where it is nothing, or is not told.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub old: Value,
    /// What is wanted, likewise.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub new: Value,
}

/// How a mesh does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Of the last apply.
    pub version: u64,
    /// How it stands.
    pub state: State,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Wall clock of the last apply, milliseconds.
    pub changed_ms: u64,
    /// Of the last apply or deletion.
    pub steps: Vec<Step>,
    /// What was done to undo them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<Step>,
    /// What it is made of, upstream first.
    pub nodes: Vec<Node>,
}

/// How one function, source or sink of a mesh does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// `function`, `source` or `sink`.
    pub kind: String,
    /// `tenant/namespace/name`.
    pub name: String,
    /// In a word: `running`, `starting`, `asleep`, `stopped`, `failing`, `missing`, `changed by hand`.
    pub state: String,
    /// Instances there should be.
    pub wanted: u32,
    /// Instances that run.
    pub running: u32,
    /// Messages per second published to its inputs; none for a source, or where it is not known.
    pub in_per_s: Option<f64>,
    /// Messages per second it is done with.
    pub processed_per_s: Option<f64>,
    /// Messages per second it published.
    pub out_per_s: Option<f64>,
    /// Messages that wait on its inputs; none for a source.
    pub backlog: Option<u64>,
    /// Age of the oldest of them, milliseconds.
    pub oldest_ms: Option<u64>,
    /// What its scaler decided last, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What one of its instances should request, where it has a `vpa` and something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<autoscale::vpa::Recommendation>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A scaler's decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Wall clock, milliseconds.
    pub at_ms: u64,
    /// Who decided: the name of a policy, `wake`, or `person`.
    pub by: String,
    /// Instances before.
    pub from: u32,
    /// Instances after.
    pub to: u32,
    /// In camel case, as Kubernetes has them.
    pub code: String,
    /// With the numbers that led to it.
    pub text: String,
}
