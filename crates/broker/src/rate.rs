//! Counters with a rate that is computed when it is read: an idle topic costs no timer.

const WINDOW_MS: u64 = 10_000;

/// A total, and how fast it grew over about the last ten seconds (a sliding window of two buckets).
#[derive(Debug, Default, Clone)]
pub(crate) struct Rate {
    total: u64,
    bucket_start_ms: u64,
    bucket: u64,
    previous: u64,
}

impl Rate {
    pub(crate) fn add(&mut self, n: u64, now_ms: u64) {
        self.roll(now_ms);
        self.total += n;
        self.bucket += n;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Per second.
    pub(crate) fn per_s(&self, now_ms: u64) -> f64 {
        let mut rate = self.clone();
        rate.roll(now_ms);
        let into = now_ms.saturating_sub(rate.bucket_start_ms).min(WINDOW_MS);
        let kept = (WINDOW_MS - into) as f64 / WINDOW_MS as f64;
        (rate.previous as f64 * kept + rate.bucket as f64) * 1000.0 / WINDOW_MS as f64
    }

    fn roll(&mut self, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.bucket_start_ms);
        if elapsed >= 2 * WINDOW_MS {
            self.previous = 0;
        } else if elapsed >= WINDOW_MS {
            self.previous = self.bucket;
        } else {
            return;
        }
        self.bucket = 0;
        self.bucket_start_ms = now_ms - now_ms % WINDOW_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_read_as_it_is_and_fades_when_it_stops() {
        let mut rate = Rate::default();
        for ms in (100_000..130_000).step_by(10) {
            rate.add(1, ms);
        }
        assert!((rate.per_s(130_000) - 100.0).abs() < 2.0, "{}", rate.per_s(130_000));
        assert_eq!(rate.per_s(200_000), 0.0);
        assert_eq!(rate.total(), 3000);
    }
}
