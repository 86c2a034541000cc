//! Where the parts of a node are written that others are compared with.

use crate::{
    node::{Kind, Node, Role, complete},
    problem::At,
    yaml::Value,
};
use std::collections::BTreeMap;

/// Places within one spec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Each topic and pattern it reads, by complete name.
    pub(crate) inputs: BTreeMap<String, At>,
    /// Each topic it writes.
    pub(crate) outputs: BTreeMap<Role, At>,
    /// Each of its secrets.
    pub(crate) secrets: BTreeMap<String, At>,
    /// Each variable of its environment.
    pub(crate) env: BTreeMap<String, At>,
    /// Its name.
    pub(crate) name: At,
    /// Its subscription.
    pub(crate) subscription: At,
    /// What bounds its instances.
    pub(crate) replicas: At,
    /// `input.typeClassName`, `output.typeClassName`: the configurations of sources and sinks have no place for these.
    pub(crate) types: [Option<String>; 2],
}

impl Places {
    pub(crate) fn of(kind: Kind, spec: &Value, node: &Node, name: At) -> Self {
        let at = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
            super::place::at(spec, &path, node.origin)
        };
        let mut inputs = BTreeMap::new();
        if let Some(input) = spec.get("input") {
            for part in ["sourceSpecs", "customSchemaSources", "customSerdeSources"] {
                let entries = input.get(part).map(Value::entries).unwrap_or_default();
                inputs.extend(entries.iter().map(|entry| (complete(&entry.name), entry.at)));
            }
            let pattern = input.get("topicPattern").into_iter();
            for value in input.get("topics").map(Value::items).unwrap_or_default().iter().chain(pattern) {
                if let Some(topic) = value.text() {
                    inputs.insert(complete(topic), value.at);
                }
            }
        }
        let late = ["windowConfig", "lateDataTopic"];
        let outputs = [
            (Role::Output, at(&["output", "topic"])),
            (Role::DeadLetters, at(&["deadLetterTopic"])),
            (Role::LateData, at(&late)),
            (Role::Log, at(&["logTopic"])),
        ];
        let kind_of = |part: &str| super::read::text(spec.get(part)?, "typeClassName");
        let secrets = spec.get("secretsMap").map(Value::entries).unwrap_or_default();
        Self {
            secrets: secrets.iter().map(|entry| (entry.name.clone(), entry.value.at)).collect(),
            env: super::env::places(spec),
            inputs,
            outputs: outputs.into_iter().collect(),
            name: spec.get("name").map_or(name, |name| name.at),
            subscription: at(&["subscriptionName"]),
            replicas: if spec.get("maxReplicas").is_some() { at(&["maxReplicas"]) } else { at(&["replicas"]) },
            types: if kind == Kind::Source { [None, kind_of("output")] } else { [kind_of("input"), kind_of("output")] },
        }
    }
}
