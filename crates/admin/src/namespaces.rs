//! `/admin/v2/namespaces`: namespaces and their policies.

use admin_api::BacklogQuotaData;
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{delete, get, post, put},
};
use broker::Error;
use model::{
    AutoSubscriptionCreation, AutoTopicCreation, BacklogQuota, BacklogQuotaType, DelayedDeliveryPolicies,
    NamespacePolicies, PersistencePolicies, PublishRate, RetentionPolicies, SchemaAutoUpdate, SchemaCompatibility,
    SubscriptionType, TopicName,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{
    App,
    at::{At, Query},
    reply::{self, Done, Failure, Reply, Setting, in_namespace},
    tenants::Force,
    topic_policies::Applied,
};

/// GET, POST and DELETE of one optional policy; `$check` refuses what Pulsar refuses, `$unset` is shown for what is not set.
macro_rules! policy {
    ($router:expr, $path:literal, $field:ident: $type:ty, $check:expr, $unset:expr) => {
        $router.route(
            concat!("/{tenant}/{namespace}/", $path),
            get(|State(app): State<App>, at: At| async move {
                let value: Option<$type> = app.broker.policies(&at.namespace()?)?.$field.clone();
                Ok::<_, Failure>(reply::optional(value.or($unset)))
            })
            .post(|State(app): State<App>, at: At, bytes: Bytes| async move {
                let name = at.namespace()?;
                let value = <$type as Setting>::of(&bytes, concat!($path, " must be 0 or more"))?;
                let check: fn(&$type, &NamespacePolicies) -> Reply<()> = $check;
                check(&value, &*app.broker.policies(&name)?)?;
                app.broker.update_policies(&name, |p| p.$field = Some(value.clone())).await?;
                Ok::<_, Failure>(Done)
            })
            .delete(|State(app): State<App>, at: At| async move {
                app.broker.update_policies(&at.namespace()?, |p| p.$field = None).await?;
                Ok::<_, Failure>(Done)
            }),
        )
    };
    ($router:expr, $path:literal, $field:ident: $type:ty) => {
        policy!($router, $path, $field: $type, |_, _| Ok(()), None)
    };
}

/// Policies of Pulsar that this broker does not keep yet, with what holds as long as nobody sets them.
const NOT_KEPT: [(&str, &str); 17] = [
    ("inactiveTopicPolicies", ""),
    ("dispatchRate", ""),
    ("subscriptionDispatchRate", ""),
    ("replicatorDispatchRate", ""),
    ("subscribeRate", ""),
    ("offloadThreshold", "-1"),
    ("offloadThresholdInSeconds", "-1"),
    ("offloadDeletionLagMs", ""),
    ("offloadPolicies", ""),
    ("subscriptionExpirationTime", ""),
    ("subscriptionAuthMode", "\"None\""),
    ("deduplicationSnapshotInterval", ""),
    ("resourcegroup", ""),
    ("entryFilters", ""),
    ("antiAffinity", ""),
    ("dispatcherPauseOnAckStatePersistent", "false"),
    ("allowedClusters", "[]"),
];

pub(crate) fn routes() -> Router<App> {
    let mut router = Router::new()
        .route("/{tenant}", get(list))
        .route("/{tenant}/{namespace}", get(policies).put(create).merge(delete(remove)))
        .route("/{tenant}/{namespace}/topics", get(topics))
        .route("/{tenant}/{namespace}/destinations", get(topics))
        .route("/{tenant}/{namespace}/permissions", get(permissions))
        .route("/{tenant}/{namespace}/permissions/subscription", get(permissions))
        .route("/{tenant}/{namespace}/permissions/{role}", post(no_permissions).delete(no_permissions))
        .route("/{tenant}/{namespace}/permissions/{subscription}/{role}", delete(no_permissions))
        .route("/{tenant}/{namespace}/permissions/subscription/{subscription}", post(no_permissions))
        .route("/{tenant}/{namespace}/bundles", get(show_bundles))
        .route("/{tenant}/{namespace}/replication", get(replication).post(set_replication))
        .route("/{tenant}/{namespace}/subscriptionTypesEnabled", get(types).post(set_types).delete(remove_types))
        .route("/{tenant}/{namespace}/backlogQuotaMap", get(quotas))
        .route("/{tenant}/{namespace}/backlogQuota", post(set_quota).delete(remove_quota))
        .merge(schema_policies())
        .route("/{tenant}/{namespace}/encryptionRequired", get(encryption).post(set_encryption))
        .route("/{tenant}/{namespace}/unload", put(unload))
        .route("/{tenant}/{namespace}/{bundle}/unload", put(unload))
        .route("/{tenant}/{namespace}/{bundle}/split", put(no_split))
        .route("/{tenant}/{namespace}/clearBacklog", post(clear))
        .route("/{tenant}/{namespace}/clearBacklog/{subscription}", post(clear))
        .route("/{tenant}/{namespace}/unsubscribe/{subscription}", post(unsubscribe));
    for (name, default) in NOT_KEPT {
        let show = move |State(app): State<App>, at: At| async move {
            app.broker.policies(&at.namespace()?)?;
            let default: Option<Value> = serde_json::from_str(default).ok();
            Ok::<_, Failure>(reply::optional(default))
        };
        let remove = move |State(app): State<App>, at: At| async move {
            app.broker.policies(&at.namespace()?)?;
            Ok::<_, Failure>(Done)
        };
        // Setting what holds anyway is no error, nor is removing it, for which some are sent without a body; what would not be
        // kept is not taken.
        let set = move |State(app): State<App>, at: At, bytes: Bytes| async move {
            app.broker.policies(&at.namespace()?)?;
            let (wanted, holds) = (reply::body::<Value>(&bytes)?, serde_json::from_str::<Value>(default).ok());
            if wanted.is_none() || wanted == holds {
                return Ok(Done);
            }
            Err(Failure::not_allowed(format!("{name} of a namespace is not supported yet")))
        };
        let path = format!("/{{tenant}}/{{namespace}}/{name}");
        router = router.route(&path, get(show).put(set).post(set).delete(remove));
    }
    let router = policy!(router, "retention", retention_policies: RetentionPolicies, check_retention, None);
    let router = policy!(router, "deduplication", deduplication_enabled: bool);
    let router =
        policy!(router, "persistence", persistence: PersistencePolicies, |policy, _| check_persistence(policy), None);
    let router = policy!(router, "autoTopicCreation", auto_topic_creation: AutoTopicCreation);
    let router = policy!(router, "maxUnackedMessagesPerConsumer", max_unacked_messages_per_consumer: u32);
    let router = policy!(router, "maxUnackedMessagesPerSubscription", max_unacked_messages_per_subscription: u32);
    let router = policy!(router, "autoSubscriptionCreation", auto_subscription_creation: AutoSubscriptionCreation);
    let router = policy!(router, "delayedDelivery", delayed_delivery: DelayedDeliveryPolicies);
    let router = policy!(router, "publishRate", publish_rate: PublishRate);
    let router = policy!(router, "maxProducersPerTopic", max_producers_per_topic: u32);
    let router = policy!(router, "maxConsumersPerTopic", max_consumers_per_topic: u32);
    let router = policy!(router, "maxConsumersPerSubscription", max_consumers_per_subscription: u32);
    let router = policy!(router, "maxSubscriptionsPerTopic", max_subscriptions_per_topic: u32);
    let router = policy!(router, "maxTopicsPerNamespace", max_topics_per_namespace: u32, |_, _| Ok(()), Some(0));
    // Set by PUT, unlike the others.
    let set_threshold = |State(app): State<App>, at: At, bytes: Bytes| async move {
        let threshold = u64::of(&bytes, "compactionThreshold must be 0 or more")?;
        app.broker.update_policies(&at.namespace()?, |p| p.compaction_threshold = Some(threshold)).await?;
        Ok::<_, Failure>(Done)
    };
    let router = policy!(router, "compactionThreshold", compaction_threshold: u64)
        .route("/{tenant}/{namespace}/compactionThreshold", put(set_threshold));
    let router = router
        .route("/{tenant}/{namespace}/properties", get(properties).put(set_properties).delete(clear_properties))
        .route("/{tenant}/{namespace}/property/{key}", get(property).delete(remove_property))
        .route("/{tenant}/{namespace}/property/{key}/{value}", put(set_property));
    router.route("/{tenant}/{namespace}/messageTTL", get(ttl).post(set_ttl).delete(remove_ttl))
}

async fn list(State(app): State<App>, at: At) -> Reply<Json<Vec<String>>> {
    let namespaces = app.broker.namespaces(at.text("tenant")).map_err(|error| match error {
        Error::TenantNotFound(_) => Failure::not_found("Tenant not found"),
        other => other.into(),
    })?;
    Ok(Json(namespaces.iter().map(ToString::to_string).collect()))
}

/// Everything a namespace says, in the shape of Pulsar's `Policies`.
async fn policies(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let policies = app.broker.policies(&at.namespace()?)?;
    let publish_rates: BTreeMap<_, _> =
        policies.publish_rate.iter().map(|rate| (&app.broker.config().cluster_name, rate)).collect();
    let mut all = json!({
        "auth_policies": { "namespace_auth": {}, "destination_auth": {}, "subscription_auth_roles": {} },
        "replication_clusters": policies.replication_clusters,
        "allowed_clusters": [],
        "bundles": boundaries(&policies),
        "backlog_quota_map": quota_map(&policies.backlog_quota_map),
        "clusterDispatchRate": {},
        "topicDispatchRate": {},
        "subscriptionDispatchRate": {},
        "replicatorDispatchRate": {},
        "clusterSubscribeRate": {},
        "publishMaxMessageRate": publish_rates,
        "latency_stats_sample_rate": {},
        "deleted": false,
        "encryption_required": policies.encryption_required,
        "subscription_auth_mode": "None",
        "offload_threshold": -1,
        "offload_threshold_in_seconds": -1,
        "schema_compatibility_strategy": policies.schema_compatibility_strategy,
        "is_allow_auto_update_schema": may_update_schemas(&app, &policies),
        "schema_validation_enforced": policies.schema_validation_enforced,
        "subscription_types_enabled": policies.subscription_types_enabled,
        "properties": policies.properties,
        "migrated": false,
    });
    let optional = [
        ("persistence", json!(policies.persistence)),
        ("deduplicationEnabled", json!(policies.deduplication_enabled)),
        ("autoTopicCreationOverride", json!(policies.auto_topic_creation)),
        ("message_ttl_in_seconds", json!(policies.message_ttl_in_seconds)),
        ("retention_policies", json!(policies.retention_policies)),
        ("max_unacked_messages_per_consumer", json!(policies.max_unacked_messages_per_consumer)),
        ("max_unacked_messages_per_subscription", json!(policies.max_unacked_messages_per_subscription)),
        ("autoSubscriptionCreationOverride", json!(policies.auto_subscription_creation)),
        ("max_producers_per_topic", json!(policies.max_producers_per_topic)),
        ("max_consumers_per_topic", json!(policies.max_consumers_per_topic)),
        ("max_consumers_per_subscription", json!(policies.max_consumers_per_subscription)),
        ("max_subscriptions_per_topic", json!(policies.max_subscriptions_per_topic)),
        ("max_topics_per_namespace", json!(policies.max_topics_per_namespace)),
        ("compaction_threshold", json!(policies.compaction_threshold)),
        ("delayed_delivery_policies", json!(policies.delayed_delivery)),
        ("schema_auto_update_compatibility_strategy", json!(policies.schema_auto_update_compatibility_strategy)),
    ];
    for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
        all[name] = value;
    }
    Ok(Json(all))
}

const HASHES: u64 = 0x1_0000_0000;

/// Where bundle `n` of `bundles` begins.
fn boundary(n: u64, bundles: u64) -> String {
    let at = if n == bundles { HASHES - 1 } else { n * (HASHES / bundles) };
    format!("0x{at:08x}")
}

fn bundle_count(policies: &NamespacePolicies) -> u64 {
    u64::from(policies.num_bundles.unwrap_or(1).clamp(1, BUNDLES_MAX))
}

/// More are refused: each is a text in every answer.
const BUNDLES_MAX: u32 = 4096;

fn boundaries(policies: &NamespacePolicies) -> Value {
    let bundles = bundle_count(policies);
    let boundaries: Vec<_> = (0..=bundles).map(|n| boundary(n, bundles)).collect();
    json!({ "boundaries": boundaries, "numBundles": bundles })
}

/// All bundles.
pub(crate) fn bundles(policies: &NamespacePolicies) -> impl Iterator<Item = String> {
    let bundles = bundle_count(policies);
    (0..bundles).map(move |n| format!("{}_{}", boundary(n, bundles), boundary(n + 1, bundles)))
}

/// The bundle a topic is in: by the CRC-32 of its name. Source: `NamespaceBundleFactory`.
pub(crate) fn bundle_of(topic: &TopicName, policies: &NamespacePolicies) -> String {
    let bundles = bundle_count(policies);
    let hash = u64::from(crc32(topic.to_string().as_bytes()));
    let n = (hash / (HASHES / bundles)).min(bundles - 1);
    format!("{}_{}", boundary(n, bundles), boundary(n + 1, bundles))
}

/// CRC-32 of IEEE 802.3. Short names only, so no table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NewNamespace {
    replication_clusters: Vec<String>,
    bundles: Option<NewBundles>,
    #[serde(rename = "deduplicationEnabled")]
    deduplication_enabled: Option<bool>,
    message_ttl_in_seconds: Option<u32>,
    retention_policies: Option<RetentionPolicies>,
    backlog_quota_map: BTreeMap<BacklogQuotaType, BacklogQuotaData>,
    persistence: Option<PersistencePolicies>,
    max_unacked_messages_per_consumer: Option<u32>,
    max_unacked_messages_per_subscription: Option<u32>,
    schema_compatibility_strategy: Option<SchemaCompatibility>,
    schema_auto_update_compatibility_strategy: Option<SchemaAutoUpdate>,
    is_allow_auto_update_schema: Option<bool>,
    schema_validation_enforced: Option<bool>,
    #[serde(rename = "autoTopicCreationOverride")]
    auto_topic_creation: Option<AutoTopicCreation>,
    #[serde(rename = "autoSubscriptionCreationOverride")]
    auto_subscription_creation: Option<AutoSubscriptionCreation>,
    max_producers_per_topic: Option<u32>,
    max_consumers_per_topic: Option<u32>,
    max_consumers_per_subscription: Option<u32>,
    max_subscriptions_per_topic: Option<u32>,
    max_topics_per_namespace: Option<u32>,
    compaction_threshold: Option<u64>,
    subscription_types_enabled: Vec<SubscriptionType>,
    delayed_delivery_policies: Option<DelayedDeliveryPolicies>,
    /// By cluster.
    #[serde(rename = "publishMaxMessageRate")]
    publish_rates: BTreeMap<String, PublishRate>,
    encryption_required: Option<bool>,
    properties: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewBundles {
    num_bundles: Option<i64>,
}

async fn create(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = at.namespace()?;
    let new: NewNamespace = reply::body(&bytes)?.unwrap_or_default();
    check_clusters(&app, &new.replication_clusters)?;
    let num_bundles = match new.bundles.and_then(|b| b.num_bundles).filter(|&n| n != 0) {
        None => None,
        Some(n) => Some(u32::try_from(n).ok().filter(|&n| n <= BUNDLES_MAX).ok_or_else(|| {
            Failure::bad(format!(
                "Invalid number of bundles. Number of bundles has to be in the range of (0, {BUNDLES_MAX}]."
            ))
        })?),
    };
    let backlog_quota_map =
        new.backlog_quota_map.into_iter().map(|(kind, quota)| (kind, quota_of(kind, quota))).collect();
    let policies = NamespacePolicies {
        replication_clusters: new.replication_clusters,
        num_bundles,
        deduplication_enabled: new.deduplication_enabled,
        message_ttl_in_seconds: new.message_ttl_in_seconds,
        retention_policies: new.retention_policies,
        backlog_quota_map,
        persistence: new.persistence,
        max_unacked_messages_per_consumer: new.max_unacked_messages_per_consumer,
        max_unacked_messages_per_subscription: new.max_unacked_messages_per_subscription,
        schema_compatibility_strategy: new.schema_compatibility_strategy.unwrap_or_default(),
        schema_auto_update_compatibility_strategy: new.schema_auto_update_compatibility_strategy,
        is_allow_auto_update_schema: new.is_allow_auto_update_schema,
        schema_validation_enforced: new.schema_validation_enforced.unwrap_or(false),
        auto_topic_creation: new.auto_topic_creation,
        auto_subscription_creation: new.auto_subscription_creation,
        max_producers_per_topic: new.max_producers_per_topic,
        max_consumers_per_topic: new.max_consumers_per_topic,
        max_consumers_per_subscription: new.max_consumers_per_subscription,
        max_subscriptions_per_topic: new.max_subscriptions_per_topic,
        max_topics_per_namespace: new.max_topics_per_namespace,
        compaction_threshold: new.compaction_threshold,
        subscription_types_enabled: new.subscription_types_enabled,
        delayed_delivery: new.delayed_delivery_policies,
        publish_rate: new.publish_rates.get(&app.broker.config().cluster_name).copied(),
        encryption_required: new.encryption_required.unwrap_or(false),
        properties: new.properties.unwrap_or_default(),
    };
    if let Some(retention) = &policies.retention_policies {
        check_retention(retention, &policies)?;
    }
    if let Some(copies) = &policies.persistence {
        check_persistence(copies)?;
    }
    app.broker.create_namespace(&name, policies).await?;
    Ok(Done)
}

async fn remove(State(app): State<App>, at: At, Query(query): Query<Force>) -> Reply {
    app.broker.delete_namespace(&at.namespace()?, query.force).await.map_err(|error| match error {
        Error::NamespaceNotFound(name) => Failure::not_found(format!("Namespace {name} does not exist.")),
        other => other.into(),
    })?;
    Ok(Done)
}

#[derive(Deserialize)]
struct Topics {
    #[serde(default)]
    mode: Mode,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    #[default]
    Persistent,
    NonPersistent,
    All,
}

async fn topics(State(app): State<App>, at: At, Query(query): Query<Topics>) -> Reply<Json<Vec<String>>> {
    let namespace = at.namespace()?;
    let topics = match query.mode {
        Mode::Persistent => app.broker.topics(&namespace).await?,
        Mode::NonPersistent => app.broker.non_persistent_topics(&namespace).await?,
        Mode::All => app.broker.topics_of_namespace(&namespace).await?,
    };
    Ok(Json(topics.iter().map(ToString::to_string).collect()))
}

async fn permissions(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    app.broker.policies(&at.namespace()?)?;
    Ok(Json(json!({})))
}

pub(crate) async fn no_permissions() -> Failure {
    Failure::not_allowed("Permissions are not supported yet: there is no authorization")
}

async fn show_bundles(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    Ok(Json(boundaries(&*app.broker.policies(&at.namespace()?)?)))
}

async fn replication(State(app): State<App>, at: At) -> Reply<Json<Vec<String>>> {
    Ok(Json(app.broker.policies(&at.namespace()?)?.replication_clusters.clone()))
}

fn check_clusters(app: &App, clusters: &[String]) -> Reply<()> {
    let (known, own) = (app.broker.clusters(), &app.broker.config().cluster_name);
    match clusters.iter().find(|c| *c != own) {
        Some(other) if known.contains(other) => {
            Err(Failure::not_allowed(format!("nothing is replicated to {other}: geo-replication is not supported")))
        }
        Some(unknown) => Err(Failure::new(StatusCode::FORBIDDEN, format!("Invalid cluster id: {unknown}"))),
        None => Ok(()),
    }
}

async fn set_replication(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let clusters: Vec<String> = reply::required(&bytes)?;
    if clusters.is_empty() {
        return Err(Failure::precondition("ClusterIds should not be null or empty"));
    }
    check_clusters(&app, &clusters)?;
    app.broker.update_policies(&at.namespace()?, |p| p.replication_clusters.clone_from(&clusters)).await?;
    Ok(Done)
}

async fn ttl(State(app): State<App>, at: At) -> Reply<axum::response::Response> {
    Ok(reply::optional(app.broker.policies(&at.namespace()?)?.message_ttl_in_seconds))
}

async fn set_ttl(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let seconds = u32::of(&bytes, "Invalid value for message TTL, message TTL must >= 0")?;
    app.broker.update_policies(&at.namespace()?, |p| p.message_ttl_in_seconds = Some(seconds)).await?;
    Ok(Done)
}

async fn remove_ttl(State(app): State<App>, at: At) -> Reply {
    app.broker.update_policies(&at.namespace()?, |p| p.message_ttl_in_seconds = None).await?;
    Ok(Done)
}

async fn properties(State(app): State<App>, at: At) -> Reply<Json<BTreeMap<String, String>>> {
    Ok(Json(app.broker.policies(&at.namespace()?)?.properties.clone()))
}

async fn set_properties(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let properties: BTreeMap<String, String> = reply::required(&bytes)?;
    app.broker.update_policies(&at.namespace()?, |p| p.properties.extend(properties.clone())).await?;
    Ok(Done)
}

async fn clear_properties(State(app): State<App>, at: At) -> Reply {
    app.broker.update_policies(&at.namespace()?, |p| p.properties.clear()).await?;
    Ok(Done)
}

async fn property(State(app): State<App>, at: At) -> Reply<axum::response::Response> {
    Ok(raw(app.broker.policies(&at.namespace()?)?.properties.get(at.text("key")).cloned()))
}

async fn set_property(State(app): State<App>, at: At) -> Reply {
    let (key, value) = (at.text("key"), at.text("value"));
    app.broker
        .update_policies(&at.namespace()?, |p| {
            p.properties.insert(key.to_owned(), value.to_owned());
        })
        .await?;
    Ok(Done)
}

async fn remove_property(State(app): State<App>, at: At) -> Reply<axum::response::Response> {
    let (name, key) = (at.namespace()?, at.text("key"));
    let value = app.broker.policies(&name)?.properties.get(key).cloned();
    app.broker
        .update_policies(&name, |p| {
            p.properties.remove(key);
        })
        .await?;
    Ok(raw(value))
}

/// A text as it is, which Pulsar calls JSON.
fn raw(text: Option<String>) -> axum::response::Response {
    ([(header::CONTENT_TYPE, "application/json")], text.unwrap_or_default()).into_response()
}

/// Copies are what the storage below makes; numbers that no storage can have are refused all the same.
///
/// Source: Pulsar's `AdminResource.validatePersistencePolicies` and its default `managedLedgerMaxEnsembleSize` and the like.
pub(crate) fn check_persistence(policy: &PersistencePolicies) -> Reply<()> {
    const MAX: i32 = 5;
    let (ensemble, write, ack) =
        (policy.bookkeeper_ensemble, policy.bookkeeper_write_quorum, policy.bookkeeper_ack_quorum);
    for (copies, what) in [(ensemble, "Ensemble"), (write, "WriteQuorum"), (ack, "AckQuorum")] {
        if !(1..=MAX).contains(&copies) {
            return Err(Failure::bad(format!("Bookkeeper-{what} must be <= {MAX} and > 0.")));
        }
    }
    if ensemble < write || write < ack {
        return Err(Failure::bad(format!(
            "Bookkeeper Ensemble ({ensemble}) >= WriteQuorum ({write}) >= AckQuorum ({ack})"
        )));
    }
    Ok(())
}

/// Source: `NamespacesBase.validateRetentionPolicies` and `checkQuotas`.
pub(crate) fn check_retention(retention: &RetentionPolicies, policies: &NamespacePolicies) -> Reply<()> {
    let (time, size) = (retention.retention_time_in_minutes, retention.retention_size_in_mb);
    if size < -1 {
        return Err(Failure::precondition("Invalid retention policy: size limit must be >= -1"));
    }
    if time < -1 {
        return Err(Failure::precondition("Invalid retention policy: time limit must be >= -1"));
    }
    if (time == 0) != (size == 0) {
        return Err(Failure::precondition(
            "Invalid retention policy: Setting a single time or size limit to 0 is invalid when one of the limits has a \
             non-zero value. Use the value of -1 instead of 0 to ignore a specific limit. To disable retention both \
             limits must be set to 0.",
        ));
    }
    if policies.backlog_quota_map.values().any(|quota| !fits(quota, retention)) {
        return Err(Failure::precondition("Retention Quota must exceed configured backlog quota for namespace."));
    }
    Ok(())
}

/// Whether a quota acts before retention would drop what it counts.
pub(crate) fn fits(quota: &BacklogQuota, retention: &RetentionPolicies) -> bool {
    let (minutes, mebibytes) = (retention.retention_time_in_minutes, retention.retention_size_in_mb);
    let size = mebibytes <= 0 || quota.limit_size < mebibytes.saturating_mul(1024 * 1024);
    let time = minutes <= 0 || quota.limit_time < minutes.saturating_mul(60);
    size && time
}

pub(crate) fn quota_of(kind: BacklogQuotaType, data: BacklogQuotaData) -> BacklogQuota {
    let (size, time) = (data.limit_size.or(data.limit), data.limit_time);
    let policy = data.policy.unwrap_or_default();
    // What the other kind bounds says nothing; it is kept as it was sent, or 0 as Pulsar has it.
    match kind {
        BacklogQuotaType::DestinationStorage => {
            BacklogQuota { limit_size: size.unwrap_or(-1), limit_time: time.unwrap_or(0), policy }
        }
        BacklogQuotaType::MessageAge => {
            BacklogQuota { limit_size: size.unwrap_or(0), limit_time: time.unwrap_or(-1), policy }
        }
    }
}

pub(crate) fn quota_map(
    quotas: &BTreeMap<BacklogQuotaType, BacklogQuota>,
) -> BTreeMap<BacklogQuotaType, BacklogQuotaData> {
    let data = |quota: &BacklogQuota| BacklogQuotaData {
        limit: Some(quota.limit_size),
        limit_size: Some(quota.limit_size),
        limit_time: Some(quota.limit_time),
        policy: Some(quota.policy),
    };
    quotas.iter().map(|(kind, quota)| (*kind, data(quota))).collect()
}

async fn quotas(State(app): State<App>, at: At) -> Reply<Json<BTreeMap<BacklogQuotaType, BacklogQuotaData>>> {
    Ok(Json(quota_map(&app.broker.policies(&at.namespace()?)?.backlog_quota_map)))
}

#[derive(Deserialize)]
pub(crate) struct QuotaQuery {
    #[serde(rename = "backlogQuotaType")]
    pub(crate) kind: Option<BacklogQuotaType>,
}

async fn set_quota(State(app): State<App>, at: At, Query(query): Query<QuotaQuery>, bytes: Bytes) -> Reply {
    let name = at.namespace()?;
    let kind = query.kind.unwrap_or(BacklogQuotaType::DestinationStorage);
    let quota = quota_of(kind, reply::required(&bytes)?);
    let retention = app.broker.policies(&name)?.retention_policies;
    if retention.is_some_and(|retention| !fits(&quota, &retention)) {
        return Err(Failure::precondition(
            "Backlog Quota exceeds configured retention quota for namespace. Please increase retention quota and retry",
        ));
    }
    app.broker
        .update_policies(&name, |p| {
            p.backlog_quota_map.insert(kind, quota);
        })
        .await?;
    Ok(Done)
}

async fn remove_quota(State(app): State<App>, at: At, Query(query): Query<QuotaQuery>) -> Reply {
    let kind = query.kind.unwrap_or(BacklogQuotaType::DestinationStorage);
    app.broker
        .update_policies(&at.namespace()?, |p| {
            p.backlog_quota_map.remove(&kind);
        })
        .await?;
    Ok(Done)
}

/// What a namespace says about schemas.
fn schema_policies() -> Router<App> {
    let at = |path: &str| format!("/{{tenant}}/{{namespace}}/{path}");
    let compatibility = get(|State(app): State<App>, at: At| async move {
        Ok::<_, Failure>(Json(app.broker.policies(&at.namespace()?)?.schema_compatibility_strategy))
    });
    let set_compatibility = |State(app): State<App>, at: At, bytes: Bytes| async move {
        let strategy = SchemaCompatibility::of(&bytes, "")?;
        app.broker.update_policies(&at.namespace()?, |p| p.schema_compatibility_strategy = strategy).await?;
        Ok::<_, Failure>(Done)
    };
    let of_updates = get(|State(app): State<App>, at: At| async move {
        let strategy = app.broker.policies(&at.namespace()?)?.schema_auto_update_compatibility_strategy;
        Ok::<_, Failure>(strategy.map_or_else(|| Done.into_response(), |strategy| Json(strategy).into_response()))
    });
    let set_of_updates = |State(app): State<App>, at: At, bytes: Bytes| async move {
        let strategy = SchemaAutoUpdate::of(&bytes, "")?;
        app.broker
            .update_policies(&at.namespace()?, |p| p.schema_auto_update_compatibility_strategy = Some(strategy))
            .await?;
        Ok::<_, Failure>(Done)
    };
    let may_update = get(|State(app): State<App>, at: At| async move {
        let policies = app.broker.policies(&at.namespace()?)?;
        Ok::<_, Failure>(Json(may_update_schemas(&app, &policies)))
    });
    let set_may_update = |State(app): State<App>, at: At, bytes: Bytes| async move {
        let may = bool::of(&bytes, "")?;
        app.broker.update_policies(&at.namespace()?, |p| p.is_allow_auto_update_schema = Some(may)).await?;
        Ok::<_, Failure>(Done)
    };
    let enforced = get(|State(app): State<App>, at: At, Query(query): Query<Applied>| async move {
        let own = app.broker.policies(&at.namespace()?)?.schema_validation_enforced;
        Ok::<_, Failure>(Json(own || query.applied && app.broker.config().schema_validation_enforced))
    });
    let set_enforced = |State(app): State<App>, at: At, bytes: Bytes| async move {
        let enforced = bool::of(&bytes, "")?;
        app.broker.update_policies(&at.namespace()?, |p| p.schema_validation_enforced = enforced).await?;
        Ok::<_, Failure>(Done)
    };
    Router::new()
        .route(&at("schemaCompatibilityStrategy"), compatibility.put(set_compatibility))
        .route(&at("schemaAutoUpdateCompatibilityStrategy"), of_updates.put(set_of_updates))
        .route(&at("isAllowAutoUpdateSchema"), may_update.post(set_may_update))
        .route(&at("schemaValidationEnforced"), enforced.post(set_enforced))
}

async fn encryption(State(app): State<App>, at: At) -> Reply<Json<bool>> {
    Ok(Json(app.broker.policies(&at.namespace()?)?.encryption_required))
}

async fn set_encryption(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let required = bool::of(&bytes, "")?;
    app.broker.update_policies(&at.namespace()?, |p| p.encryption_required = required).await?;
    Ok(Done)
}

async fn types(State(app): State<App>, at: At) -> Reply<Json<Vec<SubscriptionType>>> {
    Ok(Json(app.broker.policies(&at.namespace()?)?.subscription_types_enabled.clone()))
}

async fn set_types(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let types: Vec<SubscriptionType> = reply::required(&bytes)?;
    app.broker.update_policies(&at.namespace()?, |p| p.subscription_types_enabled = types.clone()).await?;
    Ok(Done)
}

async fn remove_types(State(app): State<App>, at: At) -> Reply {
    app.broker.update_policies(&at.namespace()?, |p| p.subscription_types_enabled.clear()).await?;
    Ok(Done)
}

/// Whether producers register new schemas.
fn may_update_schemas(app: &App, policies: &NamespacePolicies) -> bool {
    policies.is_allow_auto_update_schema.unwrap_or(app.broker.config().allow_auto_update_schema)
}

/// Bundles do not move on one machine: unloading one unloads the namespace.
async fn unload(State(app): State<App>, at: At) -> Reply {
    app.broker.unload_namespace(&at.namespace()?).await.map_err(in_namespace)?;
    Ok(Done)
}

async fn no_split(State(app): State<App>, at: At) -> Failure {
    let found = async { app.broker.policies(&at.namespace()?).map_err(in_namespace) };
    found.await.err().unwrap_or_else(|| Failure::not_allowed("bundles are not split on a single broker"))
}

async fn clear(State(app): State<App>, at: At) -> Reply {
    let subscription = Some(at.text("subscription")).filter(|name| !name.is_empty());
    app.broker.clear_namespace_backlog(&at.namespace()?, subscription).await.map_err(in_namespace)?;
    Ok(Done)
}

async fn unsubscribe(State(app): State<App>, at: At) -> Reply {
    let subscription = at.subscription()?;
    for topic in app.broker.topics(&at.namespace()?).await.map_err(in_namespace)? {
        match app.broker.delete_subscription(&topic, subscription, false).await {
            Ok(()) | Err(Error::SubscriptionNotFound { .. } | Error::TopicNotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_in_the_bundle_that_pulsar_puts_it_in() {
        // As Pulsar 4.2.4 answers `/lookup/v2/topic/persistent/geminga-compare/ns/plain/bundle`.
        let policies = NamespacePolicies { num_bundles: Some(4), ..NamespacePolicies::default() };
        let topic: TopicName = "persistent://geminga-compare/ns/plain".parse().unwrap();
        assert_eq!(bundle_of(&topic, &policies), "0x80000000_0xc0000000");
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn one_limit_of_retention_may_not_be_zero_alone() {
        let check = |time, size| {
            let retention = RetentionPolicies { retention_time_in_minutes: time, retention_size_in_mb: size };
            check_retention(&retention, &NamespacePolicies::default()).is_ok()
        };
        assert!(check(0, 0) && check(-1, -1) && check(10, -1) && check(-1, 10));
        assert!(!check(0, 10) && !check(10, 0) && !check(-2, 1) && !check(1, -2));
    }
}
