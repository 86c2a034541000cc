//! How much spare capacity messages need that arrive at random, so that they do not wait too long.
//!
//! Source: Erlang's delay formula for M/M/k, A. K. Erlang 1917. Work that varies less than exponentially waits less, so this is careful.

/// More servers than this behave like a fluid, and their number is not looped over.
const SERVERS_MAX: u32 = 4_096;
/// One message in a hundred may wait longer.
const LATE: f64 = 0.01;

/// Whether all but one in a hundred of the messages wait less than `wait_s` when `arrival_per_s` come to `servers`, each of which does
/// `rate_per_s`.
pub(super) fn is_enough(servers: u32, arrival_per_s: f64, rate_per_s: f64, wait_s: f64) -> bool {
    let load = arrival_per_s / rate_per_s;
    let spare_per_s = f64::from(servers) * rate_per_s - arrival_per_s;
    if spare_per_s <= 0.0 {
        return arrival_per_s <= 0.0;
    }
    if servers > SERVERS_MAX {
        return true;
    }
    waits(servers, load) * (-spare_per_s * wait_s).exp() <= LATE
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
        // 95 of 100 per second, each 10 ms: the one server is enough for a second, not for a tenth of it.
        assert!(is_enough(1, 95.0, 100.0, 1.0));
        assert!(!is_enough(1, 95.0, 100.0, 0.1));
        // Eight of ten per second.
        assert!(!is_enough(1, 8.0, 10.0, 1.0));
        assert!(is_enough(2, 8.0, 10.0, 1.0));
    }
}
