//! What administrators ask for: tenants and namespaces, subscriptions, single messages, stats.

use admin_api::{
    ClusterData, TenantInfo,
    stats::{ConsumerStats, InternalStats, PartitionedTopicStats, TopicStats},
};
use bytes::Bytes;
use ledger::Read;
use model::{NamespaceName, NamespacePolicies, Position, TopicLevelPolicies, TopicName};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Broker, going::Whole};
use crate::{
    compaction,
    error::{Error, Result},
    requests::LastMessageId,
    shard::{Context, Reply, Shard},
    topic::{Reads, TERMINATED, Topic, seek::SeekTarget},
};

impl Broker {
    /// Clusters this broker knows, its own too, sorted.
    #[must_use]
    pub fn clusters(&self) -> Vec<String> {
        self.inner.metadata.clusters()
    }

    /// Where the brokers of a cluster are; `None`: none of this name is known.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<ClusterData> {
        if name == self.inner.config.cluster_name {
            let addresses = self.addresses();
            return Some(ClusterData {
                service_url: Some(addresses.web_url.clone()),
                broker_service_url: Some(addresses.broker_url.clone()),
                ..ClusterData::default()
            });
        }
        self.inner.metadata.other_cluster(name)
    }

    /// Remembers another cluster; durable when it returns.
    ///
    /// # Errors
    /// [`Error::Conflict`]: there is one of this name; [`Error::Precondition`] for a bad name.
    pub async fn create_cluster(&self, name: &str, data: ClusterData) -> Result<()> {
        self.inner.metadata.create_cluster(name, data).await
    }

    /// Changes where another cluster is.
    ///
    /// # Errors
    /// [`Error::ClusterNotFound`], for this broker's own too.
    pub async fn update_cluster(&self, name: &str, data: ClusterData) -> Result<()> {
        self.inner.metadata.update_cluster(name, data).await
    }

    /// Forgets another cluster.
    ///
    /// # Errors
    /// [`Error::ClusterNotFound`], for this broker's own too.
    pub async fn delete_cluster(&self, name: &str) -> Result<()> {
        self.inner.metadata.delete_cluster(name).await
    }

    /// All tenants, sorted.
    #[must_use]
    pub fn tenants(&self) -> Vec<String> {
        self.inner.metadata.tenants()
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`Error::TenantNotFound`].
    pub fn tenant(&self, name: &str) -> Result<TenantInfo> {
        self.inner.metadata.tenant(name)
    }

    /// Creates a tenant; durable when it returns.
    ///
    /// # Errors
    /// [`Error::TenantExists`]; [`Error::Precondition`] for a bad name or unknown clusters.
    pub async fn create_tenant(&self, name: &str, info: TenantInfo) -> Result<()> {
        self.inner.metadata.create_tenant(name, info).await
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// [`Error::TenantNotFound`], [`Error::Precondition`].
    pub async fn update_tenant(&self, name: &str, info: TenantInfo) -> Result<()> {
        self.inner.metadata.update_tenant(name, info).await
    }

    /// Deletes a tenant; with `force` its namespaces and their topics too.
    ///
    /// # Errors
    /// [`Error::TenantNotFound`]; [`Error::Conflict`] when it still has namespaces.
    pub async fn delete_tenant(&self, name: &str, force: bool) -> Result<()> {
        if force {
            for namespace in self.namespaces(name)? {
                self.delete_namespace(&namespace, true).await?;
            }
        }
        self.inner.metadata.delete_tenant(name).await
    }

    /// Namespaces of a tenant, sorted.
    ///
    /// # Errors
    /// [`Error::TenantNotFound`].
    pub fn namespaces(&self, tenant: &str) -> Result<Vec<NamespaceName>> {
        self.inner.metadata.namespaces(tenant)
    }

    /// Every namespace of every tenant.
    #[must_use]
    pub fn all_namespaces(&self) -> Vec<NamespaceName> {
        self.inner.metadata.all_namespaces()
    }

    /// What a namespace says about its topics.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub fn policies(&self, namespace: &NamespaceName) -> Result<Arc<NamespacePolicies>> {
        self.inner.metadata.policies(namespace)
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// [`Error::NamespaceExists`], [`Error::TenantNotFound`].
    pub async fn create_namespace(&self, namespace: &NamespaceName, policies: NamespacePolicies) -> Result<()> {
        self.inner.metadata.create_namespace(namespace, policies).await
    }

    /// Changes policies (`change` may run more than once); loaded topics follow at once.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn update_policies(
        &self,
        namespace: &NamespaceName,
        change: impl Fn(&mut NamespacePolicies),
    ) -> Result<()> {
        self.inner.metadata.update_policies(namespace, change).await?;
        for shard in self.inner.shards.iter() {
            let namespace = namespace.clone();
            shard.call(move |shard| shard.policies_changed(&namespace)).await?;
        }
        Ok(())
    }

    /// What a topic, or the topic it is a partition of, says about itself.
    #[must_use]
    pub fn topic_policies(&self, topic: &TopicName) -> Arc<TopicLevelPolicies> {
        self.inner.metadata.topic_level_policies(topic)
    }

    /// Changes what a topic says about itself; of a partitioned one, for all its partitions. It follows at once.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn update_topic_policies(
        &self,
        topic: &TopicName,
        change: impl FnOnce(&mut TopicLevelPolicies),
    ) -> Result<()> {
        if !self.exists(topic).await? {
            return Err(Error::TopicNotFound(topic.clone()));
        }
        self.inner.metadata.update_topic_policies(topic, change).await?;
        for shard in self.inner.shards.iter() {
            let whole = topic.partitioned();
            shard.call(move |shard| shard.topic_policies_changed(&whole)).await?;
        }
        Ok(())
    }

    /// Deletes a namespace; with `force` its topics too.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not empty.
    pub async fn delete_namespace(&self, namespace: &NamespaceName, force: bool) -> Result<()> {
        let _deleting = self.inner.going.delete(Whole::Namespace(namespace.clone()))?;
        let (topics, partitioned) =
            (self.topics_of_namespace(namespace).await?, self.partitioned_topics(namespace).await?);
        if !force && (!topics.is_empty() || !partitioned.is_empty()) {
            return Err(Error::Conflict("Cannot delete non empty namespace".into()));
        }
        for topic in partitioned {
            self.delete_partitioned_topic(&topic, true).await?;
        }
        for topic in topics {
            match self.delete_topic(&topic, true).await {
                Ok(()) | Err(Error::TopicNotFound(_)) => {}
                Err(other) => return Err(other),
            }
        }
        self.inner.metadata.delete_namespace(namespace).await
    }

    /// Closes every topic of a namespace.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn unload_namespace(&self, namespace: &NamespaceName) -> Result<()> {
        self.policies(namespace)?;
        for shard in self.inner.shards.iter() {
            let namespace = namespace.clone();
            shard
                .call_later(move |shard: &mut Shard, reply: Reply<()>| {
                    let ids: Vec<_> =
                        shard.names.iter().filter(|(n, _)| *n.namespace() == namespace).map(|(_, &id)| id).collect();
                    for id in ids {
                        shard.unload(id);
                    }
                    shard.when_durable(move |_, result| reply.send(result));
                })
                .await?;
        }
        Ok(())
    }

    /// Acknowledges everything for every subscription of a namespace, or those of one name.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn clear_namespace_backlog(&self, namespace: &NamespaceName, subscription: Option<&str>) -> Result<()> {
        for topic in self.topics(namespace).await? {
            for name in self.subscriptions(&topic).await? {
                if subscription.map_or(name != compaction::SUBSCRIPTION, |wanted| wanted == name) {
                    self.skip_all(&topic, &name).await?;
                }
            }
        }
        Ok(())
    }

    /// Runs `f` on a topic in its shard.
    pub(super) async fn with_topic<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&mut Topic, &mut Context) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.shard(topic).with_topic(topic, f).await
    }

    /// The same, answering when what `f` did is durable.
    pub(super) async fn change_topic<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&mut Topic, &mut Context) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.shard(topic).change_topic(topic, f).await
    }

    /// Subscriptions of a topic, sorted.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn subscriptions(&self, topic: &TopicName) -> Result<Vec<String>> {
        self.with_topic(topic, |topic, _| Ok(topic.subscription_names())).await
    }

    /// Creates a subscription, durable when it returns.
    ///
    /// # Errors
    /// [`Error::SubscriptionExists`], [`Error::TopicNotFound`].
    pub async fn create_subscription(
        &self,
        topic: &TopicName,
        subscription: &str,
        start: SeekTarget,
        properties: BTreeMap<String, String>,
    ) -> Result<()> {
        let name = subscription.to_owned();
        let exists = Error::SubscriptionExists { topic: topic.clone(), subscription: name.clone() };
        let mark_delete = self.locate(topic, start).await?;
        self.change_topic(topic, move |topic, cx| {
            if topic.subscription_id(&name).is_ok() {
                return Err(exists);
            }
            topic.new_cursor(cx, &name, mark_delete, true, properties);
            Ok(())
        })
        .await
    }

    /// The mark-delete position that a target means on a topic.
    async fn locate(&self, topic: &TopicName, target: SeekTarget) -> Result<Position> {
        let resolved = self.with_topic(topic, move |topic, _| Ok(topic.resolve(target))).await?;
        resolved.run().await
    }

    /// Deletes a subscription; with consumers connected only by `force`.
    ///
    /// # Errors
    /// [`Error::Precondition`] when consumers are connected.
    pub async fn delete_subscription(&self, topic: &TopicName, subscription: &str, force: bool) -> Result<()> {
        let name = subscription.to_owned();
        self.change_topic(topic, move |topic, cx| {
            let id = topic.subscription_id(&name)?;
            if !force && topic.subscription(&name)?.0.has_consumers() {
                return Err(Error::Precondition("Subscription has active connected consumers".into()));
            }
            topic.drop_subscription(cx, id);
            Ok(())
        })
        .await
    }

    /// What was attached to a subscription.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn subscription_properties(
        &self,
        topic: &TopicName,
        subscription: &str,
    ) -> Result<BTreeMap<String, String>> {
        let name = subscription.to_owned();
        self.with_topic(topic, move |topic, _| {
            let (subscription, ledger) = topic.subscription(&name)?;
            Ok(ledger.cursor_properties(subscription.cursor()))
        })
        .await
    }

    /// Replaces what was attached to a subscription; durable when it returns.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn set_subscription_properties(
        &self,
        topic: &TopicName,
        subscription: &str,
        properties: BTreeMap<String, String>,
    ) -> Result<()> {
        let name = subscription.to_owned();
        self.change_topic(topic, move |topic, cx| {
            let (subscription, ledger) = topic.subscription(&name)?;
            let cursor = subscription.cursor();
            ledger.set_cursor_properties(&mut cx.batch, cursor, properties);
            Ok(())
        })
        .await
    }

    /// Acknowledges the next `n` entries.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn skip_messages(&self, topic: &TopicName, subscription: &str, n: u64) -> Result<()> {
        let name = subscription.to_owned();
        self.change_topic(topic, move |topic, cx| {
            let id = topic.subscription_id(&name)?;
            let (subscription, ledger) = topic.subscription(&name)?;
            let to = ledger.skip_unacked(subscription.cursor(), n);
            topic.expire_up_to(cx, id, to);
            Ok(())
        })
        .await
    }

    /// Acknowledges all up to an entry, or where it is `excluded`, up to the one before. What is beyond the last entry does
    /// nothing, and `false` says so. Source: Pulsar's `PersistentMessageExpiryMonitor.expireMessages`.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn expire_up_to(
        &self,
        topic: &TopicName,
        subscription: &str,
        position: Position,
        excluded: bool,
    ) -> Result<bool> {
        let name = subscription.to_owned();
        self.change_topic(topic, move |topic, cx| {
            let id = topic.subscription_id(&name)?;
            if position > topic.ledger.last_confirmed() {
                return Ok(false);
            }
            let to = if excluded { topic.ledger.previous_position(position) } else { position };
            topic.expire_up_to(cx, id, to);
            Ok(true)
        })
        .await
    }

    /// Acknowledges everything there is.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn skip_all(&self, topic: &TopicName, subscription: &str) -> Result<()> {
        let name = subscription.to_owned();
        self.change_topic(topic, move |topic, cx| {
            let id = topic.subscription_id(&name)?;
            let last = topic.ledger.last_confirmed();
            topic.expire_up_to(cx, id, last);
            Ok(())
        })
        .await
    }

    /// Moves a subscription; its consumers are disconnected.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn reset_cursor(&self, topic: &TopicName, subscription: &str, target: SeekTarget) -> Result<()> {
        let (topic_name, name) = (topic.clone(), subscription.to_owned());
        self.shard(topic)
            .call_later(move |shard: &mut Shard, reply| {
                let found = shard.topic(&topic_name).and_then(|id| Ok((id, shard.at(id)?.0.subscription_id(&name)?)));
                match found {
                    Ok((topic, subscription)) => shard.seek(topic, subscription, target, reply),
                    Err(error) => reply.send(Err(error)),
                }
            })
            .await
    }

    /// Acknowledges what was published longer ago than `older_than`.
    ///
    /// # Errors
    /// [`Error::SubscriptionNotFound`].
    pub async fn expire_messages(&self, topic: &TopicName, subscription: &str, older_than: Duration) -> Result<()> {
        let age = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX);
        let before = self.inner.clock.now_ms().saturating_sub(age);
        let to = self.locate(topic, SeekTarget::Time(before)).await?;
        let name = subscription.to_owned();
        self.change_topic(topic, move |topic, cx| {
            let id = topic.subscription_id(&name)?;
            topic.expire_up_to(cx, id, to);
            Ok(())
        })
        .await
    }

    /// The `n`th entry (from 1) that a subscription has not acknowledged; of a subscription that is not there, the `n`th there
    /// is. Pulsar makes such a subscription, see `PersistentTopicsBase.getSubscriptionReference`; looking should not.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn peek_message(
        &self,
        topic: &TopicName,
        subscription: &str,
        n: u64,
    ) -> Result<Option<(Position, Bytes)>> {
        let name = subscription.to_owned();
        let position = self
            .with_topic(topic, move |topic, _| {
                let cursor = topic.subscription(&name).ok().map(|(subscription, _)| subscription.cursor());
                Ok(topic.ledger.nth_unacked(cursor, n.max(1)))
            })
            .await?;
        match position {
            Some(position) => self.read_message(topic, position).await,
            None => Ok(None),
        }
    }

    /// One stored entry.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], storage errors.
    pub async fn read_message(&self, topic: &TopicName, position: Position) -> Result<Option<(Position, Bytes)>> {
        let request = self.with_topic(topic, move |topic, _| Ok(topic.ledger.read_one(position))).await?;
        let entries = request.run().await?;
        Ok(entries.into_iter().find(|e| e.position == position).map(|e| (e.position, e.data)))
    }

    /// Position of the first entry published at `ms` or later.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn message_id_by_time(&self, topic: &TopicName, ms: u64) -> Result<Position> {
        let locate = self.with_topic(topic, move |topic, _| Ok(topic.ledger.locate_time(ms))).await?;
        Ok(locate.run().await?)
    }

    /// The last message of a topic; -1:-1 when it is empty.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn last_message_id(&self, topic: &TopicName) -> Result<LastMessageId> {
        let name = topic.clone();
        self.shard(topic)
            .call_later(move |shard: &mut Shard, reply| match shard.topic(&name) {
                Ok(id) => shard.last_message_of(id, None, reply),
                Err(error) => reply.send(Err(error)),
            })
            .await
    }

    /// Takes no more messages from now on; returns the position of the last.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn terminate(&self, topic: &TopicName) -> Result<Position> {
        if !topic.is_persistent() {
            return Err(Error::NotAllowed("Termination of a non-persistent topic is not allowed".into()));
        }
        loop {
            let ended = self.change_topic(topic, |topic, cx| {
                // What is under way from outputs comes before the end.
                if topic.close_outputs(cx, &Error::TopicTerminated) {
                    return Ok(None);
                }
                topic.terminate(cx);
                Ok(Some(topic.ledger.last_position()))
            });
            if let Some(end) = ended.await? {
                return Ok(end);
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Lets go of what nobody needs any more, which happens from time to time anyway.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn trim(&self, topic: &TopicName) -> Result<()> {
        self.change_topic(topic, |topic, cx| {
            topic.trim(cx);
            Ok(())
        })
        .await
    }

    /// About how many bytes are stored after a position, `None` for all.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn bytes_after(&self, topic: &TopicName, position: Option<Position>) -> Result<u64> {
        self.with_topic(topic, move |topic, _| {
            Ok(position.map_or_else(|| topic.ledger.storage_bytes(), |at| topic.ledger.bytes_after(at)))
        })
        .await
    }

    /// Counters and gauges of one topic.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn topic_stats(&self, topic: &TopicName) -> Result<TopicStats> {
        self.with_topic(topic, |topic, cx| Ok(topic.stats(cx))).await
    }

    /// Sums over the partitions of a topic, and with `per_partition` each of them.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn partitioned_stats(&self, topic: &TopicName, per_partition: bool) -> Result<PartitionedTopicStats> {
        let n = self.partitions(topic)?.ok_or_else(|| Error::TopicNotFound(topic.clone()))?;
        let mut stats = PartitionedTopicStats::new(n);
        for index in 0..n {
            let partition = topic.with_partition(index);
            match self.topic_stats(&partition).await {
                Ok(one) => stats.add(partition.to_string(), one, per_partition),
                Err(Error::TopicNotFound(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(stats)
    }

    /// Ledgers and cursors of a topic.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn internal_stats(&self, topic: &TopicName) -> Result<InternalStats> {
        self.with_topic(topic, |topic, _| Ok(topic.internal_stats())).await
    }

    /// Stats of every topic that is loaded, for metrics.
    pub async fn loaded_topic_stats(&self) -> Vec<(TopicName, TopicStats)> {
        let mut all = Vec::new();
        for shard in self.inner.shards.iter() {
            let stats = shard.call(|shard| {
                let cx = &shard.cx;
                shard.topics.values().map(|topic| (topic.name().clone(), topic.stats(cx))).collect::<Vec<_>>()
            });
            all.extend(stats.await.unwrap_or_default());
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// Requests of a connection's consumers and producers that are answered inside the shard.
impl Shard {
    pub(crate) fn close_producer(&mut self, topic: u64, producer: u64, reply: Reply<()>) {
        match self.at(topic) {
            Ok((topic, cx)) => topic.close_producer(cx, producer, reply),
            Err(_) => reply.send(Ok(())),
        }
    }

    pub(crate) fn close_consumer(&mut self, topic: u64, consumer: u64) {
        if let Ok((topic, cx)) = self.at(topic) {
            topic.close_consumer(cx, consumer);
        }
        // What this consumer acknowledged is journaled with the next commit; what it was sent is handed over before.
        self.cx.outbox.flush();
    }

    pub(crate) fn unsubscribe(&mut self, topic: u64, consumer: u64, force: bool, reply: Reply<()>) {
        let done = self.at(topic).and_then(|(topic, cx)| {
            let id = topic.subscription_of(consumer)?;
            topic.may_unsubscribe(id, force)?;
            // The client closes this consumer itself; only others hear of it.
            topic.close_consumer_quietly(cx, id, consumer);
            topic.drop_subscription(cx, id);
            Ok(())
        });
        match done {
            Ok(()) => self.when_durable(move |_, result| reply.send(result)),
            Err(error) => reply.send(Err(error)),
        }
    }

    pub(crate) fn last_message_id(&mut self, topic: u64, consumer: u64, reply: Reply<LastMessageId>) {
        let reads = self.at(topic).and_then(|(topic, _)| topic.reads(consumer));
        match reads {
            Ok(reads) => self.last_message_of(topic, Some(reads), reply),
            Err(error) => reply.send(Err(error)),
        }
    }

    /// The last message's batch index needs its entry, which may have to be read.
    pub(crate) fn last_message_of(&mut self, topic: u64, reads: Option<Reads>, reply: Reply<LastMessageId>) {
        let found = self.at(topic).and_then(|(topic, _)| {
            if !topic.is_persistent() {
                // Source: Pulsar's `NonPersistentTopic.getLastMessageId`.
                return Err(Error::NotAllowed("getLastMessageId is not supported on non-persistent topic".into()));
            }
            let compacted = reads.and_then(|reads| reads.compacted);
            // What is left to who reads compacted may end before the topic does, and within a batch.
            let position = match compacted {
                Some(compacted) => topic.ledger.last_unacked(compacted).unwrap_or(Position::EARLIEST),
                None => topic.ledger.last_confirmed(),
            };
            let stored = position.entry >= 0;
            let left = compacted.and_then(|compacted| topic.ledger.ack_set(compacted, position));
            // Nearly always it is at hand still.
            let (entry, read) = match stored.then(|| topic.ledger.read(position, 1, 1)) {
                None | Some(Read::CaughtUp) => (None, None),
                Some(Read::Entries(entries)) => (entries.into_iter().next(), None),
                Some(Read::Later(request)) => (None, Some(request)),
            };
            Ok(LastMessageRequest {
                partition: topic.name().partition().map_or(-1, |p| i32::try_from(p).unwrap_or(-1)),
                mark_delete: reads.map(|reads| topic.ledger.mark_delete(reads.cursor)),
                position,
                stored,
                last_left: left.as_deref().and_then(last_bit),
                entry,
                read,
            })
        });
        match found {
            Err(error) => reply.send(Err(error)),
            Ok(request) if request.read.is_none() => reply.send(Ok(request.answer())),
            Ok(request) => {
                tokio::spawn(async move { reply.send(request.run().await) });
            }
        }
    }

    pub(crate) fn consumer_stats(&mut self, topic: u64, consumer: u64) -> Result<ConsumerStats> {
        let (topic, cx) = self.at(topic)?;
        topic.consumer_stats(cx, consumer)
    }
}

/// The last bit that is set.
fn last_bit(words: &[u64]) -> Option<i32> {
    let word = words.iter().rposition(|&word| word != 0)?;
    i32::try_from(word * 64 + 63 - words[word].leading_zeros() as usize).ok()
}

struct LastMessageRequest {
    position: Position,
    partition: i32,
    mark_delete: Option<Position>,
    /// Whether there ever was a message.
    stored: bool,
    /// Of a batch, the last message that compaction left.
    last_left: Option<i32>,
    entry: Option<ledger::Entry>,
    read: Option<ledger::ReadRequest>,
}

impl LastMessageRequest {
    async fn run(mut self) -> Result<LastMessageId> {
        if let Some(read) = self.read.take() {
            self.entry = read.run().await?.into_iter().next();
        }
        Ok(self.answer())
    }

    fn answer(&self) -> LastMessageId {
        let metadata =
            self.entry.as_ref().filter(|e| e.position == self.position).map(|e| wire::entry::metadata(&e.data));
        let messages = metadata.and_then(std::result::Result::ok).and_then(|m| m.num_messages_in_batch);
        LastMessageId {
            // An entry that was trimmed is still the last one there was.
            position: if self.stored { self.position } else { Position { ledger: u64::MAX, entry: -1 } },
            batch_index: self.last_left.or(messages.filter(|&n| n > 0).map(|n| n - 1)).unwrap_or(-1),
            partition: self.partition,
            mark_delete: self.mark_delete,
        }
    }
}

impl Topic {
    /// Whether it can be deleted without force.
    pub(crate) fn check_unused(&self) -> Result<()> {
        if self.is_idle() {
            return Ok(());
        }
        Err(Error::Precondition("Topic has active producers/subscriptions".into()))
    }

    /// See [`Broker::terminate`].
    pub(crate) fn terminate(&mut self, cx: &mut Context) {
        if !self.is_terminated() {
            let mut properties = self.ledger.properties().clone();
            properties.insert(TERMINATED.into(), "true".into());
            self.ledger.set_properties(&mut cx.batch, properties);
            self.set_terminated(cx);
        }
    }
}
