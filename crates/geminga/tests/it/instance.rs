//! Functions outside of the broker, as a person (`geminga localrun`) and as Function Mesh (`pulsar_rust_instance`) start them.

use client::{Client, Consumer};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{geminga, start};

/// Longer than anything takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that adds an exclamation mark, and counts.
fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/functions/code/seen_process.py");
    path.canonicalize().unwrap()
}

/// A process, and its standard error or output line by line.
struct Process {
    child: Child,
    lines: BufReader<Box<dyn Read>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that failed shall leave nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn err(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines: Box<dyn Read> = Box::new(child.stderr.take().unwrap());
        Self { child, lines: BufReader::new(lines) }
    }

    fn out(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines: Box<dyn Read> = Box::new(child.stdout.take().unwrap());
        Self { child, lines: BufReader::new(lines) }
    }

    /// The next line with this in it.
    fn line(&mut self, with: &str) -> String {
        let mut all = String::new();
        loop {
            let before = all.len();
            assert!(self.lines.read_line(&mut all).unwrap() > 0, "no {with:?} in\n{all}");
            if all[before..].contains(with) {
                return all[before..].to_owned();
            }
        }
    }

    /// Asks it to end: the exit code, and what it says until then.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

async fn next(consumer: &Consumer) -> String {
    let message = tokio::time::timeout(PATIENCE, consumer.receive()).await.expect("a message comes").unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn instance(dir: &Path, url: &str) -> Command {
    let name = dir.join("pulsar_rust_instance");
    if !name.exists() {
        symlink(env!("CARGO_BIN_EXE_geminga"), &name).unwrap();
    }
    let details = r#"'{"tenant":"public","namespace":"default","name":"f","autoAck":true,"parallelism":1,"componentType":"FUNCTION",
        "source":{"subscriptionPosition":"EARLIEST","inputSpecs":{"persistent://public/default/in":{}}},
        "sink":{"topic":"persistent://public/default/out"}}'"#;
    let mut command = Command::new(name);
    command.arg("--function_file").arg(program()).args(["--language", "executable", "--function_details", details]);
    command.args(["--instance_id", "2", "--function_id", "2-f", "--function_version", "0", "--pulsar_serviceurl", url]);
    command.args(["--max_buffered_tuples", "100", "--port", "0", "--metrics_port", "0", "--use_tls", "false"]);
    command.args(["--expected_healthcheck_interval", "0", "--cluster_name", "test"]);
    command.arg("--state_storage_serviceurl").arg(format!("file://{}", dir.join("state").display()));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_answers_to_the_contract_of_function_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(geminga(&dir.path().join("data")));
    let url = format!("pulsar://{}", broker.broker);
    let mut instance = Process::err(instance(dir.path(), &url));
    let line = instance.line("instance starts");
    let port = |name: &str| -> u16 {
        let at = line.split(&format!("{name}=0.0.0.0:")).nth(1).unwrap();
        at.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let client = Client::connect(&url).await.unwrap();
    let output = client.consumer("out", "test").subscribe().await.unwrap();
    client.producer("in").create().await.unwrap().send("hello").await.unwrap();
    assert_eq!(next(&output).await, "hello!");

    let control = instance_control::Client::connect(([127, 0, 0, 1], port("control")).into()).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status = control.status().await.unwrap();
        if status.num_successfully_processed == 1 {
            assert_eq!((status.running, &status.instance_id[..], status.num_received), (true, "2", 1));
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(control.is_healthy().await.unwrap());

    let (code, rest) = instance.terminate();
    assert_eq!(code, Some(0), "{rest}");
    let state = dir.path().join("state/public/default/f-2.state");
    assert!(state.exists(), "its state is where it was asked for");
}

#[test]
fn an_instance_that_is_started_wrongly_says_all_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = |command: &mut Command, with: &[&str]| {
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(with.iter().all(|with| error.contains(with)), "{error}");
    };
    let mut bare = Command::new(env!("CARGO_BIN_EXE_geminga"));
    wrong(
        bare.args(["instance", "--language", "cobol"]),
        &["--function_file is missing", "\"cobol\"", "--port is missing"],
    );
    let good = || instance(dir.path(), "pulsar://127.0.0.1:1");
    wrong(good().args(["--use_tls", "true"]), &["there is no TLS yet"]);
    wrong(good().args(["--function_details", "{"]), &["--function_details: "]);
    wrong(good().args(["--state_storage_serviceurl", "bk://bookie:4181"]), &["file:///DIRECTORY"]);
    wrong(good().args(["--function_file", "/nowhere/f"]), &["public/default/f cannot run", "/nowhere/f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn localrun_runs_a_function_until_it_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(geminga(&dir.path().join("data")));
    let url = format!("pulsar://{}", broker.broker);
    let command_at = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
        command.args(["localrun", "--exec"]).arg(program()).args(["--name", "f", "--inputs", "in", "--output", "out"]);
        command.args(["--subs-position", "Earliest", "--parallelism", "2", "--broker-service-url", url]);
        command.arg("--data").arg(dir.path().join("local"));
        command
    };
    let client = Client::connect(&url).await.unwrap();
    let output = client.consumer("out", "test").subscribe().await.unwrap();
    let input = client.producer("in").create().await.unwrap();
    for words in [["one", "two"], ["three", "four"]] {
        let mut running = Process::out(command_at(&url));
        running.line("geminga localrun ready: public/default/f, 2 instances");
        let mut wanted = Vec::new();
        for word in words {
            input.send(word).await.unwrap();
            wanted.push(format!("{word}!"));
        }
        let mut found = [next(&output).await, next(&output).await];
        found.sort();
        wanted.sort();
        assert_eq!(found[..], wanted[..]);
        let (code, said) = running.terminate();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("f-0: received ") && said.contains("f-1: received "), "{said}");
    }

    let fails = |url: &str, more: &[&str], with: &str| {
        let output = command_at(url).args(more).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(with), "{error}");
    };
    fails("http://127.0.0.1:1", &[], "pulsar://");
    fails(
        &url,
        &["--secrets", r#"{"KEY": "x"}"#, "--secrets-provider-classname", "acme.Vault"],
        "no secrets provider Vault",
    );
    fails(
        &url,
        &["--processing-guarantees", "EFFECTIVELY_ONCE", "--batch-builder", "KEY_BASED"],
        "EFFECTIVELY_ONCE is not possible",
    );
}

#[test]
fn localrun_of_code_that_does_not_start_ends_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(geminga(&dir.path().join("data")));
    let code = dir.path().join("broken");
    std::fs::write(&code, "#!/bin/sh\necho it is broken >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&code, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
    command.args(["functions", "localrun", "--exec"]).arg(&code).args(["--name", "f", "--inputs", "in"]);
    command.args(["--broker-service-url", &format!("pulsar://{}", broker.broker)]);
    let output = command.arg("--data").arg(dir.path().join("local")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("f-0 does not start") && error.contains("it is broken"), "{error}");
}

/// A program whose own child leaves its session and says for a minute that it is alive; then `rest`.
fn leaves_a_child(path: &Path, alive: &Path, rest: &str) {
    let child = format!("for i in $(seq 1200); do : > {}; sleep 0.05; done", alive.display());
    let text = format!("#!/bin/sh\nsetsid sh -c '{child}' < /dev/null > /dev/null 2>&1 &\n{rest}\nexec sleep 60\n");
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn until_alive(alive: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !alive.exists() {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_gone(alive: &Path) -> bool {
    std::fs::remove_file(alive).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    !alive.exists()
}

/// Asks a process to end again and again; its exit code.
fn insist(process: &mut Process) -> Option<i32> {
    let pid = rustix::process::Pid::from_child(&process.child);
    let deadline = Instant::now() + PATIENCE;
    loop {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        if let Some(status) = process.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it does not end");
    }
}

fn localrun(dir: &Path, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geminga"));
    command.args(["localrun", "--name", "f", "--inputs", "in", "--subs-position", "Earliest"]);
    command.args(["--broker-service-url", url]).arg("--data").arg(dir.join("local"));
    command
}

#[test]
fn a_signal_is_heard_while_code_is_prepared_and_what_prepares_it_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (python, code) = (dir.path().join("python"), dir.path().join("f.py"));
    std::fs::write(&code, "").unwrap();
    let alive = dir.path().join("alive");
    leaves_a_child(&python, &alive, "");
    let mut local = localrun(dir.path(), "pulsar://127.0.0.1:1");
    local.arg("--py").arg(&code).args(["--classname", "f.F"]);
    let mut mesh = instance(dir.path(), "pulsar://127.0.0.1:1");
    mesh.arg("--function_file").arg(&code).args(["--language", "python", "--function_details"]);
    mesh.arg(
        r#"{"tenant":"public","namespace":"default","name":"f","className":"f.F","source":{"inputSpecs":{"in":{}}}}"#,
    );
    // What has begun nothing has nothing to finish; who runs it by hand wants to know that it did nothing.
    for (mut command, code) in [(local, 130), (mesh, 0)] {
        command.env("GEMINGA_FUNCTIONS__PYTHON", &python);
        let running = Process::out(command);
        until_alive(&alive);
        let (ended, said) = running.terminate();
        assert_eq!(ended, Some(code), "{said}");
        assert!(is_gone(&alive), "a child of a child is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_finish_is_ended_by_a_second_signal_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(geminga(&dir.path().join("data")));
    let url = format!("pulsar://{}", broker.broker);
    let (code, alive) = (dir.path().join("code"), dir.path().join("alive"));
    // It takes a message, and never says what became of it.
    leaves_a_child(&code, &alive, "read hello; echo '{\"type\": \"ready\"}'");
    let client = Client::connect(&url).await.unwrap();
    client.producer("in").create().await.unwrap().send("hello").await.unwrap();
    let mut local = localrun(dir.path(), &url);
    local.arg("--exec").arg(&code);
    let mut mesh = instance(dir.path(), &url);
    mesh.arg("--function_file").arg(&code);
    for command in [local, mesh] {
        let mut running = Process::out(command);
        until_alive(&alive);
        assert_eq!(insist(&mut running), Some(130));
        assert!(is_gone(&alive), "a child of a child is left");
    }
}

#[test]
fn state_that_is_damaged_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("local/state/public/default/f.state");
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    std::fs::write(&state, "not what was written").unwrap();
    let mut command = localrun(dir.path(), "pulsar://127.0.0.1:1");
    let output = command.arg("--exec").arg(program()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("f.state is no state of this program"), "{error}");
}
