//! What waits on subscriptions, and bells for those that nobody is connected to.

use ledger::ReadRequest;
use model::{Position, TopicName};
use std::sync::Arc;
use tokio::task::JoinSet;

use super::Broker;
use crate::{
    error::{Error, Result},
    requests::NewConsumer,
    shard::{Shard, stopping},
    subscription::{Oldest, published_ms},
    waiting::{Bell, Waiting},
};

/// How many topics a shard is asked of at once; what others want of it comes in between.
const ASKED_TOGETHER: usize = 200;
/// Oldest messages that are read from disk at once: consumers read beside them.
const READ_TOGETHER: usize = 32;

impl Broker {
    /// What waits on each of these subscriptions, by topic and name, in their order. A topic that is not there has nothing, and where the
    /// subscription is missing nothing waits.
    ///
    /// Meant to be asked often, and for many at once: each shard is asked a few times for all of its topics. A topic that nobody uses is
    /// loaded once for it, and then remembered. The time of the oldest message may take a read from disk, once for each message; one that
    /// takes long costs whoever asks for it an answer, and nobody else's time.
    ///
    /// # Errors
    /// Of each: the storage fails, or takes too long; the broker is stopping.
    pub async fn waiting(&self, asked: Vec<(TopicName, Arc<str>)>) -> Vec<Result<Waiting>> {
        // What nobody answers, nobody can.
        let mut all: Vec<Result<Waiting>> = asked.iter().map(|_| Err(stopping())).collect();
        let mut of_shards: Vec<Vec<(usize, TopicName, Arc<str>)>> = vec![Vec::new(); self.inner.shards.len()];
        for (n, (topic, subscription)) in asked.into_iter().enumerate() {
            of_shards[self.shard_index(&topic)].push((n, topic, subscription));
        }
        let mut answers = Vec::new();
        for (mut questions, shard) in of_shards.into_iter().zip(self.inner.shards.iter()) {
            while !questions.is_empty() {
                let together = questions.split_off(questions.len().saturating_sub(ASKED_TOGETHER));
                answers.push(shard.ask(move |shard: &mut Shard, reply| {
                    let look = |(n, topic, name): (usize, TopicName, Arc<str>)| {
                        let found = shard.waiting(&topic, &name);
                        (n, topic, name, found)
                    };
                    reply.send(Ok(together.into_iter().map(look).collect::<Vec<_>>()));
                }));
            }
        }
        let mut reads = Vec::new();
        for answer in answers {
            for (n, topic, subscription, found) in answer.await.unwrap_or_default() {
                all[n] = match found {
                    Ok((waiting, Oldest::None)) => Ok(waiting),
                    Ok((waiting, Oldest::At(ms))) => Ok(Waiting { oldest_ms: Some(ms), ..waiting }),
                    Ok((waiting, Oldest::Read(at, request))) => {
                        reads.push(self.clone().read_oldest(n, waiting, (topic, subscription, at), request));
                        continue;
                    }
                    Err(error) => Err(error),
                };
            }
        }
        let mut reads = reads.into_iter();
        let mut on_disk: JoinSet<_> = reads.by_ref().take(READ_TOGETHER).collect();
        while let Some(read) = on_disk.join_next().await {
            if let Some(next) = reads.next() {
                on_disk.spawn(next);
            }
            let Ok((n, found)) = read else { continue };
            all[n] = found;
        }
        all
    }

    /// Reads when the oldest message, which is there, was published.
    async fn read_oldest(
        self,
        n: usize,
        waiting: Waiting,
        (topic, subscription, at): (TopicName, Arc<str>, Position),
        request: ReadRequest,
    ) -> (usize, Result<Waiting>) {
        let of = (topic.clone(), subscription.clone(), at);
        let readings = self.inner.oldest.clone();
        let late = Error::NotReady(format!("the oldest message of {topic} is still being read"));
        let read = async move {
            let oldest_ms = request.run().await?.first().map(published_ms);
            if let Some(ms) = oldest_ms {
                self.remember_oldest(topic, subscription, at, ms);
            }
            Ok::<_, Error>(oldest_ms)
        };
        let oldest_ms = readings.ask(of, read).await.unwrap_or(Err(late));
        (n, oldest_ms.map(|oldest_ms| Waiting { oldest_ms, ..waiting }))
    }

    fn remember_oldest(&self, name: TopicName, subscription: Arc<str>, at: Position, ms: u64) {
        self.shard(&name.clone()).send(crate::shard::Event::Call(Box::new(move |shard| {
            if let Some(topic) = shard.names.get(&name).and_then(|id| shard.topics.get_mut(id))
                && let Ok((subscription, _)) = topic.subscription(&subscription)
            {
                subscription.oldest_is(at, ms);
            }
        })));
    }

    /// Makes sure that the topic and the subscription that `request` names are there, and hangs a bell on it: when it has no consumers and
    /// something for one, now or later, the bell rings. That is so for messages whose time is still to come when it comes, and also when
    /// the subscription is deleted, and when partitions are added to the topic whose first one this is. It hangs there when the topic is
    /// unloaded, too.
    ///
    /// # Errors
    /// As for [`Broker::subscribe`].
    pub async fn hang(&self, request: NewConsumer, bell: &Arc<Bell>) -> Result<()> {
        self.ensure_topic(&request.topic, request.force_topic_creation).await?;
        let bell = bell.clone();
        self.shard(&request.topic.clone())
            .call_later(move |shard: &mut Shard, reply| {
                let hung = shard.topic(&request.topic).and_then(|id| {
                    let (topic, cx) = shard.at(id)?;
                    topic.hang(cx, &request, &bell)
                });
                match hung {
                    Ok(()) if !shard.cx.batch.is_empty() => shard.when_durable(move |_, result| reply.send(result)),
                    other => reply.send(other),
                }
            })
            .await
    }
}

impl Shard {
    fn waiting(&mut self, name: &TopicName, subscription: &str) -> Result<(Waiting, Oldest)> {
        if let Some(waiting) = self.resting.waiting(name, subscription, self.cx.now_ms) {
            return Ok((waiting, waiting.oldest_ms.map_or(Oldest::None, Oldest::At)));
        }
        match self.topic(name).and_then(|id| Ok(self.at(id)?.0.waiting(subscription))) {
            // It is not there, or about to go.
            Err(Error::TopicNotFound(_) | Error::NotReady(_)) => Ok((Waiting::default(), Oldest::None)),
            found => found,
        }
    }
}
