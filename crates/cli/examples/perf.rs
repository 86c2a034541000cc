//! The data commands alone, for measuring a broker without building the whole of `geminga`:
//! `cargo run --release -p cli --example perf -- perf produce --rate 5000`.

use clap::Parser;
use std::process::ExitCode;

#[derive(Debug, Parser)]
enum Command {
    Perf(cli::perf::Args),
    Produce(cli::produce::Args),
    Consume(cli::consume::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Perf(args) => cli::perf::run(args).await,
        Command::Produce(args) => cli::produce::run(args).await,
        Command::Consume(args) => cli::consume::run(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
