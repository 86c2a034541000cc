//! A node in a temporary directory, and user code as a closure.

use async_trait::async_trait;
use broker::{Addresses, Broker};
use embedded::{Embedded, StoreTables};
pub(crate) use functions::testing::windows;
use functions::{
    Commit, EventLog, FunctionSpec, Language, Message, Record, Runtime, Session, Tables,
    event_log::{Arrived, Compression, InputSpec, OutputSpec, Schema},
    instance::{Instance, Parts},
    message::Key,
    runtime::{
        Answer, Effects, Event, Exit, Input, InstanceSpec, Invocation, Link, LinkEnd, Outcome, Question, Request,
        StartError, UserException, link,
    },
    testing,
    worker::{self, EnvironmentSecrets, Runtimes, Worker},
};
use model::{InitialPosition, SubscriptionType};
use seams::{Shutdown, SystemClock, Tasks};
use std::{collections::VecDeque, sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn topic(local: &str) -> String {
    format!("persistent://public/default/{local}")
}

pub(crate) fn function(name: &str) -> FunctionSpec {
    FunctionSpec { subscription: name.to_owned(), initial_position: InitialPosition::Earliest, ..testing::spec(name) }
}

pub(crate) fn record(local: &str, text: &str) -> Record {
    Record { topic: Some(topic(local)), payload: text.to_owned().into(), ..Record::default() }
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}

/// A broker and what functions need of it.
pub(crate) struct Node {
    pub(crate) log: Embedded,
    tables: StoreTables,
    pub(crate) broker: Broker,
    clock: Arc<SystemClock>,
    tasks: Tasks,
    shutdown: Shutdown,
    _dir: tempfile::TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let (shutdown, tasks) = (Shutdown::new(), Tasks::default());
        let meta = Arc::new(metastore::FileStore::open(&dir.path().join("metadata")).unwrap());
        let mut config = ledger::Config { dir: dir.path().to_owned(), ..ledger::Config::default() };
        config.journal.dir = dir.path().join("journal");
        let (store, _) = ledger::Store::open(config, clock.clone(), meta.clone(), 1).await.unwrap();
        let addresses = Addresses::default();
        let config = broker::Config { shards: 3, ..broker::Config::default() };
        let started = Broker::start(config, addresses, store.clone(), meta, clock.clone(), &tasks, shutdown.clone());
        let broker = started.await.unwrap();
        Self {
            log: Embedded::new(broker.clone(), clock.clone()),
            tables: StoreTables::new(store),
            broker,
            clock,
            tasks,
            shutdown,
            _dir: dir,
        }
    }

    /// Publishes in one commit; each message has itself as its key.
    pub(crate) async fn publish(&self, local: &str, texts: impl IntoIterator<Item = &str>) {
        let record = |text: &str| Record {
            payload: text.to_owned().into(),
            key: Some(Key { text: text.to_owned(), is_base64: false }),
            ..Record::default()
        };
        self.publish_records(local, texts.into_iter().map(record)).await;
    }

    /// Publishes in one commit.
    pub(crate) async fn publish_records(&self, local: &str, records: impl IntoIterator<Item = Record>) {
        let mut session = self.log.session("test").await.unwrap();
        let output = OutputSpec {
            topic: topic(local).parse().unwrap(),
            producer: None,
            metadata: Default::default(),
            schema: None,
            batch_by_key: false,
            compression: Compression::Lz4,
        };
        let output = session.open_output(output).await.unwrap();
        let outputs = records.into_iter().map(|record| (output, record)).collect();
        session.commit(Commit { outputs, ..Commit::default() }).await.unwrap();
    }

    pub(crate) fn run(&self, spec: FunctionSpec, script: Script) -> Instance {
        self.run_as(0, spec, script)
    }

    pub(crate) fn run_as(&self, instance_id: u32, spec: FunctionSpec, runtime: impl Runtime) -> Instance {
        let parts = Parts {
            log: Arc::new(self.log.clone()),
            tables: Arc::new(self.tables.clone()),
            runtime: Arc::new(runtime),
            clock: self.clock.clone(),
        };
        let spec = InstanceSpec {
            function: Arc::new(spec),
            instance_id,
            secrets: Default::default(),
            env: Default::default(),
            work_dir: self._dir.path().to_owned(),
        };
        Instance::start(parts, spec, &self.tasks)
    }

    /// Functions of this node, all of which `runtime` runs.
    pub(crate) async fn worker(&self, runtime: Arc<dyn Runtime>) -> Worker {
        let settings = worker::Settings {
            dir: self._dir.path().join("functions"),
            max_package_bytes: 1 << 20,
            cluster: "standalone".to_owned(),
            worker_id: "w".to_owned(),
            hostname: "localhost".to_owned(),
            port: 8080,
            service_url: "pulsar://localhost:6650".to_owned(),
            admin_url: "http://localhost:8080".to_owned(),
        };
        let parts = worker::Parts {
            log: Arc::new(self.log.clone()),
            tables: Arc::new(self.tables.clone()),
            runtimes: Runtimes::default().with(Language::Python, runtime),
            connectors: Vec::new(),
            secrets: Arc::new(EnvironmentSecrets),
            clock: self.clock.clone(),
        };
        Worker::open(settings, parts).await.unwrap()
    }

    pub(crate) async fn reader(&self, local: &str) -> Box<dyn Session> {
        let mut session = self.log.session("test").await.unwrap();
        let input = InputSpec {
            topic: topic(local).parse().unwrap(),
            subscription: "reader".into(),
            kind: SubscriptionType::Exclusive,
            initial_position: InitialPosition::Earliest,
            durable: true,
            skip_to_latest: false,
            consumer: "reader".into(),
            metadata: Default::default(),
        };
        let input = session.subscribe(input).await.unwrap();
        session.flow(input, 10_000);
        session
    }

    /// Takes this many messages, and acknowledges them.
    pub(crate) async fn read(&self, local: &str, count: usize) -> Vec<Message> {
        let mut session = self.reader(local).await;
        let mut found = Vec::new();
        while found.len() < count {
            let next = tokio::time::timeout(PATIENCE, session.next()).await;
            match next.unwrap_or_else(|_| panic!("{} of {count} messages on {local}", found.len())).unwrap() {
                Arrived::Messages(messages) => {
                    let acks = messages.iter().map(|m| (m.input, m.id)).collect();
                    session.commit(Commit { acks, ..Commit::default() }).await.unwrap();
                    found.extend(messages);
                }
                _ => continue,
            }
        }
        found
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn nothing_more(&self, local: &str) -> bool {
        let mut session = self.reader(local).await;
        loop {
            match tokio::time::timeout(Duration::from_millis(300), session.next()).await {
                Err(_) => return true,
                Ok(Ok(Arrived::Messages(_))) => return false,
                Ok(other) => drop(other.unwrap()),
            }
        }
    }

    pub(crate) async fn backlog(&self, local: &str, subscription: &str) -> i64 {
        let stats = self.broker.topic_stats(&topic(local).parse().unwrap()).await.unwrap();
        stats.subscriptions.get(subscription).map_or(-1, |s| s.msg_backlog)
    }

    /// Waits until all of it is acknowledged.
    pub(crate) async fn acknowledged(&self, local: &str, subscription: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.backlog(local, subscription).await != 0 {
            assert!(tokio::time::Instant::now() < deadline, "{local} is not acknowledged");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_so() {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn producers(&self, local: &str) -> usize {
        self.broker.topic_stats(&topic(local).parse().unwrap()).await.unwrap().publishers.len()
    }

    /// The row of its windows that says how far instance 0 has come.
    pub(crate) async fn mark(&self, function: &str) -> serde_json::Value {
        let key = [&0u32.to_be_bytes()[..], &u64::MAX.to_be_bytes()].concat();
        let row = self.tables.get(&format!("window/public/default/{function}"), &key).await.unwrap().unwrap();
        serde_json::from_slice(&row.value).unwrap()
    }

    pub(crate) async fn counter(&self, function: &str, key: &str) -> i64 {
        let table = testing::spec(function).state_table();
        let row = self.tables.get(&table, key.as_bytes()).await.unwrap();
        row.map_or(0, |row| i64::from_be_bytes(row.value[..].try_into().unwrap()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// What the code did when it was called.
pub(crate) enum Did {
    Returned(String),
    All(Result<Vec<Record>, UserException>, Effects),
    /// Outcomes by invocation, as they are.
    Events(Vec<(u64, &'static str)>),
    Died(Exit),
}

type Call = dyn Fn(u64, &str) -> Did + Send + Sync;
type Asks = (Box<dyn Fn(u64) -> Question + Send + Sync>, Box<dyn Fn(&str, Answer) -> Did + Send + Sync>);

/// User code.
#[derive(Clone)]
pub(crate) struct Script {
    call: Arc<Call>,
    asks: Option<Arc<Asks>>,
    schema: Option<Schema>,
}

impl Script {
    /// Called with the invocation's number and its text.
    pub(crate) fn new(call: impl Fn(u64, &str) -> Did + Send + Sync + 'static) -> Self {
        Self { call: Arc::new(call), asks: None, schema: None }
    }

    pub(crate) fn each(call: impl Fn(&str) -> Did + Send + Sync + 'static) -> Self {
        Self::new(move |_, text| call(text))
    }

    /// Puts together what is in a window.
    pub(crate) fn joining() -> Self {
        Self::each(|text| Did::Returned(text.to_owned()))
    }

    /// Asks before it does something.
    pub(crate) fn asking(
        question: impl Fn(u64) -> Question + Send + Sync + 'static,
        then: impl Fn(&str, Answer) -> Did + Send + Sync + 'static,
    ) -> Self {
        Self { asks: Some(Arc::new((Box::new(question), Box::new(then)))), ..Self::each(|_| unreachable!()) }
    }

    /// Says that what it returns is written so.
    pub(crate) fn writing(self, schema: Schema) -> Self {
        Self { schema: Some(schema), ..self }
    }

    async fn run(self, mut end: LinkEnd) {
        let mut waiting: VecDeque<Invocation> = VecDeque::new();
        loop {
            let Some(invocation) = waiting.pop_front() else {
                match end.requests.recv().await {
                    Some(Request::Invoke(invocations)) => waiting.extend(invocations),
                    Some(_) => {}
                    None => return,
                }
                continue;
            };
            let (id, said) = (invocation.id, input(&invocation));
            let did = match &self.asks {
                None => (self.call)(id, &said),
                Some(asks) => {
                    let question = Event::Call { call: id, invocation: Some(id), question: asks.0(id) };
                    end.events.send(vec![question]).await.unwrap();
                    let answer = loop {
                        match end.requests.recv().await {
                            Some(Request::Answer { answer, .. }) => break answer,
                            Some(Request::Invoke(more)) => waiting.extend(more),
                            Some(_) => {}
                            None => return,
                        }
                    };
                    asks.1(&said, answer)
                }
            };
            let events = match did {
                Did::Returned(text) => vec![done(id, Ok(vec![plain(&text)]), Effects::default())],
                Did::All(result, effects) => vec![done(id, result, effects)],
                Did::Events(all) => {
                    all.into_iter().map(|(id, text)| done(id, Ok(vec![plain(text)]), Effects::default())).collect()
                }
                Did::Died(exit) => vec![Event::Exited(exit)],
            };
            let is_over = matches!(events[..], [Event::Exited(_)]);
            if end.events.send(events).await.is_err() || is_over {
                return;
            }
        }
    }
}

fn plain(text: &str) -> Record {
    Record { payload: text.to_owned().into(), ..Record::default() }
}

/// What came, as an output.
pub(crate) fn echoed(invocation: &Invocation) -> Record {
    plain(&input(invocation))
}

fn input(invocation: &Invocation) -> String {
    match &invocation.input {
        Input::Message(message) => text(message),
        Input::Window(messages) => messages.iter().map(|m| text(m)).collect::<Vec<_>>().join("+"),
    }
}

pub(crate) fn done(id: u64, result: Result<Vec<Record>, UserException>, effects: Effects) -> Event {
    Event::Done { id, outcome: Outcome { result, effects, took: Duration::from_micros(1) } }
}

#[async_trait]
impl Runtime for Script {
    async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: InstanceSpec) -> Result<Link, StartError> {
        let (mut link, end) = link();
        link.output_schema.clone_from(&self.schema);
        tokio::spawn(self.clone().run(end));
        Ok(link)
    }
}
