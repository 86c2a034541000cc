//! The web service: Pulsar's REST API over the broker, metrics and health.
//!
//! Paths, status codes and texts are Pulsar's, so that `pulsar-admin` and the admin clients work unchanged. What is not
//! there yet answers 405 or 501 with a reason. Source: `org.apache.pulsar.broker.admin.v2`.

mod at;
mod auto_creation;
mod brokers;
mod config;
mod functions;
mod lookup;
mod messages;
mod metrics;
mod namespaces;
mod reply;
mod schemas;
mod stats;
mod subscriptions;
mod tenants;
mod topic_policies;
mod topics;

pub use config::Config;
pub use functions::{DeployFrom, Deploying};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use broker::Broker;
use model::Domain;
use std::{borrow::Cow, sync::Arc, time::Duration};

use reply::Failure;

/// What every handler gets.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) broker: Broker,
    pub(crate) worker: Option<::functions::Worker>,
    pub(crate) config: Arc<Config>,
}

/// What is served.
#[derive(Clone)]
pub struct Services {
    /// Topics and all around them.
    pub broker: Broker,
    /// Functions and what they make up, where there are any.
    pub meshes: Option<::functions::Meshes>,
}

impl From<Broker> for Services {
    /// A broker without functions.
    fn from(broker: Broker) -> Self {
        Self { broker, meshes: None }
    }
}

/// How long requests under way have when the service stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves until shutdown is triggered; requests under way have two seconds to finish.
pub async fn serve(
    listener: tokio::net::TcpListener,
    services: impl Into<Services>,
    config: Config,
    shutdown: seams::Shutdown,
) {
    let listener = web_listener::Bounded::new(listener, config.max_connections, config.idle_timeout);
    // `Router` cannot rewrite a path before it routes, so the rewriting wraps it.
    let rewriting = middleware::from_fn(as_routed);
    let service = tower_layer::Layer::layer(&rewriting, router(services, config));
    let service = axum::ServiceExt::<Request>::into_make_service_with_connect_info::<functions::Peer>(service);
    let stop = shutdown.clone();
    let served = axum::serve(listener, service).with_graceful_shutdown(async move { stop.triggered().await });
    let deadline = async {
        shutdown.triggered().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                tracing::error!(%error, "web service ended");
            }
        }
        // A peer that sent half a request must not hold the process.
        () = deadline => tracing::debug!("requests under way were cut off"),
    }
}

/// Everything that is served; for tests, too.
pub fn router(services: impl Into<Services>, config: Config) -> Router {
    let (max_body, timeout) = (config.max_body_bytes, config.request_timeout);
    let Services { broker, meshes } = services.into();
    let worker = meshes.as_ref().map(|meshes| meshes.worker().clone());
    let app = App { broker, worker, config: Arc::new(config) };
    let functions = functions::routes(&app, meshes);
    Router::new()
        .route("/", get(|| async { "Geminga\n" }))
        .route("/status.html", get(brokers::status))
        .route("/health", get(brokers::health))
        .route("/ready", get(brokers::health))
        .route("/metrics", get(metrics::metrics))
        .merge(lookup::routes())
        .nest("/admin/v2/clusters", tenants::clusters())
        .nest("/admin/v2/tenants", tenants::tenants())
        .nest("/admin/v2/brokers", brokers::brokers())
        .nest("/admin/v2/broker-stats", brokers::stats())
        .nest("/admin/v2/namespaces", namespaces::routes())
        .nest(
            "/admin/v2/persistent",
            topics::routes()
                .merge(stats::routes())
                .merge(messages::routes())
                .merge(subscriptions::routes())
                .merge(topic_policies::routes()),
        )
        .nest(
            "/admin/v2/non-persistent",
            topics::routes()
                .merge(stats::routes())
                .merge(subscriptions::routes())
                .layer(Extension(Domain::NonPersistent)),
        )
        .nest("/admin/v2/schemas", schemas::routes())
        .route("/admin/v2/resourcegroups", get(|| async { Json(Vec::<String>::new()) }))
        .nest("/admin/v3/transactions", brokers::no_transactions())
        .fallback(|uri: Uri| async move { Failure::not_found(format!("HTTP 404 Not Found: {uri}")) })
        .layer(DefaultBodyLimit::max(max_body))
        .layer(middleware::from_fn(move |request: Request, next: Next| within(timeout, request, next)))
        .with_state(app)
        // These bring their own bounds: packages are large, and compiling takes time.
        .merge(functions)
}

async fn within(timeout: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(StatusCode::GATEWAY_TIMEOUT, "the request took too long").into_response(),
    }
}

/// Where Pulsar takes names of topics and subscriptions apart with its `Codec`, which is Java's `URLDecoder`.
const OF_TOPICS: [&str; 4] =
    ["/admin/v2/persistent/", "/admin/v2/non-persistent/", "/admin/v2/schemas/", "/lookup/v2/topic/"];

/// `pulsar-admin` ends some paths with a slash, and writes a space in a name as `+`.
async fn as_routed(mut request: Request, next: Next) -> Response {
    let uri = request.uri();
    let mut path = Cow::Borrowed(uri.path());
    if path.len() > 1 && path.ends_with('/') {
        path = path.trim_end_matches('/').to_owned().into();
    }
    if path.contains('+') && OF_TOPICS.iter().any(|prefix| path.starts_with(prefix)) {
        path = path.replace('+', "%20").into();
    }
    if let Cow::Owned(path) = path {
        let rewritten = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        if let Ok(rewritten) = if rewritten.is_empty() { "/".parse() } else { rewritten.parse::<Uri>() } {
            *request.uri_mut() = rewritten;
        }
    }
    next.run(request).await
}
