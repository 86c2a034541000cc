//! Reading a topic from a place of one's choice, without leaving a subscription behind.
//!
//! A reader is a consumer of a subscription that is not durable; the broker keeps no place for it, so it remembers its last
//! message itself and continues after it when the connection was lost. Source: Pulsar's `ReaderImpl`.

use crate::{
    ConsumerBuilder, Message, Result, Seek,
    client::{Inner, random},
    consumer::Consumer,
};
use model::MessageId;
use std::sync::Arc;
use wire::proto;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first message there is.
    Earliest,
    /// After the last message there is when it begins.
    Latest,
    /// At this message.
    At(MessageId),
    /// After this message.
    After(MessageId),
}

/// Prepares a [`Reader`]; made by [`Client::reader`](crate::Client::reader).
#[derive(Clone)]
pub struct ReaderBuilder {
    consumer: ConsumerBuilder,
    start: Start,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Arc<Inner>, topic: &str) -> Self {
        let subscription = format!("reader-{:010x}", random() >> 24);
        Self { consumer: ConsumerBuilder::new(client, topic, &subscription), start: Start::Earliest }
    }

    /// Where to begin; [`Start::Earliest`] unless it is said.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many messages the broker may send ahead, per partition.
    #[must_use]
    pub fn queue(mut self, messages: u32) -> Self {
        self.consumer = self.consumer.queue(messages);
        self
    }

    /// Only the latest message of each key, where the topic is compacted.
    #[must_use]
    pub fn read_compacted(mut self, yes: bool) -> Self {
        self.consumer = self.consumer.read_compacted(yes);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::subscribe`].
    pub async fn open(self) -> Result<Reader> {
        Ok(Reader { consumer: self.consumer.start(self.start).subscribe().await?, start: self.start })
    }
}

/// Reads one topic.
pub struct Reader {
    consumer: Consumer,
    start: Start,
}

impl Reader {
    /// The next message; waits for it.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    pub async fn next(&self) -> Result<Message> {
        self.consumer.receive().await
    }

    /// Whether there is a message that was not read yet.
    ///
    /// # Errors
    /// What the broker or the connection says.
    pub async fn has_next(&self) -> Result<bool> {
        if self.consumer.has_queued() {
            return Ok(true);
        }
        let read = self.consumer.resumes();
        let last = self.consumer.last_message_ids().await?;
        Ok(last.into_iter().zip(read).any(|((last, mark_delete), read)| {
            if last.position.entry < 0 {
                return false;
            }
            let key = |id: MessageId| (id.position, id.batch_index);
            match (read, self.start) {
                (Some(read), _) => key(last) > key(read),
                (None, Start::Earliest) => true,
                (None, Start::Latest) => mark_delete.is_some_and(|mark_delete| last.position > mark_delete),
                (None, Start::At(first)) => key(last) >= key(first),
                (None, Start::After(first)) => key(last) > key(first),
            }
        }))
    }

    /// Continues elsewhere.
    ///
    /// # Errors
    /// As [`Consumer::seek`].
    pub async fn seek(&mut self, seek: Seek) -> Result<()> {
        self.consumer.seek(seek).await?;
        self.start = match seek {
            Seek::Earliest => Start::Earliest,
            Seek::Latest | Seek::Time(_) => Start::Latest,
            Seek::To(id) => Start::At(id),
        };
        Ok(())
    }

    /// Closes it.
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close(self) -> Result<()> {
        self.consumer.close().await
    }
}

/// How a place is told to the broker: -1:-1 is the first message, the largest numbers are after the last.
pub(crate) fn start_id(start: Start) -> proto::MessageIdData {
    let (ledger_id, entry_id, batch_index) = match start {
        Start::Earliest => (u64::MAX, u64::MAX, -1),
        Start::Latest => (i64::MAX as u64, i64::MAX as u64, -1),
        Start::At(id) | Start::After(id) => (id.position.ledger, id.position.entry as u64, id.batch_index),
    };
    proto::MessageIdData {
        ledger_id,
        entry_id,
        batch_index: (batch_index >= 0).then_some(batch_index),
        ..Default::default()
    }
}
