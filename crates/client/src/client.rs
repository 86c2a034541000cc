//! The entry point: finds out which broker serves a topic and keeps one pool of connections for all producers, consumers
//! and readers.

use crate::{
    Config, Connection, ConsumerBuilder, Error, ProducerBuilder, ReaderBuilder, Result, connection::broker_error,
};
use bytes::Bytes;
use model::TopicName;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use wire::proto::{
    self, BaseCommand, base_command::Type, command_get_topics_of_namespace::Mode,
    command_lookup_topic_response::LookupType, command_partitioned_topic_metadata_response,
};

/// Lookup gives up after this many redirects. Pulsar: `maxLookupRedirects`.
const REDIRECTS_MAX: u32 = 20;

/// A Pulsar client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    /// The service URL's `host:port`s.
    service: Vec<String>,
    pool: Mutex<FxHashMap<Slot, Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>>>,
    next_id: AtomicU64,
}

/// Which connection: the broker it reaches, the proxy it goes through, the number among its like.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Slot {
    address: String,
    via: Option<String>,
    index: usize,
}

impl Client {
    /// Connects to `pulsar://host:port[,host:port...]` with the default configuration.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect(service_url: &str) -> Result<Self> {
        Self::connect_with(Config::new(service_url)).await
    }

    /// Connects to the first broker of the service URL that answers.
    ///
    /// # Errors
    /// [`Error::ServiceUrl`], or the last broker's [`Error::Connect`], [`Error::Handshake`] or [`Error::Timeout`].
    pub async fn connect_with(config: Config) -> Result<Self> {
        let client = Self::unconnected(config)?;
        client.inner.service_connection().await?;
        Ok(client)
    }

    /// A client that connects when it is used, and again when that failed.
    ///
    /// # Errors
    /// [`Error::ServiceUrl`].
    pub fn unconnected(config: Config) -> Result<Self> {
        let service = parse_url(&config.service_url)?;
        let inner = Inner { config, service, pool: Mutex::default(), next_id: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Prepares a producer on `topic`.
    #[must_use]
    pub fn producer(&self, topic: &str) -> ProducerBuilder {
        ProducerBuilder::new(self.inner.clone(), topic)
    }

    /// Prepares a consumer of `topic` in `subscription`.
    #[must_use]
    pub fn consumer(&self, topic: &str, subscription: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(self.inner.clone(), topic, subscription)
    }

    /// Prepares a reader of `topic`: no subscription is left behind.
    #[must_use]
    pub fn reader(&self, topic: &str) -> ReaderBuilder {
        ReaderBuilder::new(self.inner.clone(), topic)
    }

    /// How many partitions a topic has; 0: it is not partitioned. A missing topic is created if the broker does so.
    ///
    /// # Errors
    /// [`Error::TopicName`], or what the broker or the connection says.
    pub async fn partitions(&self, topic: &str) -> Result<u32> {
        self.inner.partitions(&topic.parse()?).await
    }

    /// The names of the topics of `tenant/namespace`, partitions listed one by one: the persistent ones, or the others, which brokers know as
    /// long as somebody uses them.
    ///
    /// # Errors
    /// What the broker or the connection says.
    pub async fn topics(&self, namespace: &str, persistent: bool) -> Result<Vec<String>> {
        let mode = if persistent { Mode::Persistent } else { Mode::NonPersistent };
        let connection = self.inner.service_connection().await?;
        let answer = connection
            .request("list topics", Some(self.inner.config.request_timeout), |request_id| BaseCommand {
                r#type: Type::GetTopicsOfNamespace as i32,
                get_topics_of_namespace: Some(proto::CommandGetTopicsOfNamespace {
                    request_id,
                    namespace: namespace.to_owned(),
                    mode: Some(mode as i32),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await?;
        Ok(answer.get_topics_of_namespace_response.map(|r| r.topics).unwrap_or_default())
    }

    /// The largest message the broker takes, metadata included.
    ///
    /// # Errors
    /// No broker of the service URL answers.
    pub async fn max_message_bytes(&self) -> Result<usize> {
        Ok(self.inner.service_connection().await?.max_message_bytes())
    }

    /// The schema of a topic that has this version; `None`: it has none, or not this one.
    ///
    /// # Errors
    /// What the broker or the connection says.
    pub async fn schema(&self, topic: &TopicName, version: Bytes) -> Result<Option<proto::Schema>> {
        let connection = self.inner.connection_for(topic, 0).await?;
        let answer = connection
            .request("get schema", Some(self.inner.config.request_timeout), |request_id| BaseCommand {
                r#type: Type::GetSchema as i32,
                get_schema: Some(proto::CommandGetSchema {
                    request_id,
                    topic: topic.to_string(),
                    schema_version: Some(version),
                }),
                ..Default::default()
            })
            .await?
            .get_schema_response
            .ok_or_else(|| Error::Protocol("GET_SCHEMA was answered with another command".into()))?;
        match answer.error_code {
            None => Ok(answer.schema),
            Some(_) if answer.error_code() == proto::ServerError::TopicNotFound => Ok(None),
            Some(_) => Err(broker_error("get schema", answer.error_code(), answer.error_message())),
        }
    }

    /// The version a topic, or one partition, has this schema under; it is added where that is allowed.
    ///
    /// # Errors
    /// What the broker or the connection says: the schema may not be compatible.
    pub async fn put_schema(&self, topic: &TopicName, schema: proto::Schema) -> Result<Bytes> {
        let connection = self.inner.connection_for(topic, 0).await?;
        let answer = connection
            .request("put schema", Some(self.inner.config.request_timeout), |request_id| BaseCommand {
                r#type: Type::GetOrCreateSchema as i32,
                get_or_create_schema: Some(proto::CommandGetOrCreateSchema {
                    request_id,
                    topic: topic.to_string(),
                    schema,
                }),
                ..Default::default()
            })
            .await?
            .get_or_create_schema_response
            .ok_or_else(|| Error::Protocol("GET_OR_CREATE_SCHEMA was answered with another command".into()))?;
        match answer.error_code {
            None => Ok(answer.schema_version.unwrap_or_default()),
            Some(_) => Err(broker_error("put schema", answer.error_code(), answer.error_message())),
        }
    }

    /// How long a request may wait for its answer.
    #[must_use]
    pub fn request_timeout(&self) -> std::time::Duration {
        self.inner.config.request_timeout
    }

    /// The connection to the broker that serves `topic`, for those who speak the protocol themselves. `spread` chooses
    /// among [`Config::connections_per_broker`].
    ///
    /// # Errors
    /// [`Error::TopicName`], or what lookup or the connection says.
    pub async fn connection_for(&self, topic: &str, spread: usize) -> Result<Arc<Connection>> {
        self.inner.connection_for(&topic.parse()?, spread).await
    }

    /// An id that no other producer or consumer of this client has.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.inner.next_id()
    }
}

impl Inner {
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) async fn connection_for(&self, topic: &TopicName, spread: usize) -> Result<Arc<Connection>> {
        let text = topic.to_string();
        let mut connection = self.service_connection().await?;
        let mut authoritative = false;
        for _ in 0..=REDIRECTS_MAX {
            let answer = connection
                .request("look up topic", Some(self.config.request_timeout), |request_id| BaseCommand {
                    r#type: Type::Lookup as i32,
                    lookup_topic: Some(proto::CommandLookupTopic {
                        topic: text.clone(),
                        request_id,
                        authoritative: Some(authoritative),
                        ..Default::default()
                    }),
                    ..Default::default()
                })
                .await?
                .lookup_topic_response
                .ok_or_else(|| Error::Protocol("LOOKUP was answered with another command".into()))?;
            let (kind, proxied) = (answer.response(), answer.proxy_through_service_url());
            if kind == LookupType::Failed {
                return Err(broker_error("look up topic", answer.error(), answer.message()));
            }
            let address = parse_url(answer.broker_service_url())?.swap_remove(0);
            let via = proxied.then(|| connection.address().to_owned());
            if kind == LookupType::Connect {
                return self
                    .connection(Slot { address, via, index: spread % self.config.connections_per_broker.max(1) })
                    .await;
            }
            authoritative = answer.authoritative();
            connection = self.connection(Slot { address, via, index: 0 }).await?;
        }
        Err(Error::Redirects { topic: text.into(), limit: REDIRECTS_MAX })
    }

    pub(crate) async fn partitions(&self, topic: &TopicName) -> Result<u32> {
        if topic.partition().is_some() {
            return Ok(0);
        }
        let connection = self.service_connection().await?;
        let answer = connection
            .request("ask for partitions", Some(self.config.request_timeout), |request_id| BaseCommand {
                r#type: Type::PartitionedMetadata as i32,
                partition_metadata: Some(proto::CommandPartitionedTopicMetadata {
                    topic: topic.to_string(),
                    request_id,
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await?
            .partition_metadata_response
            .ok_or_else(|| Error::Protocol("PARTITIONED_METADATA was answered with another command".into()))?;
        if answer.response() == command_partitioned_topic_metadata_response::LookupType::Failed {
            return Err(broker_error("ask for partitions", answer.error(), answer.message()));
        }
        Ok(answer.partitions())
    }

    /// The topic itself, or its partitions.
    pub(crate) async fn parts(&self, topic: &TopicName) -> Result<Vec<TopicName>> {
        Ok(match self.partitions(topic).await? {
            0 => vec![topic.clone()],
            n => (0..n).map(|index| topic.with_partition(index)).collect(),
        })
    }

    async fn service_connection(&self) -> Result<Arc<Connection>> {
        let mut last = Error::Closed;
        for address in &self.service {
            match self.connection(Slot { address: address.clone(), via: None, index: 0 }).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The pooled connection, made if there is none or if it is lost. Whoever comes meanwhile waits for the same one.
    async fn connection(&self, slot: Slot) -> Result<Arc<Connection>> {
        let cell = self.pool.lock().entry(slot.clone()).or_default().clone();
        let mut held = cell.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_gone()) {
            return Ok(connection.clone());
        }
        *held = None;
        let connection = Connection::open(&slot.address, slot.via.as_deref(), &self.config).await?;
        *held = Some(connection.clone());
        Ok(connection)
    }
}

/// A number that differs from process to process and call to call; good enough for names and jitter.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// In 0.0..1.0.
pub(crate) fn random_share() -> f64 {
    (random() >> 11) as f64 / (1u64 << 53) as f64
}

/// The `host:port`s of a service URL, at least one.
fn parse_url(url: &str) -> Result<Vec<String>> {
    let bad = |why| Error::ServiceUrl { url: url.to_owned(), why };
    let hosts = match url.split_once("://") {
        Some(("pulsar", hosts)) => hosts,
        Some(("pulsar+ssl", _)) => return Err(bad("this client has no TLS")),
        Some(("http" | "https", _)) => return Err(bad("it is the web service's; the broker's begins with pulsar://")),
        Some(_) => return Err(bad("it must begin with pulsar://")),
        None => url,
    };
    let hosts = hosts.split('/').next().unwrap_or_default();
    hosts
        .split(',')
        .map(|host| {
            let port = host.rsplit_once(':').map(|(_, port)| port);
            match port {
                _ if host.is_empty() => Err(bad("a host is missing")),
                Some(port) if !port.ends_with(']') => match port.parse::<u16>() {
                    Ok(_) => Ok(host.to_owned()),
                    Err(_) => Err(bad("a port is not a number below 65536")),
                },
                _ => Ok(format!("{host}:6650")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_urls_name_one_host_or_several() {
        assert_eq!(parse_url("pulsar://localhost:6650").unwrap(), ["localhost:6650"]);
        assert_eq!(parse_url("pulsar://a,b:7000/").unwrap(), ["a:6650", "b:7000"]);
        assert_eq!(parse_url("[::1]:1234").unwrap(), ["[::1]:1234"]);
        assert_eq!(parse_url("pulsar://[::1]").unwrap(), ["[::1]:6650"]);
        for bad in ["", "pulsar://", "http://localhost:8080", "pulsar+ssl://a:6651", "pulsar://a:b", "pulsar://a,,b"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
