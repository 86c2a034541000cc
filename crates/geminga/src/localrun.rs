//! `geminga localrun`: instances of one function, source or sink in this process, on a broker that is somewhere else.
//!
//! What they log goes to standard output, what is wrong with them to standard error. They end when they are interrupted, with what they
//! have in hand done, and at once when they are interrupted again; a function that does not start ends the program with the reason.
//! However this ends, nothing that it started is left.

use ::functions::{
    Code, EventLog, FunctionSpec, Kind, Language, Tables,
    file_tables::FileTables,
    instance::{self, Instance, Parts, Status, View},
    packages::{self, Packages},
    remote::Remote,
    runtime::{InstanceSpec, Secret},
    worker::{Config, Foreign, Name},
};
use anyhow::{Context, anyhow, bail};
use cli::{Local, LocalRun};
use seams::{Clock, Shutdown, SystemClock, Tasks};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    args::Standalone,
    connection, functions,
    settings::Settings,
    signals::{self, Signals},
    telemetry,
};

/// How often what instances say is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long what is in hand may take at the end.
const PATIENCE: Duration = Duration::from_secs(25);
/// The exit code when something was not finished.
const INTERRUPTED: u8 = 130;
/// What `geminga localrun` calls the cluster. Source: `LocalRunner`.
const CLUSTER: &str = "local";

/// Runs until it is interrupted.
///
/// # Errors
/// It cannot start; or code died, where that is to end it.
pub(crate) async fn run(asked: LocalRun) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&Standalone::default())?;
    telemetry::start(&settings.log)?;
    let mut signals = Signals::new()?;
    let tasks = Tasks::new(Shutdown::new());
    // An installer may take its time, and so may a broker that does not answer.
    let prepared = tokio::select! {
        prepared = prepare(&asked, &settings, &tasks) => prepared.map(Some),
        name = signals.next() => {
            tracing::info!(signal = name, "ending before it began");
            Ok(None)
        }
    };
    let ended = match prepared {
        Ok(Some(prepared)) => serve(prepared, &asked.local, &tasks, &mut signals).await,
        Ok(None) => Ok(ExitCode::from(INTERRUPTED)),
        Err(error) => Err(error),
    };
    signals::end(&tasks).await;
    ended
}

/// All that instances stand on.
struct Prepared {
    function: Arc<FunctionSpec>,
    secrets: BTreeMap<String, Secret>,
    parts: Parts,
    dir: PathBuf,
    /// Of the metrics of each instance, where these are wanted.
    listeners: Vec<TcpListener>,
}

async fn prepare(asked: &LocalRun, settings: &Settings, tasks: &Tasks) -> anyhow::Result<Prepared> {
    let local = &asked.local;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let dir = functions::own_dir(local.data.clone())?;
    let tables = FileTables::new(state_file(asked, &dir)?);
    tables.check().await?;
    let tables: Arc<dyn Tables> = Arc::new(tables);
    let function = Arc::new(resolve(asked, &dir, &tables, &clock).await?);
    instance::can_be_once(&function)?;
    let secrets = secrets(local.secrets_provider_classname.as_deref(), &function)?;
    let runtime = functions::runtimes(&settings.functions, &dir, &dir, &clock, tasks)?.get(function.language)?;
    runtime.prepare(&function).await.with_context(|| format!("{} cannot run", function.fqfn()))?;
    let token = connection::token(local.client_auth_plugin.as_deref(), local.client_auth_params.as_deref())?;
    let token = token.or_else(|| asked.token.clone());
    let client = connection::connect(&local.broker_service_url, token, local.use_tls).await?;
    let log: Arc<dyn EventLog> = Arc::new(Remote::new(client, tables.clone()));
    if !runtime.is_self_driven(&function) {
        // What is refused now is told at once.
        instance::subscribe(&log, (*function).clone(), function.skip_to_latest)
            .await
            .context("subscribe to its inputs")?;
    }
    let mut listeners = Vec::new();
    if let Some(first) = local.metrics_port_start {
        for number in 0..function.parallelism {
            let port = u16::try_from(u32::from(first) + number).context("count the ports of metrics")?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            listeners.push(listener.await.with_context(|| format!("serve metrics on port {port}"))?);
        }
    }
    Ok(Prepared { function, secrets, parts: Parts { log, tables, runtime, clock }, dir, listeners })
}

/// Runs instances until a signal comes.
async fn serve(prepared: Prepared, local: &Local, tasks: &Tasks, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let Prepared { function, secrets, parts, dir, listeners } = prepared;
    let mut running = Vec::new();
    for id in (local.instance_id_offset..).take(function.parallelism as usize) {
        let spec = InstanceSpec {
            function: function.clone(),
            instance_id: id,
            secrets: secrets.clone(),
            env: BTreeMap::new(),
            work_dir: functions::own_dir(dir.join("instances").join(&function.id).join(id.to_string()))?,
        };
        running.push(Watched::new(&function, id, Instance::start(parts.clone(), spec, tasks)));
    }
    // Ended with this.
    let mut pages = JoinSet::new();
    for (watched, listener) in running.iter().zip(listeners) {
        pages.spawn(instance_main::serve_metrics(listener, function.clone(), watched.id, watched.view.clone()));
    }
    let ended = watch(&mut running, &function, local, signals).await;
    let stopping = futures::future::join_all(running.iter_mut().map(Watched::stop));
    let stopped = tokio::select! {
        _ = stopping => true,
        name = signals.next() => {
            tracing::warn!(signal = name, "ending at once");
            false
        }
    };
    for watched in &mut running {
        watched.show()?;
        watched.sum_up()?;
    }
    ended?;
    Ok(if stopped { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

/// Shows what instances do until a signal comes.
async fn watch(
    running: &mut [Watched],
    function: &FunctionSpec,
    local: &Local,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut is_ready = false;
    loop {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "finishing what was begun");
                return Ok(());
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        for watched in &mut *running {
            watched.show()?;
            watched.check(local.exit_on_error)?;
        }
        if !is_ready && running.iter().all(|watched| watched.was_up) {
            is_ready = true;
            let instances = running.len();
            let noun = if instances == 1 { "instance" } else { "instances" };
            let ready = format!(
                "geminga localrun ready: {}, {instances} {noun}, on {}\n",
                function.fqfn(),
                local.broker_service_url
            );
            cli::output::print(&ready)?;
        }
    }
}

/// An instance, and what of it was shown.
struct Watched {
    id: u32,
    title: String,
    /// `None`: it is being stopped, or has ended.
    instance: Option<Instance>,
    view: View,
    was_up: bool,
    next_line: u64,
    user_exceptions: u64,
    system_exceptions: u64,
    restarts: u64,
}

impl Watched {
    fn new(function: &FunctionSpec, id: u32, instance: Instance) -> Self {
        Self {
            id,
            title: format!("{}-{id}", function.name),
            view: instance.view(),
            instance: Some(instance),
            was_up: false,
            next_line: 0,
            user_exceptions: 0,
            system_exceptions: 0,
            restarts: 0,
        }
    }

    /// Prints what it has logged.
    fn show(&mut self) -> anyhow::Result<()> {
        for line in self.view.lines(self.next_line) {
            self.next_line = line.number + 1;
            for text in line.message.lines() {
                cli::output::print(&format!("{} {}: {}\n", line.level.as_str(), self.title, cli::output::shown(text)))?;
            }
        }
        Ok(())
    }

    /// Tells what went wrong with it.
    ///
    /// # Errors
    /// It does not start, or it died where that is to end all.
    fn check(&mut self, exit_on_error: bool) -> anyhow::Result<()> {
        let status = self.view.status();
        let title = &self.title;
        if status.user_exceptions > std::mem::replace(&mut self.user_exceptions, status.user_exceptions)
            && let Some(latest) = status.latest_user_exceptions.back()
        {
            tracing::warn!(
                instance = title,
                total = status.user_exceptions,
                "exception in user code: {}",
                latest.message
            );
        }
        if status.system_exceptions > std::mem::replace(&mut self.system_exceptions, status.system_exceptions)
            && let Some(latest) = status.latest_system_exceptions.back()
        {
            tracing::warn!(instance = title, total = status.system_exceptions, "{}", latest.message);
        }
        let died = status.restarts > std::mem::replace(&mut self.restarts, status.restarts);
        self.was_up |= status.running;
        match died {
            // The broker may come back; code that never ran stays as it is.
            true if !self.was_up && status.system_exceptions == 0 => bail!("{title} does not start: {}", status.error),
            true if exit_on_error => bail!("{title} died: {}", status.error),
            _ => Ok(()),
        }
    }

    async fn stop(&mut self) {
        if let Some(instance) = self.instance.take() {
            instance.stop(PATIENCE).await;
        }
    }

    /// What it has done in all.
    fn sum_up(&self) -> anyhow::Result<()> {
        let Status { received, processed, published, user_exceptions, system_exceptions, restarts, latency, .. } =
            self.view.status();
        let average = latency.average_ms().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.3} ms"));
        cli::output::print(&format!(
            "{}: received {received}, processed {processed}, published {published}, user exceptions {user_exceptions}, system \
             exceptions {system_exceptions}, restarts {restarts}, average {average}\n",
            self.title
        ))
    }
}

/// What instances are made of.
async fn resolve(
    asked: &LocalRun,
    dir: &Path,
    tables: &Arc<dyn Tables>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<FunctionSpec> {
    let [tenant, namespace, name] = &asked.name;
    let name = Name::new(tenant, namespace, name)?;
    let kind = match asked.kind {
        cli::Kind::Function => Kind::Function,
        cli::Kind::Source => Kind::Source,
        cli::Kind::Sink => Kind::Sink,
    };
    let config = Config::new(kind, &name, &asked.config.to_string())?;
    let code = match &asked.code {
        cli::Code::File(path) => Code::File(std::path::absolute(path)?),
        cli::Code::Url(url) => Code::File(download(url, dir, tables, clock).await?),
        cli::Code::Stays => match (config.builtin(), config.command()) {
            (Some(name), _) => {
                if !connectors::definitions().iter().any(|known| known.name.as_deref() == Some(name)) {
                    bail!("there is no built-in {kind} {name}; see `geminga {kind}s available`");
                }
                Code::Builtin(name.to_owned())
            }
            (None, Some(words)) => Code::Command(words),
            (None, None) => bail!("say where the code of this {kind} is"),
        },
    };
    let web = asked.local.web_service_url.clone().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let foreign = Foreign {
        config,
        // As its configuration says.
        language: Language::Builtin,
        code,
        id: format!("{tenant}-{namespace}-{}", asked.name[2]),
        version: 0,
        service_url: asked.local.broker_service_url.clone(),
        admin_url: web,
        cluster: CLUSTER.to_owned(),
    };
    Ok(foreign.resolve()?)
}

/// Code that is somewhere else, once it is here.
async fn download(url: &str, dir: &Path, tables: &Arc<dyn Tables>, clock: &Arc<dyn Clock>) -> anyhow::Result<PathBuf> {
    if !["file", "http", "https"].iter().any(|scheme| url.starts_with(&format!("{scheme}://"))) {
        bail!("{url} is known to its broker alone; get the file with `geminga packages download`, and name that");
    }
    let config = packages::Config { dir: dir.join("packages"), max_bytes: 1 << 30 };
    let packages = Packages::open(config, tables.clone(), clock.clone()).await?;
    let stored = packages.fetch(url).await?;
    Ok(packages.file(stored.id()).await?)
}

/// The file of its state.
fn state_file(asked: &LocalRun, dir: &Path) -> anyhow::Result<PathBuf> {
    let root = match asked.local.state_storage_service_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) => connection::state_dir(url).context("--state-storage-service-url")?,
        None => dir.join("state"),
    };
    let [tenant, namespace, name] = &asked.name;
    Ok(root.join(tenant).join(namespace).join(format!("{name}.{}", connection::STATE)))
}

/// The secrets of a function, from where pulsar-admin's `localrun` has them. Source: `ClearTextSecretsProvider`,
/// `EnvironmentBasedSecretsProvider`, of Java or Python.
fn secrets(provider: Option<&str>, function: &FunctionSpec) -> anyhow::Result<BTreeMap<String, Secret>> {
    let class = provider.unwrap_or("ClearTextSecretsProvider").rsplit('.').next().unwrap_or_default();
    let find = |(name, place): (&String, &Value)| match class {
        "ClearTextSecretsProvider" => {
            let value = place.as_str().map_or_else(|| place.to_string(), ToOwned::to_owned);
            Ok((name.clone(), Secret(value)))
        }
        "EnvironmentBasedSecretsProvider" => match std::env::var(name) {
            Ok(value) => Ok((name.clone(), Secret(value))),
            Err(_) => Err(anyhow!("the secret {name:?} is not there: set the environment variable of this name")),
        },
        other => Err(anyhow!(
            "there is no secrets provider {other}: ClearTextSecretsProvider and EnvironmentBasedSecretsProvider are"
        )),
    };
    function.secrets.iter().map(find).collect()
}
