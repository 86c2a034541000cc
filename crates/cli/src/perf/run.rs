//! Publishing runs: set everything up, run warm, measure for a while, wait for what is under way, report.

use super::{
    args::{Common, FanoutArgs, IdleArgs, LatencyArgs, Load, ProduceArgs, Rate},
    load::{self, Alarm, Publisher, Receipts, Shape},
    meter::{Clock, Count, Meter},
    process::{Process, Sample},
    report::{Cost, Flow, Latency, Output, Report, grouped},
    sink::{Sink, Subscription},
};
use crate::service::explain;
use anyhow::Context;
use client::{Client, Config};
use model::{InitialPosition, SubscriptionType};
use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};
use wire::proto;

/// How long to wait for receipts and deliveries when the time is over.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Messages the broker may send ahead to each consumer of a run that publishes too.
const QUEUE_MESSAGES: u32 = 10_000;

pub(super) async fn produce(args: ProduceArgs) -> anyhow::Result<()> {
    if let Some(name) = &args.keep_for {
        let client = args.common.service.connect().await?;
        for topic in topic_names(&args.load.topic, args.load.topics) {
            let consumer = client.consumer(&topic, name).initial(InitialPosition::Earliest).queue(1).subscribe();
            consumer.await.map_err(explain)?.close().await.map_err(explain)?;
        }
    }
    measure("produce", &args.load, &args.common, None).await
}

pub(super) async fn latency(args: LatencyArgs) -> anyhow::Result<()> {
    let readers = Readers { subscriptions: 1, consumers: args.consumers, kind: args.kind.into() };
    measure("latency", &args.load, &args.common, Some(readers)).await
}

pub(super) async fn fanout(args: FanoutArgs) -> anyhow::Result<()> {
    let readers = Readers { subscriptions: args.subscriptions, consumers: 1, kind: SubscriptionType::Exclusive };
    measure("fanout", &args.load, &args.common, Some(readers)).await
}

/// Who receives what is published.
#[derive(Clone, Copy, Debug)]
struct Readers {
    /// On each topic.
    subscriptions: u32,
    /// In each subscription.
    consumers: u32,
    kind: SubscriptionType,
}

async fn measure(name: &'static str, load: &Load, common: &Common, readers: Option<Readers>) -> anyhow::Result<()> {
    let watch = Watch::new(common)?;
    // Consumers have connections of their own, so that entries do not wait behind receipts.
    let consumer_connections = readers.map_or(0, |r| (r.subscriptions * r.consumers).min(16)) as usize;
    let producer_connections = load.connections as usize;
    let config = Config {
        connections_per_broker: producer_connections + consumer_connections,
        reconnect: None,
        ..common.service.config()
    };
    let client = common.service.connect_with(config).await?;
    let clock = Clock::start();
    let (published, delivered) = (Meter::new(clock.clone()), Meter::new(clock.clone()));
    let shape = Shape::new(
        usize::try_from(load.size)?,
        load.batch_max_messages,
        usize::try_from(load.batch_max_bytes)?,
        load.batch_max_delay,
    );
    let topics = topic_names(&load.topic, load.topics);

    let mut sinks = Vec::new();
    if let Some(readers) = readers {
        for (index, topic) in topics.iter().enumerate() {
            for subscription in 0..readers.subscriptions {
                let to = Subscription {
                    topic: topic.clone(),
                    name: format!("perf-{}-{subscription}", std::process::id()),
                    kind: readers.kind,
                    from: InitialPosition::Latest,
                    queue: QUEUE_MESSAGES,
                    acks: true,
                };
                let mut consumers = Vec::new();
                for consumer in 0..readers.consumers {
                    let nth = (index as u32 + subscription * readers.consumers + consumer) as usize;
                    let spread = producer_connections + nth % consumer_connections;
                    let sink = Sink::subscribe(&client, &to, spread, delivered.clone(), Some(shape.clone()));
                    consumers.push(sink.await.map_err(explain)?);
                }
                sinks.push(consumers);
            }
        }
    }

    let alarm = Arc::new(Alarm::default());
    let mut publishers = Vec::new();
    for topic in &topics {
        for _ in 0..load.producers {
            let receipts = Receipts::new(published.clone(), alarm.clone(), shape.size, load.outstanding);
            let spread = publishers.len() % producer_connections;
            publishers.push(publisher(&client, topic, spread, receipts).await.map_err(explain)?);
        }
    }
    let handles: Vec<_> = publishers.iter().map(|p| (p.connection.clone(), p.id, p.receipts.clone())).collect();

    let rate = match load.rate {
        Rate::Max => None,
        Rate::PerSecond(rate) => Some(rate),
    };
    let from = clock.now() + load.warmup.as_nanos() as u64;
    clock.measure(from, load.duration);
    let sender = std::thread::Builder::new().name("perf-sender".into()).spawn({
        let (shape, clock, alarm) = (shape.clone(), clock.clone(), alarm.clone());
        move || load::send_all(publishers, &shape, rate, &clock, &alarm)
    })?;
    let meters = [&*published, &*delivered];
    let mut progress = Progress::new(common.output, readers.is_some());
    progress.run(load.warmup, "warm-up", meters).await?;
    let before = Snapshot::take(&watch, meters)?;
    progress.run(load.duration, "measured", meters).await?;
    let after = Snapshot::take(&watch, meters)?;

    alarm.end();
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sending thread panicked"))?;
    let given_up_at = Instant::now() + DRAIN_MAX;
    let expected = sent * u64::from(readers.map_or(0, |r| r.subscriptions));
    let unanswered = loop {
        fail_if_failed(meters)?;
        let outstanding: u64 = handles.iter().map(|(_, _, receipts)| u64::from(receipts.outstanding())).sum();
        let undelivered = expected.saturating_sub(delivered.counted().messages);
        if outstanding + undelivered == 0 || Instant::now() > given_up_at {
            break outstanding + undelivered;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };

    let elapsed = after.at - before.at;
    let flow = |which: usize| Flow::new(before.counts[which], after.counts[which], elapsed.as_secs_f64());
    let out = flow(0);
    let report = Report {
        measurement: name,
        service_url: common.service.service_url.clone(),
        setup: setup(load, &shape, readers),
        seconds: elapsed.as_secs_f64(),
        published: Some(out),
        publish_latency: Latency::new(&published.latency_ns()),
        delivered: readers.map(|_| flow(1)),
        end_to_end_latency: Latency::new(&delivered.latency_ns()),
        unanswered,
        broker: watch.cost(&before, &after, Some(out), Some(out)),
        client: watch.own_cost(&before, &after, Some(out)),
    };
    // The report first: what follows only tidies up.
    report.print(common.output)?;
    for consumers in &sinks {
        let (last, others) = consumers.split_last().context("a subscription without consumers")?;
        for sink in others {
            sink.close().await.map_err(explain)?;
        }
        last.unsubscribe().await.map_err(explain)?;
    }
    for (connection, id, _) in &handles {
        connection.close_producer(*id, Duration::from_secs(10)).await.map_err(explain)?;
    }
    Ok(())
}

pub(super) async fn idle(args: IdleArgs) -> anyhow::Result<()> {
    let watch = Watch::new(&args.common)?;
    anyhow::ensure!(watch.broker.is_some(), "no process was found that listens there; name it with --broker-pid");
    let clock = Clock::start();
    let (a, b) = (Meter::new(clock.clone()), Meter::new(clock));
    let before = Snapshot::take(&watch, [&a, &b])?;
    tokio::time::sleep(args.duration).await;
    let after = Snapshot::take(&watch, [&a, &b])?;
    let report = Report {
        measurement: "idle",
        service_url: args.common.service.service_url.clone(),
        setup: "nothing but watching".to_owned(),
        seconds: (after.at - before.at).as_secs_f64(),
        published: None,
        publish_latency: None,
        delivered: None,
        end_to_end_latency: None,
        unanswered: 0,
        broker: watch.cost(&before, &after, None, None),
        client: watch.own_cost(&before, &after, None),
    };
    report.print(args.common.output)
}

async fn publisher(client: &Client, topic: &str, spread: usize, receipts: Arc<Receipts>) -> client::Result<Publisher> {
    let connection = client.connection_for(topic, spread).await?;
    let topic: model::TopicName = topic.parse()?;
    let id = client.next_id();
    let command = proto::CommandProducer { topic: topic.to_string(), producer_id: id, ..Default::default() };
    let wait = Some(Duration::from_secs(30));
    let success = connection.create_producer(command, receipts.clone(), wait).await?;
    Ok(Publisher { connection, id, name: success.producer_name, receipts, next_sequence_id: 0, sent: 0 })
}

/// `topic` itself, or `topic-0`, `topic-1` and so on.
pub(super) fn topic_names(topic: &str, count: u32) -> Vec<String> {
    match count {
        1 => vec![topic.to_owned()],
        _ => (0..count).map(|index| format!("{topic}-{index}")).collect(),
    }
}

fn setup(load: &Load, shape: &Shape, readers: Option<Readers>) -> String {
    let rate = match load.rate {
        Rate::Max => "at maximum rate".to_owned(),
        Rate::PerSecond(rate) => format!("at {} msg/s", grouped(rate as u64)),
    };
    let batch = if shape.is_batch { format!("batches of {}", shape.messages_max) } else { "unbatched".to_owned() };
    let mut text = format!("{} bytes {rate}, {batch}", shape.size);
    for (count, what) in [
        (load.topics, "topics"),
        (load.producers, "producers each"),
        (load.connections, "connections"),
        (readers.map_or(1, |r| r.subscriptions), "subscriptions"),
        (readers.map_or(1, |r| r.consumers), "consumers each"),
    ] {
        if count > 1 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

/// The processes whose cost is measured.
pub(super) struct Watch {
    pub(super) broker: Option<Process>,
}

impl Watch {
    /// # Errors
    /// The process that was named does not exist.
    pub(super) fn new(common: &Common) -> anyhow::Result<Self> {
        let broker = match common.broker_pid {
            Some(pid) => {
                let process = Process { pid };
                process.sample()?;
                Some(process)
            }
            None => Process::listening_at(&common.service.service_url),
        };
        Ok(Self { broker })
    }

    pub(super) fn cost(
        &self,
        before: &Snapshot,
        after: &Snapshot,
        flow: Option<Flow>,
        published: Option<Flow>,
    ) -> Option<Cost> {
        let span = before.broker.zip(after.broker)?;
        Some(Cost::new(self.broker?, span, after.at - before.at, flow, published))
    }

    pub(super) fn own_cost(&self, before: &Snapshot, after: &Snapshot, flow: Option<Flow>) -> Cost {
        Cost::new(Process::own(), (before.own, after.own), after.at - before.at, flow, None)
    }
}

/// Everything that is counted, at one moment.
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) counts: [Count; 2],
    broker: Option<Sample>,
    own: Sample,
}

impl Snapshot {
    pub(super) fn take(watch: &Watch, meters: [&Meter; 2]) -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            counts: meters.map(Meter::counted),
            broker: watch.broker.map(Process::sample).transpose()?,
            own: Process::own().sample()?,
        })
    }
}

pub(super) fn fail_if_failed(meters: [&Meter; 2]) -> anyhow::Result<()> {
    match meters.iter().find_map(|meter| meter.failure()) {
        Some(error) => Err(explain(error)),
        None => Ok(()),
    }
}

/// A line each second, on a terminal.
pub(super) struct Progress {
    is_shown: bool,
    has_deliveries: bool,
    last: [Count; 2],
}

impl Progress {
    pub(super) fn new(output: Output, has_deliveries: bool) -> Self {
        let is_shown = output == Output::Text && std::io::stderr().is_terminal();
        Self { is_shown, has_deliveries, last: [Count::default(); 2] }
    }

    /// Lets `length` pass, and watches for failures.
    pub(super) async fn run(&mut self, length: Duration, phase: &str, meters: [&Meter; 2]) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + length;
        while tokio::time::Instant::now() < end {
            let second = tokio::time::Instant::now() + Duration::from_secs(1);
            tokio::time::sleep_until(second.min(end)).await;
            fail_if_failed(meters)?;
            if self.is_shown && second <= end {
                self.show(phase, meters);
            }
        }
        Ok(())
    }

    fn show(&mut self, phase: &str, meters: [&Meter; 2]) {
        let now = meters.map(Meter::counted);
        let mut line = format!("{phase:>8}");
        for (index, what) in ["published", "delivered"].into_iter().enumerate() {
            let messages = now[index].messages - self.last[index].messages;
            if index == 1 && !self.has_deliveries {
                continue;
            }
            let megabytes = (now[index].bytes - self.last[index].bytes) as f64 / 1e6;
            line += &format!("  {what} {:>9} msg/s {megabytes:>7.1} MB/s", grouped(messages));
            let latency = meters[index].latency_ns();
            if !latency.is_empty() {
                let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e6;
                line += &format!("  p50 {:.2} ms p99 {:.2} ms", at(0.5), at(0.99));
            }
        }
        eprintln!("{line}");
        self.last = now;
    }
}
