//! `/admin/v2/persistent/.../subscription`: subscriptions of a topic, or of all partitions of one.

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    routing::{get, post, put},
};
use broker::{Error, SeekTarget};
use model::{Position, TopicName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use wire::batch::MESSAGES_MAX;

use crate::{
    App,
    at::{At, Query},
    reply::{self, Done, Failure, Reply, in_namespace},
    tenants::Force,
    topics::{each, missing, partition_count, single},
};

pub(crate) fn routes() -> Router<App> {
    let t = "/{tenant}/{namespace}/{topic}";
    let s = "/{tenant}/{namespace}/{topic}/subscription/{subscription}";
    let on = |path: &str| format!("{s}/{path}");
    Router::new()
        .route(&format!("{t}/subscriptions"), get(list))
        .route(&format!("{t}/all_subscription/expireMessages/{{seconds}}"), post(expire_all))
        .route(s, put(create).delete(delete))
        .route(&on("properties"), get(properties).put(set_properties))
        .route(&on("skip/{n}"), post(skip))
        .route(&on("skip_all"), post(skip_all))
        .route(&on("resetcursor/{timestamp}"), post(reset_to_time))
        .route(&on("resetcursor"), post(reset_to_message))
        .route(&on("expireMessages/{seconds}"), post(expire))
        .route(&on("expireMessages"), post(expire_to_message))
        .route(&on("analyzeBacklog"), post(analyze))
}

async fn list(State(app): State<App>, at: At) -> Reply<Json<Vec<String>>> {
    let mut all = Vec::new();
    for one in each(&app, &at.topic()?).await? {
        match app.broker.subscriptions(&one).await {
            Ok(names) => all.extend(names),
            // A partition that was not created has none.
            Err(Error::TopicNotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
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
        partition_index: Option<i32>,
        #[serde(default)]
        batch_index: Option<i32>,
        #[serde(default, alias = "excluded")]
        is_excluded: bool,
        #[serde(default)]
        properties: Option<BTreeMap<String, String>>,
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
                // Entries count from 0; -1 is before the first. The last number there is has no successor.
                let position = Position::new(ledger_id.unsigned_abs(), (*entry_id).clamp(-1, i64::MAX - 1));
                Ok(if *is_excluded { SeekTarget::After(position) } else { SeekTarget::Id(position) })
            }
        }
    }

    /// The message of a batch that is meant, when one is.
    fn within(&self) -> Option<(Position, u32, bool)> {
        let Self::Id { ledger_id, entry_id, batch_index: Some(index), is_excluded, .. } = self else { return None };
        let entry = Position::new(u64::try_from(*ledger_id).ok()?, *entry_id);
        let is_stored = *ledger_id < i64::MAX && *entry_id >= 0;
        Some((entry, u32::try_from(*index).ok()?, *is_excluded)).filter(|_| is_stored)
    }

    fn properties(self) -> BTreeMap<String, String> {
        match self {
            Self::Word(_) => BTreeMap::new(),
            Self::Id { properties, .. } => properties.unwrap_or_default(),
        }
    }
}

async fn create(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.topic()?;
    let subscription = at.subscription()?;
    let start = reply::body::<Start>(&bytes)?;
    let target = start.as_ref().map_or(Ok(SeekTarget::Latest), Start::target)?;
    let properties = start.map(Start::properties).unwrap_or_default();
    create_topic(&app, &name).await?;
    let partitioned = partition_count(&app, &name)?.is_some();
    let all = each(&app, &name).await?;
    let mut exists = 0;
    for one in &all {
        match app.broker.create_subscription(one, subscription, target, properties.clone()).await {
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

/// A subscription on a missing topic creates that, where clients may.
async fn create_topic(app: &App, name: &TopicName) -> Reply<()> {
    let policies = app.broker.policies(name.namespace()).map_err(in_namespace)?;
    if app.broker.exists(name).await? {
        return Ok(());
    }
    let config = app.broker.config();
    let auto = policies.auto_topic_creation.as_ref();
    if !auto.map_or(config.allow_auto_topic_creation, |auto| auto.allow_auto_topic_creation) {
        return Err(missing(app, name));
    }
    if app.broker.partitioned_metadata(name, true).await? > 0 {
        return Ok(());
    }
    if let Some(index) = name.partition()
        && partition_count(app, &name.partitioned())?.is_none_or(|n| index >= n)
    {
        return Err(missing(app, name));
    }
    match app.broker.create_topic(name, BTreeMap::new()).await {
        Ok(()) | Err(Error::TopicExists(_)) => Ok(()),
        Err(other) => Err(in_namespace(other)),
    }
}

async fn delete(State(app): State<App>, at: At, Query(query): Query<Force>) -> Reply {
    let name = at.topic()?;
    let partitioned = partition_count(&app, &name)?.is_some();
    for one in each(&app, &name).await? {
        app.broker.delete_subscription(&one, at.subscription()?, query.force).await.map_err(|e| match e {
            Error::SubscriptionNotFound { .. } if partitioned => Failure::not_found("Subscription not found"),
            other => other.into(),
        })?;
    }
    Ok(Done)
}

async fn properties(State(app): State<App>, at: At) -> Reply<Json<BTreeMap<String, String>>> {
    let name = at.topic()?;
    let mut all = BTreeMap::new();
    for one in each(&app, &name).await? {
        let found = app.broker.subscription_properties(&one, at.subscription()?).await;
        all.extend(found.map_err(|e| of_whole(&name, e))?);
    }
    Ok(Json(all))
}

async fn set_properties(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.topic()?;
    let properties: BTreeMap<String, String> = reply::body(&bytes)?.unwrap_or_default();
    for one in each(&app, &name).await? {
        let set = app.broker.set_subscription_properties(&one, at.subscription()?, properties.clone()).await;
        set.map_err(|e| of_whole(&name, e))?;
    }
    Ok(Done)
}

async fn skip(State(app): State<App>, at: At) -> Reply {
    let name = at.topic()?;
    let n: u64 = at.number("n")?;
    single(&app, &name, "Skip messages on a partitioned topic is not allowed").await?;
    app.broker.skip_messages(&name, at.subscription()?, n).await?;
    Ok(Done)
}

async fn skip_all(State(app): State<App>, at: At) -> Reply {
    let name = at.topic()?;
    for one in each(&app, &name).await? {
        app.broker.skip_all(&one, at.subscription()?).await.map_err(|e| of_whole(&name, e))?;
    }
    Ok(Done)
}

/// Names the topic that was asked for, not its partition.
fn of_whole(name: &TopicName, error: Error) -> Failure {
    match error {
        Error::SubscriptionNotFound { subscription, .. } => {
            Error::SubscriptionNotFound { topic: name.clone(), subscription }.into()
        }
        other => other.into(),
    }
}

async fn reset_to_time(State(app): State<App>, at: At) -> Reply {
    let ms: i64 = at.number("timestamp")?;
    let target = SeekTarget::Time(u64::try_from(ms).unwrap_or(0));
    for one in each(&app, &at.topic()?).await? {
        app.broker.reset_cursor(&one, at.subscription()?, target).await?;
    }
    Ok(Done)
}

async fn reset_to_message(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.topic()?;
    let start = reply::required::<Start>(&bytes)?;
    let mut target = start.target()?;
    single(&app, &name, "Reset-cursor at position is not allowed for partitioned-topic").await?;
    if let Some((entry, index, excluded)) = start.within() {
        target = message_of(&app, &name, entry, index, excluded).await?.unwrap_or(target);
    }
    app.broker.reset_cursor(&name, at.subscription()?, target).await?;
    Ok(Done)
}

/// A message of a batch. `None` where the whole entry, or what follows it, is meant: it is not stored, or no batch, or it has no
/// message before or after this one. Source: `PersistentTopicsBase.calculatePositionAckSet`.
async fn message_of(
    app: &App,
    topic: &TopicName,
    entry: Position,
    index: u32,
    excluded: bool,
) -> Reply<Option<SeekTarget>> {
    let Some((_, data)) = app.broker.read_message(topic, entry).await? else { return Ok(None) };
    let in_batch = wire::entry::metadata(&data).ok().and_then(|metadata| metadata.num_messages_in_batch);
    let messages = in_batch.and_then(|n| u32::try_from(n).ok()).unwrap_or(1).min(MESSAGES_MAX);
    let first = index.saturating_add(u32::from(excluded));
    Ok(match first {
        0 => Some(SeekTarget::Id(entry)),
        _ if first < messages => Some(SeekTarget::Within { entry, first, messages }),
        _ => Some(SeekTarget::After(entry)).filter(|_| excluded),
    })
}

/// Nothing is filtered here: what is accepted is all.
///
/// Source: Pulsar's `AnalyzeSubscriptionBacklogResult`.
async fn analyze(State(app): State<App>, at: At, bytes: Bytes) -> Reply<Json<Value>> {
    let name = at.topic()?;
    let start = match reply::body::<Start>(&bytes)?.map(|start| start.target()).transpose()? {
        Some(SeekTarget::Id(position) | SeekTarget::After(position)) => Some(position),
        _ => None,
    };
    let why_not = "Analyze backlog on a partitioned topic is not allowed, please try do it on specific topic partition";
    single(&app, &name, why_not).await?;
    let found = app.broker.analyze_backlog(&name, at.subscription()?, start).await?;
    let id = |position: Option<Position>| position.map(|p| format!("{}:{}", p.ledger, p.entry));
    Ok(Json(json!({
        "entries": found.entries,
        "messages": found.messages,
        "markerMessages": 0,
        "filterAcceptedEntries": found.entries,
        "filterRejectedEntries": 0,
        "filterRescheduledEntries": 0,
        "filterAcceptedMessages": found.messages,
        "filterRejectedMessages": 0,
        "filterRescheduledMessages": 0,
        "aborted": found.aborted,
        "firstMessageId": id(found.first),
        "lastMessageId": id(found.last),
    })))
}

async fn expire(State(app): State<App>, at: At) -> Reply {
    let name = at.topic()?;
    let older_than = at.seconds()?;
    let subscription = at.subscription()?;
    for one in each(&app, &name).await? {
        expire_one(&app, &one, subscription, older_than).await.map_err(|e| match e {
            Expire::Broker(error) => of_whole(&name, error),
            Expire::Nothing => nothing_expired(&one, subscription),
        })?;
    }
    Ok(Done)
}

/// Source: `PersistentTopicsBase.internalExpireMessagesByPosition`.
async fn expire_to_message(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let (name, subscription) = (at.topic()?, at.subscription()?);
    let start = reply::required::<Start>(&bytes)?;
    single(&app, &name, "Expire message at position is not supported for partitioned-topic").await?;
    let own = name.partition().and_then(|index| i32::try_from(index).ok()).unwrap_or(-1);
    if matches!(start, Start::Id { partition_index: Some(index), .. } if index != own) {
        return Err(Failure::precondition(
            "Invalid parameter for expire message by position, partition index of passed in message position doesn't \
             match partition index for the topic",
        ));
    }
    let expired = match start.target()? {
        SeekTarget::Id(position) => app.broker.expire_up_to(&name, subscription, position, false).await?,
        SeekTarget::After(position) => app.broker.expire_up_to(&name, subscription, position, true).await?,
        _ => false,
    };
    if expired {
        return Ok(Done);
    }
    Err(Failure::conflict(format!(
        "Expire message by position not issued on topic {name} for subscription {subscription} due to ongoing message \
         expiration not finished or subscription almost catch up."
    )))
}

async fn expire_all(State(app): State<App>, at: At) -> Reply {
    let older_than = at.seconds()?;
    for one in each(&app, &at.topic()?).await? {
        for subscription in app.broker.subscriptions(&one).await? {
            // What compaction left does not grow old.
            if subscription == broker::COMPACTION_SUBSCRIPTION {
                continue;
            }
            expire_one(&app, &one, &subscription, older_than).await.map_err(|e| match e {
                Expire::Broker(error) => error.into(),
                Expire::Nothing => nothing_expired(&one, &subscription),
            })?;
        }
    }
    Ok(Done)
}

enum Expire {
    Broker(Error),
    /// Pulsar does not begin when there is little backlog and nothing of it is old enough.
    Nothing,
}

/// Backlogs above this are looked at in any case. Source: `PersistentSubscription.expireMessages`.
const SMALL_BACKLOG: i64 = 1000;

async fn expire_one(app: &App, topic: &TopicName, subscription: &str, older_than: Duration) -> Result<(), Expire> {
    let backlog = async || {
        let stats = app.broker.topic_stats(topic).await?;
        let missing = || Error::SubscriptionNotFound { topic: topic.clone(), subscription: subscription.to_owned() };
        stats.subscriptions.get(subscription).map(|s| s.msg_backlog).ok_or_else(missing)
    };
    let before = backlog().await.map_err(Expire::Broker)?;
    app.broker.expire_messages(topic, subscription, older_than).await.map_err(Expire::Broker)?;
    if before >= SMALL_BACKLOG || backlog().await.map_err(Expire::Broker)? < before {
        return Ok(());
    }
    Err(Expire::Nothing)
}

fn nothing_expired(topic: &TopicName, subscription: &str) -> Failure {
    Failure::conflict(format!(
        "Expire message by timestamp not issued on topic {topic} for subscription {subscription} due to ongoing message \
         expiration not finished or subscription almost catch  up. If it's performed on a partitioned topic operation \
         might succeeded on other partitions, please check stats of individual partition."
    ))
}
