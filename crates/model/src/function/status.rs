//! What running instances report of their health. What is unknown is left out, as Pulsar's mapper leaves out nulls.

use serde::{Deserialize, Serialize};

/// One exception, most recent ones are kept. Source: Pulsar's `ExceptionInformation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExceptionInformation {
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception_string: Option<String>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// Status of a component and its instances.
macro_rules! status {
    ($what:literal: $status:ident, $instance:ident, $data:ident) => {
        #[doc = concat!("Health of a ", $what, ".")]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $status {
            /// Instances there should be.
            pub num_instances: u32,
            /// Instances that run.
            pub num_running: u32,
            /// Each of them.
            pub instances: Vec<$instance>,
            /// What holds of its messages, in words. Of Geminga only: Pulsar's clients read past what they do not know.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub guarantee: Option<String>,
            /// How its output goes on to another cluster, where that is so. Of Geminga only.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub outbox: Option<OutboxStatus>,
        }

        #[doc = concat!("Health of one instance of a ", $what, ", with its number.")]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $instance {
            /// From 0.
            pub instance_id: u32,
            /// What it reports.
            pub status: $data,
        }

        impl $status {
            /// Health of the whole from that of its instances; `instances` are all there should be.
            #[must_use]
            pub fn of(instances: Vec<$instance>, guarantee: Option<String>) -> Self {
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                Self {
                    num_instances: count(instances.len()),
                    num_running: count(instances.iter().filter(|instance| instance.status.running).count()),
                    instances,
                    guarantee,
                    outbox: None,
                }
            }
        }
    };
}

/// How the output of a function goes on to another cluster. Of Geminga only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutboxStatus {
    /// Name of the cluster.
    pub cluster: String,
    /// The topic there.
    pub output: String,
    /// The topic here, where it waits.
    pub topic: String,
    /// What forwards it: messages it read from the outbox, and wrote to the output.
    pub forwarder: SinkInstanceStatusData,
}

status!("function": FunctionStatus, FunctionInstanceStatus, FunctionInstanceStatusData);
status!("source": SourceStatus, SourceInstanceStatus, SourceInstanceStatusData);
status!("sink": SinkStatus, SinkInstanceStatus, SinkInstanceStatusData);

/// What one instance of a function reports. Source: Pulsar's `FunctionInstanceStatusData`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionInstanceStatusData {
    /// Whether it runs.
    pub running: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Times it was started again.
    pub num_restarts: u64,
    /// Messages received.
    pub num_received: u64,
    /// Messages the function handled without an exception.
    pub num_successfully_processed: u64,
    /// Exceptions of the function.
    pub num_user_exceptions: u64,
    /// The latest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_user_exceptions: Option<Vec<ExceptionInformation>>,
    /// Exceptions of the framework.
    pub num_system_exceptions: u64,
    /// The latest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_system_exceptions: Option<Vec<ExceptionInformation>>,
    /// Milliseconds of one call, on average.
    pub average_latency: f64,
    /// Milliseconds since 1970; 0 before the first call.
    pub last_invocation_time: i64,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}

/// What one instance of a source reports. Source: Pulsar's `SourceInstanceStatusData`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SourceInstanceStatusData {
    /// Whether it runs.
    pub running: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Times it was started again.
    pub num_restarts: u64,
    /// Records the connector handed over.
    pub num_received_from_source: u64,
    /// Exceptions of the framework.
    pub num_system_exceptions: u64,
    /// The latest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_system_exceptions: Option<Vec<ExceptionInformation>>,
    /// Exceptions of the connector.
    pub num_source_exceptions: u64,
    /// The latest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_source_exceptions: Option<Vec<ExceptionInformation>>,
    /// Messages written to the topic.
    pub num_written: u64,
    /// Milliseconds since 1970; 0 before the first record.
    pub last_received_time: i64,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}

/// What one instance of a sink reports. Source: Pulsar's `SinkInstanceStatusData`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SinkInstanceStatusData {
    /// Whether it runs.
    pub running: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Times it was started again.
    pub num_restarts: u64,
    /// Messages read from the topics.
    pub num_read_from_pulsar: u64,
    /// Exceptions of the framework.
    pub num_system_exceptions: u64,
    /// The latest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_system_exceptions: Option<Vec<ExceptionInformation>>,
    /// Exceptions of the connector.
    pub num_sink_exceptions: u64,
    /// The latest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_sink_exceptions: Option<Vec<ExceptionInformation>>,
    /// Messages the connector took.
    pub num_written_to_sink: u64,
    /// Milliseconds since 1970; 0 before the first message.
    pub last_received_time: i64,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}
