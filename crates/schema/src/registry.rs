//! What the registry decides, given the versions a topic has: all since the last deletion, the oldest first.
//!
//! Source: Pulsar's `SchemaRegistryServiceImpl`.

use model::SchemaCompatibility as Strategy;

use crate::{
    Definition, Kind, avro, compatibility,
    error::{Error, Result},
    key_value::KeyValue,
};

/// The version that is the same schema: for definitions of Avro's, one that says the same.
#[must_use]
pub fn find_equal(versions: &[Definition], new: &Definition) -> Option<usize> {
    // Mostly it is there byte by byte: producers come back.
    let identical = find_identical(versions, new);
    if identical.is_some() || !new.kind.is_avro() {
        return identical;
    }
    let parsed = avro::parse(&new.data).ok()?;
    versions
        .iter()
        .position(|old| old.kind == new.kind && avro::parse(&old.data).is_ok_and(|old| old.is_equal(&parsed)))
}

/// The version that has the same kind and the same bytes.
#[must_use]
pub fn find_identical(versions: &[Definition], new: &Definition) -> Option<usize> {
    versions.iter().position(|old| is_identical(old, new))
}

/// Pulsar looks at the bytes alone, and so takes a key that is a number for one that is a string: neither has any.
fn is_identical(old: &Definition, new: &Definition) -> bool {
    let kinds = |definition| KeyValue::of(definition).map(|halves| (halves.key.kind, halves.value.kind));
    same_kind(old, new) && old.data == new.data && (new.kind != Kind::KeyValue || kinds(old) == kinds(new))
}

/// Whether a schema may become the next version.
///
/// # Errors
/// [`Error::Incompatible`].
pub fn check(versions: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    match strategy {
        Strategy::BackwardTransitive | Strategy::ForwardTransitive | Strategy::FullTransitive => {
            check_all(versions, new, strategy)
        }
        _ => check_latest(versions, new, strategy),
    }
}

/// Whether a consumer may read with a schema.
///
/// # Errors
/// [`Error::Incompatible`]; [`Error::NoSchema`] when there is no version.
pub fn check_consumer(versions: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    match strategy {
        Strategy::AlwaysCompatible => Ok(()),
        _ if versions.is_empty() => Err(Error::NoSchema),
        Strategy::Backward | Strategy::Forward | Strategy::ForwardTransitive | Strategy::Full => {
            check_latest(versions, new, Strategy::Backward)
        }
        _ => check_all(versions, new, strategy),
    }
}

fn check_latest(versions: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    let Some(latest) = versions.last().filter(|_| strategy != Strategy::AlwaysCompatible) else { return Ok(()) };
    check_kinds(std::slice::from_ref(latest), new)?;
    if is_identical(latest, new) {
        return Ok(());
    }
    compatibility::check(std::slice::from_ref(latest), new, strategy)
}

fn check_all(versions: &[Definition], new: &Definition, strategy: Strategy) -> Result<()> {
    check_kinds(versions, new)?;
    compatibility::check(versions, new, strategy)
}

fn check_kinds(versions: &[Definition], new: &Definition) -> Result<()> {
    match versions.iter().find(|old| !same_kind(old, new)) {
        None => Ok(()),
        Some(old) => Err(Error::Incompatible(format!(
            "Incompatible schema: exists schema type {}, new schema type {}",
            old.kind, new.kind
        ))),
    }
}

/// Plain bytes go by two names.
fn same_kind(a: &Definition, b: &Definition) -> bool {
    a.kind == b.kind || (a.kind.wire() == b.kind.wire() && a.kind.is_primitive() && b.kind.is_primitive())
}
