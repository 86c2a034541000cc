//! The source: a webhook. Its answer is the acknowledgement: 200 when the event is durable, and only then.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use functions::{Record, message::Key};
use futures::{FutureExt, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit},
};
use tokio_util::sync::CancellationToken;
use web_listener::Bounded;

use super::{EVENT_TIME, KEY, PROPERTY_PREFIX};
use crate::{
    About, OpenSource, Source,
    emitter::Emitter,
    error::{Error, Result},
    given::Given,
};

/// Connections for each request that may be in flight: most of them are idle.
const CONNECTIONS_PER_REQUEST: usize = 4;

struct Config {
    host: String,
    port: u16,
    path: String,
    body_bytes_max: usize,
    /// Of all bodies that are on their way.
    memory_bytes_max: usize,
    requests_max: usize,
    timeout: Duration,
    /// Headers that become properties besides those with the prefix.
    headers: Vec<HeaderName>,
    /// Where the key is.
    key_header: HeaderName,
}

pub(crate) fn source(about: &About<'_>) -> Result<OpenSource> {
    let mut given = Given::new("http", &about.function.user_config);
    let host = given.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = given.whole("port", 0..=65_535);
    let path = given.text("path").unwrap_or_else(|| "/".to_owned());
    let body_bytes_max = given.whole("maxBodyBytes", 1..=1 << 30).unwrap_or(5 << 20);
    let memory_bytes_max = given.whole("maxInFlightBytes", 1..=1 << 40).unwrap_or(64 << 20).max(body_bytes_max);
    let requests_max = given.whole("maxInFlight", 1..=100_000).unwrap_or(1000);
    let timeout = given.millis("timeoutMs", 1).unwrap_or(Duration::from_secs(30));
    let headers =
        given.names("headers").into_iter().filter_map(|name| header_name(&mut given, "headers", &name)).collect();
    let key_header = given.text("keyHeader").unwrap_or_else(|| KEY.to_owned());
    let key_header = header_name(&mut given, "keyHeader", &key_header);
    if port.is_none() {
        given.problem("`port` is missing: where the webhook listens, from 1 to 65535; 0 for any");
    }
    if !path.starts_with('/') {
        given.problem(format!("`path` must begin with /, found {path:?}"));
    }
    if about.function.parallelism > 1 {
        given.problem("`parallelism` must be 1: one port has one listener");
    }
    given.finish()?;
    let config = Config {
        host,
        port: u16::try_from(port.unwrap_or(0)).unwrap_or(0),
        path,
        body_bytes_max: usize::try_from(body_bytes_max).unwrap_or(usize::MAX),
        memory_bytes_max: usize::try_from(memory_bytes_max).unwrap_or(usize::MAX),
        requests_max: usize::try_from(requests_max).unwrap_or(usize::MAX),
        timeout,
        headers,
        key_header: key_header.unwrap_or(HeaderName::from_static("pulsarkey")),
    };
    Ok(Box::new(|| open(config).boxed()))
}

fn header_name(given: &mut Given<'_>, field: &str, name: &str) -> Option<HeaderName> {
    let parsed = name.parse().ok();
    if parsed.is_none() {
        given.problem(format!("`{field}`: {name:?} is no name of a header"));
    }
    parsed
}

async fn open(config: Config) -> Result<Source> {
    let listener = TcpListener::bind((config.host.as_str(), config.port))
        .await
        .map_err(|error| Error::Open(format!("listen at {}:{}: {error}", config.host, config.port)))?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, path = config.path, "webhook listens");
    }
    Ok(Box::new(move |emitter| serve(config, listener, emitter).boxed()))
}

struct Webhook {
    config: Config,
    emitter: Emitter,
    /// For requests.
    room: Semaphore,
    /// For bytes of bodies that are not durable yet.
    memory: Semaphore,
}

async fn serve(config: Config, listener: TcpListener, emitter: Emitter) -> crate::Ended {
    let connections = config.requests_max * CONNECTIONS_PER_REQUEST;
    let room = Semaphore::new(config.requests_max);
    // However this ends, its connections end with it.
    let end = CancellationToken::new();
    let _at_end = end.clone().drop_guard();
    // Longer than the body and the answer of one request take.
    let idle = config.timeout * 3;
    let listener = Bounded::new(listener, connections, idle).until(end);
    let memory = Semaphore::new(config.memory_bytes_max);
    let webhook = Arc::new(Webhook { config, emitter, room, memory });
    let router = Router::new().fallback(receive).with_state(webhook);
    axum::serve(listener, router).await.map_err(|error| format!("serve: {error}"))
}

async fn receive(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    match webhook.take(request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Why an event is not taken.
enum Refusal {
    NotHere,
    NotPost,
    TooLarge(usize),
    TooSlow,
    Broken,
    BadHeader(HeaderName),
    /// Not now: it may be sent again.
    Busy(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = |status: StatusCode, text: String| (status, text).into_response();
        match self {
            Self::NotHere => text(StatusCode::NOT_FOUND, "nothing is here".to_owned()),
            Self::NotPost => {
                (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "events are posted").into_response()
            }
            Self::TooLarge(most) => text(StatusCode::PAYLOAD_TOO_LARGE, format!("an event has at most {most} bytes")),
            Self::TooSlow => text(StatusCode::REQUEST_TIMEOUT, "the event did not arrive in time".to_owned()),
            Self::Broken => text(StatusCode::BAD_REQUEST, "the event did not arrive whole".to_owned()),
            Self::BadHeader(name) => text(StatusCode::BAD_REQUEST, format!("the header {name} cannot be read")),
            Self::Busy(why) => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response(),
        }
    }
}

impl Webhook {
    /// # Errors
    /// The event is not durable, as far as is known.
    async fn take(&self, request: Request) -> Result<(), Refusal> {
        if request.uri().path() != self.config.path {
            return Err(Refusal::NotHere);
        }
        if request.method() != Method::POST {
            return Err(Refusal::NotPost);
        }
        let _room =
            self.room.try_acquire().map_err(|_| Refusal::Busy("too many events are on their way".to_owned()))?;
        let (parts, body) = request.into_parts();
        let record = self.record(&parts.headers)?;
        let (payload, _memory) = self.read(&parts.headers, body).await?;
        let emitting = async {
            let stopping = || Refusal::Busy("the source is stopping".to_owned());
            let receipt = self.emitter.emit(vec![Record { payload, ..record }]).await.map_err(|_| stopping())?;
            receipt.await.map_err(|_| stopping())?.map_err(|failed| Refusal::Busy(failed.error))
        };
        let late = || Refusal::Busy("the event is not known to be durable yet".to_owned());
        tokio::time::timeout(self.config.timeout, emitting).await.map_err(|_| late())?
    }

    /// The body, with the memory it takes for as long as that is held.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<(bytes::Bytes, SemaphorePermit<'_>), Refusal> {
        let most = self.config.body_bytes_max;
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > most) {
            return Err(Refusal::TooLarge(most));
        }
        // As it comes, whatever is announced: who announces much and sends little takes nothing from others.
        let mut memory = self.reserve(0)?;
        let reading = async {
            let (mut pieces, mut read) = (body.into_data_stream(), BytesMut::new());
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|_| Refusal::Broken)?;
                if read.len() + piece.len() > most {
                    return Err(Refusal::TooLarge(most));
                }
                memory.merge(self.reserve(piece.len())?);
                read.extend_from_slice(&piece);
            }
            Ok((read.freeze(), memory))
        };
        tokio::time::timeout(self.config.timeout, reading).await.map_err(|_| Refusal::TooSlow)?
    }

    fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let busy = |_| Refusal::Busy("too many bytes of events are on their way".to_owned());
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.memory.try_acquire_many(bytes).map_err(busy)
    }

    /// All but its payload.
    fn record(&self, headers: &HeaderMap) -> Result<Record, Refusal> {
        let mut record = Record::default();
        let prefix = PROPERTY_PREFIX.to_ascii_lowercase();
        for (name, value) in headers {
            let text = || std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::BadHeader(name.clone()));
            if *name == self.config.key_header {
                record.key = Some(Key { text: text()?.to_owned(), is_base64: false });
            } else if name.as_str().eq_ignore_ascii_case(EVENT_TIME) {
                record.event_time_ms = text()?.parse().map_err(|_| Refusal::BadHeader(name.clone()))?;
            } else if let Some(property) = name.as_str().strip_prefix(&prefix) {
                record.properties.push((property.to_owned(), text()?.to_owned()));
            } else if self.config.headers.contains(name) {
                record.properties.push((name.as_str().to_owned(), text()?.to_owned()));
            }
        }
        Ok(record)
    }
}
