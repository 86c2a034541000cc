//! `/admin/v2/brokers`, broker stats, health; and what answers where no function worker runs.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{any, get},
};
use serde_json::{Value, json};

use crate::{
    App,
    reply::{self, Failure, Reply},
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
        .route("/health", get(health))
        .route("/ready", get(health))
        .route("/version", get(|| async { reply::text(env!("CARGO_PKG_VERSION").to_owned()) }))
        .route("/leaderBroker", get(leader))
        .route("/configuration", get(|| async { Json(Vec::<String>::new()) }))
        .route("/configuration/values", get(|| async { Json(json!({})) }))
        .route("/configuration/runtime", get(runtime))
        .route("/internal-configuration", get(internal))
}

fn id(app: &App) -> String {
    app.broker.addresses().web_url.trim_start_matches("http://").to_owned()
}

async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(vec![id(&app)])
}

async fn leader(State(app): State<App>) -> Json<Value> {
    Json(json!({ "brokerId": id(&app), "serviceUrl": app.broker.addresses().web_url }))
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
    }))
}

async fn internal() -> Json<Value> {
    Json(json!({
        "metadataStoreUrl": "local", "configurationMetadataStoreUrl": "local", "ledgersRootPath": null,
        "bookkeeperMetadataServiceUri": null, "stateStorageServiceUrl": null
    }))
}

pub(crate) fn stats() -> Router<App> {
    Router::new().route("/topics", get(topics)).route("/metrics", get(|| async { Json(Vec::<Value>::new()) }))
}

async fn topics(State(app): State<App>) -> Json<Value> {
    let mut all = json!({});
    for (name, stats) in app.broker.loaded_topic_stats().await {
        all[name.namespace().as_str()]["0x00000000_0xffffffff"]["persistent"][name.to_string()] = json!(stats);
    }
    Json(all)
}

/// Pulsar's answer where `functionsWorkerEnabled` is off.
pub(crate) fn no_functions() -> Router<App> {
    let answer = || async {
        Failure::new(
            StatusCode::CONFLICT,
            "Pulsar Function Worker is not enabled, probably functionsWorkerEnabled is set to false",
        )
    };
    Router::new().route("/{*path}", any(answer))
}
