//! `geminga instance`, and `pulsar_rust_instance`: one instance as a process, for whoever starts Pulsar's.

use ::functions::{
    Tables,
    file_tables::{FileTables, NoTables},
    instance::{Parts, can_be_once},
    remote::Remote,
};
use anyhow::{Context, bail};
use instance_main::{Args, Main, secrets};
use seams::{Clock, Shutdown, SystemClock, Tasks};
use std::{path::Path, process::ExitCode, sync::Arc};

use crate::{
    args::Standalone,
    connection, functions,
    settings::Settings,
    signals::{self, Signals},
    telemetry,
};

/// The name Function Mesh starts its generic runtime by.
pub(crate) const PROGRAM: &str = "pulsar_rust_instance";

/// The exit code when something was not finished.
const INTERRUPTED: u8 = 130;

/// Runs until it is asked to end, and then leaves nothing that it started.
///
/// # Errors
/// The command line does not fit, the code cannot run, or nobody asks for its health any more.
pub(crate) async fn run(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<ExitCode> {
    let args = Args::parse(arguments)?;
    let settings = Settings::load(&Standalone::default())?;
    telemetry::start(&settings.log)?;
    let mut signals = Signals::new()?;
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let ended = {
        let running = prepare_and_run(&args, &settings, &tasks, &shutdown);
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => ended.map(|()| ExitCode::SUCCESS),
            name = signals.next() => {
                tracing::info!(signal = name, "finishing what was begun");
                shutdown.trigger();
                tokio::select! {
                    ended = &mut running => ended.map(|()| ExitCode::SUCCESS),
                    _ = signals.next() => Ok(ExitCode::from(INTERRUPTED)),
                }
            }
        }
    };
    signals::end(&tasks).await;
    ended
}

async fn prepare_and_run(args: &Args, settings: &Settings, tasks: &Tasks, shutdown: &Shutdown) -> anyhow::Result<()> {
    let (main, parts) = tokio::select! {
        prepared = prepare(args, settings, tasks) => prepared?,
        // Nothing was begun.
        () = shutdown.triggered() => return Ok(()),
    };
    Ok(main.run(parts, tasks, shutdown).await?)
}

async fn prepare(args: &Args, settings: &Settings, tasks: &Tasks) -> anyhow::Result<(Main, Parts)> {
    let function = args.function()?;
    can_be_once(&function)?;
    let secrets = secrets(&function, |name| std::env::var(name).ok())?;
    let tables: Arc<dyn Tables> = match args.state_storage_serviceurl.as_str() {
        "" if function.window.is_some() => {
            bail!("a window keeps its messages in state: say where with --state_storage_serviceurl file:///DIRECTORY")
        }
        "" => Arc::new(NoTables),
        url => {
            let root = connection::state_dir(url).context("--state_storage_serviceurl")?;
            let own = format!("{}-{}.{}", function.name, args.instance_id, connection::STATE);
            let tables = FileTables::new(root.join(&function.tenant).join(&function.namespace).join(own));
            tables.check().await?;
            Arc::new(tables)
        }
    };
    let dir = functions::own_dir(std::env::temp_dir().join(format!("geminga-{}", plain(&args.function_id))))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = functions::runtimes(&settings.functions, &dir, &dir, &clock, tasks)?.get(function.language)?;
    runtime.prepare(&function).await.with_context(|| format!("{} cannot run", function.fqfn()))?;
    let (plugin, params) = &args.client_auth;
    let token = connection::token(Some(plugin), Some(params))?;
    // A broker that is not there yet is waited for.
    let client = connection::unconnected(&args.pulsar_serviceurl, token, false)?;
    let parts = Parts { log: Arc::new(Remote::new(client, tables.clone())), tables, runtime, clock };
    let work_dir = functions::own_dir(dir.join("work"))?;
    let fqfn = function.fqfn();
    let main = Main::bind(args, function, secrets, work_dir).await?;
    let (control, metrics) = main.addresses()?;
    tracing::info!(function = fqfn, instance = args.instance_id, %control, %metrics, "instance starts");
    Ok((main, parts))
}

/// Whether the program was started by [`PROGRAM`].
pub(crate) fn is_meant_by(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == PROGRAM)
}

/// An id as part of a file name.
fn plain(id: &str) -> String {
    let id: String =
        id.chars().take(100).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if id.is_empty() { "instance".to_owned() } else { id }
}
