//! Memory of guests: a limit for each, and one for all together.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use wasmtime::ResourceLimiter;

use crate::host::Progress;

/// Elements of one table; a Python interpreter has about 10,000.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// What all guests share.
#[derive(Debug)]
pub(crate) struct Total {
    limit: u64,
    used: AtomicU64,
}

impl Total {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = self.used.try_update(Relaxed, Relaxed, |used| {
            let used = used.checked_add(bytes)?;
            (used <= self.limit).then_some(used)
        });
        taken.is_ok()
    }
}

/// The memory of one guest; dropped with it.
#[derive(Debug)]
pub(crate) struct Memory {
    total: Arc<Total>,
    limit: u64,
    used: u64,
    /// What the guest had after its first call.
    settled: Option<u64>,
    progress: Arc<Progress>,
    /// Why the guest did not get what it asked for last.
    denied: Option<String>,
}

impl Memory {
    pub(crate) fn new(total: &Arc<Total>, limit: u64, progress: &Arc<Progress>) -> Self {
        progress.is_crowded.store(false, Relaxed);
        Self { total: Arc::clone(total), limit, used: 0, settled: None, progress: Arc::clone(progress), denied: None }
    }

    /// Whether the guest was not called yet.
    pub(crate) fn is_new(&self) -> bool {
        self.settled.is_none()
    }

    fn is_crowded(&self) -> bool {
        self.used > self.limit / 4 * 3
    }

    /// To be asked after each call: says so when the guest is about to run out of memory and has grown a lot since its first call.
    pub(crate) fn leak(&mut self) -> Option<String> {
        let Self { used, limit, .. } = *self;
        let settled = *self.settled.get_or_insert(used);
        let leaks = self.is_crowded() && used - settled > limit / 4;
        leaks.then(|| {
            format!(
                "memory grew from {settled} to {used} bytes of {limit}: a new guest goes on with the next message; if it needs that much, \
                 raise resources.ram"
            )
        })
    }

    /// Why the guest was refused memory, if it was.
    pub(crate) fn denied(&self) -> Option<&str> {
        self.denied.as_deref()
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let wanted = self.used.saturating_add(more);
        if wanted > self.limit {
            self.denied = Some(format!("out of memory: {wanted} bytes wanted, resources.ram allows {}", self.limit));
            return Ok(false);
        }
        if !self.total.take(more) {
            self.denied =
                Some(format!("out of memory: all WASM functions together may have {} bytes", self.total.limit));
            return Ok(false);
        }
        self.used = wanted;
        self.progress.is_crowded.store(self.is_crowded(), Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.total.used.fetch_sub(self.used, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_no_more_than_its_limit_and_no_more_than_is_left_for_all() -> wasmtime::Result<()> {
        let total = Arc::new(Total::new(100));
        let mut one = Memory::new(&total, 60, &Arc::default());
        assert!(one.memory_growing(0, 60, None)?);
        assert!(!one.memory_growing(60, 61, None)?);
        assert!(one.denied().is_some_and(|why| why.contains("resources.ram allows 60")));

        let mut two = Memory::new(&total, 60, &Arc::default());
        assert!(!two.memory_growing(0, 60, None)?, "40 are left");
        assert!(two.denied().is_some_and(|why| why.contains("together")));
        drop(one);
        assert!(two.memory_growing(0, 60, None)?, "a guest that has gone gives its memory back");
        Ok(())
    }

    #[test]
    fn a_guest_leaks_when_it_grows_towards_its_limit_and_not_when_it_was_large_at_once() -> wasmtime::Result<()> {
        let total = Arc::new(Total::new(1000));
        let mut leaks = Memory::new(&total, 100, &Arc::default());
        for (at, is_leak) in [(40, false), (75, false), (80, true)] {
            leaks.memory_growing(usize::try_from(leaks.used)?, at, None)?;
            assert_eq!(leaks.leak().is_some(), is_leak, "{at}");
        }
        let mut large = Memory::new(&total, 100, &Arc::default());
        for at in [80, 90, 100] {
            large.memory_growing(usize::try_from(large.used)?, at, None)?;
            assert_eq!(large.leak(), None);
        }
        Ok(())
    }
}
