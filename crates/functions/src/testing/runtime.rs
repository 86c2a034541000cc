//! Runtimes without user code.

use async_trait::async_trait;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::{
    FunctionSpec, Record, Runtime,
    runtime::{
        Effects, Event, Input, InstanceSpec, Link, LogLevel, LogLine, Outcome, Request, StartError, Usage, Used, link,
    },
};

/// Gives back every message as it came, and of a window the last; logs a line for each.
#[derive(Debug, Default)]
pub struct Echo;

#[async_trait]
impl Runtime for Echo {
    async fn prepare(&self, _function: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _instance: InstanceSpec) -> Result<Link, StartError> {
        let (link, mut end) = link();
        tokio::spawn(async move {
            while let Some(request) = end.requests.recv().await {
                let Request::Invoke(invocations) = request else { continue };
                let events = invocations.into_iter().flat_map(|invocation| {
                    let message = match invocation.input {
                        Input::Message(message) => Some(message),
                        Input::Window(messages) => messages.into_iter().last(),
                    };
                    let record =
                        message.map(|m| Record { payload: m.payload.clone(), key: m.key.clone(), ..Record::default() });
                    let result = Ok(record.into_iter().collect());
                    let outcome = Outcome { result, effects: Effects::default(), took: Duration::ZERO };
                    let line = LogLine { level: LogLevel::Info, message: format!("echo {}", invocation.id) };
                    [Event::Log(line), Event::Done { id: invocation.id, outcome }]
                });
                if end.events.send(events.collect()).await.is_err() {
                    return;
                }
            }
        });
        Ok(link)
    }
}

/// Gives back every message, one after the other, after some time of tokio's clock. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Toil {
    /// How long each takes.
    pub takes: Duration,
    /// How long a start takes.
    pub starts_in: Duration,
    /// Cores an instance uses all the time, and bytes of memory; measured where there are some.
    uses: Option<(f64, u64)>,
    /// What it records as its metric `load` with each message.
    load: Option<f64>,
    running: Arc<AtomicUsize>,
}

/// What something uses that uses the same all the time.
#[derive(Debug)]
struct Steady {
    since: tokio::time::Instant,
    cores: f64,
    memory_bytes: u64,
}

impl Usage for Steady {
    fn used(&self) -> Option<Used> {
        let cpu = self.since.elapsed().mul_f64(self.cores);
        Some(Used { cpu, memory_bytes: Some(self.memory_bytes), out_of_memory: 0 })
    }
}

impl Toil {
    /// Takes so long for a message, and starts at once.
    #[must_use]
    pub fn new(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }

    /// And uses so many cores all the time, and so many bytes of memory.
    #[must_use]
    pub fn using(self, cores: f64, memory_bytes: u64) -> Self {
        Self { uses: Some((cores, memory_bytes)), ..self }
    }

    /// And records this as its metric `load` with each message.
    #[must_use]
    pub fn recording(self, load: f64) -> Self {
        Self { load: Some(load), ..self }
    }

    /// Instances of it that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(SeqCst)
    }
}

#[async_trait]
impl Runtime for Toil {
    async fn prepare(&self, _function: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _instance: InstanceSpec) -> Result<Link, StartError> {
        tokio::time::sleep(self.starts_in).await;
        let (mut link, mut end) = link();
        link.runs_many = Some(false);
        if let Some((cores, memory_bytes)) = self.uses {
            link.usage = Some(Arc::new(Steady { since: tokio::time::Instant::now(), cores, memory_bytes }));
        }
        let (takes, load, running) = (self.takes, self.load, self.running.clone());
        running.fetch_add(1, SeqCst);
        tokio::spawn(async move {
            'serves: while let Some(request) = end.requests.recv().await {
                let Request::Invoke(invocations) = request else { continue };
                for invocation in invocations {
                    tokio::time::sleep(takes).await;
                    let records = match &invocation.input {
                        Input::Message(message) => vec![message.clone()],
                        Input::Window(messages) => messages.clone(),
                    };
                    let record = |m: Arc<crate::Message>| Record { payload: m.payload.clone(), ..Record::default() };
                    let result = Ok(records.into_iter().map(record).collect());
                    let metrics = load.map(|load| ("load".to_owned(), load)).into_iter().collect();
                    let outcome = Outcome { result, effects: Effects { metrics, ..Effects::default() }, took: takes };
                    if end.events.send(vec![Event::Done { id: invocation.id, outcome }]).await.is_err() {
                        break 'serves;
                    }
                }
            }
            running.fetch_sub(1, SeqCst);
        });
        Ok(link)
    }
}

/// Finds fault with all code.
#[derive(Debug, Default)]
pub struct Refuses;

#[async_trait]
impl Runtime for Refuses {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        Err(StartError(format!("there is no class {}", function.class_name)))
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        Err(StartError(format!("there is no class {}", instance.function.class_name)))
    }
}
