//! What is to be committed: what becomes of one piece of work, and how these share commits.

use bytes::Bytes;
use std::sync::Arc;

use crate::{
    event_log::Commit,
    instance::{in_hand::Work, window::Order},
    message::{InputId, Message},
};

/// Bytes of outputs and changes at which plans are not put into one commit any more; a broker has a largest commit.
const COMMIT_BYTES: usize = 4 << 20;

/// What becomes of one piece of work: all of it happens, or nothing.
#[derive(Default)]
pub(super) struct Plan {
    /// The message it is all made of, where it is to happen once and commits are not atomic.
    pub(super) once: Option<Arc<Message>>,
    pub(super) commit: Commit,
    /// About what it takes.
    pub(super) bytes: usize,
    pub(super) invocations: u64,
    /// Records for the function's output.
    pub(super) written: u64,
    pub(super) rows: Vec<Bytes>,
    /// What it comes of, where that can be given up.
    pub(super) of: Option<Work>,
    /// Messages it acknowledges besides.
    pub(super) besides: Vec<Arc<Message>>,
    /// The element of a window that it stores.
    pub(super) element: Option<Order>,
    pub(super) then: Then,
    /// It may be impossible, which only the broker knows.
    pub(super) is_doubtful: bool,
}

/// What follows when a commit is durable.
#[derive(Default)]
pub(super) enum Then {
    #[default]
    Nothing,
    /// At most once: now the function may be called.
    Invoke(Vec<Arc<Message>>),
    /// A source may forget this one.
    Emitted(u64),
    /// Nothing; and where it can never be done, that is told and nothing else.
    Told,
}

impl Plan {
    fn input(&self) -> Option<InputId> {
        self.commit.acks.first().map(|ack| ack.0)
    }

    /// Takes out what it acknowledges of other inputs than the first, which only a function that acknowledges by itself brings together.
    fn others(&mut self) -> Vec<Self> {
        let input = self.input();
        let acks: Vec<_> = self.commit.acks.extract_if(.., |ack| Some(ack.0) != input).collect();
        if acks.is_empty() {
            return Vec::new();
        }
        let besides: Vec<_> = self.besides.extract_if(.., |message| Some(message.input) != input).collect();
        let other = |ack| {
            let mut plan = Self::default();
            plan.besides.extend(besides.iter().find(|message| (message.input, message.id) == ack).cloned());
            plan.commit.acks.push(ack);
            plan
        };
        acks.into_iter().map(other).collect()
    }
}

/// Plans on their way into commits: those of one input share some, in their order, as far as a commit may go. Acknowledgements of one
/// commit are of one input.
#[derive(Default)]
pub(super) struct Plans {
    /// Complete commits.
    full: Vec<Vec<Plan>>,
    /// What more may be put to, by input, and its bytes.
    open: Vec<(Option<InputId>, Vec<Plan>, usize)>,
}

impl Plans {
    /// Puts one behind those that are there; `alone`: into a commit of its own.
    pub(super) fn add(&mut self, mut plan: Plan, alone: bool) {
        let others = plan.others();
        for plan in std::iter::once(plan).chain(others) {
            self.put(plan, alone);
        }
    }

    fn put(&mut self, plan: Plan, alone: bool) {
        let input = plan.input();
        let at = self.open.iter().position(|(of, ..)| *of == input).unwrap_or_else(|| {
            self.open.push((input, Vec::new(), 0));
            self.open.len() - 1
        });
        let (_, plans, bytes) = &mut self.open[at];
        if alone || *bytes + plan.bytes > COMMIT_BYTES {
            self.full.extend(Some(std::mem::take(plans)).filter(|plans| !plans.is_empty()));
            *bytes = 0;
        }
        if alone {
            return self.full.push(vec![plan]);
        }
        *bytes += plan.bytes;
        plans.push(plan);
    }

    /// Takes what belongs into one commit, one commit after the other.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Vec<Plan>> + use<> {
        let open = std::mem::take(&mut self.open).into_iter().map(|(_, plans, _)| plans);
        std::mem::take(&mut self.full).into_iter().chain(open.filter(|plans| !plans.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// Acknowledges these of inputs by their numbers, the first of which it comes of.
    fn plan(acks: &[(InputId, i64)], bytes: usize) -> Plan {
        let messages: Vec<_> = acks.iter().map(|(input, entry)| Arc::new(testing::message(*input, *entry))).collect();
        let mut plan = Plan { bytes, ..Plan::default() };
        plan.commit.acks = messages.iter().map(|message| (message.input, message.id)).collect();
        plan.of = messages.first().cloned().map(Work::Message);
        plan.besides = messages.into_iter().skip(1).collect();
        plan
    }

    /// The inputs and entries of each commit, plan by plan.
    fn shown(plans: &mut Plans) -> Vec<String> {
        let acks = |plan: &Plan| {
            let acks = plan.commit.acks.iter().map(|(input, id)| format!("{input}:{}", id.entry));
            assert_eq!(plan.commit.acks.len(), plan.besides.len() + usize::from(plan.of.is_some()));
            acks.collect::<Vec<_>>().join("&")
        };
        plans.take().map(|commit| commit.iter().map(acks).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn plans_of_one_input_share_commits_as_far_as_these_go() {
        let mut plans = Plans::default();
        let half = COMMIT_BYTES / 2;
        for (entry, bytes) in [(1, half), (2, half), (3, 1), (4, 3 * COMMIT_BYTES), (5, 1), (6, 1)] {
            plans.add(plan(&[(0, entry)], bytes), false);
            plans.add(plan(&[(1, entry)], 0), false);
        }
        assert_eq!(shown(&mut plans), ["0:1 0:2", "0:3", "0:4", "0:5 0:6", "1:1 1:2 1:3 1:4 1:5 1:6"]);
        assert!(shown(&mut plans).is_empty());
    }

    #[test]
    fn what_is_to_be_alone_is_and_keeps_its_place() {
        let mut plans = Plans::default();
        for (entry, alone) in [(1, false), (2, false), (3, true), (4, true), (5, false)] {
            plans.add(plan(&[(0, entry)], 1), alone);
        }
        assert_eq!(shown(&mut plans), ["0:1 0:2", "0:3", "0:4", "0:5"]);
    }

    #[test]
    fn no_commit_acknowledges_of_two_inputs_alone_or_not() {
        for (alone, wanted) in [(false, ["0:1 0:2&0:3 0:5", "1:4", "2:6"]), (true, ["0:2&0:3", "1:4", "2:6"])] {
            let mut plans = Plans::default();
            if !alone {
                plans.add(plan(&[(0, 1)], 1), false);
            }
            plans.add(plan(&[(0, 2), (1, 4), (0, 3), (2, 6)], 1), alone);
            if !alone {
                plans.add(plan(&[(0, 5)], 1), false);
            }
            assert_eq!(shown(&mut plans), wanted);
        }
    }
}
