//! Commits on their way, in three stages, each in the order of the commits: publish, then wait for the receipts and change state, then
//! acknowledge. A stage does not wait for the next one, so many commits are under way.

use bytes::Bytes;
use client::{Outgoing, Producer, Publication};
use futures::{StreamExt, stream::FuturesOrdered};
use std::sync::{Arc, OnceLock};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use wire::proto;

use super::{error, feed::Link};
use crate::{
    error::{Error, Result},
    event_log::{RowChange, TableChange, Tables},
};

/// Commits between two stages.
const QUEUED: usize = 64;
/// Acknowledgements that wait for their answers.
const ACKS_MAX: usize = 1024;

/// A commit.
pub(super) struct Job {
    /// By producer, in order. Held until the end, since a producer that is dropped gives up what is not stored.
    pub(super) outputs: Vec<(Arc<Producer>, Vec<Outgoing>)>,
    pub(super) changes: Vec<TableChange>,
    pub(super) acks: Option<Acks>,
    /// Its number and the topic this is a number of, where it is to happen once.
    pub(super) once: Option<(u64, String)>,
    pub(super) reply: oneshot::Sender<Result<()>>,
}

/// What is acknowledged, of one consumer.
pub(super) struct Acks {
    pub(super) link: Link,
    pub(super) ids: Vec<proto::MessageIdData>,
}

type Published = (Job, Result<Vec<Publication>>);

/// Why nothing more is done, once something could not be done.
type Failed = Arc<OnceLock<Error>>;

/// Starts the stages; what is sent to the answer is committed.
pub(super) fn start(tables: Arc<dyn Tables>, tasks: &mut JoinSet<()>) -> mpsc::UnboundedSender<Job> {
    let (jobs, takes) = mpsc::unbounded_channel();
    let (published, publishes) = mpsc::channel(QUEUED);
    let (stored, stores) = mpsc::channel(QUEUED);
    let failed = Failed::default();
    tasks.spawn(publish(takes, published, failed.clone()));
    tasks.spawn(store(publishes, stored, tables, failed));
    tasks.spawn(acknowledge(stores));
    jobs
}

/// What is to happen once happens in order or not at all: an entry whose number is below one that is stored would be taken for a
/// duplicate when it comes again, so nothing is published after a failure.
async fn publish(mut jobs: mpsc::UnboundedReceiver<Job>, then: mpsc::Sender<Published>, failed: Failed) {
    while let Some(job) = jobs.recv().await {
        let published = match (&job.once, failed.get()) {
            (_, Some(error)) => Err(error.clone()),
            (Some((number, _)), None) => publish_once(&job.outputs, *number).await,
            (None, None) => publish_all(&job.outputs).await,
        };
        if let Err(error) = &published
            && job.once.is_some()
        {
            // The first reason counts.
            let _ = failed.set(error.clone());
        }
        // Nothing follows that a batch could wait for.
        if jobs.is_empty() {
            job.outputs.iter().for_each(|(producer, _)| producer.close_batches());
        }
        if then.send((job, published)).await.is_err() {
            return;
        }
    }
}

async fn publish_all(outputs: &[(Arc<Producer>, Vec<Outgoing>)]) -> Result<Vec<Publication>> {
    let mut published = Vec::new();
    for (producer, messages) in outputs {
        for message in messages {
            published.push(producer.enqueue(message.clone()).await.map_err(error)?);
        }
    }
    Ok(published)
}

/// One entry for each output: entries put together otherwise would not be known again when they come a second time.
async fn publish_once(outputs: &[(Arc<Producer>, Vec<Outgoing>)], number: u64) -> Result<Vec<Publication>> {
    let mut published = Vec::with_capacity(outputs.len());
    for (producer, messages) in outputs {
        published.push(producer.enqueue_entry(messages, number).await.map_err(error)?);
    }
    Ok(published)
}

/// After a failure nothing is stored or acknowledged any more: the loop starts again.
async fn store(mut jobs: mpsc::Receiver<Published>, then: mpsc::Sender<Job>, tables: Arc<dyn Tables>, failed: Failed) {
    let mut is_over = false;
    while let Some((mut job, published)) = jobs.recv().await {
        let changes = std::mem::take(&mut job.changes);
        // What was published before a failure of what comes after it is gone on with.
        let result = match failed.get().filter(|_| is_over) {
            Some(error) => Err(error.clone()),
            None => store_one(&*tables, published, changes, job.once.as_ref()).await,
        };
        match result {
            Ok(()) => {
                if then.send(job).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // What can never be done does not stand in the way of what follows, unless that is to be in order.
                if job.once.is_some() || !matches!(error, Error::Invalid(_)) {
                    is_over = true;
                    let _ = failed.set(error.clone());
                }
                // The loop may be gone.
                let _ = job.reply.send(Err(error));
            }
        }
    }
}

async fn store_one(
    tables: &dyn Tables,
    published: Result<Vec<Publication>>,
    mut changes: Vec<TableChange>,
    once: Option<&(u64, String)>,
) -> Result<()> {
    for publication in published? {
        publication.await.map_err(error)?;
    }
    let Some(first) = changes.first() else { return Ok(()) };
    if let Some((number, topic)) = once {
        // The last number that changed this state is a row beside it, so that they change together.
        let (table, key) = (format!("once/{}", first.table), Bytes::copy_from_slice(topic.as_bytes()));
        let last = tables.get(&table, &key).await?;
        let last = last.and_then(|row| row.value[..].try_into().ok()).map(u64::from_be_bytes);
        if last.is_some_and(|last| *number <= last) {
            return Ok(());
        }
        let change = RowChange::Put(Bytes::copy_from_slice(&number.to_be_bytes()));
        changes.push(TableChange { table: table.into(), key, change });
    }
    tables.write(changes).await
}

async fn acknowledge(mut jobs: mpsc::Receiver<Job>) {
    let mut under_way = FuturesOrdered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next() => {}
            job = jobs.recv(), if under_way.len() < ACKS_MAX => match job {
                Some(Job { acks, reply, .. }) => under_way.push_back(async move {
                    let acked = match acks {
                        Some(Acks { link, ids }) => link.ack(ids).await,
                        None => Ok(()),
                    };
                    // The loop may be gone.
                    let _ = reply.send(acked.map_err(|error| Error::Unsure(error.to_string())));
                }),
                None => break,
            },
        }
    }
    while under_way.next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryTables;

    async fn add_one(tables: &MemoryTables, number: u64, topic: &str) {
        let changes = vec![TableChange { table: "state/f".into(), key: "n".into(), change: RowChange::Add(1) }];
        store_one(tables, Ok(Vec::new()), changes, Some(&(number, topic.to_owned()))).await.unwrap();
    }

    #[tokio::test]
    async fn state_changes_once_for_each_number_of_a_topic() {
        let tables = MemoryTables::default();
        for (number, topic) in [(5, "a"), (6, "a"), (5, "a"), (6, "a"), (5, "b"), (7, "a")] {
            add_one(&tables, number, topic).await;
        }
        let row = tables.get("state/f", b"n").await.unwrap().unwrap();
        assert_eq!(row.value[..], 4i64.to_be_bytes());
    }
}
