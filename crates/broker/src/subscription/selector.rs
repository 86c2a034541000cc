//! Which consumer of a Key_Shared subscription a hash belongs to.
//!
//! Auto-split uses consistent hashing with 100 points a consumer, so that one that joins or leaves moves few keys.
//! Consumers of one name are numbered, or all points of one would be those of the other.
//! Source: Pulsar's `ConsistentHashingStickyKeyConsumerSelector`, `ConsumerNameIndexTracker` and
//! `HashRangeExclusiveStickyKeyConsumerSelector`.

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::error::{Error, Result};

const POINTS: u32 = 100;
/// Hashes are 0..65536; 0 stands for "no hash" and is never one.
const HASH_MAX: u32 = 65_535;

/// See the module.
pub(crate) enum Selector {
    AutoSplit {
        /// Point on the ring -> consumers with that point, the first wins.
        ring: BTreeMap<u32, Vec<(String, u64)>>,
        /// Name and number among those of that name -> consumer.
        numbers: BTreeMap<(String, u32), u64>,
    },
    /// Start of a range -> its end and consumer.
    Sticky(BTreeMap<u32, (u32, u64)>),
}

impl Selector {
    pub(crate) fn auto_split() -> Self {
        Self::AutoSplit { ring: BTreeMap::new(), numbers: BTreeMap::new() }
    }

    pub(crate) fn sticky() -> Self {
        Self::Sticky(BTreeMap::new())
    }

    /// Adds a consumer.
    ///
    /// # Errors
    /// [`Error::ConsumerAssign`]: sticky ranges are missing, malformed, or taken by another consumer.
    pub(crate) fn add(&mut self, key: u64, name: &str, ranges: &[RangeInclusive<u32>]) -> Result<()> {
        match self {
            Self::AutoSplit { ring, numbers } => {
                // The smallest number that is free.
                let same = numbers.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX));
                let number = same.zip(0..).take_while(|(((_, taken), _), n)| taken == n).count() as u32;
                numbers.insert((name.to_owned(), number), key);
                for point in points(name, number) {
                    let at = ring.entry(point).or_default();
                    at.push((name.to_owned(), key));
                    at.sort();
                }
            }
            Self::Sticky(taken) => {
                if ranges.is_empty() {
                    return Err(Error::ConsumerAssign("Ranges for KeyShared policy must not be empty.".into()));
                }
                for (n, range) in ranges.iter().enumerate() {
                    let (start, end) = (*range.start(), *range.end());
                    if start > end || end > HASH_MAX {
                        return Err(Error::ConsumerAssign(format!("Invalid hash range [{start}, {end}]")));
                    }
                    let overlaps_own = ranges[..n].iter().any(|o| *o.start() <= end && start <= *o.end());
                    let before = taken.range(..=end).next_back();
                    if overlaps_own || before.is_some_and(|(_, &(other_end, _))| other_end >= start) {
                        return Err(Error::ConsumerAssign(format!(
                            "Range conflict with consumer: [{start}, {end}] is taken"
                        )));
                    }
                }
                for range in ranges {
                    taken.insert(*range.start(), (*range.end(), key));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: u64) {
        match self {
            Self::AutoSplit { ring, numbers } => {
                numbers.retain(|_, k| *k != key);
                ring.retain(|_, at| {
                    at.retain(|(_, k)| *k != key);
                    !at.is_empty()
                });
            }
            Self::Sticky(taken) => taken.retain(|_, (_, k)| *k != key),
        }
    }

    /// The consumer of `hash`, if any has it.
    pub(crate) fn select(&self, hash: u32) -> Option<u64> {
        match self {
            Self::AutoSplit { ring, .. } => {
                ring.range(hash..).next().or_else(|| ring.iter().next()).and_then(|(_, at)| at.first()).map(|(_, k)| *k)
            }
            Self::Sticky(taken) => {
                let (_, &(end, key)) = taken.range(..=hash).next_back()?;
                (hash <= end).then_some(key)
            }
        }
    }

    /// Which ranges each consumer has, for stats.
    pub(crate) fn ranges(&self, key: u64) -> Vec<RangeInclusive<u32>> {
        match self {
            Self::Sticky(taken) => {
                taken.iter().filter(|(_, (_, k))| *k == key).map(|(&start, &(end, _))| start..=end).collect()
            }
            Self::AutoSplit { ring, .. } => {
                let mut ranges = Vec::new();
                let mut from = 0;
                for (&point, at) in ring {
                    if at.first().is_some_and(|(_, k)| *k == key) {
                        ranges.push(from..=point);
                    }
                    from = point + 1;
                }
                // What follows the last point belongs to the first.
                if from <= HASH_MAX && self.select(HASH_MAX) == Some(key) {
                    ranges.push(from..=HASH_MAX);
                }
                ranges
            }
        }
    }
}

fn points(name: &str, number: u32) -> impl Iterator<Item = u32> + '_ {
    (0..POINTS).map(move |n| wire::entry::sticky_hash(format!("{name}\0{number}\0{n}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_joins_takes_keys_from_all_and_gives_them_back() {
        let mut selector = Selector::auto_split();
        for (key, name) in [(1, "a"), (2, "b"), (3, "c")] {
            selector.add(key, name, &[]).unwrap();
        }
        let before: Vec<_> = (1..=HASH_MAX).map(|h| selector.select(h).unwrap()).collect();
        for key in 1..=3 {
            let share = before.iter().filter(|&&k| k == key).count();
            assert!(share > 10_000, "consumer {key} has only {share} hashes");
        }
        selector.add(4, "d", &[]).unwrap();
        let moved = (1..=HASH_MAX).filter(|&h| selector.select(h) != Some(before[h as usize - 1])).count();
        assert!((8_000..30_000).contains(&moved), "{moved}");
        assert!((1..=HASH_MAX).all(|h| matches!(selector.select(h), Some(k) if k == 4 || k == before[h as usize - 1])));
        selector.remove(4);
        assert!((1..=HASH_MAX).all(|h| selector.select(h) == Some(before[h as usize - 1])));
    }

    #[test]
    fn consumers_of_one_name_share_the_keys() {
        let mut selector = Selector::auto_split();
        for key in 1..=3 {
            selector.add(key, "worker", &[]).unwrap();
        }
        let share = |s: &Selector, key| (1..=HASH_MAX).filter(|&h| s.select(h) == Some(key)).count();
        assert!((1..=3).all(|key| share(&selector, key) > 10_000));
        // Its number goes to the next that comes, and with it the keys.
        let before = share(&selector, 2);
        selector.remove(2);
        selector.add(4, "worker", &[]).unwrap();
        assert_eq!(share(&selector, 4), before);
    }

    #[test]
    fn ranges_and_selection_agree() {
        let mut selector = Selector::auto_split();
        selector.add(1, "a", &[]).unwrap();
        selector.add(2, "b", &[]).unwrap();
        for key in [1, 2] {
            for range in selector.ranges(key) {
                assert_eq!(selector.select(*range.start()), Some(key));
                assert_eq!(selector.select(*range.end()), Some(key));
            }
        }
    }

    #[test]
    fn sticky_ranges_may_not_overlap() {
        let mut selector = Selector::sticky();
        selector.add(1, "a", &[0..=100, 200..=300]).unwrap();
        for conflict in [
            vec![50..=60],
            vec![100..=150],
            vec![0..=65_535],
            vec![150..=200],
            vec![],
            vec![5..=65_536],
            vec![400..=500, 450..=460],
        ] {
            assert!(matches!(selector.add(2, "b", &conflict), Err(Error::ConsumerAssign(_))), "{conflict:?}");
        }
        selector.add(2, "b", &[101..=199]).unwrap();
        assert_eq!([selector.select(100), selector.select(150), selector.select(301)], [Some(1), Some(2), None]);
    }
}
