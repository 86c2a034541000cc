//! `/admin/v2/schemas`: the versions of a topic's schema. A schema may come before its topic.
//!
//! Two answers differ from Pulsar's, which has a stack trace there: a schema that does not fit is a conflict (409), and one
//! that is none is unprocessable (422), also where a client only asks. Source: Pulsar's `SchemasResource`.

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use broker::SchemaVersion;
use schema::{Definition, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{
    App,
    at::{At, Query},
    reply::{self, Failure, Reply},
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/{tenant}/{namespace}/{topic}/schema", get(latest).post(upload).delete(delete))
        .route("/{tenant}/{namespace}/{topic}/schema/{version}", get(one))
        .route("/{tenant}/{namespace}/{topic}/schemas", get(all))
        .route("/{tenant}/{namespace}/{topic}/metadata", get(metadata))
        .route("/{tenant}/{namespace}/{topic}/compatibility", post(compatibility))
        .route("/{tenant}/{namespace}/{topic}/version", post(version))
}

/// What an administrator sends: Pulsar's `PostSchemaPayload`.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    /// JSON as text; for a key and a value an object of both.
    schema: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

fn definition(bytes: &Bytes) -> Reply<Definition> {
    let Payload { kind, schema: text, properties } = reply::required(bytes)?;
    let kind: Kind = kind.parse().map_err(|error: schema::Error| Failure::bad(error.to_string()))?;
    let data = match kind {
        Kind::KeyValue => schema::data_from_json(&text).map_err(broker::Error::from)?,
        _ => text.into(),
    };
    Ok(Definition { kind, data, properties })
}

async fn upload(State(app): State<App>, at: At, bytes: Bytes) -> Reply<Json<Value>> {
    let version = app.broker.upload_schema(&at.topic()?, definition(&bytes)?).await?;
    Ok(Json(json!({ "version": { "version": version } })))
}

#[derive(Deserialize)]
struct Force {
    #[serde(default)]
    force: bool,
}

async fn delete(State(app): State<App>, at: At, Query(query): Query<Force>) -> Reply<Json<Value>> {
    let version = app.broker.delete_schemas(&at.topic()?, query.force).await?;
    // -1 is how Pulsar writes that there is none.
    Ok(Json(json!({ "version": version.map_or(json!(-1), |version| json!(version)) })))
}

async fn latest(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let last = app.broker.schemas(&at.topic()?).await?.versions.pop();
    Ok(Json(shown(&last.ok_or_else(missing)?)?))
}

async fn one(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let wanted: i64 = at.number("version")?;
    let mut versions = app.broker.schemas(&at.topic()?).await?.versions.into_iter();
    let found = versions.find(|version| i64::try_from(version.version) == Ok(wanted));
    Ok(Json(shown(&found.ok_or_else(missing)?)?))
}

async fn all(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let versions = app.broker.schemas(&at.topic()?).await?.versions;
    let all = versions.iter().map(shown).collect::<Reply<Vec<_>>>()?;
    Ok(Json(json!({ "getSchemaResponses": all })))
}

/// In Pulsar each version is an entry of a ledger of its own; here they lie with their topic, and in no ledger.
async fn metadata(State(app): State<App>, at: At) -> Reply<Response> {
    let history = app.broker.schemas(&at.topic()?).await?;
    let entry = |version: u64| json!({ "ledgerId": -1, "entryId": -1, "version": version });
    let numbers: Vec<_> = history.deleted.into_iter().chain(history.versions.iter().map(|v| v.version)).collect();
    let index: Vec<_> = numbers.iter().copied().map(entry).collect();
    Ok(reply::optional(numbers.last().map(|&last| json!({ "info": entry(last), "index": index }))))
}

async fn compatibility(State(app): State<App>, at: At, bytes: Bytes) -> Reply<impl IntoResponse> {
    let strategy = app.broker.check_schema(&at.topic()?, definition(&bytes)?).await?;
    let answer = json!({ "schemaCompatibilityStrategy": strategy.name(), "compatibility": true });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

async fn version(State(app): State<App>, at: At, bytes: Bytes) -> Reply<Json<Value>> {
    let version = app.broker.find_schema(&at.topic()?, &definition(&bytes)?).await?;
    Ok(Json(json!({ "version": version.map_or(json!(-1), |version| json!(version)) })))
}

fn missing() -> Failure {
    Failure::not_found("Schema not found")
}

/// Pulsar's `GetSchemaResponse`.
fn shown(version: &SchemaVersion) -> Reply<Value> {
    let definition = &version.definition;
    let data = match definition.kind {
        Kind::KeyValue => schema::data_to_json(definition).map_err(broker::Error::from)?,
        _ => String::from_utf8_lossy(&definition.data).into_owned(),
    };
    Ok(json!({
        "version": version.version,
        "type": definition.kind.name(),
        "timestamp": version.created_ms,
        "data": data,
        "properties": definition.properties,
    }))
}
