//! Shared: each entry goes to one of the consumers, turn by turn, those with the lowest priority number first.
//!
//! Source: Pulsar's `PersistentDispatcherMultipleConsumers` and `AbstractDispatcherMultipleConsumers.getNextConsumer`.

use ledger::{Entry, ManagedLedger};
use model::Position;
use wire::entry::MetadataView;

use super::{Head, READ_ENTRIES, Subscription, replay::Fetch};
use crate::shard::Context;

/// Messages one consumer gets before it is the next one's turn. Pulsar: `dispatcherMaxRoundRobinBatchSize`.
const ROUND_ROBIN: i64 = 20;

impl Subscription {
    /// The consumer whose turn it is: the next one available in the best priority level that has any.
    fn next_consumer(&self) -> Option<usize> {
        let n = self.consumers.len();
        let level = self.consumers.iter().filter(|c| c.available()).map(|c| c.priority).min()?;
        (0..n)
            .map(|step| (self.turn + step) % n)
            .find(|&at| self.consumers[at].priority == level && self.consumers[at].available())
    }

    pub(super) fn dispatch_shared(&mut self, ledger: &mut ManagedLedger, cx: &mut Context) -> bool {
        self.replay_chunks();
        let mut sent = 0;
        // What was given back is shared out among all who can take some.
        let takers = self.consumers.iter().filter(|c| c.available()).count().max(1);
        let share = i64::try_from(self.replay.len().div_ceil(takers)).unwrap_or(i64::MAX).max(1);
        while let Some(at) = self.next_consumer() {
            if sent >= 4 * READ_ENTRIES {
                return true;
            }
            let mut turn = self.consumers[at].permits.min(ROUND_ROBIN);
            if self.replay.len() > 0 {
                turn = turn.min(share);
            }
            let max = usize::try_from(turn).unwrap_or(1);
            let (entries, fresh) = match self.replayed(ledger, cx, max) {
                // New ones do not take the place of those that are being read to be delivered again. Source: Pulsar's
                // `PersistentDispatcherMultipleConsumers.readMoreEntries`.
                entries if entries.is_empty() && self.replay.is_on_its_way() => return false,
                entries if entries.is_empty() && self.chunks.are_many() => return false,
                entries if entries.is_empty() => (self.next_entries(ledger, cx, max), true),
                entries => (entries, false),
            };
            if entries.is_empty() {
                return false;
            }
            sent += entries.len();
            let mut entries = entries.into_iter();
            while let Some(entry) = entries.next() {
                let metadata = wire::entry::metadata(&entry.data).unwrap_or_default();
                if fresh && self.delay(cx, &entry, metadata.deliver_at_time) {
                    continue;
                }
                let messages = i64::from(entry.messages.max(1));
                let head = Head::new(&metadata, 0);
                let to = if head.is_chunk { self.chunk_taker(&metadata, entry.position, at) } else { Some(at) };
                let Some(to) = to else {
                    if !self.can_wait {
                        self.dropped.add(1, cx.now_ms);
                    }
                    continue;
                };
                if self.deliver(ledger, cx, to, entry, head) && to == at {
                    turn -= messages;
                    // Whoever got nothing, because there was nothing or it was part of another's message, is still the next.
                    self.turn = (at + 1) % self.consumers.len();
                }
                if (turn <= 0 || !self.consumers[at].available()) && entries.len() > 0 {
                    if fresh {
                        self.put_back(entries);
                    } else {
                        entries.for_each(|entry| self.replay.hold(entry, 0));
                    }
                    break;
                }
            }
        }
        false
    }

    /// Who gets a chunk: the one that has those before it, else the one whose turn it is. `None`: it has no permits, or an earlier chunk
    /// waits for some.
    fn chunk_taker(&mut self, metadata: &MetadataView<'_>, position: Position, at: usize) -> Option<usize> {
        let Some(part) = self.chunks.part(metadata) else { return Some(at) };
        let pending = &self.pending;
        let holds = |consumer, first| pending.get(&first).is_some_and(|pending| pending.consumer == consumer);
        let Some(owner) = self.chunks.owner(part, position, self.consumers[at].key, holds) else { return Some(at) };
        let to = self.consumers.iter().position(|c| c.key == owner)?;
        if self.chunks.is_behind(part, position) || self.consumers[to].permits_for_chunks() <= 0 {
            if self.can_wait {
                self.chunks.wait(position, part, owner);
            }
            return None;
        }
        self.chunks.sent(part);
        Some(to)
    }

    /// What waited for permits that are there now is delivered again: where it is stored, it is read again.
    fn replay_chunks(&mut self) {
        // What is on its way has the permits.
        if self.chunks.waiting() > 0 && !self.replay.is_on_its_way() {
            let permits = self.consumers.iter().map(|c| (c.key, c.permits_for_chunks())).collect();
            self.chunks.ready(permits).into_iter().for_each(|position| self.replay.add(position, 0));
        }
    }

    /// Entries waiting for another delivery, in order.
    fn replayed(&mut self, ledger: &mut ManagedLedger, cx: &Context, max: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut from = Position::EARLIEST;
        while entries.len() < max
            && let Some((position, _)) = self.replay.next_from(from)
        {
            from = position.next();
            if ledger.is_acked(self.cursor, position) {
                self.replay.remove(position);
                continue;
            }
            match self.replay.fetch(ledger, position) {
                Fetch::Ready => entries.extend(self.replay.remove(position)),
                Fetch::Gone => {}
                Fetch::Wait => break,
                Fetch::Read(request) => {
                    self.spawn_read(ledger, cx, request, true);
                    break;
                }
            }
        }
        entries
    }
}
