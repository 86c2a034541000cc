//! Messages that go on to another broker, with both killed under them.

use client::{Batching, Client, Message, Outgoing, Producer, Start};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    future::Future,
    time::{Duration, Instant},
};
use wire::proto;

use crate::{
    Running,
    remote::{command, http},
    start,
};

/// Longer than anything takes on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Long enough for what should not come, if it did.
const SILENCE: Duration = Duration::from_millis(700);

/// A process, its data, and a client that finds it again after a kill.
pub(crate) struct Broker {
    running: Option<Running>,
    dir: tempfile::TempDir,
    port: String,
    pub(crate) client: Client,
}

impl Broker {
    /// One that deduplicates, and keeps all.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let running = start(command(dir.path(), "0"));
        let port = running.broker.rsplit_once(':').unwrap().1.to_owned();
        let client = Client::connect(&format!("pulsar://{}", running.broker)).await.unwrap();
        let broker = Self { running: Some(running), dir, port, client };
        broker.rest("POST", "/admin/v2/namespaces/public/default/deduplication", "true").await;
        // Nobody is subscribed to what comes, and all of it is looked at in the end.
        let for_ever = r#"{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}"#;
        broker.rest("POST", "/admin/v2/namespaces/public/default/retention", for_ever).await;
        broker
    }

    pub(crate) fn url(&self) -> String {
        format!("pulsar://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn rest(&self, method: &str, path: &str, body: &str) {
        http(&self.running.as_ref().expect("it runs").web, method, path, body).await;
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // Dropped, it is.
        self.running = None;
    }

    pub(crate) fn start_again(&mut self) {
        self.running = Some(start(command(self.dir.path(), &self.port)));
    }

    /// A command line with this broker's address.
    pub(crate) fn run(&self, arguments: &[&str]) -> (bool, String) {
        self.running.as_ref().expect("it runs").run(arguments)
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let (is_done, said) = self.run(arguments);
        assert!(is_done, "{arguments:?}: {said}");
        said
    }

    fn forward(&self, name: &str, input: &str, there: &Self, topic: &str, options: &[&str]) -> (bool, String) {
        let configs = json!({"serviceUrl": there.url(), "topic": topic}).to_string();
        let sink = ["sinks", "create", "--name", name, "--sink-type", "pulsar", "--inputs", input];
        let rest = ["--sink-config", &configs, "--subs-position", "Earliest"];
        self.run(&[&sink[..], &rest, options].concat())
    }

    pub(crate) async fn producer(&self, topic: &str) -> Producer {
        let batching = Batching { messages: 7, ..Batching::default() };
        self.client.producer(topic).name("test").batching(batching).create().await.unwrap()
    }

    /// The first messages of a topic, and those that come soon after.
    pub(crate) async fn all(&self, topic: &str, count: usize) -> Vec<Message> {
        let reader = self.client.reader(topic).start(Start::Earliest).open().await.unwrap();
        let mut found = Vec::new();
        while found.len() < count {
            let next = tokio::time::timeout(PATIENCE, reader.next()).await;
            let Ok(next) = next else { panic!("{} of {count} came", found.len()) };
            found.push(next.unwrap());
        }
        while let Ok(next) = tokio::time::timeout(SILENCE, reader.next()).await {
            found.push(next.unwrap());
        }
        found
    }

    /// The status of one of the `functions` or `sinks`, when this holds.
    pub(crate) async fn until(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.done(&[kind, "status", "--name", name, "--output", "json"]);
            let status: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The same of its first instance, of a sink.
    async fn first_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        first(&self.until("sinks", name, what, |status| holds(first(status))).await).clone()
    }
}

/// Of the first instance, what the status says.
pub(crate) fn first(status: &Value) -> &Value {
    &status["instances"][0]["status"]
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

/// Numbers, some alone, some in batches; what to wait for until they are stored.
pub(crate) async fn publish(producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<client::Publication> {
    let mut publications = Vec::new();
    for number in numbers {
        let key = (number % 5).to_string();
        publications.push(producer.enqueue(Outgoing::new(number.to_string()).key(key)).await.unwrap());
        if number % 10 == 0 {
            producer.close_batches();
        }
    }
    publications
}

pub(crate) async fn stored(publications: Vec<client::Publication>) {
    for publication in publications {
        soon(publication).await.unwrap();
    }
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens soon")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_at_the_other_broker_once_and_in_its_place_whoever_is_killed() {
    let (mut here, mut there) = (Broker::start().await, Broker::start().await);
    let once = ["--processing-guarantees", "EFFECTIVELY_ONCE"];
    let (created, said) = here.forward("out", "in", &there, "persistent://public/default/out", &once);
    assert!(created, "{said}");
    assert!(here.done(&["sinks", "status", "--name", "out"]).contains("once, in order, where the other broker"));
    let producer = here.producer("in").await;
    let mut waiting = Vec::new();
    for round in 0..6 {
        waiting.extend(publish(&producer, round * 500..(round + 1) * 500).await);
        tokio::time::sleep(Duration::from_millis(150)).await;
        match round % 3 {
            0 => {
                there.kill();
                there.start_again();
            }
            1 => {
                here.kill();
                here.start_again();
            }
            _ => {
                here.kill();
                there.kill();
                there.start_again();
                here.start_again();
            }
        }
    }
    stored(waiting).await;
    let found = texts(&there.all("persistent://public/default/out", 3000).await);
    assert_eq!(found, (0..3000).map(|n| n.to_string()).collect::<Vec<_>>());
    here.first_until("out", "all is forwarded", |status| status["numWrittenToSink"] == status["numReadFromPulsar"])
        .await;
    // An acknowledgement nobody waits for may take a moment; then nothing is left.
    tokio::time::sleep(SILENCE).await;
    here.kill();
    here.start_again();
    stored(publish(&producer, 3000..3001).await).await;
    let status = here.first_until("out", "one more", |status| status["numWrittenToSink"] != 0).await;
    assert_eq!(status["numReadFromPulsar"], 1, "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_other_broker_is_away_messages_wait_and_the_status_says_so() {
    let (here, mut there) = (Broker::start().await, Broker::start().await);
    there.kill();
    let (created, said) = here.forward("out", "in", &there, "out", &["--retain-ordering"]);
    assert!(created, "{said}");
    let producer = here.producer("in").await;
    stored(publish(&producer, 0..100).await).await;
    let status = here
        .first_until("out", "it says so", |status| {
            status["numSystemExceptions"].as_u64().is_some_and(|count| count > 1)
        })
        .await;
    assert_eq!(status["running"], true);
    let says = status["latestSystemExceptions"][0]["exceptionString"].as_str().unwrap();
    assert!(says.contains("public/default/in is not forwarded: connect to 127.0.0.1"), "{says}");
    there.start_again();
    let found = texts(&there.all("out", 100).await);
    assert_eq!(found, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    // It ends when it is asked to, and goes on where it was.
    here.done(&["sinks", "stop", "--name", "out"]);
    stored(publish(&producer, 100..110).await).await;
    here.done(&["sinks", "start", "--name", "out"]);
    assert_eq!(there.all("out", 110).await.len(), 110);
    here.done(&["sinks", "delete", "--name", "out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_keeps_what_it_has() {
    let (here, there) = (Broker::start().await, Broker::start().await);
    there.rest("PUT", "/admin/v2/persistent/public/default/out/partitions", "3").await;
    let schema = proto::Schema {
        name: String::new(),
        schema_data:
            br#"{"type":"record","name":"R","fields":[{"name":"n","type":"int","default":0}]}"#.to_vec().into(),
        r#type: proto::schema::Type::Json as i32,
        properties: Vec::new(),
    };
    // Its versions are others there.
    let other =
        proto::Schema { schema_data: br#"{"type":"record","name":"R","fields":[]}"#.to_vec().into(), ..schema.clone() };
    there.client.put_schema(&"persistent://public/default/out".parse().unwrap(), other).await.unwrap();
    let batching = Batching { delay: Duration::from_secs(60), ..Batching::default() };
    let producer = here.client.producer("in").schema(schema.clone()).batching(batching);
    let producer = producer.compression(client::CompressionType::Zstd).create().await.unwrap();
    let mut waiting = Vec::new();
    for n in 0..20 {
        let message = Outgoing {
            ordering_key: Some(vec![n].into()),
            event_time_ms: Some(1000 + u64::from(n)),
            ..Outgoing::new(format!("{{\"n\":{n}}}")).key(format!("k{}", n % 4)).property("p", n.to_string())
        };
        waiting.push(producer.enqueue(message).await.unwrap());
    }
    producer.close_batches();
    stored(waiting).await;
    let once = ["--processing-guarantees", "EFFECTIVELY_ONCE"];
    let (created, said) = here.forward("out", "in", &there, "out", &once);
    assert!(created, "{said}");
    let found = there.all("out", 20).await;
    assert_eq!(found.len(), 20);
    let mut by_key: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for message in &found {
        let n = message.ordering_key.as_ref().unwrap()[0];
        let key = message.key.clone().unwrap();
        assert_eq!(key, format!("k{}", n % 4));
        let partition = message.id.partition;
        assert_eq!(usize::try_from(partition).unwrap(), client::partition_of(&key, 3), "a key has its partition");
        assert_eq!(message.event_time_ms, Some(1000 + u64::from(n)));
        assert_eq!(message.properties, [("p".to_owned(), n.to_string())]);
        assert_eq!(message.payload, format!("{{\"n\":{n}}}"));
        let version = message.schema_version.clone().expect("it has a schema");
        let topic = message.topic.parse().unwrap();
        let found = there.client.schema(&topic, version).await.unwrap().expect("which is there");
        assert_eq!(found.schema_data, schema.schema_data);
        by_key.entry(key).or_default().push(n);
    }
    for numbers in by_key.values() {
        assert!(numbers.is_sorted(), "{by_key:?}");
    }
    here.first_until("out", "messages are counted", |status| status["numWrittenToSink"] == 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_forwarded_is_refused_with_all_reasons() {
    let here = Broker::start().await;
    let (created, said) = here.run(&[
        "sinks",
        "create",
        "--name",
        "out",
        "--sink-type",
        "pulsar",
        "--inputs",
        "in",
        "--processing-guarantees",
        "ATMOST_ONCE",
        "--sink-config",
        r#"{"serviceUrl": "http://there:8080", "topic": "a/b", "tokn": "x"}"#,
    ]);
    assert!(!created);
    for reason in ["it is the web service's", "`topic` \"a/b\"", "did you mean `token`?", "ATMOST_ONCE is not possible"]
    {
        assert!(said.contains(reason), "{reason}: {said}");
    }
    let circle = here.forward("out", "in", &here, "in", &[]);
    assert!(!circle.0 && circle.1.contains("would never end"), "{circle:?}");
}
