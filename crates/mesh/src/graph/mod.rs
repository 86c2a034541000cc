//! The mesh as a graph: nodes that write topics, topics that are read by nodes.
//!
//! A manifest has no edges; a topic that one node writes and another reads is one. Topics go by their complete names and
//! partitions by their topic; a pattern reads every topic of the mesh that it matches. So a graph has as many edges as there are
//! reads and writes, however many nodes share a topic.

mod draw;
mod layers;
mod pattern;
mod text;

use crate::node::{Id, Input, Node, Role};
use model::TopicName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Who writes what for whom. Nodes and topics go by their index.
#[derive(Clone, Debug)]
pub struct Graph {
    /// In the order they were given.
    pub nodes: Vec<Vertex>,
    /// By name.
    pub topics: Vec<Topic>,
    /// Nodes by layer: those of the first read nothing that another writes; the others read only what earlier ones write. Nodes of a
    /// cycle share a layer.
    pub layers: Vec<Vec<usize>>,
    /// Nodes that read, over some steps, what they write.
    pub cycles: Vec<Vec<usize>>,
}

/// A function, source or sink.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// Which.
    pub id: Id,
    /// Instances at least and at most.
    pub replicas: (u32, u32),
    /// Topics it writes.
    pub writes: Vec<(usize, Role)>,
    /// Topics it reads, those that a pattern matches too.
    pub reads: Vec<usize>,
    /// Patterns it reads by.
    pub patterns: Vec<Pattern>,
    /// Its place in [`Graph::layers`].
    pub layer: usize,
}

/// A pattern, and what of the mesh's own topics it matches.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As it is written, completed.
    pub text: String,
    /// Topics.
    pub matches: Vec<usize>,
    /// It is no expression that can be read here, so that nothing is known to match.
    pub is_unreadable: bool,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Complete, such as `persistent://public/default/orders`.
    pub name: String,
    /// Nodes that write it, and what for.
    pub writers: Vec<(usize, Role)>,
    /// Nodes that read it.
    pub readers: Vec<usize>,
}

impl Graph {
    /// The graph of some nodes.
    #[must_use]
    pub fn of<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Self {
        let nodes: Vec<&Node> = nodes.into_iter().collect();
        let io: Vec<_> = nodes.iter().map(|node| (node.inputs(), node.outputs())).collect();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (inputs, outputs) in &io {
            names.extend(inputs.iter().filter(|input| !input.spec.regex_pattern).map(|input| base(&input.topic)));
            names.extend(outputs.iter().map(|output| base(&output.topic)));
        }
        let mut topics: Vec<Topic> =
            names.into_iter().map(|name| Topic { name, writers: Vec::new(), readers: Vec::new() }).collect();
        let index: BTreeMap<String, usize> =
            topics.iter().enumerate().map(|(index, topic)| (topic.name.clone(), index)).collect();
        let at = |topic: &str| index.get(&base(topic)).copied();
        let mut vertices: Vec<Vertex> = Vec::new();
        for (node, (inputs, outputs)) in nodes.iter().zip(&io) {
            let writes: Vec<_> = outputs.iter().filter_map(|output| Some((at(&output.topic)?, output.role))).collect();
            let patterns: Vec<_> =
                inputs.iter().filter(|input| input.spec.regex_pattern).map(|input| pattern(input, &topics)).collect();
            let plain = inputs.iter().filter(|input| !input.spec.regex_pattern).filter_map(|input| at(&input.topic));
            let matched = patterns.iter().flat_map(|pattern| pattern.matches.iter().copied());
            let reads: BTreeSet<usize> = plain.chain(matched).collect();
            let min = node.scaling.as_ref().map_or(node.replicas, |scaling| scaling.min_replicas);
            vertices.push(Vertex {
                id: node.id(),
                replicas: (min, node.replicas_max()),
                writes,
                reads: reads.into_iter().collect(),
                patterns,
                layer: 0,
            });
        }
        for (node, vertex) in vertices.iter().enumerate() {
            vertex.writes.iter().for_each(|(topic, role)| topics[*topic].writers.push((node, *role)));
            vertex.reads.iter().for_each(|topic| topics[*topic].readers.push(node));
        }
        let mut graph = Self { nodes: vertices, topics, layers: Vec::new(), cycles: Vec::new() };
        layers::fill(&mut graph);
        graph
    }

    /// Nodes in the order in which they are made: who reads a topic before who writes it, so that nothing is missed. Nodes of one
    /// layer, and of a cycle, keep the order they were given in.
    #[must_use]
    pub fn downstream_first(&self) -> Vec<usize> {
        self.layers.iter().rev().flatten().copied().collect()
    }

    /// Nodes in the order in which they go: who writes a topic before who reads it, so that what was written is worked off.
    #[must_use]
    pub fn upstream_first(&self) -> Vec<usize> {
        self.layers.iter().flatten().copied().collect()
    }

    /// Nodes whose results a node reads.
    #[must_use]
    pub fn upstream(&self, node: usize) -> BTreeSet<usize> {
        let reads = self.nodes.get(node).map(|vertex| vertex.reads.as_slice()).unwrap_or_default();
        let writers = reads.iter().flat_map(|topic| &self.topics[*topic].writers);
        writers.filter(|(_, role)| *role == Role::Output).map(|(writer, _)| *writer).collect()
    }

    /// As JSON: nodes with what they read and write, topics with who reads and writes them, layers, cycles.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let name = |node: &usize| self.nodes[*node].id.to_string();
        let topic = |topic: &usize| self.topics[*topic].name.as_str();
        let write = |topic: &str, role: &Role| serde_json::json!({"topic": topic, "role": role});
        let nodes = self.nodes.iter().map(|vertex| {
            serde_json::json!({
                "kind": vertex.id.kind,
                "name": vertex.id.name,
                "layer": vertex.layer + 1,
                "minReplicas": vertex.replicas.0,
                "maxReplicas": vertex.replicas.1,
                "reads": vertex.reads.iter().map(topic).collect::<Vec<_>>(),
                "patterns": vertex.patterns.iter().map(|pattern| pattern.text.as_str()).collect::<Vec<_>>(),
                "writes": vertex.writes.iter().map(|(at, role)| write(topic(at), role)).collect::<Vec<_>>(),
            })
        });
        let nodes: Vec<_> = nodes.collect();
        let names = |nodes: &[usize]| nodes.iter().map(name).collect::<Vec<_>>();
        let topics = self.topics.iter().map(|topic| {
            let writers =
                topic.writers.iter().map(|(node, role)| serde_json::json!({"node": name(node), "role": role}));
            serde_json::json!({
                "name": topic.name,
                "writers": writers.collect::<Vec<_>>(),
                "readers": names(&topic.readers),
            })
        });
        let topics: Vec<_> = topics.collect();
        serde_json::json!({
            "nodes": nodes,
            "topics": topics,
            "layers": self.layers.iter().map(|layer| names(layer)).collect::<Vec<_>>(),
            "cycles": self.cycles.iter().map(|cycle| names(cycle)).collect::<Vec<_>>(),
        })
    }
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawing {
    /// For a terminal, layer by layer.
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown on most forges.
    Mermaid,
}

/// The topic of a partition, by complete name; what is no name stays as it is.
fn base(topic: &str) -> String {
    topic.parse::<TopicName>().map_or_else(|_| topic.to_owned(), |name| name.partitioned().to_string())
}

fn pattern(input: &Input, topics: &[Topic]) -> Pattern {
    let compiled = pattern::Compiled::new(&input.topic);
    let matches = compiled.iter().flat_map(|compiled| {
        topics.iter().enumerate().filter(|(_, topic)| compiled.matches(&topic.name)).map(|(index, _)| index)
    });
    Pattern { text: input.topic.clone(), matches: matches.collect(), is_unreadable: compiled.is_none() }
}
