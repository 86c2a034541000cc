//! The sink: posts each message, and takes an answer of 200 to 299 for its arrival.
//!
//! What may pass (no connection, 5xx, 429, 408) is tried again with growing pauses; everything else is the message's fault and is thrown at
//! once. Several are in flight, in any order, unless those of one key are to follow each other.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use functions::Message;
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use prost::Message as _;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{EVENT_TIME, KEY, MESSAGE_ID, PROPERTY_PREFIX, PUBLISH_TIME, TOPIC};
use crate::{
    About, Ended, OpenSink, Sink,
    error::{Error, Result},
    given::Given,
    intake::{Delivery, Fate, Intake},
};

/// The longest pause before a message is sent again.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a refusal's body that are repeated in an exception.
const QUOTED_MAX: usize = 512;

#[derive(Clone)]
struct Poster {
    client: Client,
    url: Url,
    headers: HeaderMap,
    retries: u32,
    pause: Duration,
}

struct Config {
    poster: Poster,
    in_flight_max: usize,
    is_ordered: bool,
}

pub(crate) fn sink(about: &About<'_>) -> Result<OpenSink> {
    let mut given = Given::new("http", &about.function.user_config);
    let url = given.required("url");
    let headers = given.texts("headers");
    let retries = given.whole("retries", 0..=1000).unwrap_or(5);
    let pause = given.millis("retryBackoffMs", 1).unwrap_or(Duration::from_millis(200));
    let timeout = given.millis("timeoutMs", 1).unwrap_or(Duration::from_secs(30));
    let in_flight_max = given.whole("maxInFlight", 1..=10_000).unwrap_or(16);
    let is_ordered = given.flag("orderPerKey").unwrap_or(false);
    let parsed = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if parsed.is_none() && !url.is_empty() {
        given.problem(format!("`url` must begin with http:// or https://, found {url:?}"));
    }
    let mut fixed = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    for (name, value) in headers {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(value)) => drop(fixed.insert(name, value)),
            // The value may be a secret.
            _ => given.problem(format!("`headers`: {name:?} and its value are no header")),
        }
    }
    given.finish()?;
    let Some(url) = parsed else { return Err(Error::Open("no url".to_owned())) };
    Ok(Box::new(move || {
        let opened = client(timeout).map(|client| {
            let retries = u32::try_from(retries).unwrap_or(u32::MAX);
            let poster = Poster { client, url, headers: fixed, retries, pause };
            let in_flight_max = usize::try_from(in_flight_max).unwrap_or(usize::MAX);
            let config = Config { poster, in_flight_max, is_ordered };
            let sink: Sink = Box::new(|intake| config.run(intake).boxed());
            sink
        });
        std::future::ready(opened).boxed()
    }))
}

fn client(timeout: Duration) -> Result<Client> {
    // Whoever comes first chooses for the whole process; that it was chosen already is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A redirected POST becomes a GET, which nobody wants of a sink. Pulsar's client does not follow either.
    let builder = Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| Error::Open(format!("make a client for HTTP: {error}")))
}

impl Config {
    async fn run(self, mut intake: Intake) -> Ended {
        let mut lanes = Lanes::new(self.is_ordered);
        let mut posting = FuturesUnordered::new();
        let mut abandoned = intake.abandoned();
        let mut is_over = false;
        loop {
            while posting.len() < self.in_flight_max
                && let Some((delivery, key)) = lanes.next()
            {
                let poster = self.poster.clone();
                posting.push(async move {
                    let began = Instant::now();
                    let fate = poster.deliver(&delivery.message).await;
                    (delivery, key, fate, began)
                });
            }
            if is_over && posting.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some((delivery, key, fate, began)) = posting.next() => {
                    lanes.ended(key);
                    intake.done([(delivery, fate)], began).await?;
                }
                () = &mut abandoned => return Ok(()),
                // What waits here is bounded by what the loop lends out.
                deliveries = intake.next(self.in_flight_max), if !is_over => match deliveries {
                    Some(deliveries) => deliveries.into_iter().for_each(|delivery| lanes.add(delivery)),
                    // What is on its way is still answered for, though perhaps to nobody.
                    None => is_over = true,
                },
            }
        }
    }
}

/// Who goes next: with order, one of each key at a time.
struct Lanes {
    is_ordered: bool,
    ready: VecDeque<(Delivery, Option<String>)>,
    /// Keys that are on their way, and what waits behind them.
    busy: HashMap<String, VecDeque<Delivery>>,
}

impl Lanes {
    fn new(is_ordered: bool) -> Self {
        Self { is_ordered, ready: VecDeque::new(), busy: HashMap::new() }
    }

    fn add(&mut self, delivery: Delivery) {
        let key = delivery.message.key.as_ref().filter(|_| self.is_ordered).map(|key| key.text.clone());
        let Some(key) = key else { return self.ready.push_back((delivery, None)) };
        match self.busy.get_mut(&key) {
            Some(behind) => behind.push_back(delivery),
            None => {
                self.busy.insert(key.clone(), VecDeque::new());
                self.ready.push_back((delivery, Some(key)));
            }
        }
    }

    fn next(&mut self) -> Option<(Delivery, Option<String>)> {
        self.ready.pop_front()
    }

    fn ended(&mut self, key: Option<String>) {
        let Some(key) = key else { return };
        match self.busy.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back((next, Some(key))),
            None => drop(self.busy.remove(&key)),
        }
    }
}

/// What an attempt that failed says of the next one.
enum Again {
    Never(String),
    After(Option<Duration>, String),
}

impl Poster {
    async fn deliver(&self, message: &Message) -> Fate {
        let headers = self.headers_of(message)?;
        let mut pause = self.pause;
        for attempt in 0.. {
            let (asked, why) = match self.post(headers.clone(), message.payload.clone()).await {
                Ok(()) => return Ok(()),
                Err(Again::Never(why)) => return Err(why),
                Err(Again::After(asked, why)) => (asked, why),
            };
            if attempt >= self.retries {
                return Err(format!("{why} ({} attempts)", attempt + 1));
            }
            tokio::time::sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err("no attempt was made".to_owned())
    }

    async fn post(&self, headers: HeaderMap, payload: Bytes) -> std::result::Result<(), Again> {
        let sent = self.client.post(self.url.clone()).headers(headers).body(payload).send().await;
        let response = sent.map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            // The URL may have a password in it; the configuration says which it is.
            let why = format!("POST failed: {}{source}", error.without_url());
            Again::After(None, why)
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let why = format!("POST was answered {status}{}", quoted(response).await);
        let passes = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        Err(if passes || status.is_server_error() {
            Again::After(asked.map(Duration::from_secs), why)
        } else {
            Again::Never(why)
        })
    }

    fn headers_of(&self, message: &Message) -> std::result::Result<HeaderMap, String> {
        let mut headers = self.headers.clone();
        let mut set = |name: &str, value: &str| {
            let header = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes()));
            let (Ok(name), Ok(value)) = header else {
                let value: String = value.chars().take(80).collect();
                return Err(format!("{name:?}: {value:?} cannot be a header"));
            };
            headers.insert(name, value);
            Ok(())
        };
        set(TOPIC, &message.topic.to_string())?;
        set(PUBLISH_TIME, &message.publish_time_ms.to_string())?;
        set(MESSAGE_ID, &message_id(message))?;
        if let Some(key) = &message.key {
            set(KEY, &key.text)?;
        }
        if message.event_time_ms > 0 {
            set(EVENT_TIME, &message.event_time_ms.to_string())?;
        }
        for (name, value) in &message.properties {
            set(&format!("{PROPERTY_PREFIX}{name}"), value)?;
        }
        Ok(headers)
    }
}

/// The bytes of Pulsar's `MessageIdData`, in base64: what `MessageId.fromByteArray` of its clients takes.
fn message_id(message: &Message) -> String {
    let id = message.id;
    let data = wire::proto::MessageIdData {
        ledger_id: id.ledger,
        entry_id: id.entry.cast_unsigned(),
        partition: (id.partition >= 0).then_some(id.partition),
        batch_index: (id.batch_index >= 0).then_some(id.batch_index),
        batch_size: (id.batch_index >= 0).then(|| i32::try_from(id.batch_size).unwrap_or(i32::MAX)),
        ..wire::proto::MessageIdData::default()
    };
    BASE64.encode(data.encode_to_vec())
}

/// The beginning of what the other side says of its refusal.
async fn quoted(response: Response) -> String {
    let mut body = response.bytes_stream();
    let mut said = Vec::new();
    while said.len() < QUOTED_MAX
        && let Some(Ok(piece)) = body.next().await
    {
        said.extend_from_slice(&piece[..piece.len().min(QUOTED_MAX - said.len())]);
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    if said.trim().is_empty() { said } else { format!(": {}", said.trim()) }
}
