//! The instance loop on a real broker with a real journal; user code is a closure.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

mod collecting;
mod dead_letters;
mod entries;
mod manual;
mod ordered;
mod reads;
mod scaling;
mod sharing;
mod sources;
mod support;
mod windows;

use functions::{
    Record,
    event_log::Schema,
    message::Key,
    runtime::{Answer, Effects, Exit, Question, StateChange, UserException},
    spec::{Guarantee, Span},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use support::{Did, Node, Script, function, texts};

fn exclaim(text: &str) -> Did {
    Did::Returned(text.to_owned() + "!")
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_those_of_the_inputs_in_order_and_say_where_they_come_from() {
    let node = Node::start().await;
    let texts: Vec<String> = (0..2000).map(|n| format!("m{n}")).collect();
    node.publish("in", texts.iter().map(String::as_str)).await;
    let instance = node.run(function("f"), Script::each(exclaim));
    let found = node.read("out", 2000).await;
    assert_eq!(
        found.iter().map(support::text).collect::<Vec<_>>(),
        texts.iter().map(|t| format!("{t}!")).collect::<Vec<_>>()
    );
    let property = |name: &str| found[7].properties.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    assert_eq!(property("__pfn_input_topic__").as_deref(), Some("persistent://public/default/in"));
    assert!(property("__pfn_input_msg_id__").is_some());
    assert_eq!(found[7].key, Some(Key { text: "m7".into(), is_base64: false }));
    node.acknowledged("in", "f").await;
    let status = instance.status();
    assert_eq!((status.received, status.processed, status.published), (2000, 2000, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_invocation_wanted_goes_with_its_exception() {
    let node = Node::start().await;
    node.publish("in", ["good", "bad", "fine"]).await;
    let script = Script::new(|_, text| {
        let effects = Effects {
            publishes: vec![support::record("elsewhere", text)],
            changes: vec![StateChange::Add { key: "seen".into(), amount: 1 }],
            metrics: vec![("tried".into(), 1.0)],
            ..Effects::default()
        };
        match text {
            "bad" => Did::All(Err(UserException { message: "ValueError: bad".into() }), effects),
            _ => Did::All(Ok(vec![Record { payload: text.to_owned().into(), ..Record::default() }]), effects),
        }
    });
    let mut spec = function("f");
    (spec.max_message_retries, spec.dead_letter_topic) = (Some(0), Some(support::topic("dead")));
    let instance = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 2).await), ["good", "fine"]);
    assert_eq!(texts(&node.read("dead", 1).await), ["bad"]);
    node.acknowledged("in", "f").await;
    assert_eq!(texts(&node.read("elsewhere", 2).await), ["good", "fine"]);
    assert_eq!(node.counter("f", "seen").await, 2);
    let status = instance.status();
    assert_eq!((status.user_exceptions, status.latest_user_exceptions[0].message.as_str()), (1, "ValueError: bad"));
    assert_eq!(status.user_metrics["tried"].count, 3, "metrics are of what was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_sees_what_ended_before_it_durable_or_not() {
    let node = Node::start().await;
    let texts_in: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    node.publish("in", texts_in.iter().map(String::as_str)).await;
    // Each asks for what the one before has left, in both kinds.
    let script = Script::asking(
        |n| if n % 2 == 0 { Question::State("last".into()) } else { Question::Counter("count".into()) },
        |text, answer| {
            let said = match answer {
                Answer::State(value) => value.map_or("none".into(), |v| String::from_utf8_lossy(&v).into_owned()),
                Answer::Counter(count) => count.to_string(),
                Answer::Failed(why) => why,
            };
            let changes = vec![
                StateChange::Put { key: "last".into(), value: text.to_owned().into() },
                StateChange::Add { key: "count".into(), amount: 1 },
            ];
            let record = Record { payload: said.into(), ..Record::default() };
            Did::All(Ok(vec![record]), Effects { changes, ..Effects::default() })
        },
    );
    let _instance = node.run(function("f"), script);
    let found = texts(&node.read("out", 300).await);
    for (n, said) in found.iter().enumerate() {
        let wanted = match n {
            0 => "none".to_owned(),
            n if n % 2 == 0 => (n - 1).to_string(),
            n => n.to_string(),
        };
        assert_eq!(*said, wanted, "message {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_dies_again_and_again_has_each_effect_once() {
    let node = Node::start().await;
    let texts_in: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    node.publish("in", texts_in.iter().map(String::as_str)).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let script = Script::new(move |_, text| {
        // Three times on the way, in the middle of a batch.
        if [40, 90, 150].contains(&calls.fetch_add(1, SeqCst)) {
            return Did::Died(Exit { is_clean: false, reason: "killed".into() });
        }
        let record = Record { payload: text.to_owned().into(), ..Record::default() };
        let changes = vec![StateChange::Add { key: "seen".into(), amount: 1 }];
        Did::All(Ok(vec![record]), Effects { changes, ..Effects::default() })
    });
    let instance = node.run(function("f"), script);
    let mut found = texts(&node.read("out", 200).await);
    node.acknowledged("in", "f").await;
    found.sort();
    let mut wanted = texts_in;
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(node.counter("f", "seen").await, 200);
    assert_eq!(instance.status().restarts, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_from_a_runtime_is_passed_over() {
    let node = Node::start().await;
    node.publish("in", ["a", "b"]).await;
    let script = Script::new(|id, text| {
        let text = if text == "a" { "a" } else { "b" };
        Did::Events(vec![(id + 1000, "unknown"), (id, text), (id, "again")])
    });
    let _instance = node.run(function("f"), script);
    assert_eq!(texts(&node.read("out", 2).await), ["a", "b"]);
    node.acknowledged("in", "f").await;
    assert!(node.nothing_more("out").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_stops_leaves_what_it_has_not_begun_to_others() {
    let node = Node::start().await;
    let slow = |text: &str| {
        std::thread::sleep(Duration::from_millis(2));
        exclaim(text)
    };
    let texts_in: Vec<String> = (0..400).map(|n| format!("m{n}")).collect();
    let first = node.run(function("f"), Script::each(slow));
    node.publish("in", texts_in.iter().map(String::as_str)).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    first.stop(Duration::from_secs(10)).await;
    let _second = node.run(function("f"), Script::each(slow));
    let mut found = texts(&node.read("out", 400).await);
    node.acknowledged("in", "f").await;
    assert!(node.nothing_more("out").await);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_outlives_its_instance() {
    let node = Node::start().await;
    let mut spec = function("f");
    spec.window = Some(support::windows(Span::Count(4), Span::Count(4)));
    let first = node.run(spec.clone(), Script::joining());
    node.publish("in", ["a", "b", "c"]).await;
    node.acknowledged("in", "f").await;
    first.stop(Duration::from_secs(10)).await;
    let _second = node.run(spec, Script::joining());
    node.publish("in", ["d", "e"]).await;
    assert_eq!(texts(&node.read("out", 1).await), ["a+b+c+d"]);
    assert!(node.nothing_more("out").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_can_never_be_done_holds_up_nothing_else() {
    let node = Node::start().await;
    node.publish("in", ["put"]).await;
    let script = Script::new(|_, text| {
        let changes = match text {
            "put" => vec![StateChange::Put { key: "k".into(), value: "no number".into() }],
            "add" => vec![StateChange::Add { key: "k".into(), amount: 1 }],
            _ => Vec::new(),
        };
        let record = Record { payload: text.to_owned().into(), ..Record::default() };
        Did::All(Ok(vec![record]), Effects { changes, ..Effects::default() })
    });
    let mut spec = function("f");
    (spec.max_message_retries, spec.dead_letter_topic) = (Some(1), Some(support::topic("dead")));
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(100)));
    let instance = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 1).await), ["put"]);
    node.publish("in", ["a", "add", "b", "c"]).await;
    let mut found = texts(&node.read("out", 3).await);
    found.sort();
    assert_eq!(found, ["a", "b", "c"]);
    // It is user code's doing, and ends as an exception does.
    let dead = &node.read("dead", 1).await[0];
    assert_eq!(support::text(dead), "add");
    assert!(dead.properties.iter().any(|(name, why)| name == "EXCEPTION" && why.contains("counter")), "{dead:?}");
    node.acknowledged("in", "f").await;
    let status = instance.status();
    assert!(status.user_exceptions > 0 && status.running, "{status:?}");
    assert_eq!(status.restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_published_is_user_codes_exception() {
    let node = Node::start().await;
    node.publish("in", ["large", "nowhere", "fine"]).await;
    let script = Script::new(|_, text| match text {
        "large" => Did::Returned("x".repeat(6 << 20)),
        "nowhere" => Did::All(Ok(vec![support::record("no topic at all!//", "x")]), Effects::default()),
        _ => exclaim(text),
    });
    let mut spec = function("f");
    (spec.max_message_retries, spec.dead_letter_topic) = (Some(0), Some(support::topic("dead")));
    let instance = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 1).await), ["fine!"]);
    assert_eq!(texts(&node.read("dead", 2).await), ["large", "nowhere"]);
    node.acknowledged("in", "f").await;
    let status = instance.status();
    assert_eq!((status.user_exceptions, status.system_exceptions, status.restarts), (2, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_whose_outcome_is_impossible_has_had_its_chance() {
    let node = Node::start().await;
    let mut spec = function("f");
    spec.dead_letter_topic = Some(support::topic("dead"));
    spec.window = Some(support::windows(Span::Count(2), Span::Count(2)));
    // One is refused when it is committed, another one when it is published.
    let script = Script::new(|_, text| {
        let changes = match text {
            "a+b" => vec![StateChange::Put { key: "k".into(), value: "no number".into() }],
            "c+d" => vec![StateChange::Add { key: "k".into(), amount: 1 }],
            "e+f" => return Did::Returned("x".repeat(6 << 20)),
            _ => Vec::new(),
        };
        let record = Record { payload: text.to_owned().into(), ..Record::default() };
        Did::All(Ok(vec![record]), Effects { changes, ..Effects::default() })
    });
    node.publish("in", ["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    let instance = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 2).await), ["a+b", "g+h"]);
    let mut dead = texts(&node.read("dead", 4).await);
    dead.sort();
    assert_eq!(dead, ["c", "d", "e", "f"]);
    let status = instance.status();
    assert_eq!((status.user_exceptions, status.restarts), (2, 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_windows_at_once_are_all_seen() {
    let node = Node::start().await;
    let mut spec = function("f");
    spec.window = Some(support::windows(Span::Count(2), Span::Count(1)));
    let texts_in: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    node.publish("in", texts_in.iter().map(String::as_str)).await;
    let _instance = node.run(spec, Script::joining());
    let found = texts(&node.read("out", 1000).await);
    let wanted = (0..1000).map(|n| if n == 0 { "0".into() } else { format!("{}+{n}", n - 1) });
    assert_eq!(found, wanted.collect::<Vec<String>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_the_output_is_registered_and_one_the_topic_does_not_take_is_told() {
    let node = Node::start().await;
    node.publish("in", ["a"]).await;
    let schema = |field_type: &str| {
        let field = format!(r#"{{"name":"x","type":"{field_type}"}}"#);
        let definition = format!(r#"{{"type":"record","name":"R","fields":[{field}]}}"#);
        Schema::named("JSON", definition.into(), Default::default()).unwrap()
    };
    let first = node.run(function("f"), Script::each(exclaim).writing(schema("int")));
    assert_eq!(node.read("out", 1).await[0].schema_version[..], 0u64.to_be_bytes());
    first.stop(Duration::from_secs(5)).await;

    let second = node.run(function("g"), Script::each(exclaim).writing(schema("string")));
    node.until("it is told", || !second.status().error.is_empty()).await;
    let status = second.status();
    assert!(!status.running);
    assert!(status.error.starts_with("the output topic persistent://public/default/out: "), "{}", status.error);
    assert_eq!(status.received, 0, "nothing is begun that cannot end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_comes_again_after_the_time_its_input_is_configured_with() {
    let node = Node::start().await;
    node.publish("in", ["a"]).await;
    let mut spec = function("f");
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(200)));
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let script = Script::each(move |text| match counted.fetch_add(1, SeqCst) {
        0 => Did::All(Err(UserException { message: "not yet".into() }), Effects::default()),
        _ => exclaim(text),
    });
    let began = std::time::Instant::now();
    let _instance = node.run(spec, script);
    // As long as Pulsar waits where nothing is said would be too long for this test.
    assert_eq!(texts(&node.read("out", 1).await), ["a!"]);
    assert!(began.elapsed() >= Duration::from_millis(200), "it comes no earlier");
    assert_eq!(tries.load(SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_refuses_for_now_is_told_and_the_input_stays() {
    let node = Node::start().await;
    node.publish("in", ["a"]).await;
    let elsewhere = || Record { topic: Some("persistent://public/not-yet/x".into()), ..Record::default() };
    let script = Script::new(move |_, _| Did::All(Ok(vec![elsewhere()]), Effects::default()));
    let instance = node.run(function("f"), script);
    node.until("a system exception", || instance.status().system_exceptions > 0).await;
    assert_eq!(node.backlog("in", "f").await, 1);
    let status = instance.status();
    assert!(status.running && status.user_exceptions == 0, "the function is not to blame");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_may_publish_to_any_number_of_topics() {
    let node = Node::start().await;
    let inputs: Vec<String> = (0..1300).map(|n| n.to_string()).chain(["0".into()]).collect();
    let script =
        Script::new(|_, text| Did::All(Ok(vec![support::record(&format!("out-{text}"), text)]), Effects::default()));
    let instance = node.run(function("f"), script);
    node.publish("in", inputs.iter().map(String::as_str)).await;
    node.acknowledged("in", "f").await;
    // The first topic is among those that were closed meanwhile, and opened again.
    assert_eq!(texts(&node.read("out-0", 2).await), ["0", "0"]);
    assert_eq!(texts(&node.read("out-1299", 1).await), ["1299"]);
    assert!(node.producers("out-1").await == 0, "it is closed");
    let status = instance.status();
    assert_eq!((status.published, status.system_exceptions, status.restarts), (1301, 0, 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_end_out_of_order_count_in_their_order() {
    let node = Node::start().await;
    let mut spec = function("f");
    spec.window = Some(support::windows(Span::Count(1), Span::Count(1)));
    // Each pair is answered the other way round; of the last pair only the second one is, before the code dies.
    let waiting = std::sync::Mutex::new(Vec::new());
    let script = Script::new(move |id, text| {
        let text: &'static str = text.to_owned().leak();
        let mut waiting = waiting.lock().unwrap();
        waiting.push((id, text));
        match (waiting.len(), text) {
            (2, "f") => {
                waiting.remove(0);
                Did::Events(std::mem::take(&mut *waiting))
            }
            (2, _) => {
                waiting.reverse();
                Did::Events(std::mem::take(&mut *waiting))
            }
            (1, "g") => Did::Died(Exit { is_clean: false, reason: "on purpose".into() }),
            _ => Did::Events(Vec::new()),
        }
    });
    node.publish("in", ["a", "b", "c", "d", "e", "f", "g"]).await;
    let instance = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 4).await), ["a", "b", "c", "d"]);
    node.until("it died", || instance.status().restarts > 0).await;
    drop(instance);
    // Neither of the last pair has counted: both are there for the next.
    let mut spec = function("f");
    spec.window = Some(support::windows(Span::Count(1), Span::Count(1)));
    let _instance = node.run(spec, Script::joining());
    assert_eq!(texts(&node.read("out", 3).await), ["e", "f", "g"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_call_is_called_for_before_the_stop() {
    let node = Node::start().await;
    let mut spec = function("f");
    spec.guarantee = Guarantee::AtmostOnce;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let script = Script::each(move |text| {
        counted.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        exclaim(text)
    });
    let texts_in: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let instance = node.run(spec, script);
    node.publish("in", texts_in.iter().map(String::as_str)).await;
    node.until("it is at it", || calls.load(SeqCst) > 3).await;
    instance.stop(Duration::from_secs(30)).await;
    // What is not acknowledged is for others; the rest has been called for, and its outputs are there.
    let acknowledged = 500 - usize::try_from(node.backlog("in", "f").await).unwrap();
    assert_eq!(calls.load(SeqCst), acknowledged);
    assert_eq!(node.read("out", acknowledged).await.len(), acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_which_one_partition_refuses_leaves_no_producer_at_the_others() {
    let node = Node::start().await;
    node.broker.create_partitioned_topic(&support::topic("out").parse().unwrap(), 2).await.unwrap();
    node.broker.terminate(&support::topic("out-partition-1").parse().unwrap()).await.unwrap();
    let mut spec = function("f");
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(10)));
    node.publish("in", ["a"]).await;
    let instance = node.run(spec, Script::each(exclaim));
    node.until("it tries again and again", || instance.status().system_exceptions > 3).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while node.producers("out-partition-0").await > 1 {
        assert!(std::time::Instant::now() < deadline, "they stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.backlog("in", "f").await, 1);
}
