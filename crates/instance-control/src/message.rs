//! The messages. Names and numbers are those of Pulsar's `InstanceCommunication.proto`.

use std::collections::BTreeMap;

/// How an instance does. Counters are since it was started.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FunctionStatus {
    /// User code runs.
    #[prost(bool, tag = "1")]
    pub running: bool,
    /// Why not.
    #[prost(string, tag = "2")]
    pub failure_exception: String,
    /// How often user code was started again.
    #[prost(int64, tag = "3")]
    pub num_restarts: i64,
    /// Messages received.
    #[prost(int64, tag = "17")]
    pub num_received: i64,
    /// Invocations that ended well.
    #[prost(int64, tag = "5")]
    pub num_successfully_processed: i64,
    /// Invocations that threw.
    #[prost(int64, tag = "6")]
    pub num_user_exceptions: i64,
    /// The last of them, oldest first; upstream keeps ten.
    #[prost(message, repeated, tag = "7")]
    pub latest_user_exceptions: Vec<ExceptionInformation>,
    /// What failed outside user code.
    #[prost(int64, tag = "8")]
    pub num_system_exceptions: i64,
    /// The last of them, oldest first.
    #[prost(message, repeated, tag = "9")]
    pub latest_system_exceptions: Vec<ExceptionInformation>,
    /// A source's own.
    #[prost(int64, tag = "18")]
    pub num_source_exceptions: i64,
    /// The last of them, oldest first.
    #[prost(message, repeated, tag = "19")]
    pub latest_source_exceptions: Vec<ExceptionInformation>,
    /// A sink's own.
    #[prost(int64, tag = "20")]
    pub num_sink_exceptions: i64,
    /// The last of them, oldest first.
    #[prost(message, repeated, tag = "21")]
    pub latest_sink_exceptions: Vec<ExceptionInformation>,
    /// Milliseconds of one invocation.
    #[prost(double, tag = "12")]
    pub average_latency: f64,
    /// Milliseconds since 1970; the Go instance says nanoseconds, rounded to two minutes.
    #[prost(int64, tag = "13")]
    pub last_invocation_time: i64,
    /// Number of the instance.
    #[prost(string, tag = "14")]
    pub instance_id: String,
    /// Where it runs.
    #[prost(string, tag = "16")]
    pub worker_id: String,
}

/// Something that was thrown.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExceptionInformation {
    /// What it says.
    #[prost(string, tag = "1")]
    pub exception_string: String,
    /// Milliseconds since 1970; the Go instance says nanoseconds.
    #[prost(int64, tag = "2")]
    pub ms_since_epoch: i64,
}

/// What an instance counted, in all and since its metrics were last reset.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricsData {
    /// Messages received.
    #[prost(int64, tag = "2")]
    pub received_total: i64,
    /// Messages received since the last reset, and so on below.
    #[prost(int64, tag = "10")]
    pub received_total_1min: i64,
    /// Invocations that ended well.
    #[prost(int64, tag = "4")]
    pub processed_successfully_total: i64,
    /// As above.
    #[prost(int64, tag = "12")]
    pub processed_successfully_total_1min: i64,
    /// What failed outside user code.
    #[prost(int64, tag = "5")]
    pub system_exceptions_total: i64,
    /// As above.
    #[prost(int64, tag = "13")]
    pub system_exceptions_total_1min: i64,
    /// Invocations that threw.
    #[prost(int64, tag = "6")]
    pub user_exceptions_total: i64,
    /// As above.
    #[prost(int64, tag = "14")]
    pub user_exceptions_total_1min: i64,
    /// Milliseconds of one invocation.
    #[prost(double, tag = "7")]
    pub avg_process_latency: f64,
    /// As above.
    #[prost(double, tag = "15")]
    pub avg_process_latency_1min: f64,
    /// Milliseconds since 1970; see [`FunctionStatus::last_invocation_time`].
    #[prost(int64, tag = "8")]
    pub last_invocation: i64,
    /// What the function itself recorded: the mean of each.
    #[prost(btree_map = "string, double", tag = "9")]
    pub user_metrics: BTreeMap<String, f64>,
}

/// Whether an instance is well.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HealthCheckResult {
    /// It is.
    #[prost(bool, tag = "1")]
    pub success: bool,
}
