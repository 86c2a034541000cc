//! Edges follow from topics.

use crate::{chain, function};
use expect_test::expect;
use mesh::{Drawing, Graph};

fn graph(yaml: &str) -> Graph {
    Graph::of(&mesh::Manifest::parse(yaml).0.nodes)
}

fn shop() -> String {
    let source = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Source\nmetadata: {name: orders}\nspec: {sourceType: data-generator, \
                  output: {topic: orders}}\n";
    let price = function(
        "price",
        "input: {topics: [public/default/orders]}\noutput: {topic: persistent://public/default/priced}\ndeadLetterTopic: \
         dead\nmaxMessageRetry: 3\nlogTopic: logs\nminReplicas: 0\nmaxReplicas: 8",
    );
    let audit = function("audit", "input: {topicPattern: 'persistent://public/default/(priced|dead)'}\nreplicas: 2");
    let sink = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Sink\nmetadata: {name: store}\nspec: {sinkType: file, input: {topics: \
                [priced-partition-0]}}\n";
    [source, &price, &audit, sink].join("---\n")
}

#[test]
fn it_is_shown_layer_by_layer() {
    let lines: Vec<String> = graph(&shop()).text().lines().map(|line| format!("|{line}\n")).collect();
    expect![[r#"
        |  1  source    public/default/orders
        |       -> persistent://public/default/orders  to price
        |  2  function  public/default/price   0 to 8 instances
        |       <- persistent://public/default/orders  from orders
        |       -> persistent://public/default/priced  to audit, store
        |       ~> persistent://public/default/dead  dead letters, to audit
        |       ~> persistent://public/default/logs  log, to outside
        |  3  function  public/default/audit   2 instances
        |       <- persistent://public/default/dead  from price, by its pattern
        |       <- persistent://public/default/priced  from price, by its pattern
        |     sink      public/default/store
        |       <- persistent://public/default/priced  from price
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn it_is_drawn_for_graphviz_and_mermaid() {
    let graph = graph(&shop());
    expect![[r#"
        flowchart LR
          n0[/"source public/default/orders"/]
          n1["function public/default/price<br/>0 to 8 instances"]
          n2["function public/default/audit<br/>2 instances"]
          n3[\"sink public/default/store"\]
          t0(["persistent://public/default/dead"])
          t1(["persistent://public/default/logs"])
          t2(["persistent://public/default/orders"])
          t3(["persistent://public/default/priced"])
          n0 --> t2
          t2 --> n1
          n1 --> t3
          n1 -.->|dead letters| t0
          n1 -.->|log| t1
          t0 --> n2
          t3 --> n2
          t3 --> n3
    "#]]
    .assert_eq(&graph.drawn(Drawing::Mermaid));
    let dot = graph.drawn(Drawing::Dot);
    assert!(dot.contains("n1 -> t0 [style=dashed, label=\"dead letters\"];"), "{dot}");
    assert!(dot.starts_with("digraph mesh {") && dot.ends_with("}\n"));
}

#[test]
fn names_cannot_break_out_of_a_drawing() {
    let graph = graph(&function("f", "input: {topics: ['a\"]; evil [x=\"<b>\\']}"));
    assert!(graph.drawn(Drawing::Dot).contains(r#"a\"]; evil [x=\"<b>\\"#));
    assert!(graph.drawn(Drawing::Mermaid).contains("a#quot;]; evil [x=#quot;#lt;b#gt;"));
}

#[test]
fn who_reads_comes_before_who_writes() {
    let graph = graph(&chain(&[("c", "two", "three"), ("a", "zero", "one"), ("b", "one", "two"), ("alone", "x", "y")]));
    let names = |order: Vec<usize>| {
        order.into_iter().map(|node| graph.nodes[node].id.name.replace("public/default/", "")).collect::<Vec<_>>()
    };
    assert_eq!(names(graph.downstream_first()), ["c", "b", "a", "alone"]);
    assert_eq!(names(graph.upstream_first()), ["a", "alone", "b", "c"]);
    assert_eq!(graph.upstream(0).into_iter().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_cycle_is_one_layer_and_what_follows_comes_after() {
    let graph = graph(&chain(&[("a", "one", "two"), ("b", "two", "one"), ("c", "two", "out")]));
    assert_eq!(graph.cycles, [[0, 1]]);
    assert_eq!(graph.layers.iter().flatten().count(), 3);
    assert!(graph.nodes[2].layer > graph.nodes[0].layer);
}

#[test]
fn a_pattern_that_matches_what_a_function_writes_is_a_cycle() {
    let graph = graph(&function("f", "input: {topicPattern: 'persistent://public/default/.*'}\noutput: {topic: out}"));
    assert_eq!(graph.cycles, [[0]]);
}

#[test]
fn as_json_it_names_everything() {
    let json = graph(&shop()).json();
    assert_eq!(json["nodes"][1]["layer"], 2);
    assert_eq!(
        json["nodes"][1]["writes"][1],
        serde_json::json!({"topic": "persistent://public/default/dead", "role": "deadLetters"})
    );
    assert_eq!(
        json["topics"][3]["readers"],
        serde_json::json!(["function public/default/audit", "sink public/default/store"])
    );
    assert_eq!(json["layers"][0], serde_json::json!(["source public/default/orders"]));
}
