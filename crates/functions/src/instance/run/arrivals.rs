//! Messages in: what the session brings, and what it takes back.

use std::sync::Arc;

use super::{
    Run,
    plans::{Plan, Then},
};
use crate::{
    error::{Error, Result},
    event_log::Arrived,
    instance::in_hand::Work,
    message::{InputId, Message, MessageId},
    runtime::{Input, Invocation},
    spec::Guarantee,
};

impl Run {
    pub(super) async fn arrived(&mut self, arrived: Arrived) -> Result<()> {
        match arrived {
            Arrived::Messages(messages) => {
                let Some(first) = messages.first() else { return Ok(()) };
                self.demand.arrived(first.input, messages.len() as u32);
                self.shared.status.lock().received(messages.len() as u64);
                let messages: Vec<Arc<Message>> = messages.into_iter().map(Arc::new).collect();
                if self.windows.is_some() {
                    Box::pin(self.keep_in_window(&messages)).await?;
                } else if self.function.guarantee == Guarantee::AtmostOnce {
                    let mut plan = Plan::default();
                    plan.commit.acks = messages.iter().map(|m| (m.input, m.id)).collect();
                    plan.then = Then::Invoke(messages);
                    self.commit(vec![plan], None);
                } else {
                    if let Some(once) = &mut self.once {
                        once.arrived(messages.iter().map(|message| &**message));
                    }
                    messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
                }
                Ok(())
            }
            Arrived::OthersWait(input, entries) => {
                let is_one = |id: MessageId| entries.is_empty() || entries.contains(&(id.ledger, id.entry));
                self.give_back(|message| message.input == input && is_one(message.id));
                self.session.gave_back(input);
                Ok(())
            }
            Arrived::Active(..) => Ok(()),
            Arrived::Again(input) => self.void(input).await,
            Arrived::InputLost(input) => {
                self.demand.lost(input);
                self.void(input).await
            }
            Arrived::InputClosed(_) | Arrived::OutputClosed(_) => {
                Err(Error::Closed("a topic was unloaded; the instance looks it up again".into()))
            }
        }
    }

    /// Messages that were refused and waited here: before all that came after them.
    pub(super) async fn call_again(&mut self, messages: Vec<Arc<Message>>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.shared.status.lock().received(messages.len() as u64);
        messages.iter().for_each(|message| self.demand.again(message.input));
        if self.windows.is_some() {
            return Box::pin(self.keep_in_window(&messages)).await;
        }
        let later = std::mem::take(&mut self.queue);
        messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
        self.queue.extend(later);
        Ok(())
    }

    /// What came through an input and is not committed comes again; nothing more is made of it here.
    async fn void(&mut self, input: InputId) -> Result<()> {
        if self.function.guarantee == Guarantee::AtmostOnce {
            // What is here was acknowledged, and is the only chance it has.
            return Ok(());
        }
        self.demand.void(input);
        self.in_hand.void(input);
        self.queue.retain(|invocation| !matches!(&invocation.input, Input::Message(message) if message.input == input));
        self.unacked.void(input);
        self.early_acks.retain(|id| self.in_hand.has_begun(*id));
        self.refused.void(input);
        if let Some(once) = &mut self.once {
            once.void(input).iter().for_each(|plan| self.state.end(&plan.rows));
            // Whoever has the input next publishes under their names.
            for output in self.outputs.close(input) {
                self.session.close_output(output);
            }
            if self.state.is_pending() {
                self.finish_commits().await?;
            }
        }
        Ok(())
    }

    pub(super) fn invoke(&mut self, work: Work) {
        let input = work.input();
        let id = self.in_hand.put(work, self.now());
        self.queue.push_back(Invocation { id, input });
    }
}
