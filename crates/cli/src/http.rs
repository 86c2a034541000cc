//! A client of Pulsar's REST API, as far as the command line needs it.
//!
//! Every error says which URL was asked, and what to do where that is known.

use crate::form::Form;
use model::{NamespaceName, TopicName};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, io, path::Path, time::Duration};
use tokio::io::AsyncWriteExt;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is no URL of a web service, such as http://127.0.0.1:8080")]
    Url(String),
    #[error(
        "no broker answers at {url}: {why}\nStart one with `geminga standalone`, or name another with --admin-url."
    )]
    Connect { url: String, why: String },
    #[error("{url} did not answer within {after:?}")]
    Timeout { url: String, after: Duration },
    #[error(
        "{url}: {why}\nIs it the broker's web service (8080 unless configured otherwise), not the binary port (6650)?"
    )]
    Protocol { url: String, why: String },
    /// The broker's own words.
    #[error("{reason} ({})", .status.as_u16())]
    Refused { status: StatusCode, reason: String },
    #[error("{url} answered what is not expected there: {why}")]
    Answer { url: String, why: String },
    #[error("write {path}")]
    Save { path: String, source: io::Error },
}

impl Error {
    /// Whether the broker says that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether the broker says that it is there already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::CONFLICT, .. })
    }
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// For packages, which may be large, and whose code may be made ready before the answer comes.
const PACKAGE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A web service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    base: Url,
    token: Option<String>,
    http: reqwest::Client,
}

impl Admin {
    /// A client of the service at `url`; connects when it is used.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        let bad = || Error::Url(url.to_owned());
        let base = Url::parse(url).map_err(|_| bad())?;
        if base.scheme() != "http" || base.host().is_none() {
            return Err(bad());
        }
        // Whoever comes first chooses for the whole process; that it was chosen already is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The broker is asked, not what an environment variable puts between.
            .no_proxy()
            .user_agent(concat!("geminga/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| bad())?;
        Ok(Self { base, token, http })
    }

    /// A request to `/admin/v2/SEGMENT/SEGMENT...`; segments are encoded.
    pub fn at<S: AsRef<str>>(&self, segments: impl IntoIterator<Item = S>) -> Call<'_> {
        self.path(["admin", "v2"]).at(segments)
    }

    /// A request to something of a namespace.
    pub fn namespace(&self, namespace: &NamespaceName) -> Call<'_> {
        self.at(["namespaces", namespace.tenant(), namespace.local()])
    }

    /// A request to something of a topic.
    pub fn topic(&self, topic: &TopicName) -> Call<'_> {
        let namespace = topic.namespace();
        self.at([topic.domain().as_str(), namespace.tenant(), namespace.local(), topic.local()])
    }

    /// A request to a path from the root.
    pub fn path<S: AsRef<str>>(&self, segments: impl IntoIterator<Item = S>) -> Call<'_> {
        Call { admin: self, url: self.base.clone(), body: Body::None, timeout: REQUEST_TIMEOUT }.at(segments)
    }
}

/// One request being made.
#[derive(Debug)]
pub struct Call<'a> {
    admin: &'a Admin,
    url: Url,
    body: Body,
    timeout: Duration,
}

#[derive(Debug)]
enum Body {
    None,
    Json(Vec<u8>),
    Form(Form),
}

/// A stored entry as the web service hands it out.
#[derive(Debug)]
pub struct StoredEntry {
    /// `X-Pulsar-*`.
    pub headers: HeaderMap,
    /// The payload; of a batch as it is stored.
    pub payload: bytes::Bytes,
}

impl Call<'_> {
    /// Further segments of the path.
    #[must_use]
    pub fn at<S: AsRef<str>>(mut self, segments: impl IntoIterator<Item = S>) -> Self {
        if let Ok(mut path) = self.url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        self
    }

    /// A parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        self.url.query_pairs_mut().append_pair(name, &value.to_string());
        self
    }

    /// A body.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        // Plain structs and values with text keys always serialize.
        self.body = serde_json::to_vec(body).map_or(Body::None, Body::Json);
        self
    }

    /// A form as the body.
    #[must_use]
    pub(crate) fn form(mut self, form: Form) -> Self {
        self.body = Body::Form(form);
        self.timeout = PACKAGE_TIMEOUT;
        self
    }

    /// GET something that is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<T: DeserializeOwned>(self) -> Result<T> {
        let url = self.url.clone();
        let (_, body) = self.send(Method::GET).await?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer { url: url.to_string(), why: e.to_string() })
    }

    /// GET something that may be unset.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_optional<T: DeserializeOwned>(self) -> Result<Option<T>> {
        let url = self.url.clone();
        let (_, body) = self.send(Method::GET).await?;
        if body.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&body).map_err(|e| Error::Answer { url: url.to_string(), why: e.to_string() })
    }

    /// GET text.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn text(self) -> Result<String> {
        let (_, body) = self.send(Method::GET).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// GET an entry; `None` when there is no such one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entry(self) -> Result<Option<StoredEntry>> {
        match self.send(Method::GET).await {
            Ok((headers, payload)) => Ok(Some(StoredEntry { headers, payload })),
            Err(Error::Refused { status: StatusCode::NOT_FOUND, reason }) if reason.starts_with("Message") => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// PUT with an answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put_for<T: DeserializeOwned>(self) -> Result<T> {
        let url = self.url.clone();
        let (_, body) = self.send(Method::PUT).await?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer { url: url.to_string(), why: e.to_string() })
    }

    /// PUT.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(self) -> Result<()> {
        self.send(Method::PUT).await.map(drop)
    }

    /// POST.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post(self) -> Result<()> {
        self.send(Method::POST).await.map(drop)
    }

    /// POST with an answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_for<T: DeserializeOwned>(self) -> Result<T> {
        let url = self.url.clone();
        let (_, body) = self.send(Method::POST).await?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer { url: url.to_string(), why: e.to_string() })
    }

    /// POST with an answer that is bytes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_for_bytes(self) -> Result<bytes::Bytes> {
        let (_, body) = self.send(Method::POST).await?;
        Ok(body)
    }

    /// GET into a file, which is there only when all of it came; how many bytes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn save(mut self, path: &Path) -> Result<u64> {
        self.timeout = PACKAGE_TIMEOUT;
        let (url, timeout) = (self.url.clone(), self.timeout);
        let mut answer = self.answered(Method::GET).await?;
        let failed = |source| Error::Save { path: path.display().to_string(), source };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        let mut file = tokio::fs::File::create(&partial).await.map_err(failed)?;
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.map_err(|e| explain(&url, timeout, &e))? {
            file.write_all(&piece).await.map_err(failed)?;
            bytes += piece.len() as u64;
        }
        file.flush().await.map_err(failed)?;
        tokio::fs::rename(&partial, path).await.map_err(failed)?;
        Ok(bytes)
    }

    /// DELETE with an answer, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_for<T: DeserializeOwned>(self) -> Result<Option<T>> {
        let url = self.url.clone();
        let (_, body) = self.send(Method::DELETE).await?;
        if body.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&body).map_err(|e| Error::Answer { url: url.to_string(), why: e.to_string() })
    }

    /// DELETE.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(self) -> Result<()> {
        self.send(Method::DELETE).await.map(drop)
    }

    async fn send(self, method: Method) -> Result<(HeaderMap, bytes::Bytes)> {
        let (url, timeout) = (self.url.clone(), self.timeout);
        let answer = self.answered(method).await?;
        let headers = answer.headers().clone();
        let body = answer.bytes().await.map_err(|e| explain(&url, timeout, &e))?;
        Ok((headers, body))
    }

    /// An answer that says that all went well.
    async fn answered(self, method: Method) -> Result<Response> {
        let (url, timeout) = (self.url.clone(), self.timeout);
        let mut request = self.admin.http.request(method, self.url).header("Accept", "application/json, */*");
        request = request.timeout(timeout);
        if let Some(token) = &self.admin.token {
            request = request.bearer_auth(token);
        }
        request = match self.body {
            Body::Json(body) => request.header(CONTENT_TYPE, "application/json").body(body),
            Body::None => request.header(CONTENT_TYPE, "application/json"),
            Body::Form(form) => {
                let (kind, bytes, body) = form.into_body();
                request.header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, bytes).body(body)
            }
        };
        let answer = request.send().await.map_err(|e| explain(&url, timeout, &e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.map_err(|e| explain(&url, timeout, &e))?;
        let reason = match serde_json::from_slice::<admin_api::ErrorBody>(&body) {
            Ok(body) => body.reason,
            // Not the API's own words: a page of the server.
            Err(_) => {
                let name = status.canonical_reason().unwrap_or("refused");
                format!("{url}: {name}")
            }
        };
        Err(Error::Refused { status, reason })
    }
}

fn explain(url: &Url, timeout: Duration, error: &reqwest::Error) -> Error {
    let mut root = url.clone();
    root.set_path("");
    root.set_query(None);
    let url = root.as_str().trim_end_matches('/').to_owned();
    if error.is_timeout() {
        let after = if error.is_connect() { CONNECT_TIMEOUT } else { timeout };
        return Error::Timeout { url, after };
    }
    // The last cause is the one a person knows: "Connection refused".
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let why = cause.to_string();
    if error.is_connect() { Error::Connect { url, why } } else { Error::Protocol { url, why } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url<'a>(call: &'a Call<'_>) -> &'a str {
        call.url.as_str()
    }

    #[test]
    fn names_are_encoded_into_the_path() {
        let admin = Admin::new("http://127.0.0.1:8080/", None).unwrap();
        let topic: TopicName = "a%b ü#?".parse().unwrap();
        let call = admin.topic(&topic).at(["subscription", "x/y"]).query("force", true);
        assert_eq!(
            url(&call),
            "http://127.0.0.1:8080/admin/v2/persistent/public/default/a%25b%20%C3%BC%23%3F/subscription/x%2Fy?force=true"
        );
    }

    #[test]
    fn a_base_path_is_kept() {
        let admin = Admin::new("http://proxy/pulsar", None).unwrap();
        assert_eq!(url(&admin.at(["clusters"])), "http://proxy/pulsar/admin/v2/clusters");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for bad in ["", "127.0.0.1:8080", "pulsar://127.0.0.1:6650", "https://x", "http://"] {
            assert!(Admin::new(bad, None).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_says_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = Admin::new(&url, None).unwrap().at(["clusters"]).get::<Vec<String>>().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains("geminga standalone"), "{text}");
    }
}
