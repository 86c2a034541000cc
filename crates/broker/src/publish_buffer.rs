//! How many bytes are published and not yet durable, over all connections, and who waits for them to become fewer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// Pulsar: `maxMessagePublishBufferSizeInMB`.
#[derive(Debug)]
pub(crate) struct PublishBuffer {
    bytes: AtomicUsize,
    max: usize,
    room: Notify,
}

impl PublishBuffer {
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), max, room: Notify::new() }
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn release(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Relaxed);
        if before >= self.max / 2 && before - bytes < self.max / 2 {
            self.room.notify_waiters();
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Relaxed) >= self.max
    }

    /// Resolves when less than half is used.
    pub(crate) async fn room(&self) {
        loop {
            let notified = self.room.notified();
            if self.bytes.load(Relaxed) < self.max / 2 {
                return;
            }
            notified.await;
        }
    }
}
