//! `geminga clusters`.

use crate::{output, produce::Output, tenants::list, web::Web};
use admin_api::ClusterData;

/// Show clusters
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  geminga clusters list\n  geminga clusters get standalone"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All clusters
    List,
    /// Where a cluster's brokers are
    Get { cluster: String },
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    match args.command {
        Command::List => list(args.web.output, &admin.at(["clusters"]).get::<Vec<String>>().await?),
        Command::Get { cluster } => {
            let data: ClusterData = admin.at(["clusters", &cluster]).get().await?;
            match args.web.output {
                Output::Json => output::json(&data),
                Output::Pretty => output::print(&output::pairs([
                    ("cluster", cluster),
                    ("binary", data.broker_service_url.unwrap_or_else(|| "-".to_owned())),
                    ("web", data.service_url.unwrap_or_else(|| "-".to_owned())),
                ])),
            }
        }
    }
}
