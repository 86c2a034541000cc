//! `/admin/v2/persistent`: topics, partitions, subscriptions, messages.
//!
//! A name without suffix of a partitioned topic stands for all its partitions where Pulsar has it so (subscriptions,
//! unload, properties). Source: `org.apache.pulsar.broker.admin.impl.PersistentTopicsBase`.

use admin_api::{
    MessageIdData, PartitionedTopicMetadata,
    stats::{InternalStats, PartitionedTopicStats, TopicStats},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use broker::{Error, LastMessageId, SeekTarget};
use model::{Position, TopicName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

use crate::{
    App,
    reply::{self, Done, Failure, Reply, namespace, topic},
};

type Name = Path<(String, String, String)>;
type Sub = Path<(String, String, String, String)>;
type SubN = Path<(String, String, String, String, u64)>;

pub(crate) fn routes() -> Router<App> {
    let t = "/{tenant}/{namespace}/{topic}";
    let s = "/{tenant}/{namespace}/{topic}/subscription/{subscription}";
    let at = |path: &str| format!("{t}{path}");
    let on = |path: &str| format!("{s}{path}");
    let no_topic_policies = || any(topic_policies);
    Router::new()
        .route("/{tenant}/{namespace}", get(list))
        .route("/{tenant}/{namespace}/partitioned", get(list_partitioned))
        .route(t, put(create).delete(delete))
        .route(
            &at("/partitions"),
            get(partitions).put(create_partitioned).post(update_partitions).delete(delete_partitioned),
        )
        .route(&at("/createMissedPartitions"), post(create_missed))
        .route(&at("/stats"), get(stats))
        .route(&at("/partitioned-stats"), get(partitioned_stats))
        .route(&at("/internalStats"), get(internal_stats))
        .route(&at("/internal-info"), get(internal_info))
        .route(&at("/partitioned-internalStats"), get(partitioned_internal))
        .route(&at("/lastMessageId"), get(last_message_id))
        .route(&at("/messageid/{timestamp}"), get(message_id_by_time))
        .route(&at("/ledger/{ledger}/entry/{entry}"), get(message))
        .route(&at("/examinemessage"), get(examine))
        .route(&at("/properties"), get(properties).put(set_properties).delete(remove_property))
        .route(&at("/permissions"), get(permissions))
        .route(&at("/unload"), put(unload))
        .route(&at("/terminate"), post(terminate))
        .route(&at("/terminate/partitions"), post(terminate_partitions))
        .route(&at("/subscriptions"), get(subscriptions))
        .route(&at("/all_subscription/expireMessages/{seconds}"), post(expire_all))
        .route(s, put(create_subscription).delete(delete_subscription))
        .route(&on("/skip/{n}"), post(skip))
        .route(&on("/skip_all"), post(skip_all))
        .route(&on("/resetcursor/{timestamp}"), post(reset_to_time))
        .route(&on("/resetcursor"), post(reset_to_message))
        .route(&on("/expireMessages/{seconds}"), post(expire))
        .route(&on("/position/{n}"), get(peek))
        .route(&at("/retention"), no_topic_policies())
        .route(&at("/messageTTL"), no_topic_policies())
        .route(&at("/backlogQuota"), no_topic_policies())
        .route(&at("/backlogQuotaMap"), no_topic_policies())
        .route(&at("/persistence"), no_topic_policies())
        .route(&at("/deduplicationEnabled"), no_topic_policies())
        .route(&at("/maxUnackedMessagesOnConsumer"), no_topic_policies())
        .route(&at("/maxUnackedMessagesOnSubscription"), no_topic_policies())
        .route(&at("/delayedDelivery"), no_topic_policies())
        .route(&at("/maxProducers"), no_topic_policies())
        .route(&at("/maxConsumers"), no_topic_policies())
        .route(&at("/compactionThreshold"), no_topic_policies())
        .route(&at("/publishRate"), no_topic_policies())
        .route(&at("/dispatchRate"), no_topic_policies())
        .route(&at("/subscribeRate"), no_topic_policies())
        .route(&at("/inactiveTopicPolicies"), no_topic_policies())
}

/// Non-persistent topics are not there yet: lists are empty, the rest is refused.
pub(crate) fn non_persistent() -> Router<App> {
    let refused =
        || async { Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Broker doesn't support non-persistent topics yet") };
    Router::new()
        .route("/{tenant}/{namespace}", get(none))
        .route("/{tenant}/{namespace}/partitioned", get(none))
        .route("/{tenant}/{namespace}/{topic}", any(refused))
        .route("/{tenant}/{namespace}/{topic}/{*path}", any(refused))
}

/// Schemas are registered by producers; they can be read.
pub(crate) fn schemas() -> Router<App> {
    Router::new()
        .route("/{tenant}/{namespace}/{topic}/schema", get(schema))
        .route("/{tenant}/{namespace}/{topic}/schema/{version}", get(schema_version))
}

async fn none(State(app): State<App>, Path((t, n)): Path<(String, String)>) -> Reply<Json<Vec<String>>> {
    app.broker.policies(&namespace(&t, &n)?)?;
    Ok(Json(Vec::new()))
}

async fn topic_policies(State(app): State<App>, Path(name): Name) -> Reply<Response> {
    if !app.broker.exists(&topic(&name)?).await? {
        return Err(Error::TopicNotFound(topic(&name)?).into());
    }
    Err(Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Topic level policies is disabled, to enable the topic level policy and retry.",
    ))
}

fn names(topics: &[TopicName]) -> Json<Vec<String>> {
    Json(topics.iter().map(ToString::to_string).collect())
}

async fn list(State(app): State<App>, Path((t, n)): Path<(String, String)>) -> Reply<Json<Vec<String>>> {
    Ok(names(&app.broker.topics(&namespace(&t, &n)?).await?))
}

async fn list_partitioned(State(app): State<App>, Path((t, n)): Path<(String, String)>) -> Reply<Json<Vec<String>>> {
    Ok(names(&app.broker.partitioned_topics(&namespace(&t, &n)?).await?))
}

async fn create(State(app): State<App>, Path(name): Name, bytes: Bytes) -> Reply {
    let properties: BTreeMap<String, String> = reply::body(&bytes)?.unwrap_or_default();
    app.broker.create_topic(&topic(&name)?, properties).await?;
    Ok(Done)
}

#[derive(Deserialize)]
struct Delete {
    #[serde(default)]
    force: bool,
}

async fn delete(State(app): State<App>, Path(name): Name, Query(query): Query<Delete>) -> Reply {
    let name = topic(&name)?;
    if app.broker.partitions(&name)?.is_some() {
        return Err(Failure::new(StatusCode::CONFLICT, format!("{name} is a partitioned topic: delete it as one")));
    }
    app.broker.delete_topic(&name, query.force).await?;
    Ok(Done)
}

async fn partitions(State(app): State<App>, Path(name): Name) -> Reply<Json<PartitionedTopicMetadata>> {
    let name = topic(&name)?;
    app.broker.policies(name.namespace())?;
    match app.broker.partitions(&name)? {
        Some(partitions) => Ok(Json(PartitionedTopicMetadata { partitions, ..Default::default() })),
        None if app.broker.exists(&name).await? => Ok(Json(PartitionedTopicMetadata::default())),
        None => Err(Error::TopicNotFound(name).into()),
    }
}

/// The number alone, or with properties (which are taken and not kept).
#[derive(Deserialize)]
#[serde(untagged)]
enum Partitions {
    Number(i64),
    Metadata { partitions: i64 },
}

impl Partitions {
    fn number(self) -> Reply<u32> {
        let (Self::Number(n) | Self::Metadata { partitions: n }) = self;
        u32::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| Failure::new(StatusCode::NOT_ACCEPTABLE, "Number of partitions should be more than 0"))
    }
}

async fn create_partitioned(State(app): State<App>, Path(name): Name, bytes: Bytes) -> Reply {
    let partitions = reply::required::<Partitions>(&bytes)?.number()?;
    app.broker.create_partitioned_topic(&topic(&name)?, partitions).await.map_err(|error| match error {
        Error::NotAllowed(reason) => Failure::new(StatusCode::NOT_ACCEPTABLE, reason),
        other => other.into(),
    })?;
    Ok(Done)
}

async fn update_partitions(State(app): State<App>, Path(name): Name, bytes: Bytes) -> Reply {
    let partitions = reply::required::<Partitions>(&bytes)?.number()?;
    let name = topic(&name)?;
    app.broker.update_partitions(&name, partitions).await.map_err(|error| match error {
        Error::TopicNotFound(_) => {
            Failure::new(StatusCode::CONFLICT, format!("Topic {name} is not partitioned topic."))
        }
        Error::Precondition(reason) => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, reason),
        other => other.into(),
    })?;
    Ok(Done)
}

async fn delete_partitioned(State(app): State<App>, Path(name): Name, Query(query): Query<Delete>) -> Reply {
    app.broker.delete_partitioned_topic(&topic(&name)?, query.force).await?;
    Ok(Done)
}

async fn create_missed(State(app): State<App>, Path(name): Name) -> Reply {
    app.broker.create_missed_partitions(&topic(&name)?).await?;
    Ok(Done)
}

async fn stats(State(app): State<App>, Path(name): Name) -> Reply<Json<TopicStats>> {
    Ok(Json(app.broker.topic_stats(&topic(&name)?).await?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PerPartition {
    #[serde(default = "yes")]
    per_partition: bool,
}

const fn yes() -> bool {
    true
}

async fn partitioned_stats(
    State(app): State<App>,
    Path(name): Name,
    Query(query): Query<PerPartition>,
) -> Reply<Json<PartitionedTopicStats>> {
    let name = topic(&name)?;
    let stats = app.broker.partitioned_stats(&name, query.per_partition).await;
    Ok(Json(stats.map_err(|error| match error {
        Error::TopicNotFound(_) => {
            Failure::not_found(format!("Partitioned topic {name} not found or has zero partitions"))
        }
        other => other.into(),
    })?))
}

async fn internal_stats(State(app): State<App>, Path(name): Name) -> Reply<Json<InternalStats>> {
    Ok(Json(app.broker.internal_stats(&topic(&name)?).await?))
}

async fn internal_info(State(app): State<App>, Path(name): Name) -> Reply<Json<Value>> {
    let stats = app.broker.internal_stats(&topic(&name)?).await?;
    let ledgers: Vec<_> = stats
        .ledgers
        .iter()
        .map(|l| json!({ "ledgerId": l.ledger_id, "entries": l.entries, "size": l.size }))
        .collect();
    let cursors: BTreeMap<_, _> = stats
        .cursors
        .iter()
        .map(|(name, cursor)| (name, json!({ "markDelete": cursor.mark_delete_position })))
        .collect();
    Ok(Json(json!({ "version": 1, "ledgers": ledgers, "cursors": cursors })))
}

async fn partitioned_internal(State(app): State<App>, Path(name): Name) -> Reply<Json<Value>> {
    let name = topic(&name)?;
    let n = app.broker.partitions(&name)?.ok_or_else(|| Error::TopicNotFound(name.clone()))?;
    let mut all = BTreeMap::new();
    for index in 0..n {
        let partition = name.with_partition(index);
        all.insert(partition.to_string(), app.broker.internal_stats(&partition).await?);
    }
    Ok(Json(json!({ "metadata": { "partitions": n }, "partitions": all })))
}

fn message_id(position: Position, partition: i32, batch_index: i32) -> MessageIdData {
    // What stands for "none" is -1 in both parts.
    MessageIdData {
        ledger_id: i64::try_from(position.ledger).unwrap_or(-1),
        entry_id: position.entry,
        partition_index: partition,
        batch_index,
        batch_size: 0,
    }
}

async fn last_message_id(State(app): State<App>, Path(name): Name) -> Reply<Json<MessageIdData>> {
    let LastMessageId { position, partition, batch_index, .. } = app.broker.last_message_id(&topic(&name)?).await?;
    Ok(Json(message_id(position, partition, batch_index)))
}

fn partition_of(name: &TopicName) -> i32 {
    name.partition().and_then(|p| i32::try_from(p).ok()).unwrap_or(-1)
}

async fn message_id_by_time(
    State(app): State<App>,
    Path((t, n, l, timestamp)): Path<(String, String, String, i64)>,
) -> Reply<Json<MessageIdData>> {
    let name = topic(&(t, n, l))?;
    let ms = u64::try_from(timestamp).map_err(|_| Failure::bad("a timestamp is not negative"))?;
    let position = app.broker.message_id_by_time(&name, ms).await?;
    Ok(Json(message_id(position, partition_of(&name), -1)))
}

async fn message(
    State(app): State<App>,
    Path((t, n, l, ledger, entry)): Path<(String, String, String, u64, i64)>,
) -> Reply<Response> {
    let found = app.broker.read_message(&topic(&(t, n, l))?, Position::new(ledger, entry)).await?;
    entry_response(found)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Examine {
    initial_position: Option<String>,
    message_position: Option<u64>,
}

async fn examine(State(app): State<App>, Path(name): Name, Query(query): Query<Examine>) -> Reply<Response> {
    let name = topic(&name)?;
    let n = query.message_position.unwrap_or(1).max(1);
    let stats = app.broker.internal_stats(&name).await?;
    let total: u64 = stats.ledgers.iter().map(|l| u64::try_from(l.entries).unwrap_or(0)).sum();
    let from_start = match query.initial_position.as_deref() {
        None | Some("latest") => total.checked_sub(n),
        Some("earliest") => (n <= total).then(|| n - 1),
        Some(_) => return Err(Failure::new(StatusCode::PRECONDITION_FAILED, "initialPosition is earliest or latest")),
    };
    let Some(mut skip) = from_start else { return entry_response(None) };
    for ledger in &stats.ledgers {
        let entries = u64::try_from(ledger.entries).unwrap_or(0);
        if skip < entries {
            let position =
                Position::new(u64::try_from(ledger.ledger_id).unwrap_or(0), i64::try_from(skip).unwrap_or(0));
            return entry_response(app.broker.read_message(&name, position).await?);
        }
        skip -= entries;
    }
    entry_response(None)
}

/// One entry: its payload as the body, what its metadata says as headers.
fn entry_response(found: Option<(Position, Bytes)>) -> Reply<Response> {
    let Some((position, entry)) = found else { return Err(Failure::not_found("Message not found")) };
    let metadata =
        wire::entry::metadata(&entry).map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-pulsar-message-id", position.to_string());
    set("x-pulsar-publish-time", broker::rfc3339(metadata.publish_time));
    set("x-pulsar-producer-name", String::from_utf8_lossy(metadata.producer_name).into_owned());
    set("x-pulsar-sequence-id", metadata.sequence_id.to_string());
    if let Some(time) = metadata.event_time.filter(|&time| time > 0) {
        set("x-pulsar-event-time", broker::rfc3339(time));
    }
    if let Some(key) = metadata.partition_key {
        set("x-pulsar-partition-key", String::from_utf8_lossy(key).into_owned());
    }
    if let Some(n) = metadata.num_messages_in_batch {
        set("x-pulsar-num-batch-message", n.to_string());
    }
    if let Some(compression) = metadata.compression() {
        set("x-pulsar-compression", format!("{compression:?}").to_uppercase());
        set("x-pulsar-uncompressed-size", metadata.uncompressed_size.to_string());
    }
    let payload =
        wire::entry::payload(&entry).map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok((headers, payload).into_response())
}

async fn properties(State(app): State<App>, Path(name): Name) -> Reply<Json<BTreeMap<String, String>>> {
    let first = each(&app, &topic(&name)?)?.remove(0);
    Ok(Json(app.broker.topic_properties(&first).await?))
}

async fn set_properties(State(app): State<App>, Path(name): Name, bytes: Bytes) -> Reply {
    let properties: BTreeMap<String, String> = reply::required(&bytes)?;
    let changes: BTreeMap<_, _> = properties.into_iter().map(|(k, v)| (k, Some(v))).collect();
    for one in each(&app, &topic(&name)?)? {
        app.broker.set_topic_properties(&one, changes.clone()).await?;
    }
    Ok(Done)
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

async fn remove_property(State(app): State<App>, Path(name): Name, Query(query): Query<Key>) -> Reply {
    for one in each(&app, &topic(&name)?)? {
        app.broker.set_topic_properties(&one, BTreeMap::from([(query.key.clone(), None)])).await?;
    }
    Ok(Done)
}

async fn permissions(State(app): State<App>, Path(name): Name) -> Reply<Json<Value>> {
    app.broker.policies(topic(&name)?.namespace())?;
    Ok(Json(json!({})))
}

async fn unload(State(app): State<App>, Path(name): Name) -> Reply {
    for one in each(&app, &topic(&name)?)? {
        app.broker.unload_topic(&one).await?;
    }
    Ok(Done)
}

async fn terminate(State(app): State<App>, Path(name): Name) -> Reply<Json<MessageIdData>> {
    let name = topic(&name)?;
    if app.broker.partitions(&name)?.is_some() {
        return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Termination of a partitioned topic is not allowed"));
    }
    let position = app.broker.terminate(&name).await?;
    Ok(Json(message_id(position, partition_of(&name), -1)))
}

async fn terminate_partitions(State(app): State<App>, Path(name): Name) -> Reply<Json<Value>> {
    let mut all = json!({});
    for (index, one) in each(&app, &topic(&name)?)?.iter().enumerate() {
        all[index.to_string()] = json!(message_id(app.broker.terminate(one).await?, partition_of(one), -1));
    }
    Ok(Json(all))
}

/// The partitions of a topic, or the topic itself.
fn each(app: &App, name: &TopicName) -> Reply<Vec<TopicName>> {
    app.broker.policies(name.namespace())?;
    Ok(match app.broker.partitions(name)? {
        Some(n) => (0..n).map(|index| name.with_partition(index)).collect(),
        None => vec![name.clone()],
    })
}

async fn subscriptions(State(app): State<App>, Path(name): Name) -> Reply<Json<Vec<String>>> {
    let mut all = Vec::new();
    for one in each(&app, &topic(&name)?)? {
        all.extend(app.broker.subscriptions(&one).await?);
    }
    all.sort();
    all.dedup();
    Ok(Json(all))
}

/// A message id as administrators write it: the text `latest` or `earliest`, or its parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Start {
    Word(String),
    #[serde(rename_all = "camelCase")]
    Id {
        ledger_id: i64,
        entry_id: i64,
        #[serde(default)]
        is_excluded: bool,
        #[serde(default)]
        #[allow(dead_code)]
        properties: Option<Value>,
    },
}

impl Start {
    fn target(&self) -> Reply<SeekTarget> {
        match self {
            Self::Word(word) if word.eq_ignore_ascii_case("latest") => Ok(SeekTarget::Latest),
            Self::Word(word) if word.eq_ignore_ascii_case("earliest") => Ok(SeekTarget::Earliest),
            Self::Word(word) => Err(Failure::bad(format!("expected latest, earliest or a message id, not {word}"))),
            Self::Id { ledger_id: i64::MAX, .. } => Ok(SeekTarget::Latest),
            Self::Id { ledger_id, .. } if *ledger_id < 0 => Ok(SeekTarget::Earliest),
            Self::Id { ledger_id, entry_id, is_excluded, .. } => {
                let position = Position::new(ledger_id.unsigned_abs(), *entry_id);
                Ok(if *is_excluded { SeekTarget::After(position) } else { SeekTarget::Id(position) })
            }
        }
    }
}

async fn create_subscription(State(app): State<App>, Path((t, n, l, subscription)): Sub, bytes: Bytes) -> Reply {
    let name = topic(&(t, n, l))?;
    let target = match reply::body::<Start>(&bytes)? {
        Some(start) => start.target()?,
        None => SeekTarget::Latest,
    };
    let subscription = named(&subscription)?;
    let partitioned = app.broker.partitions(&name)?.is_some();
    let mut exists = 0;
    let all = each(&app, &name)?;
    for one in &all {
        match app.broker.create_subscription(one, subscription, target, BTreeMap::new()).await {
            Ok(()) => {}
            // One that an interrupted request left on some partitions is completed.
            Err(Error::SubscriptionExists { .. }) if partitioned => exists += 1,
            Err(other) => return Err(other.into()),
        }
    }
    if exists == all.len() {
        return Err(Error::SubscriptionExists { topic: name, subscription: subscription.to_owned() }.into());
    }
    Ok(Done)
}

fn named(subscription: &str) -> Reply<&str> {
    if subscription.is_empty() || subscription.len() > 1024 {
        return Err(Failure::bad("a subscription name has 1 to 1024 bytes"));
    }
    Ok(subscription)
}

/// Does something for a subscription of every partition; on a topic without partitions a missing one is an error.
macro_rules! on_each {
    ($app:expr, $name:expr, |$one:ident| $call:expr) => {{
        let name = $name;
        let all = each(&$app, &name)?;
        for $one in &all {
            $call.await?;
        }
        Ok(Done)
    }};
}

async fn delete_subscription(State(app): State<App>, Path((t, n, l, s)): Sub, Query(query): Query<Delete>) -> Reply {
    on_each!(app, topic(&(t, n, l))?, |one| app.broker.delete_subscription(one, &s, query.force))
}

async fn skip(State(app): State<App>, Path((t, n, l, s, count)): SubN) -> Reply {
    on_each!(app, topic(&(t, n, l))?, |one| app.broker.skip_messages(one, &s, count))
}

async fn skip_all(State(app): State<App>, Path((t, n, l, s)): Sub) -> Reply {
    on_each!(app, topic(&(t, n, l))?, |one| app.broker.skip_all(one, &s))
}

async fn reset_to_time(State(app): State<App>, Path((t, n, l, s, ms)): SubN) -> Reply {
    on_each!(app, topic(&(t, n, l))?, |one| app.broker.reset_cursor(one, &s, SeekTarget::Time(ms)))
}

async fn reset_to_message(State(app): State<App>, Path((t, n, l, s)): Sub, bytes: Bytes) -> Reply {
    let target = reply::required::<Start>(&bytes)?.target()?;
    on_each!(app, topic(&(t, n, l))?, |one| app.broker.reset_cursor(one, &s, target))
}

async fn expire(State(app): State<App>, Path((t, n, l, s, seconds)): SubN) -> Reply {
    on_each!(app, topic(&(t, n, l))?, |one| app.broker.expire_messages(one, &s, Duration::from_secs(seconds)))
}

async fn expire_all(State(app): State<App>, Path((t, n, l, seconds)): Path<(String, String, String, u64)>) -> Reply {
    for one in each(&app, &topic(&(t, n, l))?)? {
        for subscription in app.broker.subscriptions(&one).await? {
            app.broker.expire_messages(&one, &subscription, Duration::from_secs(seconds)).await?;
        }
    }
    Ok(Done)
}

async fn peek(State(app): State<App>, Path((t, n, l, s, count)): SubN) -> Reply<Response> {
    entry_response(app.broker.peek_message(&topic(&(t, n, l))?, &s, count).await?)
}

async fn schema(State(app): State<App>, Path(name): Name) -> Reply<Json<Value>> {
    schema_json(&app, &topic(&name)?, None).await
}

async fn schema_version(
    State(app): State<App>,
    Path((t, n, l, version)): Path<(String, String, String, u64)>,
) -> Reply<Json<Value>> {
    let version = Bytes::copy_from_slice(&version.to_be_bytes());
    schema_json(&app, &topic(&(t, n, l))?, Some(version)).await
}

async fn schema_json(app: &App, name: &TopicName, version: Option<Bytes>) -> Reply<Json<Value>> {
    let Some((schema, version)) = app.broker.schema(name, version).await? else {
        return Err(Failure::not_found("Schema not found"));
    };
    let version = version[..].try_into().map_or(0, u64::from_be_bytes);
    let kind = wire::proto::schema::Type::try_from(schema.kind).map_or("NONE", |kind| kind.as_str_name());
    Ok(Json(json!({
        "version": version, "type": kind.to_uppercase(), "timestamp": 0,
        "data": String::from_utf8_lossy(&schema.data), "properties": schema.properties
    })))
}
