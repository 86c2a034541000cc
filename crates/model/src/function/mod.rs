//! Functions, sources and sinks as values: how they are configured, what is wrong with a configuration, how one is
//! updated, what running ones report, and what the instances of other languages are told.
//!
//! JSON names, enum values and what is left out when absent are those of Apache Pulsar 4.2 (`pulsar-client-admin-api`,
//! packages `org.apache.pulsar.common.functions`, `common.io` and `common.policies.data`), so that `pulsar-admin` and
//! the client libraries read and write these records. Ours alone are the runtimes `WASM` and `PROCESS` and the fields
//! `wasm` and `exec`.
//!
//! A configuration comes in through [`parse_function_config`] and its like, which tell every mistake at once; stored
//! ones are read with serde, which skips names that another version wrote.

mod config;
mod consumer;
mod problem;
mod producer;
mod quantity;
mod read;
mod resources;
mod rest;
mod sink;
mod source;
mod stats;
mod status;
#[cfg(test)]
mod tests;
mod window;

pub use config::{FunctionConfig, Guarantees, Runtime};
pub use consumer::{ConsumerConfig, PayloadProcessorConfig};
pub use problem::{Problem, Problems};
pub use producer::{
    BatchingConfig, Compression, ConsumerCryptoFailure, CryptoConfig, ProducerConfig, ProducerCryptoFailure,
};
pub use resources::Resources;
pub use rest::{ConnectorDefinition, FunctionDefinition, FunctionState, PackageMetadata, UpdateOptions, WorkerInfo};
pub use sink::SinkConfig;
pub use source::{BatchSourceConfig, SourceConfig};
pub use stats::{FunctionInstanceStats, FunctionInstanceStatsData, FunctionStats, MinuteStats};
pub use status::{
    ExceptionInformation, FunctionInstanceStatus, FunctionInstanceStatusData, FunctionStatus, SinkInstanceStatus,
    SinkInstanceStatusData, SinkStatus, SourceInstanceStatus, SourceInstanceStatusData, SourceStatus,
};
pub use window::{WindowConfig, WindowGuarantees};

/// A configuration is at most this long as JSON, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A function's configuration from the JSON a client sent.
///
/// # Errors
/// All that does not fit at once: JSON that is none, unknown fields with the name that was probably meant, values of
/// another type, enum values there are not, quantities such as `256m`. Whether the values make sense together is for
/// validation to say.
pub fn parse_function_config(json: &str) -> Result<FunctionConfig, Problems> {
    parse(json)
}

/// A source's configuration from the JSON a client sent; see [`parse_function_config`].
///
/// # Errors
/// As there.
pub fn parse_source_config(json: &str) -> Result<SourceConfig, Problems> {
    parse(json)
}

/// A sink's configuration from the JSON a client sent; see [`parse_function_config`].
///
/// # Errors
/// As there.
pub fn parse_sink_config(json: &str) -> Result<SinkConfig, Problems> {
    parse(json)
}

fn parse<T: read::Read>(json: &str) -> Result<T, Problems> {
    let refused = |message: String| Problems::from(Problem { field: String::new(), message });
    if json.len() > CONFIG_BYTES_MAX {
        return Err(refused(format!("the configuration is longer than {CONFIG_BYTES_MAX} bytes")));
    }
    let value =
        serde_json::from_str(json).map_err(|error| refused(format!("the configuration is no JSON: {error}")))?;
    read::strict(&value)
}
