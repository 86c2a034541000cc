//! The reference page of manifests, generated from the tables.
//!
//! `UPDATE_EXPECT=1 cargo test -p mesh reference` writes it anew.

use super::*;
use std::fmt::Write;

const INTRODUCTION: &str = "\
# Manifests of meshes

What `geminga mesh` takes: the resources of [Function Mesh](https://functionmesh.io), `compute.functionmesh.io/v1alpha1`, as `kubectl
apply` takes them. A file may have several documents, and several files are read as one.

| Kind | What it is here |
|---|---|
| `Function`, `Source`, `Sink` | One function, source or sink. |
| `FunctionMesh` | Several, in `spec.functions`, `spec.sources`, `spec.sinks` and `spec.genericResources`. |
| `ConfigMap`, `Secret` | Looked up where a spec names them. Values of a Secret are never printed. |
| `BackendConfig`, `ConnectorCatalog`, `MeshConfig` | Kept for Kubernetes; no effect here. |
| `List` | Its items, as `kubectl get -o yaml` writes them. |
| anything else | Passed over, with a note. |

Fields marked **acts** do here what they do on Kubernetes; the text says which field of the
[configuration](function-config.md) they become. Fields marked *kept* are kept and reported, and only Kubernetes makes something of
them. A field that is not listed is a mistake where its name is a slip of the hand away from one that is, and is passed over with a
warning otherwise. Values have the types of the resource definitions: a text that is a number wants quotes. What
runs here and Kubernetes refuses is a warning: a `metadata.name` with capitals, `cpu: 0.5` without quotes, a `mountPath` that is not there.

Plain scalars mean what they mean to `kubectl`: `yes`, `on`, `no` and `off` are booleans, `0644` is octal. All files
together may have 4 MiB, 10,000 documents, 64 levels of lists and mappings, 200,000 values (what an alias stands for counts each time, and what
has an anchor once more), and 5,000 functions, sources and sinks.

## How it scales

| The spec has | It scales |
|---|---|
| no `maxReplicas` | Not at all: `replicas` instances, or `minReplicas`, or 1. With 0 it is off, and nothing wakes it. |
| `maxReplicas` | By Geminga's own policy, `rate`: between `minReplicas` and `maxReplicas`. |
| `pod.builtinAutoscaler`, `pod.autoScalingMetrics`, `pod.autoScalingBehavior` | By Kubernetes' HPA with these. A built-in rule is a share of the limit. |
| `pod.vpa` | Requests are recommended as by Kubernetes' VPA; the number of instances stays. |
| the annotation `geminga.io/scaling-policy` in `pod.annotations` | By the policy it names, such as `keda`, or `{rate: {targetAge: 500ms}}` with parameters: `rate`, `hpa`, `keda`, `knative`. |

`minReplicas: 0` lets a function or sink sleep: it has no instance until an event comes. Function Mesh's operator needs 1.
";

fn kind(shape: Shape) -> String {
    match shape {
        Shape::Text | Shape::Name | Shape::Label => "text".to_owned(),
        Shape::Bool => "true or false".to_owned(),
        Shape::Int(_) | Shape::Long(_) => "whole number".to_owned(),
        Shape::Quantity => "quantity".to_owned(),
        Shape::Choice(choices) if choices.len() > 6 => "one of a few names".to_owned(),
        Shape::Choice(choices) => choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
        Shape::Any => "anything".to_owned(),
        Shape::Object | Shape::Core(_) => "object".to_owned(),
        Shape::List(of) => format!("list of {}", kind(*of)),
        Shape::Map(of) => format!("object of {}", kind(*of)),
        Shape::Record(record) => format!("[{}](#{})", record.name, anchor(record.name)),
    }
}

fn anchor(name: &str) -> String {
    name.to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .collect::<String>()
        .replace(' ', "-")
}

fn within(shape: Shape) -> Option<&'static Record> {
    match shape {
        Shape::Record(record) => Some(record),
        Shape::List(of) | Shape::Map(of) => within(*of),
        _ => None,
    }
}

fn section(page: &mut String, record: &'static Record, seen: &mut Vec<&'static str>) {
    if seen.contains(&record.name) {
        return;
    }
    seen.push(record.name);
    writeln!(page, "\n## {}\n\n| Field | Type | Here | |\n|---|---|---|---|", record.name).unwrap();
    for field in record.fields() {
        let required = if field.need == Need::Everybody { " (required)" } else { "" };
        let effect = if field.effect == Effect::Acts { "**acts**" } else { "*kept*" };
        writeln!(page, "| `{}`{required} | {} | {effect} | {} |", field.name, kind(field.shape), field.about).unwrap();
    }
    for field in record.fields() {
        if let Some(record) = within(field.shape) {
            section(page, record, seen);
        }
    }
}

#[test]
fn the_reference_page_says_what_the_tables_say() {
    let mut page = INTRODUCTION.to_owned();
    let mut seen = Vec::new();
    for record in [&FUNCTION_MESH, &FUNCTION, &SOURCE, &SINK, &BACKEND_CONFIG, &CONFIG_MAP, &SECRET] {
        section(&mut page, record, &mut seen);
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/mesh-manifest.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), page, "UPDATE_EXPECT=1 writes it anew");
}

#[test]
fn records_are_told_apart_by_their_names() {
    let mut pending: Vec<&'static Record> = vec![&FUNCTION_MESH, &BACKEND_CONFIG, &CONFIG_MAP, &SECRET];
    let mut seen: Vec<&'static Record> = Vec::new();
    while let Some(record) = pending.pop() {
        if seen.iter().any(|known| std::ptr::eq(*known, record)) {
            continue;
        }
        assert!(!seen.iter().any(|known| known.name == record.name), "two are called {}", record.name);
        let mut names: Vec<_> = record.fields().map(|field| field.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), record.fields().count(), "a field of {} is there twice", record.name);
        seen.push(record);
        pending.extend(record.fields().filter_map(|field| within(field.shape)));
    }
}
