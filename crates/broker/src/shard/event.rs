//! What can happen to the topics of a shard, and the handle through which it does.

use ledger::Entry;
use model::TopicName;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use super::{Context, Shard, transaction::Published};
use crate::{
    error::{Error, Result},
    peer::Peer,
    requests::{Operation, Publish},
    topic::Topic,
};

/// Where a consumer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) topic: u64,
    pub(crate) subscription: u64,
    pub(crate) consumer: u64,
}

/// Everything that reaches a shard. The hot ones are values; the rare ones are closures run inside.
pub(crate) enum Event {
    /// SENDs of one connection, in order.
    Publish(Arc<Peer>, Vec<Publish>),
    /// What consumers ask for, in order; of one connection when `peer` is given.
    Operations { peer: Option<Arc<Peer>>, operations: Vec<Operation>, weight: usize },
    /// Entries that other shards committed for topics of this one, durable.
    Published(Vec<Published>),
    /// A read from disk that a subscription asked for came back.
    Read { topic: u64, subscription: u64, generation: u64, replay: bool, result: ledger::Result<Vec<Entry>> },
    /// A connection can take messages again.
    Writable(u64),
    /// A connection is gone.
    PeerGone(u64),
    /// There was more to dispatch than one turn takes.
    Again,
    /// Anything else.
    Call(Box<dyn FnOnce(&mut Shard) + Send>),
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Event")
    }
}

/// The way into a shard.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    sender: mpsc::UnboundedSender<Event>,
}

/// Where an answer goes that comes after the commit.
pub(crate) struct Reply<T>(oneshot::Sender<Result<T>>);

impl<T> Reply<T> {
    pub(crate) fn send(self, result: Result<T>) {
        // The one who asked may be gone.
        let _ = self.0.send(result);
    }
}

impl Handle {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    pub(crate) fn send(&self, event: Event) {
        // A stopped shard takes nothing; its connections are being closed.
        let _ = self.sender.send(event);
    }

    pub(crate) fn writable(&self, peer: u64) {
        self.send(Event::Writable(peer));
    }

    /// Runs `f` in the shard and returns what it returns.
    pub(crate) async fn call<R: Send + 'static>(&self, f: impl FnOnce(&mut Shard) -> R + Send + 'static) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        self.send(Event::Call(Box::new(move |shard| {
            let _ = sender.send(f(shard));
        })));
        receiver.await.map_err(|_| stopping())
    }

    /// Whether both lead to the same shard.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.sender.same_channel(&other.sender)
    }

    /// Like [`Handle::call_later`], under way when this returns.
    pub(crate) fn ask<R: Send + 'static, F: FnOnce(&mut Shard, Reply<R>) + Send + 'static>(
        &self,
        f: F,
    ) -> impl Future<Output = Result<R>> + Send + use<R, F> {
        let (sender, receiver) = oneshot::channel();
        self.send(Event::Call(Box::new(move |shard| f(shard, Reply(sender)))));
        async { receiver.await.map_err(|_| stopping())? }
    }

    /// Runs `f` in the shard; it answers through the [`Reply`], now or after a commit.
    pub(crate) async fn call_later<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Shard, Reply<R>) + Send + 'static,
    ) -> Result<R> {
        self.ask(f).await
    }

    /// Runs `f` on a topic, which is loaded for it.
    pub(crate) async fn with_topic<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&mut Topic, &mut Context) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let name = topic.clone();
        self.call(move |shard| {
            let id = shard.topic(&name)?;
            let (topic, cx) = shard.at(id)?;
            f(topic, cx)
        })
        .await?
    }

    /// The same, answering when what `f` did is durable.
    pub(crate) async fn change_topic<R: Send + 'static>(
        &self,
        topic: &TopicName,
        f: impl FnOnce(&mut Topic, &mut Context) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let name = topic.clone();
        self.call_later(move |shard: &mut Shard, reply| {
            let done = shard.topic(&name).and_then(|id| {
                let (topic, cx) = shard.at(id)?;
                let value = f(topic, cx)?;
                if topic.ledger.acks_dirty() {
                    cx.acks_dirty(id, true);
                }
                Ok(value)
            });
            match done {
                Ok(value) => shard.when_durable(move |_, result| reply.send(result.map(|()| value))),
                Err(error) => reply.send(Err(error)),
            }
        })
        .await
    }
}

pub(crate) fn stopping() -> Error {
    Error::NotReady("the broker is stopping".into())
}
