//! From kubernetes/kubernetes `pkg/controller/podautoscaler/replica_calculator_test.go`. A pod there has two containers with the same
//! request and the same usage; here it is one, so a raw value is half of upstream's.

use super::super::replicas::{Calculator, Groups, Metric, Pod, Proposal, Ready, Target, Tolerances};
use std::time::Duration;

const INITIALIZATION: Duration = Duration::from_secs(120);
const READINESS_DELAY: Duration = Duration::from_secs(10);
const LONG_AGO: Duration = Duration::from_secs(1_000_000);
const TOLERANCES: Tolerances = Tolerances { down: 0.1, up: 0.1 };

fn calculator(tolerances: Tolerances) -> Calculator {
    Calculator { tolerances, cpu_initialization_period: INITIALIZATION, initial_readiness_delay: READINESS_DELAY }
}

/// Ready since always, with 1 core.
fn pod(value: i64) -> Pod {
    Pod {
        is_gone: false,
        is_pending: false,
        started: Some(LONG_AGO),
        ready: Some(Ready { is_ready: true, since: LONG_AGO }),
        request: Some(1000),
        metric: Some(Metric { value, measured: Duration::ZERO, window: Duration::from_secs(60) }),
    }
}

fn pods(values: &[i64]) -> Vec<Pod> {
    values.iter().map(|&value| pod(value)).collect()
}

trait Become: Sized {
    fn with(self, range: std::ops::Range<usize>, change: impl Fn(&mut Pod)) -> Self;

    fn unready(self, range: std::ops::Range<usize>) -> Self {
        self.with(range, |pod| pod.ready = Some(Ready { is_ready: false, since: LONG_AGO }))
    }

    /// Just begun.
    fn hot(self, range: std::ops::Range<usize>) -> Self {
        self.with(range, |pod| {
            pod.started = Some(Duration::ZERO);
            pod.ready = pod.ready.map(|ready| Ready { since: Duration::ZERO, ..ready });
        })
    }

    fn gone(self, range: std::ops::Range<usize>) -> Self {
        self.with(range, |pod| pod.is_gone = true)
    }

    fn missing(self, range: std::ops::Range<usize>) -> Self {
        self.with(range, |pod| pod.metric = None)
    }

    fn requesting(self, requests: &[i64]) -> Self;
}

impl Become for Vec<Pod> {
    fn with(mut self, range: std::ops::Range<usize>, change: impl Fn(&mut Pod)) -> Self {
        self[range].iter_mut().for_each(change);
        self
    }

    fn requesting(mut self, requests: &[i64]) -> Self {
        for (pod, &request) in self.iter_mut().zip(requests) {
            pod.request = Some(request);
        }
        self
    }
}

#[track_caller]
fn cpu(tolerances: Tolerances, current: u32, pods: Vec<Pod>, target: i32, replicas: u32, utilization: i64) {
    let found = calculator(tolerances).over_pods(current, &pods, Target::Utilization(target), true);
    assert_eq!(found, Ok(Proposal { replicas, current: utilization }));
}

#[test]
fn cpu_utilization() {
    let t = TOLERANCES;
    cpu(t, 3, pods(&[300, 500, 700]), 30, 5, 50);
    cpu(t, 3, pods(&[300, 500, 700]).unready(0..1), 30, 4, 60);
    cpu(t, 3, pods(&[300, 500, 700]).hot(0..1), 30, 4, 60);
    cpu(t, 3, pods(&[400, 500, 700]).unready(1..3), 30, 3, 40);
    cpu(t, 3, pods(&[400, 500, 700]).unready(1..3).hot(1..3), 30, 3, 40);
    cpu(t, 2, pods(&[500, 700, 0, 0]).unready(2..4).gone(2..4).missing(2..4), 30, 4, 60);
    cpu(t, 5, pods(&[100, 300, 500, 250, 250]), 50, 3, 28);
    cpu(t, 5, pods(&[100, 300, 500, 250, 250]).unready(3..5), 50, 2, 30);
    cpu(t, 5, pods(&[100, 0, 0, 0, 0]).missing(1..5).with(1..5, |pod| pod.is_pending = true), 50, 1, 10);
    cpu(t, 5, pods(&[100, 300, 500, 250, 250]).hot(3..5), 50, 2, 30);
    cpu(t, 5, pods(&[100, 300, 500, 250, 250, 0, 0]).gone(5..7).missing(5..7), 50, 3, 28);
    cpu(t, 3, pods(&[1010, 1030, 1020]).requesting(&[900, 1000, 1100]), 100, 3, 102);
    cpu(t, 4, pods(&[4000, 9500, 3000, 7000]), 100, 24, 587);
}

#[test]
fn tolerance_each_way() {
    let requests = [900, 1000, 1100];
    let near = |down, up| Tolerances { down, up };
    cpu(near(0.0, 0.0), 3, pods(&[909, 1010, 1111]).requesting(&requests), 100, 4, 101);
    cpu(near(0.1, 2.0), 3, pods(&[1890, 1910, 1900]).requesting(&requests), 100, 3, 190);
    cpu(near(2.0, 0.08), 3, pods(&[1100, 1080, 1090]).requesting(&requests), 100, 4, 109);
    cpu(near(0.36, 0.1), 3, pods(&[660, 640, 650]).requesting(&requests), 100, 3, 65);
    cpu(near(0.34, 0.1), 3, pods(&[660, 640, 650]).requesting(&requests), 100, 2, 65);
}

/// `TestReplicaCalcComputedToleranceAlgImplementation`: ten instances use half of what they request, with a little jitter.
#[test]
fn the_target_that_just_leaves_the_tolerance() {
    let requests: Vec<i64> = [100, -100, 10, -10, 2, -2, 1, -1, 0, 0].iter().map(|jitter| 300 + jitter).collect();
    let target = |more: f64| ((1.0 / (2.0 * (1.0 - 0.1)) + more) * 100.0) as i32;
    cpu(TOLERANCES, 10, pods(&[150; 10]).requesting(&requests), target(0.01), 9, 50);
    cpu(TOLERANCES, 10, pods(&[150; 10]).requesting(&requests), target(0.004), 10, 50);
}

#[test]
fn missing_metrics_never_help_a_change() {
    let t = TOLERANCES;
    cpu(t, 4, pods(&[400, 95, 0, 0]).missing(2..4), 100, 3, 24);
    cpu(t, 2, pods(&[1000, 0]).missing(1..2), 100, 2, 100);
    cpu(t, 2, pods(&[1900, 0]).missing(1..2), 100, 2, 190);
    cpu(t, 2, pods(&[600, 0]).missing(1..2), 100, 2, 60);
    cpu(t, 3, pods(&[100, 450, 0]).unready(0..1).missing(2..3), 50, 3, 45);
    cpu(t, 3, pods(&[100, 450, 0]).hot(0..1).missing(2..3), 50, 3, 45);
    cpu(t, 3, pods(&[100, 2000, 0]).unready(0..1).missing(2..3), 50, 4, 200);
    cpu(t, 3, pods(&[100, 2000, 0]).unready(0..1).hot(0..1).missing(2..3), 50, 4, 200);
    cpu(t, 4, pods(&[100, 100, 100, 0]).unready(0..1).missing(3..4), 50, 3, 10);
    let over_100 = pods(&[200, 100, 100, 0]).unready(0..1).missing(3..4).requesting(&[1000, 1000, 2000, 2000]);
    cpu(t, 4, over_100, 300, 2, 6);
    // A rolling update with one more than is wanted.
    cpu(t, 2, pods(&[100, 100, 0]).missing(2..3), 50, 2, 10);
}

#[test]
fn what_cannot_be_known_is_said() {
    let fails =
        |pods: Vec<Pod>| calculator(TOLERANCES).over_pods(4, &pods, Target::Utilization(100), true).unwrap_err();
    assert_eq!(fails(pods(&[0; 4]).missing(0..4)), "no instance has this metric");
    assert_eq!(fails(pods(&[200]).with(0..1, |pod| pod.request = None)), "there is no request to compare with");
    assert_eq!(fails(pods(&[200]).unready(0..1)), "no instance that is ready has this metric");
    assert_eq!(fails(Vec::new()), "there are no instances");
}

#[test]
fn metrics_of_pods() {
    let check = |up, current, pods: Vec<Pod>, target, replicas, usage| {
        let found = calculator(Tolerances { down: 0.1, up }).over_pods(current, &pods, Target::Average(target), false);
        assert_eq!(found, Ok(Proposal { replicas, current: usage }));
    };
    check(0.1, 3, pods(&[20_000, 10_000, 30_000]), 15_000, 4, 20_000);
    check(0.1, 3, pods(&[50_000, 10_000, 30_000]).unready(2..3).hot(2..3), 15_000, 6, 30_000);
    check(0.1, 3, pods(&[50_000, 15_000, 30_000]).unready(0..1).unready(2..3), 15_000, 7, 31_666);
    check(0.1, 5, pods(&[12_000; 5]), 20_000, 3, 12_000);
    check(0.1, 3, pods(&[20_000, 21_000, 21_000]), 20_000, 3, 20_666);
    check(0.01, 3, pods(&[20_000, 21_000, 21_000]), 20_000, 4, 20_666);
    check(0.1, 5, pods(&[20_000, 19_000, 21_000, 0, 0]).missing(3..5), 20_000, 5, 20_000);
    check(0.1, 2, pods(&[10_000, 10_000, 0]).missing(2..3), 17_000, 2, 10_000);
}

#[test]
fn metrics_of_objects_and_from_elsewhere() {
    let value = |up, current, pods: Vec<Pod>, usage, target, replicas| {
        let found = calculator(Tolerances { down: 0.1, up }).value(current, &pods, usage, target);
        assert_eq!(found, Ok(Proposal { replicas, current: usage }));
    };
    value(0.1, 3, pods(&[0; 3]), 20_000, 15_000, 4);
    value(0.1, 3, pods(&[0; 3]).unready(0..1).unready(2..3), 50_000, 10_000, 5);
    value(0.1, 3, pods(&[0; 3]).unready(0..1).unready(2..3), 8_600, 4_400, 2);
    value(0.1, 5, pods(&[0; 5]), 12_000, 20_000, 3);
    value(0.1, 5, pods(&[0; 5]), 8_600, 14_334, 3);
    value(0.1, 3, pods(&[0; 3]), 20_666, 20_000, 3);
    value(0.1, 3, pods(&[0; 3]), 8_600, 8_888, 3);
    value(0.01, 3, pods(&[0; 3]), 20_666, 20_000, 4);
    value(0.01, 3, pods(&[0; 3]), 8_900, 8_800, 4);
    value(0.1, 3, pods(&[0; 3]), i64::MAX, 1, i32::MAX as u32);
    value(0.1, 0, Vec::new(), 20_000, 15_000, 2);
    value(0.1, 0, Vec::new(), 1_000, 1_000, 1);
    value(0.1, 5, pods(&[0; 5]), 0, 20_000, 0);

    let per_pod = |up, there, usage, target, replicas, current| {
        let found = calculator(Tolerances { down: 0.1, up }).per_pod(there, usage, target);
        assert_eq!(found, Proposal { replicas, current });
    };
    per_pod(0.1, 3, 20_000, 5_000, 4, 6_667);
    per_pod(0.1, 3, 8_600, 2_150, 4, 2_867);
    per_pod(0.1, 5, 6_000, 2_000, 3, 1_200);
    per_pod(0.1, 5, 8_600, 2_867, 3, 1_720);
    per_pod(0.1, 4, 20_166, 5_000, 4, 5_042);
    per_pod(0.1, 3, 8_600, 2_900, 3, 2_867);
    per_pod(0.01, 4, 20_208, 5_000, 5, 5_052);
    per_pod(0.01, 3, 8_600, 2_800, 4, 2_867);
    per_pod(0.1, 1, i64::MAX, 1, i32::MAX as u32, i64::MAX);
    per_pod(0.1, 1, i64::MAX, i64::MAX, 1, i64::MAX);
}

#[test]
fn whose_metric_counts() {
    let seconds = Duration::from_secs;
    let a_pod = |started, ready: Option<(bool, u64)>, metric: Option<(u64, u64)>| Pod {
        started: Some(seconds(started)),
        ready: ready.map(|(is_ready, since)| Ready { is_ready, since: seconds(since) }),
        metric: metric.map(|(measured, window)| Metric {
            value: 1,
            measured: seconds(measured),
            window: seconds(window),
        }),
        ..pod(1)
    };
    let ready = || Groups { ready: vec![0], ..Groups::default() };
    let unready = || Groups { unready: vec![0], ..Groups::default() };
    let check = |name: &str, pod: Pod, is_cpu: bool, expected: Groups| {
        assert_eq!(calculator(TOLERANCES).group(&[pod], is_cpu), expected, "{name}");
    };
    check("memory", a_pod(0, None, Some((0, 60))), false, ready());
    check("no condition", a_pod(0, None, Some((0, 60))), true, unready());
    check("fresh metrics while it begins", a_pod(60, Some((true, 30)), Some((0, 30))), true, ready());
    check("no fresh metrics while it begins", a_pod(60, Some((true, 30)), Some((0, 60))), true, unready());
    check("unready since its start", a_pod(600, Some((false, 594)), Some((0, 60))), true, unready());
    check("no fresh metrics later", a_pod(180, Some((true, 180)), Some((120, 60))), true, ready());
    check("was ready later", a_pod(600, Some((false, 540)), Some((0, 60))), true, ready());
    check("was ready after the delay", a_pod(600, Some((false, 590)), Some((0, 60))), true, ready());
    check("missing", a_pod(180, None, None), true, Groups { missing: vec![0], ..Groups::default() });
    check("pending", Pod { is_pending: true, ..a_pod(0, None, None) }, true, unready());
    check("gone", Pod { is_gone: true, ..a_pod(0, None, Some((0, 60))) }, true, Groups::default());
}
