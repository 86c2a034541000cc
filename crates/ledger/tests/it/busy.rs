//! Several owners at once, beside checkpoints and compaction, and a stop in the middle of it.

use crate::fixture::{Fixture, Opened, cursor, entry, read_all};
use ::model::Position;
use ledger::{ManagedLedger, Retention};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// What one owner was promised.
struct Promised {
    entries: Vec<(Position, u64)>,
    acked: BTreeSet<Position>,
}

/// Publishes, acknowledges most of it out of order, trims; returns what was durable when it was told to stop.
async fn work(mut o: Opened, mut ledger: ManagedLedger, seed: u64, stop: Arc<AtomicBool>) -> Promised {
    let id = cursor(&ledger, "s").unwrap();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut promised = Promised { entries: Vec::new(), acked: BTreeSet::new() };
    let mut count = 0;
    // On a loaded machine the time may be over before there is anything to look at.
    while !stop.load(Relaxed) || promised.entries.len() <= 20 {
        let entries: Vec<_> =
            (0..1 + next(6)).map(|n| (count + n, entry(count + n, 8 + next(4000) as usize))).collect();
        count += entries.len() as u64;
        // Some of what is there already is acknowledged in the same commit.
        let mut acks = Vec::new();
        for (position, _) in promised.entries.iter().rev().take(40) {
            if next(4) != 0 && ledger.ack(id, *position) {
                acks.push(*position);
            }
        }
        if next(10) == 0 {
            let behind = promised.entries.len().saturating_sub(60);
            if let Some((position, _)) = promised.entries.get(behind) {
                ledger.ack_cumulative(id, *position);
                acks.extend(promised.entries[..=behind].iter().map(|(p, _)| *p));
            }
        }
        ledger.flush_acks(&mut o.batch);
        if next(5) == 0 {
            ledger.trim(&mut o.batch, Retention { time: Some(Duration::ZERO), bytes: Some(0) });
        }
        let datas: Vec<_> = entries.iter().map(|(_, data)| data.clone()).collect();
        let positions = o.publish(&mut ledger, &datas).await;
        promised.entries.extend(positions.into_iter().zip(entries.iter().map(|(n, _)| *n)));
        promised.acked.extend(acks);
    }
    promised
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_at_work_beside_checkpoints_lose_nothing_at_a_stop() {
    let mut fixture = Fixture::new();
    fixture.config.checkpoint_bytes = 32 << 10;
    fixture.config.reclaim_interval = Duration::ZERO;
    for round in 0..3 {
        let mut o = fixture.open().await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut owners = Vec::new();
        for n in 0..4u64 {
            let mut ledger = o.create(&format!("t{round}-{n}")).await;
            o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
            let mine = Opened {
                store: o.store.clone(),
                recovered: ledger::Recovered::default(),
                batch: o.store.batch(),
                listener: o.listener.clone(),
            };
            owners.push(tokio::spawn(work(mine, ledger, n + 10 * round, stop.clone())));
        }
        let housekeeping = {
            let (store, stop) = (o.store.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    store.maintain().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(700)).await;
        stop.store(true, Relaxed);
        let mut promises = Vec::new();
        for owner in owners {
            promises.push(owner.await.unwrap());
        }
        housekeeping.await.unwrap();
        drop(o);

        let o = fixture.open().await;
        for (n, promised) in promises.into_iter().enumerate() {
            let mut ledger = o.load(&format!("t{round}-{n}"));
            let id = cursor(&ledger, "s").unwrap();
            assert_eq!(ledger.entries_added(), promised.entries.len() as u64);
            let first = ledger.first_position();
            let read = read_all(&mut ledger, Position::EARLIEST).await;
            let mut read = read.into_iter().peekable();
            let mut left = 0;
            for (position, number) in promised.entries {
                assert_eq!(ledger.is_acked(id, position), promised.acked.contains(&position), "{position} of {n}");
                left += u64::from(!promised.acked.contains(&position));
                if position >= first {
                    let entry = read.next().unwrap();
                    assert_eq!(entry.position, position);
                    assert_eq!(entry.data[..8], number.to_le_bytes());
                } else {
                    assert!(promised.acked.contains(&position), "{position} is gone and was never acknowledged");
                }
            }
            assert!(read.next().is_none());
            assert_eq!(ledger.backlog(id), left);
        }
    }
}
