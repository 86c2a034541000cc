//! One instance: waits for work, makes a guest when there is some, lets it run, replaces it when it breaks.

use functions::{
    Kind,
    runtime::{Event, Exit, Input, InstanceSpec, LinkEnd, LogLevel},
};
use futures::FutureExt as _;
use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;
use wasmtime::{
    Store, UpdateDeadline, WasmBacktrace,
    component::{ResourceTable, TypedFunc},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    Error, Result, Shared,
    components::Prepared,
    engine::Engine,
    grants::Grants,
    host::{EXCEPTION_BYTES_MAX, Host, Progress},
    memory::Memory,
    outbox::{Outbox, cut},
};

/// How often somebody looks after a guest that runs: at its log, its time, and whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What belongs to one guest.
pub(crate) struct Data {
    pub(crate) host: Host,
    wasi: WasiCtx,
    resources: ResourceTable,
    memory: Memory,
    /// How long one invocation may run.
    timeout: Duration,
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// See the module.
pub(crate) struct Driver {
    pub(crate) keeper: Keeper,
    path: PathBuf,
    memory_bytes: u64,
    grants: Grants,
    component: Option<Arc<Prepared>>,
    pub(crate) body: Body,
}

/// Looks after guests while they run.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    timeout: Duration,
    pub(crate) outbox: Outbox,
    pub(crate) events: mpsc::Sender<Vec<Event>>,
    pub(crate) progress: Arc<Progress>,
}

/// A guest, or what is left when there is none.
pub(crate) enum Body {
    None(Box<Host>),
    Live(Guest),
    /// While one becomes the other.
    Moving,
}

pub(crate) struct Guest {
    pub(crate) store: Store<Data>,
    pub(crate) exports: Exports,
}

/// What a guest can be called for.
pub(crate) struct Exports {
    run: Option<TypedFunc<(), ()>>,
    run_windows: Option<TypedFunc<(), ()>>,
    pub(crate) run_source: Option<TypedFunc<(), (Result<(), String>,)>>,
}

/// How a call into a guest ended.
enum Ran {
    Returned,
    Broke(String),
    /// Nobody listens any more.
    Unwanted,
}

impl Driver {
    pub(crate) fn new(shared: &Arc<Shared>, spec: InstanceSpec, path: PathBuf, end: LinkEnd) -> Result<Self> {
        let config = &shared.config;
        let function = spec.function;
        let grants = Grants::parse(&function, config)?.with_env(spec.env);
        let timeout = function.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(config.timeout_default);
        let memory_bytes = function.limits.ram_bytes.unwrap_or(config.memory_bytes_default);
        let events = end.events.clone();
        let clock = Arc::clone(&shared.clock);
        let host = Host::new(function, spec.instance_id, spec.secrets, end, clock, config.effects_bytes_max);
        let (outbox, progress) = (host.outbox.clone(), Arc::clone(&host.progress));
        let keeper = Keeper { shared: Arc::clone(shared), timeout, outbox, events, progress };
        Ok(Self { keeper, path, memory_bytes, grants, component: None, body: Body::None(Box::new(host)) })
    }

    /// Serves the link until it ends.
    pub(crate) async fn run(mut self: Box<Self>) {
        let is_source = self.host().function.kind == Kind::Source;
        let served = async {
            match is_source {
                true => Box::pin(self.serve_source()).await,
                false => self.serve().await,
            }
        };
        let exit = match AssertUnwindSafe(served).catch_unwind().await {
            Ok(exit) => exit,
            Err(_) => Exit { is_clean: false, reason: Error::Panicked.to_string() },
        };
        self.keeper.outbox.push(Event::Exited(exit));
        self.keeper.outbox.send(&self.keeper.events).await;
    }

    async fn serve(&mut self) -> Exit {
        loop {
            match self.wait().await {
                Some(windows) => {
                    // An instance that waits is small: what it does is on the heap while it does it.
                    if let Err(error) = Box::pin(self.open()).await {
                        return Exit { is_clean: false, reason: error.to_string() };
                    }
                    if let Some(exit) = Box::pin(self.call(windows)).await {
                        return exit;
                    }
                }
                None => return stopped(),
            }
        }
    }

    /// Waits until there is something to run, and says whether it is a window; `None`: there will be nothing any more.
    async fn wait(&mut self) -> Option<bool> {
        if !self.keeper.outbox.send(&self.keeper.events).await {
            return None;
        }
        let events = self.keeper.events.clone();
        let host = self.host();
        loop {
            if let Some(invocation) = host.queue.front() {
                return Some(matches!(invocation.input, Input::Window(_)));
            }
            let request = tokio::select! {
                biased;
                request = host.link.requests.recv() => request?,
                () = events.closed() => return None,
            };
            host.take(request);
        }
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        match &mut self.body {
            Body::None(host) => host,
            Body::Live(guest) => &mut guest.store.data_mut().host,
            Body::Moving => unreachable!("no call ends with the body moving"),
        }
    }

    /// Makes a guest, unless there is one.
    pub(crate) async fn open(&mut self) -> Result<()> {
        if matches!(self.body, Body::Live(_)) {
            return Ok(());
        }
        let component = self.component().await?;
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(self.keeper.outbox.stdout()).stderr(self.keeper.outbox.stderr());
        self.grants.give(&mut wasi)?;

        let Body::None(host) = std::mem::replace(&mut self.body, Body::Moving) else { return Ok(()) };
        let memory = Memory::new(&self.keeper.shared.memory, self.memory_bytes, &self.keeper.progress);
        let data = Data {
            host: *host,
            wasi: wasi.build(),
            resources: ResourceTable::new(),
            memory,
            timeout: self.keeper.timeout,
        };
        let mut store = Store::new(&self.keeper.shared.engine.wasmtime, data);
        store.limiter(|data| &mut data.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let data = store.data();
            let progress = &data.host.progress;
            progress.ticks.fetch_add(1, Relaxed);
            if progress.ran() > data.timeout {
                match data.host.function.kind {
                    Kind::Source => {
                        wasmtime::bail!("it computed for {:?} without a record and without waiting", data.timeout)
                    }
                    _ => wasmtime::bail!("timed out after {:?}", data.timeout),
                }
            }
            Ok(UpdateDeadline::Yield(1))
        });
        let opened = self.keeper.instantiate(&component, &mut store).await;
        self.body = match opened {
            Ok(exports) => {
                self.body = Body::Live(Guest { store, exports });
                return Ok(());
            }
            Err(_) => Body::None(Box::new(store.into_data().host)),
        };
        opened.map(|_| ())
    }

    async fn component(&mut self) -> Result<Arc<Prepared>> {
        if let Some(component) = &self.component {
            return Ok(Arc::clone(component));
        }
        let (shared, path) = (Arc::clone(&self.keeper.shared), self.path.clone());
        let loaded = tokio::task::spawn_blocking(move || shared.components.load(&path)).await;
        let component = loaded.map_err(|_| Error::Panicked)??;
        self.component = Some(Arc::clone(&component));
        Ok(component)
    }

    /// Calls the guest once; it serves what there is. `Some`: it cannot go on.
    async fn call(&mut self, windows: bool) -> Option<Exit> {
        let begun = self.keeper.progress.begun.load(Relaxed);
        let ran = self.call_guest(windows).await;
        let has_begun = self.keeper.progress.begun.load(Relaxed) > begun;
        let broke = match ran {
            Ran::Returned => {
                self.host().end(Err("the function returned without saying how the message ended".to_owned()));
                if has_begun {
                    self.renew();
                    return None;
                }
                let reason = "`run` returned without having taken a message that was there".to_owned();
                return Some(Exit { is_clean: false, reason });
            }
            Ran::Broke(why) => why,
            Ran::Unwanted => return Some(stopped()),
        };
        // A guest that broke may hold anything; the next one starts from the component again.
        self.discard();
        if self.host().end(Err(broke.clone())) {
            return None;
        }
        if has_begun {
            self.keeper.outbox.log(LogLevel::Error, &format!("the function broke between two messages: {broke}"));
            return None;
        }
        Some(Exit { is_clean: false, reason: broke })
    }

    pub(crate) fn discard(&mut self) {
        if let Body::Live(guest) = std::mem::replace(&mut self.body, Body::Moving) {
            self.body = Body::None(Box::new(guest.store.into_data().host));
        }
    }

    /// Replaces a guest that leaks, between two messages, before one of them has to fail. The bindings of some languages do leak.
    fn renew(&mut self) {
        let Body::Live(guest) = &mut self.body else { return };
        if let Some(leak) = guest.store.data_mut().memory.leak() {
            self.keeper.outbox.log(LogLevel::Info, &leak);
            self.discard();
        }
    }

    async fn call_guest(&mut self, windows: bool) -> Ran {
        let Body::Live(mut guest) = std::mem::replace(&mut self.body, Body::Moving) else {
            unreachable!("a guest was made before")
        };
        let data = guest.store.data_mut();
        data.host.enter(data.memory.is_new());
        let function = if windows { guest.exports.run_windows } else { guest.exports.run };
        let ran = match function {
            Some(function) => {
                let watched = self.keeper.watched(function.call_async(&mut guest.store, ())).await;
                match watched {
                    Watched::Ended(Ok(())) => Ran::Returned,
                    Watched::Ended(Err(error)) => Ran::Broke(self.keeper.explain(&guest.store, &error)),
                    Watched::TimedOut => {
                        Ran::Broke(format!("timed out after {:?}, while it waited", self.keeper.timeout))
                    }
                    Watched::Unwanted => Ran::Unwanted,
                }
            }
            None => {
                let why = if windows { "the component has no `run-windows`" } else { "the component has no `run`" };
                guest.store.data_mut().host.refuse_front(why);
                Ran::Returned
            }
        };
        self.body = Body::Live(guest);
        ran
    }
}

impl Keeper {
    async fn instantiate(&self, component: &Prepared, store: &mut Store<Data>) -> Result<Exports> {
        store.data_mut().host.enter(true);
        let made = self.watched(component.pre.instantiate_async(&mut *store)).await;
        let instance = match made {
            Watched::Ended(Ok(instance)) => instance,
            Watched::Ended(Err(error)) => return Err(Error::Instantiate(self.explain(store, &error))),
            Watched::TimedOut => return Err(Error::Instantiate(format!("timed out after {:?}", self.timeout))),
            Watched::Unwanted => return Err(Error::Instantiate("the instance was stopped".to_owned())),
        };
        let failed = |error: wasmtime::Error| Error::Instantiate(format!("{error:#}"));
        let mut typed = |index: &Option<_>| match index {
            Some(index) => instance.get_typed_func::<(), ()>(&mut *store, index).map(Some),
            None => Ok(None),
        };
        let run = typed(&component.run).map_err(failed)?;
        let run_windows = typed(&component.run_windows).map_err(failed)?;
        let run_source = match &component.run_source {
            Some(index) => Some(instance.get_typed_func(&mut *store, index).map_err(failed)?),
            None => None,
        };
        if let Some(setup) = &component.setup {
            let setup = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, setup).map_err(failed)?;
            let said = self.watched(setup.call_async(&mut *store, ())).await;
            match said {
                Watched::Ended(Ok((Ok(()),))) => {}
                Watched::Ended(Ok((Err(why),))) => return Err(Error::Setup(cut(&why, EXCEPTION_BYTES_MAX).to_owned())),
                Watched::Ended(Err(error)) => return Err(Error::Setup(self.explain(store, &error))),
                Watched::TimedOut => return Err(Error::Setup(format!("timed out after {:?}", self.timeout))),
                Watched::Unwanted => return Err(Error::Setup("the instance was stopped".to_owned())),
            }
        }
        Ok(Exports { run, run_windows, run_source })
    }

    /// Looks after a guest that runs: sends its log, ends it when it waits for too long or nobody wants it any more. That it computes
    /// for too long, the epoch's callback sees.
    async fn watched<T>(&self, guest: impl Future<Output = T>) -> Watched<T> {
        let mut guest = Ticking { engine: &self.shared.engine, inner: pin!(guest) };
        let mut seen = (0, 0);
        let mut waited = Duration::ZERO;
        loop {
            let every = LOOK_EVERY.min(self.timeout);
            tokio::select! {
                biased;
                ended = &mut guest => return Watched::Ended(ended),
                () = self.events.closed() => return Watched::Unwanted,
                () = tokio::time::sleep(every) => {
                    self.outbox.try_send(&self.events);
                    let now = (self.progress.begun.load(Relaxed), self.progress.ticks.load(Relaxed));
                    if now.0 != seen.0 {
                        waited = Duration::ZERO;
                    } else if now.1 == seen.1 {
                        waited += every;
                    }
                    seen = now;
                    if waited + self.progress.ran() > self.timeout + every {
                        return Watched::TimedOut;
                    }
                }
            }
        }
    }

    /// What went wrong, as the one who wrote the function can use it: why, what it wrote to stderr, where it was.
    pub(crate) fn explain(&self, store: &Store<Data>, error: &wasmtime::Error) -> String {
        let mut text = match store.data().memory.denied() {
            Some(denied) => format!("{denied} ({})", error.root_cause()),
            None => error.root_cause().to_string(),
        };
        let tail = self.outbox.take_tail();
        // Rust's advice is of no use here: nobody can set that variable, and the backtrace follows.
        let lines: Vec<_> = tail.lines().filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE")).collect();
        let tail = lines.join("\n");
        if !tail.trim().is_empty() {
            text = format!("{}\n{text}", tail.trim());
        }
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            text = format!("{text}\n{}", backtrace.to_string().trim_end());
        }
        text
    }
}

/// As it was asked to.
pub(crate) fn stopped() -> Exit {
    Exit { is_clean: true, reason: "the instance was stopped".to_owned() }
}

enum Watched<T> {
    Ended(T),
    TimedOut,
    Unwanted,
}

/// Epochs pass while the guest has a thread.
pub(crate) struct Ticking<'a, F> {
    pub(crate) engine: &'a Engine,
    pub(crate) inner: Pin<&'a mut F>,
}

impl<F: Future> Future for Ticking<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _running = self.engine.running();
        self.inner.as_mut().poll(context)
    }
}
