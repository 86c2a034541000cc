//! `http`: the webhook and the sink that posts.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use functions::{Kind, message::Key};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::kit::{self, Running, message};

// The source.

struct Webhook {
    source: Running,
    url: String,
    client: reqwest::Client,
}

async fn webhook(mut configs: serde_json::Value) -> Webhook {
    let port = kit::free_port();
    configs["port"] = port.into();
    let source = kit::source("http", configs).await;
    Webhook { source, url: format!("http://127.0.0.1:{port}/hook"), client: reqwest_client() }
}

fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(kit::PATIENCE).build().unwrap()
}

impl Webhook {
    fn post(&self, body: &str) -> tokio::task::JoinHandle<u16> {
        let request = self.client.post(&self.url).header("PulsarKey", "k").body(body.to_owned());
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    }
}

#[tokio::test]
async fn an_event_is_answered_when_it_is_durable_and_not_before() {
    let mut webhook = webhook(json!({"path": "/hook", "headers": ["X-GitHub-Event"]})).await;
    let request = webhook.client.post(&webhook.url).body("{}");
    let request =
        request.header("PulsarKey", "k").header("PulsarEventTime", "12").header("PulsarProperties-colour", "red");
    let request = request.header("X-GitHub-Event", "push").header("Other", "x");
    let answer = tokio::spawn(async move { request.send().await.unwrap().status() });
    let (id, record) = webhook.source.emitted().await;
    assert_eq!((record.payload, record.event_time_ms), (Bytes::from("{}"), 12));
    assert_eq!(record.key, Some(Key { text: "k".to_owned(), is_base64: false }));
    let mut properties = record.properties;
    properties.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(properties, [pair("colour", "red"), pair("x-github-event", "push")]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!answer.is_finished(), "it is not durable yet");
    webhook.source.durable([id]).await;
    assert_eq!(answer.await.unwrap(), 200);
    webhook.source.stop().await;
}

#[tokio::test]
async fn what_is_not_durable_is_refused_so_that_it_is_sent_again() {
    let mut webhook = webhook(json!({"path": "/hook", "timeoutMs": 60_000})).await;
    let answer = webhook.post("a");
    let (id, _) = webhook.source.emitted().await;
    webhook.source.failed(id, "the topic is terminated").await;
    assert_eq!(answer.await.unwrap(), 503);
    webhook.source.stop().await;
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let mut webhook = webhook(json!({"path": "/hook", "timeoutMs": 1000})).await;
    let answer = webhook.post("a");
    webhook.source.emitted().await;
    assert_eq!(answer.await.unwrap(), 503);
    webhook.source.stop().await;
}

#[tokio::test]
async fn only_so_many_bytes_are_on_their_way() {
    let mut webhook = webhook(json!({"path": "/hook", "maxBodyBytes": 1000, "maxInFlightBytes": 1500})).await;
    let first = webhook.post(&"a".repeat(1000));
    let (id, _) = webhook.source.emitted().await;
    let second = webhook.client.post(&webhook.url).body("b".repeat(501)).send().await.unwrap();
    assert_eq!((second.status().as_u16(), second.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    let third = webhook.post(&"c".repeat(500));
    let (other, _) = webhook.source.emitted().await;
    webhook.source.durable([id]).await;
    assert_eq!(first.await.unwrap(), 200);
    // What is durable takes no memory any more.
    let fourth = webhook.post(&"d".repeat(1000));
    let (last, _) = webhook.source.emitted().await;
    webhook.source.durable([other, last]).await;
    assert_eq!((third.await.unwrap(), fourth.await.unwrap()), (200, 200));
    webhook.source.stop().await;
}

#[tokio::test]
async fn only_so_many_events_are_on_their_way() {
    let mut webhook = webhook(json!({"path": "/hook", "maxInFlight": 1})).await;
    let first = webhook.post("a");
    let (id, _) = webhook.source.emitted().await;
    assert_eq!(webhook.post("b").await.unwrap(), 503);
    webhook.source.durable([id]).await;
    assert_eq!(first.await.unwrap(), 200);
    webhook.source.stop().await;
}

#[tokio::test]
async fn what_is_no_event_is_told_so() {
    let webhook = webhook(json!({"path": "/hook", "maxBodyBytes": 10})).await;
    let client = &webhook.client;
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(client.post(&webhook.url).body("12345678901")).await, 413);
    let chunks = futures::stream::iter(["123456", "789012"].map(Ok::<_, std::io::Error>));
    assert_eq!(status(client.post(&webhook.url).body(reqwest::Body::wrap_stream(chunks))).await, 413, "in chunks too");
    assert_eq!(status(client.get(&webhook.url)).await, 405);
    assert_eq!(status(client.post(format!("{}/other", webhook.url)).body("a")).await, 404);
    assert_eq!(status(client.post(&webhook.url).header("PulsarEventTime", "noon").body("a")).await, 400);
    webhook.source.stop().await;
}

#[tokio::test]
async fn its_port_is_free_again_when_it_has_stopped() {
    let webhook = webhook(json!({"path": "/hook"})).await;
    let address = webhook.url.trim_start_matches("http://").trim_end_matches("/hook").to_owned();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let taken = kit::start(kit::spec(Kind::Source, "http", json!({"port": port}))).await.err().unwrap();
    assert!(taken.to_string().starts_with(&format!("listen at 127.0.0.1:{port}: ")), "{taken}");
    webhook.source.stop().await;
    kit::source("http", json!({"port": port})).await.stop().await;
}

// The sink.

/// Answers with what it is told to, then with 200; keeps what it got.
#[derive(Clone, Default)]
struct Other {
    answers: Arc<Mutex<VecDeque<u16>>>,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    /// Answers when so many have come.
    together: Option<Arc<tokio::sync::Barrier>>,
}

impl Other {
    fn answering(answers: &[u16]) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() }
    }

    async fn listen(&self) -> String {
        async fn take(State(other): State<Other>, headers: HeaderMap, body: String) -> (StatusCode, &'static str) {
            if let Some(together) = &other.together {
                together.wait().await;
            }
            other.got.lock().push((headers, body));
            let answer = other.answers.lock().pop_front().unwrap_or(200);
            (StatusCode::from_u16(answer).unwrap(), "because")
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn bodies(&self) -> Vec<String> {
        self.got.lock().iter().map(|(_, body)| body.clone()).collect()
    }
}

#[tokio::test]
async fn a_message_is_posted_with_all_that_is_known_of_it() {
    let other = Other::default();
    let url = other.listen().await;
    let mut sink = kit::sink("http", json!({"url": url, "headers": {"Authorization": "Bearer x"}})).await;
    let mut posted = message(r#"{"a":1}"#);
    posted.key = Some(Key { text: "k".to_owned(), is_base64: false });
    posted.event_time_ms = 12;
    posted.properties = vec![("colour".to_owned(), "grün".to_owned())];
    sink.invoke([(0, posted)]).await;
    assert_eq!(sink.fates(1).await, [(0, Ok(()))]);
    let (headers, body) = other.got.lock().remove(0);
    assert_eq!(body, r#"{"a":1}"#);
    let header = |name: &str| String::from_utf8_lossy(headers[name].as_bytes()).into_owned();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("authorization"), "Bearer x");
    assert_eq!(header("PulsarTopic"), "persistent://public/default/in");
    assert_eq!((header("PulsarKey"), header("PulsarEventTime")), ("k".to_owned(), "12".to_owned()));
    assert_eq!(header("PulsarPublishTime"), "1700000000000");
    assert_eq!(header("PulsarMessageId"), "CAMQBQ==", "MessageIdData of ledger 3, entry 5");
    assert_eq!(header("PulsarProperties-colour"), "grün");
    sink.stop().await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_thrown() {
    let other = Other::answering(&[503, 429, 200, 400, 302]);
    let url = other.listen().await;
    let mut sink = kit::sink("http", json!({"url": url, "retryBackoffMs": 1})).await;
    sink.invoke([(0, message("a"))]).await;
    assert_eq!(sink.fates(1).await, [(0, Ok(()))]);
    assert_eq!(other.bodies(), ["a", "a", "a"]);
    for (id, thrown) in [(1, "POST was answered 400 Bad Request: because"), (2, "POST was answered 302 Found: because")]
    {
        sink.invoke([(id, message("b"))]).await;
        assert_eq!(sink.fates(1).await, [(id, Err(thrown.to_owned()))]);
    }
    sink.stop().await;
}

#[tokio::test]
async fn it_gives_up_after_so_many_attempts() {
    let other = Other::answering(&[500; 3]);
    let url = other.listen().await;
    let mut sink = kit::sink("http", json!({"url": url, "retryBackoffMs": 1, "retries": 2})).await;
    sink.invoke([(0, message("a"))]).await;
    let thrown = "POST was answered 500 Internal Server Error: because (3 attempts)".to_owned();
    assert_eq!(sink.fates(1).await, [(0, Err(thrown))]);
    assert_eq!(other.bodies(), ["a", "a", "a"]);
    sink.stop().await;

    let nobody = format!("http://127.0.0.1:{}/", kit::free_port());
    let mut sink = kit::sink("http", json!({"url": nobody, "retryBackoffMs": 1, "retries": 1})).await;
    sink.invoke([(0, message("a"))]).await;
    let thrown = sink.fates(1).await.remove(0).1.unwrap_err();
    assert!(thrown.starts_with("POST failed: ") && thrown.ends_with("(2 attempts)"), "{thrown}");
    sink.stop().await;
}

#[tokio::test]
async fn several_are_in_flight() {
    let other = Other { together: Some(Arc::new(tokio::sync::Barrier::new(3))), ..Other::default() };
    let url = other.listen().await;
    let mut sink = kit::sink("http", json!({"url": url})).await;
    sink.invoke((0..3).map(|n| (n, message("a")))).await;
    assert_eq!(sink.fates(3).await, [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    sink.stop().await;
}

#[tokio::test]
async fn those_of_one_key_follow_each_other_when_asked_for() {
    let other = Other::answering(&[500]);
    let url = other.listen().await;
    let configs = json!({"url": url, "orderPerKey": true, "maxInFlight": 8, "retryBackoffMs": 1});
    let mut sink = kit::sink("http", configs).await;
    let messages = (0..30).map(|n| {
        let mut message = message(&n.to_string());
        message.key = Some(Key { text: format!("k{}", n % 3), is_base64: false });
        (n, message)
    });
    sink.invoke(messages).await;
    assert!(sink.fates(30).await.iter().all(|(_, fate)| fate.is_ok()));
    let got: Vec<u64> = other.bodies().iter().map(|body| body.parse().unwrap()).collect();
    assert_eq!(got.len(), 31, "one was refused at first");
    for key in 0..3 {
        let mut of_key: Vec<u64> = got.iter().copied().filter(|n| n % 3 == key).collect();
        of_key.dedup();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    sink.stop().await;
}

#[tokio::test]
async fn mistakes_are_told_when_it_is_deployed() {
    let told = kit::refusal(Kind::Source, "http", json!({"pathh": "/x", "path": "x"})).await;
    expect_test::expect![[r#"configs of http: `port` is missing: where the webhook listens, from 1 to 65535; 0 for any; `path` must begin with /, found "x"; unknown field `pathh`, did you mean `path`?"#]]
    .assert_eq(&told);
    let told = kit::refusal(Kind::Sink, "http", json!({"url": "ftp://x", "headers": {"a b": "secret"}})).await;
    expect_test::expect![[r#"configs of http: `url` must begin with http:// or https://, found "ftp://x"; `headers`: "a b" and its value are no header"#]]
    .assert_eq(&told);
}
