//! `cargo xtask bench elasticity`: policies of scaling, in virtual time and for real, and the page that says what came of it.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{functions::needed, prepare};
use crate::clients;

/// Compare policies of scaling in virtual time, and for real, and write docs/autoscaling-compared.md
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only in virtual time, some minutes; the real runs stay as they are on the page
    #[arg(long)]
    simulated: bool,
    /// Traces that are run for real, each for 75 s with each policy and kind of work: step, ramp, flash
    #[arg(long, default_value = "step,flash")]
    traces: String,
    /// Policies that are run for real
    #[arg(long, default_value = "rate,hpa-50,hpa-tuned,keda")]
    policies: String,
    /// Kinds of work: cpu, wait
    #[arg(long, default_value = "cpu,wait")]
    work: String,
}

/// Runs `elasticity.py` and `compared.py`, which write the page.
pub(super) fn run(args: &Args, root: &Path) -> Result<()> {
    let work = prepare(root)?;
    let python = needed(clients::python(root, &["-r", "interop/python/requirements.txt"]))?;
    let broker = root.join("target/release/geminga");
    let mut compared = Command::new(&python);
    compared.arg(root.join("interop/functions/compared.py")).arg("--broker").arg(&broker);
    if !args.simulated {
        let said = work.join("elasticity.txt");
        let mut real = Command::new(&python);
        real.arg(root.join("interop/functions/elasticity.py")).arg("--broker").arg(&broker);
        real.arg("--dir").arg(work.join("elasticity")).arg("--json").arg(work.join("elasticity.json"));
        real.args(["--traces", &args.traces, "--policies", &args.policies, "--work", &args.work]);
        real.stdout(Stdio::from(fs::File::create(&said).with_context(|| format!("write {}", said.display()))?));
        succeed(&mut real)?;
        print!("{}", fs::read_to_string(&said)?);
        compared.arg("--real").arg(said);
    }
    succeed(&mut compared)
}

pub(super) fn succeed(command: &mut Command) -> Result<()> {
    if !command.status().with_context(|| format!("{command:?}"))?.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
