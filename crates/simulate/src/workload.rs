//! The messages of one trace and one seed, the same for every policy.

use crate::{
    Trace,
    chance::Chance,
    trace::{Dispatch, Shape, Stage},
};
use std::time::Duration;

/// What a number of a message's chance is for.
const SERVICE: u64 = 0;
const OUTPUTS: u64 = 1;
const KEY: u64 = 2;
const OUTPUT: u64 = 3;

/// One message on the input of one function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// When the message came from which this one was made.
    pub(crate) published: Duration,
    /// When it was written to this input.
    pub(crate) entered: Duration,
    chance: Chance,
    /// The key's own chance: messages of one key have the same.
    key: Chance,
}

impl Message {
    /// Seconds of work at full speed.
    pub(crate) fn service(&self, stage: &Stage) -> f64 {
        let chance = self.chance.of(SERVICE);
        let factor = match stage.shape {
            Shape::LogNormal(variation) => chance.log_normal(variation),
            Shape::Exponential => chance.exponential(),
        };
        stage.service.as_secs_f64() * factor
    }

    /// What a function writes for it at this time.
    pub(crate) fn outputs(&self, stage: &Stage, now: Duration) -> impl Iterator<Item = Message> + use<> {
        let (message, count) = (*self, self.chance.of(OUTPUTS).count(stage.selectivity));
        let chance = move |n| message.chance.of(OUTPUT + u64::from(n));
        (0..count).map(move |n| Message { entered: now, chance: chance(n), ..message })
    }

    /// From 0 to 1: where it lies among all keys, sorted by how often they come.
    pub(crate) fn key(&self) -> f64 {
        self.key.uniform()
    }

    /// From 0 to 1, another for each message.
    pub(crate) fn spread(&self) -> f64 {
        self.chance.of(KEY).uniform()
    }
}

/// The messages of one trace and one seed.
#[derive(Debug)]
pub struct Workload {
    pub(crate) messages: Vec<Message>,
    pub(crate) chance: Chance,
}

impl Workload {
    /// Those that the seed makes of the trace.
    pub fn new(trace: &Trace, seed: u64) -> Self {
        let chance = Chance::new(seed);
        let times = trace.rates.arrivals(chance.of(0));
        let message = |(n, at): (usize, Duration)| {
            let chance = chance.of(1).of(n as u64);
            Message { published: at, entered: at, chance, key: chance.of(KEY) }
        };
        Self { messages: times.into_iter().enumerate().map(message).collect(), chance: chance.of(2) }
    }

    /// Seconds of work of each function's messages, in the order of the messages that they came from: when that one was published, and
    /// how much.
    pub(crate) fn work(&self, stages: &[Stage]) -> Vec<Vec<(Duration, f64)>> {
        let mut work = Vec::with_capacity(stages.len());
        let mut inputs = self.messages.clone();
        for stage in stages {
            work.push(inputs.iter().map(|message| (message.published, message.service(stage))).collect());
            inputs = inputs.iter().flat_map(|message| message.outputs(stage, message.published)).collect();
        }
        work
    }
}

/// Turns a message into the number of its key or partition.
#[derive(Debug)]
pub(crate) enum Slots {
    /// Share of messages with this key or one that comes more often.
    Keys(Vec<f64>),
    Partitions(u32),
}

impl Slots {
    /// `None` where order does not matter.
    pub(crate) fn of(dispatch: Dispatch) -> Option<Self> {
        match dispatch {
            Dispatch::Shared => None,
            Dispatch::Partitioned { partitions } => Some(Self::Partitions(partitions.max(1))),
            Dispatch::Keyed { keys, exponent } => {
                let weights: Vec<f64> = (1..=keys.max(1)).map(|n| f64::from(n).powf(-exponent)).collect();
                let sum: f64 = weights.iter().sum();
                let cumulated = weights.iter().scan(0.0, |below, weight| {
                    *below += weight / sum;
                    Some(*below)
                });
                Some(Self::Keys(cumulated.collect()))
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Keys(cumulated) => cumulated.len(),
            Self::Partitions(count) => *count as usize,
        }
    }

    pub(crate) fn slot(&self, message: &Message) -> usize {
        match self {
            Self::Keys(cumulated) => {
                cumulated.partition_point(|&below| below <= message.key()).min(cumulated.len() - 1)
            }
            Self::Partitions(count) => (message.spread() * f64::from(*count)) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_messages() {
        let trace = Trace::named("flash").unwrap();
        let work = |seed| Workload::new(&trace, seed).work(&trace.stages);
        assert_eq!(work(1), work(1));
        assert_ne!(work(1), work(2));
    }

    #[test]
    fn keys_come_as_often_as_the_exponent_says() {
        let trace = Trace::named("skew").unwrap();
        let slots = Slots::of(trace.stages[0].dispatch).unwrap();
        let workload = Workload::new(&trace, 1);
        let mut counts = vec![0u32; slots.count()];
        workload.messages.iter().for_each(|message| counts[slots.slot(message)] += 1);
        let share = |slot: usize| f64::from(counts[slot]) / workload.messages.len() as f64;
        assert!((share(0) - 0.042).abs() < 0.004, "{}", share(0));
        assert!((share(0) / share(1) - 2f64.powf(0.7)).abs() < 0.3, "{}", share(0) / share(1));
        assert!(counts.iter().filter(|&&count| count > 0).count() > 990);
    }

    #[test]
    fn functions_write_what_their_selectivity_says() {
        let trace = Trace::named("three-stage").unwrap();
        let work = Workload::new(&trace, 1).work(&trace.stages);
        assert_eq!(work[1].len(), work[0].len());
        assert_eq!(work[2].len(), work[1].len() * 2);
    }
}
