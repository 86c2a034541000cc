//! The loop's side of a link.

use connectors::Connectors;
use functions::{
    FunctionSpec, Kind, Language, Message, Record, Runtime,
    message::MessageId,
    runtime::{Event, Input, InstanceSpec, Invocation, Link, Outcome, Request, StartError},
    spec::Code,
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Long enough for a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn connectors() -> Connectors {
    Connectors::new(Arc::new(seams::SystemClock::new()))
}

pub(crate) fn spec(kind: Kind, name: &str, configs: Value) -> FunctionSpec {
    FunctionSpec {
        kind,
        language: Language::Builtin,
        code: Code::Builtin(name.to_owned()),
        user_config: configs.as_object().cloned().unwrap_or_else(Map::new),
        ..functions::testing::spec("test")
    }
}

/// What deploying says against it.
pub(crate) async fn refusal(kind: Kind, name: &str, configs: Value) -> String {
    connectors().prepare(&spec(kind, name, configs)).await.unwrap_err().to_string()
}

pub(crate) async fn start(spec: FunctionSpec) -> Result<Running, StartError> {
    let runtime = connectors();
    runtime.prepare(&spec).await?;
    let instance = InstanceSpec {
        function: Arc::new(spec),
        instance_id: 0,
        secrets: BTreeMap::new(),
        env: BTreeMap::new(),
        work_dir: "/nowhere".into(),
    };
    Ok(Running { link: runtime.start(instance).await?, seen: VecDeque::new(), logs: Vec::new() })
}

pub(crate) async fn source(name: &str, configs: Value) -> Running {
    start(spec(Kind::Source, name, configs)).await.expect("the source starts")
}

pub(crate) async fn sink(name: &str, configs: Value) -> Running {
    start(spec(Kind::Sink, name, configs)).await.expect("the sink starts")
}

/// One instance.
pub(crate) struct Running {
    pub(crate) link: Link,
    seen: VecDeque<Event>,
    pub(crate) logs: Vec<String>,
}

impl Running {
    /// The next event that is no line of a log.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            while let Some(event) = self.seen.pop_front() {
                match event {
                    Event::Log(line) => self.logs.push(line.message),
                    other => return other,
                }
            }
            let events = tokio::time::timeout(PATIENCE, self.link.events.recv()).await.expect("an event in time");
            self.seen.extend(events.expect("the last event is Exited"));
        }
    }

    /// The next record a source has.
    pub(crate) async fn emitted(&mut self) -> (u64, Record) {
        match self.event().await {
            Event::Emit { id, record } => (id, record),
            other => panic!("expected a record, got {other:?}"),
        }
    }

    /// Whether there is nothing new for a while.
    pub(crate) async fn is_silent(&mut self, during: Duration) -> bool {
        self.seen.is_empty() && tokio::time::timeout(during, self.link.events.recv()).await.is_err()
    }

    pub(crate) async fn durable(&self, ids: impl IntoIterator<Item = u64>) {
        self.answer(Request::Emitted { ids: ids.into_iter().collect(), error: None }).await;
    }

    pub(crate) async fn failed(&self, id: u64, error: &str) {
        self.answer(Request::Emitted { ids: vec![id], error: Some(error.to_owned()) }).await;
    }

    async fn answer(&self, request: Request) {
        self.link.requests.send(request).await.expect("the connector listens");
    }

    pub(crate) async fn invoke(&self, messages: impl IntoIterator<Item = (u64, Message)>) {
        let invocations = messages
            .into_iter()
            .map(|(id, message)| Invocation { id, input: Input::Message(Arc::new(message)) })
            .collect();
        self.answer(Request::Invoke(invocations)).await;
    }

    pub(crate) async fn done(&mut self) -> (u64, Outcome) {
        match self.event().await {
            Event::Done { id, outcome } => (id, outcome),
            other => panic!("expected an outcome, got {other:?}"),
        }
    }

    /// How many messages are done, each with what it threw, by their number.
    pub(crate) async fn fates(&mut self, count: usize) -> Vec<(u64, Result<(), String>)> {
        let mut fates = Vec::new();
        for _ in 0..count {
            let (id, outcome) = self.done().await;
            fates.push((id, outcome.result.map(|_| ()).map_err(|exception| exception.message)));
        }
        fates.sort_by_key(|fate| fate.0);
        fates
    }

    /// Asks for the end, as the loop does.
    pub(crate) async fn stop(self) {
        let Self { link: Link { requests, mut events, .. }, .. } = self;
        drop(requests);
        let ended = tokio::time::timeout(PATIENCE, async {
            while let Some(batch) = events.recv().await {
                if batch.iter().any(|event| matches!(event, Event::Exited(exit) if exit.is_clean)) {
                    return true;
                }
            }
            false
        });
        assert!(ended.await.expect("it ends in time"), "it ends well");
    }
}

pub(crate) fn message(payload: &str) -> Message {
    Message {
        input: 0,
        topic: Arc::new("persistent://public/default/in".parse().expect("a topic")),
        id: MessageId { ledger: 3, entry: 5, partition: -1, batch_index: -1, batch_size: 0 },
        key: None,
        properties: Vec::new(),
        event_time_ms: 0,
        publish_time_ms: 1_700_000_000_000,
        producer: "p".into(),
        sequence_id: 0,
        redelivery_count: 0,
        schema_version: Default::default(),
        payload: payload.to_owned().into(),
    }
}

/// A port nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
