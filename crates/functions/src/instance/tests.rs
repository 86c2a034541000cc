//! An instance that is given up while its commits are under way, one that does not read, and one whose topics do not all let themselves be read.

use async_trait::async_trait;
use model::TopicName;
use std::collections::BTreeMap;
use tokio::sync::watch;

use super::*;
use crate::{
    Commit, Record, Session,
    event_log::{Arrived, InputSpec, OutputSpec},
    message::{InputId, MessageId, OutputId},
    runtime::{Event, Link, Question, StartError, link},
    spec::{InputConfig, Span},
    testing::{Echo, MemoryLog, MemoryTables, TokioClock, spec, windows},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A broker that stalls with the first commit that has outputs: from then on they end when they may, one after the other.
struct Stalls {
    log: MemoryLog,
    stall: Stall,
}

#[derive(Clone)]
struct Stall {
    may_end: watch::Receiver<bool>,
    begun: watch::Sender<u32>,
    ended: watch::Sender<u32>,
}

struct Stalling {
    session: Box<dyn Session>,
    stall: Stall,
}

#[async_trait]
impl EventLog for Stalls {
    async fn session(&self, name: &str) -> Result<Box<dyn Session>> {
        let session = self.log.session(name).await?;
        Ok(Box::new(Stalling { session, stall: self.stall.clone() }))
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
        let stalls = !commit.outputs.is_empty() || *self.stall.begun.borrow() > 0;
        let commit = self.session.commit(commit);
        if !stalls {
            return commit;
        }
        let Stall { mut may_end, begun, ended } = self.stall.clone();
        let before = *begun.borrow();
        begun.send_modify(|begun| *begun += 1);
        Box::pin(async move {
            let _ = may_end.wait_for(|may_end| *may_end).await;
            let _ = ended.subscribe().wait_for(|ended| *ended == before).await;
            let result = commit.await;
            ended.send_modify(|ended| *ended += 1);
            result
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

/// What an instance is made of that echoes over a broker that stalls; says that commits may end, and how many began since it stalls.
fn stalling() -> (MemoryLog, Parts, watch::Sender<bool>, watch::Receiver<u32>) {
    let tables = Arc::new(MemoryTables::default());
    let log = MemoryLog::new(tables.clone());
    let (ends, may_end) = watch::channel(false);
    let (begun, begins) = watch::channel(0);
    let stall = Stall { may_end, begun, ended: watch::Sender::new(0) };
    let parts = Parts {
        log: Arc::new(Stalls { log: log.clone(), stall }),
        tables,
        runtime: Arc::new(Echo),
        clock: Arc::new(seams::SystemClock::new()),
    };
    (log, parts, ends, begins)
}

#[tokio::test]
async fn an_instance_that_is_given_up_has_ended_when_its_commits_have() {
    let (log, parts, ends, mut begins) = stalling();
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

#[tokio::test]
async fn windows_are_read_when_all_is_there_that_a_run_which_was_given_up_has_committed() {
    let (log, parts, ends, mut begins) = stalling();
    let function = FunctionSpec { window: Some(windows(Span::Count(2), Span::Count(2))), ..spec("f") };
    subscribe(&parts.log, function.clone(), false).await.unwrap();
    let publish = |text: &'static str| {
        log.publish("persistent://public/default/in", record(text));
    };
    ["a", "b"].into_iter().for_each(publish);
    let first = start(parts.clone(), function.clone());
    tokio::time::timeout(PATIENCE, begins.wait_for(|begun| *begun > 0)).await.unwrap().unwrap();
    // The commit of its window does not end, so it is not waited for.
    drop(first);
    let second = start(parts, function);
    tokio::time::timeout(PATIENCE, begins.wait_for(|begun| *begun > 1)).await.unwrap().unwrap();
    ends.send(true).unwrap();
    let outputs = || {
        let messages = log.messages("persistent://public/default/out");
        messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect::<Vec<_>>()
    };
    ["c", "d"].into_iter().for_each(publish);
    until(|| outputs().len() == 2).await;
    assert_eq!(outputs(), ["b", "d"], "the last of each window, once");
    second.stop(Duration::from_millis(10)).await;
}

/// Asks for its state without end, and takes no answer.
struct Deaf;

#[async_trait]
impl Runtime for Deaf {
    async fn prepare(&self, _: &FunctionSpec) -> std::result::Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: InstanceSpec) -> std::result::Result<Link, StartError> {
        let (link, end) = link();
        tokio::spawn(async move {
            let question = Question::State("k".repeat(32 << 10));
            let ask = |call| Event::Call { call, invocation: None, question: question.clone() };
            for call in (0..).step_by(100) {
                if end.events.send((call..call + 100).map(ask).collect()).await.is_err() {
                    return;
                }
            }
        });
        Ok(link)
    }
}

#[tokio::test]
async fn code_that_asks_and_does_not_read_is_ended_and_told_so() {
    let tables = Arc::new(MemoryTables::default());
    let parts = Parts {
        log: Arc::new(MemoryLog::new(tables.clone())),
        tables,
        runtime: Arc::new(Deaf),
        clock: Arc::new(seams::SystemClock::new()),
    };
    let instance = start(parts, spec("f"));
    // It is started again, later each time.
    until(|| instance.status().error.contains("it does not read what it asks for")).await;
    let status = instance.status();
    assert!(status.restarts > 0 && status.system_exceptions == 0, "it is the code's doing: {status:?}");
    instance.stop(Duration::from_millis(10)).await;
}
