//! Guarantee MANUAL: what one outcome acknowledges of others happens with it, or they come again.

use functions::{
    FunctionSpec, Record,
    runtime::{Effects, StateChange, UserException},
    spec::Guarantee,
};
use model::SubscriptionType;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    collecting::Collecting,
    support::{Did, Node, Script, done, function, record},
};

fn manual(kind: SubscriptionType) -> FunctionSpec {
    let mut spec = FunctionSpec {
        guarantee: Guarantee::Manual,
        auto_ack: false,
        subscription_type: kind,
        max_message_retries: Some(0),
        ..function("f")
    };
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(50)));
    spec
}

/// Acknowledges `a` and `b` with `last`, whose outcome cannot be committed as it is, once; when they come again, each by itself.
async fn comes_again(kind: SubscriptionType, how_it_fails: fn(&mut Effects)) {
    let node = Node::start().await;
    let calls: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
    let seen = calls.clone();
    let script = Script::new(move |id, text| {
        let mut seen = seen.lock().unwrap();
        let is_again = seen.iter().any(|(_, known)| known == text);
        seen.push((id, text.to_owned()));
        let mut effects = Effects::default();
        match text {
            "a" | "b" if !is_again => {}
            "last" => {
                let wanted = ["a", "b", "last"];
                effects.acks =
                    seen.iter().filter(|(_, text)| wanted.contains(&text.as_str())).map(|(id, _)| *id).collect();
                how_it_fails(&mut effects);
            }
            _ => effects.acks.push(id),
        }
        if text == "put" {
            effects.changes.push(StateChange::Put { key: "k".into(), value: "no number".into() });
        }
        Did::All(Ok(Vec::<Record>::new()), effects)
    });
    let instance = node.run(manual(kind), script);
    node.publish("in", ["put"]).await;
    // What is not committed yet can still become a counter.
    node.until("it is put", || instance.status().processed == 1).await;
    node.publish("in", ["a", "b"]).await;
    node.publish("in", ["last"]).await;
    // `last` is a dead letter at once, `a` and `b` are acknowledged by their second attempt.
    node.acknowledged("in", "f").await;
    assert_eq!(node.read("in-f-DLQ", 1).await.len(), 1);
    let calls = calls.lock().unwrap().clone();
    let times = |wanted: &str| calls.iter().filter(|(_, text)| text == wanted).count();
    assert_eq!((times("put"), times("a"), times("b"), times("last")), (1, 2, 2, 1), "{calls:?}");
    assert_eq!(instance.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_by_an_outcome_that_cannot_be_published_comes_again() {
    let fails = |effects: &mut Effects| effects.publishes.push(record("no topic at all!//", "x"));
    for kind in [SubscriptionType::Shared, SubscriptionType::Failover] {
        comes_again(kind, fails).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_by_an_outcome_that_cannot_be_committed_comes_again() {
    let fails = |effects: &mut Effects| effects.changes.push(StateChange::Add { key: "k".into(), amount: 1 });
    for kind in [SubscriptionType::Shared, SubscriptionType::Failover] {
        comes_again(kind, fails).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_may_come_before_the_end_of_what_it_acknowledges() {
    let node = Node::start().await;
    node.publish("in", ["a", "b"]).await;
    let code = Collecting::new(2, Some(true), |invocations| {
        let ids: Vec<u64> = invocations.iter().map(|invocation| invocation.id).collect();
        let both = Effects { acks: ids.clone(), ..Effects::default() };
        vec![done(ids[1], Ok(Vec::new()), both), done(ids[0], Ok(Vec::new()), Effects::default())]
    });
    let _instance = node.run_as(0, manual(SubscriptionType::Shared), code);
    node.acknowledged("in", "f").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_may_acknowledge_messages_of_several_inputs_also_at_its_second_attempt() {
    let node = Node::start().await;
    let mut spec = manual(SubscriptionType::Shared);
    let input = spec.inputs.values().next().unwrap().clone();
    spec.inputs.insert(crate::support::topic("other"), input);
    spec.max_message_retries = None;
    // Throws at its first attempt at `last`, and acknowledges all at the second one.
    let seen: Mutex<Vec<(u64, String)>> = Mutex::default();
    let script = Script::new(move |id, text| {
        let mut seen = seen.lock().unwrap();
        let is_again = seen.iter().any(|(_, known)| known == text);
        seen.push((id, text.to_owned()));
        let mut effects = Effects::default();
        let result = match text {
            "last" if !is_again => Err(UserException { message: "not yet".into() }),
            "last" => {
                effects.acks = seen.iter().map(|(id, _)| *id).collect();
                Ok(Vec::<Record>::new())
            }
            _ => Ok(Vec::new()),
        };
        Did::All(result, effects)
    });
    let instance = node.run(spec, script);
    node.publish("in", ["a"]).await;
    node.publish("other", ["b", "c"]).await;
    node.until("they are seen", || instance.status().processed == 3).await;
    node.publish("in", ["last"]).await;
    node.acknowledged("in", "f").await;
    node.acknowledged("other", "f").await;
    let status = instance.status();
    assert_eq!((status.received, status.restarts), (5, 0), "each once, and the last one again: {status:?}");
}
