//! What would be done, and in which order.

use crate::{chain, function};
use expect_test::expect;
use mesh::{Action, Graph, Manifest, Node, Plan};
use std::time::{Duration, Instant};

fn nodes(yaml: &str) -> Vec<Node> {
    Manifest::parse(yaml).0.nodes
}

#[test]
fn a_plan_reads_like_a_diff() {
    let old = nodes(
        &[
            function("same", "input: {topics: [a]}"),
            function("change", "input: {topics: [a]}\nfuncConfig: {strategy: wheel, depth: 3}\nreplicas: 2"),
            function("gone", "input: {topics: [a]}\noutput: {topic: b}"),
        ]
        .join("---\n"),
    );
    let new = nodes(
        &[
            function(
                "change",
                "input: {topics: [a]}\nfuncConfig: {strategy: sieve, depth: 3}\nmaxReplicas: 8\nimage: acme/f",
            ),
            function("same", "input: {topics: [a]}\npod: {labels: {only: kubernetes}}"),
            function("more", "input: {topics: [b]}"),
        ]
        .join("---\n"),
    );
    expect![[r#"
        ~ function public/default/change
            replicas                               2 -> 1
            scaling.maxReplicas                    nothing -> 8
            scaling.minReplicas                    nothing -> 1
            scaling.policy.rate.period             nothing -> "1s"
            scaling.policy.rate.targetAge          nothing -> "1s"
            scaling.policy.rate.targetUtilization  nothing -> 0.95
            userConfig.strategy                    "wheel" -> "sieve"
        + function public/default/more
        - function public/default/gone
        1 to create, 1 to update, 1 to delete, 1 unchanged
    "#]]
    .assert_eq(&Plan::between(&old, &new).text());
    assert_eq!(Plan::between(&old, &old).text(), "3 unchanged\n");
    assert_eq!(Plan::between(&[], &[]).text(), "nothing to do\n");
}

#[test]
fn readers_are_made_first_and_go_last() {
    let mesh = nodes(&chain(&[("a", "zero", "one"), ("b", "one", "two"), ("c", "two", "three")]));
    let names =
        |plan: Plan| plan.steps.into_iter().map(|step| step.id.name.replace("public/default/", "")).collect::<Vec<_>>();
    assert_eq!(names(Plan::between(&[], &mesh)), ["c", "b", "a"]);
    assert_eq!(names(Plan::between(&mesh, &[])), ["a", "b", "c"]);
}

#[test]
fn a_name_that_changes_its_kind_is_free_before_it_is_taken() {
    let sink = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Sink\nmetadata: {name: x}\nspec: {sinkType: file, input: {topics: [in]}}\n";
    let plan = Plan::between(&nodes(sink), &nodes(&function("x", "input: {topics: [in]}")));
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.action, step.id.to_string())).collect();
    assert_eq!(
        steps,
        [
            (Action::Delete, "sink public/default/x".to_owned()),
            (Action::Create, "function public/default/x".to_owned())
        ]
    );
}

#[test]
fn a_plan_travels_as_json() {
    let plan = Plan::between(&[], &nodes(&function("f", "input: {topics: [in]}")));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"steps": [{"action": "create", "kind": "Function", "name": "public/default/f"}]})
    );
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
}

/// The goal is milliseconds in a release build; it is printed with `--nocapture`. The bound only tells that nothing explodes.
#[test]
fn two_hundred_nodes_are_planned_at_once() {
    let edges: Vec<_> =
        (0..200).map(|number| (format!("f{number}"), format!("t{number}"), format!("t{}", number + 1))).collect();
    let edges: Vec<(&str, &str, &str)> = edges.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    let yaml = chain(&edges);
    let start = Instant::now();
    let (manifest, problems) = mesh::check(&[&yaml]);
    let checked = start.elapsed();
    assert_eq!((manifest.nodes.len(), problems.len()), (200, 2));
    let mut changed = manifest.nodes.clone();
    changed.iter_mut().step_by(2).for_each(|node| node.replicas += 1);
    changed.truncate(150);
    let start = Instant::now();
    let plan = Plan::between(&manifest.nodes, &changed);
    let planned = start.elapsed();
    assert_eq!([Action::Update, Action::Delete, Action::Unchanged].map(|action| plan.count(action)), [75, 50, 75]);
    assert_eq!(Graph::of(&manifest.nodes).layers.len(), 200);
    println!("200 nodes: read and checked in {checked:?}, planned in {planned:?}");
    assert!(planned < Duration::from_secs(5), "{planned:?}");
}
