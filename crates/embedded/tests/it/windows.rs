//! Elements and outcomes of windows that cannot be what they should be.

use functions::{
    Commit, Error, FunctionSpec, Record,
    event_log::{Compression, OutputSpec},
    runtime::{Effects, Event, Invocation, StateChange, UserException},
    spec::{Guarantee, Span},
};
use std::time::Duration;

use crate::{
    collecting::Collecting,
    support::{Did, Node, Script, done, echoed, function, record, text, texts, topic, windows},
};

fn pairs() -> FunctionSpec {
    FunctionSpec { window: Some(windows(Span::Count(2), Span::Count(2))), ..function("f") }
}

/// A message that can be, whose row cannot: its property takes six times as much there.
fn too_large() -> Record {
    Record { properties: vec![("p".into(), "\u{1}".repeat(1 << 20))], ..record("in", "large") }
}

async fn publish_one_too_large(node: &Node) {
    let records = ["a", "b"].map(|text| record("in", text));
    node.publish_records("in", records.into_iter().chain([too_large(), record("in", "c"), record("in", "d")])).await;
}

/// A run that was given up may still have a window's commit under way.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_through_an_input_is_done_while_that_is_open_and_no_longer() {
    let node = Node::start().await;
    node.publish("in", ["a"]).await;
    let mut session = node.reader("in").await;
    let to = OutputSpec {
        topic: topic("out").parse().unwrap(),
        producer: None,
        metadata: Default::default(),
        schema: None,
        batch_by_key: false,
        compression: Compression::None,
    };
    let output = session.open_output(to).await.unwrap();
    let commit =
        |text: &str| Commit { outputs: vec![(output, record("out", text))], through: Some(0), ..Commit::default() };
    session.commit(Commit { through: Some(0), ..Commit::default() }).await.unwrap();
    session.commit(commit("first")).await.unwrap();
    node.broker.unload_topic(&topic("in").parse().unwrap()).await.unwrap();
    let refused = session.commit(commit("second")).await;
    assert!(matches!(refused, Err(Error::Conflict)), "{refused:?}");
    session.commit(Commit { through: None, ..commit("third") }).await.unwrap();
    assert_eq!(texts(&node.read("out", 2).await), ["first", "third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_cannot_be_kept_is_tried_again_and_then_a_dead_letter() {
    let node = Node::start().await;
    let mut spec = FunctionSpec { max_message_retries: Some(1), ..pairs() };
    spec.inputs.values_mut().for_each(|input| input.redelivery_delay = Some(Duration::from_millis(50)));
    publish_one_too_large(&node).await;
    let instance = node.run(spec, Script::joining());
    assert_eq!(texts(&node.read("out", 2).await), ["a+b", "c+d"]);
    let dead = &node.read("in-f-DLQ", 1).await[0];
    assert_eq!(text(dead), "large");
    assert!(dead.properties.iter().any(|(name, why)| name == "EXCEPTION" && why.contains("in a window")));
    node.acknowledged("in", "f").await;
    let status = instance.status();
    // The code is not to blame.
    assert_eq!((status.user_exceptions, status.system_exceptions, status.restarts), (0, 2, 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_cannot_be_kept_holds_up_nothing_whatever_is_promised() {
    for (guarantee, left) in [(Guarantee::AtmostOnce, 0), (Guarantee::EffectivelyOnce, 1)] {
        let node = Node::start().await;
        publish_one_too_large(&node).await;
        let instance = node.run(FunctionSpec { guarantee, ..pairs() }, Script::joining());
        assert_eq!(texts(&node.read("out", 2).await), ["a+b", "c+d"]);
        node.until("it is told", || instance.status().system_exceptions == 1).await;
        while node.backlog("in", "f").await != left {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(instance.status().restarts, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_came_too_late_and_can_not_be_told_of_is_a_dead_letter() {
    let node = Node::start().await;
    let mut spec = FunctionSpec { max_message_retries: Some(0), ..pairs() };
    if let Some(window) = &mut spec.window {
        window.event_time = true;
        window.watermark_interval = Duration::from_millis(1);
        window.late_data_topic = Some("no topic at all!//".into());
    }
    let at = |text: &str, event_time_ms| Record { event_time_ms, ..record("in", text) };
    node.publish_records("in", [at("a", 1000), at("b", 2000)]).await;
    let instance = node.run(spec, Script::joining());
    assert_eq!(texts(&node.read("out", 1).await), ["a+b"]);
    node.publish_records("in", [at("late", 500), at("c", 3000), at("d", 4000)]).await;
    assert_eq!(texts(&node.read("in-f-DLQ", 1).await), ["late"]);
    assert_eq!(texts(&node.read("out", 1).await), ["c+d"]);
    node.acknowledged("in", "f").await;
    assert_eq!(instance.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_given_up_does_not_take_back_what_came_after_it() {
    let node = Node::start().await;
    // All are answered at once. That of the second one cannot be committed, which is known when it was tried.
    let answer = |invocation: &Invocation| {
        let record = echoed(invocation);
        let change = match &record.payload[..] {
            b"a+b" => Some(StateChange::Put { key: "k".into(), value: "no number".into() }),
            b"c+d" => Some(StateChange::Add { key: "k".into(), amount: 1 }),
            _ => None,
        };
        let effects = Effects { changes: change.into_iter().collect(), ..Effects::default() };
        done(invocation.id, Ok(vec![record]), effects)
    };
    let code = Collecting::new(3, Some(true), move |all| all.iter().map(answer).collect::<Vec<Event>>());
    let sent = ["a", "b", "c", "d", "e", "f"];
    node.publish("in", sent).await;
    let instance = node.run_as(0, pairs(), code);
    assert_eq!(texts(&node.read("out", 2).await), ["a+b", "e+f"]);
    instance.stop(Duration::from_secs(10)).await;
    let mark = node.mark("f").await;
    assert_eq!(mark["fired"][1], sent.len(), "{mark}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_threw_leaves_all_its_elements_however_much_they_are() {
    let node = Node::start().await;
    let (count, size) = (25, 3 << 20);
    let mut spec = FunctionSpec { max_message_retries: Some(0), ..function("f") };
    spec.window = Some(windows(Span::Count(count), Span::Count(count)));
    // More than one commit may be.
    let large = |n: u64| Record { payload: vec![n as u8; size].into(), ..record("in", "") };
    for n in 0..count {
        node.publish_records("in", [large(n)]).await;
    }
    let throws = |_: &str| Did::All(Err(UserException { message: "ValueError".into() }), Effects::default());
    let instance = node.run(spec, Script::each(throws));
    let mut dead: Vec<u64> =
        node.read("in-f-DLQ", count as usize).await.iter().map(|message| message.payload[0].into()).collect();
    dead.sort_unstable();
    assert_eq!(dead, (0..count).collect::<Vec<_>>());
    let status = instance.status();
    assert_eq!((status.user_exceptions, status.restarts), (1, 0), "{status:?}");
}
