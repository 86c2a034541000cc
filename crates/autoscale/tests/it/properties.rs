use autoscale::{Decision, Inputs, Instance, PolicySpec, Sample, Spec, hpa, keda, knative, rate};
use proptest::prelude::*;
use std::time::Duration;

/// Every policy, with its defaults and a metric that an HPA can read without instances.
fn policies() -> Vec<PolicySpec> {
    let backlog = r#"{"metrics": [{"type": "External", "external": {"metric": {"name": "backlog"}, "target": {"type": "AverageValue", "averageValue": 10}}}]}"#;
    vec![
        PolicySpec::Rate(rate::Spec::default()),
        PolicySpec::Hpa(hpa::Spec::default()),
        PolicySpec::Hpa(serde_json::from_str(backlog).expect("a metric")),
        PolicySpec::Keda(keda::Spec::default()),
        PolicySpec::Knative(knative::Spec::default()),
    ]
}

/// One look: what happened in a second.
#[derive(Debug, Clone)]
struct Second {
    arrival_per_s: f64,
    backlog: u64,
    busy: f64,
    ready: f64,
    hottest_key: f64,
    parallelism_max: Option<u32>,
    is_known: bool,
}

/// Also what no function does: numbers without end, and without meaning.
fn number(ordinary: std::ops::Range<f64>) -> impl Strategy<Value = f64> {
    prop_oneof![20 => ordinary, 2 => Just(0.0), 1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-5.0), Just(1e300)]]
}

fn second() -> impl Strategy<Value = Second> {
    let limits = (number(0.0..0.6), proptest::option::weighted(0.3, 0..20u32), prop::bool::weighted(0.9));
    (
        number(0.0..500.0),
        prop_oneof![4 => 0..1_000u64, 1 => Just(0), 1 => Just(u64::MAX)],
        number(0.0..1.0),
        0.0..1.0,
        limits,
    )
        .prop_map(|(arrival_per_s, backlog, busy, ready, (hottest_key, parallelism_max, is_known))| Second {
            arrival_per_s,
            backlog,
            busy,
            ready,
            hottest_key,
            parallelism_max,
            is_known,
        })
}

fn sample(second: &Second, at: Duration, replicas: u32, bounds: (u32, u32)) -> Sample {
    let instance = |i: u32| {
        let is_ready = f64::from(i) < f64::from(replicas) * second.ready;
        Instance {
            age: at,
            startup: is_ready.then_some(Duration::from_millis(500)),
            is_ready,
            cpu_cores: Some(second.busy).filter(|_| is_ready),
            memory_bytes: Some(1 << 20),
            processed_per_s: second.busy * 10.0,
            busy: second.busy,
            concurrency: second.busy,
            ..Instance::default()
        }
    };
    Sample {
        at,
        replicas,
        min: bounds.0,
        max: bounds.1,
        instances: (0..replicas.min(50)).map(instance).collect(),
        inputs: second.is_known.then_some(Inputs {
            arrival_per_s: second.arrival_per_s,
            backlog: second.backlog,
            oldest: Duration::from_secs(1),
            parallelism_max: second.parallelism_max,
            hottest_key: second.hottest_key,
        }),
        cpu_request: 1.0,
        memory_request: 1 << 21,
        concurrency_max: 1,
        ..Sample::default()
    }
}

/// Does what a policy says, second by second; gives each decision to `check`, with what there was before it.
fn play(
    spec: &PolicySpec,
    seconds: &[Second],
    bounds: (u32, u32),
    begin: u32,
    mut check: impl FnMut(u32, &Sample, &Decision),
) {
    let mut policy = Spec::new(bounds.0, bounds.1, spec.clone()).policy();
    let mut replicas = begin;
    for (n, second) in seconds.iter().enumerate() {
        let sample = sample(second, Duration::from_secs(n as u64 + 1), replicas, bounds);
        let decision = policy.decide(std::slice::from_ref(&sample)).remove(0);
        check(replicas, &sample, &decision);
        replicas = decision.replicas;
    }
}

fn bounds() -> impl Strategy<Value = (u32, u32)> {
    (0..5u32, 1..40u32).prop_map(|(min, more)| (min, min + more))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_bounds_hold(seconds in prop::collection::vec(second(), 1..120), bounds in bounds(), begin in 0..60u32) {
        for spec in policies() {
            play(&spec, &seconds, bounds, begin, |_, _, decision| {
                assert!((bounds.0..=bounds.1).contains(&decision.replicas), "{} {decision:?} {bounds:?}", spec.name());
                assert!(!decision.reason.code.is_empty() && !decision.reason.text.is_empty());
            });
        }
    }

    #[test]
    fn without_a_sample_nothing_changes(seconds in prop::collection::vec(second(), 1..60), begin in 1..20u32) {
        for spec in policies() {
            let mut last = Vec::new();
            play(&spec, &seconds, (0, 40), begin, |_, sample, _| last.push(sample.clone()));
            // A policy that has seen all that, and then nothing new.
            let mut policy = Spec::new(0, 40, spec.clone()).policy();
            for sample in &last {
                policy.decide(std::slice::from_ref(sample));
            }
            if let Some(sample) = last.last() {
                let again = policy.decide(std::slice::from_ref(sample)).remove(0);
                assert_eq!(again.replicas, sample.replicas, "{} {again:?}", spec.name());
            }
            // One that has seen nothing, and sees nothing.
            let dark = Sample { at: Duration::from_secs(1), replicas: begin, max: 40, ..Sample::default() };
            let decision = Spec::new(0, 40, spec.clone()).policy().decide(&[dark]).remove(0);
            assert_eq!(decision.replicas, begin, "{} {decision:?}", spec.name());
        }
    }

    #[test]
    fn more_backlog_never_asks_for_fewer(
        seconds in prop::collection::vec(second(), 1..60), begin in 1..20u32, less in 0..100_000u64, more in 0..100_000u64,
    ) {
        for spec in policies() {
            let mut after = [less, less.saturating_add(more)].map(|backlog| {
                let mut seconds = seconds.clone();
                let last = seconds.last_mut().expect("at least one");
                (last.backlog, last.is_known) = (backlog, true);
                let mut replicas = 0;
                play(&spec, &seconds, (0, 100), begin, |_, _, decision| replicas = decision.replicas);
                replicas
            });
            let [fewer, enough] = &mut after;
            assert!(fewer <= enough, "{} {fewer} {enough}", spec.name());
        }
    }

    /// Between an increase and the next decrease lies the cool-down, whatever happens: so a stretch as long as that sees no more than
    /// two turns.
    #[test]
    fn flapping_is_bounded(seconds in prop::collection::vec(second(), 60..200), bounds in bounds(), cool_down in 1..40u64) {
        let spec = rate::Spec { cool_down: Some(Duration::from_secs(cool_down)), ..rate::Spec::default() };
        let mut raised = None;
        let mut turns: Vec<(Duration, bool)> = Vec::new();
        play(&PolicySpec::Rate(spec), &seconds, bounds, bounds.0, |before, sample, decision| {
            let (up, down) = (decision.replicas > before, decision.replicas < before);
            if down {
                let since = raised.map(|raised| sample.at - raised);
                assert!(since.is_none_or(|since| since >= Duration::from_secs(cool_down)), "down {since:?} after up");
            }
            if up {
                raised = Some(sample.at);
            }
            if (up || down) && turns.last().is_none_or(|&(_, was_up)| was_up != up) {
                turns.push((sample.at, up));
            }
        });
        for three in turns.windows(4) {
            assert!(three[3].0 - three[1].0 >= Duration::from_secs(cool_down), "{turns:?}");
        }
    }

    /// Functions that come and go leave what was learnt of the others alone.
    #[test]
    fn who_comes_and_goes_does_not_matter_to_the_others(seconds in prop::collection::vec(second(), 1..40)) {
        let spec = Spec::new(0, 40, PolicySpec::default());
        let (mut alone, mut crowded) = (autoscale::Controller::new(), autoscale::Controller::new());
        alone.set("it", &spec);
        crowded.set("it", &spec);
        let mut replicas = 1;
        for (n, second) in seconds.iter().enumerate() {
            let sample = sample(second, Duration::from_secs(n as u64 + 1), replicas, (0, 40));
            let expected = alone.decide(&[("it", sample.clone())]).remove(0);
            let others = policies();
            let other = &others[n % others.len()];
            crowded.set("other", &Spec::new(0, 40, other.clone()));
            let look = [("stranger", sample.clone()), ("other", sample.clone()), ("it", sample)];
            let found = crowded.decide(&look).remove(2);
            prop_assert_eq!(&found, &expected);
            if n % 3 == 0 {
                crowded.remove("other");
            }
            replicas = expected.replicas;
        }
    }
}
