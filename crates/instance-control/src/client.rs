//! The side that asks.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode, header};
use prost::Message;
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use crate::{
    error::{Error, Result},
    message::{FunctionStatus, HealthCheckResult, MetricsData},
    wire::{self, CONTENT_TYPE, Call, HEADER_BYTES_MAX},
};

/// How long an answer may take. Pulsar: `GRPC_TIMEOUT_SECS`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to an instance. Dropped, it is closed.
#[derive(Debug)]
pub struct Client {
    send: SendRequest<Bytes>,
    address: SocketAddr,
    connection: JoinHandle<()>,
}

impl Client {
    /// Connects to an instance.
    ///
    /// # Errors
    /// Nobody listens there, or what does speaks no HTTP/2.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let handshake = async {
            let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
            // Without it a small answer may wait for an acknowledgement.
            stream.set_nodelay(true).map_err(Error::Connect)?;
            let mut builder = h2::client::Builder::new();
            builder.enable_push(false).max_header_list_size(HEADER_BYTES_MAX);
            Ok(builder.handshake::<_, Bytes>(stream).await?)
        };
        let (send, connection) = timeout(TIMEOUT, handshake).await.map_err(|_| Error::TimedOut).flatten()?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "the connection to an instance ended");
            }
        });
        Ok(Self { send, address, connection })
    }

    /// How the instance does.
    ///
    /// # Errors
    /// It does not answer, or not well.
    pub async fn status(&self) -> Result<FunctionStatus> {
        self.call(Call::GetFunctionStatus).await
    }

    /// What the instance counted.
    ///
    /// # Errors
    /// It does not answer, or not well.
    pub async fn metrics(&self) -> Result<MetricsData> {
        self.call(Call::GetMetrics).await
    }

    /// What the instance counted; what it counts since a reset begins at 0 again.
    ///
    /// # Errors
    /// It does not answer, or not well.
    pub async fn metrics_and_reset(&self) -> Result<MetricsData> {
        self.call(Call::GetAndResetMetrics).await
    }

    /// What the instance counts since a reset begins at 0 again.
    ///
    /// # Errors
    /// It does not answer, or not well.
    pub async fn reset_metrics(&self) -> Result<()> {
        self.call(Call::ResetMetrics).await
    }

    /// Whether the instance says that it is well. One that expects to be asked ends when it is not.
    ///
    /// # Errors
    /// It does not answer, or not well.
    pub async fn is_healthy(&self) -> Result<bool> {
        Ok(self.call::<HealthCheckResult>(Call::HealthCheck).await?.success)
    }

    async fn call<A: Message + Default>(&self, call: Call) -> Result<A> {
        timeout(TIMEOUT, self.ask(call)).await.map_err(|_| Error::TimedOut)?
    }

    async fn ask<A: Message + Default>(&self, call: Call) -> Result<A> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{}", self.address, call.path()))
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::TE, "trailers")
            .body(())
            .map_err(|_| Error::Garbage("an address that is none"))?;
        let mut send = self.send.clone().ready().await?;
        let (answer, mut body) = send.send_request(request, false)?;
        body.send_data(wire::body(&()), true)?;
        let (head, mut body) = answer.await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Error::Garbage("an answer that is not gRPC's"));
        }
        // An error without a message has its status where headers are.
        if let Some(status) = status(&head.headers) {
            status?;
        }
        let bytes = wire::read(&mut body).await?;
        let trailers = body.trailers().await?.unwrap_or_default();
        status(&trailers).unwrap_or(Err(Error::Garbage("an answer without a status")))?;
        wire::message(&bytes)?.ok_or(Error::Garbage("an answer without a message"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What `grpc-status` says, if it is there.
fn status(headers: &HeaderMap) -> Option<Result<()>> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok());
    Some(match code {
        Some(0) => Ok(()),
        Some(code) => {
            let message = headers.get("grpc-message").map(|message| String::from_utf8_lossy(message.as_bytes()));
            Err(Error::Status { code, message: message.unwrap_or_default().into_owned() })
        }
        None => Err(Error::Garbage("a status that is no number")),
    })
}
