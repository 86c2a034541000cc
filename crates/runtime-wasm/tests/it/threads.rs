//! Many instances on few threads.

use functions::runtime::{Input, Invocation, Request};
use runtime_wasm::Config;
use std::{fs, time::Duration};

use crate::{
    guests::guest,
    harness::{Fixture, function, message, output},
};

#[tokio::test]
async fn a_function_that_computes_leaves_others_their_turn_on_the_same_thread() {
    let fixture = Fixture::with(Config { threads: 1, ..Config::default() });
    let mut spec = function(guest("test-guest"));
    spec.timeout = Some(Duration::from_secs(3600));
    let busy = fixture.start(spec).await;
    let invocation = Invocation { id: 0, input: Input::Message(message("loop")) };
    busy.link.requests.send(Request::Invoke(vec![invocation])).await.expect("it listens");
    let mut other = fixture.start(function(guest("exclamation"))).await;
    for _ in 0..10 {
        assert_eq!(other.say("a").await, output("a!"));
    }
}

#[tokio::test]
async fn a_thousand_instances_start_at_once_and_each_serves() {
    let fixture = Fixture::new();
    let spec = function(guest("exclamation"));
    let mut instances = Vec::new();
    for _ in 0..1000 {
        instances.push(fixture.start(spec.clone()).await);
    }
    for instance in &mut instances {
        assert_eq!(instance.say("a").await, output("a!"));
    }
    for instance in instances {
        let (_, exit) = instance.stop().await;
        assert!(exit.is_clean, "{}", exit.reason);
    }
}

#[tokio::test]
async fn threads_of_guests_have_a_lower_priority() {
    let fixture = Fixture::with(Config { threads: 1, nice: 3, ..Config::default() });
    assert_eq!(fixture.start(function(guest("exclamation"))).await.say("a").await, output("a!"));
    let ours = nice_of("/proc/self/stat");
    let tasks = fs::read_dir("/proc/self/task").expect("proc").filter_map(Result::ok);
    let is_guests = |stat: &String| fs::read_to_string(stat).is_ok_and(|stat| stat.contains("(wasm)"));
    let guests: Vec<_> = tasks.map(|task| format!("{}/stat", task.path().display())).filter(is_guests).collect();
    // Other tests of this process have theirs.
    assert!(guests.iter().any(|stat| nice_of(stat) == (ours + 3).min(19)));
}

/// Of `pid (name) state ...`, nice is field 19.
fn nice_of(stat: &str) -> i64 {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    let nice = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(16));
    nice.and_then(|nice| nice.parse().ok()).unwrap_or_default()
}
