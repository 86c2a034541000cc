//! What functions need of a broker, stated as traits; the binary joins them to the broker in the same process, or to a client.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use model::{InitialPosition, NamespaceName, SubscriptionType, TopicName};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    error::{Error, Result},
    message::{InputId, Message, MessageId, OutputId, Record},
    spec::usual_dead_letters,
};

/// A broker: events are read from it and written to it.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Opens what one instance needs.
    ///
    /// # Errors
    /// The broker cannot be reached.
    async fn session(&self, name: &str) -> Result<Box<dyn Session>>;

    /// Number of partitions, 0 when the topic is not partitioned. A topic that is not there may be created.
    ///
    /// # Errors
    /// It cannot be found out; the topic may not be created.
    async fn partitions(&self, topic: &TopicName) -> Result<u32>;

    /// Topics that a pattern asks for, partitioned ones by their own name, as [`topics_matching`] has it for `subscription`.
    ///
    /// # Errors
    /// The pattern is not one; the namespace does not exist.
    async fn matching(&self, pattern: &str, subscription: &str) -> Result<Vec<TopicName>>;

    /// Removes a subscription, if it is there.
    ///
    /// # Errors
    /// Somebody is connected; the broker cannot be reached.
    async fn unsubscribe(&self, topic: &TopicName, subscription: &str) -> Result<()>;

    /// Where clients connect to the brokers of another cluster, of those that are known here by name.
    ///
    /// # Errors
    /// [`Error::Invalid`]: none of this name is, or not where it is; which are.
    async fn cluster(&self, name: &str) -> Result<String> {
        Err(Error::Invalid(format!("no cluster {name:?}: only a worker within a broker knows other clusters")))
    }

    /// What waits on the inputs of a function, whether or not it has an instance. Cheap: topics that nobody uses are not loaded for it
    /// each time. `None`: this broker does not say.
    ///
    /// # Errors
    /// A pattern is none, a namespace does not exist, the broker cannot be reached.
    async fn input_stats(&self, _reads: &Reads) -> Result<Option<InputStats>> {
        Ok(None)
    }

    /// The same for many functions at once, in their order, which may be cheaper than one after the other.
    async fn input_stats_of_all(&self, all: &[&Reads]) -> Vec<Result<Option<InputStats>>> {
        futures::future::join_all(all.iter().map(|reads| self.input_stats(reads))).await
    }

    /// Resolves as soon as there is something to do for a function without instances: a message that can be delivered, now or when it is
    /// published or its time comes; or a topic that its pattern matches comes into being. Nobody asks again and again for it, and while
    /// it waits it costs some memory and no task. While the subscription has consumers it waits for them to go. May be dropped.
    ///
    /// The subscriptions are made where they are missing, so that nothing published from now on is missed.
    ///
    /// # Errors
    /// As for [`Self::input_stats`], and [`Error::Invalid`]: this broker does not tell.
    async fn wake(&self, _reads: Reads) -> Result<()> {
        Err(Error::Invalid("this broker does not tell when a message comes".into()))
    }
}

/// What a function reads: one subscription over topics, all their partitions, all that patterns match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// Topics (complete names) or patterns, and whether it is one.
    pub topics: Vec<(String, bool)>,
    /// Name of the subscription.
    pub subscription: String,
    /// How it is shared.
    pub kind: SubscriptionType,
    /// Where it begins where it is missing.
    pub initial_position: InitialPosition,
}

/// What waits on the inputs of a function. Messages are those of clients: a batch holds many.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputStats {
    /// By topic or partition, messages ever published to it. Rises as long as the topic is there; see [`Self::arrived_since`].
    pub published: BTreeMap<TopicName, u64>,
    /// Messages not acknowledged, those in the hands of instances too. Where entries hold different numbers of messages, and were
    /// published before the topic was last loaded, they are taken to hold the same.
    pub backlog: u64,
    /// Since the oldest message that is not acknowledged was published, by its producer's clock; zero when there is none.
    pub oldest: Duration,
    /// Instances that can work at once; `None`: any number.
    pub parallelism_max: Option<u32>,
    /// Share of the most frequent key among the messages of late, 0 to 1. Only where keys have an order to keep (Key_Shared); else 0.
    pub hottest_key: f64,
}

impl InputStats {
    /// Messages published since `before`. What a topic held when it was first seen did not arrive since.
    #[must_use]
    pub fn arrived_since(&self, before: &Self) -> u64 {
        let since =
            |(topic, now): (&TopicName, &u64)| before.published.get(topic).map_or(0, |then| now.saturating_sub(*then));
        self.published.iter().map(since).sum()
    }
}

/// A schema, as CommandProducer carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Number of `Schema.Type`.
    pub kind: i32,
    /// Its definition, empty for primitives.
    pub definition: Bytes,
    /// What else is known.
    pub properties: BTreeMap<String, String>,
}

impl Schema {
    /// Of a type by Pulsar's name for it, in any case, with its definition, empty for primitives. `None`: no type has that name, or
    /// none that a topic keeps, such as `BYTES`.
    #[must_use]
    pub fn named(name: &str, definition: Bytes, properties: BTreeMap<String, String>) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let kind: schema::Kind = if name == "BOOL" { schema::Kind::Boolean } else { name.parse().ok()? };
        (kind.wire() > 0).then(|| Self { kind: kind.wire(), definition, properties })
    }
}

/// A consumer on one topic that is not partitioned, or on one partition.
#[derive(Debug, Clone)]
pub struct InputSpec {
    /// The topic or partition.
    pub topic: TopicName,
    /// Name of the subscription.
    pub subscription: String,
    /// How it is shared.
    pub kind: SubscriptionType,
    /// Where a new subscription begins.
    pub initial_position: InitialPosition,
    /// The subscription stays when its consumers are gone. Through [`crate::remote`] every one does.
    pub durable: bool,
    /// Start after all that is there, whatever the subscription says.
    pub skip_to_latest: bool,
    /// Name of the consumer, for statistics.
    pub consumer: String,
    /// For statistics.
    pub metadata: BTreeMap<String, String>,
}

/// A producer on one topic that is not partitioned, or on one partition.
#[derive(Debug, Clone)]
pub struct OutputSpec {
    /// The topic or partition.
    pub topic: TopicName,
    /// Name of the producer; the broker makes one when `None`.
    pub producer: Option<String>,
    /// For statistics.
    pub metadata: BTreeMap<String, String>,
    /// Schema of what is published.
    pub schema: Option<Schema>,
    /// Messages of different keys are not put into one batch.
    pub batch_by_key: bool,
    /// How entries are compressed.
    pub compression: Compression,
}

/// Compression of published entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Compression {
    #[default]
    None,
    Lz4,
    Zlib,
    Zstd,
    Snappy,
}

/// What happened on the inputs.
#[derive(Debug)]
pub enum Arrived {
    /// Messages of one input, in order.
    Messages(Vec<Message>),
    /// A Failover consumer became active, or is no longer.
    Active(InputId, bool),
    /// Others could begin what was received through this input and is not begun: all of it, or of these entries (ledger and number) where some
    /// are named. Answered by [`Session::give_back`], if something is given back, and then [`Session::gave_back`].
    OthersWait(InputId, BTreeSet<(u64, i64)>),
    /// The broker closed this input: what was received through it and is not committed will come again, here or elsewhere.
    InputClosed(InputId),
    /// The broker closed this output.
    OutputClosed(OutputId),
    /// What was received through this input and is not committed is this session's no longer: it comes again, here or elsewhere. What was
    /// allowed to come still is.
    Again(InputId),
    /// The same, because the connection of this input is gone. It is being made again, and what was allowed to come must be allowed anew.
    InputLost(InputId),
}

/// What one instance has open on the broker. Dropped, it is closed, and what it did not acknowledge goes to others.
#[async_trait]
pub trait Session: Send {
    /// Opens a consumer; nothing comes before [`Session::flow`].
    ///
    /// # Errors
    /// As the broker says.
    async fn subscribe(&mut self, input: InputSpec) -> Result<InputId>;

    /// Opens a producer.
    ///
    /// # Errors
    /// As the broker says.
    async fn open_output(&mut self, output: OutputSpec) -> Result<OutputId>;

    /// Allows this many more messages of an input.
    fn flow(&mut self, input: InputId, permits: u32);

    /// Waits for what comes next. Safe to be dropped while it waits.
    ///
    /// # Errors
    /// The connection is lost; the session is of no use any more.
    async fn next(&mut self) -> Result<Arrived>;

    /// Starts a commit. Commits take effect in the order of these calls. The future says when it is durable, and may be dropped.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`]: some acknowledged message is no longer this session's, and nothing happened. [`crate::Error::Invalid`]:
    /// it never can be done, and nothing happened. [`crate::Error::Unsure`]: all but the acknowledgements has happened.
    fn commit(&mut self, commit: Commit) -> BoxFuture<'static, Result<()>>;

    /// Whether a commit happens whole or not at all. Where it does not, an effect happens once only if the commit says so itself:
    /// [`Commit::once`].
    fn is_atomic(&self) -> bool {
        true
    }

    /// Closes an output; nothing is published to it any more.
    fn close_output(&mut self, _output: OutputId) {}

    /// A commit that acknowledged these has ended, and was not refused.
    fn settled(&mut self, _ids: &[(InputId, MessageId)]) {}

    /// A commit that acknowledged these was refused for good, and nothing of it happened: they are here still.
    fn reopen(&mut self, _ids: &[(InputId, MessageId)]) {}

    /// Gives messages back, to be delivered again. The loop does not ask for it where one consumer gets all in order: there it would be
    /// everything, and not counted.
    fn redeliver(&mut self, ids: &[(InputId, MessageId)]);

    /// Gives back messages that were not begun, for others to begin: no attempt of them, and not counted as one. Says which are given back;
    /// the others stay here, because what is stored together is delivered together.
    fn give_back(&mut self, _ids: &[(InputId, MessageId)]) -> Vec<(InputId, MessageId)> {
        Vec::new()
    }

    /// One [`Arrived::OthersWait`] of this input is answered: nothing more of what it asks for is given back because of it.
    fn gave_back(&mut self, _input: InputId) {}

    /// The largest message the broker takes, headers included.
    fn max_message_bytes(&self) -> usize;
}

/// What happens together.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Messages acknowledged, all of inputs whose topics are the same one.
    pub acks: Vec<(InputId, MessageId)>,
    /// Published, in order for each output.
    pub outputs: Vec<(OutputId, Record)>,
    /// Changes of tables.
    pub changes: Vec<TableChange>,
    /// Where nothing is acknowledged, the input whose commits this is in order with: it happens after all that anybody has committed through
    /// that input before, and not at all once the input is not this session's any more ([`crate::Error::Conflict`]). With nothing in it, its
    /// answer says that all those are durable. It means nothing where commits are not atomic.
    pub through: Option<InputId>,
    /// Where commits are not atomic: what this one acknowledges is one whole entry of an input, and this is its number, rising with the
    /// entries. Each output publishes its part as one entry under this number, which it must have a name of its own for.
    pub once: Option<u64>,
}

impl Commit {
    /// Whether it would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.outputs.is_empty() && self.changes.is_empty()
    }
}

/// A change of a durable table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// Name of the table.
    pub table: Arc<str>,
    /// Which row.
    pub key: Bytes,
    /// How it changes.
    pub change: RowChange,
}

impl TableChange {
    /// About what it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = match &self.change {
            RowChange::Put(value) => value.len(),
            RowChange::Delete | RowChange::Add(_) => 8,
        };
        self.key.len() + value + 32
    }
}

/// How a row changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// Sets its value.
    Put(Bytes),
    /// Removes it.
    Delete,
    /// Adds to it as a counter of 8 bytes, big-endian.
    Add(i64),
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its value.
    pub value: Bytes,
    /// Rises with each change.
    pub version: u64,
}

/// Durable tables: registry of functions, state.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// One row, with all changes committed before.
    ///
    /// # Errors
    /// It cannot be read.
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Row>>;

    /// Rows whose key begins with `prefix`, in order of key, at most `limit`, those after `after` where given.
    ///
    /// # Errors
    /// They cannot be read.
    async fn scan(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>>;

    /// Resolves when all that reads have shown so far is durable, for tables that show a commit before it is.
    ///
    /// # Errors
    /// The storage has failed.
    async fn settled(&self) -> Result<()> {
        Ok(())
    }

    /// Makes all these changes, or none; durable when it returns.
    ///
    /// # Errors
    /// Nothing happened, or the storage has failed.
    async fn write(&self, changes: Vec<TableChange>) -> Result<()>;

    /// Forgets a table.
    ///
    /// # Errors
    /// The storage has failed.
    async fn delete_table(&self, table: &str) -> Result<()>;
}

/// Rows read at once.
const PAGE: usize = 500;

/// Rows of a table whose key begins with `prefix`, in order of key, those after `after` where given; read page by page.
///
/// # Errors
/// They cannot be read.
pub fn rows<'a>(
    tables: &'a dyn Tables,
    table: &'a str,
    prefix: &'a [u8],
    after: Option<Bytes>,
) -> BoxStream<'a, Result<(Bytes, Row)>> {
    let page = move |after: Option<Bytes>| async move {
        let page = tables.scan(table, prefix, after.as_deref(), PAGE).await?;
        let last = page.last().map(|(key, _)| key.clone());
        Ok::<_, Error>(last.map(|last| (stream::iter(page.into_iter().map(Ok)), Some(last))))
    };
    stream::try_unfold(after, page).try_flatten().boxed()
}

/// Topics a pattern asks for.
pub struct Matching {
    /// Where they are.
    pub namespace: NamespaceName,
    domain: model::Domain,
    local: regex::Regex,
    /// What the name of one ends with that it does not mean.
    dead_letters: String,
}

/// Memory a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Reads a pattern of topics: `[persistent://]tenant/namespace/` and a regular expression for the rest of the name, without the
/// partition. It never means a topic that has the dead letters of this very `subscription`: what failed would fail again and again.
///
/// # Errors
/// [`Error::Invalid`]: it is none.
///
/// Source: Pulsar's `TopicList.filterTopics`.
pub fn topics_matching(pattern: &str, subscription: &str) -> Result<Matching> {
    let invalid = |why: String| Error::Invalid(format!("pattern {pattern:?}: {why}"));
    let (domain, rest) = pattern.split_once("://").unwrap_or(("persistent", pattern));
    let domain = domain.parse().map_err(|_| invalid(format!("{domain} is no kind of topic")))?;
    let mut parts = rest.splitn(3, '/');
    let (Some(tenant), Some(namespace), Some(local)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid("tenant/namespace/name is wanted".into()));
    };
    let local = regex::RegexBuilder::new(&format!("^(?:{local})$")).size_limit(PATTERN_BYTES_MAX).build();
    Ok(Matching {
        namespace: NamespaceName::new(tenant, namespace).map_err(|e| invalid(e.to_string()))?,
        domain,
        local: local.map_err(|e| invalid(e.to_string()))?,
        dead_letters: usual_dead_letters(subscription),
    })
}

impl Matching {
    /// Of which kind they are.
    #[must_use]
    pub fn domain(&self) -> model::Domain {
        self.domain
    }

    /// Those of these topics that are asked for, partitioned ones by their own name. Pulsar's own topics never are.
    #[must_use]
    pub fn among(&self, topics: impl Iterator<Item = TopicName>) -> Vec<TopicName> {
        let topics = topics.map(|topic| topic.partitioned()).filter(|topic| self.is_match(topic));
        topics.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether it asks for this topic; a partitioned one goes by its own name.
    #[must_use]
    pub fn is_match(&self, topic: &TopicName) -> bool {
        topic.domain() == self.domain
            && *topic.namespace() == self.namespace
            && !topic.is_system()
            && !topic.local().ends_with(&self.dead_letters)
            && self.local.is_match(topic.local())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryTables;

    #[tokio::test]
    async fn rows_are_read_to_the_last_page() {
        let tables = MemoryTables::default();
        let put = |key: String| TableChange { table: "t".into(), key: key.into(), change: RowChange::Put("v".into()) };
        let count = 2 * PAGE + 1;
        tables.write((0..count).map(|n| put(format!("a{n:05}"))).chain([put("b".to_owned())]).collect()).await.unwrap();
        let read = async |prefix: &'static [u8], after: Option<&'static str>| -> Vec<Bytes> {
            let rows = rows(&tables, "t", prefix, after.map(Bytes::from));
            rows.map_ok(|(key, _)| key).try_collect().await.unwrap()
        };
        assert_eq!(read(b"", None).await.len(), count + 1);
        assert_eq!(read(b"a", None).await.len(), count);
        assert_eq!(read(b"", Some("a01000")).await, ["b"]);
        assert!(read(b"c", None).await.is_empty());
    }

    #[test]
    fn a_pattern_means_no_dead_letters_of_its_own_subscription() {
        let all = topics_matching("public/default/in.*", "public/default/f").unwrap();
        let topics = ["in", "in-partition-1", "in-public-default-f-DLQ", "in-public-default-g-DLQ", "other"];
        let found = all.among(topics.into_iter().map(|topic| topic.parse().unwrap()));
        let found: Vec<_> = found.iter().map(TopicName::local).collect();
        assert_eq!(found, ["in", "in-public-default-g-DLQ"]);
    }
}
