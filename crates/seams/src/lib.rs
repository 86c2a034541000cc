//! The outside world, handed in: the clock, named tasks, the wish to stop. Nothing else in the program reads a clock or
//! spawns a task that nobody waits for, so that tests can hold time still and a panic has a name.

use std::{
    fs,
    future::Future,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock, milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// Never goes back; only differences mean anything.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Counts monotonic time from now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    start_ms: u64,
    now_ms: AtomicU64,
}

impl ManualClock {
    /// Starts at `now_ms` since 1970.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { start_ms: now_ms, now_ms: AtomicU64::new(now_ms) }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms() - self.start_ms)
    }
}

/// The wish to stop, seen by everyone who holds a clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// Not triggered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to stop; asking again changes nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Resolves when stopping was asked for.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Whether stopping was asked for.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }
}

/// Tasks by name: a panic in one is logged with its name and asks the whole program to stop, since what the task did
/// nobody does now.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    shutdown: Shutdown,
    running: Arc<Mutex<Vec<(String, JoinHandle<()>)>>>,
}

impl Tasks {
    /// `shutdown` is triggered when a task panics.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, running: Arc::default() }
    }

    /// Starts a task.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        let (watched, shutdown) = (name.clone(), self.shutdown.clone());
        let task = tokio::spawn(task);
        let supervised = tokio::spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tracing::error!(task = watched, %error, "task panicked, stopping");
                shutdown.trigger();
            }
        });
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.retain(|(_, handle)| !handle.is_finished());
        running.push((name, supervised));
    }

    /// Waits for all tasks to end, those that others start meanwhile too, for at most `timeout`; returns the names of those that did not.
    pub async fn join_all(&self, timeout: Duration) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut left = Vec::new();
        loop {
            let running: Vec<_> = {
                let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                running.drain(..).collect()
            };
            if running.is_empty() {
                return left;
            }
            for (name, handle) in running {
                if tokio::time::timeout_at(deadline, handle).await.is_err() {
                    left.push(name);
                }
            }
        }
    }
}

/// Makes a directory, and those above it that are missing, so that power loss takes none of them with what is in them.
///
/// # Errors
/// One cannot be made or synced.
pub fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_stops_the_program() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("fails", async { panic!("on purpose") });
        shutdown.triggered().await;
        assert!(tasks.join_all(Duration::from_secs(5)).await.is_empty());
    }

    #[tokio::test]
    async fn what_a_task_starts_is_waited_for_too() {
        let tasks = Tasks::default();
        let (all, ended) = (tasks.clone(), Arc::new(AtomicU64::new(0)));
        let counted = ended.clone();
        tasks.spawn("first", async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            all.spawn("second", async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                counted.fetch_add(1, Relaxed);
            });
        });
        assert!(tasks.join_all(Duration::from_secs(30)).await.is_empty());
        assert_eq!(ended.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_named() {
        let tasks = Tasks::default();
        tasks.spawn("hangs", std::future::pending());
        assert_eq!(tasks.join_all(Duration::from_millis(10)).await, ["hangs"]);
    }
}
