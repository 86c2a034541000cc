//! Chance that does not depend on who asks first.
//!
//! A number is a function of the seed and of what it is for: the third message of a trace takes as long under one policy as under
//! another, however differently they order the work. It is the same number on every machine and in every version, so that published
//! tables can be made again. The mixing is SplitMix64's (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").

use std::f64::consts::TAU;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The chance of one thing among those that this one is about.
    pub(crate) fn of(self, what: u64) -> Self {
        Self(mix(self.0 ^ mix(what.wrapping_add(1))))
    }

    /// From 0 up to 1, 1 excluded.
    pub(crate) fn uniform(self) -> f64 {
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 1.
    pub(crate) fn exponential(self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    /// Mean 1, with this coefficient of variation.
    pub(crate) fn log_normal(self, variation: f64) -> f64 {
        let variance = (1.0 + variation * variation).ln();
        let radius = (2.0 * self.of(0).exponential()).sqrt();
        let normal = radius * (TAU * self.of(1).uniform()).cos();
        (normal * variance.sqrt() - variance / 2.0).exp()
    }

    /// How many whole things a share makes: 2.3 is 2, and 3 in three of ten cases.
    pub(crate) fn count(self, share: f64) -> u32 {
        share as u32 + u32::from(self.uniform() < share.fract())
    }
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_deviation(draw: impl Fn(Chance) -> f64) -> (f64, f64) {
        let draws: Vec<f64> = (0..100_000).map(|n| draw(Chance::new(7).of(n))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        (mean, variance.sqrt())
    }

    fn check(draw: impl Fn(Chance) -> f64, mean: f64, deviation: f64) {
        let (m, d) = mean_and_deviation(draw);
        assert!((m - mean).abs() < 0.02 && (d - deviation).abs() < 0.03, "mean {m}, deviation {d}");
    }

    #[test]
    fn distributions_have_their_mean_and_deviation() {
        check(Chance::uniform, 0.5, (1.0f64 / 12.0).sqrt());
        check(Chance::exponential, 1.0, 1.0);
        check(|chance| chance.log_normal(0.5), 1.0, 0.5);
        check(|chance| f64::from(chance.count(2.3)), 2.3, (0.3f64 * 0.7).sqrt());
    }

    #[test]
    fn a_number_is_the_same_in_every_version() {
        assert_eq!(Chance::new(1).of(2).0, Chance::new(1).of(2).0);
        assert_eq!(Chance::new(42).0, 0xbdd7_3226_2feb_6e95);
    }
}
