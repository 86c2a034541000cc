//! The consumers of an instance: one for each topic it reads, each partition of it, each topic its pattern matches.

use model::TopicName;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    error::{Error, Result},
    event_log::{EventLog, InputSpec, Session},
    message::InputId,
    spec::{FunctionSpec, InputConfig},
};

/// How long a message that was refused stays away where nothing is said. Source: Pulsar's `ConsumerConfigurationData`.
const REDELIVERY_DELAY: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Inputs {
    log: Arc<dyn EventLog>,
    function: Arc<FunctionSpec>,
    instance_id: u32,
    /// Begin after what is there: when the first instance starts, not each.
    skips_to_latest: bool,
    open: FxHashSet<TopicName>,
    /// Topics of patterns that cannot be read now, and why.
    refused: BTreeMap<TopicName, String>,
    /// Until what is refused comes again.
    delays: FxHashMap<InputId, Duration>,
}

/// What came of a look for what is to be read.
#[derive(Default)]
pub(super) struct Looked {
    /// The new inputs.
    pub(super) opened: Vec<InputId>,
    /// What stands in the way of others, and was not told before.
    pub(super) troubles: Vec<String>,
}

impl Inputs {
    pub(super) fn new(log: Arc<dyn EventLog>, function: Arc<FunctionSpec>, instance_id: u32) -> Self {
        Self {
            log,
            function,
            instance_id,
            skips_to_latest: false,
            open: FxHashSet::default(),
            refused: BTreeMap::new(),
            delays: FxHashMap::default(),
        }
    }

    /// Of a function of which nothing runs, or which shall not skip.
    pub(super) fn of_all(log: Arc<dyn EventLog>, function: Arc<FunctionSpec>, skips: bool) -> Self {
        let skips_to_latest = skips && function.skip_to_latest;
        Self { skips_to_latest, ..Self::new(log, function, 0) }
    }

    /// Whether what is to be read can change by itself: partitions are added, a pattern matches a new topic.
    pub(super) fn any(&self) -> bool {
        !self.function.inputs.is_empty()
    }

    /// Subscribes to what is not read yet, and says in `looked` what came of it, even where it fails. A topic that a pattern asks for and
    /// that refuses is in nobody's way: the next look tries it again. Source: Pulsar's `PatternMultiTopicsConsumerImpl`.
    ///
    /// # Errors
    /// The broker refuses a topic that is named, or cannot be reached; what was opened before is open.
    pub(super) async fn open(&mut self, session: &mut Box<dyn Session>, looked: &mut Looked) -> Result<()> {
        let function = self.function.clone();
        let mut wanted = Vec::new();
        for (name, config) in &function.inputs {
            if config.is_pattern {
                let found = self.log.matching(name, &function.subscription).await?;
                wanted.extend(found.into_iter().map(|topic| (topic, config)));
            } else {
                let topic = name.parse().map_err(|e| Error::Invalid(format!("topic {name:?}: {e}")))?;
                wanted.push((topic, config));
            }
        }
        let before = std::mem::take(&mut self.refused);
        for (topic, config) in wanted {
            let Err(error) = self.read(session, &topic, config, looked).await else { continue };
            // A broker somewhere else that is away refuses nothing.
            let is_away = matches!(error, Error::Closed(_)) && !session.is_atomic();
            if is_away || !config.is_pattern {
                return Err(error);
            }
            let why = error.to_string();
            if before.get(&topic) != Some(&why) {
                looked.troubles.push(format!("{topic} is not read: {why}"));
            }
            self.refused.insert(topic, why);
        }
        for topic in before.keys().filter(|topic| !self.refused.contains_key(topic)) {
            tracing::info!(function = function.fqfn(), instance = self.instance_id, %topic, "it is refused no more");
        }
        Ok(())
    }

    async fn read(
        &mut self,
        session: &mut Box<dyn Session>,
        topic: &TopicName,
        config: &InputConfig,
        looked: &mut Looked,
    ) -> Result<()> {
        let partitions = if topic.partition().is_some() { 0 } else { self.log.partitions(topic).await? };
        let topics = match partitions {
            0 => vec![topic.clone()],
            n => (0..n).map(|n| topic.with_partition(n)).collect(),
        };
        for topic in topics {
            if !self.open.contains(&topic) {
                let input = session.subscribe(self.input(topic.clone(), config)).await?;
                self.delays.insert(input, config.redelivery_delay.unwrap_or(REDELIVERY_DELAY));
                looked.opened.push(input);
                self.open.insert(topic);
            }
        }
        Ok(())
    }

    /// Until a message of this input that was refused comes again.
    pub(super) fn redelivery_delay(&self, input: InputId) -> Duration {
        self.delays.get(&input).copied().unwrap_or(REDELIVERY_DELAY)
    }

    fn input(&self, topic: TopicName, config: &InputConfig) -> InputSpec {
        let function = &self.function;
        let metadata = function.client_metadata(self.instance_id);
        InputSpec {
            topic,
            subscription: function.subscription.clone(),
            kind: function.subscription_type,
            initial_position: config.initial_position.unwrap_or(function.initial_position),
            durable: true,
            skip_to_latest: self.skips_to_latest,
            consumer: config
                .consumer_name
                .clone()
                .unwrap_or_else(|| format!("{}-{}", function.fqfn(), self.instance_id)),
            metadata,
        }
    }
}
