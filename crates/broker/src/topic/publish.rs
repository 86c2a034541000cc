//! From a SEND to an appended entry, and from a durable entry to its receipt.
//!
//! Deduplication key is producer name and highest sequence id; chunks of one message share a sequence id and are
//! judged by the last of them. Source: Pulsar's `MessageDeduplication`.

use std::sync::Arc;

use super::Topic;
use crate::{
    error::Error,
    peer::{Outgoing, Peer},
    requests::Publish,
    shard::{Append, Context, DUPLICATE, Published},
};

/// What a producer says it sent with one entry is believed up to this: consumers' permits are counted with it.
pub(crate) const MESSAGES_MAX: u32 = 1 << 20;

impl Topic {
    /// Appends one entry to the commit being built. A refusal is told when all is told that came before it: clients expect answers in order.
    pub(crate) fn publish(&mut self, cx: &mut Context, peer: &Arc<Peer>, publish: Publish) {
        let bytes = publish.data.len();
        let Some(producer) = self.producers.get_mut(&publish.producer) else {
            // Closed in the meantime: the client was told, and sends again.
            cx.publish_buffer.release(bytes);
            peer.add_pending_publishes(-1);
            cx.outbox.wake(peer);
            return;
        };
        let refusal = match self.terminated {
            true => Some(Error::TopicTerminated),
            false => self.policies.admission.check(&publish.data).err(),
        };
        let highest = publish.highest_sequence_id.max(publish.sequence_id);
        if let Some(error) = refusal {
            if producer.pending > 0 {
                producer.pending += 1;
                cx.appends.push(Append {
                    topic: self.id,
                    producer: publish.producer,
                    sequence_id: publish.sequence_id,
                    highest,
                    messages: 0,
                    data: None,
                    position: DUPLICATE,
                    bytes,
                    refused: Some(Box::new(error)),
                });
                return;
            }
            let (peer, producer_id) = (producer.peer.clone(), producer.producer_id);
            peer.add_pending_publishes(-1);
            cx.publish_buffer.release(bytes);
            cx.outbox.push(&peer, Outgoing::SendError { producer_id, sequence_id: highest, error });
            return;
        }
        let messages = publish.messages.min(MESSAGES_MAX);
        if !self.ledger.name().is_persistent() {
            return self.pass(cx, publish, highest);
        }
        let mut data = Some(publish.data);
        if self.policies.deduplication && !is_inner_chunk(publish.is_chunk, data.as_deref()) {
            // Sequence ids are signed on the client's side.
            let known = self.ledger.dedup_highest(&producer.name);
            if known.is_some_and(|known| highest as i64 <= known) {
                data = None;
            } else {
                self.ledger.dedup_set(&mut cx.batch, &producer.name, highest as i64);
            }
        }
        producer.pending += 1;
        if let Some(data) = &data {
            self.ledger.append(&mut cx.batch, data.clone(), messages);
            producer.msg_in.add(u64::from(messages), cx.now_ms);
            producer.bytes_in.add(bytes as u64, cx.now_ms);
        }
        cx.appends.push(Append {
            topic: self.id,
            producer: publish.producer,
            sequence_id: publish.sequence_id,
            highest,
            messages,
            data,
            position: DUPLICATE,
            bytes,
            refused: None,
        });
    }

    /// Takes an entry of a topic that is not persistent: the receipt goes out at once, consumers get it in this turn or
    /// never. Source: Pulsar's `NonPersistentTopic.publishMessage`, which gives all entries the position 0:0; here they
    /// are numbered.
    fn pass(&mut self, cx: &mut Context, publish: Publish, highest: u64) {
        let (bytes, messages) = (publish.data.len(), publish.messages.min(MESSAGES_MAX));
        cx.publish_buffer.release(bytes);
        let position = self.ledger.pass(publish.data, messages);
        self.msg_in.add(u64::from(messages), cx.now_ms);
        self.bytes_in.add(bytes as u64, cx.now_ms);
        self.last_publish_ms = cx.now_ms;
        if let Some(producer) = self.producers.get_mut(&publish.producer) {
            producer.msg_in.add(u64::from(messages), cx.now_ms);
            producer.bytes_in.add(bytes as u64, cx.now_ms);
            producer.peer.add_pending_publishes(-1);
            cx.outbox.receipt(&producer.peer, producer.producer_id, publish.sequence_id, highest, position);
        }
        self.set_ready(cx);
    }

    /// An entry is durable: its receipt goes out and consumers may have it.
    pub(crate) fn published(&mut self, cx: &mut Context, append: &Append) {
        if let Some(error) = &append.refused {
            return self.publish_failed(cx, append, error);
        }
        if append.position != DUPLICATE {
            self.ledger.confirm(append.position);
            self.msg_in.add(u64::from(append.messages), cx.now_ms);
            self.bytes_in.add(append.bytes as u64, cx.now_ms);
            self.last_publish_ms = cx.now_ms;
            self.set_ready(cx);
        }
        if let Some(producer) = self.producers.get_mut(&append.producer) {
            producer.pending -= 1;
            producer.peer.add_pending_publishes(-1);
            cx.outbox.receipt(
                &producer.peer,
                producer.producer_id,
                append.sequence_id,
                append.highest,
                append.position,
            );
            self.finish_closing(cx, append.producer);
        }
    }

    /// An entry that a commit of a function published here is durable, or passes through; see [`crate::Broker::commit`].
    pub(crate) fn output_published(&mut self, cx: &mut Context, published: Published) {
        let Published { output, data, messages, position } = published;
        let bytes = data.len() as u64;
        if !self.is_persistent() {
            self.ledger.pass(data, messages);
        } else if position == ledger::NOT_STORED {
            return;
        } else {
            self.ledger.appended_by_other(&mut cx.batch, position, data, messages);
            self.ledger.confirm(position);
        }
        if let Some(producer) = self.producers.get_mut(&output.producer) {
            producer.msg_in.add(u64::from(messages), cx.now_ms);
            producer.bytes_in.add(bytes, cx.now_ms);
        }
        self.msg_in.add(u64::from(messages), cx.now_ms);
        self.bytes_in.add(bytes, cx.now_ms);
        self.last_publish_ms = cx.now_ms;
        self.set_ready(cx);
    }

    /// The journal did not take an entry. Clients find what failed by its highest sequence id.
    /// Source: Pulsar's `Producer.MessagePublishContext.completed`.
    pub(crate) fn publish_failed(&mut self, cx: &mut Context, append: &Append, error: &Error) {
        if let Some(producer) = self.producers.get_mut(&append.producer) {
            producer.pending -= 1;
            producer.peer.add_pending_publishes(-1);
            let (producer_id, sequence_id) = (producer.producer_id, append.highest);
            cx.outbox.push(&producer.peer, Outgoing::SendError { producer_id, sequence_id, error: error.clone() });
            self.finish_closing(cx, append.producer);
        }
    }

    fn finish_closing(&mut self, cx: &mut Context, key: u64) {
        if self.producers.get(&key).is_some_and(|p| p.closing.is_some() && p.pending == 0) {
            // The success of the close must follow the receipt it waited for.
            cx.outbox.flush();
            self.remove_producer(cx, key);
        }
    }
}

/// Whether this is a chunk of a larger message, but not its last.
fn is_inner_chunk(is_chunk: bool, entry: Option<&[u8]>) -> bool {
    if !is_chunk {
        return false;
    }
    match entry.map(wire::entry::metadata) {
        Some(Ok(metadata)) => match (metadata.chunk_id, metadata.num_chunks_from_msg) {
            (Some(chunk), Some(chunks)) => Some(chunk) != chunks.checked_sub(1),
            _ => false,
        },
        _ => false,
    }
}
