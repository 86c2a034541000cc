//! `/admin/v2/persistent` and `/admin/v2/non-persistent`: topics and their partitions.
//!
//! A name without suffix of a partitioned topic stands for all its partitions where Pulsar has it so. Source:
//! `org.apache.pulsar.broker.admin.impl.PersistentTopicsBase`.

use admin_api::{MessageIdData, PartitionedTopicMetadata};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::Response,
    routing::{any, get, post, put},
};
use broker::{CompactionStatus, Error};
use model::{Domain, Position, TopicName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{
    App,
    at::{At, Query},
    messages::message_id,
    namespaces::no_permissions,
    reply::{self, Done, Failure, Lenient, Reply, in_namespace},
    tenants::Force,
};

pub(crate) fn routes() -> Router<App> {
    let t = "/{tenant}/{namespace}/{topic}";
    let at = |path: &str| format!("{t}/{path}");
    Router::new()
        .route("/{tenant}/{namespace}", get(list))
        .route("/{tenant}/{namespace}/partitioned", get(list_partitioned))
        .route(t, put(create).delete(delete))
        .route(
            &at("partitions"),
            get(partitions).put(create_partitioned).post(update_partitions).delete(delete_partitioned),
        )
        .route(&at("createMissedPartitions"), post(create_missed))
        .route(&at("properties"), get(properties).put(set_properties).delete(remove_property))
        .route(&at("permissions"), get(permissions))
        .route(&at("permissions/{role}"), post(no_permissions).delete(no_permissions))
        .route(&at("backlogSize"), put(backlog_size))
        .route(&at("unload"), put(unload))
        .route(&at("terminate"), post(terminate))
        .route(&at("terminate/partitions"), post(terminate_partitions))
        .route(&at("truncate"), axum::routing::delete(truncate))
        .route(&at("compaction"), get(compaction).put(compact))
        .route(&at("offload"), get(not_run).put(no_offload))
        .route(&at("trim"), post(trim))
        .route(&at("subscription/{subscription}/replicatedSubscriptionStatus"), any(no_replication))
}

/// The partitions of a topic, or the topic itself, which must exist.
pub(crate) async fn each(app: &App, name: &TopicName) -> Reply<Vec<TopicName>> {
    if let Some(n) = partition_count(app, name)? {
        return Ok((0..n).map(|index| name.with_partition(index)).collect());
    }
    existing(app, name).await.map(|()| vec![name.clone()])
}

/// Refuses a topic that does not exist.
pub(crate) async fn existing(app: &App, name: &TopicName) -> Reply<()> {
    if app.broker.exists(name).await.map_err(in_namespace)? {
        return Ok(());
    }
    Err(missing(app, name))
}

/// Refuses a partitioned topic, with Pulsar's words for it, and one that does not exist.
pub(crate) async fn single(app: &App, name: &TopicName, why_not: &str) -> Reply<()> {
    if partition_count(app, name)?.is_some() {
        return Err(Failure::not_allowed(why_not));
    }
    existing(app, name).await
}

pub(crate) fn partition_count(app: &App, name: &TopicName) -> Reply<Option<u32>> {
    app.broker.policies(name.namespace()).map_err(in_namespace)?;
    Ok(app.broker.partitions(name)?)
}

/// Why a topic is not there: its partition may not have been created yet.
pub(crate) fn missing(app: &App, name: &TopicName) -> Failure {
    let partitioned = name.partition().is_some() && matches!(app.broker.partitions(&name.partitioned()), Ok(Some(_)));
    match partitioned {
        true => Failure::not_found("Topic partitions were not yet created"),
        false => Error::TopicNotFound(name.clone()).into(),
    }
}

async fn refused(app: &App, at: &At, why: &str) -> Failure {
    let checked = async { existing(app, &at.topic()?).await };
    checked.await.err().unwrap_or_else(|| Failure::not_allowed(why))
}

async fn compact(State(app): State<App>, at: At) -> Reply {
    for one in each(&app, &at.topic()?).await? {
        app.broker.compact(&one).await?;
    }
    Ok(Done)
}

/// Source: Pulsar's `LongRunningProcessStatus`.
async fn compaction(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    existing(&app, &name).await?;
    let (status, error) = match app.broker.compaction_status(&name).await? {
        CompactionStatus::NotRun => ("NOT_RUN", String::new()),
        CompactionStatus::Running => ("RUNNING", String::new()),
        CompactionStatus::Success => ("SUCCESS", String::new()),
        CompactionStatus::Error(why) => ("ERROR", why),
    };
    Ok(Json(json!({ "status": status, "lastError": error })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct From {
    ledger_id: i64,
    entry_id: i64,
}

async fn backlog_size(State(app): State<App>, at: At, bytes: Bytes) -> Reply<Json<u64>> {
    let name = at.topic()?;
    let from: From = reply::required(&bytes)?;
    single(&app, &name, "calculate backlog size is not allowed for partitioned-topic").await?;
    let position = u64::try_from(from.ledger_id).ok().map(|ledger| Position::new(ledger, from.entry_id));
    Ok(Json(app.broker.bytes_after(&name, position).await?))
}

async fn no_offload(State(app): State<App>, at: At) -> Failure {
    refused(&app, &at, "Offloading of ledgers is not supported").await
}

/// Answers 200, unlike the others here.
async fn trim(State(app): State<App>, at: At) -> Reply<StatusCode> {
    let name = at.topic()?;
    if !name.is_persistent() {
        return Err(Failure::not_allowed("Trim on a non-persistent topic is not allowed"));
    }
    for one in each(&app, &name).await? {
        app.broker.trim(&one).await?;
    }
    Ok(StatusCode::OK)
}

async fn no_replication(State(app): State<App>, at: At) -> Failure {
    refused(&app, &at, "Replicated subscriptions are not supported yet").await
}

/// The state of something that never runs here.
async fn not_run(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    existing(&app, &at.topic()?).await?;
    Ok(Json(json!({ "status": "NOT_RUN", "lastError": "" })))
}

fn names(topics: &[TopicName]) -> Json<Vec<String>> {
    Json(topics.iter().map(ToString::to_string).collect())
}

async fn list(State(app): State<App>, at: At) -> Reply<Json<Vec<String>>> {
    let namespace = at.namespace()?;
    Ok(names(&match at.domain() {
        Domain::Persistent => app.broker.topics(&namespace).await?,
        Domain::NonPersistent => app.broker.non_persistent_topics(&namespace).await?,
    }))
}

async fn list_partitioned(State(app): State<App>, at: At) -> Reply<Json<Vec<String>>> {
    let mut topics = app.broker.partitioned_topics(&at.namespace()?).await?;
    topics.retain(|topic| topic.is_persistent() == (at.domain() == Domain::Persistent));
    Ok(names(&topics))
}

async fn create(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.topic()?;
    let properties: BTreeMap<String, String> = reply::body(&bytes)?.unwrap_or_default();
    if let Some(index) = name.partition() {
        let of = name.partitioned();
        let local = name.local();
        match partition_count(&app, &of)? {
            None => {
                return Err(Failure::precondition(format!(
                    "Can't create topic {local} with \"-partition-\" followed by numeric value if there isn't a partitioned \
                     topic {} created.",
                    of.local()
                )));
            }
            Some(n) if index >= n => {
                return Err(Failure::precondition(format!(
                    "Can't create topic {local} with \"-partition-\" followed by a number smaller then number of partition \
                     of partitioned topic {}.",
                    of.local()
                )));
            }
            Some(_) => {}
        }
    }
    app.broker.create_topic(&name, properties).await.map_err(in_namespace)?;
    Ok(Done)
}

async fn delete(State(app): State<App>, at: At, Query(query): Query<Force>) -> Reply {
    let name = at.topic()?;
    if partition_count(&app, &name)?.is_some() {
        return Err(Failure::conflict(format!(
            "{name} is a partitioned topic, instead of calling delete topic, please call delete-partitioned-topic."
        )));
    }
    if !name.is_persistent() && !app.broker.exists(&name).await.map_err(in_namespace)? {
        // Nothing is stored of it. Source: Pulsar's `BrokerService.deleteTopicInternal`.
        return Ok(Done);
    }
    if !query.force {
        unused(&app, &name).await?;
    }
    app.broker.delete_topic(&name, true).await.map_err(in_namespace)?;
    Ok(Done)
}

/// Refuses while clients are connected. Subscriptions that nobody uses go with their topic, as in Pulsar
/// (`PersistentTopic.delete`).
async fn unused(app: &App, name: &TopicName) -> Reply<()> {
    let stats = match app.broker.topic_stats(name).await {
        Ok(stats) => stats,
        Err(error) => return Err(in_namespace(error)),
    };
    let consumers: usize = stats.subscriptions.values().map(|s| s.consumers.len()).sum();
    let producers = stats.publishers.len();
    if consumers + producers == 0 {
        return Ok(());
    }
    Err(Failure::precondition(format!(
        "Topic has {} clients connected Including {consumers} consumers, {producers} producers, and 0 replicators.",
        consumers + producers
    )))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    check_allow_auto_creation: bool,
}

async fn partitions(
    State(app): State<App>,
    at: At,
    Query(query): Query<Metadata>,
) -> Reply<Json<PartitionedTopicMetadata>> {
    let name = at.topic()?;
    if let Some(partitions) = partition_count(&app, &name)? {
        let properties = app.broker.topic_properties(&name.with_partition(0)).await.unwrap_or_default();
        let properties = Some(properties).filter(|p| !p.is_empty());
        return Ok(Json(PartitionedTopicMetadata { partitions, properties, ..Default::default() }));
    }
    if app.broker.exists(&name).await? {
        return Ok(Json(PartitionedTopicMetadata::default()));
    }
    if query.check_allow_auto_creation {
        // As a client's own request: a partitioned topic may come to be by it.
        let partitions = app.broker.partitioned_metadata(&name, true).await.map_err(in_namespace)?;
        return Ok(Json(PartitionedTopicMetadata { partitions, ..Default::default() }));
    }
    Err(missing(&app, &name))
}

/// The number alone, or with properties for every partition.
#[derive(Deserialize)]
#[serde(untagged)]
enum NewPartitions {
    Number(Lenient<i64>),
    Metadata {
        partitions: Lenient<i64>,
        #[serde(default)]
        properties: Option<BTreeMap<String, String>>,
    },
}

impl NewPartitions {
    /// Of a body that must be there; `null` and the like are 0, as for Java's `int`.
    fn of(bytes: &Bytes) -> Reply<(i64, BTreeMap<String, String>)> {
        if bytes.trim_ascii() == b"null" {
            return Ok((0, BTreeMap::new()));
        }
        Ok(match reply::required(bytes)? {
            Self::Number(n) => (n.0.unwrap_or(0), BTreeMap::new()),
            Self::Metadata { partitions, properties } => (partitions.0.unwrap_or(0), properties.unwrap_or_default()),
        })
    }
}

async fn create_partitioned(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.topic()?;
    let (n, properties) = NewPartitions::of(&bytes)?;
    let not_acceptable = |reason: String| Failure::new(StatusCode::NOT_ACCEPTABLE, reason);
    let Some(n) = u32::try_from(n).ok().filter(|&n| n > 0) else {
        return Err(not_acceptable("Number of partitions should be more than 0".to_owned()));
    };
    app.broker.create_partitioned_topic(&name, n).await.map_err(|error| match error {
        Error::NotAllowed(reason) if reason == Error::NAMESPACE_FULL => Failure::precondition(reason),
        Error::NotAllowed(reason) => not_acceptable(reason),
        other => in_namespace(other),
    })?;
    if !properties.is_empty() {
        let changes: BTreeMap<_, _> = properties.into_iter().map(|(k, v)| (k, Some(v))).collect();
        for index in 0..n {
            app.broker.set_topic_properties(&name.with_partition(index), changes.clone()).await?;
        }
    }
    Ok(Done)
}

async fn update_partitions(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.topic()?;
    let (wanted, _) = NewPartitions::of(&bytes)?;
    let Some(now) = partition_count(&app, &name)? else {
        return Err(Failure::conflict(format!("Topic {name} is not the partitioned topic.")));
    };
    let unprocessable = |reason: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, reason);
    let Some(n) = u32::try_from(wanted).ok().filter(|&n| n >= now) else {
        return Err(unprocessable(format!(
            "Desired partitions {wanted} can't be less than the current partitions {now}."
        )));
    };
    app.broker.update_partitions(&name, n).await.map_err(|error| match error {
        Error::Precondition(reason) => unprocessable(reason),
        other => other.into(),
    })?;
    Ok(Done)
}

async fn delete_partitioned(State(app): State<App>, at: At, Query(query): Query<Force>) -> Reply {
    let name = at.topic()?;
    if name.partition().is_some() {
        return Err(Failure::precondition("Partitioned Topic Name should not contain '-partition-'"));
    }
    let Some(n) = partition_count(&app, &name)? else {
        return Err(match app.broker.exists(&name).await? {
            true => Failure::conflict(format!(
                "{name} is a non-partitioned topic. Instead of calling delete-partitioned-topic please call delete."
            )),
            false => Failure::not_found(format!("Topic {name} not found.")),
        });
    };
    if !query.force {
        for index in 0..n {
            let partition = name.with_partition(index);
            // A partition that was not created is in nobody's way.
            if app.broker.exists(&partition).await? {
                unused(&app, &partition).await?;
            }
        }
    }
    app.broker.delete_partitioned_topic(&name, true).await?;
    Ok(Done)
}

async fn create_missed(State(app): State<App>, at: At) -> Reply {
    let name = at.topic()?;
    if partition_count(&app, &name)?.is_none() {
        return Err(Failure::not_found(format!("Topic {name} does not exist")));
    }
    app.broker.create_missed_partitions(&name).await?;
    Ok(Done)
}

async fn properties(State(app): State<App>, at: At) -> Reply<Response> {
    let name = at.topic()?;
    // Pulsar does not look whether the partition exists.
    let partitioned = partition_count(&app, &name)?.is_some();
    let first = if partitioned { name.with_partition(0) } else { name };
    let properties = app.broker.topic_properties(&first).await?;
    Ok(reply::optional(Some(properties).filter(|p| !p.is_empty() || !partitioned)))
}

async fn set_properties(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let properties: BTreeMap<String, String> = reply::required(&bytes)?;
    let changes: BTreeMap<_, _> = properties.into_iter().map(|(k, v)| (k, Some(v))).collect();
    for one in each(&app, &at.topic()?).await? {
        app.broker.set_topic_properties(&one, changes.clone()).await?;
    }
    Ok(Done)
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    key: String,
}

async fn remove_property(State(app): State<App>, at: At, Query(query): Query<Key>) -> Reply {
    for one in each(&app, &at.topic()?).await? {
        app.broker.set_topic_properties(&one, BTreeMap::from([(query.key.clone(), None)])).await?;
    }
    Ok(Done)
}

async fn permissions(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    if !app.broker.exists(&name).await.map_err(in_namespace)? {
        return Err(Error::TopicNotFound(name).into());
    }
    Ok(Json(json!({})))
}

async fn unload(State(app): State<App>, at: At) -> Reply {
    for one in each(&app, &at.topic()?).await? {
        app.broker.unload_topic(&one).await?;
    }
    Ok(Done)
}

async fn terminate(State(app): State<App>, at: At) -> Reply<Json<MessageIdData>> {
    let name = at.topic()?;
    single(&app, &name, "Termination of a partitioned topic is not allowed").await?;
    let position = app.broker.terminate(&name).await?;
    Ok(Json(message_id(position, -1, -1)))
}

async fn terminate_partitions(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let mut all = json!({});
    for (index, one) in each(&app, &at.topic()?).await?.iter().enumerate() {
        all[index.to_string()] = json!(message_id(app.broker.terminate(one).await?, -1, -1));
    }
    Ok(Json(all))
}

/// Acknowledges everything for every subscription, after which nothing but retention keeps it.
async fn truncate(State(app): State<App>, at: At) -> Reply {
    let name = at.topic()?;
    if !name.is_persistent() {
        return Err(Failure::precondition("unsupport truncate"));
    }
    for one in each(&app, &name).await? {
        for subscription in app.broker.subscriptions(&one).await? {
            app.broker.skip_all(&one, &subscription).await?;
        }
    }
    Ok(Done)
}
