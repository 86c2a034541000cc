//! The producers of an instance: opened when something is first published to a topic, one for each partition.
//!
//! Where effects are to happen once on a broker whose commits are not atomic, each input has producers of its own, named after it, and
//! where a message goes depends on the message it is made of alone.

use bytes::Bytes;
use model::TopicName;
use rustc_hash::FxHashMap;
use schema::Kind;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    event_log::{Compression, EventLog, OutputSpec, Schema, Session},
    message::{InputId, Message, OutputId, Record},
    spec::FunctionSpec,
};

/// Routes beyond which those that were not published to for longest are closed.
const ROUTES_OPEN: usize = 1000;
/// Topics one batch of outcomes may publish to.
const TOPICS_MAX: usize = 10_000;
/// Schemas one topic may be published to with.
const SCHEMAS_MAX: usize = 100;

/// How often partitions are looked for that a topic was given. Source: Pulsar's `autoUpdatePartitionsInterval`.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(60);

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
    /// By the input they belong to, and the name the function used: one for what has no schema of its own, and one for each schema.
    open: FxHashMap<Option<InputId>, FxHashMap<String, Vec<Route>>>,
    /// How many belong to no input.
    routes: usize,
}

/// The producers for one schema to one topic, one for each of its partitions.
struct Route {
    schema: Option<Arc<Schema>>,
    partitions: Vec<OutputId>,
    /// Where the next message without a key goes.
    next: usize,
    /// When it was last used, by the count of uses.
    used: u64,
    /// When more partitions are looked for, if it can be given some.
    look_at: Option<Instant>,
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
            .filter(|schema| Kind::from_wire(schema.kind).is_some_and(Kind::is_primitive));
        let schema = schema.or(configured);
        Self { log, instance_id, schema, uses: 0, open: FxHashMap::default(), routes: 0, function }
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
        match self.find(of, topic, schema) {
            None => Box::pin(self.open(session, topic, schema, once)).await?,
            Some(route) if route.look_at.is_some_and(|at| at <= Instant::now()) => {
                Box::pin(self.look(session, topic, schema, once)).await;
            }
            Some(_) => {}
        }
        self.uses += 1;
        let uses = self.uses;
        let Some(route) = self.find(of, topic, schema) else {
            return Err(Error::Closed("the output was closed".into()));
        };
        route.used = uses;
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

    fn find(&mut self, of: Option<InputId>, topic: &str, schema: Option<&Arc<Schema>>) -> Option<&mut Route> {
        self.open.get_mut(&of)?.get_mut(topic)?.iter_mut().find(|route| route.schema.as_ref() == schema)
    }

    /// Whether some have to be closed.
    pub(super) fn are_many(&self) -> bool {
        self.routes > ROUTES_OPEN
    }

    /// Forgets the producers that were idle for longest, all but half of those that may stay; nothing may be on its way to them.
    pub(super) fn close_idle(&mut self) -> Vec<OutputId> {
        let Some(open) = self.open.get_mut(&None) else { return Vec::new() };
        let mut uses: Vec<u64> = open.values().flatten().map(|route| route.used).collect();
        uses.sort_unstable();
        let last = uses.iter().rev().nth(ROUTES_OPEN / 2).copied().unwrap_or_default();
        let mut idle = Vec::new();
        open.retain(|_, routes| {
            idle.extend(routes.extract_if(.., |route| route.used <= last).flat_map(|route| route.partitions));
            !routes.is_empty()
        });
        self.routes = open.values().map(Vec::len).sum();
        idle
    }

    /// Forgets the producers of an input.
    pub(super) fn close(&mut self, input: InputId) -> impl Iterator<Item = OutputId> + use<> {
        let open = self.open.remove(&Some(input)).unwrap_or_default();
        open.into_values().flatten().flat_map(|route| route.partitions)
    }

    async fn open(
        &mut self,
        session: &mut Box<dyn Session>,
        topic: &str,
        schema: Option<&Arc<Schema>>,
        once: Option<&Message>,
    ) -> Result<()> {
        let of = once.map(|message| message.input);
        let open = self.open.entry(of).or_default();
        let schemas = open.get(topic).map_or(0, Vec::len);
        if schemas == 0 && open.len() >= TOPICS_MAX {
            return Err(Error::Invalid(format!("a function can publish to {TOPICS_MAX} topics at once")));
        }
        if schemas >= SCHEMAS_MAX {
            return Err(Error::Invalid(format!("a function can publish to a topic with {SCHEMAS_MAX} schemas")));
        }
        let away = Away { until: (!session.is_atomic()).then(|| Instant::now() + AWAY_MAX) };
        let opened = self.producers(session, topic, schema, once, 0, &away).await;
        let (partitions, is_partitioned) = opened.map_err(|error| match error {
            // What the function says of it is the function's to answer for.
            Error::Schema(why) if schema.is_some() => {
                Error::Invalid(format!("the topic {topic} does not take the message's schema: {why}"))
            }
            other => other,
        })?;
        // What is published once goes the same way when it comes again, which a larger number of partitions would change.
        let look_at = (is_partitioned && once.is_none()).then(|| Instant::now() + LOOK_FOR_PARTITIONS);
        let route = Route { schema: schema.cloned(), partitions, next: 0, used: 0, look_at };
        self.open.entry(of).or_default().entry(topic.to_owned()).or_default().push(route);
        self.routes += usize::from(of.is_none());
        Ok(())
    }

    /// Opens the partitions that the topic was given in the meantime. Where that is not possible, those that are open go on.
    async fn look(
        &mut self,
        session: &mut Box<dyn Session>,
        topic: &str,
        schema: Option<&Arc<Schema>>,
        once: Option<&Message>,
    ) {
        let of = once.map(|message| message.input);
        let Some(route) = self.find(of, topic, schema) else { return };
        route.look_at = Some(Instant::now() + LOOK_FOR_PARTITIONS);
        let known = u32::try_from(route.partitions.len()).unwrap_or(u32::MAX);
        match self.producers(session, topic, schema, once, known, &Away { until: None }).await {
            Ok((more, _)) => {
                if let Some(route) = self.find(of, topic, schema) {
                    route.partitions.extend(more);
                }
            }
            Err(error) => {
                let (function, instance) = (self.function.fqfn(), self.instance_id);
                tracing::warn!(function, instance, topic, %error, "new partitions are not published to yet");
            }
        }
    }

    /// Opens the topic, or its partitions from the `known` ones on: all of them, or none. And whether it has some.
    async fn producers(
        &self,
        session: &mut Box<dyn Session>,
        topic: &str,
        own: Option<&Arc<Schema>>,
        once: Option<&Message>,
        known: u32,
        away: &Away,
    ) -> Result<(Vec<OutputId>, bool)> {
        let name: TopicName = topic.parse().map_err(|e| Error::Invalid(format!("topic {topic:?}: {e}")))?;
        let function = &self.function;
        let output = &function.output;
        let is_output = output.topic.as_deref().is_some_and(|t| t == topic);
        let schema = own.map(|schema| &**schema).or_else(|| self.schema.as_ref().filter(|_| is_output));
        // One name is one producer, whose messages have one order: those of another schema are another's.
        let suffix = own.map_or_else(String::new, |schema| suffix(schema));
        let metadata = function.client_metadata(self.instance_id);
        let spec = |topic: TopicName| OutputSpec {
            topic,
            producer: once.map(|message| format!("{}-{}{suffix}", function.fqfn(), message.topic)),
            metadata: metadata.clone(),
            schema: schema.cloned(),
            batch_by_key: is_output && output.batch_by_key,
            compression: if is_output { output.compression } else { Compression::Lz4 },
        };
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
            0 if known == 0 => vec![name],
            count => (known..count).map(|n| name.with_partition(n)).collect(),
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
                    ids.into_iter().for_each(|id| session.close_output(id));
                    return Err(error);
                }
            }
        }
        Ok((ids, partitions > 0))
    }
}

/// What a producer's name ends with where its messages have a schema of their own.
///
/// By its name a broker knows what was published before this process began, so a name that had only the definition in it stays as it was.
/// But of kinds whose definitions may be the same, one has such a name: `STRING` of those without a definition, `JSON` of those whose is
/// Avro's. The others have their kind in it, too, and a pair the kinds of its sides, which its properties have.
fn suffix(schema: &Schema) -> String {
    let hash = |bytes: &[u8]| format!("-{:08x}", wire::entry::murmur3_32(bytes));
    let definition = hash(&schema.definition);
    match Kind::from_wire(schema.kind) {
        Some(Kind::String) if schema.definition.is_empty() => definition,
        Some(Kind::Json | Kind::ProtobufNative) if !schema.definition.is_empty() => definition,
        Some(Kind::KeyValue) => {
            let properties: String =
                schema.properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
            definition + &hash(properties.as_bytes())
        }
        _ => format!("{definition}-{}", schema.kind),
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

#[cfg(test)]
mod tests;
