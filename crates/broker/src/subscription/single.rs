//! Exclusive and Failover: one active consumer gets everything in order.
//!
//! Source: Pulsar's `AbstractDispatcherSingleActiveConsumer.pickAndScheduleActiveConsumer`.

use ledger::ManagedLedger;
use model::SubscriptionType;
use std::collections::BTreeMap;

use super::{READ_ENTRIES, Subscription};
use crate::{shard::Context, topic::Topic};

/// Points of one consumer on the ring that picks the active one of a topic that is no partition.
const RING_POINTS: u32 = 100;

impl Subscription {
    /// Picks the active consumer: by priority level, then by name; a partition takes the one of its index, another
    /// topic the one its name hashes to. Everyone is told when it changes, the one that joined in any case.
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
        let changed = self.active != Some(chosen);
        if changed {
            self.active = Some(chosen);
            self.rewind(ledger);
        }
        if self.kind == SubscriptionType::Failover {
            for consumer in &self.consumers {
                if changed || joined == Some(consumer.key) {
                    Topic::tell_active(cx, consumer, consumer.key == chosen);
                }
            }
        }
    }

    pub(super) fn dispatch_single(&mut self, ledger: &mut ManagedLedger, cx: &mut Context) -> bool {
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
            let mut entries = entries.into_iter();
            while let Some(entry) = entries.next() {
                self.deliver(ledger, cx, at, entry, 0);
                if !self.consumers[at].available() && entries.len() > 0 {
                    self.put_back(entries);
                    break;
                }
            }
        }
        false
    }
}
