//! The schemas of topics, as producers, consumers and administrators see them. What fits what, the crate `schema` tests.

use broker::{Error, SchemaVersion};
use model::{NamespaceName, NamespacePolicies, SchemaAutoUpdate, SchemaCompatibility, SubscriptionType::*};
use schema::{Definition, Kind};
use std::collections::BTreeMap;

use crate::harness::{TestBroker, new_consumer, new_producer, topic};

const STRING: i32 = 1;
const JSON: i32 = 2;
const KEY_VALUE: i32 = 15;

fn schema(kind: i32, data: &'static str) -> broker::Schema {
    broker::Schema { kind, name: "s".into(), data: data.into(), properties: BTreeMap::new() }
}

fn with_schema(name: &str, id: u64, schema: broker::Schema) -> broker::NewConsumer {
    broker::NewConsumer { schema: Some(schema), ..new_consumer(name, Shared, id) }
}

const ONE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
/// Fits [`ONE`] both ways.
const OPTIONAL: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":0}]}"#;
/// Can be read with [`ONE`], but does not read it.
const REQUIRED: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;

fn json(data: &'static str) -> Definition {
    Definition::new(Kind::Json, data)
}

fn reason<T>(result: broker::Result<T>) -> String {
    match result {
        Err(Error::IncompatibleSchema(text) | Error::InvalidSchema(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("taken"),
    }
}

impl TestBroker {
    /// Registers as a producer; the number of the version.
    async fn put(&self, name: &str, data: &'static str) -> broker::Result<u64> {
        let version = self.broker.put_schema(&topic(name), schema(JSON, data)).await?;
        Ok(u64::from_be_bytes(version[..].try_into().unwrap()))
    }

    /// Numbers and definitions.
    async fn versions(&self, name: &str) -> Vec<(u64, String)> {
        let versions = self.broker.schemas(&topic(name)).await.unwrap().versions;
        let shown = |v: SchemaVersion| (v.version, String::from_utf8(v.definition.data.to_vec()).unwrap());
        versions.into_iter().map(shown).collect()
    }

    async fn policies(&self, change: impl Fn(&mut NamespacePolicies)) {
        let namespace = NamespaceName::new("public", "default").unwrap();
        self.broker.update_policies(&namespace, change).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_schema_is_gone_and_its_version_is_not_given_again() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let _producer = connection.producer("t", 1).await;
    let int = || schema(JSON, r#""int""#);
    let first = test.broker.put_schema(&topic("t"), int()).await.unwrap();
    assert_eq!(test.broker.put_schema(&topic("t"), schema(JSON, r#"["int"]"#)).await.unwrap()[7], 1);
    assert_eq!(test.broker.delete_schemas(&topic("t"), false).await.unwrap(), Some(2));
    for version in [None, Some(first)] {
        assert_eq!(test.broker.schema(&topic("t"), version).await.unwrap(), None);
    }
    assert_eq!(test.broker.put_schema(&topic("t"), int()).await.unwrap()[7], 3);
    assert_eq!(test.broker.delete_schemas(&topic("t"), true).await.unwrap(), None);
    assert_eq!(test.broker.put_schema(&topic("t"), int()).await.unwrap()[7], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_a_consumer_is_no_new_version_on_a_topic_in_use() {
    const AUTO_CONSUME: i32 = 21;
    let test = TestBroker::start().await;
    let mut connection = test.connect();
    let (broker, peer) = (test.broker.clone(), connection.peer.clone());
    let subscribe = async |name, id, schema| broker.subscribe(&peer, with_schema(name, id, schema)).await;
    let version =
        async |name| broker.schema(&topic(name), None).await.unwrap().map(|(s, version)| (s.data, version[7]));
    let refusal = |result: broker::Result<_>| match result {
        Err(Error::IncompatibleSchema(text)) => text,
        Err(other) => panic!("{other}"),
        Ok::<broker::ConsumerHandle, _>(_) => panic!("taken"),
    };

    // The first one on a topic that is not used is its schema; who takes every schema does not use it.
    subscribe("idle", 1, schema(AUTO_CONSUME, "")).await.unwrap();
    assert_eq!(version("idle").await, None);
    let (int, long) = (r#""int""#, r#""long""#);
    subscribe("idle", 2, schema(JSON, int)).await.unwrap();
    assert_eq!(version("idle").await, Some((int.into(), 0)));
    subscribe("idle", 3, schema(JSON, long)).await.unwrap();
    assert_eq!(version("idle").await, Some((int.into(), 0)));
    let other_kind = refusal(subscribe("idle", 4, schema(STRING, "")).await);
    assert_eq!(other_kind, "Incompatible schema: exists schema type JSON, new schema type STRING");

    let active = "Failed to add schema to an active topic with empty(BYTES) schema: new schema type";
    connection.consumer("consumed", Shared, 5).await;
    assert_eq!(refusal(subscribe("consumed", 6, schema(JSON, "a")).await), format!("{active} JSON"));
    for name in ["produced", "non-persistent://public/default/produced"] {
        let producer = connection.producer(name, 1).await;
        assert_eq!(refusal(subscribe(name, 7, schema(KEY_VALUE, "a")).await), format!("{active} KEY_VALUE"));
        connection.publish(&producer, 0..1, &["k"]).await;
        producer.close().await;
        assert_eq!(refusal(subscribe(name, 8, schema(STRING, "a")).await), format!("{active} STRING"));
        subscribe(name, 9, schema(AUTO_CONSUME, "")).await.unwrap();
        assert_eq!(version(name).await, None);
    }
    subscribe("non-persistent://public/default/idle", 10, schema(JSON, int)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_fits_the_last_and_an_old_one_is_found_again() {
    let test = TestBroker::start().await;
    let _producer = test.connect().producer("t", 1).await;
    assert_eq!(test.put("t", ONE).await.unwrap(), 0);
    assert_eq!(test.put("t", OPTIONAL).await.unwrap(), 1);
    assert_eq!(test.put("t", ONE).await.unwrap(), 0);
    let same = r#"{ "name": "R", "type": "record", "fields": [ {"name": "a", "type": "int"} ] }"#;
    assert_eq!(test.put("t", same).await.unwrap(), 0);
    let other = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;
    assert!(reason(test.put("t", other).await).contains("with strategy FULL"));
    assert_eq!(
        reason(test.put("t", "no").await),
        "Invalid schema definition data for JSON schema: expected ident at line 1 column 2"
    );
    assert_eq!(test.versions("t").await, [(0, ONE.to_owned()), (1, OPTIONAL.to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_to_fit_is_said_by_the_topic_then_its_namespace() {
    let test = TestBroker::start().await;
    let _producer = test.connect().producer("t", 1).await;
    test.put("t", ONE).await.unwrap();
    assert_eq!(test.broker.schema_strategy(&topic("t")), SchemaCompatibility::Full);
    assert!(test.put("t", REQUIRED).await.is_err());

    test.policies(|p| p.schema_auto_update_compatibility_strategy = Some(SchemaAutoUpdate::AutoUpdateDisabled)).await;
    assert!(reason(test.put("t", OPTIONAL).await).contains("with strategy ALWAYS_INCOMPATIBLE"));
    test.policies(|p| p.schema_compatibility_strategy = SchemaCompatibility::Backward).await;
    assert!(reason(test.put("t", REQUIRED).await).contains("with strategy BACKWARD"));
    let own = async |strategy| {
        test.broker.update_topic_policies(&topic("t"), move |p| p.schema_compatibility_strategy = strategy).await
    };
    own(Some(SchemaCompatibility::Forward)).await.unwrap();
    assert_eq!(test.put("t", REQUIRED).await.unwrap(), 1);
    own(None).await.unwrap();
    assert_eq!(test.broker.schema_strategy(&topic("t")), SchemaCompatibility::Backward);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_producers_may_not_register_administrators_may() {
    let test = TestBroker::start().await;
    let _producer = test.connect().producer("t", 1).await;
    test.policies(|p| p.is_allow_auto_update_schema = Some(false)).await;
    assert_eq!(reason(test.put("t", ONE).await), "Schema not found and schema auto updating is disabled.");
    assert_eq!(test.broker.upload_schema(&topic("t"), json(ONE)).await.unwrap(), 0);
    assert_eq!(test.put("t", ONE).await.unwrap(), 0);
    assert!(test.put("t", OPTIONAL).await.is_err());
    test.policies(|p| p.is_allow_auto_update_schema = None).await;
    assert_eq!(test.put("t", OPTIONAL).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_validation_is_enforced_a_producer_needs_the_schema() {
    let test = TestBroker::start().await;
    let connection = test.connect();
    let producing = async |id| test.broker.create_producer(&connection.peer, new_producer("t", id)).await.map(drop);
    producing(1).await.unwrap();
    let enforce = async |value| {
        test.broker.update_topic_policies(&topic("t"), move |p| p.schema_validation_enforced = value).await
    };
    enforce(Some(true)).await.unwrap();
    producing(2).await.unwrap();
    test.put("t", ONE).await.unwrap();
    assert!(reason(producing(3).await).contains("SchemaValidationEnforced"));
    let with = broker::NewProducer { schema: Some(schema(JSON, ONE)), ..new_producer("t", 4) };
    let (_, created) = test.broker.create_producer(&connection.peer, with).await.unwrap();
    assert_eq!(created.schema_version.unwrap()[..], [0; 8]);
    enforce(None).await.unwrap();
    producing(5).await.unwrap();
    test.policies(|p| p.schema_validation_enforced = true).await;
    assert!(producing(6).await.is_err());
    // The topic's own word goes before its namespace's.
    enforce(Some(false)).await.unwrap();
    producing(7).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_may_come_before_its_topic() {
    let mut test = TestBroker::start().await;
    let upload = async |test: &TestBroker, name, data| test.broker.upload_schema(&topic(name), json(data)).await;
    assert_eq!(upload(&test, "t", ONE).await.unwrap(), 0);
    assert_eq!(upload(&test, "t", OPTIONAL).await.unwrap(), 1);
    assert!(reason(upload(&test, "t", r#""int""#).await).contains("with strategy FULL"));
    assert_eq!(upload(&test, "p", ONE).await.unwrap(), 0);
    assert_eq!(upload(&test, "gone", ONE).await.unwrap(), 0);
    assert!(!test.broker.exists(&topic("t")).await.unwrap(), "it makes no topic");
    let producers = test.broker.put_schema(&topic("t"), schema(JSON, ONE)).await;
    assert!(matches!(producers, Err(Error::TopicNotFound(_))), "{producers:?}");

    test = test.restart().await;
    assert_eq!(test.versions("t").await.len(), 2);
    let _producer = test.connect().producer("t", 1).await;
    assert_eq!(test.put("t", OPTIONAL).await.unwrap(), 1);
    test.broker.create_partitioned_topic(&topic("p"), 2).await.unwrap();
    assert_eq!(test.versions("p-partition-1").await, [(0, ONE.to_owned())]);

    // With the topic its schema goes, wherever it still lay.
    test.broker.create_topic(&topic("gone"), BTreeMap::new()).await.unwrap();
    for name in ["gone", "t"] {
        test.broker.delete_topic(&topic(name), true).await.unwrap();
        assert_eq!(test.versions(name).await, []);
    }
    test.broker.delete_partitioned_topic(&topic("p"), true).await.unwrap();
    test = test.restart().await;
    for name in ["gone", "t", "p"] {
        assert_eq!(test.versions(name).await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_topic_goes_with_its_namespace() {
    let test = TestBroker::start().await;
    let namespace = NamespaceName::new("public", "other").unwrap();
    let waiting: model::TopicName = "persistent://public/other/t".parse().unwrap();
    for _ in 0..2 {
        test.broker.create_namespace(&namespace, NamespacePolicies::default()).await.unwrap();
        assert_eq!(test.broker.upload_schema(&waiting, json(ONE)).await.unwrap(), 0);
        test.broker.delete_namespace(&namespace, false).await.unwrap();
        assert_eq!(test.broker.schemas(&waiting).await.unwrap(), broker::SchemaHistory::default());
    }
    let nowhere = test.broker.upload_schema(&waiting, json(ONE)).await;
    assert!(matches!(nowhere, Err(Error::NamespaceNotFound(_))), "{nowhere:?}");
    let nowhere = test.broker.delete_schemas(&waiting, false).await;
    assert!(matches!(nowhere, Err(Error::NamespaceNotFound(_))), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_partitions_have_one_schema_and_it_outlives_the_first() {
    let test = TestBroker::start().await;
    test.broker.create_partitioned_topic(&topic("p"), 3).await.unwrap();
    assert_eq!(test.put("p-partition-2", ONE).await.unwrap(), 0);
    assert_eq!(test.put("p-partition-0", OPTIONAL).await.unwrap(), 1);
    assert_eq!(test.put("p", ONE).await.unwrap(), 0);
    test.broker.delete_topic(&topic("p-partition-0"), true).await.unwrap();
    assert_eq!(test.versions("p-partition-1").await.len(), 2);
    test.broker.create_missed_partitions(&topic("p")).await.unwrap();
    assert_eq!(test.put("p-partition-1", OPTIONAL).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_outlive_a_restart() {
    let mut test = TestBroker::start().await;
    let _producer = test.connect().producer("t", 1).await;
    test.put("t", ONE).await.unwrap();
    test.put("t", OPTIONAL).await.unwrap();
    let before = test.broker.schemas(&topic("t")).await.unwrap();
    assert!(before.versions.iter().all(|version| version.created_ms > 0));
    test = test.restart().await;
    assert_eq!(test.broker.schemas(&topic("t")).await.unwrap(), before);
}

/// Only one of them can be version 0, and all of them are versions.
#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_a_version_each() {
    let test = TestBroker::start().await;
    let _producer = test.connect().producer("t", 1).await;
    test.policies(|p| p.schema_compatibility_strategy = SchemaCompatibility::AlwaysCompatible).await;
    let mut putting = tokio::task::JoinSet::new();
    for n in 0..8_u64 {
        let broker = test.broker.clone();
        let data = format!(r#"{{"type":"fixed","name":"F","size":{}}}"#, n / 2);
        let new = broker::Schema { kind: JSON, name: "s".into(), data: data.into(), properties: BTreeMap::new() };
        putting.spawn(async move { (n / 2, broker.put_schema(&topic("t"), new).await.unwrap()) });
    }
    let mut of = BTreeMap::new();
    while let Some(put) = putting.join_next().await {
        let (n, version) = put.unwrap();
        assert_eq!(of.entry(n).or_insert(version.clone()), &version, "the same schema is the same version");
    }
    assert_eq!(test.versions("t").await.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_take_no_more_than_their_room() {
    let test = TestBroker::start().await;
    test.policies(|p| p.schema_compatibility_strategy = SchemaCompatibility::AlwaysCompatible).await;
    let large = |n: u32| {
        let doc = "x".repeat(schema::DEFINITION_BYTES_MAX - 200);
        Definition::new(Kind::Json, format!(r#"{{"type":"record","name":"R{n}","doc":"{doc}","fields":[]}}"#))
    };
    for n in 0..8 {
        test.broker.upload_schema(&topic("t"), large(n)).await.unwrap();
    }
    let full = test.broker.upload_schema(&topic("t"), large(8)).await;
    assert!(matches!(full, Err(Error::TooMany(_))), "{full:?}");
    let huge = Definition::new(Kind::Json, " ".repeat(schema::DEFINITION_BYTES_MAX + 1));
    assert!(reason(test.broker.upload_schema(&topic("other"), huge).await).contains("are the most"));
    assert_eq!(test.versions("t").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_nobody_knows_is_refused() {
    let test = TestBroker::start().await;
    let _producer = test.connect().producer("t", 1).await;
    for kind in [-1, 23, i32::MAX] {
        let refused = reason(test.broker.put_schema(&topic("t"), schema(kind, "")).await);
        assert_eq!(refused, format!("Unknown schema type : {kind}"));
    }
    let refused = reason(test.broker.put_schema(&topic("t"), schema(21, "")).await);
    assert_eq!(refused, "Schema AUTO_CONSUME is a client-side schema type");
    assert_eq!(
        reason(test.broker.put_schema(&topic("t"), schema(STRING, "x")).await),
        "Invalid schema definition data for string schema : 'x'"
    );
    assert!(reason(test.broker.put_schema(&topic("t"), schema(KEY_VALUE, "x")).await).starts_with("Invalid"));
}
