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
mod tests {
    use super::*;

    const NOW: (Duration, u64) = (Duration::from_secs(1000), 1_000_000);
    const LATER: (Duration, u64) =
        (Duration::from_secs(1000 + PATIENCE.as_secs()), 1_000_000 + PATIENCE.as_millis() as u64);

    fn at(entry: i64) -> Position {
        Position::new(1, entry)
    }

    fn metadata(uuid: &str, chunk: i32, chunks: i32) -> wire::proto::MessageMetadata {
        wire::proto::MessageMetadata {
            uuid: Some(uuid.into()),
            chunk_id: Some(chunk),
            num_chunks_from_msg: Some(chunks),
            publish_time: NOW.1,
            ..Default::default()
        }
    }

    fn chunk(uuid: &str, chunk: i32, chunks: i32, payload: Bytes) -> Opened {
        Opened { metadata: metadata(uuid, chunk, chunks), payload }
    }

    fn text(uuid: &str, number: i32) -> String {
        format!("{uuid}{number}")
    }

    fn small(uuid: &str, number: i32, chunks: i32) -> Opened {
        chunk(uuid, number, chunks, text(uuid, number).into())
    }

    fn whole((opened, others): (Opened, Vec<Position>)) -> (String, Vec<i64>) {
        (String::from_utf8(opened.payload.to_vec()).unwrap(), others.iter().map(|at| at.entry).collect())
    }

    /// What became of chunks: whole messages, as text, and the entries they are in.
    fn taken(chunks: &mut Chunks, position: i64, opened: Opened) -> Option<(String, Vec<i64>)> {
        match chunks.take(at(position), opened, NOW).unwrap() {
            Taken::Whole(opened, others) => Some(whole((opened, others))),
            Taken::Nothing => None,
            Taken::Last(last) => panic!("wants {:?}", last.others()),
        }
    }

    fn is_nothing(taken: Result<Taken, String>) -> bool {
        matches!(taken, Ok(Taken::Nothing))
    }

    #[test]
    fn chunks_of_several_messages_may_be_mixed_and_sent_twice() {
        let mut chunks = Chunks::new(false);
        for n in 0..100 {
            assert_eq!(taken(&mut chunks, n, small(&format!("m{n}-"), 0, 2)), None);
        }
        assert_eq!(taken(&mut chunks, 200, small("m7-", 0, 2)), None);
        assert_eq!(taken(&mut chunks, 7, small("m7-", 0, 2)), None);
        assert_eq!(taken(&mut chunks, 201, small("m7-", 1, 2)), Some(("m7-0m7-1".into(), vec![7, 200])));
        assert_eq!(taken(&mut chunks, 202, small("m99-", 1, 2)), Some(("m99-0m99-1".into(), vec![99])));
        assert_eq!(chunks.begun.len(), 98);
        (0..100).for_each(|n| drop(chunks.forget(&format!("m{n}-"))));
        assert_eq!((chunks.bytes, chunks.overhead), (0, 0));
    }

    #[test]
    fn what_does_not_follow_is_given_back_after_a_while() {
        let mut chunks = Chunks::new(false);
        assert_eq!(taken(&mut chunks, 1, small("a", 1, 3)), None);
        assert_eq!(taken(&mut chunks, 2, small("b", 0, 3)), None);
        assert_eq!(taken(&mut chunks, 3, small("b", 2, 3)), None);
        // All of a message, or its beginning would be here and its end elsewhere.
        assert_eq!(taken(&mut chunks, 4, small("a", 2, 3)), None);
        assert_eq!(chunks.past(NOW.0), Past::default());
        assert_eq!(chunks.next(), Some(LATER.0));
        let past = chunks.past(LATER.0);
        assert_eq!(past, Past { again: vec![at(1), at(2), at(3), at(4)], lost: Vec::new() });
        // What is as old as that, and came without a beginning then as well, is no good.
        assert!(chunks.take(at(1), small("a", 1, 3), LATER).is_err());
    }

    #[test]
    fn what_was_published_long_ago_may_still_come_after_its_end() {
        let mut chunks = Chunks::new(false);
        assert!(is_nothing(chunks.take(at(2), small("a", 1, 2), LATER)));
        // Its beginning was on its way.
        assert!(is_nothing(chunks.take(at(1), small("a", 0, 2), LATER)));
        let again = chunks.past(LATER.0 + PATIENCE).again;
        assert_eq!(again, [at(2), at(1)]);
        assert_eq!(taken(&mut chunks, 1, small("a", 0, 2)), None);
        assert_eq!(taken(&mut chunks, 2, small("a", 1, 2)), Some(("a0a1".into(), vec![1])));
    }

    #[test]
    fn where_all_comes_in_order_what_does_not_follow_never_comes() {
        let mut chunks = Chunks::new(true);
        assert!(chunks.take(at(1), small("a", 1, 3), NOW).is_err());
        assert!(is_nothing(chunks.take(at(2), small("b", 0, 3), NOW)));
        assert!(chunks.take(at(3), small("b", 2, 3), NOW).is_err());
        assert_eq!(chunks.past(NOW.0), Past { again: Vec::new(), lost: vec![at(2)] });
    }

    #[test]
    fn a_message_that_does_not_go_on_is_given_up() {
        let mut chunks = Chunks::new(false);
        assert_eq!(taken(&mut chunks, 1, small("a", 0, 3)), None);
        assert_eq!(taken(&mut chunks, 2, small("a", 1, 3)), None);
        chunks.heard(NOW, NOW.1);
        chunks.past(NOW.0);
        assert_eq!(chunks.next(), Some(LATER.0));
        assert_eq!(chunks.past(LATER.0), Past { again: Vec::new(), lost: vec![at(1), at(2)] });
        assert_eq!((chunks.bytes, chunks.overhead, chunks.next()), (0, 0, None));
    }

    #[test]
    fn a_message_waits_while_nothing_is_asked_for_or_what_comes_is_not_much_later() {
        let mut chunks = Chunks::new(false);
        assert_eq!(taken(&mut chunks, 1, small("a", 0, 2)), None);
        chunks.starves(true);
        assert_eq!((chunks.next(), chunks.past(LATER.0 * 2)), (None, Past::default()));
        chunks.starves(false);
        assert_eq!((chunks.past(LATER.0 * 2), chunks.next()), (Past::default(), Some(LATER.0 * 2 + PATIENCE)));
        // A backlog of others: all of it was published soon after.
        let mut now = (LATER.0 * 2, LATER.1 * 2);
        for _ in 0..100 {
            now.0 += PATIENCE / 2;
            chunks.heard(now, NOW.1 + LATE_MS - 1);
            assert_eq!(chunks.past(now.0), Past::default());
        }
        chunks.heard((now.0, NOW.1 + LATE_MS), u64::MAX);
        assert_eq!(chunks.past(now.0).lost, [at(1)]);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_message_comes_first() {
        let mut chunks = Chunks::new(false);
        let large = Bytes::from(vec![0; 5 << 20]);
        for n in 0..20 {
            for (m, uuid) in ["a", "b", "c"].iter().enumerate() {
                let position = i64::from(n) * 10 + m as i64;
                assert!(is_nothing(chunks.take(at(position), chunk(uuid, n, 21, large.clone()), NOW)));
                assert!(chunks.bytes <= BYTES_MAX + large.len());
            }
        }
        assert!(chunks.past(NOW.0).again.is_empty(), "there is no room");
        let Ok(Taken::Whole(whole, others)) = chunks.take(at(999), chunk("a", 20, 21, large), NOW) else { panic!() };
        assert_eq!((whole.payload.len(), others.len()), (21 * (5 << 20), 20));
        // The others come again from their beginning.
        let again = chunks.past(NOW.0).again;
        assert!(again.contains(&at(1)) && again.contains(&at(2)), "{again:?}");
        assert_eq!((chunks.bytes, chunks.overhead, chunks.begun.len()), (0, 0, 0));
    }

    #[test]
    fn where_all_comes_in_order_a_message_is_there_with_its_last_chunk_whether_or_not_there_was_room() {
        let mut chunks = Chunks::with_room(128 << 10, true);
        let large = |uuid: &str, n: i32| Bytes::from(text(uuid, n).into_bytes().repeat(2 << 10));
        for n in 0..20 {
            for (m, uuid) in ["a", "b", "c"].iter().enumerate() {
                let position = i64::from(n) * 10 + m as i64;
                assert!(is_nothing(chunks.take(at(position), chunk(uuid, n, 21, large(uuid, n)), NOW)));
                assert!(chunks.bytes <= (128 << 10) + (6 << 10), "{}", chunks.bytes);
            }
        }
        assert_eq!(chunks.past(NOW.0), Past::default());
        // The youngest one ends first.
        let Ok(Taken::Last(last)) = chunks.take(at(500), small("c", 20, 21), NOW) else { panic!("there was room") };
        let wanted: Vec<_> = (0..20).map(|n| at(n * 10 + 2)).collect();
        assert_eq!(last.others(), wanted);
        let entry = |n| wire::entry::encode_entry(&metadata("c", n, 21), &large("c", n));
        let entries = (0..20).map(|n| (at(i64::from(n) * 10 + 2), entry(n))).collect();
        let (whole, all) = last.with(entries);
        let bytes: Vec<u8> = (0..20).flat_map(|n| large("c", n)).chain(*b"c20").collect();
        assert!(whole.unwrap().payload == bytes);
        assert_eq!(all, wanted);
        let Ok(Taken::Whole(..)) = chunks.take(at(501), small("a", 20, 21), NOW) else { panic!("the oldest was kept") };
        let Ok(Taken::Last(last)) = chunks.take(at(502), small("b", 20, 21), NOW) else { panic!("there was room") };
        let (whole, all) = last.with(FxHashMap::default());
        assert!(whole.is_err() && all.len() == 20, "they are stored no more");
        assert_eq!((chunks.bytes, chunks.overhead), (0, 0));
    }

    #[test]
    fn a_message_that_is_too_large_goes_with_all_its_chunks() {
        for in_order in [false, true] {
            let mut chunks = Chunks::new(in_order);
            let large = Bytes::from(vec![0; 50 << 20]);
            assert!(is_nothing(chunks.take(at(1), chunk("a", 0, 9, large.clone()), NOW)));
            assert!(is_nothing(chunks.take(at(2), chunk("a", 1, 9, large.clone()), NOW)));
            assert!(chunks.take(at(3), chunk("a", 2, 9, large), NOW).is_err());
            assert_eq!(chunks.past(NOW.0).lost, [at(1), at(2)]);
            assert_eq!((chunks.bytes, chunks.overhead), (0, 0));
        }
    }

    #[test]
    fn names_and_places_are_bounded_as_well() {
        for in_order in [false, true] {
            let mut chunks = Chunks::new(in_order);
            for n in 0..200 {
                let uuid = n.to_string().repeat(1 << 19);
                assert!(is_nothing(chunks.take(at(n), small(&uuid, 0, 2), NOW)));
            }
            assert!(chunks.overhead <= BYTES_MAX, "{}", chunks.overhead);
            let Past { again, lost } = chunks.past(LATER.0 - Duration::from_secs(1));
            assert!(again.is_empty() && lost.is_empty() != in_order && chunks.aside.positions.is_empty() == in_order);
        }
    }

    #[test]
    fn garbage_is_an_error() {
        let mut chunks = Chunks::new(false);
        for (number, of) in [(3, 3), (-1, 3), (0, CHUNKS_MAX + 1)] {
            assert!(chunks.take(at(1), small("a", number, of), NOW).is_err(), "{number} of {of}");
        }
    }
}
