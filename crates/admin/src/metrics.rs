//! `/metrics` in Prometheus' text format, with Pulsar's names and labels where Pulsar has them.
//!
//! Pulsar: `pulsar_*`, labels cluster, namespace, topic, subscription. Ours: `geminga_journal_*`, and `geminga_namespace_*`,
//! which counts topics beyond the bound on how many are listed, too.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use std::{collections::BTreeMap, fmt::Write as _};

use crate::App;

/// Samples by metric, so that each metric is one block as the format wants it.
#[derive(Default)]
struct Page {
    metrics: BTreeMap<&'static str, (&'static str, &'static str, String)>,
}

impl Page {
    fn add(&mut self, name: &'static str, kind: &'static str, help: &'static str, labels: &str, value: f64) {
        self.sample(name, "", kind, help, labels, value);
    }

    /// One sample of a metric that has several kinds of them, told apart by a suffix.
    fn sample(
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

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let mut page = Page::default();
    let cluster = quoted(&app.broker.config().cluster_name);
    let topics = app.broker.loaded_topic_stats().await;
    let mut namespaces: BTreeMap<String, [f64; 5]> = BTreeMap::new();
    for (n, (name, stats)) in topics.iter().enumerate() {
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
    let journal = app.broker.journal_stats();
    let labels = format!("cluster=\"{cluster}\"");
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
