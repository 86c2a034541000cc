//! A broker in a temporary directory with its web service on a free port, and requests to it, written byte by byte.

use broker::{Addresses, Broker, NewProducer, Outgoing, PeerInfo};
use bytes::Bytes;
use seams::{Shutdown, SystemClock, Tasks};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use wire::proto::MessageMetadata;

/// Long enough for a slow machine, short enough to see what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) port: u16,
    pub(crate) stop: Shutdown,
    pub(crate) serving: Option<JoinHandle<()>>,
    halt: Shutdown,
    _tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.trigger();
        self.halt.trigger();
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Status and reason of an error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["reason"].as_str().unwrap().to_owned())
    }
}

async fn meshes(dir: &std::path::Path, port: u16) -> functions::Meshes {
    use functions::{Language, testing, worker};
    let tables: Arc<testing::MemoryTables> = Arc::default();
    let settings = worker::Settings {
        dir: dir.to_owned(),
        max_package_bytes: 1024 * 1024,
        cluster: "standalone".to_owned(),
        worker_id: "w".to_owned(),
        hostname: "localhost".to_owned(),
        port,
        service_url: "pulsar://127.0.0.1:1".to_owned(),
        admin_url: format!("http://127.0.0.1:{port}"),
    };
    let connector = model::function::ConnectorDefinition {
        name: Some("echo".to_owned()),
        sink_class: Some("Echo".to_owned()),
        ..Default::default()
    };
    let parts = worker::Parts {
        log: Arc::new(testing::MemoryLog::new(tables.clone())),
        tables,
        runtimes: worker::Runtimes::default()
            .with(Language::Python, Arc::new(testing::Echo))
            .with(Language::Builtin, Arc::new(testing::Echo)),
        connectors: vec![connector],
        secrets: Arc::new(worker::EnvironmentSecrets),
        clock: Arc::new(SystemClock::new()),
    };
    let worker = functions::Worker::open(settings, parts).await.unwrap();
    functions::Meshes::open(worker, Arc::new(|tenant, _| tenant == "public")).await.unwrap()
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(admin::Config::default()).await
    }

    pub(crate) async fn with(config: admin::Config) -> Self {
        Self::having(config, false).await
    }

    /// With a worker whose functions give back what they get, over topics in memory.
    pub(crate) async fn with_functions(config: admin::Config) -> Self {
        Self::having(config, true).await
    }

    async fn having(config: admin::Config, functions: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let clock: Arc<dyn seams::Clock> = Arc::new(SystemClock::new());
        let meta: Arc<dyn metastore::Metastore> = Arc::new(metastore::MemoryStore::default());
        let mut stored = ledger::Config { dir: dir.path().to_owned(), ..ledger::Config::default() };
        stored.journal.dir = dir.path().join("journal");
        let (store, _) = ledger::Store::open(stored, clock.clone(), meta.clone(), 1).await.unwrap();
        let (stop, halt) = (Shutdown::new(), Shutdown::new());
        let tasks = Tasks::new(stop.clone());
        let addresses =
            Addresses { broker_url: "pulsar://127.0.0.1:1".to_owned(), web_url: format!("http://127.0.0.1:{port}") };
        let settings = broker::Config::default();
        let broker = Broker::start(settings, addresses, store, meta, clock, &tasks, halt.clone()).await.unwrap();
        let meshes = if functions { Some(meshes(&dir.path().join("functions"), port).await) } else { None };
        let services = admin::Services { broker: broker.clone(), meshes };
        let serving = Some(tokio::spawn(admin::serve(listener, services, config, stop.clone())));
        Self { broker, port, stop, serving, halt, _tasks: tasks, _dir: dir }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
        answer
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.request(method, path, "Host: localhost\r\nContent-Type: application/json\r\n", body.as_bytes()).await
    }

    /// A request with these headers, each with the end of its line.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n");
        let bytes = self.raw(&[head.as_bytes(), body].concat()).await;
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("headers end");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
        Answer { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    /// A request that succeeds without an answer.
    pub(crate) async fn done(&self, method: &str, path: &str, body: &str) {
        let answer = self.send(method, path, body).await;
        assert_eq!(answer.status, 204, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
    }

    /// Publishes entries as a client does; returns when they are durable.
    pub(crate) async fn publish(&self, topic: &str, entries: &[(MessageMetadata, &[u8])]) {
        let info = PeerInfo { address: "test".into(), client_version: "test".into(), protocol_version: 21 };
        let (peer, mut told) = self.broker.connect(info);
        let producer = NewProducer {
            topic: topic.parse().unwrap(),
            producer_id: 1,
            request_id: 1,
            name: Some("p".to_owned()),
            epoch: 0,
            user_provided_name: true,
            access_mode: model::AccessMode::Shared,
            topic_epoch: None,
            metadata: Default::default(),
            schema: None,
            initial_subscription: None,
            encrypted: false,
        };
        let (producer, _) = self.broker.create_producer(&peer, producer).await.unwrap();
        let mut requests = self.broker.requests();
        for (n, (metadata, payload)) in (0..).zip(entries) {
            let entry = wire::entry::encode_entry(metadata, payload);
            let messages = u32::try_from(metadata.num_messages_in_batch.unwrap_or(1)).unwrap();
            requests.publish(&producer, n, n, messages, false, entry);
        }
        self.broker.submit(&peer, &mut requests);
        let mut receipts = 0;
        while receipts < entries.len() {
            let all = tokio::time::timeout(PATIENCE, told.recv()).await.expect("receipts in time").unwrap();
            for one in all {
                if let Outgoing::Receipts { count, .. } = one {
                    receipts += count as usize;
                }
            }
        }
        producer.close().await;
        self.broker.disconnect(&peer);
    }
}

pub(crate) fn entry(payload: &[u8], change: impl FnOnce(&mut MessageMetadata)) -> (MessageMetadata, &[u8]) {
    let mut metadata = MessageMetadata {
        producer_name: "p".to_owned(),
        publish_time: 1_700_000_000_123,
        ..MessageMetadata::default()
    };
    change(&mut metadata);
    (metadata, payload)
}

/// Bytes for [`Server::publish`] to hold on to.
pub(crate) fn batch(messages: &[&str]) -> Bytes {
    let mut builder = wire::batch::Builder::default();
    for message in messages {
        builder.push(wire::proto::SingleMessageMetadata::default(), message.as_bytes());
    }
    builder.take()
}
