//! The loop itself: one run of user code, from its start to its end.
//!
//! Everything that happens comes through one `select`: messages, events of user code, ended commits, answers to its questions, time.
//! No branch waits for another. An invocation's acknowledgement, outputs and state changes are one commit; those of all invocations
//! that ended together and read the same input share one.
//!
//! Source of the rules: Pulsar's `JavaInstanceRunnable`, `PulsarSource` and `PulsarSink`.

mod arrivals;
mod commits;
mod hand_over;
mod outcomes;
mod plans;
mod windowed;

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rustc_hash::FxHashSet;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

use super::{
    Moved, Parts, Shared,
    demand::{Demand, MOST},
    in_hand::{InHand, Work},
    inputs::{Inputs, Looked},
    once::Entries,
    outputs::Outputs,
    owed::{Asked, Owed},
    pace::Pace,
    refused::{Due, Refused},
    state::State,
    unacked::Unacked,
    window::Windows,
};
use crate::{
    error::{Error, Result},
    event_log::{Commit, RowChange, Session, TableChange},
    message::InputId,
    runtime::{Answer, Event, Exit, InstanceSpec, Invocation, Link, Outcome, Question, Request, UserException},
    spec::{FunctionSpec, Guarantee},
};
use commits::Commits;
use plans::Plan;

/// How long an invocation may wait in user code, and in times that the code takes; and how many are handed over at the beginning.
const LEAD: (Duration, u32, u32) = (Duration::from_millis(20), 1, 2);
/// Commits under way at which no more is taken from user code.
const COMMITS_MAX: usize = 64;
/// How often topics are looked for that have come in the meantime: when a pattern says which, and when only partitions can be added.
const LOOK_FOR_TOPICS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How long user code may take to end by itself; then it is stopped. A little more than what ends it gives it.
const PARTING: Duration = Duration::from_secs(4);

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was asked to.
    Stopped,
    /// User code has ended.
    Exited(Exit),
    /// The rest failed.
    Failed(Error),
}

/// See the module.
pub(super) struct Run {
    parts: Parts,
    function: Arc<FunctionSpec>,
    instance_id: u32,
    shared: Arc<Shared>,
    session: Box<dyn Session>,
    link: Link,
    inputs: Inputs,
    /// All of them, the first one first.
    opened: Vec<InputId>,
    outputs: Outputs,
    state: State,
    windows: Option<Windows>,
    /// Windows may be due and were not looked for, since many are in hand.
    windows_wait: bool,
    demand: Demand,
    in_hand: InHand,
    /// How many invocations user code has at a time. Others wait here, where they can be given back.
    lead: Pace,
    /// Not handed over yet.
    queue: VecDeque<Invocation>,
    /// Goes before the queue.
    owed: Owed,
    commits: Commits,
    answers: FuturesUnordered<BoxFuture<'static, (Asked, Answer)>>,
    /// Questions that wait for commits, or until user code has taken more of the answers.
    waiting: Vec<(Asked, Question)>,
    /// Whether user code runs many invocations at once, where that is known.
    runs_many: Option<bool>,
    /// When something was last handed over or ended, and how long the last ones took.
    quiet_since: Duration,
    usual: Duration,
    refused: Refused,
    /// Of guarantee MANUAL.
    unacked: Unacked,
    /// Of guarantee MANUAL: invocations that are acknowledged and have not ended.
    early_acks: FxHashSet<u64>,
    /// What a source has changed since it emitted.
    source_changes: outcomes::SourceChanges,
    /// Bytes of the plans of a source that change something and are not committed; `None`: others may be under way.
    source_bytes: Option<usize>,
    /// Of guarantee EFFECTIVELY_ONCE, where commits are not atomic.
    once: Option<Entries<Plan>>,
    /// Outcomes of windows, and earlier ones have none yet.
    early: BTreeMap<u64, Outcome>,
    /// What was refused for good.
    given_up: VecDeque<(Work, UserException)>,
    look_at: Option<Duration>,
    is_stopping: bool,
    /// When what is in hand is given up.
    stops_at: Duration,
    /// User code was told that nothing more comes.
    is_told: bool,
    /// Messages done with, and time in user code, that the meter does not know of.
    done: u64,
    took: Duration,
}

impl Run {
    /// Opens what the instance reads; user code runs already.
    ///
    /// # Errors
    /// The broker refuses an input, or the schema of the output; stored windows cannot be read.
    pub(super) async fn open(
        parts: Parts,
        spec: &InstanceSpec,
        shared: Arc<Shared>,
        mut link: Link,
        mut session: Box<dyn Session>,
    ) -> Result<Self> {
        let function = spec.function.clone();
        let is_once = function.guarantee == Guarantee::EffectivelyOnce && !session.is_atomic();
        let mut inputs = Inputs::new(parts.log.clone(), function.clone(), spec.instance_id);
        // As in Pulsar: what an asynchronous function has begun is not in the queue any more.
        let begun = if link.runs_many == Some(true) { function.max_pending_async } else { 0 };
        let queued = function.inputs.values().filter_map(|input| input.receiver_queue_size).min();
        let demand = Demand::new(queued.map(|queued| queued.saturating_add(begun)));
        let mut outputs =
            Outputs::new(parts.log.clone(), function.clone(), spec.instance_id, link.output_schema.take());
        outputs.open_described(&mut session).await?;
        let mut looked = Looked::default();
        inputs.open(&mut session, &mut looked).await?;
        catch_up(&mut session, &looked.opened).await?;
        let windows = match &function.window {
            Some(config) => {
                let table = function.window_table();
                let (id, of, inputs) = (spec.instance_id, shared.parallelism.load(SeqCst), function.inputs.len());
                Some(Windows::load(&*parts.tables, table, id, of, inputs, config.clone()).await?)
            }
            None => None,
        };
        let (in_order, runs_many) = (function.subscription_type.is_single_active(), link.runs_many);
        let now = parts.clock.monotonic();
        let mut run = Self {
            outputs,
            state: State::new(parts.tables.clone(), function.state_table()),
            instance_id: spec.instance_id,
            look_at: None,
            early: BTreeMap::new(),
            given_up: VecDeque::new(),
            commits: Commits::new(shared.clone(), session.is_atomic()),
            parts,
            function,
            shared,
            session,
            link,
            inputs,
            opened: Vec::new(),
            windows,
            windows_wait: false,
            demand,
            in_hand: InHand::default(),
            lead: Pace::new(LEAD.2, MOST, LEAD.0, LEAD.1),
            runs_many,
            quiet_since: now,
            usual: Duration::ZERO,
            queue: VecDeque::new(),
            owed: Owed::default(),
            answers: FuturesUnordered::new(),
            waiting: Vec::new(),
            refused: Refused::new(in_order),
            unacked: Unacked::new(in_order),
            early_acks: FxHashSet::default(),
            source_changes: outcomes::SourceChanges::default(),
            source_bytes: None,
            once: is_once.then(Entries::default),
            is_stopping: false,
            stops_at: Duration::ZERO,
            is_told: false,
            done: 0,
            took: Duration::ZERO,
        };
        run.looked(looked);
        Ok(run)
    }

    fn looked(&mut self, looked: Looked) {
        looked.opened.iter().for_each(|input| self.demand.opened(*input));
        self.opened.extend(looked.opened);
        looked.troubles.iter().for_each(|trouble| self.system_exception(trouble));
    }

    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }

    fn now_ms(&self) -> u64 {
        self.parts.clock.now_ms()
    }

    /// Runs until user code ends, something fails, or `stop` is notified and what was begun is done.
    ///
    /// What a wait takes is small, and what is done between two waits is on the heap for so long: there may be thousands of instances that
    /// wait.
    pub(super) async fn run(mut self: Box<Self>, stop: &Notify) -> End {
        let end = self.drive(stop).await.unwrap_or_else(End::Failed);
        // The next run reads what these write.
        while self.commits.next().await.is_some() {}
        if !matches!(end, End::Exited(_)) {
            Box::pin(self.part()).await;
        }
        end
    }

    /// Lets user code end by itself: no more requests come, and what it still says is a log line or nothing.
    async fn part(self: Box<Self>) {
        let Self { link, session, shared, parts, .. } = *self;
        let Link { requests, mut events, .. } = link;
        drop(requests);
        // What it did not do goes to others at once.
        drop(session);
        let clock = parts.clock;
        let until_exit = async {
            while let Some(batch) = events.recv().await {
                for event in batch {
                    match event {
                        Event::Exited(_) => return,
                        Event::Log(line) => shared.lines.lock().push(&line, clock.now_ms()),
                        _ => {}
                    }
                }
            }
        };
        let _ = tokio::time::timeout(PARTING, until_exit).await;
    }

    async fn drive(&mut self, stop: &Notify) -> Result<End> {
        let shared = self.shared.clone();
        self.plan_look();
        Box::pin(self.fire_windows()).await?;
        loop {
            if self.has_given_up() {
                Box::pin(self.give_up()).await?;
            }
            // Elements are done with when they are stored; what waits is their windows.
            if self.windows_wait || self.windows.as_ref().is_some_and(Windows::is_behind) {
                Box::pin(self.fire_windows()).await?;
            }
            let has_room = !self.has_many_windows() && !self.refused.is_full() && !self.unacked.is_full();
            if !self.is_stopping && has_room {
                for (input, permits) in self.demand.ask().collect::<Vec<_>>() {
                    self.session.flow(input, permits);
                }
            }
            self.show();
            if self.is_stopping && self.in_hand.is_empty() && self.commits.is_empty() {
                return Ok(End::Stopped);
            }
            self.let_finish();
            let sends = !self.owed.is_empty() || !self.queue.is_empty() && self.in_hand.begun() < self.lead.size();
            let wait = self.deadline().map(|at| at.saturating_sub(self.now()));
            tokio::select! {
                arrived = self.session.next(), if !self.is_stopping => self.arrived(arrived?).await?,
                events = self.link.events.recv(), if self.commits.len() < COMMITS_MAX => {
                    let events = events.unwrap_or_else(|| vec![Event::Exited(Exit {
                        is_clean: false,
                        reason: "user code has ended without a word".into(),
                    })]);
                    if let Some(exit) = Box::pin(self.events(events)).await? {
                        Box::pin(self.finish_commits()).await?;
                        return Ok(End::Exited(exit));
                    }
                }
                Some(ended) = self.commits.next() => self.ended(ended)?,
                Some((asked, answer)) = self.answers.next(), if self.owed.has_room() => self.owed.answer(asked, answer),
                room = room(&self.link.requests), if sends => self.send(room),
                () = stop.notified() => self.stop(),
                () = shared.others_changed.notified() => Box::pin(self.adopt()).await?,
                () = sleep(wait) => Box::pin(self.tick()).await?,
            }
        }
    }

    fn show(&mut self) {
        let moved = Moved {
            in_hand: self.demand.held().max(u32::try_from(self.in_hand.len()).unwrap_or(u32::MAX)),
            window: self.lead.size(),
            waits_for_time: self.windows.as_ref().is_some_and(Windows::waits_for_time),
            done: std::mem::take(&mut self.done),
            took: std::mem::take(&mut self.took),
        };
        self.shared.meter.moved(self.now(), moved);
        let mut status = self.shared.status.lock();
        status.in_hand = u64::from(self.demand.held());
        status.window = u64::from(self.demand.window());
    }

    fn deadline(&self) -> Option<Duration> {
        let windows = self.windows.as_ref().filter(|_| !self.has_many_windows());
        let window = windows
            .and_then(Windows::next_tick_ms)
            .map(|at_ms| self.now() + Duration::from_millis(at_ms.saturating_sub(self.now_ms())));
        [self.refused.next(), window, self.look_at, self.grows_at()].into_iter().flatten().min()
    }

    async fn tick(&mut self) -> Result<()> {
        let now = self.now();
        let Due { ask, call } = self.refused.due(now);
        if !ask.is_empty() {
            self.session.redeliver(&ask);
        }
        if !self.is_stopping {
            self.call_again(call).await?;
        }
        if self.grows_at().is_some_and(|at| at <= now) {
            self.grow();
        }
        if self.look_at.is_some_and(|at| at <= now) && !self.is_stopping {
            let mut looked = Looked::default();
            let result = self.inputs.open(&mut self.session, &mut looked).await;
            self.looked(looked);
            match result {
                // A broker somewhere else comes back, and what is open already waits for it, too.
                Err(Error::Closed(why)) if !self.session.is_atomic() => {
                    tracing::debug!(function = self.function.fqfn(), why, "topics cannot be looked for");
                }
                result => result?,
            }
            self.plan_look();
        }
        self.fire_windows().await
    }

    fn plan_look(&mut self) {
        let patterns = self.function.inputs.values().any(|input| input.is_pattern);
        let after = if patterns { LOOK_FOR_TOPICS.0 } else { LOOK_FOR_TOPICS.1 };
        self.look_at = self.inputs.any().then(|| self.now() + after);
    }
}

/// Waits for what was committed through these inputs before, by runs that were given up because the storage did not answer: what is read from
/// now on has all of it, and nothing of it comes later.
pub(super) async fn catch_up(session: &mut Box<dyn Session>, inputs: &[InputId]) -> Result<()> {
    if session.is_atomic() {
        let nothing = |input: &InputId| Commit { through: Some(*input), ..Commit::default() };
        let all: Vec<_> = inputs.iter().map(|input| session.commit(nothing(input))).collect();
        futures::future::try_join_all(all).await?;
    }
    Ok(())
}

/// Resolves when there is room for a request; `false` when nobody takes any more.
async fn room(requests: &mpsc::Sender<Request>) -> bool {
    requests.reserve().await.is_ok()
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// A row of another table than the state's.
pub(super) fn row(table: &Arc<str>, key: Bytes, change: RowChange) -> TableChange {
    TableChange { table: table.clone(), key, change }
}
