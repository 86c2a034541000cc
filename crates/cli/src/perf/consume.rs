//! Receiving runs: how fast the broker can deliver what is stored or what others publish.

use super::{
    args::{Amount, ConsumeArgs},
    meter::{Clock, Meter},
    report::{Flow, Output, Report, grouped},
    run::{Snapshot, Watch, fail_if_failed, topic_names},
    sink::{Sink, Subscription},
};
use crate::service::explain;
use anyhow::Context;
use client::Config;
use std::{
    io::IsTerminal,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(5);

pub(super) async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let watch = Watch::new(common)?;
    let config = Config { connections_per_broker: args.consumers as usize, reconnect: None, ..common.service.config() };
    let client = common.service.connect_with(config).await?;
    let clock = Clock::start();
    let meter = Meter::new(clock.clone());
    let meters = [&*meter, &*meter];
    let is_new = args.subscription.is_none();
    let name = args.subscription.clone().unwrap_or_else(|| format!("perf-{}", std::process::id()));
    let before = Snapshot::take(&watch, meters)?;
    let mut sinks = Vec::new();
    for topic in topic_names(&args.topic, args.topics) {
        let to = Subscription {
            topic,
            name: name.clone(),
            kind: args.kind.into(),
            from: args.from.into(),
            queue: args.queue,
            acks: !args.no_ack,
        };
        let mut consumers = Vec::new();
        for consumer in 0..args.consumers as usize {
            consumers.push(Sink::subscribe(&client, &to, consumer, meter.clone(), None).await.map_err(explain)?);
        }
        sinks.push(consumers);
    }

    let is_shown = common.output == Output::Text && std::io::stderr().is_terminal();
    let (mut last_count, mut last_change, mut next_line) = (0, Instant::now(), Instant::now());
    let mut began: Option<Instant> = None;
    let after = loop {
        tokio::time::sleep(LOOK).await;
        fail_if_failed(meters)?;
        let count = meter.counted();
        let now = Instant::now();
        if count.messages != last_count {
            (last_count, last_change) = (count.messages, now);
            began.get_or_insert(now);
        }
        let is_enough = match args.read {
            Some(Amount::Messages(messages)) => count.messages >= messages,
            Some(Amount::Bytes(bytes)) => count.bytes >= bytes,
            None => false,
        };
        let is_late = began.is_some_and(|began| now - began >= args.duration);
        if is_enough || is_late || now - last_change >= args.idle {
            break Snapshot::take(&watch, meters)?;
        }
        if is_shown && now >= next_line {
            next_line = now + Duration::from_secs(1);
            eprintln!("received {:>12} messages {:>9.1} MB", grouped(count.messages), count.bytes as f64 / 1e6);
        }
    };

    anyhow::ensure!(
        last_count > 0,
        "nothing was received within {:?}: is there anything on {}?",
        args.idle,
        args.topic
    );
    // From the first entry to the last: neither the subscribing nor the wait for more counts.
    let all = || sinks.iter().flatten();
    let first = all().map(|sink| sink.first.load(Ordering::Relaxed)).min().unwrap_or(0);
    let last = all().map(|sink| sink.last.load(Ordering::Relaxed)).max().unwrap_or(0);
    let seconds = last.saturating_sub(first) as f64 / 1e9;
    let flow = Flow::new(before.counts[0], after.counts[0], seconds);
    let report = Report {
        measurement: "consume",
        service_url: common.service.service_url.clone(),
        setup: format!(
            "{:?} subscription from {:?}, {} topics, {} consumers each, queue of {}",
            args.kind,
            args.from,
            args.topics,
            args.consumers,
            grouped(u64::from(args.queue))
        ),
        seconds,
        published: None,
        publish_latency: None,
        delivered: Some(flow),
        end_to_end_latency: None,
        unanswered: 0,
        broker: watch.cost(&before, &after, Some(flow), None),
        client: watch.own_cost(&before, &after, Some(flow)),
    };
    report.print(common.output)?;
    for consumers in &sinks {
        let (last, others) = consumers.split_last().context("a topic without consumers")?;
        for sink in others {
            sink.close().await.map_err(explain)?;
        }
        if is_new || args.unsubscribe { last.unsubscribe().await } else { last.close().await }.map_err(explain)?;
    }
    Ok(())
}
