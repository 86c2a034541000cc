//! What one instance has open on a broker that is somewhere else.

use async_trait::async_trait;
use client::{Batching, Client, CompressionType, Consumer, Outgoing, Producer, Publication};
use futures::future::BoxFuture;
use model::TopicName;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::AbortHandle,
};

use super::error;
use crate::{
    error::{Error, Result},
    event_log::{Arrived, Commit, Compression, InputSpec, OutputSpec, Schema, Session, TableChange, Tables},
    message::{InputId, Message, MessageId, OutputId, Record},
};

/// Messages of one input handed over at a time.
const ARRIVED_MAX: usize = 256;
/// Between two tries to receive from a broker that is away.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Connected {
    client: Client,
    inputs: Vec<Option<Input>>,
    outputs: Vec<Arc<Producer>>,
    arrives: mpsc::Sender<Result<Arrived>>,
    arrived: mpsc::Receiver<Result<Arrived>>,
    jobs: mpsc::UnboundedSender<Job>,
    tasks: Vec<AbortHandle>,
}

/// One consumer.
struct Input {
    consumer: Arc<Consumer>,
    /// Messages the loop wants.
    permits: Arc<Semaphore>,
    task: AbortHandle,
}

/// A commit on its way.
struct Job {
    outputs: Vec<(Arc<Producer>, Outgoing)>,
    changes: Vec<TableChange>,
    acks: Vec<(Arc<Consumer>, Vec<model::MessageId>)>,
    reply: oneshot::Sender<Result<()>>,
}

impl Connected {
    pub(super) fn new(client: Client, tables: Arc<dyn Tables>) -> Self {
        let (arrives, arrived) = mpsc::channel(64);
        let (jobs, takes) = mpsc::unbounded_channel();
        let (published, publishes) = mpsc::channel(64);
        let tasks = vec![
            tokio::spawn(publish(takes, published)).abort_handle(),
            tokio::spawn(finish(publishes, tables)).abort_handle(),
        ];
        Self { client, inputs: Vec::new(), outputs: Vec::new(), arrives, arrived, jobs, tasks }
    }

    fn input(&self, input: InputId) -> Option<&Input> {
        self.inputs.get(input as usize)?.as_ref()
    }
}

/// Publishes the outputs of commits in their order; does not wait for receipts.
async fn publish(mut jobs: mpsc::UnboundedReceiver<Job>, then: mpsc::Sender<(Job, Result<Vec<Publication>>)>) {
    while let Some(mut job) = jobs.recv().await {
        let mut published = Ok(Vec::with_capacity(job.outputs.len()));
        for (producer, message) in std::mem::take(&mut job.outputs) {
            match (producer.enqueue(message).await, &mut published) {
                (Ok(publication), Ok(all)) => all.push(publication),
                (Err(failed), _) => {
                    published = Err(error(failed));
                    break;
                }
                (Ok(_), Err(_)) => break,
            }
        }
        if then.send((job, published)).await.is_err() {
            return;
        }
    }
}

/// What follows the outputs of each commit, in order. After a failure nothing is acknowledged any more: the loop starts again.
async fn finish(mut jobs: mpsc::Receiver<(Job, Result<Vec<Publication>>)>, tables: Arc<dyn Tables>) {
    let mut failed: Option<Error> = None;
    while let Some((job, published)) = jobs.recv().await {
        let result = match &failed {
            Some(error) => Err(error.clone()),
            None => finish_one(&*tables, published, job.changes, job.acks).await,
        };
        if let Err(error) = &result {
            failed = Some(error.clone());
        }
        // The loop may be gone.
        let _ = job.reply.send(result);
    }
}

async fn finish_one(
    tables: &dyn Tables,
    published: Result<Vec<Publication>>,
    changes: Vec<TableChange>,
    acks: Vec<(Arc<Consumer>, Vec<model::MessageId>)>,
) -> Result<()> {
    for publication in published? {
        publication.await.map_err(error)?;
    }
    if !changes.is_empty() {
        tables.write(changes).await?;
    }
    for (consumer, ids) in acks {
        consumer.ack_all(&ids).map_err(error)?;
    }
    Ok(())
}

/// Takes from a consumer what the loop has asked for.
async fn receive(
    id: InputId,
    topic: Arc<TopicName>,
    consumer: Arc<Consumer>,
    permits: Arc<Semaphore>,
    arrives: mpsc::Sender<Result<Arrived>>,
) {
    loop {
        let Ok(permit) = permits.acquire().await else { return };
        let first = match consumer.receive().await {
            Ok(message) => message,
            Err(failed) if failed.is_retryable() => {
                tokio::time::sleep(TRY_AGAIN).await;
                continue;
            }
            Err(failed) => {
                let _ = arrives.send(Err(error(failed))).await;
                return;
            }
        };
        permit.forget();
        let mut messages = vec![Message::received(id, &topic, first)];
        while messages.len() < ARRIVED_MAX
            && let Ok(permit) = permits.try_acquire()
        {
            let Ok(Some(next)) = consumer.try_receive() else { break };
            permit.forget();
            messages.push(Message::received(id, &topic, next));
        }
        if arrives.send(Ok(Arrived::Messages(messages))).await.is_err() {
            return;
        }
    }
}

impl From<Record> for Outgoing {
    fn from(record: Record) -> Self {
        let (key, key_is_base64) = record.key.map_or((None, false), |key| (Some(key.text), key.is_base64));
        Self {
            payload: record.payload,
            key,
            key_is_base64,
            ordering_key: None,
            properties: record.properties,
            event_time_ms: (record.event_time_ms > 0).then_some(record.event_time_ms),
            sequence_id: record.sequence_id,
            deliver_at_ms: (record.deliver_at_ms > 0).then(|| record.deliver_at_ms.min(i64::MAX as u64) as i64),
        }
    }
}

impl From<Compression> for CompressionType {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zlib => Self::Zlib,
            Compression::Zstd => Self::Zstd,
            Compression::Snappy => Self::Snappy,
        }
    }
}

pub(super) fn wire_schema(schema: &Schema) -> wire::proto::Schema {
    let pair = |(key, value): (&String, &String)| wire::proto::KeyValue { key: key.clone(), value: value.clone() };
    wire::proto::Schema {
        name: String::new(),
        schema_data: schema.definition.clone(),
        r#type: schema.kind,
        properties: schema.properties.iter().map(pair).collect(),
    }
}

#[async_trait]
impl Session for Connected {
    async fn subscribe(&mut self, spec: InputSpec) -> Result<InputId> {
        let id = self.inputs.len() as InputId;
        let mut builder = self.client.consumer(&spec.topic.to_string(), &spec.subscription);
        builder = builder.kind(spec.kind).name(spec.consumer).initial(spec.initial_position).batch_index_acks(true);
        for (name, value) in spec.metadata {
            builder = builder.property(name, value);
        }
        let consumer = Arc::new(builder.subscribe().await.map_err(error)?);
        if spec.skip_to_latest {
            consumer.seek(client::Seek::Latest).await.map_err(error)?;
        }
        let permits = Arc::new(Semaphore::new(0));
        let topic = Arc::new(spec.topic);
        let task = tokio::spawn(receive(id, topic, consumer.clone(), permits.clone(), self.arrives.clone()));
        self.inputs.push(Some(Input { consumer, permits, task: task.abort_handle() }));
        Ok(id)
    }

    async fn open_output(&mut self, spec: OutputSpec) -> Result<OutputId> {
        let mut builder = self.client.producer(&spec.topic.to_string());
        builder = builder
            .batching(Batching { by_key: spec.batch_by_key, ..Batching::default() })
            .compression(spec.compression.into());
        if let Some(name) = spec.producer {
            builder = builder.name(name);
        }
        for (name, value) in spec.metadata {
            builder = builder.property(name, value);
        }
        if let Some(schema) = &spec.schema {
            builder = builder.schema(wire_schema(schema));
        }
        self.outputs.push(Arc::new(builder.create().await.map_err(error)?));
        Ok(self.outputs.len() as OutputId - 1)
    }

    fn flow(&mut self, input: InputId, permits: u32) {
        if let Some(input) = self.input(input) {
            input.permits.add_permits(permits as usize);
        }
    }

    async fn next(&mut self) -> Result<Arrived> {
        self.arrived.recv().await.unwrap_or_else(|| Err(Error::Closed("the connection is closed".into())))
    }

    fn commit(&mut self, commit: Commit) -> BoxFuture<'static, Result<()>> {
        let mut acks: Vec<(InputId, Vec<model::MessageId>)> = Vec::new();
        for (input, id) in &commit.acks {
            match acks.iter_mut().find(|(known, _)| known == input) {
                Some((_, ids)) => ids.push(id.as_client()),
                None => acks.push((*input, vec![id.as_client()])),
            }
        }
        let acks = acks.into_iter().filter_map(|(input, ids)| Some((self.input(input)?.consumer.clone(), ids)));
        let outputs = commit.outputs.into_iter();
        let outputs =
            outputs.filter_map(|(output, record)| Some((self.outputs.get(output as usize)?.clone(), record.into())));
        let (reply, replied) = oneshot::channel();
        let job = Job { outputs: outputs.collect(), changes: commit.changes, acks: acks.collect(), reply };
        // When the tasks are gone the reply says so.
        let _ = self.jobs.send(job);
        Box::pin(async move { replied.await.unwrap_or_else(|_| Err(Error::Closed("the connection is closed".into()))) })
    }

    fn redeliver(&mut self, ids: &[(InputId, MessageId)]) {
        for (input, id) in ids {
            if let Some(input) = self.input(*input) {
                input.consumer.nack(id.as_client());
            }
        }
    }

    fn max_message_bytes(&self) -> usize {
        // As brokers are configured unless somebody changes it; one that takes less says so when something larger comes.
        5 << 20
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.inputs.iter().flatten().for_each(|input| input.task.abort());
    }
}
