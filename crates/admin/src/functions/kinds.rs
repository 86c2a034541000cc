//! Which paths each of the three kinds has.

use axum::{
    Extension, Json, Router,
    extract::State,
    routing::{get, post},
};
use functions::Kind;
use model::function::{ConnectorDefinition, FunctionDefinition};
use serde_json::Value;

use super::{Hosted, components, scaling, state};
use crate::{
    at::At,
    reply::{Done, Failure, Reply},
};

pub(super) fn routes(kind: Kind) -> Router<Hosted> {
    let one = get(components::get).post(components::create).put(components::update).delete(components::delete);
    let mut routes = Router::new()
        .route("/{tenant}/{namespace}", get(components::list))
        .route("/{tenant}/{namespace}/{name}", one)
        .route("/{tenant}/{namespace}/{name}/status", get(components::status))
        .route("/{tenant}/{namespace}/{name}/{instance}/status", get(components::instance_status))
        .route("/{tenant}/{namespace}/{name}/{instance}/logs", get(components::logs));
    for instance in ["", "/{instance}"] {
        let at = |what: &str| format!("/{{tenant}}/{{namespace}}/{{name}}{instance}/{what}");
        routes = routes
            .route(&at("start"), post(components::start))
            .route(&at("stop"), post(components::stop))
            .route(&at("restart"), post(components::restart));
    }
    let own = match kind {
        Kind::Function => Router::new()
            .route("/{tenant}/{namespace}/{name}/stats", get(components::stats))
            .route("/{tenant}/{namespace}/{name}/{instance}/stats", get(components::instance_stats))
            .route("/{tenant}/{namespace}/{name}/trigger", post(state::trigger))
            .route("/{tenant}/{namespace}/{name}/download", get(components::download))
            .route("/{tenant}/{namespace}/{name}/state/{key}", get(state::get).post(state::put))
            .route("/upload", post(components::upload))
            .route("/download", get(components::download_path))
            .route("/connectors", get(connectors))
            .route("/builtins", get(|| async { Json(Vec::<FunctionDefinition>::new()) }))
            .route("/builtins/reload", post(|| async { Done })),
        Kind::Source => builtins("builtinsources", "reloadBuiltInSources"),
        Kind::Sink => builtins("builtinsinks", "reloadBuiltInSinks"),
    };
    routes.merge(scaling::routes()).merge(own).layer(Extension(kind))
}

/// What is built in cannot change while this runs, so reloading it has nothing to do.
fn builtins(list: &str, reload: &str) -> Router<Hosted> {
    Router::new()
        .route(&format!("/{list}"), get(of_kind))
        .route(&format!("/{list}/{{name}}/configdefinition"), get(definition))
        .route(&format!("/{reload}"), post(|| async { Done }))
}

pub(super) async fn connectors(State(hosted): State<Hosted>) -> Json<Vec<ConnectorDefinition>> {
    Json(hosted.worker.connectors().to_vec())
}

fn found(hosted: &Hosted, kind: Kind) -> Vec<ConnectorDefinition> {
    let is_wanted = |connector: &&ConnectorDefinition| match kind {
        Kind::Source => connector.source_class.is_some(),
        Kind::Sink => connector.sink_class.is_some(),
        Kind::Function => false,
    };
    hosted.worker.connectors().iter().filter(is_wanted).cloned().collect()
}

async fn of_kind(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>) -> Json<Vec<ConnectorDefinition>> {
    Json(found(&hosted, kind))
}

async fn definition(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply<Json<Vec<Value>>> {
    let is_there = found(&hosted, kind).iter().any(|connector| connector.name.as_deref() == Some(at.text("name")));
    // Connectors say in their documentation what they want.
    if is_there { Ok(Json(Vec::new())) } else { Err(Failure::not_found(format!("builtin {kind} does not exist"))) }
}
