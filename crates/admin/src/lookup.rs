//! `/lookup/v2/topic`: which broker serves a topic. Pulsar 4 has no lookup of version 1 any more.

use admin_api::LookupData;
use axum::{Json, Router, extract::State, routing::get};
use model::{Domain, TopicName};

use crate::{
    App,
    at::At,
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

async fn lookup(State(app): State<App>, at: At) -> Reply<Json<LookupData>> {
    let addresses = app.broker.lookup(&name(&at)?).await.map_err(in_namespace)?;
    Ok(Json(LookupData {
        native_url: addresses.broker_url.clone(),
        broker_url: addresses.broker_url,
        http_url: addresses.web_url,
        ..LookupData::default()
    }))
}

async fn bundle(State(app): State<App>, at: At) -> Reply<String> {
    let name = name(&at)?;
    app.broker.lookup(&name).await.map_err(in_namespace)?;
    Ok(bundle_of(&name, &*app.broker.policies(name.namespace())?))
}
