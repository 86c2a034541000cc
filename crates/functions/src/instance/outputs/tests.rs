//! Which producers are opened, under which names, and which are closed again.

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeSet;

use super::*;
use crate::{
    Commit,
    event_log::{Arrived, InputSpec},
    message::{Key, MessageId},
    testing,
};

/// A broker that writes down which producers it is asked for.
#[derive(Clone, Default)]
struct Book {
    shared: Arc<Mutex<Page>>,
}

#[derive(Default)]
struct Page {
    opened: Vec<OutputSpec>,
    partitions: u32,
    /// Its topics cannot be opened.
    refuses: bool,
}

#[async_trait]
impl EventLog for Book {
    async fn session(&self, _: &str) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }

    async fn partitions(&self, _: &TopicName) -> Result<u32> {
        Ok(self.shared.lock().partitions)
    }

    async fn matching(&self, _: &str, _: &str) -> Result<Vec<TopicName>> {
        Ok(Vec::new())
    }

    async fn unsubscribe(&self, _: &TopicName, _: &str) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Session for Book {
    async fn subscribe(&mut self, _: InputSpec) -> Result<InputId> {
        unreachable!("nothing is read here")
    }

    async fn open_output(&mut self, output: OutputSpec) -> Result<OutputId> {
        let mut page = self.shared.lock();
        if page.refuses {
            return Err(Error::Broker("not now".to_owned()));
        }
        page.opened.push(output);
        Ok(page.opened.len() as OutputId - 1)
    }

    fn flow(&mut self, _: InputId, _: u32) {}

    async fn next(&mut self) -> Result<Arrived> {
        std::future::pending().await
    }

    fn commit(&mut self, _: Commit) -> BoxFuture<'static, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn redeliver(&mut self, _: &[(InputId, MessageId)]) {}

    fn max_message_bytes(&self) -> usize {
        usize::MAX
    }
}

/// Outputs, and what they open.
struct Bench {
    outputs: Outputs,
    book: Book,
    session: Box<dyn Session>,
}

impl Bench {
    fn new() -> Self {
        let book = Book::default();
        let outputs = Outputs::new(Arc::new(book.clone()), Arc::new(testing::spec("f")), 0, None);
        Self { outputs, session: Box::new(book.clone()), book }
    }

    /// Publishes a message of this schema.
    async fn publish(&mut self, topic: &str, schema: Option<Schema>) -> Result<OutputId> {
        let record = Record { schema: schema.map(Arc::new), ..Record::default() };
        self.outputs.route(&mut self.session, topic, &record, None).await
    }

    /// The name of the producer that publishes once what a message of input 7 has come to.
    async fn name(&mut self, schema: Option<Schema>) -> String {
        let record = Record { schema: schema.map(Arc::new), ..Record::default() };
        let once = testing::message(7, 1);
        let output = self.outputs.route(&mut self.session, "out", &record, Some(&once)).await.unwrap();
        self.book.shared.lock().opened[output as usize].producer.clone().unwrap()
    }

    /// The topic of a producer.
    fn topic(&self, output: OutputId) -> String {
        self.book.shared.lock().opened[output as usize].topic.local().to_owned()
    }

    fn opened(&self) -> usize {
        self.book.shared.lock().opened.len()
    }
}

fn schema(kind: Kind, definition: &'static str, properties: &[(&str, &str)]) -> Option<Schema> {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(Schema { kind: kind.wire(), definition: definition.into(), properties })
}

#[tokio::test]
async fn one_schema_is_one_producer_and_one_producer_has_one_name() {
    let mut bench = Bench::new();
    let pair = |value| {
        schema(Kind::KeyValue, "\0\0\0\0\0\0\0\0", &[("key.schema.type", "STRING"), ("value.schema.type", value)])
    };
    let all = [
        None,
        schema(Kind::String, "", &[]),
        schema(Kind::Int32, "", &[]),
        schema(Kind::Boolean, "", &[]),
        schema(Kind::Json, "{}", &[]),
        schema(Kind::Avro, "{}", &[]),
        schema(Kind::Json, "[]", &[]),
        pair("STRING"),
        pair("INT32"),
    ];
    let mut names = BTreeSet::new();
    for schema in &all {
        names.insert(bench.name(schema.clone()).await);
    }
    assert_eq!((names.len(), bench.opened()), (all.len(), all.len()), "{names:?}");
    for schema in all {
        names.insert(bench.name(schema).await);
    }
    assert_eq!((names.len(), bench.opened()), (9, 9), "they are open");
}

/// What a broker knows is what was published under a name: with another one it would be published again after an update of this program.
#[tokio::test]
async fn names_are_those_that_were_given_before_they_had_the_kind_in_them() {
    let mut bench = Bench::new();
    let of_input = "public/default/f-persistent://public/default/in";
    assert_eq!(bench.name(None).await, of_input);
    assert_eq!(bench.name(schema(Kind::String, "", &[])).await, format!("{of_input}-00000000"));
    let hash = wire::entry::murmur3_32(b"{}");
    let properties = [("__alwaysAllowNull", "true")];
    assert_eq!(bench.name(schema(Kind::Json, "{}", &properties)).await, format!("{of_input}-{hash:08x}"));
}

#[tokio::test]
async fn a_topic_that_is_open_takes_another_schema_however_many_topics_are() {
    let mut bench = Bench::new();
    for n in 0..TOPICS_MAX {
        bench.publish(&format!("out-{n}"), None).await.unwrap();
    }
    assert!(matches!(bench.publish("one-more", None).await, Err(Error::Invalid(_))));
    bench.publish("out-0", schema(Kind::String, "", &[])).await.unwrap();
    bench.publish("out-0", None).await.unwrap();
}

#[tokio::test]
async fn a_topic_takes_so_many_schemas() {
    let mut bench = Bench::new();
    let of = |n: usize| schema(Kind::String, "", &[("n", &n.to_string())]);
    for n in 0..SCHEMAS_MAX {
        bench.publish("out", of(n)).await.unwrap();
    }
    assert!(matches!(bench.publish("out", of(SCHEMAS_MAX)).await, Err(Error::Invalid(_))));
    bench.publish("other", of(SCHEMAS_MAX)).await.unwrap();
}

#[tokio::test]
async fn what_is_idle_is_closed_schema_by_schema() {
    let mut bench = Bench::new();
    let mut last = Vec::new();
    for n in 0..=ROUTES_OPEN / 2 {
        assert!(!bench.outputs.are_many(), "{n} topics with two schemas each");
        let topic = format!("out-{n}");
        last = vec![
            bench.publish(&topic, None).await.unwrap(),
            bench.publish(&topic, schema(Kind::String, "", &[])).await.unwrap(),
        ];
    }
    assert!(bench.outputs.are_many());
    // Of this topic one schema was idle.
    let first = bench.publish("out-0", None).await.unwrap();
    let closed = bench.outputs.close_idle();
    assert!(!bench.outputs.are_many());
    assert_eq!(closed.len(), bench.opened() - ROUTES_OPEN / 2);
    assert!(closed.contains(&1) && !closed.contains(&first) && last.iter().all(|id| !closed.contains(id)));
    let opened = bench.opened();
    assert_eq!(bench.publish("out-0", None).await.unwrap(), first);
    assert_eq!(bench.opened(), opened, "it is open still");
    assert_ne!(bench.publish("out-0", schema(Kind::String, "", &[])).await.unwrap(), 1, "it is opened anew");
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_added_are_published_to() {
    let mut bench = Bench::new();
    bench.book.shared.lock().partitions = 2;
    let mut found = BTreeSet::new();
    for _ in 0..4 {
        let output = bench.publish("out", None).await.unwrap();
        found.insert(bench.topic(output));
    }
    assert_eq!(found.len(), 2);
    // A look that fails is in nobody's way, and not the last.
    bench.book.shared.lock().partitions = 4;
    bench.book.shared.lock().refuses = true;
    bench.publish("out", None).await.unwrap();
    assert_eq!(bench.opened(), 2, "it is not time to look yet");
    tokio::time::advance(LOOK_FOR_PARTITIONS).await;
    bench.publish("out", None).await.unwrap();
    assert_eq!(bench.opened(), 2, "it failed");
    bench.book.shared.lock().refuses = false;
    tokio::time::advance(LOOK_FOR_PARTITIONS).await;
    for _ in 0..8 {
        let output = bench.publish("out", None).await.unwrap();
        found.insert(bench.topic(output));
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), (0..4).map(|n| format!("out-partition-{n}")).collect::<Vec<_>>());
    // Keys go where those of Pulsar's producers go.
    let text = "a key".to_owned();
    let key = Some(Key { text: text.clone(), is_base64: false });
    let record = Record { key, ..Record::default() };
    let output = bench.outputs.route(&mut bench.session, "out", &record, None).await.unwrap();
    let place = (wire::entry::murmur3_32(text.as_bytes()) & (u32::MAX >> 1)) % 4;
    assert_eq!(bench.topic(output), format!("out-partition-{place}"));
}
