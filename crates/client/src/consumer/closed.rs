//! A consumer that the broker closes while an acknowledgement waits, against a peer that answers as Pulsar does: not at all.

use bytes::BytesMut;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use wire::{
    Incoming, encode,
    proto::{self, BaseCommand, base_command::Type},
};

use crate::{Client, Error, greeting};

/// A broker of one connection.
struct Peer {
    stream: TcpStream,
    buf: BytesMut,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        Self { stream: listener.accept().await.unwrap().0, buf: BytesMut::new() }
    }

    async fn next(&mut self) -> BaseCommand {
        loop {
            match wire::next_frame(&mut self.buf, 1 << 20).unwrap() {
                Some(Incoming::Command(command, _)) => return *command,
                Some(Incoming::Ack(ack)) => {
                    let ack = proto::CommandAck {
                        consumer_id: ack.consumer_id,
                        request_id: ack.request_id,
                        ..Default::default()
                    };
                    return BaseCommand { r#type: Type::Ack as i32, ack: Some(ack), ..Default::default() };
                }
                Some(_) => continue,
                None => {}
            }
            assert_ne!(self.stream.read_buf(&mut self.buf).await.unwrap(), 0, "the client closed the connection");
        }
    }

    async fn say(&mut self, command: BaseCommand) {
        let mut out = BytesMut::new();
        encode::command(&mut out, &command);
        self.stream.write_all(&out).await.unwrap();
    }

    /// Answers what comes until an acknowledgement does, whose consumer it says.
    async fn until_ack(&mut self, address: SocketAddr) -> u64 {
        loop {
            let command = self.next().await;
            let answer = match Type::try_from(command.r#type).unwrap() {
                Type::Ack => return command.ack.unwrap().consumer_id,
                Type::Subscribe => BaseCommand {
                    r#type: Type::Success as i32,
                    success: Some(proto::CommandSuccess {
                        request_id: command.subscribe.unwrap().request_id,
                        ..Default::default()
                    }),
                    ..Default::default()
                },
                _ => match greeting::answer(&command, address, 5 << 20) {
                    Some(answer) => answer,
                    None => continue,
                },
            };
            self.say(answer).await;
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_does_not_wait_for_a_broker_that_has_closed_the_consumer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = async {
        let client = Client::connect(&format!("pulsar://{address}")).await.unwrap();
        let consumer = client.consumer("t", "s").subscribe().await.unwrap();
        let id = |entry| model::MessageId { position: model::Position::new(1, entry), partition: -1, batch_index: -1 };
        let failed = consumer.ack_confirmed(id(0)).await.unwrap_err();
        assert!(matches!(failed, Error::ClosedByBroker(_)), "{failed}");
        // And one that is sent after that.
        assert!(consumer.ack_confirmed(id(1)).await.is_err());
    };
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        let consumer_id = peer.until_ack(address).await;
        peer.say(BaseCommand {
            r#type: Type::CloseConsumer as i32,
            close_consumer: Some(proto::CommandCloseConsumer {
                consumer_id,
                request_id: u64::MAX,
                ..Default::default()
            }),
            ..Default::default()
        })
        .await;
        // It is attached again, and nobody answers that.
        loop {
            peer.next().await;
        }
    };
    let both = async {
        tokio::select! {
            () = client => {}
            () = broker => {}
        }
    };
    // A third of what an answer is waited for.
    timeout(Duration::from_secs(10), both).await.expect("it fails at once");
}
