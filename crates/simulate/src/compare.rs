//! All policies on one trace, and what is to be said of them.

use crate::{
    Contender, Error, Outcome, Series, Setting, Trace, Workload,
    contender::Kind,
    engine::{self, Rules},
    oracle,
    rates::MESSAGES_MAX,
};
use autoscale::{Decision, Policy, Reason, Sample, Spec};
use serde::Serialize;
use std::{
    cmp::Ordering::{self, Equal, Greater, Less},
    ops::Range,
    sync::{
        Mutex,
        atomic::{self, AtomicUsize},
    },
    time::Duration,
};

/// Seeds of one comparison, at most.
pub const SEEDS_MAX: u64 = 1_000;
/// Two p99 ages are the same when they differ by no more than this part of the target: chance alone moves them by as much.
const SAME_AGE: f64 = 0.05;
/// Two costs are the same when they differ by no more than this part.
const SAME_COST: f64 = 0.01;

/// All policies on one trace.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The trace's name.
    pub trace: String,
    /// What comes, in a sentence.
    pub about: String,
    /// What was the same for all.
    pub setting: Setting,
    /// Runs of each policy.
    pub seeds: u64,
    /// The seed of the first; the others follow.
    pub first_seed: u64,
    /// Seconds of work in the messages: no policy that does them all pays for fewer instance-seconds.
    pub work_s: f64,
    /// The policies, in the order in which they were asked for.
    pub rows: Vec<Row>,
}

/// One policy on one trace.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub policy: String,
    /// How it is configured.
    pub about: String,
    /// What a manifest would say, where it is a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// It knows the future; it is no policy, but what there is to compare with.
    pub knows_the_future: bool,
    /// 99 of 100 messages were in time, in the median of the runs.
    pub keeps_target: bool,
    /// Medians over the seeds.
    pub outcome: Outcome,
    /// The least and greatest p99 age of the runs.
    pub p99_range_s: (f64, f64),
    /// The first seed over time.
    #[serde(skip)]
    pub series: Series,
}

/// How one policy stands to another on one trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// The same or a lower p99 age for the same or fewer instance-seconds, one of the two truly so.
    Better,
    /// The other way round.
    Worse,
    /// The same in both.
    Same,
    /// One has the lower age, the other costs less.
    Apart,
}

impl Row {
    /// How it stands to another.
    pub fn standing(&self, other: &Row, target: Duration) -> Standing {
        let age_margin = SAME_AGE * target.as_secs_f64();
        let ages = order(self.outcome.p99_s, other.outcome.p99_s, age_margin);
        let costs = order(self.outcome.instance_s, other.outcome.instance_s, SAME_COST * other.outcome.instance_s);
        match (ages, costs) {
            (Equal, Equal) => Standing::Same,
            (Less | Equal, Less | Equal) => Standing::Better,
            (Greater | Equal, Greater | Equal) => Standing::Worse,
            _ => Standing::Apart,
        }
    }
}

/// Of two numbers that are the same within the margin, neither is more.
fn order(a: f64, b: f64, margin: f64) -> Ordering {
    if (a - b).abs() <= margin { Equal } else { a.total_cmp(&b) }
}

impl Comparison {
    /// The row of a policy.
    pub fn row(&self, policy: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.policy == policy)
    }

    /// Where no policy has both a lower p99 age and a lower cost.
    pub fn is_on_the_front(&self, row: &Row) -> bool {
        let others = self.rows.iter().filter(|other| !other.knows_the_future && other.policy != row.policy);
        others.into_iter().all(|other| row.standing(other, self.setting.target) != Standing::Worse)
    }
}

/// Runs every contender with each of the seeds, on so many threads. The result does not depend on how many.
///
/// # Errors
/// [`Error::Setting`].
pub fn compare(
    trace: &Trace,
    setting: &Setting,
    contenders: &[Contender],
    seeds: Range<u64>,
    threads: usize,
) -> Result<Comparison, Error> {
    setting.check()?;
    let first_seed = seeds.start;
    let seeds = seeds.end.saturating_sub(first_seed);
    if !(1..=SEEDS_MAX).contains(&seeds) {
        return Err(Error::Setting(format!("seeds: from 1 to {SEEDS_MAX}")));
    }
    if trace.rates.total() * seeds as f64 > MESSAGES_MAX {
        return Err(Error::Setting(format!("{seeds} seeds of {:.0} messages are too many", trace.rates.total())));
    }
    let workloads: Vec<_> = parallel(seeds as usize, threads, |n| Workload::new(trace, first_seed + n as u64));
    let runs = parallel(contenders.len() * workloads.len(), threads, |n| {
        let (contender, workload) = (&contenders[n / workloads.len()], &workloads[n % workloads.len()]);
        let mut run = contend(contender, trace, setting, workload);
        // Plots show the first seed; the others' series would only take memory.
        if n % workloads.len() > 0 {
            run = run.map(|(outcome, _)| (outcome, Series::default()));
        }
        run
    });
    let mut rows = Vec::with_capacity(contenders.len());
    for (contender, runs) in contenders.iter().zip(runs.chunks(workloads.len())) {
        let Some(runs) = runs.iter().cloned().collect::<Option<Vec<_>>>() else { continue };
        let outcomes: Vec<_> = runs.iter().map(|(outcome, _)| outcome.clone()).collect();
        let outcome = Outcome::median(&outcomes);
        let ages = || outcomes.iter().map(|outcome| outcome.p99_s);
        rows.push(Row {
            policy: contender.name.clone(),
            about: contender.about.clone(),
            spec: contender.spec().cloned(),
            knows_the_future: contender.knows_the_future(),
            keeps_target: outcome.p99_s <= setting.target.as_secs_f64(),
            outcome,
            p99_range_s: (ages().fold(f64::INFINITY, f64::min), ages().fold(0.0, f64::max)),
            series: runs.into_iter().next().map(|(_, series)| series).unwrap_or_default(),
        });
    }
    let work = workloads.iter().map(|workload| {
        let all = workload.work(&trace.stages);
        let measured = all.iter().flatten().filter(|(published, _)| *published >= trace.warm_up);
        Outcome { busy_s: measured.map(|(_, work_s)| work_s).sum(), ..Outcome::default() }
    });
    Ok(Comparison {
        trace: trace.name.clone(),
        about: trace.about.clone(),
        setting: setting.clone(),
        seeds,
        first_seed,
        work_s: Outcome::median(&work.collect::<Vec<_>>()).busy_s,
        rows,
    })
}

fn contend(contender: &Contender, trace: &Trace, setting: &Setting, workload: &Workload) -> Option<(Outcome, Series)> {
    match &contender.kind {
        Kind::Oracle => oracle::run(trace, setting, workload),
        Kind::Fixed => Some(fixed(trace, setting, workload)),
        Kind::Policy { rules, spec } => Some(engine::run(trace, setting, workload, rules, spec.policy().as_mut())),
    }
}

/// The smallest number that keeps the target when it never changes, the same for every function; the largest where none does.
fn fixed(trace: &Trace, setting: &Setting, workload: &Workload) -> (Outcome, Series) {
    struct Fixed(u32);
    impl Policy for Fixed {
        fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
            let reason = Reason { code: "Fixed".into(), text: "the number never changes".into() };
            samples.iter().map(|_| Decision { replicas: self.0, reason: reason.clone() }).collect()
        }

        fn period(&self) -> Duration {
            Duration::from_secs(60)
        }
    }
    let with = |count: u32| {
        let rules = Rules { min: 1, period: Duration::from_secs(60), scrape: None, wakes: false, initial: count };
        engine::run(trace, setting, workload, &rules, &mut Fixed(count))
    };
    let (mut few, mut enough) = (0, setting.max);
    let mut best = with(enough);
    while enough - few > 1 {
        let count = few.midpoint(enough);
        let tried = with(count);
        if tried.0.p99_s <= setting.target.as_secs_f64() {
            (enough, best) = (count, tried);
        } else {
            few = count;
        }
    }
    best
}

/// `work(0)`, `work(1)` ... on so many threads, in order.
fn parallel<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, atomic::Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let result = work(n);
                    done.lock().expect("nothing panics while it holds the lock").push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("a thread that panicked has ended the scope");
    done.sort_by_key(|&(n, _)| n);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(policy: &str, p99_s: f64, instance_s: f64) -> Row {
        Row {
            policy: policy.into(),
            about: String::new(),
            spec: None,
            knows_the_future: false,
            keeps_target: true,
            outcome: Outcome { p99_s, instance_s, ..Outcome::default() },
            p99_range_s: (p99_s, p99_s),
            series: Series::default(),
        }
    }

    #[test]
    fn a_policy_is_better_when_it_loses_nothing_and_gains_something() {
        let target = Duration::from_secs(2);
        let ours = row("ours", 1.0, 1_000.0);
        let check = |p99_s, instance_s, expected| {
            let other = row("other", p99_s, instance_s);
            assert_eq!(ours.standing(&other, target), expected, "{p99_s} {instance_s}");
        };
        check(1.05, 1_005.0, Standing::Same);
        check(1.05, 2_000.0, Standing::Better);
        check(3.0, 1_005.0, Standing::Better);
        check(3.0, 2_000.0, Standing::Better);
        check(0.5, 2_000.0, Standing::Apart);
        check(3.0, 500.0, Standing::Apart);
        check(0.5, 500.0, Standing::Worse);
        check(0.5, 1_000.0, Standing::Worse);
    }

    #[test]
    fn work_is_done_in_order_whatever_the_threads() {
        let squares: Vec<_> = (0..100).map(|n| n * n).collect();
        for threads in [1, 3, 200] {
            assert_eq!(parallel(100, threads, |n| n * n), squares);
        }
        assert!(parallel(0, 2, |n| n).is_empty());
    }

    #[test]
    fn a_comparison_is_the_same_again_on_any_number_of_threads() {
        let trace = Trace::named("three-stage").unwrap().scaled(0.1, 1.0).unwrap();
        let setting = Setting::default();
        let all = Contender::all(&setting, &trace).unwrap();
        let once = |threads| {
            let comparison = compare(&trace, &setting, &all, 1..4, threads).unwrap();
            let plots = (comparison.time_plot(&["rate", "oracle"]), comparison.pareto_plot());
            (serde_json::to_string(&comparison).unwrap(), plots)
        };
        assert_eq!(once(1), once(4));
    }

    #[test]
    fn who_knows_the_future_pays_hardly_more_than_the_work() {
        let trace = Trace::named("ramp").unwrap().scaled(0.2, 1.0).unwrap();
        let setting = Setting::default();
        let names = ["fixed", "oracle"].map(|name| Contender::named(name, &setting, &trace).unwrap());
        let comparison = compare(&trace, &setting, &names, 1..2, 2).unwrap();
        let (fixed, oracle) = (&comparison.rows[0], &comparison.rows[1]);
        assert!(fixed.keeps_target && oracle.keeps_target);
        let cost = |row: &Row| row.outcome.instance_s / comparison.work_s;
        assert!((1.0..1.1).contains(&cost(oracle)), "{}", cost(oracle));
        assert!(cost(fixed) > 1.4, "{}", cost(fixed));
    }

    #[test]
    fn settings_are_checked() {
        let trace = Trace::named("step").unwrap();
        let check =
            |setting: Setting, seeds: u64| compare(&trace, &setting, &[], 1..1 + seeds, 1).unwrap_err().to_string();
        assert!(check(Setting { max: 0, ..Setting::default() }, 1).contains("instances"));
        assert!(check(Setting { startup: Duration::MAX, ..Setting::default() }, 1).contains("start-up"));
        assert!(check(Setting { target: Duration::ZERO, ..Setting::default() }, 1).contains("target"));
        assert!(check(Setting::default(), 0).contains("seeds"));
    }
}
