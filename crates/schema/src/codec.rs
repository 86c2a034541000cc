//! Payloads as JSON and back: what functions and connectors see of a message.
//!
//! Numbers are as their clients write them, the most significant byte first. What is a moment or a day is the number that
//! travels: milliseconds since 1970 for `DATE`, `TIME` and `TIMESTAMP`, days for `LOCAL_DATE`, nanoseconds of the day for
//! `LOCAL_TIME`, and an object of two numbers for `INSTANT` and `LOCAL_DATE_TIME`. Bytes are text with one character for
//! each. Source: the schemas in Pulsar's `org.apache.pulsar.client.impl.schema`.

use serde_json::{Map, Value, json};

use crate::{
    Definition, Kind,
    avro::{self, Avro},
    error::{Error, Result},
    key_value::{self, KeyValue},
};

/// A definition made ready to read and write many payloads.
#[derive(Debug, Clone)]
pub struct Codec {
    kind: Kind,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Primitive,
    Json,
    Avro(Box<Avro>),
    /// The key travels in the payload, before the value.
    KeyValue(Box<Codec>, Box<Codec>),
    /// The key travels as the key of the message; the payload is the value.
    Separated(Box<Codec>, Box<Codec>),
}

impl Codec {
    /// Takes the definition that a payload was written with.
    ///
    /// # Errors
    /// [`Error::NotDecoded`] for kinds that stay bytes: Protobuf's, `EXTERNAL`, and those that are only a client's wish;
    /// [`Error::Invalid`] for a definition that is none.
    pub fn new(definition: &Definition) -> Result<Self> {
        let kind = definition.kind;
        let form = match kind {
            Kind::Avro => {
                let invalid =
                    |reason| Error::Invalid(format!("Invalid schema definition data for {kind} schema: {reason}"));
                Form::Avro(Box::new(avro::parse(&definition.data).map_err(invalid)?))
            }
            Kind::Json => Form::Json,
            Kind::KeyValue => {
                let KeyValue { key, value, is_separated } = KeyValue::of(definition)?;
                if [key.kind, value.kind].contains(&Kind::KeyValue) {
                    return Err(Error::NotDecoded(kind));
                }
                let (key, value) = (Box::new(Self::new(&key)?), Box::new(Self::new(&value)?));
                if is_separated { Form::Separated(key, value) } else { Form::KeyValue(key, value) }
            }
            kind if kind.is_primitive() => Form::Primitive,
            kind => return Err(Error::NotDecoded(kind)),
        };
        Ok(Self { kind, form })
    }

    /// Plain bytes, which is what a topic without a schema has.
    #[must_use]
    pub fn bytes() -> Self {
        Self { kind: Kind::Bytes, form: Form::Primitive }
    }

    /// Kind of the schema.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What a payload holds. Of a key and a value that travel apart this is the value.
    ///
    /// # Errors
    /// [`Error::Payload`].
    pub fn decode(&self, payload: &[u8]) -> Result<Value> {
        match &self.form {
            Form::Primitive => primitive(self.kind, payload)
                .ok_or_else(|| self.refusal(format!("{} bytes, or what they say, are none", payload.len()))),
            Form::Json => serde_json::from_slice(payload).map_err(|error| self.refusal(error.to_string())),
            Form::Avro(avro) => avro::decode(avro, payload).map_err(|reason| self.refusal(reason)),
            Form::Separated(_, value) => value.decode(payload),
            Form::KeyValue(key, value) => {
                let parts = key_value::payload_parts(payload);
                let (k, v) = parts.ok_or_else(|| self.refusal("it is not in two parts".into()))?;
                Ok(json!({ "key": key.decode(k)?, "value": value.decode(v)? }))
            }
        }
    }

    /// The payload that holds a value.
    ///
    /// # Errors
    /// [`Error::Payload`].
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>> {
        match &self.form {
            Form::Primitive => to_primitive(self.kind, value)
                .ok_or_else(|| self.refusal("the value is of another type, or too large".into())),
            Form::Json => serde_json::to_vec(value).map_err(|error| self.refusal(error.to_string())),
            Form::Avro(avro) => avro::encode(avro, value).map_err(|reason| self.refusal(reason)),
            Form::Separated(_, inner) => inner.encode(value),
            Form::KeyValue(key, inner) => {
                let part = |name| value.get(name).ok_or_else(|| self.refusal(format!("there is no {name}")));
                let (key, value) = (key.encode(part("key")?)?, inner.encode(part("value")?)?);
                Ok(key_value::join(&key, &value).into())
            }
        }
    }

    /// The codec of the keys of messages, where key and value travel apart.
    #[must_use]
    pub fn separate_key(&self) -> Option<&Self> {
        match &self.form {
            Form::Separated(key, _) => Some(key),
            _ => None,
        }
    }

    fn refusal(&self, reason: String) -> Error {
        Error::Payload { kind: self.kind, reason }
    }
}

fn primitive(kind: Kind, payload: &[u8]) -> Option<Value> {
    let long = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
    let int = |bytes: &[u8]| bytes.try_into().ok().map(i32::from_be_bytes);
    Some(match kind {
        Kind::None | Kind::Bytes => avro::characters(payload),
        Kind::String => Value::from(std::str::from_utf8(payload).ok()?),
        Kind::Boolean => match payload {
            [byte] => Value::Bool(*byte != 0),
            _ => return None,
        },
        Kind::Int8 => Value::from(i8::from_be_bytes(payload.try_into().ok()?)),
        Kind::Int16 => Value::from(i16::from_be_bytes(payload.try_into().ok()?)),
        Kind::Int32 => Value::from(int(payload)?),
        Kind::Int64 | Kind::Date | Kind::Time | Kind::Timestamp | Kind::LocalDate | Kind::LocalTime => {
            Value::from(long(payload)?)
        }
        Kind::Float => {
            let float = f32::from_be_bytes(payload.try_into().ok()?);
            // The shortest text that means this float, and not all the digits of the double.
            avro::number(float.to_string().parse().unwrap_or(f64::from(float)))
        }
        Kind::Double => avro::number(f64::from_be_bytes(payload.try_into().ok()?)),
        Kind::Instant => {
            let (seconds, nanos) = payload.split_at_checked(8)?;
            json!({ "seconds": long(seconds)?, "nanos": int(nanos)? })
        }
        Kind::LocalDateTime => {
            let (days, nanos) = payload.split_at_checked(8)?;
            json!({ "days": long(days)?, "nanos": long(nanos)? })
        }
        _ => return None,
    })
}

fn to_primitive(kind: Kind, value: &Value) -> Option<Vec<u8>> {
    let field = |name: &str| value.as_object().and_then(|object: &Map<_, _>| object.get(name)).and_then(Value::as_i64);
    Some(match kind {
        Kind::None | Kind::Bytes => avro::from_characters(value)?,
        Kind::String => value.as_str()?.as_bytes().to_vec(),
        Kind::Boolean => vec![value.as_bool()?.into()],
        Kind::Int8 => i8::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec(),
        Kind::Int16 => i16::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec(),
        Kind::Int32 => i32::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec(),
        Kind::Int64 | Kind::Date | Kind::Time | Kind::Timestamp | Kind::LocalDate | Kind::LocalTime => {
            value.as_i64()?.to_be_bytes().to_vec()
        }
        #[expect(clippy::cast_possible_truncation, reason = "a float holds what a float can hold")]
        Kind::Float => (avro::any_number(value)? as f32).to_be_bytes().to_vec(),
        Kind::Double => avro::any_number(value)?.to_be_bytes().to_vec(),
        Kind::Instant => {
            let nanos = i32::try_from(field("nanos")?).ok()?;
            [&field("seconds")?.to_be_bytes()[..], &nanos.to_be_bytes()].concat()
        }
        Kind::LocalDateTime => [field("days")?.to_be_bytes(), field("nanos")?.to_be_bytes()].concat(),
        _ => return None,
    })
}
