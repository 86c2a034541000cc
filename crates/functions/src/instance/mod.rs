//! One running instance of a function: receives, invokes, publishes, acknowledges; starts user code again when it dies.

mod demand;
mod in_hand;
mod inputs;
mod meter;
mod once;
mod outputs;
mod owed;
mod pace;
mod records;
mod refused;
mod run;
mod state;
mod stats;
mod unacked;
mod watch;
mod window;

pub(crate) use meter::Moved;
pub use meter::{Load, Meter};
pub use once::{can_be_once, entry_number};
pub use records::{INPUT_MESSAGE_ID, INPUT_TOPIC, serialized};
pub use stats::{Counts, Exception, Latency, Line, Status, UserMetric};

use parking_lot::Mutex;
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

use crate::{
    error::{Error, Result},
    event_log::{EventLog, Tables},
    runtime::{InstanceSpec, Runtime, Usage},
    spec::FunctionSpec,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use inputs::Looked;
use run::{End, Run};

/// Waits between starts of code that does not stay up: the first, doubled each time, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// Code that was up for this long has recovered.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// What an instance is made of.
#[derive(Clone)]
pub struct Parts {
    /// Where events come from and go to.
    pub log: Arc<dyn EventLog>,
    /// Where state is.
    pub tables: Arc<dyn Tables>,
    /// What runs the code.
    pub runtime: Arc<dyn Runtime>,
    /// The time.
    pub clock: Arc<dyn seams::Clock>,
}

/// An instance; dropped, it stops without finishing what it has in hand, which then comes again.
pub struct Instance {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
}

/// An instance as those see it who only ask; it lasts longer than the instance itself. Cheap to clone.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
}

impl View {
    /// The lines user code logged, those numbered `from` and later; a thousand are kept.
    #[must_use]
    pub fn lines(&self, from: u64) -> Vec<Line> {
        self.shared.lines.lock().since(from)
    }

    /// How the instance does, or did at its end.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.lock().clone()
    }
}

/// What the supervisor and those who ask share.
#[derive(Default)]
struct Shared {
    status: Mutex<Status>,
    lines: Mutex<stats::Lines>,
    meter: Meter,
    /// How many instances share what there is to do.
    parallelism: AtomicU32,
    others_changed: Notify,
    /// Finish and stop.
    stop: Arc<Notify>,
    is_stopping: AtomicBool,
    /// How long finishing may take.
    stop_within_ms: AtomicU64,
    /// Stop now.
    abandon: Notify,
    /// Commits of runs that were given up.
    left: Mutex<FuturesUnordered<BoxFuture<'static, ()>>>,
}

impl Shared {
    fn is_running(&self, now: Duration, usage: Option<Arc<dyn Usage>>) {
        self.meter.ready(now, usage);
        let mut status = self.status.lock();
        status.running = true;
        status.error.clear();
    }

    /// Waits until nothing more comes of runs that were given up.
    async fn left(&self) {
        // None is lost where this is given up, too.
        let next = || std::future::poll_fn(|context| self.left.lock().poll_next_unpin(context));
        while next().await.is_some() {}
    }
}

impl Instance {
    /// Starts an instance as a task of `tasks`. It is there at once; whether it runs, its status says.
    #[must_use]
    pub fn start(parts: Parts, spec: InstanceSpec, tasks: &seams::Tasks) -> Self {
        let shared = Arc::new(Shared {
            meter: Meter::new(parts.clock.monotonic()),
            parallelism: spec.function.parallelism.into(),
            ..Shared::default()
        });
        shared.status.lock().roll(parts.clock.now_ms());
        let (ends, ended) = oneshot::channel();
        let name = format!("function {} instance {}", spec.function.fqfn(), spec.instance_id);
        let supervised = shared.clone();
        tasks.spawn(name, async move {
            tokio::select! {
                () = supervise(&parts, &spec, &supervised) => {}
                () = supervised.abandon.notified() => {}
            }
            supervised.status.lock().running = false;
            supervised.meter.ended(parts.clock.monotonic());
            // Who comes next reads what these write.
            supervised.left().await;
            let _ = ends.send(());
        });
        Self { shared, ended }
    }

    /// For others who ask how it does.
    #[must_use]
    pub fn view(&self) -> View {
        View { shared: self.shared.clone() }
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.lock().clone()
    }

    /// What it does with its time.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.shared.meter.clone()
    }

    /// Tells it how many instances share what there is to do; those of this number and higher have ended.
    pub fn share(&self, parallelism: u32) {
        if self.shared.parallelism.swap(parallelism, SeqCst) > parallelism {
            self.shared.others_changed.notify_one();
        }
    }

    /// The lines user code logged, those numbered `from` and later; a thousand are kept.
    #[must_use]
    pub fn lines(&self, from: u64) -> Vec<Line> {
        self.shared.lines.lock().since(from)
    }

    /// Finishes what is in hand (for at most `patience`), commits it and ends the code; what is left goes to other instances.
    pub async fn stop(mut self, patience: Duration) {
        let within_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.shared.stop_within_ms.store(within_ms, SeqCst);
        self.shared.is_stopping.store(true, SeqCst);
        self.shared.stop.notify_one();
        if tokio::time::timeout(patience, &mut self.ended).await.is_err() {
            self.shared.abandon.notify_one();
            let _ = (&mut self.ended).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.shared.abandon.notify_one();
    }
}

/// Makes the subscriptions of a function, where they are not there; `skips`: they begin after what is there now, for a function that
/// wants that and of which nothing runs.
///
/// # Errors
/// The broker refuses one.
pub async fn subscribe(log: &Arc<dyn EventLog>, function: FunctionSpec, skips: bool) -> Result<()> {
    let mut session = log.session(&format!("{} begins", function.fqfn())).await?;
    // What a pattern asks for and cannot be read, the instances tell.
    inputs::Inputs::of_all(log.clone(), Arc::new(function), skips).open(&mut session, &mut Looked::default()).await
}

/// Runs user code again and again until it is asked to stop.
async fn supervise(parts: &Parts, spec: &InstanceSpec, shared: &Arc<Shared>) {
    let mut back_off = BACK_OFF.0;
    loop {
        let began = parts.clock.monotonic();
        // A bug in the loop is this instance's problem, not the broker's.
        let ended = AssertUnwindSafe(run_once(parts, spec, shared)).catch_unwind().await;
        let ended = ended.unwrap_or_else(|_| Err(Error::Closed("the instance panicked; this is a bug".into())));
        shared.left().await;
        let (reason, is_users) = match ended {
            Ok(End::Stopped) => return,
            Ok(End::Exited(exit)) if exit.is_clean => ("user code has ended".to_owned() + &after(&exit.reason), true),
            Ok(End::Exited(exit)) => (exit.reason, true),
            Ok(End::Failed(error)) | Err(error) => (error.to_string(), matches!(error, Error::Start(_))),
        };
        if shared.is_stopping.load(SeqCst) {
            return;
        }
        tracing::warn!(function = spec.function.fqfn(), instance = spec.instance_id, reason, "instance starts again");
        if parts.clock.monotonic().saturating_sub(began) > RECOVERED_AFTER {
            back_off = BACK_OFF.0;
        }
        shared.meter.ended(parts.clock.monotonic());
        {
            let mut status = shared.status.lock();
            status.running = false;
            status.restarts += 1;
            status.error.clone_from(&reason);
            if !is_users {
                status.system_exception(&reason, parts.clock.now_ms());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(back_off) => {}
            () = shared.stop.notified() => return,
        }
        back_off = (back_off * 2).min(BACK_OFF.1);
    }
}

fn after(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

async fn run_once(parts: &Parts, spec: &InstanceSpec, shared: &Arc<Shared>) -> Result<End> {
    if parts.runtime.is_self_driven(&spec.function) {
        let link = parts.runtime.start(spec.clone()).await?;
        shared.is_running(parts.clock.monotonic(), link.usage.clone());
        return Ok(watch::watch(&*parts.clock, shared, link).await);
    }
    // Before the code: it is not started for a broker that is away.
    let session = parts.log.session(&format!("{}-{}", spec.function.fqfn(), spec.instance_id)).await?;
    if !session.is_atomic() {
        can_be_once(&spec.function)?;
    }
    let link = parts.runtime.start(spec.clone()).await?;
    let usage = link.usage.clone();
    // What opening takes is given back: most instances wait for most of their lives.
    let run = Box::new(Box::pin(Run::open(parts.clone(), spec, shared.clone(), link, session)).await?);
    shared.is_running(parts.clock.monotonic(), usage);
    Ok(run.run(&shared.stop).await)
}

#[cfg(test)]
mod tests;
