//! What waits on subscriptions, and bells for those that nobody is connected to.

use model::TopicName;
use std::sync::Arc;

use super::Broker;
use crate::{
    error::{Error, Result},
    requests::NewConsumer,
    shard::Shard,
    subscription::{Oldest, published_ms},
    waiting::{Bell, Waiting},
};

impl Broker {
    /// What waits on one subscription over these topics, in their order. A topic that is not there has nothing, and where the subscription
    /// is missing nothing waits.
    ///
    /// Meant to be asked often: a topic that nobody uses is loaded once for it, and then remembered. The time of the oldest message may
    /// take a read from disk, once for each message.
    ///
    /// # Errors
    /// The storage fails; the broker is stopping.
    pub async fn waiting(&self, topics: &[TopicName], subscription: &str) -> Result<Vec<Waiting>> {
        let mut of_shards: Vec<Vec<(usize, TopicName)>> = vec![Vec::new(); self.inner.shards.len()];
        for (n, topic) in topics.iter().enumerate() {
            of_shards[self.shard_index(topic)].push((n, topic.clone()));
        }
        let asked = of_shards.into_iter().zip(self.inner.shards.iter()).filter(|(topics, _)| !topics.is_empty());
        let asked: Vec<_> = asked
            .map(|(topics, shard)| {
                let name = subscription.to_owned();
                shard.call(move |shard| {
                    let look = |(n, topic): (usize, TopicName)| {
                        let (waiting, oldest) = shard.waiting(&topic, &name)?;
                        Ok((n, topic, waiting, oldest))
                    };
                    topics.into_iter().map(look).collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut all = vec![Waiting::default(); topics.len()];
        for looks in asked {
            for (n, topic, waiting, oldest) in looks.await?? {
                let oldest_ms = match oldest {
                    Oldest::None => None,
                    Oldest::At(ms) => Some(ms),
                    Oldest::Read(at, request) => {
                        let ms = request.run().await?.first().map(published_ms);
                        if let Some(ms) = ms {
                            self.remember_oldest(&topic, subscription, at, ms);
                        }
                        ms
                    }
                };
                all[n] = Waiting { oldest_ms, ..waiting };
            }
        }
        Ok(all)
    }

    fn remember_oldest(&self, topic: &TopicName, subscription: &str, at: model::Position, ms: u64) {
        let (name, subscription) = (topic.clone(), subscription.to_owned());
        self.shard(topic).send(crate::shard::Event::Call(Box::new(move |shard| {
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
