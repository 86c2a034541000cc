//! `wit/function.wit` as Rust, and between its records and those of `functions`.

#![allow(missing_docs, unreachable_pub)]

use functions::message::{Key, Message, Record};

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "source-imports",
    imports: {
        "geminga:function/state.get": async | trappable,
        "geminga:function/state.get-counter": async | trappable,
        "geminga:function/emissions.emit": async | trappable,
        "geminga:function/emissions.receipts": async | trappable,
        default: trappable,
    },
});

pub(crate) use geminga::function::{context, emissions, messages, state, types};

/// Copies the payload: into the guest's memory it can only go from a `Vec`.
pub(crate) fn to_guest(message: &Message, invocation: u64, topic: String) -> types::Message {
    let (key, key_is_base64) = match &message.key {
        Some(key) => (Some(key.text.clone()), key.is_base64),
        None => (None, false),
    };
    types::Message {
        payload: message.payload.to_vec(),
        topic,
        id: types::MessageId {
            ledger: message.id.ledger,
            entry: message.id.entry,
            partition: message.id.partition,
            batch_index: message.id.batch_index,
        },
        key,
        key_is_base64,
        properties: message.properties.clone(),
        event_time_ms: message.event_time_ms,
        publish_time_ms: message.publish_time_ms,
        sequence_id: message.sequence_id,
        redelivery_count: message.redelivery_count,
        invocation,
    }
}

pub(crate) fn from_guest(message: types::NewMessage) -> Record {
    Record {
        topic: message.topic,
        payload: message.payload.into(),
        key: message.key.map(|text| Key { text, is_base64: message.key_is_base64 }),
        properties: message.properties,
        event_time_ms: message.event_time_ms,
        deliver_at_ms: message.deliver_at_ms,
        sequence_id: message.sequence_id,
        schema: None,
    }
}

/// What a record takes, for limits.
pub(crate) fn weight(message: &types::NewMessage) -> usize {
    let properties: usize = message.properties.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
    128 + message.payload.len()
        + properties
        + message.topic.as_ref().map_or(0, String::len)
        + message.key.as_ref().map_or(0, String::len)
}
