//! Invocations to user code: how many at a time, and what becomes of those that were not handed over.

use rustc_hash::FxHashSet;
use std::{collections::VecDeque, sync::atomic::Ordering::SeqCst, time::Duration};

use super::Run;
use crate::{
    message::Message,
    runtime::{Input, Invocation, Request},
    spec::Guarantee,
};

/// Invocations handed over together at most.
const INVOKE_MAX: usize = 256;
/// Payload handed over together, unless one message alone is more.
const INVOKE_BYTES_MAX: usize = 1 << 20;
/// When code that has all it may and says nothing is given more, since it may wait for more before it says anything: where it is known to
/// run many at once, and where that is not known; then not before several times of what it usually takes.
const QUIET: (Duration, Duration, u32) = (Duration::from_millis(50), Duration::from_secs(2), 4);

impl Run {
    pub(super) fn send(&mut self, room: bool) {
        if !room {
            // User code takes nothing any more: its last events say why.
            self.owed.clear();
            return self.forget_queue();
        }
        let was_full = !self.owed.has_room();
        let next = self.owed.pop().unwrap_or_else(|| Request::Invoke(self.begin()));
        // Nobody else sends, so there is room still.
        let _ = self.link.requests.try_send(next);
        if was_full {
            self.ask_again();
        }
    }

    /// What is handed over next.
    pub(super) fn begin(&mut self) -> Vec<Invocation> {
        let most = self.lead.size().saturating_sub(self.in_hand.begun()) as usize;
        let batch = take_batch(&mut self.queue, most.clamp(1, INVOKE_MAX));
        let now = self.now();
        batch.iter().for_each(|invocation| self.in_hand.begin(invocation.id, now));
        self.lead.has(self.in_hand.begun());
        self.quiet_since = now;
        batch
    }

    /// Nothing more is begun; what was not, others get at once. What is acknowledged already is done as well.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.stops_at = self.now().saturating_add(Duration::from_millis(self.shared.stop_within_ms.load(SeqCst)));
        self.refused.leave();
        if self.function.guarantee != Guarantee::AtmostOnce {
            self.give_back(|_| true);
            self.forget_queue();
        }
    }

    /// Once all that is to be done was handed over, code that has something left may wait for more before it answers, which does not come.
    pub(super) fn let_finish(&mut self) {
        // At most once, messages are handed over when they are acknowledged.
        let all_given =
            self.queue.is_empty() && (self.function.guarantee != Guarantee::AtmostOnce || self.commits.is_empty());
        if self.is_stopping && !self.is_told && all_given && self.in_hand.begun() > 0 {
            self.is_told = true;
            self.owed.push(Request::Finish { within: self.stops_at.saturating_sub(self.now()) });
        }
    }

    /// Gives back what has not begun of the messages that are wanted, as far as that is possible.
    pub(super) fn give_back(&mut self, wanted: impl Fn(&Message) -> bool) {
        // With this guarantee they are acknowledged.
        if self.function.guarantee == Guarantee::AtmostOnce {
            return;
        }
        let message = |invocation: &Invocation| match &invocation.input {
            Input::Message(message) if wanted(message) => Some((message.input, message.id)),
            _ => None,
        };
        let unbegun: Vec<_> = self.queue.iter().filter_map(message).collect();
        if unbegun.is_empty() {
            return;
        }
        let given: FxHashSet<_> = self.session.give_back(&unbegun).into_iter().collect();
        for invocation in std::mem::take(&mut self.queue) {
            match message(&invocation).filter(|id| given.contains(id)) {
                Some((input, _)) => {
                    self.in_hand.take(invocation.id);
                    self.demand.done(input, 1);
                }
                None => self.queue.push_back(invocation),
            }
        }
    }

    fn forget_queue(&mut self) {
        for invocation in std::mem::take(&mut self.queue) {
            self.in_hand.take(invocation.id);
        }
    }

    /// When code that says nothing is given more. `None`: it has not all it may, or nothing comes of it.
    pub(super) fn grows_at(&self) -> Option<Duration> {
        let begun = self.in_hand.begun();
        if begun == 0 || begun >= self.function.max_pending_async {
            return None;
        }
        let quiet = match self.runs_many {
            Some(true) => QUIET.0,
            Some(false) => return None,
            // The longer the more it has: what is begun cannot be given to another instance.
            None => {
                let usual = QUIET.1.max(self.usual.saturating_mul(QUIET.2));
                usual.saturating_mul((begun / 2).max(1))
            }
        };
        let is_short = if self.queue.is_empty() {
            self.demand.is_short()
        } else {
            begun >= self.lead.size() && self.lead.can_grow()
        };
        is_short.then(|| self.quiet_since + quiet)
    }

    /// What code that runs many at once needs before it says anything, it will need again.
    pub(super) fn grow(&mut self) {
        let for_good = self.runs_many == Some(true);
        if self.queue.is_empty() {
            self.demand.grow(for_good);
        } else {
            self.lead.grow(self.function.max_pending_async, for_good);
        }
        self.quiet_since = self.now();
    }
}

/// What is handed over next.
fn take_batch(queue: &mut VecDeque<Invocation>, most: usize) -> Vec<Invocation> {
    let (mut count, mut bytes) = (0, 0);
    for invocation in queue.iter().take(most) {
        let size = invocation.input.bytes();
        if count > 0 && bytes + size > INVOKE_BYTES_MAX {
            break;
        }
        bytes += size;
        count += 1;
    }
    queue.drain(..count).collect()
}
