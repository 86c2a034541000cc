//! Functions, sources, sinks, packages, meshes and the worker: `/admin/v3/functions|sources|sinks|packages|meshes`,
//! `/admin/v2/worker`.
//!
//! Whoever deploys code runs it here, and nobody proves yet who they are: what changes anything, or shows code, logs or
//! state, passes [`access`] first.
//! Source: `org.apache.pulsar.functions.worker.rest.api`, `org.apache.pulsar.broker.admin.v3.Packages`.

mod access;
mod components;
mod form;
mod kinds;
mod meshes;
mod metrics;
mod packages;
mod scaling;
mod state;
mod worker;

pub(crate) use access::Peer;
pub use access::{DeployFrom, Deploying};
pub(crate) use metrics::show;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use functions::{Error, Kind, Meshes, Worker};
use std::{path::Path, sync::Arc};
use tokio::io::AsyncReadExt;

use crate::{
    App, brokers,
    reply::{Failure, Reply},
};

/// Bytes of a form beside the package that it carries.
const FORM_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a download read at once.
const PIECE: usize = 64 * 1024;

/// What these handlers get.
#[derive(Clone)]
pub(crate) struct Hosted {
    pub(crate) app: App,
    pub(crate) worker: Worker,
    pub(crate) meshes: Meshes,
}

/// All of it; without a worker, Pulsar's answer where there is none.
pub(crate) fn routes(app: &App, meshes: Option<Meshes>) -> Router {
    let Some(meshes) = meshes else { return absent().with_state(app.clone()) };
    let worker = meshes.worker().clone();
    let package_bytes = usize::try_from(worker.settings().max_package_bytes).unwrap_or(usize::MAX);
    let timeout = app.config.deploying.timeout;
    let rules = Arc::new(app.config.deploying.clone());
    let mut all = Router::new()
        .nest("/admin/v3/packages", packages::routes())
        .nest("/admin/v3/meshes", meshes::routes())
        .nest("/admin/v2/worker", worker::routes())
        .nest("/admin/v2/worker-stats", worker::stats())
        .nest("/admin/v2/functions", old());
    for (path, kind) in [
        ("functions", Kind::Function),
        ("sources", Kind::Source),
        ("source", Kind::Source),
        ("sinks", Kind::Sink),
        ("sink", Kind::Sink),
    ] {
        all = all.nest(&format!("/admin/v3/{path}"), kinds::routes(kind));
    }
    all.layer(DefaultBodyLimit::max(package_bytes.saturating_add(FORM_BYTES)))
        .layer(middleware::from_fn(move |request: Request, next: Next| crate::within(timeout, request, next)))
        .layer(middleware::from_fn(move |request, next| access::check(rules.clone(), request, next)))
        .with_state(Hosted { app: app.clone(), worker, meshes })
}

fn absent() -> Router<App> {
    let mut all = Router::new().nest("/admin/v3/packages", brokers::no_packages());
    for path in [
        "v3/functions",
        "v3/sources",
        "v3/source",
        "v3/sinks",
        "v3/sink",
        "v3/meshes",
        "v2/functions",
        "v2/worker",
        "v2/worker-stats",
    ] {
        all = all.nest(&format!("/admin/{path}"), brokers::no_functions());
    }
    all
}

/// What clients older than Pulsar 2.4 speak.
fn old() -> Router<Hosted> {
    let answer = || async { Failure::not_allowed("this interface is that of Pulsar 2.3; use /admin/v3/functions") };
    let any = axum::routing::any(answer);
    Router::new().route("/", any.clone()).route("/{*path}", any)
}

/// What a worker's error is to whoever asked for a function, source or sink.
pub(crate) fn refused(error: Error) -> Failure {
    let status = match &error {
        Error::Invalid(_) | Error::Exists(_) | Error::Start(_) => StatusCode::BAD_REQUEST,
        Error::NotFound(_) => StatusCode::NOT_FOUND,
        Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Error::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
        Error::Conflict
        | Error::Unsure(_)
        | Error::Broker(_)
        | Error::Schema(_)
        | Error::Closed(_)
        | Error::Io { .. } => {
            tracing::error!(%error, "request failed");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    Failure::new(status, error.to_string())
}

/// A file as the body of an answer, read as it is sent.
async fn file(path: &Path) -> Reply<Response> {
    let gone = |error: std::io::Error| Failure::not_found(format!("the package cannot be read: {error}"));
    let file = tokio::fs::File::open(path).await.map_err(gone)?;
    let length = file.metadata().await.map_err(gone)?.len();
    let pieces = futures::stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((piece, file)))
    });
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
