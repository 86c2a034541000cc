//! A broker with its session on a free port, and a client that speaks frames.

use broker::{Addresses, Broker};
use bytes::{Bytes, BytesMut};
use seams::{Shutdown, SystemClock, Tasks};
use session::{Config, Session};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wire::{
    Incoming, encode, entry,
    proto::{self, BaseCommand, MessageMetadata, base_command::Type},
};

/// Long enough for a slow machine, short enough to see what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) session: Session,
    pub(crate) port: u16,
    pub(crate) stop: Shutdown,
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

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default(), broker::Config::default()).await
    }

    pub(crate) async fn with(config: Config, broker: broker::Config) -> Self {
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
            Addresses { broker_url: format!("pulsar://127.0.0.1:{port}"), web_url: "http://127.0.0.1:1".to_owned() };
        let broker = Broker::start(broker, addresses, store, meta, clock, &tasks, halt.clone()).await.unwrap();
        let session = Session::new(config, broker.clone(), stop.clone());
        let serving = session.clone();
        tasks.spawn("listener", async move { serving.serve(listener).await });
        Self { broker, session, port, stop, halt, _tasks: tasks, _dir: dir }
    }

    /// A connection that has said nothing.
    pub(crate) async fn raw(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        Client { stream, buf: BytesMut::new(), out: BytesMut::new() }
    }

    /// A connection after its handshake.
    pub(crate) async fn connect(&self) -> Client {
        let mut client = self.raw().await;
        client.send(&connect()).await;
        client.expect(Type::Connected).await;
        client
    }
}

pub(crate) fn connect() -> proto::CommandConnect {
    proto::CommandConnect { client_version: "test".into(), protocol_version: Some(21), ..Default::default() }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buf: BytesMut,
    out: BytesMut,
}

impl Client {
    pub(crate) async fn send(&mut self, command: &impl wire::Command) {
        encode::put(&mut self.out, command);
        self.flush().await;
    }

    /// Adds a SEND to what the next flush writes.
    pub(crate) fn publish(&mut self, producer: u64, sequence: u64, entry: &Bytes) {
        encode::send_header(&mut self.out, producer, sequence, None, 1, false, None, entry.len());
        self.out.extend_from_slice(entry);
    }

    pub(crate) async fn flush(&mut self) {
        let out = self.out.split();
        self.stream.write_all(&out).await.unwrap();
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame and what follows its command, or `None` when the broker closed the connection.
    pub(crate) async fn next(&mut self) -> Option<(BaseCommand, Option<Bytes>)> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("the broker says nothing")
    }

    async fn read(&mut self) -> Option<(BaseCommand, Option<Bytes>)> {
        loop {
            match wire::next_frame(&mut self.buf, 32 << 20).unwrap() {
                Some(Incoming::Command(command, entry)) => return Some((*command, entry)),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            match self.stream.read_buf(&mut self.buf).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next frame, which is of this type.
    pub(crate) async fn expect(&mut self, kind: Type) -> BaseCommand {
        self.expect_entry(kind).await.0
    }

    pub(crate) async fn expect_entry(&mut self, kind: Type) -> (BaseCommand, Option<Bytes>) {
        let next = self.next().await.expect("closed");
        assert_eq!(Type::try_from(next.0.r#type), Ok(kind), "{:?}", next.0);
        next
    }

    /// The broker says nothing more and closes.
    pub(crate) async fn expect_closed(&mut self) {
        if let Some((command, _)) = self.next().await {
            panic!("{command:?}");
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, command: &impl wire::Command, answer: Type) -> BaseCommand {
        self.send(command).await;
        self.expect(answer).await
    }

    pub(crate) async fn producer(&mut self, topic: &str, id: u64) -> proto::CommandProducerSuccess {
        self.ask(&producer(topic, id), Type::ProducerSuccess).await.producer_success.unwrap()
    }

    pub(crate) async fn subscribe(&mut self, topic: &str, subscription: &str, id: u64) {
        self.ask(&subscribe(topic, subscription, id), Type::Success).await;
    }
}

pub(crate) fn producer(topic: &str, id: u64) -> proto::CommandProducer {
    proto::CommandProducer { topic: topic.into(), producer_id: id, request_id: 100 + id, ..Default::default() }
}

pub(crate) fn subscribe(topic: &str, subscription: &str, id: u64) -> proto::CommandSubscribe {
    proto::CommandSubscribe {
        topic: topic.into(),
        subscription: subscription.into(),
        consumer_id: id,
        request_id: 200 + id,
        sub_type: 1,
        initial_position: Some(1),
        ..Default::default()
    }
}

pub(crate) fn message(payload: &[u8]) -> Bytes {
    let metadata = MessageMetadata { producer_name: "p".into(), sequence_id: 0, publish_time: 1, ..Default::default() };
    entry::encode_entry(&metadata, payload)
}
