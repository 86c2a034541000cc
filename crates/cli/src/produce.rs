//! `geminga produce`: publishes what is given on the command line, in a file or on standard input.

use crate::{
    output::line,
    service::{Service, explain, pair},
};
use anyhow::Context;
use client::{Batching, CompressionType, Outgoing, Producer, Publication};
use std::{collections::VecDeque, path::PathBuf, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncBufRead, AsyncBufReadExt, BufReader},
    time::Instant,
};

/// Publish messages to a topic
///
/// Without -m and -f, every line of standard input is a message.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga produce orders -m 'first' -m 'second'\n  \
    seq 1000 | geminga produce orders -k customer-7 -p source=test\n  \
    geminga produce orders -m tick --num 100 --rate 10")]
pub struct Args {
    /// The topic: `orders`, `tenant/namespace/orders` or `persistent://tenant/namespace/orders`
    topic: String,
    /// A message; may be repeated
    #[arg(short, long = "message", value_name = "TEXT")]
    message: Vec<String>,
    /// Every line of this file is a message; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "message")]
    file: Option<PathBuf>,
    /// The file as a whole is one message
    #[arg(long, requires = "file")]
    whole_file: bool,
    /// The key of every message
    #[arg(short, long)]
    key: Option<String>,
    /// A property of every message; may be repeated
    #[arg(short, long = "property", value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// Messages per second, at most
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// How many messages to publish, going through the given ones again as needed [default: each once]
    #[arg(short, long, value_name = "COUNT")]
    num: Option<u64>,
    /// How payloads are compressed
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Every message becomes an entry of its own
    #[arg(long)]
    no_batching: bool,
    /// The producer's name
    #[arg(long)]
    name: Option<String>,
    /// What is printed at the end
    #[arg(short, long, value_enum, default_value = "pretty")]
    output: Output,
    #[command(flatten)]
    service: Service,
}

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Compression {
    None,
    Lz4,
    Zlib,
    Zstd,
    Snappy,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A sentence
    Pretty,
    /// JSON
    Json,
}

/// Runs the command.
///
/// # Errors
/// No broker, no such topic, a message was refused, or the file can't be read.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(rate) = args.rate {
        anyhow::ensure!(rate.is_finite() && rate > 0.0, "--rate must be above 0");
    }
    let client = args.service.connect().await?;
    let mut builder = client.producer(&args.topic).compression(match args.compression {
        Compression::None => CompressionType::None,
        Compression::Lz4 => CompressionType::Lz4,
        Compression::Zlib => CompressionType::Zlib,
        Compression::Zstd => CompressionType::Zstd,
        Compression::Snappy => CompressionType::Snappy,
    });
    if !args.no_batching {
        builder = builder.batching(Batching { by_key: true, ..Batching::default() });
    }
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    let mut sender = Sender {
        producer: builder.create().await.map_err(explain)?,
        waiting: VecDeque::new(),
        started: Instant::now(),
        sent: 0,
        stored: 0,
        last: None,
    };
    let stopped = tokio::select! {
        done = sender.send_all(&args) => {
            done?;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
    };
    sender.settle(0).await?;
    let Sender { producer, stored, last, started, .. } = sender;
    producer.close().await.map_err(explain)?;
    let last = last.map(|id| crate::consume::id_text(&id));
    match args.output {
        Output::Json => line(serde_json::json!({ "published": stored, "lastMessageId": last }).to_string()),
        Output::Pretty => {
            let plural = if stored == 1 { "message" } else { "messages" };
            let topic = &args.topic;
            let id = last.map(|id| format!(", last id {id}")).unwrap_or_default();
            let how = if stopped { " before it was stopped" } else { "" };
            line(format!("{stored} {plural} published to {topic} in {:.1?}{id}{how}", started.elapsed()))
        }
    }
}

/// Receipts are looked at this far behind the sends.
const WAITING_MAX: usize = 4096;

struct Sender {
    producer: Producer,
    waiting: VecDeque<Publication>,
    started: Instant,
    sent: u64,
    stored: u64,
    last: Option<model::MessageId>,
}

impl Sender {
    async fn send_all(&mut self, args: &Args) -> anyhow::Result<()> {
        let mut given: Vec<Vec<u8>> = args.message.iter().map(|text| text.clone().into_bytes()).collect();
        if given.is_empty() {
            match &args.file {
                Some(path) if args.whole_file => {
                    given.push(tokio::fs::read(path).await.with_context(|| format!("read {}", path.display()))?);
                }
                Some(path) if path.as_os_str() != "-" => {
                    let file = File::open(path).await.with_context(|| format!("open {}", path.display()))?;
                    given = self.send_lines(args, BufReader::new(file)).await?;
                    if args.num.is_none() {
                        return Ok(());
                    }
                }
                _ => {
                    given = self.send_lines(args, BufReader::new(tokio::io::stdin())).await?;
                    if args.num.is_none() {
                        return Ok(());
                    }
                }
            }
        }
        let total = args.num.unwrap_or(given.len() as u64);
        anyhow::ensure!(total == self.sent || !given.is_empty(), "there is no message to publish");
        for payload in given.iter().cycle().skip(self.sent as usize % given.len().max(1)) {
            if self.sent >= total {
                break;
            }
            self.send(args, payload.clone()).await?;
        }
        Ok(())
    }

    /// Sends every line as it comes; returns them when they are to be repeated.
    async fn send_lines(&mut self, args: &Args, mut lines: impl AsyncBufRead + Unpin) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut kept = Vec::new();
        while args.num.is_none_or(|num| self.sent < num) {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).await.context("read a line")? == 0 {
                break;
            }
            while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                line.pop();
            }
            if args.num.is_some() {
                kept.push(line.clone());
            }
            self.send(args, line).await?;
        }
        Ok(kept)
    }

    async fn send(&mut self, args: &Args, payload: Vec<u8>) -> anyhow::Result<()> {
        if let Some(rate) = args.rate {
            tokio::time::sleep_until(self.started + Duration::from_secs_f64(self.sent as f64 / rate)).await;
        }
        let message = Outgoing { key: args.key.clone(), properties: args.property.clone(), ..Outgoing::new(payload) };
        self.waiting.push_back(self.producer.enqueue(message).await.map_err(explain)?);
        self.sent += 1;
        self.settle(WAITING_MAX).await
    }

    /// Waits until at most `open` messages have no receipt.
    async fn settle(&mut self, open: usize) -> anyhow::Result<()> {
        while self.waiting.len() > open {
            let Some(publication) = self.waiting.pop_front() else { break };
            self.last = Some(publication.await.map_err(explain)?);
            self.stored += 1;
        }
        Ok(())
    }
}
