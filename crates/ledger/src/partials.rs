//! What is left of batches of which some messages are acknowledged, by ordinal, and how much memory that takes.

use std::collections::BTreeMap;

use crate::Words;

/// Words that one entry costs beside its own: its place.
const PLACE: usize = 4;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partials {
    left: BTreeMap<u64, Words>,
    words: usize,
}

fn cost(words: &Words) -> usize {
    PLACE + words.len()
}

impl Partials {
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// About how many words of memory it takes.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    pub(crate) fn get(&self, ordinal: u64) -> Option<&Words> {
        self.left.get(&ordinal)
    }

    pub(crate) fn insert(&mut self, ordinal: u64, words: Words) -> Option<Words> {
        self.words += cost(&words);
        let before = self.left.insert(ordinal, words);
        self.words -= before.as_ref().map_or(0, cost);
        before
    }

    pub(crate) fn remove(&mut self, ordinal: u64) -> Option<Words> {
        let removed = self.left.remove(&ordinal);
        self.words -= removed.as_ref().map_or(0, cost);
        removed
    }

    /// Takes out what is below `limit`.
    pub(crate) fn take_below(&mut self, limit: u64) -> BTreeMap<u64, Words> {
        let kept = self.left.split_off(&limit);
        let taken = std::mem::replace(&mut self.left, kept);
        self.words -= taken.values().map(cost).sum::<usize>();
        taken
    }

    /// Forgets `start..end`.
    pub(crate) fn remove_within(&mut self, start: u64, end: u64) {
        let within: Vec<u64> = self.left.range(start..end.max(start)).map(|(&ordinal, _)| ordinal).collect();
        for ordinal in within {
            self.remove(ordinal);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Words)> {
        self.left.iter().map(|(&ordinal, words)| (ordinal, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_it_takes_is_what_is_in_it(steps in prop::collection::vec((0u64..20, 0usize..5, 0..4u8), 0..60)) {
            let mut partials = Partials::default();
            for (at, length, kind) in steps {
                match kind {
                    0 => drop(partials.remove(at)),
                    1 if length == 0 => drop(partials.take_below(at)),
                    2 => partials.remove_within(at, at + length as u64),
                    _ => drop(partials.insert(at, std::iter::repeat_n(7, length).collect())),
                }
                prop_assert_eq!(partials.words(), partials.iter().map(|(_, words)| PLACE + words.len()).sum::<usize>());
            }
        }
    }
}
