//! Functions of this node: the broker, its tables and what runs code, joined to a worker.

use ::functions::{
    Language, Meshes,
    worker::{self, EnvironmentSecrets, Runtimes, Worker},
};
use anyhow::Context;
use broker::{Addresses, Broker};
use connectors::Connectors;
use embedded::{Embedded, StoreTables};
use model::NamespaceName;
use runtime_process::{Children, Go, Java, JavaConfig, Limits, Process, Python, PythonConfig};
use seams::{Clock, Tasks};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::settings::Settings;

/// Functions, sources and sinks that run on this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Whether there are any.
    pub(crate) enabled: bool,
    /// The largest package of code, in bytes.
    pub(crate) max_package_bytes: u64,
    /// The Python interpreter: a name on the path, or a file.
    pub(crate) python: PathBuf,
    /// What `pip install` is given besides a function's requirements, such as `--index-url URL`.
    pub(crate) pip_arguments: Vec<String>,
    /// The Java machine, version 17 or later: a name on the path, or a file.
    pub(crate) java: PathBuf,
    /// WASM components, which run in this process.
    #[cfg(feature = "wasm")]
    pub(crate) wasm: runtime_wasm::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            max_package_bytes: 1 << 30,
            python: "python3".into(),
            pip_arguments: Vec::new(),
            java: "java".into(),
            #[cfg(feature = "wasm")]
            wasm: runtime_wasm::Config::default(),
        }
    }
}

/// What a worker stands on.
pub(crate) struct Ground {
    pub(crate) broker: Broker,
    pub(crate) store: ledger::Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) addresses: Addresses,
    /// Where the web service listens.
    pub(crate) web: std::net::SocketAddr,
}

/// Opens the worker and its meshes; functions begin to start, and what was being applied is gone on with.
///
/// # Errors
/// A directory or a table cannot be read, or wasmtime does not run on this machine.
pub(crate) async fn start(settings: &Settings, ground: Ground) -> anyhow::Result<Option<Meshes>> {
    let config = &settings.functions;
    if !config.enabled {
        return Ok(None);
    }
    let Ground { broker, store, clock, tasks, addresses, web } = ground;
    let dir = own_dir(settings.data.join("functions"))?;
    let runtimes = runtimes(config, &settings.data, &dir, &clock, &tasks)?;
    let about = worker::Settings {
        max_package_bytes: config.max_package_bytes,
        cluster: broker.config().cluster_name.clone(),
        worker_id: format!("geminga-{web}"),
        hostname: web.ip().to_string(),
        port: web.port(),
        service_url: addresses.broker_url,
        admin_url: addresses.web_url,
        dir,
    };
    let parts = worker::Parts {
        tables: Arc::new(StoreTables::new(store)),
        log: Arc::new(Embedded::new(broker.clone(), clock.clone())),
        runtimes,
        connectors: connectors::definitions(),
        secrets: Arc::new(EnvironmentSecrets),
        clock,
    };
    let worker = Worker::open(about, parts).await.context("open the functions")?;
    let is_namespace = move |tenant: &str, namespace: &str| {
        NamespaceName::new(tenant, namespace).is_ok_and(|namespace| broker.policies(&namespace).is_ok())
    };
    Ok(Some(Meshes::open(worker, Arc::new(is_namespace)).await.context("open the meshes")?))
}

/// A directory, made where it is not there. Children have working directories of their own, where what is relative would be something else.
///
/// # Errors
/// It cannot be made.
pub(crate) fn own_dir(dir: PathBuf) -> anyhow::Result<PathBuf> {
    let dir = std::path::absolute(dir).context("find the working directory")?;
    seams::make_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}

/// What runs code of all languages, with its caches in `dir`. The harness of Java functions may be in `data`.
///
/// # Errors
/// Wasmtime does not run on this machine.
pub(crate) fn runtimes(
    config: &Config,
    data: &Path,
    dir: &Path,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> anyhow::Result<Runtimes> {
    let children = Children::new(tasks.clone(), Limits::detect());
    let python = PythonConfig {
        python: config.python.clone(),
        pip_arguments: config.pip_arguments.clone(),
        ..PythonConfig::new(dir.join("python"))
    };
    let java = JavaConfig { java: config.java.clone(), ..JavaConfig::new(data, dir.join("java")) };
    let runtimes = Runtimes::default()
        .with(Language::Builtin, Arc::new(Connectors::new(clock.clone())))
        .with(Language::Java, Arc::new(Java::new(java, children.clone())))
        .with(Language::Python, Arc::new(Python::new(python, children.clone())))
        .with(Language::Go, Arc::new(Go::new(children.clone())))
        .with(Language::Process, Arc::new(Process::new(children)));
    #[cfg(feature = "wasm")]
    let runtimes = {
        let compiler = runtime_wasm::Compiler {
            // This very program, also where its file was replaced by another one meanwhile.
            program: "/proc/self/exe".into(),
            arguments: vec![crate::args::COMPILE.into()],
            // What the allocator only sets aside does not count against the limit.
            env: vec![("MIMALLOC_ARENA_EAGER_COMMIT".into(), "0".into())],
        };
        let wasm = runtime_wasm::WasmRuntime::new(config.wasm.clone(), &dir.join("wasm"), clock.clone());
        runtimes.with(Language::Wasm, Arc::new(wasm.context("start wasmtime")?.compiled_by(compiler)))
    };
    Ok(runtimes)
}
