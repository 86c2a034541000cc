//! What ours decides, told by small plays: functions that do what a fluid would.

use super::{Rate, Spec};
use crate::{Decision, Inputs, Instance, Policy, Sample};
use std::time::Duration;

/// One function that processes `rate` messages per second and instance.
#[derive(Clone)]
struct Function {
    rate: f64,
    startup_s: f64,
    /// When each instance was asked for, in seconds.
    born: Vec<f64>,
    backlog: f64,
    min: u32,
    max: u32,
    partitions: Option<u32>,
    hottest_key: f64,
    done_per_s: f64,
}

impl Function {
    fn new(rate: f64) -> Self {
        Self {
            rate,
            startup_s: 0.0,
            born: vec![-1000.0],
            backlog: 0.0,
            min: 0,
            max: 100,
            partitions: None,
            hottest_key: 0.0,
            done_per_s: 0.0,
        }
    }

    fn count(&self) -> u32 {
        self.born.len() as u32
    }
}

/// Functions in a row, one look a second.
struct Play {
    policy: Rate,
    functions: Vec<Function>,
    now: f64,
    said: Vec<Decision>,
}

impl Play {
    fn new(json: &str, functions: Vec<Function>) -> Self {
        let spec: Spec = serde_json::from_str(json).expect(json);
        Self { policy: Rate::new(spec), functions, now: 0.0, said: Vec::new() }
    }

    fn one(function: Function) -> Self {
        Self::new("{}", vec![function])
    }

    /// So many seconds with so many messages per second; the decisions of the last.
    fn run(&mut self, seconds: u32, arrival_per_s: f64) -> Vec<u32> {
        for _ in 0..seconds {
            self.second(arrival_per_s);
        }
        self.functions.iter().map(Function::count).collect()
    }

    fn second(&mut self, arrival_per_s: f64) {
        self.now += 1.0;
        let mut arrival_per_s = arrival_per_s;
        let mut samples = Vec::new();
        for (n, function) in self.functions.iter_mut().enumerate() {
            let is_ready = |&&born: &&f64| born + function.startup_s < self.now;
            let ready = function.born.iter().filter(is_ready).count() as f64;
            let busy_s = (function.backlog + arrival_per_s).min(ready * function.rate) / function.rate;
            function.done_per_s = busy_s * function.rate;
            function.backlog += arrival_per_s - function.done_per_s;
            let instance = |born: &f64| {
                let is_ready = is_ready(&born);
                let busy = if is_ready { busy_s / ready } else { 0.0 };
                Instance {
                    age: Duration::from_secs_f64(self.now - born),
                    startup: is_ready.then(|| Duration::from_secs_f64(function.startup_s)),
                    is_ready,
                    processed_per_s: busy * function.rate,
                    busy,
                    ..Instance::default()
                }
            };
            samples.push(Sample {
                at: Duration::from_secs_f64(self.now),
                replicas: function.count(),
                min: function.min,
                max: function.max,
                instances: function.born.iter().map(instance).collect(),
                inputs: Some(Inputs {
                    arrival_per_s,
                    backlog: function.backlog.round() as u64,
                    parallelism_max: function.partitions,
                    hottest_key: function.hottest_key,
                    ..Inputs::default()
                }),
                upstream: if n > 0 { vec![(n - 1, 1.0)] } else { Vec::new() },
                concurrency_max: 1,
                ..Sample::default()
            });
            arrival_per_s = function.done_per_s;
        }
        self.said = self.policy.decide(&samples);
        for (function, decision) in self.functions.iter_mut().zip(&self.said) {
            function.born.resize(decision.replicas as usize, self.now);
        }
    }

    fn code(&self) -> &str {
        &self.said[0].reason.code
    }
}

#[test]
fn as_many_as_the_rate_asks_for() {
    let mut play = Play::one(Function::new(10.0));
    // 100 / (10 x 0.95)
    assert_eq!(play.run(60, 100.0), [11]);
    assert_eq!(play.code(), "ArrivalRate");
    let text = &play.said[0].reason.text;
    assert!(text.contains("100.0/s arrive") && text.contains("one instance does 10.0/s"), "{text}");
}

#[test]
fn a_step_is_answered_in_the_next_decision() {
    let mut play = Play::one(Function::new(10.0));
    assert_eq!(play.run(60, 20.0), [3]);
    assert!(play.run(1, 200.0)[0] >= 24);
}

#[test]
fn what_starts_already_is_not_asked_for_again() {
    let mut play = Play::one(Function { startup_s: 20.0, ..Function::new(10.0) });
    play.run(60, 20.0);
    let first = play.run(1, 100.0)[0];
    assert_eq!(play.code(), "BacklogHigh");
    let later: Vec<u32> = (0..20).map(|_| play.run(1, 100.0)[0]).collect();
    assert!(later.iter().all(|&n| n <= first + 1), "{first}, then {later:?}");
    assert!(play.run(60, 100.0)[0] <= first);
    assert!(play.functions[0].backlog < 100.0, "{}", play.functions[0].backlog);
}

#[test]
fn nothing_is_started_for_a_backlog_that_is_gone_before_it_could_help() {
    let mut play = Play::one(Function { startup_s: 30.0, min: 2, ..Function::new(100.0) });
    play.run(60, 20.0);
    play.functions[0].backlog = 1_000.0;
    assert_eq!(play.run(1, 20.0), [2]);
}

#[test]
fn a_chain_scales_in_one_decision() {
    let mut play = Play::new("{}", vec![Function::new(10.0), Function::new(20.0), Function::new(5.0)]);
    assert_eq!(play.run(60, 8.0), [2, 1, 4]);
    let answered = play.run(1, 80.0);
    // 80 per second, or nearly, though what arrives at the third is 30 so far.
    assert!(answered[0] >= 10 && answered[1] >= 5 && answered[2] >= 16, "{answered:?}");
    assert_eq!(play.said[2].reason.code, "UpstreamRate");
}

#[test]
fn the_age_is_divided_among_the_functions_of_a_chain() {
    // Alone 2.9 instances are enough for a second, in a row of four for a quarter of it they are not.
    let alone = Play::new("{}", vec![Function::new(4.0)]).run(60, 6.0);
    let together = Play::new("{}", vec![Function::new(4.0); 4]).run(60, 6.0);
    assert_eq!((alone[0], together[0]), (3, 4));
}

#[test]
fn who_may_wait_longer_needs_less_room() {
    let with =
        |target: &str| Play::new(&format!(r#"{{"targetAge": "{target}"}}"#), vec![Function::new(10.0)]).run(60, 18.0);
    assert_eq!((with("1s"), with("30s")), (vec![3], vec![2]));
}

#[test]
fn a_queue_gets_help_before_it_is_late() {
    let mut play = Play::one(Function::new(10.0));
    assert_eq!(play.run(60, 94.0), [10]);
    // After this second 24 are left, of which ten are worked on: a message waits 0.15 s, which is fine, and twice as long is likely soon.
    play.functions[0].backlog = 30.0;
    assert_eq!(play.run(1, 94.0), [11]);
    assert_eq!(play.code(), "ShortOfRoom");
}

#[test]
fn partitions_are_not_divided_further() {
    let function = Function { partitions: Some(12), ..Function::new(10.0) };
    // With 7 to 11 instances some would have two partitions, as with 6.
    assert_eq!(Play::one(function.clone()).run(60, 55.0), [12]);
    assert_eq!(Play::one(function.clone()).run(60, 30.0), [6]);
    let mut play = Play::one(function);
    assert_eq!(play.run(60, 500.0), [12]);
    assert_eq!(play.code(), "LimitedByPartitions");
}

#[test]
fn more_instances_than_the_hottest_key_leaves_work_for_do_not_help() {
    // Of 7 instances the fullest has the key's quarter and a seventh of the rest, which is less than a third of all it has.
    let mut play = Play::one(Function { hottest_key: 0.25, ..Function::new(10.0) });
    assert_eq!(play.run(60, 500.0), [7]);
    assert_eq!(play.code(), "LimitedByKeySkew");
}

#[test]
fn while_nothing_is_known_the_number_doubles() {
    let mut play = Play::one(Function { backlog: 10_000.0, ..Function::new(0.05) });
    let counts: Vec<u32> = (0..10).map(|_| play.run(1, 50.0)[0]).collect();
    assert_eq!(counts, [1, 2, 2, 4, 4, 8, 8, 16, 16, 32]);
    assert_eq!(play.code(), "Probing");
}

#[test]
fn to_none_when_nothing_came_for_the_idle_time_and_back_at_once() {
    let mut play = Play::new(r#"{"idle": "20s"}"#, vec![Function::new(10.0)]);
    play.run(30, 5.0);
    assert_eq!(play.run(19, 0.0), [1]);
    assert_eq!(play.run(2, 0.0), [0]);
    assert_eq!(play.code(), "Idle");
    assert_eq!(play.run(1, 5.0), [1]);
}

#[test]
fn what_was_learnt_is_remembered_over_a_night() {
    let mut play = Play::one(Function::new(10.0));
    play.run(60, 50.0);
    play.run(3600, 0.0);
    assert_eq!(play.functions[0].count(), 0);
    assert!(play.run(2, 100.0)[0] >= 12);
}

#[test]
fn down_to_the_most_of_the_cool_down() {
    let mut play = Play::new(r#"{"coolDown": "30s"}"#, vec![Function::new(10.0)]);
    play.run(60, 100.0);
    assert_eq!(play.run(29, 20.0), [11]);
    assert_eq!(play.code(), "ScaleDownStabilized");
    assert_eq!(play.run(5, 20.0), [3]);
}

#[test]
fn who_adds_instances_by_hand_keeps_them_for_the_cool_down() {
    let mut play = Play::new(r#"{"coolDown": "30s"}"#, vec![Function::new(10.0)]);
    play.run(60, 10.0);
    let born = play.now;
    play.functions[0].born.resize(9, born);
    assert_eq!(play.run(29, 10.0), [9]);
    assert_eq!(play.run(3, 10.0), [2]);
}

#[test]
fn between_two_periods_it_only_looks() {
    let mut play = Play::new(r#"{"period": "10s"}"#, vec![Function::new(10.0)]);
    play.run(60, 20.0);
    let counts: Vec<u32> = (0..12).map(|_| play.run(1, 200.0)[0]).collect();
    let turns = counts.windows(2).filter(|two| two[0] != two[1]).count();
    assert!(turns <= 2 && counts[11] >= 24, "{counts:?}");
    assert!(play.said[0].reason.text.contains("200.0/s"), "{}", play.said[0].reason);
}

#[test]
fn without_a_new_sample_there_is_no_new_decision() {
    let mut policy = Rate::new(Spec::default());
    let source = Sample { replicas: 3, max: 5, at: Duration::from_secs(9), ..Sample::default() };
    let loaded = Inputs { arrival_per_s: 1e6, backlog: 1_000_000, ..Inputs::default() };
    let function = Sample { inputs: Some(loaded), ..source.clone() };
    policy.decide(std::slice::from_ref(&function));
    for sample in [source, function] {
        let decision = policy.decide(&[sample]).remove(0);
        assert_eq!((decision.replicas, decision.reason.code.as_str()), (3, "NoSample"));
    }
}

#[test]
fn a_circle_is_decided_too() {
    let mut policy = Rate::new(Spec::default());
    let circle = |n: usize| Sample {
        replicas: 1,
        max: 5,
        inputs: Some(Inputs::default()),
        upstream: vec![((n + 1) % 3, 1.0), (17, 1.0)],
        ..Sample::default()
    };
    assert_eq!(policy.decide(&[circle(0), circle(1), circle(2)]).len(), 3);
}
