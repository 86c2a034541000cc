//! Whether a value has its shape; everything that does not fit, at once.

use super::{Effect, Need, Record, Shape};
use crate::{
    problem::{At, Problems, quoted},
    yaml::Value,
};
use model::function::nearest;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Walks one value, and remembers what could not be read.
pub(crate) struct Checker<'a> {
    pub(crate) problems: &'a mut Problems,
    /// Paths, dots between names, of what is missing only because it could not be read, or is meant by an unknown name.
    pub(crate) misread: BTreeSet<String>,
    path: Vec<String>,
    /// Whether this is of no effect here, so that a mistake in it is no reason to refuse anything.
    is_kept: bool,
    /// Whether this is within a resource of Function Mesh, so that the API server has a schema for it and no Go type.
    is_custom: bool,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(problems: &'a mut Problems) -> Self {
        Self { problems, misread: BTreeSet::new(), path: Vec::new(), is_kept: false, is_custom: false }
    }

    /// Of what is itself a spec.
    pub(crate) fn of_spec(problems: &'a mut Problems) -> Self {
        Self { is_custom: true, ..Self::new(problems) }
    }

    pub(crate) fn record(&mut self, value: &mut Value, record: &'static Record) {
        if value.is_null() {
            return;
        }
        if !matches!(value.data, crate::yaml::Data::Map(_)) {
            return self.expected("a mapping", value);
        }
        self.respell(value, record);
        for entry in value.entries_mut() {
            self.path.push(entry.name.clone());
            match record.field(&entry.name) {
                Some(field) => {
                    let around = (self.is_kept, self.is_custom);
                    self.is_kept |= field.effect == Effect::Kept;
                    self.is_custom |= self.path[..] == ["spec"];
                    self.value(&mut entry.value, field.shape);
                    (self.is_kept, self.is_custom) = around;
                }
                None => self.unknown(&entry.name, entry.at, record),
            }
            self.path.pop();
        }
        for field in record.fields().filter(|field| field.need != Need::Nobody && value.get(field.name).is_none()) {
            let misread = self.path.iter().map(String::as_str).chain([field.name]).collect::<Vec<_>>().join(".");
            if self.misread.contains(&misread) {
                continue;
            }
            match field.need {
                Need::Kubernetes => {
                    let text = format!("{} is required{} by Kubernetes, and not here", field.name, self.within());
                    self.problems.warning(value.at, text);
                }
                _ => self.tell(value.at, format!("{} is required{}", field.name, self.within())),
            }
        }
    }

    fn value(&mut self, value: &mut Value, shape: Shape) {
        if value.is_null() {
            return;
        }
        match shape {
            Shape::Any => {}
            Shape::Text => {
                if value.text().is_none() {
                    self.expected("a text", value);
                }
            }
            Shape::Bool => {
                if value.bool().is_none() {
                    self.expected("true or false", value);
                }
            }
            Shape::Int(min) => match value.int() {
                None => self.expected("a whole number", value),
                Some(number) if number < min.into() => self.expected(&format!("at least {min}"), value),
                Some(number) if i32::try_from(number).is_err() => self.expected("a whole number below 2^31", value),
                Some(_) => {}
            },
            Shape::Long(min) => match value.int() {
                None => self.expected("a whole number", value),
                Some(number) if number < min => self.expected(&format!("at least {min}"), value),
                Some(_) => {}
            },
            Shape::Name | Shape::Label => self.named(value, shape),
            Shape::Quantity => {
                if self.is_custom && matches!(value.data, crate::yaml::Data::Number(..)) && value.int().is_none() {
                    let text = format!(
                        "{}: Kubernetes takes {} in quotes only",
                        quoted(&shown(&self.path)),
                        value.described()
                    );
                    self.problems.warning(value.at, text);
                }
                if value.written().is_none_or(|text| text.parse::<autoscale::Quantity>().is_err()) {
                    let meant =
                        value.written().and_then(meant_quantity).map(|meant| format!(", did you mean {meant}?"));
                    self.expected_and("a quantity such as 500m, 2 or 1Gi", value, &meant.unwrap_or_default());
                }
            }
            Shape::Choice(choices) => match value.text() {
                Some(text) if choices.contains(&text) => {}
                Some(text) => {
                    let near = nearest(text, choices).map(|near| format!(", did you mean {near}?"));
                    self.expected_and(&format!("one of {}", choices.join(", ")), value, &near.unwrap_or_default());
                }
                None => {
                    // `Off` is `false` in YAML.
                    let is_choice = value.written().is_some_and(|text| choices.contains(&text));
                    let advice = if is_choice { ": put it in quotes" } else { "" };
                    self.expected_and(&format!("one of {}", choices.join(", ")), value, advice);
                }
            },
            Shape::Object => {
                if !matches!(value.data, crate::yaml::Data::Map(_)) {
                    self.expected("a mapping", value);
                }
            }
            Shape::List(shape) => {
                if !matches!(value.data, crate::yaml::Data::List(_)) {
                    return self.expected("a list", value);
                }
                for (index, item) in value.items_mut().iter_mut().enumerate() {
                    self.path.push(index.to_string());
                    if item.is_null() {
                        self.nothing(item.at);
                    }
                    self.value(item, *shape);
                    self.path.pop();
                }
            }
            Shape::Map(shape) => {
                if !matches!(value.data, crate::yaml::Data::Map(_)) {
                    return self.expected("a mapping", value);
                }
                for entry in value.entries_mut() {
                    self.path.push(entry.name.clone());
                    self.value(&mut entry.value, *shape);
                    self.path.pop();
                }
            }
            Shape::Record(record) | Shape::Core(record) => self.record(value, record),
        }
    }

    /// An item that is none. Behind a name the API server drops `null` as it is dropped here; in a list it refuses it.
    fn nothing(&mut self, at: At) {
        if self.is_custom {
            let text =
                format!("{} has no value, and Kubernetes refuses that: leave it out", quoted(&shown(&self.path)));
            self.problems.warning(at, text);
        }
    }

    /// A name, or the value of a label. What Kubernetes refuses may well run here.
    fn named(&mut self, value: &Value, shape: Shape) {
        let Some(text) = value.text() else { return self.expected("a text", value) };
        let what = match shape {
            Shape::Name if !is_object_name(text) => "name: small letters and digits, with - and . between them",
            Shape::Label if !is_label(text) => "label: up to 63 letters and digits, with -, _ and . between them",
            _ => return,
        };
        let place = shown(&self.path);
        let text = format!("{} {} is for Kubernetes no {what}", quoted(&place), value.described());
        self.problems.warning(value.at, text);
    }

    fn tell(&mut self, at: At, text: String) {
        if self.is_kept { self.problems.warning(at, text) } else { self.problems.error(at, text) }
    }

    fn expected(&mut self, what: &str, found: &Value) {
        let advice = match (what, found.text()) {
            ("a text", _) if found.written().is_some() => ": put it in quotes",
            ("a list", _) if found.written().is_some() => ": put it in brackets",
            ("a list", _) => ": put `- ` before it",
            ("true or false", Some("true" | "false")) | ("a whole number", Some(_))
                if found.text().is_some_and(|text| text.parse::<f64>().is_ok() || matches!(text, "true" | "false")) =>
            {
                ": take the quotes away"
            }
            _ => "",
        };
        self.expected_and(what, found, advice);
    }

    fn expected_and(&mut self, what: &str, found: &Value, advice: &str) {
        let place = if self.path.is_empty() { "this".to_owned() } else { shown(&self.path) };
        self.tell(found.at, format!("{} must be {what}, found {}{advice}", quoted(&place), found.described()));
        self.misread.insert(self.path.join("."));
    }

    /// Names that differ from known ones in nothing but their case are those.
    fn respell(&mut self, value: &mut Value, record: &'static Record) {
        let is_known = |entry: &crate::yaml::Entry| record.field(&entry.name).is_some();
        let given: Vec<String> =
            value.entries().iter().filter(|entry| is_known(entry)).map(|entry| entry.name.clone()).collect();
        let place = if self.path.is_empty() { record.name.to_owned() } else { shown(&self.path) };
        for entry in value.entries_mut().iter_mut().filter(|entry| !is_known(entry)) {
            let known = record.fields().find(|field| field.name.eq_ignore_ascii_case(&entry.name));
            if let Some(field) = known.filter(|field| !given.iter().any(|given| given == field.name)) {
                let text = format!(
                    "`{}` in {} is spelled `{}`: read as that, though Kubernetes drops it",
                    quoted(&entry.name),
                    quoted(&place),
                    field.name
                );
                self.problems.warning(entry.at, text);
                entry.name = field.name.to_owned();
            }
        }
    }

    /// A slip of the hand is a mistake; a name nothing here is like may be of another version and is passed over.
    fn unknown(&mut self, name: &str, at: At, record: &'static Record) {
        if self.problems.is_full() {
            return self.problems.count();
        }
        let known: Vec<&str> = record.fields().map(|field| field.name).collect();
        let near = nearest(name, &known);
        // What has no effect here has none under another name either.
        let is_kept = |near: &str| record.field(near).is_some_and(|field| field.effect == Effect::Kept);
        let place = shown(&self.path[..self.path.len() - 1]);
        let place = if place.is_empty() { record.name.to_owned() } else { place };
        let text = format!("unknown field `{}` in {}", quoted(name), quoted(&place));
        match near {
            Some(near) if is_kept(near) => self.problems.warning(at, format!("{text}, did you mean `{near}`?")),
            Some(near) => {
                self.tell(at, format!("{text}, did you mean `{near}`?"));
                let parent = &self.path[..self.path.len() - 1];
                let meant = parent.iter().map(String::as_str).chain([near]).collect::<Vec<_>>().join(".");
                self.misread.insert(meant);
            }
            None => self.problems.warning(at, format!("{text}; it is passed over")),
        }
    }

    fn within(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in {}", quoted(&shown(&self.path))) }
    }
}

/// Whether Kubernetes takes this as the name of a resource. Source: `IsDNS1123Subdomain` of `k8s.io/apimachinery`.
pub(crate) fn is_object_name(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_part = |part: &str| {
        is_end(part.chars().next())
            && is_end(part.chars().next_back())
            && part.chars().all(|c| is_end(Some(c)) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Whether it is one for a label. Source: `IsValidLabelValue` of the same.
fn is_label(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A path as a sentence has it: `spec.functions[0].input`.
fn shown(path: &[String]) -> String {
    path.iter().fold(String::new(), |text, step| match step.parse::<usize>() {
        Ok(index) => format!("{text}[{index}]"),
        Err(_) if text.is_empty() => step.clone(),
        Err(_) => format!("{text}.{step}"),
    })
}

/// What was probably meant by a quantity that is none: `512mb`, `1 GiB`, `2gi`.
fn meant_quantity(text: &str) -> Option<String> {
    let text: String = text.split_whitespace().collect();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, suffix) = text.split_at(split);
    let suffix = match suffix.to_ascii_lowercase().as_str() {
        "b" => "",
        "k" | "kb" => "k",
        "ki" | "kib" => "Ki",
        "m" | "mb" => "M",
        "mi" | "mib" => "Mi",
        "g" | "gb" => "G",
        "gi" | "gib" => "Gi",
        "t" | "tb" => "T",
        "ti" | "tib" => "Ti",
        _ => return None,
    };
    let meant = format!("{number}{suffix}");
    meant.parse::<autoscale::Quantity>().is_ok().then_some(meant)
}

/// What only Kubernetes acts on, by its path, in the order of the names.
pub(crate) fn kept(value: &Value, record: &'static Record) -> BTreeMap<String, Json> {
    let mut found = BTreeMap::new();
    collect(value, record, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, record: &'static Record, path: &mut Vec<String>, found: &mut BTreeMap<String, Json>) {
    for entry in value.entries().iter().filter(|entry| !entry.value.is_null()) {
        let Some(field) = record.field(&entry.name) else { continue };
        path.push(entry.name.clone());
        match (field.effect, field.shape) {
            (Effect::Kept, _) => {
                found.insert(path.join("."), entry.value.json());
            }
            (Effect::Acts, Shape::Record(record)) => collect(&entry.value, record, path, found),
            (Effect::Acts, Shape::List(Shape::Record(record))) => {
                for (index, item) in entry.value.items().iter().enumerate() {
                    path.push(index.to_string());
                    collect(item, record, path, found);
                    path.pop();
                }
            }
            (Effect::Acts, Shape::Map(Shape::Record(record))) => {
                for named in entry.value.entries() {
                    path.push(named.name.clone());
                    collect(&named.value, record, path, found);
                    path.pop();
                }
            }
            (Effect::Acts, _) => {}
        }
        path.pop();
    }
}
