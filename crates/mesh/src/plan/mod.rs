//! What would have to be done so that what runs becomes what is wanted.

mod text;

use crate::{
    graph::Graph,
    node::{Config, Id, Node},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Steps in the order in which nothing is lost: what reads a topic is made before what writes it; what goes, goes after what it reads
/// from, so that what was written is worked off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In their order; what stays as it is comes last.
    pub steps: Vec<Step>,
}

/// What is done to one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub action: Action,
    /// To whom.
    #[serde(flatten)]
    pub id: Id,
    /// For an update: what differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It is not there.
    Create,
    /// It differs.
    Update,
    /// It is not wanted any more; it finishes what it has begun.
    Delete,
    /// It is as it should be.
    Unchanged,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// A path such as `userConfig.strategy`.
    pub field: String,
    /// What there is; absent where it is nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub old: Value,
    /// What is wanted; absent where it is nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub new: Value,
}

impl Plan {
    /// The plan that leads from one to the other. Both are told apart by kind and name; of several with the same, the last counts.
    #[must_use]
    pub fn between(applied: &[Node], wanted: &[Node]) -> Self {
        let is = by_id(applied);
        let shall = by_id(wanted);
        let mut steps = Vec::new();
        // A name that changes its kind must be free first.
        let shared = |id: &Id| shall.keys().any(|other| other.name == id.name && other.kind != id.kind);
        let gone: Vec<&Node> = is.iter().filter(|(id, _)| !shall.contains_key(id)).map(|(_, node)| *node).collect();
        let deletions = Graph::of(gone.iter().copied()).upstream_first();
        let deletions: Vec<Step> = deletions.into_iter().map(|at| Step::plain(Action::Delete, gone[at].id())).collect();
        let (first, last): (Vec<_>, Vec<_>) = deletions.into_iter().partition(|step| shared(&step.id));
        steps.extend(first);
        let nodes: Vec<&Node> = shall.values().copied().collect();
        let mut unchanged = Vec::new();
        for at in Graph::of(nodes.iter().copied()).downstream_first() {
            let id = nodes[at].id();
            match is.get(&id) {
                None => steps.push(Step::plain(Action::Create, id)),
                Some(old) => {
                    let changes = changes(old, nodes[at]);
                    if changes.is_empty() {
                        unchanged.push(Step::plain(Action::Unchanged, id));
                    } else {
                        steps.push(Step { action: Action::Update, id, changes });
                    }
                }
            }
        }
        steps.extend(last);
        steps.extend(unchanged);
        Self { steps }
    }

    /// Whether all is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Unchanged)
    }

    /// How many steps do this.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}

impl Step {
    fn plain(action: Action, id: Id) -> Self {
        Self { action, id, changes: Vec::new() }
    }
}

fn by_id(nodes: &[Node]) -> BTreeMap<Id, &Node> {
    nodes.iter().map(|node| (node.id(), node)).collect()
}

/// What differs between two versions of a node, of what has an effect here.
#[must_use]
pub fn changes(old: &Node, new: &Node) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", &effective(old), &effective(new), &mut changes);
    changes
}

/// All of a node that has an effect here.
fn effective(node: &Node) -> Value {
    let config = match &node.config {
        Config::Function(config) => serde_json::to_value(config),
        Config::Source(config) => serde_json::to_value(config),
        Config::Sink(config) => serde_json::to_value(config),
    };
    // Maps with text keys and finite numbers always are JSON.
    let mut value = config.unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        // Told as `replicas` and `scaling`.
        fields.remove("parallelism");
        fields.insert("replicas".to_owned(), json!(node.replicas));
        fields.insert("scaling".to_owned(), json!(node.scaling));
        fields.insert("limits".to_owned(), json!(node.limits));
        fields.insert("env".to_owned(), json!(node.env));
        let digest = node.code.as_ref().and_then(|code| code.digest.as_ref());
        fields.insert("code".to_owned(), json!(digest.map(|digest| format!("sha256:{digest}"))));
    }
    value
}

fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    if !is_mapping(old) || !is_mapping(new) {
        return changes.push(Change { field: path.to_owned(), old: old.clone(), new: new.clone() });
    }
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let at = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        compare(&path, &at(old), &at(new), changes);
    }
}

/// Whether it is compared name by name: a mapping, or nothing.
fn is_mapping(value: &Value) -> bool {
    value.is_object() || value.is_null()
}
