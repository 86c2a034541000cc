//! `geminga mesh simulate`: policies of scaling compared in virtual time.

mod report;
mod summary;

use crate::{functions::scaling::rules_in, output};
use anyhow::{Context, bail};
use simulate::{Comparison, Contender, DRAWN, Drawn, POLICIES, Rates, Setting, TRACES, Ticks, Trace};
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

/// A file with a trace is read up to this size.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Traces drawn at once, at most: each takes some seconds.
const DRAWN_MAX: u64 = 1_000;
/// Share of its time for which a message that waits uses a core: the talk's prime search waits more than it computes.
const WAITING_SHARE: f64 = 0.15;

/// Compare policies of scaling on the same load, in virtual time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh simulate\n  \
    geminga mesh simulate --trace flash --policy rate,hpa-50,keda --svg plots\n  \
    geminga mesh simulate --trace all --ticks native --format csv\n  \
    geminga mesh simulate --trace monday.csv --startup 8s --target 30s\n  \
    geminga mesh simulate --trace random:101-130 --first-seed 101 --seeds 1 --format summary\n\n\
    A trace of one's own is a CSV file of `second,rate` lines: messages per second, in straight lines\n\
    between these points. steps:N, waves:N, bursts:N and random:N are drawn from a number, N-M from all of these\n\
    numbers: what comes, what is to be done and, unless they are given, the start-up time and the target.\n\n\
    A policy of one's own is a YAML or JSON file with what `scaling` of a function says,\n\
    such as {\"maxReplicas\": 20, \"policy\": {\"rate\": {\"targetAge\": \"2s\"}}}; it is called as the file is.\n\n\
    Policies: `rate` is ours; hpa-*, keda and knative are those of Kubernetes, KEDA and Knative, as\n\
    shipped and tuned. `oracle` and `fixed` know the future: the cheapest that could be had, and the\n\
    smallest number that never changes. The same seeds give the same result on every machine.")]
pub(super) struct Args {
    /// What comes: step, ramp, diurnal, flash, skew, three-stage, or all of these; random:N; FILE
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',', default_value = "step")]
    trace: Vec<String>,
    /// Who is compared: names as below, FILE.yaml, FILE.json, or all
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',', default_value = "all")]
    policy: Vec<String>,
    /// What a message needs: `cpu`, a core all of its time; `wait`, for 15 % of it; another share; or all
    #[arg(long, value_name = "cpu|wait|SHARE", value_delimiter = ',', default_value = "all")]
    work: Vec<String>,
    /// From asking for an instance until it works [default: the trace's own, or 36ms]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    startup: Option<Duration>,
    /// A message should be done this long after it was published [default: the trace's own, or 2s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    target: Option<Duration>,
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
    /// The seed of the first run; the others follow
    #[arg(long, value_name = "N", default_value_t = 1)]
    first_seed: u64,
    /// Messages that an instance holds beyond the one it works on; a Pulsar client holds 1000
    #[arg(long, value_name = "N", default_value_t = 0)]
    receiver_queue: usize,
    /// How the result is written
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t = Format::Table)]
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
    /// For people, a line for each trace and one for each policy
    Summary,
}

/// Runs the command.
///
/// # Errors
/// A name that nobody knows, a file that cannot be read or written, a setting that makes no sense.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let threads = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let works = works(&args.work)?;
    let mut comparisons = Vec::new();
    let seeds = args.first_seed..args.first_seed.saturating_add(args.seeds);
    for load in loads(&args.trace)? {
        for (work, cpu_share) in works.clone() {
            let (trace, setting) = (&load.trace, setting(args, &load, cpu_share));
            let contenders = contenders(&args.policy, &setting, trace)?;
            let comparison = simulate::compare(trace, &setting, &contenders, seeds.clone(), threads)?;
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
        Format::Table => output::print(&report::verdict(&comparisons, true)),
        Format::Json => output::json(&report::entries(&comparisons)),
        Format::Csv => output::print(&report::csv(&comparisons)),
        Format::Summary => output::print(&(summary::text(&comparisons) + &report::verdict(&comparisons, false))),
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

fn setting(args: &Args, load: &Drawn, cpu_share: f64) -> Setting {
    Setting {
        startup: args.startup.unwrap_or(load.startup),
        target: args.target.unwrap_or(load.target),
        max: args.max,
        ticks: match args.ticks {
            LookArgs::Equal => Ticks::Equal(args.tick),
            LookArgs::Native => Ticks::Native,
        },
        cpu_share,
        receiver_queue: args.receiver_queue,
    }
}

/// Traces by their names, each with the circumstances it is met in unless others are asked for.
fn loads(names: &[String]) -> anyhow::Result<Vec<Drawn>> {
    let usual = |trace| Drawn { trace, startup: Setting::default().startup, target: Setting::default().target };
    let mut loads = Vec::new();
    for name in names {
        let kind = name.split_once(':').filter(|(kind, _)| DRAWN.contains(kind));
        if name == "all" {
            for name in TRACES {
                loads.push(usual(Trace::named(name)?));
            }
        } else if let Some((kind, numbers)) = kind {
            for number in range(numbers).with_context(|| format!("trace {name}"))? {
                loads.push(Drawn::named(&format!("{kind}:{number}"))?);
            }
        } else if TRACES.contains(&name.as_str())
            || (!Path::new(name).exists() && Path::new(name).extension().is_none())
        {
            loads.push(usual(Trace::named(name)?));
        } else {
            let rates = Rates::parse(&read(name)?).with_context(|| name.clone())?;
            loads.push(usual(Trace::of(stem(name), rates)));
        }
    }
    Ok(loads)
}

/// `7`, or `7-12`.
fn range(text: &str) -> anyhow::Result<std::ops::RangeInclusive<u64>> {
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is no number"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first || last - first >= DRAWN_MAX {
        bail!("from {first} to {last}: 1 to {DRAWN_MAX} traces");
    }
    Ok(first..=last)
}

fn contenders(names: &[String], setting: &Setting, trace: &Trace) -> anyhow::Result<Vec<Contender>> {
    let mut contenders: Vec<Contender> = Vec::new();
    for name in names {
        let new = if name == "all" {
            Contender::all(setting, trace)?
        } else if !POLICIES.contains(&name.as_str()) && Path::new(name).extension().is_some() {
            let spec = rules_in(Path::new(name))?;
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
        let path = directory.join(format!("{}-{work}-{kind}.svg", comparison.trace.replace(':', "-")));
        std::fs::write(&path, svg).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
