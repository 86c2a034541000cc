//! The binary as a person or a service manager sees it: lines, exit codes, signals.

#![allow(clippy::unwrap_used)] // A test that cannot go on says where.

#[cfg(feature = "wasm")]
mod compiler;
mod connectors;
mod forward;
mod go_function;
mod instance;
mod outbox;
mod remote;
mod thousand;

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

fn geminga(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
    command.arg("standalone").arg("--data").arg(data).args(["--broker-port", "0", "--web-port", "0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    broker: String,
    web: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed shall leave nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let Some(addresses) = line.strip_prefix("geminga ready: ") else {
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        panic!("{line}{stderr}");
    };
    let (broker, web) = addresses.trim().split_once(' ').unwrap();
    let (broker, web) = (broker.strip_prefix("pulsar://").unwrap(), web.strip_prefix("http://").unwrap());
    Running { child, stdout, broker: broker.to_owned(), web: web.to_owned() }
}

impl Running {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Exit code, what else came on standard output, and standard error.
    fn end(&mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + Duration::from_secs(15);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status.code(), out, err)
    }
}

fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_says_when_it_is_ready_and_stops_within_seconds_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut running = start(geminga(dir.path()));
        let client = TcpStream::connect(&running.broker).unwrap();
        TcpStream::connect(&running.web).unwrap();
        let asked = Instant::now();
        running.signal(signal);
        let (code, stdout, stderr) = running.end();
        assert_eq!((code, &stdout[..]), (Some(0), ""), "{stderr}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(stderr.contains("stopped"), "{stderr}");
        drop(client);
    }
}

#[test]
fn logs_are_json_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = geminga(dir.path());
    command.args(["--log-format", "json"]).env("GEMINGA_BROKER__CLUSTER_NAME", "test");
    let mut running = start(command);
    running.signal(rustix::process::Signal::TERM);
    let (_, _, stderr) = running.end();
    assert!(stderr.lines().count() > 1);
    for line in stderr.lines() {
        assert!(line.starts_with('{') && line.ends_with('}') && line.contains("\"level\""), "{line}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
    command.args(["standalone", "--web-port", "0", "--broker-port", &port]).arg("--data").arg(dir.path());
    let error = fails(command);
    assert!(error.contains(&port) && error.contains("--broker-port"), "{error}");
}

#[test]
fn one_directory_has_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let _first = start(geminga(dir.path()));
    let error = fails(geminga(dir.path()));
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("geminga.toml");
    std::fs::write(&file, "bind = \"127.0.0.1\"\n\n[broker]\nshard = 2\n").unwrap();
    let mut command = geminga(dir.path());
    command.arg("--config").arg(&file);
    let error = fails(command);
    assert!(error.contains("geminga.toml, line 4") && error.contains("`shard`"), "{error}");
}
