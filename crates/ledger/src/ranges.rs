//! A set of numbers kept as ranges: what a cursor has acknowledged out of order.
//!
//! Ranges are half open, do not touch each other, and are never empty.

use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    by_start: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    /// How many numbers are in the set.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// In how many ranges they are.
    pub(crate) fn len(&self) -> usize {
        self.by_start.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_start.iter().map(|(&start, &end)| (start, end))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn contains(&self, value: u64) -> bool {
        self.covering(value).is_some()
    }

    fn covering(&self, value: u64) -> Option<(u64, u64)> {
        let (&start, &end) = self.by_start.range(..=value).next_back()?;
        (value < end).then_some((start, end))
    }

    /// The smallest number at or after `from` that is not in the set.
    pub(crate) fn next_gap(&self, from: u64) -> u64 {
        self.covering(from).map_or(from, |(_, end)| end)
    }

    /// The largest number at or before `to` that is not in the set.
    pub(crate) fn previous_gap(&self, to: u64) -> Option<u64> {
        self.covering(to).map_or(Some(to), |(start, _)| start.checked_sub(1))
    }

    /// The smallest number at or after `from` that is in the set, or the largest there is.
    pub(crate) fn next_island(&self, from: u64) -> u64 {
        if self.contains(from) {
            return from;
        }
        self.by_start.range(from..).next().map_or(u64::MAX, |(&start, _)| start)
    }

    /// Adds `start..end`; says how many of them are new.
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64) -> u64 {
        if start >= end {
            return 0;
        }
        let mut absorbed = 0;
        if let Some((&before, &before_end)) = self.by_start.range(..=start).next_back()
            && before_end >= start
        {
            if before_end >= end {
                return 0;
            }
            absorbed += before_end - before;
            start = before;
            // Its entry is overwritten below.
        }
        while let Some((&after, &after_end)) = self.by_start.range(start + 1..).next()
            && after <= end
        {
            self.by_start.remove(&after);
            absorbed += after_end - after;
            end = end.max(after_end);
        }
        self.by_start.insert(start, end);
        let new = end - start - absorbed;
        self.count += new;
        new
    }

    /// Takes `start..end` out.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.covering(start).map_or(start, |(first, _)| first);
        let hit: Vec<(u64, u64)> = self.by_start.range(first..end.max(first)).map(|(&s, &e)| (s, e)).collect();
        for (s, e) in hit {
            self.by_start.remove(&s);
            self.count -= e - s;
            for (s, e) in [(s, start), (end, e)] {
                if s < e {
                    self.by_start.insert(s, e);
                    self.count += e - s;
                }
            }
        }
    }

    /// Forgets everything below `limit`; when a range reaches over it or starts there, forgets that too and returns its end,
    /// else returns `limit`.
    pub(crate) fn advance(&mut self, limit: u64) -> u64 {
        let mut next = limit;
        while let Some(first) = self.by_start.first_entry()
            && *first.key() <= next
        {
            let (start, end) = first.remove_entry();
            self.count -= end - start;
            next = next.max(end);
        }
        next
    }

    /// How many numbers of the set are in `start..end`.
    pub(crate) fn count_within(&self, start: u64, end: u64) -> u64 {
        let first = self.covering(start).map_or(start, |(first, _)| first);
        self.by_start.range(first..end.max(first)).map(|(&s, &e)| e.min(end).saturating_sub(s.max(start))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_range_set_is_a_set(steps in prop::collection::vec((0u64..60, 0u64..8, 0..3u8), 1..40)) {
            let mut model = BTreeSet::new();
            let mut ranges = Ranges::default();
            for (start, length, kind) in steps {
                if kind == 1 {
                    model.retain(|v| !(start..start + length).contains(v));
                    ranges.remove(start, start + length);
                } else if kind == 2 && length == 0 {
                    let mut next = start;
                    while model.contains(&next) {
                        next += 1;
                    }
                    model.retain(|&v| v >= next);
                    prop_assert_eq!(ranges.advance(start), next);
                } else {
                    let new = (start..start + length).filter(|&v| model.insert(v)).count() as u64;
                    prop_assert_eq!(ranges.insert(start, start + length), new);
                }
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert_eq!(ranges.previous_gap(start), (0..=start).rev().find(|v| !model.contains(v)));
                let flat: BTreeSet<u64> = ranges.iter().flat_map(|(s, e)| s..e).collect();
                prop_assert_eq!(&flat, &model);
                let mut last = None;
                for (s, e) in ranges.iter() {
                    prop_assert!(s < e && last.is_none_or(|l| l < s));
                    last = Some(e);
                }
                prop_assert_eq!(ranges.contains(start), model.contains(&start));
                prop_assert_eq!(ranges.count_within(start, start + 7), model.range(start..start + 7).count() as u64);
            }
        }
    }
}
