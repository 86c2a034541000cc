//! From delivered entries to messages, and from messages that are done with to entries that are: for whoever is a consumer to a broker.
//!
//! A batch is acknowledged message by message, and given back whole: when what is left of it was refused, so that nothing which is
//! still being worked on is delivered twice. A message in chunks comes when its last chunk is there.

use bytes::Bytes;
use client::{
    entries::{self, Ack, Batches, Opened},
    hot::Delivery,
};
use model::{Position, TopicName};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{sync::Arc, time::Duration};

use crate::chunks::Chunks;
pub use crate::chunks::Past;
use crate::message::{InputId, Message, MessageId};

/// What an acknowledgement says of one entry: what of it is *not* acknowledged.
pub type Words = SmallVec<[u64; 2]>;

/// What one consumer has received.
pub struct Intake {
    id: InputId,
    topic: Arc<TopicName>,
    name: Arc<str>,
    partition: i32,
    batches: Batches,
    /// Of each batch that is here: messages that are not acknowledged, and of these those refused.
    left: FxHashMap<Position, (u32, u32)>,
    chunks: Chunks,
    /// The other entries of a message in chunks, by its last.
    earlier: FxHashMap<Position, Vec<Position>>,
    /// Permits that entries took and that are for no message of theirs, to be given again; below 0 when they brought more than they took.
    owed: i64,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It is read.
    Read,
    /// It cannot be read and never will be; why.
    Corrupt(String),
    /// It is encrypted.
    Encrypted,
}

impl Intake {
    /// Of a consumer on `topic`.
    #[must_use]
    pub fn new(id: InputId, topic: TopicName) -> Self {
        Self {
            id,
            name: topic.to_string().into(),
            partition: topic.partition().and_then(|n| i32::try_from(n).ok()).unwrap_or(-1),
            topic: Arc::new(topic),
            batches: Batches::default(),
            left: FxHashMap::default(),
            chunks: Chunks::default(),
            earlier: FxHashMap::default(),
            owed: 0,
        }
    }

    /// The topic or partition it reads.
    #[must_use]
    pub fn topic(&self) -> &Arc<TopicName> {
        &self.topic
    }

    /// Reads one entry into messages, behind those in `out`. It took `permits`; `now` is the monotonic time and that of the wall clock, in
    /// milliseconds.
    pub fn receive(
        &mut self,
        delivery: Delivery,
        entry: Bytes,
        permits: u32,
        now: (Duration, u64),
        out: &mut Vec<Message>,
    ) -> Received {
        let before = out.len();
        let received = self.read(delivery, entry, now, out);
        self.owed += i64::from(permits) - (out.len() - before) as i64;
        received
    }

    /// How many permits to give the broker when the loop gives `more`: besides, those of what was no message.
    #[must_use]
    pub fn permits(&mut self, more: u32) -> u32 {
        self.owed += i64::from(more);
        let permits = u32::try_from(self.owed.max(0)).unwrap_or(u32::MAX);
        self.owed -= i64::from(permits);
        permits
    }

    /// When to call [`Self::past`], monotonic time; `None`: after the next entry.
    #[must_use]
    pub fn next_look(&self) -> Option<Duration> {
        self.chunks.next()
    }

    /// What time has done to messages in chunks of which not all have come.
    pub fn past(&mut self, now: Duration) -> Past {
        self.chunks.past(now)
    }

    fn read(&mut self, delivery: Delivery, entry: Bytes, now: (Duration, u64), out: &mut Vec<Message>) -> Received {
        let position = delivery.position;
        let delivery = Delivery { partition: self.partition, ..delivery };
        let opened = match entries::open(position, entry) {
            Ok(opened) => opened,
            Err(error) => return Received::Corrupt(error.to_string()),
        };
        if !opened.metadata.encryption_keys.is_empty() {
            return Received::Encrypted;
        }
        let opened = if opened.metadata.num_chunks_from_msg() > 1 {
            match self.chunks.take(position, opened, now) {
                Ok(Some((whole, others))) => match decompressed(whole) {
                    Ok(whole) => {
                        self.earlier.insert(position, others);
                        whole
                    }
                    Err(why) => {
                        self.chunks.give_up(others);
                        return Received::Corrupt(why);
                    }
                },
                Ok(None) => return Received::Read,
                Err(why) => return Received::Corrupt(why),
            }
        } else {
            opened
        };
        let messages_claimed = opened.metadata.num_messages_in_batch;
        let claimed = messages_claimed.map(|_| entries::batch_size(&opened.metadata));
        let open = claimed.map(|size| self.batches.received(position, size, &delivery.ack_set));
        let before = out.len();
        let mut messages = Vec::new();
        if let Err(error) = entries::read(&self.name, &delivery, opened, open.as_deref(), &mut messages) {
            self.batches.forget(position);
            return Received::Corrupt(error.to_string());
        }
        out.extend(messages.into_iter().map(|message| Message::received(self.id, &self.topic, message)));
        let read = (out.len() - before) as u32;
        if claimed.is_some() && read == 0 && messages_claimed.is_some_and(|claimed| claimed <= 0) {
            self.batches.forget(position);
            return Received::Corrupt("a batch without messages".to_owned());
        }
        if claimed.is_some() {
            self.left.insert(position, (read, 0));
        }
        Received::Read
    }

    /// A message is done with: what of which entries is to be acknowledged, and whether it was still here.
    pub fn ack(&mut self, id: MessageId, mut tell: impl FnMut(Position, Words)) -> bool {
        let position = Position { ledger: id.ledger, entry: id.entry };
        match self.batches.individual(id.as_client()) {
            Ack::Entry => {
                self.left.remove(&position);
                tell(position, Words::new());
            }
            Ack::Open { words, .. } => tell(position, words.into()),
            // It was acknowledged before.
            Ack::Nothing | Ack::Unknown => return false,
        }
        for position in self.earlier.remove(&position).unwrap_or_default() {
            tell(position, Words::new());
        }
        if let Some((left, _)) = self.left.get_mut(&position) {
            *left = left.saturating_sub(1);
        }
        true
    }

    /// The commit that acknowledged a message did not happen: it is here still.
    pub fn reopen(&mut self, id: MessageId) {
        if id.batch_index >= 0 {
            self.batches.reopen(id.as_client(), id.batch_size);
            self.left.entry(Position { ledger: id.ledger, entry: id.entry }).or_default().0 += 1;
        }
    }

    /// All entries of the message whose last one this is.
    #[must_use]
    pub fn entries_of(&mut self, position: Position) -> Vec<Position> {
        let mut positions = self.earlier.remove(&position).unwrap_or_default();
        positions.push(position);
        positions
    }

    /// Of these messages, those whose entries are here with nothing else in them that is not acknowledged; they are here no longer. Says
    /// which entries that are.
    pub fn give_back(&mut self, ids: &mut Vec<MessageId>) -> Vec<Position> {
        let at = |id: &MessageId| Position { ledger: id.ledger, entry: id.entry };
        let mut counts: FxHashMap<Position, u32> = FxHashMap::default();
        ids.iter().for_each(|id| *counts.entry(at(id)).or_default() += 1);
        counts.retain(|position, count| match self.left.get(position) {
            Some((left, refused)) => *refused == 0 && left == count,
            None => true,
        });
        ids.retain(|id| counts.contains_key(&at(id)));
        let mut positions: Vec<Position> = counts.into_keys().collect();
        positions.sort_unstable();
        for position in &positions {
            self.left.remove(position);
            self.batches.forget(*position);
        }
        positions.into_iter().flat_map(|position| self.entries_of(position)).collect()
    }

    /// A message is refused: whether its entry is to be given back now.
    pub fn refuse(&mut self, id: MessageId) -> bool {
        let position = Position { ledger: id.ledger, entry: id.entry };
        match self.left.get_mut(&position) {
            None => true,
            Some((_, refused)) => {
                *refused += 1;
                self.is_refused(position)
            }
        }
    }

    /// Whether all that is left of this batch was refused. Then it is here no longer.
    pub fn is_refused(&mut self, position: Position) -> bool {
        let refused = self.left.get(&position).is_some_and(|&(left, refused)| refused > 0 && refused >= left);
        if refused {
            self.left.remove(&position);
            self.batches.forget(position);
        }
        refused
    }

    /// All of it comes again.
    pub fn clear(&mut self) {
        self.batches = Batches::default();
        self.left.clear();
        self.chunks = Chunks::default();
        self.owed = 0;
        self.earlier.clear();
    }
}

/// A message in chunks is compressed as a whole.
fn decompressed(whole: Opened) -> Result<Opened, String> {
    let Opened { metadata, payload } = whole;
    let size = metadata.uncompressed_size() as usize;
    let payload = match metadata.compression() {
        client::CompressionType::None => payload,
        kind => client::decompress(kind, &payload, size).map_err(|error| error.to_string())?,
    };
    Ok(Opened { metadata, payload })
}
