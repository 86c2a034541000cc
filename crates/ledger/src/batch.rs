//! What becomes one journal commit: appends, roll-overs and changes of any number of topics, in order.

use bytes::Bytes;
use model::TopicName;
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    codec::put_str,
    delta::{Delta, Deltas, RECORD_BYTES, Sealed},
    table::{self, Batched, Change},
    topic::Topic,
};

/// Entries of ledgers.
pub(crate) const KIND_ENTRY: u8 = 0x01;
/// Changes of one topic: stream is the topic, the body [`Delta`]s in a row.
pub(crate) const KIND_DELTAS: u8 = 0x80;
/// A topic was created: stream is the topic, which is also its first ledger; the body names it.
pub(crate) const KIND_CREATE: u8 = 0x81;
/// A topic was deleted: stream is the topic, the body its name.
pub(crate) const KIND_DELETE: u8 = 0x82;
/// A ledger was opened: stream is the topic, seq the ledger, the body the time.
pub(crate) const KIND_ROLL: u8 = 0x83;
/// The number of partitions of a topic changed.
pub(crate) const KIND_PARTITIONS: u8 = 0x84;

/// Rows of a table changed: the body is its name and what they are now.
pub(crate) const KIND_TABLE: u8 = 0x85;

/// What the journal writes of a record besides its body.
const HEAD_BYTES: usize = 48;

pub(crate) struct Slot {
    pub(crate) topic: Arc<Topic>,
    /// From all calls so far.
    pub(crate) deltas: Deltas,
    /// The same while a commit is made of it.
    pub(crate) sealed: Sealed,
    /// Producers of the topic are to be written.
    pub(crate) dedup: bool,
    /// The place of the deltas among the operations is taken.
    placed: bool,
}

/// Changes of one table, in order.
pub(crate) struct TableSlot {
    pub(crate) table: Arc<table::Shared>,
    pub(crate) changes: Vec<Batched>,
    /// The record's, but for what additions come to.
    pub(crate) body: Vec<u8>,
}

pub(crate) enum Op {
    Append {
        slot: u32,
        messages: u32,
        data: Bytes,
    },
    /// An entry of a topic that somebody else owns; of the producer and with the sequence id that deduplication knows it by.
    AppendForOther {
        slot: u32,
        messages: u32,
        data: Bytes,
        dedup: Option<(Box<str>, i64)>,
    },
    Roll {
        slot: u32,
        ledger: u64,
        now_ms: u64,
    },
    /// All deltas of a topic.
    Deltas {
        slot: u32,
    },
    Create {
        slot: u32,
        properties: BTreeMap<String, String>,
    },
    Delete {
        slot: u32,
    },
    Partitions {
        name: TopicName,
        partitions: Option<u32>,
    },
    /// All changes of a table.
    Table {
        slot: u32,
    },
}

/// A list of operations, empty again after each [`crate::Store::commit`].
///
/// Changes of a topic take effect in memory when they are put here, so that the next one builds on them; they are promised
/// to nobody before the commit is durable. A batch must therefore be committed, not dropped.
pub struct Batch {
    pub(crate) slots: Vec<Slot>,
    pub(crate) tables: Vec<TableSlot>,
    pub(crate) ops: Vec<Op>,
    pub(crate) appends: usize,
    bytes: usize,
    /// Differs for each filling of each batch, so that a topic knows whether the slot it remembers is in this one.
    generation: u64,
    next_generation: Arc<std::sync::atomic::AtomicU64>,
}

impl Batch {
    pub(crate) fn new(generations: Arc<std::sync::atomic::AtomicU64>) -> Self {
        let mut batch = Self {
            slots: Vec::new(),
            tables: Vec::new(),
            ops: Vec::new(),
            appends: 0,
            bytes: 0,
            generation: 0,
            next_generation: generations,
        };
        batch.clear();
        batch
    }

    /// Whether a commit would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of entries and changes, about what the journal will write.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the changes of each topic records' bodies.
    pub(crate) fn seal(&mut self) {
        for slot in &mut self.slots {
            if std::mem::take(&mut slot.dedup) {
                let before = slot.deltas.len();
                slot.topic.state.lock().encode_dirty_dedup(&mut slot.deltas);
                self.bytes += slot.deltas.len() - before;
            }
            slot.sealed = std::mem::take(&mut slot.deltas).seal();
        }
    }

    /// Takes [`Batch::seal`] back, so that more can be added before the next try.
    pub(crate) fn unseal(&mut self) {
        for slot in &mut self.slots {
            slot.deltas = std::mem::take(&mut slot.sealed).unseal();
        }
    }

    /// The length of a body that is longer than the journal takes.
    pub(crate) fn too_long(&self) -> Option<usize> {
        if self.bytes <= journal::BODY_BYTES_MAX {
            return None;
        }
        let entry = |op: &Op| match op {
            Op::Append { data, .. } | Op::AppendForOther { data, .. } => data.len(),
            _ => 0,
        };
        let deltas = self.slots.iter().flat_map(|slot| slot.sealed.bodies()).map(|body| body.len());
        let tables = self.tables.iter().map(|slot| slot.body.len());
        self.ops.iter().map(entry).chain(deltas).chain(tables).find(|&length| length > journal::BODY_BYTES_MAX)
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.tables.clear();
        self.ops.clear();
        self.appends = 0;
        self.bytes = 0;
        self.generation = self.next_generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    }

    /// The slot of `topic`; `known` is what this returned last time for the same topic.
    fn slot(&mut self, topic: &Arc<Topic>, known: &mut (u64, u32)) -> u32 {
        if known.0 != self.generation {
            *known = (self.generation, self.slots.len() as u32);
            self.slots.push(Slot {
                topic: topic.clone(),
                deltas: Deltas::default(),
                sealed: Sealed::default(),
                dedup: false,
                placed: false,
            });
        }
        known.1
    }

    pub(crate) fn append(&mut self, topic: &Arc<Topic>, known: &mut (u64, u32), data: Bytes, messages: u32) {
        let slot = self.slot(topic, known);
        self.bytes += data.len() + HEAD_BYTES;
        self.appends += 1;
        self.ops.push(Op::Append { slot, messages, data });
    }

    pub(crate) fn append_for_other(
        &mut self,
        topic: &Arc<Topic>,
        known: &mut (u64, u32),
        data: Bytes,
        messages: u32,
        dedup: Option<(Box<str>, i64)>,
    ) {
        let slot = self.slot(topic, known);
        self.bytes += data.len() + HEAD_BYTES + dedup.as_ref().map_or(0, |(name, _)| HEAD_BYTES + name.len() + 12);
        self.appends += 1;
        self.ops.push(Op::AppendForOther { slot, messages, data, dedup });
    }

    pub(crate) fn roll(&mut self, topic: &Arc<Topic>, known: &mut (u64, u32), ledger: u64, now_ms: u64) {
        let slot = self.slot(topic, known);
        self.bytes += HEAD_BYTES + 8;
        self.ops.push(Op::Roll { slot, ledger, now_ms });
    }

    fn deltas(&mut self, topic: &Arc<Topic>, known: &mut (u64, u32)) -> &mut Slot {
        let index = self.slot(topic, known);
        let slot = &mut self.slots[index as usize];
        if !std::mem::replace(&mut slot.placed, true) {
            self.bytes += HEAD_BYTES;
            self.ops.push(Op::Deltas { slot: index });
        }
        slot
    }

    pub(crate) fn delta(&mut self, topic: &Arc<Topic>, known: &mut (u64, u32), delta: &Delta) {
        let slot = self.deltas(topic, known);
        let before = slot.deltas.len();
        delta.encode(slot.deltas.next());
        let added = slot.deltas.len() - before;
        self.bytes += added;
    }

    pub(crate) fn dedup(&mut self, topic: &Arc<Topic>, known: &mut (u64, u32)) {
        self.deltas(topic, known).dedup = true;
    }

    pub(crate) fn create(&mut self, topic: &Arc<Topic>, properties: BTreeMap<String, String>) {
        let slot = self.slot(topic, &mut (0, 0));
        self.bytes += 128;
        self.ops.push(Op::Create { slot, properties });
    }

    pub(crate) fn delete(&mut self, topic: &Arc<Topic>) {
        let slot = self.slot(topic, &mut (0, 0));
        self.bytes += 128;
        self.ops.push(Op::Delete { slot });
    }

    /// Adds a change of a table.
    pub fn change(&mut self, change: Change) {
        let bytes = change.bytes();
        self.bytes += bytes;
        // Later changes must not overtake earlier ones: only the last record of a table is added to.
        let known = self.tables.iter().rposition(|slot| Arc::ptr_eq(&slot.table, change.table()));
        let index = match known.filter(|&index| self.tables[index].body.len() + bytes <= RECORD_BYTES) {
            Some(index) => index,
            None => {
                let table = change.table().clone();
                let mut body = Vec::new();
                put_str(&mut body, &table.name);
                self.bytes += HEAD_BYTES + body.len();
                self.ops.push(Op::Table { slot: self.tables.len() as u32 });
                self.tables.push(TableSlot { table, changes: Vec::new(), body });
                self.tables.len() - 1
            }
        };
        let slot = &mut self.tables[index];
        let batched = change.encode(&mut slot.body);
        slot.changes.push(batched);
    }

    pub(crate) fn partitions(&mut self, name: TopicName, partitions: Option<u32>) {
        self.bytes += 128;
        self.ops.push(Op::Partitions { name, partitions });
    }
}
