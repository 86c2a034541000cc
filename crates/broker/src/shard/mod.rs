//! A shard owns the topics whose names hash to it and handles what happens to them in order, so topic state needs no lock.
//!
//! One wake-up takes all events that wait, turns them into one journal commit, and says everything it has to say to
//! each connection in one batch. Nothing here waits for the disk: a commit's consequences are kept in `pending` until
//! the journal reports them durable.

mod bells;
mod commit;
mod event;
mod maintenance;
mod outbox;
mod resting;
mod transaction;

pub(crate) use commit::{After, Append, DUPLICATE};
pub(crate) use event::{At, Event, Handle, Reply, stopping};
pub(crate) use outbox::Outbox;
pub(crate) use transaction::Published;

use ledger::{Batch, Store};
use model::TopicName;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::Instant,
};

use crate::{
    config::Config,
    error::{Error, Result},
    metadata::Metadata,
    publish_buffer::PublishBuffer,
    topic::Topic,
};
use bells::Bells;
use commit::Pending;
use resting::Resting;

/// Events one wake-up takes at most, so that durable commits are answered in between.
const EVENTS_PER_TURN: usize = 256;

/// Topics and what their handling needs. Two halves, so that a topic can be borrowed beside the context.
pub(crate) struct Shard {
    pub(crate) topics: FxHashMap<u64, Box<Topic>>,
    pub(crate) names: FxHashMap<TopicName, u64>,
    pub(crate) cx: Context,
    pending: VecDeque<Pending>,
    /// Unloaded while the journal had no room for what was appended to them.
    unretired: Vec<Topic>,
    /// Topics being deleted: nobody may load them before they are gone.
    pub(crate) leaving: FxHashSet<TopicName>,
    /// What is known of topics that are not loaded.
    pub(crate) resting: Resting,
    failed: Arc<AtomicBool>,
    next_maintenance: Option<Instant>,
    /// Topics this round of maintenance has still to look at, in how many steps it goes over all, how many a step.
    round: Vec<u64>,
    round_steps: usize,
    round_share: usize,
}

/// What handling a topic needs besides the topic.
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) metadata: Metadata,
    pub(crate) clock: Arc<dyn seams::Clock>,
    pub(crate) handle: Handle,
    pub(crate) publish_buffer: Arc<PublishBuffer>,
    pub(crate) compactions: Arc<Semaphore>,
    /// Records of the commit being built.
    pub(crate) batch: Batch,
    /// Entries appended in it, in the same order.
    pub(crate) appends: Vec<Append>,
    /// Those of them that belong to outputs, and what keeps their topics waiting.
    pub(crate) outputs: Vec<Published>,
    pub(crate) under_way: Vec<ledger::UnderWay>,
    /// What follows when it is durable.
    pub(crate) after: Vec<After>,
    pub(crate) outbox: Outbox,
    /// Topics that may have something to dispatch.
    pub(crate) ready: Vec<u64>,
    /// Topics a connection has or had something on since they were loaded.
    pub(crate) peers: FxHashMap<u64, FxHashSet<u64>>,
    /// Topics with acknowledgements not journaled yet, and when they have to be.
    pub(crate) dirty_acks: FxHashSet<u64>,
    pub(crate) ack_deadline: Option<Instant>,
    /// Something waits for the acknowledgements of this turn: journal them now.
    pub(crate) flush_acks_now: bool,
    /// How much was asked for since acknowledgements were last journaled, see [`crate::Requests`].
    pub(crate) ack_weight: usize,
    /// Earliest moment at which a delayed message falls due (wall clock milliseconds).
    pub(crate) delayed: std::collections::BTreeSet<(u64, u64)>,
    /// Wall clock, milliseconds, read once a turn.
    pub(crate) now_ms: u64,
    /// Who sleeps until a subscription has something for a consumer.
    pub(crate) bells: Bells,
    listener: Arc<dyn journal::Listener>,
    next_id: u64,
}

/// Wakes the shard when the journal has something durable.
struct Waker {
    notify: Arc<Notify>,
    failed: Arc<AtomicBool>,
}

impl journal::Listener for Waker {
    fn advanced(&self, _durable: journal::Lsn) {
        self.notify.notify_one();
    }

    fn failed(&self) {
        self.failed.store(true, Relaxed);
        self.notify.notify_one();
    }
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) metadata: Metadata,
    pub(crate) clock: Arc<dyn seams::Clock>,
    pub(crate) publish_buffer: Arc<PublishBuffer>,
    /// Who may compact.
    pub(crate) compactions: Arc<Semaphore>,
}

impl Context {
    /// A number for a topic, producer, consumer or subscription; never used again in this shard.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Remembers that a cursor of `topic` moved; `now` when somebody waits for it to be durable.
    pub(crate) fn acks_dirty(&mut self, topic: u64, now: bool) {
        self.dirty_acks.insert(topic);
        self.flush_acks_now |= now;
        if self.ack_deadline.is_none() {
            self.ack_deadline = Some(Instant::now() + self.config.ack_flush_interval);
        }
    }
}

impl Shard {
    /// Makes a shard and the handle to it; nobody else sees its channel.
    pub(crate) fn new(parts: Parts, handle: Handle) -> (Self, Arc<Notify>) {
        let notify = Arc::new(Notify::new());
        let failed = Arc::new(AtomicBool::new(false));
        let listener: Arc<dyn journal::Listener> = Arc::new(Waker { notify: notify.clone(), failed: failed.clone() });
        let cx = Context {
            batch: parts.store.batch(),
            now_ms: parts.clock.now_ms(),
            config: parts.config,
            store: parts.store,
            metadata: parts.metadata,
            clock: parts.clock,
            publish_buffer: parts.publish_buffer,
            compactions: parts.compactions,
            handle,
            appends: Vec::new(),
            outputs: Vec::new(),
            under_way: Vec::new(),
            after: Vec::new(),
            outbox: Outbox::default(),
            ready: Vec::new(),
            peers: FxHashMap::default(),
            dirty_acks: FxHashSet::default(),
            ack_deadline: None,
            flush_acks_now: false,
            ack_weight: 0,
            delayed: std::collections::BTreeSet::new(),
            bells: Bells::default(),
            listener,
            next_id: 0,
        };
        let shard = Self {
            topics: FxHashMap::default(),
            names: FxHashMap::default(),
            cx,
            pending: VecDeque::new(),
            unretired: Vec::new(),
            leaving: FxHashSet::default(),
            resting: Resting::default(),
            failed,
            next_maintenance: None,
            round: Vec::new(),
            round_steps: 1,
            round_share: 0,
        };
        (shard, notify)
    }

    /// Handles events until the channel closes or shutdown is asked for; see the module.
    pub(crate) async fn run(
        mut self,
        durable: Arc<Notify>,
        mut events: mpsc::UnboundedReceiver<Event>,
        shutdown: seams::Shutdown,
    ) {
        let mut taken = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = durable.notified() => {}
                n = events.recv_many(&mut taken, EVENTS_PER_TURN) => {
                    if n == 0 {
                        break;
                    }
                }
                () = sleep_until(deadline) => {}
                () = shutdown.triggered() => break,
            }
            if taken.is_empty() {
                // Woken by the journal: see what else came in meanwhile, without waiting.
                while taken.len() < EVENTS_PER_TURN
                    && let Ok(event) = events.try_recv()
                {
                    taken.push(event);
                }
            }
            self.cx.now_ms = self.cx.clock.now_ms();
            for event in taken.drain(..) {
                self.handle(event);
            }
            self.turn();
        }
    }

    /// Everything that follows from the events of one wake-up.
    fn turn(&mut self) {
        self.timers();
        self.commit();
        self.answer_durable();
        self.dispatch();
        // Dispatching or answering may have moved cursors or removed topics.
        self.commit();
        self.cx.outbox.flush();
    }

    fn dispatch(&mut self) {
        // A dispatch may make its own topic ready again (more to read than one turn takes); that is for the next turn.
        let ready = std::mem::take(&mut self.cx.ready);
        for id in ready {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.dispatch(&mut self.cx);
            }
        }
        if !self.cx.ready.is_empty() {
            self.cx.handle.send(Event::Again);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let delayed = self
            .cx
            .delayed
            .first()
            .map(|&(due, _)| Instant::now() + Duration::from_millis(due.saturating_sub(self.cx.clock.now_ms())));
        // After a full disk the commit is tried again.
        let retry = (!self.cx.batch.is_empty()).then(|| Instant::now() + Duration::from_millis(100));
        [self.cx.ack_deadline, self.next_maintenance, delayed, retry].into_iter().flatten().min()
    }

    fn timers(&mut self) {
        let now = Instant::now();
        if self.cx.flush_acks_now || self.cx.ack_deadline.is_some_and(|at| at <= now) {
            self.flush_acks();
        }
        while let Some(&(due, topic)) = self.cx.delayed.first()
            && due <= self.cx.now_ms
        {
            self.cx.delayed.pop_first();
            if let Some(topic) = self.topics.get_mut(&topic) {
                topic.set_ready(&mut self.cx);
            }
        }
        let mut steps = 1;
        if self.next_maintenance.is_some_and(|at| at <= now) {
            steps = self.maintain();
        }
        self.next_maintenance = match (self.topics.is_empty(), self.next_maintenance) {
            (true, _) => None,
            (false, Some(at)) if at > now => Some(at),
            (false, _) => Some(now + self.cx.config.maintenance_interval / steps),
        };
    }

    fn flush_acks(&mut self) {
        self.cx.flush_acks_now = false;
        self.cx.ack_weight = 0;
        self.cx.ack_deadline = None;
        for id in std::mem::take(&mut self.cx.dirty_acks) {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.ledger.flush_acks(&mut self.cx.batch);
            }
        }
    }

    /// The loaded topic of this name, loading it when it is stored.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub(crate) fn topic(&mut self, name: &TopicName) -> Result<u64> {
        if let Some(&id) = self.names.get(name) {
            return Ok(id);
        }
        if self.leaving.contains(name) {
            return Err(Error::NotReady("the topic is being deleted".into()));
        }
        if !name.is_persistent() {
            // It exists while it is loaded.
            return Err(Error::TopicNotFound(name.clone()));
        }
        let ledger = self.cx.store.load(name).map_err(|error| match error {
            ledger::Error::NotFound(_) => Error::TopicNotFound(name.clone()),
            other => other.into(),
        })?;
        self.loaded(name, ledger)
    }

    /// Opens a topic that is not persistent.
    ///
    /// # Errors
    /// [`Error::TopicExists`].
    pub(crate) fn create_non_persistent(
        &mut self,
        name: &TopicName,
        properties: BTreeMap<String, String>,
    ) -> Result<u64> {
        if self.names.contains_key(name) {
            return Err(Error::TopicExists(name.clone()));
        }
        let mut ledger = self.cx.store.pass_through(name)?;
        ledger.set_properties(&mut self.cx.batch, properties);
        self.loaded(name, ledger)
    }

    fn loaded(&mut self, name: &TopicName, ledger: ledger::ManagedLedger) -> Result<u64> {
        let id = self.cx.next_id();
        self.resting.stirs(name);
        let mut topic = Topic::load(id, ledger, &mut self.cx)?;
        if self.cx.bells.on(name) {
            topic.set_ready(&mut self.cx);
        }
        self.names.insert(name.clone(), id);
        self.topics.insert(id, Box::new(topic));
        Ok(id)
    }

    /// The loaded topic `id` and the context beside it.
    pub(crate) fn at(&mut self, id: u64) -> Result<(&mut Topic, &mut Context)> {
        match self.topics.get_mut(&id) {
            Some(topic) => Ok((topic, &mut self.cx)),
            None => Err(Error::NotReady("the topic was closed".into())),
        }
    }

    /// Closes a loaded topic: producers and consumers are told to look up again, acknowledgements are journaled.
    pub(crate) fn unload(&mut self, id: u64) {
        if let Some(mut topic) = self.topics.remove(&id) {
            if !self.leaving.contains(topic.name()) {
                self.resting.rests(&mut topic, self.cx.now_ms);
            }
            topic.close(&mut self.cx);
            self.names.remove(topic.name());
            // What is still on its way to the disk is committed before the row is given back.
            topic.ledger.flush_acks(&mut self.cx.batch);
            self.retire(*topic);
        }
    }

    /// Lets go of a topic once everything appended to it is durable.
    fn retire(&mut self, topic: Topic) {
        self.commit();
        if !self.cx.batch.is_empty() {
            // Whoever loads it now must find what the batch appends to it.
            return self.unretired.push(topic);
        }
        let lsn = self.cx.store.last();
        if self.cx.store.durable() >= lsn || self.failed.load(Relaxed) {
            drop(topic);
        } else {
            self.wake_when_durable(lsn);
            self.pending.push_back(Pending::retired(lsn, topic));
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
