//! One instance as a child process: started, spoken with, watched over, ended.
//!
//! All of a child is one task: it writes requests, reads events, reads what is printed, and waits for the child's end, whichever comes
//! first. Whatever happens in it, only this child ends, and all that it started with it.

mod bare;
mod flight;
mod output;
mod spawn;
mod tool;

use bytes::BytesMut;
use functions::runtime::{
    Event, Exit, InstanceSpec, Invocation, Link, LinkEnd, LogLevel, Outcome, Request, StartError, StateChange,
    UserException, link,
};
use rustix::fd::OwnedFd;
use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::unix::pipe,
    process::Child,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    error::{Error, Result},
    limits::{Cage, Limits},
    protocol::{self, Decoder, Described, Encoding, Invoke, Ready, Said, TOOK_UNKNOWN},
};
pub(crate) use bare::Bare;
use flight::Flight;
use output::Lines;
use spawn::Program;
pub(crate) use tool::{Tool, remove_leftovers};

/// How long user code may take to close after it was asked to.
pub const GRACE: Duration = Duration::from_secs(3);
/// How long what a dead child has written may take to be read.
const DRAIN: Duration = Duration::from_secs(2);
/// Bytes a pipe of the binary protocol holds, where the machine allows it.
const PIPE_BYTES: usize = 1 << 20;
/// Log lines that are kept of what user code says before it is ready.
const EARLY_LINES_MAX: usize = 1000;
/// Batches of events beyond this wait until the loop has taken all that was there before.
const LARGE_BATCH_BYTES: usize = 1 << 20;

/// What to run, and how to speak with it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables besides those every child gets.
    pub env: Vec<(OsString, OsString)>,
    /// How it speaks.
    pub encoding: Encoding,
    /// How long it may take until it says that it is ready.
    pub start_timeout: Duration,
}

impl Launch {
    /// A program that speaks the binary protocol.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            encoding: Encoding::Binary,
            start_timeout: Duration::from_secs(60),
        }
    }
}

/// Starts children; cheap to clone.
#[derive(Clone, Debug)]
pub struct Children {
    tasks: seams::Tasks,
    limits: Limits,
}

impl Children {
    /// Each child is a task of `tasks`, held within `limits`.
    #[must_use]
    pub fn new(tasks: seams::Tasks, limits: Limits) -> Self {
        Self { tasks, limits }
    }

    /// Where children are tasks.
    pub(crate) fn tasks(&self) -> &seams::Tasks {
        &self.tasks
    }

    /// Starts a program as an instance, and waits until its user code is ready.
    ///
    /// # Errors
    /// It cannot be run, it ended or said that it failed, or it did not become ready in time; with the last lines of its stderr.
    pub async fn start(&self, launch: Launch, instance: InstanceSpec) -> Result<Link, StartError> {
        let mark = mark();
        let name = format!("{}/{}", instance.function.fqfn(), instance.instance_id);
        let hello = launch.encoding.hello(&protocol::hello(&instance));
        let cage = self.limits.cage(&mark, &instance.function.limits);
        let start_timeout = launch.start_timeout;
        let program = launch.program.display().to_string();
        let mut running = Running::start(launch, &instance, mark, cage)
            .await
            .map_err(|error| StartError(format!("run {program}: {error}")))?;
        let ready = timeout(start_timeout, running.ready(&hello)).await;
        let why = match ready {
            Ok(Ok(Ready { runtime, output_schema, concurrent })) => {
                let (mut link, end) = link();
                link.usage = Some(running.process.cage.usage(running.process.pid));
                link.output_schema = output_schema.map(|Described(schema)| schema);
                link.runs_many = concurrent;
                tracing::debug!(instance = name, pid = running.process.pid, runtime, "user code is ready");
                self.tasks.spawn(format!("function {name}"), running.run(end, instance.function.timeout));
                return Ok(link);
            }
            Ok(Err(why)) => why,
            Err(_) => format!("it was not ready after {start_timeout:?}"),
        };
        Err(StartError(running.failed(why).await))
    }
}

/// What all processes of one instance carry, and no others.
fn mark() -> String {
    static INSTANCES: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), INSTANCES.fetch_add(1, Relaxed))
}

/// A child and all that is connected to it.
struct Running {
    process: Process,
    encoding: Encoding,
    decoder: Decoder,
    requests: Writes,
    events: Reads,
    stdout: Option<Reads>,
    stderr: Option<Reads>,
    lines: Lines,
    /// Log lines from before it was ready: of a constructor, or of whatever makes user code ready.
    early: Vec<Event>,
}

type Reads = Box<dyn AsyncRead + Send + Unpin>;
type Writes = Box<dyn AsyncWrite + Send + Unpin>;

/// Why a child is to end, or has ended.
pub(crate) enum End {
    /// By itself.
    Exited(io::Result<ExitStatus>),
    /// The loop dropped its half of the link.
    NobodyListens,
    /// It was asked to end, and had its time.
    Stopped,
    /// It closed its events, or broke the protocol.
    Broken(Option<Error>),
    /// An invocation took too long.
    Overdue(u64),
    /// It took more than it may.
    Limit(String),
}

impl Running {
    async fn start(launch: Launch, instance: &InstanceSpec, mark: String, cage: Cage) -> io::Result<Self> {
        let work_dir = std::path::absolute(&instance.work_dir)?;
        tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&work_dir).await?;
        let mut program = Program {
            program: launch.program,
            args: launch.args,
            env: environment(&mark, &work_dir, instance),
            work_dir,
            stdin: Stdio::null(),
            stdout: Stdio::piped(),
            channel: None,
        };
        let mut ends = None;
        match launch.encoding {
            Encoding::Binary => {
                let (their_in, our_out) = channel()?;
                let (our_in, their_out) = channel()?;
                program.channel = Some((their_in, their_out));
                program.env.push(("GEMINGA_FD_IN".into(), spawn::FD_IN.to_string().into()));
                program.env.push(("GEMINGA_FD_OUT".into(), spawn::FD_OUT.to_string().into()));
                ends = Some((pipe::Sender::from_owned_fd(our_out)?, pipe::Receiver::from_owned_fd(our_in)?));
            }
            Encoding::JsonLines => program.stdin = Stdio::piped(),
        }
        program.env.extend(launch.env);
        let mut child = spawn::spawn(program, &cage).await?;
        let missing = || io::Error::other("a pipe is missing");
        let stdout = child.stdout.take().map(|stdout| Box::new(stdout) as Reads);
        let stderr = child.stderr.take().map(|stderr| Box::new(stderr) as Reads);
        let (requests, events, stdout) = match ends {
            Some((requests, events)) => (Box::new(requests) as Writes, Box::new(events) as Reads, stdout),
            None => (Box::new(child.stdin.take().ok_or_else(missing)?) as Writes, stdout.ok_or_else(missing)?, None),
        };
        Ok(Self {
            process: Process::new(child, cage, &mark),
            encoding: launch.encoding,
            decoder: Decoder::new(launch.encoding),
            requests,
            events,
            stdout,
            stderr,
            lines: Lines::default(),
            early: Vec::new(),
        })
    }

    /// Says hello and waits for the answer; an error is in words for the user.
    async fn ready(&mut self, hello: &[u8]) -> Result<Ready, String> {
        let Self { process, decoder, requests, events, lines, stdout, stderr, early, .. } = self;
        let talk = async {
            // Whether it could be written, the answer or the exit code says better.
            let written = requests.write_all(hello).await;
            loop {
                match decoder.next().map_err(|error| error.to_string())? {
                    Some(Said::Ready(ready)) => return Ok(ready),
                    Some(Said::Failed(why)) => return Err(why),
                    Some(Said::Events(said)) if said.iter().all(|event| matches!(event, Event::Log(_))) => {
                        let room = EARLY_LINES_MAX - early.len();
                        early.extend(said.into_iter().take(room));
                    }
                    Some(Said::Events(_)) => return Err("it spoke before it said that it is ready".to_owned()),
                    None => match events.read_buf(decoder.buffer()).await {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => match process.child.wait().await {
                            Ok(status) => return Err(ended(status)),
                            Err(error) => return Err(written.err().unwrap_or(error).to_string()),
                        },
                    },
                }
            }
        };
        let captured = async {
            capture(lines, stdout, stderr).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            talked = talk => talked,
            never = captured => never,
        }
    }

    /// Ends a child that did not become ready, and says all that is known of why.
    async fn failed(mut self, mut why: String) -> String {
        if let Some(limit) = self.process.cage.killed() {
            why = limit;
        }
        self.process.kill().await;
        let _ = timeout(DRAIN, capture(&self.lines, &mut self.stdout, &mut self.stderr)).await;
        add_tail(&self.lines, &mut why);
        why
    }

    /// Everything between ready and the end.
    async fn run(self, end: LinkEnd, invocation_timeout: Option<Duration>) {
        let Self { mut process, encoding, mut decoder, requests, mut events, mut stdout, mut stderr, lines, early } =
            self;
        let LinkEnd { requests: mut asked, events: tell } = end;
        if !early.is_empty() {
            let _ = tell.send(early).await; // there is room: it is the first
        }
        let flight = Flight::new();
        let mut read = pin!(read_events(&mut events, &mut decoder, &flight, &tell));
        let mut print = pin!(capture(&lines, &mut stdout, &mut stderr));
        let (mut read_ended, mut print_ended) = (false, false);
        let why = {
            let mut stop = pin!(async {
                Writer { encoding, requests, flight: &flight, tell: &tell }.run(&mut asked).await;
                sleep(GRACE).await;
            });
            loop {
                tokio::select! {
                    () = &mut stop => break End::Stopped,
                    why = &mut read => {
                        read_ended = true;
                        break why;
                    }
                    () = &mut print, if !print_ended => print_ended = true,
                    () = pass_on(&lines, &tell) => {}
                    id = flight.overdue(invocation_timeout) => break End::Overdue(id),
                    limit = process.cage.exceeded(process.pid) => break End::Limit(limit),
                    () = tell.closed() => break End::NobodyListens,
                    status = process.child.wait() => break End::Exited(status),
                }
            }
        };
        // A child that closes its events is about to exit; its code says more than that.
        let status = match &why {
            End::Broken(None) => timeout(GRACE, process.child.wait()).await.ok().and_then(Result::ok),
            End::Exited(Ok(status)) => Some(*status),
            _ => None,
        };
        let limit = process.cage.killed();
        process.kill().await;
        // What it had written before counts; and one that nobody listens to any more holds up nothing.
        if !read_ended && !matches!(why, End::NobodyListens) {
            let _ = timeout(DRAIN, read).await;
        }
        if !print_ended {
            let _ = timeout(DRAIN, print).await;
        }
        let mut last = lines.rest();
        if let End::Overdue(id) = why {
            let took = invocation_timeout.unwrap_or_default();
            last.push(failure(id, format!("timed out: it took more than {took:?}"), took));
        }
        last.push(Event::Exited(exit(why, status, limit, &lines, flight.is_empty())));
        let _ = tell.send(last).await;
    }
}

/// The child itself, and what holds it.
struct Process {
    child: Child,
    pid: u32,
    cage: Cage,
    /// The variable all of its processes carry.
    mark: String,
    /// All of them were killed.
    is_over: bool,
}

impl Process {
    fn new(child: Child, cage: Cage, mark: &str) -> Self {
        Self {
            pid: child.id().unwrap_or_default(),
            child,
            cage,
            mark: format!("GEMINGA_INSTANCE={mark}"),
            is_over: false,
        }
    }

    /// Kills all of it and waits for its end.
    async fn kill(&mut self) {
        spawn::kill_group(self.pid); // its number is not another's yet: what is left of the group holds it, or it has just ended
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        if !self.cage.kill().await {
            let mark = self.mark.clone();
            let _ = tokio::task::spawn_blocking(move || spawn::kill_marked(&mark)).await;
        }
        self.is_over = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A task that was dropped in the middle leaves nothing behind; `kill_on_drop` is for the child alone.
        if self.is_over {
            return;
        }
        if self.child.id().is_some() {
            spawn::kill_group(self.pid);
        }
        // Those that left the session, where no control group ends them.
        spawn::kill_marked(&self.mark);
    }
}

fn exit(why: End, status: Option<ExitStatus>, limit: Option<String>, lines: &Lines, is_done: bool) -> Exit {
    let by_itself = status.is_some_and(|status| status.success()) && is_done;
    let is_clean = matches!(why, End::Stopped | End::NobodyListens) || by_itself;
    let mut reason = match (why, limit) {
        (End::Limit(limit), _) | (_, Some(limit)) => limit,
        (End::Exited(Ok(status)), _) => ended(status),
        (End::Exited(Err(error)), _) => format!("its end was not seen: {error}"),
        (End::NobodyListens | End::Stopped, _) => "stopped".to_owned(),
        (End::Broken(Some(error)), _) => error.to_string(),
        (End::Broken(None), _) => status.map_or_else(|| "it closed its events and went on".to_owned(), ended),
        (End::Overdue(_), _) => "killed, because an invocation timed out".to_owned(),
    };
    if !is_clean {
        add_tail(lines, &mut reason);
    }
    Exit { is_clean, reason }
}

fn add_tail(lines: &Lines, why: &mut String) {
    let tail = lines.tail();
    if !tail.is_empty() {
        why.push('\n');
        why.push_str(&tail);
    }
}

/// All of its environment, but for what its encoding and its language add: where a machine's programs are and a place of its own, then
/// what the function is given, then what we tell it. Nothing of ours is inherited but the path.
fn environment(mark: &str, work_dir: &Path, instance: &InstanceSpec) -> Vec<(OsString, OsString)> {
    let mut all = surroundings(work_dir);
    all.extend(instance.env.iter().map(|(name, value)| (name.into(), value.0.clone().into())));
    all.extend(marks(mark));
    all
}

fn marks(mark: &str) -> [(OsString, OsString); 2] {
    [("GEMINGA_PROTOCOL".into(), protocol::VERSION.to_string().into()), ("GEMINGA_INSTANCE".into(), mark.into())]
}

fn surroundings(work_dir: &Path) -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    vec![
        ("PATH".into(), path),
        ("HOME".into(), work_dir.into()),
        ("TMPDIR".into(), work_dir.into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("TZ".into(), "UTC".into()),
    ]
}

async fn capture(lines: &Lines, stdout: &mut Option<Reads>, stderr: &mut Option<Reads>) {
    let one = async |stream: &mut Option<Reads>, level| {
        if let Some(stream) = stream {
            lines.capture(stream, level).await;
        }
    };
    tokio::join!(one(stdout, LogLevel::Info), one(stderr, LogLevel::Warn));
}

/// Waits for lines and gives them to the loop. Dropped while it waits, it loses none.
async fn pass_on(lines: &Lines, tell: &mpsc::Sender<Vec<Event>>) {
    lines.come().await;
    if let Ok(permit) = tell.reserve().await {
        permit.send(lines.take());
    }
}

/// A pipe; both ends are closed in whatever is run.
fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES); // smaller is slower, and no more than that
    Ok((read, write))
}

/// Writes requests until the loop has no more.
struct Writer<'a> {
    encoding: Encoding,
    requests: Writes,
    flight: &'a Flight,
    tell: &'a mpsc::Sender<Vec<Event>>,
}

impl Writer<'_> {
    /// Returns when the loop has dropped its half, and the child sees the end of its requests. When the child takes no more, this waits
    /// for its end, which others see.
    async fn run(mut self, asked: &mut mpsc::Receiver<Request>) {
        let mut buffer = BytesMut::new();
        while let Some(request) = asked.recv().await {
            if self.write(request, &mut buffer).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn write(&mut self, request: Request, buffer: &mut BytesMut) -> io::Result<()> {
        buffer.clear();
        match request {
            Request::Invoke(invocations) => {
                let invocations = only_fitting(self.encoding, invocations, self.tell).await;
                self.flight.take_off(invocations.iter().map(|invocation| invocation.id));
                let mut frames = Invoke::new(self.encoding, &invocations);
                while frames.next_frame(buffer) {
                    self.requests.write_all(buffer).await?;
                    buffer.clear();
                }
            }
            other => {
                self.encoding.encode(&other, buffer);
                self.requests.write_all(buffer).await?;
            }
        }
        if buffer.capacity() > LARGE_BATCH_BYTES {
            *buffer = BytesMut::new();
        }
        self.requests.flush().await
    }
}

/// Answers invocations that cannot be put into frames.
async fn only_fitting(
    encoding: Encoding,
    mut invocations: Vec<Invocation>,
    tell: &mpsc::Sender<Vec<Event>>,
) -> Vec<Invocation> {
    let too_large: Vec<_> = invocations.extract_if(.., |invocation| !protocol::fits(encoding, invocation)).collect();
    if !too_large.is_empty() {
        let message = || "the message is too large to be given to a child process".to_owned();
        let failures = too_large.iter().map(|invocation| failure(invocation.id, message(), Duration::ZERO)).collect();
        let _ = tell.send(failures).await;
    }
    invocations
}

fn failure(id: u64, message: String, took: Duration) -> Event {
    let outcome = Outcome { result: Err(UserException { message }), effects: Default::default(), took };
    Event::Done { id, outcome }
}

/// Passes on what a child says, to its end.
async fn read_events(
    stream: &mut Reads,
    decoder: &mut Decoder,
    flight: &Flight,
    tell: &mpsc::Sender<Vec<Event>>,
) -> End {
    loop {
        match decoder.next() {
            Err(error) => return End::Broken(Some(error)),
            Ok(Some(Said::Events(mut events))) => {
                if let Err(error) = land(&mut events, flight) {
                    return End::Broken(Some(error));
                }
                if hand_over(events, tell).await.is_err() {
                    return End::NobodyListens;
                }
            }
            Ok(Some(Said::Failed(why))) => return End::Broken(Some(Error::Garbage(format!("it failed: {why}")))),
            Ok(Some(Said::Ready(_))) => return End::Broken(Some(Error::garbage("it said twice that it is ready"))),
            Ok(None) => match stream.read_buf(decoder.buffer()).await {
                Ok(0) => return End::Broken(decoder.finish().err()),
                Ok(_) => {}
                Err(source) => return End::Broken(Some(Error::Pipe { what: "read events", source })),
            },
        }
    }
}

/// Marks outcomes as landed, and measures where the child did not.
fn land(events: &mut [Event], flight: &Flight) -> Result<()> {
    let ids = events.iter().filter_map(|event| match event {
        Event::Done { id, .. } => Some(*id),
        _ => None,
    });
    let since = flight.land(ids)?;
    let count = u32::try_from(events.len()).unwrap_or(u32::MAX).max(1);
    for event in events {
        if let Event::Done { outcome, .. } = event
            && outcome.took == TOOK_UNKNOWN
        {
            outcome.took = since / count;
        }
    }
    Ok(())
}

/// Gives a batch to the loop. The link counts batches, not bytes; so a large one waits until there is nothing else in it.
async fn hand_over(events: Vec<Event>, tell: &mpsc::Sender<Vec<Event>>) -> Result<(), mpsc::error::SendError<()>> {
    let permits = if weight(&events) > LARGE_BATCH_BYTES { tell.max_capacity() } else { 1 };
    if let Some(permit) = tell.reserve_many(permits).await?.next() {
        permit.send(events);
    }
    Ok(())
}

fn weight(events: &[Event]) -> usize {
    let records = |records: &[functions::Record]| records.iter().map(|record| record.payload.len()).sum::<usize>();
    let value = |change: &StateChange| match change {
        StateChange::Put { value, .. } => value.len(),
        StateChange::Delete { .. } | StateChange::Add { .. } => 0,
    };
    events
        .iter()
        .map(|event| match event {
            Event::Done { outcome, .. } => {
                outcome.result.as_ref().map_or(0, |outputs| records(outputs))
                    + records(&outcome.effects.publishes)
                    + outcome.effects.changes.iter().map(value).sum::<usize>()
            }
            Event::Emit { record, .. } => record.payload.len(),
            Event::Changes(changes) => changes.iter().map(value).sum(),
            Event::Log(line) => line.message.len(),
            Event::Call { .. } | Event::Reported(_) | Event::Exited(_) => 0,
        })
        .sum()
}

/// How a process ended, in words.
fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "it exited".to_owned(),
        (Some(code), _) => format!("it exited with code {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
