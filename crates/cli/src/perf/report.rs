//! What a measurement found, for people and for programs.

use super::{
    meter::Count,
    process::{Process, Sample},
};
use crate::output;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{fmt::Write as _, time::Duration};

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// A few lines, and progress each second on a terminal
    Text,
    /// One JSON object
    Json,
}

/// The whole report. Times are in the unit their name says; megabytes are 10^6 bytes of payload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) measurement: &'static str,
    pub(super) service_url: String,
    /// What was asked for, in words.
    pub(super) setup: String,
    pub(super) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<Flow>,
    /// From due (at a fixed rate) or sent (at maximum rate) to the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) publish_latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delivered: Option<Flow>,
    /// From due (or sent) to delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_to_end_latency: Option<Latency>,
    /// Messages without a receipt when the run was given up on; 0 in a good run.
    pub(super) unanswered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) broker: Option<Cost>,
    pub(super) client: Cost,
}

/// A stream of messages.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Flow {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) messages_per_s: f64,
    pub(super) megabytes_per_s: f64,
}

impl Flow {
    pub(super) fn new(before: Count, after: Count, seconds: f64) -> Self {
        let (messages, bytes) = (after.messages - before.messages, after.bytes - before.bytes);
        let seconds = seconds.max(1e-9);
        Self {
            messages,
            bytes,
            messages_per_s: messages as f64 / seconds,
            megabytes_per_s: bytes as f64 / seconds / 1e6,
        }
    }
}

/// Quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) mean_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
}

impl Latency {
    /// `None` for nothing.
    pub(super) fn new(histogram_ns: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e6;
        (!histogram_ns.is_empty()).then(|| Self {
            count: histogram_ns.len(),
            mean_ms: histogram_ns.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram_ns.max() as f64 / 1e6,
        })
    }
}

/// What a process used while it was measured.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    pub(super) pid: u32,
    pub(super) cpu_seconds: f64,
    /// Processor time by wall time: 1.0 is one core.
    pub(super) cores: f64,
    /// By what was published, or else delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_seconds_per_million_messages: Option<f64>,
    pub(super) rss_bytes: u64,
    pub(super) rss_peak_bytes: u64,
    /// What went to the disk, by the kernel's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_bytes_per_published_byte: Option<f64>,
}

impl Cost {
    pub(super) fn new(
        process: Process,
        (before, after): (Sample, Sample),
        elapsed: Duration,
        flow: Option<Flow>,
        published: Option<Flow>,
    ) -> Self {
        let cpu_seconds = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        let written_bytes = after.written_bytes.zip(before.written_bytes).map(|(a, b)| a.saturating_sub(b));
        Self {
            pid: process.pid,
            cpu_seconds,
            cores: cpu_seconds / elapsed.as_secs_f64().max(1e-9),
            cpu_seconds_per_million_messages: flow
                .filter(|flow| flow.messages > 0)
                .map(|flow| cpu_seconds * 1e6 / flow.messages as f64),
            rss_bytes: after.rss_bytes,
            rss_peak_bytes: after.rss_peak_bytes,
            written_bytes,
            written_bytes_per_published_byte: written_bytes
                .zip(published.filter(|flow| flow.bytes > 0))
                .map(|(written, flow)| written as f64 / flow.bytes as f64),
        }
    }
}

impl Report {
    /// Prints it to standard output.
    pub(super) fn print(&self, format: Output) -> anyhow::Result<()> {
        match format {
            Output::Json => output::json(self),
            Output::Text => output::print(&self.text()),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {}, {:.1} s at {}\n", self.measurement, self.setup, self.seconds, self.service_url);
        // Writing to a string can't fail.
        let mut flow = |name: &str, flow: &Option<Flow>| {
            if let Some(flow) = flow {
                let (rate, all) = (grouped(flow.messages_per_s as u64), grouped(flow.messages));
                let _ = writeln!(text, "  {name:<12} {rate} msg/s  {:.1} MB/s  ({all} messages)", flow.megabytes_per_s);
            }
        };
        flow("published", &self.published);
        flow("delivered", &self.delivered);
        let mut latency = |name: &str, latency: &Option<Latency>| {
            if let Some(l) = latency {
                let _ = writeln!(
                    text,
                    "  {name:<12} p50 {:.3} ms  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}  mean {:.3}",
                    l.p50_ms, l.p90_ms, l.p99_ms, l.p999_ms, l.max_ms, l.mean_ms
                );
            }
        };
        latency("publish", &self.publish_latency);
        latency("end to end", &self.end_to_end_latency);
        if self.unanswered > 0 {
            let _ = writeln!(text, "  UNANSWERED   {} messages", grouped(self.unanswered));
        }
        let mut cost = |name: &str, cost: &Cost| {
            let _ = write!(text, "  {name:<12} {:.2} CPU s ({:.2} cores", cost.cpu_seconds, cost.cores);
            if let Some(per_million) = cost.cpu_seconds_per_million_messages {
                let _ = write!(text, ", {per_million:.2} s per million messages");
            }
            let _ = write!(
                text,
                "), RSS {:.0} MB, peak {:.0} MB",
                cost.rss_bytes as f64 / 1e6,
                cost.rss_peak_bytes as f64 / 1e6
            );
            if let Some(ratio) = cost.written_bytes_per_published_byte {
                let _ = write!(text, ", {ratio:.2} bytes written per byte published");
            }
            let _ = writeln!(text, ", pid {}", cost.pid);
        };
        if let Some(broker) = &self.broker {
            cost("broker", broker);
        }
        cost("this client", &self.client);
        text
    }
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn costs_are_by_message_and_by_byte() {
        let sample = |seconds, written| Sample {
            cpu: Duration::from_secs(seconds),
            written_bytes: Some(written),
            ..Sample::default()
        };
        let count = |messages, bytes| Count { messages, bytes };
        let flow = Flow::new(count(1000, 0), count(501_000, 1_000_000), 2.0);
        assert!((flow.messages_per_s - 250_000.0).abs() < 1e-6);
        let span = (sample(1, 0), sample(4, 2_000_000));
        let cost = Cost::new(Process { pid: 1 }, span, Duration::from_secs(2), Some(flow), Some(flow));
        assert_eq!(cost.cpu_seconds_per_million_messages, Some(6.0));
        assert_eq!(cost.written_bytes_per_published_byte, Some(2.0));
        assert!((cost.cores - 1.5).abs() < 1e-9);
    }
}
