//! From what a turn appended to one journal commit, and from a durable commit to receipts and answers.

use bytes::Bytes;
use model::Position;
use std::{sync::Arc, sync::atomic::Ordering::Relaxed};

use super::{Event, Published, Shard, event::Reply, transaction::OF_OUTPUT};
use crate::{
    error::Error,
    peer::{Outgoing, Peer},
    requests::{Operation, What},
    topic::Topic,
    transaction::Committed,
};

/// One entry appended in the commit being built, or a duplicate or a refusal that keeps its place among the receipts.
pub(crate) struct Append {
    pub(crate) topic: u64,
    pub(crate) producer: u64,
    pub(crate) sequence_id: u64,
    pub(crate) highest: u64,
    pub(crate) messages: u32,
    /// `None` for a duplicate, and for what is refused.
    pub(crate) data: Option<Bytes>,
    pub(crate) position: Position,
    pub(crate) bytes: usize,
    /// Why it was not taken.
    pub(crate) refused: Option<Box<Error>>,
}

/// What follows when a commit is durable.
pub(crate) enum After {
    AckResponse {
        peer: Arc<Peer>,
        consumer_id: u64,
        request_id: u64,
    },
    Call(Box<dyn FnOnce(&mut Shard, Result<(), Error>) + Send>),
    /// Of a commit of a function: how many of the outputs are its own, and what it takes of the publish buffer besides.
    Committed {
        reply: Reply<Committed>,
        outputs: usize,
        bytes: usize,
    },
}

/// A commit on its way to the disk.
pub(super) struct Pending {
    lsn: journal::Lsn,
    appends: Vec<Append>,
    outputs: Vec<Published>,
    after: Vec<After>,
    /// A topic that is being unloaded.
    retired: Option<Box<Topic>>,
}

impl Pending {
    pub(super) fn retired(lsn: journal::Lsn, topic: Topic) -> Self {
        Self { lsn, appends: Vec::new(), outputs: Vec::new(), after: Vec::new(), retired: Some(Box::new(topic)) }
    }
}

/// Acknowledgements that are journaled at the latest when they are this much, in words: a record has a largest size.
const ACK_WEIGHT_MAX: usize = 1 << 20;

/// Position of a receipt for a message that was stored before.
pub(crate) const DUPLICATE: Position = Position { ledger: u64::MAX, entry: -1 };

impl Shard {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Publish(peer, entries) => self.publish(&peer, entries),
            Event::Operations { peer, operations, weight } => {
                for operation in operations {
                    self.operate(operation);
                }
                if let Some(peer) = peer
                    && peer.done_with(weight)
                {
                    self.cx.outbox.wake(&peer);
                }
                self.cx.ack_weight += weight;
                if self.cx.ack_weight >= ACK_WEIGHT_MAX {
                    self.cx.flush_acks_now = true;
                    self.commit();
                }
            }
            Event::Read { topic, subscription, generation, replay, result } => {
                if let Ok((topic, cx)) = self.at(topic) {
                    topic.read_done(cx, subscription, generation, replay, result);
                }
            }
            Event::Published(published) => {
                for one in published {
                    self.output_published(one);
                }
            }
            Event::Writable(peer) => {
                for id in self.cx.peers.get(&peer).into_iter().flatten() {
                    if let Some(topic) = self.topics.get_mut(id).filter(|topic| topic.has_peer(peer)) {
                        topic.set_ready_in(&mut self.cx.ready);
                    }
                }
            }
            Event::PeerGone(peer) => {
                for id in self.cx.peers.remove(&peer).unwrap_or_default() {
                    if let Some(topic) = self.topics.get_mut(&id) {
                        topic.peer_gone(&mut self.cx, peer);
                    }
                }
            }
            Event::Again => {}
            Event::Call(f) => f(self),
        }
    }

    fn operate(&mut self, operation: Operation) {
        let Operation { at, what } = operation;
        // A topic that was closed told its consumers so.
        let Ok((topic, cx)) = self.at(at.topic) else { return };
        match what {
            What::Flow(permits) => topic.flow(cx, at, permits),
            What::Ack(ack) => topic.ack_of_client(cx, at, ack),
            What::Redeliver { positions, epoch } => topic.redeliver(cx, at, &positions, epoch),
            What::GiveBack { positions } => topic.give_back(cx, at, &positions),
            What::GaveBack => topic.gave_back(cx, at),
        }
    }

    fn publish(&mut self, peer: &Arc<Peer>, entries: Vec<crate::requests::Publish>) {
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let Some(topic) = self.topics.get_mut(&first.topic) else {
                // Late SENDs to a topic that was unloaded: the client reconnects and sends again.
                self.cx.publish_buffer.release(first.data.len());
                peer.add_pending_publishes(-1);
                self.cx.outbox.wake(peer);
                continue;
            };
            let id = first.topic;
            topic.publish(&mut self.cx, peer, first);
            while let Some(next) = entries.next_if(|next| next.topic == id) {
                topic.publish(&mut self.cx, peer, next);
            }
        }
    }

    /// Runs `f` when what was done in this turn is durable.
    pub(crate) fn when_durable(&mut self, f: impl FnOnce(&mut Shard, Result<(), Error>) + Send + 'static) {
        self.cx.after.push(After::Call(Box::new(f)));
    }

    /// Hands the batch to the journal. With a full disk nothing is handed over and it is tried again later.
    pub(super) fn commit(&mut self) {
        if self.cx.flush_acks_now {
            self.flush_acks();
        }
        if self.cx.batch.is_empty() && self.cx.appends.is_empty() && self.cx.after.is_empty() {
            return;
        }
        let listener = self.cx.listener.clone();
        let had_records = !self.cx.batch.is_empty();
        match self.cx.store.commit(&mut self.cx.batch, &listener) {
            Ok(committed) => {
                let mut appends = std::mem::take(&mut self.cx.appends);
                let mut outputs = std::mem::take(&mut self.cx.outputs);
                self.cx.under_way.clear();
                let mut of_outputs = outputs.iter_mut().filter(|one| one.output.is_stored());
                let mut positions = committed.positions.into_iter();
                for append in &mut appends {
                    let Some(data) = append.data.take() else { continue };
                    let Some(position) = positions.next() else { break };
                    append.position = position;
                    if append.topic == OF_OUTPUT {
                        if let Some(one) = of_outputs.next() {
                            one.position = position;
                        }
                        continue;
                    }
                    if let Some(topic) = self.topics.get_mut(&append.topic) {
                        topic.ledger.appended(position, data, append.messages);
                    }
                }
                let after = std::mem::take(&mut self.cx.after);
                if !had_records {
                    self.wake_when_durable(committed.lsn);
                }
                // Before what follows the commit, which may delete the topic.
                for topic in std::mem::take(&mut self.unretired) {
                    self.pending.push_back(Pending::retired(committed.lsn, topic));
                }
                self.pending.push_back(Pending { lsn: committed.lsn, appends, outputs, after, retired: None });
            }
            Err(error) if error.is_full() => {
                // The journal has said so, once; this comes ten times a second until there is room.
                tracing::debug!(%error, "publishes wait");
            }
            Err(error) => {
                tracing::error!(%error, "commit failed");
                let error = Error::from(error);
                let appends = std::mem::take(&mut self.cx.appends);
                let after = std::mem::take(&mut self.cx.after);
                let outputs = std::mem::take(&mut self.cx.outputs);
                self.cx.under_way.clear();
                self.unretired.clear();
                self.fail(Pending { lsn: 0, appends, outputs, after, retired: None }, &error);
            }
        }
    }

    /// The journal tells this shard of its own commits only. What waits for a commit of another shard, or for one that
    /// is durable already, asks for another turn itself.
    pub(super) fn wake_when_durable(&self, lsn: journal::Lsn) {
        let (store, handle, failed) = (self.cx.store.clone(), self.cx.handle.clone(), self.failed.clone());
        if lsn <= store.durable() {
            return handle.send(Event::Again);
        }
        tokio::spawn(async move {
            // Durable or failed, there is something to answer. A journal that failed before has told only those that
            // had a commit under way then.
            if store.wait(lsn).await.is_err() {
                failed.store(true, Relaxed);
            }
            handle.send(Event::Again);
        });
    }

    /// Answers what has become durable.
    pub(super) fn answer_durable(&mut self) {
        let durable = self.cx.store.durable();
        while self.pending.front().is_some_and(|p| p.lsn <= durable) {
            if let Some(pending) = self.pending.pop_front() {
                self.answer(pending);
            }
        }
        if self.failed.load(Relaxed) && !self.pending.is_empty() {
            let error = Error::Storage("the journal has failed".into());
            for pending in std::mem::take(&mut self.pending) {
                self.fail(pending, &error);
            }
        }
    }

    fn answer(&mut self, pending: Pending) {
        let mut released = 0;
        for append in &pending.appends {
            released += append.bytes;
            if let Some(topic) = self.topics.get_mut(&append.topic) {
                topic.published(&mut self.cx, append);
            }
        }
        self.cx.publish_buffer.release(released);
        let positions: Vec<Position> = pending.outputs.iter().map(|one| one.position).collect();
        let mut positions = positions.into_iter();
        self.tell_owners(pending.outputs);
        for after in pending.after {
            match after {
                After::AckResponse { peer, consumer_id, request_id } => {
                    self.cx.outbox.push(&peer, Outgoing::AckResponse { consumer_id, request_id, error: None });
                }
                After::Call(f) => f(self, Ok(())),
                After::Committed { reply, outputs, bytes } => {
                    self.cx.publish_buffer.release(bytes);
                    reply.send(Ok(Committed { positions: positions.by_ref().take(outputs).collect() }));
                }
            }
        }
        drop(pending.retired);
    }

    fn fail(&mut self, pending: Pending, error: &Error) {
        for append in &pending.appends {
            self.cx.publish_buffer.release(append.bytes);
            if let Some(topic) = self.topics.get_mut(&append.topic) {
                topic.publish_failed(&mut self.cx, append, error);
            }
        }
        for after in pending.after {
            match after {
                After::AckResponse { peer, consumer_id, request_id } => {
                    let error = Some(error.clone());
                    self.cx.outbox.push(&peer, Outgoing::AckResponse { consumer_id, request_id, error });
                }
                After::Call(f) => f(self, Err(error.clone())),
                After::Committed { reply, bytes, .. } => {
                    self.cx.publish_buffer.release(bytes);
                    reply.send(Err(error.clone()));
                }
            }
        }
    }
}
