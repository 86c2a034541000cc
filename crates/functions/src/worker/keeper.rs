//! Keeps what runs of one function equal to what is wanted, whatever happens to either.
//!
//! One task for each function compares the two and takes one step after the other, until there is none; then it waits for another wish,
//! for an instance that panics, or until it is time to try again what failed. A panic stays within its instance: that one is started
//! again, later each time, and its status says so. Instances that are too many finish what they have in hand beside all that, so that
//! others can start meanwhile.

use seams::{Shutdown, Tasks};
use std::{
    collections::BTreeMap, future::Future, panic::AssertUnwindSafe, path::PathBuf, pin::pin, sync::Arc, time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    plan::{Made, Step, Wanted},
    running::{Running, Starter},
    vault::{Apart, Vault},
};
use crate::{
    FunctionSpec,
    instance::{Line, Meter, Status},
    runtime::InstanceSpec,
    spec::Limits,
};

/// How long an instance that is stopped may take for what it has in hand.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Beyond that, it is given up.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long one that is too many may take for what it has in hand: what it leaves, another one begins anew. Kubernetes:
/// `terminationGracePeriodSeconds`.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// And beyond that, until it is given up.
const DRAIN_DEADLINE: Duration = Duration::from_secs(35);
/// Waiting times after something failed: the first, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);
/// Waits between looks whether an instance that was replaced has come up: the first, doubled each time, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Code that is not ready after this long lets others have its turn to start.
const TURN: Duration = Duration::from_secs(2);

/// What every keeper needs of its worker.
pub(super) struct Around {
    pub(super) starter: Arc<dyn Starter>,
    pub(super) secrets: Arc<Vault>,
    /// Where instances have their directories.
    pub(super) work_dir: PathBuf,
    /// How many functions may be starting at once.
    pub(super) starts: Semaphore,
}

impl Around {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, String> {
        // Only closing closes it, and nobody does.
        self.starts.acquire().await.map_err(|error| error.to_string())
    }
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
    running: parking_lot::Mutex<BTreeMap<u32, Box<Kept>>>,
    /// Those that finish what they have in hand.
    going: parking_lot::Mutex<BTreeMap<u32, Meter>>,
    /// How many both are.
    live: watch::Sender<usize>,
    /// Why nothing of it can start.
    failure: parking_lot::Mutex<Option<String>>,
}

/// An instance, or the place of one that panicked.
struct Kept {
    made: Made,
    /// What it was started to be expected to use.
    requests: Limits,
    instance: Option<Box<dyn Running>>,
    /// Triggered when a task of the instance panics.
    panicked: Shutdown,
    panics: u32,
    /// Why it is not there.
    failure: Option<String>,
    retry_at: Option<tokio::time::Instant>,
}

impl Keeper {
    /// `skips`: a function that wants that skips what came while nothing of it ran.
    pub(super) fn start(around: Arc<Around>, wanted: Wanted, skips: bool) -> Self {
        let (sender, receiver) = watch::channel(Some(wanted));
        let state = Arc::new(State::default());
        let work = keep(around, receiver, state.clone(), skips);
        Self { wanted: sender, state, task: parking_lot::Mutex::new(Some(tokio::spawn(work))) }
    }

    /// Wants something else; after it was closed, nothing.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let is_open = now.is_some();
            if is_open {
                *now = Some(wanted);
            }
            is_open
        });
    }

    /// What instances are made of; `None` once it was closed.
    pub(super) fn spec(&self) -> Option<Arc<FunctionSpec>> {
        self.wanted.borrow().as_ref().map(|wanted| wanted.spec.clone())
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

    /// What instances do with their time: those that run or start, and those that are going.
    pub(super) fn meters(&self) -> (Vec<(u32, Meter)>, Vec<(u32, Meter)>) {
        let running = self.state.running.lock();
        let running = running.iter().filter_map(|(id, kept)| Some((*id, kept.instance.as_ref()?.meter()))).collect();
        let going = self.state.going.lock().iter().map(|(id, meter)| (*id, meter.clone())).collect();
        (running, going)
    }

    /// What runs or starts: its number, what it was started to be expected to use, and what it does.
    pub(super) fn running(&self) -> Vec<(u32, Limits, Meter)> {
        let running = self.state.running.lock();
        running.iter().filter_map(|(id, kept)| Some((*id, kept.requests, kept.instance.as_ref()?.meter()))).collect()
    }

    /// By instance, the last value of each metric that its code records.
    pub(super) fn user_metrics(&self) -> BTreeMap<u32, BTreeMap<String, f64>> {
        let ids: Vec<u32> = self.state.running.lock().keys().copied().collect();
        let last = |id: u32| {
            let metrics = self.status(id).user_metrics;
            metrics.into_iter().map(|(name, metric)| (name, metric.last)).collect()
        };
        ids.into_iter().map(|id| (id, last(id))).collect()
    }

    /// Instances that are up.
    pub(super) fn up(&self) -> usize {
        self.state.running.lock().values().filter(|kept| kept.is_up()).count()
    }

    /// How many instances there are, those that start or go too.
    pub(super) fn live(&self) -> watch::Receiver<usize> {
        self.state.live.subscribe()
    }

    /// All that should run do, as they should be, and nothing else does.
    pub(super) fn is_settled(&self) -> bool {
        let Some(wanted) = self.wanted.borrow().clone() else { return false };
        let running = self.state.running.lock();
        running.len() == wanted.runs()
            && running.iter().all(|(id, kept)| wanted.made(*id) == Some(kept.made) && kept.is_up())
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
async fn keep(around: Arc<Around>, mut wanted: watch::Receiver<Option<Wanted>>, state: Arc<State>, mut skips: bool) {
    let mut prepared = None;
    let mut failures = 0;
    let mut look = LOOKS.0;
    let (mut drains, hurry) = (JoinSet::new(), Shutdown::new());
    loop {
        let now = wanted.borrow_and_update().clone();
        let Some(now) = now else { break };
        let next = {
            let running = state.running.lock();
            let made = running.iter().map(|(id, kept)| (*id, kept.made)).collect();
            let going = state.going.lock().keys().copied().collect();
            now.next(&made, &going, |id| running.get(&id).is_some_and(|kept| kept.is_up()))
        };
        state.share(&now);
        // Who was stopped missed something on purpose; who sleeps is woken by what came.
        skips = (skips || now.is_stopped()) && !now.instances.is_empty();
        let result = match next {
            Some(Step::Stop(ids)) => {
                state.let_go(&ids, &mut drains, &hurry);
                Ok(true)
            }
            // What this takes is given back: most functions stay as they are for long.
            // Prepared before the old one goes, so that there is no gap, and none at all when the new code is no good.
            Some(step @ (Step::Start(_) | Step::Replace(_))) => {
                match Box::pin(prepare(&around, &now, &mut prepared, &wanted)).await {
                    Ok(true) => Box::pin(begin(&around, &state, &now, step, &mut skips)).await.map(|()| true),
                    Ok(false) => continue,
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
            Some(gone) = drains.join_next() => state.gone(gone),
            () = async {
                match retry {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
    hurry.trigger();
    let all = state.running.lock().keys().copied().collect();
    Box::pin(stop(&state, all)).await;
    while let Some(gone) = drains.join_next().await {
        state.gone(gone);
    }
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

    fn is_empty(&self) -> bool {
        self.running.lock().is_empty() && self.going.lock().is_empty()
    }

    fn count(&self) {
        let live = self.running.lock().len() + self.going.lock().len();
        self.live.send_if_modified(|before| std::mem::replace(before, live) != live);
    }

    /// Instances that share what there is to do: those that are wanted, and those that have not ended; where they divide things among
    /// them, those that are wanted alone.
    fn sharing(&self, wanted: &Wanted) -> u32 {
        let highest = |ids: Option<&u32>| ids.map_or(0, |id| id + 1);
        let running = highest(self.running.lock().keys().next_back());
        let going = highest(self.going.lock().keys().next_back());
        wanted.told(u32::try_from(wanted.instances.len()).unwrap_or(u32::MAX).max(running).max(going))
    }

    /// Tells those that run how many they are.
    fn share(&self, wanted: &Wanted) {
        let all = self.sharing(wanted);
        for kept in self.running.lock().values() {
            if let Some(instance) = &kept.instance {
                instance.share(all);
            }
        }
    }

    /// Lets instances finish what they have in hand.
    fn let_go(&self, ids: &[u32], drains: &mut JoinSet<u32>, hurry: &Shutdown) {
        {
            let (mut running, mut going) = (self.running.lock(), self.going.lock());
            for id in ids {
                let Some(instance) = running.remove(id).and_then(|kept| kept.instance) else { continue };
                going.insert(*id, instance.meter());
                let (id, hurry) = (*id, hurry.clone());
                drains.spawn(async move {
                    drain(instance, hurry).await;
                    id
                });
            }
        }
        self.count();
    }

    fn gone(&self, id: Result<u32, tokio::task::JoinError>) {
        // What can panic in it is in a task of its own.
        if let Ok(id) = id {
            self.going.lock().remove(&id);
        }
        self.count();
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

/// Makes sure that the code is ready to run; `false` when it is not, because other code is wanted now, or none.
async fn prepare(
    around: &Arc<Around>,
    wanted: &Wanted,
    prepared: &mut Option<u64>,
    wishes: &watch::Receiver<Option<Wanted>>,
) -> Result<bool, String> {
    let version = wanted.spec.version;
    if *prepared == Some(version) {
        return Ok(true);
    }
    let mut wishes = wishes.clone();
    let other = wishes.wait_for(|wish| wish.as_ref().is_none_or(|wish| wish.spec.version != version));
    tokio::select! {
        result = in_turn(around, wanted.spec.clone()) => {
            result?;
            *prepared = Some(version);
            Ok(true)
        }
        changed = other => changed.map(|_| false).map_err(|_| "it was given up".to_owned()),
    }
}

/// Prepares code when it is its turn; what takes long, such as an installation, lets others pass.
async fn in_turn(around: &Arc<Around>, spec: Arc<FunctionSpec>) -> Result<(), String> {
    let turn = around.turn().await?;
    let mut preparing = pin!(prepared(around, spec));
    match tokio::time::timeout(TURN, &mut preparing).await {
        Ok(result) => result,
        Err(_) => {
            drop(turn);
            preparing.await
        }
    }
}

/// Prepares code. Dropped while it waits, this gives the preparation up.
pub(super) async fn prepared(around: &Arc<Around>, spec: Arc<FunctionSpec>) -> Result<(), String> {
    let starter = around.starter.clone();
    // A task of its own, so that a panic ends there; of a set, which ends its tasks when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(async move { starter.prepare(&spec).await });
    let result = task.join_next().await.unwrap_or(Ok(Ok(())));
    result.unwrap_or_else(|error| Err(format!("preparing the code failed: {error}")))
}

/// Takes a step for which the code is ready.
///
/// An instance that starts while others run skips nothing, and neither does one that died.
async fn begin(
    around: &Arc<Around>,
    state: &State,
    wanted: &Wanted,
    step: Step,
    skips: &mut bool,
) -> Result<(), String> {
    let ids = match step {
        Step::Start(ids) => ids,
        Step::Replace(id) => {
            stop(state, vec![id]).await;
            *skips = true;
            vec![id]
        }
        Step::Stop(_) => return Ok(()),
    };
    let _turn = around.turn().await?;
    if *skips && wanted.spec.skip_to_latest && state.is_empty() {
        around.starter.skip(&wanted.spec).await?;
    }
    *skips = false;
    for id in ids {
        let Some(made) = wanted.made(id) else { continue };
        let mut kept = Kept {
            made,
            requests: wanted.spec.requests,
            instance: None,
            panicked: Shutdown::new(),
            panics: 0,
            failure: None,
            retry_at: None,
        };
        revive_one(around, state.sharing(wanted), wanted, id, &mut kept)?;
        state.running.lock().insert(id, Box::new(kept));
    }
    state.count();
    Ok(())
}

/// Starts instances again that are due.
fn revive(around: &Arc<Around>, state: &State, wanted: &Wanted) {
    let (now, sharing) = (tokio::time::Instant::now(), state.sharing(wanted));
    for (id, kept) in state.running.lock().iter_mut() {
        if kept.retry_at.is_some_and(|at| at <= now)
            && let Err(why) = revive_one(around, sharing, wanted, *id, kept)
        {
            kept.fail(why);
        }
    }
}

fn revive_one(around: &Arc<Around>, sharing: u32, wanted: &Wanted, id: u32, kept: &mut Kept) -> Result<(), String> {
    let spec = &wanted.spec;
    let work_dir = super::work_dir(&around.work_dir, spec).join(id.to_string());
    seams::make_dir(&work_dir).map_err(|error| format!("make {}: {error}", work_dir.display()))?;
    let Apart { secrets, env } = around.secrets.resolve(spec)?;
    let mut function = spec.clone();
    if function.parallelism != sharing {
        Arc::make_mut(&mut function).parallelism = sharing;
    }
    let instance = InstanceSpec { function, instance_id: id, secrets, env, work_dir };
    let panicked = Shutdown::new();
    let tasks = Tasks::new(panicked.clone());
    let started = std::panic::catch_unwind(AssertUnwindSafe(|| around.starter.start(instance, &tasks)));
    kept.instance = Some(started.unwrap_or_else(|_| Err("the instance panicked at its start".to_owned()))?);
    if let Some(made) = wanted.made(id) {
        kept.made = made;
    }
    kept.requests = spec.requests;
    kept.panicked = panicked;
    kept.failure = None;
    kept.retry_at = None;
    Ok(())
}

/// Lets one instance finish; sooner, when all is to end.
async fn drain(instance: Box<dyn Running>, hurry: Shutdown) {
    let mut task = tokio::spawn(instance.stop(DRAIN_PATIENCE));
    let hurried = async {
        hurry.triggered().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        _ = &mut task => return,
        () = hurried => {}
        () = tokio::time::sleep(DRAIN_DEADLINE) => tracing::warn!("an instance did not finish in time and is given up"),
    }
    task.abort();
    let _ = task.await;
}

/// Stops instances together; one that does not end is given up.
async fn stop(state: &State, ids: Vec<u32>) {
    let gone: Vec<_> = {
        let mut running = state.running.lock();
        ids.iter().filter_map(|id| running.remove(id)).collect()
    };
    state.count();
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
