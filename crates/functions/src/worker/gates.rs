//! One change at a time for each name, however long it takes; other names do not wait.
//!
//! Who only wants a name to be gone does not wait for what another change prepares for it: that one is given up.

use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::Name;

/// See the module.
#[derive(Default)]
pub(super) struct Gates {
    all: parking_lot::Mutex<HashMap<Name, Arc<Gate>>>,
}

struct Gate {
    turn: Arc<Mutex<()>>,
    /// How many wait that want the name to be gone.
    ending: watch::Sender<u32>,
}

/// A turn; the next change waits for its end.
pub(super) struct Turn {
    gate: Arc<Gate>,
    _held: OwnedMutexGuard<()>,
}

impl Gates {
    /// Waits until no other change of this name is under way.
    pub(super) async fn enter(&self, name: &Name) -> Turn {
        let gate = self.gate(name);
        let held = gate.turn.clone().lock_owned().await;
        Turn { gate, _held: held }
    }

    /// As [`Gates::enter`], for the end of the name: what a change under way prepares is given up.
    pub(super) async fn enter_to_end(&self, name: &Name) -> Turn {
        let gate = self.gate(name);
        let _ending = Ending::new(gate.clone());
        let held = gate.turn.clone().lock_owned().await;
        Turn { gate, _held: held }
    }

    fn gate(&self, name: &Name) -> Arc<Gate> {
        let mut all = self.all.lock();
        // Those nobody is at are only memory.
        all.retain(|_, gate| Arc::strong_count(gate) > 1);
        let new = || Arc::new(Gate { turn: Arc::default(), ending: watch::Sender::new(0) });
        all.entry(name.clone()).or_insert_with(new).clone()
    }
}

impl Turn {
    /// Does some work, or gives it up, as soon as somebody waits who wants the name to be gone: then `None`.
    pub(super) async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut ending = self.gate.ending.subscribe();
        tokio::select! {
            done = work => Some(done),
            // The sender is in the gate, which is held.
            _ = ending.wait_for(|count| *count > 0) => None,
        }
    }
}

struct Ending(Arc<Gate>);

impl Ending {
    fn new(gate: Arc<Gate>) -> Self {
        gate.ending.send_modify(|count| *count += 1);
        Self(gate)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.send_modify(|count| *count -= 1);
    }
}
