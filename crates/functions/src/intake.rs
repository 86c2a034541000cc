//! From delivered entries to messages, and from messages that are done with to entries that are: for whoever is a consumer to a broker.
//!
//! A batch is acknowledged message by message, and given back whole: when what is left of it was refused, so that nothing which is
//! still being worked on is delivered twice. A message in chunks comes when its last chunk is there.

use bytes::{Bytes, BytesMut};
use client::{
    entries::{self, Ack, Batches, Opened},
    hot::Delivery,
};
use model::{Position, TopicName};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::Arc;

use crate::message::{InputId, Message, MessageId};

/// Messages in chunks that may be incomplete at a time. Pulsar: `maxPendingChunkedMessage`.
const CHUNKED_MAX: usize = 10;
/// Chunks one message may have.
const CHUNKS_MAX: i32 = 10_000;

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
    /// By the message's id as its producer made it.
    chunked: FxHashMap<String, Chunked>,
    /// The other entries of a message in chunks, by its last.
    earlier: FxHashMap<Position, Vec<Position>>,
}

/// The chunks of a message that have come.
struct Chunked {
    parts: Vec<Bytes>,
    positions: Vec<Position>,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It is read.
    Read {
        /// To be given to the broker again: what it took for what is no message.
        permits: u32,
    },
    /// It cannot be read and never will be; why.
    Corrupt(String),
    /// It is encrypted.
    Encrypted {
        /// So many it says it holds.
        messages: u32,
    },
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
            chunked: FxHashMap::default(),
            earlier: FxHashMap::default(),
        }
    }

    /// The topic or partition it reads.
    #[must_use]
    pub fn topic(&self) -> &Arc<TopicName> {
        &self.topic
    }

    /// Reads one entry into messages, behind those in `out`.
    pub fn receive(&mut self, delivery: Delivery, entry: Bytes, out: &mut Vec<Message>) -> Received {
        let position = delivery.position;
        let delivery = Delivery { partition: self.partition, ..delivery };
        let opened = match entries::open(position, entry) {
            Ok(opened) => opened,
            Err(error) => return Received::Corrupt(error.to_string()),
        };
        if !opened.metadata.encryption_keys.is_empty() {
            let messages = opened.metadata.num_messages_in_batch.map_or(1, |_| entries::batch_size(&opened.metadata));
            return Received::Encrypted { messages };
        }
        let opened = if opened.metadata.num_chunks_from_msg() > 1 {
            match self.chunk(position, opened) {
                Ok(Some(whole)) => whole,
                Ok(None) => return Received::Read { permits: 1 },
                Err(why) => return Received::Corrupt(why),
            }
        } else {
            opened
        };
        let claimed = opened.metadata.num_messages_in_batch.map(|_| entries::batch_size(&opened.metadata));
        let open = claimed.map(|size| self.batches.received(position, size, &delivery.ack_set));
        let before = out.len();
        let mut messages = Vec::new();
        if let Err(error) = entries::read(&self.name, &delivery, opened, open.as_deref(), &mut messages) {
            return Received::Corrupt(error.to_string());
        }
        out.extend(messages.into_iter().map(|message| Message::received(self.id, &self.topic, message)));
        let read = (out.len() - before) as u32;
        if claimed.is_some() {
            self.left.insert(position, (read, 0));
        }
        Received::Read { permits: 0 }
    }

    /// Keeps a chunk; the whole message with the last one. Source: Pulsar's `ConsumerImpl.processMessageChunk`.
    fn chunk(&mut self, position: Position, opened: Opened) -> Result<Option<Opened>, String> {
        let Opened { mut metadata, payload } = opened;
        let (chunks, number) = (metadata.num_chunks_from_msg(), metadata.chunk_id());
        if chunks > CHUNKS_MAX || !(0..chunks).contains(&number) {
            return Err(format!("chunk {number} of {chunks}"));
        }
        let uuid = metadata.uuid().to_owned();
        if number == 0 {
            if self.chunked.len() >= CHUNKED_MAX && !self.chunked.contains_key(&uuid) {
                return Err(format!("more than {CHUNKED_MAX} messages in chunks at a time"));
            }
            self.chunked.insert(uuid.clone(), Chunked { parts: Vec::new(), positions: Vec::new() });
        }
        let Some(known) = self.chunked.get_mut(&uuid).filter(|known| known.parts.len() == number as usize) else {
            return Err(format!("chunk {number} of {chunks} without those before it"));
        };
        known.parts.push(payload);
        if number + 1 < chunks {
            known.positions.push(position);
            return Ok(None);
        }
        let Some(known) = self.chunked.remove(&uuid) else { return Ok(None) };
        let mut whole = BytesMut::with_capacity(known.parts.iter().map(Bytes::len).sum());
        known.parts.iter().for_each(|part| whole.extend_from_slice(part));
        self.earlier.insert(position, known.positions);
        metadata.num_chunks_from_msg = None;
        Ok(Some(Opened { metadata, payload: whole.freeze() }))
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

    /// All entries of the message whose last one this is.
    #[must_use]
    pub fn entries_of(&mut self, position: Position) -> Vec<Position> {
        let mut positions = self.earlier.remove(&position).unwrap_or_default();
        positions.push(position);
        positions
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
        }
        refused
    }

    /// All of it comes again.
    pub fn clear(&mut self) {
        self.batches = Batches::default();
        self.left.clear();
        self.chunked.clear();
        self.earlier.clear();
    }
}
