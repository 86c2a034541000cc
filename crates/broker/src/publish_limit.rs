//! How fast the producers of a topic may publish together. Who is faster is not read from for a while.
//!
//! What was sent is taken in any case and may leave a debt, which time pays: over more than a second the rate holds
//! exactly. Source: Pulsar's `PublishRateLimiterImpl`, which counts in the same way.

use model::PublishRate;
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// Somebody who rests looks after this time whether the limit is still the same.
const REST_MAX: Duration = Duration::from_secs(1);

/// Shared by a topic and all who publish to it.
#[derive(Debug)]
pub(crate) struct PublishLimit {
    /// Most topics have none, and should not pay for those that have.
    is_set: AtomicBool,
    buckets: Mutex<[Option<Bucket>; 2]>,
    /// How often somebody was too fast.
    times: AtomicU64,
}

/// What may be published now, in messages or bytes; below zero somebody published ahead.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl PublishLimit {
    pub(crate) fn new(rate: Option<PublishRate>) -> Self {
        let limit = Self { is_set: AtomicBool::new(false), buckets: Mutex::default(), times: AtomicU64::new(0) };
        limit.set(rate);
        limit
    }

    pub(crate) fn set(&self, rate: Option<PublishRate>) {
        let bounds = rate.map_or([0, 0], |rate| {
            [i64::from(rate.publish_throttling_rate_in_msg), rate.publish_throttling_rate_in_byte]
        });
        let mut buckets = self.buckets.lock();
        for (bucket, bound) in buckets.iter_mut().zip(bounds) {
            let per_second = (bound > 0).then_some(bound as f64);
            // One that stays as it is keeps its debt.
            if bucket.as_ref().map(|bucket| bucket.per_second) != per_second {
                *bucket = per_second.map(Bucket::new);
            }
        }
        self.is_set.store(buckets.iter().any(Option::is_some), Relaxed);
    }

    /// Counts what was published, and says how long its connection should rest.
    pub(crate) fn publish(&self, messages: u32, bytes: usize) -> Option<Duration> {
        if !self.is_set.load(Relaxed) {
            return None;
        }
        let now = Instant::now();
        let amounts = [f64::from(messages), bytes as f64];
        let mut buckets = self.buckets.lock();
        let rests = buckets.iter_mut().zip(amounts).filter_map(|(bucket, amount)| bucket.as_mut()?.take(amount, now));
        let rest = rests.max()?.min(REST_MAX);
        if messages > 0 {
            self.times.fetch_add(1, Relaxed);
        }
        Some(rest)
    }

    /// How often somebody was too fast.
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Relaxed)
    }
}

impl Bucket {
    fn new(per_second: f64) -> Self {
        Self { per_second, left: per_second, at: Instant::now() }
    }

    /// Takes an amount; says how long it takes until the debt is paid, if there is one.
    fn take(&mut self, amount: f64, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second) - amount;
        self.at = now;
        (self.left < 0.0).then(|| Duration::try_from_secs_f64(-self.left / self.per_second).unwrap_or(REST_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages: i32, bytes: i64) -> Option<PublishRate> {
        Some(PublishRate { publish_throttling_rate_in_msg: messages, publish_throttling_rate_in_byte: bytes })
    }

    #[tokio::test(start_paused = true)]
    async fn who_publishes_as_fast_as_it_may_has_the_rate() {
        for limit in [PublishLimit::new(rate(100, 0)), PublishLimit::new(rate(-1, 5000))] {
            let (began, mut published) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(60) {
                published += 10;
                if let Some(rest) = limit.publish(10, 500) {
                    tokio::time::sleep(rest).await;
                }
            }
            // A second's worth was there to begin with.
            assert!((6090..=6130).contains(&published), "{published}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_changed_holds_at_once_and_nobody_rests_long_for_what_was() {
        let limit = PublishLimit::new(rate(1, 0));
        assert_eq!(limit.publish(1000, 0), Some(REST_MAX));
        limit.set(rate(1, 0));
        assert_eq!(limit.publish(0, 0), Some(REST_MAX), "the debt stays with the limit");
        assert_eq!(limit.times(), 1);
        limit.set(rate(0, 0));
        assert_eq!(limit.publish(0, 0), None);
        limit.set(None);
        assert_eq!(limit.publish(1000, 1 << 20), None);
    }
}
