//! What a connection still has to write. Many callers append, one task writes; whatever was appended while a write was
//! under way leaves in the next one, so the number of system calls falls as the load rises.

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A buffer that shrinks back after a burst above this.
const KEEP_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    bytes: BytesMut,
    closed: bool,
}

impl Outbox {
    /// Appends what `write` writes; false when the connection is gone.
    pub(crate) fn append(&self, write: impl FnOnce(&mut BytesMut)) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let was_empty = queue.bytes.is_empty();
        write(&mut queue.bytes);
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        true
    }

    /// Bytes not yet handed to the writer.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue.lock().bytes.len()
    }

    /// Refuses further appends and lets the writer end.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits for something to write and swaps it into `spare`, which must be empty. False: closed and nothing left.
    pub(crate) async fn take(&self, spare: &mut BytesMut) -> bool {
        if spare.capacity() > KEEP_BYTES {
            *spare = BytesMut::new();
        }
        loop {
            {
                let mut queue = self.queue.lock();
                if !queue.bytes.is_empty() {
                    std::mem::swap(&mut queue.bytes, spare);
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn appends_leave_together_and_in_order() {
        let outbox = Outbox::default();
        assert!(outbox.append(|out| out.extend_from_slice(b"one ")));
        assert!(outbox.append(|out| out.extend_from_slice(b"two")));
        assert_eq!(outbox.waiting_bytes(), 7);
        let mut bytes = BytesMut::new();
        assert!(outbox.take(&mut bytes).await);
        assert_eq!(bytes, &b"one two"[..]);
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_what_it_had_and_takes_no_more() {
        let outbox = Outbox::default();
        outbox.append(|out| out.extend_from_slice(b"last"));
        outbox.close();
        assert!(!outbox.append(|_| unreachable!("nothing is written once closed")));
        let mut bytes = BytesMut::new();
        assert!(outbox.take(&mut bytes).await);
        bytes.clear();
        assert!(!outbox.take(&mut bytes).await);
    }
}
