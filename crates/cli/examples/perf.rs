//! The data commands alone, for measuring a broker without building the whole of `geminga`:
//! `cargo run --release -p cli --example perf -- perf produce --rate 5000`.

use clap::Parser;

#[derive(Debug, Parser)]
enum Command {
    Perf(cli::perf::Args),
    Produce(cli::produce::Args),
    Consume(cli::consume::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Perf(args) => cli::perf::run(args).await,
        Command::Produce(args) => cli::produce::run(args).await,
        Command::Consume(args) => cli::consume::run(args).await,
    }
}
