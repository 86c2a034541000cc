//! A broker that is somewhere else, Geminga or Apache Pulsar, through the client.
//!
//! A commit is a row of steps here: outputs are published and durable, then state is written, then messages are acknowledged. A failure
//! in between means that a message comes again after some of its effects have happened: at least once.

mod session;

use async_trait::async_trait;
use client::Client;
use model::TopicName;
use std::sync::Arc;

use crate::{
    error::{Error, Result},
    event_log::{EventLog, Session, Tables, topics_matching},
};

/// See the module. Clones share connections.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    tables: Arc<dyn Tables>,
}

impl Remote {
    /// State goes to `tables`.
    #[must_use]
    pub fn new(client: Client, tables: Arc<dyn Tables>) -> Self {
        Self { client, tables }
    }
}

#[async_trait]
impl EventLog for Remote {
    async fn session(&self, _name: &str) -> Result<Box<dyn Session>> {
        Ok(Box::new(session::Connected::new(self.client.clone(), self.tables.clone())))
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32> {
        self.client.partitions(&topic.to_string()).await.map_err(error)
    }

    async fn matching(&self, pattern: &str) -> Result<Vec<TopicName>> {
        let wanted = topics_matching(pattern)?;
        let names = self.client.topics(wanted.namespace.as_str()).await.map_err(error)?;
        Ok(wanted.among(names.iter().filter_map(|name| name.parse().ok())))
    }

    async fn unsubscribe(&self, topic: &TopicName, subscription: &str) -> Result<()> {
        let consumer = self.client.consumer(&topic.to_string(), subscription).kind(model::SubscriptionType::Shared);
        consumer.subscribe().await.map_err(error)?.unsubscribe().await.map_err(error)
    }
}

fn error(error: client::Error) -> Error {
    if error.is_retryable() { Error::Closed(error.to_string()) } else { Error::Broker(error.to_string()) }
}
