//! One consumer of a subscription: its permits and what it holds unacknowledged.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use crate::{peer::Peer, rate::Rate, requests::NewConsumer};

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
            blocked: false,
            passed_over: false,
            max_unacked: 0,
            epoch: request.epoch,
            sticky: request.key_shared.as_ref().map(|k| k.ranges.clone()).unwrap_or_default(),
            metadata: request.metadata.clone(),
            connected_since_ms: now_ms,
            last_acked_ms: 0,
            last_consumed_ms: 0,
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
            && self.peer.is_writable()
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
