//! Who may produce: names, access modes, fencing by epoch.
//!
//! Source: Pulsar's `AbstractTopic.addProducer` and `incrementTopicEpochIfNeeded`, PIP-68 (exclusive producer).

use model::AccessMode;
use std::{collections::BTreeMap, sync::Arc};

use super::Topic;
use crate::{
    error::{Error, Result},
    output::{self, Output},
    peer::{Outgoing, Peer, ProducerCreated},
    rate::Rate,
    requests::NewProducer,
    shard::{Context, Reply},
};

/// One producer of a topic.
pub(crate) struct Producer {
    pub(crate) key: u64,
    pub(crate) producer_id: u64,
    pub(crate) peer: Arc<Peer>,
    pub(crate) name: String,
    pub(crate) epoch: u64,
    pub(crate) user_provided_name: bool,
    pub(crate) access_mode: AccessMode,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) connected_since_ms: u64,
    /// Appended and not durable yet.
    pub(crate) pending: u32,
    /// Closed by its client; waits for `pending` to reach zero.
    pub(crate) closing: Option<Reply<()>>,
    pub(crate) msg_in: Rate,
    pub(crate) bytes_in: Rate,
    /// It publishes in commits of functions.
    output: Option<output::End>,
}

/// A producer that waits for exclusive access.
pub(crate) struct Waiting {
    /// Made already, so that the connection can name it before its turn comes.
    key: u64,
    pub(crate) peer: Arc<Peer>,
    request: NewProducer,
    name: String,
}

impl Waiting {
    pub(crate) fn fail(self, cx: &mut Context, error: Error) {
        cx.outbox.push(&self.peer, Outgoing::ProducerFailed { request_id: self.request.request_id, error });
    }
}

impl Topic {
    /// Takes a producer, or says why not. With `WaitForExclusive` the answer may be "not ready yet".
    pub(crate) fn add_producer(
        &mut self,
        cx: &mut Context,
        peer: &Arc<Peer>,
        request: NewProducer,
        generated_name: impl FnOnce() -> String,
    ) -> Result<(u64, ProducerCreated)> {
        if self.terminated {
            return Err(Error::TopicTerminated);
        }
        if self.quota_exceeded {
            let exception = self.policies.quota_is_exception();
            return Err(Error::ProducerBlockedQuota { exception });
        }
        if self.policies.admission.encryption_required && !request.encrypted {
            return Err(Error::BadRequest(format!("Encryption is required in {}", self.name())));
        }
        let max = self.policies.max_producers;
        if max > 0 && self.producers.len() >= max {
            return Err(Error::ProducerBusy("Topic reached max producers limit".into()));
        }
        let name = request.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(generated_name);
        self.replace_same_name(cx, peer, &request, &name)?;
        let added = self.add_named(cx, peer, request, name);
        if added.is_err() {
            // It may have been replaced all the same.
            self.promote(cx);
        }
        added
    }

    fn add_named(
        &mut self,
        cx: &mut Context,
        peer: &Arc<Peer>,
        request: NewProducer,
        name: String,
    ) -> Result<(u64, ProducerCreated)> {
        if let (Some(theirs), Some(ours)) = (request.topic_epoch, self.epoch)
            && theirs < ours
            && request.access_mode != AccessMode::Shared
        {
            return Err(Error::ProducerFenced(format!(
                "Producer has been fenced: topic epoch {theirs} is older than {ours}"
            )));
        }
        if request.topic_epoch.is_some_and(|epoch| i64::try_from(epoch).is_err()) {
            // Signed on the client's side: older than any.
            return Err(Error::ProducerFenced("Producer has been fenced: its topic epoch is negative".into()));
        }
        match request.access_mode {
            AccessMode::Shared => {
                if self.exclusive.is_some() || !self.waiting.is_empty() {
                    return Err(Error::ProducerBusy("Topic has an existing exclusive producer".into()));
                }
            }
            AccessMode::Exclusive => {
                if self.exclusive.is_some() || !self.waiting.is_empty() {
                    return Err(Error::ProducerFenced("Topic has an existing exclusive producer".into()));
                }
                if !self.producers.is_empty() {
                    return Err(Error::ProducerFenced("Topic has existing shared producers".into()));
                }
                self.raise_epoch(cx, request.topic_epoch);
            }
            AccessMode::ExclusiveWithFencing => {
                let fenced = Error::ProducerFenced("Fenced by a producer with exclusive access".into());
                self.disconnect_producers(cx, &fenced);
                self.raise_epoch(cx, request.topic_epoch);
            }
            AccessMode::WaitForExclusive => {
                if self.exclusive.is_some() || !self.producers.is_empty() {
                    let created = ProducerCreated {
                        name: name.clone(),
                        last_sequence_id: -1,
                        topic_epoch: None,
                        ready: false,
                        schema_version: None,
                    };
                    let key = cx.next_id();
                    self.attach(cx, peer);
                    self.waiting.push_back(Waiting { key, peer: peer.clone(), request, name });
                    return Ok((key, created));
                }
                self.raise_epoch(cx, request.topic_epoch);
            }
        }
        let key = cx.next_id();
        Ok((key, self.admit(cx, key, peer.clone(), request, name)))
    }

    /// Makes a producer an output.
    pub(crate) fn attach_output(&mut self, producer: u64, output: Arc<Output>) -> Result<()> {
        let gone = || Error::NotReady("the producer was closed".into());
        output.set_admission(self.policies.admission);
        self.producers.get_mut(&producer).ok_or_else(gone)?.output = Some(output::End(output));
        Ok(())
    }

    /// Tells outputs what the policies ask of entries now.
    pub(super) fn outputs_admit(&self) {
        for output in self.producers.values().filter_map(|p| p.output.as_ref()) {
            output.0.set_admission(self.policies.admission);
        }
    }

    /// Closes outputs, which are told why with their next commit; says whether entries of theirs may still come.
    pub(crate) fn close_outputs(&mut self, cx: &mut Context, why: &Error) -> bool {
        let outputs = self.producers.values().filter(|p| p.output.is_some());
        for key in outputs.map(|p| p.key).collect::<Vec<_>>() {
            if let Some(end) = self.producers.get(&key).and_then(|p| p.output.as_ref()) {
                end.close(why);
            }
            self.disconnect_producer(cx, key);
        }
        self.ledger.others_under_way()
    }

    /// The connection that has a producer of this name, and its key.
    pub(crate) fn producer_named(&self, name: &str) -> Option<(u64, Arc<Peer>)> {
        self.producers.values().find(|p| p.name == name && p.closing.is_none()).map(|p| (p.key, p.peer.clone()))
    }

    /// Forgets what deduplication knows of producers that have been away for long.
    /// Source: Pulsar's `MessageDeduplication.purgeInactiveProducers`.
    pub(super) fn purge_inactive(&mut self, cx: &mut Context) {
        let timeout = u64::try_from(cx.config.deduplication_inactivity_timeout.as_millis()).unwrap_or(u64::MAX);
        let now = cx.now_ms;
        for (name, _) in self.inactive.extract_if(|_, since| now.saturating_sub(*since) >= timeout) {
            self.ledger.dedup_remove(&mut cx.batch, &name);
        }
    }

    /// The same name may come back: on the same connection with the same producer id, or with a higher epoch.
    fn replace_same_name(
        &mut self,
        cx: &mut Context,
        peer: &Arc<Peer>,
        request: &NewProducer,
        name: &str,
    ) -> Result<()> {
        let Some(old) = self.producers.values().find(|p| p.name == name && p.closing.is_none()) else { return Ok(()) };
        let same_session = old.peer.id == peer.id && old.producer_id == request.producer_id;
        let successor = !old.user_provided_name && !request.user_provided_name && request.epoch > old.epoch;
        if same_session && request.epoch >= old.epoch || successor || !old.peer.is_open() {
            let key = old.key;
            // Its receipts have nobody to go to.
            old.peer.add_pending_publishes(-i64::from(old.pending));
            self.producers.remove(&key);
            self.inactive.insert(name.to_owned(), cx.now_ms);
            if self.exclusive == Some(key) {
                self.exclusive = None;
            }
            self.touch(cx);
            return Ok(());
        }
        Err(Error::ProducerBusy(format!("Producer with name '{name}' is already connected to topic")))
    }

    fn admit(
        &mut self,
        cx: &mut Context,
        key: u64,
        peer: Arc<Peer>,
        request: NewProducer,
        name: String,
    ) -> ProducerCreated {
        let last_sequence_id = self.ledger.dedup_highest(&name).unwrap_or(-1);
        let exclusive = request.access_mode != AccessMode::Shared;
        if exclusive {
            self.exclusive = Some(key);
        }
        self.attach(cx, &peer);
        self.inactive.remove(&name);
        let producer = Producer {
            key,
            producer_id: request.producer_id,
            peer,
            name: name.clone(),
            epoch: request.epoch,
            user_provided_name: request.user_provided_name,
            access_mode: request.access_mode,
            metadata: request.metadata,
            connected_since_ms: cx.now_ms,
            pending: 0,
            closing: None,
            msg_in: Rate::default(),
            bytes_in: Rate::default(),
            output: None,
        };
        self.producers.insert(key, producer);
        let topic_epoch = exclusive.then_some(self.epoch).flatten();
        ProducerCreated { name, last_sequence_id, topic_epoch, ready: true, schema_version: None }
    }

    fn raise_epoch(&mut self, cx: &mut Context, asked: Option<u64>) {
        let next = match (self.epoch, asked) {
            // A producer that had this epoch reconnects with it.
            (Some(ours), Some(theirs)) if theirs == ours => ours,
            (Some(ours), _) => ours.saturating_add(1),
            (None, Some(theirs)) => theirs,
            (None, None) => 0,
        };
        if self.epoch != Some(next) {
            self.epoch = Some(next);
            let mut properties = self.ledger.properties().clone();
            properties.insert("geminga.topic-epoch".into(), next.to_string());
            self.ledger.set_properties(&mut cx.batch, properties);
        }
    }

    /// Closes a producer at its client's wish; `reply` waits for its receipts.
    pub(crate) fn close_producer(&mut self, cx: &mut Context, key: u64, reply: Reply<()>) {
        match self.producers.get_mut(&key) {
            Some(producer) if producer.pending > 0 => producer.closing = Some(reply),
            _ => {
                self.remove_producer(cx, key);
                reply.send(Ok(()));
            }
        }
    }

    /// Tells the client to reconnect, and forgets the producer.
    pub(crate) fn disconnect_producer(&mut self, cx: &mut Context, key: u64) {
        if let Some(producer) = self.producers.get(&key) {
            cx.outbox.push(&producer.peer, Outgoing::CloseProducer { producer_id: producer.producer_id });
            self.remove_producer(cx, key);
        }
    }

    pub(crate) fn remove_producer(&mut self, cx: &mut Context, key: u64) {
        self.waiting.retain(|w| w.key != key);
        if let Some(mut producer) = self.producers.remove(&key) {
            if self.ledger.dedup_highest(&producer.name).is_some() {
                self.inactive.insert(std::mem::take(&mut producer.name), cx.now_ms);
            }
            // What it has under way gets no receipt any more.
            producer.peer.add_pending_publishes(-i64::from(producer.pending));
            if let Some(reply) = producer.closing.take() {
                reply.send(Ok(()));
            }
        }
        if self.exclusive == Some(key) {
            self.exclusive = None;
        }
        self.touch(cx);
        self.promote(cx);
    }

    /// Whoever waited longest gets its turn where the topic is free.
    fn promote(&mut self, cx: &mut Context) {
        while self.exclusive.is_none() && self.producers.is_empty() {
            let Some(waiting) = self.waiting.pop_front() else { break };
            if !waiting.peer.is_open() {
                continue;
            }
            self.raise_epoch(cx, waiting.request.topic_epoch);
            let request_id = waiting.request.request_id;
            let created = self.admit(cx, waiting.key, waiting.peer.clone(), waiting.request, waiting.name);
            cx.outbox.push(&waiting.peer, Outgoing::ProducerReady { request_id, created });
        }
    }

    /// Disconnects every producer. Those that wait are refused first, or the last to leave would hand its place to one
    /// of them. Source: Pulsar's `AbstractTopic.incrementTopicEpochIfNeeded`, case `ExclusiveWithFencing`.
    pub(crate) fn disconnect_producers(&mut self, cx: &mut Context, error: &Error) {
        for waiting in std::mem::take(&mut self.waiting) {
            waiting.fail(cx, error.clone());
        }
        for end in self.producers.values().filter_map(|p| p.output.as_ref()) {
            end.close(error);
        }
        for key in self.producers.keys().copied().collect::<Vec<_>>() {
            self.disconnect_producer(cx, key);
        }
    }
}
