//! What waits on a subscription, for those who decide how many consumers it should have, and the bell that tells them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::sync::Notify;

/// What waits on one subscription, whether or not it has consumers. Messages are those of clients: a batch holds many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Messages ever published to the topic.
    pub published: u64,
    /// Messages not acknowledged, those that consumers hold too.
    pub backlog: u64,
    /// When the oldest of them was published, wall clock milliseconds by its producer's clock.
    pub oldest_ms: Option<u64>,
    /// Messages dispatched of late, and of these the ones of the most frequent key (Key_Shared; 0 else).
    pub dispatched: u64,
    pub hottest: u64,
}

/// Rings when a subscription without consumers has something for one. One bell may hang on many subscriptions; it rings once.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    /// A bell that hangs nowhere yet, see [`crate::Broker::hang`]. It hangs as long as somebody has it.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Rings it.
    pub fn ring(&self) {
        self.rung.store(true, SeqCst);
        self.notify.notify_waiters();
    }

    /// Resolves when it rings, or has.
    pub async fn rung(&self) {
        let rings = self.notify.notified();
        tokio::pin!(rings);
        rings.as_mut().enable();
        if !self.rung.load(SeqCst) {
            rings.await;
        }
    }
}
