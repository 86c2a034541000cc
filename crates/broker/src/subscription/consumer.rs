//! One consumer of a subscription: its permits and what it holds unacknowledged.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use super::window::Window;
use crate::{peer::Peer, rate::Rate, requests::NewConsumer};

/// Chunks a consumer may hold, or as many as messages.
const CHUNKS_MAX: i64 = 10_000;

/// What consumers of Pulsar's instances say they are. Source: `InstanceUtils.getProperties`, the same in Python and Go.
const OF_FUNCTIONS: [&str; 2] = ["pulsar-function", "pulsar-sink"];

/// See the module.
pub(crate) struct Consumer {
    pub(crate) key: u64,
    pub(crate) consumer_id: u64,
    pub(crate) peer: Arc<Peer>,
    pub(crate) name: String,
    pub(crate) priority: i32,
    /// Messages it may still be sent; a batch may drive this below zero.
    pub(crate) permits: i64,
    /// Permits that came while it was blocked on unacknowledged messages.
    pub(crate) held_permits: i64,
    /// Messages sent and not acknowledged (Shared and Key_Shared).
    pub(crate) unacked: i64,
    /// Entries of these.
    pub(crate) held: u32,
    /// Those of them that are chunks: it can acknowledge none before it has the last.
    chunks: u32,
    /// Since when it has more than one entry, wall clock milliseconds.
    pub(crate) holds_since_ms: u64,
    /// It gives back what it has not begun, if it is asked to.
    pub(crate) gives_back: bool,
    /// It was, and has been sent nothing since.
    pub(crate) is_asked: bool,
    /// How often it was asked, and how often it has answered: in the same order.
    pub(super) asks: u64,
    pub(super) answers: u64,
    /// How much it may hold, if it is a function's.
    pub(super) window: Option<Window>,
    /// It reached `max_unacked`; cleared when half of that is acknowledged.
    pub(crate) blocked: bool,
    /// Something waits that it could not take when it was looked at (Key_Shared).
    pub(crate) passed_over: bool,
    /// 0 is no bound.
    pub(crate) max_unacked: i64,
    /// Raised by the client with each redelivery of everything; messages carry it.
    pub(crate) epoch: Option<u64>,
    pub(crate) sticky: Vec<RangeInclusive<u32>>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) connected_since_ms: u64,
    pub(crate) last_acked_ms: u64,
    pub(crate) last_consumed_ms: u64,
    /// When it last asked for messages.
    pub(crate) last_flow_ms: u64,
    pub(crate) msg_out: Rate,
    pub(crate) bytes_out: Rate,
    pub(crate) redelivered: Rate,
    pub(crate) acked: Rate,
    /// It was told that a terminated topic has nothing more.
    pub(crate) told_end: bool,
}

impl Consumer {
    pub(crate) fn new(key: u64, peer: Arc<Peer>, request: &NewConsumer, now_ms: u64) -> Self {
        Self {
            key,
            consumer_id: request.consumer_id,
            peer,
            name: request.name.clone(),
            priority: request.priority_level,
            permits: 0,
            held_permits: 0,
            unacked: 0,
            held: 0,
            chunks: 0,
            holds_since_ms: now_ms,
            gives_back: request.gives_back,
            is_asked: false,
            asks: 0,
            answers: 0,
            window: (!request.gives_back && is_of_function(&request.metadata)).then(|| Window::new(now_ms)),
            blocked: false,
            passed_over: false,
            max_unacked: 0,
            epoch: request.epoch,
            sticky: request.key_shared.as_ref().map(|k| k.ranges.clone()).unwrap_or_default(),
            metadata: request.metadata.clone(),
            connected_since_ms: now_ms,
            last_acked_ms: 0,
            last_consumed_ms: 0,
            last_flow_ms: 0,
            msg_out: Rate::default(),
            bytes_out: Rate::default(),
            redelivered: Rate::default(),
            acked: Rate::default(),
            told_end: false,
        }
    }

    /// Whether a dispatcher may send it something.
    pub(crate) fn available(&self) -> bool {
        self.permits > 0
            && !self.blocked
            && (self.max_unacked == 0 || self.unacked < self.max_unacked)
            && self.window.as_ref().is_none_or(|window| !window.is_full())
            && self.peer.is_writable()
    }

    /// Whether an entry is in the hash ranges it reads (Exclusive): without any, all are. Source: Pulsar's
    /// `PersistentDispatcherSingleActiveConsumer.internalReadEntriesComplete`.
    pub(super) fn reads(&self, entry: &ledger::Entry) -> bool {
        if self.sticky.is_empty() {
            return true;
        }
        let metadata = wire::entry::metadata(&entry.data).unwrap_or_default();
        let hash = wire::entry::sticky_hash(&metadata.sticky_key());
        self.sticky.iter().any(|range| range.contains(&hash))
    }

    /// How much it may be sent of messages in chunks that it has begun. It can acknowledge none of that before it has the last chunk, so
    /// what it holds does not count; no message is begun by one that is not [`Self::available`].
    pub(super) fn permits_for_chunks(&self) -> i64 {
        if !self.peer.is_writable() {
            return 0;
        }
        let room = match self.max_unacked {
            0 => i64::MAX,
            max => max.max(CHUNKS_MAX) - i64::from(self.chunks),
        };
        (self.permits + self.held_permits).min(room)
    }

    /// It was sent an entry (Shared and Key_Shared).
    pub(super) fn took(&mut self, messages: u32, is_chunk: bool, now_ms: u64) {
        self.unacked += i64::from(messages);
        self.held += 1;
        self.chunks += u32::from(is_chunk);
        self.is_asked = false;
        if self.held == 2 {
            self.holds_since_ms = now_ms;
        }
        self.look_at_window();
    }

    /// It has acknowledged or given back so much.
    pub(super) fn let_go(&mut self, messages: i64, entries: u32, chunks: u32) {
        self.unacked -= messages;
        self.held = self.held.saturating_sub(entries);
        self.chunks = self.chunks.saturating_sub(chunks);
        self.look_at_window();
    }

    fn look_at_window(&mut self) {
        if let Some(window) = &mut self.window {
            window.holds(self.unacked - i64::from(self.chunks));
        }
    }

    /// Whether it keeps another consumer out: any does where that wants to be alone, else one that has some of its hash
    /// ranges.
    pub(crate) fn is_in_the_way(&self, ranges: Option<&[RangeInclusive<u32>]>) -> bool {
        let overlaps = |a: &RangeInclusive<u32>, b: &RangeInclusive<u32>| a.start() <= b.end() && b.start() <= a.end();
        ranges.is_none_or(|ranges| ranges.iter().any(|a| self.sticky.iter().any(|b| overlaps(a, b))))
    }

    /// The epoch as messages carry it: only where the client uses epochs.
    pub(crate) fn message_epoch(&self) -> Option<u64> {
        self.epoch
    }
}

fn is_of_function(metadata: &BTreeMap<String, String>) -> bool {
    let application = metadata.get("application").is_some_and(|name| OF_FUNCTIONS.contains(&name.as_str()));
    application && metadata.contains_key("instance_id")
}
