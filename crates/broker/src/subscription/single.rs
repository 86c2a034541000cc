//! Exclusive and Failover: one active consumer gets everything in order.
//!
//! Source: Pulsar's `AbstractDispatcherSingleActiveConsumer.pickAndScheduleActiveConsumer`.

use ledger::{CursorId, Entry, ManagedLedger};
use model::SubscriptionType;
use std::collections::BTreeMap;

use super::{Consumer, Head, READ_ENTRIES, Subscription};
use crate::{shard::Context, topic::Topic};

/// Points of one consumer on the ring that picks the active one of a topic that is no partition.
const RING_POINTS: u32 = 100;

impl Subscription {
    /// Picks the active consumer: by priority level, then by name; a partition takes the one of its index, another
    /// topic the one its name hashes to. Everyone is told when it changes, the one that joined in any case. On Failover
    /// the change waits while the one before is still there and holds messages, see `waits_for_handover`.
    pub(super) fn pick_active(
        &mut self,
        cx: &mut Context,
        ledger: &ManagedLedger,
        partition: Option<u32>,
        joined: Option<u64>,
    ) {
        self.consumers.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        let Some(first) = self.consumers.first() else {
            self.active = None;
            return;
        };
        let level = self.consumers.iter().take_while(|c| c.priority == first.priority).count();
        let index = match partition {
            Some(partition) => partition as usize % level,
            None if level == 1 => 0,
            None => {
                let mut ring = BTreeMap::new();
                for (n, consumer) in self.consumers[..level].iter().enumerate() {
                    for point in 0..RING_POINTS {
                        ring.insert(wire::entry::murmur3_32(format!("{}{point}", consumer.name).as_bytes()), n);
                    }
                }
                let hash = wire::entry::murmur3_32(ledger.name().to_string().as_bytes());
                ring.range(hash..).next().or_else(|| ring.iter().next()).map_or(0, |(_, &n)| n)
            }
        };
        let chosen = self.consumers[index].key;
        let previous = self.active.replace(chosen);
        let mut tell_all = false;
        match self.handover {
            // Back to the one that has the messages: nobody was told anything.
            Some((_, from)) if from == chosen => self.handover = None,
            Some(_) => {}
            None if previous == Some(chosen) => {}
            None => match previous.filter(|_| self.kind == SubscriptionType::Failover && self.has_sent(ledger)) {
                Some(from) => {
                    let due = cx.now_ms + cx.config.active_consumer_failover_delay.as_millis() as u64;
                    self.handover = Some((due, from));
                    cx.delayed.insert((due, self.topic));
                }
                None => {
                    self.rewind(ledger);
                    tell_all = true;
                }
            },
        }
        let delay = cx.config.active_consumer_failover_delay.as_millis() as u64;
        if tell_all && joined == Some(chosen) && self.kind == SubscriptionType::Failover && delay > 0 {
            // The Go client knows a consumer only some time after it was told that it is subscribed, and forgets what
            // it hears before. Pulsar tells after the same delay, and holds back the messages until then.
            let at = cx.now_ms + delay;
            self.tell_active_at = Some(at);
            cx.delayed.insert((at, self.topic));
            return;
        }
        let waits = self.handover.is_some();
        self.tell_who_is_active(cx, |c| tell_all || joined == Some(c.key) && !(waits && c.key == chosen));
    }

    /// Whether something was sent that is not acknowledged.
    fn has_sent(&self, ledger: &ManagedLedger) -> bool {
        let first = ledger.next_position(ledger.mark_delete(self.cursor));
        ledger.first_unacked(self.cursor, first).is_some_and(|at| at < self.read_position)
    }

    fn tell_who_is_active(&self, cx: &mut Context, whom: impl Fn(&Consumer) -> bool) {
        if self.kind == SubscriptionType::Failover {
            for consumer in self.consumers.iter().filter(|c| whom(c)) {
                Topic::tell_active(cx, consumer, self.active == Some(consumer.key));
            }
        }
    }

    /// Whether the active consumer has to wait for the acknowledgements of the one before it, which would be sent to it
    /// again otherwise. When the time is up, everyone is told who is active, and it begins with what is left.
    /// Source: Pulsar's `PersistentDispatcherSingleActiveConsumer.scheduleReadOnActiveConsumer`.
    fn waits_for_handover(&mut self, ledger: &ManagedLedger, cx: &mut Context) -> bool {
        let Some((due, _)) = self.handover else { return false };
        if cx.now_ms < due {
            return true;
        }
        self.handover = None;
        self.tell_active_at = None;
        self.rewind(ledger);
        self.tell_who_is_active(cx, |_| true);
        false
    }

    pub(super) fn dispatch_single(
        &mut self,
        ledger: &mut ManagedLedger,
        cx: &mut Context,
        compacted: Option<CursorId>,
    ) -> bool {
        if self.waits_for_handover(ledger, cx) {
            return false;
        }
        if self.tell_active_at.take_if(|at| *at <= cx.now_ms).is_some() {
            self.tell_who_is_active(cx, |_| true);
        }
        let Some(at) = self.consumers.iter().position(|c| Some(c.key) == self.active) else { return false };
        let mut sent = 0;
        while self.consumers[at].available() {
            if sent >= 4 * READ_ENTRIES {
                return true;
            }
            let max = usize::try_from(self.consumers[at].permits).unwrap_or(1);
            let entries = self.next_entries(ledger, cx, max);
            if entries.is_empty() {
                return false;
            }
            sent += entries.len();
            if let Some(compacted) = compacted {
                self.pass_over_superseded(ledger, cx, compacted, &entries);
            }
            let mut entries = entries.into_iter();
            while let Some(entry) = entries.next() {
                if !self.consumers[at].reads(&entry) {
                    continue;
                }
                self.deliver(ledger, cx, at, entry, Head::default());
                if !self.consumers[at].available() && entries.len() > 0 {
                    self.put_back(entries);
                    break;
                }
            }
        }
        false
    }

    /// What compaction superseded is acknowledged, as if the consumer had read it.
    fn pass_over_superseded(
        &self,
        ledger: &mut ManagedLedger,
        cx: &mut Context,
        compacted: CursorId,
        entries: &[Entry],
    ) {
        for entry in entries {
            if ledger.is_acked(compacted, entry.position) {
                ledger.ack(self.cursor, entry.position);
            } else if let Some(left) = ledger.ack_set(compacted, entry.position) {
                ledger.ack_batch(self.cursor, entry.position, entry.messages, &left);
            }
        }
        if ledger.acks_dirty() {
            cx.acks_dirty(self.topic, false);
        }
    }
}
