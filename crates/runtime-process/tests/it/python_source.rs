//! Sources in Python.

use functions::{
    Kind, Record,
    runtime::{Event, Exit, Request},
};

use crate::{kit::*, python::Kit};

const NUMBERS: &str = r#"
import threading
from geminga import Record

class Numbers:
    def read(self, context):
        self.told = threading.Semaphore(0)
        self.heard = []
        first = int(context.get_user_config_value("first"))
        yield Record("n%d" % first, key="k", properties={"a": "b"}, event_time_ms=7, topic="elsewhere", stored=self.stored)
        yield Record("n%d" % (first + 1), refused=self.refused)
        yield "plain"
        self.told.acquire()
        self.told.acquire()
        yield " ".join(self.heard)
        try:
            while True:
                threading.Event().wait(0.2)
        finally:
            print("cleaned up")

    def stored(self):
        self.heard.append("stored")
        self.told.release()

    def refused(self, why):
        self.heard.append("refused: " + why)
        self.told.release()

    def close(self):
        print("closed")
"#;

async fn start(kit: &Kit, text: &str, class_name: &str) -> Result<Running, String> {
    let mut spec = kit.spec(text, class_name);
    spec.kind = Kind::Source;
    spec.inputs.clear();
    spec.user_config = serde_json::json!({"first": "3"}).as_object().unwrap().clone();
    kit.run(spec).await
}

async fn emitted(source: &mut Running) -> (u64, Record) {
    match source.next().await {
        Event::Emit { id, record } => (id, record),
        other => panic!("a record was expected: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_source_yields_is_emitted_and_it_hears_of_what_is_durable() {
    let kit = Kit::new();
    let mut source = start(&kit, NUMBERS, "code.Numbers").await.unwrap();
    let (id, first) = emitted(&mut source).await;
    assert_eq!((id, &first.payload[..], first.topic.as_deref()), (1, &b"n3"[..], Some("elsewhere")));
    assert_eq!((first.key.unwrap().text, first.event_time_ms), ("k".to_owned(), 7));
    let (_, second) = emitted(&mut source).await;
    assert_eq!((&second.payload[..], second.topic.is_some(), second.key.is_some()), (&b"n4"[..], false, false));
    assert_eq!(&emitted(&mut source).await.1.payload[..], b"plain");
    source.request(Request::Emitted { ids: vec![1], error: None }).await;
    source.request(Request::Emitted { ids: vec![2], error: Some("no space".into()) }).await;
    assert_eq!(&emitted(&mut source).await.1.payload[..], b"stored refused: no space");
    let (exit, logs) = source.stop().await;
    assert!(exit.is_clean, "{exit:?}");
    for line in ["cleaned up", "closed"] {
        assert!(logs.iter().any(|log| log.message == line), "{line} is not in {logs:?}");
    }
}

#[tokio::test]
async fn a_source_has_a_thousand_on_their_way_at_most() {
    let kit = Kit::new();
    let text = "def read(context):\n    n = 0\n    while True:\n        n += 1\n        yield n\n";
    let mut source = start(&kit, text, "").await.unwrap();
    for expected in 1..=1000 {
        assert_eq!(emitted(&mut source).await.0, expected);
    }
    source.request(Request::Emitted { ids: vec![1], error: None }).await;
    assert_eq!(emitted(&mut source).await.0, 1001);
    assert!(source.stop().await.0.is_clean);
}

#[tokio::test]
async fn a_source_that_throws_ends_and_says_why() {
    let kit = Kit::new();
    let text = "def read(context):\n    yield 'last'\n    raise OSError('the queue is gone')\n";
    let mut source = start(&kit, text, "code").await.unwrap();
    assert_eq!(&emitted(&mut source).await.1.payload[..], b"last");
    let exit: Exit = source.exit().await;
    assert!(!exit.is_clean && exit.reason.contains("the queue is gone"), "{exit:?}");
}

#[tokio::test]
async fn what_is_no_source_is_refused() {
    let kit = Kit::new();
    let why = start(&kit, "class No:\n    pass\n", "code.No").await.map(drop).unwrap_err();
    assert!(why.contains("neither a class with a method read, nor a function"), "{why}");
    let why = start(&kit, "def one(context):\n    return 1\n", "code.one").await.map(drop).unwrap_err();
    assert!(why.contains("use yield"), "{why}");
}
