//! Any bytes as a schema, and as a payload of one: what is accepted is written again so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::{Codec, Definition, Kind};

fuzz_target!(|data: &[u8]| {
    // The first byte says which kind, the second where the payload begins.
    let [kind, at, rest @ ..] = data else { return };
    let Some(kind) = Kind::from_wire(i32::from(*kind) % 23) else { return };
    let (definition, payload) = rest.split_at(usize::from(*at).min(rest.len()));
    let definition = Definition::new(kind, definition.to_vec());
    let valid = schema::validate(&definition).is_ok();
    for strategy in [model::SchemaCompatibility::Full, model::SchemaCompatibility::BackwardTransitive] {
        let itself = schema::check(std::slice::from_ref(&definition), &definition, strategy);
        assert!(!valid || itself.is_ok() || strategy != model::SchemaCompatibility::Full);
    }
    let Ok(codec) = Codec::new(&definition) else { return };
    let Ok(value) = codec.decode(payload) else { return };
    // The reader of JSON rounds the last digit of a number.
    if let Ok(again) = codec.encode(&value)
        && !matches!(kind, Kind::Json | Kind::KeyValue)
    {
        assert_eq!(codec.decode(&again).as_ref(), Ok(&value));
    }
});
