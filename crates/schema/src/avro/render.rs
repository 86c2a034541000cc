//! A definition as Avro prints it: `Schema.toString(true)`, which is what people find in an error.

use serde_json::Value;
use std::{collections::HashSet, fmt::Write};

use super::{Avro, Id, Name, Order, Shape};

/// Longer texts are cut: an error has to fit into a frame, and nobody reads that far.
const TEXT_BYTES_MAX: usize = 16 * 1024;

impl Avro {
    /// See the module.
    pub(crate) fn render(&self) -> String {
        let mut out = Printer { text: String::new(), depth: 0 };
        out.schema(self, self.root, None, &mut HashSet::new());
        if let Some((cut, _)) = out.text.char_indices().find(|(at, _)| *at >= TEXT_BYTES_MAX) {
            out.text.truncate(cut);
            out.text.push_str(" ...");
        }
        out.text
    }
}

/// Writes JSON as Jackson's `DefaultPrettyPrinter` does.
struct Printer {
    text: String,
    depth: usize,
}

impl Printer {
    fn is_full(&self) -> bool {
        self.text.len() > TEXT_BYTES_MAX
    }

    fn schema<'a>(&mut self, avro: &'a Avro, id: Id, namespace: Option<&str>, known: &mut HashSet<&'a str>) {
        if self.is_full() {
            return;
        }
        let of = &avro.types[id];
        if let Some(named) = of.shape.named()
            && !known.insert(&named.name.full)
        {
            return self.scalar(&Value::from(qualified(&named.name, namespace)));
        }
        match &of.shape {
            Shape::Union(branches) => {
                self.list(branches, |out, &branch| out.schema(avro, branch, namespace, known));
            }
            shape if of.properties.is_empty() && Shape::primitive(shape.keyword()).is_some() => {
                self.scalar(&Value::from(shape.keyword()));
            }
            shape => self.object(|out, first| {
                let keyword = match shape {
                    Shape::Record(record) if record.is_error => "error",
                    shape => shape.keyword(),
                };
                out.entry(first, "type", &Value::from(keyword));
                let named = shape.named();
                if let Some(named) = named {
                    out.entry(first, "name", &Value::from(named.name.short()));
                    if named.name.namespace() != namespace {
                        out.entry(first, "namespace", &Value::from(named.name.namespace().unwrap_or("")));
                    }
                    if let Some(doc) = &named.doc {
                        out.entry(first, "doc", &Value::from(doc.as_str()));
                    }
                }
                match shape {
                    Shape::Array(items) => {
                        out.key(first, "items");
                        out.schema(avro, *items, namespace, known);
                    }
                    Shape::Map(values) => {
                        out.key(first, "values");
                        out.schema(avro, *values, namespace, known);
                    }
                    Shape::Record(record) => {
                        out.key(first, "fields");
                        out.list(&record.fields, |out, field| {
                            out.field(avro, field, record.named.name.namespace(), known);
                        });
                    }
                    Shape::Enum(symbols) => {
                        out.entry(first, "symbols", &Value::from(symbols.symbols.as_slice()));
                        if let Some(default) = &symbols.default {
                            out.entry(first, "default", &Value::from(default.as_str()));
                        }
                    }
                    Shape::Fixed(fixed) => out.entry(first, "size", &Value::from(fixed.size)),
                    _ => {}
                }
                for (key, value) in &of.properties {
                    out.entry(first, key, value);
                }
                if let Some(named) = named.filter(|named| !named.aliases.is_empty()) {
                    let aliases = named.aliases.iter().map(|alias| qualified(alias, named.name.namespace()));
                    out.entry(first, "aliases", &aliases.collect::<Vec<_>>().into());
                }
            }),
        }
    }

    fn field<'a>(
        &mut self,
        avro: &'a Avro,
        field: &super::Field,
        namespace: Option<&str>,
        known: &mut HashSet<&'a str>,
    ) {
        self.object(|out, first| {
            out.entry(first, "name", &Value::from(field.name.as_str()));
            out.key(first, "type");
            out.schema(avro, field.of, namespace, known);
            if let Some(doc) = &field.doc {
                out.entry(first, "doc", &Value::from(doc.as_str()));
            }
            if let Some(default) = &field.default {
                out.entry(first, "default", default);
            }
            match field.order {
                Order::Ascending => {}
                Order::Descending => out.entry(first, "order", &Value::from("descending")),
                Order::Ignore => out.entry(first, "order", &Value::from("ignore")),
            }
            if !field.aliases.is_empty() {
                out.entry(first, "aliases", &Value::from(field.aliases.as_slice()));
            }
            for (key, value) in &field.properties {
                out.entry(first, key, value);
            }
        });
    }

    fn json(&mut self, value: &Value) {
        if self.is_full() {
            return;
        }
        match value {
            Value::Array(items) => self.list(items, Self::json),
            Value::Object(fields) => self.object(|out, first| {
                for (key, value) in fields {
                    out.entry(first, key, value);
                }
            }),
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, value: &Value) {
        let _ = write!(self.text, "{value}"); // into a String, which takes it
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.text.push_str("[ ");
        for (at, item) in items.iter().enumerate().take_while(|(at, _)| *at < TEXT_BYTES_MAX) {
            if at > 0 {
                self.text.push_str(", ");
            }
            write(self, item);
        }
        self.text.push_str(if items.is_empty() { "]" } else { " ]" });
    }

    fn object(&mut self, write: impl FnOnce(&mut Self, &mut bool)) {
        let mut first = true;
        self.text.push('{');
        self.depth += 1;
        write(self, &mut first);
        self.depth -= 1;
        if first {
            self.text.push_str(" }");
        } else {
            self.line();
            self.text.push('}');
        }
    }

    fn key(&mut self, first: &mut bool, key: &str) {
        if !std::mem::take(first) {
            self.text.push(',');
        }
        self.line();
        self.scalar(&Value::from(key));
        self.text.push_str(" : ");
    }

    fn entry(&mut self, first: &mut bool, key: &str, value: &Value) {
        self.key(first, key);
        self.json(value);
    }

    fn line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
    }
}

/// A name as short as it may be where it stands.
fn qualified(name: &Name, namespace: Option<&str>) -> String {
    let inside = name.namespace().is_some() && name.namespace() == namespace;
    // A type that is called as one of Avro's own says where it is from.
    const OWN: [&str; 14] = [
        "record", "enum", "array", "map", "union", "fixed", "string", "bytes", "int", "long", "float", "double",
        "boolean", "null",
    ];
    if inside && !OWN.contains(&name.short()) { name.short().to_owned() } else { name.full.clone() }
}
