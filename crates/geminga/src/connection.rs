//! The way to a broker that is somewhere else, for those who run functions in this process.

use anyhow::{Context, bail};
use client::{Client, Config};
use std::path::PathBuf;

/// How the file of a function's state ends.
pub(crate) const STATE: &str = "state";

/// The token of Pulsar's `AuthenticationToken`. Source: its `configure`: `token:...`, `file://...`, or JSON with a `token`.
///
/// # Errors
/// Another plugin; no token.
pub(crate) fn token(plugin: Option<&str>, params: Option<&str>) -> anyhow::Result<Option<String>> {
    let (plugin, params) = (plugin.unwrap_or_default(), params.unwrap_or_default().trim());
    if plugin.is_empty() && params.is_empty() {
        return Ok(None);
    }
    let is_token = plugin.rsplit('.').next() == Some("AuthenticationToken") || plugin == "token";
    if !is_token {
        bail!(
            "the authentication {plugin:?} is not supported: org.apache.pulsar.client.impl.auth.AuthenticationToken is"
        );
    }
    let json = || serde_json::from_str::<serde_json::Value>(params).ok()?.get("token")?.as_str().map(ToOwned::to_owned);
    let token = match (params.strip_prefix("token:"), params.strip_prefix("file://")) {
        (Some(token), _) => token.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path).with_context(|| format!("read the token in {path}"))?,
        (None, None) => json().unwrap_or_else(|| params.to_owned()),
    };
    let token = token.trim().to_owned();
    if token.is_empty() {
        bail!("the token of the authentication is empty");
    }
    Ok(Some(token))
}

/// The directory of `file:///DIR`.
///
/// # Errors
/// Another URL.
pub(crate) fn state_dir(url: &str) -> anyhow::Result<PathBuf> {
    match url.strip_prefix("file://").filter(|path| path.starts_with('/')) {
        Some(path) => Ok(path.into()),
        None => bail!("state is kept in a directory here, file:///DIRECTORY, and not in {url}"),
    }
}

/// A client that is connected.
///
/// # Errors
/// No broker answers.
pub(crate) async fn connect(service_url: &str, token: Option<String>, tls: bool) -> anyhow::Result<Client> {
    let client = unconnected(service_url, token, tls)?;
    client.max_message_bytes().await.with_context(|| format!("no broker answers at {service_url}"))?;
    Ok(client)
}

/// A client that connects when it is used.
///
/// # Errors
/// It is no URL; there is no TLS.
pub(crate) fn unconnected(service_url: &str, token: Option<String>, tls: bool) -> anyhow::Result<Client> {
    if tls {
        bail!("there is no TLS yet");
    }
    Ok(Client::unconnected(Config { token, ..Config::new(service_url) })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_where_pulsar_looks_for_it() {
        const CLASS: Option<&str> = Some("org.apache.pulsar.client.impl.auth.AuthenticationToken");
        assert_eq!(token(None, None).unwrap(), None);
        assert_eq!(token(Some(""), Some("")).unwrap(), None);
        for params in ["token:abc", "abc", r#"{"token":"abc"}"#] {
            assert_eq!(token(CLASS, Some(params)).unwrap().as_deref(), Some("abc"));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc\n").unwrap();
        assert_eq!(token(CLASS, Some(&format!("file://{}", file.path().display()))).unwrap().as_deref(), Some("abc"));
        assert!(token(CLASS, Some("token:")).is_err());
        assert!(token(Some("org.apache.pulsar.client.impl.auth.AuthenticationTls"), Some("x")).is_err());
    }

    #[test]
    fn state_is_in_a_directory_or_nowhere() {
        assert_eq!(state_dir("file:///var/state").unwrap(), PathBuf::from("/var/state"));
        assert!(state_dir("bk://bookie:4181").is_err() && state_dir("file://relative").is_err());
    }
}
