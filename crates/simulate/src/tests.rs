//! Whole runs: against queueing theory, and what has to hold in each.

use super::*;
use autoscale::{Decision, Policy, Reason, Sample};
use std::time::Duration;

/// So many instances, always.
struct Fixed(u32);

impl Policy for Fixed {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        let reason = Reason { code: "Fixed".into(), text: String::new() };
        samples.iter().map(|_| Decision { replicas: self.0, reason: reason.clone() }).collect()
    }

    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// Another number at each look, to have everything happen.
struct Restless(Vec<u32>, usize);

impl Policy for Restless {
    fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
        let mut next = || {
            self.1 += 1;
            self.0[self.1 % self.0.len()]
        };
        let reason = Reason { code: "Restless".into(), text: String::new() };
        samples.iter().map(|_| Decision { replicas: next(), reason: reason.clone() }).collect()
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }
}

fn rules(initial: u32) -> Rules {
    Rules { min: 0, period: Duration::from_secs(1), scrape: None, wakes: true, initial }
}

fn steady(rate: f64, seconds: f64, stages: Vec<Stage>) -> Trace {
    let rates = Rates::new([(0.0, rate), (seconds, rate)]).unwrap();
    Trace { stages, ..Trace::of("steady", rates) }
}

fn stage(shape: Shape, dispatch: Dispatch) -> Stage {
    Stage { name: "work", service: Duration::from_millis(100), shape, selectivity: 1.0, dispatch }
}

/// Mean wait in a queue that `count` instances serve, by Erlang's C formula; rate and service as in M/M/c.
fn erlang_c_wait_s(rate: f64, service_s: f64, count: u32) -> f64 {
    let load = rate * service_s;
    let mut blocked = 1.0;
    for n in 1..=count {
        blocked = load * blocked / (f64::from(n) + load * blocked);
    }
    let c = f64::from(count);
    let waits = blocked / (1.0 - load / c * (1.0 - blocked));
    waits * service_s / (c - load)
}

/// Little's law gives the mean age: what is there on average, over the rate. Busy time gives the load.
fn mean_age_s(trace: &Trace, instances: u32) -> f64 {
    let ages: Vec<f64> = (1..=4)
        .map(|seed| {
            let workload = Workload::new(trace, seed);
            let (outcome, series) =
                run(trace, &Setting::default(), &workload, &rules(instances), &mut Fixed(instances));
            let load = outcome.busy_s / (trace.duration() - trace.warm_up).as_secs_f64();
            let offered = trace.rates.peak() * trace.stages[0].service.as_secs_f64();
            assert!((load / offered - 1.0).abs() < 0.03, "{load} of {offered}");
            let backlog = &series.functions[0].backlog[30..];
            backlog.iter().sum::<f64>() / backlog.len() as f64 / trace.rates.peak()
        })
        .collect();
    ages.iter().sum::<f64>() / ages.len() as f64
}

#[test]
fn waiting_is_as_long_as_queueing_theory_says() {
    let check = |shape, rate: f64, count: u32, wait_s: f64| {
        let age = mean_age_s(&steady(rate, 20_000.0, vec![stage(shape, Dispatch::Shared)]), count);
        let expected = wait_s + 0.1;
        assert!((age / expected - 1.0).abs() < 0.12, "{shape:?}, {count}: {age}, expected {expected}");
    };
    check(Shape::Exponential, 7.0, 1, erlang_c_wait_s(7.0, 0.1, 1));
    check(Shape::Exponential, 32.0, 4, erlang_c_wait_s(32.0, 0.1, 4));
    check(Shape::Exponential, 90.0, 10, erlang_c_wait_s(90.0, 0.1, 10));
    // Pollaczek and Khinchine: half of it without variation, and (1 + v^2) / 2 of it with.
    check(Shape::LogNormal(0.0), 7.0, 1, erlang_c_wait_s(7.0, 0.1, 1) / 2.0);
    check(Shape::LogNormal(0.5), 7.0, 1, erlang_c_wait_s(7.0, 0.1, 1) * 1.25 / 2.0);
}

#[test]
fn erlang_c_is_right() {
    assert!((erlang_c_wait_s(7.0, 0.1, 1) - 0.7 * 0.1 / 0.3).abs() < 1e-9);
    // Two servers at 75 %: C = 0.6429, a table's value.
    assert!((erlang_c_wait_s(15.0, 0.1, 2) - 0.6429 * 0.1 / 0.5).abs() < 1e-4);
}

#[test]
fn ages_are_those_of_an_exponential_queue() {
    let trace = steady(5.0, 20_000.0, vec![stage(Shape::Exponential, Dispatch::Shared)]);
    let workload = Workload::new(&trace, 1);
    let (outcome, _) = run(&trace, &Setting::default(), &workload, &rules(1), &mut Fixed(1));
    // The age in M/M/1 is exponential with mean 1 / (10 - 5).
    assert!((outcome.p50_s / (0.2 * 2f64.ln()) - 1.0).abs() < 0.05, "{}", outcome.p50_s);
    assert!((outcome.p99_s / (0.2 * 100f64.ln()) - 1.0).abs() < 0.1, "{}", outcome.p99_s);
}

#[test]
fn the_same_seed_gives_the_same_result() {
    for name in TRACES {
        let trace = Trace::named(name).unwrap().scaled(0.1, 1.0).unwrap();
        let once = |seed| {
            let policy = &mut Restless(vec![7, 3, 12, 0, 20, 1], 0);
            run(&trace, &Setting::default(), &Workload::new(&trace, seed), &rules(1), policy)
        };
        assert_eq!(once(1), once(1), "{name}");
        assert_ne!(once(1).0, once(2).0, "{name}");
    }
}

#[test]
fn a_start_takes_its_time_and_is_paid_for() {
    let trace = steady(0.0001, 1_000.0, vec![stage(Shape::Exponential, Dispatch::Shared)]);
    let setting = Setting { startup: Duration::from_secs(10), ..Setting::default() };
    let workload = Workload::new(&trace, 1);
    let two_from_start = run(&trace, &setting, &workload, &rules(2), &mut Fixed(2)).0;
    assert!((two_from_start.instance_s - 1_800.0).abs() < 1e-6, "{}", two_from_start.instance_s);
    assert_eq!(two_from_start.scale_events, 0.0);
    let (outcome, series) =
        run(&trace, &setting, &workload, &rules(2), &mut Restless([vec![2; 500], vec![5; 500]].concat(), 0));
    assert_eq!((outcome.scale_events, outcome.direction_changes), (1.0, 0.0));
    // Asked for at 500 s: 400 s of two instances, 500 s of five.
    assert!((outcome.instance_s - 3_300.0).abs() < 10.0, "{}", outcome.instance_s);
    let point = |values: &[f64], second: f64| values[(second / series.step_s) as usize];
    let function = &series.functions[0];
    assert_eq!((point(&function.wanted, 505.0), point(&function.ready, 505.0)), (5.0, 2.0));
    assert_eq!((point(&function.wanted, 520.0), point(&function.ready, 520.0)), (5.0, 5.0));
}

#[test]
fn an_event_wakes_a_function_or_waits_for_the_next_look() {
    let trace = steady(0.005, 100_000.0, vec![stage(Shape::LogNormal(0.0), Dispatch::Shared)]);
    let workload = Workload::new(&trace, 1);
    struct OnDemand;
    impl Policy for OnDemand {
        fn decide(&mut self, samples: &[Sample]) -> Vec<Decision> {
            let reason = Reason { code: "OnDemand".into(), text: String::new() };
            let backlog = |sample: &Sample| sample.inputs.as_ref().map_or(0, |inputs| inputs.backlog);
            samples.iter().map(|s| Decision { replicas: backlog(s).min(1) as u32, reason: reason.clone() }).collect()
        }
        fn period(&self) -> Duration {
            Duration::from_secs(10)
        }
    }
    let once = |wakes| {
        let rules = Rules { wakes, period: Duration::from_secs(10), ..rules(0) };
        run(&trace, &Setting::default(), &workload, &rules, &mut OnDemand).0
    };
    let (pushed, polled) = (once(true), once(false));
    assert!(pushed.max_s < 0.5, "start-up and service: {}", pushed.max_s);
    assert!((4.2..=6.0).contains(&polled.p50_s) && polled.max_s < 10.5, "{} {}", polled.p50_s, polled.max_s);
}

#[test]
fn a_full_receiver_queue_keeps_work_from_new_instances() {
    let rates =
        Rates::new([(0.0, 5.0), (100.0, 5.0), (100.0, 60.0), (160.0, 60.0), (160.0, 0.0), (260.0, 0.0)]).unwrap();
    let trace = Trace { stages: vec![stage(Shape::LogNormal(0.5), Dispatch::Shared)], ..Trace::of("crowd", rates) };
    let once = |receiver_queue| {
        let setting = Setting { receiver_queue, ..Setting::default() };
        let looks = [vec![1; 130], vec![10; 130]].concat();
        run(&trace, &setting, &Workload::new(&trace, 1), &rules(1), &mut Restless(looks, 0)).0
    };
    let (shared, hoarded) = (once(0), once(1_000));
    assert_eq!(shared.left, 0.0);
    assert!(shared.max_s < 60.0 && hoarded.max_s > 2.0 * shared.max_s, "{} {}", shared.max_s, hoarded.max_s);
}

#[test]
fn the_hottest_key_is_bound_to_one_instance() {
    let keyed = |exponent| stage(Shape::LogNormal(0.5), Dispatch::Keyed { keys: 100, exponent });
    let once = |exponent| {
        let trace = steady(40.0, 300.0, vec![keyed(exponent)]);
        run(&trace, &Setting::default(), &Workload::new(&trace, 1), &rules(10), &mut Fixed(10)).0
    };
    let (even, skewed) = (once(0.0), once(1.5));
    assert_eq!(even.left, even.left.min(20.0));
    // 41 % of 40 messages per second have one key; one instance does 10.
    assert!(skewed.left > 1_000.0, "{}", skewed.left);
}

#[test]
fn more_instances_than_partitions_have_nothing_to_do() {
    let once = |count| {
        let trace = steady(25.0, 300.0, vec![stage(Shape::LogNormal(0.5), Dispatch::Partitioned { partitions: 4 })]);
        run(&trace, &Setting::default(), &Workload::new(&trace, 1), &rules(count), &mut Fixed(count)).0
    };
    let (four, eight) = (once(4), once(8));
    assert_eq!(four.p99_s, eight.p99_s);
    assert!((eight.instance_s / four.instance_s - 2.0).abs() < 1e-9);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn dispatch() -> impl Strategy<Value = Dispatch> {
        prop_oneof![
            Just(Dispatch::Shared),
            (1u32..50, 0.0..2.0).prop_map(|(keys, exponent)| Dispatch::Keyed { keys, exponent }),
            (1u32..8).prop_map(|partitions| Dispatch::Partitioned { partitions }),
        ]
    }

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        let one = (dispatch(), 10u64..300, 0.0..2.5f64).prop_map(|(dispatch, ms, selectivity)| Stage {
            service: Duration::from_millis(ms),
            selectivity,
            ..stage(Shape::LogNormal(0.5), dispatch)
        });
        prop::collection::vec(one, 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a policy does, each message is done once, in its order, and what is paid for is what ran.
        #[test]
        fn nothing_is_lost_or_done_twice(
            stages in stages(),
            seed in 0u64..1_000,
            numbers in prop::collection::vec(0u32..12, 1..20),
            startup_ms in 0u64..5_000,
            receiver_queue in prop_oneof![Just(0usize), 1usize..50],
        ) {
            let rates = Rates::new([(0.0, 5.0), (30.0, 20.0), (30.0, 0.0), (60.0, 0.0)]).unwrap();
            let trace = Trace { stages, warm_up: Duration::ZERO, ..Trace::of("property", rates) };
            let setting = Setting { startup: Duration::from_millis(startup_ms), receiver_queue, ..Setting::default() };
            let workload = Workload::new(&trace, seed);
            let mut policy = Restless(numbers, 0);
            let (outcome, series) = run(&trace, &setting, &workload, &rules(1), &mut policy);
            if outcome.left == 0.0 {
                // Each message of a chain ends in as many as its chance says.
                let mut ends = 0usize;
                let mut inputs = workload.messages.clone();
                for (n, stage) in trace.stages.iter().enumerate() {
                    let is_last = n + 1 == trace.stages.len();
                    let outputs = |m: &crate::workload::Message| m.outputs(stage, m.entered).collect::<Vec<_>>();
                    ends += inputs.iter().filter(|m| is_last || outputs(m).is_empty()).count();
                    inputs = inputs.iter().flat_map(outputs).collect();
                }
                prop_assert_eq!(outcome.messages, ends as f64);
                let work: f64 = workload.work(&trace.stages).iter().flatten().map(|(_, s)| s).sum();
                prop_assert!((outcome.busy_s - work).abs() < 1e-5 * work.max(1.0), "{} {}", outcome.busy_s, work);
            }
            prop_assert!(outcome.busy_s <= outcome.instance_s + 1e-6);
            prop_assert!(outcome.p50_s <= outcome.p99_s && outcome.p99_s <= outcome.max_s);
            let most = 60.0 * 20.0 * trace.stages.len() as f64;
            prop_assert!(outcome.instance_s <= most);
            for function in &series.functions {
                prop_assert!(function.ready.iter().zip(&function.wanted).all(|(ready, wanted)| ready <= wanted));
            }
        }
    }
}
