//! What waits on a function's input, and who may have it.

use crate::{
    chance::Chance,
    trace::{Dispatch, Stage},
    workload::{Message, Slots},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// Points of one instance on the ring of hashes, as many as a Pulsar broker's.
const POINTS: u64 = 100;
/// Counts of keys fade with this half-life, in seconds.
const HEAT_HALF_LIFE_S: f64 = 60.0;

/// An instance, by a number that is never used again.
pub(crate) type Id = u64;

/// What waits on a function's input.
#[derive(Debug)]
pub(crate) enum Queue {
    /// Any instance may have the next.
    Shared(VecDeque<Message>),
    /// Each key or partition has its own line, and one instance that may serve it.
    Ordered(Ordered),
}

impl Queue {
    pub(crate) fn new(stage: &Stage) -> Self {
        match Slots::of(stage.dispatch) {
            None => Self::Shared(VecDeque::new()),
            Some(slots) => Self::Ordered(Ordered::new(slots, stage.dispatch)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Shared(waiting) => waiting.len(),
            Self::Ordered(ordered) => ordered.lines.iter().map(|line| line.waiting.len()).sum(),
        }
    }

    /// When the one that waits longest came.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        match self {
            Self::Shared(waiting) => waiting.front().map(|message| message.entered),
            Self::Ordered(ordered) => {
                ordered.lines.iter().filter_map(|line| line.waiting.front()).map(|message| message.entered).min()
            }
        }
    }

    pub(crate) fn waiting(&self) -> Box<dyn Iterator<Item = &Message> + '_> {
        match self {
            Self::Shared(waiting) => Box::new(waiting.iter()),
            Self::Ordered(ordered) => Box::new(ordered.lines.iter().flat_map(|line| &line.waiting)),
        }
    }
}

/// A line for each key or partition.
#[derive(Debug)]
pub(crate) struct Ordered {
    slots: Slots,
    is_keyed: bool,
    lines: Vec<Line>,
    /// What each instance may take now, oldest first: heads of lines of which none is in work.
    heads: BTreeMap<Id, BTreeSet<(Duration, usize)>>,
    /// Messages of each key lately, and of all.
    heat: Vec<f64>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Message>,
    /// One of its messages is in work, perhaps at the owner before this one.
    is_busy: bool,
    owner: Option<Id>,
}

impl Ordered {
    fn new(slots: Slots, dispatch: Dispatch) -> Self {
        let lines = std::iter::repeat_with(Line::default).take(slots.count()).collect();
        let is_keyed = matches!(dispatch, Dispatch::Keyed { .. });
        let heat = vec![0.0; if is_keyed { slots.count() } else { 0 }];
        Self { slots, is_keyed, lines, heads: BTreeMap::new(), heat }
    }

    /// A message comes; says whose it is.
    pub(crate) fn push(&mut self, message: Message) -> Option<Id> {
        let slot = self.slots.slot(&message);
        if let Some(heat) = self.heat.get_mut(slot) {
            *heat += 1.0;
        }
        self.lines[slot].waiting.push_back(message);
        self.offer(slot)
    }

    /// The oldest message that an instance may begin, and its line.
    pub(crate) fn take(&mut self, instance: Id) -> Option<(usize, Message)> {
        let (_, slot) = self.heads.get_mut(&instance)?.pop_first()?;
        let line = &mut self.lines[slot];
        line.is_busy = true;
        line.waiting.pop_front().map(|message| (slot, message))
    }

    /// The message of a line is done; says who may go on with it.
    pub(crate) fn done(&mut self, slot: usize) -> Option<Id> {
        self.lines[slot].is_busy = false;
        self.offer(slot)
    }

    /// Instances came or went: these are left, with their places in the function, lowest first.
    pub(crate) fn share(&mut self, instances: &[(u64, Id)]) {
        let ring: BTreeMap<u64, Id> = instances
            .iter()
            .flat_map(|&(place, id)| (0..POINTS).map(move |n| (hash(Chance::new(place).of(n)), id)))
            .collect();
        self.heads = instances.iter().map(|&(_, id)| (id, BTreeSet::new())).collect();
        for slot in 0..self.lines.len() {
            self.lines[slot].owner = if self.is_keyed {
                let at = hash(Chance::new(u64::MAX).of(slot as u64));
                ring.range(at..).next().or_else(|| ring.first_key_value()).map(|(_, &id)| id)
            } else {
                instances.get(slot % instances.len().max(1)).map(|&(_, id)| id)
            };
            self.offer(slot);
        }
    }

    /// Share of the most frequent key's messages lately; 0 where partitions bound. `passed` has gone by since this was asked last.
    pub(crate) fn hottest(&mut self, passed: Duration) -> f64 {
        let all: f64 = self.heat.iter().sum();
        let hottest = self.heat.iter().copied().fold(0.0, f64::max);
        let fade = 0.5f64.powf(passed.as_secs_f64() / HEAT_HALF_LIFE_S);
        self.heat.iter_mut().for_each(|heat| *heat *= fade);
        if all > 0.0 { hottest / all } else { 0.0 }
    }

    fn offer(&mut self, slot: usize) -> Option<Id> {
        let line = &self.lines[slot];
        let head = line.waiting.front().filter(|_| !line.is_busy)?;
        self.heads.get_mut(&line.owner?)?.insert((head.entered, slot));
        line.owner
    }
}

fn hash(chance: Chance) -> u64 {
    (chance.uniform() * 65_536.0 * 65_536.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rates, Trace, Workload};
    use proptest::prelude::*;

    fn messages(seed: u64) -> Vec<Message> {
        let rates = Rates::new([(0.0, 20.0), (10.0, 20.0)]).expect("a trace");
        Workload::new(&Trace::of("queue", rates), seed).messages
    }

    fn ordered(dispatch: Dispatch) -> Ordered {
        Ordered::new(Slots::of(dispatch).expect("an order"), dispatch)
    }

    #[test]
    fn an_instance_more_moves_few_keys() {
        let owners = |count: u64| {
            let mut queue = ordered(Dispatch::Keyed { keys: 1_000, exponent: 0.0 });
            queue.share(&(0..count).map(|n| (n, n)).collect::<Vec<_>>());
            queue.lines.iter().map(|line| line.owner).collect::<Vec<_>>()
        };
        let (nine, ten) = (owners(9), owners(10));
        let moved = nine.iter().zip(&ten).filter(|(before, after)| before != after).count();
        assert!((50..150).contains(&moved), "{moved} of 1000, a tenth expected");
        assert!(ten.iter().zip(&nine).all(|(after, before)| after == before || *after == Some(9)));
    }

    #[test]
    fn partitions_are_dealt_in_turn() {
        let mut queue = ordered(Dispatch::Partitioned { partitions: 5 });
        queue.share(&[(0, 10), (1, 11)]);
        assert_eq!(queue.lines.iter().map(|line| line.owner.unwrap()).collect::<Vec<_>>(), [10, 11, 10, 11, 10]);
        queue.share(&[]);
        assert!(queue.lines.iter().all(|line| line.owner.is_none()));
    }

    proptest! {
        /// Whoever comes and goes: a key's messages are begun in their order, one at a time.
        #[test]
        fn order_by_key_holds(
            seed in 0u64..1_000,
            keys in 1u32..20,
            steps in prop::collection::vec((0u8..4, 0u64..6), 1..400),
        ) {
            let mut queue = ordered(Dispatch::Keyed { keys, exponent: 0.5 });
            let mut next = messages(seed).into_iter();
            let mut in_work: Vec<usize> = Vec::new();
            let mut begun: BTreeMap<usize, Duration> = BTreeMap::new();
            let (mut pushed, mut taken) = (0usize, 0usize);
            for (what, n) in steps {
                match what {
                    0 => queue.share(&(0..n).map(|id| (id, id)).collect::<Vec<_>>()),
                    1 => {
                        if let Some(message) = next.next() {
                            queue.push(message);
                            pushed += 1;
                        }
                    }
                    2 => {
                        if let Some((slot, message)) = queue.take(n) {
                            prop_assert!(!in_work.contains(&slot), "two of one key at once");
                            prop_assert!(begun.insert(slot, message.entered).is_none_or(|before| before <= message.entered));
                            in_work.push(slot);
                            taken += 1;
                        }
                    }
                    _ => {
                        if !in_work.is_empty() {
                            queue.done(in_work.remove(n as usize % in_work.len()));
                        }
                    }
                }
            }
            // With somebody there, nothing is left behind.
            queue.share(&[(0, 0)]);
            in_work.drain(..).for_each(|slot| { queue.done(slot); });
            while let Some((slot, _)) = queue.take(0) {
                taken += 1;
                queue.done(slot);
            }
            prop_assert_eq!(pushed, taken);
        }
    }
}
