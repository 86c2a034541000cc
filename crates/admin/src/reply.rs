//! From the broker's errors to statuses and reasons; the one place where that is decided.

use admin_api::ErrorBody;
use axum::{
    Json,
    body::Bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use broker::Error;
use model::{Domain, NamespaceName, TopicName};
use serde::{Serialize, de::DeserializeOwned};

/// What a handler returns.
pub(crate) type Reply<T = Done> = Result<T, Failure>;

/// 204, as Pulsar answers what returns nothing.
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A status and a reason.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    reason: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason)
    }

    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { reason: self.reason })).into_response()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::TopicNotFound(_)
            | Error::NamespaceNotFound(_)
            | Error::TenantNotFound(_)
            | Error::ClusterNotFound(_)
            | Error::SubscriptionNotFound { .. } => StatusCode::NOT_FOUND,
            Error::TopicExists(_)
            | Error::NamespaceExists(_)
            | Error::TenantExists(_)
            | Error::SubscriptionExists { .. }
            | Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Precondition(_)
            | Error::ConsumerBusy(_)
            | Error::ConsumerAssign(_)
            | Error::ProducerBusy(_)
            | Error::ProducerFenced(_)
            | Error::ProducerBlockedQuota { .. }
            | Error::TooMany(_)
            | Error::InvalidTopicName(_)
            | Error::IncompatibleSchema(_) => StatusCode::PRECONDITION_FAILED,
            Error::NotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Error::BadRequest(_) => StatusCode::BAD_REQUEST,
            Error::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Storage(_) => {
                tracing::error!(%error, "request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let reason = match &error {
            Error::TopicExists(_) => "This topic already exists".to_owned(),
            Error::TenantExists(_) => "Tenant already exist".to_owned(),
            Error::TenantNotFound(_) => "Tenant does not exist".to_owned(),
            Error::NamespaceNotFound(_) => "Namespace does not exist".to_owned(),
            Error::NamespaceExists(_) => "Namespace already exists".to_owned(),
            Error::SubscriptionNotFound { .. } => "Subscription not found".to_owned(),
            Error::SubscriptionExists { .. } => "Subscription already exists for topic".to_owned(),
            Error::TopicNotFound(name) => format!("Topic {name} not found"),
            other => other.to_string(),
        };
        Self { status, reason }
    }
}

/// A namespace from its two path segments.
pub(crate) fn namespace(tenant: &str, namespace: &str) -> Reply<NamespaceName> {
    NamespaceName::new(tenant, namespace)
        .map_err(|_| Failure::new(StatusCode::PRECONDITION_FAILED, "Namespace name is not valid"))
}

/// A persistent topic from its three path segments.
pub(crate) fn topic((tenant, ns, local): &(String, String, String)) -> Reply<TopicName> {
    TopicName::new(Domain::Persistent, namespace(tenant, ns)?, local)
        .map_err(|_| Failure::new(StatusCode::PRECONDITION_FAILED, "Topic name is not valid"))
}

/// A JSON body, whatever its content type says. An empty one is `None`.
pub(crate) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Reply<Option<T>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(bytes).map(Some).map_err(|error| Failure::bad(format!("the body does not parse: {error}")))
}

/// A JSON body that must be there.
pub(crate) fn required<T: DeserializeOwned>(bytes: &Bytes) -> Reply<T> {
    body(bytes)?.ok_or_else(|| Failure::bad("the request has no body"))
}

/// JSON, as Pulsar returns values; `null` and absent policies are 204.
pub(crate) fn optional<T: Serialize>(value: Option<T>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Plain text.
pub(crate) fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}
