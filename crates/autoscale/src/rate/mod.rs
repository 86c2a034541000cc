//! Ours: as many instances as the arrival rate, the backlog and the measured true rate ask for, the whole chain in one decision.
//!
//! For each function: messages arrive at a rate, seen over the longest window that is no older than the last change, and carried
//! forward by the time an instance takes to start. One instance does, when it has enough to do, its true rate: what all have done
//! divided by the time they were busy (DS2: Kalavri et al., OSDI 2018). The number is the smallest that
//! 1. uses no more than `target_utilization` of the true rate for what arrives,
//! 2. lets all but one in a hundred messages wait no longer than `target_age`, by Erlang's formula, and, where any instance takes any
//!    message, half of them no longer than an eighth of it,
//! 3. works off, within `catch_up` of new instances being ready, what will then wait beyond that eighth,
//! 4. has room for nearly a deviation more messages than expected, until still more instances could be there.
//!
//! An eighth, since one more instance in twenty makes waiting messages rare where it is planned with all of the age; and what nobody
//! foresees, a step as long as a start-up and a slow machine, needs the rest.
//!
//! It is bounded by partitions and by the share of the hottest key. Functions are decided from the first of the chain to the last: what
//! one will send with its new number arrives at the next in the same decision.
//!
//! It goes up at once and down to the most that was asked for in `cool_down`, and never within `cool_down` of an increase: so within any
//! such time the direction changes at most twice, whatever the load does. To none it goes when nothing came for `idle`.

mod arrivals;
mod chain;
mod memory;
mod need;
mod queue;
mod spec;
#[cfg(test)]
mod tests;
mod waiting;

pub use memory::Memory;
pub use spec::Spec;

pub(crate) use chain::decide;

use crate::{Decision, Policy, Sample};
use std::time::Duration;

/// The policy for functions that all have the same [`Spec`].
pub struct Rate {
    spec: Spec,
    memories: Vec<Memory>,
}

impl Rate {
    /// Nothing is known of any function.
    pub fn new(spec: Spec) -> Self {
        Self { spec, memories: Vec::new() }
    }
}

impl Policy for Rate {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        self.memories.resize_with(samples.len(), Memory::default);
        let mut nodes: Vec<_> = self.memories.iter_mut().map(|memory| Some((&self.spec, memory))).collect();
        let mut decisions = vec![None; samples.len()];
        decide(&mut nodes, &samples.iter().collect::<Vec<_>>(), &mut decisions);
        decisions.into_iter().flatten().collect()
    }

    fn period(&self) -> Duration {
        self.spec.period
    }
}
