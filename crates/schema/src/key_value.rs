//! Schemas of a key and a value together. Source: Pulsar's `KeyValueSchemaInfo`, `KeyValue` and `SchemaUtils`.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::{
    Definition, Kind,
    error::{Error, Result},
};

/// The two halves of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Schema of the key.
    pub key: Definition,
    /// Schema of the value.
    pub value: Definition,
    /// Whether the key travels as the key of its message, and not in the payload.
    pub is_separated: bool,
}

impl KeyValue {
    /// Takes a schema of kind `KEY_VALUE` apart. A half whose kind is not named has that of plain bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are not two halves; [`Error::UnknownKind`].
    pub fn of(definition: &Definition) -> Result<Self> {
        let half = |which: &str, data: Bytes| -> Result<Definition> {
            let property = |name: &str| definition.properties.get(&format!("{which}.schema.{name}"));
            let kind = property("type").map_or(Ok(Kind::Bytes), |name| name.parse())?;
            let properties = match property("properties").filter(|text| !text.is_empty()) {
                None => BTreeMap::new(),
                Some(text) => serde_json::from_str(text)
                    .map_err(|error| Error::Invalid(format!("the properties of the {which} schema: {error}")))?,
            };
            Ok(Definition { kind, data, properties })
        };
        let (key, value) = payload_parts(&definition.data)
            .ok_or_else(|| Error::Invalid("Invalid schema definition data for KEY_VALUE schema".into()))?;
        Ok(Self {
            key: half("key", definition.data.slice_ref(key))?,
            value: half("value", definition.data.slice_ref(value))?,
            is_separated: definition.properties.get("kv.encoding.type").is_some_and(|how| how == "SEPARATED"),
        })
    }
}

/// Key and value where both are in one piece: each after its length in 4 bytes; a length of -1 is none.
#[must_use]
pub fn payload_parts(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let part = |data: &'_ [u8]| -> Option<(usize, usize)> {
        let length = i32::from_be_bytes(data.get(..4)?.try_into().ok()?);
        let length = if length == -1 { 0 } else { usize::try_from(length).ok()? };
        data.get(4..4 + length).map(|_| (4, 4 + length))
    };
    let (from, to) = part(data)?;
    let (key, rest) = (&data[from..to], &data[to..]);
    let (from, to) = part(rest)?;
    Some((key, &rest[from..to]))
}

/// One piece of two.
pub(crate) fn join(key: &[u8], value: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(8 + key.len() + value.len());
    for part in [key, value] {
        joined.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
        joined.put_slice(part);
    }
    joined.freeze()
}

/// What administrators send and get for a schema of a key and a value.
#[derive(Deserialize, Serialize)]
struct Halves {
    key: Box<RawValue>,
    value: Box<RawValue>,
}

/// The definition that administrators send as `{"key": ..., "value": ...}`; a half that is `""` is a primitive's.
///
/// # Errors
/// [`Error::Invalid`] when it is not of that form.
pub fn data_from_json(text: &str) -> Result<Bytes> {
    let halves: Halves = serde_json::from_str(text)
        .map_err(|error| Error::Invalid(format!("Invalid schema definition data for KEY_VALUE schema: {error}")))?;
    let half = |half: &RawValue| match compact(half.get()) {
        empty if empty == "\"\"" => String::new(),
        definition => definition,
    };
    Ok(join(half(&halves.key).as_bytes(), half(&halves.value).as_bytes()))
}

/// The way back from [`data_from_json`].
///
/// # Errors
/// As [`KeyValue::of`]; [`Error::Invalid`] when a half is no JSON.
pub fn data_to_json(definition: &Definition) -> Result<String> {
    let invalid = |error: &dyn std::fmt::Display| Error::Invalid(format!("a half of a KEY_VALUE schema: {error}"));
    let half = |half: &Definition| {
        let text =
            if half.kind.is_primitive() { "\"\"" } else { std::str::from_utf8(&half.data).map_err(|e| invalid(&e))? };
        RawValue::from_string(compact(text)).map_err(|e| invalid(&e))
    };
    let KeyValue { key, value, .. } = KeyValue::of(definition)?;
    serde_json::to_string(&Halves { key: half(&key)?, value: half(&value)? }).map_err(|e| invalid(&e))
}

/// JSON without the white space between its parts.
fn compact(json: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let keep = |c: &char| {
        let keep = in_string || !c.is_ascii_whitespace();
        if !is_escaped && *c == '"' {
            in_string = !in_string;
        }
        is_escaped = in_string && *c == '\\' && !is_escaped;
        keep
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_value(key: &str, value: &str, data: Bytes) -> Definition {
        let properties = [("key.schema.type", key), ("value.schema.type", value)];
        Definition { kind: Kind::KeyValue, data, properties: properties.map(|(k, v)| (k.into(), v.into())).into() }
    }

    #[test]
    fn the_halves_come_apart_again() {
        let mut schema = key_value("AVRO", "STRING", join(br#""int""#, b""));
        schema.properties.insert("key.schema.properties".into(), r#"{"__alwaysAllowNull":"true"}"#.into());
        schema.properties.insert("kv.encoding.type".into(), "SEPARATED".into());
        let halves = KeyValue::of(&schema).unwrap();
        assert_eq!((halves.key.kind, &halves.key.data[..]), (Kind::Avro, &br#""int""#[..]));
        assert_eq!(halves.key.properties["__alwaysAllowNull"], "true");
        assert_eq!((halves.value.kind, halves.value.data.len()), (Kind::String, 0));
        assert!(halves.is_separated);
    }

    #[test]
    fn what_is_not_named_is_bytes() {
        let halves = KeyValue::of(&Definition::new(Kind::KeyValue, join(b"k", b"v"))).unwrap();
        assert_eq!((halves.key.kind, halves.value.kind, halves.is_separated), (Kind::Bytes, Kind::Bytes, false));
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        for data in [
            &b""[..],
            b"\0\0",
            b"\0\0\0\x05abc",
            b"\0\0\0\x01a\0\0\0\x02b",
            b"\xff\xff\xff\xfe\0\0\0\0",
            b"\x7f\xff\xff\xff",
        ] {
            assert_eq!(payload_parts(data), None, "{data:?}");
        }
        assert_eq!(payload_parts(b"\xff\xff\xff\xff\0\0\0\x01v"), Some((&b""[..], &b"v"[..])));
    }

    #[test]
    fn administrators_see_json() {
        let record = r#"{"type":"record","name":"K","fields":[{"name":"a b","type":"int"}]}"#;
        let sent = format!("{{ \"value\": \"\",\n \"key\": {} }}", record.replace(':', " : "));
        let data = data_from_json(&sent).unwrap();
        assert_eq!(data, join(record.as_bytes(), b""));
        let shown = data_to_json(&key_value("AVRO", "STRING", data)).unwrap();
        assert_eq!(shown, format!("{{\"key\":{record},\"value\":\"\"}}"));
        assert!(data_from_json("nope").is_err() && data_from_json("{}").is_err());
        assert!(data_to_json(&key_value("AVRO", "STRING", join(b"nope", b""))).is_err());
    }

    #[test]
    fn white_space_goes_but_for_that_in_strings() {
        assert_eq!(compact("{ \"a \\\" b\" : [ 1,\n 2 ] , \"c\\\\\" : 1 }"), r#"{"a \" b":[1,2],"c\\":1}"#);
    }
}
