//! Takes values out of a spec. What has the wrong shape was told and is absent here; so is the empty text, which Go cannot tell
//! from nothing.

use crate::yaml::{Value, object};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

pub(super) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::text).filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn flag(value: &Value, name: &str) -> Option<bool> {
    value.get(name).and_then(Value::bool)
}

pub(super) fn int<T: TryFrom<i64>>(value: &Value, name: &str) -> Option<T> {
    value.get(name).and_then(Value::int).and_then(|number| T::try_from(number).ok())
}

/// A number for which 0 is nothing, since Go cannot tell them apart.
pub(super) fn int_above_0<T: TryFrom<i64>>(value: &Value, name: &str) -> Option<T> {
    value.get(name).and_then(Value::int).filter(|number| *number > 0).and_then(|number| T::try_from(number).ok())
}

pub(super) fn texts(value: &Value, name: &str) -> Option<Vec<String>> {
    let items = value.get(name)?.items();
    Some(items.iter().filter_map(|item| item.text().map(str::to_owned)).collect())
}

pub(super) fn text_map(value: &Value, name: &str) -> Option<BTreeMap<String, String>> {
    let entries = value.get(name)?.entries();
    Some(entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.value.text()?.to_owned()))).collect())
}

pub(super) fn map(value: &Value, name: &str) -> Option<Map<String, Json>> {
    value.get(name).map(|value| object(value.entries()))
}

/// A value of one of the configuration's enums, by the name that enum has in JSON.
pub(super) fn choice<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Json::String(name.to_owned())).ok()
}
