//! What an instance counted, as what it did since it was last asked.

use functions::{instance::Exception, runtime::Report};
use instance_control::{Client, ExceptionInformation, FunctionStatus, MetricsData, Result};
use std::{collections::BTreeMap, time::Duration};

use crate::protocol::EXCEPTION_BYTES_MAX;

/// What was reported of an instance that still runs.
#[derive(Debug, Default)]
pub(super) struct Watch {
    received: u64,
    processed: u64,
    user_exceptions: u64,
    system_exceptions: u64,
    /// Mean time of a call by the number of calls, in milliseconds.
    took_ms: f64,
    metrics: BTreeMap<String, f64>,
}

impl Watch {
    /// Asks an instance; `None` when nothing has happened. Its exceptions are asked for only where there are new ones.
    pub(super) async fn ask(&mut self, client: &Client) -> Result<Option<Report>> {
        // Some instances end when nobody asks them this.
        client.is_healthy().await?;
        let metrics = client.metrics().await?;
        let throws = count(metrics.user_exceptions_total) > self.user_exceptions
            || count(metrics.system_exceptions_total) > self.system_exceptions;
        let status = if throws { client.status().await? } else { FunctionStatus::default() };
        Ok(self.compare(metrics, status))
    }

    /// Whether there were messages in hand when it was last asked.
    pub(super) fn is_busy(&self) -> bool {
        self.received > self.processed + self.user_exceptions
    }

    /// Counters only grow; what is less than before is not believed.
    fn compare(&mut self, metrics: MetricsData, status: FunctionStatus) -> Option<Report> {
        let processed = count(metrics.processed_successfully_total);
        let took_ms = metrics.avg_process_latency * processed as f64;
        let calls = grown(&mut self.processed, processed);
        let took_ms = if took_ms.is_finite() && took_ms > self.took_ms {
            took_ms - std::mem::replace(&mut self.took_ms, took_ms)
        } else {
            0.0
        };
        let user = grown(&mut self.user_exceptions, count(metrics.user_exceptions_total));
        let system = grown(&mut self.system_exceptions, count(metrics.system_exceptions_total));
        let changed: Vec<_> =
            metrics.user_metrics.into_iter().filter(|(name, value)| self.metrics.get(name) != Some(value)).collect();
        self.metrics.extend(changed.iter().cloned());
        let report = Report {
            received: grown(&mut self.received, count(metrics.received_total)),
            processed: calls,
            user_exceptions: user,
            latest_user_exceptions: newest(status.latest_user_exceptions, user),
            system_exceptions: system,
            latest_system_exceptions: newest(status.latest_system_exceptions, system),
            took: (Duration::try_from_secs_f64(took_ms / 1e3).unwrap_or_default(), calls),
            metrics: changed,
        };
        (report != Report::default()).then_some(report)
    }
}

fn count(total: i64) -> u64 {
    u64::try_from(total).unwrap_or(0)
}

fn grown(last: &mut u64, now: u64) -> u64 {
    now.saturating_sub(std::mem::replace(last, now.max(*last)))
}

/// The last so many.
fn newest(exceptions: Vec<ExceptionInformation>, how_many: u64) -> Vec<Exception> {
    let old = exceptions.len().saturating_sub(usize::try_from(how_many).unwrap_or(usize::MAX));
    exceptions
        .into_iter()
        .skip(old)
        .map(|exception| {
            let mut message = exception.exception_string;
            message.truncate(message.floor_char_boundary(EXCEPTION_BYTES_MAX));
            Exception { message, at_ms: wall_ms(count(exception.ms_since_epoch)) }
        })
        .collect()
}

/// The Go SDK says nanoseconds where milliseconds are promised. No time in milliseconds has so many digits before the year 5138.
fn wall_ms(time: u64) -> u64 {
    if time < 100_000_000_000_000 { time } else { time / 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(received: i64, processed: i64, failed: i64, latency_ms: f64) -> MetricsData {
        MetricsData {
            received_total: received,
            processed_successfully_total: processed,
            user_exceptions_total: failed,
            avg_process_latency: latency_ms,
            ..MetricsData::default()
        }
    }

    fn exception(text: &str, at: i64) -> ExceptionInformation {
        ExceptionInformation { exception_string: text.into(), ms_since_epoch: at }
    }

    #[test]
    fn a_report_says_what_happened_since_the_last_one() {
        let mut watch = Watch::default();
        assert_eq!(watch.compare(metrics(0, 0, 0, 0.0), FunctionStatus::default()), None);
        let first = watch.compare(metrics(10, 8, 0, 2.0), FunctionStatus::default()).unwrap();
        assert_eq!((first.received, first.processed, first.took), (10, 8, (Duration::from_millis(16), 8)));
        assert_eq!(watch.compare(metrics(10, 8, 0, 2.0), FunctionStatus::default()), None);
        let status = FunctionStatus {
            latest_user_exceptions: vec![exception("old", 1), exception("new", 1_790_000_000_123_456_789)],
            ..FunctionStatus::default()
        };
        let second = watch.compare(metrics(12, 10, 1, 3.0), status).unwrap();
        assert_eq!((second.received, second.processed, second.took), (2, 2, (Duration::from_millis(14), 2)));
        let new = Exception { message: "new".into(), at_ms: 1_790_000_000_123 };
        assert_eq!((second.user_exceptions, second.latest_user_exceptions), (1, vec![new]));
    }

    #[test]
    fn a_metric_is_reported_when_it_changes() {
        let mut watch = Watch::default();
        let with = |value| MetricsData { user_metrics: [("m".to_owned(), value)].into(), ..MetricsData::default() };
        let mut reported = |value| watch.compare(with(value), FunctionStatus::default()).map(|report| report.metrics);
        assert_eq!(reported(1.5), Some(vec![("m".to_owned(), 1.5)]));
        assert_eq!(reported(1.5), None);
        assert_eq!(reported(2.5), Some(vec![("m".to_owned(), 2.5)]));
    }

    #[test]
    fn garbage_is_not_believed() {
        let mut watch = Watch::default();
        watch.compare(metrics(10, 10, 0, 1.0), FunctionStatus::default());
        for latency_ms in [f64::NAN, f64::INFINITY, -1.0, f64::MAX] {
            assert_eq!(watch.compare(metrics(-1, i64::MIN, -5, latency_ms), FunctionStatus::default()), None);
            assert_eq!(watch.compare(metrics(3, 3, 0, latency_ms), FunctionStatus::default()), None);
        }
        let many = FunctionStatus { latest_user_exceptions: vec![exception("a", -1)], ..FunctionStatus::default() };
        let report = watch.compare(metrics(10, 10, i64::MAX, 1.0), many).unwrap();
        assert_eq!(report.user_exceptions, i64::MAX as u64);
        assert_eq!(report.latest_user_exceptions, [Exception { message: "a".into(), at_ms: 0 }]);
        assert_eq!(newest(vec![exception(&"ä".repeat(10_000), 0)], 1)[0].message.len(), EXCEPTION_BYTES_MAX);
    }
}
