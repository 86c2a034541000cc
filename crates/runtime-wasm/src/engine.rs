//! wasmtime as we use it, the clock of epochs, and the threads of the guests.

use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{Config, Error, Result};

/// How long a guest keeps its thread when others want it, and the unit in which its time is counted.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Ticks without a running guest after which the clock stops.
const TICKS_IDLE: u32 = 20;
/// Of the stack of a running guest; half of it is for its own code.
const STACK_BYTES: usize = 1 << 20;
/// Instances of core modules that instances of components have on average at most; Rust has 3, Python about 10.
const CORE_PER_COMPONENT: u32 = 8;

/// See the module.
pub(crate) struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    ticker: Arc<Ticker>,
}

impl Engine {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let wasmtime = wasmtime_engine(config.instances_max.max(1))?;
        let ticker = Arc::new(Ticker::default());
        ticker.start(wasmtime.weak())?;
        Ok(Self { wasmtime, ticker })
    }

    /// Epochs pass while the guard is there.
    pub(crate) fn running(&self) -> Running<'_> {
        self.ticker.running.fetch_add(1, SeqCst);
        if self.ticker.is_stopped.load(SeqCst) {
            self.ticker.wake();
        }
        Running(&self.ticker)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ticker.is_over.store(true, SeqCst);
        self.ticker.wake();
    }
}

/// One that only compiles, for engines that run.
pub(crate) fn compiling() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&config())
}

/// What compiled code depends on, and stacks.
fn config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true).async_stack_size(STACK_BYTES).max_wasm_stack(STACK_BYTES / 2);
    config
}

/// Where addresses are short (a limit on them, a container), with fewer instances than asked for.
fn wasmtime_engine(mut instances: u32) -> Result<wasmtime::Engine> {
    loop {
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
        match wasmtime::Engine::new(&config) {
            Ok(engine) => return Ok(engine),
            Err(error) if instances < 16 => return Err(Error::Engine(format!("{error:#}"))),
            Err(error) => {
                instances /= 8;
                tracing::warn!(error = format!("{error:#}"), instances, "fewer WASM instances at the same time");
            }
        }
    }
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_PER_COMPONENT))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_memory_size(1 << 32);
    pool
}

/// Moves the epoch on while guests run. With none, there is nothing to wake up for.
#[derive(Default)]
struct Ticker {
    running: AtomicUsize,
    is_stopped: AtomicBool,
    is_over: AtomicBool,
    lock: Mutex<()>,
    woken: Condvar,
}

/// See [`Engine::running`].
pub(crate) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    fn start(self: &Arc<Self>, engine: wasmtime::EngineWeak) -> Result<()> {
        let ticker = Arc::clone(self);
        let ticks = move || {
            let mut idle = 0;
            while !ticker.is_over.load(SeqCst) {
                thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                idle = if ticker.running.load(SeqCst) > 0 { 0 } else { idle + 1 };
                if idle > TICKS_IDLE {
                    drop(engine);
                    ticker.wait();
                    idle = 0;
                }
            }
        };
        thread::Builder::new().name("wasm-epoch".to_owned()).spawn(ticks).map_err(Error::Threads)?;
        Ok(())
    }

    fn wait(&self) {
        let mut lock = self.lock.lock();
        self.is_stopped.store(true, SeqCst);
        // A guest that starts now either sees that the clock is stopped, or is seen here.
        while self.running.load(SeqCst) == 0 && !self.is_over.load(SeqCst) {
            self.woken.wait(&mut lock);
        }
        self.is_stopped.store(false, SeqCst);
    }

    fn wake(&self) {
        let _lock = self.lock.lock();
        self.woken.notify_one();
    }
}

/// Threads for guests alone, of lower priority than the broker's.
pub(crate) struct Threads(Option<tokio::runtime::Runtime>);

impl Threads {
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let nice = config.nice;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(if config.threads == 0 { cores } else { config.threads })
            .max_blocking_threads(4)
            .thread_name("wasm")
            .on_thread_start(move || {
                // On Linux this is of the calling thread alone. Not allowed: then as the others.
                let _ = rustix::process::nice(nice);
            })
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        Ok(Self(Some(threads)))
    }

    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        self.0.as_ref().expect("taken in drop only").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}
