//! Entries read by themselves, beside the subscription they were delivered by.

use bytes::Bytes;
use client::{Client, ConsumerEvents, hot, hot::Delivery};
use model::{Position, SubscriptionType, TopicName};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use wire::proto;

use super::{
    feed::{Link, Open},
    session,
};
use crate::message::InputId;

/// Messages on their way at a time; others are asked for by the half.
const PERMITS: u32 = 200;
/// How long nothing may come.
const QUIET: Duration = Duration::from_secs(60);

enum Said {
    Entry(Position, Bytes),
    /// So many messages came.
    Came(u32),
    /// All that was wanted has passed.
    End,
    Lost(client::Error),
}

/// On the connection's task.
struct Reading {
    wanted: FxHashSet<Position>,
    last: Position,
    came: Mutex<u32>,
    says: mpsc::UnboundedSender<Said>,
}

impl ConsumerEvents for Reading {
    fn entry(&self, delivery: Delivery, entry: Bytes) {
        let mut came = self.came.lock();
        *came += hot::split_entry(&entry).map_or(1, |(metadata, _)| hot::messages_in_batch(metadata));
        // Whoever reads may be gone.
        if *came >= PERMITS / 2 {
            let _ = self.says.send(Said::Came(std::mem::take(&mut *came)));
        }
        if self.wanted.contains(&delivery.position) {
            let _ = self.says.send(Said::Entry(delivery.position, entry));
        }
        if delivery.position >= self.last {
            let _ = self.says.send(Said::End);
        }
    }

    fn lost(&self, error: client::Error) {
        let _ = self.says.send(Said::Lost(error));
    }
}

/// How long to wait before another try.
const PAUSE: Duration = Duration::from_secs(1);

/// Those of these entries that are stored. One that is stored for sure follows them. Tried again while that may help.
///
/// # Errors
/// The broker's refusal.
pub(super) async fn read(
    client: Client,
    topic: TopicName,
    spread: InputId,
    positions: Vec<Position>,
) -> client::Result<Vec<(Position, Bytes)>> {
    loop {
        match read_once(&client, &topic, spread, &positions).await {
            Err(error) if error.is_retryable() => {
                tracing::debug!(%topic, %error, "chunks cannot be read yet");
                tokio::time::sleep(PAUSE).await;
            }
            read => return read,
        }
    }
}

async fn read_once(
    client: &Client,
    topic: &TopicName,
    spread: InputId,
    positions: &[Position],
) -> client::Result<Vec<(Position, Bytes)>> {
    let (Some(&first), Some(&last)) = (positions.iter().min(), positions.iter().max()) else { return Ok(Vec::new()) };
    let topic = topic.to_string();
    let (says, mut said) = mpsc::unbounded_channel();
    let reading = Reading { wanted: positions.iter().copied().collect(), last, came: Mutex::new(0), says };
    let connection = client.connection_for(&topic, spread as usize).await?;
    let (consumer, wait) = (client.next_id(), client.request_timeout());
    let open = Open(Link::new(connection.clone(), consumer, wait));
    let command = proto::CommandSubscribe {
        topic,
        subscription: format!("chunks-{:016x}", RandomState::new().hash_one(consumer)),
        sub_type: SubscriptionType::Exclusive as i32,
        consumer_id: consumer,
        consumer_name: Some("chunks".to_owned()),
        durable: Some(false),
        // The broker begins with it. Source: Pulsar's `PersistentTopic.getNonDurableSubscription`.
        start_message_id: Some(session::entry(first)),
        force_topic_creation: Some(false),
        ..Default::default()
    };
    connection.subscribe(command, Arc::new(reading), wait).await?;
    open.0.flow(PERMITS);
    let mut found = Vec::new();
    // The last of them may have gone with what is not stored any more: then nothing comes.
    while let Ok(Some(said)) = tokio::time::timeout(QUIET, said.recv()).await {
        match said {
            Said::Entry(position, entry) => found.push((position, entry)),
            Said::Came(messages) => open.0.flow(messages),
            Said::End => break,
            Said::Lost(error) => return Err(error),
        }
    }
    Ok(found)
}
