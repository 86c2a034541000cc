//! Java functions. They need a JDK and Maven; where these are missing nothing is tested, except in CI, where that is an error.

use bytes::Bytes;
use functions::{
    Code, FunctionSpec, Language, Runtime,
    runtime::{Input, LogLevel, Secret, StateChange},
    spec::{Guarantee, Span, WindowSpec},
    testing,
};
use runtime_process::{Java, JavaConfig};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use crate::kit::*;

const EXAMPLES: &str = "org.apache.pulsar.functions.api.examples";

/// What Maven makes in `java/`: the harness, and beside it the examples of Pulsar's functions API, from Maven Central as they are.
struct Built {
    harness: PathBuf,
    examples: PathBuf,
}

static BUILT: LazyLock<Option<Built>> = LazyLock::new(|| {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../java").canonicalize().unwrap();
    let target = project.join("geminga-java-instance/target");
    for tool in ["javac", "mvn"] {
        if Command::new(tool).arg("-version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI needs {tool} to test Java functions");
            eprintln!("\n*** JAVA FUNCTIONS ARE NOT TESTED: {tool} is not installed ***\n");
            return None;
        }
    }
    let made =
        Command::new("mvn").args(["-B", "-q", "-f"]).arg(&project).args(["package", "-DskipTests"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    Some(Built {
        harness: target.join("geminga-java-instance.jar"),
        examples: target.join("examples/pulsar-functions-api-examples.jar"),
    })
});

/// Archives of classes are made once for all tests.
static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

struct Kit {
    dir: tempfile::TempDir,
    java: Java,
    built: &'static Built,
}

impl Kit {
    fn new() -> Option<Self> {
        let built = BUILT.as_ref()?;
        let config = JavaConfig {
            java: "java".into(),
            harness: vec![built.harness.clone()],
            cache_dir: CACHE.path().to_owned(),
        };
        Some(Self { dir: tempfile::tempdir().unwrap(), java: Java::new(config, children()), built })
    }

    fn example(&self, class: &str) -> FunctionSpec {
        let mut spec = spec(Language::Java, Code::File(self.built.examples.clone()), &format!("{EXAMPLES}.{class}"));
        spec.admin_url = String::new(); // there is no broker to ask for schemas
        spec
    }

    /// A function of one class `F`, compiled here.
    fn source(&self, body: &str) -> FunctionSpec {
        let imports = "import org.apache.pulsar.functions.api.*; import java.util.*;";
        std::fs::write(self.dir.path().join("F.java"), format!("{imports} public class F {body}")).unwrap();
        let run = |command: &mut Command| {
            let output = command.current_dir(&self.dir).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("javac").arg("-cp").arg(&self.built.harness).args([
            "--release",
            "17",
            "-d",
            "classes",
            "F.java",
        ]));
        run(Command::new("jar").args(["--create", "--file", "f.jar", "-C", "classes", "."]));
        FunctionSpec { code: Code::File(self.dir.path().join("f.jar")), class_name: "F".into(), ..self.example("") }
    }

    async fn run(&self, spec: FunctionSpec) -> Result<Running, String> {
        Running::start(&self.java, instance(spec, &self.dir.path().join("work"))).await
    }
}

macro_rules! kit {
    () => {
        match Kit::new() {
            Some(kit) => kit,
            None => return,
        }
    };
}

fn window() -> WindowSpec {
    testing::windows(Span::Count(3), Span::Count(3))
}

fn elements(texts: &[&str]) -> Input {
    Input::Window(texts.iter().map(|text| Arc::new(message(1, text.to_string()))).collect())
}

#[tokio::test]
async fn exclamation_runs_unmodified_and_ends_when_it_is_asked_to() {
    let kit = kit!();
    let mut function = kit.run(kit.example("ExclamationFunction")).await.unwrap();
    assert_eq!(function.call("hello").await.unwrap(), "hello!");
    function.send(&["a", "b", "c"]).await;
    for text in ["a!", "b!", "c!"] {
        assert_eq!(function.outputs().await.unwrap(), [text]);
    }
    let (exit, logs) = function.stop().await;
    assert!(exit.is_clean, "{exit:?}");
    assert_eq!(logs, [], "nothing of the machine is in the user's log");
}

#[tokio::test]
async fn a_path_that_is_for_the_function_does_not_say_which_java_runs_it() {
    let kit = kit!();
    let other = kit.dir.path().join("java");
    std::fs::write(&other, "#!/bin/sh\nexit 3\n").unwrap();
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut given = instance(kit.example("ExclamationFunction"), &kit.dir.path().join("work"));
    given.env.insert("PATH".into(), Secret(kit.dir.path().display().to_string()));
    let mut function = Running::start(&kit.java, given).await.unwrap();
    assert_eq!(function.call("hello").await.unwrap(), "hello!");
    function.stop().await;
}

#[tokio::test]
async fn word_count_changes_counters() {
    let kit = kit!();
    let mut function = kit.run(kit.example("WordCountFunction")).await.unwrap();
    function.send(&["a b a"]).await;
    let (_, outcome) = function.outcome().await;
    assert_eq!(outcome.result.unwrap(), []);
    let add = |key: &str| StateChange::Add { key: key.into(), amount: 1 };
    assert_eq!(outcome.effects.changes, [add("a"), add("b"), add("a")]);
    function.stop().await;
}

#[tokio::test]
async fn state_is_asked_for_and_answered() {
    let kit = kit!();
    let spec = kit.source(
        "implements Function<String, String> {
            public String process(String input, Context context) {
                context.incrCounter(input, 1);
                byte[] note = context.getState(\"note\").array();
                return context.getCounter(input) + new String(note) + context.getState(\"absent\");
            }
        }",
    );
    let mut function = kit.run(spec).await.unwrap();
    function.state.insert("a".into(), Bytes::copy_from_slice(&41_i64.to_be_bytes()));
    function.state.insert("note".into(), Bytes::from_static(b" of "));
    assert_eq!(function.call("a").await.unwrap(), "42 of null");
    function.stop().await;
}

#[tokio::test]
async fn windows_come_as_collections() {
    let kit = kit!();
    for (class, texts, output) in [
        ("AddWindowFunction", &["1", "2", "3"], "6"),
        ("CommaWindowFunction", &["a", "b", "c"], "a,b,c"),
        ("window.ContextWindowFunction", &["1", "2", "3"], "6"),
    ] {
        let spec = FunctionSpec { window: Some(window()), ..kit.example(class) };
        let mut function = kit.run(spec).await.unwrap();
        function.invoke([elements(texts)]).await;
        assert_eq!(function.outputs().await.unwrap(), [output], "{class}");
        function.stop().await;
    }
}

#[tokio::test]
async fn configuration_publishing_and_the_log() {
    let kit = kit!();
    let mut spec = kit.example("TypedMessageBuilderPublish");
    spec.user_config.insert("publish-topic".into(), "other".into());
    let mut function = kit.run(spec).await.unwrap();
    let mut sent = message(1, "hello");
    sent.properties.push(("p".into(), "1".into()));
    function.invoke([Input::Message(Arc::new(sent))]).await;
    let (_, outcome) = function.outcome().await;
    let [published] = &outcome.effects.publishes[..] else { panic!("{outcome:?}") };
    assert_eq!(published.topic.as_deref(), Some("persistent://public/default/other"));
    assert_eq!(published.payload, "hello!");
    assert!(published.properties.contains(&("p".into(), "1".into())), "{published:?}");
    function.stop().await;

    let mut function = kit.run(kit.example("InitializableFunction")).await.unwrap();
    assert_eq!(function.log_line("function initialize start").await.level, LogLevel::Info);
    function.stop().await;
}

#[tokio::test]
async fn an_exception_is_the_outcome_and_the_next_message_is_served() {
    let kit = kit!();
    let mut function = kit.run(kit.example("UserExceptionFunction")).await.unwrap();
    for _ in 0..2 {
        let exception = function.call("x").await.unwrap_err();
        assert!(
            exception.starts_with("java.lang.RuntimeException: This wont work\n\tat org.apache.pulsar"),
            "{exception}"
        );
    }
    function.stop().await;
}

#[tokio::test]
async fn a_class_that_is_not_there_or_no_function_is_refused_before_it_is_started() {
    let kit = kit!();
    let java = &kit.java;
    let prepared = |spec: FunctionSpec| async move { java.prepare(&spec).await.map_err(|error| error.to_string()) };
    for class in ["ExclamationFunction", "JavaNativeExclamationFunction", "WordCountFunction"] {
        assert_eq!(prepared(kit.example(class)).await, Ok(()), "{class}");
    }
    let absent = format!("Function class {EXAMPLES}.NoSuch must be in class path");
    assert_eq!(prepared(kit.example("NoSuch")).await, Err(absent));
    let other = format!("Function class {EXAMPLES}.serde.CustomObject does not implement the correct interface");
    assert_eq!(prepared(kit.example("serde.CustomObject")).await, Err(other));
    let made = kit.source(
        "extends Base implements java.io.Serializable {
            static class Nested extends F {}
        }
        abstract class Base implements java.util.function.UnaryOperator<String> {
            public String apply(String input) { return input; }
        }",
    );
    for class in ["F", "F$Nested"] {
        assert_eq!(prepared(FunctionSpec { class_name: class.into(), ..made.clone() }).await, Ok(()), "{class}");
    }
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let kit = kit!();
    let why = |spec: FunctionSpec| async { kit.run(spec).await.map(drop).unwrap_err() };
    assert_eq!(why(kit.example("NoSuch")).await, format!("Function class {EXAMPLES}.NoSuch must be in class path"));
    let spec = kit.source(
        "implements Function<String, String> {
            public F() { throw new IllegalStateException(\"no database\"); }
            public String process(String input, Context context) { return null; }
        }",
    );
    let said = why(spec).await;
    assert!(said.starts_with("the constructor of F failed: java.lang.IllegalStateException: no database\n"), "{said}");
    assert!(said.contains("at F.<init>(F.java:"), "{said}");
    let flags = FunctionSpec { runtime_flags: vec!["-XX:NoSuchFlag".into()], ..kit.example("ExclamationFunction") };
    let said = why(flags).await;
    assert!(said.contains("NoSuchFlag"), "{said}");
}

#[tokio::test]
async fn what_is_to_be_installed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let config = JavaConfig::new(dir.path(), dir.path().join("cache"));
    let function = spec(Language::Java, Code::File("f.jar".into()), "F");
    let absent = JavaConfig { java: "/no/such/java".into(), ..config.clone() };
    let said = Java::new(absent, children()).prepare(&function).await.unwrap_err().to_string();
    assert!(said.starts_with("Java functions need Java 17 or later, but /no/such/java cannot be run"), "{said}");
    assert!(said.contains("openjdk-17-jre-headless"), "{said}");
    let no_java = dir.path().join("java");
    std::fs::write(&no_java, "#!/bin/sh\necho 'java version \"1.8.0_392\"' >&2\n").unwrap();
    std::fs::set_permissions(&no_java, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let old = JavaConfig { java: no_java, ..config.clone() };
    let said = Java::new(old, children()).prepare(&function).await.unwrap_err().to_string();
    assert!(said.contains("is version 8"), "{said}");
    if BUILT.is_some() {
        let missing = JavaConfig { harness: vec!["/no/such/harness.jar".into()], ..config };
        let said = Java::new(missing, children()).prepare(&function).await.unwrap_err().to_string();
        assert!(said.contains("/no/such/harness.jar") && said.contains("mvn -f java package"), "{said}");
    }
}

#[tokio::test]
async fn user_code_harms_only_its_instance() {
    let kit = kit!();
    let wild = kit.source(
        "implements Function<String, String> {
            public String process(String input, Context context) throws Exception {
                switch (input) {
                    case \"exit\": System.err.println(\"I leave\"); System.exit(3);
                    case \"fill\": List<byte[]> all = new ArrayList<>(); while (true) all.add(new byte[1 << 20]);
                    case \"sleep\": Thread.sleep(600_000);
                    case \"print\": for (int i = 0; i < 200_000; i++) System.out.println(\"line \" + i);
                    default: return input;
                }
            }
        }",
    );
    let mut function = kit.run(wild.clone()).await.unwrap();
    function.send(&["exit"]).await;
    let exit = function.exit().await;
    assert!(!exit.is_clean && exit.reason.contains("I leave") && exit.reason.contains('3'), "{exit:?}");

    let mut small = wild.clone();
    small.limits.ram_bytes = Some(256 << 20);
    let mut function = kit.run(small).await.unwrap();
    function.send(&["fill"]).await;
    let exit = function.exit().await;
    assert!(!exit.is_clean && exit.reason.contains("OutOfMemoryError"), "{exit:?}");

    let mut function =
        kit.run(FunctionSpec { timeout: Some(Duration::from_millis(500)), ..wild.clone() }).await.unwrap();
    function.send(&["sleep"]).await;
    let (_, outcome) = function.outcome().await;
    assert!(outcome.result.is_err(), "{outcome:?}");
    assert!(!function.exit().await.is_clean);

    let mut function = kit.run(wild).await.unwrap();
    assert_eq!(function.call("print").await.unwrap(), "print");
    function.stop().await;
}

#[tokio::test]
async fn futures_and_one_that_never_comes() {
    let kit = kit!();
    let spec = kit.source(
        "implements java.util.function.Function<String, java.util.concurrent.CompletableFuture<String>> {
            public java.util.concurrent.CompletableFuture<String> apply(String input) {
                var result = new java.util.concurrent.CompletableFuture<String>();
                if (!input.equals(\"never\")) new Thread(() -> result.complete(input)).start();
                return result;
            }
        }",
    );
    let mut function = kit.run(FunctionSpec { timeout: Some(Duration::from_secs(1)), ..spec }).await.unwrap();
    function.send(&["a", "b"]).await;
    assert_eq!([function.outputs().await.unwrap(), function.outputs().await.unwrap()], [["a"], ["b"]]);
    // By the harness, or on a loaded machine by its parent.
    let exception = function.call("never").await.unwrap_err();
    assert!(exception.contains("did not come within 1000 ms") || exception.contains("timed out"), "{exception}");
    function.stop().await;
}

#[tokio::test]
async fn manual_acknowledgement() {
    let kit = kit!();
    let spec = kit.source(
        "implements Function<String, Void> {
            public Void process(String input, Context context) { context.getCurrentRecord().ack(); return null; }
        }",
    );
    let spec = FunctionSpec { guarantee: Guarantee::Manual, auto_ack: false, ..spec };
    let mut function = kit.run(spec).await.unwrap();
    let sent = function.send(&["a"]).await;
    assert_eq!(function.outcome().await.1.effects.acks, sent);
    function.stop().await;
}

#[tokio::test]
async fn how_fast_it_is() {
    let kit = kit!();
    let spec = kit.example("ExclamationFunction");
    kit.java.prepare(&spec).await.unwrap();
    let at = Instant::now();
    let mut function = kit.run(spec).await.unwrap();
    assert_eq!(function.call("x").await.unwrap(), "x!");
    println!("start to first output: {:?}", at.elapsed());
    let payload = Bytes::from(vec![b'x'; 1024]);
    for round in 0..5 {
        let at = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < 20_000 {
            while sent < 20_000 && sent < done + 2_000 {
                function.invoke((0..500).map(|_| input(payload.clone()))).await;
                sent += 500;
            }
            assert_eq!(function.outputs().await.unwrap()[0].len(), 1025);
            done += 1;
        }
        println!("round {round}: {:.0} msg/s of 1 KiB", 20_000.0 / at.elapsed().as_secs_f64());
    }
    function.stop().await;
}
