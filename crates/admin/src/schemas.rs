//! `/admin/v2/schemas`: schemas are registered by producers; here they can be read and deleted.

use axum::{Json, Router, body::Bytes, extract::State, routing::get};
use broker::{Error, Schema};
use model::TopicName;
use serde_json::{Value, json};

use crate::{
    App,
    at::At,
    reply::{Failure, Reply},
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/{tenant}/{namespace}/{topic}/schema", get(latest).post(not_yet).delete(delete))
        .route("/{tenant}/{namespace}/{topic}/schema/{version}", get(one))
        .route("/{tenant}/{namespace}/{topic}/schemas", get(all))
}

async fn not_yet() -> Failure {
    Failure::not_allowed("schemas are registered by producers; the REST API does not add any yet")
}

async fn delete(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    app.broker.policies(name.namespace())?;
    match app.broker.delete_schemas(&name).await {
        Ok(version) => Ok(Json(json!({ "version": version }))),
        Err(Error::TopicNotFound(_)) => Err(missing()),
        Err(other) => Err(other.into()),
    }
}

async fn latest(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let (schema, version) = find(&app, &at.topic()?, None).await?.ok_or_else(missing)?;
    Ok(Json(json(&schema, version)))
}

async fn one(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let version: u64 = at.number("version")?;
    let (schema, version) = find(&app, &at.topic()?, Some(version)).await?.ok_or_else(missing)?;
    Ok(Json(json(&schema, version)))
}

async fn all(State(app): State<App>, at: At) -> Reply<Json<Value>> {
    let name = at.topic()?;
    let mut all = Vec::new();
    if let Some((_, last)) = find(&app, &name, None).await? {
        for version in 0..=last {
            if let Some((schema, version)) = find(&app, &name, Some(version)).await? {
                all.push(json(&schema, version));
            }
        }
    }
    Ok(Json(json!({ "getSchemaResponses": all })))
}

fn missing() -> Failure {
    Failure::not_found("Schema not found")
}

async fn find(app: &App, name: &TopicName, version: Option<u64>) -> Reply<Option<(Schema, u64)>> {
    app.broker.policies(name.namespace())?;
    let version = version.map(|n| Bytes::copy_from_slice(&n.to_be_bytes()));
    match app.broker.schema(name, version).await {
        Ok(found) => Ok(found.map(|(schema, version)| (schema, version[..].try_into().map_or(0, u64::from_be_bytes)))),
        Err(Error::TopicNotFound(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn json(schema: &Schema, version: u64) -> Value {
    let kind = wire::proto::schema::Type::try_from(schema.kind).map_or("NONE", |kind| kind.as_str_name());
    json!({
        "version": version,
        "type": kind.to_uppercase(),
        "timestamp": 0,
        "data": String::from_utf8_lossy(&schema.data),
        "properties": schema.properties,
    })
}
