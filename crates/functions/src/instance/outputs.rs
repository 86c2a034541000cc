//! The producers of an instance: opened when something is first published to a topic, one for each partition.
//!
//! Where effects are to happen once on a broker whose commits are not atomic, each input has producers of its own, named after it, and
//! where a message goes depends on the message it is made of alone.

use bytes::Bytes;
use model::TopicName;
use rustc_hash::FxHashMap;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    event_log::{Compression, EventLog, OutputSpec, Schema, Session},
    message::{InputId, Message, OutputId, Record},
    spec::FunctionSpec,
};

/// Topics beyond which those that were not published to for longest are closed.
const TOPICS_OPEN: usize = 1000;
/// Topics one batch of outcomes may publish to.
const TOPICS_MAX: usize = 10_000;
/// Schemas one topic may be published to with.
const SCHEMAS_MAX: usize = 100;

/// How long a broker may be away while a topic is opened, and how often it is asked.
const AWAY_MAX: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Outputs {
    log: Arc<dyn EventLog>,
    function: Arc<FunctionSpec>,
    instance_id: u32,
    /// Of the function's output.
    schema: Option<Schema>,
    uses: u64,
    /// By the input they belong to, and the name the function used.
    open: FxHashMap<Option<InputId>, FxHashMap<String, Producers>>,
}

/// The producers of one topic: one for what has no schema of its own, and one for each schema.
#[derive(Default)]
struct Producers {
    routes: Vec<(Option<Arc<Schema>>, Route)>,
    /// When one was last used, by the count of uses.
    used: u64,
}

impl Producers {
    fn of(&mut self, schema: Option<&Arc<Schema>>) -> Option<&mut Route> {
        self.routes.iter_mut().find(|(of, _)| of.as_ref() == schema).map(|(_, route)| route)
    }

    fn ids(self) -> impl Iterator<Item = OutputId> {
        self.routes.into_iter().flat_map(|(_, route)| route.partitions.to_vec())
    }
}

/// The partitions of one topic. Cheap to clone.
#[derive(Clone)]
struct Route {
    partitions: Arc<[OutputId]>,
    /// Where the next message without a key goes.
    next: usize,
}

impl Outputs {
    /// `schema` as user code announces it; one that needs no definition follows from the configuration.
    pub(super) fn new(
        log: Arc<dyn EventLog>,
        function: Arc<FunctionSpec>,
        instance_id: u32,
        schema: Option<Schema>,
    ) -> Self {
        let output = &function.output;
        // One of records without a definition says nothing. Source: Pulsar's `TopicSchema`.
        let configured = Schema::named(&output.schema_type, Bytes::new(), output.schema_properties.clone())
            .filter(|schema| schema::Kind::from_wire(schema.kind).is_some_and(schema::Kind::is_primitive));
        Self { log, instance_id, schema: schema.or(configured), uses: 0, open: FxHashMap::default(), function }
    }

    /// Opens the output now if it has a schema: whether the topic takes it shows before the first message does.
    ///
    /// # Errors
    /// It does not, or the broker refuses for another reason.
    pub(super) async fn open_described(&mut self, session: &mut Box<dyn Session>) -> Result<()> {
        let (Some(topic), Some(_)) = (self.function.output.topic.clone(), &self.schema) else { return Ok(()) };
        self.route(session, &topic, &Record::default(), None).await.map(drop).map_err(|error| match error {
            Error::Broker(why) | Error::Schema(why) => Error::Broker(format!("the output topic {topic}: {why}")),
            other => other,
        })
    }

    /// The producer for a record to `topic`, by its key and its schema. `once`: the message it is made of, where it is to be published
    /// once.
    ///
    /// # Errors
    /// The name is none, or the broker refuses.
    pub(super) async fn route(
        &mut self,
        session: &mut Box<dyn Session>,
        topic: &str,
        record: &Record,
        once: Option<&Message>,
    ) -> Result<OutputId> {
        let schema = record.schema.as_ref();
        let of = once.map(|message| message.input);
        let open = self.open.entry(of).or_default();
        if open.get_mut(topic).and_then(|producers| producers.of(schema)).is_none() {
            if open.len() >= TOPICS_MAX {
                return Err(Error::Invalid(format!("a function can publish to {TOPICS_MAX} topics at once")));
            }
            if open.get(topic).is_some_and(|producers| producers.routes.len() >= SCHEMAS_MAX) {
                return Err(Error::Invalid(format!("a function can publish to a topic with {SCHEMAS_MAX} schemas")));
            }
            let route = self.open(session, topic, schema, once).await.map_err(|error| match error {
                // What the function says of it is the function's to answer for.
                Error::Schema(why) if schema.is_some() => {
                    Error::Invalid(format!("the topic {topic} does not take the message's schema: {why}"))
                }
                other => other,
            })?;
            let producers = self.open.entry(of).or_default().entry(topic.to_owned()).or_default();
            producers.routes.push((schema.cloned(), route));
        }
        let Some(producers) = self.open.get_mut(&of).and_then(|open| open.get_mut(topic)) else {
            return Err(Error::Closed("the output was closed".into()));
        };
        self.uses += 1;
        producers.used = self.uses;
        let Some(route) = producers.of(schema) else { return Err(Error::Closed("the output was closed".into())) };
        let count = route.partitions.len();
        let index = match &record.key {
            _ if count == 1 => 0,
            // Source: Pulsar's `PulsarSink` and `ProducerBuilderFactory`, whose producers hash with `Murmur3_32Hash`.
            Some(key) => (wire::entry::murmur3_32(key.text.as_bytes()) & (u32::MAX >> 1)) as usize % count,
            None => {
                route.next = once.map_or(route.next + 1, |message| message.id.entry as usize) % count;
                route.next
            }
        };
        Ok(route.partitions[index])
    }

    /// Whether some have to be closed.
    pub(super) fn are_many(&self) -> bool {
        self.open.get(&None).is_some_and(|open| open.len() > TOPICS_OPEN)
    }

    /// Forgets the producers that were idle for longest, all but half of those that may stay; nothing may be on its way to them.
    pub(super) fn close_idle(&mut self) -> impl Iterator<Item = OutputId> + use<> {
        let open = self.open.entry(None).or_default();
        let mut uses: Vec<u64> = open.values().map(|producers| producers.used).collect();
        uses.sort_unstable();
        let last = uses.iter().rev().nth(TOPICS_OPEN / 2).copied().unwrap_or_default();
        let idle: Vec<_> = open.extract_if(|_, producers| producers.used <= last).collect();
        idle.into_iter().flat_map(|(_, producers)| producers.ids())
    }

    /// Forgets the producers of an input.
    pub(super) fn close(&mut self, input: InputId) -> impl Iterator<Item = OutputId> + use<> {
        let open = self.open.remove(&Some(input)).unwrap_or_default();
        open.into_values().flat_map(Producers::ids)
    }

    async fn open(
        &self,
        session: &mut Box<dyn Session>,
        topic: &str,
        own: Option<&Arc<Schema>>,
        once: Option<&Message>,
    ) -> Result<Route> {
        let name: TopicName = topic.parse().map_err(|e| Error::Invalid(format!("topic {topic:?}: {e}")))?;
        let function = &self.function;
        let output = &function.output;
        let is_output = output.topic.as_deref().is_some_and(|t| t == topic);
        let schema = own.map(|schema| &**schema).or_else(|| self.schema.as_ref().filter(|_| is_output));
        // One name is one producer, whose messages have one order: those of another schema are another's.
        let suffix =
            own.map_or_else(String::new, |schema| format!("-{:08x}", wire::entry::murmur3_32(&schema.definition)));
        let metadata = function.client_metadata(self.instance_id);
        let spec = |topic: TopicName| OutputSpec {
            topic,
            producer: once.map(|message| format!("{}-{}{suffix}", function.fqfn(), message.topic)),
            metadata: metadata.clone(),
            schema: schema.cloned(),
            batch_by_key: is_output && output.batch_by_key,
            compression: if is_output { output.compression } else { Compression::Lz4 },
        };
        let away = Away { until: (!session.is_atomic()).then(|| Instant::now() + AWAY_MAX) };
        let partitions = loop {
            if name.partition().is_some() {
                break 0;
            }
            match self.log.partitions(&name).await {
                Ok(partitions) => break partitions,
                Err(error) => away.wait(error).await?,
            }
        };
        let topics: Vec<_> = match partitions {
            0 => vec![name],
            count => (0..count).map(|n| name.with_partition(n)).collect(),
        };
        let mut ids = Vec::with_capacity(topics.len());
        for topic in topics {
            let opened = loop {
                match session.open_output(spec(topic.clone())).await {
                    Err(error) => match away.wait(error).await {
                        Ok(()) => {}
                        Err(error) => break Err(error),
                    },
                    opened => break opened,
                }
            };
            match opened {
                Ok(id) => ids.push(id),
                Err(error) => {
                    // All of them, or none.
                    ids.into_iter().for_each(|id| session.close_output(id));
                    return Err(error);
                }
            }
        }
        Ok(Route { partitions: ids.into(), next: 0 })
    }
}

/// A broker somewhere else comes back, and code does not start again for it; one in this process does not.
struct Away {
    until: Option<Instant>,
}

impl Away {
    /// Waits before it is asked again.
    ///
    /// # Errors
    /// This one, when asking again does not help.
    async fn wait(&self, error: Error) -> Result<()> {
        match (&error, self.until) {
            (Error::Closed(_), Some(until)) if Instant::now() < until => sleep(ASK_AGAIN).await,
            _ => return Err(error),
        }
        Ok(())
    }
}
