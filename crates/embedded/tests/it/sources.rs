//! Sources: what they emit is published, or they hear why not.

use async_trait::async_trait;
use functions::{
    FunctionSpec, Kind, Record, Runtime,
    event_log::Compression,
    runtime::{Event, InstanceSpec, Link, Request, StartError, link},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::support::{Node, function, topic};

/// Numbers of emitted records, and why they are not published.
type Heard = Arc<Mutex<BTreeMap<u64, Option<String>>>>;

/// Emits all of these at once, and then nothing.
#[derive(Clone)]
struct Emits {
    records: Vec<Record>,
    heard: Heard,
}

#[async_trait]
impl Runtime for Emits {
    async fn prepare(&self, _: &FunctionSpec) -> Result<(), StartError> {
        Ok(())
    }

    async fn start(&self, _: InstanceSpec) -> Result<Link, StartError> {
        let (link, mut end) = link();
        let code = self.clone();
        tokio::spawn(async move {
            let emit = |(id, record)| Event::Emit { id, record };
            let _ = end.events.send((1..).zip(code.records).map(emit).collect()).await;
            while let Some(request) = end.requests.recv().await {
                if let Request::Emitted { ids, error } = request {
                    code.heard.lock().unwrap().extend(ids.into_iter().map(|id| (id, error.clone())));
                }
            }
        });
        Ok(link)
    }
}

async fn emitted(node: &Node, records: Vec<Record>) -> BTreeMap<u64, Option<String>> {
    let (count, heard) = (records.len(), Heard::default());
    let mut spec = FunctionSpec { kind: Kind::Source, inputs: BTreeMap::new(), ..function("f") };
    spec.output.compression = Compression::Lz4;
    let instance = node.run_as(0, spec, Emits { records, heard: heard.clone() });
    node.until("it hears of all", || heard.lock().unwrap().len() == count || instance.status().restarts > 0).await;
    let status = instance.status();
    assert_eq!(status.restarts, 0, "{status:?}");
    let heard = heard.lock().unwrap().clone();
    let fine = heard.values().filter(|error| error.is_none()).count();
    assert_eq!((status.processed, status.system_exceptions > 0), (fine as u64, fine < count), "{status:?}");
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_at_once_may_be_more_than_one_commit_takes() {
    let node = Node::start().await;
    let all = vec![Record { payload: vec![7; 2 << 20].into(), ..Record::default() }; 40];
    let heard = emitted(&node, all).await;
    assert!(heard.len() == 40 && heard.values().all(Option::is_none), "{heard:?}");
    let stats = node.broker.topic_stats(&topic("out").parse().unwrap()).await.unwrap();
    assert_eq!(stats.msg_in_counter, 40);
    assert_eq!(node.read("out", 40).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_broker_finds_too_large_fails_alone() {
    let node = Node::start().await;
    // It is as much as may be, and compression makes noise longer.
    let most = node.broker.config().max_message_size;
    let mut noise = 1u32;
    let payload = (0..most - 200).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    });
    let large = Record { payload: payload.collect::<Vec<u8>>().into(), ..Record::default() };
    let small = |text: &str| Record { payload: text.to_owned().into(), ..Record::default() };
    let nowhere = Record { topic: Some(topic("no topic at all!//").replace("persistent", "no")), ..small("x") };
    let heard = emitted(&node, vec![small("a"), large, nowhere, small("b")]).await;
    let failed: Vec<_> = heard.iter().filter(|(_, error)| error.is_some()).map(|(id, _)| *id).collect();
    assert_eq!(failed, [2, 3], "{heard:?}");
    assert_eq!(crate::support::texts(&node.read("out", 2).await), ["a", "b"]);
}
