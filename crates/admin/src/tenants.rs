//! `/admin/v2/clusters` and `/admin/v2/tenants`.

use admin_api::{ClusterData, TenantInfo};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    routing::get,
};
use serde::Deserialize;

use crate::{
    App,
    reply::{self, Done, Failure, Reply},
};

#[derive(Deserialize)]
pub(crate) struct Force {
    #[serde(default)]
    pub(crate) force: bool,
}

pub(crate) fn clusters() -> Router<App> {
    Router::new().route("/", get(list_clusters)).route("/{cluster}", get(cluster))
}

async fn list_clusters(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.broker.clusters())
}

async fn cluster(State(app): State<App>, Path(name): Path<String>) -> Reply<Json<ClusterData>> {
    if !app.broker.clusters().contains(&name) {
        return Err(Failure::not_found("Cluster does not exist"));
    }
    let addresses = app.broker.addresses();
    Ok(Json(ClusterData {
        service_url: Some(addresses.web_url.clone()),
        broker_service_url: Some(addresses.broker_url.clone()),
        ..ClusterData::default()
    }))
}

pub(crate) fn tenants() -> Router<App> {
    Router::new().route("/", get(list)).route("/{tenant}", get(one).put(create).post(update).delete(delete))
}

async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.broker.tenants())
}

async fn one(State(app): State<App>, Path(name): Path<String>) -> Reply<Json<TenantInfo>> {
    Ok(Json(app.broker.tenant(&name)?))
}

async fn create(State(app): State<App>, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let info = match reply::body(&bytes)? {
        Some(info) => info,
        None => TenantInfo { allowed_clusters: app.broker.clusters(), ..TenantInfo::default() },
    };
    app.broker.create_tenant(&name, info).await?;
    Ok(Done)
}

async fn update(State(app): State<App>, Path(name): Path<String>, bytes: Bytes) -> Reply {
    app.broker.update_tenant(&name, reply::required(&bytes)?).await?;
    Ok(Done)
}

async fn delete(State(app): State<App>, Path(name): Path<String>, Query(query): Query<Force>) -> Reply {
    app.broker.delete_tenant(&name, query.force).await?;
    Ok(Done)
}
