//! What could be had by one who knows the future.
//!
//! For each function the plan is the cheapest way to have all work done in time, found by dynamic programming over slots of half the
//! target: after each slot, the state is how many instances there are and how much work waits; a slot costs its instances, and each
//! start costs the start-up time. Work that waits may not be older than the target. In a chain each function has an equal part of it.
//! Work is exact in these terms but fluid, so the plan is made for instances that are a little slower than they are, as little as it
//! takes for the messages, run through the same simulation as everyone else's, to keep the target with 99 of 100.
//!
//! No plan of whole slots is cheaper for the work as it is known to be; the messages themselves bound it from below, since
//! instance-seconds are never fewer than the seconds of work.

use crate::{Outcome, Rules, Series, Setting, Trace, Workload, engine};
use autoscale::{Decision, Policy, Reason, Sample};
use std::time::Duration;

/// States times slots that one plan may have, at most: 4 bytes each.
const CELLS_MAX: usize = 100_000_000;
/// Work is counted in this part of what an instance does in a slot.
const QUANTA: usize = 2;
/// Halvings of the range in which the speed is searched.
const STEPS: u32 = 6;

/// Numbers of instances, slot by slot, for each function.
#[derive(Debug, Clone)]
struct Plan {
    slot: Duration,
    counts: Vec<Vec<u32>>,
}

/// The cheapest plan that keeps the target, and what comes of it; `None` where it would take too much memory to find one.
///
/// Where no plan keeps the target, what the most careful one does.
pub(crate) fn run(trace: &Trace, setting: &Setting, workload: &Workload) -> Option<(Outcome, Series)> {
    let work = workload.work(&trace.stages);
    let attempt = |speed: f64| -> Option<(Outcome, Series)> {
        let plan = plan(trace, setting, &work, speed)?;
        let rules = Rules {
            min: 0,
            period: plan.slot,
            scrape: None,
            wakes: false,
            initial: plan.counts.iter().filter_map(|counts| counts.first().copied()).max().unwrap_or(0),
        };
        let mut policy = Planned { plan, lead: setting.startup };
        Some(engine::run(trace, setting, workload, &rules, &mut policy))
    };
    let keeps = |(outcome, _): &(Outcome, Series)| outcome.p99_s <= setting.target.as_secs_f64();
    let (mut slow, mut fast) = (0.25, 1.0);
    let mut best = attempt(slow)?;
    if !keeps(&best) {
        return Some(best);
    }
    for _ in 0..STEPS {
        let speed = f64::midpoint(slow, fast);
        let tried = attempt(speed)?;
        if keeps(&tried) {
            slow = speed;
            if tried.0.instance_s <= best.0.instance_s {
                best = tried;
            }
        } else {
            fast = speed;
        }
    }
    Some(best)
}

struct Planned {
    plan: Plan,
    lead: Duration,
}

impl Policy for Planned {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        let reason = Reason { code: "Planned".into(), text: "the future is known".into() };
        let slot = |at: Duration| (at.as_nanos() / self.plan.slot.as_nanos()) as usize;
        let decide = |(sample, counts): (&Sample, &Vec<u32>)| {
            // What will be needed while an instance that is asked for now would start.
            let ahead = slot(sample.at)..=slot(sample.at + self.lead);
            let replicas = ahead.filter_map(|slot| counts.get(slot).copied()).max().unwrap_or(0);
            Decision { replicas, reason: reason.clone() }
        };
        samples.iter().zip(&self.plan.counts).map(decide).collect()
    }

    fn period(&self) -> Duration {
        self.plan.slot
    }
}

fn plan(trace: &Trace, setting: &Setting, work: &[Vec<(Duration, f64)>], speed: f64) -> Option<Plan> {
    let part = setting.target / trace.stages.len() as u32;
    let slot = (part / 2).max(trace.duration() / 20_000);
    let slots = trace.duration().div_duration_f64(slot).ceil() as usize;
    let delay_slots = part.div_duration_f64(slot).round().max(1.0) as usize;
    let counts = (0u32..).zip(work).map(|(n, work)| {
        let quantum_s = slot.as_secs_f64() / QUANTA as f64;
        let mut arriving = vec![0.0; slots];
        for &(published, work_s) in work {
            let at = (published + part * n).div_duration_f64(slot) as usize;
            if let Some(arriving) = arriving.get_mut(at) {
                *arriving += work_s / speed / quantum_s;
            }
        }
        let start = setting.startup.div_duration_f64(slot);
        cheapest(&whole(&arriving), delay_slots, setting.max as usize, start)
    });
    Some(Plan { slot, counts: counts.collect::<Option<_>>()? })
}

/// Whole quanta whose sums are those of the parts, rounded up.
fn whole(parts: &[f64]) -> Vec<usize> {
    let mut sum = 0.0;
    let mut before = 0;
    let next = |part: &f64| {
        sum += part;
        let rounded = f64::ceil(sum) as usize;
        rounded - std::mem::replace(&mut before, rounded)
    };
    parts.iter().map(next).collect()
}

/// How many instances in each slot, so that work is done at most `delay` slots after the one in which it arrives, at the least cost: 1
/// for an instance and slot, `start` for one more than in the slot before. `arriving` is in quanta, of which an instance does [`QUANTA`]
/// in a slot. Where even `max` are too few, these.
fn cheapest(arriving: &[usize], delay: usize, max: usize, start: f64) -> Option<Vec<u32>> {
    let slots = arriving.len();
    let peak = arriving.iter().copied().max().unwrap_or(0);
    let counts = max.min(peak.div_ceil(QUANTA) + 1) + 1;
    // What may wait after each slot: what arrived in the last ones.
    let young = |n: usize| arriving[(n + 1).saturating_sub(delay)..=n].iter().sum::<usize>();
    let waits = (0..slots).map(young).max().unwrap_or(0).min(delay * max * QUANTA) + 1;
    if counts.checked_mul(waits)?.checked_mul(slots)? > CELLS_MAX || waits > usize::from(u16::MAX) {
        return None;
    }
    let at = |count: usize, waiting: usize| waiting * counts + count;
    let mut costs = vec![f64::INFINITY; counts * waits];
    (0..counts).for_each(|count| costs[at(count, 0)] = 0.0);
    let mut from = vec![(0u16, 0u16); slots * counts * waits];
    for n in 0..slots {
        let limit = young(n).min(waits - 1);
        let mut next = vec![f64::INFINITY; counts * waits];
        let mut go = |is_strict: bool, next: &mut Vec<f64>| {
            for waiting in 0..waits {
                let row = &costs[at(0, waiting)..at(counts, waiting)];
                if row.iter().all(|cost| cost.is_infinite()) {
                    continue;
                }
                for (count, (cost, before)) in cheapest_change(row, start).into_iter().enumerate() {
                    let left = (waiting + arriving[n]).saturating_sub(count * QUANTA);
                    if is_strict && left > limit {
                        continue;
                    }
                    let to = at(count, left.min(waits - 1));
                    let cost = cost + count as f64;
                    if cost < next[to] {
                        next[to] = cost;
                        from[n * counts * waits + to] = (before as u16, waiting as u16);
                    }
                }
            }
        };
        go(true, &mut next);
        if next.iter().all(|cost| cost.is_infinite()) {
            go(false, &mut next);
            // Nothing keeps the target here; all that can be done is to have as many as may be.
            let most = (0..waits).map(|waiting| at(counts - 1, waiting)).collect::<Vec<_>>();
            (0..next.len()).filter(|cell| !most.contains(cell)).for_each(|cell| next[cell] = f64::INFINITY);
        }
        costs = next;
    }
    let mut cell = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b]))?;
    let mut plan = vec![0; slots];
    for n in (0..slots).rev() {
        plan[n] = (cell % counts) as u32;
        let (count, waiting) = from[n * counts * waits + cell];
        cell = at(count.into(), waiting.into());
    }
    Some(plan)
}

/// For each number of instances, the least cost of coming to it from another, and from which.
fn cheapest_change(costs: &[f64], start: f64) -> Vec<(f64, usize)> {
    let mut best: Vec<(f64, usize)> = costs.iter().copied().zip(0..).collect();
    for count in 1..best.len() {
        let up = (best[count - 1].0 + start, best[count - 1].1);
        if up.0 < best[count].0 {
            best[count] = up;
        }
    }
    for count in (0..best.len().saturating_sub(1)).rev() {
        if best[count + 1].0 < best[count].0 {
            best[count] = best[count + 1];
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cost(plan: &[u32], start: f64) -> f64 {
        let ups = plan.windows(2).map(|pair| f64::from(pair[1].saturating_sub(pair[0]))).sum::<f64>();
        plan.iter().map(|&count| f64::from(count)).sum::<f64>() + start * ups
    }

    fn is_in_time(plan: &[u32], arriving: &[usize], delay: usize) -> bool {
        let mut waiting = 0;
        (0..plan.len()).all(|n| {
            waiting = (waiting + arriving[n]).saturating_sub(plan[n] as usize * QUANTA);
            waiting <= arriving[(n + 1).saturating_sub(delay)..=n].iter().sum()
        })
    }

    #[test]
    fn work_may_wait_when_that_is_cheaper() {
        // Four quanta at once are two instances now, or one now and one later.
        assert_eq!(cheapest(&[0, 4, 0, 0], 1, 8, 0.5).unwrap(), [0, 1, 1, 0]);
        assert_eq!(cheapest(&[4, 4, 4, 4], 1, 8, 0.1).unwrap()[1..3], [2, 2]);
        // A start costs more than an idle slot.
        assert_eq!(cheapest(&[2, 2, 0, 0, 2, 2], 1, 8, 5.0).unwrap()[1..5], [1, 1, 1, 1]);
    }

    #[test]
    fn too_much_work_gets_all_there_is() {
        assert_eq!(cheapest(&[100, 100, 0, 0], 1, 3, 0.0).unwrap()[..3], [3, 3, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_other_plan_is_cheaper(
            arriving in prop::collection::vec(0usize..6, 1..6),
            delay in 1usize..3,
            start in 0.0..3.0f64,
        ) {
            let found = cheapest(&arriving, delay, 3, start).unwrap();
            let all = 4usize.pow(arriving.len() as u32);
            let plans = (0..all).map(|code| {
                (0..arriving.len()).map(|n| ((code / 4usize.pow(n as u32)) % 4) as u32).collect::<Vec<_>>()
            });
            let best = plans.filter(|plan| is_in_time(plan, &arriving, delay)).map(|plan| cost(&plan, start));
            let best = best.fold(f64::INFINITY, f64::min);
            if best.is_finite() {
                prop_assert!(is_in_time(&found, &arriving, delay), "{found:?}");
                prop_assert!((cost(&found, start) - best).abs() < 1e-9, "{found:?} costs {}, best {best}", cost(&found, start));
            }
        }
    }
}
