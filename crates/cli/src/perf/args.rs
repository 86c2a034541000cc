//! What can be asked of `geminga perf`.

use super::report::Output;
use crate::{
    consume::{Kind, Position},
    service::Service,
};
use std::time::Duration;

/// What every measurement needs to know.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) service: Service,
    /// The broker's process, to measure its cost [default: the one that listens there, if it is on this machine]
    #[arg(long, value_name = "PID")]
    pub(super) broker_pid: Option<u32>,
    /// How the report is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(super) output: Output,
}

/// What is published, and how fast.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Load {
    /// The topic; with --topics N, the beginning of the names
    #[arg(short, long, default_value = "perf")]
    pub(super) topic: String,
    /// Messages per second over all producers, or `max`
    #[arg(short, long, value_name = "PER_SECOND", default_value = "max", value_parser = rate)]
    pub(super) rate: Rate,
    /// Bytes in a message
    #[arg(short, long, value_name = "BYTES", default_value = "1024", value_parser = bytes)]
    pub(super) size: u64,
    /// Messages in a batch, at most; 1 sends every message by itself
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_max_messages: u32,
    /// Bytes in a batch, at most
    #[arg(long, value_name = "BYTES", default_value = "128KiB", value_parser = bytes)]
    pub(super) batch_max_bytes: u64,
    /// How long the first message of a batch waits for others (at --rate max, batches are always full)
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = humantime::parse_duration)]
    pub(super) batch_max_delay: Duration,
    /// Producers on each topic
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) producers: u32,
    /// Topics
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) topics: u32,
    /// Connections that producers share
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) connections: u32,
    /// Messages of one producer that may wait for receipts
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) outstanding: u32,
    /// How long to measure
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) duration: Duration,
    /// How long to run before measuring
    #[arg(short, long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(super) warmup: Duration,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProduceArgs {
    #[command(flatten)]
    pub(super) load: Load,
    /// Create this subscription first, so that what is published is kept for `perf consume --subscription NAME`
    #[arg(long, value_name = "NAME")]
    pub(super) keep_for: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LatencyArgs {
    #[command(flatten)]
    pub(super) load: Load,
    /// How the subscription is shared
    #[arg(long = "type", value_enum, default_value = "exclusive", ignore_case = true)]
    pub(super) kind: Kind,
    /// Consumers in the subscription, each with a connection of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) consumers: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct FanoutArgs {
    #[command(flatten)]
    pub(super) load: Load,
    /// Subscriptions on each topic
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) subscriptions: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConsumeArgs {
    /// The topic; with --topics N, the beginning of the names
    #[arg(short, long, default_value = "perf")]
    pub(super) topic: String,
    /// Topics
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) topics: u32,
    /// The subscription [default: a new one, deleted at the end]
    #[arg(long, value_name = "NAME")]
    pub(super) subscription: Option<String>,
    /// Delete the subscription at the end, even if it was named
    #[arg(long)]
    pub(super) unsubscribe: bool,
    /// How the subscription is shared
    #[arg(long = "type", value_enum, default_value = "exclusive", ignore_case = true)]
    pub(super) kind: Kind,
    /// Consumers on each topic, each with a connection of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) consumers: u32,
    /// Where a new subscription begins
    #[arg(long, value_enum, default_value = "latest", ignore_case = true)]
    pub(super) from: Position,
    /// Messages the broker may send ahead to each consumer
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) queue: u32,
    /// Leave everything unacknowledged
    #[arg(long)]
    pub(super) no_ack: bool,
    /// Stop after this much: `1000000` messages, or bytes such as `5GB`
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    pub(super) read: Option<Amount>,
    /// How long to measure, at most, from the first message on
    #[arg(short, long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(super) duration: Duration,
    /// Stop when nothing has come for this long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(super) idle: Duration,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct IdleArgs {
    /// How long to watch
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) duration: Duration,
    #[command(flatten)]
    pub(super) common: Common,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    Max,
    PerSecond(f64),
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Messages(u64),
    Bytes(u64),
}

fn rate(text: &str) -> Result<Rate, String> {
    if text.eq_ignore_ascii_case("max") {
        return Ok(Rate::Max);
    }
    match text.replace('_', "").parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err("expected a number above 0, or max".to_owned()),
    }
}

fn amount(text: &str) -> Result<Amount, String> {
    match text.replace('_', "").parse() {
        Ok(messages) => Ok(Amount::Messages(messages)),
        Err(_) => bytes(text).map(Amount::Bytes),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024.0 * 1024.0,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err("expected bytes such as 1024, 5GB or 128KiB".to_owned()),
    };
    match number.replace('_', "").parse::<f64>() {
        Ok(number) if number >= 0.0 && number * factor <= 1e18 => Ok((number * factor) as u64),
        _ => Err("expected bytes such as 1024, 5GB or 128KiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_messages_or_bytes() {
        assert_eq!(amount("1_000"), Ok(Amount::Messages(1000)));
        assert_eq!(amount("5GB"), Ok(Amount::Bytes(5_000_000_000)));
        assert_eq!(amount("1.5KiB"), Ok(Amount::Bytes(1536)));
        assert!(amount("many").is_err() && amount("5 apples").is_err() && amount("").is_err());
    }

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!(rate("MAX"), Ok(Rate::Max));
        assert_eq!(rate("5_000"), Ok(Rate::PerSecond(5000.0)));
        assert!(rate("0").is_err() && rate("-1").is_err() && rate("inf").is_err() && rate("NaN").is_err());
    }
}
