//! What holds of any text and any mesh.

use crate::samples::samples;
use mesh::{Action, Graph, Manifest, Node, Plan};
use proptest::prelude::*;

/// Whatever is read, everything there is can be asked of it.
fn survives(text: &str) {
    let (manifest, problems) = mesh::check(&[text]);
    for problem in &problems {
        let shown = problem.shown(&["f"]);
        prop_assert_lines(&shown);
        assert!(problem.at.line >= 1 && problem.at.column >= 1, "{shown}");
    }
    let graph = Graph::of(&manifest.nodes);
    assert_eq!(graph.layers.iter().flatten().count(), manifest.nodes.len());
    let _ = (graph.text(), graph.drawn(mesh::Drawing::Dot), graph.drawn(mesh::Drawing::Mermaid), graph.json());
    assert!(Plan::between(&manifest.nodes, &manifest.nodes).is_empty());
    let _ = Plan::between(&[], &manifest.nodes).text();
}

fn prop_assert_lines(line: &str) {
    assert!(!line.contains('\n') && line.len() < 4_000, "{line:?}");
}

/// A mesh of functions `f0`, `f1` ... over a few topics.
fn mesh_of(edges: &[(u8, u8)]) -> Vec<Node> {
    let names: Vec<_> = edges
        .iter()
        .enumerate()
        .map(|(name, (reads, writes))| (format!("f{name}"), format!("t{reads}"), format!("t{writes}")))
        .collect();
    let edges: Vec<_> =
        names.iter().map(|(name, reads, writes)| (name.as_str(), reads.as_str(), writes.as_str())).collect();
    Manifest::parse(&crate::chain(&edges)).0.nodes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn text_that_looks_like_a_manifest_is_read_or_refused(text in "([a-zA-Z&*!|>'\"{}\\[\\],:#%@ \\n-]|spec:|kind: Function\n|- |  |\n---\n|input: |topics: |replicas: |<<: ){0,60}") {
        survives(&text);
    }

    #[test]
    fn a_sample_with_something_else_in_it_is_read_or_refused(
        sample in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in 0usize..12,
        other in "([a-z0-9:{}\\[\\]&*!\"'\n -]|: |- |null|0|-1|99999999999|\\[\\]|\\{\\}|true|&a |\\*a ){0,4}",
    ) {
        let samples = samples();
        let text = &sample.get(&samples).1;
        let start = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        survives(&format!("{}{other}{}", &text[..start], &text[end..]));
    }

    /// Of two nodes that are made, who reads comes before who writes, unless they are in one cycle.
    #[test]
    fn who_reads_is_made_before_who_writes(edges in prop::collection::vec((0u8..12, 0u8..12), 0..20)) {
        let nodes = mesh_of(&edges);
        let graph = Graph::of(&nodes);
        let plan = Plan::between(&[], &nodes);
        prop_assert_eq!(plan.count(Action::Create), nodes.len());
        let place = |node: usize| plan.steps.iter().position(|step| step.id == graph.nodes[node].id).unwrap();
        for reader in 0..nodes.len() {
            for writer in graph.upstream(reader) {
                let in_cycle = graph.cycles.iter().any(|cycle| cycle.contains(&reader) && cycle.contains(&writer));
                prop_assert!(in_cycle || place(reader) < place(writer), "{} before {}", reader, writer);
            }
        }
    }

    /// Doing what a plan says leads from what there is to what is wanted.
    #[test]
    fn a_plan_leads_where_it_should(
        old in prop::collection::vec((0u8..8, 0u8..8), 0..12),
        new in prop::collection::vec((0u8..8, 0u8..8), 0..12),
    ) {
        let (old, new) = (mesh_of(&old), mesh_of(&new));
        let plan = Plan::between(&old, &new);
        let mut is: Vec<Node> = old;
        for step in &plan.steps {
            let wanted = || new.iter().find(|node| node.id() == step.id).cloned();
            match step.action {
                Action::Create => is.push(wanted().unwrap()),
                Action::Update => {
                    prop_assert!(!step.changes.is_empty());
                    is.retain(|node| node.id() != step.id);
                    is.push(wanted().unwrap());
                }
                Action::Delete => is.retain(|node| node.id() != step.id),
                Action::Unchanged => {}
            }
        }
        prop_assert!(Plan::between(&is, &new).is_empty());
        prop_assert_eq!(is.len(), new.len());
    }
}
