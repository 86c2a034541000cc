//! Keeps what runs of one function equal to what is wanted, whatever happens to either.
//!
//! One task for each function compares the two and takes one step after the other, until there is none; then it waits for another wish,
//! for an instance that panics, or until it is time to try again what failed. A panic stays within its instance: that one is started
//! again, later each time, and its status says so.

use seams::{Shutdown, Tasks};
use std::{collections::BTreeMap, future::Future, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use super::{
    plan::{Made, Step, Wanted},
    running::{Running, Starter},
    vault::Vault,
};
use crate::{
    instance::{Line, Status},
    runtime::InstanceSpec,
};

/// How long an instance that is stopped may take for what it has in hand.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Beyond that, it is given up.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Waiting times after something failed: the first, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);
/// Waits between looks whether an instance that was replaced has come up: the first, doubled each time, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What every keeper needs of its worker.
pub(super) struct Around {
    pub(super) starter: Arc<dyn Starter>,
    pub(super) secrets: Arc<Vault>,
    /// Where instances have their directories.
    pub(super) work_dir: PathBuf,
    /// How many functions may be starting at once.
    pub(super) starts: Semaphore,
}

/// A function's keeper, as others see it. Dropped, it stops the instances as well as it can.
pub(super) struct Keeper {
    wanted: watch::Sender<Option<Wanted>>,
    state: Arc<State>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

/// What runs, for those who ask.
#[derive(Default)]
struct State {
    running: parking_lot::Mutex<BTreeMap<u32, Kept>>,
    /// Why nothing of it can start.
    failure: parking_lot::Mutex<Option<String>>,
}

/// An instance, or the place of one that panicked.
struct Kept {
    made: Made,
    instance: Option<Box<dyn Running>>,
    /// Triggered when a task of the instance panics.
    panicked: Shutdown,
    panics: u32,
    /// Why it is not there.
    failure: Option<String>,
    retry_at: Option<tokio::time::Instant>,
}

impl Keeper {
    pub(super) fn start(around: Arc<Around>, wanted: Wanted) -> Self {
        let (sender, receiver) = watch::channel(Some(wanted));
        let state = Arc::new(State::default());
        let work = keep(around, receiver, state.clone());
        Self { wanted: sender, state, task: parking_lot::Mutex::new(Some(tokio::spawn(work))) }
    }

    /// Wants something else.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(Some(wanted));
    }

    /// Stops all instances, and returns when they have ended.
    pub(super) async fn close(&self) {
        self.wanted.send_replace(None);
        let task = self.task.lock().take();
        if let Some(task) = task {
            // It contains what panics, so it ends.
            let _ = task.await;
        }
    }

    /// Lines an instance logged, those numbered `from` and later.
    pub(super) fn lines(&self, id: u32, from: u64) -> Vec<Line> {
        let running = self.state.running.lock();
        let instance = running.get(&id).and_then(|kept| kept.instance.as_ref());
        instance.map(|instance| instance.lines(from)).unwrap_or_default()
    }

    /// How an instance does; what is not running says why, if something went wrong.
    pub(super) fn status(&self, id: u32) -> Status {
        let running = self.state.running.lock();
        let kept = running.get(&id);
        let mut status = match kept.and_then(|kept| kept.instance.as_ref()) {
            Some(instance) => std::panic::catch_unwind(AssertUnwindSafe(|| instance.status())).unwrap_or_default(),
            None => Status::default(),
        };
        if let Some(kept) = kept {
            status.restarts += u64::from(kept.panics);
            if let Some(failure) = &kept.failure {
                status.error.clone_from(failure);
            }
        } else if let Some(failure) = &*self.state.failure.lock() {
            status.error.clone_from(failure);
        }
        status
    }
}

/// The task. `None` is wanted when the function is to end.
async fn keep(around: Arc<Around>, mut wanted: watch::Receiver<Option<Wanted>>, state: Arc<State>) {
    let mut prepared = None;
    let mut failures = 0;
    let mut look = LOOKS.0;
    loop {
        let now = wanted.borrow_and_update().clone();
        let Some(now) = now else { break };
        let next = {
            let running = state.running.lock();
            let made = running.iter().map(|(id, kept)| (*id, kept.made)).collect();
            now.next(&made, |id| running.get(&id).is_some_and(Kept::is_up))
        };
        let result = match next {
            Some(Step::Stop(ids)) => {
                stop(&state, ids).await;
                Ok(true)
            }
            Some(Step::Start(ids)) => start(&around, &state, &now, &mut prepared, &ids).await.map(|()| true),
            Some(Step::Replace(id)) => {
                // Prepared before the old one goes, so that there is no gap, and none at all when the new code is no good.
                match prepare(&around, &now, &mut prepared).await {
                    Ok(()) => {
                        stop(&state, vec![id]).await;
                        start(&around, &state, &now, &mut prepared, &[id]).await.map(|()| true)
                    }
                    Err(error) => Err(error),
                }
            }
            None => {
                revive(&around, &state, &now);
                Ok(false)
            }
        };
        let retry = match result {
            Ok(goes_on) => {
                failures = 0;
                *state.failure.lock() = None;
                if goes_on {
                    look = LOOKS.0;
                    continue;
                }
                state.next_look(&now, &mut look)
            }
            Err(error) => {
                tracing::warn!(function = now.spec.fqfn(), error, "a function does not start");
                *state.failure.lock() = Some(error);
                failures += 1;
                Some(backoff(failures))
            }
        };
        let panicked = state.panicked();
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            () = panicked => state.bury(),
            () = async {
                match retry {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
    let all = state.running.lock().keys().copied().collect();
    stop(&state, all).await;
}

/// Time until the next try.
fn backoff(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY_LAST)
}

impl Kept {
    fn is_up(&self) -> bool {
        let status = |instance: &dyn Running| instance.status().running;
        self.instance
            .as_ref()
            .is_some_and(|one| std::panic::catch_unwind(AssertUnwindSafe(|| status(&**one))).unwrap_or(false))
    }

    fn fail(&mut self, why: String) {
        self.instance = None;
        self.panics += 1;
        self.failure = Some(why);
        self.retry_at = Some(tokio::time::Instant::now() + backoff(self.panics));
    }
}

impl State {
    /// Resolves when some instance panics.
    fn panicked(&self) -> impl Future<Output = ()> + use<> {
        let watched: Vec<_> = {
            let running = self.running.lock();
            running.values().filter(|kept| kept.instance.is_some()).map(|kept| kept.panicked.clone()).collect()
        };
        async move {
            if watched.is_empty() {
                return std::future::pending().await;
            }
            let all = watched.iter().map(|one| Box::pin(one.triggered()));
            futures::future::select_all(all).await;
        }
    }

    /// Takes instances that panicked out of service.
    fn bury(&self) {
        for (id, kept) in self.running.lock().iter_mut() {
            if kept.instance.is_some() && kept.panicked.is_triggered() {
                tracing::error!(instance = id, "an instance panicked and is started again");
                kept.fail("the instance failed because of a defect in Geminga; the log has more".to_owned());
            }
        }
    }

    /// When something is to be done that nobody tells.
    fn next_look(&self, wanted: &Wanted, look: &mut Duration) -> Option<Duration> {
        let running = self.running.lock();
        let now = tokio::time::Instant::now();
        let retry = running.values().filter_map(|kept| kept.retry_at).min().map(|at| at - now);
        let rolls = running.iter().any(|(id, kept)| wanted.made(*id) != Some(kept.made));
        if !rolls {
            return retry;
        }
        let wait = *look;
        *look = (wait * 2).min(LOOKS.1);
        Some(retry.map_or(wait, |retry| retry.min(wait)))
    }
}

/// Makes sure that the code is ready to run.
async fn prepare(around: &Arc<Around>, wanted: &Wanted, prepared: &mut Option<u64>) -> Result<(), String> {
    if *prepared == Some(wanted.spec.version) {
        return Ok(());
    }
    let (starter, spec) = (around.starter.clone(), wanted.spec.clone());
    // A task of its own, so that a panic ends there.
    let result = tokio::spawn(async move { starter.prepare(&spec).await }).await;
    result.unwrap_or_else(|error| Err(format!("preparing the code failed: {error}")))?;
    *prepared = Some(wanted.spec.version);
    Ok(())
}

async fn start(
    around: &Arc<Around>,
    state: &State,
    wanted: &Wanted,
    prepared: &mut Option<u64>,
    ids: &[u32],
) -> Result<(), String> {
    // Only closing closes it, and nobody does.
    let _turn = around.starts.acquire().await.map_err(|error| error.to_string())?;
    prepare(around, wanted, prepared).await?;
    for id in ids {
        let Some(made) = wanted.made(*id) else { continue };
        let mut kept =
            Kept { made, instance: None, panicked: Shutdown::new(), panics: 0, failure: None, retry_at: None };
        revive_one(around, wanted, *id, &mut kept)?;
        state.running.lock().insert(*id, kept);
    }
    Ok(())
}

/// Starts instances again that are due.
fn revive(around: &Arc<Around>, state: &State, wanted: &Wanted) {
    let now = tokio::time::Instant::now();
    for (id, kept) in state.running.lock().iter_mut() {
        if kept.retry_at.is_some_and(|at| at <= now)
            && let Err(why) = revive_one(around, wanted, *id, kept)
        {
            kept.fail(why);
        }
    }
}

fn revive_one(around: &Arc<Around>, wanted: &Wanted, id: u32, kept: &mut Kept) -> Result<(), String> {
    let spec = &wanted.spec;
    let work_dir = super::work_dir(&around.work_dir, spec).join(id.to_string());
    seams::make_dir(&work_dir).map_err(|error| format!("make {}: {error}", work_dir.display()))?;
    let secrets = around.secrets.resolve(spec)?;
    let instance = InstanceSpec { function: spec.clone(), instance_id: id, secrets, work_dir };
    let panicked = Shutdown::new();
    let tasks = Tasks::new(panicked.clone());
    let started = std::panic::catch_unwind(AssertUnwindSafe(|| around.starter.start(instance, &tasks)));
    kept.instance = Some(started.unwrap_or_else(|_| Err("the instance panicked at its start".to_owned()))?);
    if let Some(made) = wanted.made(id) {
        kept.made = made;
    }
    kept.panicked = panicked;
    kept.failure = None;
    kept.retry_at = None;
    Ok(())
}

/// Stops instances together; one that does not end is given up.
async fn stop(state: &State, ids: Vec<u32>) {
    let gone: Vec<Kept> = {
        let mut running = state.running.lock();
        ids.iter().filter_map(|id| running.remove(id)).collect()
    };
    let stopping = gone.into_iter().filter_map(|kept| kept.instance).map(|instance| {
        let task = tokio::spawn(instance.stop(STOP_PATIENCE));
        async move {
            let abort = task.abort_handle();
            if tokio::time::timeout(STOP_DEADLINE, task).await.is_err() {
                tracing::warn!("an instance did not stop in time and is given up");
                abort.abort();
            }
        }
    });
    futures::future::join_all(stopping).await;
}
