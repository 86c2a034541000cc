//! Messages in chunks, until their last chunk is there.
//!
//! What they hold together is bounded. Where there is no room for the chunks of a message nothing is kept of them but where they are:
//!
//! * On a subscription that consumers share they are *set aside*, and given back when there is room again, or after a while. So are chunks
//!   that do not follow those before them, which may be on their way, to here or elsewhere.
//! * Where one consumer gets all in order, nothing can be given back by itself, and what comes after a message must not overtake it: whoever
//!   tells messages apart by how far it has come would take it for one that was there before. So when the last chunk of such a message
//!   comes, those before it are read again beside the subscription, and all that follows waits for that.
//!
//! A message never comes whose next chunk is not there although much was published after its last one, or although nothing more came for
//! long. That this consumer asked for nothing does not count. Pure: the caller knows the time.
//! Source: Pulsar's `ConsumerImpl.processMessageChunk` and `removeExpireIncompleteChunkedMessages`, which bound the number of messages
//! (`maxPendingChunkedMessage`), and give up what came too slowly for whatever reason.

use bytes::{Bytes, BytesMut};
use client::entries::{self, Opened};
use model::Position;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    hash::{BuildHasher, RandomState},
    mem::take,
    time::Duration,
};

/// Bytes of all messages that have begun, and of one.
const BYTES_MAX: usize = 128 << 20;
/// What a message costs besides, and one more chunk of it.
const OVERHEAD: (usize, usize) = (1024, size_of::<Position>());
/// Chunks one message may have.
const CHUNKS_MAX: i32 = 10_000;
/// How long the next chunk may take, and how long chunks are set aside. Pulsar: `expireTimeOfIncompleteChunkedMessage`.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much later something may be published before the next chunk, by the clocks of producers, which may differ.
const LATE_MS: u64 = 10 * 60 * 1000;
/// Messages without a beginning that are known at a time.
const ORPHANS_MAX: usize = 10_000;

/// See the module.
pub(crate) struct Chunks {
    in_order: bool,
    bytes_max: usize,
    begun: FxHashMap<String, Begun>,
    /// Payload that is kept.
    bytes: usize,
    /// What messages cost besides.
    overhead: usize,
    /// Counts messages that begin.
    number: u64,
    aside: Aside,
    lost: Vec<Position>,
    time: Time,
}

/// A message of which not all has come.
struct Begun {
    number: u64,
    /// Empty when they are not kept.
    parts: Vec<Bytes>,
    is_kept: bool,
    /// Where its chunks are, in their order.
    positions: Vec<Position>,
    /// Where they are once more.
    twice: Vec<Position>,
    /// Payload, kept or not.
    size: usize,
    last_at: Duration,
    published_ms: u64,
}

impl Begun {
    fn overhead(&self, uuid: &str) -> usize {
        OVERHEAD.0 + uuid.len() + OVERHEAD.1 * (self.positions.len() + self.twice.len())
    }

    fn kept(&self) -> usize {
        if self.is_kept { self.size } else { 0 }
    }

    fn entries(self) -> Vec<Position> {
        self.positions.into_iter().chain(self.twice).collect()
    }
}

#[derive(Default)]
struct Aside {
    hasher: RandomState,
    messages: FxHashSet<u64>,
    positions: Vec<Position>,
    since: Duration,
    /// For want of room, not of what comes before.
    wants_room: bool,
    /// Messages without what comes before, and since when they are known as such.
    orphans: FxHashMap<u64, Duration>,
}

/// What tells waiting for a chunk from not having asked for it.
#[derive(Default)]
struct Time {
    /// When the last entry came, and the latest time at which one was published.
    heard_at: Duration,
    latest_ms: u64,
    is_starved: bool,
    /// Since when it is not.
    fed_at: Option<Duration>,
}

/// What a chunk makes.
pub(crate) enum Taken {
    /// It is not the last one, or was set aside.
    Nothing,
    /// A message, not decompressed, and where the others of it are.
    Whole(Opened, Vec<Position>),
    /// The last chunk of a message whose others are not here.
    Last(Last),
}

/// See [`Taken::Last`].
pub(crate) struct Last {
    opened: Opened,
    /// The others, in their order.
    positions: Vec<Position>,
    twice: Vec<Position>,
}

impl Last {
    /// Where the others are, in their order.
    pub(crate) fn others(&self) -> &[Position] {
        &self.positions
    }

    /// The message, with the others, and where all of them are.
    ///
    /// # Errors
    /// Why they do not make one.
    pub(crate) fn with(self, mut entries: FxHashMap<Position, Bytes>) -> (Result<Opened, String>, Vec<Position>) {
        let Self { opened: Opened { mut metadata, payload }, positions, twice } = self;
        let mut parts = Vec::with_capacity(positions.len() + 1);
        let mut failed = None;
        for position in &positions {
            match entries.remove(position).map(|entry| entries::open(*position, entry)) {
                Some(Ok(opened)) => parts.push(opened.payload),
                Some(Err(error)) => failed = Some(error.to_string()),
                None => failed = Some(format!("chunk {position} is not stored any more")),
            }
        }
        parts.push(payload);
        metadata.num_chunks_from_msg = None;
        let whole = failed.map_or_else(|| Ok(Opened { metadata, payload: joined(&parts) }), Err);
        (whole, positions.into_iter().chain(twice).collect())
    }
}

fn joined(parts: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

/// What time has done to entries that are chunks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// To be given back. Not where one consumer gets all in order.
    pub again: Vec<Position>,
    /// Their message never comes.
    pub lost: Vec<Position>,
}

impl Chunks {
    /// Of a subscription that consumers share, or of one where one gets all in order.
    pub(crate) fn new(in_order: bool) -> Self {
        Self {
            in_order,
            bytes_max: BYTES_MAX,
            begun: FxHashMap::default(),
            bytes: 0,
            overhead: 0,
            number: 0,
            aside: Aside::default(),
            lost: Vec::new(),
            time: Time::default(),
        }
    }

    /// With room for so much.
    #[cfg(test)]
    pub(crate) fn with_room(bytes_max: usize, in_order: bool) -> Self {
        Self { bytes_max, ..Self::new(in_order) }
    }

    /// All of it comes again.
    pub(crate) fn clear(&mut self) {
        *self = Self { bytes_max: self.bytes_max, time: take(&mut self.time), ..Self::new(self.in_order) };
    }

    /// An entry came, chunk or not, published then.
    pub(crate) fn heard(&mut self, (now, now_ms): (Duration, u64), published_ms: u64) {
        self.time.heard_at = now;
        self.time.latest_ms = self.time.latest_ms.max(published_ms.min(now_ms));
    }

    /// Whether nothing may come, since nothing is asked for.
    pub(crate) fn starves(&mut self, is_starved: bool) {
        if self.time.is_starved != is_starved {
            (self.time.is_starved, self.time.fed_at) = (is_starved, None);
        }
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// Why it is none; then it is no good to anybody.
    pub(crate) fn take(
        &mut self,
        position: Position,
        opened: Opened,
        (now, now_ms): (Duration, u64),
    ) -> Result<Taken, String> {
        let Opened { mut metadata, payload } = opened;
        let (chunks, chunk) = (metadata.num_chunks_from_msg(), metadata.chunk_id());
        if chunks > CHUNKS_MAX || !(0..chunks).contains(&chunk) {
            return Err(format!("chunk {chunk} of {chunks}"));
        }
        if usize::try_from(metadata.total_chunk_msg_size()).unwrap_or(0) > BYTES_MAX {
            return Err(format!("a message of more than {BYTES_MAX} bytes in chunks"));
        }
        let uuid = metadata.uuid().to_owned();
        let chunk = chunk as usize;
        if self.aside.has(&uuid) {
            self.aside.positions.push(position);
            return Ok(Taken::Nothing);
        }
        if chunk == 0 && !self.begun.contains_key(&uuid) {
            self.begin(&uuid, now);
        }
        let published = Duration::from_millis(now_ms.saturating_sub(metadata.publish_time));
        let Some(begun) = self.begun.get_mut(&uuid) else {
            return match self.is_hopeless(&uuid, published, now) {
                true => Err(format!("chunk {chunk} of {chunks} without those before it")),
                false => Ok(self.aside.put(&uuid, [position], now)),
            };
        };
        (begun.last_at, begun.published_ms) = (now, metadata.publish_time);
        let came = begun.positions.len();
        if chunk < came {
            // It came before: again the same entry, or sent twice.
            if !begun.positions.contains(&position) && !begun.twice.contains(&position) {
                begun.twice.push(position);
                self.overhead += OVERHEAD.1;
            }
            return Ok(Taken::Nothing);
        }
        if chunk > came {
            let positions = self.forget(&uuid).map(Begun::entries).unwrap_or_default();
            if self.is_hopeless(&uuid, published, now) {
                self.lost.extend(positions);
                return Err(format!("chunk {chunk} of {chunks} without the one before it"));
            }
            return Ok(self.aside.put(&uuid, positions.into_iter().chain([position]), now));
        }
        begun.size += payload.len();
        if begun.size > BYTES_MAX {
            begun.size -= payload.len();
            let lost = self.forget(&uuid).map(Begun::entries).unwrap_or_default();
            self.give_up(lost);
            return Err(format!("a message of more than {BYTES_MAX} bytes in chunks"));
        }
        if begun.is_kept {
            self.bytes += payload.len();
        }
        if chunk as i32 + 1 < chunks {
            if begun.is_kept {
                begun.parts.push(payload);
            }
            begun.positions.push(position);
            self.overhead += OVERHEAD.1;
            self.make_room(now);
            return Ok(Taken::Nothing);
        }
        let Some(mut begun) = self.forget(&uuid) else { return Ok(Taken::Nothing) };
        if !begun.is_kept {
            let Begun { positions, twice, .. } = begun;
            return Ok(Taken::Last(Last { opened: Opened { metadata, payload }, positions, twice }));
        }
        begun.parts.push(payload);
        metadata.num_chunks_from_msg = None;
        let whole = Opened { metadata, payload: joined(&begun.parts) };
        Ok(Taken::Whole(whole, begun.entries()))
    }

    fn begin(&mut self, uuid: &str, now: Duration) {
        self.number += 1;
        let begun = Begun {
            number: self.number,
            parts: Vec::new(),
            is_kept: true,
            positions: Vec::new(),
            twice: Vec::new(),
            size: 0,
            last_at: now,
            published_ms: 0,
        };
        self.overhead += begun.overhead(uuid);
        self.begun.insert(uuid.to_owned(), begun);
    }

    /// Whether what is missing before a chunk does not come any more: where all comes in order, it would be here.
    fn is_hopeless(&mut self, uuid: &str, published: Duration, now: Duration) -> bool {
        self.in_order || self.aside.orphan(uuid, now) >= PATIENCE && published >= PATIENCE
    }

    /// Entries of a message that is no good.
    pub(crate) fn give_up(&mut self, positions: Vec<Position>) {
        self.lost.extend(positions);
    }

    /// The youngest messages go while all together are too much; the oldest one stays.
    fn make_room(&mut self, now: Duration) {
        while self.in_order && self.bytes > self.bytes_max {
            let kept = self.begun.values_mut().filter(|begun| begun.is_kept && begun.size > 0);
            let Some(youngest) = kept.max_by_key(|begun| begun.number) else { break };
            self.bytes -= youngest.size;
            (youngest.parts, youngest.is_kept) = (Vec::new(), false);
        }
        let too_much = |of: &Self| match of.in_order {
            true => of.overhead > BYTES_MAX,
            false => of.overhead + of.bytes > of.bytes_max,
        };
        while too_much(self) && self.begun.len() > 1 {
            let youngest = self.begun.iter().max_by_key(|(_, begun)| begun.number).map(|(uuid, _)| uuid.clone());
            let Some((uuid, begun)) = youngest.and_then(|uuid| self.forget(&uuid).map(|begun| (uuid, begun))) else {
                return;
            };
            if self.in_order {
                // Not even where they are can be kept of so many.
                self.lost.extend(begun.entries());
            } else {
                self.aside.put(&uuid, begun.entries(), now);
                self.aside.wants_room = true;
            }
        }
    }

    fn forget(&mut self, uuid: &str) -> Option<Begun> {
        let begun = self.begun.remove(uuid)?;
        self.bytes -= begun.kept();
        self.overhead -= begun.overhead(uuid);
        Some(begun)
    }

    /// What is to be given back now, and what is given up.
    pub(crate) fn past(&mut self, now: Duration) -> Past {
        let mut past = Past { lost: take(&mut self.lost), ..Past::default() };
        let has_room = self.aside.wants_room && self.bytes + self.overhead <= self.bytes_max / 2;
        if !self.aside.positions.is_empty() && (has_room || now.saturating_sub(self.aside.since) >= PATIENCE) {
            past.again = self.aside.give_back();
        }
        let is_silent = self.time.is_silent(now);
        let is_late = |begun: &Begun| {
            let is_passed = self.time.latest_ms >= begun.published_ms.saturating_add(LATE_MS);
            now.saturating_sub(begun.last_at) >= PATIENCE && (is_silent || is_passed)
        };
        let late: Vec<_> =
            self.begun.iter().filter(|(_, begun)| is_late(begun)).map(|(uuid, _)| uuid.clone()).collect();
        for uuid in late {
            past.lost.extend(self.forget(&uuid).map(Begun::entries).unwrap_or_default());
        }
        past
    }

    /// When to ask that again.
    pub(crate) fn next(&self) -> Option<Duration> {
        if !self.lost.is_empty() {
            return Some(Duration::ZERO);
        }
        let aside = (!self.aside.positions.is_empty()).then(|| self.aside.since + PATIENCE);
        let begun = self.begun.values().next().and_then(|_| self.time.silent_at());
        aside.into_iter().chain(begun).min()
    }
}

impl Time {
    /// Whether nothing came for long although something was asked for.
    fn is_silent(&mut self, now: Duration) -> bool {
        !self.is_starved && {
            let fed_at = *self.fed_at.get_or_insert(now);
            now.saturating_sub(self.heard_at.max(fed_at)) >= PATIENCE
        }
    }

    /// When that is so, or to ask it for the first time.
    fn silent_at(&self) -> Option<Duration> {
        (!self.is_starved).then(|| self.fed_at.map_or(Duration::ZERO, |fed_at| fed_at.max(self.heard_at) + PATIENCE))
    }
}

impl Aside {
    fn has(&self, uuid: &str) -> bool {
        !self.messages.is_empty() && self.messages.contains(&self.hasher.hash_one(uuid))
    }

    fn put(&mut self, uuid: &str, positions: impl IntoIterator<Item = Position>, now: Duration) -> Taken {
        if self.positions.is_empty() {
            self.since = now;
        }
        self.messages.insert(self.hasher.hash_one(uuid));
        self.positions.extend(positions);
        Taken::Nothing
    }

    fn give_back(&mut self) -> Vec<Position> {
        self.messages.clear();
        self.wants_room = false;
        take(&mut self.positions)
    }

    /// How long it is known that something of this message is missing before what comes of it.
    fn orphan(&mut self, uuid: &str, now: Duration) -> Duration {
        if self.orphans.len() >= ORPHANS_MAX {
            // One that is forgotten has more time.
            self.orphans.retain(|_, since| now.saturating_sub(*since) < 4 * PATIENCE);
            if self.orphans.len() >= ORPHANS_MAX {
                self.orphans.clear();
            }
        }
        now.saturating_sub(*self.orphans.entry(self.hasher.hash_one(uuid)).or_insert(now))
    }
}

#[cfg(test)]
mod tests;
