//! `geminga demo`: a broker, a mesh that scales, and a minute of load, to look at.

mod compare;
mod count;
mod function;
mod server;
mod show;
mod story;
mod view;

use crate::{http::Admin, mesh, output};
use anyhow::{Context, bail};
use clap::Parser;
use server::Server;
use std::{
    fs,
    io::IsTerminal,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use story::Fact;
use tokio::signal::unix::{SignalKind, signal};

/// A minute of load on a mesh of functions that scales itself, live
///
/// Starts a broker in a temporary directory, applies a mesh (a source of numbers, a prime search whose work is mostly waiting, a tally by
/// key, a file), lets the load rise twelvefold and end, and shows what happens: instances appear, the backlog drains, instances go, down to
/// none, and an event wakes them. At the end it counts what came out, and shows the same load under other policies in virtual time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga demo\n  \
    geminga demo --check          # for a script: 1 when something is not as told\n  \
    geminga demo --print-mesh     # the manifest, to start from\n\n\
    Keys: q ends it early.")]
pub struct Args {
    /// Print lines instead of the live view, and exit with 1 unless load rises, instances appear, the backlog drains and instances go
    #[arg(long)]
    check: bool,
    /// Lines instead of the live view; so it is anyway where no terminal looks on
    #[arg(long)]
    plain: bool,
    /// Print the manifest of the mesh and end
    #[arg(long)]
    print_mesh: bool,
    /// Leave the directory with the broker's data and log in place
    #[arg(long)]
    keep: bool,
    /// Be the code of the demo's functions
    #[arg(long, hide = true)]
    function: bool,
}

const MANIFEST: &str = include_str!("demo.yaml");
/// What the manifest calls the code of its functions, and the file of its sink.
const CODE: &str = "./demo-function";
const LINES: &str = "./tallies.txt";

/// Runs it, or what of it was asked for.
///
/// # Errors
/// The broker does not start or stops; with `--check`, something was not as told.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.function {
        return tokio::task::spawn_blocking(function::serve).await?;
    }
    if args.print_mesh {
        return output::print(MANIFEST);
    }
    let dir = tempfile::Builder::new().prefix("geminga-demo-").tempdir().context("make a temporary directory")?;
    let told = in_directory(&args, dir.path()).await;
    // Who ends it early looks for no reason.
    if args.keep || told.as_ref().is_err_and(|error| !error.is::<Interrupted>()) {
        let log = server::log(dir.path());
        let _ = dir.keep();
        eprintln!("the broker's log: {}", log.display());
    }
    told
}

async fn in_directory(args: &Args, dir: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let manifest = write(dir, &program)?;
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let is_live = !args.check && !args.plain && !is_dumb && std::io::stdout().is_terminal();
    let say = |text: &str| if is_live { Ok(()) } else { output::print(text) };
    say(&format!("a broker in {}\n", dir.display()))?;
    let server = Server::start(&program, dir).await?;
    let admin = Admin::new(&server.admin_url, None)?;
    let told = async {
        say("the mesh: numbers -> prime-search -> tally -> lines\n")?;
        apply(&manifest, &server.admin_url).await?;
        let (looks, is_left) = show::run(&admin, &server.admin_url, is_live, args.check).await?;
        let mut facts = story::facts(&looks, show::LOAD.calm_per_s);
        facts.push(count::every_effect_once(&admin).await?);
        end(&facts, args.check, is_left)
    };
    // Dropped, it gives the terminal back.
    let told = tokio::select! {
        told = told => told,
        interrupted = interrupted() => interrupted,
    };
    server.stop().await;
    told
}

/// Somebody wanted it to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Until somebody wants it to end.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Err(Interrupted.into())
}

/// What a person would type.
#[derive(Debug, clap::Parser)]
struct Typed {
    #[command(flatten)]
    mesh: mesh::Args,
}

async fn apply(manifest: &Path, admin_url: &str) -> anyhow::Result<()> {
    let manifest = manifest.to_str().context("the path of the directory is not UTF-8")?;
    let words = ["mesh", "apply", manifest, "--wait", "--admin-url", admin_url];
    mesh::run(Typed::try_parse_from(words)?.mesh).await
}

/// Writes the manifest, and beside it the code that it names: this program again.
fn write(dir: &Path, program: &Path) -> anyhow::Result<PathBuf> {
    let code = dir.join(CODE);
    // A shell finds its way with any name: in single quotes only a single quote has to be written otherwise.
    let program = program.to_str().context("the path of this program is not UTF-8")?.replace('\'', r"'\''");
    fs::write(&code, format!("#!/bin/sh\nexec '{program}' demo --function\n"))?;
    fs::set_permissions(&code, fs::Permissions::from_mode(0o755))?;
    let manifest = dir.join("demo.yaml");
    let lines = serde_json::to_string(&dir.join(LINES))?;
    fs::write(&manifest, MANIFEST.replace(LINES, &lines))?;
    Ok(manifest)
}

fn end(facts: &[Fact], is_check: bool, is_left: bool) -> anyhow::Result<()> {
    let text: String = facts.iter().map(|fact| told(fact, is_left)).collect();
    output::print(&format!("\n{text}\n{}", compare::talk(&show::LOAD)?))?;
    let failed = facts.iter().filter(|fact| fact.seen.is_err()).count();
    if is_check && failed > 0 {
        bail!("{failed} of {} facts are not as told", facts.len());
    }
    Ok(())
}

/// A fact in a line; of one that a person did not wait for, that it is not so yet.
fn told(fact: &Fact, is_left: bool) -> String {
    match &fact.seen {
        Err(why) if is_left => format!("not yet {}: {why}\n", fact.claim),
        _ => format!("{fact}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_did_not_wait_for_has_not_failed() {
        let fact = Fact { claim: "instances go", seen: Err("1 of 1 still run".to_owned()) };
        assert_eq!(told(&fact, true), "not yet instances go: 1 of 1 still run\n");
        assert_eq!(told(&fact, false), "FAILED  instances go: 1 of 1 still run\n");
    }
}
