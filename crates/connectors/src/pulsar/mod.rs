//! `pulsar`: a sink that forwards messages to a topic of another broker, Geminga or Apache Pulsar.
//!
//! ```text
//! topic --> consumer --> entry as it is stored, under a number of its own --> producer --> topic of the other broker
//!               ^------------------ acknowledged <-- receipt ------------------'
//! ```
//! An entry goes as it is: a batch stays a batch, compressed as it was, with keys, properties and times, a message in chunks in its chunks.
//! What changes is who published it, when, and the version of its schema, which is the other topic's.
//!
//! Where one instance reads an input in order, its entries have numbers that rise with their positions, and a producer whose name does not
//! change publishes them under these. The other broker's deduplication lets each number pass once, so what comes again, after whichever side
//! died, is stored once. What holds for that:
//! - A number is one entry, the same after every start; nothing is put together that could be put together otherwise the next time.
//! - Nothing is sent after an entry that may be refused, and a refused one is tried until it is taken: a higher number would make it a duplicate.
//! - The name has the sink's id in it: a later sink of the same name, perhaps of a broker that began anew, forwards its own entries.
//!
//! Shared inputs have no order that numbers could follow: there it is at least once.
//!
//! See ADR 11. Source of the idea that positions are numbers: Pulsar's `FunctionCommon.getSequenceId`.

mod entry;
mod lane;
mod told;

use client::{Backoff, Client};
use functions::{FunctionSpec, event_log, runtime::Report, spec::Guarantee};
use futures::FutureExt;
use model::{Domain, TopicName};
use seams::Shutdown;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    About, Ended, OpenSink, Sink,
    error::{Error, Result},
    given::Given,
    intake::Intake,
};
use lane::Lane;
use told::Told;

/// How often topics are looked for that came in the meantime: when a pattern says which, when only partitions can be added, and when that
/// could not be found out. As the instance loop does.
const LOOK: (Duration, Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60), Duration::from_secs(1));
/// Between two reports of what was done.
const REPORT: Duration = Duration::from_millis(200);

/// What the lanes of one instance share.
struct Route {
    function: FunctionSpec,
    instance_id: u32,
    local: Client,
    remote: Client,
    /// Where to.
    topic: TopicName,
    in_flight_max: usize,
    in_flight_bytes_max: usize,
}

pub(crate) fn sink(about: &About<'_>) -> Result<OpenSink> {
    let function = about.function;
    let mut given = Given::new("pulsar", &function.user_config);
    let service_url = given.required("serviceUrl");
    let topic = given.required("topic");
    let token = given.text("token");
    let secret = about.instance.and_then(|instance| instance.secrets.get("token")).map(|secret| secret.0.clone());
    let timeout = given.millis("operationTimeoutMs", 1).unwrap_or(Duration::from_secs(30));
    let in_flight_max = given.whole("maxInFlight", 1..=100_000).unwrap_or(1000);
    let in_flight_bytes_max = given.whole("maxInFlightBytes", 1..=1 << 30).unwrap_or(16 << 20);
    let remote = connects(&service_url, secret.or(token), timeout);
    if let Err(error) = &remote
        && !service_url.is_empty()
    {
        given.problem(format!("`serviceUrl`: {error}"));
    }
    let topic = topic.parse::<TopicName>().map_err(|error| {
        if !topic.is_empty() {
            given.problem(format!("`topic` {topic:?}: {error}"));
        }
    });
    if let Ok(topic) = &topic
        && service_url == function.service_url
        && function.inputs.keys().any(|input| input.parse().is_ok_and(|input: TopicName| input == *topic))
    {
        given.problem(format!("`topic`: {topic} of the same broker is an input, which would never end"));
    }
    refuse_what_has_no_effect(function, &mut given);
    given.finish()?;
    let (Ok(remote), Ok(topic)) = (remote, topic) else { return Err(Error::Open("no topic".to_owned())) };
    let local = connects(&function.service_url, None, timeout)
        .map_err(|error| Error::Open(format!("the address of the broker that has the inputs: {error}")))?;
    let route = Route {
        function: function.clone(),
        instance_id: about.instance_id(),
        local,
        remote,
        topic,
        in_flight_max: usize::try_from(in_flight_max).unwrap_or(usize::MAX),
        in_flight_bytes_max: usize::try_from(in_flight_bytes_max).unwrap_or(usize::MAX),
    };
    Ok(Box::new(move || {
        let sink: Sink =
            Box::new(move |intake| Forwarder { route: Arc::new(route), told: Arc::default() }.run(intake).boxed());
        std::future::ready(Ok(sink)).boxed()
    }))
}

/// A client that says at once when a connection is lost: whoever uses it begins anew, and tells why.
fn connects(url: &str, token: Option<String>, timeout: Duration) -> client::Result<Client> {
    let config = client::Config {
        connect_timeout: timeout,
        request_timeout: timeout,
        reconnect: None::<Backoff>,
        token,
        ..client::Config::new(url)
    };
    Client::unconnected(config)
}

/// It reads its topics by itself, and never gives a message up.
fn refuse_what_has_no_effect(function: &FunctionSpec, given: &mut Given<'_>) {
    if function.guarantee == Guarantee::AtmostOnce {
        given.problem(
            "processingGuarantees ATMOST_ONCE is not possible: a message is acknowledged when the other broker has it",
        );
    }
    if function.guarantee == Guarantee::EffectivelyOnce
        && function.inputs.keys().any(|input| input.starts_with("non-persistent://"))
    {
        given.problem("processingGuarantees EFFECTIVELY_ONCE is not possible: messages of a non-persistent input cannot be told apart");
    }
    if function.max_message_retries.is_some() || function.dead_letter_topic.is_some() {
        given.problem(
            "maxMessageRetries and deadLetterTopic are not possible: a message is sent until the other broker takes it",
        );
    }
    if function.log_topic.is_some() {
        given.problem("logTopic is not possible: what goes wrong is in the status");
    }
}

/// One instance.
struct Forwarder {
    route: Arc<Route>,
    told: Arc<Told>,
}

impl Forwarder {
    async fn run(self, mut intake: Intake) -> Ended {
        let ends = Shutdown::new();
        // Ended with this.
        let mut lanes = JoinSet::new();
        let mut known = BTreeSet::new();
        let mut abandoned = intake.abandoned();
        let mut look_at = Instant::now();
        let looks = if self.route.function.inputs.values().any(|input| input.is_pattern) { LOOK.0 } else { LOOK.1 };
        while !(ends.is_triggered() && lanes.is_empty()) {
            tokio::select! {
                () = intake.ends(), if !ends.is_triggered() => ends.trigger(),
                () = &mut abandoned => return Ok(()),
                Some(ended) = lanes.join_next() => {
                    ended.map_err(|error| format!("forwarding a topic failed: {error}"))?;
                }
                () = self.told.something(REPORT) => self.tell(&intake).await,
                () = sleep_until(look_at), if !ends.is_triggered() => {
                    let found = tokio::select! {
                        found = self.route.inputs() => found,
                        () = intake.ends() => {
                            ends.trigger();
                            continue;
                        }
                        () = &mut abandoned => return Ok(()),
                    };
                    look_at = Instant::now() + if found.is_ok() { looks } else { LOOK.2 };
                    match found {
                        Ok(found) => for topic in found {
                            if known.insert(topic.clone()) {
                                let lane = Lane::new(self.route.clone(), topic, self.told.clone());
                                lanes.spawn(lane.keep(ends.clone()));
                            }
                        },
                        Err(error) => self.told.trouble(format!("look for the inputs: {}", error.chain())),
                    }
                }
            }
        }
        self.tell(&intake).await;
        Ok(())
    }

    async fn tell(&self, intake: &Intake) {
        let (report, lines) = self.told.take();
        if report == Report::default() {
            return;
        }
        for line in lines {
            intake.warn(line).await;
        }
        intake.report(report).await;
    }
}

impl Route {
    /// What there is to read now, partitions one by one.
    async fn inputs(&self) -> client::Result<Vec<TopicName>> {
        let mut topics = Vec::new();
        for (name, input) in &self.function.inputs {
            if !input.is_pattern {
                topics.push(name.parse::<TopicName>()?);
                continue;
            }
            // It was checked when the sink was made.
            let Ok(wanted) = event_log::topics_matching(name, &self.function.subscription) else { continue };
            let is_persistent = wanted.domain() == Domain::Persistent;
            let names = self.local.topics(wanted.namespace.as_str(), is_persistent).await?;
            topics.extend(wanted.among(names.iter().filter_map(|name| name.parse().ok())));
        }
        let mut all = Vec::new();
        for topic in topics {
            match self.local.partitions(&topic.to_string()).await? {
                0 => all.push(topic),
                partitions => all.extend((0..partitions).map(|index| topic.with_partition(index))),
            }
        }
        Ok(all)
    }

    /// The producer of one input's entries. See the module.
    fn producer_name(&self, input: &TopicName) -> String {
        format!("{}-{}-{input}", self.function.fqfn(), self.function.id)
    }
}
