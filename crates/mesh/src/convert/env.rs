//! `pod.env`: what the processes of an instance find in their environment.
//!
//! Source: Kubernetes' `EnvVar` and `EnvVarSource` (`core/v1/types.go`), `validateEnv` and `validateEnvVarValueFrom`
//! (`pkg/apis/core/validation/validation.go`).

use super::read::{flag, text};
use crate::{
    node::{KeyRef, Node, Place, ValueFrom, Variable},
    problem::{At, Problems, quoted},
    yaml::{Data, Room, Value},
};
use model::function::nearest;
use std::collections::BTreeMap;

/// Bytes of one variable, name and value: what Linux takes (`MAX_ARG_STRLEN`), and one for each of `=` and the end.
const VARIABLE_BYTES_MAX: usize = 128 * 1024 - 2;
/// Bytes of all variables of one function; a server keeps as much.
const ENVIRONMENT_BYTES_MAX: usize = 512 * 1024;
/// What Geminga itself tells an instance.
const OURS: &str = "GEMINGA_";

/// Variables in their order, each with its place; mistakes are told.
pub(super) fn read(spec: &Value, problems: &mut Problems) -> Vec<Variable> {
    let list = spec.get("pod").and_then(|pod| pod.get("env")).map(Value::items).unwrap_or_default();
    list.iter().enumerate().filter_map(|(n, item)| variable(n, item, problems)).collect()
}

fn variable(n: usize, item: &Value, problems: &mut Problems) -> Option<Variable> {
    let at = |field: &str| item.get(field).map_or(item.at, |value| value.at);
    let Some(name) = text(item, "name") else {
        // Whoever looks at shapes passes over nothing and the empty text, and has told the rest.
        if item.is_null() || item.get("name").and_then(Value::text).is_some() {
            problems.error(at("name"), format!("name is required in spec.pod.env[{n}]"));
        }
        return None;
    };
    if name.contains('=') || !name.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        problems.error(at("name"), format!("{} is no name of a variable", quoted(&name)));
        return None;
    }
    if name.starts_with(OURS) {
        problems.error(at("name"), format!("{}: names that begin with {OURS} are Geminga's own", quoted(&name)));
    }
    let value = text(item, "value");
    if let Some(value) = &value {
        if value.contains('\0') {
            problems.error(at("value"), format!("the variable {} may not hold a zero byte", quoted(&name)));
        }
        if name.len() + value.len() > VARIABLE_BYTES_MAX {
            let text = format!("the variable {} has more than {VARIABLE_BYTES_MAX} bytes", quoted(&name));
            problems.error(at("value"), text);
        }
    }
    let Some(from) = item.get("valueFrom").filter(|from| !from.entries().is_empty()) else {
        if let Some(empty) = item.get("valueFrom").filter(|from| matches!(from.data, Data::Map(_))) {
            problems.error(empty.at, format!("valueFrom of the variable {} has no source", quoted(&name)));
        }
        return Some(Variable { name, value: Some(value.unwrap_or_default()), value_from: None });
    };
    if value.is_some() {
        problems.error(from.at, format!("the variable {} has both value and valueFrom", quoted(&name)));
    }
    if from.entries().len() > 1 {
        problems.error(from.at, format!("valueFrom of the variable {} has more than one source", quoted(&name)));
    }
    let key = |field: &str| {
        let key = from.get(field)?;
        Some(KeyRef {
            name: text(key, "name").unwrap_or_default(),
            key: text(key, "key").unwrap_or_default(),
            optional: flag(key, "optional").unwrap_or_default(),
        })
    };
    let config_map = key("configMapKeyRef").map(|key| ValueFrom::ConfigMap { key, value: None });
    // What only a pod has is kept and reported.
    let value_from = config_map.or_else(|| key("secretKeyRef").map(ValueFrom::Secret))?;
    Some(Variable { name, value: None, value_from: Some(value_from) })
}

/// What the ConfigMaps and Secrets of the same files say; `at`: where the variables are written.
pub(crate) fn resolve<S>(
    node: &mut Node,
    room: &mut Room,
    at: &BTreeMap<String, At>,
    config_maps: &BTreeMap<String, BTreeMap<String, String>>,
    secrets: &BTreeMap<String, BTreeMap<String, S>>,
    problems: &mut Problems,
) {
    let (id, origin) = (node.id(), node.origin);
    let tell = |problems: &mut Problems, variable: &str, kind: &str, of: &KeyRef, known: Option<Vec<&str>>| {
        let at = at.get(variable).copied().unwrap_or(origin);
        let (variable, name, key) = (quoted(variable), quoted(&of.name), quoted(&of.key));
        match known {
            _ if of.optional => {}
            Some(known) => {
                let near = nearest(&of.key, &known).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                problems.error(at, format!("{id}: variable {variable}: the {kind} {name} has no key {key}{near}"));
            }
            None => {
                let text = format!(
                    "{id}: variable {variable}: there is no {kind} {name} in these files, and an apply needs it"
                );
                problems.warning(at, text);
            }
        }
    };
    for Variable { name, value_from, .. } in &mut node.env {
        match value_from {
            Some(ValueFrom::ConfigMap { key, value }) => {
                let map = config_maps.get(&key.name);
                match map.and_then(|map| map.get(&key.key)).map(|found| room.copy(found)) {
                    Some(Ok(copy)) => *value = Some(copy),
                    Some(Err(why)) => return problems.error(at.get(name).copied().unwrap_or(origin), why),
                    None => {
                        tell(problems, name, "ConfigMap", key, map.map(|map| map.keys().map(String::as_str).collect()))
                    }
                }
            }
            Some(ValueFrom::Secret(key)) => {
                let secret = secrets.get(&key.name);
                if secret.is_none_or(|secret| !secret.contains_key(&key.key)) {
                    tell(
                        problems,
                        name,
                        "Secret",
                        key,
                        secret.map(|secret| secret.keys().map(String::as_str).collect()),
                    );
                }
            }
            None => {}
        }
    }
    if !node.env.is_empty() && node.code.as_ref().is_some_and(|code| code.place == Place::Builtin) {
        let text = format!("{id}: env has no effect on a connector of the server's, which has no process of its own");
        problems.note(node.origin, text);
    }
}

/// Where each variable is written; of several with one name, the last.
pub(super) fn places(spec: &Value) -> BTreeMap<String, At> {
    let list = spec.get("pod").and_then(|pod| pod.get("env")).map(Value::items).unwrap_or_default();
    list.iter().filter_map(|item| Some((text(item, "name")?, item.at))).collect()
}

/// The values of variables. `secret` finds the value of a key of a Secret.
///
/// `$(NAME)` in a value stands for a variable before it, and for itself where there is none; `$$` stands for `$`. Of several with one
/// name the last counts.
///
/// # Errors
/// A ConfigMap or a Secret is not there, or has no such key; a value, or all of them, are too long.
///
/// Source: `makeEnvironmentVariables` (`pkg/kubelet/kubelet_pods.go`) and `third_party/forked/golang/expansion`.
pub(crate) fn values<'a>(
    variables: &'a [Variable],
    secret: impl Fn(&KeyRef) -> Option<&'a str>,
) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let mut bytes = 0;
    for Variable { name, value, value_from } in variables {
        let (kind, key, found) = match value_from {
            None => ("", None, Some(expanded(value.as_deref().unwrap_or_default(), &values))),
            Some(ValueFrom::ConfigMap { key, value }) => ("ConfigMap", Some(key), value.clone()),
            Some(ValueFrom::Secret(key)) => ("Secret", Some(key), secret(key).map(str::to_owned)),
        };
        match (found, key) {
            (Some(found), _) => {
                let length = name.len() + found.len();
                bytes += length;
                if found.contains('\0') {
                    return Err(format!("variable {}: its value holds a zero byte", quoted(name)));
                }
                if length > VARIABLE_BYTES_MAX {
                    return Err(format!("variable {} has more than {VARIABLE_BYTES_MAX} bytes", quoted(name)));
                }
                if bytes > ENVIRONMENT_BYTES_MAX {
                    return Err(format!("the variables have more than {ENVIRONMENT_BYTES_MAX} bytes"));
                }
                values.insert(name.clone(), found);
            }
            (None, Some(key)) if !key.optional => {
                let (name, of, key) = (quoted(name), quoted(&key.name), quoted(&key.key));
                return Err(format!("variable {name}: there is no key {key} of a {kind} {of} in these files"));
            }
            (None, _) => {}
        }
    }
    Ok(values)
}

fn expanded(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        whole += &rest[..at];
        rest = &rest[at + 1..];
        let name = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        if let Some(after) = rest.strip_prefix('$') {
            whole.push('$');
            rest = after;
        } else if let Some((name, after)) = name {
            match known.get(name) {
                Some(value) => whole += value,
                None => whole += &format!("$({name})"),
            }
            rest = after;
        } else {
            whole.push('$');
        }
        // What names others over and over grows without end; it is refused for its length.
        if whole.len() > VARIABLE_BYTES_MAX {
            break;
        }
    }
    whole + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_variables_before_it() {
        let known = BTreeMap::from([("HOST".to_owned(), "h".to_owned()), ("A".to_owned(), "$(HOST)".to_owned())]);
        let check = |text: &str, want: &str| assert_eq!(expanded(text, &known), want, "{text}");
        check("http://$(HOST):80/", "http://h:80/");
        check("$(A)", "$(HOST)");
        check("$$(HOST) $(NONE) $HOST $(open $", "$(HOST) $(NONE) $HOST $(open $");
        check("", "");
    }

    #[test]
    fn what_is_too_long_is_refused_however_it_was_made() {
        let variable = |name: &str, value: &str| Variable {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            value_from: None,
        };
        let long = "x".repeat(100_000);
        let given = |variables: &[Variable]| values(variables, |_| None);
        assert!(given(&[variable("A", &long), variable("B", "$(A)")]).is_ok());
        let twice = given(&[variable("A", &long), variable("B", "$(A)$(A)")]);
        assert!(twice.unwrap_err().contains("has more than"), "B is longer than a variable may be");
        let copies = (0..6).map(|n| variable(&format!("C{n}"), "$(A)"));
        let many: Vec<_> = std::iter::once(variable("A", &long)).chain(copies).collect();
        assert!(given(&many).unwrap_err().starts_with("the variables have more than"));
    }
}
