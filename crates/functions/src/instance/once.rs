//! What belongs to one entry of an input, where effects are to happen once on a broker whose commits are not atomic.
//!
//! Such a broker knows what it has by the number of an entry, so what a function makes of one entry is published as one: when all
//! messages of it have ended, and all entries before it. It does not matter then how messages were put together the last time, or
//! whether the function makes the same of them again. Pure.
//!
//! Source: Pulsar's `PulsarSink.PulsarSinkEffectivelyOnceProcessor`, which numbers by entry too, and so loses all but the first message
//! of a batch.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Error, FunctionSpec, Kind, Result,
    message::{InputId, Message, MessageId},
    spec::{Guarantee, OutputConfig},
};

/// Entries that have arrived and are not committed, by input and in order; `T` is what becomes of a message.
#[derive(Debug)]
pub(super) struct Entries<T> {
    open: BTreeMap<(InputId, u64, i64), Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    /// Indexes of those that have arrived.
    seen: BTreeSet<i32>,
    /// Messages that have not ended.
    left: usize,
    /// By index in the batch.
    ended: BTreeMap<i32, T>,
}

/// An entry that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<T> {
    /// See [`entry_number`].
    pub(super) number: u64,
    /// In the order of the messages.
    pub(super) parts: Vec<T>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<T> Entries<T> {
    /// These arrived together: of each entry all there is, unless some was acknowledged before.
    pub(super) fn arrived<'a>(&mut self, messages: impl Iterator<Item = &'a Message>) {
        for message in messages {
            let entry = self.open.entry(key(message.input, message.id));
            let entry = entry.or_insert_with(|| Entry { seen: BTreeSet::new(), left: 0, ended: BTreeMap::new() });
            // A broker that changes its mind about who is active may send one twice.
            entry.left += usize::from(entry.seen.insert(message.id.batch_index));
        }
    }

    /// A message has ended; the entries that can be committed now, in order.
    ///
    /// # Errors
    /// [`Error::Invalid`]: an entry has no number.
    pub(super) fn ended(&mut self, input: InputId, id: MessageId, part: T) -> Result<Vec<Whole<T>>> {
        if let Some(entry) = self.open.get_mut(&key(input, id)) {
            entry.left -= usize::from(entry.ended.insert(id.batch_index, part).is_none());
        }
        let mut whole = Vec::new();
        while let Some(first) = self.open.range((input, 0, i64::MIN)..).next().map(|(key, _)| *key)
            && first.0 == input
            && self.open[&first].left == 0
            && let Some(entry) = self.open.remove(&first)
        {
            whole.push(Whole { number: entry_number(first.1, first.2)?, parts: entry.ended.into_values().collect() });
        }
        Ok(whole)
    }

    /// Forgets what came through an input: it comes again. What had ended of it.
    pub(super) fn void(&mut self, input: InputId) -> Vec<T> {
        let mut void = self.open.split_off(&(input, 0, i64::MIN));
        self.open.append(&mut void.split_off(&(input + 1, 0, i64::MIN)));
        void.into_values().flat_map(|entry| entry.ended.into_values()).collect()
    }
}

/// Whether this function's effects can happen once where commits are not atomic.
///
/// # Errors
/// [`Error::Invalid`]: they cannot; why.
pub fn can_be_once(function: &FunctionSpec) -> Result<()> {
    let refused = match function {
        _ if function.guarantee != Guarantee::EffectivelyOnce => return Ok(()),
        FunctionSpec { kind: Kind::Source, .. } => "a source has no input whose messages could be told apart",
        FunctionSpec { window: Some(_), .. } => "a window has many messages, and they are acknowledged before it",
        _ if !function.subscription_type.is_single_active() => {
            "messages of an input must come in order: set no retainKeyOrdering"
        }
        // Pulsar gives all their messages the same position.
        _ if function.inputs.keys().any(|input| input.starts_with("non-persistent://")) => {
            "messages of a non-persistent input cannot be told apart"
        }
        FunctionSpec { output: OutputConfig { batch_by_key: true, .. }, .. } => {
            "what is made of one entry of the input is one entry of the output, which cannot be by key: set no KEY_BASED batchBuilder"
        }
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!(
        "EFFECTIVELY_ONCE is not possible through a connection, without a worker in the broker: {refused}"
    )))
}

fn key(input: InputId, id: MessageId) -> (InputId, u64, i64) {
    (input, id.ledger, id.entry)
}

/// The number of an entry, rising as entries do. Source: Pulsar's `FunctionCommon.getSequenceId`.
///
/// # Errors
/// [`Error::Invalid`]: there is none, since its ledger or its place there has a number far beyond all that brokers give.
pub fn entry_number(ledger: u64, entry: i64) -> Result<u64> {
    const ENTRY_BITS: u32 = 28;
    let fits = ledger < 1 << (63 - ENTRY_BITS) && (0..1 << ENTRY_BITS).contains(&entry);
    if !fits {
        return Err(Error::Invalid(format!("entry {ledger}:{entry} has no sequence id for EFFECTIVELY_ONCE")));
    }
    Ok(ledger << ENTRY_BITS | entry as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn message(input: InputId, entry: i64, batch_index: i32) -> Message {
        let message = testing::message(input, entry);
        Message { id: MessageId { batch_index, ..message.id }, ..message }
    }

    fn entries(arrived: &[Message]) -> Entries<char> {
        let mut entries = Entries::default();
        entries.arrived(arrived.iter());
        entries
    }

    fn whole(number: u64, parts: &str) -> Whole<char> {
        Whole { number: 1 << 28 | number, parts: parts.chars().collect() }
    }

    #[test]
    fn an_entry_is_whole_when_all_of_it_and_all_before_it_has_ended() {
        let all = [message(0, 5, 0), message(0, 5, 1), message(0, 6, -1), message(1, 1, -1)];
        let mut entries = entries(&all);
        let mut ended = |n: usize, part| entries.ended(all[n].input, all[n].id, part).unwrap();
        assert_eq!(ended(2, 'c'), []);
        assert_eq!(ended(1, 'b'), []);
        assert_eq!(ended(3, 'z'), [whole(1, "z")], "inputs do not wait for each other");
        assert_eq!(ended(0, 'a'), [whole(5, "ab"), whole(6, "c")]);
    }

    #[test]
    fn what_is_void_ends_nothing_and_comes_again() {
        let all = [message(0, 5, 0), message(0, 5, 1), message(1, 7, -1), message(2, 1, -1)];
        let mut entries = entries(&all);
        assert_eq!(entries.ended(0, all[0].id, 'a').unwrap(), []);
        assert_eq!(entries.void(0), ['a']);
        assert_eq!(entries.ended(0, all[1].id, 'b').unwrap(), [], "late, and counts no more");
        assert_eq!(entries.ended(1, all[2].id, 'c').unwrap(), [whole(7, "c")]);
        entries.arrived(all[..2].iter());
        assert_eq!(entries.ended(0, all[1].id, 'b').unwrap(), []);
        assert_eq!(entries.ended(0, all[0].id, 'a').unwrap(), [whole(5, "ab")]);
        assert_eq!(entries.ended(2, all[3].id, 'd').unwrap(), [whole(1, "d")]);
    }

    #[test]
    fn what_cannot_be_once_is_refused_with_a_reason() {
        let once = FunctionSpec {
            guarantee: Guarantee::EffectivelyOnce,
            subscription_type: model::SubscriptionType::Failover,
            ..crate::testing::spec("f")
        };
        assert!(can_be_once(&once).is_ok());
        let shared = FunctionSpec { subscription_type: model::SubscriptionType::Shared, ..once.clone() };
        let source = FunctionSpec { kind: Kind::Source, ..once };
        for refused in [&shared, &source] {
            assert!(matches!(can_be_once(refused), Err(Error::Invalid(_))));
        }
        assert!(can_be_once(&FunctionSpec { guarantee: Guarantee::AtleastOnce, ..shared }).is_ok());
    }

    #[test]
    fn numbers_rise_with_entries_or_there_is_none() {
        assert!(entry_number(1, 0).unwrap() > entry_number(0, (1 << 28) - 1).unwrap());
        assert!(entry_number((1 << 35) - 1, (1 << 28) - 1).unwrap() <= i64::MAX as u64);
        assert!(entry_number(1 << 35, 0).is_err() && entry_number(0, 1 << 28).is_err() && entry_number(0, -1).is_err());
    }
}
