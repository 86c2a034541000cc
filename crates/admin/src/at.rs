//! What a path and its query name, taken apart once for every handler.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use model::{Domain, NAME_BYTES_MAX, NamespaceName, TopicName};
use serde::de::DeserializeOwned;
use std::{str::FromStr, time::Duration};

use crate::reply::{Failure, Reply};

/// The variables of a path, decoded. What does not parse is 404 as in Pulsar, but for names, which are 412.
#[derive(Debug)]
pub(crate) struct At {
    variables: Vec<(String, String)>,
    domain: Domain,
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|e| Failure::bad(e.to_string()))?;
        // What is served below both prefixes is told which of them it was.
        let domain = parts.extensions.get().copied().unwrap_or(Domain::Persistent);
        let variables = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { variables, domain })
    }
}

impl At {
    /// A variable as it was written.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.variables.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// A number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Reply<T> {
        let text = self.text(name);
        text.parse().map_err(|_| Failure::not_found(format!("HTTP 404 Not Found: {text} is no number")))
    }

    /// Seconds.
    pub(crate) fn seconds(&self) -> Reply<Duration> {
        self.number("seconds").map(Duration::from_secs)
    }

    pub(crate) fn namespace(&self) -> Reply<NamespaceName> {
        NamespaceName::new(self.text("tenant"), self.text("namespace"))
            .map_err(|_| Failure::precondition("Namespace name is not valid"))
    }

    /// Which topics the path is about.
    pub(crate) fn domain(&self) -> Domain {
        self.domain
    }

    pub(crate) fn topic(&self) -> Reply<TopicName> {
        self.topic_in(self.domain)
    }

    pub(crate) fn topic_in(&self, domain: Domain) -> Reply<TopicName> {
        TopicName::new(domain, self.namespace()?, self.text("topic"))
            .map_err(|_| Failure::precondition("Topic name is not valid"))
    }

    /// The name of a subscription.
    pub(crate) fn subscription(&self) -> Reply<&str> {
        let name = self.text("subscription");
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Failure::precondition("a subscription name has 1 to 1024 bytes"));
        }
        Ok(name)
    }
}

/// Parameters; a value of a wrong type is 404, as JAX-RS has it. What is not known is ignored.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::not_found(format!("HTTP 404 Not Found: {}", error.body_text()))),
        }
    }
}
