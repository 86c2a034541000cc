//! `cargo xtask bench --peer`: Geminga and Apache Pulsar measured alternately, by the same client, with the same promise
//! (synced before it is acknowledged), and written to `docs/benchmarks.md` as medians and ratios.

mod server;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use server::{Kind, Server};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Measure Geminga, alone or beside Apache Pulsar
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure Apache Pulsar too, alternating with Geminga, and write docs/benchmarks.md
    #[arg(long)]
    peer: bool,
    /// How often each server is measured
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only the rows whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// A row of the table: what it is called, where its number is in the report, and whether more is better.
struct Metric {
    name: &'static str,
    unit: &'static str,
    pointer: &'static str,
}

/// One measurement: arguments of `geminga perf`, and what is read from its report.
struct Scenario {
    name: &'static str,
    args: Vec<String>,
    metrics: Vec<Metric>,
}

const CPU: Metric =
    Metric { name: "broker CPU", unit: "s per million", pointer: "/broker/cpuSecondsPerMillionMessages" };
const RATE_IN: Metric = Metric { name: "published", unit: "msg/s", pointer: "/published/messagesPerS" };
const RATE_OUT: Metric = Metric { name: "delivered", unit: "msg/s", pointer: "/delivered/messagesPerS" };
const P50: Metric = Metric { name: "publish p50", unit: "ms", pointer: "/publishLatency/p50Ms" };
const P99: Metric = Metric { name: "publish p99", unit: "ms", pointer: "/publishLatency/p99Ms" };
const E2E_P50: Metric = Metric { name: "end-to-end p50", unit: "ms", pointer: "/endToEndLatency/p50Ms" };
const E2E_P99: Metric = Metric { name: "end-to-end p99", unit: "ms", pointer: "/endToEndLatency/p99Ms" };
const RSS: Metric = Metric { name: "RSS", unit: "bytes", pointer: "/broker/rssBytes" };
const WRITTEN: Metric =
    Metric { name: "written per published byte", unit: "", pointer: "/broker/writtenBytesPerPublishedByte" };

fn scenarios(seconds: u64, half_of_peak: Option<f64>) -> Vec<Scenario> {
    let time = format!("{seconds}s");
    let run = |name, words: &str, metrics: Vec<Metric>| {
        let mut args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        if !words.starts_with("consume") {
            args.extend(["--duration".to_owned(), time.clone()]);
        }
        Scenario { name, args, metrics }
    };
    let mut all = vec![
        run("idle", "idle", vec![RSS, Metric { name: "CPU", unit: "cores", pointer: "/broker/cores" }]),
        run("publish, batched", "produce --topic batched --warmup 10s", vec![RATE_IN, CPU, WRITTEN]),
        run(
            "publish, unbatched",
            "produce --topic unbatched --batch-max-messages 1 --outstanding 1000 --warmup 5s",
            vec![RATE_IN, CPU, WRITTEN],
        ),
        run(
            "publish at 5,000 msg/s, unbatched",
            "produce --topic steady --rate 5000 --batch-max-messages 1 --warmup 3s",
            vec![P50, P99, CPU, WRITTEN],
        ),
        run(
            "publish and consume at 50,000 msg/s, batched",
            "latency --topic flow --rate 50000 --warmup 3s",
            vec![E2E_P50, E2E_P99, CPU, WRITTEN],
        ),
        run(
            "fan-out to 10 subscriptions at 5,000 msg/s",
            "fanout --topic fanout --subscriptions 10 --rate 5000 --warmup 3s",
            vec![RATE_OUT, E2E_P99, CPU],
        ),
        run(
            "1,000 topics, 10 msg/s each",
            "latency --topic many --topics 1000 --rate 10000 --batch-max-messages 1 --warmup 5s",
            vec![E2E_P50, E2E_P99, CPU, RSS],
        ),
        run(
            "1,000 connections, 10 msg/s each",
            "produce --topic conns --topics 1000 --connections 1000 --rate 10000 --batch-max-messages 1 --warmup 5s",
            vec![P50, P99, CPU, RSS],
        ),
    ];
    if let Some(rate) = half_of_peak {
        let words = format!("latency --topic half --rate {rate:.0} --warmup 3s");
        all.push(run("end to end at half of Pulsar's maximum", &words, vec![E2E_P50, E2E_P99, CPU]));
    }
    all.push(run("fill 5 GB", "produce --topic backlog --warmup 0s --duration 40s", vec![RATE_IN]));
    all.push(run(
        "catch-up read",
        "consume --topic backlog --from earliest --no-ack --queue 100000 --read 5GB",
        vec![Metric { name: "read", unit: "MB/s", pointer: "/delivered/megabytesPerS" }, CPU],
    ));
    all
}

type Figures = BTreeMap<(usize, &'static str, &'static str, &'static str), BTreeMap<Kind, Vec<f64>>>;

/// Runs the comparison and writes its page.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let status = Command::new("cargo").args(["build", "--release"]).current_dir(root).status()?;
    if !status.success() {
        bail!("the release build failed");
    }
    let work = root.join("target/bench");
    fs::create_dir_all(&work)?;
    let kinds: &[Kind] = if args.peer { &[Kind::Pulsar, Kind::Geminga] } else { &[Kind::Geminga] };
    let mut figures = Figures::new();
    let mut peak = None;
    for pair in 0..args.pairs {
        for &kind in kinds {
            println!("{} of {}: {}", pair + 1, args.pairs, kind.name());
            let server = Server::start(kind, root, &work)?;
            let first = first_message(&server, root)?;
            record(&mut figures, 0, "start", "to the first acknowledged message", "ms", kind, first * 1000.0);
            for (n, scenario) in scenarios(args.seconds, peak).iter().enumerate() {
                if args.only.as_ref().is_some_and(|only| !scenario.name.contains(only.as_str())) {
                    continue;
                }
                match perf(root, &server, &scenario.args) {
                    Ok(report) => {
                        for metric in &scenario.metrics {
                            let Some(value) = report.pointer(metric.pointer).and_then(Value::as_f64) else { continue };
                            println!("  {}: {} {value:.3} {}", scenario.name, metric.name, metric.unit);
                            record(&mut figures, n + 1, scenario.name, metric.name, metric.unit, kind, value);
                            if kind == Kind::Pulsar && scenario.name == "publish, batched" && metric.unit == "msg/s" {
                                peak.get_or_insert(value / 2.0);
                            }
                        }
                    }
                    Err(error) => println!("  {}: {error:#}", scenario.name),
                }
            }
        }
    }
    let page = page(&figures, args);
    if args.peer && args.only.is_none() {
        fs::write(root.join("docs/benchmarks.md"), &page)?;
    }
    println!("{page}");
    Ok(())
}

fn record(
    figures: &mut Figures,
    order: usize,
    scenario: &'static str,
    metric: &'static str,
    unit: &'static str,
    kind: Kind,
    value: f64,
) {
    figures.entry((order, scenario, metric, unit)).or_default().entry(kind).or_default().push(value);
}

/// Seconds from the start of the process to the first acknowledged message, the run of the client included.
fn first_message(server: &Server, root: &Path) -> Result<f64> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let produced = Command::new(root.join("target/release/geminga"))
            .args(["produce", "first", "-m", "x", "--service-url", &server.url])
            .output()?;
        if produced.status.success() {
            return Ok(server.started.elapsed().as_secs_f64());
        }
        if Instant::now() > deadline {
            bail!("no message was taken: {}", String::from_utf8_lossy(&produced.stderr));
        }
    }
}

fn perf(root: &Path, server: &Server, args: &[String]) -> Result<Value> {
    let output = Command::new(root.join("target/release/geminga"))
        .arg("perf")
        .args(args)
        .args(["--service-url", &server.url, "--broker-pid", &server.pid().to_string(), "-o", "json"])
        .output()
        .context("run geminga perf")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("parse the report of geminga perf")
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn page(figures: &Figures, args: &Args) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench --peer`; nothing here is typed by hand.\n\n\
         Geminga and Apache Pulsar 4.2.4 standalone on the same machine, measured alternately with the same client \
         (`geminga perf`), which shares the machine's cores with the broker. Both sync every message to disk before they \
         acknowledge it. Messages have 1 KiB. Machines are shared and noisy: look at the ratio, not at the figures.\n\n",
    );
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let _ = writeln!(
        text,
        "{} runs each, {} seconds a measurement, {cores} cores, medians (lowest to highest).\n",
        args.pairs, args.seconds
    );
    text.push_str("| What | | Unit | Geminga | Pulsar | Ratio |\n|---|---|---|---|---|---|\n");
    for ((_, scenario, metric, unit), by_kind) in figures {
        let cell = |kind| {
            let values = by_kind.get(&kind).map_or(&[][..], Vec::as_slice);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(0.0, f64::max);
            median(values).map(|m| (m, format!("{} ({} to {})", number(m), number(low), number(high))))
        };
        let (ours, theirs) = (cell(Kind::Geminga), cell(Kind::Pulsar));
        let ratio = match (&ours, &theirs) {
            (Some((ours, _)), Some((theirs, _))) if *theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => String::new(),
        };
        let show = |cell: &Option<(f64, String)>| cell.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        let _ = writeln!(text, "| {scenario} | {metric} | {unit} | {} | {} | {ratio} |", show(&ours), show(&theirs));
    }
    text
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.1}M", value / 1e6),
        v if v >= 1e4 => format!("{:.1}k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
