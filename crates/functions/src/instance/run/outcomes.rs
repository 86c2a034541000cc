//! What user code did, and what is to become of it: a part of a commit, another attempt, or a dead letter.

use std::{sync::Arc, time::Duration};

use super::{
    Run,
    plans::{Plan, Plans, Then},
};
use crate::{
    error::{Error, Result},
    instance::{
        in_hand::{Held, Work},
        owed::Asked,
        records,
        state::{Lookup, State},
    },
    message::{Message, Record},
    runtime::{Event, Exit, LogLine, Outcome, Question, Request, StateChange, UserException},
    spec::{Guarantee, Kind},
};

/// Changes of state that a source may ask for before it emits something that they go with.
const SOURCE_CHANGES_MAX: usize = 100_000;
/// The same in bytes: what one commit takes.
const SOURCE_CHANGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a source's records and changes beyond which the next go into another commit: far less than where plans are divided.
const SOURCE_BYTES: usize = 1 << 20;
/// What an entry may take more than its record is thought to.
const ENTRY_EXTRA_BYTES: usize = 64 << 10;

/// Invocations that ended together, and the sums of their times: here, in user code's hands, and in user code.
#[derive(Default)]
struct Spent {
    left: u32,
    stayed: Duration,
    in_code: Duration,
    took: Duration,
}

impl Spent {
    fn add(&mut self, held: &Held, took: Duration, now: Duration) {
        self.left += 1;
        self.stayed += now.saturating_sub(held.since);
        self.in_code += now.saturating_sub(held.begun.unwrap_or(now));
        self.took = self.took.saturating_add(took);
    }
}

/// Changes of state that a source has asked for since its last record, for the next one.
#[derive(Default)]
pub(super) struct SourceChanges {
    all: Vec<StateChange>,
    bytes: usize,
}

impl SourceChanges {
    fn add(&mut self, more: Vec<StateChange>) -> Result<()> {
        self.bytes += more.iter().map(StateChange::bytes).sum::<usize>();
        self.all.extend(more);
        if self.all.len() > SOURCE_CHANGES_MAX || self.bytes > SOURCE_CHANGE_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "more than {SOURCE_CHANGES_MAX} changes of state, or {SOURCE_CHANGE_BYTES_MAX} bytes of \
                 them, and no record that they could go with"
            )));
        }
        Ok(())
    }
}

impl Run {
    pub(super) async fn events(&mut self, events: Vec<Event>) -> Result<Option<Exit>> {
        let mut plans = Plans::default();
        let mut spent = Spent::default();
        let mut lines = Vec::new();
        let mut exit = None;
        let now = self.now();
        if self.outputs.are_many() {
            // A commit under way with a producer that closes would be refused.
            self.finish_commits().await?;
            self.outputs.close_idle().into_iter().for_each(|output| self.session.close_output(output));
        }
        for event in events {
            match event {
                // How far windows have come is a mark that moves with each: they count in their order, however they end.
                Event::Done { id, outcome } if self.windows.is_some() => {
                    if self.in_hand.has_begun(id) {
                        self.early.insert(id, outcome);
                    }
                    while let Some(id) = self.in_hand.oldest()
                        && let Some(outcome) = self.early.remove(&id)
                        && let Some(held) = self.in_hand.end(id)
                    {
                        spent.add(&held, outcome.took, now);
                        self.done(id, held.work, outcome, &mut plans).await?;
                    }
                }
                Event::Done { id, outcome } => {
                    // A runtime that answers twice, or what was not asked, has said nothing.
                    let Some(held) = self.in_hand.end(id) else { continue };
                    spent.add(&held, outcome.took, now);
                    self.done(id, held.work, outcome, &mut plans).await?;
                }
                Event::Call { call, question, .. } => {
                    // What ended before the question is part of the answer.
                    self.commit_all(&mut plans);
                    let asked = self.owed.asked(call, &question);
                    self.ask(asked, question);
                }
                Event::Changes(changes) => {
                    if self.function.kind != Kind::Source {
                        return Err(Error::Invalid("changes of state without an outcome are for sources".into()));
                    }
                    self.source_changes.add(changes)?;
                }
                Event::Emit { id, record } => self.emitted(id, record, &mut plans).await?,
                Event::Log(line) => lines.push(line),
                // It has nothing to report that the loop does not know.
                Event::Reported(_) => {}
                Event::Exited(how) => exit = Some(how),
            }
        }
        self.commit_all(&mut plans);
        self.log(lines).await;
        if let Some(reason) = self.owed.excess().filter(|_| exit.is_none()) {
            exit = Some(Exit { is_clean: false, reason });
        }
        if spent.left > 0 {
            let Spent { left, stayed, in_code, took } = spent;
            let (stayed, in_code, took) = (stayed / left, in_code / left, took / left);
            (self.quiet_since, self.usual) = (now, took);
            self.demand.adapt(left, stayed.saturating_sub(took), took);
            self.lead.adapt(left, in_code.saturating_sub(took), took);
        }
        Ok(exit)
    }

    /// A source has something, with what it has changed before.
    async fn emitted(&mut self, id: u64, record: Record, plans: &mut Plans) -> Result<()> {
        let mut plan = Plan { invocations: 1, then: Then::Emitted(id), ..Plan::default() };
        let changes = std::mem::take(&mut self.source_changes);
        let added = match changes.all.iter().find_map(State::refusal) {
            Some(why) => Err(Error::Invalid(why)),
            None => self.add_output(&mut plan, record).await,
        };
        match added {
            Ok(()) => {
                self.change_of_source(changes, &mut plan, plans).await?;
                self.shared.status.lock().received(1);
                self.done += 1;
                // Only this one is to fail with it.
                let (alone, changes) = (plan.is_doubtful, !plan.rows.is_empty());
                plans.add(plan, alone);
                if alone && changes {
                    self.commit_all(plans);
                    self.finish_commits().await?;
                }
            }
            Err(error @ Error::Closed(_)) => return Err(error),
            Err(error) => {
                let error = error.to_string();
                self.system_exception(&error);
                self.owed.push(Request::Emitted { ids: vec![id], error: Some(error) });
            }
        }
        Ok(())
    }

    /// Commits of a source have no order among them: of those that change something, one is under way.
    async fn change_of_source(&mut self, changes: SourceChanges, plan: &mut Plan, plans: &mut Plans) -> Result<()> {
        if changes.all.is_empty() {
            return Ok(());
        }
        let more = plan.bytes + changes.bytes;
        if self.source_bytes.is_none_or(|bytes| bytes + more > SOURCE_BYTES) && self.state.is_pending() {
            self.commit_all(plans);
            self.finish_commits().await?;
        }
        for change in changes.all {
            plan.is_doubtful |= matches!(change, StateChange::Add { .. });
            let change = self.state.begin(change, None);
            plan.bytes += change.bytes();
            plan.rows.push(change.key.clone());
            plan.commit.changes.push(change);
        }
        self.source_bytes = Some(self.source_bytes.unwrap_or_default() + plan.bytes);
        Ok(())
    }

    async fn done(&mut self, id: u64, work: Work, outcome: Outcome, plans: &mut Plans) -> Result<()> {
        if matches!(work, Work::Window(_)) {
            // How far windows have come is a mark that moves with each.
            self.commit_all(plans);
            self.settle().await?;
        }
        {
            let now_ms = self.now_ms();
            self.took += outcome.took;
            let mut status = self.shared.status.lock();
            status.roll(now_ms);
            status.invoked(outcome.took, now_ms);
            for (name, value) in &outcome.effects.metrics {
                status.user_metric(name, *value);
            }
        }
        let message = work.message().cloned();
        if let Some(message) = &message {
            self.done += 1;
            self.demand.done(message.input, 1);
        }
        let refusal = outcome.effects.changes.iter().find_map(State::refusal);
        let outcome_result = match refusal {
            Some(message) => Err(UserException { message }),
            None => outcome.result,
        };
        let was_acked = self.early_acks.remove(&id);
        let records = match outcome_result {
            Ok(records) => records,
            Err(exception) => return self.threw(work, &exception, plans).await,
        };
        // Messages whose acknowledgement is asked for.
        let manual = self.function.guarantee == Guarantee::Manual || !self.function.auto_ack;
        let acked: &[u64] = if manual { &outcome.effects.acks } else { &[] };
        let is_acked = match manual {
            true => was_acked || acked.contains(&id),
            false => self.function.guarantee != Guarantee::AtmostOnce,
        };
        let besides: Vec<_> = acked.iter().filter_map(|id| self.unacked.take(*id)).collect();
        let once = message.clone().filter(|_| self.once.is_some());
        let mut plan = Plan { once, invocations: 1, besides, ..Plan::default() };
        let acks = message.iter().filter(|_| is_acked).chain(&plan.besides);
        plan.commit.acks = acks.map(|message| (message.input, message.id)).collect();
        let source = work.latest().cloned();
        let outputs = records::outputs(records, &self.function, source.as_deref());
        for record in outputs.into_iter().chain(outcome.effects.publishes) {
            match self.add_output(&mut plan, record).await {
                Ok(()) => {}
                Err(error) => {
                    // All or nothing: what it acknowledges besides comes again, too.
                    plan.besides.iter().for_each(|message| self.refuse(message));
                    return match error {
                        // It never will be possible, whoever tries.
                        Error::Invalid(message) => self.threw(work, &UserException { message }, plans).await,
                        error => self.cannot_publish(&error, message.as_ref()),
                    };
                }
            }
        }
        if manual {
            let begun = |id: &&u64| self.in_hand.has_begun(**id);
            self.early_acks.extend(acked.iter().filter(begun));
            if let Some(message) = message.as_ref().filter(|_| !is_acked) {
                let was_full = self.unacked.is_full();
                self.unacked.put(id, message);
                if self.unacked.is_full() && !was_full {
                    self.system_exception("nothing more is asked for: so much is not acknowledged by the function");
                }
            }
        }
        let of = plan.commit.acks.first().map(|ack| ack.0);
        if self.state.must_wait(&outcome.effects.changes, of) {
            self.commit_all(plans);
            self.finish_commits().await?;
        }
        if self.once.is_some() {
            self.state.learn(&outcome.effects.changes).await?;
        }
        for change in outcome.effects.changes {
            // What is there may be no counter.
            plan.is_doubtful |= matches!(change, StateChange::Add { .. });
            let change = self.state.begin(change, of);
            plan.bytes += change.bytes();
            plan.rows.push(change.key.clone());
            plan.commit.changes.push(change);
        }
        if let Work::Window(fired) = &work {
            plan.commit.changes.extend(fired.changes().cloned());
        }
        let is_alone = message.as_ref().is_none_or(|message| message.redelivery_count > 0);
        plan.of = Some(work);
        if let (Some(once), Some(message)) = (&mut self.once, &message) {
            for whole in once.ended(message.input, message.id, plan)? {
                self.commit(whole.parts, Some(whole.number));
            }
            return Ok(());
        }
        plans.add(plan, is_alone);
        Ok(())
    }

    /// Adds a record; one without a topic goes to the output, or nowhere when there is none.
    pub(super) async fn add_output(&mut self, plan: &mut Plan, mut record: Record) -> Result<()> {
        let named = record.topic.take().filter(|topic| !self.function.is_elsewhere(topic));
        let Some(topic) = named.or_else(|| self.function.output.topic.clone()) else { return Ok(()) };
        let (bytes, most) = (record.bytes(), self.session.max_message_bytes());
        if bytes > most {
            return Err(Error::Invalid(format!("a message of {bytes} bytes to {topic}, at most {most} are possible")));
        }
        let once = plan.once.as_deref();
        let output = self.outputs.route(&mut self.session, &topic, &record, once).await?;
        plan.is_doubtful |= bytes + ENTRY_EXTRA_BYTES > most;
        plan.bytes += bytes;
        plan.written += u64::from(self.function.output.topic.as_ref() == Some(&topic));
        plan.commit.outputs.push((output, record));
        Ok(())
    }

    /// An output refuses what is published, for now: the input stays, and comes again. A window is there again when the instance is.
    pub(super) fn cannot_publish(&mut self, error: &Error, message: Option<&Arc<Message>>) -> Result<()> {
        // In order or not at all: nothing after it may be done before it.
        let in_order = self.function.guarantee == Guarantee::EffectivelyOnce;
        match message {
            Some(message) if !in_order && !matches!(error, Error::Closed(_)) => {
                self.system_exception(&error.to_string());
                self.refuse(message);
                Ok(())
            }
            _ => Err(error.clone()),
        }
    }

    pub(super) async fn threw(&mut self, work: Work, exception: &UserException, plans: &mut Plans) -> Result<()> {
        self.shared.status.lock().user_exception(&exception.message, self.parts.clock.now_ms());
        tracing::debug!(function = self.function.fqfn(), instance = self.instance_id, "user exception");
        match work {
            Work::Window(fired) => self.window_threw(fired, exception, plans).await,
            Work::Message(message) => match self.function.guarantee {
                Guarantee::AtmostOnce => Ok(()),
                Guarantee::EffectivelyOnce => {
                    // In order or not at all: nothing after it may be done before it.
                    Err(Error::Broker(format!("message {} failed: {}", message.id, exception.message)))
                }
                Guarantee::AtleastOnce | Guarantee::Manual => self.failed(&message, exception, plans).await,
            },
        }
    }

    /// A message that may be tried again is, as often as it may; then it is a dead letter.
    pub(super) async fn failed(
        &mut self,
        message: &Arc<Message>,
        exception: &UserException,
        plans: &mut Plans,
    ) -> Result<()> {
        let may_retry = self.function.max_message_retries.is_none_or(|retries| message.redelivery_count < retries);
        let Some(topic) = self.function.dead_letters_of(&message.topic).filter(|_| !may_retry) else {
            self.refuse(message);
            return Ok(());
        };
        let mut plan = Plan::default();
        self.unacked.forget(message.input, message.id);
        plan.commit.acks.push((message.input, message.id));
        plan.besides.push(message.clone());
        let record = records::dead_letter(message, &topic, exception);
        if let Err(error) = self.add_output(&mut plan, record).await {
            return self.cannot_publish(&error, Some(message));
        }
        plans.add(plan, false);
        Ok(())
    }

    /// The message comes again, later.
    pub(super) fn refuse(&mut self, message: &Arc<Message>) {
        self.refuse_until(self.now() + self.inputs.redelivery_delay(message.input), message);
    }

    pub(super) fn refuse_until(&mut self, at: Duration, message: &Arc<Message>) {
        // With this guarantee it is acknowledged, and had its chance; but an element is only in the commit that keeps it.
        if self.function.guarantee != Guarantee::AtmostOnce || self.function.window.is_some() {
            self.unacked.forget(message.input, message.id);
            self.refused.add(at, message);
        }
    }

    pub(super) fn system_exception(&self, message: &str) {
        tracing::warn!(function = self.function.fqfn(), instance = self.instance_id, message, "system exception");
        self.shared.status.lock().system_exception(message, self.parts.clock.now_ms());
    }

    async fn log(&mut self, lines: Vec<LogLine>) {
        if lines.is_empty() {
            return;
        }
        let now_ms = self.now_ms();
        {
            let mut kept = self.shared.lines.lock();
            lines.iter().for_each(|line| kept.push(line, now_ms));
        }
        let Some(topic) = self.function.log_topic.clone() else { return };
        let mut plans = Plans::default();
        for line in lines {
            let mut plan = Plan { then: Then::Told, ..Plan::default() };
            let record = records::log_line(line, &topic, &self.function, self.instance_id, now_ms);
            if let Err(error) = self.add_output(&mut plan, record).await {
                return self.system_exception(&format!("log topic: {error}"));
            }
            plans.add(plan, false);
        }
        self.commit_all(&mut plans);
    }

    fn ask(&mut self, asked: Asked, question: Question) {
        match self.state.lookup(&question) {
            Lookup::Known(answer) if self.owed.has_room() => self.owed.answer(asked, answer),
            Lookup::Read => {
                let answer = self.state.read(question);
                self.answers.push(Box::pin(async move { (asked, answer.await) }));
            }
            Lookup::Known(_) | Lookup::Wait => self.waiting.push((asked, question)),
        }
    }

    /// Looks whether questions that wait have an answer now.
    pub(super) fn ask_again(&mut self) {
        if self.owed.has_room() {
            std::mem::take(&mut self.waiting).into_iter().for_each(|(asked, question)| self.ask(asked, question));
        }
    }
}
