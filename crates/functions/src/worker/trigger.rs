//! Gives a function one message and waits for what it makes of it.
//!
//! The message is published to an input topic and read back there, since only a consumer learns its id; outputs carry the id of their
//! input. Source: Pulsar's `ComponentImpl.triggerFunction`, which has a producer that tells the id.

use bytes::Bytes;
use model::{InitialPosition, SubscriptionType, TopicName};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Name, Worker, resolve};
use crate::{
    Commit, Error, Kind, Message, Record, Result, Session,
    event_log::{Arrived, Compression, InputSpec, OutputSpec},
    instance::{INPUT_MESSAGE_ID, INPUT_TOPIC, serialized},
    message::InputId,
};

/// How long a function may take. Pulsar waits one second, and ten when nothing at all comes.
const PATIENCE: Duration = Duration::from_secs(10);
/// The property by which the message is known again.
const MARK: &str = "__geminga_trigger__";
/// Messages allowed at once on each topic that is watched.
const PERMITS: u32 = 100;

impl Worker {
    /// Publishes `data` to an input topic of a function (the only one, where none is named) and returns what it makes of it; `None`
    /// when it has no output topic.
    ///
    /// # Errors
    /// [`Error::NotFound`]. [`Error::Invalid`]: it has no such input topic, or several. [`Error::TimedOut`].
    pub async fn trigger(&self, name: &Name, topic: Option<&str>, data: Bytes) -> Result<Option<Bytes>> {
        let function = self.function(Kind::Function, name)?;
        let spec = {
            let row = function.row.lock().clone();
            self.spec(&row).await?
        };
        let mut inputs = spec.inputs.iter().filter(|(_, config)| !config.is_pattern).map(|(topic, _)| topic.clone());
        let input = match topic {
            Some(topic) => {
                let topic = resolve::complete(topic)?;
                inputs
                    .find(|input| *input == topic)
                    .ok_or_else(|| Error::Invalid("Function in trigger function has unidentified topic".to_owned()))?
            }
            None => {
                let first = inputs.next().filter(|_| inputs.next().is_none());
                first.ok_or_else(|| {
                    Error::Invalid("Function in trigger function has more than 1 input topics".to_owned())
                })?
            }
        };
        let watch = Watch::open(self, &input, spec.output.topic.as_deref(), &spec.fqfn()).await?;
        watch.run(data).await
    }
}

/// What one call has open.
struct Watch {
    session: Box<dyn Session>,
    input: TopicName,
    /// The consumer on the input; the others are on partitions of the output.
    own: InputId,
    outputs: Vec<(InputId, TopicName)>,
    mark: String,
}

impl Watch {
    async fn open(worker: &Worker, input: &str, output: Option<&str>, fqfn: &str) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let log = &worker.shared.log;
        let mark = format!("{}-{}", worker.shared.clock.now_ms(), COUNT.fetch_add(1, Ordering::Relaxed));
        let subscription = format!("{}-trigger-{fqfn}-{mark}", worker.shared.settings.worker_id);
        let mut session = log.session(&subscription).await?;
        let mut input = resolve::topic(input)?;
        if input.partition().is_none() && log.partitions(&input).await? > 0 {
            input = input.with_partition(0);
        }
        let reader = |topic: &TopicName| InputSpec {
            topic: topic.clone(),
            subscription: subscription.clone(),
            kind: SubscriptionType::Exclusive,
            initial_position: InitialPosition::Latest,
            // It goes with the session, however that ends.
            durable: false,
            // The subscription is new, so it begins at the end anyway.
            skip_to_latest: false,
            consumer: subscription.clone(),
            metadata: BTreeMap::new(),
        };
        let own = session.subscribe(reader(&input)).await?;
        let mut outputs = Vec::new();
        if let Some(output) = output {
            let output = resolve::topic(output)?;
            let partitions = if output.partition().is_some() { 0 } else { log.partitions(&output).await? };
            let topics = match partitions {
                0 => vec![output],
                n => (0..n).map(|number| output.with_partition(number)).collect(),
            };
            for topic in topics {
                // A function that writes where it reads is watched there already.
                if topic != input {
                    outputs.push((session.subscribe(reader(&topic)).await?, topic));
                }
            }
        }
        Ok(Self { session, input, own, outputs, mark })
    }

    async fn run(mut self, data: Bytes) -> Result<Option<Bytes>> {
        let has_output = !self.outputs.is_empty();
        match tokio::time::timeout(PATIENCE, self.exchange(data)).await {
            Ok(answer) => answer.map(|answer| answer.filter(|_| has_output)),
            Err(_) => Err(Error::TimedOut("Request Timed Out".to_owned())),
        }
    }

    async fn exchange(&mut self, data: Bytes) -> Result<Option<Bytes>> {
        for id in self.outputs.iter().map(|(id, _)| *id).chain([self.own]) {
            self.session.flow(id, PERMITS);
        }
        let output = OutputSpec {
            topic: self.input.clone(),
            producer: None,
            metadata: BTreeMap::new(),
            schema: None,
            batch_by_key: false,
            compression: Compression::None,
        };
        let output = self.session.open_output(output).await?;
        let properties = vec![(MARK.to_owned(), self.mark.clone())];
        let record = Record { payload: data, properties, ..Record::default() };
        self.session.commit(Commit { outputs: vec![(output, record)], ..Commit::default() }).await?;
        if self.outputs.is_empty() {
            return Ok(None);
        }
        let mut sent = None;
        // Outputs may be seen before the message they were made of.
        let mut seen: Vec<Message> = Vec::new();
        loop {
            let messages = match self.session.next().await? {
                Arrived::Messages(messages) => messages,
                Arrived::InputClosed(_) | Arrived::OutputClosed(_) | Arrived::InputLost(_) => {
                    return Err(Error::Closed("a topic was closed during the trigger".to_owned()));
                }
                Arrived::Active(..) | Arrived::Again(_) | Arrived::OthersWait(..) => continue,
            };
            for message in messages {
                self.session.flow(message.input, 1);
                if message.input == self.own {
                    if property(&message, MARK) == Some(&self.mark) {
                        sent = Some((serialized(&message.id), message.topic.to_string()));
                    }
                } else {
                    seen.push(message);
                }
            }
            if let Some((id, topic)) = &sent {
                let is_answer = |message: &Message| {
                    property(message, INPUT_MESSAGE_ID) == Some(id) && property(message, INPUT_TOPIC) == Some(topic)
                };
                if let Some(answer) = seen.iter().find(|message| is_answer(message)) {
                    return Ok(Some(answer.payload.clone()));
                }
                seen.clear();
            }
        }
    }
}

/// The last value counts, as in a map.
fn property<'a>(message: &'a Message, name: &str) -> Option<&'a String> {
    message.properties.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value)
}
