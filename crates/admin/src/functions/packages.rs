//! `/admin/v3/packages`: code by name and version.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
    routing::get,
};
use functions::{Error, packages::PackageName};
use model::function::PackageMetadata;

use super::{Hosted, access::Insider, file, form::Form};
use crate::{
    at::At,
    reply::{self, Done, Failure, Reply},
};

pub(super) fn routes() -> Router<Hosted> {
    Router::new()
        .route("/{type}/{tenant}/{namespace}", get(list))
        .route("/{type}/{tenant}/{namespace}/{name}", get(versions))
        .route("/{type}/{tenant}/{namespace}/{name}/{version}", get(download).post(upload).delete(delete))
        .route("/{type}/{tenant}/{namespace}/{name}/{version}/metadata", get(metadata).put(describe))
}

/// Source of the codes: `PackagesBase.handleError`.
fn refused(error: Error) -> Failure {
    match error {
        Error::Invalid(reason) => Failure::precondition(reason),
        Error::Exists(reason) => Failure::conflict(reason),
        other => super::refused(other),
    }
}

fn named(at: &At) -> Reply<PackageName> {
    let [kind, tenant, namespace, name, version] =
        ["type", "tenant", "namespace", "name", "version"].map(|variable| at.text(variable));
    PackageName::new(kind, tenant, namespace, name, version).map_err(refused)
}

async fn list(State(hosted): State<Hosted>, at: At) -> Reply<Json<Vec<String>>> {
    let packages = hosted.worker.packages();
    packages.list(at.text("type"), at.text("tenant"), at.text("namespace")).map(Json).map_err(refused)
}

async fn versions(State(hosted): State<Hosted>, at: At) -> Reply<Json<Vec<String>>> {
    let packages = hosted.worker.packages();
    let versions = packages.versions(at.text("type"), at.text("tenant"), at.text("namespace"), at.text("name"));
    versions.map(Json).map_err(refused)
}

const NO_METADATA: &str = "Unknown error, metadata is null when processing update package metadata request";

async fn upload(State(hosted): State<Hosted>, at: At, request: Request) -> Reply {
    let (name, packages) = (named(&at)?, hosted.worker.packages());
    if packages.get(&name).is_ok() {
        // Known before a large body is read.
        return Err(Failure::conflict(format!("Package '{name}' metadata already exists")));
    }
    let mut form = Form::read(request, packages, Some("file")).await?;
    let metadata = form.text("metadata")?.ok_or_else(|| Failure::bad(NO_METADATA))?;
    let metadata = serde_json::from_str(&metadata).map_err(|error| Failure::bad(format!("metadata: {error}")))?;
    let stored = form.file.ok_or_else(|| Failure::bad("the part \"file\" is not provided"))?;
    packages.add(&name, metadata, &stored).await.map_err(refused)?;
    Ok(Done)
}

async fn download(_: Insider, State(hosted): State<Hosted>, at: At) -> Reply<Response> {
    let packages = hosted.worker.packages();
    let entry = packages.get(&named(&at)?).map_err(refused)?;
    file(&packages.file(&entry.blob).await.map_err(refused)?).await
}

/// As in Pulsar, what is not there is deleted already.
async fn delete(State(hosted): State<Hosted>, at: At) -> Reply {
    match hosted.worker.remove_package(&named(&at)?).await {
        Ok(()) | Err(Error::NotFound(_)) => Ok(Done),
        Err(error) => Err(refused(error)),
    }
}

async fn metadata(State(hosted): State<Hosted>, at: At) -> Reply<Json<PackageMetadata>> {
    let name = named(&at)?;
    let missing = |_| Failure::not_found(format!("Package '{name}' metadata does not exist"));
    Ok(Json(hosted.worker.packages().get(&name).map_err(missing)?.metadata))
}

async fn describe(State(hosted): State<Hosted>, at: At, bytes: Bytes) -> Reply {
    let metadata = reply::body(&bytes)?.ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, NO_METADATA))?;
    hosted.worker.packages().describe(&named(&at)?, metadata).await.map_err(refused)?;
    Ok(Done)
}
