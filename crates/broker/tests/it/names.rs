//! Whatever name is taken is one again after a stop.

use bytes::Bytes;
use metastore::{Expect, Metastore};
use model::NamespaceName;
use schema::{Definition, Kind};

use crate::harness::{TestBroker, topic};

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_partitioned_topic_is_there_after_a_kill_and_can_be_deleted() {
    let test = TestBroker::start().await;
    let name = topic(&"t".repeat(model::NAME_BYTES_MAX));
    test.broker.create_partitioned_topic(&name, 11).await.unwrap();
    let dir = test.kill().await;
    let test = TestBroker::open(broker::Config::default(), dir).await;
    let mut topics = test.broker.topics(name.namespace()).await.unwrap();
    topics.sort_by_key(model::TopicName::partition);
    assert_eq!(topics, (0..11).map(|n| name.with_partition(n)).collect::<Vec<_>>());
    // From rows, not from the journal.
    let test = test.restart().await;
    test.broker.topic_stats(&name.with_partition(10)).await.unwrap();
    test.broker.delete_partitioned_topic(&name, true).await.unwrap();
    assert!(test.broker.topics(name.namespace()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_of_nothing_is_a_topic_with_schemas_and_policies_of_its_own() {
    let test = TestBroker::start().await;
    let name = topic("-partition-3");
    test.broker.upload_schema(&name, Definition::new(Kind::String, "")).await.unwrap();
    let test = test.restart().await;
    assert_eq!(test.broker.schemas(&name).await.unwrap().versions.len(), 1);
    test.broker.create_topic(&name, Default::default()).await.unwrap();
    test.broker.update_topic_policies(&name, |own| own.message_ttl_in_seconds = Some(7)).await.unwrap();
    let test = test.restart().await;
    assert_eq!(test.broker.topic_policies(&name).message_ttl_in_seconds, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_name_that_is_none_does_not_keep_the_broker_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    {
        let meta = metastore::FileStore::open(&dir.path().join("metadata")).unwrap();
        for key in ["/topics/persistent://public/default/", "/schemas/persistent://public/default/"] {
            meta.put(key, Bytes::from_static(b"{}"), Expect::Absent).await.unwrap();
        }
    }
    let test = TestBroker::open(broker::Config::default(), dir).await;
    let namespace = NamespaceName::new("public", "default").unwrap();
    assert!(test.broker.topics(&namespace).await.unwrap().is_empty());
}
