//! Key_Shared: every message of a key goes to one consumer, in order.
//!
//! Order within a key holds by four rules: an entry whose consumer cannot take it waits in the replay queue; a later
//! entry of the same hash waits behind it; a hash that moved to another consumer waits until the old one has nothing of
//! it left unacknowledged; and a hash that came back to one who was asked to give some of it back waits for the answer.
//! Source: PIP-379, Pulsar's `PersistentStickyKeyDispatcherMultipleConsumers`; the last rule is for `sharing`.

use ledger::{Entry, ManagedLedger};
use model::Position;
use rustc_hash::FxHashSet;

use super::{Head, READ_ENTRIES, Subscription, replay::Fetch};
use crate::shard::Context;

/// Entries that may wait before reading ahead stops. Pulsar: `keySharedLookAheadMsgInReplayThresholdPerSubscription`.
const LOOK_AHEAD: usize = 20_000;
/// The same for each consumer. Pulsar: `keySharedLookAheadMsgInReplayThresholdPerConsumer`.
const LOOK_AHEAD_PER_CONSUMER: usize = 2_000;

/// Who has messages of a hash.
#[derive(Default)]
pub(super) struct Holder {
    pub(super) consumer: u64,
    /// How many entries.
    pub(super) entries: u32,
    /// The last time it was asked to give some of them back, see [`super::Consumer::asks`].
    pub(super) asked: u64,
}

impl Subscription {
    pub(super) fn dispatch_key_shared(&mut self, ledger: &mut ManagedLedger, cx: &mut Context) -> bool {
        if !self.consumers.iter().any(super::Consumer::available) {
            return false;
        }
        // What waits is looked at only when something about it changed: there may be many thousands of them.
        if self.replay.stirred || self.consumers.iter().any(|c| c.passed_over && c.available()) {
            self.replay_by_key(ledger, cx);
        }
        let look_ahead = LOOK_AHEAD.min(LOOK_AHEAD_PER_CONSUMER * self.consumers.len());
        let mut taken = 0;
        while self.replay.len() < look_ahead && self.consumers.iter().any(super::Consumer::available) {
            if taken >= 4 * READ_ENTRIES {
                return true;
            }
            let entries = self.next_entries(ledger, cx, READ_ENTRIES);
            if entries.is_empty() {
                return false;
            }
            taken += entries.len();
            for entry in entries {
                if ledger.is_acked(self.cursor, entry.position) {
                    continue;
                }
                let head = head_of(&entry);
                if self.delay(cx, &entry, head.deliver_at) {
                    continue;
                }
                if let Some(keys) = &mut self.keys {
                    keys.add(head.hash, entry.messages.max(1));
                }
                let behind = !self.allow_out_of_order && self.replay.has_hash(head.hash);
                match self.taker(head.hash).filter(|_| !behind) {
                    Some(at) => {
                        self.deliver(ledger, cx, at, entry, head);
                    }
                    None => self.replay.hold(entry, head.hash),
                }
            }
        }
        false
    }

    /// Delivers what waits, in order, as far as the consumers of the hashes can take it.
    fn replay_by_key(&mut self, ledger: &mut ManagedLedger, cx: &mut Context) {
        self.replay.stirred = false;
        self.consumers.iter_mut().for_each(|c| c.passed_over = false);
        let mut blocked = FxHashSet::default();
        let mut from = Position::EARLIEST;
        while let Some((position, known)) = self.replay.next_from(from) {
            from = position.next();
            if ledger.is_acked(self.cursor, position) {
                self.replay.remove(position);
                continue;
            }
            if known != 0 && (blocked.contains(&known) || self.taker(known).is_none()) {
                blocked.insert(known);
                continue;
            }
            match self.replay.fetch(ledger, position) {
                Fetch::Gone => continue,
                Fetch::Wait => break,
                Fetch::Read(request) => {
                    self.spawn_read(ledger, cx, request, true);
                    break;
                }
                Fetch::Ready => {}
            }
            let Some(entry) = self.replay.remove(position) else { continue };
            let head = head_of(&entry);
            let hash = head.hash;
            match self.taker(hash).filter(|_| self.allow_out_of_order || !blocked.contains(&hash)) {
                Some(at) => {
                    self.deliver(ledger, cx, at, entry, head);
                }
                None => {
                    blocked.insert(hash);
                    self.replay.hold(entry, hash);
                }
            }
        }
    }

    /// The consumer that may be sent a message of `hash` now. One that cannot take it is marked: what waits is looked
    /// through again when it can.
    fn taker(&mut self, hash: u32) -> Option<usize> {
        let key = self.selector.as_ref()?.select(hash)?;
        let at = self.consumers.iter().position(|c| c.key == key)?;
        let drained = self.allow_out_of_order
            || self.holders.get(&hash).is_none_or(|holder| {
                // What it has not given back yet comes before what it would be sent now.
                holder.consumer == key && holder.asked <= self.consumers[at].answers
            });
        if !self.consumers[at].available() {
            self.consumers[at].passed_over = true;
            return None;
        }
        drained.then_some(at)
    }
}

/// An entry that does not parse is treated as having no key.
fn head_of(entry: &Entry) -> Head {
    match wire::entry::metadata(&entry.data) {
        Ok(metadata) => Head::new(&metadata, wire::entry::sticky_hash(&metadata.sticky_key())),
        Err(_) => Head { hash: 1, ..Head::default() },
    }
}
