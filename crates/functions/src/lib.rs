//! Serverless code on events: one instance loop for every language.
//!
//! ```text
//! Session (a broker) --messages--> Instance --invocations--> Link --> user code
//!          ^                          |   <--outcomes, calls--  |
//!          +------ one commit: acknowledgements, outputs, state
//! ```
//!
//! This crate knows no broker and no language: it states what it needs of the first as [`EventLog`] and [`Tables`], of the second as
//! [`Runtime`].

mod chunks;
pub mod error;
pub mod event_log;
pub mod file_tables;
pub mod instance;
pub mod intake;
pub mod meshes;
pub mod message;
pub mod packages;
pub mod remote;
pub mod runtime;
pub mod spec;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod worker;

pub use error::{Error, Result};
pub use event_log::{Commit, EventLog, Session, Tables};
pub use meshes::Meshes;
pub use message::{Message, MessageId, Record};
pub use runtime::Runtime;
pub use spec::{Code, FunctionSpec, Kind, Language};
pub use worker::Worker;
