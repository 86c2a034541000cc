//! Functions that are WASM components, run within the broker's process under wasmtime.
//!
//! ```text
//! Link --invocations--> driver (one task) --run()--> guest: next() ... done() ... next() ... done()
//!      <--events------- outbox <------------------- host functions
//! ```
//!
//! A component exports `run`, which takes messages one by one until there are no more (`wit/function.wit`): one call into the guest
//! serves a whole batch, yet the host knows at every moment which message it works on, so that effects, exceptions and time belong to
//! the right one. A source's `run-source` is called once, emits as it likes, and hears what became of its records.
//!
//! What holds:
//! - A guest runs on the threads of this runtime, never on the broker's, and gives its thread up at every tick of the epoch clock.
//! - It has clocks, random numbers and stdout (which becomes log lines); no files, no network, no environment that was not granted.
//! - Its memory has a limit, and all guests together have one. Whatever it does (traps, loops, memory), the message at hand fails with a
//!   user exception, the guest is replaced by a new one, and the messages behind it are served.
//! - An instance that has not seen a message yet is a task without a guest; a guest that waits for messages has no stack.

mod bindings;
mod cache;
mod compiler;
mod components;
mod driver;
mod emissions;
mod engine;
mod error;
mod grants;
mod host;
mod memory;
mod network;
mod outbox;
mod source;

pub use compiler::{Compiler, compile};
pub use error::{Error, Result};

use async_trait::async_trait;
use functions::{
    Kind, Runtime,
    runtime::{InstanceSpec, Link, StartError, link},
    spec::{Code, FunctionSpec},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What all WASM functions of this process share.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Threads that run guests; 0: one for each core.
    pub threads: usize,
    /// How much lower than the broker's the priority of these threads is, as for `nice`.
    pub nice: i32,
    /// Memory of one instance whose function sets no `resources.ram`.
    pub memory_bytes_default: u64,
    /// Memory of all instances together, as they asked for it: a Rust guest asks for 1.1 MiB at first, and touches 30 KiB.
    pub memory_bytes_total: u64,
    /// Instances that may have a guest at the same time; each reserves 4 GiB of addresses, not of memory.
    pub instances_max: u32,
    /// How long one invocation may take when the function sets no `timeoutMs`.
    #[serde(with = "humantime_serde")]
    pub timeout_default: Duration,
    /// What one invocation may publish, return and change, all together.
    pub effects_bytes_max: usize,
    /// A component that is larger is refused.
    pub component_bytes_max: u64,
    /// Memory of the process that compiles a component.
    pub compile_memory_bytes: u64,
    /// How long compiling a component may take.
    #[serde(with = "humantime_serde")]
    pub compile_timeout: Duration,
    /// Directories below which `customRuntimeOptions` may grant some to a function; none by default.
    pub grantable_directories: Vec<PathBuf>,
    /// Addresses that `customRuntimeOptions` may let a function connect to, as `host:port`; `*` is any host but this machine, or any port. None
    /// by default.
    pub grantable_addresses: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            nice: 5,
            memory_bytes_default: 128 << 20,
            memory_bytes_total: 2 << 30,
            instances_max: 4096,
            timeout_default: Duration::from_secs(60),
            effects_bytes_max: 64 << 20,
            component_bytes_max: 256 << 20,
            compile_memory_bytes: 2 << 30,
            compile_timeout: Duration::from_secs(5 * 60),
            grantable_directories: Vec::new(),
            grantable_addresses: Vec::new(),
        }
    }
}

/// Runs components. See the crate. Nothing is started before the first function is.
pub struct WasmRuntime {
    config: Config,
    cache_dir: PathBuf,
    clock: Arc<dyn seams::Clock>,
    compiler: Option<Compiler>,
    started: Mutex<Option<Arc<Started>>>,
}

struct Started {
    shared: Arc<Shared>,
    threads: engine::Threads,
}

/// What every instance uses.
pub(crate) struct Shared {
    config: Config,
    engine: engine::Engine,
    components: components::Components,
    memory: Arc<memory::Total>,
    clock: Arc<dyn seams::Clock>,
}

impl WasmRuntime {
    /// `cache_dir` holds compiled components; nobody else may write there, since what is in it is run as it is.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(config: Config, cache_dir: &Path, clock: Arc<dyn seams::Clock>) -> Result<Self> {
        cache::make_dir(cache_dir)?;
        Ok(Self { config, cache_dir: cache_dir.to_owned(), clock, compiler: None, started: Mutex::default() })
    }

    /// With a program that compiles; without one, this process does, keeps the memory that took, and has no limits on it.
    #[must_use]
    pub fn compiled_by(mut self, compiler: Compiler) -> Self {
        self.compiler = Some(compiler);
        self
    }

    fn started(&self) -> Result<Arc<Started>> {
        let mut started = self.started.lock();
        if let Some(started) = &*started {
            return Ok(Arc::clone(started));
        }
        let config = self.config.clone();
        let engine = engine::Engine::new(&config)?;
        let components = components::Components::new(&engine, &self.cache_dir, self.compiler.clone(), &config)?;
        let threads = engine::Threads::start(&config)?;
        let memory = Arc::new(memory::Total::new(config.memory_bytes_total));
        let shared = Arc::new(Shared { config, engine, components, memory, clock: Arc::clone(&self.clock) });
        Ok(Arc::clone(started.insert(Arc::new(Started { shared, threads }))))
    }
}

impl Started {
    async fn check(&self, function: &FunctionSpec) -> Result<(), Error> {
        let path = component_of(function)?;
        grants::Grants::parse(function, &self.shared.config)?;
        let (shared, path) = (Arc::clone(&self.shared), path.to_owned());
        let (kind, windows) = (function.kind, function.window.is_some());
        // Compiling takes a core for a while: that of a guest, not of the broker.
        let checked = self.threads.handle().spawn_blocking(move || {
            let component = shared.components.load(&path)?;
            component.serves(kind, windows)
        });
        checked.await.map_err(|_| Error::Panicked)?
    }
}

/// Where the component of a function is.
fn component_of(function: &FunctionSpec) -> Result<&Path> {
    match &function.code {
        Code::File(path) => Ok(path),
        Code::Builtin(name) => Err(Error::NoFile(name.clone())),
        Code::Command(words) => Err(Error::NoFile(words.join(" "))),
    }
}

#[async_trait]
impl Runtime for WasmRuntime {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        Ok(self.started()?.check(function).await?)
    }

    /// A function without `setup` is instantiated when its first message comes; one with it now, so that what it says is heard, and so is
    /// a source, which begins at once.
    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        let started = self.started()?;
        let Started { shared, threads } = &*started;
        let path = component_of(&instance.function)?.to_owned();
        let facts = match shared.components.known(&path) {
            Some(facts) => facts,
            None => {
                started.check(&instance.function).await?;
                shared.components.known(&path).ok_or(Error::Panicked)?
            }
        };
        let (mut link, end) = link();
        link.runs_many = Some(false);
        let opens_now = facts.has_setup || instance.function.kind == Kind::Source;
        let mut driver = Box::new(driver::Driver::new(shared, instance, path, end)?);
        if opens_now {
            // On the threads of the guests, as everything they do.
            let opened = threads.handle().spawn(async move { driver.open().await.map(|()| driver) });
            driver = opened.await.map_err(|_| Error::Panicked)??;
        }
        threads.handle().spawn(driver.run());
        Ok(link)
    }
}
