//! The subcommands of `geminga` that talk to a broker: over REST for administration, over the binary protocol for data.

mod cluster;
pub mod consume;
mod http;
mod namespaces;
pub mod perf;
pub mod produce;
mod service;
mod show;
mod subscriptions;
mod topics;

use clap::{CommandFactory, Subcommand};
use std::io;

/// Everything that needs no broker in this process.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish messages
    Produce(produce::Args),
    /// Receive messages
    Consume(consume::Args),
    /// Create, look at and delete topics
    #[command(subcommand)]
    Topics(topics::Command),
    /// Create, move and delete subscriptions of topics
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    /// Create and delete namespaces, and set what holds for their topics
    #[command(subcommand)]
    Namespaces(namespaces::Command),
    /// Create and delete tenants
    #[command(subcommand)]
    Tenants(cluster::Tenants),
    /// Look at the broker
    #[command(subcommand)]
    Brokers(cluster::Brokers),
    /// Measure any Pulsar-compatible broker
    Perf(perf::Args),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs one of them.
///
/// # Errors
/// What went wrong, for a person to read.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Produce(args) => produce::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Topics(command) => topics::run(command).await,
        Command::Subscriptions(command) => subscriptions::run(command).await,
        Command::Namespaces(command) => namespaces::run(command).await,
        Command::Tenants(command) => cluster::tenants(command).await,
        Command::Brokers(command) => cluster::brokers(command).await,
        Command::Perf(args) => perf::run(args).await,
        Command::Completion { shell } => {
            // The whole command line is the binary's; it is asked for through the hook that `main` sets.
            let mut root = completion_root();
            clap_complete::generate(shell, &mut root, "geminga", &mut io::stdout());
            Ok(())
        }
    }
}

static ROOT: std::sync::OnceLock<fn() -> clap::Command> = std::sync::OnceLock::new();

/// Tells [`Command::Completion`] what the whole command line is.
pub fn set_root(root: fn() -> clap::Command) {
    let _ = ROOT.set(root); // set once, by the binary
}

fn completion_root() -> clap::Command {
    #[derive(clap::Parser)]
    struct Alone {
        #[command(subcommand)]
        _command: Command,
    }
    ROOT.get().map_or_else(Alone::command, |root| root())
}
