//! The client side of the REST API.

use anyhow::{Context, anyhow, bail};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Where the web service is, and how results are printed.
#[derive(Clone, Debug, clap::Args)]
pub struct Admin {
    /// Where the REST API listens
    #[arg(long, value_name = "URL", env = "GEMINGA_ADMIN_URL", default_value = "http://127.0.0.1:8080")]
    admin_url: String,
    /// How results are printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Lines and tables
    Text,
    /// JSON, as the REST API returned it
    Json,
}

/// Parts of a path, encoded as the API wants them.
pub(crate) fn path(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    path
}

impl Admin {
    /// Sends a request and returns the JSON of the answer, `Null` when there is none.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let text = self.send(method, path, body).await?.text().await?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request and returns the answer when its status says success.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Response> {
        let base = self.admin_url.trim_end_matches('/');
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .build()
            .context("set up HTTP")?;
        let mut request = client.request(method, format!("{base}/admin/v2{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                anyhow!("no web service answers at {base}\nStart one with `geminga standalone`, or name another with --admin-url.")
            } else {
                anyhow::Error::new(error)
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let reason = serde_json::from_str::<admin_api::ErrorBody>(&text).map_or(text, |body| body.reason);
        match (status, reason.is_empty()) {
            (StatusCode::NOT_FOUND, true) => bail!("not found (404)"),
            (status, true) => bail!("{status}"),
            (status, false) => bail!("{reason} ({})", status.as_u16()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }
}
