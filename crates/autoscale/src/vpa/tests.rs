//! From `container_test.go`, `estimator_test.go`, `recommender_test.go` and `aggregate_container_state_test.go`, and from what
//! Kubernetes' own example settles at.

use super::*;
use crate::Quantity;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// 2017-04-18 17:35:05.
const START: Duration = Duration::from_secs(1_492_536_905);
const MIB: u64 = 1 << 20;

fn recommender() -> Recommender {
    Recommender::new(&Spec::default(), "pulsar-function")
}

fn written(resources: &Resources) -> [String; 2] {
    [&resources.cpu, &resources.memory].map(|q| q.as_ref().map_or("-".to_owned(), Quantity::to_string))
}

/// Of memory, the bucket in which this share lies; peaks are compared by the buckets they are in.
fn peak(recommender: &Recommender, share: f64) -> f64 {
    recommender.memory_percentile(share)
}

fn bucket_of(bytes: u64) -> f64 {
    let mut one = recommender();
    one.add_memory(START, 0, bytes);
    peak(&one, 1.0)
}

/// Kubernetes' hamster uses a little more than half a core, and its VPA says `587m` and `262144k`.
#[test]
fn the_hamster() {
    let mut hamster = recommender();
    for minute in 0..2 * 1440 {
        hamster.add_cpu(START + MINUTE * minute, 0, 0.5);
        hamster.add_memory(START + MINUTE * minute, 0, 3 * MIB);
    }
    let found = hamster.recommend().expect("two days of samples");
    assert_eq!(written(&found.target), ["587m", "262144000"]);
    assert_eq!(written(&found.uncapped_target), ["587m", "262144000"]);
    // (1 + 0.001 / 2 days)^-2 and 1 + 1 / 2 days.
    assert_eq!(written(&found.lower_bound)[0], "586m");
    assert_eq!(written(&found.upper_bound)[0], "880m");
}

#[test]
fn a_short_history_bounds_little() {
    let mut new = recommender();
    new.add_cpu(START, 0, 1.0);
    let found = new.recommend().expect("one sample");
    assert_eq!(written(&found.lower_bound), ["25m", "262144000"]);
    assert_eq!(written(&found.upper_bound), ["100000000000", "262144000"], "as much as there can be");
    for n in 1..9 {
        new.add_cpu(START + MINUTE * 2 * n, 0, 1.0);
    }
    // 9 / 1440 = 0.00625 days; the end of the bucket of one core, and 15 %, times 161.
    let target = new.recommend().expect("nine").target.cpu.expect("cpu").millis();
    let upper = new.recommend().expect("nine").upper_bound.cpu.expect("cpu").millis();
    assert_eq!(upper, target * 161);
}

#[test]
fn there_is_a_least_recommendation_and_none_without_samples() {
    assert_eq!(recommender().recommend(), None);
    let mut idle = recommender();
    idle.add_memory(START, 0, MIB);
    assert_eq!(idle.recommend(), None, "of memory alone nothing is recommended");
    idle.add_cpu(START, 0, 0.001);
    assert_eq!(written(&idle.recommend().expect("a sample").target), ["25m", "262144000"]);
}

#[test]
fn samples_that_are_none_are_refused() {
    let mut one = recommender();
    assert!(one.add_cpu(START, 0, 3.0) && one.add_cpu(START + MINUTE, 0, 6.0));
    assert!(!one.add_cpu(START + MINUTE, 0, 1.0), "not newer");
    assert!(one.add_cpu(START + MINUTE, 1, 1.0), "another instance");
    assert!(!one.add_cpu(START + DAY, 0, -1.0) && !one.add_cpu(START + DAY, 0, f64::NAN));
    assert!(one.add_memory(START + MINUTE, 0, 5) && !one.add_memory(START, 0, 5));
}

#[test]
fn a_day_has_one_peak_of_each_instance() {
    let mut one = recommender();
    one.add_memory(START, 0, 500 * MIB);
    one.add_memory(START + DAY / 2, 0, 1000 * MIB);
    one.add_memory(START + DAY * 2 / 3, 0, 800 * MIB);
    assert_eq!(peak(&one, 0.0), bucket_of(1000 * MIB), "the smaller one was taken away");
    one.add_memory(START + DAY, 0, 200 * MIB);
    assert_eq!((peak(&one, 0.0), peak(&one, 1.0)), (bucket_of(200 * MIB), bucket_of(1000 * MIB)));
    // Yesterday counts half.
    assert_eq!((peak(&one, 0.66), peak(&one, 0.67)), (bucket_of(200 * MIB), bucket_of(1000 * MIB)));
}

#[test]
fn memory_that_was_not_enough_is_raised() {
    let after = |recommender: &mut Recommender, requested: u64| {
        assert!(recommender.add_out_of_memory(START, 0, requested * MIB));
        peak(recommender, 1.0)
    };
    assert_eq!(after(&mut recommender(), 1000), bucket_of(1200 * MIB), "by a fifth");
    assert_eq!(after(&mut recommender(), 1), bucket_of(101 * MIB), "by 100 MiB");
    let mut again = recommender();
    assert_eq!(after(&mut again, 1000), bucket_of(1200 * MIB));
    assert_eq!(after(&mut again, 999), bucket_of(1200 * MIB), "a smaller one changes nothing");
    assert_eq!((after(&mut again, 2000), peak(&again, 0.0)), (bucket_of(2400 * MIB), bucket_of(2400 * MIB)));
    let mut used_more = recommender();
    used_more.add_memory(START, 0, 3000 * MIB);
    assert_eq!(after(&mut used_more, 1000), bucket_of(3600 * MIB), "of what it used, where that was more");
    assert!(!used_more.add_out_of_memory(START - Duration::from_secs(30 * 3600), 0, 5000 * MIB), "too long ago");
    let mut later = recommender();
    later.add_memory(START, 0, 2000 * MIB);
    later.add_out_of_memory(START + DAY * 2, 0, 1000 * MIB);
    assert_eq!(peak(&later, 1.0), bucket_of(2400 * MIB), "the last peak that was known, in a new interval");
}

fn spec(policies: &str) -> Spec {
    let json = format!(r#"{{"resourcePolicy": {{"containerPolicies": [{policies}]}}}}"#);
    serde_json::from_str(&json).expect(&json)
}

#[test]
fn policies_bound_filter_and_switch_off() {
    let recommended = |policies: &str, container: &str| {
        let mut recommender = Recommender::new(&spec(policies), container);
        recommender.add_cpu(START, 0, 0.5);
        recommender.add_cpu(START + DAY, 0, 0.5);
        recommender.recommend()
    };
    let target = |policies: &str| written(&recommended(policies, "x").expect("a recommendation").target);
    let all = r#""containerName": "*""#;
    assert_eq!(target(&format!(r#"{{{all}, "minAllowed": {{"cpu": 1, "memory": "300Mi"}}}}"#)), ["1", "300Mi"]);
    assert_eq!(target(&format!(r#"{{{all}, "maxAllowed": {{"cpu": "100m", "memory": "100Mi"}}}}"#)), ["100m", "100Mi"]);
    assert_eq!(target(&format!(r#"{{{all}, "minAllowed": {{"cpu": 2}}, "maxAllowed": {{"cpu": 1}}}}"#))[0], "1");
    assert_eq!(target(&format!(r#"{{{all}, "controlledResources": ["memory"]}}"#)), ["-", "262144000"]);
    assert_eq!(target(&format!(r#"{{{all}, "controlledResources": []}}"#)), ["-", "-"]);
    assert_eq!(target(r#"{"containerName": "y", "minAllowed": {"cpu": 4}}"#)[0], "587m");
    assert_eq!(target(&format!(r#"{{{all}, "minAllowed": {{"cpu": 4}}}}, {{"containerName": "x"}}"#))[0], "587m");
    assert_eq!(recommended(&format!(r#"{{{all}, "mode": "Off"}}"#), "x"), None);
    let found = recommended(&format!(r#"{{{all}, "maxAllowed": {{"cpu": "100m"}}}}"#), "x").expect("one");
    assert_eq!(written(&found.uncapped_target)[0], "587m");
    let json = serde_json::to_value(&found).expect("plain");
    assert_eq!(json["target"]["cpu"], "100m");
    assert_eq!(json["uncappedTarget"]["memory"], "262144000");
}

#[test]
fn limits_follow_requests_or_stay() {
    let quantity = |text: &str| (text != "-").then(|| text.parse::<Quantity>().expect("a quantity"));
    let resources = |cpu: &str, memory: &str| Resources { cpu: quantity(cpu), memory: quantity(memory) };
    let recommendation = Recommendation { target: resources("600m", "300Mi"), ..Recommendation::default() };
    let check = |controlled, requests: [&str; 2], limits: [&str; 2], expected: [[&str; 2]; 2]| {
        let declared =
            Requirements { requests: resources(requests[0], requests[1]), limits: resources(limits[0], limits[1]) };
        let found = recommendation.applied(controlled, &declared);
        let [requests, limits] = expected.map(|[cpu, memory]| resources(cpu, memory));
        assert_eq!(found, Requirements { requests, limits });
    };
    use ControlledValues::{RequestsAndLimits, RequestsOnly};
    check(RequestsAndLimits, ["100m", "100Mi"], ["200m", "-"], [["600m", "300Mi"], ["1200m", "-"]]);
    check(RequestsAndLimits, ["-", "-"], ["1", "1Gi"], [["600m", "300Mi"], ["600m", "300Mi"]]);
    check(RequestsOnly, ["100m", "100Mi"], ["500m", "1Gi"], [["500m", "300Mi"], ["500m", "1Gi"]]);

    // Who has all it can get is within the bounds.
    let bounds = |lower_bound, upper_bound| Recommendation { lower_bound, upper_bound, ..recommendation.clone() };
    let found = bounds(resources("550m", "200Mi"), resources("800m", "400Mi"));
    let limits = resources("500m", "350Mi");
    let expected = bounds(resources("500m", "200Mi"), resources("500m", "350Mi"));
    let expected = Recommendation { target: resources("500m", "300Mi"), ..expected };
    assert_eq!(found.within(RequestsOnly, &limits), expected);
    assert_eq!(found.within(RequestsAndLimits, &limits), found);
    assert_eq!(found.within(RequestsOnly, &Resources::default()), found);
}

#[test]
fn a_checkpoint_is_kubernetes_own() {
    let mut before = recommender();
    for minute in 0..3000 {
        before.add_cpu(START + MINUTE * minute, 0, 0.3 + f64::from(minute % 7) / 10.0);
        before.add_memory(START + MINUTE * minute, 0, u64::from(minute % 11) * 40 * MIB);
    }
    let json = serde_json::to_string(&before.save()).expect("plain values");
    assert!(
        json.contains(r#""version":"v3""#) && json.contains(r#""firstSampleStart":"2017-04-18T17:35:05Z""#),
        "{json}"
    );
    let saved: Checkpoint = serde_json::from_str(&json).expect("what was written");
    let after = Recommender::load(&Spec::default(), "", &saved).expect("a checkpoint");
    assert_eq!(after.recommend(), before.recommend());

    let empty: Checkpoint = serde_json::from_str(
        r#"{"version": "v3", "firstSampleStart": null, "lastUpdateTime": "2018-01-01T00:00:00Z", "cpuHistogram": {}}"#,
    )
    .expect("fields may be missing, and more than these");
    assert_eq!(Recommender::load(&Spec::default(), "", &empty).expect("empty").recommend(), None);
    let other = Checkpoint { version: "foo".to_owned(), ..Checkpoint::default() };
    assert!(Recommender::load(&Spec::default(), "", &other).is_err());
}
