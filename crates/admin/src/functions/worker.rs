//! `/admin/v2/worker` and `/admin/v2/worker-stats`: the workers, of which there is one.
//!
//! Source: Pulsar's `WorkerImpl`, of whose answers a cluster of one worker gives these.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, put},
};
use model::function::{FunctionInstanceStatsData, WorkerInfo};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Hosted, kinds, scaling};
use crate::reply::Failure;

pub(super) fn routes() -> Router<Hosted> {
    let alone = || async { Failure::bad("Too few workers (need at least 2)") };
    let drained = || async { Json(json!({ "status": "NOT_RUN", "lastError": "" })) };
    Router::new()
        .route("/cluster", get(cluster))
        .route("/cluster/leader", get(leader))
        .route("/cluster/leader/ready", get(|| async { Json(true) }))
        .route("/assignments", get(assignments))
        .route("/connectors", get(kinds::connectors))
        .route("/scaling", get(scaling::all))
        .route("/rebalance", put(alone))
        .route("/drain", put(alone).get(drained))
        .route("/leader/drain", put(alone).get(drained))
}

pub(super) fn stats() -> Router<Hosted> {
    Router::new()
        .route("/metrics", get(|| async { Json(Vec::<Value>::new()) }))
        .route("/functionsmetrics", get(functions_metrics))
        .fallback(|| async { StatusCode::NOT_FOUND })
}

fn own(hosted: &Hosted) -> WorkerInfo {
    let settings = hosted.worker.settings();
    WorkerInfo {
        worker_id: settings.worker_id.clone(),
        worker_hostname: settings.hostname.clone(),
        port: settings.port,
    }
}

async fn cluster(State(hosted): State<Hosted>) -> Json<Vec<WorkerInfo>> {
    Json(vec![own(&hosted)])
}

async fn leader(State(hosted): State<Hosted>) -> Json<WorkerInfo> {
    Json(own(&hosted))
}

async fn assignments(State(hosted): State<Hosted>) -> Json<BTreeMap<String, Vec<String>>> {
    let all = hosted.worker.observe();
    let instances = all.iter().map(|one| format!("{}:{}", one.name, one.instance)).collect();
    Json(BTreeMap::from([(hosted.worker.settings().worker_id.clone(), instances)]))
}

/// Source: Pulsar's `WorkerFunctionInstanceStats`.
#[derive(Serialize)]
struct Counted {
    name: String,
    metrics: FunctionInstanceStatsData,
}

async fn functions_metrics(State(hosted): State<Hosted>) -> Json<Vec<Counted>> {
    let all = hosted.worker.observe().into_iter();
    Json(all.map(|one| Counted { name: format!("{}:{}", one.name, one.instance), metrics: one.stats() }).collect())
}
