//! What is being deleted as a whole, topic after topic: clients that are told to leave come back at once, and must not bring any of it back.
//! Source: Pulsar's `deleted` of `PartitionedTopicMetadata` and of a namespace's `Policies`.

use model::{NamespaceName, TopicName};
use parking_lot::Mutex;
use std::{collections::HashSet, sync::Arc};

use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Whole {
    /// A partitioned topic, by its own name.
    Topic(TopicName),
    Namespace(NamespaceName),
}

#[derive(Debug, Default)]
pub(super) struct Going(Mutex<HashSet<Whole>>);

impl Going {
    /// It is being deleted until what is returned is dropped.
    ///
    /// # Errors
    /// [`Error::NotReady`] when somebody deletes it already.
    pub(super) fn delete(self: &Arc<Self>, whole: Whole) -> Result<Deleting> {
        if !self.0.lock().insert(whole.clone()) {
            return Err(being_deleted());
        }
        Ok(Deleting { going: self.clone(), whole })
    }

    /// # Errors
    /// [`Error::NotReady`] when the topic, or what it is a part of, is being deleted.
    pub(super) fn check(&self, topic: &TopicName) -> Result<()> {
        let going = self.0.lock();
        if !going.is_empty()
            && (going.contains(&Whole::Topic(topic.partitioned()))
                || going.contains(&Whole::Namespace(topic.namespace().clone())))
        {
            return Err(being_deleted());
        }
        Ok(())
    }
}

fn being_deleted() -> Error {
    Error::NotReady("the topic is being deleted".into())
}

pub(super) struct Deleting {
    going: Arc<Going>,
    whole: Whole,
}

impl Drop for Deleting {
    fn drop(&mut self) {
        self.going.0.lock().remove(&self.whole);
    }
}
