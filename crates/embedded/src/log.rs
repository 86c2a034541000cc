//! The broker as an [`EventLog`].

use async_trait::async_trait;
use broker::{Broker, PeerInfo};
use functions::{
    Error, EventLog, Result, Session,
    event_log::{InputStats, Reads, Schema, topics_matching},
};
use model::TopicName;
use std::sync::Arc;

use crate::session::Open;

/// See the crate. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<dyn seams::Clock>,
}

/// The protocol version whose commands an instance understands: those of the newest clients.
const PROTOCOL_VERSION: i32 = 21;

impl Embedded {
    /// Functions on `broker`.
    #[must_use]
    pub fn new(broker: Broker, clock: Arc<dyn seams::Clock>) -> Self {
        Self { broker, clock }
    }
}

#[async_trait]
impl EventLog for Embedded {
    async fn session(&self, name: &str) -> Result<Box<dyn Session>> {
        let info = PeerInfo {
            address: format!("function {name}"),
            client_version: concat!("Geminga-Function-v", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol_version: PROTOCOL_VERSION,
        };
        let (peer, incoming) = self.broker.connect(info);
        Ok(Box::new(Open::new(self.clone(), peer, incoming)))
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32> {
        self.broker.partitioned_metadata(topic, true).await.map_err(error)
    }

    async fn matching(&self, pattern: &str, subscription: &str) -> Result<Vec<TopicName>> {
        let wanted = topics_matching(pattern, subscription)?;
        let topics = self.broker.topics_of_namespace(&wanted.namespace).await.map_err(error)?;
        Ok(wanted.among(topics.into_iter()))
    }

    async fn cluster(&self, name: &str) -> Result<String> {
        let Some(cluster) = self.broker.cluster(name) else {
            let known = self.broker.clusters().join(", ");
            return Err(Error::Invalid(format!(
                "there is no cluster {name:?} (there are: {known}); `geminga clusters create` registers one"
            )));
        };
        let url = cluster.broker_service_url.filter(|url| !url.is_empty());
        url.ok_or_else(|| {
            Error::Invalid(format!("cluster {name} is registered without a broker URL, pulsar://HOST:PORT"))
        })
    }

    async fn input_stats(&self, reads: &Reads) -> Result<Option<InputStats>> {
        Self::input_stats(self, &[reads]).await.pop().transpose()
    }

    async fn input_stats_of_all(&self, all: &[&Reads]) -> Vec<Result<Option<InputStats>>> {
        Self::input_stats(self, all).await.into_iter().map(|stats| stats.map(Some)).collect()
    }

    async fn wake(&self, reads: Reads) -> Result<()> {
        Self::wake(self, reads).await
    }

    async fn unsubscribe(&self, topic: &TopicName, subscription: &str) -> Result<()> {
        let topics = match self.broker.partitions(topic).map_err(error)? {
            Some(n) => (0..n).map(|n| topic.with_partition(n)).collect(),
            None => vec![topic.clone()],
        };
        for topic in topics {
            match self.broker.delete_subscription(&topic, subscription, false).await {
                Ok(()) | Err(broker::Error::SubscriptionNotFound { .. } | broker::Error::TopicNotFound(_)) => {}
                Err(other) => return Err(error(other)),
            }
        }
        Ok(())
    }
}

pub(crate) fn broker_schema(schema: &Schema) -> broker::Schema {
    broker::Schema {
        kind: schema.kind,
        name: String::new(),
        data: schema.definition.clone(),
        properties: schema.properties.clone(),
    }
}

pub(crate) fn error(error: broker::Error) -> Error {
    match error {
        broker::Error::NotReady(why) => Error::Closed(why),
        broker::Error::Storage(why) => Error::Closed(format!("storage: {why}")),
        refused @ broker::Error::IncompatibleSchema(_) => Error::Schema(refused.to_string()),
        other => Error::Broker(other.to_string()),
    }
}
