//! What a guest can call, and to which invocation it belongs.
//!
//! `next` begins an invocation, `done` or `fail` ends it; whatever the guest asks for in between is part of it. What an invocation changed
//! in the state it sees itself, before anybody else does; the loop answers with what earlier ones changed.

use bytes::Bytes;
use functions::{
    FunctionSpec, Kind, Record,
    runtime::{
        Answer, Effects, Event, Input, Invocation, LinkEnd, LogLevel, Outcome, Question, Request, Secret, StateChange,
        UserException,
    },
};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use wasmtime::{Result, bail};

use crate::{
    bindings::{self, context, messages, state, types},
    emissions::Emissions,
    engine::TICK,
    outbox::{Outbox, cut},
};

/// Bytes of an exception's text.
pub(crate) const EXCEPTION_BYTES_MAX: usize = 8 << 10;
/// Events that wait before the guest has to return and let its driver send them.
pub(crate) const EVENTS_WAITING_MAX: usize = 256;
/// What a guest is given in one call of `run`: some languages free what they were given only when they return.
const CALL_MESSAGES_MAX: usize = 256;
/// As before, in bytes of payload.
const CALL_BYTES_MAX: usize = 4 << 20;
/// After how long outcomes are sent while the guest goes on.
pub(crate) const SEND_AFTER: Duration = Duration::from_micros(500);
/// What a change of state or a metric takes besides its text.
const CHANGE_OVERHEAD: usize = 64;

/// An instance as its guests see it. It stays when a guest is replaced.
pub(crate) struct Host {
    pub(crate) function: Arc<FunctionSpec>,
    pub(crate) instance: u32,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) link: LinkEnd,
    pub(crate) outbox: Outbox,
    pub(crate) progress: Arc<Progress>,
    pub(crate) clock: Arc<dyn seams::Clock>,
    pub(crate) effects_bytes_max: usize,
    /// Of a source, and of nothing else.
    pub(crate) emissions: Option<Arc<Emissions>>,
    /// What the loop asked for and no guest has begun.
    pub(crate) queue: VecDeque<Invocation>,
    pub(crate) current: Option<Current>,
    /// Inputs and bytes of them in this call of `run`.
    given: (usize, usize),
    /// How many inputs it may be given.
    given_max: usize,
    pub(crate) sent_at: Duration,
    next_call: u64,
    /// Names of topics as text: there are few, and each message has one.
    topics: Vec<(Arc<model::TopicName>, String)>,
}

/// What the driver knows of a guest that runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Invocations begun.
    pub(crate) begun: AtomicU64,
    /// Ticks the guest has been running for, in all.
    pub(crate) ticks: AtomicU64,
    /// Its memory is nearly at its limit.
    pub(crate) is_crowded: AtomicBool,
    /// Of the ticks, those before the invocation at hand.
    ticks_before: AtomicU64,
}

impl Progress {
    /// What comes has all its time before it.
    pub(crate) fn restart(&self) {
        self.ticks_before.store(self.ticks.load(Relaxed), Relaxed);
    }

    /// How long the invocation at hand has been running, without what it waited.
    pub(crate) fn ran(&self) -> Duration {
        let ticks = self.ticks.load(Relaxed) - self.ticks_before.load(Relaxed);
        TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// The invocation at hand.
pub(crate) struct Current {
    id: u64,
    began: Duration,
    outputs: Vec<Record>,
    effects: Effects,
    bytes: usize,
    /// What it changed in the state, as it sees it.
    own: FxHashMap<String, Own>,
}

/// A row that the invocation at hand changed.
#[derive(Clone)]
enum Own {
    Value(Option<Bytes>),
    /// So much more than what was there.
    Added(i64),
}

impl Host {
    pub(crate) fn new(
        function: Arc<FunctionSpec>,
        instance: u32,
        secrets: BTreeMap<String, Secret>,
        link: LinkEnd,
        clock: Arc<dyn seams::Clock>,
        effects_bytes_max: usize,
    ) -> Self {
        let emissions = (function.kind == Kind::Source).then(Arc::default);
        Self {
            function,
            instance,
            secrets,
            link,
            emissions,
            outbox: Outbox::default(),
            progress: Arc::default(),
            sent_at: clock.monotonic(),
            clock,
            effects_bytes_max,
            queue: VecDeque::new(),
            current: None,
            given: (0, 0),
            given_max: 0,
            next_call: 0,
            topics: Vec::new(),
        }
    }

    /// The guest is about to be called. Its first call is of one message: after it, its memory is what it needs.
    pub(crate) fn enter(&mut self, is_first: bool) {
        self.given = (0, 0);
        self.given_max = if is_first { 1 } else { CALL_MESSAGES_MAX };
        self.progress.restart();
    }

    pub(crate) fn take(&mut self, request: Request) {
        match request {
            Request::Invoke(invocations) => self.queue.extend(invocations),
            // To a guest that is no more, or one that answers before it is called again.
            Request::Answer { .. } | Request::Emitted { .. } | Request::Finish { .. } => {}
        }
    }

    /// Ends the invocation at hand, if there is one; false: there is none.
    pub(crate) fn end(&mut self, result: Result<Option<Bytes>, String>) -> bool {
        let Some(mut current) = self.current.take() else { return false };
        let took = self.clock.monotonic().saturating_sub(current.began);
        let outcome = match result {
            Ok(output) => {
                current.outputs.extend(output.map(|payload| Record { payload, ..Record::default() }));
                Outcome { result: Ok(current.outputs), effects: current.effects, took }
            }
            Err(text) => {
                let message = cut(&text, EXCEPTION_BYTES_MAX).to_owned();
                let effects = Effects { metrics: current.effects.metrics, ..Effects::default() };
                Outcome { result: Err(UserException { message }), effects, took }
            }
        };
        self.outbox.push(Event::Done { id: current.id, outcome });
        true
    }

    /// Fails an invocation that no guest has begun.
    pub(crate) fn refuse_front(&mut self, why: &str) {
        if let Some(invocation) = self.queue.pop_front() {
            self.begin(invocation.id);
            self.end(Err(why.to_owned()));
        }
    }

    fn begin(&mut self, id: u64) {
        self.progress.begun.fetch_add(1, Relaxed);
        self.progress.restart();
        self.current = Some(Current {
            id,
            began: self.clock.monotonic(),
            outputs: Vec::new(),
            effects: Effects::default(),
            bytes: 0,
            own: FxHashMap::default(),
        });
    }

    /// The next input, if it is one of those `wanted` and the guest may go on.
    fn next_input(&mut self, wanted: fn(&Input) -> bool) -> Option<(u64, Input)> {
        self.end(Ok(None));
        let waiting = self.outbox.len();
        // A call that finds a message gets it, whatever else waits: so one that took none did not want to.
        if waiting > 0 && self.given.0 > 0 {
            let now = self.clock.monotonic();
            if waiting >= EVENTS_WAITING_MAX || now.saturating_sub(self.sent_at) >= SEND_AFTER {
                self.sent_at = now;
                // No room: the guest returns, its driver waits.
                if !self.outbox.try_send(&self.link.events) {
                    return None;
                }
            }
        }
        if self.given.0 >= self.given_max || self.given.1 >= CALL_BYTES_MAX || self.link.events.is_closed() {
            return None;
        }
        // Short of memory: its driver looks whether it leaks.
        if self.given.0 > 0 && self.progress.is_crowded.load(Relaxed) {
            return None;
        }
        if self.queue.is_empty() {
            while let Ok(request) = self.link.requests.try_recv() {
                self.take(request);
            }
        }
        if !wanted(&self.queue.front()?.input) {
            return None;
        }
        let Invocation { id, input } = self.queue.pop_front()?;
        self.given = (self.given.0 + 1, self.given.1 + input.bytes());
        self.begin(id);
        self.outbox.take_tail();
        Some((id, input))
    }

    fn topic(&mut self, topic: &Arc<model::TopicName>) -> String {
        if let Some((_, text)) = self.topics.iter().find(|(known, _)| Arc::ptr_eq(known, topic)) {
            return text.clone();
        }
        // A pattern may match any number of them.
        if self.topics.len() >= 64 {
            self.topics.clear();
        }
        let text = topic.to_string();
        self.topics.push((Arc::clone(topic), text.clone()));
        text
    }

    /// The invocation at hand, which now holds `bytes` more.
    fn current(&mut self, what: &str, bytes: usize) -> Result<&mut Current> {
        let max = self.effects_bytes_max;
        if self.emissions.is_some() {
            bail!("{what} is of functions and sinks: a source emits, and keeps its position where it reads");
        }
        let Some(current) = &mut self.current else {
            bail!("{what} was called while no message was at hand");
        };
        current.bytes = current.bytes.saturating_add(bytes);
        if current.bytes > max {
            bail!("outputs, publishes and changes of one invocation may have {max} bytes together");
        }
        Ok(current)
    }

    fn own(&self, key: &str) -> Option<Own> {
        self.current.as_ref()?.own.get(key).cloned()
    }

    /// Asks the loop; the outer error ends the guest.
    async fn ask(&mut self, question: Question) -> Result<Result<Answer, String>> {
        if self.emissions.is_some() {
            return Ok(Err("a source has no state: it keeps its position where it reads".to_owned()));
        }
        let call = self.next_call;
        self.next_call += 1;
        let invocation = self.current.as_ref().map(|current| current.id);
        self.outbox.push(Event::Call { call, invocation, question });
        if !self.outbox.send(&self.link.events).await {
            bail!("the instance was stopped");
        }
        loop {
            match self.link.requests.recv().await {
                Some(Request::Answer { call: answered, answer }) if answered == call => {
                    return Ok(match answer {
                        Answer::Failed(why) => Err(why),
                        answer => Ok(answer),
                    });
                }
                Some(request) => self.take(request),
                None => bail!("the instance was stopped"),
            }
        }
    }

    async fn ask_counter(&mut self, key: String) -> Result<Result<i64, String>> {
        Ok(match self.ask(Question::Counter(key)).await? {
            Ok(Answer::Counter(value)) => Ok(value),
            Ok(_) => Err("the answer was of another kind".to_owned()),
            Err(why) => Err(why),
        })
    }
}

impl types::Host for Host {}

impl messages::Host for Host {
    fn next(&mut self) -> Result<Option<types::Message>> {
        let Some((id, input)) = self.next_input(|input| matches!(input, Input::Message(_))) else { return Ok(None) };
        let Input::Message(message) = input else { return Ok(None) };
        let topic = self.topic(&message.topic);
        Ok(Some(bindings::to_guest(&message, id, topic)))
    }

    fn next_window(&mut self) -> Result<Option<Vec<types::Message>>> {
        let Some((id, input)) = self.next_input(|input| matches!(input, Input::Window(_))) else { return Ok(None) };
        let Input::Window(window) = input else { return Ok(None) };
        let to_guest = |message: &Arc<functions::Message>| {
            let topic = self.topic(&message.topic);
            bindings::to_guest(message, id, topic)
        };
        Ok(Some(window.iter().map(to_guest).collect()))
    }

    fn output(&mut self, message: types::NewMessage) -> Result<()> {
        let bytes = bindings::weight(&message);
        self.current("messages.output", bytes)?.outputs.push(bindings::from_guest(message));
        Ok(())
    }

    fn done(&mut self, payload: Option<Vec<u8>>) -> Result<()> {
        self.current("messages.done", payload.as_ref().map_or(0, Vec::len))?;
        self.end(Ok(payload.map(Bytes::from)));
        Ok(())
    }

    fn fail(&mut self, error: String) -> Result<()> {
        self.current("messages.fail", 0)?;
        self.end(Err(error));
        Ok(())
    }
}

impl state::Host for Host {
    async fn get(&mut self, key: String) -> Result<Result<Option<Vec<u8>>, String>> {
        match self.own(&key) {
            Some(Own::Value(value)) => return Ok(Ok(value.map(Into::into))),
            Some(Own::Added(amount)) => {
                let counter = self.ask_counter(key).await?;
                return Ok(counter.map(|value| Some(value.wrapping_add(amount).to_be_bytes().to_vec())));
            }
            None => {}
        }
        Ok(match self.ask(Question::State(key)).await? {
            Ok(Answer::State(value)) => Ok(value.map(Into::into)),
            Ok(_) => Err("the answer was of another kind".to_owned()),
            Err(why) => Err(why),
        })
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        let value = Bytes::from(value);
        let current = self.current("state.put", CHANGE_OVERHEAD + 2 * key.len() + value.len())?;
        current.own.insert(key.clone(), Own::Value(Some(value.clone())));
        current.effects.changes.push(StateChange::Put { key, value });
        Ok(())
    }

    fn delete(&mut self, key: String) -> Result<()> {
        let current = self.current("state.delete", CHANGE_OVERHEAD + 2 * key.len())?;
        current.own.insert(key.clone(), Own::Value(None));
        current.effects.changes.push(StateChange::Delete { key });
        Ok(())
    }

    async fn get_counter(&mut self, key: String) -> Result<Result<i64, String>> {
        match self.own(&key) {
            Some(Own::Value(None)) => Ok(Ok(0)),
            Some(Own::Value(Some(value))) => {
                Ok(counter(&value).ok_or_else(|| format!("the value of {key:?} is no counter")))
            }
            Some(Own::Added(amount)) => Ok(self.ask_counter(key).await?.map(|value| value.wrapping_add(amount))),
            None => self.ask_counter(key).await,
        }
    }

    fn increment(&mut self, key: String, amount: i64) -> Result<()> {
        let current = self.current("state.increment", CHANGE_OVERHEAD + 2 * key.len())?;
        let own = match current.own.get(&key) {
            None => Own::Added(amount),
            Some(Own::Added(before)) => Own::Added(before.wrapping_add(amount)),
            Some(Own::Value(None)) => Own::Value(Some(Bytes::copy_from_slice(&amount.to_be_bytes()))),
            Some(Own::Value(Some(value))) => match counter(value) {
                Some(value) => Own::Value(Some(Bytes::copy_from_slice(&value.wrapping_add(amount).to_be_bytes()))),
                None => bail!("the value of {key:?} is no counter"),
            },
        };
        current.own.insert(key.clone(), own);
        current.effects.changes.push(StateChange::Add { key, amount });
        Ok(())
    }
}

/// A counter is 8 bytes, big-endian.
fn counter(value: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(value.try_into().ok()?))
}

impl context::Host for Host {
    fn about(&mut self) -> Result<context::Info> {
        let function = &self.function;
        Ok(context::Info {
            tenant: function.tenant.clone(),
            namespace: function.namespace.clone(),
            name: function.name.clone(),
            id: function.id.clone(),
            version: function.version,
            instance: self.instance,
            parallelism: function.parallelism,
            inputs: function.inputs.keys().cloned().collect(),
            output: function.output.topic.clone(),
            cluster: function.cluster.clone(),
        })
    }

    fn log(&mut self, level: context::Level, message: String) -> Result<()> {
        let level = match level {
            context::Level::Trace => LogLevel::Trace,
            context::Level::Debug => LogLevel::Debug,
            context::Level::Info => LogLevel::Info,
            context::Level::Warn => LogLevel::Warn,
            context::Level::Error => LogLevel::Error,
        };
        self.outbox.log(level, &message);
        Ok(())
    }

    fn publish(&mut self, message: types::NewMessage) -> Result<()> {
        let bytes = bindings::weight(&message);
        self.current("context.publish", bytes)?.effects.publishes.push(bindings::from_guest(message));
        Ok(())
    }

    fn record_metric(&mut self, name: String, value: f64) -> Result<()> {
        // Those of a source have no outcome that could carry them.
        if self.emissions.is_some() {
            return Ok(());
        }
        self.current("context.record-metric", CHANGE_OVERHEAD + name.len())?.effects.metrics.push((name, value));
        Ok(())
    }

    fn ack(&mut self, invocation: u64) -> Result<()> {
        self.current("context.ack", CHANGE_OVERHEAD)?.effects.acks.push(invocation);
        Ok(())
    }

    fn user_config(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.function.user_config.get(&name).map(ToString::to_string))
    }

    fn user_config_all(&mut self) -> Result<String> {
        Ok(serde_json::to_string(&self.function.user_config)?)
    }

    fn secret(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.secrets.get(&name).map(|secret| secret.0.clone()))
    }
}
