//! From records to entries: those a commit publishes to one topic become batches.

use broker::OutputHandle;
use bytes::Bytes;
use client::{
    Batching, Outgoing,
    entries::{Batcher, Encoded, Stamp, single},
};
use functions::{event_log::OutputSpec, message::Record};

/// One producer.
pub(crate) struct Output {
    pub(crate) handle: OutputHandle,
    stamp: Stamp,
    batching: Batching,
    next_sequence_id: u64,
}

/// An entry to be stored.
pub(crate) struct Entry {
    pub(crate) data: Bytes,
    pub(crate) messages: u32,
}

impl Output {
    pub(crate) fn new(handle: OutputHandle, spec: &OutputSpec) -> Self {
        let created = handle.created();
        let stamp = Stamp {
            producer_name: created.name.clone(),
            compression: spec.compression.into(),
            schema_version: created.schema_version.as_ref().map(|version| version.to_vec()),
        };
        Self {
            handle,
            stamp,
            batching: Batching { by_key: spec.batch_by_key, ..Batching::default() },
            next_sequence_id: 0,
        }
    }

    /// Makes entries of records, in order.
    pub(crate) fn entries(&mut self, records: Vec<Record>, now_ms: u64, out: &mut Vec<Entry>) {
        let alone = records.len() == 1;
        let mut batcher = Batcher::new(self.batching);
        for record in records {
            let sequence_id = record.sequence_id.unwrap_or(self.next_sequence_id);
            self.next_sequence_id = sequence_id.max(self.next_sequence_id) + 1;
            let message = Outgoing::from(record);
            if alone || message.deliver_at_ms.is_some() {
                out.extend(batcher.take(&self.stamp, now_ms).map(entry));
                out.push(entry(single(&message, sequence_id, &self.stamp, now_ms)));
                continue;
            }
            if batcher.must_close_before(&message) {
                out.extend(batcher.take(&self.stamp, now_ms).map(entry));
            }
            if batcher.push(&message, sequence_id) {
                out.extend(batcher.take(&self.stamp, now_ms).map(entry));
            }
        }
        out.extend(batcher.take(&self.stamp, now_ms).map(entry));
    }
}

fn entry(encoded: Encoded) -> Entry {
    Entry { data: wire::entry::encode_entry(&encoded.metadata, &encoded.payload), messages: encoded.messages }
}
