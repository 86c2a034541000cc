//! Whole decisions, from samples. Numbers from kubernetes/kubernetes `pkg/controller/podautoscaler/horizontal_test.go`.

use super::super::{Hpa, Spec};
use crate::{Instance, Policy, Sample};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Instances that are ready for an hour, with these thousandths of a core of the one that each requests.
fn sample(min: u32, max: u32, millicores: &[u32]) -> Sample {
    let instance = |&millicores: &u32| Instance {
        age: HOUR,
        startup: Some(Duration::from_secs(1)),
        is_ready: true,
        cpu_cores: Some(f64::from(millicores) / 1000.0),
        ..Instance::default()
    };
    Sample {
        at: HOUR,
        replicas: millicores.len() as u32,
        min,
        max,
        instances: millicores.iter().map(instance).collect(),
        cpu_request: 1.0,
        ..Sample::default()
    }
}

fn spec(json: &str) -> Spec {
    serde_json::from_str(json).expect(json)
}

fn cpu(percent: i32) -> String {
    format!(
        r#"{{"type": "Resource", "resource": {{"name": "cpu", "target": {{"type": "Utilization", "averageUtilization": {percent}}}}}}}"#
    )
}

fn external(target: &str) -> String {
    format!(r#"{{"type": "External", "external": {{"metric": {{"name": "qps"}}, "target": {target}}}}}"#)
}

/// The decision, with nothing asked for before where `fresh`, and the code of its reason.
fn decided(metrics: &[String], rest: &str, sample: &Sample, fresh: bool) -> (u32, String) {
    let mut policy = Hpa::new(spec(&format!(r#"{{"metrics": [{}]{rest}}}"#, metrics.join(","))));
    if fresh {
        // As upstream's tests do where they give an empty list: the number at the begin is forgotten.
        let mut target = super::super::Target::default();
        target.history.recommendations.push((Duration::ZERO, 0));
        policy.targets.push(target);
    }
    let decision = policy.decide(std::slice::from_ref(sample)).remove(0);
    (decision.replicas, decision.reason.code)
}

#[test]
fn up_and_down_by_cpu() {
    let ok = "DesiredWithinRange".to_owned();
    assert_eq!(decided(&[cpu(30)], "", &sample(2, 6, &[300, 500, 700]), false), (5, ok.clone()));
    assert_eq!(decided(&[cpu(50)], "", &sample(2, 6, &[100, 300, 500, 250, 250]), true), (3, ok));
    let held = (5, "ScaleDownStabilized".to_owned());
    assert_eq!(decided(&[cpu(50)], "", &sample(2, 6, &[100, 300, 500, 250, 250]), false), held);
    assert_eq!(
        decided(&[cpu(100)], "", &sample(2, 6, &[4000, 9500, 3000, 7000]), false),
        (6, "TooManyReplicas".to_owned())
    );
    let rules = r#", "behavior": {"scaleUp": {"policies": [{"type": "Percent", "value": 700, "periodSeconds": 60}]}}"#;
    let tenths = Sample { cpu_request: 0.1, ..sample(1, 100, &[100, 200, 300]) };
    assert_eq!(decided(&[cpu(10)], rules, &tenths, false), (24, "ScaleUpLimit".to_owned()));
    assert_eq!(decided(&[cpu(10)], rules, &Sample { max: 20, ..tenths }, false), (20, "TooManyReplicas".to_owned()));
}

#[test]
fn bounds_hold_whatever_metrics_say() {
    let below = Sample { instances: Vec::new(), ..sample(2, 6, &[0]) };
    assert_eq!(decided(&[cpu(50)], "", &below, false), (2, "TooFewReplicas".to_owned()));
    assert_eq!(decided(&[cpu(50)], "", &sample(2, 5, &[8000; 6]), false), (5, "TooManyReplicas".to_owned()));
    let off = Sample { replicas: 0, instances: Vec::new(), ..sample(2, 5, &[0]) };
    assert_eq!(decided(&[cpu(50)], "", &off, false), (2, "ScalingDisabled".to_owned()));
}

#[test]
fn what_is_not_measured_is_kept() {
    let mut dark = sample(2, 6, &[0; 4]);
    for instance in &mut dark.instances {
        instance.cpu_cores = None;
    }
    assert_eq!(decided(&[cpu(100)], "", &dark, false), (4, "FailedGetResourceMetric".to_owned()));
    let no_request = Sample { cpu_request: 0.0, ..sample(1, 5, &[200]) };
    assert_eq!(decided(&[cpu(100)], "", &no_request, false), (1, "FailedGetResourceMetric".to_owned()));
}

#[test]
fn one_of_two_metrics_unknown_is_enough_to_go_up_and_too_little_to_go_down() {
    let metrics = |percent| [cpu(percent), external(r#"{"type": "Value", "value": "100m"}"#)];
    assert_eq!(decided(&metrics(30), "", &sample(2, 6, &[300, 400, 500]), true), (4, "DesiredWithinRange".to_owned()));
    let down = sample(2, 6, &[100, 300, 500, 250, 250]);
    assert_eq!(decided(&metrics(50), "", &down, true), (5, "FailedGetExternalMetric".to_owned()));
}

#[test]
fn the_largest_of_several_metrics_counts() {
    let both = [cpu(30), external(r#"{"type": "AverageValue", "averageValue": "2222m"}"#)];
    let mut three = sample(2, 6, &[300, 500, 700]);
    three.metrics.insert("qps".to_owned(), 8.6);
    assert_eq!(decided(&both, "", &three, false).0, 5);
    assert_eq!(decided(&both[1..], "", &three, false).0, 4);
    assert_eq!(decided(&[external(r#"{"type": "Value", "value": "6666m"}"#)], "", &three, false).0, 4);
}

#[test]
fn from_none_and_to_none_by_a_metric_from_elsewhere() {
    let value = [external(r#"{"type": "Value", "value": 15}"#)];
    let mut none = Sample { replicas: 0, instances: Vec::new(), ..sample(0, 6, &[0]) };
    none.metrics.insert("qps".to_owned(), 20.0);
    assert_eq!(decided(&value, "", &none, false).0, 2);
    let mut five = sample(0, 6, &[0; 5]);
    five.metrics.insert("qps".to_owned(), 0.0);
    assert_eq!(decided(&value, "", &five, true).0, 0);
}

#[test]
fn what_a_broker_says_is_a_metric_too() {
    let backlog = r#"{"type": "External", "external": {"metric": {"name": "backlog"}, "target": {"type": "AverageValue", "averageValue": 30}}}"#;
    let inputs = crate::Inputs { backlog: 100, ..crate::Inputs::default() };
    let waiting = Sample { inputs: Some(inputs), ..sample(1, 10, &[0]) };
    assert_eq!(decided(&[backlog.to_owned()], "", &waiting, false).0, 4);
}

#[test]
fn an_instance_that_begins_counts_as_idle_on_the_way_up() {
    let mut three = sample(2, 6, &[300, 500, 700]);
    three.instances[0].age = Duration::from_secs(20);
    three.instances[0].startup = Some(Duration::from_secs(15));
    assert_eq!(decided(&[cpu(30)], "", &three, false).0, 4);
    three.instances[0].is_draining = true;
    three.replicas = 2;
    assert_eq!(decided(&[cpu(30)], "", &three, false).0, 4);
}

#[test]
fn between_two_syncs_nothing_is_decided() {
    let mut policy = Hpa::new(spec("{}"));
    let mut at = |seconds: u64, millicores: &[u32]| {
        let sample = Sample { at: Duration::from_secs(seconds), ..sample(1, 10, millicores) };
        policy.decide(&[sample]).remove(0)
    };
    assert_eq!(at(0, &[100]).replicas, 1);
    let first = at(7, &[2000]);
    assert_eq!((first.replicas, first.reason.code.as_str()), (1, "DesiredWithinRange"));
    assert_eq!(at(16, &[2000]).replicas, 3);
    assert_eq!(at(29, &[2000; 3]).replicas, 3);
    let third = at(30, &[2000; 3]);
    assert_eq!((third.replicas, third.reason.code.as_str()), (6, "ScaleUpLimit"));
    assert_eq!(
        third.reason.text,
        "cpu at 200% of what is requested, target 80%: 3 instances should be 8, 6 at the speed allowed"
    );
}

#[test]
fn down_after_five_minutes_of_less() {
    let mut policy = Hpa::new(spec("{}"));
    let mut replicas = 4;
    let mut went_down = None;
    for seconds in (0..600).step_by(15) {
        let load = if seconds < 60 { 800 } else { 400 };
        let sample = Sample { at: Duration::from_secs(seconds), ..sample(1, 10, &vec![load; replicas as usize]) };
        replicas = policy.decide(&[sample])[0].replicas;
        if replicas < 4 {
            went_down = went_down.or(Some(seconds));
        }
    }
    assert_eq!(went_down, Some(360));
}
