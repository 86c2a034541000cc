//! The broker's side of one connection: what it is told, and how much of it is still unwritten.

use bytes::Bytes;
use model::Position;
use smallvec::SmallVec;
use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicI64, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};
use tokio::sync::mpsc;

use crate::{error::Error, shard};

/// Unwritten bytes at which the broker stops dispatching to a connection; it goes on below half of it.
pub(crate) const OUTBOUND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// About what a receipt takes on the wire.
pub(crate) const RECEIPT_BYTES: usize = 40;

/// What consumers on one connection may have asked for and not yet got done, in words of memory; then nothing more is read from it.
const PENDING_WEIGHT_MAX: usize = 256 * 1024;

/// What the connection task is asked to write. One `Vec` carries all that one shard has to say in one wake-up.
#[derive(Debug)]
pub enum Outgoing {
    /// `count` receipts in order: sequence ids and entries both rise by one from the first. `highest` is the highest
    /// sequence id of the entry (same as `sequence_id` for a single message), and only given when `count` is 1.
    Receipts { producer_id: u64, sequence_id: u64, highest: u64, position: Position, count: u32 },
    /// CommandSendError.
    SendError { producer_id: u64, sequence_id: u64, error: Error },
    /// Messages for one consumer, in order.
    Deliver { consumer_id: u64, epoch: Option<u64>, entries: Vec<Delivery> },
    /// CommandAckResponse.
    AckResponse { consumer_id: u64, request_id: u64, error: Option<Error> },
    /// CommandActiveConsumerChange (Failover and Exclusive; to peers at protocol version 12 or later).
    ActiveConsumerChange { consumer_id: u64, active: bool },
    /// The producer got its turn (WaitForExclusive): a second PRODUCER_SUCCESS with `producer_ready = true`.
    ProducerReady { request_id: u64, created: ProducerCreated },
    /// CommandProducer failed after it had been told to wait.
    ProducerFailed { request_id: u64, error: Error },
    /// CommandCloseProducer from the broker: look up again and reconnect.
    CloseProducer { producer_id: u64 },
    /// CommandCloseConsumer from the broker.
    CloseConsumer { consumer_id: u64 },
    /// To a consumer that can ([`crate::NewConsumer::gives_back`]): what it has not begun of these entries, or of all when there are none
    /// here, others would begin. Each is answered, in this order: [`crate::Requests::give_back`], if there is something, and then
    /// [`crate::Requests::gave_back`].
    GiveBack { consumer_id: u64, positions: Vec<Position> },
    /// CommandReachedEndOfTopic.
    ReachedEndOfTopic { consumer_id: u64 },
    /// A ping, to see whether the peer is still there.
    Ping,
    /// Give up the connection.
    Close { reason: &'static str },
}

/// One entry on its way to a consumer.
#[derive(Debug)]
pub struct Delivery {
    /// Where it is stored.
    pub position: Position,
    /// How often it was delivered before.
    pub redelivery_count: u32,
    /// Permits it took: what its producer said it holds, less what is acknowledged.
    pub messages: u32,
    /// Words of the batch's unacknowledged messages (bit 1 = not acknowledged); empty when none is acknowledged.
    pub ack_set: SmallVec<[i64; 2]>,
    /// Headers and payload, as published.
    pub data: Bytes,
}

/// What a client learns of its new producer.
#[derive(Debug, Clone)]
pub struct ProducerCreated {
    /// Chosen by the client, or made by the broker.
    pub name: String,
    /// Highest sequence id stored for this name, -1 where unknown.
    pub last_sequence_id: i64,
    /// For exclusive access: the epoch that fences earlier ones.
    pub topic_epoch: Option<u64>,
    /// `false`: it waits for its turn; [`Outgoing::ProducerReady`] follows.
    pub ready: bool,
    /// Version of the schema it announced.
    pub schema_version: Option<Bytes>,
}

/// What is known of who is on the other side.
#[derive(Debug, Clone, Default)]
pub struct PeerInfo {
    /// `ip:port`, for stats and logs.
    pub address: String,
    /// `client_version` of CONNECT.
    pub client_version: String,
    /// Negotiated protocol version.
    pub protocol_version: i32,
}

/// One connection as the broker sees it; shared by the connection task and the shards.
#[derive(Debug)]
pub struct Peer {
    /// Unique in this process.
    pub id: u64,
    /// Who it is.
    pub info: PeerInfo,
    sender: mpsc::UnboundedSender<Vec<Outgoing>>,
    outbound_bytes: AtomicUsize,
    stalled: AtomicBool,
    /// Entries published and not receipted yet.
    pending_publishes: AtomicI64,
    /// What its consumers asked for and no shard has done yet, see [`crate::Requests`].
    pending_weight: AtomicUsize,
    /// How often something was read from it.
    times_heard: AtomicU64,
    shards: Arc<[shard::Handle]>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        info: PeerInfo,
        shards: Arc<[shard::Handle]>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Vec<Outgoing>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let peer = Self {
            id,
            info,
            sender,
            outbound_bytes: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            pending_publishes: AtomicI64::new(0),
            pending_weight: AtomicUsize::new(0),
            times_heard: AtomicU64::new(0),
            shards,
        };
        (Arc::new(peer), receiver)
    }

    /// Hands over what is to be written. A connection that is gone takes nothing, silently: its producers and
    /// consumers are being closed already.
    pub(crate) fn send(&self, batch: Vec<Outgoing>) {
        self.charge(batch.iter().map(Outgoing::bytes).sum());
        self.send_charged(batch);
    }

    /// The same for what was charged with its [`Outgoing::bytes`] before.
    pub(crate) fn send_charged(&self, batch: Vec<Outgoing>) {
        let _ = self.sender.send(batch);
    }

    /// Counts what is on its way to the connection.
    pub(crate) fn charge(&self, bytes: usize) {
        self.outbound_bytes.fetch_add(bytes, Relaxed);
    }

    /// Whether more messages may be dispatched to this connection. Remembers a "no", so that [`Peer::written`] wakes
    /// the dispatchers when there is room again.
    pub(crate) fn is_writable(&self) -> bool {
        if self.outbound_bytes.load(Relaxed) < OUTBOUND_BYTES_MAX {
            return true;
        }
        // The writer may have caught up between the two loads. Either it sees the mark, or this sees what it wrote: that
        // takes one order of all four accesses.
        self.stalled.swap(true, SeqCst);
        self.outbound_bytes.load(SeqCst) < OUTBOUND_BYTES_MAX / 2
    }

    /// The connection task wrote this much of what [`Outgoing::bytes`] counted.
    pub fn written(&self, bytes: usize) {
        let left = self.outbound_bytes.fetch_sub(bytes, SeqCst) - bytes;
        if left < OUTBOUND_BYTES_MAX / 2 && self.stalled.swap(false, SeqCst) {
            for shard in self.shards.iter() {
                shard.writable(self.id);
            }
        }
    }

    /// Bytes handed over and not yet written.
    pub fn outbound_bytes(&self) -> usize {
        self.outbound_bytes.load(Relaxed)
    }

    /// Entries published on this connection that have no receipt yet; the connection task stops reading at a bound.
    pub fn pending_publishes(&self) -> i64 {
        self.pending_publishes.load(Relaxed)
    }

    pub(crate) fn add_pending_publishes(&self, n: i64) {
        self.pending_publishes.fetch_add(n, Relaxed);
    }

    pub(crate) fn add_pending_weight(&self, weight: usize) {
        self.pending_weight.fetch_add(weight, Relaxed);
    }

    /// What was asked for is done; whether the connection may have waited for that.
    pub(crate) fn done_with(&self, weight: usize) -> bool {
        let before = self.pending_weight.fetch_sub(weight, Relaxed);
        before >= PENDING_WEIGHT_MAX && before - weight < PENDING_WEIGHT_MAX
    }

    /// Whether consumers on this connection asked for so much that nothing more should be read for now. When that is over, the
    /// connection is sent an empty batch.
    pub fn has_many_requests(&self) -> bool {
        self.pending_weight.load(Relaxed) >= PENDING_WEIGHT_MAX
    }

    /// Something was read from the connection.
    pub fn was_heard(&self) {
        self.times_heard.fetch_add(1, Relaxed);
    }

    pub(crate) fn times_heard(&self) -> u64 {
        self.times_heard.load(Relaxed)
    }

    /// Whether the connection task is still there.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Delivery {
    /// Its part of [`Outgoing::bytes`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len() + 50
    }
}

impl Outgoing {
    /// What counts against [`OUTBOUND_BYTES_MAX`]: about the bytes it takes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Receipts { count, .. } => RECEIPT_BYTES * *count as usize,
            Self::Deliver { entries, .. } => entries.iter().map(Delivery::bytes).sum(),
            _ => 64,
        }
    }
}
