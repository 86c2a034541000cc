//! The project's own tools: `cargo xtask test` proves everything, `bench` measures, `soak` and `fuzz` go on for longer.

mod bench;
mod clients;
mod run;
mod steps;

use anyhow::{Context, Result};
use clap::Parser;
use std::path::{Path, PathBuf};

#[derive(Debug, Parser)]
#[command(about = "Tests and measures Geminga")]
enum Command {
    /// Everything: format, clippy, unit and integration tests, crash tests, the real clients
    Test(steps::TestArgs),
    /// Kill -9 under load, many more rounds than in `test`
    Soak {
        /// Rounds of kill and restart
        #[arg(long, default_value_t = 500)]
        rounds: u32,
    },
    /// The fuzz targets, each for a while (needs nightly Rust and cargo-fuzz)
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Speed, beside Apache Pulsar where asked for
    Bench(bench::Args),
}

fn main() -> Result<()> {
    let root = root()?;
    std::env::set_current_dir(&root)?;
    match Command::parse() {
        Command::Test(args) => steps::test(&args, &root),
        Command::Soak { rounds } => steps::soak(&root, rounds),
        Command::Fuzz { seconds } => steps::fuzz(&root, seconds),
        Command::Bench(args) => bench::run(&args, &root),
    }
}

/// The repository.
fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(Path::to_path_buf).context("xtask lies in the repository")
}
