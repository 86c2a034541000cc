//! Whether a definition fits others of its kind. Source: Pulsar's `*SchemaCompatibilityCheck`.

use model::SchemaCompatibility as Strategy;

use crate::{
    Definition, Kind,
    avro::{self, Avro, Verdict},
    error::{Error, Result},
    key_value::KeyValue,
    protobuf,
};

/// `old` has the oldest first; all are of the kind of `new`.
pub(crate) fn check(old: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    match new.kind {
        Kind::Avro | Kind::Json | Kind::Protobuf => check_avro(old, new, strategy),
        Kind::ProtobufNative => old.iter().try_for_each(|old| check_native(old, new, strategy)),
        Kind::KeyValue => check_halves(old, new, strategy),
        Kind::External => Ok(()),
        _ if strategy == Strategy::AlwaysIncompatible => {
            incompatible("Schema compatibility strategy is ALWAYS_INCOMPATIBLE")
        }
        _ => Ok(()),
    }
}

fn incompatible<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Incompatible(reason.into()))
}

fn check_avro(old: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    let parse = |definition: &Definition| avro::parse(&definition.data).map_err(Error::Incompatible);
    let (backward, forward) = match strategy {
        Strategy::AlwaysCompatible => return Ok(()),
        Strategy::Backward | Strategy::BackwardTransitive => (true, false),
        Strategy::Forward | Strategy::ForwardTransitive => (false, true),
        Strategy::Full | Strategy::FullTransitive => (true, true),
        Strategy::AlwaysIncompatible | Strategy::Undefined => {
            let Some(old) = old.last() else { return Ok(()) };
            return refuse(strategy, &parse(old)?.render(), &parse(new)?.render());
        }
    };
    let parsed = parse(new)?;
    let latest_only = matches!(strategy, Strategy::Backward | Strategy::Forward | Strategy::Full);
    for old in old.iter().rev().take(if latest_only { 1 } else { usize::MAX }) {
        let old = parse(old)?;
        if forward {
            read(&parsed, &old, strategy)?;
        }
        if backward {
            read(&old, &parsed, strategy)?;
        }
    }
    Ok(())
}

/// Whether what the one wrote can be read with the other.
fn read(writer: &Avro, reader: &Avro, strategy: Strategy) -> Result<()> {
    let strategy_name = strategy.name();
    match avro::can_read(writer, reader) {
        Verdict::Readable => Ok(()),
        Verdict::Unreadable => refuse(strategy, &writer.render(), &reader.render()),
        Verdict::Broken => incompatible(format!(
            "Error during schema compatibility check with strategy {strategy_name}: a default does not fit its field, or \
             aliases make two of one"
        )),
        Verdict::TooComplex => incompatible(format!(
            "Error during schema compatibility check with strategy {strategy_name}: the definitions are too complex to compare"
        )),
    }
}

fn refuse(strategy: Strategy, writer: &str, reader: &str) -> Result<()> {
    incompatible(format!(
        "Error during schema compatibility check with strategy {}: org.apache.avro.SchemaValidationException: Unable to \
         read schema: \n{writer}\nusing schema:\n{reader}",
        strategy.name()
    ))
}

/// Only the name of the message counts: Protobuf is made to be compatible.
fn check_native(old: &Definition, new: &Definition, strategy: Strategy) -> Result<()> {
    let message = |definition: &Definition| protobuf::root_message(&definition.data).map_err(Error::Incompatible);
    let (old, new) = (message(old)?, message(new)?);
    match strategy {
        Strategy::AlwaysCompatible => Ok(()),
        Strategy::AlwaysIncompatible | Strategy::Undefined => incompatible("Unknown SchemaCompatibilityStrategy."),
        _ if old == new => Ok(()),
        _ => incompatible(format!(
            "Protobuf root message change is not allowed under the '{}' strategy. Original message name: '{old}', new \
             message name: '{new}'.",
            strategy.name()
        )),
    }
}

fn check_halves(old: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    if strategy == Strategy::AlwaysCompatible {
        return Ok(());
    }
    let halves =
        |definition: &Definition| KeyValue::of(definition).map_err(|error| Error::Incompatible(error.to_string()));
    let new = halves(new)?;
    let (mut keys, mut values) = (Vec::with_capacity(old.len()), Vec::with_capacity(old.len()));
    for old in old {
        let old = halves(old)?;
        if (old.key.kind, old.value.kind) != (new.key.kind, new.value.kind) {
            return incompatible(format!(
                "Key schemas or Value schemas are different schema type, from key schema type is {} and to key schema is \
                 {}, from value schema is {} and to value schema is {}",
                old.key.kind, new.key.kind, old.value.kind, new.value.kind
            ));
        }
        keys.push(old.key);
        values.push(old.value);
    }
    check(&keys, &new.key, strategy)?;
    check(&values, &new.value, strategy)
}
