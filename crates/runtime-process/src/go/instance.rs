//! One Go program: started, asked how it does, ended.

use functions::instance::Exception;
use functions::runtime::{Event, Exit, InstanceSpec, Link, LinkEnd, LogLevel, Report, StartError, link};
use instance_control::{Client, Error};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::pin,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{conf, lines, ports::Port, watch::Watch};
use crate::child::{Bare, Children, End, GRACE};

/// How long it may take until the program can be asked: it has connected to the broker by then.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait until a port is tried again where nobody listens yet.
const CONNECT_AGAIN: Duration = Duration::from_millis(5);
/// How often an instance is asked: while it works, and at least.
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How long its last answer may take.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// After so many questions without an answer, each of which has its time, a program hangs.
const UNANSWERED_MAX: u32 = 6;

/// Starts a program and waits until it can be asked.
///
/// # Errors
/// It cannot be run, it ended, or it could not be asked in time; with the last lines of its stderr.
pub(super) async fn start(
    children: &Children,
    binary: PathBuf,
    instance: InstanceSpec,
    control: Port,
    metrics: Port,
) -> Result<Link, StartError> {
    let name = format!("{}/{}", instance.function.fqfn(), instance.instance_id);
    let conf = conf::conf(&instance, control.number, metrics.number);
    let mut env = conf::limits(&instance.function.limits);
    env.extend(instance.secrets.iter().map(|(name, secret)| (name.into(), secret.0.clone().into())));
    let shown = binary.display().to_string();
    let mut child = children
        .start_bare(binary, vec!["-instance-conf".into(), conf.into()], env, &instance)
        .await
        .map_err(|error| StartError(format!("run {shown}: {error}")))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, control.number));
    let why = tokio::select! {
        client = timeout(START_TIMEOUT, connect(address)) => match client {
            Ok(client) => {
                tracing::debug!(instance = name, pid = child.pid(), "user code is ready");
                let (mut link, end) = link();
                link.usage = Some(child.usage());
                let running = Running { child, client, thrown: None, _ports: [control, metrics] };
                children.tasks().spawn(format!("function {name}"), running.run(end));
                return Ok(link);
            }
            Err(_) => End::Limit(format!("it could not be asked how it does after {START_TIMEOUT:?}")),
        },
        why = child.over() => why,
    };
    let exit = child.end(why).await;
    let mut thrown = None;
    let mut last = read(child.lines().rest(), &mut thrown);
    let Some(thrown) = thrown else { return Err(StartError(exit.reason)) };
    // It ran, and the first message was too much for it.
    let (link, end) = link();
    last.push(Event::Reported(failure(thrown, 1)));
    last.push(Event::Exited(exit));
    let _ = end.events.send(last).await;
    Ok(link)
}

/// Tries until there is an answer.
async fn connect(address: SocketAddr) -> Client {
    loop {
        if let Ok(client) = Client::connect(address).await
            && client.is_healthy().await.is_ok()
        {
            return client;
        }
        sleep(CONNECT_AGAIN).await;
    }
}

struct Running {
    child: Bare,
    client: Client,
    /// What user code threw last, as its log says.
    thrown: Option<String>,
    _ports: [Port; 2],
}

impl Running {
    /// Everything between ready and the end.
    async fn run(mut self, end: LinkEnd) {
        let LinkEnd { mut requests, events: tell } = end;
        let mut watch = Watch::default();
        let why = {
            let mut asked = pin!(ask_on(&mut watch, &self.client, &tell));
            let mut is_left = pin!(async { while requests.recv().await.is_some() {} });
            let lines = self.child.lines().clone();
            loop {
                tokio::select! {
                    why = self.child.over() => break why,
                    error = &mut asked => break End::Limit(format!("it hangs: {error}")),
                    () = &mut is_left => break End::Stopped,
                    () = tell.closed() => break End::NobodyListens,
                    permit = async { lines.come().await; tell.reserve().await } => if let Ok(permit) = permit {
                        permit.send(read(lines.take(), &mut self.thrown));
                    },
                }
            }
        };
        let mut last = Vec::new();
        let why = match why {
            End::Stopped => {
                let report = timeout(LAST_ANSWER, watch.ask(&self.client)).await;
                last.extend(report.ok().and_then(Result::ok).flatten().map(Event::Reported));
                self.child.stop(GRACE).await
            }
            why => why,
        };
        let exit = self.child.end(why).await;
        last.extend(read(self.child.lines().rest(), &mut self.thrown));
        last.extend(self.last_words(&exit, &watch).map(Event::Reported));
        last.push(Event::Exited(exit));
        let _ = tell.send(last).await;
    }

    /// The SDK ends with an error of user code before anybody could ask it about that.
    fn last_words(&mut self, exit: &Exit, watch: &Watch) -> Option<Report> {
        let thrown = self.thrown.take().filter(|_| !exit.is_clean)?;
        Some(failure(thrown, u64::from(!watch.is_busy())))
    }
}

fn failure(thrown: String, received: u64) -> Report {
    // The loop knows the time better than a log line does.
    let exception = Exception { message: thrown, at_ms: 0 };
    Report { received, user_exceptions: 1, latest_user_exceptions: vec![exception], ..Report::default() }
}

/// Asks an instance as long as it answers, and reports what it says.
async fn ask_on(watch: &mut Watch, client: &Client, tell: &mpsc::Sender<Vec<Event>>) -> Error {
    let (mut every, mut unanswered) = (ASK_EVERY.0, 0);
    loop {
        sleep(every).await;
        // With a place for it, nothing that was asked for is lost when this is dropped.
        let Ok(permit) = tell.reserve().await else { return std::future::pending().await };
        match watch.ask(client).await {
            Ok(report) => {
                unanswered = 0;
                every = if report.is_some() { ASK_EVERY.0 } else { (every * 2).min(ASK_EVERY.1) };
                if let Some(report) = report {
                    permit.send(vec![Event::Reported(report)]);
                }
            }
            Err(error) => {
                unanswered += 1;
                if unanswered >= UNANSWERED_MAX {
                    return error;
                }
            }
        }
    }
}

/// Gives lines their levels, and remembers what user code threw.
fn read(mut printed: Vec<Event>, thrown: &mut Option<String>) -> Vec<Event> {
    for event in &mut printed {
        if let Event::Log(line) = event {
            if line.level == LogLevel::Warn
                && let Some(error) = lines::thrown(line)
            {
                *thrown = Some(error.to_owned());
            }
            lines::grade(line);
        }
    }
    printed
}
