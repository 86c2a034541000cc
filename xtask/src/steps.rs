//! Steps of the test command: each has a name, a result and a duration; the output of one that failed is shown.

use anyhow::{Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    clients::{self, Client},
    run,
};

/// How long the tests may go on without one that ends: the longest takes a tenth of it on two busy cores.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Which part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Format and clippy
    Lint,
    /// Unit and integration tests of every crate
    Unit,
    /// Kill -9 under load
    Crash,
    /// The official clients
    Interop,
    /// Functions in every language
    Functions,
    /// The demo, which checks what it shows
    Demo,
}

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Only this client, in the interop part
    #[arg(long, value_enum)]
    client: Option<Client>,
    /// Only scenarios whose name contains this, in the interop and functions parts
    #[arg(long, default_value = "")]
    scenario: String,
    /// Rounds of kill and restart in the crash part
    #[arg(long, default_value_t = 20)]
    rounds: u32,
}

/// Counts what passed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Report {
    /// Runs a command as one step and shows its output only when it fails.
    pub(crate) fn step(&mut self, name: &str, command: &mut Command) -> bool {
        let started = Instant::now();
        let ended = run::run(command, &log(name), None);
        let (passed, shown) = ended.map_or_else(|error| (false, format!("{error:#}")), |it| (it.passed, it.text));
        self.result(name, passed, started.elapsed(), &shown);
        passed
    }

    pub(crate) fn result(&mut self, name: &str, passed: bool, took: Duration, shown: &str) {
        if passed {
            self.passed += 1;
            println!("ok    {name} ({:.1} s)", took.as_secs_f64());
        } else {
            self.failed += 1;
            println!("{shown}\nFAIL  {name} ({:.1} s)", took.as_secs_f64());
        }
    }

    /// Something that cannot be tested here; in CI that is a failure.
    pub(crate) fn missing(&mut self, what: &str, why: &str) {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            self.failed += 1;
            println!("FAIL  {what}: {why}");
        } else {
            self.skipped += 1;
            println!("skip  {what}: {why}");
        }
    }

    fn finish(self) -> Result<()> {
        let skipped = if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { String::new() };
        println!("{} passed, {} failed{skipped}", self.passed, self.failed);
        if self.failed > 0 {
            bail!("{} steps failed", self.failed);
        }
        Ok(())
    }
}

/// Runs the tests, or the part asked for.
pub(crate) fn test(args: &TestArgs, root: &Path) -> Result<()> {
    let mut report = Report::default();
    let wants = |part| args.only.is_none_or(|only| only == part);
    let sdk = root.join("sdk/rust");
    if wants(Part::Lint) {
        report.step("format", cargo(root).args(["fmt", "--all", "--check"]));
        report.step(
            "clippy",
            cargo(root).args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        );
        report.step("format of sdk/rust", cargo(&sdk).args(["fmt", "--all", "--check"]));
        let guests = ["clippy", "--quiet", "--target", "wasm32-wasip2", "--", "-D", "warnings"];
        report.step("clippy of sdk/rust", cargo(&sdk).args(guests));
    }
    if wants(Part::Unit) {
        unit(&mut report, root);
        report.step("sdk/rust", cargo(&sdk).args(["test", "--quiet", "--package", "geminga-function"]));
    }
    if [Part::Crash, Part::Interop, Part::Functions, Part::Demo].into_iter().any(wants)
        && report.step("release build", cargo(root).args(["build", "--quiet", "--release"]))
    {
        if wants(Part::Crash) {
            clients::crash(&mut report, root, args.rounds);
        }
        if wants(Part::Interop) {
            clients::interop(&mut report, root, args.client, &args.scenario);
        }
        if wants(Part::Functions) {
            clients::functions(&mut report, root, args.rounds, &args.scenario);
        }
        if wants(Part::Demo) {
            report.step("demo", Command::new(root.join("target/release/geminga")).args(["demo", "--check"]));
        }
    }
    report.finish()
}

/// Cargo's own test output is counted, so that a run says what it ran; a test without an end is named by it.
fn unit(report: &mut Report, root: &Path) {
    if !report.step("build of the tests", cargo(root).args(["test", "--quiet", "--workspace", "--no-run"])) {
        return;
    }
    let started = Instant::now();
    let mut tests = cargo(root);
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    match run::run(&mut tests, &log("unit"), Some(SILENCE_MAX)) {
        Ok(ended) => {
            let count: u32 = ended
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("test result: ")?.split_once(". ")?.1.split_once(" passed"))
                .filter_map(|(n, _)| n.parse::<u32>().ok())
                .sum();
            report.passed += count;
            println!("      {count} unit and integration tests passed");
            let shown: Vec<_> = ended.text.lines().filter(|line| !line.ends_with("... ok")).collect();
            report.result("unit and integration tests", ended.passed, started.elapsed(), &shown.join("\n"));
        }
        Err(error) => report.result("unit and integration tests", false, started.elapsed(), &format!("{error:#}")),
    }
}

/// Where a step's output goes.
fn log(step: &str) -> PathBuf {
    let name: String = step.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Path::new("target/xtask").join(name).with_extension("log")
}

/// Many rounds of kill and restart.
pub(crate) fn soak(root: &Path, rounds: u32) -> Result<()> {
    let mut report = Report::default();
    if report.step("release build", cargo(root).args(["build", "--quiet", "--release"])) {
        clients::crash(&mut report, root, rounds);
    }
    report.finish()
}

/// Every fuzz target for a while.
pub(crate) fn fuzz(root: &Path, seconds: u64) -> Result<()> {
    let mut report = Report::default();
    let there = Command::new("cargo").args(["+nightly", "fuzz", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("skip  fuzz: needs nightly Rust and `cargo install cargo-fuzz`");
        return Ok(());
    }
    for entry in std::fs::read_dir(root.join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if let Some(target) = path.file_stem().and_then(|name| name.to_str()) {
            // What was found grows in the first folder; the seeds are committed.
            let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
            std::fs::create_dir_all(root.join(&corpus))?;
            let time = format!("-max_total_time={seconds}");
            let mut command = Command::new("cargo");
            command.args(["+nightly", "fuzz", "run", target, &corpus, &seeds, "--", &time]).current_dir(root);
            report.step(&format!("fuzz {target}"), &mut command);
        }
    }
    report.finish()
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    command
}
