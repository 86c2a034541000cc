//! The consumers of an instance: one for each topic it reads, each partition of it, each topic its pattern matches.

use model::TopicName;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{sync::Arc, time::Duration};

use crate::{
    error::{Error, Result},
    event_log::{EventLog, InputSpec, Session},
    message::InputId,
    spec::{FunctionSpec, InputConfig, has_dead_letters_of},
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
    /// Until what is refused comes again.
    delays: FxHashMap<InputId, Duration>,
}

impl Inputs {
    pub(super) fn new(log: Arc<dyn EventLog>, function: Arc<FunctionSpec>, instance_id: u32) -> Self {
        Self {
            log,
            function,
            instance_id,
            skips_to_latest: false,
            open: FxHashSet::default(),
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

    /// Subscribes to what is not read yet; adds the new inputs to `opened`.
    ///
    /// # Errors
    /// The broker refuses one; those before it are open.
    pub(super) async fn open(&mut self, session: &mut Box<dyn Session>, opened: &mut Vec<InputId>) -> Result<()> {
        let mut wanted = Vec::new();
        for (name, config) in &self.function.inputs {
            if config.is_pattern {
                let found = self.log.matching(name).await?.into_iter();
                let found = found.filter(|topic| !has_dead_letters_of(topic, &self.function.subscription));
                wanted.extend(found.map(|topic| (topic, config.clone())));
            } else {
                let topic = name.parse().map_err(|e| Error::Invalid(format!("topic {name:?}: {e}")))?;
                wanted.push((topic, config.clone()));
            }
        }
        for (topic, config) in wanted {
            let partitions = if topic.partition().is_some() { 0 } else { self.log.partitions(&topic).await? };
            let topics = match partitions {
                0 => vec![topic],
                n => (0..n).map(|n| topic.with_partition(n)).collect(),
            };
            for topic in topics {
                if !self.open.contains(&topic) {
                    let input = session.subscribe(self.input(topic.clone(), &config)).await?;
                    self.delays.insert(input, config.redelivery_delay.unwrap_or(REDELIVERY_DELAY));
                    opened.push(input);
                    self.open.insert(topic);
                }
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
