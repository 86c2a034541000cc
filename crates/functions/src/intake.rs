//! From delivered entries to messages, and from messages that are done with to entries that are: for whoever is a consumer to a broker.
//!
//! A batch is acknowledged message by message, and given back whole: when what is left of it was refused, so that nothing which is
//! still being worked on is delivered twice. A message in chunks comes when its last chunk is there, and all its entries are acknowledged
//! and given back together.

use bytes::Bytes;
use client::{
    entries::{self, Ack, Batches, Opened},
    hot::Delivery,
};
use model::{Position, TopicName};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{collections::VecDeque, sync::Arc, time::Duration};

pub use crate::chunks::Past;
use crate::chunks::{Chunks, Last, Taken};
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
    /// The same of messages whose acknowledgement is under way.
    acked: FxHashMap<Position, Vec<Position>>,
    /// The message that waits for its other chunks, what came after it, and how many messages have waited.
    stop: Option<Stop>,
    behind: VecDeque<(Delivery, Bytes, u32)>,
    stops: u64,
    /// Permits that entries took and that are for no message of theirs, to be given again; below 0 when they brought more than they took.
    owed: i64,
    /// Permits the broker has.
    allowed: i64,
}

/// A message whose chunks before the last one are to be read again.
struct Stop {
    delivery: Delivery,
    last: Last,
    is_asked_for: bool,
}

/// Entries to be read by themselves, beside the subscription: what was received stays, and what follows waits for them.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which ones these are.
    pub number: u64,
    /// Where they are.
    pub positions: Vec<Position>,
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
    /// Of a consumer on `topic`, which shares its subscription, or gets all in order.
    #[must_use]
    pub fn new(id: InputId, topic: TopicName, in_order: bool) -> Self {
        Self {
            id,
            name: topic.to_string().into(),
            partition: topic.partition().and_then(|n| i32::try_from(n).ok()).unwrap_or(-1),
            topic: Arc::new(topic),
            batches: Batches::default(),
            left: FxHashMap::default(),
            chunks: Chunks::new(in_order),
            earlier: FxHashMap::default(),
            acked: FxHashMap::default(),
            stop: None,
            behind: VecDeque::new(),
            stops: 0,
            owed: 0,
            allowed: 0,
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
        self.allowed -= i64::from(permits);
        let received = if self.stop.is_some() {
            self.behind.push_back((delivery, entry, permits));
            Received::Read
        } else {
            self.receive_next(delivery, entry, permits, now, out)
        };
        self.look_at_permits();
        received
    }

    /// Nothing is missing while nothing may come, or waits.
    fn look_at_permits(&mut self) {
        self.chunks.starves(self.allowed <= 0 || self.stop.is_some());
    }

    fn receive_next(
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

    /// Entries that are to be read for [`Self::fetched`], said once.
    pub fn wanted(&mut self) -> Option<Wanted> {
        let stop = self.stop.as_mut().filter(|stop| !stop.is_asked_for)?;
        stop.is_asked_for = true;
        Some(Wanted { number: self.stops, positions: stop.last.others().to_vec() })
    }

    /// What was wanted under this number was read, as far as it is stored. Reads it, and what waited, into messages, as
    /// [`Self::receive`]; says which entries are none. What nobody waits for any more, however it was read, does nothing.
    ///
    /// # Errors
    /// Why what is waited for could not be read.
    pub fn fetched<E>(
        &mut self,
        number: u64,
        entries: Result<Vec<(Position, Bytes)>, E>,
        now: (Duration, u64),
        out: &mut Vec<Message>,
    ) -> Result<Vec<(Position, Received)>, E> {
        let mut failed = Vec::new();
        let Some(Stop { delivery, last, .. }) = self.stop.take_if(|_| self.stops == number) else { return Ok(failed) };
        let entries = entries?;
        let (position, before) = (delivery.position, out.len());
        let (whole, others) = last.with(entries.into_iter().collect());
        let received = match whole {
            Ok(whole) => self.read_whole(&delivery, whole, others, out),
            Err(why) => {
                self.chunks.give_up(others);
                Received::Corrupt(why)
            }
        };
        self.owed -= (out.len() - before) as i64;
        let mut say = |position, received| match received {
            Received::Read => {}
            other => failed.push((position, other)),
        };
        say(position, received);
        while self.stop.is_none()
            && let Some((delivery, entry, permits)) = self.behind.pop_front()
        {
            say(delivery.position, self.receive_next(delivery, entry, permits, now, out));
        }
        self.look_at_permits();
        Ok(failed)
    }

    /// How many permits to give the broker when the loop gives `more`: besides, those of what was no message.
    #[must_use]
    pub fn permits(&mut self, more: u32) -> u32 {
        self.owed += i64::from(more);
        let permits = u32::try_from(self.owed.max(0)).unwrap_or(u32::MAX);
        self.owed -= i64::from(permits);
        self.allowed += i64::from(permits);
        self.look_at_permits();
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
        self.chunks.heard(now, opened.metadata.publish_time);
        if opened.metadata.num_chunks_from_msg() <= 1 {
            return self.read_opened(&delivery, opened, out);
        }
        // A batch is none of a message. Source: Pulsar's `ConsumerImpl.messageReceived`.
        if opened.metadata.num_messages_in_batch.is_some() {
            return match decompressed(opened) {
                Ok(opened) => self.read_opened(&delivery, opened, out),
                Err(why) => Received::Corrupt(why),
            };
        }
        match self.chunks.take(position, opened, now) {
            Ok(Taken::Nothing) => Received::Read,
            Ok(Taken::Whole(whole, others)) => self.read_whole(&delivery, whole, others, out),
            Ok(Taken::Last(last)) => {
                self.stops += 1;
                self.stop = Some(Stop { delivery, last, is_asked_for: false });
                Received::Read
            }
            Err(why) => Received::Corrupt(why),
        }
    }

    /// Reads a message in chunks.
    fn read_whole(
        &mut self,
        delivery: &Delivery,
        whole: Opened,
        others: Vec<Position>,
        out: &mut Vec<Message>,
    ) -> Received {
        let received = match decompressed(whole) {
            Ok(whole) => self.read_opened(delivery, whole, out),
            Err(why) => Received::Corrupt(why),
        };
        match received {
            Received::Read => drop(self.earlier.insert(delivery.position, others)),
            _ => self.chunks.give_up(others),
        }
        received
    }

    fn read_opened(&mut self, delivery: &Delivery, opened: Opened, out: &mut Vec<Message>) -> Received {
        let position = delivery.position;
        let messages_claimed = opened.metadata.num_messages_in_batch;
        let claimed = messages_claimed.map(|_| entries::batch_size(&opened.metadata));
        let open = claimed.map(|size| self.batches.received(position, size, &delivery.ack_set));
        let before = out.len();
        let mut messages = Vec::new();
        if let Err(error) = entries::read(&self.name, delivery, opened, open.as_deref(), &mut messages) {
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
        if let Some(others) = self.earlier.remove(&position) {
            others.iter().for_each(|other| tell(*other, Words::new()));
            self.acked.insert(position, others);
        }
        if let Some((left, _)) = self.left.get_mut(&position) {
            *left = left.saturating_sub(1);
        }
        true
    }

    /// The commit that acknowledged a message has happened, or it is not known whether it has.
    pub fn settled(&mut self, id: MessageId) {
        if !self.acked.is_empty() {
            self.acked.remove(&Position { ledger: id.ledger, entry: id.entry });
        }
    }

    /// The commit that acknowledged a message did not happen: it is here still, all of it.
    pub fn reopen(&mut self, id: MessageId) {
        let position = Position { ledger: id.ledger, entry: id.entry };
        if let Some(others) = self.acked.remove(&position) {
            self.earlier.insert(position, others);
        }
        if id.batch_index >= 0 {
            self.batches.reopen(id.as_client(), id.batch_size);
            self.left.entry(position).or_default().0 += 1;
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

    /// All of it comes again. What was allowed to come still is.
    pub fn clear(&mut self) {
        self.batches = Batches::default();
        self.left.clear();
        self.chunks.clear();
        self.earlier.clear();
        self.acked.clear();
        self.stop = None;
        // These were allowed to come, and did not as messages.
        self.owed = self.behind.drain(..).map(|(.., permits)| i64::from(permits)).sum();
    }

    /// All of it comes again, and nothing is allowed to come.
    pub fn lost(&mut self) {
        self.clear();
        (self.owed, self.allowed) = (0, 0);
        self.look_at_permits();
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

#[cfg(test)]
mod tests;
