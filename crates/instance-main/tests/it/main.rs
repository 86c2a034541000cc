//! An instance with its ports, its broker and its code in memory.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

use bytes::Bytes;
use functions::{
    Commit, EventLog, Record,
    event_log::{Arrived, Compression, InputSpec, OutputSpec},
    instance::Parts,
    testing::{Echo, MemoryLog, MemoryTables, Refuses},
};
use instance_control::Client;
use instance_main::{Args, Error, Main, secrets};
use model::{InitialPosition, SubscriptionType, TopicName};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

const DETAILS: &str = r#"{"tenant":"public","namespace":"default","name":"f","className":"f.F","runtime":"PYTHON","autoAck":true,
    "parallelism":3,"source":{"inputSpecs":{"persistent://public/default/in":{}},"cleanupSubscription":true},
    "sink":{"topic":"persistent://public/default/out"},"componentType":"FUNCTION"}"#;

fn args(health_interval_s: u32) -> Args {
    let interval = health_interval_s.to_string();
    let args = [
        ["--function_file", "/f.py"],
        ["--language", "python"],
        ["--instance_id", "2"],
        ["--function_id", "id"],
        ["--function_version", "1"],
        ["--function_details", DETAILS],
        ["--pulsar_serviceurl", "pulsar://127.0.0.1:6650"],
        ["--port", "0"],
        ["--metrics_port", "0"],
        ["--expected_healthcheck_interval", &interval],
        ["--cluster_name", "test"],
    ];
    Args::parse(args.into_iter().flatten().map(str::to_owned)).unwrap()
}

fn parts(log: &MemoryLog, tables: &Arc<MemoryTables>, runtime: impl functions::Runtime) -> Parts {
    Parts {
        log: Arc::new(log.clone()),
        tables: tables.clone(),
        runtime: Arc::new(runtime),
        clock: Arc::new(seams::SystemClock::new()),
    }
}

async fn bind(args: &Args) -> (Main, SocketAddr, SocketAddr) {
    let function = args.function().unwrap();
    let main = Main::bind(args, function, Default::default(), PathBuf::from("/tmp")).await.unwrap();
    let here = |address: SocketAddr| SocketAddr::from(([127, 0, 0, 1], address.port()));
    let (control, metrics) = main.addresses().unwrap();
    (main, here(control), here(metrics))
}

fn run(main: Main, parts: Parts, shutdown: &seams::Shutdown) -> JoinHandle<Result<(), Error>> {
    let (tasks, shutdown) = (seams::Tasks::new(shutdown.clone()), shutdown.clone());
    tokio::spawn(async move { main.run(parts, &tasks, &shutdown).await })
}

/// Head and body of an answer.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn topic(name: &str) -> TopicName {
    format!("persistent://public/default/{name}").parse().unwrap()
}

#[tokio::test]
async fn an_instance_handles_messages_and_says_how_it_does() {
    let args = args(0);
    let (main, control, metrics) = bind(&args).await;
    let tables = Arc::new(MemoryTables::default());
    let log = MemoryLog::new(tables.clone());
    let mut session = log.session("test").await.unwrap();
    let output = session
        .subscribe(InputSpec {
            topic: topic("out"),
            subscription: "test".into(),
            kind: SubscriptionType::Shared,
            initial_position: InitialPosition::Earliest,
            durable: true,
            skip_to_latest: false,
            consumer: "test".into(),
            metadata: Default::default(),
        })
        .await
        .unwrap();
    session.flow(output, 10);
    let input = session
        .open_output(OutputSpec {
            topic: topic("in"),
            producer: None,
            metadata: Default::default(),
            schema: None,
            batch_by_key: false,
            compression: Compression::None,
        })
        .await
        .unwrap();
    let shutdown = seams::Shutdown::new();
    let running = run(main, parts(&log, &tables, Echo), &shutdown);
    let client = Client::connect(control).await.unwrap();
    while !client.status().await.unwrap().running {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let record = Record { payload: Bytes::from("hello"), ..Record::default() };
    session.commit(Commit { outputs: vec![(input, record)], ..Commit::default() }).await.unwrap();
    let Arrived::Messages(messages) = session.next().await.unwrap() else { panic!("not a message") };
    assert_eq!(messages[0].payload, "hello");
    let status = loop {
        let status = client.status().await.unwrap();
        if status.num_successfully_processed == 1 {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((status.num_received, &status.instance_id[..]), (1, "2"));
    let counted = client.metrics_and_reset().await.unwrap();
    assert_eq!((counted.received_total, counted.received_total_1min), (1, 1));
    let counted = client.metrics().await.unwrap();
    assert_eq!((counted.received_total, counted.received_total_1min), (1, 0));
    assert!(client.is_healthy().await.unwrap());

    let page = get(metrics, "/metrics").await;
    let received = "pulsar_function_received_total{tenant=\"public\",namespace=\"public/default\",name=\"f\",instance_id=\"2\",\
                    cluster=\"test\",fqfn=\"public/default/f\"} 1\n";
    assert!(page.contains(received), "{page}");
    assert!(page.contains("# TYPE pulsar_function_process_latency_ms summary\n"), "{page}");

    shutdown.trigger();
    running.await.unwrap().unwrap();
    assert!(Client::connect(control).await.is_err());
}

#[tokio::test]
async fn an_instance_whose_code_does_not_start_says_why() {
    let (main, control, _) = bind(&args(0)).await;
    let tables = Arc::new(MemoryTables::default());
    let log = MemoryLog::new(tables.clone());
    let shutdown = seams::Shutdown::new();
    let running = run(main, parts(&log, &tables, Refuses), &shutdown);
    let client = Client::connect(control).await.unwrap();
    loop {
        let status = client.status().await.unwrap();
        assert!(!status.running);
        if status.num_restarts > 0 {
            assert_eq!(status.failure_exception, "there is no class f.F");
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.trigger();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_instance_nobody_asks_for_its_health_ends_where_that_was_expected() {
    let (main, control, _) = bind(&args(1)).await;
    let tables = Arc::new(MemoryTables::default());
    let log = MemoryLog::new(tables.clone());
    let mut running = run(main, parts(&log, &tables, Echo), &seams::Shutdown::new());
    let client = Client::connect(control).await.unwrap();
    for _ in 0..10 {
        assert!(client.is_healthy().await.unwrap());
        let early = tokio::time::timeout(Duration::from_millis(500), &mut running).await;
        assert!(early.is_err(), "it ends although it is asked");
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends").unwrap();
    assert!(matches!(ended, Err(Error::Abandoned(_))));
}

#[test]
fn a_function_is_what_its_details_and_the_command_line_say() {
    let function = args(0).function().unwrap();
    assert_eq!(function.fqfn(), "public/default/f");
    assert_eq!((&function.class_name[..], function.parallelism, function.version), ("f.F", 3, 1));
    assert_eq!(function.language, functions::Language::Python);
    assert_eq!(function.code, functions::Code::File("/f.py".into()));
    assert_eq!(function.output.topic.as_deref(), Some("persistent://public/default/out"));
    assert!(function.inputs.contains_key("persistent://public/default/in"));
    assert_eq!((&function.service_url[..], &function.cluster[..]), ("pulsar://127.0.0.1:6650", "test"));

    let bad = |details: &str| Args { function_details: details.into(), ..args(0) }.function();
    for details in ["", "{", "[]", r#"{"name":7}"#, r#"{"tenant":"a/b","namespace":"c","name":"d"}"#] {
        assert!(matches!(bad(details), Err(Error::Details(_))), "{details}");
    }
}

#[test]
fn a_program_is_a_command_whatever_its_name() {
    let args = |language: &str| {
        let language = [format!("--language={language}")];
        let least =
            ["--function_file=/f.sh", "--instance_id=0", "--function_id=id", "--function_version=0", "--port=0"];
        let rest = [
            "--pulsar_serviceurl=pulsar://b:6650",
            "--metrics_port=0",
            "--expected_healthcheck_interval=0",
            "--cluster_name=c",
        ];
        let details = r#"--function_details={"tenant":"t","namespace":"n","name":"s","componentType":"SOURCE",
            "sink":{"topic":"persistent://t/n/out"},"source":{"className":"x"}}"#;
        let all = least.into_iter().chain(rest).chain([details]).map(str::to_owned).chain(language);
        Args::parse(all).unwrap().function().unwrap()
    };
    assert_eq!(args("executable").code, functions::Code::Command(vec!["/f.sh".into()]));
    let node = args("nodejs");
    assert_eq!(node.code, functions::Code::Command(vec!["node".into(), "/f.sh".into()]));
    assert_eq!((node.language, node.kind), (functions::Language::Process, functions::Kind::Source));
}

#[test]
fn a_function_gets_the_secrets_it_names_and_no_others() {
    let details =
        DETAILS.replace("\"autoAck\"", r#""secretsMap":"{\"PASSWORD\":{\"path\":\"p\",\"key\":\"k\"}}","autoAck""#);
    let function = Args { function_details: details, ..args(0) }.function().unwrap();
    let found = secrets(&function, |name| Some(format!("the {name}"))).unwrap();
    assert_eq!(
        found.into_iter().map(|(name, secret)| (name, secret.0)).collect::<Vec<_>>(),
        [("PASSWORD".to_owned(), "the PASSWORD".to_owned())]
    );
    assert!(matches!(secrets(&function, |_| None), Err(Error::Secret(name)) if name == "PASSWORD"));
}
