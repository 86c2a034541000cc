//! Topics that lead nowhere, subscriptions that are shared, instances that cannot work.

use crate::{
    graph::Graph,
    manifest::Manifest,
    node::Role,
    problem::{Problems, Severity, quoted},
};
use model::{SubscriptionType, TopicName, function::distance};
use std::collections::BTreeMap;

/// Inputs nobody writes and outputs nobody reads: the edge of the application, or a slip of the hand.
pub(super) fn unread(manifest: &Manifest, graph: &Graph, problems: &mut Problems) {
    // A node that stands alone is all edge.
    let severity = if manifest.nodes.len() > 1 { Severity::Warning } else { Severity::Note };
    let loose = |written: bool| -> Vec<&str> {
        let topics = graph.topics.iter().filter(|topic| {
            let has_writer = topic.writers.iter().any(|(_, role)| *role != Role::Log);
            if written { has_writer && topic.readers.is_empty() } else { !has_writer && !topic.readers.is_empty() }
        });
        topics.map(|topic| topic.name.as_str()).collect()
    };
    let (unread, unwritten) = (loose(true), loose(false));
    for topic in &graph.topics {
        let name = topic.name.as_str();
        if topic.writers.is_empty() {
            for reader in &topic.readers {
                let writes: Vec<&str> =
                    graph.nodes[*reader].writes.iter().map(|(topic, _)| graph.topics[*topic].name.as_str()).collect();
                let near =
                    meant(name, &unread, &writes).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                let at = place(manifest, *reader, name);
                problems.add(
                    at,
                    severity,
                    format!("{}: nobody here writes {}{near}", graph.nodes[*reader].id, quoted(name)),
                );
            }
        }
        if topic.readers.is_empty() {
            let writers = topic.writers.iter().filter(|(_, role)| *role == Role::Output);
            for (writer, role) in writers {
                let reads: Vec<&str> =
                    graph.nodes[*writer].reads.iter().map(|topic| graph.topics[*topic].name.as_str()).collect();
                let near =
                    meant(name, &unwritten, &reads).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                let at = manifest.places[*writer].outputs.get(role).copied().unwrap_or(manifest.nodes[*writer].origin);
                problems.add(
                    at,
                    severity,
                    format!("{}: nobody here reads {}{near}", graph.nodes[*writer].id, quoted(name)),
                );
            }
        }
    }
    for (node, vertex) in graph.nodes.iter().enumerate() {
        for pattern in vertex.patterns.iter().filter(|pattern| pattern.matches.is_empty()) {
            let at = place(manifest, node, &pattern.text);
            let text = if pattern.is_unreadable {
                format!("{}: what the pattern {} matches cannot be told here", vertex.id, quoted(&pattern.text))
            } else {
                format!("{}: the pattern {} matches nothing that is written here", vertex.id, quoted(&pattern.text))
            };
            problems.add(at, if pattern.is_unreadable { Severity::Note } else { severity }, text);
        }
    }
}

/// A topic of the same namespace that differs by a slip or two, and is none of the node's own.
fn meant<'a>(name: &str, others: &[&'a str], own: &[&str]) -> Option<&'a str> {
    let (parent, local) = name.rsplit_once('/')?;
    let slips = |other: &&'a str| {
        let (of, other) = other.rsplit_once('/')?;
        Some(distance(local, other)).filter(|slips| of == parent && *slips <= (local.chars().count() / 3).min(2))
    };
    let near = others.iter().filter(|other| !own.contains(other)).filter_map(|other| Some((slips(other)?, *other)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, other)| other)
}

/// Where a node names a topic that it reads.
fn place(manifest: &Manifest, node: usize, topic: &str) -> crate::At {
    let places = &manifest.places[node];
    let base = |name: &str| name.parse::<TopicName>().map(|name| name.partitioned().to_string());
    let named = places.inputs.iter().find(|(name, _)| *name == topic || base(name).as_deref() == Ok(topic));
    named.map_or(manifest.nodes[node].origin, |(_, at)| *at)
}

/// Two nodes on one subscription: each message goes to one of them.
pub(super) fn subscriptions(manifest: &Manifest, problems: &mut Problems) {
    let mut seen: BTreeMap<(String, String), (usize, SubscriptionType)> = BTreeMap::new();
    for (index, node) in manifest.nodes.iter().enumerate() {
        let Some((subscription, kind)) = node.subscription() else { continue };
        for input in node.inputs() {
            let Some((other, as_kind)) = seen.get(&(input.topic.clone(), subscription.clone())).copied() else {
                seen.insert((input.topic, subscription.clone()), (index, kind));
                continue;
            };
            let other = &manifest.nodes[other];
            if other.id() == node.id() {
                continue;
            }
            let at = manifest.places[index].subscription;
            let (topic, name) = (quoted(&input.topic), quoted(&subscription));
            if kind == as_kind {
                let text = format!(
                    "{} and {} share the subscription {name} of {topic}: each message goes to one of them",
                    other.id(),
                    node.id()
                );
                problems.warning(at, text);
            } else {
                let text = format!(
                    "{} reads {topic} by {name} as {}, {} as {}: the second cannot subscribe",
                    other.id(),
                    as_kind.name(),
                    node.id(),
                    kind.name()
                );
                problems.error(at, text);
            }
        }
    }
}

/// Instances beyond the partitions of an ordered input only wait for another to fail.
pub(super) fn idle(manifest: &Manifest, problems: &mut Problems) {
    for (node, places) in manifest.nodes.iter().zip(&manifest.places) {
        let Some((_, kind)) = node.subscription().filter(|(_, kind)| kind.is_single_active()) else { continue };
        let instances = node.replicas_max();
        let inputs = node.inputs();
        if instances <= 1 || inputs.is_empty() {
            continue;
        }
        let partition = |topic: &str| topic.parse::<TopicName>().ok().and_then(|topic| topic.partition());
        let are_all_partitions =
            inputs.iter().all(|input| !input.spec.regex_pattern && partition(&input.topic).is_some());
        let why = format!(
            "{}: its order makes the subscription {}, where one instance works on a partition",
            node.id(),
            kind.name()
        );
        if are_all_partitions && u32::try_from(inputs.len()).is_ok_and(|usable| usable < instances) {
            problems.warning(places.replicas, format!("{why}; of {instances} instances {} can work", inputs.len()));
        } else if !are_all_partitions {
            problems.warning(
                places.replicas,
                format!("{why}; {instances} instances need as many partitions, which a manifest does not tell"),
            );
        }
    }
}
