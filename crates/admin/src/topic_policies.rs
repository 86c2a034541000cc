//! `/admin/v2/persistent/...`: what one topic says about itself; it goes before what its namespace says.
//!
//! What is set for a partitioned topic holds for all its partitions. `?applied=true` asks for what holds in the end: the
//! topic's own word, else its namespace's, else the broker's. Source: `PersistentTopicsBase`, PIP-39.

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use broker::Config;
use model::{
    AutoSubscriptionCreation, BacklogQuota, BacklogQuotaType, DelayedDeliveryPolicies, NamespacePolicies,
    PersistencePolicies, PublishRate, RetentionPolicies, RetentionPolicy, SchemaCompatibility, SubscriptionType,
    TopicLevelPolicies, TopicName,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::{
    App,
    at::{At, Query},
    namespaces::{QuotaQuery, check_persistence, check_retention, fits, quota_map, quota_of},
    reply::{self, Done, Failure, Reply, Setting},
    topics::existing,
};

/// Policies of Pulsar's topics that this broker does not keep yet, with what Pulsar answers while they are not set, and what
/// applies then.
const NOT_KEPT: [(&str, Unset, &str); 10] = [
    ("deduplicationSnapshotInterval", Unset::Empty, ""),
    ("dispatchRate", Unset::Empty, UNBOUND),
    ("subscriptionDispatchRate", Unset::Empty, UNBOUND),
    ("replicatorDispatchRate", Unset::Empty, UNBOUND),
    ("subscribeRate", Unset::Empty, r#"{"subscribeThrottlingRatePerConsumer":0,"ratePeriodInSecond":30}"#),
    ("inactiveTopicPolicies", Unset::Empty, ""),
    ("offloadPolicies", Unset::Empty, ""),
    ("replication", Unset::Empty, ""),
    ("entryFilters", Unset::Empty, ""),
    ("dispatcherPauseOnAckStatePersistent", Unset::Is("false"), ""),
];

const UNBOUND: &str = r#"{"dispatchThrottlingRateInMsg":0,"dispatchThrottlingRateInByte":0,"relativeToPublishRate":false,
    "ratePeriodInSecond":1}"#;

/// How Pulsar answers for what is not set; it has several ways.
#[derive(Clone, Copy)]
enum Unset {
    /// 200 without a body.
    Empty,
    /// 204.
    NoContent,
    /// JSON.
    Is(&'static str),
}

impl Unset {
    fn answer(self) -> Response {
        match self {
            Self::Empty => reply::optional(None::<()>),
            Self::NoContent => Done.into_response(),
            Self::Is(json) => reply::optional(serde_json::from_str::<Value>(json).ok()),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Applied {
    #[serde(default)]
    pub(crate) applied: bool,
}

/// GET, POST and DELETE of one policy: its field here and in the namespace, and the broker's default, which is shown where
/// a client asks for what applies; or how Pulsar answers, where it does not look at what applies.
macro_rules! policy {
    ($router:expr, $path:literal, $own:ident: $type:ty, $refusal:expr, $check:expr, $get:expr) => {
        $router.route(
            concat!("/{tenant}/{namespace}/{topic}/", $path),
            $get.post(|State(app): State<App>, at: At, bytes: Bytes| async move {
                let name = topic(&app, &at).await?;
                let value = <$type as Setting>::of(&bytes, $refusal)?;
                let check: fn(&$type, &TopicLevelPolicies) -> Reply<()> = $check;
                check(&value, &app.broker.topic_policies(&name))?;
                app.broker.update_topic_policies(&name, |p| p.$own = Some(value)).await?;
                Ok::<_, Failure>(Done)
            })
            .delete(|State(app): State<App>, at: At| async move {
                let name = topic(&app, &at).await?;
                app.broker.update_topic_policies(&name, |p| p.$own = None).await?;
                Ok::<_, Failure>(Done)
            }),
        )
    };
}

/// GET of a policy that may be asked for as it applies.
macro_rules! applied {
    ($own:ident, $namespace:ident, $default:expr) => {
        get(|State(app): State<App>, at: At, Query(query): Query<Applied>| async move {
            let name = topic(&app, &at).await?;
            let mut value = app.broker.topic_policies(&name).$own;
            if query.applied {
                let namespace = app.broker.policies(name.namespace())?.$namespace;
                value = value.or(namespace).or_else(|| $default(app.broker.config()));
            }
            Ok::<_, Failure>(reply::optional(value))
        })
    };
}

/// GET of a policy where Pulsar looks at the topic alone.
macro_rules! own {
    ($own:ident) => {
        get(|State(app): State<App>, at: At| async move {
            let name = topic(&app, &at).await?;
            let value = app.broker.topic_policies(&name).$own;
            Ok::<_, Failure>(if value.is_some() { reply::optional(value) } else { Unset::NoContent.answer() })
        })
    };
}

pub(crate) fn routes() -> Router<App> {
    let at = |path: &str| format!("/{{tenant}}/{{namespace}}/{{topic}}/{path}");
    let mut router = Router::new()
        .route(&at("maxMessageSize"), own!(max_message_size).post(set_size).delete(remove_size))
        .route(&at("messageTTL"), get(ttl).post(set_ttl).delete(remove_ttl))
        .route(&at("subscriptionTypesEnabled"), get(types).post(set_types).delete(remove_types))
        .route(&at("backlogQuotaMap"), get(quotas))
        .route(&at("backlogQuota"), post(set_quota).delete(remove_quota))
        .route(&at("schemaCompatibilityStrategy"), get(strategy).put(set_strategy).delete(remove_strategy))
        .route(&at("schemaValidationEnforced"), get(needs_schema).post(set_needs_schema));
    for (policy, unset, applied) in NOT_KEPT {
        let refuse = move |State(app): State<App>, at: At| async move {
            let checked = topic(&app, &at).await;
            checked.err().unwrap_or_else(|| Failure::not_allowed(format!("{policy} of a topic is not supported yet")))
        };
        let show = move |State(app): State<App>, at: At, Query(query): Query<Applied>| async move {
            topic(&app, &at).await?;
            let applies = if query.applied && !applied.is_empty() { Unset::Is(applied) } else { unset };
            Ok::<_, Failure>(applies.answer())
        };
        // What is never set is removed without complaint.
        let remove = |State(app): State<App>, at: At| async move {
            topic(&app, &at).await?;
            Ok::<_, Failure>(Done)
        };
        router = router.route(&at(policy), any(refuse).get(show).delete(remove));
    }
    router = policy!(
        router, "retention", retention_policies: RetentionPolicies, "", check_own_retention,
        applied!(retention_policies, retention_policies, default_retention)
    );
    router = policy!(
        router, "deduplicationEnabled", deduplication_enabled: bool, "", unchecked,
        applied!(deduplication_enabled, deduplication_enabled, |c: &Config| Some(c.deduplication_enabled))
    );
    router = policy!(
        router, "persistence", persistence: PersistencePolicies, "", |policy, _| check_persistence(policy),
        applied!(persistence, persistence, |_| Some(ONE_COPY))
    );
    router = policy!(
        router, "compactionThreshold", compaction_threshold: u64, "Invalid value for compactionThreshold", unchecked,
        applied!(compaction_threshold, compaction_threshold, |_| Some(0))
    );
    const UNACKED: &str = "maxUnackedNum must be 0 or more";
    router = policy!(
        router, "maxUnackedMessagesOnConsumer", max_unacked_messages_per_consumer: u32, UNACKED, unchecked,
        applied!(max_unacked_messages_per_consumer, max_unacked_messages_per_consumer, |c: &Config| {
            Some(c.max_unacked_messages_per_consumer)
        })
    );
    router = policy!(
        router, "maxUnackedMessagesOnSubscription", max_unacked_messages_per_subscription: u32, UNACKED, unchecked,
        applied!(max_unacked_messages_per_subscription, max_unacked_messages_per_subscription, |c: &Config| {
            Some(c.max_unacked_messages_per_subscription)
        })
    );
    router = policy!(
        router, "maxProducers", max_producers: u32, "maxProducers must be 0 or more", unchecked,
        applied!(max_producers, max_producers_per_topic, |c: &Config| u32::try_from(c.max_producers_per_topic).ok())
    );
    router = policy!(
        router, "maxConsumers", max_consumers: u32, "maxConsumers must be 0 or more", unchecked,
        applied!(max_consumers, max_consumers_per_topic, |c: &Config| u32::try_from(c.max_consumers_per_topic).ok())
    );
    router = policy!(
        router, "maxConsumersPerSubscription", max_consumers_per_subscription: u32,
        "Invalid value for maxConsumersPerSubscription", unchecked, own!(max_consumers_per_subscription)
    );
    router = policy!(
        router, "delayedDelivery", delayed_delivery: DelayedDeliveryPolicies, "", unchecked,
        applied!(delayed_delivery, delayed_delivery, |_| Some(ON_TIME))
    );
    router = policy!(router, "publishRate", publish_rate: PublishRate, "", unchecked, own!(publish_rate));
    router = policy!(
        router, "autoSubscriptionCreation", auto_subscription_creation: AutoSubscriptionCreation, "", unchecked,
        applied!(auto_subscription_creation, auto_subscription_creation, |c: &Config| Some(AutoSubscriptionCreation {
            allow_auto_subscription_creation: c.allow_auto_subscription_creation
        }))
    );
    policy!(
        router, "maxSubscriptionsPerTopic", max_subscriptions: u32, "maxSubscriptionsPerTopic must be 0 or more",
        unchecked, own!(max_subscriptions)
    )
}

/// Copies are what the storage below makes, so this is what is shown where nobody said anything.
const ONE_COPY: PersistencePolicies = PersistencePolicies {
    bookkeeper_ensemble: 1,
    bookkeeper_write_quorum: 1,
    bookkeeper_ack_quorum: 1,
    managed_ledger_max_mark_delete_rate: 1.0,
};

/// What Pulsar shows where nobody said anything.
const ON_TIME: DelayedDeliveryPolicies =
    DelayedDeliveryPolicies { tick_time: 1000, active: true, max_delivery_delay_in_millis: 0 };

fn unchecked<T>(_: &T, _: &TopicLevelPolicies) -> Reply<()> {
    Ok(())
}

fn default_retention(config: &Config) -> Option<RetentionPolicies> {
    let (minutes, mebibytes) = (config.default_retention_time.as_secs() / 60, config.default_retention_bytes >> 20);
    Some(RetentionPolicies {
        retention_time_in_minutes: i64::try_from(minutes).unwrap_or(-1),
        retention_size_in_mb: i64::try_from(mebibytes).unwrap_or(-1),
    })
}

/// As for a namespace, with other words and another status. Source: `PersistentTopicsBase.internalSetRetention`.
fn check_own_retention(retention: &RetentionPolicies, own: &TopicLevelPolicies) -> Reply<()> {
    let alone = check_retention(retention, &NamespacePolicies::default());
    alone.map_err(|failure| failure.with(StatusCode::BAD_REQUEST))?;
    if own.backlog_quota_map.values().any(|quota| !fits(quota, retention)) {
        return Err(Failure::precondition(
            "Retention Quota must exceed configured backlog quota for topic. Please increase retention quota and retry",
        ));
    }
    Ok(())
}

/// The topic of a request, which must exist.
async fn topic(app: &App, at: &At) -> Reply<TopicName> {
    let name = at.topic()?;
    if name.partition().is_some() {
        return Err(Failure::precondition("Not allowed to set/get topic policy for a partition"));
    }
    existing(app, &name).await?;
    Ok(name)
}

/// Source: `PersistentTopicsBase.internalSetMaxMessageSize`.
async fn set_size(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    const REFUSAL: &str = "topic-level maxMessageSize must be greater than or equal to 0 and must be smaller than that \
                           in the broker-level";
    let name = topic(&app, &at).await?;
    let size = u32::of(&bytes, REFUSAL)?;
    if size as usize > app.broker.config().max_message_size {
        return Err(Failure::precondition(REFUSAL));
    }
    app.broker.update_topic_policies(&name, |p| p.max_message_size = Some(size)).await?;
    Ok(Done)
}

async fn remove_size(State(app): State<App>, at: At) -> Reply {
    let name = topic(&app, &at).await?;
    app.broker.update_topic_policies(&name, |p| p.max_message_size = None).await?;
    Ok(Done)
}

async fn ttl(State(app): State<App>, at: At, Query(query): Query<Applied>) -> Reply<Response> {
    let name = topic(&app, &at).await?;
    let mut ttl = app.broker.topic_policies(&name).message_ttl_in_seconds;
    if query.applied && ttl.is_none() {
        let default = u32::try_from(app.broker.config().default_message_ttl.as_secs()).unwrap_or(u32::MAX);
        ttl = Some(app.broker.policies(name.namespace())?.message_ttl_in_seconds.unwrap_or(default));
    }
    Ok(reply::optional(ttl))
}

#[derive(Deserialize)]
struct Ttl {
    #[serde(rename = "messageTTL", default)]
    seconds: i64,
}

async fn set_ttl(State(app): State<App>, at: At, Query(query): Query<Ttl>) -> Reply {
    let name = topic(&app, &at).await?;
    let Ok(seconds) = u32::try_from(query.seconds) else {
        return Err(Failure::precondition("Invalid value for message TTL"));
    };
    app.broker.update_topic_policies(&name, |p| p.message_ttl_in_seconds = Some(seconds)).await?;
    Ok(Done)
}

async fn remove_ttl(State(app): State<App>, at: At) -> Reply {
    let name = topic(&app, &at).await?;
    app.broker.update_topic_policies(&name, |p| p.message_ttl_in_seconds = None).await?;
    Ok(Done)
}

async fn quotas(State(app): State<App>, at: At, Query(query): Query<Applied>) -> Reply<Json<impl Serialize>> {
    let name = topic(&app, &at).await?;
    let mut quotas = BTreeMap::new();
    if query.applied {
        quotas.extend(app.broker.policies(name.namespace())?.backlog_quota_map.clone());
    }
    quotas.extend(app.broker.topic_policies(&name).backlog_quota_map.clone());
    if query.applied && quotas.is_empty() {
        let bytes = app.broker.config().default_backlog_quota_bytes;
        let limit_size = i64::try_from(bytes).ok().filter(|&bytes| bytes > 0).unwrap_or(-1);
        let none = BacklogQuota { limit_size: -1, limit_time: -1, policy: RetentionPolicy::default() };
        quotas.insert(BacklogQuotaType::DestinationStorage, BacklogQuota { limit_size, ..none });
        quotas.insert(BacklogQuotaType::MessageAge, none);
    }
    Ok(Json(quota_map(&quotas)))
}

async fn set_quota(State(app): State<App>, at: At, Query(query): Query<QuotaQuery>, bytes: Bytes) -> Reply {
    let name = topic(&app, &at).await?;
    let kind = query.kind.unwrap_or(BacklogQuotaType::DestinationStorage);
    let quota = quota_of(kind, reply::required(&bytes)?);
    let own = app.broker.topic_policies(&name).retention_policies;
    let retention = own.or(app.broker.policies(name.namespace())?.retention_policies);
    if retention.is_some_and(|retention| !fits(&quota, &retention)) {
        return Err(Failure::precondition(
            "Backlog Quota exceeds configured retention quota for topic. Please increase retention quota and retry",
        ));
    }
    app.broker
        .update_topic_policies(&name, |p| {
            p.backlog_quota_map.insert(kind, quota);
        })
        .await?;
    Ok(Done)
}

async fn remove_quota(State(app): State<App>, at: At, Query(query): Query<QuotaQuery>) -> Reply {
    let name = topic(&app, &at).await?;
    let kind = query.kind.unwrap_or(BacklogQuotaType::DestinationStorage);
    app.broker
        .update_topic_policies(&name, |p| {
            p.backlog_quota_map.remove(&kind);
        })
        .await?;
    Ok(Done)
}

async fn types(State(app): State<App>, at: At) -> Reply<Json<Vec<SubscriptionType>>> {
    let name = topic(&app, &at).await?;
    Ok(Json(app.broker.topic_policies(&name).subscription_types_enabled.clone()))
}

async fn set_types(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = topic(&app, &at).await?;
    let types: Vec<SubscriptionType> = reply::required(&bytes)?;
    app.broker.update_topic_policies(&name, |p| p.subscription_types_enabled = types).await?;
    Ok(Done)
}

async fn remove_types(State(app): State<App>, at: At) -> Reply {
    let name = topic(&app, &at).await?;
    app.broker.update_topic_policies(&name, |p| p.subscription_types_enabled.clear()).await?;
    Ok(Done)
}

async fn strategy(State(app): State<App>, at: At, Query(query): Query<Applied>) -> Reply<Response> {
    let name = topic(&app, &at).await?;
    let own = app.broker.topic_policies(&name).schema_compatibility_strategy;
    Ok(reply::optional(if query.applied { Some(app.broker.schema_strategy(&name)) } else { own }))
}

async fn set_strategy(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = topic(&app, &at).await?;
    let strategy = Some(SchemaCompatibility::of(&bytes, "")?).filter(|set| *set != SchemaCompatibility::Undefined);
    app.broker.update_topic_policies(&name, |p| p.schema_compatibility_strategy = strategy).await?;
    Ok(Done)
}

async fn remove_strategy(State(app): State<App>, at: At) -> Reply {
    let name = topic(&app, &at).await?;
    app.broker.update_topic_policies(&name, |p| p.schema_compatibility_strategy = None).await?;
    Ok(Done)
}

async fn needs_schema(State(app): State<App>, at: At, Query(query): Query<Applied>) -> Reply<Json<bool>> {
    let name = topic(&app, &at).await?;
    let mut enforced = app.broker.topic_policies(&name).schema_validation_enforced;
    if query.applied {
        let namespace = app.broker.policies(name.namespace())?.schema_validation_enforced;
        enforced = enforced.or(Some(namespace || app.broker.config().schema_validation_enforced));
    }
    Ok(Json(enforced.unwrap_or(false)))
}

async fn set_needs_schema(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = topic(&app, &at).await?;
    let enforced = bool::of(&bytes, "")?;
    app.broker.update_topic_policies(&name, |p| p.schema_validation_enforced = Some(enforced)).await?;
    Ok(Done)
}
