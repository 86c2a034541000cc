//! Code that answers nothing before it has collected several messages.

use async_trait::async_trait;
use functions::{
    FunctionSpec, Runtime,
    runtime::{Effects, Event, InstanceSpec, Invocation, Link, Request, StartError, link},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::support::{Node, done, echoed, function};

type Answers = dyn Fn(&[Invocation]) -> Vec<Event> + Send + Sync;

/// Answers so many at a time.
#[derive(Clone)]
pub(crate) struct Collecting {
    size: usize,
    runs_many: Option<bool>,
    answers: Arc<Answers>,
    /// How many it has been given.
    given: Arc<AtomicUsize>,
}

impl Collecting {
    pub(crate) fn new(
        size: usize,
        runs_many: Option<bool>,
        answers: impl Fn(&[Invocation]) -> Vec<Event> + Send + Sync + 'static,
    ) -> Self {
        Self { size, runs_many, answers: Arc::new(answers), given: Arc::default() }
    }

    fn echoing(size: usize, runs_many: Option<bool>) -> Self {
        let answer = |invocation: &Invocation| done(invocation.id, Ok(vec![echoed(invocation)]), Effects::default());
        Self::new(size, runs_many, move |invocations| invocations.iter().map(answer).collect())
    }
}

#[async_trait]
impl Runtime for Collecting {
    async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: InstanceSpec) -> Result<Link, StartError> {
        let (mut link, mut end) = link();
        link.runs_many = self.runs_many;
        let code = self.clone();
        tokio::spawn(async move {
            let mut collected = Vec::new();
            while let Some(request) = end.requests.recv().await {
                let mut size = code.size;
                match request {
                    Request::Invoke(invocations) => {
                        code.given.fetch_add(invocations.len(), Relaxed);
                        collected.extend(invocations);
                    }
                    Request::Finish { .. } => size = collected.len().max(1),
                    _ => {}
                }
                while collected.len() >= size {
                    let some: Vec<_> = collected.drain(..size).collect();
                    if end.events.send((code.answers)(&some)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(link)
    }
}

/// Whether code that collects so many gets them, three times over.
async fn gets(size: usize, runs_many: Option<bool>, max_pending: u32, queue: Option<u32>) {
    let node = Node::start().await;
    let sent: Vec<String> = (0..3 * size).map(|n| n.to_string()).collect();
    // Entries of ten, so that what a batch brings too much is not enough.
    for some in sent.chunks(10) {
        node.publish("in", some.iter().map(String::as_str)).await;
    }
    let code = Collecting::echoing(size, runs_many);
    let mut spec = FunctionSpec { max_pending_async: max_pending, ..function("f") };
    spec.inputs.values_mut().for_each(|input| input.receiver_queue_size = queue);
    let instance = node.run_as(0, spec, code.clone());
    assert_eq!(node.read("out", 3 * size).await.len(), 3 * size);
    node.acknowledged("in", "f").await;
    assert_eq!(instance.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_code_has_as_many_as_may_be_pending() {
    for (size, max_pending, queue) in [(10, 10, None), (100, 100, Some(1)), (1000, 1000, None)] {
        gets(size, Some(true), max_pending, queue).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_which_nothing_is_known_is_given_more_when_it_says_nothing_for_long() {
    gets(5, None, 1000, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_has_collected_too_few_hears_that_no_more_come() {
    let node = Node::start().await;
    node.publish("in", ["a", "b", "c"]).await;
    let code = Collecting::echoing(10, Some(true));
    let instance = node.run_as(0, function("f"), code.clone());
    let stopped = async {
        // What it was not given yet would go back.
        while code.given.load(Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Nothing would come of waiting.
        instance.stop(Duration::from_secs(600)).await;
    };
    tokio::time::timeout(Duration::from_secs(60), stopped).await.unwrap();
    assert_eq!(node.read("out", 3).await.len(), 3);
    node.acknowledged("in", "f").await;
}
