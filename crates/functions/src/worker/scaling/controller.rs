//! The one task that looks at all that scales, asks what it should be, and has it done.
//!
//! It hears of a function when its row changes. It has a timer while some function is awake and has rules; of those that sleep each waits
//! for the broker's push.

use autoscale::{Controller, Reason, Sample, Spec, vpa};
use futures::future::join_all;
use parking_lot::Mutex;
use seams::Shutdown;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Event, Phase, edges,
    events::Events,
    learnt::{self, Learnt, SAVE_EVERY, Saved},
    look::{Facts, Seen, wants_metrics},
    size::{Advice, Sizer, shown},
};
use crate::{
    Error, EventLog, FunctionSpec, Tables,
    event_log::{InputStats, Reads},
    worker::{Function, Name, Shared, Worker},
};

/// How soon one that joins or wakes is looked at: what follows at once is looked at with it.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Between two looks at least, whatever a policy says.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// Time between two looks, in times of what one took to find out how everything does; and in periods at most.
const REST: u32 = 50;
const STRETCH_MAX: u32 = 4;
/// How long a broker may take to say what waits for all, and then, asked again for each on its own, for one.
const INPUTS_PATIENCE: Duration = Duration::from_secs(5);
const INPUT_PATIENCE: Duration = Duration::from_secs(1);
/// Waits after a push that could not be had: the first, doubled each time, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the end may take: a look that is under way, and writing what was learnt.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What the task shares with everyone else.
#[derive(Default)]
pub(in crate::worker) struct Scaler {
    inbox: Arc<Inbox>,
    pub(super) events: Mutex<Events>,
    pub(super) recommended: Mutex<BTreeMap<Name, vpa::Recommendation>>,
    /// As it is in the tables.
    learnt: Mutex<Saved>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Inbox {
    /// What has changed.
    touched: Mutex<BTreeSet<Name>>,
    changed: Notify,
    stop: Shutdown,
}

impl Scaler {
    /// With what was learnt before.
    pub(in crate::worker) async fn open(tables: &dyn Tables) -> crate::Result<Self> {
        let (scaler, saved) = (Self::default(), learnt::read(tables).await?);
        *scaler.learnt.lock() = saved;
        Ok(scaler)
    }

    /// Begins to scale what the worker has.
    pub(in crate::worker) fn start(&self, worker: &Worker) {
        *self.task.lock() = Some(tokio::spawn(run(worker)));
    }

    /// Something about this one has changed.
    pub(in crate::worker) fn touch(&self, name: &Name) {
        self.inbox.touched.lock().insert(name.clone());
        self.inbox.changed.notify_one();
    }

    /// It is there no longer.
    pub(in crate::worker) fn forget(&self, name: &Name) {
        self.events.lock().forget(name);
        self.recommended.lock().remove(name);
        self.touch(name);
    }

    /// Nothing scales any more; what was learnt is written.
    pub(in crate::worker) async fn close(&self) {
        self.inbox.stop.trigger();
        let task = self.task.lock().take();
        if let Some(task) = task
            && timeout(END_PATIENCE, task).await.is_err()
        {
            tracing::warn!("what was learnt of the size of instances may be lost: it was not written in time");
        }
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        self.inbox.stop.trigger();
    }
}

/// Scales until the worker closes, or nobody has it any more; should that panic, it begins anew.
fn run(worker: &Worker) -> impl Future<Output = ()> + use<> {
    let shared = Arc::downgrade(&worker.shared);
    async move {
        loop {
            let Some(worker) = shared.upgrade().map(|shared| Worker { shared }) else { return };
            let names: Vec<Name> = worker.shared.functions.read().keys().cloned().collect();
            names.iter().for_each(|name| worker.shared.scaler.touch(name));
            let task = tokio::spawn(run_once(&worker));
            drop(worker);
            let Err(error) = task.await else { return };
            tracing::error!(%error, "what scales functions has failed because of a defect in Geminga, and begins anew");
            sleep(RETRY.0).await;
        }
    }
}

fn run_once(worker: &Worker) -> impl Future<Output = ()> + use<> {
    let inbox = worker.shared.scaler.inbox.clone();
    let mut task = Task {
        shared: Arc::downgrade(&worker.shared),
        policies: Controller::new(),
        members: BTreeMap::new(),
        sizers: BTreeMap::new(),
        upstream: None,
        next: None,
        applying: JoinSet::new(),
        in_flight: BTreeSet::new(),
        saved: None,
        saving: JoinSet::new(),
    };
    async move {
        loop {
            let next = task.next;
            tokio::select! {
                () = inbox.stop.triggered() => break,
                () = inbox.changed.notified() => task.sync(std::mem::take(&mut *inbox.touched.lock())),
                Some(done) = task.applying.join_next() => task.applied(done),
                Some(_) = task.saving.join_next() => {}
                () = async {
                    match next {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => task.look().await,
            }
        }
        while task.saving.join_next().await.is_some() {}
        task.save();
        while task.saving.join_next().await.is_some() {}
    }
}

struct Task {
    shared: Weak<Shared>,
    policies: Controller,
    /// What has rules, unless a person holds it.
    members: BTreeMap<Name, Member>,
    /// Of those whose instances have a size that is found out. What was learnt stays while a person holds the number; nothing is added
    /// to it then, and nothing is done.
    sizers: BTreeMap<Name, Sizer>,
    /// Of the members, in their order, by place; `None` when it must be found anew.
    upstream: Option<Vec<Vec<usize>>>,
    next: Option<Instant>,
    applying: JoinSet<Name>,
    /// Those for which something is being done.
    in_flight: BTreeSet<Name>,
    /// When what was learnt was last written, and that it is being written.
    saved: Option<Duration>,
    saving: JoinSet<()>,
}

struct Member {
    function: Arc<Function>,
    spec: Arc<FunctionSpec>,
    reads: Option<Reads>,
    rules: Spec,
    seen: Seen,
    /// Waits for an event, where it has no instance.
    sleeper: Option<Sleeper>,
    /// Why it cannot sleep, where that has been found out.
    cannot_sleep: Option<String>,
}

/// Dropped, nobody waits any more.
struct Sleeper(AbortHandle);

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Task {
    fn worker(&self) -> Option<Worker> {
        self.shared.upgrade().map(|shared| Worker { shared })
    }

    fn sync(&mut self, touched: BTreeSet<Name>) {
        let Some(worker) = self.worker() else { return };
        for name in touched {
            self.sync_one(&worker, &name);
        }
        self.upstream = None;
        self.plan();
    }

    fn sync_one(&mut self, worker: &Worker, name: &Name) {
        let function = worker.shared.functions.read().get(name).cloned();
        let Some(function) = function.filter(|function| !function.row.lock().is_going) else {
            self.members.remove(name);
            self.sizers.remove(name);
            return self.policies.remove(&name.to_string());
        };
        let (rules, phase) = {
            let row = function.row.lock();
            (row.scaling.spec.clone(), row.phase())
        };
        match rules.as_ref().and_then(|rules| rules.vpa.as_ref()) {
            Some(vpa) => {
                let (kind, id) = {
                    let row = function.row.lock();
                    (row.config.kind().as_str(), row.id.clone())
                };
                let learnt = &worker.shared.scaler.learnt;
                let new = || match learnt.lock().get(&name.to_string()).filter(|learnt| learnt.id == id) {
                    Some(learnt) => Sizer::with(vpa, kind, &learnt.checkpoint),
                    None => Sizer::new(vpa, kind),
                };
                self.sizers.entry(name.clone()).or_insert_with(new).set(vpa);
            }
            None => {
                self.sizers.remove(name);
                worker.shared.scaler.recommended.lock().remove(name);
            }
        }
        let spec = function.keeper.as_ref().ok().and_then(|keeper| keeper.spec());
        let (Some(rules), Some(spec)) = (rules, spec) else {
            self.members.remove(name);
            return self.policies.remove(&name.to_string());
        };
        // What was learnt stays, whatever a person does meanwhile.
        self.policies.set(&name.to_string(), &rules);
        if !matches!(phase, Phase::Active | Phase::Asleep) {
            self.members.remove(name);
            return;
        }
        let reads = spec.reads();
        let (seen, sleeper, cannot_sleep) = match self.members.remove(name) {
            // Who reads something else waits for something else.
            Some(before) if before.reads == reads => (before.seen, before.sleeper, before.cannot_sleep),
            Some(before) => (before.seen, None, None),
            None => (Seen::default(), None, None),
        };
        let mut member = Member { function, spec, reads, rules, seen, sleeper: None, cannot_sleep };
        if phase == Phase::Asleep {
            member.seen.forget_inputs();
            member.sleeper = sleeper
                .filter(|sleeper| !sleeper.0.is_finished())
                .or_else(|| Some(self.lay_down(worker, name, &member)));
        } else if sleeper.is_some() || member.seen.is_new() {
            let woken = worker.shared.scaler.events.lock().latest(name).map(|event| event.reason);
            if let Some(reason) = woken.filter(|reason| reason.code == CANNOT_SLEEP) {
                member.cannot_sleep = Some(reason.text);
            }
            let soon = Instant::now() + FIRST_LOOK;
            self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
        }
        self.members.insert(name.clone(), member);
    }

    /// A timer while something is awake, and none otherwise.
    fn plan(&mut self) {
        let is_awake = self.members.values().any(|member| member.sleeper.is_none());
        self.next = match self.next {
            _ if !is_awake => None,
            Some(next) => Some(next),
            None => Some(Instant::now() + self.policies.period().max(PERIOD_MIN)),
        };
    }

    /// Waits until all of it has ended and then for an event.
    fn lay_down(&mut self, worker: &Worker, name: &Name, member: &Member) -> Sleeper {
        let (shared, log) = (self.shared.clone(), worker.shared.log.clone());
        let live = member.function.keeper.as_ref().ok().map(|keeper| keeper.live());
        let (name, reads) = (name.clone(), member.reads.clone());
        let task = tokio::spawn(async move {
            // What instances have in hand is no reason to wake; what they gave back is.
            if let Some(mut live) = live {
                let _ = live.wait_for(|live| *live == 0).await;
            }
            let mut wait = RETRY.0;
            loop {
                let woken = match reads.clone() {
                    Some(reads) => log.wake(reads).await,
                    None => Err(Error::Invalid("it reads nothing that could wake it".to_owned())),
                };
                let reason = match woken {
                    Ok(()) => Reason { code: "Woken".to_owned(), text: "a message came".to_owned() },
                    Err(Error::Invalid(why)) => Reason { code: CANNOT_SLEEP.to_owned(), text: why },
                    Err(error) => {
                        tracing::warn!(function = %name, %error, "a function that sleeps would miss an event; trying again");
                        sleep(wait).await;
                        wait = (wait * 2).min(RETRY.1);
                        continue;
                    }
                };
                let Some(worker) = shared.upgrade().map(|shared| Worker { shared }) else { return };
                let event = Event { from: 0, to: 1, reason, ..worker.event("wake") };
                match worker.rescale(name.clone(), event).await {
                    Ok(true) => return,
                    // Somebody changed it meanwhile, which this task may outlive: it goes on looking.
                    Ok(false) => tracing::debug!(function = %name, "a message came, but it is not to wake now"),
                    Err(error) => tracing::error!(function = %name, %error, "a function does not wake; trying again"),
                }
                drop(worker);
                sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
            }
        });
        Sleeper(task.abort_handle())
    }

    fn applied(&mut self, done: Result<Name, tokio::task::JoinError>) {
        if let Ok(name) = done {
            self.in_flight.remove(&name);
        }
    }

    /// Looks at all that is awake and what it feeds, and does what the policies say.
    async fn look(&mut self) {
        let Some(worker) = self.worker() else { return };
        let period = self.policies.period().max(PERIOD_MIN);
        let began = Instant::now();
        self.next = Some(began + period);
        let places: Vec<Name> = self.members.keys().cloned().collect();
        let upstream = match self.upstream.take() {
            Some(upstream) => upstream,
            None => edges::upstream(&self.members.values().map(|member| &*member.spec).collect::<Vec<_>>()),
        };
        let is_awake: Vec<bool> = self.members.values().map(|member| member.sleeper.is_none()).collect();
        let concerned = edges::concerned(&upstream, |place| is_awake[place]);
        let of_look: Vec<usize> =
            (0..places.len()).filter(|place| concerned[*place] && !self.in_flight.contains(&places[*place])).collect();
        let inputs = inputs(&*worker.shared.log, &self.members, of_look.iter().map(|place| &places[*place])).await;
        let place_in_look: BTreeMap<usize, usize> = of_look.iter().enumerate().map(|(n, place)| (*place, n)).collect();
        let now = worker.shared.clock.monotonic();
        let mut look: Vec<(String, Sample)> = Vec::with_capacity(of_look.len());
        for (place, inputs) in of_look.iter().zip(inputs) {
            let name = &places[*place];
            let from = |writer: &usize| {
                let selectivity = self.members.get(&places[*writer]).map_or(1.0, |member| member.seen.selectivity());
                place_in_look.get(writer).map(|n| (*n, selectivity))
            };
            let edges: Vec<(usize, f64)> = upstream[*place].iter().filter_map(from).collect();
            let Some(member) = self.members.get_mut(name) else { continue };
            let mut sample = member.look(now, period, inputs);
            sample.upstream = edges;
            look.push((name.to_string(), sample));
        }
        self.upstream = Some(upstream);
        // However many functions there are, most of the time nobody looks.
        let rests = (began.elapsed() * REST).min(period * STRETCH_MAX);
        self.next = Some(began + period.max(rests));
        // A policy that panics decides nothing.
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| self.policies.decide(&look)));
        let Ok(decisions) = decided else {
            tracing::error!("a policy panicked; everything stays as it is");
            return;
        };
        for ((place, (_, sample)), decision) in of_look.iter().zip(look).zip(decisions) {
            let name = &places[*place];
            let Some(member) = self.members.get(name) else { continue };
            let mut reason = decision.reason;
            if let Some(why) = member.cannot_sleep.as_ref().filter(|_| decision.replicas <= 1) {
                reason.text = format!("{}; it cannot sleep: {why}", reason.text);
            }
            let event = Event {
                from: sample.replicas,
                to: decision.replicas,
                reason,
                sample: Some(Box::new(sample)),
                ..worker.event(member.rules.policy.name())
            };
            if event.from == event.to {
                worker.shared.scaler.events.lock().add(name, event);
                continue;
            }
            let (worker, name) = (worker.clone(), name.clone());
            self.in_flight.insert(name.clone());
            self.applying.spawn(async move {
                if let Err(error) = worker.rescale(name.clone(), event).await {
                    tracing::warn!(function = %name, %error, "a function stays as it was");
                }
                name
            });
        }
        self.size(&worker, now);
    }

    /// Once a minute, what one instance should have, and what follows from that.
    fn size(&mut self, worker: &Worker, now: Duration) {
        if now.saturating_sub(*self.saved.get_or_insert(now)) >= SAVE_EVERY && self.saving.is_empty() {
            self.saved = Some(now);
            self.save();
        }
        let wall = Duration::from_millis(worker.shared.clock.now_ms());
        for (name, sizer) in &mut self.sizers {
            let Some(member) = self.members.get(name).filter(|_| !self.in_flight.contains(name)) else { continue };
            let Ok(keeper) = &member.function.keeper else { continue };
            let running = keeper.running();
            if !sizer.sample(now, wall, &running) {
                continue;
            }
            let row = member.function.row.lock().clone();
            let Some(Advice { recommendation, size, replaced }) = sizer.advice(now, &row, &running) else { continue };
            worker.shared.scaler.recommended.lock().insert(name.clone(), recommendation);
            if size.is_none() && replaced.is_empty() {
                continue;
            }
            let size = size.or_else(|| row.size.clone()).unwrap_or_default();
            let mut text = format!("instances start with {}", shown(&size.requests));
            for (number, why) in &replaced {
                text += &format!("; instance {number} is replaced: {why}");
            }
            let reason = Reason { code: "Resized".to_owned(), text };
            let event = Event { from: row.instances(), to: row.instances(), reason, ..worker.event("vpa") };
            let replaced = replaced.into_iter().map(|(number, _)| number).collect();
            let (worker, name) = (worker.clone(), name.clone());
            self.in_flight.insert(name.clone());
            self.applying.spawn(async move {
                if let Err(error) = worker.resize(row, size, replaced, event).await {
                    tracing::warn!(function = %name, %error, "the instances of a function keep their size");
                }
                name
            });
        }
    }

    /// Begins to write what was learnt, where that is not what is written.
    fn save(&mut self) {
        let Some(worker) = self.worker() else { return };
        let functions = worker.shared.functions.read().clone();
        let learnt = |(name, sizer): (&Name, &Sizer)| {
            let id = functions.get(name)?.row.lock().id.clone();
            Some((name.to_string(), Learnt { id, checkpoint: sizer.learnt()? }))
        };
        let now: Saved = self.sizers.iter().filter_map(learnt).collect();
        let sized = functions
            .iter()
            .filter(|(_, function)| function.row.lock().scaling.spec.as_ref().is_some_and(|rules| rules.vpa.is_some()));
        let sized: BTreeSet<String> = sized.map(|(name, _)| name.to_string()).collect();
        // What cannot be read is there, too.
        let has_damage = !worker.shared.damaged.is_empty();
        let stays = move |name: &str| has_damage || sized.contains(name);
        let changes = learnt::changes(&worker.shared.scaler.learnt.lock(), &now, &stays);
        if changes.is_empty() {
            return;
        }
        self.saving.spawn(async move {
            match worker.shared.tables.write(changes).await {
                Ok(()) => {
                    let mut saved = worker.shared.scaler.learnt.lock();
                    saved.retain(|name, _| now.contains_key(name) || stays(name));
                    saved.extend(now);
                }
                Err(error) => tracing::warn!(%error, "what was learnt of the size of instances is not written"),
            }
        });
    }
}

/// What waits for each of these, found out with one question for all of them; where that takes too long, with one for each, so that a
/// slow topic leaves only those in the dark that read it.
async fn inputs(
    log: &dyn EventLog,
    members: &BTreeMap<Name, Member>,
    names: impl Iterator<Item = &Name>,
) -> Vec<Option<InputStats>> {
    let names: Vec<&Name> = names.collect();
    let reads = |name: &&Name| members.get(*name).and_then(|member| member.reads.as_ref());
    let asked: Vec<&Reads> = names.iter().filter_map(reads).collect();
    let said = match timeout(INPUTS_PATIENCE, log.input_stats_of_all(&asked)).await {
        Ok(said) => said,
        Err(_) => {
            let each = asked.iter().map(|reads| timeout(INPUT_PATIENCE, log.input_stats(reads)));
            let late = |_| Err(Error::Closed("the broker does not say in time".to_owned()));
            let said: Vec<_> = join_all(each).await.into_iter().map(|said| said.unwrap_or_else(late)).collect();
            let silent = said.iter().filter(|said| said.is_err()).count();
            tracing::warn!(functions = asked.len(), silent, "the broker is slow to say what waits for functions");
            said
        }
    };
    let mut said = said.into_iter();
    let of_one = |name: &&Name| {
        reads(name)?;
        let said = said.next()?;
        said.inspect_err(|error| tracing::debug!(function = %name, %error, "what waits for a function is not known"))
            .ok()
            .flatten()
    };
    names.iter().map(of_one).collect()
}

/// The code of a decision to have an instance where nothing would wake one.
const CANNOT_SLEEP: &str = "CannotSleep";

impl Member {
    fn look(&mut self, now: Duration, period: Duration, inputs: Option<InputStats>) -> Sample {
        let replicas = self.function.row.lock().instances();
        let keeper = self.function.keeper.as_ref();
        let meters = keeper.map(|keeper| keeper.meters()).unwrap_or_default();
        let metrics = keeper.ok().filter(|_| wants_metrics(&self.rules)).map(|keeper| keeper.user_metrics());
        self.seen.look(Facts {
            now,
            period,
            function: &self.spec,
            rules: &self.rules,
            replicas,
            meters,
            metrics: metrics.unwrap_or_default(),
            inputs,
            must_run: self.cannot_sleep.is_some(),
        })
    }
}
