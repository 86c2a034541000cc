//! YAML as a tree in which everything knows where it is written.
//!
//! A manifest is hostile: its size, its depth and what its aliases become are bounded, and a document that is broken does not
//! hide the others. Plain scalars mean what they mean to `kubectl`, which reads YAML 1.1: `yes` and `on` are booleans.

mod load;
mod room;
mod scalar;

pub(crate) use load::{load, one};
pub use room::{MANIFEST_BYTES_MAX, Room};

use crate::problem::At;
use serde_json::{Map, Number, Value as Json};

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) at: At,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Null,
    Bool(bool, String),
    Number(Number, String),
    Text(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
}

/// One name and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where the name is.
    pub(crate) at: At,
    pub(crate) name: String,
    pub(crate) value: Value,
}

impl Value {
    /// The value of a name; nothing where it is `null`, which is as good as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.entry(name).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.name == name)
    }

    /// Names and values; none where this is no mapping.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        match &mut self.data {
            Data::Map(entries) => entries,
            _ => &mut [],
        }
    }

    pub(crate) fn items_mut(&mut self) -> &mut [Value] {
        match &mut self.data {
            Data::List(items) => items,
            _ => &mut [],
        }
    }

    /// Items; none where this is no list.
    pub(crate) fn items(&self) -> &[Value] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is written, whatever it means; nothing for lists and mappings.
    pub(crate) fn written(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) | Data::Bool(_, text) | Data::Number(_, text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match &self.data {
            Data::Bool(flag, _) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number, `2.0` too: `kubectl` sends JSON, which has one kind of numbers.
    pub(crate) fn int(&self) -> Option<i64> {
        let Data::Number(number, _) = &self.data else { return None };
        let whole = || number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 2_f64.powi(53));
        number.as_i64().or_else(|| whole().map(|number| number as i64))
    }

    /// As JSON, the way `kubectl` sends it.
    pub(crate) fn json(&self) -> Json {
        match &self.data {
            Data::Null => Json::Null,
            Data::Bool(flag, _) => Json::Bool(*flag),
            Data::Number(number, _) => Json::Number(number.clone()),
            Data::Text(text) => Json::String(text.clone()),
            Data::List(items) => items.iter().map(Self::json).collect(),
            Data::Map(entries) => Json::Object(object(entries)),
        }
    }

    /// For messages.
    pub(crate) fn described(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(_, text) | Data::Number(_, text) => crate::problem::quoted(text),
            Data::Text(text) => format!("\"{}\"", crate::problem::quoted(text)),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Entries as a JSON object.
pub(crate) fn object(entries: &[Entry]) -> Map<String, Json> {
    entries.iter().map(|entry| (entry.name.clone(), entry.value.json())).collect()
}
