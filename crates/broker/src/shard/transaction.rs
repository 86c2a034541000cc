//! Commits of functions: everything in the commit of one turn, or refused before anything is done.
//!
//! The shard of the consumer does it. Entries for topics of other shards go into this shard's batch, where the sequencer gives them
//! positions like any other; when they are durable, their shards are told.

use bytes::Bytes;
use ledger::{NOT_STORED, UnderWay};
use model::Position;
use std::sync::Arc;

use super::{After, Append, Context, Event, Handle, Reply, Shard};
use crate::{
    error::{Error, Result},
    output::Output,
    requests::Ack,
    topic::MESSAGES_MAX,
    transaction::{Committed, OutputEntry, Prepared},
};

/// As topic of an [`Append`]: that of an output, which may be another shard's. Numbers of topics begin at 1.
pub(super) const OF_OUTPUT: u64 = 0;

/// Bytes from which on a batch is not kept for the rest of the turn: nobody's receipts should wait for many large commits.
const BATCH_BYTES: usize = 1 << 20;

/// An entry of an output, in the commit being built or on its way to the disk.
pub(crate) struct Published {
    pub(crate) output: Arc<Output>,
    pub(crate) data: Bytes,
    pub(crate) messages: u32,
    pub(crate) position: Position,
}

impl Shard {
    /// Does a commit, or says why not.
    pub(crate) fn transact(&mut self, commit: Prepared, reply: Reply<Committed>) {
        let bytes = commit.bytes;
        match self.may_commit(&commit) {
            Ok(under_way) => self.put_into_batch(commit, under_way, reply),
            Err(error) => {
                self.cx.publish_buffer.release(bytes);
                reply.send(Err(error));
            }
        }
    }

    /// Whether all of it can be done. Says so to who owns the topics of its outputs.
    fn may_commit(&mut self, commit: &Prepared) -> Result<Vec<UnderWay>> {
        if let Some(at) = commit.at {
            let lost = || Error::Conflict("the consumer is not connected any more".into());
            let (topic, _) = self.at(at.topic).map_err(|_| lost())?;
            topic.may_ack(at, &commit.acks)?;
        }
        let mut under_way = Vec::with_capacity(commit.outputs.len());
        for entry in &commit.outputs {
            entry.output.output.admits(&entry.data)?;
            under_way.extend(entry.output.output.begin()?);
        }
        Ok(under_way)
    }

    fn put_into_batch(&mut self, commit: Prepared, under_way: Vec<UnderWay>, reply: Reply<Committed>) {
        let Prepared { at, acks, outputs, changes, bytes } = commit;
        if let Some(at) = at.filter(|_| !acks.is_empty()) {
            let ids = acks.into_iter().collect();
            let ack = Ack { cumulative: false, ids, request_id: None, validation_error: false };
            if let Ok((topic, cx)) = self.at(at.topic) {
                topic.ack(cx, at, &ack);
                // In this turn's commit.
                cx.flush_acks_now = true;
            }
        }
        for change in changes {
            self.cx.batch.change(change);
        }
        let count = outputs.len();
        let mut left = bytes;
        for entry in outputs {
            left -= entry.data.len();
            self.cx.put_output(entry);
        }
        self.cx.under_way.extend(under_way);
        self.cx.after.push(After::Committed { reply, outputs: count, bytes: left });
        if self.cx.batch.bytes() >= BATCH_BYTES {
            self.commit();
        }
    }

    /// Entries of outputs are durable: those who own their topics are told.
    pub(super) fn tell_owners(&mut self, published: Vec<Published>) {
        let mut elsewhere: Vec<(Handle, Vec<Published>)> = Vec::new();
        for one in published {
            if one.output.owner.is(&self.cx.handle) {
                self.output_published(one);
                continue;
            }
            match elsewhere.iter_mut().find(|(owner, _)| owner.is(&one.output.owner)) {
                Some((_, all)) => all.push(one),
                None => elsewhere.push((one.output.owner.clone(), vec![one])),
            }
        }
        for (owner, published) in elsewhere {
            owner.send(Event::Published(published));
        }
    }

    /// An entry of a topic of this shard is durable. A topic that is not loaded finds it when it is.
    pub(super) fn output_published(&mut self, published: Published) {
        let name = &published.output.topic;
        if !self.names.contains_key(name) {
            self.resting.stirs(name);
            if self.cx.bells.on(name)
                && let Err(error) = self.topic(name)
            {
                tracing::debug!(topic = %name, %error, "nobody is woken");
            }
        }
        let topic = self.names.get(&published.output.topic).and_then(|id| self.topics.get_mut(id));
        if let Some(topic) = topic.filter(|topic| published.output.is_of(&topic.ledger)) {
            topic.output_published(&mut self.cx, published);
        }
    }
}

impl Context {
    fn put_output(&mut self, entry: OutputEntry) {
        let OutputEntry { output, data, messages, sequence_id } = entry;
        let (output, messages) = (output.output, messages.min(MESSAGES_MAX));
        let deduplicated = sequence_id.filter(|_| self.metadata.topic_policies(&output.topic).deduplication);
        let dedup = deduplicated.map(|id| (output.name.as_str(), id as i64));
        output.append(|appender| appender.append(&mut self.batch, data.clone(), messages, dedup));
        self.appends.push(Append {
            topic: OF_OUTPUT,
            producer: 0,
            sequence_id: 0,
            highest: 0,
            messages,
            data: output.is_stored().then(|| data.clone()),
            position: NOT_STORED,
            bytes: data.len(),
            refused: None,
        });
        self.outputs.push(Published { output, data, messages, position: NOT_STORED });
    }
}
