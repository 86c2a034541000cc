//! What one instance has open on a broker that is somewhere else.

use async_trait::async_trait;
use bytes::Bytes;
use client::{
    Client, Outgoing, Producer, Seek,
    hot::{self, Delivery},
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use model::Position;
use seams::{Clock, SystemClock};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use wire::proto;

use super::{
    beside,
    commits::{self, Acks, Job},
    error,
    feed::{self, Heard, Link, Said, Word},
    output,
};
use crate::{
    error::{Error, Result},
    event_log::{Arrived, Commit, InputSpec, OutputSpec, Session, Tables},
    intake::{Intake, Past, Received, Wanted, Words},
    message::{InputId, Message, MessageId, OutputId, Record},
};

/// Messages of one input handed over at a time, unless one entry alone has more.
const ARRIVED_MAX: usize = 256;

/// See the module.
pub(super) struct Connected {
    client: Client,
    inputs: Vec<Input>,
    /// `None`: it was closed.
    outputs: Vec<Option<Arc<Producer>>>,
    heard: Arc<Heard>,
    /// Said, and not looked at: the loop is to know of one thing before the next takes effect.
    words: VecDeque<Word>,
    jobs: mpsc::UnboundedSender<Job>,
    max_message_bytes: usize,
    clock: SystemClock,
    /// Chunks that are read again: of which input, which ones, what they are.
    chunks: FuturesUnordered<BoxFuture<'static, Chunks>>,
    /// Ended with the session.
    tasks: JoinSet<()>,
}

type Chunks = (InputId, u64, client::Result<Vec<(Position, Bytes)>>);

/// One consumer.
struct Input {
    spec: Arc<InputSpec>,
    intake: Intake,
    link: Option<Link>,
    /// Number of the link, or of the last one.
    number: u64,
    /// Links up to this number were lost.
    lost: Option<u64>,
    /// Allowed while there is no link.
    owed: u32,
    /// Raised when all is asked for again: what was on its way then is of an older one. Source: PIP-84.
    epoch: u64,
}

impl Connected {
    pub(super) fn new(client: Client, tables: Arc<dyn Tables>, max_message_bytes: usize) -> Self {
        let mut tasks = JoinSet::new();
        Self {
            client,
            inputs: Vec::new(),
            outputs: Vec::new(),
            heard: Arc::default(),
            words: VecDeque::new(),
            jobs: commits::start(tables, &mut tasks),
            max_message_bytes,
            clock: SystemClock::new(),
            chunks: FuturesUnordered::new(),
            tasks,
        }
    }

    /// One thing that was said; what it means to the loop.
    fn hear(&mut self, (id, number, said): Word) -> Result<Option<Arrived>> {
        let now = (self.clock.monotonic(), self.clock.now_ms());
        let Some(input) = self.inputs.get_mut(id as usize) else { return Ok(None) };
        let is_current = input.link.is_some() && number == input.number;
        match said {
            Said::Attached(link) => {
                if input.lost.is_none_or(|lost| lost < number) {
                    (input.number, input.epoch) = (number, 0);
                    let permits = input.intake.permits(std::mem::take(&mut input.owed));
                    if permits > 0 {
                        link.flow(permits);
                    }
                    input.link = Some(link);
                }
                Ok(None)
            }
            Said::Lost => {
                input.lost = input.lost.max(Some(number));
                if !is_current {
                    return Ok(None);
                }
                input.link = None;
                input.owed = 0;
                input.intake.lost();
                Ok(Some(Arrived::InputLost(id)))
            }
            Said::Active(false) if is_current => {
                input.intake.clear();
                input.flow(0);
                Ok(Some(Arrived::Again(id)))
            }
            Said::Active(is_active) => Ok(is_current.then_some(Arrived::Active(id, is_active))),
            Said::Entry(delivery, entry) if is_current => {
                let mut messages = Vec::new();
                input.receive(delivery, entry, now, &mut messages);
                while messages.len() < ARRIVED_MAX
                    && let Some((_, _, Said::Entry(..))) =
                        self.words.front().filter(|(of, at, _)| (*of, *at) == (id, number))
                    && let Some((_, _, Said::Entry(delivery, entry))) = self.words.pop_front()
                {
                    input.receive(delivery, entry, now, &mut messages);
                }
                self.received(id, now.0);
                Ok((!messages.is_empty()).then_some(Arrived::Messages(messages)))
            }
            Said::Entry(..) => Ok(None),
            Said::Failed(failed) => Err(error(failed)),
        }
    }

    /// What follows when entries were read into messages.
    fn received(&mut self, id: InputId, now: Duration) {
        self.look_at_chunks(id, now);
        let Some(input) = self.inputs.get_mut(id as usize) else { return };
        if let Some(Wanted { number, positions }) = input.intake.wanted() {
            let read = beside::read(self.client.clone(), input.spec.topic.clone(), id, positions);
            self.chunks.push(Box::pin(async move { (id, number, read.await) }));
        }
        input.flow(0);
    }

    /// Chunks were read again.
    fn fetched(&mut self, (id, number, entries): Chunks) -> Result<Option<Arrived>> {
        let now = (self.clock.monotonic(), self.clock.now_ms());
        let Some(input) = self.inputs.get_mut(id as usize) else { return Ok(None) };
        let mut messages = Vec::new();
        for (position, received) in input.intake.fetched(number, entries, now, &mut messages).map_err(error)? {
            input.note(position, received);
        }
        self.received(id, now.0);
        Ok((!messages.is_empty()).then_some(Arrived::Messages(messages)))
    }

    /// There is no single redelivery where one consumer gets all in order: all that is not acknowledged comes again.
    fn all_again(&mut self, id: InputId) {
        if let Some(input) = self.inputs.get_mut(id as usize)
            && let Some(link) = &input.link
        {
            input.epoch += 1;
            link.redeliver(Vec::new(), Some(input.epoch));
            self.words.push_front((id, input.number, Said::Active(false)));
        }
    }

    /// Gives back chunks that were set aside, and gives up messages that do not go on.
    fn look_at_chunks(&mut self, id: InputId, now: Duration) {
        let Some(input) = self.inputs.get_mut(id as usize).filter(|input| input.intake.next_look().is_some()) else {
            return;
        };
        let Past { again, lost } = input.intake.past(now);
        let Some(link) = &input.link else { return };
        for position in lost {
            tracing::error!(topic = %input.spec.topic, %position, "a message in chunks does not go on and is passed over");
            link.discard(entry(position));
        }
        if !again.is_empty() {
            link.redeliver(again.into_iter().map(entry).collect(), None);
        }
    }

    /// What to acknowledge; `None` when some of it is not here: it was acknowledged before, or is to come again.
    fn acks(&mut self, acks: &[(InputId, MessageId)]) -> Option<Option<Acks>> {
        let Some(&(first, _)) = acks.first() else { return Some(None) };
        let input = self.inputs.get_mut(first as usize)?;
        let link = input.link.clone()?;
        let mut entries: Vec<(Position, u32, Words)> = Vec::with_capacity(acks.len());
        let mut given_back = Vec::new();
        for &(of, id) in acks {
            let is_here = of == first
                && input.intake.ack(id, |position, words| {
                    match entries.iter_mut().rev().find(|(known, ..)| *known == position) {
                        Some((.., known)) => *known = words,
                        None => entries.push((position, id.batch_size, words)),
                    }
                });
            if !is_here {
                return None;
            }
            let position = Position { ledger: id.ledger, entry: id.entry };
            if input.intake.is_refused(position) {
                given_back.push(entry(position));
            }
        }
        if !given_back.is_empty() {
            link.redeliver(given_back, None);
        }
        let ids = entries.into_iter().map(|(position, batch_size, words)| proto::MessageIdData {
            batch_size: (!words.is_empty()).then_some(batch_size as i32),
            ack_set: words.iter().map(|&word| word as i64).collect(),
            ..entry(position)
        });
        Some(Some(Acks { link, ids: ids.collect() }))
    }

    fn outputs(&self, records: Vec<(OutputId, Record)>) -> Result<Vec<(Arc<Producer>, Vec<Outgoing>)>> {
        let mut by_output: Vec<(OutputId, Vec<Outgoing>)> = Vec::new();
        for (output, record) in records {
            match by_output.iter_mut().find(|(known, _)| *known == output) {
                Some((_, messages)) => messages.push(record.into()),
                None => by_output.push((output, vec![record.into()])),
            }
        }
        let open = |(output, messages)| {
            let producer = self.outputs.get(output as usize).cloned().flatten();
            Ok((producer.ok_or_else(|| Error::Closed("the output was closed".into()))?, messages))
        };
        by_output.into_iter().map(open).collect()
    }
}

impl Input {
    /// Reads an entry.
    fn receive(&mut self, delivery: Delivery, bytes: Bytes, now: (Duration, u64), messages: &mut Vec<Message>) {
        let Some(link) = &self.link else { return };
        let position = delivery.position;
        // As brokers count. Source: Pulsar's `Consumer.sendMessages`.
        let holds = hot::split_entry(&bytes).map_or(1, |(metadata, _)| hot::messages_in_batch(metadata));
        let left: u32 = delivery.ack_set.iter().map(|word| word.count_ones()).sum();
        let took = if delivery.ack_set.is_empty() { holds } else { left.min(holds) };
        if delivery.consumer_epoch.is_some_and(|epoch| epoch < self.epoch) {
            return link.flow(took);
        }
        let received = self.intake.receive(delivery, bytes, took, now, messages);
        self.note(position, received);
        self.flow(0);
    }

    /// What an entry that is no message means.
    fn note(&self, position: Position, received: Received) {
        match received {
            Received::Read => {}
            Received::Corrupt(why) => {
                // Nobody will ever read it.
                tracing::error!(topic = %self.spec.topic, %position, why, "an entry cannot be read and is passed over");
                if let Some(link) = &self.link {
                    link.discard(entry(position));
                }
            }
            Received::Encrypted => {
                tracing::error!(topic = %self.spec.topic, %position, "an entry is encrypted; functions have no keys");
            }
        }
    }

    /// Allows so many more messages, and others for those that came and were none.
    fn flow(&mut self, more: u32) {
        let Some(link) = &self.link else {
            self.owed += more;
            return;
        };
        let permits = self.intake.permits(more);
        if permits > 0 {
            link.flow(permits);
        }
    }
}

pub(super) fn entry(position: Position) -> proto::MessageIdData {
    proto::MessageIdData { ledger_id: position.ledger, entry_id: position.entry as u64, ..Default::default() }
}

#[async_trait]
impl Session for Connected {
    async fn subscribe(&mut self, spec: InputSpec) -> Result<InputId> {
        let id = self.inputs.len() as InputId;
        if spec.skip_to_latest {
            let consumer = self.client.consumer(&spec.topic.to_string(), &spec.subscription).kind(spec.kind);
            let consumer = consumer.initial(spec.initial_position).subscribe().await.map_err(error)?;
            consumer.seek(Seek::Latest).await.map_err(error)?;
            consumer.close().await.map_err(error)?;
        }
        let spec = Arc::new(spec);
        feed::open(&self.client, spec.clone(), id, self.heard.clone(), &mut self.tasks).await.map_err(error)?;
        self.inputs.push(Input {
            intake: Intake::new(id, spec.topic.clone(), spec.kind.is_single_active()),
            spec,
            link: None,
            number: 0,
            lost: None,
            owed: 0,
            epoch: 0,
        });
        Ok(id)
    }

    async fn open_output(&mut self, spec: OutputSpec) -> Result<OutputId> {
        self.outputs.push(Some(output::open(&self.client, spec).await?));
        Ok(self.outputs.len() as OutputId - 1)
    }

    fn flow(&mut self, input: InputId, permits: u32) {
        if let Some(input) = self.inputs.get_mut(input as usize) {
            input.flow(permits);
        }
    }

    async fn next(&mut self) -> Result<Arrived> {
        loop {
            while let Some(word) = self.words.pop_front() {
                if let Some(arrived) = self.hear(word)? {
                    return Ok(arrived);
                }
            }
            let due = self.inputs.iter().filter_map(|input| input.intake.next_look()).min();
            let wait = due.map(|due| due.saturating_sub(self.clock.monotonic()));
            tokio::select! {
                () = self.heard.listen(&mut self.words) => {}
                Some(chunks) = self.chunks.next() => {
                    if let Some(arrived) = self.fetched(chunks)? {
                        return Ok(arrived);
                    }
                }
                () = async {
                    match wait {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => std::future::pending().await,
                    }
                } => {
                    let now = self.clock.monotonic();
                    (0..self.inputs.len()).for_each(|id| self.look_at_chunks(id as InputId, now));
                }
            }
        }
    }

    fn commit(&mut self, commit: Commit) -> BoxFuture<'static, Result<()>> {
        let Some(acks) = self.acks(&commit.acks) else {
            return Box::pin(std::future::ready(Err(Error::Conflict)));
        };
        let outputs = match self.outputs(commit.outputs) {
            Ok(outputs) => outputs,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let topic = commit.acks.first().map(|(input, _)| self.inputs[*input as usize].spec.topic.to_string());
        let once = commit.once.zip(topic);
        let (reply, replied) = oneshot::channel();
        let job = Job { outputs, changes: commit.changes, acks, once, reply };
        // When the tasks are gone the reply says so.
        let _ = self.jobs.send(job);
        Box::pin(async move { replied.await.unwrap_or_else(|_| Err(Error::Closed("the connection is closed".into()))) })
    }

    fn is_atomic(&self) -> bool {
        false
    }

    fn close_output(&mut self, output: OutputId) {
        if let Some(output) = self.outputs.get_mut(output as usize) {
            // What is on its way to it has a handle of its own.
            *output = None;
        }
    }

    fn settled(&mut self, ids: &[(InputId, MessageId)]) {
        for &(of, id) in ids {
            if let Some(input) = self.inputs.get_mut(of as usize) {
                input.intake.settled(id);
            }
        }
    }

    fn reopen(&mut self, ids: &[(InputId, MessageId)]) {
        for &(of, id) in ids {
            if let Some(input) = self.inputs.get_mut(of as usize) {
                input.intake.reopen(id);
            }
        }
    }

    fn redeliver(&mut self, ids: &[(InputId, MessageId)]) {
        for &(of, id) in ids {
            let Some(input) = self.inputs.get_mut(of as usize) else { continue };
            let Some(link) = &input.link else { continue };
            if input.spec.kind.is_single_active() {
                self.all_again(of);
            } else if input.intake.refuse(id) {
                let positions = input.intake.entries_of(Position { ledger: id.ledger, entry: id.entry });
                link.redeliver(positions.into_iter().map(entry).collect(), None);
            }
        }
    }

    fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }
}
