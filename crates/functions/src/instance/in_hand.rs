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
    entries: VecDeque<Option<(Work, Duration)>>,
    count: usize,
}

impl InHand {
    /// Gives the next number.
    pub(super) fn put(&mut self, work: Work, now: Duration) -> u64 {
        self.entries.push_back(Some((work, now)));
        self.count += 1;
        self.first + self.entries.len() as u64 - 1
    }

    /// Takes it out, with the time it came.
    pub(super) fn take(&mut self, id: u64) -> Option<(Work, Duration)> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let taken = self.entries.get_mut(index)?.take()?;
        self.count -= 1;
        self.trim();
        Some(taken)
    }

    /// Takes out all messages of an input: what becomes of them counts no more.
    pub(super) fn void(&mut self, input: InputId) {
        for entry in &mut self.entries {
            if entry.as_ref().is_some_and(|(work, _)| work.message().is_some_and(|message| message.input == input)) {
                *entry = None;
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

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
