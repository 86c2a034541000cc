//! Functions whose broker is another process: what is promised of it, with the broker killed under them, too.
//!
//! By hand against another broker, which then is not killed: `GEMINGA_TEST_URL=pulsar://127.0.0.1:6650`.

use async_trait::async_trait;
use client::{Batching, Client, Outgoing, Producer};
use functions::{
    Commit, EventLog, FunctionSpec, Message, Record, Runtime, Session, Tables,
    event_log::{Arrived, InputSpec, OutputSpec},
    instance::{Instance, Parts, Status},
    remote::Remote,
    runtime::{
        Effects, Event, Input, InstanceSpec, Invocation, Link, Outcome, Request, StartError, StateChange,
        UserException, link,
    },
    spec::{Guarantee, InputConfig, OutputConfig},
    testing::{self, MemoryTables},
};
use model::{InitialPosition, SubscriptionType};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{Running, start};

/// Longer than anything takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for what should not come, if it did.
const SILENCE: Duration = Duration::from_millis(500);

/// A broker, and a client of it.
struct Bench {
    broker: Option<Running>,
    dir: tempfile::TempDir,
    client: Client,
    tables: Arc<MemoryTables>,
    /// In the names of topics, so that nobody else has them.
    mark: u128,
}

/// What user code does with a message.
type Does = dyn Fn(&Message) -> Outcome + Send + Sync;

/// User code that is part of the test.
struct Code(Arc<Does>);

#[async_trait]
impl Runtime for Code {
    async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: InstanceSpec) -> Result<Link, StartError> {
        let (link, mut end) = link();
        let does = self.0.clone();
        tokio::spawn(async move {
            while let Some(request) = end.requests.recv().await {
                let Request::Invoke(invocations) = request else { continue };
                let does = does.clone();
                let invoked = tokio::task::spawn_blocking(move || {
                    let done = |invocation: Invocation| {
                        let Input::Message(message) = invocation.input else { panic!("not a window") };
                        Event::Done { id: invocation.id, outcome: does(&message) }
                    };
                    invocations.into_iter().map(done).collect()
                });
                if end.events.send(invoked.await.unwrap()).await.is_err() {
                    return;
                }
            }
        });
        Ok(link)
    }
}

fn returns(payload: impl Into<bytes::Bytes>) -> Outcome {
    let record = Record { payload: payload.into(), ..Record::default() };
    Outcome { result: Ok(vec![record]), effects: Effects::default(), took: Duration::ZERO }
}

fn throws(what: &str) -> Outcome {
    let result = Err(UserException { message: what.to_owned() });
    Outcome { result, effects: Effects::default(), took: Duration::ZERO }
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn exclaims(message: &Message) -> Outcome {
    returns(text(message) + "!")
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (url, broker) = match std::env::var("GEMINGA_TEST_URL") {
            Ok(url) => (url, None),
            Err(_) => {
                let broker = start(command(dir.path(), "0"));
                (format!("pulsar://{}", broker.broker), Some(broker))
            }
        };
        let mark = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let client = Client::connect(&url).await.unwrap();
        Self { broker, dir, client, tables: Arc::default(), mark }
    }

    /// Kills the broker and starts it again.
    async fn kill(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        let _ = broker.child.kill();
        let _ = broker.child.wait();
        let port = broker.broker.rsplit_once(':').unwrap().1.to_owned();
        tokio::time::sleep(SILENCE).await;
        self.broker = Some(start(command(self.dir.path(), &port)));
    }

    fn topic(&self, name: &str) -> String {
        format!("persistent://public/default/remote-{}-{name}", self.mark)
    }

    fn log(&self) -> Remote {
        Remote::new(self.client.clone(), self.tables.clone())
    }

    fn function(&self) -> FunctionSpec {
        FunctionSpec {
            inputs: [(self.topic("in"), InputConfig::default())].into(),
            output: OutputConfig { topic: Some(self.topic("out")), ..OutputConfig::default() },
            initial_position: InitialPosition::Earliest,
            ..testing::spec(&format!("f-{}", self.mark))
        }
    }

    /// One whose effects happen once, in order.
    fn once(&self) -> FunctionSpec {
        FunctionSpec {
            guarantee: Guarantee::EffectivelyOnce,
            subscription_type: SubscriptionType::Failover,
            ..self.function()
        }
    }

    fn run(
        &self,
        function: &FunctionSpec,
        id: u32,
        does: impl Fn(&Message) -> Outcome + Send + Sync + 'static,
    ) -> Instance {
        let parts = Parts {
            log: Arc::new(self.log()),
            tables: self.tables.clone(),
            runtime: Arc::new(Code(Arc::new(does))),
            clock: Arc::new(seams::SystemClock::new()),
        };
        let spec = InstanceSpec {
            function: Arc::new(function.clone()),
            instance_id: id,
            secrets: BTreeMap::new(),
            env: BTreeMap::new(),
            work_dir: self.dir.path().join("work"),
        };
        Instance::start(parts, spec, &seams::Tasks::new(seams::Shutdown::new()))
    }

    /// Makes a partitioned topic, before anybody uses it.
    async fn partition(&self, topic: &str, partitions: u32) {
        let web = match &self.broker {
            Some(broker) => broker.web.clone(),
            None => std::env::var("GEMINGA_TEST_WEB").unwrap_or_else(|_| "127.0.0.1:8080".into()),
        };
        let local = topic.rsplit_once('/').unwrap().1;
        let path = format!("/admin/v2/persistent/public/default/{local}/partitions");
        http(&web, "PUT", &path, &partitions.to_string()).await;
    }

    async fn deduplicate(&self) {
        if let Some(broker) = &self.broker {
            http(&broker.web, "POST", "/admin/v2/namespaces/public/default/deduplication", "true").await;
        }
    }

    async fn producer(&self, name: &str) -> Producer {
        let batching = Batching { messages: 7, ..Batching::default() };
        self.client.producer(&self.topic(name)).batching(batching).create().await.unwrap()
    }

    /// Publishes numbers; some alone, some in batches.
    async fn publish(&self, producer: &Producer, numbers: std::ops::Range<u32>) {
        let mut publications = Vec::new();
        for number in numbers {
            let key = (number % 5).to_string();
            publications.push(producer.enqueue(Outgoing::new(number.to_string()).key(key)).await.unwrap());
            if number % 10 == 0 {
                producer.close_batches();
            }
        }
        for publication in publications {
            publication.await.unwrap();
        }
    }

    /// All that was published to a topic, once `count` different messages are there.
    async fn all(&self, name: &str, count: usize) -> Vec<String> {
        let reader = self.client.reader(&self.topic(name)).open().await.unwrap();
        let mut found = Vec::new();
        let mut different = BTreeSet::new();
        while different.len() < count {
            let next = tokio::time::timeout(PATIENCE, reader.next()).await;
            let Ok(next) = next else { panic!("{} of {count} came", different.len()) };
            let text = String::from_utf8(next.unwrap().payload.to_vec()).unwrap();
            different.insert(text.clone());
            found.push(text);
        }
        while let Ok(next) = tokio::time::timeout(SILENCE, reader.next()).await {
            found.push(String::from_utf8(next.unwrap().payload.to_vec()).unwrap());
        }
        found
    }

    /// Of an input of this function, as its only instance.
    async fn session(&self, function: &FunctionSpec) -> (Box<dyn Session>, u32) {
        let mut session = self.log().session("test").await.unwrap();
        let input = session.subscribe(input(function)).await.unwrap();
        (session, input)
    }
}

pub(crate) fn command(dir: &Path, port: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
    command.arg("standalone").arg("--data").arg(dir.join("broker")).args(["--broker-port", port, "--web-port", "0"]);
    // Its pipe is not read while it runs.
    command.args(["--log-level", "error"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn input(function: &FunctionSpec) -> InputSpec {
    InputSpec {
        topic: function.inputs.keys().next().unwrap().parse().unwrap(),
        subscription: function.subscription.clone(),
        kind: function.subscription_type,
        initial_position: function.initial_position,
        durable: true,
        skip_to_latest: false,
        consumer: "test".into(),
        metadata: function.client_metadata(0),
    }
}

pub(crate) async fn http(address: &str, method: &str, path: &str, body: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json");
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
}

async fn until(instance: &Instance, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = instance.status();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens soon")
}

/// The messages that come next; what else is said is passed over.
async fn messages(session: &mut Box<dyn Session>) -> Vec<Message> {
    loop {
        if let Arrived::Messages(messages) = soon(session.next()).await.unwrap() {
            return messages;
        }
    }
}

async fn is_silent(session: &mut Box<dyn Session>) -> bool {
    tokio::time::timeout(SILENCE, messages(session)).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_reads_partitions_and_what_a_pattern_matches_and_acknowledges_it() {
    let bench = Bench::start().await;
    bench.partition(&bench.topic("in"), 3).await;
    let pattern = format!("persistent://public/default/remote-{}-other-.*", bench.mark);
    let mut function = bench.function();
    function.inputs.insert(pattern, InputConfig { is_pattern: true, ..InputConfig::default() });
    let (main, other) = (bench.producer("in").await, bench.producer("other-1").await);
    bench.publish(&main, 0..100).await;
    bench.publish(&other, 100..150).await;
    let instance = bench.run(&function, 0, exclaims);
    let found = bench.all("out", 150).await;
    assert_eq!(found.len(), 150);
    until(&instance, "all is done", |status| status.processed == 150).await;
    // A topic that comes later.
    let late = bench.producer("other-2").await;
    bench.publish(&late, 150..160).await;
    assert_eq!(bench.all("out", 160).await.len(), 160);
    until(&instance, "all is done", |status| status.processed == 160).await;
    instance.stop(PATIENCE).await;
    let (mut session, input) = bench.session(&bench.function_of("other-1")).await;
    session.flow(input, 10);
    assert!(is_silent(&mut session).await, "it was acknowledged");
}

impl Bench {
    fn function_of(&self, input: &str) -> FunctionSpec {
        let inputs = [(self.topic(input), InputConfig::default())].into();
        FunctionSpec { inputs, ..self.function() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_costs_no_message_and_no_code() {
    let mut bench = Bench::start().await;
    let function = bench.function();
    let instance = bench.run(&function, 0, |message| {
        std::thread::sleep(Duration::from_millis(2));
        exclaims(message)
    });
    // A broker that goes while it is asked for the first time is another matter: nothing runs yet.
    until(&instance, "it runs", |status| status.running).await;
    let producer = bench.producer("in").await;
    for round in 0..4 {
        bench.publish(&producer, round * 200..(round + 1) * 200).await;
        bench.kill().await;
    }
    let found: BTreeSet<_> = bench.all("out", 800).await.into_iter().collect();
    assert_eq!(found, (0..800).map(|n| format!("{n}!")).collect());
    let status = until(&instance, "all is done", |status| status.in_hand == 0).await;
    assert_eq!((status.restarts, status.system_exceptions), (0, 0), "{status:#?}");
    instance.stop(PATIENCE).await;
    let (mut session, input) = bench.session(&function).await;
    session.flow(input, 10);
    assert!(is_silent(&mut session).await, "all is acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_happen_once_and_in_order_where_that_is_asked_for() {
    let mut bench = Bench::start().await;
    bench.deduplicate().await;
    let function = bench.once();
    let does = |message: &Message| {
        std::thread::sleep(Duration::from_millis(1));
        let mut outcome = exclaims(message);
        outcome.effects.changes.push(StateChange::Add { key: "n".into(), amount: 1 });
        outcome
    };
    let first = bench.run(&function, 0, does);
    until(&first, "the first runs", |status| status.running).await;
    let second = bench.run(&function, 1, does);
    let producer = bench.producer("in").await;
    for round in 0..3 {
        bench.publish(&producer, round * 200..(round + 1) * 200).await;
        bench.kill().await;
    }
    // Another one goes on where one stops.
    bench.publish(&producer, 600..800).await;
    let stops = tokio::spawn(first.stop(PATIENCE));
    bench.publish(&producer, 800..1000).await;
    let found = soon(bench.all("out", 1000)).await;
    assert_eq!(found, (0..1000).map(|n| format!("{n}!")).collect::<Vec<_>>());
    stops.await.unwrap();
    until(&second, "all is done", |status| status.in_hand == 0).await;
    second.stop(PATIENCE).await;
    let counted = bench.tables.get(&function.state_table(), b"n").await.unwrap().unwrap();
    assert_eq!(i64::from_be_bytes(counted.value[..].try_into().unwrap()), 1000);
}

/// A producer of entries as they are.
struct Raw(tokio::sync::mpsc::UnboundedSender<()>);

impl client::ProducerEvents for Raw {
    fn receipt(&self, _: client::hot::Receipt) {
        let _ = self.0.send(());
    }

    fn refused(&self, sequence_id: u64, error: client::Error) {
        panic!("{sequence_id}: {error}");
    }

    fn lost(&self, _: client::Error) {}
}

/// Publishes chunks (uuid, number, of how many, payload), or a message that is none.
async fn publish_chunks(bench: &Bench, chunks: &[(&str, i32, i32, Vec<u8>)]) {
    let topic = bench.topic("in");
    let connection = bench.client.connection_for(&topic, 0).await.unwrap();
    let command = wire::proto::CommandProducer { topic, producer_id: 77, ..Default::default() };
    let (receipts, mut receipted) = tokio::sync::mpsc::unbounded_channel();
    connection.create_producer(command, Arc::new(Raw(receipts)), None).await.unwrap();
    for (sequence, (uuid, number, of, payload)) in (0..).zip(chunks) {
        let metadata = wire::proto::MessageMetadata {
            producer_name: "raw".into(),
            sequence_id: sequence,
            publish_time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
            uuid: Some((*uuid).to_owned()),
            chunk_id: Some(*number),
            num_chunks_from_msg: Some(*of),
            ..Default::default()
        };
        let entry = wire::entry::encode_entry(&metadata, payload);
        connection.write(|buf| {
            wire::encode::send_header(buf, 77, sequence, None, 1, *of > 1, None, entry.len());
            buf.extend_from_slice(&entry);
        });
        soon(receipted.recv()).await.unwrap();
    }
    connection.close_producer(77, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn once_and_in_order_no_message_in_chunks_is_lost_for_want_of_room() {
    let bench = Bench::start().await;
    bench.deduplicate().await;
    let function = bench.once();
    // Together they are more than an instance keeps; the younger one ends first, and others follow it.
    let part = |of: u8| vec![of; 9 << 19];
    let mut chunks = Vec::new();
    for n in 0..14 {
        chunks.push(("a", n, 17, part(b'a')));
        chunks.push(("b", n, 14, part(b'b')));
    }
    chunks.extend((0..50).map(|n| ("", 0, 1, n.to_string().into_bytes())));
    chunks.extend((14..17).map(|n| ("a", n, 17, part(b'a'))));
    let instance = bench.run(&function, 0, |message: &Message| match message.payload.len() {
        ..10 => exclaims(message),
        len => returns(format!("{len} times {}", char::from(message.payload[0]))),
    });
    // What nobody has subscribed to is not kept.
    until(&instance, "it runs", |status| status.running).await;
    publish_chunks(&bench, &chunks).await;
    let mut wanted = vec![format!("{} times b", 14 * (9 << 19))];
    wanted.extend((0..50).map(|n| format!("{n}!")));
    wanted.push(format!("{} times a", 17 * (9 << 19)));
    assert_eq!(soon(bench.all("out", 52)).await, wanted);
    until(&instance, "all is done", |status| status.in_hand == 0).await;
    assert_eq!(instance.status().restarts, 0);
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_is_not_taken_for_a_duplicate_when_it_comes_again() {
    let bench = Bench::start().await;
    bench.deduplicate().await;
    let function = bench.once();
    // An entry of the input for each message, so that much is on its way after the one that fails.
    let producer = bench.client.producer(&bench.topic("in")).create().await.unwrap();
    bench.publish(&producer, 0..100).await;
    let tries = AtomicU32::new(0);
    let instance = bench.run(&function, 0, move |message| {
        let mut outcome = exclaims(message);
        // All that is made of one message is one entry, and this is too large for one, twice.
        if text(message) == "30" && tries.fetch_add(1, SeqCst) < 2 {
            outcome.result = Ok(vec![Record { payload: vec![b'x'; 3 << 20].into(), ..Record::default() }; 2]);
        }
        outcome
    });
    let found = soon(bench.all("out", 100)).await;
    assert_eq!(found, (0..100).map(|n| format!("{n}!")).collect::<Vec<_>>());
    let status = until(&instance, "all is done", |status| status.in_hand == 0).await;
    assert_eq!(status.restarts, 2, "{status:#?}");
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_handled_in_order_by_one_instance() {
    let bench = Bench::start().await;
    let function = FunctionSpec { subscription_type: SubscriptionType::KeyShared, ..bench.function() };
    let instances: Vec<_> =
        (0..2).map(|id| bench.run(&function, id, move |message| returns(format!("{id} {}", text(message))))).collect();
    for instance in &instances {
        until(instance, "it runs", |status| status.running).await;
    }
    // A batch has one key, or its messages go to the consumer of one of them.
    let producer = bench.client.producer(&bench.topic("in")).create().await.unwrap();
    bench.publish(&producer, 0..200).await;
    let mut by_key: BTreeMap<u32, Vec<(String, u32)>> = BTreeMap::new();
    for found in bench.all("out", 200).await {
        let (id, number) = found.split_once(' ').unwrap();
        let number: u32 = number.parse().unwrap();
        by_key.entry(number % 5).or_default().push((id.to_owned(), number));
    }
    for handled in by_key.values() {
        assert!(handled.is_sorted_by_key(|(_, number)| *number), "{handled:?}");
        assert!(handled.iter().all(|(id, _)| *id == handled[0].0), "{handled:?}");
    }
    for instance in instances {
        instance.stop(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_comes_than_is_asked_for_and_what_is_refused_comes_again() {
    let bench = Bench::start().await;
    let function = bench.function();
    let producer = bench.client.producer(&bench.topic("in")).create().await.unwrap();
    bench.publish(&producer, 0..5).await;
    let (mut session, input) = bench.session(&function).await;
    session.flow(input, 2);
    let mut held = messages(&mut session).await;
    if held.len() < 2 {
        held.extend(messages(&mut session).await);
    }
    assert_eq!(held.iter().map(text).collect::<Vec<_>>(), ["0", "1"]);
    assert!(is_silent(&mut session).await, "two were asked for");
    session.redeliver(&[(input, held[1].id)]);
    soon(session.commit(Commit { acks: vec![(input, held[0].id)], ..Commit::default() })).await.unwrap();
    session.flow(input, 1);
    let again = messages(&mut session).await;
    assert_eq!((&text(&again[0])[..], again[0].redelivery_count), ("1", 1));
    let twice = session.commit(Commit { acks: vec![(input, held[0].id)], ..Commit::default() });
    // A message that is alone in its entry may be acknowledged twice; it is no other's.
    let _ = soon(twice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_order_is_kept_all_comes_again_after_a_refusal() {
    let bench = Bench::start().await;
    let function = FunctionSpec { subscription_type: SubscriptionType::Failover, ..bench.function() };
    let producer = bench.client.producer(&bench.topic("in")).create().await.unwrap();
    bench.publish(&producer, 0..4).await;
    let (mut session, input) = bench.session(&function).await;
    session.flow(input, 100);
    let mut held = Vec::new();
    while held.len() < 4 {
        held.extend(messages(&mut session).await);
    }
    soon(session.commit(Commit { acks: vec![(input, held[0].id)], ..Commit::default() })).await.unwrap();
    session.redeliver(&[(input, held[2].id)]);
    assert!(matches!(soon(session.next()).await, Ok(Arrived::Again(of)) if of == input));
    let void = session.commit(Commit { acks: vec![(input, held[1].id)], ..Commit::default() });
    let _ = soon(void).await;
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(messages(&mut session).await.iter().map(text));
    }
    assert!(again.ends_with(&["2".to_owned(), "3".to_owned()]), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_a_message_whose_code_dies_does_not_come_again() {
    let bench = Bench::start().await;
    let function = FunctionSpec { guarantee: Guarantee::AtmostOnce, ..bench.function() };
    let producer = bench.producer("in").await;
    bench.publish(&producer, 0..3).await;
    let instance = bench.run(&function, 0, |_| throws("no"));
    until(&instance, "it has tried all", |status| status.user_exceptions == 3).await;
    drop(instance);
    let (mut session, input) = bench.session(&function).await;
    session.flow(input, 10);
    assert!(is_silent(&mut session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_does_not_acknowledge_comes_again() {
    let bench = Bench::start().await;
    let function = FunctionSpec { guarantee: Guarantee::Manual, ..bench.function() };
    let producer = bench.producer("in").await;
    bench.publish(&producer, 0..4).await;
    let next = std::sync::atomic::AtomicU64::new(0);
    let instance = bench.run(&function, 0, move |message| {
        // The loop numbers invocations from 0.
        let id = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut outcome = exclaims(message);
        outcome.effects.acks.extend(id.is_multiple_of(2).then_some(id));
        outcome
    });
    until(&instance, "it has seen all", |status| status.processed == 4).await;
    instance.stop(PATIENCE).await;
    let (mut session, input) = bench.session(&function).await;
    session.flow(input, 10);
    let mut left = Vec::new();
    while left.len() < 2 {
        left.extend(messages(&mut session).await.iter().map(text));
    }
    assert_eq!(left, ["1", "3"]);
    assert!(is_silent(&mut session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_goes_to_the_dead_letters() {
    let bench = Bench::start().await;
    let function =
        FunctionSpec { max_message_retries: Some(0), dead_letter_topic: Some(bench.topic("dead")), ..bench.function() };
    let producer = bench.producer("in").await;
    bench.publish(&producer, 0..3).await;
    let instance = bench.run(&function, 0, |_| throws("no"));
    assert_eq!(bench.all("dead", 3).await, ["0", "1", "2"]);
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_when_it_is_unsubscribed() {
    let bench = Bench::start().await;
    let function = bench.function();
    let producer = bench.producer("in").await;
    bench.publish(&producer, 0..1).await;
    let (session, _) = bench.session(&function).await;
    drop(session);
    let topic = bench.topic("in").parse().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // The broker hears of the closed consumer a moment later.
    while let Err(error) = bench.log().unsubscribe(&topic, &function.subscription).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It begins anew, at the latest message.
    let latest = FunctionSpec { initial_position: InitialPosition::Latest, ..function };
    let (mut session, input) = bench.session(&latest).await;
    session.flow(input, 10);
    assert!(is_silent(&mut session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_can_never_be_committed_and_holds_up_nothing() {
    let bench = Bench::start().await;
    let mut session = bench.log().session("test").await.unwrap();
    let output = OutputSpec {
        topic: bench.topic("out").parse().unwrap(),
        producer: None,
        metadata: BTreeMap::new(),
        schema: None,
        batch_by_key: false,
        compression: Default::default(),
    };
    let output = session.open_output(output).await.unwrap();
    let commit = |payload: Vec<u8>| Commit {
        outputs: vec![(output, Record { payload: payload.into(), ..Record::default() })],
        ..Commit::default()
    };
    let refused = soon(session.commit(commit(vec![0; session.max_message_bytes() + 1]))).await;
    assert!(matches!(refused, Err(functions::Error::Invalid(_))), "{refused:?}");
    soon(session.commit(commit(b"ok".to_vec()))).await.unwrap();
    assert_eq!(bench.all("out", 1).await, ["ok"]);
}
