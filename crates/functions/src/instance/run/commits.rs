//! Commits: what is put into one, and what follows when it has ended.

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use std::sync::Arc;

use super::{COMMIT_BYTES, Run};
use crate::{
    error::{Error, Result},
    event_log::Commit,
    instance::in_hand::Work,
    message::{InputId, Message, MessageId},
    runtime::{Request, UserException},
    spec::Guarantee,
};

/// What belongs to one commit.
#[derive(Default)]
pub(super) struct Planned {
    /// The message it is all made of, where it is to happen once and commits are not atomic.
    pub(super) once: Option<Arc<Message>>,
    pub(super) commit: Commit,
    /// About what it takes.
    pub(super) bytes: usize,
    pub(super) invocations: u64,
    /// Records for the function's output.
    pub(super) written: u64,
    pub(super) rows: Vec<Bytes>,
    /// What it comes of, where that can be given up.
    pub(super) of: Vec<Work>,
    /// Messages it acknowledges besides.
    pub(super) besides: Vec<Arc<Message>>,
    pub(super) then: Then,
    /// Something of it may be impossible, which only the broker knows.
    pub(super) is_doubtful: bool,
    /// Of what it was put together, if it was.
    pub(super) parts: Vec<Part>,
}

/// How much of a plan is that of one of those it was put together of.
pub(super) struct Part {
    acks: usize,
    outputs: usize,
    changes: usize,
    rows: usize,
    of: usize,
    besides: usize,
    invocations: u64,
    written: u64,
}

impl Planned {
    fn as_part(&self) -> Part {
        Part {
            acks: self.commit.acks.len(),
            outputs: self.commit.outputs.len(),
            changes: self.commit.changes.len(),
            rows: self.rows.len(),
            of: self.of.len(),
            besides: self.besides.len(),
            invocations: self.invocations,
            written: self.written,
        }
    }

    /// Those it was put together of, in order.
    fn apart(self) -> Vec<Self> {
        let Commit { acks, outputs, changes, once: _ } = self.commit;
        let (mut acks, mut outputs, mut changes) = (acks.into_iter(), outputs.into_iter(), changes.into_iter());
        let (mut rows, mut of, mut besides) = (self.rows.into_iter(), self.of.into_iter(), self.besides.into_iter());
        let parts = self.parts.iter().map(|part| Self {
            commit: Commit {
                acks: acks.by_ref().take(part.acks).collect(),
                outputs: outputs.by_ref().take(part.outputs).collect(),
                changes: changes.by_ref().take(part.changes).collect(),
                once: None,
            },
            rows: rows.by_ref().take(part.rows).collect(),
            of: of.by_ref().take(part.of).collect(),
            besides: besides.by_ref().take(part.besides).collect(),
            invocations: part.invocations,
            written: part.written,
            ..Self::default()
        });
        parts.collect()
    }

    /// Puts another one behind it.
    pub(super) fn add(&mut self, plan: Self) {
        if self.parts.is_empty() {
            self.parts.push(self.as_part());
        }
        self.parts.push(plan.as_part());
        self.is_doubtful |= plan.is_doubtful;
        self.bytes += plan.bytes;
        self.commit.acks.extend(plan.commit.acks);
        self.commit.outputs.extend(plan.commit.outputs);
        self.commit.changes.extend(plan.commit.changes);
        self.invocations += plan.invocations;
        self.written += plan.written;
        self.rows.extend(plan.rows);
        self.of.extend(plan.of);
        self.besides.extend(plan.besides);
    }
}

/// What follows when a commit is durable.
#[derive(Default)]
pub(super) enum Then {
    #[default]
    Nothing,
    /// At most once: now the function may be called.
    Invoke(Vec<Arc<Message>>),
    /// A source may forget these.
    Emitted(Vec<u64>),
}

/// A commit that has ended.
pub(super) struct Ended {
    result: Result<()>,
    acks: Vec<(InputId, MessageId)>,
    invocations: u64,
    published: u64,
    written: u64,
    rows: Vec<Bytes>,
    of: Vec<Work>,
    besides: Vec<Arc<Message>>,
    then: Then,
}

impl Run {
    /// Acknowledgements of one commit are of one input.
    pub(super) fn merge(&mut self, plan: Planned, plans: &mut Vec<(Option<InputId>, Planned)>) {
        let input = plan.commit.acks.first().map(|ack| ack.0);
        if plan.commit.acks.iter().any(|ack| Some(ack.0) != input) {
            // Only a function that acknowledges by itself can bring these together.
            let mut first = plan;
            let acks = std::mem::take(&mut first.commit.acks);
            let (same, others): (Vec<_>, Vec<_>) = acks.into_iter().partition(|ack| Some(ack.0) == input);
            first.commit.acks = same;
            let of_others: Vec<_> = first.besides.extract_if(.., |message| Some(message.input) != input).collect();
            self.merge(first, plans);
            for ack in others {
                let mut planned = Planned::default();
                planned.besides.extend(of_others.iter().find(|message| (message.input, message.id) == ack).cloned());
                planned.commit.acks.push(ack);
                self.merge(planned, plans);
            }
            return;
        }
        match plans.iter_mut().find(|(of, _)| *of == input) {
            Some((_, full)) if full.bytes + plan.bytes > COMMIT_BYTES => {
                let full = std::mem::replace(full, plan);
                self.commit(full);
            }
            Some((_, into)) => into.add(plan),
            None => plans.push((input, plan)),
        }
    }

    pub(super) fn commit(&mut self, mut planned: Planned) {
        // Elsewhere the answer comes later, and what is to happen once may have nothing done after the one to blame.
        let can_be_apart = self.session.is_atomic() && self.function.guarantee != Guarantee::EffectivelyOnce;
        let again = (can_be_apart && planned.is_doubtful && !planned.parts.is_empty()).then(|| planned.commit.clone());
        let commit = std::mem::take(&mut planned.commit);
        let (published, acks) = (commit.outputs.len() as u64, commit.acks.clone());
        let mut begun: BoxFuture<'static, Result<()>> =
            if commit.is_empty() { Box::pin(std::future::ready(Ok(()))) } else { self.session.commit(commit) };
        if let Some(again) = again
            && let Some(result) = (&mut begun).now_or_never()
        {
            if matches!(result, Err(Error::Invalid(_))) {
                // One of them is to blame. The others are committed before all that follows, so that keys keep their order.
                self.session.reopen(&again.acks);
                planned.commit = again;
                return planned.apart().into_iter().for_each(|plan| self.commit(plan));
            }
            begun = Box::pin(std::future::ready(result));
        }
        let Planned { invocations, written, rows, of, besides, then, .. } = planned;
        self.commits.push(Box::pin(async move {
            let result = begun.await;
            Ended { result, acks, invocations, published, written, rows, of, besides, then }
        }));
    }

    pub(super) fn commit_all(&mut self, plans: &mut Vec<(Option<InputId>, Planned)>) {
        plans.drain(..).for_each(|(_, plan)| self.commit(plan));
    }

    pub(super) fn ended(&mut self, mut ended: Ended) -> Result<()> {
        self.state.end(&ended.rows);
        match ended.result {
            Err(Error::Invalid(_)) => self.session.reopen(&ended.acks),
            _ => self.session.settled(&ended.acks),
        }
        let is_sure = !matches!(ended.result, Err(Error::Unsure(_)));
        match ended.result {
            // They come again, or they do not.
            Err(Error::Unsure(why)) => tracing::debug!(function = self.function.fqfn(), why, "acknowledgements"),
            // It can never be done as it is, and nothing of it was.
            Err(Error::Invalid(message)) if ended.of.len() == 1 => {
                ended.besides.iter().for_each(|message| self.refuse(message));
                self.impossible.extend(ended.of.pop().map(|work| (work, UserException { message })));
                return Ok(());
            }
            // These come again, each by itself, so that only one of them stays behind.
            Err(Error::Invalid(why))
                if ended.of.len() + ended.besides.len() > 0
                    && matches!(self.function.guarantee, Guarantee::AtleastOnce | Guarantee::Manual) =>
            {
                self.system_exception(&why);
                let at = match ended.acks[..] {
                    [(input, _)] => self.now() + self.inputs.redelivery_delay(input),
                    _ => self.now(),
                };
                let messages: Vec<_> = ended.of.iter().filter_map(Work::message).chain(&ended.besides).collect();
                messages.into_iter().for_each(|message| self.refuse_until(at, message));
                return Ok(());
            }
            result => result?,
        }
        self.shared.status.lock().processed(ended.invocations, ended.published);
        self.shared.meter.wrote(ended.written);
        match ended.then {
            Then::Nothing => {}
            Then::Invoke(messages) if is_sure => {
                messages.into_iter().for_each(|message| self.invoke(Work::Message(message)));
            }
            Then::Invoke(messages) => messages.iter().for_each(|message| self.demand.done(message.input, 1)),
            Then::Emitted(ids) => self.requests.push_back(Request::Emitted { ids, error: None }),
        }
        for (call, question) in std::mem::take(&mut self.waiting) {
            self.ask(call, question);
        }
        Ok(())
    }

    /// What can never be committed is to blame on what user code made of its input: as if that had thrown.
    pub(super) async fn give_up(&mut self) -> Result<()> {
        while let Some((work, exception)) = self.impossible.pop_front() {
            let mut plans = Vec::new();
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
}
