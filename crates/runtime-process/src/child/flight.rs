//! Which invocations a child has, and since when it has done nothing.

use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// How much later than its timeout an invocation is overdue: outcomes before it may still be on their way, and code that watches over its
/// invocations itself comes first.
const SLACK: Duration = Duration::from_millis(100);

/// Shared between what writes requests and what reads events.
pub(crate) struct Flight {
    state: Mutex<State>,
    began: Notify,
}

struct State {
    /// Invocations without an outcome. Ids rise, so the first is the oldest.
    ids: BTreeSet<u64>,
    /// When the last outcome came, or the first invocation after a pause.
    progress: Instant,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { ids: BTreeSet::new(), progress: Instant::now() }), began: Notify::new() }
    }

    /// These are about to be written.
    pub(crate) fn take_off(&self, ids: impl Iterator<Item = u64>) {
        let mut state = self.state.lock();
        if state.ids.is_empty() {
            state.progress = Instant::now();
            self.began.notify_one();
        }
        state.ids.extend(ids);
    }

    /// These have their outcomes. Returns the time since the progress before, which is what user code took if it does one at a time.
    ///
    /// # Errors
    /// One of them was not in flight.
    pub(crate) fn land(&self, ids: impl Iterator<Item = u64>) -> Result<Duration> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let since = now.duration_since(state.progress);
        let mut landed = false;
        for id in ids {
            if !state.ids.remove(&id) {
                return Err(Error::garbage(format!("an outcome of invocation {id}, which was not in flight")));
            }
            landed = true;
        }
        if landed {
            state.progress = now;
        }
        Ok(since)
    }

    /// Whether all that was asked for is done.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().ids.is_empty()
    }

    /// Waits until nothing was done for `timeout` while something was to do; returns the oldest invocation, which is no longer in flight.
    pub(crate) async fn overdue(&self, timeout: Option<Duration>) -> u64 {
        let Some(timeout) = timeout.map(|timeout| timeout + SLACK) else { return std::future::pending().await };
        loop {
            let due = {
                let mut state = self.state.lock();
                let late = state.progress.elapsed();
                match state.ids.first().copied() {
                    None => None,
                    Some(oldest) if late >= timeout => {
                        state.ids.remove(&oldest);
                        return oldest;
                    }
                    Some(_) => Some(timeout - late),
                }
            };
            match due {
                None => self.began.notified().await,
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}
