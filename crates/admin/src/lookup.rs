//! `/lookup/v2/topic`: which broker serves a topic.

use admin_api::LookupData;
use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use model::{Domain, TopicName};

use crate::{
    App,
    reply::{self, Failure, Reply},
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/lookup/v2/topic/{domain}/{tenant}/{namespace}/{topic}", get(lookup))
        .route("/lookup/v2/topic/{domain}/{tenant}/{namespace}/{topic}/bundle", get(bundle))
}

type Parts = (String, String, String, String);

fn name((domain, tenant, namespace, local): &Parts) -> Reply<TopicName> {
    let domain: Domain =
        domain.parse().map_err(|_| Failure::bad("the domain is neither persistent nor non-persistent"))?;
    TopicName::new(domain, reply::namespace(tenant, namespace)?, local).map_err(|e| Failure::bad(e.to_string()))
}

async fn lookup(State(app): State<App>, Path(parts): Path<Parts>) -> Reply<Json<LookupData>> {
    let addresses = app.broker.lookup(&name(&parts)?).await?;
    Ok(Json(LookupData {
        native_url: addresses.broker_url.clone(),
        broker_url: addresses.broker_url,
        http_url: addresses.web_url,
        ..LookupData::default()
    }))
}

async fn bundle(State(app): State<App>, Path(parts): Path<Parts>) -> Reply<&'static str> {
    app.broker.lookup(&name(&parts)?).await?;
    Ok("0x00000000_0xffffffff")
}
