//! What a source has handed over and what became of it, between its guest and the loop.

use functions::runtime::{Event, Request};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};
use wasmtime::{Result, bail};

use crate::{
    bindings::{
        self,
        emissions::{self, Receipt},
        types,
    },
    host::{EVENTS_WAITING_MAX, Host, SEND_AFTER},
    outbox::cut,
};

/// Records on their way. As sources of other languages have it.
const ON_THEIR_WAY_MAX: usize = 1000;
/// Receipts that wait for the guest: more than can come while one that asks before each record waits for room.
const RECEIPTS_MAX: usize = 2 * ON_THEIR_WAY_MAX;
/// Bytes of a receipt's error.
const ERROR_BYTES_MAX: usize = 1 << 10;

/// See the module. The guest waits for it, and somebody else hears the loop's answers meanwhile.
#[derive(Default)]
pub(crate) struct Emissions {
    state: Mutex<State>,
    /// There is something new for the guest.
    changed: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    on_their_way: FxHashMap<u64, Sent>,
    /// Of what is on its way.
    bytes: usize,
    receipts: VecDeque<Receipt>,
    is_ending: bool,
}

struct Sent {
    bytes: usize,
    wants_receipt: bool,
}

impl Emissions {
    /// Takes the loop's answers until it wants no more records.
    pub(crate) async fn listen(&self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            if let Request::Emitted { ids, error } = request {
                self.state.lock().answered(&ids, error.as_deref());
                self.changed.notify_one();
            }
        }
        self.state.lock().is_ending = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.state.lock().is_ending
    }

    /// Waits for room, and gives the number of the record that has it now.
    async fn begin(&self, bytes: usize, bytes_max: usize, wants_receipt: bool) -> Result<u64, String> {
        loop {
            if let Some(begun) = self.state.lock().begin(bytes, bytes_max, wants_receipt) {
                return begun;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Vec<Receipt> {
        self.state.lock().receipts.drain(..).collect()
    }

    /// Waits for receipts, or for the end.
    async fn wait(&self) -> Vec<Receipt> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.receipts.is_empty() || state.is_ending {
                    return state.receipts.drain(..).collect();
                }
            }
            self.changed.notified().await;
        }
    }
}

impl State {
    /// `None`: there is no room yet.
    fn begin(&mut self, bytes: usize, bytes_max: usize, wants_receipt: bool) -> Option<Result<u64, String>> {
        if self.is_ending {
            return Some(Err("the instance is to end".to_owned()));
        }
        if bytes > bytes_max {
            return Some(Err(format!("the record has {bytes} bytes, and may have {bytes_max}")));
        }
        if self.receipts.len() >= RECEIPTS_MAX {
            return Some(Err(format!("{} receipts were not asked for", self.receipts.len())));
        }
        if self.on_their_way.len() >= ON_THEIR_WAY_MAX || self.bytes + bytes > bytes_max {
            return None;
        }
        self.last += 1;
        self.bytes += bytes;
        self.on_their_way.insert(self.last, Sent { bytes, wants_receipt });
        Some(Ok(self.last))
    }

    fn answered(&mut self, ids: &[u64], error: Option<&str>) {
        for &emission in ids {
            let Some(sent) = self.on_their_way.remove(&emission) else { continue };
            self.bytes -= sent.bytes;
            if sent.wants_receipt {
                let error = error.map(|error| cut(error, ERROR_BYTES_MAX).to_owned());
                self.receipts.push_back(Receipt { emission, error });
            }
        }
    }
}

impl Host {
    fn emissions(&self, what: &str) -> Result<Arc<Emissions>> {
        match &self.emissions {
            Some(emissions) => Ok(Arc::clone(emissions)),
            None => bail!("{what} was called by what is no source"),
        }
    }
}

impl emissions::Host for Host {
    async fn emit(&mut self, record: types::NewMessage, wants_receipt: bool) -> Result<Result<u64, String>> {
        let emissions = self.emissions("emissions.emit")?;
        let id = match emissions.begin(bindings::weight(&record), self.effects_bytes_max, wants_receipt).await {
            Ok(id) => id,
            Err(why) => return Ok(Err(why)),
        };
        self.outbox.push(Event::Emit { id, record: bindings::from_guest(record) });
        self.progress.begun.fetch_add(1, Relaxed);
        self.progress.restart();
        // What is left waiting goes when the guest waits.
        let now = self.clock.monotonic();
        if self.outbox.len() >= EVENTS_WAITING_MAX || now.saturating_sub(self.sent_at) >= SEND_AFTER {
            self.sent_at = now;
            if !self.outbox.send(&self.link.events).await {
                return Ok(Err("the instance was stopped".to_owned()));
            }
        }
        Ok(Ok(id))
    }

    async fn receipts(&mut self, wait_ms: u64) -> Result<Vec<Receipt>> {
        let emissions = self.emissions("emissions.receipts")?;
        // No timer has so short a time.
        if wait_ms == 0 {
            return Ok(emissions.take());
        }
        let waited = tokio::time::timeout(Duration::from_millis(wait_ms), emissions.wait()).await;
        Ok(waited.unwrap_or_default())
    }

    fn is_ending(&mut self) -> Result<bool> {
        Ok(self.emissions("emissions.is-ending")?.is_ending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(receipts: &[Receipt]) -> Vec<(u64, Option<&str>)> {
        receipts.iter().map(|receipt| (receipt.emission, receipt.error.as_deref())).collect()
    }

    #[test]
    fn a_receipt_is_kept_where_one_is_wanted() {
        let mut state = State::default();
        for wants_receipt in [true, false, true] {
            state.begin(10, 100, wants_receipt).unwrap().unwrap();
        }
        state.answered(&[2, 1, 77], None);
        state.answered(&[3, 3], Some("no room"));
        assert_eq!(numbers(state.receipts.make_contiguous()), [(1, None), (3, Some("no room"))]);
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn so_many_records_and_so_many_bytes_are_on_their_way() {
        let mut state = State::default();
        for id in 1..=1000 {
            assert_eq!(state.begin(1, 2000, false), Some(Ok(id)));
        }
        assert_eq!(state.begin(1, 2000, false), None, "a thousand are");
        state.answered(&[500], None);
        assert_eq!(state.begin(1002, 2000, false), None, "there would be too many bytes");
        assert_eq!(state.begin(1001, 2000, false), Some(Ok(1001)));
        assert!(state.begin(2001, 2000, false).unwrap().unwrap_err().contains("may have 2000"), "it never has room");
    }

    #[test]
    fn receipts_that_nobody_asks_for_do_not_become_memory() {
        let mut state = State::default();
        for id in 1..=2000 {
            assert_eq!(state.begin(1, 2000, true), Some(Ok(id)));
            state.answered(&[id], None);
        }
        assert_eq!(state.begin(1, 2000, true), Some(Err("2000 receipts were not asked for".to_owned())));
    }

    #[tokio::test]
    async fn who_waits_for_room_or_receipts_gets_them_and_hears_of_the_end() {
        let emissions = Arc::new(Emissions::default());
        let (answers, requests) = mpsc::channel(4);
        let listening = tokio::spawn({
            let emissions = Arc::clone(&emissions);
            async move { emissions.listen(requests).await }
        });
        assert_eq!(emissions.begin(60, 100, true).await, Ok(1));
        let waits = tokio::spawn({
            let emissions = Arc::clone(&emissions);
            async move { emissions.begin(60, 100, false).await }
        });
        tokio::task::yield_now().await;
        answers.send(Request::Emitted { ids: vec![1], error: None }).await.unwrap();
        assert_eq!(waits.await.unwrap(), Ok(2));
        assert_eq!(numbers(&emissions.wait().await), [(1, None)]);
        drop(answers);
        listening.await.unwrap();
        assert!(emissions.wait().await.is_empty());
        assert!(emissions.is_ending());
        assert_eq!(emissions.begin(1, 100, false).await, Err("the instance is to end".to_owned()));
    }
}
