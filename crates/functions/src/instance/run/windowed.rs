//! Windows: elements in, and those that are due to user code.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use super::{
    Run, catch_up,
    plans::{Plan, Plans, Then},
};
use crate::{
    error::{Error, Result},
    instance::{in_hand::Work, records, window::Fired},
    message::Message,
    runtime::UserException,
    spec::Guarantee,
};

/// Windows in hand at which no more elements are asked for.
const WINDOWS_MAX: usize = 16;

impl Run {
    pub(super) async fn keep_in_window(&mut self, messages: &[Arc<Message>]) -> Result<()> {
        let now_ms = self.now_ms();
        let late_topic = self.function.window.as_ref().and_then(|window| window.late_data_topic.clone());
        let mut plans = Plans::default();
        for message in messages {
            let Some(windows) = &mut self.windows else { return Ok(()) };
            let mut plan = Plan { of: Some(Work::Message(message.clone())), ..Plan::default() };
            plan.commit.acks.push((message.input, message.id));
            let added = windows.add(message.clone(), now_ms);
            self.demand.done(message.input, 1);
            let stored = match added {
                Ok(Some((element, change))) => {
                    plan.element = Some(element);
                    plan.bytes += change.bytes();
                    plan.commit.changes.push(change);
                    Ok(())
                }
                Ok(None) => {
                    tracing::debug!(function = self.function.fqfn(), id = %message.id, "an element came too late");
                    match &late_topic {
                        Some(topic) => self.add_output(&mut plan, records::late(message, topic)).await,
                        None => Ok(()),
                    }
                }
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => {
                    self.done += 1;
                    // One that was refused before may be so again.
                    plans.add(plan, message.redelivery_count > 0);
                }
                Err(Error::Invalid(why)) => self.cannot_keep(message, why, &mut plans).await?,
                Err(error) => self.cannot_publish(&error, Some(message))?,
            }
        }
        self.commit_all(&mut plans);
        self.fire_windows().await
    }

    /// An element that can never be kept, or be told of as late, which is not user code's doing.
    async fn cannot_keep(&mut self, message: &Arc<Message>, why: String, plans: &mut Plans) -> Result<()> {
        self.system_exception(&why);
        match self.function.guarantee {
            Guarantee::AtmostOnce => {
                let mut plan = Plan::default();
                plan.commit.acks.push((message.input, message.id));
                plans.add(plan, false);
                Ok(())
            }
            // Nothing may be lost, and there are no dead letters.
            Guarantee::EffectivelyOnce => {
                self.refuse(message);
                Ok(())
            }
            Guarantee::AtleastOnce | Guarantee::Manual => {
                self.failed(message, &UserException { message: why }, plans).await
            }
        }
    }

    /// Takes over what instances have left that are there no longer.
    pub(super) async fn adopt(&mut self) -> Result<()> {
        let parallelism = self.shared.parallelism.load(SeqCst);
        if self.is_stopping || self.windows.is_none() {
            return Ok(());
        }
        catch_up(&mut self.session, &self.opened).await?;
        if let Some(windows) = &mut self.windows {
            windows.adopt(&*self.parts.tables, parallelism).await?;
            self.fire_windows().await?;
        }
        Ok(())
    }

    pub(super) fn has_many_windows(&self) -> bool {
        self.windows.is_some() && self.in_hand.len() >= WINDOWS_MAX
    }

    pub(super) async fn fire_windows(&mut self) -> Result<()> {
        self.windows_wait = self.has_many_windows();
        let now_ms = self.now_ms();
        let may_fire = !self.is_stopping && !self.windows_wait;
        let Some(windows) = self.windows.as_mut().filter(|_| may_fire) else { return Ok(()) };
        let fired = windows.due(now_ms);
        let passed = windows.take_passed();
        fired.into_iter().for_each(|fired| self.invoke(Work::Window(fired)));
        if !passed.is_empty() {
            // What stores these elements may be under way.
            self.finish_commits().await?;
            let mut plan = Plan::default();
            plan.commit.changes = passed;
            self.commit(vec![plan], None);
        }
        Ok(())
    }

    /// The window has had its chance. Its elements are not lost where there is a place for them.
    pub(super) async fn window_threw(
        &mut self,
        fired: Fired,
        exception: &UserException,
        plans: &mut Plans,
    ) -> Result<()> {
        let mut last = Plan::default();
        last.commit.changes.push(fired.mark);
        for (element, gone) in fired.expired {
            let Some(topic) = self.function.dead_letters_of(&element.topic) else {
                last.commit.changes.push(gone);
                continue;
            };
            let mut plan = Plan { then: Then::Told, ..Plan::default() };
            match self.add_output(&mut plan, records::dead_letter(&element, &topic, exception)).await {
                Ok(()) => {}
                Err(Error::Invalid(why)) => self.system_exception(&why),
                Err(error) => return self.cannot_publish(&error, None),
            }
            plan.commit.changes.push(gone);
            plans.add(plan, false);
        }
        // After what stores the elements; and what is no dead letter yet, should this end in the middle, is shown again.
        self.finish_commits().await?;
        self.commit_all(plans);
        self.finish_commits().await?;
        plans.add(last, true);
        Ok(())
    }
}
