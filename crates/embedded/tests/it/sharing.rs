//! Instances that join have their share at once, those that leave lose nothing, and keys keep their order through all of it.

use async_trait::async_trait;
use functions::{
    FunctionSpec, Record, Runtime,
    instance::Instance,
    runtime::{Effects, Event, Input, InstanceSpec, Link, Outcome, Request, StartError, link},
    spec::{Span, WindowSpec},
};
use model::SubscriptionType;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::{Node, function, text, texts};

/// Code that takes its time for each message, one after the other, and gives it back.
#[derive(Clone)]
struct Slow {
    takes: Duration,
    /// By instance, the messages it has done.
    done: Arc<Mutex<BTreeMap<u32, Vec<String>>>>,
}

impl Slow {
    fn new(takes: Duration) -> Self {
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

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_join_a_large_backlog_have_an_equal_share_within_a_second() {
    let node = Node::start().await;
    let code = Slow::new(Duration::from_millis(5));
    node.run_as(9, function("f"), Slow::new(Duration::ZERO)).stop(Duration::from_secs(10)).await;
    let backlog = numbers(10_000);
    for some in backlog.chunks(1000) {
        node.publish("in", some.iter().map(String::as_str)).await;
    }
    let mut instances = vec![node.run_as(0, function("f"), code.clone())];
    tokio::time::sleep(Duration::from_secs(1)).await;
    instances.extend((1..4).map(|id| node.run_as(id, function("f"), code.clone())));
    node.until("they work", || code.counts().len() == 4 && code.counts().iter().all(|count| *count > 0)).await;
    let before = code.counts();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shares: Vec<usize> = code.counts().iter().zip(&before).map(|(now, then)| now - then).collect();
    let fair = shares.iter().sum::<usize>() as f64 / 4.0;
    println!("messages done by each instance in the second after three joined: {shares:?}");
    assert!(shares.iter().all(|share| (*share as f64 - fair).abs() <= fair * 0.25), "{shares:?}");
    drop(instances);
}

/// Publishes `per_key` messages to each of `keys` keys, `key/number`.
async fn publish_keyed(node: &Node, keys: usize, numbers: std::ops::Range<usize>) {
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
    for number in numbers {
        let record = |key: usize| Record {
            payload: format!("{key}/{number}").into(),
            key: Some(Key { text: format!("key-{key}"), is_base64: false }),
            ..Record::default()
        };
        let outputs = (0..keys).map(|key| (output, record(key))).collect();
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
    let window = WindowSpec {
        length,
        slide: length,
        timestamp_extractor: None,
        event_time: false,
        max_lag: Duration::ZERO,
        watermark_interval: Duration::from_secs(1),
        late_data_topic: None,
    };
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
