//! One connection: a task that reads frames, writes what the broker has to say, waits for requests that are answered
//! later, and keeps time. None of these waits for another.
//!
//! Each turn does what can be done at once and then sleeps until one of its sources has something: the socket, the
//! broker's channel, a request under way, a timer. All that one read asks of a shard goes to it in one batch; what one shard
//! has to say comes in one batch; a wake-up is per batch, never per message.
//!
//! What bounds memory: nothing is taken from the broker while [`writer::Writer`] is full, and nothing is read while it
//! is full, while too many requests or publishes are unanswered, while a producer is faster than its topic's rate limit, or
//! while the broker's publish buffer is full. A read buffer grows with the bytes that came, not with what a frame announces.

mod commands;
mod handles;
mod handshake;
mod inbox;
mod writer;

use broker::{Delivery, Outgoing, Peer, PeerInfo, ProducerCreated, ProducerHandle, Requests};
use futures::{
    FutureExt, Stream as _,
    future::{AbortHandle, BoxFuture},
    stream::FuturesUnordered,
};
use rustc_hash::FxHashMap;
use std::{
    future::Future,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, Sleep},
};

use crate::{
    listener::Shared,
    reply::{self, Frame},
    topic_list::{Update, Watcher},
};
use handles::{Consumer, Consumers, Outcome, Producer, Producers, Slot, Token};
use inbox::Inbox;
use writer::{SLICES, Writer};

/// Turns before a busy connection lets other tasks run.
const TURNS: usize = 16;

/// Unanswered bytes at the broker, beyond what it bounds itself, at which nothing more is read: a peer that sends
/// requests and reads no answers.
const UNREAD_BYTES_MAX: usize = 2 * 8 * 1024 * 1024;

/// Bytes of answers that wait for what was said before them; beyond it, requests under way are not asked for more.
const ANSWERS_BYTES_MAX: usize = 512 * 1024;

/// How long a connection that ends has to take what is still to be written.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Pings without an answer before a connection is given up.
const PINGS_MAX: u32 = 2;

/// What a connection runs on: a TCP socket, and in tests a pipe.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Whether a read may give something, so that an idle connection needs no buffer.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Stream for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {
    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("closed by the client")]
    Left,
    #[error("{0}")]
    Io(io::Error),
    #[error("not the protocol: {0}")]
    Frame(wire::FrameError),
    #[error("not the protocol: {0}")]
    Protocol(String),
    #[error("refused: {0}")]
    Refused(&'static str),
    #[error("{0}")]
    Closed(&'static str),
}

/// What a request under way ends with.
enum Done {
    Nothing,
    Reply(Frame),
    Producer { id: u64, token: Token, request_id: u64, result: broker::Result<(ProducerHandle, ProducerCreated)> },
    Consumer { id: u64, token: Token, request_id: u64, result: broker::Result<Consumer> },
    Unsubscribed { id: u64, token: Token, request_id: u64, result: broker::Result<()> },
    Watching { id: u64, token: Token, request_id: u64, hash: Option<String>, result: broker::Result<Watcher> },
}

/// A watcher's next news: which watcher, what, and the watcher to ask again. `None` when it was closed.
type News = Option<(u64, Token, Option<(Update, Watcher)>)>;

/// Messages of one consumer that did not fit into the writer at once.
struct Unsent {
    consumer_id: u64,
    epoch: Option<u64>,
    entries: std::vec::IntoIter<Delivery>,
}

/// See the module.
struct Connection<S> {
    stream: S,
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    inbox: Inbox,
    writer: Writer,
    requested: Requests,
    from_broker: mpsc::UnboundedReceiver<Vec<Outgoing>>,
    /// The batch of the broker that is being written.
    taken: std::vec::IntoIter<Outgoing>,
    unsent: Option<Unsent>,
    producers: Producers,
    consumers: Consumers,
    watchers: FxHashMap<u64, (Token, AbortHandle)>,
    following: FuturesUnordered<BoxFuture<'static, News>>,
    requests: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Done, but what the broker said before has to be written first.
    answers: Vec<Done>,
    answers_bytes: usize,
    next_token: Token,
    /// Waits for room in the publish buffer.
    room: Option<BoxFuture<'static, ()>>,
    /// This producer is faster than it may be: nothing is taken until then.
    rest: Option<(ProducerHandle, Pin<Box<Sleep>>)>,
    /// Resolves when the session closes.
    stop: BoxFuture<'static, ()>,
    stop_asked: bool,
    /// Writes what there is and ends.
    ending: Option<&'static str>,
    tick: Pin<Box<Sleep>>,
    /// Of this turn.
    now: Instant,
    last_read: Instant,
    last_write: Instant,
    pings: u32,
}

/// Runs one connection from its first byte to its end.
pub(crate) async fn run<S: Stream>(mut stream: S, address: Option<SocketAddr>, shared: Arc<Shared>) {
    let config = &shared.config;
    let max_message = shared.broker.config().max_message_size;
    let mut inbox = Inbox::new(max_message, config.read_buffer_min, config.read_buffer_max);
    let accepting = handshake::accept(&mut stream, &mut inbox, &shared, address);
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(config.handshake_timeout, accepting) => accepted,
        () = shared.closing.triggered() => return,
    };
    let connected = match accepted {
        Ok(Ok(connected)) => connected,
        Ok(Err(end)) => return tracing::debug!(?address, %end, "connection ended before CONNECT"),
        Err(_) => return tracing::debug!(?address, "no CONNECT in time"),
    };
    let info = PeerInfo {
        address: address.map(|a| a.to_string()).unwrap_or_default(),
        client_version: connected.client_version,
        protocol_version: connected.protocol_version,
    };
    tracing::debug!(
        address = info.address,
        client = info.client_version,
        version = info.protocol_version,
        role = connected.identity.role,
        "connected"
    );
    let mut connection = Connection::new(stream, info, inbox, shared);
    let end = std::future::poll_fn(|cx| connection.poll(cx)).await;
    match &end {
        End::Left | End::Io(_) | End::Closed(_) => tracing::debug!(?address, %end, "disconnected"),
        End::Frame(_) | End::Protocol(_) | End::Refused(_) => tracing::warn!(?address, %end, "connection closed"),
    }
    // What the peer has not read yet shall still reach it.
    let _ = tokio::time::timeout(Duration::from_millis(100), connection.stream.shutdown()).await;
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.shared.broker.disconnect(&self.peer);
    }
}

impl<S: Stream> Connection<S> {
    fn new(stream: S, info: PeerInfo, inbox: Inbox, shared: Arc<Shared>) -> Self {
        let (peer, from_broker) = shared.broker.connect(info);
        let now = Instant::now();
        let stop = shared.closing.clone();
        Self {
            stream,
            peer,
            inbox,
            writer: Writer::default(),
            requested: shared.broker.requests(),
            from_broker,
            taken: Vec::new().into_iter(),
            unsent: None,
            producers: Producers::default(),
            consumers: Consumers::default(),
            watchers: FxHashMap::default(),
            following: FuturesUnordered::new(),
            requests: FuturesUnordered::new(),
            answers: Vec::new(),
            answers_bytes: 0,
            next_token: 0,
            room: None,
            rest: None,
            stop: Box::pin(async move { stop.triggered().await }),
            stop_asked: false,
            ending: None,
            tick: Box::pin(tokio::time::sleep(tick_interval(&shared.config))),
            now,
            last_read: now,
            last_write: now,
            pings: 0,
            shared,
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        self.next_token
    }

    /// Runs `work` beside the connection.
    fn request(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.requests.push(work.boxed());
    }

    /// Does all there is to do; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.now = Instant::now();
        for _ in 0..TURNS {
            match self.turn(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
        // A peer that keeps us busy does not stop the clock.
        if let Err(end) = self.poll_time(cx) {
            return Poll::Ready(end);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One round over all sources; whether any of them had something. When none had, each of them that is wanted will
    /// wake the task.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut busy = self.poll_requests(cx);
        busy |= self.poll_broker(cx);
        busy |= self.poll_watchers(cx);
        busy |= self.poll_write(cx)?;
        busy |= self.poll_read(cx)?;
        Ok(busy || self.poll_time(cx)?)
    }

    // ---- requests under way

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while !self.requests.is_empty() && !self.writer.is_full() && self.answers_bytes < ANSWERS_BYTES_MAX {
            let Poll::Ready(Some(done)) = Pin::new(&mut self.requests).poll_next(cx) else { break };
            busy = true;
            match done {
                // Created before anything about it can have been said, so it is told before.
                created @ (Done::Producer { .. } | Done::Consumer { .. }) => self.finish(created),
                other => {
                    if let Done::Reply(frame) = &other {
                        self.answers_bytes += frame.0.len();
                    }
                    self.answers.push(other);
                }
            }
        }
        busy
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Reply(frame) => self.writer.frame(&frame),
            Done::Producer { id, token, request_id, result } => {
                let outcome = self.producers.finish(id, token);
                match (result, outcome) {
                    (Ok((handle, created)), Outcome::Wanted) => {
                        self.writer.frame(&reply::producer_success(request_id, created.clone()));
                        self.producers.put(id, Producer { handle, request_id, created });
                    }
                    (Ok((handle, _)), _) => {
                        self.request(async move {
                            handle.close().await;
                            Done::Nothing
                        });
                        self.revoked(request_id, outcome);
                    }
                    (Err(_), Outcome::Cancelled) => {}
                    (Err(error), _) => self.writer.frame(&reply::failed(request_id, &error)),
                }
            }
            Done::Consumer { id, token, request_id, result } => {
                let outcome = self.consumers.finish(id, token);
                match (result, outcome) {
                    (Ok(consumer), Outcome::Wanted) => {
                        self.writer.frame(&reply::success(request_id));
                        self.consumers.put(id, consumer);
                    }
                    (Ok(consumer), _) => {
                        self.request(async move {
                            consumer.handle.close().await;
                            Done::Nothing
                        });
                        self.revoked(request_id, outcome);
                    }
                    (Err(_), Outcome::Cancelled) => {}
                    (Err(error), _) => self.writer.frame(&reply::failed(request_id, &error)),
                }
            }
            Done::Unsubscribed { id, token, request_id, result } => {
                if result.is_ok() {
                    self.consumers.remove_if(id, token);
                }
                self.writer.frame(&reply::done(request_id, result));
            }
            Done::Watching { id, token, request_id, hash, result } => {
                if self.watchers.get(&id).is_none_or(|(t, _)| *t != token) {
                    return;
                }
                match result {
                    Ok(watcher) => {
                        let (topics, found) = watcher.matching();
                        let topics = if hash.as_ref() == Some(&found) { Vec::new() } else { topics };
                        self.writer.frame(&reply::watching(request_id, id, topics, found));
                        self.follow(id, token, watcher);
                    }
                    Err(error) => {
                        self.watchers.remove(&id);
                        self.writer.frame(&reply::failed(request_id, &error));
                    }
                }
            }
        }
    }

    /// What the broker closed while it was being created, the client has to ask for again.
    fn revoked(&mut self, request_id: u64, outcome: Outcome) {
        if outcome == Outcome::Revoked {
            let error = broker::Error::NotReady("closed while it was being created".into());
            self.writer.frame(&reply::failed(request_id, &error));
        }
    }

    // ---- watchers

    fn follow(&mut self, id: u64, token: Token, mut watcher: Watcher) {
        let (next, abort) = futures::future::abortable(async move {
            let update = watcher.next().await;
            (id, token, update.map(|update| (update, watcher)))
        });
        self.watchers.insert(id, (token, abort));
        self.following.push(next.map(Result::ok).boxed());
    }

    fn poll_watchers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while !self.following.is_empty() && !self.writer.is_full() {
            let Poll::Ready(Some(news)) = Pin::new(&mut self.following).poll_next(cx) else { break };
            busy = true;
            let Some((id, token, news)) = news else { continue };
            if self.watchers.get(&id).is_none_or(|(t, _)| *t != token) {
                continue;
            }
            match news {
                Some((update, watcher)) => {
                    let Update { created, deleted, hash } = update;
                    self.writer.frame(&reply::watch_update(id, created, deleted, hash));
                    self.follow(id, token, watcher);
                }
                None => {
                    self.watchers.remove(&id);
                }
            }
        }
        busy
    }

    // ---- what the broker has to say

    fn poll_broker(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        let mut bytes = 0;
        while !self.writer.is_full() {
            if let Some(mut unsent) = self.unsent.take() {
                if let Some(delivery) = unsent.entries.next() {
                    let partition = self.consumers.open(unsent.consumer_id).map_or(-1, |c| c.partition);
                    bytes += self.deliver(delivery, &unsent, partition);
                    while !self.writer.is_full()
                        && let Some(delivery) = unsent.entries.next()
                    {
                        bytes += self.deliver(delivery, &unsent, partition);
                    }
                    self.unsent = Some(unsent);
                }
            } else if let Some(outgoing) = self.taken.next() {
                bytes += self.outgoing(outgoing);
            } else if let Poll::Ready(Some(batch)) = self.from_broker.poll_recv(cx) {
                busy = true;
                self.taken = batch.into_iter();
                // What was created before this was said is told before it.
                self.poll_requests(cx);
            } else if !self.answers.is_empty()
                && let Ok(batch) = self.from_broker.try_recv()
            {
                // The runtime may have asked for a pause; the order of what is said does not wait for that.
                self.taken = batch.into_iter();
            } else {
                // All that was said before the answers were given is in the writer.
                busy |= !self.answers.is_empty();
                self.answers_bytes = 0;
                for done in std::mem::take(&mut self.answers) {
                    self.finish(done);
                }
                break;
            }
        }
        if bytes > 0 {
            self.peer.written(bytes);
        }
        busy
    }

    fn deliver(&mut self, delivery: Delivery, unsent: &Unsent, partition: i32) -> usize {
        let bytes = delivery.bytes();
        self.writer.message(unsent.consumer_id, unsent.epoch, partition, delivery);
        bytes
    }

    /// Writes one thing the broker says; returns the bytes it is accounted with. Messages are accounted one by one.
    fn outgoing(&mut self, outgoing: Outgoing) -> usize {
        let bytes = outgoing.bytes();
        match outgoing {
            Outgoing::Deliver { consumer_id, epoch, entries } => {
                self.unsent = Some(Unsent { consumer_id, epoch, entries: entries.into_iter() });
                return 0;
            }
            Outgoing::Receipts { producer_id, sequence_id, highest, position, count } => {
                self.writer.receipts(producer_id, sequence_id, highest, position, count);
            }
            Outgoing::SendError { producer_id, sequence_id, error } => {
                let frame = reply::send_error(producer_id, sequence_id, reply::code(&error), error.to_string());
                self.writer.frame(&frame);
            }
            Outgoing::AckResponse { consumer_id, request_id, error } => {
                let error = error.map(|error| (reply::code(&error), error.to_string()));
                self.writer.frame(&reply::ack_response(consumer_id, request_id, error));
            }
            Outgoing::ActiveConsumerChange { consumer_id, active } => {
                self.writer.frame(&reply::active_consumer_change(consumer_id, active));
            }
            Outgoing::ProducerReady { request_id, created } => {
                if let Some((_, producer)) = self.producers.of_request(request_id) {
                    producer.created = created.clone();
                }
                self.writer.frame(&reply::producer_success(request_id, created));
            }
            Outgoing::ProducerFailed { request_id, error } => {
                if let Some((id, _)) = self.producers.of_request(request_id) {
                    self.producers.remove(id, self.now);
                }
                self.writer.frame(&reply::failed(request_id, &error));
            }
            Outgoing::CloseProducer { producer_id } => match self.producers.slot(producer_id) {
                Some(Slot::Creating(_)) => self.producers.revoke(producer_id),
                _ => {
                    self.producers.remove(producer_id, self.now);
                    self.writer.frame(&reply::close_producer(producer_id));
                }
            },
            Outgoing::CloseConsumer { consumer_id } => match self.consumers.slot(consumer_id) {
                Some(Slot::Creating(_)) => self.consumers.revoke(consumer_id),
                _ => {
                    self.consumers.remove(consumer_id);
                    self.writer.frame(&reply::close_consumer(consumer_id));
                }
            },
            Outgoing::ReachedEndOfTopic { consumer_id } => {
                self.writer.frame(&reply::reached_end_of_topic(consumer_id));
            }
            // Clients cannot, and did not say that they can.
            Outgoing::GiveBack { .. } => {}
            Outgoing::Ping => self.writer.frame(&reply::ping()),
            Outgoing::Close { reason } => self.end(reason),
        }
        bytes
    }

    // ---- the socket

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut busy = false;
        while !self.writer.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.writer.slices(&mut slices);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled]) {
                Poll::Pending => return Ok(busy),
                Poll::Ready(Ok(0)) => return Err(End::Io(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.writer.advance(n);
                    self.last_write = self.now;
                }
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
            }
            busy = true;
        }
        match self.ending {
            // Nothing was left to say in this turn, so nothing of what was said before is lost.
            Some(reason) if !busy => Err(End::Closed(reason)),
            _ => Ok(busy),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.may_read(cx) {
            return Ok(false);
        }
        if self.inbox.is_unparsed() {
            self.take_frames()?;
            return Ok(true);
        }
        match self.stream.poll_readable(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(result) => result.map_err(End::Io)?,
        }
        let buf = self.inbox.for_read();
        let room = buf.capacity() - buf.len();
        let n = match pin!(self.stream.read_buf(buf)).poll(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => return Err(End::Left),
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Err(End::Io(error)),
        };
        self.inbox.was_read(n, room);
        self.last_read = self.now;
        self.pings = 0;
        self.peer.was_heard();
        self.take_frames()?;
        Ok(true)
    }

    /// Whether more may be asked of us; see the module.
    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.has_enough() || self.rests(cx) {
            return false;
        }
        if self.producers.is_empty() {
            return true;
        }
        if self.room.is_none() {
            if !self.shared.broker.publish_buffer_full() {
                return true;
            }
            let broker = self.shared.broker.clone();
            self.room = Some(Box::pin(async move { broker.publish_buffer_room().await }));
        }
        if let Some(room) = &mut self.room
            && room.as_mut().poll(cx).is_pending()
        {
            return false;
        }
        self.room = None;
        true
    }

    /// Whether a rate limit holds us. Source: Pulsar's `ServerCnxThrottleTracker`, which stops reading as well.
    fn rests(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some((producer, sleep)) = &mut self.rest {
            if sleep.as_mut().poll(cx).is_pending() {
                return true;
            }
            match producer.pace(0, 0) {
                Some(longer) => sleep.as_mut().reset(Instant::now() + longer),
                None => self.rest = None,
            }
        }
        false
    }

    /// Whether what the peer asked for already is as much as we take at a time.
    fn has_enough(&self) -> bool {
        !self.may_handle()
            || self.peer.outbound_bytes() >= UNREAD_BYTES_MAX
            || self.peer.pending_publishes() >= self.shared.broker.config().max_pending_publishes_per_connection
            || self.peer.has_many_requests()
    }

    fn may_handle(&self) -> bool {
        self.ending.is_none()
            && !self.writer.is_full()
            && self.requests.len() + self.answers.len() < self.shared.config.max_pending_requests.max(1)
    }

    /// Handles the whole frames there are, and hands the SENDs among them to the broker.
    fn take_frames(&mut self) -> Result<(), End> {
        let mut result = Ok(());
        let before = self.inbox.len();
        while self.may_handle() && self.rest.is_none() {
            match self.inbox.next() {
                Ok(Some(incoming)) => {
                    result = self.handle(incoming);
                    if result.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(End::Frame(error));
                    break;
                }
            }
        }
        // What came before a broken frame was meant.
        if !self.requested.is_empty() {
            // Entries share the buffer they were read into. Where little of it is theirs, they shall not keep all of it.
            let others = (before - self.inbox.len()).saturating_sub(self.requested.bytes());
            if others > self.requested.bytes() {
                self.requested.detach();
            }
            self.shared.broker.submit(&self.peer, &mut self.requested);
        }
        result
    }

    // ---- time

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.ending.is_none() {
            // Asked once, it wakes this task when the time comes; asking again takes a lock that all connections share.
            let stopping = match std::mem::replace(&mut self.stop_asked, true) {
                false => self.stop.as_mut().poll(cx).is_ready(),
                true => self.shared.closed.load(Relaxed),
            };
            if stopping {
                self.end("the broker is stopping");
                return Ok(true);
            }
        }
        if self.tick.as_mut().poll(cx).is_pending() {
            return Ok(false);
        }
        if self.ending.is_some() {
            return Err(End::Closed("did not take its last words"));
        }
        let config = &self.shared.config;
        let silent = self.now.duration_since(self.last_read);
        // While we do not read, its silence is our doing, unless it is because it does not read.
        let reading = !self.has_enough() && !self.inbox.is_unparsed() && self.room.is_none() && self.rest.is_none();
        let unread = self.now.duration_since(self.last_read.max(self.last_write));
        if !reading && !self.writer.is_empty() && unread >= config.keepalive * (PINGS_MAX + 1) {
            return Err(End::Closed("takes nothing of what is written to it"));
        }
        if reading && self.inbox.is_half() && silent >= config.half_frame_timeout {
            return Err(End::Closed("half a frame and nothing after it"));
        }
        if reading && silent >= config.keepalive * (self.pings + 1) {
            if self.pings >= PINGS_MAX {
                return Err(End::Closed("no answer to pings"));
            }
            self.pings += 1;
            self.writer.frame(&reply::ping());
        }
        // It is not read, but whether it still is there shows when something is written to it. Source: Pulsar's
        // `PulsarHandler.handleKeepAliveTimeout`, which pings in that case as well and does not wait for the answer.
        if self.rest.is_some() && self.writer.is_empty() && silent >= config.keepalive {
            self.writer.frame(&reply::ping());
        }
        if silent >= config.keepalive {
            self.inbox.release();
            self.writer.release();
        }
        self.producers.forget(self.now, config.keepalive);
        let next = self.now + tick_interval(config);
        self.tick.as_mut().reset(next);
        Ok(true)
    }

    /// Reads nothing more, writes what there is to say, and ends.
    fn end(&mut self, reason: &'static str) {
        if self.ending.is_none() {
            self.ending = Some(reason);
            self.tick.as_mut().reset(self.now + LAST_WRITE);
        }
    }
}

fn tick_interval(config: &crate::Config) -> Duration {
    config.keepalive.min(config.half_frame_timeout).max(Duration::from_millis(10))
}
