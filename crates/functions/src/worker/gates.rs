//! One change at a time for each name, however long it takes; other names do not wait.

use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Name;

/// See the module.
#[derive(Default)]
pub(super) struct Gates {
    all: parking_lot::Mutex<HashMap<Name, Arc<Mutex<()>>>>,
}

impl Gates {
    /// Waits until no other change of this name is under way; the next one waits for the guard.
    pub(super) async fn enter(&self, name: &Name) -> OwnedMutexGuard<()> {
        let gate = {
            let mut all = self.all.lock();
            // Those nobody is at are only memory.
            all.retain(|_, gate| Arc::strong_count(gate) > 1);
            all.entry(name.clone()).or_default().clone()
        };
        gate.lock_owned().await
    }
}
