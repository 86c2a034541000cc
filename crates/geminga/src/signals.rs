//! SIGTERM and SIGINT, and the end they ask for.

use anyhow::Context;
use seams::Tasks;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long children may take to be gone with all that they started.
const ENDING: Duration = Duration::from_secs(10);

/// Waits until all that runs in `tasks` has ended, children with what they started, after it was told to.
pub(crate) async fn end(tasks: &Tasks) {
    for task in tasks.join_all(ENDING).await {
        tracing::warn!(task, "did not end in time");
    }
}

/// Both of them.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they do not end the process.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("watch for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("watch for SIGINT")?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
