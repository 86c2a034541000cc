//! How many messages the entries of a topic hold, without a number for each entry.
//!
//! A milestone says how many messages come before an entry; between two of them entries are taken to hold equally many. One is set where
//! that changes, so entries that all hold one message need none. When they become many, every other one is forgotten: what is then said
//! of a few entries is about right, and of many it is exact. Not part of a topic's row: what was appended before the topic was loaded
//! counts as alike.

/// Milestones kept at most.
const MOST: usize = 512;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Milestones {
    /// Ordinal of an entry, and messages in all entries before it. Both rise.
    marks: Vec<(u64, u64)>,
    /// Messages in each entry from the last milestone on.
    each: u64,
}

impl Milestones {
    /// Of a topic with `entries` entries, `messages` messages in all.
    pub(crate) fn of(entries: u64, messages: u64) -> Self {
        Self { marks: vec![(entries, messages)], each: 0 }
    }

    /// Entry `ordinal` holds `messages`, all those before it `before`.
    pub(crate) fn append(&mut self, ordinal: u64, before: u64, messages: u32) {
        let messages = u64::from(messages);
        if messages == self.each && !self.marks.is_empty() && self.before(ordinal) == before {
            return;
        }
        if self.marks.len() >= MOST {
            let mut n = 0;
            self.marks.retain(|_| {
                n += 1;
                n % 2 == 0
            });
        }
        self.marks.push((ordinal, before));
        self.each = messages;
    }

    /// Messages in all entries before `ordinal`.
    pub(crate) fn before(&self, ordinal: u64) -> u64 {
        let next = self.marks.partition_point(|mark| mark.0 <= ordinal);
        let (from, before) = next.checked_sub(1).map_or((0, 0), |at| self.marks[at]);
        let into = ordinal - from;
        match self.marks.get(next) {
            None => before + into * self.each,
            Some((to, then)) => {
                let share = u128::from(then - before) * u128::from(into) / u128::from(to - from);
                before + share as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: impl IntoIterator<Item = u32>) -> (Milestones, Vec<u64>) {
        let mut milestones = Milestones::default();
        let mut before = vec![0];
        for (ordinal, messages) in (0..).zip(entries) {
            milestones.append(ordinal, before[ordinal as usize], messages);
            before.push(before[ordinal as usize] + u64::from(messages));
        }
        (milestones, before)
    }

    #[test]
    fn entries_that_are_alike_need_no_milestones() {
        let (milestones, before) = of((0..10_000).map(|n| if n < 5000 { 1 } else { 100 }));
        assert_eq!(milestones.marks.len(), 2);
        (0..=10_000).for_each(|n| assert_eq!(milestones.before(n), before[n as usize]));
    }

    #[test]
    fn of_many_that_differ_the_sum_is_about_right_and_the_end_exact() {
        let (milestones, before) = of((0..100_000).map(|n| n * 7919 % 101));
        assert!(milestones.marks.len() <= MOST);
        assert_eq!(milestones.before(100_000), before[100_000]);
        for n in (0..100_000).step_by(777) {
            let (said, is) = (milestones.before(n), before[n as usize]);
            assert!(said.abs_diff(is) < 101 * 512, "{n}: {said} for {is}");
        }
    }

    #[test]
    fn what_was_there_before_counts_as_alike() {
        let mut milestones = Milestones::of(10, 1000);
        assert_eq!((milestones.before(0), milestones.before(4), milestones.before(10)), (0, 400, 1000));
        // A damaged file took two entries with it.
        milestones.append(12, 1000, 5);
        assert_eq!((milestones.before(12), milestones.before(14)), (1000, 1010));
    }
}
