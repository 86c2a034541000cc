//! What is known of a function when a policy looks.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// One look at one function.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Time since an origin that the caller keeps for all samples.
    pub at: Duration,
    /// Instances wanted now. What runs may be fewer while they start, and more while they drain.
    pub replicas: u32,
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// What runs, starts or drains.
    pub instances: Vec<Instance>,
    /// What waits to be processed; `None` for a source, and where the broker did not say.
    pub inputs: Option<Inputs>,
    /// Which samples of the same look write what this one reads, by their index, with the messages each one writes here per message it
    /// processes.
    pub upstream: Vec<(usize, f64)>,
    /// Cores requested per instance, 0 when unknown.
    pub cpu_request: f64,
    /// Bytes requested per instance, 0 when unknown.
    pub memory_request: u64,
    /// Messages that one instance works on at the same time, at most: 1 for plain code, more where it waits for many; 0 when unknown.
    pub concurrency_max: u32,
    /// Other numbers by their names, for HPA's Object and External metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Instance {
    /// Since it was asked for.
    pub age: Duration,
    /// From being asked for until it was ready; `None` until then.
    pub startup: Option<Duration>,
    /// It takes messages.
    pub is_ready: bool,
    /// It finishes what it has and goes: no capacity any more.
    pub is_draining: bool,
    /// Cores used, mean since the last look; `None`: not measured.
    pub cpu_cores: Option<f64>,
    /// Bytes used now.
    pub memory_bytes: Option<u64>,
    /// Messages done per second since the last look.
    pub processed_per_s: f64,
    /// Share of what it could have done since the last look that it did, 0 to 1: of the time in which it had a message to work on, for
    /// code that takes one at a time; of `concurrency_max`, for code that works on many. The true rate is `processed_per_s / busy`.
    pub busy: f64,
    /// Messages it works on or has in its hands, mean since the last look.
    pub concurrency: f64,
    /// It was killed for its use of memory since the last look.
    pub out_of_memory: bool,
    /// Other numbers by their names, for HPA's Pods metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

/// What the broker knows of a function's inputs, all together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Inputs {
    /// Messages per second published since the last look.
    pub arrival_per_s: f64,
    /// Messages not acknowledged yet, those in the hands of instances too.
    pub backlog: u64,
    /// Age of the oldest message not acknowledged.
    pub oldest: Duration,
    /// Instances that can work at once, where the subscription type or partitions bound them.
    pub parallelism_max: Option<u32>,
    /// Share of the messages of the most frequent key, 0 to 1, where order by key matters; 0 otherwise.
    pub hottest_key: f64,
}
