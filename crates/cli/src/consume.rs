//! `geminga consume`: prints messages as they come.

use crate::{
    produce::Output,
    service::{Service, explain},
};
use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use client::{Consumer, Message};
use model::{InitialPosition, MessageId, SubscriptionType};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write},
    time::{Duration, UNIX_EPOCH},
};

/// Receive messages from a topic and print them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga consume orders -s billing\n  \
    geminga consume orders -s audit -p earliest -n 10 -o json\n  \
    geminga consume orders -s workers -t shared --no-ack")]
pub struct Args {
    /// The topic: `orders`, `tenant/namespace/orders` or `persistent://tenant/namespace/orders`
    topic: String,
    /// The subscription; it stays when the command ends
    #[arg(short, long, value_name = "NAME")]
    subscription: String,
    /// How the subscription is shared
    #[arg(short = 't', long = "type", value_enum, default_value = "exclusive", ignore_case = true)]
    kind: Kind,
    /// Where the subscription begins if it is new
    #[arg(short, long, value_enum, default_value = "latest", ignore_case = true)]
    position: Position,
    /// How many messages to receive; 0: until stopped
    #[arg(short, long, value_name = "COUNT", default_value_t = 0)]
    num: u64,
    /// Stop when no message has come for this long, such as `5s`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle: Option<Duration>,
    /// Acknowledge what was printed [default]
    #[arg(long, overrides_with = "no_ack")]
    ack: bool,
    /// Leave everything unacknowledged
    #[arg(long)]
    no_ack: bool,
    /// How messages are printed; JSON is one object per line
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: Output,
    #[command(flatten)]
    service: Service,
}

/// How a subscription is shared.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    Exclusive,
    Shared,
    Failover,
    #[value(alias = "key_shared", alias = "keyshared")]
    KeyShared,
}

impl From<Kind> for SubscriptionType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Exclusive => Self::Exclusive,
            Kind::Shared => Self::Shared,
            Kind::Failover => Self::Failover,
            Kind::KeyShared => Self::KeyShared,
        }
    }
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Position {
    Earliest,
    Latest,
}

impl From<Position> for InitialPosition {
    fn from(position: Position) -> Self {
        match position {
            Position::Earliest => Self::Earliest,
            Position::Latest => Self::Latest,
        }
    }
}

/// Runs the command until it has its messages, is idle for too long, or Ctrl-C.
///
/// # Errors
/// No broker, no such topic, the subscription is taken, or standard output is closed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let acks = args.ack || !args.no_ack;
    let client = args.service.connect().await?;
    let consumer = client
        .consumer(&args.topic, &args.subscription)
        .kind(args.kind.into())
        .initial(args.position.into())
        // What was printed of a batch is not printed again.
        .batch_index_acks(true)
        .subscribe()
        .await
        .map_err(explain)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut out = std::io::BufWriter::new(std::io::stdout());
    if args.output == Output::Pretty && is_terminal {
        eprintln!("Receiving from {} in subscription {}; Ctrl-C stops.", args.topic, args.subscription);
    }
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let mut received = 0u64;
    // A reader of the output that has seen enough (`| head`) ends it, too.
    let mut closed = false;
    // Of each partition the last that was printed. It is acknowledged when the next one comes; when none does, the broker is
    // asked to say that the acknowledgements are durable, so that whoever sees this command end can rely on them.
    let mut held = BTreeMap::new();
    while !closed && (args.num == 0 || received < args.num) {
        let message = match consumer.try_receive() {
            Ok(Some(message)) => Ok(message),
            Err(error) => Err(error),
            Ok(None) => {
                // Nothing more at hand: this is when a reader of the output wants to see it.
                closed = is_closed(out.flush())?;
                if closed {
                    break;
                }
                confirm(&consumer, &mut held).await?;
                let idle = async {
                    match args.idle {
                        Some(idle) => tokio::time::sleep(idle).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    message = consumer.receive() => message,
                    () = idle => break,
                    _ = &mut stop => break,
                }
            }
        };
        let message = match message {
            Ok(message) => message,
            Err(error @ (client::Error::Corrupt { .. } | client::Error::Decompress(_))) => {
                eprintln!("skipped: {error}");
                continue;
            }
            Err(client::Error::EndOfTopic) => break,
            Err(error) => return Err(explain(error)),
        };
        let line = match args.output {
            Output::Json => json(&message).to_string(),
            Output::Pretty => pretty(&message, is_terminal),
        };
        closed = is_closed(writeln!(out, "{line}"))?;
        received += 1;
        // What nobody sees any more stays for the next.
        if acks
            && !closed
            && let Some(before) = held.insert(message.id.partition, message.id)
        {
            unless_redelivered(consumer.ack(before))?;
        }
    }
    if !closed && !is_closed(out.flush())? {
        confirm(&consumer, &mut held).await?;
    }
    consumer.close().await.map_err(explain)
}

async fn confirm(consumer: &Consumer, held: &mut BTreeMap<i32, MessageId>) -> anyhow::Result<()> {
    for id in std::mem::take(held).into_values() {
        unless_redelivered(consumer.ack_confirmed(id).await)?;
    }
    Ok(())
}

/// An acknowledgement that the connection took along is no reason to end: the message comes again.
fn unless_redelivered(acked: client::Result<()>) -> anyhow::Result<()> {
    match acked {
        Err(client::Error::UnknownMessage(_)) => Ok(()),
        Err(error) if error.is_retryable() => Ok(()),
        other => other.map_err(explain),
    }
}

/// Whether the reader of standard output is gone.
fn is_closed(written: std::io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error).context("write to standard output"),
    }
}

/// `ledger:entry:partition`, and `:batch-index` for a message of a batch; -1 is no partition. As Pulsar's clients print it.
pub(crate) fn id_text(id: &MessageId) -> String {
    let mut text = format!("{}:{}", id.position, id.partition);
    if id.batch_index >= 0 {
        let _ = write!(text, ":{}", id.batch_index);
    }
    text
}

fn json(message: &Message) -> serde_json::Value {
    let mut value = serde_json::json!({
        "topic": &*message.topic,
        "messageId": id_text(&message.id),
        "key": message.key,
        "properties": message.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "publishTime": message.publish_time_ms,
        "eventTime": message.event_time_ms,
        "producer": &*message.producer_name,
        "sequenceId": message.sequence_id,
        "redeliveryCount": message.redelivery_count,
    });
    match text(&message.payload) {
        _ if message.null_value => value["payload"] = serde_json::Value::Null,
        Some(text) => value["payload"] = text.into(),
        None => value["payloadBase64"] = BASE64_STANDARD.encode(&message.payload).into(),
    }
    value
}

fn pretty(message: &Message, colored: bool) -> String {
    let (dim, key_color, plain) = if colored { ("\x1b[2m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(message.publish_time_ms));
    let mut line = format!("{dim}{time} {}{plain}", id_text(&message.id));
    if let Some(key) = &message.key {
        let _ = write!(line, " {key_color}{}{plain}", key.escape_debug());
    }
    if !message.properties.is_empty() {
        let pairs: Vec<_> =
            message.properties.iter().map(|(k, v)| format!("{}={}", k.escape_debug(), v.escape_debug())).collect();
        let _ = write!(line, " {dim}{{{}}}{plain}", pairs.join(" "));
    }
    if message.redelivery_count > 0 {
        let _ = write!(line, " {dim}(delivery {}){plain}", message.redelivery_count + 1);
    }
    match text(&message.payload) {
        _ if message.null_value => line.push_str(" (no value)"),
        Some(text) => {
            let _ = write!(line, " {text}");
        }
        None => {
            line.push_str(" 0x");
            for byte in &message.payload {
                let _ = write!(line, "{byte:02x}");
            }
        }
    }
    line
}

/// The payload, if a terminal can show it: UTF-8 without control characters but tabs and line ends.
fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload)
        .ok()
        .filter(|text| !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Position;

    fn message(payload: &'static [u8]) -> Message {
        Message {
            topic: "persistent://public/default/t".into(),
            id: MessageId { position: Position::new(3, 4), partition: -1, batch_index: 2 },
            payload: bytes::Bytes::from_static(payload),
            key: Some("k".into()),
            key_is_base64: false,
            ordering_key: None,
            properties: vec![("a".into(), "b".into())],
            publish_time_ms: 1_700_000_000_123,
            event_time_ms: None,
            producer_name: "p".into(),
            sequence_id: 7,
            redelivery_count: 0,
            batch_size: 3,
            null_value: false,
            schema_version: None,
        }
    }

    #[test]
    fn text_is_shown_as_text_and_bytes_as_hex() {
        assert_eq!(pretty(&message(b"hello"), false), "2023-11-14T22:13:20.123Z 3:4:-1:2 k {a=b} hello");
        assert_eq!(pretty(&message(&[0, 255]), false), "2023-11-14T22:13:20.123Z 3:4:-1:2 k {a=b} 0x00ff");
        let escape = pretty(&message(b"\x1b[2J"), false);
        assert!(escape.ends_with("0x1b5b324a"), "a payload must not steer the terminal: {escape}");
    }

    #[test]
    fn json_has_the_payload_as_text_or_base64() {
        assert_eq!(json(&message(b"hello"))["payload"], "hello");
        assert_eq!(json(&message(&[0, 255]))["payloadBase64"], "AP8=");
        assert_eq!(json(&message(b""))["properties"]["a"], "b");
    }
}
