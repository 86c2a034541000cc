//! What the tests share: a function, an instance of it, and its link with what came of it.

use functions::{
    Code, FunctionSpec, Language, Message, MessageId, Runtime,
    event_log::Schema,
    runtime::{Answer, Event, Exit, Input, InstanceSpec, Invocation, Link, LogLine, Outcome, Question, Request},
};
use runtime_process::{Children, Limits};
use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::time::timeout;

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const IN: &str = "persistent://public/default/in";

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::detect);

pub(crate) fn children() -> Children {
    Children::new(seams::Tasks::default(), LIMITS.clone())
}

pub(crate) fn spec(language: Language, code: Code, class_name: &str) -> FunctionSpec {
    let spec = functions::testing::spec("f");
    FunctionSpec { id: "id-1".into(), version: 3, language, class_name: class_name.into(), code, ..spec }
}

pub(crate) fn instance(function: FunctionSpec, work_dir: &Path) -> InstanceSpec {
    InstanceSpec {
        function: Arc::new(function),
        instance_id: 0,
        secrets: BTreeMap::new(),
        env: BTreeMap::new(),
        work_dir: work_dir.to_owned(),
    }
}

pub(crate) fn message(entry: u64, payload: impl Into<bytes::Bytes>) -> Message {
    Message {
        input: 0,
        topic: Arc::new(IN.parse().unwrap()),
        id: MessageId { ledger: 7, entry: entry as i64, partition: -1, batch_index: -1, batch_size: 0 },
        key: None,
        properties: Vec::new(),
        event_time_ms: 0,
        publish_time_ms: 1_000,
        producer: "producer".into(),
        sequence_id: entry,
        redelivery_count: 0,
        schema_version: bytes::Bytes::new(),
        payload: payload.into(),
    }
}

/// The loop's side of a running instance.
pub(crate) struct Running {
    link: Link,
    /// How it says that its records are written.
    pub(crate) output_schema: Option<Schema>,
    /// Whether it says that it runs many invocations at once.
    pub(crate) runs_many: Option<bool>,
    next_id: u64,
    events: VecDeque<Event>,
    pub(crate) logs: Vec<LogLine>,
    /// What calls are answered with.
    pub(crate) state: BTreeMap<String, bytes::Bytes>,
    pub(crate) calls: Vec<(Option<u64>, Question)>,
}

impl Running {
    pub(crate) async fn start(runtime: &dyn Runtime, instance: InstanceSpec) -> Result<Self, String> {
        runtime.prepare(&instance.function).await.map_err(|error| error.to_string())?;
        let link = runtime.start(instance).await.map_err(|error| error.to_string())?;
        Ok(Self {
            output_schema: link.output_schema.clone(),
            runs_many: link.runs_many,
            link,
            next_id: 1,
            events: VecDeque::new(),
            logs: Vec::new(),
            state: BTreeMap::new(),
            calls: Vec::new(),
        })
    }

    pub(crate) async fn invoke(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<u64> {
        let invocations: Vec<_> = inputs
            .into_iter()
            .map(|input| {
                self.next_id += 1;
                Invocation { id: self.next_id, input }
            })
            .collect();
        let ids = invocations.iter().map(|invocation| invocation.id).collect();
        self.link.requests.send(Request::Invoke(invocations)).await.unwrap();
        ids
    }

    pub(crate) async fn send(&mut self, payloads: &[&str]) -> Vec<u64> {
        let inputs: Vec<_> = payloads.iter().map(|payload| input(payload.to_string())).collect();
        self.invoke(inputs).await
    }

    pub(crate) async fn request(&mut self, request: Request) {
        self.link.requests.send(request).await.unwrap();
    }

    /// The next thing that is not a log line or a call; calls are answered.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            match self.events.pop_front() {
                Some(Event::Log(line)) => self.logs.push(line),
                Some(Event::Call { call, invocation, question }) => {
                    let answer = match &question {
                        Question::State(key) => Answer::State(self.state.get(key).cloned()),
                        Question::Counter(key) => Answer::Counter(
                            self.state
                                .get(key)
                                .map_or(0, |value| i64::from_be_bytes(value.as_ref().try_into().unwrap())),
                        ),
                    };
                    self.calls.push((invocation, question));
                    self.link.requests.send(Request::Answer { call, answer }).await.unwrap();
                }
                Some(event) => return event,
                None => {
                    let more = timeout(PATIENCE, self.link.events.recv()).await.expect("events come in time");
                    self.events.extend(more.expect("the last event is Exited"));
                }
            }
        }
    }

    pub(crate) async fn outcome(&mut self) -> (u64, Outcome) {
        match self.next().await {
            Event::Done { id, outcome } => (id, outcome),
            other => panic!("an outcome was expected: {other:?}"),
        }
    }

    /// Payloads of all outputs of one outcome, or the exception.
    pub(crate) async fn outputs(&mut self) -> Result<Vec<String>, String> {
        let (_, outcome) = self.outcome().await;
        let records = outcome.result.map_err(|exception| exception.message)?;
        Ok(records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect())
    }

    /// Sends one text, returns its only output.
    pub(crate) async fn call(&mut self, payload: &str) -> Result<String, String> {
        self.send(&[payload]).await;
        Ok(self.outputs().await?.join("|"))
    }

    pub(crate) async fn log_line(&mut self, has: &str) -> LogLine {
        loop {
            if let Some(line) = self.logs.iter().find(|line| line.message.contains(has)) {
                return line.clone();
            }
            match self.events.pop_front() {
                Some(Event::Log(line)) => self.logs.push(line),
                Some(other) => panic!("a log line was expected: {other:?}"),
                None => {
                    let more = timeout(PATIENCE, self.link.events.recv()).await.expect("events come in time");
                    self.events.extend(more.expect("the last event is Exited"));
                }
            }
        }
    }

    /// What it ends with; outcomes before that are dropped.
    pub(crate) async fn exit(&mut self) -> Exit {
        loop {
            if let Event::Exited(exit) = self.next().await {
                assert!(self.link.events.recv().await.is_none(), "nothing follows the exit");
                return exit;
            }
        }
    }

    /// Asks it to end.
    pub(crate) async fn stop(mut self) -> (Exit, Vec<LogLine>) {
        let (requests, _) = tokio::sync::mpsc::channel(1);
        self.link.requests = requests;
        (self.exit().await, self.logs)
    }
}

pub(crate) fn input(payload: impl Into<bytes::Bytes>) -> Input {
    Input::Message(Arc::new(message(1, payload)))
}
