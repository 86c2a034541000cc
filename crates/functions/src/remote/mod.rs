//! A broker that is somewhere else, Geminga or Apache Pulsar, through the client.
//!
//! A commit is a row of steps here: outputs are published and durable, then state is written, then messages are acknowledged. A failure
//! in between means that a message comes again after some of its effects have happened: at least once. A commit that has a number of its
//! own ([`crate::Commit::once`]) happens once all the same: its outputs are entries of that number, of which the broker's deduplication
//! lets one pass, and state remembers the last number it was changed by.
//!
//! Connections are made again when they are lost. What was received through one that is lost is void, and the loop is told; so what comes
//! again is not done twice unless its effects were already on their way.

mod beside;
mod commits;
mod feed;
mod output;
mod session;

use async_trait::async_trait;
use client::Client;
use model::{Domain, SubscriptionType, TopicName};
use std::sync::Arc;
use wire::proto::ServerError;

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
        // Asked first, so that no code is started for a broker that is away.
        let max_message_bytes = self.client.max_message_bytes().await.map_err(error)?;
        Ok(Box::new(session::Connected::new(self.client.clone(), self.tables.clone(), max_message_bytes)))
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32> {
        self.client.partitions(&topic.to_string()).await.map_err(error)
    }

    async fn matching(&self, pattern: &str, subscription: &str) -> Result<Vec<TopicName>> {
        let wanted = topics_matching(pattern, subscription)?;
        let is_persistent = wanted.domain() == Domain::Persistent;
        let names = self.client.topics(wanted.namespace.as_str(), is_persistent).await.map_err(error)?;
        Ok(wanted.among(names.iter().filter_map(|name| name.parse().ok())))
    }

    async fn unsubscribe(&self, topic: &TopicName, subscription: &str) -> Result<()> {
        // The broker deletes what somebody is connected to, so one must be.
        let consumer = self.client.consumer(&topic.to_string(), subscription).kind(SubscriptionType::Shared);
        consumer.subscribe().await.map_err(error)?.unsubscribe().await.map_err(error)
    }
}

pub(crate) fn error(error: client::Error) -> Error {
    match error {
        client::Error::TooLarge { .. } | client::Error::Mixed(_) => Error::Invalid(error.to_string()),
        _ if error.is_retryable() => Error::Closed(error.chain()),
        client::Error::Broker { code: ServerError::IncompatibleSchema, .. } => Error::Schema(error.chain()),
        _ => Error::Broker(error.chain()),
    }
}
