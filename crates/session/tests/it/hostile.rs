//! What a broken or hostile client sees, and what it cannot do.

use crate::peer::{PATIENCE, Server, connect, message, producer, subscribe};
use bytes::{BufMut, BytesMut};
use session::Config;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use wire::{
    encode,
    proto::{self, ServerError, base_command::Type},
};

#[tokio::test]
async fn anything_before_connect_is_an_error_without_a_request_and_the_end() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    let error = client.ask(&producer("t", 1), Type::Error).await.error.unwrap();
    assert_eq!(error.request_id, u64::MAX);
    client.expect_closed().await;
}

#[tokio::test]
async fn a_second_connect_is_the_end() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&connect()).await;
    client.expect_closed().await;
}

#[tokio::test]
async fn who_does_not_connect_in_time_is_let_go() {
    let config = Config { handshake_timeout: Duration::from_millis(50), ..Config::default() };
    let server = Server::with(config, broker::Config::default()).await;
    server.raw().await.expect_closed().await;
}

#[tokio::test]
async fn unknown_commands_are_ignored_a_million_times() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    // Type 9999 and a field that nobody knows.
    let command = [0x08, 0x8f, 0x4e, 0xa2, 0x06, 0x01, 0x00];
    let mut frames = BytesMut::new();
    for _ in 0..10_000 {
        frames.put_u32(4 + command.len() as u32);
        frames.put_u32(command.len() as u32);
        frames.put_slice(&command);
    }
    for _ in 0..100 {
        client.write(&frames).await;
    }
    client.send(&proto::CommandPing {}).await;
    client.expect(Type::Pong).await;
}

#[tokio::test]
async fn a_bad_checksum_is_told_and_nothing_is_stored() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.producer("checked", 1).await;
    let mut bad = message(b"payload").to_vec();
    *bad.last_mut().unwrap() ^= 1;
    client.publish(1, 0, &bad.into());
    client.publish(1, 1, &message(b"payload"));
    client.flush().await;
    let error = client.expect(Type::SendError).await.send_error.unwrap();
    assert_eq!((error.sequence_id, error.error), (0, ServerError::ChecksumError as i32));
    let receipt = client.expect(Type::SendReceipt).await.send_receipt.unwrap();
    assert_eq!((receipt.sequence_id, receipt.message_id.unwrap().entry_id), (1, 0));
}

/// An error names the highest message of a batch, by which clients find it among those they wait for.
#[tokio::test]
async fn what_is_refused_of_a_batch_is_its_last_message() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.producer("checked", 1).await;
    let mut forged = vec![0x0e, 0x02, 0, 0, 0, 2, 0x08, 0x01];
    forged.extend_from_slice(&message(b"payload"));
    let mut frame = BytesMut::new();
    encode::send_header(&mut frame, 1, 3, Some(7), 5, false, None, forged.len());
    frame.extend_from_slice(&forged);
    client.write(&frame).await;
    let error = client.expect(Type::SendError).await.send_error.unwrap();
    assert_eq!((error.sequence_id, error.error), (7, ServerError::ChecksumError as i32));
}

#[tokio::test]
async fn names_have_a_bound() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let (longest, longer) = ("n".repeat(1024), "n".repeat(1025));
    let named = |name: &str, id| proto::CommandProducer { producer_name: Some(name.into()), ..producer("t", id) };
    let first =
        |name: &str| proto::CommandProducer { initial_subscription_name: Some(name.into()), ..producer("t", 3) };
    let consumer = |name: &str| proto::CommandSubscribe { consumer_name: Some(name.into()), ..subscribe("t", "s", 3) };
    client.ask(&named(&longest, 1), Type::ProducerSuccess).await;
    client.subscribe("t", &longest, 1).await;
    let refused = [
        client.ask(&named(&longer, 2), Type::Error).await,
        client.ask(&first(&longer), Type::Error).await,
        client.ask(&subscribe("t", &longer, 2), Type::Error).await,
        client.ask(&consumer(&longer), Type::Error).await,
    ];
    for refused in refused {
        assert_eq!(refused.error.unwrap().error, ServerError::NotAllowedError as i32);
    }
}

#[tokio::test]
async fn a_send_to_a_producer_that_never_was_is_the_end() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.publish(1, 0, &message(b"x"));
    client.flush().await;
    client.expect_closed().await;
}

#[tokio::test]
async fn a_frame_beyond_the_maximum_is_the_end() {
    let broker = broker::Config { max_message_size: 100_000, ..broker::Config::default() };
    let server = Server::with(Config::default(), broker).await;
    let mut client = server.connect().await;
    client.producer("large", 1).await;
    client.publish(1, 0, &message(&[0; 99_000]));
    client.flush().await;
    client.expect(Type::SendReceipt).await;
    let entry = message(&[0; 150_000]);
    let mut header = BytesMut::new();
    encode::send_header(&mut header, 1, 1, None, 1, false, None, entry.len());
    // The broker may be gone before all of it is written.
    let _ = client.stream.write_all(&header).await;
    let _ = client.stream.write_all(&entry).await;
    client.expect_closed().await;
}

#[tokio::test]
async fn half_a_frame_for_long_is_the_end() {
    let config = Config { half_frame_timeout: Duration::from_millis(100), ..Config::default() };
    let server = Server::with(config, broker::Config::default()).await;
    let mut client = server.connect().await;
    client.write(&[0, 0, 1, 0, 0, 0]).await;
    client.expect_closed().await;
}

#[tokio::test]
async fn the_silent_are_pinged_and_then_let_go() {
    let config = Config { keepalive: Duration::from_millis(100), ..Config::default() };
    let server = Server::with(config, broker::Config::default()).await;
    let mut client = server.connect().await;
    // An answer keeps the connection.
    for _ in 0..3 {
        client.expect(Type::Ping).await;
        client.send(&proto::CommandPong {}).await;
    }
    client.expect(Type::Ping).await;
    client.expect(Type::Ping).await;
    client.expect_closed().await;
}

/// A frozen client does not keep what was sent to it from the others.
#[tokio::test]
async fn a_consumer_that_takes_nothing_is_let_go() {
    let config = Config { keepalive: Duration::from_millis(200), ..Config::default() };
    let server = Server::with(config, broker::Config::default()).await;
    let mut frozen = server.connect().await;
    frozen.subscribe("frozen", "s", 1).await;
    frozen.send(&proto::CommandFlow { consumer_id: 1, message_permits: 1000 }).await;
    let mut client = server.connect().await;
    client.producer("frozen", 1).await;
    // More than sockets keep on both sides.
    let entry = message(&vec![7; 1 << 20]);
    for sequence in 0..40 {
        client.publish(1, sequence, &entry);
        client.flush().await;
        while client.next().await.unwrap().0.send_receipt.is_none() {}
    }
    let topic = "frozen".parse().unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !server.broker.topic_stats(&topic).await.unwrap().subscriptions["s"].consumers.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it still has its messages");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A flood of what costs the client nothing waits in its own socket.
#[tokio::test]
async fn a_flood_of_acknowledgements_is_taken_at_the_pace_of_the_shard() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.subscribe("flood", "s", 1).await;
    let mut acks = BytesMut::new();
    for _ in 0..10 {
        let message_id =
            vec![proto::MessageIdData { ledger_id: 1, entry_id: 5, ack_set: vec![1; 1000], ..Default::default() }; 100];
        encode::put(&mut acks, &proto::CommandAck { consumer_id: 1, message_id, ..Default::default() });
    }
    // A million words, five times.
    for _ in 0..5 {
        client.write(&acks).await;
    }
    let ack = proto::CommandAck {
        consumer_id: 1,
        request_id: Some(9),
        message_id: vec![proto::MessageIdData { ledger_id: 1, entry_id: 5, ..Default::default() }],
        ..Default::default()
    };
    client.ask(&ack, Type::AckResponse).await;
}

/// Requests are read no faster than their answers are taken; and all are answered in the end.
#[tokio::test]
async fn who_never_reads_is_not_read_either() {
    // More than what sockets keep on both sides.
    const REQUESTS: u64 = 5_000_000;
    let server = Server::start().await;
    let mut client = server.connect().await;
    let mut requests = BytesMut::new();
    for request_id in 0..1000 {
        let lookup = proto::CommandLookupTopic { topic: "t".into(), request_id, ..Default::default() };
        encode::put(&mut requests, &lookup);
    }
    let writing = async {
        for _ in 0..REQUESTS / 1000 {
            client.stream.write_all(&requests).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), writing).await.is_err(), "the broker took everything");

    // Its half-written request may be anything; others are served all the while.
    let mut other = server.connect().await;
    other.producer("meanwhile", 1).await;
    for _ in 0..1000 {
        client.expect(Type::LookupResponse).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_maximum_are_refused() {
    let config = Config { max_connections: 2, ..Config::default() };
    let server = Server::with(config, broker::Config::default()).await;
    let _first = server.connect().await;
    let second = server.connect().await;
    let mut third = server.raw().await;
    let refused = third.expect(Type::Error).await.error.unwrap();
    assert_eq!((refused.request_id, refused.error), (u64::MAX, ServerError::NotAllowedError as i32));
    third.expect_closed().await;
    drop(second);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.session.connections() > 1 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.connect().await;
}

/// More is published than may be under way at one time, in one go and without reading a receipt.
#[tokio::test]
async fn a_burst_beyond_every_bound_is_taken_at_the_pace_of_the_disk() {
    let broker = broker::Config {
        max_pending_publishes_per_connection: 10,
        max_publish_buffer_bytes: 64 * 1024,
        ..broker::Config::default()
    };
    let config = Config { read_buffer_max: 16 * 1024, ..Config::default() };
    let server = Server::with(config, broker).await;
    let mut client = server.connect().await;
    client.producer("burst", 1).await;
    let entry = message(&[7; 1000]);
    for sequence in 0..3000 {
        client.publish(1, sequence, &entry);
        if sequence % 100 == 0 {
            client.flush().await;
        }
    }
    client.flush().await;
    for sequence in 0..3000 {
        let receipt = client.expect(Type::SendReceipt).await.send_receipt.unwrap();
        assert_eq!(receipt.sequence_id, sequence);
    }
}

/// What was under way when a topic closed is not counted against the connection for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unloads_under_load_leave_the_connection_as_good_as_before() {
    let broker = broker::Config { max_pending_publishes_per_connection: 20, ..broker::Config::default() };
    let server = Server::with(Config::default(), broker).await;
    let mut client = server.connect().await;
    let entry = message(&[7; 1000]);
    for round in 0..20 {
        client.producer("unloaded", round).await;
        for sequence in 0..20 {
            client.publish(round, sequence, &entry);
        }
        client.flush().await;
        // At another moment of their way each time.
        tokio::time::sleep(Duration::from_micros(100 * round)).await;
        server.broker.unload_topic(&"unloaded".parse().unwrap()).await.unwrap();
        while client.next().await.unwrap().0.close_producer.is_none() {}
        client.publish(round, 20, &entry);
        client.flush().await;
    }
    client.producer("unloaded", 100).await;
    client.publish(100, 0, &entry);
    client.flush().await;
    client.expect(Type::SendReceipt).await;
}
