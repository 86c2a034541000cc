//! The subcommands of `geminga` that talk to a broker.

pub mod consume;
pub mod perf;
pub mod produce;
mod service;
