//! Messages in chunks, until their last chunk is there.
//!
//! What they hold together is bounded. Chunks there is no room for are *set aside*: nothing is kept of them but where they are, and they
//! are given back when there is room again, or after a while. So are chunks that do not follow those before them. A message whose next
//! chunk does not come for long never comes. Pure: the caller knows the time.
//! Source: Pulsar's `ConsumerImpl.processMessageChunk`, whose bound is a number of messages (`maxPendingChunkedMessage`).

use bytes::{Bytes, BytesMut};
use client::entries::Opened;
use model::Position;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{mem::take, time::Duration};

/// Bytes of all messages that have begun, and of one.
const BYTES_MAX: usize = 128 << 20;
/// What a message costs besides.
const OVERHEAD: usize = 1024;
/// Chunks one message may have.
const CHUNKS_MAX: i32 = 10_000;
/// How long the next chunk may take, and how long chunks are set aside. Pulsar: `expireTimeOfIncompleteChunkedMessage`.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(crate) struct Chunks {
    begun: FxHashMap<String, Begun>,
    bytes: usize,
    /// Counts messages that begin.
    number: u64,
    aside: Aside,
    lost: Vec<Position>,
}

/// A message of which not all has come.
struct Begun {
    number: u64,
    parts: Vec<Bytes>,
    positions: Vec<Position>,
    bytes: usize,
    last_at: Duration,
}

#[derive(Default)]
struct Aside {
    messages: FxHashSet<String>,
    positions: Vec<Position>,
    since: Duration,
    /// For want of room, not of what comes before.
    wants_room: bool,
}

/// What time has done to entries that are chunks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// To be given back.
    pub again: Vec<Position>,
    /// Their message never comes.
    pub lost: Vec<Position>,
}

impl Chunks {
    /// Takes a chunk; with the last one returns the whole message, not decompressed, and where the others of it are.
    ///
    /// # Errors
    /// Why it is none; then it is no good to anybody.
    pub(crate) fn take(
        &mut self,
        position: Position,
        opened: Opened,
        (now, now_ms): (Duration, u64),
    ) -> Result<Option<(Opened, Vec<Position>)>, String> {
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
        let is_old = now_ms.saturating_sub(metadata.publish_time) > PATIENCE.as_millis() as u64;
        if self.aside.messages.contains(&uuid) {
            self.aside.positions.push(position);
            return Ok(None);
        }
        if chunk == 0 && !self.begun.contains_key(&uuid) {
            self.number += 1;
            self.bytes += OVERHEAD;
            let begun =
                Begun { number: self.number, parts: Vec::new(), positions: Vec::new(), bytes: OVERHEAD, last_at: now };
            self.begun.insert(uuid.clone(), begun);
        }
        let Some(begun) = self.begun.get_mut(&uuid) else {
            if is_old {
                return Err(format!("chunk {chunk} of {chunks} without those before it"));
            }
            // They may be on their way, to here or elsewhere.
            self.aside.put(uuid, [position], now);
            return Ok(None);
        };
        begun.last_at = now;
        if chunk < begun.parts.len() {
            // It came before: again the same entry, or sent twice.
            if !begun.positions.contains(&position) {
                begun.positions.push(position);
            }
            return Ok(None);
        }
        if chunk > begun.parts.len() {
            let positions = self.forget(&uuid);
            if is_old {
                self.lost.extend(positions);
                return Err(format!("chunk {chunk} of {chunks} without the one before it"));
            }
            self.aside.put(uuid, positions.into_iter().chain([position]), now);
            return Ok(None);
        }
        begun.bytes += payload.len();
        self.bytes += payload.len();
        begun.parts.push(payload);
        begun.positions.push(position);
        if begun.bytes > BYTES_MAX + OVERHEAD {
            let lost = self.forget(&uuid);
            self.give_up(lost);
            return Err(format!("a message of more than {BYTES_MAX} bytes in chunks"));
        }
        if chunk as i32 + 1 == chunks {
            let parts = take(&mut begun.parts);
            let mut positions = self.forget(&uuid);
            positions.retain(|at| *at != position);
            let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            metadata.num_chunks_from_msg = None;
            return Ok(Some((Opened { metadata, payload: whole.freeze() }, positions)));
        }
        self.make_room(now);
        Ok(None)
    }

    /// Entries of a message that is no good.
    pub(crate) fn give_up(&mut self, positions: Vec<Position>) {
        self.lost.extend(positions);
    }

    /// The youngest messages go while all together are too much; the oldest one stays.
    fn make_room(&mut self, now: Duration) {
        while self.bytes > BYTES_MAX && self.begun.len() > 1 {
            let youngest = self.begun.iter().max_by_key(|(_, begun)| begun.number).map(|(uuid, _)| uuid.clone());
            let Some(uuid) = youngest else { return };
            let positions = self.forget(&uuid);
            self.aside.put(uuid, positions, now);
            self.aside.wants_room = true;
        }
    }

    fn forget(&mut self, uuid: &str) -> Vec<Position> {
        let Some(begun) = self.begun.remove(uuid) else { return Vec::new() };
        self.bytes -= begun.bytes;
        begun.positions
    }

    /// What is to be given back now, and what is given up.
    pub(crate) fn past(&mut self, now: Duration) -> Past {
        let mut past = Past { lost: take(&mut self.lost), ..Past::default() };
        let old = |since: Duration| now.saturating_sub(since) >= PATIENCE;
        let has_room = self.aside.wants_room && self.bytes <= BYTES_MAX / 2;
        if !self.aside.positions.is_empty() && (has_room || old(self.aside.since)) {
            past.again = take(&mut self.aside).positions;
        }
        let late: Vec<String> =
            self.begun.iter().filter(|(_, begun)| old(begun.last_at)).map(|(uuid, _)| uuid.clone()).collect();
        for uuid in late {
            past.lost.extend(self.forget(&uuid));
        }
        past
    }

    /// When to ask that again.
    pub(crate) fn next(&self) -> Option<Duration> {
        if !self.lost.is_empty() {
            return Some(Duration::ZERO);
        }
        let aside = (!self.aside.positions.is_empty()).then_some(self.aside.since);
        let begun = self.begun.values().map(|begun| begun.last_at).min();
        aside.into_iter().chain(begun).min().map(|since| since + PATIENCE)
    }
}

impl Aside {
    fn put(&mut self, uuid: String, positions: impl IntoIterator<Item = Position>, now: Duration) {
        if self.positions.is_empty() {
            self.since = now;
        }
        self.messages.insert(uuid);
        self.positions.extend(positions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: (Duration, u64) = (Duration::from_secs(1000), 1_000_000);

    fn at(entry: i64) -> Position {
        Position::new(1, entry)
    }

    fn chunk(uuid: &str, chunk: i32, chunks: i32, payload: Bytes) -> Opened {
        let metadata = wire::proto::MessageMetadata {
            uuid: Some(uuid.into()),
            chunk_id: Some(chunk),
            num_chunks_from_msg: Some(chunks),
            publish_time: NOW.1,
            ..Default::default()
        };
        Opened { metadata, payload }
    }

    fn small(uuid: &str, number: i32, chunks: i32) -> Opened {
        chunk(uuid, number, chunks, Bytes::from(format!("{uuid}{number}")))
    }

    /// What became of chunks: whole messages, as text, and the entries they are in.
    fn taken(chunks: &mut Chunks, position: i64, opened: Opened) -> Option<(String, Vec<i64>)> {
        let (whole, others) = chunks.take(at(position), opened, NOW).unwrap()?;
        let text = String::from_utf8(whole.payload.to_vec()).unwrap();
        Some((text, others.iter().map(|at| at.entry).collect()))
    }

    #[test]
    fn chunks_of_several_messages_may_be_mixed_and_sent_twice() {
        let mut chunks = Chunks::default();
        for n in 0..100 {
            assert_eq!(taken(&mut chunks, n, small(&format!("m{n}-"), 0, 2)), None);
        }
        assert_eq!(taken(&mut chunks, 200, small("m7-", 0, 2)), None);
        assert_eq!(taken(&mut chunks, 201, small("m7-", 1, 2)), Some(("m7-0m7-1".into(), vec![7, 200])));
        assert_eq!(taken(&mut chunks, 202, small("m99-", 1, 2)), Some(("m99-0m99-1".into(), vec![99])));
    }

    #[test]
    fn what_does_not_follow_is_given_back_after_a_while() {
        let mut chunks = Chunks::default();
        assert_eq!(taken(&mut chunks, 1, small("a", 1, 3)), None);
        assert_eq!(taken(&mut chunks, 2, small("b", 0, 3)), None);
        assert_eq!(taken(&mut chunks, 3, small("b", 2, 3)), None);
        // All of a message, or its beginning would be here and its end elsewhere.
        assert_eq!(taken(&mut chunks, 4, small("a", 2, 3)), None);
        assert_eq!(chunks.past(NOW.0), Past::default());
        assert_eq!(chunks.next(), Some(NOW.0 + PATIENCE));
        let past = chunks.past(NOW.0 + PATIENCE);
        assert_eq!(past, Past { again: vec![at(1), at(2), at(3), at(4)], lost: Vec::new() });
        // What is as old as that and still has no beginning is no good.
        let old = (NOW.0, NOW.1 + 61_000);
        assert!(chunks.take(at(1), small("a", 1, 3), old).is_err());
    }

    #[test]
    fn a_message_that_does_not_go_on_is_given_up() {
        let mut chunks = Chunks::default();
        assert_eq!(taken(&mut chunks, 1, small("a", 0, 3)), None);
        assert_eq!(taken(&mut chunks, 2, small("a", 1, 3)), None);
        assert_eq!(chunks.past(NOW.0 + PATIENCE), Past { again: Vec::new(), lost: vec![at(1), at(2)] });
        assert_eq!((chunks.bytes, chunks.next()), (0, None));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_message_comes_first() {
        let mut chunks = Chunks::default();
        let large = Bytes::from(vec![0; 5 << 20]);
        for n in 0..20 {
            for (m, uuid) in ["a", "b", "c"].iter().enumerate() {
                let position = i64::from(n) * 10 + m as i64;
                assert!(chunks.take(at(position), chunk(uuid, n, 21, large.clone()), NOW).unwrap().is_none());
                assert!(chunks.bytes <= BYTES_MAX + large.len());
            }
        }
        assert!(chunks.past(NOW.0).again.is_empty(), "there is no room");
        let whole = chunks.take(at(999), chunk("a", 20, 21, large), NOW).unwrap();
        assert_eq!(whole.map(|(whole, others)| (whole.payload.len(), others.len())), Some((21 * (5 << 20), 20)));
        // The others come again from their beginning.
        let again = chunks.past(NOW.0).again;
        assert!(again.contains(&at(1)) && again.contains(&at(2)), "{again:?}");
        assert_eq!((chunks.bytes, chunks.begun.len()), (0, 0));
    }

    #[test]
    fn a_message_that_is_too_large_goes_with_all_its_chunks() {
        let mut chunks = Chunks::default();
        let large = Bytes::from(vec![0; 50 << 20]);
        assert!(chunks.take(at(1), chunk("a", 0, 9, large.clone()), NOW).unwrap().is_none());
        assert!(chunks.take(at(2), chunk("a", 1, 9, large.clone()), NOW).unwrap().is_none());
        assert!(chunks.take(at(3), chunk("a", 2, 9, large), NOW).is_err());
        assert_eq!(chunks.past(NOW.0).lost, [at(1), at(2), at(3)]);
        assert_eq!(chunks.bytes, 0);
    }

    #[test]
    fn garbage_is_an_error() {
        let mut chunks = Chunks::default();
        for (number, of) in [(3, 3), (-1, 3), (0, CHUNKS_MAX + 1)] {
            assert!(chunks.take(at(1), small("a", number, of), NOW).is_err(), "{number} of {of}");
        }
    }
}
