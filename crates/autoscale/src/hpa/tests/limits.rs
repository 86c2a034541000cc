//! From kubernetes/kubernetes `pkg/controller/podautoscaler/horizontal_test.go`.

use super::super::{
    Behavior, ScalingPolicy, ScalingPolicyType, ScalingRules, SelectPolicy,
    limits::{History, Limited, Rules, without_rules},
};
use std::time::Duration;

/// Now, far enough from the origin to look back.
const NOW: Duration = Duration::from_secs(100_000);

fn ago(seconds: u64) -> Duration {
    NOW - Duration::from_secs(seconds)
}

/// Pods with their period, per cent with theirs, the window; 0: no such policy.
fn rules(pods: i32, pods_s: i32, percent: i32, percent_s: i32, window_s: i32) -> Option<ScalingRules> {
    let policy = |kind, value, period_seconds| ScalingPolicy { kind, value, period_seconds };
    let policies =
        [policy(ScalingPolicyType::Pods, pods, pods_s), policy(ScalingPolicyType::Percent, percent, percent_s)];
    Some(ScalingRules {
        stabilization_window_seconds: Some(window_s),
        select_policy: Some(SelectPolicy::Max),
        policies: Some(policies.into_iter().filter(|policy| policy.value != 0).collect()),
        tolerance: None,
    })
}

/// Changes, each in the middle of its share of the last `period_s`.
fn spread(changes: &[u32], period_s: f64) -> Vec<(Duration, u32)> {
    let share = period_s / changes.len() as f64;
    let at = |i: usize| NOW - Duration::from_secs((period_s - share * (i + 1) as f64 + share / 2.0) as u64);
    changes.iter().enumerate().map(|(i, &change)| (at(i), change)).collect()
}

#[test]
fn without_behavior_the_number_at_most_doubles() {
    for (current, desired, min, max, replicas, reason) in [
        (5, 7, 3, 8, 7, "DesiredWithinRange"),
        (3, 1, 2, 8, 2, "TooFewReplicas"),
        (1, 0, 0, 10, 0, "DesiredWithinRange"),
        (20, 1000, 1, 10, 10, "TooManyReplicas"),
        (3, 1000, 1, 2000, 6, "ScaleUpLimit"),
        (1, 1000, 1, 2000, 4, "ScaleUpLimit"),
    ] {
        assert_eq!(without_rules(current, desired, min, max), Limited { replicas, reason }, "{current} to {desired}");
    }
}

#[test]
fn policies_limit_the_speed() {
    struct Case {
        name: &'static str,
        ups: Vec<(Duration, u32)>,
        downs: Vec<(Duration, u32)>,
        bounds: (u32, u32),
        up: Option<ScalingRules>,
        down: Option<ScalingRules>,
        from: (u32, u32),
        expected: (u32, &'static str),
    }
    let case = |name, bounds, from, expected| Case {
        name,
        ups: Vec::new(),
        downs: Vec::new(),
        bounds,
        up: None,
        down: None,
        from,
        expected,
    };
    let up = |case: Case, rules: Option<ScalingRules>| Case { up: rules, ..case };
    let down = |case: Case, rules: Option<ScalingRules>| Case { down: rules, ..case };
    let after_ups = |case: Case, changes: &[u32]| Case { ups: spread(changes, 120.0), ..case };
    let after_downs = |case: Case, changes: &[u32]| Case { downs: spread(changes, 120.0), ..case };
    let (within, up_limit, down_limit) = ("DesiredWithinRange", "ScaleUpLimit", "ScaleDownLimit");
    let (many, few) = ("TooManyReplicas", "TooFewReplicas");
    let wide = (1, 1000);
    let cases = [
        case("within", (3, 8), (5, 7), (7, within)),
        case("below the minimum", (2, 8), (3, 1), (2, few)),
        case("to zero", (0, 10), (1, 0), (0, within)),
        case("the maximum is the limit", (1, 10), (20, 1000), (10, many)),
        case("more than the maximum", (100, 150), (100, 1000), (150, many)),
        up(case("one per cent is one", (1, 2000), (3, 1000), (4, up_limit)), rules(0, 0, 1, 60, 0)),
        down(case("20 pods down", (3, 2000), (1000, 3), (980, down_limit)), rules(20, 60, 0, 0, 0)),
        case("defaults up", wide, (10, 50), (20, up_limit)),
        up(case("pods are more", wide, (10, 500), (110, up_limit)), rules(100, 60, 100, 60, 0)),
        up(case("per cent are more", wide, (10, 500), (20, up_limit)), rules(2, 60, 100, 60, 0)),
        up(case("many pods", wide, (10, 50), (50, within)), rules(100, 60, 0, 0, 0)),
        up(case("very many pods", wide, (10, 50), (50, within)), rules(10_000, 60, 0, 0, 0)),
        up(case("30 pods", wide, (10, 50), (40, up_limit)), rules(30, 60, 0, 0, 0)),
        up(case("200 per cent", wide, (10, 50), (30, up_limit)), rules(0, 0, 200, 60, 0)),
        down(case("pods down are more", wide, (100, 2), (80, down_limit)), rules(20, 60, 1, 60, 300)),
        down(case("pods down, fewer", wide, (100, 2), (98, down_limit)), rules(2, 60, 1, 60, 300)),
        down(case("to the minimum", wide, (10, 0), (1, few)), rules(100, 60, 0, 0, 300)),
        down(case("to the minimum by per cent", (5, 1000), (10, 2), (5, few)), rules(0, 0, 100, 60, 300)),
        down(case("5 pods down", wide, (10, 2), (5, down_limit)), rules(5, 60, 0, 0, 300)),
        down(case("half", wide, (10, 5), (5, within)), rules(0, 0, 50, 60, 300)),
        up(
            after_ups(case("200 < 100 - 15 + 300", (1, 200), (100, 500), (200, many)), &[1, 5, 9]),
            rules(300, 60, 0, 0, 0),
        ),
        up(after_ups(case("much per cent", (1, 200), (100, 500), (200, many)), &[1, 5, 9]), rules(0, 0, 10_000, 60, 0)),
        up(after_ups(case("no way back", wide, (100, 500), (100, up_limit)), &[1, 5, 9]), rules(5, 120, 0, 0, 0)),
        up(after_ups(case("100 - 15 + 150", wide, (100, 500), (235, up_limit)), &[1, 5, 9]), rules(150, 120, 0, 0, 0)),
        up(
            after_ups(case("(100 - 15) + 200 %", wide, (100, 500), (255, up_limit)), &[1, 5, 9]),
            rules(0, 0, 200, 120, 0),
        ),
        up(
            after_downs(after_ups(case("ups and downs", wide, (6, 24), (16, up_limit)), &[4]), &[2]),
            rules(0, 0, 300, 300, 0),
        ),
        after_downs(case("defaults down", wide, (10, 5), (5, within)), &[1, 5, 9]),
        down(after_downs(case("115 pods", wide, (100, 0), (1, few)), &[1, 5, 9]), rules(115, 120, 0, 0, 300)),
        down(after_downs(case("130 pods", (5, 1000), (100, 0), (5, few)), &[1, 5, 9]), rules(130, 120, 0, 0, 300)),
        down(after_downs(case("100 %", (5, 1000), (100, 2), (5, few)), &[1, 5, 9]), rules(0, 0, 100, 120, 300)),
        down(
            after_downs(case("100 + 15 - 5", wide, (100, 2), (100, down_limit)), &[1, 5, 9]),
            rules(5, 120, 0, 0, 300),
        ),
        down(
            after_downs(case("(100 + 12) - 50 %", wide, (100, 0), (56, down_limit)), &[2, 4, 6]),
            rules(0, 0, 50, 120, 300),
        ),
        down(
            after_downs(after_ups(case("downs and ups", wide, (10, 1), (6, down_limit)), &[2]), &[4]),
            rules(0, 0, 50, 180, 0),
        ),
        down(
            after_downs(case("(100 + 30) - 10 %", wide, (100, 0), (100, down_limit)), &[10; 3]),
            rules(0, 0, 10, 120, 300),
        ),
        down(after_downs(case("below nothing", wide, (10, 5), (5, within)), &[10; 3]), rules(0, 0, 1000, 120, 300)),
        up(after_ups(case("1000 pods", wide, (100, 200), (200, within)), &[8, 12, 9, 11]), rules(1000, 60, 0, 0, 0)),
        up(
            after_ups(case("two policies", wide, (100, 200), (200, within)), &[8, 12, 9, 11]),
            rules(1000, 120, 100, 60, 0),
        ),
        down(after_downs(case("1000 down", wide, (100, 5), (5, within)), &[8, 12, 9, 11]), rules(1000, 60, 0, 0, 300)),
        down(
            after_downs(case("two down", wide, (100, 5), (5, within)), &[8, 12, 9, 11]),
            rules(1000, 30, 100, 60, 300),
        ),
    ];
    for case in cases {
        let behavior = Behavior { scale_up: case.up, scale_down: case.down };
        let (up, down) = (Rules::up(&behavior), Rules::down(&behavior, Duration::from_secs(300)));
        let history = History { ups: case.ups, downs: case.downs, recommendations: Vec::new() };
        let (min, max) = case.bounds;
        let found = history.limited(NOW, &up, &down, case.from.0, case.from.1, min, max);
        let (replicas, reason) = case.expected;
        assert_eq!(found, Limited { replicas, reason }, "{}", case.name);
    }
}

#[test]
fn the_policy_that_is_selected() {
    let mut both = rules(2, 60, 50, 60, 300).expect("rules");
    let limit = |rules: &ScalingRules, current, direction| {
        let behavior = Behavior { scale_up: Some(rules.clone()), scale_down: None };
        History::default().limit(NOW, &Rules::up(&behavior), current, direction)
    };
    both.select_policy = Some(SelectPolicy::Min);
    assert_eq!(limit(&both, 1, 1), 2);
    assert_eq!(limit(&both, 5, -1), 3);
    both.select_policy = Some(SelectPolicy::Disabled);
    assert_eq!((limit(&both, 5, 1), limit(&both, 5, -1)), (5, 5));
}

#[test]
fn without_behavior_the_largest_recommendation_of_the_window_counts() {
    let check = |before: &[(Duration, u32)], desired, stable, remembered| {
        let mut history = History { recommendations: before.to_vec(), ..History::default() };
        let (held, _) = history.without_behavior(NOW, Duration::from_secs(300), 5, desired, 1, 100);
        assert_eq!((held.replicas, history.recommendations.len()), (stable, remembered), "{before:?}");
    };
    check(&[], 5, 5, 1);
    check(&[(ago(120), 4), (ago(60), 5)], 3, 5, 3);
    check(&[(ago(120), 1), (ago(60), 2)], 3, 3, 3);
    check(&[(ago(600), 10), (ago(540), 9)], 3, 3, 2);
    check(&[(ago(600), 10), (ago(60), 4), (ago(120), 5), (ago(540), 9)], 3, 5, 4);
}

#[test]
fn with_behavior_each_direction_has_its_window() {
    let check = |before: &[(u64, u32)], current, desired, (up_s, down_s), stable, remembered: &[u32]| {
        let behavior = Behavior { scale_up: rules(1, 60, 0, 0, up_s), scale_down: rules(1, 60, 0, 0, down_s) };
        let (up, down) = (Rules::up(&behavior), Rules::down(&behavior, Duration::from_secs(300)));
        let recommendations = before.iter().map(|&(s, replicas)| (ago(s), replicas)).collect();
        let mut history = History { recommendations, ..History::default() };
        let (held, _) = history.with_behavior(NOW, &up, &down, current, desired, 0, 1000);
        assert_eq!(held.replicas, stable, "{before:?}");
        if !remembered.is_empty() {
            assert_eq!(history.recommendations.iter().map(|r| r.1).collect::<Vec<_>>(), remembered, "{before:?}");
        }
    };
    check(&[], 100, 5, (0, 0), 5, &[5]);
    check(&[(120, 4), (60, 5)], 100, 3, (0, 180), 5, &[4, 5, 3]);
    check(&[(120, 4), (60, 5)], 1, 7, (300, 0), 4, &[4, 5, 7]);
    check(&[(120, 1), (60, 2)], 100, 3, (300, 0), 3, &[1, 2, 3]);
    check(&[(120, 4), (60, 5)], 1, 3, (0, 300), 3, &[4, 5, 3]);
    check(&[(600, 10), (540, 9)], 100, 3, (0, 0), 3, &[10, 3]);
    check(&[(600, 10), (540, 9)], 1, 100, (0, 0), 100, &[10, 100]);
    check(&[(600, 10), (60, 4), (120, 5), (540, 9)], 100, 3, (0, 180), 5, &[10, 4, 5, 3]);
    check(&[(6000, 10), (60, 6), (120, 5), (180, 9)], 1, 100, (300, 0), 5, &[100, 6, 5, 9]);
    check(&[(6000, 2), (180, 3)], 2, 1, (300, 300), 2, &[]);
    check(&[(6000, 2), (180, 1)], 2, 3, (300, 300), 2, &[]);
}

#[test]
fn changes_are_remembered_as_long_as_their_direction_asks() {
    let check = |before: &[(u64, u32)], given: Option<ScalingRules>, counted: i64, after: &[u32]| {
        let behavior = Behavior { scale_up: given.clone(), scale_down: given };
        let (up, down) = (Rules::up(&behavior), Rules::down(&behavior, Duration::ZERO));
        let changes: Vec<_> = before.iter().map(|&(s, change)| (ago(s), change)).collect();
        let mut history = History { ups: changes, ..History::default() };
        let within_60_s = Rules::up(&Behavior { scale_up: rules(100, 60, 0, 0, 0), scale_down: None });
        assert_eq!(110 - history.limit(NOW, &within_60_s, 10, 1), counted, "{before:?}");
        history.changed(NOW, &up, &down, 10, 15);
        assert_eq!(history.ups.iter().map(|e| e.1).collect::<Vec<_>>(), after, "{before:?}");
    };
    check(&[], rules(10, 60, 100, 60, 0), 0, &[5]);
    check(&[(61, 7)], rules(10, 60, 100, 60, 0), 0, &[5]);
    check(&[(58, 7)], rules(10, 60, 100, 60, 0), 7, &[7, 5]);
    check(&[(61, 7), (59, 6)], rules(10, 60, 0, 0, 0), 6, &[5, 6]);
    check(&[(29, 8), (59, 6), (61, 7), (61, 9)], rules(10, 60, 100, 30, 0), 14, &[8, 6, 7, 5]);
    check(&[(58, 7), (59, 6)], rules(10, 120, 100, 30, 0), 13, &[7, 6, 5]);
}
