//! `/admin/v2/brokers`, broker stats, health; and what answers where no function worker runs.

use admin_api::stats::SubscriptionStats;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{any, get, post},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{
    App,
    namespaces::{bundle_of, bundles},
    reply::{self, Done, Failure, Reply},
    stats::completed,
};

pub(crate) async fn status(State(app): State<App>) -> Reply<&'static str> {
    health(State(app)).await.map(|_| "OK")
}

pub(crate) async fn health(State(app): State<App>) -> Reply<&'static str> {
    if app.broker.is_healthy() {
        Ok("ok")
    } else {
        Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the journal has failed: messages cannot be stored"))
    }
}

pub(crate) fn brokers() -> Router<App> {
    Router::new()
        .route("/", get(list))
        .route("/{cluster}", get(list))
        .route("/{cluster}/{broker}/ownedNamespaces", get(owned))
        .route("/health", get(health))
        .route("/ready", get(health))
        .route("/version", get(|| async { reply::text(env!("CARGO_PKG_VERSION").to_owned()) }))
        .route("/leaderBroker", get(leader))
        .route("/backlog-quota-check", get(|| async { Done }))
        .route("/configuration", get(|| async { Json(Vec::<String>::new()) }))
        .route("/configuration/values", get(|| async { Json(json!({})) }))
        .route("/configuration/runtime", get(runtime))
        .route("/configuration/{name}", axum::routing::delete(no_dynamic))
        .route("/configuration/{name}/{value}", post(no_dynamic))
        .route("/internal-configuration", get(internal))
}

/// Pulsar's broker id: host and port of its web service.
pub(crate) fn id(app: &App) -> String {
    app.broker.addresses().web_url.trim_start_matches("http://").to_owned()
}

pub(crate) fn host(app: &App) -> String {
    let id = id(app);
    id.rsplit_once(':').map_or(id.clone(), |(host, _)| host.to_owned())
}

async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(vec![id(&app)])
}

async fn owned(State(app): State<App>) -> Json<Value> {
    let mut all = json!({});
    for namespace in app.broker.all_namespaces() {
        let status = json!({ "broker_assignment": "shared", "is_controlled": false, "is_active": true });
        for bundle in bundles(&app.broker.policies(&namespace).unwrap_or_default()) {
            all[format!("{namespace}/{bundle}")] = status.clone();
        }
    }
    Json(all)
}

async fn leader(State(app): State<App>) -> Json<Value> {
    Json(json!({ "brokerId": id(&app), "serviceUrl": app.broker.addresses().web_url }))
}

async fn no_dynamic() -> Failure {
    Failure::precondition("Can't update non-dynamic configuration")
}

async fn runtime(State(app): State<App>) -> Json<Value> {
    let config = app.broker.config();
    Json(json!({
        "clusterName": config.cluster_name,
        "maxMessageSize": config.max_message_size.to_string(),
        "allowAutoTopicCreation": config.allow_auto_topic_creation.to_string(),
        "allowAutoSubscriptionCreation": config.allow_auto_subscription_creation.to_string(),
        "brokerDeduplicationEnabled": config.deduplication_enabled.to_string(),
        "maxUnackedMessagesPerConsumer": config.max_unacked_messages_per_consumer.to_string(),
        "maxUnackedMessagesPerSubscription": config.max_unacked_messages_per_subscription.to_string(),
        "maxNumPartitionsPerPartitionedTopic": config.max_partitions_per_topic.to_string(),
        "ttlDurationDefaultInSeconds": config.default_message_ttl.as_secs().to_string(),
        "defaultRetentionTimeInMinutes": (config.default_retention_time.as_secs() / 60).to_string(),
        "defaultRetentionSizeInMB": (config.default_retention_bytes >> 20).to_string(),
        "topicLevelPoliciesEnabled": "true",
        "transactionCoordinatorEnabled": "false",
        "functionsWorkerEnabled": app.worker.is_some().to_string(),
        "enableNonPersistentTopics": "false",
        "authenticationEnabled": "false",
    }))
}

async fn internal() -> Json<Value> {
    Json(json!({
        "metadataStoreUrl": "local", "configurationMetadataStoreUrl": "local", "ledgersRootPath": null,
        "bookkeeperMetadataServiceUri": null, "stateStorageServiceUrl": null
    }))
}

pub(crate) fn stats() -> Router<App> {
    Router::new()
        .route("/topics", get(topics))
        .route("/destinations", get(topics))
        .route("/metrics", get(metrics))
        .route("/mbeans", get(|| async { Json(Vec::<Value>::new()) }))
}

/// What `pulsar-admin broker-stats monitoring-metrics` prints, which fails on an empty list: health, and of each namespace
/// the sums of its topics that are loaded. Names are Pulsar's, from `NamespaceStats` and `BrokerOperabilityMetrics`.
async fn metrics(State(app): State<App>) -> Json<Vec<Value>> {
    let dimensions =
        json!({ "broker": host(&app), "cluster": app.broker.config().cluster_name, "metric": "broker_health" });
    let health = json!({ "metrics": { "brk_health": u8::from(app.broker.is_healthy()) }, "dimensions": dimensions });
    let mut namespaces: BTreeMap<_, BTreeMap<&str, f64>> = BTreeMap::new();
    for (name, stats) in app.broker.loaded_topic_stats().await {
        let sums = namespaces.entry(name.namespace().to_string()).or_default();
        let of_subscriptions =
            |count: fn(&SubscriptionStats) -> f64| stats.subscriptions.values().map(count).sum::<f64>();
        for (metric, value) in [
            ("brk_in_rate", stats.msg_rate_in),
            ("brk_in_tp_rate", stats.msg_throughput_in),
            ("brk_out_rate", stats.msg_rate_out),
            ("brk_out_tp_rate", stats.msg_throughput_out),
            ("brk_storage_size", stats.storage_size as f64),
            ("brk_msg_backlog", of_subscriptions(|s| s.msg_backlog as f64)),
            ("brk_no_of_producers", stats.publishers.len() as f64),
            ("brk_no_of_consumers", of_subscriptions(|s| s.consumers.len() as f64)),
            ("brk_no_of_subscriptions", stats.subscriptions.len() as f64),
        ] {
            *sums.entry(metric).or_default() += value;
        }
    }
    let of_namespaces = |(namespace, sums)| json!({ "metrics": sums, "dimensions": { "namespace": namespace } });
    Json(std::iter::once(health).chain(namespaces.into_iter().map(of_namespaces)).collect())
}

async fn topics(State(app): State<App>) -> Json<Value> {
    let mut all = json!({});
    for (name, stats) in app.broker.loaded_topic_stats().await.into_iter().take(app.config.max_topics_in_metrics) {
        let policies = app.broker.policies(name.namespace()).unwrap_or_default();
        let bundle = bundle_of(&name, &policies);
        let domain = if name.is_persistent() { "persistent" } else { "non-persistent" };
        all[name.namespace().as_str()][bundle][domain][name.to_string()] = json!(completed(&app, &name, stats));
    }
    Json(all)
}

/// Pulsar's answer where `functionsWorkerEnabled` is off.
pub(crate) fn no_functions() -> Router<App> {
    let answer = || async {
        Failure::conflict("Pulsar Function Worker is not enabled, probably functionsWorkerEnabled is set to false")
    };
    Router::new().route("/", any(answer)).route("/{*path}", any(answer))
}

/// Pulsar's answer where packages are off.
pub(crate) fn no_packages() -> Router<App> {
    let answer = || async {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "Package Management Service is not enabled in the broker.")
    };
    Router::new().route("/{*path}", any(answer))
}

/// Pulsar's answer where transactions are off.
pub(crate) fn no_transactions() -> Router<App> {
    let reason = "This Broker is not configured with transactionCoordinatorEnabled=true.";
    Router::new().route("/{*path}", any(move || async move { Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason) }))
}
