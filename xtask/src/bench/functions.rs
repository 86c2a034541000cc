//! `cargo xtask bench functions`: one instance of a function, in each language and beside Pulsar's own Java instance.

use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Figures, prepare, record,
    server::{Kind, Server},
    table,
};
use crate::clients::{self, Missing};

/// Measure functions, alone or beside Apache Pulsar's
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Measure Apache Pulsar's Java instance too, and write docs/benchmarks-functions.md
    #[arg(long)]
    peer: bool,
    /// How often each server is measured
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Messages that wait for the function when its throughput is measured
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Only this language: python, process, wasm or java
    #[arg(long)]
    only: Option<String>,
}

/// Figures of bench.py, and what they are called.
const METRICS: &[(&str, &str, &str)] = &[
    ("messages_per_s", "throughput", "msg/s"),
    ("first_output_ms", "create to the first output", "ms"),
    ("through_p50_ms", "end to end at 1,000 msg/s, p50", "ms"),
    ("through_p99_ms", "end to end at 1,000 msg/s, p99", "ms"),
    ("twice_p99_ms", "two publishes without the function, p99", "ms"),
    ("added_p99_ms", "added to two publishes, p99", "ms"),
    ("broker_cpu_us_per_message", "CPU of the broker's process per message", "us"),
    ("instance_rss_mb", "memory of the instance's process", "MB"),
];
const LANGUAGES: &[&str] = &["wasm", "python", "java", "process"];

/// Language to figure to number.
type Report = BTreeMap<String, BTreeMap<String, f64>>;

/// Runs the comparison and writes its page.
pub(super) fn run(args: &Args, root: &Path) -> Result<()> {
    let work = prepare(root)?;
    let python = needed(clients::python(root, &["-r", "interop/python/requirements.txt"]))?;
    let (wasm, java) = (needed(clients::component(root))?, needed(clients::jar(root))?);
    let bench = |server: &Server, more: &[&str]| -> Result<Report> {
        let mut command = Command::new(&python);
        command.arg(root.join("interop/functions/bench.py"));
        command.args(["--service-url", &server.url, "--admin-url", &server.admin_url]);
        command.args(["--pid", &server.pid().to_string(), "--messages", &args.messages.to_string()]);
        command.arg("--wasm").arg(&wasm).arg("--java").arg(&java).args(more);
        command.args(args.only.iter().flat_map(|only| ["--only", only]));
        let output = command.stderr(std::process::Stdio::inherit()).output().context("run bench.py")?;
        if !output.status.success() {
            bail!("bench.py ended with {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("parse what bench.py printed")
    };
    let mut figures = Figures::new();
    let with_peer = args.peer && args.only.as_ref().is_none_or(|only| only == "java");
    let kinds: &[Kind] = if with_peer { &[Kind::Pulsar, Kind::Geminga] } else { &[Kind::Geminga] };
    for run in 0..args.runs {
        for &kind in kinds {
            println!("{} of {}: {}", run + 1, args.runs, kind.name());
            let server = Server::start(kind, root, &work, true)?;
            let report = match kind {
                Kind::Geminga => bench(&server, &[])?,
                // Its instances are threads of the broker: their memory is not seen apart.
                Kind::Pulsar => bench(&server, &["--only", "java", "--skip", "memory"])?,
            };
            for (order, language) in LANGUAGES.iter().enumerate() {
                for &(figure, name, unit) in METRICS {
                    if let Some(&value) = report.get(*language).and_then(|of| of.get(figure)) {
                        println!("  {language}: {name} {value:.3} {unit}");
                        record(&mut figures, order, language, name, unit, kind, value);
                    }
                }
            }
        }
    }
    let page = page(&figures, args);
    if args.peer && args.only.is_none() {
        fs::write(root.join("docs/benchmarks-functions.md"), &page)?;
    }
    println!("{page}");
    Ok(())
}

pub(super) fn needed(made: Result<PathBuf, Missing>) -> Result<PathBuf> {
    match made {
        Ok(path) => Ok(path),
        Err(Missing::Tool(what)) => bail!("{what}"),
        Err(Missing::Failed(error)) => Err(error),
    }
}

fn page(figures: &Figures, args: &Args) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let mut text = format!(
        "# Benchmarks of functions\n\nWritten by `cargo xtask bench functions --peer`; nothing here is typed by hand.\n\n\
         One instance adds an exclamation mark to messages of 1 KiB, from one durable topic to another. In Geminga the \
         acknowledgement and the output are one commit, exactly once; Pulsar's instance is at least once. The same requests \
         and the same client measure both, and share the machine's {cores} cores with them. Pulsar 4.2.4 runs Java functions as \
         threads of its broker here: what it starts as processes of their own, in Java and in Python, is in no package \
         registry. {} runs each, alternating, medians (lowest to highest). Machines are shared and noisy: look at the ratio. \
         What is *added* is end to end, less what two publishes take that are picked at random from those to a topic without a \
         function; it is below nothing where the disk was slower for them.\n\n",
        args.runs
    );
    table(&mut text, figures);
    text
}
