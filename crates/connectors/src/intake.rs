//! How a sink gets messages, and says what became of them.

use functions::{
    FunctionSpec, Message,
    runtime::{Effects, Event, Input, Invocation, LogLevel, LogLine, Outcome, Report, Request, UserException},
    spec::Guarantee,
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// The sink's end of its link.
pub(crate) struct Intake {
    requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<Vec<Event>>,
    waiting: VecDeque<Delivery>,
    acknowledges: bool,
}

/// One message, and the number to answer for it with.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    id: u64,
    pub(crate) message: Arc<Message>,
}

/// What became of a message: it is at its destination, or why it is not.
pub(crate) type Fate = Result<(), String>;

impl Intake {
    pub(crate) fn new(
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<Vec<Event>>,
        function: &FunctionSpec,
    ) -> Self {
        // With this guarantee the loop acknowledges what it is told to: what is delivered.
        let acknowledges = function.guarantee == Guarantee::Manual || !function.auto_ack;
        Self { requests, events, waiting: VecDeque::new(), acknowledges }
    }

    /// At least one message, at most `most` of those that are there; `None` at the end. Nothing is lost when it is dropped.
    pub(crate) async fn next(&mut self, most: usize) -> Option<Vec<Delivery>> {
        while self.waiting.is_empty() {
            let request = self.requests.recv().await?;
            self.take(request).await;
        }
        while self.waiting.len() < most {
            let Ok(request) = self.requests.try_recv() else { break };
            self.take(request).await;
        }
        let count = most.min(self.waiting.len());
        Some(self.waiting.drain(..count).collect())
    }

    /// Resolves when nobody listens to answers any more: what is still tried is tried for nobody.
    pub(crate) fn abandoned(&self) -> BoxFuture<'static, ()> {
        let events = self.events.clone();
        async move { events.closed().await }.boxed()
    }

    /// For a sink that reads its topics by itself: resolves when it is asked to end. Safe to be dropped.
    pub(crate) async fn ends(&mut self) {
        while self.requests.recv().await.is_some() {}
    }

    /// For a sink that reads its topics by itself: what it did. Whoever asks how it does may be gone.
    pub(crate) async fn report(&self, report: Report) {
        let _ = self.events.send(vec![Event::Reported(report)]).await;
    }

    async fn take(&mut self, request: Request) {
        let Request::Invoke(invocations) = request else { return };
        for Invocation { id, input } in invocations {
            match input {
                Input::Message(message) => self.waiting.push_back(Delivery { id, message }),
                // No sink is deployed with one.
                Input::Window(_) => {
                    let outcome = outcome(Err("a sink takes messages, not windows".to_owned()), Duration::ZERO, None);
                    let _ = self.events.send(vec![Event::Done { id, outcome }]).await;
                }
            }
        }
    }

    /// Answers for some messages, all of which took the time since `began`: a batch is one piece of work, and the loop should not think that
    /// the others have waited for the first.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(crate) async fn done(
        &self,
        fates: impl IntoIterator<Item = (Delivery, Fate)>,
        began: Instant,
    ) -> Result<(), String> {
        let mut events: Vec<Event> = fates
            .into_iter()
            .map(|(delivery, fate)| {
                let ack = self.acknowledges.then_some(delivery.id);
                Event::Done { id: delivery.id, outcome: outcome(fate, Duration::ZERO, ack) }
            })
            .collect();
        let took = began.elapsed();
        for event in &mut events {
            if let Event::Done { outcome, .. } = event {
                outcome.took = took;
            }
        }
        self.events.send(events).await.map_err(|_| "nobody listens".to_owned())
    }

    /// A line of the sink's log.
    pub(crate) async fn warn(&self, message: String) {
        let line = LogLine { level: LogLevel::Warn, message };
        let _ = self.events.send(vec![Event::Log(line)]).await;
    }
}

fn outcome(fate: Fate, took: Duration, ack: Option<u64>) -> Outcome {
    let effects = Effects { acks: ack.into_iter().collect(), ..Effects::default() };
    Outcome { result: fate.map(|()| Vec::new()).map_err(|message| UserException { message }), effects, took }
}
