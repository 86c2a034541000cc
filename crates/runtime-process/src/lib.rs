//! Functions in child processes: Python and Java by harnesses of our own, any program that speaks a small framed protocol, and Go binaries
//! that connect to the broker themselves.
//!
//! ```text
//! Link <-> child::Running <- two pipes, frames -> a program, in a session and a cage of its own
//! ```
//!
//! [`Children`] starts a program as an instance and is the same for every language; a [`functions::Runtime`] on top of it says which
//! program, and prepares what it needs. The protocol is `docs/reference/process-protocol.md`.

mod child;
mod error;
mod go;
mod java;
mod limits;
mod process;
mod programs;
mod protocol;
mod python;

pub use child::{Children, GRACE, Launch};
pub use error::{Error, Result};
pub use go::Go;
pub use java::{Java, JavaConfig};
pub use limits::{Limits, TASKS_MAX};
pub use process::Process;
pub use protocol::{Encoding, FRAME_BYTES_MAX, VERSION};
pub use python::{Python, PythonConfig};
