//! Both sides over a socket, and each against a peer that does not keep to the protocol.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

use instance_control::{Client, Control, Error, ExceptionInformation, FunctionStatus, MetricsData, serve};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Default)]
struct Instance {
    health_checks: AtomicU64,
    resets: AtomicU64,
}

impl Control for Instance {
    fn status(&self) -> FunctionStatus {
        FunctionStatus {
            running: true,
            num_received: 7,
            latest_user_exceptions: vec![ExceptionInformation { exception_string: "no".into(), ms_since_epoch: 5 }],
            average_latency: 0.5,
            instance_id: "3".into(),
            ..FunctionStatus::default()
        }
    }
    fn metrics(&self) -> MetricsData {
        MetricsData { received_total: 7, user_metrics: [("m".to_owned(), 1.5)].into(), ..MetricsData::default() }
    }
    fn reset_metrics(&self) {
        self.resets.fetch_add(1, SeqCst);
    }
    fn is_healthy(&self) -> bool {
        self.health_checks.fetch_add(1, SeqCst);
        true
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn start() -> (Arc<Instance>, SocketAddr) {
    let (listener, address) = listen().await;
    let instance = Arc::new(Instance::default());
    tokio::spawn(serve(listener, instance.clone(), std::future::pending()));
    (instance, address)
}

#[tokio::test]
async fn an_instance_says_how_it_does() {
    let (instance, address) = start().await;
    let client = Client::connect(address).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.status().await.unwrap(), instance.status());
    }
    assert_eq!(client.metrics().await.unwrap(), instance.metrics());
    assert_eq!(instance.resets.load(SeqCst), 0);
    assert_eq!(client.metrics_and_reset().await.unwrap(), instance.metrics());
    client.reset_metrics().await.unwrap();
    assert_eq!(instance.resets.load(SeqCst), 2);
    assert!(client.is_healthy().await.unwrap());
    assert_eq!(instance.health_checks.load(SeqCst), 1);
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_for_their_turn() {
    let (_, address) = start().await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let client = Client::connect(address).await.unwrap();
        assert!(client.is_healthy().await.unwrap());
        clients.push(client);
    }
    let waiting = tokio::spawn(Client::connect(address));
    clients.pop();
    assert!(waiting.await.unwrap().unwrap().is_healthy().await.unwrap());
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection() {
    let (listener, address) = listen().await;
    drop(listener);
    assert!(matches!(Client::connect(address).await, Err(Error::Connect(_))));
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_an_error() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    // The first bytes may be looked at while connecting, or with the first call.
    if let Ok(client) = Client::connect(address).await {
        assert!(matches!(client.status().await, Err(Error::Connection(_))));
    }
}

#[tokio::test]
async fn an_instance_that_dies_is_an_error() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(serve(listener, Arc::new(Instance::default()), std::future::pending()));
    let client = Client::connect(address).await.unwrap();
    assert!(client.is_healthy().await.unwrap());
    server.abort();
    let _ = server.await;
    assert!(client.is_healthy().await.is_err());
}

#[tokio::test]
async fn garbage_ends_its_connection_and_no_other() {
    let (_, address) = start().await;
    let well = Client::connect(address).await.unwrap();
    let mut bad = TcpStream::connect(address).await.unwrap();
    bad.write_all(&[b'x'; 100]).await.unwrap();
    let mut rest = Vec::new();
    // Whether it is closed with a word or without one, it is closed.
    let _ = bad.read_to_end(&mut rest).await;
    assert!(well.is_healthy().await.unwrap());
}
