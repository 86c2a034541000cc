//! Process functions: any program that speaks the protocol.

use functions::{
    Code, FunctionSpec, Kind, Language, Runtime,
    runtime::{Event, Input, LogLevel, Request, Secret, StateChange},
};
use runtime_process::Process;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use crate::kit::*;

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/functions/process").join(name)
}

/// An example in Go, as a program; `None` where there is no Go.
fn go_example(name: &str) -> Option<Code> {
    if Command::new("go").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI has Go");
        eprintln!("SKIPPED: there is no Go on this machine, so its examples are not tested");
        return None;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut source = example(name);
    source.set_extension("go");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(Code::File(program))
}

fn shell(script: &str) -> FunctionSpec {
    let words = ["sh", "-c", script].map(str::to_owned).to_vec();
    spec(Language::Process, Code::Command(words), "")
}

async fn start(spec: FunctionSpec) -> (Running, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&Process::new(children()), instance(spec, dir.path())).await.unwrap();
    (running, dir)
}

#[tokio::test]
async fn a_program_does_one_after_the_other_unless_it_says_otherwise() {
    for (says, runs_many) in [("", false), (r#","concurrent":false"#, false), (r#","concurrent":true"#, true)] {
        let script = format!("read -r hello; echo '{{\"type\":\"ready\"{says}}}'; read -r rest");
        let (function, _dir) = start(shell(&script)).await;
        assert_eq!(function.runs_many, Some(runs_many), "{says}");
        function.stop().await;
    }
}

#[tokio::test]
async fn the_shell_examples_run() {
    let (mut function, _dir) = start(spec(Language::Process, Code::File(example("exclaim.sh")), "")).await;
    assert_eq!(function.call("hello").await.unwrap(), "hello!");
    assert_eq!(function.call("\"quoted\" \\ é").await.unwrap(), "\"quoted\" \\ é!");
    assert!(function.stop().await.0.is_clean);

    let (mut function, _dir) = start(spec(Language::Process, Code::File(example("count-lines.sh")), "")).await;
    function.send(&["a", "b", "c"]).await;
    for count in ["1", "2", "3"] {
        assert_eq!(function.outputs().await.unwrap(), [count]);
    }
    assert!(function.stop().await.0.is_clean);
}

#[tokio::test]
async fn the_node_example_counts_words_in_state() {
    let (mut function, _dir) = start(spec(Language::Process, Code::File(example("word-count.js")), "")).await;
    function.state.insert("b".into(), 5i64.to_be_bytes().to_vec().into());
    function.send(&["a b a"]).await;
    let (_, outcome) = function.outcome().await;
    assert_eq!(&outcome.result.unwrap()[0].payload[..], br#"{"a":2,"b":6}"#);
    let add = |key: &str| StateChange::Add { key: key.into(), amount: 1 };
    assert_eq!(outcome.effects.changes, [add("a"), add("b"), add("a")]);
    assert_eq!(function.calls.len(), 2);
    assert!(function.stop().await.0.is_clean);
}

#[tokio::test]
async fn the_source_in_go_deletes_a_file_when_it_is_durable_and_not_before() {
    let Some(code) = go_example("inbox") else { return };
    let inbox = tempfile::tempdir().unwrap();
    let file = inbox.path().join("one");
    std::fs::write(&file, b"\xff1").unwrap();
    let mut function = spec(Language::Process, code, "");
    (function.kind, function.inputs) = (Kind::Source, Default::default());
    function.user_config.insert("path".into(), inbox.path().to_str().unwrap().into());
    function.user_config.insert("other".into(), 1.into());
    let (mut source, _dir) = start(function.clone()).await;
    for (id, error) in [(1, Some("no space".to_owned())), (2, None)] {
        match source.next().await {
            Event::Emit { id: emitted, record } => {
                assert_eq!((emitted, &record.payload[..]), (id, &b"\xff1"[..]));
                assert_eq!(record.key.map(|key| key.text).as_deref(), Some("one"));
            }
            other => panic!("{other:?}"),
        }
        assert!(file.exists(), "nobody said that it is durable");
        source.request(Request::Emitted { ids: vec![id], error }).await;
    }
    source.log_line("one was not stored: no space").await;
    let gone = async {
        while file.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is deleted");
    assert!(source.stop().await.0.is_clean);

    inbox.close().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let refused = Running::start(&Process::new(children()), instance(function, dir.path())).await;
    assert!(refused.map(drop).unwrap_err().contains("no such file"), "it says so before it is ready");
}

#[tokio::test]
async fn the_sink_in_go_writes_each_message_once_and_says_when_it_could_not() {
    let Some(code) = go_example("archive") else { return };
    let archive = tempfile::tempdir().unwrap();
    let mut function = spec(Language::Process, code, "");
    function.kind = Kind::Sink;
    function.user_config.insert("path".into(), archive.path().to_str().unwrap().into());
    let (mut sink, _dir) = start(function).await;
    for payload in [&b"\xff"[..], b"text", b"text"] {
        sink.invoke([Input::Message(Arc::new(message(1, payload)))]).await;
        assert!(sink.outputs().await.unwrap().is_empty());
    }
    assert_eq!(std::fs::read(archive.path().join("7-1--1")).unwrap(), b"text");
    assert_eq!(std::fs::read_dir(archive.path()).unwrap().count(), 1);
    archive.close().unwrap();
    assert!(sink.call("lost?").await.unwrap_err().contains("no such file"));
    assert!(sink.stop().await.0.is_clean);
}

#[tokio::test]
async fn everything_a_line_may_say_is_understood() {
    let (mut function, _dir) = start(shell(
        r#"read hello; echo '{"type":"ready"}'
        read line
        echo '{"type":"log","level":"error","message":"told"}'
        echo printed >&2
        echo '{"type":"done","id":2,"took_ms":1.5,"output_base64":"AP8=","outputs":[{"topic":"t","payload":"p","key":"k","properties":{"a":"b"},"event_time_ms":5,"deliver_at_ms":6,"sequence_id":7}],"publishes":[{"payload":"q"}],"changes":[{"put":"x","value":"1"},{"delete":"y"},{"add":"z","amount":-2}],"acks":[2],"metrics":{"m":0.5},"unknown":1}'
        read line
        echo '{"type":"done","id":3,"error":"ValueError: no","metrics":{"m":1}}'
        cat > /dev/null"#,
    ))
    .await;
    function.invoke([Input::Message(Arc::new(message(1, &b"\xff"[..])))]).await;
    let (id, outcome) = function.outcome().await;
    assert_eq!(id, 2);
    assert_eq!(outcome.took, std::time::Duration::from_micros(1500));
    expect_test::expect![[r#"
        Ok(
            [
                Record {
                    topic: None,
                    payload: b"\0\xff",
                    key: None,
                    properties: [],
                    event_time_ms: 0,
                    deliver_at_ms: 0,
                    sequence_id: None,
                    schema: None,
                },
                Record {
                    topic: Some(
                        "t",
                    ),
                    payload: b"p",
                    key: Some(
                        Key {
                            text: "k",
                            is_base64: false,
                        },
                    ),
                    properties: [
                        (
                            "a",
                            "b",
                        ),
                    ],
                    event_time_ms: 5,
                    deliver_at_ms: 6,
                    sequence_id: Some(
                        7,
                    ),
                    schema: None,
                },
            ],
        )
    "#]]
    .assert_debug_eq(&outcome.result);
    expect_test::expect![[r#"
        Effects {
            publishes: [
                Record {
                    topic: None,
                    payload: b"q",
                    key: None,
                    properties: [],
                    event_time_ms: 0,
                    deliver_at_ms: 0,
                    sequence_id: None,
                    schema: None,
                },
            ],
            changes: [
                Put {
                    key: "x",
                    value: b"1",
                },
                Delete {
                    key: "y",
                },
                Add {
                    key: "z",
                    amount: -2,
                },
            ],
            acks: [
                2,
            ],
            metrics: [
                (
                    "m",
                    0.5,
                ),
            ],
        }
    "#]]
    .assert_debug_eq(&outcome.effects);
    assert_eq!(function.log_line("told").await.level, LogLevel::Error);
    assert_eq!(function.log_line("printed").await.level, LogLevel::Warn);
    assert_eq!(function.call("again").await.unwrap_err(), "ValueError: no");
    assert!(function.stop().await.0.is_clean);
}

#[tokio::test]
async fn a_window_is_one_line() {
    let (mut function, _dir) = start(shell(
        r#"read hello; echo '{"type":"ready"}'
        read line; echo "$line" >&2; echo '{"type":"done","id":2,"output":"x"}'; cat > /dev/null"#,
    ))
    .await;
    function.invoke([Input::Window(vec![Arc::new(message(1, "a")), Arc::new(message(2, "b"))])]).await;
    assert_eq!(function.outputs().await.unwrap(), ["x"]);
    let line: serde_json::Value = serde_json::from_str(&function.log_line("window").await.message).unwrap();
    assert_eq!(line["window"][0]["payload"], "a");
    assert_eq!(line["window"][1]["id"], "7:2:-1");
    function.stop().await;
}

#[tokio::test]
async fn what_a_function_is_given_is_in_its_environment_and_hides_nothing_that_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let function = shell(r#"read -r hello; env >&2; echo '{"type":"ready"}'; cat > /dev/null"#);
    let mut instance = instance(function, dir.path());
    for (name, value) in [("MODE", "fast = yes"), ("TZ", "Asia/Tokyo"), ("GEMINGA_PROTOCOL", "0"), ("TOKEN", "plain")] {
        instance.env.insert(name.into(), Secret(value.into()));
    }
    instance.secrets.insert("TOKEN".into(), Secret("s3cret".into()));
    let mut function = Running::start(&Process::new(children()), instance).await.unwrap();
    function.log_line("MODE=fast = yes").await;
    let (_, logs) = function.stop().await;
    let has = |line: &str| logs.iter().any(|log| log.message == line);
    assert!(has("TZ=Asia/Tokyo") && has("TOKEN=s3cret"), "{logs:?}");
    assert!(!has("GEMINGA_PROTOCOL=0") && !has("TZ=UTC"), "{logs:?}");
}

#[tokio::test]
async fn secrets_are_variables_and_nothing_of_ours_is_inherited() {
    let dir = tempfile::tempdir().unwrap();
    let function =
        shell(r#"read -r hello; env >&2; printf '%s\n' "$hello" >&2; echo '{"type":"ready"}'; cat > /dev/null"#);
    let mut instance = instance(function, dir.path());
    instance.secrets.insert("TOKEN".into(), Secret("s3cret".into()));
    instance.secrets.insert("LD_PRELOAD".into(), Secret("/evil".into()));
    let mut function = Running::start(&Process::new(children()), instance).await.unwrap();
    function.log_line("TOKEN=s3cret").await;
    let hello: serde_json::Value = serde_json::from_str(&function.log_line("\"protocol\"").await.message).unwrap();
    assert_eq!(hello["secrets"]["TOKEN"], "s3cret");
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["inputs"][IN]["is_pattern"], false);
    let (_, logs) = function.stop().await;
    let lines: Vec<_> = logs.iter().map(|line| line.message.as_str()).collect();
    assert!(lines.contains(&format!("HOME={}", dir.path().display()).as_str()), "{lines:?}");
    // Those of the shell itself besides.
    let known = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "TZ",
        "GEMINGA_PROTOCOL",
        "GEMINGA_INSTANCE",
        "TOKEN",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    let names = lines
        .iter()
        .filter(|line| !line.starts_with('{'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name);
    let unknown: Vec<_> = names.filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn what_cannot_be_run_is_said_before_it_is() {
    let process = Process::new(children());
    let why = async |spec: FunctionSpec| process.prepare(&spec).await.unwrap_err().0;
    let command = |words: &[&str]| {
        spec(Language::Process, Code::Command(words.iter().map(|word| word.to_string()).collect()), "")
    };
    assert_eq!(why(command(&[])).await, "the command line is empty");
    assert_eq!(why(command(&["no-such-program"])).await, "no-such-program: no such program");
    assert!(why(spec(Language::Process, Code::File("/no/file".into()), "")).await.contains("No such file"));
    let mut options = command(&["sh"]);
    options.runtime_options = Some(r#"{"protocol": "xml"}"#.into());
    assert!(why(options).await.contains("json-lines"));
}

#[tokio::test]
async fn a_file_without_the_executable_bit_and_arguments_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("package");
    std::fs::write(
        &file,
        "#!/bin/sh\nread hello; echo '{\"type\":\"ready\"}'; echo \"flags $*\" >&2; cat > /dev/null\n",
    )
    .unwrap();
    let mut function = spec(Language::Process, Code::File(file), "");
    function.runtime_flags = vec!["-a".into(), "b c".into()];
    let (mut function, _dir) = start(function).await;
    assert_eq!(function.log_line("flags").await.message, "flags -a b c");
    assert!(function.stop().await.0.is_clean);
}

#[tokio::test]
async fn a_source_emits_and_learns_what_is_durable() {
    let (mut source, _dir) = start(shell(
        r#"read -r hello; echo '{"type":"ready"}'
        echo '{"type":"emit","id":1,"record":{"payload":"one","key":"k"}}'
        echo '{"type":"emit","id":2,"record":{"payload_base64":"/w=="}}'
        while read -r line; do printf '%s\n' "$line" >&2; done"#,
    ))
    .await;
    let mut emitted = Vec::new();
    for _ in 0..2 {
        match source.next().await {
            Event::Emit { id, record } => emitted.push((id, record.payload)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(emitted, [(1, "one".into()), (2, vec![0xff].into())]);
    source.request(Request::Emitted { ids: vec![1], error: None }).await;
    source.request(Request::Emitted { ids: vec![2], error: Some("no space".into()) }).await;
    assert_eq!(source.log_line("[1]").await.message, r#"{"type":"emitted","ids":[1]}"#);
    assert_eq!(source.log_line("[2]").await.message, r#"{"type":"emitted","ids":[2],"error":"no space"}"#);
    assert!(source.stop().await.0.is_clean);
}
