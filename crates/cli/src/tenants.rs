//! `geminga tenants`.

use crate::{
    output::{self, Table},
    produce::Output,
    web::Web,
};
use admin_api::TenantInfo;

/// Create, list and delete tenants
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  geminga tenants list\n  geminga tenants create acme\n  geminga tenants delete acme --force"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    web: Web,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All tenants
    List,
    /// One tenant
    Get { tenant: String },
    /// Create a tenant
    Create {
        tenant: String,
        #[command(flatten)]
        info: Info,
    },
    /// Change a tenant
    Update {
        tenant: String,
        #[command(flatten)]
        info: Info,
    },
    /// Delete a tenant
    Delete {
        tenant: String,
        /// Delete its namespaces and all their topics, too
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Info {
    /// Who may administer it
    #[arg(short = 'r', long, value_name = "ROLE,...", value_delimiter = ',')]
    admin_roles: Vec<String>,
    /// Clusters its namespaces may live in [default: all]
    #[arg(short = 'c', long, value_name = "CLUSTER,...", value_delimiter = ',')]
    allowed_clusters: Vec<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.web.admin()?;
    let tenant = |name: &str| admin.at(["tenants", name]);
    match args.command {
        Command::List => {
            let names: Vec<String> = admin.at(["tenants"]).get().await?;
            list(args.web.output, &names)
        }
        Command::Get { tenant: name } => {
            let info: TenantInfo = tenant(&name).get().await?;
            match args.web.output {
                Output::Json => output::json(&info),
                Output::Pretty => {
                    let mut table = Table::new(["TENANT", "ALLOWED CLUSTERS", "ADMIN ROLES"]);
                    table.row([name, joined(&info.allowed_clusters), joined(&info.admin_roles)]);
                    output::print(&table.text())
                }
            }
        }
        Command::Create { tenant: name, info } => {
            let info = complete(&admin, info, None).await?;
            tenant(&name).json(&info).put().await?;
            done(args.web.output, "created", &name)
        }
        Command::Update { tenant: name, info } => {
            let now: TenantInfo = tenant(&name).get().await?;
            let info = complete(&admin, info, Some(now)).await?;
            tenant(&name).json(&info).post().await?;
            done(args.web.output, "changed", &name)
        }
        Command::Delete { tenant: name, force } => {
            let call = tenant(&name);
            if force { call.query("force", true) } else { call }.delete().await?;
            done(args.web.output, "deleted", &name)
        }
    }
}

async fn complete(admin: &crate::http::Admin, given: Info, now: Option<TenantInfo>) -> anyhow::Result<TenantInfo> {
    let now = now.unwrap_or_default();
    let allowed_clusters = match (given.allowed_clusters, now.allowed_clusters) {
        (given, _) if !given.is_empty() => given,
        (_, now) if !now.is_empty() => now,
        _ => admin.at(["clusters"]).get().await?,
    };
    let admin_roles = if given.admin_roles.is_empty() { now.admin_roles } else { given.admin_roles };
    Ok(TenantInfo { admin_roles, allowed_clusters })
}

/// Names, one a line.
pub(crate) fn list(format: Output, names: &[String]) -> anyhow::Result<()> {
    match format {
        Output::Json => output::json(&names),
        Output::Pretty => output::print(&names.iter().map(|name| output::shown(name) + "\n").collect::<String>()),
    }
}

/// What was done, for people; JSON has nothing to say.
pub(crate) fn done(format: Output, what: &str, name: &str) -> anyhow::Result<()> {
    match format {
        Output::Json => Ok(()),
        Output::Pretty => output::line(format!("{what} {}", output::shown(name))),
    }
}

pub(crate) fn joined(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
