//! What an instance has to tell the loop, in order, and what its guest writes to stdout and stderr.

use bytes::Bytes;
use functions::runtime::{Event, LogLevel, LogLine};
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{io::AsyncWrite, sync::mpsc};
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

/// Bytes of a log line; a longer one is continued in the next.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Bytes of log lines that wait for the loop; what comes on top is dropped, and how much it was is said.
const LOG_BYTES_MAX: usize = 1 << 20;
/// What is kept of stderr to go with an exception.
const TAIL_BYTES: usize = 2 << 10;
/// What a log line takes besides its text.
const LINE_OVERHEAD: usize = 64;

/// See the module. The guest's driver empties it, also while the guest runs.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    log_bytes: usize,
    dropped: u64,
    /// The last of stderr, of the message at hand.
    tail: String,
}

impl Outbox {
    pub(crate) fn push(&self, event: Event) {
        self.0.lock().events.push(event);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().events.len()
    }

    pub(crate) fn log(&self, level: LogLevel, message: &str) {
        self.0.lock().log(level, message);
    }

    /// What was written to stderr since this was called last.
    pub(crate) fn take_tail(&self) -> String {
        std::mem::take(&mut self.0.lock().tail)
    }

    /// What waits.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut waiting = self.0.lock();
        let dropped = std::mem::take(&mut waiting.dropped);
        waiting.log_bytes = 0;
        if dropped > 0 {
            let message = format!("{dropped} lines of the log were dropped: they came faster than they could be taken");
            waiting.events.push(Event::Log(LogLine { level: LogLevel::Warn, message }));
        }
        std::mem::take(&mut waiting.events)
    }

    /// Sends what waits, if there is room; false: there is none.
    pub(crate) fn try_send(&self, to: &mpsc::Sender<Vec<Event>>) -> bool {
        if self.len() == 0 {
            return true;
        }
        match to.try_reserve() {
            Ok(permit) => {
                permit.send(self.take());
                true
            }
            // Nobody listens: the driver will see it.
            Err(mpsc::error::TrySendError::Closed(())) => true,
            Err(mpsc::error::TrySendError::Full(())) => false,
        }
    }

    /// Sends what waits; false: nobody listens any more. Dropped before it is done, nothing is lost.
    pub(crate) async fn send(&self, to: &mpsc::Sender<Vec<Event>>) -> bool {
        if self.len() == 0 {
            return !to.is_closed();
        }
        match to.reserve().await {
            Ok(permit) => permit.send(self.take()),
            Err(_) => return false,
        }
        true
    }

    /// Its lines are information.
    pub(crate) fn stdout(&self) -> Stream {
        Stream { outbox: self.clone(), level: LogLevel::Info, is_stderr: false, partial: Arc::default() }
    }

    /// Its lines are warnings, and the last of them go with an exception.
    pub(crate) fn stderr(&self) -> Stream {
        Stream { outbox: self.clone(), level: LogLevel::Warn, is_stderr: true, partial: Arc::default() }
    }
}

impl Waiting {
    fn log(&mut self, level: LogLevel, message: &str) {
        if self.log_bytes > LOG_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        let message = cut(message, LINE_BYTES_MAX).to_owned();
        self.log_bytes += message.len() + LINE_OVERHEAD;
        self.events.push(Event::Log(LogLine { level, message }));
    }
}

/// The first bytes of a text, without half a character at the end.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// stdout or stderr of a guest.
#[derive(Clone)]
pub(crate) struct Stream {
    outbox: Outbox,
    level: LogLevel,
    is_stderr: bool,
    /// The line that has no end yet.
    partial: Arc<Mutex<Vec<u8>>>,
}

impl Stream {
    fn take(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock();
        let mut waiting = self.outbox.0.lock();
        if self.is_stderr {
            waiting.tail.push_str(&String::from_utf8_lossy(bytes));
            if waiting.tail.len() > 2 * TAIL_BYTES {
                let from = waiting.tail.floor_char_boundary(waiting.tail.len() - TAIL_BYTES);
                waiting.tail.drain(..from);
            }
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // One guest's line without an end must not become this process's memory.
            for piece in piece.chunks(LINE_BYTES_MAX) {
                partial.extend_from_slice(piece);
                if partial.last() == Some(&b'\n') || partial.len() >= LINE_BYTES_MAX {
                    let line = String::from_utf8_lossy(&partial);
                    waiting.log(self.level, line.trim_end_matches(['\n', '\r']));
                    partial.clear();
                }
            }
        }
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(outbox: &Outbox) -> Vec<String> {
        let message = |event| match event {
            Event::Log(line) => line.message,
            other => panic!("{other:?}"),
        };
        outbox.take().into_iter().map(message).collect()
    }

    #[test]
    fn a_line_is_what_ends_in_a_line_feed_however_it_was_written() {
        let outbox = Outbox::default();
        let stream = outbox.stdout();
        for piece in ["a", "b\r\nc", "\n\nd"] {
            stream.take(piece.as_bytes());
        }
        assert_eq!(lines(&outbox), ["ab", "c", ""]);
        stream.take(b" e\xff\n");
        assert_eq!(lines(&outbox), ["d e\u{fffd}"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_into_several() {
        let outbox = Outbox::default();
        outbox.stdout().take(&vec![b'x'; 3 * LINE_BYTES_MAX + 1]);
        assert_eq!(lines(&outbox).len(), 3);
    }

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_counted() {
        let outbox = Outbox::default();
        let line = "x".repeat(1000);
        (0..10_000).for_each(|_| outbox.log(LogLevel::Info, &line));
        let kept = lines(&outbox);
        let dropped = 10_000 - (kept.len() - 1);
        assert!(kept.len() < 1100);
        assert!(kept.last().is_some_and(|last| last.starts_with(&format!("{dropped} lines"))));
        outbox.log(LogLevel::Info, "again");
        assert_eq!(lines(&outbox), ["again"]);
    }

    #[test]
    fn of_stderr_the_end_is_kept_for_the_exception() {
        let outbox = Outbox::default();
        let stderr = outbox.stderr();
        stderr.take(&vec![b'x'; 100_000]);
        stderr.take(b"the reason");
        let tail = outbox.take_tail();
        assert!(tail.len() <= 2 * TAIL_BYTES && tail.ends_with("the reason"));
        assert_eq!(outbox.take_tail(), "");
    }
}
