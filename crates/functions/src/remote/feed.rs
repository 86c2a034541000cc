//! One consumer over all its connections: attached again when one is lost, told apart by the number of the attachment.

use bytes::Bytes;
use client::{Backoff, Client, Connection, ConsumerEvents, hot::Delivery};
use model::SubscriptionType;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet, time::sleep};
use wire::proto::{self, BaseCommand, ServerError, base_command::Type};

use crate::{event_log::InputSpec, message::InputId};

/// What a consumer hears, by which attachment of which input.
pub(super) type Word = (InputId, u64, Said);

/// See [`Word`].
pub(super) enum Said {
    /// It is attached: the first word of its number, unless [`Said::Lost`] was.
    Attached(Link),
    /// An entry came.
    Entry(Delivery, Bytes),
    /// The broker made it the active one of its subscription, or another.
    Active(bool),
    /// The connection or the consumer is gone.
    Lost,
    /// And will not be back.
    Failed(client::Error),
}

/// Words of all inputs of a session, in their order. How many entries there can be is bounded by the permits given for them.
#[derive(Default)]
pub(super) struct Heard {
    words: Mutex<VecDeque<Word>>,
    came: Notify,
}

impl Heard {
    fn say(&self, word: Word) {
        self.words.lock().push_back(word);
    }

    /// All that was said, at least one word; safe to be dropped while it waits.
    pub(super) async fn listen(&self, into: &mut VecDeque<Word>) {
        loop {
            let came = self.came.notified();
            {
                let mut words = self.words.lock();
                if !words.is_empty() {
                    into.append(&mut words);
                    return;
                }
            }
            came.await;
        }
    }
}

/// A consumer that is attached.
#[derive(Clone)]
pub(super) struct Link {
    connection: Arc<Connection>,
    consumer: u64,
    wait: Duration,
}

impl Link {
    pub(super) fn new(connection: Arc<Connection>, consumer: u64, wait: Duration) -> Self {
        Self { connection, consumer, wait }
    }

    pub(super) fn flow(&self, permits: u32) {
        self.connection.flow(self.consumer, permits);
    }

    /// Acknowledges; done when the broker says that this is durable.
    ///
    /// # Errors
    /// It is not known whether it was done; the broker's refusal.
    pub(super) async fn ack(&self, message_id: Vec<proto::MessageIdData>) -> client::Result<()> {
        let ack = proto::CommandAck {
            consumer_id: self.consumer,
            ack_type: proto::command_ack::AckType::Individual as i32,
            message_id,
            ..Default::default()
        };
        self.connection.acknowledge(ack, self.wait).await
    }

    /// Passes over an entry that nobody can read. Source: Pulsar's `ConsumerImpl.discardCorruptedMessage`.
    pub(super) fn discard(&self, entry: proto::MessageIdData) {
        self.connection.send(&BaseCommand {
            r#type: Type::Ack as i32,
            ack: Some(proto::CommandAck {
                consumer_id: self.consumer,
                ack_type: proto::command_ack::AckType::Individual as i32,
                message_id: vec![entry],
                validation_error: Some(proto::command_ack::ValidationError::BatchDeSerializeError as i32),
                ..Default::default()
            }),
            ..Default::default()
        });
    }

    /// Asks for these again; for all, and only those of `epoch` from then on, where the subscription has one consumer at a time.
    pub(super) fn redeliver(&self, message_ids: Vec<proto::MessageIdData>, consumer_epoch: Option<u64>) {
        self.connection.send(&BaseCommand {
            r#type: Type::RedeliverUnacknowledgedMessages as i32,
            redeliver_unacknowledged_messages: Some(proto::CommandRedeliverUnacknowledgedMessages {
                consumer_id: self.consumer,
                message_ids,
                consumer_epoch,
            }),
            ..Default::default()
        });
    }
}

/// A consumer that is closed with this, whether or not it is attached already.
pub(super) struct Open(pub(super) Link);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection.abandon_consumer(self.0.consumer);
    }
}

/// One attachment, on the connection's task.
struct Feed {
    input: InputId,
    number: u64,
    heard: Arc<Heard>,
    is_lost: AtomicBool,
    lost: Notify,
}

impl Feed {
    fn say(&self, said: Said) {
        self.heard.say((self.input, self.number, said));
    }
}

impl ConsumerEvents for Feed {
    fn entry(&self, delivery: Delivery, entry: Bytes) {
        self.say(Said::Entry(delivery, entry));
    }

    fn lost(&self, _error: client::Error) {
        self.is_lost.store(true, SeqCst);
        self.say(Said::Lost);
        self.heard.came.notify_one();
        self.lost.notify_one();
    }

    fn active(&self, is_active: bool) {
        self.say(Said::Active(is_active));
        self.heard.came.notify_one();
    }

    fn burst_end(&self) {
        self.heard.came.notify_one();
    }
}

/// What it takes to attach.
struct Feeder {
    client: Client,
    spec: Arc<InputSpec>,
    input: InputId,
    heard: Arc<Heard>,
}

/// Subscribes, and keeps a consumer attached as long as there are `tasks`.
///
/// # Errors
/// As the broker says, the first time.
pub(super) async fn open(
    client: &Client,
    spec: Arc<InputSpec>,
    input: InputId,
    heard: Arc<Heard>,
    tasks: &mut JoinSet<()>,
) -> client::Result<()> {
    let feeder = Feeder { client: client.clone(), spec, input, heard };
    let first = feeder.attach(0).await?;
    tasks.spawn(feeder.keep(first));
    Ok(())
}

impl Feeder {
    async fn keep(self, mut open: (Arc<Feed>, Open)) {
        let mut number = 0;
        loop {
            open.0.lost.notified().await;
            let mut waits = Backoff::default().waits(0.5);
            open = loop {
                sleep(waits.next().unwrap_or_default()).await;
                number += 1;
                match self.attach(number).await {
                    Ok(open) => break open,
                    Err(error) if may_help(&error) => {
                        tracing::debug!(topic = %self.spec.topic, %error, "an input cannot be attached yet");
                    }
                    Err(error) => {
                        self.heard.say((self.input, number, Said::Failed(error)));
                        return self.heard.came.notify_one();
                    }
                }
            };
            tracing::debug!(topic = %self.spec.topic, "an input is attached again");
        }
    }

    async fn attach(&self, number: u64) -> client::Result<(Arc<Feed>, Open)> {
        let spec = &*self.spec;
        let topic = spec.topic.to_string();
        let connection = self.client.connection_for(&topic, self.input as usize).await?;
        let feed = Arc::new(Feed {
            input: self.input,
            number,
            heard: self.heard.clone(),
            is_lost: AtomicBool::new(false),
            lost: Notify::new(),
        });
        let (consumer, wait) = (self.client.next_id(), self.client.request_timeout());
        let link = Link::new(connection.clone(), consumer, wait);
        // Before it is there: whoever asked for it may not wait until it is.
        let open = Open(link.clone());
        let pair = |(key, value): (&String, &String)| proto::KeyValue { key: key.clone(), value: value.clone() };
        let command = proto::CommandSubscribe {
            topic,
            subscription: spec.subscription.clone(),
            sub_type: spec.kind as i32,
            consumer_id: consumer,
            consumer_name: Some(spec.consumer.clone()),
            priority_level: Some(0),
            durable: Some(spec.durable),
            metadata: spec.metadata.iter().map(pair).collect(),
            initial_position: Some(spec.initial_position as i32),
            key_shared_meta: (spec.kind == SubscriptionType::KeyShared).then(|| proto::KeySharedMeta {
                key_shared_mode: proto::KeySharedMode::AutoSplit as i32,
                ..Default::default()
            }),
            consumer_epoch: spec.kind.is_single_active().then_some(0),
            ..Default::default()
        };
        connection.subscribe(command, feed.clone(), wait).await?;
        if !feed.is_lost.load(SeqCst) {
            feed.say(Said::Attached(link));
            self.heard.came.notify_one();
        }
        Ok((feed, open))
    }
}

/// Whether another try may go better. The broker may not have noticed yet that a former connection is gone.
fn may_help(error: &client::Error) -> bool {
    error.is_retryable() || error.code() == Some(ServerError::ConsumerBusy)
}
