//! `geminga functions`, `geminga sources`, `geminga sinks`: code that runs beside the broker.
//!
//! A client of Pulsar's `/admin/v3/functions|sources|sinks`, with pulsar-admin's commands and flags, and shorter ways to
//! say the same: `geminga functions create exclaim.py --inputs orders --output orders-loud`.

mod code;
mod common;
mod deploy;
mod flags;
mod kind;
mod localrun;
mod logs;
mod new;
pub(crate) mod scaling;
mod settings;
mod state;
mod status;
mod target;
#[cfg(test)]
mod tests;
mod top;
mod wish;

use crate::{
    form::Form,
    http::Admin,
    output, units,
    web::{Printed, Reach},
};
use anyhow::{Context, bail};
use common::{Common, Instance};
use flags::{OfFunction, OfSink, OfSource};
pub use kind::Kind;
pub use localrun::{Code, Local, LocalRun};
use model::function::{Component, FunctionConfig, SinkConfig, SourceConfig};
use scaling::Bounds;
use settings::Settings;
use std::path::{Path, PathBuf};
use target::Target;
use wish::Sources;

/// Run functions: create, update, watch, trigger and delete them
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga functions new --lang python exclaim\n  \
    geminga functions create exclaim.py --inputs orders --output orders-loud\n  \
    geminga functions create shout.wasm -i orders -o orders-loud --name shout --parallelism 2\n  \
    geminga functions create --function-config-file exclaim.yaml\n  \
    geminga functions status exclaim\n  \
    geminga functions logs exclaim -f\n  \
    geminga functions top\n  \
    geminga functions trigger exclaim hello\n  \
    geminga functions localrun exclaim.py --inputs orders --output orders-loud\n  \
    geminga functions update exclaim --parallelism 4\n  \
    geminga functions update exclaim --min-instances 0 --max-instances 8\n  \
    geminga functions scaling events exclaim\n  \
    geminga functions querystate word-count hello\n  \
    geminga functions delete exclaim\n\n\
    A function is `NAME`, of public/default, or `TENANT/NAMESPACE/NAME`.\n\
    The language follows from the file: .py, .whl and .zip are Python, .jar and .nar Java, .wasm WebAssembly, a binary\n\
    Go or, if it is not made with Pulsar's Go SDK, a process; so is a script with `#!`. The flags of pulsar-admin work too."
)]
pub struct FunctionArgs {
    #[command(subcommand)]
    command: FunctionCommand,
    #[command(flatten)]
    reach: Reach,
}

/// Run sources: connectors that bring in what happens outside
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga sources available\n  \
    geminga sources create --source-type NAME --name ticks --destination-topic-name ticks --source-config '{...}'\n  \
    geminga sources create --source-config-file ticks.yaml\n  \
    geminga sources status ticks\n  \
    geminga sources logs ticks -f"
)]
pub struct SourceArgs {
    #[command(subcommand)]
    command: SourceCommand,
    #[command(flatten)]
    reach: Reach,
}

/// Run sinks: connectors that carry messages outside
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga sinks available\n  \
    geminga sinks create --sink-type NAME --name hook --inputs orders --sink-config '{...}'\n  \
    geminga sinks create --sink-config-file hook.yaml\n  \
    geminga sinks status hook\n  \
    geminga sinks logs hook -f"
)]
pub struct SinkArgs {
    #[command(subcommand)]
    command: SinkCommand,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Subcommand)]
enum FunctionCommand {
    /// Deploy a function
    Create(FunctionWish),
    /// Run a function here, against any Geminga or Pulsar broker, until it is interrupted
    Localrun(LocalFunction),
    /// Change a function: its code, its configuration, or both
    Update {
        #[command(flatten)]
        wish: FunctionWish,
        /// Take its credentials anew from this request
        #[arg(long)]
        update_auth_data: bool,
    },
    #[command(flatten)]
    Common(Common),
    /// What it counted
    Stats {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        instance: Instance,
        #[command(flatten)]
        printed: Printed,
    },
    /// Send it a message, and print what it answers
    Trigger(state::Trigger),
    /// Print what its state has at a key
    #[command(alias = "query-state")]
    Querystate(state::Query),
    /// Set what its state has at a key
    #[command(alias = "put-state")]
    Putstate(state::Put),
    /// Upload a file for later, to a path of the worker's
    Upload {
        /// The file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The file, as pulsar-admin has it
        #[arg(
            long,
            alias = "sourceFile",
            value_name = "FILE",
            conflicts_with = "file",
            help_heading = "As pulsar-admin"
        )]
        source_file: Option<PathBuf>,
        /// Under which path
        #[arg(long)]
        path: String,
    },
    /// Download the code of a function, or what was uploaded
    Download {
        #[command(flatten)]
        target: Target,
        /// Where to [default: a file of its name]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Where to, as pulsar-admin has it
        #[arg(
            long,
            alias = "destinationFile",
            value_name = "FILE",
            conflicts_with = "file",
            help_heading = "As pulsar-admin"
        )]
        destination_file: Option<PathBuf>,
        /// What was uploaded under this path, or a package: `function://TENANT/NAMESPACE/NAME@VERSION`
        #[arg(long, requires = "destination_file")]
        path: Option<String>,
    },
    /// All functions at a glance: instances, rates, latency, backlog
    Top(top::Args),
    /// Write a project to begin with: it builds, and has a test that needs no broker
    New(new::Args),
}

#[derive(Debug, clap::Subcommand)]
enum SourceCommand {
    /// Deploy a source
    Create(SourceWish),
    /// Run a source here, against any Geminga or Pulsar broker, until it is interrupted
    Localrun {
        #[command(flatten)]
        wish: SourceWish,
        #[command(flatten)]
        local: Local,
    },
    /// Change a source
    Update {
        #[command(flatten)]
        wish: SourceWish,
        /// Take its credentials anew from this request
        #[arg(long)]
        update_auth_data: bool,
    },
    #[command(flatten)]
    Common(Common),
    /// Connectors that are there by name
    #[command(alias = "available-sources")]
    Available(Printed),
}

#[derive(Debug, clap::Subcommand)]
enum SinkCommand {
    /// Deploy a sink
    Create(SinkWish),
    /// Run a sink here, against any Geminga or Pulsar broker, until it is interrupted
    Localrun {
        #[command(flatten)]
        wish: SinkWish,
        #[command(flatten)]
        local: Local,
    },
    /// Change a sink
    Update {
        #[command(flatten)]
        wish: SinkWish,
        /// Take its credentials anew from this request
        #[arg(long)]
        update_auth_data: bool,
    },
    #[command(flatten)]
    Common(Common),
    /// Connectors that are there by name
    #[command(alias = "available-sinks")]
    Available(Printed),
}

#[derive(Debug, clap::Args)]
struct FunctionWish {
    /// The code; language, name and class follow from it unless they are given. `update` takes a name, too
    #[arg(value_name = "FILE|URL")]
    file: Option<String>,
    /// The configuration, as YAML or JSON; flags win over it
    #[arg(long, alias = "functionConfigFile", value_name = "FILE")]
    function_config_file: Option<PathBuf>,
    /// What the function asks its context for, as YAML or JSON
    #[arg(long, value_name = "FILE", conflicts_with = "user-config")]
    user_config_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings<OfFunction>,
    #[command(flatten)]
    bounds: Bounds,
}

/// Run a function here, against any Geminga or Pulsar broker, until it is interrupted
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    geminga localrun exclaim.py --inputs orders --output orders-loud\n  \
    geminga localrun --function-config-file exclaim.yaml --broker-service-url pulsar://broker.example.org:6650\n  \
    geminga sources localrun --source-config-file ticks.yaml\n  \
    geminga sinks localrun --sink-config-file hook.yaml\n\n\
    The same as `geminga functions localrun`, with the flags of `functions create`. Its log goes to standard output.\n\
    SIGINT and SIGTERM let it finish what it has begun; a second one ends it at once. What was not acknowledged comes\n\
    again to whoever has the subscription next, which stays."
)]
pub struct LocalFunction {
    #[command(flatten)]
    wish: FunctionWish,
    #[command(flatten)]
    local: Local,
}

impl LocalFunction {
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn asked(self, token: Option<String>) -> anyhow::Result<LocalRun> {
        let wish = self.wish.sources().create::<FunctionConfig>()?;
        LocalRun::new(Kind::Function, wish, self.local, token)
    }
}

/// A command of these that runs something here.
///
/// # Errors
/// All that is wrong with what is to run.
pub(crate) fn local_function(args: FunctionArgs) -> anyhow::Result<Result<LocalRun, FunctionArgs>> {
    match args.command {
        FunctionCommand::Localrun(mut asked) => {
            asked.local.web_service_url.get_or_insert_with(|| args.reach.admin_url.clone());
            asked.asked(args.reach.token).map(Ok)
        }
        command => Ok(Err(FunctionArgs { command, ..args })),
    }
}

/// As [`local_function`].
///
/// # Errors
/// All that is wrong with what is to run.
pub(crate) fn local_source(args: SourceArgs) -> anyhow::Result<Result<LocalRun, SourceArgs>> {
    match args.command {
        SourceCommand::Localrun { wish, local } => {
            let wish = wish.sources().create::<SourceConfig>()?;
            LocalRun::new(Kind::Source, wish, local, args.reach.token).map(Ok)
        }
        command => Ok(Err(SourceArgs { command, ..args })),
    }
}

/// As [`local_function`].
///
/// # Errors
/// All that is wrong with what is to run.
pub(crate) fn local_sink(args: SinkArgs) -> anyhow::Result<Result<LocalRun, SinkArgs>> {
    match args.command {
        SinkCommand::Localrun { wish, local } => {
            let wish = wish.sources().create::<SinkConfig>()?;
            LocalRun::new(Kind::Sink, wish, local, args.reach.token).map(Ok)
        }
        command => Ok(Err(SinkArgs { command, ..args })),
    }
}

/// The binary asks first whether a command is one of those.
fn not_here() -> anyhow::Result<()> {
    bail!("localrun runs in the program `geminga`")
}

#[derive(Debug, clap::Args)]
struct SourceWish {
    /// The connector; its name follows from it unless it is given. `update` takes a name, too
    #[arg(value_name = "FILE|URL")]
    file: Option<String>,
    /// The configuration, as YAML or JSON; flags win over it
    #[arg(long, alias = "sourceConfigFile", value_name = "FILE")]
    source_config_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings<OfSource>,
    #[command(flatten)]
    bounds: Bounds,
}

#[derive(Debug, clap::Args)]
struct SinkWish {
    /// The connector; its name follows from it unless it is given. `update` takes a name, too
    #[arg(value_name = "FILE|URL")]
    file: Option<String>,
    /// The configuration, as YAML or JSON; flags win over it
    #[arg(long, alias = "sinkConfigFile", value_name = "FILE")]
    sink_config_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings<OfSink>,
    #[command(flatten)]
    bounds: Bounds,
}

impl FunctionWish {
    fn sources(&self) -> Sources<'_, OfFunction> {
        Sources {
            kind: Kind::Function,
            config_file: self.function_config_file.as_deref(),
            user_config_file: self.user_config_file.as_deref(),
            settings: &self.settings,
            bounds: &self.bounds,
            file: self.file.as_deref(),
        }
    }
}

impl SourceWish {
    fn sources(&self) -> Sources<'_, OfSource> {
        Sources {
            kind: Kind::Source,
            config_file: self.source_config_file.as_deref(),
            user_config_file: None,
            settings: &self.settings,
            bounds: &self.bounds,
            file: self.file.as_deref(),
        }
    }
}

impl SinkWish {
    fn sources(&self) -> Sources<'_, OfSink> {
        Sources {
            kind: Kind::Sink,
            config_file: self.sink_config_file.as_deref(),
            user_config_file: None,
            settings: &self.settings,
            bounds: &self.bounds,
            file: self.file.as_deref(),
        }
    }
}

async fn create<C: Component, F>(admin: &Admin, from: Sources<'_, F>) -> anyhow::Result<()> {
    from.create::<C>()?.create(admin, from.kind).await
}

async fn update<C: Component, F>(admin: &Admin, from: Sources<'_, F>, renews_auth: bool) -> anyhow::Result<()> {
    from.update::<C>()?.update(admin, from.kind, renews_auth).await
}

pub(crate) async fn run(args: FunctionArgs) -> anyhow::Result<()> {
    let admin = args.reach.admin()?;
    match args.command {
        FunctionCommand::Localrun(_) => not_here(),
        FunctionCommand::Create(wish) => create::<FunctionConfig, _>(&admin, wish.sources()).await,
        FunctionCommand::Update { wish, update_auth_data } => {
            update::<FunctionConfig, _>(&admin, wish.sources(), update_auth_data).await
        }
        FunctionCommand::Common(command) => common::run(&admin, Kind::Function, command).await,
        FunctionCommand::Stats { target, instance, printed } => {
            status::stats(&admin, &target.resolve()?, instance, printed).await
        }
        FunctionCommand::Trigger(args) => state::trigger(&admin, args).await,
        FunctionCommand::Querystate(args) => state::query(&admin, args).await,
        FunctionCommand::Putstate(args) => state::put(&admin, args).await,
        FunctionCommand::Top(args) => top::run(&admin, args).await,
        FunctionCommand::New(args) => new::run(&args),
        FunctionCommand::Upload { file, source_file, path } => {
            let Some(file) = file.or(source_file) else { bail!("say which file") };
            upload(&admin, &file, &path).await
        }
        FunctionCommand::Download { target, file, destination_file, path } => {
            let to = file.or(destination_file);
            let (call, to) = match (path, to) {
                (Some(path), Some(to)) => {
                    (admin.path(["admin", "v3", "functions", "download"]).query("path", path), to)
                }
                (_, to) => {
                    let name = target.resolve()?;
                    let to = to.unwrap_or_else(|| PathBuf::from(&name.name));
                    (name.at(&admin, Kind::Function).at(["download"]), to)
                }
            };
            saved(&to, call.save(&to).await?)
        }
    }
}

pub(crate) async fn run_sources(args: SourceArgs) -> anyhow::Result<()> {
    let admin = args.reach.admin()?;
    match args.command {
        SourceCommand::Localrun { .. } => not_here(),
        SourceCommand::Create(wish) => create::<SourceConfig, _>(&admin, wish.sources()).await,
        SourceCommand::Update { wish, update_auth_data } => {
            update::<SourceConfig, _>(&admin, wish.sources(), update_auth_data).await
        }
        SourceCommand::Common(command) => common::run(&admin, Kind::Source, command).await,
        SourceCommand::Available(printed) => common::available(&admin, Kind::Source, printed).await,
    }
}

pub(crate) async fn run_sinks(args: SinkArgs) -> anyhow::Result<()> {
    let admin = args.reach.admin()?;
    match args.command {
        SinkCommand::Localrun { .. } => not_here(),
        SinkCommand::Create(wish) => create::<SinkConfig, _>(&admin, wish.sources()).await,
        SinkCommand::Update { wish, update_auth_data } => {
            update::<SinkConfig, _>(&admin, wish.sources(), update_auth_data).await
        }
        SinkCommand::Common(command) => common::run(&admin, Kind::Sink, command).await,
        SinkCommand::Available(printed) => common::available(&admin, Kind::Sink, printed).await,
    }
}

async fn upload(admin: &Admin, file: &Path, path: &str) -> anyhow::Result<()> {
    let form = Form::new().text("path", path);
    let form = form.file("data", file).await.with_context(|| format!("cannot read {}", file.display()))?;
    admin.path(["admin", "v3", "functions", "upload"]).form(form).post().await?;
    output::line(format!("uploaded {} as {}", file.display(), output::shown(path)))
}

/// What was saved where.
pub(crate) fn saved(to: &Path, bytes: u64) -> anyhow::Result<()> {
    output::line(format!("saved {}, {}", to.display(), units::bytes(i64::try_from(bytes).unwrap_or(i64::MAX))))
}
