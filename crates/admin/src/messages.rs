//! Single messages of a topic: their ids, and entries as they are stored.
//!
//! An entry is answered as its payload, with what its metadata says as `X-Pulsar-*` headers; a batch is not taken apart.
//! Source: `PersistentTopicsBase.generateResponseWithEntry`, `TopicsImpl.getMessagesFromHttpResponse`.

use admin_api::MessageIdData;
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use broker::{Error, LastMessageId};
use model::{Position, TopicName};
use prost::Message;
use serde::Deserialize;
use std::collections::BTreeMap;
use wire::proto::{CompressionType, MessageMetadata};

use crate::{
    App,
    at::{At, Query},
    reply::{Failure, Reply},
    topics::{missing, single},
};

pub(crate) fn routes() -> Router<App> {
    let at = |path: &str| format!("/{{tenant}}/{{namespace}}/{{topic}}/{path}");
    Router::new()
        .route(&at("lastMessageId"), get(last))
        .route(&at("messageid/{timestamp}"), get(by_time))
        .route(&at("ledger/{ledger}/entry/{entry}"), get(by_id))
        .route(&at("examinemessage"), get(examine))
        .route(&at("subscription/{subscription}/position/{n}"), get(peek))
}

pub(crate) fn message_id(position: Position, partition_index: i32, batch_index: i32) -> MessageIdData {
    // What stands for "none" is -1 in both parts.
    let ledger_id = i64::try_from(position.ledger).unwrap_or(-1);
    MessageIdData { ledger_id, entry_id: position.entry, partition_index, batch_index, batch_size: 0 }
}

async fn last(State(app): State<App>, at: At) -> Reply<Json<MessageIdData>> {
    let name = at.topic()?;
    let found = app.broker.last_message_id(&name).await;
    let LastMessageId { position, partition, batch_index, .. } = found.map_err(|e| not_there(&app, e))?;
    Ok(Json(message_id(position, partition, batch_index)))
}

fn not_there(app: &App, error: Error) -> Failure {
    match error {
        Error::TopicNotFound(name) => missing(app, &name),
        other => other.into(),
    }
}

async fn by_time(State(app): State<App>, at: At) -> Reply<Json<MessageIdData>> {
    let name = at.topic()?;
    let ms: i64 = at.number("timestamp")?;
    let why_not = "Get message ID by timestamp on a partitioned topic is not allowed, please try do it on specific topic \
                   partition";
    single(&app, &name, why_not).await?;
    let partition = name.partition().and_then(|p| i32::try_from(p).ok()).unwrap_or(-1);
    if entries(&app, &name).await?.is_empty() {
        return Ok(Json(MessageIdData {
            ledger_id: -1,
            entry_id: -1,
            partition_index: partition,
            batch_index: -1,
            batch_size: 0,
        }));
    }
    let position = app.broker.message_id_by_time(&name, u64::try_from(ms).unwrap_or(0)).await?;
    Ok(Json(message_id(position, partition, -1)))
}

/// Ledgers that hold something, with how much.
async fn entries(app: &App, name: &TopicName) -> Reply<Vec<(u64, u64)>> {
    let ledgers = app.broker.internal_stats(name).await?.ledgers;
    let ledgers =
        ledgers.iter().filter_map(|l| Some((u64::try_from(l.ledger_id).ok()?, u64::try_from(l.entries).ok()?)));
    Ok(ledgers.filter(|&(_, entries)| entries > 0).collect())
}

async fn by_id(State(app): State<App>, at: At) -> Reply<Response> {
    let name = at.topic()?;
    let (ledger, entry): (u64, i64) = (at.number("ledger")?, at.number("entry")?);
    single(&app, &name, "GetMessageById is not allowed on partitioned-topic").await?;
    let missing = || Failure::not_found("Message id not found");
    if entry < 0 || entry == i64::MAX {
        return Err(missing());
    }
    let found = app.broker.read_message(&name, Position::new(ledger, entry)).await?;
    response(found.ok_or_else(missing)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Examine {
    initial_position: Option<String>,
    message_position: Option<i64>,
}

async fn examine(State(app): State<App>, at: At, Query(query): Query<Examine>) -> Reply<Response> {
    let name = at.topic()?;
    let why_not = "Examine messages on a partitioned topic is not allowed, please try examine message on specific topic \
                   partition";
    single(&app, &name, why_not).await?;
    let ledgers = entries(&app, &name).await?;
    let total: u64 = ledgers.iter().map(|&(_, entries)| entries).sum();
    if total == 0 {
        return Err(Failure::precondition("Could not examine messages due to the total message is zero"));
    }
    // Whatever is not `earliest` counts from the end, and a count beyond the other end means that end.
    let n = u64::try_from(query.message_position.unwrap_or(1)).unwrap_or(1).clamp(1, total);
    let from_start = query.initial_position.as_deref() == Some("earliest");
    let mut skip = if from_start { n - 1 } else { total - n };
    for (ledger, entries) in ledgers {
        if skip < entries {
            let position = Position::new(ledger, i64::try_from(skip).unwrap_or(i64::MAX));
            let found = app.broker.read_message(&name, position).await?;
            return response(found.ok_or_else(|| Failure::not_found("Message not found"))?);
        }
        skip -= entries;
    }
    Err(Failure::not_found("Message not found"))
}

async fn peek(State(app): State<App>, at: At) -> Reply<Response> {
    let name = at.topic()?;
    let n: u64 = at.number("n")?;
    single(&app, &name, "Peek messages on a partitioned topic is not allowed").await?;
    if n == 0 {
        return Err(Failure::bad("messages are counted from 1"));
    }
    match app.broker.peek_message(&name, at.subscription()?, n).await {
        Ok(Some(found)) => response(found),
        Ok(None) => Err(Failure::not_found("Message not found")),
        Err(other) => Err(other.into()),
    }
}

/// One entry.
fn response((position, entry): (Position, Bytes)) -> Reply<Response> {
    let corrupt = |why: String| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let parts = wire::entry::split(&entry).map_err(|e| corrupt(e.to_string()))?;
    let metadata = MessageMetadata::decode(parts.metadata).map_err(|e| corrupt(e.to_string()))?;
    let payload = wire::entry::payload(&entry).map_err(|e| corrupt(e.to_string()))?;
    let mut headers = describe(&metadata, payload.len());
    headers.insert(HeaderName::from_static("x-pulsar-message-id"), value(&position.to_string()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok((headers, payload).into_response())
}

/// A header's value; what a header cannot hold is left out of it.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| {
        let clean: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        HeaderValue::from_str(&clean).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// A JSON object in ASCII, so that a header holds every name and value there is.
fn json_ascii(properties: &BTreeMap<&str, &str>) -> String {
    let text = serde_json::to_string(properties).unwrap_or_default();
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                ascii += &format!("\\u{unit:04x}");
            }
        }
    }
    ascii
}

fn describe(metadata: &MessageMetadata, payload_bytes: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, text: String| {
        headers.insert(HeaderName::from_static(name), value(&text));
    };
    let properties = metadata.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    set("x-pulsar-property", json_ascii(&properties));
    set("x-pulsar-publish-time", broker::rfc3339(metadata.publish_time));
    set("x-pulsar-producer-name", metadata.producer_name.clone());
    set("x-pulsar-sequence-id", metadata.sequence_id.to_string());
    set("x-pulsar-is-encrypted", (!metadata.encryption_keys.is_empty()).to_string());
    let aborted = metadata.txnid_most_bits.is_some();
    set("x-pulsar-txn-uncommitted", aborted.to_string());
    if let Some(time) = metadata.event_time.filter(|&time| time > 0) {
        set("x-pulsar-event-time", broker::rfc3339(time));
    }
    if let Some(time) = metadata.deliver_at_time.and_then(|time| u64::try_from(time).ok()) {
        set("x-pulsar-deliver-at-time", broker::rfc3339(time));
    }
    if let Some(n) = metadata.num_messages_in_batch {
        set("x-pulsar-num-batch-message", n.to_string());
        set("x-pulsar-batch-size", payload_bytes.to_string());
    }
    if let Some(key) = &metadata.partition_key {
        set("x-pulsar-partition-key", key.clone());
    }
    let flags = [
        ("x-pulsar-partition-key-b64-encoded", metadata.partition_key_b64_encoded),
        ("x-pulsar-null-value", metadata.null_value),
        ("x-pulsar-null-partition-key", metadata.null_partition_key),
    ];
    for (name, flag) in flags {
        if let Some(flag) = flag {
            set(name, flag.to_string());
        }
    }
    if let Some(cluster) = &metadata.replicated_from {
        set("x-pulsar-replicated-from", cluster.clone());
    }
    if !metadata.replicate_to.is_empty() {
        set("x-pulsar-replicated-to", format!("[{}]", metadata.replicate_to.join(", ")));
    }
    if let Some(kind) = metadata.compression.and_then(|kind| CompressionType::try_from(kind).ok()) {
        set("x-pulsar-compression", kind.as_str_name().to_uppercase());
    }
    if let Some(size) = metadata.uncompressed_size.filter(|_| metadata.compression.unwrap_or(0) != 0) {
        set("x-pulsar-uncompressed-size", size.to_string());
    }
    let numbers = [
        ("x-pulsar-chunk-id", metadata.chunk_id),
        ("x-pulsar-property-total-chunks", metadata.num_chunks_from_msg),
        ("x-pulsar-property-total-chunk-size", metadata.total_chunk_msg_size),
        ("x-pulsar-marker-type", metadata.marker_type),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            set(name, number.to_string());
        }
    }
    if let Some(uuid) = &metadata.uuid {
        set("x-pulsar-uuid", uuid.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_cannot_break_the_headers() {
        let properties = BTreeMap::from([("a\r\nb", "ü\u{1f600}\"")]);
        assert_eq!(json_ascii(&properties), r#"{"a\r\nb":"\u00fc\ud83d\ude00\""}"#);
        assert_eq!(value("x\r\ny: z"), "xy: z");
    }
}
