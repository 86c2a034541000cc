//! What is wrong between nodes: each may make sense, and all together not.

mod schemas;
mod topics;

use crate::{
    graph::Graph,
    manifest::Manifest,
    node::{Id, Role},
    problem::{At, Problem, Problems},
    yaml::Room,
};
use std::collections::BTreeMap;

/// All that is wrong with some files, in the order in which it is written: what [`Manifest::parse_all`] finds, and what its nodes are
/// to each other.
#[must_use]
pub fn check(files: &[&str]) -> (Manifest, Vec<Problem>) {
    let mut problems = Problems::default();
    let manifest = Manifest::read(files, &mut Room::default(), &mut problems);
    together(&manifest, &mut problems);
    (manifest, problems.into_sorted())
}

fn together(manifest: &Manifest, problems: &mut Problems) {
    if !manifest.has_ours() && problems.has_none_within(At::default()) {
        // An empty pipe, a template that came to nothing.
        problems.warning(At { file: 0, line: 1, column: 1 }, "there is no function, no source and no sink");
    }
    let graph = Graph::of(&manifest.nodes);
    names(manifest, problems);
    topics::unread(manifest, &graph, problems);
    topics::subscriptions(manifest, problems);
    topics::idle(manifest, problems);
    cycles(manifest, &graph, problems);
    schemas::check(manifest, &graph, problems);
}

/// Names are shared by the three kinds: their subscriptions and their state are by name alone.
fn names(manifest: &Manifest, problems: &mut Problems) {
    let mut seen: BTreeMap<String, (Id, At)> = BTreeMap::new();
    for (node, places) in manifest.nodes.iter().zip(&manifest.places) {
        let id = node.id();
        if node.local_name().is_empty() {
            continue;
        }
        match seen.get(&id.name) {
            Some((first, at)) if first.kind == id.kind => {
                problems.error(places.name, format!("{id} is here a second time, first in {}", line(*at, places.name)));
            }
            Some((first, at)) => {
                let text = format!(
                    "{id} has the name of the {first} in {}: the three kinds share their names",
                    line(*at, places.name)
                );
                problems.error(places.name, text);
            }
            None => drop(seen.insert(id.name.clone(), (id, places.name))),
        }
    }
}

/// A place as another place's message names it.
fn line(at: At, from: At) -> String {
    if at.file == from.file { format!("line {}", at.line) } else { format!("line {} of file {}", at.line, at.file + 1) }
}

/// Messages that go round: for ever, where nothing drops them.
fn cycles(manifest: &Manifest, graph: &Graph, problems: &mut Problems) {
    for cycle in &graph.cycles {
        let Some(first) = cycle.first() else { continue };
        let vertex = &graph.nodes[*first];
        let is_within = |topic: usize| graph.topics[topic].readers.iter().any(|reader| cycle.contains(reader));
        let matched = |topic: usize| vertex.patterns.iter().any(|pattern| pattern.matches.contains(&topic));
        // A node that names one topic as input and as output is refused by the worker's own rules.
        if cycle.len() == 1 && !vertex.writes.iter().any(|(topic, _)| matched(*topic)) {
            continue;
        }
        let names: Vec<&str> = cycle.iter().take(8).map(|node| graph.nodes[*node].id.name.as_str()).collect();
        let more = if cycle.len() > 8 { " -> ..." } else { "" };
        let route = format!("{}{more} -> {}", names.join(" -> "), vertex.id.name);
        let by_results = cycle.iter().all(|node| {
            graph.nodes[*node].writes.iter().any(|(topic, role)| *role == Role::Output && is_within(*topic))
        });
        let role = vertex.writes.iter().find(|(topic, _)| is_within(*topic)).map_or(Role::Output, |(_, role)| *role);
        let at = manifest.places[*first].outputs.get(&role).copied().unwrap_or(manifest.nodes[*first].origin);
        if by_results {
            problems.error(at, format!("a cycle: {route}: what goes out comes in again, for ever"));
        } else {
            problems.warning(
                at,
                format!("a cycle by dead letters or late data: {route}: what always fails goes round for ever"),
            );
        }
    }
}
