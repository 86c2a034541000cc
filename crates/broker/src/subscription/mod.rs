//! A subscription: a cursor of the topic's managed ledger, and the consumers that share what lies beyond it.
//!
//! `dispatch` decides and sends; it is called with the topic's ledger whenever there may be something to send: entries
//! became durable, permits or a read came back, a consumer left. Reads from disk are asked for and come back later.

mod buffer;
mod chunks;
mod consumer;
mod key_shared;
mod keys;
mod replay;
mod selector;
mod shared;
mod sharing;
mod single;
mod stats;
mod waiting;
mod window;

pub(crate) use consumer::Consumer;
pub use stats::rfc3339;
pub(crate) use waiting::{Finds, Oldest, published_ms};

use ledger::{CursorId, Entry, ManagedLedger, Read};
use model::{KeySharedMode, Position, SubscriptionType};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeSet;

use crate::{
    compaction,
    error::{Error, Result},
    peer::{Delivery, Outgoing},
    rate::Rate,
    requests::{Ack, NewConsumer},
    shard::{Context, Event},
};
use buffer::Buffer;
use chunks::Chunks;
use key_shared::Holder;
use keys::Keys;
use replay::Replay;
use selector::Selector;

/// Entries one read of the ledger asks for at most. Pulsar: `dispatcherMaxReadBatchSize`.
const READ_ENTRIES: usize = 256;
/// Bytes one read asks for at most. Pulsar: `dispatcherMaxReadSizeBytes`.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// How long a read that failed is not tried again; twice as long each time. Pulsar:
/// `dispatcherReadFailureBackoffInitialTimeInMs` and `dispatcherReadFailureBackoffMaxTimeInMs`.
const READ_RETRY_MS: std::ops::RangeInclusive<u64> = 15_000..=60_000;
/// For so long nobody is told the end of a topic again. The C++ client comes back after a tenth of a second each time it hears it;
/// Pulsar tells it again when its next read fails, which takes ever longer.
const TELL_END_AGAIN_MS: u64 = 10_000;

/// What was sent to a consumer and not acknowledged yet (Shared and Key_Shared).
#[derive(Clone, Copy)]
pub(crate) struct PendingAck {
    consumer: u64,
    /// Messages of the entry still unacknowledged.
    messages: u32,
    /// Hash of its key, 0 for Shared.
    hash: u32,
    /// Wall clock milliseconds, by its producer's clock.
    published_ms: u64,
    /// The lower half of the wall clock's milliseconds.
    sent_ms: u32,
    is_chunk: bool,
}

/// What a dispatcher reads of an entry.
#[derive(Clone, Copy, Default)]
struct Head {
    /// Hash of its key (Key_Shared), 0 where that does not matter.
    hash: u32,
    /// Wall clock milliseconds, by its producer's clock.
    published_ms: u64,
    /// When it asks to be delivered.
    deliver_at: Option<i64>,
    /// It is a part of a message.
    is_chunk: bool,
}

impl Head {
    fn new(metadata: &wire::entry::MetadataView<'_>, hash: u32) -> Self {
        Self {
            hash,
            published_ms: metadata.publish_time,
            deliver_at: metadata.deliver_at_time,
            is_chunk: metadata.num_chunks_from_msg.is_some_and(|chunks| chunks > 1),
        }
    }
}

/// See the module.
pub(crate) struct Subscription {
    id: u64,
    topic: u64,
    name: String,
    cursor: CursorId,
    durable: bool,
    kind: SubscriptionType,
    /// Its consumers pass over what compaction superseded.
    reads_compacted: bool,
    /// Whether somebody subscribed since it was loaded: `kind` says something from then on.
    used: bool,
    /// When consumers were last told that they have it all.
    end_told_ms: u64,
    consumers: Vec<Consumer>,
    /// When it was opened or its last consumer left (wall clock milliseconds).
    empty_since: u64,
    /// Key of the active consumer (Exclusive and Failover).
    active: Option<u64>,
    /// The active consumer changed and the one before is still there: until when (wall clock milliseconds) its
    /// acknowledgements are waited for, and its key (Failover).
    handover: Option<(u64, u64)>,
    /// When a new consumer that is active is told so (Failover; wall clock milliseconds).
    tell_active_at: Option<u64>,
    /// Where the next consumer's turn begins (Shared).
    turn: usize,
    /// Who has the first chunks of a message (Shared).
    chunks: Chunks,
    /// When it is looked again who has nothing to do, and who has too much (Shared; wall clock milliseconds).
    even_out_at: Option<u64>,
    /// When it is looked next whether one that has all it may should have more.
    widen_at: Option<u64>,
    /// The next entry to take from the ledger.
    read_position: Position,
    /// Read from disk and not dispatched; its first entry is at or after `read_position`.
    buffer: Buffer,
    /// A read is under way, or failed and waits for `retry_at`.
    reading: bool,
    /// The last entry that read may reach.
    reading_to: Position,
    /// When a read that failed is tried again (wall clock milliseconds), and how often reads failed in a row.
    retry_at: Option<u64>,
    failures: u32,
    /// Raised when what is being read is no longer wanted.
    generation: u64,
    fenced: bool,
    pending: FxHashMap<Position, PendingAck>,
    replay: Replay,
    redeliveries: FxHashMap<Position, u32>,
    /// Messages to be delivered later: due time (wall clock milliseconds) and position.
    delayed: BTreeSet<(u64, Position)>,
    /// What is not stored cannot wait.
    can_wait: bool,
    /// Messages may ask to be delivered later.
    delays: bool,
    unacked: i64,
    blocked: bool,
    selector: Option<Selector>,
    allow_out_of_order: bool,
    key_shared_mode: KeySharedMode,
    /// Who has messages of a hash: another consumer gets that hash only when nobody has (PIP-379).
    holders: FxHashMap<u32, Holder>,
    /// Which keys are frequent (Key_Shared).
    keys: Option<Box<Keys>>,
    /// The oldest entry that is not acknowledged, and when it was published, as last read from disk.
    oldest: Option<(Position, u64)>,
    msg_out: Rate,
    bytes_out: Rate,
    redelivered: Rate,
    expired: Rate,
    acked: Rate,
    dropped: Rate,
}

impl Subscription {
    pub(crate) fn new(
        (id, topic): (u64, u64),
        name: String,
        cursor: CursorId,
        durable: bool,
        ledger: &ManagedLedger,
        now_ms: u64,
    ) -> Self {
        let mut subscription = Self {
            id,
            topic,
            name,
            cursor,
            durable,
            kind: SubscriptionType::Exclusive,
            reads_compacted: false,
            used: false,
            end_told_ms: 0,
            consumers: Vec::new(),
            empty_since: now_ms,
            active: None,
            handover: None,
            tell_active_at: None,
            turn: 0,
            chunks: Chunks::default(),
            even_out_at: None,
            widen_at: None,
            read_position: Position::EARLIEST,
            buffer: Buffer::default(),
            reading: false,
            reading_to: Position::EARLIEST,
            retry_at: None,
            failures: 0,
            generation: 0,
            fenced: false,
            pending: FxHashMap::default(),
            replay: Replay::default(),
            redeliveries: FxHashMap::default(),
            delayed: BTreeSet::new(),
            can_wait: ledger.name().is_persistent(),
            delays: true,
            unacked: 0,
            blocked: false,
            selector: None,
            allow_out_of_order: false,
            key_shared_mode: KeySharedMode::AutoSplit,
            holders: FxHashMap::default(),
            keys: None,
            oldest: None,
            msg_out: Rate::default(),
            bytes_out: Rate::default(),
            redelivered: Rate::default(),
            expired: Rate::default(),
            acked: Rate::default(),
            dropped: Rate::default(),
        };
        subscription.rewind(ledger);
        subscription
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn cursor(&self) -> CursorId {
        self.cursor
    }

    pub(crate) fn durable(&self) -> bool {
        self.durable
    }

    /// Whether what is too old or too much is taken from its backlog. What compaction left is not.
    pub(crate) fn may_lose(&self) -> bool {
        self.durable && self.name != compaction::SUBSCRIPTION
    }

    /// Whether its consumers read what compaction left.
    pub(crate) fn reads_compacted(&self) -> bool {
        self.reads_compacted
    }

    /// Whether messages may ask to be delivered later. What waits already does so until its time comes, as in Pulsar.
    pub(crate) fn set_delays(&mut self, delays: bool) {
        self.delays = delays;
    }

    pub(crate) fn consumers(&self) -> &[Consumer] {
        &self.consumers
    }

    pub(crate) fn consumer(&self, key: u64) -> Option<&Consumer> {
        self.consumers.iter().find(|c| c.key == key)
    }

    fn consumer_mut(&mut self, key: u64) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|c| c.key == key)
    }

    pub(crate) fn has_consumers(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// Whether it is a reader's and that did not come back, after a seek for instance.
    pub(crate) fn is_abandoned(&self, now_ms: u64, after_ms: u64) -> bool {
        !self.durable && self.consumers.is_empty() && now_ms.saturating_sub(self.empty_since) >= after_ms
    }

    pub(crate) fn has_peer(&self, peer: u64) -> bool {
        self.consumers.iter().any(|c| c.peer.id == peer)
    }

    pub(crate) fn read_position(&self) -> Position {
        self.read_position
    }

    /// Closes the subscription to new consumers while it is moved; `false` when it is closed already.
    pub(crate) fn fence(&mut self) -> bool {
        !std::mem::replace(&mut self.fenced, true)
    }

    pub(crate) fn unfence(&mut self) {
        self.fenced = false;
    }

    /// Starts reading again at the first entry that is not acknowledged.
    pub(crate) fn rewind(&mut self, ledger: &ManagedLedger) {
        self.read_position = ledger.next_position(ledger.mark_delete(self.cursor));
        self.buffer.clear();
        self.reading = false;
        self.retry_at = None;
        self.generation += 1;
        self.replay.clear();
        self.delayed.clear();
        self.chunks.clear();
    }

    /// Adds a consumer to the subscription, which may have `max` (0 is no bound), or says why not.
    pub(crate) fn add_consumer(
        &mut self,
        cx: &mut Context,
        ledger: &mut ManagedLedger,
        consumer: Consumer,
        request: &NewConsumer,
        partition: Option<u32>,
        max: usize,
    ) -> Result<()> {
        if self.fenced {
            return Err(Error::NotReady("Subscription is fenced".into()));
        }
        if self.consumers.is_empty() {
            self.set_kind(request);
            self.rewind(ledger);
        } else if self.kind != request.kind {
            return Err(Error::ConsumerBusy(format!(
                "Subscription is of different type. Active subscription type of '{}' is different than the connecting \
                 consumer's type '{}'.",
                self.kind.name(),
                request.kind.name()
            )));
        }
        if self.kind == SubscriptionType::Exclusive && !self.consumers.is_empty() {
            return Err(Error::ConsumerBusy("Exclusive consumer is already connected".into()));
        }
        if max > 0 && self.consumers.len() >= max {
            return Err(Error::ConsumerBusy("Subscription reached max consumers limit".into()));
        }
        if let Some(selector) = &mut self.selector {
            let key_shared = request.key_shared.clone().unwrap_or_default();
            if key_shared.mode != self.key_shared_mode || key_shared.allow_out_of_order != self.allow_out_of_order {
                return Err(Error::ConsumerBusy(
                    "Subscription is of different type: the consumer's Key_Shared policy differs".into(),
                ));
            }
            selector.add(consumer.key, &consumer.name, &consumer.sticky)?;
            self.replay.stirred = true;
        }
        let key = consumer.key;
        if self.consumers.is_empty() {
            // Most have one.
            self.consumers.reserve_exact(1);
        }
        self.consumers.push(consumer);
        if self.kind.is_single_active() {
            self.pick_active(cx, ledger, partition, Some(key));
        } else {
            // Lower numbers come first; the order within a level is that of arrival.
            self.consumers.sort_by_key(|c| c.priority);
            self.ask_for_moved(cx);
        }
        Ok(())
    }

    fn set_kind(&mut self, request: &NewConsumer) {
        self.kind = request.kind;
        self.reads_compacted = request.read_compacted;
        self.used = true;
        self.active = None;
        self.handover = None;
        self.pending.clear();
        self.redeliveries.clear();
        self.holders.clear();
        self.unacked = 0;
        self.blocked = false;
        let key_shared = request.key_shared.clone().unwrap_or_default();
        self.key_shared_mode = key_shared.mode;
        self.allow_out_of_order = key_shared.allow_out_of_order;
        if request.kind == SubscriptionType::KeyShared {
            self.keys.get_or_insert_default();
        } else {
            self.keys = None;
        }
        self.selector = (request.kind == SubscriptionType::KeyShared).then(|| match key_shared.mode {
            KeySharedMode::AutoSplit => Selector::auto_split(),
            KeySharedMode::Sticky => Selector::sticky(),
        });
    }

    /// Removes a consumer; what it holds is delivered to the others, or again when somebody comes.
    pub(crate) fn remove_consumer(
        &mut self,
        cx: &mut Context,
        ledger: &ManagedLedger,
        key: u64,
        partition: Option<u32>,
    ) {
        let Some(at) = self.consumers.iter().position(|c| c.key == key) else { return };
        self.consumers.remove(at);
        let waited = self.chunks.forget(key);
        if let Some(selector) = &mut self.selector {
            selector.remove(key);
            self.replay.stirred = true;
        }
        if self.consumers.is_empty() {
            self.empty_since = cx.now_ms;
            self.active = None;
            self.handover = None;
            self.pending.clear();
            self.redeliveries.clear();
            self.holders.clear();
            self.unacked = 0;
            self.blocked = false;
            self.rewind(ledger);
        } else if self.kind.is_single_active() {
            // Whoever had the messages acknowledges nothing more: the next one need not wait.
            let had_them = self.handover.map_or(self.active, |(_, from)| Some(from));
            if had_them == Some(key) {
                self.active = None;
                self.handover = None;
            }
            self.pick_active(cx, ledger, partition, None);
        } else {
            let held: Vec<_> = self.pending.iter().filter(|(_, p)| p.consumer == key).map(|(&at, _)| at).collect();
            for position in held {
                self.give_back(position, false);
            }
            waited.into_iter().for_each(|position| self.replay.add(position, 0));
        }
    }

    /// Takes an entry from its consumer and queues it for another delivery.
    fn give_back(&mut self, position: Position, count: bool) -> Option<PendingAck> {
        let pending = self.pending.remove(&position)?;
        self.unacked -= i64::from(pending.messages);
        self.release_hash(pending.hash);
        if count {
            *self.redeliveries.entry(position).or_default() += 1;
        }
        self.replay.add(position, pending.hash);
        Some(pending)
    }

    /// `true` when nothing of the hash is held any more and something of it waits: its next owner may go on.
    /// Source: Pulsar's `DrainingHashesTracker.reduceRefCount`, which unblocks the hash.
    fn release_hash(&mut self, hash: u32) -> bool {
        let Some(holder) = self.holders.get_mut(&hash) else { return false };
        holder.entries -= 1;
        if holder.entries > 0 {
            return false;
        }
        self.holders.remove(&hash);
        let waits = self.replay.has_hash(hash);
        self.replay.stirred |= waits;
        waits
    }

    /// When the first delayed message falls due.
    pub(crate) fn first_due(&self) -> Option<u64> {
        self.delayed.first().map(|&(at, _)| at)
    }

    /// Tells every consumer to reconnect.
    pub(crate) fn disconnect_all(&mut self, ledger: &mut ManagedLedger, cx: &mut Context) {
        for consumer in std::mem::take(&mut self.consumers) {
            let consumer_id = consumer.consumer_id;
            cx.outbox.push(&consumer.peer, Outgoing::CloseConsumer { consumer_id });
        }
        self.empty_since = cx.now_ms;
        self.active = None;
        self.handover = None;
        self.selector = None;
        self.pending.clear();
        self.redeliveries.clear();
        self.holders.clear();
        self.unacked = 0;
        self.blocked = false;
        self.rewind(ledger);
    }

    /// More permits; `true` when the consumer is one of ours.
    pub(crate) fn flow(&mut self, key: u64, permits: u32, now_ms: u64) -> bool {
        let Some(consumer) = self.consumer_mut(key) else { return false };
        consumer.last_flow_ms = now_ms;
        if consumer.blocked {
            consumer.held_permits += i64::from(permits);
        } else {
            consumer.permits += i64::from(permits);
        }
        true
    }

    /// Acknowledges entries or batch indexes; `true` when somebody may be sent more because of it.
    pub(crate) fn ack(&mut self, ledger: &mut ManagedLedger, key: u64, ack: &Ack, now_ms: u64) -> bool {
        self.acked.add(ack.ids.len() as u64, now_ms);
        if let Some(consumer) = self.consumer_mut(key) {
            consumer.last_acked_ms = now_ms;
            consumer.acked.add(ack.ids.len() as u64, now_ms);
        }
        let mut freed = false;
        if ack.cumulative {
            // Clients do not send these for Shared and Key_Shared; what does is ignored, as in Pulsar.
            if self.kind.is_single_active()
                && let Some((position, set)) = ack.ids.last()
            {
                if set.is_empty() {
                    ledger.ack_cumulative(self.cursor, *position);
                } else {
                    ledger.ack_cumulative(self.cursor, ledger.previous_position(*position));
                    self.ack_part(ledger, *position, set, now_ms);
                }
            }
            return false;
        }
        for (position, set) in &ack.ids {
            freed |= match set.is_empty() {
                true => self.ack_whole(ledger, *position, now_ms),
                false => self.ack_part(ledger, *position, set, now_ms),
            };
        }
        freed
    }

    /// Whether an entry was sent to this consumer and is neither acknowledged nor given back, and `remaining`, where it has words,
    /// acknowledges something of it. Nobody has what is not stored, so anybody may acknowledge that.
    pub(crate) fn has(&self, ledger: &ManagedLedger, key: u64, position: Position, remaining: &[u64]) -> bool {
        if !ledger.name().is_persistent() {
            return true;
        }
        let sent = if self.kind.is_single_active() {
            // Who was active has its messages until the handover ends.
            let owner = self.handover.map_or(self.active, |(_, from)| Some(from));
            owner == Some(key) && position < self.read_position
        } else {
            self.pending.get(&position).is_some_and(|pending| pending.consumer == key)
        };
        if !sent || !ledger.contains(position) || ledger.is_acked(self.cursor, position) {
            return false;
        }
        let left = if remaining.is_empty() { None } else { ledger.ack_set(self.cursor, position) };
        let goes = |(n, word): (usize, &u64)| word & !remaining.get(n).copied().unwrap_or(0) != 0;
        left.is_none_or(|words| words.iter().enumerate().any(goes))
    }

    fn ack_whole(&mut self, ledger: &mut ManagedLedger, position: Position, now_ms: u64) -> bool {
        ledger.ack(self.cursor, position);
        self.redeliveries.remove(&position);
        self.replay.remove(position);
        self.chunks.remove(position);
        match self.pending.remove(&position) {
            Some(pending) => {
                let drained = self.release_hash(pending.hash);
                self.settle(&pending, pending.messages, true, now_ms) || drained
            }
            None => false,
        }
    }

    fn ack_part(&mut self, ledger: &mut ManagedLedger, position: Position, set: &[u64], now_ms: u64) -> bool {
        let ack = ledger.ack_batch(self.cursor, position, set.len() as u32 * 64, set);
        if ack.whole {
            return self.ack_whole(ledger, position, now_ms);
        }
        let Some(pending) = self.pending.get_mut(&position) else { return false };
        let left: u32 = ledger
            .ack_set(self.cursor, position)
            .map_or(pending.messages, |words| words.iter().map(|w| w.count_ones()).sum());
        let newly = pending.messages.saturating_sub(left);
        pending.messages -= newly;
        let pending = *pending;
        self.settle(&pending, newly, false, now_ms)
    }

    /// Takes acknowledged messages off a consumer's account, and unblocks it at half of the bound.
    fn settle(&mut self, pending: &PendingAck, messages: u32, whole: bool, now_ms: u64) -> bool {
        self.unacked -= i64::from(messages);
        let Some(consumer) = self.consumer_mut(pending.consumer) else { return self.blocked };
        if let Some(window) = &mut consumer.window {
            window.acked(messages, (now_ms as u32).wrapping_sub(pending.sent_ms), now_ms);
        }
        consumer.let_go(i64::from(messages), u32::from(whole), u32::from(whole && pending.is_chunk));
        consumer.blocked || consumer.permits > 0 || self.blocked
    }

    /// What consumers hold up to `position` was acknowledged without them. Source: Pulsar's `PendingAcksMap.removeAllUpTo`.
    fn forget_up_to(&mut self, position: Position) {
        let held: Vec<_> = self.pending.extract_if(|at, _| *at <= position).collect();
        for (_, pending) in held {
            self.unacked -= i64::from(pending.messages);
            self.release_hash(pending.hash);
            if let Some(consumer) = self.consumer_mut(pending.consumer) {
                consumer.let_go(i64::from(pending.messages), 1, u32::from(pending.is_chunk));
            }
        }
        self.redeliveries.retain(|at, _| *at > position);
    }

    fn update_blocked(&mut self, (per_consumer, per_subscription): (u32, u32)) {
        for consumer in &mut self.consumers {
            consumer.max_unacked = i64::from(per_consumer);
            if per_consumer > 0 && !consumer.blocked && consumer.unacked >= i64::from(per_consumer) {
                consumer.blocked = true;
            } else if consumer.blocked && (per_consumer == 0 || consumer.unacked <= i64::from(per_consumer / 2)) {
                consumer.blocked = false;
                consumer.permits += std::mem::take(&mut consumer.held_permits);
            }
        }
        if per_subscription > 0 && !self.blocked && self.unacked >= i64::from(per_subscription) {
            self.blocked = true;
        } else if self.blocked && (per_subscription == 0 || self.unacked <= i64::from(per_subscription / 2)) {
            self.blocked = false;
        }
    }

    /// CommandRedeliverUnacknowledgedMessages. On Exclusive and Failover it always means everything.
    pub(crate) fn redeliver(&mut self, ledger: &ManagedLedger, key: u64, positions: &[Position], epoch: Option<u64>) {
        let kind = self.kind;
        let Some(consumer) = self.consumer_mut(key) else { return };
        if let Some(epoch) = epoch {
            consumer.epoch = Some(epoch);
        }
        if kind.is_single_active() {
            if self.active == Some(key) {
                self.rewind(ledger);
            }
            return;
        }
        if positions.is_empty() {
            let all: Vec<_> = self.pending.iter().filter(|(_, p)| p.consumer == key).map(|(&at, _)| at).collect();
            self.take_from(key, all.into_iter(), true);
        } else {
            self.take_from(key, positions.iter().copied(), true);
        }
        if let Some(consumer) = self.consumer_mut(key) {
            // It asked for something: half of the bound would be long to wait for. Source: Pulsar's
            // `Consumer.redeliverUnacknowledgedMessages`.
            consumer.blocked = false;
            consumer.permits += std::mem::take(&mut consumer.held_permits);
        }
    }

    /// Sends what can be sent; `true` when there is more that one turn should not do. `bounds` are the unacknowledged
    /// messages that one consumer and the whole subscription may hold.
    /// `compacted` has not acknowledged what compaction left.
    pub(crate) fn dispatch(
        &mut self,
        ledger: &mut ManagedLedger,
        cx: &mut Context,
        bounds: (u32, u32),
        compacted: Option<CursorId>,
    ) -> bool {
        if self.consumers.is_empty() || self.fenced {
            return false;
        }
        self.retry(cx.now_ms);
        if self.kind.is_single_active() {
            return self.dispatch_single(ledger, cx, compacted.filter(|_| self.reads_compacted));
        }
        // A reader may hold as much as it likes. Source: Pulsar's `Consumer`, `maxUnackedMessages`.
        let bounds = if self.durable { bounds } else { (0, bounds.1) };
        self.update_blocked(bounds);
        if self.blocked {
            return false;
        }
        self.due(cx);
        self.widen(cx);
        let more = if self.kind == SubscriptionType::KeyShared {
            self.dispatch_key_shared(ledger, cx)
        } else {
            self.dispatch_shared(ledger, cx)
        };
        if !more && self.kind == SubscriptionType::Shared {
            self.even_out(cx);
        }
        self.widen(cx);
        self.update_blocked(bounds);
        more
    }

    /// Moves delayed messages that fell due to the replay queue, and arms the timer for the next.
    fn due(&mut self, cx: &mut Context) {
        while let Some(&(at, position)) = self.delayed.first()
            && at <= cx.now_ms
        {
            self.delayed.pop_first();
            self.replay.add(position, 0);
        }
        if let Some(&(at, _)) = self.delayed.first() {
            cx.delayed.insert((at, self.topic));
        }
    }

    /// The next entries in order: from what was read from disk, else from the tail cache. Asks for a read when they are
    /// only on disk. Entries that are acknowledged are passed over.
    fn next_entries(&mut self, ledger: &mut ManagedLedger, cx: &Context, max: usize) -> Vec<Entry> {
        let max = max.min(READ_ENTRIES);
        if !self.buffer.is_empty() {
            let taken = self.buffer.take(max);
            if let Some(last) = taken.last() {
                self.read_position = ledger.next_position(last.position);
            }
            self.read_ahead(ledger, cx);
            return taken;
        }
        while !self.reading {
            match ledger.read(self.read_position, max, READ_BYTES) {
                Read::Entries(entries) => {
                    if let Some(last) = entries.last() {
                        self.read_position = ledger.next_position(last.position);
                    }
                    return entries;
                }
                Read::CaughtUp => break,
                Read::Later(request) => match self.unacked_from(ledger, self.read_position) {
                    at if at > self.read_position => self.read_position = at,
                    _ => self.spawn_read(ledger, cx, request, false),
                },
            }
        }
        Vec::new()
    }

    /// What is acknowledged need not be read: the next position that is not, or the end.
    fn unacked_from(&self, ledger: &ManagedLedger, from: Position) -> Position {
        let end = || ledger.next_position(ledger.last_confirmed());
        ledger.first_unacked(self.cursor, from).unwrap_or_else(end)
    }

    /// Reads what follows the buffer while that is being sent, unless there is enough in it.
    fn read_ahead(&mut self, ledger: &mut ManagedLedger, cx: &Context) {
        if self.reading || self.buffer.len() >= READ_ENTRIES / 2 || self.buffer.bytes() >= READ_BYTES {
            return;
        }
        let mut from = self.buffer.last().map_or(self.read_position, |e| ledger.next_position(e.position));
        loop {
            match ledger.read(from, READ_ENTRIES, READ_BYTES) {
                Read::Entries(entries) => return self.buffer.extend(entries),
                Read::CaughtUp => return,
                Read::Later(request) => match self.unacked_from(ledger, from) {
                    at if at > from => from = at,
                    _ => return self.spawn_read(ledger, cx, request, false),
                },
            }
        }
    }

    fn spawn_read(&mut self, ledger: &ManagedLedger, cx: &Context, request: ledger::ReadRequest, replay: bool) {
        if replay {
            self.replay.reading = true;
        } else {
            self.reading = true;
            self.reading_to = ledger.last_confirmed();
        }
        let (handle, topic, subscription, generation) = (cx.handle.clone(), self.topic, self.id, self.generation);
        tokio::spawn(async move {
            let result = request.run().await;
            handle.send(Event::Read { topic, subscription, generation, replay, result });
        });
    }

    /// Puts entries that could not be sent back in front.
    fn put_back(&mut self, entries: impl DoubleEndedIterator<Item = Entry>) {
        for entry in entries.rev() {
            self.read_position = entry.position;
            self.buffer.push_front(entry);
        }
    }

    /// A read came back.
    pub(crate) fn read_done(
        &mut self,
        ledger: &mut ManagedLedger,
        cx: &mut Context,
        generation: u64,
        replay: bool,
        result: ledger::Result<Vec<Entry>>,
    ) {
        if generation != self.generation {
            return;
        }
        let error = match result {
            Ok(entries) => {
                self.failures = 0;
                if replay {
                    return self.replay_read(entries);
                }
                self.fresh_read(ledger, entries);
                // The disk goes on while these are sent.
                if !self.buffer.is_empty() && self.consumers.iter().any(|c| c.permits > 0) {
                    self.read_ahead(ledger, cx);
                }
                return;
            }
            Err(error) => error,
        };
        tracing::error!(subscription = %self.name, position = %self.read_position, %error, "read failed");
        match error {
            // A damaged file took all that this read could have found: it is passed over, like a gap within a read.
            ledger::Error::Lost(_) if replay => {
                self.replay.reading = false;
                self.replay.lost();
            }
            ledger::Error::Lost(_) if self.buffer.is_empty() => {
                self.reading = false;
                self.read_position = self.read_position.max(ledger.next_position(self.reading_to));
            }
            // Tried again later. Source: Pulsar's `PersistentDispatcherMultipleConsumers.readEntriesFailed`.
            _ => {
                let wait = READ_RETRY_MS.start().saturating_mul(1 << self.failures.min(8)).min(*READ_RETRY_MS.end());
                self.failures += 1;
                let at = cx.now_ms + wait;
                *(if replay { &mut self.replay.retry_at } else { &mut self.retry_at }) = Some(at);
                cx.delayed.insert((at, self.topic));
            }
        }
    }

    fn fresh_read(&mut self, ledger: &ManagedLedger, entries: Vec<Entry>) {
        self.reading = false;
        if entries.is_empty() {
            // What we asked for was trimmed meanwhile.
            self.read_position = self.read_position.max(ledger.first_position());
        } else {
            self.buffer.extend(entries);
        }
    }

    fn replay_read(&mut self, entries: Vec<Entry>) {
        self.replay.reading = false;
        let lost = self.replay.read(entries);
        if lost > 0 {
            tracing::error!(subscription = %self.name, lost, "entries to be delivered again are no longer stored");
        }
    }

    /// Reads that failed may be tried again when their time has come.
    fn retry(&mut self, now_ms: u64) {
        if self.retry_at.is_some_and(|at| at <= now_ms) {
            self.retry_at = None;
            self.reading = false;
        }
        if self.replay.retry_at.is_some_and(|at| at <= now_ms) {
            self.replay.retry_at = None;
            self.replay.reading = false;
            self.replay.stirred = true;
        }
    }

    /// Sends one entry and keeps the accounts. `false` when the entry is acknowledged and nothing was sent.
    fn deliver(&mut self, ledger: &ManagedLedger, cx: &mut Context, at: usize, entry: Entry, head: Head) -> bool {
        if ledger.is_acked(self.cursor, entry.position) {
            self.redeliveries.remove(&entry.position);
            return false;
        }
        let mut messages = entry.messages.max(1);
        let mut ack_set: SmallVec<[i64; 2]> = SmallVec::new();
        if let Some(words) = ledger.ack_set(self.cursor, entry.position) {
            ack_set.extend(words.iter().map(|&w| w as i64));
            messages = words.iter().map(|w| w.count_ones()).sum::<u32>().min(messages);
        }
        // What is not stored cannot be delivered again, so nobody keeps account of it.
        let individual = !self.kind.is_single_active() && ledger.name().is_persistent();
        let redelivery_count = if individual && !self.redeliveries.is_empty() {
            self.redeliveries.get(&entry.position).copied().unwrap_or(0)
        } else {
            0
        };
        let bytes = entry.data.len() as u64;
        let consumer = &mut self.consumers[at];
        consumer.permits -= i64::from(messages);
        consumer.last_consumed_ms = cx.now_ms;
        consumer.msg_out.add(u64::from(messages), cx.now_ms);
        consumer.bytes_out.add(bytes, cx.now_ms);
        self.msg_out.add(u64::from(messages), cx.now_ms);
        self.bytes_out.add(bytes, cx.now_ms);
        if redelivery_count > 0 {
            consumer.redelivered.add(u64::from(messages), cx.now_ms);
            self.redelivered.add(u64::from(messages), cx.now_ms);
        }
        if individual {
            consumer.took(messages, head.is_chunk, cx.now_ms);
            self.unacked += i64::from(messages);
            let Head { hash, published_ms, is_chunk, .. } = head;
            let (consumer, sent_ms) = (consumer.key, cx.now_ms as u32);
            let pending = PendingAck { consumer, messages, hash, published_ms, sent_ms, is_chunk };
            self.pending.insert(entry.position, pending);
            if hash != 0 {
                let holder = self.holders.entry(hash).or_default();
                holder.consumer = consumer;
                holder.entries += 1;
            }
        }
        let consumer = &self.consumers[at];
        let delivery = Delivery { position: entry.position, redelivery_count, messages, ack_set, data: entry.data };
        cx.outbox.deliver(&consumer.peer, consumer.consumer_id, consumer.message_epoch(), delivery);
        true
    }

    /// Forgets, and counts, what no consumer could take of a topic that is not persistent.
    /// Source: Pulsar's `NonPersistentDispatcherMultipleConsumers.sendMessages`.
    pub(crate) fn drop_rest(&mut self, ledger: &mut ManagedLedger, now_ms: u64) {
        let mut dropped = self.replay.messages();
        self.replay.clear();
        dropped += self.buffer.take(usize::MAX).iter().map(|entry| u64::from(entry.messages)).sum::<u64>();
        while let Read::Entries(entries) = ledger.read(self.read_position, READ_ENTRIES, READ_BYTES) {
            let Some(last) = entries.last() else { break };
            self.read_position = last.position.next();
            dropped += entries.iter().map(|entry| u64::from(entry.messages)).sum::<u64>();
        }
        self.read_position = ledger.next_position(ledger.last_confirmed());
        if dropped > 0 {
            self.dropped.add(dropped, now_ms);
        }
    }

    /// Tells consumers of a terminated topic that they have acknowledged it all. Not before: a client that is told with
    /// messages at hand drops them, and the C++ client takes it for an invalid message and connects anew, each time.
    /// Source: `PersistentSubscription.topicTerminated` and `acknowledgeMessage`.
    pub(crate) fn notify_end(&mut self, ledger: &ManagedLedger, cx: &mut Context) {
        // What came from other shards may be durable and not known here yet.
        if ledger.backlog(self.cursor) > 0 || ledger.last_confirmed() < ledger.last_position() {
            return;
        }
        // Those that come back because they were told are not told at once again, but in a later round.
        if self.consumers.iter().all(|c| c.told_end) || cx.now_ms < self.end_told_ms.saturating_add(TELL_END_AGAIN_MS) {
            return;
        }
        self.end_told_ms = cx.now_ms;
        for consumer in self.consumers.iter_mut().filter(|c| !c.told_end) {
            consumer.told_end = true;
            let consumer_id = consumer.consumer_id;
            cx.outbox.push(&consumer.peer, Outgoing::ReachedEndOfTopic { consumer_id });
        }
    }

    /// When a message asks to be delivered later, and that is still to come: remembers it and returns `true`.
    fn delay(&mut self, cx: &mut Context, entry: &Entry, deliver_at: Option<i64>) -> bool {
        if !self.can_wait || !self.delays {
            return false;
        }
        let Some(at) = deliver_at.and_then(|at| u64::try_from(at).ok()).filter(|&at| at > cx.now_ms) else {
            return false;
        };
        self.delayed.insert((at, entry.position));
        // The others are armed one by one as they come first.
        if self.delayed.first() == Some(&(at, entry.position)) {
            cx.delayed.insert((at, self.topic));
        }
        true
    }
}
