//! What functions, sources and sinks have in common once they are there.

use super::{
    kind::Kind,
    logs, scaling, status,
    target::{Name, Place, Target},
};
use crate::{
    http::{Admin, Call},
    output::{self, Table},
    tenants::list,
    web::Printed,
};
use model::function::ConnectorDefinition;
use serde_json::Value;
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Common {
    /// All of a namespace
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        printed: Printed,
    },
    /// The configuration as it is stored, as JSON
    Get {
        #[command(flatten)]
        target: Target,
    },
    /// Delete one; its instances end
    Delete {
        #[command(flatten)]
        target: Target,
    },
    /// How its instances do, and what went wrong
    #[command(alias = "getstatus")]
    Status {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        instance: Instance,
        /// Wait until all instances run, for so long, such as `30s`; exits with 1 when they do not
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        wait: Option<Duration>,
        #[command(flatten)]
        printed: Printed,
    },
    /// Start what was stopped
    Start {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        instance: Instance,
    },
    /// Stop without deleting
    Stop {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        instance: Instance,
    },
    /// Stop and start
    Restart {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        instance: Instance,
    },
    /// How it becomes more and fewer by itself: rules, decisions and their reasons, pin, pause; of Geminga only
    #[command(subcommand)]
    Scaling(scaling::Command),
    /// What its code logged and printed lately; of Geminga only, Pulsar has log topics alone
    Logs(logs::Args),
}

/// All instances, or one.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Instance {
    /// One instance, by its number from 0 [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) instance_id: Option<u32>,
}

impl Instance {
    /// A request to something of the instances.
    pub(super) fn at<'a>(self, admin: &'a Admin, kind: Kind, name: &Name, what: &str) -> Call<'a> {
        let call = name.at(admin, kind);
        match self.instance_id {
            Some(id) => call.at([id.to_string().as_str(), what]),
            None => call.at([what]),
        }
    }

    /// What was done to what.
    fn done(self, what: &str, name: &Name) -> anyhow::Result<()> {
        match self.instance_id {
            Some(id) => output::line(format!("{what} instance {id} of {name}")),
            None => output::line(format!("{what} {name}")),
        }
    }
}

/// Runs one of them.
///
/// # Errors
/// The worker refuses it, or is not there.
pub(crate) async fn run(admin: &Admin, kind: Kind, command: Common) -> anyhow::Result<()> {
    match command {
        Common::List { place, printed } => {
            let (tenant, namespace) = place.resolve()?;
            let call = admin.path(["admin", "v3", kind.path(), &tenant, &namespace]);
            let mut names: Vec<String> = call.get().await?;
            names.sort();
            list(printed.output, &names)
        }
        Common::Get { target } => {
            let config: Value = target.resolve()?.at(admin, kind).get().await?;
            output::json(&config)
        }
        Common::Delete { target } => {
            let name = target.resolve()?;
            name.at(admin, kind).delete().await?;
            output::line(format!("deleted {name}"))
        }
        Common::Status { target, instance, wait, printed } => {
            status::show(admin, kind, &target.resolve()?, instance, wait, printed).await
        }
        Common::Start { target, instance } => {
            let name = target.resolve()?;
            instance.at(admin, kind, &name, "start").post().await?;
            instance.done("started", &name)
        }
        Common::Stop { target, instance } => {
            let name = target.resolve()?;
            instance.at(admin, kind, &name, "stop").post().await?;
            instance.done("stopped", &name)
        }
        Common::Restart { target, instance } => {
            let name = target.resolve()?;
            instance.at(admin, kind, &name, "restart").post().await?;
            instance.done("restarted", &name)
        }
        Common::Scaling(command) => scaling::run(admin, kind, command).await,
        Common::Logs(args) => logs::run(admin, kind, args).await,
    }
}

/// Connectors that are there by name.
///
/// # Errors
/// The worker is not there.
pub(crate) async fn available(admin: &Admin, kind: Kind, printed: Printed) -> anyhow::Result<()> {
    let segment = if kind == Kind::Source { "builtinsources" } else { "builtinsinks" };
    let all: Vec<ConnectorDefinition> = admin.path(["admin", "v3", kind.path(), segment]).get().await?;
    if printed.is_json() {
        return output::json(&all);
    }
    let mut table = Table::new(["NAME", "WHAT IT DOES"]);
    for one in all {
        table.row([one.name.unwrap_or_default(), one.description.unwrap_or_default()]);
    }
    output::print(&table.text())
}
