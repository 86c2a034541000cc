//! How things scale by themselves: rules, what a person overrides, what was decided and why. See [`admin_api::scaling`].

use admin_api::scaling::{Scaling, ScalingEvent, ScalingOf};
use autoscale::Spec;
use axum::{
    Extension, Json, Router,
    body::{self, Body},
    extract::State,
    routing::{get, post},
};
use functions::{
    Kind,
    worker::scaling::{Event, View},
};
use serde::Deserialize;

use super::{Hosted, components::named, refused};
use crate::{
    at::{At, Query},
    reply::{Done, Failure, Reply},
};

/// Bytes of rules.
const RULES_BYTES_MAX: usize = 256 * 1024;

pub(super) fn routes() -> Router<Hosted> {
    let at = |what: &str| format!("/{{tenant}}/{{namespace}}/{{name}}/scaling{what}");
    Router::new()
        .route(&at(""), get(show).put(set).delete(clear))
        .route(&at("/events"), get(events))
        .route(&at("/pin"), post(pin))
        .route(&at("/unpin"), post(unpin))
        .route(&at("/pause"), post(pause))
        .route(&at("/resume"), post(resume))
}

/// Reads rules.
pub(super) fn rules(json: &[u8]) -> Reply<Spec> {
    serde_json::from_slice(json).map_err(|error| Failure::bad(format!("scaling: {error}")))
}

fn shown(view: View) -> Scaling {
    Scaling {
        spec: view.scaling.spec,
        pinned: view.scaling.pinned,
        paused: view.scaling.paused,
        phase: view.phase.as_str().to_owned(),
        wanted: view.wanted,
        running: view.running,
        draining: view.draining,
        latest: view.latest.map(event),
        decisions: view.decisions,
        recommendation: view.recommendation,
        size: view.size,
    }
}

fn event(event: Event) -> ScalingEvent {
    let Event { at_ms, by, from, to, reason, sample } = event;
    ScalingEvent { timestamp_ms: at_ms, by, from, to, reason, sample }
}

async fn show(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply<Json<Scaling>> {
    Ok(Json(shown(hosted.worker.scaling(kind, &named(&at)?).map_err(refused)?)))
}

async fn events(
    State(hosted): State<Hosted>,
    Extension(kind): Extension<Kind>,
    at: At,
) -> Reply<Json<Vec<ScalingEvent>>> {
    let all = hosted.worker.scaling_events(kind, &named(&at)?).map_err(refused)?;
    Ok(Json(all.into_iter().map(event).collect()))
}

/// All that scales.
pub(super) async fn all(State(hosted): State<Hosted>) -> Json<Vec<ScalingOf>> {
    let one = |(kind, name, view): (Kind, functions::worker::Name, View)| ScalingOf {
        kind: kind.to_string(),
        name: name.to_string(),
        scaling: shown(view),
    };
    Json(hosted.worker.scaling_of_all().into_iter().map(one).collect())
}

async fn set(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At, body: Body) -> Reply {
    let json = body::to_bytes(body, RULES_BYTES_MAX).await;
    let json = json.map_err(|error| Failure::bad(format!("scaling, at most {RULES_BYTES_MAX} bytes: {error}")))?;
    hosted.worker.set_scaling(kind, named(&at)?, Some(rules(&json)?)).await.map_err(refused)?;
    Ok(Done)
}

async fn clear(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.set_scaling(kind, named(&at)?, None).await.map_err(refused)?;
    Ok(Done)
}

#[derive(Deserialize)]
struct Pin {
    instances: Option<u32>,
}

async fn pin(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At, Query(pin): Query<Pin>) -> Reply {
    let instances = pin.instances.ok_or_else(|| Failure::bad("say how many, as ?instances=N"))?;
    hosted.worker.pin(kind, named(&at)?, Some(instances)).await.map_err(refused)?;
    Ok(Done)
}

async fn unpin(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.pin(kind, named(&at)?, None).await.map_err(refused)?;
    Ok(Done)
}

async fn pause(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.pause_scaling(kind, named(&at)?, true).await.map_err(refused)?;
    Ok(Done)
}

async fn resume(State(hosted): State<Hosted>, Extension(kind): Extension<Kind>, at: At) -> Reply {
    hosted.worker.pause_scaling(kind, named(&at)?, false).await.map_err(refused)?;
    Ok(Done)
}
