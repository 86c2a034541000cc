//! From the broker's errors to statuses and reasons; the one place where that is decided.
//!
//! Texts are Pulsar's, since people and scripts look for them.

use admin_api::ErrorBody;
use axum::{
    Json,
    body::Bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use broker::Error;
use model::{
    AutoSubscriptionCreation, DelayedDeliveryPolicies, PersistencePolicies, PublishRate, RetentionPolicies,
    SchemaAutoUpdate, SchemaCompatibility,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Number, Value};

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

    /// The same reason with another status.
    pub(crate) fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// 404.
    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason)
    }

    /// 400.
    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// 405: what Pulsar refuses, and what is not there yet.
    pub(crate) fn not_allowed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, reason)
    }

    /// 409.
    pub(crate) fn conflict(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, reason)
    }

    /// 412.
    pub(crate) fn precondition(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, reason)
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
            | Error::Conflict(_)
            | Error::IncompatibleSchema(_) => StatusCode::CONFLICT,
            Error::InvalidSchema(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Precondition(_)
            | Error::ConsumerBusy(_)
            | Error::ConsumerAssign(_)
            | Error::ProducerBusy(_)
            | Error::ProducerFenced(_)
            | Error::ProducerBlockedQuota { .. }
            | Error::TooMany(_)
            | Error::InvalidTopicName(_) => StatusCode::PRECONDITION_FAILED,
            Error::NotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Error::TopicTerminated => StatusCode::PRECONDITION_FAILED,
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
            Error::SubscriptionNotFound { topic, subscription } => {
                format!("Subscription {subscription} not found for topic {topic}")
            }
            Error::SubscriptionExists { .. } => "Subscription already exists for topic".to_owned(),
            Error::TopicNotFound(name) => format!("Topic {name} not found"),
            other => other.to_string(),
        };
        Self { status, reason }
    }
}

/// Where Pulsar calls a missing namespace `not found`, and a full one a conflict.
pub(crate) fn in_namespace(error: Error) -> Failure {
    match error {
        Error::NotAllowed(reason) if reason == Error::NAMESPACE_FULL => Failure::conflict(reason),
        Error::NamespaceNotFound(_) => Failure::not_found("Namespace not found"),
        other => other.into(),
    }
}

/// A JSON body, whatever its content type says. An empty one is `None`, and so is `null`: the Go client sends that for what
/// it has not, as a whole and in fields.
pub(crate) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Reply<Option<T>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(bytes).map(without_nulls);
    let typed = parsed.and_then(|value| if value.is_null() { Ok(None) } else { T::deserialize(value).map(Some) });
    typed.map_err(|error| Failure::bad(format!("the body does not parse: {error}")))
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
        for field in fields.values_mut() {
            *field = without_nulls(std::mem::take(field));
        }
    }
    value
}

/// A JSON body that must be there.
pub(crate) fn required<T: DeserializeOwned>(bytes: &Bytes) -> Reply<T> {
    body(bytes)?.ok_or_else(|| Failure::bad("The request entity cannot be empty."))
}

/// What the body of a policy's POST says.
pub(crate) trait Setting: Sized {
    /// `refusal`: what Pulsar says to a number that is negative.
    fn of(bytes: &Bytes, refusal: &str) -> Reply<Self>;
}

impl Setting for u32 {
    fn of(bytes: &Bytes, refusal: &str) -> Reply<Self> {
        let number = scalar(required::<Lenient<i64>>(bytes)?)?;
        if i32::try_from(number).is_err() {
            // Java's numbers end where these begin to be too large.
            return Err(Failure::bad(format!("the body does not parse: {number} is no int")));
        }
        Self::try_from(number).map_err(|_| Failure::precondition(refusal))
    }
}

impl Setting for u64 {
    fn of(bytes: &Bytes, refusal: &str) -> Reply<Self> {
        let number = scalar(required::<Lenient<i64>>(bytes)?)?;
        Self::try_from(number).map_err(|_| Failure::precondition(refusal))
    }
}

impl Setting for bool {
    fn of(bytes: &Bytes, _refusal: &str) -> Reply<Self> {
        scalar(required::<Lenient<bool>>(bytes)?)
    }
}

fn scalar<T>(lenient: Lenient<T>) -> Reply<T> {
    lenient.0.ok_or_else(|| Failure::bad("The request entity cannot be empty."))
}

/// A number or a boolean as Pulsar's JSON parser takes it: also as a string. An empty one is `None`, as `null` is.
///
/// Source: Jackson's `StdDeserializer._parseIntPrimitive` and `_parseBooleanPrimitive`.
#[derive(Debug)]
pub(crate) struct Lenient<T>(pub(crate) Option<T>);

/// What [`Lenient`] may hold.
trait Scalar: std::str::FromStr {
    fn of_number(number: &Number) -> Option<Self>;
    fn of_bool(value: bool) -> Option<Self>;
}

impl Scalar for i64 {
    /// What is behind the point is cut off.
    fn of_number(number: &Number) -> Option<Self> {
        number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.abs() < i64::MAX as f64)?;
            Some(float as Self)
        })
    }

    fn of_bool(_value: bool) -> Option<Self> {
        None
    }
}

impl Scalar for bool {
    fn of_number(number: &Number) -> Option<Self> {
        number.as_i64().map(|n| n != 0)
    }

    fn of_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let scalar = match &value {
            Value::Null => return Ok(Self(None)),
            Value::String(text) if text.trim().is_empty() => return Ok(Self(None)),
            // For a boolean Java knows three ways to write it; the odd ones beside them do no harm.
            Value::String(text) => text.trim().to_lowercase().parse().ok(),
            Value::Number(number) => T::of_number(number),
            Value::Bool(value) => T::of_bool(*value),
            Value::Array(_) | Value::Object(_) => None,
        };
        scalar.map(|scalar| Self(Some(scalar))).ok_or_else(|| D::Error::custom("it is of another type"))
    }
}

macro_rules! settings {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn of(bytes: &Bytes, _refusal: &str) -> Reply<Self> {
                required(bytes)
            }
        }
    )*};
}
settings!(
    RetentionPolicies,
    PersistencePolicies,
    AutoSubscriptionCreation,
    DelayedDeliveryPolicies,
    PublishRate,
    SchemaAutoUpdate,
    SchemaCompatibility
);

/// JSON, or an empty 200 for what is not set.
pub(crate) fn optional<T: Serialize>(value: Option<T>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => StatusCode::OK.into_response(),
    }
}

/// Plain text.
pub(crate) fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}
