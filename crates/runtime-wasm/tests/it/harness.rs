//! A small instance loop: hands over invocations, keeps state, answers questions, collects what happens.

use bytes::Bytes;
use functions::{
    Code, FunctionSpec, Kind, Language, Message, MessageId, Runtime as _,
    message::Key,
    runtime::{
        Answer, Effects, Event, Exit, Input, InstanceSpec, Invocation, Link, LogLine, Outcome, Question, Request,
        Secret, StartError, StateChange,
    },
    spec::{InputConfig, OutputConfig, Span, WindowSpec},
};
use runtime_wasm::{Config, WasmRuntime};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Long enough on a machine that does many other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runtime: WasmRuntime,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = runtime(config, dir.path());
        Self { dir, runtime }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// A component in text form, as a package.
    pub(crate) fn wat(&self, text: &str) -> PathBuf {
        self.file("guest.wasm", wat::parse_str(text).expect("the text is a component"))
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    pub(crate) async fn start(&self, function: FunctionSpec) -> Instance {
        self.try_start(function).await.expect("it starts")
    }

    pub(crate) async fn try_start(&self, function: FunctionSpec) -> Result<Instance, StartError> {
        self.runtime.prepare(&function).await?;
        let secrets = BTreeMap::from([("TOKEN".to_owned(), Secret("hush".to_owned()))]);
        let work_dir = self.dir.path().join("work");
        let env = BTreeMap::from([("MODE".to_owned(), Secret("given".to_owned()))]);
        let spec = InstanceSpec { function: Arc::new(function), instance_id: 1, secrets, env, work_dir };
        Ok(Instance { link: self.runtime.start(spec).await?, next_id: 0, state: HashMap::new(), logs: Vec::new() })
    }
}

pub(crate) fn runtime(config: Config, dir: &Path) -> WasmRuntime {
    let clock = Arc::new(seams::SystemClock::new());
    WasmRuntime::new(config, &dir.join("cache"), clock).expect("wasmtime runs here")
}

pub(crate) fn function(code: impl Into<PathBuf>) -> FunctionSpec {
    let topic = |local: &str| format!("persistent://public/default/{local}");
    FunctionSpec {
        id: "f1".to_owned(),
        language: Language::Wasm,
        inputs: BTreeMap::from([(topic("in"), InputConfig::default())]),
        output: OutputConfig { topic: Some(topic("out")), ..OutputConfig::default() },
        parallelism: 2,
        cluster: "standalone".to_owned(),
        ..FunctionSpec::new(Kind::Function, "public", "default", "test", Code::File(code.into()))
    }
}

pub(crate) fn windows_of(count: u64) -> WindowSpec {
    WindowSpec {
        length: Span::Count(count),
        slide: Span::Count(count),
        timestamp_extractor: None,
        event_time: false,
        max_lag: Duration::ZERO,
        watermark_interval: Duration::from_secs(1),
        late_data_topic: None,
    }
}

pub(crate) fn message(payload: &str) -> Arc<Message> {
    bytes_message(Bytes::copy_from_slice(payload.as_bytes()))
}

pub(crate) fn bytes_message(payload: Bytes) -> Arc<Message> {
    Arc::new(Message {
        input: 0,
        topic: Arc::new("persistent://public/default/in".parse().expect("a topic")),
        id: MessageId { ledger: 3, entry: 4, partition: -1, batch_index: -1, batch_size: 0 },
        key: Some(Key { text: "key".to_owned(), is_base64: false }),
        properties: vec![("name".to_owned(), "value".to_owned())],
        event_time_ms: 5,
        publish_time_ms: 6,
        producer: "producer".into(),
        sequence_id: 7,
        redelivery_count: 0,
        schema_version: Bytes::new(),
        payload,
    })
}

pub(crate) struct Instance {
    pub(crate) link: Link,
    next_id: u64,
    pub(crate) state: HashMap<String, Bytes>,
    pub(crate) logs: Vec<LogLine>,
}

/// An outcome in the words of a test: the output, or what was thrown.
pub(crate) type Said = Result<Option<String>, String>;

impl Instance {
    /// One message, and what came of it.
    pub(crate) async fn say(&mut self, payload: &str) -> Said {
        said(&self.invoke(payload).await)
    }

    pub(crate) async fn invoke(&mut self, payload: &str) -> Outcome {
        self.invoke_all([Input::Message(message(payload))]).await.remove(0)
    }

    pub(crate) async fn say_all<const N: usize>(&mut self, payloads: [&str; N]) -> Vec<Said> {
        let inputs = payloads.map(|payload| Input::Message(message(payload)));
        self.invoke_all(inputs).await.iter().map(said).collect()
    }

    /// One batch; outcomes in order. Fails if the instance ends.
    pub(crate) async fn invoke_all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Outcome> {
        match self.try_invoke_all(inputs).await {
            (outcomes, None) => outcomes,
            (_, Some(exit)) => panic!("the instance ended: {}", exit.reason),
        }
    }

    pub(crate) async fn try_invoke_all(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
    ) -> (Vec<Outcome>, Option<Exit>) {
        let first = self.next_id;
        let batch: Vec<_> = inputs
            .into_iter()
            .map(|input| {
                self.next_id += 1;
                Invocation { id: self.next_id - 1, input }
            })
            .collect();
        let count = batch.len();
        self.link.requests.send(Request::Invoke(batch)).await.expect("the instance listens");
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            let events = tokio::time::timeout(PATIENCE, self.link.events.recv()).await.expect("it answers");
            for event in events.expect("the last event is Exited") {
                match event {
                    Event::Done { id, outcome } => {
                        assert_eq!(id, first + outcomes.len() as u64, "outcomes come in order");
                        self.apply(&outcome);
                        outcomes.push(outcome);
                    }
                    Event::Call { call, question, .. } => {
                        let answer = self.answer(&question);
                        self.link.requests.send(Request::Answer { call, answer }).await.expect("the instance listens");
                    }
                    Event::Log(line) => self.logs.push(line),
                    Event::Exited(exit) => return (outcomes, Some(exit)),
                    Event::Emit { .. } | Event::Changes(_) | Event::Reported(_) => panic!("a function does not"),
                }
            }
        }
        (outcomes, None)
    }

    fn apply(&mut self, outcome: &Outcome) {
        for change in &outcome.effects.changes {
            match change.clone() {
                StateChange::Put { key, value } => drop(self.state.insert(key, value)),
                StateChange::Delete { key } => drop(self.state.remove(&key)),
                StateChange::Add { key, amount } => {
                    let value = self.counter(&key) + amount;
                    self.state.insert(key, Bytes::copy_from_slice(&value.to_be_bytes()));
                }
            }
        }
    }

    fn counter(&self, key: &str) -> i64 {
        let bytes = self.state.get(key).map(|value| value.as_ref().try_into().expect("a counter has 8 bytes"));
        bytes.map_or(0, i64::from_be_bytes)
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::State(key) if key == "broken" => Answer::Failed("the disk is on fire".to_owned()),
            Question::State(key) => Answer::State(self.state.get(key).cloned()),
            Question::Counter(key) => Answer::Counter(self.counter(key)),
        }
    }

    /// Ends it as the loop does.
    pub(crate) async fn stop(self) -> (Vec<LogLine>, Exit) {
        let Link { requests, mut events, .. } = self.link;
        drop(requests);
        let mut logs = self.logs;
        loop {
            let batch = tokio::time::timeout(PATIENCE, events.recv()).await.expect("it ends");
            for event in batch.expect("the last event is Exited") {
                match event {
                    Event::Log(line) => logs.push(line),
                    Event::Exited(exit) => return (logs, exit),
                    _ => {}
                }
            }
        }
    }
}

pub(crate) fn said(outcome: &Outcome) -> Said {
    match &outcome.result {
        Ok(records) => {
            assert!(records.len() < 2, "one output at most");
            Ok(records.first().map(|record| String::from_utf8_lossy(&record.payload).into_owned()))
        }
        Err(exception) => {
            let Effects { publishes, changes, acks, .. } = &outcome.effects;
            assert!(
                publishes.is_empty() && changes.is_empty() && acks.is_empty(),
                "nothing happens after an exception"
            );
            Err(exception.message.clone())
        }
    }
}

/// What a function returned, for `assert_eq`.
pub(crate) fn output(text: &str) -> Said {
    Ok(Some(text.to_owned()))
}
