//! A distribution in buckets that grow exponentially, whose samples fade.
//!
//! Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/recommender/util/{histogram,histogram_options,decaying_histogram}.go`.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A bucket with less is empty: a thousandth of the least weight of a sample.
const EPSILON: f64 = 0.001 * super::CPU_WEIGHT;
/// Of the fullest bucket in a checkpoint.
const CHECKPOINT_WEIGHT_MAX: f64 = 10_000.0;
/// Weights double with each half-life; after so many they are all divided by what the newest one is.
const DOUBLINGS_MAX: u32 = 100;

/// How values fall into buckets: each is wider than the one before by `growth`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Buckets {
    first: f64,
    growth: f64,
    count: usize,
    epsilon: f64,
}

impl Buckets {
    /// Up to 1,000 cores, the first bucket 0.01 of one.
    pub(super) fn cpu() -> Self {
        Self::exponential(1000.0, 0.01, 1.05)
    }

    /// Up to 1 TB, the first bucket 10 MB.
    pub(super) fn memory() -> Self {
        Self::exponential(1e12, 1e7, 1.05)
    }

    fn exponential(max: f64, first: f64, growth: f64) -> Self {
        let count = ((max * (growth - 1.0) / first + 1.0).ln() / growth.ln()).ceil() as usize + 1;
        Self { first, growth, count, epsilon: EPSILON }
    }

    fn find(&self, value: f64) -> usize {
        if self.growth == 1.0 {
            return ((value / self.first).max(0.0) as usize).min(self.count - 1);
        }
        if value < self.first {
            return 0;
        }
        let bucket = (value * (self.growth - 1.0) / self.first + 1.0).ln() / self.growth.ln();
        (bucket as usize).min(self.count - 1)
    }

    fn start(&self, bucket: usize) -> f64 {
        match bucket {
            0 => 0.0,
            _ if self.growth == 1.0 => bucket as f64 * self.first,
            _ => self.first * (self.growth.powi(bucket as i32) - 1.0) / (self.growth - 1.0),
        }
    }
}

/// A distribution. Times are since an origin that is the same for all samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    buckets: Buckets,
    weights: Vec<f64>,
    total: f64,
    min: usize,
    max: usize,
    half_life: Duration,
    /// A sample of this time has its own weight; one of a half-life later twice as much.
    reference: Duration,
}

impl Histogram {
    pub(super) fn new(buckets: Buckets, half_life: Duration) -> Self {
        Self {
            buckets,
            weights: vec![0.0; buckets.count],
            total: 0.0,
            min: buckets.count - 1,
            max: 0,
            half_life,
            reference: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, value: f64, weight: f64, at: Duration) {
        let weight = weight * self.factor(at);
        let bucket = self.buckets.find(value);
        self.weights[bucket] += weight;
        self.total += weight;
        if self.weights[bucket] >= self.buckets.epsilon {
            self.min = self.min.min(bucket);
            self.max = self.max.max(bucket);
        }
    }

    /// Takes away what was added, as far as it is still there.
    pub(super) fn subtract(&mut self, value: f64, weight: f64, at: Duration) {
        let mut weight = weight * self.factor(at);
        let bucket = self.buckets.find(value);
        if weight > self.weights[bucket] - self.buckets.epsilon {
            weight = self.weights[bucket];
        }
        self.total -= weight;
        self.weights[bucket] -= weight;
        self.shrink();
    }

    /// The end of the bucket with this share of the weight at or below it; 0 when there is nothing. The last bucket has no end.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        let threshold = share * self.total;
        let mut sum = 0.0;
        let mut bucket = self.min;
        while bucket < self.max {
            sum += self.weights[bucket];
            if sum >= threshold {
                break;
            }
            bucket += 1;
        }
        self.buckets.start((bucket + 1).min(self.buckets.count - 1))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weights[self.min] < self.buckets.epsilon
    }

    fn factor(&mut self, at: Duration) -> f64 {
        if at > self.reference + self.half_life * DOUBLINGS_MAX {
            self.shift(at);
        }
        self.doublings(at).exp2()
    }

    fn doublings(&self, at: Duration) -> f64 {
        (at.as_secs_f64() - self.reference.as_secs_f64()) / self.half_life.as_secs_f64()
    }

    fn shift(&mut self, to: Duration) {
        let half_lives = (to.as_secs_f64() / self.half_life.as_secs_f64() + 0.5).floor();
        let to = self.half_life.mul_f64(half_lives);
        let scale = -(self.doublings(to) + 0.5).floor();
        for weight in &mut self.weights {
            *weight *= scale.exp2();
        }
        self.total *= scale.exp2();
        self.reference = to;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.weights[self.min] < self.buckets.epsilon && self.min < self.buckets.count - 1 {
            self.min += 1;
        }
        while self.weights[self.max] < self.buckets.epsilon && self.max > 0 {
            self.max -= 1;
        }
    }

    pub(super) fn save(&self) -> HistogramCheckpoint {
        let most = self.weights.iter().copied().fold(0.0, f64::max);
        let scaled =
            |weight: f64| if most > 0.0 { (weight * CHECKPOINT_WEIGHT_MAX / most + 0.5).floor() as u32 } else { 0 };
        let range = self.min..=self.max;
        let weights = range.map(|bucket| (bucket, scaled(self.weights[bucket]))).filter(|&(_, weight)| weight > 0);
        HistogramCheckpoint {
            reference_timestamp: Timestamp(self.reference),
            bucket_weights: weights.collect(),
            total_weight: self.total,
        }
    }

    /// Adds what was saved.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]: it is none of this kind.
    pub(super) fn load(&mut self, saved: &HistogramCheckpoint) -> Result<(), Error> {
        if !saved.total_weight.is_finite() || saved.total_weight < 0.0 {
            return Err(Error::Checkpoint(format!("a total weight of {}", saved.total_weight)));
        }
        if let Some(bucket) = saved.bucket_weights.keys().find(|&&bucket| bucket >= self.buckets.count) {
            return Err(Error::Checkpoint(format!("bucket {bucket} of {}", self.buckets.count)));
        }
        let sum: f64 = saved.bucket_weights.values().map(|&weight| f64::from(weight)).sum();
        if sum > 0.0 {
            for (&bucket, &weight) in &saved.bucket_weights {
                self.min = self.min.min(bucket);
                self.max = self.max.max(bucket);
                self.weights[bucket] += f64::from(weight) * saved.total_weight / sum;
            }
            self.total += saved.total_weight;
        }
        self.reference = saved.reference_timestamp.0;
        Ok(())
    }
}

/// A histogram as Kubernetes stores it: `HistogramCheckpoint` of `autoscaling.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HistogramCheckpoint {
    /// Of what time a sample has its own weight.
    pub reference_timestamp: Timestamp,
    /// Weights by bucket, the largest 10,000.
    pub bucket_weights: BTreeMap<usize, u32>,
    /// Of all buckets together, unscaled.
    pub total_weight: f64,
}

/// A time since 1970, written as RFC 3339 in seconds; `null`, as in Kubernetes: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub Duration);

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::time::UNIX_EPOCH.checked_add(self.0) {
            Some(time) if !self.0.is_zero() && self.0.as_secs() < YEAR_9999_S => {
                serializer.collect_str(&humantime::format_rfc3339_seconds(time))
            }
            _ => serializer.serialize_none(),
        }
    }
}

const YEAR_9999_S: u64 = 253_370_764_800;

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(Self::default()) };
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    //! From `histogram_test.go` and `decaying_histogram_test.go`.

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const START: Duration = Duration::from_secs(1_234_567_890);

    /// Ten buckets of the same size and an open one.
    fn linear() -> Histogram {
        Histogram::new(Buckets { first: 1.0, growth: 1.0, count: 11, epsilon: 1e-15 }, HOUR)
    }

    fn with(samples: impl IntoIterator<Item = (f64, f64, u32)>) -> Histogram {
        let mut histogram = linear();
        for (value, weight, hours) in samples {
            histogram.add(value, weight, START + HOUR * hours);
        }
        histogram
    }

    fn percentiles(histogram: &Histogram, expected: &[(f64, f64)]) {
        for &(share, value) in expected {
            let found = histogram.percentile(share);
            assert!((found - value).abs() < 1e-12, "{share}: {found}, not {value}");
        }
    }

    #[test]
    fn percentiles_are_ends_of_buckets() {
        percentiles(&linear(), &[(-0.5, 0.0), (0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.5, 0.0)]);
        let histogram = with((1..=4).map(|i| (f64::from(i), f64::from(i), 0)));
        percentiles(&histogram, &[(0.0, 2.0), (0.1, 2.0), (0.2, 3.0), (0.3, 3.0), (0.4, 4.0), (0.5, 4.0), (0.6, 4.0)]);
        percentiles(&histogram, &[(0.7, 5.0), (0.8, 5.0), (0.9, 5.0), (1.0, 5.0)]);
        percentiles(&with([(0.0, 1.0, 0), (10.0, 1.0, 0)]), &[(-0.1, 1.0), (1.1, 10.0)]);
    }

    #[test]
    fn samples_fade() {
        percentiles(&with([(2.0, 1000.0, 0), (1.0, 1.0, 20)]), &[(0.999, 2.0), (1.0, 3.0)]);
        // Longer than weights can double.
        percentiles(&with([(2.0, 1.0, 0), (1.0, 1.0, 101)]), &[(1.0, 2.0)]);
        let histogram = with((1..=4).map(|i| (f64::from(i), f64::from(i), i)));
        percentiles(
            &histogram,
            &[(0.0, 2.0), (0.02, 2.0), (0.03, 3.0), (0.1, 3.0), (0.11, 4.0), (0.34, 4.0), (0.35, 5.0), (1.0, 5.0)],
        );
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let mut histogram = linear();
        assert!(histogram.is_empty());
        histogram.add(1.0, 2.5e-15, Duration::ZERO);
        assert!(!histogram.is_empty());
        histogram.subtract(1.0, 1e-15, Duration::ZERO);
        assert!(!histogram.is_empty());
        histogram.subtract(1.0, 1e-15, Duration::ZERO);
        assert!(histogram.is_empty());
        // What is next to nothing does not hide the rest.
        histogram.add(9.9, 3e-15, Duration::ZERO);
        histogram.add(1.0, 0.3e-15, Duration::ZERO);
        histogram.add(999.9, 0.3e-15, Duration::ZERO);
        assert!(!histogram.is_empty());
    }

    #[test]
    fn a_checkpoint_keeps_what_matters() {
        assert_eq!(linear().save().bucket_weights.len(), 0);
        let saved = |samples: &[(f64, f64)]| {
            let mut histogram = linear();
            samples.iter().for_each(|&(value, weight)| histogram.add(value, weight, Duration::ZERO));
            let saved = histogram.save();
            (saved.bucket_weights.into_iter().collect::<Vec<_>>(), saved.total_weight)
        };
        assert_eq!(saved(&[(1.0, 1.0)]), (vec![(1, 10_000)], 1.0));
        assert_eq!(saved(&[(1.0, 1.0), (2.0, 100_000.0)]), (vec![(2, 10_000)], 100_001.0));
        assert_eq!(saved(&[(1.0, 1.0), (2.0, 10_000.0), (3.0, 50.0)]), (vec![(1, 1), (2, 10_000), (3, 50)], 10_051.0));

        let mut loaded = linear();
        let json =
            r#"{"bucketWeights": {"0": 1, "1": 2}, "totalWeight": 6, "referenceTimestamp": "2018-01-02T03:04:05Z"}"#;
        loaded.load(&serde_json::from_str(json).expect(json)).expect("a checkpoint");
        assert_eq!((loaded.weights[0], loaded.weights[1], loaded.total), (2.0, 4.0, 6.0));
        assert_eq!(serde_json::to_value(loaded.save()).expect("plain")["referenceTimestamp"], "2018-01-02T03:04:05Z");
    }

    #[test]
    fn a_checkpoint_of_something_else_is_an_error() {
        for json in [r#"{"bucketWeights": {"99": 1}, "totalWeight": 1}"#, r#"{"bucketWeights": {}, "totalWeight": -1}"#]
        {
            assert!(linear().load(&serde_json::from_str(json).expect(json)).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<HistogramCheckpoint>(r#"{"bucketWeights": {"-1": 1}}"#).is_err());
    }

    #[test]
    fn buckets_grow_by_a_twentieth() {
        let buckets = Buckets::cpu();
        assert_eq!((buckets.find(0.0), buckets.find(0.0099), buckets.find(0.011)), (0, 0, 1));
        assert!((buckets.start(2) - 0.0205).abs() < 1e-12);
        assert_eq!(buckets.find(1e9), buckets.count - 1);
        assert!(buckets.start(buckets.count - 1) >= 1000.0 && buckets.start(buckets.count - 2) < 1000.0);
        let memory = Buckets::memory();
        assert!((1..memory.count - 1).all(|n| memory.find(memory.start(n) * 1.001) == n));
    }
}
