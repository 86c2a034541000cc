//! `cargo xtask bench thousand`: what a thousand functions cost one server in each state.

use anyhow::Result;
use std::{path::Path, process::Command};

use super::{elasticity::succeed, functions::needed, prepare};
use crate::clients;

/// A thousand functions in WASM: memory, processor time in each state, and how soon those that sleep answer
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many
    #[arg(long, default_value_t = 1000)]
    functions: u32,
    /// For how long processor time is measured in each state
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

/// Runs `thousand.py`.
pub(super) fn run(args: &Args, root: &Path) -> Result<()> {
    let work = prepare(root)?;
    let python = needed(clients::python(root, &["-r", "interop/python/requirements.txt"]))?;
    let mut thousand = Command::new(python);
    thousand.arg(root.join("interop/functions/thousand.py")).arg("--broker").arg(root.join("target/release/geminga"));
    thousand.arg("--dir").arg(work.join("thousand")).arg("--wasm").arg(needed(clients::component(root))?);
    thousand.args(["--functions", &args.functions.to_string(), "--seconds", &args.seconds.to_string()]);
    succeed(&mut thousand)
}
