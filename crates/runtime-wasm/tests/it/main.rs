//! The runtime, driven through its link as the instance loop drives it.

mod compiler;
mod grants;
mod guests;
mod harness;
mod hostile;
mod packages;
mod rust_sdk;
mod sources;
mod threads;
