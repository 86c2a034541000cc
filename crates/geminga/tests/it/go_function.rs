//! A Go function, built with the SDK or with what stands in for it (`interop/go-function`), driven against a broker of its own.

use client::{Client, Consumer, Producer};
use functions::{
    Code, FunctionSpec, Language, Runtime,
    instance::{Instance, Parts, Status},
    remote::Remote,
    runtime::{InstanceSpec, Secret},
    spec::{InputConfig, Limits, OutputConfig},
    testing::{self, MemoryTables},
};
use model::InitialPosition;
use runtime_process::{Children, Go};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crate::{Running, geminga, start};

/// Longer than anything takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// The function as a program; `None` where there is no Go.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    if Command::new("go").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI has Go");
        eprintln!("SKIPPED: there is no Go on this machine, so Go functions are not tested");
        return None;
    }
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-function");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/go-function").canonicalize().unwrap();
    std::fs::create_dir_all(&build).unwrap();
    for file in ["function.go", "go.mod", "go.sum"] {
        std::fs::copy(source.join(file), build.join(file)).unwrap();
    }
    let sdk = std::env::var_os("GEMINGA_GO_FUNCTION_SDK").map(PathBuf::from);
    let replace = format!(
        "-replace=github.com/apache/pulsar/pulsar-function-go={}",
        sdk.clone().unwrap_or_else(|| source.join("sdk")).display()
    );
    go(&build, &["mod", "edit", &replace]);
    if sdk.is_some() {
        go(&build, &["mod", "tidy"]);
    }
    go(&build, &["build", "-o", "function", "."]);
    Some(build.join("function"))
}

fn go(dir: &Path, args: &[&str]) {
    let output = Command::new("go").args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "go {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A broker, a function with its topics, and somebody at the other end of them.
struct Bench {
    _broker: Running,
    dir: tempfile::TempDir,
    client: Client,
    function: FunctionSpec,
    runtime: Go,
    tasks: seams::Tasks,
    input: Producer,
    output: Consumer,
}

impl Bench {
    /// `None` where there is no Go.
    async fn start() -> Option<Self> {
        let program = tokio::task::spawn_blocking(program).await.unwrap()?;
        let dir = tempfile::tempdir().unwrap();
        let broker = start(geminga(&dir.path().join("broker")));
        let service_url = format!("pulsar://{}", broker.broker);
        let client = Client::connect(&service_url).await.unwrap();
        let topic = |name: &str| format!("persistent://public/default/{name}");
        let function = FunctionSpec {
            version: 3,
            language: Language::Go,
            code: Code::File(program.to_owned()),
            inputs: [(topic("in"), InputConfig::default())].into(),
            output: OutputConfig { topic: Some(topic("out")), ..OutputConfig::default() },
            initial_position: InitialPosition::Earliest,
            log_topic: Some(topic("log")),
            limits: Limits { cpu: Some(1.0), ram_bytes: Some(1 << 30), disk_bytes: None },
            user_config: json!({"word": "hello", "n": 3}).as_object().unwrap().clone(),
            secrets: [("PASSWORD".to_owned(), json!("the-password"))].into(),
            service_url,
            ..testing::spec("exclaim")
        };
        let tasks = seams::Tasks::new(seams::Shutdown::new());
        Some(Self {
            _broker: broker,
            runtime: Go::new(Children::new(tasks.clone(), runtime_process::Limits::detect())),
            tasks,
            input: client.producer(&topic("in")).create().await.unwrap(),
            output: client.consumer(&topic("out"), "test").subscribe().await.unwrap(),
            client,
            function,
            dir,
        })
    }

    async fn deploy(&self) -> Instance {
        let parts = Parts {
            log: Arc::new(Remote::new(self.client.clone(), Arc::new(MemoryTables::default()))),
            tables: Arc::new(MemoryTables::default()),
            runtime: Arc::new(self.runtime.clone()),
            clock: Arc::new(seams::SystemClock::new()),
        };
        let spec = InstanceSpec {
            function: Arc::new(self.function.clone()),
            instance_id: 2,
            secrets: BTreeMap::from([("PASSWORD".to_owned(), Secret("swordfish".into()))]),
            env: BTreeMap::new(),
            work_dir: self.dir.path().join("work"),
        };
        self.runtime.prepare(&self.function).await.unwrap();
        Instance::start(parts, spec, &self.tasks)
    }

    async fn send(&self, message: &str) {
        self.input.send(message.to_owned()).await.unwrap();
    }

    async fn receive(&self) -> String {
        next(&self.output).await
    }

    async fn ask(&self, message: &str) -> String {
        self.send(message).await;
        self.receive().await
    }

    /// Waits for an output. What came before may come again: the client of the SDK sends its acknowledgements a moment later.
    async fn comes(&self, output: &str) {
        while self.receive().await != output {}
    }
}

async fn next(consumer: &Consumer) -> String {
    let message = tokio::time::timeout(PATIENCE, consumer.receive()).await.expect("a message comes").unwrap();
    consumer.ack(message.id).unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

async fn until(instance: &Instance, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = instance.status();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_function_runs_as_it_is() {
    let Some(bench) = Bench::start().await else { return };
    bench.send("hello").await;
    let created = Instant::now();
    let instance = bench.deploy().await;
    assert_eq!(bench.receive().await, "hello!");
    eprintln!("first output {:?} after the function was created", created.elapsed());

    assert_eq!(bench.ask("config word").await, "hello");
    assert_eq!(bench.ask("config n").await, "3");
    assert_eq!(bench.ask("who").await, "public/default/exclaim 2 of 3 on standalone");
    assert_eq!(bench.ask("secret PASSWORD").await, "swordfish");

    let environment = bench.ask("environment").await;
    for variable in ["GOMAXPROCS=1", "GOMEMLIMIT=966367620B", "PASSWORD=swordfish"] {
        assert!(environment.lines().any(|line| line == variable), "{variable} is not in\n{environment}");
    }
    assert!(!environment.contains("CARGO"), "what is ours is not for a function\n{environment}");

    let elsewhere = bench.client.consumer("persistent://public/default/elsewhere", "test").subscribe().await.unwrap();
    bench.send("publish persistent://public/default/elsewhere over there").await;
    assert_eq!(next(&elsewhere).await, "over there");

    let log = bench.client.consumer("persistent://public/default/log", "test").subscribe().await.unwrap();
    bench.send("log so it is").await;
    // The SDK sends its lines with the message that follows.
    assert_eq!(bench.ask("bye").await, "bye!");
    while !next(&log).await.contains("so it is") {}

    bench.send("metric depth").await;
    let status = until(&instance, "it reports", |status| status.user_metrics.contains_key("depth")).await;
    let status = if status.processed < 10 {
        until(&instance, "it reports all", |status| status.processed == 10).await
    } else {
        status
    };
    assert_eq!((status.received, status.processed, status.user_exceptions), (10, 10, 0));
    assert_eq!((status.restarts, status.running), (0, true));
    assert_eq!(status.user_metrics["depth"].last, 2.5);
    assert_eq!(status.latency.count(), 10);
    assert!(status.last_invocation_ms > 0);
    let lines = instance.lines(0);
    let said = lines.iter().find(|line| line.message.contains("so it is")).expect("what it logs is shown");
    assert_eq!(said.level, functions::runtime::LogLevel::Info);
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_go_function_throws_is_told_and_it_starts_again() {
    let Some(bench) = Bench::start().await else { return };
    let instance = bench.deploy().await;
    assert_eq!(bench.ask("one").await, "one!");

    // The SDK ends with the error; the message was not acknowledged, so it comes again.
    bench.send("once fail at this").await;
    bench.comes("fail at this, at last").await;
    let status = until(&instance, "it has started again", |status| status.restarts == 1 && status.running).await;
    assert_eq!(status.user_exceptions, 1);
    let thrown = &status.latest_user_exceptions[0];
    assert_eq!(thrown.message, "I cannot at this");
    assert!(thrown.at_ms > 0);

    bench.send("once panic").await;
    bench.comes("panic, at last").await;
    let status = until(&instance, "it has started again", |status| status.restarts == 2 && status.running).await;
    assert_eq!((status.user_exceptions, &status.latest_user_exceptions[1].message[..]), (2, "panic: at the disco"));

    bench.send("once crash").await;
    let status = until(&instance, "it says why it ended", |status| !status.error.is_empty()).await;
    assert!(status.error.starts_with("it exited with code 3\n"), "{}", status.error);
    assert!(status.error.ends_with("about to crash"), "{}", status.error);
    bench.comes("crash, at last").await;
    let status = until(&instance, "it runs", |status| status.restarts == 3 && status.running).await;
    assert_eq!(status.user_exceptions, 2);
    bench.send("two").await;
    bench.comes("two!").await;
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_much_for_a_go_function_comes_again_until_it_is_not() {
    let Some(bench) = Bench::start().await else { return };
    bench.send("fail at this").await;
    let instance = bench.deploy().await;
    let status = until(&instance, "it fails again", |status| status.user_exceptions >= 2).await;
    assert!(status.restarts >= 1);
    assert_eq!(status.latest_user_exceptions.back().unwrap().message, "I cannot at this");
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_go_function_that_was_stopped() {
    let Some(bench) = Bench::start().await else { return };
    let instance = bench.deploy().await;
    assert_eq!(bench.ask("one").await, "one!");
    bench.send("two").await;
    assert_eq!(bench.receive().await, "two!");
    instance.stop(PATIENCE).await;
    let work = bench.dir.path().join("work");
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let here = std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == work);
        assert!(!here, "{:?} is left", process.path());
    }
    bench.send("three").await;
    let instance = bench.deploy().await;
    bench.comes("three!").await;
    instance.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_function_that_does_not_start_says_why() {
    let Some(mut bench) = Bench::start().await else { return };
    bench.function.service_url = "not a url".into();
    let instance = bench.deploy().await;
    let status = until(&instance, "it says why", |status| !status.error.is_empty()).await;
    assert!(!status.running);
    assert!(status.error.contains("it exited with code 1"), "{}", status.error);
    assert_eq!(status.user_exceptions, 0);
    bench.function.code = Code::File(bench.dir.path().join("nothing"));
    assert!(bench.runtime.prepare(&bench.function).await.is_err());
    instance.stop(PATIENCE).await;
}
