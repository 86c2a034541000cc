//! What functions, sources and sinks count, for Prometheus, with Pulsar's names and labels.
//!
//! Source: Pulsar's `FunctionStatsManager`, `SourceStatsManager`, `SinkStatsManager`, and `ContextImpl` for what
//! functions record themselves.

use functions::{
    Kind, Worker,
    instance::{Latency, Status},
    worker::{
        Observed,
        scaling::{Phase, View},
    },
};

use crate::metrics::{COUNTER, GAUGE, Page, quoted};

/// Quantiles that Pulsar gives.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Adds every instance, up to `max`.
pub(crate) fn show(page: &mut Page, worker: &Worker, max: usize) {
    let cluster = quoted(&worker.settings().cluster);
    for one in worker.observe().into_iter().take(max) {
        let Observed { kind, name, instance, status } = one;
        let (tenant, namespace) = (quoted(&name.tenant), quoted(&name.namespace));
        let labels = format!(
            "tenant=\"{tenant}\",namespace=\"{tenant}/{namespace}\",name=\"{}\",instance_id=\"{instance}\",\
             cluster=\"{cluster}\",fqfn=\"{}\"",
            quoted(&name.name),
            quoted(&name.to_string()),
        );
        match kind {
            Kind::Function => function(page, &labels, &status),
            Kind::Source => source(page, &labels, &status),
            Kind::Sink => sink(page, &labels, &status),
        }
    }
    for (kind, name, view) in worker.scaling_of_all().into_iter().take(max) {
        let (tenant, namespace) = (quoted(&name.tenant), quoted(&name.namespace));
        let labels = format!(
            "tenant=\"{tenant}\",namespace=\"{tenant}/{namespace}\",name=\"{}\",kind=\"{kind}\",cluster=\"{cluster}\",\
             fqfn=\"{}\"",
            quoted(&name.name),
            quoted(&name.to_string()),
        );
        scaling(page, &labels, &view);
    }
}

/// What scales by itself, functions, sources and sinks alike.
fn scaling(page: &mut Page, labels: &str, view: &View) {
    let help = "Instances of what scales by itself.";
    for (state, count) in [("wanted", view.wanted), ("running", view.running), ("draining", view.draining)] {
        let labels = format!("{labels},state=\"{state}\"");
        page.add("geminga_function_instances", GAUGE, help, &labels, f64::from(count));
    }
    let asleep = f64::from(u8::from(view.phase == Phase::Asleep));
    page.add("geminga_function_asleep", GAUGE, "1 while it has no instance and an event wakes it.", labels, asleep);
    let help = "Decisions that changed how many instances there are, and those of people, by the code of their reason.";
    for (reason, count) in &view.decisions {
        let labels = format!("{labels},reason=\"{}\"", quoted(reason));
        page.add("geminga_function_scaling_decisions_total", COUNTER, help, &labels, *count as f64);
    }
}

/// Two metrics for one count: since the start, and over the last minute.
macro_rules! counted {
    ($page:ident, $labels:ident, $($name:literal, $minute:literal, $help:literal: $all:expr, $last:expr;)*) => {$(
        $page.add($name, COUNTER, $help, $labels, $all as f64);
        $page.add($minute, COUNTER, concat!($help, " In the last full minute."), $labels, $last as f64);
    )*};
}

fn function(page: &mut Page, labels: &str, status: &Status) {
    let minute = &status.last_minute;
    counted! { page, labels,
        "pulsar_function_received_total", "pulsar_function_received_1min", "Messages received.":
            status.received, minute.received;
        "pulsar_function_processed_successfully_total", "pulsar_function_processed_successfully_1min",
            "Messages processed without an exception.": status.processed, minute.processed;
        "pulsar_function_user_exceptions_total", "pulsar_function_user_exceptions_1min", "Exceptions of user code.":
            status.user_exceptions, minute.user_exceptions;
        "pulsar_function_system_exceptions_total", "pulsar_function_system_exceptions_1min",
            "Failures outside user code.": status.system_exceptions, minute.system_exceptions;
    }
    let last = status.last_invocation_ms as f64;
    page.add("pulsar_function_last_invocation", GAUGE, "When it was last invoked, in ms.", labels, last);
    latency(page, labels, &status.latency);
    let (sum, count) = minute.latency;
    let (name, help) = ("pulsar_function_process_latency_ms_1min", "Time in user code in the last full minute, in ms.");
    page.sample(name, "_sum", SUMMARY, help, labels, sum.as_secs_f64() * 1e3);
    page.sample(name, "_count", SUMMARY, help, labels, count as f64);
    for (metric, value) in &status.user_metrics {
        let labels = format!("{labels},metric=\"{}\"", quoted(metric));
        let (name, help) = ("pulsar_function_user_metric_", "What the function recorded.");
        page.sample(name, "_sum", SUMMARY, help, &labels, value.sum);
        page.sample(name, "_count", SUMMARY, help, &labels, value.count as f64);
        let gauge = "geminga_function_user_metric";
        for (which, value) in [("last", value.last), ("min", value.min), ("max", value.max)] {
            page.add(
                gauge,
                GAUGE,
                "The same: last, least and greatest.",
                &format!("{labels},value=\"{which}\""),
                value,
            );
        }
    }
    page.add("geminga_function_in_hand", GAUGE, "Messages received and not done with.", labels, status.in_hand as f64);
    let help = "Messages an instance wants to have in hand at most; the broker holds the rest back.";
    page.add("geminga_function_window", GAUGE, help, labels, status.window as f64);
    page.add("geminga_function_restarts_total", COUNTER, "Starts of user code again.", labels, status.restarts as f64);
    page.add("geminga_function_up", GAUGE, "1 while user code runs.", labels, f64::from(u8::from(status.running)));
}

const SUMMARY: &str = "summary";

fn latency(page: &mut Page, labels: &str, latency: &Latency) {
    let (name, help) = ("pulsar_function_process_latency_ms", "Time in user code, in ms.");
    for q in QUANTILES {
        if let Some(ms) = latency.quantile_ms(q) {
            page.sample(name, "", SUMMARY, help, &format!("{labels},quantile=\"{q}\""), ms);
        }
    }
    page.sample(name, "_sum", SUMMARY, help, labels, latency.sum().as_secs_f64() * 1e3);
    page.sample(name, "_count", SUMMARY, help, labels, latency.count() as f64);
}

fn source(page: &mut Page, labels: &str, status: &Status) {
    let minute = &status.last_minute;
    counted! { page, labels,
        "pulsar_source_received_total", "pulsar_source_received_1min", "Records received from the source.":
            status.received, minute.received;
        "pulsar_source_written_total", "pulsar_source_written_1min", "Records written to the topic.":
            status.published, minute.processed;
        "pulsar_source_source_exceptions_total", "pulsar_source_source_exceptions_1min", "Exceptions of the source.":
            status.user_exceptions, minute.user_exceptions;
        "pulsar_source_system_exceptions_total", "pulsar_source_system_exceptions_1min", "Failures outside the source.":
            status.system_exceptions, minute.system_exceptions;
    }
    let last = status.last_invocation_ms as f64;
    page.add("pulsar_source_last_invocation", GAUGE, "When it last gave a record, in ms.", labels, last);
}

fn sink(page: &mut Page, labels: &str, status: &Status) {
    let minute = &status.last_minute;
    counted! { page, labels,
        "pulsar_sink_received_total", "pulsar_sink_received_1min", "Records received from topics.":
            status.received, minute.received;
        "pulsar_sink_written_total", "pulsar_sink_written_1min", "Records the sink has taken.":
            status.processed, minute.processed;
        "pulsar_sink_sink_exceptions_total", "pulsar_sink_sink_exceptions_1min", "Exceptions of the sink.":
            status.user_exceptions, minute.user_exceptions;
        "pulsar_sink_system_exceptions_total", "pulsar_sink_system_exceptions_1min", "Failures outside the sink.":
            status.system_exceptions, minute.system_exceptions;
    }
    let last = status.last_invocation_ms as f64;
    page.add("pulsar_sink_last_invocation", GAUGE, "When it was last given a record, in ms.", labels, last);
}
