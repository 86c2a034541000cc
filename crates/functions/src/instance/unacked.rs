//! Of guarantee MANUAL: messages whose invocations have ended and that are not acknowledged.
//!
//! User code may acknowledge any number of them at once, long after it had them. Where consumers share, the broker gives one again by its id,
//! so no more of it is kept, and bounds how many there are. Where one consumer gets all in order, one that is to come again is called for again
//! here (see [`super::refused`]), so all of it is kept, and here is the bound; Pulsar has none then.
//!
//! Source: `maxUnackedMessagesPerConsumer` of Pulsar's broker configuration.

use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};

use crate::message::{InputId, Message, MessageId};

/// Messages, and bytes of them, that are kept before nothing more is asked for.
const KEPT_MAX: (usize, usize) = (50_000, 256 << 20);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// Whether all of them is kept.
    in_order: bool,
    /// By invocation.
    messages: BTreeMap<u64, Arc<Message>>,
    bytes: usize,
}

impl Unacked {
    /// `in_order`: one consumer gets all, in order.
    pub(super) fn new(in_order: bool) -> Self {
        Self { in_order, ..Self::default() }
    }

    /// The invocation of this message has ended.
    pub(super) fn put(&mut self, id: u64, message: &Arc<Message>) {
        let kept = match self.in_order {
            true => message.clone(),
            false => Arc::new(Message {
                key: None,
                properties: Vec::new(),
                schema_version: Bytes::new(),
                payload: Bytes::new(),
                ..(**message).clone()
            }),
        };
        self.bytes += kept.payload.len();
        self.messages.insert(id, kept);
    }

    /// The message of this invocation is acknowledged.
    pub(super) fn take(&mut self, id: u64) -> Option<Arc<Message>> {
        let message = self.messages.remove(&id)?;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// This message comes again, or never.
    pub(super) fn forget(&mut self, input: InputId, id: MessageId) {
        self.retain(|message| (message.input, message.id) != (input, id));
    }

    /// Those of this input come again with everything else.
    pub(super) fn void(&mut self, input: InputId) {
        self.retain(|message| message.input != input);
    }

    /// Whether there are so many that nothing more should come.
    pub(super) fn is_full(&self) -> bool {
        self.in_order && (self.messages.len() >= KEPT_MAX.0 || self.bytes >= KEPT_MAX.1)
    }

    fn retain(&mut self, wanted: impl Fn(&Message) -> bool) {
        let gone = self.messages.extract_if(.., |_, message| !wanted(message));
        self.bytes -= gone.map(|(_, message)| message.payload.len()).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn message(entry: i64) -> Arc<Message> {
        Arc::new(Message { payload: vec![0; 1 << 20].into(), ..testing::message(entry as u32 % 2, entry) })
    }

    fn filled(in_order: bool, count: u64) -> Unacked {
        let mut unacked = Unacked::new(in_order);
        (0..count).for_each(|id| unacked.put(id, &message(id as i64)));
        unacked
    }

    #[test]
    fn of_what_is_shared_no_more_is_kept_than_the_broker_needs() {
        let mut unacked = filled(false, 1000);
        assert_eq!((unacked.bytes, unacked.is_full()), (0, false));
        let taken = unacked.take(7).unwrap();
        assert_eq!((taken.input, taken.id, taken.payload.len()), (1, message(7).id, 0));
        assert!(unacked.take(7).is_none());
    }

    #[test]
    fn what_is_in_order_is_kept_as_it_is_until_it_is_too_much() {
        let mut unacked = filled(true, 255);
        assert!(!unacked.is_full());
        unacked.put(255, &message(255));
        assert!(unacked.is_full());
        assert_eq!(unacked.take(255).unwrap().payload.len(), 1 << 20);
        assert!(!unacked.is_full());
        unacked.forget(0, message(8).id);
        unacked.void(1);
        assert_eq!((unacked.messages.len(), unacked.bytes), (127, 127 << 20));
    }
}
