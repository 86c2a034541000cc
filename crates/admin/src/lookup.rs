//! `/lookup/v2/topic`: which broker serves a topic. Pulsar 4 has no lookup of version 1 any more.

use admin_api::LookupData;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use broker::Error;
use model::{Domain, TopicName};
use serde::Deserialize;

use crate::{
    App,
    at::{At, Query},
    namespaces::bundle_of,
    reply::{Failure, Reply, in_namespace},
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/lookup/v2/topic/{domain}/{tenant}/{namespace}/{topic}", get(lookup))
        .route("/lookup/v2/topic/{domain}/{tenant}/{namespace}/{topic}/bundle", get(bundle))
}

fn name(at: &At) -> Reply<TopicName> {
    let domain: Domain =
        at.text("domain").parse().map_err(|_| Failure::bad("the domain is neither persistent nor non-persistent"))?;
    at.topic_in(domain)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listener {
    listener_name: Option<String>,
}

async fn lookup(
    State(app): State<App>,
    at: At,
    Query(query): Query<Listener>,
    headers: HeaderMap,
) -> Reply<Json<LookupData>> {
    let header = headers.get("x-pulsar-listenername").and_then(|value| value.to_str().ok());
    let listener = query.listener_name.as_deref().filter(|name| !name.is_empty()).or(header);
    let addresses = app.broker.lookup(&name(&at)?, listener).await.map_err(|error| match error {
        // Not 503, which would be an invitation to try again.
        Error::NotReady(reason) => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, reason),
        other => in_namespace(other),
    })?;
    Ok(Json(LookupData {
        native_url: addresses.broker_url.clone(),
        broker_url: addresses.broker_url,
        http_url: addresses.web_url,
        ..LookupData::default()
    }))
}

async fn bundle(State(app): State<App>, at: At) -> Reply<String> {
    let name = name(&at)?;
    app.broker.lookup(&name, None).await.map_err(in_namespace)?;
    Ok(bundle_of(&name, &*app.broker.policies(name.namespace())?))
}
