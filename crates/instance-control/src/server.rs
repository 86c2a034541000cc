//! The side that answers.

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::{
    error::Result,
    message::{FunctionStatus, HealthCheckResult, MetricsData},
    wire::{self, CONTENT_TYPE, Call, HEADER_BYTES_MAX},
};

/// Connections at once; a worker has one, and a liveness probe now and then.
const CONNECTIONS_MAX: usize = 16;
/// Calls at once on a connection.
const CALLS_MAX: u32 = 16;
/// How long a request may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(5);
/// `UNIMPLEMENTED` of gRPC.
const UNIMPLEMENTED: u32 = 12;
/// How long to wait after a connection could not be accepted, which is when files run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// An instance that can be asked. Its answers are at hand: nothing here waits.
pub trait Control: Send + Sync + 'static {
    /// How it does.
    fn status(&self) -> FunctionStatus;
    /// What it counted.
    fn metrics(&self) -> MetricsData;
    /// What it counts since a reset begins at 0 again.
    fn reset_metrics(&self);
    /// Somebody wants to know whether it is well.
    fn is_healthy(&self) -> bool;
}

/// Answers until `shutdown` resolves; then connections are closed.
pub async fn serve(listener: TcpListener, control: Arc<dyn Control>, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let control = control.clone();
                    connections.spawn(async move {
                        let _place = place;
                        if let Err(error) = connection(stream, &control).await {
                            tracing::debug!(%error, "a connection to this instance ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
}

async fn connection(stream: TcpStream, control: &Arc<dyn Control>) -> Result<()> {
    let _ = stream.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(HEADER_BYTES_MAX).max_concurrent_streams(CALLS_MAX);
    let Ok(connection) = timeout(TIMEOUT, builder.handshake::<_, Bytes>(stream)).await else { return Ok(()) };
    let mut connection = connection?;
    let mut calls = JoinSet::new();
    while let Some(request) = connection.accept().await {
        let (request, reply) = request?;
        let control = control.clone();
        calls.spawn(async move {
            if let Ok(Err(error)) = timeout(TIMEOUT, answer(request, reply, &*control)).await {
                tracing::debug!(%error, "a call of this instance failed");
            }
        });
        while calls.try_join_next().is_some() {}
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut reply: SendResponse<Bytes>, control: &dyn Control) -> Result<()> {
    let (head, mut body) = request.into_parts();
    wire::message::<()>(&wire::read(&mut body).await?)?;
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    let Some(call) = Call::of_path(head.uri.path()) else {
        response.headers_mut().extend(status(UNIMPLEMENTED));
        reply.send_response(response, true)?;
        return Ok(());
    };
    let body = match call {
        Call::GetFunctionStatus => wire::body(&control.status()),
        Call::GetMetrics => wire::body(&control.metrics()),
        Call::GetAndResetMetrics => {
            let metrics = control.metrics();
            control.reset_metrics();
            wire::body(&metrics)
        }
        Call::ResetMetrics => {
            control.reset_metrics();
            wire::body(&())
        }
        Call::HealthCheck => wire::body(&HealthCheckResult { success: control.is_healthy() }),
    };
    let mut stream = reply.send_response(response, false)?;
    stream.send_data(body, false)?;
    stream.send_trailers(status(0))?;
    Ok(())
}

fn status(code: u32) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(code))])
}
