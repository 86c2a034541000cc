//! `/metrics` in Prometheus' text format, with Pulsar's names and labels where Pulsar has them.
//!
//! Functions are in [`crate::functions`]. Pulsar: `pulsar_*`, labels cluster, namespace, topic, subscription; `process_*`. Ours: `geminga_journal_*`, and
//! `geminga_namespace_*`, which like `pulsar_broker_*` counts topics beyond the bound on how many are listed, too.

use admin_api::stats::TopicStats;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use std::{collections::BTreeMap, fmt::Write as _};

use crate::{App, stats::completed};

/// Samples by metric, so that each metric is one block as the format wants it.
#[derive(Default)]
pub(crate) struct Page {
    metrics: BTreeMap<&'static str, (&'static str, &'static str, String)>,
}

impl Page {
    pub(crate) fn add(&mut self, name: &'static str, kind: &'static str, help: &'static str, labels: &str, value: f64) {
        self.sample(name, "", kind, help, labels, value);
    }

    /// One sample of a metric that has several kinds of them, told apart by a suffix.
    pub(crate) fn sample(
        &mut self,
        name: &'static str,
        suffix: &str,
        kind: &'static str,
        help: &'static str,
        labels: &str,
        value: f64,
    ) {
        let (.., samples) = self.metrics.entry(name).or_insert_with(|| (kind, help, String::new()));
        // A sum over nothing is -0. Writing to a string cannot fail.
        let _ = writeln!(samples, "{name}{suffix}{{{labels}}} {}", value + 0.0);
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (name, (kind, help, samples)) in self.metrics {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        text
    }
}

pub(crate) fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(crate) const GAUGE: &str = "gauge";
pub(crate) const COUNTER: &str = "counter";

/// Sums over all loaded topics.
#[derive(Default)]
struct Whole {
    topics: u32,
    subscriptions: usize,
    producers: usize,
    consumers: usize,
    rate: [f64; 2],
    throughput: [f64; 2],
    backlog: i64,
    stored_bytes: i64,
}

impl Whole {
    fn add(&mut self, stats: &TopicStats) {
        self.topics += 1;
        self.subscriptions += stats.subscriptions.len();
        self.producers += stats.publishers.len();
        self.consumers += stats.subscriptions.values().map(|s| s.consumers.len()).sum::<usize>();
        self.rate[0] += stats.msg_rate_in;
        self.rate[1] += stats.msg_rate_out;
        self.throughput[0] += stats.msg_throughput_in;
        self.throughput[1] += stats.msg_throughput_out;
        self.backlog += stats.subscriptions.values().map(|s| s.msg_backlog).sum::<i64>();
        self.stored_bytes += stats.storage_size;
    }

    fn show(&self, page: &mut Page, labels: &str) {
        let mut gauge = |name, help, value| page.add(name, GAUGE, help, labels, value);
        gauge("pulsar_broker_topics_count", "Topics in use.", f64::from(self.topics));
        gauge("pulsar_broker_subscriptions_count", "Subscriptions of topics in use.", self.subscriptions as f64);
        gauge("pulsar_broker_producers_count", "Producers connected.", self.producers as f64);
        gauge("pulsar_broker_consumers_count", "Consumers connected.", self.consumers as f64);
        gauge("pulsar_broker_rate_in", "Messages published per second.", self.rate[0]);
        gauge("pulsar_broker_rate_out", "Messages delivered per second.", self.rate[1]);
        gauge("pulsar_broker_throughput_in", "Bytes published per second.", self.throughput[0]);
        gauge("pulsar_broker_throughput_out", "Bytes delivered per second.", self.throughput[1]);
        gauge("pulsar_broker_msg_backlog", "Entries not acknowledged, over all subscriptions.", self.backlog as f64);
        gauge("pulsar_broker_storage_size", "Bytes stored of topics in use.", self.stored_bytes as f64);
    }
}

/// What Prometheus' own clients say about their process, as far as Linux tells.
fn process(page: &mut Page, labels: &str) {
    let read = |what: &str| std::fs::read_to_string(format!("/proc/self/{what}")).unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<f64>().ok());
    let stat = read("stat");
    // The name, in parentheses, may hold blanks.
    let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = number(fields.get(11).copied()).zip(number(fields.get(12).copied()));
    if let Some((user, system)) = ticks {
        let help = "Processor time used.";
        page.add("process_cpu_seconds_total", COUNTER, help, labels, (user + system) / TICKS_PER_S);
    }
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kib) = number(resident.and_then(|text| text.split_whitespace().next())) {
        page.add("process_resident_memory_bytes", GAUGE, "Memory in use.", labels, kib * 1024.0);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.add("process_open_fds", GAUGE, "Files and connections open.", labels, open.count() as f64);
    }
}

/// Linux says times of processes in hundredths of a second, whatever its own clock does.
const TICKS_PER_S: f64 = 100.0;

pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let mut page = Page::default();
    let cluster = quoted(&app.broker.config().cluster_name);
    let topics = app.broker.loaded_topic_stats().await;
    let mut namespaces: BTreeMap<String, [f64; 5]> = BTreeMap::new();
    let mut whole = Whole::default();
    for (n, (name, stats)) in topics.into_iter().enumerate() {
        whole.add(&stats);
        let namespace = quoted(name.namespace().as_str());
        let sums = namespaces.entry(namespace.clone()).or_default();
        sums[0] += 1.0;
        sums[1] += stats.subscriptions.len() as f64;
        sums[2] += stats.publishers.len() as f64;
        sums[3] += stats.subscriptions.values().map(|s| s.consumers.len() as f64).sum::<f64>();
        sums[4] += stats.subscriptions.values().map(|s| s.msg_backlog as f64).sum::<f64>();
        if n >= app.config.max_topics_in_metrics {
            continue;
        }
        let stats = completed(&app, &name, stats);
        let labels = format!("cluster=\"{cluster}\",namespace=\"{namespace}\",topic=\"{}\"", quoted(&name.to_string()));
        let backlog: i64 = stats.subscriptions.values().map(|s| s.msg_backlog).sum();
        let mut gauge = |name, help, value| page.add(name, GAUGE, help, &labels, value);
        gauge("pulsar_subscriptions_count", "Subscriptions of the topic.", stats.subscriptions.len() as f64);
        gauge("pulsar_producers_count", "Producers connected to the topic.", stats.publishers.len() as f64);
        let consumers: usize = stats.subscriptions.values().map(|s| s.consumers.len()).sum();
        gauge("pulsar_consumers_count", "Consumers connected to the topic.", consumers as f64);
        gauge("pulsar_rate_in", "Messages published per second.", stats.msg_rate_in);
        gauge("pulsar_rate_out", "Messages delivered per second.", stats.msg_rate_out);
        gauge("pulsar_throughput_in", "Bytes published per second.", stats.msg_throughput_in);
        gauge("pulsar_throughput_out", "Bytes delivered per second.", stats.msg_throughput_out);
        gauge("pulsar_storage_size", "Bytes stored of the topic.", stats.storage_size as f64);
        gauge(
            "pulsar_storage_backlog_size",
            "Bytes not acknowledged by the slowest subscription.",
            stats.backlog_size as f64,
        );
        gauge("pulsar_msg_backlog", "Entries not acknowledged, over all subscriptions.", backlog as f64);
        gauge("pulsar_average_msg_size", "Bytes of a message published, on average.", stats.average_msg_size);
        let logical = stats.storage_size as f64;
        gauge("pulsar_storage_logical_size", "The same as the size: copies are not counted.", logical);
        let (size, time) = (stats.backlog_quota_limit_size as f64, stats.backlog_quota_limit_time as f64);
        gauge("pulsar_storage_backlog_quota_limit", "Bytes of backlog at which the quota acts; -1 is no bound.", size);
        gauge("pulsar_storage_backlog_quota_limit_time", "Seconds at which the quota acts; -1 is no bound.", time);
        let mut counter = |name, help, value: i64| page.add(name, COUNTER, help, &labels, value as f64);
        counter("pulsar_in_messages_total", "Messages published since the topic was loaded.", stats.msg_in_counter);
        counter("pulsar_in_bytes_total", "Bytes published since the topic was loaded.", stats.bytes_in_counter);
        counter("pulsar_out_messages_total", "Messages delivered since the topic was loaded.", stats.msg_out_counter);
        counter("pulsar_out_bytes_total", "Bytes delivered since the topic was loaded.", stats.bytes_out_counter);
        for (subscription, s) in &stats.subscriptions {
            let labels = format!("{labels},subscription=\"{}\"", quoted(subscription));
            let mut gauge = |name, help, value| page.add(name, GAUGE, help, &labels, value);
            gauge("pulsar_subscription_back_log", "Entries not acknowledged.", s.msg_backlog as f64);
            gauge(
                "pulsar_subscription_back_log_no_delayed",
                "The same without delayed messages.",
                s.msg_backlog_no_delayed as f64,
            );
            gauge("pulsar_subscription_delayed", "Messages waiting for their time.", s.msg_delayed as f64);
            gauge(
                "pulsar_subscription_unacked_messages",
                "Messages delivered and not acknowledged.",
                s.unacked_messages as f64,
            );
            gauge("pulsar_subscription_consumers_count", "Consumers connected.", s.consumers.len() as f64);
            gauge("pulsar_subscription_msg_rate_out", "Messages delivered per second.", s.msg_rate_out);
            gauge("pulsar_subscription_msg_throughput_out", "Bytes delivered per second.", s.msg_throughput_out);
            gauge("pulsar_subscription_msg_ack_rate", "Messages acknowledged per second.", s.message_ack_rate);
            gauge("pulsar_subscription_msg_rate_expired", "Messages expired per second.", s.msg_rate_expired);
            let (consumed, acked) = (s.last_consumed_timestamp as f64, s.last_acked_timestamp as f64);
            gauge("pulsar_subscription_last_consumed_timestamp", "When the last delivery was, in ms.", consumed);
            gauge("pulsar_subscription_last_acked_timestamp", "When the last acknowledgement was, in ms.", acked);
            gauge("pulsar_subscription_total_msg_expired", "Messages expired so far.", s.total_msg_expired as f64);
            gauge(
                "pulsar_subscription_msg_rate_redeliver",
                "Messages delivered again per second.",
                s.msg_rate_redeliver,
            );
            let blocked = f64::from(u8::from(s.blocked_subscription_on_unacked_msgs));
            gauge(
                "pulsar_subscription_blocked_on_unacked_messages",
                "1 while delivery waits for acknowledgements.",
                blocked,
            );
        }
    }
    for (namespace, [topics, subscriptions, producers, consumers, backlog]) in namespaces {
        let labels = format!("cluster=\"{cluster}\",namespace=\"{namespace}\"");
        let mut gauge = |name, help, value| page.add(name, GAUGE, help, &labels, value);
        gauge("pulsar_topics_count", "Topics in use.", topics);
        gauge("geminga_namespace_subscriptions_count", "Subscriptions of topics in use.", subscriptions);
        gauge("geminga_namespace_producers_count", "Producers connected.", producers);
        gauge("geminga_namespace_consumers_count", "Consumers connected.", consumers);
        gauge("geminga_namespace_msg_backlog", "Entries not acknowledged.", backlog);
    }
    if let Some(worker) = &app.worker {
        crate::functions::show(&mut page, worker, app.config.max_functions_in_metrics);
    }
    let labels = format!("cluster=\"{cluster}\"");
    whole.show(&mut page, &labels);
    process(&mut page, &labels);
    let journal = app.broker.journal_stats();
    let mut counter = |name, help, value: u64| page.add(name, COUNTER, help, &labels, value as f64);
    counter("geminga_journal_bytes_total", "Bytes handed to the journal.", journal.bytes_submitted);
    counter("geminga_journal_written_bytes_total", "Bytes written, padding included.", journal.bytes_written);
    counter("geminga_journal_writes_total", "Synchronous writes.", journal.writes);
    counter("geminga_journal_commits_total", "Commits.", journal.commits);
    counter("geminga_journal_records_total", "Records.", journal.records);
    let mut gauge = |name, help, value| page.add(name, GAUGE, help, &labels, value);
    gauge("geminga_journal_disk_bytes", "Bytes of the journal's files.", journal.disk_bytes as f64);
    gauge("geminga_journal_full", "1 while publishes wait for room in the journal.", f64::from(u8::from(journal.full)));
    let healthy = f64::from(u8::from(app.broker.is_healthy()));
    gauge("geminga_journal_healthy", "0 when the journal has failed and nothing can be stored.", healthy);
    // Bucket `n` counts writes of less than 2^n microseconds.
    let mut write = |suffix: &str, labels: &str, value| {
        let help = "Time of one synchronous write.";
        page.sample("geminga_journal_write_seconds", suffix, "histogram", help, labels, value);
    };
    let mut below = 0;
    for (n, writes) in journal.write_micros.iter().enumerate() {
        below += writes;
        let last = n + 1 == journal.write_micros.len();
        let le = if last { "+Inf".to_owned() } else { ((1u64 << n) as f64 / 1e6).to_string() };
        write("_bucket", &format!("{labels},le=\"{le}\""), below as f64);
    }
    write("_count", &labels, below as f64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.text()).into_response()
}
