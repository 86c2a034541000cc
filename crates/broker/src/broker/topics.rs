//! Topics by name: creating, finding, deleting them; partitions.
//!
//! Source: Pulsar's `BrokerService.fetchPartitionedTopicMetadataCheckAllowAutoCreationAsync`, `AdminResource`.

use ledger::Batch;
use model::{NamespaceName, TopicLevelPolicies, TopicName};
use std::collections::BTreeMap;

use super::{Broker, TopicChange, going::Whole};
use crate::{
    error::{Error, Result},
    shard::Shard,
};

/// Prefix of the properties of a topic's row that are the broker's own and not shown.
pub(crate) const OWN: &str = "geminga.";

/// Partitions of one topic that are created at the same time.
const CREATE_AT_A_TIME: usize = 256;

/// Bytes that the properties of a topic may have besides the broker's own. Every change writes them all.
const PROPERTIES_BYTES_MAX: usize = 1024 * 1024;

fn created(done: Option<std::result::Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match done {
        None | Some(Ok(Ok(()) | Err(Error::TopicExists(_)))) => Ok(()),
        Some(Ok(Err(other))) => Err(other),
        Some(Err(error)) => Err(Error::NotReady(error.to_string())),
    }
}

impl Broker {
    /// Runs `f` over a fresh batch and the store in the shard of `topic`, and answers when what it did is durable.
    pub(super) async fn change<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&ledger::Store, &mut Batch) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.change_and_then(topic, f, || {}).await
    }

    /// The same; `then` runs in the shard once it is durable, whether or not somebody still waits for the answer.
    async fn change_and_then<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&ledger::Store, &mut Batch) -> Result<R> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<R> {
        self.shard(topic)
            .call_later(move |shard: &mut Shard, reply| match f(&shard.cx.store, &mut shard.cx.batch) {
                Ok(value) => shard.when_durable(move |_, result| {
                    if result.is_ok() {
                        then();
                    }
                    reply.send(result.map(|()| value));
                }),
                Err(error) => reply.send(Err(error)),
            })
            .await
    }

    /// Whether a topic, or a partitioned topic, of this name exists.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], storage errors.
    pub async fn exists(&self, topic: &TopicName) -> Result<bool> {
        self.inner.metadata.policies(topic.namespace())?;
        Ok(self.is_there(topic).await? || self.inner.store.partitions(topic)?.is_some())
    }

    /// Whether a topic, or a partition, of this name exists. One that is not persistent exists while it is loaded.
    pub(super) async fn is_there(&self, topic: &TopicName) -> Result<bool> {
        if topic.is_persistent() {
            return Ok(self.inner.store.exists(topic)?);
        }
        let name = topic.clone();
        self.shard(topic).call(move |shard| shard.names.contains_key(&name)).await
    }

    /// Makes sure a topic exists that a client wants to use; `create`: whether it may be created by policy.
    pub(super) async fn ensure_topic(&self, topic: &TopicName, create: bool) -> Result<()> {
        let policies = self.inner.metadata.policies(topic.namespace())?;
        if self.is_there(topic).await? {
            return Ok(());
        }
        if self.inner.store.partitions(topic)?.is_some() {
            return Err(Error::NotAllowed(format!("Topic {topic} is a partitioned topic: name a partition of it")));
        }
        let auto = match &policies.auto_topic_creation {
            Some(auto) => auto.allow_auto_topic_creation,
            None => self.inner.config.allow_auto_topic_creation,
        };
        // A partition of a topic that has it may always come to be, and no other. Source: Pulsar's
        // `BrokerService.isAllowAutoTopicCreationAsync` and `validateTopicConsistency`.
        let of = match topic.partition() {
            Some(index) => Some((index, self.inner.store.partitions(&topic.partitioned())?)),
            None => None,
        };
        match of {
            Some((index, Some(n))) if index >= n => return Err(Error::TopicNotFound(topic.clone())),
            Some((_, Some(_))) => {}
            None | Some((_, None)) if !(create && auto) => return Err(Error::TopicNotFound(topic.clone())),
            Some((_, None)) => {
                let why_not = format!("Partition metadata not found for the partitioned topic: {topic}");
                return Err(Error::NotAllowed(why_not));
            }
            None => {}
        }
        match self.create(topic, BTreeMap::new(), of.is_some()).await {
            Err(Error::TopicExists(_)) => Ok(()),
            other => other,
        }
    }

    /// Creates a topic that is not partitioned, or one partition.
    ///
    /// # Errors
    /// [`Error::TopicExists`], [`Error::NamespaceNotFound`].
    pub async fn create_topic(&self, topic: &TopicName, properties: BTreeMap<String, String>) -> Result<()> {
        self.create(topic, properties, false).await
    }

    /// For where a topic is created: what it belongs to may have been deleted since the last look.
    fn look_again(&self) -> impl Fn(&TopicName) -> Result<()> + Send + use<> {
        let (going, metadata) = (self.inner.going.clone(), self.inner.metadata.clone());
        move |topic| {
            going.check(topic)?;
            metadata.policies(topic.namespace()).map(drop)
        }
    }

    /// [`Broker::create_topic`]; `as_part`: only as a partition of a topic that has it.
    async fn create(&self, topic: &TopicName, properties: BTreeMap<String, String>, as_part: bool) -> Result<()> {
        if let Some(own) = properties.keys().find(|k| k.starts_with(OWN)) {
            return Err(Error::BadRequest(format!("property names may not start with {OWN}: {own}")));
        }
        self.check_room(topic.namespace(), 1)?;
        let name = topic.clone();
        let look_again = self.look_again();
        let check = move |store: &ledger::Store, name: &TopicName| {
            look_again(name)?;
            if as_part && store.partitions(&name.partitioned())?.is_none() {
                return Err(Error::TopicNotFound(name.clone()));
            }
            Ok(())
        };
        if !topic.is_persistent() {
            if self.inner.store.partitions(topic)?.is_some() {
                return Err(Error::TopicExists(name));
            }
            let create = move |shard: &mut Shard| {
                check(&shard.cx.store, &name)?;
                shard.create_non_persistent(&name, properties).map(drop)
            };
            return self.shard(topic).call(create).await?;
        }
        let create = move |store: &ledger::Store, batch: &mut Batch| {
            check(store, &name)?;
            if store.partitions(&name)?.is_some() {
                return Err(Error::TopicExists(name));
            }
            store.create(batch, &name, properties).map_err(|error| match error {
                ledger::Error::Exists(_) => Error::TopicExists(name.clone()),
                other => other.into(),
            })
        };
        self.change_and_then(topic, create, self.teller(TopicChange::Created(topic.clone()))).await?;
        if topic.partition().is_none() {
            self.forget_policies(topic).await?;
        }
        Ok(())
    }

    /// Whether a namespace may have `more` topics. They are counted only where there is a bound.
    fn check_room(&self, namespace: &NamespaceName, more: usize) -> Result<()> {
        let max = self.inner.metadata.policies(namespace)?.max_topics_per_namespace.unwrap_or(0) as usize;
        if max > 0 && self.inner.store.topics(namespace)?.len() + more > max {
            return Err(Error::NotAllowed(Error::NAMESPACE_FULL.into()));
        }
        Ok(())
    }

    /// What a topic said about itself goes with it. Its name may have been left with something by a crash between the
    /// two, so a new topic begins with this, too.
    async fn forget_policies(&self, topic: &TopicName) -> Result<()> {
        if *self.inner.metadata.topic_level_policies(topic) == TopicLevelPolicies::default() {
            return Ok(());
        }
        self.inner.metadata.update_topic_policies(topic, |policies| *policies = TopicLevelPolicies::default()).await
    }

    /// Partitions of a topic, 0 when it is not partitioned. With `auto_create` a missing topic is created when policy
    /// says that new topics are partitioned.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`] for a missing topic that may not be created.
    pub async fn partitioned_metadata(&self, topic: &TopicName, auto_create: bool) -> Result<u32> {
        let policies = self.inner.metadata.policies(topic.namespace())?;
        if let Some(n) = self.inner.store.partitions(topic)? {
            return Ok(n);
        }
        // A client that may create asks for the partitions of a partition before it uses it.
        if self.is_there(topic).await? || auto_create && topic.partition().is_some() {
            return Ok(0);
        }
        let config = &self.inner.config;
        let (allowed, partitions) = match &policies.auto_topic_creation {
            Some(auto) => (
                auto.allow_auto_topic_creation,
                if auto.topic_type.as_deref() == Some("partitioned") {
                    auto.default_num_partitions.unwrap_or(1)
                } else {
                    0
                },
            ),
            None => (config.allow_auto_topic_creation, config.auto_topic_creation_partitions),
        };
        if !auto_create || !allowed {
            // The client creates nothing by asking; only one that asked not to create needs to hear of it.
            return if auto_create { Ok(0) } else { Err(Error::TopicNotFound(topic.clone())) };
        }
        if partitions == 0 {
            return Ok(0);
        }
        match self.create_partitioned_topic(topic, partitions).await {
            Ok(()) => Ok(partitions),
            Err(Error::TopicExists(_)) => Ok(self.inner.store.partitions(topic)?.unwrap_or(0)),
            Err(other) => Err(other),
        }
    }

    /// Creates a partitioned topic and its partitions.
    ///
    /// # Errors
    /// [`Error::TopicExists`]; [`Error::NotAllowed`] for no partitions or too many.
    pub async fn create_partitioned_topic(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        self.inner.metadata.policies(topic.namespace())?;
        let max = self.inner.config.max_partitions_per_topic;
        if partitions == 0 {
            return Err(Error::NotAllowed("Number of partitions should be more than 0".into()));
        }
        if max > 0 && partitions > max {
            return Err(Error::NotAllowed(format!("Number of partitions should be less than or equal to {max}")));
        }
        if topic.partition().is_some() {
            return Err(Error::Precondition("Partitioned Topic Name should not contain '-partition-'".into()));
        }
        if self.is_there(topic).await? {
            return Err(Error::TopicExists(topic.clone()));
        }
        self.check_room(topic.namespace(), partitions as usize)?;
        let name = topic.clone();
        let look_again = self.look_again();
        self.change(topic, move |store, batch| {
            look_again(&name)?;
            if store.exists(&name)? || store.partitions(&name)?.is_some() {
                return Err(Error::TopicExists(name));
            }
            Ok(store.set_partitions(batch, &name, Some(partitions))?)
        })
        .await?;
        self.forget_policies(topic).await?;
        self.create_missed_partitions(topic).await
    }

    /// Creates the partitions that do not exist yet.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`] when the topic is not partitioned.
    pub async fn create_missed_partitions(&self, topic: &TopicName) -> Result<()> {
        let n = self.inner.store.partitions(topic)?.ok_or_else(|| Error::TopicNotFound(topic.clone()))?;
        self.create_partitions(topic, 0..n).await
    }

    /// Creates those that do not exist yet.
    async fn create_partitions(&self, topic: &TopicName, indexes: std::ops::Range<u32>) -> Result<()> {
        if !topic.is_persistent() {
            // They come with their clients.
            return Ok(());
        }
        // Many at a time share commits: one after the other, thousands take longer than a client waits.
        let mut creating = tokio::task::JoinSet::new();
        for index in indexes {
            if creating.len() >= CREATE_AT_A_TIME {
                created(creating.join_next().await)?;
            }
            let (broker, partition) = (self.clone(), topic.with_partition(index));
            creating.spawn(async move { broker.create(&partition, BTreeMap::new(), true).await });
        }
        while !creating.is_empty() {
            created(creating.join_next().await)?;
        }
        Ok(())
    }

    /// Raises the number of partitions; subscriptions of the first partition are created on the new ones, at their beginning.
    ///
    /// The number comes last: nobody publishes to a partition that a subscription may miss, and what ends half way is done by asking
    /// again.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the number does not grow; [`Error::Conflict`] when somebody else changes it.
    pub async fn update_partitions(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        let now = self.inner.store.partitions(topic)?.ok_or_else(|| Error::TopicNotFound(topic.clone()))?;
        let max = self.inner.config.max_partitions_per_topic;
        if partitions < now || partitions == 0 || (max > 0 && partitions > max) {
            return Err(Error::Precondition(format!(
                "Desired partitions {partitions} can't be less than the current partitions {now} or more than {max}."
            )));
        }
        self.create_partitions(topic, 0..partitions).await?;
        self.copy_subscriptions(topic, now..partitions).await?;
        let (name, going) = (topic.clone(), self.inner.going.clone());
        self.change(topic, move |store, batch| {
            going.check(&name)?;
            if store.partitions(&name)? != Some(now) {
                return Err(Error::Conflict(format!("the number of partitions of {name} was changed meanwhile")));
            }
            Ok(store.set_partitions(batch, &name, Some(partitions))?)
        })
        .await?;
        // Who sleeps on the topic looks which partitions it has.
        let first = topic.with_partition(0);
        self.shard(&first.clone()).call(move |shard| shard.cx.bells.ring(&first, |_, _| true)).await
    }

    /// Creates the durable subscriptions of the first partition on others that are new; a reader opens its own.
    async fn copy_subscriptions(&self, topic: &TopicName, added: std::ops::Range<u32>) -> Result<()> {
        if !topic.is_persistent() {
            return Ok(());
        }
        let found = self.with_topic(&topic.with_partition(0), |topic, _| Ok(topic.durable_subscriptions())).await;
        let subscriptions = match found {
            Err(Error::TopicNotFound(_)) => return Ok(()),
            found => found?,
        };
        let mut properties = Vec::new();
        for subscription in &subscriptions {
            // One that goes meanwhile has none.
            let found = self.subscription_properties(&topic.with_partition(0), subscription).await;
            properties.push(found.unwrap_or_default());
        }
        for partition in added.map(|index| topic.with_partition(index)) {
            for (subscription, properties) in subscriptions.iter().zip(&properties) {
                let earliest = crate::SeekTarget::Earliest;
                match self.create_subscription(&partition, subscription, earliest, properties.clone()).await {
                    Ok(()) | Err(Error::SubscriptionExists { .. }) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }

    /// Deletes a topic; without `force` only when nobody is connected.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::Precondition`] when it is in use.
    pub async fn delete_topic(&self, topic: &TopicName, force: bool) -> Result<()> {
        self.keep_schemas(topic).await?;
        let (name, tell) = (topic.clone(), self.teller(TopicChange::Deleted(topic.clone())));
        self.shard(topic)
            .call_later(move |shard: &mut Shard, reply| {
                let checked = shard.topic(&name).and_then(|id| {
                    let (topic, _) = shard.at(id)?;
                    if !force {
                        topic.check_unused()?;
                    }
                    Ok(id)
                });
                match checked {
                    Err(error) => reply.send(Err(error)),
                    Ok(id) if !name.is_persistent() => {
                        shard.unload(id);
                        tell();
                        reply.send(Ok(()));
                    }
                    Ok(id) => {
                        // Clients that are told to leave come back at once.
                        shard.leaving.insert(name.clone());
                        shard.unload(id);
                        // The row is free once what is on its way is durable.
                        shard.when_durable(move |shard, result| {
                            shard.leaving.remove(&name);
                            let deleted =
                                result.and_then(|()| Ok(shard.cx.store.delete(&mut shard.cx.batch, &name)?));
                            match deleted {
                                Ok(()) => shard.when_durable(move |_, result| {
                                    if result.is_ok() {
                                        tell();
                                    }
                                    reply.send(result);
                                }),
                                Err(error) => reply.send(Err(error)),
                            }
                        });
                    }
                }
            })
            .await?;
        if topic.partition().is_none() {
            self.forget_policies(topic).await?;
            self.forget_schemas(topic).await?;
        }
        Ok(())
    }

    /// Deletes a partitioned topic with its partitions.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::Precondition`] when a partition is in use.
    pub async fn delete_partitioned_topic(&self, topic: &TopicName, force: bool) -> Result<()> {
        let _deleting = self.inner.going.delete(Whole::Topic(topic.clone()))?;
        let n = self.inner.store.partitions(topic)?.ok_or_else(|| Error::TopicNotFound(topic.clone()))?;
        let mut partitions: Vec<_> = (0..n).map(|index| topic.with_partition(index)).collect();
        if topic.is_persistent() {
            // What was to be added may be there already, where the number was not raised any more.
            let more = self.inner.store.parts(topic)?.into_iter();
            partitions.extend(more.filter(|part| part.partition().is_some_and(|index| index >= n)));
        }
        if !force {
            for partition in &partitions {
                let name = partition.clone();
                let unused = self.shard(partition).call(move |shard| {
                    let id = shard.topic(&name)?;
                    shard.at(id)?.0.check_unused()
                });
                match unused.await? {
                    Ok(()) | Err(Error::TopicNotFound(_)) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        // The row goes last, so that a crash half way leaves something that can be deleted again.
        for partition in &partitions {
            match self.delete_topic(partition, force).await {
                Ok(()) | Err(Error::TopicNotFound(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let name = topic.clone();
        self.change(topic, move |store, batch| Ok(store.set_partitions(batch, &name, None)?)).await?;
        self.forget_schemas(topic).await?;
        self.forget_policies(topic).await
    }

    /// Persistent topics of a namespace, each partition by itself, sorted.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn topics(&self, namespace: &NamespaceName) -> Result<Vec<TopicName>> {
        self.inner.metadata.policies(namespace)?;
        Ok(self.inner.store.topics(namespace)?)
    }

    /// Topics of a namespace that are not persistent, each partition by itself, sorted.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn non_persistent_topics(&self, namespace: &NamespaceName) -> Result<Vec<TopicName>> {
        self.inner.metadata.policies(namespace)?;
        let mut topics = Vec::new();
        for shard in self.inner.shards.iter() {
            let wanted = namespace.clone();
            let names = shard.call(move |shard| {
                let names = shard.names.keys().filter(|name| !name.is_persistent() && *name.namespace() == wanted);
                names.cloned().collect::<Vec<_>>()
            });
            topics.extend(names.await?);
        }
        topics.sort();
        Ok(topics)
    }

    /// All topics of a namespace, as clients with a pattern ask for them.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn topics_of_namespace(&self, namespace: &NamespaceName) -> Result<Vec<TopicName>> {
        let mut topics = self.topics(namespace).await?;
        topics.extend(self.non_persistent_topics(namespace).await?);
        Ok(topics)
    }

    /// Partitioned topics of a namespace, sorted.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`].
    pub async fn partitioned_topics(&self, namespace: &NamespaceName) -> Result<Vec<TopicName>> {
        self.inner.metadata.policies(namespace)?;
        Ok(self.inner.store.partitioned_topics(namespace)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Partitions of a topic, if it is partitioned.
    ///
    /// # Errors
    /// Storage errors.
    pub fn partitions(&self, topic: &TopicName) -> Result<Option<u32>> {
        Ok(self.inner.store.partitions(topic)?)
    }

    /// The same of several, in their order.
    ///
    /// # Errors
    /// The storage fails.
    pub fn partitions_of<'a>(&self, topics: impl IntoIterator<Item = &'a TopicName>) -> Result<Vec<Option<u32>>> {
        Ok(self.inner.store.partitions_of(topics)?)
    }

    /// Closes a topic: its clients look it up again.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn unload_topic(&self, topic: &TopicName) -> Result<()> {
        if !self.exists(topic).await? {
            return Err(Error::TopicNotFound(topic.clone()));
        }
        let name = topic.clone();
        self.shard(topic)
            .call_later(move |shard: &mut Shard, reply| {
                if let Some(&id) = shard.names.get(&name) {
                    shard.unload(id);
                }
                shard.when_durable(move |_, result| reply.send(result));
            })
            .await
    }

    /// What a user attached to a topic.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`].
    pub async fn topic_properties(&self, topic: &TopicName) -> Result<BTreeMap<String, String>> {
        let name = topic.clone();
        self.shard(topic)
            .call(move |shard| {
                let id = shard.topic(&name)?;
                let own = |key: &str| key.starts_with(OWN);
                let properties = shard.at(id)?.0.ledger.properties().iter();
                Ok(properties.filter(|(k, _)| !own(k)).map(|(k, v)| (k.clone(), v.clone())).collect())
            })
            .await?
    }

    /// Adds to, or with `None` removes from, what a user attached to a topic.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::BadRequest`] for a name that is the broker's own.
    pub async fn set_topic_properties(
        &self,
        topic: &TopicName,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<()> {
        if let Some(own) = changes.keys().find(|k| k.starts_with(OWN)) {
            return Err(Error::BadRequest(format!("property names may not start with {OWN}: {own}")));
        }
        self.update_properties(topic, move |properties| {
            for (key, value) in changes {
                match value {
                    Some(value) => properties.insert(key, value),
                    None => properties.remove(&key),
                };
            }
            let theirs = properties.iter().filter(|(key, _)| !key.starts_with(OWN));
            let bytes: usize = theirs.map(|(key, value)| key.len() + value.len()).sum();
            if bytes > PROPERTIES_BYTES_MAX {
                return Err(Error::TooMany(format!(
                    "the properties of a topic take {bytes} bytes, where {PROPERTIES_BYTES_MAX} are the most"
                )));
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn update_properties<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&mut BTreeMap<String, String>) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let name = topic.clone();
        self.shard(topic)
            .call_later(move |shard: &mut Shard, reply| {
                let changed = shard.topic(&name).and_then(|id| {
                    let (topic, cx) = shard.at(id)?;
                    let mut properties = topic.ledger.properties().clone();
                    let value = f(&mut properties)?;
                    if properties != *topic.ledger.properties() {
                        topic.ledger.set_properties(&mut cx.batch, properties);
                    }
                    Ok(value)
                });
                match changed {
                    Ok(value) => shard.when_durable(move |_, result| reply.send(result.map(|()| value))),
                    Err(error) => reply.send(Err(error)),
                }
            })
            .await
    }
}
