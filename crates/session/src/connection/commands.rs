//! One function for each command. What the broker answers later runs as a request beside the connection; the rest is
//! done at once.
//!
//! Source: the `handle...` methods of Pulsar's `ServerCnx`, whose checks, codes and texts these follow.

use broker::{Ack, Error, KeyShared, NewConsumer, NewProducer, SeekTarget};
use futures::future::abortable;
use model::{
    AccessMode, InitialPosition, KeySharedMode, NAME_BYTES_MAX, NamespaceName, Position, SubscriptionType, TopicName,
};
use smallvec::SmallVec;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use wire::{
    Incoming,
    entry::Checksum,
    frame::{self, SendHeader},
    proto::{self, ServerError, base_command::Type, command_ack::AckType, command_get_topics_of_namespace::Mode},
};

use super::{
    Connection, Done, End, Stream,
    handles::{Consumer, Slot},
};
use crate::{
    reply::{self, TRANSACTIONS_OFF},
    topic_list::{self, Pattern, Watcher},
};
use bytes::Bytes;

/// Properties a consumer may have, keys and values together. Source: `maxConsumerMetadataSize`.
const CONSUMER_METADATA_BYTES_MAX: usize = 1024;

/// Words of an acknowledgement within a batch.
const ACK_SET_WORDS_MAX: usize = wire::batch::MESSAGES_MAX as usize / 64;

/// Hash ranges of one consumer. Pulsar takes any number.
const HASH_RANGES_MAX: usize = 1024;

/// The same for producers and subscriptions, which Pulsar leaves as large as a frame may be.
const METADATA_BYTES_MAX: usize = 64 * 1024;

/// Names of producers, consumers and subscriptions are kept, and written again and again; Pulsar leaves them as large as a frame
/// may be.
const NAME_TOO_LONG: &str = "The names of producers, consumers and subscriptions have at most 1024 bytes";

impl<S: Stream> Connection<S> {
    /// Does what one frame asks for.
    ///
    /// # Errors
    /// The frame breaks the protocol: the connection ends.
    pub(super) fn handle(&mut self, incoming: Incoming) -> Result<(), End> {
        match incoming {
            Incoming::Send(header, entry) => self.send(header, entry),
            Incoming::Flow(flow) => {
                if let Some(consumer) = self.consumers.open(flow.consumer_id) {
                    self.requested.flow(&consumer.handle, flow.permits);
                }
                Ok(())
            }
            Incoming::Ack(ack) => {
                self.ack_one(ack);
                Ok(())
            }
            Incoming::Command(command, _) => self.command(*command),
            Incoming::Unknown(kind) => {
                tracing::debug!(kind, "ignored a command of a newer protocol");
                Ok(())
            }
        }
    }

    fn command(&mut self, command: proto::BaseCommand) -> Result<(), End> {
        /// The body of the command goes to its function. `wire` has seen to it that there is one.
        macro_rules! route {
            ($($kind:ident: $field:ident => $function:ident,)*) => {
                match Type::try_from(command.r#type) {
                    Ok(Type::Ping) => self.writer.frame(&reply::pong()),
                    Ok(Type::Connect) => return Err(End::Protocol("a second CONNECT".into())),
                    $(Ok(Type::$kind) => {
                        if let Some(body) = command.$field {
                            self.$function(body);
                        }
                    })*
                    // PONG says no more than that the peer is there. What else there is, a broker is never asked.
                    _ => {}
                }
            };
        }
        route! {
            Producer: producer => producer,
            CloseProducer: close_producer => close_producer,
            Subscribe: subscribe => subscribe,
            CloseConsumer: close_consumer => close_consumer,
            Ack: ack => ack,
            RedeliverUnacknowledgedMessages: redeliver_unacknowledged_messages => redeliver,
            Unsubscribe: unsubscribe => unsubscribe,
            Seek: seek => seek,
            GetLastMessageId: get_last_message_id => get_last_message_id,
            ConsumerStats: consumer_stats => consumer_stats,
            Lookup: lookup_topic => lookup,
            PartitionedMetadata: partition_metadata => partitioned_metadata,
            GetTopicsOfNamespace: get_topics_of_namespace => topics_of_namespace,
            WatchTopicList: watch_topic_list => watch_topic_list,
            WatchTopicListClose: watch_topic_list_close => watch_topic_list_close,
            GetSchema: get_schema => get_schema,
            GetOrCreateSchema: get_or_create_schema => get_or_create_schema,
            TcClientConnectRequest: tc_client_connect_request => tc_client_connect,
            NewTxn: new_txn => new_txn,
            AddPartitionToTxn: add_partition_to_txn => add_partition_to_txn,
            AddSubscriptionToTxn: add_subscription_to_txn => add_subscription_to_txn,
            EndTxn: end_txn => end_txn,
            EndTxnOnPartition: end_txn_on_partition => end_txn_on_partition,
            EndTxnOnSubscription: end_txn_on_subscription => end_txn_on_subscription,
        }
        Ok(())
    }

    fn refuse(&mut self, request_id: u64, code: ServerError, message: impl Into<String>) {
        self.writer.frame(&reply::error(request_id, code, message));
    }

    // ---- producers

    fn send(&mut self, send: SendHeader, entry: Bytes) -> Result<(), End> {
        let Some(producer) = self.producers.open(send.producer_id) else {
            if self.producers.was_recently_closed(send.producer_id) {
                // On its way when the producer was closed; the client sends it again when it has reconnected.
                return Ok(());
            }
            return Err(End::Protocol(format!("SEND for producer {}, which is not there", send.producer_id)));
        };
        if send.txn.is_some() {
            self.refuse_send(send, ServerError::NotAllowedError, TRANSACTIONS_OFF);
            return Ok(());
        }
        // Broker metadata is the broker's to add.
        let is_forged = entry.starts_with(&[0x0e, 0x02]);
        if entry.is_empty() || is_forged || wire::entry::checksum(&entry) == Checksum::Invalid {
            self.refuse_send(send, ServerError::ChecksumError, "Checksum failed on the broker");
            return Ok(());
        }
        let highest = send.highest_sequence_id.filter(|&h| h >= send.sequence_id).unwrap_or(send.sequence_id);
        let messages = u32::try_from(send.num_messages).unwrap_or(1).max(1);
        if let Some(rest) = producer.handle.pace(messages, entry.len()) {
            self.rest = Some((producer.handle.clone(), Box::pin(tokio::time::sleep(rest))));
        }
        self.requested.publish(&producer.handle, send.sequence_id, highest, messages, send.is_chunk, entry);
        Ok(())
    }

    #[cold]
    fn refuse_send(&mut self, send: SendHeader, code: ServerError, message: &str) {
        // Of a batch the highest, by which clients find it. Source: Pulsar's `Producer.checkAndStartPublish`.
        let sequence_id = send.highest_sequence_id.map_or(send.sequence_id, |highest| highest.max(send.sequence_id));
        self.writer.frame(&reply::send_error(send.producer_id, sequence_id, code, message.to_owned()));
    }

    fn producer(&mut self, command: proto::CommandProducer) {
        let (id, request_id) = (command.producer_id, command.request_id);
        let topic = match topic_name(&command.topic) {
            Ok(topic) => topic,
            Err(error) => return self.writer.frame(&reply::failed(request_id, &error)),
        };
        match self.producers.slot(id) {
            None => {}
            Some(Slot::Open(producer)) => {
                let created = broker::ProducerCreated { last_sequence_id: -1, ..producer.created.clone() };
                return self.writer.frame(&reply::producer_success(request_id, created));
            }
            Some(Slot::Creating(_) | Slot::Cancelled(_) | Slot::Revoked(_)) => {
                let message = "Producer is already present on the connection";
                return self.refuse(request_id, ServerError::ServiceNotReady, message);
            }
        }
        let access_mode = match proto::ProducerAccessMode::try_from(command.producer_access_mode.unwrap_or(0)) {
            Ok(proto::ProducerAccessMode::Shared) => AccessMode::Shared,
            Ok(proto::ProducerAccessMode::Exclusive) => AccessMode::Exclusive,
            Ok(proto::ProducerAccessMode::WaitForExclusive) => AccessMode::WaitForExclusive,
            Ok(proto::ProducerAccessMode::ExclusiveWithFencing) => AccessMode::ExclusiveWithFencing,
            Err(_) => return self.refuse(request_id, ServerError::NotAllowedError, "Unknown producer access mode"),
        };
        let metadata = match metadata(command.metadata, METADATA_BYTES_MAX) {
            Ok(metadata) => metadata,
            Err(message) => return self.refuse(request_id, ServerError::MetadataError, message),
        };
        let names = [&command.producer_name, &command.initial_subscription_name];
        if names.into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
            return self.refuse(request_id, ServerError::NotAllowedError, NAME_TOO_LONG);
        }
        let user_provided_name = command.user_provided_producer_name.unwrap_or(true);
        let request = NewProducer {
            topic,
            producer_id: id,
            request_id,
            name: command.producer_name.filter(|name| !name.is_empty()),
            epoch: command.epoch.unwrap_or(0),
            user_provided_name,
            access_mode,
            topic_epoch: command.topic_epoch,
            metadata,
            schema: command.schema.and_then(schema),
            initial_subscription: command.initial_subscription_name.filter(|name| !name.is_empty()),
            encrypted: command.encrypted.unwrap_or(false),
        };
        let token = self.token();
        self.producers.creating(id, token);
        let (broker, peer) = (self.shared.broker.clone(), self.peer.clone());
        self.request(async move {
            let result = broker.create_producer(&peer, request).await;
            Done::Producer { id, token, request_id, result }
        });
    }

    fn close_producer(&mut self, command: proto::CommandCloseProducer) {
        let request_id = command.request_id;
        // A creation under way finds its number free when it ends, and closes what it made.
        match self.producers.remove(command.producer_id, self.now) {
            Some(producer) => self.request(async move {
                producer.handle.close().await;
                Done::Reply(reply::success(request_id))
            }),
            None => self.writer.frame(&reply::success(request_id)),
        }
    }

    // ---- consumers

    fn subscribe(&mut self, command: proto::CommandSubscribe) {
        let (id, request_id) = (command.consumer_id, command.request_id);
        let topic = match topic_name(&command.topic) {
            Ok(topic) => topic,
            Err(error) => return self.writer.frame(&reply::failed(request_id, &error)),
        };
        match self.consumers.slot(id) {
            None => {}
            Some(Slot::Open(_)) => return self.writer.frame(&reply::success(request_id)),
            Some(Slot::Creating(_) | Slot::Revoked(_)) => {
                let message = "Consumer is already present on the connection";
                return self.refuse(request_id, ServerError::ServiceNotReady, message);
            }
            Some(Slot::Cancelled(_)) => {
                let message = "Consumer that failed is already present on the connection";
                return self.refuse(request_id, ServerError::UnknownError, message);
            }
        }
        if command.subscription.is_empty() {
            // Pulsar's `NamingException` has the code of a busy producer.
            return self.refuse(request_id, ServerError::ProducerBusy, "Empty subscription name");
        }
        if command.consumer_name.iter().chain([&command.subscription]).any(|name| name.len() > NAME_BYTES_MAX) {
            return self.refuse(request_id, ServerError::NotAllowedError, NAME_TOO_LONG);
        }
        let partition = topic.partition().map_or(-1, |p| i32::try_from(p).unwrap_or(-1));
        let of = Arc::new((topic.clone(), command.subscription.clone()));
        let request = match new_consumer(topic, command) {
            Ok(request) => request,
            Err((code, message)) => return self.refuse(request_id, code, message),
        };
        let kind = request.kind;
        let token = self.token();
        self.consumers.creating(id, token);
        let (broker, peer) = (self.shared.broker.clone(), self.peer.clone());
        self.request(async move {
            let result = broker.subscribe(&peer, request).await;
            let result = result.map(|handle| Consumer { handle, token, kind, partition, of });
            Done::Consumer { id, token, request_id, result }
        });
    }

    fn close_consumer(&mut self, command: proto::CommandCloseConsumer) {
        let request_id = command.request_id;
        match self.consumers.remove(command.consumer_id) {
            Some(consumer) => self.request(async move {
                consumer.handle.close().await;
                Done::Reply(reply::success(request_id))
            }),
            None => {
                self.consumers.cancel(command.consumer_id);
                self.writer.frame(&reply::success(request_id));
            }
        }
    }

    fn ack_one(&mut self, ack: frame::Ack) {
        if let Some(consumer) = self.consumers.open(ack.consumer_id) {
            let position = Position::new(ack.ledger_id, ack.entry_id as i64);
            let mut ids = SmallVec::new();
            ids.push((position, SmallVec::new()));
            let (cumulative, request_id) = (ack.cumulative, ack.request_id);
            self.requested.ack(&consumer.handle, Ack { cumulative, ids, request_id, validation_error: false });
        } else {
            self.ack_of_nobody(ack.consumer_id, ack.request_id);
        }
    }

    /// Pulsar leaves an acknowledgement for a consumer that is gone without an answer, and the client waiting for one.
    fn ack_of_nobody(&mut self, consumer_id: u64, request_id: Option<u64>) {
        if let Some(request_id) = request_id {
            let error = (ServerError::ConsumerNotFound, "the consumer is closed".to_owned());
            self.writer.frame(&reply::ack_response(consumer_id, request_id, Some(error)));
        }
    }

    fn ack(&mut self, ack: proto::CommandAck) {
        let Some(consumer) = self.consumers.open(ack.consumer_id) else {
            return self.ack_of_nobody(ack.consumer_id, ack.request_id);
        };
        let cumulative = ack.ack_type == AckType::Cumulative as i32;
        if ack.txnid_most_bits.is_some() || ack.txnid_least_bits.is_some() {
            if let Some(request_id) = ack.request_id {
                let error = (ServerError::NotAllowedError, TRANSACTIONS_OFF.to_owned());
                self.writer.frame(&reply::ack_response(ack.consumer_id, request_id, Some(error)));
            }
            return;
        }
        if ack.message_id.is_empty() || cumulative && ack.message_id.len() != 1 {
            if let Some(request_id) = ack.request_id {
                self.writer.frame(&reply::ack_response(ack.consumer_id, request_id, None));
            }
            return;
        }
        // No batch is that large; a peer that says so is not believed, and gets the message again.
        let ids = ack.message_id.iter().filter(|id| id.ack_set.len() <= ACK_SET_WORDS_MAX).map(|id| {
            (Position::new(id.ledger_id, id.entry_id as i64), id.ack_set.iter().map(|&word| word as u64).collect())
        });
        let ack = Ack {
            cumulative,
            ids: ids.collect(),
            request_id: ack.request_id,
            validation_error: ack.validation_error.is_some(),
        };
        self.requested.ack(&consumer.handle, ack);
    }

    fn redeliver(&mut self, command: proto::CommandRedeliverUnacknowledgedMessages) {
        let Some(consumer) = self.consumers.open(command.consumer_id) else { return };
        if consumer.kind.is_single_active() || command.message_ids.is_empty() {
            self.requested.redeliver(&consumer.handle, Vec::new(), command.consumer_epoch);
        } else {
            let positions = command.message_ids.iter().map(position).collect();
            self.requested.redeliver(&consumer.handle, positions, None);
        }
    }

    fn unsubscribe(&mut self, command: proto::CommandUnsubscribe) {
        let (id, request_id) = (command.consumer_id, command.request_id);
        let Some(consumer) = self.consumers.open(id) else {
            return self.refuse(request_id, ServerError::MetadataError, "Consumer not found");
        };
        let (handle, token) = (consumer.handle.clone(), consumer.token);
        let force = command.force.unwrap_or(false);
        self.request(async move {
            let result = handle.unsubscribe(force).await;
            Done::Unsubscribed { id, token, request_id, result }
        });
    }

    fn seek(&mut self, command: proto::CommandSeek) {
        let request_id = command.request_id;
        let target = match (&command.message_id, command.message_publish_time) {
            (Some(id), _) => seek_target(id),
            (None, Some(ms)) => SeekTarget::Time(ms),
            (None, None) => {
                let message = "Message id and message publish time were not present";
                return self.refuse(request_id, ServerError::MetadataError, message);
            }
        };
        let Some(consumer) = self.consumers.open(command.consumer_id) else {
            return self.refuse(request_id, ServerError::MetadataError, "Consumer not found");
        };
        let handle = consumer.handle.clone();
        self.request(async move {
            let what = match target {
                SeekTarget::Time(_) => "Reset subscription to publish time error",
                _ => "Error when resetting subscription",
            };
            Done::Reply(match handle.seek(target).await {
                Ok(()) => reply::success(request_id),
                Err(error) => reply::error(request_id, ServerError::UnknownError, format!("{what}: {error}")),
            })
        });
    }

    fn get_last_message_id(&mut self, command: proto::CommandGetLastMessageId) {
        let request_id = command.request_id;
        let Some(consumer) = self.consumers.open(command.consumer_id) else {
            return self.refuse(request_id, ServerError::MetadataError, "Consumer not found");
        };
        let handle = consumer.handle.clone();
        self.request(async move { Done::Reply(reply::last_message_id(request_id, handle.last_message_id().await)) });
    }

    fn consumer_stats(&mut self, command: proto::CommandConsumerStats) {
        let (id, request_id) = (command.consumer_id, command.request_id);
        let Some(consumer) = self.consumers.open(id) else {
            let message = format!("Consumer {id} not found");
            let frame = reply::consumer_stats_failed(request_id, ServerError::ConsumerNotFound, message);
            return self.writer.frame(&frame);
        };
        let (handle, kind, of) = (consumer.handle.clone(), consumer.kind, consumer.of.clone());
        let broker = self.shared.broker.clone();
        self.request(async move {
            Done::Reply(match (handle.stats().await, broker.topic_stats(&of.0).await) {
                (Ok(stats), Ok(mut topic)) => {
                    reply::consumer_stats(request_id, kind, stats, topic.subscriptions.remove(&of.1))
                }
                (Err(error), _) | (_, Err(error)) => {
                    reply::consumer_stats_failed(request_id, reply::code(&error), error.to_string())
                }
            })
        });
    }

    // ---- lookups

    fn lookup(&mut self, command: proto::CommandLookupTopic) {
        let request_id = command.request_id;
        let broker = self.shared.broker.clone();
        self.request(async move {
            let found = match topic_name(&command.topic) {
                Ok(topic) => broker.lookup(&topic, command.advertised_listener_name.as_deref()).await,
                Err(error) => Err(error),
            };
            Done::Reply(reply::lookup(request_id, found))
        });
    }

    fn partitioned_metadata(&mut self, command: proto::CommandPartitionedTopicMetadata) {
        let request_id = command.request_id;
        let create = command.metadata_auto_creation_enabled.unwrap_or(true);
        let broker = self.shared.broker.clone();
        self.request(async move {
            let found = match topic_name(&command.topic) {
                Ok(topic) => broker.partitioned_metadata(&topic, create).await,
                Err(error) => Err(error),
            };
            Done::Reply(reply::partitioned_metadata(request_id, found))
        });
    }

    fn topics_of_namespace(&mut self, command: proto::CommandGetTopicsOfNamespace) {
        let request_id = command.request_id;
        let namespace = match namespace_name(&command.namespace) {
            Ok(namespace) => namespace,
            Err(error) => return self.writer.frame(&reply::failed(request_id, &error)),
        };
        // A pattern that the broker cannot evaluate is left to the client: the answer says `filtered = false`.
        let max = self.shared.config.max_pattern_length;
        let pattern = command.topics_pattern.filter(|p| p.len() <= max).and_then(|p| Pattern::new(&p).ok());
        let mode = Mode::try_from(command.mode.unwrap_or(0)).unwrap_or(Mode::Persistent);
        let broker = self.shared.broker.clone();
        self.request(async move {
            let topics = match broker.topics_of_namespace(&namespace).await {
                Ok(topics) => topics,
                // A namespace that is not there has no topics; a client with a pattern waits for the first.
                Err(Error::NamespaceNotFound(_)) => Vec::new(),
                Err(error) => return Done::Reply(reply::failed(request_id, &error)),
            };
            let mut names = topic_list::names(topics, |topic| {
                let wanted = match mode {
                    Mode::Persistent => topic.is_persistent(),
                    Mode::NonPersistent => !topic.is_persistent(),
                    Mode::All => true,
                };
                wanted && pattern.as_ref().is_none_or(|p| p.matches(topic))
            });
            let hash = topic_list::hash(names.iter().map(String::as_str));
            let changed = command.topics_hash.as_ref() != Some(&hash);
            if !changed {
                names.clear();
            }
            Done::Reply(reply::topics_of_namespace(request_id, names, hash, pattern.is_some(), changed))
        });
    }

    fn watch_topic_list(&mut self, command: proto::CommandWatchTopicList) {
        let (id, request_id) = (command.watcher_id, command.request_id);
        let max = self.shared.config.max_pattern_length;
        if command.topics_pattern.len() > max {
            let message = format!("Unable to create topic list watcher: Pattern longer than maximum: {max}");
            return self.refuse(request_id, ServerError::NotAllowedError, message);
        }
        if self.watchers.len() >= self.shared.config.max_watchers && !self.watchers.contains_key(&id) {
            let message = "Unable to create topic list watcher: too many on this connection";
            return self.refuse(request_id, ServerError::NotAllowedError, message);
        }
        let namespace = match namespace_name(&command.namespace) {
            Ok(namespace) => namespace,
            Err(error) => return self.writer.frame(&reply::failed(request_id, &error)),
        };
        let pattern = match Pattern::new(&command.topics_pattern) {
            Ok(pattern) => pattern,
            Err(message) => return self.refuse(request_id, ServerError::NotAllowedError, message),
        };
        // A client that reconciles asks again with the same id: it gets the list as it is now.
        self.stop_watching(id);
        let broker = self.shared.broker.clone();
        let (open, abort) = abortable(Watcher::open(broker, namespace, pattern));
        let token = self.token();
        self.watchers.insert(id, (token, abort));
        self.request(async move {
            match open.await {
                Ok(result) => Done::Watching { id, token, request_id, hash: command.topics_hash, result },
                Err(futures::future::Aborted) => Done::Nothing,
            }
        });
    }

    fn watch_topic_list_close(&mut self, command: proto::CommandWatchTopicListClose) {
        self.stop_watching(command.watcher_id);
        self.writer.frame(&reply::success(command.request_id));
    }

    fn stop_watching(&mut self, id: u64) {
        if let Some((_, abort)) = self.watchers.remove(&id) {
            abort.abort();
        }
    }

    // ---- schemas

    fn get_schema(&mut self, command: proto::CommandGetSchema) {
        let request_id = command.request_id;
        if command.schema_version.as_ref().is_some_and(Bytes::is_empty) {
            let error = (ServerError::IncompatibleSchema, "Empty schema version".to_owned());
            return self.writer.frame(&reply::schema(request_id, Err(error)));
        }
        let broker = self.shared.broker.clone();
        self.request(async move {
            let found = match topic_name(&command.topic) {
                Ok(topic) => broker.schema(&topic, command.schema_version).await.map(|found| (topic, found)),
                Err(error) => Err(error),
            };
            Done::Reply(reply::schema(
                request_id,
                match found {
                    Ok((topic, Some((schema, version)))) => Ok((proto_schema(&topic, schema), version)),
                    Ok((_, None)) | Err(Error::TopicNotFound(_)) => {
                        Err((ServerError::TopicNotFound, format!("Topic not found or no-schema {}", command.topic)))
                    }
                    Err(error) => Err((reply::code(&error), error.to_string())),
                },
            ))
        });
    }

    fn get_or_create_schema(&mut self, command: proto::CommandGetOrCreateSchema) {
        let request_id = command.request_id;
        let broker = self.shared.broker.clone();
        self.request(async move {
            // Here, but not with a producer or consumer, `None` is no schema. Source: `ServerCnx.handleGetOrCreateSchema`.
            let wanted = schema(command.schema).filter(|schema| schema.kind != proto::schema::Type::None as i32);
            let result = match (topic_name(&command.topic), wanted) {
                (Err(error), _) => Err(error),
                (Ok(topic), Some(schema)) => broker.put_schema(&topic, schema).await,
                // No schema has no version; Pulsar answers an empty one.
                (Ok(topic), None) => broker.check_no_schema(&topic).await.map(|()| Bytes::new()),
            };
            let result = result.map_err(|error| match error {
                Error::TopicNotFound(_) => (ServerError::TopicNotFound, format!("Topic not found {}", command.topic)),
                error => (reply::code(&error), error.to_string()),
            });
            Done::Reply(reply::created_schema(request_id, result))
        });
    }

    // ---- transactions: refused as Pulsar refuses them while they are off (`checkTransactionEnableAndSendError`)

    fn tc_client_connect(&mut self, command: proto::CommandTcClientConnectRequest) {
        self.refuse(command.request_id, ServerError::NotAllowedError, TRANSACTIONS_OFF);
    }

    fn new_txn(&mut self, command: proto::CommandNewTxn) {
        self.refuse(command.request_id, ServerError::NotAllowedError, TRANSACTIONS_OFF);
    }

    fn add_partition_to_txn(&mut self, command: proto::CommandAddPartitionToTxn) {
        self.refuse(command.request_id, ServerError::NotAllowedError, TRANSACTIONS_OFF);
    }

    fn add_subscription_to_txn(&mut self, command: proto::CommandAddSubscriptionToTxn) {
        self.refuse(command.request_id, ServerError::NotAllowedError, TRANSACTIONS_OFF);
    }

    fn end_txn(&mut self, command: proto::CommandEndTxn) {
        self.refuse(command.request_id, ServerError::NotAllowedError, TRANSACTIONS_OFF);
    }

    fn end_txn_on_partition(&mut self, command: proto::CommandEndTxnOnPartition) {
        self.writer.frame(&reply::end_txn_on_partition_refused(&command));
    }

    fn end_txn_on_subscription(&mut self, command: proto::CommandEndTxnOnSubscription) {
        self.writer.frame(&reply::end_txn_on_subscription_refused(&command));
    }
}

fn topic_name(text: &str) -> Result<TopicName, Error> {
    text.parse().map_err(|error: model::ParseError| {
        // The error of the broker says once more what is invalid.
        let text = error.to_string();
        Error::InvalidTopicName(text.strip_prefix("Invalid topic name ").unwrap_or(&text).to_owned())
    })
}

fn namespace_name(text: &str) -> Result<NamespaceName, Error> {
    text.parse().map_err(|error: model::ParseError| Error::BadRequest(error.to_string()))
}

fn position(id: &proto::MessageIdData) -> Position {
    Position::new(id.ledger_id, id.entry_id as i64)
}

/// Clients write "earliest" as -1:-1 and "latest" as the largest signed numbers.
fn is_earliest(id: &proto::MessageIdData) -> bool {
    id.ledger_id == u64::MAX && id.entry_id == u64::MAX
}

fn is_latest(id: &proto::MessageIdData) -> bool {
    id.ledger_id == i64::MAX as u64 && id.entry_id == i64::MAX as u64
}

fn seek_target(id: &proto::MessageIdData) -> SeekTarget {
    if is_earliest(id) {
        SeekTarget::Earliest
    } else if is_latest(id) {
        SeekTarget::Latest
    } else {
        match left_of_batch(&id.ack_set) {
            Some((first, messages)) => SeekTarget::Within { entry: position(id), first, messages },
            None => SeekTarget::Id(position(id)),
        }
    }
}

/// The first message that is left of a batch, and how many there are; `None` when all of it is, or no batch could be so large.
/// Clients leave all messages from one on. Source: `ConsumerImpl.seekAsync`.
fn left_of_batch(ack_set: &[i64]) -> Option<(u32, u32)> {
    let at = |word: usize, bit: u32| u32::try_from(word).ok()?.checked_mul(64)?.checked_add(bit);
    let first = ack_set.iter().position(|&word| word != 0).filter(|_| ack_set.len() <= ACK_SET_WORDS_MAX)?;
    let last = ack_set.iter().rposition(|&word| word != 0)?;
    let first = at(first, ack_set[first].trailing_zeros())?;
    Some((first, at(last, 64 - ack_set[last].leading_zeros())?)).filter(|_| first > 0)
}

fn metadata(pairs: Vec<proto::KeyValue>, max: usize) -> Result<BTreeMap<String, String>, String> {
    let bytes: usize = pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    if bytes > max {
        return Err(format!("metadata has a max size of {max} bytes"));
    }
    Ok(map(pairs))
}

fn map(pairs: Vec<proto::KeyValue>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

/// `AutoConsume` announces nothing. `None` is a schema like others, which the Go client has for plain bytes: it depends
/// on its version.
fn schema(schema: proto::Schema) -> Option<broker::Schema> {
    use proto::schema::Type;
    if matches!(Type::try_from(schema.r#type), Ok(Type::AutoConsume)) {
        return None;
    }
    Some(announced(schema))
}

fn announced(schema: proto::Schema) -> broker::Schema {
    broker::Schema {
        kind: schema.r#type,
        name: schema.name,
        data: schema.schema_data,
        properties: map(schema.properties),
    }
}

/// A schema goes out under its topic's name. Source: `TopicName.getSchemaName`.
fn proto_schema(topic: &TopicName, schema: broker::Schema) -> proto::Schema {
    let topic = topic.partitioned();
    proto::Schema {
        name: format!("{}/{}", topic.namespace(), topic.local()),
        schema_data: schema.data,
        r#type: schema.kind,
        properties: schema.properties.into_iter().map(|(key, value)| proto::KeyValue { key, value }).collect(),
    }
}

fn new_consumer(topic: TopicName, command: proto::CommandSubscribe) -> Result<NewConsumer, (ServerError, String)> {
    use proto::command_subscribe::{InitialPosition as Initial, SubType};
    let too_large = |message| (ServerError::MetadataError, message);
    let kind = match SubType::try_from(command.sub_type) {
        Ok(SubType::Exclusive) => SubscriptionType::Exclusive,
        Ok(SubType::Shared) => SubscriptionType::Shared,
        Ok(SubType::Failover) => SubscriptionType::Failover,
        Ok(SubType::KeyShared) => SubscriptionType::KeyShared,
        Err(_) => return Err((ServerError::NotAllowedError, "Unknown subscription type".into())),
    };
    let (start_message_id, initial_position) = match &command.start_message_id {
        Some(id) if is_earliest(id) => (None, InitialPosition::Earliest),
        Some(id) if is_latest(id) => (None, InitialPosition::Latest),
        Some(id) => (Some(position(id)), InitialPosition::Latest),
        None if command.initial_position == Some(Initial::Earliest as i32) => (None, InitialPosition::Earliest),
        None => (None, InitialPosition::Latest),
    };
    let durable = command.durable.unwrap_or(true);
    // A durable subscription starts where its cursor is, or at the initial position.
    let (start_message_id, initial_position) = match command.initial_position {
        Some(initial) if durable && initial == Initial::Earliest as i32 => (None, InitialPosition::Earliest),
        _ if durable => (None, InitialPosition::Latest),
        _ => (start_message_id, initial_position),
    };
    let key_shared = match (kind, command.key_shared_meta) {
        (SubscriptionType::KeyShared, Some(meta)) => Some(key_shared(meta)?),
        (SubscriptionType::KeyShared, None) => Some(KeyShared::default()),
        // A reader of some hash ranges is an exclusive consumer.
        (SubscriptionType::Exclusive, Some(meta)) if !meta.hash_ranges.is_empty() => Some(key_shared(meta)?),
        _ => None,
    };
    let rollback = command.start_message_rollback_duration_sec.filter(|&seconds| seconds > 0);
    Ok(NewConsumer {
        topic,
        kind,
        consumer_id: command.consumer_id,
        name: command.consumer_name.unwrap_or_default(),
        priority_level: command.priority_level.unwrap_or(0),
        durable,
        start_message_id,
        start_rollback: rollback.map(Duration::from_secs),
        initial_position,
        read_compacted: command.read_compacted.unwrap_or(false),
        force_topic_creation: command.force_topic_creation.unwrap_or(true),
        replicate_subscription_state: command.replicate_subscription_state.unwrap_or(false),
        metadata: metadata(command.metadata, CONSUMER_METADATA_BYTES_MAX).map_err(too_large)?,
        subscription_properties: metadata(command.subscription_properties, METADATA_BYTES_MAX).map_err(too_large)?,
        key_shared,
        // `AutoConsume` too: it is no schema in the way of others', as consuming without one is.
        schema: command.schema.map(announced),
        epoch: command.consumer_epoch,
        gives_back: false,
        subscription: command.subscription,
    })
}

fn key_shared(meta: proto::KeySharedMeta) -> Result<KeyShared, (ServerError, String)> {
    let mode = match proto::KeySharedMode::try_from(meta.key_shared_mode) {
        Ok(proto::KeySharedMode::AutoSplit) => KeySharedMode::AutoSplit,
        Ok(proto::KeySharedMode::Sticky) => KeySharedMode::Sticky,
        Err(_) => return Err((ServerError::NotAllowedError, "Unknown Key_Shared mode".into())),
    };
    if meta.hash_ranges.len() > HASH_RANGES_MAX {
        let why = format!("A consumer has at most {HASH_RANGES_MAX} hash ranges, not {}", meta.hash_ranges.len());
        return Err((ServerError::ConsumerAssignError, why));
    }
    let ranges = meta.hash_ranges.iter().map(|range| {
        let start = u32::try_from(range.start).ok()?;
        let end = u32::try_from(range.end).ok()?;
        (start <= end && end < 65_536).then_some(start..=end)
    });
    Ok(KeyShared {
        mode,
        ranges: ranges
            .collect::<Option<_>>()
            .ok_or_else(|| (ServerError::ConsumerAssignError, "Ranges must be within 0 and 65535".to_owned()))?,
        allow_out_of_order: meta.allow_out_of_order_delivery.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ledger: i64, entry: i64) -> proto::MessageIdData {
        proto::MessageIdData { ledger_id: ledger as u64, entry_id: entry as u64, ..Default::default() }
    }

    fn subscribe() -> proto::CommandSubscribe {
        proto::CommandSubscribe { subscription: "s".into(), ..Default::default() }
    }

    fn consumer(command: proto::CommandSubscribe) -> Result<NewConsumer, (ServerError, String)> {
        new_consumer("t".parse().unwrap(), command)
    }

    #[test]
    fn ends_of_a_topic_are_no_message_ids() {
        assert_eq!(seek_target(&id(-1, -1)), SeekTarget::Earliest);
        assert_eq!(seek_target(&id(i64::MAX, i64::MAX)), SeekTarget::Latest);
        assert_eq!(seek_target(&id(5, 7)), SeekTarget::Id(Position::new(5, 7)));
    }

    #[test]
    fn a_seek_may_be_to_a_message_within_a_batch() {
        let seek = |ack_set| seek_target(&proto::MessageIdData { ack_set, ..id(5, 7) });
        let within = |first, messages| SeekTarget::Within { entry: Position::new(5, 7), first, messages };
        assert_eq!(seek(vec![0b11100]), within(2, 5));
        assert_eq!(seek(vec![i64::MIN, 0b1]), within(63, 65));
        assert_eq!(seek(vec![0, -1]), within(64, 128));
        for whole in [vec![], vec![0], vec![0b111], vec![0; 2000], [vec![0], vec![-1; 2000]].concat()] {
            assert_eq!(seek(whole), SeekTarget::Id(Position::new(5, 7)));
        }
    }

    #[test]
    fn a_reader_starts_where_it_says_and_a_durable_subscription_does_not() {
        let reader = |start| {
            let command = proto::CommandSubscribe {
                durable: Some(false),
                start_message_id: Some(start),
                initial_position: Some(1),
                ..subscribe()
            };
            consumer(command).map(|c| (c.start_message_id, c.initial_position)).unwrap()
        };
        assert_eq!(reader(id(-1, -1)), (None, InitialPosition::Earliest));
        assert_eq!(reader(id(i64::MAX, i64::MAX)), (None, InitialPosition::Latest));
        assert_eq!(reader(id(3, 4)).0, Some(Position::new(3, 4)));

        let command = proto::CommandSubscribe { start_message_id: Some(id(3, 4)), ..subscribe() };
        let durable = consumer(command).unwrap();
        assert!(durable.durable && durable.start_message_id.is_none());
        assert_eq!(durable.initial_position, InitialPosition::Latest);
        let command = proto::CommandSubscribe { initial_position: Some(1), ..subscribe() };
        assert_eq!(consumer(command).unwrap().initial_position, InitialPosition::Earliest);
    }

    #[test]
    fn what_a_consumer_may_not_say_is_refused() {
        assert!(consumer(proto::CommandSubscribe { sub_type: 9, ..subscribe() }).is_err());
        let pair = proto::KeyValue { key: "k".repeat(600), value: "v".repeat(600) };
        assert!(consumer(proto::CommandSubscribe { metadata: vec![pair], ..subscribe() }).is_err());
        for (start, end) in [(-1, 5), (5, 4), (0, 65_536)] {
            let meta = proto::KeySharedMeta {
                key_shared_mode: 1,
                hash_ranges: vec![proto::IntRange { start, end }],
                ..Default::default()
            };
            let refused = consumer(proto::CommandSubscribe { sub_type: 3, key_shared_meta: Some(meta), ..subscribe() });
            assert_eq!(refused.unwrap_err().0, ServerError::ConsumerAssignError, "{start}..{end}");
        }
    }

    #[test]
    fn a_reader_may_ask_for_hash_ranges() {
        let ranges = |sub_type, count: usize| {
            let hash_ranges = vec![proto::IntRange { start: 0, end: 100 }; count];
            let meta = proto::KeySharedMeta { key_shared_mode: 1, hash_ranges, ..Default::default() };
            let command = proto::CommandSubscribe { sub_type, key_shared_meta: Some(meta), ..subscribe() };
            consumer(command).map(|c| c.key_shared.map(|k| k.ranges))
        };
        assert_eq!(ranges(0, 1), Ok(Some(vec![0..=100])));
        assert_eq!(ranges(1, 1), Ok(None), "of no use on Shared");
        assert_eq!(ranges(1, 2000), Ok(None), "nor on Shared too many");
        for kind in [0, 3] {
            assert!(ranges(kind, HASH_RANGES_MAX).is_ok());
            let why =
                (ServerError::ConsumerAssignError, "A consumer has at most 1024 hash ranges, not 1025".to_owned());
            assert_eq!(ranges(kind, HASH_RANGES_MAX + 1), Err(why));
        }
    }

    #[test]
    fn a_schema_that_announces_nothing_is_none() {
        assert_eq!(schema(proto::Schema { r#type: 21, ..Default::default() }), None);
        assert_eq!(schema(proto::Schema { r#type: 0, ..Default::default() }).unwrap().kind, 0);
        assert_eq!(schema(proto::Schema { r#type: 2, ..Default::default() }).unwrap().kind, 2);
    }
}
