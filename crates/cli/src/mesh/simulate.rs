//! `geminga mesh simulate`: policies of scaling compared in virtual time.

mod report;

use crate::output;
use anyhow::{Context, bail};
use simulate::{Comparison, Contender, POLICIES, Rates, Setting, TRACES, Ticks, Trace};
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

/// A file with a trace or a policy is read up to this size.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Share of its time for which a message that waits uses a core: the talk's prime search waits more than it computes.
const WAITING_SHARE: f64 = 0.15;

/// Compare policies of scaling on the same load, in virtual time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh simulate\n  \
    geminga mesh simulate --trace flash --policy rate,hpa-50,keda --svg plots\n  \
    geminga mesh simulate --trace all --ticks native --format csv\n  \
    geminga mesh simulate --trace monday.csv --startup 8s --target 30s\n\n\
    A trace of one's own is a CSV file of `second,rate` lines: messages per second, in straight lines\n\
    between these points. A policy of one's own is a JSON file with what `scaling` of a function says,\n\
    such as {\"maxReplicas\": 20, \"policy\": {\"rate\": {\"targetAge\": \"2s\"}}}; it is called as the file is.\n\n\
    Policies: `rate` is ours; hpa-*, keda and knative are those of Kubernetes, KEDA and Knative, as\n\
    shipped and tuned. `oracle` and `fixed` know the future: the cheapest that could be had, and the\n\
    smallest number that never changes. The same seeds give the same result on every machine.")]
pub(super) struct Args {
    /// What comes: step, ramp, diurnal, flash, skew, three-stage, FILE, or all
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',', default_value = "step")]
    trace: Vec<String>,
    /// Who is compared: names as below, FILE.json, or all
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',', default_value = "all")]
    policy: Vec<String>,
    /// What a message needs: `cpu`, a core all of its time; `wait`, for 15 % of it; another share; or all
    #[arg(long, value_name = "cpu|wait|SHARE", value_delimiter = ',', default_value = "all")]
    work: Vec<String>,
    /// From asking for an instance until it works
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "36ms")]
    startup: Duration,
    /// A message should be done this long after it was published
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2s")]
    target: Duration,
    /// Instances of each function, at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    max: u32,
    /// Whether all look at the same times, or each as often and as late as upstream does
    #[arg(long, value_enum, default_value_t = LookArgs::Equal)]
    ticks: LookArgs,
    /// How often all look when they look at the same times
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1s")]
    tick: Duration,
    /// Runs of each policy; tables show medians
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: u64,
    /// Messages that an instance holds beyond the one it works on; a Pulsar client holds 1000
    #[arg(long, value_name = "N", default_value_t = 0)]
    receiver_queue: usize,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write plots into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Threads [default: as many as cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LookArgs {
    /// At the same times
    Equal,
    /// As upstream
    Native,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// All numbers
    Json,
    /// A line for each policy and trace
    Csv,
}

/// Runs the command.
///
/// # Errors
/// A name that nobody knows, a file that cannot be read or written, a setting that makes no sense.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let threads = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let works = works(&args.work)?;
    let mut comparisons = Vec::new();
    for trace in traces(&args.trace)? {
        for (work, cpu_share) in works.clone() {
            let setting = setting(args, cpu_share);
            let contenders = contenders(&args.policy, &setting, &trace)?;
            let comparison = simulate::compare(&trace, &setting, &contenders, args.seeds, threads)?;
            if let Some(directory) = &args.svg {
                write_plots(directory, &work, &comparison)?;
            }
            if args.format == Format::Table {
                output::print(&report::table(&work, &comparison))?;
            }
            comparisons.push((work, comparison));
        }
    }
    match args.format {
        Format::Table => output::print(&report::verdict(&comparisons)),
        Format::Json => output::json(&report::entries(&comparisons)),
        Format::Csv => output::print(&report::csv(&comparisons)),
    }
}

/// What messages need, by its name, as the share of a core.
fn works(names: &[String]) -> anyhow::Result<Vec<(String, f64)>> {
    let mut works = Vec::new();
    for name in names {
        let shares = match name.as_str() {
            "cpu" => vec![("cpu", 1.0)],
            "wait" => vec![("wait", WAITING_SHARE)],
            "all" => vec![("cpu", 1.0), ("wait", WAITING_SHARE)],
            share => vec![(share, share.parse().with_context(|| format!("work {share}: cpu, wait, all or a share"))?)],
        };
        works.extend(shares.into_iter().map(|(name, share)| (name.to_owned(), share)));
    }
    Ok(works)
}

fn setting(args: &Args, cpu_share: f64) -> Setting {
    Setting {
        startup: args.startup,
        target: args.target,
        max: args.max,
        ticks: match args.ticks {
            LookArgs::Equal => Ticks::Equal(args.tick),
            LookArgs::Native => Ticks::Native,
        },
        cpu_share,
        receiver_queue: args.receiver_queue,
    }
}

fn traces(names: &[String]) -> anyhow::Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for name in names {
        if name == "all" {
            traces.extend(TRACES.iter().map(|name| Trace::named(name)).collect::<Result<Vec<_>, _>>()?);
        } else if TRACES.contains(&name.as_str()) || !Path::new(name).exists() {
            traces.push(Trace::named(name)?);
        } else {
            let rates = Rates::parse(&read(name)?).with_context(|| name.clone())?;
            traces.push(Trace::of(stem(name), rates));
        }
    }
    Ok(traces)
}

fn contenders(names: &[String], setting: &Setting, trace: &Trace) -> anyhow::Result<Vec<Contender>> {
    let mut contenders: Vec<Contender> = Vec::new();
    for name in names {
        let new = if name == "all" {
            Contender::all(setting, trace)?
        } else if !POLICIES.contains(&name.as_str()) && Path::new(name).extension().is_some() {
            let spec = serde_json::from_str(&read(name)?).with_context(|| format!("{name} is no scaling"))?;
            vec![Contender::of(&stem(name), name, spec, setting)?]
        } else {
            vec![Contender::named(name, setting, trace)?]
        };
        for contender in new {
            if contenders.iter().any(|known| known.name == contender.name) {
                bail!("policy {} is there twice", contender.name);
            }
            contenders.push(contender);
        }
    }
    Ok(contenders)
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn read(file: &str) -> anyhow::Result<String> {
    let context = || format!("read {file}");
    let mut text = String::new();
    let read = std::fs::File::open(file).with_context(context)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.with_context(context)? as u64 > FILE_BYTES_MAX {
        bail!("{file} has more than {FILE_BYTES_MAX} bytes");
    }
    Ok(text)
}

fn write_plots(directory: &Path, work: &str, comparison: &Comparison) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let shown = report::shown(comparison);
    for (kind, svg) in [("time", comparison.time_plot(&shown)), ("pareto", comparison.pareto_plot())] {
        let path = directory.join(format!("{}-{work}-{kind}.svg", comparison.trace));
        std::fs::write(&path, svg).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
