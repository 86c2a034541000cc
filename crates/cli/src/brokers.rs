//! `geminga brokers`.

use crate::{output, produce::Output, tenants::list, web::Web};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Show brokers and their health
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  geminga brokers health\n  geminga brokers health --wait 30s\n  geminga brokers configuration -o json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All brokers
    List,
    /// Whether the broker works; the exit code says it too
    #[command(alias = "healthcheck")]
    Health {
        /// Ask again until it does, for this long, such as `30s`
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        wait: Option<Duration>,
    },
    /// The broker's version
    Version,
    /// The settings the broker runs with
    #[command(alias = "get-runtime-config")]
    Configuration,
    /// The broker that leads the cluster
    LeaderBroker,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let json = args.web.output == Output::Json;
    match args.command {
        Command::List => list(args.web.output, &admin.at(["brokers"]).get::<Vec<String>>().await?),
        Command::Health { wait } => {
            let deadline = Instant::now() + wait.unwrap_or_default();
            let health = loop {
                match admin.at(["brokers", "health"]).text().await {
                    Ok(health) => break health,
                    Err(error) if Instant::now() >= deadline => return Err(error.into()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            };
            if json {
                output::json(&serde_json::json!({ "health": health.trim() }))
            } else {
                output::line(health.trim())
            }
        }
        Command::Version => {
            let version = admin.at(["brokers", "version"]).text().await?;
            if json {
                output::json(&serde_json::json!({ "version": version.trim() }))
            } else {
                output::line(version.trim())
            }
        }
        Command::Configuration => {
            let values: BTreeMap<String, serde_json::Value> =
                admin.at(["brokers", "configuration", "runtime"]).get().await?;
            if json {
                return output::json(&values);
            }
            output::print(&output::pairs(values.into_iter().map(|(name, value)| match value {
                serde_json::Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })))
        }
        Command::LeaderBroker => {
            let leader: serde_json::Value = admin.at(["brokers", "leaderBroker"]).get().await?;
            if json {
                return output::json(&leader);
            }
            output::line(leader["serviceUrl"].as_str().unwrap_or("-"))
        }
    }
}
