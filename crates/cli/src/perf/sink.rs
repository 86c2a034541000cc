//! Receiving without decoding: entries are counted where they are read from the socket.

use super::{load::Shape, meter::Meter};
use bytes::Bytes;
use client::{Client, Connection, ConsumerEvents, Error, Permits, hot};
use model::{InitialPosition, Position, SubscriptionType};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use wire::proto::{self, BaseCommand, base_command::Type, command_ack::AckType};

/// One consumer.
pub(super) struct Sink {
    meter: Arc<Meter>,
    /// To read due times by; without it only counting is done.
    shape: Option<Shape>,
    connection: OnceLock<Arc<Connection>>,
    consumer_id: u64,
    acks: Acks,
    state: Mutex<State>,
    /// When the first and the last entry came.
    pub(super) first: AtomicU64,
    pub(super) last: AtomicU64,
}

struct State {
    permits: Permits,
    /// Messages of this burst.
    messages: u32,
    to_ack: Vec<Position>,
}

/// How a sink acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acks {
    None,
    Each,
    Cumulative,
}

/// What to subscribe to.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) topic: String,
    pub(super) name: String,
    pub(super) kind: SubscriptionType,
    pub(super) from: InitialPosition,
    pub(super) queue: u32,
    pub(super) acks: bool,
}

impl Sink {
    /// Subscribes over the connection chosen by `spread`, and lets the broker send.
    pub(super) async fn subscribe(
        client: &Client,
        to: &Subscription,
        spread: usize,
        meter: Arc<Meter>,
        shape: Option<Shape>,
    ) -> client::Result<Arc<Self>> {
        let connection = client.connection_for(&to.topic, spread).await?;
        let topic: model::TopicName = to.topic.parse()?;
        let mut permits = Permits::new(to.queue);
        let granted = permits.restart();
        let sink = Arc::new(Self {
            meter,
            shape,
            connection: OnceLock::from(connection.clone()),
            consumer_id: client.next_id(),
            acks: match (to.acks, to.kind.is_single_active()) {
                (false, _) => Acks::None,
                (true, true) => Acks::Cumulative,
                (true, false) => Acks::Each,
            },
            state: Mutex::new(State { permits, messages: 0, to_ack: Vec::new() }),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
        });
        let command = proto::CommandSubscribe {
            topic: topic.to_string(),
            subscription: to.name.clone(),
            sub_type: to.kind as i32,
            consumer_id: sink.consumer_id,
            consumer_name: Some(format!("perf-{}", sink.consumer_id)),
            initial_position: Some(to.from as i32),
            ..Default::default()
        };
        connection.subscribe(command, sink.clone(), Duration::from_secs(30)).await?;
        connection.flow(sink.consumer_id, granted);
        Ok(sink)
    }

    /// Deletes the subscription; the last of its consumers should do it.
    pub(super) async fn unsubscribe(&self) -> client::Result<()> {
        let Some(connection) = self.connection.get() else { return Ok(()) };
        connection
            .request("unsubscribe", Some(Duration::from_secs(10)), |request_id| BaseCommand {
                r#type: Type::Unsubscribe as i32,
                unsubscribe: Some(proto::CommandUnsubscribe {
                    consumer_id: self.consumer_id,
                    request_id,
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await?;
        connection.remove_consumer(self.consumer_id);
        Ok(())
    }

    /// Closes the consumer; the subscription stays.
    pub(super) async fn close(&self) -> client::Result<()> {
        match self.connection.get() {
            Some(connection) => connection.close_consumer(self.consumer_id, Duration::from_secs(10)).await,
            None => Ok(()),
        }
    }
}

impl ConsumerEvents for Sink {
    fn entry(&self, delivery: hot::Delivery, entry: Bytes) {
        let Some((metadata, payload)) = hot::split_entry(&entry) else {
            return self.meter.fail(Error::Corrupt { entry: delivery.position, why: "it ends early".into() });
        };
        let messages = hot::messages_in_batch(metadata);
        if let Some(shape) = &self.shape {
            self.meter.time(shape.stamps(payload), self.meter.clock.now());
        }
        self.meter.count(u64::from(messages), payload.len() as u64);
        let mut state = self.state.lock();
        state.messages += messages;
        match self.acks {
            Acks::None => {}
            Acks::Each => state.to_ack.push(delivery.position),
            Acks::Cumulative => {
                state.to_ack.clear();
                state.to_ack.push(delivery.position);
            }
        }
    }

    fn lost(&self, error: Error) {
        self.meter.fail(error);
    }

    fn end_of_topic(&self) {
        self.meter.fail(Error::EndOfTopic);
    }

    fn burst_end(&self) {
        let now = self.meter.clock.now();
        self.first.fetch_min(now, Ordering::Relaxed);
        self.last.fetch_max(now, Ordering::Relaxed);
        let Some(connection) = self.connection.get() else { return };
        let mut state = self.state.lock();
        let messages = std::mem::take(&mut state.messages);
        if let Some(grant) = state.permits.consumed(messages) {
            connection.flow(self.consumer_id, grant);
        }
        if state.to_ack.is_empty() {
            return;
        }
        let id = |at: Position| proto::MessageIdData {
            ledger_id: at.ledger,
            entry_id: at.entry as u64,
            ..Default::default()
        };
        let kind = if self.acks == Acks::Each { AckType::Individual } else { AckType::Cumulative };
        let ack = proto::CommandAck {
            consumer_id: self.consumer_id,
            ack_type: kind as i32,
            message_id: state.to_ack.drain(..).map(id).collect(),
            ..Default::default()
        };
        drop(state);
        connection.send(&BaseCommand { r#type: Type::Ack as i32, ack: Some(ack), ..Default::default() });
    }
}
