//! One compaction: reads a topic beside everything else, and acknowledges bit by bit what is superseded.

use model::TopicName;

use super::Compactor;
use crate::{
    error::Result,
    shard::Handle,
    topic::backlog::{Extent, Step},
};

/// So many superseded messages are acknowledged at one time.
const AT_ONCE: usize = 10_000;

/// Compacts a part of a topic, and tells it how that ended.
pub(crate) async fn run(shard: Handle, topic: TopicName, extent: Extent) {
    let result = compact(&shard, &topic, extent).await;
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
    loop {
        let step = shard.with_topic(topic, move |topic, _| topic.read_to_compact(Extent { from, to })).await?;
        let piece = match step {
            Step::End => break,
            Step::Read(piece) => piece,
            Step::Later(from, request) => {
                let entries = request.run().await?;
                shard.with_topic(topic, move |topic, _| topic.left_to_compact(from, to, entries)).await?
            }
        };
        from = piece.next;
        for (entry, left) in &piece.entries {
            compactor.look_at(entry, left.as_ref())?;
        }
        if compactor.found() >= AT_ONCE {
            supersede(shard, topic, &mut compactor).await?;
        }
    }
    supersede(shard, topic, &mut compactor).await
}

async fn supersede(shard: &Handle, topic: &TopicName, compactor: &mut Compactor) -> Result<()> {
    let superseded = compactor.take();
    shard.change_topic(topic, move |topic, _| topic.supersede(&superseded)).await
}
