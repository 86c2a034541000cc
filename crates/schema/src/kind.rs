//! The kinds of schema, with Pulsar's names and numbers.

use std::{fmt, str::FromStr};

use crate::Error;

/// Pulsar's `SchemaType`. Plain bytes have two names and one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    None,
    String,
    Json,
    Protobuf,
    Avro,
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    Date,
    Time,
    Timestamp,
    KeyValue,
    Instant,
    LocalDate,
    LocalTime,
    LocalDateTime,
    ProtobufNative,
    AutoConsume,
    External,
    Bytes,
    Auto,
    AutoPublish,
}

/// Kind, Pulsar's name, number of `Schema.Type` in the protocol.
const ALL: [(Kind, &str, i32); 26] = [
    (Kind::None, "NONE", 0),
    (Kind::String, "STRING", 1),
    (Kind::Json, "JSON", 2),
    (Kind::Protobuf, "PROTOBUF", 3),
    (Kind::Avro, "AVRO", 4),
    (Kind::Boolean, "BOOLEAN", 5),
    (Kind::Int8, "INT8", 6),
    (Kind::Int16, "INT16", 7),
    (Kind::Int32, "INT32", 8),
    (Kind::Int64, "INT64", 9),
    (Kind::Float, "FLOAT", 10),
    (Kind::Double, "DOUBLE", 11),
    (Kind::Date, "DATE", 12),
    (Kind::Time, "TIME", 13),
    (Kind::Timestamp, "TIMESTAMP", 14),
    (Kind::KeyValue, "KEY_VALUE", 15),
    (Kind::Instant, "INSTANT", 16),
    (Kind::LocalDate, "LOCAL_DATE", 17),
    (Kind::LocalTime, "LOCAL_TIME", 18),
    (Kind::LocalDateTime, "LOCAL_DATE_TIME", 19),
    (Kind::ProtobufNative, "PROTOBUF_NATIVE", 20),
    (Kind::AutoConsume, "AUTO_CONSUME", 21),
    (Kind::External, "EXTERNAL", 22),
    (Kind::Bytes, "BYTES", 0),
    (Kind::Auto, "AUTO", 0),
    (Kind::AutoPublish, "AUTO_PUBLISH", 0),
];

impl Kind {
    fn row(self) -> (Self, &'static str, i32) {
        ALL[self as usize]
    }

    /// Pulsar's name, such as `KEY_VALUE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The number the protocol has for it; 0 for those that never travel.
    #[must_use]
    pub fn wire(self) -> i32 {
        self.row().2
    }

    /// The kind of a number of the protocol.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        ALL.iter().find(|(_, _, wire)| *wire == number).map(|(kind, ..)| *kind)
    }

    /// Whether it has no definition, only a name. Source: `SchemaType.isPrimitiveType`.
    #[must_use]
    pub fn is_primitive(self) -> bool {
        use Kind::{
            Boolean, Bytes, Date, Double, Float, Instant, Int8, Int16, Int32, Int64, LocalDate, LocalDateTime,
            LocalTime, None, String, Time, Timestamp,
        };
        matches!(
            self,
            String | Boolean | Int8 | Int16 | Int32 | Int64 | Float | Double | Date | Time | Timestamp | Bytes
        ) || matches!(self, Instant | LocalDate | LocalTime | LocalDateTime | None)
    }

    /// Whether its definition is one of Avro's. Source: `SchemaRegistryServiceImpl.isUsingAvroSchemaParser`.
    pub(crate) fn is_avro(self) -> bool {
        matches!(self, Self::Avro | Self::Json | Self::Protobuf)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = ALL.iter().find(|(_, known, _)| *known == name);
        known.map(|(kind, ..)| *kind).ok_or_else(|| Error::UnknownKind(name.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for (at, (kind, name, wire)) in ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, name.parse(), kind.name(), kind.wire()), (at, Ok(kind), name, wire));
        }
        assert_eq!(Kind::from_wire(0), Some(Kind::None));
        assert_eq!(Kind::from_wire(20), Some(Kind::ProtobufNative));
        assert_eq!((Kind::from_wire(23), Kind::from_wire(-1)), (None, None));
        assert_eq!("avro".parse::<Kind>(), Err(Error::UnknownKind("avro".into())));
    }
}
