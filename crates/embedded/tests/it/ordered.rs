//! What is refused where one consumer gets all in order: it comes again alone and is counted, and what follows goes on.

use functions::{
    FunctionSpec,
    runtime::{Effects, UserException},
};
use model::SubscriptionType;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    sharing::Slow,
    support::{Did, Node, Script, function, texts, topic},
};

fn ordered(kind: SubscriptionType) -> FunctionSpec {
    let mut spec = FunctionSpec { subscription_type: kind, ..function("f") };
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(50)));
    spec
}

/// How often it was called with each text.
type Calls = Arc<Mutex<BTreeMap<String, usize>>>;

/// Takes its time; throws at what begins with `bad`, so often.
fn picky(throws: usize) -> (Script, Calls) {
    let calls = Calls::default();
    let counted = calls.clone();
    let script = Script::each(move |text| {
        std::thread::sleep(Duration::from_millis(3));
        let mut calls = counted.lock().unwrap();
        let calls = calls.entry(text.to_owned()).or_default();
        *calls += 1;
        if text.starts_with("bad") && *calls <= throws {
            return Did::All(Err(UserException { message: "ValueError".into() }), Effects::default());
        }
        Did::Returned(text.to_owned())
    });
    (script, calls)
}

/// Publishes each in an entry of its own, or all in one.
async fn publish(node: &Node, texts: &[String], in_one: bool) {
    match in_one {
        true => node.publish("in", texts.iter().map(String::as_str)).await,
        false => {
            for text in texts {
                node.publish("in", [text.as_str()]).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_always_fails_ends_as_a_dead_letter_and_nothing_else_is_done_twice() {
    for (kind, in_one) in [(SubscriptionType::Failover, true), (SubscriptionType::Exclusive, false)] {
        let node = Node::start().await;
        let mut spec = ordered(kind);
        (spec.max_message_retries, spec.dead_letter_topic) = (Some(2), Some(topic("dead")));
        let mut sent: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        sent[7] = "bad".to_owned();
        publish(&node, &sent, in_one).await;
        let (script, calls) = picky(usize::MAX);
        let instance = node.run(spec, script);
        let good: Vec<String> = sent.iter().filter(|text| *text != "bad").cloned().collect();
        assert_eq!(texts(&node.read("out", 99).await), good, "in order, each once");
        assert_eq!(texts(&node.read("dead", 1).await), ["bad"]);
        node.acknowledged("in", "f").await;
        let calls = calls.lock().unwrap().clone();
        assert_eq!(calls["bad"], 3, "once, and two retries");
        assert!(calls.iter().all(|(text, count)| text == "bad" || *count == 1), "{calls:?}");
        let status = instance.status();
        assert_eq!((status.user_exceptions, status.restarts, status.received), (3, 0, 102), "{status:?}");
        assert!(node.nothing_more("out").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_while_is_done_in_the_end() {
    let node = Node::start().await;
    let sent: Vec<String> = ["a", "bad-1", "b", "bad-2", "c"].map(str::to_owned).to_vec();
    publish(&node, &sent, true).await;
    let (script, _) = picky(3);
    // It may try for ever.
    let instance = node.run(ordered(SubscriptionType::Failover), script);
    assert_eq!(texts(&node.read("out", 5).await), ["a", "b", "c", "bad-1", "bad-2"]);
    node.acknowledged("in", "f").await;
    assert_eq!(instance.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_the_instance_stops_comes_to_the_next() {
    let node = Node::start().await;
    publish(&node, &["bad".to_owned(), "a".to_owned()], true).await;
    let mut spec = ordered(SubscriptionType::Failover);
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_secs(3600)));
    let (script, calls) = picky(1);
    let first = node.run(spec.clone(), script.clone());
    assert_eq!(texts(&node.read("out", 1).await), ["a"]);
    first.stop(Duration::from_secs(10)).await;
    let _second = node.run(spec, script);
    assert_eq!(texts(&node.read("out", 1).await), ["bad"]);
    node.acknowledged("in", "f").await;
    assert_eq!(calls.lock().unwrap()["bad"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_longer_active_leaves_what_it_has_and_goes_on() {
    let node = Node::start().await;
    node.broker.create_partitioned_topic(&topic("in").parse().unwrap(), 2).await.unwrap();
    // Longer than a handover, which waits for a second, so that nothing ends while it is made.
    let code = Slow::new(Duration::from_millis(2500));
    let first = node.run_as(0, ordered(SubscriptionType::Failover), code.clone());
    node.publish("in-partition-1", ["0", "1", "2"]).await;
    let mut out = texts(&node.read("out", 1).await);
    // The second partition is the second one's, who gets what the first one has not done before the handover.
    let second = node.run_as(1, ordered(SubscriptionType::Failover), code);
    out.extend(texts(&node.read("out", 3 - out.len()).await));
    assert_eq!(out, ["0", "1", "2"]);
    node.acknowledged("in-partition-1", "f").await;
    assert_eq!((first.status().restarts, second.status().restarts), (0, 0));
    assert!(second.status().processed > 0);
    assert!(node.nothing_more("out").await);
}
