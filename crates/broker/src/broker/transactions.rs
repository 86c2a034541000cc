//! Commits over topics and tables: exactly once for functions.

use model::AccessMode;
use rustc_hash::FxHasher;
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::Broker;
use crate::{
    error::{Error, Result},
    output::{Output, OutputHandle},
    peer::Peer,
    requests::NewProducer,
    transaction::{Commit, Committed, TableChange},
};

impl Broker {
    /// Opens a producer whose entries travel in commits: like [`Broker::create_producer`] with its policies, limits, names and access
    /// modes. Its connection is told when it is closed.
    ///
    /// # Errors
    /// As there; [`Error::NotAllowed`] for `WaitForExclusive`, which may take for ever.
    pub async fn open_output(&self, peer: &Arc<Peer>, request: NewProducer) -> Result<OutputHandle> {
        if request.access_mode == AccessMode::WaitForExclusive {
            return Err(Error::NotAllowed("a function's output does not wait for exclusive access".into()));
        }
        let name = request.topic.clone();
        let (handle, created) = self.create_producer(peer, request).await?;
        let (topic, producer, producer_name) = (handle.topic, handle.producer, created.name.clone());
        let output = handle.handle.call(move |shard| {
            let (topic, cx) = shard.at(topic)?;
            let appender = topic.ledger.appender();
            let output = Arc::new(Output::new(name, producer_name, producer, cx.handle.clone(), appender));
            topic.attach_output(producer, output.clone())?;
            Ok::<_, Error>(output)
        });
        let output = match output.await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) | Err(error) => return Err(error),
        };
        Ok(OutputHandle::new(output, handle, created))
    }

    /// Does all that `commit` says in one commit of the journal, or nothing. It is under way when this returns; commits of one consumer
    /// take effect in the order of these calls and are answered in that order, when they are durable. Several may be under way.
    ///
    /// Its outputs count to the publish buffer: who commits stops while [`Broker::publish_buffer_full`].
    ///
    /// # Errors
    /// [`Error::Conflict`]: the consumer does not have an entry that is acknowledged: it was acknowledged before, was given to another
    /// consumer or is about to be, or the consumer is not connected any more. [`Error::TopicTerminated`], [`Error::TopicNotFound`],
    /// [`Error::ProducerFenced`], [`Error::ProducerBlockedQuota`], [`Error::NotReady`]: an output is closed. [`Error::NotAllowed`],
    /// [`Error::BadRequest`]: a policy of an output's topic refuses an entry. [`Error::BadRequest`]: a key, a value, an entry or all of it ([`crate::COMMIT_BYTES_MAX`]) is too long, or a row is no counter. After these nothing has happened. [`Error::Storage`]: the journal
    /// has failed; what was committed is found out with the next start.
    pub fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed>> + Send + use<> {
        let max_entry = self.inner.config.max_message_size;
        let shard = match (&commit.consumer, commit.outputs.first(), commit.changes.first()) {
            (Some(consumer), ..) => consumer.handle.clone(),
            (None, Some(entry), _) => entry.output.output.owner.clone(),
            (None, None, change) => self.shard_of_table(change),
        };
        let answer = commit.prepare(&self.inner.store, max_entry).map(|prepared| {
            self.inner.publish_buffer.take(prepared.bytes);
            shard.ask(move |shard, reply| shard.transact(prepared, reply))
        });
        async move { answer?.await }
    }

    /// Changes of one table take effect in order.
    fn shard_of_table(&self, change: Option<&TableChange>) -> crate::shard::Handle {
        let mut hasher = FxHasher::default();
        change.map(|change| &change.table).hash(&mut hasher);
        let shards = &self.inner.shards;
        shards[(hasher.finish() >> 32) as usize % shards.len()].clone()
    }

    /// A table, to be read: changes go through [`Broker::commit`]. What is read may not be durable yet, see [`Broker::settled`].
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a name that cannot be one.
    pub fn table(&self, name: &str) -> Result<ledger::Table> {
        Ok(self.inner.store.table(name)?)
    }

    /// Names of tables that have rows and start with `prefix`.
    ///
    /// # Errors
    /// Storage errors.
    pub fn tables(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.inner.store.tables(prefix)?)
    }

    /// Resolves when all that was read of tables before is durable.
    ///
    /// # Errors
    /// The journal has failed.
    pub async fn settled(&self) -> Result<()> {
        Ok(self.inner.store.wait(self.inner.store.last()).await?)
    }

    /// Waits until no output of others is under way to a topic whose outputs were closed.
    pub(super) async fn outputs_are_done(&self, topic: &model::TopicName) -> Result<()> {
        let under_way = |name: model::TopicName| {
            self.shard(&name).call(move |shard| {
                let id = shard.topic(&name).ok();
                id.and_then(|id| shard.at(id).ok()).is_some_and(|(topic, _)| topic.ledger.others_under_way())
            })
        };
        while under_way(topic.clone()).await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
