//! An instance that is given up while its commits are under way.

use async_trait::async_trait;
use model::TopicName;
use std::collections::BTreeMap;
use tokio::sync::watch;

use super::*;
use crate::{
    Commit, Record, Session,
    event_log::{Arrived, InputSpec, OutputSpec},
    message::{InputId, MessageId, OutputId},
    testing::{Echo, MemoryLog, MemoryTables, spec},
};

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

    async fn matching(&self, pattern: &str) -> Result<Vec<TopicName>> {
        self.log.matching(pattern).await
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
    let function = Arc::new(spec("f"));
    let (input, subscription) = ("persistent://public/default/in", function.subscription.clone());
    let work_dir = std::path::PathBuf::from("/nowhere");
    let (secrets, env) = (BTreeMap::new(), BTreeMap::new());
    let tasks = seams::Tasks::default();
    let instance = Instance::start(parts, InstanceSpec { function, instance_id: 0, secrets, env, work_dir }, &tasks);
    let patience = Duration::from_secs(30);
    let subscribed = async {
        while !log.subscriptions(input).contains(&subscription) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(patience, subscribed).await.unwrap();
    log.publish(input, Record { payload: "a".into(), ..Record::default() });
    tokio::time::timeout(patience, begins.wait_for(|begun| *begun > 0)).await.unwrap().unwrap();
    let mut stop = tokio::spawn(instance.stop(Duration::from_millis(10)));
    tokio::time::timeout(Duration::from_millis(200), &mut stop).await.unwrap_err();
    assert!(log.messages("persistent://public/default/out").is_empty());
    ends.send(true).unwrap();
    tokio::time::timeout(patience, stop).await.unwrap().unwrap();
    assert_eq!(log.messages("persistent://public/default/out").len(), 1, "what was committed is there");
}
