//! What to do so that what was applied becomes what is wanted. Pure: values in, steps out.
//!
//! `mesh::Plan` compares the two as they are written. Here comes to it what only the server knows: which secrets a function has, and
//! what somebody else did to it.

use admin_api::mesh::{Action, Change, Progress, Step};
use serde_json::Value;
use std::collections::BTreeMap;

use super::{
    goal::{Goal, kind, name},
    row::Applied,
};
use crate::{
    Kind,
    worker::{self, Stamp},
};

/// What is known of the functions that are there.
pub(super) trait Actual {
    /// Which function of this kind has the name.
    fn stamp(&self, kind: Kind, name: &worker::Name) -> Option<Stamp>;
    /// What it was given that is kept apart.
    fn apart(&self, name: &worker::Name) -> worker::Apart;
    /// By which rules it scales.
    fn scaling(&self, kind: Kind, name: &worker::Name) -> Option<autoscale::Spec>;
}

/// What of a node changes how many instances there are, and nothing else.
const SCALES: [&str; 2] = ["replicas", "scaling"];

/// Characters of a value that are told.
const VALUE_CHARS_MAX: usize = 200;

/// Steps in their order: what is made or changed comes after what it writes to, so that nothing it publishes is missed; what goes, goes
/// after what writes to it, so that it can finish.
pub(super) fn steps(goal: &Goal, applied: &BTreeMap<worker::Name, Applied>, actual: &impl Actual) -> Vec<Step> {
    let is_there = |row: &&Applied| {
        row.stamp.is_some() && name(&row.node).is_ok_and(|name| actual.stamp(kind(&row.node), &name).is_some())
    };
    // What should be there and is not is made again; what should not be there and is not is forgotten as what is.
    let counts = |(name, row): &(&worker::Name, &Applied)| is_there(row) || !goal.has(name);
    let is: Vec<mesh::Node> = applied.iter().filter(counts).map(|(_, row)| row.node.clone()).collect();
    let shall: Vec<mesh::Node> = goal.nodes().map(|(_, wish)| wish.node.clone()).collect();
    let plan = mesh::Plan::between(&is, &shall);
    let mut steps: Vec<((u8, usize), Step)> = Vec::new();
    for (at, planned) in plan.steps.into_iter().enumerate() {
        let Some((kind, name)) = subject(&planned.id) else { continue };
        let wish = goal.get(&name).filter(|(_, wish)| wish.kind == kind);
        let (action, changes) = match (planned.action, wish) {
            (mesh::Action::Create, _) => (Action::Create, Vec::new()),
            (mesh::Action::Delete, _) | (_, None) => (Action::Delete, Vec::new()),
            (mesh::Action::Update | mesh::Action::Unchanged, Some((_, wish))) => {
                let mut changes: Vec<Change> = planned.changes.into_iter().map(told).collect();
                if let Some(row) = applied.get(&name) {
                    let given = actual.apart(&name);
                    let is_env_told = changes.iter().any(|change| change.field.starts_with("env"));
                    if given.secrets != wish.apart.secrets {
                        changes.push(untold("secrets"));
                    }
                    if given.env != wish.apart.env && !is_env_told {
                        changes.push(untold("env"));
                    }
                    if actual.stamp(kind, &name) != row.stamp {
                        changes.push(untold("byHand"));
                    }
                    let is_scaling_told = changes.iter().any(|change| change.field.starts_with("scaling"));
                    if !is_scaling_told && actual.scaling(kind, &name) != wish.node.scaling {
                        changes.push(untold("scaling"));
                    }
                }
                if changes.is_empty() {
                    continue;
                }
                let field = |change: &Change| change.field.split('.').next().unwrap_or_default().to_owned();
                let only_scales = changes.iter().all(|change| SCALES.contains(&field(change).as_str()));
                (if only_scales { Action::Scale } else { Action::Update }, changes)
            }
        };
        // As in the plan; but what it takes for unchanged and is not goes among what changes.
        let order = match (action, goal.get(&name)) {
            (Action::Delete, Some(_)) => (0, at),
            (Action::Delete, None) => (2, at),
            (_, place) => (1, place.map_or(at, |(place, _)| place)),
        };
        let step = Step {
            action,
            kind: kind.as_str().to_owned(),
            name: name.to_string(),
            changes,
            progress: Progress::Waiting,
            message: String::new(),
        };
        steps.push((order, step));
    }
    steps.sort_by_key(|(order, _)| *order);
    steps.into_iter().map(|(_, step)| step).collect()
}

fn subject(id: &mesh::Id) -> Option<(Kind, worker::Name)> {
    let kind = match id.kind {
        mesh::Kind::Function => Kind::Function,
        mesh::Kind::Source => Kind::Source,
        mesh::Kind::Sink => Kind::Sink,
    };
    let [tenant, namespace, name] = id.name.split('/').collect::<Vec<_>>()[..] else { return None };
    Some((kind, worker::Name::new(tenant, namespace, name).ok()?))
}

/// An environment may hold what only its function is to know: that it changes is told, not what it is.
fn told(change: mesh::Change) -> Change {
    if change.field.starts_with("env") {
        return untold(&change.field);
    }
    Change { field: change.field, old: shortened(change.old), new: shortened(change.new) }
}

/// A value that can be told; of a long one its beginning.
fn shortened(value: Value) -> Value {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => value,
    }
}

/// A difference of what is not shown.
fn untold(field: &str) -> Change {
    Change { field: field.to_owned(), old: Value::Null, new: Value::Null }
}
