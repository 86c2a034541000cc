//! What an instance takes of the machine: from its control group where that tells, else from `/proc`, by its session.

use functions::runtime::{Usage, Used};
use parking_lot::Mutex;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use super::watchdog::Watchdog;

/// See the module. After the instance's end it says what it was last.
#[derive(Debug)]
pub(super) struct Measured {
    /// A group of version 2; those of version 1 may not count CPU time.
    pub(super) group: Option<PathBuf>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) session: u32,
    /// How often it was killed for its memory.
    pub(super) killed: Arc<AtomicU32>,
    pub(super) last: Mutex<Option<Used>>,
}

impl Usage for Measured {
    fn used(&self) -> Option<Used> {
        let mut last = self.last.lock();
        let now = self.group.as_deref().and_then(of_group).or_else(|| self.watchdog.used(self.session));
        if let Some((cpu, memory_bytes)) = now {
            *last = Some(Used { cpu, memory_bytes: Some(memory_bytes), out_of_memory: 0 });
        }
        let killed = self.killed.load(Relaxed);
        match *last {
            Some(used) => Some(Used { out_of_memory: killed, ..used }),
            None => (killed > 0).then(|| Used { out_of_memory: killed, ..Used::default() }),
        }
    }
}

/// CPU time, and bytes without what the system could drop at once, as kubelet has it.
fn of_group(group: &Path) -> Option<(Duration, u64)> {
    let stat = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let cpu_us = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    let bytes: u64 = fs::read_to_string(group.join("memory.current")).ok()?.trim().parse().ok()?;
    let memory = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let inactive = memory.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
    Some((Duration::from_micros(cpu_us), bytes.saturating_sub(inactive.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_tells_and_its_last_word_stays() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(group.path().join(file), text).unwrap();
        write("cpu.stat", "usage_usec 1500000\nuser_usec 1\n");
        write("memory.current", "5000\n");
        write("memory.stat", "anon 1\ninactive_file 1000\n");
        let killed = Arc::new(AtomicU32::new(0));
        let measured = Measured {
            group: Some(group.path().to_owned()),
            watchdog: Arc::default(),
            // No process has this session.
            session: u32::MAX,
            killed: killed.clone(),
            last: Mutex::default(),
        };
        let used = Used { cpu: Duration::from_millis(1500), memory_bytes: Some(4000), out_of_memory: 0 };
        assert_eq!(measured.used(), Some(used));
        drop(group);
        killed.fetch_add(1, Relaxed);
        assert_eq!(measured.used(), Some(Used { out_of_memory: 1, ..used }));
    }
}
