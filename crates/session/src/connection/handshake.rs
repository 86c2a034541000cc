//! CONNECT and CONNECTED: the first thing on a connection, and the only thing until it is done.
//!
//! Source: Pulsar's `ServerCnx.handleConnect` and `completeConnect`.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{
    Incoming,
    handshake::{self, Offers},
    proto::{CommandConnect, ServerError, base_command::Type},
};

use super::{End, Stream, inbox::Inbox};
use crate::{
    auth::{Attempt, Identity},
    listener::Shared,
    reply::{self, NO_REQUEST},
};

/// What the broker says it is. No client reads more into it than a name for its log.
const SERVER_VERSION: &str = concat!("Geminga-", env!("CARGO_PKG_VERSION"));

/// A client that has been let in.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) identity: Identity,
    pub(super) client_version: String,
    /// Negotiated.
    pub(super) protocol_version: i32,
}

/// Reads CONNECT, asks who it is, answers CONNECTED. What was read beyond stays in `inbox`.
///
/// # Errors
/// Anything else came first, or the client is not let in: it has been told, with an error that answers no request.
pub(super) async fn accept(
    stream: &mut impl Stream,
    inbox: &mut Inbox,
    shared: &Shared,
    address: Option<SocketAddr>,
) -> Result<Connected, End> {
    let connect = loop {
        match next(stream, inbox).await? {
            Incoming::Command(mut command, _) => match (Type::try_from(command.r#type), command.connect.take()) {
                (Ok(Type::Connect), Some(connect)) => break connect,
                // Load balancers that know the protocol ping before they connect.
                (Ok(Type::Ping), _) => write(stream, &reply::pong()).await?,
                (Ok(Type::Pong), _) => {}
                _ => {
                    return refuse(stream, ServerError::UnknownError, "Expected CONNECT before any other command")
                        .await;
                }
            },
            Incoming::Unknown(_) => {}
            Incoming::Send(..) | Incoming::Flow(_) | Incoming::Ack(_) => {
                return refuse(stream, ServerError::UnknownError, "Expected CONNECT before any other command").await;
            }
        }
    };
    let identity = match shared.authenticator.authenticate(attempt(&connect, address)).await {
        Ok(identity) => identity,
        Err(denied) => {
            tracing::warn!(%denied, "authentication failed");
            return refuse(stream, ServerError::AuthenticationError, "Failed to authenticate").await;
        }
    };
    let offers = Offers { topic_watchers: true, partitions_without_creation: true, deduplication_by_position: false };
    let asked = connect.protocol_version();
    let answer = handshake::connected(asked, SERVER_VERSION, shared.broker.config().max_message_size, offers);
    write(stream, &reply::connected(&answer)).await?;
    Ok(Connected { identity, client_version: connect.client_version, protocol_version: handshake::negotiate(asked) })
}

fn attempt(connect: &CommandConnect, address: Option<SocketAddr>) -> Attempt<'_> {
    Attempt {
        address,
        method: connect.auth_method_name.as_deref().unwrap_or("none"),
        data: connect.auth_data.as_deref().unwrap_or_default(),
        original_principal: connect.original_principal.as_deref(),
    }
}

async fn next(stream: &mut impl Stream, inbox: &mut Inbox) -> Result<Incoming, End> {
    loop {
        if let Some(incoming) = inbox.next().map_err(End::Frame)? {
            return Ok(incoming);
        }
        let buf = inbox.for_read();
        let room = buf.capacity() - buf.len();
        let n = stream.read_buf(buf).await.map_err(End::Io)?;
        if n == 0 {
            return Err(End::Left);
        }
        inbox.was_read(n, room);
    }
}

async fn write(stream: &mut impl Stream, frame: &reply::Frame) -> Result<(), End> {
    stream.write_all(&frame.0).await.map_err(End::Io)
}

async fn refuse<T>(stream: &mut impl Stream, code: ServerError, message: &'static str) -> Result<T, End> {
    write(stream, &reply::error(NO_REQUEST, code, message)).await?;
    // Closes our half and lets the text arrive before the connection is gone.
    let _ = stream.shutdown().await;
    Err(End::Refused(message))
}
