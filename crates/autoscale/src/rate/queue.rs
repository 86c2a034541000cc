//! How much spare capacity messages need that arrive at random, so that they do not wait too long.
//!
//! Source: Erlang's delay formula for M/M/k, A. K. Erlang 1917, with waits that are shorter by what Allen and Cunneen's approximation has
//! for work that varies less (A. O. Allen, Probability, Statistics, and Queueing Theory, 1990).

/// More servers than this behave like a fluid, and their number is not looped over.
const SERVERS_MAX: u32 = 4_096;
/// Standard deviation of the time for one message, over its mean, that is planned with. It is not measured: within a look an instance
/// does too few messages for that. Exponential work would have 1; most functions do much the same for each message.
pub(super) const VARIATION: f64 = 0.75;

/// Share of the messages that wait longer than `wait_s` when `arrival_per_s` come to `servers`, each of which does `rate_per_s`.
pub(super) fn late(servers: u32, arrival_per_s: f64, rate_per_s: f64, wait_s: f64) -> f64 {
    let spare_per_s = f64::from(servers) * rate_per_s - arrival_per_s;
    if arrival_per_s <= 0.0 || (servers > SERVERS_MAX && spare_per_s > 0.0) {
        0.0
    } else if spare_per_s <= 0.0 {
        1.0
    } else {
        waits(servers, arrival_per_s / rate_per_s) * (-spare_per_s * wait_s * 2.0 / (1.0 + VARIATION * VARIATION)).exp()
    }
}

/// Probability that a message finds all servers at work, by the stable recursion over the number of servers.
fn waits(servers: u32, load: f64) -> f64 {
    let mut blocked = 1.0;
    for k in 1..=servers {
        blocked = load * blocked / (f64::from(k) + load * blocked);
    }
    let utilization = load / f64::from(servers);
    blocked / (1.0 - utilization * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erlangs_table() {
        // From any table of Erlang C: servers, load, probability.
        for (servers, load, expected) in
            [(1, 0.5, 0.5), (2, 1.0, 0.3333), (5, 4.0, 0.5541), (10, 8.0, 0.4092), (20, 18.0, 0.5508)]
        {
            let found = waits(servers, load);
            assert!((found - expected).abs() < 5e-4, "{servers} {load}: {found}");
        }
    }

    #[test]
    fn short_work_needs_little_room_and_long_work_much() {
        // 95 of 100 per second, each 10 ms: one server is enough for a second, not for a tenth of it.
        assert!(late(1, 95.0, 100.0, 1.0) < 0.01);
        assert!(late(1, 95.0, 100.0, 0.05) > 0.5);
        // Eight of ten per second.
        assert!(late(1, 8.0, 10.0, 0.5) > 0.1);
        assert!(late(2, 8.0, 10.0, 0.5) < 0.01);
        assert_eq!((late(1, 8.0, 8.0, 1.0), late(1, 0.0, 8.0, 1.0)), (1.0, 0.0));
    }
}
