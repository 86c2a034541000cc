//! A graph for a terminal.

use super::Graph;
use crate::node::{Kind, Role};
use std::fmt::Write;

impl Graph {
    /// Layer by layer: each node with what it reads, and from whom, and what it writes, and to whom.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let width = self.nodes.iter().map(|vertex| vertex.id.name.chars().count()).max().unwrap_or(0);
        for (number, layer) in self.layers.iter().enumerate() {
            for (place, node) in layer.iter().enumerate() {
                let vertex = &self.nodes[*node];
                let margin = if place == 0 { format!("{:>3}  ", number + 1) } else { "     ".to_owned() };
                let (kind, name) = (vertex.id.kind.word(), &vertex.id.name);
                let line = format!("{margin}{kind:<8}  {name:<width$}  {}", instances(vertex.replicas));
                text += line.trim_end();
                text.push('\n');
                for topic in &vertex.reads {
                    let by_pattern = vertex.patterns.iter().any(|pattern| pattern.matches.contains(topic));
                    let note = if by_pattern { ", by its pattern" } else { "" };
                    let topic = &self.topics[*topic];
                    let from: Vec<usize> = topic.writers.iter().map(|(node, _)| *node).collect();
                    let _ = writeln!(text, "       <- {}  {}{note}", topic.name, self.ends("from", &from, *node));
                }
                for pattern in vertex.patterns.iter().filter(|pattern| pattern.matches.is_empty()) {
                    let _ = writeln!(text, "       <- {}  pattern, matches nothing here", pattern.text);
                }
                for (topic, role) in &vertex.writes {
                    let topic = &self.topics[*topic];
                    let arrow = if *role == Role::Output { "->" } else { "~>" };
                    let what = match role {
                        Role::Output => "",
                        Role::DeadLetters => "dead letters, ",
                        Role::LateData => "late data, ",
                        Role::Log => "log, ",
                    };
                    let _ = writeln!(
                        text,
                        "       {arrow} {}  {what}{}",
                        topic.name,
                        self.ends("to", &topic.readers, *node)
                    );
                }
            }
        }
        for cycle in &self.cycles {
            let names: Vec<&str> = cycle.iter().map(|node| self.nodes[*node].id.name.as_str()).collect();
            let _ = writeln!(text, "a cycle: {}", names.join(", "));
        }
        text
    }

    /// Functions, sources and sinks in numbers: `2 functions, 1 sink`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |kind: Kind| self.nodes.iter().filter(|vertex| vertex.id.kind == kind).count();
        let parts = [Kind::Source, Kind::Function, Kind::Sink].map(|kind| (count(kind), kind.word()));
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> =
            parts.map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" })).collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }

    /// Who is at the other end of a topic.
    fn ends(&self, word: &str, nodes: &[usize], me: usize) -> String {
        let others: Vec<usize> = nodes.iter().copied().filter(|node| *node != me).collect();
        let names: Vec<&str> = others.iter().take(4).map(|node| local(&self.nodes[*node].id.name)).collect();
        match others.len() {
            0 => format!("{word} outside"),
            count @ 5.. => format!("{word} {} and {} more", names.join(", "), count - names.len()),
            _ => format!("{word} {}", names.join(", ")),
        }
    }
}

/// The name without tenant and namespace.
fn local(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn instances((min, max): (u32, u32)) -> String {
    match (min, max) {
        (1, 1) => String::new(),
        (0, 0) => "off".to_owned(),
        (min, max) if min == max => format!("{max} instances"),
        (min, max) => format!("{min} to {max} instances"),
    }
}
