//! Instances that join have their share at once, those that leave lose nothing, and keys keep their order through all of it.

use async_trait::async_trait;
use functions::{
    FunctionSpec, Record, Runtime,
    instance::Instance,
    runtime::{Effects, Event, Input, InstanceSpec, Link, Outcome, Request, StartError, StateChange, link},
    spec::Span,
};
use model::SubscriptionType;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::{Did, Node, Script, function, text, texts, windows};

/// Code that takes its time for each message, one after the other, and gives it back.
#[derive(Clone)]
pub(crate) struct Slow {
    takes: Duration,
    /// By instance, the messages it has done.
    done: Arc<Mutex<BTreeMap<u32, Vec<String>>>>,
}

impl Slow {
    pub(crate) fn new(takes: Duration) -> Self {
        Self { takes, done: Arc::default() }
    }

    /// How many each instance has done.
    fn counts(&self) -> Vec<usize> {
        self.done.lock().unwrap().values().map(Vec::len).collect()
    }

    fn count(&self) -> usize {
        self.counts().iter().sum()
    }
}

#[async_trait]
impl Runtime for Slow {
    async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        let (link, mut end) = link();
        let code = self.clone();
        code.done.lock().unwrap().entry(instance.instance_id).or_default();
        tokio::spawn(async move {
            while let Some(request) = end.requests.recv().await {
                let Request::Invoke(invocations) = request else { continue };
                for invocation in invocations {
                    let (said, key) = match &invocation.input {
                        Input::Message(message) => (text(message), message.key.clone()),
                        Input::Window(messages) => {
                            (messages.iter().map(|m| text(m)).collect::<Vec<_>>().join("+"), None)
                        }
                    };
                    let began = Instant::now();
                    tokio::time::sleep(code.takes).await;
                    code.done.lock().unwrap().entry(instance.instance_id).or_default().push(said.clone());
                    let records = vec![Record { payload: said.into(), key, ..Record::default() }];
                    let outcome = Outcome { result: Ok(records), effects: Effects::default(), took: began.elapsed() };
                    if end.events.send(vec![Event::Done { id: invocation.id, outcome }]).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(link)
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

async fn publish_singly(node: &Node, count: usize) {
    for text in numbers(count) {
        node.publish("in", [text.as_str()]).await;
    }
}

async fn stop_all(instances: impl IntoIterator<Item = Instance>) {
    for instance in instances {
        instance.stop(Duration::from_secs(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_join_share_what_the_first_one_has_not_begun() {
    let node = Node::start().await;
    let code = Slow::new(Duration::from_millis(300));
    node.run_as(9, function("f"), Slow::new(Duration::ZERO)).stop(Duration::from_secs(10)).await;
    publish_singly(&node, 40).await;
    // All of it is in the hands of the first one.
    let mut instances = vec![node.run_as(0, function("f"), code.clone())];
    node.until("it works", || code.count() > 0).await;
    instances.extend((1..4).map(|id| node.run_as(id, function("f"), code.clone())));
    node.until("all is done", || code.count() >= 40).await;
    let counts = code.counts();
    println!("messages done by each: {counts:?}");
    assert!(counts.iter().all(|count| (7..=14).contains(count)), "{counts:?}");
    let mut out = texts(&node.read("out", 40).await);
    out.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(out, numbers(40), "each once");
    stop_all(instances).await;
}

/// How far from an equal share the furthest is, in parts of it: of `backlog` messages that take 5 ms each, done in `after` and the second that
/// follows, when instances have joined one that has worked for a second.
async fn furthest_from_equal(backlog: usize, joining: u32, after: Duration) -> f64 {
    let node = Node::start().await;
    let code = Slow::new(Duration::from_millis(5));
    node.run_as(9, function("f"), Slow::new(Duration::ZERO)).stop(Duration::from_secs(10)).await;
    for some in numbers(backlog).chunks(1000) {
        node.publish("in", some.iter().map(String::as_str)).await;
    }
    let mut instances = vec![node.run_as(0, function("f"), code.clone())];
    tokio::time::sleep(Duration::from_secs(1)).await;
    instances.extend((1..=joining).map(|id| node.run_as(id, function("f"), code.clone())));
    let all = joining as usize + 1;
    node.until("they work", || code.counts().len() == all && code.counts().iter().all(|count| *count > 0)).await;
    tokio::time::sleep(after).await;
    let before = code.counts();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shares: Vec<usize> = code.counts().iter().zip(&before).map(|(now, then)| now - then).collect();
    let fair = shares.iter().sum::<usize>() as f64 / all as f64;
    println!("of {backlog} messages, done by each in the second {after:?} after {joining} joined: {shares:?}");
    drop(instances);
    shares.iter().map(|share| (*share as f64 - fair).abs() / fair).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_join_a_large_backlog_have_an_equal_share_within_a_second() {
    let furthest = furthest_from_equal(10_000, 3, Duration::ZERO).await;
    assert!(furthest <= 0.25, "{furthest}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_that_joins_a_backlog_of_a_hundred_thousand_has_an_equal_share_after_a_second() {
    for _ in 0..5 {
        let furthest = furthest_from_equal(100_000, 1, Duration::from_secs(1)).await;
        println!("furthest from an equal share: {:.1} %", furthest * 100.0);
        assert!(furthest <= 0.1, "{furthest}");
    }
}

/// Publishes messages in commits of their own: keys and texts.
async fn publish_as<'a>(node: &Node, messages: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let keyed = messages.into_iter().map(|(key, text)| vec![(key.to_owned(), text.to_owned())]);
    publish_commits(node, keyed).await;
}

/// Publishes messages to each of `keys` keys, `key/number`; those with one number in one commit.
async fn publish_keyed(node: &Node, keys: usize, numbers: std::ops::Range<usize>) {
    let all = |number| (0..keys).map(|key| (format!("key-{key}"), format!("{key}/{number}"))).collect();
    publish_commits(node, numbers.map(all)).await;
}

async fn publish_commits(node: &Node, commits: impl Iterator<Item = Vec<(String, String)>>) {
    use functions::{
        Commit, EventLog,
        event_log::{Compression, OutputSpec},
        message::Key,
    };
    let mut session = node.log.session("test").await.unwrap();
    let output = OutputSpec {
        topic: crate::support::topic("in").parse().unwrap(),
        producer: None,
        metadata: Default::default(),
        schema: None,
        batch_by_key: true,
        compression: Compression::None,
    };
    let output = session.open_output(output).await.unwrap();
    for messages in commits {
        let record = |(key, text): (String, String)| Record {
            payload: text.into(),
            key: Some(Key { text: key, is_base64: false }),
            ..Record::default()
        };
        let outputs = messages.into_iter().map(|message| (output, record(message))).collect();
        session.commit(Commit { outputs, ..Commit::default() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_order_while_instances_join_leave_and_are_killed() {
    const KEYS: usize = 20;
    const EACH: usize = 60;
    let node = Node::start().await;
    let keyed = || FunctionSpec { subscription_type: SubscriptionType::KeyShared, ..function("f") };
    let code = Slow::new(Duration::from_millis(2));
    node.run_as(9, keyed(), Slow::new(Duration::ZERO)).stop(Duration::from_secs(10)).await;
    publish_keyed(&node, KEYS, 0..EACH).await;
    let mut instances: Vec<Option<Instance>> = vec![Some(node.run_as(0, keyed(), code.clone())), None, None, None];
    for step in 0..24 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let id = (step * 7 + 1) % 4;
        match instances[id].take() {
            // Every other one is killed: what it has done and not committed is done again by another.
            Some(instance) if step % 2 == 0 => drop(instance),
            Some(instance) => instance.stop(Duration::from_secs(30)).await,
            None => instances[id] = Some(node.run_as(id as u32, keyed(), code.clone())),
        }
        if instances.iter().all(Option::is_none) {
            instances[0] = Some(node.run_as(0, keyed(), code.clone()));
        }
    }
    let out = texts(&node.read("out", KEYS * EACH).await);
    let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for text in out {
        let (key, number) = text.split_once('/').unwrap();
        by_key.entry(key.to_owned()).or_default().push(number.parse().unwrap());
    }
    assert_eq!(by_key.len(), KEYS);
    for (key, numbers) in by_key {
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "key {key}");
    }
    assert!(node.nothing_more("out").await);
    stop_all(instances.into_iter().flatten()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_moves_waits_for_no_more_than_what_is_begun() {
    let node = Node::start().await;
    let keyed = || FunctionSpec { subscription_type: SubscriptionType::KeyShared, ..function("f") };
    let code = Slow::new(Duration::from_millis(200));
    node.run_as(9, keyed(), Slow::new(Duration::ZERO)).stop(Duration::from_secs(10)).await;
    publish_keyed(&node, 48, 0..1).await;
    // The first one has all of them, ten seconds of work.
    let first = node.run_as(0, keyed(), code.clone());
    node.until("it works", || code.count() > 0).await;
    let second = node.run_as(1, keyed(), code.clone());
    node.until("all is done", || code.count() >= 48).await;
    // How many keys move is up to their hashes; the second one works on them while the first one has others still.
    let counts = code.counts();
    println!("messages done by each: {counts:?}");
    assert!(counts[1] >= 8, "{counts:?}");
    stop_all([first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_instances_that_come_and_go_lose_no_element() {
    let node = Node::start().await;
    let length = Span::Time(Duration::from_millis(300));
    let window = windows(length, length);
    let windowed = |parallelism| FunctionSpec { window: Some(window.clone()), parallelism, ..function("f") };
    let code = Slow::new(Duration::from_millis(1));
    let mut instances = vec![node.run_as(0, windowed(1), code.clone())];
    let mut published = 0;
    let some = |from: usize| (from..from + 30).map(|n| n.to_string()).collect::<Vec<_>>();
    for scale in [1usize, 4, 2, 3, 1] {
        while instances.len() < scale {
            let id = instances.len() as u32;
            instances.push(node.run_as(id, windowed(scale as u32), code.clone()));
        }
        for leaves in instances.drain(scale..).rev() {
            // One is stopped, the next is killed.
            if published % 60 == 0 { leaves.stop(Duration::from_secs(30)).await } else { drop(leaves) }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        instances.iter().for_each(|one| one.share(scale as u32));
        for text in some(published) {
            node.publish("in", [text.as_str()]).await;
        }
        published += 30;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut seen = Vec::new();
    while seen.len() < published {
        for shown in texts(&node.read("out", 1).await) {
            seen.extend(shown.split('+').map(|n| n.parse::<usize>().unwrap()));
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..published).collect::<Vec<_>>(), "each element is in one window");
    assert!(node.nothing_more("out").await);
    stop_all(instances).await;
}

/// Code that says what came of its first two messages at once. Each is returned; `bad` would count what is no counter.
struct InPairs;

#[async_trait]
impl Runtime for InPairs {
    async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: InstanceSpec) -> Result<Link, StartError> {
        let (link, mut end) = link();
        tokio::spawn(async move {
            let mut first = Vec::new();
            let mut said = 0;
            while let Some(request) = end.requests.recv().await {
                let Request::Invoke(invocations) = request else { continue };
                for invocation in invocations {
                    let Input::Message(message) = &invocation.input else { continue };
                    let text = text(message);
                    let changes = match text.as_str() {
                        "bad" => vec![StateChange::Add { key: "k".into(), amount: 1 }],
                        text => vec![StateChange::Add { key: format!("count of {text}"), amount: 1 }],
                    };
                    let record = Record { payload: text.into(), ..Record::default() };
                    let effects = Effects { changes, ..Effects::default() };
                    let outcome = Outcome { result: Ok(vec![record]), effects, took: Duration::from_micros(1) };
                    first.push(Event::Done { id: invocation.id, outcome });
                    said += 1;
                    if said >= 2 && end.events.send(std::mem::take(&mut first)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(link)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_for_one_key_leaves_the_others_in_order() {
    let node = Node::start().await;
    // What another function has left there.
    let seed = Script::each(|_| {
        let changes = vec![StateChange::Put { key: "k".into(), value: "no number".into() }];
        Did::All(Ok(Vec::new()), Effects { changes, ..Effects::default() })
    });
    node.publish("in", ["seed"]).await;
    let keyed = || FunctionSpec {
        subscription_type: SubscriptionType::KeyShared,
        max_message_retries: Some(0),
        dead_letter_topic: Some(crate::support::topic("dead")),
        ..function("f")
    };
    let instance = node.run(keyed(), seed);
    node.acknowledged("in", "f").await;
    stop_all([instance]).await;
    // All of one key but `bad`, each an entry.
    publish_as(&node, [("a", "a1"), ("bad", "bad"), ("a", "a2"), ("a", "a3"), ("a", "a4")]).await;
    let instance = node.run_as(0, keyed(), InPairs);
    assert_eq!(texts(&node.read("out", 4).await), ["a1", "a2", "a3", "a4"]);
    assert_eq!(texts(&node.read("dead", 1).await), ["bad"]);
    node.acknowledged("in", "f").await;
    let status = instance.status();
    assert_eq!((status.user_exceptions, status.system_exceptions, status.restarts), (1, 0, 0), "{status:?}");
    stop_all([instance]).await;
}
