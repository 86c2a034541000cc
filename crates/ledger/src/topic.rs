//! One topic as the store, its managed ledger and running reads share it.

use model::TopicName;
use parking_lot::Mutex;
use std::sync::atomic::AtomicUsize;

use crate::state::State;

/// Bundle of every topic until several brokers share a store.
pub(crate) const BUNDLE: u32 = 0;

/// See the module.
pub(crate) struct Topic {
    /// Number of its first ledger.
    pub(crate) id: u64,
    pub(crate) name: TopicName,
    pub(crate) state: Mutex<State>,
    /// Others than the owner that are about to append, see [`crate::Appender::begin`].
    pub(crate) others: AtomicUsize,
}

impl Topic {
    pub(crate) fn new(id: u64, name: TopicName, state: State) -> Self {
        Self { id, name, state: Mutex::new(state), others: AtomicUsize::new(0) }
    }
}
