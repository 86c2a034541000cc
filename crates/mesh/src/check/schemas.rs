//! Whether those who read a topic expect what those who write it send.

use crate::{
    graph::Graph,
    manifest::Manifest,
    node::{Config, Role, complete},
    problem::{Problems, quoted},
};

/// How one end of a topic says what its messages are; nothing where it does not say.
#[derive(Clone, Default)]
struct End {
    schema: Option<String>,
    serde: Option<String>,
    class: Option<String>,
}

pub(super) fn check(manifest: &Manifest, graph: &Graph, problems: &mut Problems) {
    for topic in &graph.topics {
        // One of each is told: with a hundred writers nobody wants a hundred sentences.
        let writer = topic.writers.iter().find(|(_, role)| *role == Role::Output);
        let Some((writer, _)) = writer else { continue };
        for (other, _) in topic.writers.iter().filter(|(node, role)| *role == Role::Output && node != writer) {
            let at = manifest.places[*other].outputs.get(&Role::Output).copied().unwrap_or_default();
            compare(
                manifest,
                (*writer, written(manifest, *writer)),
                (*other, written(manifest, *other)),
                "writes",
                &topic.name,
                at,
                problems,
            );
        }
        for reader in &topic.readers {
            let Some((end, at)) = read(manifest, *reader, &topic.name) else { continue };
            compare(
                manifest,
                (*writer, written(manifest, *writer)),
                (*reader, end),
                "reads",
                &topic.name,
                at,
                problems,
            );
        }
    }
}

fn compare(
    manifest: &Manifest,
    (first, one): (usize, End),
    (second, other): (usize, End),
    verb: &str,
    topic: &str,
    at: crate::At,
    problems: &mut Problems,
) {
    let (first, second) = (manifest.nodes[first].id(), manifest.nodes[second].id());
    let sentence = |what: &str, one: &str, other: &str| {
        format!(
            "{}: {first} writes it with {what} {}, {second} {verb} it with {}",
            quoted(topic),
            quoted(one),
            quoted(other)
        )
    };
    // What is said in most detail counts, and the rest is not looked at.
    if let (Some(one), Some(other)) = (&one.schema, &other.schema) {
        if !is_same(one, other) {
            problems.error(at, sentence("the schema", one, other));
        }
    } else if let (Some(one), Some(other)) = (&one.serde, &other.serde) {
        if one != other {
            problems.warning(at, sentence("the SerDe", one, other));
        }
    } else if let (Some(schema), Some(serde)) =
        (one.schema.as_ref().or(other.schema.as_ref()), one.serde.as_ref().or(other.serde.as_ref()))
    {
        let text = format!(
            "{}: one of {first} and {second} has the schema {}, the other the SerDe {}",
            quoted(topic),
            quoted(schema),
            quoted(serde)
        );
        problems.warning(at, text);
    } else if let (Some(one), Some(other)) = (&one.class, &other.class)
        && !is_same(one, other)
    {
        problems.warning(at, sentence("the type", one, other));
    }
}

fn written(manifest: &Manifest, node: usize) -> End {
    let output = manifest.nodes[node].outputs().into_iter().find(|output| output.role == Role::Output);
    let (schema, serde) = output.map(|output| (output.schema_type, output.serde_class)).unwrap_or_default();
    End { schema, serde, class: manifest.places[node].types[1].clone() }
}

/// How a node reads a topic, and where it says so.
fn read(manifest: &Manifest, node: usize, topic: &str) -> Option<(End, crate::At)> {
    let base = |name: &str| {
        name.parse::<model::TopicName>().map(|name| name.partitioned().to_string()).unwrap_or_else(|_| complete(name))
    };
    let inputs = manifest.nodes[node].inputs();
    let input = inputs.iter().find(|input| !input.spec.regex_pattern && base(&input.topic) == topic);
    let input = input.or_else(|| inputs.iter().find(|input| input.spec.regex_pattern))?;
    let is_sink = matches!(manifest.nodes[node].config, Config::Sink(_));
    let places = &manifest.places[node];
    // A sink's connector says its type; what the manifest says is checked alike.
    let class = places.types[0].clone().filter(|_| !is_sink || !places.types[0].as_deref().is_some_and(is_any));
    let end = End { schema: input.spec.schema_type.clone(), serde: input.spec.serde_class_name.clone(), class };
    let at = places.inputs.get(&input.topic).copied().unwrap_or(manifest.nodes[node].origin);
    Some((end, at))
}

/// A schema or a type that takes whatever there is.
fn is_any(name: &str) -> bool {
    matches!(
        name.to_ascii_lowercase().as_str(),
        "" | "[b"
            | "b[]"
            | "bytes"
            | "byte[]"
            | "none"
            | "auto"
            | "auto_consume"
            | "auto_publish"
            | "auto_produce"
            | "object"
            | "any"
    ) || name.ends_with(".GenericRecord")
        || name.ends_with(".GenericObject")
        || name == "java.lang.Object"
        || name == "java.nio.ByteBuffer"
}

fn is_same(one: &str, other: &str) -> bool {
    is_any(one) || is_any(other) || plain(one).eq_ignore_ascii_case(plain(other))
}

/// Names that other languages have for Java's.
fn plain(name: &str) -> &str {
    match name {
        "java.lang.String" | "str" => "string",
        "java.lang.Integer" | "int" => "int32",
        "java.lang.Long" | "long" => "int64",
        "java.lang.Float" => "float",
        "java.lang.Double" => "double",
        "java.lang.Boolean" | "bool" => "boolean",
        name => name,
    }
}
