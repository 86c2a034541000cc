//! What one instance has open on the broker.

use async_trait::async_trait;
use broker::{ConsumerHandle, NewProducer, Outgoing, Peer, Requests, SeekTarget};
use bytes::Bytes;
use functions::{
    Commit, Error, Result, Session,
    event_log::{Arrived, InputSpec, OutputSpec, RowChange, TableChange},
    intake::{Intake, Past, Received, Wanted, Words},
    message::{InputId, Message, MessageId, OutputId, Record},
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use model::{AccessMode, Position};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::mpsc;

use crate::{
    Embedded, beside,
    log::{broker_schema, error},
    outgoing::{Entry, Output},
    reads::new_consumer,
};

/// See the module.
pub(crate) struct Open {
    on: Embedded,
    peer: Arc<Peer>,
    incoming: mpsc::UnboundedReceiver<Vec<Outgoing>>,
    requests: Requests,
    inputs: Vec<Option<Input>>,
    /// `None` where one was closed.
    outputs: Vec<Option<Output>>,
    /// What the broker said and was not looked at: the loop is to know of one thing before the next takes effect. And its bytes.
    told: VecDeque<Outgoing>,
    told_bytes: usize,
    ready: VecDeque<Arrived>,
    /// Chunks that are read again: of which input, which ones, what they are.
    chunks: FuturesUnordered<BoxFuture<'static, Chunks>>,
}

type Chunks = (InputId, u64, Result<Vec<(Position, Bytes)>>);

/// One consumer.
struct Input {
    handle: ConsumerHandle,
    intake: Intake,
}

impl Open {
    pub(crate) fn new(on: Embedded, peer: Arc<Peer>, incoming: mpsc::UnboundedReceiver<Vec<Outgoing>>) -> Self {
        Self {
            requests: on.broker.requests(),
            on,
            peer,
            incoming,
            inputs: Vec::new(),
            outputs: Vec::new(),
            told: VecDeque::new(),
            told_bytes: 0,
            ready: VecDeque::new(),
            chunks: FuturesUnordered::new(),
        }
    }

    fn submit(&mut self) {
        if !self.requests.is_empty() {
            self.on.broker.submit(&self.peer, &mut self.requests);
        }
    }

    fn input(&mut self, id: InputId) -> Option<&mut Input> {
        self.inputs.get_mut(id as usize)?.as_mut()
    }

    fn take(&mut self, outgoing: Outgoing) -> Result<()> {
        match outgoing {
            Outgoing::Deliver { consumer_id, entries, .. } => self.deliver(consumer_id, entries)?,
            Outgoing::ActiveConsumerChange { consumer_id, active } => {
                self.ready.push_back(Arrived::Active(consumer_id as InputId, active));
            }
            Outgoing::CloseConsumer { consumer_id } => {
                if let Some(input) = self.inputs.get_mut(consumer_id as usize) {
                    *input = None;
                }
                self.ready.push_back(Arrived::InputClosed(consumer_id as InputId));
            }
            Outgoing::CloseProducer { producer_id } => {
                self.ready.push_back(Arrived::OutputClosed(producer_id as OutputId));
            }
            Outgoing::GiveBack { consumer_id, positions } => {
                let entries = positions.into_iter().map(|at| (at.ledger, at.entry)).collect();
                self.ready.push_back(Arrived::OthersWait(consumer_id as InputId, entries));
            }
            Outgoing::Ping => self.peer.was_heard(),
            Outgoing::Close { reason } => return Err(Error::Closed(reason.to_owned())),
            // Answers to what an instance does not ask: its acknowledgements and publishes are commits.
            Outgoing::Receipts { .. }
            | Outgoing::SendError { .. }
            | Outgoing::AckResponse { .. }
            | Outgoing::ProducerReady { .. }
            | Outgoing::ProducerFailed { .. }
            | Outgoing::ReachedEndOfTopic { .. } => {}
        }
        Ok(())
    }

    fn deliver(&mut self, consumer_id: u64, entries: Vec<broker::Delivery>) -> Result<()> {
        let Some(input) = self.inputs.get_mut(consumer_id as usize).and_then(Option::as_mut) else { return Ok(()) };
        let now = (self.on.clock.monotonic(), self.on.clock.now_ms());
        let mut messages: Vec<Message> = Vec::with_capacity(entries.len());
        for delivery in entries {
            let broker::Delivery { position, redelivery_count, messages: took, ack_set, data } = delivery;
            let delivery = client::hot::Delivery {
                consumer_id,
                position,
                partition: -1,
                redelivery_count,
                ack_set: ack_set.iter().map(|&word| word as u64).collect(),
                consumer_epoch: None,
            };
            let received = input.intake.receive(delivery, data, took, now, &mut messages);
            note(&mut self.requests, input, position, received);
        }
        self.received(consumer_id as InputId, messages, now.0);
        Ok(())
    }

    /// Chunks were read again.
    fn fetched(&mut self, (id, number, entries): Chunks) -> Result<()> {
        let Some(input) = self.inputs.get_mut(id as usize).and_then(Option::as_mut) else { return Ok(()) };
        let now = (self.on.clock.monotonic(), self.on.clock.now_ms());
        let mut messages = Vec::new();
        for (position, received) in input.intake.fetched(number, entries, now, &mut messages)? {
            note(&mut self.requests, input, position, received);
        }
        self.received(id, messages, now.0);
        Ok(())
    }

    /// What follows when entries were read into messages.
    fn received(&mut self, id: InputId, messages: Vec<Message>, now: Duration) {
        let Some(input) = self.inputs.get_mut(id as usize).and_then(Option::as_mut) else { return };
        look_at_chunks(&mut self.requests, input, now);
        if let Some(Wanted { number, positions }) = input.intake.wanted() {
            let read = beside::read(self.on.clone(), (**input.intake.topic()).clone(), positions);
            self.chunks.push(Box::pin(async move { (id, number, read.await) }));
        }
        let permits = input.intake.permits(0);
        if permits > 0 {
            self.requests.flow(&input.handle, permits);
        }
        if !messages.is_empty() {
            self.ready.push_back(Arrived::Messages(messages));
        }
    }

    /// What to acknowledge; `None` when some of it is not here any more: another one has it, or it was acknowledged before.
    fn acks(
        &mut self,
        acks: &[(InputId, MessageId)],
    ) -> Option<(Option<broker::ConsumerHandle>, Vec<(Position, Words)>)> {
        let mut of_entries: Vec<(Position, Words)> = Vec::with_capacity(acks.len());
        let mut consumer = None;
        let mut given_back = Vec::new();
        for &(input, id) in acks {
            let input = self.input(input)?;
            consumer.get_or_insert_with(|| input.handle.clone());
            let position = Position { ledger: id.ledger, entry: id.entry };
            let is_here = input.intake.ack(id, |of, _| {
                // Of this commit alone: what others acknowledge of the batch may not happen.
                let index = u32::try_from(id.batch_index).ok().filter(|_| of == position);
                match (index, of_entries.iter_mut().rev().find(|(known, _)| *known == of)) {
                    (Some(index), Some((_, known))) => client::entries::clear(known, index),
                    (Some(index), None) => of_entries.push((of, client::entries::all_but(index, id.batch_size).into())),
                    (None, _) => of_entries.push((of, Words::new())),
                }
            });
            if !is_here {
                return None;
            }
            if input.intake.is_refused(position) {
                given_back.push(position);
            }
        }
        for (_, words) in &mut of_entries {
            if words.iter().all(|word| *word == 0) {
                words.clear(); // all of it
            }
        }
        if let Some(consumer) = consumer.as_ref().filter(|_| !given_back.is_empty()) {
            self.requests.redeliver(consumer, given_back, None);
        }
        Some((consumer, of_entries))
    }

    fn entries(&mut self, outputs: Vec<(OutputId, Record)>) -> Vec<broker::OutputEntry> {
        let now_ms = self.on.clock.now_ms();
        let mut by_output: Vec<(OutputId, Vec<Record>)> = Vec::new();
        for (output, record) in outputs {
            match by_output.iter_mut().find(|(known, _)| *known == output) {
                Some((_, records)) => records.push(record),
                None => by_output.push((output, vec![record])),
            }
        }
        let mut all = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        for (id, records) in by_output {
            let Some(output) = self.outputs.get_mut(id as usize).and_then(Option::as_mut) else { continue };
            output.entries(records, now_ms, &mut entries);
            let handle = &output.handle;
            all.extend(entries.drain(..).map(|Entry { data, messages }| broker::OutputEntry {
                output: handle.clone(),
                data,
                messages,
                sequence_id: None,
            }));
        }
        all
    }
}

/// Acknowledges what nobody will ever read.
fn pass_over(requests: &mut Requests, input: &Input, positions: impl IntoIterator<Item = Position>) {
    let ids = positions.into_iter().map(|position| (position, Words::new())).collect();
    requests.ack(&input.handle, broker::Ack { cumulative: false, ids, request_id: None, validation_error: true });
}

/// What an entry that is no message means.
fn note(requests: &mut Requests, input: &Input, position: Position, received: Received) {
    let topic = input.intake.topic();
    match received {
        Received::Read => {}
        Received::Corrupt(why) => {
            // Nobody will ever read it. Source: Pulsar's `ConsumerImpl.discardCorruptedMessage`.
            tracing::error!(%topic, %position, why, "an entry cannot be read and is passed over");
            pass_over(requests, input, [position]);
        }
        Received::Encrypted => {
            tracing::error!(%topic, %position, "an entry is encrypted; functions have no keys");
        }
    }
}

/// Gives back chunks that were set aside, and gives up messages that do not go on.
fn look_at_chunks(requests: &mut Requests, input: &mut Input, now: Duration) {
    if input.intake.next_look().is_none() {
        return;
    }
    let Past { again, lost } = input.intake.past(now);
    if !again.is_empty() {
        requests.give_back(&input.handle, again);
    }
    if !lost.is_empty() {
        let chunks = lost.len();
        tracing::error!(topic = %input.intake.topic(), chunks, "a message in chunks does not go on and is passed over");
        pass_over(requests, input, lost);
    }
}

async fn sleep_until(clock: &dyn seams::Clock, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due.saturating_sub(clock.monotonic())).await,
        None => std::future::pending().await,
    }
}

fn change(change: TableChange) -> broker::TableChange {
    let key = change.key;
    let op = match change.change {
        RowChange::Put(value) => broker::TableOp::Put { key, value },
        RowChange::Delete => broker::TableOp::Delete { key },
        RowChange::Add(delta) => broker::TableOp::Add { key, delta },
    };
    broker::TableChange { table: change.table, op }
}

fn commit_error(failed: broker::Error) -> Error {
    match failed {
        broker::Error::Conflict(_) => Error::Conflict,
        broker::Error::BadRequest(why) | broker::Error::NotAllowed(why) => Error::Invalid(why),
        other => error(other),
    }
}

#[async_trait]
impl Session for Open {
    async fn subscribe(&mut self, spec: InputSpec) -> Result<InputId> {
        let id = self.inputs.len() as InputId;
        let request = new_consumer(&spec, u64::from(id));
        let mut handle = self.on.broker.subscribe(&self.peer, request.clone()).await.map_err(error)?;
        if spec.skip_to_latest {
            handle.seek(SeekTarget::Latest).await.map_err(error)?;
            // A seek disconnects.
            handle = self.on.broker.subscribe(&self.peer, request).await.map_err(error)?;
        }
        let in_order = spec.kind.is_single_active();
        self.inputs.push(Some(Input { handle, intake: Intake::new(id, spec.topic, in_order) }));
        Ok(id)
    }

    async fn open_output(&mut self, spec: OutputSpec) -> Result<OutputId> {
        let id = self.outputs.len() as OutputId;
        let request = NewProducer {
            topic: spec.topic.clone(),
            producer_id: u64::from(id),
            request_id: 0,
            user_provided_name: spec.producer.is_some(),
            name: spec.producer.clone(),
            epoch: 0,
            access_mode: AccessMode::Shared,
            topic_epoch: None,
            metadata: spec.metadata.clone(),
            schema: spec.schema.as_ref().map(broker_schema),
            initial_subscription: None,
            encrypted: false,
        };
        let handle = self.on.broker.open_output(&self.peer, request).await.map_err(error)?;
        self.outputs.push(Some(Output::new(handle, &spec)));
        Ok(id)
    }

    fn flow(&mut self, input: InputId, permits: u32) {
        if let Some(input) = self.inputs.get_mut(input as usize).and_then(Option::as_mut) {
            let permits = input.intake.permits(permits);
            if permits > 0 {
                self.requests.flow(&input.handle, permits);
                self.submit();
            }
        }
    }

    async fn next(&mut self) -> Result<Arrived> {
        loop {
            if let Some(arrived) = self.ready.pop_front() {
                if let Arrived::Active(id, false) = arrived
                    && let Some(input) = self.input(id)
                {
                    // What it has and has not committed, the next one gets.
                    input.intake.clear();
                    self.received(id, Vec::new(), self.on.clock.monotonic());
                    self.submit();
                    return Ok(Arrived::Again(id));
                }
                return Ok(arrived);
            }
            if let Some(outgoing) = self.told.pop_front() {
                self.take(outgoing)?;
                self.submit();
                if self.told.is_empty() {
                    self.peer.written(std::mem::take(&mut self.told_bytes));
                }
                continue;
            }
            let due = self.inputs.iter().flatten().filter_map(|input| input.intake.next_look()).min();
            let batch = tokio::select! {
                batch = self.incoming.recv() => batch.ok_or_else(|| Error::Closed("the broker has stopped".into()))?,
                Some(chunks) = self.chunks.next() => {
                    self.fetched(chunks)?;
                    self.submit();
                    continue;
                }
                () = sleep_until(&*self.on.clock, due) => {
                    let now = self.on.clock.monotonic();
                    for input in self.inputs.iter_mut().flatten() {
                        look_at_chunks(&mut self.requests, input, now);
                    }
                    self.submit();
                    continue;
                }
            };
            self.peer.was_heard();
            self.told_bytes = batch.iter().map(Outgoing::bytes).sum();
            self.told.extend(batch);
        }
    }

    fn commit(&mut self, commit: Commit) -> BoxFuture<'static, Result<()>> {
        let conflict = || -> BoxFuture<'static, Result<()>> { Box::pin(std::future::ready(Err(Error::Conflict))) };
        let Some((mut consumer, acks)) = self.acks(&commit.acks) else { return conflict() };
        if let Some(input) = commit.through.filter(|_| consumer.is_none()) {
            let Some(input) = self.input(input) else { return conflict() };
            consumer = Some(input.handle.clone());
        }
        let outputs = self.entries(commit.outputs);
        let changes = commit.changes.into_iter().map(change).collect();
        let committed = self.on.broker.commit(broker::Commit { consumer, acks, outputs, changes });
        self.submit();
        let broker = self.on.broker.clone();
        Box::pin(async move {
            committed.await.map_err(commit_error)?;
            // The loop has a bound for commits under way; this is how it feels that the broker is full.
            if broker.publish_buffer_full() {
                broker.publish_buffer_room().await;
            }
            Ok(())
        })
    }

    fn close_output(&mut self, output: OutputId) {
        if let Some(output) = self.outputs.get_mut(output as usize).and_then(Option::take) {
            // Nobody waits for it: it ends with the session at the latest.
            tokio::spawn(async move { output.handle.close().await });
        }
    }

    fn settled(&mut self, ids: &[(InputId, MessageId)]) {
        for &(input, id) in ids {
            if let Some(input) = self.input(input) {
                input.intake.settled(id);
            }
        }
    }

    fn reopen(&mut self, ids: &[(InputId, MessageId)]) {
        for &(input, id) in ids {
            if let Some(input) = self.input(input) {
                input.intake.reopen(id);
            }
        }
    }

    fn redeliver(&mut self, ids: &[(InputId, MessageId)]) {
        for &(input, id) in ids {
            let Some(input) = self.inputs.get_mut(input as usize).and_then(Option::as_mut) else { continue };
            if input.intake.refuse(id) {
                let positions = input.intake.entries_of(Position { ledger: id.ledger, entry: id.entry });
                self.requests.redeliver(&input.handle, positions, None);
            }
        }
        self.submit();
    }

    fn give_back(&mut self, ids: &[(InputId, MessageId)]) -> Vec<(InputId, MessageId)> {
        let mut given = Vec::new();
        for (number, input) in (0..).zip(&mut self.inputs) {
            let Some(input) = input else { continue };
            let mut of_input: Vec<_> = ids.iter().filter(|(of, _)| *of == number).map(|(_, id)| *id).collect();
            let positions = input.intake.give_back(&mut of_input);
            if !positions.is_empty() {
                self.requests.give_back(&input.handle, positions);
                given.extend(of_input.into_iter().map(|id| (number, id)));
            }
        }
        self.submit();
        given
    }

    fn gave_back(&mut self, input: InputId) {
        if let Some(input) = self.inputs.get_mut(input as usize).and_then(Option::as_mut) {
            self.requests.gave_back(&input.handle);
            self.submit();
        }
    }

    fn max_message_bytes(&self) -> usize {
        self.on.broker.config().max_message_size
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.on.broker.disconnect(&self.peer);
    }
}
