//! Random use of one topic, compared with plain sets, with stops at random moments.

use crate::fixture::{Fixture, Opened, cursor, entry, read_all};
use ::model::Position;
use bytes::Bytes;
use ledger::{CursorId, ManagedLedger, Retention};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

#[derive(Debug, Clone)]
enum Step {
    Publish { count: usize, bytes: usize },
    Open { cursor: usize, durable: bool, at: usize },
    Delete { cursor: usize },
    Ack { cursor: usize, at: usize },
    AckBatch { cursor: usize, at: usize, word: u64 },
    Cumulative { cursor: usize, at: usize },
    Reset { cursor: usize, at: usize },
    Flush,
    Trim { keep: bool },
    Dedup { producer: usize, highest: i64 },
    Checkpoint,
    Maintain,
    Reload,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cursor = 0..3usize;
    let at = 0..60usize;
    let step = prop_oneof![
        6 => (1..8usize, 8..3000usize).prop_map(|(count, bytes)| Step::Publish { count, bytes }),
        2 => (cursor.clone(), any::<bool>(), at.clone()).prop_map(|(cursor, durable, at)| Step::Open { cursor, durable, at }),
        1 => cursor.clone().prop_map(|cursor| Step::Delete { cursor }),
        8 => (cursor.clone(), at.clone()).prop_map(|(cursor, at)| Step::Ack { cursor, at }),
        4 => (cursor.clone(), at.clone(), 0..16u64).prop_map(|(cursor, at, word)| Step::AckBatch { cursor, at, word }),
        3 => (cursor.clone(), at.clone()).prop_map(|(cursor, at)| Step::Cumulative { cursor, at }),
        1 => (cursor, at).prop_map(|(cursor, at)| Step::Reset { cursor, at }),
        3 => Just(Step::Flush),
        2 => any::<bool>().prop_map(|keep| Step::Trim { keep }),
        2 => (0..3usize, any::<i64>()).prop_map(|(producer, highest)| Step::Dedup { producer, highest }),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Maintain),
        1 => Just(Step::Reload),
        2 => Just(Step::Stop),
    ];
    prop::collection::vec(step, 1..60)
}

const NAMES: [&str; 3] = ["one", "two", "three"];

/// What one subscription has left.
#[derive(Clone, Default, Debug, PartialEq)]
struct Left {
    durable: bool,
    /// Entries, by number.
    entries: BTreeSet<usize>,
    /// Messages of four of entries that are partly acknowledged.
    partial: BTreeMap<usize, u64>,
}

struct World {
    fixture: Fixture,
    store: Option<Opened>,
    ledger: Option<ManagedLedger>,
    entries: Vec<(Position, Bytes)>,
    cursors: BTreeMap<usize, Left>,
    /// As of the last flush.
    flushed: BTreeMap<usize, Left>,
    dedup: BTreeMap<usize, i64>,
}

impl World {
    async fn new() -> Self {
        let mut fixture = Fixture::new();
        let mut store = fixture.open().await;
        let ledger = store.create("t").await;
        Self {
            fixture,
            store: Some(store),
            ledger: Some(ledger),
            entries: Vec::new(),
            cursors: BTreeMap::new(),
            flushed: BTreeMap::new(),
            dedup: BTreeMap::new(),
        }
    }

    fn parts(&mut self) -> (&mut Opened, &mut ManagedLedger) {
        (self.store.as_mut().unwrap(), self.ledger.as_mut().unwrap())
    }

    fn ledger(&self) -> &ManagedLedger {
        self.ledger.as_ref().unwrap()
    }

    /// A position that may be before what is stored, an entry, or beyond the last one.
    fn position(&self, at: usize) -> Position {
        match self.entries.get(at) {
            Some((position, _)) => *position,
            None => {
                let last = self.ledger().last_confirmed();
                Position::new(last.ledger + (at % 2) as u64, last.entry + 1 + (at % 3) as i64)
            }
        }
    }

    fn id(&self, n: usize) -> Option<CursorId> {
        self.cursors.contains_key(&n).then(|| cursor(self.ledger(), NAMES[n]).expect("the cursor is there"))
    }

    fn first(&self) -> usize {
        let first = self.ledger().first_position();
        self.entries.iter().position(|(p, _)| *p >= first).unwrap_or(self.entries.len())
    }

    async fn flush(&mut self) {
        let (store, ledger) = self.parts();
        store.flush(ledger).await;
        self.flushed = self.cursors.clone();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish { count, bytes } => {
                let from = self.entries.len() as u64;
                let new: Vec<Bytes> = (0..count as u64).map(|n| entry(from + n, bytes)).collect();
                let (store, ledger) = self.parts();
                let positions = store.publish(ledger, &new).await;
                assert_eq!(positions.len(), new.len());
                for (position, data) in positions.into_iter().zip(new) {
                    let n = self.entries.len();
                    if let Some((last, _)) = self.entries.last() {
                        assert!(position == last.next() || (position.ledger > last.ledger && position.entry == 0));
                    }
                    self.entries.push((position, data));
                    for left in self.cursors.values_mut().chain(self.flushed.values_mut()) {
                        left.entries.insert(n);
                    }
                }
            }
            Step::Open { cursor, durable, at } => {
                if self.cursors.contains_key(&cursor) {
                    return;
                }
                let first = self.first();
                let (mark_delete, from) = match at {
                    0 => (Position::EARLIEST, first),
                    at if at <= self.entries.len() => (self.entries[at - 1].0, at.max(first)),
                    _ => (self.ledger().last_confirmed(), self.entries.len()),
                };
                let (store, ledger) = self.parts();
                let batch = durable.then_some(&mut store.batch);
                ledger.open_cursor(batch, NAMES[cursor], mark_delete, BTreeMap::new());
                let entries = (from..self.entries.len()).collect();
                self.cursors.insert(cursor, Left { durable, entries, partial: BTreeMap::new() });
                self.flush().await;
            }
            Step::Delete { cursor } => {
                if let Some(id) = self.id(cursor) {
                    let (store, ledger) = self.parts();
                    ledger.delete_cursor(&mut store.batch, id);
                    self.cursors.remove(&cursor);
                    self.flush().await;
                }
            }
            Step::Ack { cursor, at } => {
                if let Some(id) = self.id(cursor) {
                    let position = self.position(at);
                    let newly = self.ledger.as_mut().unwrap().ack(id, position);
                    let left = self.cursors.get_mut(&cursor).unwrap();
                    assert_eq!(newly, left.entries.remove(&at));
                    left.partial.remove(&at);
                }
            }
            Step::AckBatch { cursor, at, word } => {
                if let Some(id) = self.id(cursor) {
                    let position = self.position(at);
                    let ack = self.ledger.as_mut().unwrap().ack_batch(id, position, 4, &[word]);
                    let left = self.cursors.get_mut(&cursor).unwrap();
                    if left.entries.contains(&at) {
                        let before = left.partial.get(&at).copied().unwrap_or(0b1111);
                        let after = before & word;
                        assert_eq!(ack.newly, before.count_ones() - after.count_ones());
                        assert_eq!(ack.whole, after == 0);
                        if after == 0 {
                            left.entries.remove(&at);
                            left.partial.remove(&at);
                        } else if after != 0b1111 {
                            left.partial.insert(at, after);
                        }
                    } else {
                        assert_eq!(ack.newly, 0);
                    }
                }
            }
            Step::Cumulative { cursor, at } => {
                if let Some(id) = self.id(cursor) {
                    let position = self.position(at);
                    let newly = self.ledger.as_mut().unwrap().ack_cumulative(id, position);
                    let exists = at < self.entries.len();
                    let left = self.cursors.get_mut(&cursor).unwrap();
                    let before = left.entries.len();
                    if exists {
                        left.entries.retain(|&n| n > at);
                        left.partial.retain(|&n, _| n > at);
                    }
                    assert_eq!(newly, (before - left.entries.len()) as u64);
                }
            }
            Step::Reset { cursor, at } => {
                if let Some(id) = self.id(cursor) {
                    let first = self.first();
                    let position = self.position(at);
                    let from = (at + 1).min(self.entries.len()).max(first);
                    let (store, ledger) = self.parts();
                    ledger.reset_cursor(&mut store.batch, id, position);
                    let left = self.cursors.get_mut(&cursor).unwrap();
                    left.entries = (from..self.entries.len()).collect();
                    left.partial.clear();
                    self.flush().await;
                }
            }
            Step::Flush => self.flush().await,
            Step::Trim { keep } => {
                let retention = if keep {
                    Retention { time: None, bytes: Some(6000) }
                } else {
                    Retention { time: Some(Duration::ZERO), bytes: Some(0) }
                };
                let (store, ledger) = self.parts();
                ledger.trim(&mut store.batch, retention);
                self.flush().await;
            }
            Step::Dedup { producer, highest } => {
                let (store, ledger) = self.parts();
                ledger.dedup_set(&mut store.batch, NAMES[producer], highest);
                store.commit().await;
                self.dedup.insert(producer, highest);
            }
            Step::Checkpoint => self.parts().0.store.checkpoint().await.unwrap(),
            Step::Maintain => {
                self.fixture.clock.advance(Duration::from_secs(700));
                self.parts().0.store.maintain().await.unwrap();
            }
            Step::Reload => {
                self.flush().await;
                self.ledger = None;
                self.ledger = Some(self.store.as_ref().unwrap().load("t"));
                self.cursors.retain(|_, left| left.durable);
                self.flushed = self.cursors.clone();
            }
            Step::Stop => {
                self.ledger = None;
                self.store = None;
                self.store = Some(self.fixture.open().await);
                self.ledger = Some(self.store.as_ref().unwrap().load("t"));
                self.after_stop();
            }
        }
        self.check();
    }

    /// Acknowledgements that were flushed have survived, and no others.
    fn after_stop(&mut self) {
        self.flushed.retain(|_, left| left.durable);
        self.cursors = self.flushed.clone();
    }

    fn check(&mut self) {
        let first = self.first();
        // What was trimmed is acknowledged durably.
        for left in self.flushed.values().filter(|l| l.durable) {
            let lost: Vec<_> = left.entries.range(..first).collect();
            assert!(lost.is_empty(), "{lost:?} were trimmed and not acknowledged");
        }
        for left in self.cursors.values_mut().chain(self.flushed.values_mut()) {
            left.entries.retain(|&n| n >= first);
            left.partial.retain(|&n, _| n >= first);
        }
        let ledger = self.ledger();
        assert_eq!(ledger.entries_added(), self.entries.len() as u64);
        let last = self.entries.last().map_or(-1, |(p, _)| p.entry);
        assert_eq!(ledger.last_confirmed().entry, last);
        assert_eq!(ledger.cursors().len(), self.cursors.len());
        for (&n, left) in &self.cursors {
            let id = self.id(n).unwrap();
            assert_eq!(ledger.backlog(id), left.entries.len() as u64, "backlog of {n}");
            let next = left.entries.first().map(|&e| self.entries[e].0);
            assert_eq!(ledger.first_unacked(id, Position::EARLIEST), next);
            let mark_delete = ledger.mark_delete(id);
            if let Some(next) = next {
                assert_eq!(ledger.next_position(mark_delete), next);
            } else {
                assert!(mark_delete >= ledger.last_confirmed(), "{mark_delete}");
            }
            for (number, (position, _)) in self.entries.iter().enumerate() {
                assert_eq!(ledger.is_acked(id, *position), !left.entries.contains(&number), "{n} {number} {position}");
                let word = ledger.ack_set(id, *position).map(|w| w[0]);
                assert_eq!(word, left.partial.get(&number).copied(), "{n} {number}");
            }
        }
        for (&producer, &highest) in &self.dedup {
            assert_eq!(ledger.dedup_highest(NAMES[producer]), Some(highest));
        }
    }

    async fn check_data(&mut self) {
        let first = self.first();
        let (_, ledger) = self.parts();
        let start = ledger.first_position();
        let read = read_all(ledger, start).await;
        let read: Vec<_> = read.into_iter().map(|e| (e.position, e.data)).collect();
        assert!(read == self.entries[first..], "{} of {} entries", read.len(), self.entries.len() - first);
    }
}

/// Each case stops and starts a store several times; `PROPTEST_CASES` asks for more of them.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_managed_ledger_is_what_was_durable(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps.into_iter().chain([Step::Flush, Step::Stop]) {
                let look = matches!(step, Step::Maintain | Step::Stop | Step::Trim { .. });
                world.step(step).await;
                if look {
                    world.check_data().await;
                }
            }
        });
    }
}
