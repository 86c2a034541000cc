//! Whether what was written with one definition can be read with another.
//!
//! Source: Avro's `Resolver`, `Schema.applyAliases` and `ResolvingGrammarGenerator`, with their oddities: names of records
//! do not count outside of unions; an enum that lacks a symbol is no mistake; the first branch of a reader's union that looks
//! right is taken even where a later one would do; and every branch of a writer's union has to fit.

use serde_json::Value;
use std::collections::HashMap;

use super::{Avro, Field, Id, Name, Record, Shape};

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of it can be read.
    Readable,
    /// Not all that may be written can be read.
    Unreadable,
    /// A default is needed that does not fit its field, or aliases make two of one.
    Broken,
    /// It takes more steps than a definition is worth.
    TooComplex,
}

/// Pairs of types that are looked at.
const STEPS_MAX: usize = 300_000;
/// How deep types lie in each other, by name or in place. Each level is a few frames of stack.
const DEPTH_MAX: usize = 200;

/// See the module.
pub(crate) fn can_read(writer: &Avro, reader: &Avro) -> Verdict {
    let renamed;
    let writer = match with_aliases(writer, reader) {
        Ok(None) => writer,
        Ok(Some(other)) => {
            renamed = other;
            &renamed
        }
        Err(verdict) => return verdict,
    };
    let mut resolver =
        Resolver { writer, reader, actions: vec![Action::Fine, Action::Error], seen: HashMap::new(), steps: 0 };
    match resolver.resolve((writer.root, reader.root), 0) {
        Ok(root) if resolver.is_fine(root) => Verdict::Readable,
        Ok(_) => Verdict::Unreadable,
        Err(verdict) => verdict,
    }
}

/// The writer's definition with the names that the reader has for them, if it differs.
fn with_aliases(writer: &Avro, reader: &Avro) -> Result<Option<Avro>, Verdict> {
    let mut names: HashMap<&Name, &Name> = HashMap::new();
    let mut fields: HashMap<&Name, HashMap<&str, &str>> = HashMap::new();
    for of in &reader.types {
        let Some(named) = of.shape.named() else { continue };
        names.extend(named.aliases.iter().map(|alias| (alias, &named.name)));
        let Shape::Record(record) = &of.shape else { continue };
        let own: HashMap<&str, &str> = record
            .fields
            .iter()
            .flat_map(|f| f.aliases.iter().map(|alias| (alias.as_str(), f.name.as_str())))
            .collect();
        if !own.is_empty() {
            fields.extend(named.aliases.iter().map(|alias| (alias, own.clone())));
            fields.insert(&named.name, own);
        }
    }
    if (names.is_empty() && fields.is_empty()) || writer.is_equal(reader) {
        return Ok(None);
    }
    let mut renamed = writer.clone();
    for of in &mut renamed.types {
        let Some(named) = of.shape.named_mut() else { continue };
        if let Some(&name) = names.get(&named.name) {
            named.name = name.clone();
        }
        let name = named.name.clone();
        let (Shape::Record(record), Some(aliases)) = (&mut of.shape, fields.get(&name)) else { continue };
        for field in &mut record.fields {
            if let Some(&own) = aliases.get(field.name.as_str()) {
                field.name = own.to_owned();
            }
        }
        record.by_name = record.fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        if record.by_name.len() < record.fields.len() {
            return Err(Verdict::Broken);
        }
    }
    renamed.check_unions().map_err(|_| Verdict::Broken)?;
    Ok(Some(renamed))
}

/// What a reader has to do for a pair of types, as far as it can go wrong.
#[derive(Debug)]
enum Action {
    Fine,
    Error,
    /// All of these: the parts of a record, an array, a map or a union.
    All(Vec<ActionId>),
}

type ActionId = usize;
const FINE: ActionId = 0;
const ERROR: ActionId = 1;

/// A type of the writer and one of the reader.
type Pair = (Id, Id);

struct Resolver<'a> {
    writer: &'a Avro,
    reader: &'a Avro,
    actions: Vec<Action>,
    /// Pairs of records, also those under way.
    seen: HashMap<Pair, ActionId>,
    steps: usize,
}

impl Resolver<'_> {
    fn step(&mut self, depth: usize) -> Result<(), Verdict> {
        self.steps += 1;
        if self.steps > STEPS_MAX || depth > DEPTH_MAX { Err(Verdict::TooComplex) } else { Ok(()) }
    }

    fn add(&mut self, action: Action) -> ActionId {
        self.actions.push(action);
        self.actions.len() - 1
    }

    fn resolve(&mut self, pair: Pair, depth: usize) -> Result<ActionId, Verdict> {
        self.step(depth)?;
        let (writer, reader) = (self.writer.shape(pair.0), self.reader.shape(pair.1));
        Ok(match (writer, reader) {
            (Shape::Union(branches), _) => {
                if self.union_equals(pair, &mut HashMap::new(), depth)? {
                    return Ok(FINE);
                }
                let parts = branches.iter().map(|&branch| self.resolve((branch, pair.1), depth + 1));
                let parts = parts.collect::<Result<_, _>>()?;
                self.add(Action::All(parts))
            }
            (Shape::Array(w), Shape::Array(r)) | (Shape::Map(w), Shape::Map(r)) => {
                let part = self.resolve((*w, *r), depth + 1)?;
                self.add(Action::All(vec![part]))
            }
            (Shape::Record(_), Shape::Record(_)) => self.records(pair, depth)?,
            (Shape::Fixed(w), Shape::Fixed(r)) if w.named.name.short() == r.named.name.short() && w.size == r.size => {
                FINE
            }
            (Shape::Enum(w), Shape::Enum(r)) if w.named.name.short() == r.named.name.short() => FINE,
            (Shape::Fixed(_), Shape::Fixed(_)) | (Shape::Enum(_), Shape::Enum(_)) => ERROR,
            (_, Shape::Union(branches)) => match self.branch(pair.0, branches, depth)? {
                Some(branch) => self.resolve((pair.0, branch), depth + 1)?,
                None => ERROR,
            },
            (w, r) if w.keyword() == r.keyword() || promotes(w, r) => FINE,
            _ => ERROR,
        })
    }

    fn records(&mut self, pair: Pair, depth: usize) -> Result<ActionId, Verdict> {
        if let Some(&known) = self.seen.get(&pair) {
            return Ok(known);
        }
        let (Shape::Record(writer), Shape::Record(reader)) = (self.writer.shape(pair.0), self.reader.shape(pair.1))
        else {
            return Ok(ERROR);
        };
        let id = self.add(Action::All(Vec::new()));
        self.seen.insert(pair, id);
        for field in &writer.fields {
            // What the reader does not have is skipped.
            let Some(own) = reader.field(&field.name) else { continue };
            let part = self.resolve((field.of, own.of), depth + 1)?;
            if let Action::All(parts) = &mut self.actions[id] {
                parts.push(part);
            }
        }
        for field in reader.fields.iter().filter(|field| writer.field(&field.name).is_none()) {
            self.step(depth)?;
            let Some(default) = &field.default else {
                self.seen.insert(pair, ERROR);
                return Ok(ERROR);
            };
            if !self.fits(field.of, default, depth)? {
                return Err(Verdict::Broken);
            }
        }
        Ok(id)
    }

    /// The branch of a reader's union that is taken for a type of the writer.
    fn branch(&mut self, writer: Id, branches: &[Id], depth: usize) -> Result<Option<Id>, Verdict> {
        let of = self.writer.shape(writer);
        let mut alike: Option<Id> = None;
        for &branch in branches {
            self.step(depth)?;
            let shape = self.reader.shape(branch);
            if shape.keyword() != of.keyword() {
                continue;
            }
            let (Some(w), Some(r)) = (of.named(), shape.named()) else { return Ok(Some(branch)) };
            if w.name == r.name {
                return Ok(Some(branch));
            }
            if matches!(of, Shape::Record(_)) {
                // The first record that looks like it, but rather one of the same short name.
                let action = self.records((writer, branch), depth + 1)?;
                if !self.has_error(action) && (alike.is_none() || w.name.short() == r.name.short()) {
                    alike = Some(branch);
                }
            }
        }
        Ok(alike.or_else(|| branches.iter().copied().find(|&branch| promotes(of, self.reader.shape(branch)))))
    }

    /// Whether it is an error, or one of its parts is; not deeper.
    fn has_error(&self, action: ActionId) -> bool {
        match &self.actions[action] {
            Action::Fine => false,
            Action::Error => true,
            Action::All(parts) => parts.contains(&ERROR),
        }
    }

    fn is_fine(&self, root: ActionId) -> bool {
        let mut visited = vec![false; self.actions.len()];
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            match &self.actions[id] {
                Action::Error => return false,
                Action::All(parts) if !std::mem::replace(&mut visited[id], true) => open.extend(parts),
                Action::All(_) | Action::Fine => {}
            }
        }
        true
    }

    /// Whether two unions are the same branch for branch, so that nothing is to be resolved. `seen` is optimistic about
    /// records under way.
    fn union_equals(&mut self, pair: Pair, seen: &mut HashMap<Pair, bool>, depth: usize) -> Result<bool, Verdict> {
        self.step(depth)?;
        let (writer, reader) = (self.writer.shape(pair.0), self.reader.shape(pair.1));
        if let (Some(w), Some(r)) = (writer.named(), reader.named())
            && w.name.short() != r.name.short()
        {
            return Ok(false);
        }
        match (writer, reader) {
            (Shape::Array(w), Shape::Array(r)) | (Shape::Map(w), Shape::Map(r)) => {
                self.union_equals((*w, *r), seen, depth + 1)
            }
            (Shape::Fixed(w), Shape::Fixed(r)) => Ok(w.size == r.size),
            (Shape::Enum(w), Shape::Enum(r)) => Ok(w.symbols == r.symbols),
            (Shape::Union(w), Shape::Union(r)) => {
                if w.len() != r.len() {
                    return Ok(false);
                }
                for pair in w.iter().copied().zip(r.iter().copied()) {
                    if !self.union_equals(pair, seen, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Shape::Record(w), Shape::Record(r)) => {
                if let Some(&known) = seen.get(&pair) {
                    return Ok(known);
                }
                seen.insert(pair, true);
                let mut same = w.fields.len() == r.fields.len();
                for (w, r) in w.fields.iter().zip(&r.fields) {
                    same = same && w.name == r.name && self.union_equals((w.of, r.of), seen, depth + 1)?;
                }
                seen.insert(pair, same);
                Ok(same)
            }
            (w, r) => Ok(w.named().is_none() && w.keyword() == r.keyword()),
        }
    }

    /// Whether a default can stand for a value of a type of the reader. Source: `ResolvingGrammarGenerator.encode`.
    fn fits(&mut self, of: Id, default: &Value, depth: usize) -> Result<bool, Verdict> {
        self.step(depth)?;
        match self.reader.shape(of) {
            Shape::Null => Ok(default.is_null()),
            Shape::Boolean => Ok(default.is_boolean()),
            Shape::Int | Shape::Long => Ok(default.is_number()),
            Shape::Float | Shape::Double => Ok(default.is_number() || super::not_finite(default).is_some()),
            Shape::Bytes | Shape::String | Shape::Fixed(_) => Ok(default.is_string()),
            Shape::Enum(symbols) => Ok(default.as_str().is_some_and(|symbol| symbols.by_name.contains_key(symbol))),
            // Java's nodes of JSON are lenient: an object has items, and what is neither has none.
            Shape::Array(items) => {
                let of_object = default.as_object().into_iter().flat_map(serde_json::Map::values);
                self.all_fit(*items, default.as_array().into_iter().flatten().chain(of_object), depth)
            }
            Shape::Map(_) if default.as_array().is_some_and(|list| !list.is_empty()) => Ok(false),
            Shape::Map(values) => {
                self.all_fit(*values, default.as_object().into_iter().flat_map(serde_json::Map::values), depth)
            }
            Shape::Union(branches) => match branches.iter().find(|&&branch| is_for(self.reader.shape(branch), default))
            {
                Some(&branch) => self.fits(branch, default, depth + 1),
                None => Ok(false),
            },
            Shape::Record(record) => {
                for field in &record.fields {
                    let Some(value) = default.get(&field.name).or(field.default.as_ref()) else { return Ok(false) };
                    if !self.fits(field.of, value, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn all_fit<'v>(&mut self, of: Id, values: impl Iterator<Item = &'v Value>, depth: usize) -> Result<bool, Verdict> {
        for value in values {
            if !self.fits(of, value, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Record {
    fn field(&self, name: &str) -> Option<&Field> {
        self.by_name.get(name).map(|&at| &self.fields[at])
    }
}

/// Whether the first look at a default says that it is for this branch of a union.
fn is_for(branch: &Shape, default: &Value) -> bool {
    match branch {
        Shape::Null => default.is_null(),
        Shape::Boolean => default.is_boolean(),
        Shape::Int | Shape::Long | Shape::Float | Shape::Double => default.is_number(),
        Shape::Bytes | Shape::String | Shape::Fixed(_) => default.is_string(),
        Shape::Record(_) | Shape::Enum(_) | Shape::Array(_) | Shape::Map(_) | Shape::Union(_) => true,
    }
}

fn promotes(writer: &Shape, reader: &Shape) -> bool {
    use Shape::{Bytes, Double, Float, Int, Long, String};
    matches!(
        (writer, reader),
        (Int, Long | Float | Double) | (Long, Float | Double) | (Float, Double) | (String, Bytes) | (Bytes, String)
    )
}
