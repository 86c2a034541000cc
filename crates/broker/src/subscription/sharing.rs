//! What consumers give back that they have not begun, so that others have something to do.
//!
//! Only those are asked that say they can ([`crate::NewConsumer::gives_back`]): the loop of a function's instance can. On Shared, when one
//! consumer has nothing to do while another one has been holding more than it works on; on Key_Shared, when one joins, for the keys that
//! are its own from then on. Each is answered once, also by who gives nothing back. Order within a key holds: what is given back is
//! delivered when all before it is acknowledged, and nothing of a key that is asked for is sent before the answer.

use ledger::ManagedLedger;
use model::Position;

use super::Subscription;
use crate::{peer::Outgoing, shard::Context};

/// For so long a consumer may hold what it does not work on while another one has nothing to do.
const HOLDS_MS: u64 = 50;

impl Subscription {
    /// Asks those who hold much for some of it when somebody has nothing to do; called when there is nothing more to send.
    pub(super) fn even_out(&mut self, cx: &mut Context) {
        if self.consumers.len() < 2 || self.reading || self.replay.reading {
            return;
        }
        if !self.consumers.iter().any(|c| c.held == 0 && c.available()) {
            return;
        }
        let mut next: Option<u64> = None;
        for consumer in self.consumers.iter_mut().filter(|c| c.gives_back && c.held > 1) {
            let due = consumer.holds_since_ms + HOLDS_MS;
            if due > cx.now_ms {
                next = Some(next.map_or(due, |at| at.min(due)));
            } else if !consumer.is_asked {
                consumer.is_asked = true;
                consumer.asks += 1;
                let consumer_id = consumer.consumer_id;
                cx.outbox.push(&consumer.peer, Outgoing::GiveBack { consumer_id, positions: Vec::new() });
            }
        }
        if let Some(at) = next
            && self.even_out_at.is_none_or(|armed| armed <= cx.now_ms)
        {
            self.even_out_at = Some(at);
            cx.delayed.insert((at, self.topic));
        }
    }

    /// Gives more room to consumers of functions that acknowledge nothing while they have all they may.
    pub(super) fn widen(&mut self, cx: &mut Context) {
        let mut next: Option<u64> = None;
        for consumer in self.consumers.iter_mut().filter(|c| c.permits > 0) {
            let Some(window) = &mut consumer.window else { continue };
            if window.doubles_at_ms().is_some_and(|at| at <= cx.now_ms) {
                window.double(cx.now_ms);
            }
            if let Some(at) = window.doubles_at_ms() {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        if let Some(at) = next
            && self.widen_at.is_none_or(|armed| armed <= cx.now_ms)
        {
            self.widen_at = Some(at);
            cx.delayed.insert((at, self.topic));
        }
    }

    /// Asks for what belongs to another consumer since one has joined.
    pub(super) fn ask_for_moved(&mut self, cx: &mut Context) {
        let Some(selector) = self.selector.as_ref().filter(|_| !self.allow_out_of_order) else { return };
        for consumer in self.consumers.iter_mut().filter(|c| c.gives_back && c.held > 1) {
            let moved = self.pending.iter().filter(|(_, p)| {
                p.consumer == consumer.key && selector.select(p.hash).is_some_and(|owner| owner != consumer.key)
            });
            let mut positions: Vec<Position> = Vec::new();
            for (&position, pending) in moved {
                positions.push(position);
                if let Some(holder) = self.holders.get_mut(&pending.hash) {
                    holder.asked = consumer.asks + 1;
                }
            }
            if !positions.is_empty() {
                consumer.asks += 1;
                let consumer_id = consumer.consumer_id;
                cx.outbox.push(&consumer.peer, Outgoing::GiveBack { consumer_id, positions });
            }
        }
    }

    /// A consumer has answered what it was asked first of all that it has not answered.
    pub(crate) fn gave_back(&mut self, key: u64) {
        if let Some(consumer) = self.consumer_mut(key) {
            consumer.answers = consumer.asks.min(consumer.answers + 1);
            self.replay.stirred = true;
        }
    }

    /// Takes back what a consumer has not begun. It does not count as a delivery.
    pub(crate) fn give_back_unbegun(&mut self, ledger: &ManagedLedger, key: u64, positions: &[Position]) {
        if self.kind.is_single_active() || !ledger.name().is_persistent() {
            return;
        }
        self.take_from(key, positions.iter().copied(), false);
    }

    /// Takes entries from a consumer that has them, to deliver them again.
    pub(super) fn take_from(&mut self, key: u64, positions: impl Iterator<Item = Position>, count: bool) {
        let (mut messages, mut entries, mut chunks) = (0, 0, 0);
        for position in positions {
            if self.pending.get(&position).is_some_and(|pending| pending.consumer == key)
                && let Some(pending) = self.give_back(position, count)
            {
                messages += i64::from(pending.messages);
                entries += 1;
                chunks += u32::from(pending.is_chunk);
            }
        }
        if let Some(consumer) = self.consumer_mut(key) {
            consumer.let_go(messages, entries, chunks);
        }
    }
}
