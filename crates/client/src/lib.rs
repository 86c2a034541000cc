//! A small Pulsar client over `wire`, for function instances, the command line and tests.
//!
//! Two levels. [`Client`] with [`Producer`], [`Consumer`] and [`Reader`] is what an application wants: partitions, batches,
//! compression, reconnection. [`Connection`] is the level below, for measuring and for tests that must see the protocol: frames
//! are written straight into the connection's buffer ([`hot::Send`]), entries arrive undecoded, and nothing is allocated or
//! woken per message.
//! Holds everywhere: a publish that was reported as stored is stored; one that failed with [`Error::Disconnected`] may be.
//! Source: Pulsar's binary protocol specification and its Java client.

mod acks;
mod batcher;
mod client;
mod compression;
mod config;
mod connection;
mod consumer;
mod error;
#[cfg(test)]
mod greeting;
pub mod hot;
mod link;
mod message;
mod outbox;
mod permits;
mod producer;
mod reader;

/// What consumers and producers do with entries, for those that reach a broker without a connection.
pub mod entries {
    pub use crate::{
        acks::{Ack, Batches, all_but, clear, contains},
        batcher::{Batcher, Encoded, Stamp, single},
        message::{Opened, batch_size, open, open_as_stored, read},
    };
}

pub use batcher::Batching;
pub use client::Client;
pub use compression::{DECOMPRESSED_BYTES_MAX, compress, decompress};
pub use config::{Backoff, Config};
pub use connection::{Connection, ConsumerEvents, ProducerEvents};
pub use consumer::{Consumer, ConsumerBuilder, Seek};
pub use error::{Error, Result};
pub use message::{Entry, Message, Outgoing};
pub use permits::Permits;
pub use producer::{Producer, ProducerBuilder, Publication, partition_of};
pub use reader::{Reader, ReaderBuilder, Start};
pub use wire::proto::CompressionType;
