//! Which key is the most frequent, as far as that can be known from a few counters: the space-saving algorithm.
//!
//! A key without a counter takes over the smallest one, and its count as a possible error; what is reported is count less error, which is
//! never too much. All counts are halved from time to time, so that what was long ago does not matter.
//! Source: Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data streams" (2005).

const COUNTERS: usize = 32;
/// Messages after which all counts are halved.
const HALVED_AFTER: u32 = 8192;

/// See the module.
#[derive(Default)]
pub(crate) struct Keys {
    hashes: [u32; COUNTERS],
    counts: [u32; COUNTERS],
    errors: [u32; COUNTERS],
    total: u32,
}

impl Keys {
    /// An entry of so many messages with a key of this hash.
    pub(super) fn add(&mut self, hash: u32, messages: u32) {
        let messages = messages.min(HALVED_AFTER);
        let at = self.hashes.iter().position(|known| *known == hash).unwrap_or_else(|| self.replace(hash));
        self.counts[at] += messages;
        self.total += messages;
        if self.total >= HALVED_AFTER {
            self.total /= 2;
            self.counts.iter_mut().chain(&mut self.errors).for_each(|n| *n /= 2);
        }
    }

    fn replace(&mut self, hash: u32) -> usize {
        let at = (0..COUNTERS).min_by_key(|at| self.counts[*at]).unwrap_or(0);
        self.hashes[at] = hash;
        self.errors[at] = self.counts[at];
        at
    }

    /// Messages of late, and how many of them surely had the most frequent key.
    pub(super) fn hottest(&self) -> (u64, u64) {
        let sure = self.counts.iter().zip(&self.errors).map(|(count, error)| count - error).max().unwrap_or(0);
        (u64::from(self.total), u64::from(sure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(hashes: impl Iterator<Item = u32>) -> f64 {
        let mut keys = Keys::default();
        hashes.for_each(|hash| keys.add(hash, 1));
        let (total, hottest) = keys.hottest();
        hottest as f64 / total as f64
    }

    #[test]
    fn a_key_that_has_a_third_of_the_messages_is_found_among_a_thousand() {
        let found = share((0..100_000u32).map(|n| if n % 3 == 0 { 7 } else { 1000 + n * 7919 % 1000 }));
        assert!((0.30..0.35).contains(&found), "{found}");
    }

    #[test]
    fn of_keys_that_are_alike_none_is_hot() {
        let found = share((0..100_000u32).map(|n| 1 + n * 7919 % 1000));
        assert!(found < 0.05, "{found}");
        assert_eq!(share((0..100_000).map(|_| 3)), 1.0);
    }

    #[test]
    fn what_was_long_ago_does_not_matter() {
        let found = share((0..100_000u32).map(|n| if n < 50_000 { 7 } else { 1000 + n * 7919 % 1000 }));
        assert!(found < 0.05, "{found}");
    }
}
