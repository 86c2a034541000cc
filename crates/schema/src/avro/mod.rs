//! Avro definitions: parsed, compared, resolved against each other and written out again, by the rules of Avro's Java library
//! 1.12, which Pulsar's brokers run.
//!
//! A definition is an arena: types name each other by their number, so recursion is no cycle of pointers, and nothing is as
//! deep as a definition says. Whatever walks two definitions at once counts its steps.

mod binary;
mod equal;
mod parse;
mod render;
mod resolve;

#[cfg(test)]
mod tests;

pub(crate) use binary::{characters, decode, encode, from_characters, number};
pub(crate) use parse::parse;
pub(crate) use resolve::{Verdict, can_read};

use serde_json::{Map, Value};
use std::{collections::HashMap, fmt};

/// Number of a type in its definition.
pub(crate) type Id = usize;

/// One definition with all the types in it.
#[derive(Debug, Clone)]
pub(crate) struct Avro {
    types: Vec<Type>,
    root: Id,
}

#[derive(Debug, Clone)]
pub(crate) struct Type {
    shape: Shape,
    /// What Avro does not know, kept: logical types, `avro.java.string` and the like.
    properties: Map<String, Value>,
}

#[derive(Debug, Clone)]
enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Record),
    Enum(Enum),
    Fixed(Fixed),
}

/// What the named types have in common.
#[derive(Debug, Clone)]
struct Named {
    name: Name,
    aliases: Vec<Name>,
    doc: Option<String>,
}

#[derive(Debug, Clone)]
struct Record {
    named: Named,
    /// Declared as an `error`, which is a record all the same.
    is_error: bool,
    fields: Vec<Field>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    of: Id,
    default: Option<Value>,
    aliases: Vec<String>,
    doc: Option<String>,
    order: Order,
    properties: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    Ignore,
}

#[derive(Debug, Clone)]
struct Enum {
    named: Named,
    symbols: Vec<String>,
    by_name: HashMap<String, usize>,
    default: Option<String>,
}

#[derive(Debug, Clone)]
struct Fixed {
    named: Named,
    size: usize,
}

/// A full name, and where its last part begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    full: String,
    short_at: usize,
}

impl Name {
    /// A name with dots says its namespace itself; an empty namespace is none.
    fn new(name: &str, namespace: Option<&str>) -> Self {
        let full = match (name.rfind('.'), namespace.filter(|namespace| !namespace.is_empty())) {
            (Some(0), _) => name[1..].to_owned(),
            (None, Some(namespace)) => format!("{namespace}.{name}"),
            _ => name.to_owned(),
        };
        let short_at = full.rfind('.').map_or(0, |dot| dot + 1);
        Self { full, short_at }
    }

    fn short(&self) -> &str {
        &self.full[self.short_at..]
    }

    fn namespace(&self) -> Option<&str> {
        self.short_at.checked_sub(1).map(|dot| &self.full[..dot])
    }
}

impl Avro {
    fn shape(&self, id: Id) -> &Shape {
        &self.types[id].shape
    }

    /// Whether it is a union, which Pulsar takes for no topic.
    pub(crate) fn is_union(&self) -> bool {
        matches!(self.shape(self.root), Shape::Union(_))
    }
}

impl Shape {
    fn named(&self) -> Option<&Named> {
        match self {
            Self::Record(record) => Some(&record.named),
            Self::Enum(symbols) => Some(&symbols.named),
            Self::Fixed(fixed) => Some(&fixed.named),
            _ => None,
        }
    }

    fn named_mut(&mut self) -> Option<&mut Named> {
        match self {
            Self::Record(record) => Some(&mut record.named),
            Self::Enum(symbols) => Some(&mut symbols.named),
            Self::Fixed(fixed) => Some(&mut fixed.named),
            _ => None,
        }
    }

    /// Name of the type, but for those that are named by who wrote them.
    fn keyword(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record(_) => "record",
            Self::Enum(_) => "enum",
            Self::Fixed(_) => "fixed",
        }
    }

    /// What tells it from the other branches of a union.
    fn full_name(&self) -> &str {
        self.named().map_or_else(|| self.keyword(), |named| &named.name.full)
    }

    fn primitive(keyword: &str) -> Option<Self> {
        Some(match keyword {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => return None,
        })
    }
}

/// A number, also one that JSON has none for.
pub(crate) fn any_number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| not_finite(value))
}

/// A number that JSON has none for, as the text that stands for it.
fn not_finite(value: &Value) -> Option<f64> {
    value.as_str()?.parse().ok().filter(|number: &f64| !number.is_finite())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}
