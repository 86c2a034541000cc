//! The seam between the instance loop and user code, the same for every language.
//!
//! A runtime starts user code and gives back a [`Link`]: two queues. Through one the loop hands over invocations and answers, through
//! the other come outcomes, calls and logs. The runtime runs code and nothing else: it sees no topic, acknowledges nothing and publishes
//! nothing; whatever user code wants to happen is part of the [`Outcome`], and the loop makes it happen, all of it or nothing.
//!
//! What holds: events come in the order in which user code caused them, so a call is seen after the outcomes of the invocations that
//! ended before it. An invocation has one outcome, or the link ends. The last event of a link is [`Event::Exited`].
//!
//! The exception are programs with a client of their own ([`Runtime::is_self_driven`]): the loop hands them nothing, and only shows what they
//! report.

use async_trait::async_trait;
use bytes::Bytes;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::mpsc;

use crate::{
    event_log::Schema,
    instance::Exception,
    message::{Message, Record},
    spec::FunctionSpec,
};

/// Batches of requests that may wait for user code.
pub const REQUESTS_QUEUED: usize = 4;
/// Batches of events that may wait for the loop.
pub const EVENTS_QUEUED: usize = 64;

/// Starts user code of one kind. See the module.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Checks that this code can run and prepares what many instances share (compiles, installs). Called when a function is deployed,
    /// and again after a restart of the process; the second call for the same package is cheap.
    ///
    /// # Errors
    /// Why it can not run, in words for the one who deploys it.
    async fn prepare(&self, function: &FunctionSpec) -> Result<(), StartError>;

    /// Starts one instance. It ends when both halves of its link are dropped, or the code does.
    ///
    /// # Errors
    /// Why it did not start, in words for the one who deployed it.
    async fn start(&self, instance: InstanceSpec) -> Result<Link, StartError>;

    /// Forgets what was prepared for functions that are gone; `used` says which there are now. What it makes ready meanwhile stays.
    async fn retain(&self, _used: InUse<'_>) {}

    /// Whether this code has a consumer and a producer of its own. Then the loop opens no topic and asks for nothing; the code says what
    /// it did in [`Event::Reported`], and may log.
    fn is_self_driven(&self, _function: &FunctionSpec) -> bool {
        false
    }
}

/// Says which functions there are, those that are being deployed too.
pub type InUse<'a> = &'a (dyn Fn() -> Vec<Arc<FunctionSpec>> + Send + Sync);

/// What one instance is started with.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// What it is an instance of.
    pub function: Arc<FunctionSpec>,
    /// Its number, from 0.
    pub instance_id: u32,
    /// Secrets by name, resolved. Never logged.
    pub secrets: BTreeMap<String, Secret>,
    /// What its processes find in their environment, or its component in WASI's. Never logged.
    pub env: BTreeMap<String, Secret>,
    /// A directory of its own, there until the function is deleted.
    pub work_dir: PathBuf,
}

/// A value that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// Why user code did not start. Shown in the function's status and to whoever deploys it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Both directions between the loop and one running instance.
#[derive(Debug)]
pub struct Link {
    /// What the loop asks for. Dropped, the instance ends: user code gets a moment to close, then it is stopped.
    pub requests: mpsc::Sender<Request>,
    /// What user code did, a batch at a time.
    pub events: mpsc::Receiver<Vec<Event>>,
    /// Measures what it takes of the machine, where somebody can.
    pub usage: Option<Arc<dyn Usage>>,
    /// How what user code returns is written, where only the code knows; the output topic must take it.
    pub output_schema: Option<Schema>,
    /// Whether the code may begin further invocations while others have not ended. `Some(true)`: it is soon given all that it may have, which
    /// [`FunctionSpec::max_pending_async`] bounds, since it may wait for more before it says anything. `None`: nobody knows, and it is given
    /// more only when it has said nothing for long.
    pub runs_many: Option<bool>,
}

/// Measures one run of user code, also while it runs and after its end.
pub trait Usage: std::fmt::Debug + Send + Sync {
    /// What it has taken; `None` when that cannot be read now.
    fn used(&self) -> Option<Used>;
}

/// What a run of user code has taken of the machine, with all that it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time since its start.
    pub cpu: Duration,
    /// Bytes of memory now.
    pub memory_bytes: Option<u64>,
    /// How often it was killed for its use of memory.
    pub out_of_memory: u32,
}

/// What an instance's runtime holds of its link.
#[derive(Debug)]
pub struct LinkEnd {
    /// What the loop asks for; `None` from it means: end.
    pub requests: mpsc::Receiver<Request>,
    /// Where events go; a failed send means that nobody listens any more: end at once.
    pub events: mpsc::Sender<Vec<Event>>,
}

/// Makes a link and its other end.
#[must_use]
pub fn link() -> (Link, LinkEnd) {
    let (requests, takes) = mpsc::channel(REQUESTS_QUEUED);
    let (gives, events) = mpsc::channel(EVENTS_QUEUED);
    (
        Link { requests, events, usage: None, output_schema: None, runs_many: None },
        LinkEnd { requests: takes, events: gives },
    )
}

/// From the loop to user code.
#[derive(Debug)]
pub enum Request {
    /// Run these, in order.
    Invoke(Vec<Invocation>),
    /// What a call asked for.
    Answer {
        /// The number of the call.
        call: u64,
        /// The answer.
        answer: Answer,
    },
    /// Nothing more comes: what user code has gathered it had better answer for now. What it is busy with it goes on with.
    Finish {
        /// How long what it says still counts.
        within: Duration,
    },
    /// To a source: these emitted records are durable, or will not be.
    Emitted {
        /// Numbers of [`Event::Emit`].
        ids: Vec<u64>,
        /// Why not.
        error: Option<String>,
    },
}

/// One call of the user's function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The loop's number for it, rising.
    pub id: u64,
    /// What the function is called with.
    pub input: Input,
}

/// What a function is called with.
#[derive(Debug, Clone)]
pub enum Input {
    /// One message.
    Message(Arc<Message>),
    /// What is in a window, oldest first. Empty windows are not called for.
    Window(Vec<Arc<Message>>),
}

impl Input {
    /// Bytes of payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.payload.len(),
            Self::Window(messages) => messages.iter().map(|message| message.payload.len()).sum(),
        }
    }
}

/// From user code to the loop.
#[derive(Debug)]
pub enum Event {
    /// An invocation has ended.
    Done {
        /// Its number.
        id: u64,
        /// How.
        outcome: Outcome,
    },
    /// User code waits for an answer.
    Call {
        /// The runtime's number for it.
        call: u64,
        /// The invocation that asks, where that is known: it sees its own changes.
        invocation: Option<u64>,
        /// The question.
        question: Question,
    },
    /// A source has something.
    Emit {
        /// The runtime's number for it, rising; answered with [`Request::Emitted`].
        id: u64,
        /// The record.
        record: Record,
    },
    /// What a source changes of its state, in one commit with what it emits next.
    Changes(Vec<StateChange>),
    /// A line of the user's log.
    Log(LogLine),
    /// Self-driven code has done this.
    Reported(Report),
    /// The code has ended; nothing follows.
    Exited(Exit),
}

/// What self-driven code has done since its last report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Messages received.
    pub received: u64,
    /// Invocations that ended well.
    pub processed: u64,
    /// Invocations that threw.
    pub user_exceptions: u64,
    /// The last of them, oldest first; fewer where more is not known. A time of 0 is now.
    pub latest_user_exceptions: Vec<Exception>,
    /// What failed outside user code.
    pub system_exceptions: u64,
    /// As for those of the user.
    pub latest_system_exceptions: Vec<Exception>,
    /// Time in user code, and how many invocations that was.
    pub took: (Duration, u64),
    /// Metrics of the user, by name.
    pub metrics: Vec<(String, f64)>,
}

/// How an invocation ended.
#[derive(Debug)]
pub struct Outcome {
    /// What it returned: outputs (usually one or none), or what it threw. After an exception its effects do not happen, but for
    /// metrics.
    pub result: Result<Vec<Record>, UserException>,
    /// What it asked for besides.
    pub effects: Effects,
    /// How long user code took.
    pub took: Duration,
}

/// What user code threw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserException {
    /// Type, text and where, as its language shows it; cut at 8 KiB.
    pub message: String,
}

/// What an invocation asked for besides its output. Happens in one commit with the acknowledgement and the outputs.
#[derive(Debug, Default)]
pub struct Effects {
    /// `context.publish`, in order.
    pub publishes: Vec<Record>,
    /// Changes of state, in order.
    pub changes: Vec<StateChange>,
    /// `context.ack`: which messages to acknowledge, for guarantee MANUAL; by the id of their invocation.
    pub acks: Vec<u64>,
    /// `context.record_metric`.
    pub metrics: Vec<(String, f64)>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.changes.is_empty() && self.acks.is_empty() && self.metrics.is_empty()
    }
}

/// A change of the function's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChange {
    /// Sets a value.
    Put {
        /// Name of the row.
        key: String,
        /// Its bytes.
        value: Bytes,
    },
    /// Removes a row.
    Delete {
        /// Name of the row.
        key: String,
    },
    /// Adds to a counter; a row that is not there counts as 0.
    Add {
        /// Name of the row.
        key: String,
        /// How much.
        amount: i64,
    },
}

impl StateChange {
    /// About what it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } | Self::Add { .. } => 8,
        };
        self.key().len() + value + 32
    }

    /// The row that changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Add { key, .. } => key,
        }
    }
}

/// What user code asks while it runs.
///
/// The answer knows of all outcomes the loop was given before the question, durable or not. What the asking invocation itself has changed
/// is known to its runtime alone, which puts it on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// `context.get_state`.
    State(String),
    /// `context.get_counter`.
    Counter(String),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The value, if there is one.
    State(Option<Bytes>),
    /// The counter, 0 when there is none.
    Counter(i64),
    /// It could not be found out.
    Failed(String),
}

/// A line of the user's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How bad it is.
    pub level: LogLevel,
    /// What it says.
    pub message: String,
}

/// Levels as Pulsar's log topic has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// `INFO` and so on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// How user code ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// It was asked to, or it had no more to do.
    pub is_clean: bool,
    /// Why, with the last lines it wrote to stderr.
    pub reason: String,
}
