//! The loop itself: one run of user code, from its start to its end.
//!
//! Everything that happens comes through one `select`: messages, events of user code, ended commits, answers to its questions, time.
//! No branch waits for another. An invocation's acknowledgement, outputs and state changes are one [`Commit`]; those of all invocations
//! that ended together and read the same input share one.
//!
//! Source of the rules: Pulsar's `JavaInstanceRunnable`, `PulsarSource` and `PulsarSink`.

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
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
    in_hand::{Held, InHand, Work},
    inputs::Inputs,
    once::Entries,
    outputs::Outputs,
    pace::Pace,
    records,
    refused::{Due, Refused},
    state::{Lookup, State},
    window::{self, Windows},
};
use crate::{
    error::{Error, Result},
    event_log::{Arrived, Commit, RowChange, Session, TableChange},
    message::{InputId, Message, MessageId, Record},
    runtime::{
        Answer, Event, Exit, Input, InstanceSpec, Invocation, Link, LogLine, Outcome, Question, Request, StateChange,
        UserException,
    },
    spec::{FunctionSpec, Guarantee},
};

/// Invocations handed over together at most.
const INVOKE_MAX: usize = 256;
/// Payload handed over together, unless one message alone is more.
const INVOKE_BYTES_MAX: usize = 1 << 20;
/// How long an invocation may wait in user code, and in times that the code takes; and how many are handed over at the beginning.
const LEAD: (Duration, u32, u32) = (Duration::from_millis(20), 1, 2);
/// When code that has all it may and says nothing is given more, since it may wait for more before it says anything: where it is known to
/// run many at once, and where that is not known; then not before several times of what it usually takes.
const QUIET: (Duration, Duration, u32) = (Duration::from_millis(50), Duration::from_secs(2), 4);
/// Windows in hand at which no more elements are asked for.
const WINDOWS_MAX: usize = 16;
/// Bytes of outputs and state at which outcomes are not put into one commit any more; a broker has a largest commit.
const COMMIT_BYTES: usize = 4 << 20;
/// What an entry may take more than its record is thought to.
const ENTRY_EXTRA_BYTES: usize = 64 << 10;
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
    requests: VecDeque<Request>,
    commits: FuturesUnordered<BoxFuture<'static, Ended>>,
    answers: FuturesUnordered<BoxFuture<'static, (u64, Answer)>>,
    /// Questions that wait for commits.
    waiting: Vec<(u64, Question)>,
    /// Whether user code runs many invocations at once, where that is known.
    runs_many: Option<bool>,
    /// When something was last handed over or ended, and how long the last ones took.
    quiet_since: Duration,
    usual: Duration,
    refused: Refused,
    /// Of guarantee MANUAL: invocations that have ended and are not acknowledged.
    unacked: BTreeMap<u64, Arc<Message>>,
    /// Of guarantee MANUAL: invocations that are acknowledged and have not ended.
    early_acks: FxHashSet<u64>,
    /// Of guarantee EFFECTIVELY_ONCE, where commits are not atomic.
    once: Option<Entries<Planned>>,
    /// Outcomes of windows, and earlier ones have none yet.
    early: BTreeMap<u64, Outcome>,
    /// What was refused for good.
    impossible: VecDeque<(Work, UserException)>,
    look_at: Option<Duration>,
    is_stopping: bool,
    /// Messages done with, and time in user code, that the meter does not know of.
    done: u64,
    took: Duration,
}

/// What belongs to one commit.
#[derive(Default)]
struct Planned {
    /// The message it is all made of, where it is to happen once and commits are not atomic.
    once: Option<Arc<Message>>,
    commit: Commit,
    /// About what it takes.
    bytes: usize,
    invocations: u64,
    /// Records for the function's output.
    written: u64,
    rows: Vec<Bytes>,
    /// What it comes of, where that can be given up.
    of: Vec<Work>,
    /// Messages it acknowledges besides.
    besides: Vec<Arc<Message>>,
    then: Then,
    /// Something of it may be impossible, which only the broker knows.
    is_doubtful: bool,
    /// Of what it was put together, if it was.
    parts: Vec<Part>,
}

/// How much of a plan is that of one of those it was put together of.
struct Part {
    acks: usize,
    outputs: usize,
    changes: usize,
    rows: usize,
    of: usize,
    besides: usize,
    invocations: u64,
    written: u64,
}

impl Planned {
    fn as_part(&self) -> Part {
        Part {
            acks: self.commit.acks.len(),
            outputs: self.commit.outputs.len(),
            changes: self.commit.changes.len(),
            rows: self.rows.len(),
            of: self.of.len(),
            besides: self.besides.len(),
            invocations: self.invocations,
            written: self.written,
        }
    }

    /// Those it was put together of, in order.
    fn apart(self) -> Vec<Self> {
        let Commit { acks, outputs, changes, once: _ } = self.commit;
        let (mut acks, mut outputs, mut changes) = (acks.into_iter(), outputs.into_iter(), changes.into_iter());
        let (mut rows, mut of, mut besides) = (self.rows.into_iter(), self.of.into_iter(), self.besides.into_iter());
        let parts = self.parts.iter().map(|part| Self {
            commit: Commit {
                acks: acks.by_ref().take(part.acks).collect(),
                outputs: outputs.by_ref().take(part.outputs).collect(),
                changes: changes.by_ref().take(part.changes).collect(),
                once: None,
            },
            rows: rows.by_ref().take(part.rows).collect(),
            of: of.by_ref().take(part.of).collect(),
            besides: besides.by_ref().take(part.besides).collect(),
            invocations: part.invocations,
            written: part.written,
            ..Self::default()
        });
        parts.collect()
    }

    /// Puts another one behind it.
    fn add(&mut self, plan: Self) {
        if self.parts.is_empty() {
            self.parts.push(self.as_part());
        }
        self.parts.push(plan.as_part());
        self.is_doubtful |= plan.is_doubtful;
        self.bytes += plan.bytes;
        self.commit.acks.extend(plan.commit.acks);
        self.commit.outputs.extend(plan.commit.outputs);
        self.commit.changes.extend(plan.commit.changes);
        self.invocations += plan.invocations;
        self.written += plan.written;
        self.rows.extend(plan.rows);
        self.of.extend(plan.of);
        self.besides.extend(plan.besides);
    }
}

/// Invocations that ended together, and the sums of their times: here, in user code's hands, and in user code.
#[derive(Default)]
struct Spent {
    left: u32,
    stayed: Duration,
    in_code: Duration,
    took: Duration,
}

impl Spent {
    fn add(&mut self, held: &Held, took: Duration, now: Duration) {
        self.left += 1;
        self.stayed += now.saturating_sub(held.since);
        self.in_code += now.saturating_sub(held.begun.unwrap_or(now));
        self.took = self.took.saturating_add(took);
    }
}

/// What follows when a commit is durable.
#[derive(Default)]
enum Then {
    #[default]
    Nothing,
    /// At most once: now the function may be called.
    Invoke(Vec<Arc<Message>>),
    /// A source may forget these.
    Emitted(Vec<u64>),
}

/// A commit that has ended.
struct Ended {
    result: Result<()>,
    acks: Vec<(InputId, MessageId)>,
    invocations: u64,
    published: u64,
    written: u64,
    rows: Vec<Bytes>,
    of: Vec<Work>,
    besides: Vec<Arc<Message>>,
    then: Then,
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
        let mut demand = Demand::new(queued.map(|queued| queued.saturating_add(begun)));
        let windows = match &function.window {
            Some(config) => {
                let table = window::table(&function.fqfn());
                let (id, of, inputs) = (spec.instance_id, shared.parallelism.load(SeqCst), function.inputs.len());
                Some(Windows::load(&*parts.tables, table, id, of, inputs, config.clone()).await?)
            }
            None => None,
        };
        let mut outputs =
            Outputs::new(parts.log.clone(), function.clone(), spec.instance_id, link.output_schema.take());
        outputs.open_described(&mut session).await?;
        let mut opened = Vec::new();
        inputs.open(&mut session, &mut opened).await?;
        opened.into_iter().for_each(|input| demand.opened(input));
        let (in_order, runs_many) = (function.subscription_type.is_single_active(), link.runs_many);
        let now = parts.clock.monotonic();
        Ok(Self {
            outputs,
            state: State::new(parts.tables.clone(), function.state_table()),
            instance_id: spec.instance_id,
            look_at: None,
            early: BTreeMap::new(),
            impossible: VecDeque::new(),
            parts,
            function,
            shared,
            session,
            link,
            inputs,
            windows,
            windows_wait: false,
            demand,
            in_hand: InHand::default(),
            lead: Pace::new(LEAD.2, MOST, LEAD.0, LEAD.1),
            runs_many,
            quiet_since: now,
            usual: Duration::ZERO,
            queue: VecDeque::new(),
            requests: VecDeque::new(),
            commits: FuturesUnordered::new(),
            answers: FuturesUnordered::new(),
            waiting: Vec::new(),
            refused: Refused::new(in_order),
            unacked: BTreeMap::new(),
            early_acks: FxHashSet::default(),
            once: is_once.then(Entries::default),
            is_stopping: false,
            done: 0,
            took: Duration::ZERO,
        })
    }

    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }

    fn now_ms(&self) -> u64 {
        self.parts.clock.now_ms()
    }

    /// Runs until user code ends, something fails, or `stop` is notified and what was begun is done.
    pub(super) async fn run(mut self, stop: &Notify) -> End {
        let end = self.drive(stop).await.unwrap_or_else(End::Failed);
        // The next run reads what these write.
        while self.commits.next().await.is_some() {}
        if !matches!(end, End::Exited(_)) {
            self.part().await;
        }
        end
    }

    /// Lets user code end by itself: no more requests come, and what it still says is a log line or nothing.
    async fn part(self) {
        let Link { requests, mut events, .. } = self.link;
        drop(requests);
        // What it did not do goes to others at once.
        drop(self.session);
        let shared = self.shared;
        let clock = self.parts.clock;
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
        self.fire_windows();
        loop {
            self.give_up().await?;
            // Elements are done with when they are stored; what waits is their windows.
            if self.windows_wait || self.windows.as_ref().is_some_and(Windows::is_behind) {
                self.fire_windows();
            }
            if !self.is_stopping && !self.has_many_windows() && !self.refused.is_full() {
                for (input, permits) in self.demand.ask().collect::<Vec<_>>() {
                    self.session.flow(input, permits);
                }
            }
            self.show();
            if self.is_stopping && self.in_hand.is_empty() && self.commits.is_empty() {
                return Ok(End::Stopped);
            }
            let sends = !self.requests.is_empty() || !self.queue.is_empty() && self.in_hand.begun() < self.lead.size();
            let wait = self.deadline().map(|at| at.saturating_sub(self.now()));
            tokio::select! {
                arrived = self.session.next(), if !self.is_stopping => self.arrived(arrived?).await?,
                events = self.link.events.recv(), if self.commits.len() < COMMITS_MAX => {
                    let events = events.unwrap_or_else(|| vec![Event::Exited(Exit {
                        is_clean: false,
                        reason: "user code has ended without a word".into(),
                    })]);
                    if let Some(exit) = self.events(events).await? {
                        self.finish_commits().await?;
                        return Ok(End::Exited(exit));
                    }
                }
                Some(ended) = self.commits.next() => self.ended(ended)?,
                Some((call, answer)) = self.answers.next() => self.requests.push_back(Request::Answer { call, answer }),
                room = room(&self.link.requests), if sends => self.send(room),
                () = stop.notified() => self.stop(),
                () = shared.others_changed.notified() => self.adopt().await?,
                () = sleep(wait) => self.tick().await?,
            }
        }
    }

    fn send(&mut self, room: bool) {
        if !room {
            // User code takes nothing any more: its last events say why.
            self.requests.clear();
            return self.forget_queue();
        }
        let next = self.requests.pop_front().unwrap_or_else(|| Request::Invoke(self.begin()));
        // Nobody else sends, so there is room still.
        let _ = self.link.requests.try_send(next);
    }

    /// What is handed over next.
    fn begin(&mut self) -> Vec<Invocation> {
        let most = self.lead.size().saturating_sub(self.in_hand.begun()) as usize;
        let batch = take_batch(&mut self.queue, most.clamp(1, INVOKE_MAX));
        let now = self.now();
        batch.iter().for_each(|invocation| self.in_hand.begin(invocation.id, now));
        self.lead.has(self.in_hand.begun());
        self.quiet_since = now;
        batch
    }

    /// Nothing more is begun; what was not, others get at once. What is acknowledged already is done as well.
    fn stop(&mut self) {
        self.is_stopping = true;
        self.refused.leave();
        if self.function.guarantee != Guarantee::AtmostOnce {
            self.give_back(|_| true);
            self.forget_queue();
        }
    }

    /// Gives back what has not begun of the messages that are wanted, as far as that is possible.
    fn give_back(&mut self, wanted: impl Fn(&Message) -> bool) {
        // With this guarantee they are acknowledged.
        if self.function.guarantee == Guarantee::AtmostOnce {
            return;
        }
        let message = |invocation: &Invocation| match &invocation.input {
            Input::Message(message) if wanted(message) => Some((message.input, message.id)),
            _ => None,
        };
        let unbegun: Vec<_> = self.queue.iter().filter_map(message).collect();
        if unbegun.is_empty() {
            return;
        }
        let given: FxHashSet<_> = self.session.give_back(&unbegun).into_iter().collect();
        for invocation in std::mem::take(&mut self.queue) {
            match message(&invocation).filter(|id| given.contains(id)) {
                Some((input, _)) => {
                    self.in_hand.take(invocation.id);
                    self.demand.done(input, 1);
                }
                None => self.queue.push_back(invocation),
            }
        }
    }

    fn forget_queue(&mut self) {
        for invocation in std::mem::take(&mut self.queue) {
            self.in_hand.take(invocation.id);
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

    /// When code that says nothing is given more. `None`: it has not all it may, or nothing comes of it.
    fn grows_at(&self) -> Option<Duration> {
        let begun = self.in_hand.begun();
        if begun == 0 || begun >= self.function.max_pending_async {
            return None;
        }
        let quiet = match self.runs_many {
            Some(true) => QUIET.0,
            Some(false) => return None,
            None => QUIET.1.max(self.usual.saturating_mul(QUIET.2)),
        };
        let is_short = if self.queue.is_empty() {
            self.demand.is_short()
        } else {
            begun >= self.lead.size() && self.lead.can_grow()
        };
        is_short.then(|| self.quiet_since + quiet)
    }

    /// What code that runs many at once needs before it says anything, it will need again.
    fn grow(&mut self) {
        let for_good = self.runs_many == Some(true);
        if self.queue.is_empty() {
            self.demand.grow(for_good);
        } else {
            self.lead.grow(self.function.max_pending_async, for_good);
        }
        self.quiet_since = self.now();
    }

    async fn tick(&mut self) -> Result<()> {
        let now = self.now();
        let Due { ask, call } = self.refused.due(now);
        if !ask.is_empty() {
            self.session.redeliver(&ask);
        }
        self.call_again(call).await?;
        if self.grows_at().is_some_and(|at| at <= now) {
            self.grow();
        }
        if self.look_at.is_some_and(|at| at <= now) && !self.is_stopping {
            let mut opened = Vec::new();
            let looked = self.inputs.open(&mut self.session, &mut opened).await;
            opened.into_iter().for_each(|input| self.demand.opened(input));
            match looked {
                // A broker somewhere else comes back, and what is open already waits for it, too.
                Err(Error::Closed(why)) if !self.session.is_atomic() => {
                    tracing::debug!(function = self.function.fqfn(), why, "topics cannot be looked for");
                }
                looked => looked?,
            }
            self.plan_look();
        }
        self.fire_windows();
        Ok(())
    }

    fn plan_look(&mut self) {
        let patterns = self.function.inputs.values().any(|input| input.is_pattern);
        let after = if patterns { LOOK_FOR_TOPICS.0 } else { LOOK_FOR_TOPICS.1 };
        self.look_at = self.inputs.any().then(|| self.now() + after);
    }

    // Messages in.

    async fn arrived(&mut self, arrived: Arrived) -> Result<()> {
        match arrived {
            Arrived::Messages(messages) => {
                let Some(first) = messages.first() else { return Ok(()) };
                self.demand.arrived(first.input, messages.len() as u32);
                self.shared.status.lock().received(messages.len() as u64);
                let messages: Vec<Arc<Message>> = messages.into_iter().map(Arc::new).collect();
                if self.windows.is_some() {
                    self.keep_in_window(&messages).await?;
                } else if self.function.guarantee == Guarantee::AtmostOnce {
                    let mut planned = Planned::default();
                    planned.commit.acks = messages.iter().map(|m| (m.input, m.id)).collect();
                    planned.then = Then::Invoke(messages);
                    self.commit(planned);
                } else {
                    if let Some(once) = &mut self.once {
                        once.arrived(messages.iter().map(|message| &**message));
                    }
                    messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
                }
                Ok(())
            }
            Arrived::OthersWait(input, entries) => {
                let is_one = |id: MessageId| entries.is_empty() || entries.contains(&(id.ledger, id.entry));
                self.give_back(|message| message.input == input && is_one(message.id));
                self.session.gave_back(input);
                Ok(())
            }
            Arrived::Active(..) => Ok(()),
            Arrived::Again(input) => self.void(input).await,
            Arrived::InputLost(input) => {
                self.demand.lost(input);
                self.void(input).await
            }
            Arrived::InputClosed(_) | Arrived::OutputClosed(_) => {
                Err(Error::Closed("a topic was unloaded; the instance looks it up again".into()))
            }
        }
    }

    /// Messages that were refused and waited here: before all that came after them.
    async fn call_again(&mut self, messages: Vec<Arc<Message>>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.shared.status.lock().received(messages.len() as u64);
        messages.iter().for_each(|message| self.demand.again(message.input));
        if self.windows.is_some() {
            return self.keep_in_window(&messages).await;
        }
        let later = std::mem::take(&mut self.queue);
        messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
        self.queue.extend(later);
        Ok(())
    }

    /// What came through an input and is not committed comes again; nothing more is made of it here.
    async fn void(&mut self, input: InputId) -> Result<()> {
        if self.function.guarantee == Guarantee::AtmostOnce {
            // What is here was acknowledged, and is the only chance it has.
            return Ok(());
        }
        self.demand.void(input);
        self.in_hand.void(input);
        self.queue.retain(|invocation| !matches!(&invocation.input, Input::Message(message) if message.input == input));
        self.unacked.retain(|_, message| message.input != input);
        self.early_acks.retain(|id| self.in_hand.has_begun(*id));
        self.refused.void(input);
        if let Some(once) = &mut self.once {
            once.void(input).iter().for_each(|plan| self.state.end(&plan.rows));
            // Whoever has the input next publishes under their names.
            for output in self.outputs.close(input) {
                self.session.close_output(output);
            }
            if self.state.is_pending() {
                self.finish_commits().await?;
            }
        }
        Ok(())
    }

    fn invoke(&mut self, work: Work) {
        let input = work.input();
        let id = self.in_hand.put(work, self.now());
        self.queue.push_back(Invocation { id, input });
    }

    // What user code did.

    async fn events(&mut self, events: Vec<Event>) -> Result<Option<Exit>> {
        let mut plans: Vec<(Option<InputId>, Planned)> = Vec::new();
        let mut spent = Spent::default();
        let mut emitted = Planned::default();
        let mut emitted_ids = Vec::new();
        let mut lines = Vec::new();
        let mut exit = None;
        let now = self.now();
        if self.outputs.are_many() {
            // A commit under way with a producer that closes would be refused.
            self.finish_commits().await?;
            self.outputs.close_idle().for_each(|output| self.session.close_output(output));
        }
        for event in events {
            match event {
                // How far windows have come is a mark that moves with each: they count in their order, however they end.
                Event::Done { id, outcome } if self.windows.is_some() => {
                    if self.in_hand.has_begun(id) {
                        self.early.insert(id, outcome);
                    }
                    while let Some(id) = self.in_hand.oldest()
                        && let Some(outcome) = self.early.remove(&id)
                        && let Some(held) = self.in_hand.end(id)
                    {
                        spent.add(&held, outcome.took, now);
                        self.done(id, held.work, outcome, &mut plans).await?;
                    }
                }
                Event::Done { id, outcome } => {
                    // A runtime that answers twice, or what was not asked, has said nothing.
                    let Some(held) = self.in_hand.end(id) else { continue };
                    spent.add(&held, outcome.took, now);
                    self.done(id, held.work, outcome, &mut plans).await?;
                }
                Event::Call { call, question, .. } => {
                    // What ended before the question is part of the answer.
                    self.commit_all(&mut plans);
                    self.ask(call, question);
                }
                Event::Emit { id, record } => match self.add_output(&mut emitted, record).await {
                    Ok(()) => emitted_ids.push(id),
                    Err(error @ Error::Closed(_)) => return Err(error),
                    Err(error) => {
                        let error = Some(error.to_string());
                        self.system_exception(error.as_deref().unwrap_or_default());
                        self.requests.push_back(Request::Emitted { ids: vec![id], error });
                    }
                },
                Event::Log(line) => lines.push(line),
                // It has nothing to report that the loop does not know.
                Event::Reported(_) => {}
                Event::Exited(how) => exit = Some(how),
            }
        }
        self.commit_all(&mut plans);
        if !emitted_ids.is_empty() {
            self.shared.status.lock().received(emitted_ids.len() as u64);
            self.done += emitted_ids.len() as u64;
            emitted.invocations = emitted_ids.len() as u64;
            emitted.then = Then::Emitted(emitted_ids);
            self.commit(emitted);
        }
        self.log(lines).await;
        if spent.left > 0 {
            let Spent { left, stayed, in_code, took } = spent;
            let (stayed, in_code, took) = (stayed / left, in_code / left, took / left);
            (self.quiet_since, self.usual) = (now, took);
            self.demand.adapt(left, stayed.saturating_sub(took), took);
            self.lead.adapt(left, in_code.saturating_sub(took), took);
        }
        Ok(exit)
    }

    async fn done(
        &mut self,
        id: u64,
        work: Work,
        outcome: Outcome,
        plans: &mut Vec<(Option<InputId>, Planned)>,
    ) -> Result<()> {
        {
            let now_ms = self.now_ms();
            self.took += outcome.took;
            let mut status = self.shared.status.lock();
            status.roll(now_ms);
            status.invoked(outcome.took, now_ms);
            for (name, value) in &outcome.effects.metrics {
                status.user_metric(name, *value);
            }
        }
        let message = work.message().cloned();
        if let Some(message) = &message {
            self.done += 1;
            self.demand.done(message.input, 1);
        }
        let refusal = outcome.effects.changes.iter().find_map(State::refusal);
        let outcome_result = match refusal {
            Some(message) => Err(UserException { message }),
            None => outcome.result,
        };
        let was_acked = self.early_acks.remove(&id);
        let records = match outcome_result {
            Ok(records) => records,
            Err(exception) => return self.threw(work, &exception, plans).await,
        };
        // Messages whose acknowledgement is asked for.
        let manual = self.function.guarantee == Guarantee::Manual || !self.function.auto_ack;
        let acked: &[u64] = if manual { &outcome.effects.acks } else { &[] };
        let is_acked = match manual {
            true => was_acked || acked.contains(&id),
            false => self.function.guarantee != Guarantee::AtmostOnce,
        };
        let besides: Vec<_> = acked.iter().filter_map(|id| self.unacked.remove(id)).collect();
        let once = message.clone().filter(|_| self.once.is_some());
        let mut plan = Planned { once, invocations: 1, besides, ..Planned::default() };
        let acks = message.iter().filter(|_| is_acked).chain(&plan.besides);
        plan.commit.acks = acks.map(|message| (message.input, message.id)).collect();
        let source = work.latest().cloned();
        let outputs = records.into_iter().map(|record| records::output(record, &self.function, source.as_deref()));
        for record in outputs.collect::<Vec<_>>().into_iter().chain(outcome.effects.publishes) {
            match self.add_output(&mut plan, record).await {
                Ok(()) => {}
                Err(error) => {
                    // All or nothing: what it acknowledges besides comes again, too.
                    plan.besides.iter().for_each(|message| self.refuse(message));
                    return match error {
                        // It never will be possible, whoever tries.
                        Error::Invalid(message) => self.threw(work, &UserException { message }, plans).await,
                        error => self.cannot_publish(&error, message.as_ref()),
                    };
                }
            }
        }
        if manual {
            let begun = |id: &&u64| self.in_hand.has_begun(**id);
            self.early_acks.extend(acked.iter().filter(begun));
            self.unacked.extend(message.iter().filter(|_| !is_acked).map(|message| (id, message.clone())));
        }
        let of = plan.commit.acks.first().map(|ack| ack.0);
        if matches!(work, Work::Window(_)) || self.state.must_wait(&outcome.effects.changes, of) {
            self.commit_all(plans);
            self.finish_commits().await?;
        }
        if self.once.is_some() {
            self.state.learn(&outcome.effects.changes).await?;
        }
        for change in outcome.effects.changes {
            // What is there may be no counter.
            plan.is_doubtful |= matches!(change, StateChange::Add { .. });
            let change = self.state.begin(change, of);
            plan.bytes += change.bytes();
            plan.rows.push(change.key.clone());
            plan.commit.changes.push(change);
        }
        if let Work::Window(fired) = &work {
            plan.commit.changes.extend(fired.changes.iter().cloned());
        }
        let is_alone = message.as_ref().is_none_or(|message| message.redelivery_count > 0);
        plan.of.push(work);
        if let (Some(once), Some(message)) = (&mut self.once, &message) {
            for whole in once.ended(message.input, message.id, plan)? {
                let mut all = Planned::default();
                whole.parts.into_iter().for_each(|plan| all.add(plan));
                all.commit.once = Some(whole.number);
                self.commit(all);
            }
            return Ok(());
        }
        if is_alone {
            self.commit_all(plans);
            self.commit(plan);
        } else {
            self.merge(plan, plans);
        }
        Ok(())
    }

    /// Acknowledgements of one commit are of one input.
    fn merge(&mut self, plan: Planned, plans: &mut Vec<(Option<InputId>, Planned)>) {
        let input = plan.commit.acks.first().map(|ack| ack.0);
        if plan.commit.acks.iter().any(|ack| Some(ack.0) != input) {
            // Only a function that acknowledges by itself can bring these together.
            let mut first = plan;
            let acks = std::mem::take(&mut first.commit.acks);
            let (same, others): (Vec<_>, Vec<_>) = acks.into_iter().partition(|ack| Some(ack.0) == input);
            first.commit.acks = same;
            let of_others: Vec<_> = first.besides.extract_if(.., |message| Some(message.input) != input).collect();
            self.merge(first, plans);
            for ack in others {
                let mut planned = Planned::default();
                planned.besides.extend(of_others.iter().find(|message| (message.input, message.id) == ack).cloned());
                planned.commit.acks.push(ack);
                self.merge(planned, plans);
            }
            return;
        }
        match plans.iter_mut().find(|(of, _)| *of == input) {
            Some((_, full)) if full.bytes + plan.bytes > COMMIT_BYTES => {
                let full = std::mem::replace(full, plan);
                self.commit(full);
            }
            Some((_, into)) => into.add(plan),
            None => plans.push((input, plan)),
        }
    }

    /// Adds a record; one without a topic goes to the output, or nowhere when there is none.
    async fn add_output(&mut self, plan: &mut Planned, mut record: Record) -> Result<()> {
        let Some(topic) = record.topic.take().or_else(|| self.function.output.topic.clone()) else { return Ok(()) };
        let (bytes, most) = (record.bytes(), self.session.max_message_bytes());
        if bytes > most {
            return Err(Error::Invalid(format!("a message of {bytes} bytes to {topic}, at most {most} are possible")));
        }
        let once = plan.once.as_deref();
        let output = self.outputs.route(&mut self.session, &topic, record.key.as_ref(), once).await?;
        plan.is_doubtful |= bytes + ENTRY_EXTRA_BYTES > most;
        plan.bytes += bytes;
        plan.written += u64::from(self.function.output.topic.as_ref() == Some(&topic));
        plan.commit.outputs.push((output, record));
        Ok(())
    }

    /// An output refuses what is published, for now: the input stays, and comes again. A window is there again when the instance is.
    fn cannot_publish(&mut self, error: &Error, message: Option<&Arc<Message>>) -> Result<()> {
        // In order or not at all: nothing after it may be done before it.
        let in_order = self.function.guarantee == Guarantee::EffectivelyOnce;
        match message {
            Some(message) if !in_order && !matches!(error, Error::Closed(_)) => {
                self.system_exception(&error.to_string());
                self.refuse(message);
                Ok(())
            }
            _ => Err(error.clone()),
        }
    }

    async fn threw(
        &mut self,
        work: Work,
        exception: &UserException,
        plans: &mut Vec<(Option<InputId>, Planned)>,
    ) -> Result<()> {
        self.shared.status.lock().user_exception(&exception.message, self.parts.clock.now_ms());
        tracing::debug!(function = self.function.fqfn(), instance = self.instance_id, "user exception");
        let dead_letters = self.function.dead_letter_topic.clone();
        match work {
            Work::Window(fired) => {
                // The window has had its chance. Its elements are not lost where there is a place for them.
                let mut plan = Planned::default();
                self.commit_all(plans);
                self.finish_commits().await?;
                if let Some(topic) = dead_letters {
                    for element in &fired.expired {
                        let record = records::dead_letter(element, &topic, exception);
                        if let Err(error) = self.add_output(&mut plan, record).await {
                            return self.cannot_publish(&error, None);
                        }
                    }
                }
                plan.commit.changes.extend(fired.changes);
                self.merge(plan, plans);
            }
            Work::Message(message) => match self.function.guarantee {
                Guarantee::AtmostOnce => {}
                Guarantee::EffectivelyOnce => {
                    // In order or not at all: nothing after it may be done before it.
                    return Err(Error::Broker(format!("message {} failed: {}", message.id, exception.message)));
                }
                Guarantee::AtleastOnce | Guarantee::Manual => {
                    let retries = self.function.max_message_retries;
                    if retries.is_none_or(|retries| message.redelivery_count < retries) {
                        self.refuse(&message);
                        return Ok(());
                    }
                    let topic = dead_letters.unwrap_or_else(|| {
                        format!("{}-{}-DLQ", message.topic.partitioned(), self.function.subscription)
                    });
                    let mut plan = Planned::default();
                    self.unacked.retain(|_, unacked| (unacked.input, unacked.id) != (message.input, message.id));
                    plan.commit.acks.push((message.input, message.id));
                    plan.besides.push(message.clone());
                    let record = records::dead_letter(&message, &topic, exception);
                    if let Err(error) = self.add_output(&mut plan, record).await {
                        return self.cannot_publish(&error, Some(&message));
                    }
                    self.merge(plan, plans);
                }
            },
        }
        Ok(())
    }

    /// The message comes again, later.
    fn refuse(&mut self, message: &Arc<Message>) {
        self.refuse_until(self.now() + self.inputs.redelivery_delay(message.input), message);
    }

    fn refuse_until(&mut self, at: Duration, message: &Arc<Message>) {
        // With this guarantee it is acknowledged, and had its chance.
        if self.function.guarantee != Guarantee::AtmostOnce {
            self.unacked.retain(|_, unacked| (unacked.input, unacked.id) != (message.input, message.id));
            self.refused.add(at, message);
        }
    }

    fn system_exception(&self, message: &str) {
        tracing::warn!(function = self.function.fqfn(), instance = self.instance_id, message, "system exception");
        self.shared.status.lock().system_exception(message, self.parts.clock.now_ms());
    }

    async fn log(&mut self, lines: Vec<LogLine>) {
        if lines.is_empty() {
            return;
        }
        let now_ms = self.now_ms();
        {
            let mut kept = self.shared.lines.lock();
            lines.iter().for_each(|line| kept.push(line, now_ms));
        }
        let Some(topic) = self.function.log_topic.clone() else { return };
        let mut plan = Planned::default();
        for line in lines {
            let record = records::log_line(line, &topic, &self.function, self.instance_id, now_ms);
            if let Err(error) = self.add_output(&mut plan, record).await {
                return self.system_exception(&format!("log topic: {error}"));
            }
        }
        self.commit(plan);
    }

    // State.

    fn ask(&mut self, call: u64, question: Question) {
        match self.state.lookup(&question) {
            Lookup::Known(answer) => self.requests.push_back(Request::Answer { call, answer }),
            Lookup::Read => {
                let answer = self.state.read(question);
                self.answers.push(Box::pin(async move { (call, answer.await) }));
            }
            Lookup::Wait => self.waiting.push((call, question)),
        }
    }

    // Windows.

    async fn keep_in_window(&mut self, messages: &[Arc<Message>]) -> Result<()> {
        let now_ms = self.now_ms();
        let Some(windows) = &mut self.windows else { return Ok(()) };
        let (mut planned, mut commits) = (Planned::default(), Vec::new());
        let mut late = Vec::new();
        let mut too_large = Vec::new();
        for message in messages {
            if planned.bytes > COMMIT_BYTES {
                commits.push(std::mem::take(&mut planned));
            }
            planned.bytes += message.payload.len();
            if message.payload.len() > window::ELEMENT_BYTES_MAX {
                too_large.push(message);
                continue;
            }
            planned.commit.acks.push((message.input, message.id));
            planned.besides.push(message.clone());
            match windows.add(message.clone(), now_ms) {
                Some(change) => planned.commit.changes.push(change),
                None => late.push(message),
            }
            self.done += 1;
            self.demand.done(message.input, 1);
        }
        let late_topic = self.function.window.as_ref().and_then(|w| w.late_data_topic.clone());
        for message in late {
            tracing::debug!(function = self.function.fqfn(), id = %message.id, "an element came too late");
            if let Some(topic) = &late_topic {
                self.add_output(&mut planned, records::late(message, topic)).await?;
            }
        }
        for message in too_large {
            let (bytes, most) = (message.payload.len(), window::ELEMENT_BYTES_MAX);
            self.system_exception(&format!("message {} of {bytes} bytes, a window takes {most} at most", message.id));
            self.demand.done(message.input, 1);
            self.refuse(message);
        }
        commits.into_iter().chain([planned]).for_each(|planned| self.commit(planned));
        self.fire_windows();
        Ok(())
    }

    /// Takes over what instances have left that are there no longer.
    async fn adopt(&mut self) -> Result<()> {
        let parallelism = self.shared.parallelism.load(SeqCst);
        if let Some(windows) = self.windows.as_mut().filter(|_| !self.is_stopping) {
            windows.adopt(&*self.parts.tables, parallelism).await?;
            self.fire_windows();
        }
        Ok(())
    }

    fn has_many_windows(&self) -> bool {
        self.windows.is_some() && self.in_hand.len() >= WINDOWS_MAX
    }

    fn fire_windows(&mut self) {
        self.windows_wait = self.has_many_windows();
        if self.is_stopping || self.windows_wait {
            return;
        }
        let now_ms = self.now_ms();
        if let Some(windows) = &mut self.windows {
            windows.due(now_ms).into_iter().for_each(|fired| self.invoke(Work::Window(fired)));
        }
    }

    // Commits.

    fn commit(&mut self, mut planned: Planned) {
        let is_doubtful = planned.is_doubtful && !planned.parts.is_empty();
        let again = is_doubtful.then(|| planned.commit.clone());
        let commit = std::mem::take(&mut planned.commit);
        let (published, acks) = (commit.outputs.len() as u64, commit.acks.clone());
        let mut begun: BoxFuture<'static, Result<()>> =
            if commit.is_empty() { Box::pin(std::future::ready(Ok(()))) } else { self.session.commit(commit) };
        if let Some(again) = again.filter(|_| self.function.guarantee != Guarantee::EffectivelyOnce)
            && let Some(result) = (&mut begun).now_or_never()
        {
            if matches!(result, Err(Error::Invalid(_))) {
                // One of them is to blame. The others are committed before all that follows, so that keys keep their order.
                self.session.reopen(&again.acks);
                planned.commit = again;
                return planned.apart().into_iter().for_each(|plan| self.commit(plan));
            }
            begun = Box::pin(std::future::ready(result));
        }
        let Planned { invocations, written, rows, of, besides, then, .. } = planned;
        self.commits.push(Box::pin(async move {
            let result = begun.await;
            Ended { result, acks, invocations, published, written, rows, of, besides, then }
        }));
    }

    fn commit_all(&mut self, plans: &mut Vec<(Option<InputId>, Planned)>) {
        plans.drain(..).for_each(|(_, plan)| self.commit(plan));
    }

    fn ended(&mut self, mut ended: Ended) -> Result<()> {
        self.state.end(&ended.rows);
        match ended.result {
            Err(Error::Invalid(_)) => self.session.reopen(&ended.acks),
            _ => self.session.settled(&ended.acks),
        }
        let is_sure = !matches!(ended.result, Err(Error::Unsure(_)));
        match ended.result {
            // They come again, or they do not.
            Err(Error::Unsure(why)) => tracing::debug!(function = self.function.fqfn(), why, "acknowledgements"),
            // It can never be done as it is, and nothing of it was.
            Err(Error::Invalid(message)) if ended.of.len() == 1 => {
                ended.besides.iter().for_each(|message| self.refuse(message));
                self.impossible.extend(ended.of.pop().map(|work| (work, UserException { message })));
                return Ok(());
            }
            // These come again, each by itself, so that only one of them stays behind.
            Err(Error::Invalid(why))
                if ended.of.len() + ended.besides.len() > 0
                    && matches!(self.function.guarantee, Guarantee::AtleastOnce | Guarantee::Manual) =>
            {
                self.system_exception(&why);
                let at = match ended.acks[..] {
                    [(input, _)] => self.now() + self.inputs.redelivery_delay(input),
                    _ => self.now(),
                };
                let messages: Vec<_> = ended.of.iter().filter_map(Work::message).chain(&ended.besides).collect();
                messages.into_iter().for_each(|message| self.refuse_until(at, message));
                return Ok(());
            }
            result => result?,
        }
        self.shared.status.lock().processed(ended.invocations, ended.published);
        self.shared.meter.wrote(ended.written);
        match ended.then {
            Then::Nothing => {}
            Then::Invoke(messages) if is_sure => {
                messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
            }
            Then::Invoke(messages) => messages.iter().for_each(|message| self.demand.done(message.input, 1)),
            Then::Emitted(ids) => self.requests.push_back(Request::Emitted { ids, error: None }),
        }
        for (call, question) in std::mem::take(&mut self.waiting) {
            self.ask(call, question);
        }
        Ok(())
    }

    /// What can never be committed is to blame on what user code made of its input: as if that had thrown.
    async fn give_up(&mut self) -> Result<()> {
        while let Some((work, exception)) = self.impossible.pop_front() {
            let mut plans = Vec::new();
            self.threw(work, &exception, &mut plans).await?;
            self.commit_all(&mut plans);
        }
        Ok(())
    }

    async fn finish_commits(&mut self) -> Result<()> {
        while let Some(ended) = self.commits.next().await {
            self.ended(ended)?;
        }
        Ok(())
    }
}

/// What is handed over next.
fn take_batch(queue: &mut VecDeque<Invocation>, most: usize) -> Vec<Invocation> {
    let (mut count, mut bytes) = (0, 0);
    for invocation in queue.iter().take(most) {
        let size = invocation.input.bytes();
        if count > 0 && bytes + size > INVOKE_BYTES_MAX {
            break;
        }
        bytes += size;
        count += 1;
    }
    queue.drain(..count).collect()
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
