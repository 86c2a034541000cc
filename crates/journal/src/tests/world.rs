//! A journal without threads: the test decides what each writer does next, so that a seed repeats every interleaving.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    Config, Listener, Lsn, Record, Recovery,
    block::AlignedBuffer,
    faults::{MemoryFiles, Plan},
    index::Touch,
    read,
    sequencer::Job,
    writer::Core,
};

pub(super) struct Deaf;

impl Listener for Deaf {
    fn advanced(&self, _durable: Lsn) {}
    fn failed(&self) {}
}

pub(super) fn config() -> Config {
    Config {
        file_bytes: 64 << 10,
        first_file_bytes: 32 << 10,
        capacity_bytes: 1 << 20,
        write_bytes_max: 8 << 10,
        write_step_bytes: 1 << 10,
        pace: false,
        ..Config::default()
    }
}

/// What was committed, as far as it may still be there.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) commits: BTreeMap<Lsn, Vec<Record>>,
    seqs: HashMap<u64, u64>,
    /// Commits up to here may be gone with recycled files.
    pub(super) floor: Lsn,
    /// Commits up to here must be there.
    pub(super) durable: Lsn,
}

impl Model {
    pub(super) fn make(&mut self, random: &mut StdRng, large: bool) -> Vec<Record> {
        let count = if random.random_ratio(1, 20) { random.random_range(5..60) } else { random.random_range(1..4) };
        (0..count).map(|_| self.record(random, large)).collect()
    }

    fn record(&mut self, random: &mut StdRng, large: bool) -> Record {
        let stream = random.random_range(1..6);
        let entry = random.random_ratio(3, 4);
        let seq = if entry {
            let seq = self.seqs.entry(stream).or_default();
            *seq += 1;
            *seq - 1
        } else {
            random.random()
        };
        let len = match random.random_range(0..40) {
            0 if large => random.random_range(8_000..30_000),
            1..4 => 0,
            4..10 => random.random_range(0..3_000),
            _ => random.random_range(0..200),
        };
        let mut body = vec![0; len];
        random.fill(&mut body[..]);
        Record {
            kind: if entry { 1 } else { 0x80 + random.random_range(0..4) },
            flags: random.random(),
            bundle: random.random(),
            epoch: random.random(),
            stream,
            seq,
            aux: random.random(),
            body: Bytes::from(body),
        }
    }

    /// Forgets what is not there any more.
    fn cut(&mut self, last: Lsn) {
        self.commits.split_off(&(last + 1));
        self.durable = last;
        self.seqs.clear();
        for record in self.commits.values().flatten().filter(|record| record.kind < 0x80) {
            self.seqs.insert(record.stream, record.seq + 1);
        }
    }

    fn entries(&self) -> BTreeMap<(u64, u64), (Lsn, &Record)> {
        let all = self.commits.iter().flat_map(|(lsn, records)| records.iter().map(|record| (*lsn, record)));
        let entries = all.filter(|(_, record)| record.kind < 0x80);
        entries.map(|(lsn, record)| ((record.stream, record.seq), (lsn, record))).collect()
    }

    /// Checks a replay: whole commits, as they were made, in order. Returns those that are missing up to `durable`.
    pub(super) fn check_replay(&self, after: Lsn, seen: &[(Lsn, Record)]) -> Vec<Lsn> {
        let mut commits: BTreeMap<Lsn, Vec<Record>> = BTreeMap::new();
        let mut previous = after;
        for (lsn, record) in seen {
            assert!(*lsn >= previous && *lsn > after, "commit {lsn} after {previous}");
            previous = *lsn;
            commits.entry(*lsn).or_default().push(record.clone());
        }
        for (lsn, records) in &commits {
            assert_eq!(self.commits.get(lsn), Some(records), "commit {lsn} is not as it was made");
        }
        (after + 1..=self.durable).filter(|lsn| !commits.contains_key(lsn)).collect()
    }

    /// Checks that every entry reads as it was made, or not at all when it may be missing. Returns how many are missing.
    pub(super) fn check_reads(&self, core: &Core, last: Lsn, random: &mut StdRng) -> usize {
        let entries = self.entries();
        let mut missing = 0;
        let mut keys = entries.iter().peekable();
        while let Some(((stream, first), (lsn, _))) = keys.next() {
            let (max_records, once) = (random.random_range(1..30), random.random());
            let max_bytes = if once { 4 << 20 } else { random.random_range(1..20_000) };
            let got = match read::read(&core.index, *stream, *first, max_records, max_bytes, once) {
                Ok(got) => got,
                Err(crate::Error::Corrupt { .. }) => {
                    missing += 1;
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            for (next, (seq, aux, body)) in (*first..).zip(&got) {
                assert_eq!(*seq, next);
                let (at, record) = entries[&(*stream, *seq)];
                assert!(at <= last, "entry of commit {at} is there, but the last is {last}");
                assert_eq!((*aux, body), (record.aux, &record.body));
            }
            if got.is_empty() && *lsn > self.floor && *lsn <= last {
                missing += 1;
            }
            // Mostly go on behind what was read; sometimes start again in the middle of it.
            let skip = if random.random_ratio(1, 4) { got.len() / 2 } else { got.len() };
            for _ in 1..skip {
                keys.next_if(|((other, _), _)| other == stream);
            }
        }
        missing
    }
}

/// A job in the hands of one writer.
enum Hand {
    Claimed(Job),
    Written(Job, io::Result<Vec<Touch>>),
}

pub(super) struct World {
    pub(super) files: MemoryFiles,
    pub(super) random: StdRng,
    pub(super) model: Model,
    pub(super) core: Core,
    hands: Vec<Hand>,
    listener: Arc<dyn Listener>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let files = MemoryFiles::new(seed);
        let mut random = StdRng::seed_from_u64(seed);
        files.plan(Plan { page_cache: random.random_ratio(1, 3), ..Plan::default() });
        let (core, _) = Core::open(config(), Arc::new(files.clone()), 0, &mut |_, _| Ok(())).unwrap();
        Self { files, random, model: Model::default(), core, hands: Vec::new(), listener: Arc::new(Deaf) }
    }

    /// Does anything that could happen next.
    pub(super) fn step(&mut self) {
        match self.random.random_range(0..10) {
            0..3 => self.commit(),
            3..5 if self.hands.len() < 4 => {
                let mut state = self.core.state.lock();
                if let Some(job) = self.core.claim(&mut state) {
                    self.hands.push(Hand::Claimed(job));
                }
            }
            5..9 if !self.hands.is_empty() => {
                let hand = self.random.random_range(0..self.hands.len());
                self.work(hand);
            }
            9 => {
                self.core.chore();
                if self.random.random_ratio(1, 4) {
                    self.recycle();
                }
            }
            _ => {}
        }
    }

    fn commit(&mut self) {
        let before = self.model.clone();
        let records = self.model.make(&mut self.random, true);
        let bytes = records.iter().map(|record| record.body.len() + 48).sum();
        let fill = |commit: &mut crate::Commit| records.iter().cloned().for_each(|record| commit.push(record));
        let lsn = self.core.commit(&self.listener, bytes, fill);
        match lsn {
            Ok((lsn, ())) => {
                assert_eq!(
                    lsn,
                    self.model.commits.keys().last().map_or(self.model.durable, |last| *last).max(self.model.floor) + 1
                );
                self.model.commits.insert(lsn, records);
            }
            Err(_) => self.model = before,
        }
    }

    fn work(&mut self, hand: usize) {
        match self.hands.swap_remove(hand) {
            Hand::Claimed(job) => {
                let result = self.core.write(&job, &mut AlignedBuffer::default());
                self.hands.push(Hand::Written(job, result));
            }
            Hand::Written(job, result) => {
                let batch = self.core.finish(job, result);
                self.core.state.lock().reuse(batch);
            }
        }
        self.model.durable = self.core.durable.load(std::sync::atomic::Ordering::Acquire);
    }

    /// Writes all that is queued, unless the disk fails.
    pub(super) fn settle(&mut self) {
        loop {
            while !self.hands.is_empty() {
                self.work(0);
            }
            while self.core.chore() {}
            let mut state = self.core.state.lock();
            let Some(job) = self.core.claim(&mut state) else { return };
            self.hands.push(Hand::Claimed(job));
        }
    }

    fn recycle(&mut self) {
        let Some(oldest) = self.core.index.read().infos().into_iter().next().filter(|file| file.sealed) else { return };
        let recycled = oldest.last_lsn <= self.model.durable && self.core.recycle(oldest.number).is_ok();
        // One that failed half way is gone from the index all the same.
        if recycled || self.core.index.read().file(oldest.number).is_none() {
            self.model.floor = self.model.floor.max(oldest.last_lsn);
        }
    }

    /// Opens again after power loss or a dead process, however often that fails, and checks what is there.
    pub(super) fn reopen(&mut self, mut interrupt: usize) -> Recovery {
        self.hands.clear();
        loop {
            self.files.restart();
            let after = self.random.random_range(self.model.floor..=self.model.durable.max(self.model.floor));
            if interrupt > 0 {
                interrupt -= 1;
                let at = Some(self.random.random_range(1..30));
                let crash = self.random.random();
                let page_cache = self.random.random();
                let (crash_at, fail_at) = if crash { (at, None) } else { (None, at) };
                self.files.plan(Plan { crash_at, fail_at, page_cache, ..Plan::default() });
            }
            let mut seen = Vec::new();
            let opened = Core::open(config(), Arc::new(self.files.clone()), after, &mut |lsn, record| {
                seen.push((lsn, record.clone()));
                Ok(())
            });
            match opened {
                Ok((core, recovery)) => {
                    self.core = core;
                    let missing = self.model.check_replay(after, &seen);
                    assert_eq!(missing, Vec::<Lsn>::new(), "durable up to {}", self.model.durable);
                    assert_eq!(recovery.quarantined, []);
                    let last = seen.last().map_or(after, |(lsn, _)| *lsn);
                    assert_eq!(recovery.last, last);
                    self.model.cut(last);
                    assert_eq!(self.model.check_reads(&self.core, last, &mut self.random), 0);
                    return recovery;
                }
                Err(crate::Error::Io { .. }) => {
                    self.model.check_replay(after, &seen);
                    self.files.crash();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
