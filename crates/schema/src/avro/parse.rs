//! From JSON text to types. Source: Avro's `Schema.Parser` and `ParseContext`, with the names that Pulsar's
//! `StructSchemaDataValidator.CompatibleNameValidator` lets pass: classes inside classes have a `$` in theirs.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

use super::{Avro, Enum, Field, Fixed, Id, Name, Named, Order, Record, Shape, Type};

/// Why a text is no definition.
pub(crate) type Refusal = String;

/// Longest value of a `fixed` type in bytes; what a frame cannot hold is no value.
const FIXED_BYTES_MAX: i64 = 64 << 20;

const OF_TYPE: [&str; 10] =
    ["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
const OF_FIELD: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];

/// Types may be named before they are defined. Defaults are not checked against their fields, as Pulsar does not.
pub(crate) fn parse(text: &[u8]) -> Result<Avro, Refusal> {
    // The reader of JSON bounds the depth, and with it that of everything here.
    let json: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut parser = Parser::default();
    let root = parser.schema(&json, None)?;
    parser.link(root)
}

#[derive(Default)]
struct Parser {
    types: Vec<Type>,
    by_name: HashMap<String, Id>,
    /// Named and not there yet.
    awaited: HashMap<Id, String>,
}

impl Parser {
    fn schema(&mut self, json: &Value, namespace: Option<&str>) -> Result<Id, Refusal> {
        match json {
            Value::String(name) => Ok(self.find(name, namespace)),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.schema(branch, namespace)).collect::<Result<_, _>>()?;
                Ok(self.add(Shape::Union(branches)))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("Schema not yet supported: {other}")),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: Option<&str>) -> Result<Id, Refusal> {
        let keyword = text(object, "type").ok_or_else(|| format!("No type: {}", brief(object)))?;
        let id = match keyword {
            "record" | "error" => return self.record(object, namespace, keyword == "error"),
            "enum" => return self.symbols(object, namespace),
            "fixed" => return self.fixed(object, namespace),
            "array" => {
                let items = object.get("items").ok_or_else(|| format!("Array has no items type: {}", brief(object)))?;
                let items = self.schema(items, namespace)?;
                self.add(Shape::Array(items))
            }
            "map" => {
                let values =
                    object.get("values").ok_or_else(|| format!("Map has no values type: {}", brief(object)))?;
                let values = self.schema(values, namespace)?;
                self.add(Shape::Map(values))
            }
            other => match Shape::primitive(other) {
                Some(shape) => self.add(shape),
                None => return Ok(self.find(other, namespace)),
            },
        };
        self.types[id].properties = unknown(object, &OF_TYPE);
        Ok(id)
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: Option<&str>, error: bool) -> Result<Id, Refusal> {
        let named = named(object, namespace)?;
        let namespace = named.name.namespace().map(ToOwned::to_owned);
        let full = named.name.full.clone();
        let record = Record { named, is_error: error, fields: Vec::new(), by_name: HashMap::new() };
        let id = self.add(Shape::Record(record));
        if self.by_name.insert(full.clone(), id).is_some() {
            return Err(format!("Can't redefine: {full}"));
        }
        let Some(Value::Array(list)) = object.get("fields") else {
            return Err(format!("Record has no fields: {}", brief(object)));
        };
        let (mut fields, mut by_name) = (Vec::with_capacity(list.len()), HashMap::with_capacity(list.len()));
        for (at, json) in list.iter().enumerate() {
            let field = self.field(json, namespace.as_deref())?;
            if by_name.insert(field.name.clone(), at).is_some() {
                return Err(format!("Duplicate field {} in record {full}", field.name));
            }
            fields.push(field);
        }
        if let Shape::Record(record) = &mut self.types[id].shape {
            (record.fields, record.by_name) = (fields, by_name);
        }
        self.types[id].properties = unknown(object, &OF_TYPE);
        Ok(id)
    }

    fn field(&mut self, json: &Value, namespace: Option<&str>) -> Result<Field, Refusal> {
        let field = json.as_object().ok_or_else(|| format!("No field name: {json}"))?;
        let name = text(field, "name").ok_or_else(|| format!("No field name: {}", brief(field)))?;
        valid(name)?;
        let of = field.get("type").ok_or_else(|| format!("No field type: {}", brief(field)))?;
        let of = self.schema(of, namespace)?;
        let order = match field.get("order") {
            None => Order::Ascending,
            Some(order) => match order.as_str().map(str::to_ascii_lowercase).as_deref() {
                Some("ascending") => Order::Ascending,
                Some("descending") => Order::Descending,
                Some("ignore") => Order::Ignore,
                _ => return Err(format!("No order: {order}")),
            },
        };
        let mut default = field.get("default").cloned();
        if let (Some(Value::String(number)), Shape::Float | Shape::Double) = (&default, &self.types[of].shape) {
            let number: f64 = number.trim().parse().map_err(|_| format!("No number: {number}"))?;
            // What JSON has no number for stays the text that stands for it.
            default = serde_json::Number::from_f64(number).map(Value::Number).or(default);
        }
        Ok(Field {
            name: name.to_owned(),
            of,
            default,
            aliases: aliases(field)?,
            doc: text(field, "doc").map(ToOwned::to_owned),
            order,
            properties: unknown(field, &OF_FIELD),
        })
    }

    fn symbols(&mut self, object: &Map<String, Value>, namespace: Option<&str>) -> Result<Id, Refusal> {
        let named = named(object, namespace)?;
        let Some(Value::Array(list)) = object.get("symbols") else {
            return Err(format!("Enum has no symbols: {}", brief(object)));
        };
        let (mut symbols, mut by_name) = (Vec::with_capacity(list.len()), HashMap::with_capacity(list.len()));
        for (at, symbol) in list.iter().enumerate() {
            let symbol = symbol.as_str().ok_or("Null name")?;
            valid(symbol)?;
            if by_name.insert(symbol.to_owned(), at).is_some() {
                return Err(format!("Duplicate enum symbol: {symbol}"));
            }
            symbols.push(symbol.to_owned());
        }
        let default = text(object, "default").map(ToOwned::to_owned);
        if let Some(default) = default.as_ref().filter(|default| !by_name.contains_key(*default)) {
            return Err(format!("The Enum Default: {default} is not in the enum symbol set"));
        }
        let mut properties = unknown(object, &OF_TYPE);
        properties.remove("default");
        self.define(Shape::Enum(Enum { named, symbols, by_name, default }), properties)
    }

    fn fixed(&mut self, object: &Map<String, Value>, namespace: Option<&str>) -> Result<Id, Refusal> {
        let named = named(object, namespace)?;
        let size = object.get("size").and_then(Value::as_i64);
        let size = size.ok_or_else(|| format!("Invalid or no size: {}", brief(object)))?;
        let fits = usize::try_from(size).ok().filter(|_| size <= FIXED_BYTES_MAX);
        let size = fits.ok_or_else(|| format!("a fixed type of {size} bytes"))?;
        self.define(Shape::Fixed(Fixed { named, size }), unknown(object, &OF_TYPE))
    }

    /// A name for the second time is the same type, if it is.
    fn define(&mut self, shape: Shape, properties: Map<String, Value>) -> Result<Id, Refusal> {
        let full = shape.full_name().to_owned();
        if let Some(&id) = self.by_name.get(&full) {
            let same = match (&self.types[id].shape, &shape) {
                (Shape::Enum(old), Shape::Enum(new)) => old.symbols == new.symbols,
                (Shape::Fixed(old), Shape::Fixed(new)) => old.size == new.size,
                _ => false,
            };
            return if same { Ok(id) } else { Err(format!("Can't redefine: {full}")) };
        }
        let id = self.add(shape);
        self.types[id].properties = properties;
        self.by_name.insert(full, id);
        Ok(id)
    }

    /// A type by name: of this namespace, or of none.
    fn find(&mut self, name: &str, namespace: Option<&str>) -> Id {
        if let Some(shape) = Shape::primitive(name) {
            return self.add(shape);
        }
        let full = Name::new(name, namespace).full;
        if let Some(&id) = self.by_name.get(&full).or_else(|| self.by_name.get(name)) {
            return id;
        }
        let id = self.add(Shape::Null);
        self.awaited.insert(id, full);
        id
    }

    fn add(&mut self, shape: Shape) -> Id {
        self.types.push(Type { shape, properties: Map::new() });
        self.types.len() - 1
    }

    /// Puts what was defined later in the places where it was named, and looks at unions once their branches are known.
    fn link(mut self, root: Id) -> Result<Avro, Refusal> {
        let mut places = HashMap::with_capacity(self.awaited.len());
        for (id, name) in &self.awaited {
            let target = self.by_name.get(name).ok_or_else(|| format!("Undefined schema: {name}"))?;
            places.insert(*id, *target);
        }
        let link = |id: &mut Id| *id = places.get(id).copied().unwrap_or(*id);
        for of in &mut self.types {
            match &mut of.shape {
                Shape::Array(id) | Shape::Map(id) => link(id),
                Shape::Union(ids) => ids.iter_mut().for_each(link),
                Shape::Record(record) => record.fields.iter_mut().for_each(|field| link(&mut field.of)),
                _ => {}
            }
        }
        let avro = Avro { root: places.get(&root).copied().unwrap_or(root), types: self.types };
        avro.check_unions()?;
        Ok(avro)
    }
}

impl Avro {
    /// No union in a union, and no two branches of one name.
    pub(super) fn check_unions(&self) -> Result<(), Refusal> {
        for of in &self.types {
            let Shape::Union(branches) = &of.shape else { continue };
            let mut names = HashSet::with_capacity(branches.len());
            for &branch in branches {
                let shape = self.shape(branch);
                if matches!(shape, Shape::Union(_)) {
                    return Err("Nested union".into());
                }
                if !names.insert(shape.full_name()) {
                    return Err(format!("Duplicate in union:{}", shape.full_name()));
                }
            }
        }
        Ok(())
    }
}

fn named(object: &Map<String, Value>, namespace: Option<&str>) -> Result<Named, Refusal> {
    let name = text(object, "name").ok_or_else(|| format!("No name in schema: {}", brief(object)))?;
    let name = Name::new(name, text(object, "namespace").or(namespace));
    name.full.split('.').try_for_each(valid)?;
    if Shape::primitive(&name.full).is_some() {
        return Err(format!("Schemas may not be named after primitives: {name}"));
    }
    let mut own = Vec::new();
    for alias in aliases(object)? {
        let alias = Name::new(&alias, name.namespace());
        valid(alias.short())?;
        own.push(alias);
    }
    Ok(Named { name, aliases: own, doc: text(object, "doc").map(ToOwned::to_owned) })
}

fn aliases(object: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let Some(aliases) = object.get("aliases") else { return Ok(Vec::new()) };
    let list = aliases.as_array().ok_or_else(|| format!("aliases not an array: {}", brief(object)))?;
    let text =
        |alias: &Value| alias.as_str().map(ToOwned::to_owned).ok_or_else(|| format!("alias not a string: {alias}"));
    list.iter().map(text).collect()
}

fn valid(name: &str) -> Result<(), Refusal> {
    let mut characters = name.chars();
    let Some(first) = characters.next() else { return Err("Empty name".into()) };
    if !(first.is_alphabetic() || matches!(first, '_' | '$')) {
        return Err(format!("Illegal initial character: {name}"));
    }
    if !characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
        return Err(format!("Illegal character in: {name}"));
    }
    Ok(())
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn unknown(object: &Map<String, Value>, known: &[&str]) -> Map<String, Value> {
    let unknown = object.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Enough of an object to find it again.
fn brief(object: &Map<String, Value>) -> String {
    let text = Value::Object(object.clone()).to_string();
    match text.char_indices().nth(200) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
