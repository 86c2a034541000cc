//! What is said through `InstanceControl`: the status of the instance in Pulsar's words.

use functions::instance::{Counts, Exception, Status, View};
use instance_control::{Control, ExceptionInformation, FunctionStatus, MetricsData};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Answers for an instance.
pub(crate) struct Answers {
    instance: View,
    instance_id: u32,
    clock: Arc<dyn seams::Clock>,
    /// When somebody last asked for its health, on the monotonic clock.
    asked_ns: AtomicU64,
    /// What it had counted when its metrics were last reset.
    before: Mutex<Counts>,
}

impl Answers {
    pub(crate) fn new(instance: View, instance_id: u32, clock: Arc<dyn seams::Clock>) -> Self {
        let answers = Self { instance, instance_id, clock, asked_ns: AtomicU64::new(0), before: Mutex::default() };
        answers.asked();
        answers
    }

    /// How long nobody has asked for its health.
    pub(crate) fn unasked(&self) -> Duration {
        self.clock.monotonic().saturating_sub(Duration::from_nanos(self.asked_ns.load(Relaxed)))
    }

    fn asked(&self) {
        let now = self.clock.monotonic().as_nanos();
        self.asked_ns.store(u64::try_from(now).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Control for Answers {
    fn status(&self) -> FunctionStatus {
        let status = self.instance.status();
        FunctionStatus {
            running: status.running,
            failure_exception: status.error.clone(),
            num_restarts: int(status.restarts),
            num_received: int(status.received),
            num_successfully_processed: int(status.processed),
            num_user_exceptions: int(status.user_exceptions),
            latest_user_exceptions: status.latest_user_exceptions.iter().map(exception).collect(),
            num_system_exceptions: int(status.system_exceptions),
            latest_system_exceptions: status.latest_system_exceptions.iter().map(exception).collect(),
            average_latency: status.latency.average_ms().unwrap_or(0.0),
            last_invocation_time: int(status.last_invocation_ms),
            instance_id: self.instance_id.to_string(),
            ..FunctionStatus::default()
        }
    }

    fn metrics(&self) -> MetricsData {
        let status = self.instance.status();
        let (now, before) = (totals(&status), *self.before.lock());
        let since = |count: fn(&Counts) -> u64| int(count(&now).saturating_sub(count(&before)));
        let calls = now.latency.1.saturating_sub(before.latency.1);
        let recent = Counts { latency: (now.latency.0.saturating_sub(before.latency.0), calls), ..Counts::default() };
        MetricsData {
            received_total: int(now.received),
            received_total_1min: since(|counts| counts.received),
            processed_successfully_total: int(now.processed),
            processed_successfully_total_1min: since(|counts| counts.processed),
            system_exceptions_total: int(now.system_exceptions),
            system_exceptions_total_1min: since(|counts| counts.system_exceptions),
            user_exceptions_total: int(now.user_exceptions),
            user_exceptions_total_1min: since(|counts| counts.user_exceptions),
            avg_process_latency: now.average_latency_ms().unwrap_or(0.0),
            avg_process_latency_1min: recent.average_latency_ms().unwrap_or(0.0),
            last_invocation: int(status.last_invocation_ms),
            user_metrics: status
                .user_metrics
                .iter()
                .map(|(name, metric)| (name.clone(), metric.sum / metric.count.max(1) as f64))
                .collect(),
        }
    }

    fn reset_metrics(&self) {
        *self.before.lock() = totals(&self.instance.status());
    }

    fn is_healthy(&self) -> bool {
        self.asked();
        // Code that fails is started again; the instance itself is well.
        true
    }
}

fn totals(status: &Status) -> Counts {
    Counts {
        received: status.received,
        processed: status.processed,
        user_exceptions: status.user_exceptions,
        system_exceptions: status.system_exceptions,
        latency: (status.latency.sum(), status.latency.count()),
    }
}

fn exception(exception: &Exception) -> ExceptionInformation {
    ExceptionInformation { exception_string: exception.message.clone(), ms_since_epoch: int(exception.at_ms) }
}

fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
