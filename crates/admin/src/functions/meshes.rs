//! `/admin/v3/meshes`: manifests as resources. Geminga's own; [`admin_api::mesh`] has the contract.

use admin_api::mesh::{Manifest, Plan, Request, Status, Summary};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use functions::{Error, meshes::Name};
use serde::Deserialize;
use std::time::Duration;

use super::{Hosted, access::Insider};
use crate::{
    at::{At, Query},
    reply::{Done, Failure, Reply, required},
};

/// Bytes of a request: JSON may take twice what it says.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The longest one may wait.
const WAIT_MAX: Duration = Duration::from_secs(300);

pub(super) fn routes() -> Router<Hosted> {
    Router::new()
        .route("/", get(list))
        .route("/{namespace}/{name}", get(manifest).put(apply).delete(delete))
        .route("/{namespace}/{name}/plan", post(plan))
        .route("/{namespace}/{name}/status", get(status))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

fn refused(error: Error) -> Failure {
    match error {
        Error::Exists(reason) => Failure::conflict(reason),
        other => super::refused(other),
    }
}

fn named(at: &At) -> Reply<Name> {
    Name::new(at.text("namespace"), at.text("name")).map_err(refused)
}

/// How long to wait for what is under way.
#[derive(Deserialize)]
struct Waiting {
    /// Seconds.
    #[serde(default)]
    wait: u64,
}

impl Waiting {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.wait).min(WAIT_MAX)
    }
}

async fn list(State(hosted): State<Hosted>) -> Json<Vec<Summary>> {
    Json(hosted.meshes.list())
}

async fn manifest(_: Insider, State(hosted): State<Hosted>, at: At) -> Reply<Json<Manifest>> {
    hosted.meshes.manifest(&named(&at)?).map(Json).map_err(refused)
}

async fn apply(State(hosted): State<Hosted>, at: At, Query(waiting): Query<Waiting>, body: Bytes) -> Reply<Response> {
    let name = named(&at)?;
    let request: Request = required(&body)?;
    hosted.meshes.apply(&name, request).await.map_err(refused)?;
    let status = hosted.meshes.wait(&name, waiting.patience()).await.map_err(refused)?;
    Ok(status.map_or_else(|| StatusCode::ACCEPTED.into_response(), moving))
}

/// 202 while something is under way, else 200.
fn moving(status: Status) -> Response {
    let code = if status.state.is_moving() { StatusCode::ACCEPTED } else { StatusCode::OK };
    (code, Json(status)).into_response()
}

async fn plan(State(hosted): State<Hosted>, at: At, body: Bytes) -> Reply<Json<Plan>> {
    let request: Request = required(&body)?;
    hosted.meshes.plan(&named(&at)?, &request).await.map(Json).map_err(refused)
}

/// What of a status is wanted.
#[derive(Deserialize)]
struct Wanted {
    /// `false`: only how far what is under way is, which is cheap to ask for.
    #[serde(default = "yes")]
    nodes: bool,
}

fn yes() -> bool {
    true
}

async fn status(
    State(hosted): State<Hosted>,
    at: At,
    Query(waiting): Query<Waiting>,
    Query(wanted): Query<Wanted>,
) -> Reply<Json<Status>> {
    let name = named(&at)?;
    hosted.meshes.wait(&name, waiting.patience()).await.map_err(refused)?;
    let status = if wanted.nodes { hosted.meshes.status(&name).await } else { hosted.meshes.progress(&name) };
    status.map(Json).map_err(refused)
}

async fn delete(State(hosted): State<Hosted>, at: At, Query(waiting): Query<Waiting>) -> Reply<Response> {
    let name = named(&at)?;
    hosted.meshes.delete(&name).await.map_err(refused)?;
    match hosted.meshes.wait(&name, waiting.patience()).await {
        Ok(Some(status)) => Ok(moving(status)),
        // It may go before it is waited for.
        Ok(None) | Err(Error::NotFound(_)) => Ok(Done.into_response()),
        Err(error) => Err(refused(error)),
    }
}
