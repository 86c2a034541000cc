//! What was decided of each function, for whoever asks why.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Event;
use crate::worker::Name;

/// Decisions that changed something, kept for each function.
const KEPT: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Events {
    all: HashMap<Name, OfOne>,
}

#[derive(Default)]
struct OfOne {
    changes: VecDeque<Event>,
    /// The last one that changed nothing, when it is later than all that did.
    unchanged: Option<Event>,
    counts: BTreeMap<String, u64>,
}

impl Events {
    pub(super) fn add(&mut self, name: &Name, event: Event) {
        // Called for each function at each look.
        if !self.all.contains_key(name) {
            self.all.insert(name.clone(), OfOne::default());
        }
        let Some(of_one) = self.all.get_mut(name) else { return };
        if event.from == event.to && event.sample.is_some() {
            of_one.unchanged = Some(event);
            return;
        }
        of_one.unchanged = None;
        *of_one.counts.entry(event.reason.code.clone()).or_default() += 1;
        if of_one.changes.len() == KEPT {
            of_one.changes.pop_front();
        }
        of_one.changes.push_back(event);
    }

    pub(super) fn forget(&mut self, name: &Name) {
        self.all.remove(name);
    }

    /// Those that changed something, or that a person made, oldest first.
    pub(super) fn changes(&self, name: &Name) -> Vec<Event> {
        self.all.get(name).map(|of_one| of_one.changes.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn latest(&self, name: &Name) -> Option<Event> {
        let of_one = self.all.get(name)?;
        of_one.unchanged.as_ref().or(of_one.changes.back()).cloned()
    }

    pub(super) fn counts(&self, name: &Name) -> BTreeMap<String, u64> {
        self.all.get(name).map(|of_one| of_one.counts.clone()).unwrap_or_default()
    }
}
