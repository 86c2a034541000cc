//! Which command goes into which field of the envelope, once for all sixty-odd of them.

use crate::proto::base_command::Type;
use crate::proto::*;

/// A command that travels in a `BaseCommand`: `encode::put(buf, &command)` frames it, `.into()` wraps it.
pub trait Command: prost::Message {
    /// Its type, which is also the number of its field in `BaseCommand`.
    const TYPE: Type;
}

macro_rules! commands {
    ($($kind:ident, $field:ident, $command:ident;)*) => {
        $(
            impl Command for $command {
                const TYPE: Type = Type::$kind;
            }

            impl From<$command> for BaseCommand {
                fn from(command: $command) -> Self {
                    Self { r#type: Type::$kind as i32, $field: Some(command), ..Self::default() }
                }
            }
        )*

        impl BaseCommand {
            /// Whether the field that `type` names is there; a peer that leaves it out sends nonsense.
            pub(crate) fn is_complete(&self) -> bool {
                match Type::try_from(self.r#type) {
                    $(Ok(Type::$kind) => self.$field.is_some(),)*
                    Err(_) => false,
                }
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn framing_a_command_is_framing_its_envelope() {
                $({
                    let (mut bare, mut wrapped) = (bytes::BytesMut::new(), bytes::BytesMut::new());
                    crate::encode::put(&mut bare, &$command::default());
                    crate::encode::command(&mut wrapped, &$command::default().into());
                    assert_eq!(bare, wrapped, stringify!($command));
                })*
            }
        }
    };
}

commands! {
    Connect, connect, CommandConnect;
    Connected, connected, CommandConnected;
    Subscribe, subscribe, CommandSubscribe;
    Producer, producer, CommandProducer;
    Send, send, CommandSend;
    SendReceipt, send_receipt, CommandSendReceipt;
    SendError, send_error, CommandSendError;
    Message, message, CommandMessage;
    Ack, ack, CommandAck;
    Flow, flow, CommandFlow;
    Unsubscribe, unsubscribe, CommandUnsubscribe;
    Success, success, CommandSuccess;
    Error, error, CommandError;
    CloseProducer, close_producer, CommandCloseProducer;
    CloseConsumer, close_consumer, CommandCloseConsumer;
    ProducerSuccess, producer_success, CommandProducerSuccess;
    Ping, ping, CommandPing;
    Pong, pong, CommandPong;
    RedeliverUnacknowledgedMessages, redeliver_unacknowledged_messages, CommandRedeliverUnacknowledgedMessages;
    PartitionedMetadata, partition_metadata, CommandPartitionedTopicMetadata;
    PartitionedMetadataResponse, partition_metadata_response, CommandPartitionedTopicMetadataResponse;
    Lookup, lookup_topic, CommandLookupTopic;
    LookupResponse, lookup_topic_response, CommandLookupTopicResponse;
    ConsumerStats, consumer_stats, CommandConsumerStats;
    ConsumerStatsResponse, consumer_stats_response, CommandConsumerStatsResponse;
    ReachedEndOfTopic, reached_end_of_topic, CommandReachedEndOfTopic;
    Seek, seek, CommandSeek;
    GetLastMessageId, get_last_message_id, CommandGetLastMessageId;
    GetLastMessageIdResponse, get_last_message_id_response, CommandGetLastMessageIdResponse;
    ActiveConsumerChange, active_consumer_change, CommandActiveConsumerChange;
    GetTopicsOfNamespace, get_topics_of_namespace, CommandGetTopicsOfNamespace;
    GetTopicsOfNamespaceResponse, get_topics_of_namespace_response, CommandGetTopicsOfNamespaceResponse;
    GetSchema, get_schema, CommandGetSchema;
    GetSchemaResponse, get_schema_response, CommandGetSchemaResponse;
    AuthChallenge, auth_challenge, CommandAuthChallenge;
    AuthResponse, auth_response, CommandAuthResponse;
    AckResponse, ack_response, CommandAckResponse;
    GetOrCreateSchema, get_or_create_schema, CommandGetOrCreateSchema;
    GetOrCreateSchemaResponse, get_or_create_schema_response, CommandGetOrCreateSchemaResponse;
    NewTxn, new_txn, CommandNewTxn;
    NewTxnResponse, new_txn_response, CommandNewTxnResponse;
    AddPartitionToTxn, add_partition_to_txn, CommandAddPartitionToTxn;
    AddPartitionToTxnResponse, add_partition_to_txn_response, CommandAddPartitionToTxnResponse;
    AddSubscriptionToTxn, add_subscription_to_txn, CommandAddSubscriptionToTxn;
    AddSubscriptionToTxnResponse, add_subscription_to_txn_response, CommandAddSubscriptionToTxnResponse;
    EndTxn, end_txn, CommandEndTxn;
    EndTxnResponse, end_txn_response, CommandEndTxnResponse;
    EndTxnOnPartition, end_txn_on_partition, CommandEndTxnOnPartition;
    EndTxnOnPartitionResponse, end_txn_on_partition_response, CommandEndTxnOnPartitionResponse;
    EndTxnOnSubscription, end_txn_on_subscription, CommandEndTxnOnSubscription;
    EndTxnOnSubscriptionResponse, end_txn_on_subscription_response, CommandEndTxnOnSubscriptionResponse;
    TcClientConnectRequest, tc_client_connect_request, CommandTcClientConnectRequest;
    TcClientConnectResponse, tc_client_connect_response, CommandTcClientConnectResponse;
    WatchTopicList, watch_topic_list, CommandWatchTopicList;
    WatchTopicListSuccess, watch_topic_list_success, CommandWatchTopicListSuccess;
    WatchTopicUpdate, watch_topic_update, CommandWatchTopicUpdate;
    WatchTopicListClose, watch_topic_list_close, CommandWatchTopicListClose;
    TopicMigrated, topic_migrated, CommandTopicMigrated;
}
