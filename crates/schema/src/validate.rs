//! Whether a definition is one of its kind. Source: Pulsar's `SchemaDataValidator` and what implements it.

use crate::{
    DEFINITION_BYTES_MAX, Definition, Kind, avro,
    error::{Error, Result},
    key_value::KeyValue,
    protobuf,
};

/// Refuses what is no definition of its kind, and what is none that topics have.
///
/// Jackson's JSON schemas, which Pulsar took before 2.1, are refused as Pulsar 4.2 refuses them (PIP-464).
///
/// # Errors
/// [`Error::Invalid`]; [`Error::UnknownKind`] in a schema of a key and a value.
pub fn validate(definition: &Definition) -> Result<()> {
    check(definition, 0)
}

fn check(definition: &Definition, depth: usize) -> Result<()> {
    let Definition { kind, data, .. } = definition;
    if data.len() > DEFINITION_BYTES_MAX {
        return Err(Error::Invalid(format!(
            "a schema definition of {} bytes, where {DEFINITION_BYTES_MAX} are the most",
            data.len()
        )));
    }
    match kind {
        Kind::Avro | Kind::Json | Kind::Protobuf => {
            let parsed = avro::parse(data).map_err(|reason| {
                Error::Invalid(format!("Invalid schema definition data for {kind} schema: {reason}"))
            })?;
            if *kind == Kind::Avro && parsed.is_union() {
                return Err(Error::Invalid("Avro schema typed [UNION] is not supported".into()));
            }
            Ok(())
        }
        Kind::ProtobufNative => {
            let failed = |reason| Error::Invalid(format!("deserialize ProtobufNative Schema failed: {reason}"));
            protobuf::root_message(data).map(drop).map_err(failed)
        }
        // Python sends `null` as the definition of a string.
        Kind::String if data.is_empty() || &data[..] == b"null" => Ok(()),
        Kind::String => {
            let text: String = String::from_utf8_lossy(data).chars().take(200).collect();
            Err(Error::Invalid(format!("Invalid schema definition data for string schema : '{text}'")))
        }
        Kind::None | Kind::Bytes | Kind::External => Ok(()),
        Kind::Auto | Kind::AutoConsume | Kind::AutoPublish => {
            Err(Error::Invalid(format!("Schema {kind} is a client-side schema type")))
        }
        // Each half is at least 8 bytes shorter, so this ends; a definition is not worth following that far.
        Kind::KeyValue if depth > 8 => Err(Error::Invalid("a KEY_VALUE schema is nested too deep".into())),
        Kind::KeyValue => {
            let halves = KeyValue::of(definition)?;
            check(&halves.key, depth + 1)?;
            check(&halves.value, depth + 1)
        }
        _ if data.is_empty() => Ok(()),
        _ => Err(Error::Invalid(format!(
            "Invalid schema definition data for primitive schemas :length of schema data should be zero, but {} bytes is found",
            data.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::tests::definition as native;

    #[track_caller]
    fn check(kind: Kind, data: &[u8], expected: Result<(), &str>) {
        let refused = validate(&Definition::new(kind, data.to_vec())).map_err(|error| error.to_string());
        assert_eq!(refused.as_ref().copied().map_err(String::as_str), expected);
    }

    #[test]
    fn primitives_have_no_definition() {
        for kind in [Kind::Int8, Kind::Boolean, Kind::Double, Kind::Timestamp, Kind::LocalDateTime] {
            check(kind, b"", Ok(()));
            let reason = "Invalid schema definition data for primitive schemas :length of schema data should be zero, \
                          but 3 bytes is found";
            check(kind, b"abc", Err(reason));
        }
        check(Kind::String, b"", Ok(()));
        check(Kind::String, b"null", Ok(()));
        check(Kind::String, b"abc", Err("Invalid schema definition data for string schema : 'abc'"));
        check(Kind::Bytes, b"whatever", Ok(()));
        check(Kind::AutoConsume, b"", Err("Schema AUTO_CONSUME is a client-side schema type"));
    }

    #[test]
    fn structs_are_avro() {
        for kind in [Kind::Avro, Kind::Json, Kind::Protobuf] {
            check(kind, br#"{"type":"record","name":"a.b.Outer$Inner","fields":[]}"#, Ok(()));
            // A default that does not fit its field is let pass.
            check(kind, br#"{"type":"record","name":"R","fields":[{"name":"f","type":"int","default":"x"}]}"#, Ok(()));
            check(kind, br#""string""#, Ok(()));
        }
        check(Kind::Json, br#"["int"]"#, Ok(()));
        check(Kind::Avro, br#"["int"]"#, Err("Avro schema typed [UNION] is not supported"));
        check(Kind::Json, b"{}", Err("Invalid schema definition data for JSON schema: No type: {}"));
        // What Jackson made of a class before 2.1.
        let jackson = br#"{"type":"object","id":"urn:jsonschema:Foo","properties":{"a":{"type":"string"}}}"#;
        let reason = "Invalid schema definition data for JSON schema: Undefined schema: object";
        check(Kind::Json, jackson, Err(reason));
    }

    #[test]
    fn native_protobuf_names_a_message_it_has() {
        check(Kind::ProtobufNative, &native("p", &["A"], "p.A"), Ok(()));
        let reason = "deserialize ProtobufNative Schema failed: no message p.B";
        check(Kind::ProtobufNative, &native("p", &["A"], "p.B"), Err(reason));
    }

    #[test]
    fn both_halves_of_a_key_and_a_value_are_checked() {
        let schema = |key: &str, value: &str, data: &[u8]| Definition {
            kind: Kind::KeyValue,
            data: crate::key_value::join(data, b""),
            properties: [("key.schema.type", key), ("value.schema.type", value)]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
        };
        assert_eq!(validate(&schema("AVRO", "STRING", br#""int""#)), Ok(()));
        assert!(validate(&schema("AVRO", "STRING", b"nonsense")).is_err());
        assert_eq!(validate(&schema("NOPE", "STRING", b"")), Err(Error::UnknownKind("NOPE".into())));
        assert!(validate(&Definition::new(Kind::KeyValue, &b"\0\0\0\x09"[..])).is_err());
    }

    #[test]
    fn a_definition_has_a_length() {
        let long = vec![b' '; DEFINITION_BYTES_MAX + 1];
        check(Kind::Json, &long, Err("a schema definition of 1048577 bytes, where 1048576 are the most"));
    }
}
