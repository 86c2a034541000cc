//! Which broker the data commands talk to, and what to tell a person who can't reach it.

use anyhow::anyhow;
use client::{Backoff, Client, Config};
use std::time::Duration;

/// How to reach the broker.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Service {
    /// Where the broker listens, `pulsar://host:port[,host:port...]`
    #[arg(long, value_name = "URL", env = "GEMINGA_SERVICE_URL", default_value = "pulsar://127.0.0.1:6650")]
    pub(crate) service_url: String,
    /// A token to authenticate with
    #[arg(long, value_name = "TOKEN", env = "GEMINGA_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

impl Service {
    /// Connects as an application does: producers and consumers come back after a lost connection, for a minute.
    ///
    /// # Errors
    /// What a person can act on: the address tried, and how to start a broker there.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let backoff = Backoff { give_up_after: Some(Duration::from_secs(60)), ..Backoff::default() };
        self.connect_with(Config { reconnect: Some(backoff), ..self.config() }).await
    }

    /// Connects with a configuration made from [`config`](Self::config).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(crate) async fn connect_with(&self, config: Config) -> anyhow::Result<Client> {
        Client::connect_with(config).await.map_err(explain)
    }

    /// The client's configuration for this service.
    #[must_use]
    pub(crate) fn config(&self) -> Config {
        Config {
            connect_timeout: Duration::from_secs(5),
            token: self.token.clone(),
            ..Config::new(self.service_url.clone())
        }
    }
}

/// Adds what to do about it, where that is known.
#[must_use]
pub(crate) fn explain(error: client::Error) -> anyhow::Error {
    match &error {
        client::Error::Connect { address, source } => anyhow!(
            "no broker answers at {address}: {source}\n\
             Start one with `geminga standalone`, or name another with --service-url."
        ),
        client::Error::Handshake { address, .. } => anyhow!(
            "{error}\nIs {address} the broker's port (6650 unless configured otherwise), not the web service's (8080)?"
        ),
        client::Error::Timeout { doing: "connect", after } => anyhow!(
            "a connection was accepted, but no broker answered within {after:?}.\n\
             Is it the broker's port (6650 unless configured otherwise)?"
        ),
        _ => anyhow::Error::new(error),
    }
}

/// Parses `name=value`.
///
/// # Errors
/// There is no `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("expected name=value".to_owned()),
    }
}
