//! How others than its owner append to a topic, in commits of their own.
//!
//! Positions are given out under the sequencer's lock, so it does not matter who asks. The owner hears of the entries when they are
//! durable, by [`crate::ManagedLedger::appended_by_other`] and [`crate::ManagedLedger::confirm`].

use bytes::Bytes;
use model::TopicName;
use std::sync::{Arc, atomic::Ordering::SeqCst};

use crate::{batch::Batch, topic::Topic};

/// A handle to the end of one topic; see the module. It outlives the topic being unloaded, and deleted.
#[derive(Clone)]
pub struct Appender {
    topic: Arc<Topic>,
    slot: (u64, u32),
}

impl Appender {
    pub(crate) fn new(topic: Arc<Topic>) -> Self {
        Self { topic, slot: (0, 0) }
    }

    /// The topic.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.topic.name
    }

    /// Says that an append may come. Who calls this, then asks whether the topic still takes entries, and keeps the value until the
    /// entry is in a commit, appends nothing behind the back of an owner that first closes the topic and then waits for
    /// [`crate::ManagedLedger::others_under_way`] to end.
    #[must_use]
    pub fn begin(&self) -> UnderWay {
        self.topic.others.fetch_add(1, SeqCst);
        UnderWay { topic: self.topic.clone() }
    }

    pub(crate) fn is_of(&self, topic: &Arc<Topic>) -> bool {
        Arc::ptr_eq(&self.topic, topic)
    }

    /// Whether the topic is deleted: another one of its name is another topic.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.topic.state.lock().deleted
    }

    /// Puts an entry of `messages` messages into the batch. `dedup` names its producer and highest sequence id where the topic is
    /// deduplicated.
    ///
    /// The commit says where it went: [`crate::NOT_STORED`] for one that deduplication knows, or when the topic is deleted by then.
    pub fn append(&mut self, batch: &mut Batch, data: Bytes, messages: u32, dedup: Option<(&str, i64)>) {
        let dedup = dedup.map(|(producer, highest)| (producer.into(), highest));
        batch.append_for_other(&self.topic, &mut self.slot, data, messages, dedup);
    }
}

/// Somebody is about to append, until this is dropped: when the append is in a commit, or given up.
pub struct UnderWay {
    topic: Arc<Topic>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.topic.others.fetch_sub(1, SeqCst);
    }
}
