//! Commits: how they begin, and what follows when they have ended.

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::sync::Arc;

use super::{
    Run,
    plans::{Plan, Plans, Then},
};
use crate::{
    error::{Error, Result},
    event_log::Commit,
    instance::{Shared, in_hand::Work},
    message::{InputId, MessageId},
    runtime::{Request, UserException},
    spec::Guarantee,
};

/// A commit that has ended.
pub(super) struct Ended {
    result: Result<()>,
    acks: Vec<(InputId, MessageId)>,
    published: u64,
    /// Of what it was put together.
    plans: Vec<Plan>,
}

/// Commits under way. Those that are when this is dropped are left to the instance, which ends after them: in the same process they take effect
/// all the same, and nothing but their acknowledgements, if they have some, would tell them from those of another run.
pub(super) struct Commits {
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    shared: Arc<Shared>,
    /// Elsewhere one that nobody waits for goes no further.
    are_left: bool,
}

impl Commits {
    pub(super) fn new(shared: Arc<Shared>, is_atomic: bool) -> Self {
        Self { under_way: FuturesUnordered::new(), shared, are_left: is_atomic }
    }

    fn push(&self, commit: impl Future<Output = Ended> + Send + 'static) {
        self.under_way.push(Box::pin(commit));
    }

    /// The next that ends; `None`: none is under way.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        self.under_way.next().await
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        if self.are_left && !self.is_empty() {
            let left = std::mem::take(&mut self.under_way);
            self.shared.left.lock().push(Box::pin(left.map(drop).collect()));
        }
    }
}

impl Run {
    pub(super) fn commit_all(&mut self, plans: &mut Plans) {
        self.source_bytes = None;
        plans.take().for_each(|plans| self.commit(plans, None));
    }

    /// Commits these together; `once`: see [`Commit::once`].
    pub(super) fn commit(&mut self, mut plans: Vec<Plan>, once: Option<u64>) {
        // Elsewhere the answer comes later, and what is to happen once may have nothing done after the one to blame.
        let can_be_apart = self.session.is_atomic()
            && self.function.guarantee != Guarantee::EffectivelyOnce
            && plans.len() > 1
            && plans.iter().any(|plan| plan.is_doubtful);
        let mut commit = Commit { once, ..Commit::default() };
        for plan in &mut plans {
            let part = if can_be_apart { plan.commit.clone() } else { std::mem::take(&mut plan.commit) };
            commit.acks.extend(part.acks);
            commit.outputs.extend(part.outputs);
            commit.changes.extend(part.changes);
        }
        if self.windows.is_some() && commit.acks.is_empty() {
            // Another run may have taken over what this one believes to be its own.
            commit.through = self.opened.first().copied();
        }
        let (published, acks) = (commit.outputs.len() as u64, commit.acks.clone());
        let mut begun: BoxFuture<'static, Result<()>> =
            if commit.is_empty() { Box::pin(std::future::ready(Ok(()))) } else { self.session.commit(commit) };
        if can_be_apart && let Some(result) = (&mut begun).now_or_never() {
            if matches!(result, Err(Error::Invalid(_))) {
                // One of them is to blame. The others are committed before all that follows, so that keys keep their order.
                self.session.reopen(&acks);
                return plans.into_iter().for_each(|plan| self.commit(vec![plan], None));
            }
            begun = Box::pin(std::future::ready(result));
        }
        self.commits.push(async move { Ended { result: begun.await, acks, published, plans } });
    }

    pub(super) fn ended(&mut self, ended: Ended) -> Result<()> {
        let Ended { result, acks, published, plans } = ended;
        plans.iter().for_each(|plan| self.state.end(&plan.rows));
        match result {
            Err(Error::Invalid(_)) => self.session.reopen(&acks),
            _ => self.session.settled(&acks),
        }
        let is_sure = !matches!(result, Err(Error::Unsure(_)));
        match result {
            // They come again, or they do not.
            Err(Error::Unsure(why)) => tracing::debug!(function = self.function.fqfn(), why, "acknowledgements"),
            Err(Error::Invalid(why)) => {
                self.impossible(plans, &acks, why)?;
                self.ask_again();
                return Ok(());
            }
            result => result?,
        }
        let invocations = plans.iter().map(|plan| plan.invocations).sum();
        self.shared.status.lock().processed(invocations, published);
        self.shared.meter.wrote(plans.iter().map(|plan| plan.written).sum());
        let mut emitted = Vec::new();
        for plan in plans {
            match plan.then {
                Then::Nothing | Then::Told => {}
                Then::Invoke(messages) if is_sure => {
                    messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
                }
                Then::Invoke(messages) => messages.iter().for_each(|message| self.demand.done(message.input, 1)),
                Then::Emitted(id) => emitted.push(id),
            }
        }
        if !emitted.is_empty() {
            self.owed.push(Request::Emitted { ids: emitted, error: None });
        }
        self.ask_again();
        Ok(())
    }

    /// This can never be done as it is, and nothing of it was.
    fn impossible(&mut self, plans: Vec<Plan>, acks: &[(InputId, MessageId)], why: String) -> Result<()> {
        let is_one = plans.len() == 1;
        let comes_again = matches!(self.function.guarantee, Guarantee::AtleastOnce | Guarantee::Manual);
        // Those that come again come each by itself, so that only one of them stays behind.
        let at = match acks {
            [(input, _)] => self.now() + self.inputs.redelivery_delay(*input),
            _ => self.now(),
        };
        if !is_one || plans.iter().any(|plan| plan.of.is_none()) {
            self.system_exception(&why);
        }
        for plan in plans {
            if let (Some(windows), Some(element)) = (&mut self.windows, plan.element) {
                windows.forget(element);
            }
            match (plan.then, plan.of) {
                (Then::Told, _) => {}
                (Then::Emitted(id), _) => {
                    self.owed.push(Request::Emitted { ids: vec![id], error: Some(why.clone()) });
                }
                (_, Some(work)) if is_one => {
                    plan.besides.iter().for_each(|message| self.refuse(message));
                    self.given_up.push_back((work, UserException { message: why.clone() }));
                }
                (_, of) if comes_again && (of.is_some() || !plan.besides.is_empty()) => {
                    let message = of.as_ref().and_then(Work::message);
                    message.into_iter().chain(&plan.besides).for_each(|message| self.refuse_until(at, message));
                }
                _ => return Err(Error::Invalid(why)),
            }
        }
        Ok(())
    }

    pub(super) fn has_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// What can never be committed is to blame on what user code made of its input: as if that had thrown.
    pub(super) async fn give_up(&mut self) -> Result<()> {
        while let Some((work, exception)) = self.given_up.pop_front() {
            let mut plans = Plans::default();
            self.threw(work, &exception, &mut plans).await?;
            self.commit_all(&mut plans);
        }
        Ok(())
    }

    pub(super) async fn finish_commits(&mut self) -> Result<()> {
        while let Some(ended) = self.commits.next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    /// Waits until nothing is under way, and nothing is left to be given up.
    pub(super) async fn settle(&mut self) -> Result<()> {
        loop {
            self.finish_commits().await?;
            if self.given_up.is_empty() {
                return Ok(());
            }
            self.give_up().await?;
        }
    }
}
