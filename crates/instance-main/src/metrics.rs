//! Metrics of one instance in the text format of Prometheus, with Pulsar's names and labels.
//!
//! Source: `FunctionStatsManager`, `SourceStatsManager`, `SinkStatsManager`. The `_1min` ones count the last full minute.

use functions::{
    FunctionSpec, Kind,
    instance::{Latency, Status},
};
use std::fmt::Write;

/// A page of metrics.
pub(crate) fn page(function: &FunctionSpec, instance_id: u32, status: &Status) -> String {
    let labels = format!(
        "tenant=\"{}\",namespace=\"{}/{}\",name=\"{}\",instance_id=\"{instance_id}\",cluster=\"{}\",fqfn=\"{}\"",
        quoted(&function.tenant),
        quoted(&function.tenant),
        quoted(&function.namespace),
        quoted(&function.name),
        quoted(&function.cluster),
        quoted(&function.fqfn()),
    );
    let minute = &status.last_minute;
    let (prefix, received, done, done_1min, thrown) = match function.kind {
        Kind::Function => {
            ("pulsar_function_", "received", ("processed_successfully", status.processed), minute.processed, "user")
        }
        Kind::Source => ("pulsar_source_", "received", ("written", status.published), minute.processed, "source"),
        Kind::Sink => ("pulsar_sink_", "received", ("written", status.processed), minute.processed, "sink"),
    };
    let mut page = Page { text: String::new(), prefix, labels };
    page.count(received, status.received, minute.received);
    page.count(done.0, done.1, done_1min);
    page.count(&format!("{thrown}_exceptions"), status.user_exceptions, minute.user_exceptions);
    page.count("system_exceptions", status.system_exceptions, minute.system_exceptions);
    page.one("last_invocation", "gauge", status.last_invocation_ms as f64);
    if function.kind == Kind::Function {
        page.latency(&status.latency);
    }
    if !status.user_metrics.is_empty() {
        page.name("user_metric_", "summary");
    }
    for (name, metric) in &status.user_metrics {
        let label = format!(",metric=\"{}\"", quoted(name));
        page.sample("user_metric__sum", &label, metric.sum);
        page.sample("user_metric__count", &label, metric.count as f64);
    }
    page.text
}

struct Page {
    text: String,
    prefix: &'static str,
    labels: String,
}

impl Page {
    fn latency(&mut self, latency: &Latency) {
        self.name("process_latency_ms", "summary");
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            if let Some(ms) = latency.quantile_ms(quantile) {
                self.sample("process_latency_ms", &format!(",quantile=\"{quantile}\""), ms);
            }
        }
        self.sample("process_latency_ms_sum", "", latency.sum().as_secs_f64() * 1e3);
        self.sample("process_latency_ms_count", "", latency.count() as f64);
    }

    fn count(&mut self, what: &str, total: u64, last_minute: u64) {
        for (suffix, count) in [("total", total), ("1min", last_minute)] {
            self.one(&format!("{what}_{suffix}"), "counter", count as f64);
        }
    }

    fn one(&mut self, name: &str, kind: &str, value: f64) {
        self.name(name, kind);
        self.sample(name, "", value);
    }

    fn name(&mut self, name: &str, kind: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "# TYPE {}{name} {kind}", self.prefix);
    }

    fn sample(&mut self, name: &str, label: &str, value: f64) {
        let _ = writeln!(self.text, "{}{name}{{{}{label}}} {value}", self.prefix, self.labels);
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
