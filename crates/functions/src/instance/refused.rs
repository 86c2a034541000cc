//! Messages that were refused, until they come again.
//!
//! Where consumers share, the broker gives a message again, perhaps to another one, and counts how often it did. Where one consumer gets all in
//! order it can only send everything again that is not acknowledged, and counts nothing, so that in Pulsar no dead letter policy ever ends
//! there. But nobody else can have these messages meanwhile: they wait here, their attempts are counted here, and what follows them goes on, as
//! with Pulsar. When the instance ends, or another consumer becomes the active one, they come again with everything else and count anew.
//!
//! Source: Pulsar's `PersistentDispatcherSingleActiveConsumer`, with its `RedeliveryTrackerDisabled`, and
//! `ConsumerImpl.redeliverUnacknowledgedMessages`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::message::{InputId, Message, MessageId};

/// Messages, and bytes of them, that wait here before nothing more is asked for.
const KEPT_MAX: (usize, usize) = (4000, 64 << 20);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Whether they wait here.
    in_order: bool,
    /// By the time to ask the broker for them.
    asked: BTreeMap<Duration, Vec<(InputId, MessageId)>>,
    /// By the time to call for them again.
    kept: BTreeMap<Duration, Vec<Arc<Message>>>,
    /// Of those: how many, and their bytes.
    count: usize,
    bytes: usize,
}

/// What is due.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// To be asked of the broker.
    pub(super) ask: Vec<(InputId, MessageId)>,
    /// To be called for, in their order.
    pub(super) call: Vec<Arc<Message>>,
}

impl Refused {
    /// `in_order`: one consumer gets all, in order.
    pub(super) fn new(in_order: bool) -> Self {
        Self { in_order, ..Self::default() }
    }

    /// It comes again at this time.
    pub(super) fn add(&mut self, at: Duration, message: &Arc<Message>) {
        if !self.in_order {
            return self.asked.entry(at).or_default().push((message.input, message.id));
        }
        self.count += 1;
        self.bytes += message.payload.len();
        let redelivery_count = message.redelivery_count.saturating_add(1);
        self.kept.entry(at).or_default().push(Arc::new(Message { redelivery_count, ..(**message).clone() }));
    }

    /// When the next are due.
    pub(super) fn next(&self) -> Option<Duration> {
        let first = [self.asked.keys().next(), self.kept.keys().next()];
        first.into_iter().flatten().min().copied()
    }

    /// Takes what is due.
    pub(super) fn due(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        while let Some(first) = self.asked.first_entry().filter(|first| *first.key() <= now) {
            due.ask.extend(first.remove());
        }
        while let Some(first) = self.kept.first_entry().filter(|first| *first.key() <= now) {
            due.call.extend(first.remove());
        }
        due.call.sort_by_key(|message| (message.input, message.id));
        self.count -= due.call.len();
        self.bytes -= due.call.iter().map(|message| message.payload.len()).sum::<usize>();
        due
    }

    /// Whether so many wait here that nothing more should come.
    pub(super) fn is_full(&self) -> bool {
        self.count >= KEPT_MAX.0 || self.bytes >= KEPT_MAX.1
    }

    /// Those of this input come again with everything else.
    pub(super) fn void(&mut self, input: InputId) {
        self.asked.values_mut().for_each(|ids| ids.retain(|(of, _)| *of != input));
        self.keep(|message| message.input != input);
    }

    /// Those that wait here come again to whoever reads next.
    pub(super) fn leave(&mut self) {
        self.keep(|_| false);
    }

    fn keep(&mut self, wanted: impl Fn(&Message) -> bool) {
        self.kept.retain(|_, messages| {
            messages.retain(|message| wanted(message));
            !messages.is_empty()
        });
        let left = self.kept.values().flatten();
        (self.count, self.bytes) = left.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.payload.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const S: Duration = Duration::from_secs(1);

    fn message(input: InputId, entry: i64) -> Arc<Message> {
        Arc::new(Message { redelivery_count: 3, payload: vec![0; 10].into(), ..testing::message(input, entry) })
    }

    #[test]
    fn what_is_shared_is_asked_for() {
        let mut refused = Refused::new(false);
        refused.add(2 * S, &message(0, 7));
        refused.add(S, &message(1, 8));
        assert_eq!(refused.next(), Some(S));
        refused.void(0);
        let due = refused.due(3 * S);
        assert_eq!((due.ask.len(), due.ask[0].0, due.call.len()), (1, 1, 0));
        assert!(refused.next().is_none() && !refused.is_full());
    }

    #[test]
    fn what_is_in_order_waits_here_is_counted_and_comes_in_order() {
        let mut refused = Refused::new(true);
        for (at, entry) in [(S, 9), (2 * S, 4), (9 * S, 1), (S, 5)] {
            refused.add(at, &message(0, entry));
        }
        refused.add(S, &message(1, 1));
        refused.void(1);
        let due = refused.due(2 * S);
        assert!(due.ask.is_empty());
        assert_eq!(
            due.call.iter().map(|m| (m.id.entry, m.redelivery_count)).collect::<Vec<_>>(),
            [(4, 4), (5, 4), (9, 4)]
        );
        assert_eq!((refused.next(), refused.count, refused.bytes), (Some(9 * S), 1, 10));
        refused.leave();
        assert_eq!((refused.next(), refused.count, refused.bytes), (None, 0, 0));
    }

    #[test]
    fn what_waits_here_is_bounded() {
        let mut refused = Refused::new(true);
        let one = message(0, 1);
        (0..KEPT_MAX.0 - 1).for_each(|_| refused.add(S, &one));
        assert!(!refused.is_full());
        refused.add(S, &one);
        assert!(refused.is_full());
        refused.due(S);
        assert!(!refused.is_full());
    }
}
