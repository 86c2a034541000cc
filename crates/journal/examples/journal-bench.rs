//! Commit latency, throughput and CPU of the journal alone, on a real directory.
//!
//! `cargo run --release -p journal --example journal-bench -- DIR [SECONDS] [KEY=VALUE ...]` with `step`, `in-flight` and `rate` as
//! keys. (a): single commits of 1 KiB at `rate` a second (5,000), latency counted from when each was due. (b): commits of 50 x 1 KiB
//! as fast as they go with 16 MiB waiting. (c): reads it all back.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use journal::{Config, Directory, Files, Journal, Listener, Lsn, Record};
use parking_lot::Mutex;

/// Notes when commits became durable.
#[derive(Default)]
struct Clock {
    waiting: Mutex<VecDeque<(Lsn, Instant)>>,
    micros: Mutex<Vec<u32>>,
    durable: AtomicU64,
}

impl Listener for Clock {
    fn advanced(&self, durable: Lsn) {
        let now = Instant::now();
        self.durable.store(durable, Ordering::Release);
        let mut waiting = self.waiting.lock();
        let mut micros = self.micros.lock();
        while let Some((_, due)) = waiting.pop_front_if(|(lsn, _)| *lsn <= durable) {
            micros.push(now.saturating_duration_since(due).as_micros() as u32);
        }
    }
    fn failed(&self) {}
}

/// CPU time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn percentile(sorted: &[u32], percent: f64) -> f64 {
    let at = ((sorted.len() as f64 * percent / 100.0) as usize).min(sorted.len().saturating_sub(1));
    f64::from(sorted.get(at).copied().unwrap_or(0)) / 1000.0
}

struct Run<'a> {
    journal: &'a Journal,
    clock: Arc<Clock>,
    listener: Arc<dyn Listener>,
    body: Bytes,
    seq: u64,
}

impl Run<'_> {
    fn commit(&mut self, records: u64, due: Instant) -> Result<(), journal::Error> {
        let (seq, body) = (self.seq, &self.body);
        let mut waiting = self.clock.waiting.lock();
        let (lsn, ()) = self.journal.commit(&self.listener, |commit| {
            for seq in seq..seq + records {
                let body = body.clone();
                commit.push(Record { kind: 1, flags: 0, bundle: 0, epoch: 1, stream: 1, seq, aux: 1, body });
            }
        })?;
        waiting.push_back((lsn, due));
        self.seq += records;
        Ok(())
    }

    fn report(&self, name: &str, records: u64, started: Instant, cpu: f64, before: &journal::Stats) {
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let stats = self.journal.stats();
        let mut micros = std::mem::take(&mut *self.clock.micros.lock());
        micros.sort_unstable();
        let (writes, bytes) = (stats.writes - before.writes, stats.bytes_written - before.bytes_written);
        let submitted = stats.bytes_submitted - before.bytes_submitted;
        println!(
            "{name}: {:.0} records/s, {:.1} MB/s; latency ms p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2}; {:.2} CPU s per million \
             records; {} writes of {:.1} KiB, {:.2} bytes written per byte",
            records as f64 / seconds,
            submitted as f64 / seconds / 1e6,
            percentile(&micros, 50.0),
            percentile(&micros, 99.0),
            percentile(&micros, 99.9),
            percentile(&micros, 100.0),
            cpu * 1e6 / records as f64,
            writes,
            bytes as f64 / writes as f64 / 1024.0,
            bytes as f64 / submitted as f64,
        );
    }
}

/// Gives back all but the youngest full file, so that the capacity lasts and files are reused.
fn recycle(journal: &Journal) -> Result<(), journal::Error> {
    let files = journal.files();
    for file in files.iter().filter(|file| file.sealed).rev().skip(1).collect::<Vec<_>>().iter().rev() {
        journal.recycle(file.number)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("which directory?")?;
    let mut config = Config { dir: dir.clone().into(), ..Config::default() };
    let (mut seconds, mut rate) = (5, 5000);
    for arg in args {
        match arg.split_once('=') {
            Some(("step", value)) => config.write_step_bytes = value.parse()?,
            Some(("in-flight", value)) => config.writes_in_flight = value.parse()?,
            Some(("rate", value)) => rate = value.parse()?,
            Some(("direct", value)) => config.direct = value.parse()?,
            _ => seconds = arg.parse()?,
        }
    }
    let opening = Instant::now();
    let files: Arc<dyn Files> = Arc::new(Directory::open(&dir, config.direct)?);
    let (journal, recovery) = Journal::open(config, files, u64::from(u32::MAX) << 12, &mut |_, _| Ok(()))?;
    let clock = Arc::new(Clock::default());
    let listener: Arc<dyn Listener> = clock.clone();
    let mut run = Run { journal: &journal, clock, listener, body: Bytes::from(vec![0xa5; 1024]), seq: 0 };
    run.commit(1, Instant::now())?;
    journal.wait_blocking(journal.last())?;
    println!(
        "open and first commit: {:.1} ms ({} files before)",
        opening.elapsed().as_secs_f64() * 1e3,
        recovery.files
    );

    let (before, cpu, started) = (journal.stats(), cpu_seconds(), Instant::now());
    let period = Duration::from_secs(1) / rate;
    let count = u64::from(rate) * seconds;
    let mut due = started;
    for number in 0..count {
        due += period;
        let now = Instant::now();
        if due > now + Duration::from_micros(100) {
            std::thread::sleep(due - now);
        }
        run.commit(1, due)?;
        if number % 10_000 == 0 {
            recycle(&journal)?;
        }
    }
    journal.wait_blocking(journal.last())?;
    run.report("(a) single", count, started, cpu, &before);

    let (before, cpu, started) = (journal.stats(), cpu_seconds(), Instant::now());
    let mut records = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        if journal.queued_bytes() > 16 << 20 {
            std::thread::sleep(Duration::from_micros(500));
            continue;
        }
        match run.commit(50, Instant::now()) {
            Ok(()) => records += 50,
            Err(journal::Error::Full) => recycle(&journal)?,
            Err(error) => return Err(error.into()),
        }
        if records % 50_000 == 0 {
            recycle(&journal)?;
        }
    }
    journal.wait_blocking(journal.last())?;
    run.report("(b) batches", records, started, cpu, &before);

    let (cpu, started, mut bytes) = (cpu_seconds(), Instant::now(), 0);
    let mut seq = journal.first_seq(1).unwrap_or(0);
    let first = seq;
    while seq < run.seq {
        let got = journal.read(1, seq, usize::MAX, 1 << 20)?;
        seq += got.len() as u64;
        bytes += got.iter().map(|(_, _, body)| body.len()).sum::<usize>();
    }
    let taken = started.elapsed().as_secs_f64();
    let cpu = (cpu_seconds() - cpu) * 1e6 / (seq - first) as f64;
    println!("(c) read: {:.0} MB/s, {cpu:.2} CPU s per million records", bytes as f64 / taken / 1e6);
    println!("writes by time, in powers of two of a microsecond: {:?}", journal.stats().write_micros);
    println!("{:?}, {} MiB on disk", journal.stats().sync_mode, journal.stats().disk_bytes >> 20);
    let closing = Instant::now();
    journal.close();
    println!("close: {:.1} ms", closing.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
