//! Where in a spec a mistake of the configuration is written.

use super::Around;
use crate::{node::Kind, problem::At, yaml::Value};

/// Fields of the configuration, and where a spec has them. The longest that fits is taken; the rest of the name stays.
const PLACES: &[(&str, &str)] = &[
    ("inputs", "input"),
    ("topicsPattern", "input.topicPattern"),
    ("inputTypeClassName", "input.typeClassName"),
    ("output", "output.topic"),
    ("topicName", "output.topic"),
    ("outputSchemaType", "output.sinkSchemaType"),
    ("outputSerdeClassName", "output.sinkSerdeClassName"),
    ("customSchemaOutputs", "output.customSchemaSinks"),
    ("producerConfig", "output.producerConf"),
    ("processingGuarantees", "processingGuarantee"),
    ("maxMessageRetries", "maxMessageRetry"),
    ("subName", "subscriptionName"),
    ("sourceSubscriptionName", "subscriptionName"),
    ("parallelism", "replicas"),
    ("resources.cpu", "resources.requests.cpu"),
    ("resources.ram", "resources.requests.memory"),
    ("resources.disk", "resources.requests.storage"),
    ("timeoutMs", "timeout"),
    ("userConfig", "funcConfig"),
    ("jar", "java"),
    ("py", "python"),
    ("go", "golang"),
    ("wasm", "genericRuntime"),
    ("exec", "genericRuntime"),
];

/// The path within the spec of a field of the configuration.
pub(super) fn path(kind: Kind, field: &str, spec: &Value) -> Vec<String> {
    if let Some(rest) = field.strip_prefix("inputSpecs.") {
        // A topic may have dots in it.
        for part in ["sourceSpecs", "customSchemaSources", "customSerdeSources"] {
            let entries = spec.get("input").and_then(|input| input.get(part)).map(Value::entries).unwrap_or_default();
            if let Some(entry) = entries.iter().find(|entry| rest.starts_with(&entry.name)) {
                let rest = rest[entry.name.len()..].replace("serdeClassName", "serdeClassname");
                let rest = rest.split('.').filter(|part| !part.is_empty()).map(str::to_owned);
                let start = ["input", part, &entry.name].map(str::to_owned);
                return start.into_iter().chain(rest).collect();
            }
        }
        return vec!["input".to_owned()];
    }
    let field = match (kind, field) {
        (Kind::Source, "schemaType") => "outputSchemaType",
        (Kind::Source, "serdeClassName") => "outputSerdeClassName",
        (Kind::Source, "configs") => return vec!["sourceConfig".to_owned()],
        (Kind::Sink, "configs") => return vec!["sinkConfig".to_owned()],
        (_, field) => field,
    };
    let within = |place: &str| field.strip_prefix(place).filter(|rest| rest.is_empty() || rest.starts_with('.'));
    let found = PLACES.iter().filter_map(|(from, to)| Some((to, within(from)?))).min_by_key(|(_, rest)| rest.len());
    let path = match found {
        Some((to, rest)) => format!("{to}{rest}"),
        None => field.to_owned(),
    };
    path.split('.').map(str::to_owned).collect()
}

/// The value at a path, or what of the path there is; `start` where nothing of it is.
pub(super) fn at(spec: &Value, path: &[String], start: At) -> At {
    let mut at = start;
    let mut value = spec;
    for name in path {
        if let Some(item) = name.parse().ok().and_then(|index: usize| value.items().get(index)) {
            (at, value) = (item.at, item);
            continue;
        }
        let Some(entry) = value.entry(name) else { break };
        (at, value) = (entry.value.at, &entry.value);
        // Of a mapping its name is more telling than its first line.
        if !value.entries().is_empty() {
            at = entry.at;
        }
    }
    at
}

/// Whether a mistake follows from something that could not be read and was told.
pub(super) fn is_excused(path: &[String], field: &str, spec: &Value, around: &Around<'_>) -> bool {
    let path = path.join(".");
    let within =
        |part: &str, whole: &str| part.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    // These are told in words of their own.
    (field == "runtime" && !["java", "python", "golang", "genericRuntime"].iter().any(|code| spec.get(code).is_some()))
        || field.starts_with("resources.")
        || field == "parallelism"
        || around.misread.iter().any(|misread| {
            within(misread, &path) || within(&path, misread) || (field == "runtime" && super::is_code(misread))
        })
}
