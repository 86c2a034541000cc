//! What a well-behaved client sees.

use crate::peer::{Server, connect, message, producer, subscribe};
use wire::proto::{self, ServerError, base_command::Type};

#[tokio::test]
async fn connected_says_version_size_and_features() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    client.send(&proto::CommandConnect { protocol_version: Some(15), ..connect() }).await;
    let connected = client.expect(Type::Connected).await.connected.unwrap();
    assert_eq!(connected.protocol_version, Some(15));
    assert_eq!(connected.max_message_size, Some(5 << 20));
    assert_eq!(connected.feature_flags.unwrap().supports_topic_watchers, Some(true));
    client.send(&proto::CommandPing {}).await;
    client.expect(Type::Pong).await;
}

#[tokio::test]
async fn what_is_published_is_receipted_delivered_byte_for_byte_and_acknowledged() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let created = client.producer("orders", 7).await;
    assert_eq!((created.last_sequence_id(), created.producer_ready()), (-1, true));
    assert!(!created.producer_name.is_empty());
    client.subscribe("orders", "billing", 3).await;
    client.send(&proto::CommandFlow { consumer_id: 3, message_permits: 100 }).await;

    let entries = [message(b"small"), message(&[1; 100_000]), message(&[2; 5000])];
    for (n, entry) in entries.iter().enumerate() {
        client.publish(7, n as u64, entry);
    }
    client.flush().await;
    let (mut receipts, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let (command, entry) = client.next().await.unwrap();
        if let Some(receipt) = command.send_receipt {
            receipts.push(receipt.sequence_id);
        } else {
            let delivered = command.message.unwrap();
            assert_eq!(entry.as_ref(), Some(&entries[ids.len()]));
            assert_eq!((delivered.consumer_id, delivered.message_id.partition), (3, Some(-1)));
            ids.push(delivered.message_id);
        }
    }
    assert_eq!(receipts, [0, 1, 2]);
    assert_eq!(ids.iter().map(|id| id.entry_id).collect::<Vec<_>>(), [0, 1, 2]);

    let ack = proto::CommandAck { consumer_id: 3, message_id: ids, request_id: Some(9), ..Default::default() };
    let response = client.ask(&ack, Type::AckResponse).await.ack_response.unwrap();
    assert_eq!((response.request_id, response.error), (Some(9), None));

    let ask = proto::CommandGetLastMessageId { consumer_id: 3, request_id: 10 };
    let last = client.ask(&ask, Type::GetLastMessageIdResponse).await.get_last_message_id_response.unwrap();
    assert_eq!((last.last_message_id.entry_id, last.last_message_id.batch_index), (2, Some(-1)));

    let close = proto::CommandCloseProducer { producer_id: 7, request_id: 11, ..Default::default() };
    assert_eq!(client.ask(&close, Type::Success).await.success.unwrap().request_id, 11);
    let close = proto::CommandCloseConsumer { consumer_id: 3, request_id: 12, ..Default::default() };
    assert_eq!(client.ask(&close, Type::Success).await.success.unwrap().request_id, 12);
    // What is not there is closed already.
    assert_eq!(client.ask(&close, Type::Success).await.success.unwrap().request_id, 12);
}

#[tokio::test]
async fn receipts_come_before_the_success_of_the_close_that_follows() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for round in 0..20 {
        client.producer("closing", round).await;
        for sequence in 0..50 {
            client.publish(round, sequence, &message(b"x"));
        }
        client.send(&proto::CommandCloseProducer { producer_id: round, request_id: 1, ..Default::default() }).await;
        for sequence in 0..50 {
            assert_eq!(client.expect(Type::SendReceipt).await.send_receipt.unwrap().sequence_id, sequence);
        }
        client.expect(Type::Success).await;
    }
}

#[tokio::test]
async fn a_number_that_is_taken_gives_the_producer_or_consumer_that_has_it() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let first = client.producer("taken", 1).await;
    assert_eq!(client.producer("taken", 1).await.producer_name, first.producer_name);
    client.subscribe("taken", "s", 1).await;
    client.subscribe("taken", "s", 1).await;
}

#[tokio::test]
async fn requests_that_cannot_be_have_pulsars_codes() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let refused = client.ask(&producer("not-a-scheme://a/b/c", 1), Type::Error).await.error.unwrap();
    assert_eq!(refused.error, ServerError::InvalidTopicName as i32);
    let missing = proto::CommandSubscribe { force_topic_creation: Some(false), ..subscribe("missing", "s", 1) };
    let refused = client.ask(&missing, Type::Error).await.error.unwrap();
    assert_eq!((refused.request_id, refused.error), (201, ServerError::TopicNotFound as i32));

    client.subscribe("codes", "s", 1).await;
    let seek = proto::CommandSeek { consumer_id: 9, request_id: 1, message_publish_time: Some(1), message_id: None };
    let refused = client.ask(&seek, Type::Error).await.error.unwrap();
    assert_eq!((refused.error, &refused.message[..]), (ServerError::MetadataError as i32, "Consumer not found"));
    let seek = proto::CommandSeek { consumer_id: 1, request_id: 1, ..Default::default() };
    assert_eq!(client.ask(&seek, Type::Error).await.error.unwrap().error, ServerError::MetadataError as i32);

    let stats = proto::CommandConsumerStats { consumer_id: 9, request_id: 1 };
    let refused = client.ask(&stats, Type::ConsumerStatsResponse).await.consumer_stats_response.unwrap();
    assert_eq!(refused.error_code, Some(ServerError::ConsumerNotFound as i32));

    let schema = proto::CommandGetSchema { request_id: 1, topic: "codes".into(), schema_version: None };
    let refused = client.ask(&schema, Type::GetSchemaResponse).await.get_schema_response.unwrap();
    assert_eq!(refused.error_code, Some(ServerError::TopicNotFound as i32));
}

#[tokio::test]
async fn transactions_are_refused_as_pulsar_does_while_they_are_off() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let connect = proto::CommandTcClientConnectRequest { request_id: 4, tc_id: 0 };
    let refused = client.ask(&connect, Type::Error).await.error.unwrap();
    assert_eq!((refused.request_id, refused.error), (4, ServerError::NotAllowedError as i32));
    assert_eq!(refused.message, "Transactions are not enabled.");

    client.subscribe("txn", "s", 1).await;
    let ack = proto::CommandAck {
        consumer_id: 1,
        message_id: vec![proto::MessageIdData { ledger_id: 1, entry_id: 1, ..Default::default() }],
        txnid_most_bits: Some(0),
        txnid_least_bits: Some(1),
        request_id: Some(5),
        ..Default::default()
    };
    let refused = client.ask(&ack, Type::AckResponse).await.ack_response.unwrap();
    assert_eq!(refused.error, Some(ServerError::NotAllowedError as i32));
}

#[tokio::test]
async fn who_publishes_faster_than_the_topic_allows_is_not_read_from() {
    let server = Server::start().await;
    let namespace: model::NamespaceName = "public/default".parse().unwrap();
    let rate = model::PublishRate { publish_throttling_rate_in_msg: 100, publish_throttling_rate_in_byte: -1 };
    server.broker.update_policies(&namespace, |policies| policies.publish_rate = Some(rate)).await.unwrap();
    let mut client = server.connect().await;
    client.producer("orders", 7).await;
    let began = std::time::Instant::now();
    for n in 0..150 {
        client.publish(7, n, &message(b"x"));
    }
    client.flush().await;
    for n in 0..150 {
        assert_eq!(client.expect(Type::SendReceipt).await.send_receipt.unwrap().sequence_id, n);
    }
    // A second's worth goes at once; the last waits for the 49 before it.
    assert!(began.elapsed() >= std::time::Duration::from_millis(450), "{:?}", began.elapsed());
}

#[tokio::test]
async fn lookups_name_this_broker() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let lookup = proto::CommandLookupTopic { topic: "t".into(), request_id: 1, ..Default::default() };
    let found = client.ask(&lookup, Type::LookupResponse).await.lookup_topic_response.unwrap();
    assert_eq!(found.broker_service_url, Some(format!("pulsar://127.0.0.1:{}", server.port)));
    assert_eq!((found.response, found.authoritative), (Some(1), Some(true)));
    for (name, response) in [("", 1), ("test", 2)] {
        let lookup = proto::CommandLookupTopic { advertised_listener_name: Some(name.into()), ..lookup.clone() };
        let found = client.ask(&lookup, Type::LookupResponse).await.lookup_topic_response.unwrap();
        assert_eq!(found.response, Some(response), "{name}");
        if response == 2 {
            assert_eq!(found.error, Some(ServerError::ServiceNotReady as i32));
            assert_eq!(found.message.as_deref(), Some("the broker do not have test listener"));
        }
    }
    let lookup = proto::CommandLookupTopic { topic: "no/such/tenant/topic".into(), ..lookup };
    let found = client.ask(&lookup, Type::LookupResponse).await.lookup_topic_response.unwrap();
    assert_eq!((found.response, found.error), (Some(2), Some(ServerError::InvalidTopicName as i32)));

    let topic = "parts".parse().unwrap();
    server.broker.create_partitioned_topic(&topic, 3).await.unwrap();
    let ask = proto::CommandPartitionedTopicMetadata { topic: "parts".into(), request_id: 2, ..Default::default() };
    let found = client.ask(&ask, Type::PartitionedMetadataResponse).await.partition_metadata_response.unwrap();
    assert_eq!((found.response, found.partitions), (Some(0), Some(3)));
    let ask = proto::CommandPartitionedTopicMetadata {
        topic: "never-made".into(),
        metadata_auto_creation_enabled: Some(false),
        ..ask
    };
    let found = client.ask(&ask, Type::PartitionedMetadataResponse).await.partition_metadata_response.unwrap();
    assert_eq!((found.response, found.error), (Some(1), Some(ServerError::TopicNotFound as i32)));
}

#[tokio::test]
async fn topic_lists_are_filtered_hashed_and_watched() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for topic in ["list-a", "list-b", "other"] {
        server.broker.create_topic(&topic.parse().unwrap(), Default::default()).await.unwrap();
    }
    let watch = proto::CommandWatchTopicList {
        request_id: 1,
        watcher_id: 5,
        namespace: "public/default".into(),
        topics_pattern: "public/default/list-.*".into(),
        topics_hash: None,
    };
    let watching = client.ask(&watch, Type::WatchTopicListSuccess).await.watch_topic_list_success.unwrap();
    let full = |name: &str| format!("persistent://public/default/{name}");
    assert_eq!(watching.topic, ["list-a", "list-b"].map(full));

    let ask = proto::CommandGetTopicsOfNamespace {
        request_id: 2,
        namespace: "public/default".into(),
        topics_pattern: Some(watch.topics_pattern.clone()),
        ..Default::default()
    };
    let answer = client.ask(&ask, Type::GetTopicsOfNamespaceResponse).await.get_topics_of_namespace_response.unwrap();
    assert_eq!((&answer.topics, answer.filtered()), (&watching.topic, true));
    assert_eq!(answer.topics_hash(), watching.topics_hash);
    let again = proto::CommandGetTopicsOfNamespace { topics_hash: answer.topics_hash, ..ask };
    let answer = client.ask(&again, Type::GetTopicsOfNamespaceResponse).await.get_topics_of_namespace_response.unwrap();
    assert!(answer.topics.is_empty() && !answer.changed());

    server.broker.create_topic(&"unrelated".parse().unwrap(), Default::default()).await.unwrap();
    server.broker.create_topic(&"list-c".parse().unwrap(), Default::default()).await.unwrap();
    let update = client.expect(Type::WatchTopicUpdate).await.watch_topic_update.unwrap();
    assert_eq!((update.watcher_id, update.new_topics), (5, vec![full("list-c")]));
    server.broker.delete_topic(&"list-a".parse().unwrap(), true).await.unwrap();
    let update = client.expect(Type::WatchTopicUpdate).await.watch_topic_update.unwrap();
    assert_eq!(update.deleted_topics, [full("list-a")]);

    client.ask(&proto::CommandWatchTopicListClose { request_id: 3, watcher_id: 5 }, Type::Success).await;
    server.broker.create_topic(&"list-d".parse().unwrap(), Default::default()).await.unwrap();
    client.send(&proto::CommandPing {}).await;
    client.expect(Type::Pong).await;
}

#[tokio::test]
async fn a_topic_that_is_unloaded_closes_its_clients_and_late_sends_are_ignored() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.producer("moved", 1).await;
    client.subscribe("moved", "s", 2).await;
    server.broker.unload_topic(&"moved".parse().unwrap()).await.unwrap();
    let mut closed = Vec::new();
    for _ in 0..2 {
        let (command, _) = client.next().await.unwrap();
        closed.push(command.close_producer.map(|c| c.request_id).or(command.close_consumer.map(|c| c.request_id)));
    }
    assert_eq!(closed, [Some(u64::MAX), Some(u64::MAX)]);
    client.publish(1, 0, &message(b"late"));
    client.flush().await;
    // The connection is as good as before.
    client.producer("moved", 1).await;
    client.publish(1, 0, &message(b"again"));
    client.flush().await;
    client.expect(Type::SendReceipt).await;
}

#[tokio::test]
async fn an_acknowledgement_for_a_consumer_that_the_broker_has_closed_is_answered() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.subscribe("moved", "s", 2).await;
    server.broker.unload_topic(&"moved".parse().unwrap()).await.unwrap();
    client.expect(Type::CloseConsumer).await;
    let id = |entry_id| proto::MessageIdData { ledger_id: 1, entry_id, ..Default::default() };
    for message_id in [vec![id(0)], vec![id(0), id(1)]] {
        let ack = proto::CommandAck { consumer_id: 2, request_id: Some(7), message_id, ..Default::default() };
        let response = client.ask(&ack, Type::AckResponse).await.ack_response.unwrap();
        assert_eq!((response.request_id, response.error()), (Some(7), ServerError::ConsumerNotFound));
    }
}

#[tokio::test]
async fn when_the_broker_stops_clients_are_told_and_let_go() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.producer("stopping", 1).await;
    server.stop.trigger();
    server.broker.close().await;
    assert_eq!(server.session.close(crate::peer::PATIENCE).await, 0);
    client.expect(Type::CloseProducer).await;
    client.expect_closed().await;
}
