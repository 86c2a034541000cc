//! Kubernetes' vertical pod autoscaler: what one instance should request.
//!
//! Samples in, a recommendation out, as its recommender does: CPU goes into a histogram, of memory the peak of each instance and day;
//! both fade with a half-life of a day. The target is the 90th percentile, the bounds are the 50th and 95th, each with 15 % on top, and
//! the bounds move away from it while the history is short. Which instances are replaced for it is the updater's part; whoever runs them does
//! it.

mod histogram;
mod recommender;
mod spec;
#[cfg(test)]
mod tests;
mod updater;

pub use histogram::{HistogramCheckpoint, Timestamp};
pub use recommender::{Checkpoint, Recommendation, Recommender, Requirements, Resources};
pub use spec::{
    ContainerPolicy, ContainerScalingMode, ControlledValues, EvictionChangeRequirement, EvictionRequirement,
    RecommenderName, ResourcePolicy, Spec, UpdateMode, UpdatePolicy,
};
pub use updater::Candidate;

/// Of a sample of CPU: `minSampleWeight`.
const CPU_WEIGHT: f64 = 0.1;
