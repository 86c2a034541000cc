//! `geminga clusters`.

use crate::{
    output,
    produce::Output,
    tenants::{done, list},
    web::Web,
};
use admin_api::ClusterData;

/// Show clusters, and register others for functions to send their output to
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  geminga clusters list\n  geminga clusters get standalone\n  \
                  geminga clusters create eu --broker-url pulsar://broker.eu:6650"
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
    /// Register another cluster
    Create {
        cluster: String,
        #[command(flatten)]
        addresses: Addresses,
    },
    /// Change where another cluster is
    Update {
        cluster: String,
        #[command(flatten)]
        addresses: Addresses,
    },
    /// Forget another cluster
    Delete { cluster: String },
}

#[derive(Debug, clap::Args)]
struct Addresses {
    /// Where its web service is
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where clients connect to
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let at = |name: &str| admin.at(["clusters", name]);
    match args.command {
        Command::List => list(args.web.output, &admin.at(["clusters"]).get::<Vec<String>>().await?),
        Command::Create { cluster, addresses: Addresses { url, broker_url } } => {
            let data = ClusterData { service_url: url, broker_service_url: broker_url, ..ClusterData::default() };
            at(&cluster).json(&data).put().await?;
            done(args.web.output, "created", &cluster)
        }
        Command::Update { cluster, addresses: Addresses { url, broker_url } } => {
            let now: ClusterData = at(&cluster).get().await?;
            let (service_url, broker_service_url) = (url.or(now.service_url), broker_url.or(now.broker_service_url));
            at(&cluster).json(&ClusterData { service_url, broker_service_url, ..now }).post().await?;
            done(args.web.output, "changed", &cluster)
        }
        Command::Delete { cluster } => {
            at(&cluster).delete().await?;
            done(args.web.output, "deleted", &cluster)
        }
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
