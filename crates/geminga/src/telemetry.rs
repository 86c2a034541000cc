//! Logs to standard error: readable text, or JSON. Standard output is for what a command has to say.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::{args::LogFormat, settings::Log};

/// Starts logging. `RUST_LOG`, where it is set, says what is logged.
///
/// # Errors
/// The level is no filter.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter),
        _ => EnvFilter::try_new(&log.level),
    };
    let filter = filter.map_err(|error| anyhow::anyhow!("log level: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(ansi)).init();
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(thread = thread.name(), location, message, "panic");
    }));
    Ok(())
}
