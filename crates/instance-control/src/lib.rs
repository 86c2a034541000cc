//! Pulsar's `InstanceControl`, both sides: how a worker asks a function instance how it does.
//!
//! It is gRPC, of which five calls without arguments need little: a POST over HTTP/2, five bytes before a message, a status in the
//! trailers. So this is [`h2`] and [`prost`] alone. Source: Pulsar's `InstanceCommunication.proto`; gRPC's "PROTOCOL-HTTP2".
//!
//! What comes from the other side is bounded in bytes, and what a [`Client`] waits for in time.

mod client;
mod error;
mod message;
mod server;
mod wire;

pub use client::Client;
pub use error::{Error, Result};
pub use message::{ExceptionInformation, FunctionStatus, HealthCheckResult, MetricsData};
pub use server::{Control, serve};
