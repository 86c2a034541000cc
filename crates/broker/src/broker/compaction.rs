//! Compaction as administrators ask for it.

use model::TopicName;

use super::Broker;
use crate::{
    compaction::CompactionStatus,
    error::{Error, Result},
};

impl Broker {
    /// Begins to compact a topic up to its last message; [`Self::compaction_status`] says how far it is.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::Conflict`] while one is running; [`Error::NotAllowed`] for what is not stored.
    pub async fn compact(&self, topic: &TopicName) -> Result<()> {
        if !topic.is_persistent() {
            return Err(Error::NotAllowed("Compaction on a non-persistent topic is not allowed".into()));
        }
        self.change_topic(topic, |topic, cx| topic.compact(cx)).await
    }

    /// How far the compaction of a topic is.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn compaction_status(&self, topic: &TopicName) -> Result<CompactionStatus> {
        self.with_topic(topic, |topic, _| Ok(topic.compaction_status())).await
    }
}
