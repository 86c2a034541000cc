//! A broker on a temporary directory, and connections that remember what they are told.

use broker::{
    Ack, Broker, Config, ConsumerHandle, Delivery, NewConsumer, NewProducer, Outgoing, Peer, PeerInfo, ProducerHandle,
    Requests,
};
use bytes::Bytes;
use model::{AccessMode, InitialPosition, Position, SubscriptionType, TopicName};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::mpsc;

pub(crate) struct TestBroker {
    pub(crate) broker: Broker,
    pub(crate) shutdown: seams::Shutdown,
    tasks: seams::Tasks,
    pub(crate) store: ledger::Store,
    pub(crate) dir: Option<tempfile::TempDir>,
}

impl TestBroker {
    pub(crate) async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        Self::open(config, tempfile::tempdir().expect("a temporary directory")).await
    }

    pub(crate) async fn open(config: Config, dir: tempfile::TempDir) -> Self {
        let journal = journal::Config { dir: dir.path().join("journal"), ..journal::Config::default() };
        let files = journal::Directory::open(&journal.dir, journal.direct).expect("a journal directory");
        let ledger = ledger::Config { dir: dir.path().to_owned(), journal, ..ledger::Config::default() };
        Self::open_on(config, ledger, dir, Arc::new(files)).await
    }

    /// The same with the journal on `files`, as `ledger` says.
    pub(crate) async fn open_on(
        config: Config,
        ledger: ledger::Config,
        dir: tempfile::TempDir,
        files: Arc<dyn journal::Files>,
    ) -> Self {
        let shutdown = seams::Shutdown::new();
        let tasks = seams::Tasks::new(shutdown.clone());
        let clock: Arc<dyn seams::Clock> = Arc::new(seams::SystemClock::new());
        // What still runs of a broker that was killed may have it open.
        let mut tries = 0..500;
        let meta: Arc<dyn metastore::Metastore> = loop {
            match metastore::FileStore::open(&dir.path().join("metadata")) {
                Ok(meta) => break Arc::new(meta),
                Err(error) if tries.next().is_none() => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let store = loop {
            let (ledger, files) = (ledger.clone(), files.clone());
            match ledger::Store::open_on(ledger, files, clock.clone(), meta.clone(), 1).await {
                Ok((store, _)) => break store,
                Err(ledger::Error::Catalog(_)) if tries.next().is_some() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let broker =
            Broker::start(config, broker::Addresses::default(), store.clone(), meta, clock, &tasks, shutdown.clone())
                .await
                .expect("a broker");
        Self { broker, shutdown, tasks, store, dir: Some(dir) }
    }

    /// Stops without closing anything; connections must be gone.
    pub(crate) async fn kill(mut self) -> tempfile::TempDir {
        let dir = self.dir.take().expect("kept until now");
        self.shutdown.trigger();
        self.tasks.join_all(Duration::from_secs(10)).await;
        dir
    }

    /// Stops as SIGTERM does, and starts again on the same directory.
    pub(crate) async fn restart(mut self) -> Self {
        let dir = self.dir.take().expect("kept until now");
        self.broker.close().await;
        self.shutdown.trigger();
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.store.clone().close().await.expect("a clean close");
        drop(self);
        tokio::time::sleep(Duration::from_millis(50)).await;
        Self::open(Config::default(), dir).await
    }

    pub(crate) fn connect(&self) -> Connection {
        let info = PeerInfo { address: "test".into(), client_version: "test".into(), protocol_version: 21 };
        let (peer, receiver) = self.broker.connect(info);
        Connection {
            broker: self.broker.clone(),
            peer,
            receiver,
            told: VecDeque::new(),
            requests: self.broker.requests(),
        }
    }
}

/// One connection. What it is told is kept until a test asks for it.
pub(crate) struct Connection {
    pub(crate) broker: Broker,
    pub(crate) peer: Arc<Peer>,
    receiver: mpsc::UnboundedReceiver<Vec<Outgoing>>,
    told: VecDeque<Outgoing>,
    requests: Requests,
}

pub(crate) fn topic(name: &str) -> TopicName {
    name.parse().expect("a topic name")
}

pub(crate) fn new_producer(name: &str, id: u64) -> NewProducer {
    NewProducer {
        topic: topic(name),
        producer_id: id,
        request_id: id,
        name: Some(format!("p{id}")),
        epoch: 0,
        user_provided_name: true,
        access_mode: AccessMode::Shared,
        topic_epoch: None,
        metadata: Default::default(),
        schema: None,
        initial_subscription: None,
        encrypted: false,
    }
}

pub(crate) fn new_consumer(name: &str, kind: SubscriptionType, id: u64) -> NewConsumer {
    NewConsumer {
        topic: topic(name),
        subscription: "s".into(),
        kind,
        consumer_id: id,
        name: format!("c{id}"),
        priority_level: 0,
        durable: true,
        start_message_id: None,
        start_rollback: None,
        initial_position: InitialPosition::Earliest,
        read_compacted: false,
        force_topic_creation: true,
        replicate_subscription_state: false,
        metadata: Default::default(),
        subscription_properties: Default::default(),
        key_shared: None,
        schema: None,
        epoch: None,
        gives_back: false,
    }
}

/// An entry of one message whose payload is `text`, with a key.
pub(crate) fn entry(sequence: u64, key: &str, text: &str) -> Bytes {
    let metadata = wire::proto::MessageMetadata {
        producer_name: "p".into(),
        sequence_id: sequence,
        publish_time: 1,
        partition_key: Some(key.into()),
        ..Default::default()
    };
    wire::entry::encode_entry(&metadata, text.as_bytes())
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(wire::entry::payload(&delivery.data).expect("an entry").to_vec()).expect("text")
}

impl Connection {
    pub(crate) async fn producer(&self, name: &str, id: u64) -> ProducerHandle {
        self.broker.create_producer(&self.peer, new_producer(name, id)).await.expect("a producer").0
    }

    pub(crate) async fn consumer(&self, name: &str, kind: SubscriptionType, id: u64) -> ConsumerHandle {
        let consumer = self.broker.subscribe(&self.peer, new_consumer(name, kind, id)).await.expect("a consumer");
        consumer.flow(1000);
        consumer
    }

    pub(crate) fn send(&mut self, producer: &ProducerHandle, sequence: u64, messages: u32, data: Bytes) {
        self.requests.publish(producer, sequence, sequence, messages, false, data);
        self.broker.submit(&self.peer, &mut self.requests);
    }

    /// Publishes messages `m0..mn` with the keys given in turn, and waits for their receipts.
    pub(crate) async fn publish(
        &mut self,
        producer: &ProducerHandle,
        range: std::ops::Range<u64>,
        keys: &[&str],
    ) -> Vec<Position> {
        for n in range.clone() {
            let key = keys[n as usize % keys.len()];
            self.send(producer, n, 1, entry(n, key, &format!("m{n}")));
        }
        let mut positions = Vec::new();
        while positions.len() < (range.end - range.start) as usize {
            let outgoing = self.next(|o| matches!(o, Outgoing::Receipts { .. })).await;
            if let Outgoing::Receipts { position, count, .. } = outgoing {
                positions.extend((0..i64::from(count)).map(|n| Position::new(position.ledger, position.entry + n)));
            }
        }
        positions
    }

    /// The next thing this connection is told that `wanted` accepts; others wait for their turn.
    pub(crate) async fn next(&mut self, wanted: impl Fn(&Outgoing) -> bool) -> Outgoing {
        match tokio::time::timeout(Duration::from_secs(10), self.find(wanted)).await {
            Ok(found) => found,
            Err(_) => panic!("not told within ten seconds; told meanwhile: {:?}", self.told),
        }
    }

    /// All that was told so far and not asked for.
    pub(crate) fn hear(&mut self) -> VecDeque<Outgoing> {
        self.was_told_by_now(|_| false);
        std::mem::take(&mut self.told)
    }

    /// Whether what was told so far, and not asked for, has this in it.
    pub(crate) fn was_told(&self, wanted: impl Fn(&Outgoing) -> bool) -> bool {
        self.told.iter().any(wanted)
    }

    /// The same, with what has been said and not looked at.
    pub(crate) fn was_told_by_now(&mut self, wanted: impl Fn(&Outgoing) -> bool) -> bool {
        while let Ok(batch) = self.receiver.try_recv() {
            for outgoing in batch {
                self.peer.written(outgoing.bytes());
                self.told.push_back(outgoing);
            }
        }
        self.was_told(wanted)
    }

    async fn find(&mut self, wanted: impl Fn(&Outgoing) -> bool) -> Outgoing {
        loop {
            if let Some(at) = self.told.iter().position(&wanted) {
                return self.told.remove(at).expect("it is there");
            }
            let batch = self.receiver.recv().await.expect("the broker runs");
            for outgoing in batch {
                self.peer.written(outgoing.bytes());
                self.told.push_back(outgoing);
            }
        }
    }

    /// The next `n` messages for a consumer.
    pub(crate) async fn receive(&mut self, consumer: u64, n: usize) -> Vec<Delivery> {
        let mut all = Vec::new();
        while all.len() < n {
            let outgoing =
                self.next(|o| matches!(o, Outgoing::Deliver { consumer_id, .. } if *consumer_id == consumer)).await;
            if let Outgoing::Deliver { entries, .. } = outgoing {
                all.extend(entries);
            }
        }
        assert_eq!(all.len(), n, "more was delivered than asked for");
        all
    }

    pub(crate) async fn texts(&mut self, consumer: u64, n: usize) -> Vec<String> {
        self.receive(consumer, n).await.iter().map(text).collect()
    }

    /// Nothing is delivered to this connection for a while.
    pub(crate) async fn silent(&mut self) {
        let found =
            tokio::time::timeout(Duration::from_millis(150), self.find(|o| matches!(o, Outgoing::Deliver { .. })));
        if let Ok(delivered) = found.await {
            panic!("unexpected {delivered:?}");
        }
    }

    /// Acknowledges and waits until that is durable.
    pub(crate) async fn ack(&mut self, consumer: &ConsumerHandle, positions: &[Position]) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let request = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let ids = positions.iter().map(|&p| (p, Default::default())).collect();
        consumer.ack(Ack { cumulative: false, ids, request_id: Some(request), validation_error: false });
        self.next(|o| matches!(o, Outgoing::AckResponse { request_id, error: None, .. } if *request_id == request))
            .await;
    }
}
