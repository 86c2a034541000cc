//! What was handed to user code, or is about to be, and has not ended.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::window::Fired;
use crate::{
    message::{InputId, Message},
    runtime::Input,
};

/// What one invocation is for.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Message(Arc<Message>),
    Window(Fired),
}

impl Work {
    pub(super) fn input(&self) -> Input {
        match self {
            Self::Message(message) => Input::Message(message.clone()),
            Self::Window(fired) => Input::Window(fired.elements.clone()),
        }
    }

    /// The message it is for, if it is one that is held until this ends.
    pub(super) fn message(&self) -> Option<&Arc<Message>> {
        match self {
            Self::Message(message) => Some(message),
            Self::Window(_) => None,
        }
    }

    /// The message its outputs come from.
    pub(super) fn latest(&self) -> Option<&Arc<Message>> {
        match self {
            Self::Message(message) => Some(message),
            Self::Window(fired) => fired.elements.last(),
        }
    }
}

/// Invocations by their number. They mostly end in their order, so a queue with gaps is enough.
#[derive(Debug, Default)]
pub(super) struct InHand {
    first: u64,
    entries: VecDeque<Option<Held>>,
    count: usize,
    /// How many of them were handed over.
    begun: u32,
}

/// An invocation that has not ended.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) work: Work,
    /// When it came.
    pub(super) since: Duration,
    /// When it was handed over.
    pub(super) begun: Option<Duration>,
}

impl InHand {
    /// Gives the next number.
    pub(super) fn put(&mut self, work: Work, now: Duration) -> u64 {
        self.entries.push_back(Some(Held { work, since: now, begun: None }));
        self.count += 1;
        self.first + self.entries.len() as u64 - 1
    }

    /// It is handed over.
    pub(super) fn begin(&mut self, id: u64, now: Duration) {
        let index = id.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(Some(held)) = index.and_then(|index| self.entries.get_mut(index)) {
            held.begun = Some(now);
            self.begun += 1;
        }
    }

    /// How many were handed over and have not ended.
    pub(super) fn begun(&self) -> u32 {
        self.begun
    }

    /// Takes it out, if it was handed over.
    pub(super) fn end(&mut self, id: u64) -> Option<Held> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.entries.get(index)?.as_ref()?.begun?;
        self.take(id)
    }

    /// Takes it out.
    pub(super) fn take(&mut self, id: u64) -> Option<Held> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let taken = self.entries.get_mut(index)?.take()?;
        self.count -= 1;
        self.begun -= u32::from(taken.begun.is_some());
        self.trim();
        Some(taken)
    }

    /// Takes out all messages of an input: what becomes of them counts no more.
    pub(super) fn void(&mut self, input: InputId) {
        for entry in &mut self.entries {
            let of_input = |held: &mut Held| held.work.message().is_some_and(|message| message.input == input);
            if let Some(held) = entry.take_if(of_input) {
                self.begun -= u32::from(held.begun.is_some());
                self.count -= 1;
            }
        }
        self.trim();
    }

    fn trim(&mut self) {
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Whether it was handed over, and has not ended.
    pub(super) fn has_begun(&self, id: u64) -> bool {
        let index = id.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let held = index.and_then(|index| self.entries.get(index)).and_then(Option::as_ref);
        held.is_some_and(|held| held.begun.is_some())
    }

    /// The number of the one that was put in first.
    pub(super) fn oldest(&self) -> Option<u64> {
        (self.count > 0).then_some(self.first)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
