//! From a command line to what the worker is sent.

use super::*;
use clap::Parser;
use expect_test::{Expect, expect};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wish::{Code, Wish};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: crate::Command,
}

/// The words of a line; `'...'` keeps blanks together.
fn words(line: &str) -> Vec<String> {
    let words = model::function::split_words(line).unwrap();
    std::iter::once("geminga".to_owned()).chain(words).collect()
}

fn parse(line: &str) -> crate::Command {
    Line::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

fn wish(line: &str) -> anyhow::Result<Wish> {
    match parse(line) {
        crate::Command::Functions(args) => match args.command {
            FunctionCommand::Create(wish) => wish.sources().create::<FunctionConfig>(),
            FunctionCommand::Update { wish, .. } => wish.sources().update::<FunctionConfig>(),
            _ => panic!("{line}"),
        },
        crate::Command::Sources(args) => match args.command {
            SourceCommand::Create(wish) => wish.sources().create::<SourceConfig>(),
            SourceCommand::Update { wish, .. } => wish.sources().update::<SourceConfig>(),
            _ => panic!("{line}"),
        },
        crate::Command::Sinks(args) => match args.command {
            SinkCommand::Create(wish) => wish.sources().create::<SinkConfig>(),
            SinkCommand::Update { wish, .. } => wish.sources().update::<SinkConfig>(),
            _ => panic!("{line}"),
        },
        _ => panic!("{line}"),
    }
}

/// Files a line may name with `DIR/`.
fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(dir.path().join(name), content).unwrap();
    write("exclaim.py", "class Exclaim:\n    def process(self, input, context):\n        return input + '!'\n");
    write("two.py", "def a(x): ...\ndef b(x): ...\n");
    write("shout.wasm", "");
    write("shout.jar", "");
    write("shout.sh", "#!/bin/sh\n");
    write("notes.txt", "hello");
    write("sink.nar", "");
    write("user.yaml", "prefix: '>'\ndepth: {max: 3}\n");
    // The example of Pulsar's documentation, in its shape.
    write(
        "exclaim.yaml",
        "# comment\ntenant: \"acme\"\nnamespace: shop\nname: exclaim\nclassName: exclaim.Exclaim\npy: exclaim.py\n\
         inputs:\n  - \"persistent://acme/shop/orders\"\n  - more\noutput: loud\nautoAck: true\nparallelism: 1\n\
         userConfig:\n  prefix: \">\"\n  numbers: [1, 2.5]\nresources:\n  ram: 1073741824\n",
    );
    write("broken.yaml", "name: [exclaim\n");
    write("broken.json", "{\"name\": \"exclaim\"");
    dir
}

fn check(line: &str, is: &Expect) {
    let dir = files();
    let at = dir.path().display().to_string();
    let text = match wish(&line.replace("DIR", &at)) {
        Ok(wish) => {
            let code = match &wish.code {
                Code::File(path) => format!("upload {}", path.display()),
                Code::Url(url) => format!("url {url}"),
                Code::Stays => "no code".to_owned(),
            };
            format!("{}, {code}\n{}", wish.name, wish.config)
        }
        Err(error) => format!("{error:#}"),
    };
    is.assert_eq(&text.replace(&at, "DIR"));
}

#[test]
fn a_file_says_language_name_and_class() {
    check(
        "functions create http://host/shout.jar -i a --classname acme.Shout",
        &expect![[r#"
        public/default/shout, url http://host/shout.jar
        {"className":"acme.Shout","inputs":["a"],"jar":"http://host/shout.jar","name":"shout","namespace":"default","tenant":"public"}"#]],
    );
    check(
        "functions create DIR/exclaim.py --inputs orders --output orders-loud",
        &expect![[r#"
            public/default/exclaim, upload DIR/exclaim.py
            {"className":"exclaim.Exclaim","inputs":["orders"],"name":"exclaim","namespace":"default","output":"orders-loud","py":"DIR/exclaim.py","tenant":"public"}"#]],
    );
    check(
        "functions create DIR/shout.wasm -i a,b -o c --name loud --tenant acme",
        &expect![[r#"
        acme/default/loud, upload DIR/shout.wasm
        {"inputs":["a","b"],"name":"loud","namespace":"default","output":"c","tenant":"acme","wasm":"DIR/shout.wasm"}"#]],
    );
    check(
        "functions create DIR/shout.sh -i a",
        &expect![[r#"
        public/default/shout, upload DIR/shout.sh
        {"exec":"DIR/shout.sh","inputs":["a"],"name":"shout","namespace":"default","tenant":"public"}"#]],
    );
    check(
        "functions create DIR/shout.jar -i a --classname acme.Shout",
        &expect![[r#"
        public/default/shout, upload DIR/shout.jar
        {"className":"acme.Shout","inputs":["a"],"jar":"DIR/shout.jar","name":"shout","namespace":"default","tenant":"public"}"#]],
    );
    check(
        "functions create DIR/notes.txt -i a",
        &expect!["nothing tells what DIR/notes.txt is: say it with --py, --jar, --go, --wasm or --exec"],
    );
    check(
        "functions create DIR/two.py -i a",
        &expect!["DIR/two.py has more than one to call: say with --classname which of two.a, two.b"],
    );
}

#[test]
fn the_flags_of_pulsar_admin_mean_what_they_mean_there() {
    check(
        "functions create --tenant acme --namespace shop --name f --py DIR/exclaim.py --classname exclaim.Exclaim \
         --inputs a,b --output c --log-topic l --processing-guarantees atleast-once --parallelism 3 --cpu 0.5 \
         --ram 536870912 --disk 10G --user-config '{\"k\": [1, {\"x\": true}]}' --secrets '{\"s\": {\"path\": \"p\"}}' \
         --subs-name sub --subs-position Earliest --skip-to-latest false --cleanup-subscription=false --auto-ack true \
         --timeout-ms 10000 --max-message-retries 5 --dead-letter-topic dead --runtime-flags -u \
         --custom-runtime-options '{}' --schema-type string --forward-source-message-property false \
         --producer-config '{\"compressionType\": \"ZSTD\"}' --input-specs '{\"d\": {\"schemaType\": \"json\"}}'",
        &expect![[r#"
            acme/shop/f, upload DIR/exclaim.py
            {"autoAck":true,"className":"exclaim.Exclaim","cleanupSubscription":false,"customRuntimeOptions":"{}","deadLetterTopic":"dead","forwardSourceMessageProperty":false,"inputSpecs":{"d":{"schemaType":"json"}},"inputs":["a","b"],"logTopic":"l","maxMessageRetries":5,"name":"f","namespace":"shop","output":"c","outputSchemaType":"string","parallelism":3,"processingGuarantees":"ATLEAST_ONCE","producerConfig":{"compressionType":"ZSTD"},"py":"DIR/exclaim.py","resources":{"cpu":0.5,"disk":10737418240,"ram":536870912},"runtimeFlags":"-u","secrets":{"s":{"path":"p"}},"skipToLatest":false,"subName":"sub","subscriptionPosition":"Earliest","tenant":"acme","timeoutMs":10000,"userConfig":{"k":[1,{"x":true}]}}"#]],
    );
    check(
        "functions create --fqfn acme/shop/f --jar DIR/shout.jar --className acme.Shout --topicsPattern 'public/default/x-.*' \
         --userConfig '{}' --windowLengthCount 10 --slidingIntervalCount 5 --logTopic l --autoAck true",
        &expect![[r#"
            acme/shop/f, upload DIR/shout.jar
            {"autoAck":true,"className":"acme.Shout","jar":"DIR/shout.jar","logTopic":"l","name":"f","namespace":"shop","tenant":"acme","topicsPattern":"public/default/x-.*","userConfig":{},"windowConfig":{"slidingIntervalCount":5,"windowLengthCount":10}}"#]],
    );
    check(
        "functions create --jar http://host/f.jar --classname acme.Shout -i a --retain-ordering",
        &expect![[r#"
        public/default/Shout, url http://host/f.jar
        {"className":"acme.Shout","inputs":["a"],"jar":"http://host/f.jar","name":"Shout","namespace":"default","retainOrdering":true,"tenant":"public"}"#]],
    );
    check(
        "functions create --function-type exclaim --name f -i a",
        &expect![[r#"
        public/default/f, no code
        {"functionType":"exclaim","inputs":["a"],"name":"f","namespace":"default","tenant":"public"}"#]],
    );
    check(
        "functions create --exec 'jq -c .' --name f -i a",
        &expect![[r#"
        public/default/f, no code
        {"exec":"jq -c .","inputs":["a"],"name":"f","namespace":"default","tenant":"public"}"#]],
    );
}

#[test]
fn a_file_holds_the_configuration_and_flags_win() {
    check(
        "functions create --function-config-file DIR/exclaim.yaml --py DIR/exclaim.py --ram 1G --cpu 2 -o quiet",
        &expect![[r#"
        acme/shop/exclaim, upload DIR/exclaim.py
        {"autoAck":true,"className":"exclaim.Exclaim","inputs":["persistent://acme/shop/orders","more"],"name":"exclaim","namespace":"shop","output":"quiet","parallelism":1,"py":"DIR/exclaim.py","resources":{"cpu":2.0,"ram":1073741824},"tenant":"acme","userConfig":{"numbers":[1,2.5],"prefix":">"}}"#]],
    );
    check(
        "functions create DIR/exclaim.py -i a --user-config-file DIR/user.yaml",
        &expect![[r#"
            public/default/exclaim, upload DIR/exclaim.py
            {"className":"exclaim.Exclaim","inputs":["a"],"name":"exclaim","namespace":"default","py":"DIR/exclaim.py","tenant":"public","userConfig":{"depth":{"max":3},"prefix":">"}}"#]],
    );
    check(
        "functions create --function-config-file DIR/broken.yaml",
        &expect![[r#"
        DIR/broken.yaml cannot be read: error: line 1 column 7: unclosed bracket '['
         --> <input>:1:7
          |
        1 | name: [exclaim
          |       ^ unclosed bracket '['"#]],
    );
    check(
        "functions create --function-config-file DIR/broken.json",
        &expect!["DIR/broken.json cannot be read: EOF while parsing an object at line 1 column 18"],
    );
}

#[test]
fn all_that_is_wrong_is_one_answer() {
    check(
        "functions create --py DIR/none.py --parallelism 0 -o a --processing-guarantees MANUAL --auto-ack true --ram 5",
        &expect![[r#"
            6 problems:
            - Function name cannot be null
            - Function classname cannot be null
            - No input topic(s) specified for the function
            - Function parallelism must be a positive number
            - The ram allocation for the function is 5 bytes, less than 1 MiB: it is counted in bytes
            - cannot read DIR/none.py: No such file or directory (os error 2)"#]],
    );
}

#[test]
fn an_update_says_only_what_changes() {
    check(
        "functions update --name f --parallelism 4",
        &expect![[r#"
        public/default/f, no code
        {"name":"f","namespace":"default","parallelism":4,"tenant":"public"}"#]],
    );
    check(
        "functions update DIR/exclaim.py",
        &expect![[r#"
        public/default/exclaim, upload DIR/exclaim.py
        {"className":"exclaim.Exclaim","name":"exclaim","namespace":"default","py":"DIR/exclaim.py","tenant":"public"}"#]],
    );
    check(
        "functions update f --parallelism 4",
        &expect![[r#"
        public/default/f, no code
        {"name":"f","namespace":"default","parallelism":4,"tenant":"public"}"#]],
    );
    check(
        "functions update acme/shop/f --parallelism 4",
        &expect![[r#"
        acme/shop/f, no code
        {"name":"f","namespace":"shop","parallelism":4,"tenant":"acme"}"#]],
    );
    check("functions update --parallelism 4", &expect!["say which function with --name"]);
    check(
        "functions update --classname acme.Shout --cpu 1",
        &expect![[r#"
        public/default/Shout, no code
        {"className":"acme.Shout","name":"Shout","namespace":"default","resources":{"cpu":1.0},"tenant":"public"}"#]],
    );
}

#[test]
fn sources_and_sinks_are_said_alike() {
    check(
        "sources create --source-type ticks --name t --destinationTopicName out --source-config '{\"every\": 5}' --schema-type json",
        &expect![[r#"
            public/default/t, no code
            {"configs":{"every":5},"name":"t","namespace":"default","schemaType":"json","sourceType":"ticks","tenant":"public","topicName":"out"}"#]],
    );
    check(
        "sinks create DIR/sink.nar --classname acme.Sink -i a --sinkConfig '{}' --subsName s --max-redeliver-count 3 \
         --custom-schema-inputs '{\"b\": \"json\"}'",
        &expect![[r#"
            public/default/sink, upload DIR/sink.nar
            {"archive":"DIR/sink.nar","className":"acme.Sink","configs":{},"inputs":["a"],"maxMessageRetries":3,"name":"sink","namespace":"default","sourceSubscriptionName":"s","tenant":"public","topicToSchemaType":{"b":"json"}}"#]],
    );
    check(
        "sinks update --name s --parallelism 2",
        &expect![[r#"
        public/default/s, no code
        {"name":"s","namespace":"default","parallelism":2,"tenant":"public"}"#]],
    );
}

/// A request as it came: its first line and its body.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A worker that knows its lines: each request gets the answer of the first entry its first line begins with.
async fn worker(lines: &'static [(&'static str, u16, &'static str)]) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer(stream, lines, &all).await;
        }
    });
    (url, seen)
}

async fn answer(mut stream: TcpStream, lines: &[(&str, u16, &str)], seen: &Seen) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let (head, body) = loop {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "a request ends before its length");
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break (head.lines().next().unwrap_or_default().to_owned(), body.to_owned());
        }
    };
    let known = lines.iter().find(|(begin, ..)| head.starts_with(begin));
    let (status, text) =
        known.map_or((404, "{\"reason\": \"nobody asked for this\"}"), |(_, status, text)| (*status, text));
    seen.lock().unwrap().push((head, body));
    let length = text.len();
    let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
    stream.write_all(reply.as_bytes()).await.unwrap();
}

async fn run_line(url: &str, line: &str) -> anyhow::Result<()> {
    crate::run(parse(&format!("{line} --admin-url {url}"))).await
}

#[tokio::test]
async fn a_worker_is_sent_the_configuration_and_the_code_and_its_words_are_shown() {
    let (url, seen) = worker(&[
        ("POST /admin/v3/functions/public/default/exclaim ", 204, ""),
        ("PUT /admin/v3/functions/public/default/exclaim ", 400, "{\"reason\": \"Update contains no change\"}"),
        ("POST /admin/v3/functions/public/default/exclaim/1/restart ", 204, ""),
        ("POST /admin/v3/functions/public/default/exclaim/trigger ", 200, "hello!"),
    ])
    .await;
    let dir = files();
    let file = dir.path().join("exclaim.py").display().to_string();
    run_line(&url, &format!("functions create {file} -i a")).await.unwrap();
    {
        let seen = seen.lock().unwrap();
        let body = &seen[0].1;
        let config = body.split("\r\n\r\n").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let config: Value = serde_json::from_str(config).unwrap();
        assert_eq!(config["className"], "exclaim.Exclaim");
        assert!(body.contains("name=\"functionConfig\"") && body.contains("name=\"data\"; filename=\"exclaim.py\""));
        assert!(body.contains("return input + '!'"));
    }
    let refused = run_line(&url, &format!("functions update {file}")).await.unwrap_err();
    assert_eq!(refused.to_string(), "Update contains no change (400)");
    run_line(&url, "functions restart exclaim --instance-id 1").await.unwrap();
    run_line(&url, "functions trigger exclaim hello --topic a").await.unwrap();
    let (_, body) = seen.lock().unwrap().pop().unwrap();
    assert!(body.contains("name=\"data\"") && body.contains("\r\n\r\nhello\r\n") && body.contains("name=\"topic\""));
}

#[tokio::test]
async fn what_is_wrong_is_told_before_anything_is_sent() {
    let (url, seen) = worker(&[]).await;
    run_line(&url, "functions create --py none.py").await.unwrap_err();
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn waiting_for_what_does_not_run_ends_with_an_error() {
    const STATUS: &str = r#"{"numInstances": 1, "numRunning": 0,
        "instances": [{"instanceId": 0, "status": {"running": false, "error": "no such\u001b[2J module"}}]}"#;
    let (url, seen) = worker(&[("GET /admin/v3/functions/public/default/f/status ", 200, STATUS)]).await;
    run_line(&url, "functions status f").await.unwrap();
    run_line(&url, "functions status f --wait 300ms").await.unwrap_err();
    assert!(seen.lock().unwrap().len() > 2);
}

#[tokio::test]
async fn a_function_is_told_with_what_it_promises() {
    const STATUS: &str =
        r#"{"numInstances": 0, "numRunning": 0, "instances": [], "guarantee": "exactly once\u001b[2J"}"#;
    let (url, seen) = worker(&[
        ("GET /admin/v3/functions/public/default/exclaim/status ", 200, STATUS),
        ("POST /admin/v3/functions/public/default/exclaim ", 204, ""),
    ])
    .await;
    let dir = files();
    run_line(&url, &format!("functions create {}/exclaim.py -i a", dir.path().display())).await.unwrap();
    assert!(seen.lock().unwrap().iter().any(|(head, _)| head.contains("/status")), "create asks what it promises");
    let text =
        status::text(Kind::Function, common::Instance { instance_id: None }, &serde_json::from_str(STATUS).unwrap());
    assert!(text.ends_with("\nexactly once\\u{1b}[2J\n"), "{text:?}");
}
