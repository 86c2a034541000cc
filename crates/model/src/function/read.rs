//! Reads JSON into records and keeps going at a mistake, so that all of them are told at once.
//!
//! What is accepted is what Pulsar's Jackson mapper accepts: `null` is absent, a number may be quoted, a text may be a
//! number. An empty text is absent too: Java code treats it so nearly everywhere, and Go clients send `""` for what they
//! do not set. Beyond that the strict reader refuses what Jackson would silently drop: names and enum values it does not
//! know. The lenient one (serde's `Deserialize`, for what we or a newer version stored) skips unknown names.

use super::{problem::Problems, quantity::Unit};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a wrong value that are repeated in a message.
const QUOTE_CHARS_MAX: usize = 80;

/// Where the reader is, and what it found wrong so far.
pub(crate) struct Reader {
    strict: bool,
    path: Vec<String>,
    pub(crate) problems: Problems,
    /// Fields that are absent only because they could not be read, or are probably meant by an unknown name.
    pub(crate) misread: BTreeSet<String>,
}

impl Reader {
    pub(crate) fn strict() -> Self {
        Self { strict: true, path: Vec::new(), problems: Problems::default(), misread: BTreeSet::new() }
    }

    pub(crate) fn lenient() -> Self {
        Self { strict: false, ..Self::strict() }
    }

    fn at<R>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(quoted_part(step));
        let result = read(self);
        self.path.pop();
        result
    }

    fn fail(&mut self, message: String) {
        let field = self.path.join(".");
        self.misread.insert(field.clone());
        self.problems.add(field, message);
    }

    fn place(&self) -> String {
        if self.path.is_empty() { "the configuration".to_owned() } else { format!("`{}`", self.path.join(".")) }
    }

    pub(crate) fn expected(&mut self, what: &str, found: &Value) {
        let advice = match found.as_str() {
            Some(text) => self.path.last().and_then(|name| Unit::of(name).advice(text)),
            None => None,
        };
        let advice = advice.map(|advice| format!(": {advice}")).unwrap_or_default();
        self.fail(format!("{} must be {what}, found {}{advice}", self.place(), describe(found)));
    }

    /// One field of a record. `null` and the empty text leave what is there.
    pub(crate) fn field<T: Read>(&mut self, name: &str, value: &Value, into: &mut T) {
        if !value.is_null()
            && value.as_str() != Some("")
            && let Some(read) = self.at(name, |reader| T::read(value, reader))
        {
            *into = read;
        }
    }

    pub(crate) fn unknown(&mut self, name: &str, known: &[&str]) {
        if !self.strict {
            return;
        }
        if self.problems.is_full() {
            // Beyond what is told, a sentence and a hint are only work.
            return self.problems.count();
        }
        let near = nearest(name, known);
        if let Some(near) = near {
            let meant = self.at(near, |reader| reader.path.join("."));
            self.misread.insert(meant);
        }
        let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        let place = if self.path.is_empty() { String::new() } else { format!(" in {}", self.place()) };
        let message = format!("unknown field `{}`{place}{hint}", quoted_part(name));
        self.at(name, |reader| reader.fail(message));
    }

    pub(crate) fn no_choice(&mut self, found: &str, known: &[&str]) {
        let hint = nearest(found, known).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        let known = known.join(", ");
        self.fail(format!("{} must be one of {known}, found \"{}\"{hint}", self.place(), quoted_part(found)));
    }
}

/// A value that can be read from JSON. `None` was reported to the reader.
pub(crate) trait Read: Sized {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self>;
}

impl<T: Read> Read for Option<T> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        T::read(value, reader).map(Some)
    }
}

impl Read for String {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => {
                reader.expected("a text", value);
                None
            }
        }
    }
}

impl Read for bool {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => {
                reader.expected("true or false", value);
                None
            }
        }
    }
}

impl Read for i64 {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let read = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if read.is_none() {
            reader.expected("a whole number", value);
        }
        read
    }
}

impl Read for i32 {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let read = i64::read(value, reader)?;
        let fits = i32::try_from(read).ok();
        if fits.is_none() {
            reader.expected("a whole number below 2^31", value);
        }
        fits
    }
}

impl Read for f64 {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let read = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        // `"NaN"` and `"inf"` parse, and cannot be written as JSON again.
        let read = read.filter(|number: &f64| number.is_finite());
        if read.is_none() {
            reader.expected("a number", value);
        }
        read
    }
}

impl Read for Value {
    fn read(value: &Value, _: &mut Reader) -> Option<Self> {
        Some(value.clone())
    }
}

impl Read for Map<String, Value> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let map = value.as_object().cloned();
        if map.is_none() {
            reader.expected("an object", value);
        }
        map
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Some(list) = value.as_array() else {
            reader.expected("a list", value);
            return None;
        };
        let numbered = list.iter().enumerate();
        Some(numbered.filter_map(|(index, item)| reader.at(&index.to_string(), |r| T::read(item, r))).collect())
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Some(object) = value.as_object() else {
            reader.expected("an object", value);
            return None;
        };
        let entries = object.iter();
        Some(entries.filter_map(|(key, item)| Some((key.clone(), reader.at(key, |r| T::read(item, r))?))).collect())
    }
}

/// A value in a message.
fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", quoted_part(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn quoted_part(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The known name that was probably meant: the same up to case, `_` and `-`, or a few slips of the hand away.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > QUOTE_CHARS_MAX {
        return None;
    }
    let plain = |text: &str| text.chars().filter(|c| !matches!(c, '_' | '-')).collect::<String>().to_lowercase();
    let name = plain(name);
    let slips = (name.chars().count() / 3).clamp(1, 3);
    let near = known.iter().map(|known| (distance(&name, &plain(known)), *known)).min_by_key(|(slips, _)| *slips)?;
    (near.0 <= slips).then_some(near.1)
}

/// Levenshtein's distance in characters: so many slips of the hand.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
