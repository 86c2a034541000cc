//! `geminga perf`: measures any Pulsar broker with a load generator that is cheap enough to share its machine.
//!
//! One thread paces and sends; receipts and entries are counted on the connections' own tasks; nothing is allocated or
//! woken per message. At a fixed rate, latency counts from the moment a message was *due*, so a broker that stalls can't
//! hide the messages it kept waiting (coordinated omission).

mod args;
mod consume;
mod load;
mod meter;
mod process;
mod report;
mod run;
mod sink;

use args::{ConsumeArgs, FanoutArgs, IdleArgs, LatencyArgs, ProduceArgs};

/// Measure a broker: throughput, latency, and what it costs
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga perf produce --duration 10s\n  \
    geminga perf latency --rate 5000 --duration 30s\n  \
    geminga perf produce --topic backlog --keep-for reader\n  \
    geminga perf consume --topic backlog --subscription reader --unsubscribe\n\n\
    It works with any Pulsar broker. What the broker itself costs is measured when it runs on this machine."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Publish, and measure throughput and the time until the receipt
    Produce(ProduceArgs),
    /// Receive without decoding, and measure throughput
    Consume(ConsumeArgs),
    /// Publish and receive, and measure the time from due to delivered
    #[command(alias = "e2e")]
    Latency(LatencyArgs),
    /// Publish to one topic with many subscriptions
    Fanout(FanoutArgs),
    /// Only watch the broker's process: memory and processor time
    Idle(IdleArgs),
}

/// Runs the measurement and prints its report.
///
/// # Errors
/// No broker, a lost connection, a refused message, or options that make no sense together.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Produce(args) => run::produce(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Latency(args) => run::latency(args).await,
        Command::Fanout(args) => run::fanout(args).await,
        Command::Idle(args) => run::idle(args).await,
    }
}
