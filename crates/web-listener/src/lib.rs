//! The connections of an HTTP server: only so many, and none that says nothing for long.
//!
//! A server of requests is easily starved by peers that open connections and send half a request; what the socket layer
//! does not bound, nothing above it can.

use axum::serve::Listener;
use futures::{
    FutureExt,
    future::{BoxFuture, Fuse, FusedFuture},
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;

/// Accepts while fewer than the allowed number of connections are open; others wait in the kernel's queue.
pub struct Bounded {
    inner: TcpListener,
    room: Arc<Semaphore>,
    idle: Duration,
    end: CancellationToken,
}

impl Bounded {
    /// At most `connections` at a time, and none on which nothing is read or written for as long as `idle`.
    #[must_use]
    pub fn new(inner: TcpListener, connections: usize, idle: Duration) -> Self {
        let room = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { inner, room, idle, end: CancellationToken::new() }
    }

    /// The same, whose connections end when `end` is cancelled: what was asked before is still answered.
    #[must_use]
    pub fn until(self, end: CancellationToken) -> Self {
        Self { end, ..self }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = match self.room.clone().acquire_owned().await {
            Ok(permit) => permit,
            // Only a closed semaphore fails, and nobody closes it.
            Err(_) => std::future::pending().await,
        };
        let (stream, address) = Listener::accept(&mut self.inner).await;
        // Answers are written whole; failing to say so costs milliseconds, not correctness.
        let _ = stream.set_nodelay(true);
        let deadline = Box::pin(tokio::time::sleep(self.idle));
        let end = self.end.clone().cancelled_owned().boxed().fuse();
        let patience = Patience::default();
        (Connection { stream, idle: self.idle, deadline, patience, end, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Lets a connection be silent while its request takes long; a cheap handle.
#[derive(Clone, Default)]
pub struct Patience(Arc<AtomicUsize>);

/// While it is held, silence is no reason to close the connection.
pub struct Patient(Patience);

impl Patience {
    /// Until what this gives is dropped.
    #[must_use]
    pub fn hold(&self) -> Patient {
        self.0.fetch_add(1, Ordering::Relaxed);
        Patient(self.clone())
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that fails when nothing has been read or written for too long.
pub struct Connection {
    stream: TcpStream,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    patience: Patience,
    end: Fuse<BoxFuture<'static, ()>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn moved(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.idle);
    }

    /// What to answer while the socket has nothing to say.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(cx));
        if self.patience.0.load(Ordering::Relaxed) > 0 {
            self.moved();
            // Registers the new deadline; it has not passed.
            ready!(self.deadline.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The address it arrived at, if the system tells.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// What lets it be silent for longer.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.end.is_terminated() || self.end.poll_unpin(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(done) => {
                self.moved();
                Poll::Ready(done)
            }
            Poll::Pending => self.waiting(cx),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(done) => {
                self.moved();
                Poll::Ready(done)
            }
            Poll::Pending => self.waiting(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) {
            Poll::Ready(done) => {
                self.moved();
                Poll::Ready(done)
            }
            Poll::Pending => self.waiting(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
