//! How many messages a consumer lets the broker send ahead.
//!
//! The queue's capacity is granted once; later grants are saved up until they amount to half of it, so that a FLOW goes
//! out once per half queue and not once per message. Source: Pulsar's `ConsumerImpl.increaseAvailablePermits`.

/// The permits of one subscription of one consumer. Pure: it says what to grant, the caller sends it.
#[derive(Debug)]
pub struct Permits {
    capacity: u32,
    /// Bytes the queue may hold, and those of the largest message of late.
    bytes: Option<(usize, usize)>,
    /// Granted, for messages that have not left the queue; below 0 when a batch was larger than it.
    granted: i64,
}

impl Permits {
    /// For a queue of `capacity` messages (at least 1).
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let capacity = capacity.max(1);
        Self { capacity, bytes: None, granted: i64::from(capacity) }
    }

    /// For fewer as long as so many might be more than `bytes`. What comes is thought to be as large as the largest message of late, and
    /// at first as `largest`.
    #[must_use]
    pub fn within(self, bytes: usize, largest: usize) -> Self {
        Self { bytes: Some((bytes, largest)), ..self }
    }

    fn size(&self) -> u32 {
        let Some((bytes, largest)) = self.bytes else { return self.capacity };
        u32::try_from(bytes / largest.max(1)).unwrap_or(u32::MAX).clamp(1, self.capacity)
    }

    /// What to grant after (re)subscribing: the queue is empty.
    pub fn restart(&mut self) -> u32 {
        let size = self.size();
        self.granted = i64::from(size);
        size
    }

    /// `messages` have come that take `bytes`.
    pub fn saw(&mut self, messages: u32, bytes: usize) {
        if let Some((_, largest)) = &mut self.bytes {
            *largest = (bytes / messages.max(1) as usize).max(*largest - *largest / 16);
        }
    }

    /// `messages` left the queue; says what to grant now, if anything.
    pub fn consumed(&mut self, messages: u32) -> Option<u32> {
        self.granted = self.granted.saturating_sub(i64::from(messages));
        let size = self.size();
        let grant = u32::try_from(i64::from(size) - self.granted).ok().filter(|grant| *grant >= size.div_ceil(2))?;
        self.granted = i64::from(size);
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_saved_up_to_half_the_queue() {
        let mut permits = Permits::new(10);
        assert_eq!(permits.restart(), 10);
        assert_eq!(permits.consumed(4), None);
        assert_eq!(permits.consumed(1), Some(5));
        assert_eq!(permits.consumed(4), None);
        assert_eq!(permits.consumed(40), Some(44), "a batch may be larger than the queue");
    }

    #[test]
    fn a_new_subscription_starts_from_an_empty_queue() {
        let mut permits = Permits::new(10);
        permits.consumed(4);
        assert_eq!(permits.restart(), 10);
        assert_eq!(permits.consumed(4), None);
    }

    #[test]
    fn a_queue_of_one_grants_each_message() {
        let mut permits = Permits::new(0);
        assert_eq!(permits.restart(), 1);
        assert_eq!(permits.consumed(1), Some(1));
    }

    #[test]
    fn as_many_are_granted_as_fit_when_they_are_as_large_as_the_largest_of_late() {
        let mut permits = Permits::new(500).within(64 << 20, 5 << 20);
        assert_eq!(permits.restart(), 12);
        let mut granted = 12;
        for left in 1..=1000 {
            permits.saw(1, 100);
            granted += permits.consumed(1).unwrap_or_default();
            assert!((1..=500).contains(&(granted - left)), "{granted} of which {left} are gone");
        }
        assert!(granted - 1000 >= 250, "small ones fill the queue: {granted}");
        assert_eq!(permits.restart(), 500);
        // A batch is as large as its messages are on average; and what is granted cannot be taken back, but is not given again.
        permits.saw(2, 16 << 20);
        assert_eq!(permits.consumed(2), None);
        assert_eq!(permits.consumed(490), None);
        assert_eq!(permits.consumed(5), Some(5));
        assert_eq!(permits.restart(), 8);
        permits.saw(1, 1 << 30);
        assert_eq!(permits.restart(), 1, "one may always come");
    }
}
