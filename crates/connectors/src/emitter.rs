//! How a source hands over records, and learns what became of them.
//!
//! Records go in batches. A batch is a range of numbers, so that what is on its way takes a word for each batch, not for each record.

use functions::{
    Record,
    runtime::{Event, LogLevel, LogLine, Request},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// The source's half; a cheap handle.
#[derive(Clone)]
pub(crate) struct Emitter {
    events: mpsc::Sender<Vec<Event>>,
    pending: Arc<Mutex<Pending>>,
}

/// The half that hears the loop's answers.
pub(crate) struct Answers(Arc<Mutex<Pending>>);

/// Which records of a batch did not become durable, by index, and why the last of them did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) indexes: Vec<usize>,
    pub(crate) error: String,
}

/// Resolves when the fate of all its records is known; fails when nobody will tell any more.
pub(crate) type Receipt = oneshot::Receiver<Result<(), Failed>>;

#[derive(Default)]
struct Pending {
    next_id: u64,
    /// By the number of their first record.
    batches: BTreeMap<u64, Batch>,
    is_closed: bool,
}

struct Batch {
    records: u64,
    left: u64,
    failed: Failed,
    done: oneshot::Sender<Result<(), Failed>>,
}

impl Emitter {
    pub(crate) fn new(events: mpsc::Sender<Vec<Event>>) -> (Self, Answers) {
        let pending = Arc::<Mutex<Pending>>::default();
        (Self { events, pending: pending.clone() }, Answers(pending))
    }

    /// Hands over some records, in order. Waits while the loop has too much to do.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(crate) async fn emit(&self, records: Vec<Record>) -> Result<Receipt, Closed> {
        let room = self.events.reserve().await.map_err(|_| Closed)?;
        let (done, receipt) = oneshot::channel();
        let count = records.len() as u64;
        // Sent under the lock: numbers rise in the order in which the loop sees them.
        let mut pending = self.pending.lock();
        if pending.is_closed {
            return Err(Closed);
        }
        let first = pending.next_id;
        pending.next_id += count;
        if count == 0 {
            let _ = done.send(Ok(()));
            return Ok(receipt);
        }
        let failed = Failed { indexes: Vec::new(), error: String::new() };
        pending.batches.insert(first, Batch { records: count, left: count, failed, done });
        room.send((first..).zip(records).map(|(id, record)| Event::Emit { id, record }).collect());
        Ok(receipt)
    }

    /// A line of the source's log.
    pub(crate) async fn warn(&self, message: String) {
        let line = LogLine { level: LogLevel::Warn, message };
        let _ = self.events.send(vec![Event::Log(line)]).await;
    }
}

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl Answers {
    /// Until the loop asks for the end. What is on its way then is not answered for.
    pub(crate) async fn listen(&self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            if let Request::Emitted { ids, error } = request {
                self.0.lock().answered(&ids, error.as_deref());
            }
        }
        let mut pending = self.0.lock();
        pending.is_closed = true;
        pending.batches.clear();
    }
}

impl Pending {
    fn answered(&mut self, ids: &[u64], error: Option<&str>) {
        for &id in ids {
            let Some((&first, batch)) = self.batches.range_mut(..=id).next_back() else { continue };
            if id - first >= batch.records {
                continue;
            }
            batch.left = batch.left.saturating_sub(1);
            if let Some(error) = error {
                batch.failed.indexes.push(usize::try_from(id - first).unwrap_or(usize::MAX));
                batch.failed.error = error.to_owned();
            }
            if batch.left == 0
                && let Some(batch) = self.batches.remove(&first)
            {
                let told = if batch.failed.indexes.is_empty() { Ok(()) } else { Err(batch.failed) };
                let _ = batch.done.send(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_comes_when_the_last_record_of_its_batch_is_answered_for() {
        let (events, mut seen) = mpsc::channel(4);
        let (emitter, answers) = Emitter::new(events);
        let mut first = emitter.emit(vec![Record::default(); 3]).await.unwrap();
        let mut second = emitter.emit(vec![Record::default()]).await.unwrap();
        let ids = |events: Vec<Event>| events.len();
        assert_eq!((ids(seen.recv().await.unwrap()), ids(seen.recv().await.unwrap())), (3, 1));
        answers.0.lock().answered(&[0, 3], None);
        assert_eq!(second.try_recv().unwrap(), Ok(()));
        answers.0.lock().answered(&[1], Some("too large"));
        assert!(first.try_recv().is_err(), "one record is still on its way");
        answers.0.lock().answered(&[2, 77], None);
        let failed = Failed { indexes: vec![1], error: "too large".to_owned() };
        assert_eq!(first.try_recv().unwrap(), Err(failed));
    }

    #[tokio::test]
    async fn when_the_loop_asks_for_the_end_what_is_on_its_way_is_not_answered_for() {
        let (events, _seen) = mpsc::channel(4);
        let (emitter, answers) = Emitter::new(events);
        let receipt = emitter.emit(vec![Record::default()]).await.unwrap();
        let (_, requests) = mpsc::channel(1);
        answers.listen(requests).await;
        assert!(receipt.await.is_err());
        assert!(emitter.emit(vec![Record::default()]).await.is_err(), "and nothing more is taken");
    }
}
