//! How many messages a consumer lets the broker send ahead.
//!
//! The queue's capacity is granted once; later grants are saved up until they amount to half of it, so that a FLOW goes
//! out once per half queue and not once per message. Source: Pulsar's `ConsumerImpl.increaseAvailablePermits`.

/// The permits of one subscription of one consumer. Pure: it says what to grant, the caller sends it.
#[derive(Debug)]
pub struct Permits {
    capacity: u32,
    saved: u32,
}

impl Permits {
    /// For a queue of `capacity` messages (at least 1).
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { capacity: capacity.max(1), saved: 0 }
    }

    /// What to grant after (re)subscribing: the queue is empty.
    pub fn restart(&mut self) -> u32 {
        self.saved = 0;
        self.capacity
    }

    /// `messages` left the queue; says what to grant now, if anything.
    pub fn consumed(&mut self, messages: u32) -> Option<u32> {
        self.saved = self.saved.saturating_add(messages);
        if self.saved < self.capacity.div_ceil(2) {
            return None;
        }
        Some(std::mem::take(&mut self.saved))
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
}
