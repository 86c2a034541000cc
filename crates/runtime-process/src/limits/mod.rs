//! What an instance may take of the machine, and that all of it can be ended: one seam over control groups of version 2 and 1, and
//! where neither may be written, resource limits and a watchdog.
//!
//! Memory and the number of processes are always bounded; CPU only by control groups. `RLIMIT_AS` is not used: the JVM, Go and others
//! reserve far more address space than they use.

mod cgroup;
#[cfg(test)]
mod tests;
mod usage;
mod watchdog;

use rustix::process::Resource;
use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use cgroup::{Base, Group};
use watchdog::Watchdog;

/// Processes and threads one instance may have; a JVM has about a hundred.
pub const TASKS_MAX: u64 = 1024;

/// How instances are held within their limits; cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits {
    base: Option<Arc<Base>>,
    watchdog: Arc<Watchdog>,
    tasks_max: u64,
}

impl Limits {
    /// Takes what this machine offers, and logs what it does not. Ends what instances of an earlier life of this program have left.
    #[must_use]
    pub fn detect() -> Self {
        let base = Base::detect().map(Arc::new);
        match &base {
            Some(base) => tracing::info!(by = %base, "instances of functions are limited"),
            None => tracing::warn!(
                "no control group can be written: memory of function instances is watched, their CPU is not limited"
            ),
        }
        Self { base, watchdog: Arc::default(), tasks_max: TASKS_MAX }
    }

    /// Without control groups, whatever the machine offers.
    #[must_use]
    pub fn watched() -> Self {
        Self { base: None, watchdog: Arc::default(), tasks_max: TASKS_MAX }
    }

    /// With another bound than [`TASKS_MAX`].
    #[must_use]
    pub fn tasks_max(self, tasks_max: u64) -> Self {
        Self { tasks_max, ..self }
    }

    /// Where control groups hold instances.
    #[must_use]
    pub fn has_control_groups(&self) -> bool {
        self.base.is_some()
    }

    /// Makes room for one instance. Where a group cannot be made, the watchdog is there.
    pub(crate) fn cage(&self, name: &str, limits: &functions::spec::Limits) -> Cage {
        let group = self.base.as_ref().and_then(|base| {
            base.group(name, limits, self.tasks_max)
                .inspect_err(
                    |error| tracing::warn!(name, %error, "no control group for an instance, it is watched instead"),
                )
                .ok()
        });
        Cage {
            group,
            watchdog: self.watchdog.clone(),
            ram_bytes: limits.ram_bytes,
            tasks_max: self.tasks_max,
            out_of_memory: Arc::default(),
        }
    }
}

/// Holds one instance; dropped, its group goes.
#[derive(Debug)]
pub(crate) struct Cage {
    group: Option<Group>,
    watchdog: Arc<Watchdog>,
    ram_bytes: Option<u64>,
    tasks_max: u64,
    /// How often it was killed for its memory.
    out_of_memory: Arc<AtomicU32>,
}

impl Cage {
    /// A process that writes `0` to these is in the cage, and all that it starts.
    pub(crate) fn join_files(&self) -> io::Result<Vec<File>> {
        self.group.as_ref().map_or(Ok(Vec::new()), Group::join_files)
    }

    /// What it sets for itself before it runs the program.
    pub(crate) fn rlimits(&self) -> Vec<(Resource, u64)> {
        let mut limits = vec![(Resource::Core, 0)];
        if self.group.is_none() && !rustix::process::geteuid().is_root() {
            limits.push((Resource::Nproc, 4 * self.tasks_max)); // it counts all processes of the user
        }
        limits
    }

    /// Waits until the session of `leader` takes too much; says what. Never, where a group holds it.
    pub(crate) async fn exceeded(&self, leader: u32) -> String {
        match &self.group {
            Some(group) if group.limits_memory() || self.ram_bytes.is_none() => std::future::pending().await,
            _ => {
                let (what, is_memory) = self.watchdog.exceeded(leader, self.ram_bytes, self.tasks_max).await;
                self.out_of_memory.fetch_add(u32::from(is_memory), Relaxed);
                what
            }
        }
    }

    /// What the group did to the instance, in words.
    pub(crate) fn killed(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        let limit = self.ram_bytes?;
        group.ran_out_of_memory().then(|| {
            self.out_of_memory.fetch_add(1, Relaxed);
            out_of_memory(limit)
        })
    }

    /// Measures what the session of `leader` takes.
    pub(crate) fn usage(&self, leader: u32) -> Arc<dyn functions::runtime::Usage> {
        Arc::new(usage::Measured {
            group: self.group.as_ref().and_then(Group::measured),
            watchdog: self.watchdog.clone(),
            session: leader,
            killed: self.out_of_memory.clone(),
            last: parking_lot::Mutex::default(),
        })
    }

    /// Kills all that is in the group; false where there is none.
    pub(crate) async fn kill(&self) -> bool {
        match &self.group {
            Some(group) => group.kill().await,
            None => false,
        }
    }
}

fn out_of_memory(limit: u64) -> String {
    format!("it was killed: out of memory, its limit is {} MiB", limit >> 20)
}
