//! Where no control group can be written: what the sessions of instances take is read from `/proc` twice a second.
//!
//! One reading serves all instances, whichever asks first.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::out_of_memory;

const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Watchdog {
    last: Mutex<Option<(Instant, Arc<FxHashMap<u32, Usage>>)>>,
}

/// What one session takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    rss_bytes: u64,
    tasks: u64,
    /// CPU time, of children that have ended and were waited for too.
    ticks: u64,
}

impl Watchdog {
    /// Waits until a session takes too much, and says what, and whether it was memory.
    pub(super) async fn exceeded(
        self: &Arc<Self>,
        session: u32,
        ram_bytes: Option<u64>,
        tasks_max: u64,
    ) -> (String, bool) {
        loop {
            tokio::time::sleep(EVERY).await;
            // A look at each process of the machine. Where nothing could be read, nothing is over its limit.
            let watchdog = self.clone();
            let read = tokio::task::spawn_blocking(move || watchdog.read()).await;
            let usage = read.ok().and_then(|all| all.get(&session).copied()).unwrap_or_default();
            if let Some(limit) = ram_bytes.filter(|limit| usage.rss_bytes > *limit) {
                return (out_of_memory(limit), true);
            }
            if usage.tasks > tasks_max {
                let what = format!("it was killed: {} processes and threads, {tasks_max} are allowed", usage.tasks);
                return (what, false);
            }
        }
    }

    /// CPU time and resident bytes of a session, if it has processes.
    pub(super) fn used(&self, session: u32) -> Option<(Duration, u64)> {
        let usage = *self.read().get(&session)?;
        Some((
            Duration::from_secs_f64(usage.ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
            usage.rss_bytes,
        ))
    }

    fn read(&self) -> Arc<FxHashMap<u32, Usage>> {
        let mut last = self.last.lock();
        match &*last {
            Some((at, usage)) if at.elapsed() < EVERY / 2 => usage.clone(),
            _ => {
                let usage = Arc::new(read());
                *last = Some((Instant::now(), usage.clone()));
                usage
            }
        }
    }
}

fn read() -> FxHashMap<u32, Usage> {
    let page = rustix::param::page_size() as u64;
    let mut sessions: FxHashMap<u32, Usage> = FxHashMap::default();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process =
            process.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        if let Some((session, ticks, tasks, pages)) = parse(&stat) {
            let usage = sessions.entry(session).or_default();
            usage.rss_bytes += pages * page;
            usage.tasks += tasks;
            usage.ticks += ticks;
        }
    }
    sessions
}

/// Session, CPU time, threads and resident pages, from the line of proc(5) that may have anything in its second field.
fn parse(stat: &str) -> Option<(u32, u64, u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let session = fields.nth(3)?.parse().ok()?;
    // User and system time, its own and that of children.
    let mut ticks = 0;
    for number in [fields.nth(7), fields.next(), fields.next(), fields.next()] {
        ticks += number?.parse::<u64>().ok()?;
    }
    let tasks = fields.nth(2)?.parse().ok()?;
    let pages = fields.nth(3)?.parse().ok()?;
    Some((session, ticks, tasks, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_proc_is_read_from_behind_the_name() {
        let stat = "1234 (a) (b c) S 1 1234 1230 0 -1 4194560 1 0 0 0 10 5 2 1 20 0 7 0 100 123456 789 1844 1";
        assert_eq!(parse(stat), Some((1230, 18, 7, 789)));
        assert_eq!(parse("1234 (x"), None);
        assert_eq!(parse("1234 (x) S 1"), None);
    }
}
