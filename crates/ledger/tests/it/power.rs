//! Power loss and a failing disk under a store at work: what was promised is there, and nothing was done that nobody asked for.

use crate::fixture::{Fixture, Opened, cursor, entry, read_all};
use ::model::Position;
use journal::faults::{MemoryFiles, Plan};
use ledger::{ManagedLedger, Retention, Table};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What the owners do to their tables in commit number `n`, in which they append `entries`.
fn change(tables: &[Table; 2], batch: &mut ledger::Batch, n: u64, entries: u64) {
    let [own, all] = tables;
    let key = format!("k{}", n % 7);
    match n % 3 {
        0 => own.delete(batch, key).unwrap(),
        _ => own.put(batch, key, vec![n as u8; (n as usize * 131) % 3000]).unwrap(),
    }
    if n % 50 == 49 {
        own.clear(batch);
    }
    own.put(batch, "commits", (n + 1).to_be_bytes()).unwrap();
    all.add(batch, own.name(), entries as i64).unwrap();
    all.add(batch, "all", entries as i64).unwrap();
}

/// Rows of an owner's table after `commits` commits.
fn expected_rows(commits: u64) -> BTreeMap<String, Vec<u8>> {
    let mut rows = BTreeMap::new();
    for n in 0..commits {
        let key = format!("k{}", n % 7);
        match n % 3 {
            0 => rows.remove(&key),
            _ => rows.insert(key, vec![n as u8; (n as usize * 131) % 3000]),
        };
        if n % 50 == 49 {
            rows.clear();
        }
        rows.insert("commits".into(), (n + 1).to_be_bytes().to_vec());
    }
    rows
}

/// What one owner did until the journal stopped.
#[derive(Default)]
struct Done {
    /// Durable entries, with their numbers.
    entries: Vec<(Position, u64)>,
    /// Durable acknowledgements.
    acked: BTreeSet<Position>,
    /// All acknowledgements.
    tried: BTreeSet<Position>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

async fn work(
    mut o: Opened,
    mut ledger: ManagedLedger,
    tables: [Table; 2],
    mut random: Random,
    files: MemoryFiles,
) -> Done {
    let id = cursor(&ledger, "s").unwrap();
    let mut done = Done::default();
    let mut count = 0;
    let mut commits = 0;
    loop {
        let mut acks = Vec::new();
        for (position, _) in done.entries.iter().rev().take(40) {
            if random.below(4) != 0 && ledger.ack(id, *position) {
                acks.push(*position);
            }
        }
        let behind = done.entries.len().saturating_sub(60);
        if random.below(10) == 0
            && let Some((position, _)) = done.entries.get(behind)
        {
            ledger.ack_cumulative(id, *position);
            acks.extend(done.entries[..=behind].iter().map(|(p, _)| *p));
        }
        done.tried.extend(&acks);
        ledger.flush_acks(&mut o.batch);
        if random.below(5) == 0 {
            ledger.trim(&mut o.batch, Retention { time: Some(Duration::ZERO), bytes: Some(0) });
        }
        let numbers: Vec<u64> = (count..count + 1 + random.below(6)).collect();
        count += numbers.len() as u64;
        for &n in &numbers {
            ledger.append(&mut o.batch, entry(n, 8 + (n as usize * 977) % 9000), 1);
        }
        change(&tables, &mut o.batch, commits, numbers.len() as u64);
        commits += 1;
        let committed = loop {
            match o.store.commit(&mut o.batch, &o.listener) {
                Ok(committed) => break committed,
                Err(error) if error.is_full() && !files.is_crashed() => {
                    tokio::time::sleep(Duration::from_millis(1)).await
                }
                Err(_) => return done,
            }
        };
        // A commit may wait for a file that cannot be made any more; nobody is told of that.
        loop {
            match tokio::time::timeout(Duration::from_millis(50), o.store.wait(committed.lsn)).await {
                Ok(Ok(())) => break,
                Err(_) if !files.is_crashed() => {}
                _ => return done,
            }
        }
        for (position, n) in committed.positions.into_iter().zip(numbers) {
            ledger.confirm(position);
            done.entries.push((position, n));
        }
        done.acked.extend(acks);
    }
}

/// Compares with what each of the topics was promised.
async fn check(o: &Opened, done: &BTreeMap<String, Done>) {
    let all = o.store.table("all").unwrap();
    let counter = |key: &str| all.get(key.as_bytes()).unwrap().and_then(|v| v.counter()).unwrap_or(0) as u64;
    let mut total = 0;
    for (name, done) in done {
        // The table, the counters and the entries are of the same commits.
        let own = o.store.table(name).unwrap();
        let commits = own.get(b"commits").unwrap().map_or(0, |v| v.counter().unwrap() as u64);
        let rows = own.scan(b"", None, usize::MAX).unwrap();
        let rows: BTreeMap<_, _> =
            rows.into_iter().map(|(k, v)| (String::from_utf8(k.to_vec()).unwrap(), v.bytes.to_vec())).collect();
        assert_eq!(rows, expected_rows(commits), "{name} after {commits} commits");
        let entries = o.load(name).entries_added();
        assert_eq!(counter(name), entries, "{name} after {commits} commits");
        total += entries;

        let mut ledger = o.load(name);
        let id = cursor(&ledger, "s").unwrap();
        let first = ledger.first_position();
        let read = read_all(&mut ledger, Position::EARLIEST).await;
        let mut read = read.into_iter();
        for (position, n) in &done.entries {
            let acked = ledger.is_acked(id, *position);
            assert!(acked || !done.acked.contains(position), "{position} of {name} is not acknowledged any more");
            assert!(!acked || done.tried.contains(position), "{position} of {name} was never acknowledged");
            if *position < first {
                assert!(acked, "{position} of {name} is gone");
                continue;
            }
            let entry = read.next().unwrap_or_else(|| panic!("{position} of {name} is lost"));
            assert_eq!(
                (entry.position, &entry.data[..8]),
                (*position, &n.to_le_bytes()[..]),
                "of {name}, which begins at {first}; acknowledged: {acked}, for good: {}; {:?}",
                done.acked.contains(position),
                ledger.ledgers(),
            );
        }
    }
    assert_eq!(counter("all") - counter("before"), total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_survives_power_loss_and_failed_writes() {
    let rounds: u64 = std::env::var("LEDGER_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for seed in 1..=rounds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut fixture = Fixture::new();
        fixture.config.checkpoint_bytes = 32 << 10;
        fixture.config.reclaim_interval = Duration::ZERO;
        let files = MemoryFiles::new(seed);
        for life in 0..2 {
            let mut o = fixture.open_on(Arc::new(files.clone())).await;
            // What the former life left.
            let all = o.store.table("all").unwrap();
            let before = all.get(b"all").unwrap().map_or(0i64.to_be_bytes().to_vec(), |v| v.bytes.to_vec());
            all.put(&mut o.batch, "before", before).unwrap();
            o.commit().await;
            drop(all);
            let mut owners = Vec::new();
            for n in 0..3 {
                let name = format!("t{life}-{n}");
                let mut ledger = o.create(&name).await;
                o.subscribe(&mut ledger, "s", Position::EARLIEST).await;
                let mine = Opened {
                    store: o.store.clone(),
                    recovered: ledger::Recovered::default(),
                    batch: o.store.batch(),
                    listener: o.listener.clone(),
                };
                let seed = random.below(u64::MAX) | 1;
                let tables = [o.store.table(&name).unwrap(), o.store.table("all").unwrap()];
                owners.push((name, tokio::spawn(work(mine, ledger, tables, Random(seed), files.clone()))));
            }
            let (store, disk) = (o.store.clone(), files.clone());
            let upkeep = tokio::spawn(async move {
                while !disk.is_crashed() {
                    let _ = store.maintain().await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            let at = Some(1 + random.below(1500));
            let page_cache = random.below(2) == 0;
            let crash = random.below(3) > 0;
            let (crash_at, fail_at) = if crash { (at, None) } else { (None, at) };
            files.plan(Plan { crash_at, fail_at, page_cache, short_writes: 9, ..Plan::default() });
            // A failure that only keeps a file from being prepared stops nobody.
            tokio::time::sleep(Duration::from_millis(400)).await;
            files.crash();
            let mut done = BTreeMap::new();
            for (name, owner) in owners {
                done.insert(name, owner.await.unwrap());
            }
            upkeep.await.unwrap();
            drop(o);
            files.restart();
            let o = fixture.open_on(Arc::new(files.clone())).await;
            assert_eq!(o.recovered.journal.quarantined, []);
            check(&o, &done).await;
            drop(o);
            files.restart();
        }
    }
}
