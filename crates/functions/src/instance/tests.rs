//! An instance that is given up while its commits are under way, and one whose topics do not all let themselves be read.

use async_trait::async_trait;
use model::TopicName;
use std::collections::BTreeMap;
use tokio::sync::watch;

use super::*;
use crate::{
    Commit, Record, Session,
    event_log::{Arrived, InputSpec, OutputSpec},
    message::{InputId, MessageId, OutputId},
    spec::InputConfig,
    testing::{Echo, MemoryLog, MemoryTables, TokioClock, spec},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A broker whose commits end when they may.
struct Stalls {
    log: MemoryLog,
    may_end: watch::Receiver<bool>,
    begun: watch::Sender<u32>,
}

struct Stalling {
    session: Box<dyn Session>,
    may_end: watch::Receiver<bool>,
    begun: watch::Sender<u32>,
}

#[async_trait]
impl EventLog for Stalls {
    async fn session(&self, name: &str) -> Result<Box<dyn Session>> {
        let session = self.log.session(name).await?;
        Ok(Box::new(Stalling { session, may_end: self.may_end.clone(), begun: self.begun.clone() }))
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32> {
        self.log.partitions(topic).await
    }

    async fn matching(&self, pattern: &str, subscription: &str) -> Result<Vec<TopicName>> {
        self.log.matching(pattern, subscription).await
    }

    async fn unsubscribe(&self, topic: &TopicName, subscription: &str) -> Result<()> {
        self.log.unsubscribe(topic, subscription).await
    }
}

#[async_trait]
impl Session for Stalling {
    async fn subscribe(&mut self, input: InputSpec) -> Result<InputId> {
        self.session.subscribe(input).await
    }

    async fn open_output(&mut self, output: OutputSpec) -> Result<OutputId> {
        self.session.open_output(output).await
    }

    fn flow(&mut self, input: InputId, permits: u32) {
        self.session.flow(input, permits);
    }

    async fn next(&mut self) -> Result<Arrived> {
        self.session.next().await
    }

    fn commit(&mut self, commit: Commit) -> BoxFuture<'static, Result<()>> {
        let (commit, mut may_end) = (self.session.commit(commit), self.may_end.clone());
        self.begun.send_modify(|begun| *begun += 1);
        Box::pin(async move {
            let _ = may_end.wait_for(|may_end| *may_end).await;
            commit.await
        })
    }

    fn redeliver(&mut self, ids: &[(InputId, MessageId)]) {
        self.session.redeliver(ids);
    }

    fn max_message_bytes(&self) -> usize {
        self.session.max_message_bytes()
    }
}

fn start(parts: Parts, function: FunctionSpec) -> Instance {
    let (function, work_dir) = (Arc::new(function), std::path::PathBuf::from("/nowhere"));
    let (secrets, env) = (BTreeMap::new(), BTreeMap::new());
    let spec = InstanceSpec { function, instance_id: 0, secrets, env, work_dir };
    Instance::start(parts, spec, &seams::Tasks::default())
}

fn record(text: &'static str) -> Record {
    Record { payload: text.into(), ..Record::default() }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let soon = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, soon).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_is_given_up_has_ended_when_its_commits_have() {
    let tables = Arc::new(MemoryTables::default());
    let log = MemoryLog::new(tables.clone());
    let (ends, may_end) = watch::channel(false);
    let (begun, mut begins) = watch::channel(0);
    let parts = Parts {
        log: Arc::new(Stalls { log: log.clone(), may_end, begun }),
        tables,
        runtime: Arc::new(Echo),
        clock: Arc::new(seams::SystemClock::new()),
    };
    let input = "persistent://public/default/in";
    let instance = start(parts, spec("f"));
    until(|| !log.subscriptions(input).is_empty()).await;
    log.publish(input, record("a"));
    tokio::time::timeout(PATIENCE, begins.wait_for(|begun| *begun > 0)).await.unwrap().unwrap();
    let mut stop = tokio::spawn(instance.stop(Duration::from_millis(10)));
    tokio::time::timeout(Duration::from_millis(200), &mut stop).await.unwrap_err();
    assert!(log.messages("persistent://public/default/out").is_empty());
    ends.send(true).unwrap();
    tokio::time::timeout(PATIENCE, stop).await.unwrap().unwrap();
    assert_eq!(log.messages("persistent://public/default/out").len(), 1, "what was committed is there");
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_a_pattern_that_refuses_stops_nobody_and_is_tried_again() {
    let tables = Arc::new(MemoryTables::default());
    let log = MemoryLog::new(tables.clone());
    let parts =
        Parts { log: Arc::new(log.clone()), tables, runtime: Arc::new(Echo), clock: Arc::new(TokioClock::default()) };
    let [read, refused, out] = ["in-1", "in-2", "out"].map(|local| format!("persistent://public/default/{local}"));
    [&read, &refused].into_iter().for_each(|topic| log.publish(topic, record("before")));
    log.refuses(Some(&refused));
    let pattern = InputConfig { is_pattern: true, ..InputConfig::default() };
    let instance =
        start(parts, FunctionSpec { inputs: [("public/default/in-.*".to_owned(), pattern)].into(), ..spec("f") });
    until(|| !log.subscriptions(&read).is_empty()).await;
    log.publish(&read, record("a"));
    until(|| log.messages(&out).len() == 1).await;
    // It is told, once, however often it is tried.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let status = instance.status();
    assert_eq!((status.running, status.restarts, status.system_exceptions), (true, 0, 1), "{status:?}");
    assert_eq!(status.latest_system_exceptions[0].message, format!("{refused} is not read: not now"));
    assert!(log.subscriptions(&refused).is_empty());

    log.refuses(None);
    until(|| !log.subscriptions(&refused).is_empty()).await;
    log.publish(&refused, record("b"));
    until(|| log.messages(&out).len() == 2).await;
    assert_eq!(instance.status().restarts, 0);
}
