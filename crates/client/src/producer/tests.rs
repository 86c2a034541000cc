//! What producers make of what brokers answer, against one that answers as the test says.

use super::*;
use crate::{Backoff, Client, Config, greeting, link::Link};
use bytes::BytesMut;
use parking_lot::Mutex;
use prost::Message as _;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use wire::proto::{BaseCommand, ServerError, base_command::Type};

/// Longer than anything takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stores what is not larger than it may be, as topics do by a policy of theirs; and no number that is not above the last one.
struct Topic {
    largest: usize,
    max_message_bytes: AtomicUsize,
    /// Of how many producers nothing is stored now.
    refused_producers: AtomicUsize,
    is_fenced: AtomicBool,
    stored: Mutex<Vec<u64>>,
}

/// A broker with one topic; dropped, it is gone with its connections.
struct Broker {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Broker {
    fn start(topic: &Arc<Topic>, at: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(at).unwrap();
        let listener = socket.listen(16).unwrap();
        let (address, topic) = (listener.local_addr().unwrap(), topic.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, topic));
        Self { address, _tasks: tasks }
    }
}

async fn serve(listener: TcpListener, topic: Arc<Topic>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(speak(stream, listener.local_addr().unwrap(), topic.clone()));
    }
}

async fn speak(mut stream: TcpStream, address: SocketAddr, topic: Arc<Topic>) {
    while let Ok(size) = stream.read_u32().await {
        let mut frame = vec![0; size as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let (head, rest) = frame.split_at(4);
        let (command, entry) = rest.split_at(u32::from_be_bytes(head.try_into().unwrap()) as usize);
        let Some(answer) = answer(&BaseCommand::decode(command).unwrap(), entry.len(), address, &topic) else {
            continue;
        };
        let mut bytes = BytesMut::new();
        wire::encode::command(&mut bytes, &answer);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn answer(asked: &BaseCommand, entry_bytes: usize, address: SocketAddr, topic: &Topic) -> Option<BaseCommand> {
    let greeting = greeting::answer(asked, address, topic.max_message_bytes.load(Ordering::Relaxed));
    if greeting.is_some() {
        return greeting;
    }
    let answer = match asked.r#type() {
        Type::Producer => {
            let refused = &topic.refused_producers;
            let is_fenced = refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            topic.is_fenced.store(is_fenced, Ordering::Relaxed);
            BaseCommand {
                r#type: Type::ProducerSuccess as i32,
                producer_success: Some(proto::CommandProducerSuccess {
                    request_id: asked.producer.as_ref()?.request_id,
                    producer_name: "p".into(),
                    last_sequence_id: Some(-1),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }
        Type::CloseProducer => BaseCommand {
            r#type: Type::Success as i32,
            success: Some(proto::CommandSuccess {
                request_id: asked.close_producer.as_ref()?.request_id,
                ..Default::default()
            }),
            ..Default::default()
        },
        Type::Send => return asked.send.as_ref().map(|send| publish(send, entry_bytes, topic)),
        _ => return None,
    };
    Some(answer)
}

fn publish(send: &proto::CommandSend, entry_bytes: usize, topic: &Topic) -> BaseCommand {
    let last = send.highest_sequence_id.unwrap_or_default().max(send.sequence_id);
    // Source: Pulsar's `Producer.MessagePublishContext.completed`.
    let refused = |error: ServerError, message: &str| BaseCommand {
        r#type: Type::SendError as i32,
        send_error: Some(proto::CommandSendError {
            producer_id: send.producer_id,
            sequence_id: last,
            error: error as i32,
            message: message.into(),
        }),
        ..Default::default()
    };
    if entry_bytes > topic.largest {
        return refused(ServerError::NotAllowedError, "Exceed maximum message size");
    }
    if topic.is_fenced.load(Ordering::Relaxed) {
        // Source: Pulsar's `MessageDeduplication.MessageDupUnknownException`.
        let why = "Cannot determine whether the message is a duplicate at this time";
        return refused(ServerError::PersistenceError, why);
    }
    let mut stored = topic.stored.lock();
    let is_new = stored.last().is_none_or(|known| *known < last);
    let position = if is_new { (1, stored.len() as u64) } else { (u64::MAX, u64::MAX) };
    if is_new {
        stored.push(last);
    }
    BaseCommand {
        r#type: Type::SendReceipt as i32,
        send_receipt: Some(proto::CommandSendReceipt {
            producer_id: send.producer_id,
            sequence_id: send.sequence_id,
            message_id: Some(proto::MessageIdData {
                ledger_id: position.0,
                entry_id: position.1,
                ..Default::default()
            }),
            highest_sequence_id: send.highest_sequence_id,
        }),
        ..Default::default()
    }
}

fn topic(largest: usize, max_message_bytes: usize) -> Arc<Topic> {
    let max_message_bytes = AtomicUsize::new(max_message_bytes);
    Arc::new(Topic {
        largest,
        max_message_bytes,
        refused_producers: AtomicUsize::new(0),
        is_fenced: AtomicBool::new(false),
        stored: Mutex::default(),
    })
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn client(broker: &Broker) -> Client {
    client_until(broker, None)
}

fn client_until(broker: &Broker, give_up_after: Option<Duration>) -> Client {
    let mut config = Config::new(format!("pulsar://{}", broker.address));
    config.reconnect = Some(Backoff { first: Duration::from_millis(20), give_up_after, ..Backoff::default() });
    Client::unconnected(config).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it happens soon")
}

fn of(bytes: usize) -> Outgoing {
    Outgoing::new(vec![7; bytes])
}

#[test]
fn keys_hash_as_java_hashes_them() {
    assert_eq!(java_hash(""), 0);
    assert_eq!(java_hash("a"), 97);
    assert_eq!(java_hash("hello"), 99_162_322);
    assert_eq!(java_hash("polygenelubricants"), 0, "Integer.MIN_VALUE has no sign left");
    assert_eq!(java_hash("\u{1F600}"), 1_772_899, "surrogates are hashed one by one");
}

#[tokio::test]
async fn all_messages_of_a_batch_hear_that_it_was_refused() {
    let topic = topic(500, 5 << 20);
    let broker = Broker::start(&topic, anywhere());
    let batching = Batching { messages: 3, delay: PATIENCE, ..Batching::default() };
    let producer = soon(client(&broker).producer("t").batching(batching).create()).await.unwrap();
    let mut refused = Vec::new();
    for _ in 0..3 {
        refused.push(soon(producer.enqueue(of(300))).await.unwrap());
    }
    for publication in refused {
        let error = soon(publication).await.unwrap_err();
        assert_eq!(error.code(), Some(ServerError::NotAllowedError), "{error}");
    }
    soon(producer.flush()).await.unwrap();
    // And the producer goes on.
    let small = soon(producer.enqueue(of(1))).await.unwrap();
    producer.close_batches();
    soon(small).await.unwrap();
}

#[tokio::test]
async fn nothing_is_stored_after_an_entry_of_its_own_number_that_was_refused() {
    let topic = topic(1000, 5 << 20);
    let broker = Broker::start(&topic, anywhere());
    let client = client(&broker);
    let producer = soon(client.producer("t").name("p").create()).await.unwrap();
    let mut waiting = Vec::new();
    for (number, bytes) in [(1, 500), (2, 300), (3, 2000), (4, 300), (5, 300)] {
        // Refused at once, or later.
        waiting.push(soon(producer.enqueue_entry(&[of(bytes)], number)).await);
    }
    let mut stored = Vec::new();
    for publication in waiting {
        match publication {
            Ok(publication) => stored.push(soon(publication).await.is_ok()),
            Err(_) => stored.push(false),
        }
    }
    assert_eq!(stored, [true, true, false, false, false]);
    assert_eq!(*topic.stored.lock(), [1, 2]);
    // When they come again, none is taken for a duplicate.
    drop(producer);
    let again = soon(client.producer("t").name("p").create()).await.unwrap();
    for number in 1..=5 {
        soon(soon(again.enqueue_entry(&[of(300)], number)).await.unwrap()).await.unwrap();
    }
    assert_eq!(*topic.stored.lock(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_the_broker_would_not_take_is_not_kept_for_it() {
    let topic = topic(usize::MAX, 1000);
    let broker = Broker::start(&topic, anywhere());
    let address = broker.address;
    let producer = soon(client(&broker).producer("t").create()).await.unwrap();
    soon(producer.send(of(900))).await.unwrap();
    drop(broker);
    soon(async {
        while !matches!(producer.lanes[0].state.lock().link, Link::Down) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let large = soon(producer.enqueue(of(1001))).await;
    assert!(matches!(large, Err(Error::TooLarge { limit: 1000, .. })), "{large:?}");
    let kept = [soon(producer.enqueue(of(900))).await.unwrap(), soon(producer.enqueue(of(400))).await.unwrap()];
    // The broker that comes back takes less.
    topic.max_message_bytes.store(500, Ordering::Relaxed);
    let _broker = Broker::start(&topic, address);
    let [large, small] = kept;
    let large = soon(large).await;
    assert!(matches!(large, Err(Error::TooLarge { bytes: 900, limit: 500 })), "{large:?}");
    soon(small).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again_by_a_producer_that_is_made_anew_with_all_that_follows() {
    let topic = topic(usize::MAX, 5 << 20);
    let broker = Broker::start(&topic, anywhere());
    let client = client(&broker);
    let producer = soon(client.producer("t").name("p").create()).await.unwrap();
    soon(soon(producer.enqueue_entry(&[of(100)], 1)).await.unwrap()).await.unwrap();
    // The next producer finds it so, too.
    topic.is_fenced.store(true, Ordering::Relaxed);
    topic.refused_producers.store(1, Ordering::Relaxed);
    let mut waiting = Vec::new();
    for number in 2..=5 {
        waiting.push(soon(producer.enqueue_entry(&[of(10)], number)).await.unwrap());
    }
    for publication in waiting {
        soon(publication).await.unwrap();
    }
    assert_eq!(*topic.stored.lock(), [1, 2, 3, 4, 5]);
    assert_eq!(topic.refused_producers.load(Ordering::Relaxed), 0);
    soon(producer.close()).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_for_too_long_has_failed() {
    let topic = topic(usize::MAX, 5 << 20);
    topic.refused_producers.store(usize::MAX, Ordering::Relaxed);
    let broker = Broker::start(&topic, anywhere());
    let client = client_until(&broker, Some(Duration::from_millis(50)));
    let producer = soon(client.producer("t").create()).await.unwrap();
    let error = soon(producer.send(of(1))).await.unwrap_err();
    assert_eq!(error.code(), Some(ServerError::PersistenceError), "{error}");
    // It was for this one: others may be stored.
    topic.is_fenced.store(false, Ordering::Relaxed);
    soon(producer.send(of(1))).await.unwrap();
}

#[tokio::test]
async fn a_producer_is_closed_while_it_waits_to_be_made_anew() {
    let topic = topic(usize::MAX, 5 << 20);
    topic.refused_producers.store(usize::MAX, Ordering::Relaxed);
    let broker = Broker::start(&topic, anywhere());
    let producer = soon(client(&broker).producer("t").create()).await.unwrap();
    let refused = soon(producer.enqueue(of(1))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(producer);
    assert!(matches!(soon(refused).await, Err(Error::Closed)));
}
