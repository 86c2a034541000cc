//! One connection to one broker, shared by producers and consumers.
//!
//! Two tasks serve it: one writes what the [`Outbox`] holds, one reads and hands every frame to whom it is for. Handlers
//! run on the reading task, once per frame, and are told once when a burst of frames ends; that is where they should wake
//! or answer somebody, so that the cost of waking is paid per burst.
//! Invariant: a registered handler is told [`lost`](ProducerEvents::lost) exactly once, unless it was removed before.
//! Source: Pulsar's `ClientCnx`.

use crate::{
    Config, Error, Result,
    hot::{self, Delivery, Hot, Receipt},
    outbox::Outbox,
};
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message as _;
use rustc_hash::FxHashMap;
use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, timeout},
};
use wire::proto::{self, BaseCommand, base_command::Type};

/// What a client may read before it knows the broker's limit, and what a frame adds to the largest message.
pub(crate) const MESSAGE_BYTES_DEFAULT: usize = 5 << 20;
const FRAME_EXTRA_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 256 << 10;

/// What happens to a producer. Called on the connection's task: must not block, nor call the connection's
/// `request`, `create_producer`, `subscribe` or `remove_*`; writing is fine.
pub trait ProducerEvents: Send + Sync + 'static {
    /// A SEND is stored (or was a duplicate).
    fn receipt(&self, receipt: Receipt);
    /// A SEND was refused.
    fn refused(&self, sequence_id: u64, error: Error);
    /// The broker closed it or the connection is gone; nothing else follows.
    fn lost(&self, error: Error);
    /// Every frame of one read was handed out.
    fn burst_end(&self) {}
}

/// What happens to a consumer. The rules are those of [`ProducerEvents`].
pub trait ConsumerEvents: Send + Sync + 'static {
    /// An entry: magic, checksum, metadata and payload, as stored.
    fn entry(&self, delivery: Delivery, entry: Bytes);
    /// The broker closed it or the connection is gone; nothing else follows.
    fn lost(&self, error: Error);
    /// A Failover consumer became or ceased to be the active one.
    fn active(&self, _is_active: bool) {}
    /// The topic was terminated and everything was sent.
    fn end_of_topic(&self) {}
    /// Every frame of one read was handed out.
    fn burst_end(&self) {}
}

/// A connection; dropping the last handle closes it.
pub struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    address: Arc<str>,
    /// Gone with the connection, so that the socket closes then and not with the last handle.
    writer: Mutex<Option<Arc<OwnedWriteHalf>>>,
    outbox: Outbox,
    tasks: OnceLock<[AbortHandle; 2]>,
    state: Mutex<State>,
    next_request: AtomicU64,
    max_message_bytes: AtomicUsize,
    token: Option<String>,
}

#[derive(Default)]
struct State {
    requests: FxHashMap<u64, Waiting>,
    producers: FxHashMap<u64, Registered<dyn ProducerEvents>>,
    consumers: FxHashMap<u64, Registered<dyn ConsumerEvents>>,
    connected: Option<oneshot::Sender<Result<proto::CommandConnected>>>,
    gone: Option<Error>,
}

/// Who waits for an answer.
struct Waiting {
    reply: oneshot::Sender<Result<BaseCommand>>,
    /// Only this consumer can be answered.
    consumer: Option<u64>,
}

struct Registered<T: ?Sized> {
    handler: Arc<T>,
    touched: bool,
}

impl Connection {
    /// Connects to `address` (`host:port`) and shakes hands; `via` is the proxy to go through, if any.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Disconnected`], [`Error::Handshake`], or [`Error::Timeout`] after the config's time.
    pub async fn open(address: &str, via: Option<&str>, config: &Config) -> Result<Arc<Self>> {
        let target = via.unwrap_or(address);
        let name: Arc<str> = target.into();
        let open = async {
            let stream = TcpStream::connect(target)
                .await
                .map_err(|e| Error::Connect { address: name.clone(), source: Arc::new(e) })?;
            stream.set_nodelay(true).map_err(|e| Error::Connect { address: name.clone(), source: Arc::new(e) })?;
            let (reader, writer) = stream.into_split();
            let writer = Arc::new(writer);
            let (connected, answer) = oneshot::channel();
            let shared = Arc::new(Shared {
                address: name.clone(),
                writer: Mutex::new(Some(writer.clone())),
                outbox: Outbox::default(),
                tasks: OnceLock::new(),
                state: Mutex::new(State { connected: Some(connected), ..State::default() }),
                next_request: AtomicU64::new(1),
                max_message_bytes: AtomicUsize::new(MESSAGE_BYTES_DEFAULT),
                token: config.token.clone(),
            });
            // From here on dropping it ends the tasks.
            let connection = Arc::new(Self { shared: shared.clone() });
            let tasks = [
                tokio::spawn(shared.clone().read_loop(reader, config.keep_alive)).abort_handle(),
                tokio::spawn(shared.clone().write_loop(writer)).abort_handle(),
            ];
            let _ = shared.tasks.set(tasks);
            connection.send(&hello(config, via.map(|_| address)));
            let connected = answer.await.unwrap_or(Err(Error::Closed)).map_err(|error| match error {
                // A broker that is killed in the middle of it will be there again.
                Error::Disconnected { .. } => error,
                error => Error::Handshake { address: name.clone(), why: innermost(&error) },
            })?;
            if let Some(bytes) = connected.max_message_size.and_then(|bytes| usize::try_from(bytes).ok()) {
                connection.shared.max_message_bytes.store(bytes.min(1 << 30), Ordering::Relaxed);
            }
            tracing::debug!(address = %name, server = connected.server_version, "connected");
            Ok(connection)
        };
        let late = Error::Timeout { doing: "connect", after: config.connect_timeout };
        timeout(config.connect_timeout, open).await.unwrap_or(Err(late))
    }

    /// `host:port` of the peer.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The largest message the broker takes, metadata included.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.shared.max_message_bytes.load(Ordering::Relaxed)
    }

    /// Whether it is lost.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.shared.state.lock().gone.is_some()
    }

    /// Appends bytes to be written: whole frames only. False when the connection is lost (then `write` is not called).
    pub fn write(&self, write: impl FnOnce(&mut BytesMut)) -> bool {
        self.shared.outbox.append(write)
    }

    /// As [`write`](Self::write), but nothing leaves before [`flush`](Self::flush). For those who send from a thread of
    /// their own and want to spare the connection's task.
    pub fn write_quietly(&self, write: impl FnOnce(&mut BytesMut)) -> bool {
        self.shared.outbox.append_quietly(write)
    }

    /// Hands to the system on this thread what was written quietly; never blocks.
    pub fn flush(&self) {
        if let Some(writer) = &*self.shared.writer.lock() {
            self.shared.outbox.flush(|bytes| writer.try_write(bytes));
        }
    }

    /// Bytes appended that no system call has taken yet.
    #[must_use]
    pub fn unwritten_bytes(&self) -> usize {
        self.shared.outbox.waiting_bytes()
    }

    /// Sends a command that has no answer. False when the connection is lost.
    pub fn send(&self, command: &BaseCommand) -> bool {
        self.shared.send(command)
    }

    /// Sends the command made by `build` from a new request id, and waits for the answer; `wait` bounds it.
    ///
    /// # Errors
    /// [`Error::Broker`] when the answer is ERROR, [`Error::Disconnected`], [`Error::Timeout`].
    pub async fn request(
        &self,
        doing: &'static str,
        wait: Option<Duration>,
        build: impl FnOnce(u64) -> BaseCommand,
    ) -> Result<BaseCommand> {
        self.request_of(None, doing, wait, build).await
    }

    /// Acknowledges for a consumer, and waits until the broker says that this is done. The request id is filled in.
    ///
    /// # Errors
    /// As [`request`](Self::request). [`Error::ClosedByBroker`], at once, when the broker has closed the consumer: it does not answer then,
    /// and what was under way may or may not have happened. Source: Pulsar's `ServerCnx.handleAck`.
    pub async fn acknowledge(&self, ack: proto::CommandAck, wait: Duration) -> Result<()> {
        let answer = self
            .request_of(Some(ack.consumer_id), "acknowledge", Some(wait), |request_id| BaseCommand {
                r#type: Type::Ack as i32,
                ack: Some(proto::CommandAck { request_id: Some(request_id), ..ack }),
                ..Default::default()
            })
            .await?;
        let Some(response) = answer.ack_response else {
            return Err(Error::Protocol("ACK was answered with another command".into()));
        };
        match response.error {
            Some(_) => Err(broker_error("acknowledge", response.error(), response.message())),
            None => Ok(()),
        }
    }

    async fn request_of(
        &self,
        consumer: Option<u64>,
        doing: &'static str,
        wait: Option<Duration>,
        build: impl FnOnce(u64) -> BaseCommand,
    ) -> Result<BaseCommand> {
        let id = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let mut is_here = true;
        self.shared.insert(|state| {
            is_here = consumer.is_none_or(|consumer| state.consumers.contains_key(&consumer));
            if is_here {
                state.requests.insert(id, Waiting { reply, consumer });
            }
        })?;
        if !is_here {
            return Err(consumer_closed());
        }
        // Whatever ends the wait, the table forgets it.
        let _forget = Forget { shared: &self.shared, id };
        self.send(&build(id));
        let answer = async { answer.await.unwrap_or(Err(Error::Closed)) };
        let answer = match wait {
            None => answer.await?,
            Some(after) => timeout(after, answer).await.unwrap_or(Err(Error::Timeout { doing, after }))?,
        };
        match answer.error {
            Some(error) => Err(broker_error(doing, error.error(), &error.message)),
            None => Ok(answer),
        }
    }

    /// Registers `events` under the command's producer id, then creates the producer. The request id is filled in.
    ///
    /// # Errors
    /// As [`request`](Self::request); the handler is not registered then.
    pub async fn create_producer(
        &self,
        command: proto::CommandProducer,
        events: Arc<dyn ProducerEvents>,
        wait: Option<Duration>,
    ) -> Result<proto::CommandProducerSuccess> {
        let id = command.producer_id;
        self.shared.insert(|state| {
            state.producers.insert(id, Registered { handler: events, touched: false });
        })?;
        let answer = self
            .request("create producer", wait, |request_id| BaseCommand {
                r#type: Type::Producer as i32,
                producer: Some(proto::CommandProducer { request_id, ..command }),
                ..Default::default()
            })
            .await;
        let success = answer.and_then(|answer| {
            answer
                .producer_success
                .ok_or_else(|| Error::Protocol("PRODUCER was not answered with PRODUCER_SUCCESS".into()))
        });
        if success.is_err() {
            self.remove_producer(id);
        }
        success
    }

    /// Registers `events` under the command's consumer id, then subscribes. The request id is filled in.
    ///
    /// # Errors
    /// As [`request`](Self::request); the handler is not registered then.
    pub async fn subscribe(
        &self,
        command: proto::CommandSubscribe,
        events: Arc<dyn ConsumerEvents>,
        wait: Duration,
    ) -> Result<()> {
        let id = command.consumer_id;
        self.shared.insert(|state| {
            state.consumers.insert(id, Registered { handler: events, touched: false });
        })?;
        let answer = self
            .request("subscribe", Some(wait), |request_id| BaseCommand {
                r#type: Type::Subscribe as i32,
                subscribe: Some(proto::CommandSubscribe { request_id, ..command }),
                ..Default::default()
            })
            .await;
        if answer.is_err() {
            self.remove_consumer(id);
        }
        answer.map(|_| ())
    }

    /// Lets the broker send `messages` more to a consumer.
    pub fn flow(&self, consumer_id: u64, messages: u32) -> bool {
        self.write(|out| wire::encode::flow(out, consumer_id, messages))
    }

    /// Forgets a producer's handler.
    pub fn remove_producer(&self, producer_id: u64) {
        self.shared.state.lock().producers.remove(&producer_id);
    }

    /// Forgets a consumer's handler.
    pub fn remove_consumer(&self, consumer_id: u64) {
        self.shared.state.lock().consumers.remove(&consumer_id);
    }

    /// Closes a producer without waiting for the answer; its handler hears nothing more.
    pub fn abandon_producer(&self, producer_id: u64) {
        self.remove_producer(producer_id);
        let request_id = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        self.send(&close_producer(producer_id, request_id));
    }

    /// Closes a consumer without waiting for the answer; its handler hears nothing more.
    pub fn abandon_consumer(&self, consumer_id: u64) {
        self.remove_consumer(consumer_id);
        let request_id = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        self.send(&close_consumer(consumer_id, request_id));
    }

    /// Closes a producer; its handler hears nothing more.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn close_producer(&self, producer_id: u64, wait: Duration) -> Result<()> {
        self.remove_producer(producer_id);
        self.request("close producer", Some(wait), |id| close_producer(producer_id, id)).await.map(|_| ())
    }

    /// Closes a consumer; its handler hears nothing more.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn close_consumer(&self, consumer_id: u64, wait: Duration) -> Result<()> {
        self.remove_consumer(consumer_id);
        self.request("close consumer", Some(wait), |id| close_consumer(consumer_id, id)).await.map(|_| ())
    }

    /// Ends the connection; everybody on it is told `why`.
    pub fn close(&self, why: &str) {
        self.shared.fail(self.shared.lost(why));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end_tasks();
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().requests.remove(&self.id);
    }
}

impl Shared {
    fn send(&self, command: &BaseCommand) -> bool {
        self.outbox.append(|out| wire::encode::command(out, command))
    }

    fn lost(&self, why: &str) -> Error {
        Error::Disconnected { address: self.address.clone(), why: why.into() }
    }

    /// Changes the tables, unless the connection is gone: then nobody would ever be told.
    fn insert(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(error) = &state.gone {
            return Err(error.clone());
        }
        change(&mut state);
        Ok(())
    }

    fn fail(&self, error: Error) {
        let mut state = self.state.lock();
        if state.gone.is_some() {
            return;
        }
        let State { requests, producers, consumers, connected, .. } =
            std::mem::replace(&mut *state, State { gone: Some(error.clone()), ..State::default() });
        drop(state);
        self.outbox.close();
        self.writer.lock().take();
        self.end_tasks();
        if let Some(connected) = connected {
            let _ = connected.send(Err(error.clone()));
        }
        for waiting in requests.into_values() {
            let _ = waiting.reply.send(Err(error.clone()));
        }
        for producer in producers.into_values() {
            producer.handler.lost(error.clone());
        }
        for consumer in consumers.into_values() {
            consumer.handler.lost(error.clone());
        }
    }

    /// Takes effect at a task's next wait, so a task may end itself and finish what it is doing.
    fn end_tasks(&self) {
        self.tasks.get().into_iter().flatten().for_each(AbortHandle::abort);
    }

    async fn write_loop(self: Arc<Self>, writer: Arc<OwnedWriteHalf>) {
        let mut bytes = BytesMut::new();
        while self.outbox.take(&mut bytes).await {
            while !bytes.is_empty() {
                let written = match writer.try_write(&bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await.map(|()| 0),
                    written => written,
                };
                match written {
                    Ok(written) => bytes.advance(written),
                    Err(error) => return self.fail(self.lost(&error.to_string())),
                }
            }
        }
    }

    async fn read_loop(self: Arc<Self>, mut reader: OwnedReadHalf, keep_alive: Duration) {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let mut heard = Instant::now();
        let mut ticks = tokio::time::interval_at(heard + keep_alive, keep_alive);
        let mut touched = Touched::default();
        let error = loop {
            tokio::select! {
                biased;
                read = reader.read_buf(&mut bytes) => match read {
                    Ok(0) => break self.lost("the peer closed it"),
                    Ok(_) => {}
                    Err(error) => break self.lost(&error.to_string()),
                },
                _ = ticks.tick() => {
                    if heard.elapsed() >= keep_alive * 2 {
                        break self.lost("the peer is silent");
                    }
                    self.send(&BaseCommand { r#type: Type::Ping as i32, ping: Some(proto::CommandPing {}), ..Default::default() });
                    continue;
                }
            }
            heard = Instant::now();
            if let Err(error) = self.read_burst(&mut bytes, &mut touched) {
                break error;
            }
        };
        tracing::debug!(address = %self.address, %error, "connection ends");
        self.fail(error);
    }

    /// Hands out every whole frame in `bytes` and makes room for the next read.
    fn read_burst(&self, bytes: &mut BytesMut, touched: &mut Touched) -> Result<()> {
        let frame_max = self.max_message_bytes.load(Ordering::Relaxed) + FRAME_EXTRA_BYTES;
        let mut state = self.state.lock();
        let mut missing = 0;
        while let Some(size) = bytes.first_chunk::<4>() {
            let size = u32::from_be_bytes(*size) as usize;
            if !(4..=frame_max).contains(&size) {
                return Err(Error::Protocol(format!("a frame of {size} bytes").into()));
            }
            if bytes.len() < 4 + size {
                missing = 4 + size - bytes.len();
                break;
            }
            bytes.advance(4);
            let mut frame = bytes.split_to(size);
            let command_size = frame.get_u32() as usize;
            if command_size > frame.len() {
                return Err(Error::Protocol(format!("a command of {command_size} bytes in a frame of {size}").into()));
            }
            match hot::read_command(&frame[..command_size]) {
                Hot::Receipt(receipt) => {
                    if let Some(producer) = state.producers.get_mut(&receipt.producer_id) {
                        producer.handler.receipt(receipt);
                        if !std::mem::replace(&mut producer.touched, true) {
                            touched.producers.push(receipt.producer_id);
                        }
                    }
                }
                Hot::Message(delivery) => {
                    if let Some(consumer) = state.consumers.get_mut(&delivery.consumer_id) {
                        if !std::mem::replace(&mut consumer.touched, true) {
                            touched.consumers.push(delivery.consumer_id);
                        }
                        frame.advance(command_size);
                        consumer.handler.entry(delivery, frame.freeze());
                    }
                }
                Hot::Other => {
                    let command = BaseCommand::decode(&frame[..command_size])
                        .map_err(|e| Error::Protocol(format!("undecodable command: {e}").into()))?;
                    self.handle(&mut state, command)?;
                }
            }
        }
        for id in touched.producers.drain(..) {
            if let Some(producer) = state.producers.get_mut(&id) {
                producer.touched = false;
                producer.handler.burst_end();
            }
        }
        for id in touched.consumers.drain(..) {
            if let Some(consumer) = state.consumers.get_mut(&id) {
                consumer.touched = false;
                consumer.handler.burst_end();
            }
        }
        drop(state);
        // The old buffer is reused when nobody holds a part of it any more.
        bytes.reserve(missing.max(READ_BYTES / 4));
        Ok(())
    }

    /// Everything that is not a receipt or a message. Newer commands are ignored.
    fn handle(&self, state: &mut State, command: BaseCommand) -> Result<()> {
        match command.r#type() {
            Type::Connected => {
                if let (Some(waiting), Some(connected)) = (state.connected.take(), command.connected) {
                    let _ = waiting.send(Ok(connected));
                }
            }
            Type::Ping => {
                self.send(&BaseCommand {
                    r#type: Type::Pong as i32,
                    pong: Some(proto::CommandPong {}),
                    ..Default::default()
                });
            }
            Type::AuthChallenge => {
                self.send(&BaseCommand {
                    r#type: Type::AuthResponse as i32,
                    auth_response: Some(proto::CommandAuthResponse {
                        client_version: Some(version()),
                        response: Some(proto::AuthData {
                            auth_method_name: self.token.as_ref().map(|_| "token".to_owned()),
                            auth_data: self.token.as_ref().map(|token| token.clone().into_bytes().into()),
                        }),
                        protocol_version: Some(wire::PROTOCOL_VERSION),
                    }),
                    ..Default::default()
                });
            }
            Type::SendError => {
                if let Some(error) = command.send_error
                    && let Some(producer) = state.producers.get(&error.producer_id)
                {
                    producer.handler.refused(error.sequence_id, broker_error("publish", error.error(), &error.message));
                }
            }
            Type::CloseProducer => {
                if let Some(close) = command.close_producer
                    && let Some(producer) = state.producers.remove(&close.producer_id)
                {
                    producer.handler.lost(Error::ClosedByBroker("the topic is moving or closing".into()));
                }
            }
            Type::CloseConsumer => {
                if let Some(close) = command.close_consumer
                    && let Some(consumer) = state.consumers.remove(&close.consumer_id)
                {
                    consumer.handler.lost(Error::ClosedByBroker("the topic is moving or closing".into()));
                    let of_it = state.requests.extract_if(|_, waiting| waiting.consumer == Some(close.consumer_id));
                    for (_, waiting) in of_it {
                        let _ = waiting.reply.send(Err(consumer_closed()));
                    }
                }
            }
            Type::ActiveConsumerChange => {
                if let Some(change) = command.active_consumer_change
                    && let Some(consumer) = state.consumers.get(&change.consumer_id)
                {
                    consumer.handler.active(change.is_active());
                }
            }
            Type::ReachedEndOfTopic => {
                if let Some(end) = command.reached_end_of_topic
                    && let Some(consumer) = state.consumers.get(&end.consumer_id)
                {
                    consumer.handler.end_of_topic();
                }
            }
            Type::Error if state.connected.is_some() => {
                let error = command.error.map(|e| broker_error("connect", e.error(), &e.message));
                return Err(error.unwrap_or_else(|| Error::Protocol("ERROR without a body".into())));
            }
            // WaitForExclusive: it is not this producer's turn yet, a second answer follows.
            Type::ProducerSuccess if command.producer_success.as_ref().is_some_and(|s| !s.producer_ready()) => {}
            _ => {
                if let Some(waiting) = answered(&command).and_then(|id| state.requests.remove(&id)) {
                    let _ = waiting.reply.send(Ok(command));
                }
            }
        }
        Ok(())
    }
}

/// Who has to be told when the burst ends.
#[derive(Default)]
struct Touched {
    producers: Vec<u64>,
    consumers: Vec<u64>,
}

fn version() -> String {
    concat!("geminga-", env!("CARGO_PKG_VERSION")).to_owned()
}

fn hello(config: &Config, proxied: Option<&str>) -> BaseCommand {
    BaseCommand {
        r#type: Type::Connect as i32,
        connect: Some(proto::CommandConnect {
            client_version: version(),
            protocol_version: Some(wire::PROTOCOL_VERSION),
            auth_method_name: config.token.as_ref().map(|_| "token".to_owned()),
            auth_data: config.token.as_ref().map(|token| token.clone().into_bytes().into()),
            proxy_to_broker_url: proxied.map(str::to_owned),
            feature_flags: Some(proto::FeatureFlags { supports_auth_refresh: Some(true), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn close_producer(producer_id: u64, request_id: u64) -> BaseCommand {
    BaseCommand {
        r#type: Type::CloseProducer as i32,
        close_producer: Some(proto::CommandCloseProducer { producer_id, request_id, ..Default::default() }),
        ..Default::default()
    }
}

fn close_consumer(consumer_id: u64, request_id: u64) -> BaseCommand {
    BaseCommand {
        r#type: Type::CloseConsumer as i32,
        close_consumer: Some(proto::CommandCloseConsumer { consumer_id, request_id, ..Default::default() }),
        ..Default::default()
    }
}

/// Which request a command answers.
fn answered(command: &BaseCommand) -> Option<u64> {
    None.or(command.success.as_ref().map(|c| c.request_id))
        .or(command.error.as_ref().map(|c| c.request_id))
        .or(command.producer_success.as_ref().map(|c| c.request_id))
        .or(command.lookup_topic_response.as_ref().map(|c| c.request_id))
        .or(command.partition_metadata_response.as_ref().map(|c| c.request_id))
        .or(command.ack_response.as_ref().and_then(|c| c.request_id))
        .or(command.get_last_message_id_response.as_ref().map(|c| c.request_id))
        .or(command.get_topics_of_namespace_response.as_ref().map(|c| c.request_id))
        .or(command.get_schema_response.as_ref().map(|c| c.request_id))
        .or(command.get_or_create_schema_response.as_ref().map(|c| c.request_id))
        .or(command.consumer_stats_response.as_ref().map(|c| c.request_id))
}

fn consumer_closed() -> Error {
    Error::ClosedByBroker("the consumer, whose topic is moving or closing".into())
}

pub(crate) fn broker_error(doing: &'static str, code: proto::ServerError, message: &str) -> Error {
    Error::Broker { doing, code, message: message.into() }
}

/// The handshake's own words, without "connection lost" around them.
fn innermost(error: &Error) -> String {
    match error {
        Error::Disconnected { why, .. } => why.to_string(),
        Error::Broker { code, message, .. } => format!("{code:?}: {message}"),
        other => other.to_string(),
    }
}
