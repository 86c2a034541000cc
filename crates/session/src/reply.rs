//! From a broker's answer to a command: the one place where [`broker::Error`] becomes a code of the protocol.
//!
//! Source: Pulsar's `BrokerServiceException.getClientErrorCode` and `ServerCnx`.

use admin_api::stats::{ConsumerStats, SubscriptionStats};
use broker::{Error, LastMessageId, ProducerCreated};
use bytes::{Bytes, BytesMut};
use model::Position;
use wire::proto::{
    self, MessageIdData, ServerError, command_lookup_topic_response as lookup,
    command_partitioned_topic_metadata_response as partitions,
};

/// Request id of an error that answers no request.
pub(crate) const NO_REQUEST: u64 = u64::MAX;

/// What Pulsar answers to everything about transactions while they are off.
pub(crate) const TRANSACTIONS_OFF: &str = "Transactions are not enabled.";

/// The code a client acts upon: `ServiceNotReady` sends it back to lookup, most others end the attempt.
pub(crate) fn code(error: &Error) -> ServerError {
    match error {
        Error::TopicNotFound(_) | Error::NamespaceNotFound(_) | Error::TenantNotFound(_) => ServerError::TopicNotFound,
        Error::SubscriptionNotFound { .. } => ServerError::SubscriptionNotFound,
        Error::ConsumerBusy(_) => ServerError::ConsumerBusy,
        Error::ConsumerAssign(_) => ServerError::ConsumerAssignError,
        Error::ProducerBusy(_) => ServerError::ProducerBusy,
        Error::ProducerFenced(_) => ServerError::ProducerFenced,
        Error::ProducerBlockedQuota { exception: false } => ServerError::ProducerBlockedQuotaExceededError,
        Error::ProducerBlockedQuota { exception: true } => ServerError::ProducerBlockedQuotaExceededException,
        Error::TooMany(_) => ServerError::TooManyRequests,
        Error::InvalidTopicName(_) => ServerError::InvalidTopicName,
        Error::NotAllowed(_) => ServerError::NotAllowedError,
        Error::TopicTerminated => ServerError::TopicTerminatedError,
        Error::IncompatibleSchema(_) | Error::InvalidSchema(_) => ServerError::IncompatibleSchema,
        Error::NotReady(_) => ServerError::ServiceNotReady,
        Error::Storage(_) => ServerError::PersistenceError,
        Error::BadRequest(_) | Error::Precondition(_) => ServerError::MetadataError,
        Error::TopicExists(_)
        | Error::NamespaceExists(_)
        | Error::TenantExists(_)
        | Error::ClusterNotFound(_)
        | Error::SubscriptionExists { .. }
        | Error::Conflict(_) => ServerError::UnknownError,
    }
}

/// The same for a lookup, where a code the client does not know as final sends it into a loop of retries.
fn lookup_code(error: &Error) -> ServerError {
    match code(error) {
        ServerError::PersistenceError => ServerError::ServiceNotReady,
        code => code,
    }
}

/// One command as it goes on the wire. Answers are encoded where they are made: a `BaseCommand` has some seventy
/// optional members, and a request that waits should not carry them around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame(pub(crate) BytesMut);

fn frame(command: &impl wire::Command) -> Frame {
    let mut buf = BytesMut::new();
    wire::encode::put(&mut buf, command);
    Frame(buf)
}

pub(crate) fn connected(answer: &proto::CommandConnected) -> Frame {
    frame(answer)
}

pub(crate) fn success(request_id: u64) -> Frame {
    let success = proto::CommandSuccess { request_id, ..Default::default() };
    frame(&success)
}

pub(crate) fn error(request_id: u64, code: ServerError, message: impl Into<String>) -> Frame {
    let error = proto::CommandError { request_id, error: code as i32, message: message.into() };
    frame(&error)
}

pub(crate) fn failed(request_id: u64, cause: &Error) -> Frame {
    // Java's name of it is what clients look for in the text; Pulsar's has it from a `CompletionException`.
    let message = match cause {
        Error::IncompatibleSchema(_) => {
            format!("org.apache.pulsar.broker.service.schema.exceptions.IncompatibleSchemaException: {cause}")
        }
        other => other.to_string(),
    };
    error(request_id, code(cause), message)
}

/// `Success`, or the error as it is.
pub(crate) fn done(request_id: u64, result: Result<(), Error>) -> Frame {
    match result {
        Ok(()) => success(request_id),
        Err(cause) => failed(request_id, &cause),
    }
}

pub(crate) fn send_error(producer_id: u64, sequence_id: u64, code: ServerError, message: String) -> Frame {
    let error = proto::CommandSendError { producer_id, sequence_id, error: code as i32, message };
    frame(&error)
}

pub(crate) fn ack_response(consumer_id: u64, request_id: u64, error: Option<(ServerError, String)>) -> Frame {
    let (error, message) = error.map(|(code, text)| (code as i32, text)).unzip();
    let response =
        proto::CommandAckResponse { consumer_id, request_id: Some(request_id), error, message, ..Default::default() };
    frame(&response)
}

pub(crate) fn producer_success(request_id: u64, created: ProducerCreated) -> Frame {
    let success = proto::CommandProducerSuccess {
        request_id,
        producer_name: created.name,
        last_sequence_id: Some(created.last_sequence_id),
        schema_version: Some(created.schema_version.unwrap_or_default()),
        topic_epoch: created.topic_epoch,
        producer_ready: Some(created.ready),
    };
    frame(&success)
}

/// From the broker, so it carries no request id: look up again and reconnect.
pub(crate) fn close_producer(producer_id: u64) -> Frame {
    let close = proto::CommandCloseProducer { producer_id, request_id: NO_REQUEST, ..Default::default() };
    frame(&close)
}

/// As [`close_producer`].
pub(crate) fn close_consumer(consumer_id: u64) -> Frame {
    let close = proto::CommandCloseConsumer { consumer_id, request_id: NO_REQUEST, ..Default::default() };
    frame(&close)
}

pub(crate) fn active_consumer_change(consumer_id: u64, active: bool) -> Frame {
    let change = proto::CommandActiveConsumerChange { consumer_id, is_active: Some(active) };
    frame(&change)
}

pub(crate) fn reached_end_of_topic(consumer_id: u64) -> Frame {
    let end = proto::CommandReachedEndOfTopic { consumer_id };
    frame(&end)
}

pub(crate) fn ping() -> Frame {
    frame(&proto::CommandPing {})
}

pub(crate) fn pong() -> Frame {
    frame(&proto::CommandPong {})
}

/// The topic lives here: connect to this broker. Every answer is authoritative, since one broker owns all topics.
///
/// As Pulsar's standalone does, it sends the client "through the service URL": a client that came by way of a forwarded
/// port or a container's address goes on using that, whatever this broker believes its own address to be.
/// Source: `TopicLookupBase.lookupTopicAsync`, `redirectThroughServiceUrl`.
pub(crate) fn lookup(request_id: u64, result: Result<broker::Addresses, Error>) -> Frame {
    let response = match result {
        Ok(addresses) => proto::CommandLookupTopicResponse {
            request_id,
            response: Some(lookup::LookupType::Connect as i32),
            broker_service_url: Some(addresses.broker_url),
            authoritative: Some(true),
            proxy_through_service_url: Some(true),
            ..Default::default()
        },
        Err(cause) => proto::CommandLookupTopicResponse {
            request_id,
            response: Some(lookup::LookupType::Failed as i32),
            error: Some(lookup_code(&cause) as i32),
            message: Some(cause.to_string()),
            ..Default::default()
        },
    };
    frame(&response)
}

pub(crate) fn partitioned_metadata(request_id: u64, result: Result<u32, Error>) -> Frame {
    let response = match result {
        Ok(partitions) => proto::CommandPartitionedTopicMetadataResponse {
            request_id,
            response: Some(partitions::LookupType::Success as i32),
            partitions: Some(partitions),
            ..Default::default()
        },
        Err(cause) => proto::CommandPartitionedTopicMetadataResponse {
            request_id,
            response: Some(partitions::LookupType::Failed as i32),
            error: Some(lookup_code(&cause) as i32),
            message: Some(cause.to_string()),
            ..Default::default()
        },
    };
    frame(&response)
}

fn message_id(position: Position, partition: i32, batch_index: i32) -> MessageIdData {
    MessageIdData {
        ledger_id: position.ledger,
        entry_id: position.entry as u64,
        partition: Some(partition),
        batch_index: Some(batch_index),
        ..Default::default()
    }
}

pub(crate) fn last_message_id(request_id: u64, result: Result<LastMessageId, Error>) -> Frame {
    let last = match result {
        Ok(last) => last,
        Err(cause) => return failed(request_id, &cause),
    };
    // The mark-delete position carries nothing but ledger and entry; clients tell "unknown" by -1:-1.
    let mark_delete = last.mark_delete.unwrap_or(Position::new(u64::MAX, -1));
    let response = proto::CommandGetLastMessageIdResponse {
        request_id,
        last_message_id: message_id(last.position, last.partition, last.batch_index),
        consumer_mark_delete_position: Some(MessageIdData {
            ledger_id: mark_delete.ledger,
            entry_id: mark_delete.entry as u64,
            ..Default::default()
        }),
    };
    frame(&response)
}

pub(crate) fn topics_of_namespace(
    request_id: u64,
    topics: Vec<String>,
    hash: String,
    filtered: bool,
    changed: bool,
) -> Frame {
    let response = proto::CommandGetTopicsOfNamespaceResponse {
        request_id,
        topics,
        filtered: Some(filtered),
        topics_hash: Some(hash),
        changed: Some(changed),
    };
    frame(&response)
}

pub(crate) fn watching(request_id: u64, watcher_id: u64, topic: Vec<String>, topics_hash: String) -> Frame {
    let success = proto::CommandWatchTopicListSuccess { request_id, watcher_id, topic, topics_hash };
    frame(&success)
}

pub(crate) fn watch_update(
    watcher_id: u64,
    new_topics: Vec<String>,
    deleted_topics: Vec<String>,
    topics_hash: String,
) -> Frame {
    let update = proto::CommandWatchTopicUpdate { watcher_id, new_topics, deleted_topics, topics_hash };
    frame(&update)
}

pub(crate) fn schema(request_id: u64, result: Result<(proto::Schema, Bytes), (ServerError, String)>) -> Frame {
    let response = match result {
        Ok((schema, version)) => proto::CommandGetSchemaResponse {
            request_id,
            schema: Some(schema),
            schema_version: Some(version),
            ..Default::default()
        },
        Err((code, message)) => proto::CommandGetSchemaResponse {
            request_id,
            error_code: Some(code as i32),
            error_message: Some(message),
            ..Default::default()
        },
    };
    frame(&response)
}

pub(crate) fn created_schema(request_id: u64, result: Result<Bytes, (ServerError, String)>) -> Frame {
    let response = match result {
        Ok(version) => {
            proto::CommandGetOrCreateSchemaResponse { request_id, schema_version: Some(version), ..Default::default() }
        }
        Err((code, message)) => proto::CommandGetOrCreateSchemaResponse {
            request_id,
            error_code: Some(code as i32),
            error_message: Some(message),
            ..Default::default()
        },
    };
    frame(&response)
}

pub(crate) fn consumer_stats_failed(request_id: u64, code: ServerError, message: String) -> Frame {
    frame(&proto::CommandConsumerStatsResponse {
        request_id,
        error_code: Some(code as i32),
        error_message: Some(message),
        ..Default::default()
    })
}

/// Figures of a consumer, with backlog and expiry of its subscription.
pub(crate) fn consumer_stats(
    request_id: u64,
    kind: model::SubscriptionType,
    stats: ConsumerStats,
    subscription: Option<SubscriptionStats>,
) -> Frame {
    let subscription = subscription.unwrap_or_default();
    frame(&proto::CommandConsumerStatsResponse {
        request_id,
        error_code: None,
        error_message: None,
        msg_rate_out: Some(stats.msg_rate_out),
        msg_throughput_out: Some(stats.msg_throughput_out),
        msg_rate_redeliver: Some(stats.msg_rate_redeliver),
        consumer_name: Some(stats.consumer_name),
        // Permits may be below zero, and travel as what Java makes of that.
        available_permits: Some(i64::from(stats.available_permits) as u64),
        unacked_messages: Some(i64::from(stats.unacked_messages) as u64),
        blocked_consumer_on_unacked_msgs: Some(stats.blocked_consumer_on_unacked_msgs),
        address: stats.address,
        connected_since: stats.connected_since,
        r#type: Some(kind.name().to_owned()),
        msg_rate_expired: Some(subscription.msg_rate_expired),
        msg_backlog: Some(u64::try_from(subscription.msg_backlog).unwrap_or(0)),
        message_ack_rate: Some(stats.message_ack_rate),
    })
}

/// The coordinator ends a transaction on a topic it believes this broker has.
pub(crate) fn end_txn_on_partition_refused(request: &proto::CommandEndTxnOnPartition) -> Frame {
    let response = proto::CommandEndTxnOnPartitionResponse {
        request_id: request.request_id,
        txnid_least_bits: request.txnid_least_bits,
        txnid_most_bits: request.txnid_most_bits,
        error: Some(ServerError::NotAllowedError as i32),
        message: Some(TRANSACTIONS_OFF.to_owned()),
    };
    frame(&response)
}

/// As [`end_txn_on_partition_refused`], for a subscription.
pub(crate) fn end_txn_on_subscription_refused(request: &proto::CommandEndTxnOnSubscription) -> Frame {
    let response = proto::CommandEndTxnOnSubscriptionResponse {
        request_id: request.request_id,
        txnid_least_bits: request.txnid_least_bits,
        txnid_most_bits: request.txnid_most_bits,
        error: Some(ServerError::NotAllowedError as i32),
        message: Some(TRANSACTIONS_OFF.to_owned()),
    };
    frame(&response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut frame: Frame) -> proto::BaseCommand {
        match wire::next_frame(&mut frame.0, 1 << 20) {
            Ok(Some(wire::Incoming::Command(command, None))) if frame.0.is_empty() => *command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_have_the_codes_clients_act_upon() {
        let topic: model::TopicName = "t".parse().unwrap();
        for (error, expected) in [
            (Error::TopicNotFound(topic.clone()), ServerError::TopicNotFound),
            (Error::NotReady("gone".into()), ServerError::ServiceNotReady),
            (Error::ConsumerBusy("busy".into()), ServerError::ConsumerBusy),
            (Error::ProducerBlockedQuota { exception: false }, ServerError::ProducerBlockedQuotaExceededError),
            (Error::ProducerBlockedQuota { exception: true }, ServerError::ProducerBlockedQuotaExceededException),
            (Error::Storage("disk".into()), ServerError::PersistenceError),
            (Error::SubscriptionNotFound { topic, subscription: "s".into() }, ServerError::SubscriptionNotFound),
        ] {
            assert_eq!(code(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn clients_find_the_java_name_of_a_schema_that_does_not_fit() {
        let error = read(failed(1, &Error::IncompatibleSchema("no reader".into()))).error.unwrap();
        assert_eq!(error.error, ServerError::IncompatibleSchema as i32);
        assert!(error.message.ends_with(".IncompatibleSchemaException: no reader"), "{}", error.message);
    }

    #[test]
    fn what_the_broker_closes_carries_no_request() {
        assert_eq!(read(close_producer(3)).close_producer.unwrap().request_id, u64::MAX);
        assert_eq!(read(close_consumer(3)).close_consumer.unwrap().request_id, u64::MAX);
    }

    #[test]
    fn an_empty_topic_has_minus_one_as_last_message() {
        let last =
            LastMessageId { position: Position::new(u64::MAX, -1), batch_index: -1, partition: -1, mark_delete: None };
        let id = read(last_message_id(1, Ok(last))).get_last_message_id_response.unwrap().last_message_id;
        assert_eq!((id.ledger_id as i64, id.entry_id as i64, id.batch_index), (-1, -1, Some(-1)));
    }
}
