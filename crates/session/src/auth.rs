//! Who is this: the place where a connection is asked to show credentials.

use futures::future::BoxFuture;
use std::net::SocketAddr;

/// What a client shows in CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Where it connects from; `None` for connections without an address.
    pub address: Option<SocketAddr>,
    /// `auth_method_name`: `token`, `tls`, ... or `none`.
    pub method: &'a str,
    /// `auth_data`.
    pub data: &'a [u8],
    /// `original_principal`: for whom a proxy speaks.
    pub original_principal: Option<&'a str>,
}

/// Who a connection turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Pulsar's role; `None` when nobody asked.
    pub role: Option<String>,
}

/// The credentials do not hold. The text goes to the log, never to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Decides who a connection is, once, before any other command is taken.
pub trait Authenticator: Send + Sync + 'static {
    /// Judges one CONNECT.
    ///
    /// # Errors
    /// [`Denied`]: the client is told `AuthenticationError` and the connection is closed.
    fn authenticate<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, Result<Identity, Denied>>;
}

/// Takes everybody without asking.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Authenticator for AllowAll {
    fn authenticate<'a>(&'a self, _attempt: Attempt<'a>) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(std::future::ready(Ok(Identity { role: None })))
    }
}
