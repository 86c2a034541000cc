//! Windows: elements in, and those that are due to user code.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use super::{COMMIT_BYTES, Run, commits::Planned};
use crate::{
    error::Result,
    instance::{in_hand::Work, records, window},
    message::Message,
};

/// Windows in hand at which no more elements are asked for.
const WINDOWS_MAX: usize = 16;

impl Run {
    pub(super) async fn keep_in_window(&mut self, messages: &[Arc<Message>]) -> Result<()> {
        let now_ms = self.now_ms();
        let Some(windows) = &mut self.windows else { return Ok(()) };
        let (mut planned, mut commits) = (Planned::default(), Vec::new());
        let mut late = Vec::new();
        let mut too_large = Vec::new();
        for message in messages {
            if planned.bytes > COMMIT_BYTES {
                commits.push(std::mem::take(&mut planned));
            }
            planned.bytes += message.payload.len();
            if message.payload.len() > window::ELEMENT_BYTES_MAX {
                too_large.push(message);
                continue;
            }
            planned.commit.acks.push((message.input, message.id));
            planned.besides.push(message.clone());
            match windows.add(message.clone(), now_ms) {
                Some(change) => planned.commit.changes.push(change),
                None => late.push(message),
            }
            self.done += 1;
            self.demand.done(message.input, 1);
        }
        let late_topic = self.function.window.as_ref().and_then(|w| w.late_data_topic.clone());
        for message in late {
            tracing::debug!(function = self.function.fqfn(), id = %message.id, "an element came too late");
            if let Some(topic) = &late_topic {
                self.add_output(&mut planned, records::late(message, topic)).await?;
            }
        }
        for message in too_large {
            let (bytes, most) = (message.payload.len(), window::ELEMENT_BYTES_MAX);
            self.system_exception(&format!("message {} of {bytes} bytes, a window takes {most} at most", message.id));
            self.demand.done(message.input, 1);
            self.refuse(message);
        }
        commits.into_iter().chain([planned]).for_each(|planned| self.commit(planned));
        self.fire_windows();
        Ok(())
    }

    /// Takes over what instances have left that are there no longer.
    pub(super) async fn adopt(&mut self) -> Result<()> {
        let parallelism = self.shared.parallelism.load(SeqCst);
        if let Some(windows) = self.windows.as_mut().filter(|_| !self.is_stopping) {
            windows.adopt(&*self.parts.tables, parallelism).await?;
            self.fire_windows();
        }
        Ok(())
    }

    pub(super) fn has_many_windows(&self) -> bool {
        self.windows.is_some() && self.in_hand.len() >= WINDOWS_MAX
    }

    pub(super) fn fire_windows(&mut self) {
        self.windows_wait = self.has_many_windows();
        if self.is_stopping || self.windows_wait {
            return;
        }
        let now_ms = self.now_ms();
        if let Some(windows) = &mut self.windows {
            windows.due(now_ms).into_iter().for_each(|fired| self.invoke(Work::Window(fired)));
        }
    }
}
