//! Publishing at a set rate, or as fast as receipts allow.
//!
//! One thread sends for all producers. It sleeps until the next batch is due and then writes every message due by then
//! straight into the connection's buffer: a batch's payload was encoded once, and every prefix of it is a batch too; only
//! the due times in the payloads, the sequence ids and the checksum are new each time.

use super::meter::{Clock, Meter};
use bytes::{BufMut, BytesMut};
use client::{
    Connection, Error, ProducerEvents,
    hot::{Receipt, Send, put_plain_batch_message},
};
use parking_lot::Mutex;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Every payload begins with the time it was due, so it is at least this long.
pub(super) const STAMP_BYTES: usize = 8;

/// How messages become entries.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The payload of the largest entry.
    payload: Vec<u8>,
    /// Messages in it.
    pub(super) messages_max: u32,
    /// How far it is from one message's payload to the next, and to the first.
    pub(super) stride: usize,
    pub(super) first: usize,
    pub(super) size: usize,
    pub(super) delay_ns: u64,
    pub(super) is_batch: bool,
}

impl Shape {
    pub(super) fn new(size: usize, messages: u32, bytes: usize, delay: Duration) -> Self {
        let size = size.max(STAMP_BYTES);
        // Bytes that do not compress, the same in every run.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let message: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .take(size)
        .collect();
        if messages == 1 {
            let (payload, messages_max) = (message, 1);
            return Self { payload, messages_max, stride: size, first: 0, size, delay_ns: 0, is_batch: false };
        }
        let mut payload = BytesMut::new();
        put_plain_batch_message(&mut payload, &message);
        let stride = payload.len();
        let messages_max = messages.min((bytes / stride).max(1) as u32);
        for _ in 1..messages_max {
            put_plain_batch_message(&mut payload, &message);
        }
        Self {
            payload: payload.to_vec(),
            messages_max,
            stride,
            first: stride - size,
            size,
            delay_ns: delay.as_nanos() as u64,
            is_batch: true,
        }
    }

    /// The due times in an entry's payload; empty when it is not of this shape.
    pub(super) fn stamps<'a>(&self, payload: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
        let (stride, first) = (self.stride, self.first);
        let fits = if self.is_batch { payload.len().is_multiple_of(stride) } else { payload.len() == self.size };
        let payload = if fits { payload } else { &[] };
        payload.chunks_exact(stride).filter_map(move |message| {
            message.get(first..)?.first_chunk::<STAMP_BYTES>().map(|stamp| u64::from_be_bytes(*stamp))
        })
    }
}

/// One producer, on the sending side.
pub(super) struct Publisher {
    pub(super) connection: Arc<Connection>,
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) receipts: Arc<Receipts>,
    pub(super) next_sequence_id: u64,
    /// Messages sent.
    pub(super) sent: u64,
}

impl Publisher {
    /// Sends one entry of `messages`, the first due at `due`, each later one `step` nanoseconds after.
    fn send(&mut self, shape: &Shape, messages: u32, due: u64, step: f64, now_ms: u64) {
        let sequence_id = self.next_sequence_id;
        let highest = sequence_id + u64::from(messages) - 1;
        self.next_sequence_id = highest + 1;
        self.sent += u64::from(messages);
        // Known before it is written, since the receipt may come before we are back.
        self.receipts.expect(Sent { sequence_id, messages, due, step });
        let send = Send {
            producer_id: self.id,
            sequence_id,
            highest_sequence_id: shape.is_batch.then_some(highest),
            messages,
            producer_name: &self.name,
            publish_time_ms: now_ms,
            is_batch: shape.is_batch,
        };
        self.connection.write_quietly(|out| {
            send.write(out, |out| {
                let start = out.len();
                out.put_slice(&shape.payload[..messages as usize * shape.stride]);
                for index in 0..messages {
                    let at = start + shape.first + index as usize * shape.stride;
                    let due = due + (f64::from(index) * step) as u64;
                    out[at..at + STAMP_BYTES].copy_from_slice(&due.to_be_bytes());
                }
            });
        });
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence_id: u64,
    messages: u32,
    due: u64,
    step: f64,
}

/// The receipts of one producer.
pub(super) struct Receipts {
    meter: Arc<Meter>,
    alarm: Arc<Alarm>,
    size: u64,
    outstanding_max: u32,
    outstanding: AtomicU32,
    sent: Mutex<VecDeque<Sent>>,
}

impl Receipts {
    pub(super) fn new(meter: Arc<Meter>, alarm: Arc<Alarm>, size: usize, outstanding_max: u32) -> Arc<Self> {
        let (outstanding, sent) = (AtomicU32::new(0), Mutex::default());
        Arc::new(Self { meter, alarm, size: size as u64, outstanding_max, outstanding, sent })
    }

    /// Messages without a receipt.
    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Whether `messages` more may be sent; one entry always may.
    fn has_room(&self, messages: u32) -> bool {
        let outstanding = self.outstanding();
        outstanding == 0 || outstanding + messages <= self.outstanding_max
    }

    fn expect(&self, sent: Sent) {
        self.outstanding.fetch_add(sent.messages, Ordering::AcqRel);
        self.sent.lock().push_back(sent);
    }
}

impl ProducerEvents for Receipts {
    fn receipt(&self, receipt: Receipt) {
        let sent = self.sent.lock().pop_front();
        let Some(sent) = sent.filter(|sent| sent.sequence_id == receipt.sequence_id) else {
            let why = format!("a receipt for {} out of turn", receipt.sequence_id);
            return self.meter.fail(Error::Protocol(why.into()));
        };
        self.outstanding.fetch_sub(sent.messages, Ordering::AcqRel);
        let due = (0..sent.messages).map(|index| sent.due + (f64::from(index) * sent.step) as u64);
        self.meter.time(due, self.meter.clock.now());
        self.meter.count(u64::from(sent.messages), u64::from(sent.messages) * self.size);
    }

    fn refused(&self, _sequence_id: u64, error: Error) {
        self.meter.fail(error);
        self.alarm.ring();
    }

    fn lost(&self, error: Error) {
        self.meter.fail(error);
        self.alarm.ring();
    }

    fn burst_end(&self) {
        // Half of it: the sender should find enough to do to be worth waking.
        if self.outstanding() <= self.outstanding_max / 2 {
            self.alarm.ring();
        }
    }
}

/// Wakes the sending thread, at no cost while it is not asleep.
#[derive(Default)]
pub(super) struct Alarm {
    sleeper: OnceLock<Thread>,
    asleep: AtomicBool,
    over: AtomicBool,
}

impl Alarm {
    fn ring(&self) {
        if self.asleep.swap(false, Ordering::AcqRel)
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.unpark();
        }
    }

    /// Sleeps until it rings, unless `is_ready` becomes true first. Ten milliseconds at most, so that nothing hangs.
    fn sleep_unless(&self, is_ready: impl Fn() -> bool) {
        self.asleep.store(true, Ordering::SeqCst);
        if !is_ready() && !self.is_over() {
            thread::park_timeout(Duration::from_millis(10));
        }
        self.asleep.store(false, Ordering::Release);
    }

    /// Ends the sending thread.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ring();
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// Sends until the alarm says it is over; returns how many messages were sent. Runs on a thread of its own.
pub(super) fn send_all(
    mut publishers: Vec<Publisher>,
    shape: &Shape,
    rate: Option<f64>,
    clock: &Clock,
    alarm: &Alarm,
) -> u64 {
    let _ = alarm.sleeper.set(thread::current());
    match rate {
        None => at_maximum(&mut publishers, shape, clock, alarm),
        Some(rate) => at_rate(&mut publishers, shape, rate, clock, alarm),
    }
    publishers.iter().map(|publisher| publisher.sent).sum()
}

fn at_maximum(publishers: &mut [Publisher], shape: &Shape, clock: &Clock, alarm: &Alarm) {
    let messages = shape.messages_max;
    while !alarm.is_over() {
        let mut is_stuck = true;
        let now_ms = now_ms();
        for publisher in publishers.iter_mut() {
            // A few at a time, so that no producer waits for all of another's.
            for _ in 0..64 {
                if !publisher.receipts.has_room(messages) {
                    break;
                }
                publisher.send(shape, messages, clock.now(), 0.0, now_ms);
                is_stuck = false;
            }
            publisher.connection.flush();
        }
        if is_stuck {
            let receipts: Vec<_> = publishers.iter().map(|publisher| &publisher.receipts).collect();
            alarm.sleep_unless(|| receipts.iter().any(|receipts| receipts.has_room(receipts.outstanding_max / 2)));
        }
    }
}

/// When the messages of one producer of several are due, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: u64,
    /// Nanoseconds from one message of this producer to its next.
    step: f64,
    /// This producer's share of the first step.
    offset: f64,
}

impl Schedule {
    fn due(&self, index: u64) -> u64 {
        self.start + (self.offset + index as f64 * self.step) as u64
    }

    /// When the batch that begins with message `index` is to leave.
    fn leaves(&self, index: u64, shape: &Shape) -> u64 {
        let is_full = self.due(index + u64::from(shape.messages_max) - 1);
        is_full.min(self.due(index) + shape.delay_ns)
    }

    /// How many messages from `index` on are due at `now`, `most` at most.
    fn due_by(&self, index: u64, now: u64, most: u32) -> u32 {
        let mut count = 0;
        while count < most && self.due(index + u64::from(count)) <= now {
            count += 1;
        }
        count
    }
}

/// So many connections may have something to write before it is written.
const UNFLUSHED_MAX: usize = 32;
/// A producer that may not send more is looked at again after this.
const BLOCKED_NS: u64 = 200_000;

fn at_rate(publishers: &mut [Publisher], shape: &Shape, rate: f64, clock: &Clock, alarm: &Alarm) {
    let step = publishers.len() as f64 * 1e9 / rate;
    let start = clock.now();
    let schedule = |index: usize| Schedule { start, step, offset: index as f64 * 1e9 / rate };
    let mut next: BinaryHeap<Reverse<(u64, usize)>> =
        (0..publishers.len()).map(|index| Reverse((schedule(index).leaves(0, shape), index))).collect();
    let mut unflushed: Vec<Arc<Connection>> = Vec::new();
    while let Some(Reverse((at, index))) = next.pop() {
        if clock.now() < at || unflushed.len() >= UNFLUSHED_MAX {
            unflushed.drain(..).for_each(|connection| connection.flush());
        }
        sleep_until(at, clock, alarm);
        if alarm.is_over() {
            return;
        }
        let (schedule, publisher) = (schedule(index), &mut publishers[index]);
        let mut leaves = at;
        while leaves <= clock.now() {
            let due = schedule.due_by(publisher.sent, clock.now(), shape.messages_max);
            if !publisher.receipts.has_room(due) {
                leaves = clock.now() + BLOCKED_NS;
                break;
            }
            publisher.send(shape, due.max(1), schedule.due(publisher.sent), step, now_ms());
            leaves = schedule.leaves(publisher.sent, shape);
        }
        // Producers that share a connection and are due together share a system call.
        if unflushed.last().is_none_or(|last| !Arc::ptr_eq(last, &publisher.connection)) {
            unflushed.push(publisher.connection.clone());
        }
        next.push(Reverse((leaves, index)));
    }
}

/// The kernel wakes a sleeper some fifty microseconds late; a rest shorter than that is not worth it.
const NAP_NS: u64 = 20_000;

fn sleep_until(at: u64, clock: &Clock, alarm: &Alarm) {
    const NAP_MAX: Duration = Duration::from_millis(100);
    loop {
        let left = at.saturating_sub(clock.now());
        if left < NAP_NS || alarm.is_over() {
            return;
        }
        thread::sleep(Duration::from_nanos(left).min(NAP_MAX));
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(messages: u32, bytes: usize) -> Shape {
        Shape::new(100, messages, bytes, Duration::from_millis(1))
    }

    #[test]
    fn a_batch_is_bounded_by_messages_and_bytes() {
        assert_eq!(shape(10, 1 << 20).messages_max, 10);
        let by_bytes = shape(1000, 1000);
        assert_eq!(by_bytes.messages_max as usize, 1000 / by_bytes.stride);
        assert_eq!(shape(1000, 1).messages_max, 1, "one message always fits");
        let single = shape(1, 1 << 20);
        assert_eq!((single.is_batch, single.delay_ns, single.stride), (false, 0, 100));
    }

    #[test]
    fn stamps_are_read_from_where_they_are_written() {
        let shape = shape(3, 1 << 20);
        let mut payload = shape.payload.clone();
        for index in 0..3u64 {
            let at = shape.first + index as usize * shape.stride;
            payload[at..at + STAMP_BYTES].copy_from_slice(&(index * 7).to_be_bytes());
        }
        assert_eq!(shape.stamps(&payload).collect::<Vec<_>>(), [0, 7, 14]);
        assert_eq!(shape.stamps(&payload[..shape.stride]).collect::<Vec<_>>(), [0]);
        assert_eq!(shape.stamps(b"somebody else's").count(), 0);
    }

    #[test]
    fn a_batch_leaves_when_it_is_full_or_its_delay_is_over() {
        // One message each 100 us, of two producers: 200 us from one to the next.
        let schedule = Schedule { start: 1000, step: 200_000.0, offset: 100_000.0 };
        assert_eq!(schedule.due(0), 101_000);
        assert_eq!(schedule.leaves(0, &shape(3, 1 << 20)), 501_000, "full with the third");
        assert_eq!(schedule.leaves(0, &shape(100, 1 << 20)), 1_101_000, "one millisecond after the first");
        assert_eq!(schedule.leaves(5, &shape(1, 1 << 20)), schedule.due(5));
        assert_eq!(schedule.due_by(0, 501_000, 100), 3);
        assert_eq!(schedule.due_by(0, 501_000, 2), 2);
        assert_eq!(schedule.due_by(4, 501_000, 100), 0);
    }
}
