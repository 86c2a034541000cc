//! Pulsar's own tables, told again: `AvroSchemaCompatibilityCheckTest`, `JsonSchemaCompatibilityCheckTest`,
//! `KeyValueSchemaCompatibilityCheckTest`, `ProtobufNativeSchemaCompatibilityCheckTest`, `SchemaServiceTest`.

use expect_test::{Expect, expect};
use model::SchemaCompatibility::{
    self as Strategy, AlwaysCompatible, AlwaysIncompatible, Backward, BackwardTransitive, Forward, ForwardTransitive,
    Full, FullTransitive,
};

use super::*;
use crate::protobuf::tests::definition as native;

const ALL: [Strategy; 8] = [
    AlwaysCompatible,
    AlwaysIncompatible,
    Backward,
    Forward,
    Full,
    BackwardTransitive,
    ForwardTransitive,
    FullTransitive,
];

fn record(kind: Kind, fields: &str) -> Definition {
    let text =
        format!(r#"{{"type":"record","name":"DefaultTest","namespace":"org.apache.Test$","fields":[{fields}]}}"#);
    Definition::new(kind, text)
}

/// The evolving schemas of Pulsar's tables.
struct Evolving {
    first: Definition,
    /// One more field, with a default.
    optional: Definition,
    /// One more field, without.
    required: Definition,
    renamed: Definition,
    nullable: Definition,
    wider: Definition,
    two_optional: Definition,
}

impl Evolving {
    fn of(kind: Kind) -> Self {
        const STRING: &str = r#"{"name":"field1","type":"string"}"#;
        let with = |more: &str| record(kind, &format!("{STRING},{more}"));
        Self {
            first: record(kind, STRING),
            optional: with(r#"{"name":"field2","type":"string","default":"foo"}"#),
            required: with(r#"{"name":"field2","type":"string"}"#),
            renamed: record(kind, r#"{"name":"field1_v2","type":"string","aliases":["field1"]}"#),
            nullable: record(kind, r#"{"name":"field1","type":["null","string"]}"#),
            wider: record(kind, r#"{"name":"field1","type":["null","string","int"]}"#),
            two_optional: with(
                r#"{"name":"field2","type":"string","default":"foo"},{"name":"field3","type":"string","default":"bar"}"#,
            ),
        }
    }
}

fn fits(versions: &[&Definition], new: &Definition, strategy: Strategy) -> bool {
    let versions: Vec<_> = versions.iter().map(|&version| version.clone()).collect();
    check(&versions, new, strategy).is_ok()
}

#[test]
fn backward_is_what_new_readers_can_read() {
    for kind in [Kind::Avro, Kind::Json, Kind::Protobuf] {
        let Evolving { first, optional, required, renamed, nullable, wider, .. } = Evolving::of(kind);
        assert!(fits(&[&first], &optional, Backward), "a field with a default may come");
        assert!(!fits(&[&first], &required, Backward), "a field without a default may not");
        assert!(fits(&[&first], &renamed, Backward), "a field may get another name that says its old one");
        assert!(fits(&[&first], &nullable, Backward), "a type may become a branch of a union");
        assert!(!fits(&[&nullable], &first, Backward), "but not the other way");
        assert!(fits(&[&nullable], &wider, Backward), "a branch may come");
        assert!(!fits(&[&wider], &nullable, Backward), "but not go");
    }
}

#[test]
fn forward_is_what_old_readers_can_read() {
    for kind in [Kind::Avro, Kind::Json, Kind::Protobuf] {
        let Evolving { first, optional, required, renamed, two_optional, .. } = Evolving::of(kind);
        assert!(fits(&[&first], &optional, Forward) && fits(&[&first], &required, Forward), "a field may come");
        assert!(fits(&[&optional], &required, Forward) && fits(&[&required], &optional, Forward));
        assert!(fits(&[&optional], &two_optional, Forward));
        assert!(fits(&[&optional], &first, Forward), "a field that had a default may go");
        assert!(!fits(&[&required], &first, Forward), "one that had none may not");
        assert!(!fits(&[&first], &renamed, Forward), "old readers know no new names");
    }
}

#[test]
fn full_is_both() {
    let Evolving { first, optional, required, .. } = Evolving::of(Kind::Avro);
    assert!(fits(&[&first], &optional, Full));
    assert!(!fits(&[&first], &required, Full) && !fits(&[&required], &first, Full));
}

#[test]
fn transitive_looks_at_all_versions() {
    let Evolving { first, optional, required, nullable, wider, two_optional, .. } = Evolving::of(Kind::Avro);
    assert!(fits(&[&first, &optional], &nullable, BackwardTransitive));
    assert!(fits(&[&first, &optional, &nullable], &wider, BackwardTransitive));
    assert!(fits(&[&optional], &required, BackwardTransitive));
    assert!(fits(&[&first, &optional], &required, Backward), "the latest alone");
    assert!(!fits(&[&first, &optional], &required, BackwardTransitive));
    assert!(!fits(&[&first, &optional, &nullable], &required, BackwardTransitive));

    assert!(fits(&[&first, &optional], &required, ForwardTransitive));
    assert!(fits(&[&first, &optional, &required], &two_optional, ForwardTransitive));
    assert!(fits(&[&required, &optional], &first, Forward));
    assert!(!fits(&[&required, &optional], &first, ForwardTransitive));

    assert!(fits(&[&first, &optional], &required, Full));
    assert!(!fits(&[&first, &optional], &required, FullTransitive));
}

#[test]
fn kinds_do_not_mix_unless_everything_goes() {
    let (avro, json) = (record(Kind::Avro, ""), record(Kind::Json, ""));
    let primitives = (Definition::new(Kind::Int32, ""), Definition::new(Kind::String, ""));
    for strategy in ALL {
        let anything = strategy == AlwaysCompatible;
        assert_eq!(fits(&[&avro], &json, strategy), anything, "{}", strategy.name());
        assert_eq!(fits(&[&primitives.0], &primitives.1, strategy), anything, "{}", strategy.name());
        assert_eq!(fits(&[&avro], &primitives.0, strategy), anything, "{}", strategy.name());
    }
    // Plain bytes have two names.
    assert!(fits(&[&Definition::new(Kind::None, "")], &Definition::new(Kind::Bytes, ""), Full));
}

#[test]
fn the_first_schema_of_a_topic_fits_always() {
    for strategy in ALL {
        assert!(fits(&[], &Evolving::of(Kind::Avro).required, strategy), "{}", strategy.name());
    }
}

#[track_caller]
fn refused(old: &Definition, new: &Definition, strategy: Strategy, expected: Expect) {
    expected.assert_eq(&check(std::slice::from_ref(old), new, strategy).unwrap_err().to_string());
}

#[test]
fn refusals_read_as_pulsars() {
    let Evolving { first, nullable, .. } = Evolving::of(Kind::Avro);
    refused(
        &nullable,
        &first,
        Full,
        expect![[r#"
        Error during schema compatibility check with strategy FULL: org.apache.avro.SchemaValidationException: Unable to read schema: 
        {
          "type" : "record",
          "name" : "DefaultTest",
          "namespace" : "org.apache.Test$",
          "fields" : [ {
            "name" : "field1",
            "type" : [ "null", "string" ]
          } ]
        }
        using schema:
        {
          "type" : "record",
          "name" : "DefaultTest",
          "namespace" : "org.apache.Test$",
          "fields" : [ {
            "name" : "field1",
            "type" : "string"
          } ]
        }"#]],
    );
    let integer = |kind| Definition::new(kind, &b"\"int\""[..]);
    refused(
        &integer(Kind::Avro),
        &Definition::new(Kind::Avro, &b"\"long\""[..]),
        AlwaysIncompatible,
        expect![[r#"
        Error during schema compatibility check with strategy ALWAYS_INCOMPATIBLE: org.apache.avro.SchemaValidationException: Unable to read schema: 
        "int"
        using schema:
        "long""#]],
    );
    refused(
        &Definition::new(Kind::KeyValue, ""),
        &Definition::new(Kind::LocalDate, ""),
        Full,
        expect!["Incompatible schema: exists schema type KEY_VALUE, new schema type LOCAL_DATE"],
    );
    let message = |root: &str| Definition::new(Kind::ProtobufNative, native("p", &["A", "B"], root));
    refused(
        &message("p.A"),
        &message("p.B"),
        Backward,
        expect![
            "Protobuf root message change is not allowed under the 'BACKWARD' strategy. Original message name: 'p.A', new message name: 'p.B'."
        ],
    );
    let halves = |key: &str| key_value(&Definition::new(key.parse().unwrap(), ""), &first);
    refused(
        &halves("INT32"),
        &halves("STRING"),
        Full,
        expect![
            "Key schemas or Value schemas are different schema type, from key schema type is INT32 and to key schema is STRING, from value schema is AVRO and to value schema is AVRO"
        ],
    );
}

#[test]
fn a_native_message_may_become_anything_but_another() {
    let (old, new) = (native("p", &["A"], "p.A"), native("p", &["A", "B", "C.D"], "p.A"));
    let (old, new) = (Definition::new(Kind::ProtobufNative, old), Definition::new(Kind::ProtobufNative, new));
    let other = Definition::new(Kind::ProtobufNative, native("p", &["A", "B"], "p.B"));
    for strategy in ALL {
        assert_eq!(fits(&[&old], &new, strategy), strategy != AlwaysIncompatible, "{}", strategy.name());
        assert_eq!(fits(&[&old], &other, strategy), strategy == AlwaysCompatible, "{}", strategy.name());
    }
}

fn key_value(key: &Definition, value: &Definition) -> Definition {
    Definition {
        kind: Kind::KeyValue,
        data: crate::key_value::join(&key.data, &value.data),
        properties: [("key.schema.type", key.kind), ("value.schema.type", value.kind)]
            .map(|(name, kind)| (name.to_owned(), kind.name().to_owned()))
            .into(),
    }
}

#[test]
fn both_halves_have_to_fit() {
    for kinds in
        [(Kind::Avro, Kind::Avro), (Kind::Json, Kind::Json), (Kind::Avro, Kind::Json), (Kind::Json, Kind::Avro)]
    {
        let (key, value) = (Evolving::of(kinds.0), Evolving::of(kinds.1));
        let old = key_value(&key.first, &value.first);
        for strategy in [Backward, Full, BackwardTransitive, FullTransitive] {
            assert!(fits(&[&old], &key_value(&key.optional, &value.first), strategy));
            assert!(fits(&[&old], &key_value(&key.first, &value.optional), strategy));
            assert!(!fits(&[&old], &key_value(&key.required, &value.first), strategy));
            assert!(!fits(&[&old], &key_value(&key.first, &value.required), strategy));
        }
        assert!(fits(&[&old], &key_value(&key.required, &value.required), Forward));
        assert!(!fits(&[&key_value(&key.first, &value.required)], &old, Forward));
        // Exchanged kinds are others, though the bytes are the same.
        let exchanged = key_value(&value.first, &key.first);
        assert_eq!(fits(&[&old], &exchanged, Full), kinds.0 == kinds.1);
        assert_eq!(find_equal(std::slice::from_ref(&old), &exchanged).is_some(), kinds.0 == kinds.1);
    }
    let primitives = |key, value| key_value(&Definition::new(key, ""), &Definition::new(value, ""));
    let old = primitives(Kind::String, Kind::Int32);
    assert!(fits(&[&old], &primitives(Kind::String, Kind::Int32), Full));
    assert!(!fits(&[&old], &primitives(Kind::Int32, Kind::String), Full));
    assert!(fits(&[&old], &primitives(Kind::Int32, Kind::String), AlwaysCompatible));
}

#[test]
fn a_version_is_found_again_by_what_it_says() {
    let first =
        Definition::new(Kind::Avro, r#"{"type":"record","name":"R","doc":"one","fields":[{"name":"a","type":"int"}]}"#);
    let spaced =
        Definition::new(Kind::Avro, r#"{ "name": "R", "type": "record", "fields": [ {"type": "int", "name": "a"} ] }"#);
    let other = Definition::new(Kind::Avro, r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#);
    let annotated =
        Definition::new(Kind::Avro, r#"{"type":"record","name":"R","x":1,"fields":[{"name":"a","type":"int"}]}"#);
    let versions = [other.clone(), first.clone()];
    assert_eq!((find_equal(&versions, &first), find_identical(&versions, &first)), (Some(1), Some(1)));
    assert_eq!((find_equal(&versions, &spaced), find_identical(&versions, &spaced)), (Some(1), None));
    assert_eq!(find_equal(&versions, &other), Some(0));
    assert_eq!(find_equal(&versions, &annotated), None);
    assert_eq!(find_equal(&versions, &Definition { kind: Kind::Json, ..first }), None);
    // Properties do not count.
    let mut string = Definition::new(Kind::String, "");
    let versions = [string.clone()];
    string.properties.insert("a".into(), "b".into());
    assert_eq!(find_equal(&versions, &string), Some(0));
}

#[test]
fn consumers_have_to_read_what_is_there() {
    let Evolving { first, optional, required, .. } = Evolving::of(Kind::Avro);
    let check = |versions: &[&Definition], new: &Definition, strategy| {
        let versions: Vec<_> = versions.iter().map(|&version| version.clone()).collect();
        check_consumer(&versions, new, strategy)
    };
    // Forward says nothing about new readers, and yet a consumer is one.
    for strategy in [Backward, Forward, ForwardTransitive, Full] {
        assert_eq!(check(&[&first], &optional, strategy), Ok(()));
        assert!(check(&[&first], &required, strategy).is_err());
        assert_eq!(check(&[&first, &required], &required, strategy), Ok(()));
    }
    for strategy in [BackwardTransitive, FullTransitive, AlwaysIncompatible] {
        assert!(check(&[&first, &required], &required, strategy).is_err());
    }
    assert_eq!(check(&[], &first, Full), Err(Error::NoSchema));
    assert_eq!(check(&[], &first, AlwaysCompatible), Ok(()));
    assert_eq!(check(&[&first], &required, AlwaysCompatible), Ok(()));
}

/// Payload of each primitive as Pulsar's Java client writes it.
#[test]
fn primitives_are_read_as_their_clients_write_them() {
    #[track_caller]
    fn both_ways(kind: Kind, payload: &[u8], value: serde_json::Value) {
        let codec = Codec::new(&Definition::new(kind, "")).unwrap();
        assert_eq!(codec.decode(payload), Ok(value.clone()));
        assert_eq!(codec.encode(&value), Ok(payload.to_vec()));
    }
    use serde_json::json;
    both_ways(Kind::Bytes, b"a\xff", json!("a\u{ff}"));
    both_ways(Kind::String, "grün".as_bytes(), json!("grün"));
    both_ways(Kind::Boolean, &[1], json!(true));
    both_ways(Kind::Int8, &[0xff], json!(-1));
    both_ways(Kind::Int16, &[0x01, 0x02], json!(258));
    both_ways(Kind::Int32, &[0xff, 0xff, 0xff, 0xfe], json!(-2));
    both_ways(Kind::Int64, &[0, 0, 0, 0, 0, 0, 1, 0], json!(256));
    both_ways(Kind::Float, &[0x3d, 0xcc, 0xcc, 0xcd], json!(0.1));
    both_ways(Kind::Double, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], json!(1.5));
    both_ways(Kind::Double, &[0x7f, 0xf0, 0, 0, 0, 0, 0, 0], json!("Infinity"));
    for kind in [Kind::Date, Kind::Time, Kind::Timestamp, Kind::LocalDate, Kind::LocalTime] {
        both_ways(kind, &[0, 0, 0, 0, 0, 0, 0, 7], json!(7));
    }
    both_ways(Kind::Instant, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], json!({ "seconds": 1, "nanos": 2 }));
    both_ways(Kind::LocalDateTime, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], json!({ "days": 1, "nanos": 2 }));
}

#[test]
fn payloads_of_another_length_or_type_are_refused() {
    for kind in
        [Kind::Boolean, Kind::Int8, Kind::Int16, Kind::Int32, Kind::Int64, Kind::Float, Kind::Double, Kind::Instant]
    {
        let codec = Codec::new(&Definition::new(kind, "")).unwrap();
        assert!(codec.decode(b"").is_err() && codec.decode(&[0; 13]).is_err(), "{kind}");
        assert!(codec.encode(&serde_json::json!([1])).is_err(), "{kind}");
    }
    let string = Codec::new(&Definition::new(Kind::String, "")).unwrap();
    assert!(string.decode(&[0xff]).is_err());
    let byte = Codec::new(&Definition::new(Kind::Int8, "")).unwrap();
    assert!(byte.encode(&serde_json::json!(128)).is_err());
    assert!(Codec::bytes().encode(&serde_json::json!("\u{100}")).is_err());
}

#[test]
fn structs_are_json_or_avro() {
    let value = serde_json::json!({ "field1": "x" });
    let json = Codec::new(&Evolving::of(Kind::Json).first).unwrap();
    assert_eq!(json.decode(br#" {"field1": "x"} "#), Ok(value.clone()));
    assert_eq!(json.encode(&value), Ok(br#"{"field1":"x"}"#.to_vec()));
    assert!(json.decode(b"{").is_err());
    let avro = Codec::new(&Evolving::of(Kind::Avro).first).unwrap();
    assert_eq!(avro.encode(&value), Ok(b"\x02x".to_vec()));
    assert_eq!(avro.decode(b"\x02x"), Ok(value));
    assert_eq!(
        avro.decode(b"\x04x").unwrap_err().to_string(),
        "the payload does not fit its AVRO schema: it ends too early"
    );
    let native = Definition::new(Kind::ProtobufNative, native("p", &["A"], "p.A"));
    assert_eq!(Codec::new(&native).unwrap_err(), Error::NotDecoded(Kind::ProtobufNative));
}

#[test]
fn keys_travel_with_their_values_or_apart() {
    let mut schema = key_value(&Definition::new(Kind::String, ""), &Definition::new(Kind::Int32, ""));
    let value = serde_json::json!({ "key": "k", "value": 7 });
    let inline = Codec::new(&schema).unwrap();
    let payload = b"\0\0\0\x01k\0\0\0\x04\0\0\0\x07";
    assert_eq!(inline.encode(&value), Ok(payload.to_vec()));
    assert_eq!(inline.decode(payload), Ok(value));
    assert!(inline.separate_key().is_none() && inline.decode(b"\0\0\0\x09").is_err());

    schema.properties.insert("kv.encoding.type".into(), "SEPARATED".into());
    let apart = Codec::new(&schema).unwrap();
    assert_eq!(apart.decode(&[0, 0, 0, 7]), Ok(serde_json::json!(7)));
    assert_eq!(apart.separate_key().unwrap().decode(b"k"), Ok(serde_json::json!("k")));
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_in_makes_it_panic(definition in proptest::collection::vec(proptest::num::u8::ANY, 0..64), kind in 0..23_i32) {
        let definition = Definition::new(Kind::from_wire(kind).unwrap(), definition);
        let _ = validate(&definition);
        if let Ok(codec) = Codec::new(&definition) {
            let _ = codec.decode(&definition.data);
        }
    }

    #[test]
    fn payloads_never_make_it_panic(payload in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let definition = r#"{"type":"record","name":"R","fields":[
            {"name":"a","type":["null","int","string",{"type":"map","values":"R"}]},
            {"name":"b","type":{"type":"array","items":["R","boolean"]}},
            {"name":"c","type":{"type":"enum","name":"E","symbols":["X","Y"]}},
            {"name":"d","type":["float","double","long","bytes","E"]}]}"#;
        let codec = Codec::new(&Definition::new(Kind::Avro, definition)).unwrap();
        if let Ok(value) = codec.decode(&payload) {
            let again = codec.encode(&value).unwrap();
            proptest::prop_assert_eq!(codec.decode(&again).unwrap(), value);
        }
    }
}
