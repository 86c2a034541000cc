//! Reading what a subscription has not acknowledged, piece by piece and beside its consumers.

use ledger::{CursorId, Entry, Read, ReadRequest, Words};
use model::{Position, TopicName};

use super::Topic;
use crate::{error::Result, shard::Handle};

/// Entries and bytes that are read at one time.
const READ_ENTRIES: usize = 256;
const READ_BYTES: usize = 1 << 20;

/// From the first to the last that is read.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) from: Position,
    pub(crate) to: Position,
}

/// Entries with what is left of them; `None` is all.
pub(crate) struct Piece {
    pub(crate) entries: Vec<(Entry, Option<Words>)>,
    /// Where to go on.
    pub(crate) next: Position,
}

enum Step {
    Read(Piece),
    /// From this position on it is on disk.
    Later(Position, ReadRequest),
    End,
}

/// The next piece of the backlog that `cursor` has; `None` at its end.
///
/// # Errors
/// The topic or the cursor is gone, or the storage fails.
pub(crate) async fn next_piece(
    shard: &Handle,
    topic: &TopicName,
    Extent { from, to }: Extent,
    cursor: impl Fn(&Topic) -> Result<CursorId> + Clone + Send + 'static,
) -> Result<Option<Piece>> {
    let of = cursor.clone();
    let step = shard.with_topic(topic, move |topic, _| Ok(topic.read_backlog(of(topic)?, Extent { from, to }))).await?;
    match step {
        Step::End => Ok(None),
        Step::Read(piece) => Ok(Some(piece)),
        Step::Later(from, request) => {
            let entries = request.run().await?;
            let left = move |topic: &Topic| Ok(topic.left_of(cursor(topic)?, Extent { from, to }, entries));
            shard.with_topic(topic, move |topic, _| left(topic)).await.map(Some)
        }
    }
}

impl Topic {
    /// The next piece of a backlog.
    fn read_backlog(&mut self, cursor: CursorId, Extent { from, to }: Extent) -> Step {
        let Some(from) = self.ledger.first_unacked(cursor, from).filter(|at| *at <= to) else { return Step::End };
        match self.ledger.read(from, READ_ENTRIES, READ_BYTES) {
            Read::Entries(entries) => Step::Read(self.left_of(cursor, Extent { from, to }, entries)),
            Read::Later(request) => Step::Later(from, request),
            Read::CaughtUp => Step::End,
        }
    }

    /// What is left of entries that were read from `from` on.
    fn left_of(&self, cursor: CursorId, Extent { from, to }: Extent, entries: Vec<Entry>) -> Piece {
        let next = entries.last().map_or(from, |last| last.position).next();
        let is_left = |entry: &Entry| entry.position <= to && !self.ledger.is_acked(cursor, entry.position);
        let with_words = |entry: Entry| {
            let words = self.ledger.ack_set(cursor, entry.position);
            (entry, words)
        };
        Piece { entries: entries.into_iter().filter(is_left).map(with_words).collect(), next }
    }
}
