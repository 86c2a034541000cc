//! One running instance of a function: receives, invokes, publishes, acknowledges; starts user code again when it dies.

use std::{sync::Arc, time::Duration};

use crate::{
    event_log::{EventLog, Tables},
    runtime::{InstanceSpec, Runtime},
};

/// What an instance is made of.
#[derive(Clone)]
pub struct Parts {
    /// Where events come from and go to.
    pub log: Arc<dyn EventLog>,
    /// Where state is.
    pub tables: Arc<dyn Tables>,
    /// What runs the code.
    pub runtime: Arc<dyn Runtime>,
    /// The time.
    pub clock: Arc<dyn seams::Clock>,
}

/// An instance; dropped, it stops.
pub struct Instance {
    shared: Arc<Shared>,
}

struct Shared {
    status: parking_lot::Mutex<Status>,
}

/// How an instance does. Counters are since it was started, whatever happened to its code.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// User code runs.
    pub running: bool,
    /// Why not.
    pub error: String,
    /// How often user code was started again.
    pub restarts: u64,
    /// Messages received.
    pub received: u64,
    /// Invocations that ended well and whose effects are durable.
    pub processed: u64,
    /// Invocations that threw.
    pub user_exceptions: u64,
    /// The last of them: text and wall clock milliseconds.
    pub latest_user_exceptions: Vec<(String, u64)>,
    /// What failed outside user code.
    pub system_exceptions: u64,
    /// The last of them: text and wall clock milliseconds.
    pub latest_system_exceptions: Vec<(String, u64)>,
    /// Mean time in user code, milliseconds.
    pub average_latency_ms: f64,
    /// Wall clock milliseconds, 0 for never.
    pub last_invocation_ms: u64,
    /// Messages published.
    pub published: u64,
    /// The same counters over the last full minute.
    pub last_minute: Minute,
    /// `context.record_metric`: last value, count, sum, minimum, maximum.
    pub user_metrics: std::collections::BTreeMap<String, UserMetric>,
    /// Messages received and not yet done with.
    pub in_hand: u64,
}

/// See [`Status::last_minute`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Minute {
    pub received: u64,
    pub processed: u64,
    pub user_exceptions: u64,
    pub system_exceptions: u64,
    pub average_latency_ms: f64,
}

/// See [`Status::user_metrics`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UserMetric {
    pub last: f64,
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Instance {
    /// Starts an instance as tasks of `tasks`. It is there at once; whether it runs, its status says.
    #[must_use]
    pub fn start(parts: Parts, spec: InstanceSpec, tasks: &seams::Tasks) -> Self {
        let _ = (parts, spec, tasks);
        Self { shared: Arc::new(Shared { status: parking_lot::Mutex::default() }) }
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.lock().clone()
    }

    /// Finishes what is in hand (for at most `patience`), commits it and ends the code; what is left goes to other instances.
    pub async fn stop(self, patience: Duration) {
        let _ = patience;
    }
}
