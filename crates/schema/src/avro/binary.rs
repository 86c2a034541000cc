//! Values in Avro's binary encoding, as JSON.
//!
//! Records and maps are objects, an enum is the name of its symbol, `bytes` and `fixed` are text with one character for each
//! byte (as in Avro's own JSON encoding), and a union is the value of its branch without a wrapper. Logical types are what
//! lies below them. Source: the Avro specification, "Binary Encoding".

use serde_json::{Map, Number, Value};

use super::{Avro, Enum, Id, Record, Shape};

/// What is wrong with a value.
pub(crate) type Refusal = String;

/// How deep a value is nested: as deep as a reader of JSON follows.
const DEPTH_MAX: usize = 100;
/// Values of no length at all that a payload may have beside those it pays for with bytes.
const FREE_VALUES: usize = 100_000;
/// Attempts to find the branch of a union that a value belongs to, for each value in it.
const ATTEMPTS_MAX: usize = 1_000_000;

/// Reads one value, which has to fill the payload.
pub(crate) fn decode(avro: &Avro, payload: &[u8]) -> Result<Value, Refusal> {
    let mut reader = Reader { avro, rest: payload, values: payload.len() + FREE_VALUES };
    let value = reader.value(avro.root, 0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("{} bytes follow the value", reader.rest.len())) }
}

/// Writes one value. Fields that are not there get their defaults.
pub(crate) fn encode(avro: &Avro, value: &Value) -> Result<Vec<u8>, Refusal> {
    let mut writer = Writer { avro, out: Vec::new(), attempts: ATTEMPTS_MAX };
    writer.value(avro.root, value, 0)?;
    Ok(writer.out)
}

struct Reader<'a> {
    avro: &'a Avro,
    rest: &'a [u8],
    /// How many more values there may be.
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, of: Id, depth: usize) -> Result<Value, Refusal> {
        self.values = self.values.checked_sub(1).ok_or("it has more values than bytes")?;
        if depth > DEPTH_MAX {
            return Err("it is nested too deep".into());
        }
        Ok(match self.avro.shape(of) {
            Shape::Null => Value::Null,
            Shape::Boolean => match self.bytes(1)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                other => return Err(format!("{other:?} is no boolean")),
            },
            Shape::Int => i32::try_from(self.long()?).map_err(|_| "a number is no int")?.into(),
            Shape::Long => self.long()?.into(),
            Shape::Float => {
                let bytes = self.bytes(4)?.try_into().map_err(|_| "no float")?;
                // The shortest text that means this float, and not all the digits of the double.
                let float = f32::from_le_bytes(bytes);
                number(float.to_string().parse().unwrap_or(f64::from(float)))
            }
            Shape::Double => number(f64::from_le_bytes(self.bytes(8)?.try_into().map_err(|_| "no double")?)),
            Shape::Bytes => characters(self.counted()?),
            Shape::String => {
                let text = std::str::from_utf8(self.counted()?).map_err(|_| "a string is not UTF-8")?;
                Value::from(text)
            }
            Shape::Fixed(fixed) => characters(self.bytes(fixed.size)?),
            Shape::Enum(Enum { symbols, named, .. }) => {
                let at = self.index(symbols.len()).ok_or_else(|| format!("no symbol of {}", named.name))?;
                Value::from(symbols[at].as_str())
            }
            Shape::Union(branches) => {
                let at = self.index(branches.len()).ok_or("no branch of a union")?;
                self.value(branches[at], depth + 1)?
            }
            Shape::Array(items) => {
                let mut list = Vec::new();
                self.blocks(|reader| {
                    list.push(reader.value(*items, depth + 1)?);
                    Ok(())
                })?;
                Value::Array(list)
            }
            Shape::Map(values) => {
                let mut map = Map::new();
                self.blocks(|reader| {
                    let key = std::str::from_utf8(reader.counted()?).map_err(|_| "a key is not UTF-8")?;
                    map.insert(key.to_owned(), reader.value(*values, depth + 1)?);
                    Ok(())
                })?;
                Value::Object(map)
            }
            Shape::Record(record) => {
                let mut map = Map::new();
                for field in &record.fields {
                    map.insert(field.name.clone(), self.value(field.of, depth + 1)?);
                }
                Value::Object(map)
            }
        })
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        loop {
            let count = self.long()?;
            if count < 0 {
                // Its length in bytes, for those who skip it.
                self.long()?;
            }
            match count.unsigned_abs() {
                0 => return Ok(()),
                count => (0..count).try_for_each(|_| item(self))?,
            }
        }
    }

    fn index(&mut self, count: usize) -> Option<usize> {
        self.long().ok().and_then(|n| usize::try_from(n).ok()).filter(|&at| at < count)
    }

    fn counted(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.long()?;
        self.bytes(usize::try_from(length).map_err(|_| "a length below zero")?)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A zigzag number of variable length.
    fn long(&mut self) -> Result<i64, Refusal> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed());
            }
        }
        Err("a number does not end".into())
    }
}

/// What JSON has no number for becomes text.
pub(crate) fn number(n: f64) -> Value {
    Number::from_f64(n).map_or_else(
        || {
            Value::from(if n.is_nan() {
                "NaN"
            } else if n > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        },
        Value::Number,
    )
}

/// Each byte as the character of its number.
pub(crate) fn characters(bytes: &[u8]) -> Value {
    Value::String(bytes.iter().map(|&byte| char::from(byte)).collect())
}

/// The way back from [`characters`].
pub(crate) fn from_characters(value: &Value) -> Option<Vec<u8>> {
    value.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

struct Writer<'a> {
    avro: &'a Avro,
    out: Vec<u8>,
    attempts: usize,
}

impl Writer<'_> {
    fn value(&mut self, of: Id, value: &Value, depth: usize) -> Result<(), Refusal> {
        self.attempts = self.attempts.checked_sub(1).ok_or("too many branches of unions to try")?;
        if depth > DEPTH_MAX {
            return Err("it is nested too deep".into());
        }
        let shape = self.avro.shape(of);
        let no = || {
            let what = match value {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "this number",
                Value::String(_) => "this string",
                Value::Array(_) => "an array",
                Value::Object(_) => "an object",
            };
            format!("{what} is no {}", shape.full_name())
        };
        match shape {
            Shape::Null => value.is_null().then_some(()).ok_or_else(no)?,
            Shape::Boolean => self.out.push(value.as_bool().ok_or_else(no)?.into()),
            Shape::Int => {
                let n = value.as_i64().filter(|&n| i32::try_from(n).is_ok()).ok_or_else(no)?;
                self.long(n);
            }
            Shape::Long => self.long(value.as_i64().ok_or_else(no)?),
            #[expect(clippy::cast_possible_truncation, reason = "a float holds what a float can hold")]
            Shape::Float => {
                let float = super::any_number(value).ok_or_else(no)? as f32;
                self.out.extend(float.to_le_bytes());
            }
            Shape::Double => {
                let double = super::any_number(value).ok_or_else(no)?;
                self.out.extend(double.to_le_bytes());
            }
            Shape::Bytes => {
                let bytes = from_characters(value).ok_or_else(no)?;
                self.counted(&bytes);
            }
            Shape::String => self.counted(value.as_str().ok_or_else(no)?.as_bytes()),
            Shape::Fixed(fixed) => {
                let bytes = from_characters(value).filter(|bytes| bytes.len() == fixed.size).ok_or_else(no)?;
                self.out.extend(bytes);
            }
            Shape::Enum(symbols) => {
                let at = value.as_str().and_then(|symbol| symbols.by_name.get(symbol)).ok_or_else(no)?;
                self.count(*at);
            }
            Shape::Array(items) => {
                let list = value.as_array().ok_or_else(no)?;
                if !list.is_empty() {
                    self.count(list.len());
                    list.iter().try_for_each(|item| self.value(*items, item, depth + 1))?;
                }
                self.count(0);
            }
            Shape::Map(values) => {
                let map = value.as_object().ok_or_else(no)?;
                if !map.is_empty() {
                    self.count(map.len());
                    for (key, value) in map {
                        self.counted(key.as_bytes());
                        self.value(*values, value, depth + 1)?;
                    }
                }
                self.count(0);
            }
            Shape::Union(branches) => return self.branch(branches, value, depth).ok_or_else(no),
            Shape::Record(record) => self.record(record, value.as_object().ok_or_else(no)?, depth)?,
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, map: &Map<String, Value>, depth: usize) -> Result<(), Refusal> {
        let name = &record.named.name;
        if let Some(other) = map.keys().find(|key| !record.by_name.contains_key(*key)) {
            return Err(format!("{name} has no field {other}"));
        }
        for field in &record.fields {
            let value = map.get(&field.name).or(field.default.as_ref());
            let value = value.ok_or_else(|| format!("{name} lacks its field {}", field.name))?;
            self.value(field.of, value, depth + 1)?;
        }
        Ok(())
    }

    /// Writes a value as the first branch it fits; a number rather as one that keeps all of it.
    fn branch(&mut self, branches: &[Id], value: &Value, depth: usize) -> Option<()> {
        let before = self.out.len();
        let keeps = |branch: &Id| match self.avro.shape(*branch) {
            Shape::Int | Shape::Long => value.is_i64(),
            Shape::Double => value.is_f64(),
            #[expect(clippy::cast_possible_truncation, reason = "that is the question")]
            Shape::Float => value.as_f64().is_some_and(|n| value.is_f64() && f64::from(n as f32) == n),
            _ => false,
        };
        let (first, then): (Vec<_>, Vec<_>) =
            branches.iter().copied().enumerate().partition(|(_, branch)| keeps(branch));
        for (at, branch) in first.into_iter().chain(then) {
            self.count(at);
            if self.value(branch, value, depth + 1).is_ok() {
                return Some(());
            }
            self.out.truncate(before);
        }
        None
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn count(&mut self, n: usize) {
        self.long(i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn long(&mut self, n: i64) {
        let mut rest = (n << 1 ^ n >> 63).cast_unsigned();
        while rest > 0x7f {
            self.out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }
}
