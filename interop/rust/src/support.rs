//! One scenario's client, with topics of its own, and what scenarios say often.

use futures::StreamExt;
use pulsar::{
    Consumer, ConsumerBuilder, ConsumerOptions, DeserializeMessage, OperationRetryOptions, Producer, ProducerOptions,
    Pulsar, SubType, TokioExecutor,
    consumer::{InitialPosition, Message},
    proto::MessageIdData,
    reader::Reader,
};
use std::{
    fmt::Debug,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Why a scenario failed: it saw something other than what was promised, or the client reported an error.
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Outcome<T = ()> = Result<T, Failure>;
pub(crate) type Sub = Consumer<Vec<u8>, TokioExecutor>;
pub(crate) type Pub = Producer<TokioExecutor>;
pub(crate) type Msg = Message<Vec<u8>>;

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn failure(why: impl Into<String>) -> Failure {
    Failure(why.into())
}

pub(crate) struct TestBox {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) client: Pulsar<TokioExecutor>,
    admin: String,
}

impl TestBox {
    pub(crate) async fn new(name: &str, service: &str, admin: &str) -> Outcome<Self> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let id = format!("interop-rust-{}-{nanos:x}", name.replace('_', "-"));
        // By itself it asks again for ever, five seconds apart, also when told that a subscription is taken.
        let retries = OperationRetryOptions {
            operation_timeout: Duration::from_secs(15),
            retry_delay: Duration::from_millis(300),
            max_retries: if name == "reconnect" { None } else { Some(1) },
        };
        let client = Pulsar::builder(service, TokioExecutor).with_operation_retry_options(retries).build().await?;
        Ok(Self { topic: format!("persistent://public/default/{id}"), id, client, admin: admin.to_owned() })
    }

    pub(crate) async fn producer(&self) -> Outcome<Pub> {
        self.producer_with(&self.topic, ProducerOptions::default()).await
    }

    pub(crate) async fn producer_with(&self, topic: &str, options: ProducerOptions) -> Outcome<Pub> {
        Ok(self.client.producer().with_topic(topic).with_options(options).build().await?)
    }

    /// A subscription `sub` that begins with the first message.
    pub(crate) fn subscribing(&self, topic: &str, kind: SubType) -> ConsumerBuilder<TokioExecutor> {
        let options = ConsumerOptions::default().with_initial_position(InitialPosition::Earliest);
        let builder =
            self.client.consumer().with_subscription("sub").with_subscription_type(kind).with_options(options);
        if topic.is_empty() { builder } else { builder.with_topic(topic) }
    }

    pub(crate) async fn consumer(&self, kind: SubType) -> Outcome<Sub> {
        Ok(self.subscribing(&self.topic, kind).build().await?)
    }

    pub(crate) async fn exclusive(&self) -> Outcome<Sub> {
        self.consumer(SubType::Exclusive).await
    }

    pub(crate) async fn reader(&self, options: ConsumerOptions) -> Outcome<Reader<Vec<u8>, TokioExecutor>> {
        let name = format!("reader-{}", self.id);
        let builder = self.client.reader().with_topic(&self.topic).with_subscription(name).with_options(options);
        Ok(builder.with_subscription_type(SubType::Exclusive).into_reader().await?)
    }

    /// Calls the admin API; answers the whole reply, which is a success.
    pub(crate) async fn rest(&self, method: &str, path: &str, body: &str) -> Outcome<String> {
        let host = self.admin.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        timeout(Duration::from_secs(15), stream.read_to_string(&mut reply)).await??;
        check(reply.starts_with("HTTP/1.1 2"), || format!("{method} {path}: {reply}"))?;
        Ok(reply)
    }
}

pub(crate) fn check(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure(why())) }
}

pub(crate) fn equal<T: Debug + PartialEq>(got: T, want: T, what: &str) -> Outcome {
    let cut = |value: &T| format!("{value:?}").chars().take(300).collect::<String>();
    check(got == want, || format!("{what}: got {}, want {}", cut(&got), cut(&want)))
}

/// Wants an error that names `kind`.
pub(crate) fn refused<T>(outcome: Outcome<T>, kind: &str, what: &str) -> Outcome {
    match outcome {
        Ok(_) => Err(failure(format!("{what}: expected {kind}"))),
        Err(Failure(why)) => check(why.contains(kind), || format!("{what}: got {why}, want {kind}")),
    }
}

pub(crate) fn texts(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i}")).collect()
}

pub(crate) fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values
}

/// Every second value, from the second on.
pub(crate) fn odd(values: Vec<String>) -> Vec<String> {
    values.into_iter().skip(1).step_by(2).collect()
}

pub(crate) async fn send(producer: &mut Pub, payload: impl Into<Vec<u8>>) -> Outcome<MessageIdData> {
    let receipt = producer.send_non_blocking(payload.into()).await?.await?;
    receipt.message_id.ok_or_else(|| failure("a receipt without a message id"))
}

pub(crate) async fn send_all(producer: &mut Pub, values: &[String]) -> Outcome<Vec<MessageIdData>> {
    let mut ids = Vec::new();
    for value in values {
        ids.push(send(producer, value.as_str()).await?);
    }
    Ok(ids)
}

/// One batch: everything queued, then one flush.
pub(crate) async fn send_batch(producer: &mut Pub, values: &[String]) -> Outcome {
    let mut sends = Vec::new();
    for value in values {
        sends.push(producer.send_non_blocking(value.as_str()).await?);
    }
    producer.send_batch().await?;
    for send in sends {
        send.await?;
    }
    Ok(())
}

/// Fills one batch, and sends it when flushed.
pub(crate) fn batching() -> ProducerOptions {
    ProducerOptions { batch_size: Some(1000), batch_timeout: Some(Duration::from_secs(3)), ..Default::default() }
}

pub(crate) async fn receive_within(consumer: &mut Sub, limit: Duration) -> Outcome<Option<Msg>> {
    match timeout(limit, consumer.next()).await {
        Err(_) => Ok(None),
        Ok(Some(message)) => Ok(Some(message?)),
        Ok(None) => Err(failure("the consumer ended")),
    }
}

/// Receives without acknowledging.
pub(crate) async fn take(consumer: &mut Sub, count: usize) -> Outcome<Vec<Msg>> {
    let mut messages = Vec::new();
    while messages.len() < count {
        match receive_within(consumer, Duration::from_secs(20)).await? {
            Some(message) => messages.push(message),
            None => return Err(failure(format!("received {} of {count}: {:?}", messages.len(), data(&messages)))),
        }
    }
    Ok(messages)
}

pub(crate) async fn receive(consumer: &mut Sub, count: usize) -> Outcome<Vec<Msg>> {
    let messages = take(consumer, count).await?;
    for message in &messages {
        consumer.ack(message).await?;
    }
    Ok(messages)
}

/// Takes and acknowledges everything that arrives until nothing has for a while.
pub(crate) async fn drain(consumer: &mut Sub, quiet_millis: u64) -> Outcome<Vec<Msg>> {
    let mut messages = Vec::new();
    while let Some(message) = receive_within(consumer, Duration::from_millis(quiet_millis)).await? {
        consumer.ack(&message).await?;
        messages.push(message);
    }
    Ok(messages)
}

pub(crate) async fn silent(consumer: &mut Sub, millis: u64) -> Outcome {
    match receive_within(consumer, Duration::from_millis(millis)).await? {
        Some(message) => Err(failure(format!("unexpected message {:.40}", text(&message)))),
        None => Ok(()),
    }
}

pub(crate) async fn read<T: DeserializeMessage + 'static>(
    reader: &mut Reader<T, TokioExecutor>,
    count: usize,
) -> Outcome<Vec<String>> {
    let mut values = Vec::new();
    while values.len() < count {
        match timeout(Duration::from_secs(15), reader.next()).await {
            Ok(Some(message)) => values.push(text(&message?)),
            _ => return Err(failure(format!("read {} of {count}", values.len()))),
        }
    }
    Ok(values)
}

pub(crate) fn text<T>(message: &Message<T>) -> String {
    String::from_utf8_lossy(&message.payload.data).into_owned()
}

pub(crate) fn data(messages: &[Msg]) -> Vec<String> {
    messages.iter().map(text).collect()
}

/// Ledger and entry, whatever the batch index.
pub(crate) fn position(id: &MessageIdData) -> (u64, u64) {
    (id.ledger_id, id.entry_id)
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
