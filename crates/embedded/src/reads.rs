//! What waits on a function's inputs, and how it is woken.

use broker::{Bell, NewConsumer, TopicChange};
use functions::{
    Error, EventLog, Result,
    event_log::{InputSpec, InputStats, Reads, topics_matching},
};
use futures::future::select_all;
use model::{InitialPosition, SubscriptionType, TopicName};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{Embedded, log::error};

/// When a topic that cannot be subscribed to is tried again.
const REFUSED: Duration = Duration::from_secs(10);

/// Topics and partitions.
struct Found {
    topics: Vec<TopicName>,
    /// Numbers of partitions of those that have some; 0 for those that have none.
    partitions: Vec<u32>,
}

impl Embedded {
    /// Topics that are read, partitioned ones by their own names.
    async fn wanted(&self, reads: &Reads) -> Result<Vec<TopicName>> {
        let mut wanted = Vec::with_capacity(reads.topics.len());
        for (name, is_pattern) in &reads.topics {
            if *is_pattern {
                wanted.extend(self.matching(name, &reads.subscription).await?);
            } else {
                wanted.push(name.parse().map_err(|e| Error::Invalid(format!("topic {name:?}: {e}")))?);
            }
        }
        wanted.sort();
        wanted.dedup();
        Ok(wanted)
    }

    /// All topics and partitions that each reads.
    async fn found(&self, all: &[&Reads]) -> Vec<Result<Found>> {
        let mut wanted = Vec::with_capacity(all.len());
        for reads in all {
            wanted.push(self.wanted(reads).await);
        }
        // Nobody creates a topic by looking at it.
        let whole = |topic: &&TopicName| topic.partition().is_none();
        let known = self.broker.partitions_of(wanted.iter().flatten().flatten().filter(whole));
        let mut known = match known {
            Ok(known) => known.into_iter(),
            Err(why) => {
                let why = error(why).to_string();
                return all.iter().map(|_| Err(Error::Broker(why.clone()))).collect();
            }
        };
        let mut found = |wanted: Vec<TopicName>| {
            let mut found = Found { topics: Vec::with_capacity(wanted.len()), partitions: Vec::new() };
            for topic in wanted {
                let count = if whole(&&topic) { known.next().flatten() } else { None };
                found.partitions.push(count.unwrap_or(0));
                match count {
                    Some(n) => found.topics.extend((0..n).map(|n| topic.with_partition(n))),
                    None => found.topics.push(topic),
                }
            }
            found
        };
        wanted.into_iter().map(|wanted| wanted.map(&mut found)).collect()
    }

    /// All topics and partitions that one reads.
    async fn topics(&self, reads: &Reads) -> Result<Vec<TopicName>> {
        let found = self.found(&[reads]).await.pop().transpose()?;
        Ok(found.map(|found| found.topics).unwrap_or_default())
    }

    pub(crate) async fn input_stats(&self, all: &[&Reads]) -> Vec<Result<InputStats>> {
        let found = self.found(all).await;
        let subscriptions = all.iter().map(|reads| Arc::<str>::from(reads.subscription.as_str()));
        let asked = found.iter().zip(subscriptions).flat_map(|(found, subscription)| {
            let topics = found.iter().flat_map(|found| &found.topics);
            topics.map(move |topic| (topic.clone(), subscription.clone()))
        });
        let mut waiting = self.broker.waiting(asked.collect()).await.into_iter();
        let now_ms = self.clock.now_ms();
        let stats = |(reads, found): (&&Reads, Result<Found>)| {
            let Found { topics, partitions } = found?;
            // Each takes its own, whatever comes of it.
            let of_one: Vec<_> = waiting.by_ref().take(topics.len()).collect();
            let of_one = of_one.into_iter().collect::<broker::Result<Vec<_>>>().map_err(error)?;
            let oldest_ms = of_one.iter().filter_map(|one| one.oldest_ms).min();
            let (dispatched, hottest) =
                of_one.iter().fold((0, 0), |(all, hot), one| (all + one.dispatched, hot + one.hottest));
            Ok(InputStats {
                backlog: of_one.iter().map(|one| one.backlog).sum(),
                oldest: oldest_ms.map_or(Duration::ZERO, |ms| Duration::from_millis(now_ms.saturating_sub(ms))),
                parallelism_max: parallelism_max(reads.kind, &partitions),
                hottest_key: if dispatched == 0 { 0.0 } else { hottest as f64 / dispatched as f64 },
                published: topics.into_iter().zip(of_one.iter().map(|one| one.published)).collect(),
            })
        };
        all.iter().zip(found).map(stats).collect()
    }

    pub(crate) async fn wake(&self, reads: Reads) -> Result<()> {
        // Watched first, so that no topic comes in between.
        let mut patterns = Vec::new();
        for (pattern, _) in reads.topics.iter().filter(|(_, is_pattern)| *is_pattern) {
            let wanted = topics_matching(pattern, &reads.subscription)?;
            patterns.push((self.broker.watch_topics(&wanted.namespace).map_err(error)?, wanted));
        }
        let bell = Bell::new();
        // From when it hangs on the first partition, the bell rings when some are added; those added before are found once more.
        let (mut hung, mut topics) = (BTreeSet::new(), self.topics_to_subscribe(&reads).await?);
        let mut refused = Vec::new();
        while topics.iter().any(|topic| !hung.contains(topic)) {
            for topic in topics {
                if hung.insert(topic.clone())
                    && let Err(why) = self.hang(&reads, topic.clone(), reads.initial_position, &bell).await
                {
                    // The others that a pattern asks for may have something to do meanwhile.
                    if patterns.is_empty() {
                        return Err(why);
                    }
                    tracing::warn!(%topic, subscription = reads.subscription, error = %why, "nothing of this topic wakes its function");
                    refused.push(topic);
                }
            }
            topics = self.topics(&reads).await?;
        }
        let mut new_topics: Vec<_> =
            patterns.into_iter().map(|(changes, wanted)| Box::pin(new_topic(changes, wanted))).collect();
        if new_topics.is_empty() {
            bell.rung().await;
            return Ok(());
        }
        loop {
            tokio::select! {
                () = bell.rung() => return Ok(()),
                (topic, ..) = select_all(&mut new_topics) => {
                    if let Some(topic) = topic {
                        // All that is in it is new.
                        self.hang(&reads, topic, InitialPosition::Earliest, &bell).await?;
                    }
                    return Ok(());
                }
                () = tokio::time::sleep(REFUSED), if !refused.is_empty() => {}
            }
            let topics = self.topics(&reads).await?;
            for topic in std::mem::take(&mut refused) {
                // One that was deleted meanwhile is not to be created.
                if topics.contains(&topic)
                    && self.hang(&reads, topic.clone(), reads.initial_position, &bell).await.is_err()
                {
                    refused.push(topic);
                }
            }
        }
    }

    /// All topics and partitions, but what is partitioned by policy when it is created is created.
    async fn topics_to_subscribe(&self, reads: &Reads) -> Result<Vec<TopicName>> {
        for (name, _) in reads.topics.iter().filter(|(_, is_pattern)| !is_pattern) {
            let topic: TopicName = name.parse().map_err(|e| Error::Invalid(format!("topic {name:?}: {e}")))?;
            if topic.partition().is_none() {
                self.partitions(&topic).await?;
            }
        }
        self.topics(reads).await
    }

    async fn hang(&self, reads: &Reads, topic: TopicName, from: InitialPosition, bell: &Arc<Bell>) -> Result<()> {
        let input = InputSpec {
            topic,
            subscription: reads.subscription.clone(),
            kind: reads.kind,
            initial_position: from,
            durable: true,
            skip_to_latest: false,
            consumer: String::new(),
            metadata: BTreeMap::new(),
        };
        self.broker.hang(new_consumer(&input, 0), bell).await.map_err(error)
    }
}

/// The next topic that comes into being and is wanted; `None` when some may have been missed.
async fn new_topic(mut changes: Receiver<TopicChange>, wanted: functions::event_log::Matching) -> Option<TopicName> {
    loop {
        match changes.recv().await {
            Ok(TopicChange::Created(topic)) => {
                if wanted.is_match(&topic.partitioned()) {
                    return Some(topic);
                }
            }
            Ok(TopicChange::Deleted(_)) => {}
            Err(RecvError::Lagged(_)) => return None,
            // The broker is stopping: there is nothing to come.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Instances that can have something to do: one for each partition, of several topics those with the same number go to the same one;
/// a topic without partitions goes to any.
fn parallelism_max(kind: SubscriptionType, partitions: &[u32]) -> Option<u32> {
    match kind {
        SubscriptionType::Shared | SubscriptionType::KeyShared => None,
        SubscriptionType::Exclusive => Some(1),
        SubscriptionType::Failover => {
            let most = partitions.iter().copied().max().unwrap_or(0);
            let single = partitions.iter().filter(|count| **count == 0).count();
            Some(most.saturating_add(u32::try_from(single).unwrap_or(u32::MAX)).max(1))
        }
    }
}

/// How an input is asked for.
pub(crate) fn new_consumer(input: &InputSpec, consumer_id: u64) -> NewConsumer {
    NewConsumer {
        topic: input.topic.clone(),
        subscription: input.subscription.clone(),
        kind: input.kind,
        consumer_id,
        name: input.consumer.clone(),
        priority_level: 0,
        durable: input.durable,
        start_message_id: None,
        start_rollback: None,
        initial_position: input.initial_position,
        read_compacted: false,
        force_topic_creation: true,
        replicate_subscription_state: false,
        metadata: input.metadata.clone(),
        subscription_properties: BTreeMap::default(),
        key_shared: (input.kind == SubscriptionType::KeyShared).then(Default::default),
        schema: None,
        epoch: None,
        gives_back: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_bound_the_instances_of_a_subscription_with_one_active_consumer() {
        let check = |kind, partitions: &[u32], most| assert_eq!(parallelism_max(kind, partitions), most);
        check(SubscriptionType::Shared, &[4], None);
        check(SubscriptionType::KeyShared, &[0], None);
        check(SubscriptionType::Failover, &[0], Some(1));
        check(SubscriptionType::Failover, &[4, 6], Some(6));
        check(SubscriptionType::Failover, &[4, 0, 0], Some(6));
        check(SubscriptionType::Exclusive, &[4], Some(1));
    }
}
