//! `cargo xtask bench --peer`: Geminga and Apache Pulsar measured alternately, by the same client, with the same promise
//! (synced before it is acknowledged), and written to `docs/benchmarks.md` as medians and ratios.

mod elasticity;
mod functions;
mod limits;
mod server;
mod thousand;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use server::{Kind, Server};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Measure Geminga, alone or beside Apache Pulsar
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
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

/// What is measured in place of the broker.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Functions: one instance in each language, beside Pulsar's own
    Functions(functions::Args),
    /// Scaling: our policy beside Kubernetes', KEDA's and Knative's
    Elasticity(elasticity::Args),
    /// A thousand functions on one server
    Thousand(thousand::Args),
}

/// A number of a report of `geminga perf`: what it is called, and where it is.
struct Metric {
    name: &'static str,
    unit: &'static str,
    pointer: &'static str,
}

/// One measurement: arguments of `geminga perf`, and what is read from its report.
struct Scenario {
    name: &'static str,
    /// `HALF` stands for half of the peer's maximum, in messages a second.
    words: &'static str,
    metrics: &'static [Metric],
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

const IDLE: &str = "idle";
const BATCHED: &str = "publish, batched";
const CATCH_UP: &str = "catch-up read of 5 GB";

/// In this order: what comes first finds new journal files, what comes later recycled ones.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: IDLE,
        words: "idle --duration 30s",
        metrics: &[RSS, Metric { name: "CPU", unit: "cores", pointer: "/broker/cores" }],
    },
    Scenario { name: BATCHED, words: "produce --topic batched --warmup 10s", metrics: &[RATE_IN, CPU, WRITTEN] },
    Scenario {
        name: "publish, unbatched",
        words: "produce --topic unbatched --batch-max-messages 1 --outstanding 1000 --warmup 5s",
        metrics: &[RATE_IN, CPU, WRITTEN],
    },
    Scenario {
        name: "publish at 5,000 msg/s, unbatched",
        words: "produce --topic steady --rate 5000 --batch-max-messages 1 --warmup 3s",
        metrics: &[P50, P99, CPU, WRITTEN],
    },
    Scenario {
        name: "publish and consume at 50,000 msg/s, batched",
        words: "latency --topic flow --rate 50000 --warmup 3s",
        metrics: &[E2E_P50, E2E_P99, CPU, WRITTEN],
    },
    Scenario {
        name: "end to end at half of Pulsar's maximum",
        words: "latency --topic half --rate HALF --warmup 3s",
        metrics: &[E2E_P50, E2E_P99, CPU, WRITTEN],
    },
    Scenario {
        name: "fan-out to 10 subscriptions at 5,000 msg/s",
        words: "fanout --topic fanout --subscriptions 10 --rate 5000 --warmup 3s",
        metrics: &[RATE_OUT, E2E_P99, CPU],
    },
    Scenario {
        name: "1,000 topics, 10 msg/s each",
        words: "latency --topic many --topics 1000 --rate 10000 --batch-max-messages 1 --warmup 5s",
        metrics: &[E2E_P50, E2E_P99, CPU, RSS],
    },
    Scenario {
        name: "1,000 connections, 10 msg/s each",
        words: "produce --topic conns --topics 1000 --connections 1000 --rate 10000 --batch-max-messages 1 --warmup 5s",
        metrics: &[P50, P99, CPU, RSS],
    },
    Scenario {
        name: "publish 5 GB for a reader to come",
        words: "produce --topic backlog --keep-for reader --rate 125000 --warmup 0s --duration 40s",
        metrics: &[RATE_IN, CPU],
    },
    Scenario {
        name: CATCH_UP,
        words: "consume --topic backlog --subscription reader --no-ack --queue 100000 --read 5GB",
        metrics: &[Metric { name: "read", unit: "MB/s", pointer: "/delivered/megabytesPerS" }, CPU],
    },
];

impl Scenario {
    /// The command line, once it is known what it needs.
    fn args(&self, seconds: u64, peak: Option<f64>) -> Option<Vec<String>> {
        let mut args: Vec<String> = self.words.split_whitespace().map(str::to_owned).collect();
        if let Some(half) = args.iter_mut().find(|arg| *arg == "HALF") {
            *half = format!("{:.0}", peak? / 2.0);
        }
        if self.words.starts_with("consume") || self.words.contains("--duration") {
            return Some(args);
        }
        args.extend(["--duration".to_owned(), format!("{seconds}s")]);
        Some(args)
    }
}

/// Before it is called idle, a server finishes what its start left to do.
const SETTLE: Duration = Duration::from_secs(10);

/// What the machine can do, in megabytes a second, each time it was asked.
#[derive(Default)]
struct Limits {
    disk: Vec<f64>,
    loopback: Vec<f64>,
}

type Figures = BTreeMap<(usize, &'static str, &'static str, &'static str), BTreeMap<Kind, Vec<f64>>>;

/// Runs the comparison and writes its page.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    match &args.part {
        Some(Part::Functions(args)) => functions::run(args, root),
        Some(Part::Elasticity(args)) => elasticity::run(args, root),
        Some(Part::Thousand(args)) => thousand::run(args, root),
        None => run_broker(args, root),
    }
}

/// Where servers write, once the product is built.
fn prepare(root: &Path) -> Result<PathBuf> {
    let status = Command::new("cargo").args(["build", "--release"]).current_dir(root).status()?;
    if !status.success() {
        bail!("the release build failed");
    }
    let work = root.join("target/bench");
    fs::create_dir_all(&work)?;
    Ok(work)
}

fn run_broker(args: &Args, root: &Path) -> Result<()> {
    let work = prepare(root)?;
    let kinds: &[Kind] = if args.peer { &[Kind::Pulsar, Kind::Geminga] } else { &[Kind::Geminga] };
    let mut figures = Figures::new();
    let mut limits = Limits::default();
    let mut peak = None;
    for pair in 0..args.pairs {
        if args.only.as_ref().is_none_or(|only| CATCH_UP.contains(only.as_str())) {
            limits.disk.push(limits::disk(&work)?);
            limits.loopback.push(limits::loopback()?);
        }
        for &kind in kinds {
            println!("{} of {}: {}", pair + 1, args.pairs, kind.name());
            let server = Server::start(kind, root, &work, false)?;
            let first = first_message(&server, root)?;
            record(&mut figures, 0, "start", "to the first acknowledged message", "ms", kind, first * 1000.0);
            for (n, scenario) in SCENARIOS.iter().enumerate() {
                if args.only.as_ref().is_some_and(|only| !scenario.name.contains(only.as_str())) {
                    continue;
                }
                let Some(words) = scenario.args(args.seconds, peak) else { continue };
                match scenario.name {
                    IDLE => std::thread::sleep(SETTLE),
                    // What one server finds in the page cache, the other has written past it.
                    CATCH_UP => limits::forget(server.data())?,
                    _ => {}
                }
                match perf(root, &server, &words) {
                    Ok(report) => {
                        for metric in scenario.metrics {
                            let Some(value) = report.pointer(metric.pointer).and_then(Value::as_f64) else { continue };
                            println!("  {}: {} {value:.3} {}", scenario.name, metric.name, metric.unit);
                            record(&mut figures, n + 1, scenario.name, metric.name, metric.unit, kind, value);
                            if kind == Kind::Pulsar && scenario.name == BATCHED && metric.pointer == RATE_IN.pointer {
                                peak.get_or_insert(value);
                            }
                        }
                    }
                    Err(error) => println!("  {}: {error:#}", scenario.name),
                }
            }
        }
    }
    let page = page(&figures, &limits, args);
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

fn page(figures: &Figures, limits: &Limits, args: &Args) -> String {
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
    table(&mut text, figures);
    if let (Some(disk), Some(loopback)) = (median(&limits.disk), median(&limits.loopback)) {
        let _ = writeln!(
            text,
            "\nThe machine in the same run: a file read in order from the disk {disk:.0} MB/s, one TCP connection over \
             loopback {loopback:.0} MB/s."
        );
        let read = figures.iter().find(|((_, scenario, metric, _), _)| (*scenario, *metric) == (CATCH_UP, "read"));
        for (kind, values) in read.iter().flat_map(|(_, by_kind)| by_kind.iter()) {
            if let Some(rate) = median(values) {
                let percent = rate * 100.0 / disk.min(loopback);
                let _ = writeln!(text, "{}'s catch-up read is {percent:.0} % of the lower one.", kind.name());
            }
        }
    }
    text
}

/// A row for each figure.
fn table(text: &mut String, figures: &Figures) {
    text.push_str("| What | | Unit | Geminga | Pulsar | Ratio |\n|---|---|---|---|---|---|\n");
    for ((_, scenario, metric, unit), by_kind) in figures {
        let cell = |kind| {
            let values = by_kind.get(&kind).map_or(&[][..], Vec::as_slice);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            median(values).map(|m| (m, format!("{} ({} to {})", number(m), number(low), number(high))))
        };
        let (ours, theirs) = (cell(Kind::Geminga), cell(Kind::Pulsar));
        let ratio = match (&ours, &theirs) {
            (Some((ours, _)), Some((theirs, _))) if *ours >= 0.0 && *theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => String::new(),
        };
        let show = |cell: &Option<(f64, String)>| cell.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        let _ = writeln!(text, "| {scenario} | {metric} | {unit} | {} | {} | {ratio} |", show(&ours), show(&theirs));
    }
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
