//! What one connection has to write: frames next to each other in one buffer, large entries from where they are.

use broker::Delivery;
use bytes::{Buf, Bytes, BytesMut};
use std::{collections::VecDeque, io::IoSlice};
use wire::encode;

use crate::reply::Frame;

/// Entries smaller than this are copied into the write buffer; larger ones go to the socket from where they are.
const SHARE_BYTES_MIN: usize = 4096;

/// Unwritten bytes at which nothing more is put in: what the broker has to say waits in its channel, where it counts
/// against [`broker::Config`]'s bounds, and no further requests are read.
const FULL_BYTES: usize = 512 * 1024;

/// Parts given to one `writev`.
pub(super) const SLICES: usize = 64;

/// A write buffer that is larger than this is given back when it has been written.
const KEEP_BYTES: usize = 64 * 1024;

#[derive(Debug)]
enum Part {
    /// So many bytes of the buffer.
    Copied(usize),
    /// An entry.
    Shared(Bytes),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Writer {
    copied: BytesMut,
    parts: VecDeque<Part>,
    /// Bytes at the end of `copied` that are in no part yet.
    open: usize,
    pending: usize,
}

impl Writer {
    pub(super) fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Whether what follows has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.pending >= FULL_BYTES
    }

    /// Appends what `encode` puts at the end of the buffer.
    fn put(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.copied.len();
        encode(&mut self.copied);
        let bytes = self.copied.len() - before;
        self.open += bytes;
        self.pending += bytes;
    }

    /// One command.
    pub(super) fn frame(&mut self, frame: &Frame) {
        self.put(|buf| buf.extend_from_slice(&frame.0));
    }

    /// Receipts of messages that follow each other: sequence ids and entries both rise by one.
    pub(super) fn receipts(&mut self, producer: u64, sequence: u64, highest: u64, at: model::Position, count: u32) {
        self.put(|buf| {
            for n in 0..u64::from(count) {
                let highest = if count == 1 { highest } else { sequence.wrapping_add(n) };
                // A receipt without a position (a duplicate) stands alone: its entry is -1.
                let entry = at.entry.wrapping_add(n as i64);
                encode::send_receipt(buf, producer, sequence.wrapping_add(n), highest, at.ledger, entry);
            }
        });
    }

    /// One entry for a consumer.
    pub(super) fn message(&mut self, consumer: u64, epoch: Option<u64>, partition: i32, delivery: Delivery) {
        let Delivery { position, redelivery_count, ack_set, data, messages: _ } = delivery;
        let (ledger, entry) = (position.ledger, position.entry);
        self.put(|buf| {
            let len = data.len();
            let ack_set = &ack_set[..];
            encode::message_header(
                buf,
                consumer,
                ledger,
                entry,
                partition,
                None,
                redelivery_count,
                ack_set,
                epoch,
                len,
            );
            if len < SHARE_BYTES_MIN {
                buf.extend_from_slice(&data);
            }
        });
        if data.len() >= SHARE_BYTES_MIN {
            self.pending += data.len();
            self.close_part();
            self.parts.push_back(Part::Shared(data));
        }
    }

    fn close_part(&mut self) {
        if self.open > 0 {
            self.parts.push_back(Part::Copied(std::mem::take(&mut self.open)));
        }
    }

    /// What to write next, in order; the number of slices filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut filled, mut at) = (0, 0);
        for part in &self.parts {
            if filled == SLICES {
                return filled;
            }
            let bytes = match part {
                Part::Copied(n) => {
                    at += n;
                    &self.copied[at - n..at]
                }
                Part::Shared(bytes) => bytes,
            };
            slices[filled] = IoSlice::new(bytes);
            filled += 1;
        }
        if self.open > 0 && filled < SLICES {
            slices[filled] = IoSlice::new(&self.copied[at..]);
            filled += 1;
        }
        filled
    }

    /// The first `n` pending bytes are written.
    pub(super) fn advance(&mut self, mut n: usize) {
        self.pending -= n;
        while n > 0 {
            match self.parts.front_mut() {
                Some(Part::Copied(len)) => {
                    let step = n.min(*len);
                    self.copied.advance(step);
                    *len -= step;
                    n -= step;
                    if *len == 0 {
                        self.parts.pop_front();
                    }
                }
                Some(Part::Shared(bytes)) => {
                    let step = n.min(bytes.len());
                    bytes.advance(step);
                    n -= step;
                    if bytes.is_empty() {
                        self.parts.pop_front();
                    }
                }
                None => {
                    self.copied.advance(n);
                    self.open -= n;
                    n = 0;
                }
            }
        }
    }

    /// Gives back what a burst made large.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            self.parts.shrink_to(SLICES);
            if self.copied.capacity() > KEEP_BYTES {
                self.copied = BytesMut::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Position;

    fn delivery(bytes: usize) -> Delivery {
        Delivery {
            position: Position::new(1, 2),
            redelivery_count: 0,
            messages: 1,
            ack_set: Default::default(),
            data: Bytes::from(vec![bytes as u8; bytes]),
        }
    }

    /// Writes at most `step` bytes at a time, as a slow socket does.
    fn drain(writer: &mut Writer, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !writer.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = writer.slices(&mut slices);
            let mut taken = Vec::new();
            for slice in &slices[..filled] {
                taken.extend_from_slice(slice);
            }
            taken.truncate(step);
            assert!(!taken.is_empty());
            out.extend_from_slice(&taken);
            writer.advance(taken.len());
        }
        out
    }

    fn filled() -> Writer {
        let mut writer = Writer::default();
        for n in 0..200 {
            writer.message(7, None, -1, delivery(if n % 3 == 0 { 9000 + n } else { 10 + n }));
            writer.receipts(1, n as u64, n as u64, Position::new(3, 4), 1 + n as u32 % 3);
        }
        writer
    }

    #[test]
    fn what_is_written_does_not_depend_on_how_much_the_socket_takes() {
        let whole = drain(&mut filled(), usize::MAX);
        assert_eq!(whole.len(), filled().pending);
        for step in [1000, 4097, 65_536] {
            assert!(drain(&mut filled(), step) == whole, "{step}");
        }
    }

    #[test]
    fn a_run_of_receipts_is_one_receipt_each() {
        let mut writer = Writer::default();
        writer.receipts(1, 5, 5, Position::new(3, 7), 3);
        let mut buf = BytesMut::from(&drain(&mut writer, usize::MAX)[..]);
        let mut seen = Vec::new();
        while let Some(wire::Incoming::Command(command, _)) = wire::next_frame(&mut buf, 1 << 20).unwrap() {
            let receipt = command.send_receipt.unwrap();
            seen.push((receipt.sequence_id, receipt.highest_sequence_id(), receipt.message_id.unwrap().entry_id));
        }
        assert_eq!(seen, [(5, 5, 7), (6, 6, 8), (7, 7, 9)]);
    }

    #[test]
    fn the_buffer_of_a_burst_is_given_back() {
        let mut writer = filled();
        drain(&mut writer, usize::MAX);
        writer.release();
        assert!(writer.copied.capacity() <= KEEP_BYTES);
        writer.frame(&crate::reply::pong());
        assert_eq!(drain(&mut writer, 1).len(), crate::reply::pong().0.len());
    }
}
