//! A producer whose entries travel in commits of other shards: how a function publishes in the commit that acknowledges its input.
//!
//! It is registered with its topic like any other producer, and closed like one: by its owner, with its connection, when somebody else
//! gets exclusive access, when a quota is passed, when the topic is terminated or unloaded. Other shards see that here.
//!
//! Who wants to be sure that nothing more comes closes the outputs and then waits until none is under way; a shard says that one is
//! under way before it looks whether the output is open.

use ledger::{Appender, UnderWay};
use model::TopicName;
use parking_lot::Mutex;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use crate::{error::Error, peer::ProducerCreated, requests::ProducerHandle, shard, topic::Admission};

/// What all shards know of one output.
pub(crate) struct Output {
    pub(crate) topic: TopicName,
    /// Name of the producer.
    pub(crate) name: String,
    /// Key of the producer in its topic.
    pub(crate) producer: u64,
    /// The shard that owns the topic.
    pub(crate) owner: shard::Handle,
    /// `None` when the topic is not persistent.
    appender: Option<Mutex<Appender>>,
    /// What the topic asks of entries.
    admission: Mutex<Admission>,
    closed: AtomicBool,
    why: OnceLock<Error>,
}

/// A producer as a function holds it; clones are the same producer. Closed with its connection.
#[derive(Clone)]
pub struct OutputHandle {
    pub(crate) output: Arc<Output>,
    handle: ProducerHandle,
    created: ProducerCreated,
}

/// The topic's end of an output: when this goes, the output is closed.
pub(crate) struct End(pub(crate) Arc<Output>);

impl Output {
    pub(crate) fn new(
        topic: TopicName,
        name: String,
        producer: u64,
        owner: shard::Handle,
        appender: Option<Appender>,
    ) -> Self {
        let appender = appender.map(Mutex::new);
        let (admission, closed, why) = (Mutex::default(), AtomicBool::new(false), OnceLock::new());
        Self { topic, name, producer, owner, appender, admission, closed, why }
    }

    pub(crate) fn set_admission(&self, admission: Admission) {
        *self.admission.lock() = admission;
    }

    /// Whether the topic takes this entry.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admits(&self, entry: &[u8]) -> Result<(), Error> {
        let admission = *self.admission.lock();
        admission.check(entry)
    }

    fn close(&self, why: Error) {
        // The first reason is the true one.
        let _ = self.why.set(why);
        self.closed.store(true, SeqCst);
    }

    /// Says that an entry may come, and whether it may.
    ///
    /// # Errors
    /// Why the output is closed; [`Error::TopicNotFound`] when its topic is deleted.
    pub(crate) fn begin(&self) -> Result<Option<UnderWay>, Error> {
        let under_way = self.appender.as_ref().map(|appender| appender.lock().begin());
        if !self.closed.load(SeqCst) {
            return Ok(under_way);
        }
        if self.appender.as_ref().is_some_and(|appender| appender.lock().is_deleted()) {
            return Err(Error::TopicNotFound(self.topic.clone()));
        }
        Err(self.why.get().cloned().unwrap_or_else(|| Error::NotReady("the producer was closed".into())))
    }

    /// Works on the appender, where there is one.
    pub(crate) fn append(&self, append: impl FnOnce(&mut Appender)) {
        if let Some(appender) = &self.appender {
            append(&mut appender.lock());
        }
    }

    /// Whether its entries are stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.appender.is_some()
    }

    /// Whether this is an output of that topic, not of one that had its name.
    pub(crate) fn is_of(&self, ledger: &ledger::ManagedLedger) -> bool {
        self.appender.as_ref().is_none_or(|appender| ledger.is_of(&appender.lock()))
    }
}

impl End {
    pub(crate) fn close(&self, why: &Error) {
        self.0.close(why.clone());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.close(Error::NotReady("the producer was closed".into()));
    }
}

impl OutputHandle {
    pub(crate) fn new(output: Arc<Output>, handle: ProducerHandle, created: ProducerCreated) -> Self {
        Self { output, handle, created }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.output.topic
    }

    /// What an ordinary producer is told when it is created: its name, and the last sequence id known for that.
    #[must_use]
    pub fn created(&self) -> &ProducerCreated {
        &self.created
    }

    /// Whether a commit with it would be refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.output.closed.load(SeqCst)
    }

    /// Closes the producer. What is in commits under way is not taken back.
    pub async fn close(&self) {
        self.handle.close().await;
    }
}

impl std::fmt::Debug for OutputHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutputHandle({} of {})", self.output.name, self.output.topic)
    }
}
