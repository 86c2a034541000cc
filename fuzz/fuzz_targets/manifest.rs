//! Any text as a manifest: no panic, problems that fit a line, a graph with every node in it, and a plan from itself to itself that
//! does nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::{Drawing, Graph, Plan};

fuzz_target!(|text: &str| {
    let (manifest, problems) = mesh::check(&[text]);
    for problem in &problems {
        assert!(!problem.shown(&["f"]).contains(char::is_control));
    }
    let graph = Graph::of(&manifest.nodes);
    assert_eq!(graph.layers.iter().flatten().count(), manifest.nodes.len());
    let _ = (graph.text(), graph.drawn(Drawing::Dot), graph.drawn(Drawing::Mermaid), graph.json());
    assert!(Plan::between(&manifest.nodes, &manifest.nodes).is_empty());
    let _ = Plan::between(&[], &manifest.nodes).text();
});
