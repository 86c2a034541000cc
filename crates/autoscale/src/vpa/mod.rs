//! Kubernetes' vertical pod autoscaler: what one instance should request.
//!
//! Samples in, a recommendation out, as its recommender does: CPU goes into a histogram, of memory the peak of each instance and day;
//! both fade with a half-life of a day. The target is the 90th percentile, the bounds are the 50th and 95th, each with 15 % on top, and
//! the bounds move away from it while the history is short. What is recommended reaches instances by whoever runs them.

mod histogram;
mod recommender;
mod spec;
#[cfg(test)]
mod tests;

pub use histogram::{HistogramCheckpoint, Timestamp};
pub use recommender::{Checkpoint, Recommendation, Recommender, Requirements, Resources};
pub use spec::{
    ContainerPolicy, ContainerScalingMode, ControlledValues, EvictionChangeRequirement, EvictionRequirement,
    RecommenderName, ResourcePolicy, Spec, UpdateMode, UpdatePolicy,
};

/// Of a sample of CPU: `minSampleWeight`.
const CPU_WEIGHT: f64 = 0.1;
