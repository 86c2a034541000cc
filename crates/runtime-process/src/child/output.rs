//! What a child prints: lines for the log, and the last of stderr for the reason of its exit.
//!
//! A child may print a gigabyte. It is read as fast as it comes, so that printing does not stop it; what goes on to the log is bounded by
//! a rate and by what waits, and the rest is counted and dropped.

use functions::runtime::{Event, LogLevel, LogLine};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Notify,
};

use crate::protocol::LOG_LINE_BYTES_MAX;

/// Bytes that may go on to the log at once, and each second after.
const BURST_BYTES: f64 = 4e6;
const RATE_BYTES_PER_S: f64 = 1e6;
/// A line costs so much more than its bytes.
const LINE_BYTES: usize = 64;
/// Bytes that may wait for somebody to take them.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Of stderr, for the reason of an exit.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES_MAX: usize = 1 << 10;

/// Lines on their way from a child's output to its log.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    came: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<LogLine>,
    waiting_bytes: usize,
    dropped: u64,
    budget: Option<Budget>,
    tail: VecDeque<String>,
}

struct Budget {
    bytes: f64,
    at: Instant,
}

impl Lines {
    /// Reads a stream to its end.
    pub(crate) async fn capture(&self, mut stream: impl AsyncRead + Unpin, level: LogLevel) {
        let mut buffer = vec![0; 32 << 10];
        let mut line = Vec::new();
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            let mut rest = buffer.get(..count).unwrap_or_default();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (head, tail) = rest.split_at(end);
                line.extend_from_slice(head);
                self.line(&mut line, level);
                rest = tail.get(1..).unwrap_or_default();
            }
            line.extend_from_slice(rest);
            if line.len() >= LOG_LINE_BYTES_MAX {
                self.line(&mut line, level); // in pieces
            }
        }
        if !line.is_empty() {
            self.line(&mut line, level);
        }
    }

    fn line(&self, line: &mut Vec<u8>, level: LogLevel) {
        let mut state = self.shared.state.lock();
        if level == LogLevel::Warn {
            if state.tail.len() >= TAIL_LINES {
                state.tail.pop_front();
            }
            let start = line.get(..TAIL_LINE_BYTES_MAX).unwrap_or(line);
            state.tail.push_back(String::from_utf8_lossy(start).into_owned());
        }
        let cost = line.len() + LINE_BYTES;
        if state.waiting_bytes + cost > WAITING_BYTES_MAX || !state.may_spend(cost) {
            state.dropped += 1;
        } else {
            state.waiting_bytes += cost;
            let message = String::from_utf8_lossy(line).into_owned();
            state.waiting.push(LogLine { level, message });
            self.shared.came.notify_one();
        }
        line.clear();
    }

    /// Waits for lines. Safe to be dropped while it waits.
    pub(crate) async fn come(&self) {
        while self.shared.state.lock().waiting.is_empty() {
            self.shared.came.notified().await;
        }
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut state = self.shared.state.lock();
        state.waiting_bytes = 0;
        let dropped = std::mem::take(&mut state.dropped);
        let mut lines: Vec<_> = state.waiting.drain(..).map(Event::Log).collect();
        if lines.is_empty() {
            state.dropped = dropped; // told with the next line, or at the end
        } else if dropped > 0 {
            lines.push(Event::Log(too_many(dropped)));
        }
        lines
    }

    /// What is left at the end.
    pub(crate) fn rest(&self) -> Vec<Event> {
        let mut lines = self.take();
        let dropped = std::mem::take(&mut self.shared.state.lock().dropped);
        if dropped > 0 {
            lines.push(Event::Log(too_many(dropped)));
        }
        lines
    }

    /// The last lines of stderr; empty when there are none.
    pub(crate) fn tail(&self) -> String {
        let state = self.shared.state.lock();
        state.tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

fn too_many(dropped: u64) -> LogLine {
    LogLine { level: LogLevel::Warn, message: format!("{dropped} lines were printed too fast and dropped") }
}

impl State {
    fn may_spend(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        let budget = self.budget.get_or_insert(Budget { bytes: BURST_BYTES, at: now });
        let earned = now.duration_since(budget.at).as_secs_f64() * RATE_BYTES_PER_S;
        budget.bytes = (budget.bytes + earned).min(BURST_BYTES);
        budget.at = now;
        let may = budget.bytes >= bytes as f64;
        if may {
            budget.bytes -= bytes as f64;
        }
        may
    }
}
