//! What functions, sources and sinks have in common.

use autoscale::Spec;
use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use functions::{
    Error, Kind,
    worker::{Given, NO_CHANGE, Name},
};
use model::{
    NamespaceName,
    function::{FunctionInstanceStatsData, FunctionStats, UpdateOptions},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Hosted, access::Insider, file, form::Form, refused, scaling};
use crate::{
    at::{At, Query},
    reply::{Done, Failure, Reply},
};

/// The name in a path.
pub(super) fn named(at: &At) -> Reply<Name> {
    Name::new(at.text("tenant"), at.text("namespace"), at.text("name")).map_err(refused)
}

/// The number of an instance in a path that has one.
fn instance(at: &At, kind: Kind) -> Reply<Option<u32>> {
    let number = at.text("instance");
    if number.is_empty() {
        return Ok(None);
    }
    let none = || Failure::bad(format!("{} {} doesn't have instance with id {number}", kind.title(), at.text("name")));
    number.parse().map(Some).map_err(|_| none())
}

pub(super) async fn list(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Json<Vec<String>> {
    Json(hosted.worker.list(kind, at.text("tenant"), at.text("namespace")))
}

pub(super) async fn get(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply<Json<Value>> {
    Ok(Json(hosted.worker.get(kind, &named(&at)?).map_err(refused)?.to_json()))
}

/// What a request to create or update says.
struct Wish {
    config: String,
    given: Given,
    options: UpdateOptions,
    /// Ours, not Pulsar's: by which rules it scales.
    scaling: Option<Spec>,
}

async fn wish(hosted: &Hosted, kind: Kind, request: Request) -> Reply<Wish> {
    let wish = read(hosted, kind, request).await;
    if wish.is_err() {
        // The package that came with it is of no use to anybody.
        hosted.worker.sweep().await;
    }
    wish
}

async fn read(hosted: &Hosted, kind: Kind, request: Request) -> Reply<Wish> {
    let mut form = Form::read(request, hosted.worker.packages(), Some("data")).await?;
    let config = form.text(&format!("{kind}Config"))?;
    let config = config.ok_or_else(|| Failure::bad(format!("{} config is not provided", kind.title())))?;
    let options = match form.text("updateOptions")? {
        Some(json) => serde_json::from_str(&json).map_err(|error| Failure::bad(format!("updateOptions: {error}")))?,
        None => UpdateOptions::default(),
    };
    let scaling = form.text("scaling")?.map(|json| scaling::rules(json.as_bytes())).transpose()?;
    let given = match (form.text("url")?, form.file) {
        (Some(url), _) => Given::Url(url.trim().to_owned()),
        (None, Some(stored)) => Given::Uploaded(stored),
        (None, None) => Given::Nothing,
    };
    Ok(Wish { config, given, options, scaling })
}

pub(super) async fn create(
    State(hosted): State<Hosted>,
    Extension(kind): Extension<Kind>,
    at: At,
    request: Request,
) -> Reply {
    let name = named(&at)?;
    // Looked at before the package is taken in, which may be large. Source: `FunctionsImpl.registerFunction`.
    let namespace = NamespaceName::new(&name.tenant, &name.namespace);
    hosted.app.broker.tenant(&name.tenant).map_err(|_| Failure::bad("Tenant does not exist"))?;
    let is_there = namespace.is_ok_and(|namespace| hosted.app.broker.policies(&namespace).is_ok());
    if !is_there {
        return Err(Failure::bad("Namespace does not exist"));
    }
    let Wish { config, given, scaling, .. } = wish(&hosted, kind, request).await?;
    hosted.worker.create_scaling(kind, name, config, given, scaling).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn update(
    State(hosted): State<Hosted>,
    Extension(kind): Extension<Kind>,
    at: At,
    request: Request,
) -> Reply {
    let name = named(&at)?;
    let Wish { config, given, options, scaling } = wish(&hosted, kind, request).await?;
    let updated = match hosted.worker.update(kind, name.clone(), config, given, options).await {
        // What changes is how it scales.
        Err(Error::Invalid(reason)) if scaling.is_some() && reason == NO_CHANGE => Ok(()),
        updated => updated,
    };
    let all = match (updated, scaling) {
        (Ok(()), Some(scaling)) => hosted.worker.set_scaling(kind, name, Some(scaling)).await,
        (updated, _) => updated,
    };
    all.map_err(|error| match error {
        // Elsewhere it is 404, in Pulsar as here.
        Error::NotFound(reason) if reason.ends_with("doesn't exist") => Failure::bad(reason),
        other => refused(other),
    })?;
    Ok(Done)
}

pub(super) async fn delete(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.delete(kind, named(&at)?).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn status(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply<Response> {
    let (name, worker) = (named(&at)?, &hosted.worker);
    Ok(match kind {
        Kind::Function => Json(worker.function_status(&name).map_err(refused)?).into_response(),
        Kind::Source => Json(worker.source_status(&name).map_err(refused)?).into_response(),
        Kind::Sink => Json(worker.sink_status(&name).map_err(refused)?).into_response(),
    })
}

pub(super) async fn instance_status(
    State(hosted): State<Hosted>,
    Extension(kind): Extension<Kind>,
    at: At,
) -> Reply<Response> {
    let (name, worker) = (named(&at)?, &hosted.worker);
    let status = worker.status(kind, &name, instance(&at, kind)?.unwrap_or_default()).map_err(refused)?;
    Ok(match kind {
        Kind::Function => Json(worker.of_function(status)).into_response(),
        Kind::Source => Json(worker.of_source(status)).into_response(),
        Kind::Sink => Json(worker.of_sink(status)).into_response(),
    })
}

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    from: u64,
}

/// Ours, not Pulsar's: the last lines of an instance's log, of which `from` is the first wanted, each with its number.
pub(super) async fn logs(
    _: Insider,
    State(hosted): State<Hosted>,
    Extension(kind): Extension<Kind>,
    at: At,
    Query(query): Query<From>,
) -> Reply<Json<Vec<Value>>> {
    let id = instance(&at, kind)?.unwrap_or_default();
    let lines = hosted.worker.lines(kind, &named(&at)?, id, query.from).map_err(refused)?;
    let shown = lines.into_iter().map(|line| {
        json!({
            "number": line.number,
            "timestampMs": line.at_ms,
            "level": line.level.as_str(),
            "message": line.message,
        })
    });
    Ok(Json(shown.collect()))
}

pub(super) async fn stats(State(hosted): State<Hosted>, at: At) -> Reply<Json<FunctionStats>> {
    Ok(Json(hosted.worker.stats(&named(&at)?).map_err(refused)?))
}

pub(super) async fn instance_stats(State(hosted): State<Hosted>, at: At) -> Reply<Json<FunctionInstanceStatsData>> {
    let id = instance(&at, Kind::Function)?.unwrap_or_default();
    Ok(Json(hosted.worker.instance_stats(&named(&at)?, id).map_err(refused)?))
}

pub(super) async fn start(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.set_running(kind, named(&at)?, instance(&at, kind)?, true).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn stop(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.set_running(kind, named(&at)?, instance(&at, kind)?, false).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn restart(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.restart(kind, named(&at)?, instance(&at, kind)?).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn upload(State(hosted): State<Hosted>, request: Request) -> Reply {
    let packages = hosted.worker.packages();
    let mut form = Form::read(request, packages, Some("data")).await?;
    let path = form.text("path")?;
    let (Some(path), Some(stored)) = (&path, &form.file) else {
        let path = path.as_deref().unwrap_or("null");
        return Err(Failure::bad(format!("Function Package is not provided {path}")));
    };
    packages.upload(path, stored).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn download(
    _: Insider,
    State(hosted): State<Hosted>,
    Extension(kind): Extension<Kind>,
    at: At,
) -> Reply<Response> {
    let (path, _) = hosted.worker.code(kind, &named(&at)?).await.map_err(refused)?;
    file(&path).await
}

#[derive(Deserialize)]
pub(super) struct Path {
    #[serde(default)]
    path: String,
}

/// What was uploaded, or a package by its name. Pulsar also hands out whatever `file://` names; that is anything this
/// process can read, so it is refused here.
pub(super) async fn download_path(
    _: Insider,
    State(hosted): State<Hosted>,
    Query(query): Query<Path>,
) -> Reply<Response> {
    let packages = hosted.worker.packages();
    let entry = match query.path.contains("://") {
        true => packages.get(&query.path.parse().map_err(refused)?),
        false => packages.uploaded(&query.path),
    };
    file(&packages.file(&entry.map_err(refused)?.blob).await.map_err(refused)?).await
}
