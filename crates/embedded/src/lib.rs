//! Functions on the broker of the same process: no socket, and one journal commit for what an invocation reads, writes and remembers.
//!
//! An instance is to the broker what a connection is: a [`broker::Peer`] with consumers and producers. Where a connection sends ACK
//! and SEND, it sends a [`broker::Commit`].

mod beside;
mod log;
mod outgoing;
mod reads;
mod session;
mod tables;

pub use log::Embedded;
pub use tables::StoreTables;
