//! A graph for tools that draw. Nodes are boxes, topics are round; what is not a result goes by a dashed line.

use super::{Drawing, Graph, Vertex};
use crate::node::{Kind, Role};
use std::fmt::Write;

impl Graph {
    /// The graph as this kind of drawing.
    #[must_use]
    pub fn drawn(&self, drawing: Drawing) -> String {
        match drawing {
            Drawing::Text => self.text(),
            Drawing::Dot => self.dot(),
            Drawing::Mermaid => self.mermaid(),
        }
    }

    fn dot(&self) -> String {
        let mut text = String::from("digraph mesh {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        for (index, vertex) in self.nodes.iter().enumerate() {
            let shape = match vertex.id.kind {
                Kind::Function => "box",
                Kind::Source => "cds",
                Kind::Sink => "house",
            };
            let _ = writeln!(text, "  n{index} [shape={shape}, label=\"{}\"];", dot_text(&label(vertex)));
        }
        for (index, topic) in self.topics.iter().enumerate() {
            let _ = writeln!(text, "  t{index} [shape=ellipse, style=rounded, label=\"{}\"];", dot_text(&topic.name));
        }
        for (index, vertex) in self.nodes.iter().enumerate() {
            for topic in &vertex.reads {
                let _ = writeln!(text, "  t{topic} -> n{index};");
            }
            for (topic, role) in &vertex.writes {
                let style = if *role == Role::Output {
                    String::new()
                } else {
                    format!(" [style=dashed, label=\"{}\"]", word(*role))
                };
                let _ = writeln!(text, "  n{index} -> t{topic}{style};");
            }
            for (number, pattern) in
                vertex.patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches.is_empty())
            {
                let _ = writeln!(
                    text,
                    "  p{index}_{number} [shape=ellipse, style=dashed, label=\"{}\"];",
                    dot_text(&pattern.text)
                );
                let _ = writeln!(text, "  p{index}_{number} -> n{index};");
            }
        }
        text + "}\n"
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, vertex) in self.nodes.iter().enumerate() {
            let (open, close) = match vertex.id.kind {
                Kind::Function => ("[", "]"),
                Kind::Source => ("[/", "/]"),
                Kind::Sink => ("[\\", "\\]"),
            };
            let _ = writeln!(text, "  n{index}{open}\"{}\"{close}", mermaid_text(&label(vertex)));
        }
        for (index, topic) in self.topics.iter().enumerate() {
            let _ = writeln!(text, "  t{index}([\"{}\"])", mermaid_text(&topic.name));
        }
        for (index, vertex) in self.nodes.iter().enumerate() {
            for topic in &vertex.reads {
                let _ = writeln!(text, "  t{topic} --> n{index}");
            }
            for (topic, role) in &vertex.writes {
                let arrow = if *role == Role::Output { "-->".to_owned() } else { format!("-.->|{}|", word(*role)) };
                let _ = writeln!(text, "  n{index} {arrow} t{topic}");
            }
            for (number, pattern) in
                vertex.patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches.is_empty())
            {
                let _ = writeln!(text, "  p{index}_{number}([\"{}\"]) --> n{index}", mermaid_text(&pattern.text));
            }
        }
        text
    }
}

fn label(vertex: &Vertex) -> String {
    match vertex.replicas {
        (1, 1) => vertex.id.to_string(),
        (min, max) if min == max => format!("{}\n{max} instances", vertex.id),
        (min, max) => format!("{}\n{min} to {max} instances", vertex.id),
    }
}

const fn word(role: Role) -> &'static str {
    match role {
        Role::Output => "output",
        Role::DeadLetters => "dead letters",
        Role::LateData => "late data",
        Role::Log => "log",
    }
}

fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Mermaid has entities for what means something to it.
fn mermaid_text(text: &str) -> String {
    text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;").replace('\n', "<br/>")
}
