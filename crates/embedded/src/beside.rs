//! Entries read by themselves, beside the subscription they were delivered by.

use broker::{ConsumerHandle, NewConsumer, Outgoing, Peer, PeerInfo};
use bytes::Bytes;
use functions::{Error, Result};
use model::{InitialPosition, Position, SubscriptionType, TopicName};
use rustc_hash::FxHashSet;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

use crate::{Embedded, log::error};

/// Messages on their way at a time.
const PERMITS: u32 = 200;
/// How long nothing may come.
const QUIET: Duration = Duration::from_secs(60);

/// Leaves the broker when it is dropped.
struct Visit {
    on: Embedded,
    peer: Arc<Peer>,
    incoming: mpsc::UnboundedReceiver<Vec<Outgoing>>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.on.broker.disconnect(&self.peer);
    }
}

/// Those of these entries that are stored. One that is stored for sure follows them.
///
/// # Errors
/// The topic was unloaded, or cannot be read.
pub(crate) async fn read(on: Embedded, topic: TopicName, positions: Vec<Position>) -> Result<Vec<(Position, Bytes)>> {
    let (Some(&first), Some(&last)) = (positions.iter().min(), positions.iter().max()) else { return Ok(Vec::new()) };
    let (peer, incoming) = on.broker.connect(PeerInfo { address: "function".to_owned(), ..PeerInfo::default() });
    let mut visit = Visit { on, peer, incoming };
    let request = NewConsumer {
        topic,
        subscription: format!("chunks-{:x}", visit.peer.id),
        kind: SubscriptionType::Exclusive,
        consumer_id: 0,
        name: "chunks".to_owned(),
        priority_level: 0,
        durable: false,
        start_message_id: Some(first),
        start_rollback: None,
        initial_position: InitialPosition::Earliest,
        read_compacted: false,
        force_topic_creation: false,
        replicate_subscription_state: false,
        metadata: BTreeMap::default(),
        subscription_properties: BTreeMap::default(),
        key_shared: None,
        schema: None,
        epoch: None,
        gives_back: false,
    };
    let handle = visit.on.broker.subscribe(&visit.peer, request).await.map_err(error)?;
    handle.flow(PERMITS);
    let wanted: FxHashSet<Position> = positions.into_iter().collect();
    let mut found = Vec::with_capacity(wanted.len());
    loop {
        let batch = match tokio::time::timeout(QUIET, visit.incoming.recv()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Err(Error::Closed("the broker has stopped".into())),
            // The last of them went with what is not stored any more.
            Err(_) => return Ok(found),
        };
        let bytes = batch.iter().map(Outgoing::bytes).sum();
        visit.peer.was_heard();
        for outgoing in batch {
            if take(outgoing, &handle, |position, data| {
                if wanted.contains(&position) {
                    found.push((position, data));
                }
                position >= last
            })? {
                return Ok(found);
            }
        }
        visit.peer.written(bytes);
    }
}

/// Whether that was the last one, as `see` says of an entry.
fn take(outgoing: Outgoing, handle: &ConsumerHandle, mut see: impl FnMut(Position, Bytes) -> bool) -> Result<bool> {
    match outgoing {
        Outgoing::Deliver { entries, .. } => {
            handle.flow(entries.iter().map(|entry| entry.messages).sum());
            Ok(entries.into_iter().any(|entry| see(entry.position, entry.data)))
        }
        Outgoing::CloseConsumer { .. } => Err(Error::Closed("the topic was unloaded".into())),
        Outgoing::Close { reason } => Err(Error::Closed(reason.to_owned())),
        _ => Ok(false),
    }
}
