//! Stored entries, taken apart into messages and printed.

use crate::{http::StoredEntry, output, produce::Output};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use client::CompressionType;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One message of an entry.
struct Message {
    id: String,
    publish_time: Option<String>,
    producer: Option<String>,
    key: Option<String>,
    properties: BTreeMap<String, String>,
    payload: Bytes,
}

/// Prints the messages of entries.
///
/// # Errors
/// A payload is not what its headers say, or standard output is closed.
pub(crate) fn print(format: Output, entries: &[StoredEntry]) -> anyhow::Result<()> {
    let mut messages = Vec::new();
    for entry in entries {
        messages.extend(take_apart(entry)?);
    }
    match format {
        Output::Json => output::json(&messages.iter().map(as_json).collect::<Vec<_>>()),
        Output::Pretty if messages.is_empty() => output::line("no messages"),
        Output::Pretty => output::print(&messages.iter().map(|message| as_text(message) + "\n").collect::<String>()),
    }
}

fn take_apart(entry: &StoredEntry) -> anyhow::Result<Vec<Message>> {
    let header = |name: &str| entry.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let id = header("x-pulsar-message-id").unwrap_or_else(|| "-".to_owned());
    let publish_time = header("x-pulsar-publish-time");
    let producer = header("x-pulsar-producer-name");
    if header("x-pulsar-is-encrypted").as_deref() == Some("true") {
        // Nobody but its consumers can take it apart.
        let payload = entry.payload.clone();
        return Ok(vec![Message { id, publish_time, producer, key: None, properties: BTreeMap::new(), payload }]);
    }
    let mut payload = entry.payload.clone();
    if let (Some(kind), Some(size)) = (header("x-pulsar-compression"), header("x-pulsar-uncompressed-size")) {
        let kind = CompressionType::from_str_name(&kind).unwrap_or(CompressionType::None);
        payload = client::decompress(kind, &payload, size.parse()?)?;
    }
    if header("x-pulsar-num-batch-message").is_none() {
        let properties = header("x-pulsar-property").and_then(|p| serde_json::from_str(&p).ok()).unwrap_or_default();
        let key = header("x-pulsar-partition-key");
        return Ok(vec![Message { id, publish_time, producer, key, properties, payload }]);
    }
    let mut messages = Vec::new();
    for (index, message) in wire::batch::messages(payload).enumerate() {
        let (metadata, payload) = message?;
        messages.push(Message {
            id: format!("{id}:{index}"),
            publish_time: publish_time.clone(),
            producer: producer.clone(),
            key: metadata.partition_key,
            properties: metadata.properties.into_iter().map(|p| (p.key, p.value)).collect(),
            payload,
        });
    }
    Ok(messages)
}

/// The payload where it is text without control characters that would steer a terminal.
fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok().filter(|t| !t.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')))
}

fn as_json(message: &Message) -> Value {
    let mut value = json!({
        "messageId": message.id,
        "publishTime": message.publish_time,
        "producer": message.producer,
        "key": message.key,
        "properties": message.properties,
    });
    match text(&message.payload) {
        Some(text) => value["payload"] = text.into(),
        None => value["payloadBase64"] = BASE64_STANDARD.encode(&message.payload).into(),
    }
    value
}

fn as_text(message: &Message) -> String {
    let mut line = format!("{} {}", message.publish_time.as_deref().unwrap_or("-"), message.id);
    if let Some(key) = &message.key {
        line += &format!(" {}", key.escape_debug());
    }
    if !message.properties.is_empty() {
        let pairs: Vec<_> =
            message.properties.iter().map(|(k, v)| format!("{}={}", k.escape_debug(), v.escape_debug())).collect();
        line += &format!(" {{{}}}", pairs.join(" "));
    }
    match text(&message.payload) {
        Some(text) => line + " " + text,
        None => line + " base64:" + &BASE64_STANDARD.encode(&message.payload),
    }
}
