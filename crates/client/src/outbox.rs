//! What a connection still has to write. Many callers append, one task writes; whatever was appended while a write was
//! under way leaves in the next one, so the number of system calls falls as the load rises. Who sends from a thread of its
//! own can also write at once, which saves waking the task. Invariant: bytes are written by one side at a time, in order.

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use std::io;
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
    /// The task holds bytes that came before these and are not written yet.
    taken: bool,
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

    /// Appends what `write` writes without telling the task; [`flush`](Self::flush) must follow.
    pub(crate) fn append_quietly(&self, write: impl FnOnce(&mut BytesMut)) -> bool {
        let mut queue = self.queue.lock();
        if !queue.closed {
            write(&mut queue.bytes);
        }
        !queue.closed
    }

    /// Writes at once what `try_write` takes; the task gets the rest, and any error by trying itself.
    pub(crate) fn flush(&self, try_write: impl FnOnce(&[u8]) -> io::Result<usize>) {
        let mut queue = self.queue.lock();
        if queue.bytes.is_empty() {
            return;
        }
        if !queue.taken
            && let Ok(written) = try_write(&queue.bytes)
        {
            queue.bytes.advance(written);
        }
        let is_rest = !queue.bytes.is_empty();
        drop(queue);
        if is_rest {
            self.filled.notify_one();
        }
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

    /// Waits for something to write and swaps it into `spare`, which must be empty: what was taken before is written. False:
    /// closed and nothing left.
    pub(crate) async fn take(&self, spare: &mut BytesMut) -> bool {
        if spare.capacity() > KEEP_BYTES {
            *spare = BytesMut::new();
        }
        loop {
            {
                let mut queue = self.queue.lock();
                queue.taken = !queue.bytes.is_empty();
                if queue.taken {
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
    async fn writing_at_once_never_overtakes_the_task() {
        let outbox = Outbox::default();
        let mut at_once = Vec::new();
        outbox.append_quietly(|out| out.extend_from_slice(b"abc"));
        outbox.flush(|bytes| {
            at_once.extend_from_slice(&bytes[..2]);
            Ok(2)
        });
        assert_eq!(at_once, b"ab");
        let mut bytes = BytesMut::new();
        assert!(outbox.take(&mut bytes).await, "the task was told of the rest");
        assert_eq!(bytes, &b"c"[..]);
        outbox.append_quietly(|out| out.extend_from_slice(b"d"));
        outbox.flush(|_| unreachable!("the task has not written c yet"));
        bytes.clear();
        assert!(outbox.take(&mut bytes).await);
        assert_eq!(bytes, &b"d"[..]);
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
