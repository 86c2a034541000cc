//! One compaction: reads a topic beside everything else, and acknowledges bit by bit what is superseded.

use ledger::{Entry, Words};
use model::TopicName;
use std::{sync::Arc, vec::IntoIter};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Compactor, Superseded};
use crate::{
    error::{Error, Result},
    shard::Handle,
    topic::{
        Topic,
        backlog::{Extent, next_piece},
    },
};

/// So many superseded messages are acknowledged at one time.
const AT_ONCE: usize = 10_000;

/// Or as many as have ack sets of so many words.
const WORDS_AT_ONCE: usize = 1 << 17;

/// So much is decompressed without a pause in which the process may stop: at least one batch.
const UNPACKED_AT_ONCE: u64 = 16 << 20;

/// Compacts a part of a topic, and tells it how that ended. Waits for its `turn` among all topics.
pub(crate) async fn run(shard: Handle, topic: TopicName, extent: Extent, turn: Arc<Semaphore>) {
    let permit = turn.acquire().await;
    let result = compact(&shard, &topic, extent).await;
    drop(permit);
    let ended = shard.change_topic(&topic, move |topic, cx| {
        topic.end_compaction(cx, extent.to, result);
        Ok(())
    });
    if let Err(error) = ended.await {
        tracing::warn!(%topic, %error, "a compaction ended without its topic");
    }
}

async fn compact(shard: &Handle, topic: &TopicName, Extent { mut from, to }: Extent) -> Result<()> {
    let mut compactor = Compactor::default();
    while let Some(piece) = next_piece(shard, topic, Extent { from, to }, Topic::compacting).await? {
        from = piece.next;
        let mut entries = piece.entries.into_iter();
        while entries.len() > 0 {
            // It decompresses.
            let looked = spawn_blocking(move || look_at(compactor, entries)).await;
            (compactor, entries) = looked.map_err(|e| Error::Storage(format!("compaction: {e}")))??;
            if compactor.found() >= AT_ONCE {
                supersede(shard, topic, compactor.take()).await?;
            }
        }
    }
    supersede(shard, topic, compactor.take()).await
}

type Entries = IntoIter<(Entry, Option<Words>)>;

/// Looks at entries until there is enough to acknowledge, or it took long enough.
fn look_at(mut compactor: Compactor, mut entries: Entries) -> Result<(Compactor, Entries)> {
    let begun = compactor.unpacked();
    for (entry, left) in entries.by_ref() {
        compactor.look_at(&entry, left.as_ref())?;
        if compactor.found() >= AT_ONCE || compactor.unpacked() - begun >= UNPACKED_AT_ONCE {
            break;
        }
    }
    Ok((compactor, entries))
}

async fn supersede(shard: &Handle, topic: &TopicName, superseded: Vec<Superseded>) -> Result<()> {
    for part in parts(superseded) {
        shard.change_topic(topic, move |topic, _| topic.supersede(&part)).await?;
    }
    Ok(())
}

/// What is acknowledged at one time: all there is of an entry, and the older first.
fn parts(mut superseded: Vec<Superseded>) -> Vec<Vec<Superseded>> {
    superseded.sort_unstable_by_key(|one| one.position);
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut words = 0;
    for of_entry in superseded.chunk_by(|a, b| a.position == b.position) {
        part.extend_from_slice(of_entry);
        words += of_entry.first().map_or(0, |one| one.words());
        if part.len() >= AT_ONCE || words >= WORDS_AT_ONCE {
            parts.push(std::mem::take(&mut part));
            words = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Position;

    #[test]
    fn all_of_an_entry_is_acknowledged_at_one_time() {
        let one = |entry, index, of| Superseded { position: Position::new(1, entry), of_batch: Some((index, of)) };
        let whole = |entry| Superseded { position: Position::new(1, entry), of_batch: None };
        let sizes = |superseded: Vec<Superseded>| parts(superseded).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), [0; 0]);
        let entries = AT_ONCE as i64 + 1;
        assert_eq!(sizes((0..entries).map(whole).collect()), [AT_ONCE, 1]);
        assert_eq!(sizes((0..65_536).map(|n| one(7, n, 65_536)).chain([whole(8)]).collect()), [65_536, 1]);
        // Of each of many large batches one message: their ack sets are what takes room.
        assert_eq!(sizes((0..300).map(|n| one(n, 0, 65_536)).collect()), [128, 128, 44]);
        assert_eq!(parts(vec![one(2, 0, 9), whole(1), one(2, 4, 9)])[0][0], whole(1));
    }
}
