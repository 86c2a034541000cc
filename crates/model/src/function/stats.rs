//! What running functions counted. Unlike a status, statistics write what is unknown as `null`, as Pulsar's do.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts of the last minute. Source: Pulsar's `FunctionInstanceStatsDataBaseImpl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MinuteStats {
    /// Messages received.
    pub received_total: u64,
    /// Messages handled without an exception.
    pub processed_successfully_total: u64,
    /// Exceptions of the framework.
    pub system_exceptions_total: u64,
    /// Exceptions of the function.
    pub user_exceptions_total: u64,
    /// Milliseconds of one call, on average; `null` without one.
    pub avg_process_latency: Option<f64>,
}

/// Counts of one instance. Source: Pulsar's `FunctionInstanceStatsDataImpl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionInstanceStatsData {
    /// Messages received.
    pub received_total: u64,
    /// Messages handled without an exception.
    pub processed_successfully_total: u64,
    /// Exceptions of the framework.
    pub system_exceptions_total: u64,
    /// Exceptions of the function.
    pub user_exceptions_total: u64,
    /// Milliseconds of one call, on average; `null` without one.
    pub avg_process_latency: Option<f64>,
    /// The last minute.
    #[serde(rename = "1min")]
    pub one_min: MinuteStats,
    /// Milliseconds since 1970; `null` before the first call.
    pub last_invocation: Option<i64>,
    /// What the function itself recorded.
    pub user_metrics: BTreeMap<String, f64>,
}

/// Counts of one instance, with its number. Source: Pulsar's `FunctionInstanceStatsImpl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionInstanceStats {
    /// From 0.
    pub instance_id: u32,
    /// What it counted.
    pub metrics: FunctionInstanceStatsData,
}

/// Counts of one instance as its worker tells them: `/admin/v2/worker-stats/functionsmetrics`. Source: Pulsar's
/// `WorkerFunctionInstanceStats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkerFunctionInstanceStats {
    /// `tenant/namespace/name`, and `:` with the number of the instance.
    pub name: String,
    /// What it counted.
    pub metrics: FunctionInstanceStatsData,
}

/// Counts of a function and its instances. Source: Pulsar's `FunctionStatsImpl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionStats {
    /// Messages received.
    pub received_total: u64,
    /// Messages handled without an exception.
    pub processed_successfully_total: u64,
    /// Exceptions of the framework.
    pub system_exceptions_total: u64,
    /// Exceptions of the function.
    pub user_exceptions_total: u64,
    /// Milliseconds of one call: the mean of the instances' means, as Pulsar has it; `null` without one.
    pub avg_process_latency: Option<f64>,
    /// The last minute.
    #[serde(rename = "1min")]
    pub one_min: MinuteStats,
    /// Milliseconds since 1970; `null` before the first call.
    pub last_invocation: Option<i64>,
    /// Each instance.
    pub instances: Vec<FunctionInstanceStats>,
}

impl FunctionStats {
    /// The counts of the whole from those of its instances.
    #[must_use]
    pub fn of(instances: Vec<FunctionInstanceStats>) -> Self {
        let sum = |count: fn(&FunctionInstanceStatsData) -> u64| {
            instances.iter().fold(0u64, |sum, instance| sum.saturating_add(count(&instance.metrics)))
        };
        let mean = |latency: fn(&FunctionInstanceStatsData) -> Option<f64>| {
            let known: Vec<f64> = instances.iter().filter_map(|instance| latency(&instance.metrics)).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        Self {
            received_total: sum(|m| m.received_total),
            processed_successfully_total: sum(|m| m.processed_successfully_total),
            system_exceptions_total: sum(|m| m.system_exceptions_total),
            user_exceptions_total: sum(|m| m.user_exceptions_total),
            avg_process_latency: mean(|m| m.avg_process_latency),
            one_min: MinuteStats {
                received_total: sum(|m| m.one_min.received_total),
                processed_successfully_total: sum(|m| m.one_min.processed_successfully_total),
                system_exceptions_total: sum(|m| m.one_min.system_exceptions_total),
                user_exceptions_total: sum(|m| m.one_min.user_exceptions_total),
                avg_process_latency: mean(|m| m.one_min.avg_process_latency),
            },
            last_invocation: instances.iter().filter_map(|instance| instance.metrics.last_invocation).max(),
            instances,
        }
    }
}
