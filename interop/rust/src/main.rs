//! The Rust client against any Pulsar broker.
//!
//! Usage: `rust-client SERVICE_URL ADMIN_URL [FILTER]`
//!
//! Prints `ok NAME` or `FAIL NAME: why` for each scenario whose name contains FILTER. Scenario names mean the same in every
//! language. `reconnect` prints `ready-for-restart` and waits for a line on standard input, by which time the broker has been
//! restarted.

mod scenarios;
mod support;

use std::time::Duration;
use support::{Outcome, TestBox};

const SCENARIO_LIMIT: Duration = Duration::from_secs(90);

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(service), Some(admin)) = (args.next(), args.next()) else {
        eprintln!("usage: rust-client SERVICE_URL ADMIN_URL [FILTER]");
        std::process::exit(2);
    };
    let filter = args.next().unwrap_or_default();
    let mut failed = 0;
    for (name, body) in scenarios::all() {
        if !name.contains(&filter) {
            continue;
        }
        let (service, admin) = (service.clone(), admin.clone());
        let run = tokio::spawn(async move { body(TestBox::new(name, &service, &admin).await?).await });
        let outcome: Outcome = match tokio::time::timeout(SCENARIO_LIMIT, run).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panicked)) => Err(panicked.into()),
            Err(_) => Err(support::failure(format!("no end after {SCENARIO_LIMIT:?}"))),
        };
        match outcome {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                failed += 1;
                println!("FAIL {name}: {}", why.0.replace('\n', " "));
            }
        }
    }
    std::process::exit(failed.min(100)); // tasks of a hung scenario must not hold the process
}
