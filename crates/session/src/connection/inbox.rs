//! The read buffer of one connection: grows with what comes, and holds nothing while nothing comes.

use bytes::BytesMut;
use wire::{Decoder, FrameError, Incoming};

/// Reads that use little of the buffer before it is made smaller.
const QUIET_READS: u8 = 16;

/// What was read and not parsed yet.
#[derive(Debug)]
pub(super) struct Inbox {
    buf: BytesMut,
    decoder: Decoder,
    /// Room a read gets.
    step: usize,
    min: usize,
    max: usize,
    quiet: u8,
    /// The buffer may hold a whole frame that nobody has asked for yet.
    unparsed: bool,
}

impl Inbox {
    pub(super) fn new(max_message_size: usize, min: usize, max: usize) -> Self {
        let min = min.clamp(1024, 16 << 20);
        Self {
            buf: BytesMut::new(),
            decoder: Decoder::new(max_message_size),
            step: min,
            min,
            max: max.clamp(min, 64 << 20),
            quiet: 0,
            unparsed: false,
        }
    }

    /// The buffer with room for a read. A peer that announces a large frame gets room only as its bytes arrive.
    pub(super) fn for_read(&mut self) -> &mut BytesMut {
        if self.buf.capacity() - self.buf.len() < self.step / 4 {
            self.decoder.reserve(&mut self.buf, self.step);
        }
        &mut self.buf
    }

    /// `n` bytes were read into what [`Inbox::for_read`] gave, which had room for `room`.
    pub(super) fn was_read(&mut self, n: usize, room: usize) {
        self.unparsed = true;
        if n >= room && room >= self.step / 2 {
            self.step = (self.step * 2).min(self.max);
            self.quiet = 0;
        } else if n < self.step / 8 && self.step > self.min {
            self.quiet += 1;
            if self.quiet >= QUIET_READS {
                self.step = (self.step / 2).max(self.min);
                self.quiet = 0;
            }
        } else {
            self.quiet = 0;
        }
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The peer does not speak the protocol; nothing that follows can be understood.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, FrameError> {
        let next = self.decoder.next(&mut self.buf)?;
        self.unparsed = next.is_some();
        Ok(next)
    }

    /// Bytes that are not in a frame yet.
    pub(super) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether [`Inbox::next`] should be asked before more is read.
    pub(super) fn is_unparsed(&self) -> bool {
        self.unparsed
    }

    /// Whether a frame has begun and is not there in whole.
    pub(super) fn is_half(&self) -> bool {
        !self.buf.is_empty()
    }

    /// Gives the buffer back when it holds nothing.
    pub(super) fn release(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
            self.step = self.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    #[test]
    fn a_busy_connection_reads_more_at_once_and_a_quiet_one_less() {
        let mut inbox = Inbox::new(5 << 20, 16 << 10, 1 << 20);
        for _ in 0..20 {
            let buf = inbox.for_read();
            let room = buf.capacity() - buf.len();
            inbox.buf = BytesMut::new();
            inbox.was_read(room, room);
        }
        assert_eq!(inbox.step, 1 << 20);
        for _ in 0..10 * usize::from(QUIET_READS) {
            inbox.was_read(100, 1 << 20);
        }
        assert_eq!(inbox.step, 16 << 10);
        inbox.release();
        assert_eq!(inbox.buf.capacity(), 0);
    }

    #[test]
    fn an_announced_frame_costs_nothing_before_its_bytes() {
        let mut inbox = Inbox::new(5 << 20, 16 << 10, 1 << 20);
        let buf = inbox.for_read();
        buf.put_u32(5 << 20);
        buf.put_u32(10);
        inbox.was_read(8, 16 << 10);
        assert_eq!(inbox.next(), Ok(None));
        assert!(inbox.is_half() && !inbox.is_unparsed());
        assert!(inbox.for_read().capacity() <= 64 << 10);
    }

    #[test]
    fn a_frame_beyond_the_maximum_is_refused_by_its_size() {
        let mut inbox = Inbox::new(1 << 20, 16 << 10, 1 << 20);
        inbox.for_read().put_u32(2 << 20);
        inbox.was_read(4, 16 << 10);
        assert!(matches!(inbox.next(), Err(FrameError::TooLarge { .. })));
    }
}
