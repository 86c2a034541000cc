//! Functions, sources and sinks as values: how they are configured, what is wrong with a configuration, how one is
//! updated, what running ones report, and what the instances of other languages are told.
//!
//! JSON names, enum values and what is left out when absent are those of Apache Pulsar 4.2 (`pulsar-client-admin-api`,
//! packages `org.apache.pulsar.common.functions`, `common.io` and `common.policies.data`), so that `pulsar-admin` and
//! the client libraries read and write these records. Ours alone are the runtimes `WASM` and `PROCESS` and the fields
//! `wasm` and `exec`.
//!
//! A configuration comes in as a [`Draft`], which tells every mistake at once, and is then a [`Component`] in its normal
//! form; stored ones are read with serde, which skips names that another version wrote.
//!
//! ```
//! use model::function::{Component, Draft, FunctionConfig, Host};
//!
//! let draft = Draft::<FunctionConfig>::read(r#"{"className": "acme.Shout", "py": "shout.py", "inputs": ["in"]}"#);
//! let stored = draft.finish(Host::Geminga)?;
//! assert_eq!(stored.fqfn(), "public/default/Shout");
//!
//! let wrong = Draft::<FunctionConfig>::read(r#"{"paralelism": 4, "resources": {"ram": "256m"}}"#);
//! assert_eq!(wrong.finish(Host::Geminga).unwrap_err().as_slice().len(), 5); // no name, code or inputs, too
//!
//! let partial = Draft::<FunctionConfig>::read(r#"{"parallelism": 4}"#).partial()?;
//! let new = stored.updated(&partial)?;
//! new.validate(Host::Geminga)?;
//! assert_eq!(new.parallelism(), 4);
//! # Ok::<(), model::function::Problems>(())
//! ```

mod component;
mod config;
mod consumer;
mod consumer_properties;
mod defaults;
mod details;
mod draft;
mod from_details;
mod go;
mod inputs;
mod problem;
mod producer;
mod quantity;
mod read;
mod record;
mod resources;
mod rest;
mod sink;
mod source;
mod stats;
mod status;
#[cfg(test)]
mod tests;
mod update;
mod validate;
mod window;
mod words;

pub use component::Component;
pub use config::{FunctionConfig, Guarantees, Runtime};
pub use consumer::{ConsumerConfig, PayloadProcessorConfig};
pub use consumer_properties::ConsumerProperties;
pub use details::{BATCH_SOURCE_CLASS_KEY, BATCH_SOURCE_CONFIG_KEY};
pub use draft::Draft;
pub use from_details::{AnyConfig, from_details};
pub use go::GoInstance;
pub use problem::{Problem, Problems};
pub use producer::{
    BatchingConfig, Compression, ConsumerCryptoFailure, CryptoConfig, ProducerConfig, ProducerCryptoFailure,
};
pub use read::{distance, nearest};
pub use resources::Resources;
pub use rest::{ConnectorDefinition, FunctionDefinition, FunctionState, PackageMetadata, UpdateOptions, WorkerInfo};
pub use sink::SinkConfig;
pub use source::{BatchSourceConfig, SourceConfig};
pub use stats::{
    FunctionInstanceStats, FunctionInstanceStatsData, FunctionStats, MinuteStats, WorkerFunctionInstanceStats,
};
pub use status::{
    ExceptionInformation, FunctionInstanceStatus, FunctionInstanceStatusData, FunctionStatus, OutboxStatus,
    SinkInstanceStatus, SinkInstanceStatusData, SinkStatus, SourceInstanceStatus, SourceInstanceStatusData,
    SourceStatus,
};
pub use update::NO_CHANGE;
pub use validate::{Host, PARALLELISM_MAX};
pub use window::{WindowConfig, WindowGuarantees};
pub use words::{UnclosedQuote, split_words};

/// A configuration is at most this long as JSON, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A function's configuration from the JSON a client sent, as it is: defaults and sense are for [`Draft::finish`].
///
/// # Errors
/// All that does not fit at once: JSON that is none, unknown fields with the name that was probably meant, values of
/// another type, enum values there are not, quantities such as `256m`.
pub fn parse_function_config(json: &str) -> Result<FunctionConfig, Problems> {
    Draft::read(json).partial()
}

/// A source's configuration from the JSON a client sent; see [`parse_function_config`].
///
/// # Errors
/// As there.
pub fn parse_source_config(json: &str) -> Result<SourceConfig, Problems> {
    Draft::read(json).partial()
}

/// A sink's configuration from the JSON a client sent; see [`parse_function_config`].
///
/// # Errors
/// As there.
pub fn parse_sink_config(json: &str) -> Result<SinkConfig, Problems> {
    Draft::read(json).partial()
}
