//! Sources and sinks that are part of the program: `builtin://data-generator`, `file`, `http`, `postgres` and `pulsar`.
//!
//! ```text
//! outside --> source --Emit--> Link --> instance --one commit--> topic      Emitted --> source: now it may forget
//! topic --> instance --Invoke--> Link --> sink --> outside                  Done --> instance: now it acknowledges
//! ```
//!
//! A connector is a task that talks through a [`Link`] as user code of any language does; it sees no topic, but for `pulsar`, which takes
//! entries as they are and so has a consumer of its own. What holds:
//! - A source forgets (answers, deletes a file) what it was told is durable, and nothing else.
//! - A sink says that a message is done when the destination has it; until then the message stays with the subscription. So both give
//!   at least once, and exactly once where the destination takes the same thing twice without harm.
//! - Its `configs` are checked when it is deployed, all mistakes at once.
//! - A panic in a connector ends that instance, which starts again; it is not the broker's.

mod data_generator;
mod emitter;
mod error;
mod file;
mod given;
mod http;
mod intake;
mod postgres;
mod pulsar;

pub use error::{Error, Result};

use async_trait::async_trait;
use functions::{
    FunctionSpec, Kind, Runtime,
    runtime::{Event, Exit, InstanceSpec, Link, LinkEnd, StartError, link},
    spec::Code,
};
use futures::{FutureExt, future::BoxFuture};
use model::function::ConnectorDefinition;
use std::{panic::AssertUnwindSafe, sync::Arc};
use tokio::sync::mpsc;

use emitter::Emitter;
use intake::Intake;

/// What a connector says at its end; a sink or source that ends well had no more to do.
type Ended = Result<(), String>;
/// A source, opened; it runs until it is dropped.
type Source = Box<dyn FnOnce(Emitter) -> BoxFuture<'static, Ended> + Send>;
/// A sink, opened; it runs until there are no more messages.
type Sink = Box<dyn FnOnce(Intake) -> BoxFuture<'static, Ended> + Send>;

/// One connector: what it is called, and how it comes to be of its `configs`.
struct Connector {
    name: &'static str,
    description: &'static str,
    source: Option<fn(&About<'_>) -> Result<OpenSource>>,
    sink: Option<fn(&About<'_>) -> Result<OpenSink>>,
    /// As a sink it reads its topics by itself.
    reads_topics: bool,
}

/// Checked, and not opened yet.
type OpenSource = Box<dyn FnOnce() -> BoxFuture<'static, Result<Source>> + Send>;
/// Checked, and not opened yet.
type OpenSink = Box<dyn FnOnce() -> BoxFuture<'static, Result<Sink>> + Send>;

/// What a connector is made of.
struct About<'a> {
    function: &'a FunctionSpec,
    /// `None` when only the configuration is to be checked.
    instance: Option<&'a InstanceSpec>,
    clock: &'a Arc<dyn seams::Clock>,
}

impl About<'_> {
    fn instance_id(&self) -> u32 {
        self.instance.map_or(0, |instance| instance.instance_id)
    }
}

const CONNECTORS: &[Connector] = &[
    Connector {
        name: "data-generator",
        description: "Makes up records, at a rate that may change over time",
        source: Some(data_generator::source),
        sink: None,
        reads_topics: false,
    },
    Connector {
        name: "file",
        description: "Publishes the lines of files in a directory; appends messages to a file",
        source: Some(file::source::source),
        sink: Some(file::sink::sink),
        reads_topics: false,
    },
    Connector {
        name: "http",
        description: "A webhook that publishes what is posted to it; posts messages to a URL",
        source: Some(http::source::source),
        sink: Some(http::sink::sink),
        reads_topics: false,
    },
    Connector {
        name: "postgres",
        description: "Writes JSON objects as rows of a PostgreSQL table",
        source: None,
        sink: Some(postgres::sink),
        reads_topics: false,
    },
    Connector {
        name: "pulsar",
        description: "Forwards messages to a topic of another Pulsar or Geminga broker",
        source: None,
        sink: Some(pulsar::sink),
        reads_topics: true,
    },
];

/// What [`functions::worker::Parts`] is told of them.
#[must_use]
pub fn definitions() -> Vec<ConnectorDefinition> {
    let definition = |connector: &Connector| ConnectorDefinition {
        name: Some(connector.name.to_owned()),
        description: Some(connector.description.to_owned()),
        // Where Pulsar names a Java class.
        source_class: connector.source.map(|_| format!("builtin://{}", connector.name)),
        sink_class: connector.sink.map(|_| format!("builtin://{}", connector.name)),
        ..ConnectorDefinition::default()
    };
    CONNECTORS.iter().map(definition).collect()
}

/// Runs them. See the crate.
pub struct Connectors {
    clock: Arc<dyn seams::Clock>,
}

/// Either of them.
enum Open {
    Source(OpenSource),
    Sink(OpenSink),
}

impl Connectors {
    /// Nothing is started before a source or sink is.
    #[must_use]
    pub fn new(clock: Arc<dyn seams::Clock>) -> Self {
        Self { clock }
    }

    fn check(&self, function: &FunctionSpec, instance: Option<&InstanceSpec>) -> Result<Open> {
        let Code::Builtin(name) = &function.code else {
            return Err(Error::Open("only code of the form builtin://NAME is part of this program".to_owned()));
        };
        let about = About { function, instance, clock: &self.clock };
        let found = connector(name);
        let open = match function.kind {
            Kind::Source => found.and_then(|c| c.source).map(|make| make(&about).map(Open::Source)),
            Kind::Sink => found.and_then(|c| c.sink).map(|make| make(&about).map(Open::Sink)),
            Kind::Function => None,
        };
        open.unwrap_or_else(|| Err(unknown(function.kind, name)))
    }
}

fn connector(name: &str) -> Option<&'static Connector> {
    CONNECTORS.iter().find(|connector| connector.name == name)
}

fn unknown(kind: Kind, name: &str) -> Error {
    let is_there = |connector: &&Connector| match kind {
        Kind::Source => connector.source.is_some(),
        Kind::Sink => connector.sink.is_some(),
        Kind::Function => false,
    };
    let known: Vec<&str> = CONNECTORS.iter().filter(is_there).map(|connector| connector.name).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::Unknown { kind: kind.as_str(), name: name.to_owned(), known }
}

#[async_trait]
impl Runtime for Connectors {
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError> {
        self.check(function, None)?;
        Ok(())
    }

    fn is_self_driven(&self, function: &FunctionSpec) -> bool {
        let Code::Builtin(name) = &function.code else { return false };
        function.kind == Kind::Sink && connector(name).is_some_and(|connector| connector.reads_topics)
    }

    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError> {
        let (link, end) = link();
        match self.check(&instance.function, Some(&instance))? {
            Open::Source(open) => {
                let source = open().await?;
                tokio::spawn(run_source(source, end));
            }
            Open::Sink(open) => {
                let sink = open().await?;
                let LinkEnd { requests, events } = end;
                let intake = Intake::new(requests, events.clone(), &instance.function);
                tokio::spawn(guarded(async move { sink(intake).await }, events));
            }
        }
        Ok(link)
    }
}

async fn run_source(source: Source, end: LinkEnd) {
    let LinkEnd { requests, events } = end;
    let (emitter, answers) = Emitter::new(events.clone());
    let running = async move {
        tokio::select! {
            // Nobody listens any more; what is not durable the source keeps.
            () = answers.listen(requests) => Ok(()),
            ended = source(emitter) => ended,
        }
    };
    guarded(running, events).await;
}

/// Says how it ended; the last event of a link.
async fn guarded(connector: impl Future<Output = Ended>, events: mpsc::Sender<Vec<Event>>) {
    let ended = AssertUnwindSafe(connector).catch_unwind().await;
    let exit = match ended {
        Ok(Ok(())) => Exit { is_clean: true, reason: String::new() },
        Ok(Err(reason)) => Exit { is_clean: false, reason },
        Err(_) => Exit { is_clean: false, reason: "the connector panicked; this is a bug".to_owned() },
    };
    let _ = events.send(vec![Event::Exited(exit)]).await;
}
