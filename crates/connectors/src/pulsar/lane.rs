//! One topic that is forwarded, or one partition: a consumer of it, and a producer at the other broker.
//!
//! Both are given up together when either fails, and made anew: what has no receipt comes again, in its order.

use client::{
    Consumer, Entry, Producer,
    entries::{Opened, open_as_stored},
};
use functions::instance::entry_number;
use futures::{FutureExt, StreamExt, future::try_join_all, stream::FuturesOrdered};
use model::{MessageId, TopicName};
use seams::Shutdown;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

use super::{Route, entry, told::Told};

/// Pauses between attempts: the first, and the longest; and how long it must have gone well to begin with the first again.
const PAUSE: (Duration, Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10), Duration::from_secs(60));
/// Messages the broker may send ahead, as far as so many are not more bytes than may be on their way.
const AHEAD: u32 = 500;
/// After so long without a message the producer is closed: another instance may be the one to read the topic now, and need its name.
const QUIET: Duration = Duration::from_secs(2);
/// How often partitions are looked for that the other topic was given. Source: Pulsar's `autoUpdatePartitionsInterval`.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(60);
/// Versions of schemas that are kept in mind.
const VERSIONS_MAX: usize = 1000;

type Trouble = String;

/// See the module.
pub(super) struct Lane {
    route: Arc<Route>,
    topic: TopicName,
    /// Its entries have numbers.
    is_numbered: bool,
    told: Arc<Told>,
}

/// The producer, and what of its topic is known.
struct Outlet {
    producer: Producer,
    look_at: Instant,
    /// The other topic has more partitions: it ends when what is on its way is there, since keys move.
    is_outgrown: bool,
    /// Versions of a schema at the other topic, by those here; none for one that is not to be found.
    versions: HashMap<bytes::Bytes, Option<bytes::Bytes>>,
}

impl Lane {
    pub(super) fn new(route: Arc<Route>, topic: TopicName, told: Arc<Told>) -> Self {
        // Messages that are not persistent have no positions of their own.
        let is_numbered = route.function.subscription_type.is_single_active() && topic.is_persistent();
        Self { route, topic, is_numbered, told }
    }

    /// Forwards until it is to end, or the topic has.
    pub(super) async fn keep(self, ends: Shutdown) {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            let Err(trouble) = self.forward(&ends).await else { return };
            if ends.is_triggered() {
                return;
            }
            if began.elapsed() > PAUSE.2 {
                pause = PAUSE.0;
            }
            tracing::debug!(topic = %self.topic, trouble, "forwarding begins anew");
            self.told.trouble(format!("{} is not forwarded: {trouble}", self.topic));
            tokio::select! {
                () = sleep(pause) => {}
                () = ends.triggered() => return,
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn forward(&self, ends: &Shutdown) -> Result<(), Trouble> {
        let route = &*self.route;
        let input = tokio::select! {
            input = self.subscribe() => input.map_err(|error| error.chain())?,
            () = ends.triggered() => return Ok(()),
        };
        // Opened for the first message: until this is the instance that reads, another one may have the name.
        let mut outlet: Option<Outlet> = None;
        let mut sent = FuturesOrdered::new();
        let mut since = Instant::now();
        let mut is_over = false;
        loop {
            let is_ending = is_over || ends.is_triggered();
            if is_ending && sent.is_empty() {
                break;
            }
            if let Some(open) = outlet.as_mut().filter(|open| open.look_at <= Instant::now() && !is_ending) {
                open.look_at = Instant::now() + LOOK_FOR_PARTITIONS;
                let topic = route.topic.to_string();
                let partitions = tokio::select! {
                    partitions = route.remote.partitions(&topic) => partitions,
                    () = ends.triggered() => continue,
                };
                open.is_outgrown = partitions.is_ok_and(|count| count as usize > open.producer.topics().len());
            }
            outlet.take_if(|open| open.is_outgrown && sent.is_empty());
            let is_outgrown = outlet.as_ref().is_some_and(|open| open.is_outgrown);
            let takes = !is_ending && !is_outgrown && sent.len() < route.in_flight_max;
            tokio::select! {
                biased;
                Some(stored) = sent.next() => {
                    let (mut acked, mut messages, mut failed) = (Vec::new(), 0, None);
                    let mut next = Some(stored);
                    while let Some(stored) = next {
                        match stored {
                            Ok((id, of)) => {
                                acked.push(id);
                                messages += u64::from(of);
                            }
                            Err(trouble) => {
                                failed = Some(trouble);
                                break;
                            }
                        }
                        next = sent.next().now_or_never().flatten();
                    }
                    input.ack_all(&acked).map_err(|error| error.chain())?;
                    self.told.forwarded(messages, since.elapsed());
                    since = Instant::now();
                    if let Some(trouble) = failed {
                        return Err(trouble);
                    }
                }
                () = ends.triggered(), if !is_ending => {}
                received = input.receive_entry(), if takes => {
                    let entry = match received {
                        Ok(entry) => entry,
                        // Nothing will follow.
                        Err(client::Error::EndOfTopic) => {
                            is_over = true;
                            continue;
                        }
                        Err(error) => return Err(error.chain()),
                    };
                    if sent.is_empty() {
                        since = Instant::now();
                    }
                    let id = MessageId { position: entry.delivery.position, partition: -1, batch_index: -1 };
                    let messages = entry.messages;
                    self.told.received(messages);
                    let open = match &mut outlet {
                        Some(open) => open,
                        None => outlet.insert(self.open().await.map_err(|error| error.chain())?),
                    };
                    let receipts = try_join_all(self.send(open, entry).await?);
                    sent.push_back(async move {
                        receipts.await.map(|_| (id, messages)).map_err(|error| error.chain())
                    });
                }
                () = sleep(QUIET), if outlet.is_some() && sent.is_empty() => outlet = None,
            }
        }
        if let Some(outlet) = outlet {
            outlet.producer.close().await.map_err(|error| error.chain())?;
        }
        input.close().await.map_err(|error| error.chain())
    }

    async fn subscribe(&self) -> client::Result<Consumer> {
        let function = &self.route.function;
        let mut consumer = self
            .route
            .local
            .consumer(&self.topic.to_string(), &function.subscription)
            .kind(function.subscription_type)
            .name(format!("{}-{}", function.fqfn(), self.route.instance_id))
            .initial(function.initial_position)
            .queue(AHEAD)
            .queue_bytes(self.route.in_flight_bytes_max);
        for (name, value) in function.client_metadata(self.route.instance_id) {
            consumer = consumer.property(name, value);
        }
        consumer.subscribe().await
    }

    async fn open(&self) -> client::Result<Outlet> {
        let route = &*self.route;
        let mut producer =
            route.remote.producer(&route.topic.to_string()).pending(route.in_flight_max, route.in_flight_bytes_max);
        if self.is_numbered {
            producer = producer.name(route.producer_name(&self.topic));
        }
        for (name, value) in route.function.client_metadata(route.instance_id) {
            producer = producer.property(name, value);
        }
        Ok(Outlet {
            producer: producer.create().await?,
            look_at: Instant::now() + LOOK_FOR_PARTITIONS,
            is_outgrown: false,
            versions: HashMap::new(),
        })
    }

    /// Sends an entry on its way, all of it or an error; what to wait for until it is stored.
    async fn send(&self, outlet: &mut Outlet, entry: Entry) -> Result<Vec<client::Publication>, Trouble> {
        let position = entry.delivery.position;
        let number = match self.is_numbered {
            true => Some(entry_number(position.ledger, position.entry).map_err(|error| error.to_string())?),
            false => None,
        };
        let opened = match open_as_stored(position, entry.bytes) {
            Ok(opened) => opened,
            Err(error) => {
                // Nobody will ever read it.
                tracing::error!(topic = %self.topic, %error, "an entry cannot be read and is passed over");
                self.told.trouble(format!("{}: passed over: {}", self.topic, error.chain()));
                return Ok(Vec::new());
            }
        };
        let mut metadata = entry::elsewhere(opened.metadata);
        if let Some(version) = metadata.schema_version.take().filter(|version| !version.is_empty()) {
            metadata.schema_version = self.version(outlet, version).await?;
        }
        let opened = Opened { metadata, payload: opened.payload };
        let partitions = outlet.producer.topics().len();
        let turn = usize::try_from(position.entry).unwrap_or_default() % partitions.max(1);
        let mut receipts = Vec::with_capacity(1);
        for (partition, part) in entry::parts(opened, &entry.delivery.ack_set, partitions, turn) {
            let receipt = outlet.producer.enqueue_made(partition, &part, number).await;
            receipts.push(receipt.map_err(|error| error.chain())?);
        }
        Ok(receipts)
    }

    /// The version that the schema of this version has at the other topic.
    async fn version(&self, outlet: &mut Outlet, here: bytes::Bytes) -> Result<Option<bytes::Bytes>, Trouble> {
        if let Some(there) = outlet.versions.get(&here) {
            return Ok(there.clone());
        }
        let route = &*self.route;
        let schema = route.local.schema(&self.topic, here.clone()).await.map_err(|error| error.chain())?;
        let there = match schema {
            Some(schema) => {
                // One of its partitions, where it has some: that is what brokers know as a topic.
                let topic = outlet.producer.topics().next().unwrap_or(&route.topic);
                let put = route.remote.put_schema(topic, schema).await;
                Some(put.map_err(|error| format!("the schema of its messages: {}", error.chain()))?)
            }
            None => None,
        };
        if outlet.versions.len() >= VERSIONS_MAX {
            outlet.versions.clear();
        }
        outlet.versions.insert(here, there.clone());
        Ok(there)
    }
}
