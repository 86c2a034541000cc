//! Sessions: the listener, and one task for each connection that turns wire commands into broker calls and what the
//! broker has to say into frames.
//!
//! - [`Session::serve`] accepts connections within the limits of [`Config`] and starts a task for each.
//! - `connection` is that task: it reads, writes, waits for answers and keeps time, and never blocks one on another.
//! - `reply` is the one place where [`broker::Error`] becomes a code of the protocol.
//! - [`Authenticator`] is where "who is this" is asked.
//!
//! What holds: no client makes the broker keep more than a few read buffers, [`broker::Config::max_message_size`] and a
//! bounded number of answers for it; a frame that breaks the protocol ends its connection and nothing else.

mod auth;
mod config;
mod connection;
mod listener;
mod reply;
mod topic_list;

pub use auth::{AllowAll, Attempt, Authenticator, Denied, Identity};
pub use config::Config;
pub use listener::Session;
