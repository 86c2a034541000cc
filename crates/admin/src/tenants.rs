//! `/admin/v2/clusters` and `/admin/v2/tenants`.

use admin_api::{ClusterData, TenantInfo};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use broker::Error;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    App,
    at::{At, Query},
    reply::{self, Done, Failure, Reply},
};

#[derive(Deserialize)]
pub(crate) struct Force {
    #[serde(default)]
    pub(crate) force: bool,
}

pub(crate) fn clusters() -> Router<App> {
    Router::new()
        .route("/", get(list_clusters))
        .route("/{cluster}", get(cluster).put(create_cluster).post(update_cluster).delete(delete_cluster))
        .route("/{cluster}/peers", get(peers).post(set_peers))
        .route("/{cluster}/failureDomains", get(failure_domains))
        .route("/{cluster}/namespaceIsolationPolicies", get(isolation))
        .route("/{cluster}/namespaceIsolationPolicies/brokers", get(isolation))
}

async fn list_clusters(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.broker.clusters())
}

fn known(app: &App, at: &At) -> Reply<()> {
    if app.broker.clusters().iter().any(|name| name == at.text("cluster")) {
        return Ok(());
    }
    Err(Failure::not_found("Cluster does not exist"))
}

async fn cluster(State(app): State<App>, at: At) -> Reply<Json<ClusterData>> {
    let found = app.broker.cluster(at.text("cluster"));
    found.map(Json).ok_or_else(|| Failure::not_found("Cluster does not exist"))
}

/// Other clusters are where functions may send their output; nothing is replicated to them.
async fn create_cluster(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    app.broker.create_cluster(at.text("cluster"), addresses(&bytes)?).await?;
    Ok(Done)
}

async fn update_cluster(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let name = must_be_other(&app, &at)?;
    app.broker.update_cluster(name, addresses(&bytes)?).await?;
    Ok(Done)
}

async fn delete_cluster(State(app): State<App>, at: At) -> Reply {
    app.broker.delete_cluster(must_be_other(&app, &at)?).await?;
    Ok(Done)
}

fn must_be_other<'a>(app: &App, at: &'a At) -> Reply<&'a str> {
    known(app, at)?;
    let name = at.text("cluster");
    if name == app.broker.config().cluster_name {
        return Err(Failure::not_allowed(
            "the cluster is this broker's own: its addresses are those of its configuration",
        ));
    }
    Ok(name)
}

/// Source: Pulsar's `ClusterDataImpl.checkPropertiesIfPresent`.
fn addresses(bytes: &Bytes) -> Reply<ClusterData> {
    let data: ClusterData = reply::required(bytes)?;
    for (url, begins, what) in [
        (&data.service_url, "http://", "service url, example: http://pulsar.example.com:8080"),
        (&data.service_url_tls, "https://", "service tls url, example: https://pulsar.example.com:8443"),
        (&data.broker_service_url, "pulsar://", "broker service url, example: pulsar://pulsar.example.com:6650"),
        (
            &data.broker_service_url_tls,
            "pulsar+ssl://",
            "broker service tls url, example: pulsar+ssl://pulsar.example.com:6651",
        ),
    ] {
        if url.as_deref().is_some_and(|url| !url.is_empty() && !url.starts_with(begins)) {
            return Err(Failure::bad(format!("Illegal {what}")));
        }
    }
    Ok(data)
}

async fn set_peers() -> Failure {
    Failure::not_allowed("nothing is replicated to other clusters, so there are no peers to set")
}

async fn peers(State(app): State<App>, at: At) -> Reply<StatusCode> {
    known(&app, &at).map(|()| StatusCode::OK)
}

async fn failure_domains(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    known(&app, &at).map(|()| Json(json!({})))
}

async fn isolation(at: At) -> Failure {
    let cluster = at.text("cluster");
    Failure::not_found(format!("NamespaceIsolationPolicies for cluster {cluster} does not exist"))
}

pub(crate) fn tenants() -> Router<App> {
    Router::new().route("/", get(list)).route("/{tenant}", get(one).put(create).merge(post(update)).delete(delete))
}

async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.broker.tenants())
}

async fn one(State(app): State<App>, at: At) -> Reply<Response> {
    Ok(Json(app.broker.tenant(at.text("tenant"))?).into_response())
}

fn checked(app: &App, info: TenantInfo) -> Reply<TenantInfo> {
    if info.allowed_clusters.iter().all(|name| name.trim().is_empty()) {
        return Err(Failure::precondition("Clusters cannot be empty or blank"));
    }
    let clusters = app.broker.clusters();
    if info.allowed_clusters.iter().any(|name| !clusters.contains(name)) {
        return Err(Failure::precondition("Clusters do not exist"));
    }
    Ok(info)
}

async fn create(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let info = match reply::body(&bytes)? {
        Some(info) => checked(&app, info)?,
        None => TenantInfo { allowed_clusters: app.broker.clusters(), ..TenantInfo::default() },
    };
    app.broker.create_tenant(at.text("tenant"), info).await?;
    Ok(Done)
}

async fn update(State(app): State<App>, at: At, bytes: Bytes) -> Reply {
    let info = checked(&app, reply::required(&bytes)?)?;
    app.broker.update_tenant(at.text("tenant"), info).await.map_err(|error| match error {
        Error::TenantNotFound(name) => Failure::not_found(format!("Tenant {name} not found")),
        other => other.into(),
    })?;
    Ok(Done)
}

async fn delete(State(app): State<App>, at: At, Query(query): Query<Force>) -> Reply {
    app.broker.delete_tenant(at.text("tenant"), query.force).await.map_err(|error| match error {
        Error::TenantNotFound(_) => Failure::not_found("Tenant doesn't exist"),
        other => other.into(),
    })?;
    Ok(Done)
}
