//! Accepts connections, counts them, and waits for them when the broker stops.

use broker::Broker;
use futures::FutureExt;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use seams::Shutdown;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tracing::Instrument;
use wire::proto::ServerError;

use crate::{
    auth::{AllowAll, Authenticator},
    config::Config,
    connection,
    reply::{self, NO_REQUEST},
};

/// What all connections have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) broker: Broker,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    /// Triggered when connections shall say their last words and end.
    pub(crate) closing: Shutdown,
    /// The same, cheap to ask.
    pub(crate) closed: AtomicBool,
}

/// Serves Pulsar's binary protocol for one broker; clones are the same session service.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    shutdown: Shutdown,
}

/// Open connections, in all and by address.
struct Connections {
    count: watch::Sender<usize>,
    by_ip: Mutex<FxHashMap<IpAddr, usize>>,
}

/// One open connection; gone when dropped.
struct Place {
    connections: Arc<Connections>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_ip = self.connections.by_ip.lock();
        if let Some(count) = by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&self.ip);
            }
        }
        self.connections.count.send_modify(|n| *n -= 1);
    }
}

impl Connections {
    /// A place for a connection from `ip`, unless there is none.
    fn enter(self: &Arc<Self>, config: &Config, ip: IpAddr) -> Option<Place> {
        let mut by_ip = self.by_ip.lock();
        let here = by_ip.entry(ip).or_default();
        let full = config.max_connections > 0 && *self.count.borrow() >= config.max_connections
            || config.max_connections_per_ip > 0 && *here >= config.max_connections_per_ip;
        if full {
            if *here == 0 {
                by_ip.remove(&ip);
            }
            return None;
        }
        *here += 1;
        self.count.send_modify(|n| *n += 1);
        Some(Place { connections: self.clone(), ip })
    }
}

impl Session {
    /// Sessions of `broker` that let everybody in. When `shutdown` is triggered no more connections are accepted;
    /// those that are open stay until [`Session::close`].
    #[must_use]
    pub fn new(config: Config, broker: Broker, shutdown: Shutdown) -> Self {
        Self::with_authenticator(config, broker, shutdown, Arc::new(AllowAll))
    }

    /// The same, asking `authenticator` about everybody.
    #[must_use]
    pub fn with_authenticator(
        config: Config,
        broker: Broker,
        shutdown: Shutdown,
        authenticator: Arc<dyn Authenticator>,
    ) -> Self {
        let connections = Connections { count: watch::Sender::new(0), by_ip: Mutex::default() };
        Self {
            shared: Arc::new(Shared {
                config,
                broker,
                authenticator,
                closing: Shutdown::new(),
                closed: AtomicBool::new(false),
            }),
            connections: Arc::new(connections),
            shutdown,
        }
    }

    /// Accepts connections from `listener` until shutdown; may be called for several listeners.
    pub async fn serve(&self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.triggered() => return,
            };
            match accepted {
                Ok((stream, address)) => self.accepted(stream, address),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors or memory: others end, and then there is room again.
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accepted(&self, stream: TcpStream, address: SocketAddr) {
        let Some(place) = self.connections.enter(&self.shared.config, address.ip().to_canonical()) else {
            tracing::warn!(%address, "connection refused: too many");
            // A fresh socket takes so little at once.
            let frame =
                reply::error(NO_REQUEST, ServerError::NotAllowedError, "Reached the maximum number of connections");
            let _ = stream.try_write(&frame.0);
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            return tracing::debug!(%address, %error, "connection ended at once");
        }
        let span = tracing::debug_span!("connection", %address);
        let connection = connection::run(stream, Some(address), self.shared.clone());
        tokio::spawn(
            async move {
                // One connection's panic is a mistake of ours, but no reason to end the others.
                if let Err(panic) = AssertUnwindSafe(connection).catch_unwind().await {
                    let panic = panic
                        .downcast_ref::<&str>()
                        .map(|text| (*text).to_owned())
                        .or_else(|| panic.downcast_ref::<String>().cloned());
                    tracing::error!(%address, panic, "connection task panicked");
                }
                drop(place);
            }
            .instrument(span),
        );
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.connections.count.borrow()
    }

    /// Tells every connection to write what it has to say and end, and waits for that, at most `patience`. Returns how
    /// many are left.
    pub async fn close(&self, patience: Duration) -> usize {
        self.shared.closed.store(true, Relaxed);
        self.shared.closing.trigger();
        let mut count = self.connections.count.subscribe();
        let _ = tokio::time::timeout(patience, count.wait_for(|&n| n == 0)).await;
        self.connections()
    }
}

/// Errors of `accept` that are about a connection that has gone already, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(connections: &Arc<Connections>, config: &Config, ip: &str) -> Option<Place> {
        connections.enter(config, ip.parse().unwrap())
    }

    #[test]
    fn places_are_limited_in_all_and_by_address_and_come_back() {
        let connections = Arc::new(Connections { count: watch::Sender::new(0), by_ip: Mutex::default() });
        let config = Config { max_connections: 3, max_connections_per_ip: 2, ..Config::default() };
        let first = enter(&connections, &config, "10.0.0.1").unwrap();
        let _second = enter(&connections, &config, "10.0.0.1").unwrap();
        assert!(enter(&connections, &config, "10.0.0.1").is_none());
        let _third = enter(&connections, &config, "10.0.0.2").unwrap();
        assert!(enter(&connections, &config, "10.0.0.3").is_none());
        drop(first);
        assert!(enter(&connections, &config, "10.0.0.1").is_some());
        assert_eq!(connections.by_ip.lock().len(), 2);
    }
}
